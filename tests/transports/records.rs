//! TLS byte by byte: records cut anywhere, several in one read, damaged ones, and what is no TLS at all.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::kit::{
    Dripping, Got, Mqtt, Pki, Served, Stomp, TLS_VERSIONS, TRANSPORT, V5, V311, Wire, connect_bytes, counted,
    more_than, offer, plain, rest, tls_over, told,
};

/// Long enough for the broker to have read what was sent, most of the time; nothing is wrong if it has not.
const MOMENT: Duration = Duration::from_millis(2);

/// A client whose records are sent by hand.
struct ByHand {
    tls: ClientConnection,
    socket: TcpStream,
}

impl ByHand {
    /// The handshake is done.
    #[track_caller]
    fn new(served: &Served, place: usize, client: &Arc<ClientConfig>) -> Self {
        let mut socket = plain(served.address(place));
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::clone(client), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).unwrap();
        }
        Self { tls, socket }
    }

    /// The record that carries these bytes.
    fn record(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(bytes).unwrap();
        let mut record = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut record).unwrap();
        }
        record
    }

    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// A client that goes on from here.
    fn mqtt(self) -> Mqtt<rustls::StreamOwned<ClientConnection, Box<dyn Wire>>> {
        Mqtt::new(rustls::StreamOwned::new(self.tls, Box::new(self.socket)), V311)
    }
}

/// CONNECT, SUBSCRIBE, PUBLISH to oneself and PINGREQ.
fn first_words(client_id: &str) -> Vec<u8> {
    let mut packets = Mqtt::new(Box::new(Nowhere) as Box<dyn Wire>, V311);
    let topic = format!("own/{client_id}");
    let mut bytes = connect_bytes(V311, client_id);
    bytes.extend(packets.subscribe_bytes(Qos::AtMostOnce, &topic).0);
    bytes.extend(packets.publish_bytes(Qos::AtMostOnce, &topic, client_id.as_bytes()).0);
    bytes.extend([0xC0, 0]);
    bytes
}

#[track_caller]
fn are_answered<W: Wire>(client: &mut Mqtt<W>, client_id: &str) {
    assert!(matches!(client.next(), Got::ConnAck(_)), "{client_id}");
    assert!(matches!(client.next(), Got::SubAck(..)), "{client_id}");
    let (mut pong, mut text) = (false, None);
    while !pong || text.is_none() {
        match client.next() {
            Got::Pong => pong = true,
            Got::Publish(delivered) => text = Some(delivered.text().to_owned()),
            other => panic!("{client_id}: {other:?}"),
        }
    }
    assert_eq!(text.as_deref(), Some(client_id));
}

/// No wire: packets are only encoded.
struct Nowhere;

impl std::io::Read for Nowhere {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}

impl Write for Nowhere {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Wire for Nowhere {
    fn finish(&mut self) {}

    fn local(&self) -> std::net::SocketAddr {
        unreachable!("nowhere")
    }
}

#[test]
fn a_whole_connection_byte_by_byte() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let wire = Box::new(Dripping(plain(served.address(0))));
        let mut client = Mqtt::new(tls_over(wire, &pki.connector(tls, None)), V311);
        client.raw(&first_words("drips"));
        are_answered(&mut client, "drips");
        client.bye();
    }
}

#[test]
fn a_record_may_be_cut_anywhere() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        let whole = ByHand::new(&served, 0, &client).record(&first_words("cut-000")).len();
        for cut in 1..whole {
            let client_id = format!("cut-{cut:03}");
            let mut by_hand = ByHand::new(&served, 0, &client);
            let record = by_hand.record(&first_words(&client_id));
            assert_eq!(record.len(), whole);
            by_hand.send(&record[..cut]);
            sleep(MOMENT);
            by_hand.send(&record[cut..]);
            are_answered(&mut by_hand.mqtt(), &client_id);
        }
    }
}

#[test]
fn many_records_may_come_at_once() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let mut by_hand = ByHand::new(&served, 0, &pki.connector(tls, None));
        let mut packets = Mqtt::new(Box::new(Nowhere) as Box<dyn Wire>, V311);
        // More than one read takes; and packets do not end where records do.
        let mut records = Vec::new();
        let mut stream = connect_bytes(V311, "records");
        let ids: Vec<u16> = (0..250)
            .map(|_| {
                let (bytes, id) = packets.publish_bytes(Qos::AtLeastOnce, "elsewhere", &[7; 900]);
                stream.extend(bytes);
                id
            })
            .collect();
        for piece in stream.chunks(333) {
            records.extend(by_hand.record(piece));
        }
        by_hand.send(&records);
        let mut client = by_hand.mqtt();
        assert!(matches!(client.next(), Got::ConnAck(_)));
        for id in ids {
            assert_eq!(client.next(), Got::PubAck(id, 0));
        }
        client.bye();
    }
}

/// A connection moves to its session's worker with what was opened and not read, and with what was not opened.
#[test]
fn connections_move_between_workers_in_the_middle_of_packets_and_records() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        for number in 0..24 {
            let client_id = format!("moves-{number}");
            let mut by_hand = ByHand::new(&served, 0, &client);
            let words = first_words(&client_id);
            // In the middle of the PUBLISH.
            let (front, back) = words.split_at(words.len() - 6);
            let mut records = by_hand.record(front);
            let second = by_hand.record(back);
            records.extend(&second[..7]);
            by_hand.send(&records);
            sleep(MOMENT * 4);
            by_hand.send(&second[7..]);
            let mut mqtt = by_hand.mqtt();
            are_answered(&mut mqtt, &client_id);
            mqtt.ping();
            mqtt.bye();
        }
    }
}

/// What a client sees of the end: the alert, if there was one.
fn alert<W: Wire>(wire: &mut W) -> String {
    let error = loop {
        match wire.read(&mut [0; 4096]) {
            Ok(0) => return "close_notify".to_owned(),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    error.to_string()
}

#[test]
fn a_damaged_record_is_answered_with_its_alert_and_ends_the_connection() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        let damaged = |socket: &mut dyn Wire| {
            let mut record = vec![23, 3, 3, 0, 40];
            record.extend([0xAA; 40]);
            offer(socket, &record);
        };
        let mut mqtt = Mqtt::connect(served.tls(0, &client), V5, "damaged");
        let before = counted(TRANSPORT);
        let peer = mqtt.wire.local();
        damaged(&mut mqtt.wire.sock);
        assert!(alert(&mut mqtt.wire).contains("BadRecordMac"));
        told(peer, "a record can't be decrypted");
        more_than(TRANSPORT, before);
        // STOMP has words for everybody, which nobody could read any more.
        let mut stomp = Stomp::connect(served.tls(1, &client));
        let peer = stomp.wire.local();
        damaged(&mut stomp.wire.sock);
        assert!(alert(&mut stomp.wire).contains("BadRecordMac"));
        told(peer, "a record can't be decrypted");
        assert_eq!(crate::kit::said(&[&format!("peer={peer} "), "connection refused"]).len(), 1, "said once");
    }
}

#[test]
fn what_is_no_tls_is_named_and_refused() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    let mut hello = vec![22, 3, 1, 2, 0];
    hello.extend([0x5A; 512]);
    let mut too_long = vec![22, 3, 1, 0xFF, 0xFF];
    too_long.extend([1; 64]);
    let mqtt = connect_bytes(V5, "plain");
    let cases: [(&[u8], &str); 9] = [
        (&mqtt, "TLS: plain MQTT on a TLS port"),
        (b"CONNECT\naccept-version:1.2\nhost:/\n\n\0", "TLS: plain STOMP on a TLS port"),
        (b"GET /mqtt HTTP/1.1\r\n\r\n", "TLS: plain HTTP on a TLS port"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "a PROXY header from an address not in proxy_from"),
        (&[0x80, 46, 1, 0, 2], "SSL 2.0"),
        (&[0; 100], "something that is not TLS"),
        (&[23, 3, 3, 0, 1, 0], "something that is not TLS"),
        (&hello, "client broke TLS"),
        (&too_long, "client broke TLS"),
    ];
    for (bytes, words) in cases {
        let before = counted(TRANSPORT);
        let mut wire = served.plain(0);
        offer(&mut *wire, bytes);
        // At most an alert, in the clear.
        let answer = rest(&mut *wire);
        assert!(answer.is_empty() || answer[0] == 21, "{words}: {answer:02x?}");
        told(wire.local(), words);
        more_than(TRANSPORT, before);
    }
}

#[test]
fn tls_on_a_plain_port_is_refused() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    let client = pki.connector(TLS_VERSIONS[1], None);
    let mut wire = tls_over(served.plain(2), &client);
    let peer = wire.local();
    assert_ne!(alert(&mut wire), "close_notify");
    told(peer, "if it is TLS, connect to a port with TLS");
}

#[test]
fn connect_timeout_ends_handshakes_that_do_not_end() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "[limits]\nconnect_timeout = \"1s\"");
    let client = pki.connector(TLS_VERSIONS[1], None);
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::clone(&client), name).unwrap().write_tls(&mut hello).unwrap();
    let silent = || served.plain(0);
    let begun = |len: usize| {
        let mut wire = silent();
        wire.write_all(&hello[..len]).unwrap();
        wire
    };
    let started = Instant::now();
    // Nothing, half a ClientHello, all of it, and the handshake without a CONNECT.
    let mut shaken = ByHand::new(&served, 0, &client);
    let half_connect = shaken.record(&connect_bytes(V311, "half")[..5]);
    shaken.send(&half_connect);
    let wires: Vec<Box<dyn Wire>> =
        vec![silent(), begun(hello.len() / 2), begun(hello.len()), Box::new(shaken.socket)];
    for mut wire in wires {
        rest(&mut *wire);
        assert!(started.elapsed() >= Duration::from_millis(900));
        told(wire.local(), "connect");
    }
    // One that never stops is ended as well.
    let mut drips = silent();
    let started = Instant::now();
    for byte in &hello {
        if drips.write_all(&[*byte]).is_err() {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    rest(&mut *drips);
    assert!(started.elapsed() < Duration::from_millis(20 * hello.len() as u64 + 1_000));
    told(drips.local(), "connect");
}

#[test]
fn an_endless_handshake_is_cut_off() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    let mut wire = served.plain(0);
    // A ClientHello that says it has 16 MB, in records of 16 KiB.
    let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xFF, 0xFF, 0xFF];
    record.resize(5 + 0x4000, 3);
    for _ in 0..64 {
        offer(&mut *wire, &record);
        record[5] = 3;
    }
    rest(&mut *wire);
    told(wire.local(), "TLS:");
}
