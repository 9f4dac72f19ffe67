//! A log that is cleaned loses nothing and stays small.

use std::collections::BTreeSet;

use noctule_core::id::Qos;
use noctule_core::message::MessagePool;
use noctule_core::store::{SessionNumber, StoreOp};

use super::super::Log;
use super::disk::{Dice, Disk};
use super::kit::{acknowledged, at, body, kept, open, publish, queue_of, seen, subscribed};

const STRAGGLER: u64 = 99;

fn within_bounds(log: &Log) {
    let usage = log.usage();
    let bound = 2 * usage.live_bytes + usage.live_bytes / 2 + (3 << 20) / 2;
    assert!(usage.stored_bytes <= bound, "{usage:?}");
}

/// Publishes in batches, each acknowledged by all but the straggler, who keeps one message in `kept_in`.
fn churn(log: &mut Log, records: std::ops::Range<u64>, kept_in: u64) -> Vec<u64> {
    let mut left = Vec::new();
    for first in records.step_by(100) {
        let batch = first..first + 100;
        let ops = batch.clone().map(|record| {
            let sessions: &[u64] = if record.is_multiple_of(kept_in) { &[1, 2, STRAGGLER] } else { &[1, 2] };
            publish(body("a/topic", &[record as u8; 500], Qos::AtLeastOnce, u64::MAX, record), sessions)
        });
        log.commit_at(first, ops.collect());
        within_bounds(log);
        let acks = batch.clone().flat_map(|record| [acknowledged(1, record), acknowledged(2, record)]);
        log.commit_at(first + 1, acks.collect());
        within_bounds(log);
        left.extend(batch.filter(|record| record.is_multiple_of(kept_in)));
    }
    left
}

#[test]
fn stragglers_survive_any_number_of_rounds_in_a_file_of_bounded_size() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(0, [1, 2, STRAGGLER].map(|session| kept(session, u32::MAX)).into());
    let left = churn(&mut log, 1..8_001, 57);
    assert_eq!(log.usage().records, left.len() as u64);
    assert!(disk.image().len() < 8 << 20, "{} bytes", disk.image().len());
    let loaded = log.load(SessionNumber(STRAGGLER), &left, &mut None, &mut MessagePool::default()).unwrap();
    assert!(loaded.iter().all(|(record, found)| {
        found.as_ref().is_some_and(|found| found.message.payload() == [*record as u8; 500])
    }));
    drop(log);
    let (mut log, recovered) = open(&disk, &at(50_000));
    assert_eq!(queue_of(&recovered, STRAGGLER), left);
    assert_eq!((queue_of(&recovered, 1), queue_of(&recovered, 2)), (vec![], vec![]));
    assert_eq!(seen(&log, recovered).sessions[&STRAGGLER].queue.len(), left.len());
    // And on, with the old ones still there.
    let more = churn(&mut log, 100_001..104_001, 131);
    drop(log);
    let (_, recovered) = open(&disk, &at(200_000));
    assert_eq!(queue_of(&recovered, STRAGGLER), [left, more].concat());
}

#[test]
fn a_log_in_which_most_is_alive_is_bounded_too() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(0, (1..=20).map(|session| kept(session, u32::MAX)).collect());
    let mut dice = Dice::new(5);
    let mut waiting: Vec<(u64, u64)> = Vec::new();
    for step in 1..=80_u64 {
        let mut ops: Vec<StoreOp> = Vec::new();
        for number in 0..60_u64 {
            let record = step * 100 + number;
            let sessions: BTreeSet<u64> = (0..1 + dice.below(4)).map(|_| 1 + dice.below(20) as u64).collect();
            let sessions: Vec<_> = sessions.into_iter().collect();
            waiting.extend(sessions.iter().map(|&session| (session, record)));
            let size = if dice.one_in(50) { 70_000 } else { 700 };
            ops.push(publish(
                body("t", &vec![step as u8; size], Qos::AtLeastOnce, u64::MAX, record),
                &sessions,
            ));
        }
        while waiting.len() > 3_000 || dice.below(100) > 1 {
            if waiting.is_empty() {
                break;
            }
            let (session, record) = waiting.swap_remove(dice.below(waiting.len()));
            ops.push(acknowledged(session, record));
        }
        log.commit_at(step, ops);
        within_bounds(&log);
    }
    drop(log);
    waiting.sort_unstable();
    let (log, recovered) = open(&disk, &at(1_000));
    let found = seen(&log, recovered).sessions;
    let found: Vec<_> = found
        .iter()
        .flat_map(|(session, seen)| seen.queue.iter().map(|delivery| (*session, delivery.message.record)))
        .collect();
    assert_eq!(found, waiting);
}

#[test]
fn commits_of_rows_alone_clean_as_well() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(0, vec![kept(1, u32::MAX)]);
    let payload = vec![0; 400_000];
    let batch = |record: u64| publish(body("t", &payload, Qos::AtLeastOnce, u64::MAX, record), &[1]);
    log.commit_at(1, (1..=10).map(batch).collect());
    log.commit_at(2, (2..=10).map(|record| acknowledged(1, record)).collect());
    for ms in 3..20 {
        log.commit_at(ms, vec![subscribed(1, "a", Qos::AtLeastOnce)]);
    }
    assert!(log.usage().stored_bytes < 2 << 20, "{:?}", log.usage());
    assert_eq!(log.usage().records, 1);
    drop(log);
    assert_eq!(queue_of(&open(&disk, &at(30)).1, 1), [1]);
}

#[test]
fn a_message_that_can_no_longer_be_copied_is_given_up_alone() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(0, vec![kept(1, u32::MAX)]);
    let marked = |record: u64| {
        let payload = [b"find me ".as_slice(), &[record as u8; 80]].concat();
        publish(body("t", &payload, Qos::AtLeastOnce, u64::MAX, record), &[1])
    };
    log.commit_at(1, (1..=3).map(marked).collect());
    drop(log);
    let mut image = disk.image();
    let needle = [b"find me ".as_slice(), &[2; 80]].concat();
    let (mut log, _) = open(&disk, &at(2));
    // Damaged while the log is open: what cleaning reads is not what was there at the start.
    let found = image.windows(needle.len()).position(|window| window == needle).unwrap();
    image[found] ^= 1;
    redb::StorageBackend::write(&disk, found as u64, &image[found..=found]).unwrap();
    let payload = vec![0; 400_000];
    let mut damaged = 0;
    for record in 10..30 {
        damaged += log
            .commit_at(record, vec![publish(body("t", &payload, Qos::AtLeastOnce, u64::MAX, record), &[1])])
            .damaged;
        damaged += log.commit_at(record, vec![acknowledged(1, record)]).damaged;
    }
    assert_eq!((damaged, log.usage().records), (1, 2));
    drop(log);
    assert_eq!(queue_of(&open(&disk, &at(40)).1, 1), [1, 3]);
}
