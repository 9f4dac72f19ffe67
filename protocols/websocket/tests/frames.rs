//! One normative statement of RFC 6455, sections 5 to 8, each; at the end our own limits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod wire;

use bytes::BytesMut;
use noctule_core::refusal::Refusal;
use noctule_websocket::{
    CloseCode, Closed, Decoder, FrameLimits, Kind, Mask, Role, Violation, encode, write_close, write_ping,
};
use wire::{
    BINARY, CLIENT, CLOSE, CONTINUATION, FIN, KEY, LIMITS, PING, PONG, Read, TEXT, bare, masked, read,
    read_in, stream,
};

/// What a client that sends this is told.
#[track_caller]
fn refused(wire: &[u8], violation: Violation, code: u16) {
    assert_eq!((read(wire).violation, violation.code().number()), (Some(violation), code), "{wire:02x?}");
}

fn close_body(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A header with a length of our choice, and no payload.
fn long_header(first: u8, second: u8, length: &[u8]) -> Vec<u8> {
    [&[first, second], length, &KEY].concat()
}

mod framing {
    use super::*;

    /// 5.1: "a client MUST mask all frames"; "The server MUST close the connection upon receiving a frame that is not
    /// masked", with 1002.
    #[test]
    fn a_client_masks() {
        refused(&bare(FIN | BINARY, b"x"), Violation::NotMasked, 1002);
        refused(&bare(FIN | PING, b""), Violation::NotMasked, 1002);
        assert_eq!(read(&masked(FIN | BINARY, b"x")).plain, b"x");
    }

    /// 5.1: "A server MUST NOT mask any frames"; "A client MUST close a connection if it detects a masked frame".
    #[test]
    fn a_server_does_not() {
        let violation = read_in(CLIENT, &LIMITS, &masked(FIN | BINARY, b"x"), []).violation;
        assert_eq!(violation, Some(Violation::Masked));
        assert_eq!(Violation::Masked.code(), CloseCode::PROTOCOL_ERROR);
        assert_eq!(read_in(CLIENT, &LIMITS, &bare(FIN | BINARY, b"x"), []).plain, b"x");
    }

    /// 5.2: reserved bits "MUST be 0 unless an extension is negotiated".
    #[test]
    fn reserved_bits_are_refused() {
        for bit in [0x40, 0x20, 0x10] {
            for opcode in [TEXT, BINARY, PING, CLOSE] {
                let first = FIN | bit | opcode;
                refused(&masked(first, b""), Violation::ReservedBits(first), 1002);
            }
        }
    }

    /// 5.2: "If an unknown opcode is received, the receiving endpoint MUST Fail the WebSocket Connection."
    #[test]
    fn reserved_opcodes_are_refused() {
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            refused(&masked(FIN | opcode, b""), Violation::ReservedOpcode(opcode), 1002);
        }
    }

    /// 5.2: "the minimal number of bytes MUST be used to encode the length".
    #[test]
    fn lengths_are_minimal() {
        for length in [0_u16, 1, 125] {
            let wire = long_header(FIN | BINARY, 0xFE, &length.to_be_bytes());
            refused(&wire, Violation::NonMinimalLength(length.into()), 1002);
        }
        for length in [0_u64, 126, 65535] {
            let wire = long_header(FIN | BINARY, 0xFF, &length.to_be_bytes());
            refused(&wire, Violation::NonMinimalLength(length), 1002);
        }
        for length in [0, 1, 125, 126, 127, 65535, 65536, 100_000] {
            let payload = vec![b'a'; length];
            let got = read(&masked(FIN | BINARY, &payload));
            assert_eq!((got.plain, got.violation), (payload, None), "{length}");
        }
    }

    /// 5.2: of a 64-bit length "the most significant bit MUST be 0".
    #[test]
    fn lengths_have_63_bits() {
        for length in [1_u64 << 63, u64::MAX] {
            let wire = long_header(FIN | BINARY, 0xFF, &length.to_be_bytes());
            refused(&wire, Violation::LengthOverflow(length), 1002);
        }
    }

    /// THREATS 3: the largest length there is buys nobody any memory, nor does it overflow a sum.
    #[test]
    fn a_length_alone_allocates_nothing() {
        let largest = (u64::MAX >> 1).to_be_bytes();
        let (mut plain, mut out) = (Vec::new(), BytesMut::new());
        let mut decoder = Decoder::new();
        let mut wire = long_header(BINARY, 0xFF, &largest);
        wire.extend([0; 100]);
        let progress = decoder.decode(Role::Server, &LIMITS, &mut wire, &mut plain, &mut out).unwrap();
        assert_eq!((progress.consumed, plain.len(), out.capacity()), (wire.len(), 100, 0));
        assert!(plain.capacity() < 1000);
    }

    /// 5.3: "octet i of the transformed data is the XOR of octet i of the original data with octet at index i modulo 4
    /// of the masking key"; the frame is the second example of 5.7.
    #[test]
    fn payloads_are_unmasked() {
        let wire = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!((read(&wire).plain, read(&wire).kind), (b"Hello".to_vec(), Some(Kind::Text)));
    }

    /// 5.7: the other examples, from a server.
    #[test]
    fn the_examples_of_section_5_7() {
        let text = |wire: &[u8]| read_in(CLIENT, &LIMITS, wire, []).plain;
        assert_eq!(text(&[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]), b"Hello");
        assert_eq!(text(&[0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]), b"Hello");
        let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(read_in(CLIENT, &LIMITS, &ping, []).out, pong);
        assert_eq!(text(&[&[0x82, 0x7E, 0x01, 0x00], &[7; 256][..]].concat()), [7; 256]);
        assert_eq!(text(&[&[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], &[7; 65536][..]].concat()), [7; 65536]);
    }
}

mod fragments {
    use super::*;

    /// 5.4: "A fragmented message consists of a single frame with the FIN bit clear and an opcode other than 0, followed
    /// by zero or more frames with the FIN bit clear and the opcode set to 0, and terminated by a single frame with the
    /// FIN bit set and an opcode of 0."
    #[test]
    fn they_are_one_message() {
        let wire = stream([
            masked(BINARY, b"press "),
            masked(CONTINUATION, b"07"),
            masked(FIN | CONTINUATION, b" on"),
            masked(FIN | TEXT, b"!"),
        ]);
        let got = read(&wire);
        assert_eq!((&got.plain[..], got.kind, got.violation), (&b"press 07 on!"[..], Some(Kind::Text), None));
    }

    /// 5.4: "Control frames MAY be injected in the middle of a fragmented message."
    #[test]
    fn control_frames_may_come_between() {
        let wire = stream([
            masked(TEXT, "2 \u{20ac}".as_bytes().split_last().unwrap().1),
            masked(FIN | PING, b"there?"),
            masked(FIN | PONG, b""),
            masked(FIN | CONTINUATION, &[0xAC]),
        ]);
        let got = read(&wire);
        assert_eq!((got.plain, got.out), ("2 €".into(), bare(FIN | PONG, b"there?")));
    }

    /// 5.4: control frames "MUST NOT be fragmented".
    #[test]
    fn control_frames_are_whole() {
        for opcode in [CLOSE, PING, PONG] {
            refused(&masked(opcode, b""), Violation::FragmentedControl(opcode), 1002);
        }
    }

    /// 5.4: "The fragments of one message MUST NOT be interleaved between the fragments of another message".
    #[test]
    fn messages_are_not_interleaved() {
        for opcode in [TEXT, BINARY] {
            let wire = stream([masked(BINARY, b"a"), masked(FIN | opcode, b"b")]);
            refused(&wire, Violation::MessageInMessage, 1002);
        }
    }

    /// 5.4: a continuation continues something.
    #[test]
    fn a_continuation_has_a_beginning() {
        refused(&masked(FIN | CONTINUATION, b"a"), Violation::NothingToContinue, 1002);
        refused(
            &stream([masked(FIN | BINARY, b"a"), masked(CONTINUATION, b"a")]),
            Violation::NothingToContinue,
            1002,
        );
    }

    /// 5.4: an endpoint needn't wait for the end: what is there is passed on.
    #[test]
    fn a_payload_is_passed_on_as_it_comes() {
        let (mut plain, mut out, mut decoder) = (Vec::new(), BytesMut::new(), Decoder::new());
        let wire = masked(FIN | BINARY, &[9; 70_000]);
        let mut seen = 0;
        for piece in wire.chunks(1000) {
            let progress =
                decoder.decode(Role::Server, &LIMITS, &mut piece.to_vec(), &mut plain, &mut out).unwrap();
            seen += piece.len();
            assert_eq!((progress.consumed, plain.len()), (piece.len(), seen - 14));
        }
    }

    /// 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a
    /// valid UTF-8 stream, that endpoint MUST Fail the WebSocket Connection": 1007. Of binary messages nothing is asked.
    #[test]
    fn text_is_utf8() {
        for bad in [&b"\xC3\x28"[..], b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\xC0\x80", b"\x80", b"\xFF"] {
            refused(&masked(FIN | TEXT, bad), Violation::TextNotUtf8, 1007);
            assert_eq!(read(&masked(FIN | BINARY, bad)).plain, bad);
        }
        // A character that only begins.
        refused(&masked(FIN | TEXT, b"ab\xE2\x82"), Violation::TextNotUtf8, 1007);
        let cut = stream([masked(TEXT, b"ab\xE2"), masked(FIN | CONTINUATION, b"")]);
        refused(&cut, Violation::TextNotUtf8, 1007);
        // And the next message is read from its own beginning.
        let got = read(&stream([masked(FIN | BINARY, b"\xE2"), masked(FIN | TEXT, b"\x82")]));
        assert_eq!(got.violation, Some(Violation::TextNotUtf8));
    }

    /// 5.6: "a particular text frame might include a partial UTF-8 sequence; however, the whole message MUST contain
    /// valid UTF-8".
    #[test]
    fn characters_may_be_cut_by_fragments() {
        let text = "aé€\u{10FFFF}z";
        for cut in 0..=text.len() {
            let (front, back) = text.as_bytes().split_at(cut);
            let got = read(&stream([masked(TEXT, front), masked(FIN | CONTINUATION, back)]));
            assert_eq!((got.plain, got.violation), (text.into(), None), "{cut}");
        }
    }

    /// 8.1 again: refused when the first impossible byte comes, and nothing of its piece is passed on.
    #[test]
    fn bad_text_is_refused_at_once() {
        let got =
            read(&stream([masked(TEXT, b"good"), masked(CONTINUATION, b"bad\xFFmore"), masked(FIN, b"")]));
        assert_eq!((&got.plain[..], got.violation), (&b"good"[..], Some(Violation::TextNotUtf8)));
    }
}

mod control {
    use super::*;

    /// 5.5: "All control frames MUST have a payload length of 125 bytes or less".
    #[test]
    fn they_are_short() {
        for opcode in [CLOSE, PING, PONG] {
            refused(&masked(FIN | opcode, &[b'a'; 126]), Violation::LongControl(opcode), 1002);
            refused(&long_header(FIN | opcode, 0xFF, &[0; 8]), Violation::LongControl(opcode), 1002);
        }
        assert_eq!(read(&masked(FIN | PING, &[1; 125])).out, bare(FIN | PONG, &[1; 125]));
    }

    /// 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response"; 5.5.3: with "identical
    /// Application data".
    #[test]
    fn a_ping_is_answered() {
        for payload in [&b""[..], b"x", b"\x00\xFF\x80"] {
            assert_eq!(read(&masked(FIN | PING, payload)).out, bare(FIN | PONG, payload));
        }
    }

    /// 5.5.3: an endpoint "MAY elect to send a Pong frame for only the most recently processed Ping frame"; THREATS 3:
    /// a flood of them costs one answer.
    #[test]
    fn of_many_pings_the_last_is_answered() {
        let mut wire: Vec<u8> = (0..1000_u16).flat_map(|i| masked(FIN | PING, &i.to_be_bytes())).collect();
        wire.extend(masked(FIN | BINARY, b"x"));
        let got = read(&wire);
        assert_eq!((got.out, got.plain), (bare(FIN | PONG, &999_u16.to_be_bytes()), b"x".to_vec()));
    }

    /// 5.5.3: "A Pong frame MAY be sent unsolicited"; "A response to an unsolicited Pong frame is not expected."
    #[test]
    fn a_pong_is_ignored() {
        let got = read(&stream([masked(FIN | PONG, b"unasked"), masked(FIN | BINARY, b"x")]));
        assert_eq!(got, Read { plain: b"x".to_vec(), kind: Some(Kind::Binary), ..Read::default() });
    }

    /// 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close frame, the endpoint MUST send a
    /// Close frame in response"; "it typically echos the status code it received".
    #[test]
    fn a_close_is_answered_with_its_code() {
        for code in
            [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
        {
            let got = read(&masked(FIN | CLOSE, &close_body(code, "so long")));
            assert_eq!(got.out, bare(FIN | CLOSE, &code.to_be_bytes()), "{code}");
            let code = CloseCode::new(code);
            assert_eq!(got.closed, Some(Closed { code, reason: "so long".into() }));
        }
        let got = read(&masked(FIN | CLOSE, b""));
        assert_eq!(got.out, bare(FIN | CLOSE, b""));
        assert_eq!(got.closed, Some(Closed { code: None, reason: "".into() }));
        let got = read_in(CLIENT, &LIMITS, &bare(FIN | CLOSE, &close_body(1001, "")), []);
        assert_eq!(got.out, masked(FIN | CLOSE, &1001_u16.to_be_bytes()));
    }

    /// 7.4.1 and 7.4.2: codes that "MUST NOT be set as a status code in a Close control frame", and those of no range.
    #[test]
    fn other_codes_are_refused() {
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            refused(&masked(FIN | CLOSE, &close_body(code, "")), Violation::BadCloseCode(code), 1002);
        }
    }

    /// 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer".
    #[test]
    fn a_close_has_no_half_a_code() {
        refused(&masked(FIN | CLOSE, &[3]), Violation::CloseOfOneByte, 1002);
    }

    /// 5.5.1: behind the code "the body MAY contain UTF-8-encoded data".
    #[test]
    fn a_reason_is_utf8() {
        refused(&masked(FIN | CLOSE, b"\x03\xE8\xFF"), Violation::CloseNotUtf8, 1007);
        refused(&masked(FIN | CLOSE, b"\x03\xE8\xE2\x82"), Violation::CloseNotUtf8, 1007);
    }

    /// 1.4: "after receiving a control frame indicating the connection should be closed, a peer discards any further
    /// data received".
    #[test]
    fn nothing_is_read_behind_a_close() {
        let close = masked(FIN | CLOSE, &close_body(1000, ""));
        let wire =
            [&masked(FIN | BINARY, b"before")[..], &close, &masked(FIN | BINARY, b"after"), b"\xFF\xFF"]
                .concat();
        let got = read(&wire);
        assert_eq!((&got.plain[..], got.rest, got.violation), (&b"before"[..], 0, None));
        assert_eq!(got.out, bare(FIN | CLOSE, &close_body(1000, "")));
    }

    /// 5.5.2: a Ping is answered "unless it already received a Close frame".
    #[test]
    fn no_pong_beside_a_close() {
        let got = read(&stream([masked(FIN | PING, b"?"), masked(FIN | CLOSE, b"")]));
        assert_eq!(got.out, bare(FIN | CLOSE, b""));
    }

    /// 5.5.1: "The application MUST NOT send any more data frames after sending a Close frame", and the answer to our own
    /// is not answered again. What is under way is still read (7.1.2).
    #[test]
    fn our_own_close_is_the_last_frame() {
        let (mut plain, mut out, mut decoder) = (Vec::new(), BytesMut::new(), Decoder::new());
        decoder.close(Role::Server, CloseCode::GOING_AWAY, "the broker stops", &mut out);
        assert_eq!(&out[..], bare(FIN | CLOSE, &close_body(1001, "the broker stops")));
        out.clear();
        decoder.close(Role::Server, CloseCode::GOING_AWAY, "twice", &mut out);
        let mut wire = stream([masked(FIN | PING, b"?"), masked(FIN | BINARY, b"under way")]);
        let progress = decoder.decode(Role::Server, &LIMITS, &mut wire, &mut plain, &mut out).unwrap();
        assert_eq!((progress.closed, &plain[..], decoder.has_ended()), (None, &b"under way"[..], false));
        let mut wire = masked(FIN | CLOSE, &close_body(1001, ""));
        let progress = decoder.decode(Role::Server, &LIMITS, &mut wire, &mut plain, &mut out).unwrap();
        assert_eq!(progress.closed.unwrap().code, Some(CloseCode::GOING_AWAY));
        assert!(decoder.has_ended() && out.is_empty(), "{out:?}");
    }

    /// 7.1.7: who fails the connection sends a Close frame "with an appropriate status code", once; and "MUST NOT
    /// continue to attempt to process data".
    #[test]
    fn a_violation_is_told_once_and_nothing_is_read_behind_it() {
        let (mut plain, mut out, mut decoder) = (Vec::new(), BytesMut::new(), Decoder::new());
        let mut wire =
            stream([masked(FIN | PING, b"?"), masked(FIN | BINARY, b"good"), masked(FIN | 3, b"bad")]);
        let violation = decoder.decode(Role::Server, &LIMITS, &mut wire, &mut plain, &mut out).unwrap_err();
        let words = violation.to_string();
        decoder.close(Role::Server, violation.code(), &words, &mut out);
        decoder.close(Role::Server, violation.code(), &words, &mut out);
        let mut wire = stream([masked(FIN | BINARY, b"more"), masked(FIN | CLOSE, b"")]);
        let progress = decoder.decode(Role::Server, &LIMITS, &mut wire, &mut plain, &mut out).unwrap();
        assert_eq!((progress.consumed, progress.closed, &plain[..]), (wire.len(), None, &b"good"[..]));
        assert_eq!(&out[..], bare(FIN | CLOSE, &close_body(1002, &words)));
    }

    /// After our own Close a violation is not told any more: that would be a second one.
    #[test]
    fn no_second_close_for_a_violation() {
        let (mut plain, mut out, mut decoder) = (Vec::new(), BytesMut::new(), Decoder::new());
        decoder.close(Role::Server, CloseCode::NORMAL, "", &mut out);
        out.clear();
        decoder.decode(Role::Server, &LIMITS, &mut masked(FIN | 3, b""), &mut plain, &mut out).unwrap_err();
        decoder.close(Role::Server, CloseCode::PROTOCOL_ERROR, "", &mut out);
        assert!(out.is_empty(), "{out:?}");
    }
}

mod writing {
    use super::*;

    fn written(role: Role, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        encode(role, Kind::Binary, payload, &mut out);
        out
    }

    /// 5.2, around every change of the length's form; 5.1: a server masks nothing, a client everything.
    #[test]
    fn headers_are_minimal() {
        for len in [0, 1, 125, 126, 127, 65535, 65536, 70_000] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            assert_eq!(&written(Role::Server, &payload)[..], bare(FIN | BINARY, &payload), "{len}");
            assert_eq!(&written(CLIENT, &payload)[..], masked(FIN | BINARY, &payload), "{len}");
        }
        let mut out = BytesMut::from(&b"before"[..]);
        encode(CLIENT, Kind::Text, b"Hello", &mut out);
        assert_eq!(&out[..], [b"before", &masked(FIN | TEXT, b"Hello")[..]].concat());
    }

    /// 5.5: no control frame is longer than 125 bytes; a reason is cut between characters (5.5.1: it is UTF-8).
    #[test]
    fn control_frames_are_cut_to_fit() {
        for (reason, kept) in [("é".repeat(100), 122), ("a".repeat(123), 123), ("a".repeat(124), 123)] {
            let mut out = BytesMut::new();
            write_close(Role::Server, CloseCode::NORMAL, &reason, &mut out);
            assert_eq!(&out[..], bare(FIN | CLOSE, &close_body(1000, &reason[..kept])));
        }
        let mut out = BytesMut::new();
        write_ping(Role::Server, &[3; 200], &mut out);
        assert_eq!(&out[..], bare(FIN | PING, &[3; 125]));
    }

    /// 5.3: the key is the one handed in, each time.
    #[test]
    fn each_frame_has_its_own_mask() {
        for key in [[0; 4], [1, 2, 3, 4], [0xFF; 4]] {
            let role = Role::Client { mask: Mask(key) };
            assert_eq!(&written(role, b"payload")[..], wire::frame(FIN | BINARY, b"payload", Some(key)));
        }
    }
}

mod limits {
    use super::*;

    fn limited(limits: FrameLimits, wire: &[u8]) -> Option<Violation> {
        read_in(Role::Server, &limits, wire, []).violation
    }

    /// 1009 as soon as the header says so; fragments count together, messages don't.
    #[test]
    fn a_message_may_be_limited() {
        let limits = FrameLimits { max_message: 10, ..LIMITS };
        let too_big = Violation::MessageTooBig(10);
        assert_eq!(too_big.code().number(), 1009);
        assert_eq!(limited(limits, &masked(FIN | BINARY, &[0; 10])), None);
        assert_eq!(limited(limits, &masked(FIN | BINARY, &[0; 11])[..6]), Some(too_big));
        let two = stream([
            masked(BINARY, &[0; 6]),
            masked(FIN | CONTINUATION, &[0; 4]),
            masked(FIN | BINARY, &[0; 10]),
        ]);
        assert_eq!(limited(limits, &two), None);
        let over = stream([masked(BINARY, &[0; 6]), masked(FIN | CONTINUATION, &[0; 5])]);
        assert_eq!(limited(limits, &over), Some(too_big));
        // The largest length there is counts as what it is.
        let largest = (u64::MAX >> 1).to_be_bytes();
        let wire = [&masked(BINARY, b"a")[..], &long_header(CONTINUATION, 0xFF, &largest)].concat();
        assert_eq!(
            limited(FrameLimits { max_message: (u64::MAX >> 1) - 1, ..LIMITS }, &wire)
                .map(|it| it.code().number()),
            Some(1009)
        );
    }

    /// THREATS 3: frames of zero length, thousands of tiny fragments.
    #[test]
    fn tiny_fragments_are_limited() {
        let too_many = Violation::TooManyTinyFrames(128);
        assert_eq!(too_many.code().number(), 1008);
        for (what, tiny) in [("empty", &b""[..]), ("one byte", b"a"), ("fifteen", &[1; 15])] {
            let mut wire = masked(BINARY, tiny);
            for _ in 1..128 {
                wire.extend(masked(CONTINUATION, tiny));
            }
            assert_eq!(limited(LIMITS, &wire), None, "{what}");
            wire.extend(masked(CONTINUATION, tiny));
            assert_eq!(limited(LIMITS, &wire), Some(too_many), "{what}");
        }
    }

    /// Empty messages carry nothing and never end.
    #[test]
    fn empty_messages_are_limited() {
        let some = masked(FIN | BINARY, b"").repeat(128);
        assert_eq!(limited(LIMITS, &some), None);
        assert_eq!(
            limited(LIMITS, &masked(FIN | TEXT, b"").repeat(129)),
            Some(Violation::TooManyTinyFrames(128))
        );
        // In between something is said each time.
        let honest = stream([some, masked(FIN | BINARY, b"x")]).repeat(3);
        assert_eq!(limited(LIMITS, &honest), None);
    }

    /// MQTT.js has sent each field of a packet as a message of its own; stompjs sends its heart-beats as one LF; streams
    /// are ended by an empty fragment; a proxy may cut where it likes.
    #[test]
    fn honest_clients_are_not() {
        let bytewise = masked(FIN | BINARY, b"a").repeat(100_000);
        assert_eq!(limited(LIMITS, &bytewise), None);
        let streamed = stream([masked(BINARY, b"some"), masked(FIN | CONTINUATION, b"")]).repeat(10_000);
        assert_eq!(limited(LIMITS, &streamed), None);
        let mut cut = masked(BINARY, b"x");
        for _ in 0..10_000 {
            cut.extend(masked(CONTINUATION, &[0; 1400]));
            cut.extend(masked(CONTINUATION, &[0; 3]));
        }
        assert_eq!(limited(LIMITS, &cut), None);
    }

    /// [MQTT-6.0.0-1]: "MQTT Control Packets MUST be sent in WebSocket binary data frames."
    #[test]
    fn mqtt_takes_no_text() {
        let limits = FrameLimits { binary_only: true, ..LIMITS };
        assert_eq!(limited(limits, &masked(FIN | TEXT, b"x")), Some(Violation::TextNotTaken));
        assert_eq!(Violation::TextNotTaken.code().number(), 1003);
        let binary =
            stream([masked(BINARY, b"a"), masked(FIN | CONTINUATION, b"b"), masked(FIN | PING, b"")]);
        assert_eq!(limited(limits, &binary), None);
    }

    #[test]
    fn the_defaults() {
        assert_eq!(FrameLimits::default(), LIMITS);
    }

    /// 5.5: a Close frame has room for 123 bytes of reason; ours say all they have to, with the largest numbers too.
    #[test]
    fn every_violation_fits_a_close_frame() {
        for violation in [
            Violation::ReservedBits(255),
            Violation::ReservedOpcode(15),
            Violation::FragmentedControl(10),
            Violation::LongControl(10),
            Violation::NotMasked,
            Violation::Masked,
            Violation::NonMinimalLength(65535),
            Violation::LengthOverflow(u64::MAX),
            Violation::NothingToContinue,
            Violation::MessageInMessage,
            Violation::TextNotUtf8,
            Violation::TextNotTaken,
            Violation::MessageTooBig(u64::MAX),
            Violation::TooManyTinyFrames(u16::MAX),
            Violation::CloseOfOneByte,
            Violation::BadCloseCode(65535),
            Violation::CloseNotUtf8,
        ] {
            let words = violation.to_string();
            assert!(words.len() <= 123, "{} bytes: {words}", words.len());
            assert_eq!(Refusal::from(violation).detail, words);
        }
    }

    /// What is waited for is at most a control frame, less a byte.
    #[test]
    fn little_is_left_with_the_caller() {
        let ping = masked(FIN | PING, &[0; 125]);
        assert_eq!(read(&ping[..ping.len() - 1]).rest, 130);
        assert_eq!(read(&masked(FIN | BINARY, &[0; 70_000])[..13]).rest, 13);
        assert_eq!(read(&masked(FIN | BINARY, &[0; 70_000])[..14]).rest, 0);
    }
}
