//! The table of guarantees: publishers of every QoS and kind, consumers of every mode, in both worlds.

use noctule_core::id::Qos;
use noctule_mqtt::PacketType;
use noctule_stomp::Command;

use crate::kit::{Frame, MQTT5, MQTT311, Served};
use crate::mqtt::{Got, Out};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

#[test]
fn publishers_of_every_qos_reach_auto_and_client_consumers_once() {
    let served = Served::start();
    for mode in ["auto", "client", "client-individual"] {
        let mut consumer = served.stomp();
        consumer.subscribe("s", "/topic/levels", mode);
        for version in [MQTT311, MQTT5] {
            let mut publisher = served.mqtt(version, &format!("publisher {mode}"));
            for qos in [QOS_0, QOS_1, QOS_2] {
                assert_eq!(publisher.say(qos, "levels", &format!("{qos:?}")), 0);
                let message = consumer.message();
                assert_eq!(message.text(), format!("{qos:?}"));
                assert_eq!(message.get("persistent"), (qos > QOS_0).then_some("true"), "{message:?}");
                assert_eq!(message.get("ack").is_some(), mode != "auto", "{message:?}");
                if message.get("ack").is_some() {
                    consumer.ack(&message);
                }
            }
        }
        consumer.is_quiet();
        consumer.bye();
    }
}

#[test]
fn sends_of_every_kind_reach_mqtt_at_their_qos() {
    let served = Served::start();
    for granted in [QOS_0, QOS_1, QOS_2] {
        let mut reader = served.mqtt(MQTT5, &format!("reader {granted:?}"));
        reader.subscribe(granted, "levels");
        let mut sender = served.stomp();
        let mut expect = |headers: &[(&str, &str)], qos: Qos| {
            sender.say_with("/topic/levels", headers, "x");
            assert_eq!(reader.take().qos, qos.min(granted), "{headers:?}");
        };
        expect(&[], QOS_0);
        expect(&[("persistent", "false")], QOS_0);
        expect(&[("persistent", "true")], QOS_1);
        expect(&[("qos", "0")], QOS_0);
        expect(&[("qos", "1")], QOS_1);
        expect(&[("qos", "2")], QOS_2);
        // What is committed is at least once, whatever each message would have been by itself.
        sender.transaction(Command::Begin, "t");
        sender.say_with("/topic/levels", &[("transaction", "t")], "x");
        sender.say_with("/topic/levels", &[("transaction", "t"), ("persistent", "false")], "x");
        sender.transaction(Command::Commit, "t");
        assert_eq!([reader.take().qos, reader.take().qos], [QOS_1.min(granted); 2]);
    }
}

/// At least once: what `client` did not acknowledge comes again, with the number by which to tell a repetition.
#[test]
fn a_queues_client_consumer_gets_again_what_it_did_not_acknowledge() {
    let served = Served::start();
    let mut stomp = served.stomp();
    for qos in [QOS_0, QOS_1, QOS_2] {
        let queue = format!("again {qos:?}");
        let mut publisher = served.mqtt(MQTT5, "publisher");
        assert_eq!(publisher.say(qos, &format!("$queue/{queue}"), "by mqtt"), 0);
        let destination = format!("/queue/{queue}");
        stomp.say(&destination, "by stomp");
        stomp.transaction(Command::Begin, "t");
        stomp.say_with(&destination, &[("transaction", "t")], "committed");
        stomp.transaction(Command::Commit, "t");
        let mut first = served.stomp();
        first.subscribe("s", &destination, "client");
        let before: Vec<Frame> = (0..3).map(|_| first.message()).collect();
        first.cut();
        let mut second = served.stomp();
        second.subscribe("s", &destination, "client");
        for before in before {
            let again = second.take();
            assert_eq!(again.text(), before.text());
            assert_eq!(again.header("redelivered"), "true");
            assert_eq!(again.header("x-delivery-count"), "1");
            // What is kept in memory only, has no number that would outlast it.
            assert_eq!(again.get("x-msg-id"), before.get("x-msg-id"));
            assert_eq!(again.get("x-msg-id").is_some(), again.get("persistent").is_some(), "{again:?}");
            assert_eq!(before.get("redelivered"), None);
        }
        second.is_quiet();
    }
}

/// At most once on the last hop: what was written to `auto` is done with.
#[test]
fn a_queues_auto_consumer_gets_nothing_again() {
    let served = Served::start();
    let mut stomp = served.stomp();
    for text in ["one", "two"] {
        stomp.say("/queue/auto", text);
    }
    let mut first = served.stomp();
    first.subscribe("s", "/queue/auto", "auto");
    assert_eq!(first.texts(2), ["one", "two"]);
    first.cut();
    let mut second = served.stomp();
    second.subscribe("s", "/queue/auto", "auto");
    stomp.say("/queue/auto", "three");
    assert_eq!(second.message().text(), "three");
}

#[test]
fn a_qos_2_publish_into_a_queue_is_there_once_however_often_it_is_sent() {
    let served = Served::start();
    let mut publisher = served.mqtt(MQTT5, "publisher");
    let out = Out { packet_id: 9, ..Out::new(QOS_2, "$queue/exact", "once") };
    publisher.put(&out);
    publisher.until(|got| matches!(got, Got::PubRec(9, 0)).then_some(()));
    publisher.put(&Out { dup: true, ..out });
    publisher.until(|got| matches!(got, Got::PubRec(9, 0)).then_some(()));
    publisher.ack(PacketType::PubRel, 9);
    publisher.until(|got| (*got == Got::PubComp(9, 0)).then_some(()));
    publisher.say(QOS_2, "$queue/exact", "the last");
    let mut consumer = served.stomp();
    consumer.subscribe("s", "/queue/exact", "client");
    assert_eq!([consumer.take().text(), consumer.take().text()], ["once", "the last"]);
}

#[test]
fn an_mqtt_consumer_of_a_queue_has_qos_1_at_most_and_a_lost_connection_gives_back() {
    let served = Served::start();
    let mut sender = served.stomp();
    for text in ["one", "two", "three"] {
        sender.say("/queue/mqtt", text);
    }
    let mut first = served.mqtt(MQTT5, "first");
    let granted = first.subscribe_to(None, &[noctule_mqtt::Subscription::new("$queue/mqtt", QOS_2)]);
    assert_eq!(granted, [1]);
    let got = [first.receive(), first.receive(), first.receive()];
    assert!(got.iter().all(|message| message.qos == QOS_1), "{got:?}");
    first.ack(PacketType::PubAck, got[0].packet_id);
    first.ping();
    first.cut();
    let mut second = served.stomp();
    second.subscribe("s", "/queue/mqtt", "client");
    for text in ["two", "three"] {
        let again = second.take();
        assert_eq!((again.text(), again.header("redelivered")), (text, "true"));
    }
}

#[test]
fn nothing_of_a_transaction_is_seen_before_commit_nor_after_abort_or_a_lost_connection() {
    let served = Served::start();
    let mut reader = served.stomp();
    reader.subscribe("t", "/topic/all", "auto");
    reader.subscribe("q", "/queue/all", "auto");
    let mut mqtt = served.mqtt(MQTT5, "mqtt");
    mqtt.subscribe(QOS_1, "all");
    let mut sender = served.stomp();
    for end in [Some(Command::Abort), None, Some(Command::Commit)] {
        if end.is_none() {
            let mut lost = served.stomp();
            lost.transaction(Command::Begin, "t");
            lost.say_with("/queue/all", &[("transaction", "t")], "lost");
            lost.cut();
            continue;
        }
        sender.transaction(Command::Begin, "t");
        for destination in ["/topic/all", "/queue/all"] {
            sender.say_with(destination, &[("transaction", "t")], &format!("{end:?}"));
        }
        reader.is_quiet();
        sender.transaction(end.unwrap(), "t");
    }
    let mut got =
        [reader.message(), reader.message()].map(|message| message.header("destination").to_owned());
    got.sort();
    assert_eq!(got, ["/queue/all", "/topic/all"]);
    assert_eq!(mqtt.take().text(), "Some(Commit)");
    sender.say("/queue/all", "the last");
    assert_eq!(reader.message().text(), "the last");
}

#[test]
fn an_ack_in_a_transaction_counts_with_its_commit_only() {
    let served = Served::start();
    let mut client = served.stomp();
    for text in ["one", "two"] {
        client.say("/queue/acked", text);
    }
    client.subscribe("s", "/queue/acked", "client-individual");
    let got = [client.message(), client.message()];
    for (name, message, end) in [("a", &got[0], Command::Commit), ("b", &got[1], Command::Abort)] {
        client.transaction(Command::Begin, name);
        client.ack_in(message, &[("transaction", name)]);
        client.transaction(end, name);
    }
    client.cut();
    let mut next = served.stomp();
    next.subscribe("s", "/queue/acked", "client");
    assert_eq!(next.take().text(), "two", "whose ACK was taken back");
    next.is_quiet();
}
