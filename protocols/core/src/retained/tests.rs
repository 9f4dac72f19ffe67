//! The retained tree against a naive model: look-up, paced replay, caps, expiry.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::id::{Qos, SessionId};
use crate::message::{Fields, Publish};
use crate::topic::{TopicFilter, TopicLimits};

fn message(topic: &str, payload: &str, expiry_s: Option<u32>) -> Arc<Message> {
    let publish = Publish {
        topic: TopicName::from_validated(topic),
        fields: Fields::default(),
        payload: payload.as_bytes(),
        qos: Qos::AtMostOnce,
        retain: true,
        dup: false,
        packet_id: None,
        expiry_s,
    };
    Message::new(&publish, SessionId::NOBODY, 0)
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, &TopicLimits::default()).unwrap()
}

fn retained(topics: &[&str]) -> Retained {
    let retained = Retained::new(RetainedLimits::default());
    for topic in topics {
        retained.set(message(topic, "x", None), 0).unwrap();
    }
    retained
}

/// The topics a replay hands over, and in how many steps of `budget`.
fn replayed(retained: &Retained, wanted: &str, budget: usize, now_ms: u64) -> (Vec<String>, usize) {
    let (mut cursor, mut topics, mut steps) = (Cursor::default(), Vec::new(), 0);
    loop {
        steps += 1;
        assert!(steps < 100_000, "{wanted} does not end");
        let progress = retained.replay(&filter(wanted), &mut cursor, u64::MAX, now_ms, budget, |message| {
            topics.push(message.topic().as_str().to_owned());
            ControlFlow::Continue(())
        });
        if progress == Progress::Done {
            return (topics, steps);
        }
    }
}

#[test]
fn the_last_message_of_a_topic_is_kept_and_versions_rise() {
    let retained = retained(&[]);
    let one = retained.set(message("a", "1", None), 0).unwrap();
    assert!(one.replaced.is_none());
    let two = retained.set(message("a", "2", None), 0).unwrap();
    assert_eq!(two.replaced.unwrap().payload(), b"1");
    assert!(two.version > one.version && retained.version() == two.version);
    let a = TopicName::from_validated("a");
    assert_eq!(retained.get(&a, 0).unwrap().payload(), b"2");
    assert_eq!(retained.len(), 1);
    let gone = retained.remove(&a).unwrap();
    assert!(gone.version > two.version && gone.replaced.unwrap().payload() == b"2");
    assert!(retained.remove(&a).is_none() && retained.get(&a, 0).is_none());
    assert_eq!((retained.is_empty(), retained.bytes()), (true, 0));
    retained.resume_after(100);
    assert_eq!(retained.set(message("a", "3", None), 0).unwrap().version, 101);
    retained.resume_after(5);
    assert_eq!(retained.version(), 101);
}

#[test]
fn a_change_that_is_not_made_leaves_its_place_to_the_message_that_stays() {
    let retained = Retained::new(RetainedLimits::default());
    let topic = TopicName::from_validated("t");
    retained.set(message("t", "old", Some(9)), 0).unwrap();
    let (first, second) = (retained.reserve(), retained.reserve());
    let (rank, old) = retained.take_back(&topic, first, 0).unwrap();
    assert_eq!(old.payload(), b"old");
    assert!(first < rank && rank < second, "{first} {rank} {second}");
    assert!(retained.take_back(&topic, first, 0).is_none(), "a newer one is there");
    retained.set_at(message("t", "new", None), second, 0).unwrap();
    assert_eq!(retained.get(&topic, 0).unwrap().payload(), b"new", "which came later");
    assert!(retained.take_back(&topic, first, 0).is_none());

    retained.set(message("u", "short", Some(9)), 0).unwrap();
    let topic = TopicName::from_validated("u");
    let (rank, _) = retained.take_back(&topic, retained.reserve(), 0).unwrap();
    assert!(retained.take_back(&topic, retained.reserve(), 10_000).is_none(), "it has expired");
    assert_eq!(retained.sweep(10_000, 10).first().unwrap().0, rank, "the store knows it by that number");
}

#[test]
fn limits_hold_in_count_and_bytes_and_leave_the_old_message() {
    let cost = message("a", "1", None).cost();
    let retained = Retained::new(RetainedLimits { max_messages: 2, max_bytes: 2 * cost + 5 });
    retained.set(message("a", "1", None), 0).unwrap();
    retained.set(message("b", "1", None), 0).unwrap();
    let full = retained.set(message("c", "1", None), 0).unwrap_err();
    assert_eq!(full, RetainedFull::Messages { limit: 2 });
    retained.set(message("b", "123456", None), 0).unwrap();
    assert_eq!(retained.bytes(), 2 * cost + 5);
    let full = retained.set(message("b", "1234567", None), 0).unwrap_err();
    assert!(matches!(full, RetainedFull::Bytes { needed: 1, .. }), "{full}");
    assert_eq!(retained.get(&TopicName::from_validated("b"), 0).unwrap().payload(), b"123456");
    retained.set(message("b", "1", None), 0).unwrap();
    assert_eq!(retained.bytes(), 2 * cost);
}

#[test]
fn a_recycled_message_is_kept_without_the_room_of_the_one_before() {
    let mut pool = crate::message::MessagePool::default();
    let publish = |payload| Publish {
        topic: TopicName::from_validated("t"),
        fields: Fields::default(),
        payload,
        qos: Qos::AtMostOnce,
        retain: true,
        dup: false,
        packet_id: None,
        expiry_s: None,
    };
    let large = pool.take(&publish(&[0; 500]), SessionId::NOBODY, 0);
    pool.give_back(large);
    let retained = Retained::new(RetainedLimits::default());
    retained.set(pool.take(&publish(b"x"), SessionId::NOBODY, 0), 0).unwrap();
    assert_eq!(retained.bytes(), message("t", "x", None).cost());
    retained.remove(&TopicName::from_validated("t"));
    assert_eq!(retained.bytes(), 0);
}

#[test]
fn what_has_expired_is_not_read_makes_room_and_is_swept() {
    let retained = Retained::new(RetainedLimits { max_messages: 3, max_bytes: usize::MAX });
    for (topic, expiry) in [("a", 1), ("b", 2), ("c", 3)] {
        retained.set(message(topic, "x", Some(expiry)), 0).unwrap();
    }
    let a = TopicName::from_validated("a");
    assert!(retained.get(&a, 999).is_some() && retained.get(&a, 1000).is_none());
    assert_eq!(replayed(&retained, "#", 10, 1000).0, ["b", "c"]);
    assert_eq!(retained.next_expiry_ms(), Some(1000));
    assert!(retained.set(message("d", "x", None), 999).is_err());
    retained.set(message("d", "x", None), 1000).unwrap();
    assert_eq!(retained.len(), 3);
    let swept = |now_ms, budget| retained.sweep(now_ms, budget).len();
    assert_eq!((swept(1999, 9), swept(1999, 9)), (1, 0), "what made room before is told of, once");
    assert_eq!((swept(5000, 1), swept(5000, 9)), (1, 1));
    assert_eq!((retained.len(), retained.next_expiry_ms()), (1, None));
    // A message that replaces one that would have expired is not swept in its stead.
    retained.set(message("e", "x", Some(1)), 0).unwrap();
    retained.set(message("e", "y", None), 0).unwrap();
    assert_eq!((retained.sweep(9000, 9).len(), retained.len()), (0, 2));
}

#[test]
fn replay_skips_what_is_newer_than_the_subscription() {
    let retained = retained(&["a", "b"]);
    let subscribed_at = retained.version();
    retained.set(message("b", "newer", None), 0).unwrap();
    retained.set(message("c", "newer", None), 0).unwrap();
    let mut topics = Vec::new();
    let take = |message: &Arc<Message>| {
        topics.push(message.topic().as_str().to_owned());
        ControlFlow::Continue(())
    };
    let progress = retained.replay(&filter("#"), &mut Cursor::default(), subscribed_at, 0, 10, take);
    assert_eq!((progress, topics), (Progress::Done, vec!["a".to_owned()]));
}

#[test]
fn a_break_goes_on_behind_the_message_that_was_taken() {
    let retained = retained(&["a/1", "a/2", "a/3"]);
    for text in ["a/+", "a/#", "#"] {
        let (mut cursor, mut taken) = (Cursor::default(), Vec::new());
        for _ in 0..3 {
            retained.replay(&filter(text), &mut cursor, u64::MAX, 0, 100, |message| {
                taken.push(message.topic().as_str().to_owned());
                ControlFlow::Break(())
            });
        }
        assert_eq!(taken, ["a/1", "a/2", "a/3"]);
        let progress = retained.replay(&filter(text), &mut cursor, u64::MAX, 0, 100, |_| panic!("again"));
        assert_eq!(progress, Progress::Done);
    }
}

#[test]
fn a_replay_seeks_over_what_cannot_match() {
    let retained = retained(&[]);
    for site in 0..100 {
        for sensor in 0..100 {
            retained.set(message(&format!("site{site:02}/s{sensor:02}/t"), "x", None), 0).unwrap();
        }
    }
    retained.set(message("$SYS/x/t", "x", None), 0).unwrap();
    for (wanted, found, most) in [
        ("site50/#", 100, 103),
        ("+/s50/t", 100, 310),
        ("site50/+/t", 100, 103),
        ("nothing/+", 0, 2),
        ("+", 0, 110),
        ("site99/s99/#", 1, 4),
        ("site50/s50/t", 1, 1),
    ] {
        let (topics, steps) = replayed(&retained, wanted, 1, 0);
        assert_eq!(topics.len(), found, "{wanted}");
        assert!(steps <= most, "{wanted}: {steps} steps");
    }
}

#[test]
fn mqtt_4_7_2_1_a_leading_wildcard_does_not_read_dollar_topics() {
    let retained = retained(&["$SYS/a", "$", "a/a", "a", "!/a"]);
    assert_eq!(replayed(&retained, "#", 2, 0).0, ["!/a", "a", "a/a"]);
    assert_eq!(replayed(&retained, "+/a", 2, 0).0, ["!/a", "a/a"]);
    assert_eq!(replayed(&retained, "$SYS/#", 2, 0).0, ["$SYS/a"]);
}

fn a_level() -> impl Strategy<Value = &'static str> {
    // Characters on both sides of '/' in the order of bytes, since seeking depends on it.
    prop_oneof![Just("a"), Just("b"), Just(""), Just("a."), Just("a.b"), Just("a0"), Just("$x"), Just("é")]
}

fn a_topic() -> impl Strategy<Value = String> {
    prop::collection::vec(a_level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("not empty", |text| !text.is_empty())
}

fn a_filter() -> impl Strategy<Value = String> {
    (prop::collection::vec(prop_oneof![a_level(), Just("+")], 0..4), any::<bool>())
        .prop_map(|(mut levels, multi)| {
            if multi {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("not empty", |text| !text.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the pace, a replay gives what the plain matcher gives, in order.
    #[test]
    fn replay_agrees_with_the_plain_matcher(
        topics in prop::collection::btree_set(a_topic(), 0..60),
        wanted in a_filter(),
        budget in 1..10_usize,
    ) {
        let all: Vec<&str> = topics.iter().map(String::as_str).collect();
        let retained = retained(&all);
        let plain = filter(&wanted);
        let expected: Vec<_> = topics
            .iter()
            .filter(|topic| plain.matches(&TopicName::from_validated(topic)))
            .cloned()
            .collect();
        let (found, steps) = replayed(&retained, &wanted, budget, 0);
        prop_assert_eq!(found, expected);
        prop_assert!(steps <= topics.len().div_ceil(budget) + 1);
    }

    /// What changes between the steps is left to live delivery; what doesn't change is handed over exactly once.
    #[test]
    fn replay_survives_changes_between_its_steps(
        topics in prop::collection::btree_set(a_topic(), 1..40),
        changes in prop::collection::vec((a_topic(), any::<bool>()), 0..40),
        wanted in a_filter(),
        budget in 1..5_usize,
        breaks in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let all: Vec<&str> = topics.iter().map(String::as_str).collect();
        let retained = retained(&all);
        let plain = filter(&wanted);
        let subscribed_at = retained.version();
        let mut breaks = breaks.iter().cycle();
        let mut changed = BTreeSet::new();
        let mut changes = changes.into_iter();
        let (mut cursor, mut found) = (Cursor::default(), Vec::new());
        while retained.replay(&plain, &mut cursor, subscribed_at, 0, budget, |message| {
            assert_eq!(message.payload(), b"x", "newer than the subscription");
            found.push(message.topic().as_str().to_owned());
            if *breaks.next().unwrap() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }) == Progress::More
        {
            if let Some((topic, remove)) = changes.next() {
                if remove {
                    retained.remove(&TopicName::from_validated(&topic));
                } else {
                    retained.set(message(&topic, "newer", None), 0).unwrap();
                }
                changed.insert(topic);
            }
        }
        prop_assert!(found.is_sorted_by(|a, b| a < b), "twice or out of order: {:?}", found);
        for topic in &topics {
            let is_due = plain.matches(&TopicName::from_validated(topic)) && !changed.contains(topic);
            prop_assert!(!is_due || found.contains(topic), "{} is missing", topic);
        }
        for topic in &found {
            prop_assert!(topics.contains(topic) && plain.matches(&TopicName::from_validated(topic)));
        }
    }
}
