//! What an operator does: messages of the broker's own, queues that are emptied and moved, and listening in.

use super::consumers::consume;
use super::queues::{Q, broker, with};
use super::recovery::{Broker, limits};
use super::*;
use crate::consumer::{Consume, Request};
use crate::engine::tap::MAX_HEARD;
use crate::policy::QueueDefaults;
use crate::topic::{TopicFilter, TopicLimits};
use Qos::{AtLeastOnce, AtMostOnce};

const TO: &str = "$queue/parked";
/// More than there ever is.
const ALL: (usize, usize) = (usize::MAX, usize::MAX);

fn key(filter: &str) -> GroupKey {
    GroupKey { group: Box::default(), filter: filter.into() }
}

fn home(broker: &Broker, filter: &str) -> usize {
    broker.engines[0].shared().home_of_group("", filter).index()
}

/// The bodies of what waits in a queue, first come first.
fn waiting(broker: &Broker, filter: &str) -> Vec<String> {
    let waiting = broker.engines[home(broker, filter)].waiting_in(&key(filter), 0, 100);
    waiting.iter().map(|message| String::from_utf8_lossy(message.payload()).into_owned()).collect()
}

/// A broker with three messages in a queue, and the queue's number.
fn with_three(workers: u16) -> (Broker, u64) {
    let mut broker = broker(workers, limits());
    broker.talk(0, 1);
    for body in ["a", "b", "c"] {
        broker.send(1, Q, body);
    }
    let number = broker.number_of(Q);
    broker.told();
    (broker, number)
}

fn move_on(broker: &mut Broker, most: (usize, usize)) {
    let (from, worker) = (key(Q), home(broker, Q));
    broker.give(worker, Input::Move { from: &from, to: TO, most });
}

#[test]
fn what_waits_goes_on_in_order_as_one_operation_each() {
    for workers in 1..=4 {
        let (mut broker, number) = with_three(workers);
        move_on(&mut broker, (2, usize::MAX));
        assert_eq!(
            (waiting(&broker, Q), waiting(&broker, TO)),
            (vec!["c".into()], vec!["a".into(), "b".into()])
        );
        // The store never has a message in both queues, nor in none.
        let to = broker.number_of(TO);
        let told: Vec<_> = broker.told().into_iter().filter(|told| told.starts_with("at once")).collect();
        let at_once = |body, record| format!("at once [publish {body} {to}@1, {number} done {record}]");
        assert_eq!(told, [at_once("a", 1), at_once("b", 2)], "{workers} workers");
        move_on(&mut broker, ALL);
        assert_eq!((waiting(&broker, Q).len(), waiting(&broker, TO).len()), (0, 3));
        assert_eq!(broker.sum(|stats| stats.dropped.iter().sum()), 0);
        // What was moved is consumed as what was sent there.
        let seen = broker.consumer(0, 2, TO);
        assert!(matches!(&seen[..], [.., Seen::Consumed(_, body, _, 0)] if body == "c"), "{seen:?}");
    }
}

#[test]
fn only_what_there_is_room_for_is_moved_and_what_consumers_have_stays() {
    let mut broker = broker(2, with(QueueDefaults { max_messages: 3, ..QueueDefaults::default() }));
    broker.talk(0, 1);
    // The first is lent to somebody who takes one at a time.
    broker.talk(0, 2);
    broker.ask(2, Request::Consume(Consume { window: id(1), ..consume(1, Q) }));
    broker.send(1, Q, "lent");
    for body in ["a", "b"] {
        broker.send(1, Q, body);
    }
    for body in ["1", "2"] {
        broker.send(1, TO, body);
    }
    let lent = broker.sum(|stats| stats.loans);
    move_on(&mut broker, (1, 0));
    assert_eq!(waiting(&broker, TO), ["1", "2"], "there are no bytes for it");
    move_on(&mut broker, (0, usize::MAX));
    assert_eq!(waiting(&broker, TO), ["1", "2"]);
    move_on(&mut broker, (1, usize::MAX));
    assert_eq!(
        (waiting(&broker, TO), waiting(&broker, Q)),
        (["1", "2", "a"].map(str::to_owned).to_vec(), vec!["b".into()])
    );
    assert_eq!(broker.sum(|stats| stats.loans), lent);
    assert_eq!(broker.sum(|stats| stats.dropped.iter().sum()), 0);
}

#[test]
fn a_group_that_is_not_there_is_neither_moved_nor_emptied_nor_made() {
    let mut broker = broker(2, limits());
    move_on(&mut broker, ALL);
    let worker = home(&broker, Q);
    broker.give(worker, Input::Purge { key: &key(Q), most: 10 });
    assert_eq!(broker.sum(|stats| stats.queues), 0);
}

#[test]
fn what_is_purged_is_counted_and_forgotten_by_the_store() {
    for workers in 1..=4 {
        let (mut broker, number) = with_three(workers);
        let worker = home(&broker, Q);
        broker.give(worker, Input::Purge { key: &key(Q), most: 2 });
        assert_eq!(waiting(&broker, Q), ["c"]);
        assert_eq!(broker.dropped(DropReason::Purged), 2);
        assert_eq!(broker.told(), [format!("{number} done 1"), format!("{number} done 2")]);
        broker.give(worker, Input::Purge { key: &key(Q), most: 10 });
        assert_eq!((waiting(&broker, Q).len(), broker.dropped(DropReason::Purged)), (0, 3));
    }
}

#[test]
fn a_message_of_the_brokers_own_comes_to_whoever_subscribes_and_answers_nobody() {
    let mut kit = Kit::new();
    kit.connect(1, client("c"));
    kit.subscribe(1, &[filter("a/#", AtLeastOnce), filter("$SYS/#", AtLeastOnce)]);
    kit.give(Input::Announce(Publish { packet_id: None, ..publish("a/b", "own", AtLeastOnce) }));
    kit.give(Input::Announce(Publish { packet_id: None, ..publish("$SYS/broker/uptime", "7", AtMostOnce) }));
    kit.give(Input::Announce(Publish { packet_id: None, ..publish("b", "nobody's", AtMostOnce) }));
    assert_eq!(kit.bodies(1), ["own", "7"]);
    assert_eq!(kit.seen, []);
    // Retained as a client's would be.
    let retained = Publish { retain: true, packet_id: None, ..publish("a/c", "kept", AtMostOnce) };
    kit.give(Input::Announce(retained));
    kit.connect(2, client("d"));
    assert_eq!(bodies(kit.subscribe(2, &[filter("a/c", AtMostOnce)])), ["kept"]);
}

/// What was heard since the last time: under which number, of whom, and what.
fn heard(kit: &mut Kit) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    kit.engine.fetch_heard(|id, heard| {
        let words = match heard {
            Heard::Message { message, size, client_id } => {
                let (payload, topic) = (message.payload().len(), message.topic().as_str().to_owned());
                format!("{} {topic} {payload} of {size}", client_id.as_deref().unwrap_or("-"))
            }
            Heard::Missed(count) => format!("missed {count}"),
        };
        all.push((id, words));
    });
    all
}

fn tap(kit: &mut Kit, id: u64, filter: &str) {
    kit.engine.tap(id, TopicFilter::parse(filter, &TopicLimits::WIDEST).unwrap());
}

#[test]
fn who_listens_in_hears_copies_of_what_is_published_and_of_long_ones_the_beginning() {
    let mut kit = Kit::new();
    kit.connect(1, client("c"));
    kit.connect(2, client("d"));
    kit.subscribe(2, &[filter("a", AtMostOnce)]);
    assert!(!kit.engine.is_tapped());
    tap(&mut kit, 7, "a/#");
    tap(&mut kit, 8, "+");
    let long = "x".repeat(HEARD_BYTES + 5);
    kit.publish(1, publish("a", "1", AtMostOnce));
    kit.publish(1, publish("a/b", &long, AtLeastOnce));
    kit.publish(1, publish("b/c", "nobody hears it", AtMostOnce));
    kit.give(Input::Announce(Publish { packet_id: None, ..publish("b", "own", AtMostOnce) }));
    let long = format!("c a/b {HEARD_BYTES} of {}", HEARD_BYTES + 5);
    let expected = [(7, "c a 1 of 1"), (8, "c a 1 of 1"), (7, &*long), (8, "- b 3 of 3")];
    assert_eq!(heard(&mut kit), expected.map(|(id, words)| (id, words.to_owned())));
    // It changes nothing for who has subscribed.
    assert_eq!(kit.bodies(2), ["1"]);
    kit.publish(1, publish("a", "2", AtMostOnce));
    kit.engine.untap(7);
    assert_eq!(heard(&mut kit), [(8, "c a 1 of 1".to_owned())]);
    kit.engine.untap(8);
    kit.publish(1, publish("a", "3", AtMostOnce));
    assert_eq!((heard(&mut kit), kit.engine.is_tapped()), (Vec::new(), false));
}

/// Of whom what was dropped since the last time.
fn drops(kit: &mut Kit) -> Vec<(String, DropReason, u64)> {
    let mut all = Vec::new();
    kit.engine.fetch_drops(|whose, reason, count| all.push((whose.to_owned(), reason, count)));
    all
}

#[test]
fn of_a_watched_client_every_drop_is_told_and_of_no_other() {
    let mut kit = Kit::with(Limits { max_queued_messages: 2, ..Limits::default() });
    for (number, name) in [(1, "a"), (2, "b")] {
        kit.connect(number, keeper(name));
        kit.subscribe(number, &[filter("t", AtLeastOnce)]);
        kit.close(number);
    }
    kit.connect(3, client("c"));
    kit.publish(3, publish("t", "before", AtLeastOnce));
    kit.engine.watch_drops("b");
    kit.engine.watch_drops("b");
    for _ in 0..4 {
        kit.publish(3, publish("t", "x", AtLeastOnce));
    }
    kit.publish(3, publish("t", "x", AtMostOnce));
    let told = drops(&mut kit);
    let offline = u64::from(told.iter().any(|(_, reason, _)| *reason == DropReason::Offline));
    assert_eq!(told[..1], [("b".to_owned(), DropReason::QueueFull, 3)]);
    assert_eq!((told.len() as u64, kit.dropped(DropReason::QueueFull)), (1 + offline, 6));
    assert_eq!(drops(&mut kit), []);
    kit.engine.unwatch_drops("b");
    kit.publish(3, publish("t", "x", AtLeastOnce));
    assert_eq!(drops(&mut kit), []);
}

#[test]
fn who_listens_slowly_misses_something_and_is_told_how_much() {
    let mut kit = Kit::new();
    kit.connect(1, client("c"));
    tap(&mut kit, 7, "a");
    for _ in 0..MAX_HEARD + 3 {
        kit.publish(1, publish("a", "x", AtMostOnce));
    }
    let all = heard(&mut kit);
    assert_eq!((all.len(), all.last()), (MAX_HEARD + 1, Some(&(7, "missed 3".to_owned()))));
    assert_eq!(heard(&mut kit), []);
}
