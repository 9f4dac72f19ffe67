//! A session: what the broker remembers of a client, connected or not (MQTT 5, section 4.1).
//!
//! A quiet session holds no queue and no window: its [`Traffic`] is borrowed from a pool while something moves.

mod standing;
mod subscriptions;

use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use crate::acl::{Bearer, Identity};
use crate::consumer::ConsumerId;
use crate::delivery::{Received, Stage, Window};
use crate::id::{ConnId, Qos, SessionId};
use crate::message::Message;
use crate::queue::{Entry, Item, Queue};
use crate::retained::Cursor;
use crate::selector::Selector;
use crate::store::SessionNumber;
use crate::topic::TopicFilter;

pub use standing::{Grant, Standing};
pub use subscriptions::Subscriptions;

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
    /// Number of its last replay, which may be over; see [`Replays`].
    pub replay: u32,
    /// Which messages are wanted.
    pub selector: Option<Arc<Selector>>,
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
    /// See [`Subscription::replay`].
    number: u32,
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
    /// Which messages are wanted.
    pub selector: Option<Arc<Selector>>,
}

/// The replays of a session, one after the other, at most one for each filter.
///
/// A subscription remembers the number of its own, so that one is found among thousands without looking at them.
#[derive(Debug, Default)]
pub struct Replays {
    /// In the order of their numbers, around the ring of u32.
    list: VecDeque<Replay>,
}

impl Replays {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The one under way.
    pub fn front_mut(&mut self) -> Option<&mut Replay> {
        self.list.front_mut()
    }

    /// Ends the one under way.
    pub fn pop_front(&mut self) {
        self.list.pop_front();
    }

    /// Keeps those for which `keep` says yes.
    pub fn retain(&mut self, keep: impl FnMut(&Replay) -> bool) {
        self.list.retain(keep);
    }

    /// Ends all of them.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// Where the subscription's replay stands, if it is not over.
    fn find(&self, subscription: &Subscription) -> Option<usize> {
        let first = self.list.front()?.number;
        let wanted = subscription.replay.wrapping_sub(first);
        let place =
            self.list.binary_search_by_key(&wanted, |replay| replay.number.wrapping_sub(first)).ok()?;
        // The number may be from before the session's traffic was last given back.
        (self.list.get(place)?.filter == subscription.filter).then_some(place)
    }

    /// Replays to the subscription everything up to `up_to_version`, in place of what it still had to come.
    pub fn begin(&mut self, subscription: &mut Subscription, up_to_version: u64) {
        let running = self.find(subscription);
        let next = self.list.back().map_or(0, |last| last.number.wrapping_add(1));
        let number = if running.is_some() { subscription.replay } else { next };
        subscription.replay = number;
        let replay = Replay {
            number,
            filter: subscription.filter.clone(),
            cursor: Cursor::default(),
            up_to_version,
            qos: subscription.options.qos,
            subscription_ids: subscription.options.id.map(|id| Arc::from([id])),
            selector: subscription.selector.clone(),
        };
        match running.and_then(|place| self.list.get_mut(place)) {
            Some(running) => *running = replay,
            None => self.list.push_back(replay),
        }
    }

    /// Ends the replay of a subscription that is gone; its place is given up by [`Self::sweep`].
    pub fn end(&mut self, subscription: &Subscription) {
        if let Some(running) = self.find(subscription).and_then(|place| self.list.get_mut(place)) {
            running.cursor = Cursor::at_end();
        }
    }

    /// Gives up the places of those that were ended.
    pub fn sweep(&mut self) {
        self.list.retain(|replay| !replay.cursor.is_at_end());
    }
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
    pub replays: Replays,
    /// Whether messages of the queue are on their way out of the store.
    pub loading: bool,
}

impl Traffic {
    /// The numbers of the messages that the store keeps for this session, whose number is `own`.
    #[must_use]
    pub fn records(&self, own: SessionNumber) -> Box<[u64]> {
        let held = |entry: &Entry| entry.stored.then(|| entry.message.record());
        let in_flight = self.window.iter().filter_map(|flight| match &flight.entry {
            Some(entry) => held(entry),
            // Received, but the store may have failed to take that.
            None => (flight.stage == Stage::StoringRelease && flight.owner == own).then_some(flight.record),
        });
        let waiting = self.queue.iter().filter_map(|item| match item {
            Item::Held(entry) => held(entry),
            Item::Stub(stub) => Some(stub.record),
        });
        in_flight.chain(waiting).collect()
    }

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
    /// What else decides what it may do.
    pub standing: Standing,
    /// The connection, while there is one.
    pub conn: Option<ConnId>,
    /// Session Expiry Interval granted, s: 0 ends with the connection, `u32::MAX` never.
    pub expiry_s: u32,
    /// QoS 1 and 2 messages the client takes unacknowledged: the lower of its Receive Maximum and our limit.
    pub window_max: u16,
    /// Its subscriptions.
    pub subscriptions: Subscriptions,
    /// Its will.
    pub will: Option<Box<Will>>,
    /// Present only while something moves.
    pub traffic: Option<Box<Traffic>>,
    /// Counts changes of attachment, so that an expiry or will timer of an earlier absence finds nothing to do.
    pub absence: u32,
    /// Wills of it that are on their way and not yet published.
    pub wills_due: u16,
    /// Whether the store knows it: from when it is durable for the first time to its end.
    pub kept: bool,
    /// Whether the queue stands over its limit under [`crate::policy::Overflow::Refuse`].
    pub congested: bool,
    /// Whether it may not want all that its filters match: selectors have to be asked.
    pub selects: bool,
    /// Present if it is one of a STOMP connection's consumers.
    pub consumer: Option<Box<Consumer>>,
}

/// What makes a session a consumer; see [`crate::consumer`].
#[derive(Debug)]
pub struct Consumer {
    /// Its connection's name for it.
    pub id: ConsumerId,
    /// Whether deliveries are acknowledged.
    pub acknowledges: bool,
    /// Deliveries that its group may have outstanding with it.
    pub window: u32,
    /// Whether it wants its group for itself alone.
    pub exclusive: bool,
    /// Whose messages it does not want: the session for which its connection publishes.
    pub not_from: Option<SessionId>,
    /// Whether it may be sent messages: not before the receipt of its SUBSCRIBE.
    pub open: bool,
    /// Whether it stands in its connection's list of those that have something to pull.
    pub ready: bool,
    /// Whether it takes nothing new, and ends with what is still to be acknowledged.
    pub cancelled: bool,
    /// How far it has come if it browses.
    pub browsing: Browsing,
}

/// A consumer's look at what waits in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browsing {
    /// It consumes.
    No,
    /// What waits has been asked for.
    Asked,
    /// All that is to be shown is in its queue.
    Shown,
}

impl Subscription {
    /// Whether it is a member's of a `$share` group.
    #[must_use]
    pub fn is_share(&self) -> bool {
        self.group.as_deref().is_some_and(|group| !group.is_empty() && !group.contains('/'))
    }
}

impl Session {
    /// Whose it is, for questions of rights.
    #[must_use]
    pub fn identity(&self) -> Identity<'_> {
        self.standing.identity(self.user.as_deref(), &self.client_id)
    }

    /// What a group is to know of its rights; `None` if nothing is refused to it.
    #[must_use]
    pub fn bearer(&self) -> Option<Bearer> {
        Some(Bearer::new(self.identity(), Arc::clone(self.standing.rights.as_ref()?)))
    }

    /// Whether it consumes from a durable subscription.
    #[must_use]
    pub fn consumes_durably(&self) -> bool {
        let group = self.subscriptions.get(0).and_then(|subscription| subscription.group.as_deref());
        self.consumer.is_some() && group.is_some_and(|group| group.contains('/'))
    }

    /// Whether it can be sent something.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.conn.is_some() && self.consumer.as_ref().is_none_or(|consumer| !consumer.cancelled)
    }

    /// Whether it outlives its connection, and what it receives is to be kept for it.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.expiry_s > 0
    }
}
