//! Who gets what in a queue: selectors and message groups, and what asking costs.

use super::queues::{Bench, GROUP, QUEUE};
use super::*;

fn choosy(slot: u32, selector: &str) -> Member {
    Member { selector: Some(Arc::new(Selector::parse(selector).unwrap())), ..member(slot) }
}

#[test]
fn what_nobody_free_wants_does_not_hold_up_what_comes_behind_it() {
    let mut bench = Bench::of(Terms { max_outstanding: 1, ..QUEUE });
    bench.group.join(choosy(0, "kind = 'a'")).unwrap();
    bench.group.join(choosy(1, "kind = 'b'")).unwrap();
    let put = |bench: &mut Bench, name: &str| bench.put(name, &[("kind", &name[..1])]);
    let first = put(&mut bench, "a1");
    assert_eq!(chosen(&bench.group, &first), 0);
    assert!(matches!(put(&mut bench, "a2"), Choice::Kept));
    assert!(matches!(put(&mut bench, "c1"), Choice::Kept), "nobody wants it, and a queue keeps it");
    let other = put(&mut bench, "b1");
    assert_eq!(chosen(&bench.group, &other), 1, "at once");
    assert_eq!(bench.next(), None);
    bench.settle(loan(&first), Outcome::Finished);
    assert_eq!(bench.next().map(|(name, slot, ..)| (name, slot)), Some(("a2".into(), 0)));
    // What is lower in rank is shown to whoever has passed it.
    bench.settle(loan(&other), Outcome::Finished);
    assert_eq!(bench.next(), None);
    bench.group.join(choosy(1, "kind = 'c'")).unwrap();
    assert_eq!(bench.next().map(|(name, slot, ..)| (name, slot)), Some(("c1".into(), 1)));
}

#[test]
fn a_new_message_does_not_overtake_one_that_waits_for_the_same_member() {
    let mut bench = Bench::of(Terms { max_outstanding: 1, ..QUEUE });
    bench.group.join(choosy(0, "kind = 'a'")).unwrap();
    let first = bench.put("1", &[("kind", "a")]);
    bench.put("2", &[("kind", "a")]);
    bench.settle(loan(&first), Outcome::Finished);
    // Nobody has handed out the second one yet.
    assert!(matches!(bench.put("3", &[("kind", "a")]), Choice::Kept));
    assert_eq!(bench.next_name().as_deref(), Some("2"));
}

#[test]
fn each_selector_is_asked_once_for_each_message() {
    const MESSAGES: u64 = 1_000;
    let mut bench = Bench::of(Terms { max_outstanding: 1, ..QUEUE });
    for (slot, wanted) in ["a", "b", "c"].into_iter().enumerate() {
        bench.group.join(choosy(slot as u32, &format!("kind = '{wanted}'"))).unwrap();
    }
    // Nobody wants what waits longest.
    let mut first = None;
    for number in 0..MESSAGES {
        let kind = if number < MESSAGES / 2 { "nobody's" } else { "c" };
        let choice = bench.put(&number.to_string(), &[("kind", kind)]);
        if let Choice::Send(_, Some(loan)) = choice {
            first = Some(loan);
        }
    }
    bench.settle(first.unwrap(), Outcome::Finished);
    let mut taken = 1;
    for round in 0..3 * MESSAGES {
        let Some((_, _, loan, _)) = bench.next() else { break };
        // Every other one comes back once, which shows nothing to anybody anew.
        let outcome = if round % 2 == 0 && taken < 400 { Outcome::Returned } else { Outcome::Finished };
        bench.settle(loan, outcome);
        taken += u64::from(outcome == Outcome::Finished);
        // An urgent one goes before everybody's cursor.
        if round < 100 {
            bench.put("urgent", &[("kind", "nobody's"), ("priority", "9")]);
        }
    }
    assert_eq!(taken, MESSAGES / 2);
    assert!(bench.group.asked <= 3 * (MESSAGES + 100), "{} questions", bench.group.asked);
}

#[test]
fn looking_for_what_is_wanted_costs_no_more_the_more_is_not() {
    // Steps through what waits, rather than questions: a cursor never goes over the same ground twice.
    let mut bench = Bench::of(Terms { max_outstanding: 1, ..QUEUE });
    bench.group.join(choosy(0, "kind = 'a'")).unwrap();
    for number in 0..1_000 {
        bench.put(&number.to_string(), &[("kind", "b")]);
    }
    let before = bench.group.seats[0].cursor;
    for _ in 0..100 {
        let choice = bench.put("wanted", &[("kind", "a")]);
        let cursor = bench.group.seats[0].cursor;
        assert!(cursor >= before && cursor > Rank::FIRST);
        bench.settle(loan(&choice), Outcome::Finished);
    }
}

#[test]
fn equal_selectors_are_one_and_a_place_that_is_given_to_another_forgets() {
    let mut bench = Bench::of(Terms { max_outstanding: 1, ..QUEUE });
    bench.group.join(choosy(0, "kind = 'a'")).unwrap();
    bench.group.join(choosy(1, "kind = 'a'")).unwrap();
    bench.put("x", &[("kind", "b")]);
    assert_eq!((bench.next(), bench.group.asked), (None, 1));
    bench.group.leave(session(0));
    bench.group.leave(session(1));
    bench.group.join(choosy(2, "kind = 'b'")).unwrap();
    assert_eq!(bench.next().map(|(name, slot, ..)| (name, slot)), Some(("x".into(), 2)));
}

#[test]
fn more_selectors_than_are_remembered_choose_as_well() {
    let mut bench = Bench::of(QUEUE);
    for slot in 0..40 {
        bench.group.join(choosy(slot, &format!("kind = '{slot}'"))).unwrap();
    }
    for slot in [39, 0, 35] {
        let choice = bench.put("x", &[("kind", &slot.to_string())]);
        assert_eq!(chosen(&bench.group, &choice), slot);
    }
    assert!(matches!(bench.put("x", &[("kind", "40")]), Choice::Kept));
}

#[test]
fn a_share_keeps_nothing_that_no_member_wants() {
    let mut bench = Bench::of(Terms { max_outstanding: 1, ..TERMS });
    bench.group.join(choosy(0, "kind = 'a'")).unwrap();
    assert!(matches!(bench.put("1", &[("kind", "a")]), Choice::Send(..)));
    assert!(matches!(bench.put("2", &[("kind", "a")]), Choice::Kept));
    assert!(matches!(bench.put("3", &[("kind", "b")]), Choice::Unwanted));
    bench.group.join(choosy(1, "kind = 'b'")).unwrap();
    assert!(bench.group.take_unwanted().is_empty());
    bench.group.leave(session(0));
    assert_eq!(bench.group.take_unwanted().len(), 1, "it was for the one who left");
    bench.group.join(member(2)).unwrap();
    assert!(matches!(bench.put("4", &[("kind", "c")]), Choice::Send(..)), "some want everything");
}

#[test]
fn a_sticky_share_asks_who_wants_it() {
    let strategy = ShareStrategy::Sticky;
    let mut bench = Bench::of(Terms { max_outstanding: 1, strategy, ..TERMS });
    bench.group.join(choosy(0, "kind = 'a'")).unwrap();
    bench.group.join(choosy(1, "kind = 'b'")).unwrap();
    bench.group.join(choosy(2, "kind = 'b'")).unwrap();
    for topic in ["t/1", "t/2", "t/3", "t/4"] {
        let a = bench.put(topic, &[("kind", "a")]);
        assert_eq!(chosen(&bench.group, &a), 0);
        let b = bench.put(topic, &[("kind", "b")]);
        let owner = chosen(&bench.group, &b);
        assert!(matches!(bench.put(topic, &[("kind", "b")]), Choice::Kept), "it waits for its member");
        bench.settle(loan(&b), Outcome::Finished);
        assert_eq!(
            bench.next().map(|(_, slot, loan, _)| (slot, bench.settle(loan, Outcome::Finished)).0),
            Some(owner)
        );
        bench.settle(loan(&a), Outcome::Finished);
    }
}

#[test]
fn a_message_group_stays_with_its_member() {
    let mut bench = Bench::with(Terms { max_outstanding: 2, ..QUEUE }, 0..2);
    let put = |bench: &mut Bench, id: &str| bench.put(id, &[(GROUP, id)]);
    let first = put(&mut bench, "x");
    let owner = chosen(&bench.group, &first);
    let other = put(&mut bench, "y");
    assert_ne!(chosen(&bench.group, &other), owner, "in turn");
    let second = put(&mut bench, "x");
    assert_eq!(chosen(&bench.group, &second), owner);
    assert!(matches!(put(&mut bench, "x"), Choice::Kept), "it waits, although another is free");
    let plain = bench.put("plain", &[]);
    assert_ne!(chosen(&bench.group, &plain), owner, "and holds up nobody");
    bench.settle(loan(&first), Outcome::Finished);
    assert_eq!(bench.next().map(|(name, slot, ..)| (name, slot)), Some(("x".into(), owner)));
    // Its member goes: the rest is the other's.
    assert!(matches!(put(&mut bench, "x"), Choice::Kept));
    bench.settle(loan(&plain), Outcome::Finished);
    assert_eq!(bench.next(), None);
    bench.group.leave(session(owner));
    assert_eq!(bench.next().map(|(name, slot, ..)| (name, slot)), Some(("x".into(), 1 - owner)));
}

#[test]
fn a_message_group_is_free_when_its_member_is_away() {
    let mut bench = Bench::with(Terms { max_outstanding: 2, ..QUEUE }, 0..2);
    let owner = {
        let choice = bench.put("x", &[(GROUP, "x")]);
        chosen(&bench.group, &choice)
    };
    bench.group.set_presence(session(owner), false, true);
    let choice = bench.put("x", &[(GROUP, "x")]);
    assert_eq!(chosen(&bench.group, &choice), 1 - owner);
}

#[test]
fn the_last_of_a_message_group_closes_it() {
    let mut bench = Bench::with(Terms { max_outstanding: 1, ..QUEUE }, 0..2);
    let first = bench.put("1", &[(GROUP, "x")]);
    let owner = chosen(&bench.group, &first);
    bench.put("2", &[(GROUP, "x"), ("JMSXGroupSeq", "-1")]);
    bench.put("3", &[(GROUP, "x")]);
    assert_eq!(bench.next(), None);
    bench.settle(loan(&first), Outcome::Finished);
    assert_eq!(bench.next().map(|(name, slot, ..)| (name, slot)), Some(("2".into(), owner)));
    // A new group of the same name, and its first member is busy.
    assert_eq!(bench.next().map(|(name, slot, ..)| (name, slot)), Some(("3".into(), 1 - owner)));
}

#[test]
fn the_oldest_of_too_many_message_groups_is_forgotten() {
    let mut bench = Bench::with(Terms { max_outstanding: 10_000, ..QUEUE }, 0..2);
    let put = |bench: &mut Bench, id: usize| {
        let id = format!("group {id}");
        let choice = bench.put("x", &[(GROUP, &id)]);
        chosen(&bench.group, &choice)
    };
    let first = put(&mut bench, 0);
    for id in 1..sticky::MAX_IDS {
        put(&mut bench, id);
    }
    assert_eq!(put(&mut bench, 0), first, "as many as are remembered");
    // One more goes to the other, and a plain one to the first: then it is the other's turn.
    assert_ne!(put(&mut bench, sticky::MAX_IDS), first);
    bench.put("plain", &[]);
    let anew = put(&mut bench, 0);
    assert_ne!(anew, first, "forgotten");
    assert_eq!(put(&mut bench, 0), anew);
}

#[test]
fn emptying_the_middle_leaves_no_holes_behind() {
    let mut bench = Bench::of(QUEUE);
    for number in 0..1_000 {
        bench.put(&number.to_string(), &[("kind", if number % 10 == 0 { "a" } else { "b" })]);
    }
    bench.group.join(choosy(0, "kind = 'b'")).unwrap();
    assert_eq!(bench.names().len(), 900);
    assert_eq!(bench.group.backlog(), 100);
    assert_eq!(bench.group.backlog.iter().count(), 100);
    bench.group.join(choosy(0, "kind = 'a'")).unwrap();
    let left = bench.names();
    assert!(left.len() == 100 && left.is_sorted_by_key(|name| name.parse::<u32>().unwrap()));
    assert_eq!((bench.group.backlog(), bench.group.backlog_bytes()), (0, 0));
}
