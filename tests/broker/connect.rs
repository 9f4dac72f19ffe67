//! CONNECT and CONNACK: who is let in, under which name, with which terms (section 3.1, 3.2).

use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Disconnect, Packet, PacketType, Reason, Version, Will};

use crate::kit::{Got, Out, Served, V5, V31, V311, VERSIONS, Welcome, lasting};

/// CONNECT of the given level and client id, byte by byte: clean, keep alive 0, no properties.
fn connect_bytes(name: &[u8], level: u8, client_id: &str) -> Vec<u8> {
    let mut body = vec![0, name.len() as u8];
    body.extend_from_slice(name);
    body.extend_from_slice(&[level, 0x02, 0, 0]);
    if level >= 5 {
        body.push(0);
    }
    body.extend_from_slice(&[0, client_id.len() as u8]);
    body.extend_from_slice(client_id.as_bytes());
    let mut packet = vec![0x10, body.len() as u8];
    packet.extend(body);
    packet
}

fn refused(got: &Got) -> Option<u8> {
    match got {
        Got::ConnAck(welcome) if welcome.reason != 0 => {
            assert!(!welcome.session_present, "[MQTT-3.2.2-4], [MQTT-3.2.2-6]");
            Some(welcome.reason)
        }
        _ => None,
    }
}

#[test]
fn mqtt_3_1_0_1_the_first_packet_is_connect() {
    let served = Served::start();
    for first in
        [&[0xC0, 0][..], &[0x30, 3, 0, 1, b'a'], &[0x82, 6, 0, 1, 0, 1, b'a', 0], &[0xE0, 0], &[0, 0]]
    {
        let mut client = served.raw(V311);
        client.raw(first);
        client.is_closed();
    }
}

#[test]
fn mqtt_3_1_0_2_a_second_connect_ends_the_connection() {
    let served = Served::start();
    for version in VERSIONS {
        let mut client = served.client(version, "twice");
        client.connect(&Connect::new(version, "twice"));
        client.is_refused(0x82);
    }
}

#[test]
fn mqtt_3_1_2_1_another_protocol_name_gets_no_answer() {
    let served = Served::start();
    for name in [&b"MQTX"[..], b"mqtt", b"MQTTT", b"HTTP", b""] {
        let mut client = served.raw(V311);
        client.raw(&connect_bytes(name, 4, "x"));
        client.is_closed();
    }
}

#[test]
fn mqtt_3_1_2_2_another_level_is_answered_with_0x01_or_0x84() {
    let served = Served::start();
    for (name, level, version, answer) in [
        (&b"MQTT"[..], 0, V311, 0x84),
        (b"MQTT", 3, V311, 0x84),
        (b"MQIsdp", 4, V311, 0x84),
        (b"MQTT", 6, V5, 0x84),
    ] {
        let mut client = served.raw(version);
        client.raw(&connect_bytes(name, level, "x"));
        // The codec reads return code 1 of 3.1.1 as the reason that says the same.
        assert_eq!(refused(&client.next()), Some(answer), "level {level}");
        client.is_closed();
    }
}

#[test]
fn mqtt_3_1_2_2_the_return_code_of_3_1_1_is_byte_0x01() {
    let served = Served::start();
    let mut client = served.raw(V311);
    client.raw(&connect_bytes(b"MQTT", 3, "x"));
    let mut answer = [0; 4];
    std::io::Read::read_exact(&mut client.stream, &mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0x01]);
}

#[test]
fn mqtt_3_1_3_5_names_of_letters_and_digits_and_much_longer_ones_are_served() {
    let served = Served::start();
    let long = "x".repeat(1_000);
    for version in VERSIONS {
        for id in ["0123456789abcdefABCDEFG", "a b/#+$", "ß→🦇", &long] {
            served.client(version, id).ping();
        }
    }
}

#[test]
fn mqtt_3_1_3_7_an_empty_name_needs_a_clean_session_below_5() {
    let served = Served::start();
    // 3.1.1: with Clean Session an id is assigned in silence, without it 0x02 is the answer [MQTT-3.1.3-8].
    served.client(V311, "").ping();
    let mut dirty = served.raw(V311);
    dirty.raw(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x00, 0, 0, 0, 0]);
    assert_eq!(refused(&dirty.next()), Some(0x85));
    dirty.is_closed();
    // 3.1 has no empty ones at all.
    let mut old = served.raw(V31);
    old.raw(&connect_bytes(b"MQIsdp", 3, ""));
    assert_eq!(refused(&old.next()), Some(0x85));
    old.is_closed();
}

#[test]
fn mqtt_3_1_3_6_an_assigned_name_is_told_unique_and_can_be_used_again() {
    let served = Served::start();
    let mut ask = Connect::new(V5, "");
    ask.session_expiry_s = Some(60);
    let (first, welcome) = served.welcome(&ask);
    let name = welcome.assigned_client_id.expect("[MQTT-3.2.2-16]");
    let (second, other) = served.welcome(&ask);
    assert_ne!(other.assigned_client_id.unwrap(), name);
    first.bye();
    let (_again, present) = served.resume(V5, &name);
    assert!(present);
    drop(second);
    assert_eq!(served.welcome(&Connect::new(V5, "own")).1.assigned_client_id, None);
}

#[test]
fn mqtt_3_2_2_session_present_says_exactly_whether_there_was_a_session() {
    let served = Served::start();
    for version in [V311, V5] {
        let id = format!("present-{version:?}");
        let (client, present) = served.resume(version, &id);
        assert!(!present, "nothing to resume [MQTT-3.2.2-3]");
        client.bye();
        let (client, present) = served.resume(version, &id);
        assert!(present, "[MQTT-3.2.2-2]");
        client.bye();
        let (client, welcome) = served.welcome(&Connect::new(version, &id));
        assert!(!welcome.session_present, "a clean start discards it [MQTT-3.1.2-4]");
        client.bye();
        let (_client, present) = served.resume(version, &id);
        assert!(!present, "the clean session has ended with its connection");
    }
}

#[test]
fn mqtt_3_1_2_6_a_clean_session_does_not_outlive_its_connection() {
    let served = Served::start();
    for version in VERSIONS {
        let id = format!("clean-{version:?}");
        let mut client = served.client(version, &id);
        client.subscribe(Qos::AtLeastOnce, "clean/#");
        client.bye();
        let mut publisher = served.client(version, "publisher");
        publisher.say(Qos::AtLeastOnce, "clean/gone", "nobody keeps this");
        let (mut client, _) = served.resume(version, &id);
        client.subscribe(Qos::AtLeastOnce, "now");
        publisher.say(Qos::AtLeastOnce, "clean/gone", "no subscription");
        client.has_nothing_but(&mut publisher, "now");
    }
}

#[test]
fn mqtt_3_1_2_4_a_clean_start_forgets_what_was_subscribed_and_queued() {
    let served = Served::start();
    for version in VERSIONS {
        let id = format!("forgets-{version:?}");
        let (mut client, _) = served.resume(version, &id);
        client.subscribe(Qos::AtLeastOnce, "old");
        client.bye();
        let mut publisher = served.client(version, "publisher");
        publisher.say(Qos::AtLeastOnce, "old", "queued");
        let mut client = served.client(version, &id);
        client.subscribe(Qos::AtLeastOnce, "new");
        publisher.say(Qos::AtLeastOnce, "old", "not subscribed");
        client.has_nothing_but(&mut publisher, "new");
    }
}

#[test]
fn mqtt_3_1_3_the_name_belongs_to_all_versions_alike() {
    let served = Served::start();
    let (mut old, _) = served.resume(V311, "moves");
    old.subscribe(Qos::AtLeastOnce, "to/be/kept");
    old.bye();
    let (mut new, present) = served.resume(V5, "moves");
    assert!(present);
    let mut publisher = served.client(V31, "publisher");
    publisher.say(Qos::AtLeastOnce, "to/be/kept", "hello");
    assert_eq!(new.take().text(), "hello");
}

#[test]
fn a_session_that_5_0_did_not_ask_to_keep_ends_with_its_connection() {
    let served = Served::start();
    let mut connect = Connect::new(V5, "expires at once");
    connect.clean_start = false;
    served.welcome(&connect).0.bye();
    assert!(!served.welcome(&connect).1.session_present, "no Session Expiry Interval means 0");
}

#[test]
fn a_session_expires_after_its_interval_and_not_before() {
    let served = Served::start();
    let mut connect = Connect::new(V5, "short-lived");
    connect.clean_start = false;
    connect.session_expiry_s = Some(3);
    let begun = Instant::now();
    served.welcome(&connect).0.bye();
    let (client, welcome) = served.welcome(&connect);
    // Unless this machine has slept for so long.
    assert!(welcome.session_present || begun.elapsed() >= Duration::from_secs(3), "back at once");
    client.bye();
    std::thread::sleep(Duration::from_millis(3_300));
    assert!(!served.welcome(&connect).1.session_present, "[MQTT-3.1.2-23]");
}

#[test]
fn disconnect_may_change_the_expiry_but_not_from_zero() {
    let served = Served::start();
    let with = |expiry| Disconnect { session_expiry_s: Some(expiry), ..Disconnect::new(Reason::SUCCESS) };
    // Ended by choice.
    served.resume(V5, "chooses").0.bye_with(&with(0));
    assert!(!served.resume(V5, "chooses").1);
    // Prolonged by choice.
    let mut short = lasting(V5, "prolongs");
    short.session_expiry_s = Some(1);
    served.welcome(&short).0.bye_with(&with(600));
    std::thread::sleep(Duration::from_millis(1_300));
    assert!(served.resume(V5, "prolongs").1);
    // [MQTT-3.14.2-2]
    let mut none = served.client(V5, "had none");
    none.send(&Packet::Disconnect(with(5)));
    none.is_sent_away(0x82);
}

#[test]
fn the_terms_of_5_0_are_what_the_configuration_says() {
    let served = Served::with(|config| {
        config.limits.receive_maximum = 17;
        config.limits.topic_alias_max = 3;
        config.limits.max_packet_size = noctule::config::Size::from_kib(2);
    });
    let (_client, welcome) = served.welcome(&Connect::new(V5, "terms"));
    assert_eq!(
        welcome,
        Welcome {
            session_present: false,
            reason: 0,
            session_expiry_s: None,
            receive_maximum: 17,
            maximum_packet_size: Some(2_048),
            topic_alias_maximum: 3,
            assigned_client_id: None,
            server_keep_alive_s: None,
            response_information: None,
            retain_available: true,
            auth: None,
        }
    );
}

#[test]
fn user_name_and_password_come_in_every_combination_the_version_allows() {
    let served = Served::start();
    for version in VERSIONS {
        for (user, password) in [
            (Some("user"), Some(&b"secret"[..])),
            (Some(""), Some(b"")),
            (Some("user"), None),
            // Only 5.0 has a password without a user name [MQTT-3.1.2-22 of 3.1.1].
            (None, Some(b"token")),
        ] {
            if user.is_none() && !version.is_v5() {
                continue;
            }
            let mut connect = Connect::new(version, "credentials");
            (connect.user_name, connect.password) = (user, password);
            served.welcome(&connect).0.ping();
        }
    }
}

#[test]
fn mqtt_3_1_2_22_a_password_without_a_user_is_malformed_below_5() {
    let served = Served::start();
    let mut client = served.raw(V311);
    client.raw(&[0x10, 16, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x42, 0, 0, 0, 1, b'p', 0, 1, b'x']);
    client.is_closed();
}

#[test]
fn mqtt_3_1_2_3_the_reserved_flag_must_be_zero() {
    let served = Served::start();
    let mut client = served.raw(V311);
    client.raw(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x03, 0, 0, 0, 1, b'r']);
    client.is_closed();
    let mut client = served.raw(V5);
    client.raw(&[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 0x03, 0, 0, 0, 0, 1, b'r']);
    assert_eq!(refused(&client.next()), Some(0x81));
    client.is_closed();
}

#[test]
fn a_connect_that_comes_byte_by_byte_is_a_connect() {
    let served = Served::start();
    for version in VERSIONS {
        let mut client = served.raw(version);
        let mut bytes = bytes::BytesMut::new();
        let mut connect = Connect::new(version, "slowly");
        connect.will = Some(Will::new("will/topic", b"payload"));
        connect.encode(&mut bytes).unwrap();
        for byte in &bytes {
            client.raw(&[*byte]);
        }
        assert!(matches!(client.next(), Got::ConnAck(welcome) if welcome.reason == 0), "{version:?}");
    }
}

#[test]
fn mqtt_3_1_4_5_what_follows_connect_at_once_is_answered_after_connack() {
    let served = Served::start();
    for version in VERSIONS {
        // Several names, so that with several workers some of these connections move home with bytes unread.
        for number in 0..8 {
            let id = format!("eager-{number}");
            let mut client = served.raw(version);
            let mut bytes = bytes::BytesMut::new();
            Connect::new(version, &id).encode(&mut bytes).unwrap();
            bytes.extend_from_slice(&client.encoded(&Packet::PingReq));
            let publish = noctule_mqtt::Publish::new("eager", b"x");
            bytes.extend_from_slice(&client.encoded(&Packet::Publish(publish)));
            bytes.extend_from_slice(&client.encoded(&Packet::PingReq));
            client.raw(&bytes);
            assert!(matches!(client.next(), Got::ConnAck(_)));
            assert_eq!(client.next(), Got::Pong);
            assert_eq!(client.next(), Got::Pong);
        }
    }
}

#[test]
fn mqtt_3_1_4_3_a_second_connection_takes_the_session_over() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut old, _) = served.resume(version, "taken");
        old.subscribe(Qos::AtLeastOnce, "taken/over");
        let (mut new, present) = served.resume(version, "taken");
        assert_eq!(present, version != V31, "3.1 has no such flag");
        old.is_refused(0x8E);
        let mut publisher = served.client(version, "publisher");
        publisher.say(Qos::AtLeastOnce, "taken/over", "for the new one");
        assert_eq!(new.take().text(), "for the new one");
    }
}

#[test]
fn response_information_is_given_to_who_asks_and_leads_to_an_answer() {
    let served = Served::start();
    let mut connect = Connect::new(V5, "asks");
    connect.request_response_information = true;
    let (mut asker, welcome) = served.welcome(&connect);
    let prefix = welcome.response_information.expect("[MQTT-3.1.2-28]");
    assert_eq!(prefix, "$reply/asks");
    asker.subscribe(Qos::AtLeastOnce, &prefix);
    let below = format!("{prefix}/one");
    asker.subscribe(Qos::AtLeastOnce, &below);
    let mut answerer = served.client(V5, "answers");
    assert_eq!(answerer.say(Qos::AtLeastOnce, &prefix, "to you"), 0);
    assert_eq!(answerer.say(Qos::AtLeastOnce, &below, "to one of yours"), 0);
    assert_eq!(asker.texts(2), ["to you", "to one of yours"]);
    assert_eq!(served.welcome(&Connect::new(V5, "does not")).1.response_information, None);
}

#[test]
fn mqtt_3_1_2_29_without_problem_information_acknowledgements_carry_none() {
    let served = Served::start();
    let mut connect = Connect::new(V5, "terse");
    connect.request_problem_information = false;
    let (mut client, _) = served.welcome(&connect);
    // No subscriber, and a filter that can't be granted: two answers that could explain themselves.
    client.put(&Out::new(Qos::AtLeastOnce, "nobody/there", "x"));
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut client.stream, &mut answer).unwrap();
    assert_eq!(answer, [0x40, 3, 0, 1, 0x10]);
    client.ack(PacketType::PubRel, 77);
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut client.stream, &mut answer).unwrap();
    assert_eq!(answer, [0x70, 3, 0, 77, 0x92]);
}

#[test]
fn without_being_admitted_nobody_connects() {
    let served = Served::with(|config| config.listener[0].anonymous = noctule::config::Anonymous::Nobody);
    for (version, anonymous, with_user) in [(V5, 0x87, 0x86), (V311, 0x87, 0x86), (V31, 0x87, 0x86)] {
        let (mut client, answer) = served.ask(&Connect::new(version, "stranger"));
        assert_eq!(refused(&answer), Some(anonymous));
        client.is_closed();
        let mut connect = Connect::new(version, "stranger");
        (connect.user_name, connect.password) = (Some("user"), Some(&b"password"[..]));
        let (mut client, answer) = served.ask(&connect);
        assert_eq!(refused(&answer), Some(with_user));
        client.is_closed();
    }
}

#[test]
fn mqtt_3_1_4_6_a_refused_connect_is_not_followed_by_more() {
    let served = Served::start();
    let mut client = served.raw(Version::V5);
    let mut bytes = connect_bytes(b"MQTT", 6, "x");
    bytes.extend_from_slice(&[0xC0, 0, 0xC0, 0]);
    client.raw(&bytes);
    assert_eq!(refused(&client.next()), Some(0x84));
    client.is_closed();
}
