//! Conversations over WebSocket, with and without TLS: subprotocols, kinds of messages, fragments, pings, the end.

use std::io::Write;

use noctule_core::id::Qos;
use noctule_stomp::Command;
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::kit::{
    Dripping, Got, LEVELS, Mqtt, Pki, Served, Stomp, TLS_VERSIONS, V5, V311, VERSIONS, WebWire, Wire,
    connect_bytes, plain, web_over,
};

/// Places of the listeners.
const MQTT: usize = 0;
const STOMP: usize = 1;
const BOTH: usize = 2;
const PLAIN: usize = 3;
const SECURE: usize = 4;

const SUBPROTOCOL: &str = "Sec-WebSocket-Protocol";

fn serve(pki: &Pki) -> Served {
    Served::start(&format!(
        "{}
        [store]
        durability = \"never\"
        [limits]
        max_packet_size = \"2MiB\"
        [[listener]]
        address = \"127.0.0.1:0\"
        websocket = \"/mqtt\"
        [[listener]]
        protocol = \"stomp\"
        address = \"127.0.0.1:0\"
        websocket = \"/stomp\"
        [[listener]]
        protocol = \"auto\"
        address = \"127.0.0.1:0\"
        websocket = \"/\"
        [[listener]]
        address = \"127.0.0.1:0\"
        [[listener]]
        protocol = \"auto\"
        address = \"127.0.0.1:0\"
        tls = \"plant\"
        websocket = \"/\"",
        pki.plant("")
    ))
}

fn frame(opcode: Data, payload: &[u8], last: bool) -> Message {
    Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(opcode), last))
}

#[test]
fn mqtt_is_spoken_in_binary_messages() {
    let served = serve(&Pki::new());
    for version in VERSIONS {
        for subprotocol in ["mqtt", "mqttv3.1"] {
            let web = served.web(MQTT, "/mqtt", subprotocol);
            assert_eq!(web.subprotocol.as_deref(), Some(subprotocol));
            let mut mqtt = Mqtt::connect(web, version, "web");
            for qos in LEVELS {
                mqtt.subscribe(qos, "a/b");
                mqtt.publish(qos, "a/b", b"to myself");
                assert_eq!(mqtt.take().text(), "to myself");
            }
            assert!(!mqtt.wire.got_text);
            mqtt.bye();
        }
    }
    // Many clients say nothing.
    let web = web_over(served.plain(MQTT), "/mqtt", &[]).unwrap();
    assert_eq!(web.subprotocol, None);
    Mqtt::connect(web, V5, "says nothing").bye();
}

#[test]
fn stomp_is_answered_in_the_kind_that_it_is_spoken_in() {
    let served = serve(&Pki::new());
    for text in [false, true] {
        let mut web = served.web(STOMP, "/stomp", "v12.stomp");
        assert_eq!(web.subprotocol.as_deref(), Some("v12.stomp"));
        web.text = text;
        let mut stomp = Stomp::connect(web);
        assert_eq!(stomp.wire.got_text, text);
        stomp.subscribe("/topic/kinds");
        stomp.say("/topic/kinds", "grün".as_bytes());
        assert_eq!(stomp.message(), "grün".as_bytes());
        assert_eq!(stomp.wire.got_text, text);
        // What is no text can't be sent as such; and what comes behind it is text again.
        let mut mqtt = Mqtt::connect(served.plain(PLAIN), V5, "binary");
        mqtt.publish(Qos::AtLeastOnce, "kinds", &[0xFF, 0, 0xFE]);
        assert_eq!(stomp.message(), [0xFF, 0, 0xFE]);
        assert!(!stomp.wire.got_text);
        mqtt.publish(Qos::AtLeastOnce, "kinds", b"text");
        assert_eq!(stomp.message(), b"text");
        assert_eq!(stomp.wire.got_text, text);
        stomp.bye();
    }
}

#[test]
fn a_listener_for_both_is_told_by_the_subprotocol_or_sees_by_itself() {
    let pki = Pki::new();
    let served = serve(&pki);
    let client = pki.connector(TLS_VERSIONS[1], None);
    let web = |headers: &[(&'static str, &str)]| {
        [
            web_over(served.plain(BOTH), "/", headers).unwrap(),
            web_over(Box::new(served.tls(SECURE, &client)), "/", headers).unwrap(),
        ]
    };
    for wire in web(&[(SUBPROTOCOL, "mqtt")]) {
        Mqtt::connect(wire, V5, "both").bye();
    }
    for mut wire in web(&[(SUBPROTOCOL, "v10.stomp, v12.stomp")]) {
        wire.text = true;
        Stomp::connect(wire).bye();
    }
    for wire in web(&[]) {
        Mqtt::connect(wire, V5, "unsaid").bye();
    }
    for text in [false, true] {
        for mut wire in web(&[]) {
            wire.text = text;
            Stomp::connect(wire).bye();
        }
    }
    // [MQTT-6.0.0-1] holds there too.
    for mut wire in web(&[]) {
        wire.text = true;
        wire.write_all(&connect_bytes(V5, "text")).unwrap();
        assert_eq!(crate::kit::rest(&mut wire), b"");
        assert_eq!(u16::from(wire.closed.unwrap().unwrap().code), 1003);
    }
    for mut wire in web(&[]) {
        let _ = wire.write_all(b"HELO\n");
        assert_eq!(crate::kit::rest(&mut wire), b"");
        crate::kit::told(wire.local(), "the first bytes are neither of MQTT nor of STOMP");
    }
}

/// [MQTT-6.0.0-2]: packets need not begin or end with frames.
#[test]
fn packets_and_frames_have_nothing_to_do_with_each_other() {
    let served = serve(&Pki::new());
    let mut mqtt = Mqtt::connect(served.web(MQTT, "/mqtt", "mqtt"), V5, "fragments");
    let (subscribe, id) = mqtt.subscribe_bytes(Qos::AtMostOnce, "f");
    let publish = mqtt.publish_bytes(Qos::AtMostOnce, "f", &[b'x'; 300]).0;
    let stream = [&subscribe[..], &publish, &publish, &publish].concat();
    // One message of several packets, in fragments of all sizes, with pings between.
    let mut rest = &stream[..];
    let mut opcode = Data::Binary;
    for len in [1, 0, 2, 3, 120, 126, 127, 200, 1] {
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        mqtt.wire.socket.send(frame(opcode, piece, false)).unwrap();
        mqtt.wire.socket.send(Message::Ping(vec![len as u8; len.min(125)].into())).unwrap();
        opcode = Data::Continue;
    }
    mqtt.wire.socket.send(frame(opcode, rest, true)).unwrap();
    assert_eq!(mqtt.next(), Got::SubAck(id, vec![0]));
    for _ in 0..3 {
        assert_eq!(mqtt.take().payload, [b'x'; 300]);
    }
    // One packet in several messages.
    for piece in publish.chunks(7) {
        mqtt.wire.write_all(piece).unwrap();
    }
    assert_eq!(mqtt.take().payload, [b'x'; 300]);
    mqtt.bye();
}

#[test]
fn pings_are_answered_with_their_payload_amid_the_traffic() {
    let served = serve(&Pki::new());
    let mut mqtt = Mqtt::connect(served.web(MQTT, "/mqtt", "mqtt"), V311, "pings");
    for number in 0..100_u8 {
        let (publish, id) = mqtt.publish_bytes(Qos::AtLeastOnce, "p", b"x");
        let socket = &mut mqtt.wire.socket;
        socket.send(Message::Ping(vec![number].into())).unwrap();
        socket.send(Message::binary(publish)).unwrap();
        let mut answers = [socket.read().unwrap(), socket.read().unwrap()];
        answers.sort_by_key(|answer| !answer.is_pong());
        assert_eq!(answers[0], Message::Pong(vec![number].into()));
        assert_eq!(answers[1], Message::binary(vec![0x40, 2, (id >> 8) as u8, id as u8]));
    }
    mqtt.bye();
}

/// RFC 6455, section 5.5.1 and 7.1.1.
#[test]
fn a_close_frame_is_answered_and_then_the_server_closes() {
    let pki = Pki::new();
    let served = serve(&pki);
    let client = pki.connector(TLS_VERSIONS[1], None);
    let mut watcher = Mqtt::connect(served.plain(PLAIN), V5, "watcher");
    watcher.subscribe(Qos::AtMostOnce, "gone");
    for secure in [false, true] {
        let wire: Box<dyn Wire> =
            if secure { Box::new(served.tls(SECURE, &client)) } else { served.plain(BOTH) };
        let mut mqtt = Mqtt::new(web_over(wire, "/", &[(SUBPROTOCOL, "mqtt")]).unwrap(), V5);
        let mut connect = noctule_mqtt::Connect::new(V5, "closes");
        connect.will = Some(noctule_mqtt::Will::new("gone", b"closed"));
        assert_eq!(mqtt.ask(&connect).reason, 0);
        mqtt.wire.finish();
        mqtt.is_closed();
        assert!(mqtt.wire.closed.is_some());
        // The will: MQTT knows nothing of Close frames.
        assert_eq!(watcher.take().text(), "closed");
    }
}

#[test]
fn every_end_is_said_in_a_close_frame() {
    let served = serve(&Pki::new());
    let web = || served.web(MQTT, "/mqtt", "mqtt");
    let closed = |mut mqtt: Mqtt<WebWire>| {
        mqtt.is_closed();
        assert!(mqtt.wire.closed.is_some(), "no Close frame");
    };
    // DISCONNECT of the client.
    let mut mqtt = Mqtt::connect(web(), V311, "ends");
    mqtt.raw(&[0xE0, 0]);
    closed(mqtt);
    // Refusals, with and without words of MQTT.
    let mut mqtt = Mqtt::connect(web(), V311, "ends");
    mqtt.raw(&connect_bytes(V311, "ends"));
    closed(mqtt);
    let mut mqtt = Mqtt::connect(web(), V5, "ends");
    mqtt.raw(&connect_bytes(V5, "ends"));
    assert_eq!(mqtt.next(), Got::Bye(0x82));
    closed(mqtt);
    // The broker's end.
    let (mut new, old) = (Mqtt::connect(web(), V5, "new"), Mqtt::connect(web(), V311, "old"));
    let stopping = std::thread::spawn(move || served.stop());
    assert_eq!(new.next(), Got::Bye(0x8B));
    closed(new);
    closed(old);
    stopping.join().unwrap();
}

#[test]
fn a_megabyte_goes_both_ways() {
    let pki = Pki::new();
    let served = serve(&pki);
    let large: Vec<u8> = (0..1 << 20).map(|at| (at % 253) as u8).collect();
    let mut wires: Vec<Box<dyn Wire>> = vec![served.plain(BOTH)];
    for tls in TLS_VERSIONS {
        wires.push(Box::new(served.tls(SECURE, &pki.connector(tls, None))));
    }
    for wire in wires {
        let mut mqtt = Mqtt::connect(web_over(wire, "/", &[(SUBPROTOCOL, "mqtt")]).unwrap(), V5, "large");
        mqtt.subscribe(Qos::AtLeastOnce, "large");
        for _ in 0..3 {
            mqtt.publish(Qos::AtLeastOnce, "large", &large);
            assert!(mqtt.take().payload == large);
        }
        mqtt.bye();
    }
}

#[test]
fn a_whole_connection_byte_by_byte() {
    let pki = Pki::new();
    let served = serve(&pki);
    let dripping = |place| Box::new(Dripping(plain(served.address(place))));
    let client = pki.connector(TLS_VERSIONS[1], None);
    let secure = Box::new(crate::kit::tls_over(dripping(SECURE), &client));
    // Each byte in a record of its own.
    let in_records = Box::new(Dripping(served.tls(SECURE, &client)));
    for wire in [dripping(BOTH) as Box<dyn Wire>, secure, in_records] {
        let mut mqtt = Mqtt::connect(web_over(wire, "/", &[(SUBPROTOCOL, "mqtt")]).unwrap(), V5, "drips");
        mqtt.subscribe(Qos::AtLeastOnce, "drips");
        mqtt.publish(Qos::AtLeastOnce, "drips", &[7; 130]);
        assert_eq!(mqtt.take().payload, [7; 130]);
        mqtt.bye();
    }
}

/// With frames that are half there, and messages that are half read.
#[test]
fn connections_move_between_workers_in_the_middle_of_frames() {
    let pki = Pki::new();
    let served = serve(&pki);
    let client = pki.connector(TLS_VERSIONS[1], None);
    for number in 0..24 {
        let secure = number % 2 == 1;
        let wire: Box<dyn Wire> =
            if secure { Box::new(served.tls(SECURE, &client)) } else { served.plain(BOTH) };
        let web = web_over(wire, "/", &[(SUBPROTOCOL, "mqtt")]).unwrap();
        let client_id = format!("moves-{number}");
        let mut mqtt = Mqtt::new(web, V5);
        let mut stream = connect_bytes(V5, &client_id);
        let (subscribe, _) = mqtt.subscribe_bytes(Qos::AtMostOnce, &client_id);
        stream.extend(subscribe);
        stream.extend(mqtt.publish_bytes(Qos::AtMostOnce, &client_id, &[7; 200]).0);
        // One frame; it is cut in the PUBLISH.
        let mut bytes = bytes::BytesMut::new();
        let mask = noctule_websocket::Mask([1, 2, 3, 4]);
        let role = noctule_websocket::Role::Client { mask };
        noctule_websocket::encode(role, noctule_websocket::Kind::Binary, &stream, &mut bytes);
        let (front, back) = bytes.split_at(bytes.len() - 100);
        let below = mqtt.wire.socket.get_mut();
        below.write_all(front).unwrap();
        below.flush().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(8));
        below.write_all(back).unwrap();
        below.flush().unwrap();
        assert!(matches!(mqtt.next(), Got::ConnAck(_)));
        mqtt.until(|got| matches!(got, Got::SubAck(..)).then_some(()));
        assert_eq!(mqtt.take().payload, [7; 200]);
        mqtt.ping();
        mqtt.bye();
    }
}

#[test]
fn a_stomp_client_in_text_may_send_frames_in_pieces() {
    let served = serve(&Pki::new());
    let mut web = served.web(STOMP, "/stomp", "v12.stomp");
    web.text = true;
    let mut stomp = Stomp::connect(web);
    stomp.subscribe("/topic/pieces");
    let body = "ü".repeat(50);
    let frame_bytes =
        Stomp::<WebWire>::encoded(Command::Send, &[("destination", "/topic/pieces")], body.as_bytes());
    // Cut in the middle of a character, which only fragments may be.
    let cut = frame_bytes.len() - 2 * 20 - 2;
    assert!(std::str::from_utf8(&frame_bytes[..cut]).is_err());
    stomp.wire.socket.send(frame(Data::Text, &frame_bytes[..cut], false)).unwrap();
    stomp.wire.socket.send(frame(Data::Continue, &frame_bytes[cut..], true)).unwrap();
    assert_eq!(stomp.message(), body.as_bytes());
    stomp.bye();
}
