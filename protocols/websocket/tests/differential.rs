//! Goal: what we write others read, what they write we read, and what they refuse we refuse.
//! Method: tungstenite at the other end, in both roles, whole and fragmented, over random messages and damaged frames.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod wire;

use std::io::{self, Read, Write};

use bytes::BytesMut;
use noctule_websocket::{
    CloseCode, HeadLimits, HeadReader, Kind, Mask, Offer, Role, encode, write_close, write_ping,
};
use tungstenite::handshake::server::{Request as TheirRequest, Response as TheirResponse};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Message, WebSocket};
use wire::{BINARY, CLIENT, CONTINUATION, FIN, LIMITS, PING, PONG, Random, TEXT, frame, read_in};

/// A socket in memory: what is to be read, and what was written.
struct Pipe {
    input: io::Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Pipe {
    fn with(input: Vec<u8>) -> Self {
        Self { input: io::Cursor::new(input), output: Vec::new() }
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buf)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What they make of `wire`: the messages, and whether they are content with it.
fn they_read(role: TheirRole, wire: &[u8]) -> (Vec<Message>, bool) {
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let mut socket = WebSocket::from_raw_socket(Pipe::with(wire.to_vec()), role, Some(config));
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => messages.push(message),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (messages, true);
            }
            Err(tungstenite::Error::ConnectionClosed) => return (messages, true),
            Err(_) => return (messages, false),
        }
    }
}

/// The payloads of data messages, in a row.
fn data(messages: &[Message]) -> Vec<u8> {
    let data = messages.iter().filter(|message| message.is_text() || message.is_binary());
    data.flat_map(|message| message.clone().into_data()).collect()
}

/// Around every change of the length's form, and large.
fn length(random: &mut Random) -> usize {
    match random.below(10) {
        0 => random.pick(&[0, 1, 125, 126, 127, 65535, 65536]),
        1 => random.below(200_000),
        _ => random.below(300),
    }
}

fn letters(random: &mut Random, len: usize) -> String {
    (0..len).map(|_| random.pick(&['a', ' ', 'é', '€', '\u{10FFFF}'])).collect()
}

#[test]
fn they_read_what_we_write() {
    let mut random = Random(3);
    for round in 0..400 {
        let server = round % 2 == 0;
        let (mut wire, mut wanted) = (BytesMut::new(), Vec::new());
        for _ in 0..random.below(6) {
            let mask = Mask((random.next() as u32).to_ne_bytes());
            let role = if server { Role::Server } else { Role::Client { mask } };
            let len = length(&mut random);
            match random.below(4) {
                0 => {
                    let text = letters(&mut random, len);
                    encode(role, Kind::Text, text.as_bytes(), &mut wire);
                    wanted.push(Message::text(text));
                }
                1 => {
                    let payload = random.bytes(len.min(125));
                    write_ping(role, &payload, &mut wire);
                    wanted.push(Message::Ping(payload.into()));
                }
                _ => {
                    let payload = random.bytes(len);
                    encode(role, Kind::Binary, &payload, &mut wire);
                    wanted.push(Message::binary(payload));
                }
            }
        }
        let mask = Mask((random.next() as u32).to_ne_bytes());
        let role = if server { Role::Server } else { Role::Client { mask } };
        write_close(role, CloseCode::NORMAL, "done", &mut wire);
        let theirs = if server { TheirRole::Client } else { TheirRole::Server };
        let (messages, content) = they_read(theirs, &wire);
        let (close, messages) = messages.split_last().unwrap();
        assert!(content && messages == wanted, "round {round}");
        let Message::Close(Some(close)) = close else { panic!("no close: {close:?}") };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1000, "done"));
    }
}

#[test]
fn we_read_what_they_write() {
    let mut random = Random(4);
    for round in 0..400 {
        let from_client = round % 2 == 0;
        let theirs = if from_client { TheirRole::Client } else { TheirRole::Server };
        let config = WebSocketConfig::default().max_write_buffer_size(usize::MAX);
        let mut socket = WebSocket::from_raw_socket(Pipe::with(Vec::new()), theirs, Some(config));
        let mut wanted = Vec::new();
        for _ in 0..random.below(8) {
            // A message in up to four fragments, with a Ping between them.
            let text = random.below(2) == 0;
            let len = length(&mut random);
            let payload = if text { letters(&mut random, len).into_bytes() } else { random.bytes(len) };
            wanted.extend_from_slice(&payload);
            let fragments = 1 + random.below(4);
            let size = payload.len().div_ceil(fragments).max(1);
            let mut pieces: Vec<_> = payload.chunks(size).collect();
            if pieces.is_empty() {
                pieces.push(&[]);
            }
            for (at, piece) in pieces.iter().enumerate() {
                let opcode = match at {
                    0 if text => Data::Text,
                    0 => Data::Binary,
                    _ => Data::Continue,
                };
                let last = at + 1 == pieces.len();
                let frame = Frame::message(piece.to_vec(), OpCode::Data(opcode), last);
                socket.send(Message::Frame(frame)).unwrap();
                if random.below(3) == 0 {
                    socket.send(Message::Ping(vec![7; 3].into())).unwrap();
                }
            }
        }
        socket.close(None).unwrap();
        let wire = socket.get_ref().output.clone();
        let role = if from_client { Role::Server } else { CLIENT };
        let cuts = [random.below(wire.len() + 1)];
        let got = read_in(role, &LIMITS, &wire, cuts);
        assert_eq!((got.violation, got.rest, got.closed.is_some()), (None, 0, true), "round {round}");
        assert!(got.plain == wanted, "round {round}");
    }
}

/// Where the two of us disagree, one is wrong; the cases where it is meant to be so are named.
#[test]
fn we_refuse_what_they_refuse() {
    let mut random = Random(5);
    let (mut both_refuse, mut both_accept) = (0, 0);
    for round in 0..200_000 {
        let mut wire = Vec::new();
        for _ in 0..=random.below(3) {
            // Close frames are judged differently: they pass on codes that may not be sent as if there were none.
            let first = random.pick(&[
                FIN | BINARY,
                FIN | TEXT,
                BINARY,
                TEXT,
                CONTINUATION,
                FIN | CONTINUATION,
                FIN | PING,
                FIN | PONG,
                FIN | 3,
                FIN | 0x40 | BINARY,
                PING,
            ]);
            let payload =
                random.pick(&[&b""[..], b"a", b"\xC3\xA9", b"\xC3", b"\xA9", b"\xFF", &[b'x'; 126]]);
            let key = (random.below(20) > 0).then_some([1, 2, 3, 4]);
            wire.extend(frame(first, payload, key));
        }
        let (messages, content) = they_read(TheirRole::Server, &wire);
        let ours = read_in(Role::Server, &LIMITS, &wire, []);
        assert_eq!(ours.violation.is_none(), content, "round {round}: {wire:02x?}, {:?}", ours.violation);
        if content {
            // They collect messages, so what is not whole is not there.
            assert!(ours.plain.starts_with(&data(&messages)), "round {round}: {wire:02x?}");
            both_accept += 1;
        } else {
            both_refuse += 1;
        }
    }
    assert!(both_refuse > 20_000 && both_accept > 20_000, "{both_refuse} refused, {both_accept} accepted");
}

/// Their server takes our handshake, our client its answer; and then each understands the other.
#[test]
#[allow(clippy::result_large_err, reason = "their callback's type is theirs")]
fn our_client_and_their_server() {
    let offer =
        Offer { host: "plant:9001", path: "/mqtt?x=1", protocols: &["mqtt", "mqttv3.1"], nonce: [7; 16] };
    let mut wire = BytesMut::new();
    offer.write(&mut wire).unwrap();
    let choose = |request: &TheirRequest, mut response: TheirResponse| {
        assert_eq!((request.uri().path(), request.uri().query()), ("/mqtt", Some("x=1")));
        assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "mqtt, mqttv3.1");
        response.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(Pipe::with(wire.to_vec()), choose).unwrap();
    // They take nothing behind the request before they have answered it.
    let mut frame = BytesMut::new();
    encode(CLIENT, Kind::Text, b"first", &mut frame);
    socket.get_mut().input = io::Cursor::new(frame.to_vec());
    assert_eq!(socket.read().unwrap(), Message::text("first"));
    socket.send(Message::binary(&b"second"[..])).unwrap();
    let wire = socket.get_ref().output.clone();
    let answer = offer.answer(&mut HeadReader::new(), &wire, &HeadLimits::default()).unwrap().unwrap();
    assert_eq!(answer.protocol, Some("mqtt"));
    assert_eq!(read_in(CLIENT, &LIMITS, &wire[answer.len..], []).plain, b"second");
}
