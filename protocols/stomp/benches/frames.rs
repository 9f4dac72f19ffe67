//! Nanoseconds per STOMP frame: a SEND with 5 headers and a body of 100 bytes read, a MESSAGE with 7 written.
//!
//! `cargo bench -p noctule-stomp --bench frames`. The best of many rounds is printed, because everything else is the
//! machine's noise.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time; the crate itself has no clock")]
#![allow(clippy::print_stdout, reason = "the numbers are its output")]
#![allow(clippy::unwrap_used, reason = "a failure ends the benchmark, as it should")]

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use noctule_stomp::{Command, Direction, FrameLimits, FrameWriter, Framer, Reading, Split, Version};

const BODY: [u8; 100] = [b'x'; 100];
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

fn line(what: &str, ns: f64) {
    println!("{what:<64} {ns:>7.1} ns");
}

fn send(length: bool) -> Vec<u8> {
    let mut wire = b"SEND\ndestination:/topic/plant/hall-3/press-07\ncontent-type:application/json\n\
        persistent:true\nreceipt:4711\n"
        .to_vec();
    wire.extend_from_slice(if length { b"content-length:100\n\n" } else { b"priority:4\n\n" });
    wire.extend_from_slice(&BODY);
    wire.push(0);
    wire
}

fn reading(version: Version) -> Reading {
    Reading { version: Some(version), direction: Direction::ToServer }
}

fn decode() {
    let limits = FrameLimits::default();
    for (what, wire) in [("content-length", send(true)), ("no content-length", send(false))] {
        let mut framer = Framer::new();
        let split = best(|| {
            black_box(framer.split(black_box(&wire), reading(Version::V12), &limits).unwrap());
        });
        line(&format!("split a SEND of {} bytes, {what}", wire.len()), split);
        let visit = best(|| {
            let split = framer.split(black_box(&wire), reading(Version::V12), &limits).unwrap();
            let Split::Frame(frame) = split else { return };
            for header in frame.headers.iter() {
                black_box(header);
            }
        });
        line("  and go through its headers", visit);
    }
    let wire = send(true);
    let mut framer = Framer::new();
    let bytewise = best(|| {
        for end in 1..=wire.len() {
            black_box(framer.split(black_box(&wire[..end]), reading(Version::V12), &limits).unwrap());
        }
    });
    line("  the same, coming byte by byte", bytewise);
}

fn encode() {
    let mut out = BytesMut::with_capacity(1 << 16);
    for (what, destination) in
        [("nothing to escape", "/topic/plant/hall-3/press-07"), ("a colon", "/topic/a:b")]
    {
        let ns = best(|| {
            // As the worker does: many frames behind each other, then one write.
            if out.len() > 60_000 {
                out.clear();
            }
            let mut frame = FrameWriter::new(&mut out, black_box(Version::V12), Command::Message);
            frame
                .header("subscription", black_box("sub-0"))
                .header("message-id", black_box("0-1234567@Zk3v9Qx1"))
                .header("ack", black_box("0-1234567@Zk3v9Qx1"))
                .header("destination", black_box(destination))
                .header("content-type", black_box("application/json"))
                .number("timestamp", black_box(1_790_000_000_000_u64));
            frame.finish(black_box(&BODY));
        });
        line(&format!("write a MESSAGE with 7 headers, {what}"), ns);
    }
}

fn main() {
    decode();
    encode();
}
