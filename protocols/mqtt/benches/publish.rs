//! Nanoseconds per PUBLISH (30 bytes of topic, 64 of payload), ours and mqttbytes', decoding and encoding.
//!
//! `cargo bench -p noctule-mqtt`. The best of many rounds is printed, because everything else is the machine's noise.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time; the crate itself has no clock")]
#![allow(clippy::print_stdout, reason = "the numbers are its output")]
#![allow(clippy::unwrap_used, reason = "a failure ends the benchmark, as it should")]

use std::hint::black_box;
use std::num::NonZeroU16;
use std::time::Instant;

use bytes::BytesMut;
use noctule_core::id::{Qos, SessionId};
use noctule_core::message::{self, Fields, Message};
use noctule_core::topic::TopicName;
use noctule_mqtt::{
    Direction, Framer, Publish, PublishHead, Split, Version, decode_publish, encode_publish_head,
};

const TOPIC: &str = "plant/hall-3/press-07/pressure";
const PAYLOAD: [u8; 64] = [b'x'; 64];
const PER_ROUND: u32 = 10_000;

/// The best of many rounds, in nanoseconds per call.
fn best(mut call: impl FnMut()) -> f64 {
    (0..300)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..PER_ROUND {
                call();
            }
            start.elapsed().as_nanos() as f64 / f64::from(PER_ROUND)
        })
        .fold(f64::INFINITY, f64::min)
}

fn decode(version: Version, qos: Qos) {
    let packet_id = (qos != Qos::AtMostOnce).then_some(NonZeroU16::MIN);
    let publish = {
        let mut publish = Publish::new(TOPIC, &PAYLOAD);
        publish.qos = qos;
        publish.packet_id = packet_id;
        publish
    };
    let mut wire = BytesMut::new();
    publish.encode(version, &mut wire).unwrap();
    let framer = Framer::new(version, Direction::ToServer, 1 << 20);
    let ours = best(|| {
        let Ok(Split::Frame(frame)) = framer.split(black_box(&wire)) else { return };
        let _ = black_box(decode_publish(version, Direction::ToServer, &frame));
    });
    // mqttbytes takes its packets off a buffer; many of them in one, as a reader would have it.
    let stream: BytesMut = wire.repeat(PER_ROUND as usize)[..].into();
    let mut reader = BytesMut::new();
    let theirs = best(|| {
        if reader.is_empty() {
            reader = stream.clone();
        }
        match version {
            Version::V5 => drop(black_box(mqttbytes::v5::read(&mut reader, 1 << 20))),
            _ => drop(black_box(mqttbytes::v4::read(&mut reader, 1 << 20))),
        }
    });
    println!("decode {version:?} QoS {}: ours {ours:.1} ns, mqttbytes {theirs:.1} ns", qos.level());
}

fn encode(version: Version, qos: Qos) {
    let packet_id = (qos != Qos::AtMostOnce).then_some(NonZeroU16::MIN);
    let message = Message::new(
        &message::Publish {
            topic: TopicName::from_validated(TOPIC),
            fields: Fields::default(),
            payload: &PAYLOAD,
            qos,
            retain: false,
            dup: false,
            packet_id,
            expiry_s: None,
        },
        SessionId::NOBODY,
        0,
    );
    let head = PublishHead { qos, packet_id, ..PublishHead::default() };
    let mut out = BytesMut::with_capacity(1 << 16);
    let ours = best(|| {
        out.clear();
        let _ = encode_publish_head(version, black_box(&message), black_box(&head), &mut out);
        out.extend_from_slice(message.payload());
        black_box(&out);
    });
    println!("encode {version:?} QoS {}: ours {ours:.1} ns with the payload copied", qos.level());
}

fn main() {
    for version in [Version::V311, Version::V5] {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            decode(version, qos);
            encode(version, qos);
        }
    }
}
