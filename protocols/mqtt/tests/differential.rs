//! Goal: where we and two other codecs disagree about a packet, it is known why and which clause decides.
//! Method: good and damaged packets go to all three. Every disagreement must be one of the rows below, and every row
//! must occur, so that the table says what is so. Where both accept, they must have read the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod made;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bytes::BytesMut;
use made::damage::{Random, damage, seeds};
use made::whole;
use noctule_mqtt::{
    DecodeError, Direction, Framer, MAX_PACKET, Packet, Split, Version, decode, decode_connect,
};

/// `codec`, what we say, what it says, the clause or the reason.
type Row = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const KNOWN: &[Row] = &[
    // mqtt-proto has no direction: it decodes both ends' packets alike, and CONNECT wherever it comes.
    ("mqtt-proto", "WrongDirection", "accept", "section 2.1.2"),
    ("mqtt-proto", "ConnectExpected", "accept", "MQTT-3.1.0-1"),
    // Looser than the specification.
    ("mqtt-proto", "AuthDataWithoutMethod", "accept", "section 3.1.2.11.10"),
    ("mqtt-proto", "AuthWithoutMethod", "accept", "section 3.15.2.2.2"),
    ("mqtt-proto", "ClientIdEmpty", "accept", "3.1.1: MQTT-3.1.3-8"),
    ("mqtt-proto", "ConnAckFlags", "accept", "3.1 has no session present; the byte is reserved"),
    ("mqtt-proto", "Filter", "accept", "MQTT-4.7.1-2, MQTT-4.8.2-1"),
    ("mqtt-proto", "IntegerNotMinimal", "accept", "MQTT-1.5.5-1"),
    ("mqtt-proto", "NoLocalShared", "accept", "MQTT-3.8.3-4"),
    ("mqtt-proto", "NoReasons", "accept", "MQTT-3.9.3-1"),
    ("mqtt-proto", "Nul", "accept", "MQTT-1.5.4-2"),
    ("mqtt-proto", "PublishDup", "accept", "MQTT-3.3.1-2"),
    ("mqtt-proto", "ReasonCode", "accept", "section 3.14.2.1: codes of the other side"),
    ("mqtt-proto", "SessionPresentOnRefusal", "accept", "MQTT-3.2.2-6"),
    ("mqtt-proto", "TopicEmpty", "accept", "MQTT-4.7.3-1"),
    ("mqtt-proto", "Trailing", "accept", "section 4.13.1; it stops reading where it has enough"),
    ("mqtt-proto", "Truncated", "accept", "section 4.13.1; it does not wait for a body it does not read"),
    ("mqtt-proto", "WillRetainWithoutWill", "accept", "MQTT-3.1.2-13"),
    // Stricter than the specification, or wrong.
    ("mqtt-proto", "accept", "InvalidHeader", "3.1, section 2.1: PUBREL, SUBSCRIBE and UNSUBSCRIBE may have DUP"),
    ("mqtt-proto", "accept", "Incomplete", "3.1, section 3.1: flagged user name or password may be missing"),
    ("mqtt-proto", "accept", "DuplicatedProperty", "section 3.3.2.3.8: several subscription identifiers"),
    ("mqtt-proto", "accept", "InvalidPayloadFormat", "section 3.3.2.3.2: testing the payload is a choice"),
    ("mqtt-proto", "accept", "another content", "3.1.1: MQTT-3.9.3-2; it writes SUBACK's 0x80 as 3"),
    // mqttbytes: no direction either.
    ("mqttbytes", "WrongDirection", "accept", "section 2.1.2"),
    ("mqttbytes", "ConnectExpected", "accept", "MQTT-3.1.0-1"),
    // Looser than the specification.
    ("mqttbytes", "AuthDataWithoutMethod", "accept", "section 3.1.2.11.10"),
    ("mqttbytes", "ConnAckFlags", "accept", "MQTT-3.2.2-1"),
    ("mqttbytes", "ConnectReserved", "accept", "MQTT-3.1.2-3"),
    ("mqttbytes", "Filter", "accept", "section 4.7.1"),
    ("mqttbytes", "Flags", "accept", "MQTT-2.1.3-1"),
    ("mqttbytes", "IntegerNotMinimal", "accept", "MQTT-1.5.5-1"),
    ("mqttbytes", "NoLocalShared", "accept", "MQTT-3.8.3-4"),
    ("mqttbytes", "Nul", "accept", "MQTT-1.5.4-2"),
    ("mqttbytes", "OptionsReserved", "accept", "MQTT-3.8.3-5"),
    ("mqttbytes", "PacketIdZero", "accept", "MQTT-2.2.1-3"),
    ("mqttbytes", "PropertyRepeated", "accept", "section 3.3.2.3: once each"),
    ("mqttbytes", "PropertyUnknown", "accept", "section 2.2.2.2; it reads past the block's end"),
    ("mqttbytes", "PropertyValue", "accept", "the range of each property"),
    ("mqttbytes", "PublishDup", "accept", "MQTT-3.3.1-2"),
    ("mqttbytes", "ReasonCode", "accept", "section 3.14.2.1: codes of the other side"),
    ("mqttbytes", "SessionPresentOnRefusal", "accept", "MQTT-3.2.2-6"),
    ("mqttbytes", "SubscribeEmpty", "accept", "MQTT-3.8.3-2"),
    ("mqttbytes", "SubscriptionIdFromClient", "accept", "MQTT-3.3.4-6"),
    ("mqttbytes", "TopicEmpty", "accept", "MQTT-4.7.3-1"),
    ("mqttbytes", "TopicWildcard", "accept", "MQTT-3.3.2-2"),
    ("mqttbytes", "Trailing", "accept", "section 4.13.1"),
    ("mqttbytes", "Truncated", "accept", "section 4.13.1"),
    ("mqttbytes", "UnsubscribeEmpty", "accept", "MQTT-3.10.3-2"),
    // Stricter than the specification, or wrong.
    ("mqttbytes", "accept", "InsufficientBytes", "section 3.14.2.1: DISCONNECT may end after its reason"),
    ("mqttbytes", "accept", "PayloadRequired", "section 3.14.2.1: DISCONNECT of length 0 in 5.0"),
    ("mqttbytes", "accept", "TopicNotUtf8", "section 3.1.3.6: a password is binary"),
    ("mqttbytes", "accept", "another content", "section 3.3.2.3.8; it miscounts subscription identifiers"),
];

/// The variant's name.
fn name(of: impl Debug) -> String {
    format!("{of:?}").chars().filter(|c| *c != '"').take_while(char::is_ascii_alphanumeric).collect()
}

fn ours(version: Version, direction: Direction, wire: &[u8], connect: bool) -> Result<(), DecodeError> {
    let framer = if connect {
        Framer::awaiting_connect(MAX_PACKET)
    } else {
        Framer::new(version, direction, MAX_PACKET)
    };
    match framer.split(wire)? {
        Split::Frame(frame) if connect => decode_connect(&frame).map(drop).map_err(|error| error.cause),
        Split::Frame(frame) => decode(version, direction, &frame).map(drop),
        Split::Incomplete { .. } => Err(DecodeError::Truncated("whole packet")),
    }
}

#[derive(Default)]
struct Differences(BTreeMap<(&'static str, String, String), Vec<u8>>);

impl Differences {
    fn note(&mut self, codec: &'static str, ours: String, theirs: String, wire: &[u8]) {
        let shortest = self.0.entry((codec, ours, theirs)).or_insert_with(|| wire.to_vec());
        if wire.len() < shortest.len() {
            *shortest = wire.to_vec();
        }
    }

    fn compare<E: Debug>(
        &mut self,
        codec: &'static str,
        ours: &Result<(), DecodeError>,
        theirs: Result<(), E>,
        wire: &[u8],
    ) {
        match (ours, theirs) {
            (Ok(()), Err(error)) => self.note(codec, "accept".into(), name(error), wire),
            (Err(error), Ok(())) => self.note(codec, name(error), "accept".into(), wire),
            _ => {}
        }
    }
}

/// What mqtt-proto wrote after reading `wire`, if it accepts it.
fn mqtt_proto(version: Version, wire: &[u8]) -> Result<Vec<u8>, String> {
    if version.is_v5() {
        let packet = mqtt_proto::v5::Packet::decode(wire).map_err(|error| match error {
            mqtt_proto::v5::ErrorV5::Common(error) => name(error),
            other => name(other),
        })?;
        return Ok(packet.ok_or("Incomplete")?.encode().map_err(name)?.as_ref().to_vec());
    }
    let packet = mqtt_proto::v3::Packet::decode(wire).map_err(name)?;
    Ok(packet.ok_or("Incomplete")?.encode().map_err(name)?.as_ref().to_vec())
}

/// Whether mqttbytes accepts `wire`, and what it makes of a PUBLISH.
fn mqttbytes(version: Version, wire: &[u8]) -> Result<Option<(String, u16, Vec<u8>)>, mqttbytes::Error> {
    let mut stream = BytesMut::from(wire);
    if version.is_v5() {
        return Ok(match mqttbytes::v5::read(&mut stream, MAX_PACKET as usize)? {
            mqttbytes::v5::Packet::Publish(publish) => {
                Some((publish.topic, publish.pkid, publish.payload.to_vec()))
            }
            _ => None,
        });
    }
    Ok(match mqttbytes::v4::read(&mut stream, MAX_PACKET as usize)? {
        mqttbytes::v4::Packet::Publish(publish) => {
            Some((publish.topic, publish.pkid, publish.payload.to_vec()))
        }
        _ => None,
    })
}

#[test]
fn every_disagreement_is_known_and_every_known_one_occurs() {
    let mut random = Random(0xD1FF);
    let seeds = seeds(&mut random);
    let mut found = Differences::default();
    for round in 0..200_000 {
        let seed = &seeds[round % seeds.len()];
        let (version, direction) = (seed.version, seed.direction);
        let mut wire = seed.wire.clone();
        if round >= seeds.len() {
            damage(&mut wire, &mut random);
        }
        // Neither of them knows what follows a packet; cut short, all three wait for more.
        let connect = direction == Direction::ToServer && seed.wire[0] == 0x10;
        let verdict = ours(version, direction, &wire, connect);
        let whole_for_us = |wire: &[u8]| {
            let framer = Framer::new(version, direction, MAX_PACKET);
            let framer = if connect { Framer::awaiting_connect(MAX_PACKET) } else { framer };
            matches!(framer.split(wire), Ok(Split::Frame(frame)) if frame.len == wire.len())
        };
        if verdict.is_ok() && !whole_for_us(&wire) {
            continue;
        }

        let theirs = mqtt_proto(version, &wire);
        if let (Ok(()), Ok(again)) = (&verdict, &theirs)
            && !connect
        {
            let read = |wire: &[u8]| {
                let frame = whole(made::framer(version, direction), wire);
                decode(version, direction, &frame)
                    .map(|packet| made::encode_again(&packet, version, direction))
            };
            if read(again) != read(&wire) {
                found.note("mqtt-proto", "accept".into(), "another content".into(), &wire);
            }
        }
        found.compare("mqtt-proto", &verdict, theirs.map(drop), &wire);

        // Its UNSUBSCRIBE of 5.0 prints to standard error, it has no AUTH and no 3.1.
        let unfit =
            version.is_v5() && matches!(wire.first(), Some(0xA0..=0xAF | 0xF0..)) || version == Version::V31;
        if unfit {
            continue;
        }
        let theirs = mqttbytes(version, &wire);
        if let (Ok(()), Ok(Some((topic, packet_id, payload)))) = (&verdict, &theirs) {
            let frame = whole(made::framer(version, direction), &wire);
            let Ok(Packet::Publish(publish)) = decode(version, direction, &frame) else {
                panic!("not a PUBLISH")
            };
            let id = publish.packet_id.map_or(0, u16::from);
            if (publish.topic, id, publish.payload) != (topic.as_str(), *packet_id, &payload[..]) {
                found.note("mqttbytes", "accept".into(), "another content".into(), &wire);
            }
        }
        found.compare("mqttbytes", &verdict, theirs.map(drop), &wire);
    }
    let known: BTreeSet<_> = KNOWN.iter().map(|row| (row.0, row.1.to_owned(), row.2.to_owned())).collect();
    let unknown: Vec<_> = found.0.iter().filter(|(difference, _)| !known.contains(*difference)).collect();
    let gone: Vec<_> = known.iter().filter(|row| !found.0.contains_key(*row)).collect();
    assert!(unknown.is_empty() && gone.is_empty(), "unknown: {unknown:02X?}\nno longer so: {gone:?}");
}
