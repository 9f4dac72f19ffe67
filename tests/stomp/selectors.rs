//! Conditions over headers and JSON bodies, wherever messages are chosen for a subscriber.

use noctule_core::id::Qos;
use noctule_mqtt::{Packet, Subscribe, Subscription, Subscriptions, UserProperties};

use crate::kit::{MQTT5, Served, Stomp, property};
use crate::mqtt::{Client, Got, Out};

const QOS_1: Qos = Qos::AtLeastOnce;
const HOT: &str = "JSON('$.temp') > 30";

/// SENDs ten readings, of which three are hot.
#[track_caller]
fn send_readings(sender: &mut Stomp, destination: &str) {
    for temp in 24..=33 {
        sender.say_with(destination, &[("persistent", "true")], &reading(temp));
    }
}

fn reading(temp: u32) -> String {
    format!("{{\"unit\":\"C\",\"temp\":{temp}}}")
}

fn hot() -> Vec<String> {
    (31..=33).map(reading).collect()
}

/// SUBSCRIBEs over MQTT 5 with a selector in a user property; the reason code.
#[track_caller]
fn subscribe_selecting(client: &mut Client, filter: &str, selector: &str) -> u8 {
    let packet_id = std::num::NonZeroU16::new(60_001).unwrap();
    client.send(&Packet::Subscribe(Subscribe {
        packet_id,
        subscription_id: None,
        user_properties: UserProperties::Given(&[("selector", selector)]),
        subscriptions: Subscriptions::Given(&[Subscription::new(filter, QOS_1)]),
    }));
    client.until(|got| match got {
        Got::SubAck(id, codes) if *id == packet_id.get() => Some(codes[0]),
        _ => None,
    })
}

#[test]
fn on_a_topic_three_of_ten_come() {
    let served = Served::start();
    let mut reader = served.stomp();
    reader.subscribe_with("s", "/topic/readings", "auto", &[("selector", HOT)]);
    reader.subscribe("all", "/topic/last", "auto");
    let mut sender = served.stomp();
    send_readings(&mut sender, "/topic/readings");
    sender.say("/topic/last", "the last");
    assert_eq!(reader.texts(3), hot());
    assert_eq!(reader.message().text(), "the last");
}

#[test]
fn on_a_queue_three_of_ten_come_and_the_others_wait() {
    let served = Served::start();
    let mut sender = served.stomp();
    // Some wait when the consumer comes, some come when it is there.
    for temp in 24..=31 {
        sender.say("/queue/readings", &reading(temp));
    }
    let mut picky = served.stomp();
    picky.subscribe_with("s", "/queue/readings", "client", &[("selector", HOT)]);
    for temp in 32..=33 {
        sender.say("/queue/readings", &reading(temp));
    }
    let got: Vec<_> = (0..3).map(|_| picky.take().text().to_owned()).collect();
    assert_eq!(got, hot());
    // The others are there for whoever wants them, in their order.
    let mut other = served.stomp();
    other.subscribe("s", "/queue/readings", "client");
    let rest: Vec<_> = (0..7).map(|_| other.take().text().to_owned()).collect();
    assert_eq!(rest, (24..=30).map(reading).collect::<Vec<_>>());
    picky.is_quiet();
}

#[test]
fn over_mqtt_5_the_selector_is_a_user_property() {
    let served = Served::start();
    let mut reader = served.mqtt(MQTT5, "reader");
    assert_eq!(subscribe_selecting(&mut reader, "readings", HOT), 1);
    reader.subscribe(QOS_1, "last");
    let mut sender = served.stomp();
    send_readings(&mut sender, "/topic/readings");
    sender.say("/topic/last", "the last");
    assert_eq!(reader.texts(3), hot());
    assert_eq!(reader.take().text(), "the last");
}

#[test]
fn an_mqtt_consumer_of_a_queue_selects_too() {
    let served = Served::start();
    let mut reader = served.mqtt(MQTT5, "reader");
    assert_eq!(subscribe_selecting(&mut reader, "$queue/readings", HOT), 1);
    let mut sender = served.stomp();
    send_readings(&mut sender, "/queue/readings");
    assert_eq!(reader.texts(3), hot());
    let mut other = served.stomp();
    other.subscribe("s", "/queue/readings", "client");
    let rest: Vec<_> = (0..7).map(|_| other.take().text().to_owned()).collect();
    assert_eq!(rest, (24..=30).map(reading).collect::<Vec<_>>());
}

#[test]
fn in_a_shared_subscription_each_member_selects_for_itself() {
    let served = Served::start();
    let mut hot_member = served.mqtt(MQTT5, "hot");
    assert_eq!(subscribe_selecting(&mut hot_member, "$share/crew/readings", HOT), 1);
    let mut cold_member = served.stomp();
    let headers = [("x-queue-name", "crew"), ("selector", "JSON('$.temp') < 28")];
    cold_member.subscribe_with("s", "/topic/readings", "client", &headers);
    let mut sender = served.stomp();
    send_readings(&mut sender, "/topic/readings");
    assert_eq!(hot_member.texts(3), hot());
    let cold: Vec<_> = (0..4).map(|_| cold_member.take().text().to_owned()).collect();
    assert_eq!(cold, (24..28).map(reading).collect::<Vec<_>>());
    // What nobody in the group wants is gone, not kept for the next.
    hot_member.ping();
    assert_eq!(hot_member.next_or_pong(), Got::Pong);
    cold_member.is_quiet();
}

#[test]
fn headers_and_user_properties_are_one_to_a_selector() {
    let served = Served::start();
    let mut reader = served.stomp();
    let selector = [("selector", "level > 3 AND site LIKE 'plant-%'")];
    reader.subscribe_with("s", "/topic/levels", "auto", &selector);
    let mut mqtt = served.mqtt(MQTT5, "sender");
    let mut stomp = served.stomp();
    let mut expected = Vec::new();
    for (level, site) in [("4", "plant-1"), ("3", "plant-1"), ("12", "office"), ("12", "plant-2")] {
        let fields = [property("level", level), property("site", site)].concat();
        let (by_mqtt, by_stomp) = (format!("mqtt {level} {site}"), format!("stomp {level} {site}"));
        mqtt.publish(&Out { fields: &fields, ..Out::new(QOS_1, "levels", &by_mqtt) });
        stomp.say_with("/topic/levels", &[("level", level), ("site", site)], &by_stomp);
        if matches!((level, site), ("4" | "12", "plant-1" | "plant-2")) {
            expected.extend([by_mqtt, by_stomp]);
        }
    }
    let mut got = reader.texts(expected.len());
    // Two senders have no order between them.
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
}

#[test]
fn a_selector_that_is_none_is_refused_over_mqtt_with_its_place() {
    let served = Served::start();
    let mut reader = served.mqtt(MQTT5, "reader");
    let code = subscribe_selecting(&mut reader, "readings", "temp >");
    assert!(code >= 0x80, "{code:#x}");
    // The connection goes on.
    reader.ping();
}
