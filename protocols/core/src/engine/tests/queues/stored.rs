//! What the store is told of queues, by whom and in which order, and what a restart makes of it.

use super::super::recovery::{recovered, session, subscription};
use super::super::stored::words;
use super::*;
use crate::store::{RecoveredGroup, RecoveredSession, RecoveredSubscription};
use crate::topic::{TopicFilter, TopicLimits};

pub(super) fn kept(
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
    assert_eq!((broker.dropped(DropReason::QueueEnded), broker.dropped(DropReason::NoGroupMember)), (2, 0));
    assert!(broker.engines.iter().all(|engine| engine.ended.is_empty()));
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
        assert_eq!(broker.engines[0].stats().queues, 3, "the share that stays is among them");
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

#[test]
fn what_is_new_of_a_queue_comes_after_what_was_said_of_it_before() {
    let (mut broker, key) =
        (broker(2, limits()), Arc::new(GroupKey { group: Box::default(), filter: Q.into() }));
    broker.connect_at(0, 1, client("p"));
    broker.told();
    // A shell that hands the effects of many turns on together.
    let mut fx = Effects::default();
    let publish = Input::Publish(conn(1), publish(Q, "x", AtLeastOnce));
    broker.engines[0].handle(broker.now, publish, &mut fx);
    let number = broker.number_of(Q);
    // Its home ends it.
    let home = broker.engines[0].shared().home_of_group("", Q);
    let (shared, filter) =
        (Arc::clone(broker.engines[0].shared()), TopicFilter::parse(Q, &TopicLimits::WIDEST).unwrap());
    shared.kept_groups.end(&shared.tree, &key, &filter);
    // And another worker makes one that this one did not know of.
    let other = Arc::new(GroupKey { group: Box::default(), filter: "$queue/r".into() });
    let filter = TopicFilter::parse("$queue/r", &TopicLimits::WIDEST).unwrap();
    shared.kept_groups.ensure(&shared.tree, (&other, &filter, home), 9, || SessionNumber(900)).unwrap();
    let publish = Input::Publish(conn(1), super::publish("$queue/r", "y", AtLeastOnce));
    broker.engines[0].handle(broker.now, publish, &mut fx);
    let op = |effect: &Effect| match effect {
        Effect::Store(_, op) => Some(words(op)),
        _ => None,
    };
    let told: Vec<_> = fx.list.iter().filter_map(op).collect();
    assert_eq!(
        told,
        [
            format!("group {number} /$queue/q"),
            format!("publish x {number}@1"),
            "group 900 /$queue/r".into(),
            "publish y 900@1".into(),
            format!("group ended {number} []"),
        ]
    );
}

#[test]
fn a_message_on_its_way_to_a_queue_that_has_ended_is_stored_for_the_next() {
    let mut broker = broker(2, limits());
    let home = broker.engines[0].shared().home_of_group("", Q).index();
    let away = 1 - home;
    broker.connect_at(away, 1, client("p"));
    let mut fx = Effects::default();
    let publish = Input::Publish(conn(1), publish(Q, "x", AtLeastOnce));
    broker.engines[away].handle(broker.now, publish, &mut fx);
    let old = broker.number_of(Q);
    // Before it arrives the queue ends, and another begins.
    broker.talk(home, 2);
    broker.ask(2, Request::Forget { filter: Q, durable: "" });
    assert_eq!(broker.consumer(home, 3, Q).len(), 1);
    let new = broker.number_of(Q);
    assert_ne!(old, new);
    broker.told();
    broker.carry_out(away, fx);
    let told = broker.told();
    let at_once = format!("at once [publish x {new}@1, {old} done 1]");
    assert!(told.contains(&at_once), "{told:?}");
    assert_eq!(consumed(&broker.take(3)), [("x", 1, 0)]);
    broker.settle(3, &[1], Accept);
    assert_eq!(broker.told(), [format!("{new} done 2")], "it has a record of its own");
}

#[test]
fn a_queue_that_nothing_has_come_to_is_told_of_again_as_well() {
    let mut broker = broker(1, limits());
    broker.talk(0, 1);
    broker.ask(1, Request::Consume(Consume { browses: true, ..consume(1, Q) }));
    let number = broker.number_of(Q);
    assert!(broker.engines[0].groups.is_empty(), "it is made, and nobody has looked after it yet");
    broker.told();
    broker.give(0, Input::Store(StoreEvent::Emptied));
    assert_eq!(broker.told(), [format!("group {number} /$queue/q")]);
}

#[test]
fn a_share_waits_for_all_its_members_before_it_throws_anything_away() {
    let member = |number: u64, client_id: &str, selector: &str| RecoveredSession {
        subscriptions: vec![RecoveredSubscription {
            selector: Some(selector.into()),
            ..subscription("$share/g/s", AtLeastOnce)
        }],
        ..session(number, client_id, Vec::new())
    };
    for workers in 1..=4_u16 {
        // Their topic is "t".
        let groups = vec![kept(7, "g", "s", QueueOptions::default(), &[("wanted by one", 0)])];
        let sessions = vec![member(2, "picky", "topic = 'other'"), member(3, "wants", "topic = 't'")];
        let mut broker = Broker::restart(workers, limits(), Recovered { groups, ..recovered(sessions) });
        assert_eq!((broker.told(), broker.sum(|stats| stats.queued)), (vec![], 1));
        let seen = broker.connect(1, keeper("wants"));
        assert_eq!(bodies(seen), ["wanted by one"]);
    }
}
