//! What may be said of one queue (or kept group): by the SUBSCRIBE that makes it, or by the configuration.

use crate::policy::Overflow;

/// Limits and habits of one queue; `None` where nothing was said, and the broker's defaults hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueOptions {
    /// Longest that a message waits, ms (`x-message-ttl`).
    pub message_ttl_ms: Option<u64>,
    /// The queue ends when it has had no consumer for so long, ms (`x-expires`).
    pub idle_expiry_ms: Option<u64>,
    /// Most messages that wait (`x-max-length`).
    pub max_messages: Option<u64>,
    /// Most bytes that wait (`x-max-length-bytes`).
    pub max_bytes: Option<u64>,
    /// What gives way when it is full (`x-overflow`).
    pub overflow: Option<Overflow>,
    /// Highest priority told apart, 0 to 9 (`x-max-priority`).
    pub max_priority: Option<u8>,
    /// Topic that dead letters are published to, `$queue/…` for a queue; empty: they are dropped, and counted.
    pub dead_letter: Option<Box<str>>,
    /// Deliveries of one message after which it is a dead letter (`x-delivery-limit`).
    pub max_deliveries: Option<u32>,
    /// How long a consumer may hold a message without acknowledging it, ms (`x-consumer-timeout`).
    pub ack_deadline_ms: Option<u64>,
    /// Whether it ends with its last consumer (`auto-delete`).
    pub auto_delete: Option<bool>,
    /// Whether it stays without one (`durable`): of queues and durable subscriptions true unless they are to be deleted.
    pub durable: Option<bool>,
    /// Which messages a durable subscription keeps, as its subscriber wrote it; nobody else's, and never said but by the
    /// SUBSCRIBE itself: one without a selector wants everything again.
    pub selector: Option<Box<str>>,
}
