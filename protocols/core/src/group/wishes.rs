//! What a message says of how a queue is to treat it: user properties, read once when it arrives. The first of a name
//! holds; what makes no sense is as if it were not said.

use crate::hash::Seed;
use crate::id::Now;
use crate::message::{Field, Message};

/// A property that names why a message became a dead letter; see [`super::Death`].
pub(crate) const FIRST_DEATH: &str = "x-first-death-reason";

/// Priority of a message that names none (Jakarta Messaging 3.1, section 3.4.10).
const PRIORITY: u8 = 4;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    /// `priority`, 0 to 9.
    pub(super) priority: u8,
    /// `JMSXGroupID`, hashed; 0 for none.
    pub(super) sticky: u64,
    /// `JMSXGroupSeq` is -1: the last of its group.
    pub(super) closes: bool,
    /// `x-dedup-id`, hashed.
    pub(super) dedup: Option<u64>,
    /// Monotonic ms before which nobody is to get it.
    pub(super) due_ms: Option<u64>,
}

impl Wishes {
    const NONE: Self = Self { priority: PRIORITY, sticky: 0, closes: false, dedup: None, due_ms: None };

    pub(super) fn of(message: &Message, now: Now, seed: &Seed) -> Self {
        if message.wire_fields().is_empty() {
            return Self::NONE;
        }
        let (mut priority, mut group, mut sequence, mut dedup) = (None, None, None, None);
        let (mut deliver_at, mut delay, mut died) = (None, None, false);
        for field in message.fields().iter() {
            let Field::UserProperty(name, value) = field else { continue };
            let slot = match name {
                "priority" => &mut priority,
                "JMSXGroupID" => &mut group,
                "JMSXGroupSeq" => &mut sequence,
                "x-dedup-id" => &mut dedup,
                "x-deliver-at" => &mut deliver_at,
                "AMQ_SCHEDULED_DELAY" => &mut delay,
                FIRST_DEATH => {
                    died = true;
                    continue;
                }
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u64>().ok());
        // The wall clock is asked once: however it is set later, the wait is no longer than it is now.
        let wait_ms = match number(deliver_at) {
            Some(at_ms) => Some(at_ms.saturating_sub(now.wall_ms)),
            // A dead letter has had its delay, and one that died twice is no duplicate.
            None => number(delay).filter(|_| !died),
        };
        Self {
            priority: number(priority).map_or(PRIORITY, |priority| priority.min(9) as u8),
            // 0 stands for none.
            sticky: group.filter(|id| !id.is_empty()).map_or(0, |id| seed.hash(id).max(1)),
            closes: sequence.is_some_and(|sequence| sequence.trim() == "-1"),
            dedup: dedup.filter(|_| !died).map(|id| seed.hash(id)),
            due_ms: wait_ms.filter(|&ms| ms > 0).map(|ms| now.mono_ms.saturating_add(ms)),
        }
    }
}
