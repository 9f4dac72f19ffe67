//! DISCONNECT: what clients say and what the broker says (section 3.14, 4.13).

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Disconnect, Packet, PacketType, Reason, Version, Will};

use crate::kit::{Client, Got, Out, Served, V5, V311, VERSIONS};

const QOS_1: Qos = Qos::AtLeastOnce;

/// A client whose will goes to "will", and somebody who reads it.
fn willing(served: &Served, version: Version) -> (Client, Client) {
    let mut witness = served.client(version, "witness");
    witness.subscribe(QOS_1, "will");
    let mut connect = Connect::new(version, "willing");
    connect.will = Some(Will::new("will", b"gone"));
    (served.welcome(&connect).0, witness)
}

#[test]
fn mqtt_3_1_2_8_a_good_bye_discards_the_will() {
    let served = Served::start();
    for version in VERSIONS {
        let (client, mut witness) = willing(&served, version);
        client.bye();
        let mut other = served.client(version, "other");
        witness.has_nothing_but(&mut other, "will");
    }
}

#[test]
fn mqtt_3_14_4_reason_0x04_publishes_the_will() {
    let served = Served::start();
    let (client, mut witness) = willing(&served, V5);
    client.bye_with(&Disconnect::new(Reason::DISCONNECT_WITH_WILL));
    assert_eq!(witness.take().text(), "gone");
}

#[test]
fn any_other_reason_publishes_the_will_too() {
    let served = Served::start();
    for reason in [Reason::UNSPECIFIED_ERROR, Reason::MALFORMED_PACKET, Reason::QUOTA_EXCEEDED] {
        let (client, mut witness) = willing(&served, V5);
        client.bye_with(&Disconnect::new(reason));
        assert_eq!(witness.take().text(), "gone");
    }
}

#[test]
fn mqtt_3_14_4_1_nothing_after_a_good_bye_is_heeded() {
    let served = Served::start();
    for version in VERSIONS {
        let mut subscriber = served.client(version, "subscriber");
        subscriber.subscribe(QOS_1, "after");
        let mut client = served.client(version, "leaves");
        let mut bytes = client.encoded(&Packet::Disconnect(Disconnect::new(Reason::SUCCESS)));
        bytes.extend(client.encoded(&Packet::Publish(noctule_mqtt::Publish::new("after", b"too late"))));
        client.raw(&bytes);
        client.is_closed();
        let mut other = served.client(version, "other");
        subscriber.has_nothing_but(&mut other, "after");
    }
}

#[test]
fn mqtt_3_14_1_1_reserved_flags_make_a_good_bye_malformed_and_the_will_is_published() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut client, mut witness) = willing(&served, version);
        client.raw(&[0xE1, 0]);
        client.is_refused(0x81);
        assert_eq!(witness.take().text(), "gone");
    }
}

#[test]
fn mqtt_3_3_4_7_too_many_unacknowledged_messages_are_answered_with_0x93() {
    let served = Served::with(|config| config.limits.receive_maximum = 3);
    let mut client = served.client(V5, "hasty");
    for id in 1..=3 {
        client.put(&Out { packet_id: id, ..Out::new(Qos::ExactlyOnce, "hasty", "x") });
    }
    for id in 1..=3 {
        assert!(matches!(client.next(), Got::PubRec(got, 0x10) if got == id));
    }
    // A PUBREC is not the end: only PUBCOMP gives the place back (section 4.9).
    client.ack(PacketType::PubRel, 2);
    assert_eq!(client.next(), Got::PubComp(2, 0));
    client.put(&Out { packet_id: 4, ..Out::new(Qos::ExactlyOnce, "hasty", "x") });
    assert!(matches!(client.next(), Got::PubRec(4, _)));
    client.put(&Out { packet_id: 5, ..Out::new(QOS_1, "hasty", "x") });
    client.is_sent_away(0x93);
}

#[test]
fn an_alias_above_the_maximum_is_answered_with_0x94() {
    let served = Served::with(|config| config.limits.topic_alias_max = 4);
    let mut client = served.client(V5, "edge");
    client.publish(&Out { alias: 4, ..Out::new(QOS_1, "alias", "x") });
    client.put(&Out { alias: 5, ..Out::new(QOS_1, "alias", "x") });
    client.is_sent_away(0x94);
}

#[test]
fn a_packet_for_the_other_direction_is_a_protocol_error() {
    let served = Served::start();
    for packet in [&[0x20, 3, 0, 0, 0][..], &[0x90, 4, 0, 1, 0, 0], &[0xB0, 4, 0, 1, 0, 0], &[0xD0, 0]] {
        let mut client = served.client(V5, "server?");
        client.raw(packet);
        assert!(matches!(client.next(), Got::Bye(0x81 | 0x82)));
        client.is_closed();
        let mut client = served.client(V311, "server?");
        client.raw(packet);
        client.is_closed();
    }
}

#[test]
fn an_acknowledgement_of_nothing_is_tolerated() {
    let served = Served::start();
    for version in VERSIONS {
        let mut client = served.client(version, "stray");
        for kind in [PacketType::PubAck, PacketType::PubRec, PacketType::PubComp] {
            client.ack(kind, 99);
        }
        // PUBREC of an unknown identifier is answered with 0x92 where it can be said (section 4.3.3).
        client.ping();
    }
}

#[test]
fn the_reason_string_fits_the_client_s_maximum_packet_size() {
    let served = Served::start();
    let mut connect = Connect::new(V5, "tiny");
    connect.maximum_packet_size = std::num::NonZeroU32::new(16);
    let (mut client, _) = served.welcome(&connect);
    client.raw(&[0x36, 6, 0, 1, b'a', 0, 1, 0]);
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut client.stream, &mut answer).unwrap();
    assert_eq!((answer.first(), answer.len() <= 16), (Some(&0xE0), true), "[MQTT-3.14.2-3] {answer:02x?}");
}
