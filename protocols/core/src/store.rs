//! What the engine asks of stable storage, what a store gives back after a restart, and the store that keeps everything
//! in memory.
//!
//! Every acknowledgement goes through `submit` and [`StoreEvent::Settled`], whichever store is behind it, so that the
//! order of events is the same with memory as with a disk. The engine never waits inside: it goes on with other
//! clients until the event comes. [`StoreOp`] is what is submitted, [`Recovered`] what a restart finds.

mod recovered;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use thiserror::Error;

use crate::group::QueueOptions;
use crate::id::{Qos, SessionId};
use crate::message::Message;

pub use recovered::{
    Exchange, Recovered, RecoveredGroup, RecoveredSession, RecoveredSubscription, RecoveredWill,
};

/// Names one submission until its [`StoreEvent::Settled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// For an operation whose completion nobody waits for: it is written with the next commit, or a while later if none
    /// comes. It is not answered.
    pub const NONE: Self = Self(u64::MAX);
}

/// A session's (or durable group's) number on disk: never reused, independent of workers and slots. A u32 would last
/// for 497 days of 100 sessions a second, and then give a live session's number to another. 0 is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNumber(pub u64);

/// One durable recipient of a message, and how it is to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The session, or the group.
    pub session: SessionNumber,
    /// QoS of the delivery, 1 or 2; for a group that of the message.
    pub qos: Qos,
    /// RETAIN flag of the delivery; for a group that of the message.
    pub retain: bool,
    /// Identifiers of the subscriptions that matched; `None` if none has one.
    pub subscription_ids: Option<Arc<[NonZeroU32]>>,
}

/// A will as the store keeps it while its client is there.
#[derive(Clone, Debug)]
pub struct KeptWill {
    /// The client, for the right to publish it when the time comes.
    pub client_id: Box<str>,
    /// The user it was authenticated as.
    pub user: Option<Box<str>>,
    /// Topic, fields, payload, QoS and RETAIN; without an expiry.
    pub message: Arc<Message>,
    /// Will Delay Interval, s.
    pub delay_s: u32,
    /// Message Expiry Interval, s, counted from the publication.
    pub expiry_s: Option<u32>,
}

/// One operation; the store commits or cancels it. Operations of one worker are committed in the order in which they
/// were submitted, so that what is on disk is always a state that was.
#[derive(Clone, Debug)]
pub enum StoreOp {
    /// A message for durable recipients, a retained topic, or both. Settled once it is on stable storage, or once every
    /// recipient has acknowledged it (if it is neither retained nor inbound QoS 2).
    Publish {
        /// The message; [`Message::record`] is its number, unless there is no recipient. Its expiry is in the engines'
        /// monotonic milliseconds.
        message: Arc<Message>,
        /// Who keeps it until they acknowledge it.
        recipients: Box<[Recipient]>,
        /// Its version if it becomes the topic's retained message (an empty payload clears it): of two for one topic
        /// the store keeps the one with the higher version, in whichever order they come.
        retained: Option<u64>,
        /// The publisher's session and packet id when it came at QoS 2 and must not be taken twice.
        inbound: Option<(SessionNumber, u16)>,
    },
    /// The retained message of a topic has expired: forgotten unless the store has a higher version by now.
    RetainedExpired {
        /// The message that expired.
        message: Arc<Message>,
        /// Its version.
        version: u64,
    },
    /// A recipient is done with a message: acknowledged, expired, dropped by a stated limit. Says nothing if the session
    /// is not, or no longer, a recipient of the message.
    Acknowledged {
        /// The recipient.
        session: SessionNumber,
        /// The message.
        record: u64,
    },
    /// An inbound QoS 2 exchange is over (PUBREL came): the packet id may be used anew.
    InboundReleased {
        /// The publisher's session.
        session: SessionNumber,
        /// Its packet id.
        packet_id: u16,
    },
    /// An outbound message is about to be sent under a packet id (QoS 2), or was sent and not acknowledged before the
    /// connection was lost (QoS 1): it keeps that packet id [MQTT-4.4.0-1].
    OutboundSent {
        /// The session that gets it.
        session: SessionNumber,
        /// Whose message it is: the session's own, or that of the group that lent it. While the exchange is under way
        /// it waits for the session alone.
        owner: SessionNumber,
        /// The message.
        record: u64,
        /// Our packet id.
        packet_id: u16,
    },
    /// The client has it (PUBREC came): from now on only PUBREL is sent. The owner has thereby acknowledged the message.
    /// With record 0 and no [`StoreOp::OutboundSent`] before: a message that the store does not have is about to be sent
    /// at QoS 2; its packet id is taken, and a restart frees it with PUBREL.
    OutboundReceived {
        /// The session that got it.
        session: SessionNumber,
        /// As in [`StoreOp::OutboundSent`].
        owner: SessionNumber,
        /// The message.
        record: u64,
        /// Our packet id.
        packet_id: u16,
    },
    /// An outbound exchange is over (PUBACK or PUBCOMP came, or its message will not be sent): its packet id is free.
    OutboundCompleted {
        /// The recipient.
        session: SessionNumber,
        /// Our packet id.
        packet_id: u16,
    },
    /// A session that outlives its connection exists, with these attributes, and its client is connected.
    SessionKept {
        /// The session.
        session: SessionNumber,
        /// Its client id.
        client_id: Box<str>,
        /// The user it belongs to.
        user: Option<Box<str>>,
        /// Seconds it outlives its connection; `u32::MAX` for ever.
        expiry_s: u32,
    },
    /// A kept session's client has left (its expiry counts from now) or a group's last member has; or a group's first
    /// member has come. What is for somebody absent is not worth waiting with.
    Presence {
        /// The session or group.
        session: SessionNumber,
        /// Whether it can be delivered to.
        online: bool,
    },
    /// A session has ended; everything recorded for it is void, save its will, which is published first: see
    /// [`StoreOp::WillGone`].
    SessionEnded {
        /// The session.
        session: SessionNumber,
        /// The messages that it had not acknowledged.
        records: Box<[u64]>,
    },
    /// A durable subscription exists.
    Subscribed {
        /// The session.
        session: SessionNumber,
        /// The filter as the client wrote it, `$share/…` included.
        filter: Box<str>,
        /// Granted QoS.
        qos: Qos,
        /// No Local, Retain As Published.
        flags: (bool, bool),
        /// Subscription Identifier, 0 for none.
        subscription_id: u32,
        /// Which messages are wanted, as the client wrote it.
        selector: Option<Box<str>>,
    },
    /// A durable subscription is gone.
    Unsubscribed {
        /// The session.
        session: SessionNumber,
        /// The filter as the client wrote it.
        filter: Box<str>,
    },
    /// A connected client, its session kept or not, has a will. Replaces an older one.
    WillKept {
        /// The session.
        session: SessionNumber,
        /// The will.
        will: Box<KeptWill>,
    },
    /// The will was published or discarded.
    WillGone {
        /// The session.
        session: SessionNumber,
    },
    /// A shared subscription has a member whose session is kept, or a queue is there: it is a recipient under this
    /// number. Said again when its options change.
    GroupKept {
        /// The group's number.
        session: SessionNumber,
        /// The share name; empty for a queue, the name of a durable subscription of STOMP.
        group: Box<str>,
        /// The filter behind it; `$queue/…` for a queue.
        filter: Box<str>,
        /// What was said of it.
        options: Box<QueueOptions>,
    },
    /// A message that a group had lent has come back from its consumer: so often it has been delivered now.
    Released {
        /// The group.
        session: SessionNumber,
        /// The message.
        record: u64,
        /// Deliveries so far.
        deliveries: u32,
    },
    /// Several operations that are on stable storage all together or not at all; none of them is a transaction. Settled
    /// when all of them are.
    Transaction(Box<[StoreOp]>),
    /// A group is no recipient any more: a share has lost its last member, or its last kept one; a queue or a durable
    /// subscription has ended. Whoever has said [`StoreOp::GroupKept`] of it says this as well.
    GroupEnded {
        /// The group's number.
        session: SessionNumber,
        /// The messages that it had not acknowledged.
        records: Box<[u64]>,
    },
}

/// Messages of a session's queue that are to come back into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// Who asks, echoed in [`Loaded`].
    pub session: SessionId,
    /// The numbers of the messages, in the order of the queue.
    pub records: Box<[u64]>,
}

impl LoadRequest {
    /// The recipient as the store knows it.
    #[must_use]
    pub fn number(&self) -> SessionNumber {
        SessionNumber(self.session.incarnation)
    }
}

/// The answer to a [`LoadRequest`].
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Who asked.
    pub session: SessionId,
    /// One for each record asked for, in order.
    pub messages: Vec<(u64, Option<LoadedMessage>)>,
}

/// A message out of the store.
#[derive(Clone, Debug)]
pub struct LoadedMessage {
    /// The message, its expiry in the engines' monotonic milliseconds again.
    pub message: Arc<Message>,
    /// As in the session's [`Recipient`].
    pub subscription_ids: Option<Arc<[NonZeroU32]>>,
}

/// What the store reports.
#[derive(Clone, Debug)]
pub enum StoreEvent {
    /// The submission is on stable storage, or was cancelled because it is no longer needed.
    Settled(Ticket),
    /// The submission could not be stored (full or failing disk); its effect must be refused.
    Failed(Ticket),
    /// Messages are back in memory. A record that is not found was damaged, or its publisher was told of a failure.
    Loaded(Box<Loaded>),
    /// The store has lost what it held and begins anew: everything that is still known is to be submitted again. Messages
    /// that were in the store alone are gone.
    Emptied,
}

/// The store takes no more for now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the store refuses new messages: {reason}")]
pub struct StoreRefused {
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Stable storage as the engine sees it.
pub trait Store {
    /// Hands an operation over; unless it is [`Ticket::NONE`], its ticket is answered by [`Store::poll`] exactly once.
    ///
    /// # Errors
    /// [`StoreRefused`] when the store can't take it; the operation has no effect then and is not answered.
    fn submit(&mut self, ticket: Ticket, op: StoreOp) -> Result<(), StoreRefused>;

    /// Asks for messages; answered by exactly one [`StoreEvent::Loaded`].
    fn load(&mut self, request: LoadRequest);

    /// The next report, if any.
    fn poll(&mut self) -> Option<StoreEvent>;
}

/// A store for brokers without a data directory, for tests and for the simulation.
///
/// The engine's own memory holds everything already, so this one keeps nothing besides the answers that it owes; with it
/// [`crate::policy::Limits::max_held_messages`] has to stay without bound, because it has no message to give back.
#[derive(Debug, Default)]
pub struct MemoryStore {
    events: VecDeque<StoreEvent>,
}

impl Store for MemoryStore {
    fn submit(&mut self, ticket: Ticket, _op: StoreOp) -> Result<(), StoreRefused> {
        if ticket != Ticket::NONE {
            self.events.push_back(StoreEvent::Settled(ticket));
        }
        Ok(())
    }

    fn load(&mut self, request: LoadRequest) {
        let messages = request.records.iter().map(|&record| (record, None)).collect();
        self.events.push_back(StoreEvent::Loaded(Box::new(Loaded { session: request.session, messages })));
    }

    fn poll(&mut self) -> Option<StoreEvent> {
        self.events.pop_front()
    }
}
