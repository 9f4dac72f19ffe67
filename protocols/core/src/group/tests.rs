//! Who gets a shared message, what waits for whom, and how loans end.

mod choosing;
mod model;
mod queues;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::hash::Seed;
use crate::id::Now;
use crate::message::{Fields, Publish};
use crate::policy::ShareStrategy;
use crate::topic::TopicName;

/// A share's.
const TERMS: Terms = Terms {
    is_queue: false,
    keeps: false,
    strategy: ShareStrategy::RoundRobin,
    max_messages: 3,
    max_bytes: 1 << 20,
    overflow: Overflow::DropNewest,
    max_outstanding: 2,
    max_window: 100,
    max_lent_bytes: 1 << 20,
    max_priority: 9,
    message_ttl_ms: None,
    max_deliveries: 3,
    ack_deadline_ms: None,
    idle_expiry_ms: None,
};

fn seed() -> Seed {
    Seed::new(7)
}

/// What a group is given at that time; every worker can be reached.
fn around<T>(terms: &Terms, now_ms: u64, does: impl FnOnce(&Around<'_>) -> T) -> T {
    let now = Now { mono_ms: now_ms, wall_ms: 1_000_000 + now_ms };
    does(&Around { now, terms, seed: &seed(), own: WorkerId(0), credit: &[1, 1] })
}

fn session(slot: u32) -> SessionId {
    SessionId { worker: WorkerId((slot % 2) as u16), slot, incarnation: 1 }
}

fn member(slot: u32) -> Member {
    Member {
        session: session(slot),
        qos: Qos::ExactlyOnce,
        online: true,
        durable: false,
        retain_as_published: false,
        subscription_ids: None,
        outstanding: 0,
        window: 0,
        selector: None,
        exclusive: false,
        bearer: None,
    }
}

fn group(slots: std::ops::Range<u32>) -> Group {
    let mut group = Group::new(1);
    slots.for_each(|slot| group.join(member(slot)).unwrap());
    group
}

fn message(topic: &str, qos: Qos, expiry_s: Option<u32>) -> Arc<Message> {
    let publish = Publish {
        topic: TopicName::from_validated(topic),
        fields: Fields::default(),
        payload: topic.as_bytes(),
        qos,
        retain: false,
        dup: false,
        packet_id: None,
        expiry_s,
    };
    Message::new(&publish, SessionId::NOBODY, 0)
}

fn offer_as(group: &mut Group, strategy: ShareStrategy, topic: &str) -> Choice {
    let message = message(topic, Qos::AtLeastOnce, None);
    around(&Terms { strategy, ..TERMS }, 0, |around| group.offer(&message, around))
}

fn offer(group: &mut Group, topic: &str) -> Choice {
    offer_as(group, ShareStrategy::RoundRobin, topic)
}

fn chosen(group: &Group, choice: &Choice) -> u32 {
    let Choice::Send(place, _) = choice else { panic!("{choice:?}") };
    group.members()[*place].session.slot
}

fn loan(choice: &Choice) -> u64 {
    let Choice::Send(_, Some(loan)) = choice else { panic!("{choice:?}") };
    *loan
}

fn settle(group: &mut Group, choice: &Choice) {
    group.settle(loan(choice), Outcome::Finished, &TERMS);
}

fn next(group: &mut Group) -> Option<(String, u64)> {
    let Next::Send { message, loan, .. } = around(&TERMS, 0, |around| group.next(around))? else { panic!() };
    Some((message.topic().as_str().to_owned(), loan.unwrap()))
}

#[test]
fn round_robin_goes_round_and_passes_over_the_absent() {
    let mut group = group(0..3);
    let turn = |group: &mut Group| {
        let choice = offer(group, "t");
        settle(group, &choice);
        chosen(group, &choice)
    };
    // Sessions 0 and 2 are at home on worker 0.
    assert_eq!([turn(&mut group), turn(&mut group), turn(&mut group), turn(&mut group)], [0, 2, 1, 0]);
    group.set_presence(session(1), false, true);
    assert_eq!([turn(&mut group), turn(&mut group), turn(&mut group)], [2, 0, 2]);
    assert!(!group.leave(session(0)));
    assert_eq!([turn(&mut group), turn(&mut group)], [2, 2]);
}

#[test]
fn least_inflight_prefers_whoever_has_least() {
    let mut group = group(0..2);
    let first = offer_as(&mut group, ShareStrategy::LeastInflight, "t");
    let second = offer_as(&mut group, ShareStrategy::LeastInflight, "t");
    assert_ne!(chosen(&group, &first), chosen(&group, &second));
    settle(&mut group, &second);
    for _ in 0..2 {
        let third = offer_as(&mut group, ShareStrategy::LeastInflight, "t");
        assert_eq!(chosen(&group, &third), chosen(&group, &second));
        settle(&mut group, &third);
    }
}

#[test]
fn sticky_keeps_a_topic_and_a_leaving_member_moves_only_its_own() {
    let mut group = group(0..4);
    let owners = |group: &mut Group| -> BTreeMap<String, u32> {
        (0..64)
            .map(|number| {
                let topic = format!("t/{number}");
                let choice = offer_as(group, ShareStrategy::Sticky, &topic);
                settle(group, &choice);
                (topic, chosen(group, &choice))
            })
            .collect()
    };
    let before = owners(&mut group);
    assert_eq!(before, owners(&mut group));
    for slot in 0..4 {
        assert!(before.values().filter(|&&owner| owner == slot).count() > 4, "member {slot} has too few");
    }
    group.leave(session(2));
    for (topic, owner) in owners(&mut group) {
        assert!(before[&topic] == owner || before[&topic] == 2, "{topic} moved without need");
    }
}

#[test]
fn a_sticky_topic_waits_for_its_busy_member() {
    let mut group = group(0..2);
    for _ in 0..2 {
        assert!(matches!(offer_as(&mut group, ShareStrategy::Sticky, "t"), Choice::Send(..)));
    }
    assert!(matches!(offer_as(&mut group, ShareStrategy::Sticky, "t"), Choice::Kept));
}

#[test]
fn a_member_with_as_much_as_it_may_have_is_passed_over_and_waited_for() {
    let mut group = group(0..1);
    let first = offer(&mut group, "1");
    offer(&mut group, "2");
    assert!(matches!(offer(&mut group, "3"), Choice::Kept));
    assert_eq!(next(&mut group), None);
    assert!(matches!(group.settle(loan(&first), Outcome::Finished, &TERMS), Settled::Done(0)));
    assert_eq!(next(&mut group).unwrap().0, "3");
}

#[test]
fn a_worker_that_can_not_be_reached_is_passed_over() {
    let mut group = group(0..2);
    for _ in 0..2 {
        let (now, credit) = (Now::default(), [0, 1]);
        let around = Around { now, terms: &TERMS, seed: &seed(), own: WorkerId(2), credit: &credit };
        let choice = group.offer(&message("t", Qos::AtMostOnce, None), &around);
        assert_eq!(chosen(&group, &choice), 1);
        assert!(matches!(choice, Choice::Send(_, None)), "QoS 0 is not lent");
    }
}

#[test]
fn without_anybody_online_only_a_durable_member_keeps_messages_within_bounds() {
    let mut group = group(0..2);
    group.set_presence(session(0), false, false);
    group.set_presence(session(1), false, false);
    assert!(matches!(offer(&mut group, "t"), Choice::Dropped));
    group.set_presence(session(1), false, true);
    for _ in 0..TERMS.max_messages {
        assert!(matches!(offer(&mut group, "t"), Choice::Kept));
    }
    assert!(matches!(offer(&mut group, "t"), Choice::Full), "one past the bound");
    let qos_0 = message("t", Qos::AtMostOnce, None);
    let choice = around(&TERMS, 0, |around| group.offer(&qos_0, around));
    assert!(matches!(choice, Choice::Dropped), "QoS 0 is not kept");
}

#[test]
fn the_bound_on_bytes_holds_too() {
    let mut group = group(0..1);
    group.set_presence(session(0), false, true);
    let cost = message("t", Qos::AtLeastOnce, None).cost();
    let tight = Terms { max_bytes: 2 * cost, ..TERMS };
    let mut offer = || {
        let message = message("t", Qos::AtLeastOnce, None);
        around(&tight, 0, |around| group.offer(&message, around))
    };
    assert!(matches!((offer(), offer()), (Choice::Kept, Choice::Kept)));
    assert!(matches!(offer(), Choice::Full));
}

#[test]
fn returned_loans_come_back_in_their_order_before_what_was_never_lent() {
    let mut group = group(0..1);
    let loans = [offer(&mut group, "1"), offer(&mut group, "2")].map(|choice| loan(&choice));
    group.set_presence(session(0), false, true);
    assert!(matches!(offer(&mut group, "3"), Choice::Kept));
    assert!(matches!(group.settle(loans[1], Outcome::Returned, &TERMS), Settled::Back(0, None)));
    assert!(matches!(group.settle(loans[0], Outcome::Returned, &TERMS), Settled::Back(0, None)));
    assert_eq!(group.loans(), 0);
    group.set_presence(session(0), true, true);
    let (first, again) = next(&mut group).unwrap();
    assert_eq!((first.as_str(), next(&mut group).unwrap().0.as_str()), ("1", "2"));
    // Lent and returned once more, it is still the oldest.
    assert!(matches!(group.settle(again, Outcome::Returned, &TERMS), Settled::Back(0, None)));
    assert_eq!(next(&mut group).unwrap().0, "1");
}

#[test]
fn a_loan_ends_once_and_only_in_its_own_group() {
    let mut group = group(0..1);
    let number = loan(&offer(&mut group, "t"));
    assert_eq!(group.members()[0].outstanding, 1);
    assert!(matches!(Group::new(2).settle(number, Outcome::Returned, &TERMS), Settled::Unknown));
    assert!(matches!(group.settle(number, Outcome::Finished, &TERMS), Settled::Done(0)));
    assert!(matches!(group.settle(number, Outcome::Returned, &TERMS), Settled::Unknown));
    assert_eq!((group.members()[0].outstanding, group.backlog()), (0, 0));
}

#[test]
fn who_leaves_and_joins_again_still_holds_its_loans() {
    let mut group = group(0..2);
    let choice = offer(&mut group, "t");
    let who = chosen(&group, &choice);
    group.leave(session(who));
    group.join(member(who)).unwrap();
    let held = |group: &Group| {
        group.members().iter().find(|member| member.session == session(who)).unwrap().outstanding
    };
    assert_eq!(held(&group), 1);
    let again = Member { qos: Qos::AtLeastOnce, ..member(who) };
    group.join(again).unwrap();
    assert_eq!(group.members().len(), 2);
    assert_eq!(held(&group), 1, "new options forget nothing");
    group.leave(session(who));
    assert!(matches!(group.settle(loan(&choice), Outcome::Finished, &TERMS), Settled::Done(0)));
    group.join(member(who)).unwrap();
    assert_eq!(held(&group), 0, "what was answered meanwhile is not held");
}

/// Time of 10,000 joins of a member that is there, and of as many leaves and joins, while `loans` are unanswered.
#[allow(clippy::disallowed_methods, reason = "the test is about real time")]
fn time_of_joins(loans: u32) -> Duration {
    let mut group = group(0..2);
    let terms = Terms { max_outstanding: loans, ..TERMS };
    let message = message("t", Qos::AtLeastOnce, None);
    for _ in 0..loans {
        around(&terms, 0, |around| group.offer(&message, around));
    }
    let start = Instant::now();
    for _ in 0..10_000 {
        group.join(member(0)).unwrap();
        group.leave(session(0));
        group.join(member(0)).unwrap();
    }
    start.elapsed()
}

#[test]
fn a_join_costs_the_same_however_many_loans_there_are() {
    let few = (0..3).map(|_| time_of_joins(10)).min().unwrap();
    let many = time_of_joins(10_000);
    assert!(many < 20 * few, "{many:?} with 10,000 loans, {few:?} with 10");
}

#[test]
fn what_has_expired_at_the_front_is_taken_out() {
    let mut group = group(0..1);
    group.set_presence(session(0), false, true);
    let short = message("short", Qos::AtLeastOnce, Some(1));
    around(&TERMS, 0, |around| group.offer(&short, around));
    assert!(around(&TERMS, 999, |around| group.next(around)).is_none());
    assert!(matches!(around(&TERMS, 1_000, |around| group.next(around)), Some(Next::Expired(_))));
    assert_eq!((group.backlog(), group.backlog_bytes()), (0, 0));
}
