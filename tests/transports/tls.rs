//! Conversations over TLS: every version of every protocol, large and many messages, readers that lag.

use noctule_core::id::Qos;

use crate::kit::{LEVELS, Mqtt, Pki, Served, Stomp, TLS_13, TLS_VERSIONS, V5, V311, VERSIONS, Wire};

/// Places of the listeners.
const MQTT: usize = 0;
const STOMP: usize = 1;
const PLAIN: usize = 2;

#[test]
fn every_version_of_mqtt_is_spoken_over_every_version_of_tls() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        for version in VERSIONS {
            let mut subscriber = Mqtt::connect(served.tls(MQTT, &client), version, "subscriber");
            assert_eq!(subscriber.wire.conn.protocol_version(), Some(tls.version));
            let mut publisher = Mqtt::connect(served.tls(MQTT, &client), version, "publisher");
            for qos in LEVELS {
                subscriber.subscribe(qos, "a/+");
                publisher.publish(qos, "a/b", b"over TLS");
                let delivered = subscriber.take();
                assert_eq!((delivered.payload.as_slice(), delivered.qos), (&b"over TLS"[..], qos));
            }
            publisher.bye();
            subscriber.bye();
        }
    }
}

#[test]
fn stomp_and_mqtt_meet_over_tls() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        let mut stomp = Stomp::connect(served.tls(STOMP, &client));
        let mut mqtt = Mqtt::connect(served.tls(MQTT, &client), V5, "meets");
        stomp.subscribe("/topic/to/stomp");
        mqtt.subscribe(Qos::AtLeastOnce, "to/mqtt");
        mqtt.publish(Qos::AtLeastOnce, "to/stomp", b"one way");
        assert_eq!(stomp.message(), b"one way");
        stomp.say("/topic/to/mqtt", b"and the other");
        assert_eq!(mqtt.take().payload, b"and the other");
        mqtt.bye();
        stomp.bye();
    }
}

/// Bytes that no layer can take for others.
fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31 + at / 251 + salt) % 256) as u8).collect()
}

#[test]
fn a_megabyte_goes_both_ways() {
    let pki = Pki::new();
    let served =
        Served::behind_tls(&pki, "[limits]\nmax_packet_size = \"2MiB\"\n[stomp]\nmax_body = \"2MiB\"");
    let large = pattern(1 << 20, 1);
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        let mut stomp = Stomp::connect(served.tls(STOMP, &client));
        let mut mqtt = Mqtt::connect(served.tls(MQTT, &client), V311, "large");
        for round in 0..3 {
            stomp.subscribe(&format!("/topic/large/{round}"));
            mqtt.publish(Qos::AtLeastOnce, &format!("large/{round}"), &large);
            assert!(stomp.message() == large, "from MQTT to STOMP");
        }
        mqtt.subscribe(Qos::AtLeastOnce, "huge");
        stomp.say("/topic/huge", &large);
        assert!(mqtt.take().payload == large, "from STOMP to MQTT");
        mqtt.bye();
        stomp.bye();
    }
}

#[test]
fn many_small_messages_keep_their_order() {
    const COUNT: u32 = 5_000;
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "[limits]\nmax_queued_messages = 10000");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        let mut subscriber = Mqtt::connect(served.tls(MQTT, &client), V5, "reads");
        subscriber.subscribe(Qos::AtLeastOnce, "many");
        let mut publisher = Mqtt::connect(served.tls(MQTT, &client), V5, "writes");
        let writer = std::thread::spawn(move || {
            // Fewer at a time than Receive Maximum, and several in one record.
            for batch in 0..COUNT / 10 {
                let packets = (0..10).map(|at| {
                    let number = (batch * 10 + at).to_string();
                    publisher.publish_bytes(Qos::AtLeastOnce, "many", number.as_bytes()).0
                });
                let record: Vec<u8> = packets.flatten().collect();
                publisher.raw(&record);
                for _ in 0..10 {
                    let got = publisher.next();
                    assert!(matches!(got, crate::kit::Got::PubAck(_, 0)), "{got:?}");
                }
            }
            publisher.bye();
        });
        for number in 0..COUNT {
            assert_eq!(subscriber.take().text(), number.to_string());
        }
        writer.join().unwrap();
        subscriber.bye();
    }
}

#[test]
fn a_reader_that_lags_gets_everything_in_the_end() {
    const COUNT: usize = 200;
    let pki = Pki::new();
    let served =
        Served::behind_tls(&pki, "[limits]\nmax_queued_messages = 1000\nmax_queued_bytes = \"64MiB\"");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        let mut subscriber = Mqtt::connect(served.tls(MQTT, &client), V311, "lags");
        subscriber.subscribe(Qos::AtLeastOnce, "bulk");
        let mut publisher = Mqtt::connect(served.plain(PLAIN), V311, "bulk");
        for number in 0..COUNT {
            publisher.publish(Qos::AtLeastOnce, "bulk", &pattern(64 * 1024, number));
        }
        // Some 13 MB wait: far more than sockets and budgets hold.
        for number in 0..COUNT {
            assert!(subscriber.take().payload == pattern(64 * 1024, number), "message {number}");
        }
        subscriber.ping();
        publisher.bye();
        subscriber.bye();
    }
}

#[test]
fn a_session_is_resumed_by_a_ticket() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let mut client = (*pki.connector(tls, None)).clone();
        client.resumption = rustls::client::Resumption::default();
        let client = std::sync::Arc::new(client);
        let kinds: Vec<_> = (0..2)
            .map(|_| {
                let mut mqtt = Mqtt::connect(served.tls(MQTT, &client), V5, "again");
                mqtt.ping();
                let kind = mqtt.wire.conn.handshake_kind();
                mqtt.bye();
                kind
            })
            .collect();
        assert_eq!(
            kinds,
            [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)],
            "{tls:?}"
        );
    }
}

#[test]
fn only_the_newer_version_where_the_older_is_not_allowed() {
    let pki = Pki::new();
    let served = Served::start(&format!(
        "{}[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"plant\"",
        pki.plant("min_version = \"1.3\"")
    ));
    Mqtt::connect(served.tls(0, &pki.connector(TLS_13, None)), V5, "new").bye();
    let mut old = served.tls(0, &pki.connector(TLS_VERSIONS[0], None));
    let peer = old.local();
    let refused = std::io::Read::read(&mut old, &mut [0]).unwrap_err();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    crate::kit::told(peer, "client offered only TLS 1.2 and TLS 1.3 is wanted");
}
