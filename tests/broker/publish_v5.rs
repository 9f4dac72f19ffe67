//! PUBLISH as only 5.0 has it: properties, aliases, identifiers, expiry, Retain As Published (section 3.3.2.3).

use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, RetainHandling, Subscription};

use crate::kit::{Got, Out, Served, V5, V311};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

/// An encoded property of a string.
fn text(id: u8, value: &str) -> Vec<u8> {
    [&[id, 0, value.len() as u8][..], value.as_bytes()].concat()
}

fn user(name: &str, value: &str) -> Vec<u8> {
    [text(0x26, name), vec![0, value.len() as u8], value.as_bytes().to_vec()].concat()
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

#[test]
fn every_property_is_passed_on_unaltered_and_user_properties_in_order() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut subscriber = served.client(V5, "subscriber");
    subscriber.subscribe(QOS_2, "properties");
    let fields = [
        user("b", "1"),
        vec![0x01, 1],
        text(0x03, "text/plain"),
        user("a", "2"),
        text(0x08, "reply/here"),
        user("b", "1"),
        text(0x09, "correlate"),
        user("", ""),
        user("b", "0"),
    ]
    .concat();
    let expected = [
        field("user b", "1"),
        field("payload format", "1"),
        field("content type", "text/plain"),
        field("user a", "2"),
        field("response topic", "reply/here"),
        field("user b", "1"),
        field("correlation data", "correlate"),
        field("user ", ""),
        field("user b", "0"),
    ];
    for qos in [QOS_0, QOS_1, QOS_2] {
        publisher.publish(&Out { fields: &fields, retain: true, ..Out::new(qos, "properties", "payload") });
        // [MQTT-3.3.2-4, -15, -16, -17, -18]
        assert_eq!(subscriber.take().fields, expected);
    }
    // A retained message keeps them, a client of 3.1.1 is spared them.
    let mut late = served.client(V5, "late");
    late.subscribe(QOS_0, "properties");
    assert_eq!(late.take().fields, expected);
    let mut old = served.client(V311, "old");
    old.subscribe(QOS_0, "properties");
    assert_eq!(old.take().text(), "payload");
}

#[test]
fn mqtt_3_3_2_14_a_response_topic_with_a_wildcard_is_refused() {
    let served = Served::start();
    let mut client = served.client(V5, "client");
    client.raw(&[0x30, 9, 0, 1, b't', 5, 0x08, 0, 2, b'#', b'a']);
    assert!(matches!(client.next(), Got::Bye(0x81 | 0x82)));
    client.is_closed();
}

#[test]
fn a_property_twice_is_a_protocol_error() {
    let served = Served::start();
    let mut client = served.client(V5, "client");
    client.raw(&[0x30, 8, 0, 1, b't', 4, 0x01, 0, 0x01, 0]);
    client.is_sent_away(0x82);
}

#[test]
fn a_property_of_another_packet_is_refused() {
    let served = Served::start();
    let mut client = served.client(V5, "client");
    // Server Keep Alive.
    client.raw(&[0x30, 7, 0, 1, b't', 3, 0x13, 0, 1]);
    assert!(matches!(client.next(), Got::Bye(0x81 | 0x82)));
    client.is_closed();
}

#[test]
fn mqtt_3_3_4_6_a_client_must_not_send_subscription_identifiers() {
    let served = Served::start();
    let mut client = served.client(V5, "client");
    client.raw(&[0x30, 6, 0, 1, b't', 2, 0x0B, 1]);
    client.is_sent_away(0x82);
}

#[test]
fn mqtt_3_3_2_6_the_expiry_counts_down_while_the_message_waits() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let (mut subscriber, _) = served.resume(V5, "waits");
    subscriber.subscribe(QOS_1, "expiry");
    publisher.publish(&Out { expiry_s: Some(100), ..Out::new(QOS_1, "expiry", "live") });
    assert_eq!(subscriber.take().expiry_s, Some(100));
    subscriber.bye();
    publisher.publish(&Out { expiry_s: Some(100), retain: true, ..Out::new(QOS_1, "expiry", "later") });
    publisher.publish(&Out { expiry_s: Some(1), ..Out::new(QOS_1, "expiry", "too late") });
    publisher.publish(&Out::new(QOS_1, "expiry", "never expires"));
    std::thread::sleep(Duration::from_millis(1_150));
    let (mut subscriber, _) = served.resume(V5, "waits");
    let later = subscriber.take();
    assert_eq!(later.text(), "later");
    assert!((80..=99).contains(&later.expiry_s.unwrap()), "{:?}", later.expiry_s);
    // [MQTT-3.3.2-5]
    let never = subscriber.take();
    assert_eq!((never.text(), never.expiry_s), ("never expires", None));
    let mut late = served.client(V5, "late");
    late.subscribe(QOS_1, "expiry");
    assert!((80..=99).contains(&late.take().expiry_s.unwrap()), "retained ones age too");
}

#[test]
fn a_retained_message_expires() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let begun = Instant::now();
    publisher.publish(&Out { expiry_s: Some(4), ..Out::retained("brief", "x") });
    let mut early = served.client(V5, "early");
    early.subscribe(QOS_1, "brief");
    // Unless this machine has slept for so long.
    if begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(early.take().text(), "x");
    }
    std::thread::sleep(Duration::from_millis(4_150));
    let mut late = served.client(V5, "late");
    late.subscribe(QOS_1, "brief");
    late.has_nothing_but(&mut publisher, "brief");
}

#[test]
fn mqtt_3_3_4_3_all_identifiers_of_matching_subscriptions_come_along() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut subscriber = served.client(V5, "subscriber");
    for (id, filter) in
        [(Some(1), "ids/#"), (Some(268_435_455), "ids/+"), (None, "ids/x"), (Some(7), "other")]
    {
        assert_eq!(subscriber.subscribe_to(id, &[Subscription::new(filter, QOS_1)]), [1]);
    }
    publisher.say(QOS_1, "ids/x", "one copy");
    let got = subscriber.take();
    let mut ids = got.ids.clone();
    ids.sort_unstable();
    assert_eq!(ids, [1, 268_435_455]);
    publisher.say(QOS_1, "other", "another");
    let got = subscriber.take();
    assert_eq!((got.text(), &got.ids[..]), ("another", &[7][..]));
}

#[test]
fn a_subscription_made_again_has_its_new_identifier_and_retained_messages_have_theirs() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    publisher.publish(&Out::retained("renewed", "kept"));
    let mut subscriber = served.client(V5, "subscriber");
    for id in [Some(1), Some(2), None] {
        subscriber.subscribe_to(id, &[Subscription::new("renewed", QOS_1)]);
        let expected: Vec<u32> = id.into_iter().collect();
        assert_eq!(subscriber.take().ids, expected, "retained");
        publisher.say(QOS_1, "renewed", "live");
        assert_eq!(subscriber.take().ids, expected, "live");
    }
}

#[test]
fn mqtt_3_3_1_13_retain_as_published_keeps_the_flag() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut plain = served.client(V5, "plain");
    plain.subscribe(QOS_1, "rap");
    let mut faithful = served.client(V5, "faithful");
    let wish = Subscription { retain_as_published: true, ..Subscription::new("rap", QOS_1) };
    faithful.subscribe_to(None, &[wish]);
    publisher.publish(&Out::retained("rap", "retained"));
    publisher.say(QOS_1, "rap", "not retained");
    assert_eq!([plain.take().retain, plain.take().retain], [false, false], "[MQTT-3.3.1-12]");
    assert_eq!([faithful.take().retain, faithful.take().retain], [true, false]);
}

#[test]
fn mqtt_3_3_1_9_to_11_retain_handling_is_obeyed() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    publisher.publish(&Out::retained("handling", "kept"));
    let mut subscriber = served.client(V5, "subscriber");
    let ask = |client: &mut crate::kit::Client, handling| {
        let wish = Subscription { retain_handling: handling, ..Subscription::new("handling", QOS_1) };
        client.subscribe_to(None, &[wish]);
    };
    ask(&mut subscriber, RetainHandling::Never);
    subscriber.has_nothing_but(&mut publisher, "handling");
    // It exists already.
    ask(&mut subscriber, RetainHandling::IfNew);
    subscriber.has_nothing_but(&mut publisher, "handling");
    ask(&mut subscriber, RetainHandling::Always);
    assert_eq!(subscriber.take().text(), "kept");
    subscriber.unsubscribe(&["handling"]);
    ask(&mut subscriber, RetainHandling::IfNew);
    assert_eq!(subscriber.take().text(), "kept");
}

#[test]
fn mqtt_3_3_4_a_publisher_learns_that_nobody_is_subscribed() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    assert_eq!(publisher.say(QOS_1, "lonely", "x"), 0x10);
    assert_eq!(publisher.say(QOS_2, "lonely", "x"), 0x10);
    let mut subscriber = served.client(V5, "subscriber");
    subscriber.subscribe(QOS_0, "lonely");
    assert_eq!(publisher.say(QOS_1, "lonely", "x"), 0);
}

#[test]
fn mqtt_3_3_2_8_an_alias_stands_for_its_topic_and_can_be_set_anew() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut subscriber = served.client(V5, "subscriber");
    subscriber.subscribe(QOS_1, "alias/#");
    let out = |topic, alias| Out { alias, ..Out::new(QOS_1, topic, "x") };
    for (topic, alias, expected) in [
        ("alias/a", 1, "alias/a"),
        ("", 1, "alias/a"),
        ("alias/b", 32, "alias/b"),
        ("", 1, "alias/a"),
        ("", 32, "alias/b"),
        ("alias/c", 1, "alias/c"),
        ("", 1, "alias/c"),
    ] {
        publisher.publish(&out(topic, alias));
        let got = subscriber.take();
        assert_eq!((got.topic.as_str(), got.alias), (expected, None), "the alias is the hop's alone");
    }
}

#[test]
fn mqtt_3_3_2_10_an_alias_does_not_outlive_its_connection() {
    let served = Served::start();
    let (mut publisher, _) = served.resume(V5, "publisher");
    publisher.publish(&Out { alias: 1, ..Out::new(QOS_1, "alias", "x") });
    publisher.bye();
    let (mut publisher, _) = served.resume(V5, "publisher");
    publisher.put(&Out { alias: 1, ..Out::new(QOS_1, "", "x") });
    publisher.is_sent_away(0x82);
}

#[test]
fn mqtt_3_3_2_7_an_alias_of_0_is_refused_and_one_never_set_is_a_protocol_error() {
    let served = Served::start();
    let mut client = served.client(V5, "zero");
    client.raw(&[0x30, 8, 0, 1, b't', 3, 0x23, 0, 0, b'x']);
    client.is_sent_away(0x94);
    let mut client = served.client(V5, "unset");
    client.put(&Out { alias: 2, ..Out::new(QOS_0, "", "x") });
    client.is_sent_away(0x82);
}

#[test]
fn mqtt_3_1_2_26_the_broker_uses_aliases_only_as_far_as_the_client_allows() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut none = served.client(V5, "takes none");
    none.subscribe(QOS_0, "out/#");
    let mut connect = Connect::new(V5, "takes two");
    connect.topic_alias_maximum = 2;
    let (mut two, _) = served.welcome(&connect);
    two.subscribe(QOS_0, "out/#");
    let mut known = [String::new(), String::new()];
    for topic in ["out/a", "out/a", "out/b", "out/c", "out/a", "out/a", "out/c", "out/b", "out/b"] {
        publisher.say(QOS_1, topic, "x");
        let got = none.take();
        assert_eq!((got.topic.as_str(), got.alias), (topic, None), "[MQTT-3.1.2-27]");
        let got = two.take();
        let meant = match got.alias {
            None => got.topic,
            Some(alias) => {
                assert!((1..=2).contains(&alias), "alias {alias}");
                let place = &mut known[usize::from(alias) - 1];
                if !got.topic.is_empty() {
                    *place = got.topic;
                }
                place.clone()
            }
        };
        assert_eq!(meant, topic);
    }
    assert!(known.iter().all(|topic| !topic.is_empty()), "both were used");
}

#[test]
fn mqtt_3_1_2_25_a_packet_larger_than_the_client_takes_is_not_sent_and_not_missed() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut connect = Connect::new(V5, "small");
    connect.maximum_packet_size = std::num::NonZeroU32::new(64);
    let (mut small, _) = served.welcome(&connect);
    let mut large = served.client(V5, "large");
    for client in [&mut small, &mut large] {
        client.subscribe(QOS_2, "size");
    }
    // Fixed header 2, topic 6, packet id 2, properties 1: 53 bytes of payload make 64.
    for (qos, fits, too_many) in [(QOS_0, 55, 56), (QOS_1, 53, 54), (QOS_2, 53, 54)] {
        publisher.say(qos, "size", &"x".repeat(too_many));
        publisher.say(qos, "size", &"y".repeat(fits));
        assert_eq!(small.take().payload, vec![b'y'; fits], "{qos:?}");
        assert_eq!(large.take().payload.len(), too_many);
        assert_eq!(large.take().payload.len(), fits);
    }
}

#[test]
fn mqtt_3_3_4_9_the_client_s_receive_maximum_bounds_what_is_in_flight() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut connect = Connect::new(V5, "slow");
    connect.receive_maximum = crate::kit::pid(2);
    let (mut slow, _) = served.welcome(&connect);
    slow.subscribe(QOS_1, "maximum/+");
    for number in 0..5 {
        publisher.say(QOS_1, "maximum/1", &number.to_string());
    }
    // QoS 0 is not counted, but keeps its place in the order.
    let first = slow.receive();
    let second = slow.receive();
    assert_eq!((first.text(), second.text()), ("0", "1"));
    slow.ping();
    slow.ack(noctule_mqtt::PacketType::PubAck, first.packet_id);
    let third = slow.receive();
    assert_eq!(third.text(), "2");
    slow.ping();
    slow.ack(noctule_mqtt::PacketType::PubAck, second.packet_id);
    slow.ack(noctule_mqtt::PacketType::PubAck, third.packet_id);
    assert_eq!(slow.texts(2), ["3", "4"]);
}
