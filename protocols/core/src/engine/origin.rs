//! Where a message comes from, and how its publisher is answered.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::answers::Place;
use crate::consumer::{Receipt, Send};
use crate::id::{ConnId, Qos, SessionId};
use crate::message::{Message, Publish};
use crate::policy::Durability;
use crate::topic::TopicName;

/// Whose message it is and how it is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) publisher: SessionId,
    /// Whether the publisher's session outlived its connections when the message came.
    pub(super) kept: bool,
    /// The client's connection; `None` for wills.
    pub(super) conn: Option<ConnId>,
    /// Present for QoS 1 and 2 from a connection of MQTT.
    pub(super) packet_id: Option<NonZeroU16>,
    /// How a connection of STOMP is answered.
    pub(super) answer: Answer,
    /// When it is acknowledged and stored.
    pub(super) durability: Durability,
    /// The version and the second number that were reserved for it if it is retained and was held.
    pub(super) version: u64,
    pub(super) spare_record: u64,
    /// Where the answer goes, once a place was kept for it.
    pub(super) place: Option<Place>,
    /// When it is refused if a queue that it is for has no room until then, monotonic ms; `None` until it has waited for
    /// one.
    pub(super) until_ms: Option<u64>,
}

impl Origin {
    /// Nobody's, and never held.
    pub(super) const UNHELD: Self = Self {
        publisher: SessionId::NOBODY,
        kept: false,
        conn: None,
        packet_id: None,
        answer: Answer::Never,
        durability: Durability::Always,
        version: 0,
        spare_record: 0,
        place: None,
        until_ms: None,
    };
}

/// What a STOMP client hears of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is not its message, or has been answered.
    Never,
    /// Nothing, unless it can't be taken.
    Unasked,
    /// A receipt, when it is stored.
    Receipt(Receipt),
}

impl Answer {
    pub(super) fn of(receipt: Option<Receipt>) -> Self {
        receipt.map_or(Self::Unasked, Self::Receipt)
    }

    pub(super) fn receipt(self) -> Option<Receipt> {
        match self {
            Self::Receipt(receipt) => Some(receipt),
            Self::Never | Self::Unasked => None,
        }
    }
}

/// A message either still in the read buffer or already in memory of its own.
pub(super) enum Source<'a> {
    Borrowed(&'a Publish<'a>),
    /// Its expiry counted in ms.
    Sent(&'a Send<'a>),
    Owned(Arc<Message>),
}

impl Source<'_> {
    pub(super) fn topic(&self) -> TopicName<'_> {
        match self {
            Self::Borrowed(publish) => publish.topic,
            Self::Sent(send) => send.publish.topic,
            Self::Owned(message) => message.topic(),
        }
    }

    pub(super) fn qos(&self) -> Qos {
        match self {
            Self::Borrowed(publish) => publish.qos,
            Self::Sent(send) => send.publish.qos,
            Self::Owned(message) => message.qos(),
        }
    }

    pub(super) fn retain(&self) -> bool {
        // A queue retains nothing: it keeps.
        !self.topic().is_queue()
            && match self {
                Self::Borrowed(publish) => publish.retain,
                Self::Sent(send) => send.publish.retain,
                Self::Owned(message) => message.retain(),
            }
    }
}
