//! Full queues: messages and bytes at the edge, and what each overflow policy does one past it.

use std::time::Duration;

use noctule::config::{Overflow, Size};
use noctule_core::id::Qos;

use crate::kit::{Client, Got, Out, Served, V5, V311, counted, more_than};

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

/// A queue of three, its owner away.
fn served(overflow: Overflow) -> Served {
    let served = Served::with(|config| {
        config.delivery.overflow = overflow;
        config.limits.max_queued_messages = 3;
    });
    let (mut client, _) = served.resume(V5, "away");
    client.subscribe(QOS_2, "queue");
    client.bye();
    served
}

fn publish(client: &mut Client, qos: Qos, from: u32, to: u32) -> Vec<u8> {
    (from..to).map(|number| client.say(qos, "queue", &number.to_string())).collect()
}

fn waiting(served: &Served, count: usize) -> Vec<String> {
    let (mut client, present) = served.resume(V5, "away");
    assert!(present);
    let texts = client.texts(count);
    assert_eq!(client.next_or_pong(), Got::Pong, "one more than {texts:?}");
    texts
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_the_rest() {
    let before = counted("noctule_messages_dropped_total{queue_full}");
    let served = served(Overflow::DropOldest);
    let mut publisher = served.client(V5, "publisher");
    assert_eq!(publish(&mut publisher, QOS_1, 0, 5), [0; 5]);
    assert_eq!(waiting(&served, 3), ["2", "3", "4"]);
    more_than("noctule_messages_dropped_total{queue_full}", before);
}

#[test]
fn drop_newest_keeps_the_oldest() {
    let served = served(Overflow::DropNewest);
    let mut publisher = served.client(V5, "publisher");
    assert_eq!(publish(&mut publisher, QOS_1, 0, 5), [0; 5]);
    assert_eq!(waiting(&served, 3), ["0", "1", "2"]);
}

#[test]
fn refuse_tells_a_publisher_of_5_0_and_keeps_what_it_accepted() {
    let served = served(Overflow::Refuse);
    for qos in [QOS_1, QOS_2] {
        let mut publisher = served.client(V5, "publisher");
        let mut accepted = Vec::new();
        let mut refused = 0;
        // Another worker learns of a full queue a moment later: what it accepts meanwhile is kept.
        for number in 0_u32.. {
            match publisher.say(qos, "queue", &number.to_string()) {
                0 => accepted.push(number.to_string()),
                0x97 => refused += 1,
                other => panic!("{other:#x}"),
            }
            assert!(accepted.len() < 100, "never refused");
            if refused == 5 {
                break;
            }
        }
        assert!(accepted.len() >= 3);
        assert_eq!(waiting(&served, accepted.len()), accepted);
        // Room again.
        crate::kit::within("room", || (publisher.say(qos, "queue", "room") == 0).then_some(()));
        assert_eq!(waiting(&served, 1), ["room"]);
    }
}

#[test]
fn refuse_withholds_the_answer_from_3_1_1_and_ends_the_connection_later() {
    let served = served(Overflow::Refuse);
    let mut witness = served.client(V5, "witness");
    while witness.say(QOS_1, "queue", "fills") == 0 {}
    let mut old = served.client(V311, "old");
    old.put(&Out::new(QOS_1, "queue", "no answer"));
    // It is still served meanwhile.
    assert_eq!(old.next_or_pong(), Got::Pong);
    old.stream.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
    old.is_closed();
}

#[test]
fn refuse_loses_qos_0_alone() {
    let served = Served::with(|config| {
        config.delivery.overflow = Overflow::Refuse;
        config.limits.max_queued_messages = 3;
        config.limits.max_inflight = 1;
    });
    let mut slow = served.client(V5, "slow");
    slow.subscribe(QOS_1, "queue");
    let mut publisher = served.client(V5, "publisher");
    let mut accepted = 0;
    while publisher.say(QOS_1, "queue", &accepted.to_string()) == 0 {
        accepted += 1;
    }
    publisher.say(Qos::AtMostOnce, "queue", "dropped");
    publisher.ping();
    assert_eq!(slow.texts(accepted), (0..accepted).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(slow.next_or_pong(), Got::Pong);
}

#[test]
fn disconnect_ends_the_slow_client_and_keeps_its_session() {
    let served = Served::with(|config| {
        config.delivery.overflow = Overflow::Disconnect;
        config.limits.max_queued_messages = 3;
        config.limits.max_inflight = 2;
    });
    let (mut slow, _) = served.resume(V5, "away");
    slow.subscribe(QOS_1, "queue");
    let mut publisher = served.client(V5, "publisher");
    // Two in flight, and seen to be: what fills a queue before its client had a chance is not the client's fault.
    assert_eq!(publish(&mut publisher, QOS_1, 0, 2), [0; 2]);
    assert_eq!([slow.receive().text(), slow.receive().text()], ["0", "1"]);
    // Three waiting, and the one too many.
    assert_eq!(publish(&mut publisher, QOS_1, 2, 6), [0; 4]);
    slow.is_sent_away(0x97);
    let (mut back, present) = served.resume(V5, "away");
    assert!(present);
    assert_eq!(back.texts(5), ["0", "1", "2", "3", "4"]);
}

#[test]
fn bytes_bound_a_queue_as_well_as_messages() {
    let served = Served::with(|config| {
        config.limits.max_packet_size = Size::from_bytes(10_000);
        config.limits.max_queued_bytes = Size::from_bytes(20_000);
    });
    let (mut client, _) = served.resume(V5, "away");
    client.subscribe(QOS_1, "queue");
    client.bye();
    let mut publisher = served.client(V5, "publisher");
    // Four of 4 KB and what each costs besides; the fifth makes the first go.
    for number in 0..8_u8 {
        let payload = [number; 4_500];
        publisher.publish(&Out { payload: &payload, ..Out::new(QOS_1, "queue", "") });
    }
    let (mut client, _) = served.resume(V5, "away");
    let kept: Vec<_> = (0..4).map(|_| client.take().payload[0]).collect();
    assert_eq!(kept, [4, 5, 6, 7]);
    assert_eq!(client.next_or_pong(), Got::Pong);
}
