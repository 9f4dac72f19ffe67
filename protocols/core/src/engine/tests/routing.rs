//! Who gets what: subscriptions, retained messages, expiry, full queues, groups. Whatever is not delivered is counted.

use super::*;
use crate::policy::Overflow;
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

fn granted(codes: &[Result<Qos, Reason>]) -> Seen {
    Seen::Reply(Reply::Subscribed { packet_id: id(9), codes: codes.into(), why: None })
}

fn retained(topic: &'static str, body: &'static str) -> Publish<'static> {
    Publish { retain: true, ..publish(topic, body, AtMostOnce) }
}

fn plain(body: &str, retain: bool, ids: &[u32]) -> Seen {
    let (body, ids) = (body.to_owned(), ids.to_vec());
    Seen::Message { body, qos: AtMostOnce, dup: false, retain, pid: None, ids, expiry: None }
}

#[test]
fn overlapping_subscriptions_are_one_delivery_with_all_ids_and_the_highest_qos() {
    // [MQTT-3.3.4-3], [MQTT-3.3.5-1]
    let mut kit = Kit::new();
    kit.connect(1, client("c"));
    kit.subscribe_as(1, Some(5), &[filter("a/+", AtMostOnce)]);
    kit.subscribe_as(1, Some(3), &[filter("a/#", AtLeastOnce)]);
    kit.connect(2, client("p"));
    kit.publish(2, publish("a/b", "x", ExactlyOnce));
    let seen = kit.take(1);
    let [Seen::Message { qos, ids, .. }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((*qos, &ids[..]), (AtLeastOnce, &[3, 5][..]));
}

#[test]
fn no_local_returns_nothing_to_its_publisher() {
    // [MQTT-3.8.3-3]
    let mut kit = Kit::new();
    for number in [1, 2] {
        kit.connect(number, client(["", "a", "b"][number as usize]));
        kit.subscribe(number, &[FilterRequest { no_local: true, ..filter("t", AtMostOnce) }]);
    }
    kit.publish(1, publish("t", "x", AtMostOnce));
    assert_eq!((kit.bodies(1), kit.bodies(2)), (vec![], vec!["x".to_owned()]));
}

#[test]
fn retain_reaches_a_subscriber_as_it_asked() {
    // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    let mut kit = Kit::new();
    kit.connect(1, client("c"));
    kit.subscribe(1, &[FilterRequest { retain_as_published: true, ..filter("kept/#", AtMostOnce) }]);
    kit.subscribe(1, &[filter("plain/#", AtMostOnce)]);
    kit.connect(2, client("p"));
    kit.publish(2, retained("kept/x", "1"));
    kit.publish(2, retained("plain/x", "2"));
    assert_eq!(kit.take(1), [plain("1", true, &[]), plain("2", false, &[])]);
}

#[test]
fn retained_messages_come_as_the_retain_handling_says() {
    // [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
    let mut kit = Kit::new();
    kit.connect(2, client("p"));
    kit.publish(2, retained("t", "x"));
    kit.connect(1, client("c"));
    let ask = |retain_handling| [FilterRequest { retain_handling, ..filter("#", AtMostOnce) }];
    let suback = || granted(&[Ok(AtMostOnce)]);
    assert_eq!(kit.subscribe(1, &ask(RetainHandling::Never)), [suback()]);
    assert_eq!(kit.subscribe(1, &ask(RetainHandling::IfNew)), [suback()]);
    assert_eq!(kit.subscribe(1, &ask(RetainHandling::Always)), [suback(), plain("x", true, &[])]);
}

#[test]
fn an_empty_payload_clears_what_is_retained() {
    // [MQTT-3.3.1-6], [MQTT-3.3.1-7]
    let mut kit = Kit::new();
    kit.connect(2, client("p"));
    kit.publish(2, retained("t", "x"));
    kit.publish(2, retained("t", ""));
    kit.connect(1, client("c"));
    assert_eq!(kit.subscribe(1, &[filter("t", AtMostOnce)]), [granted(&[Ok(AtMostOnce)])]);
}

#[test]
fn a_long_replay_does_not_hold_up_the_live_and_loses_nothing() {
    let mut kit = Kit::new();
    kit.connect(2, client("p"));
    let topics: Vec<_> = (0..1_000).map(|number| format!("r/{number:04}")).collect();
    for topic in &topics {
        kit.publish(2, Publish { retain: true, ..publish(topic, topic, AtMostOnce) });
    }
    kit.connect(1, client("c"));
    let filters = [filter("r/#", AtMostOnce)];
    let mut fx = Effects::default();
    let subscribe =
        Input::Subscribe { conn: conn(1), packet_id: id(9), id: None, selector: None, filters: &filters };
    kit.engine.handle(kit.now, subscribe, &mut fx);
    assert_eq!(kit.pull(conn(1), 10), Pulled::More);
    kit.publish(2, Publish { retain: true, ..publish("r/0000", "new", AtMostOnce) });
    while kit.pull(conn(1), 10) == Pulled::More {}
    let mut bodies = kit.bodies(1);
    assert_eq!(bodies.iter().filter(|body| *body == "new").count(), 1);
    bodies.retain(|body| body != "new");
    assert_eq!(bodies, topics);
}

#[test]
fn a_message_expires_in_the_queue_and_its_seconds_count_down() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut kit = Kit::new();
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("t", AtLeastOnce)]);
    kit.close(1);
    kit.connect(2, client("p"));
    kit.publish(2, Publish { expiry_s: Some(10), ..publish("t", "long", AtLeastOnce) });
    kit.publish(2, Publish { expiry_s: Some(2), ..publish("t", "short", AtLeastOnce) });
    kit.pass(3_500);
    let seen = kit.connect(3, keeper("c"));
    let [_, Seen::Message { body, expiry, .. }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((body.as_str(), *expiry), ("long", Some(7)));
    assert_eq!(kit.dropped(DropReason::Expired), 1);
}

#[test]
fn subscriptions_are_bounded() {
    let mut kit = Kit::with(Limits { max_subscriptions: 2, ..Limits::default() });
    kit.connect(1, client("c"));
    let asked = ["a", "b", "c", "a"].map(|text| filter(text, AtMostOnce));
    let codes = [Ok(AtMostOnce), Ok(AtMostOnce), Err(Reason::QuotaExceeded), Ok(AtMostOnce)];
    assert_eq!(kit.subscribe(1, &asked), [granted(&codes)]);
}

#[test]
fn a_subscription_that_can_not_be_stored_is_refused_and_gone() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("c"));
    kit.manual = true;
    assert_eq!(kit.subscribe(1, &[filter("t", AtMostOnce)]), []);
    let tickets = kit.tickets();
    kit.fail(tickets[0]);
    assert_eq!(kit.take(1), [granted(&[Err(Reason::QuotaExceeded)])]);
    kit.connect(2, client("p"));
    kit.publish(2, publish("t", "x", AtMostOnce));
    assert_eq!(kit.bodies(1), [""; 0]);
}

/// Publishes `sent` messages to an absent session that may keep two; returns what comes out and the last answer.
fn overflow(overflow: Overflow, sent: u16) -> (Kit, Vec<String>, Option<Seen>) {
    let mut kit = Kit::with(Limits { overflow, max_queued_messages: 2, ..Limits::default() });
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("t", AtLeastOnce)]);
    kit.close(1);
    kit.connect(2, client("p"));
    let mut answer = None;
    for number in 1..=sent {
        let body = number.to_string();
        answer =
            kit.publish(2, Publish { packet_id: Some(id(number)), ..publish("t", &body, AtLeastOnce) }).pop();
    }
    let bodies = bodies(kit.connect(3, keeper("c")));
    (kit, bodies, answer)
}

#[test]
fn a_full_queue_does_what_its_policy_says_at_the_edge_and_one_past_it() {
    let success = |number| Some(acked(AckKind::PubAck, number, Reason::Success));
    for policy in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Refuse, Overflow::Disconnect] {
        let (kit, _, answer) = overflow(policy, 2);
        assert_eq!((kit.dropped(DropReason::QueueFull), answer), (0, success(2)), "{policy:?}");
        let (kit, kept, answer) = overflow(policy, 3);
        assert_eq!(kept, if policy == Overflow::DropOldest { ["2", "3"] } else { ["1", "2"] }, "{policy:?}");
        assert_eq!(kit.dropped(DropReason::QueueFull), 1, "{policy:?}");
        let refused = Some(acked(AckKind::PubAck, 3, Reason::QuotaExceeded));
        assert_eq!(answer, if policy == Overflow::Refuse { refused } else { success(3) });
    }
}

#[test]
fn a_slow_consumer_is_disconnected_once_it_had_its_chance() {
    let limits = Limits {
        overflow: Overflow::Disconnect,
        max_queued_messages: 2,
        max_inflight: 1,
        ..Limits::default()
    };
    let mut kit = Kit::with(limits);
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("t", AtLeastOnce)]);
    kit.connect(2, client("p"));
    for _ in 0..3 {
        kit.publish(2, publish("t", "x", AtLeastOnce));
    }
    assert_eq!(kit.bodies(1), ["x"], "one in flight, two wait: the edge");
    kit.publish(2, publish("t", "x", AtLeastOnce));
    assert_eq!(kit.take(1), [Seen::Closed(Kind::SlowConsumer)]);
    assert_eq!(bodies(kit.connect(3, keeper("c"))), ["x"]);
    kit.publish(2, publish("t", "x", AtLeastOnce));
    assert_eq!(kit.take(3), [], "its queue filled up before it came");
    kit.ack(3, AckKind::PubAck, 1);
    kit.publish(2, publish("t", "x", AtLeastOnce));
    kit.publish(2, publish("t", "x", AtLeastOnce));
    assert_eq!(kit.take(3), [Seen::Closed(Kind::SlowConsumer)]);
    assert_eq!(kit.dropped(DropReason::QueueFull), 3);
}

#[test]
fn qos_0_for_an_absent_client_is_dropped_and_counted() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("t", AtLeastOnce)]);
    kit.close(1);
    kit.connect(2, client("p"));
    kit.publish(2, publish("t", "0", AtMostOnce));
    kit.publish(2, publish("t", "1", AtLeastOnce));
    assert_eq!(bodies(kit.connect(3, keeper("c"))), ["1"]);
    assert_eq!(kit.dropped(DropReason::Offline), 1);
}

#[test]
fn drops_are_told_once_a_second_with_their_number_and_the_rest_when_the_burst_is_over() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("t", AtLeastOnce)]);
    kit.close(1);
    kit.connect(2, client("p"));
    let burst = |kit: &mut Kit, messages: u64| {
        for _ in 0..messages {
            kit.publish(2, publish("t", "0", AtMostOnce));
        }
        std::mem::take(&mut kit.told)
    };
    assert_eq!(burst(&mut kit, 5), [(DropReason::Offline, 1)]);
    kit.pass(1_000);
    assert_eq!(burst(&mut kit, 3), [(DropReason::Offline, 5)], "four of the first burst, one of this");
    kit.pass(20_000);
    assert_eq!(kit.told, [(DropReason::Offline, 2)]);
}

#[test]
fn what_is_too_large_for_the_client_is_skipped_and_nothing_stalls() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let mut kit = Kit::new();
    kit.largest = 5;
    kit.connect(1, Connect { receive_maximum: id(1), ..client("c") });
    kit.subscribe(1, &[filter("t", ExactlyOnce)]);
    kit.connect(2, client("p"));
    for (number, qos) in [(1, AtMostOnce), (2, AtLeastOnce), (3, ExactlyOnce)] {
        let packet_id = (qos > AtMostOnce).then(|| id(number));
        kit.publish(2, Publish { packet_id, ..publish("t", "too large", qos) });
    }
    kit.publish(2, publish("t", "fits", AtLeastOnce));
    assert_eq!(kit.bodies(1), ["fits"]);
    assert_eq!(kit.dropped(DropReason::TooLarge), 3);
}

#[test]
fn a_publisher_learns_that_nobody_is_there() {
    let mut kit = Kit::new();
    kit.connect(1, client("p"));
    let answer = kit.publish(1, publish("t", "x", AtLeastOnce));
    assert_eq!(answer, [acked(AckKind::PubAck, 1, Reason::NoMatchingSubscribers)]);
}

#[test]
fn the_brokers_own_topics_are_not_published_to() {
    let mut kit = Kit::new();
    kit.connect(1, client("p"));
    let answer = kit.publish(1, publish("$SYS/x", "x", AtLeastOnce));
    assert_eq!(answer, [acked(AckKind::PubAck, 1, Reason::NotAuthorized)]);
    // [MQTT-3.3.5-2]
    kit.connect(2, Connect { is_v5: false, ..client("old") });
    let answer = kit.publish(2, publish("$SYS/x", "x", AtLeastOnce));
    assert_eq!(answer, [acked(AckKind::PubAck, 1, Reason::Success)]);
    assert_eq!(kit.dropped(DropReason::NotAuthorized), 2);
}

#[test]
fn new_limits_hold_from_the_policy_that_brings_them() {
    let mut kit = Kit::new();
    kit.connect(1, client("c"));
    let limits = Limits { max_subscriptions: 0, ..Limits::default() };
    kit.give(Input::Policy(Arc::new(Policy { epoch: 2, limits, ..Policy::default() })));
    assert_eq!(kit.subscribe(1, &[filter("a", AtMostOnce)]), [granted(&[Err(Reason::QuotaExceeded)])]);
}

#[test]
fn a_group_gets_no_retained_messages_and_each_message_once() {
    // MQTT 5, section 4.8.2
    let mut kit = Kit::new();
    kit.connect(9, client("p"));
    kit.publish(9, retained("t", "old"));
    for number in [1, 2] {
        kit.connect(number, client(["", "a", "b"][number as usize]));
        assert_eq!(
            kit.subscribe(number, &[filter("$share/g/t", AtLeastOnce)]),
            [granted(&[Ok(AtLeastOnce)])]
        );
    }
    kit.publish(9, publish("t", "1", AtLeastOnce));
    kit.publish(9, publish("t", "2", AtLeastOnce));
    assert_eq!((kit.bodies(1), kit.bodies(2)), (vec!["1".to_owned()], vec!["2".to_owned()]));
}

#[test]
fn qos_1_in_flight_moves_on_at_the_end_of_the_session_and_qos_2_dies_with_it() {
    // [MQTT-4.8.2-4], [MQTT-4.8.2-5]
    let mut kit = Kit::new();
    kit.connect(1, keeper("a"));
    kit.subscribe(1, &[filter("$share/g/t", ExactlyOnce)]);
    kit.connect(9, client("p"));
    kit.publish(9, publish("t", "1", AtLeastOnce));
    kit.publish(9, Publish { packet_id: Some(id(2)), ..publish("t", "2", ExactlyOnce) });
    assert_eq!(kit.bodies(1), ["1", "2"]);
    kit.connect(2, client("b"));
    kit.subscribe(2, &[filter("$share/g/t", ExactlyOnce)]);
    kit.close(1);
    assert_eq!(kit.bodies(2), [""; 0], "it stays with its session");
    kit.connect(3, client("a"));
    assert_eq!(kit.bodies(2), ["1"]);
    assert_eq!(kit.dropped(DropReason::SessionEnded), 1);
}

#[test]
fn what_was_not_sent_returns_when_its_member_goes() {
    let mut kit = Kit::new();
    kit.connect(1, Connect { receive_maximum: id(1), ..keeper("a") });
    kit.subscribe(1, &[filter("$share/g/t", AtLeastOnce)]);
    kit.connect(9, client("p"));
    for number in 1..=3 {
        let body = number.to_string();
        kit.publish(9, Publish { packet_id: Some(id(number)), ..publish("t", &body, AtLeastOnce) });
    }
    assert_eq!(kit.bodies(1), ["1"]);
    kit.close(1);
    kit.connect(2, client("b"));
    assert_eq!(bodies(kit.subscribe(2, &[filter("$share/g/t", AtLeastOnce)])), ["2", "3"]);
}

#[test]
fn a_group_with_nobody_online_keeps_messages_for_a_durable_member() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("a"));
    kit.subscribe(1, &[filter("$share/g/t", AtLeastOnce)]);
    kit.close(1);
    kit.connect(9, client("p"));
    kit.publish(9, publish("t", "x", AtLeastOnce));
    assert_eq!(bodies(kit.connect(2, keeper("a"))), ["x"]);
    kit.publish(9, publish("t", "y", AtLeastOnce));
    kit.give(Input::Disconnect { conn: conn(2), with_will: false, expiry_s: Some(0) });
    assert_eq!(kit.dropped(DropReason::NoGroupMember), 2, "the group has ended: counted");
}

#[test]
fn wills_of_slow_consumers_that_end_slow_consumers_do_not_nest() {
    const CLIENTS: u32 = 3_000;
    let limits = Limits { overflow: Overflow::Disconnect, max_queued_messages: 1, ..Limits::default() };
    let mut kit = Kit::with(limits);
    let names: Vec<_> = (0..=CLIENTS).map(|number| format!("c{number}")).collect();
    let topics: Vec<_> = (0..=CLIENTS).map(|number| format!("t/{number}")).collect();
    for number in 0..CLIENTS {
        // Its will goes to the next, whose queue is full.
        let will = publish(&topics[number as usize + 1], "gone", AtLeastOnce);
        let will = Some(WillRequest { publish: will, delay_s: 0 });
        let window = NonZeroU16::MIN;
        let connect = Connect { will, receive_maximum: window, ..client(&names[number as usize]) };
        kit.connect(number, connect);
        kit.subscribe(number, &[filter(&topics[number as usize], AtLeastOnce)]);
    }
    kit.connect(CLIENTS, client("publisher"));
    for topic in &topics {
        for body in ["in the window", "in the queue"] {
            kit.publish(CLIENTS, publish(topic, body, AtLeastOnce));
        }
    }
    kit.seen.clear();
    kit.publish(CLIENTS, publish("t/0", "one too many", AtLeastOnce));
    let closed = |&(to, ref seen): &(u32, Seen)| *seen == Seen::Closed(Kind::SlowConsumer) && to < CLIENTS;
    assert_eq!(kit.seen.iter().filter(|seen| closed(seen)).count(), CLIENTS as usize);
    assert_eq!((kit.engine.stats().wills, kit.engine.stats().sessions), (u64::from(CLIENTS), 1));
}

#[test]
fn a_full_backlog_of_a_group_does_what_the_policy_says() {
    for policy in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Refuse, Overflow::Disconnect] {
        let mut kit = Kit::with(Limits { overflow: policy, max_queued_messages: 2, ..Limits::default() });
        kit.connect(1, keeper("c"));
        kit.subscribe(1, &[filter("$share/g/t", AtLeastOnce)]);
        kit.close(1);
        kit.connect(2, client("p"));
        let publish = |kit: &mut Kit, number: u16| {
            let body = number.to_string();
            kit.publish(2, Publish { packet_id: Some(id(number)), ..publish("t", &body, AtLeastOnce) })
        };
        let success = |number| [acked(AckKind::PubAck, number, Reason::Success)];
        for number in 1..=2 {
            assert_eq!(publish(&mut kit, number), success(number), "{policy:?}");
        }
        assert_eq!(kit.dropped(DropReason::QueueFull), 0, "{policy:?}");
        let refused = [acked(AckKind::PubAck, 3, Reason::QuotaExceeded)];
        assert_eq!(publish(&mut kit, 3), if policy == Overflow::Refuse { refused } else { success(3) });
        let drops = (kit.dropped(DropReason::QueueFull), kit.dropped(DropReason::NoGroupMember));
        assert_eq!(drops, (1, 0), "{policy:?}");
        let oldest_goes = matches!(policy, Overflow::DropOldest | Overflow::Disconnect);
        let kept = bodies(kit.connect(3, keeper("c")));
        assert_eq!(kept, if oldest_goes { ["2", "3"] } else { ["1", "2"] }, "{policy:?}");
        assert_eq!(publish(&mut kit, 4), success(4), "there is room again: {policy:?}");
    }
}

#[test]
fn a_congested_group_that_ends_holds_nobody_up() {
    let limits = Limits { overflow: Overflow::Refuse, max_queued_messages: 1, ..Limits::default() };
    let mut kit = Kit::with(limits);
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("$share/g/t", AtLeastOnce)]);
    kit.close(1);
    kit.connect(2, client("p"));
    kit.publish(2, publish("t", "x", AtLeastOnce));
    let answer = kit.publish(2, publish("t", "x", AtLeastOnce));
    assert_eq!(answer, [acked(AckKind::PubAck, 1, Reason::QuotaExceeded)]);
    kit.connect(3, client("c"));
    kit.subscribe(3, &[filter("$share/g/t", AtLeastOnce)]);
    let answer = kit.publish(2, publish("t", "y", AtLeastOnce));
    assert_eq!(answer, [acked(AckKind::PubAck, 1, Reason::Success)]);
    assert_eq!(kit.bodies(3), ["y"]);
}

#[test]
fn qos_0_passes_a_groups_backlog_by() {
    let mut kit = Kit::with(Limits { max_inflight: 1, ..Limits::default() });
    kit.connect(1, client("c"));
    kit.subscribe(1, &[filter("$share/g/t", AtLeastOnce)]);
    kit.connect(2, client("p"));
    for body in ["1", "2"] {
        kit.publish(2, publish("t", body, AtLeastOnce));
    }
    kit.publish(2, publish("t", "0", AtMostOnce));
    assert_eq!(kit.bodies(1), ["1", "0"]);
    assert_eq!(kit.dropped(DropReason::NoGroupMember), 0);
}

#[test]
fn nobody_listens_in_on_anothers_answers() {
    let mut kit = Kit::new();
    kit.connect(1, client("a/b"));
    let asked = [
        "$reply/a%2Fb",
        "$reply/a%2Fb/x",
        "$reply/a%2Fbc",
        "$reply/+",
        "$reply/#",
        "$reply",
        "$reply/a%2Fb/#",
    ];
    let filters: Vec<_> = asked.iter().map(|text| filter(text, AtLeastOnce)).collect();
    let refused = Err(Reason::NotAuthorized);
    let codes = vec![Ok(AtLeastOnce), Ok(AtLeastOnce), refused, refused, refused, refused, refused];
    assert_eq!(kit.subscribe(1, &filters), [granted(&codes)]);
}

#[test]
fn what_a_queue_has_lent_gives_way_to_nothing() {
    let limits = Limits { max_queued_messages: 4, ..Limits::default() };
    let mut kit = Kit::with(limits);
    kit.connect(9, client("p"));
    kit.connect(1, Connect { receive_maximum: id(1), ..client("c") });
    kit.subscribe(1, &[filter("$queue/jobs", AtLeastOnce), filter("flood", AtLeastOnce)]);
    for job in ["1", "2", "3"] {
        kit.publish(9, publish("$queue/jobs", job, AtLeastOnce));
    }
    for _ in 0..20 {
        kit.publish(9, publish("flood", "x", AtLeastOnce));
    }
    assert!(kit.dropped(DropReason::QueueFull) >= 16);
    let mut jobs = Vec::new();
    let mut seen = kit.take(1);
    let next = |seen: &[Seen]| {
        seen.iter().find_map(|seen| match seen {
            Seen::Message { body, pid: Some(pid), .. } => Some((body.clone(), *pid)),
            _ => None,
        })
    };
    while let Some((body, pid)) = next(&seen) {
        jobs.extend((body != "x").then_some(body));
        seen = kit.ack(1, AckKind::PubAck, pid);
    }
    assert_eq!(jobs, ["1", "2", "3"]);
}

#[test]
fn what_is_too_large_for_one_consumer_is_a_dead_letter() {
    let mut kit = Kit::new();
    kit.connect(9, client("p"));
    kit.connect(1, client("c"));
    kit.subscribe(1, &[filter("$queue/jobs", AtLeastOnce)]);
    kit.largest = 3;
    kit.publish(9, publish("$queue/jobs", "much", AtLeastOnce));
    kit.largest = usize::MAX;
    assert_eq!((kit.bodies(1).len(), kit.dropped(DropReason::TooLarge)), (0, 0));
    assert_eq!(bodies(kit.subscribe(1, &[filter("$queue/DLQ.jobs", AtLeastOnce)])), ["much"]);
}

#[test]
fn a_consumer_of_mqtt_refuses_a_queues_message_for_good() {
    let mut kit = Kit::new();
    kit.connect(9, client("p"));
    kit.connect(1, client("c"));
    kit.subscribe(1, &[filter("$queue/jobs", AtLeastOnce), filter("$queue/DLQ.jobs", AtMostOnce)]);
    kit.publish(9, publish("$queue/jobs", "bad", AtLeastOnce));
    assert_eq!(kit.bodies(1), ["bad"]);
    kit.give(Input::Ack { conn: conn(1), kind: AckKind::PubAck, packet_id: id(1), failed: true });
    assert_eq!((kit.bodies(1), kit.dropped(DropReason::RefusedByClient)), (vec!["bad".to_owned()], 0));
}
