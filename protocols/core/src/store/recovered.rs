//! What a restart finds in the store, in the engines' terms: deadlines are monotonic milliseconds of the new process,
//! counted so that the time while it was down has passed.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::{KeptWill, LoadedMessage, SessionNumber};
use crate::group::QueueOptions;
use crate::id::Qos;
use crate::message::Message;
use crate::queue::Stub;

/// Everything that survived. What had expired is not among it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Kept sessions.
    pub sessions: Vec<RecoveredSession>,
    /// Shared subscriptions with durable members; their members are to be found in the sessions' subscriptions.
    pub groups: Vec<RecoveredGroup>,
    /// Wills of clients whose sessions are not kept, or have ended while the broker was down: they are due at once.
    pub wills: Vec<RecoveredWill>,
    /// Retained messages with their versions.
    pub retained: Vec<(u64, Arc<Message>)>,
    /// The highest session number that was ever given, as far as is known.
    pub last_session: u64,
    /// The highest record number that was ever given, as far as is known.
    pub last_record: u64,
    /// The highest version of a retained message that was ever given, as far as is known.
    pub last_version: u64,
}

/// A kept session.
#[derive(Debug)]
pub struct RecoveredSession {
    /// Its number.
    pub number: SessionNumber,
    /// Its client id.
    pub client_id: Box<str>,
    /// The user it belongs to.
    pub user: Option<Box<str>>,
    /// Session Expiry Interval, s; `u32::MAX` for ever.
    pub expiry_s: u32,
    /// Monotonic ms at which it ends if its client does not come back; `u64::MAX` for never. A client that was connected
    /// when the process ended counts as having left at the restart.
    pub expires_ms: u64,
    /// Its will and the monotonic ms at which it is due (at the latest with the session's end).
    pub will: Option<(KeptWill, u64)>,
    /// Its subscriptions.
    pub subscriptions: Vec<RecoveredSubscription>,
    /// Messages waiting for it, in order, without those of `outbound`.
    pub queue: Vec<Stub>,
    /// Outbound exchanges under way, in the order in which they began.
    pub outbound: Vec<(NonZeroU16, Exchange)>,
    /// Packet ids of inbound QoS 2 exchanges under way.
    pub inbound: Vec<NonZeroU16>,
}

/// An outbound exchange as far as the store knows.
#[derive(Debug)]
pub enum Exchange {
    /// PUBLISH is to be sent (again).
    Sent {
        /// The message and its identifiers; of what a group has lent they are the engine's to know.
        loaded: LoadedMessage,
        /// The session itself, or the group that lent the message.
        owner: SessionNumber,
        /// QoS of the delivery.
        qos: Qos,
        /// RETAIN flag of the delivery.
        retain: bool,
    },
    /// PUBREC came, or the message is gone (it has expired, its group has ended, its publisher was told of a failure):
    /// PUBREL is to be sent. Even if nothing was received: a client that holds the packet id would take the next message
    /// under it for a copy.
    Received,
}

/// A subscription of a kept session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredSubscription {
    /// As the client wrote it, `$share/…` included.
    pub filter: Box<str>,
    /// Granted QoS.
    pub qos: Qos,
    /// Own messages are not returned.
    pub no_local: bool,
    /// RETAIN is passed on as published.
    pub retain_as_published: bool,
    /// Subscription Identifier.
    pub id: Option<NonZeroU32>,
    /// Which messages are wanted, as the client wrote it.
    pub selector: Option<Box<str>>,
}

/// A shared subscription with what waits for its members; what was lent to one of them is waiting again.
#[derive(Debug)]
pub struct RecoveredGroup {
    /// Its number.
    pub number: SessionNumber,
    /// The share name.
    pub group: Box<str>,
    /// The filter behind it.
    pub filter: Box<str>,
    /// What was said of it.
    pub options: QueueOptions,
    /// Messages, in order, without those in a session's outbound exchanges, each with the count of its deliveries.
    pub queue: Vec<(Arc<Message>, u32)>,
}

/// The will of a client whose session is not kept, or has ended.
#[derive(Debug)]
pub struct RecoveredWill {
    /// Its session's number.
    pub number: SessionNumber,
    /// The will.
    pub will: KeptWill,
}
