//! What frames cost: unmasking in GB/s, reading and writing messages of several sizes, beside tungstenite.
//!
//! `cargo bench -p noctule-websocket --bench frames`. The best of many rounds is printed, because everything else is the
//! machine's noise.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time; the crate itself has no clock")]
#![allow(clippy::print_stdout, reason = "the numbers are its output")]
#![allow(clippy::unwrap_used, reason = "a failure ends the benchmark, as it should")]

use std::hint::black_box;
use std::io::{self, Cursor, Read, Write};
use std::time::Instant;

use bytes::BytesMut;
use noctule_websocket::{Decoder, FrameLimits, Kind, Mask, Role, encode};
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const CLIENT: Role = Role::Client { mask: Mask([0x37, 0xfa, 0x21, 0x3d]) };

/// The best of many rounds, in nanoseconds; `prepare` isn't counted.
fn best<T>(mut prepare: impl FnMut() -> T, mut call: impl FnMut(T)) -> f64 {
    (0..400)
        .map(|_| {
            let input = black_box(prepare());
            let start = Instant::now();
            call(input);
            start.elapsed().as_nanos() as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn line(what: &str, bytes: usize, messages: usize, ns: f64) {
    println!("{what:<44} {:>8.1} ns/message {:>7.2} GB/s", ns / messages as f64, bytes as f64 / ns);
}

/// A socket in memory that swallows what is written.
struct Pipe(Cursor<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unmask() {
    for size in [1 << 10, 1 << 16] {
        let mut bytes = vec![7; size];
        let mut mask = Mask([1, 2, 3, 4]);
        let ns = best(
            || (),
            |()| {
                for _ in 0..16 {
                    mask.apply(black_box(&mut bytes));
                }
            },
        );
        line(&format!("unmask {size} bytes"), 16 * size, 16, ns);
        let ns = best(
            || (),
            |()| {
                for _ in 0..16 {
                    for (i, byte) in black_box(&mut bytes[..]).iter_mut().enumerate() {
                        *byte ^= mask.0[i & 3];
                    }
                }
            },
        );
        line("  byte by byte, as the RFC writes it", 16 * size, 16, ns);
    }
}

/// About a megabyte of masked messages of this size, read in pieces of 64 KiB.
fn read(kind: Kind, letter: &str, size: usize) {
    let payload = letter.repeat(size / letter.len());
    let messages = (1 << 20) / (size + 8);
    let mut wire = BytesMut::new();
    for _ in 0..messages {
        encode(CLIENT, kind, payload.as_bytes(), &mut wire);
    }
    let limits = FrameLimits::default();
    let (mut plain, mut out) = (Vec::with_capacity(1 << 17), BytesMut::new());
    let ns = best(
        || wire.to_vec(),
        |mut wire| {
            let (mut decoder, mut at) = (Decoder::new(), 0);
            while at < wire.len() {
                plain.clear();
                let end = wire.len().min(at + (1 << 16));
                let piece = &mut wire[at..end];
                at += decoder.decode(Role::Server, &limits, piece, &mut plain, &mut out).unwrap().consumed;
                black_box(&plain);
            }
        },
    );
    line(&format!("read {kind:?} of {size} bytes ({letter})"), wire.len(), messages, ns);
    let config = WebSocketConfig::default().read_buffer_size(1 << 16);
    let ns = best(
        || WebSocket::from_raw_socket(Pipe(Cursor::new(wire.to_vec())), TheirRole::Server, Some(config)),
        |mut socket| {
            for _ in 0..messages {
                black_box(socket.read().unwrap());
            }
        },
    );
    line("  tungstenite", wire.len(), messages, ns);
}

fn write(size: usize) {
    let payload = vec![7; size];
    let messages = (1 << 20) / (size + 8);
    let bytes = messages * (size + 2);
    let mut out = BytesMut::with_capacity(2 << 20);
    let ns = best(
        || (),
        |()| {
            out.clear();
            for _ in 0..messages {
                encode(Role::Server, Kind::Binary, black_box(&payload), &mut out);
            }
        },
    );
    line(&format!("write Binary of {size} bytes"), bytes, messages, ns);
    let mut socket = WebSocket::from_raw_socket(Pipe(Cursor::default()), TheirRole::Server, None);
    let payload = bytes::Bytes::from(payload);
    let ns = best(
        || (),
        |()| {
            for _ in 0..messages {
                socket.write(Message::Binary(black_box(&payload).clone())).unwrap();
            }
            socket.flush().unwrap();
        },
    );
    line("  tungstenite", bytes, messages, ns);
}

fn main() {
    println!("a decoder is {} bytes", size_of::<Decoder>());
    unmask();
    for size in [1, 100, 1000, 65_000] {
        read(Kind::Binary, "x", size);
    }
    read(Kind::Text, "x", 1000);
    read(Kind::Text, "é", 1000);
    for size in [100, 1000, 65_000] {
        write(size);
    }
}
