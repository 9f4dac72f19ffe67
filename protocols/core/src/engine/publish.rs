//! Messages come in: checks, matching, what is retained and stored, and the way to every recipient.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::answers::{Hold, Place, pub_rec};
use super::{Engine, NO_SESSION, Timer};
use crate::delivery::AckKind;
use crate::effects::{DropReason, Effect, Effects, PeerMsg, Reason, Reply};
use crate::id::{ConnId, Now, Qos, SessionId};
use crate::matches::{MatchSet, Target};
use crate::message::{Message, Publish};
use crate::policy::{Action, Durability, Identity, Overflow};
use crate::queue::{Entry, Extra};
use crate::refusal::Kind;
use crate::store::{Recipient, SessionNumber, StoreOp, Ticket};
use crate::topic::TopicName;

/// A message that waits until every worker it goes to can take it; its publisher is not read meanwhile.
#[derive(Debug)]
pub(super) struct Parked {
    message: Arc<Message>,
    origin: Origin,
    /// The connection whose reads are paused for it.
    paused: Option<ConnId>,
    /// Who gets it, if it was held and stored before.
    held: Option<Arc<MatchSet>>,
}

/// Whose message it is and how it is to be answered.
#[derive(Clone, Copy, Debug)]
struct Origin {
    publisher: SessionId,
    /// Whether the publisher's session outlived its connections when the message came.
    kept: bool,
    /// The client's connection; `None` for wills.
    conn: Option<ConnId>,
    /// Present for QoS 1 and 2 from a connection.
    packet_id: Option<NonZeroU16>,
    /// When it is acknowledged and stored.
    durability: Durability,
    /// The version that was reserved for it if it is retained and was held.
    version: u64,
    /// Where the answer goes, once a place was kept for it.
    place: Option<Place>,
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
        let (publisher, kept) = (self.session_id(slot), session.is_durable());
        let listener = self.conns.get(conn.slot as usize).and_then(|state| state.durability);
        let durability = self.policy.durability.of(&publish.topic, listener);
        let packet_id = publish.packet_id;
        let origin =
            Origin { publisher, kept, conn: Some(conn), packet_id, durability, version: 0, place: None };
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

    /// A message of the broker's own making: a will.
    pub(super) fn publish_own(
        &mut self,
        now: Now,
        message: Arc<Message>,
        publisher: SessionId,
        fx: &mut Effects,
    ) {
        let durability = self.policy.durability.of(&message.topic(), None);
        let origin = Origin {
            publisher,
            kept: false,
            conn: None,
            packet_id: None,
            durability,
            version: 0,
            place: None,
        };
        self.take_in(now, Source::Owned(message), origin, fx);
    }

    /// Parks the message if a worker it goes to has no room for it, else sends it on its way.
    fn take_in(&mut self, now: Now, source: Source<'_>, mut origin: Origin, fx: &mut Effects) {
        let set = Arc::clone(self.cache.lookup(&self.shared.tree, source.topic()));
        if self.must_park(&set) {
            if source.qos() == Qos::ExactlyOnce
                && let (Some(slot), Some(packet_id)) = (self.slot_of(origin.publisher), origin.packet_id)
            {
                // So that a copy that comes over a new connection is known for what it is.
                self.note_received(slot, packet_id);
            }
            let answered = origin.conn.filter(|_| origin.packet_id.is_some());
            origin.place = answered.map(|conn| self.reserve_answer(conn));
            let message = self.materialise(now, source, origin.publisher, 0);
            return self.park(message, origin, None, fx);
        }
        self.dispatch(now, source, set, origin, fx);
    }

    /// Whether a message for `set` has to wait: for room, or for others that wait.
    fn must_park(&self, set: &MatchSet) -> bool {
        self.shared.workers() > 1 && (!self.parked.is_empty() || !self.has_room_for(set))
    }

    fn park(&mut self, message: Arc<Message>, origin: Origin, held: Option<Arc<MatchSet>>, fx: &mut Effects) {
        let paused = origin.conn.filter(|&conn| self.pause_reads(conn, fx));
        self.parked.push_back(Parked { message, origin, paused, held });
    }

    /// Whether every other worker that `set` concerns has a place for each mail it would get.
    fn has_room_for(&self, set: &MatchSet) -> bool {
        let window = self.shared.peer_window();
        // What needs more than there ever is goes when there is all that comes back: a worker that has nothing left to
        // take in may keep one less than a portion of credit to itself.
        let most = window - (super::credit_portion(window) - 1);
        set.mails().all(|(worker, mails)| {
            let needed = i64::from(mails.min(most));
            worker == self.id || self.credit.get(worker.index()).is_some_and(|&credit| credit >= needed)
        })
    }

    /// Sends on what was parked, oldest first, as far as there is room now.
    pub(super) fn unpark(&mut self, now: Now, fx: &mut Effects) {
        while let Some(parked) = self.parked.front() {
            let set = match &parked.held {
                Some(set) => Arc::clone(set),
                None => Arc::clone(self.cache.lookup(&self.shared.tree, parked.message.topic())),
            };
            if !self.has_room_for(&set) {
                return;
            }
            let Some(Parked { message, origin, paused, held }) = self.parked.pop_front() else { return };
            match held {
                Some(set) => self.send_held(now, message, &set, origin, fx),
                None => self.dispatch(now, Source::Owned(message), set, origin, fx),
            }
            if let Some(conn) = paused {
                self.resume_reads(now, conn, fx);
            }
        }
    }

    /// Reads nothing more from a connection until [`Self::resume_reads`] was called as often; false if it is gone.
    pub(super) fn pause_reads(&mut self, conn: ConnId, fx: &mut Effects) -> bool {
        let Some(state) = self.conn(conn) else { return false };
        state.parked += 1;
        if state.parked == 1 {
            fx.push(Effect::Pause(conn));
        }
        true
    }

    pub(super) fn resume_reads(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        let Some(state) = self.conn(conn) else { return };
        state.parked = state.parked.saturating_sub(1);
        if state.parked == 0 {
            state.heard_ms = now.mono_ms;
            fx.push(Effect::Resume(conn));
        }
    }

    /// A repeated QoS 2 PUBLISH whose first copy is parked: that one's answer goes to the new connection.
    pub(super) fn rebind_parked(&mut self, conn: ConnId, session: SessionId, id: NonZeroU16) -> bool {
        let Some(index) = self.parked.iter().position(|parked| {
            parked.origin.publisher == session
                && parked.origin.packet_id == Some(id)
                && parked.message.qos() == Qos::ExactlyOnce
        }) else {
            return false;
        };
        if self.parked.get(index).and_then(|parked| parked.origin.conn) != Some(conn) {
            let fresh = self.reserve_answer(conn);
            if let Some(parked) = self.parked.get_mut(index) {
                parked.origin.conn = Some(conn);
                parked.origin.place = Some(fresh);
            }
        }
        true
    }

    /// A held message is stored: it goes on, once there is room for it.
    pub(super) fn hold_stored(&mut self, now: Now, hold: Hold, fx: &mut Effects) {
        let Hold { place, publisher, packet_id, message, set, version, .. } = hold;
        let origin = Origin {
            publisher,
            kept: true,
            conn: Some(place.conn),
            packet_id: Some(packet_id),
            durability: Durability::Always,
            version,
            place: Some(place),
        };
        if self.must_park(&set) {
            return self.park(message, origin, Some(set), fx);
        }
        self.send_held(now, message, &set, origin, fx);
    }

    fn send_held(
        &mut self,
        now: Now,
        message: Arc<Message>,
        set: &Arc<MatchSet>,
        origin: Origin,
        fx: &mut Effects,
    ) {
        let (Some(packet_id), Some(place)) = (origin.packet_id, origin.place) else { return };
        let reply = pub_rec(packet_id, matched(set));
        if !message.retain() {
            self.fan_out(now, message, set, fx);
            return self.fill(place, reply, fx);
        }
        let version = origin.version;
        if self.shared.retained.set_at(Arc::clone(&message), version, now.mono_ms).is_err() {
            self.count_drop(now, DropReason::RetainedFull, message.topic().as_str(), fx);
            let message = Arc::clone(&message);
            fx.push(Effect::Store(Ticket::NONE, StoreOp::RetainedExpired { message, version }));
        }
        let again = Arc::clone(self.cache.lookup(&self.shared.tree, message.topic()));
        if Arc::ptr_eq(&again, set) {
            self.fan_out(now, message, set, fx);
        } else {
            // Whoever has subscribed since it was stored gets it live: it is stored anew for those whom it goes to now.
            let copy = message.with_record(self.shared.next_record());
            let recipients = recipients(&copy, &again);
            if !recipients.is_empty() {
                let message = Arc::clone(&copy);
                let op = StoreOp::Publish { message, recipients, retained: None, inbound: None };
                fx.push(Effect::Store(Ticket::NONE, op));
            }
            acknowledge_all(&message, set, fx);
            self.fan_out(now, copy, &again, fx);
        }
        self.fill(place, reply, fx);
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
        if qos > Qos::AtMostOnce
            && (origin.conn.and_then(|conn| self.conn(conn)).is_some_and(|state| state.withholding)
                || self.policy.limits.overflow == Overflow::Refuse
                    && (self.shared.any_congested(set.targets().iter().map(|target| target.session))
                        || self.shared.any_group_congested(set.groups())))
        {
            return self.refuse_message(now, qos, origin, DropReason::QueueFull, fx);
        }
        let slot = self.slot_of(origin.publisher);
        let stores = qos > Qos::AtMostOnce && origin.durability != Durability::Never;
        // Held even if the session has ended meanwhile: an older one that is held must not be overtaken.
        let exchange = origin.packet_id.filter(|_| stores && qos == Qos::ExactlyOnce && origin.kept);
        let numbered = stores && (retain || set.has_durable(origin.publisher));
        if (numbered || exchange.is_some()) && self.shared.store_refuses() {
            return self.refuse_message(now, qos, origin, DropReason::StoreFailed, fx);
        }
        let record = if numbered { self.shared.next_record() } else { 0 };
        let message = self.materialise(now, source, origin.publisher, record);
        if qos == Qos::ExactlyOnce
            && let (Some(slot), Some(packet_id)) = (slot, origin.packet_id)
        {
            self.note_received(slot, packet_id);
        }
        let inbound = exchange.map(|id| (SessionNumber(origin.publisher.incarnation), id.get()));
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

    /// Retains the message or clears its topic's, then matches again: a subscriber that came in between has either read
    /// it already or is found now. Gives the version of what changed, which is to be stored.
    fn retain(&mut self, now: Now, message: &Arc<Message>, fx: &mut Effects) -> (Arc<MatchSet>, Option<u64>) {
        let version = if message.payload().is_empty() {
            self.shared.retained.remove(&message.topic()).map(|removed| removed.version)
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
        if let Some(packet_id) = origin.packet_id.filter(|_| qos == Qos::ExactlyOnce) {
            self.forget_received(origin.publisher, packet_id);
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
fn ack(qos: Qos, packet_id: NonZeroU16, reason: Reason) -> Reply {
    let kind = if qos == Qos::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
    Reply::Ack { kind, packet_id, reason }
}
