//! The operations of one commit, put together: what supersedes each other is written once, what cancels out not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use noctule_core::message::Message;
use noctule_core::store::{KeptWill, Recipient, StoreOp};

use super::index::{Place, Settled};
use super::recover::Deferred;
use super::rows::{Direction, GroupRow, Marks, SubscriptionRow};
use super::state::State;

/// What happens to a session's row.
#[derive(Clone, Copy, Debug)]
pub(super) enum SessionChange<'a> {
    /// Written as a whole.
    Kept { client_id: &'a str, user: Option<&'a str>, expiry_s: u32, left_at: Option<u64>, born: u64 },
    /// Its client came or went; the rest of the row stays.
    Presence { left_at: Option<u64> },
}

/// What happens to an exchange's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExchangeChange {
    Inbound,
    Sent {
        sequence: u64,
        owner: u64,
        record: u64,
    },
    /// With the sequence of its beginning, if that is in the same commit, or else the one to take if there was none.
    Received {
        sequence: u64,
        begun: bool,
    },
    Gone,
}

/// What happens to a topic's retained message: the highest version wins, and of two equal ones the clearing one.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetainedChange<'a> {
    pub(super) version: u64,
    /// `None` clears.
    pub(super) message: Option<&'a Message>,
}

/// A message for the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh<'a> {
    pub(super) message: &'a Message,
    pub(super) recipients: &'a [Recipient],
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    /// In the index each stands as [`Place::UNWRITTEN`], with its place in this list as the offset.
    pub(super) fresh: Vec<Fresh<'a>>,
    /// Messages that nobody needs any more, before they were written.
    pub(super) elided: u64,
    /// Record and session of acknowledgements of what is on disk.
    pub(super) acknowledged: Vec<(u64, u64)>,
    /// Record and group of what is on disk and was given back; how often is in the [`State`].
    pub(super) given_back: BTreeSet<(u64, u64)>,
    /// Sessions whose rows go, before anything else is written.
    pub(super) ended_sessions: BTreeSet<u64>,
    /// Groups whose rows go, likewise.
    pub(super) ended_groups: BTreeSet<u64>,
    pub(super) sessions: BTreeMap<u64, SessionChange<'a>>,
    pub(super) subscriptions: BTreeMap<(u64, &'a str), Option<SubscriptionRow<'a>>>,
    pub(super) exchanges: BTreeMap<(u64, Direction, u16), ExchangeChange>,
    pub(super) wills: BTreeMap<u64, Option<&'a KeptWill>>,
    pub(super) groups: BTreeMap<u64, GroupRow<'a>>,
    pub(super) retained: BTreeMap<&'a str, RetainedChange<'a>>,
    /// Whether something in it is a transaction.
    pub(super) has_transaction: bool,
    /// The highest numbers used.
    pub(super) used: Marks,
    /// For the recipients of one message at a time.
    spare: Vec<u64>,
}

impl<'a> Batch<'a> {
    /// Begins with what recovery has left to be done.
    pub(super) fn new(deferred: &'a Deferred) -> Self {
        let mut batch = Self::default();
        batch.ended_sessions.extend(&deferred.ended);
        let left_at = Some(deferred.left_at);
        batch
            .sessions
            .extend(deferred.left.iter().map(|&number| (number, SessionChange::Presence { left_at })));
        batch.acknowledged.extend(&deferred.acknowledged);
        batch.exchanges.extend(deferred.exchanges.iter().map(|&key| (key, ExchangeChange::Gone)));
        for (topic, version) in &deferred.retained {
            batch.retain(topic, RetainedChange { version: *version, message: None });
        }
        batch
    }

    /// Adds an operation that was submitted at `mono_ms`.
    pub(super) fn add(&mut self, state: &mut State, mono_ms: u64, op: &'a StoreOp) {
        match op {
            StoreOp::Publish { message, recipients, retained, inbound } => {
                self.publish(state, message, recipients);
                if let Some(version) = *retained {
                    let topic = message.topic().as_str();
                    let message = (!message.payload().is_empty()).then_some(&**message);
                    self.retain(topic, RetainedChange { version, message });
                }
                if let Some((session, packet_id)) = *inbound {
                    let key = (session.0, Direction::Inbound, packet_id);
                    self.exchanges.insert(key, ExchangeChange::Inbound);
                }
            }
            StoreOp::RetainedExpired { message, version } => {
                self.retain(message.topic().as_str(), RetainedChange { version: *version, message: None });
            }
            StoreOp::Acknowledged { session, record } => self.acknowledge(state, *record, session.0),
            StoreOp::InboundReleased { session, packet_id } => {
                self.exchanges.insert((session.0, Direction::Inbound, *packet_id), ExchangeChange::Gone);
            }
            StoreOp::OutboundSent { session, owner, record, packet_id } => {
                state.sequence += 1;
                let sent = ExchangeChange::Sent { sequence: state.sequence, owner: owner.0, record: *record };
                self.exchanges.insert((session.0, Direction::Outbound, *packet_id), sent);
            }
            StoreOp::OutboundReceived { session, owner, record, packet_id } => {
                self.acknowledge(state, *record, owner.0);
                let key = (session.0, Direction::Outbound, *packet_id);
                state.sequence += 1;
                let received = match self.exchanges.get(&key) {
                    Some(ExchangeChange::Sent { sequence, .. }) => {
                        ExchangeChange::Received { sequence: *sequence, begun: true }
                    }
                    Some(ExchangeChange::Received { sequence, begun }) => {
                        ExchangeChange::Received { sequence: *sequence, begun: *begun }
                    }
                    Some(ExchangeChange::Inbound | ExchangeChange::Gone) => {
                        ExchangeChange::Received { sequence: state.sequence, begun: true }
                    }
                    None => ExchangeChange::Received { sequence: state.sequence, begun: false },
                };
                self.exchanges.insert(key, received);
            }
            StoreOp::OutboundCompleted { session, packet_id } => {
                self.exchanges.insert((session.0, Direction::Outbound, *packet_id), ExchangeChange::Gone);
            }
            StoreOp::SessionKept { session, client_id, user, expiry_s } => {
                self.used.session = self.used.session.max(session.0);
                let born = state.keep(session.0);
                let (user, expiry_s) = (user.as_deref(), *expiry_s);
                let kept = SessionChange::Kept { client_id, user, expiry_s, left_at: None, born };
                self.sessions.insert(session.0, kept);
            }
            StoreOp::Presence { session, online } => {
                let left = (!online).then(|| state.timeline.at(mono_ms));
                match self.sessions.get_mut(&session.0) {
                    Some(SessionChange::Kept { left_at, .. } | SessionChange::Presence { left_at }) => {
                        *left_at = left;
                    }
                    None if state.known.contains_key(&session.0) => {
                        self.sessions.insert(session.0, SessionChange::Presence { left_at: left });
                    }
                    None => {}
                }
            }
            StoreOp::SessionEnded { session, records } => {
                self.end(state, session.0, records);
                self.ended_sessions.insert(session.0);
            }
            StoreOp::Subscribed { session, filter, qos, flags, subscription_id, selector } => {
                let (no_local, retain_as_published) = *flags;
                let id = NonZeroU32::new(*subscription_id);
                let (qos, selector) = (*qos, selector.as_deref());
                let row = SubscriptionRow { qos, no_local, retain_as_published, id, selector };
                self.subscriptions.insert((session.0, filter), Some(row));
            }
            StoreOp::Unsubscribed { session, filter } => {
                self.subscriptions.insert((session.0, filter), None);
            }
            StoreOp::WillKept { session, will } => {
                self.used.session = self.used.session.max(session.0);
                self.wills.insert(session.0, Some(will));
            }
            // The one end of a will: it outlives its session until it is published, which comes after the session's end.
            StoreOp::WillGone { session } => {
                self.wills.insert(session.0, None);
            }
            StoreOp::GroupKept { session, group, filter, options } => {
                self.used.session = self.used.session.max(session.0);
                let born = state.keep(session.0);
                let row = GroupRow { group, filter, born, options: Cow::Borrowed(options) };
                self.groups.insert(session.0, row);
            }
            StoreOp::Released { session, record, deliveries } => {
                self.give_back(state, *record, session.0, *deliveries);
            }
            // All that is added here is one commit.
            StoreOp::Transaction(parts) => {
                self.has_transaction = true;
                parts.iter().for_each(|part| self.add(state, mono_ms, part));
            }
            StoreOp::GroupEnded { session, records } => {
                self.end(state, session.0, records);
                self.ended_groups.insert(session.0);
            }
        }
    }

    fn publish(&mut self, state: &mut State, message: &'a Message, recipients: &'a [Recipient]) {
        let sessions = recipients.iter().map(|recipient| recipient.session.0);
        self.spare.clear();
        self.spare.extend(sessions.filter(|session| state.gone.get(session).is_none()));
        if recipients.is_empty() {
            return;
        }
        if self.spare.is_empty() {
            self.elided += 1;
            return;
        }
        let record = message.record();
        self.used.record = self.used.record.max(record);
        // More than 2³² messages of one commit do not fit into memory.
        let place = Place { chunk: Place::UNWRITTEN, offset: self.fresh.len() as u32, len: 0 };
        if let Some(before) = state.enter(record, &mut self.spare, place) {
            state.leave(before);
        }
        self.fresh.push(Fresh { message, recipients });
    }

    /// So often has a group delivered a message now; a message of this commit carries the number itself.
    fn give_back(&mut self, state: &mut State, record: u64, session: u64, deliveries: u32) {
        if state.left(record, session).is_none() {
            return;
        }
        state.deliveries.insert((session, record), deliveries);
        if state.index.place(record).is_some_and(|place| place.chunk != Place::UNWRITTEN) {
            self.given_back.insert((record, session));
        }
    }

    fn acknowledge(&mut self, state: &mut State, record: u64, session: u64) {
        match state.settle(record, session) {
            Settled::NoRecipient => {}
            Settled::Fewer(place) | Settled::Done(place) if place.chunk != Place::UNWRITTEN => {
                self.acknowledged.push((record, session));
            }
            Settled::Done(_) => self.elided += 1,
            Settled::Fewer(_) => {}
        }
    }

    /// A session or group is over. What waited for it needs no acknowledgements: after a restart nobody asks for it.
    fn end(&mut self, state: &mut State, number: u64, records: &[u64]) {
        for &record in records {
            if let Settled::Done(Place { chunk: Place::UNWRITTEN, .. }) = state.settle(record, number) {
                self.elided += 1;
            }
        }
        state.end(number);
        self.sessions.remove(&number);
        self.groups.remove(&number);
        let filters =
            self.subscriptions.range((number, "")..).take_while(|((session, _), _)| *session == number);
        for key in filters.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.subscriptions.remove(&key);
        }
        let ids = (number, Direction::Inbound, 0)..=(number, Direction::Outbound, u16::MAX);
        for key in self.exchanges.range(ids).map(|(key, _)| *key).collect::<Vec<_>>() {
            self.exchanges.remove(&key);
        }
    }

    fn retain(&mut self, topic: &'a str, change: RetainedChange<'a>) {
        self.used.version = self.used.version.max(change.version);
        let rank = |change: &RetainedChange<'_>| (change.version, change.message.is_none());
        match self.retained.get_mut(topic) {
            Some(known) if rank(known) > rank(&change) => {}
            Some(known) => *known = change,
            None => {
                self.retained.insert(topic, change);
            }
        }
    }

    /// Whether any row is to be written, or taken away.
    pub(super) fn has_rows(&self) -> bool {
        !(self.ended_sessions.is_empty()
            && self.ended_groups.is_empty()
            && self.sessions.is_empty()
            && self.subscriptions.is_empty()
            && self.exchanges.is_empty()
            && self.wills.is_empty()
            && self.groups.is_empty()
            && self.retained.is_empty())
    }
}
