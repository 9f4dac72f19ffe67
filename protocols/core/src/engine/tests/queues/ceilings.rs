//! What a subscriber can ask for, and what the configuration does not let it have; shares that stay without a member.

use super::super::super::queues::{GroupKind, terms_of};
use super::*;
use crate::group::Terms;

fn said() -> QueueOptions {
    QueueOptions::default()
}

fn key(group: &str, filter: &str) -> GroupKey {
    GroupKey { group: group.into(), filter: filter.into() }
}

fn terms(limits: &Limits, key: &GroupKey, options: &QueueOptions) -> Terms {
    terms_of(limits, GroupKind::of(key), key, options)
}

#[test]
fn nobody_gets_more_than_is_configured() {
    let queues = QueueDefaults {
        max_messages: 100,
        max_bytes: 1_000,
        max_deliveries: 16,
        ack_deadline_ms: 60_000,
        ..QueueDefaults::default()
    };
    let limits = Limits { max_queued_messages: 50, max_queued_bytes: 500, ..with(queues) };
    for (key, messages, bytes) in
        [(key("", Q), 100, 1_000), (key(DURABLE, "t/+"), 50, 500), (key("g", "t"), 50, 500)]
    {
        for (asked, got) in [(messages - 1, messages - 1), (messages, messages), (messages + 1, messages)] {
            let options = QueueOptions { max_messages: Some(asked), ..said() };
            assert_eq!(terms(&limits, &key, &options).max_messages as u64, got, "{key:?}");
        }
        for (asked, got) in [(bytes - 1, bytes - 1), (bytes, bytes), (u64::MAX, bytes)] {
            let options = QueueOptions { max_bytes: Some(asked), ..said() };
            assert_eq!(terms(&limits, &key, &options).max_bytes as u64, got, "{key:?}");
        }
    }
    let deliveries = |limits: &Limits, asked| {
        terms(limits, &key("", Q), &QueueOptions { max_deliveries: asked, ..said() }).max_deliveries
    };
    // 0: as often as it takes.
    for (asked, got) in [(None, 16), (Some(15), 15), (Some(16), 16), (Some(17), 16), (Some(0), 16)] {
        assert_eq!(deliveries(&limits, asked), got, "{asked:?}");
    }
    let deadline = |limits: &Limits, asked| {
        terms(limits, &key("", Q), &QueueOptions { ack_deadline_ms: asked, ..said() }).ack_deadline_ms
    };
    for (asked, got) in
        [(None, 60_000), (Some(1), 1), (Some(60_000), 60_000), (Some(60_001), 60_000), (Some(0), 60_000)]
    {
        assert_eq!(deadline(&limits, asked), Some(got), "{asked:?}");
    }
    // Where nothing is configured anything may be asked for.
    let free = with(QueueDefaults { max_deliveries: 0, ack_deadline_ms: 0, ..QueueDefaults::default() });
    for (asked, got) in [(None, u32::MAX), (Some(0), u32::MAX), (Some(1_000), 1_000)] {
        assert_eq!(deliveries(&free, asked), got);
    }
    for (asked, got) in [(None, None), (Some(0), None), (Some(1 << 40), Some(1 << 40))] {
        assert_eq!(deadline(&free, asked), got);
    }
    assert_eq!(
        terms(&limits, &key("g", "t"), &said()).ack_deadline_ms,
        None,
        "a share's consumers have time"
    );
}

#[test]
fn only_the_configuration_lets_publishers_to_a_topic_wait_for_its_subscribers() {
    let refuse = QueueOptions { overflow: Some(Overflow::Refuse), ..said() };
    let newest = QueueOptions { overflow: Some(Overflow::DropNewest), ..said() };
    let strict = Limits { overflow: Overflow::Refuse, ..limits() };
    for key in [key(DURABLE, "t/+"), key("g", "t")] {
        assert_eq!(terms(&limits(), &key, &refuse).overflow, limits().overflow);
        assert_eq!(terms(&limits(), &key, &newest).overflow, Overflow::DropNewest);
        assert_eq!(terms(&strict, &key, &said()).overflow, Overflow::Refuse);
    }
    assert_eq!(terms(&limits(), &key("", Q), &refuse).overflow, Overflow::Refuse);
}

#[test]
fn who_waited_in_vain_is_told_what_holds() {
    let mut broker = broker(1, small());
    let options = QueueOptions { max_messages: Some(9), max_bytes: Some(700), ..said() };
    broker.consumer_with(1, Q, &options);
    let (messages, bytes, mend) = broker.engines[0].capacity_of(&key("", Q));
    assert_eq!((messages, bytes), (2, 700));
    // Nobody is told to raise what is higher than the broker's own limit already.
    assert!(mend.contains("queues.max_messages or x-max-length-bytes"), "{mend}");
    let (messages, _, mend) = broker.engines[0].capacity_of(&key(DURABLE, "t/+"));
    assert!(messages == limits().max_queued_messages && mend.contains("max_queued_messages"), "{mend}");
}

/// A share that stays without a member.
fn stays() -> QueueOptions {
    QueueOptions { durable: Some(true), ..said() }
}

#[test]
fn shares_that_stay_are_counted() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, with(QueueDefaults { max_queues: 2, ..QueueDefaults::default() }));
        let queues = |broker: &Broker| broker.engines[0].stats().queues;
        broker.consumer_with(1, "$share/g/t", &stays());
        broker.consumer_with(2, "$share/g/t", &stays());
        assert_eq!(queues(&broker), 1, "the same");
        broker.consumer_with(3, "$share/h/t", &stays());
        assert_eq!(closed(&broker.consumer_with(4, "$share/i/t", &stays())), Some(Kind::QuotaExceeded));
        assert_eq!(closed(&broker.consumer(0, 5, Q)), Some(Kind::QuotaExceeded));
        let (entries, groups) = (broker.engines[0].shared().tree.len(), broker.engines.iter());
        assert_eq!(
            (entries, groups.map(|engine| engine.groups.len()).sum()),
            (2, 2_usize),
            "nothing is left of it"
        );
        // A plain one is not counted, one that is not to stay any more neither.
        assert_eq!(closed(&broker.consumer(0, 6, "$share/i/t")), None);
        let plain = QueueOptions { durable: Some(false), ..said() };
        broker.consumer_with(7, "$share/h/t", &plain);
        assert_eq!(queues(&broker), 1);
        assert_eq!(closed(&broker.consumer(0, 8, Q)), None);
        // One that is refused for another reason does not count.
        broker.close(8);
        broker.talk(0, 9);
        broker.ask(9, Request::Forget { filter: Q, durable: "" });
        assert_eq!(queues(&broker), 1);
        broker.talk(0, 10);
        let options = stays();
        let alone = Consume { exclusive: true, options: &options, ..consume(1, "$share/i/t") };
        assert_eq!(closed(&broker.ask(10, Request::Consume(alone))), Some(Kind::NotAuthorized));
        assert_eq!(queues(&broker), 1);
    }
}

#[test]
fn a_share_that_stays_ends_when_it_is_told_to() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        let last = usize::from(workers) - 1;
        broker.talk(last, 9);
        let expires = QueueOptions { idle_expiry_ms: Some(5_000), ..stays() };
        broker.consumer_with(1, "$share/g/t", &expires);
        broker.pass(20_000);
        broker.close(1);
        broker.send(9, "t", "x");
        broker.pass(4_500);
        assert_eq!(broker.sum(|stats| stats.queued), 1);
        broker.pass(1_000);
        assert_eq!((broker.sum(|stats| stats.queued), broker.engines[0].stats().queues), (0, 0));
        assert_eq!(
            (broker.dropped(DropReason::NoGroupMember), broker.engines[0].shared().tree.len()),
            (1, 0)
        );
        broker.consumer_with(2, "$share/g/t", &stays());
        let forget = Request::Forget { filter: "$share/g/t", durable: "" };
        broker.talk(last, 3);
        assert_eq!(closed(&broker.ask(3, forget.clone())), Some(Kind::NotAuthorized), "somebody is there");
        broker.close(2);
        broker.send(9, "t", "x");
        broker.told();
        assert_eq!(closed(&broker.ask(9, forget)), None);
        let told = broker.told();
        assert!(told.iter().any(|op| op.starts_with("group ended")), "{told:?}");
        assert_eq!((broker.engines[0].stats().queues, broker.engines[0].shared().tree.len()), (0, 0));
    }
}
