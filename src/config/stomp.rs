//! `[stomp]`: what one STOMP connection may cost, and how its silence is taken.
//!
//! A listener's dialect is beside its address. What holds for MQTT and STOMP alike, such as the time to the first
//! frame, is in [`Limits`](super::Limits).

use super::quantity::{Period, Size};
use super::section::section;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

section! {
    /// What one STOMP connection may cost. A client past a limit gets an ERROR that names it.
    pub struct Stomp {
        /// Most headers of one frame: 64, because each is copied to every reader.
        max_headers: u16 [8..=1_024] = 64, Connections;

        /// Longest header, name and value, in bytes on the wire: 8 KiB. What is longer belongs into the body. Below
        /// 64 KiB, which is all that a property of MQTT can hold.
        max_header_line: Size [256..=64 * KIB - 1] = Size::from_kib(8), Connections;

        /// Largest body, in bytes: 1 MiB, as `limits.max_packet_size` is for MQTT, because each may be held in memory
        /// once per reader that lags.
        max_body: Size [KIB..=256 * MIB] = Size::from_mib(1), Connections;

        /// Most transactions that one connection may have open: 16. 0 for none at all.
        max_transactions: u16 [0..=1_024] = 16, Connections;

        /// Most SEND, ACK and NACK in all open transactions of one connection: 1,000, because they wait in memory and are
        /// committed together.
        max_transaction_actions: u16 [1..=65_535] = 1_000, Connections;

        /// Most bytes in all open transactions of one connection, headers and book-keeping included: 4 MiB, a few of the
        /// largest messages. More than `max_body`.
        max_transaction_bytes: Size [KIB..=256 * MIB] = Size::from_mib(4), Connections;

        /// Most bytes of the receipts that one connection waits for: 1 MiB, book-keeping included, because each is kept
        /// until it is given.
        max_receipt_bytes: Size [KIB..=256 * MIB] = Size::from_mib(1), Connections;

        /// Messages that a subscription may have unacknowledged if it does not say (`prefetch-count`,
        /// `activemq.prefetchSize`): 256, a window's worth for one round trip of a busy consumer.
        prefetch: u16 [1..=65_535] = 256, Connections;

        /// Most messages that a subscription may have unacknowledged, whatever it asks for: 1,000, because what one
        /// consumer of a queue holds no other can have.
        max_prefetch: u16 [1..=65_535] = 1_000, Connections;

        /// How often a client is asked to send something, if it offers heart-beats: 10 s, so that a dead link shows in
        /// twice that. It is sent something as often as it wants. `"0s"` asks for nothing; else at least 1 s.
        heart_beat: Period [0..=HOUR] = Period::from_secs(10), Connections;

        /// Time after which a STOMP 1.0 client without heart-beats and without a subscription is disconnected, if nothing
        /// has passed: 60 s, because its dead link would never show. `"0s"` waits for ever; else at least 1 s.
        idle_timeout: Period [0..=24 * HOUR] = Period::from_secs(60), Connections;
    }
}
