//! When the next message is due, to the microsecond: the runtime's own timers know milliseconds only.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::flow::Flow;
use crate::timer::Timer;

/// Wakes each publisher when a message of its is due, until the flow's end.
pub(super) async fn pace(flow: Rc<Flow>) -> io::Result<()> {
    let timer = Timer::new()?;
    let publishers = flow.publishers();
    let mut nth = 0;
    while let Some(mut due_ns) = flow.due_ns(nth) {
        let now_ns = flow.now_ns();
        if due_ns > now_ns {
            if due_ns >= flow.until_ns.get() {
                break;
            }
            timer.wait(Duration::from_nanos(due_ns - now_ns)).await?;
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
