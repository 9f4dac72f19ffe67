//! Messages that are given back, refused, forgotten about, late or too old, and where they end.

use super::*;
use crate::store::RecoveredGroup;

#[test]
fn a_message_that_is_given_back_is_counted_and_dies_in_the_end() {
    for workers in 1..=4_u16 {
        let mut broker =
            broker(workers, with(QueueDefaults { max_deliveries: 3, ..QueueDefaults::default() }));
        let last = usize::from(workers) - 1;
        broker.consumer(last, 1, Q);
        broker.consumer(0, 2, "$queue/DLQ.q");
        broker.talk(0, 3);
        broker.send_with(3, Q, "x", &[("a", "b"), ("x-delivery-count", "7")]);
        let (number, of_dead) = (broker.number_of(Q), broker.number_of("$queue/DLQ.q"));
        broker.told();
        for (pid, deliveries) in (1..).zip(0..3) {
            let seen = broker.take(1);
            assert_eq!(consumed(&seen), [("x", pid, deliveries)]);
            let after = broker.settle(1, &[pid], Requeue);
            broker.seen.extend(after.into_iter().map(|seen| (1, seen)));
            let told = broker.told.clone();
            if deliveries < 2 {
                assert_eq!(told, [format!("released {number} 1 x{}", deliveries + 1)]);
                broker.told();
            } else {
                let at_once = format!("at once [publish x {of_dead}@1, {number} done 1]");
                assert_eq!(told, [at_once], "neither lost nor doubled");
            }
        }
        let letters = broker.published();
        broker.told();
        assert_eq!(letters.len(), 1);
        let letter = &letters[0];
        assert_eq!(property(letter, "a"), ["b"]);
        assert_eq!(property(letter, "original-destination"), [Q]);
        assert_eq!(property(letter, "x-first-death-reason"), ["delivery_limit"]);
        assert_eq!(property(letter, "x-delivery-count"), ["3"]);
        assert_eq!(broker.sum(|stats| stats.dead_letters), 1);
        // There it may come back as often as it likes, and is gone when it is rejected.
        let mut seen = broker.take(2);
        for deliveries in 0..6 {
            let [("x", pid, known)] = consumed(&seen)[..] else { panic!("{seen:?}") };
            assert_eq!(known, deliveries);
            broker.told();
            seen = broker.settle(2, &[pid], if deliveries < 5 { Requeue } else { Reject });
        }
        assert_eq!(broker.told(), [format!("{of_dead} done 2")]);
        assert_eq!(broker.dropped(DropReason::DeadLetterLost), 1);
        assert_eq!(broker.sum(|stats| stats.queued + stats.loans), 0);
    }
}

#[test]
fn what_was_never_sent_is_not_counted() {
    let mut broker = broker(1, limits());
    broker.talk(0, 1);
    broker.send(1, Q, "sent");
    broker.send(1, Q, "not sent");
    // It is lent both, and takes one at a time.
    broker.connect_at(0, 2, Connect { receive_maximum: id(1), ..client("m") });
    assert_eq!(bodies(broker.subscribe(2, Q)), ["sent"]);
    assert_eq!(broker.sum(|stats| stats.loans), 2);
    broker.told();
    broker.close(2);
    let number = broker.number_of(Q);
    assert_eq!(broker.told(), [format!("{number} online false"), format!("released {number} 1 x1")]);
    let seen = broker.consumer(0, 3, Q);
    assert!(matches!(consumed(&seen)[..], [("sent", _, 1), ("not sent", _, 0)]), "{seen:?}");
}

#[test]
fn dead_letters_go_where_the_queue_says() {
    // As the store has it, so that the home alone stands between the topic and the broker's own.
    let reject = |topic: &str| {
        let options = QueueOptions { dead_letter: Some(topic.into()), ..QueueOptions::default() };
        let group = RecoveredGroup {
            number: SessionNumber(1),
            group: Box::default(),
            filter: Q.into(),
            options,
            queue: Vec::new(),
        };
        let mut broker =
            Broker::restart(2, limits(), Recovered { groups: vec![group], ..Recovered::default() });
        broker.connect_at(1, 9, client("watch"));
        broker.subscribe(9, "dead/#");
        broker.consumer(0, 1, Q);
        broker.talk(0, 2);
        broker.send(2, Q, "x");
        broker.take(1);
        broker.settle(1, &[1], Reject);
        broker
    };
    let mut to_topic = reject("dead/letters");
    assert_eq!(bodies(to_topic.take(9)), ["x"]);
    assert_eq!(to_topic.sum(|stats| stats.queued + stats.loans), 0);
    for nowhere in ["", "$SYS/dead", "dead/#", "$queue/"] {
        let broker = reject(nowhere);
        let gone = broker.dropped(DropReason::DeadLetterLost);
        assert_eq!((gone, broker.sum(|stats| stats.queued)), (1, 0), "{nowhere:?}");
    }
    let to_queue = reject("$queue/morgue");
    assert_eq!((to_queue.sum(|stats| stats.queued), to_queue.engines[0].stats().queues), (1, 2));
}

#[test]
fn queues_that_send_each_other_their_dead_letters_come_to_an_end() {
    let mut broker = broker(2, limits());
    for (number, queue, other) in [(1, "$queue/a", "$queue/b"), (2, "$queue/b", "$queue/a")] {
        let options = QueueOptions {
            dead_letter: Some(other.into()),
            message_ttl_ms: Some(0),
            max_messages: Some(1),
            overflow: Some(Overflow::DropOldest),
            ..QueueOptions::default()
        };
        broker.consumer_with(number, queue, &options);
        broker.close(number);
    }
    broker.talk(1, 3);
    for number in 0..3 {
        broker.send(3, "$queue/a", &number.to_string());
    }
    for _ in 0..40 {
        broker.pass(1_000);
    }
    assert_eq!(broker.sum(|stats| stats.queued), 0);
    let gone = broker.dropped(DropReason::Expired) + broker.dropped(DropReason::QueueFull);
    assert_eq!(gone, 3);
    assert!(broker.sum(|stats| stats.dead_letters) <= 3 * 8);
}

#[test]
fn a_rejected_retry_may_go_round_for_ever() {
    // The usual way to try again later: reject into a queue whose messages expire back into the first.
    let mut broker = broker(1, limits());
    let there = QueueOptions { dead_letter: Some("$queue/later".into()), ..QueueOptions::default() };
    let back =
        QueueOptions { dead_letter: Some(Q.into()), message_ttl_ms: Some(2_000), ..QueueOptions::default() };
    broker.consumer_with(2, "$queue/later", &back);
    broker.close(2);
    broker.consumer_with(1, Q, &there);
    broker.talk(0, 3);
    broker.send_with(3, Q, "x", &[("x-dedup-id", "1"), ("AMQ_SCHEDULED_DELAY", "1000")]);
    broker.pass(1_200);
    for pid in 1..30 {
        assert_eq!(names(&broker.take(1)), ["x"], "round {pid}");
        broker.settle(1, &[pid], Reject);
        broker.pass(3_200);
    }
}

#[test]
fn what_is_not_acknowledged_in_time_goes_to_another() {
    for workers in 1..=4_u16 {
        let options = QueueOptions { ack_deadline_ms: Some(5_000), ..QueueOptions::default() };
        let mut broker = broker(workers, limits());
        broker.consumer_with(1, Q, &options);
        broker.talk(0, 2);
        broker.send(2, Q, "x");
        assert_eq!(names(&broker.take(1)), ["x"]);
        broker.consumer(usize::from(workers) - 1, 3, Q);
        broker.pass(4_800);
        broker.told();
        assert_eq!(names(&broker.take(3)), [""; 0]);
        broker.pass(400);
        assert_eq!(consumed(&broker.take(3)), [("x", 1, 1)]);
        let number = broker.number_of(Q);
        assert_eq!(broker.told(), [format!("released {number} 1 x1")]);
        broker.settle(1, &[1], Accept);
        assert_eq!((broker.told(), broker.sum(|stats| stats.stray_acks)), (vec![], 1), "too late");
        broker.settle(3, &[1], Accept);
        assert_eq!(broker.told(), [format!("{number} done 1")]);
        assert_eq!(broker.sum(|stats| stats.loans), 0);
    }
}

#[test]
fn delays_and_expiries_need_nobody_to_look() {
    let mut broker = broker(2, limits());
    let options = QueueOptions {
        message_ttl_ms: Some(3_000),
        dead_letter: Some("$queue/late".into()),
        ..QueueOptions::default()
    };
    broker.consumer_with(1, "$queue/watched", &options);
    broker.close(1);
    broker.talk(0, 2);
    broker.send(2, "$queue/watched", "dies");
    broker.send_with(2, Q, "later", &[("AMQ_SCHEDULED_DELAY", "2000")]);
    broker.on(
        2,
        Input::Request(
            conn(2),
            Request::Send(crate::consumer::Send {
                expires_in_ms: Some(1_000),
                ..message(Q, "short", AtLeastOnce)
            }),
            None,
        ),
    );
    assert_eq!(broker.sum(|stats| stats.queued), 3);
    let number = broker.number_of(Q);
    broker.told();
    broker.pass(1_500);
    assert_eq!((broker.dropped(DropReason::Expired), broker.told()), (1, vec![format!("{number} done 3")]));
    broker.consumer(1, 3, Q);
    broker.take(3);
    broker.pass(800);
    assert_eq!(names(&broker.take(3)), ["later"]);
    broker.told();
    broker.pass(1_000);
    let told = broker.told();
    let number = broker.engines[0].stats().queues;
    assert!(told.iter().any(|op| op.starts_with("at once [publish dies")), "{told:?}");
    assert_eq!(number, 3);
    assert_eq!(names(&broker.consumer(1, 4, "$queue/late")), ["dies"], "and does not expire again");
    assert_eq!(broker.dropped(DropReason::Expired), 1);
}

#[test]
fn a_full_queue_takes_no_dead_letters_but_one_that_is_made_for_them_lets_the_oldest_go() {
    let mut broker = broker(2, with(QueueDefaults { max_messages: 2, ..QueueDefaults::default() }));
    let there = QueueOptions { dead_letter: Some("$queue/full".into()), ..QueueOptions::default() };
    broker.talk(1, 9);
    broker.consumer_with(1, Q, &there);
    broker.consumer(0, 2, "$queue/r");
    for queue in [Q, "$queue/r"] {
        for body in ["1", "2", "3"] {
            broker.send(9, queue, body);
        }
    }
    for number in [1, 2] {
        let seen = broker.take(number);
        let pids: Vec<_> = consumed(&seen).into_iter().map(|(_, pid, _)| pid).collect();
        assert_eq!(pids.len(), 3);
        broker.settle(number, &pids, Reject);
    }
    assert_eq!((broker.dropped(DropReason::DeadLetterLost), broker.dropped(DropReason::QueueFull)), (1, 1));
    assert_eq!(names(&broker.consumer(0, 3, "$queue/full")), ["1", "2"]);
    assert_eq!(names(&broker.consumer(1, 4, "$queue/DLQ.r")), ["2", "3"]);
}

#[test]
fn a_full_subscriber_under_refusal_takes_no_dead_letters() {
    let strict = Limits { overflow: Overflow::Refuse, max_queued_messages: 1, ..limits() };
    let mut broker = broker(2, strict);
    broker.connect(8, keeper("sleeper"));
    broker.subscribe(8, "dead/#");
    broker.close(8);
    broker.talk(0, 9);
    let there = QueueOptions { dead_letter: Some("dead/q".into()), ..QueueOptions::default() };
    broker.consumer_with(1, Q, &there);
    for body in ["1", "2"] {
        broker.send(9, Q, body);
    }
    for _ in 0..2 {
        let seen = broker.take(1);
        let pids: Vec<_> = consumed(&seen).into_iter().map(|(_, pid, _)| pid).collect();
        let more = broker.settle(1, &pids, Reject);
        broker.seen.extend(more.into_iter().map(|seen| (1, seen)));
    }
    assert_eq!((broker.dropped(DropReason::DeadLetterLost), broker.dropped(DropReason::QueueFull)), (1, 0));
    assert_eq!(bodies(broker.connect(7, keeper("sleeper"))), ["1"]);
}
