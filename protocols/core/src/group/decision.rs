//! What a group decides, to be carried out by the engine.

use std::sync::Arc;

use super::backlog::Item;
use crate::message::Message;

/// Why a message leaves its queue without having been consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its consumer does not want it.
    Rejected,
    /// It was delivered as often as it may be.
    DeliveryLimit,
    /// Its time ran out.
    Expired,
    /// The queue was full.
    Overflow,
}

impl Death {
    /// As the property `x-first-death-reason` says it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::DeliveryLimit => "delivery_limit",
            Self::Expired => "expired",
            Self::Overflow => "maxlen",
        }
    }
}

/// A message that leaves its group, and how often it was delivered.
#[derive(Clone, Debug)]
pub struct Gone {
    /// The message.
    pub message: Arc<Message>,
    /// Deliveries so far.
    pub deliveries: u32,
}

impl From<Item> for Gone {
    fn from(item: Item) -> Self {
        Self { message: item.message, deliveries: item.deliveries }
    }
}

/// What the group decided about one message.
#[derive(Debug)]
pub enum Choice {
    /// Send to this member (position), under this loan number if `Some`.
    Send(usize, Option<u64>),
    /// Nobody can take it now; the group keeps it.
    Kept,
    /// The group keeps it; these older ones had to go (in order).
    Displaced(Vec<Gone>),
    /// Nobody can take it now, and the group keeps as much as it may.
    Full,
    /// Nobody can take it and the group may not keep it (QoS 0, or no durable member).
    Dropped,
    /// No member's selector wants it.
    Unwanted,
    /// It has been here before.
    Duplicate,
}

/// What waited and is to be dealt with now.
#[derive(Debug)]
pub enum Next {
    /// To be sent to the member at this position.
    Send {
        /// The message.
        message: Arc<Message>,
        /// The member's position.
        place: usize,
        /// The loan, if it is one.
        loan: Option<u64>,
        /// How often the message was delivered before.
        deliveries: u32,
    },
    /// It has expired.
    Expired(Gone),
}

/// What became of a loan.
#[derive(Debug)]
pub enum Settled {
    /// There is none of that number.
    Unknown,
    /// It was taken back before, because it had not been answered in time.
    Late,
    /// It is over, and the group done with the message of this record.
    Done(u64),
    /// The message of this record waits again; so often it has been delivered, if that has changed.
    Back(u64, Option<u32>),
    /// The message leaves the group.
    Dead(Gone, Death),
}
