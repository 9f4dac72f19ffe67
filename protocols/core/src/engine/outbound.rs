//! Messages go out: into a session's queue and from there into its connection.

use std::num::{NonZeroU16, NonZeroU32};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::Engine;
use super::publish::acknowledged;
use crate::consumer::ConsumerId;
use crate::delivery::{Stage, Window};
use crate::effects::{Delivery, DropReason, Effect, Effects, Outlet, Sent};
use crate::group::Outcome;
use crate::id::{ConnId, Now, Qos};
use crate::policy::{Action, Overflow};
use crate::queue::{Entry, Extra, Item, Offered};
use crate::refusal::Kind;
use crate::retained::Progress;
use crate::session::Traffic;
use crate::shared::Headroom;
use crate::store::{LoadRequest, Loaded, StoreOp, Ticket};

/// Retained topics looked at in one step of a replay, under the lock.
const REPLAY_PORTION: usize = 64;

/// Steps of a replay in one turn: a filter that matches little of a large tree must not hold up the others.
const REPLAY_STEPS: usize = 8;

/// Whether a connection has more to pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// Nothing more for now; the connection is marked again when there is.
    Done,
    /// The connection's budget is used up: pull again when it has been written.
    More,
}

/// What the next packet of a session is.
enum Next {
    /// The packet of an exchange that is due on this connection.
    Due(NonZeroU16),
    /// The front of the queue at QoS 0.
    Plain,
    /// The front of the queue at QoS 1 or 2.
    Exchange,
    /// The front of the queue has expired.
    Expired,
    /// The client has no right (any more) to the front of the queue.
    Forbidden,
    /// The front of the queue is in the store.
    Load,
    /// Retained messages for the queue.
    Replay,
    /// Nothing.
    Nothing,
}

impl Engine {
    /// Puts a message into a session's queue, or deals with its having no place there.
    pub(super) fn enqueue(&mut self, now: Now, slot: u32, mut entry: Entry, fx: &mut Effects) {
        if !self.may_have(slot, &entry) {
            return self.withhold(now, slot, entry, false, fx);
        }
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let conn = session.conn;
        if session.consumer.as_ref().is_some_and(|consumer| consumer.acknowledges) {
            // A consumer acknowledges whatever it is sent.
            entry.qos = Qos::AtLeastOnce;
        }
        if conn.is_none() && entry.qos == Qos::AtMostOnce {
            return self.drop_entry(now, slot, entry, DropReason::Offline, fx);
        }
        let headroom = self.shared.headroom();
        if headroom > Headroom::Ample && entry.qos == Qos::AtMostOnce && self.lags(conn) {
            return self.drop_entry(now, slot, entry, DropReason::MemoryShort, fx);
        }
        let gives_way = headroom == Headroom::Spent && self.lags(conn);
        let limits = &self.policy.limits;
        let spare = &mut self.spare_traffic;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let traffic = session.traffic.get_or_insert_with(|| spare.pop().unwrap_or_default());
        let displaced = if gives_way { traffic.queue.give_way(&entry, limits) } else { Vec::new() };
        // With little memory it is to leave early what the store has as well.
        let offered = traffic.queue.offer(entry, limits, conn.is_some() && headroom == Headroom::Ample);
        self.congest(slot);
        for item in displaced {
            self.drop_item(now, slot, item, DropReason::MemoryShort, fx);
        }
        match offered {
            Offered::Queued => {}
            Offered::Displaced(entries) => {
                for item in entries {
                    self.drop_item(now, slot, item, DropReason::QueueFull, fx);
                }
            }
            Offered::Rejected(entry) => return self.drop_entry(now, slot, entry, DropReason::QueueFull, fx),
            Offered::Disconnect(entry) => {
                self.drop_entry(now, slot, entry, DropReason::QueueFull, fx);
                if let Some(conn) = conn
                    && self.conn(conn).is_some_and(|state| state.caught_up)
                {
                    let detail = "the client reads slower than its messages come (max_queued_messages, max_queued_bytes)";
                    self.refuse(now, conn, Kind::SlowConsumer, detail.into(), fx);
                }
                return;
            }
        }
        if conn.is_some() {
            self.wake(slot, fx);
        }
    }

    /// Whether a session's client is away, or its socket took less than there was.
    fn lags(&self, conn: Option<ConnId>) -> bool {
        let state = conn.and_then(|conn| self.conns.get(conn.slot as usize));
        state.is_none_or(|state| state.lags)
    }

    /// Whose socket takes no more lags.
    pub(super) fn note_blocked(&mut self, conn: ConnId) {
        if let Some(state) = self.conn(conn) {
            state.lags = true;
        }
    }

    /// Who has more waiting than it may be sent lags by its acknowledgements.
    fn note_lag(&mut self, slot: u32) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let waits = session.traffic.as_ref().is_some_and(|traffic| !traffic.queue.is_empty());
        if waits && let Some(state) = session.conn.and_then(|conn| self.conn(conn)) {
            state.lags = true;
        }
    }

    /// Lets a session that is served be pulled.
    pub(super) fn wake(&mut self, slot: u32, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let Some(conn) = session.conn else { return };
        if let Some(consumer) = &mut session.consumer {
            if !consumer.open || std::mem::replace(&mut consumer.ready, true) {
                return;
            }
            let Some(talk) = self.conn(conn).and_then(|state| state.talk.as_mut()) else { return };
            talk.ready.push_back(slot);
        }
        self.mark_dirty(conn, fx);
    }

    /// A message will not reach this session: counted, its lease and record closed.
    pub(super) fn drop_entry(
        &mut self,
        now: Now,
        slot: u32,
        entry: Entry,
        reason: DropReason,
        fx: &mut Effects,
    ) {
        if reason == DropReason::TooLarge
            && let Some(lease) = entry.lease().filter(|_| entry.is_owed())
        {
            // Not for this client; whoever looks after the dead letters may make something of it.
            self.lease_ended(now, lease, Outcome::Rejected, fx);
            return self.pool.give_back(entry.message);
        }
        let client_id = self.session(slot).map(|session| session.client_id.clone()).unwrap_or_default();
        self.count_drop(now, reason, &client_id, fx);
        self.finish_entry(now, slot, entry, fx);
    }

    pub(super) fn drop_item(
        &mut self,
        now: Now,
        slot: u32,
        item: Item,
        reason: DropReason,
        fx: &mut Effects,
    ) {
        match item {
            Item::Held(entry) => self.drop_entry(now, slot, entry, reason, fx),
            Item::Stub(stub) => {
                let Some(session) = self.session(slot) else { return };
                let (number, client_id) = (session.number, session.client_id.clone());
                self.count_drop(now, reason, &client_id, fx);
                acknowledged(number, stub.record, fx);
            }
        }
    }

    /// A message is done with: acknowledged or dropped. The store or the group is told.
    pub(super) fn finish_entry(&mut self, now: Now, slot: u32, entry: Entry, fx: &mut Effects) {
        if let Some(lease) = entry.lease() {
            // The session may be a recipient of the same message in its own right: that record is not touched.
            self.lease_ended(now, lease, Outcome::Finished, fx);
        } else if let Some(session) = self.sessions.get(slot as usize)
            && let Some(owner) = entry.owner(session.number)
        {
            acknowledged(owner, entry.message.record(), fx);
        }
        self.pool.give_back(entry.message);
    }

    /// A packet id that the store knows is free again.
    pub(super) fn exchange_over(&mut self, slot: u32, packet_id: NonZeroU16, fx: &mut Effects) {
        if let Some(session) = self.sessions.get(slot as usize) {
            let op = StoreOp::OutboundCompleted { session: session.number, packet_id: packet_id.get() };
            fx.push(Effect::Store(Ticket::NONE, op));
        }
    }

    /// Writes what is due on a connection while `outlet` has room. Called once for each mark in [`Effects::dirty`],
    /// and again after [`Pulled::More`] when the connection has been written.
    pub fn pull(&mut self, now: Now, conn: ConnId, outlet: &mut impl Outlet, fx: &mut Effects) -> Pulled {
        self.turn_start = fx.list.len();
        match self.conn(conn) {
            Some(state) => (state.dirty, state.lags) = (false, false),
            None => return Pulled::Done,
        }
        let pulled = match self.session_slot(conn) {
            Some(_) if self.conn(conn).is_some_and(|state| state.talk.is_some()) => {
                self.pull_consumers(now, conn, outlet, fx)
            }
            Some(slot) => self.pull_session(now, slot, outlet, fx),
            None => Pulled::Done,
        };
        match pulled {
            Pulled::More => {
                // Marked until the rest is pulled, so that new messages do not announce it again.
                if let Some(state) = self.conn(conn) {
                    state.dirty = true;
                }
            }
            Pulled::Done => self.work_off(now, fx),
        }
        pulled
    }

    pub(super) fn pull_session(
        &mut self,
        now: Now,
        slot: u32,
        outlet: &mut impl Outlet,
        fx: &mut Effects,
    ) -> Pulled {
        let mut replay_steps = 0;
        loop {
            if !outlet.has_room() {
                self.load_ahead(slot, fx);
                self.uncongest(slot);
                return Pulled::More;
            }
            match self.next(now, slot) {
                Next::Due(packet_id) => self.send_due(now, slot, packet_id, outlet, fx),
                Next::Plain => self.send_plain(now, slot, outlet, fx),
                Next::Exchange => {
                    if !self.begin_exchange(slot, fx) {
                        break;
                    }
                }
                Next::Expired => {
                    if let Some(entry) = self.pop_entry(slot) {
                        self.drop_entry(now, slot, entry, DropReason::Expired, fx);
                    }
                }
                Next::Forbidden => {
                    if let Some(entry) = self.pop_entry(slot) {
                        self.withhold(now, slot, entry, true, fx);
                    }
                }
                Next::Load => break,
                Next::Replay if replay_steps == REPLAY_STEPS => {
                    self.wake(slot, fx);
                    break;
                }
                Next::Replay => {
                    replay_steps += 1;
                    self.replay(now, slot);
                }
                Next::Nothing => break,
            }
        }
        self.note_lag(slot);
        self.load_ahead(slot, fx);
        self.uncongest(slot);
        self.park_traffic(slot);
        Pulled::Done
    }

    fn next(&mut self, now: Now, slot: u32) -> Next {
        if self.judge.asks && !self.may_send_front(slot) {
            return Next::Forbidden;
        }
        let Some(session) = self.sessions.get_mut(slot as usize) else { return Next::Nothing };
        let window_max = usize::from(session.window_max);
        let Some(traffic) = &mut session.traffic else { return Next::Nothing };
        let window_open = traffic.window.on_wire() < window_max;
        if let Some(&packet_id) = traffic.due.front() {
            let publishes =
                traffic.window.find(packet_id).is_some_and(|flight| flight.stage == Stage::Publishing);
            if !publishes || window_open {
                traffic.due.pop_front();
                return Next::Due(packet_id);
            }
        }
        match traffic.queue.front() {
            Some(Item::Stub(_)) => Next::Load,
            Some(Item::Held(entry)) if entry.message.is_expired(now.mono_ms) => Next::Expired,
            Some(Item::Held(entry)) if entry.qos == Qos::AtMostOnce => Next::Plain,
            // Exchanges that wait for their turn or for the store count as well: the window bounds them all.
            Some(_) if window_open && traffic.window.len() < window_max => Next::Exchange,
            Some(_) => Next::Nothing,
            None if !traffic.replays.is_empty() => Next::Replay,
            None => Next::Nothing,
        }
    }

    /// Asks the store for what is soon to be sent, unless it has been asked already.
    fn load_ahead(&mut self, slot: u32, fx: &mut Effects) {
        let Some(traffic) = self.session(slot).and_then(|session| session.traffic.as_mut()) else { return };
        // Nearly always there is none: every pull comes by here.
        if traffic.loading || traffic.queue.stubs() == 0 {
            return;
        }
        let records = traffic.queue.wanted();
        if !records.is_empty() {
            traffic.loading = true;
            let session = self.session_id(slot);
            fx.push(Effect::Load(LoadRequest { session, records }));
        }
    }

    /// The store has given messages back.
    pub(super) fn loaded(&mut self, now: Now, loaded: Loaded, fx: &mut Effects) {
        let Some(slot) = self.slot_of(loaded.session) else { return };
        let Some(session) = self.session(slot) else { return };
        let Some(traffic) = &mut session.traffic else { return };
        traffic.loading = false;
        for stub in traffic.queue.fill(loaded.messages) {
            self.drop_item(now, slot, Item::Stub(stub), DropReason::StoreLost, fx);
        }
        self.wake(slot, fx);
    }

    fn pop_entry(&mut self, slot: u32) -> Option<Entry> {
        self.session(slot)?.traffic.as_mut()?.queue.pop()
    }

    fn send_plain(&mut self, now: Now, slot: u32, outlet: &mut impl Outlet, fx: &mut Effects) {
        let Some(entry) = self.pop_entry(slot) else { return };
        let consumer = self.consumer_of(slot);
        let delivery = Delivery {
            message: &entry.message,
            qos: Qos::AtMostOnce,
            dup: false,
            retain: entry.retain,
            packet_id: None,
            subscription_ids: ids(&entry),
            remaining_s: entry.message.remaining_s(now.mono_ms),
            consumer,
            deliveries: deliveries(&entry),
        };
        match outlet.deliver(&delivery) {
            Sent::Written(_) => {
                self.stats.messages_out[0] += 1;
                self.stats.payload_bytes_out += entry.message.payload().len() as u64;
                if consumer != ConsumerId(0) {
                    self.stats.stomp_out.count(Qos::AtMostOnce, entry.message.payload().len());
                }
                // Of a queue's message nobody will say more.
                self.finish_entry(now, slot, entry, fx);
            }
            Sent::TooLarge => self.drop_entry(now, slot, entry, DropReason::TooLarge, fx),
        }
    }

    /// Moves the front of the queue into the window. QoS 2 of a session that survives is stored under its packet id
    /// before it is sent; everything else is due at once. Of a message that the store does not have it is told the packet
    /// id alone: a client that holds it would take the next one under that id for a copy. False if the window can't take
    /// it.
    fn begin_exchange(&mut self, slot: u32, fx: &mut Effects) -> bool {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return false };
        let (number, kept) = (session.number, session.kept);
        let Some(traffic) = &mut session.traffic else { return false };
        let Some(entry) = traffic.queue.pop() else { return false };
        let exactly_once = kept && entry.qos == Qos::ExactlyOnce;
        let owner = exactly_once.then(|| entry.owner(number).unwrap_or(number));
        let stage = if owner.is_some() { Stage::Storing } else { Stage::Publishing };
        let packet_id = match traffic.window.begin(stage, entry, owner) {
            Ok(packet_id) => packet_id,
            Err(entry) => {
                traffic.queue.push_front(entry);
                return false;
            }
        };
        match owner {
            Some(owner) => {
                let record = traffic.window.find(packet_id).map_or(0, |flight| flight.record);
                self.store_outbound(slot, owner, record, packet_id, fx);
            }
            None => traffic.due.push_back(packet_id),
        }
        true
    }

    fn send_due(
        &mut self,
        now: Now,
        slot: u32,
        packet_id: NonZeroU16,
        outlet: &mut impl Outlet,
        fx: &mut Effects,
    ) {
        if self.judge.asks && !self.may_send(slot, packet_id) {
            return self.withhold_exchange(now, slot, packet_id, fx);
        }
        let consumer = self.consumer_of(slot);
        let Some(window) = self.window(slot) else { return };
        let Some(flight) = window.find(packet_id) else { return };
        match (flight.stage, &flight.entry) {
            (Stage::Releasing, _) => outlet.release(packet_id),
            // Nothing of it was ever sent, and now it is too late [MQTT-3.3.2-5].
            (Stage::Publishing, Some(entry))
                if !flight.sent_before && entry.message.is_expired(now.mono_ms) =>
            {
                self.give_up_exchange(now, slot, packet_id, DropReason::Expired, fx);
            }
            (Stage::Publishing, Some(entry)) => {
                let delivery = Delivery {
                    message: &entry.message,
                    qos: entry.qos,
                    dup: flight.sent_before,
                    retain: entry.retain,
                    packet_id: Some(packet_id),
                    subscription_ids: ids(entry),
                    remaining_s: entry.message.remaining_s(now.mono_ms),
                    consumer,
                    deliveries: deliveries(entry),
                };
                let (qos, bytes) = (entry.qos, entry.message.payload().len());
                match outlet.deliver(&delivery) {
                    Sent::Written(_) => {
                        window.written(packet_id);
                        if let Some(counter) = self.stats.messages_out.get_mut(usize::from(qos.level())) {
                            *counter += 1;
                        }
                        self.stats.payload_bytes_out += bytes as u64;
                        if consumer != ConsumerId(0) {
                            self.stats.stomp_out.count(qos, bytes);
                        }
                    }
                    Sent::TooLarge => {
                        self.give_up_exchange(now, slot, packet_id, DropReason::TooLarge, fx);
                    }
                }
            }
            _ => {}
        }
    }

    fn give_up_exchange(
        &mut self,
        now: Now,
        slot: u32,
        packet_id: NonZeroU16,
        reason: DropReason,
        fx: &mut Effects,
    ) {
        if let Some((entry, kept)) = self.window(slot).and_then(|window| window.abandon(packet_id)) {
            if kept {
                self.exchange_over(slot, packet_id, fx);
            }
            self.drop_entry(now, slot, entry, reason, fx);
        }
    }

    fn consumer_of(&self, slot: u32) -> ConsumerId {
        let session = self.sessions.get(slot as usize);
        session.and_then(|session| session.consumer.as_ref()).map_or(ConsumerId(0), |consumer| consumer.id)
    }

    pub(super) fn window(&mut self, slot: u32) -> Option<&mut Window> {
        Some(&mut self.session(slot)?.traffic.as_mut()?.window)
    }

    /// Publishers are refused for a session whose queue is full, if that is the policy.
    pub(super) fn congest(&mut self, slot: u32) {
        let limits = &self.policy.limits;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let is_full = |traffic: &Traffic| traffic.queue.is_full_for(0, limits);
        if limits.overflow == Overflow::Refuse
            && session.traffic.as_deref().is_some_and(is_full)
            && !std::mem::replace(&mut session.congested, true)
        {
            self.shared.set_congested(self.session_id(slot), true);
        }
    }

    /// A session whose queue stands below its limits may be published to again, and counts as fast enough.
    pub(super) fn uncongest(&mut self, slot: u32) {
        let limits = &self.policy.limits;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        if session.traffic.as_ref().is_some_and(|traffic| traffic.queue.is_full_for(0, limits)) {
            return;
        }
        let conn = session.conn;
        if std::mem::take(&mut session.congested) {
            self.shared.set_congested(self.session_id(slot), false);
        }
        if let Some(state) = conn.and_then(|conn| self.conn(conn)) {
            state.caught_up = true;
        }
    }

    /// Takes the next retained messages of a replay into the queue.
    fn replay(&mut self, now: Now, slot: u32) {
        if self.judge.asks {
            self.renew_rights(slot);
        }
        let policy = Arc::clone(&self.policy);
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let (rights, mut withheld) = (session.standing.rights.as_deref(), 0);
        let who = session.standing.identity(session.user.as_deref(), &session.client_id);
        let Some(traffic) = &mut session.traffic else { return };
        let Some(replay) = traffic.replays.front_mut() else { return };
        let queue = &mut traffic.queue;
        let (qos, ids) = (replay.qos, replay.subscription_ids.clone());
        let least = match &session.consumer {
            Some(consumer) if consumer.acknowledges => Qos::AtLeastOnce,
            _ => Qos::AtMostOnce,
        };
        let selector = replay.selector.clone();
        let step = self.shared.retained.replay(
            &replay.filter,
            &mut replay.cursor,
            replay.up_to_version,
            now.mono_ms,
            REPLAY_PORTION,
            |message| {
                if selector.as_ref().is_some_and(|selector| !selector.matches(message)) {
                    return ControlFlow::Continue(());
                }
                let topic = message.topic();
                if !policy.allows(rights, who, Action::Receive(topic.as_str())).is_allowed() {
                    withheld += 1;
                    return ControlFlow::Continue(());
                }
                let extra = ids
                    .as_ref()
                    .map(|ids| Box::new(Extra { subscription_ids: Some(ids.clone()), ..Extra::default() }));
                // RETAIN is 1 because the client subscribed [MQTT-3.3.1-8].
                queue.push(Entry {
                    message: message.clone(),
                    extra,
                    qos: message.qos().min(qos).max(least),
                    retain: true,
                    stored: false,
                });
                ControlFlow::Continue(())
            },
        );
        if step == Progress::Done {
            traffic.replays.pop_front();
        }
        self.stats.withheld += withheld;
    }
}

fn deliveries(entry: &Entry) -> u32 {
    entry.extra.as_ref().map_or(0, |extra| extra.deliveries)
}

fn ids(entry: &Entry) -> &[NonZeroU32] {
    entry.extra.as_ref().and_then(|extra| extra.subscription_ids.as_deref()).unwrap_or_default()
}
