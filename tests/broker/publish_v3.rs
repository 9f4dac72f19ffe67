//! PUBLISH as all versions share it: delivery at every QoS, RETAIN, order, identifiers (section 3.3, 4.3, 4.6).

use noctule_core::id::Qos;
use noctule_mqtt::{PacketType, Version};

use crate::kit::{Client, Delivered, Got, LEVELS, Out, Served, V5, V31, V311, VERSIONS};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

fn pair(served: &Served, version: Version) -> (Client, Client) {
    (served.client(version, "publisher"), served.client(version, "subscriber"))
}

#[test]
fn mqtt_3_8_4_8_a_message_comes_at_the_lower_of_both_qos() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut publisher, mut subscriber) = pair(&served, version);
        for granted in LEVELS {
            let topic = format!("granted/{}", granted.level());
            subscriber.subscribe(granted, &topic);
            for sent in LEVELS {
                assert_eq!(publisher.say(sent, &topic, "x"), 0);
                let got = subscriber.take();
                assert_eq!((got.qos, got.dup, got.retain), (sent.min(granted), false, false));
                assert_eq!((got.topic.as_str(), got.text()), (topic.as_str(), "x"));
            }
        }
    }
}

#[test]
fn all_versions_reach_each_other() {
    let served = Served::start();
    let mut subscribers = VERSIONS.map(|version| served.client(version, &format!("s{version:?}")));
    for subscriber in &mut subscribers {
        subscriber.subscribe(QOS_2, "all/+");
    }
    for version in VERSIONS {
        let mut publisher = served.client(version, "publisher");
        for qos in LEVELS {
            publisher.say(qos, "all/of/them/not", "deeper");
            publisher.say(qos, "all/them", "x");
            for subscriber in &mut subscribers {
                assert_eq!((subscriber.take().qos), qos);
            }
        }
    }
}

#[test]
fn payloads_of_every_size_arrive_untouched() {
    let served = Served::start();
    let (mut publisher, mut subscriber) = pair(&served, V311);
    subscriber.subscribe(QOS_1, "size");
    for size in [0, 1, 126, 127, 128, 4_095, 16_383, 16_384, 65_536, 300_000, 1_000_000] {
        let payload: Vec<u8> = (0..size).map(|at| (at * 7 + at / 251) as u8).collect();
        let out = Out { payload: &payload, ..Out::new(QOS_1, "size", "") };
        publisher.publish(&out);
        assert!(subscriber.take().payload == payload, "{size} bytes");
    }
}

#[test]
fn mqtt_3_3_1_8_retain_is_set_for_new_subscribers_and_clear_for_old_ones() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut publisher, mut old) = pair(&served, version);
        let topic = format!("retained/{version:?}");
        old.subscribe(QOS_1, &topic);
        publisher.publish(&Out::retained(&topic, "kept"));
        let live = old.take();
        assert_eq!((live.text(), live.retain), ("kept", false), "[MQTT-3.3.1-9], [MQTT-3.3.1-12]");
        let mut new = served.client(version, "new");
        new.subscribe(QOS_1, &topic);
        let replayed = new.take();
        assert_eq!((replayed.text(), replayed.retain, replayed.qos), ("kept", true, QOS_1));
    }
}

#[test]
fn mqtt_3_3_1_5_only_the_last_retained_message_is_kept() {
    let served = Served::start();
    let (mut publisher, mut subscriber) = pair(&served, V311);
    for number in 0..5 {
        publisher.publish(&Out::retained("last", &number.to_string()));
    }
    publisher.say(QOS_1, "last", "not retained");
    subscriber.subscribe(QOS_1, "last");
    assert_eq!(subscriber.take().text(), "4");
    subscriber.has_nothing_but(&mut publisher, "last");
}

#[test]
fn mqtt_3_3_1_6_an_empty_retained_message_clears_and_is_still_delivered() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut publisher, mut subscriber) = pair(&served, version);
        publisher.publish(&Out::retained("clear/me", "kept"));
        subscriber.subscribe(QOS_1, "clear/me");
        assert_eq!(subscriber.take().text(), "kept");
        publisher.publish(&Out::retained("clear/me", ""));
        let cleared = subscriber.take();
        assert_eq!((cleared.text(), cleared.retain), ("", false));
        let mut late = served.client(version, "late");
        late.subscribe(QOS_1, "clear/me");
        late.has_nothing_but(&mut publisher, "clear/me");
    }
}

#[test]
fn retained_messages_of_qos_0_are_kept_too_and_come_at_the_lower_qos() {
    let served = Served::start();
    let (mut publisher, mut subscriber) = pair(&served, V311);
    for qos in LEVELS {
        publisher.publish(&Out { retain: true, ..Out::new(qos, &format!("level/{}", qos.level()), "x") });
    }
    subscriber.subscribe(QOS_1, "level/+");
    let mut got: Vec<_> = (0..3).map(|_| subscriber.take()).map(|got| (got.topic, got.qos)).collect();
    got.sort();
    assert_eq!(got, [("level/0".into(), QOS_0), ("level/1".into(), QOS_1), ("level/2".into(), QOS_1)]);
}

#[test]
fn mqtt_3_3_1_10_below_5_every_subscribe_brings_the_retained_messages() {
    let served = Served::start();
    for version in [V31, V311] {
        let (mut publisher, mut subscriber) = pair(&served, version);
        publisher.publish(&Out::retained("again", "kept"));
        for _ in 0..3 {
            subscriber.subscribe(QOS_1, "again");
            assert_eq!(subscriber.take().text(), "kept");
        }
    }
}

#[test]
fn a_large_retained_tree_is_replayed_whole() {
    let served = Served::start();
    let (mut publisher, mut subscriber) = pair(&served, V311);
    for number in 0..600 {
        publisher
            .publish(&Out { retain: true, ..Out::new(QOS_0, &format!("tree/{}/{number}", number % 7), "x") });
    }
    publisher.ping();
    subscriber.subscribe(QOS_0, "tree/#");
    let mut topics: Vec<_> = (0..600).map(|_| subscriber.take().topic).collect();
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), 600);
}

#[test]
fn mqtt_4_6_0_messages_of_one_publisher_arrive_in_order_at_every_qos() {
    let served = Served::start();
    for version in VERSIONS {
        for qos in LEVELS {
            let (mut publisher, mut subscriber) = pair(&served, version);
            subscriber.subscribe(QOS_2, "in/+");
            for number in 0..60 {
                // Two topics of one filter: an ordered topic here, as 4.6.0-6 has it.
                publisher.put(&Out::new(
                    qos,
                    if number % 2 == 0 { "in/even" } else { "in/odd" },
                    &number.to_string(),
                ));
            }
            let expected: Vec<_> = (0..60).map(|number: u32| number.to_string()).collect();
            let got: Vec<_> = match qos {
                Qos::ExactlyOnce => {
                    // PUBREL after each PUBREC, all in flight together.
                    for _ in 0..60 {
                        let id = publisher.until(|got| match got {
                            Got::PubRec(id, 0) => Some(*id),
                            _ => None,
                        });
                        publisher.ack(PacketType::PubRel, id);
                    }
                    subscriber.texts(60)
                }
                Qos::AtMostOnce | Qos::AtLeastOnce => subscriber.texts(60),
            };
            assert_eq!(got, expected, "{version:?} {qos:?}");
        }
    }
}

#[test]
fn mqtt_4_6_0_2_acknowledgements_come_in_the_order_of_the_messages() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut publisher, mut subscriber) = pair(&served, version);
        subscriber.subscribe(QOS_1, "acked");
        for id in [9, 3, 700, 4, 1] {
            publisher.put(&Out { packet_id: id, ..Out::new(QOS_1, "acked", "x") });
        }
        for id in [9, 3, 700, 4, 1] {
            assert_eq!(publisher.next(), Got::PubAck(id, 0));
        }
        for id in [6, 2, 65_535] {
            publisher.put(&Out { packet_id: id, ..Out::new(QOS_2, "acked", "x") });
        }
        for id in [6, 2, 65_535] {
            assert_eq!(publisher.next(), Got::PubRec(id, 0));
        }
    }
}

#[test]
fn mqtt_3_3_4_9_more_than_one_message_is_in_flight_and_acknowledgements_may_come_in_any_order() {
    let served = Served::start();
    let (mut publisher, mut subscriber) = pair(&served, V311);
    subscriber.subscribe(QOS_1, "flight");
    for number in 0..10 {
        publisher.say(QOS_1, "flight", &number.to_string());
    }
    let ids: Vec<_> = (0..10).map(|_| subscriber.receive().packet_id).collect();
    for id in ids.iter().rev() {
        subscriber.ack(PacketType::PubAck, *id);
    }
    subscriber.has_nothing_but(&mut publisher, "flight");
}

#[test]
fn mqtt_4_4_0_1_nothing_is_sent_again_on_a_living_connection() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut publisher, mut subscriber) = pair(&served, version);
        subscriber.subscribe(QOS_1, "once/+");
        publisher.say(QOS_1, "once/unacknowledged", "x");
        assert_eq!(subscriber.receive().text(), "x");
        // Whatever else happens here, that message stays where it is.
        subscriber.subscribe(QOS_1, "once/+");
        subscriber.ping();
        subscriber.has_nothing_but(&mut publisher, "once/more");
    }
}

#[test]
fn mqtt_4_4_0_1_what_was_not_acknowledged_is_sent_again_after_a_reconnect_in_order_with_dup() {
    let served = Served::start();
    for version in VERSIONS {
        let mut publisher = served.client(version, "publisher");
        let id = format!("again-{version:?}");
        let (mut first, _) = served.resume(version, &id);
        first.subscribe(QOS_2, "again");
        for number in 0..6 {
            publisher.say(QOS_1, "again", &number.to_string());
        }
        let before: Vec<_> = (0..6).map(|_| first.receive()).collect();
        first.ack(PacketType::PubAck, before[0].packet_id);
        first.ack(PacketType::PubAck, before[3].packet_id);
        first.ping();
        first.cut();
        let (mut second, _) = served.resume(version, &id);
        for old in [1, 2, 4, 5].map(|at: usize| &before[at]) {
            let again = second.take();
            assert!(again.dup, "[MQTT-3.3.1-1]");
            assert_eq!((again.packet_id, &again.payload), (old.packet_id, &old.payload));
        }
        publisher.say(QOS_1, "again", "fresh");
        let fresh = second.take();
        assert_eq!((fresh.text(), fresh.dup), ("fresh", false));
    }
}

#[test]
fn messages_for_an_absent_client_wait_for_it_in_order_but_not_qos_0() {
    let served = Served::start();
    for version in VERSIONS {
        let mut publisher = served.client(version, "publisher");
        let id = format!("absent-{version:?}");
        let (mut client, _) = served.resume(version, &id);
        client.subscribe(QOS_2, "absent/#");
        client.bye();
        for (number, qos) in [QOS_1, QOS_0, QOS_2, QOS_1, QOS_2].into_iter().enumerate() {
            publisher.say(qos, "absent/x", &number.to_string());
        }
        let (mut client, _) = served.resume(version, &id);
        let got: Vec<_> = (0..4).map(|_| client.take()).collect();
        // The order holds for each topic and QoS [MQTT-4.6.0-5].
        for (qos, expected) in [(QOS_1, ["0", "3"]), (QOS_2, ["2", "4"])] {
            let texts: Vec<_> = got.iter().filter(|got| got.qos == qos).map(Delivered::text).collect();
            assert_eq!(texts, expected);
        }
        assert!(got.iter().all(|got| !got.dup), "never sent before");
        client.has_nothing_but(&mut publisher, "absent/y");
    }
}

#[test]
fn mqtt_3_3_1_3_dup_is_not_passed_on() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut publisher, mut subscriber) = pair(&served, version);
        subscriber.subscribe(QOS_1, "dup");
        publisher.publish(&Out { dup: true, packet_id: 5, ..Out::new(QOS_1, "dup", "sent again") });
        assert!(!subscriber.take().dup);
    }
}

#[test]
fn mqtt_3_3_2_2_a_topic_with_a_wildcard_ends_the_connection() {
    let served = Served::start();
    for version in VERSIONS {
        for topic in ["a/+", "#", "a/#/b", "a+b"] {
            let mut client = served.client(version, "wild");
            let mut packet = vec![0x30, topic.len() as u8 + 3, 0, topic.len() as u8];
            packet.extend_from_slice(topic.as_bytes());
            // An empty property block in 5.0, a byte of payload before.
            packet.push(0);
            client.raw(&packet);
            // Not 0x90, which is for names that are well formed.
            client.is_refused(0x81);
        }
    }
}

#[test]
fn mqtt_4_7_3_1_an_empty_topic_ends_the_connection() {
    let served = Served::start();
    for version in VERSIONS {
        let mut client = served.client(version, "empty");
        client.raw(&[0x30, 3, 0, 0, 0]);
        client.is_refused(0x82);
    }
}

#[test]
fn mqtt_3_3_1_4_qos_3_ends_the_connection() {
    let served = Served::start();
    for version in VERSIONS {
        let mut client = served.client(version, "three");
        client.raw(&[0x36, 6, 0, 1, b'a', 0, 1, 0]);
        client.is_refused(0x81);
    }
}

#[test]
fn mqtt_2_2_1_2_packet_id_0_ends_the_connection() {
    let served = Served::start();
    for version in VERSIONS {
        let mut client = served.client(version, "zero");
        client.raw(&[0x32, 6, 0, 1, b'a', 0, 0, 0]);
        client.is_refused(0x82);
    }
}

#[test]
fn packets_split_at_every_byte_are_the_same_packets() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut publisher, mut subscriber) = pair(&served, version);
        subscriber.subscribe(QOS_1, "split/#");
        let bytes = publisher.encoded(&noctule_mqtt::Packet::Publish({
            let mut publish = noctule_mqtt::Publish::new("split/topic", b"payload");
            publish.qos = QOS_1;
            publish.packet_id = Some(crate::kit::pid(7));
            publish
        }));
        for at in 1..bytes.len() {
            publisher.raw(&bytes[..at]);
            // Two segments, and a broker that has seen the first one alone.
            std::thread::yield_now();
            publisher.raw(&bytes[at..]);
            assert_eq!(publisher.next(), Got::PubAck(7, 0));
            assert_eq!(subscriber.take().text(), "payload");
        }
    }
}

#[test]
fn unicode_topics_and_empty_levels_are_what_they_are() {
    let served = Served::start();
    let (mut publisher, mut subscriber) = pair(&served, V5);
    subscriber.subscribe(QOS_0, "/+//🦇/#");
    for topic in ["/a//🦇", "///🦇/x", "/ß//🦇/"] {
        publisher.say(QOS_1, topic, "x");
        assert_eq!(subscriber.take().topic, topic);
    }
    // U+FEFF is not stripped [MQTT-1.5.4-3].
    publisher.say(QOS_1, "\u{feff}a//🦇", "no");
    publisher.say(QOS_1, "/\u{feff}//🦇", "x");
    assert_eq!(subscriber.take().topic, "/\u{feff}//🦇");
}
