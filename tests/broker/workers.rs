//! Many clients, and several workers if the run has them: everything arrives, once, in order, whoever is slow.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, PacketType};

use crate::kit::{Client, Got, Out, Served, V5, V311, lasting};

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

#[test]
fn everybody_reaches_everybody() {
    let served = Served::start();
    // Twelve names fall on every one of four workers with near certainty, and on different ones surely.
    let mut clients: Vec<_> = (0..12).map(|number| served.client(V5, &format!("client {number}"))).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.subscribe(QOS_2, &format!("to/{number}/+"));
    }
    for from in 0..clients.len() {
        for to in 0..clients.len() {
            let qos = [Qos::AtMostOnce, QOS_1, QOS_2][(from + to) % 3];
            assert_eq!(clients[from].say(qos, &format!("to/{to}/{from}"), "x"), 0);
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut from: Vec<u32> =
            (0..12).map(|_| client.take().topic.rsplit('/').next().unwrap().parse().unwrap()).collect();
        from.sort_unstable();
        assert_eq!(from, (0..12).collect::<Vec<_>>(), "at client {number}");
    }
}

/// Takes what comes, acknowledging at once, until every sender's last message is there.
fn take_all(client: &mut Client, senders: usize, each: u32) {
    let mut next: HashMap<String, u32> = HashMap::new();
    for _ in 0..senders as u32 * each {
        let got = client.take();
        let expected = next.entry(got.topic.clone()).or_default();
        assert_eq!(got.text().parse::<u32>().unwrap(), *expected, "of {}", got.topic);
        *expected += 1;
    }
    assert_eq!(next.len(), senders);
    assert!(next.values().all(|count| *count == each));
}

#[test]
fn a_hundred_clients_times_a_hundred_messages_arrive_once_and_in_order() {
    let served = Served::start();
    for qos in [QOS_1, QOS_2] {
        let mut subscribers: Vec<_> =
            (0..2).map(|number| served.resume(V311, &format!("subscriber {number} {qos:?}")).0).collect();
        for subscriber in &mut subscribers {
            subscriber.subscribe(qos, "hundred/+");
        }
        let publishers: Vec<_> =
            (0..100).map(|number| served.client(V311, &format!("publisher {number}"))).collect();
        std::thread::scope(|scope| {
            for mut chunk in in_chunks(publishers, 10) {
                scope.spawn(move || publish_all(&mut chunk, qos));
            }
            for subscriber in &mut subscribers {
                scope.spawn(move || take_all(subscriber, 100, 100));
            }
        });
    }
}

fn in_chunks(clients: Vec<Client>, size: usize) -> Vec<Vec<(usize, Client)>> {
    let mut chunks: Vec<Vec<_>> = Vec::new();
    for (number, client) in clients.into_iter().enumerate() {
        if number % size == 0 {
            chunks.push(Vec::new());
        }
        chunks.last_mut().unwrap().push((number, client));
    }
    chunks
}

/// A hundred messages from each, ten in flight.
fn publish_all(clients: &mut [(usize, Client)], qos: Qos) {
    for round in 0..10 {
        for (number, client) in clients.iter_mut() {
            let topic = format!("hundred/{number}");
            for at in 0..10 {
                client.put(&Out::new(qos, &topic, &(round * 10 + at).to_string()));
            }
        }
        for (_, client) in clients.iter_mut() {
            for _ in 0..10 {
                match client.next() {
                    Got::PubAck(_, 0) => {}
                    Got::PubRec(id, 0) => client.ack(PacketType::PubRel, id),
                    other => panic!("{other:?}"),
                }
            }
            if qos == QOS_2 {
                for _ in 0..10 {
                    assert!(matches!(client.next(), Got::PubComp(_, 0)));
                }
            }
        }
    }
}

#[test]
fn a_storm_of_takeovers_leaves_one_connection_and_loses_nothing() {
    let served = Served::start();
    let (mut first, _) = served.resume(V5, "contested");
    first.subscribe(QOS_1, "contested");
    let mut publisher = served.client(V5, "publisher");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    // Each may be taken over before it has its answer.
                    let (client, answer) = served.ask(&lasting(V5, "contested"));
                    assert!(matches!(answer, Got::ConnAck(_) | Got::Closed | Got::Publish(_)), "{answer:?}");
                    drop(client);
                }
            });
        }
        for number in 0..50 {
            publisher.say(QOS_1, "contested", &number.to_string());
        }
    });
    let (mut last, present) = served.resume(V5, "contested");
    assert!(present);
    // Whatever the storm's connections were sent, none of them acknowledged: all of it comes now, in order.
    assert_eq!(last.texts(50), (0..50).map(|number: u32| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_slow_consumer_slows_down_nobody_else() {
    let served = Served::start();
    let mut slow = served.client(V311, "slow");
    slow.subscribe(Qos::AtMostOnce, "flood");
    let mut quick = served.client(V311, "quick");
    quick.subscribe(QOS_1, "trickle");
    let mut flooder = served.client(V311, "flooder");
    let mut publisher = served.client(V311, "publisher");
    let payload = vec![b'x'; 60_000];
    let begun = Instant::now();
    // Twelve megabytes for somebody who never reads: far above its socket's buffers and its out buffer.
    for number in 0..200 {
        flooder.put(&Out { payload: &payload, ..Out::new(Qos::AtMostOnce, "flood", "") });
        publisher.say(QOS_1, "trickle", &number.to_string());
        assert_eq!(quick.take().text(), number.to_string());
    }
    flooder.ping();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // And the slow one is still there, with what fitted.
    assert_eq!(slow.take().payload.len(), payload.len());
    slow.ping();
}

#[test]
fn one_message_to_many_sessions_on_all_workers() {
    let served = Served::start();
    let mut subscribers: Vec<_> = (0..60)
        .map(|number| {
            let mut client = served.client(if number % 2 == 0 { V5 } else { V311 }, &format!("fan {number}"));
            client.subscribe(QOS_1, "fan/out");
            client
        })
        .collect();
    let mut publisher = served.client(V5, "publisher");
    for number in 0..20 {
        publisher.say(QOS_1, "fan/out", &number.to_string());
    }
    let expected: Vec<_> = (0..20).map(|number: u32| number.to_string()).collect();
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.texts(20), expected);
    }
}

#[test]
fn sessions_live_on_while_their_clients_come_from_any_worker() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    for round in 0..5 {
        for number in 0..10 {
            let id = format!("roams {number}");
            let mut connect: Connect<'_> = lasting(V5, &id);
            connect.receive_maximum = crate::kit::pid(1);
            let (mut client, welcome) = served.welcome(&connect);
            assert_eq!(welcome.session_present, round > 0);
            if round == 0 {
                client.subscribe(QOS_1, &format!("roams/{number}"));
            } else {
                assert_eq!(client.texts(2), ["a", "b"]);
            }
            client.bye();
        }
        for number in 0..10 {
            for text in ["a", "b"] {
                publisher.say(QOS_1, &format!("roams/{number}"), text);
            }
        }
    }
}
