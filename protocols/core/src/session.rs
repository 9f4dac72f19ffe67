//! A session: what the broker remembers of a client, connected or not (MQTT 5, section 4.1).
//!
//! A quiet session holds no queue and no window: its [`Traffic`] is borrowed from a pool while something moves.

use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use crate::delivery::{Received, Window};
use crate::id::{ConnId, Qos};
use crate::message::Message;
use crate::queue::Queue;
use crate::retained::Cursor;
use crate::store::SessionNumber;
use crate::topic::TopicFilter;

/// What a client asked of one filter (MQTT 5, section 3.8.3.1), as granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Highest QoS of deliveries.
    pub qos: Qos,
    /// Own messages are not returned.
    pub no_local: bool,
    /// RETAIN is passed on as published.
    pub retain_as_published: bool,
    /// Identifier to be sent with every delivery.
    pub id: Option<NonZeroU32>,
}

/// One subscription of a session.
#[derive(Debug)]
pub struct Subscription {
    /// The filter, without `$share/group/`.
    pub filter: TopicFilter,
    /// The group of a shared subscription.
    pub group: Option<Box<str>>,
    /// Its options.
    pub options: SubscriptionOptions,
}

/// The message to be published when the client is lost (MQTT 5, section 3.1.2.5).
#[derive(Debug)]
pub struct Will {
    /// Topic, fields, payload, QoS and RETAIN; its own expiry does not run before it is published.
    pub message: Arc<Message>,
    /// Will Delay Interval, s.
    pub delay_s: u32,
    /// Message Expiry Interval, s, counted from the publication.
    pub expiry_s: Option<u32>,
}

/// A replay of retained messages to a new subscription, under way.
#[derive(Debug)]
pub struct Replay {
    /// What matches.
    pub filter: TopicFilter,
    /// How far it has come.
    pub cursor: Cursor,
    /// What was stored later is delivered live instead.
    pub up_to_version: u64,
    /// QoS granted.
    pub qos: Qos,
    /// Identifier of the subscription.
    pub subscription_ids: Option<Arc<[NonZeroU32]>>,
}

/// Everything that moves in a session.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Waiting to be sent.
    pub queue: Queue,
    /// Sent and not yet acknowledged.
    pub window: Window,
    /// Packet ids in `window` whose next packet is due on this connection, in order.
    pub due: VecDeque<NonZeroU16>,
    /// Packet ids whose PUBREL has not left yet, in the order of their PUBRECs [MQTT-4.6.0-4].
    pub releases: VecDeque<NonZeroU16>,
    /// Inbound QoS 2 exchanges.
    pub received: Received,
    /// Retained messages still to be delivered.
    pub replays: VecDeque<Replay>,
}

impl Traffic {
    /// Whether nothing moves and nothing is owed.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty()
            && self.window.is_empty()
            && self.due.is_empty()
            && self.received.is_empty()
            && self.replays.is_empty()
    }
}

/// A session at its home.
#[derive(Debug)]
pub struct Session {
    /// Unique for the life of the process and, for kept sessions, on disk.
    pub number: SessionNumber,
    /// The client's name for it.
    pub client_id: Box<str>,
    /// Whose it is; nobody else may resume it.
    pub user: Option<Box<str>>,
    /// The connection, while there is one.
    pub conn: Option<ConnId>,
    /// Session Expiry Interval granted, s: 0 ends with the connection, `u32::MAX` never.
    pub expiry_s: u32,
    /// QoS 1 and 2 messages the client takes unacknowledged: the lower of its Receive Maximum and our limit.
    pub window_max: u16,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Its will.
    pub will: Option<Box<Will>>,
    /// Present only while something moves.
    pub traffic: Option<Box<Traffic>>,
    /// Counts changes of attachment, so that an expiry or will timer of an earlier absence finds nothing to do.
    pub absence: u32,
    /// Whether the queue stands over its limit under [`crate::policy::Overflow::Refuse`].
    pub congested: bool,
}

impl Session {
    /// Whether it outlives its connection, and what it receives is to be kept for it.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.expiry_s > 0
    }
}
