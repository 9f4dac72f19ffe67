//! One worker's broker as a deterministic machine.
//!
//! [`Engine::handle`] takes what happened and says what is to be done; it never waits, reads no clock and draws no
//! random number. The same inputs in the same order give the same effects, which is what the simulation relies on.
//!
//! This file holds the tables and the dispatch; the rooms beside it hold the work.
//!
//! - Connections and sessions: `connect` (they come and go), `wills`, `deadlines` (what falls due).
//! - Messages in: `straight` (the short way of most of them), `publish`, `origin` (whose they are), `intake` (what a queue makes of their properties), `parked` (what
//!   waits for another worker), `answers` (acknowledgements and receipts in order, and what waits for the store).
//! - Messages out: `outbound`, `select` (who wants which), `acknowledge` (what clients have received), `subscribe`.
//! - STOMP: `talk` (what a connection asks for), `consume` (its consumers), `settle` (what becomes of deliveries),
//!   `commit` (transactions), `forget` (durable subscriptions end).
//! - Groups at their home: `share`, `queues` (what only queues have), `letters` (what dies there), `throttle` (who waits
//!   for them).
//! - Who may do what: `rights`.
//! - What an input leads to beyond itself: `follow_up`.
//! - The store and the rest: `recover` (what a restart finds), `resubmit` (what a store is told anew), `stats`.

mod acknowledge;
mod answers;
mod commit;
mod connect;
mod consume;
mod deadlines;
mod follow_up;
mod forget;
mod inspect;
mod intake;
mod letters;
mod operate;
mod origin;
mod outbound;
mod parked;
mod publish;
mod queues;
mod recover;
mod resubmit;
mod rights;
mod select;
mod settle;
mod share;
mod stats;
mod straight;
mod subscribe;
mod talk;
mod tap;
mod throttle;
mod wills;

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use crate::consumer::{Beats, ConsumerId};
use crate::effects::{DropReason, Effect, Effects, Event, Input, PeerMsg, Reply};
use crate::hash::{Map, Seed, Table};
use crate::id::{ConnId, Now, SessionId, WorkerId};
use crate::matches::{CacheLimits, MatchCache};
use crate::message::{Message, MessagePool};
use crate::policy::{Durability, Policy};
use crate::queue::Extra;
use crate::refusal::{Kind, Refusal};
use crate::session::{Session, Traffic};
use crate::shared::Shared;
use crate::store::{SessionNumber, Ticket};
use crate::timer::Wheel;
use crate::trie::GroupKey;

use answers::{Answers, Inbound, Waiting};
pub use inspect::{GroupNature, GroupView, SessionView, SubscriptionView};
use letters::Letter;
pub use outbound::Pulled;
use parked::{Parked, credit_portion};
pub use recover::recover;
use rights::Judge;
use share::{Ended, HomeGroup};
pub use stats::{Stats, Volume};
pub use straight::Straight;
use tap::Taps;
pub use tap::{HEARD_BYTES, Heard};
use throttle::Throttled;

/// Idle [`Traffic`] kept for reuse.
const SPARE_TRAFFIC: usize = 256;

/// No session; see [`ConnState::session`].
const NO_SESSION: u32 = u32::MAX;

/// What the engine knows of a connection.
#[derive(Debug)]
struct ConnState {
    generation: u32,
    /// Slot of its session, or [`NO_SESSION`] before CONNECT and after the end.
    session: u32,
    /// When its client was last heard, monotonic ms.
    heard_ms: u64,
    /// One and a half times the keep alive, ms; 0 for none [MQTT-3.1.2-22].
    silence_max_ms: u32,
    open: bool,
    is_v5: bool,
    /// Whether it stands in [`Effects::dirty`].
    dirty: bool,
    /// Whether its queue has stood below its limits since it came: a client whose queue filled up in its absence is
    /// not a slow consumer.
    caught_up: bool,
    /// Whether its socket took less than there was, or its client has more waiting than may be under way; as of the last
    /// pull.
    lags: bool,
    /// Whether a message of this MQTT 3 client was refused, which it can't be told: until it is disconnected nothing of
    /// it is accepted, or what it sends again would come behind what it sent later.
    withholding: bool,
    /// Its messages that are parked or wait for a full queue, its SUBSCRIBEs that other workers have to confirm, and the
    /// shell's reason to hold it; its reads are paused while there are any.
    parked: u32,
    /// QoS 1 and 2 messages it has sent that are not acknowledged, as its own Receive Maximum counts them (MQTT 5,
    /// section 4.9).
    unacknowledged: u32,
    /// What its listener says of durability.
    durability: Option<Durability>,
    /// Acknowledgements that wait for the store or for older ones; `None` when none waits.
    answers: Option<Box<Answers>>,
    /// Present for a connection of STOMP.
    talk: Option<Box<Talk>>,
}

/// What the engine knows of a STOMP connection besides.
#[derive(Debug, Default)]
struct Talk {
    beats: Beats,
    /// Slots of its consumers' sessions, in the order of their names.
    consumers: Vec<(ConsumerId, u32)>,
    /// Consumers with something to pull, each once.
    ready: VecDeque<u32>,
    /// Whether its client has said good-bye.
    left: bool,
    /// What [`Timer::Throttle`] is set for, monotonic ms; one that is not it does nothing.
    throttle_at_ms: Option<u64>,
}

impl Talk {
    fn place(&self, consumer: ConsumerId) -> Result<usize, usize> {
        self.consumers.binary_search_by_key(&consumer, |(id, _)| *id)
    }
}

impl ConnState {
    const VACANT: Self = Self {
        generation: 0,
        session: NO_SESSION,
        heard_ms: 0,
        silence_max_ms: 0,
        open: false,
        is_v5: false,
        dirty: false,
        caught_up: false,
        lags: false,
        withholding: false,
        parked: 0,
        unacknowledged: 0,
        durability: None,
        answers: None,
        talk: None,
    };
}

/// What a timer was set for; whoever it fires for checks that it still applies.
#[derive(Clone, Copy, Debug)]
enum Timer {
    Connect(ConnId),
    KeepAlive(ConnId),
    Beat(ConnId),
    RefuseTimeout(ConnId),
    Throttle { conn: ConnId, at_ms: u64 },
    Expiry { conn: ConnId, wall_ms: u64 },
    Revise,
    Group { slot: u32, incarnation: u32, at_ms: u64 },
    SessionExpiry { slot: u32, number: SessionNumber, absence: u32 },
    WillDelay { slot: u32, number: SessionNumber, absence: u32 },
    Sweep,
}

/// One worker's broker.
#[derive(Debug)]
pub struct Engine {
    id: WorkerId,
    shared: Arc<Shared>,
    policy: Arc<Policy>,
    judge: Judge,
    seed: Seed,
    conns: Vec<ConnState>,
    sessions: Slab<Session>,
    by_client: Table<u32>,
    groups: Slab<HomeGroup>,
    group_slots: Map<Arc<GroupKey>, u32>,
    next_group: u32,
    /// Groups whose backlog may move.
    groups_to_drain: Vec<u32>,
    /// How many changes among the kept groups the store was told of, and which groups' last ones; see
    /// [`Engine::tell_store_of_groups`].
    groups_known: u64,
    said: Map<SessionNumber, u64>,
    /// Groups that have ended with messages lent, by the marks of their loans.
    ended: Map<u64, Ended>,
    /// How long [`Effects::list`] was when the turn began.
    turn_start: usize,
    /// Consumers whose durable subscriptions others have taken over; emptied like the wills.
    evicted: Vec<SessionId>,
    /// Dead letters on their way; emptied like the wills.
    letters: VecDeque<Letter>,
    /// Messages that wait for full queues.
    throttled: Throttled,
    /// Wills that are due; emptied, like the groups to drain, at the end of every [`Engine::handle`] and
    /// [`Engine::pull`].
    wills: VecDeque<Arc<Message>>,
    /// Connections that are owed few enough answers to be read again; emptied likewise.
    to_resume: Vec<ConnId>,
    waiting: Slab<Waiting>,
    /// What in `waiting` is the next step of an inbound QoS 2 exchange, so that a repeated packet finds it at once.
    inbound: Map<Inbound, Ticket>,
    /// Inbound QoS 2 messages that wait for the store, by publisher, in the order in which they go on.
    holds: Map<SessionId, VecDeque<Ticket>>,
    cache: MatchCache,
    pool: MessagePool,
    #[allow(
        clippy::vec_box,
        reason = "sessions hold the box: it moves between them and the pool without a copy"
    )]
    spare_traffic: Vec<Box<Traffic>>,
    wheel: Wheel<Timer>,
    /// While it is filled after a restart: groups are not yet what their members make of them.
    recovering: bool,
    /// Data messages that may still be sent to each worker. Below zero after one message to more groups than there
    /// was credit for: what was sent is never forgotten.
    credit: Vec<i64>,
    /// Data messages taken in from each worker and not yet credited.
    owed: Vec<u32>,
    parked: VecDeque<Parked>,
    taps: Taps,
    /// When a drop of each kind was last logged; at most one line a second.
    drop_logged_ms: [u64; DropReason::ALL.len()],
    /// How many of each kind have been counted since, and are still to be told of.
    drop_untold: [u64; DropReason::ALL.len()],
    stats: Stats,
}

impl Engine {
    /// The engine of worker `id`.
    #[must_use]
    pub fn new(id: WorkerId, shared: Arc<Shared>, policy: Arc<Policy>, now: Now) -> Self {
        let seed = shared.seed().derive(u64::from(id.0) + 16);
        let workers = usize::from(shared.workers());
        let mut wheel = Wheel::new(now.mono_ms);
        wheel.insert(now.mono_ms + deadlines::SWEEP_INTERVAL_MS, Timer::Sweep);
        Self {
            id,
            judge: Judge::new(&seed.derive(7), &policy),
            conns: Vec::new(),
            sessions: Slab::new(),
            by_client: Table::new(),
            groups: Slab::new(),
            group_slots: Map::with_hasher(seed.derive(1)),
            next_group: 0,
            groups_to_drain: Vec::new(),
            groups_known: 0,
            said: Map::with_hasher(seed.derive(4)),
            ended: Map::with_hasher(seed.derive(6)),
            turn_start: 0,
            evicted: Vec::new(),
            letters: VecDeque::new(),
            throttled: Throttled::new(&seed.derive(5)),
            wills: VecDeque::new(),
            to_resume: Vec::new(),
            waiting: Slab::new(),
            holds: Map::with_hasher(seed.derive(2)),
            inbound: Map::with_hasher(seed.derive(3)),
            cache: MatchCache::new(CacheLimits::default()),
            pool: shared.message_pool(),
            spare_traffic: Vec::new(),
            wheel,
            credit: vec![i64::from(shared.peer_window()); workers],
            owed: vec![0; workers],
            recovering: false,
            parked: VecDeque::new(),
            taps: Taps::default(),
            drop_logged_ms: [0; DropReason::ALL.len()],
            drop_untold: [0; DropReason::ALL.len()],
            stats: Stats::default(),
            seed,
            shared,
            policy,
        }
    }

    /// This engine's worker.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// What it shares with the others.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The limits and rights in force.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Counters and gauges, for metrics and tests.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.clients().count() as u64,
            connected: self.clients().filter(|session| session.conn.is_some()).count() as u64,
            queued: (self.groups.iter().map(|(_, home)| home.backlog()).sum::<usize>()
                + self.traffic().map(|traffic| traffic.queue.len()).sum::<usize>())
                as u64,
            in_flight: self.traffic().map(|traffic| traffic.window.len() as u64).sum(),
            loans: self.groups.iter().map(|(_, home)| home.loans() as u64).sum(),
            // The broker's, and so one worker's alone: these numbers are summed up.
            queues: if self.id == WorkerId(0) { self.shared.kept_groups.len() as u64 } else { 0 },
            parked: self.parked.len() as u64,
            throttled: self.throttled.len() as u64,
            awaited: self.waiting.len() as u64,
            mail_out: self.credit.iter().map(|&credit| i64::from(self.shared.peer_window()) - credit).sum(),
            mail_in: self.owed.iter().map(|&owed| i64::from(owed)).sum(),
            ..self.stats
        }
    }

    /// Every session but the consumers, which are parts of one.
    fn clients(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().map(|(_, session)| session).filter(|session| session.consumer.is_none())
    }

    fn traffic(&self) -> impl Iterator<Item = &Traffic> {
        self.sessions.iter().filter_map(|(_, session)| session.traffic.as_deref())
    }

    /// When [`Input::Tick`] is next needed, monotonic ms.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        self.wheel.next_wake_ms()
    }

    /// Takes one input and appends what is to be done to `fx`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, fx: &mut Effects) {
        self.turn_start = fx.list.len();
        match input {
            Input::Publish(conn, publish) => {
                if self.hear(now, conn) {
                    self.publish(now, conn, &publish, fx);
                }
            }
            Input::Ack { conn, kind, packet_id, failed } => {
                if self.hear(now, conn) {
                    self.acknowledge(now, conn, kind, packet_id, failed, fx);
                }
            }
            Input::Peer(from, message) => self.peer(now, from, message, fx),
            Input::Store(event) => self.settled(now, event, fx),
            Input::Ping(conn) => {
                if self.hear(now, conn) {
                    fx.reply(conn, Reply::Pong);
                }
            }
            Input::Opened(conn) => self.opened(now, conn),
            Input::Connect(conn, connect) => self.connect(now, conn, &connect, fx),
            Input::Subscribe { conn, packet_id, id, selector, filters } => {
                if self.hear(now, conn) {
                    self.subscribe(now, conn, packet_id, id, selector, filters, fx);
                }
            }
            Input::Unsubscribe { conn, packet_id, filters } => {
                if self.hear(now, conn) {
                    self.unsubscribe(now, conn, packet_id, filters, fx);
                }
            }
            Input::Disconnect { conn, with_will, expiry_s } => {
                if self.hear(now, conn) {
                    self.disconnect(now, conn, with_will, expiry_s, fx);
                }
            }
            Input::Request(conn, request, receipt) => {
                if self.hear(now, conn) {
                    self.request(now, conn, &request, receipt, fx);
                }
            }
            Input::Heard(conn) => {
                self.hear(now, conn);
            }
            Input::Hold(conn) => _ = self.pause_reads(conn, fx),
            Input::Release(conn) => self.resume_reads(now, conn, fx),
            Input::Blocked(conn) => self.note_blocked(conn),
            Input::Closed(conn) => self.closed(now, conn, fx),
            Input::Tick => self.tick(now, fx),
            Input::Groups(conn, groups) => self.groups_changed(conn, groups),
            Input::Policy(policy) => self.policy_changed(now, policy),
            Input::Announce(publish) => self.announce(now, &publish, fx),
            Input::Purge { key, most } => self.purge(now, key, most, fx),
            Input::Move { from, to, most } => self.move_waiting(now, from, to, most, fx),
            Input::Shutdown { keeps_wills } => self.shutdown(now, keeps_wills, fx),
        }
        if self.is_revising() {
            self.revise_some(now, fx);
        }
        self.work_off(now, fx);
    }

    /// Notes a sign of life; false if the connection has no session (any more), so that its input is for nobody.
    fn hear(&mut self, now: Now, conn: ConnId) -> bool {
        match self.conns.get_mut(conn.slot as usize) {
            Some(state) if state.generation == conn.generation && state.session != NO_SESSION => {
                state.heard_ms = now.mono_ms;
                true
            }
            _ => false,
        }
    }

    fn conn(&mut self, conn: ConnId) -> Option<&mut ConnState> {
        self.conns
            .get_mut(conn.slot as usize)
            .filter(|state| state.open && state.generation == conn.generation)
    }

    /// Slot of the session that a connection is attached to.
    fn session_slot(&self, conn: ConnId) -> Option<u32> {
        let state = self.conns.get(conn.slot as usize)?;
        (state.generation == conn.generation && state.session != NO_SESSION).then_some(state.session)
    }

    /// The session in `slot`, which the caller has just found there.
    fn session(&mut self, slot: u32) -> Option<&mut Session> {
        self.sessions.get_mut(slot as usize)
    }

    /// Slot of a session by its full name; `None` if it has ended.
    fn slot_of(&self, session: SessionId) -> Option<u32> {
        let found = self.sessions.get(session.slot as usize)?;
        (session.worker == self.id && found.number.0 == session.incarnation).then_some(session.slot)
    }

    fn session_id(&self, slot: u32) -> SessionId {
        let incarnation = self.sessions.get(slot as usize).map_or(0, |session| session.number.0);
        SessionId { worker: self.id, slot, incarnation }
    }

    fn opened(&mut self, now: Now, conn: ConnId) {
        let place = conn.slot as usize;
        while self.conns.len() <= place {
            self.conns.push(ConnState::VACANT);
        }
        if let Some(state) = self.conns.get_mut(place) {
            *state = ConnState {
                generation: conn.generation,
                open: true,
                heard_ms: now.mono_ms,
                ..ConnState::VACANT
            };
        }
        self.arm(now.mono_ms + self.policy.limits.connect_timeout_ms, Timer::Connect(conn));
    }

    /// Lets a connection's queue be pulled.
    fn mark_dirty(&mut self, conn: ConnId, fx: &mut Effects) {
        if let Some(state) = self.conn(conn)
            && !state.dirty
        {
            state.dirty = true;
            fx.dirty.push(conn);
        }
    }

    /// Ends a connection for a reason that the peer is told; its session sees an abnormal end.
    fn refuse(&mut self, now: Now, conn: ConnId, kind: Kind, detail: String, fx: &mut Effects) {
        fx.push(Effect::Close(conn, Refusal::new(kind, detail)));
        self.detach(now, conn, false, fx);
    }

    /// Counts a message that does not reach its recipient, and logs the first of each kind in a second.
    fn count_drop(&mut self, now: Now, reason: DropReason, whose: &str, fx: &mut Effects) {
        if let Some(counter) = self.stats.dropped.get_mut(reason as usize) {
            *counter += 1;
        }
        self.taps.note_drop(reason, whose);
        let place = reason as usize;
        if let (Some(next_ms), Some(untold)) =
            (self.drop_logged_ms.get_mut(place), self.drop_untold.get_mut(place))
        {
            *untold += 1;
            if now.mono_ms >= *next_ms {
                *next_ms = now.mono_ms + 1_000;
                let count = std::mem::take(untold);
                fx.push(Effect::Log(Event::Dropped { whose: whose.into(), reason, count }));
            }
        }
    }

    /// Tells of what has been dropped since the last event of its kind, when a burst is over.
    fn tell_of_drops(&mut self, fx: &mut Effects) {
        for (reason, untold) in DropReason::ALL.into_iter().zip(&mut self.drop_untold) {
            if *untold > 0 {
                let count = std::mem::take(untold);
                fx.push(Effect::Log(Event::Dropped { whose: "several".into(), reason, count }));
            }
        }
    }

    fn peer(&mut self, now: Now, from: WorkerId, message: PeerMsg, fx: &mut Effects) {
        if message.is_data()
            && let Some(owed) = self.owed.get_mut(from.index())
        {
            *owed += 1;
            if *owed >= credit_portion(self.shared.peer_window()) {
                fx.push(Effect::Peer(from, PeerMsg::Credit(std::mem::take(owed))));
            }
        }
        match message {
            PeerMsg::Deliver(message, set) => self.deliver_here(now, message, &set, fx),
            PeerMsg::GroupPublish(key, message, number) => {
                self.group_message(now, &key, &message, number, fx);
            }
            PeerMsg::Lend { session, message, qos, retain, subscription_ids, lease, group, deliveries } => {
                let extra = Extra { subscription_ids, lease, group, deliveries, is_owed: false };
                self.lend_here(now, session, message, qos, retain, extra, fx);
            }
            PeerMsg::LeaseEnded(lease, outcome) => self.lease_ended(now, lease, outcome, fx),
            PeerMsg::Join { key, member, options, ticket } => {
                let joined = self.join_here(&key, member, options.as_deref(), fx);
                fx.push(Effect::Peer(from, PeerMsg::Joined(ticket, joined)));
            }
            PeerMsg::Joined(ticket, joined) => self.joined(now, ticket, joined, fx),
            PeerMsg::Browse { key, session, ticket } => {
                let messages = self.browse_here(&key);
                fx.push(Effect::Peer(from, PeerMsg::Browsed { session, ticket, messages }));
            }
            PeerMsg::Browsed { session, ticket, messages } => {
                self.browsed(now, session, ticket, messages, fx);
            }
            PeerMsg::Forget(key, ticket) => {
                let forgotten = self.forget_here(now, &key, fx);
                fx.push(Effect::Peer(from, PeerMsg::Joined(ticket, forgotten)));
            }
            PeerMsg::Evict(session) => self.evict(now, session, fx),
            PeerMsg::Uncongested(key) => self.uncongested(&key, fx),
            PeerMsg::Leave(key, session) => self.leave_here(now, &key, session, fx),
            PeerMsg::Presence { key, session, online, durable } => {
                self.presence_here(&key, session, online, durable, fx);
            }
            PeerMsg::Credit(count) => {
                if let Some(credit) = self.credit.get_mut(from.index()) {
                    *credit += i64::from(count);
                }
                self.unpark(now, fx);
                let waits = self.groups.iter().filter(|(_, home)| home.backlog() > 0);
                self.groups_to_drain.extend(waits.map(|(slot, _)| slot as u32));
            }
        }
    }

    /// Sends to another worker; data takes one of its credits, which the caller has made sure of.
    fn send_peer(&mut self, to: WorkerId, message: PeerMsg, fx: &mut Effects) {
        if message.is_data()
            && let Some(credit) = self.credit.get_mut(to.index())
        {
            *credit -= 1;
        }
        fx.push(Effect::Peer(to, message));
    }

    fn ticket(&mut self, waiting: Waiting) -> Ticket {
        let inbound = waiting.inbound();
        let ticket = Ticket(self.waiting.insert(waiting) as u64);
        if let Some(inbound) = inbound {
            self.inbound.insert(inbound, ticket);
        }
        ticket
    }
}

#[cfg(test)]
mod tests;
