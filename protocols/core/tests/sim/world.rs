//! The world around the engines: links, stores, connections and clients, every step of it drawn from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use noctule_core::effects::{
    Connect, Effect, Effects, FilterRequest, Input, PeerMsg, Reply, RetainHandling, WillRequest,
};
use noctule_core::engine::{Engine, Pulled};
use noctule_core::hash::Seed;
use noctule_core::id::{ConnId, Now, Qos, WorkerId};
use noctule_core::message::Message;
use noctule_core::message::{Fields, Publish};
use noctule_core::policy::{Limits, Policy};
use noctule_core::retained::RetainedLimits;
use noctule_core::shared::Shared;
use noctule_core::store::{
    LoadRequest, Loaded, LoadedMessage, Recipient, SessionNumber, StoreEvent, StoreOp, Ticket,
};
use noctule_core::topic::TopicName;

use crate::client::{Client, Down, Fate, Up};
use crate::ledger::{Ledger, Record};
use crate::outbox::{Outbox, number};
use crate::rng::Rng;

/// What a run does and does not do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) workers: u16,
    pub(crate) limits: Limits,
    pub(crate) peer_window: u32,
    /// Whether the store fails now and then.
    pub(crate) store_fails: bool,
    /// Whether messages expire.
    pub(crate) expiry: bool,
    /// Clients whose sessions come and go.
    pub(crate) drifters: usize,
    pub(crate) keepers: usize,
    pub(crate) steps: usize,
}

/// One connection, both of its ends and the wires between them.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) client: usize,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    /// The client's end is open.
    client_open: bool,
    /// The broker's shell reads and writes it.
    server_open: bool,
    paused: bool,
    /// In the list of what is to be pulled.
    marked: bool,
    will: Option<u32>,
    said_goodbye: bool,
    /// Publications taken from it, by packet id.
    pub(crate) publishes: BTreeMap<u16, u32>,
    /// PUBRECs taken, whose PUBREL is to come in this order.
    pub(crate) recs: VecDeque<NonZeroU16>,
}

/// One worker: its engine, its store and its connections.
#[derive(Debug)]
struct Worker {
    engine: Engine,
    pending: Vec<(Ticket, Record)>,
    /// Messages that its store is to give back.
    loads: Vec<LoadRequest>,
    conns: Vec<Conn>,
}

#[derive(Debug, Default)]
struct Link {
    control: VecDeque<PeerMsg>,
    data: VecDeque<PeerMsg>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Now,
    workers: Vec<Worker>,
    shared: Arc<Shared>,
    links: BTreeMap<(usize, usize), Link>,
    pub(crate) clients: Vec<Client>,
    pub(crate) ledger: Ledger,
    /// What the stores were given to keep, by record.
    kept: BTreeMap<u64, (Arc<Message>, Box<[Recipient]>)>,
    /// How often a message came back out of a store.
    pub(crate) loaded: u64,
    generation: u32,
    /// The first refusals since the storm was over, for the words of a failure.
    pub(crate) refusals: VecDeque<String>,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, clients: Vec<Client>) -> Self {
        let seed = Seed::new(plan.seed);
        let shared = Shared::new(&seed, plan.workers, RetainedLimits::default());
        let shared = Arc::new(shared.with_peer_window(plan.peer_window));
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let policy = Arc::new(Policy { epoch: 1, limits: plan.limits.clone(), ..Policy::default() });
        let workers = (0..plan.workers)
            .map(|id| Worker {
                engine: Engine::new(WorkerId(id), Arc::clone(&shared), Arc::clone(&policy), now),
                pending: Vec::new(),
                loads: Vec::new(),
                conns: Vec::new(),
            })
            .collect();
        Self {
            rng: Rng::new(plan.seed),
            ledger: Ledger::default(),
            kept: BTreeMap::new(),
            loaded: 0,
            now,
            workers,
            shared,
            links: BTreeMap::new(),
            clients,
            generation: 0,
            refusals: VecDeque::new(),
            steps: 0,
            plan,
        }
    }

    pub(crate) fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.workers.iter().map(|worker| &worker.engine)
    }

    pub(crate) fn retained(&self) -> &noctule_core::retained::Retained {
        &self.shared.retained
    }

    fn run(&mut self, worker: usize, input: Input<'_>) {
        let mut fx = Effects::default();
        self.workers[worker].engine.handle(self.now, input, &mut fx);
        self.apply(worker, fx);
    }

    fn conn(&mut self, worker: usize, id: ConnId) -> Option<&mut Conn> {
        self.workers[worker].conns.iter_mut().find(|conn| conn.id == id)
    }

    fn apply(&mut self, worker: usize, fx: Effects) {
        for effect in fx.list {
            match effect {
                Effect::Reply(id, reply) => {
                    let Some(at) = self.workers[worker].conns.iter().position(|conn| conn.id == id) else {
                        continue;
                    };
                    let pending = &self.workers[worker].pending;
                    let conn = &self.workers[worker].conns[at];
                    let client = &self.clients[conn.client];
                    self.ledger.reply(conn, client, &reply, pending);
                    let conn = &mut self.workers[worker].conns[at];
                    if let Reply::Ack { kind: noctule_core::delivery::AckKind::PubRel, packet_id, .. } =
                        &reply
                    {
                        conn.recs.retain(|rec| rec != packet_id);
                    }
                    assert!(conn.server_open, "an answer after the end of {id}: {reply:?}");
                    conn.down.push_back(Down::Reply(reply));
                }
                Effect::Close(id, refusal) => {
                    self.refusals.push_back(refusal.to_string());
                    self.refusals.truncate(12);
                    if let Some(conn) = self.conn(worker, id) {
                        conn.server_open = false;
                        conn.down.push_back(Down::Closed);
                    }
                }
                Effect::Peer(to, message) => {
                    assert_ne!(usize::from(to.0), worker, "mail to itself");
                    let link = self.links.entry((worker, to.index())).or_default();
                    if message.is_data() {
                        link.data.push_back(message);
                        // A message to several groups may exceed the window once.
                        let most = self.plan.peer_window as usize + 8;
                        assert!(link.data.len() <= most, "{} mails on their way", link.data.len());
                    } else {
                        link.control.push_back(message);
                    }
                }
                Effect::Store(ticket, op) => {
                    if let StoreOp::Publish { message, recipients, .. } = &op
                        && !recipients.is_empty()
                    {
                        let kept = (Arc::clone(message), recipients.clone());
                        let known = self.kept.insert(message.record(), kept);
                        assert!(known.is_none(), "record {} given twice", message.record());
                    }
                    let record = self.ledger.submitted(&op, ticket);
                    if ticket != Ticket::NONE {
                        self.workers[worker].pending.push((ticket, record));
                    } else if let StoreOp::SessionKept { .. } = op {
                        assert_eq!(record, Record::Other);
                    }
                }
                Effect::Load(request) => self.workers[worker].loads.push(request),
                Effect::Pause(id) => {
                    let conn = self.conn(worker, id).unwrap();
                    assert!(!conn.paused, "paused twice");
                    conn.paused = true;
                }
                Effect::Resume(id) => {
                    if let Some(conn) = self.conn(worker, id) {
                        assert!(conn.paused, "resumed without a pause");
                        conn.paused = false;
                    }
                }
                Effect::Log(_) => {}
            }
        }
        for id in fx.dirty {
            if let Some(conn) = self.conn(worker, id) {
                assert!(!conn.marked, "{id} marked twice");
                conn.marked = true;
            }
        }
    }

    // ---- clients -------------------------------------------------------------------------------------------------

    pub(crate) fn open(&mut self, client: usize, clean_start: bool) {
        let who = &self.clients[client];
        assert!(who.conn.is_none());
        let worker = self.shared.home_of_client(&who.id).index();
        self.generation += 1;
        let mut slot = 0;
        while self.workers[worker].conns.iter().any(|conn| conn.id.slot == slot) {
            slot += 1;
        }
        let id = ConnId { slot, generation: self.generation };
        let will = (!who.keeper && self.rng.chance(60))
            .then(|| self.ledger.new_message(client, format!("w/{}", who.id), Qos::ExactlyOnce, false, true));
        self.workers[worker].conns.push(Conn {
            id,
            client,
            up: VecDeque::new(),
            down: VecDeque::new(),
            client_open: true,
            server_open: true,
            paused: false,
            marked: false,
            will,
            said_goodbye: false,
            publishes: BTreeMap::new(),
            recs: VecDeque::new(),
        });
        let who = &mut self.clients[client];
        if clean_start {
            // Now, not when CONNACK comes: it may get lost [MQTT-3.1.2-4].
            who.forget();
        }
        who.conn = Some((worker, id));
        who.will = will;
        let (name, v5, expiry_s) = (who.id.clone(), who.v5, who.expiry_s);
        let (receive_maximum, keep_alive_s) = (who.receive_maximum, who.keep_alive_s);
        self.run(worker, Input::Opened(id));
        let topic = format!("w/{name}");
        let payload = will.unwrap_or_default().to_be_bytes();
        let will = will.map(|_| WillRequest {
            publish: Publish {
                topic: TopicName::from_validated(&topic),
                fields: Fields::default(),
                payload: &payload,
                qos: Qos::ExactlyOnce,
                retain: false,
                dup: false,
                packet_id: None,
                expiry_s: None,
            },
            delay_s: if v5 && self.rng.chance(30) { 3 } else { 0 },
        });
        if let Some(will) = &will {
            self.ledger.will_delayed(number(&payload), will.delay_s > 0);
        }
        let connect = Connect {
            client_id: &name,
            user: None,
            clean_start,
            expiry_s,
            receive_maximum: NonZeroU16::new(receive_maximum).unwrap(),
            keep_alive_s,
            is_v5: v5,
            will,
            durability: None,
        };
        self.run(worker, Input::Connect(id, connect));
    }

    /// The client sends; what the connection has lost before is lost.
    pub(crate) fn send(&mut self, client: usize, packets: impl IntoIterator<Item = Up>) {
        let Some((worker, id)) = self.clients[client].conn else { return };
        if let Some(conn) = self.conn(worker, id) {
            conn.up.extend(packets);
        }
    }

    pub(crate) fn publish(&mut self, client: usize) {
        let quota = usize::from(self.plan.limits.receive_maximum).min(8);
        let who = &self.clients[client];
        if !who.connected || who.out.len() >= quota || (!who.subscribed && !who.subs.is_empty()) {
            return;
        }
        let qos = self.rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
        let (topic, retain) = match self.rng.below(10) {
            0..5 => (format!("a/{}", self.rng.below(3)), false),
            5..9 => (format!("s/{}", self.rng.below(2)), false),
            _ => (format!("r/{client}"), true),
        };
        let msg = self.ledger.new_message(client, topic, qos, retain, false);
        let packet = self.clients[client].publish(msg, qos);
        self.send(client, [packet]);
    }

    /// Both ends lose the connection; what was on the wires is lost. The broker may notice only later.
    pub(crate) fn cut(&mut self, client: usize) {
        let Some((worker, id)) = self.clients[client].conn else { return };
        self.clients[client].lost();
        let heard = self.rng.below(4);
        if let Some(conn) = self.conn(worker, id) {
            conn.client_open = false;
            conn.down.clear();
            // Some of what the client sent may have arrived.
            conn.up.truncate(heard);
        }
    }

    fn client_step(&mut self, worker: usize, at: usize) -> bool {
        let conn = &mut self.workers[worker].conns[at];
        if !conn.client_open {
            return false;
        }
        let client = conn.client;
        let Some(packet) = conn.down.pop_front() else { return false };
        if let Down::Closed = packet {
            conn.client_open = false;
            conn.up.clear();
            self.clients[client].lost();
            return true;
        }
        let refuses = !self.clients[client].keeper && self.clients[client].v5 && self.rng.chance(5);
        let ledger = &mut self.ledger;
        let mut fates = |msg, fate: Fate| ledger.fate(msg, fate);
        let answers = self.clients[client].take(packet.clone(), refuses, &mut fates);
        let answers =
            answers.unwrap_or_else(|wrong| panic!("{}: {wrong} at {packet:?}", self.clients[client].id));
        self.send(client, answers);
        true
    }

    // ---- the broker's shell ---------------------------------------------------------------------------------------

    /// The shell reads one packet of a connection, or notices its end.
    fn read(&mut self, worker: usize, at: usize) -> bool {
        let conn = &mut self.workers[worker].conns[at];
        let (id, client) = (conn.id, conn.client);
        if !conn.server_open {
            if conn.client_open && !conn.down.is_empty() {
                return false;
            }
            return self.close(worker, at);
        }
        if conn.paused && conn.client_open && !self.rng.chance(5) {
            return false;
        }
        let conn = &mut self.workers[worker].conns[at];
        let Some(packet) = conn.up.pop_front() else {
            return !conn.client_open && self.close(worker, at);
        };
        match packet {
            Up::Publish { pid, msg, dup } => {
                if let Some(pid) = pid {
                    conn.publishes.insert(pid.get(), msg);
                }
                self.ledger.taken_in(msg, dup);
                let sent = self.ledger.message(msg);
                let (topic, qos, retain) = (sent.topic.clone(), sent.qos, sent.retain);
                let expiry_s = (self.plan.expiry && msg.is_multiple_of(3)).then_some(2);
                let payload = msg.to_be_bytes();
                let publish = Publish {
                    topic: TopicName::from_validated(&topic),
                    fields: Fields::default(),
                    payload: &payload,
                    qos,
                    retain,
                    dup,
                    packet_id: pid,
                    expiry_s,
                };
                self.run(worker, Input::Publish(id, publish));
            }
            Up::Ack { kind, pid, failed } => {
                if self.ledger.acknowledged(&self.clients[client], kind, pid, failed) {
                    self.workers[worker].conns[at].recs.push_back(pid);
                }
                self.run(worker, Input::Ack { conn: id, kind, packet_id: pid, failed });
            }
            Up::Subscribe { pid } => {
                let who = &self.clients[client];
                let written: Vec<_> = who.subs.iter().map(crate::client::Sub::written).collect();
                let filters: Vec<_> = who
                    .subs
                    .iter()
                    .zip(&written)
                    .map(|(sub, filter)| FilterRequest {
                        filter,
                        qos: sub.qos,
                        no_local: sub.no_local,
                        retain_as_published: false,
                        retain_handling: RetainHandling::Never,
                    })
                    .collect();
                let sub_id = who.v5.then(|| NonZeroU32::new(7).unwrap());
                self.run(
                    worker,
                    Input::Subscribe { conn: id, packet_id: pid, id: sub_id, filters: &filters },
                );
            }
            Up::Ping => self.run(worker, Input::Ping(id)),
            Up::Disconnect { with_will } => {
                conn.said_goodbye = !with_will;
                conn.server_open = false;
                conn.down.push_back(Down::Closed);
                self.run(worker, Input::Disconnect { conn: id, with_will, expiry_s: None });
            }
        }
        true
    }

    fn close(&mut self, worker: usize, at: usize) -> bool {
        let conn = self.workers[worker].conns.remove(at);
        if let Some(will) = conn.will {
            self.ledger.connection_ended(will, conn.said_goodbye);
        }
        if conn.client_open {
            self.clients[conn.client].lost();
        }
        self.run(worker, Input::Closed(conn.id));
        true
    }

    fn pull(&mut self, worker: usize, at: usize) -> bool {
        let conn = &mut self.workers[worker].conns[at];
        if !std::mem::take(&mut conn.marked) {
            return false;
        }
        let (id, client) = (conn.id, conn.client);
        let too_large = if self.clients[client].keeper { 0 } else { 11 };
        let mut outbox = Outbox { room: 1 + self.rng.below(6), packets: Vec::new(), too_large };
        let mut fx = Effects::default();
        let pulled = self.workers[worker].engine.pull(self.now, id, &mut outbox, &mut fx);
        if pulled == Pulled::More {
            self.conn(worker, id).unwrap().marked = true;
        }
        for (packet, record) in outbox.packets {
            let who = &self.clients[client];
            let window = who.receive_maximum.min(self.plan.limits.max_inflight);
            self.ledger.written(who, id, &packet, record, window, &self.workers[worker].pending);
            let conn = self.conn(worker, id).unwrap();
            if conn.client_open && conn.server_open {
                conn.down.push_back(packet);
            }
        }
        self.apply(worker, fx);
        true
    }

    /// The store gives back what a session has asked for.
    fn load(&mut self, worker: usize) -> bool {
        let Some(LoadRequest { session, records }) = self.workers[worker].loads.pop() else { return false };
        let number = SessionNumber(session.incarnation);
        let messages = records
            .iter()
            .map(|record| {
                let (message, recipients) = &self.kept[record];
                let recipient = recipients.iter().find(|recipient| recipient.session == number);
                assert!(recipient.is_some(), "{record} is asked for by somebody it is not kept for");
                self.loaded += 1;
                let subscription_ids = recipient.and_then(|recipient| recipient.subscription_ids.clone());
                (*record, Some(LoadedMessage { message: Arc::clone(message), subscription_ids }))
            })
            .collect();
        self.run(worker, Input::Store(StoreEvent::Loaded(Box::new(Loaded { session, messages }))));
        true
    }

    fn settle(&mut self, worker: usize) -> bool {
        if self.rng.chance(30) && self.load(worker) {
            return true;
        }
        let count = self.workers[worker].pending.len();
        if count == 0 {
            return self.load(worker);
        }
        let at = self.rng.below(count);
        let (ticket, record) = self.workers[worker].pending.remove(at);
        let fails = self.plan.store_fails && self.rng.chance(4);
        if !fails {
            self.ledger.settled(record);
        }
        let event = if fails { StoreEvent::Failed(ticket) } else { StoreEvent::Settled(ticket) };
        self.run(worker, Input::Store(event));
        true
    }

    fn mail(&mut self) -> bool {
        let full: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| !link.control.is_empty() || !link.data.is_empty())
            .map(|(&pair, _)| pair)
            .collect();
        if full.is_empty() {
            return false;
        }
        let (from, to) = self.rng.pick(&full);
        // Each lane keeps its order; control may overtake.
        let prefer_control = self.rng.chance(50);
        let link = self.links.get_mut(&(from, to)).unwrap();
        let message = if prefer_control || link.data.is_empty() {
            link.control.pop_front().or_else(|| link.data.pop_front())
        } else {
            link.data.pop_front()
        };
        self.run(to, Input::Peer(WorkerId(from as u16), message.unwrap()));
        true
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        for worker in 0..self.workers.len() {
            if self.workers[worker].engine.next_wake_ms().is_some_and(|due| due <= self.now.mono_ms) {
                self.run(worker, Input::Tick);
            }
        }
    }

    /// One step of anything but clients' own decisions; false if that had nothing to do.
    pub(crate) fn step(&mut self) -> bool {
        self.steps += 1;
        let kind = self.rng.below(6);
        if kind == 0 {
            return self.mail();
        }
        let worker = self.rng.below(self.workers.len());
        if kind == 1 {
            return self.settle(worker);
        }
        if self.workers[worker].conns.is_empty() {
            return false;
        }
        let at = self.rng.below(self.workers[worker].conns.len());
        match kind {
            2 => self.pull(worker, at),
            3 => self.read(worker, at),
            4 => self.client_step(worker, at),
            _ => {
                let client = self.workers[worker].conns[at].client;
                if self.clients[client].conn != Some((worker, self.workers[worker].conns[at].id)) {
                    return false;
                }
                let ack = self.clients[client].send_ack();
                let sent = ack.is_some();
                self.send(client, ack);
                sent
            }
        }
    }

    /// Whether nothing is on its way anywhere.
    pub(crate) fn is_quiet(&self) -> bool {
        self.links.values().all(|link| link.control.is_empty() && link.data.is_empty())
            && self.clients.iter().all(|client| client.acks.is_empty() && client.out.is_empty())
            && self.workers.iter().all(|worker| {
                worker.pending.is_empty()
                    && worker.loads.is_empty()
                    && worker.conns.iter().all(|conn| {
                        conn.client_open
                            && conn.server_open
                            && conn.up.is_empty()
                            && conn.down.is_empty()
                            && !conn.marked
                    })
            })
    }

    /// Client ids of the connections, for the words of a failure.
    pub(crate) fn unquiet(&self) -> BTreeSet<String> {
        let mut words: BTreeSet<_> = self.refusals.iter().cloned().collect();
        for (pair, link) in &self.links {
            words.insert(format!("link {pair:?}: {} control, {} data", link.control.len(), link.data.len()));
        }
        for client in &self.clients {
            words.insert(format!(
                "{}: conn {:?}, connected {}, subscribed {}, out {:?}, acks {:?}",
                client.id, client.conn, client.connected, client.subscribed, client.out, client.acks
            ));
        }
        for (at, worker) in self.workers.iter().enumerate() {
            words.insert(format!("worker {at}: pending {:?}, {:?}", worker.pending, worker.engine.stats()));
            for conn in &worker.conns {
                words.insert(format!("worker {at} {conn:?}"));
            }
        }
        words
    }
}
