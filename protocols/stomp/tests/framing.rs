//! Goal: one test per normative statement about frames that a reader alone can judge.
//! Method: raw frames; the verdict must name what was wrong, and the refusal it leads to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod made;

use Version::{V10, V11, V12};
use made::{LIMITS, Owned, read, to_client, to_server};
use noctule_core::refusal::{Kind, Refusal};
use noctule_stomp::{Command, FrameError, FrameFault, FrameLimits, Framer, Reading, Split, Version};

/// The only frame of `wire`.
#[track_caller]
fn one(reading: Reading, wire: &[u8]) -> Owned {
    let (mut frames, rest) = read(reading, &LIMITS, wire, []).unwrap();
    assert_eq!((frames.len(), rest), (1, 0), "{}", wire.escape_ascii());
    frames.remove(0)
}

#[track_caller]
fn value(version: Version, wire: &str) -> String {
    one(to_server(version), wire.as_bytes()).headers.remove(0).1
}

#[track_caller]
fn fault(reading: Reading, wire: &[u8]) -> FrameError {
    match read(reading, &LIMITS, wire, []) {
        Err(error) => error,
        other => panic!("{} became {other:?}", wire.escape_ascii()),
    }
}

/// Refused with this kind, in words that have all of these in them.
#[track_caller]
fn refused(reading: Reading, wire: &[u8], kind: Kind, words: &[&str]) {
    let error = fault(reading, wire);
    let text = error.to_string();
    assert_eq!(error.fault.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert_eq!(Refusal::from(&error), Refusal::new(kind, text));
}

fn incomplete(reading: Reading, wire: &[u8]) -> bool {
    matches!(read(reading, &LIMITS, wire, []), Ok((frames, rest)) if frames.is_empty() && rest == wire.len())
}

#[test]
fn an_idle_connection_keeps_few_bytes() {
    assert!(size_of::<Framer>() <= 32, "{}", size_of::<Framer>());
    assert!(size_of::<FrameError>() <= 96, "{}", size_of::<FrameError>());
}

/// 1.2, "STOMP Frames": "The frame starts with a command string terminated by an end-of-line".
#[test]
fn every_command_is_read_in_its_direction_and_refused_in_the_other() {
    for command in Command::ALL {
        let wire = format!("{command}\n\n\0");
        for version in Version::ALL {
            for reading in [to_server(version), to_client(version)] {
                if reading.direction == command.direction() {
                    assert_eq!(one(reading, wire.as_bytes()).command, command);
                } else {
                    refused(reading, wire.as_bytes(), Kind::ProtocolError, &[command.as_str(), "only"]);
                }
            }
        }
    }
}

/// 1.2, "STOMP Frames": "Commands and headers names are case-sensitive."
#[test]
fn an_unknown_command_is_named() {
    for wire in ["send\n\n\0", "SEND \n\n\0", " SEND\n\n\0", "PUBLISH\n\n\0", "SEND\r\r\n\n\0", "\0\n\n\0"] {
        let named = format!("{:?}", wire.split('\n').next().unwrap());
        for reading in [to_server(None), to_server(V10), to_server(V11), to_server(V12)] {
            refused(reading, wire.as_bytes(), Kind::MalformedPacket, &[&named, "unknown", "capitals"]);
        }
    }
    let case = one(to_server(V12), b"SEND\nDestination:/queue/a\n\n\0");
    assert_eq!(case.headers, [("Destination".to_owned(), "/queue/a".to_owned())], "not lowered");
}

/// What is no STOMP at all is seen before its line ends.
#[test]
fn a_first_line_longer_than_any_command_is_refused_at_once() {
    for wire in ["\x16\x03\x01\x00".to_owned(), format!("SEND{}", "x".repeat(100))] {
        refused(to_server(V12), wire.as_bytes(), Kind::MalformedPacket, &["longer than any command"]);
    }
    assert!(incomplete(to_server(V12), b"UNSUBSCRIBE\r"));
    assert!(incomplete(to_server(V12), b"UNSUBSCRIBExx"[..12].as_ref()));
}

/// Who has come to the wrong port is told so.
#[test]
fn another_protocol_is_named() {
    for (wire, named) in [
        (&b"\x10\x1f\0\x04MQTT\x04\xc2\0\x1e\0\x02ph\0\x02ad\0\x06secret"[..], "this is MQTT"),
        (b"\x10\x0a\0\x04MQTT\x04", "this is MQTT"),
        (b"\x16\x03\x01\x00", "this is TLS"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.8 5000 61613\r\n", "this is a PROXY header"),
        (b"GET /secret HTTP/1.1\r\nAuthorization: Basic secret", "this is HTTP"),
    ] {
        refused(to_server(None), wire, Kind::MalformedPacket, &[named, "STOMP is spoken here"]);
    }
}

/// What is told ends up in a log, where passwords and bodies must not be.
#[test]
fn passwords_and_bodies_are_not_shown() {
    for (reading, wire) in [
        (to_server(None), &b"\x10\x1f\0\x04MQTT\x04\xc2\0\x1e\0\x02ph\0\x02ad\0\x06secret"[..]),
        (to_server(None), b"GET / HTTP/1.1\r\nAuthorization: Basic secret\r\n\r\n"),
        (to_server(None), b"CONNECT\npasscode secret\n\n\0"),
        (to_server(None), b"CONNECT\npasscode=secret\n\n\0"),
        (to_server(V12), b"a secret behind a content-length that was too small"),
    ] {
        let text = fault(reading, wire).to_string();
        assert!(!text.contains("secret"), "{text}");
    }
    refused(
        to_server(None),
        b"CONNECT\npasscode=secret\n\n\0",
        Kind::MalformedPacket,
        &["\"passcode\"", "no colon"],
    );
}

/// 1.2, "Augmented BNF": EOL is [CR] LF in 1.2, where CR LF ends a line as LF does.
#[test]
fn crlf_ends_lines_in_1_2_and_before_the_version_is_known() {
    let wire = b"SEND\r\ndestination:/queue/a\r\ncontent-length:1\r\n\r\nx\0";
    let headers = [("destination", "/queue/a"), ("content-length", "1")];
    let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    assert_eq!(one(to_server(V12), wire).headers, headers);
    let mixed = b"SEND\ndestination:/queue/a\r\ncontent-length:1\n\r\nx\0";
    assert_eq!(one(to_server(V12), mixed), one(to_server(V12), wire), "lines of both kinds");
    let mixed = b"SEND\r\ndestination:/queue/a\ncontent-length:1\r\n\nx\0";
    assert_eq!(one(to_server(V12), mixed), one(to_server(V12), wire), "lines of both kinds");
    for connect in ["CONNECT", "STOMP"] {
        let wire = format!("{connect}\r\naccept-version:1.2\r\nhost:h\r\n\r\n\0");
        assert_eq!(one(to_server(None), wire.as_bytes()).headers[1].1, "h");
    }
    assert!(one(to_server(V12), b"BEGIN\r\n\r\n\0").headers.is_empty());
    assert_eq!(one(to_client(None), b"CONNECTED\r\nversion:1.2\r\n\r\n\0").headers[0].1, "1.2");
}

/// 1.0 and 1.1 know LF only: a CR before it is a part of the line.
#[test]
fn a_carriage_return_is_data_in_1_0_and_1_1() {
    for version in [V10, V11] {
        assert_eq!(value(version, "SEND\nnote:a\rb\r\n\n\0"), "a\rb\r");
        refused(to_server(version), b"SEND\r\n\n\0", Kind::MalformedPacket, &["\"SEND\\r\""]);
        refused(
            to_server(version),
            b"SEND\na:b\n\r\n\0",
            Kind::MalformedPacket,
            &["no colon", "\"\\r\"", "LF"],
        );
    }
}

/// 1.2, "Augmented BNF": a header is of "any OCTET except CR or LF or ":"".
#[test]
fn a_carriage_return_inside_a_line_of_1_2_is_refused() {
    for wire in ["SEND\nok:1\nnote:a\rb\n\n\0", "SEND\nok:1\nnote:b\r\r\n\n\0", "SEND\nok:1\nno\rte:b\n\n\0"]
    {
        refused(to_server(V12), wire.as_bytes(), Kind::MalformedPacket, &["header 2 of SEND", "\\r"]);
    }
}

/// 1.2, "Augmented BNF": frames are followed by any number of EOLs; "Heart-beating": they are what beats.
#[test]
fn line_ends_between_frames_are_beats() {
    let beats = |reading, wire: &[u8]| match Framer::new().split(wire, reading, &LIMITS) {
        Ok(Split::Beats(len)) => len,
        other => panic!("{other:?}"),
    };
    for version in [None, Some(V10), Some(V11), Some(V12)] {
        assert_eq!(beats(to_server(version), b"\n"), 1);
        assert_eq!(beats(to_server(version), b"\n\n\nSEND"), 3);
        assert_eq!(beats(to_client(version), b"\r\n\n\r\nSEND"), 5);
        assert_eq!(beats(to_client(version), b"\n\r"), 1, "its LF may be on the way");
        assert!(incomplete(to_server(version), b"\r"));
        assert!(incomplete(to_server(version), b""));
    }
    let wire = b"\n\nBEGIN\ntransaction:1\n\n\0\n\r\n\nABORT\ntransaction:1\n\n\0\n";
    let (frames, rest) = read(to_server(V12), &LIMITS, wire, []).unwrap();
    assert_eq!((frames.len(), rest), (2, 0));
    refused(to_server(V12), b"\rSEND\n\n\0", Kind::MalformedPacket, &["\"\\rSEND\""]);
}

/// 1.0, 1.1, 1.2, "Value Encoding" (in 1.0 there is none): each escape and what it stands for.
#[test]
fn escapes_are_read_as_each_version_has_them() {
    let escapes = [("\\n", "\n"), ("\\c", ":"), ("\\\\", "\\"), ("\\r", "\r")];
    for (written, meant) in escapes {
        for version in Version::ALL {
            let wire = format!("SEND\nnote:a{written}b\n{written}x:1\n\n\0");
            let reading = to_server(version);
            let (note, name) = match version {
                V10 => (format!("a{written}b"), format!("{written}x")),
                V11 if written == "\\r" => {
                    let words = ["header 1 of SEND, \"note\"", "\\\\r", "\\n, \\c, and \\\\"];
                    refused(reading, wire.as_bytes(), Kind::MalformedPacket, &words);
                    continue;
                }
                _ => (format!("a{meant}b"), format!("{meant}x")),
            };
            let headers = [("note".to_owned(), note), (name, "1".to_owned())];
            assert_eq!(one(reading, wire.as_bytes()).headers, headers, "{written} in {version}");
        }
    }
    assert_eq!(value(V12, "SEND\nn:\\\\n\\\\\\n\\c\\r\\\\\n\n\0"), "\\n\\\n:\r\\", "in a row");
    assert_eq!(value(V11, "SEND\nn:\\\\r\n\n\0"), "\\r", "an escaped backslash before a letter");
}

/// 1.2, "Value Encoding": "Undefined escape sequences such as \t MUST be treated as a fatal protocol error."
#[test]
fn any_other_escape_is_fatal() {
    for letter in (0..=255u8).filter(|byte| !matches!(byte, b'n' | b'c' | b'\\' | b'r' | b'\n' | 0)) {
        let wire = [&b"SEND\nok:1\nnote:a\\"[..], &[letter], b"b\n\n\0"].concat();
        for version in [V11, V12] {
            // A CR is refused as such in 1.2.
            if letter == b'\r' && version == V12 {
                continue;
            }
            refused(
                to_server(version),
                &wire,
                Kind::MalformedPacket,
                &["header 2 of SEND, \"note\"", "escape"],
            );
        }
    }
    for version in [V11, V12] {
        let reading = to_server(version);
        refused(reading, b"SEND\nnote:a\\\n\n\0", Kind::MalformedPacket, &["escape \"\\\\\""]);
        refused(reading, b"SEND\nnote:a\\t\n\n\0", Kind::MalformedPacket, &["escape \"\\\\t\""]);
        refused(reading, b"SEND\na\\tb:c\n\n\0", Kind::MalformedPacket, &["escape \"\\\\t\""]);
        refused(reading, b"SEND\nnote:\\n\\N\n\n\0", Kind::MalformedPacket, &["escape \"\\\\N\""]);
    }
}

/// 1.2, "Value Encoding": "all frames except the CONNECT and CONNECTED frames", for the sake of 1.0.
#[test]
fn connect_and_connected_are_not_escaped() {
    let connect = b"CONNECT\nlogin:dom\\nick\npasscode:a\\tb:c\\\n\n\0";
    for version in [None, Some(V12)] {
        let frame = one(to_server(version), connect);
        assert_eq!(frame.headers[0].1, "dom\\nick");
        assert_eq!(frame.headers[1].1, "a\\tb:c\\");
    }
    assert_eq!(one(to_client(None), b"CONNECTED\nsession:a\\tb\n\n\0").headers[0].1, "a\\tb");
}

/// 1.2, "Connecting": STOMP is CONNECT for those who know 1.1 at least, so its headers are escaped; who forgets to
/// is found by the value as it stands.
#[test]
fn a_stomp_frame_is_escaped_and_its_raw_value_within_reach() {
    let wire = b"STOMP\npasscode:a\\nb\\rc\npasscode:later\n\n\0";
    let Ok(Split::Frame(frame)) = Framer::new().split(wire, to_server(None), &LIMITS) else { panic!() };
    assert_eq!(frame.headers.get("passcode").as_deref(), Some("a\nb\rc"));
    assert_eq!(frame.headers.get_raw("passcode"), Some("a\\nb\\rc"));
    assert_eq!((frame.headers.get("login"), frame.headers.get_raw("login")), (None, None));
    assert!(!format!("{frame:?}").contains("later"), "a password is not for logs: {frame:?}");
    refused(to_server(None), b"STOMP\npasscode:a\\tb\n\n\0", Kind::MalformedPacket, &["\"passcode\""]);
}

/// 1.2, "Repeated Header Entries": "only the first header entry SHOULD be used"; the others are not lost.
#[test]
fn the_first_of_repeated_headers_wins_and_all_are_kept() {
    let wire = b"SEND\nfoo:World\nbar:1\nfoo:Hello\nb\\car:2\nb\\car:3\n\n\0";
    let Ok(Split::Frame(frame)) = Framer::new().split(wire, to_server(V12), &LIMITS) else { panic!() };
    assert_eq!(frame.headers.get("foo").as_deref(), Some("World"));
    assert_eq!(frame.headers.get("b:ar").as_deref(), Some("2"), "names are unescaped too");
    assert_eq!(frame.headers.get_raw("b\\car"), Some("2"));
    let all: Vec<_> = frame.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(all, ["foo=World", "bar=1", "foo=Hello", "b:ar=2", "b:ar=3"]);
    // Of content-length, too: the body is five bytes.
    let wire = b"SEND\ncontent-length:5\ncontent-length:1\n\na\0b\0c\0";
    assert_eq!(one(to_server(V12), wire).body, b"a\0b\0c");
}

/// 1.2, "Value Encoding", and 1.1: nothing is trimmed; an unescaped colon in a value does no harm.
#[test]
fn values_are_what_stands_behind_the_first_colon() {
    for version in Version::ALL {
        assert_eq!(value(version, "SEND\nnote: a : b \n\n\0"), " a : b ");
        assert_eq!(value(version, "SEND\nnote:\n\n\0"), "");
        assert_eq!(value(version, "SEND\nnote:::\n\n\0"), "::");
        assert_eq!(value(version, "SEND\nnote:\t\u{1}é\n\n\0"), "\t\u{1}é");
        assert_eq!(one(to_server(version), b"SEND\n a :b\n\n\0").headers[0].0, " a ");
    }
}

/// 1.2, "Augmented BNF": header = header-name ":" header-value, the name of one octet at least.
#[test]
fn a_line_without_colon_or_name_is_refused() {
    for version in Version::ALL {
        let reading = to_server(version);
        refused(
            reading,
            b"SEND\na:b\nnonsense\n\n\0",
            Kind::MalformedPacket,
            &["header 2", "\"nonsense\"", "no colon"],
        );
        refused(reading, b"SEND\n:b\n\n\0", Kind::MalformedPacket, &["header 1 of SEND", "no name"]);
        refused(reading, b"SEND\nhello\0", Kind::MalformedPacket, &["NUL inside", "empty line"]);
        refused(reading, b"DISCONNECT\nreceipt:1\0", Kind::MalformedPacket, &["\"receipt\"", "NUL inside"]);
    }
}

/// 1.2, "Value Encoding": "The commands and headers are encoded in UTF-8."
#[test]
fn headers_are_utf_8() {
    assert_eq!(value(V12, "SEND\nnote:\u{10FFFF}\u{FEFF}é\n\n\0"), "\u{10FFFF}\u{FEFF}é");
    for bad in [&b"\xFF"[..], b"\xC0\x80", b"\xED\xA0\x80", b"\xE2\x82"] {
        let wire = [b"SEND\na:b\nnote:", bad, b"\nc:d\n\n\0"].concat();
        refused(to_server(V12), &wire, Kind::MalformedPacket, &["header 2 of SEND, \"note\"", "UTF-8"]);
        // Known when the head is whole, however long the body is going to be.
        let wire = [b"SEND\ncontent-length:9\nn", bad, b"ote:1\n\n"].concat();
        refused(to_server(V12), &wire, Kind::MalformedPacket, &["header 2 of SEND", "UTF-8"]);
    }
    assert_eq!(one(to_server(V12), b"SEND\n\n\xFF\xC0\0").body, b"\xFF\xC0", "a body is bytes");
}

/// 1.2, "Body": "Only the SEND, MESSAGE, and ERROR frames MAY have a body. All other frames MUST NOT have a body."
#[test]
fn a_body_is_for_send_message_and_error_only() {
    for command in Command::ALL {
        let reading = Reading { direction: command.direction(), ..to_server(V12) };
        let body = format!("{command}\n\nx\0");
        let length = format!("{command}\ncontent-length:1\n\n");
        let empty = format!("{command}\ncontent-length:0\n\n\0");
        assert!(one(reading, empty.as_bytes()).body.is_empty());
        if matches!(command, Command::Send | Command::Message | Command::Error) {
            assert_eq!(one(reading, body.as_bytes()).body, b"x");
        } else {
            refused(reading, body.as_bytes(), Kind::ProtocolError, &[command.as_str(), "body", "NUL"]);
            refused(reading, length.as_bytes(), Kind::ProtocolError, &[command.as_str(), "body", "NUL"]);
        }
    }
}

/// 1.2, "Header content-length": "an octet count for the length of the message body"; then NUL bytes may be in it.
#[test]
fn content_length_counts_the_body() {
    for version in Version::ALL {
        for (length, body) in [("3", &b"abc"[..]), ("003", b"\0\0\0"), ("0", b""), ("4", b"\xFF\n\0\0")] {
            let wire = [b"SEND\ncontent-length:", length.as_bytes(), b"\n\n", body, b"\0"].concat();
            assert_eq!(one(to_server(version), &wire).body, body, "{length}");
        }
        assert_eq!(one(to_server(version), b"SEND\n\nabc\0\n").body, b"abc", "without: to the first NUL");
        assert!(incomplete(to_server(version), b"SEND\ncontent-length:4\n\nab\0d"));
        assert!(incomplete(to_server(version), b"SEND\n\nabcd"));
        assert_eq!(one(to_server(version), b"SEND\nContent-Length:9\n\nab\0").body, b"ab", "another name");
        assert_eq!(one(to_server(version), b"SEND\ncontent-lengtx:9\n\nab\0").body, b"ab", "another name");
    }
    assert_eq!(one(to_server(V10), b"SEND\ncontent-length: 3 \n\na\0c\0").body, b"a\0c", "1.0 writes it so");
}

/// 1.2, "Header content-length": what isn't a count can't be one.
#[test]
fn a_content_length_that_is_no_number_is_refused() {
    for bad in ["", " ", "-1", "+3", "3.0", "0x3", "1e3", "3 x", "three", "٣", "3,3", "-0", "3;"] {
        for version in Version::ALL {
            let wire = format!("SEND\ncontent-length:{bad}\n\nabc\0");
            let shown = if version == V10 { bad.trim() } else { bad };
            let words = [&format!("content-length {shown:?} of SEND"), "digits"];
            refused(to_server(version), wire.as_bytes(), Kind::MalformedPacket, &words);
        }
    }
    for spaces in [" 3", "3 "] {
        let wire = format!("SEND\ncontent-length:{spaces}\n\nabc\0");
        refused(to_server(V11), wire.as_bytes(), Kind::MalformedPacket, &["digits"]);
        refused(to_server(V12), wire.as_bytes(), Kind::MalformedPacket, &["digits"]);
    }
}

/// 1.2, "Size Limits": a body over the limit is refused when its length tells, before it comes.
#[test]
fn a_content_length_over_the_limit_is_refused_at_once() {
    let edge = format!("SEND\ncontent-length:{}\n\n", LIMITS.max_body);
    assert!(incomplete(to_server(V12), edge.as_bytes()));
    let huge = ["1048577", "4294967295", "4294967296", "18446744073709551616", &"9".repeat(8000)];
    for length in huge {
        let wire = format!("SEND\ncontent-length:{length}\n\n");
        refused(to_server(V12), wire.as_bytes(), Kind::PacketTooLarge, &["SEND", "limit of 1048576"]);
    }
    let unlimited = FrameLimits { max_body: usize::MAX, ..LIMITS };
    let wire = b"SEND\ncontent-length:99999999999\n\n";
    let error = read(to_server(V12), &unlimited, wire, []).unwrap_err();
    assert!(matches!(error.fault, FrameFault::BodyTooLarge { .. }), "{error}");
}

/// 1.2, "Size Limits": and without a length when the bytes tell, before the NUL comes.
#[test]
fn a_body_without_length_over_the_limit_is_refused_as_it_comes() {
    let limits = FrameLimits { max_body: 10, ..LIMITS };
    let wire = |len| [b"SEND\n\n", &[b'x'; 12][..len], b"\0"].concat();
    let edge = wire(10);
    assert_eq!(read(to_server(V12), &limits, &edge, 0..edge.len()).unwrap().0[0].body.len(), 10);
    for cut in [0, 1] {
        let over = wire(11);
        let error = read(to_server(V12), &limits, &over[..over.len() - cut], []).unwrap_err();
        assert_eq!(error.fault, FrameFault::BodyTooLarge { command: Command::Send, size: 11, limit: 10 });
    }
}

/// 1.2, "STOMP Frames": "The body is then followed by the NULL octet", also where a length says that it ends.
#[test]
fn a_content_length_that_lies_is_refused() {
    let reading = to_server(V12);
    refused(
        reading,
        b"SEND\ncontent-length:2\n\nabc\0",
        Kind::MalformedPacket,
        &["0x63", "2 bytes", "characters"],
    );
    refused(reading, b"SEND\ncontent-length:0\n\na\0", Kind::MalformedPacket, &["0x61", "0 bytes"]);
    // Too long by one: the length reaches over the NUL to the next frame's first byte.
    refused(
        reading,
        b"SEND\ncontent-length:3\n\nab\0SEND\n\n\0",
        Kind::MalformedPacket,
        &["0x53", "3 bytes"],
    );
    // "é" counted as one character.
    refused(reading, "SEND\ncontent-length:1\n\né\0".as_bytes(), Kind::MalformedPacket, &["0xA9"]);
}
