//! Made packets and how they are damaged: seeded, so that a failure can be repeated.

use bytes::BytesMut;
use noctule_mqtt::{Direction, Version};

use super::{DIRECTIONS, KINDS, Source, VERSIONS, encode_again};

/// SplitMix64: small, seeded, and good enough to damage packets.
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
}

pub(crate) struct Seed {
    pub(crate) version: Version,
    pub(crate) direction: Direction,
    pub(crate) wire: Vec<u8>,
}

pub(crate) fn seeds(random: &mut Random) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for _ in 0..20 {
        let bytes: Vec<u8> = (0..300).map(|_| random.next() as u8).collect();
        let text: String = (0..100)
            .map(|_| if random.below(8) == 0 { 'é' } else { (b'a' + random.below(26) as u8) as char })
            .collect();
        for version in VERSIONS {
            let mut wire = BytesMut::new();
            Source { bytes: &bytes, text: &text }.connect(version).encode(&mut wire).unwrap();
            seeds.push(Seed { version, direction: Direction::ToServer, wire: wire.to_vec() });
            for direction in DIRECTIONS {
                for kind in 0..KINDS {
                    let mut source = Source { bytes: &bytes, text: &text };
                    if let Some(packet) = source.packet(kind, version, direction) {
                        let wire = encode_again(&packet, version, direction).to_vec();
                        seeds.push(Seed { version, direction, wire });
                    }
                }
            }
        }
    }
    // Subscription identifiers strewn between fields, which our own encoder never writes.
    let strewn = b"\x30\x1E\0\x01a\x1A\x0B\x01\x01\x01\x0B\x02\x03\0\x01t\x0B\x03\x08\0\x01r\x0B\x04\x09\0\x01c\x0B\x05";
    let mut strewn = strewn.to_vec();
    strewn[1] = (strewn.len() - 2) as u8;
    strewn[5] = (strewn.len() - 6) as u8;
    seeds.push(Seed { version: Version::V5, direction: Direction::ToClient, wire: strewn });
    seeds
}

pub(crate) fn damage(wire: &mut Vec<u8>, random: &mut Random) {
    const TELLING: [u8; 12] = [0, 1, 2, 3, 0x0B, 0x23, 0x26, 0x7F, 0x80, 0xC0, 0xED, 0xFF];
    for _ in 0..=random.below(3) {
        let at = random.below(wire.len() + 1);
        match random.below(5) {
            0 if at < wire.len() => wire[at] ^= 1 << random.below(8),
            1 if at < wire.len() => wire[at] = TELLING[random.below(TELLING.len())],
            2 => wire.truncate(at),
            3 => wire.insert(at, TELLING[random.below(TELLING.len())]),
            4 if at < wire.len() => drop(wire.remove(at)),
            _ => {}
        }
    }
    // Mostly the length is put right again, else nothing gets past the framer.
    if wire.len() >= 2 && random.below(8) != 0 {
        let header = 1 + wire[1..].iter().take(4).position(|byte| byte & 0x80 == 0).map_or(0, |at| at + 1);
        let body = wire.split_off(header.min(wire.len()));
        wire.truncate(1);
        let mut rest = body.len();
        while rest >= 0x80 {
            wire.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        wire.push(rest as u8);
        wire.extend(body);
    }
}
