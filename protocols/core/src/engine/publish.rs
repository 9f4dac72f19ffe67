//! Messages come in: checks, matching, what is retained and stored, and the way to every recipient.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::answers::{Hold, pub_rec};
use super::intake::for_queue;
use super::origin::{Answer, Origin, Source};
use super::{Engine, NO_SESSION, Timer};
use crate::delivery::AckKind;
use crate::effects::{DropReason, Effect, Effects, PeerMsg, Reason, Reply};
use crate::id::{ConnId, Now, Qos, SessionId};
use crate::matches::{MatchSet, Target};
use crate::message::{Fields, Message, Publish};
use crate::policy::{Action, Durability, Overflow};
use crate::queue::{Entry, Extra};
use crate::refusal::Kind;
use crate::shared::Headroom;
use crate::store::{Recipient, SessionNumber, StoreOp, Ticket};
use crate::trie::GroupKey;

impl Engine {
    /// A client's PUBLISH.
    pub(super) fn publish(&mut self, now: Now, conn: ConnId, publish: &Publish<'_>, fx: &mut Effects) {
        let Some(slot) = self.session_slot(conn) else { return };
        let limits = &self.policy.limits;
        if publish.qos > limits.max_qos {
            let detail = format!("QoS {} is above max_qos {}", publish.qos.level(), limits.max_qos.level());
            return self.refuse(now, conn, Kind::QosNotSupported, detail, fx);
        }
        if publish.retain && !limits.retain_available {
            let detail = "a retained message, but retain_available is false".into();
            return self.refuse(now, conn, Kind::RetainNotSupported, detail, fx);
        }
        if let Some(packet_id) = publish.packet_id
            && !self.admit(now, conn, slot, publish.qos, packet_id, fx)
        {
            return;
        }
        if let Some(counter) = self.stats.messages_in.get_mut(usize::from(publish.qos.level())) {
            *counter += 1;
        }
        self.stats.payload_bytes_in += publish.payload.len() as u64;
        let Publish { topic, qos, retain, .. } = *publish;
        let action = Action::Publish { topic: topic.as_str(), qos, retain };
        if !self.ask(slot, action).is_allowed() {
            return self.forbidden(now, conn, slot, publish, fx);
        }
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let (publisher, kept) = (self.session_id(slot), session.is_durable());
        let durability = if publish.qos > Qos::AtMostOnce || publish.retain {
            let listener = self.conns.get(conn.slot as usize).and_then(|state| state.durability);
            self.policy.durability.of(&publish.topic, listener)
        } else {
            // Nothing of it is stored, so the rules, which may be many, are not asked.
            Durability::Never
        };
        let packet_id = publish.packet_id;
        let origin = Origin { publisher, kept, conn: Some(conn), packet_id, durability, ..Origin::UNHELD };
        let own;
        let mut publish = *publish;
        if publish.topic.is_queue()
            && let Some(fields) = for_queue(publish.fields, now)
        {
            own = fields;
            publish.fields = Fields::from_validated([&own, &[], &[]]);
        }
        self.take_in(now, Source::Borrowed(&publish), origin, fx);
    }

    /// Flow control and exactly-once on the way in; false if the packet has been dealt with.
    fn admit(
        &mut self,
        now: Now,
        conn: ConnId,
        slot: u32,
        qos: Qos,
        packet_id: NonZeroU16,
        fx: &mut Effects,
    ) -> bool {
        let receive_maximum = u32::from(self.policy.limits.receive_maximum);
        let session_id = self.session_id(slot);
        if let Some(state) = self.conn(conn) {
            if state.is_v5 && state.unacknowledged >= receive_maximum {
                let detail =
                    format!("more than {receive_maximum} unacknowledged QoS 1 and 2 messages [MQTT-3.3.4-7]");
                self.refuse(now, conn, Kind::ReceiveMaximumExceeded, detail, fx);
                return false;
            }
            state.unacknowledged = state.unacknowledged.saturating_add(1);
        }
        let traffic = self.sessions.get(slot as usize).and_then(|session| session.traffic.as_ref());
        if qos == Qos::ExactlyOnce && traffic.is_some_and(|traffic| traffic.received.contains(packet_id)) {
            // Taken before: only the answer is due again [MQTT-4.3.3-10].
            if !self.rebind(conn, session_id, packet_id, AckKind::PubRec) {
                self.answer(conn, pub_rec(packet_id, Reason::Success), fx);
            }
            return false;
        }
        true
    }

    /// Without the right: MQTT 5 is told at QoS 1 and 2, MQTT 3 gets its acknowledgement and nobody the message
    /// [MQTT-3.3.5-2].
    fn forbidden(&mut self, now: Now, conn: ConnId, slot: u32, publish: &Publish<'_>, fx: &mut Effects) {
        let client_id = self.session(slot).map(|session| session.client_id.clone()).unwrap_or_default();
        self.count_drop(now, DropReason::NotAuthorized, &client_id, fx);
        let Some(packet_id) = publish.packet_id else { return };
        let is_v5 = self.conn(conn).is_some_and(|state| state.is_v5);
        let reason = if is_v5 { Reason::NotAuthorized } else { Reason::Success };
        if publish.qos == Qos::ExactlyOnce && !is_v5 {
            self.note_received(slot, packet_id);
        }
        self.answer(conn, ack(publish.qos, packet_id, reason), fx);
    }

    fn note_received(&mut self, slot: u32, packet_id: NonZeroU16) {
        let spare = &mut self.spare_traffic;
        if let Some(session) = self.sessions.get_mut(slot as usize) {
            let traffic = session.traffic.get_or_insert_with(|| spare.pop().unwrap_or_default());
            traffic.received.insert(packet_id);
        }
    }

    /// Parks the message if a worker it goes to has no room for it, else sends it on its way.
    pub(super) fn take_in(&mut self, now: Now, source: Source<'_>, mut origin: Origin, fx: &mut Effects) {
        if !self.taps.is_empty() {
            self.let_hear(&source, origin);
        }
        let Some(set) = self.matches_of(now, &source, origin, fx) else { return };
        if self.must_park(&set) && !self.is_withheld(source.qos(), origin) {
            if source.qos() == Qos::ExactlyOnce
                && let (Some(slot), Some(packet_id)) = (self.slot_of(origin.publisher), origin.packet_id)
            {
                // So that a copy that comes over a new connection is known for what it is.
                self.note_received(slot, packet_id);
            }
            let is_answered = origin.packet_id.is_some() || origin.answer != Answer::Never;
            let answered = origin.conn.filter(|_| is_answered);
            origin.place = origin.place.or_else(|| answered.map(|conn| self.reserve_answer(conn)));
            let message = self.materialise(now, source, origin.publisher, 0);
            return self.park(message, origin, None, fx);
        }
        self.dispatch(now, source, set, origin, fx);
        self.will_taken_in(origin, fx);
    }

    /// Whom the message is for. A queue that is not there yet is made; `None` if it can't be, and the publisher has been
    /// told.
    pub(super) fn matches_of(
        &mut self,
        now: Now,
        source: &Source<'_>,
        origin: Origin,
        fx: &mut Effects,
    ) -> Option<Arc<MatchSet>> {
        let topic = source.topic();
        let set = self.cache.lookup(&self.shared.tree, topic);
        if !topic.is_queue() || !set.groups().is_empty() {
            return Some(Arc::clone(set));
        }
        let key = Arc::new(GroupKey { group: Box::default(), filter: topic.as_str().into() });
        if self.ensure_queue(&key, fx).is_err() {
            self.refuse_message(now, source.qos(), origin, DropReason::QueueFull, fx);
            return None;
        }
        Some(Arc::clone(self.cache.lookup(&self.shared.tree, topic)))
    }

    /// Whether an older message of the same connection was refused without a word; see [`super::ConnState`]'s `withholding`.
    fn is_withheld(&mut self, qos: Qos, origin: Origin) -> bool {
        let state = origin.conn.filter(|_| qos > Qos::AtMostOnce).and_then(|conn| self.conn(conn));
        state.is_some_and(|state| state.withholding)
    }

    /// A held message is stored: it goes on, once there is room for it.
    pub(super) fn hold_stored(&mut self, now: Now, hold: Hold, fx: &mut Effects) {
        let Hold { place, publisher, packet_id, message, spare_record, set, version, .. } = hold;
        let origin = Origin {
            publisher,
            kept: true,
            conn: Some(place.conn),
            packet_id: Some(packet_id),
            answer: Answer::Never,
            durability: Durability::Always,
            version,
            spare_record,
            place: Some(place),
            until_ms: None,
        };
        if self.must_park(&set) {
            return self.park(message, origin, Some(set), fx);
        }
        self.send_held(now, message, &set, origin, fx);
    }

    pub(super) fn send_held(
        &mut self,
        now: Now,
        message: Arc<Message>,
        set: &Arc<MatchSet>,
        origin: Origin,
        fx: &mut Effects,
    ) {
        // Of a transaction's message nothing more is said: its receipt speaks for all of them.
        let answer = origin.packet_id.zip(origin.place);
        let answer = answer.map(|(packet_id, place)| (place, pub_rec(packet_id, matched(set))));
        let version = origin.version;
        if version == 0 {
            self.fan_out(now, message, set, fx);
            if let Some((place, reply)) = answer {
                self.fill(place, reply, fx);
            }
            return;
        }
        if self.shared.retained.set_at(Arc::clone(&message), version, now.mono_ms).is_err() {
            self.count_drop(now, DropReason::RetainedFull, message.topic().as_str(), fx);
            self.unretain(now, &message, version, fx);
        }
        let again = Arc::clone(self.cache.lookup(&self.shared.tree, message.topic()));
        if Arc::ptr_eq(&again, set) {
            self.fan_out(now, message, set, fx);
        } else {
            self.send_to_others(now, message, set, &again, origin.spare_record, fx);
        }
        if let Some((place, reply)) = answer {
            self.fill(place, reply, fx);
        }
    }

    /// Sends a message that was stored for `then` to those in `set`, whom it goes to now. Whoever has subscribed meanwhile
    /// gets it live: for them it is stored once more, as `spare_record`.
    fn send_to_others(
        &mut self,
        now: Now,
        message: Arc<Message>,
        then: &MatchSet,
        set: &MatchSet,
        spare_record: u64,
        fx: &mut Effects,
    ) {
        let (same, fresh) = set.split(then);
        let copy = message.with_record(spare_record);
        let recipients_of_copy = recipients(&copy, &fresh);
        if !recipients_of_copy.is_empty() {
            let (message, recipients) = (Arc::clone(&copy), recipients_of_copy);
            let op = StoreOp::Publish { message, recipients, retained: None, inbound: None };
            fx.push(Effect::Store(Ticket::NONE, op));
        }
        let kept = recipients(&message, &same);
        for gone in recipients(&message, then) {
            if kept.iter().all(|recipient| recipient.session != gone.session) {
                acknowledged(gone.session, message.record(), fx);
            }
        }
        self.fan_out(now, message, &Arc::new(same), fx);
        self.fan_out(now, copy, &Arc::new(fresh), fx);
    }

    /// What the store has retained as `version` is not retained after all: it gets back what still is.
    pub(super) fn unretain(&self, now: Now, message: &Arc<Message>, version: u64, fx: &mut Effects) {
        let op = match self.shared.retained.take_back(&message.topic(), version, now.mono_ms) {
            Some((version, message)) => {
                let recipients = Box::default();
                StoreOp::Publish { message, recipients, retained: Some(version), inbound: None }
            }
            None => StoreOp::RetainedExpired { message: Arc::clone(message), version },
        };
        fx.push(Effect::Store(Ticket::NONE, op));
    }

    pub(super) fn materialise(
        &mut self,
        now: Now,
        source: Source<'_>,
        publisher: SessionId,
        record: u64,
    ) -> Arc<Message> {
        let mut message = match source {
            Source::Borrowed(publish) => self.pool.take(publish, publisher, now.mono_ms),
            Source::Sent(send) => {
                let mut message = self.pool.take(&send.publish, publisher, now.mono_ms);
                if let (Some(own), Some(ms)) = (Arc::get_mut(&mut message), send.expires_in_ms) {
                    own.set_expires_ms(now.mono_ms.saturating_add(ms));
                }
                message
            }
            Source::Owned(message) => message,
        };
        if record != 0
            && let Some(own) = Arc::get_mut(&mut message)
        {
            own.set_record(record);
        }
        message
    }

    pub(super) fn dispatch(
        &mut self,
        now: Now,
        source: Source<'_>,
        set: Arc<MatchSet>,
        origin: Origin,
        fx: &mut Effects,
    ) {
        let (qos, retain) = (source.qos(), source.retain());
        // The common message: QoS 0, not retained, nobody there. Nothing is copied for it.
        if qos == Qos::AtMostOnce && !retain && set.is_empty() {
            if let (Some(conn), true) = (origin.conn, origin.answer != Answer::Never) {
                self.answer_request_when_stored(conn, origin, None, fx);
            }
            return;
        }
        if self.is_withheld(qos, origin)
            || qos > Qos::AtMostOnce && (self.subscriber_refuses(&set) || self.group_refuses(origin, &set))
        {
            return self.refuse_message(now, qos, origin, DropReason::QueueFull, fx);
        }
        if qos > Qos::AtMostOnce && self.memory_refuses(&set) {
            return self.refuse_message(now, qos, origin, DropReason::MemoryShort, fx);
        }
        if let (Some(conn), true) = (origin.conn, qos > Qos::AtMostOnce && origin.answer != Answer::Never)
            && let Some(hurdle) = self.hurdle_for(conn, &set)
        {
            return self.meet_hurdle(now, conn, source, origin, &hurdle, fx);
        }
        let slot = self.slot_of(origin.publisher);
        let stores = qos > Qos::AtMostOnce && origin.durability != Durability::Never;
        // Held even if the session has ended meanwhile: an older one that is held must not be overtaken.
        let exchange = origin.packet_id.filter(|_| stores && qos == Qos::ExactlyOnce && origin.kept);
        let numbered = stores && (retain || set.has_durable(origin.publisher));
        let refused = (numbered || exchange.is_some()) && self.shared.refuses(origin.durability);
        // A will has nobody who would send it again: who is there gets it, who is away as long as the process lives.
        let is_will = origin.conn.is_none();
        if refused && !is_will {
            return self.refuse_message(now, qos, origin, DropReason::StoreFailed, fx);
        }
        let numbered = numbered && !refused;
        let record = if numbered { self.shared.next_record() } else { 0 };
        let message = self.materialise(now, source, origin.publisher, record);
        if qos == Qos::ExactlyOnce
            && let (Some(slot), Some(packet_id)) = (slot, origin.packet_id)
        {
            self.note_received(slot, packet_id);
        }
        // Nobody sends it again for a session that has ended while it was parked.
        let inbound = exchange
            .filter(|_| slot.is_some())
            .map(|id| (SessionNumber(origin.publisher.incarnation), id.get()));
        if let (Some(packet_id), Some(conn), Durability::Always) = (exchange, origin.conn, origin.durability)
        {
            // Exactly once for a session that survives: stored before anybody else sees it.
            let recipients = recipients(&message, &set);
            let retained = retain.then(|| self.shared.retained.reserve());
            let op = StoreOp::Publish { message: Arc::clone(&message), recipients, retained, inbound };
            let place = origin.place.unwrap_or_else(|| self.reserve_answer(conn));
            let publisher = origin.publisher;
            let ticket = self.hold(Hold {
                place,
                publisher,
                packet_id,
                message,
                spare_record: if retain { self.shared.next_record() } else { 0 },
                set,
                version: retained.unwrap_or(0),
                stored: None,
                cancelled: false,
            });
            fx.push(Effect::Store(ticket, op));
            return self.bound_answers(conn, fx);
        }
        // Retained first: whoever subscribes meanwhile reads it or is among the recipients.
        let (set, retained) = if retain { self.retain(now, &message, fx) } else { (set, None) };
        let retained = retained.filter(|_| origin.durability != Durability::Never);
        let recipients = recipients(&message, &set);
        let op = (retained.is_some() || !recipients.is_empty() || inbound.is_some())
            .then(|| StoreOp::Publish { message: Arc::clone(&message), recipients, retained, inbound });
        // To the store first: no other worker's acknowledgement of the message may come there before it.
        match (origin.conn, origin.packet_id) {
            (Some(conn), None) if origin.answer != Answer::Never => {
                self.answer_request_when_stored(conn, origin, op, fx);
            }
            (Some(conn), Some(packet_id)) => {
                let reply = ack(qos, packet_id, matched(&set));
                let mut ops: Vec<_> = op.into_iter().collect();
                if origin.durability == Durability::Interval {
                    fx.list.extend(ops.drain(..).map(|op| Effect::Store(Ticket::NONE, op)));
                }
                self.answer_when_stored(conn, origin.place, reply, ops, fx);
            }
            _ => fx.list.extend(op.map(|op| Effect::Store(Ticket::NONE, op))),
        }
        self.fan_out(now, message, &set, fx);
    }

    /// Whether the full queue of some session keeps a message at QoS 1 or 2 from being accepted.
    pub(super) fn subscriber_refuses(&self, set: &MatchSet) -> bool {
        self.policy.limits.overflow == Overflow::Refuse
            && self.shared.any_congested(set.targets().iter().map(|target| target.session))
    }

    /// Whether no memory is left for a message at QoS 1 or 2 that would not displace another: those of queues, and all
    /// where full queues refuse. A will is not refused.
    fn memory_refuses(&self, set: &MatchSet) -> bool {
        self.shared.headroom() == Headroom::Spent
            && (!set.groups().is_empty()
                || self.policy.limits.overflow == Overflow::Refuse && !set.is_empty())
    }

    /// Whether a full group keeps a message at QoS 1 or 2 from being accepted whose publisher is not to wait. Who could
    /// send it again has to stand back behind those who wait, too.
    fn group_refuses(&self, origin: Origin, set: &MatchSet) -> bool {
        match (origin.conn, origin.answer) {
            (None, _) => self.shared.lines.any_full(set.groups()),
            (Some(_), Answer::Never) => self.shared.lines.any_shut(set.groups()),
            (Some(_), Answer::Unasked | Answer::Receipt(_)) => false,
        }
    }

    /// Retains the message or clears its topic's, then matches again: a subscriber that came in between has either read
    /// it already or is found now. Gives the version of what changed, which is to be stored.
    fn retain(&mut self, now: Now, message: &Arc<Message>, fx: &mut Effects) -> (Arc<MatchSet>, Option<u64>) {
        let version = if message.payload().is_empty() {
            let removed = self.shared.retained.remove(&message.topic()).map(|removed| removed.version);
            // An earlier clearing may not be stored yet, or may have failed to be: what is acknowledged rests on its own.
            let promised = message.qos() > Qos::AtMostOnce;
            removed.or_else(|| promised.then(|| self.shared.retained.reserve()))
        } else {
            match self.shared.retained.set(Arc::clone(message), now.mono_ms) {
                Ok(stored) => Some(stored.version),
                Err(_) => {
                    self.count_drop(now, DropReason::RetainedFull, message.topic().as_str(), fx);
                    None
                }
            }
        };
        (Arc::clone(self.cache.lookup(&self.shared.tree, message.topic())), version)
    }

    /// Sends a message to everybody whom it matches.
    fn fan_out(&mut self, now: Now, message: Arc<Message>, set: &Arc<MatchSet>, fx: &mut Effects) {
        let own = self.id;
        if self.shared.workers() > 1 {
            for (worker, _) in set.workers().filter(|&(worker, _)| worker != own) {
                self.send_peer(worker, PeerMsg::Deliver(Arc::clone(&message), Arc::clone(set)), fx);
            }
            // Before this worker's own groups, whose members may be anywhere: these places were made sure of.
            for group in set.groups().iter().filter(|group| group.home != own) {
                let peer = PeerMsg::GroupPublish(Arc::clone(&group.key), Arc::clone(&message), group.number);
                self.send_peer(group.home, peer, fx);
            }
        }
        for group in set.groups().iter().filter(|group| group.home == own) {
            self.group_message(now, &group.key, &message, group.number, fx);
        }
        self.deliver_here(now, message, set, fx);
    }

    /// Queues the message for this worker's part of the matches.
    pub(super) fn deliver_here(
        &mut self,
        now: Now,
        message: Arc<Message>,
        set: &Arc<MatchSet>,
        fx: &mut Effects,
    ) {
        let publisher = message.publisher();
        // The last recipient gets the message itself and only the others a share of it: most messages have one
        // recipient, and counting owners is a good part of what is left to be paid per message.
        let mut last: Option<(u32, Target)> = None;
        for target in set.for_worker(self.id) {
            let Some(target) = set.for_publisher(target, publisher) else { continue };
            let Some(slot) = self.slot_of(target.session) else {
                // It has ended meanwhile, and could not say so of a message that it did not have yet.
                if target.durable && message.record() != 0 {
                    acknowledged(SessionNumber(target.session.incarnation), message.record(), fx);
                }
                continue;
            };
            if self.session(slot).is_some_and(|session| session.selects) {
                match self.selected(slot, &message, &target) {
                    Some(entry) => self.enqueue(now, slot, entry, fx),
                    None if target.durable && message.record() != 0 => {
                        acknowledged(SessionNumber(target.session.incarnation), message.record(), fx);
                    }
                    None => {}
                }
                continue;
            }
            if let Some((slot, target)) = last.replace((slot, target)) {
                self.enqueue(now, slot, entry(Arc::clone(&message), set, &target), fx);
            }
        }
        match last {
            Some((slot, target)) => self.enqueue(now, slot, entry(message, set, &target), fx),
            None => self.pool.give_back(message),
        }
    }

    /// A message that some subscriber's full queue or the store keeps from being accepted at all.
    fn refuse_message(&mut self, now: Now, qos: Qos, origin: Origin, reason: DropReason, fx: &mut Effects) {
        let slot = self.slot_of(origin.publisher);
        let client_id = slot
            .and_then(|slot| self.session(slot))
            .map(|session| session.client_id.clone())
            .unwrap_or_default();
        self.count_drop(now, reason, &client_id, fx);
        if let (Some(conn), true) = (origin.conn, origin.answer != Answer::Never) {
            return self.refuse_send(now, conn, origin.answer.receipt(), reason, fx);
        }
        if let Some(packet_id) = origin.packet_id.filter(|_| qos == Qos::ExactlyOnce) {
            self.forget_received(origin.publisher, packet_id);
        }
        if origin.packet_id.is_some() && !origin.conn.is_some_and(|conn| self.can_be_told(conn)) {
            self.drop_parked(now, origin, reason, fx);
        }
        let (Some(conn), Some(packet_id)) = (origin.conn, origin.packet_id) else { return };
        let Some(state) = self.conn(conn) else { return };
        if state.is_v5 {
            let reply = ack(qos, packet_id, Reason::QuotaExceeded);
            return self.answer_when_stored(conn, origin.place, reply, Vec::new(), fx);
        }
        if state.session != NO_SESSION && !std::mem::replace(&mut state.withholding, true) {
            // No answer, so that the client keeps the message; a silent broker is a broken one, so not for ever.
            let deadline = now.mono_ms + self.policy.limits.refuse_timeout_ms;
            self.wheel.insert(deadline, Timer::RefuseTimeout(conn));
        }
        if let Some(place) = origin.place {
            self.vacate(place, fx);
        }
    }
}

/// For whom the store keeps a message, and as what.
pub(super) fn recipients(message: &Message, set: &MatchSet) -> Box<[Recipient]> {
    if message.record() == 0 {
        return Box::default();
    }
    let (qos, retain) = (message.qos(), message.retain());
    let sessions = set.durable_targets(message.publisher()).map(|target| Recipient {
        session: SessionNumber(target.session.incarnation),
        qos: qos.min(target.qos),
        retain: retain && target.retain_as_published,
        subscription_ids: set.ids(&target).cloned(),
    });
    let groups =
        set.durable_groups().map(|session| Recipient { session, qos, retain, subscription_ids: None });
    sessions.chain(groups).collect()
}

/// The store is to forget a message for everybody in `set` for whom it was stored.
pub(super) fn acknowledge_all(message: &Message, set: &MatchSet, fx: &mut Effects) {
    for recipient in recipients(message, set) {
        acknowledged(recipient.session, message.record(), fx);
    }
}

/// Tells the store that a recipient is done with a message.
pub(super) fn acknowledged(session: SessionNumber, record: u64, fx: &mut Effects) {
    fx.push(Effect::Store(Ticket::NONE, StoreOp::Acknowledged { session, record }));
}

/// What a publisher is told of its message's recipients.
fn matched(set: &MatchSet) -> Reason {
    if set.is_empty() { Reason::NoMatchingSubscribers } else { Reason::Success }
}

/// The message as one target is to get it.
fn entry(message: Arc<Message>, set: &MatchSet, target: &Target) -> Entry {
    let extra = set
        .ids(target)
        .map(|ids| Box::new(Extra { subscription_ids: Some(Arc::clone(ids)), ..Extra::default() }));
    let qos = message.qos().min(target.qos);
    let stored = target.durable && message.record() != 0;
    // [MQTT-3.3.1-12/13]
    let retain = message.retain() && target.retain_as_published;
    Entry { message, extra, qos, retain, stored }
}

/// The first answer to a PUBLISH of that QoS.
pub(super) fn ack(qos: Qos, packet_id: NonZeroU16, reason: Reason) -> Reply {
    let kind = if qos == Qos::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
    Reply::Ack { kind, packet_id, reason }
}
