//! QoS 2 through lost connections: nothing twice, nothing missing (section 4.3.3, 4.4).

use noctule_core::id::Qos;
use noctule_mqtt::{PacketType, Reason};

use crate::kit::{Got, Out, Served, V5, V311, VERSIONS};

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

#[test]
fn mqtt_4_3_3_10_a_repeated_publish_is_answered_and_not_delivered_again() {
    let served = Served::start();
    for version in VERSIONS {
        let mut subscriber = served.client(version, "subscriber");
        subscriber.subscribe(QOS_2, "twice");
        let (mut publisher, _) = served.resume(version, "publisher");
        let out = Out { packet_id: 11, ..Out::new(QOS_2, "twice", "once") };
        publisher.put(&out);
        assert_eq!(publisher.next(), Got::PubRec(11, 0));
        publisher.put(&Out { dup: true, ..out.clone() });
        assert_eq!(publisher.next(), Got::PubRec(11, 0));
        assert_eq!(subscriber.take().text(), "once");
        publisher.ack(PacketType::PubRel, 11);
        assert_eq!(publisher.next(), Got::PubComp(11, 0));
        // The identifier is free: the same packet is a new message now [MQTT-4.3.3-12].
        publisher.publish(&out);
        assert_eq!(subscriber.take().text(), "once");
        subscriber.has_nothing_but(&mut publisher, "twice");
    }
}

#[test]
fn a_publish_repeated_after_a_reconnect_is_not_delivered_again() {
    let served = Served::start();
    for version in VERSIONS {
        let id = format!("publisher-{version:?}");
        let mut subscriber = served.client(version, "subscriber");
        subscriber.subscribe(QOS_2, "across");
        let (mut publisher, _) = served.resume(version, &id);
        let out = Out { packet_id: 5, ..Out::new(QOS_2, "across", "once") };
        publisher.put(&out);
        assert_eq!(publisher.next(), Got::PubRec(5, 0));
        publisher.cut();
        let (mut publisher, _) = served.resume(version, &id);
        publisher.put(&Out { dup: true, ..out });
        assert_eq!(publisher.next(), Got::PubRec(5, 0));
        publisher.ack(PacketType::PubRel, 5);
        assert_eq!(publisher.next(), Got::PubComp(5, 0));
        assert_eq!(subscriber.take().text(), "once");
        subscriber.has_nothing_but(&mut publisher, "across");
    }
}

#[test]
fn a_pubrel_repeated_after_a_reconnect_is_answered_with_pubcomp() {
    let served = Served::start();
    for version in VERSIONS {
        let id = format!("releases-{version:?}");
        let (mut publisher, _) = served.resume(version, &id);
        publisher.put(&Out { packet_id: 8, ..Out::new(QOS_2, "released", "x") });
        assert_eq!(publisher.next(), Got::PubRec(8, 0).or_unmatched(version.is_v5()));
        publisher.cut();
        let (mut publisher, _) = served.resume(version, &id);
        publisher.ack(PacketType::PubRel, 8);
        assert_eq!(publisher.next(), Got::PubComp(8, 0));
        // Once more: there is nothing left to release, which only 5.0 can say, and the answer comes all the same.
        publisher.ack(PacketType::PubRel, 8);
        assert_eq!(publisher.next(), Got::PubComp(8, if version.is_v5() { 0x92 } else { 0 }));
    }
}

impl Got {
    /// The same acknowledgement, saying that nobody is subscribed, if the version can.
    fn or_unmatched(self, can: bool) -> Self {
        match self {
            Self::PubRec(id, 0) if can => Self::PubRec(id, 0x10),
            other => other,
        }
    }
}

#[test]
fn mqtt_4_3_3_7_a_subscriber_lost_before_pubrec_gets_the_publish_again() {
    let served = Served::start();
    for version in VERSIONS {
        let id = format!("before-{version:?}");
        let mut publisher = served.client(version, "publisher");
        let (mut subscriber, _) = served.resume(version, &id);
        subscriber.subscribe(QOS_2, "before");
        publisher.say(QOS_2, "before", "x");
        let first = subscriber.receive();
        subscriber.cut();
        let (mut subscriber, _) = served.resume(version, &id);
        let again = subscriber.take();
        assert_eq!((again.packet_id, again.dup, again.text()), (first.packet_id, true, "x"));
        subscriber.has_nothing_but(&mut publisher, "before");
    }
}

#[test]
fn mqtt_4_3_3_8_a_subscriber_lost_after_pubrec_gets_pubrel_and_never_the_publish() {
    let served = Served::start();
    for version in VERSIONS {
        let id = format!("after-{version:?}");
        let mut publisher = served.client(version, "publisher");
        let (mut subscriber, _) = served.resume(version, &id);
        subscriber.subscribe(QOS_2, "after");
        publisher.say(QOS_2, "after", "x");
        let packet_id = subscriber.receive().packet_id;
        subscriber.ack(PacketType::PubRec, packet_id);
        assert_eq!(subscriber.next(), Got::PubRel(packet_id, 0));
        subscriber.cut();
        let (mut subscriber, _) = served.resume(version, &id);
        assert_eq!(subscriber.next(), Got::PubRel(packet_id, 0), "[MQTT-4.4.0-1]");
        subscriber.ack(PacketType::PubComp, packet_id);
        subscriber.has_nothing_but(&mut publisher, "after");
    }
}

#[test]
fn a_pubrec_that_says_no_ends_the_exchange() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let (mut subscriber, _) = served.resume(V5, "refuses");
    subscriber.subscribe(QOS_2, "refused");
    publisher.say(QOS_2, "refused", "x");
    let packet_id = subscriber.receive().packet_id;
    subscriber.ack_as(PacketType::PubRec, packet_id, Reason::QUOTA_EXCEEDED);
    subscriber.ping();
    subscriber.cut();
    let (mut subscriber, _) = served.resume(V5, "refuses");
    // Neither PUBREL nor the message comes again [MQTT-4.4.0-2].
    subscriber.has_nothing_but(&mut publisher, "refused");
}

#[test]
fn mqtt_4_6_0_releases_leave_in_the_order_of_the_pubrecs() {
    let served = Served::start();
    let mut publisher = served.client(V311, "publisher");
    let (mut subscriber, _) = served.resume(V311, "subscriber");
    subscriber.subscribe(QOS_2, "released/in/order");
    for number in 0..5 {
        publisher.say(QOS_2, "released/in/order", &number.to_string());
    }
    let ids: Vec<_> = (0..5).map(|_| subscriber.receive().packet_id).collect();
    let order = [ids[2], ids[0], ids[4], ids[1], ids[3]];
    for id in order {
        subscriber.ack(PacketType::PubRec, id);
    }
    for id in order {
        assert_eq!(subscriber.next(), Got::PubRel(id, 0));
    }
}

#[test]
fn mqtt_2_2_1_3_a_qos_1_message_may_not_use_a_qos_2_identifier_and_cannot_confuse_it() {
    let served = Served::start();
    let mut subscriber = served.client(V5, "subscriber");
    subscriber.subscribe(QOS_2, "reuse/+");
    let mut publisher = served.client(V5, "publisher");
    publisher.put(&Out { packet_id: 3, ..Out::new(QOS_2, "reuse/two", "two") });
    assert_eq!(publisher.next(), Got::PubRec(3, 0));
    publisher.put(&Out { packet_id: 3, ..Out::new(QOS_1, "reuse/one", "one") });
    // Whatever the answer, the exchange of QoS 2 goes on undisturbed.
    assert!(matches!(publisher.next(), Got::PubAck(3, _)));
    publisher.ack(PacketType::PubRel, 3);
    assert_eq!(publisher.next(), Got::PubComp(3, 0));
    let mut texts = subscriber.texts(2);
    texts.sort();
    assert_eq!(texts, ["one", "two"]);
}

#[test]
fn every_break_of_a_long_exchange_leaves_each_message_exactly_once() {
    let served = Served::start();
    let (mut publisher, mut subscriber) =
        (served.resume(V311, "publisher").0, served.resume(V311, "subscriber").0);
    subscriber.subscribe(QOS_2, "long");
    let mut got = Vec::new();
    for number in 0_u16..40 {
        let text = number.to_string();
        let out = Out { packet_id: number + 1, ..Out::new(QOS_2, "long", &text) };
        publisher.put(&out);
        // Break the publisher at one of four points of its exchange.
        if number % 4 == 0 {
            publisher.cut();
            publisher = served.resume(V311, "publisher").0;
            publisher.put(&Out { dup: true, ..out });
        }
        publisher.until(|got| (*got == Got::PubRec(number + 1, 0)).then_some(()));
        if number % 4 == 1 {
            publisher.cut();
            publisher = served.resume(V311, "publisher").0;
        }
        publisher.ack(PacketType::PubRel, number + 1);
        if number % 4 == 2 {
            publisher.ping();
            publisher.cut();
            publisher = served.resume(V311, "publisher").0;
            publisher.ack(PacketType::PubRel, number + 1);
        }
        publisher.until(|got| (*got == Got::PubComp(number + 1, 0)).then_some(()));
        // And the subscriber at one of three.
        let delivered = subscriber.receive();
        got.push(delivered.text().to_owned());
        let id = delivered.packet_id;
        if number % 3 == 0 {
            subscriber.cut();
            subscriber = served.resume(V311, "subscriber").0;
            assert_eq!(subscriber.receive().packet_id, id);
        }
        subscriber.ack(PacketType::PubRec, id);
        assert_eq!(subscriber.next(), Got::PubRel(id, 0));
        if number % 3 == 1 {
            subscriber.cut();
            subscriber = served.resume(V311, "subscriber").0;
            assert_eq!(subscriber.next(), Got::PubRel(id, 0));
        }
        subscriber.ack(PacketType::PubComp, id);
        if number % 3 == 2 {
            subscriber.ping();
            subscriber.cut();
            subscriber = served.resume(V311, "subscriber").0;
        }
    }
    assert_eq!(got, (0..40).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    subscriber.has_nothing_but(&mut publisher, "long");
}
