//! Goal: packets that other codecs judge wrongly are judged right.
//! Method: every row of `packets.tsv` goes through the public entry points as a whole stream of its direction; a row
//! says nothing to the test but version, direction, verdict and bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use noctule_mqtt::{
    DecodeError, Direction, Framer, MAX_PACKET, PacketType, Split, Version, decode, decode_connect,
};

fn judge(version: Version, direction: Direction, bytes: &[u8]) -> Result<(), DecodeError> {
    // A server reads its first packet before it knows the version.
    let starts_connection = direction == Direction::ToServer
        && bytes.first().copied().and_then(PacketType::from_first) == Some(PacketType::Connect);
    let framer = if starts_connection {
        Framer::awaiting_connect(MAX_PACKET)
    } else {
        Framer::new(version, direction, MAX_PACKET)
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let Split::Frame(frame) = framer.split(rest)? else {
            // A whole packet was sent: its length lies.
            return Err(DecodeError::Truncated("row"));
        };
        if starts_connection {
            decode_connect(&frame).map_err(|error| error.cause)?;
        } else {
            decode(version, direction, &frame)?;
        }
        rest = &rest[frame.len..];
    }
    Ok(())
}

#[test]
fn every_row_is_judged_right() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in include_str!("packets.tsv").lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [version, direction, want, clause, case, hex] = columns[..] else { panic!("row {line:?}") };
        let version = match version {
            "3" => Version::V31,
            "4" => Version::V311,
            "5" => Version::V5,
            other => panic!("version {other}"),
        };
        let direction = match direction {
            "c2s" => Direction::ToServer,
            "s2c" => Direction::ToClient,
            other => panic!("direction {other}"),
        };
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let verdict = judge(version, direction, &bytes);
        if verdict.is_ok() != (want == "ok") {
            wrong.push(format!("{case} [{clause}]: wanted {want}, got {verdict:?}"));
        }
        rows += 1;
    }
    assert_eq!(rows, 67, "rows were lost");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
