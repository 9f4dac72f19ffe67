//! Bad input: whoever sends it is sent away, and nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use noctule::config::Period;
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Packet, PacketType};

use crate::kit::{Got, Out, Served, V5, V311, VERSIONS, counted, more_than, within};

const QOS_1: Qos = Qos::AtLeastOnce;

/// Runs `mischief` while two well-behaved clients exchange messages, every one of which must arrive in order.
fn unnoticed(served: &Served, mischief: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pair = scope.spawn(|| {
            let mut publisher = served.client(V311, "well-behaved publisher");
            let mut subscriber = served.client(V5, "well-behaved subscriber");
            subscriber.subscribe(QOS_1, "well/behaved");
            let mut count = 0;
            while !over.load(Relaxed) || count < 20 {
                let text = count.to_string();
                publisher.say(QOS_1, "well/behaved", &text);
                assert_eq!(subscriber.take().text(), text);
                count += 1;
            }
        });
        // Told even if the mischief fails, else the pair would go on for ever.
        struct Told<'a>(&'a AtomicBool);
        impl Drop for Told<'_> {
            fn drop(&mut self) {
                self.0.store(true, Relaxed);
            }
        }
        let told = Told(&over);
        mischief();
        drop(told);
        pair.join().expect("somebody noticed");
    });
}

/// A generator that needs no crate (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let len = self.next() % most;
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn each_kind_of_bad_packet_is_answered_and_counted() {
    let served = Served::start();
    for (bytes, reason, label) in [
        // Type 0, flags of PINGREQ, a topic's length beyond the packet, text that is not UTF-8.
        (&[0x00, 0][..], 0x81, "malformed_packet"),
        (&[0xC1, 0], 0x81, "malformed_packet"),
        (&[0x30, 4, 0, 9, b'a', 0], 0x81, "malformed_packet"),
        (&[0x30, 5, 0, 2, 0xC3, 0x28, 0], 0x81, "malformed_packet"),
        // U+0000 [MQTT-1.5.4-2], a surrogate [MQTT-1.5.4-1].
        (&[0x30, 5, 0, 2, b'a', 0, 0], 0x81, "malformed_packet"),
        (&[0x30, 6, 0, 3, 0xED, 0xA0, 0x80, 0], 0x81, "malformed_packet"),
        // A length of five bytes, and one longer than it need be [MQTT-1.5.5-1].
        (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], 0x81, "malformed_packet"),
        (&[0xC0, 0x80, 0x00], 0x81, "malformed_packet"),
        // PUBLISH with DUP at QoS 0 [MQTT-3.3.1-2], an unknown property.
        (&[0x38, 4, 0, 1, b'a', 0], 0x81, "malformed_packet"),
        (&[0x30, 6, 0, 1, b'a', 2, 0x7F, 0], 0x81, "malformed_packet"),
        // More than max_packet_size.
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 0x95, "packet_too_large"),
        (&[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 33], 0x94, "topic_alias_invalid"),
    ] {
        let key = format!("noctule_refusals_total{{{label}}}");
        let before = counted(&key);
        let mut client = served.client(V5, "bad");
        client.raw(bytes);
        let got = client.next();
        assert!(got == Got::Bye(reason) || got == Got::Bye(0x82) && reason == 0x81, "{bytes:02x?}: {got:?}");
        client.is_closed();
        if got == Got::Bye(reason) {
            more_than(&key, before);
        }
        let mut old = served.client(V311, "bad");
        if bytes[0] != 0xC0 && label != "topic_alias_invalid" && bytes.get(5) != Some(&2) {
            old.raw(bytes);
            old.is_closed();
        }
    }
    let before = counted("noctule_refusals_total{first_packet_not_connect}");
    let mut client = served.raw(V311);
    client.raw(b"GET / HTTP/1.1\r\n\r\n");
    client.is_closed();
    more_than("noctule_refusals_total{first_packet_not_connect}", before);
}

#[test]
fn stray_acknowledgements_are_counted() {
    let before = counted("noctule_stray_acks_total{}");
    let served = Served::start();
    let mut client = served.client(V5, "stray");
    client.ack(PacketType::PubAck, 7);
    within("the report", || {
        // A worker reports once a second while it has something to do, and every ten when it has not.
        client.ping();
        (counted("noctule_stray_acks_total{}") > before).then_some(())
    });
}

#[test]
fn a_connection_that_is_opened_and_left_alone_is_closed() {
    let served = Served::with(|config| config.limits.connect_timeout = Period::from_secs(1));
    let before = counted("noctule_refusals_total{connect_timeout}");
    unnoticed(&served, || {
        let mut open: Vec<_> = (0..100).map(|_| served.raw(V311)).collect();
        for client in &mut open {
            client.is_closed();
        }
    });
    more_than("noctule_refusals_total{connect_timeout}", before);
}

#[test]
fn a_thousand_half_connects_hinder_nobody_and_their_memory_returns() {
    let served = Served::with(|config| config.limits.connect_timeout = Period::from_secs(2));
    served.client(V311, "warms up").bye();
    let before = resident_kib();
    unnoticed(&served, || {
        // A will of 60 KB is promised, half of it sent.
        let mut half = vec![0x10, 0xE0, 0xD4, 0x03, 0, 4];
        half.extend_from_slice(b"MQTT");
        half.resize(30_000, 4);
        for _ in 0..5 {
            let open: Vec<_> = (0..200)
                .map(|_| {
                    let mut client = served.raw(V311);
                    client.raw_or_closed(&half);
                    client
                })
                .collect();
            drop(open);
        }
    });
    // Generous, because the allocator keeps some and other tests run in this process; 30 MB were sent.
    within("the memory's return", || (resident_kib() < before * 3 + 100_000).then_some(()));
    served.client(V5, "afterwards").ping();
}

#[test]
fn a_flood_before_connect_is_not_kept() {
    let served = Served::start();
    unnoticed(&served, || {
        for first in [0x10, 0x30, 0xFF] {
            let mut stream = TcpStream::connect(served.address).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            let flood = vec![first; 1 << 16];
            let mut sent = 0;
            // The broker closes after the first bytes; a reset tells us.
            while sent < 64 << 20 {
                match stream.write(&flood) {
                    Ok(bytes) => sent += bytes,
                    Err(_) => break,
                }
            }
            assert!(sent < 64 << 20, "{first:#x}: the broker read on");
        }
    });
}

#[test]
fn a_storm_of_one_client_id_is_bounded() {
    let served = Served::start();
    let before = counted("noctule_takeovers_total{}");
    unnoticed(&served, || {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut kept = Vec::new();
                    for number in 0..60 {
                        let version = VERSIONS[number % 3];
                        let (client, answer) = served.ask(&Connect::new(version, "everybody's"));
                        assert!(matches!(answer, Got::ConnAck(_) | Got::Closed), "{answer:?}");
                        kept.push(client);
                    }
                });
            }
        });
    });
    more_than("noctule_takeovers_total{}", before);
    served.client(V5, "everybody's").ping();
}

#[test]
fn random_bytes_end_connections_and_nothing_else() {
    let served = Served::start();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    unnoticed(&served, || {
        for round in 0..1_500_u32 {
            let mut stream = TcpStream::connect(served.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
            // A third of them gets past CONNECT first.
            if round % 3 == 0 {
                let mut connect = bytes::BytesMut::new();
                Connect::new(VERSIONS[round as usize / 3 % 3], "random").encode(&mut connect).unwrap();
                let _ = stream.write_all(&connect);
            }
            let mut noise = random.bytes(200);
            // Often a type that exists, with a length that fits.
            if let [first, second, ..] = noise.as_mut_slice()
                && round % 2 == 0
            {
                *first = (*first & 0xF0) | [0, 2][usize::from(*first & 1)];
                *second &= 0x3F;
            }
            let _ = stream.write_all(&noise);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // The broker answers, closes or resets, but never keeps us.
            let mut sink = Vec::new();
            if let Err(error) = stream.read_to_end(&mut sink) {
                assert!(
                    !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
                    "{round}"
                );
            }
        }
    });
}

#[test]
fn damaged_packets_of_a_connected_client_end_it_or_mean_nothing() {
    let served = Served::start();
    let mut random = Random(42);
    unnoticed(&served, || {
        for round in 0..400 {
            let version = VERSIONS[round % 3];
            let mut client = served.client(version, "damaged");
            let mut bytes =
                client.encoded(&Packet::Publish(noctule_mqtt::Publish::new("damage/topic", b"payload")));
            let at = random.next() as usize % bytes.len();
            bytes[at] ^= 1 << (random.next() % 8);
            client.raw(&bytes);
            let _ = client.stream.shutdown(std::net::Shutdown::Write);
            while client.next() != Got::Closed {}
        }
    });
}

#[test]
fn a_client_that_asks_without_reading_is_held_back() {
    let served = Served::start();
    unnoticed(&served, || {
        let mut greedy = served.client(V311, "greedy");
        greedy.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let pings = [0xC0, 0].repeat(32_768);
        let mut sent = 0_usize;
        // Its answers fill its own buffers, then it is not read any more.
        while sent < 256 << 20 {
            match greedy.stream.write(&pings) {
                Ok(bytes) => sent += bytes,
                Err(_) => break,
            }
        }
        assert!(sent < 256 << 20, "the broker keeps answers without bound");
    });
}

#[test]
fn the_same_packet_id_again_and_again_is_one_message() {
    let served = Served::start();
    let mut subscriber = served.client(V311, "subscriber");
    subscriber.subscribe(Qos::ExactlyOnce, "reuse");
    let mut publisher = served.client(V311, "publisher");
    for _ in 0..500 {
        publisher.put(&Out { packet_id: 1, dup: true, ..Out::new(Qos::ExactlyOnce, "reuse", "x") });
    }
    for _ in 0..500 {
        assert_eq!(publisher.next(), Got::PubRec(1, 0));
    }
    publisher.ack(PacketType::PubRel, 1);
    assert_eq!(publisher.next(), Got::PubComp(1, 0));
    assert_eq!(subscriber.take().text(), "x");
    subscriber.has_nothing_but(&mut publisher, "reuse");
}
