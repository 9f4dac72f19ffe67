//! What the store keeps for shared subscriptions: when a group is a recipient, and when it is done with a message.

use super::*;
use crate::policy::Overflow;
use crate::selector::Selector;
use AckKind::{PubAck, PubComp, PubRec};
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

const SHARE: &str = "$share/g/t";

/// Session 1 is kept and the first member of group 2; session 3, not kept, publishes; from now on the test looks.
fn kit_with(limits: Limits, qos: Qos) -> Kit {
    let mut kit = Kit::with(limits);
    kit.manual = true;
    kit.connect(1, keeper("a"));
    kit.subscribe(1, &[filter(SHARE, qos)]);
    kit.connect(9, client("p"));
    kit.told_store();
    kit.take(1);
    kit
}

fn kit() -> Kit {
    kit_with(Limits::default(), ExactlyOnce)
}

fn send(kit: &mut Kit, body: &'static str, qos: Qos) -> Vec<String> {
    kit.publish(9, Publish { packet_id: Some(id(7)), ..publish("t", body, qos) });
    let told = kit.told_store();
    kit.take(9);
    told
}

#[test]
fn a_group_is_kept_from_its_first_kept_member_to_its_last() {
    let mut kit = Kit::new();
    kit.manual = true;
    kit.connect(1, client("not kept"));
    kit.subscribe(1, &[filter(SHARE, ExactlyOnce)]);
    kit.connect(2, keeper("at most once"));
    kit.subscribe(2, &[filter(SHARE, AtMostOnce)]);
    assert_eq!(kit.told_store(), ["kept 2 at most once", "subscribed 2 $share/g/t!"]);
    kit.connect(3, keeper("a"));
    kit.subscribe(3, &[filter(SHARE, AtLeastOnce)]);
    let kept = ["kept 3 a", "group 4 g/t", "4 online true", "subscribed 3 $share/g/t!"];
    assert_eq!(kit.told_store(), kept);
    kit.connect(4, keeper("b"));
    kit.subscribe(4, &[filter(SHARE, AtLeastOnce)]);
    kit.told_store();
    kit.give(Input::Unsubscribe { conn: conn(3), packet_id: id(9), filters: &[SHARE] });
    assert_eq!(kit.told_store(), ["unsubscribed 3 $share/g/t!"]);
    kit.give(Input::Disconnect { conn: conn(4), with_will: false, expiry_s: Some(0) });
    let told = kit.told_store();
    assert!(told.contains(&"group ended 4 []".into()), "nobody is left who is kept: {told:?}");
    assert_eq!(kit.engine.groups.len(), 1, "but two who are not");
}

#[test]
fn a_group_is_online_while_any_member_is() {
    let mut kit = kit();
    kit.connect(2, keeper("b"));
    kit.subscribe(2, &[filter(SHARE, AtLeastOnce)]);
    kit.told_store();
    kit.close(1);
    assert_eq!(kit.told_store(), ["1 online false"]);
    kit.close(2);
    assert_eq!(kit.told_store(), ["2 online false", "4 online false"]);
    kit.connect(1, keeper("a"));
    assert_eq!(kit.told_store(), ["kept 1 a", "2 online true"]);
}

#[test]
fn a_lent_message_is_done_with_when_its_member_has_it() {
    let mut kit = kit();
    assert_eq!(send(&mut kit, "x", AtLeastOnce), ["publish x 2@1!"]);
    kit.ack(1, PubAck, 1);
    assert_eq!(kit.told_store(), ["2 done 1"]);
    assert_eq!(
        send(&mut kit, "y", ExactlyOnce),
        ["publish y 2@2!", "sent 1/1 2 of 2!"],
        "it carries its owner"
    );
    kit.ack(1, PubRec, 1);
    assert_eq!(kit.told_store(), ["2 done 2", "received 1/1 2 of 2!"]);
    kit.ack(1, PubComp, 1);
    assert_eq!(kit.told_store(), ["completed 1/1"]);
}

#[test]
fn what_a_member_refuses_is_done_with_and_what_it_did_not_get_is_not() {
    let mut kit = kit();
    send(&mut kit, "x", AtLeastOnce);
    kit.give(Input::Ack { conn: conn(1), kind: PubAck, packet_id: id(1), failed: true });
    assert_eq!(kit.told_store(), ["2 done 1"]);
    kit.close(1);
    kit.told_store();
    assert_eq!(send(&mut kit, "y", AtLeastOnce), ["publish y 2@1!"]);
    kit.connect(2, keeper("b"));
    assert_eq!(bodies(kit.subscribe(2, &[filter(SHARE, AtLeastOnce)])), ["y"]);
    let told = kit.told_store();
    assert!(!told.iter().any(|words| words.contains("done")), "{told:?}");
}

#[test]
fn what_a_full_backlog_displaces_or_rejects_is_done_with() {
    for (overflow, told) in [(Overflow::DropOldest, "2 done 1"), (Overflow::DropNewest, "2 done 2")] {
        let mut kit = kit_with(Limits { max_queued_messages: 1, overflow, ..Limits::default() }, AtLeastOnce);
        kit.close(1);
        kit.told_store();
        assert_eq!(send(&mut kit, "x", AtLeastOnce), ["publish x 2@1!"]);
        assert_eq!(send(&mut kit, "y", AtLeastOnce), ["publish y 2@1!", told]);
        assert_eq!(kit.dropped(DropReason::QueueFull), 1);
    }
}

#[test]
fn what_expires_in_the_backlog_is_done_with() {
    let mut kit = kit();
    kit.close(1);
    kit.publish(9, Publish { expiry_s: Some(1), ..publish("t", "x", AtLeastOnce) });
    kit.told_store();
    kit.pass(1_500);
    kit.connect(1, keeper("a"));
    let told = kit.told_store();
    assert!(told.contains(&"2 done 1".into()), "{told:?}");
    assert_eq!(kit.dropped(DropReason::Expired), 1);
}

#[test]
fn what_goes_to_a_member_at_qos_0_is_done_with_at_once() {
    let mut kit = kit();
    kit.connect(2, client("careless"));
    kit.subscribe(2, &[filter(SHARE, AtMostOnce)]);
    kit.close(1);
    kit.told_store();
    assert_eq!(send(&mut kit, "x", AtLeastOnce), ["publish x 2@1!", "2 done 1"]);
    assert_eq!(kit.bodies(2), ["x"]);
}

#[test]
fn the_end_of_a_group_says_what_it_had() {
    let mut kit = kit_with(Limits { max_inflight: 1, ..Limits::default() }, AtLeastOnce);
    send(&mut kit, "lent", AtLeastOnce);
    send(&mut kit, "waits", AtLeastOnce);
    kit.give(Input::Disconnect { conn: conn(1), with_will: false, expiry_s: Some(0) });
    let told = kit.told_store();
    assert!(told.contains(&"group ended 2 [2, 1]".into()), "{told:?}");
    assert!(told.contains(&"ended 1 []".into()), "what was lent is not its member's: {told:?}");
}

#[test]
fn a_message_for_a_group_that_has_ended_meanwhile_is_done_with() {
    let mut kit = kit();
    kit.connect(8, keeper("q"));
    kit.told_store();
    kit.publish(8, publish("t", "held", ExactlyOnce));
    let (ticket, _) = kit.submitted.pop().unwrap();
    kit.give(Input::Disconnect { conn: conn(1), with_will: false, expiry_s: Some(0) });
    assert!(kit.told_store().contains(&"group ended 2 []".into()), "it does not have it yet");
    kit.settle(ticket);
    assert_eq!(kit.told_store(), ["2 done 1"]);
    assert_eq!(kit.dropped(DropReason::NoGroupMember), 1);
}

#[test]
fn qos_2_that_was_never_sent_returns_and_its_packet_id_is_free() {
    let mut kit = kit();
    kit.publish(9, Publish { packet_id: Some(id(7)), ..publish("t", "x", ExactlyOnce) });
    let tickets = kit.tickets();
    kit.close(1);
    tickets.into_iter().for_each(|ticket| kit.settle(ticket));
    let told = kit.told_store();
    assert!(told.contains(&"completed 1/1".into()), "{told:?}");
    kit.connect(2, keeper("b"));
    kit.subscribe(2, &[filter(SHARE, ExactlyOnce)]);
    let told = kit.told_store();
    assert!(told.contains(&"sent 4/2 1 of 2!".into()), "{told:?}");
    assert_eq!(kit.bodies(2), ["x"]);
}

#[test]
fn what_none_of_its_members_wants_is_not_kept_for_a_group() {
    let mut kit = Kit::with(Limits { max_inflight: 1, ..Limits::default() });
    kit.manual = true;
    kit.connect(1, keeper("a"));
    let filters = [filter(SHARE, AtLeastOnce)];
    let ask = |kit: &mut Kit, wanted: &str| {
        let selector = Some(Ok(Arc::new(Selector::parse(wanted).unwrap())));
        kit.give(Input::Subscribe { conn: conn(1), packet_id: id(9), id: None, selector, filters: &filters });
    };
    ask(&mut kit, "JSON('$.n') < 9");
    kit.connect(9, client("p"));
    kit.told_store();
    for body in ["{\"n\":1}", "{\"n\":2}"] {
        assert_eq!(send(&mut kit, body, AtLeastOnce).len(), 1);
    }
    assert_eq!(send(&mut kit, "{\"n\":9}", AtLeastOnce).last().unwrap(), "2 done 3");
    assert_eq!(kit.engine.stats().dropped.iter().sum::<u64>(), 0, "as if it had not been subscribed to");
    // The first is with its client; the second waits, and then for nobody.
    ask(&mut kit, "JSON('$.n') > 9");
    assert!(kit.told_store().contains(&"2 done 2".into()));
    assert_eq!((kit.engine.stats().queued, kit.engine.stats().loans), (0, 1));
}
