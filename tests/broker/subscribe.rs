//! SUBSCRIBE and UNSUBSCRIBE: what is granted, what matches, what goes away (section 3.8 to 3.11, 4.7).

use noctule_core::id::Qos;
use noctule_mqtt::Subscription;

use crate::kit::{Client, Got, LEVELS, Out, Served, V5, V31, V311, VERSIONS};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

#[test]
fn mqtt_3_8_4_6_one_code_for_each_filter_in_order() {
    let served = Served::start();
    for version in VERSIONS {
        let mut client = served.client(version, "many");
        let wishes =
            [("a", QOS_2), ("b/+", QOS_0), ("#", QOS_1)].map(|(filter, qos)| Subscription::new(filter, qos));
        assert_eq!(client.subscribe_to(None, &wishes), [2, 0, 1]);
    }
}

#[test]
fn mqtt_3_8_3_2_subscribe_without_a_filter_is_a_protocol_error() {
    let served = Served::start();
    for (version, packet) in
        [(V31, &[0x82, 2, 0, 1][..]), (V311, &[0x82, 2, 0, 1]), (V5, &[0x82, 3, 0, 1, 0])]
    {
        let mut client = served.client(version, "none");
        client.raw(packet);
        client.is_refused(0x82);
    }
    for (version, packet) in
        [(V31, &[0xA2, 2, 0, 1][..]), (V311, &[0xA2, 2, 0, 1]), (V5, &[0xA2, 3, 0, 1, 0])]
    {
        let mut client = served.client(version, "none");
        client.raw(packet);
        client.is_refused(0x82);
    }
}

#[test]
fn mqtt_3_8_1_1_the_reserved_flags_of_subscribe_are_checked() {
    let served = Served::start();
    for version in VERSIONS {
        let mut client = served.client(version, "flags");
        client.raw(&[0x80, 6, 0, 1, 0, 1, b'a', 0]);
        client.is_refused(0x81);
    }
}

#[test]
fn reserved_options_and_qos_3_are_refused() {
    let served = Served::start();
    for options in [0x03, 0x40, 0x80, 0x30] {
        let mut client = served.client(V5, "options");
        client.raw(&[0x82, 7, 0, 1, 0, 0, 1, b'a', options]);
        assert!(matches!(client.next(), Got::Bye(0x81 | 0x82)), "{options:#x}");
        client.is_closed();
    }
    for options in [0x03, 0x04, 0x10] {
        let mut client = served.client(V311, "options");
        client.raw(&[0x82, 6, 0, 1, 0, 1, b'a', options]);
        client.is_closed();
    }
}

#[test]
fn mqtt_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error() {
    let served = Served::start();
    let mut client = served.client(V5, "client");
    client.raw(&[0x82, 16, 0, 1, 0, 0, 10, b'$', b's', b'h', b'a', b'r', b'e', b'/', b'g', b'/', b'a', 0x04]);
    client.is_sent_away(0x82);
}

#[test]
fn mqtt_4_7_1_ill_formed_filters_are_refused() {
    let served = Served::start();
    for filter in ["a/#/b", "a#", "+a", "a/b+", "#/a", ""] {
        for version in VERSIONS {
            let mut client = served.client(version, "ill-formed");
            let mut body = vec![0, 1];
            if version.is_v5() {
                body.push(0);
            }
            body.extend_from_slice(&[0, filter.len() as u8]);
            body.extend_from_slice(filter.as_bytes());
            body.push(0);
            client.raw(&[&[0x82, body.len() as u8][..], &body].concat());
            // 5.0 has a code for it (0x8F) that both SUBACK and DISCONNECT may carry, and 0x81, 0x82 for the malformed.
            match client.next() {
                Got::SubAck(1, codes) if version.is_v5() => assert_eq!(codes, [0x8F], "{filter}"),
                Got::SubAck(1, codes) => assert_eq!(codes, [0x80], "{filter}"),
                Got::Bye(reason) => {
                    assert!(version.is_v5() && [0x8F, 0x81, 0x82].contains(&reason), "{filter}: {reason:#x}");
                }
                Got::Closed => assert!(!version.is_v5(), "{filter}"),
                other => panic!("{filter}: {other:?}"),
            }
        }
    }
}

#[test]
fn mqtt_4_7_1_filters_match_what_the_specification_says() {
    let served = Served::start();
    let mut publisher = served.client(V311, "publisher");
    let mut number = 0;
    for (filter, matching, others) in [
        (
            "sport/tennis/#",
            &["sport/tennis", "sport/tennis/", "sport/tennis/a/b"][..],
            &["sport", "sport/tennisx"][..],
        ),
        ("sport/+", &["sport/", "sport/a"], &["sport", "sport/a/b", "Sport/a"]),
        ("+/+", &["/finance", "a/b"], &["finance", "a/b/c"]),
        ("/+", &["/finance"], &["finance", "a/b"]),
        ("+", &["finance"], &["/finance"]),
        ("#", &["a", "/", "a/b/c"], &["$other/a"]),
        ("+/monitor", &["a/monitor"], &["$other/monitor"]),
        ("$other/#", &["$other", "$other/monitor"], &["other/monitor"]),
        ("$other/+", &["$other/monitor"], &["$other"]),
    ] {
        number += 1;
        let mut subscriber = served.client(V311, &format!("subscriber {number}"));
        subscriber.subscribe(QOS_0, filter);
        for topic in others.iter().chain(matching) {
            publisher.say(QOS_1, topic, topic);
        }
        // [MQTT-4.7.2-1] for those with a dollar.
        assert_eq!(subscriber.texts(matching.len()), matching, "{filter}");
    }
}

#[test]
fn mqtt_3_3_4_2_overlapping_subscriptions_bring_one_copy_at_the_highest_qos() {
    let served = Served::start();
    for version in VERSIONS {
        let mut publisher = served.client(version, "publisher");
        let mut subscriber = served.client(version, "subscriber");
        for (filter, qos) in [("over/#", QOS_0), ("over/+", QOS_2), ("over/lap", QOS_1)] {
            subscriber.subscribe(qos, filter);
        }
        publisher.say(QOS_2, "over/lap", "x");
        assert_eq!(subscriber.take().qos, QOS_2);
        subscriber.has_nothing_but(&mut publisher, "over/lap");
    }
}

#[test]
fn mqtt_3_8_4_3_the_same_filter_again_replaces_the_subscription() {
    let served = Served::start();
    for version in VERSIONS {
        let mut publisher = served.client(version, "publisher");
        let mut subscriber = served.client(version, "subscriber");
        for qos in LEVELS.into_iter().rev() {
            subscriber.subscribe(qos, "again");
            publisher.say(QOS_2, "again", "x");
            assert_eq!(subscriber.take().qos, qos);
        }
        subscriber.has_nothing_but(&mut publisher, "again");
    }
}

#[test]
fn mqtt_3_10_4_unsubscribing_stops_what_comes_and_is_answered_for_each_filter() {
    let served = Served::start();
    for version in VERSIONS {
        let mut publisher = served.client(version, "publisher");
        let mut subscriber = served.client(version, "subscriber");
        for filter in ["gone", "gone/#", "stays"] {
            subscriber.subscribe(QOS_1, filter);
        }
        let codes = subscriber.unsubscribe(&["gone", "never/was", "gone/#", "gon+"][..3]);
        // Below 5.0 UNSUBACK says nothing [MQTT-3.11.3-1], [MQTT-3.10.4-5].
        assert_eq!(codes, if version.is_v5() { vec![0, 0x11, 0] } else { vec![] });
        publisher.say(QOS_1, "gone", "x");
        subscriber.has_nothing_but(&mut publisher, "stays");
    }
}

#[test]
fn mqtt_3_10_4_1_filters_are_compared_character_by_character() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut subscriber = served.client(V5, "subscriber");
    subscriber.subscribe(QOS_1, "exact/+");
    assert_eq!(subscriber.unsubscribe(&["exact/#", "exact/x", "exact/+/"]), [0x11, 0x11, 0x11]);
    publisher.say(QOS_1, "exact/x", "still");
    assert_eq!(subscriber.take().text(), "still");
}

#[test]
fn mqtt_3_10_4_3_what_is_in_flight_is_finished_after_unsubscribing() {
    let served = Served::start();
    let mut publisher = served.client(V311, "publisher");
    let (mut subscriber, _) = served.resume(V311, "subscriber");
    subscriber.subscribe(QOS_2, "finish");
    publisher.say(QOS_2, "finish", "x");
    let id = subscriber.receive().packet_id;
    subscriber.unsubscribe(&["finish"]);
    subscriber.cut();
    let (mut subscriber, _) = served.resume(V311, "subscriber");
    let again = subscriber.take();
    assert_eq!((again.packet_id, again.dup), (id, true));
}

#[test]
fn subscriptions_of_a_kept_session_are_still_there() {
    let served = Served::start();
    for version in VERSIONS {
        let id = format!("kept {version:?}");
        let (mut subscriber, _) = served.resume(version, &id);
        subscriber.subscribe(QOS_1, "kept/+");
        subscriber.bye();
        let (mut subscriber, _) = served.resume(version, &id);
        let mut publisher = served.client(version, "publisher");
        publisher.say(QOS_1, "kept/x", "x");
        assert_eq!(subscriber.take().text(), "x");
    }
}

#[test]
fn a_subscription_is_in_force_when_its_suback_comes() {
    let served = Served::start();
    let mut publisher = served.client(V311, "publisher");
    for number in 0..50 {
        let mut subscriber = served.client(V311, &format!("subscriber {}", number % 5));
        let topic = format!("force/{number}");
        subscriber.subscribe(QOS_0, &topic);
        publisher.say(QOS_0, &topic, "x");
        assert_eq!(subscriber.take().text(), "x");
    }
}

#[test]
fn no_retained_message_is_missed_however_subscribe_and_publish_race() {
    let served = Served::start();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut publisher = served.client(V311, "publisher");
            for number in 0..200 {
                publisher.publish(&Out::retained("race", &number.to_string()));
            }
        });
        for round in 0..20 {
            let mut subscriber: Client = served.client(V311, &format!("subscriber {round}"));
            subscriber.subscribe(QOS_1, "race");
            let mut last = None;
            // From the first one that came none is missing. That one may come as retained and as live, when the
            // publisher of another worker is between storing and matching it.
            for _ in 0..3 {
                let Got::Publish(got) = subscriber.next_or_pong() else { break };
                let number: u32 = got.text().parse().unwrap();
                subscriber.ack(noctule_mqtt::PacketType::PubAck, got.packet_id);
                assert!(
                    last.is_none_or(|last| number == last || number == last + 1),
                    "{number} after {last:?}"
                );
                last = Some(number);
            }
        }
        publisher.join().unwrap();
    });
}

#[test]
fn nobody_publishes_to_the_broker_s_own_topics() {
    let served = Served::start();
    let mut reader = served.client(V5, "reader");
    reader.subscribe(QOS_1, "$SYS/#");
    let mut client = served.client(V5, "client");
    assert_eq!(client.say(QOS_1, "$SYS/broker/version", "forged"), 0x87);
    assert_eq!(client.say(QOS_2, "$SYS/broker/version", "forged"), 0x87);
    // 3.1.1 can't be told: acknowledged, and nobody gets it [MQTT-3.3.5-2].
    let mut old = served.client(V311, "old");
    assert_eq!(old.say(QOS_1, "$SYS/broker/version", "forged"), 0);
    assert_eq!(old.say(QOS_2, "$SYS/broker/version", "forged"), 0);
    reader.ping();
    reader.subscribe(QOS_1, "plain");
    reader.has_nothing_but(&mut old, "plain");
}
