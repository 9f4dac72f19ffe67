//! Sessions come, stay and go: CONNECT, takeover, DISCONNECT, a lost connection, expiry. Their wills are next door.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::publish::acknowledged;
use super::wills::{own_will, will_gone};
use super::{Engine, NO_SESSION, SPARE_TRAFFIC, Timer};
use crate::delivery::{Flight, Stage};
use crate::effects::{Connect, DropReason, Effect, Effects, Event, PeerMsg, Reply};
use crate::group::Outcome;
use crate::id::{ConnId, Now, Qos};
use crate::queue::Item;
use crate::refusal::{Kind, Refusal};
use crate::session::{Session, Standing, Subscriptions, Traffic};
use crate::store::{SessionNumber, StoreOp, Ticket};
use crate::trie::GroupKey;

impl Engine {
    pub(super) fn connect(&mut self, now: Now, conn: ConnId, connect: &Connect<'_>, fx: &mut Effects) {
        match self.conn(conn) {
            None => return,
            Some(state) if state.session != NO_SESSION => {
                let detail = "a second CONNECT on the same connection [MQTT-3.1.0-2]".into();
                return self.refuse(now, conn, Kind::ProtocolError, detail, fx);
            }
            Some(_) => {}
        }
        if let Err(refusal) = Self::check_expiry(now, connect) {
            return fx.push(Effect::Close(conn, refusal));
        }
        let standing = self.standing_of(connect);
        if let Some(will) = &connect.will
            && let Err(refusal) = self.check_will(connect, &standing, will)
        {
            return fx.push(Effect::Close(conn, refusal));
        }
        let limits = &self.policy.limits;
        let expiry_s = connect.expiry_s.min(limits.max_session_expiry_s);
        let window_max = connect.receive_maximum.get().min(limits.max_inflight.max(1));
        let keep_alive_s = self.keep_alive_granted(connect);

        let named = connect.beats.is_none();
        let mut present = named.then(|| self.find_client(connect.client_id)).flatten();
        if let Err(refusal) = self.check_session(connect, present, expiry_s) {
            return fx.push(Effect::Close(conn, refusal));
        }
        if let Some(slot) = present {
            self.take_over(now, slot, conn, connect, fx);
            present = self.find_client(connect.client_id);
        }
        if let Some(slot) = present
            && connect.clean_start
        {
            self.end_session(now, slot, fx);
            present = None;
        }
        let session_present = present.is_some();
        let slot = match present {
            Some(slot) => slot,
            None if named => self.new_session(connect),
            None => self.nameless_session(connect),
        };
        let Some(session) = self.session(slot) else { return };
        let was_durable = session.is_durable() && session_present;
        session.conn = Some(conn);
        session.standing = standing;
        session.absence = session.absence.wrapping_add(1);
        session.expiry_s = expiry_s;
        session.window_max = window_max;
        let will = connect.will.as_ref().map(|will| Box::new(own_will(will)));
        if std::mem::replace(&mut session.will, will).is_some() && session.will.is_none() {
            will_gone(session.number, fx);
        }
        if let Some(traffic) = &mut session.traffic {
            // A PUBREL that waits for an older one leaves behind that one.
            let releases = &traffic.releases;
            traffic.due =
                traffic.window.reconnect().into_iter().filter(|id| !releases.contains(id)).collect();
        }
        if let Some(state) = self.conn(conn) {
            state.session = slot;
            state.is_v5 = connect.is_v5;
            state.durability = connect.durability;
            state.heard_ms = now.mono_ms;
            state.silence_max_ms = u32::from(keep_alive_s) * 1_500;
        }
        if let Some(beats) = connect.beats {
            self.begin_talk(now, conn, beats);
        }
        if keep_alive_s > 0 {
            self.arm(now.mono_ms + u64::from(keep_alive_s) * 1_500, Timer::KeepAlive(conn));
        }
        if let Some(expires_ms) = connect.access.expires_ms {
            self.arm_expiry(now, conn, expires_ms);
        }
        self.keep_will(slot, fx);
        if self.judge.asks && session_present {
            self.ask_again(slot);
            self.revise(now, slot, fx);
        }
        self.durability_changed(slot, was_durable, session_present, fx);
        self.presence(slot, true, fx);
        self.store_again(slot, fx);
        self.uncongest(slot);
        fx.reply(
            conn,
            Reply::Connected {
                session_present,
                expiry_s: (expiry_s != connect.expiry_s).then_some(expiry_s),
                keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
            },
        );
        fx.push(Effect::Log(Event::Connected { conn, client_id: connect.client_id.into(), session_present }));
        self.mark_dirty(conn, fx);
    }

    /// Whether the client may have the session in slot `present`, or a new one. One that dies with its connection is
    /// always to be had: those are as few as connections.
    fn check_session(
        &self,
        connect: &Connect<'_>,
        present: Option<u32>,
        expiry_s: u32,
    ) -> Result<(), Refusal> {
        let session = present.and_then(|slot| self.sessions.get(slot as usize));
        if session.is_some_and(|session| session.user.as_deref() != connect.user) {
            let detail = format!("client id {:?} belongs to another user's session", connect.client_id);
            return Err(Refusal::new(Kind::NotAuthorized, detail));
        }
        if session.is_none() && self.shared.is_closed_to_new() {
            // Who has a session may have come to take what waits in it.
            let detail = "the broker's memory is used up (server.memory); come back later";
            return Err(Refusal::new(Kind::ServerBusy, detail));
        }
        let max_sessions = self.policy.limits.max_sessions;
        // Workers that look at the same moment may pass the limit by one each.
        if expiry_s > 0
            && !session.is_some_and(Session::is_durable)
            && self.shared.kept_sessions() >= max_sessions
        {
            let detail = format!(
                "the broker keeps {max_sessions} sessions already (max_sessions); connect with a clean session, \
                 or let old ones expire"
            );
            return Err(Refusal::new(Kind::QuotaExceeded, detail));
        }
        Ok(())
    }

    /// The keep alive in force, s. Only MQTT 5 can be told of a lower one [MQTT-3.2.2-21]; a 3.x client keeps its own.
    fn keep_alive_granted(&self, connect: &Connect<'_>) -> u16 {
        let ceiling = self.policy.limits.max_keep_alive_s;
        let asked = connect.keep_alive_s;
        if connect.is_v5 && ceiling > 0 && (asked == 0 || asked > ceiling) { ceiling } else { asked }
    }

    pub(super) fn find_client(&self, client_id: &str) -> Option<u32> {
        let hash = self.seed.hash(client_id);
        let sessions = &self.sessions;
        self.by_client
            .find(hash, |&slot| {
                sessions.get(slot as usize).is_some_and(|found| *found.client_id == *client_id)
            })
            .copied()
    }

    fn new_session(&mut self, connect: &Connect<'_>) -> u32 {
        let session = self.fresh_session(connect.client_id, connect.user);
        self.enter_session(session)
    }

    /// A session of a STOMP connection: nobody can resume it or take it over.
    fn nameless_session(&mut self, connect: &Connect<'_>) -> u32 {
        let session = self.fresh_session(connect.client_id, connect.user);
        self.sessions.insert(session) as u32
    }

    pub(super) fn fresh_session(&self, client_id: &str, user: Option<&str>) -> Session {
        Session {
            number: self.shared.next_session(),
            client_id: client_id.into(),
            user: user.map(Into::into),
            standing: Standing::default(),
            conn: None,
            expiry_s: 0,
            window_max: 1,
            subscriptions: Subscriptions::default(),
            will: None,
            traffic: None,
            absence: 0,
            wills_due: 0,
            kept: false,
            congested: false,
            selects: false,
            consumer: None,
        }
    }

    pub(super) fn enter_session(&mut self, session: Session) -> u32 {
        let hash = self.seed.hash(&*session.client_id);
        let slot = self.sessions.insert(session) as u32;
        let (seed, sessions) = (&self.seed, &self.sessions);
        self.by_client.insert_unique(hash, slot, |&other| {
            sessions.get(other as usize).map_or(0, |session| seed.hash(&*session.client_id))
        });
        slot
    }

    /// The older connection of the same client id ends [MQTT-3.1.4-3]. Its will is published unless it is delayed and
    /// the session goes on [MQTT-3.1.3-9].
    fn take_over(&mut self, now: Now, slot: u32, new: ConnId, connect: &Connect<'_>, fx: &mut Effects) {
        let Some(session) = self.session(slot) else { return };
        let Some(old) = session.conn else { return };
        if connect.is_v5 && !connect.clean_start && session.expiry_s > 0 {
            // The delay is cancelled by the very connection that takes over.
            let cancelled = session.will.take_if(|will| will.delay_s > 0);
            if cancelled.is_some() {
                will_gone(session.number, fx);
            }
        } else if let Some(will) = &mut session.will {
            will.delay_s = 0;
        }
        self.stats.takeovers += 1;
        let detail = "another connection with the same client id took the session over";
        fx.push(Effect::Close(old, Refusal::new(Kind::SessionTakenOver, detail)));
        fx.push(Effect::Log(Event::TakenOver { client_id: connect.client_id.into(), old, new }));
        self.detach(now, old, false, fx);
    }

    pub(super) fn disconnect(
        &mut self,
        now: Now,
        conn: ConnId,
        with_will: bool,
        expiry_s: Option<u32>,
        fx: &mut Effects,
    ) {
        let Some(slot) = self.session_slot(conn) else { return };
        let ceiling = self.policy.limits.max_session_expiry_s;
        let Some(session) = self.session(slot) else { return };
        let was_durable = session.is_durable();
        if let Some(asked) = expiry_s {
            if asked > 0 && !was_durable {
                let detail =
                    format!("DISCONNECT raises the session expiry from 0 to {asked} s [MQTT-3.14.2-2]");
                return self.refuse(now, conn, Kind::ProtocolError, detail, fx);
            }
            session.expiry_s = asked.min(ceiling);
            self.durability_changed(slot, was_durable, true, fx);
        }
        self.detach(now, conn, !with_will, fx);
    }

    pub(super) fn closed(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        self.detach(now, conn, false, fx);
        if let Some(state) = self.conn(conn) {
            state.open = false;
            state.answers = None;
        }
    }

    /// Parts a session from its connection. `graceful`: the client said good-bye, so its will is discarded.
    pub(super) fn detach(&mut self, now: Now, conn: ConnId, graceful: bool, fx: &mut Effects) {
        let Some(slot) = self.session_slot(conn) else { return };
        self.forget_throttled(conn, fx);
        self.end_consumers(now, conn, fx);
        let mut graceful = graceful;
        if let Some(state) = self.conn(conn) {
            graceful |= state.talk.take().is_some_and(|talk| talk.left);
            state.session = NO_SESSION;
            state.silence_max_ms = 0;
            state.answers = None;
        }
        let Some(session) = self.session(slot) else { return };
        session.conn = None;
        session.absence = session.absence.wrapping_add(1);
        let (number, absence, expiry_s) = (session.number, session.absence, session.expiry_s);
        let client_id = session.client_id.clone();
        let will = if graceful {
            if session.will.take().is_some() {
                will_gone(number, fx);
            }
            None
        } else {
            // The will is due at the latest when the session ends [MQTT-3.1.3-9].
            session.will.as_ref().map(|will| will.delay_s.min(expiry_s))
        };
        fx.push(Effect::Log(Event::Disconnected { conn, client_id, graceful }));
        self.presence(slot, false, fx);
        self.give_up_unsent(now, slot, fx);
        self.keep_packet_ids(slot, fx);
        if self.session(slot).is_some_and(|session| session.kept) {
            fx.push(Effect::Store(Ticket::NONE, StoreOp::Presence { session: number, online: false }));
        }
        match will {
            None => {}
            Some(0) => self.will_due(now, slot, fx),
            Some(delay_s) => {
                let deadline = now.mono_ms + u64::from(delay_s) * 1_000;
                self.arm(deadline, Timer::WillDelay { slot, number, absence });
            }
        }
        match expiry_s {
            0 => self.end_session(now, slot, fx),
            u32::MAX => {}
            seconds => {
                let deadline = now.mono_ms + u64::from(seconds) * 1_000;
                self.arm(deadline, Timer::SessionExpiry { slot, number, absence });
            }
        }
    }

    /// What an absent client is not kept: QoS 0, and shared messages that were not sent yet, which another member may
    /// get.
    fn give_up_unsent(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        let Some(session) = self.session(slot) else { return };
        let client_id = session.client_id.clone();
        let durable = session.is_durable();
        let Some(traffic) = &mut session.traffic else { return };
        traffic.due.clear();
        traffic.replays.retain(|replay| durable && replay.qos > Qos::AtMostOnce);
        let mut given_up =
            traffic.queue.take_where(|entry| entry.qos == Qos::AtMostOnce || entry.lease().is_some());
        // What a queue has lent is nobody's until it is acknowledged: it goes back, sent or not.
        let of_queue = |flight: &Flight| {
            let entry = flight.entry.as_ref().filter(|entry| entry.lease().is_some());
            entry.is_some_and(|entry| entry.message.topic().is_queue())
        };
        let lent: Vec<_> =
            traffic.window.iter().filter(|flight| of_queue(flight)).map(|flight| flight.packet_id).collect();
        let unsent: Vec<_> = traffic
            .window
            .iter()
            .filter(|flight| !of_queue(flight))
            // Whose packet id is being stored is looked at when that has happened.
            .filter(|flight| {
                matches!(flight.stage, Stage::Publishing | Stage::Stored) && !flight.sent_before
                    || flight.stage == Stage::Storing && flight.unstored
            })
            .filter(|flight| flight.entry.as_ref().is_some_and(|entry| entry.lease().is_some()))
            .map(|flight| flight.packet_id)
            .collect();
        for entry in given_up.drain(..) {
            match entry.lease() {
                Some(lease) => self.lease_ended(now, lease, Outcome::Returned, fx),
                None => self.count_drop(now, DropReason::Offline, &client_id, fx),
            }
            self.pool.give_back(entry.message);
        }
        for packet_id in unsent.into_iter().chain(lent) {
            self.give_back(now, slot, packet_id, fx);
        }
        let most = self.policy.limits.max_held_messages;
        if let Some(traffic) = self.session(slot).and_then(|session| session.traffic.as_mut()) {
            traffic.queue.page_out(most);
        }
        self.uncongest(slot);
        self.park_traffic(slot);
    }

    /// Returns a shared message that has a packet id.
    pub(super) fn give_back(&mut self, now: Now, slot: u32, packet_id: NonZeroU16, fx: &mut Effects) {
        let Some(traffic) = self.session(slot).and_then(|session| session.traffic.as_mut()) else { return };
        let sent = traffic.window.find(packet_id).is_some_and(|flight| flight.sent_before);
        let Some((entry, kept)) = traffic.window.abandon(packet_id) else { return };
        if kept {
            self.exchange_over(slot, packet_id, fx);
        }
        if let Some(lease) = entry.lease() {
            self.lease_ended(now, lease, returned(sent), fx);
        }
    }

    /// Gives a quiet session's traffic back to the pool.
    pub(super) fn park_traffic(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        if session.traffic.as_ref().is_some_and(|traffic| traffic.is_quiet())
            && let Some(mut traffic) = session.traffic.take()
            && self.spare_traffic.len() < SPARE_TRAFFIC
        {
            traffic.queue.shrink();
            traffic.loading = false;
            self.spare_traffic.push(traffic);
        }
    }

    /// What was sent at QoS 1 and is not acknowledged keeps its packet id [MQTT-4.4.0-1], also across a restart of the
    /// broker in the client's absence. Told to the store only now: most packets are acknowledged on the connection that
    /// they went out on. So after a crash with the client connected, they come under new ids and without DUP.
    fn keep_packet_ids(&mut self, slot: u32, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(slot as usize).filter(|session| session.kept) else {
            return;
        };
        let number = session.number;
        let Some(traffic) = &mut session.traffic else { return };
        for flight in traffic.window.iter_mut().filter(|flight| flight.sent_before && !flight.is_kept()) {
            if flight.entry.as_ref().is_some_and(|entry| entry.stored) {
                flight.owner = number;
                let (record, packet_id) = (flight.record, flight.packet_id.get());
                let op = StoreOp::OutboundSent { session: number, owner: number, record, packet_id };
                fx.push(Effect::Store(Ticket::NONE, op));
            }
        }
    }

    /// Tells the tree, the groups and the store when a session begins or ceases to outlive its connections. The store
    /// goes on knowing one that will end with its connection: what waits in it may be there alone.
    fn durability_changed(&mut self, slot: u32, was: bool, existed: bool, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let is = session.is_durable();
        if was != is {
            self.shared.count_kept(is);
        }
        session.kept |= is;
        if session.kept {
            fx.push(Effect::Store(
                Ticket::NONE,
                StoreOp::SessionKept {
                    session: session.number,
                    client_id: session.client_id.clone(),
                    user: session.user.clone(),
                    expiry_s: session.expiry_s,
                },
            ));
        }
        if !existed || was == is {
            return;
        }
        for index in 0..self.sessions.get(slot as usize).map_or(0, |session| session.subscriptions.len()) {
            self.enter_subscription(slot, index, fx);
            if is && let Some(op) = self.subscribed_op(slot, index) {
                fx.push(Effect::Store(Ticket::NONE, op));
            }
        }
    }

    /// Tells the homes of its groups that a member's client came or went.
    fn presence(&mut self, slot: u32, online: bool, fx: &mut Effects) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let durable = session.is_durable();
        let keys: Vec<_> = session
            .subscriptions
            .iter()
            .filter_map(|subscription| {
                let group = subscription.group.clone()?;
                Some(Arc::new(GroupKey { group, filter: subscription.filter.as_str().into() }))
            })
            .collect();
        let session = self.session_id(slot);
        for key in keys {
            let home = self.shared.home_of_group(&key.group, &key.filter);
            if home == self.id {
                self.presence_here(&key, session, online, durable, fx);
            } else {
                self.send_peer(home, PeerMsg::Presence { key, session, online, durable }, fx);
            }
        }
    }

    /// The session ends: its subscriptions go, what waited is counted, its will (if it still has one) is published.
    pub(super) fn end_session(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        self.will_due(now, slot, fx);
        let name = self.session_id(slot);
        let subscriptions = self.session(slot).map(|session| std::mem::take(&mut session.subscriptions));
        for subscription in subscriptions.into_iter().flatten() {
            self.leave_subscription(now, name, &subscription, fx);
        }
        let Some(session) = self.sessions.try_remove(slot as usize) else { return };
        let hash = self.seed.hash(&*session.client_id);
        if let Ok(entry) = self.by_client.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        if session.congested {
            self.shared.set_congested(name, false);
        }
        if session.is_durable() {
            self.shared.count_kept(false);
        }
        if session.kept {
            let traffic = session.traffic.as_ref();
            let records = traffic.map(|traffic| traffic.records(session.number)).unwrap_or_default();
            fx.push(Effect::Store(Ticket::NONE, StoreOp::SessionEnded { session: session.number, records }));
        }
        let Some(mut traffic) = session.traffic else { return };
        let lost = self.lose_traffic(now, session.number, &session.client_id, &mut traffic, fx);
        if lost > 0 {
            fx.push(Effect::Log(Event::SessionEnded { client_id: session.client_id, lost }));
        }
        if self.spare_traffic.len() < SPARE_TRAFFIC {
            traffic.queue.shrink();
            traffic.due.clear();
            traffic.releases.clear();
            traffic.received.clear();
            traffic.replays.clear();
            traffic.loading = false;
            self.spare_traffic.push(traffic);
        }
    }

    /// Empties an ended session's queue and window: shared messages return to their groups as far as they may
    /// [MQTT-4.8.2-4/5], the rest is counted. Returns how many were lost.
    fn lose_traffic(
        &mut self,
        now: Now,
        number: SessionNumber,
        client_id: &str,
        traffic: &mut Traffic,
        fx: &mut Effects,
    ) -> usize {
        let mut lost = 0;
        let mut entries = Vec::new();
        for flight in traffic.window.drain() {
            if let Some(entry) = flight.entry {
                let with_client = flight.sent_before && entry.qos == Qos::ExactlyOnce;
                let outcome = if with_client { Outcome::Finished } else { returned(flight.sent_before) };
                entries.push((entry, outcome));
            } else if flight.stage == Stage::StoringRelease && flight.owner != number {
                acknowledged(flight.owner, flight.record, fx);
            }
        }
        while let Some(item) = traffic.queue.pop_item() {
            match item {
                Item::Held(entry) => entries.push((entry, Outcome::Returned)),
                Item::Stub(_) => {
                    lost += 1;
                    self.count_drop(now, DropReason::SessionEnded, client_id, fx);
                }
            }
        }
        for (entry, outcome) in entries {
            if let Some(lease) = entry.lease() {
                self.lease_ended(now, lease, outcome, fx);
            } else if let Some(group) = entry.extra.as_ref().and_then(|extra| extra.group) {
                // Lent before a restart, at QoS 2: it dies with the session [MQTT-4.8.2-5].
                acknowledged(group, entry.message.record(), fx);
            }
            if entry.lease().is_none() || outcome == Outcome::Finished {
                lost += 1;
                self.count_drop(now, DropReason::SessionEnded, client_id, fx);
            }
            self.pool.give_back(entry.message);
        }
        lost
    }
}

/// How a loan ends that goes back to its group, sent or not.
pub(super) fn returned(sent: bool) -> Outcome {
    if sent { Outcome::Released } else { Outcome::Returned }
}
