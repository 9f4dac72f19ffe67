//! What goes with a message from one world to the other: headers and properties, bodies, expiry, retained values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use noctule_core::id::Qos;
use noctule_stomp::Command;

use crate::kit::{Frame, MQTT5, MQTT311, Served, property, tagged};
use crate::mqtt::{Got, Out, within};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;

/// Bytes of every value, NULs first and last.
fn binary() -> Vec<u8> {
    let mut body: Vec<u8> = (0..=255).cycle().take(1_024).collect();
    body.push(0);
    body
}

fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[test]
fn headers_become_user_properties_in_order_with_duplicates() {
    let served = Served::start();
    let mut reader = served.mqtt(MQTT5, "reader");
    reader.subscribe(QOS_1, "fields");
    let mut sender = served.stomp();
    let headers = [
        ("z", "1"),
        ("a", "2"),
        ("z", "3"),
        ("content-type", "text/plain"),
        ("z", "1"),
        ("colon", "a:b"),
        ("lines", "a\nb\r\\"),
        ("priority", "7"),
        ("empty", ""),
        ("é", "ü"),
    ];
    sender.say_with("/topic/fields", &headers, "body");
    let got = reader.take();
    let fields: Vec<(&str, &str)> = got.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    let users: Vec<_> =
        fields.iter().filter_map(|(name, value)| Some((name.strip_prefix("user ")?, *value))).collect();
    let own: Vec<_> = headers.into_iter().filter(|(name, _)| *name != "content-type").collect();
    assert_eq!(users, own);
    assert!(fields.contains(&("content type", "text/plain")) && fields.contains(&("payload format", "1")));
}

#[test]
fn user_properties_become_headers_in_order_with_duplicates() {
    let served = Served::start();
    let mut reader = served.stomp();
    reader.subscribe("s", "/topic/fields", "auto");
    let mut sender = served.mqtt(MQTT5, "sender");
    let own = [("z", "1"), ("a", "2"), ("z", "3"), ("colon", "a:b"), ("lines", "a\nb\r\\"), ("é", "ü")];
    let mut fields = tagged(0x03, b"text/plain");
    fields.extend(own.iter().flat_map(|(name, value)| property(name, value)));
    // What is the broker's to say cannot be forged.
    for name in ["message-id", "subscription", "destination", "redelivered", "x-delivery-count", "ack"] {
        fields.extend(property(name, "forged"));
    }
    sender.publish(&Out { fields: &fields, ..Out::new(QOS_1, "fields", "body") });
    let got = reader.message();
    let from = got.headers.iter().position(|(name, _)| name == "z").unwrap();
    let users: Vec<(&str, &str)> =
        got.headers[from..].iter().map(|(name, value)| (&**name, &**value)).collect();
    let users: Vec<_> = users.into_iter().filter(|(name, _)| *name != "content-length").collect();
    assert_eq!(users, own);
    assert_eq!(got.header("content-type"), "text/plain");
    assert!(got.headers.iter().all(|(_, value)| value != "forged"), "{got:?}");
}

#[test]
fn binary_bodies_are_untouched_both_ways_and_in_a_queue() {
    let served = Served::start();
    let (mut stomp, mut mqtt) = (served.stomp(), served.mqtt(MQTT311, "mqtt"));
    stomp.subscribe("t", "/topic/binary/+", "auto");
    mqtt.subscribe(QOS_1, "binary/stomp");
    for body in [binary(), vec![0], Vec::new(), vec![0; 100_000]] {
        stomp.ask(Command::Send, &[("destination", "/topic/binary/stomp")], &body);
        assert!(mqtt.take().payload == body);
        assert!(stomp.message().body == body);
        mqtt.publish(&Out { payload: &body, ..Out::new(QOS_1, "binary/mqtt", "") });
        let message = stomp.message();
        assert!(message.body == body);
        assert_eq!(message.header("content-length"), body.len().to_string());
        mqtt.publish(&Out { payload: &body, ..Out::new(QOS_1, "$queue/binary", "") });
    }
    let mut consumer = served.stomp();
    consumer.subscribe("q", "/queue/binary", "client");
    for body in [binary(), vec![0], Vec::new(), vec![0; 100_000]] {
        assert!(consumer.take().body == body);
    }
}

#[test]
fn retained_values_are_replayed_in_the_other_world() {
    let served = Served::start();
    let (mut stomp, mut mqtt) = (served.stomp(), served.mqtt(MQTT5, "mqtt"));
    stomp.say_with(
        "/topic/kept/stomp",
        &[("retain", "true"), ("persistent", "true"), ("k", "v")],
        "by stomp",
    );
    mqtt.publish(&Out { fields: &property("k", "v"), ..Out::retained("kept/mqtt", "by mqtt") });
    stomp.subscribe("s", "/topic/kept/#", "auto");
    mqtt.subscribe(QOS_1, "kept/#");
    let mut by_stomp = [stomp.message(), stomp.message()];
    by_stomp.sort_by(|a, b| a.header("destination").cmp(b.header("destination")));
    for (got, name) in by_stomp.iter().zip(["mqtt", "stomp"]) {
        assert_eq!(got.text(), format!("by {name}"));
        assert_eq!((got.header("retained"), got.header("k")), ("true", "v"));
    }
    let mut by_mqtt = [mqtt.take(), mqtt.take()];
    by_mqtt.sort_by(|a, b| a.topic.cmp(&b.topic));
    for (got, name) in by_mqtt.iter().zip(["mqtt", "stomp"]) {
        assert_eq!((got.text(), got.retain), (&*format!("by {name}"), true));
        assert!(got.fields.contains(&("user k".into(), "v".into())), "{got:?}");
    }
    // Live, it is a message as any other.
    mqtt.publish(&Out::retained("kept/mqtt", "anew"));
    let live = stomp.message();
    assert_eq!((live.text(), live.get("retained")), ("anew", None));
    assert_eq!(mqtt.take().text(), "anew");
    // Either world clears what the other has set.
    mqtt.publish(&Out::retained("kept/stomp", ""));
    stomp.say_with("/topic/kept/mqtt", &[("retain", "remove"), ("persistent", "true")], "");
    assert_eq!([stomp.message().body, stomp.message().body], [b"", b""]);
    within("nothing is retained", || {
        let mut late = served.mqtt(MQTT5, "late");
        late.subscribe(QOS_1, "kept/#");
        (late.next_or_pong() == Got::Pong).then_some(())
    });
}

/// The `expires` of a MESSAGE, as ms from now.
#[track_caller]
fn left_ms(message: &Frame) -> u64 {
    message.header("expires").parse::<u64>().unwrap().saturating_sub(epoch_ms())
}

#[test]
fn what_is_left_of_a_messages_life_is_told_in_both_worlds() {
    let served = Served::start();
    let (mut stomp, mut mqtt) = (served.stomp(), served.mqtt(MQTT5, "mqtt"));
    stomp.subscribe("s", "/topic/expiry/+", "auto");
    mqtt.subscribe(QOS_1, "expiry/+");
    mqtt.publish(&Out { expiry_s: Some(60), ..Out::new(QOS_1, "expiry/mqtt", "x") });
    assert!((52_000..=60_000).contains(&left_ms(&stomp.message())));
    assert!((52..=60).contains(&mqtt.take().expiry_s.unwrap()));
    let until = (epoch_ms() + 60_000).to_string();
    for header in [("expires", until.as_str()), ("expiration", "60000")] {
        stomp.say_with("/topic/expiry/stomp", &[header], "x");
        assert!((52_000..=60_000).contains(&left_ms(&stomp.message())), "{header:?}");
        assert!((52..=60).contains(&mqtt.take().expiry_s.unwrap()), "{header:?}");
    }
    // What never expires does not say so.
    stomp.say("/topic/expiry/never", "x");
    assert_eq!((stomp.message().get("expires"), mqtt.take().expiry_s), (None, None));
}

#[test]
fn a_message_grows_old_in_a_queue_and_expires_there() {
    let served = Served::start();
    let (mut stomp, mut mqtt) = (served.stomp(), served.mqtt(MQTT5, "mqtt"));
    for number in ["one", "two"] {
        stomp.say_with("/queue/old", &[("expiration", "60000")], number);
    }
    stomp.say_with("/queue/old", &[("expiration", "900")], "by stomp, for a moment");
    mqtt.publish(&Out { expiry_s: Some(1), ..Out::new(QOS_1, "$queue/old", "by mqtt, for a moment") });
    let mut first = served.stomp();
    let own = [("prefetch-count", "1"), ("x-dead-letter-routing-key", "too old")];
    first.subscribe_with("s", "/queue/old", "client-individual", &own);
    let begun = left_ms(&first.message());
    // Time is what this is about.
    std::thread::sleep(Duration::from_millis(1_300));
    mqtt.subscribe(QOS_1, "$queue/old");
    let second = mqtt.take();
    assert_eq!(second.text(), "two");
    assert!(second.expiry_s.unwrap() < 60, "{second:?}");
    assert!(begun <= 60_000);
    mqtt.ping();
    assert_eq!(mqtt.next_or_pong(), Got::Pong, "what has expired came");
    // Where it ended says why.
    let mut dead = served.stomp();
    dead.subscribe("dead", "/queue/too old", "client");
    let mut texts: Vec<_> = (0..2)
        .map(|_| {
            let letter = dead.take();
            assert_eq!(letter.header("x-first-death-reason"), "expired");
            assert!(letter.header("original-destination").ends_with("queue/old"), "{letter:?}");
            letter.text().to_owned()
        })
        .collect();
    texts.sort();
    assert_eq!(texts, ["by mqtt, for a moment", "by stomp, for a moment"]);
}

#[test]
fn what_has_expired_already_reaches_nobody_and_is_receipted() {
    let served = Served::start();
    let (mut stomp, mut mqtt) = (served.stomp(), served.mqtt(MQTT5, "mqtt"));
    stomp.subscribe("s", "/topic/late", "auto");
    mqtt.subscribe(QOS_0, "late");
    stomp.say_with("/topic/late", &[("expires", "1000")], "of 1970");
    stomp.say("/topic/late", "now");
    assert_eq!((stomp.message().text(), mqtt.take().text()), ("now", "now"));
}
