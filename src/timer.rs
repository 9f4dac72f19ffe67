//! A timer of the kernel's that is watched like a socket, to the nanosecond.
//!
//! The runtime's own are a timeout of each of its waits, in milliseconds: the kernel sets that up and takes it down thousands
//! of times a second in a thread at work. This one costs nothing until it is set or rings.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe;

/// Rings once for each time that it is set. To the runtime it is a pipe that has eight bytes when it rings: that is all it is
/// asked for, and the ways to watch another kind of descriptor need unsafe code or are deprecated.
#[derive(Debug)]
pub(crate) struct Timer(pipe::Receiver);

impl Timer {
    /// One that is not set. Within a runtime that watches sockets.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        pipe::Receiver::from_owned_fd_unchecked(timer).map(Self)
    }

    /// Has it ring `after` from now, in place of when it would have.
    ///
    /// # Errors
    /// What the kernel says to it, which is nothing.
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        // 0 would switch it off.
        let after = after.max(Duration::from_nanos(1));
        let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        // Below a thousand million, which every type of it holds.
        let it_value = Timespec { tv_sec: seconds, tv_nsec: after.subsec_nanos() as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Comes back `after` from now.
    ///
    /// # Errors
    /// As [`set`](Self::set) and [`poll_rung`](Self::poll_rung).
    pub(crate) async fn wait(&self, after: Duration) -> io::Result<()> {
        self.set(after)?;
        poll_fn(|cx| self.poll_rung(cx)).await
    }

    /// Whether it has rung since the last time that this said so; if not, the task is woken when it does.
    ///
    /// # Errors
    /// What the kernel says to reading it.
    pub(crate) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(&mut [0; 8]) {
                // It has been set anew meanwhile.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                rung => return Poll::Ready(rung.map(drop)),
            }
        }
    }
}
