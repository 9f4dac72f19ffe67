//! Point-to-point queues: who gets what, in which order, and where it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::PacketType;
use noctule_stomp::Command;

use crate::kit::{Frame, MQTT5, Served, Stomp, property};
use crate::mqtt::{Got, Out, WAIT, within};

const QOS_1: Qos = Qos::AtLeastOnce;
/// How long a consumer waits before it looks whether all is done.
const GLANCE: Duration = Duration::from_millis(20);

/// What a browser is shown, up to its end.
#[track_caller]
pub(crate) fn browse(served: &Served, destination: &str) -> Vec<String> {
    let mut browser = served.stomp();
    browser.subscribe_with("b", destination, "client", &[("browser", "true")]);
    let mut shown = Vec::new();
    loop {
        let message = browser.message();
        if message.get("browser") == Some("end") {
            assert!(message.body.is_empty());
            browser.is_quiet();
            return shown;
        }
        assert_eq!(message.get("ack"), None, "what is shown cannot be acknowledged");
        shown.push(message.text().to_owned());
    }
}

#[test]
fn stomp_and_mqtt_consumers_compete_and_each_message_is_handled_once() {
    const COUNT: usize = 300;
    let served = Served::start();
    let handled = Mutex::new(Vec::new());
    let ready = std::sync::Barrier::new(4);
    let count = AtomicUsize::new(0);
    let shares: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
    let handle = |who: usize, text: &str| {
        handled.lock().unwrap().push(text.to_owned());
        shares[who].fetch_add(1, Ordering::Relaxed);
        count.fetch_add(1, Ordering::AcqRel);
    };
    let deadline = Instant::now() + WAIT;
    let is_done = || count.load(Ordering::Acquire) >= COUNT || Instant::now() > deadline;
    std::thread::scope(|scope| {
        for who in 0..2 {
            let (served, handle, is_done, ready) = (&served, &handle, &is_done, &ready);
            scope.spawn(move || {
                let mut client = served.stomp();
                let mode = ["client", "client-individual"][who];
                client.subscribe_with("s", "/queue/work", mode, &[("prefetch-count", "10")]);
                ready.wait();
                while !is_done() {
                    if let Some(message) = client.message_within(GLANCE) {
                        client.ack(&message);
                        handle(who, message.text());
                    }
                }
                client.is_quiet();
            });
        }
        let (served, handle, is_done, ready) = (&served, &handle, &is_done, &ready);
        scope.spawn(move || {
            let mut connect = noctule_mqtt::Connect::new(MQTT5, "competitor");
            connect.receive_maximum = std::num::NonZeroU16::new(10).unwrap();
            let mut client = served.mqtt_with(&connect);
            client.subscribe(QOS_1, "$queue/work");
            ready.wait();
            while !is_done() {
                match client.next_or_pong() {
                    Got::Publish(message) => {
                        client.ack(PacketType::PubAck, message.packet_id);
                        handle(2, message.text());
                    }
                    _ => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        let mut sender = served.stomp();
        ready.wait();
        let bytes: Vec<u8> = (0..COUNT)
            .flat_map(|number| {
                let body = number.to_string();
                sender.encoded(Command::Send, &[("destination", "/queue/work")], body.as_bytes())
            })
            .collect();
        sender.raw(&bytes);
        sender.is_quiet();
    });
    let handled = handled.into_inner().unwrap();
    let unique: BTreeSet<&String> = handled.iter().collect();
    assert_eq!((handled.len(), unique.len()), (COUNT, COUNT));
    let shares: Vec<usize> = shares.iter().map(|share| share.load(Ordering::Relaxed)).collect();
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    assert_eq!(browse(&served, "/queue/work"), [""; 0]);
}

#[test]
fn priorities_leave_from_9_to_0_and_in_their_order_within() {
    let served = Served::start();
    let mut stomp = served.stomp();
    let mut mqtt = served.mqtt(MQTT5, "mqtt");
    for round in 0..2 {
        for priority in [3, 9, 0, 7, 1, 8, 2, 6, 5, 4] {
            let (priority_text, text) = (priority.to_string(), format!("{priority} {round}"));
            // Either world can say it, and what says nothing has 4.
            match (round, priority) {
                (_, 4) => stomp.say("/queue/ranked", &text),
                (0, _) => stomp.say_with("/queue/ranked", &[("priority", &priority_text)], &text),
                _ => {
                    let fields = property("priority", &priority_text);
                    mqtt.publish(&Out { fields: &fields, ..Out::new(QOS_1, "$queue/ranked", &text) });
                }
            }
        }
    }
    let expected: Vec<String> =
        (0..10).rev().flat_map(|priority| [0, 1].map(|round| format!("{priority} {round}"))).collect();
    assert_eq!(browse(&served, "/queue/ranked"), expected);
    let mut consumer = served.stomp();
    consumer.subscribe("s", "/queue/ranked", "client");
    let got: Vec<_> = (0..20).map(|_| consumer.take().text().to_owned()).collect();
    assert_eq!(got, expected);
}

#[test]
fn what_is_delivered_too_often_is_a_dead_letter() {
    let served = Served::start();
    let mut sender = served.stomp();
    sender.say_with("/queue/poison", &[("k", "v"), ("content-type", "text/plain")], "poison");
    // Given back by NACK, and by a connection that is lost.
    let mut consumer = served.stomp();
    let limit = [("x-delivery-limit", "3")];
    for delivery in 1..=3 {
        consumer.subscribe_with("s", "/queue/poison", "client", &limit);
        let message = consumer.message();
        assert_eq!(message.text(), "poison");
        let before = (delivery > 1).then(|| (delivery - 1).to_string());
        assert_eq!(message.get("x-delivery-count"), before.as_deref(), "{message:?}");
        if delivery == 2 {
            consumer.unsubscribe("s");
            consumer.nack(&message, &[]);
        } else {
            consumer.cut();
            consumer = served.stomp();
        }
    }
    let mut undertaker = served.stomp();
    undertaker.subscribe("s", "/queue/DLQ.poison", "client");
    let letter = undertaker.take();
    assert_eq!(letter.text(), "poison");
    assert!(letter.header("original-destination").ends_with("queue/poison"), "{letter:?}");
    assert_eq!(letter.header("x-first-death-reason"), "delivery_limit");
    assert_eq!((letter.header("k"), letter.header("content-type")), ("v", "text/plain"));
    assert_eq!(browse(&served, "/queue/poison"), [""; 0]);
}

#[test]
fn what_is_rejected_is_a_dead_letter_where_the_queue_says() {
    let served = Served::start();
    let mut client = served.stomp();
    let own = [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", "graveyard")];
    for (queue, dead, headers) in [("plain", "/queue/DLQ.plain", &[][..]), ("own", "/queue/graveyard", &own)]
    {
        let destination = format!("/queue/{queue}");
        client.say(&destination, "unwanted");
        client.subscribe_with(queue, &destination, "client-individual", headers);
        let message = client.message();
        client.nack(&message, &[("requeue", "false")]);
        client.subscribe(dead, dead, "client-individual");
        let letter = client.take();
        assert_eq!((letter.text(), letter.header("destination")), ("unwanted", dead));
        assert!(letter.header("original-destination").ends_with(&destination[1..]), "{letter:?}");
        assert_eq!(letter.header("x-first-death-reason"), "rejected");
    }
    // To a topic, where MQTT hears of it.
    let mut mqtt = served.mqtt(MQTT5, "undertaker");
    mqtt.subscribe(QOS_1, "dead/letters");
    let to_topic = [("x-dead-letter-exchange", "amq.topic"), ("x-dead-letter-routing-key", "dead/letters")];
    client.say("/queue/told", "unwanted");
    client.subscribe_with("told", "/queue/told", "client-individual", &to_topic);
    let message = client.message();
    client.nack(&message, &[("requeue", "false")]);
    let letter = mqtt.take();
    assert_eq!(letter.text(), "unwanted");
    for field in [("user original-destination", "$queue/told"), ("user x-first-death-reason", "rejected")] {
        assert!(letter.fields.contains(&(field.0.into(), field.1.into())), "{letter:?}");
    }
}

/// So that whoever buries it can send it there again. What MQTT calls `$queue/sent` is `/queue/sent` to STOMP, where
/// `$queue/sent` would be the name of another queue.
#[test]
fn a_dead_letter_says_where_it_was_sent_to_in_the_words_of_its_reader() {
    let served = Served::start();
    let mut client = served.stomp();
    let to_topic = [("x-dead-letter-exchange", "amq.topic"), ("x-dead-letter-routing-key", "letters")];
    let mut mqtt = served.mqtt(MQTT5, "undertaker");
    mqtt.subscribe(QOS_1, "letters");
    client.subscribe("letters", "/topic/letters", "auto");
    client.say("/queue/sent", "x");
    client.subscribe_with("s", "/queue/sent", "client-individual", &to_topic);
    let message = client.message();
    client.nack(&message, &[("requeue", "false")]);
    let by_mqtt = mqtt.take();
    assert!(
        by_mqtt.fields.contains(&("user original-destination".into(), "$queue/sent".into())),
        "{by_mqtt:?}"
    );
    let by_stomp = client.message();
    assert_eq!(by_stomp.header("original-destination"), "/queue/sent");
    // As good as its word.
    client.say(by_stomp.header("original-destination"), "again");
    assert_eq!(client.message().text(), "again");
}

#[test]
fn browsing_leaves_the_queue_as_it_is() {
    let served = Served::start();
    let mut sender = served.stomp();
    assert_eq!(browse(&served, "/queue/shown"), [""; 0], "an empty queue has its end at once");
    let texts: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for text in &texts {
        sender.say("/queue/shown", text);
    }
    assert_eq!(browse(&served, "/queue/shown"), texts);
    assert_eq!(browse(&served, "/queue/shown"), texts, "again");
    let mut consumer = served.stomp();
    consumer.subscribe("s", "/queue/shown", "client");
    for text in &texts {
        let message = consumer.take();
        assert_eq!((message.text(), message.get("redelivered")), (text.as_str(), None));
    }
}

#[test]
fn a_browser_selects_too() {
    let served = Served::start();
    let mut client = served.stomp();
    for number in ["1", "2", "3"] {
        client.say_with("/queue/shown", &[("number", number)], number);
    }
    let headers = [("browser", "true"), ("selector", "number <> 2")];
    client.subscribe_with("b", "/queue/shown", "auto", &headers);
    assert_eq!(client.texts(2), ["1", "3"]);
    assert_eq!(client.message().header("browser"), "end");
}

#[test]
fn messages_of_a_group_stay_with_one_consumer() {
    let served = Served::start();
    let mut consumers: Vec<Stomp> = (0..3)
        .map(|_| {
            let mut client = served.stomp();
            client.subscribe_with("s", "/queue/sticky", "client", &[("prefetch-count", "50")]);
            client
        })
        .collect();
    let mut sender = served.stomp();
    let mut mqtt = served.mqtt(MQTT5, "sender");
    for number in 0..10 {
        for group in ["a", "b", "c", "d", "e", "f"] {
            let text = format!("{group} {number}");
            if number % 2 == 0 {
                sender.say_with("/queue/sticky", &[("JMSXGroupID", group)], &text);
            } else {
                let fields = property("JMSXGroupID", group);
                mqtt.publish(&Out { fields: &fields, ..Out::new(QOS_1, "$queue/sticky", &text) });
            }
        }
    }
    let (mut owners, mut last, mut count) = (BTreeMap::new(), BTreeMap::new(), 0);
    within("sixty messages", || {
        for (who, consumer) in consumers.iter_mut().enumerate() {
            while let Some(message) = consumer.message_within(GLANCE) {
                let (group, number) = message.text().split_once(' ').unwrap();
                let owner = *owners.entry(group.to_owned()).or_insert(who);
                assert_eq!(owner, who, "{}", message.text());
                let number: i32 = number.parse().unwrap();
                let before = last.insert(group.to_owned(), number).unwrap_or(-1);
                assert_eq!(before + 1, number, "group {group} out of order");
                consumer.ack(&message);
                count += 1;
            }
        }
        (count >= 60).then_some(())
    });
    assert_eq!((owners.len(), count), (6, 60));
    assert!(owners.values().collect::<BTreeSet<_>>().len() > 1, "one consumer has all groups: {owners:?}");
    // When its consumer is gone, a group goes on with another.
    let owner = owners["a"];
    consumers.remove(owner).cut();
    sender.say_with("/queue/sticky", &[("JMSXGroupID", "a")], "a 10");
    within("the group goes on", || consumers.iter_mut().find_map(|consumer| consumer.message_within(GLANCE)));
}

#[test]
fn a_delayed_message_waits_for_its_time_and_others_do_not_wait_for_it() {
    const DELAY: Duration = Duration::from_millis(700);
    let served = Served::start();
    let mut sender = served.stomp();
    let mut mqtt = served.mqtt(MQTT5, "sender");
    let mut consumer = served.stomp();
    consumer.subscribe("s", "/queue/delayed", "client");
    let begun = Instant::now();
    sender.say_with("/queue/delayed", &[("AMQ_SCHEDULED_DELAY", "700")], "later");
    let fields = property("AMQ_SCHEDULED_DELAY", "1400");
    mqtt.publish(&Out { fields: &fields, ..Out::new(QOS_1, "$queue/delayed", "last") });
    sender.say("/queue/delayed", "now");
    assert_eq!(consumer.take().text(), "now");
    for (text, delays) in [("later", 1), ("last", 2)] {
        assert_eq!(consumer.take().text(), text);
        // Counted from the whole millisecond in which it came.
        let least = DELAY * delays - Duration::from_millis(1);
        assert!(begun.elapsed() >= least, "{text} after {:?}", begun.elapsed());
    }
}

#[test]
fn a_message_with_a_known_dedup_id_is_taken_and_not_kept() {
    let served = Served::start();
    let mut sender = served.stomp();
    let mut mqtt = served.mqtt(MQTT5, "sender");
    for (id, text) in [("1", "one"), ("1", "one again"), ("2", "two")] {
        sender.say_with("/queue/dedup", &[("x-dedup-id", id)], text);
    }
    for (id, text) in [("2", "two by mqtt"), ("3", "three")] {
        let fields = property("x-dedup-id", id);
        assert_eq!(mqtt.publish(&Out { fields: &fields, ..Out::new(QOS_1, "$queue/dedup", text) }), 0);
    }
    // Consumed or not, it is known.
    let mut consumer = served.stomp();
    consumer.subscribe("s", "/queue/dedup", "client");
    assert_eq!(
        [consumer.take(), consumer.take(), consumer.take()].map(|m| m.body),
        [&b"one"[..], b"two", b"three"]
    );
    sender.say_with("/queue/dedup", &[("x-dedup-id", "1")], "one once more");
    // Another queue knows nothing of it.
    sender.say_with("/queue/dedup 2", &[("x-dedup-id", "1")], "elsewhere");
    sender.say("/queue/dedup", "the last");
    assert_eq!(consumer.take().text(), "the last");
    assert_eq!(browse(&served, "/queue/dedup 2"), ["elsewhere"]);
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let served = Served::start();
    let mut sole = served.stomp();
    sole.subscribe_with("s", "/queue/sole", "client", &[("exclusive", "true")]);
    for headers in [&[][..], &[("exclusive", "true")]] {
        let mut other = served.stomp();
        let own = [("id", "s"), ("destination", "/queue/sole"), ("receipt", "r")];
        other.send(Command::Subscribe, &[&own, headers].concat(), b"");
        let error = other.refused();
        assert_eq!(error.header("receipt-id"), "r");
        assert!(error.text().contains("sole") && error.text().contains("alone"), "{error:?}");
    }
    // Over MQTT it is refused with a reason, and the connection goes on.
    let mut mqtt = served.mqtt(MQTT5, "other");
    let codes = mqtt.subscribe_to(None, &[noctule_mqtt::Subscription::new("$queue/sole", QOS_1)]);
    assert!(codes[0] >= 0x80, "{codes:02x?}");
    mqtt.ping();
    // Browsing is no consuming.
    assert_eq!(browse(&served, "/queue/sole"), [""; 0]);
    sole.say("/queue/sole", "mine");
    assert_eq!(sole.take().text(), "mine");
    // When it is gone, another may.
    sole.bye();
    let mut next = served.stomp();
    within("room for another", || {
        next.send(Command::Subscribe, &[("id", "s"), ("destination", "/queue/sole"), ("receipt", "r")], b"");
        let answer: Frame = next.next();
        if answer.command == Command::Receipt {
            return Some(());
        }
        next = served.stomp();
        None
    });
}

#[test]
fn an_auto_delete_queue_ends_with_its_last_consumer() {
    let served = Served::start();
    let mut first = served.stomp();
    let mut second = served.stomp();
    for client in [&mut first, &mut second] {
        let headers = [("auto-delete", "true"), ("prefetch-count", "1")];
        client.subscribe_with("s", "/queue/brief", "client", &headers);
    }
    let mut sender = served.stomp();
    for number in 0..6 {
        sender.say("/queue/brief", &number.to_string());
    }
    first.message();
    second.message();
    // One consumer is left: the queue is.
    first.bye();
    within("five wait", || (browse(&served, "/queue/brief").len() == 5).then_some(()));
    second.bye();
    within("the queue has ended", || browse(&served, "/queue/brief").is_empty().then_some(()));
}

#[test]
fn a_queue_without_consumers_ends_when_it_expires() {
    let served = Served::start();
    let mut client = served.stomp();
    client.subscribe_with("s", "/queue/idle", "client", &[("x-expires", "700"), ("prefetch-count", "1")]);
    client.say("/queue/idle", "one");
    client.say("/queue/idle", "two");
    client.message();
    // While somebody consumes it stays, however long that takes.
    assert!(client.message_within(Duration::from_millis(1_100)).is_none());
    let mut other = served.stomp();
    other.subscribe("s", "/queue/idle", "client");
    assert_eq!(other.message().text(), "two");
    other.cut();
    client.cut();
    within("the queue has expired", || browse(&served, "/queue/idle").is_empty().then_some(()));
}

#[test]
fn messages_live_no_longer_than_their_queue_lets_them() {
    let served = Served::start();
    let mut client = served.stomp();
    let own = [("x-message-ttl", "300"), ("prefetch-count", "1"), ("x-dead-letter-routing-key", "too old")];
    client.subscribe_with("s", "/queue/short", "client", &own);
    for text in ["held", "waits"] {
        client.say("/queue/short", text);
    }
    assert_eq!(client.message().text(), "held");
    let mut dead = served.stomp();
    dead.subscribe("d", "/queue/too old", "client");
    let letter = dead.take();
    assert_eq!((letter.text(), letter.header("x-first-death-reason")), ("waits", "expired"));
}
