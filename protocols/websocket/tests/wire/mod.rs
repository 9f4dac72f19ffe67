//! Frames made by hand, not by our encoder, and a reader that gets them however they come.
#![allow(dead_code, reason = "every test file uses a part of it")]

use bytes::BytesMut;
use noctule_websocket::{Closed, Decoder, FrameLimits, Kind, Mask, Role, Violation};

pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
pub(crate) const CLIENT: Role = Role::Client { mask: Mask(KEY) };

pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

pub(crate) const LIMITS: FrameLimits =
    FrameLimits { max_message: u64::MAX, max_tiny_frames: 128, binary_only: false };

/// A frame as it stands in section 5.2; masked if there is a key.
pub(crate) fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut wire = vec![first];
    let masked = if key.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => wire.push(masked | len as u8),
        len @ 126..=65535 => {
            wire.push(masked | 126);
            wire.extend((len as u16).to_be_bytes());
        }
        len => {
            wire.push(masked | 127);
            wire.extend((len as u64).to_be_bytes());
        }
    }
    wire.extend(key.unwrap_or_default().iter().take(if key.is_some() { 4 } else { 0 }));
    let key = key.unwrap_or_default();
    wire.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    wire
}

/// A client's frame.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, Some(KEY))
}

/// A server's.
pub(crate) fn bare(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, None)
}

/// What became of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) plain: Vec<u8>,
    /// What was answered, whole frames as they are on the wire.
    pub(crate) out: Vec<u8>,
    pub(crate) kind: Option<Kind>,
    pub(crate) closed: Option<Closed>,
    pub(crate) violation: Option<Violation>,
    /// Bytes that were not taken.
    pub(crate) rest: usize,
}

/// Reads `wire`, which comes in pieces that end at `ends` and then whole. What isn't taken is handed in again.
pub(crate) fn read_in(
    role: Role,
    limits: &FrameLimits,
    wire: &[u8],
    ends: impl IntoIterator<Item = usize>,
) -> Read {
    let (mut decoder, mut read, mut out) = (Decoder::new(), Read::default(), BytesMut::new());
    let mut at = 0;
    for end in ends.into_iter().chain([wire.len()]) {
        let mut piece = wire[at..end].to_vec();
        let before = (read.plain.len(), out.len());
        match decoder.decode(role, limits, &mut piece, &mut read.plain, &mut out) {
            Ok(progress) => {
                assert!(progress.consumed <= piece.len());
                assert!(piece.len() - progress.consumed <= 130, "more is kept than a control frame");
                at += progress.consumed;
                read.kind = progress.kind.or(read.kind);
                if progress.closed.is_some() {
                    assert!(decoder.has_ended() && at == end, "nothing is left over behind a Close");
                    read.closed = progress.closed;
                }
            }
            Err(violation) => {
                assert!(decoder.has_ended());
                read.violation = Some(violation);
            }
        }
        assert!(read.plain.len() - before.0 <= piece.len(), "more comes out than went in");
        assert!(out.len() - before.1 <= 131, "more than one control frame is answered");
        if read.violation.is_some() {
            break;
        }
    }
    read.rest = wire.len() - at;
    read.out = out.to_vec();
    read
}

/// Reads what a client sent.
pub(crate) fn read(wire: &[u8]) -> Read {
    read_in(Role::Server, &LIMITS, wire, [])
}

/// Many frames as one stream.
pub(crate) fn stream(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    frames.into_iter().flatten().collect()
}

/// SplitMix64: small, seeded, and good enough to damage frames.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
