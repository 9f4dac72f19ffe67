//! Request and response between the worlds, and whose a place for answers is.

use noctule_core::id::Qos;
use noctule_core::message::Field;
use noctule_mqtt::{Direction, Framer, MAX_PACKET, Packet, Split, decode};
use std::io::Read;

use crate::kit::{MQTT5, Served, tagged};
use crate::mqtt::{Client, Got, Out};

const QOS_1: Qos = Qos::AtLeastOnce;
/// Response Topic and Correlation Data.
const RESPONSE: u8 = 0x08;
const CORRELATION: u8 = 0x09;

/// Correlation data as text, and as bytes that are none.
const CORRELATIONS: [&[u8]; 3] = [b"plain 1", b"\0\xFF\xFE\x80", b"\n:\\\r"];

/// The next PUBLISH from the socket: its payload and its correlation data, byte by byte. Nothing may be unread before.
#[track_caller]
fn correlated(client: &mut Client) -> (Vec<u8>, Option<Vec<u8>>) {
    let framer = Framer::new(client.version, Direction::ToClient, MAX_PACKET);
    let mut bytes = Vec::new();
    loop {
        if let Split::Frame(frame) = framer.split(&bytes).unwrap() {
            let Packet::Publish(publish) = decode(client.version, Direction::ToClient, &frame).unwrap()
            else {
                panic!("no PUBLISH: {bytes:02x?}")
            };
            let data = publish.fields().iter().find_map(|field| match field {
                Field::CorrelationData(data) => Some(data.to_vec()),
                _ => None,
            });
            assert_eq!(frame.len, bytes.len(), "something came with it");
            return (publish.payload.to_vec(), data);
        }
        let mut byte = [0];
        client.stream.read_exact(&mut byte).expect("nothing came");
        bytes.push(byte[0]);
    }
}

#[test]
fn an_mqtt_5_requester_is_answered_by_a_stomp_responder() {
    let served = Served::start();
    let mut responder = served.stomp();
    responder.subscribe("questions", "/topic/service/double", "auto");
    let mut requester = served.mqtt(MQTT5, "requester");
    requester.subscribe(Qos::AtMostOnce, "answers/requester");
    for correlation in CORRELATIONS {
        let fields = [tagged(RESPONSE, b"answers/requester"), tagged(CORRELATION, correlation)].concat();
        requester.publish(&Out { fields: &fields, ..Out::new(QOS_1, "service/double", "21") });
        let question = responder.message();
        assert_eq!(question.header("reply-to"), "/topic/answers/requester");
        let is_text = std::str::from_utf8(correlation).is_ok();
        assert_eq!(question.get("correlation-encoding"), (!is_text).then_some("base64"), "{question:?}");
        // A responder gives back what it got, and need not know what it means.
        let mut headers = vec![("correlation-id", question.header("correlation-id"))];
        headers
            .extend(question.get("correlation-encoding").map(|encoding| ("correlation-encoding", encoding)));
        let double = (question.text().parse::<u32>().unwrap() * 2).to_string();
        responder.say_with(question.header("reply-to"), &headers, &double);
        assert_eq!(correlated(&mut requester), (b"42".to_vec(), Some(correlation.to_vec())));
    }
}

#[test]
fn a_stomp_requester_is_answered_by_an_mqtt_5_responder() {
    let served = Served::start();
    let mut responder = served.mqtt(MQTT5, "responder");
    responder.subscribe(Qos::AtMostOnce, "service/double");
    let mut requester = served.stomp();
    requester.subscribe("answers", "/temp-queue/answers", "auto");
    for (correlation, encoding, data) in
        [("plain 1", None, &b"plain 1"[..]), ("AP_-gA", Some("base64"), b"\0\xFF\xFE\x80")]
    {
        let mut headers = vec![("reply-to", "/temp-queue/answers"), ("correlation-id", correlation)];
        headers.extend(encoding.map(|encoding| ("correlation-encoding", encoding)));
        requester.say_with("/topic/service/double", &headers, "21");
        let question = responder.take();
        let field = |name: &str| question.fields.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(field("correlation data"), String::from_utf8_lossy(data));
        let topic = field("response topic");
        assert!(topic.starts_with("$reply/") && topic.ends_with("/answers"), "{topic}");
        let fields = tagged(CORRELATION, data);
        responder.publish(&Out { fields: &fields, ..Out::new(QOS_1, &topic, "42") });
        let answer = requester.message();
        assert_eq!((answer.text(), answer.header("destination")), ("42", "/temp-queue/answers"));
        assert_eq!(
            (answer.header("correlation-id"), answer.get("correlation-encoding")),
            (correlation, encoding)
        );
    }
}

#[test]
fn stomp_answers_stomp_through_a_queue_that_keeps_the_question() {
    let served = Served::start();
    let mut requester = served.stomp();
    requester.subscribe("answers", "/temp-queue/box", "client");
    requester.say_with("/queue/service", &[("reply-to", "/temp-queue/box"), ("correlation-id", "7")], "?");
    // The responder comes later.
    let mut responder = served.stomp();
    responder.subscribe("questions", "/queue/service", "client");
    let question = responder.take();
    let reply_to = question.header("reply-to").to_owned();
    assert!(reply_to.starts_with("/reply-queue/"), "{reply_to}");
    responder.say_with(&reply_to, &[("correlation-id", question.header("correlation-id"))], "!");
    let answer = requester.message();
    assert_eq!((answer.text(), answer.header("correlation-id")), ("!", "7"));
}

#[test]
fn another_stomp_connection_cannot_read_a_temporary_queue() {
    let served = Served::start();
    let mut owner = served.stomp();
    owner.subscribe("box", "/temp-queue/box", "auto");
    let mut other = served.stomp();
    // The same name is another queue.
    other.subscribe("box", "/temp-queue/box", "auto");
    owner.say("/temp-queue/box", "to myself");
    assert_eq!(owner.message().text(), "to myself");
    // What it learns of the address is good for sending only.
    other.subscribe("questions", "/topic/questions", "auto");
    owner.say_with("/topic/questions", &[("reply-to", "/temp-queue/box")], "?");
    let reply_to = other.message().header("reply-to").to_owned();
    let opaque = reply_to.strip_prefix("/reply-queue/").unwrap().to_owned();
    for destination in [
        reply_to.clone(),
        format!("/remote-temp-queue/{opaque}"),
        format!("/topic/$reply/{opaque}"),
        "/topic/$reply/#".to_owned(),
        "/topic/$reply/+/box".to_owned(),
    ] {
        let mut spy = served.stomp();
        let frame = format!("SUBSCRIBE\nreceipt:r\nid:spy\ndestination:{destination}\n\n\0");
        spy.raw(frame.as_bytes());
        let error = spy.refused();
        assert_eq!(error.header("receipt-id"), "r");
        assert_eq!(error.header("message"), "not authorized", "{destination}");
        assert!(error.text().contains("private"), "{destination}: {error:?}");
    }
    other.say(&reply_to, "!");
    assert_eq!(owner.message().text(), "!");
    other.is_quiet();
}

/// The address is told to whoever is to answer, so that it protects nothing by being hard to guess.
#[test]
fn an_mqtt_client_cannot_read_a_temporary_queue_either() {
    let served = Served::start();
    let mut owner = served.stomp();
    owner.subscribe("box", "/temp-queue/box", "auto");
    let mut spy = served.mqtt(MQTT5, "spy");
    spy.subscribe(QOS_1, "questions");
    owner.say_with("/topic/questions", &[("reply-to", "/temp-queue/box")], "?");
    let question = spy.take();
    let topic = question.fields.iter().find(|(key, _)| key == "response topic").unwrap().1.clone();
    for filter in [topic.as_str(), "$reply/#", "$reply/+/box"] {
        let granted = spy.subscribe_to(None, &[noctule_mqtt::Subscription::new(filter, QOS_1)]);
        // Not authorized (0x87), or granted and delivered nothing.
        assert!(granted == [0x87] || granted == [1], "{filter}: {granted:02x?}");
    }
    spy.say(QOS_1, &topic, "to its owner");
    assert_eq!(owner.message().text(), "to its owner");
    assert_eq!(spy.next_or_pong(), Got::Pong, "what is the owner's alone came to another client");
}
