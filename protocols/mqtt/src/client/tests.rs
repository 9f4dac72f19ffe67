//! The client machine: alone against packets that a server might send, in `pair` against our own server.

mod pair;
mod world;

use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use noctule_core::id::Qos;

use super::*;
use crate::connack::ConnAck;
use crate::packet::{Packet, decode};
use crate::publish::Publish;
use crate::subscribe::SubAck;
use crate::version::Version;

fn id(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn bytes(packet: &Packet<'_>, version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    packet.encode(version, Direction::ToClient, &mut out).unwrap();
    out
}

/// What a client has written, in words.
fn written(client: &mut Client) -> Vec<String> {
    let version = client.options().version;
    let framer = Framer::new(version, Direction::ToServer, MAX_PACKET);
    let all = std::mem::take(client.output());
    let (mut rest, mut packets) = (&all[..], Vec::new());
    while let crate::Split::Frame(frame) = framer.split(rest).unwrap() {
        packets.push(match decode(version, Direction::ToServer, &frame).unwrap() {
            Packet::Publish(publish) => {
                let (dup, packet_id) = (if publish.dup { " dup" } else { "" }, publish.packet_id);
                format!("publish {} {packet_id:?}{dup}", publish.topic)
            }
            Packet::PubRel(ack) => format!("pubrel {} {:02x}", ack.packet_id, ack.reason.code()),
            Packet::PubRec(ack) => format!("pubrec {}", ack.packet_id),
            Packet::PubComp(ack) => format!("pubcomp {} {:02x}", ack.packet_id, ack.reason.code()),
            Packet::PubAck(ack) => format!("puback {}", ack.packet_id),
            Packet::Disconnect(farewell) => format!("disconnect {:02x}", farewell.reason.code()),
            Packet::PingReq => "ping".to_owned(),
            other => format!("{other:?}"),
        });
        rest = &rest[frame.len..];
    }
    assert!(rest.is_empty());
    packets
}

/// Connects as far as CONNACK.
fn welcome(client: &mut Client, ack: &ConnAck<'_>) -> Result<Vec<Event>, ClientError> {
    client.connect(0).unwrap();
    client.output().clear();
    let mut wire = BytesMut::new();
    ack.encode(client.options().version, &mut wire).unwrap();
    client.handle_bytes(0, &wire).map(|used| assert_eq!(used, wire.len()))?;
    Ok(events(client))
}

fn connected(options: Options, change: impl FnOnce(&mut ConnAck<'_>)) -> Client {
    let mut client = Client::new(options);
    let mut ack = ConnAck::new(Reason::SUCCESS);
    change(&mut ack);
    welcome(&mut client, &ack).unwrap();
    client
}

fn v5() -> Options {
    Options::new(Version::V5, "c")
}

fn events(client: &mut Client) -> Vec<Event> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

fn feed(client: &mut Client, packet: &Packet<'_>) -> Result<(), ClientError> {
    let wire = bytes(packet, client.options().version);
    client.handle_bytes(1, &wire).map(|used| assert_eq!(used, wire.len()))
}

fn at(qos: Qos) -> Outgoing {
    Outgoing::new("t", "x").at(qos)
}

fn numbered(qos: Qos, number: u16) -> Publish<'static> {
    let mut publish = Publish::new("t", b"x");
    (publish.qos, publish.packet_id) = (qos, Some(id(number)));
    publish
}

#[test]
fn a_refusal_is_an_error_with_the_servers_words() {
    let mut client = Client::new(v5());
    let mut ack = ConnAck::new(Reason::NOT_AUTHORIZED);
    ack.reason_string = Some("no\x1b[2J way");
    let error = welcome(&mut client, &ack).unwrap_err();
    assert_eq!(error.to_string(), "the server refuses the connection: 0x87 not authorized: no\\u{1b}[2J way");
    let mut client = Client::new(Options::new(Version::V311, "c"));
    let error = welcome(&mut client, &ConnAck::new(Reason::BAD_USER_NAME_OR_PASSWORD)).unwrap_err();
    assert_eq!(error.verdict().map(|verdict| verdict.reason), Some(Reason::BAD_USER_NAME_OR_PASSWORD));
    assert!(!client.is_connected());
}

#[test]
fn what_the_server_does_not_take_is_not_sent() {
    let mut client = connected(v5(), |ack| {
        ack.maximum_qos = Qos::AtLeastOnce;
        ack.retain_available = false;
        ack.maximum_packet_size = NonZeroU32::new(20);
        ack.subscription_ids_available = false;
    });
    let refused = client.publish(0, &at(Qos::ExactlyOnce)).unwrap_err();
    assert_eq!(refused.to_string(), "the server takes QoS 1 at most, not 2");
    let mut retained = at(Qos::AtMostOnce);
    retained.retain = true;
    assert_eq!(client.publish(0, &retained), Err(RequestError::RetainNotSupported));
    assert_eq!(
        client.subscribe(0, &[Subscription::new("t", Qos::AtMostOnce)], NonZeroU32::new(1), &[]),
        Err(RequestError::SubscriptionIdsNotSupported)
    );
    // 2 of header, 2 + 1 of topic, 1 of properties: 14 bytes are left.
    assert_eq!(client.publish(0, &Outgoing::new("t", vec![0; 14])), Ok(None));
    assert_eq!(
        client.publish(0, &Outgoing::new("t", vec![0; 15])),
        Err(RequestError::TooLarge { size: 21, limit: 20 })
    );
    assert_eq!(written(&mut client), ["publish t None"]);
}

#[test]
fn the_window_is_the_smaller_of_both_limits() {
    for (own, server) in [(2, 9), (9, 2)] {
        let mut client =
            connected(Options { max_inflight: id(own), ..v5() }, |ack| ack.receive_maximum = id(server));
        assert_eq!(client.publish(0, &at(Qos::AtLeastOnce)), Ok(Some(id(1))));
        assert_eq!(client.publish(0, &at(Qos::ExactlyOnce)), Ok(Some(id(2))));
        assert!(!client.has_room());
        assert_eq!(client.publish(0, &at(Qos::AtLeastOnce)), Err(RequestError::WindowFull(2)));
        assert_eq!(client.publish(0, &at(Qos::AtMostOnce)), Ok(None));
        feed(&mut client, &Packet::PubRec(Ack::new(id(2), Reason::NO_MATCHING_SUBSCRIBERS))).unwrap();
        // Until PUBCOMP it counts (section 4.9).
        assert!(!client.has_room());
        feed(&mut client, &Packet::PubComp(Ack::new(id(2), Reason::SUCCESS))).unwrap();
        let published = Event::Published {
            packet_id: id(2),
            reason: Reason::NO_MATCHING_SUBSCRIBERS,
            reason_string: None,
        };
        assert_eq!(events(&mut client), [published]);
        assert_eq!(client.publish(0, &at(Qos::AtLeastOnce)), Ok(Some(id(2))));
        feed(&mut client, &Packet::PubAck(Ack::new(id(1), Reason::QUOTA_EXCEEDED))).unwrap();
        assert!(matches!(events(&mut client)[..], [Event::Published { reason: Reason::QUOTA_EXCEEDED, .. }]));
        assert_eq!(client.unacknowledged(), 1);
    }
}

#[test]
fn a_refusing_pubrec_ends_the_exchange() {
    let mut client = connected(v5(), |_| ());
    client.publish(0, &at(Qos::ExactlyOnce)).unwrap();
    written(&mut client);
    feed(&mut client, &Packet::PubRec(Ack::new(id(1), Reason::NOT_AUTHORIZED))).unwrap();
    assert_eq!(client.unacknowledged(), 0);
    assert!(written(&mut client).is_empty(), "no PUBREL may follow [MQTT-4.3.3-4]");
}

#[test]
fn what_was_not_acknowledged_is_sent_again_in_order_and_within_the_window() {
    let mut client = connected(Options { clean_start: false, ..v5() }, |_| ());
    let publish = |client: &mut Client, topic, qos| {
        client.publish(0, &Outgoing::new(topic, "x").at(qos)).unwrap().unwrap().get()
    };
    assert_eq!(publish(&mut client, "1", Qos::AtLeastOnce), 1);
    assert_eq!(publish(&mut client, "2", Qos::ExactlyOnce), 2);
    assert_eq!(publish(&mut client, "3", Qos::ExactlyOnce), 3);
    feed(&mut client, &Packet::PubRec(Ack::new(id(2), Reason::SUCCESS))).unwrap();
    feed(&mut client, &Packet::PubAck(Ack::new(id(1), Reason::SUCCESS))).unwrap();
    events(&mut client);
    // The order is that of publishing, not of the identifiers.
    assert_eq!(publish(&mut client, "4", Qos::AtLeastOnce), 1);
    client.subscribe(0, &[Subscription::new("s", Qos::AtMostOnce)], None, &[]).unwrap();
    for _ in 0..2 {
        let ack = ConnAck { session_present: true, receive_maximum: id(2), ..ConnAck::new(Reason::SUCCESS) };
        assert_eq!(welcome(&mut client, &ack).unwrap().len(), 1);
        assert_eq!(written(&mut client), ["pubrel 2 00", "publish 3 Some(3) dup"]);
        assert_eq!(client.unacknowledged(), 3);
        assert!(!client.has_room(), "what is sent again goes first");
    }
    feed(&mut client, &Packet::PubComp(Ack::new(id(2), Reason::SUCCESS))).unwrap();
    assert_eq!(written(&mut client), ["publish 4 Some(1) dup"]);
    feed(&mut client, &Packet::PubAck(Ack::new(id(1), Reason::SUCCESS))).unwrap();
    assert!(client.has_room());
    // The SUBSCRIBE went with its connection: its answer would be an intruder, its identifier is free.
    let late = [Reason::SUCCESS];
    assert!(feed(&mut client, &Packet::SubAck(SubAck::new(id(4), &late))).is_err());
}

#[test]
fn a_lost_session_gives_the_messages_back() {
    let mut client = connected(Options { clean_start: false, ..v5() }, |_| ());
    client.publish(0, &at(Qos::AtLeastOnce)).unwrap();
    client.publish(0, &at(Qos::ExactlyOnce)).unwrap();
    feed(&mut client, &Packet::PubRec(Ack::new(id(2), Reason::SUCCESS))).unwrap();
    let seen = welcome(&mut client, &ConnAck::new(Reason::SUCCESS)).unwrap();
    assert_eq!(
        seen[1..],
        [
            Event::Returned { packet_id: id(1), message: Some(at(Qos::AtLeastOnce)) },
            Event::Returned { packet_id: id(2), message: None },
        ]
    );
    assert_eq!((written(&mut client).len(), client.unacknowledged()), (0, 0));
}

#[test]
fn inbound_qos_2_comes_once_until_it_is_released() {
    let mut client = connected(Options { clean_start: false, ..v5() }, |_| ());
    let publish = numbered(Qos::ExactlyOnce, 7);
    feed(&mut client, &Packet::Publish(publish.clone())).unwrap();
    assert_eq!(events(&mut client).len(), 1);
    let ack = ConnAck { session_present: true, ..ConnAck::new(Reason::SUCCESS) };
    welcome(&mut client, &ack).unwrap();
    let mut again = publish.clone();
    again.dup = true;
    feed(&mut client, &Packet::Publish(again)).unwrap();
    assert_eq!(events(&mut client), []);
    for reason in ["00", "92"] {
        feed(&mut client, &Packet::PubRel(Ack::new(id(7), Reason::SUCCESS))).unwrap();
        assert_eq!(written(&mut client).last(), Some(&format!("pubcomp 7 {reason}")));
    }
    feed(&mut client, &Packet::Publish(publish.clone())).unwrap();
    assert_eq!(events(&mut client).len(), 1);
    // A server that has lost the session begins anew, with the same identifiers.
    welcome(&mut client, &ConnAck::new(Reason::SUCCESS)).unwrap();
    feed(&mut client, &Packet::Publish(publish)).unwrap();
    assert_eq!(events(&mut client).len(), 1);
}

#[test]
fn more_than_the_receive_maximum_is_refused() {
    let mut client = connected(Options { receive_maximum: id(1), ..v5() }, |_| ());
    let publish = |number| numbered(Qos::ExactlyOnce, number);
    feed(&mut client, &Packet::Publish(publish(1))).unwrap();
    written(&mut client);
    let error = feed(&mut client, &Packet::Publish(publish(2))).unwrap_err();
    assert!(matches!(error, ClientError::Violation { reason: Reason::RECEIVE_MAXIMUM_EXCEEDED, .. }));
    assert_eq!(written(&mut client), ["disconnect 93"]);
    assert_eq!(client.publish(0, &at(Qos::AtMostOnce)), Err(RequestError::NotConnected));
}

#[test]
fn packets_are_acknowledged_one_by_one_where_that_is_wanted() {
    let mut client = connected(v5(), |_| ());
    let mut wire = BytesMut::new();
    for number in 1..=2 {
        numbered(Qos::AtLeastOnce, number).encode(Version::V5, &mut wire).unwrap();
    }
    let used = client.handle_packet(0, &wire).unwrap();
    assert_eq!(used, wire.len() / 2);
    assert_eq!(written(&mut client), ["puback 1"]);
    assert_eq!(client.handle_packet(0, &wire[used..wire.len() - 1]), Ok(0));
}

#[test]
fn aliases_are_resolved_and_bounded() {
    let mut client = connected(Options { topic_alias_maximum: 2, ..v5() }, |_| ());
    let alias = |topic, number| {
        let mut publish = Publish::new(topic, b"");
        publish.topic_alias = Some(id(number));
        Packet::Publish(publish)
    };
    for (topic, number) in [("a", 2), ("", 2), ("b", 2), ("", 2)] {
        feed(&mut client, &alias(topic, number)).unwrap();
    }
    let topics: Vec<_> = events(&mut client)
        .into_iter()
        .map(|event| match event {
            Event::Message(message) => message.topic.into_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(topics, ["a", "a", "b", "b"]);
    welcome(&mut client, &ConnAck::new(Reason::SUCCESS)).unwrap();
    assert!(feed(&mut client, &alias("", 2)).is_err(), "a new connection knows none of them");
    for (topic, number, reason) in [("", 1, "82"), ("c", 3, "94")] {
        let mut client = connected(Options { topic_alias_maximum: 2, ..v5() }, |_| ());
        feed(&mut client, &alias(topic, number)).unwrap_err();
        assert_eq!(written(&mut client), [format!("disconnect {reason}")]);
    }
}

#[test]
fn aliases_are_set_as_far_as_the_server_takes_them() {
    let mut client = connected(Options { aliases_out: 2, ..v5() }, |ack| ack.topic_alias_maximum = 1);
    for topic in ["a", "b", "a"] {
        client.publish(0, &Outgoing::new(topic, "")).unwrap();
    }
    assert_eq!(written(&mut client), ["publish a None", "publish b None", "publish  None"]);
    // A new connection knows none of them.
    welcome(&mut client, &ConnAck { topic_alias_maximum: 1, ..ConnAck::new(Reason::SUCCESS) }).unwrap();
    client.publish(0, &Outgoing::new("a", "")).unwrap();
    assert_eq!(written(&mut client), ["publish a None"]);
}

#[test]
fn silence_is_pinged_and_a_dead_server_given_up() {
    let options = Options { keep_alive_s: 60, answer_timeout_ms: 5_000, ..v5() };
    let mut client = connected(options, |ack| ack.server_keep_alive_s = Some(10));
    assert_eq!(client.next_wake_ms(), Some(10_000));
    client.publish(4_000, &at(Qos::AtMostOnce)).unwrap();
    // We have spoken, the server has not.
    assert_eq!(client.next_wake_ms(), Some(10_000));
    client.handle_timeout(9_999).unwrap();
    assert_eq!(written(&mut client).len(), 1);
    client.handle_timeout(10_000).unwrap();
    assert_eq!(written(&mut client), ["ping"]);
    assert_eq!(client.handle_bytes(11_000, &[0xD0, 0]), Ok(2));
    assert_eq!(client.next_wake_ms(), Some(20_000));
    client.handle_timeout(20_000).unwrap();
    assert_eq!(client.next_wake_ms(), Some(25_000));
    assert_eq!(client.handle_timeout(25_000), Err(ClientError::NoPong(5_000)));
    assert_eq!(client.next_wake_ms(), None);
}

#[test]
fn a_keep_alive_of_zero_never_pings_and_a_silent_port_is_given_up() {
    assert_eq!(connected(Options { keep_alive_s: 0, ..v5() }, |_| ()).next_wake_ms(), None);
    let mut client = Client::new(v5());
    client.connect(100).unwrap();
    assert_eq!(client.next_wake_ms(), Some(10_100));
    assert_eq!(client.handle_timeout(10_100), Err(ClientError::NoAnswer(10_000)));
}

#[test]
fn a_server_that_breaks_the_rules_is_told_so() {
    let reasons = [Reason::SUCCESS];
    let cases: [(Packet<'_>, &str); 5] = [
        (Packet::ConnAck(Box::new(ConnAck::new(Reason::SUCCESS))), "second CONNACK"),
        (Packet::PubAck(Ack::new(id(1), Reason::SUCCESS)), "no QoS 1 message"),
        (Packet::PubComp(Ack::new(id(1), Reason::SUCCESS)), "not released"),
        (Packet::SubAck(SubAck::new(id(1), &reasons)), "no SUBSCRIBE"),
        (Packet::SubAck(SubAck::new(id(2), &reasons)), "1 reasons for 2 filters"),
    ];
    for (packet, said) in cases {
        let mut client = connected(v5(), |_| ());
        client.publish(0, &at(Qos::ExactlyOnce)).unwrap();
        let filters = [Subscription::new("a", Qos::AtMostOnce), Subscription::new("b", Qos::AtMostOnce)];
        client.subscribe(0, &filters, None, &[]).unwrap();
        written(&mut client);
        let error = feed(&mut client, &packet).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(written(&mut client), ["disconnect 82"], "{error}");
    }
    let mut client = Client::new(v5());
    client.connect(0).unwrap();
    client.output().clear();
    let early = feed(&mut client, &Packet::PingResp).unwrap_err();
    assert!(early.to_string().contains("before CONNACK"));
    assert!(written(&mut client).is_empty());
}

#[test]
fn a_session_where_a_clean_start_was_asked_for_is_refused() {
    let mut client = Client::new(v5());
    let ack = ConnAck { session_present: true, ..ConnAck::new(Reason::SUCCESS) };
    assert!(matches!(welcome(&mut client, &ack), Err(ClientError::Violation { .. })));
}

#[test]
fn the_servers_good_bye_is_heard_even_while_leaving() {
    let mut client = connected(v5(), |_| ());
    client.disconnect(0, Reason::SUCCESS, None).unwrap();
    feed(&mut client, &Packet::Publish(Publish::new("t", b"late"))).unwrap();
    assert_eq!(events(&mut client), []);
    let farewell = Disconnect { reason_string: Some("too much"), ..Disconnect::new(Reason::QUOTA_EXCEEDED) };
    let error = feed(&mut client, &Packet::Disconnect(farewell)).unwrap_err();
    assert_eq!(error.to_string(), "the server ended the connection: 0x97 quota exceeded: too much");
}

#[test]
fn enhanced_authentication_goes_to_and_fro() {
    let authentication = Authentication { method: "STEPS".to_owned(), data: Some(b"one".to_vec()) };
    let mut client = Client::new(Options { authentication: Some(authentication), ..v5() });
    client.connect(0).unwrap();
    client.output().clear();
    let go_on = Packet::Auth(Auth::new(Reason::CONTINUE_AUTHENTICATION, "STEPS", Some(b"more")));
    feed(&mut client, &go_on).unwrap();
    let asked = Event::Auth { reason: Reason::CONTINUE_AUTHENTICATION, data: b"more".to_vec() };
    assert_eq!(events(&mut client), [asked]);
    client.authenticate(2_000, Some(b"two")).unwrap();
    assert!(written(&mut client)[0].contains("Reason(24)"));
    assert_eq!(client.next_wake_ms(), Some(12_000), "each step has its time");
    let mut ack = ConnAck::new(Reason::SUCCESS);
    (ack.auth_method, ack.auth_data) = (Some("STEPS"), Some(&b"proof"[..]));
    feed(&mut client, &Packet::ConnAck(Box::new(ack))).unwrap();
    match &events(&mut client)[..] {
        [Event::Connected(welcome)] => assert_eq!(welcome.auth_data.as_deref(), Some(&b"proof"[..])),
        other => panic!("{other:?}"),
    }
    // Again, on the same connection.
    client.authenticate(3_000, Some(b"one")).unwrap();
    assert!(written(&mut client)[0].contains("Reason(25)"));
    feed(&mut client, &go_on).unwrap();
    client.authenticate(3_000, Some(b"two")).unwrap();
    assert!(written(&mut client)[0].contains("Reason(24)"));
    feed(&mut client, &Packet::Auth(Auth::new(Reason::SUCCESS, "STEPS", None))).unwrap();
    assert_eq!(events(&mut client).len(), 2);
    assert!(feed(&mut client, &go_on).is_err(), "nothing is under way");
}

#[test]
fn an_auth_of_another_method_is_refused() {
    let authentication = Authentication { method: "STEPS".to_owned(), data: None };
    for authentication in [Some(authentication), None] {
        let mut client = Client::new(Options { authentication, ..v5() });
        client.connect(0).unwrap();
        let other = Packet::Auth(Auth::new(Reason::CONTINUE_AUTHENTICATION, "OTHER", None));
        assert!(matches!(feed(&mut client, &other), Err(ClientError::Violation { .. })));
    }
}

#[test]
fn all_identifiers_can_be_in_use_and_none_is_used_twice() {
    let mut client = connected(Options { max_inflight: NonZeroU16::MAX, ..v5() }, |_| ());
    for number in 1..=u16::MAX {
        assert_eq!(client.publish(0, &at(Qos::AtLeastOnce)), Ok(Some(id(number))));
    }
    assert_eq!(client.publish(0, &at(Qos::AtLeastOnce)), Err(RequestError::WindowFull(65_535)));
    let filters = [Subscription::new("a", Qos::AtMostOnce)];
    assert_eq!(client.subscribe(0, &filters, None, &[]), Err(RequestError::NoPacketId));
    // The one that has rested longest is used first.
    for number in [77, 5] {
        feed(&mut client, &Packet::PubAck(Ack::new(id(number), Reason::SUCCESS))).unwrap();
    }
    assert_eq!(client.subscribe(0, &filters, None, &[]), Ok(id(77)));
}
