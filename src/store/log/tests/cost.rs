//! What the log costs: bytes written per message, and, for the curious, time and memory
//! (`cargo test --release --lib store::log::tests::cost -- --ignored --nocapture --test-threads 1`).

use std::fs::{self, File};
use std::time::Instant;

use noctule_core::id::Qos;
use noctule_core::store::{SessionNumber, StoreOp};
use redb::backends::FileBackend;

use super::super::{Log, Opened, Usage};
use super::disk::Disk;
use super::kit::{OPTIONS, acknowledged, at, body, kept, open, publish};

const SESSIONS: u64 = 200;

fn batch(records: std::ops::Range<u64>) -> Vec<(u64, StoreOp)> {
    let message =
        |record: u64| body("sensors/hall/temperature", &[b'x'; 100], Qos::AtLeastOnce, u64::MAX, record);
    records.map(|record| (1, publish(message(record), &[1 + record % SESSIONS]))).collect()
}

fn acks(records: std::ops::Range<u64>) -> Vec<(u64, StoreOp)> {
    records.map(|record| (1, acknowledged(1 + record % SESSIONS, record))).collect()
}

fn sessions() -> Vec<(u64, StoreOp)> {
    (1..=SESSIONS).map(|session| (1, kept(session, u32::MAX))).collect()
}

/// Bytes written for each of `total` messages that come in batches, wait for some batches, and are acknowledged.
fn bytes_per_message(total: u64, size: u64, wait: u64) -> u64 {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit(&sessions(), &at(1)).unwrap();
    let before = disk.written();
    for first in (1..=total + wait * size).step_by(size as usize) {
        let mut ops = if first <= total { batch(first..first + size) } else { Vec::new() };
        if let Some(old) = first.checked_sub(wait * size) {
            ops.extend(acks(old..old + size));
        }
        log.commit(&ops, &at(1)).unwrap();
    }
    assert_eq!(log.usage().records, 0);
    (disk.written() - before) / total
}

#[test]
fn a_message_costs_at_most_600_bytes_on_its_way_in_and_out() {
    // The second waits while 10 MB of others come, and is copied if need be.
    for (size, wait) in [(1_000, 1), (1_000, 60), (10_000, 1)] {
        let bytes = bytes_per_message(20_000, size, wait);
        println!(
            "{bytes} bytes written per message of 100 bytes, {size} a commit, acknowledged {wait} commits later"
        );
        assert!(bytes <= 600, "{bytes}");
    }
}

#[test]
fn acknowledgements_in_commits_of_their_own_are_within_the_bound() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit(&sessions(), &at(1)).unwrap();
    let before = disk.written();
    for first in (1..=40_000).step_by(1_000) {
        log.commit(&batch(first..first + 1_000), &at(1)).unwrap();
        log.commit(&acks(first..first + 1_000), &at(1)).unwrap();
    }
    let bytes = (disk.written() - before) / 40_000;
    println!("{bytes} bytes written per message of 100 bytes, 1000 a commit, acknowledged in the next one");
    assert!(bytes <= 600, "{bytes}");
}

fn rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// An open file that is deleted already.
fn file() -> File {
    let path = std::env::temp_dir().join(format!("noctule-cost-{}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    fs::remove_file(path).unwrap();
    file
}

#[test]
#[ignore = "a measurement"]
fn commits_of_ten_thousand() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit(&sessions(), &at(1)).unwrap();
    for round in 0..10 {
        let first = round * 10_000 + 1;
        let (ops, done) = (batch(first..first + 10_000), acks(first..first + 10_000));
        let start = Instant::now();
        log.commit(&ops, &at(1)).unwrap();
        let published = start.elapsed();
        let start = Instant::now();
        log.commit(&done, &at(1)).unwrap();
        println!("10,000 publishes: {published:?}; their acknowledgements: {:?}", start.elapsed());
    }
}

#[test]
#[ignore = "a measurement"]
fn a_million_messages_wait() {
    let file = file();
    let backend = || FileBackend::new(file.try_clone().unwrap()).unwrap();
    let mut log = Log::open(backend(), &OPTIONS, &at(0)).unwrap().log;
    log.commit(&sessions(), &at(1)).unwrap();
    for first in (1..=1_000_000).step_by(5_000) {
        log.commit(&batch(first..first + 5_000), &at(1)).unwrap();
    }
    println!("{:?}, {} MiB of file", log.usage(), file.metadata().unwrap().len() >> 20);
    // Once as a kill leaves it, which has redb look at everything, and once closed.
    std::mem::forget(log);
    let recover = |what: &str| {
        let (before, start) = (rss_kib(), Instant::now());
        let opened = Log::open(backend(), &OPTIONS, &at(2)).unwrap();
        println!("{what}: {:?}; {before} KiB before, {} KiB after", start.elapsed(), rss_kib());
        opened
    };
    drop(recover("recovered after a kill"));
    let Opened { log, recovered, lost } = recover("recovered");
    assert!(lost.is_nothing());
    assert!(recovered.sessions.iter().all(|session| session.queue.len() == 5_000));
    let start = Instant::now();
    let mut loaded = 0;
    for session in recovered.sessions.iter().take(20) {
        for stubs in session.queue.chunks(128) {
            let records: Vec<_> = stubs.iter().map(|stub| stub.record).collect();
            loaded += log.load(SessionNumber(session.number.0), &records).unwrap().len();
        }
    }
    println!("{loaded} messages loaded in {:?}; {} KiB", start.elapsed(), rss_kib());
    assert_eq!(log.usage(), Usage { records: 1_000_000, ..log.usage() });
}
