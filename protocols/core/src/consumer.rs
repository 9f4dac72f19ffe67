//! What a STOMP connection asks of the engine: consumers, messages, settlements and transactions.
//!
//! An MQTT client has one session and every subscription feeds it. A STOMP connection has a session for what it
//! publishes, and each of its subscriptions is a consumer: a session of its own, that ends with the connection, so that
//! it has its own order, prefetch window and acknowledgements. What is to outlive the connection waits in a group at
//! its home (RULES: groups and queues), of which the consumer is a member.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use crate::group::QueueOptions;
use crate::message::Publish;
use crate::selector::Selector;

/// A receipt that a frame asked for, in the connection's own count. Receipts leave in the order of their frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt(pub NonZeroU32);

/// A consumer, in its connection's own count from 1; a number is never used twice on one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId(pub u32);

/// What is to be heard from and said to a connection that is otherwise silent, ms; 0 for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beats {
    /// The peer lets itself be heard so often; given up after twice that.
    pub expected_ms: u32,
    /// It is sent something so often.
    pub sent_ms: u32,
    /// Without heart-beats: the connection ends when nothing has passed for so long and it has no consumer.
    pub idle_ms: u32,
}

/// A message to be published.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// The message; its packet id is `None` at any QoS, its `expiry_s` is not looked at.
    pub publish: Publish<'a>,
    /// What is left of its life, ms; 0: it has expired already.
    pub expires_in_ms: Option<u64>,
}

/// A consumer to be made.
#[derive(Clone, Debug)]
pub struct Consume<'a> {
    /// The connection's name for it.
    pub id: ConsumerId,
    /// A topic filter, `$share/group/filter`, or `$queue/name`.
    pub filter: &'a str,
    /// The durable subscription whose messages it gets: they wait under this name while nobody consumes them.
    pub durable: Option<&'a str>,
    /// Whether deliveries are acknowledged; otherwise each is done with once it is written.
    pub acknowledges: bool,
    /// Deliveries that may be unacknowledged.
    pub window: NonZeroU16,
    /// Whether what its own connection publishes is left out; topics only.
    pub no_local: bool,
    /// Which messages it wants.
    pub selector: Option<Arc<Selector>>,
    /// Whether it is shown what waits, without taking it; queues only. It ends by itself.
    pub browses: bool,
    /// Whether it wants the queue for itself alone.
    pub exclusive: bool,
    /// What is to hold for the queue, or the durable subscription, from now on; where nothing is said all stays.
    pub options: &'a QueueOptions,
}

/// What becomes of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Consumed.
    Accept,
    /// Not consumed: somebody else's turn, or later again. Of a plain topic there is nobody else: dropped, and counted.
    Requeue,
    /// Not consumed and not wanted again: a dead letter. Of a plain topic: dropped, and counted.
    Reject,
}

/// Some deliveries of one consumer, and what becomes of them.
#[derive(Clone, Copy, Debug)]
pub struct Settle<'a> {
    /// The consumer; it may have been cancelled since.
    pub consumer: ConsumerId,
    /// [`crate::effects::Delivery::packet_id`] of each.
    pub packet_ids: &'a [NonZeroU16],
    /// What becomes of them.
    pub verdict: Verdict,
}

/// A transaction to be carried out as a whole: stored at once, visible to nobody before.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// What it publishes, in order.
    pub sends: &'a [Send<'a>],
    /// What it settles.
    pub settles: &'a [Settle<'a>],
}

/// What a STOMP connection asks for. Whatever goes wrong ends the connection: [`crate::effects::Reply::Refused`] names
/// the receipt of the frame at fault, if it asked for one, and [`crate::effects::Effect::Close`] says why.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// To publish.
    Send(Send<'a>),
    /// To consume.
    Consume(Consume<'a>),
    /// To consume no more; what was delivered can still be settled.
    Cancel {
        /// The consumer.
        consumer: ConsumerId,
        /// Whether its durable subscription ends as well, with what waits there.
        forgets: bool,
    },
    /// To end a durable subscription, or a share that stays without members, from which nobody consumes. One that is not
    /// there is no error.
    Forget {
        /// As in [`Consume::filter`]; empty: every durable subscription of the name, whatever it is subscribed to.
        filter: &'a str,
        /// As in [`Consume::durable`]; of a share empty.
        durable: &'a str,
    },
    /// To settle deliveries; those that are not open (any more) are counted and otherwise ignored.
    Settle(Settle<'a>),
    /// To carry out a transaction.
    Commit(Commit<'a>),
    /// Nothing but the receipt: BEGIN, ABORT and what is enlisted in a transaction.
    Nothing,
    /// To say good-bye: [`crate::effects::Reply::Farewell`] follows when everything before is answered.
    Leave,
}
