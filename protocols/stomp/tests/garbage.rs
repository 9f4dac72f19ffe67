//! Goal: no bytes bring the reader down; each call takes bytes, asks for more, or refuses.
//! Method: a seeded million of good frames, damaged, in streams that come whole and in pieces.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod made;

use bytes::BytesMut;
use made::{LIMITS, read, to_client, to_server};
use noctule_stomp::{Command, FrameLimits, FrameWriter, Reading, Version};

/// SplitMix64: small, seeded, and good enough to damage frames.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn text(&mut self) -> String {
        let chars = ['a', 'b', 'z', '/', '-', 'é', ':', '\\', '\n', '\r', ' ', '\u{10FFFF}'];
        (0..self.below(12)).map(|_| self.pick(&chars)).collect()
    }
}

struct Seed {
    reading: Reading,
    wire: Vec<u8>,
}

fn seeds(random: &mut Random) -> Vec<Seed> {
    let names = ["destination", "receipt", "id", "transaction", "x"];
    let mut seeds = Vec::new();
    for _ in 0..8 {
        for version in [None, Some(Version::V10), Some(Version::V11), Some(Version::V12)] {
            for command in Command::ALL {
                let mut wire = BytesMut::new();
                let mut frame = FrameWriter::new(&mut wire, version.unwrap_or(Version::V12), command);
                for _ in 0..random.below(5) {
                    frame.header(random.pick(&names), &random.text());
                }
                let body: Vec<u8> = (0..random.below(20)).map(|_| random.next() as u8).collect();
                frame.finish(&body);
                if version.is_none() && !command.is_connect() && command != Command::Connected {
                    continue;
                }
                let reading = Reading { version, direction: command.direction() };
                seeds.push(Seed { reading, wire: wire.to_vec() });
            }
            let reading = to_server(version);
            seeds.push(Seed { reading, wire: b"CONNECT\nhost:a\n\n\0\n\n".to_vec() });
            seeds.push(Seed { reading, wire: b"\nSEND\ndestination:/queue/a\n\nno length\0\n".to_vec() });
        }
    }
    seeds
}

fn damage(wire: &mut Vec<u8>, random: &mut Random) {
    const TELLING: &[u8] = b"\0\n\r:\\nc019-\xFF\xC3 S";
    for _ in 0..=random.below(3) {
        let at = random.below(wire.len() + 1);
        match random.below(7) {
            0 if at < wire.len() => wire[at] ^= 1 << random.below(8),
            1 if at < wire.len() => wire[at] = random.pick(TELLING),
            2 => wire.truncate(at),
            3 => wire.insert(at, random.pick(TELLING)),
            4 if at < wire.len() => drop(wire.remove(at)),
            5 => {
                let line: &[u8] =
                    random.pick(&[b"\ncontent-length:3", b"\r\n", b"\na:\\c", b"\n\n", b"\nreceipt:7"]);
                wire.splice(at..at, line.iter().copied());
            }
            _ => {}
        }
    }
}

/// [`read`] asserts that every call that takes bytes takes some, and never more than there are.
#[test]
fn a_million_damaged_frames() {
    let mut random = Random(0x57_0A_4B);
    let seeds = seeds(&mut random);
    let narrow = FrameLimits { max_headers: 3, max_header_line: 24, max_body: 12, max_connect: 60 };
    let (mut damaged, mut accepted, mut refused) = (0, 0, 0);
    let mut wire = Vec::new();
    while damaged < 1_000_000 {
        let reading = seeds[random.below(seeds.len())].reading;
        wire.clear();
        for _ in 0..=random.below(3) {
            let seed = &seeds[random.below(seeds.len())];
            let mut frame = seed.wire.clone();
            if seed.reading != reading {
                continue;
            }
            damage(&mut frame, &mut random);
            damaged += 1;
            wire.extend_from_slice(&frame);
        }
        let limits = if random.below(4) == 0 { &narrow } else { &LIMITS };
        let whole = read(reading, limits, &wire, []);
        match &whole {
            Ok((frames, rest)) => {
                assert!(*rest <= wire.len());
                accepted += frames.len();
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().chars().any(char::is_control), "{error}");
            }
        }
        // In pieces the verdict is the same, though it may come earlier, and so in other words.
        let cut = random.below(wire.len() + 1);
        match (read(reading, limits, &wire, [cut]), whole) {
            (Ok(cut), Ok(whole)) => assert_eq!(cut, whole, "{}", wire.escape_ascii()),
            (Err(_), Err(_)) => {}
            (cut, whole) => panic!("{cut:?}\n{whole:?}\n{}", wire.escape_ascii()),
        }
    }
    // Were nearly all refused, or nearly none, half of the test would test nothing.
    assert!(accepted > damaged / 10 && refused > damaged / 10, "{accepted} accepted, {refused} refused");
}

#[test]
fn every_seed_is_accepted_and_its_prefixes_are_not() {
    for Seed { reading, wire } in seeds(&mut Random(1)) {
        let (frames, rest) = read(reading, &LIMITS, &wire, []).unwrap();
        assert_eq!((frames.len(), rest), (1, 0), "{}", wire.escape_ascii());
        let end = wire.iter().rposition(|byte| *byte == 0).unwrap();
        for len in 0..=end {
            let (frames, _) = read(reading, &LIMITS, &wire[..len], []).unwrap();
            assert!(frames.is_empty(), "{} of {}", len, wire.escape_ascii());
        }
    }
}

/// Bytes that are no STOMP: every two first bytes, and noise.
#[test]
fn noise_is_refused_or_waited_for() {
    let mut random = Random(2);
    for first in 0..=u16::MAX {
        let mut wire = first.to_be_bytes().to_vec();
        wire.extend((0..random.below(40)).map(|_| random.next() as u8));
        for version in [None, Some(Version::V10), Some(Version::V11), Some(Version::V12)] {
            for reading in [to_server(version), to_client(version)] {
                let verdict = read(reading, &LIMITS, &wire, 0..wire.len());
                assert!(
                    verdict.is_err() || verdict.is_ok_and(|(frames, rest)| frames.is_empty() && rest < 13)
                );
            }
        }
    }
}
