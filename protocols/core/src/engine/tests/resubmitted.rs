//! What the store is told again after it has lost what it held, and what it must be told although it seems needless.

use super::*;
use crate::policy::Durability;
use AckKind::PubRec;
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

/// A keeper that is away with one message in memory and one in the store alone, a group of it, a will, a retained message.
fn kit() -> Kit {
    let mut kit = Kit::with(Limits { max_held_messages: 1, ..Limits::default() });
    kit.manual = true;
    let will =
        WillRequest { publish: Publish { packet_id: None, ..publish("w", "will", AtMostOnce) }, delay_s: 0 };
    kit.connect(2, Connect { will: Some(will), ..client("p") });
    kit.connect(1, keeper("k"));
    kit.subscribe(1, &[filter("t", ExactlyOnce), filter("$share/g/s", AtLeastOnce)]);
    kit.close(1);
    for body in ["one", "two"] {
        kit.publish(2, publish("t", body, AtLeastOnce));
    }
    kit.publish(2, publish("s", "shared", AtLeastOnce));
    kit.publish(2, Publish { retain: true, ..publish("r", "kept", AtLeastOnce) });
    kit.told_store();
    kit
}

#[test]
fn everything_that_is_known_is_submitted_again_and_what_is_not_is_counted() {
    let mut kit = kit();
    kit.give(Input::Store(StoreEvent::Emptied));
    let told = kit.told_store();
    let has = |start: &str| told.iter().any(|op| op.starts_with(start));
    for op in [
        "will 1 will",
        "kept 2 k",
        "2 online false",
        "subscribed 2 t",
        "subscribed 2 $share/g/s",
        "group 3 g/s",
    ] {
        assert!(has(op), "{op} is missing in {told:?}");
    }
    assert!(has("publish one 2@1") && has("publish shared 3@1") && has("publish kept retained"), "{told:?}");
    assert!(!has("publish two"), "{told:?}");
    assert_eq!(kit.dropped(DropReason::StoreLost), 1);
    // What is acknowledged from now on is known by its new number.
    let seen = kit.connect(1, keeper("k"));
    kit.told_store();
    let came: Vec<_> = seen
        .iter()
        .filter_map(|seen| if let Seen::Message { body, .. } = seen { Some(body.as_str()) } else { None })
        .collect();
    assert_eq!(came, ["one", "shared"]);
    let known: Vec<_> = told.iter().filter(|op| op.starts_with("publish ")).collect();
    kit.ack(1, AckKind::PubAck, 1);
    let done = kit.told_store();
    assert!(done.iter().any(|op| op.starts_with("2 done")), "{done:?} of {known:?}");
}

#[test]
fn exchanges_under_way_are_submitted_again() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("k"));
    kit.subscribe(1, &[filter("t", ExactlyOnce)]);
    kit.connect(2, keeper("p"));
    for number in 1..=2 {
        kit.publish(2, Publish { packet_id: Some(id(number)), ..publish("t", "x", ExactlyOnce) });
    }
    kit.ack(1, PubRec, 1);
    kit.manual = true;
    kit.give(Input::Store(StoreEvent::Emptied));
    let told = kit.told_store();
    let has = |start: &str| told.iter().any(|op| op.starts_with(start));
    assert!(has("received 1/1 0 of 1") && has("sent 1/2 ") && has("publish x 1@2"), "{told:?}");
    assert!(has("publish  from 2/1") && has("publish  from 2/2"), "{told:?}");
}

#[test]
fn every_acknowledged_clearing_of_a_retained_message_is_stored() {
    // The one before it may wait to be written, or have failed.
    let mut kit = Kit::new();
    kit.connect(2, client("p"));
    kit.manual = true;
    let clear = |qos| Publish { retain: true, ..publish("r", "", qos) };
    kit.publish(2, Publish { retain: true, ..publish("r", "x", AtLeastOnce) });
    kit.told_store();
    kit.publish(2, clear(AtMostOnce));
    assert_eq!(kit.told_store(), ["publish  retained"]);
    assert_eq!(kit.publish(2, clear(AtLeastOnce)), []);
    assert_eq!(kit.told_store(), ["publish  retained!"]);
}

#[test]
fn a_will_is_published_also_while_the_store_refuses() {
    let mut kit = kit();
    kit.connect(3, client("here"));
    kit.subscribe(3, &[filter("w", AtLeastOnce)]);
    let will =
        WillRequest { publish: Publish { packet_id: None, ..publish("w", "gone", AtLeastOnce) }, delay_s: 0 };
    kit.connect(4, Connect { will: Some(will), ..client("ill") });
    kit.connect(1, keeper("k"));
    kit.subscribe(1, &[filter("w", AtLeastOnce)]);
    kit.engine.shared().set_store_refuses(true);
    kit.close(4);
    assert_eq!(kit.bodies(3), ["gone"]);
}

#[test]
fn a_subscription_that_was_refused_is_taken_back_from_the_store_as_well() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("k"));
    kit.manual = true;
    kit.subscribe(1, &[filter("t", AtLeastOnce)]);
    let tickets = kit.tickets();
    kit.fail(tickets[0]);
    assert_eq!(kit.told_store(), ["unsubscribed 1 t"]);
}

#[test]
fn the_packet_id_of_what_a_group_has_lent_is_submitted_again_without_its_message() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("k"));
    kit.subscribe(1, &[filter("$share/g/t", ExactlyOnce)]);
    kit.connect(2, client("p"));
    kit.publish(2, publish("t", "x", ExactlyOnce));
    kit.manual = true;
    kit.give(Input::Store(StoreEvent::Emptied));
    let told = kit.told_store();
    let has = |words: &str| told.iter().any(|told| told == words);
    assert!(has("received 1/1 0 of 1") && has("publish x 2@2"), "{told:?}");
    kit.ack(1, PubRec, 1);
    assert_eq!(kit.told_store(), ["2 done 2"], "for the group; the exchange is known already");
    kit.ack(1, AckKind::PubComp, 1);
    assert_eq!(kit.told_store(), ["completed 1/1"]);
}

#[test]
fn a_delayed_will_that_survives_is_not_published_at_the_end() {
    for (keeps_wills, expected) in [(true, vec!["now"]), (false, vec!["now", "later"])] {
        let mut kit = Kit::new();
        kit.connect(3, client("here"));
        kit.subscribe(3, &[filter("w", AtLeastOnce)]);
        for (number, body, delay_s) in [(1, "now", 0), (2, "later", 60)] {
            let publish = Publish { packet_id: None, ..publish("w", body, AtMostOnce) };
            kit.connect(number, Connect { will: Some(WillRequest { publish, delay_s }), ..keeper(body) });
        }
        kit.give(Input::Shutdown { keeps_wills });
        assert_eq!(kit.bodies(3), expected);
    }
}

#[test]
fn what_is_acknowledged_before_it_is_stored_is_refused_while_the_store_is_behind() {
    for (durability, is_refused) in [(Durability::Interval, true), (Durability::Always, false)] {
        let mut kit = kit();
        kit.connect(3, Connect { durability: Some(durability), ..client("q") });
        kit.engine.shared().set_store_behind(true);
        let seen = kit.publish(3, publish("t", "x", AtLeastOnce));
        assert_eq!(seen == [acked(AckKind::PubAck, 1, Reason::QuotaExceeded)], is_refused, "{seen:?}");
    }
}
