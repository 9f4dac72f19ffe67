//! Messages come in: checks, matching, what is retained and stored, and the way to every recipient.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::answers::Waiting;
use super::{Engine, NO_SESSION, Timer};
use crate::delivery::AckKind;
use crate::effects::{DropReason, Effect, Effects, PeerMsg, Reason, Reply};
use crate::id::{ConnId, Now, Qos, SessionId};
use crate::matches::MatchSet;
use crate::message::{Message, Publish};
use crate::policy::{Action, Identity, Overflow};
use crate::queue::{Entry, Extra};
use crate::refusal::Kind;
use crate::store::{SessionNumber, StoreOp};
use crate::topic::TopicName;

/// A message that waits until every worker it goes to can take it; its publisher is not read meanwhile.
#[derive(Debug)]
pub(super) struct Parked {
    message: Arc<Message>,
    origin: Origin,
}

/// Whose message it is and how it is to be answered.
#[derive(Clone, Copy, Debug)]
struct Origin {
    publisher: SessionId,
    /// The client's connection; `None` for wills.
    conn: Option<ConnId>,
    /// Present for QoS 1 and 2 from a connection.
    packet_id: Option<NonZeroU16>,
}

/// A message either still in the read buffer or already in memory of its own.
enum Source<'a> {
    Borrowed(&'a Publish<'a>),
    Owned(Arc<Message>),
}

impl Source<'_> {
    fn topic(&self) -> TopicName<'_> {
        match self {
            Self::Borrowed(publish) => publish.topic,
            Self::Owned(message) => message.topic(),
        }
    }

    fn qos(&self) -> Qos {
        match self {
            Self::Borrowed(publish) => publish.qos,
            Self::Owned(message) => message.qos(),
        }
    }

    fn retain(&self) -> bool {
        match self {
            Self::Borrowed(publish) => publish.retain,
            Self::Owned(message) => message.retain(),
        }
    }
}

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
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let who = Identity { user: session.user.as_deref(), client_id: &session.client_id };
        if !self.policy.allows(who, Action::Publish(publish.topic.as_str())) {
            return self.forbidden(now, conn, slot, publish, fx);
        }
        let origin =
            Origin { publisher: self.session_id(slot), conn: Some(conn), packet_id: publish.packet_id };
        self.take_in(now, Source::Borrowed(publish), origin, fx);
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
        let receive_maximum = usize::from(self.policy.limits.receive_maximum);
        let owed = self.owed_pub_acks(conn);
        let is_v5 = self.conn(conn).is_some_and(|state| state.is_v5);
        let session_id = self.session_id(slot);
        let traffic = self.sessions.get(slot as usize).and_then(|session| session.traffic.as_ref());
        let received = traffic.map_or(0, |traffic| traffic.received.len());
        if qos == Qos::ExactlyOnce && traffic.is_some_and(|traffic| traffic.received.contains(packet_id)) {
            // Taken before: only the answer is due again [MQTT-4.3.3-10].
            if !self.rebind_hold(conn, session_id, packet_id) {
                let reply = Reply::Ack { kind: AckKind::PubRec, packet_id, reason: Reason::Success };
                self.answer(conn, reply, fx);
            }
            return false;
        }
        if is_v5 && owed + received >= receive_maximum {
            let detail =
                format!("more than {receive_maximum} unacknowledged QoS 1 and 2 messages [MQTT-3.3.4-7]");
            self.refuse(now, conn, Kind::ReceiveMaximumExceeded, detail, fx);
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

    /// A message of the broker's own making: a will.
    pub(super) fn publish_own(
        &mut self,
        now: Now,
        message: Arc<Message>,
        publisher: SessionId,
        fx: &mut Effects,
    ) {
        self.take_in(now, Source::Owned(message), Origin { publisher, conn: None, packet_id: None }, fx);
    }

    /// Parks the message if a worker it goes to has no room for it, else sends it on its way.
    fn take_in(&mut self, now: Now, source: Source<'_>, origin: Origin, fx: &mut Effects) {
        let set = Arc::clone(self.cache.lookup(&self.shared.tree, source.topic()));
        if self.shared.workers() > 1 && (!self.parked.is_empty() || !self.can_reach(&set)) {
            let message = self.materialise(now, source, origin.publisher, 0);
            if let Some(conn) = origin.conn
                && let Some(state) = self.conn(conn)
            {
                state.paused = true;
                fx.push(Effect::Pause(conn));
            }
            self.parked.push_back(Parked { message, origin });
            return;
        }
        self.dispatch(now, source, set, origin, fx);
    }

    fn can_reach(&self, set: &MatchSet) -> bool {
        set.workers().all(|(worker, _)| self.has_credit(worker))
            && set.groups().iter().all(|group| self.has_credit(group.home))
    }

    /// Sends on what was parked, oldest first, as far as there is room now.
    pub(super) fn unpark(&mut self, now: Now, fx: &mut Effects) {
        while let Some(parked) = self.parked.front() {
            let set = Arc::clone(self.cache.lookup(&self.shared.tree, parked.message.topic()));
            if !self.can_reach(&set) {
                return;
            }
            let Some(parked) = self.parked.pop_front() else { return };
            self.dispatch(now, Source::Owned(parked.message), set, parked.origin, fx);
            if let Some(conn) = parked.origin.conn
                && !self.parked.iter().any(|other| other.origin.conn == Some(conn))
                && let Some(state) = self.conn(conn)
                && state.paused
            {
                state.paused = false;
                state.heard_ms = now.mono_ms;
                fx.push(Effect::Resume(conn));
            }
        }
    }

    fn materialise(
        &mut self,
        now: Now,
        source: Source<'_>,
        publisher: SessionId,
        record: u64,
    ) -> Arc<Message> {
        let mut message = match source {
            Source::Borrowed(publish) => self.pool.take(publish, publisher, now.mono_ms),
            Source::Owned(message) => message,
        };
        if record != 0
            && let Some(own) = Arc::get_mut(&mut message)
        {
            own.set_record(record);
        }
        message
    }

    fn dispatch(
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
            return;
        }
        if self.policy.limits.overflow == Overflow::Refuse
            && qos > Qos::AtMostOnce
            && self.shared.any_congested(set.targets().iter().map(|target| target.session))
        {
            return self.refuse_message(now, qos, origin, fx);
        }
        let recipients: Vec<SessionNumber> = if qos == Qos::AtMostOnce {
            Vec::new()
        } else {
            let durable = set.durable_targets(origin.publisher);
            durable.map(|target| SessionNumber(target.session.incarnation)).collect()
        };
        let slot = self.slot_of(origin.publisher);
        let kept_publisher =
            slot.and_then(|slot| self.sessions.get(slot as usize)).filter(|session| session.is_durable());
        let inbound = match (qos, origin.packet_id, kept_publisher) {
            (Qos::ExactlyOnce, Some(packet_id), Some(session)) => Some((session.number, packet_id)),
            _ => None,
        };
        let stores_retained = retain && qos > Qos::AtMostOnce;
        let stored = !recipients.is_empty() || stores_retained || inbound.is_some();
        let record = if stored { self.shared.next_record() } else { 0 };
        let message = self.materialise(now, source, origin.publisher, record);
        if qos == Qos::ExactlyOnce
            && let (Some(slot), Some(packet_id)) = (slot, origin.packet_id)
        {
            self.note_received(slot, packet_id);
        }
        let op = stored.then(|| StoreOp::Publish {
            message: Arc::clone(&message),
            recipients: recipients.into_boxed_slice(),
            retained: retain,
            inbound: inbound.map(|(number, packet_id)| (number, packet_id.get())),
        });
        if let (Some((_, packet_id)), Some(conn)) = (inbound, origin.conn) {
            // Exactly once for a session that survives: stored before anybody else sees it.
            let place = self.reserve_answer(conn, false);
            let publisher = origin.publisher;
            let ticket = self.ticket(Waiting::Hold { place, publisher, packet_id, message, set });
            fx.list.extend(op.map(|op| Effect::Store(ticket, op)));
            return;
        }
        let matched = !set.is_empty();
        let set = if retain { self.retain(now, &message, set, fx) } else { set };
        self.fan_out_live(now, message, &set, fx);
        let (Some(conn), Some(packet_id)) = (origin.conn, origin.packet_id) else {
            fx.list.extend(op.map(|op| Effect::Store(crate::store::Ticket::NONE, op)));
            return;
        };
        let reason = if matched { Reason::Success } else { Reason::NoMatchingSubscribers };
        match op {
            Some(op) => self.answer_when_stored(conn, ack(qos, packet_id, reason), vec![op], fx),
            None => self.answer(conn, ack(qos, packet_id, reason), fx),
        }
    }

    /// Stores or clears the topic's retained message, then matches again: a subscriber that came in between has either
    /// read it already or is found now.
    fn retain(
        &mut self,
        now: Now,
        message: &Arc<Message>,
        set: Arc<MatchSet>,
        fx: &mut Effects,
    ) -> Arc<MatchSet> {
        if message.payload().is_empty() {
            self.shared.retained.remove(&message.topic());
        } else if self.shared.retained.set(Arc::clone(message), now.mono_ms).is_err() {
            self.count_drop(now, DropReason::RetainedFull, message.topic().as_str(), fx);
        } else {
            let _ = set;
            return Arc::clone(self.cache.lookup(&self.shared.tree, message.topic()));
        }
        set
    }

    /// What a held message does once it is stored.
    pub(super) fn fan_out(
        &mut self,
        now: Now,
        message: &Arc<Message>,
        set: &Arc<MatchSet>,
        fx: &mut Effects,
    ) {
        let set =
            if message.retain() { self.retain(now, message, Arc::clone(set), fx) } else { Arc::clone(set) };
        self.fan_out_live(now, Arc::clone(message), &set, fx);
    }

    fn fan_out_live(&mut self, now: Now, message: Arc<Message>, set: &Arc<MatchSet>, fx: &mut Effects) {
        self.deliver_here(now, &message, set, fx);
        if self.shared.workers() > 1 {
            for (worker, _) in set.workers().filter(|&(worker, _)| worker != self.id) {
                if let Some(credit) = self.credit.get_mut(worker.index()) {
                    *credit = credit.saturating_sub(1);
                }
                let peer = PeerMsg::Deliver(Arc::clone(&message), Arc::clone(set));
                fx.list.push(Effect::Peer(worker, peer));
            }
        }
        for group in set.groups() {
            if group.home == self.id {
                self.group_message(now, &group.key, &message, fx);
            } else {
                let peer = PeerMsg::GroupPublish(Arc::clone(&group.key), Arc::clone(&message));
                self.send_peer(group.home, peer, fx);
            }
        }
        self.pool.give_back(message);
    }

    /// Queues the message for this worker's part of the matches.
    pub(super) fn deliver_here(
        &mut self,
        now: Now,
        message: &Arc<Message>,
        set: &Arc<MatchSet>,
        fx: &mut Effects,
    ) {
        let publisher = message.publisher();
        for target in set.for_worker(self.id) {
            let Some(target) = set.for_publisher(target, publisher) else { continue };
            let Some(slot) = self.slot_of(target.session) else { continue };
            let ids = set.ids(&target);
            let extra = (!ids.is_empty())
                .then(|| Box::new(Extra { subscription_ids: Some(ids.into()), lease: None }));
            let entry = Entry {
                message: Arc::clone(message),
                extra,
                qos: message.qos().min(target.qos),
                // [MQTT-3.3.1-12/13]
                retain: message.retain() && target.retain_as_published,
            };
            self.enqueue(now, slot, entry, fx);
        }
    }

    /// A message that some subscriber's full queue keeps from being accepted at all.
    fn refuse_message(&mut self, now: Now, qos: Qos, origin: Origin, fx: &mut Effects) {
        let slot = self.slot_of(origin.publisher);
        let client_id = slot
            .and_then(|slot| self.session(slot))
            .map(|session| session.client_id.clone())
            .unwrap_or_default();
        self.count_drop(now, DropReason::QueueFull, &client_id, fx);
        let (Some(conn), Some(packet_id)) = (origin.conn, origin.packet_id) else { return };
        let Some(state) = self.conn(conn) else { return };
        if state.is_v5 {
            self.answer(conn, ack(qos, packet_id, Reason::QuotaExceeded), fx);
        } else if state.session != NO_SESSION {
            // No answer, so that the client keeps the message; a silent broker is a broken one, so not for ever.
            let deadline = now.mono_ms + self.policy.limits.refuse_timeout_ms;
            self.wheel.insert(deadline, Timer::RefuseTimeout(conn));
        }
    }
}

/// The first answer to a PUBLISH of that QoS.
fn ack(qos: Qos, packet_id: NonZeroU16, reason: Reason) -> Reply {
    let kind = if qos == Qos::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
    Reply::Ack { kind, packet_id, reason }
}
