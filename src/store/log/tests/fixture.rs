//! The files that each version wrote open for ever.
//!
//! A file is mostly zeros; kept are its other pages, each of 4,096 bytes with its number (u32, little endian) before it.
//! Should the layout have to change, this test fails: then the new version gets a number of its own, a fixture of its
//! own, and reads all of them. To make the present one's again: `cargo test --lib store::log::tests::fixture -- --ignored`.

use std::fs;
use std::num::NonZeroU32;

use noctule_core::group::QueueOptions;
use noctule_core::id::Qos;
use noctule_core::store::{Recipient, Recovered, SessionNumber, StoreOp};
use redb::ReadableDatabase;

use super::super::rows::{Table, meta};
use super::super::{Clocks, Log};
use super::disk::Disk;
use super::kit::{
    GroupSeen, Seen, acknowledged, body, group, kept, message, open, options, presence, publish, received,
    recipient, released, retain, seen, sent, subscribed, together, told, will, will_kept, will_seen,
};

const FIRST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/store-v1/everything.pages");
const SECOND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/store-v2/everything.pages");

/// Bytes of a page.
const PAGE: usize = 4_096;

/// When the file was made: an hour after the start of a machine whose clock stood at 1,700,000,000.
const MADE: Clocks = Clocks {
    mono_ms: 1_000,
    wall_ms: 1_700_003_600_000,
    uptime_ms: 3_600_000,
    boot_id: 0x0123_4567_89ab_cdef,
};

/// Ten seconds later, in another process.
fn later() -> Clocks {
    Clocks { mono_ms: 500, wall_ms: 0, uptime_ms: MADE.uptime_ms + 10_000, ..MADE }
}

fn every_row() -> Vec<StoreOp> {
    let ids = [1, 268_435_455].into_iter().filter_map(NonZeroU32::new).collect();
    let identified =
        Recipient { subscription_ids: Some(ids), qos: Qos::ExactlyOnce, retain: true, ..recipient(1) };
    vec![
        kept(1, 3_600),
        kept(2, u32::MAX),
        presence(2, false),
        group(3),
        subscribed(1, "sensors/+/temperature", Qos::AtLeastOnce),
        subscribed(2, "$share/group/é/#", Qos::ExactlyOnce),
        will_kept(1, 30),
        will_kept(9, 30),
        retain("retained", b"value", 7),
        StoreOp::Publish {
            message: body("sensors/1", b"never expires", Qos::ExactlyOnce, u64::MAX, 100),
            recipients: [identified, recipient(2), recipient(3)].into(),
            retained: None,
            inbound: Some((SessionNumber(2), 77)),
        },
        publish(body("sensors/2", b"expires", Qos::AtLeastOnce, 61_000, 101), &[1, 2]),
        publish(body("sensors/3", b"", Qos::AtLeastOnce, u64::MAX, 102), &[1, 2, 3]),
        publish(body("sensors/4", &[7; 5_000], Qos::AtLeastOnce, u64::MAX, 103), &[2]),
        // What format 1 did not know.
        group(4),
        together(vec![publish(message(104), &[4]), publish(message(105), &[4]), released(4, 104, 2)]),
    ]
}

#[test]
#[ignore = "makes tests/data/store-v2 again"]
fn make() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &Clocks { mono_ms: 0, ..MADE });
    let timed = |ops: Vec<StoreOp>| -> Vec<_> { ops.into_iter().map(|op| (MADE.mono_ms, op)).collect() };
    log.commit(&timed(every_row()), &MADE).unwrap();
    let acks = vec![acknowledged(2, 102), sent(1, 1, 101, 9), received(1, 1, 102, 10), sent(2, 3, 100, 11)];
    let acks = [acks, vec![released(3, 102, 300), released(4, 105, 1)]].concat();
    log.commit(&timed(acks), &MADE).unwrap();
    drop(log);
    fs::create_dir_all(std::path::Path::new(SECOND).parent().unwrap()).unwrap();
    let mut file = Vec::new();
    for (number, page) in disk.image().chunks(PAGE).enumerate() {
        if page.iter().any(|&byte| byte != 0) {
            file.extend_from_slice(&(number as u32).to_le_bytes());
            file.extend_from_slice(page);
        }
    }
    fs::write(SECOND, &file).unwrap();
    println!("{} bytes", file.len());
}

fn stored(file: &str) -> Vec<u8> {
    let mut image = Vec::new();
    for entry in fs::read(file).unwrap().chunks(4 + PAGE) {
        let (number, page) = entry.split_first_chunk::<4>().unwrap();
        // The last page is one that is kept.
        image.resize(u32::from_le_bytes(*number) as usize * PAGE, 0);
        image.extend_from_slice(page);
    }
    image
}

fn format(log: &Log) -> u32 {
    let table = log.db.begin_read().unwrap().open_table(Table::Meta.rows()).unwrap();
    let value = table.get(meta::FORMAT).unwrap().unwrap();
    let number =
        Table::Meta.parse(meta::FORMAT, value.value(), |reader| reader.array().map(u32::from_le_bytes));
    number.unwrap()
}

#[test]
fn the_first_versions_file_opens_and_becomes_one_of_the_second_with_the_first_commit() {
    let disk = Disk::of(stored(FIRST));
    let (mut log, recovered) = open(&disk, &later());
    assert_eq!(format(&log), 1);
    let found = as_in_the_first(&log, recovered);
    assert!(found.sessions.values().flat_map(|one| &one.subscriptions).all(|one| one.selector.is_none()));
    let nothing_said = |one: &GroupSeen| one.options == QueueOptions::default() && one.queue[0].1 == 0;
    assert!(found.groups.values().all(nothing_said) && found.groups.len() == 1);
    log.commit(&[(500, group(4)), (500, released(3, 102, 7))], &later()).unwrap();
    assert_eq!(format(&log), 2, "the first version must not take a queue for a group");
    drop(log);
    let (log, recovered) = open(&disk, &later());
    let found = as_in_the_first(&log, recovered);
    assert_eq!((found.groups[&3].queue[0].1, &found.groups[&4].options), (7, &options(4)));
}

#[test]
fn the_second_versions_file_opens() {
    let disk = Disk::of(stored(SECOND));
    let (log, recovered) = open(&disk, &later());
    let found = as_in_the_first(&log, recovered);
    assert_eq!(found.sessions[&2].subscriptions[0].selector.as_deref(), Some("size > 2"));
    assert_eq!(found.sessions[&1].subscriptions[0].selector, None);
    assert_eq!((&found.groups[&3].options, found.groups[&3].queue[0].1), (&options(3), 300));
    let queue = vec![(told(&message(104)), 2), (told(&message(105)), 1)];
    assert_eq!((&found.groups[&4].options, &found.groups[&4].queue), (&options(4), &queue));
}

fn as_in_the_first(log: &Log, recovered: Recovered) -> Seen {
    assert!(recovered.last_record >= 103 && recovered.last_session >= 9 && recovered.last_version >= 7);
    let found = seen(log, recovered);
    assert_eq!(found.sessions.keys().copied().collect::<Vec<_>>(), [1, 2]);
    let (one, two) = (&found.sessions[&1], &found.sessions[&2]);
    // The file was made one second into its process, so that the base is 1,000 ms before it.
    assert_eq!((one.expires_ms, two.expires_ms), (500 + 3_600_000, u64::MAX));
    assert_eq!((&*one.client_id, two.user.as_deref()), ("client 1", Some("user")));
    assert_eq!(one.will, Some((will_seen(&will(1, 30)), 30_500)));
    assert_eq!(one.subscriptions[0].filter.as_ref(), "sensors/+/temperature");
    assert_eq!(
        (two.subscriptions[0].filter.as_ref(), two.subscriptions[0].qos),
        ("$share/group/é/#", Qos::ExactlyOnce)
    );
    assert_eq!(one.queue.len(), 1);
    assert_eq!((one.queue[0].qos, one.queue[0].retain), (Qos::ExactlyOnce, true));
    assert_eq!(
        one.queue[0].ids.as_deref().unwrap().iter().map(|id| id.get()).collect::<Vec<_>>(),
        [1, 268_435_455]
    );
    assert_eq!(
        one.queue[0].message,
        told(&body("sensors/1", b"never expires", Qos::ExactlyOnce, u64::MAX, 100))
    );
    let (owner, delivery) = one.outbound[0].1.as_ref().unwrap();
    assert_eq!((one.outbound[0].0, *owner), (9, 1));
    // 60 s after it was published, of which 10 have passed.
    assert_eq!(delivery.message, told(&body("sensors/2", b"expires", Qos::AtLeastOnce, 50_500, 101)));
    assert_eq!(one.outbound[1], (10, None));
    assert_eq!(two.queue.iter().map(|one| one.message.record).collect::<Vec<_>>(), [100, 101, 103]);
    assert_eq!(two.queue[2].message, told(&body("sensors/4", &[7; 5_000], Qos::AtLeastOnce, u64::MAX, 103)));
    assert_eq!(two.outbound[0].1.as_ref().unwrap().0, 3);
    assert_eq!(two.inbound, [77]);
    let three = &found.groups[&3];
    assert_eq!((three.group.as_str(), three.filter.as_str(), three.queue.len()), ("group 3", "a/#", 1));
    assert_eq!(found.wills[&9], will_seen(&will(9, 30)));
    assert_eq!(
        found.retained["retained"],
        (7, told(&body("retained", b"value", Qos::AtLeastOnce, u64::MAX, 0)))
    );
    found
}
