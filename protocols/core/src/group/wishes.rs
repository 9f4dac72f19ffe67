//! What a message says of how a queue is to treat it: user properties, read once when it arrives. The first of a name
//! holds; what makes no sense is as if it were not said.

use super::due::Due;
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
    /// Before which nobody is to get it.
    pub(super) due: Option<Due>,
}

impl Wishes {
    const NONE: Self = Self { priority: PRIORITY, sticky: 0, closes: false, dedup: None, due: None };

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
        // A dead letter has had its delay, and one that died twice is no duplicate.
        let (at_ms, delay_ms) = if died { (None, None) } else { (number(deliver_at), number(delay)) };
        // A delay was made a time for the sake of restarts. No clock makes it longer; and the time may be that of a
        // clock which was yet to be set, so only a time that stands alone is waited for as such.
        let until_ms = at_ms.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.wall_ms));
        let wait_ms = until_ms.min(delay_ms.unwrap_or(u64::MAX));
        let waits = wait_ms > 0 && (at_ms.is_some() || delay_ms.is_some());
        let due = waits.then(|| Due {
            mono_ms: now.mono_ms.saturating_add(wait_ms),
            wall_ms: at_ms.filter(|_| delay_ms.is_none()),
        });
        Self {
            priority: number(priority).map_or(PRIORITY, |priority| priority.min(9) as u8),
            // 0 stands for none.
            sticky: group.filter(|id| !id.is_empty()).map_or(0, |id| seed.hash(id).max(1)),
            closes: sequence.is_some_and(|sequence| sequence.trim() == "-1"),
            dedup: dedup.filter(|_| !died).map(|id| seed.hash(id)),
            due,
        }
    }
}
