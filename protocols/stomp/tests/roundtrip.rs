//! Goal: what is written is read as it was meant, in every version and however the bytes arrive.
//! Method: frames made from random text and bytes; a model says what the version must alter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod made;

use Version::{V10, V11, V12};
use bytes::BytesMut;
use made::{LIMITS, Owned, read, to_client, to_server};
use noctule_stomp::{Command, Direction, FrameWriter, Reading, Version};
use proptest::prelude::*;

fn write(version: Version, frame: &Owned, out: &mut BytesMut) {
    let mut writer = FrameWriter::new(out, version, frame.command);
    for (name, value) in &frame.headers {
        writer.header(name, value);
    }
    writer.finish(&frame.body);
}

fn written(version: Version, command: Command, name: &str, value: &str) -> String {
    let mut out = BytesMut::new();
    let mut writer = FrameWriter::new(&mut out, version, command);
    writer.header(name, value);
    writer.finish(b"");
    let text = String::from_utf8(out.to_vec()).unwrap();
    let head = text.strip_prefix(command.as_str()).unwrap().strip_prefix('\n').unwrap();
    let end = if command.has_body() { "content-length:0\n\n\0" } else { "\n\0" };
    head.strip_suffix(end).unwrap().to_owned()
}

/// The rules by which a frame of this version and command is read.
fn reading(version: Version, command: Command) -> Reading {
    match command {
        Command::Connect | Command::Stomp => to_server(None),
        Command::Connected => to_client(None),
        _ if command.direction() == Direction::ToServer => to_server(version),
        _ => to_client(version),
    }
}

/// What a reader must find: the text itself, but for what the version can't express.
fn expected(version: Version, frame: &Owned) -> Owned {
    let exempt = matches!(frame.command, Command::Connect | Command::Connected);
    let escaped = !exempt && (version != V10 || frame.command == Command::Stomp);
    let alter = |text: &str, is_name: bool| -> String {
        let altered = |c| match c {
            '\0' => ' ',
            '\n' if !escaped => ' ',
            ':' if !escaped && is_name => ' ',
            '\r' if exempt => ' ',
            other => other,
        };
        text.chars().map(altered).collect()
    };
    let mut headers: Vec<_> = frame
        .headers
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (alter(name, true), alter(value, false)))
        .collect();
    let body = if frame.command.has_body() { frame.body.clone() } else { Vec::new() };
    if frame.command.has_body() {
        headers.push(("content-length".to_owned(), body.len().to_string()));
    }
    Owned { command: frame.command, headers, body }
}

/// Text with much in it that matters.
fn text() -> impl Strategy<Value = String> {
    let telling = prop::sample::select(vec!['\n', '\r', ':', '\\', 'n', 'c', 'r', 't', '\0', ' ', '\t', 'é']);
    prop::collection::vec(prop_oneof![telling, any::<char>(), prop::char::range('a', 'z')], 0..24)
        .prop_map(|chars| chars.into_iter().collect())
}

fn frames() -> impl Strategy<Value = Vec<Owned>> {
    let body = prop::collection::vec(prop_oneof![Just(0u8), Just(b'\n'), any::<u8>()], 0..60);
    let frame =
        (prop::sample::select(Command::ALL.to_vec()), prop::collection::vec((text(), text()), 0..8), body)
            .prop_map(|(command, headers, body)| {
                // The end of the frame writes the only one.
                let headers = headers.into_iter().filter(|(name, _)| name != "content-length").collect();
                Owned { command, headers, body }
            });
    prop::collection::vec(frame, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_survives_the_wire(frames in frames()) {
        for version in Version::ALL {
            for frame in &frames {
                let mut out = BytesMut::from(&b"before"[..]);
                write(version, frame, &mut out);
                prop_assert_eq!(&out[..6], b"before", "what was in the buffer stays");
                let reading = reading(version, frame.command);
                let (read, rest) = read(reading, &LIMITS, &out[6..], []).unwrap();
                prop_assert_eq!((&read[..], rest), (&[expected(version, frame)][..], 0));
                // What was read can be written as it stands.
                let mut again = BytesMut::new();
                let mut plain = read[0].clone();
                plain.headers.retain(|(name, _)| name != "content-length");
                write(version, &plain, &mut again);
                prop_assert_eq!(&out[6..], &again[..]);
            }
        }
    }

    #[test]
    fn a_stream_means_the_same_wherever_it_is_cut(frames in frames()) {
        for version in Version::ALL {
            for direction in [Direction::ToServer, Direction::ToClient] {
                let reading = Reading { version: Some(version), direction };
                let mut wire = BytesMut::new();
                let mut wanted = Vec::new();
                for frame in &frames {
                    let connecting = reading != self::reading(version, frame.command);
                    if connecting || frame.command.direction() != direction {
                        continue;
                    }
                    write(version, frame, &mut wire);
                    wire.extend_from_slice([&b""[..], b"\n", b"\n\r\n\n"][wanted.len() % 3]);
                    wanted.push(expected(version, frame));
                }
                for cut in 0..=wire.len() {
                    let (got, rest) = read(reading, &LIMITS, &wire, [cut]).unwrap();
                    prop_assert_eq!((&got, rest), (&wanted, 0), "cut at {}", cut);
                }
                let (got, rest) = read(reading, &LIMITS, &wire, 0..wire.len()).unwrap();
                prop_assert_eq!((&got, rest), (&wanted, 0), "byte by byte");
            }
        }
    }

    /// Also what we never write: CR LF, no content-length, colons that aren't escaped.
    #[test]
    fn foreign_frames_mean_the_same_wherever_they_are_cut(bodies in prop::collection::vec("[a-z\n]{0,20}", 1..4)) {
        let mut wire = String::new();
        for (number, body) in bodies.iter().enumerate() {
            let eol = if number % 2 == 0 { "\r\n" } else { "\n" };
            let esc = r"a\n\r\c\\:z";
            wire += &format!("SEND{eol}esc:{esc}{eol}empty:{eol}{eol}{body}\0{eol}{eol}BEGIN{eol}{eol}\0");
        }
        let reading = to_server(V12);
        let whole = read(reading, &LIMITS, wire.as_bytes(), []).unwrap();
        prop_assert_eq!((whole.0.len(), whole.1), (2 * bodies.len(), 0));
        prop_assert_eq!(&whole.0[0].headers[0].1, "a\n\r:\\:z");
        prop_assert_eq!(&whole.0[0].body[..], bodies[0].as_bytes());
        for cut in 0..=wire.len() {
            prop_assert_eq!(&read(reading, &LIMITS, wire.as_bytes(), [cut]).unwrap(), &whole);
        }
        prop_assert_eq!(&read(reading, &LIMITS, wire.as_bytes(), 0..wire.len()).unwrap(), &whole);
    }
}

/// 1.2 and 1.1, "Value Encoding": each byte that must be escaped, in names and in values.
#[test]
fn escapes_are_written_as_each_version_has_them() {
    for (version, name, value) in [
        (V12, "a\\nb\\rc\\cd\\\\e f", "a\\nb\\rc\\cd\\\\e f"),
        (V11, "a\\nb\rc\\cd\\\\e f", "a\\nb\rc\\cd\\\\e f"),
        // 1.0 has no escapes: what would end the line, or the name, is a space.
        (V10, "a b\rc d\\e f", "a b\rc:d\\e f"),
    ] {
        let text = "a\nb\rc:d\\e\0f";
        for command in [Command::Send, Command::Message, Command::Receipt, Command::Error, Command::Ack] {
            assert_eq!(written(version, command, text, text), format!("{name}:{value}\n"), "{version}");
        }
    }
}

/// 1.2, "Value Encoding": CONNECT and CONNECTED are never escaped; a STOMP frame is, by 1.2's rules.
#[test]
fn connect_and_connected_are_written_raw() {
    let text = "a\nb\rc:d\\e\0f";
    for version in Version::ALL {
        for command in [Command::Connect, Command::Connected] {
            assert_eq!(written(version, command, text, text), "a b c d\\e f:a b c:d\\e f\n");
        }
        assert_eq!(written(version, Command::Stomp, "a", text), "a:a\\nb\\rc\\cd\\\\e f\n");
    }
}

/// No text of a publisher makes a header of its own.
#[test]
fn no_value_forges_a_header_or_a_frame() {
    for evil in ["x\nmessage-id:1", "x\r\nmessage-id:1", "x\n\n\0SEND\n", "x\n\nbody", "\\\nack:1", "\\"] {
        for version in Version::ALL {
            for command in Command::ALL {
                let mut out = BytesMut::new();
                let mut writer = FrameWriter::new(&mut out, version, command);
                writer.header("note", evil).header(evil, "2");
                writer.finish(b"");
                let (frames, rest) = read(reading(version, command), &LIMITS, &out, []).unwrap();
                let count = 2 + usize::from(command.has_body());
                assert_eq!(
                    (frames.len(), rest, frames[0].headers.len()),
                    (1, 0, count),
                    "{evil:?} {version}"
                );
                for forged in ["message-id", "ack"] {
                    assert!(frames[0].headers.iter().all(|(name, _)| name != forged), "{evil:?} {version}");
                }
            }
        }
    }
}

/// 1.2, "Augmented BNF": a header's name has one octet at least.
#[test]
fn a_header_without_a_name_is_left_out() {
    for version in Version::ALL {
        assert_eq!(written(version, Command::Message, "", "x"), "");
    }
}

/// 1.2, "Header content-length": SEND, MESSAGE and ERROR have it even when it is 0; nothing else has a body.
#[test]
fn content_length_is_written_where_there_may_be_a_body() {
    for command in Command::ALL {
        for body in [&b""[..], b"a\0b"] {
            let mut out = BytesMut::new();
            FrameWriter::new(&mut out, V12, command).finish(body);
            let mut wanted = command.as_str().to_owned();
            wanted += match (command, body.len()) {
                (Command::Send | Command::Message | Command::Error, 0) => "\ncontent-length:0\n\n\0",
                (Command::Send | Command::Message | Command::Error, _) => "\ncontent-length:3\n\na\0b\0",
                _ => "\n\n\0",
            };
            assert_eq!(out, wanted.as_bytes());
            let mut head = BytesMut::new();
            FrameWriter::new(&mut head, V12, command).head_only(body.len());
            if command.has_body() {
                head.extend_from_slice(body);
            }
            head.extend_from_slice(b"\0");
            assert_eq!(head, out, "in two parts");
        }
    }
}

#[test]
fn numbers_are_decimal() {
    let mut out = BytesMut::new();
    let mut writer = FrameWriter::new(&mut out, V12, Command::Receipt);
    writer
        .number("a", 0u8)
        .number("b", u64::MAX)
        .number("c", i64::MIN)
        .number("d", -1)
        .number("e", 1000usize);
    writer.finish(b"");
    let wanted = "RECEIPT\na:0\nb:18446744073709551615\nc:-9223372036854775808\nd:-1\ne:1000\n\n\0";
    assert_eq!(out, wanted.as_bytes());
}
