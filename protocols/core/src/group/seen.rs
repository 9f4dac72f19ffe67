//! The ids of a queue's last messages, so that one that is sent twice is taken once.

use std::collections::{BTreeSet, VecDeque};

/// Ids remembered at most.
pub(super) const MAX_IDS: usize = 10_000;

/// How long an id is remembered, ms.
pub(super) const MEMORY_MS: u64 = 10 * 60 * 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ids: BTreeSet<u64>,
    /// In the order in which they came, each with the monotonic ms.
    order: VecDeque<(u64, u64)>,
}

impl Seen {
    /// Whether an id has been noted, and not too long ago.
    pub(super) fn knows(&mut self, id: u64, now_ms: u64) -> bool {
        while self.order.front().is_some_and(|&(_, seen_ms)| now_ms >= seen_ms + MEMORY_MS) {
            self.forget_oldest();
        }
        self.ids.contains(&id)
    }

    /// Notes an id, unless it is known.
    pub(super) fn note(&mut self, id: u64, now_ms: u64) {
        if self.knows(id, now_ms) {
            return;
        }
        if self.order.len() == MAX_IDS {
            self.forget_oldest();
        }
        self.ids.insert(id);
        self.order.push_back((id, now_ms));
    }

    fn forget_oldest(&mut self) {
        if let Some((id, _)) = self.order.pop_front() {
            self.ids.remove(&id);
        }
    }
}
