//! What waits in a session's queue, what gives way, and what comes back out of the store.

use super::*;
use crate::id::SessionId;
use crate::message::{Fields, Publish};
use crate::topic::TopicName;

fn entry(number: u8, qos: Qos, payload: usize) -> Entry {
    let mut body = vec![0; payload.max(1)];
    *body.first_mut().unwrap() = number;
    let publish = Publish {
        topic: TopicName::from_validated("t"),
        fields: Fields::default(),
        payload: &body,
        qos,
        retain: false,
        dup: false,
        packet_id: None,
        expiry_s: None,
    };
    Entry {
        message: Message::new(&publish, SessionId::NOBODY, 0),
        extra: None,
        qos,
        retain: false,
        stored: false,
    }
}

fn numbers(queue: &Queue) -> Vec<u8> {
    let number = |item: &Item| match item {
        Item::Held(entry) => *entry.message.payload().first().unwrap(),
        Item::Stub(stub) => 100 + stub.record as u8,
    };
    queue.iter().map(number).collect()
}

fn limits(overflow: Overflow, messages: usize) -> Limits {
    Limits { overflow, max_queued_messages: messages, ..Limits::default() }
}

#[test]
fn a_place_is_24_bytes_with_a_message_and_without() {
    assert_eq!(size_of::<Entry>(), 24);
    assert_eq!(size_of::<Item>(), 24);
}

#[test]
fn drop_oldest_keeps_the_newest_at_the_edge() {
    let limits = limits(Overflow::DropOldest, 2);
    let mut queue = Queue::default();
    for number in 0..2 {
        assert!(matches!(queue.offer(entry(number, Qos::AtLeastOnce, 1), &limits, false), Offered::Queued));
    }
    let Offered::Displaced(out) = queue.offer(entry(2, Qos::AtLeastOnce, 1), &limits, false) else {
        panic!()
    };
    assert_eq!(out.len(), 1);
    assert_eq!(numbers(&queue), [1, 2]);
}

#[test]
fn qos_0_displaces_nothing() {
    let limits = limits(Overflow::DropOldest, 1);
    let mut queue = Queue::default();
    queue.push(entry(0, Qos::AtLeastOnce, 1));
    assert!(matches!(queue.offer(entry(1, Qos::AtMostOnce, 1), &limits, false), Offered::Rejected(_)));
    assert_eq!(numbers(&queue), [0]);
}

#[test]
fn drop_newest_rejects_and_disconnect_says_so() {
    let mut queue = Queue::default();
    queue.push(entry(0, Qos::AtLeastOnce, 1));
    let newest = limits(Overflow::DropNewest, 1);
    assert!(matches!(queue.offer(entry(1, Qos::AtLeastOnce, 1), &newest, false), Offered::Rejected(_)));
    let hard = limits(Overflow::Disconnect, 1);
    assert!(matches!(queue.offer(entry(1, Qos::AtLeastOnce, 1), &hard, false), Offered::Disconnect(_)));
    assert_eq!(numbers(&queue), [0]);
}

#[test]
fn what_is_stored_waits_in_the_store_and_comes_back_in_its_place() {
    let limits = Limits { max_held_messages: 1, ..limits(Overflow::DropOldest, 5) };
    let stored = |number: u8| {
        let mut entry = Entry { stored: true, ..entry(number, Qos::AtLeastOnce, 1) };
        Arc::get_mut(&mut entry.message).unwrap().set_record(number.into());
        entry
    };
    let loaded = |number: u8| {
        let message = stored(number).message;
        (u64::from(number), Some(LoadedMessage { message, subscription_ids: None }))
    };
    let mut queue = Queue::default();
    for number in 1..=4 {
        assert!(matches!(queue.offer(stored(number), &limits, false), Offered::Queued));
    }
    assert!(
        matches!(queue.offer(entry(5, Qos::AtLeastOnce, 1), &limits, false), Offered::Queued),
        "not stored: held"
    );
    assert_eq!((numbers(&queue), queue.stubs()), (vec![1, 102, 103, 104, 5], 3));
    assert_eq!(*queue.wanted(), [2, 3, 4]);
    // The oldest two give way while the answer is on its way.
    let Offered::Displaced(out) = queue.offer(stored(6), &limits, false) else { panic!() };
    assert!(matches!(*out, [Item::Held(_)]));
    let Offered::Displaced(out) = queue.offer(stored(7), &limits, false) else { panic!() };
    assert!(matches!(*out, [Item::Stub(_)]));
    assert!(queue.pop().is_none(), "a stub can't be sent");
    let lost = queue.fill(vec![loaded(2), loaded(3), (4, None)]);
    assert_eq!(lost.iter().map(|stub| stub.record).collect::<Vec<_>>(), [4]);
    assert_eq!((numbers(&queue), queue.stubs()), (vec![3, 5, 106, 107], 2));
    assert_eq!(*queue.wanted(), [6, 7]);
    assert!(queue.fill(vec![loaded(6), loaded(7)]).is_empty());
    while queue.pop().is_some() {}
    assert_eq!((queue.len(), queue.bytes(), queue.stubs()), (0, 0, 0));
}

#[test]
fn who_is_there_has_more_in_memory_and_gives_it_up_on_leaving() {
    let limits =
        Limits { max_held_messages: 1, max_held_messages_online: 3, ..limits(Overflow::DropOldest, 100) };
    let mut queue = Queue::default();
    for number in 1..=5 {
        let stored = Entry { stored: number != 2, ..entry(number, Qos::AtLeastOnce, 1) };
        queue.offer(stored, &limits, true);
    }
    assert_eq!((numbers(&queue), queue.stubs()), (vec![1, 2, 3, 100, 100], 2));
    let bytes = queue.bytes();
    queue.page_out(limits.max_held_messages);
    assert_eq!((numbers(&queue), queue.stubs()), (vec![1, 2, 100, 100, 100], 3), "2 is nowhere else");
    assert_eq!(queue.bytes(), bytes);
}

#[test]
fn no_more_is_asked_for_than_is_soon_needed() {
    let stub = |record| Stub { record, cost: 1_000, qos: Qos::AtLeastOnce, retain: false };
    let mut queue = Queue::default();
    for _ in 0..LOAD_AHEAD {
        queue.push(entry(0, Qos::AtLeastOnce, 1));
    }
    (1..=1_000).for_each(|record| queue.push_stub(stub(record)));
    assert!(queue.wanted().is_empty(), "far from the front");
    queue.pop();
    assert_eq!(queue.wanted().len(), 66, "64 KiB");
    let mut queue = Queue::default();
    (1..=1_000).for_each(|record| queue.push_stub(Stub { cost: 100, ..stub(record) }));
    assert_eq!(queue.wanted().len(), LOAD_MESSAGES);
}

#[test]
fn what_a_delivery_carries_besides_the_message_is_charged() {
    let bare = entry(0, Qos::AtMostOnce, 1);
    let ids: Arc<[NonZeroU32]> = (1..=1_000).filter_map(NonZeroU32::new).collect();
    let extra = Some(Box::new(Extra { subscription_ids: Some(ids), ..Extra::default() }));
    let identified = Entry { extra, ..bare.clone() };
    assert_eq!(identified.cost(), bare.cost() + 4_000 + size_of::<Extra>());
    let mut queue = Queue::default();
    queue.push(identified);
    queue.pop();
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn bytes_bound_as_well_as_messages_and_one_large_message_fits_an_empty_queue() {
    let limits = Limits { max_queued_bytes: 1_000, ..limits(Overflow::DropNewest, 100) };
    let mut queue = Queue::default();
    assert!(matches!(queue.offer(entry(0, Qos::AtLeastOnce, 5_000), &limits, false), Offered::Queued));
    assert!(matches!(queue.offer(entry(1, Qos::AtLeastOnce, 1), &limits, false), Offered::Rejected(_)));
    queue.pop();
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn whatever_happens_nothing_that_is_to_be_asked_of_is_taken_for_asked() {
    let mut queue = Queue::default();
    let put = |queue: &mut Queue, numbers: std::ops::Range<u8>| {
        numbers.for_each(|number| queue.push(entry(number, Qos::AtLeastOnce, 1)));
    };
    put(&mut queue, 1..5);
    assert!(!queue.is_front_unasked());
    queue.ask_again();
    put(&mut queue, 5..8);
    // What could not be sent after all goes back in front of those that are still to be asked of.
    let first = queue.pop().unwrap();
    queue.push_front(first);
    assert_eq!(queue.take_where(|entry| entry.message.payload() == [2]).len(), 1);
    for number in [1, 3, 4] {
        assert!(queue.is_front_unasked(), "{number}");
        assert_eq!(queue.pop().unwrap().message.payload(), [number]);
    }
    // One was taken out of the middle: one that came later is asked of once more than it need be.
    assert!(queue.is_front_unasked() && queue.pop_item().is_some() && !queue.is_front_unasked());
    queue.ask_again();
    assert!(queue.pop_item().is_some() && queue.pop_item().is_some() && !queue.is_front_unasked());
}
