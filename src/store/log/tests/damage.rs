//! Damaged files: what is damaged is lost, is said to be, and nothing else changes.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use noctule_core::id::Qos;
use noctule_core::message::MessagePool;
use noctule_core::store::{Exchange, Recovered, StoreOp};

use super::super::{Log, Lost, Opened};
use super::disk::{Dice, Disk};
use super::generated::count;
use super::kit::{
    OPTIONS, Told, at, body, group, kept, open, options, presence, publish, queue_of, received, released,
    retain, seen, sent, subscribed, together, told, try_open, will_kept,
};

/// What every payload begins with, so that it is found in the file.
const MARK: &str = "find me ";

fn payload(record: u64) -> String {
    format!("{MARK}{record:04}")
}

fn marked(record: u64, sessions: &[u64]) -> StoreOp {
    publish(body("a/topic", payload(record).as_bytes(), Qos::AtLeastOnce, u64::MAX, record), sessions)
}

/// Deliveries of the messages 8 and 9; the bytes are found in the file.
const OFTEN: u32 = 0x0765_4321;

/// A file with something of every kind, and 40 messages for the sessions 1 and 2.
fn everything() -> Disk {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    let mut ops = vec![kept(1, u32::MAX), kept(2, 60), presence(2, false), group(3)];
    ops.extend([will_kept(1, 5), will_kept(7, 5), subscribed(1, "a/#", Qos::AtLeastOnce)]);
    ops.extend([subscribed(2, "b", Qos::ExactlyOnce), retain("r/1", b"one", 1), retain("r/2", b"two", 2)]);
    ops.extend((1..=40).map(|record| marked(record, &[1, 2, 3])));
    log.commit_at(1, ops);
    let acks = (1..=20).map(|record| super::kit::acknowledged(2, record));
    log.commit_at(2, acks.chain([sent(1, 1, 5, 50), received(1, 1, 6, 51), sent(2, 3, 7, 52)]).collect());
    log.commit_at(3, vec![together(vec![released(3, 8, OFTEN), released(3, 9, OFTEN)])]);
    log.commit_at(4, (41..=50).map(|record| marked(record, &[1])).collect());
    disk
}

fn flipped(disk: &Disk, needle: &[u8]) -> Disk {
    let mut image = disk.image();
    let places: Vec<_> =
        image.windows(needle.len()).enumerate().filter(|(_, at)| *at == needle).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        // Not the first byte, which may be another's length.
        image[at + 2] ^= 0x20;
    }
    Disk::of(image)
}

#[test]
fn a_damaged_message_is_lost_alone() {
    let disk = flipped(&everything(), payload(17).as_bytes());
    let Opened { log, recovered, lost } = try_open(&disk, &at(10));
    assert_eq!(lost, Lost { records: 1, ..Lost::default() });
    let expected: Vec<_> = (1..=50).filter(|record| ![5, 6, 17].contains(record)).collect();
    assert_eq!(queue_of(&recovered, 1), expected);
    assert_eq!(queue_of(&recovered, 2), (21..=40).collect::<Vec<_>>());
    assert_eq!(seen(&log, recovered).sessions[&1].queue.len(), 47);
}

#[test]
fn damaged_rows_are_lost_alone_and_reported_once() {
    type Expected = fn(&Recovered) -> bool;
    let cases: [(&[u8], Expected); 6] = [
        (b"client 2", |found| found.sessions.len() == 1 && found.sessions[0].subscriptions.len() == 1),
        (b"group 3", |found| found.groups.is_empty() && found.sessions.len() == 2),
        (b"$queue/dead", |found| found.groups.is_empty() && found.sessions.len() == 2),
        (b"size > 2", |found| {
            found.sessions.iter().all(|one| one.subscriptions.len() == usize::from(one.number.0 == 1))
        }),
        (b"wills/one", |found| found.wills.is_empty() && found.sessions.iter().all(|one| one.will.is_none())),
        (b"two", |found| found.retained.len() == 1),
    ];
    for (needle, expected) in cases {
        let name = String::from_utf8_lossy(needle).into_owned();
        let disk = flipped(&everything(), needle);
        let Opened { mut log, recovered, lost } = try_open(&disk, &at(10));
        assert!(lost.rows > 0 && lost.records == 0 && lost.chunks == 0, "{name}: {lost:?}");
        assert!(expected(&recovered), "{name}: {recovered:?}");
        assert_eq!(queue_of(&recovered, 1).len(), 48, "{name}");
        log.commit_at(11, vec![]);
        drop(log);
        let (_, recovered) = open(&disk, &at(12));
        assert!(expected(&recovered), "{name}: {recovered:?}");
    }
}

#[test]
fn damaged_numbers_of_deliveries_cost_no_message() {
    let mut number = Vec::new();
    super::super::encoding::put_varint(&mut number, OFTEN.into());
    for (disk, damaged) in [(everything(), false), (flipped(&everything(), &number), true)] {
        let Opened { recovered, lost, .. } = try_open(&disk, &at(10));
        assert_eq!(lost, Lost { records: u64::from(damaged), ..Lost::default() });
        let queue = recovered.groups[0].queue.iter().map(|(message, number)| (message.record(), *number));
        let often = |record| if !damaged && [8, 9].contains(&record) { OFTEN } else { 0 };
        let expected = (1..=40).filter(|record| *record != 7).map(|record| (record, often(record)));
        assert_eq!(queue.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_damaged_chunk_is_lost_alone_and_makes_room() {
    let disk = everything();
    let db = redb::Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = db.begin_write().unwrap();
    {
        let mut table = transaction.open_table(super::super::rows::CHUNKS).unwrap();
        let last = redb::ReadableTable::last(&table).unwrap().unwrap().0.value();
        table.insert(last, &[1_u8; 500][..]).unwrap();
        table.insert(u64::MAX, &[][..]).unwrap();
    }
    transaction.commit().unwrap();
    drop(db);
    let Opened { mut log, recovered, lost } = try_open(&disk, &at(10));
    assert_eq!(lost, Lost { chunks: 2, ..Lost::default() });
    assert_eq!(queue_of(&recovered, 1).len(), 38);
    log.commit_at(11, vec![marked(60, &[1])]);
    drop(log);
    let (_, recovered) = open(&disk, &at(12));
    assert_eq!(queue_of(&recovered, 1).last(), Some(&60));
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Does what may make redb panic, without a word about that; a panic of ours is one.
fn quietly<T>(act: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = info.location().is_some_and(|at| at.file().contains("store/log"));
            if ours && QUIET.get() {
                OURS.set(true);
            }
            if ours || !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let done = catch_unwind(AssertUnwindSafe(act));
    QUIET.set(false);
    assert!(!OURS.replace(false), "our own code has panicked");
    done.ok()
}

fn open_quietly(disk: &Disk) -> Option<Opened> {
    quietly(|| Log::open(disk.clone(), &OPTIONS, &at(10)).ok())?
}

/// What was written once.
struct Written {
    messages: BTreeSet<Told>,
    retained: BTreeMap<String, Told>,
}

impl Written {
    fn new() -> Self {
        let messages = (1..=50).map(|record| {
            told(&body("a/topic", payload(record).as_bytes(), Qos::AtLeastOnce, u64::MAX, record))
        });
        let retained = [("r/1", "one"), ("r/2", "two")].map(|(topic, payload)| {
            (topic.to_owned(), told(&body(topic, payload.as_bytes(), Qos::AtLeastOnce, u64::MAX, 0)))
        });
        Self { messages: messages.collect(), retained: retained.into() }
    }

    fn holds(&self, opened: Opened) {
        let Opened { log, recovered, .. } = opened;
        assert!(recovered.sessions.len() <= 2 && recovered.groups.len() <= 1 && recovered.wills.len() <= 2);
        for (_, message) in &recovered.retained {
            assert_eq!(self.retained.get(message.topic().as_str()), Some(&told(message)));
        }
        assert!(recovered.groups.iter().all(|group| group.options == options(3)));
        for (message, deliveries) in recovered.groups.iter().flat_map(|group| &group.queue) {
            assert!(self.messages.contains(&told(message)), "{message:?}");
            let known = if [8, 9].contains(&message.record()) { OFTEN } else { 0 };
            assert!([0, known].contains(deliveries), "{deliveries} of {message:?}");
        }
        for session in recovered.sessions {
            assert_eq!(*session.client_id, *format!("client {}", session.number.0));
            for one in &session.subscriptions {
                assert!(["a/#", "b"].contains(&&*one.filter) && one.id.is_none_or(|id| id < NonZeroU32::MAX));
                assert_eq!(one.selector.as_deref(), (&*one.filter == "b").then_some("size > 2"));
            }
            for (_, exchange) in &session.outbound {
                if let Exchange::Sent { loaded, .. } = exchange {
                    assert!(self.messages.contains(&told(&loaded.message)));
                }
            }
            let records: Vec<_> = session.queue.iter().map(|stub| stub.record).collect();
            assert!(records.is_sorted());
            let loaded =
                quietly(|| log.load(session.number, &records, &mut None, &mut MessagePool::default()).ok())
                    .flatten();
            for (record, message) in loaded.into_iter().flatten() {
                let Some(message) = message else { continue };
                assert!(
                    self.messages.contains(&told(&message.message)) && message.message.record() == record
                );
            }
        }
        // redb writes at the end, too.
        quietly(|| drop(log));
    }
}

#[test]
fn whatever_byte_is_damaged_only_what_was_written_comes_back() {
    let image = everything().image();
    let written = Written::new();
    let used: Vec<_> =
        image.chunks(512).enumerate().filter(|(_, part)| part.iter().any(|&byte| byte != 0)).collect();
    let used: Vec<_> = used.into_iter().map(|(number, _)| number * 512).collect();
    let mut dice = Dice::new(1);
    let mut opened = 0;
    let tries = count("NOCTULE_FLIPS", 300);
    for _ in 0..tries {
        let mut image = image.clone();
        let end = image.len();
        for _ in 0..1 + dice.below(3) {
            let at = used[dice.below(used.len())] + dice.below(512);
            match dice.below(4) {
                0 => image[at] = 0,
                1 => image[at..end.min(at + 100)].fill(0xff),
                _ => image[at] ^= 1 << dice.below(8),
            }
        }
        if let Some(found) = open_quietly(&Disk::of(image)) {
            opened += 1;
            written.holds(found);
        }
    }
    println!("{opened} of {tries} damaged files could be opened");
    assert!(opened > tries / 10);
}

#[test]
fn a_file_cut_short_is_no_reason_to_panic_in_our_code() {
    let image = everything().image();
    for part in 1..16 {
        let mut image = image.clone();
        image.truncate(image.len() * part / 16);
        if let Some(found) = open_quietly(&Disk::of(image)) {
            Written::new().holds(found);
        }
    }
}
