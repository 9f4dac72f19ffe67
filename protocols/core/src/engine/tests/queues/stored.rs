//! What the store is told of queues, by whom and in which order, and what a restart makes of it.

use super::super::recovery::recovered;
use super::*;
use crate::store::RecoveredGroup;

fn kept(
    number: u64,
    group: &str,
    filter: &str,
    options: QueueOptions,
    queue: &[(&str, u32)],
) -> RecoveredGroup {
    let message = |(record, (body, deliveries)): (u64, &(&str, u32))| {
        let message = Message::restore(&crate::message::Restored {
            topic: TopicName::from_validated("t"),
            fields: &[],
            payload: body.as_bytes(),
            qos: AtLeastOnce,
            retain: false,
            expires_ms: u64::MAX,
            record: number * 10 + record,
        });
        (message, *deliveries)
    };
    RecoveredGroup {
        number: SessionNumber(number),
        group: group.into(),
        filter: filter.into(),
        options,
        queue: (1..).zip(queue).map(message).collect(),
    }
}

#[test]
fn each_worker_tells_the_store_of_a_queue_before_it_tells_it_of_a_message_there() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        for worker in 0..usize::from(workers) {
            broker.connect_at(worker, worker as u32, client(&format!("p{worker}")));
        }
        for worker in (0..usize::from(workers)).rev() {
            for topic in [Q, "$queue/r", Q] {
                let publish = publish(topic, "x", AtLeastOnce);
                broker.on(worker as u32, Input::Publish(conn(worker as u32), publish));
            }
        }
        for worker in 0..usize::from(workers) {
            let said = |op: &StoreOp, number: u64| match op {
                StoreOp::GroupKept { session, .. } => (session.0 == number).then_some(true),
                StoreOp::Publish { recipients, .. } => (recipients[0].session.0 == number).then_some(false),
                _ => None,
            };
            for number in [Q, "$queue/r"].map(|queue| broker.number_of(queue)) {
                let of = broker.ops.iter().filter(|(by, _)| *by == worker);
                let order: Vec<_> = of.filter_map(|(_, op)| said(op, number)).collect();
                let kept = order.iter().filter(|kept| **kept).count();
                assert!(order[0] && order.len() > 1 && kept == 1, "worker {worker} of {workers}: {order:?}");
            }
        }
    }
}

#[test]
fn what_one_worker_says_last_of_a_queue_is_what_holds() {
    let mut broker = broker(2, limits());
    broker.connect_at(0, 1, client("p0"));
    broker.connect_at(1, 2, client("p1"));
    broker.on(1, Input::Publish(conn(1), publish(Q, "x", AtLeastOnce)));
    broker.on(2, Input::Publish(conn(2), publish(Q, "x", AtLeastOnce)));
    let options = QueueOptions { max_messages: Some(7), auto_delete: Some(true), ..QueueOptions::default() };
    broker.consumer_with(3, Q, &options);
    broker.on(1, Input::Ping(conn(1)));
    broker.on(2, Input::Ping(conn(2)));
    for worker in 0..2 {
        let last = broker.ops.iter().rev().find_map(|(by, op)| match op {
            StoreOp::GroupKept { options, .. } if *by == worker => Some(options.clone()),
            _ => None,
        });
        assert_eq!(last.as_deref(), Some(&options), "worker {worker}");
    }
    let number = broker.number_of(Q);
    // Its last consumer goes, and so does the queue: nobody's last word keeps it.
    broker.told();
    broker.close(3);
    broker.on(1, Input::Ping(conn(1)));
    broker.on(2, Input::Ping(conn(2)));
    let ended = |(by, op): &(usize, StoreOp)| matches!(op, StoreOp::GroupEnded { .. }).then_some(*by);
    let mut ended: Vec<_> = broker.ops.iter().filter_map(ended).collect();
    ended.sort_unstable();
    assert_eq!(ended, [0, 1]);
    assert_eq!(broker.engines[0].stats().queues, 0);
    // It had both of them.
    assert_eq!(broker.dropped(DropReason::NoGroupMember), 2);
    assert!(broker.engines[0].shared().tree.is_empty());
    // And a new one of the same name is another.
    broker.told();
    broker.on(1, Input::Publish(conn(1), publish(Q, "x", AtLeastOnce)));
    assert_ne!(broker.number_of(Q), number);
    assert_eq!(broker.sum(|stats| stats.queued), 1);
}

#[test]
fn queues_and_durable_subscriptions_are_there_again_after_a_restart() {
    for workers in 1..=4_u16 {
        let said = QueueOptions { max_deliveries: Some(2), ..QueueOptions::default() };
        let auto = QueueOptions { auto_delete: Some(true), ..QueueOptions::default() };
        let durable_share = QueueOptions { durable: Some(true), ..QueueOptions::default() };
        let groups = vec![
            kept(1, "", Q, said, &[("1", 1), ("2", 0)]),
            kept(2, "", "$queue/auto", auto, &[("gone", 0)]),
            kept(3, DURABLE, "t/+", QueueOptions::default(), &[("kept", 0)]),
            kept(4, "g", "s", durable_share, &[("shared", 0)]),
            kept(5, "g", "t", QueueOptions::default(), &[("nobody's", 0)]),
        ];
        let mut broker = Broker::restart(workers, limits(), Recovered { groups, ..recovered(Vec::new()) });
        let mut told = broker.told();
        told.sort();
        assert_eq!(told, ["group ended 2 [21]", "group ended 5 [51]"]);
        assert_eq!(broker.engines[0].stats().queues, 2);
        let last = usize::from(workers) - 1;
        let seen = broker.consumer(last, 1, Q);
        assert_eq!(consumed(&seen), [("1", 1, 1), ("2", 2, 0)]);
        broker.told();
        broker.settle(1, &[1], Requeue);
        let told = broker.told();
        let at_once = format!("at once [publish 1 {}@1, 1 done 11]", broker.number_of("$queue/DLQ.q"));
        assert!(told.contains(&at_once), "its options hold: {told:?}");
        assert_eq!(names(&durable(&mut broker, 0, 2)), ["kept"]);
        assert_eq!(names(&broker.consumer(0, 3, "$share/g/s")), ["shared"]);
        broker.talk(last, 4);
        broker.told();
        broker.send(4, Q, "new");
        assert_eq!(broker.told(), ["publish new 1@1"], "under its old number, of which the store knows");
    }
}

#[test]
fn a_store_that_has_lost_everything_is_told_of_queues_again() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        let options = QueueOptions { max_messages: Some(9), ..QueueOptions::default() };
        broker.consumer_with(1, Q, &options);
        broker.talk(0, 2);
        broker.send(2, Q, "x");
        broker.settle(1, &[1], Requeue);
        broker.send_with(2, Q, "later", &[("AMQ_SCHEDULED_DELAY", "60000")]);
        broker.told();
        for worker in 0..usize::from(workers) {
            broker.give(worker, Input::Store(StoreEvent::Emptied));
            let of = broker.ops.iter().filter(|(by, _)| *by == worker);
            let first = of.clone().next().map(|(_, op)| op);
            let Some(StoreOp::GroupKept { options: again, .. }) = first else { panic!("{first:?}") };
            assert_eq!(**again, options, "every worker, before anything else");
        }
        let told = broker.told();
        let has = |op: &str| told.iter().filter(|told| *told == op).count();
        let (number, record) = (broker.number_of(Q), 3);
        assert_eq!(has(&format!("publish x {number}@1")), 1, "{told:?}");
        assert_eq!(has(&format!("publish later {number}@1")), 1, "{told:?}");
        assert_eq!(has(&format!("released {number} {record} x1")), 1, "{told:?}");
    }
}
