//! Goal: no head is taken that somebody in front of us might read in another way, and none costs more than it is long.
//! Method: what proxies and servers have disagreed on, heads cut at every byte, the limits at their edges, a flood.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod wire;

use noctule_websocket::{HeadFault, HeadLimits, HeadReader, Rejection};
use wire::Random;

const LIMITS: HeadLimits = HeadLimits { max_bytes: 8192, max_headers: 64 };

const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: plant\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The verdict on bytes that come in pieces that end at `ends`, and then whole: bytes of the head, or none yet.
fn read(
    wire: &[u8],
    limits: &HeadLimits,
    ends: impl IntoIterator<Item = usize>,
) -> Result<Option<usize>, Rejection> {
    let mut reader = HeadReader::new();
    for end in ends.into_iter().chain([wire.len()]) {
        if let Some(request) = reader.request(&wire[..end], limits)? {
            return Ok(Some(request.len()));
        }
    }
    Ok(None)
}

/// [`GOOD`] with these lines after the first, CR LF among them.
fn with(lines: &str) -> Vec<u8> {
    GOOD.replacen("Host", &format!("{lines}Host"), 1).into_bytes()
}

#[track_caller]
fn refused(wire: &[u8]) -> Rejection {
    let rejection = read(wire, &LIMITS, []).expect_err(&wire.escape_ascii().to_string());
    assert_eq!(rejection.status(), 400, "{rejection}");
    rejection
}

#[test]
fn the_good_one_is_good() {
    assert_eq!(read(GOOD.as_bytes(), &LIMITS, []), Ok(Some(GOOD.len())));
    assert_eq!(read(&with("Content-Length: 0\r\nX: y\r\n"), &LIMITS, []).map(|len| len.is_some()), Ok(true));
}

/// RFC 9112, section 6: a body that one reader sees and the other takes for frames.
#[test]
fn there_is_no_body() {
    for line in [
        "Content-Length: 5",
        "content-length: 00",
        "Content-Length: +0",
        "Content-Length: 0, 0",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length:",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "transfer-encoding:\tchunked",
        "Transfer-Encoding: ",
    ] {
        let rejection = refused(&with(&format!("{line}\r\n")));
        assert!(matches!(rejection, Rejection::Body { .. }), "{line}: {rejection}");
    }
}

/// RFC 9112, section 5.2.
#[test]
fn nothing_is_folded() {
    for lines in ["X: a\r\n b\r\n", "X: a\r\n\tContent-Length: 5\r\n", " X: a\r\n"] {
        let rejection = refused(&with(lines));
        assert!(matches!(rejection, Rejection::Head(HeadFault::FoldedLine { .. })), "{lines:?}: {rejection}");
    }
}

/// RFC 9112, section 2.2: some readers end a line at a bare LF, some at a bare CR, some at neither.
#[test]
fn lines_end_in_cr_lf() {
    for lines in ["X: a\n", "X: a\rY: b\r\n", "X: a\r\r\n", "X: a\n\r\n", "\rX: a\r\n"] {
        let rejection = refused(&with(lines));
        assert!(
            matches!(rejection, Rejection::Head(HeadFault::BareLineEnd { line: 2 })),
            "{lines:?}: {rejection}"
        );
    }
    let bare = GOOD.replace("\r\n", "\n");
    assert_eq!(refused(bare.as_bytes()), Rejection::Head(HeadFault::BareLineEnd { line: 1 }));
    assert_eq!(refused(b"GET / HTTP/1.1\r\nA: b\r\n\n"), Rejection::Head(HeadFault::BareLineEnd { line: 3 }));
    // The CONNECT of a STOMP client is told at its first line.
    refused(b"CONNECT\naccept-version:1.2\n");
}

/// RFC 9112, section 3.2; RFC 6455, section 11.3.
#[test]
fn what_counts_stands_there_once() {
    for line in [
        "Host: plant",
        "host: evil",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Origin: https://a.example.com\r\nOrigin: https://b.example.com",
    ] {
        let rejection = refused(&with(&format!("{line}\r\n")));
        assert!(matches!(rejection, Rejection::Head(HeadFault::Duplicate(_))), "{line}: {rejection}");
    }
}

/// RFC 9112, sections 3 and 5.1: no space before a colon, no header without one, no control characters, one space
/// between the parts of the first line, nothing before it.
#[test]
fn the_grammar_is_kept() {
    for line in [
        "Content-Length : 5",
        "X",
        ": y",
        "X y: z",
        "X\0: y",
        "X: \0",
        "X: \x7F",
        "X: \x0B",
        "X(: y",
        "\u{e9}: y",
    ] {
        refused(&with(&format!("{line}\r\n")));
    }
    for first in [
        "GET  /mqtt HTTP/1.1",
        "GET /mqtt  HTTP/1.1",
        "GET /mqtt HTTP/1.1 ",
        "GET /mqtt",
        "GET /a b HTTP/1.1",
        "get /mqtt HTTP/1.1",
    ] {
        refused(GOOD.replacen("GET /mqtt HTTP/1.1", first, 1).as_bytes());
    }
    refused(format!("\r\n{GOOD}").as_bytes());
    refused(format!(" {GOOD}").as_bytes());
    refused(b"GET /\xFF HTTP/1.1\r\n\r\n");
    // What is read must be ASCII, what is not read is nobody's business.
    assert!(matches!(refused(&with("Origin: \u{e9}\r\n")), Rejection::Head(HeadFault::NotText { .. })));
    assert!(read(&with("Cookie: \u{e9}\r\n"), &LIMITS, []).is_ok());
}

/// TLS or MQTT at the wrong port are told so at their first byte.
#[test]
fn what_is_no_http_is_refused_at_once() {
    for first in [0x16, 0x10, 0, b' ', b'\r', b'\n', 0xFF] {
        assert_eq!(refused(&[first]), Rejection::Head(HeadFault::NotHttp(first)));
    }
}

/// THREATS 15: a flood of headers, or one that never ends, costs what the limits say.
#[test]
fn a_head_is_limited() {
    let too_large = Rejection::Head(HeadFault::TooLarge { limit: 8192 });
    let too_many = Rejection::Head(HeadFault::TooManyHeaders { limit: 64 });
    assert_eq!((too_large.status(), too_many.status()), (431, 431));

    let fill = |total: usize| with(&format!("X: {}\r\n", "y".repeat(total - GOOD.len() - 5)));
    assert_eq!(read(&fill(8192), &LIMITS, []), Ok(Some(8192)));
    assert_eq!(read(&fill(8193), &LIMITS, []), Err(too_large.clone()));
    assert_eq!(read(&[b'A'; 8192], &LIMITS, []), Ok(None));
    assert_eq!(read(&[b'A'; 8193], &LIMITS, []), Err(too_large));

    assert_eq!(read(&with(&"X: y\r\n".repeat(59)), &LIMITS, []).map(|len| len.is_some()), Ok(true));
    assert_eq!(read(&with(&"X: y\r\n".repeat(60)), &LIMITS, []), Err(too_many.clone()));
    // Refused when the line too many is there, not when the head ends.
    let flood = format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(65));
    assert_eq!(read(flood.as_bytes(), &LIMITS, []), Err(too_many));
    assert_eq!(read(&flood.as_bytes()[..flood.len() - 1], &LIMITS, []), Ok(None));
    assert_eq!(HeadLimits::default(), LIMITS);
}

/// What follows the head is not looked at: it is frames.
#[test]
fn frames_may_follow() {
    let wire = [GOOD.as_bytes(), b"\n\n \x81\x80"].concat();
    assert_eq!(read(&wire, &LIMITS, []), Ok(Some(GOOD.len())));
}

#[test]
fn cuts_change_nothing() {
    let heads = [
        GOOD.as_bytes().to_vec(),
        with("X: a\r\n b\r\n"),
        with("X: a\rb\r\n"),
        with("Content-Length: 5\r\n"),
        [GOOD.as_bytes(), b"frames"].concat(),
    ];
    for wire in heads {
        let whole = read(&wire, &LIMITS, []);
        for cut in 0..=wire.len() {
            assert_eq!(read(&wire, &LIMITS, [cut]), whole, "{cut} of {}", wire.escape_ascii());
        }
        assert_eq!(read(&wire, &LIMITS, 0..wire.len()), whole);
    }
}

/// Damaged heads: whatever is accepted still has every line ended by CR LF, no body, and one host.
#[test]
fn damaged_heads() {
    const TELLING: &[u8] = b"\r\n\t :,;=\0\x7F\xFFaA0/?";
    let mut random = Random(9112);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let mut wire = with(random.pick(&[
            "",
            "X: y\r\n",
            "Origin: https://a.example.com\r\n",
            "Content-Length: 0\r\n",
        ]));
        for _ in 0..=random.below(2) {
            let at = random.below(wire.len());
            match random.below(4) {
                0 => wire[at] = random.pick(TELLING),
                1 => wire.insert(at, random.pick(TELLING)),
                2 => drop(wire.remove(at)),
                _ => wire[at] ^= 1 << random.below(8),
            }
        }
        let whole = read(&wire, &LIMITS, []);
        assert_eq!(read(&wire, &LIMITS, [random.below(wire.len() + 1)]), whole);
        match whole {
            Ok(Some(len)) => {
                accepted += 1;
                let head = String::from_utf8_lossy(&wire[..len]).to_ascii_lowercase();
                assert_eq!(head.matches('\n').count(), head.matches("\r\n").count());
                assert_eq!(head.matches('\r').count(), head.matches("\r\n").count());
                assert_eq!(head.matches("\r\nhost:").count(), 1, "{head}");
                assert!(!head.contains("\r\ntransfer-encoding:") && !head.contains("\r\n "), "{head}");
            }
            Ok(None) => {}
            Err(rejection) => {
                refused += 1;
                assert!(!rejection.to_string().chars().any(char::is_control), "{rejection}");
            }
        }
    }
    assert!(accepted > 10_000 && refused > 30_000, "{accepted} accepted, {refused} refused");
}
