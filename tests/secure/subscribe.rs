//! What may not be subscribed to, and what does not come although a wider filter covers it: on every way a message can take.

use noctule_mqtt::Subscription;
use noctule_stomp::Command;

use crate::kit::{QOS_0, QOS_1, QOS_2, Served, V5, V311, VERSIONS};
use crate::mqtt::{Out, within};

/// ann does everything; bob may have what is open, and what is slow at QoS 0.
const ACL: &str = r##"
[[acl]]
allow = ["publish", "subscribe", "retain", "manage"]
topics = ["#", "$queue/#"]
users = ["ann"]

[[acl]]
deny = ["subscribe"]
topics = ["open/secret"]

[[acl]]
allow = ["subscribe", "manage"]
topics = ["open/#", "$queue/open"]

[[acl]]
allow = ["subscribe"]
topics = ["slow/#"]
max_qos = 0
"##;

#[test]
fn a_filter_with_no_right_at_all_is_refused() {
    let served = Served::ruled(ACL);
    for version in VERSIONS {
        let mut bob = served.client(version, "bob", "bob");
        let refused = if version.is_v5() { 0x87 } else { 0x80 };
        let filters = ["closed/#", "closed/x", "open/secret", "open/x", "+/x", "$SYS/#", "$share/g/closed/+"]
            .map(|filter| Subscription::new(filter, QOS_1));
        let granted = bob.subscribe_to(None, &filters);
        assert_eq!(granted, [refused, refused, refused, 1, 1, refused, refused], "{version:?}");
    }
    for destination in ["/topic/closed/x", "/queue/closed", "/topic/open/secret"] {
        let mut bob = served.stomp("bob");
        let headers = [("id", "1"), ("destination", destination), ("receipt", "1")];
        bob.send(Command::Subscribe, &headers, b"");
        bob.refused();
    }
}

#[test]
fn a_highest_qos_holds_for_subscribers() {
    let served = Served::ruled(ACL);
    let mut bob = served.client(V5, "bob", "bob");
    assert_eq!(bob.subscribe_to(None, &[Subscription::new("slow/#", QOS_2)]), [0]);
    bob.subscribe(QOS_2, "#");
    let mut ann = served.client(V5, "ann", "ann");
    ann.say(QOS_2, "slow/x", "slow");
    ann.say(QOS_2, "open/x", "open");
    let mut levels = [bob.take(), bob.take()].map(|message| (message.topic, message.qos));
    levels.sort();
    assert_eq!(levels, [("open/x".to_owned(), QOS_2), ("slow/x".to_owned(), QOS_0)]);
}

/// Publishes what bob may not have and then what he may.
fn both(ann: &mut crate::mqtt::Client, text: &str) {
    for topic in ["closed/x", "open/secret"] {
        ann.say(QOS_1, topic, "not for bob");
    }
    ann.say(QOS_1, "open/x", text);
}

#[test]
fn live_and_retained_messages_are_filtered() {
    let served = Served::ruled(ACL);
    let mut ann = served.client(V5, "ann", "ann");
    for topic in ["closed/kept", "open/secret"] {
        ann.publish(&Out::retained(topic, "not for bob"));
    }
    ann.publish(&Out::retained("open/kept", "kept"));
    for version in VERSIONS {
        let mut bob = served.client(version, "bob", "bob");
        bob.subscribe(QOS_1, "#");
        assert_eq!(bob.take().text(), "kept");
        both(&mut ann, "live");
        assert_eq!(bob.take().text(), "live");
        bob.ping();
        assert_eq!(bob.next_or_pong(), crate::mqtt::Got::Pong);
    }
    let mut bob = served.stomp("bob");
    bob.subscribe("1", "/topic/#", "auto");
    both(&mut ann, "live");
    let texts: Vec<_> = bob.texts(1);
    assert!(texts == ["live"] || texts == ["kept"], "{texts:?}");
}

#[test]
fn a_queue_of_somebody_away_holds_only_what_he_may_have() {
    let served = Served::ruled(ACL);
    let mut ann = served.client(V5, "ann", "ann");
    for version in VERSIONS {
        let (mut bob, _) = served.resume(version, "bob", "bob");
        bob.subscribe(QOS_1, "#");
        bob.bye();
        both(&mut ann, "while away");
        let (mut bob, present) = served.resume(version, "bob", "bob");
        assert!(present);
        assert_eq!(bob.take().text(), "while away");
        bob.has_nothing_but(&mut ann, "open/last");
    }
}

#[test]
fn a_share_gives_each_member_what_it_may_have() {
    let served = Served::ruled(ACL);
    let mut ann = served.client(V5, "ann", "ann");
    let mut bob = served.client(V5, "bob", "bob");
    let mut trusted = served.client(V5, "trusted", "ann");
    bob.subscribe(QOS_1, "$share/g/#");
    trusted.subscribe(QOS_1, "$share/g/#");
    for number in 0..6 {
        ann.say(QOS_1, "closed/x", &format!("closed {number}"));
    }
    // None of them is lost, all go to whoever may have them.
    let closed: Vec<_> = (0..6).map(|number| format!("closed {number}")).collect();
    assert_eq!(trusted.texts(6), closed);
    for number in 0..6 {
        ann.say(QOS_1, "open/x", &format!("{number}"));
    }
    // A share's home may be another worker's than its members': an answer says nothing about what is on its way from there.
    let mut count = 0;
    within("all six come", || {
        for client in [&mut bob, &mut trusted] {
            while let crate::mqtt::Got::Publish(delivered) = client.next_or_pong() {
                assert_eq!(delivered.topic, "open/x");
                client.ack(noctule_mqtt::PacketType::PubAck, delivered.packet_id);
                count += 1;
            }
        }
        (count >= 6).then_some(())
    });
    assert_eq!(count, 6);
}

#[test]
fn a_share_of_one_who_may_not_gives_nothing() {
    let served = Served::ruled(ACL);
    let mut ann = served.client(V5, "ann", "ann");
    let mut bob = served.client(V311, "bob", "bob");
    bob.subscribe(QOS_1, "$share/g/#");
    both(&mut ann, "open");
    assert_eq!(bob.take().text(), "open");
    bob.ping();
    assert_eq!(bob.next_or_pong(), crate::mqtt::Got::Pong);
}

#[test]
fn queues_and_durable_subscriptions_ask_as_well() {
    let served = Served::ruled(ACL);
    let mut ann = served.client(V5, "ann", "ann");
    let durable = [("durable", "true"), ("auto-delete", "false")];
    let mut bob = served.stomp_with("bob", &[("client-id", "bob")]);
    bob.subscribe_with("d", "/topic/#", "client-individual", &durable);
    both(&mut ann, "live");
    assert_eq!(bob.take().text(), "live");
    bob.bye();
    both(&mut ann, "while away");
    let mut bob = served.stomp_with("bob", &[("client-id", "bob")]);
    bob.subscribe_with("d", "/topic/#", "client-individual", &durable);
    assert_eq!(bob.take().text(), "while away");
    bob.is_quiet();
    // A queue is one topic: it may be consumed from or not.
    let mut sender = served.stomp("ann");
    sender.say("/queue/closed", "not for bob");
    sender.say("/queue/open", "for bob");
    let mut bob = served.stomp("bob");
    bob.subscribe("q", "/queue/open", "client-individual");
    assert_eq!(bob.take().text(), "for bob");
    let mut v5 = served.client(V5, "bob5", "bob");
    assert_eq!(v5.subscribe_to(None, &[Subscription::new("$queue/closed", QOS_1)]), [0x87]);
    assert_eq!(
        served.client(V5, "b", "bob").subscribe_to(None, &[Subscription::new("$queue/#", QOS_1)])[0] & 0x80,
        0x80
    );
    let mut browser = served.stomp("bob");
    let headers = [("id", "b"), ("destination", "/queue/closed"), ("browser", "true")];
    browser.send(Command::Subscribe, &headers, b"");
    browser.refused();
}
