//! Goal: what is encoded is decoded as it was meant, however the bytes arrive, and no bytes bring the decoder down.
//! Method: packets of every kind, version and direction made from random sources; then those packets, damaged.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod made;

use bytes::BytesMut;
use made::damage::{Random, damage, seeds};
use made::{DIRECTIONS, KINDS, Source, VERSIONS, encode_again, framer, whole};
use noctule_core::id::SessionId;
use noctule_core::message::{self, Field, Message};
use noctule_core::topic::TopicName;
use noctule_mqtt::{
    DELIVERY_COUNT, Direction, Framer, MAX_PACKET, Packet, Publish, PublishHead, Split, Version, decode,
    decode_connect, encode_publish_head, publish_len,
};
use proptest::prelude::*;

fn sources() -> impl Strategy<Value = (Vec<u8>, String)> {
    (prop::collection::vec(any::<u8>(), 0..400), prop::collection::vec(any::<char>(), 0..200))
        .prop_map(|(bytes, chars)| (bytes, chars.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_survives_the_wire((bytes, text) in sources()) {
        for version in VERSIONS {
            for direction in DIRECTIONS {
                for kind in 0..KINDS {
                    let mut source = Source { bytes: &bytes, text: &text };
                    let Some(packet) = source.packet(kind, version, direction) else { continue };
                    let mut wire = BytesMut::from(&b"before"[..]);
                    packet.encode(version, direction, &mut wire).unwrap();
                    let (before, wire) = wire.split_at(6);
                    prop_assert_eq!(before, b"before", "what was in the buffer stays");
                    let decoded = decode(version, direction, &whole(framer(version, direction), wire)).unwrap();
                    prop_assert_eq!(&decoded, &packet);
                    let again = encode_again(&decoded, version, direction);
                    let frame = whole(framer(version, direction), &again);
                    prop_assert_eq!(decode(version, direction, &frame).unwrap(), packet);
                }
            }
        }
    }

    #[test]
    fn connect_survives_the_wire((bytes, text) in sources()) {
        for version in VERSIONS {
            let connect = Source { bytes: &bytes, text: &text }.connect(version);
            let mut wire = BytesMut::from(&b"before"[..]);
            connect.encode(&mut wire).unwrap();
            let wire = &wire[6..];
            let frame = whole(Framer::awaiting_connect(MAX_PACKET), wire);
            prop_assert_eq!(decode_connect(&frame).unwrap(), connect);
        }
    }

    #[test]
    fn a_stream_means_the_same_wherever_it_is_cut((bytes, text) in sources()) {
        for version in VERSIONS {
            for direction in DIRECTIONS {
                let mut source = Source { bytes: &bytes, text: &text };
                let mut wire = BytesMut::new();
                let mut packets = Vec::new();
                for kind in 0..KINDS {
                    if let Some(packet) = source.packet(kind, version, direction) {
                        packet.encode(version, direction, &mut wire).unwrap();
                        packets.push(packet);
                    }
                }
                for cut in 0..=wire.len() {
                    let (mut got, mut at) = (Vec::new(), 0);
                    for end in [cut, wire.len()] {
                        loop {
                            match framer(version, direction).split(&wire[at..end]).unwrap() {
                                Split::Frame(frame) => {
                                    got.push(decode(version, direction, &frame).unwrap());
                                    at += frame.len;
                                }
                                Split::Incomplete { need } => {
                                    prop_assert!(need > end - at, "asks for what it has");
                                    break;
                                }
                            }
                        }
                    }
                    prop_assert_eq!(at, wire.len());
                    prop_assert_eq!(&got, &packets, "cut at {}", cut);
                }
            }
        }
    }
}

/// Whether the input was accepted; what is accepted must survive being written and read again.
fn feed(version: Version, direction: Direction, wire: &[u8]) -> bool {
    if direction == Direction::ToServer
        && let Ok(Split::Frame(frame)) = Framer::awaiting_connect(MAX_PACKET).split(wire)
    {
        let Ok(connect) = decode_connect(&frame) else { return false };
        let mut again = BytesMut::new();
        connect.encode(&mut again).unwrap_or_else(|error| panic!("{error} for {connect:?}"));
        let frame = whole(Framer::awaiting_connect(MAX_PACKET), &again);
        assert_eq!(decode_connect(&frame).as_ref(), Ok(&connect), "from {wire:02X?}");
        return true;
    }
    match framer(version, direction).split(wire) {
        Ok(Split::Frame(frame)) => {
            let Ok(packet) = decode(version, direction, &frame) else { return false };
            let again = encode_again(&packet, version, direction);
            let frame = whole(framer(version, direction), &again);
            assert_eq!(decode(version, direction, &frame).as_ref(), Ok(&packet), "from {wire:02X?}");
            true
        }
        Ok(Split::Incomplete { need }) => {
            assert!(need > wire.len());
            false
        }
        Err(_) => false,
    }
}

#[test]
fn a_million_damaged_packets() {
    let mut random = Random(0x5EED);
    let seeds = seeds(&mut random);
    let inputs = 1_000_000;
    let mut accepted = 0;
    let mut wire = Vec::new();
    for _ in 0..inputs {
        let seed = &seeds[random.below(seeds.len())];
        wire.clone_from(&seed.wire);
        damage(&mut wire, &mut random);
        accepted += usize::from(feed(seed.version, seed.direction, &wire));
    }
    // Were nearly all refused, the second half of the test would test nothing.
    assert!(accepted > inputs / 10 && accepted < inputs * 9 / 10, "{accepted} of {inputs} accepted");
}

#[test]
fn every_seed_is_accepted_and_its_prefixes_are_not() {
    for seed in seeds(&mut Random(1)) {
        assert!(feed(seed.version, seed.direction, &seed.wire), "{:02X?}", seed.wire);
        for len in 0..seed.wire.len() {
            let prefix = &seed.wire[..len];
            let before_connect = seed.wire[0] == 0x10;
            let framer = if before_connect {
                Framer::awaiting_connect(MAX_PACKET)
            } else {
                framer(seed.version, seed.direction)
            };
            match framer.split(prefix) {
                Ok(Split::Incomplete { need }) => assert!(need > len && need <= seed.wire.len().max(2)),
                other => panic!("{other:?} for {prefix:02X?}"),
            }
        }
    }
}

#[test]
fn strewn_subscription_ids_are_gathered_and_the_fields_kept_in_order() {
    let seeds = seeds(&mut Random(1));
    let wire = &seeds.last().unwrap().wire;
    let frame = whole(framer(Version::V5, Direction::ToClient), wire);
    let Packet::Publish(publish) = decode(Version::V5, Direction::ToClient, &frame).unwrap() else {
        panic!()
    };
    assert_eq!(publish.subscription_ids().map(u32::from).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(publish.fields().parts().concat(), b"\x01\x01\x03\0\x01t\x08\0\x01r\x09\0\x01c");
}

#[test]
fn what_comes_again_out_of_a_queue_says_how_often_it_came_before() {
    let told = Publish::new("$queue/q", b"x");
    let message = Message::new(
        &message::Publish {
            topic: TopicName::from_validated(told.topic),
            fields: told.fields(),
            payload: told.payload,
            qos: told.qos,
            retain: false,
            dup: false,
            packet_id: None,
            expiry_s: None,
        },
        SessionId::NOBODY,
        0,
    );
    for (deliveries, counted) in [(0, None), (1, Some("1")), (10, Some("10")), (u32::MAX, Some("4294967295"))]
    {
        let head = PublishHead { deliveries, ..PublishHead::default() };
        for version in [Version::V311, Version::V5] {
            let mut wire = BytesMut::new();
            encode_publish_head(version, &message, &head, &mut wire).unwrap();
            wire.extend_from_slice(message.payload());
            assert_eq!(publish_len(version, &message, &head), Ok(wire.len()));
            let frame = whole(framer(version, Direction::ToClient), &wire);
            let Packet::Publish(publish) = decode(version, Direction::ToClient, &frame).unwrap() else {
                panic!()
            };
            let property = publish.fields().iter().find_map(|field| match field {
                Field::UserProperty(name, value) if name == DELIVERY_COUNT => Some(value),
                _ => None,
            });
            assert_eq!(property, counted.filter(|_| version.is_v5()), "{version:?}");
        }
    }
}
