//! Full queues: what gives way, who is slowed down, and who is told.

use noctule::config::Period;
use noctule_core::id::Qos;
use noctule_stomp::Command;
use std::time::Duration;

use crate::kit::{MQTT5, Served};
use crate::mqtt::within;
use crate::queues::browse;

const QOS_1: Qos = Qos::AtLeastOnce;

#[test]
fn drop_head_makes_room_and_what_goes_is_a_dead_letter() {
    let served = Served::start();
    let mut client = served.stomp();
    let full = [("x-max-length", "3"), ("x-overflow", "drop-head"), ("x-dead-letter-routing-key", "dropped")];
    client.subscribe_with("s", "/queue/ring", "client", &[&full[..], &[("prefetch-count", "1")]].concat());
    client.say("/queue/ring", "0");
    assert_eq!(client.message().text(), "0");
    for number in 1..=5 {
        client.say("/queue/ring", &number.to_string());
    }
    assert_eq!(browse(&served, "/queue/ring"), ["3", "4", "5"]);
    let mut dead = served.stomp();
    dead.subscribe("d", "/queue/dropped", "client");
    for text in ["1", "2"] {
        let letter = dead.take();
        assert_eq!((letter.text(), letter.header("x-first-death-reason")), (text, "maxlen"));
        assert!(letter.header("original-destination").ends_with("queue/ring"), "{letter:?}");
    }
    dead.is_quiet();
}

#[test]
fn bytes_bound_a_queue_as_well() {
    let served = Served::start();
    let mut client = served.stomp();
    let headers = [("x-max-length-bytes", "20000"), ("x-overflow", "drop-head"), ("prefetch-count", "1")];
    client.subscribe_with("s", "/queue/bytes", "client", &headers);
    let mut sender = served.stomp();
    sender.say("/queue/bytes", "held");
    client.message();
    // Four of 4.5 KB and what each costs besides.
    for letter in ["a", "b", "c", "d", "e", "f"] {
        sender.say("/queue/bytes", &letter.repeat(4_500));
    }
    let kept: Vec<_> = browse(&served, "/queue/bytes").iter().map(|text| text[..1].to_owned()).collect();
    assert_eq!(kept, ["c", "d", "e", "f"]);
}

#[test]
fn a_sender_to_a_full_queue_waits_and_goes_on_when_there_is_room() {
    // Far more than one look at the socket brings, which is what a sender may have under way when the queue is full.
    const COUNT: usize = 2_000;
    let served = Served::with(|config| {
        config.queues.max_messages = 5;
        config.delivery.refuse_timeout = Period::from_secs(60);
    });
    let mut sender = served.stomp();
    let bytes: Vec<u8> = (0..COUNT)
        .flat_map(|number| {
            let (text, body) = (number.to_string(), format!("{number:01000}"));
            let headers = [("destination", "/queue/full"), ("receipt", text.as_str())];
            sender.encoded(Command::Send, &headers, body.as_bytes())
        })
        .collect();
    // It is not read all the time, so that writing has to wait.
    let mut writing = sender.stream.try_clone().unwrap();
    writing.set_write_timeout(None).unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut writing, &bytes));
    // Those that find room are taken, and a few more; then it is not read until there is room.
    let mut receipts = 5;
    for number in 0..receipts {
        sender.receipt(&number.to_string());
    }
    sender.stream.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    while let Some(frame) = sender.read() {
        let frame = frame.expect("closed");
        assert_eq!((frame.command, frame.header("receipt-id")), (Command::Receipt, &*receipts.to_string()));
        receipts += 1;
    }
    sender.stream.set_read_timeout(Some(crate::mqtt::WAIT)).unwrap();
    // Another worker's sender may have some under way before it hears that the queue is full.
    assert!((5..COUNT).contains(&receipts), "{receipts} receipts");
    within("what was accepted", || (browse(&served, "/queue/full").len() >= receipts).then_some(()));
    // Others are served meanwhile, and other queues are not full.
    let mut other = served.stomp();
    other.say("/queue/other", "x");
    let mut consumer = served.stomp();
    consumer.subscribe("s", "/queue/full", "client");
    for number in 0..COUNT {
        assert_eq!(consumer.take().text(), format!("{number:01000}"));
    }
    writer.join().unwrap().unwrap();
    for number in receipts..COUNT {
        sender.receipt(&number.to_string());
    }
    sender.is_quiet();
}

#[test]
fn a_sender_that_waits_in_vain_is_told_which_queue_is_full() {
    let served = Served::with(|config| {
        config.queues.max_messages = 3;
        config.delivery.refuse_timeout = Period::from_secs(1);
    });
    let mut sender = served.stomp();
    let send = sender.encoded(Command::Send, &[("destination", "/queue/in vain"), ("receipt", "r")], b"x");
    // It goes on until it is told: what it has under way when the queue is full, is taken.
    let mut writing = sender.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || while std::io::Write::write_all(&mut writing, &send).is_ok() {});
    let mut receipts = 0;
    let error = loop {
        let frame = sender.next();
        if frame.command == Command::Error {
            break frame;
        }
        assert_eq!(frame.command, Command::Receipt);
        receipts += 1;
    };
    assert!(error.text().contains("in vain") && error.text().contains("refuse_timeout"), "{error:?}");
    sender.is_closed();
    sender.cut();
    writer.join().unwrap();
    // What has a receipt is kept, and nothing is that has none.
    assert!(receipts >= 3);
    within("what was accepted", || (browse(&served, "/queue/in vain").len() == receipts).then_some(()));
}

#[test]
fn an_mqtt_5_publisher_is_told_that_a_queue_is_full() {
    let served = Served::with(|config| {
        config.queues.max_messages = 3;
    });
    for (qos, queue) in [(QOS_1, "full 1"), (Qos::ExactlyOnce, "full 2")] {
        let topic = format!("$queue/{queue}");
        let mut publisher = served.mqtt(MQTT5, "publisher");
        let mut accepted = 0;
        // Another worker learns of it a moment later: what it accepts meanwhile is kept.
        loop {
            match publisher.say(qos, &topic, "x") {
                0 => accepted += 1,
                0x97 => break,
                other => panic!("{other:#x}"),
            }
            assert!(accepted < 500, "never refused");
        }
        assert!(accepted >= 3);
        let destination = format!("/queue/{queue}");
        within("what was accepted", || (browse(&served, &destination).len() == accepted).then_some(()));
        let mut consumer = served.stomp();
        consumer.subscribe("s", &destination, "client");
        for _ in 0..accepted {
            consumer.take();
        }
        within("room", || (publisher.say(qos, &topic, "x") == 0).then_some(()));
    }
}

#[test]
fn a_shorter_queue_of_a_subscription_refuses_by_default() {
    let served = Served::start();
    let mut client = served.stomp();
    client.subscribe_with("s", "/queue/two", "client", &[("x-max-length", "2"), ("prefetch-count", "1")]);
    let mut publisher = served.mqtt(MQTT5, "publisher");
    let accepted = (0..500).take_while(|_| publisher.say(QOS_1, "$queue/two", "x") == 0).count();
    // One is out with the consumer, two wait.
    assert!((3..500).contains(&accepted), "{accepted}");
}
