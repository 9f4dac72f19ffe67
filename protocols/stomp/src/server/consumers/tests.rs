//! The tables against models, and what they cost.

use std::collections::BTreeMap;

use super::*;

fn id(number: u64) -> NonZeroU16 {
    NonZeroU16::new(number as u16).unwrap()
}

fn consumer(id: ConsumerId, name: &str, durable: Option<&str>, destination: Option<&str>) -> Consumer {
    Consumer {
        id,
        name: name.into(),
        is_named: true,
        mode: AckMode::Client,
        durable: durable.map(Into::into),
        state: State::Live,
        destination: destination.map(Into::into),
        deliveries: Deliveries::default(),
    }
}

/// Against a list, across the number from which there is an index, and back.
#[test]
fn they_are_found_by_all_that_they_are_called_however_many_there_are() {
    let (mut consumers, mut model) = (Consumers::default(), BTreeMap::new());
    let (mut state, mut most) = (0x9E37_79B9_u64, 0);
    for step in 0..20_000_u32 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = (state >> 33) as usize;
        // The tide comes and goes.
        let comes = draw % 100 < if (step / 1_000).is_multiple_of(2) { 60 } else { 40 };
        if comes {
            let id = consumers.next_id().unwrap();
            let (name, durable) = (format!("name {step}"), format!("durable {step}"));
            let destination = format!("destination {}", draw % 7);
            let durable = draw.is_multiple_of(3).then_some(&*durable);
            let destination = draw.is_multiple_of(2).then_some(&*destination);
            let mut new = consumer(id, &name, durable, destination);
            if draw.is_multiple_of(5) {
                // It stays in the list when it is cancelled.
                new.deliveries.issue(Some(NonZeroU16::MIN));
            }
            consumers.push(new);
            model.insert(id, By::ALL.map(|by| consumers.get(id).unwrap().called(by).map(str::to_owned)));
        } else if let Some(id) = model.keys().nth(draw % model.len().max(1)).copied() {
            consumers.cancel(id);
            if let Some(left) = consumers.get(id) {
                left.deliveries.settle(1, Reach::One, &mut Vec::new());
            }
            consumers.forget_if_over(id);
            model.remove(&id);
        }
        assert_eq!(consumers.len(), model.len());
        most = most.max(model.len());
        let asked = model.values().nth(draw % model.len().max(1)).cloned().unwrap_or_default();
        for (place, by) in By::ALL.into_iter().enumerate() {
            let text = asked[place].clone().unwrap_or_else(|| "nobody".into());
            let called = model.iter().filter(|(_, names)| names[place].as_ref() == Some(&text));
            assert_eq!(consumers.find(by, &text), Found::of(called.map(|(id, _)| *id)), "{by:?} {text}");
        }
    }
    assert!(most > 4 * FEW, "{most}");
}

#[test]
fn a_few_have_no_index() {
    let mut consumers = Consumers::default();
    for number in 1..=FEW as u32 + 1 {
        assert!(consumers.index.is_none(), "{number}");
        consumers.push(consumer(ConsumerId(number), &number.to_string(), None, None));
    }
    assert!(consumers.index.is_some());
    (1..=FEW as u32 + 1).for_each(|number| consumers.cancel(ConsumerId(number)));
    assert!(consumers.index.is_none());
}

fn issued(count: u64) -> Deliveries {
    let mut deliveries = Deliveries::default();
    for number in 1..=count {
        assert_eq!(deliveries.issue(Some(id(number + 100))), number);
    }
    deliveries
}

fn settled(deliveries: &mut Deliveries, sequence: u64, reach: Reach) -> Vec<u16> {
    let mut taken = Vec::new();
    deliveries.settle(sequence, reach, &mut taken);
    taken.into_iter().map(NonZeroU16::get).collect()
}

#[test]
fn one_by_one_in_any_order_and_each_once() {
    let mut deliveries = issued(3);
    assert_eq!(settled(&mut deliveries, 2, Reach::One), [102]);
    assert_eq!(settled(&mut deliveries, 2, Reach::One), [0; 0]);
    assert_eq!(settled(&mut deliveries, 1, Reach::One), [101]);
    assert_eq!(settled(&mut deliveries, 3, Reach::One), [103]);
    assert!(deliveries.is_empty() && deliveries.was_issued(3) && !deliveries.was_issued(4));
    assert!(!deliveries.was_issued(0));
}

#[test]
fn cumulatively_oldest_first() {
    let mut deliveries = issued(5);
    assert_eq!(settled(&mut deliveries, 2, Reach::One), [102]);
    assert_eq!(settled(&mut deliveries, 4, Reach::Through), [101, 103, 104]);
    assert_eq!(settled(&mut deliveries, 5, Reach::Through), [105]);
}

#[test]
fn what_a_transaction_has_is_open_again_only_when_it_lets_go() {
    let mut deliveries = issued(4);
    let mut taken = Vec::new();
    deliveries.enlist(2, Reach::Through, &mut taken);
    assert_eq!(taken, [(1, id(101)), (2, id(102))]);
    assert_eq!(settled(&mut deliveries, 1, Reach::One), [0; 0]);
    assert_eq!(settled(&mut deliveries, 3, Reach::Through), [103], "past those of the transaction");
    deliveries.release(1, false);
    deliveries.release(2, true);
    assert_eq!(settled(&mut deliveries, 2, Reach::One), [0; 0]);
    assert_eq!(settled(&mut deliveries, 4, Reach::Through), [101, 104]);
    assert!(deliveries.is_empty());
}

#[test]
fn one_that_is_never_acknowledged_does_not_make_the_table_grow() {
    let mut deliveries = issued(1);
    for _ in 0..100_000 {
        let sequence = deliveries.issue(Some(id(7)));
        assert_eq!(settled(&mut deliveries, sequence, Reach::One), [7]);
    }
    assert!(deliveries.entries.capacity() <= 16, "{}", deliveries.entries.capacity());
}

#[test]
fn an_emptied_table_gives_its_memory_back() {
    let mut deliveries = issued(1000);
    assert_eq!(settled(&mut deliveries, 1000, Reach::Through).len(), 1000);
    assert_eq!(deliveries.entries.capacity(), 0);
}

/// Against a map, with numbers from a generator that a seed repeats.
#[test]
fn it_does_what_a_map_would() {
    let (mut deliveries, mut model) = (Deliveries::default(), BTreeMap::new());
    let (mut state, mut enlisted) = (0x9E37_79B9_u64, Vec::new());
    for step in 0..50_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = state >> 40;
        let sequence = deliveries.issued.saturating_sub(draw % 40);
        let reach = if draw & 1 == 0 { Reach::One } else { Reach::Through };
        match (state >> 33) % 6 {
            0..=2 => {
                let packet_id = id(1 + step % 1000);
                model.insert(deliveries.issue(Some(packet_id)), packet_id);
            }
            3 if !enlisted.is_empty() => {
                for (sequence, packet_id) in std::mem::take(&mut enlisted) {
                    deliveries.release(sequence, draw & 2 == 0);
                    if draw & 2 != 0 {
                        model.insert(sequence, packet_id);
                    }
                }
            }
            other => {
                let first = if reach == Reach::One { sequence } else { 0 };
                let expected: Vec<_> = match model.contains_key(&sequence) {
                    true => model.range(first..=sequence).map(|(at, id)| (*at, *id)).collect(),
                    false => Vec::new(),
                };
                expected.iter().for_each(|(sequence, _)| {
                    model.remove(sequence);
                });
                if other == 4 {
                    let mut taken = Vec::new();
                    deliveries.enlist(sequence, reach, &mut taken);
                    assert_eq!(taken, expected);
                    enlisted.extend(taken);
                } else {
                    let mut taken = Vec::new();
                    deliveries.settle(sequence, reach, &mut taken);
                    assert!(taken.iter().eq(expected.iter().map(|(_, id)| id)), "step {step}");
                }
            }
        }
        assert_eq!(deliveries.is_empty(), model.is_empty() && enlisted.is_empty());
        let live = model.len() + enlisted.len();
        assert!(deliveries.entries.len() <= 2 * live + 1, "{} for {live}", deliveries.entries.len());
    }
}

#[test]
fn a_message_id_is_read_as_it_was_written_and_no_other_is() {
    let (token, other) = (Token::new([7; 16]), Token::new([8; 16]));
    let id = MessageId { consumer: ConsumerId(12), sequence: 345 };
    let mut text = String::new();
    id.write(&token, &mut text);
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@_-".contains(&byte)), "{text}");
    assert_eq!(MessageId::read(&text, &token), Some(id));
    assert_eq!(MessageId::read(&text, &other), None);
    for bad in ["012-345", "12-0345", "+12-345", "12", "12-", "-345", "12-345-6", "12-x", ""] {
        assert_eq!(MessageId::read(&format!("{bad}@{}", token.as_str()), &token), None, "{bad}");
    }
}
