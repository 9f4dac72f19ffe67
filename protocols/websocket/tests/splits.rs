//! Goal: how the bytes come changes nothing.
//! Method: streams with everything in them, cut at every byte, at every two, and bytewise; in both roles.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod wire;

use noctule_websocket::Role;
use wire::{BINARY, CLIENT, CLOSE, CONTINUATION, FIN, KEY, LIMITS, PING, PONG, Read, TEXT, frame, read_in};

fn streams(key: Option<[u8; 4]>) -> Vec<Vec<u8>> {
    let f = |first, payload: &[u8]| frame(first, payload, key);
    let text = "x é € \u{10FFFF}".as_bytes();
    let close = [&1001_u16.to_be_bytes()[..], "fín".as_bytes()].concat();
    vec![
        [f(TEXT, &text[..5]), f(FIN | PONG, b"p"), f(CONTINUATION, b""), f(FIN | CONTINUATION, &text[5..])]
            .concat(),
        [f(FIN | BINARY, &[5; 130]), f(FIN | BINARY, b""), f(BINARY, b"ab"), f(FIN | CONTINUATION, b"\xFF")]
            .concat(),
        [f(FIN | TEXT, text), f(FIN | PING, b"last"), f(FIN | BINARY, b"z")].concat(),
        [f(FIN | BINARY, b"bye"), f(FIN | CLOSE, &close), f(FIN | BINARY, b"ignored"), vec![0xFF; 4]]
            .concat(),
        [f(FIN | BINARY, b"then"), f(FIN | 3, b"bad")].concat(),
        [f(TEXT, &text[..5]), f(FIN | CONTINUATION, b"\x82(")].concat(),
        [f(FIN | BINARY, b"then"), f(FIN | CLOSE, b"\x03\xEE")].concat(),
    ]
}

/// The stream ends in the same state; what was passed on before a violation may be more, as its pieces were smaller.
#[track_caller]
fn assert_same(whole: &Read, cut: &Read) {
    assert_eq!((cut.violation, &cut.closed), (whole.violation, &whole.closed));
    if whole.violation.is_none() {
        assert_eq!((&cut.plain, &cut.out, cut.rest), (&whole.plain, &whole.out, whole.rest));
        assert_eq!(cut.kind, whole.kind);
    } else {
        assert!(cut.plain.starts_with(&whole.plain));
    }
}

#[test]
fn cuts_change_nothing() {
    for (role, key) in [(Role::Server, Some(KEY)), (CLIENT, None)] {
        for wire in streams(key) {
            let whole = read_in(role, &LIMITS, &wire, []);
            for cut in 0..=wire.len() {
                assert_same(&whole, &read_in(role, &LIMITS, &wire, [cut]));
                for second in cut..=wire.len() {
                    assert_same(&whole, &read_in(role, &LIMITS, &wire, [cut, second]));
                }
            }
            assert_same(&whole, &read_in(role, &LIMITS, &wire, 0..wire.len()));
        }
    }
}

/// A violation is found in the byte that makes it one: not before, and not only when the frame is whole.
#[test]
fn a_violation_shows_at_its_byte() {
    for (wire, at) in [
        (vec![0xC2], 1),
        (vec![0x83], 1),
        (vec![0x09], 1),
        (vec![0x82, 0x05], 2),
        (vec![0x89, 0xFE], 2),
        (vec![0x82, 0xFE, 0, 125], 4),
        (vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], 10),
        (vec![0x80, 0x80, 1, 2, 3, 4], 6),
    ] {
        for len in 0..=wire.len() {
            let violation = read_in(Role::Server, &LIMITS, &wire[..len], []).violation;
            assert_eq!(violation.is_some(), len >= at, "{len} of {wire:02x?}");
        }
    }
}
