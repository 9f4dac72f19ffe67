//! Acknowledgements in order, and what waits for the store.
//!
//! PUBACK, PUBREC, PUBCOMP, SUBACK and UNSUBACK leave in the order of the packets that they answer [MQTT-4.6.0-2/3]:
//! each takes a place in its connection's queue and goes out once it and all before it are ready.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::Engine;
use crate::delivery::AckKind;
use crate::effects::{DropReason, Effect, Effects, Reason, Reply};
use crate::id::{ConnId, Now, SessionId};
use crate::matches::MatchSet;
use crate::message::Message;
use crate::refusal::Kind;
use crate::store::{StoreEvent, StoreOp, Ticket};

/// A connection's answers that can't leave yet.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Number of the first place.
    base: u64,
    places: VecDeque<Option<Reply>>,
    /// How many of them are PUBACKs, for Receive Maximum.
    pub_acks: usize,
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
    /// An answer may leave, when `left` more submissions are settled.
    Answer { place: Place, reply: Reply, left: u32 },
    /// An inbound QoS 2 message of a kept session goes to its recipients, then PUBREC.
    Hold {
        place: Place,
        publisher: SessionId,
        packet_id: NonZeroU16,
        message: Arc<Message>,
        set: Arc<MatchSet>,
    },
    /// An outbound QoS 2 PUBLISH may be sent.
    Outbound { session: SessionId, packet_id: NonZeroU16 },
    /// PUBREL may be sent.
    Release { session: SessionId, packet_id: NonZeroU16 },
}

/// Whether a reply ends a QoS 1 exchange and so frees one of the client's sends (MQTT 5, section 4.9). A QoS 2 exchange
/// is counted by its packet id until PUBREL.
fn ends_qos_1(reply: &Reply) -> bool {
    matches!(reply, Reply::Ack { kind: AckKind::PubAck, .. })
}

impl Engine {
    /// Answers now, or behind older answers that still wait.
    pub(super) fn answer(&mut self, conn: ConnId, reply: Reply, fx: &mut Effects) {
        let Some(state) = self.conn(conn) else { return };
        match &mut state.answers {
            Some(answers) if !answers.places.is_empty() => {
                answers.pub_acks += usize::from(ends_qos_1(&reply));
                answers.places.push_back(Some(reply));
            }
            _ => fx.reply(conn, reply),
        }
    }

    /// Keeps a place for a PUBACK or for anything else.
    pub(super) fn reserve_answer(&mut self, conn: ConnId, pub_ack: bool) -> Place {
        let Some(state) = self.conn(conn) else { return Place { conn, number: u64::MAX } };
        let answers = state.answers.get_or_insert_default();
        let number = answers.base + answers.places.len() as u64;
        answers.places.push_back(None);
        answers.pub_acks += usize::from(pub_ack);
        Place { conn, number }
    }

    /// Fills a place and lets leave what is ready.
    fn fill(&mut self, place: Place, reply: Reply, fx: &mut Effects) {
        let Some(state) = self.conn(place.conn) else { return };
        let Some(answers) = &mut state.answers else { return };
        let Some(index) = place.number.checked_sub(answers.base) else { return };
        let Some(waiting) = answers.places.get_mut(index as usize) else { return };
        *waiting = Some(reply);
        while let Some(Some(_)) = answers.places.front() {
            if let Some(Some(ready)) = answers.places.pop_front() {
                answers.base += 1;
                answers.pub_acks -= usize::from(ends_qos_1(&ready));
                fx.reply(place.conn, ready);
            }
        }
        if answers.places.is_empty() {
            state.answers = None;
        }
    }

    /// PUBACKs that a connection is owed.
    pub(super) fn owed_pub_acks(&mut self, conn: ConnId) -> usize {
        self.conn(conn).and_then(|state| state.answers.as_ref()).map_or(0, |answers| answers.pub_acks)
    }

    /// Answers when `ops` are stored; at once if there are none.
    pub(super) fn answer_when_stored(
        &mut self,
        conn: ConnId,
        reply: Reply,
        ops: Vec<StoreOp>,
        fx: &mut Effects,
    ) {
        if ops.is_empty() {
            return self.answer(conn, reply, fx);
        }
        let place = self.reserve_answer(conn, ends_qos_1(&reply));
        let ticket = self.ticket(Waiting::Answer { place, reply, left: ops.len() as u32 });
        fx.list.extend(ops.into_iter().map(|op| Effect::Store(ticket, op)));
    }

    /// Something submitted under `ticket` has been settled or has failed.
    pub(super) fn settled(&mut self, now: Now, event: StoreEvent, fx: &mut Effects) {
        let (ticket, failed) = match event {
            StoreEvent::Settled(ticket) => (ticket, false),
            StoreEvent::Failed(ticket) => (ticket, true),
        };
        if let Some(Waiting::Answer { left, reply, .. }) = self.waiting.get_mut(ticket.0 as usize) {
            if failed {
                refuse_in_reply(reply);
            }
            *left = left.saturating_sub(1);
            if *left > 0 {
                return;
            }
        }
        let Some(waiting) = self.take_waiting(ticket) else { return };
        match waiting {
            Waiting::Answer { place, reply, .. } => self.fill_or_withhold(now, place, reply, failed, fx),
            Waiting::Hold { place, publisher, packet_id, message, set } => {
                let reason = if failed {
                    if let Some(slot) = self.slot_of(publisher)
                        && let Some(traffic) = self.session(slot).and_then(|session| session.traffic.as_mut())
                    {
                        traffic.received.remove(packet_id);
                    }
                    Reason::QuotaExceeded
                } else {
                    self.fan_out(now, &message, &set, fx);
                    if set.is_empty() { Reason::NoMatchingSubscribers } else { Reason::Success }
                };
                let reply = Reply::Ack { kind: AckKind::PubRec, packet_id, reason };
                self.fill_or_withhold(now, place, reply, failed, fx);
            }
            Waiting::Outbound { session, packet_id } => {
                self.outbound_stored(now, session, packet_id, failed, fx)
            }
            Waiting::Release { session, packet_id } => {
                self.release_stored(now, session, packet_id, failed, fx)
            }
        }
    }

    fn take_waiting(&mut self, ticket: Ticket) -> Option<Waiting> {
        self.waiting.try_remove(usize::try_from(ticket.0).ok()?)
    }

    /// Gives the answer; a 3.x client can't be told of a failure, so it gets none and is disconnected.
    fn fill_or_withhold(&mut self, now: Now, place: Place, reply: Reply, failed: bool, fx: &mut Effects) {
        let is_v5 = self.conn(place.conn).is_some_and(|state| state.is_v5);
        if failed && let Reply::Ack { .. } = reply {
            self.count_drop(now, DropReason::StoreFailed, "store", fx);
            if !is_v5 {
                let detail =
                    "the message could not be stored and MQTT 3 can't be told; publish again later".into();
                return self.refuse(now, place.conn, Kind::QuotaExceeded, detail, fx);
            }
        }
        self.fill(place, reply, fx);
    }

    /// A repeated QoS 2 PUBLISH whose first copy still waits for the store: the one PUBREC answers the new connection.
    /// False if no such copy waits.
    pub(super) fn rebind_hold(&mut self, conn: ConnId, session: SessionId, id: NonZeroU16) -> bool {
        let held = |waiting: &Waiting| matches!(waiting, Waiting::Hold { publisher, packet_id, .. } if *publisher == session && *packet_id == id);
        let Some(key) = self.waiting.iter().find(|(_, waiting)| held(waiting)).map(|(key, _)| key) else {
            return false;
        };
        let same = matches!(self.waiting.get(key), Some(Waiting::Hold { place, .. }) if place.conn == conn);
        if !same {
            let fresh = self.reserve_answer(conn, false);
            if let Some(Waiting::Hold { place, .. }) = self.waiting.get_mut(key) {
                *place = fresh;
            }
        }
        true
    }
}

/// Turns a success into the refusal that a failed store means.
fn refuse_in_reply(reply: &mut Reply) {
    match reply {
        Reply::Ack { reason, .. } => *reason = Reason::QuotaExceeded,
        Reply::Subscribed { codes, .. } => {
            codes.iter_mut().for_each(|code| *code = Err(Reason::QuotaExceeded))
        }
        Reply::Unsubscribed { codes, .. } => {
            codes.iter_mut().for_each(|code| *code = Reason::UnspecifiedError)
        }
        Reply::Connected { .. } | Reply::Pong => {}
    }
}
