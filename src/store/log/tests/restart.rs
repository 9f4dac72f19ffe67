//! What a restart makes of time and of files that are not for it: expiry, the clocks, formats.

use std::io;

use noctule_core::id::Qos;
use noctule_core::message::MessagePool;
use noctule_core::store::SessionNumber;
use redb::{Database, TableDefinition};

use super::super::tables::write_format;
use super::super::{Clocks, FORMAT, Log, LogError, OpenError, begin};
use super::disk::Disk;
use super::kit::{
    OPTIONS, acknowledged, at, body, ended, group, kept, message, open, presence, publish, queue_of, retain,
    seen, sent, subscribed, will_kept,
};

const SECOND: u64 = 1_000;

/// A process that begins when the machine has been up for `uptime_ms`.
fn clock(mono_ms: u64, wall_ms: u64, uptime_ms: u64, boot_id: u64) -> Clocks {
    Clocks { mono_ms, wall_ms, uptime_ms, boot_id }
}

/// Two messages that expire 60 s and 100 s after the start of a process that began at the wall clock's second 1,000, and
/// a retained one that does after 60 s.
fn with_deadlines() -> Disk {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &clock(0, 1_000 * SECOND, 500, 7));
    let retained = body("r", b"x", Qos::AtLeastOnce, 60 * SECOND, 0);
    let retained = noctule_core::store::StoreOp::Publish {
        message: retained,
        recipients: Box::default(),
        retained: Some(1),
        inbound: None,
    };
    let ops = [
        kept(1, 80),
        presence(1, false),
        kept(2, u32::MAX),
        publish(body("t", b"60", Qos::AtLeastOnce, 60 * SECOND, 1), &[1, 2]),
        publish(body("t", b"100", Qos::AtLeastOnce, 100 * SECOND, 2), &[1, 2]),
        retained,
    ];
    let ops: Vec<_> = ops.into_iter().map(|op| (0, op)).collect();
    log.commit(&ops, &clock(10, 1_000 * SECOND + 10, 510, 7)).unwrap();
    disk
}

#[test]
fn time_goes_on_while_the_broker_is_down_wherever_the_wall_clock_stands() {
    for wall_ms in [0, 1_000 * SECOND, u64::MAX] {
        let disk = with_deadlines();
        // 50 s after the start, in a process 3 s old.
        let (log, recovered) = open(&disk, &clock(3 * SECOND, wall_ms, 500 + 50 * SECOND, 7));
        assert_eq!((queue_of(&recovered, 1), queue_of(&recovered, 2)), (vec![1, 2], vec![1, 2]));
        let found = seen(&log, recovered);
        let deadlines: Vec<_> = found.sessions[&2].queue.iter().map(|one| one.message.expires_ms).collect();
        assert_eq!(deadlines, [13 * SECOND, 53 * SECOND]);
        assert_eq!((found.sessions[&1].expires_ms, found.sessions[&2].expires_ms), (33 * SECOND, u64::MAX));
        assert_eq!(found.retained["r"].1.expires_ms, 13 * SECOND);
        drop(log);
        let (_, recovered) = open(&disk, &clock(0, wall_ms, 500 + 60 * SECOND, 7));
        assert_eq!((queue_of(&recovered, 1), queue_of(&recovered, 2)), (vec![2], vec![2]));
        assert!(recovered.retained.is_empty());
        let (_, recovered) = open(&disk, &clock(0, wall_ms, 500 + 80 * SECOND, 7));
        assert_eq!(recovered.sessions.len(), 1);
        assert_eq!(queue_of(&recovered, 2), [2]);
    }
}

#[test]
fn what_has_expired_stays_so_when_the_machine_starts_with_an_older_clock() {
    let disk = with_deadlines();
    let (mut log, recovered) = open(&disk, &clock(0, 1_070 * SECOND, SECOND, 8));
    assert_eq!(queue_of(&recovered, 2), [2], "the wall clock says 70 s");
    log.commit(&[(0, kept(3, 9))], &clock(0, 1_070 * SECOND, SECOND, 8)).unwrap();
    drop(log);
    // No clock at all: at least the machine's uptime has passed since.
    for (uptime_ms, queue) in [(2 * SECOND, vec![2]), (29 * SECOND, vec![2]), (31 * SECOND, vec![])] {
        let (_, recovered) = open(&disk, &clock(0, 0, uptime_ms, 9));
        assert_eq!(queue_of(&recovered, 2), queue, "{uptime_ms} ms");
    }
}

#[test]
fn a_commit_without_a_chunk_moves_the_clock_too() {
    let disk = with_deadlines();
    let (mut log, _) = open(&disk, &clock(0, 0, 1_000, 7));
    log.commit(&[(0, retain("other", b"x", 9))], &clock(70 * SECOND, 0, 71 * SECOND, 7)).unwrap();
    drop(log);
    let (_, recovered) = open(&disk, &clock(0, 0, 0, 8));
    assert_eq!(queue_of(&recovered, 2), [2]);
}

#[test]
fn what_has_expired_leaves_the_disk_with_the_first_commit() {
    let disk = with_deadlines();
    let (mut log, recovered) = open(&disk, &clock(0, 0, 81 * SECOND, 7));
    assert_eq!(recovered.sessions.len(), 1);
    assert_eq!(log.usage().records, 1);
    log.commit(&[(0, kept(3, 9))], &clock(1, 0, 81 * SECOND, 7)).unwrap();
    drop(log);
    // Were they still there, the time before would bring them back.
    let image = Database::builder().create_with_backend(disk.clone()).unwrap();
    let rows = |table: super::super::rows::Table| {
        let transaction = redb::ReadableDatabase::begin_read(&image).unwrap();
        redb::ReadableTableMetadata::len(&transaction.open_table(table.rows()).unwrap()).unwrap()
    };
    assert_eq!(rows(super::super::rows::Table::Retained), 0);
    assert_eq!(rows(super::super::rows::Table::Sessions), 2);
}

#[test]
fn a_client_that_was_there_has_left_at_the_first_restart_and_not_at_each() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(1, vec![kept(1, 10), will_kept(1, 4)]);
    drop(log);
    let (mut log, recovered) = open(&disk, &at(2 * SECOND));
    assert_eq!(recovered.sessions[0].expires_ms, 12 * SECOND);
    log.commit_at(2 * SECOND, vec![]);
    drop(log);
    let (log, recovered) = open(&disk, &at(5 * SECOND));
    assert_eq!(recovered.sessions[0].expires_ms, 12 * SECOND);
    assert_eq!(recovered.sessions[0].will.as_ref().unwrap().1, 6 * SECOND);
    drop(log);
    let (_, recovered) = open(&disk, &at(12 * SECOND));
    assert!(recovered.sessions.is_empty());
    assert_eq!(recovered.wills.len(), 1, "nobody was there to publish it");
}

#[test]
fn what_a_group_had_lent_to_an_expired_session_dies_with_it() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(1, vec![kept(1, 10), group(2), publish(message(1), &[1, 2]), publish(message(2), &[2])]);
    log.commit_at(2, vec![sent(1, 2, 1, 7)]);
    drop(log);
    for _ in 0..2 {
        let (mut log, recovered) = open(&disk, &at(20 * SECOND));
        let groups: Vec<_> = recovered.groups[0].queue.iter().map(|(message, _)| message.record()).collect();
        assert!(recovered.sessions.is_empty() || groups == [2]);
        log.commit_at(20 * SECOND, vec![]);
    }
    let (_, recovered) = open(&disk, &at(40 * SECOND));
    assert!(recovered.sessions.is_empty());
    assert_eq!(
        recovered.groups[0].queue.iter().map(|(message, _)| message.record()).collect::<Vec<_>>(),
        [2]
    );
}

#[test]
fn an_exchange_whose_message_has_expired_ends_as_its_quality_of_service_asks() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    let mut twice = publish(body("t", b"2", Qos::ExactlyOnce, SECOND, 2), &[1]);
    if let noctule_core::store::StoreOp::Publish { recipients, .. } = &mut twice {
        recipients[0].qos = Qos::ExactlyOnce;
    }
    let once = publish(body("t", b"1", Qos::AtLeastOnce, SECOND, 1), &[1]);
    log.commit_at(1, vec![kept(1, u32::MAX), once, twice, sent(1, 1, 1, 11), sent(1, 1, 2, 12)]);
    drop(log);
    for _ in 0..2 {
        let (mut log, recovered) = open(&disk, &at(2 * SECOND));
        assert_eq!(log.usage().records, 0);
        assert_eq!(seen(&log, recovered).sessions[&1].outbound, [(12, None)]);
        log.commit_at(2 * SECOND, vec![]);
    }
}

#[test]
fn opened_anew_by_the_same_process_nobody_has_left_and_nothing_has_expired() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    let ops = vec![kept(1, 0), kept(2, 5), subscribed(1, "a", Qos::AtLeastOnce), group(3)];
    log.commit_at(1, ops);
    log.commit_at(2, vec![publish(body("t", b"x", Qos::AtLeastOnce, 10, 1), &[1, 2, 3]), presence(2, false)]);
    drop(log);
    let mut log = Log::reopen(disk.clone(), &OPTIONS, &at(60 * SECOND)).unwrap().log;
    assert_eq!(log.usage().records, 1);
    assert!(log.load(SessionNumber(1), &[1], &mut None, &mut MessagePool::default()).unwrap()[0].1.is_some());
    log.commit_at(60 * SECOND, vec![publish(message(2), &[1, 2]), acknowledged(3, 1), ended(2, &[1, 2])]);
    drop(log);
    let mut log = Log::reopen(disk.clone(), &OPTIONS, &at(61 * SECOND)).unwrap().log;
    log.commit_at(61 * SECOND, vec![kept(1, 10)]);
    drop(log);
    let (_, recovered) = open(&disk, &at(62 * SECOND));
    assert_eq!(recovered.sessions.len(), 1);
    assert_eq!(recovered.sessions[0].expires_ms, 72 * SECOND, "it has left only now");
    assert_eq!(recovered.sessions[0].subscriptions.len(), 1);
    assert_eq!(queue_of(&recovered, 1), [2]);
}

#[test]
fn another_format_is_refused_and_left_alone() {
    let disk = with_deadlines();
    let db = Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = begin(&db).unwrap();
    write_format(FORMAT + 1, &transaction).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let refused = Log::open(disk.clone(), &OPTIONS, &at(0)).unwrap_err();
    assert!(
        matches!(refused, OpenError::ForeignFormat { found, known } if (found, known) == (FORMAT + 1, FORMAT))
    );
    assert_eq!(
        refused.to_string(),
        "the store has format 3, and this version of noctule knows 2; run the version that wrote it"
    );
    let db = Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = begin(&db).unwrap();
    write_format(FORMAT, &transaction).unwrap();
    transaction.commit().unwrap();
    drop(db);
    assert_eq!(open(&disk, &clock(0, 0, 500, 7)).1.sessions.len(), 2);
}

#[test]
fn somebody_elses_database_is_not_ours() {
    for table in ["books", "meta", "chunks"] {
        let disk = Disk::default();
        let db = Database::builder().create_with_backend(disk.clone()).unwrap();
        let transaction = begin(&db).unwrap();
        transaction.open_table(TableDefinition::<u32, u32>::new(table)).unwrap().insert(1, 1).unwrap();
        transaction.commit().unwrap();
        drop(db);
        assert!(matches!(Log::open(disk, &OPTIONS, &at(0)), Err(OpenError::NotOurs)), "{table}");
    }
    let disk = Disk::default();
    let db = Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = begin(&db).unwrap();
    let meta = super::super::rows::Table::Meta.rows();
    transaction.open_table(meta).unwrap().insert(&b"a"[..], &b"b"[..]).unwrap();
    transaction.commit().unwrap();
    drop(db);
    assert!(matches!(Log::open(disk, &OPTIONS, &at(0)), Err(OpenError::NotOurs)));
}

#[test]
fn what_is_no_database_is_damage() {
    for image in [vec![0; 8_192], b"something else".repeat(1_000), vec![7]] {
        let refused = Log::open(Disk::of(image), &OPTIONS, &at(0)).unwrap_err();
        assert!(matches!(refused, OpenError::Log(LogError::Corrupt(_))), "{refused}");
    }
}

#[test]
fn a_failed_commit_ends_the_log_and_says_why() {
    let disk = with_deadlines();
    let (mut log, _) = open(&disk, &at(0));
    disk.cut_after(3);
    let op = |record| (1, publish(message(record), &[1]));
    assert!(matches!(log.commit(&[op(10)], &at(1)), Err(LogError::Io(_))));
    assert!(log.commit(&[op(11)], &at(1)).is_err());
    assert!(log.load(SessionNumber(2), &[1], &mut None, &mut MessagePool::default()).is_err());
}

#[test]
fn failures_are_told_apart() {
    let is = |kind: io::ErrorKind| LogError::from(io::Error::from(kind));
    assert!(matches!(is(io::ErrorKind::StorageFull), LogError::StorageFull(_)));
    assert!(matches!(is(io::ErrorKind::QuotaExceeded), LogError::StorageFull(_)));
    assert!(matches!(is(io::ErrorKind::ReadOnlyFilesystem), LogError::ReadOnly(_)));
    assert!(matches!(is(io::ErrorKind::TimedOut), LogError::Io(_)));
    assert!(matches!(is(io::ErrorKind::UnexpectedEof), LogError::Corrupt(_)));
    assert!(matches!(LogError::from(redb::StorageError::Corrupted("x".into())), LogError::Corrupt(_)));
}
