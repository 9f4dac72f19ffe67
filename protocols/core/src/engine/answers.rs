//! Acknowledgements in order, and what waits for the store.
//!
//! PUBACK, PUBREC, PUBCOMP, SUBACK and UNSUBACK leave in the order of the packets that they answer [MQTT-4.6.0-2/3],
//! and STOMP's receipts in that of their frames: each takes a place in its connection's queue and goes out once it and
//! all before it are ready.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use slab::Slab;

use super::commit::Committing;
use super::forget::Forgetting;
use super::publish::acknowledge_all;
use super::{Engine, NO_SESSION};
use crate::consumer::{ConsumerId, Receipt};
use crate::delivery::AckKind;
use crate::effects::{DropReason, Effect, Effects, Reason, Reply};
use crate::id::{ConnId, Now, SessionId};
use crate::matches::MatchSet;
use crate::message::Message;
use crate::refusal::Kind;
use crate::store::{SessionNumber, StoreEvent, StoreOp, Ticket};

/// Things that wait for which an engine at rest keeps room.
const KEPT_WAITING: usize = 1024;

/// Answers that a connection may be owed before it is no longer read.
const ANSWERS_MAX: usize = 2_048;

/// A connection's answers that can't leave yet.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Number of the first place.
    base: u64,
    /// Whether the connection is not read until some have left.
    paused: bool,
    places: VecDeque<Slot>,
}

/// What stands at a place.
#[derive(Debug)]
enum Slot {
    Waiting,
    Ready(Reply),
    /// There will be no answer.
    Void,
}

/// A place in a connection's queue of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) conn: ConnId,
    number: u64,
}

/// What is done once the store (or a group's home) has answered.
#[derive(Debug)]
pub(super) enum Waiting {
    /// An answer may leave, when `left` more submissions are settled; `paused` if its connection is not read until then.
    Answer { place: Place, reply: Reply, left: u32, failed: bool, paused: bool, undo: Option<Box<Undo>> },
    /// An inbound QoS 2 message of a kept session goes to its recipients, then PUBREC.
    Hold(Hold),
    /// An inbound QoS 2 exchange is over: PUBCOMP.
    Released { place: Place, session: SessionId, packet_id: NonZeroU16 },
    /// An outbound QoS 2 PUBLISH may be sent.
    Outbound { session: SessionId, packet_id: NonZeroU16 },
    /// PUBREL may be sent.
    Release { session: SessionId, packet_id: NonZeroU16 },
    /// What a STOMP client does not want a receipt for is stored, or the connection ends.
    Unasked(Place),
    /// A consumer is let into a group; `paused` if its connection is not read until then.
    Joining { place: Place, session: SessionId, receipt: Option<Receipt>, paused: bool },
    /// Durable subscriptions are ended at their homes.
    Forgetting(Box<Forgetting>),
    /// A transaction is carried out.
    Commit(Box<Committing>),
}

/// A step of an inbound QoS 2 exchange: the publisher, the packet id, and whether PUBREC or PUBCOMP is to come of it.
pub(super) type Inbound = (SessionId, NonZeroU16, AckKind);

impl Waiting {
    /// The step that it is, if a repeated packet may ask for it.
    pub(super) fn inbound(&self) -> Option<Inbound> {
        match self {
            Self::Hold(hold) => Some((hold.publisher, hold.packet_id, AckKind::PubRec)),
            Self::Released { session, packet_id, .. } => Some((*session, *packet_id, AckKind::PubComp)),
            _ => None,
        }
    }
}

/// An inbound QoS 2 message that nobody may see before it is stored.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) place: Place,
    pub(super) publisher: SessionId,
    pub(super) packet_id: NonZeroU16,
    pub(super) message: Arc<Message>,
    /// A number next to the message's, for a copy if one is needed: who gets that gets it in its place all the same.
    pub(super) spare_record: u64,
    pub(super) set: Arc<MatchSet>,
    /// What was reserved for it among the retained messages; 0 if it is none.
    pub(super) version: u64,
    /// Whether it was stored, once that is known; it may have to wait for an older one all the same.
    pub(super) stored: Option<bool>,
    /// An older one failed and may come again: this one fails too, so that it comes again behind it.
    pub(super) cancelled: bool,
}

/// Subscriptions that go again if the store can't keep them.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) session: SessionId,
    /// As the client wrote them.
    pub(super) filters: Vec<Box<str>>,
}

/// Whether a reply ends an exchange that the client began, and so lets it send another (MQTT 5, section 4.9).
fn ends_exchange(reply: &Reply) -> bool {
    match reply {
        Reply::Ack { kind: AckKind::PubAck | AckKind::PubComp, .. } => true,
        Reply::Ack { kind: AckKind::PubRec, reason, .. } => *reason as u8 >= 0x80,
        _ => false,
    }
}

/// The consumer that may be sent messages once this reply has left.
fn opens(reply: &Reply) -> Option<ConsumerId> {
    match reply {
        Reply::Consuming(consumer, _) => Some(*consumer),
        _ => None,
    }
}

impl Engine {
    /// Answers now, or behind older answers that still wait.
    pub(super) fn answer(&mut self, conn: ConnId, reply: Reply, fx: &mut Effects) {
        let Some(state) = self.conn(conn).filter(|state| state.session != NO_SESSION) else { return };
        match &mut state.answers {
            Some(answers) if !answers.places.is_empty() => answers.places.push_back(Slot::Ready(reply)),
            _ => {
                if ends_exchange(&reply) {
                    state.unacknowledged = state.unacknowledged.saturating_sub(1);
                }
                let opens = opens(&reply);
                fx.reply(conn, reply);
                if let Some(consumer) = opens {
                    self.open_consumer(conn, consumer, fx);
                }
            }
        }
    }

    /// Keeps a place for an answer; it is nobody's if the connection has ended.
    pub(super) fn reserve_answer(&mut self, conn: ConnId) -> Place {
        let Some(state) = self.conn(conn).filter(|state| state.session != NO_SESSION) else {
            return Place { conn, number: u64::MAX };
        };
        let answers = state.answers.get_or_insert_default();
        let number = answers.base + answers.places.len() as u64;
        answers.places.push_back(Slot::Waiting);
        Place { conn, number }
    }

    /// Fills a place and lets leave what is ready.
    pub(super) fn fill(&mut self, place: Place, reply: Reply, fx: &mut Effects) {
        self.settle_place(place, Slot::Ready(reply), fx);
    }

    /// Gives a place up: its packet is not answered.
    pub(super) fn vacate(&mut self, place: Place, fx: &mut Effects) {
        self.settle_place(place, Slot::Void, fx);
    }

    fn settle_place(&mut self, place: Place, slot: Slot, fx: &mut Effects) {
        let Some(state) = self.conn(place.conn) else { return };
        let Some(answers) = &mut state.answers else { return };
        let Some(index) = place.number.checked_sub(answers.base) else { return };
        let Some(waiting) = answers.places.get_mut(index as usize) else { return };
        *waiting = slot;
        let mut opened = Vec::new();
        while let Some(Slot::Ready(_) | Slot::Void) = answers.places.front() {
            answers.base += 1;
            if let Some(Slot::Ready(ready)) = answers.places.pop_front() {
                if ends_exchange(&ready) {
                    state.unacknowledged = state.unacknowledged.saturating_sub(1);
                }
                opened.extend(opens(&ready));
                fx.reply(place.conn, ready);
            }
        }
        let resumes = answers.paused && answers.places.len() <= ANSWERS_MAX / 2;
        answers.paused &= !resumes;
        if answers.places.is_empty() {
            state.answers = None;
        }
        if resumes {
            self.to_resume.push(place.conn);
        }
        for consumer in opened {
            self.open_consumer(place.conn, consumer, fx);
        }
    }

    /// Stops reading from a publisher to whom too many answers are owed: one of MQTT 3 is bound by nothing else.
    pub(super) fn bound_answers(&mut self, conn: ConnId, fx: &mut Effects) {
        let Some(answers) = self.conn(conn).and_then(|state| state.answers.as_mut()) else { return };
        if answers.places.len() >= ANSWERS_MAX && !std::mem::replace(&mut answers.paused, true) {
            self.pause_reads(conn, fx);
        }
    }

    /// Answers when `ops` are stored, at once if there are none; at `place` if one was kept before.
    pub(super) fn answer_when_stored(
        &mut self,
        conn: ConnId,
        place: Option<Place>,
        reply: Reply,
        ops: Vec<StoreOp>,
        fx: &mut Effects,
    ) {
        if ops.is_empty() {
            return match place {
                Some(place) => self.fill(place, reply, fx),
                None => self.answer(conn, reply, fx),
            };
        }
        let place = place.unwrap_or_else(|| self.reserve_answer(conn));
        let left = ops.len() as u32;
        let answer = Waiting::Answer { place, reply, left, failed: false, paused: false, undo: None };
        let ticket = self.ticket(answer);
        fx.list.extend(ops.into_iter().map(|op| Effect::Store(ticket, op)));
        self.bound_answers(conn, fx);
    }

    /// Something submitted under `ticket` has been settled or has failed.
    pub(super) fn settled(&mut self, now: Now, event: StoreEvent, fx: &mut Effects) {
        let (ticket, failed) = match event {
            StoreEvent::Settled(ticket) => (ticket, false),
            StoreEvent::Failed(ticket) => (ticket, true),
            StoreEvent::Loaded(loaded) => return self.loaded(now, *loaded, fx),
            StoreEvent::Emptied => return self.submit_again(now, fx),
        };
        match self.waiting.get_mut(ticket.0 as usize) {
            Some(Waiting::Answer { left, failed: any_failed, .. }) => {
                *any_failed |= failed;
                *left = left.saturating_sub(1);
                if *left > 0 {
                    return;
                }
            }
            Some(Waiting::Hold(hold)) => {
                hold.stored = Some(!failed);
                let publisher = hold.publisher;
                return self.let_holds_go(now, publisher, fx);
            }
            _ => {}
        }
        match self.take_waiting(ticket) {
            Some(Waiting::Answer { place, reply, failed, paused, undo, .. }) => {
                if failed {
                    self.answer_failed(now, place, reply, undo.as_deref(), fx);
                } else {
                    self.fill(place, reply, fx);
                }
                if paused {
                    self.resume_reads(now, place.conn, fx);
                }
            }
            Some(Waiting::Released { place, session, packet_id }) => {
                self.release_settled(now, place, session, packet_id, failed, fx);
            }
            Some(Waiting::Outbound { session, packet_id }) => {
                self.outbound_stored(now, session, packet_id, failed, fx);
            }
            Some(Waiting::Release { session, packet_id }) => {
                self.release_stored(now, session, packet_id, failed, fx);
            }
            Some(Waiting::Unasked(place)) if failed => {
                self.count_drop(now, DropReason::StoreFailed, "store", fx);
                self.store_failed_request(now, place.conn, None, fx);
            }
            Some(Waiting::Unasked(place)) => self.vacate(place, fx),
            Some(Waiting::Joining { place, session, receipt, paused }) => {
                self.consumer_joined(now, place, session, receipt, Ok(()), fx);
                if paused {
                    self.resume_reads(now, place.conn, fx);
                }
            }
            Some(Waiting::Commit(committing)) => self.committed(now, *committing, failed, fx),
            Some(Waiting::Forgetting(forgetting)) => self.forgotten(now, *forgetting, Ok(()), fx),
            Some(Waiting::Hold(_)) | None => {}
        }
    }

    pub(super) fn take_waiting(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.waiting.try_remove(usize::try_from(ticket.0).ok()?)?;
        if let Some(step) = waiting.inbound() {
            self.forget_inbound(step, ticket);
        }
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_WAITING {
            // The memory of a burst is given back.
            self.waiting = Slab::new();
            self.inbound.shrink_to(KEPT_WAITING);
        }
        Some(waiting)
    }

    /// No repeated packet finds `ticket` any more; another one's step of the same packet id is left alone.
    fn forget_inbound(&mut self, step: Inbound, ticket: Ticket) {
        if self.inbound.get(&step) == Some(&ticket) {
            self.inbound.remove(&step);
        }
    }

    /// Waits with an inbound QoS 2 message until it is stored.
    pub(super) fn hold(&mut self, hold: Hold) -> Ticket {
        let publisher = hold.publisher;
        let ticket = self.ticket(Waiting::Hold(hold));
        self.holds.entry(publisher).or_default().push_back(ticket);
        ticket
    }

    /// Sends on a publisher's held messages as far as they are stored, in the order in which they came
    /// [MQTT-4.6.0-6], whatever the order in which the store settles them.
    fn let_holds_go(&mut self, now: Now, publisher: SessionId, fx: &mut Effects) {
        while let Some(&ticket) = self.holds.get(&publisher).and_then(VecDeque::front) {
            match self.waiting.get(ticket.0 as usize) {
                Some(Waiting::Hold(Hold { stored: Some(_), .. })) => {}
                _ => return,
            }
            if let Some(queue) = self.holds.get_mut(&publisher) {
                queue.pop_front();
                if queue.is_empty() {
                    self.holds.remove(&publisher);
                }
            }
            match self.take_waiting(ticket) {
                Some(Waiting::Hold(hold)) if hold.stored == Some(true) && !hold.cancelled => {
                    self.hold_stored(now, hold, fx);
                }
                Some(Waiting::Hold(hold)) if hold.stored == Some(true) => self.unstore(now, &hold, fx),
                Some(Waiting::Hold(hold)) => {
                    if !hold.cancelled {
                        self.forget_received(publisher, hold.packet_id);
                        if !self.can_be_told(hold.place.conn) {
                            self.cancel_holds(publisher);
                        }
                    }
                    let reply = pub_rec(hold.packet_id, Reason::QuotaExceeded);
                    self.answer_failed(now, hold.place, reply, None, fx);
                }
                _ => {}
            }
        }
    }

    /// A publisher that is not told of a failure, because its connection is lost or speaks MQTT 3, sends everything again
    /// that has no PUBREC. What it had sent behind the failed message must not get ahead of it [MQTT-4.6.0-6]: it fails
    /// as well.
    fn cancel_holds(&mut self, publisher: SessionId) {
        for ticket in self.holds.get(&publisher).cloned().unwrap_or_default() {
            if let Some(Waiting::Hold(hold)) = self.waiting.get_mut(ticket.0 as usize) {
                hold.cancelled = true;
                let packet_id = hold.packet_id;
                self.forget_received(publisher, packet_id);
                self.forget_inbound((publisher, packet_id, AckKind::PubRec), ticket);
            }
        }
    }

    /// Whether the client at `conn` is there and can be told that its message was refused.
    pub(super) fn can_be_told(&mut self, conn: ConnId) -> bool {
        self.conn(conn).is_some_and(|state| state.is_v5 && state.session != NO_SESSION)
    }

    /// The store is to forget a message that was stored and does not go on: its packet id first, or a crash would leave one
    /// under which the copy that is to come is taken for granted.
    fn unstore(&mut self, now: Now, hold: &Hold, fx: &mut Effects) {
        let (publisher, packet_id) = (hold.publisher, hold.packet_id);
        let traffic = self.slot_of(publisher).and_then(|slot| self.session(slot)?.traffic.as_ref());
        // It may have come again meanwhile; then the id is that copy's.
        if !traffic.is_some_and(|traffic| traffic.received.contains(packet_id)) {
            let session = SessionNumber(publisher.incarnation);
            let op = StoreOp::InboundReleased { session, packet_id: packet_id.get() };
            fx.push(Effect::Store(Ticket::NONE, op));
        }
        self.answer_failed(now, hold.place, pub_rec(packet_id, Reason::QuotaExceeded), None, fx);
        acknowledge_all(&hold.message, &hold.set, fx);
        if hold.version != 0 {
            self.unretain(now, &hold.message, hold.version, fx);
        }
    }

    /// An inbound QoS 2 exchange that came to nothing: its packet id may carry another message.
    pub(super) fn forget_received(&mut self, session: SessionId, packet_id: NonZeroU16) {
        if let Some(slot) = self.slot_of(session)
            && let Some(traffic) = self.session(slot).and_then(|session| session.traffic.as_mut())
        {
            traffic.received.remove(packet_id);
        }
    }

    /// The store could not take what the answer speaks of: the client is told. A publisher of MQTT 3 can't be told;
    /// it gets no answer and is disconnected, so that it tries again.
    fn answer_failed(
        &mut self,
        now: Now,
        place: Place,
        mut reply: Reply,
        undo: Option<&Undo>,
        fx: &mut Effects,
    ) {
        match reply {
            Reply::Receipt(receipt) => {
                self.count_drop(now, DropReason::StoreFailed, "store", fx);
                return self.store_failed_request(now, place.conn, Some(receipt), fx);
            }
            Reply::Consuming(_, receipt) => return self.store_failed_request(now, place.conn, receipt, fx),
            _ => {}
        }
        if let Reply::Ack { kind, packet_id, .. } = reply {
            self.count_drop(now, DropReason::StoreFailed, "store", fx);
            if kind == AckKind::PubRec
                && let Some(slot) = self.session_slot(place.conn)
            {
                self.forget_received(self.session_id(slot), packet_id);
            }
            if self.conn(place.conn).is_some_and(|state| !state.is_v5 && state.session != NO_SESSION) {
                let detail =
                    "the message could not be stored and MQTT 3 can't be told; publish again later".into();
                return self.refuse(now, place.conn, Kind::QuotaExceeded, detail, fx);
            }
        }
        if let Some(undo) = undo {
            self.undo_subscriptions(now, undo, fx);
        }
        refuse_in_reply(&mut reply);
        self.fill(place, reply, fx);
    }

    /// The end of an inbound exchange is stored: PUBCOMP. Without the store it can't end; the client is disconnected
    /// and sends PUBREL again.
    fn release_settled(
        &mut self,
        now: Now,
        place: Place,
        session: SessionId,
        packet_id: NonZeroU16,
        failed: bool,
        fx: &mut Effects,
    ) {
        if failed {
            if self.session_slot(place.conn).is_some() {
                let detail = "the store failed at the end of a QoS 2 exchange; send PUBREL again".into();
                self.refuse(now, place.conn, Kind::ServerUnavailable, detail, fx);
            }
            return;
        }
        self.forget_received(session, packet_id);
        if let Some(slot) = self.slot_of(session) {
            self.park_traffic(slot);
        }
        let reply = Reply::Ack { kind: AckKind::PubComp, packet_id, reason: Reason::Success };
        self.fill(place, reply, fx);
    }

    /// A repeated PUBLISH or PUBREL of an inbound QoS 2 exchange whose first one still waits, for the store or for
    /// room at another worker: the one answer goes to the connection that asked last. False if none waits.
    pub(super) fn rebind(&mut self, conn: ConnId, session: SessionId, id: NonZeroU16, kind: AckKind) -> bool {
        let Some(&ticket) = self.inbound.get(&(session, id, kind)) else {
            return kind == AckKind::PubRec && self.rebind_parked(conn, session, id);
        };
        let key = ticket.0 as usize;
        let fresh = match self.waiting.get(key) {
            Some(Waiting::Hold(Hold { place, .. }) | Waiting::Released { place, .. })
                if place.conn == conn =>
            {
                return true;
            }
            _ => self.reserve_answer(conn),
        };
        if let Some(Waiting::Hold(Hold { place, .. }) | Waiting::Released { place, .. }) =
            self.waiting.get_mut(key)
        {
            *place = fresh;
        }
        true
    }
}

/// PUBREC.
pub(super) fn pub_rec(packet_id: NonZeroU16, reason: Reason) -> Reply {
    Reply::Ack { kind: AckKind::PubRec, packet_id, reason }
}

/// Turns a success into the refusal that a failed store means.
fn refuse_in_reply(reply: &mut Reply) {
    match reply {
        Reply::Ack { reason, .. } => *reason = Reason::QuotaExceeded,
        Reply::Subscribed { codes, .. } => {
            codes.iter_mut().filter(|code| code.is_ok()).for_each(|code| *code = Err(Reason::QuotaExceeded));
        }
        Reply::Unsubscribed { codes, .. } => {
            codes.iter_mut().for_each(|code| *code = Reason::UnspecifiedError);
        }
        _ => {}
    }
}
