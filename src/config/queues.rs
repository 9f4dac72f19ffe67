//! `[queues]`: what every queue (`$queue/…`, STOMP's `/queue/…`) may hold and how often it tries, unless the
//! subscription that makes it asks for less.
//!
//! What a client's own queue of undelivered messages may hold is in [`Limits`](super::Limits).

use super::quantity::{Period, Size};
use super::section::{section, text};
use super::server::Overflow;

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

section! {
    /// The defaults of every queue, and how many there may be.
    pub struct Queues {
        /// Most queues of the whole broker: 10,000. Each is made by its first use, so a client gone mad could make one
        /// for every message.
        max_queues: u32 [1..=1_000_000] = 10_000, Now;

        /// Most messages waiting in one queue: 10,000, an hour of a gateway's work. Past it `overflow` decides.
        max_messages: u32 [1..=10_000_000] = 10_000, Now;

        /// Most bytes waiting in one queue: 8 MiB, counted beside the messages because a thousand large ones are not a
        /// thousand small ones. At least `max_packet_size` and `max_body`.
        max_bytes: Size [KIB..=16 * GIB] = Size::from_mib(8), Now;

        /// What a full queue does: `"refuse"`, because a queue is work to be done, of which nothing may give way. Senders
        /// wait, and are refused after `delivery.refuse_timeout`. A queue of dead letters drops the oldest instead.
        overflow: Overflow = Overflow::Refuse, Now;

        /// How often one message is delivered, at most, to consumers that give it back or vanish: 16. After that it is a
        /// dead letter, because a message that breaks its consumers would go round for ever. 0 lets it.
        max_deliveries: u32 [0..=1_000_000] = 16, Now;

        /// How long a consumer may keep a message without acknowledging it: 30 min. Then another one gets it, because a
        /// consumer that hangs keeps its connection. `"0s"` for ever; else at least 1 s.
        ack_deadline: Period [0..=30 * DAY] = Period::from_secs(1_800), Now;

        /// What the name of a queue's dead-letter queue begins with: `"DLQ."`, so the dead letters of `orders` wait in
        /// `DLQ.orders`. Its own messages never become dead letters.
        dead_letter_prefix: Prefix = Prefix::from("DLQ."), Now;
    }
}

text! {
    /// The beginning of a name as it stands in the file.
    pub struct Prefix = "the beginning of a name such as \"DLQ.\" or \"dead/\"";
}
