//! When the next message is due, to the microsecond: the runtime's own timers know milliseconds only.

use std::io;
use std::rc::Rc;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe;

use super::flow::Flow;

/// A timer of the kernel's. To the runtime it is a pipe that has eight bytes when it rings: that is all it is asked for,
/// and the way to wait for another kind of descriptor needs unsafe code.
#[derive(Debug)]
pub(super) struct Alarm(pipe::Receiver);

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        pipe::Receiver::from_owned_fd_unchecked(timer).map(Self)
    }

    /// Returns in `after_ns`.
    pub(super) async fn wait(&self, after_ns: u64) -> io::Result<()> {
        // 0 would switch it off.
        let after_ns = after_ns.max(1);
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(after_ns / 1_000_000_000).unwrap_or(i64::MAX),
            // Below a thousand million, which every type of it holds.
            tv_nsec: (after_ns % 1_000_000_000) as _,
        };
        timerfd_settime(
            &self.0,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: never, it_value: value },
        )?;
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                rung => return rung.map(drop),
            }
        }
    }
}

/// Wakes each publisher when a message of its is due, until the flow's end.
pub(super) async fn pace(flow: Rc<Flow>) -> io::Result<()> {
    let alarm = Alarm::new()?;
    let publishers = flow.publishers();
    let mut nth = 0;
    while let Some(mut due_ns) = flow.due_ns(nth) {
        let now_ns = flow.now_ns();
        if due_ns > now_ns {
            if due_ns >= flow.until_ns.get() {
                break;
            }
            alarm.wait(due_ns - now_ns).await?;
            continue;
        }
        // Each at most once: whoever is woken sends everything of its that is due.
        for _ in 0..publishers {
            if due_ns > now_ns {
                break;
            }
            flow.wake((nth % publishers) as usize);
            nth += 1;
            due_ns = flow.due_ns(nth).unwrap_or(u64::MAX);
        }
        if due_ns <= now_ns {
            nth = nth.max(flow.due_before(now_ns));
        }
    }
    Ok(())
}
