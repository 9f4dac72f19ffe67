//! What the broker itself, or an operator, does: messages that no client has sent, and queues that are emptied or moved.

use std::sync::Arc;

use super::Engine;
use super::letters::Letter;
use super::origin::{Origin, Source};
use crate::effects::{DropReason, Effects};
use crate::id::{Now, SessionId};
use crate::message::Publish;
use crate::policy::Durability;
use crate::queue::Entry;
use crate::topic::TopicName;
use crate::trie::GroupKey;

impl Engine {
    /// A message of the broker's own. Nobody is answered, and nobody's rights are asked but the receivers'.
    pub(super) fn announce(&mut self, now: Now, publish: &Publish<'_>, fx: &mut Effects) {
        // What the broker says of itself is said anew after a restart.
        let is_own = publish.topic.is_dollar() && !publish.topic.is_queue();
        let durability =
            if is_own { Durability::Never } else { self.policy.durability.of(&publish.topic, None) };
        let message = self.pool.take(publish, SessionId::NOBODY, now.mono_ms);
        self.take_in(now, Source::Owned(message), Origin { durability, ..Origin::UNHELD }, fx);
    }

    /// Drops what waits first in a group whose home this worker is, so many at most, counted; what waits for its time goes
    /// once nothing else waits. What consumers have is theirs to answer for.
    pub(super) fn purge(&mut self, now: Now, key: &GroupKey, most: usize, fx: &mut Effects) {
        let Some(&slot) = self.group_slots.get(key) else { return };
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        let mut gone: Vec<_> = std::iter::from_fn(|| home.group.take_first_waiting()).take(most).collect();
        if gone.len() < most {
            gone.extend(home.group.take_delayed(most - gone.len()));
        }
        for gone in gone {
            self.count_drop(now, DropReason::Purged, &key.filter, fx);
            self.group_settled(slot, gone.message.record(), fx);
        }
        // There is room for those who wait for it.
        self.groups_to_drain.push(slot);
    }

    /// Has what waits first in a group go on in a queue, so many messages and bytes at most: whoever asks knows how much room
    /// there is, as the queue may be another worker's and drop what is too much. The store forgets the old message as it takes
    /// the new one. What consumers have, and what waits for its time, stays.
    pub(super) fn move_waiting(
        &mut self,
        now: Now,
        from: &GroupKey,
        to: &str,
        (most, mut bytes_left): (usize, usize),
        fx: &mut Effects,
    ) {
        let Some(&slot) = self.group_slots.get(from) else { return };
        let key = Arc::new(GroupKey { group: Box::default(), filter: to.into() });
        if self.ensure_queue(&key, fx).is_err() {
            return;
        }
        for _ in 0..most {
            let set = Arc::clone(self.cache.lookup(&self.shared.tree, TopicName::from_validated(to)));
            if self.shared.lines.any_full(set.groups()) || self.must_park(&set) {
                break;
            }
            let Some(home) = self.groups.get_mut(slot as usize) else { break };
            let Some(first) = home.group.waiting_from(0, 1).pop() else { break };
            let Some(left) = bytes_left.checked_sub(first.cost() + size_of::<Entry>()) else { break };
            drop(first);
            let Some(gone) = home.group.take_first_waiting() else { break };
            bytes_left = left;
            let owner = home.number.filter(|_| gone.message.record() != 0);
            let letter = Letter { topic: to.into(), gone, death: None, hops: 0, owner };
            self.publish_dead_letter(now, &letter, fx);
        }
        self.groups_to_drain.push(slot);
    }
}
