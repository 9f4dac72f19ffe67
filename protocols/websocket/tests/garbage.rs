//! Goal: no bytes bring the decoder down, make it keep or give more than came in, or depend on how they come.
//! Method: a seeded million of good frames, damaged, in streams that come whole and in pieces; noise.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod wire;

use noctule_websocket::{FrameLimits, Role};
use wire::{BINARY, CLIENT, CLOSE, CONTINUATION, FIN, LIMITS, PING, PONG, Random, TEXT, frame, read_in};

/// Most frames as they come, a few that are what an attacker would try; mostly masked as the reader wants it.
fn seed(random: &mut Random, from_client: bool) -> Vec<u8> {
    let first = random.pick(&[
        FIN | BINARY,
        FIN | BINARY,
        FIN | TEXT,
        BINARY,
        TEXT,
        CONTINUATION,
        FIN | CONTINUATION,
        FIN | PING,
        FIN | PONG,
        FIN | CLOSE,
    ]);
    let payload = match first & 0x0F {
        TEXT | CONTINUATION => random.pick(&["", "a", "é", "€ 12", "\u{10FFFF}", "plain text"]).into(),
        CLOSE => {
            let code: u16 = random.pick(&[1000, 1001, 1005, 3000, 4999]);
            [&code.to_be_bytes()[..], b"reason"].concat()
        }
        PING | PONG => {
            let len = random.below(126);
            random.bytes(len)
        }
        _ => {
            let len = random.pick(&[0, 1, 2, 7, 30, 125, 126, 200]);
            random.bytes(len)
        }
    };
    let key = (random.next() as u32).to_ne_bytes();
    frame(first, &payload, from_client.then_some(key))
}

fn damage(wire: &mut Vec<u8>, random: &mut Random) {
    const TELLING: &[u8] = &[0, 0x7D, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0x88, 0x89, 0xFD, 0xFE, 0xFF, 0xC2];
    for _ in 0..=random.below(2) {
        // Headers are where it hurts.
        let bound = if random.below(2) == 0 { wire.len().min(14) } else { wire.len() } + 1;
        let at = random.below(bound);
        match random.below(8) {
            0 if at < wire.len() => wire[at] ^= 1 << random.below(8),
            1 if at < wire.len() => wire[at] = random.pick(TELLING),
            2 => wire.truncate(at),
            3 => wire.insert(at, random.pick(TELLING)),
            4 if at < wire.len() => drop(wire.remove(at)),
            5 => {
                let length = random.next().to_be_bytes();
                wire.splice(at..at, length);
            }
            _ => {}
        }
    }
}

/// [`read_in`] asserts that never more comes out than went in, and that at most a control frame is left with the caller.
#[test]
fn a_million_damaged_frames() {
    let mut random = Random(0x6455);
    let narrow = FrameLimits { max_message: 40, max_tiny_frames: 3, binary_only: false };
    let (mut damaged, mut violations, mut closed, mut clean) = (0, 0, 0, 0);
    let mut wire = Vec::new();
    while damaged < 1_000_000 {
        let role = random.pick(&[Role::Server, Role::Server, CLIENT]);
        let limits = random.pick(&[LIMITS, LIMITS, LIMITS, narrow]);
        wire.clear();
        for _ in 0..=random.below(4) {
            let mut frame = seed(&mut random, role == Role::Server);
            damage(&mut frame, &mut random);
            damaged += 1;
            wire.extend_from_slice(&frame);
        }
        let whole = read_in(role, &limits, &wire, []);
        match (&whole.violation, &whole.closed) {
            (Some(_), _) => violations += 1,
            (None, Some(_)) => closed += 1,
            (None, None) => clean += 1,
        }
        let cut = random.below(wire.len() + 1);
        let pieces = read_in(role, &limits, &wire, [cut]);
        assert_eq!(
            (pieces.violation, &pieces.closed),
            (whole.violation, &whole.closed),
            "{wire:02x?} at {cut}"
        );
        assert!(pieces.plain.starts_with(&whole.plain), "{wire:02x?} at {cut}");
        if whole.violation.is_none() {
            assert_eq!((pieces.plain, pieces.rest), (whole.plain, whole.rest), "{wire:02x?} at {cut}");
        }
    }
    // Were nearly all refused, or nearly none, half of the test would test nothing.
    let all = violations + closed + clean;
    assert!(
        violations > all / 10 && closed > all / 50 && clean > all / 10,
        "{violations} violations, {closed} closed, {clean} clean"
    );
}

/// Every two first bytes, with noise behind them.
#[test]
fn noise_is_refused_or_read() {
    let mut random = Random(2);
    for first in 0..=u16::MAX {
        let mut wire = first.to_be_bytes().to_vec();
        let len = random.below(300);
        wire.extend(random.bytes(len));
        for role in [Role::Server, CLIENT] {
            let whole = read_in(role, &LIMITS, &wire, []);
            let bytewise = read_in(role, &LIMITS, &wire, 0..wire.len());
            assert_eq!((bytewise.violation, bytewise.closed), (whole.violation, whole.closed));
        }
    }
}
