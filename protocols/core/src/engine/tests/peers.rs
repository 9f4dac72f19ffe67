//! Several workers: what they send each other is bounded, and the bounds stop nobody for ever.

use super::*;
use Qos::{AtLeastOnce, AtMostOnce};
use std::collections::BTreeSet;

use super::consumers::{message, talker};
use crate::consumer::{Receipt, Request};
use crate::policy::{DurabilityRules, Overflow, QueueDefaults};

/// Engines that share a broker; mail is carried at once, in order, until there is none.
struct Broker {
    engines: Vec<Engine>,
    now: Now,
    paused: BTreeSet<ConnId>,
    /// Mail that was carried.
    mails: Vec<PeerMsg>,
}

impl Broker {
    fn new(workers: u16, peer_window: u32, limits: Limits) -> Self {
        let shared = Shared::new(&Seed::new(1), workers, RetainedLimits::default());
        let shared = Arc::new(shared.with_peer_window(peer_window));
        let (policy, now) = (Arc::new(Policy { epoch: 1, limits, ..Policy::default() }), Now::default());
        let engine = |id| Engine::new(WorkerId(id), Arc::clone(&shared), Arc::clone(&policy), now);
        let engines = (0..workers).map(engine).collect();
        Self { engines, now, paused: BTreeSet::new(), mails: Vec::new() }
    }

    /// Gives one engine an input; what comes of it, the mail it posts left to the caller.
    fn step(&mut self, worker: usize, input: Input<'_>) -> VecDeque<(WorkerId, WorkerId, PeerMsg)> {
        let mut fx = Effects::default();
        self.engines[worker].handle(self.now, input, &mut fx);
        let mut mail = VecDeque::new();
        for effect in fx.list {
            match effect {
                Effect::Peer(to, message) => mail.push_back((WorkerId(worker as u16), to, message)),
                Effect::Pause(conn) => assert!(self.paused.insert(conn)),
                Effect::Resume(conn) => assert!(self.paused.remove(&conn)),
                Effect::Load(request) => panic!("{request:?}"),
                Effect::Store(ticket, _) => assert_eq!(ticket, Ticket::NONE),
                Effect::Reply(..) | Effect::Close(..) | Effect::Log(_) => {}
            }
        }
        mail
    }

    fn give(&mut self, worker: usize, input: Input<'_>) {
        let mut mail = self.step(worker, input);
        while let Some((from, to, message)) = mail.pop_front() {
            self.mails.push(message.clone());
            mail.extend(self.step(to.index(), Input::Peer(from, message)));
        }
    }

    fn connect(&mut self, worker: usize, number: u32, client_id: &str) {
        self.give(worker, Input::Opened(conn(number)));
        self.give(worker, Input::Connect(conn(number), client(client_id)));
    }
}

#[test]
fn a_topic_of_many_groups_stops_nobody_whatever_the_window() {
    for window in [1, 2, 7, 8, 16, 17, 40, 64] {
        let mut broker = Broker::new(2, window, Limits::default());
        broker.connect(0, 1, "c");
        for number in 0..200 {
            let text = format!("$share/g{number}/t");
            let filters = [filter(&text, AtMostOnce)];
            broker.give(
                0,
                Input::Subscribe {
                    conn: conn(1),
                    packet_id: id(9),
                    id: None,
                    selector: None,
                    filters: &filters,
                },
            );
        }
        broker.connect(0, 2, "p");
        for _ in 0..50 {
            broker.give(0, Input::Publish(conn(2), publish("t", "x", AtLeastOnce)));
            broker.give(0, Input::Publish(conn(2), publish("t", "x", AtMostOnce)));
        }
        assert_eq!((broker.engines[0].stats().parked, broker.paused.len()), (0, 0), "window {window}");
    }
}

#[test]
fn who_joins_groups_elsewhere_is_not_read_until_the_answer_is_out() {
    let limits = Limits { max_subscriptions: 50, ..Limits::default() };
    let mut broker = Broker::new(2, 8, limits);
    broker.connect(0, 1, "c");
    let texts: Vec<_> = (0..100).map(|number| format!("$share/g{number}/t")).collect();
    let filters: Vec<_> = texts.iter().map(|text| filter(text, AtLeastOnce)).collect();
    // Each of them often: a packet costs no more joins than a session may have subscriptions.
    let filters = filters.repeat(10);
    let subscribe =
        || Input::Subscribe { conn: conn(1), packet_id: id(9), id: None, selector: None, filters: &filters };
    let mail = broker.step(0, subscribe());
    assert!(mail.iter().all(|(_, _, message)| matches!(message, PeerMsg::Join { .. })));
    assert!((1..50).contains(&mail.len()), "{} joins", mail.len());
    let mut answers = VecDeque::new();
    for (from, to, message) in mail {
        answers.extend(broker.step(to.index(), Input::Peer(from, message)));
    }
    while let Some((from, to, message)) = answers.pop_front() {
        assert_eq!(broker.paused.len(), 1, "until the last join is in force");
        broker.step(to.index(), Input::Peer(from, message));
    }
    assert!(broker.paused.is_empty());
    // Who goes meanwhile leaves nothing behind.
    broker.step(0, subscribe());
    broker.give(0, Input::Closed(conn(1)));
    broker.connect(0, 1, "d");
    assert_eq!(broker.engines[0].stats().sessions, 1);
}

/// Two workers with room for one mail: connection 1 of the second wants `far` and `both`; connection 2 of the first wants
/// `full` and `both` and its queue is full; connection 3 of the first speaks MQTT 3. Nothing goes to the second worker.
fn congested() -> Broker {
    let limits = Limits { max_queued_messages: 3, overflow: Overflow::Refuse, ..Limits::default() };
    let mut broker = Broker::new(2, 1, limits);
    let subscribe = |broker: &mut Broker, worker, number, topics: [&str; 2]| {
        let filters = topics.map(|topic| filter(topic, AtLeastOnce));
        let (conn, packet_id) = (conn(number), id(9));
        broker
            .give(worker, Input::Subscribe { conn, packet_id, id: None, selector: None, filters: &filters });
    };
    broker.connect(1, 1, "far away");
    subscribe(&mut broker, 1, 1, ["far", "both"]);
    broker.connect(0, 2, "full");
    subscribe(&mut broker, 0, 2, ["full", "both"]);
    broker.connect(0, 4, "p");
    for number in 1..=3 {
        let publish = Publish { packet_id: Some(id(number)), ..publish("full", "x", AtLeastOnce) };
        broker.give(0, Input::Publish(conn(4), publish));
    }
    broker.give(0, Input::Opened(conn(3)));
    broker.give(0, Input::Connect(conn(3), Connect { is_v5: false, ..client("old") }));
    broker
}

fn send(broker: &mut Broker, topic: &str, number: u16) -> VecDeque<(WorkerId, WorkerId, PeerMsg)> {
    let publish = Publish { packet_id: Some(id(number)), ..publish(topic, "x", AtLeastOnce) };
    broker.step(0, Input::Publish(conn(3), publish))
}

#[test]
fn what_comes_behind_a_refused_message_that_its_publisher_is_not_told_of_is_refused_and_not_parked() {
    let mut broker = congested();
    let mail = broker.step(0, Input::Publish(conn(4), publish("far", "x", AtMostOnce)));
    assert_eq!(mail.len(), 1, "and there is no room for another");
    assert!(send(&mut broker, "full", 1).is_empty());
    assert!(send(&mut broker, "far", 2).is_empty());
    assert_eq!(broker.engines[0].stats().parked, 0, "it would be let go when the connection is no more");
    assert_eq!(broker.engines[0].stats().dropped(DropReason::QueueFull), 2);
}

#[test]
fn what_is_parked_behind_a_message_that_is_refused_goes_with_it() {
    let mut broker = congested();
    let mut mail = broker.step(0, Input::Publish(conn(4), publish("far", "x", AtMostOnce)));
    assert!(send(&mut broker, "both", 1).is_empty());
    assert!(send(&mut broker, "far", 2).is_empty());
    assert_eq!(broker.engines[0].stats().parked, 2);
    broker.step(0, Input::Closed(conn(3)));
    let (from, to, message) = mail.pop_front().unwrap();
    for (from, to, message) in broker.step(to.index(), Input::Peer(from, message)) {
        let more = broker.step(to.index(), Input::Peer(from, message));
        assert!(
            !more.iter().any(|(_, _, message)| message.is_data()),
            "its publisher sends both again: {more:?}"
        );
    }
    let stats = broker.engines[0].stats();
    assert_eq!((stats.parked, stats.dropped(DropReason::QueueFull)), (0, 2));
}

#[test]
fn what_was_parked_waits_for_a_full_queue_like_everything_else() {
    for stays in [true, false] {
        let queues = QueueDefaults { max_messages: 1, ..QueueDefaults::default() };
        let mut broker = Broker::new(2, 1, Limits { queues, ..Limits::default() });
        for engine in &mut broker.engines {
            // Nothing waits for the store.
            let durability = DurabilityRules { default: Durability::Never, ..DurabilityRules::default() };
            engine.policy = Arc::new(Policy { durability, ..(*engine.policy).clone() });
        }
        let shared = Arc::clone(broker.engines[0].shared());
        let names = (0..).map(|number| format!("$queue/{number}"));
        let queue = names.into_iter().find(|name| shared.home_of_group("", name) == WorkerId(1)).unwrap();
        for number in [1, 2] {
            broker.give(0, Input::Opened(conn(number)));
            broker.give(0, Input::Connect(conn(number), talker("talker")));
        }
        let receipt = Some(Receipt(NonZeroU32::MIN));
        let send =
            |number| Input::Request(conn(number), Request::Send(message(&queue, "x", AtLeastOnce)), receipt);
        let mut mail = broker.step(0, send(1));
        assert!(broker.step(0, send(2)).is_empty(), "there is room for one mail");
        assert_eq!((broker.engines[0].stats().parked, broker.paused.len()), (1, 1));
        if !stays {
            broker.step(0, Input::Closed(conn(2)));
        }
        while let Some((from, to, message)) = mail.pop_front() {
            mail.extend(broker.step(to.index(), Input::Peer(from, message)));
        }
        let queued: u64 = broker.engines.iter().map(|engine| engine.stats().queued).sum();
        assert_eq!((queued, broker.engines[0].stats().parked), (1, 0));
        assert!(broker.paused.contains(&conn(2)));
        assert_eq!(broker.engines[0].throttled.is_empty(), !stays);
    }
}
