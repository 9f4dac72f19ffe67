//! What the engine asks of stable storage, and the store that keeps everything in memory.
//!
//! Every acknowledgement goes through `submit` and [`StoreEvent::Settled`], whichever store is behind it, so that the
//! order of events is the same with memory as with a disk. The engine never waits inside: it goes on with other
//! clients until the event comes.

use std::collections::VecDeque;
use std::sync::Arc;

use thiserror::Error;

use crate::id::Qos;
use crate::message::Message;

/// Names one submission until its [`StoreEvent::Settled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// For an operation whose completion nobody waits for.
    pub const NONE: Self = Self(u64::MAX);
}

/// A session's number on disk: never reused, independent of workers and slots. A u32 would last for 497 days of 100
/// sessions a second, and then give a live session's number to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNumber(pub u64);

/// One operation; the store commits or cancels it and answers exactly once.
#[derive(Clone, Debug)]
pub enum StoreOp {
    /// A message for durable recipients, a retained topic, or both.
    Publish {
        /// The message; [`Message::record`] is its number.
        message: Arc<Message>,
        /// Sessions that keep it until they acknowledge it.
        recipients: Box<[SessionNumber]>,
        /// Whether it becomes the topic's retained message (an empty payload clears it).
        retained: bool,
        /// The publisher's session and packet id when it came at QoS 2 and must not be taken twice.
        inbound: Option<(SessionNumber, u16)>,
    },
    /// A recipient is done with a message: acknowledged, expired, dropped by a stated limit.
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
    /// An outbound QoS 2 message is about to be sent under a packet id.
    OutboundSent {
        /// The recipient.
        session: SessionNumber,
        /// The message.
        record: u64,
        /// Our packet id.
        packet_id: u16,
    },
    /// The recipient has it (PUBREC came): from now on only PUBREL is sent.
    OutboundReceived {
        /// The recipient.
        session: SessionNumber,
        /// Our packet id.
        packet_id: u16,
    },
    /// An outbound QoS 2 exchange is over (PUBCOMP came, or its message will not be sent): its packet id is free.
    OutboundCompleted {
        /// The recipient.
        session: SessionNumber,
        /// Our packet id.
        packet_id: u16,
    },
    /// A session that outlives its connection exists, with these attributes.
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
    /// A session has ended; everything recorded for it is void.
    SessionEnded {
        /// The session.
        session: SessionNumber,
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
    },
    /// A durable subscription is gone.
    Unsubscribed {
        /// The session.
        session: SessionNumber,
        /// The filter as the client wrote it.
        filter: Box<str>,
    },
}

/// What the store reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// The submission is on stable storage, or was cancelled because it is no longer needed.
    Settled(Ticket),
    /// The submission could not be stored (full or failing disk); its effect must be refused.
    Failed(Ticket),
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
    /// Hands an operation over; its ticket is answered by [`Store::poll`] exactly once.
    ///
    /// # Errors
    /// [`StoreRefused`] when the store can't take it; the operation has no effect then.
    fn submit(&mut self, ticket: Ticket, op: StoreOp) -> Result<(), StoreRefused>;

    /// The next report, if any.
    fn poll(&mut self) -> Option<StoreEvent>;
}

/// A store for brokers without a data directory, for tests and for the simulation.
///
/// The engine's own memory holds everything already, so this one keeps nothing besides the answers that it owes.
#[derive(Debug, Default)]
pub struct MemoryStore {
    settled: VecDeque<Ticket>,
}

impl Store for MemoryStore {
    fn submit(&mut self, ticket: Ticket, _op: StoreOp) -> Result<(), StoreRefused> {
        if ticket != Ticket::NONE {
            self.settled.push_back(ticket);
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<StoreEvent> {
        self.settled.pop_front().map(StoreEvent::Settled)
    }
}
