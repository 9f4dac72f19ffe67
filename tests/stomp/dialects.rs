//! Listeners for the clients of other brokers: names map, and come back as they were.

use noctule::config::Dialect;
use noctule_core::id::Qos;

use crate::kit::{MQTT5, Served};
use crate::mqtt::Out;

const QOS_1: Qos = Qos::AtLeastOnce;

#[test]
fn topics_are_written_the_dialects_way_and_come_back() {
    let served = Served::start();
    for (dialect, filter) in [
        (Dialect::Native, "/topic/plant/+/temp/#"),
        (Dialect::Rabbitmq, "/topic/plant.*.temp.#"),
        (Dialect::Activemq, "/topic/plant.*.temp.>"),
    ] {
        let mut client = served.dialect(dialect);
        client.subscribe("s", filter, "auto");
        let mut mqtt = served.mqtt(MQTT5, &format!("mqtt {dialect:?}"));
        mqtt.subscribe(QOS_1, "plant/#");
        // Names with every letter that is swapped, which have to come back as they were.
        for topic in ["plant/a/temp/b/c", "plant/1.5/temp/x", "plant/a*b/temp", "plant/é/temp/>"] {
            mqtt.publish(&Out::new(QOS_1, topic, "by mqtt"));
            assert_eq!(mqtt.take().topic, topic);
            let destination = client.message().header("destination").to_owned();
            if dialect == Dialect::Native {
                assert_eq!(destination, format!("/topic/{topic}"));
            }
            client.say(&destination, "by stomp");
            let back = mqtt.take();
            assert_eq!((back.topic.as_str(), back.text()), (topic, "by stomp"), "{dialect:?}");
            assert_eq!(client.message().header("destination"), destination, "{dialect:?}");
        }
    }
}

#[test]
fn a_dotted_topic_is_a_path_of_mqtt() {
    let served = Served::start();
    for dialect in [Dialect::Rabbitmq, Dialect::Activemq] {
        let mut client = served.dialect(dialect);
        let mut mqtt = served.mqtt(MQTT5, &format!("mqtt {dialect:?}"));
        mqtt.subscribe(QOS_1, "site/#");
        client.say("/topic/site.a.temp", "x");
        assert_eq!(mqtt.take().topic, "site/a/temp");
        client.subscribe("s", "/topic/site.*.level", "auto");
        mqtt.say(QOS_1, "site/b/level", "y");
        assert_eq!(client.message().header("destination"), "/topic/site.b.level");
    }
}

#[test]
fn queue_names_stand_for_themselves_in_every_dialect() {
    let served = Served::start();
    let mut mqtt = served.mqtt(MQTT5, "mqtt");
    for dialect in [Dialect::Native, Dialect::Rabbitmq, Dialect::Activemq] {
        let mut client = served.dialect(dialect);
        for destination in ["/queue/orders.eu/1", "/amq/queue/orders.eu/1"] {
            client.say(destination, "by stomp");
        }
        mqtt.say(QOS_1, "$queue/orders.eu/1", "by mqtt");
        client.subscribe("s", "/queue/orders.eu/1", "client");
        for text in ["by stomp", "by stomp", "by mqtt"] {
            let message = client.take();
            assert_eq!((message.text(), message.header("destination")), (text, "/queue/orders.eu/1"));
        }
        client.bye();
    }
}

#[test]
fn worlds_of_three_dialects_read_one_topic() {
    let served = Served::start();
    let mut clients: Vec<_> = [
        (Dialect::Native, "/topic/one/two"),
        (Dialect::Rabbitmq, "/topic/one.two"),
        (Dialect::Activemq, "/topic/one.two"),
    ]
    .map(|(dialect, name)| {
        let mut client = served.dialect(dialect);
        client.subscribe("s", name, "auto");
        (client, name)
    })
    .into();
    for sender in 0..3 {
        let name = clients[sender].1;
        clients[sender].0.say(name, &sender.to_string());
        for (client, name) in &mut clients {
            let message = client.message();
            assert_eq!((message.text(), message.header("destination")), (&*sender.to_string(), *name));
        }
    }
}

#[test]
fn the_server_header_is_what_clients_of_the_dialect_look_for() {
    let served = Served::start();
    for (place, start) in ["noctule/", "RabbitMQ/", "ActiveMQ/"].into_iter().enumerate() {
        let dialect = [Dialect::Native, Dialect::Rabbitmq, Dialect::Activemq][place];
        let mut client = served.unconnected(dialect);
        let welcome = client.connect(crate::kit::V12, &[]);
        assert!(welcome.header("server").starts_with(start), "{welcome:?}");
        assert!(welcome.header("server").contains("noctule/"), "{welcome:?}");
    }
}

/// RabbitMQ's clients name a temporary queue in `reply-to` and need not subscribe to it.
#[test]
fn a_rabbitmq_clients_reply_to_is_subscription_enough() {
    let served = Served::start();
    let mut asker = served.dialect(Dialect::Rabbitmq);
    let mut answerer = served.stomp();
    answerer.subscribe("s", "/topic/questions", "auto");
    asker.say_with("/topic/questions", &[("reply-to", "/temp-queue/box")], "?");
    let reply_to = answerer.message().header("reply-to").to_owned();
    answerer.say(&reply_to, "!");
    let answer = asker.message();
    assert_eq!((answer.text(), answer.header("subscription")), ("!", "/temp-queue/box"));
}

#[test]
fn a_nack_gives_back_or_buries_as_the_dialect_means_it() {
    let served = Served::start();
    for (dialect, queue, comes_back) in [
        (Dialect::Native, "nacked by us", true),
        (Dialect::Rabbitmq, "nacked by rabbits", true),
        (Dialect::Activemq, "nacked by acts", false),
    ] {
        let mut client = served.dialect(dialect);
        let (destination, dead) = (format!("/queue/{queue}"), format!("/queue/DLQ.{queue}"));
        client.say(&destination, "x");
        client.subscribe("s", &destination, "client-individual");
        client.subscribe("dead", &dead, "client-individual");
        let message = client.message();
        client.nack(&message, &[]);
        let again = client.message();
        let (subscription, reason) = (again.header("subscription"), again.get("x-first-death-reason"));
        if comes_back {
            assert_eq!(
                (subscription, again.header("redelivered"), reason),
                ("s", "true", None),
                "{dialect:?}"
            );
        } else {
            assert_eq!((subscription, reason), ("dead", Some("rejected")), "{dialect:?}");
        }
        client.ack(&again);
    }
}
