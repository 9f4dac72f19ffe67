//! What is on the disk after the last commit, kept in plain maps, and what a restart finds there.
//!
//! Time is the broker's: milliseconds that go on while it is down. The engines' clock begins anew with every start;
//! `offset_ms` is what it lies behind by.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use noctule_core::group::QueueOptions;
use noctule_core::id::Qos;
use noctule_core::message::{Message, Restored};
use noctule_core::queue::Stub;
use noctule_core::store::{
    Exchange, KeptWill, LoadedMessage, Recipient, Recovered, RecoveredGroup, RecoveredSession,
    RecoveredSubscription, RecoveredWill, SessionNumber, StoreOp,
};

use crate::outbox::number;

/// A message and the broker's time at which it expires.
#[derive(Clone, Debug)]
struct Body {
    message: Arc<Message>,
    deadline_ms: u64,
}

impl Body {
    fn new(message: Arc<Message>, offset_ms: u64) -> Self {
        let deadline_ms = message.expires_ms().saturating_add(offset_ms);
        Self { message, deadline_ms }
    }

    /// As a store gives it back: with nothing of what it was in memory.
    fn restore(&self, offset_ms: u64) -> Arc<Message> {
        let message = &self.message;
        Message::restore(&Restored {
            topic: message.topic(),
            fields: message.wire_fields(),
            payload: message.payload(),
            qos: message.qos(),
            retain: message.retain(),
            expires_ms: to_mono(self.deadline_ms, offset_ms),
            record: message.record(),
        })
    }
}

fn to_mono(deadline_ms: u64, offset_ms: u64) -> u64 {
    if deadline_ms == u64::MAX { u64::MAX } else { deadline_ms.saturating_sub(offset_ms) }
}

#[derive(Debug)]
struct Session {
    client_id: Box<str>,
    user: Option<Box<str>>,
    expiry_s: u32,
    /// When its client left; `None` while it is there.
    left_ms: Option<u64>,
}

impl Session {
    /// When it ends, if its client does not come back; one that is there counts as having left now.
    fn ends_ms(&self, now_ms: u64) -> u64 {
        let left_ms = self.left_ms.unwrap_or(now_ms);
        if self.expiry_s == u32::MAX { u64::MAX } else { left_ms + u64::from(self.expiry_s) * 1_000 }
    }
}

#[derive(Debug)]
struct Kept {
    body: Body,
    left: Vec<Recipient>,
}

/// An outbound exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    order: u64,
    owner: u64,
    record: u64,
    pub(crate) received: bool,
    /// The message's number, if it was there when the exchange began.
    pub(crate) msg: Option<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    sessions: BTreeMap<u64, Session>,
    subscriptions: BTreeMap<(u64, String), RecoveredSubscription>,
    messages: BTreeMap<u64, Kept>,
    pub(crate) outbound: BTreeMap<(u64, u16), Out>,
    inbound: BTreeSet<(u64, u16)>,
    wills: BTreeMap<u64, KeptWill>,
    groups: BTreeMap<u64, (Box<str>, Box<str>, QueueOptions)>,
    /// Of what groups had lent and got back: how often.
    deliveries: BTreeMap<(u64, u64), u32>,
    /// By topic; without a body where it was cleared.
    retained: BTreeMap<String, (u64, Option<Body>)>,
    last_session: u64,
    last_record: u64,
    last_version: u64,
    exchanges_begun: u64,
    /// Messages that had expired when a restart looked at them, and those of sessions that had.
    pub(crate) expired: u64,
    /// The numbers of all wills that were ever kept.
    pub(crate) wills_kept: BTreeSet<u32>,
    /// The numbers of all messages that were ever stored.
    pub(crate) published: BTreeSet<u32>,
}

impl Disk {
    fn seen(&mut self, session: SessionNumber, record: u64) {
        self.last_session = self.last_session.max(session.0);
        self.last_record = self.last_record.max(record);
    }

    /// Makes one committed operation true; `at_ms`: the broker's time at which it was submitted.
    pub(crate) fn apply(&mut self, op: StoreOp, at_ms: u64, offset_ms: u64) {
        match op {
            StoreOp::Publish { message, recipients, retained, inbound } => {
                self.seen(SessionNumber(0), message.record());
                for recipient in &recipients {
                    self.seen(recipient.session, 0);
                }
                self.published.insert(number(message.payload()));
                let body = Body::new(message, offset_ms);
                if let Some(version) = retained {
                    let is_set = !body.message.payload().is_empty();
                    self.retain(&body.message.clone(), version, is_set.then(|| body.clone()));
                }
                if let Some((session, packet_id)) = inbound {
                    self.seen(session, 0);
                    self.inbound.insert((session.0, packet_id));
                }
                if !recipients.is_empty() {
                    let record = body.message.record();
                    let kept = Kept { body, left: recipients.into() };
                    assert!(self.messages.insert(record, kept).is_none(), "record {record} given twice");
                }
            }
            StoreOp::RetainedExpired { message, version } => self.retain(&message, version, None),
            StoreOp::Acknowledged { session, record } => self.acknowledge(session.0, record),
            StoreOp::InboundReleased { session, packet_id } => {
                self.inbound.remove(&(session.0, packet_id));
            }
            StoreOp::OutboundSent { session, owner, record, packet_id } => {
                self.seen(session, record);
                self.exchanges_begun += 1;
                let msg = self.messages.get(&record).map(|kept| number(kept.body.message.payload()));
                let (order, owner) = (self.exchanges_begun, owner.0);
                let out = Out { order, owner, record, received: false, msg };
                self.outbound.insert((session.0, packet_id), out);
            }
            StoreOp::OutboundReceived { session, owner, record, packet_id } => {
                self.seen(session, record);
                let order = self.exchanges_begun;
                let begun = Out { order, owner: owner.0, record, received: true, msg: None };
                self.outbound.entry((session.0, packet_id)).or_insert(begun).received = true;
                self.acknowledge(owner.0, record);
            }
            StoreOp::OutboundCompleted { session, packet_id } => {
                self.outbound.remove(&(session.0, packet_id));
            }
            StoreOp::SessionKept { session, client_id, user, expiry_s } => {
                self.seen(session, 0);
                let others = self.sessions.iter().filter(|(known, _)| **known != session.0);
                let same = others.filter(|(_, known)| known.client_id == client_id).count();
                assert_eq!(same, 0, "two sessions of {client_id}");
                self.sessions.insert(session.0, Session { client_id, user, expiry_s, left_ms: None });
            }
            StoreOp::Presence { session, online } => {
                if let Some(known) = self.sessions.get_mut(&session.0) {
                    known.left_ms = (!online).then_some(at_ms);
                }
            }
            StoreOp::SessionEnded { session, records } => {
                self.end_session(session.0);
                records.iter().for_each(|&record| self.acknowledge(session.0, record));
            }
            StoreOp::Subscribed { session, filter, qos, flags, subscription_id, selector } => {
                let (no_local, retain_as_published) = flags;
                let id = NonZeroU32::new(subscription_id);
                let filter_too = filter.clone();
                let row = RecoveredSubscription {
                    filter: filter_too,
                    qos,
                    no_local,
                    retain_as_published,
                    id,
                    selector,
                };
                self.subscriptions.insert((session.0, filter.into()), row);
            }
            StoreOp::Unsubscribed { session, filter } => {
                self.subscriptions.remove(&(session.0, filter.into()));
            }
            StoreOp::WillKept { session, will } => {
                self.seen(session, 0);
                self.wills_kept.insert(number(will.message.payload()));
                self.wills.insert(session.0, *will);
            }
            StoreOp::WillGone { session } => {
                self.wills.remove(&session.0);
            }
            StoreOp::GroupKept { session, group, filter, options } => {
                self.seen(session, 0);
                self.groups.insert(session.0, (group, filter, *options));
            }
            StoreOp::Released { session, record, deliveries } => {
                self.deliveries.insert((session.0, record), deliveries);
            }
            StoreOp::Transaction(ops) => {
                for op in ops.into_vec() {
                    self.apply(op, at_ms, offset_ms);
                }
            }
            StoreOp::GroupEnded { session, records } => {
                self.groups.remove(&session.0);
                records.iter().for_each(|&record| self.acknowledge(session.0, record));
            }
        }
    }

    fn retain(&mut self, message: &Message, version: u64, body: Option<Body>) {
        self.last_version = self.last_version.max(version);
        let topic = message.topic().as_str().to_owned();
        if self.retained.get(&topic).is_none_or(|(known, _)| *known <= version) {
            self.retained.insert(topic, (version, body));
        }
    }

    fn acknowledge(&mut self, session: u64, record: u64) {
        if let Some(kept) = self.messages.get_mut(&record) {
            kept.left.retain(|recipient| recipient.session.0 != session);
            if kept.left.is_empty() {
                self.messages.remove(&record);
            }
        }
    }

    /// Everything but the will, which is published first and then reported gone.
    fn end_session(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.subscriptions.retain(|(whose, _), _| *whose != session);
        self.outbound.retain(|(whose, _), _| *whose != session);
        self.inbound.retain(|(whose, _)| *whose != session);
    }

    /// What a session has asked to have back.
    pub(crate) fn load(&self, session: SessionNumber, record: u64, offset_ms: u64) -> Option<LoadedMessage> {
        let kept = self.messages.get(&record)?;
        let recipient = kept.left.iter().find(|recipient| recipient.session == session)?;
        let subscription_ids = recipient.subscription_ids.clone();
        Some(LoadedMessage { message: kept.body.restore(offset_ms), subscription_ids })
    }

    /// What a restart at the broker's time `now_ms` finds; what has ended or expired leaves the disk.
    pub(crate) fn recover(&mut self, now_ms: u64, offset_ms: u64) -> Recovered {
        let ended =
            |(number, session): (&u64, &Session)| (session.ends_ms(now_ms) <= now_ms).then_some(*number);
        let ended: Vec<_> = self.sessions.iter().filter_map(ended).collect();
        for session in ended {
            self.expire_session(session);
        }
        self.forget_the_dead();
        let expired = |(record, kept): (&u64, &Kept)| (kept.body.deadline_ms <= now_ms).then_some(*record);
        let expired: Vec<_> = self.messages.iter().filter_map(expired).collect();
        for record in expired {
            self.expire_message(record);
        }
        let messages = &self.messages;
        let waits = |out: &Out| {
            let kept = messages.get(&out.record);
            kept.is_some_and(|kept| kept.left.iter().any(|recipient| recipient.session.0 == out.owner))
        };
        // An exchange whose message is gone (its publisher was told of a failure, or its group has ended) ends with
        // PUBREL: the client may hold its packet id.
        self.outbound.values_mut().for_each(|out| out.received |= !waits(out));
        for (_, body) in self.retained.values_mut() {
            body.take_if(|body| body.deadline_ms <= now_ms);
        }
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        let sessions = sessions.into_iter().map(|session| self.session(session, now_ms, offset_ms)).collect();
        let groups = self.groups.iter().map(|(&session, (group, filter, options))| RecoveredGroup {
            number: SessionNumber(session),
            group: group.clone(),
            filter: filter.clone(),
            options: options.clone(),
            queue: self
                .waiting(session)
                .map(|(kept, _)| {
                    let message = kept.body.restore(offset_ms);
                    let deliveries = self.deliveries.get(&(session, message.record())).copied();
                    (message, deliveries.unwrap_or(0))
                })
                .collect(),
        });
        let wills = self.wills.iter().filter(|(session, _)| !self.sessions.contains_key(session));
        let wills = wills
            .map(|(&session, will)| RecoveredWill { number: SessionNumber(session), will: will.clone() });
        let retained = self
            .retained
            .values()
            .filter_map(|(version, body)| Some((*version, body.as_ref()?.restore(offset_ms))));
        Recovered {
            sessions,
            groups: groups.collect(),
            wills: wills.collect(),
            retained: retained.collect(),
            last_session: self.last_session,
            last_record: self.last_record,
            last_version: self.last_version,
        }
    }

    /// A message that came for somebody whose end was committed before is for nobody.
    fn forget_the_dead(&mut self) {
        let (sessions, groups) = (&self.sessions, &self.groups);
        self.messages.retain(|_, kept| {
            kept.left.retain(|recipient| {
                let number = &recipient.session.0;
                sessions.contains_key(number) || groups.contains_key(number)
            });
            !kept.left.is_empty()
        });
        self.outbound.retain(|(session, _), _| sessions.contains_key(session));
        self.inbound.retain(|(session, _)| sessions.contains_key(session));
        self.subscriptions.retain(|(session, _), _| sessions.contains_key(session));
    }

    /// A session has expired while nobody was there to see it.
    fn expire_session(&mut self, session: u64) {
        // What a group had lent it at QoS 2 dies with it [MQTT-4.8.2-5].
        let lent: Vec<_> = self
            .outbound
            .iter()
            .filter(|((whose, _), out)| *whose == session && out.owner != session)
            .map(|(_, out)| (out.owner, out.record))
            .collect();
        self.end_session(session);
        for (owner, record) in lent {
            self.acknowledge(owner, record);
        }
        let records: Vec<_> = self.messages.keys().copied().collect();
        records.into_iter().for_each(|record| self.acknowledge(session, record));
    }

    /// A message has expired. An exchange of it at QoS 2 ends with PUBREL all the same: the client may have it.
    fn expire_message(&mut self, record: u64) {
        let Some(kept) = self.messages.remove(&record) else { return };
        self.expired += kept.left.len() as u64;
        let qos_of = |out: &Out| {
            let recipient = kept.left.iter().find(|recipient| recipient.session.0 == out.owner);
            recipient.map_or(Qos::ExactlyOnce, |recipient| recipient.qos)
        };
        self.outbound.retain(|_, out| {
            let gone = out.record == record && !out.received;
            out.received |= gone;
            !gone || qos_of(out) == Qos::ExactlyOnce
        });
    }

    /// What waits for `owner` in order, without what is under way to a session.
    fn waiting(&self, owner: u64) -> impl Iterator<Item = (&Kept, &Recipient)> {
        let under_way: BTreeSet<_> =
            self.outbound.values().filter(|out| out.owner == owner).map(|out| out.record).collect();
        let messages = self.messages.iter().filter(move |(record, _)| !under_way.contains(record));
        messages.filter_map(move |(_, kept)| {
            let recipient = kept.left.iter().find(|recipient| recipient.session.0 == owner)?;
            Some((kept, recipient))
        })
    }

    fn session(&self, session: u64, now_ms: u64, offset_ms: u64) -> RecoveredSession {
        let row = &self.sessions[&session];
        let ends_ms = row.ends_ms(now_ms);
        let will = self.wills.get(&session).map(|will| {
            let due_ms = row.left_ms.unwrap_or(now_ms) + u64::from(will.delay_s) * 1_000;
            (will.clone(), to_mono(due_ms.min(ends_ms), offset_ms))
        });
        let queue = self.waiting(session).map(|(kept, recipient)| {
            let message = &kept.body.message;
            let bytes = message.wire_topic().len() + message.wire_fields().len() + message.payload().len();
            let (record, cost) = (message.record(), Stub::cost_of(bytes));
            Stub { record, cost, qos: recipient.qos, retain: recipient.retain }
        });
        let mut outbound: Vec<_> = self.outbound.iter().filter(|((whose, _), _)| *whose == session).collect();
        outbound.sort_by_key(|(_, out)| out.order);
        let outbound = outbound.into_iter().map(|((_, packet_id), out)| {
            (NonZeroU16::new(*packet_id).unwrap(), self.exchange(out, offset_ms))
        });
        let inbound = self.inbound.iter().filter(|(whose, _)| *whose == session);
        let subscriptions = self.subscriptions.iter().filter(|((whose, _), _)| *whose == session);
        RecoveredSession {
            number: SessionNumber(session),
            client_id: row.client_id.clone(),
            user: row.user.clone(),
            expiry_s: row.expiry_s,
            expires_ms: to_mono(ends_ms, offset_ms),
            will,
            subscriptions: subscriptions.map(|(_, subscription)| subscription.clone()).collect(),
            queue: queue.collect(),
            outbound: outbound.collect(),
            inbound: inbound.map(|(_, packet_id)| NonZeroU16::new(*packet_id).unwrap()).collect(),
        }
    }

    fn exchange(&self, out: &Out, offset_ms: u64) -> Exchange {
        if out.received {
            return Exchange::Received;
        }
        let kept = &self.messages[&out.record];
        let recipient = kept.left.iter().find(|recipient| recipient.session.0 == out.owner).unwrap();
        let subscription_ids = recipient.subscription_ids.clone();
        let loaded = LoadedMessage { message: kept.body.restore(offset_ms), subscription_ids };
        let (qos, retain) = (recipient.qos, recipient.retain);
        Exchange::Sent { loaded, owner: SessionNumber(out.owner), qos, retain }
    }

    /// The number of a client's session, if it is kept.
    pub(crate) fn session_of(&self, client_id: &str) -> Option<u64> {
        let mut sessions = self.sessions.iter();
        sessions.find(|(_, session)| *session.client_id == *client_id).map(|(number, _)| *number)
    }

    pub(crate) fn subscriptions_of(&self, session: u64) -> impl Iterator<Item = &RecoveredSubscription> {
        let rows = self.subscriptions.iter().filter(move |((whose, _), _)| *whose == session);
        rows.map(|(_, subscription)| subscription)
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = (u64, &str)> {
        self.sessions.iter().map(|(&number, session)| (number, &*session.client_id))
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (u64, &str, &str)> {
        self.groups.iter().map(|(&number, (group, filter, _))| (number, &**group, &**filter))
    }

    /// The messages that are kept for a group, and how often each was delivered as far as the store was told.
    pub(crate) fn kept_for(&self, group: &str, filter: &str) -> BTreeMap<u32, u32> {
        let mut known = self.groups.iter().filter(|(_, (name, of, _))| **name == *group && **of == *filter);
        let Some((&session, _)) = known.next() else { return BTreeMap::new() };
        let its = |(record, kept): (&u64, &Kept)| {
            kept.left.iter().any(|recipient| recipient.session.0 == session).then(|| {
                let deliveries = self.deliveries.get(&(session, *record)).copied().unwrap_or(0);
                (number(kept.body.message.payload()), deliveries)
            })
        };
        self.messages.iter().filter_map(its).collect()
    }

    /// Whether the will that carries `msg` is kept.
    pub(crate) fn has_will(&self, msg: u32) -> bool {
        self.wills.values().any(|will| number(will.message.payload()) == msg)
    }

    /// The numbers of what is retained, by topic.
    pub(crate) fn retained(&self) -> BTreeMap<String, u32> {
        let body = |(topic, (_, body)): (&String, &(u64, Option<Body>))| {
            Some((topic.clone(), number(body.as_ref()?.message.payload())))
        };
        self.retained.iter().filter_map(body).collect()
    }

    /// What is kept for somebody although nothing is under way.
    pub(crate) fn remains(&self) -> Vec<String> {
        let messages = self.messages.iter().map(|(record, kept)| {
            let msg = number(kept.body.message.payload());
            format!("record {record} (message {msg}) for {:?}", kept.left)
        });
        let outbound = self.outbound.iter().map(|(key, out)| format!("outbound {key:?} {out:?}"));
        let inbound = self.inbound.iter().map(|key| format!("inbound {key:?}"));
        let wills = self.wills.iter().map(|(session, will)| format!("will of {session} {will:?}"));
        let orphans = self.subscriptions.iter().filter(|((whose, _), _)| !self.sessions.contains_key(whose));
        let orphans = orphans.map(|(key, _)| format!("subscription {key:?} of no session"));
        messages.chain(outbound).chain(inbound).chain(wills).chain(orphans).collect()
    }
}
