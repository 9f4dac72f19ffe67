//! What an operator may see of an engine: its sessions, their subscriptions and its groups, a part at a time.
//!
//! Nothing is changed here. A worker that is looked at serves nobody meanwhile, so everything long is looked at in parts,
//! each of which says where the next one begins.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::queues::{GroupKind, queue_name};
use super::{Engine, HomeGroup};
use crate::id::{ConnId, Qos};
use crate::message::Message;
use crate::session::{Session, Subscription};
use crate::trie::GroupKey;

/// A session as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView<'a> {
    /// The client's name for it.
    pub client_id: &'a str,
    /// Whose it is; `None` for an anonymous client's.
    pub user: Option<&'a str>,
    /// The connection, while there is one.
    pub conn: Option<ConnId>,
    /// Session Expiry Interval, s: 0 ends with the connection, `u32::MAX` never.
    pub expiry_s: u32,
    /// How many subscriptions it has; of a STOMP connection, with its consumers'.
    pub subscriptions: usize,
    /// Messages that wait to be sent.
    pub queued: usize,
    /// Bytes that those are charged with.
    pub queued_bytes: usize,
    /// QoS 1 and 2 messages sent and not acknowledged.
    pub in_flight: usize,
    /// Most of them at a time.
    pub window_max: u16,
    /// When its client was last heard, monotonic ms; `None` while it is away.
    pub heard_ms: Option<u64>,
    /// The silence after which it counts as lost, ms; `None` for any.
    pub silence_max_ms: Option<u32>,
    /// Whether its client has a will.
    pub has_will: bool,
    /// Whether its socket takes less than there is for it.
    pub lags: bool,
}

/// A subscription as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionView<'a> {
    /// The filter, without `$share/group/`.
    pub filter: &'a str,
    /// The group of a shared subscription.
    pub share: Option<&'a str>,
    /// Highest QoS of deliveries.
    pub qos: Qos,
    /// Own messages are not returned.
    pub no_local: bool,
    /// RETAIN is passed on as published.
    pub retain_as_published: bool,
    /// Subscription Identifier.
    pub id: Option<NonZeroU32>,
    /// Whether it wants only what a selector says.
    pub selects: bool,
}

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupNature {
    /// A point-to-point queue.
    Queue,
    /// A durable subscription of STOMP.
    Durable,
    /// A shared subscription.
    Share,
}

/// A group at its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupView<'a> {
    /// What it is.
    pub nature: GroupNature,
    /// A queue's name without `$queue/`, a durable subscription's or a share's.
    pub name: &'a str,
    /// What it takes: a topic filter; a queue's own topic.
    pub filter: &'a str,
    /// Messages that wait for a member, or for their time.
    pub messages: usize,
    /// Bytes that those are charged with.
    pub bytes: usize,
    /// Messages that members have and have not answered for.
    pub lent: usize,
    /// Members, connected or not.
    pub members: usize,
    /// Most messages that may wait.
    pub max_messages: usize,
    /// Most bytes that may wait.
    pub max_bytes: usize,
    /// Whether it is in the store.
    pub is_kept: bool,
}

impl Engine {
    /// Sessions of this worker with their places, from place `from` on and up to that of `to`. A session keeps its place for
    /// life, so of those that are there all the time none is missed and none comes twice.
    pub fn sessions_in(&self, from: u32, to: u32) -> impl Iterator<Item = (u32, SessionView<'_>)> {
        (from..to.min(self.session_places())).filter_map(|slot| {
            let session = self.sessions.get(slot as usize)?;
            session.consumer.is_none().then(|| (slot, self.view(session)))
        })
    }

    /// How many places there are for sessions, taken or not.
    #[must_use]
    pub fn session_places(&self) -> u32 {
        // A slab has no more places than a u32 counts.
        self.sessions.capacity() as u32
    }

    /// The connections of that client to this worker: one of MQTT, or any number of STOMP that call themselves so.
    pub fn conns_named(&self, client_id: &str) -> impl Iterator<Item = ConnId> {
        self.sessions_of_client(client_id).filter_map(|session| session.conn)
    }

    /// The session of that client, if this worker has it; of several the first.
    #[must_use]
    pub fn session_named(&self, client_id: &str) -> Option<SessionView<'_>> {
        self.session_of_client(client_id).map(|session| self.view(session))
    }

    /// The subscriptions of that client's session, from place `from` on; nothing if this worker has no such session.
    pub fn subscriptions_of(
        &self,
        client_id: &str,
        from: usize,
    ) -> impl Iterator<Item = SubscriptionView<'_>> {
        self.session_of_client(client_id)
            .into_iter()
            .flat_map(|session| self.parts_of(session))
            .flat_map(|session| session.subscriptions.iter())
            .skip(from)
            .map(subscription)
    }

    /// Groups whose home this worker is, as [`sessions_in`](Self::sessions_in).
    pub fn groups_in(&self, from: u32, to: u32) -> impl Iterator<Item = (u32, GroupView<'_>)> {
        (from..to.min(self.group_places()))
            .filter_map(|slot| Some((slot, group(self.groups.get(slot as usize)?))))
    }

    /// How many places there are for groups, taken or not.
    #[must_use]
    pub fn group_places(&self) -> u32 {
        self.groups.capacity() as u32
    }

    /// The group of that name, if this worker is its home.
    #[must_use]
    pub fn group_named(&self, key: &GroupKey) -> Option<GroupView<'_>> {
        self.home_of(key).map(group)
    }

    /// What waits in a group, in the order in which it is to leave: so many from place `from` on.
    #[must_use]
    pub fn waiting_in(&self, key: &GroupKey, from: usize, most: usize) -> Vec<Arc<Message>> {
        self.home_of(key).map(|home| home.group.waiting_from(from, most)).unwrap_or_default()
    }

    fn home_of(&self, key: &GroupKey) -> Option<&HomeGroup> {
        self.groups.get(*self.group_slots.get(key)? as usize)
    }

    fn session_of_client(&self, client_id: &str) -> Option<&Session> {
        self.sessions_of_client(client_id).next()
    }

    /// An MQTT client has one; STOMP's connections may call themselves alike, and are not found by their names otherwise.
    fn sessions_of_client(&self, client_id: &str) -> impl Iterator<Item = &Session> {
        let known = self.find_client(client_id);
        let found = known.and_then(|slot| self.sessions.get(slot as usize));
        let others = self.sessions.iter().filter(move |(slot, session)| {
            session.consumer.is_none() && *session.client_id == *client_id && Some(*slot as u32) != known
        });
        found.into_iter().chain(others.map(|(_, session)| session))
    }

    /// The session and, of a STOMP connection, its consumers.
    fn parts_of<'a>(&'a self, session: &'a Session) -> impl Iterator<Item = &'a Session> {
        let talk = session.conn.and_then(|conn| self.conns.get(conn.slot as usize)?.talk.as_deref());
        let consumers = talk.into_iter().flat_map(|talk| talk.consumers.iter());
        let consumers = consumers.filter_map(|(_, slot)| self.sessions.get(*slot as usize));
        std::iter::once(session).chain(consumers)
    }

    fn view<'a>(&'a self, session: &'a Session) -> SessionView<'a> {
        let state = session.conn.and_then(|conn| self.conns.get(conn.slot as usize));
        let traffic = || self.parts_of(session).filter_map(|part| part.traffic.as_deref());
        SessionView {
            client_id: &session.client_id,
            user: session.user.as_deref(),
            conn: session.conn,
            expiry_s: session.expiry_s,
            subscriptions: self.parts_of(session).map(|part| part.subscriptions.len()).sum(),
            queued: traffic().map(|traffic| traffic.queue.len()).sum(),
            queued_bytes: traffic().map(|traffic| traffic.queue.bytes()).sum(),
            in_flight: traffic().map(|traffic| traffic.window.len()).sum(),
            window_max: session.window_max,
            heard_ms: state.map(|state| state.heard_ms),
            silence_max_ms: state.map(|state| state.silence_max_ms).filter(|&ms| ms > 0),
            has_will: session.will.is_some(),
            lags: state.is_some_and(|state| state.lags),
        }
    }
}

fn subscription(known: &Subscription) -> SubscriptionView<'_> {
    SubscriptionView {
        filter: known.filter.as_str(),
        share: known.group.as_deref().filter(|group| !group.is_empty()),
        qos: known.options.qos,
        no_local: known.options.no_local,
        retain_as_published: known.options.retain_as_published,
        id: known.options.id,
        selects: known.selector.is_some(),
    }
}

fn group(home: &HomeGroup) -> GroupView<'_> {
    let (nature, name) = match home.kind {
        GroupKind::Queue => (GroupNature::Queue, queue_name(&home.key).unwrap_or(&home.key.filter)),
        GroupKind::Durable => (GroupNature::Durable, &*home.key.group),
        GroupKind::Share => (GroupNature::Share, &*home.key.group),
    };
    GroupView {
        nature,
        name,
        filter: &home.key.filter,
        messages: home.backlog(),
        bytes: home.group.backlog_bytes(),
        lent: home.loans(),
        members: home.group.members().len(),
        max_messages: home.terms.max_messages,
        max_bytes: home.terms.max_bytes,
        is_kept: home.number.is_some(),
    }
}
