//! What ends a command from outside: SIGINT, SIGTERM, and the user's own deadline.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Sleep, sleep};

use super::failure::Failure;

/// Why a command stops before it has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Signal,
    Deadline,
}

/// Watches for reasons to stop.
#[derive(Debug)]
pub(super) struct Stops {
    signals: [Signal; 2],
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Stops {
    /// From now on signals do not end the process by themselves.
    pub(super) fn watch(timeout: Option<Duration>) -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(Failure::Signals);
        Ok(Self {
            signals: [on(SignalKind::interrupt())?, on(SignalKind::terminate())?],
            deadline: timeout.map(|timeout| Box::pin(sleep(timeout))),
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        if self.signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready()) {
            return Poll::Ready(Stop::Signal);
        }
        match &mut self.deadline {
            Some(deadline) => {
                ready!(deadline.as_mut().poll(cx));
                // Told once: what is left to be done after it may take its own time.
                self.deadline = None;
                Poll::Ready(Stop::Deadline)
            }
            None => Poll::Pending,
        }
    }

    /// What `work` comes to, unless there is a reason to stop before.
    pub(super) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }
}
