//! What operators are told: clients, subscriptions, queues, and parts of long lists of them.

use std::fmt;

use noctule_core::engine::{GroupNature, GroupView, SessionView, SubscriptionView};
use noctule_core::id::WorkerId;
use serde::Serialize;

use crate::broker::without_secret;

/// Where a list goes on: the worker, and the place in its table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The worker.
    pub worker: u16,
    /// The place.
    pub place: u32,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.worker, self.place)
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    /// # Errors
    /// When it is not one that a list has ended with.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (worker, place) = text.split_once('.').ok_or(())?;
        // What parses as a number may have a sign.
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(());
        }
        Ok(Self { worker: worker.parse().map_err(drop)?, place: place.parse().map_err(drop)? })
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Where it goes on; `None`: that was all.
    pub next: Option<Cursor>,
}

/// Which clients are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Whose client identifier contains this.
    pub client_id: Option<String>,
    /// Whose user is this.
    pub user: Option<String>,
    /// Whether they are connected.
    pub connected: Option<bool>,
}

impl ClientFilter {
    pub(in crate::broker) fn wants(&self, session: &SessionView<'_>) -> bool {
        self.client_id.as_deref().is_none_or(|part| session.client_id.contains(part))
            && self.user.as_deref().is_none_or(|user| session.user == Some(user))
            && self.connected.is_none_or(|connected| session.conn.is_some() == connected)
    }
}

/// A client, connected or away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Client {
    /// Its client identifier.
    pub client_id: String,
    /// Its user; absent for an anonymous one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether it is connected.
    pub connected: bool,
    /// What it speaks, as `MQTT 5.0`; absent while it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// Where it is: address and port, or what is known of a program on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The worker where its session lives.
    pub worker: u16,
    /// How long its session outlives its connection, s; `null` for ever.
    pub session_expiry_s: Option<u32>,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// Messages that wait for it.
    pub queued_messages: usize,
    /// Bytes that those are charged with.
    pub queued_bytes: usize,
    /// QoS 1 and 2 messages that it has not acknowledged.
    pub in_flight: usize,
    /// Most of them at a time.
    pub max_in_flight: u16,
    /// Since when nothing was heard of it, ms; absent while it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// The silence after which it counts as lost, ms; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence_max_ms: Option<u32>,
    /// Whether it has a will.
    pub has_will: bool,
    /// Whether it takes messages more slowly than they come.
    pub lags: bool,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subscription {
    /// The filter, without `$share/group/`.
    pub filter: String,
    /// The group of a shared subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// Highest QoS of deliveries.
    pub qos: u8,
    /// Own messages are not returned.
    pub no_local: bool,
    /// RETAIN is passed on as published.
    pub retain_as_published: bool,
    /// Subscription Identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Whether it wants only what a selector says.
    pub selects: bool,
}

impl From<SubscriptionView<'_>> for Subscription {
    fn from(view: SubscriptionView<'_>) -> Self {
        Self {
            filter: without_secret(view.filter).into_owned(),
            share: view.share.map(str::to_owned),
            qos: view.qos.level(),
            no_local: view.no_local,
            retain_as_published: view.retain_as_published,
            id: view.id.map(u32::from),
            selects: view.selects,
        }
    }
}

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Nature {
    /// A point-to-point queue.
    Queue,
    /// A durable subscription of STOMP.
    Durable,
    /// A shared subscription.
    Share,
}

/// A queue, a durable subscription or a shared one, and what waits there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What it is.
    pub kind: Nature,
    /// Its name.
    pub name: String,
    /// The topic filter whose messages it takes.
    pub filter: String,
    /// The worker that keeps it.
    pub worker: u16,
    /// Messages that wait.
    pub messages: usize,
    /// Bytes that those are charged with.
    pub bytes: usize,
    /// Messages that consumers have and have not answered for.
    pub lent: usize,
    /// Consumers, connected or away.
    pub consumers: usize,
    /// Most messages that may wait.
    pub max_messages: usize,
    /// Most bytes that may wait.
    pub max_bytes: usize,
    /// Whether it is in the store.
    pub stored: bool,
}

impl Group {
    pub(in crate::broker) fn of(worker: WorkerId, view: &GroupView<'_>) -> Self {
        Self {
            kind: match view.nature {
                GroupNature::Queue => Nature::Queue,
                GroupNature::Durable => Nature::Durable,
                GroupNature::Share => Nature::Share,
            },
            name: view.name.to_owned(),
            filter: view.filter.to_owned(),
            worker: worker.0,
            messages: view.messages,
            bytes: view.bytes,
            lent: view.lent,
            consumers: view.members,
            max_messages: view.max_messages,
            max_bytes: view.max_bytes,
            stored: view.is_kept,
        }
    }

    /// How many messages and bytes more it takes.
    pub(super) fn room(&self) -> (usize, usize) {
        (self.max_messages.saturating_sub(self.messages), self.max_bytes.saturating_sub(self.bytes))
    }
}
