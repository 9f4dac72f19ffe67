//! rumqttc in 5.0.

use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

crate::rumqttc_parts::rumqttc_parts!(
    rumqttc::v5,
    rumqttc::v5::mqttbytes::QoS,
    rumqttc::v5::mqttbytes::v5::LastWill,
    will,
    |options| {
        options.set_clean_start(false).set_session_expiry_interval(Some(600));
    }
);

fn will(topic: &str, payload: &str) -> LastWill {
    LastWill::new(topic, payload, QoS::AtLeastOnce, false, None)
}

fn publish_with(link: &Link, topic: &str, properties: PublishProperties) {
    link.client.publish_with_properties(topic, QoS::AtLeastOnce, false, "x", properties).unwrap();
    link.acknowledged(QoS::AtLeastOnce);
}

fn take_whole(link: &Link) -> Publish {
    link.until(|packet| match packet {
        Incoming::Publish(publish) => Some(publish),
        _ => None,
    })
}

#[test]
fn properties_round_trip() {
    let served = Served::start();
    let (publisher, subscriber) = (Link::clean(&served, "publisher"), Link::clean(&served, "subscriber"));
    subscriber.subscribe("properties", QoS::AtLeastOnce);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(300),
        response_topic: Some("answers".into()),
        correlation_data: Some(vec![0, 255].into()),
        user_properties: vec![pair("b", "1"), pair("a", "2"), pair("b", "1")],
        content_type: Some("text/plain".into()),
        ..PublishProperties::default()
    };
    publish_with(&publisher, "properties", sent.clone());
    assert_eq!(take_whole(&subscriber).properties, Some(sent));
}

#[test]
fn topic_aliases() {
    let served = Served::start();
    let (publisher, subscriber) = (Link::clean(&served, "publisher"), Link::clean(&served, "subscriber"));
    subscriber.subscribe("alias/#", QoS::AtLeastOnce);
    // It demands a topic with every alias, so the broker sees it set again and again.
    for topic in ["alias/one", "alias/one", "alias/two"] {
        publish_with(
            &publisher,
            topic,
            PublishProperties { topic_alias: Some(1), ..PublishProperties::default() },
        );
        assert_eq!(take_whole(&subscriber).topic, topic);
    }
}

#[test]
fn shared_subscriptions() {
    let served = Served::start();
    let members = ["a", "b"].map(|id| Link::clean(&served, id));
    for member in &members {
        member.subscribe("$share/group/shared", QoS::AtLeastOnce);
    }
    let publisher = Link::clean(&served, "publisher");
    for number in 0..10 {
        publisher.publish("shared", QoS::AtLeastOnce, false, &number.to_string());
    }
    let mut got: Vec<u32> =
        members.iter().flat_map(|member| (0..5).map(|_| member.take().2.parse().unwrap())).collect();
    got.sort_unstable();
    assert_eq!(got, (0..10).collect::<Vec<_>>());
}
