//! `[limits]`: what one client, one address and the whole broker may cost.
//!
//! Only the numbers live here. Who enforces them is said beside each; what happens when a queue is full is
//! [`Delivery::overflow`](super::Delivery).

use super::quantity::{Period, Size};
use super::section::section;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000;

section! {
    /// What may be used up, and by whom. Nothing in the broker grows without one of these.
    pub struct Limits {
        /// Largest MQTT packet accepted, whole, in bytes: 1 MiB, because a gateway's messages are small and every
        /// byte of a packet may be held in memory once per reader that lags. Told to MQTT 5 clients as Maximum
        /// Packet Size. At most 256 MiB, which is all that a Remaining Length can say.
        max_packet_size: Size [KIB..=256 * MIB] = Size::from_mib(1), Connections;

        /// Largest first packet, in bytes: 64 KiB, because nobody has authenticated yet and a CONNECT needs no more
        /// than its will. A smaller `max_packet_size` wins.
        max_connect_size: Size [256..=MIB] = Size::from_kib(64), Connections;

        /// Time from accepting a socket to a whole CONNECT: 10 s, enough for a bad radio link, too little for
        /// somebody who holds connections open for nothing.
        connect_timeout: Period [SECOND..=300 * SECOND] = Period::from_secs(10), Connections;

        /// Most connections of the whole broker: 10,000, about 12 MB when idle. Needs as many file descriptors.
        max_connections: u32 [1..=1_000_000] = 10_000, Now;

        /// Most connections from one IP address: 2,500, so that one machine gone mad leaves room for the rest.
        max_connections_per_address: u32 [1..=1_000_000] = 2_500, Now;

        /// Most new connections in a second, of all listeners that have no rate of their own: 0, any number. Those above it
        /// wait in the kernel until their turn comes; a tenth of them may come at once.
        connect_rate: u32 [0..=1_000_000] = 0, Now;

        /// Most messages that one client may send in a second: 0, any number. Who sends faster is read more slowly, so
        /// nothing is lost; what it sends behind a message, acknowledgements and pings too, waits with it, and its keep
        /// alive meanwhile. A second's worth may come at once.
        message_rate: u32 [0..=10_000_000] = 0, Now;

        /// Most bytes of messages, as they are on the wire, that one client may send in a second, likewise: 0, any number. A
        /// message that is larger passes, and the next waits so much longer.
        byte_rate: Size [0..=1_024 * MIB] = Size::from_bytes(0), Now;

        /// Longest topic name or filter, in bytes of UTF-8: 1,024. MQTT itself allows 65,535.
        max_topic_bytes: u16 [1..=65_535] = 1_024, Now;

        /// Most levels of a topic name or filter: 64, because each level is a step in the topic tree.
        max_topic_levels: u16 [1..=1_024] = 64, Now;

        /// Most sessions that outlive their connections, of the whole broker: 20,000, twice the connections, so that as
        /// many clients may be away as can be there. A client that wants one more is refused (0x97; in MQTT 3 0x03);
        /// with a clean session, or with one of its own, it is let in. What they may hold at most is this times
        /// `max_queued_bytes` and, for the wills, `max_connect_size`.
        max_sessions: u32 [1..=10_000_000] = 20_000, Now;

        /// Most subscriptions of one client: 10,000, because home automation subscribes topic by topic.
        max_subscriptions: u32 [1..=1_000_000] = 10_000, Now;

        /// Most QoS 1 and 2 messages sent to one client and not yet acknowledged by it: 256, so that a window's worth
        /// fits one round trip of a busy subscriber. An MQTT 5 client may ask for fewer with its Receive Maximum.
        max_inflight: u16 [1..=65_535] = 256, Connections;

        /// Receive Maximum granted to clients, the QoS 1 and 2 messages that they may have under way: 128, because
        /// some clients send 64 without asking.
        receive_maximum: u16 [1..=65_535] = 128, Restart;

        /// Most messages waiting for one client: 10,000, hours of a sensor's readings, and room for the burst of a few
        /// hundred publishers between two of a subscriber's acknowledgements. Past it `delivery.overflow` decides.
        max_queued_messages: u32 [1..=10_000_000] = 10_000, Now;

        /// Most bytes waiting for one client: 8 MiB, counted beside the messages because a thousand large ones are
        /// not a thousand small ones. At least `max_packet_size`.
        max_queued_bytes: Size [KIB..=16 * GIB] = Size::from_mib(8), Now;

        /// Most retained messages: 100,000. 0 switches retained messages off.
        max_retained_messages: u32 [0..=100_000_000] = 100_000, Restart;

        /// Most bytes of retained messages, topics included: 64 MiB.
        max_retained_bytes: Size [0..=64 * GIB] = Size::from_mib(64), Restart;

        /// Most user properties in one MQTT 5 packet: 64, because each is copied to every reader.
        max_user_properties: u16 [0..=65_535] = 64, Now;

        /// Longest keep alive: 1 h. MQTT 5 clients that ask for more, or for none, are told this one (Server Keep
        /// Alive), so that a dead link is always noticed; older clients cannot be told and keep theirs.
        max_keep_alive: Period [SECOND..=65_535 * SECOND] = Period::from_secs(3_600), Connections;

        /// Longest session expiry: 7 d. Finite, because devices that never return would fill the flash with their
        /// queues. Also the expiry of MQTT 3 sessions, which cannot name one. `"0s"` keeps no session after its
        /// connection; at most 49710 d, the largest number of seconds MQTT 5 can say.
        max_session_expiry: Period [0..=49_710 * 86_400 * SECOND] = Period::from_secs(7 * 86_400), Connections;

        /// Most topic aliases that one MQTT 5 client may set: 32, each holding one topic in memory. 0 for none.
        topic_alias_max: u16 [0..=65_535] = 32, Restart;

        /// Bytes that may wait between the broker and one client's socket: 64 KiB. Past it QoS 0 is dropped and
        /// counted, and QoS 1 and 2 stay in the queue.
        out_buffer: Size [4 * KIB..=64 * MIB] = Size::from_kib(64), Restart;
    }
}
