//! Message groups (`JMSXGroupID`): whose each is, while its member stays.

use std::collections::{BTreeMap, VecDeque};

use crate::id::SessionId;

/// Ids whose member is remembered.
pub(super) const MAX_IDS: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Owner {
    session: SessionId,
    /// Tells an id that was closed and opened again from its first life.
    stamp: u64,
}

/// See the module. Ids are hashes, never 0.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    owners: BTreeMap<u64, Owner>,
    /// Ids in the order in which they were given to somebody.
    order: VecDeque<(u64, u64)>,
    /// How many messages of each id wait.
    waiting: BTreeMap<u64, u32>,
    last_stamp: u64,
}

impl Sticky {
    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.waiting.is_empty()
    }

    /// Whether messages of `id` may go to `session`.
    pub(super) fn allows(&self, id: u64, session: SessionId) -> bool {
        id == 0 || self.owners.get(&id).is_none_or(|owner| owner.session == session)
    }

    /// A message of `id` waits, or no longer does.
    pub(super) fn count(&mut self, id: u64, waits: bool) {
        if id == 0 {
            return;
        }
        let count = self.waiting.entry(id).or_insert(0);
        *count = if waits { count.saturating_add(1) } else { count.saturating_sub(1) };
        if *count == 0 {
            self.waiting.remove(&id);
        }
    }

    /// A message of `id` goes to `session`, and is the last of its group if it `closes` it. True if others that wait may
    /// go to somebody else now.
    pub(super) fn lent(&mut self, id: u64, session: SessionId, closes: bool) -> bool {
        if id == 0 {
            return false;
        }
        if closes {
            self.owners.remove(&id);
            return self.waiting.contains_key(&id);
        }
        if self.owners.contains_key(&id) {
            return false;
        }
        let frees = self.owners.len() >= MAX_IDS && self.forget_oldest();
        self.last_stamp += 1;
        self.owners.insert(id, Owner { session, stamp: self.last_stamp });
        self.order.push_back((id, self.last_stamp));
        if self.order.len() > 2 * MAX_IDS {
            let owners = &self.owners;
            self.order.retain(|(id, stamp)| owners.get(id).is_some_and(|owner| owner.stamp == *stamp));
        }
        frees
    }

    /// True if messages of the one that is forgotten wait.
    fn forget_oldest(&mut self) -> bool {
        while let Some((id, stamp)) = self.order.pop_front() {
            if self.owners.get(&id).is_some_and(|owner| owner.stamp == stamp) {
                self.owners.remove(&id);
                return self.waiting.contains_key(&id);
            }
        }
        false
    }

    /// A member goes: its groups are anybody's.
    pub(super) fn release(&mut self, session: SessionId) {
        self.owners.retain(|_, owner| owner.session != session);
    }
}
