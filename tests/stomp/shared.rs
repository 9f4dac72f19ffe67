//! `x-queue-name` on a topic and MQTT's `$share` are one group.

use noctule_core::id::Qos;
use noctule_mqtt::PacketType;

use crate::kit::{MQTT5, Served};
use crate::mqtt::{Got, within};

const QOS_1: Qos = Qos::AtLeastOnce;

#[test]
fn members_of_both_worlds_share_each_message_once() {
    let served = Served::start();
    let mut stomp = served.stomp();
    stomp.subscribe_with("s", "/topic/work/#", "client", &[("x-queue-name", "crew")]);
    let mut mqtt = served.mqtt(MQTT5, "member");
    mqtt.subscribe(QOS_1, "$share/crew/work/#");
    // Another group and a plain subscriber get all of it.
    let mut other = served.stomp();
    other.subscribe_with("s", "/topic/work/#", "client", &[("x-queue-name", "others")]);
    let mut plain = served.mqtt(MQTT5, "plain");
    plain.subscribe(QOS_1, "work/#");
    let mut sender = served.stomp();
    let sent: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    for text in &sent {
        sender.say_with("/topic/work/a", &[("persistent", "true")], text);
    }
    let (mut by_stomp, mut by_mqtt) = (Vec::new(), Vec::new());
    within("all forty", || {
        while let Some(message) = stomp.message_within(std::time::Duration::from_millis(20)) {
            stomp.ack(&message);
            by_stomp.push(message.text().to_owned());
        }
        while let Got::Publish(message) = mqtt.next_or_pong() {
            mqtt.ack(PacketType::PubAck, message.packet_id);
            by_mqtt.push(message.text().to_owned());
        }
        (by_stomp.len() + by_mqtt.len() >= sent.len()).then_some(())
    });
    assert!(!by_stomp.is_empty() && !by_mqtt.is_empty(), "{by_stomp:?} {by_mqtt:?}");
    let mut all: Vec<u32> = by_stomp.iter().chain(&by_mqtt).map(|text| text.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    assert_eq!((0..40).map(|_| other.take().text().to_owned()).collect::<Vec<_>>(), sent);
    assert_eq!(plain.texts(40), sent);
}

#[test]
fn what_a_member_did_not_acknowledge_goes_to_another_world() {
    let served = Served::start();
    let mut stomp = served.stomp();
    stomp.subscribe_with("s", "/topic/work", "client-individual", &[("x-queue-name", "crew")]);
    let mut sender = served.stomp();
    for text in ["one", "two", "three"] {
        sender.say_with("/topic/work", &[("persistent", "true")], text);
    }
    let got = [stomp.message(), stomp.message(), stomp.message()];
    stomp.ack(&got[1]);
    let mut mqtt = served.mqtt(MQTT5, "member");
    mqtt.subscribe(QOS_1, "$share/crew/work");
    stomp.cut();
    let mut texts = mqtt.texts(2);
    texts.sort();
    assert_eq!(texts, ["one", "three"]);
    mqtt.ping();
    assert_eq!(mqtt.next_or_pong(), Got::Pong);
}
