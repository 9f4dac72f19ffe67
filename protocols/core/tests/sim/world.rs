//! The world around the engines: links, stores, connections and clients, every step of it drawn from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;

use noctule_core::delivery::AckKind;
use noctule_core::effects::{Effect, Effects, Input, PeerMsg, Reply};
use noctule_core::engine::Engine;
use noctule_core::hash::Seed;
use noctule_core::id::{ConnId, Now, WorkerId};
use noctule_core::policy::{Durability, DurabilityRules, Limits, Policy};
use noctule_core::retained::RetainedLimits;
use noctule_core::shared::Shared;
use noctule_core::store::StoreEvent;
use noctule_core::topic::{TopicFilter, TopicLimits};

use crate::book::{Book, State};
use crate::client::{Client, Down, Up};
use crate::ledger::{Ledger, Record};
use crate::rng::Rng;
use crate::store::{Answer, Store};
use crate::talk::{Draft, Talk};
use crate::talker::Talker;
use crate::taps::taps;

/// What a run does and does not do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) workers: u16,
    pub(crate) limits: Limits,
    pub(crate) peer_window: u32,
    /// Whether the store fails now and then.
    pub(crate) store_fails: bool,
    /// Whether the process is killed now and then.
    pub(crate) crashes: bool,
    /// Whether messages expire.
    pub(crate) expiry: bool,
    /// Clients whose sessions come and go.
    pub(crate) drifters: usize,
    pub(crate) keepers: usize,
    /// STOMP clients; with any, there are queues.
    pub(crate) talkers: usize,
    pub(crate) steps: usize,
}

/// One connection, both of its ends and the wires between them.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) client: usize,
    pub(crate) up: VecDeque<Up>,
    pub(crate) down: VecDeque<Down>,
    /// The client's end is open.
    pub(crate) client_open: bool,
    /// The broker's shell reads and writes it.
    pub(crate) server_open: bool,
    pub(crate) paused: bool,
    /// In the list of what is to be pulled.
    pub(crate) marked: bool,
    pub(crate) will: Option<u32>,
    pub(crate) said_goodbye: bool,
    /// Publications taken from it, by packet id.
    pub(crate) publishes: BTreeMap<u16, u32>,
    /// PUBRECs taken, whose PUBREL is to come in this order.
    pub(crate) recs: VecDeque<NonZeroU16>,
}

/// One worker: its engine and its connections.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) engine: Engine,
    pub(crate) conns: Vec<Conn>,
    pub(crate) talks: Vec<Talk>,
}

#[derive(Debug, Default)]
pub(crate) struct Link {
    control: VecDeque<PeerMsg>,
    data: VecDeque<PeerMsg>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Now,
    pub(crate) workers: Vec<Worker>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) links: BTreeMap<(usize, usize), Link>,
    pub(crate) clients: Vec<Client>,
    pub(crate) talkers: Vec<Talker>,
    pub(crate) book: Book,
    /// What STOMP messages are like.
    pub(crate) drafts: BTreeMap<u32, Draft>,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    /// How often the process was killed.
    pub(crate) crashes: u64,
    /// What the engines of former processes had counted as dropped.
    pub(crate) dropped_before: u64,
    pub(crate) generation: u32,
    /// The first refusals since the storm was over, for the words of a failure.
    pub(crate) refusals: VecDeque<String>,
    pub(crate) steps: u64,
    /// Messages that went straight.
    pub(crate) straights: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, clients: Vec<Client>) -> Self {
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let (shared, workers) = start(&plan, plan.seed, plan.workers, now);
        let mut store = Store::default();
        store.restart(now.wall_ms, now.mono_ms);
        Self {
            rng: Rng::new(plan.seed),
            ledger: Ledger::default(),
            store,
            crashes: 0,
            dropped_before: 0,
            now,
            workers,
            shared,
            links: BTreeMap::new(),
            talkers: (0..plan.talkers).map(|_| Talker::default()).collect(),
            book: Book::new(taps(&mut Rng::new(plan.seed ^ 0x7A95))),
            drafts: BTreeMap::new(),
            clients,
            generation: 0,
            refusals: VecDeque::new(),
            steps: 0,
            straights: 0,
            plan,
        }
    }

    pub(crate) fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.workers.iter().map(|worker| &worker.engine)
    }

    pub(crate) fn retained(&self) -> &noctule_core::retained::Retained {
        &self.shared.retained
    }

    pub(crate) fn run(&mut self, worker: usize, input: Input<'_>) {
        let mut fx = Effects::default();
        self.workers[worker].engine.handle(self.now, input, &mut fx);
        self.apply(worker, fx);
    }

    pub(crate) fn conn(&mut self, worker: usize, id: ConnId) -> Option<&mut Conn> {
        self.workers[worker].conns.iter_mut().find(|conn| conn.id == id)
    }

    pub(crate) fn apply(&mut self, worker: usize, fx: Effects) {
        for effect in fx.list {
            match effect {
                Effect::Reply(id, reply) => {
                    if self.talk(worker, id).is_some() {
                        self.said(worker, id, &reply);
                        continue;
                    }
                    let Some(at) = self.workers[worker].conns.iter().position(|conn| conn.id == id) else {
                        continue;
                    };
                    let conn = &self.workers[worker].conns[at];
                    let client = &self.clients[conn.client];
                    if let Reply::Ack { kind: AckKind::PubAck | AckKind::PubRec, packet_id, reason } = &reply
                        && (*reason as u8) < 0x80
                    {
                        self.book.promise(conn.publishes[&packet_id.get()]);
                    }
                    self.ledger.reply(conn, client, &reply, &self.store);
                    let conn = &mut self.workers[worker].conns[at];
                    if let Reply::Ack { kind: AckKind::PubRel, packet_id, .. } = &reply {
                        conn.recs.retain(|rec| rec != packet_id);
                    }
                    assert!(conn.server_open, "an answer after the end of {id}: {reply:?}");
                    conn.down.push_back(Down::Reply(reply));
                }
                Effect::Close(id, refusal) => {
                    self.refusals.push_back(refusal.to_string());
                    self.refusals.truncate(12);
                    if self.talk(worker, id).is_some() {
                        self.talk_closed(worker, id, &refusal);
                        continue;
                    }
                    self.book.conn_ended(id.generation);
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
                    let record = self.ledger.submitted(&op, ticket);
                    self.store.submit(worker, (ticket, op), record, self.now.mono_ms, &mut self.rng);
                }
                Effect::Load(request) => self.store.load(worker, request),
                Effect::Pause(id) => {
                    if let Some(talk) = self.talk(worker, id) {
                        assert!(!talk.paused, "paused twice");
                        talk.paused = true;
                        continue;
                    }
                    let conn = self.conn(worker, id).unwrap();
                    assert!(!conn.paused, "paused twice");
                    conn.paused = true;
                }
                Effect::Resume(id) => {
                    self.talk_resumed(worker, id);
                    if let Some(conn) = self.conn(worker, id) {
                        assert!(conn.paused, "resumed without a pause");
                        conn.paused = false;
                    }
                }
                Effect::Log(_) => {}
            }
        }
        for id in fx.dirty {
            if let Some(talk) = self.talk(worker, id) {
                assert!(!talk.marked, "{id} marked twice");
                talk.marked = true;
            }
            if let Some(conn) = self.conn(worker, id) {
                assert!(!conn.marked, "{id} marked twice");
                conn.marked = true;
            }
        }
    }

    /// The store commits, answers or gives back.
    fn settle(&mut self) -> bool {
        if self.rng.chance(30) && self.load() {
            return true;
        }
        let submitted = self.store.submitted();
        if submitted > 0 && self.rng.chance(40) {
            let count = 1 + self.rng.below(submitted);
            self.commit(count);
            return true;
        }
        let Some(answer) = self.store.take_answer(&mut self.rng) else { return self.load() };
        self.ledger.answered(&answer);
        let Answer { worker, ticket, failed, record } = answer;
        if let Record::Commit(number) = record {
            self.ledger.committed(&self.book.commits[number].sends, failed);
            self.book.commit_ended(number, if failed { State::Failed } else { State::Done });
        }
        let event = if failed { StoreEvent::Failed(ticket) } else { StoreEvent::Settled(ticket) };
        self.run(worker, Input::Store(event));
        true
    }

    pub(crate) fn commit(&mut self, count: usize) {
        let (store, rng) = (&mut self.store, &mut self.rng);
        let fails = self.plan.store_fails;
        store.commit(count, || fails && rng.chance(4));
    }

    fn load(&mut self) -> bool {
        let Some((worker, event)) = self.store.take_load() else { return false };
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
        let message = message.unwrap();
        if let PeerMsg::Leave(key, _) | PeerMsg::Presence { key, online: false, .. } = &message
            && let Some(tap) = self.book.tap_of(&key.group, &key.filter)
        {
            // What its home lends it meanwhile comes back.
            self.book.disturbed(tap);
        }
        self.run(to, Input::Peer(WorkerId(from as u16), message));
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
        self.check_beats();
    }

    /// One step of anything but clients' own decisions; false if that had nothing to do.
    pub(crate) fn step(&mut self) -> bool {
        self.steps += 1;
        if !self.talkers.is_empty() && self.rng.chance(50) {
            return self.step_talk();
        }
        let kind = self.rng.below(6);
        if kind == 0 {
            return self.mail();
        }
        if kind == 1 {
            return self.settle();
        }
        let worker = self.rng.below(self.workers.len());
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

    fn step_talk(&mut self) -> bool {
        let worker = self.rng.below(self.workers.len());
        let count = self.workers[worker].talks.len();
        if count == 0 {
            return false;
        }
        let at = self.rng.below(count);
        match self.rng.below(3) {
            0 => self.pull_talk(worker, at),
            1 => self.read_talk(worker, at),
            _ => self.hear(worker, at),
        }
    }

    /// Whether mail between engines is on its way.
    pub(crate) fn has_mail(&self) -> bool {
        self.links.values().any(|link| !link.control.is_empty() || !link.data.is_empty())
    }

    /// Whether nothing is on its way anywhere.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.has_mail()
            && self.clients.iter().all(|client| client.acks.is_empty() && client.out.is_empty())
            && self.store.is_quiet()
            && self.workers.iter().flat_map(|worker| &worker.conns).all(|conn| {
                conn.client_open
                    && conn.server_open
                    && conn.up.is_empty()
                    && conn.down.is_empty()
                    && !conn.marked
            })
            && self.workers.iter().flat_map(|worker| &worker.talks).all(|talk| {
                talk.client_open
                    && talk.server_open
                    && talk.up.is_empty()
                    && talk.down.is_empty()
                    && !talk.marked
                    && !talk.paused
            })
    }

    /// Client ids of the connections, for the words of a failure.
    pub(crate) fn unquiet(&self) -> BTreeSet<String> {
        let mut words: BTreeSet<_> = self.refusals.iter().cloned().collect();
        words.insert(format!("store {:?}", self.store));
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
            words.insert(format!("worker {at}: {:?}", worker.engine.stats()));
            for talk in &worker.talks {
                words.insert(format!("worker {at} {talk:?}"));
            }
            for conn in &worker.conns {
                words.insert(format!("worker {at} {conn:?}"));
            }
        }
        words
    }
}

/// What is published to such topics is acknowledged before it is stored, or never stored.
const INTERVAL: &str = "+/i";
const NEVER: &str = "+/n";

/// The engines of a new process.
pub(crate) fn start(plan: &Plan, seed: u64, workers: u16, now: Now) -> (Arc<Shared>, Vec<Worker>) {
    let shared = Shared::new(&Seed::new(seed), workers, RetainedLimits::default());
    let shared = Arc::new(shared.with_peer_window(plan.peer_window));
    let filter = |text| TopicFilter::parse(text, &TopicLimits::WIDEST).unwrap();
    let filters = vec![(filter(INTERVAL), Durability::Interval), (filter(NEVER), Durability::Never)];
    let durability = DurabilityRules { default: Durability::Always, filters };
    let policy = Arc::new(Policy { epoch: 1, limits: plan.limits.clone(), durability, rules: None });
    let engine = |id| Engine::new(WorkerId(id), Arc::clone(&shared), Arc::clone(&policy), now);
    let workers =
        (0..workers).map(|id| Worker { engine: engine(id), conns: Vec::new(), talks: Vec::new() }).collect();
    (shared, workers)
}
