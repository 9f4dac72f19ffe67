//! When the loop of a worker is to run though nothing has come.

use std::io;
use std::task::Context;
use std::time::{Duration, Instant};

use crate::timer::Timer;

/// Longest time that it is set to, in milliseconds: a year. For what is later it rings for nothing and is set anew.
const LONGEST_MS: u64 = 365 * 24 * 3600 * 1000;

/// Rings once at or before a deadline: one that moves away leaves it as it is, so it may ring early, never late.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Timer,
    started: Instant,
    armed_ms: Option<u64>,
}

impl Alarm {
    /// One that is not set; milliseconds are counted from `started`. Within a runtime that watches sockets.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn new(started: Instant) -> io::Result<Self> {
        Ok(Self { timer: Timer::new()?, started, armed_ms: None })
    }

    /// Has the task of `cx` polled at that millisecond, or at the one that it is set to if that is earlier.
    ///
    /// # Errors
    /// What the kernel says to setting it, which is nothing.
    pub(super) fn set(
        &mut self,
        cx: &mut Context<'_>,
        now_ms: u64,
        deadline_ms: Option<u64>,
    ) -> io::Result<()> {
        if self.armed_ms.is_some_and(|armed| armed <= now_ms) {
            self.armed_ms = None;
        }
        let longest = now_ms.saturating_add(LONGEST_MS);
        let Some(deadline) = deadline_ms.map(|deadline| deadline.min(longest)) else { return Ok(()) };
        if self.armed_ms.is_some_and(|armed| armed <= deadline) {
            return Ok(());
        }
        self.armed_ms = Some(deadline);
        self.timer.set(Duration::from_millis(deadline).saturating_sub(self.started.elapsed()))?;
        // Asked until it says no: that is what has the task polled when it rings.
        while self.timer.poll_rung(cx)?.is_ready() {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    /// Sets an alarm to each of these milliseconds after its start, one after another, and waits until it rings: when.
    fn rings(deadlines_ms: &[u64]) -> u64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let started = Instant::now();
            let mut alarm = Alarm::new(started).unwrap();
            let mut to_set = deadlines_ms.iter();
            poll_fn(|cx| {
                let now_ms = started.elapsed().as_millis() as u64;
                let mut is_set = false;
                for deadline in to_set.by_ref() {
                    alarm.set(cx, now_ms, Some(*deadline)).unwrap();
                    is_set = true;
                }
                // The second time it is polled for no other reason.
                if is_set { Poll::Pending } else { Poll::Ready(now_ms) }
            })
            .await
        })
    }

    #[test]
    fn it_rings_at_the_earliest_deadline_and_not_before() {
        assert!((30..10_000).contains(&rings(&[30])));
        assert!((30..10_000).contains(&rings(&[30, 600_000])));
        assert!((30..10_000).contains(&rings(&[600_000, u64::MAX, 30])));
    }

    #[test]
    fn a_deadline_that_is_over_rings_at_once() {
        assert!(rings(&[600_000, 0]) < 10_000);
    }

    #[test]
    fn it_rings_again_and_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let (started, mut rung) = (Instant::now(), Vec::new());
        runtime.block_on(async {
            let mut alarm = Alarm::new(started).unwrap();
            poll_fn(|cx| {
                let now_ms = started.elapsed().as_millis() as u64;
                rung.push(now_ms);
                if rung.len() == 6 {
                    return Poll::Ready(());
                }
                alarm.set(cx, now_ms, Some(now_ms + 20)).unwrap();
                Poll::Pending
            })
            .await;
        });
        let gaps: Vec<_> = rung.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (20..10_000).contains(gap)), "{gaps:?}");
    }
}
