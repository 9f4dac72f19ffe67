//! Every limit on connections, packets, topics and terms, at its edge and one past it. Queues have a room of their own.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use noctule::config::{Config, Period, Size};
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Subscription, Will};

use crate::kit::{Client, Got, Out, Served, V5, V31, V311, VERSIONS, lasting, within};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;

fn limited(change: impl FnOnce(&mut noctule::config::Limits)) -> Served {
    Served::with(|config: &mut Config| change(&mut config.limits))
}

/// Whether the broker leaves a new connection open: it answers CONNECT, or closes without a word.
fn admitted(address: SocketAddr, client_id: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(crate::kit::WAIT)).unwrap();
    let mut bytes = bytes::BytesMut::new();
    Connect::new(V311, client_id).encode(&mut bytes).unwrap();
    let _ = std::io::Write::write_all(&mut stream, &bytes);
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).ok().map(|()| stream)
}

#[test]
fn max_packet_size_bounds_what_clients_send() {
    let served = limited(|limits| limits.max_packet_size = Size::from_bytes(1_024));
    for version in VERSIONS {
        let mut client = served.client(version, "large");
        // Header 3, topic 3, and in 5.0 the empty properties.
        let room = 1_024 - 6 - usize::from(version.is_v5());
        let payload = vec![b'x'; room + 1];
        client.put(&Out { payload: &payload[..room], ..Out::new(QOS_0, "t", "") });
        client.ping();
        let whole = client.encoded(&noctule_mqtt::Packet::Publish(noctule_mqtt::Publish::new("t", &payload)));
        assert_eq!(whole.len(), 1_025);
        // Refused by its header, before there is a body.
        client.raw(&whole[..3]);
        client.is_refused(0x95);
    }
}

#[test]
fn max_connect_size_bounds_the_first_packet() {
    let served = limited(|limits| limits.max_connect_size = Size::from_bytes(256));
    for version in VERSIONS {
        let sized = |bytes: usize| {
            let mut connect = bytes::BytesMut::new();
            let payload = vec![b'x'; bytes - 20];
            let mut request = Connect::new(version, "a");
            request.will = Some(Will::new("w", &payload));
            request.encode(&mut connect).unwrap();
            connect
        };
        let base = sized(256).len();
        let (edge, past) = (sized(256 - (base - 256)), sized(257 - (base - 256)));
        assert_eq!((edge.len(), past.len()), (256, 257));
        let mut client = served.raw(version);
        client.raw(&edge);
        assert!(matches!(client.next(), Got::ConnAck(_)));
        let mut client = served.raw(version);
        client.raw_or_closed(&past);
        // Its version is not known yet, so there is nothing to say.
        client.is_closed();
    }
    // A smaller max_packet_size wins.
    let served = limited(|limits| limits.max_packet_size = Size::from_bytes(1_024));
    let mut client = served.raw(V311);
    client.raw(&[0x10, 0x81, 0x08]);
    client.is_closed();
}

#[test]
fn connect_timeout_ends_connections_that_do_not_connect() {
    let served = limited(|limits| limits.connect_timeout = Period::from_secs(1));
    let begun = Instant::now();
    let mut silent = served.raw(V311);
    let mut half = served.raw(V311);
    half.raw(&[0x10, 30, 0, 4, b'M']);
    let mut whole = served.client(V311, "in time");
    silent.is_closed();
    half.is_closed();
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
    whole.ping();
}

#[test]
fn max_connections_bounds_all_of_them() {
    let served = limited(|limits| limits.max_connections = 3);
    let mut open: Vec<_> = (0..3)
        .map(|number| admitted(served.address, &number.to_string()).expect("below the limit"))
        .collect();
    assert!(admitted(served.address, "one too many").is_none());
    // A place is given back when its connection ends, however it does.
    drop(open.pop());
    open.push(within("a place", || admitted(served.address, "instead")));
    assert!(admitted(served.address, "one too many").is_none());
    // Takeovers and moves between workers count nothing twice.
    drop(open);
    within("all places", || {
        let again: Vec<_> =
            (0..3).filter_map(|number| admitted(served.address, &format!("again {number}"))).collect();
        (again.len() == 3).then_some(())
    });
}

#[test]
fn max_connections_per_address_leaves_room_for_others() {
    let served = limited(|limits| limits.max_connections_per_address = 2);
    let _open: Vec<_> = (0..2)
        .map(|number| admitted(served.address, &number.to_string()).expect("below the limit"))
        .collect();
    assert!(admitted(served.address, "one too many").is_none());
    // The whole of 127.0.0.0/8 is this machine.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&served.address.into()).unwrap();
    let mut other = TcpStream::from(socket);
    other.set_read_timeout(Some(crate::kit::WAIT)).unwrap();
    let mut bytes = bytes::BytesMut::new();
    Connect::new(V311, "other").encode(&mut bytes).unwrap();
    std::io::Write::write_all(&mut other, &bytes).unwrap();
    other.read_exact(&mut [0; 4]).expect("another address has places of its own");
}

#[test]
fn max_topic_bytes_and_levels_bound_names() {
    let served = limited(|limits| (limits.max_topic_bytes, limits.max_topic_levels) = (20, 3));
    for version in VERSIONS {
        let mut client = served.client(version, "names");
        for edge in ["12345678901234567890", "a/b/c"] {
            assert_ne!(client.say(QOS_1, edge, "x"), 0x90);
        }
        for past in ["123456789012345678901", "a/b/c/d"] {
            let mut client = served.client(version, "past");
            client.put(&Out::new(QOS_1, past, "x"));
            client.is_refused(0x90);
            let mut connect = Connect::new(version, "wills");
            connect.will = Some(Will::new(past, b"x"));
            let (mut client, answer) = served.ask(&connect);
            match answer {
                Got::ConnAck(welcome) => {
                    assert_eq!(welcome.reason, if version.is_v5() { 0x90 } else { 0x87 });
                }
                other => panic!("{other:?}"),
            }
            client.is_closed();
        }
    }
}

#[test]
fn max_topic_bytes_and_levels_bound_filters() {
    let served = limited(|limits| (limits.max_topic_bytes, limits.max_topic_levels) = (20, 3));
    for (version, refused) in [(V31, 0x80), (V311, 0x80), (V5, 0x8F)] {
        let mut client = served.client(version, "filters");
        for (filter, code) in [
            ("12345678901234567890", 1),
            ("123456789012345678901", refused),
            ("+/+/#", 1),
            ("+/+/+/#", refused),
            ("a/b/c", 1),
        ] {
            if (version, code) == (V31, 0x80) {
                // 3.1 has no code for a refusal; whatever comes, it is an answer and no grant of a subscription.
                continue;
            }
            assert_eq!(client.subscribe_to(None, &[Subscription::new(filter, QOS_1)]), [code], "{filter}");
        }
    }
}

#[test]
fn max_subscriptions_bounds_one_client() {
    let served = limited(|limits| limits.max_subscriptions = 2);
    for (version, refused) in [(V311, 0x80), (V5, 0x97)] {
        let mut client = served.client(version, "many");
        let wishes = ["a", "b", "c"].map(|filter| Subscription::new(filter, QOS_0));
        assert_eq!(client.subscribe_to(None, &wishes), [0, 0, refused]);
        // The same again is no further one, and a place that is given back can be had.
        assert_eq!(client.subscribe_to(None, &[Subscription::new("a", QOS_1)]), [1]);
        client.unsubscribe(&["b"]);
        assert_eq!(client.subscribe_to(None, &[Subscription::new("c", QOS_0)]), [0]);
        assert_eq!(client.subscribe_to(None, &[Subscription::new("$share/g/d", QOS_0)]), [refused]);
        // Another client has its own.
        served.client(version, "other").subscribe(QOS_0, "d");
    }
}

#[test]
fn max_inflight_bounds_what_a_client_is_sent() {
    let served = limited(|limits| limits.max_inflight = 4);
    for version in VERSIONS {
        let mut publisher = served.client(version, "publisher");
        let mut slow = served.client(version, "slow");
        slow.subscribe(QOS_1, "inflight");
        for number in 0..6 {
            publisher.say(QOS_1, "inflight", &number.to_string());
        }
        let ids: Vec<_> = (0..4).map(|_| slow.receive().packet_id).collect();
        assert_eq!(slow.next_or_pong(), Got::Pong, "a fifth");
        slow.ack(noctule_mqtt::PacketType::PubAck, ids[1]);
        assert_eq!(slow.receive().text(), "4");
        assert_eq!(slow.next_or_pong(), Got::Pong, "a sixth");
    }
}

#[test]
fn max_retained_messages_bounds_their_number() {
    let served = limited(|limits| limits.max_retained_messages = 2);
    let mut client = served.client(V5, "client");
    for topic in ["r/a", "r/b", "r/c"] {
        client.publish(&Out::retained(topic, "x"));
    }
    // An old topic may have a new message, and one that is cleared makes room.
    client.publish(&Out::retained("r/a", "y"));
    assert_eq!(retained(&served), ["r/a y", "r/b x"]);
    client.publish(&Out::retained("r/b", ""));
    client.publish(&Out::retained("r/c", "z"));
    assert_eq!(retained(&served), ["r/a y", "r/c z"]);
}

fn retained(served: &Served) -> Vec<String> {
    let mut reader = served.client(V311, "reader");
    reader.subscribe(QOS_1, "r/#");
    let mut found = Vec::new();
    while let Got::Publish(got) = reader.next_or_pong() {
        found.push(format!("{} {}", got.topic, got.text()));
    }
    found.sort();
    found
}

#[test]
fn max_retained_bytes_bounds_their_size() {
    let served = limited(|limits| limits.max_retained_bytes = Size::from_bytes(10_000));
    let mut client = served.client(V5, "client");
    client.publish(&Out::retained("r/small", "x"));
    let large = "y".repeat(9_900);
    client.publish(&Out::retained("r/large", &large));
    // What does not fit is delivered all the same, but not kept.
    assert_eq!(retained(&served), ["r/small x"]);
    let fits = "y".repeat(8_000);
    client.publish(&Out::retained("r/large", &fits));
    assert_eq!(retained(&served).len(), 2);
}

#[test]
fn without_retained_messages_5_0_is_told_and_who_sends_one_is_refused() {
    let served = limited(|limits| limits.max_retained_messages = 0);
    let (mut client, welcome) = served.welcome(&Connect::new(V5, "client"));
    assert!(!welcome.retain_available, "[MQTT-3.2.2-13]");
    client.put(&Out::retained("r", "x"));
    client.is_sent_away(0x9A);
    let mut old = served.client(V311, "old");
    old.put(&Out::retained("r", "x"));
    old.is_closed();
    let mut connect = Connect::new(V5, "will");
    let mut will = Will::new("w", b"x");
    will.retain = true;
    connect.will = Some(will);
    assert!(matches!(served.ask(&connect).1, Got::ConnAck(welcome) if welcome.reason == 0x9A));
}

#[test]
fn max_user_properties_bounds_each_packet() {
    let served = limited(|limits| limits.max_user_properties = 2);
    let one = [0x26, 0, 1, b'k', 0, 1, b'v'];
    let mut client = served.client(V5, "publisher");
    client.say(QOS_1, "t", "x");
    let (edge, past) = (one.repeat(2), one.repeat(3));
    client.publish(&Out { fields: &edge, ..Out::new(QOS_1, "t", "x") });
    client.put(&Out { fields: &past, ..Out::new(QOS_1, "t", "x") });
    client.is_sent_away(0x97);
    for (count, refused) in [(2, false), (3, true)] {
        let properties = vec![("k", "v"); count];
        let mut connect = Connect::new(V5, "connects");
        connect.user_properties = noctule_mqtt::UserProperties::Given(&properties);
        let (_client, answer) = served.ask(&connect);
        assert!(matches!(answer, Got::ConnAck(welcome) if (welcome.reason == 0x97) == refused), "{count}");
    }
}

#[test]
fn max_keep_alive_is_told_to_who_asks_for_more() {
    let served = limited(|limits| limits.max_keep_alive = Period::from_secs(30));
    for (asked, told) in [(29, None), (30, None), (31, Some(30)), (0, Some(30)), (u16::MAX, Some(30))] {
        let mut connect = Connect::new(V5, "keeps");
        connect.keep_alive_s = asked;
        assert_eq!(served.welcome(&connect).1.server_keep_alive_s, told, "{asked}");
    }
}

#[test]
fn a_lowered_keep_alive_is_the_one_in_force() {
    let served = limited(|limits| limits.max_keep_alive = Period::from_secs(1));
    let mut connect = Connect::new(V5, "lowered");
    connect.keep_alive_s = 600;
    served.welcome(&connect).0.is_sent_away(0x8D);
}

#[test]
fn max_session_expiry_is_told_to_who_asks_for_more() {
    let served = limited(|limits| limits.max_session_expiry = Period::from_secs(60));
    for (asked, told) in [(0, None), (60, None), (61, Some(60)), (u32::MAX, Some(60))] {
        let mut connect = Connect::new(V5, "expires");
        connect.session_expiry_s = Some(asked);
        assert_eq!(served.welcome(&connect).1.session_expiry_s, told, "{asked}");
    }
}

#[test]
fn max_session_expiry_ends_sessions_of_3_1_1_and_long_ones_of_5_0() {
    let served = limited(|limits| limits.max_session_expiry = Period::from_secs(1));
    served.resume(V311, "old").0.bye();
    let mut connect = lasting(V5, "new");
    connect.session_expiry_s = Some(u32::MAX);
    served.welcome(&connect).0.bye();
    std::thread::sleep(Duration::from_millis(1_300));
    assert!(!served.resume(V311, "old").1);
    assert!(!served.resume(V5, "new").1);
}

#[test]
fn without_session_expiry_no_session_outlives_its_connection() {
    let served = limited(|limits| limits.max_session_expiry = Period::from_secs(0));
    for version in [V311, V5] {
        served.resume(version, "brief").0.bye();
        assert!(!served.resume(version, "brief").1);
    }
}

#[test]
fn topic_alias_max_0_offers_none() {
    let served = limited(|limits| limits.topic_alias_max = 0);
    let (mut client, welcome) = served.welcome(&Connect::new(V5, "none"));
    assert_eq!(welcome.topic_alias_maximum, 0);
    client.put(&Out { alias: 1, ..Out::new(QOS_0, "t", "x") });
    client.is_sent_away(0x94);
}

#[test]
fn out_buffer_bounds_what_waits_for_a_socket_and_costs_only_qos_0() {
    let served = Served::with(|config| {
        config.limits.out_buffer = Size::from_kib(4);
        config.limits.max_queued_messages = 50;
    });
    let mut publisher: Client = served.client(V311, "publisher");
    let (mut slow, _) = served.resume(V311, "slow");
    slow.subscribe(QOS_1, "out/#");
    let payload = vec![b'x'; 50_000];
    for _ in 0..300 {
        publisher.put(&Out { payload: &payload, ..Out::new(QOS_0, "out/0", "") });
    }
    for number in 0..20 {
        publisher.say(QOS_1, "out/1", &number.to_string());
    }
    let mut numbers = Vec::new();
    let mut plain = 0;
    while numbers.len() < 20 {
        let got = slow.take();
        match got.qos {
            Qos::AtMostOnce => plain += 1,
            Qos::AtLeastOnce | Qos::ExactlyOnce => numbers.push(got.text().to_owned()),
        }
    }
    assert_eq!(numbers, (0..20).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    assert!(plain < 300, "15 MB for a client that did not read");
}
