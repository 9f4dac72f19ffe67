//! Every kind of broken promise is seen, and a kept one is not called broken.

use super::*;

fn records(entries: &[Entry]) -> Vec<Record> {
    entries.iter().map(|entry| Record { cycle: 1, entry: entry.clone() }).collect()
}

/// The kinds of failure in a journal, each once.
fn kinds(entries: &[Entry]) -> Vec<String> {
    let mut kinds: Vec<String> =
        judge(&records(entries)).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    kinds.dedup();
    kinds
}

/// A message that is sent and acknowledged.
fn published(from: usize, seq: u32) -> [Entry; 2] {
    [Entry::Sent { from, seq }, Entry::Acked { from, seq }]
}

/// It comes to everybody, in the group to the first member.
fn came(from: usize, seq: u32) -> Vec<Entry> {
    (0..SEATS).map(|by| Entry::Got { by, from, seq }).collect()
}

#[test]
fn what_comes_to_everybody_in_order_is_right() {
    let all = [&published(2, 1)[..], &came(2, 1), &published(2, 2), &came(2, 2)].concat();
    assert_eq!(kinds(&all), [""; 0]);
    assert!(!is_missing_something(&records(&all)));
}

#[test]
fn an_acknowledged_message_that_one_seat_lacks_is_missing() {
    for lacking in 0..SEATS {
        let mut all = [&published(0, 7)[..], &came(0, 7)].concat();
        all.remove(2 + lacking);
        assert_eq!(kinds(&all), ["missing"], "{}", seat_name(lacking));
        // Without the acknowledgement nothing was promised.
        all.remove(1);
        assert_eq!(kinds(&all), [""; 0]);
    }
}

#[test]
fn the_group_s_other_member_is_as_good() {
    let mut all = [&published(0, 7)[..], &came(0, 7)].concat();
    *all.last_mut().unwrap() = Entry::Got { by: 5, from: 0, seq: 7 };
    assert_eq!(kinds(&all), [""; 0]);
    // But at QoS 2 it comes to one of them only.
    let both = [&published(2, 7)[..], &came(2, 7), &[Entry::Got { by: 5, from: 2, seq: 7 }]].concat();
    assert_eq!(kinds(&both), ["twice"]);
}

#[test]
fn only_exactly_once_at_both_ends_forbids_a_second_coming() {
    for (from, by, wrong) in [(2, 1, true), (3, 2, true), (2, 0, false), (0, 1, false), (1, 2, false)] {
        let again = Entry::Got { by, from, seq: 3 };
        let all = [&published(from, 3)[..], &came(from, 3), &[again]].concat();
        assert_eq!(kinds(&all).is_empty(), !wrong, "publisher {from}, subscriber {by}");
    }
}

#[test]
fn acknowledgements_are_not_forgotten_again_and_again() {
    let mut all = records(&[&published(0, 3)[..], &came(0, 3)].concat());
    let again = |cycle| Record { cycle, entry: Entry::Got { by: 0, from: 0, seq: 3 } };
    all.extend([2, 3, 4].map(again));
    assert_eq!(judge(&all), [""; 0]);
    // Twice in one cycle, after a lost connection, counts once.
    all.push(again(4));
    assert_eq!(judge(&all), [""; 0]);
    all.push(again(5));
    assert_eq!(judge(&all), ["again: p0-311-q1 3 reached s0-311-q1 in the cycles [1, 2, 3, 4, 5]"]);
}

#[test]
fn first_comings_are_in_order() {
    let swapped = [&published(0, 1)[..], &published(0, 2), &came(0, 2), &came(0, 1)].concat();
    let lines = judge(&records(&swapped));
    assert_eq!(lines.len(), 4, "one for each subscriber, none for the group: {lines:?}");
    assert!(lines[0].starts_with("disorder: cycle 1: p0-311-q1 1 reached s0-311-q1 after 2"), "{}", lines[0]);
    // Repeated ones come late by nature; other publishers' order does not matter.
    let again = [&published(0, 1)[..], &published(0, 2), &came(0, 1), &came(0, 2), &came(0, 1)].concat();
    assert_eq!(kinds(&again), [""; 0]);
    let other = [&published(0, 2)[..], &published(1, 1), &came(0, 2), &came(1, 1)].concat();
    assert_eq!(kinds(&other), [""; 0]);
}

#[test]
fn what_nobody_sent_must_not_come() {
    assert_eq!(kinds(&came(2, 9)), ["unsent"]);
    assert_eq!(kinds(&[Entry::Wrong("lost its session".to_owned())]), ["wrong"]);
}

/// Publisher 4's topic 0: values 0, 8, 16, 24; 32 clears it.
#[test]
fn a_retained_value_is_the_last_acknowledged_or_a_later_one() {
    let kept = |values: &[u32]| {
        let mut all = [&published(4, 8)[..], &published(4, 16), &[Entry::Sent { from: 4, seq: 24 }]].concat();
        all.push(Entry::Asks);
        all.extend(values.iter().map(|seq| Entry::Kept { from: 4, seq: *seq }));
        all.push(Entry::Asked);
        kinds(&all)
    };
    assert_eq!(kept(&[16]), [""; 0]);
    assert_eq!(kept(&[24]), [""; 0]);
    assert_eq!(kept(&[16, 24]), [""; 0]);
    assert_eq!(kept(&[8]), ["retained"]);
    assert_eq!(kept(&[32]), ["retained"]);
    assert_eq!(kept(&[]), ["retained"]);
}

#[test]
fn a_cleared_topic_stays_clear() {
    let mut all = [&published(4, 24)[..], &published(4, 32), &[Entry::Asks, Entry::Asked]].concat();
    assert_eq!(kinds(&all), [""; 0]);
    all.insert(5, Entry::Kept { from: 4, seq: 24 });
    assert_eq!(kinds(&all), ["retained"]);
    // Cleared, but nobody was told so: both are right.
    for values in [&[][..], &[Entry::Kept { from: 4, seq: 24 }]] {
        let unacknowledged = [
            &published(4, 24)[..],
            &[Entry::Sent { from: 4, seq: 32 }, Entry::Asks],
            values,
            &[Entry::Asked],
        ];
        assert_eq!(kinds(&unacknowledged.concat()), [""; 0]);
    }
}
