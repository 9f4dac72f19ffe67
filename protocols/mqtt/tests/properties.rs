//! Goal: every property is accepted exactly where table 2-4 and the packets' own sections put it, once or repeatedly.
//! Method: every identifier up to 0x7F is put into a minimal packet of every kind; what is expected is written down
//! here again, by packet instead of by property, so that one slip does not hide in both.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use Direction::{ToClient, ToServer};
use noctule_mqtt::{
    DecodeError, Direction, Framer, MAX_PACKET, Reason, Split, Version, decode, decode_connect,
};

/// Where a block stands, and what it may hold.
struct Place {
    direction: Direction,
    first: u8,
    /// What precedes the property length, and what follows the block.
    before: &'static [u8],
    after: &'static [u8],
    /// Sections of the packet: its properties.
    allowed: &'static [u8],
}

#[rustfmt::skip]
const PLACES: &[Place] = &[
    // 3.1.2.11
    Place { direction: ToServer, first: 0x10, before: b"\0\x04MQTT\x05\x02\0\0", after: b"\0\x01c",
        allowed: &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27] },
    // 3.1.3.2: the will's
    Place { direction: ToServer, first: 0x10, before: b"\0\x04MQTT\x05\x06\0\0\0\0\x01c", after: b"\0\x01t\0\0",
        allowed: &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26] },
    // 3.2.2.3
    Place { direction: ToClient, first: 0x20, before: b"\0\0", after: b"",
        allowed: &[0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A] },
    // 3.3.2.3
    Place { direction: ToServer, first: 0x30, before: b"\0\x01t", after: b"p",
        allowed: &[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26] },
    Place { direction: ToClient, first: 0x30, before: b"\0\x01t", after: b"p",
        allowed: &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26] },
    // 3.4 to 3.7
    Place { direction: ToServer, first: 0x40, before: b"\0\x01\0", after: b"", allowed: &[0x1F, 0x26] },
    Place { direction: ToServer, first: 0x50, before: b"\0\x01\0", after: b"", allowed: &[0x1F, 0x26] },
    Place { direction: ToServer, first: 0x62, before: b"\0\x01\0", after: b"", allowed: &[0x1F, 0x26] },
    Place { direction: ToServer, first: 0x70, before: b"\0\x01\0", after: b"", allowed: &[0x1F, 0x26] },
    // 3.8 to 3.11
    Place { direction: ToServer, first: 0x82, before: b"\0\x01", after: b"\0\x01f\0", allowed: &[0x0B, 0x26] },
    Place { direction: ToClient, first: 0x90, before: b"\0\x01", after: b"\0", allowed: &[0x1F, 0x26] },
    Place { direction: ToServer, first: 0xA2, before: b"\0\x01", after: b"\0\x01f", allowed: &[0x26] },
    Place { direction: ToClient, first: 0xB0, before: b"\0\x01", after: b"\0", allowed: &[0x1F, 0x26] },
    // 3.14.2.2
    Place { direction: ToServer, first: 0xE0, before: b"\0", after: b"", allowed: &[0x11, 0x1F, 0x26] },
    Place { direction: ToClient, first: 0xE0, before: b"\0", after: b"", allowed: &[0x1C, 0x1F, 0x26] },
    // 3.15.2.2
    Place { direction: ToServer, first: 0xF0, before: b"\x18", after: b"", allowed: &[0x15, 0x16, 0x1F, 0x26] },
    Place { direction: ToClient, first: 0xF0, before: b"\x18", after: b"", allowed: &[0x15, 0x16, 0x1F, 0x26] },
];

/// A property with a value that is valid for it.
fn property(id: u8) -> Vec<u8> {
    let value: &[u8] = match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A | 0x0B => &[1],
        0x13 | 0x21..=0x23 => &[0, 1],
        0x02 | 0x11 | 0x18 | 0x27 => &[0, 0, 0, 1],
        0x26 => &[0, 1, b'k', 0, 1, b'v'],
        _ => &[0, 1, b'x'],
    };
    [&[id], value].concat()
}

fn judge(place: &Place, block: &[u8]) -> Result<(), DecodeError> {
    let mut wire = vec![place.first, 0];
    wire.extend_from_slice(place.before);
    wire.push(block.len() as u8);
    wire.extend_from_slice(block);
    wire.extend_from_slice(place.after);
    wire[1] = (wire.len() - 2) as u8;
    if place.first == 0x10 {
        let Split::Frame(frame) = Framer::awaiting_connect(MAX_PACKET).split(&wire)? else { panic!() };
        return decode_connect(&frame).map(drop).map_err(|error| error.cause);
    }
    let Split::Frame(frame) = Framer::new(Version::V5, place.direction, MAX_PACKET).split(&wire)? else {
        panic!()
    };
    decode(Version::V5, place.direction, &frame).map(drop)
}

#[test]
fn every_property_in_every_place() {
    for place in PLACES {
        for id in 0..0x80 {
            let at = format!("0x{id:02X} in 0x{:02X} {:?}", place.first, place.direction);
            // Authentication data needs its method, and AUTH too.
            let method = id == 0x16 && place.allowed.contains(&0x16) || place.first == 0xF0 && id != 0x15;
            let companion = if method { property(0x15) } else { Vec::new() };
            let once = [companion, property(id)].concat();
            let verdict = judge(place, &once);
            let allowed = place.allowed.contains(&id);
            assert_eq!(verdict.is_ok(), allowed, "{at}: {verdict:?}");
            if !allowed {
                continue;
            }
            let verdict = judge(place, &[once, property(id)].concat());
            let repeats = id == 0x26 || id == 0x0B && place.first == 0x30;
            assert_eq!(verdict.is_ok(), repeats, "{at}, twice: {verdict:?}");
            if let Err(error) = verdict {
                assert_eq!(error.reason_code(), Reason::PROTOCOL_ERROR, "{at}");
            }
        }
    }
}

/// Sections 3.1.2.11, 3.2.2.3 and 3.3.2.3: values outside a property's range.
#[test]
fn values_out_of_range() {
    let zero: [(usize, u8, &[u8]); 5] =
        [(0, 0x21, &[0, 0]), (0, 0x27, &[0; 4]), (4, 0x0B, &[0]), (3, 0x23, &[0, 0]), (9, 0x0B, &[0])];
    let two: [(usize, u8, &[u8]); 8] = [
        (0, 0x17, &[2]),
        (0, 0x19, &[2]),
        (2, 0x24, &[2]),
        (2, 0x25, &[2]),
        (2, 0x28, &[2]),
        (2, 0x29, &[2]),
        (2, 0x2A, &[2]),
        (3, 0x01, &[2]),
    ];
    for (place, id, value) in zero.into_iter().chain(two) {
        let verdict = judge(&PLACES[place], &[&[id], value].concat());
        assert!(
            matches!(verdict, Err(DecodeError::PropertyValue { id: named, .. }) if named == id),
            "{verdict:?}"
        );
    }
}

/// A block that ends inside any of its properties, and a length that lies, are malformed wherever it is cut.
#[test]
fn cut_blocks() {
    for place in PLACES {
        for id in place.allowed {
            let whole = property(*id);
            for len in 1..whole.len() {
                let verdict = judge(place, &whole[..len]);
                assert!(
                    matches!(verdict, Err(DecodeError::Truncated(_))),
                    "0x{id:02X} cut at {len}: {verdict:?}"
                );
            }
        }
    }
}
