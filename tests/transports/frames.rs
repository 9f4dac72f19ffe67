//! Frames that nobody should send (RFC 6455; THREATS 3 and 15), written by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use noctule_core::id::Qos;

use crate::kit::{
    Got, Mqtt, Served, TRANSPORT, V5, V311, WAIT, Wire, connect_bytes, counted, more_than, offer, plain, told,
};

const MQTT: usize = 0;
const STOMP: usize = 1;

fn serve(more: &str) -> Served {
    Served::start(&format!(
        "[store]
        durability = \"never\"
        [[listener]]
        address = \"127.0.0.1:0\"
        websocket = \"/\"
        [[listener]]
        protocol = \"stomp\"
        address = \"127.0.0.1:0\"
        websocket = \"/\"
        {more}"
    ))
}

/// A socket on which WebSocket is spoken.
#[track_caller]
fn upgraded(served: &Served, place: usize) -> TcpStream {
    let mut socket = plain(served.address(place));
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // RFC 6455, section 1.3.
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    socket
}

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A masked frame: its first byte (FIN, reserved bits, opcode) and its payload.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// An unmasked frame of the server.
#[track_caller]
fn next_frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    socket.read_exact(&mut head).unwrap();
    let len = match head[1] {
        126 => {
            let mut len = [0; 2];
            socket.read_exact(&mut len).unwrap();
            u16::from_be_bytes(len).into()
        }
        127 => {
            let mut len = [0; 8];
            socket.read_exact(&mut len).unwrap();
            u64::from_be_bytes(len) as usize
        }
        len => usize::from(len),
    };
    let mut payload = vec![0; len];
    socket.read_exact(&mut payload).unwrap();
    (head[0], payload)
}

/// A Close frame with that code, then the end.
#[track_caller]
fn is_closed(socket: &mut TcpStream, code: u16) {
    let (first, payload) = next_frame(socket);
    assert_eq!(first, 0x88, "{payload:02x?}");
    assert_eq!(payload[..2], code.to_be_bytes());
    assert!(payload.len() > 2, "it says why");
    let read = socket.read(&mut [0; 64]);
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?} behind the Close frame");
}

/// What is wrong behind a CONNECT is wrong at the worker, too, that the connection moves to with it.
#[test]
fn what_is_forbidden_behind_a_connect_ends_the_connection_wherever_it_is_by_then() {
    let served = serve("");
    for number in 0..16 {
        let mut socket = upgraded(&served, MQTT);
        let mut frames = masked(0x82, &connect_bytes(V5, &format!("client-{number}")));
        frames.extend(masked(0x83, b""));
        socket.write_all(&frames).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        let mut said = Vec::new();
        // A reset is an end as well.
        let ended = socket.read_to_end(&mut said).map_err(|error| error.kind());
        assert!(matches!(ended, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)), "{number}: {ended:?}");
    }
}

#[test]
fn what_the_rfc_forbids_is_answered_with_its_code() {
    let served = serve("");
    let connect = connect_bytes(V5, "x");
    let mut unmasked = vec![0x82, connect.len() as u8];
    unmasked.extend(&connect);
    let long = |bytes: [u8; 8]| [&[0x82, 0xFF][..], &bytes, &MASK].concat();
    let two = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
    let cases: [(Vec<u8>, u16, &str); 14] = [
        // [MQTT-6.0.0-1]
        (masked(0x81, &connect), 1003, "text message where only binary ones are taken"),
        (unmasked, 1002, "frame is not masked"),
        (masked(0xC2, &connect), 1002, "reserved bits are set"),
        (masked(0x83, &connect), 1002, "opcode 3 is reserved"),
        (masked(0x8F, b""), 1002, "opcode 15 is reserved"),
        (masked(0x09, b""), 1002, "is fragmented"),
        (masked(0x89, &[0; 126]), 1002, "more than 125 bytes"),
        (vec![0x82, 0xFE, 0, 5], 1002, "not written in the fewest bytes"),
        (long(5_u64.to_be_bytes()), 1002, "not written in the fewest bytes"),
        (long((1_u64 << 63).to_be_bytes()), 1002, "has its top bit set"),
        (masked(0x80, &connect), 1002, "without a message to continue"),
        (
            two(masked(0x02, &connect[..4]), masked(0x82, &connect[4..])),
            1002,
            "new message before the last one ended",
        ),
        (masked(0x88, &[3]), 1002, "close frame has one byte"),
        (masked(0x88, &1005_u16.to_be_bytes()), 1002, "close code 1005"),
    ];
    for (bytes, code, words) in cases {
        let before = counted(TRANSPORT);
        let mut socket = upgraded(&served, MQTT);
        offer(&mut socket, &bytes);
        is_closed(&mut socket, code);
        told(socket.local(), words);
        more_than(TRANSPORT, before);
    }
}

/// Behind a Close frame comes nothing (section 5.5.1), not even an ERROR of STOMP or a DISCONNECT of MQTT 5.
#[test]
fn who_is_connected_gets_the_close_frame_alone() {
    let served = serve("");
    let mut socket = upgraded(&served, STOMP);
    offer(&mut socket, &masked(0x81, b"CONNECT\naccept-version:1.2\nhost:/\n\n\0"));
    let (first, payload) = next_frame(&mut socket);
    assert!(first == 0x81 && payload.starts_with(b"CONNECTED"), "{first:x} {payload:02x?}");
    // Text that is none.
    offer(&mut socket, &masked(0x81, b"SEND\xFF"));
    is_closed(&mut socket, 1007);
    let mut socket = upgraded(&served, MQTT);
    offer(&mut socket, &masked(0x82, &connect_bytes(V5, "text")));
    assert_eq!(next_frame(&mut socket).1[0], 0x20);
    offer(&mut socket, &masked(0x81, &[0xC0, 0]));
    is_closed(&mut socket, 1003);
}

#[test]
fn a_thousand_tiny_fragments_are_too_many_and_a_thousand_honest_ones_are_not() {
    let served = serve("");
    let mut packets = Mqtt::new(Box::new(plain(served.address(MQTT))) as Box<dyn Wire>, V311);
    let publish = packets.publish_bytes(Qos::AtLeastOnce, "f", &[7; 16_000]).0;
    for (size, is_honest) in [(1, false), (16, true)] {
        let mut socket = upgraded(&served, MQTT);
        offer(&mut socket, &masked(0x82, &connect_bytes(V311, "fragments")));
        next_frame(&mut socket);
        let mut stream = Vec::new();
        let mut first = 0x02;
        for piece in publish.chunks(size).take(1_000) {
            stream.extend(masked(first, piece));
            first = 0;
        }
        if is_honest {
            stream.extend(masked(0x80, publish.get(16_000..).unwrap()));
            offer(&mut socket, &stream);
            assert_eq!(next_frame(&mut socket).1[0], 0x40);
        } else {
            offer(&mut socket, &stream);
            is_closed(&mut socket, 1008);
            told(socket.local(), "tiny fragments or empty frames");
        }
    }
}

#[test]
fn frames_of_no_length_are_borne_up_to_a_number() {
    let served = serve("");
    let mut socket = upgraded(&served, MQTT);
    offer(&mut socket, &masked(0x82, &connect_bytes(V311, "empty")));
    next_frame(&mut socket);
    offer(&mut socket, &masked(0x82, b"").repeat(100));
    offer(&mut socket, &masked(0x82, &[0xC0, 0]));
    assert_eq!(next_frame(&mut socket), (0x82, vec![0xD0, 0]));
    // Also when they come one at a time.
    for _ in 0..1_000 {
        offer(&mut socket, &masked(0x82, b""));
    }
    is_closed(&mut socket, 1008);
}

/// A frame's length promises nothing to the protocol in it, and costs nothing before it has come.
#[test]
fn a_length_that_lies_does_no_harm() {
    let served = serve("[limits]\nconnect_timeout = \"1s\"");
    let huge = [&[0x82, 0xFF][..], &(1_u64 << 62).to_be_bytes(), &MASK].concat();
    // Longer than any packet: the stream in it is read all the same, up to the protocol's own limits.
    let mut socket = upgraded(&served, MQTT);
    let words = [connect_bytes(V311, "long"), vec![0xC0, 0]].concat();
    let hidden: Vec<u8> = words.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    offer(&mut socket, &[&huge[..], &hidden].concat());
    // In one message or in two.
    let mut answers = next_frame(&mut socket).1;
    if answers.len() < 6 {
        answers.extend(next_frame(&mut socket).1);
    }
    assert_eq!(answers, [0x20, 2, 0, 0, 0xD0, 0]);
    // Nothing follows: CONNECT does not come in time, which is counted from before the upgrade.
    let started = Instant::now();
    let mut socket = upgraded(&served, MQTT);
    offer(&mut socket, &huge);
    crate::kit::rest(&mut socket);
    assert!(started.elapsed() >= Duration::from_millis(800));
    told(socket.local(), "connect");
    // Shorter than the packet in it: the packet goes on in the next frame, or never.
    let mut socket = upgraded(&served, MQTT);
    let connect = connect_bytes(V311, "short");
    offer(&mut socket, &masked(0x82, &connect[..5]));
    offer(&mut socket, &masked(0x82, &connect[5..]));
    assert_eq!(next_frame(&mut socket).1[0], 0x20);
}

/// RFC 6455, section 5.5.1: the Close frame is the last, also behind what its client is still owed.
#[test]
fn who_closes_gets_what_it_is_owed_before_the_close_frame() {
    let served = serve("");
    let mut socket = upgraded(&served, STOMP);
    let mut stream = b"CONNECT\naccept-version:1.2\nhost:/\n\n\0".to_vec();
    for number in 0..50 {
        stream.extend(format!("SEND\ndestination:/topic/owed\nreceipt:{number}.\n\nx\0").into_bytes());
    }
    let mut frames = masked(0x82, &stream);
    frames.extend(masked(0x88, &[3, 0xE8, b'b', b'y', b'e']));
    // Behind a Close frame nothing is read.
    frames.extend(masked(0x82, b"SEND\ndestination:/topic/owed\nreceipt:late.\n\nx\0"));
    offer(&mut socket, &frames);
    let mut answers = Vec::new();
    loop {
        match next_frame(&mut socket) {
            (0x82, payload) => answers.extend(payload),
            (first, payload) => {
                assert_eq!((first, payload), (0x88, vec![3, 0xE8]));
                break;
            }
        }
    }
    assert_eq!(crate::kit::rest(&mut socket), b"");
    let answers = String::from_utf8(answers).unwrap();
    assert!((0..50).all(|number| answers.contains(&format!("receipt-id:{number}."))), "{answers}");
    assert!(!answers.contains("late"));
}

/// Nobody reads the answers: at some point the broker reads no more questions. Once they are read, it goes on.
#[test]
fn floods_of_questions_are_not_kept_in_memory() {
    let served = serve("");
    // A Ping of WebSocket, which it answers by itself, and PINGREQs of MQTT.
    floods(&served, &masked(0x89, &[b'p'; 125]), (0x8A, &[b'p'; 125]));
    floods(&served, &masked(0x82, &[0xC0, 0]), (0x82, &[0xD0, 0]));
}

#[track_caller]
fn floods(served: &Served, ping: &[u8], pong: (u8, &[u8])) {
    let mut socket = upgraded(served, MQTT);
    offer(&mut socket, &masked(0x82, &connect_bytes(V311, "floods")));
    next_frame(&mut socket);
    socket.set_nonblocking(true).unwrap();
    // Each by itself, so that each is answered.
    let mut written = 0_usize;
    let mut refused_since = None;
    let started = Instant::now();
    loop {
        match socket.write(&ping[written % ping.len()..]) {
            Ok(len) => {
                written += len;
                refused_since = None;
            }
            Err(_) => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_millis(500) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        assert!(started.elapsed() < WAIT * 4, "{written} bytes of pings were taken");
    }
    socket.set_nonblocking(false).unwrap();
    // The last one may be cut.
    let missing = (ping.len() - written % ping.len()) % ping.len();
    let tail = ping[ping.len() - missing..].to_vec();
    let mut writer = socket.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&tail).unwrap();
        // An answer that was not given before.
        writer.write_all(&masked(0x82, &[0x82, 6, 0, 9, 0, 1, b'f', 0])).unwrap();
    });
    loop {
        let (first, payload) = next_frame(&mut socket);
        if let Some(packets) = payload.strip_suffix(&[0x90, 3, 0, 9, 0]) {
            assert!(packets.chunks(pong.1.len()).all(|answer| answer == pong.1));
            break;
        }
        assert_eq!(first, pong.0);
        assert!(payload.chunks(pong.1.len()).all(|answer| answer == pong.1), "{payload:02x?}");
    }
    writing.join().unwrap();
}

#[test]
fn mqtt_s_own_limits_hold_in_frames() {
    let served = serve("[limits]\nmax_packet_size = \"4KiB\"\nmax_connect_size = 512");
    let mut socket = upgraded(&served, MQTT);
    // A CONNECT that announces a megabyte.
    offer(&mut socket, &masked(0x82, &[0x10, 0x80, 0x80, 0x40, 0, 4, b'M', b'Q', b'T', b'T', 5]));
    crate::kit::rest(&mut socket);
    told(socket.local(), "packet_too_large");
    let mut mqtt = Mqtt::connect(served.web(MQTT, "/", "mqtt"), V5, "large");
    mqtt.put(Qos::AtMostOnce, "large", &[0; 5_000]);
    assert_eq!(mqtt.next(), Got::Bye(0x95));
    mqtt.is_closed();
}
