//! What the log costs: bytes written per message, and, for the curious, time and memory
//! (`cargo test --release --lib store::log::tests::cost -- --ignored --nocapture --test-threads 1`).

use std::fs::{self, File};
use std::time::Instant;

use noctule_core::id::Qos;
use noctule_core::message::MessagePool;
use noctule_core::store::{SessionNumber, StoreOp};
use redb::backends::FileBackend;

use super::super::{Log, Opened, Usage};
use super::disk::Disk;
use super::kit::{OPTIONS, acknowledged, at, body, group, kept, open, publish, released};

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

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    AcknowledgedInTheSameCommit,
    AcknowledgedInTheNext,
    /// In the next but one, and the next had it back from its consumer.
    GivenBack,
}

/// Bytes written for each of 20,000 messages, 1,000 a commit.
fn bytes_for(recipients: &[(u64, StoreOp)], fate: Fate) -> u64 {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit(recipients, &at(1)).unwrap();
    // Raises the marks, which is done once in a million messages.
    log.commit(&[batch(30_000..30_001), acks(30_000..30_001)].concat(), &at(1)).unwrap();
    let before = disk.written();
    for first in (1..=20_000).step_by(1_000) {
        let records = first..first + 1_000;
        let (ops, done) = (batch(records.clone()), acks(records.clone()));
        let back = records.map(|record| (1, released(1 + record % SESSIONS, record, 1)));
        match fate {
            Fate::AcknowledgedInTheSameCommit => drop(log.commit(&[ops, done].concat(), &at(1)).unwrap()),
            Fate::AcknowledgedInTheNext => {
                log.commit(&ops, &at(1)).unwrap();
                log.commit(&done, &at(1)).unwrap();
            }
            Fate::GivenBack => {
                log.commit(&ops, &at(1)).unwrap();
                log.commit(&back.collect::<Vec<_>>(), &at(1)).unwrap();
                log.commit(&done, &at(1)).unwrap();
            }
        }
    }
    assert_eq!(log.usage().records, 0);
    (disk.written() - before) / 20_000
}

#[test]
fn a_message_of_a_queue_costs_what_one_of_a_session_does() {
    let queues: Vec<_> = (1..=SESSIONS).map(|number| (1, group(number))).collect();
    let bytes = |fate| {
        let (session, queue) = (bytes_for(&sessions(), fate), bytes_for(&queues, fate));
        println!("{fate:?}: {session} bytes written per message of a session, {queue} of a queue");
        (session, queue)
    };
    assert_eq!(bytes(Fate::AcknowledgedInTheSameCommit), (0, 0));
    let (session, queue) = bytes(Fate::AcknowledgedInTheNext);
    assert_eq!(queue, session);
    let (_, given_back) = bytes(Fate::GivenBack);
    assert!(given_back <= queue + 30, "{given_back}");
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

/// Opens a file with 100,000 messages for `recipients`, in turn; says how long that took and what it cost in memory.
fn recovered(what: &str, recipients: &[(u64, StoreOp)]) {
    let file = file();
    let backend = || FileBackend::new(file.try_clone().unwrap()).unwrap();
    let mut log = Log::open(backend(), &OPTIONS, &at(0)).unwrap().log;
    log.commit(recipients, &at(1)).unwrap();
    let count = recipients.len() as u64;
    let message =
        |record: u64| body("sensors/hall/temperature", &[b'x'; 100], Qos::AtLeastOnce, u64::MAX, record);
    for first in (1..=100_000_u64).step_by(1_000) {
        let publish = |record| (1, publish(message(record), &[1 + record % count]));
        log.commit(&(first..first + 1_000).map(publish).collect::<Vec<_>>(), &at(1)).unwrap();
    }
    drop(log);
    let (before, start) = (rss_kib(), Instant::now());
    let Opened { log, recovered, .. } = Log::open(backend(), &OPTIONS, &at(2)).unwrap();
    let took = start.elapsed();
    let sessions: usize = recovered.sessions.iter().map(|session| session.queue.len()).sum();
    let groups: usize = recovered.groups.iter().map(|group| group.queue.len()).sum();
    assert_eq!(sessions + groups, 100_000);
    println!("{what}: {took:?}, {} KiB more", rss_kib().saturating_sub(before));
    drop((log, recovered));
}

/// Run one after the other in processes of their own: what is freed is not given back.
#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_messages_of_sessions_wait() {
    for count in [10, 1_000] {
        let sessions: Vec<_> = (1..=count).map(|number| (1, kept(number, u32::MAX))).collect();
        recovered(&format!("{count} sessions"), &sessions);
    }
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_messages_of_queues_wait() {
    for count in [10, 1_000] {
        let queues: Vec<_> = (1..=count).map(|number| (1, group(number))).collect();
        recovered(&format!("{count} queues"), &queues);
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
            loaded += log
                .load(SessionNumber(session.number.0), &records, &mut None, &mut MessagePool::default())
                .unwrap()
                .len();
        }
    }
    println!("{loaded} messages loaded in {:?}; {} KiB", start.elapsed(), rss_kib());
    assert_eq!(log.usage(), Usage { records: 1_000_000, ..log.usage() });
}
