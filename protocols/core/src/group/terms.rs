//! What holds for a group: limits and habits, and what it is told of the world at every step.

use crate::hash::Seed;
use crate::id::{Now, WorkerId};
use crate::policy::{Overflow, ShareStrategy};

/// What holds for one group.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Whether it is a queue or a durable subscription rather than a share: it keeps whatever it is given, at QoS 0 and
    /// without a member too, and looks at what messages ask for.
    pub is_queue: bool,
    /// Whether it keeps messages although no member is durable.
    pub keeps: bool,
    /// How a member is chosen.
    pub strategy: ShareStrategy,
    /// Messages kept while no member can take one.
    pub max_messages: usize,
    /// Bytes kept while no member can take one.
    pub max_bytes: usize,
    /// What a full backlog does. There is no consumer of it to disconnect: [`Overflow::Disconnect`] drops the oldest.
    pub overflow: Overflow,
    /// Unanswered loans per member that names no window.
    pub max_outstanding: u32,
    /// Unanswered loans per member, whatever window it names.
    pub max_window: u32,
    /// Bytes lent to a member at which it gets no more; of a queue only.
    pub max_lent_bytes: usize,
    /// Highest priority told apart.
    pub max_priority: u8,
    /// Longest that a message waits, ms.
    pub message_ttl_ms: Option<u64>,
    /// Deliveries after which a message is a dead letter; `u32::MAX`: never.
    pub max_deliveries: u32,
    /// How long a member may hold a message without answering, ms.
    pub ack_deadline_ms: Option<u64>,
    /// The group ends when it has had no member for so long, ms.
    pub idle_expiry_ms: Option<u64>,
}

/// What a group has to know besides, at every step.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The time.
    pub now: Now,
    /// What holds for the group.
    pub terms: &'a Terms,
    /// Keys its hashes.
    pub seed: &'a Seed,
    /// The worker that is the group's home.
    pub own: WorkerId,
    /// What may still be sent to each worker.
    pub credit: &'a [i64],
}

impl Around<'_> {
    /// Whether a worker can be sent to now.
    pub(super) fn reaches(&self, worker: WorkerId) -> bool {
        worker == self.own || self.credit.get(worker.index()).is_some_and(|&credit| credit > 0)
    }
}
