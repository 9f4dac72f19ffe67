//! Groups and queues: what was said of them, what waits for them, and how often it was delivered.

use std::sync::Arc;

use noctule_core::group::QueueOptions;
use noctule_core::id::Qos;
use noctule_core::store::{Recovered, SessionNumber, StoreOp};

use super::super::Log;
use super::disk::Disk;
use super::kit::{
    acknowledged, at, body, group, group_with, kept, message, open, options, publish, released, sent,
    subscribed,
};

/// Records and deliveries of a group's queue.
fn numbers(recovered: &Recovered, group: u64) -> Vec<(u64, u32)> {
    let found = recovered.groups.iter().find(|found| found.number.0 == group);
    let queue = &found.expect("it is kept").queue;
    queue.iter().map(|(message, deliveries)| (message.record(), *deliveries)).collect()
}

#[test]
fn what_was_said_last_of_a_group_or_a_subscription_holds() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    let all = options(60);
    let without = |filter: &str| match subscribed(2, filter, Qos::AtLeastOnce) {
        StoreOp::Subscribed { session, filter, qos, flags, subscription_id, .. } => {
            StoreOp::Subscribed { session, filter, qos, flags, subscription_id, selector: None }
        }
        op => op,
    };
    let said = subscribed(2, "a", Qos::AtLeastOnce);
    log.commit_at(1, vec![kept(2, 9), group_with(7, all.clone()), group_with(8, all.clone()), said.clone()]);
    log.commit_at(2, vec![group_with(8, QueueOptions::default()), without("a"), without("b")]);
    drop(log);
    let (mut log, recovered) = open(&disk, &at(3));
    let said_of: Vec<_> = recovered.groups.into_iter().map(|group| group.options).collect();
    assert_eq!(said_of, [all.clone(), QueueOptions::default()]);
    assert!(recovered.sessions[0].subscriptions.iter().all(|one| one.selector.is_none()));
    log.commit_at(4, vec![group_with(8, options(5)), group_with(8, all.clone()), said]);
    drop(log);
    let (_, recovered) = open(&disk, &at(5));
    assert!(recovered.groups.iter().all(|group| group.options == all));
    let selectors: Vec<_> = recovered.sessions[0].subscriptions.iter().map(|one| &one.selector).collect();
    assert_eq!(selectors, [&Some("size > 2".into()), &None]);
}

#[test]
fn deliveries_are_counted_until_the_message_is_acknowledged() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(1, vec![group(7), group(8), kept(1, 9)]);
    log.commit_at(2, (1..=6).map(|record| publish(message(record), &[7, 8])).collect());
    // Twice in one commit, of one that nobody knows, of one that is not for the group, and of one on loan.
    log.commit_at(3, vec![released(7, 1, 1), released(7, 1, 2), released(8, 2, 9), released(7, 99, 3)]);
    log.commit_at(4, vec![released(1, 1, 5), released(7, 3, 1), sent(1, 7, 3, 11), released(7, 4, 1)]);
    for ms in 10..13 {
        drop(log);
        let (opened, recovered) = open(&disk, &at(ms));
        assert_eq!(numbers(&recovered, 7), [(1, 2), (2, 0), (4, 1), (5, 0), (6, 0)]);
        assert_eq!(numbers(&recovered, 8), [(1, 0), (2, 9), (3, 0), (4, 0), (5, 0), (6, 0)]);
        log = opened;
        log.commit_at(ms, vec![]);
    }
    assert_eq!(log.state.deliveries.len(), 4);
    let over = StoreOp::GroupEnded { session: SessionNumber(8), records: [1, 2, 3, 4, 5, 6].into() };
    log.commit_at(
        20,
        vec![acknowledged(7, 1), released(7, 1, 3), released(7, 4, 2), over, released(8, 2, 10)],
    );
    assert_eq!(log.state.deliveries, [((7, 3), 1), ((7, 4), 2)].into(), "nothing stays behind");
    drop(log);
    let (log, recovered) = open(&disk, &at(21));
    assert_eq!(numbers(&recovered, 7), [(2, 0), (4, 2), (5, 0), (6, 0)]);
    assert_eq!(log.state.deliveries, [((7, 3), 1), ((7, 4), 2)].into());
}

#[test]
fn a_message_given_back_before_it_is_written_carries_its_number_itself() {
    let written = |release: bool| {
        let disk = Disk::default();
        let (mut log, _) = open(&disk, &at(0));
        log.commit_at(1, vec![group(7)]);
        let before = disk.written();
        let mut ops: Vec<_> = (1..=20).map(|record| publish(message(record), &[7])).collect();
        if release {
            ops.extend((1..=20).map(|record| released(7, record, 3)));
        }
        log.commit_at(2, ops);
        let usage = log.usage();
        let bytes = disk.written() - before;
        drop(log);
        let (_, recovered) = open(&disk, &at(3));
        let number = if release { 3 } else { 0 };
        assert!(numbers(&recovered, 7).into_iter().eq((1..=20).map(|record| (record, number))));
        (bytes, usage.stored_bytes)
    };
    let (plain, given_back) = (written(false), written(true));
    assert_eq!(given_back.0, plain.0);
    assert_eq!(given_back.1, plain.1 + 20, "a byte each");
}

/// Messages for the group 7, some of them given back, with so much traffic that everything is copied several times.
#[test]
fn cleaning_takes_the_number_along() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    let large = |record| body("t", &[record as u8; 2_000], Qos::AtLeastOnce, u64::MAX, record);
    log.commit_at(1, vec![group(7), kept(1, 9)]);
    log.commit_at(2, (1..=20).map(|record| publish(large(record), &[7])).collect());
    log.commit_at(3, (1..=10).map(|record| released(7, record, 1)).collect());
    let mut expected: Vec<_> = (1..=20).map(|record| (record, u32::from(record <= 10))).collect();
    let mut record = 100;
    for round in 2..6_u32 {
        let first = log.state.chunks.oldest().unwrap().number;
        while log.state.chunks.oldest().unwrap().number < first + 200 {
            let records = record..record + 50;
            record += 50;
            log.commit_at(4, records.clone().map(|record| publish(large(record), &[1])).collect());
            log.commit_at(5, records.map(|record| acknowledged(1, record)).collect());
        }
        expected.remove(0);
        let given_back = usize::try_from(round).unwrap();
        expected[given_back].1 = round;
        let (gone, back) = (u64::from(round) - 1, expected[given_back].0);
        log.commit_at(6, vec![acknowledged(7, gone), released(7, back, round)]);
        drop(log);
        let (opened, recovered) = open(&disk, &at(7));
        assert_eq!(numbers(&recovered, 7), expected, "round {round}");
        log = opened;
    }
}

#[test]
fn queues_come_back_in_order_with_what_they_share_once_in_memory() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(1, (1..=30).map(group).collect());
    // Workers take numbers and submit on their own.
    for records in [[2_u64, 1, 4], [3, 6, 5], [9, 8, 7]] {
        let queues: Vec<_> = (1..=30).collect();
        log.commit_at(2, records.map(|record| publish(message(record), &queues)).into());
    }
    log.commit_at(3, (1..=30).map(|group| acknowledged(group, 1 + group % 9)).collect());
    drop(log);
    let (_, recovered) = open(&disk, &at(4));
    for group in 1..=30 {
        let expected = (1..=9).filter(|record| *record != 1 + group % 9).map(|record| (record, 0));
        assert!(numbers(&recovered, group).into_iter().eq(expected));
    }
    let all = recovered.groups.iter().flat_map(|group| &group.queue);
    let ninths: Vec<_> = all.filter(|(message, _)| message.record() == 9).collect();
    assert_eq!(ninths.len(), 27);
    assert!(ninths.iter().all(|(message, _)| Arc::ptr_eq(message, &ninths[0].0)));
}

#[test]
fn a_number_used_twice_is_read_once() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(1, vec![group(7), publish(message(1), &[7])]);
    log.commit_at(2, vec![released(7, 1, 4)]);
    log.commit_at(3, vec![publish(message(1), &[7])]);
    drop(log);
    let (log, recovered) = open(&disk, &at(4));
    assert_eq!(numbers(&recovered, 7), [(1, 0)], "it is another message");
    let Log { state, .. } = &log;
    assert!(state.deliveries.is_empty());
}
