//! What clients acknowledge, and the steps of QoS 2 that the store must know of before the next packet leaves.

use std::num::NonZeroU16;

use super::Engine;
use super::answers::Waiting;
use crate::consumer::Verdict;
use crate::delivery::{AckKind, Acked, Stage};
use crate::effects::{DropReason, Effect, Effects, Reason, Reply};
use crate::group::Outcome;
use crate::id::{ConnId, Now, SessionId};
use crate::queue::Entry;
use crate::refusal::Kind;
use crate::session::Session;
use crate::store::{SessionNumber, StoreOp};

impl Engine {
    /// A client's PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(super) fn acknowledge(
        &mut self,
        now: Now,
        conn: ConnId,
        kind: AckKind,
        packet_id: NonZeroU16,
        failed: bool,
        fx: &mut Effects,
    ) {
        let Some(slot) = self.session_slot(conn) else { return };
        if kind == AckKind::PubRel {
            return self.released(conn, slot, packet_id, fx);
        }
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let acked = match &mut session.traffic {
            Some(traffic) => traffic.window.acknowledge(kind, packet_id, failed),
            None => Acked::Unknown,
        };
        match acked {
            Acked::Completed(entry, kept) => {
                if kept {
                    self.exchange_over(slot, packet_id, fx);
                }
                match entry {
                    // Of a queue's message it is a refusal, as NACK is.
                    Some(entry) if failed && entry.is_owed() => {
                        self.conclude(now, slot, entry, Verdict::Reject, fx);
                    }
                    Some(entry) if failed => {
                        self.drop_entry(now, slot, entry, DropReason::RefusedByClient, fx);
                    }
                    Some(entry) => self.finish_entry(now, slot, entry, fx),
                    None => {}
                }
                self.window_opened(slot, fx);
            }
            Acked::Received(Some(entry)) => self.received(now, slot, packet_id, entry, fx),
            Acked::Received(None) => {}
            Acked::ReleaseAgain => {
                let waits = |session: &Session| {
                    session.traffic.as_ref().is_some_and(|traffic| traffic.releases.contains(&packet_id))
                };
                if !self.sessions.get(slot as usize).is_some_and(waits) {
                    fx.reply(conn, release(packet_id, Reason::Success));
                }
            }
            Acked::Unknown => {
                self.stats.stray_acks += 1;
                if kind == AckKind::PubRec && !failed {
                    fx.reply(conn, release(packet_id, Reason::PacketIdNotFound));
                }
            }
            Acked::OutOfTurn => {
                let detail = format!("{kind:?} {packet_id} does not fit the state of that exchange");
                self.refuse(now, conn, Kind::ProtocolError, detail, fx);
            }
        }
    }

    /// The window has room again, if anything waits for it.
    pub(super) fn window_opened(&mut self, slot: u32, fx: &mut Effects) {
        if self.window_awaited(slot) {
            self.wake(slot, fx);
        } else {
            self.park_traffic(slot);
        }
    }

    fn window_awaited(&self, slot: u32) -> bool {
        let traffic = self.sessions.get(slot as usize).and_then(|session| session.traffic.as_ref());
        traffic.is_some_and(|traffic| {
            !traffic.queue.is_empty() || !traffic.due.is_empty() || !traffic.replays.is_empty()
        })
    }

    /// PUBREC was taken: PUBREL follows, for a kept session once that is stored.
    pub(super) fn received(
        &mut self,
        now: Now,
        slot: u32,
        packet_id: NonZeroU16,
        entry: Entry,
        fx: &mut Effects,
    ) {
        if let Some(lease) = entry.lease() {
            self.lease_ended(now, lease, Outcome::Finished, fx);
        }
        self.pool.give_back(entry.message);
        let Some(traffic) = self.session(slot).and_then(|session| session.traffic.as_mut()) else { return };
        traffic.releases.push_back(packet_id);
        let storing = traffic.window.find(packet_id).filter(|flight| flight.stage == Stage::StoringRelease);
        match storing.map(|flight| (flight.owner, flight.record)) {
            Some((owner, record)) => self.store_release(slot, owner, record, packet_id, fx),
            None => self.send_releases(slot, fx),
        }
    }

    fn store_release(
        &mut self,
        slot: u32,
        owner: SessionNumber,
        record: u64,
        packet_id: NonZeroU16,
        fx: &mut Effects,
    ) {
        let id = self.session_id(slot);
        let session = SessionNumber(id.incarnation);
        let ticket = self.ticket(Waiting::Release { session: id, packet_id });
        let op = StoreOp::OutboundReceived { session, owner, record, packet_id: packet_id.get() };
        fx.push(Effect::Store(ticket, op));
    }

    /// Sends the PUBRELs that are ready, in the order of their PUBRECs [MQTT-4.6.0-4]. While the client is away they
    /// only become due: the next connection sends them.
    fn send_releases(&mut self, slot: u32, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let Some(traffic) = &mut session.traffic else { return };
        while let Some(&packet_id) = traffic.releases.front() {
            match traffic.window.find(packet_id).map(|flight| flight.stage) {
                Some(Stage::StoringRelease) => return,
                Some(Stage::Releasing) if session.conn.is_some() => {
                    fx.list.extend(
                        session.conn.map(|conn| Effect::Reply(conn, release(packet_id, Reason::Success))),
                    );
                }
                _ => {}
            }
            traffic.releases.pop_front();
        }
    }

    /// The store has an outbound packet id: PUBLISH is due.
    pub(super) fn outbound_stored(
        &mut self,
        now: Now,
        session: SessionId,
        packet_id: NonZeroU16,
        failed: bool,
        fx: &mut Effects,
    ) {
        let Some(slot) = self.slot_of(session) else { return };
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let conn = session.conn;
        let Some(traffic) = &mut session.traffic else { return };
        if failed {
            if let Some(flight) = traffic.window.find(packet_id) {
                flight.unstored = true;
            }
        } else {
            let due = traffic.window.stored(packet_id);
            if conn.is_some() {
                traffic.due.extend(due);
            }
        }
        match conn {
            None => {
                // Another member may have a shared message that its client did not wait for.
                let flight = traffic.window.find(packet_id);
                if flight
                    .is_some_and(|flight| flight.entry.as_ref().is_some_and(|entry| entry.lease().is_some()))
                {
                    self.give_back(now, slot, packet_id, fx);
                    self.park_traffic(slot);
                }
            }
            Some(_) if failed => self.store_failed(now, slot, fx),
            Some(_) => self.wake(slot, fx),
        }
    }

    /// The store has a PUBREC: PUBREL is due.
    pub(super) fn release_stored(
        &mut self,
        now: Now,
        session: SessionId,
        packet_id: NonZeroU16,
        failed: bool,
        fx: &mut Effects,
    ) {
        let Some(slot) = self.slot_of(session) else { return };
        let Some(flight) = self.window(slot).and_then(|window| window.find(packet_id)) else { return };
        flight.unstored = failed;
        if failed {
            return self.store_failed(now, slot, fx);
        }
        flight.stage = Stage::Releasing;
        self.send_releases(slot, fx);
    }

    /// Asks the store again for what it could not take before.
    pub(super) fn store_again(&mut self, slot: u32, fx: &mut Effects) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let Some(traffic) = &session.traffic else { return };
        let unstored: Vec<_> = traffic
            .window
            .iter()
            .filter(|flight| flight.unstored)
            .map(|flight| (flight.packet_id, flight.owner, flight.record, flight.entry.is_some()))
            .collect();
        for (packet_id, owner, record, unsent) in unstored {
            if let Some(flight) = self.window(slot).and_then(|window| window.find(packet_id)) {
                flight.unstored = false;
            }
            if unsent {
                self.store_outbound(slot, owner, record, packet_id, fx);
            } else {
                self.store_release(slot, owner, record, packet_id, fx);
            }
        }
    }

    /// Has the packet id stored before PUBLISH leaves; with `record` 0 as one whose message will not come again, so that
    /// a restart ends the exchange with PUBREL.
    pub(super) fn store_outbound(
        &mut self,
        slot: u32,
        owner: SessionNumber,
        record: u64,
        packet_id: NonZeroU16,
        fx: &mut Effects,
    ) {
        let id = self.session_id(slot);
        let session = SessionNumber(id.incarnation);
        let ticket = self.ticket(Waiting::Outbound { session: id, packet_id });
        let packet_id = packet_id.get();
        let op = match record {
            0 => StoreOp::OutboundReceived { session, owner, record, packet_id },
            _ => StoreOp::OutboundSent { session, owner, record, packet_id },
        };
        fx.push(Effect::Store(ticket, op));
    }

    /// Exactly once can't be kept up without the store: the client is disconnected and tries again later.
    fn store_failed(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        if let Some(conn) = self.session(slot).and_then(|session| session.conn) {
            let detail =
                "the store failed in the middle of a QoS 2 exchange; it goes on when you reconnect".into();
            self.refuse(now, conn, Kind::ServerUnavailable, detail, fx);
        }
    }

    /// PUBREL: the inbound exchange is over [MQTT-4.3.3-11], for a kept session once that is stored.
    fn released(&mut self, conn: ConnId, slot: u32, packet_id: NonZeroU16, fx: &mut Effects) {
        let id = self.session_id(slot);
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let (number, durable) = (session.number, session.is_durable());
        let known = session.traffic.as_ref().is_some_and(|traffic| traffic.received.contains(packet_id));
        if known && durable {
            // The id stays taken until then, so that a failure leaves everything as it was.
            if !self.rebind(conn, id, packet_id, AckKind::PubComp) {
                let place = self.reserve_answer(conn);
                let ticket = self.ticket(Waiting::Released { place, session: id, packet_id });
                let op = StoreOp::InboundReleased { session: number, packet_id: packet_id.get() };
                fx.push(Effect::Store(ticket, op));
            }
            return;
        }
        if !known {
            self.stats.stray_acks += 1;
        }
        self.forget_received(id, packet_id);
        let reason = if known { Reason::Success } else { Reason::PacketIdNotFound };
        self.answer(conn, Reply::Ack { kind: AckKind::PubComp, packet_id, reason }, fx);
        self.park_traffic(slot);
    }
}

fn release(packet_id: NonZeroU16, reason: Reason) -> Reply {
    Reply::Ack { kind: AckKind::PubRel, packet_id, reason }
}
