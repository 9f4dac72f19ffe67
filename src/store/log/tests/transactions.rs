//! Transactions: on the disk wholly or not at all, however large, and to be found out afterwards.

use noctule_core::id::Qos;

use super::super::Log;
use super::disk::{Dice, Disk};
use super::kit::{
    OPTIONS, acknowledged, at, body, group, group_with, kept, message, open, options, publish, queue_of,
    released, retain, seen, subscribed, together,
};

/// A file with the group 7 and the session 1, and the messages 1 to 3 for the group.
fn begun() -> Disk {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(1, vec![kept(1, 99), group(7)]);
    log.commit_at(2, (1..=3).map(|record| publish(message(record), &[7])).collect());
    disk
}

#[test]
fn a_power_cut_anywhere_leaves_all_of_it_or_nothing() {
    let large = |record| body("t", &[record as u8; 3_000], Qos::AtLeastOnce, u64::MAX, record);
    let (mut whole, mut nothing) = (0, 0);
    for cut in 0..60 {
        let disk = begun();
        let (mut log, _) = open(&disk, &at(3));
        let next = log.next_chunk();
        // More than one chunk, and of every kind.
        let mut parts: Vec<_> = (10..60).map(|record| publish(large(record), &[1])).collect();
        parts.extend([acknowledged(7, 1), released(7, 2, 1), retain("r", b"x", 1)]);
        parts.extend([subscribed(1, "a", Qos::AtLeastOnce), group_with(7, options(6))]);
        disk.cut_after(cut);
        let returned = log.commit(&[(4, together(parts))], &at(4)).is_ok();
        disk.cut_after(0);
        drop(log);
        let disk = disk.after_the_cut(&mut Dice::new(cut as u64));
        let (log, recovered) = open(&disk, &at(5));
        let made = log.next_chunk() > next;
        let found = seen(&log, recovered);
        let (session, queue) = (&found.sessions[&1], &found.groups[&7].queue);
        let facts = [
            session.queue.len() == 50,
            session.subscriptions.len() == 1,
            found.retained.len() == 1,
            found.groups[&7].options == options(6),
            queue.len() == 2,
            queue.iter().any(|(_, deliveries)| *deliveries == 1),
            made,
        ];
        assert!(facts == [made; 7], "cut after {cut}: {facts:?}");
        assert!(made || (!returned && session.queue.is_empty() && queue.len() == 3));
        *if made { &mut whole } else { &mut nothing } += 1;
    }
    assert!(whole > 5 && nothing > 5, "{whole} whole and {nothing} not at all are no test");
}

#[test]
fn a_commit_with_a_transaction_tells_by_a_chunk_that_it_was_made() {
    let cases = [
        vec![retain("r", b"x", 1)],
        vec![group_with(7, options(3))],
        vec![publish(message(10), &[1]), acknowledged(1, 10), retain("r", b"x", 1)],
        vec![acknowledged(7, 1)],
    ];
    for parts in cases {
        let disk = begun();
        let (mut log, _) = open(&disk, &at(3));
        let next = log.next_chunk();
        log.commit_at(4, vec![together(parts.clone())]);
        assert!(log.next_chunk() > next, "{parts:?}");
        drop(log);
        let (mut log, _) = open(&disk, &at(5));
        assert!(log.next_chunk() > next, "{parts:?}");
        log.commit_at(6, vec![group_with(7, options(4))]);
        assert_eq!(log.next_chunk(), next + 1, "an ordinary row needs none");
    }
    let disk = begun();
    let (mut log, _) = open(&disk, &at(3));
    // What the restart had left to be done.
    log.commit_at(3, vec![]);
    let before = disk.written();
    log.commit_at(4, vec![together(vec![publish(message(10), &[1]), acknowledged(1, 10)]), together(vec![])]);
    assert_eq!(disk.written(), before, "nothing is left to be written");
}

#[test]
fn what_a_transaction_acknowledges_of_its_own_commit_is_not_written() {
    let disk = begun();
    let (mut log, _) = open(&disk, &at(3));
    let ops = vec![
        publish(message(10), &[7]),
        together(vec![acknowledged(7, 10), publish(message(11), &[1])]),
        acknowledged(1, 11),
        together(vec![publish(message(12), &[1]), publish(message(13), &[1])]),
        acknowledged(1, 12),
    ];
    let committed = log.commit_at(4, ops);
    assert_eq!((committed.messages, committed.elided), (1, 3));
    drop(log);
    let (_, recovered) = open(&disk, &at(5));
    assert_eq!(queue_of(&recovered, 1), [13]);
    assert_eq!(recovered.groups[0].queue.len(), 3);
}

#[test]
fn signs_that_say_nothing_any_more_are_cleaned_away() {
    let disk = Disk::default();
    let mut log = Log::open(disk, &OPTIONS, &at(0)).unwrap().log;
    log.commit_at(1, vec![kept(1, 99)]);
    for version in 1..=200 {
        log.commit_at(2, vec![together(vec![retain("r", b"x", version)])]);
    }
    assert_eq!(log.usage().chunks, 200);
    let large = |record| body("t", &[0; 60_000], Qos::AtLeastOnce, u64::MAX, record);
    for record in 1..=40 {
        log.commit_at(3, vec![publish(large(record), &[1])]);
        log.commit_at(4, vec![acknowledged(1, record)]);
    }
    assert!(log.usage().chunks < 60, "{:?}", log.usage());
}
