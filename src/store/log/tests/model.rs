//! What the log should do, in plain maps.
//!
//! Time is one clock that goes on over all restarts, in ms; `start` is when the present process began.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use noctule_core::group::QueueOptions;
use noctule_core::id::Qos;
use noctule_core::message::Message;
use noctule_core::store::{KeptWill, Recipient, RecoveredSubscription, StoreOp};

use super::kit::{Delivery, GroupSeen, Seen, SessionSeen, Told, told, will_seen};

#[derive(Clone, Debug)]
struct Body {
    message: Arc<Message>,
    /// When it expires; `u64::MAX` for never.
    deadline: u64,
}

impl Body {
    fn new(message: &Arc<Message>, start: u64) -> Self {
        let deadline = message.expires_ms().saturating_add(start);
        Self { message: Arc::clone(message), deadline }
    }

    fn told(&self, start: u64) -> Told {
        Told { expires_ms: since(self.deadline, start), ..told(&self.message) }
    }
}

fn since(at: u64, start: u64) -> u64 {
    if at == u64::MAX { u64::MAX } else { at.saturating_sub(start) }
}

#[derive(Clone, Debug)]
struct Session {
    client_id: String,
    user: Option<String>,
    expiry_s: u32,
    left: Option<u64>,
}

#[derive(Clone, Debug)]
struct Out {
    order: u64,
    owner: u64,
    record: u64,
    received: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    sessions: BTreeMap<u64, Session>,
    subscriptions: BTreeMap<(u64, String), RecoveredSubscription>,
    messages: BTreeMap<u64, (Body, Vec<Recipient>)>,
    outbound: BTreeMap<(u64, u16), Out>,
    inbound: BTreeSet<(u64, u16)>,
    wills: BTreeMap<u64, KeptWill>,
    groups: BTreeMap<u64, (String, String, QueueOptions)>,
    /// How often a message was delivered, by group and record.
    deliveries: BTreeMap<(u64, u64), u32>,
    /// Without a body where it was cleared since the last restart.
    retained: BTreeMap<String, (u64, Option<Body>)>,
    gone: BTreeSet<u64>,
    order: u64,
    /// When those who were connected at the restart are taken to have left; so does the first commit write it.
    left: Option<u64>,
}

impl Model {
    /// A commit begins.
    pub(super) fn begin(&mut self) {
        if let Some(left) = self.left.take() {
            for session in self.sessions.values_mut() {
                session.left.get_or_insert(left);
            }
        }
    }

    pub(super) fn apply(&mut self, op: &StoreOp, now: u64, start: u64) {
        match op {
            StoreOp::Publish { message, recipients, retained, inbound } => {
                let body = Body::new(message, start);
                if let Some(version) = *retained {
                    let set = (!message.payload().is_empty()).then(|| body.clone());
                    self.retain(message, version, set);
                }
                if let Some((session, packet_id)) = inbound {
                    self.inbound.insert((session.0, *packet_id));
                }
                let left = recipients.iter().filter(|one| !self.gone.contains(&one.session.0));
                let left: Vec<_> = left.cloned().collect();
                if !left.is_empty() {
                    self.deliveries.retain(|(_, record), _| *record != message.record());
                    self.messages.insert(message.record(), (body, left));
                }
            }
            StoreOp::RetainedExpired { message, version } => self.retain(message, *version, None),
            StoreOp::Acknowledged { session, record } => self.acknowledge(session.0, *record),
            StoreOp::InboundReleased { session, packet_id } => {
                self.inbound.remove(&(session.0, *packet_id));
            }
            StoreOp::OutboundSent { session, owner, record, packet_id } => {
                self.order += 1;
                let out = Out { order: self.order, owner: owner.0, record: *record, received: false };
                self.outbound.insert((session.0, *packet_id), out);
            }
            StoreOp::OutboundReceived { session, owner, record, packet_id } => {
                self.order += 1;
                let begun = Out { order: self.order, owner: owner.0, record: *record, received: true };
                self.outbound.entry((session.0, *packet_id)).or_insert(begun).received = true;
                self.acknowledge(owner.0, *record);
            }
            StoreOp::OutboundCompleted { session, packet_id } => {
                self.outbound.remove(&(session.0, *packet_id));
            }
            StoreOp::SessionKept { session, client_id, user, expiry_s } => {
                self.gone.remove(&session.0);
                let user = user.as_deref().map(str::to_owned);
                let row = Session { client_id: client_id.to_string(), user, expiry_s: *expiry_s, left: None };
                self.sessions.insert(session.0, row);
            }
            StoreOp::Presence { session, online } => {
                if let Some(row) = self.sessions.get_mut(&session.0) {
                    row.left = (!online).then_some(now);
                }
            }
            StoreOp::SessionEnded { session, .. } => self.end(session.0),
            StoreOp::Subscribed { session, filter, qos, flags, subscription_id, selector } => {
                let row = RecoveredSubscription {
                    filter: filter.clone(),
                    qos: *qos,
                    no_local: flags.0,
                    retain_as_published: flags.1,
                    id: NonZeroU32::new(*subscription_id),
                    selector: selector.clone(),
                };
                self.subscriptions.insert((session.0, filter.to_string()), row);
            }
            StoreOp::Unsubscribed { session, filter } => {
                self.subscriptions.remove(&(session.0, filter.to_string()));
            }
            StoreOp::WillKept { session, will } => {
                self.wills.insert(session.0, (**will).clone());
            }
            StoreOp::WillGone { session } => {
                self.wills.remove(&session.0);
            }
            StoreOp::GroupKept { session, group, filter, options } => {
                self.gone.remove(&session.0);
                let row = (group.to_string(), filter.to_string(), (**options).clone());
                self.groups.insert(session.0, row);
            }
            StoreOp::Released { session, record, deliveries } => {
                if self.waiting(session.0).contains(record) {
                    self.deliveries.insert((session.0, *record), *deliveries);
                }
            }
            StoreOp::Transaction(parts) => parts.iter().for_each(|part| self.apply(part, now, start)),
            StoreOp::GroupEnded { session, .. } => {
                self.groups.remove(&session.0);
                self.end(session.0);
            }
        }
    }

    fn retain(&mut self, message: &Message, version: u64, body: Option<Body>) {
        let topic = message.topic().as_str();
        let rank = |version: u64, body: &Option<Body>| (version, body.is_none());
        if self.retained.get(topic).is_none_or(|(known, old)| rank(*known, old) <= rank(version, &body)) {
            self.retained.insert(topic.to_owned(), (version, body));
        }
    }

    fn acknowledge(&mut self, session: u64, record: u64) {
        self.deliveries.remove(&(session, record));
        if let Some((_, left)) = self.messages.get_mut(&record) {
            left.retain(|recipient| recipient.session.0 != session);
            if left.is_empty() {
                self.messages.remove(&record);
            }
        }
    }

    fn end(&mut self, number: u64) {
        self.sessions.remove(&number);
        self.subscriptions.retain(|(whose, _), _| *whose != number);
        self.outbound.retain(|(whose, _), _| *whose != number);
        self.inbound.retain(|(whose, _)| *whose != number);
        for record in self.waiting(number) {
            self.acknowledge(number, record);
        }
        self.gone.insert(number);
    }

    /// The messages that a session or group has not acknowledged.
    pub(super) fn waiting(&self, number: u64) -> Vec<u64> {
        let waits = |left: &[Recipient]| left.iter().any(|recipient| recipient.session.0 == number);
        self.messages.iter().filter(|(_, (_, left))| waits(left)).map(|(record, _)| *record).collect()
    }

    pub(super) fn sessions(&self) -> Vec<u64> {
        self.sessions.keys().copied().collect()
    }

    pub(super) fn groups(&self) -> Vec<u64> {
        self.groups.keys().copied().collect()
    }

    pub(super) fn gone(&self) -> Vec<u64> {
        self.gone.iter().copied().collect()
    }

    pub(super) fn out_of(&self, session: u64) -> Vec<(u16, u64, u64)> {
        let whose = (session, 0)..=(session, u16::MAX);
        self.outbound.range(whose).map(|(key, out)| (key.1, out.owner, out.record)).collect()
    }

    pub(super) fn inbound_of(&self, session: u64) -> Vec<u16> {
        self.inbound.range((session, 0)..=(session, u16::MAX)).map(|key| key.1).collect()
    }

    pub(super) fn filters_of(&self, session: u64) -> Vec<String> {
        let keys = self.subscriptions.keys().filter(|(whose, _)| *whose == session);
        keys.map(|(_, filter)| filter.clone()).collect()
    }

    pub(super) fn retained_topics(&self) -> Vec<(String, u64)> {
        self.retained.iter().map(|(topic, (version, _))| (topic.clone(), *version)).collect()
    }

    /// The process ends, and another begins at `now`.
    pub(super) fn restart(&mut self, now: u64) {
        let ends = |session: &Session| match session.expiry_s {
            u32::MAX => u64::MAX,
            seconds => session.left.unwrap_or(now) + u64::from(seconds) * 1_000,
        };
        let over: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| ends(session) <= now)
            .map(|(number, _)| *number)
            .collect();
        for session in over {
            let lent: Vec<_> =
                self.out_of(session).into_iter().filter(|(_, owner, _)| *owner != session).collect();
            for (packet_id, owner, record) in lent {
                if !self.outbound[&(session, packet_id)].received {
                    self.acknowledge(owner, record);
                }
            }
            self.end(session);
        }
        self.left = Some(now);
        // Nobody asks for what was for others.
        let (sessions, groups) = (&self.sessions, &self.groups);
        for (_, left) in self.messages.values_mut() {
            left.retain(|one| sessions.contains_key(&one.session.0) || groups.contains_key(&one.session.0));
        }
        self.messages.retain(|_, (_, left)| !left.is_empty());
        let expired: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, (body, _))| body.deadline <= now)
            .map(|(record, _)| *record)
            .collect();
        for record in expired {
            let Some((_, left)) = self.messages.remove(&record) else { continue };
            self.outbound.retain(|_, out| {
                let of_it = left.iter().find(|one| one.session.0 == out.owner);
                out.received
                    || out.record != record
                    || of_it.is_none_or(|recipient| recipient.qos == Qos::ExactlyOnce)
            });
        }
        let messages = &self.messages;
        for out in self.outbound.values_mut() {
            let there = messages.get(&out.record);
            out.received |= !there.is_some_and(|(_, left)| left.iter().any(|one| one.session.0 == out.owner));
        }
        self.retained.retain(|_, (_, body)| body.as_ref().is_some_and(|body| body.deadline > now));
        self.gone.clear();
    }

    /// What that process finds, right after [`Model::restart`].
    pub(super) fn seen(&self, start: u64) -> Seen {
        let mut seen = Seen::default();
        for (&number, session) in &self.sessions {
            let left = session.left.or(self.left).unwrap_or(start);
            let ends = match session.expiry_s {
                u32::MAX => u64::MAX,
                seconds => left + u64::from(seconds) * 1_000,
            };
            let will = self.wills.get(&number).map(|will| {
                let due = (left + u64::from(will.delay_s) * 1_000).min(ends);
                (will_seen(will), since(due, start))
            });
            let mut outbound: Vec<_> = self.outbound.range((number, 0)..=(number, u16::MAX)).collect();
            outbound.sort_by_key(|(_, out)| out.order);
            let outbound = outbound.into_iter().map(|(key, out)| {
                let sent = (!out.received).then(|| (out.owner, self.delivery(out.owner, out.record, start)));
                (key.1, sent)
            });
            let subscriptions = self.subscriptions.iter().filter(|((whose, _), _)| *whose == number);
            let session_seen = SessionSeen {
                client_id: session.client_id.clone(),
                user: session.user.clone(),
                expiry_s: session.expiry_s,
                expires_ms: since(ends, start),
                will,
                subscriptions: subscriptions.map(|(_, row)| row.clone()).collect(),
                queue: self.queued(number).map(|record| self.delivery(number, record, start)).collect(),
                outbound: outbound.collect(),
                inbound: self.inbound_of(number),
            };
            seen.sessions.insert(number, session_seen);
        }
        for (&number, (group, filter, options)) in &self.groups {
            let deliveries = |record| self.deliveries.get(&(number, record)).copied().unwrap_or(0);
            let queue =
                self.queued(number).map(|record| (self.messages[&record].0.told(start), deliveries(record)));
            let (group, filter, options) = (group.clone(), filter.clone(), options.clone());
            let queue = queue.collect();
            seen.groups.insert(number, GroupSeen { group, filter, options, queue });
        }
        let orphaned = self.wills.iter().filter(|(number, _)| !self.sessions.contains_key(number));
        seen.wills = orphaned.map(|(&number, will)| (number, will_seen(will))).collect();
        for (topic, (version, body)) in &self.retained {
            if let Some(body) = body {
                seen.retained.insert(topic.clone(), (*version, Told { record: 0, ..body.told(start) }));
            }
        }
        seen
    }

    fn queued(&self, number: u64) -> impl Iterator<Item = u64> {
        let under_way: BTreeSet<_> = self
            .outbound
            .values()
            .filter(|out| out.owner == number && !out.received)
            .map(|out| out.record)
            .collect();
        self.waiting(number).into_iter().filter(move |record| !under_way.contains(record))
    }

    fn delivery(&self, owner: u64, record: u64, start: u64) -> Delivery {
        let (body, left) = &self.messages[&record];
        let recipient = left.iter().find(|recipient| recipient.session.0 == owner).unwrap();
        Delivery {
            qos: recipient.qos,
            retain: recipient.retain,
            ids: recipient.subscription_ids.clone(),
            message: body.told(start),
        }
    }
}
