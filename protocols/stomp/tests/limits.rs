//! Goal: every limit holds at its edge and not one past it, what is refused is still answered, and time is linear.
//! Method: raw frames in pieces; what was read already is altered behind the framer's back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "one test compares times; the crate itself has no clock")]

mod made;
mod world;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use Version::{V10, V11, V12};
use bytes::BytesMut;
use made::{LIMITS, read, to_client, to_server};
use noctule_core::effects::Reply;
use noctule_core::id::{ConnId, Now};
use noctule_core::policy::Limits;
use noctule_core::refusal::Kind;
use noctule_stomp::server::{Scratch, Server, ServerLimits, Step, Surroundings};
use noctule_stomp::{Command, Dialect, FrameFault, FrameLimits, Framer, Reading, Split, Token, Version};
use world::World;

#[track_caller]
fn fault(reading: Reading, limits: &FrameLimits, wire: &[u8]) -> FrameFault {
    match read(reading, limits, wire, []) {
        Err(error) => error.fault,
        other => panic!("{} became {other:?}", wire.escape_ascii()),
    }
}

/// 1.2, "Size Limits": "the number of frame headers allowed in a single frame".
#[test]
fn the_number_of_headers_is_limited() {
    let wire = |count: usize| format!("SEND\n{}\n\0", "a:b\n".repeat(count));
    let (frames, _) = read(to_server(V12), &LIMITS, wire(64).as_bytes(), []).unwrap();
    assert_eq!(frames[0].headers.len(), 64);
    let fault = fault(to_server(V12), &LIMITS, wire(65).as_bytes());
    assert_eq!(fault, FrameFault::TooManyHeaders { command: Command::Send, limit: 64 });
    assert_eq!(fault.kind(), Kind::PacketTooLarge);
    assert!(fault.to_string().contains("SEND has more than 64 headers; send fewer"), "{fault}");
    // Whatever the configuration says, a count has its end.
    let limits = FrameLimits { max_headers: usize::MAX, ..LIMITS };
    assert!(read(to_server(V12), &limits, wire(65_535).as_bytes(), []).is_ok());
    assert!(read(to_server(V12), &limits, wire(65_536).as_bytes(), []).is_err());
}

/// 1.2, "Size Limits": "the maximum length of header lines"; name, colon and value count, the line's end doesn't.
#[test]
fn the_length_of_a_header_is_limited() {
    let line = |len: usize| format!("note:{}", "x".repeat(len - 5));
    for eol in ["\n", "\r\n"] {
        let wire = format!("SEND{eol}a:b{eol}{}{eol}{eol}\0", line(8192));
        let pieces = 0..wire.len();
        let (frames, _) = read(to_server(V12), &LIMITS, wire.as_bytes(), pieces).unwrap();
        assert_eq!(frames[0].headers[1].1.len(), 8187);
        let wire = format!("SEND{eol}a:b{eol}{}{eol}{eol}\0", line(8193));
        let fault = fault(to_server(V12), &LIMITS, wire.as_bytes());
        assert_eq!(fault.kind(), Kind::PacketTooLarge);
        let text = fault.to_string();
        assert!(text.contains("header 2 of SEND, \"note\", is longer than 8192 bytes; shorten"), "{text}");
    }
    // Without its end, too: one byte more might still be CR.
    let endless = format!("SEND\n{}", line(8194));
    assert_eq!(fault(to_server(V12), &LIMITS, endless.as_bytes()).kind(), Kind::PacketTooLarge);
    let nameless = format!("SEND\n{}", "x".repeat(9000));
    let text = fault(to_server(V12), &LIMITS, nameless.as_bytes()).to_string();
    assert!(text.contains(&format!("\"{}…\"", "x".repeat(40))), "{text}");
}

/// Before the version is known the whole frame has one limit.
#[test]
fn the_first_frame_is_limited() {
    let limits = FrameLimits { max_connect: 100, ..LIMITS };
    let wire = |len: usize| {
        let filling = "x".repeat(len - "CONNECT\nhost:\n\n\0".len());
        format!("CONNECT\nhost:{filling}\n\n\0").into_bytes()
    };
    for reading in [to_server(None), to_client(None)] {
        let fits = if reading == to_server(None) { wire(100) } else { b"CONNECTED\n\n\0".to_vec() };
        assert_eq!(read(reading, &limits, &fits, 0..fits.len()).unwrap().0.len(), 1);
    }
    let over = wire(101);
    let expected = FrameFault::ConnectTooLarge { limit: 100 };
    assert_eq!(fault(to_server(None), &limits, &over), expected);
    assert_eq!(expected.kind(), Kind::PacketTooLarge);
    // And as soon as it can't fit any more: nothing is a whole frame in 100 bytes.
    assert_eq!(fault(to_server(None), &limits, &over[..100]), expected);
    assert!(read(to_server(None), &limits, &over[..99], []).is_ok());
    let body = [b"ERROR\n\n", &[b'x'; 200][..]].concat();
    assert_eq!(fault(to_client(None), &limits, &body), expected, "whatever frame it is");
    // What comes behind a whole first frame doesn't count.
    let two = [wire(90), wire(90)].concat();
    assert_eq!(read(to_server(None), &limits, &two, []).unwrap().0.len(), 2);
    assert!(read(to_server(V12), &limits, &over, []).is_ok(), "the limit is gone with the version known");
}

/// 1.2, "ERROR": "If the error is related to a specific frame sent from the client, the server SHOULD add [...]
/// receipt-id".
#[test]
fn what_is_refused_still_tells_its_receipt() {
    let receipt = |reading, wire: &[u8]| {
        let error = read(reading, &LIMITS, wire, []).unwrap_err();
        error.receipt.map(String::from)
    };
    let told = Some("r-1".to_owned());
    for wire in [
        "SEND\nreceipt:r-1\nnonsense\n\n\0",
        "SEND\nnonsense\nreceipt:r-1\nreceipt:r-2\n\n\0",
        "SEND\ncontent-length:x\nreceipt:r-1\n\n\0",
        "SEND\na:\\t\nreceipt:r-1\n\n\0",
        "SEND\nreceipt:r-1\ncontent-length:1\n\nxx\0",
        "SEND\nreceipt:r-1\ncontent-length:99999999\n\n",
        "ACK\nreceipt:r-1\n\nbody\0",
        "NONSENSE\nreceipt:r-1\n\n\0",
        "MESSAGE\nreceipt:r-1\n\n\0",
        "SEND and more\nreceipt:r-1\n\n\0",
        "SEND\nreceipt:r-1\na:b\0",
    ] {
        for version in Version::ALL {
            if version == V10 && wire.contains("\\t") {
                continue;
            }
            assert_eq!(receipt(to_server(version), wire.as_bytes()), told, "{wire:?}");
            assert_eq!(receipt(to_server(version), format!("{wire}SEND\n").as_bytes()), told, "{wire:?}");
        }
        let crlf = wire.replace('\n', "\r\n");
        assert_eq!(receipt(to_server(V12), crlf.as_bytes()), told, "{crlf:?}");
    }
    assert_eq!(receipt(to_server(V12), b"SEND\nreceipt:a\\cb\nx\n\n\0").unwrap(), "a:b", "unescaped");
    assert_eq!(
        receipt(to_server(V11), b"SEND\nreceipt:a\\rb\n\n\0").unwrap(),
        "a\\rb",
        "as far as it can be"
    );
    for wire in [
        &b"SEND\nnonsense\nreceipt:r-1"[..],
        b"SEND\nnonsense\n\nreceipt:r-1\n\0",
        b"SEND\nnonsense\nreceipt:\xFF\n\n\0",
        b"SEND\nnonsense\nreceipt:r\0-1\n\n\0",
        b"SEND\nnonsense\nReceipt:r-1\n\n\0",
        b"receipt:r-1\n\n\0",
        b"CONNECT\nnonsense\nreceipt:r-1\n\n\0",
        b"STOMP\nnonsense\nreceipt:r-1\n\n\0",
    ] {
        assert_eq!(receipt(to_server(V12), wire), None, "{}", wire.escape_ascii());
    }
    let long = format!("SEND\nnonsense\nreceipt:{}\n\n\0", "x".repeat(9000));
    assert_eq!(receipt(to_server(V12), long.as_bytes()), None, "too long to be echoed");
}

/// What is shown of a frame cannot forge a line of a log, and isn't long.
#[test]
fn what_is_shown_is_escaped_and_short() {
    let wire = format!("SEND\n\u{1B}[31mx\r{}\n\n\0", "é".repeat(200));
    let text = fault(to_server(V11), &LIMITS, wire.as_bytes()).to_string();
    assert!(text.chars().all(|c| !c.is_control()) && text.contains("\\u{1b}[31mx\\r"), "{text}");
    assert!(text.len() < 220, "{text}");
}

/// A framer starts afresh after what it refused.
#[test]
fn a_framer_that_refused_is_a_new_one() {
    let mut framer = Framer::new();
    assert!(framer.split(b"SEND\na:b\nnonsense\n\n\0", to_server(V12), &LIMITS).is_err());
    let split = framer.split(b"BEGIN\ntransaction:1\n\n\0", to_server(V12), &LIMITS).unwrap();
    let Split::Frame(frame) = split else { panic!("{split:?}") };
    assert_eq!((frame.command, frame.headers.len()), (Command::Begin, 1));
}

/// What was read once is not read again: altered behind the framer's back, it does no more harm.
#[test]
fn no_byte_is_looked_for_twice() {
    let mut wire = b"SEND\nfirst:1\nsecond-is-long".to_vec();
    let mut framer = Framer::new();
    let mut feed = |wire: &[u8]| match framer.split(wire, to_server(V12), &LIMITS).unwrap() {
        Split::Incomplete => None,
        Split::Frame(frame) => Some(frame.body.len()),
        Split::Beats(_) => panic!("there are none"),
    };
    assert_eq!(feed(&wire), None);
    let head = 5.."SEND\nfirst:1\nsecond-is-lon".len();
    let kept = wire[head.clone()].to_vec();
    wire[head.clone()].fill(0);
    wire.extend_from_slice(b"ish:2");
    assert_eq!(feed(&wire), None, "a NUL in a head would be refused");
    wire[head].copy_from_slice(&kept);
    wire.extend_from_slice(b"\n\nbody");
    assert_eq!(feed(&wire), None);
    let body = wire.len() - 4;
    wire[body..].fill(0);
    wire.extend_from_slice(b"more");
    assert_eq!(feed(&wire), None, "a NUL would have ended the body");
    wire.push(0);
    assert_eq!(feed(&wire), Some(8));
}

/// What a client calls itself and its subscriptions is kept as long as they are: 256 bytes at most, and no letters that
/// could forge a line of the log.
#[test]
fn the_names_that_a_client_chooses_are_short_and_can_be_shown() {
    let name = |len: usize| "n".repeat(len);
    for version in Version::ALL {
        let mut world = World::new();
        let client = world.connect_with(version, &format!("client-id:{}\n", name(256)));
        for (at, named) in [
            format!("id:{}\ndestination:/topic/t", name(256)),
            format!("id:1\ndestination:/topic/t\nactivemq.subscriptionName:{}", name(256)),
            format!("id:{}\ndestination:/queue/t", "é".repeat(128)),
        ]
        .into_iter()
        .enumerate()
        {
            let receipt = world.frame(client, &format!("SUBSCRIBE\n{named}\nreceipt:{at}"));
            assert_eq!(receipt.first().map(|got| got.command), Some(Command::Receipt), "{receipt:?}");
        }
    }
    let excerpt = format!("\"{}…\"", name(40));
    for (header, rest) in [
        ("id", "destination:/topic/t"),
        ("id", "destination:/topic/t\ndurable:true"),
        ("activemq.subscriptionName", "id:1\ndestination:/topic/t"),
    ] {
        let mut world = World::new();
        let client = world.connect_with(V12, "client-id:c\n");
        world.send(client, &format!("SUBSCRIBE\n{header}:{}\n{rest}\nreceipt:r\n\n\0", name(257)));
        let error = world.error(client);
        for words in [&format!("header {header}"), &excerpt, "256 bytes at most"] {
            assert!(error.text().contains(words), "{error:?}");
        }
        assert_eq!(error.header("receipt-id"), "r");
    }
    for lines in ["id:1\nactivemq.subscriptionName:a\\nb", "id:a\\nb\ndurable:true"] {
        let mut world = World::new();
        let client = world.connect_with(V12, "client-id:c\n");
        world.send(client, &format!("SUBSCRIBE\ndestination:/topic/t\n{lines}\n\n\0"));
        let error = world.error(client);
        let (what, mend) = ("\"a\\nb\"", "no control characters");
        assert!(error.text().contains(what) && error.text().contains(mend), "{error:?}");
    }
    for (value, mend) in [(name(257), "256 bytes at most"), ("a\u{85}b".into(), "no control characters")] {
        let mut world = World::new();
        let client = world.open();
        world.send(client, &format!("CONNECT\naccept-version:1.2\nhost:h\nclient-id:{value}\n\n\0"));
        let error = world.error(client);
        assert!(error.text().contains("header client-id") && error.text().contains(mend), "{error:?}");
        assert_eq!(world.closed(client), Some(Kind::ClientIdNotValid));
    }
}

/// The best of three times that so many subscriptions take, with names that are told apart by their last letters only.
fn time_to_subscribe(count: usize) -> Duration {
    let limits = ServerLimits::default();
    let core = Limits { max_subscriptions: u32::MAX, ..Limits::default() };
    let around = Surroundings { stomp: &limits, core: &core, now: Now::default() };
    let conn = ConnId { slot: 0, generation: 1 };
    let common = "n".repeat(240);
    let frames: Vec<_> = (0..count)
        .map(|number| format!("SUBSCRIBE\nid:{common}{number:016}\ndestination:/topic/t\n\n\0"))
        .collect();
    (0..3)
        .map(|_| {
            let (mut server, mut asked) = (Server::new(Dialect::Native, Token::new([1; 16])), 0);
            let mut scratch = Scratch::default();
            let mut take = |server: &mut Server, wire: &[u8]| {
                let Ok(Split::Frame(frame)) = server.split(wire, around) else { panic!("no frame") };
                match server.frame(conn, &frame, around, &mut scratch, |_| asked += 1).unwrap() {
                    Step::Done => {}
                    Step::Connect(connect) => {
                        server.begin(&connect, "c", None, around);
                        let connected =
                            Reply::Connected { session_present: false, expiry_s: None, keep_alive_s: None };
                        let _ = server.reply(&connected, around, &mut BytesMut::new()).unwrap();
                    }
                }
            };
            take(&mut server, b"CONNECT\naccept-version:1.2\nhost:h\n\n\0");
            let start = Instant::now();
            frames.iter().for_each(|frame| take(&mut server, frame.as_bytes()));
            let took = start.elapsed();
            assert_eq!(asked, count);
            took
        })
        .min()
        .unwrap()
}

/// For those who compare times: one after the other.
static CLOCK: Mutex<()> = Mutex::new(());

/// A client with many subscriptions must not cost quadratic time either.
#[test]
fn time_is_linear_in_subscriptions() {
    let _alone = CLOCK.lock();
    let (few, many) = (time_to_subscribe(5_000), time_to_subscribe(20_000));
    assert!(many < few * 9, "{few:?}, then {many:?}");
}

/// The best of three times that `wire` takes in pieces of `piece` bytes.
fn time(wire: &[u8], piece: usize, limits: &FrameLimits) -> Duration {
    (0..3)
        .map(|_| {
            let start = Instant::now();
            let (frames, rest) = read(to_server(V12), limits, wire, (0..wire.len()).step_by(piece)).unwrap();
            assert_eq!((frames.len(), rest), (1, 0));
            start.elapsed()
        })
        .min()
        .unwrap()
}

/// Makes a frame of so many parts.
type Make<'a> = &'a dyn Fn(usize) -> Vec<u8>;

/// A slow sender must not cost quadratic time: four times the bytes take about four times as long, not sixteen.
#[test]
fn time_is_linear_in_what_comes() {
    let _alone = CLOCK.lock();
    let limits =
        FrameLimits { max_headers: 65_535, max_header_line: 1 << 30, max_body: 1 << 30, max_connect: 0 };
    let no_length = |len: usize| [b"SEND\n\n", &vec![b'x'; len << 12][..], b"\0"].concat();
    let length = |len: usize| {
        let len = len << 12;
        [format!("SEND\ncontent-length:{len}\n\n").as_bytes(), &vec![0; len], b"\0"].concat()
    };
    let one_line = |len: usize| [b"SEND\na:", &vec![b':'; len << 8][..], b"\n\n\0"].concat();
    let lines = |len: usize| format!("SEND\n{}\n\0", "name:value\\n\n".repeat(len * 12)).into_bytes();
    let after_a_long_head =
        |len: usize| format!("SEND\na:{}\n\n{}\0", "é".repeat(len << 8), "x".repeat(len << 8)).into_bytes();
    let kinds: [(&str, Make<'_>, usize); 5] = [
        ("body without content-length", &no_length, 1024),
        ("body with content-length", &length, 1024),
        ("one long header", &one_line, 16),
        ("many headers", &lines, 16),
        ("body behind a long head", &after_a_long_head, 64),
    ];
    for (what, wire, piece) in kinds {
        let pair = || (time(&wire(1 << 10), piece, &limits), time(&wire(1 << 12), piece, &limits));
        // What is quadratic is so each time; a machine that has something else to do is not.
        let (mut shown, linear) = (Vec::new(), |(short, long): (Duration, Duration)| long < short * 9);
        let is_linear = (0..5).map(|_| pair()).inspect(|pair| shown.push(*pair)).any(linear);
        assert!(is_linear, "{what}: {shown:?}");
    }
}
