//! Clients, rules and workers in every order: nobody is ever written what the rules that its worker was told of deny it,
//! and when everything is allowed again nothing is stuck.

use std::collections::BTreeMap;

use super::*;
use crate::acl::Identity;
use crate::acl::tests::model::{Dice, decide};

const TOPICS: [&str; 6] = ["a/0", "a/1", "b/0", "b/u1", "s/x", "$queue/q"];
const FILTERS: [&str; 8] =
    ["#", "a/#", "a/+", "b/+", "$share/g/#", "$share/g/s/#", "$share/h/a/+", "$queue/q"];
const QOS: [Qos; 3] = [AtMostOnce, AtLeastOnce, ExactlyOnce];

/// What a delivery was, besides its place.
#[derive(Debug)]
struct Written {
    topic: String,
    number: u32,
    qos: Qos,
    pid: Option<u16>,
}

#[derive(Default)]
struct Mouth {
    written: Vec<Written>,
    released: Vec<u16>,
    room: usize,
}

impl Outlet for Mouth {
    fn has_room(&self) -> bool {
        self.written.len() < self.room
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        let number = std::str::from_utf8(delivery.message.payload()).unwrap().parse().unwrap();
        let topic = delivery.message.topic().as_str().to_owned();
        let pid = delivery.packet_id.map(NonZeroU16::get);
        self.written.push(Written { topic, number, qos: delivery.qos, pid });
        Sent::Written(1)
    }

    fn end_of_browse(&mut self, _consumer: ConsumerId) {}

    fn release(&mut self, packet_id: NonZeroU16) {
        self.released.push(packet_id.get());
    }
}

#[derive(Clone, Debug, Default)]
struct Client {
    conn: Option<u32>,
    groups: Vec<Arc<str>>,
    next_pid: u16,
    /// What it answers next.
    answers: VecDeque<(AckKind, u16)>,
}

/// Mail from one worker to another: control, and data.
type Lanes = (VecDeque<PeerMsg>, VecDeque<PeerMsg>);

struct Storm {
    dice: Dice,
    now: Now,
    engines: Vec<Engine>,
    /// The rules that each engine has been told of, and those that it is still to be told of.
    told: Vec<Vec<Rule>>,
    news: Vec<VecDeque<Vec<Rule>>>,
    clients: Vec<Client>,
    /// Whose a connection is.
    conns: BTreeMap<u32, usize>,
    next_conn: u32,
    links: BTreeMap<(usize, usize), Lanes>,
    dirty: Vec<(usize, ConnId)>,
    settled: Vec<(usize, Ticket)>,
    /// Whether each message was allowed to be published.
    messages: Vec<bool>,
    written: usize,
}

fn name(client: usize) -> String {
    format!("client-{client}")
}

fn rules_of(dice: &mut Dice) -> Vec<Rule> {
    let mut rules = Vec::new();
    for _ in 0..1 + dice.below(5) {
        let verdict = if dice.below(3) > 0 { Verdict::Allow } else { Verdict::Deny };
        let topic = ["#", "a/#", "a/0", "b/%u", "b/+", "s/#", "$queue/q", "+/x"][dice.below(8)];
        let user = format!("u{}", dice.below(3));
        let max_qos = (verdict == Verdict::Allow && dice.below(4) == 0).then(|| QOS[dice.below(2)]);
        let actions = [Actions::ALL, Actions::SUBSCRIBE, Actions::PUBLISH][dice.below(3)];
        rules.push(Rule {
            users: (dice.below(3) == 0).then(|| vec![user.into()]),
            groups: (dice.below(4) == 0).then(|| vec!["ops".into()]),
            max_qos,
            actions,
            ..rule(verdict, &[topic])
        });
    }
    rules
}

impl Storm {
    fn new(seed: u64, workers: u16) -> Self {
        let shared = Arc::new(Shared::new(&Seed::new(seed), workers, RetainedLimits::default()));
        let (now, first) = (Now::default(), vec![Rule::new(Verdict::Allow)]);
        let engine = |id| Engine::new(WorkerId(id), Arc::clone(&shared), policy(1, first.clone()), now);
        let engines: Vec<_> = (0..workers).map(engine).collect();
        let workers = usize::from(workers);
        Self {
            dice: Dice(seed),
            now,
            engines,
            told: vec![first; workers],
            news: vec![VecDeque::new(); workers],
            clients: vec![Client::default(); 5],
            conns: BTreeMap::new(),
            next_conn: 0,
            links: BTreeMap::new(),
            dirty: Vec::new(),
            settled: Vec::new(),
            messages: Vec::new(),
            written: 0,
        }
    }

    fn home(&self, client: usize) -> usize {
        self.engines[0].shared().home_of_client(&name(client)).index()
    }

    /// What the rules that its worker knows say about a client.
    fn judge(&self, client: usize, action: Actions, topic: &str) -> crate::acl::Answer {
        let (client_id, user) = (name(client), format!("u{client}"));
        let groups = &self.clients[client].groups;
        let who = Identity { user: Some(&user), groups, ..Identity::anonymous(&client_id) };
        decide(&self.told[self.home(client)], who, action, topic).1
    }

    fn give(&mut self, worker: usize, input: Input<'_>) {
        let mut fx = Effects::default();
        self.engines[worker].handle(self.now, input, &mut fx);
        self.apply(worker, fx);
    }

    fn apply(&mut self, worker: usize, fx: Effects) {
        for effect in fx.list {
            match effect {
                Effect::Peer(to, message) => {
                    let (control, data) = self.links.entry((worker, to.index())).or_default();
                    if message.is_data() { data.push_back(message) } else { control.push_back(message) }
                }
                Effect::Store(ticket, _) if ticket != Ticket::NONE => self.settled.push((worker, ticket)),
                Effect::Reply(to, Reply::Ack { kind, packet_id, .. }) => {
                    let answer = match kind {
                        PubRec => PubRel,
                        PubRel => PubComp,
                        PubAck | PubComp => continue,
                    };
                    if let Some(&client) = self.conns.get(&to.slot) {
                        self.clients[client].answers.push_back((answer, packet_id.get()));
                    }
                }
                Effect::Close(to, _) => self.lose(to.slot),
                _ => {}
            }
        }
        self.dirty.extend(fx.dirty.into_iter().map(|to| (worker, to)));
    }

    fn lose(&mut self, slot: u32) {
        let Some(client) = self.conns.remove(&slot) else { return };
        self.clients[client].conn = None;
        self.clients[client].answers.clear();
        self.give(self.home(client), Input::Closed(conn(slot)));
    }

    fn connect(&mut self, client: usize) {
        self.next_conn += 1;
        let (slot, worker) = (self.next_conn, self.home(client));
        self.clients[client].groups = if self.dice.below(2) == 0 { ops().into() } else { Vec::new() };
        self.clients[client].conn = Some(slot);
        self.conns.insert(slot, client);
        let (client_id, user, groups) =
            (name(client), format!("u{client}"), self.clients[client].groups.clone());
        let access = Access { groups: &groups, ..Access::default() };
        let receive_maximum = id(1 + self.dice.below(3) as u16);
        self.give(worker, Input::Opened(conn(slot)));
        let connect =
            Connect { user: Some(&user), access, receive_maximum, keep_alive_s: 0, ..keeper(&client_id) };
        self.give(worker, Input::Connect(conn(slot), connect));
    }

    fn act(&mut self) {
        let client = self.dice.below(self.clients.len());
        let Some(slot) = self.clients[client].conn else { return self.connect(client) };
        let worker = self.home(client);
        match self.dice.below(20) {
            0..12 => {
                let (topic, qos) = (TOPICS[self.dice.below(6)], QOS[self.dice.below(3)]);
                let number = self.messages.len().to_string();
                self.messages.push(self.judge(client, Actions::PUBLISH, topic).admits(qos));
                let pid = &mut self.clients[client].next_pid;
                *pid = *pid % 60_000 + 1;
                let packet_id = (qos > AtMostOnce).then(|| id(*pid));
                let message = Publish { packet_id, ..publish(topic, &number, qos) };
                self.give(worker, Input::Publish(conn(slot), message));
            }
            12..16 => {
                let filters = [filter(FILTERS[self.dice.below(8)], QOS[self.dice.below(3)])];
                let (id, selector, packet_id) = (None, None, id(9));
                self.give(
                    worker,
                    Input::Subscribe { conn: conn(slot), packet_id, id, selector, filters: &filters },
                );
            }
            16 => {
                let filters = [FILTERS[self.dice.below(8)]];
                self.give(
                    worker,
                    Input::Unsubscribe { conn: conn(slot), packet_id: id(9), filters: &filters },
                );
            }
            17 => self.lose(slot),
            18 => {
                let rules = rules_of(&mut self.dice);
                self.news.iter_mut().for_each(|news| news.push_back(rules.clone()));
            }
            _ => {
                self.now.mono_ms += 200;
                (0..self.engines.len()).for_each(|worker| self.give(worker, Input::Tick));
            }
        }
    }

    /// One thing that goes on by itself; false if there was nothing of that kind.
    fn go_on(&mut self) -> bool {
        match self.dice.below(5) {
            0 => {
                let worker = self.dice.below(self.engines.len());
                let Some(rules) = self.news[worker].pop_front() else { return false };
                let epoch = self.engines[worker].policy().epoch + 1;
                self.told[worker] = rules.clone();
                self.give(worker, Input::Policy(policy(epoch, rules)));
            }
            1 => {
                let full: Vec<_> = self
                    .links
                    .iter()
                    .filter(|(_, lanes)| !lanes.0.is_empty() || !lanes.1.is_empty())
                    .collect();
                let Some(&(&(from, to), _)) = full.get(self.dice.below(full.len().max(1))) else {
                    return false;
                };
                let prefers_data = self.dice.below(2) == 0;
                let (control, data) = self.links.get_mut(&(from, to)).unwrap();
                let first = if prefers_data { data.pop_front() } else { control.pop_front() };
                let message = first.or_else(|| control.pop_front()).or_else(|| data.pop_front()).unwrap();
                self.give(to, Input::Peer(WorkerId(from as u16), message));
            }
            2 => {
                if self.dirty.is_empty() {
                    return false;
                }
                let (worker, to) = self.dirty.swap_remove(self.dice.below(self.dirty.len()));
                self.pull(worker, to);
            }
            3 => {
                if self.settled.is_empty() {
                    return false;
                }
                let (worker, ticket) = self.settled.remove(0);
                self.give(worker, Input::Store(StoreEvent::Settled(ticket)));
            }
            _ => {
                let client = self.dice.below(self.clients.len());
                let Some(slot) = self.clients[client].conn else { return false };
                let Some((kind, pid)) = self.clients[client].answers.pop_front() else { return false };
                let packet_id = id(pid);
                self.give(self.home(client), Input::Ack { conn: conn(slot), kind, packet_id, failed: false });
            }
        }
        true
    }

    fn pull(&mut self, worker: usize, to: ConnId) {
        let mut mouth = Mouth { room: 1 + self.dice.below(3), ..Mouth::default() };
        let mut fx = Effects::default();
        if self.engines[worker].pull(self.now, to, &mut mouth, &mut fx) == Pulled::More {
            self.dirty.push((worker, to));
        }
        let Some(&client) = self.conns.get(&to.slot) else { return self.apply(worker, fx) };
        self.clients[client].answers.extend(mouth.released.into_iter().map(|pid| (PubComp, pid)));
        for Written { topic, number, qos, pid } in mouth.written {
            self.written += 1;
            let answer = self.judge(client, Actions::SUBSCRIBE, &topic);
            assert!(answer.is_allowed(), "{number} to {topic} reached {client}: {:#?}", self.told[worker]);
            assert!(self.messages[number as usize], "{number} to {topic} was forbidden to its publisher");
            if let Some(pid) = pid {
                let kind = if qos == ExactlyOnce { PubRec } else { PubAck };
                self.clients[client].answers.push_back((kind, pid));
            }
        }
        self.apply(worker, fx);
    }

    /// Everything is allowed and everybody is there: what is left comes to its end.
    fn end(&mut self) {
        let all = vec![Rule::new(Verdict::Allow)];
        self.news.iter_mut().for_each(|news| news.push_back(all.clone()));
        for _ in 0..40 {
            for _ in 0..2_000 {
                self.go_on();
            }
            self.now.mono_ms += 200;
            (0..self.engines.len()).for_each(|worker| self.give(worker, Input::Tick));
            for client in 0..self.clients.len() {
                if self.clients[client].conn.is_none() {
                    self.connect(client);
                }
            }
            let slot = self.clients[0].conn.unwrap();
            let filters = [filter("$queue/q", AtLeastOnce)];
            let (id, selector, packet_id) = (None, None, id(9));
            let subscribe = Input::Subscribe { conn: conn(slot), packet_id, id, selector, filters: &filters };
            self.give(self.home(0), subscribe);
        }
        for engine in &self.engines {
            let stats = engine.stats();
            assert_eq!((stats.loans, stats.queued, stats.parked), (0, 0, 0), "{stats:?}");
        }
    }
}

#[test]
fn nobody_is_written_what_its_worker_knows_to_be_denied() {
    let only = std::env::var("NOCTULE_STORM_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let (mut written, mut forbidden, mut withheld, mut dropped) = (0, 0, 0, 0);
    for seed in only.map_or(1..61, |seed| seed..seed + 1) {
        let mut storm = Storm::new(seed, 1 + (seed % 3) as u16);
        for _ in 0..1_500 {
            storm.act();
            for _ in 0..storm.dice.below(12) {
                storm.go_on();
            }
        }
        storm.end();
        written += storm.written;
        forbidden += storm.messages.iter().filter(|allowed| !**allowed).count();
        let stats: Vec<_> = storm.engines.iter().map(Engine::stats).collect();
        withheld += stats.iter().map(|stats| stats.withheld).sum::<u64>();
        dropped += stats.iter().map(|stats| stats.dropped(DropReason::NotAuthorized)).sum::<u64>();
    }
    // Each way of denying was met often.
    if only.is_none() {
        assert!(written > 5_000 && forbidden > 5_000, "{written} written, {forbidden} forbidden");
        assert!(
            withheld > 1_000 && dropped > forbidden as u64 + 50,
            "{withheld} withheld, {dropped} dropped"
        );
    }
}
