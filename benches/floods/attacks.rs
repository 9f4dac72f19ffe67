//! The floods. Each does its worst until it is told that it is over, and says how often it did.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use noctule_core::id::Qos;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::broker::{Broker, Door, Failure};
use crate::client::{connect, connected, publish, subscribe};

/// Does its worst, by the number of its thread, until it is over; how often it did.
type Flood = fn(&Broker, usize, &dyn Fn() -> bool) -> Result<u64, Failure>;

/// A kind of flood.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// What is counted.
    pub(crate) unit: &'static str,
    /// From how many threads at once.
    pub(crate) threads: usize,
    /// What is there before anything is measured.
    pub(crate) prepare: fn(&Broker) -> Result<(), Failure>,
    pub(crate) flood: Flood,
}

const fn attack(name: &'static str, unit: &'static str, threads: usize, flood: Flood) -> Attack {
    Attack { name, unit, threads, prepare: |_| Ok(()), flood }
}

pub(crate) const ATTACKS: &[Attack] = &[
    attack("none, a busy core", "rounds", 1, busy),
    attack("half-open", "connections", 1, half_open),
    attack("slow-loris", "bytes", 1, slow_loris),
    attack("connect storm", "connections", 2, connect_storm),
    attack("garbage", "connections", 2, garbage),
    attack("huge lengths", "connections", 2, huge_lengths),
    attack("subscription bomb", "filters", 2, subscription_bomb),
    Attack { prepare: overlapping, ..attack("deep topics", "messages", 1, deep_topics) },
    attack("tiny fragments", "connections", 2, tiny_fragments),
    attack("TLS handshakes", "handshakes", 2, tls_handshakes),
    attack("slow readers", "MB sent to 100", 1, slow_readers),
    attack("takeover storm", "connections", 2, takeover_storm),
    Attack { prepare: retained, ..attack("retained replay", "subscribers", 1, retained_replay) },
    attack("selector bomb", "messages", 1, selector_bomb),
];

fn busy(_: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let mut rounds = 0;
    while !over() {
        rounds += 1;
    }
    Ok(rounds)
}

/// Whether the broker has let go of it.
fn is_gone(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1_024]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}

/// Opens and says nothing; keeps what it may keep.
fn half_open(broker: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let (mut made, mut open) = (0, Vec::new());
    while !over() {
        let stream = broker.open(Door::Plain)?;
        stream.set_nonblocking(true)?;
        open.push(stream);
        made += 1;
        if open.len() > 5_000 {
            open.retain_mut(|stream| !is_gone(stream));
        }
    }
    Ok(made)
}

/// A thousand that send one byte after the other of a CONNECT that would be 30,000 long.
fn slow_loris(broker: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let head = [0x10, 0xB0, 0xEA, 0x01, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0x75, 0x22];
    let mut open = Vec::new();
    for _ in 0..1_000 {
        let mut stream = broker.open(Door::Plain)?;
        stream.write_all(&head)?;
        stream.set_nonblocking(true)?;
        open.push(stream);
    }
    let mut made = 0;
    while !over() {
        for stream in &mut open {
            made += u64::from(stream.write(b"x").is_ok());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(made)
}

fn connect_storm(broker: &Broker, number: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let mut made = 0;
    while !over() {
        drop(connected(broker, &format!("storm-{number}-{made}"))?);
        made += 1;
    }
    Ok(made)
}

/// Bytes without a meaning (xorshift), behind a CONNECT every other time.
fn garbage(broker: &Broker, number: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let (mut state, mut made) = (0x9E37_79B9_7F4A_7C15_u64 ^ (number as u64 + 1), 0);
    while !over() {
        let mut noise = Vec::with_capacity(4_096);
        while noise.len() < 4_096 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend_from_slice(&state.to_le_bytes());
        }
        let mut stream =
            if made % 2 == 0 { broker.open(Door::Plain)? } else { connected(broker, "garbage")? };
        let _ = stream.write_all(&noise);
        made += 1;
    }
    Ok(made)
}

/// Lengths of a quarter of a gigabyte, and as much as is taken of what they announce.
fn huge_lengths(broker: &Broker, number: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let (mut made, chunk) = (0, vec![b'x'; 64 * 1_024]);
    while !over() {
        let (mut stream, kind) = if made % 2 == 0 {
            (broker.open(Door::Plain)?, 0x10)
        } else {
            (connected(broker, &format!("huge-{number}"))?, 0x30)
        };
        let _ = stream.write_all(&[kind, 0xFF, 0xFF, 0xFF, 0x7F]);
        for _ in 0..16 {
            if over() || stream.write_all(&chunk).is_err() {
                break;
            }
        }
        made += 1;
    }
    Ok(made)
}

/// As many filters as a client may have, overlapping, in packets of a thousand; and again with another client.
fn subscription_bomb(broker: &Broker, number: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let (mut made, mut clients) = (0, Vec::new());
    while !over() {
        let mut stream = connected(broker, &format!("bomb-{number}-{}", clients.len() % 20))?;
        for packet in 0..10 {
            let filters: Vec<_> = (0..1_000)
                .map(|filter| match filter % 4 {
                    0 => format!("+/{packet}/{filter}/#"),
                    1 => format!("bomb/+/{filter}/+/{packet}"),
                    2 => format!("bomb/{packet}/+/{filter}"),
                    _ => format!("bomb/{number}/{packet}/{filter}"),
                })
                .collect();
            let filters: Vec<_> = filters.iter().map(String::as_str).collect();
            if over() || stream.write_all(&subscribe(&filters, Qos::AtMostOnce, None)?).is_err() {
                break;
            }
            // SUBACK, in part: what matters is that it has come.
            let _ = stream.read(&mut [0; 2_048]);
            made += 1_000;
        }
        clients.push(stream);
        if clients.len() > 20 {
            clients.remove(0);
        }
    }
    Ok(made)
}

/// Wildcards of every length.
fn overlapping(broker: &Broker) -> Result<(), Failure> {
    let mut stream = connected(broker, "overlapping")?;
    let filters: Vec<_> = (1..64).map(|levels| format!("{}#", "+/".repeat(levels))).collect();
    let filters: Vec<_> = filters.iter().map(String::as_str).collect();
    stream.write_all(&subscribe(&filters, Qos::AtMostOnce, None)?)?;
    std::thread::spawn(move || while matches!(stream.read(&mut [0; 65_536]), Ok(1..)) {});
    Ok(())
}

/// Topics of 64 levels, each another one, and now and then one of 60,000.
fn deep_topics(broker: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let (mut made, deep) = (0_u64, "/a".repeat(62));
    let mut stream = connected(broker, "deep")?;
    while !over() {
        let mut batch = Vec::new();
        for _ in 0..50 {
            batch.extend_from_slice(&publish(&format!("{made}{deep}"), b"x", Qos::AtMostOnce, false)?);
            made += 1;
        }
        if stream.write_all(&batch).is_err() {
            stream = connected(broker, "deep")?;
        }
        if made.is_multiple_of(5_000) {
            let mut other = connected(broker, "deeper")?;
            let _ = other.write_all(&publish(&"/".repeat(60_000), b"x", Qos::AtMostOnce, false)?);
        }
    }
    Ok(made)
}

/// One message of WebSocket in frames of one byte, and again over another connection when that was too many.
fn tiny_fragments(broker: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let request = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    // A mask of nothing; the first is binary, the others go on with a CONNECT of 30,000 bytes.
    let frame = |first: u8, byte: u8| [first, 0x81, 0, 0, 0, 0, byte];
    let begun: Vec<u8> = [0x10, 0xB0, 0xEA, 0x01, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0x75, 0x22]
        .iter()
        .enumerate()
        .flat_map(|(at, byte)| frame(if at == 0 { 0x02 } else { 0x00 }, *byte))
        .collect();
    let (mut made, batch) = (0, frame(0x00, b'x').repeat(200));
    while !over() {
        let mut stream = broker.open(Door::WebSocket)?;
        stream.write_all(request.as_bytes())?;
        let _ = stream.read(&mut [0; 1_024])?;
        let _ = stream.write_all(&begun);
        stream.set_nonblocking(true)?;
        // The broker's Close frame, or its end.
        while !over()
            && matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        {
            if stream.write_all(&batch).is_err() {
                break;
            }
        }
        made += 1;
    }
    Ok(made)
}

/// Whole ones, as many as two threads can make.
fn tls_handshakes(broker: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let name = ServerName::try_from("localhost")?;
    let mut made = 0;
    while !over() {
        let connection = ClientConnection::new(Arc::clone(&broker.tls), name.clone())?;
        let mut stream = StreamOwned::new(connection, broker.open(Door::Tls)?);
        while stream.conn.is_handshaking() && stream.conn.complete_io(&mut stream.sock).is_ok() {}
        made += 1;
    }
    Ok(made)
}

/// A hundred that subscribe and do not read, at QoS 0 and 1, and one that sends what they want.
fn slow_readers(broker: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let mut readers = Vec::new();
    for number in 0..100 {
        let mut stream = connected(broker, &format!("slow-{number}"))?;
        let qos = if number % 2 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        stream.write_all(&subscribe(&["slow/#"], qos, None)?)?;
        readers.push(stream);
    }
    let mut stream = connected(broker, "sends")?;
    let (mut made, payload) = (0, vec![b'x'; 10_000]);
    let frames = [Qos::AtMostOnce, Qos::AtLeastOnce].map(|qos| publish("slow/a", &payload, qos, false));
    let [often, kept] = frames;
    let batch = [&often?[..], &kept?[..]].concat();
    stream.set_nonblocking(true)?;
    let mut rest: &[u8] = &batch;
    while !over() {
        match stream.write(rest) {
            Ok(written) => {
                made += written as u64;
                rest = rest.get(written..).filter(|rest| !rest.is_empty()).unwrap_or(&batch);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
        // Its acknowledgements.
        let _ = stream.read(&mut [0; 4_096]);
    }
    drop(readers);
    Ok(made / 1_000_000)
}

/// One client id from everywhere, with a session that stays.
fn takeover_storm(broker: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let (mut made, request) = (0, connect("everybody's", true)?);
    let mut last = None;
    while !over() {
        let mut stream = broker.open(Door::Plain)?;
        stream.write_all(&request)?;
        let _ = stream.read(&mut [0; 64]);
        // The one before is taken over; it need not be closed.
        last = Some(stream);
        made += 1;
    }
    drop(last);
    Ok(made)
}

/// 20,000 messages of 1,000 bytes.
fn retained(broker: &Broker) -> Result<(), Failure> {
    let mut stream = connected(broker, "retains")?;
    stream.set_write_timeout(None)?;
    for number in 0..20_000 {
        let topic = format!("retained/{}/{number}", number % 100);
        stream.write_all(&publish(&topic, &[b'r'; 1_000], Qos::AtMostOnce, true)?)?;
    }
    stream.write_all(&[0xC0, 0])?;
    stream.read_exact(&mut [0; 2])?;
    Ok(())
}

/// Subscribers to all of it that do not read, up to 500 at a time.
fn retained_replay(broker: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let (mut made, mut readers) = (0, Vec::new());
    while !over() {
        let mut stream = connected(broker, &format!("reads-{made}"))?;
        let filter = if made % 2 == 0 { "#" } else { "retained/#" };
        stream.write_all(&subscribe(&[filter], Qos::AtMostOnce, None)?)?;
        readers.push(stream);
        made += 1;
        if readers.len() > 500 {
            readers.remove(0);
        }
    }
    Ok(made)
}

/// The worst selector beside the largest document.
fn selector_bomb(broker: &Broker, _: usize, over: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let bomb = vec![format!("JSON('$.a') NOT LIKE '%{}b'", "a".repeat(240)); 14].join(" AND ");
    let mut reader = connected(broker, "selects")?;
    reader.write_all(&subscribe(&["bomb"], Qos::AtMostOnce, Some(&bomb))?)?;
    let document = format!("{{\"a\":\"{}\"}}", "a".repeat(1_000_000));
    let frame = publish("bomb", document.as_bytes(), Qos::AtMostOnce, false)?;
    let (mut made, mut stream) = (0, connected(broker, "sends")?);
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    while !over() {
        stream.write_all(&frame)?;
        made += 1;
    }
    Ok(made)
}
