//! What a restart makes of what the store has kept, on however many workers.

use super::stored::words;
use super::*;
use crate::group::QueueOptions;
use crate::policy::Overflow;
use crate::queue::Stub;
use crate::store::{
    Exchange, KeptWill, LoadedMessage, Recovered, RecoveredGroup, RecoveredSession, RecoveredSubscription,
    RecoveredWill,
};
use AckKind::{PubAck, PubComp, PubRec, PubRel};
use Qos::{AtLeastOnce, ExactlyOnce};

/// The time at which the new process starts.
pub(super) const START_MS: u64 = 5_000;

/// The workers of one broker: mail is carried at once, every submission is settled at once, every session is at home.
pub(super) struct Broker {
    pub(super) engines: Vec<Engine>,
    pub(super) now: Now,
    pub(super) seen: Vec<(u32, Seen)>,
    /// What the store was told, in words.
    pub(super) told: Vec<String>,
    /// By whom, and what.
    pub(super) ops: Vec<(usize, StoreOp)>,
    pub(super) loads: Vec<LoadRequest>,
    /// Connections that are not read.
    pub(super) paused: Vec<u32>,
    pub(super) at: Vec<usize>,
}

impl Broker {
    pub(super) fn restart(workers: u16, limits: Limits, recovered: Recovered) -> Self {
        let shared =
            Arc::new(Shared::new(&Seed::new(u64::from(workers)), workers, RetainedLimits::default()));
        let policy = Arc::new(Policy { epoch: 1, limits, ..Policy::default() });
        let now = Now { mono_ms: START_MS, wall_ms: 0 };
        let engine = |id| Engine::new(WorkerId(id), Arc::clone(&shared), Arc::clone(&policy), now);
        let mut engines: Vec<_> = (0..workers).map(engine).collect();
        let effects = recover(&mut engines, recovered, now);
        let (seen, told, loads, at) = (Vec::new(), Vec::new(), Vec::new(), vec![0; 100]);
        let (ops, paused) = (Vec::new(), Vec::new());
        let mut broker = Self { engines, now, seen, told, ops, loads, paused, at };
        for (worker, fx) in effects.into_iter().enumerate() {
            assert!(!fx.list.iter().any(|effect| matches!(effect, Effect::Peer(..))));
            let told = fx.list.iter().any(|effect| matches!(effect, Effect::Store(..)));
            assert!(worker == 0 || !told, "the first one's are all there are");
            broker.carry_out(worker, fx);
        }
        broker
    }

    pub(super) fn give(&mut self, worker: usize, input: Input<'_>) {
        let mut fx = Effects::default();
        self.engines[worker].handle(self.now, input, &mut fx);
        self.carry_out(worker, fx);
    }

    pub(super) fn carry_out(&mut self, worker: usize, fx: Effects) {
        for effect in fx.list {
            match effect {
                Effect::Reply(to, reply) => self.seen.push((to.slot, Seen::Reply(reply))),
                Effect::Close(to, refusal) => self.seen.push((to.slot, Seen::Closed(refusal.kind))),
                Effect::Store(ticket, op) => {
                    self.told.push(words(&op));
                    self.ops.push((worker, op));
                    if ticket != Ticket::NONE {
                        self.give(worker, Input::Store(StoreEvent::Settled(ticket)));
                    }
                }
                Effect::Load(request) => self.loads.push(request),
                Effect::Peer(to, message) => {
                    self.give(to.index(), Input::Peer(WorkerId(worker as u16), message));
                }
                Effect::Pause(to) => self.paused.push(to.slot),
                Effect::Resume(to) => self.paused.retain(|&slot| slot != to.slot),
                Effect::Log(_) => {}
            }
        }
        for to in fx.dirty {
            let mut pipe = Pipe { room: usize::MAX, largest: usize::MAX, retained: false, seen: Vec::new() };
            let mut fx = Effects::default();
            self.engines[worker].pull(self.now, to, &mut pipe, &mut fx);
            self.seen.extend(pipe.seen.into_iter().map(|seen| (to.slot, seen)));
            self.carry_out(worker, fx);
        }
    }

    /// A connection at the home of its client.
    pub(super) fn connect(&mut self, number: u32, connect: Connect<'_>) -> Vec<Seen> {
        let worker = self.engines[0].shared().home_of_client(connect.client_id).index();
        self.connect_at(worker, number, connect)
    }

    pub(super) fn connect_at(&mut self, worker: usize, number: u32, connect: Connect<'_>) -> Vec<Seen> {
        self.at[number as usize] = worker;
        self.give(worker, Input::Opened(conn(number)));
        self.give(worker, Input::Connect(conn(number), connect));
        self.take(number)
    }

    pub(super) fn on(&mut self, number: u32, input: Input<'_>) -> Vec<Seen> {
        self.give(self.at[number as usize], input);
        self.take(number)
    }

    pub(super) fn ack(&mut self, number: u32, kind: AckKind, packet_id: u16) -> Vec<Seen> {
        self.on(number, Input::Ack { conn: conn(number), kind, packet_id: id(packet_id), failed: false })
    }

    pub(super) fn take(&mut self, number: u32) -> Vec<Seen> {
        let (own, others) = std::mem::take(&mut self.seen).into_iter().partition(|(to, _)| *to == number);
        self.seen = others;
        let own: Vec<(u32, Seen)> = own;
        own.into_iter().map(|(_, seen)| seen).collect()
    }

    pub(super) fn told(&mut self) -> Vec<String> {
        self.ops.clear();
        std::mem::take(&mut self.told)
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        (0..self.engines.len()).for_each(|worker| self.give(worker, Input::Tick));
    }
}

fn message(record: u64, body: &str, qos: Qos) -> Arc<Message> {
    Message::restore(&crate::message::Restored {
        topic: TopicName::from_validated("t"),
        fields: &[],
        payload: body.as_bytes(),
        qos,
        retain: true,
        expires_ms: u64::MAX,
        record,
    })
}

pub(super) fn subscription(filter: &str, qos: Qos) -> RecoveredSubscription {
    RecoveredSubscription {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: true,
        id: NonZeroU32::new(5),
        selector: None,
    }
}

/// A session that is kept for ever, with nothing in it.
pub(super) fn session(
    number: u64,
    client_id: &str,
    subscriptions: Vec<RecoveredSubscription>,
) -> RecoveredSession {
    RecoveredSession {
        number: SessionNumber(number),
        client_id: client_id.into(),
        user: None,
        expiry_s: u32::MAX,
        expires_ms: u64::MAX,
        will: None,
        subscriptions,
        queue: Vec::new(),
        outbound: Vec::new(),
        inbound: Vec::new(),
    }
}

fn sent(record: u64, owner: u64, qos: Qos) -> Exchange {
    let loaded = LoadedMessage { message: message(record, "x", qos), subscription_ids: None };
    Exchange::Sent { loaded, owner: SessionNumber(owner), qos, retain: false }
}

fn kept_will(client_id: &str, body: &str) -> KeptWill {
    let message = message(0, body, AtLeastOnce);
    KeptWill { client_id: client_id.into(), user: None, message, delay_s: 0, expiry_s: None }
}

pub(super) fn recovered(sessions: Vec<RecoveredSession>) -> Recovered {
    Recovered { sessions, last_session: 50, last_record: 70, last_version: 90, ..Recovered::default() }
}

/// As it comes after a restart: again, with the flag and the identifier if it has one.
fn again(pid: u16, qos: Qos) -> Seen {
    Seen::Message {
        body: "x".into(),
        qos,
        dup: true,
        retain: false,
        pid: Some(pid),
        ids: Vec::new(),
        expiry: None,
    }
}

fn kept(client_id: &str) -> Connect<'_> {
    Connect { expiry_s: u32::MAX, ..keeper(client_id) }
}

pub(super) fn limits() -> Limits {
    Limits { max_session_expiry_s: u32::MAX, ..Limits::default() }
}

#[test]
fn every_session_is_at_home_and_subscribed_on_any_number_of_workers() {
    let names: Vec<_> = (1..=8).map(|number| format!("c{number}")).collect();
    for workers in 1..=4 {
        let session =
            |(number, name): (u64, &String)| session(number, name, vec![subscription("t", AtLeastOnce)]);
        let mut broker =
            Broker::restart(workers, limits(), recovered((1..).zip(&names).map(session).collect()));
        assert_eq!(broker.told(), [""; 0]);
        assert_eq!(broker.engines[0].shared().kept_sessions(), 8);
        broker.connect(99, client("p"));
        broker.on(99, Input::Publish(conn(99), publish("t", "x", AtLeastOnce)));
        let told = broker.told();
        let for_all = (1..=8).all(|number| told[0].contains(&format!(" {number}@1#5")));
        assert!(told.len() == 1 && for_all, "{told:?}");
        for (number, name) in (1..).zip(&names) {
            let seen = broker.connect(number, kept(name));
            assert_eq!((seen[0].clone(), seen.len()), (connected(true), 2), "{name} of {workers} workers");
        }
    }
}

#[test]
fn what_was_given_before_is_not_given_again() {
    let mut broker =
        Broker::restart(1, limits(), recovered(vec![session(1, "a", vec![subscription("#", AtLeastOnce)])]));
    broker.connect(2, kept("b"));
    broker.on(2, Input::Publish(conn(2), Publish { retain: true, ..publish("t", "x", AtLeastOnce) }));
    assert_eq!(broker.told(), ["kept 51 b", "publish x 1@1r#5 retained"]);
    assert_eq!(broker.engines[0].shared().retained.version(), 91);
    broker.connect(1, kept("a"));
    broker.told();
    broker.ack(1, PubAck, 1);
    assert_eq!(broker.told(), ["1 done 71"]);
}

#[test]
fn what_is_retained_keeps_its_version() {
    let retained = vec![(60, message(0, "old", AtLeastOnce))];
    let mut broker = Broker::restart(2, limits(), Recovered { retained, ..recovered(Vec::new()) });
    broker.connect(1, client("c"));
    let filters = [filter("#", Qos::AtMostOnce)];
    let subscribe =
        Input::Subscribe { conn: conn(1), packet_id: id(9), id: None, selector: None, filters: &filters };
    assert_eq!(bodies(broker.on(1, subscribe)), ["old"]);
    let retained = &broker.engines[0].shared().retained;
    retained.set_at(message(0, "older", AtLeastOnce), 59, START_MS).unwrap();
    let now = retained.get(&TopicName::from_validated("t"), START_MS).unwrap();
    assert_eq!(now.payload(), b"old");
}

#[test]
fn exchanges_go_on_in_both_directions() {
    // [MQTT-4.4.0-1], [MQTT-4.3.3-10]
    for is_v5 in [true, false] {
        let mut exchanging = session(1, "a", vec![subscription("t", ExactlyOnce)]);
        exchanging.outbound = vec![
            (id(9), Exchange::Received),
            // The store had heard of the younger one first.
            (id(6), sent(12, 1, ExactlyOnce)),
            (id(5), sent(11, 1, ExactlyOnce)),
            (id(40_000), sent(13, 1, AtLeastOnce)),
        ];
        exchanging.inbound = vec![id(7)];
        let mut broker = Broker::restart(2, limits(), recovered(vec![exchanging]));
        let seen = broker.connect(1, Connect { is_v5, ..kept("a") });
        let resumed =
            [Seen::Release(9), again(5, ExactlyOnce), again(6, ExactlyOnce), again(40_000, AtLeastOnce)];
        assert_eq!(seen[0], connected(true));
        assert_eq!(seen[1..], resumed);
        broker.told();
        broker.ack(1, PubComp, 9);
        assert_eq!(broker.told(), ["completed 1/9"]);
        broker.ack(1, PubAck, 40_000);
        assert_eq!(broker.told(), ["completed 1/40000", "1 done 13"]);
        assert_eq!(broker.ack(1, PubRec, 5), [acked(PubRel, 5, Reason::Success)]);
        assert_eq!(broker.told(), ["received 1/5 11 of 1"]);
        broker.ack(1, PubComp, 5);
        broker.told();

        let copy = Publish { packet_id: Some(id(7)), dup: true, ..publish("t", "copy", ExactlyOnce) };
        assert_eq!(broker.on(1, Input::Publish(conn(1), copy)), [acked(PubRec, 7, Reason::Success)]);
        assert_eq!(broker.told(), [""; 0], "it was taken before");
        assert_eq!(broker.ack(1, PubRel, 7), [acked(PubComp, 7, Reason::Success)]);
        assert_eq!(broker.told(), ["released 1/7"]);
        // New packet ids pass by those in use.
        broker.connect(2, client("p"));
        broker.on(2, Input::Publish(conn(2), publish("t", "new", ExactlyOnce)));
        let Some(Seen::Message { pid: Some(pid), .. }) = broker.take(1).pop() else { panic!() };
        assert!(pid != 6, "{pid}");
    }
}

#[test]
fn what_waits_is_asked_for_when_its_client_comes_and_no_sooner() {
    let stub = |record| Stub { record, cost: 100, qos: AtLeastOnce, retain: false };
    let mut waiting = session(1, "a", Vec::new());
    waiting.queue = vec![stub(3), stub(5), stub(8)];
    let mut broker = Broker::restart(1, limits(), recovered(vec![waiting]));
    assert!(broker.loads.is_empty());
    assert_eq!(broker.engines[0].stats().queued, 3);
    broker.connect(1, kept("a"));
    assert_eq!(*broker.loads.pop().unwrap().records, [3, 5, 8]);
}

#[test]
fn a_queue_that_is_full_already_refuses_publishers_at_once() {
    let stub = |record| Stub { record, cost: 100, qos: AtLeastOnce, retain: false };
    let limits = Limits { max_queued_messages: 2, overflow: Overflow::Refuse, ..limits() };
    let mut waiting = session(1, "a", vec![subscription("t", AtLeastOnce)]);
    waiting.queue = vec![stub(3), stub(5)];
    let mut broker = Broker::restart(1, limits, recovered(vec![waiting]));
    broker.connect(2, client("p"));
    let answer = broker.on(2, Input::Publish(conn(2), publish("t", "x", AtLeastOnce)));
    assert_eq!(answer, [acked(PubAck, 1, Reason::QuotaExceeded)]);
}

#[test]
fn a_session_ends_when_its_time_has_come() {
    let mut short = session(1, "a", Vec::new());
    short.queue = vec![Stub { record: 3, cost: 100, qos: AtLeastOnce, retain: false }];
    (short.expiry_s, short.expires_ms) = (100, START_MS + 2_000);
    let mut broker = Broker::restart(2, limits(), recovered(vec![short]));
    broker.pass(1_900);
    assert_eq!(broker.told(), [""; 0]);
    broker.pass(300);
    assert_eq!(broker.told(), ["ended 1 [3]"]);
}

#[test]
fn wills_are_published_when_they_are_due_and_their_clients_return_cancels_only_those_that_wait() {
    let watching = session(9, "watch", vec![subscription("t", AtLeastOnce)]);
    let with_will = |number, name, body, due_ms| {
        let will = Some((kept_will(name, body), due_ms));
        RecoveredSession { will, ..session(number, name, Vec::new()) }
    };
    let sessions = [
        watching,
        with_will(1, "a", "due", START_MS),
        with_will(2, "b", "later", START_MS + 2_000),
        with_will(3, "c", "cancelled", START_MS + 2_000),
    ];
    let wills = [RecoveredWill { number: SessionNumber(4), will: kept_will("d", "not kept") }];
    for workers in 1..=4 {
        let sessions = sessions.iter().map(copy).collect();
        let wills = wills.iter().map(|will| RecoveredWill { number: will.number, will: will.will.clone() });
        let all = Recovered { wills: wills.collect(), ..recovered(sessions) };
        let mut broker = Broker::restart(workers, limits(), all);
        let mut told = broker.told();
        let place = |words: &str| told.iter().position(|told| told == words).unwrap();
        assert!(place("publish due 9@1r#5 retained") < place("will gone 1"), "{told:?}");
        assert!(place("publish not kept 9@1r#5 retained") < place("will gone 4"), "{told:?}");
        told.sort();
        assert_eq!(told.len(), 4, "{told:?}");
        broker.connect(1, kept("a"));
        broker.connect(3, kept("c"));
        assert!(broker.told().contains(&"will gone 3".into()));
        broker.pass(2_200);
        assert_eq!(broker.told(), ["publish later 9@1r#5 retained", "will gone 2"]);
    }
}

/// The same session; its queue and exchanges left out.
fn copy(of: &RecoveredSession) -> RecoveredSession {
    let will = of.will.clone();
    RecoveredSession { will, ..session(of.number.0, &of.client_id, of.subscriptions.clone()) }
}

#[test]
fn a_groups_messages_wait_at_its_home_for_its_members() {
    for workers in 1..=4 {
        let member = |number, name| session(number, name, vec![subscription("$share/g/t", AtLeastOnce)]);
        let group = |number, filter: &str, queue: Vec<_>| RecoveredGroup {
            number: SessionNumber(number),
            group: "g".into(),
            filter: filter.into(),
            options: QueueOptions::default(),
            queue: queue.into_iter().map(|message| (message, 0)).collect(),
        };
        let queue = vec![message(3, "1", AtLeastOnce), message(4, "2", AtLeastOnce)];
        let groups = vec![group(7, "t", queue), group(8, "u", vec![message(5, "nobody's", AtLeastOnce)])];
        let all = Recovered { groups, ..recovered(vec![member(1, "a"), member(2, "b")]) };
        let mut broker = Broker::restart(workers, limits(), all);
        assert_eq!(broker.told(), ["group ended 8 [5]"], "it has no member");
        let dropped = |engine: &Engine| engine.stats().dropped(DropReason::NoGroupMember);
        assert_eq!(broker.engines.iter().map(dropped).sum::<u64>(), 1);
        assert!(broker.engines[0].shared().tree.matches(&TopicName::from_validated("u")).is_empty());
        let seen = broker.connect(1, kept("a"));
        assert_eq!(bodies(seen), ["1", "2"]);
        assert_eq!(broker.told(), ["kept 1 a", "7 online true"]);
        broker.ack(1, PubAck, 1);
        broker.ack(1, PubAck, 2);
        assert_eq!(broker.told(), ["7 done 3", "7 done 4"]);
        broker.connect(99, client("p"));
        broker.on(99, Input::Publish(conn(99), publish("t", "new", AtLeastOnce)));
        assert_eq!(broker.told(), ["publish new 7@1"], "under its old number");
    }
}

#[test]
fn what_a_group_had_lent_stays_with_its_session_to_the_end() {
    // [MQTT-4.8.2-4], [MQTT-4.8.2-5]
    let lent = || {
        let mut member = session(1, "a", vec![subscription("$share/g/t", ExactlyOnce)]);
        member.outbound = vec![(id(5), sent(3, 7, ExactlyOnce)), (id(6), sent(4, 7, ExactlyOnce))];
        let (group, filter, queue) = ("g".into(), "t".into(), Vec::new());
        let options = QueueOptions::default();
        let groups = vec![RecoveredGroup { number: SessionNumber(7), group, filter, options, queue }];
        Recovered {
            groups,
            ..recovered(vec![member, session(2, "b", vec![subscription("$share/g/t", ExactlyOnce)])])
        }
    };
    let mut broker = Broker::restart(3, limits(), lent());
    assert_eq!(bodies(broker.connect(2, kept("b"))), [""; 0], "it is another's");
    let seen = broker.connect(1, kept("a"));
    let Seen::Message { retain: true, dup: true, pid: Some(5), ids, .. } = &seen[1] else {
        panic!("{seen:?}")
    };
    assert_eq!(ids, &[5], "as its subscription asks for it");
    broker.told();
    broker.ack(1, PubRec, 5);
    assert_eq!(broker.told(), ["received 1/5 3 of 7"]);
    broker.on(1, Input::Disconnect { conn: conn(1), with_will: false, expiry_s: Some(0) });
    let told = broker.told();
    assert!(told.contains(&"7 done 4".into()), "it dies with its session: {told:?}");
    assert_eq!(bodies(broker.take(2)), [""; 0]);
}
