//! The wheel against an ordered map: never early, at most one tick late.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Advance(u64),
    AdvanceToWake,
}

fn a_distance() -> impl Strategy<Value = u64> {
    // Every level, the edges between them, and beyond the last.
    prop_oneof![
        0..200_u64,
        0..20_000_u64,
        (0..30_u32, 0..3_u64).prop_map(|(bits, by)| (1 << bits) + by - 1),
        Just(u64::MAX / 2),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => a_distance().prop_map(Step::Insert),
        1 => a_distance().prop_map(|by| Step::Advance(by.min(1 << 32))),
        2 => Just(Step::AdvanceToWake),
    ]
}

/// When a deadline is handed back: the first tick that begins at or after it.
fn tick_of(deadline: u64, tick_ms: u64) -> u64 {
    deadline.div_ceil(tick_ms)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Each key comes back exactly once, never early, never a whole tick late, earlier ticks first.
    #[test]
    fn the_wheel_agrees_with_an_ordered_map(
        start in a_distance().prop_map(|start| start.min(1 << 40)),
        tick_ms in prop::sample::select(vec![1_u64, 7, 128]),
        steps in prop::collection::vec(a_step(), 1..100),
    ) {
        let mut now = start;
        let mut wheel = Wheel::with_tick(now, tick_ms);
        let mut model: BTreeMap<(u64, usize), ()> = BTreeMap::new();
        for (key, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(distance) => {
                    let deadline = now + distance;
                    wheel.insert(deadline, (deadline, key));
                    model.insert((deadline, key), ());
                }
                Step::Advance(by) => now += by,
                Step::AdvanceToWake => {
                    let wake = wheel.next_wake_ms();
                    prop_assert_eq!(wake.is_none(), model.is_empty());
                    let first = model.keys().next().map(|&(deadline, _)| tick_of(deadline, tick_ms) * tick_ms);
                    // Whoever sleeps until then is never too late.
                    prop_assert!(wake.is_none_or(|wake| wake <= first.unwrap().max(now)));
                    now = now.max(wake.unwrap_or(now).min(1 << 42));
                }
            }
            let mut fired = Vec::new();
            wheel.advance(now, &mut |key: (u64, usize)| fired.push(key));
            prop_assert!(fired.iter().all(|&(deadline, _)| deadline <= now), "early");
            let ticks: Vec<_> = fired.iter().map(|&(deadline, _)| tick_of(deadline, tick_ms)).collect();
            prop_assert!(ticks.is_sorted(), "out of order");
            for key in fired {
                prop_assert!(model.remove(&key).is_some(), "twice");
            }
            if let Some((&(first, _), ())) = model.first_key_value() {
                prop_assert!(tick_of(first, tick_ms) > now / tick_ms, "late: {} at {}", first, now);
            }
            prop_assert_eq!((wheel.len(), wheel.is_empty()), (model.len(), model.is_empty()));
        }
    }
}

#[test]
fn a_sleeper_wakes_a_bounded_number_of_times_for_one_deadline() {
    for distance in [1, 130, 60_000, 3_600_000, 2_000_000_000] {
        let mut wheel = Wheel::new(5);
        wheel.insert(5 + distance, 1_u8);
        let (mut wakes, mut fired, mut now) = (0, 0, 5);
        while let Some(wake) = wheel.next_wake_ms() {
            now = wake;
            wakes += 1;
            wheel.advance(now, &mut |_| fired += 1);
        }
        assert!(fired == 1 && wakes <= LEVELS + 1, "{wakes} wakes");
        assert!(now >= 5 + distance && now < 5 + distance + 128);
    }
}

#[test]
fn thousands_of_keepalives_share_few_wakes() {
    let mut wheel = Wheel::new(0);
    for number in 0..10_000_u64 {
        wheel.insert(60_000 + number % 1000, number);
    }
    let (mut wakes, mut fired) = (0, 0);
    while let Some(wake) = wheel.next_wake_ms() {
        wakes += 1;
        wheel.advance(wake, &mut |_| fired += 1);
    }
    assert_eq!(fired, 10_000);
    assert!(wakes <= 10, "{wakes}");
}

#[test]
fn what_is_due_already_fires_at_the_next_advance_and_time_never_runs_back() {
    let mut wheel = Wheel::with_tick(1000, 10);
    wheel.insert(3, 'a');
    assert_eq!(wheel.next_wake_ms(), Some(1000));
    let mut fired = Vec::new();
    wheel.advance(1000, &mut |key| fired.push(key));
    wheel.insert(2000, 'b');
    wheel.advance(0, &mut |key| fired.push(key));
    wheel.advance(1999, &mut |key| fired.push(key));
    assert_eq!(fired, ['a']);
    wheel.advance(2000, &mut |key| fired.push(key));
    assert_eq!(fired, ['a', 'b']);
    assert_eq!(wheel.next_wake_ms(), None);
}

#[test]
fn what_is_not_retained_neither_fires_nor_wakes_nor_takes_room() {
    let mut wheel = Wheel::new(1_000);
    let far = 128 << (SPAN_BITS + 1);
    for number in 0..10_000_u64 {
        for distance in [0, 200, 60_000, 97_000_000, far] {
            wheel.insert(1_000 + distance, (number, distance));
        }
    }
    wheel.retain(|(number, distance)| number == 7 && distance != 60_000);
    assert_eq!(wheel.len(), 4);
    let room =
        wheel.slots.iter().map(Vec::capacity).sum::<usize>() + wheel.due.capacity() + wheel.far.capacity();
    assert!(room <= SLOTS + 6, "{room}");
    let (mut fired, mut wakes) = (Vec::new(), 0);
    while let Some(wake) = wheel.next_wake_ms() {
        wakes += 1;
        wheel.advance(wake, &mut |(_, distance)| fired.push(distance));
    }
    assert_eq!(fired, [0, 200, 97_000_000, far]);
    assert!(wakes <= 1 + 3 * (LEVELS + 1), "{wakes}");
    wheel.retain(|_| true);
    assert!(wheel.is_empty());
}

#[test]
fn an_entry_is_lean() {
    assert_eq!(size_of::<Entry<(u32, u32)>>(), 16);
}
