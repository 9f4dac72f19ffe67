//! A file that the first version wrote opens for ever.
//!
//! The file is mostly zeros; kept are its other pages, each of 4,096 bytes with its number (u32, little endian) before it.
//! Should the layout have to change, this test fails: then the new version gets a number of its own, a fixture of its
//! own, and reads both. To make the file again: `cargo test --lib store::log::tests::fixture -- --ignored`.

use std::fs;
use std::num::NonZeroU32;

use noctule_core::id::Qos;
use noctule_core::store::{Recipient, SessionNumber, StoreOp};

use super::super::Clocks;
use super::disk::Disk;
use super::kit::{
    acknowledged, body, group, kept, open, presence, publish, received, recipient, retain, seen, sent,
    subscribed, told, will, will_kept, will_seen,
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/store-v1/everything.pages");

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
    ]
}

#[test]
#[ignore = "makes tests/data/store-v1 again"]
fn make() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &Clocks { mono_ms: 0, ..MADE });
    let timed = |ops: Vec<StoreOp>| -> Vec<_> { ops.into_iter().map(|op| (MADE.mono_ms, op)).collect() };
    log.commit(&timed(every_row()), &MADE).unwrap();
    let acks = vec![acknowledged(2, 102), sent(1, 1, 101, 9), received(1, 1, 102, 10), sent(2, 3, 100, 11)];
    log.commit(&timed(acks), &MADE).unwrap();
    drop(log);
    fs::create_dir_all(std::path::Path::new(FILE).parent().unwrap()).unwrap();
    let mut file = Vec::new();
    for (number, page) in disk.image().chunks(PAGE).enumerate() {
        if page.iter().any(|&byte| byte != 0) {
            file.extend_from_slice(&(number as u32).to_le_bytes());
            file.extend_from_slice(page);
        }
    }
    fs::write(FILE, &file).unwrap();
    println!("{} bytes", file.len());
}

fn stored() -> Vec<u8> {
    let mut image = Vec::new();
    for entry in fs::read(FILE).unwrap().chunks(4 + PAGE) {
        let (number, page) = entry.split_first_chunk::<4>().unwrap();
        // The last page is one that is kept.
        image.resize(u32::from_le_bytes(*number) as usize * PAGE, 0);
        image.extend_from_slice(page);
    }
    image
}

#[test]
fn the_first_versions_file_opens() {
    let disk = Disk::of(stored());
    let (log, recovered) = open(&disk, &later());
    assert!(recovered.last_record >= 103 && recovered.last_session >= 9 && recovered.last_version >= 7);
    let found = seen(&log, recovered);
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
    let (name, filter, queue) = &found.groups[&3];
    assert_eq!((name.as_str(), filter.as_str(), queue.len()), ("group 3", "a/#", 1));
    assert_eq!(found.wills[&9], will_seen(&will(9, 30)));
    assert_eq!(
        found.retained["retained"],
        (7, told(&body("retained", b"value", Qos::AtLeastOnce, u64::MAX, 0)))
    );
}
