//! What a client may ask for at once costs in proportion to its size: one packet does not stop the worker.

use std::time::{Duration, Instant};

use super::*;
use Qos::{AtMostOnce, ExactlyOnce};

/// How long `work` takes.
#[allow(clippy::disallowed_methods, reason = "the test is about real time")]
fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Time per filter of subscribing to `count` filters in one packet, to all of them again while their replays wait,
/// and of unsubscribing from them.
fn per_filter(count: u32) -> Duration {
    let mut kit = Kit::with(Limits { max_subscriptions: u32::MAX, ..Limits::default() });
    kit.connect(2, client("p"));
    kit.publish(2, Publish { retain: true, ..publish("other", "x", AtMostOnce) });
    kit.connect(1, client("c"));
    let texts: Vec<_> = (0..count).map(|number| format!("t/{number}")).collect();
    let filters: Vec<_> = texts.iter().map(|text| filter(text, AtMostOnce)).collect();
    let filters: Vec<_> = filters.iter().chain(filters.iter().rev()).copied().collect();
    let names: Vec<_> = texts.iter().map(String::as_str).collect();
    let mut fx = Effects::default();
    let now = kit.now;
    let took = time(|| {
        let subscribe =
            Input::Subscribe { conn: conn(1), packet_id: id(9), id: None, selector: None, filters: &filters };
        kit.engine.handle(now, subscribe, &mut fx);
        let unsubscribe = Input::Unsubscribe { conn: conn(1), packet_id: id(10), filters: &names };
        kit.engine.handle(now, unsubscribe, &mut fx);
    });
    assert!(kit.engine.shared.tree.is_empty());
    took / count
}

#[test]
fn a_packet_of_100_000_filters_costs_per_filter_what_one_of_1_000_costs() {
    let small = (0..3).map(|_| per_filter(1_000)).min().unwrap();
    let large = per_filter(100_000);
    assert!(large < 20 * small, "{large:?} per filter, {small:?} in a small packet");
}

#[test]
fn a_filter_named_many_times_is_stored_once_and_undone_if_it_was_new() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("c"));
    kit.manual = true;
    kit.subscribe(1, &[filter("t", AtMostOnce); 1_000]);
    let tickets = kit.tickets();
    assert_eq!(tickets.len(), 1);
    kit.fail(tickets[0]);
    assert!(kit.engine.shared.tree.is_empty());
}

#[test]
fn who_subscribes_again_during_a_replay_gets_it_once_from_the_start() {
    // [MQTT-3.8.4-3]
    let mut kit = Kit::new();
    kit.connect(2, client("p"));
    let topics: Vec<_> = (0..200).map(|number| format!("r/{number:03}")).collect();
    for topic in &topics {
        kit.publish(2, Publish { retain: true, ..publish(topic, topic, AtMostOnce) });
    }
    kit.connect(1, client("c"));
    let filters = ["none", "r/#", "q"].map(|text| filter(text, AtMostOnce));
    let again = [filters[1], filters[0], filters[1]];
    let mut fx = Effects::default();
    for filters in [&filters, &again] {
        let subscribe =
            Input::Subscribe { conn: conn(1), packet_id: id(9), id: None, selector: None, filters };
        kit.engine.handle(kit.now, subscribe, &mut fx);
    }
    kit.carry_out(fx);
    while kit.pull(conn(1), 1_000) == Pulled::More {}
    assert_eq!(kit.bodies(1), topics);
}

#[test]
fn who_unsubscribes_during_a_replay_gets_no_more_of_it() {
    let mut kit = Kit::new();
    kit.connect(2, client("p"));
    for topic in ["a/1", "b/1", "c/1"] {
        kit.publish(2, Publish { retain: true, ..publish(topic, topic, AtMostOnce) });
    }
    kit.connect(1, client("c"));
    let filters = ["a/#", "b/#", "c/#"].map(|text| filter(text, AtMostOnce));
    let mut fx = Effects::default();
    let subscribe =
        Input::Subscribe { conn: conn(1), packet_id: id(9), id: None, selector: None, filters: &filters };
    kit.engine.handle(kit.now, subscribe, &mut fx);
    let unsubscribe = Input::Unsubscribe { conn: conn(1), packet_id: id(10), filters: &["b/#"] };
    kit.engine.handle(kit.now, unsubscribe, &mut fx);
    kit.carry_out(fx);
    assert_eq!(kit.bodies(1), ["a/1", "c/1"]);
}

/// Time per packet of repeating `count` QoS 2 PUBLISHes that wait for the store, and of their PUBRELs, each twice.
fn per_exchange(count: u16) -> Duration {
    let mut kit = Kit::with(Limits { receive_maximum: u16::MAX, ..Limits::default() });
    kit.connect(1, keeper("p"));
    kit.manual = true;
    let each = || {
        (1..=count).map(|number| Publish { packet_id: Some(id(number)), ..publish("t", "x", ExactlyOnce) })
    };
    each().for_each(|publish| drop(kit.publish(1, publish)));
    let repeated = time(|| each().for_each(|publish| drop(kit.publish(1, publish))));
    assert_eq!(kit.submitted.len(), usize::from(count), "each is held once");
    for ticket in kit.tickets() {
        kit.settle(ticket);
    }
    assert_eq!(kit.take(1).len(), usize::from(count));
    let released = time(|| {
        for number in (1..=count).chain(1..=count) {
            kit.ack(1, AckKind::PubRel, number);
        }
    });
    for ticket in kit.tickets() {
        kit.settle(ticket);
    }
    assert_eq!(kit.take(1).len(), usize::from(count), "one PUBCOMP for each");
    assert!(kit.engine.waiting.capacity() <= 1_024 && kit.engine.inbound.is_empty());
    (repeated + released) / u32::from(count)
}

#[test]
fn a_burst_of_repeated_packets_costs_per_packet_what_a_few_cost() {
    // What grows with the burst does so each time; a machine that has something else to do does not.
    let pairs = (0..4).map(|_| ((0..3).map(|_| per_exchange(100)).min().unwrap(), per_exchange(20_000)));
    let (mut shown, bounded) = (Vec::new(), |(few, many): (Duration, Duration)| many < 20 * few);
    let is_bounded = pairs.inspect(|pair| shown.push(*pair)).any(bounded);
    assert!(is_bounded, "per exchange in a small burst and in a large one: {shown:?}");
}
