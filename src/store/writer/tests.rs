//! The writer, turn by turn, over a disk that fails when a test says so.

mod failures;
mod random;
mod transactions;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use noctule_core::id::{Qos, SessionId};
use noctule_core::message::{Message, Restored};
use noctule_core::store::{Recipient, SessionNumber, Store};
use noctule_core::topic::TopicName;
use redb::StorageBackend;

use super::super::Post;
use super::super::handle::Handle;
use super::super::health::{Health, Shortage};
use super::super::medium::MediumError;
use super::super::window::{Pace, Window};
use super::*;

/// What becomes of a write, or of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    Error(i32),
    Panic,
    PanicOnce,
}

const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EIO: i32 = 5;

/// A disk in memory.
#[derive(Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    /// What every write meets, once so many have gone well.
    on_write: Option<(u64, Mishap)>,
    /// What every read meets, once so many have gone well.
    on_read: Option<(u64, Mishap)>,
    /// What every sync meets, once so many have gone well; the bytes are there all the same.
    on_sync: Option<(u64, Mishap)>,
    reads: u64,
    /// Files that were set aside.
    aside: Vec<Vec<u8>>,
    written: u64,
    opened: usize,
    is_elsewhere: bool,
    shortage: Option<Shortage>,
}

#[derive(Clone, Debug, Default)]
struct TestDisk(Arc<Mutex<Platter>>);

impl TestDisk {
    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn fails(&self, after: u64, mishap: Mishap) {
        self.lock().on_write = Some((after, mishap));
    }

    fn heals(&self) {
        let mut platter = self.lock();
        (platter.on_write, platter.on_read, platter.on_sync) = (None, None, None);
    }
}

fn meet(mishap: Option<Mishap>) -> io::Result<()> {
    match mishap {
        None => Ok(()),
        Some(Mishap::Error(errno)) => Err(io::Error::from_raw_os_error(errno)),
        Some(Mishap::Panic | Mishap::PanicOnce) => panic!("a page makes no sense"),
    }
}

impl StorageBackend for TestDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.lock();
        platter.reads += 1;
        if let Some((left, mishap)) = platter.on_read {
            if left == 0 {
                return meet(Some(mishap));
            }
            platter.on_read = Some((left - 1, mishap));
        }
        let at = offset as usize;
        let bytes = platter.bytes.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.lock();
        if let Some((left, mishap)) = platter.on_sync {
            if left == 0 {
                return meet(Some(mishap));
            }
            platter.on_sync = Some((left - 1, mishap));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.lock();
        if let Some((left, mishap)) = platter.on_write {
            if left == 0 {
                if mishap == Mishap::PanicOnce {
                    platter.on_write = None;
                }
                drop(platter);
                return meet(Some(mishap));
            }
            platter.on_write = Some((left - 1, mishap));
        }
        platter.written += data.len() as u64;
        let at = offset as usize;
        platter.bytes[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

impl Medium for TestDisk {
    type Backend = Self;

    fn open(&mut self) -> Result<Self, MediumError> {
        let mut platter = self.lock();
        platter.opened += 1;
        platter.is_elsewhere = false;
        drop(platter);
        Ok(self.clone())
    }

    fn set_aside(&mut self) -> io::Result<PathBuf> {
        let mut platter = self.lock();
        let bytes = mem::take(&mut platter.bytes);
        platter.aside.push(bytes);
        Ok("aside".into())
    }

    fn discard(&mut self) -> io::Result<()> {
        self.lock().bytes.clear();
        Ok(())
    }

    fn is_in_place(&self) -> bool {
        !self.lock().is_elsewhere
    }

    fn shortage(&self, _stored_bytes: u64) -> io::Result<Option<Shortage>> {
        Ok(self.lock().shortage)
    }

    fn bytes_written(&self) -> u64 {
        self.lock().written
    }

    fn file_bytes(&self) -> u64 {
        self.lock().bytes.len() as u64
    }

    fn needs_look(&self) -> bool {
        self.lock().shortage.is_some()
    }

    fn path(&self) -> PathBuf {
        "test.redb".into()
    }
}

/// What was posted to the workers, post by post.
#[derive(Default)]
struct Mailboxes(Mutex<Vec<(WorkerId, Vec<StoreEvent>)>>);

impl Post for Mailboxes {
    fn post(&self, worker: WorkerId, events: Vec<StoreEvent>) {
        self.0.lock().unwrap().push((worker, events));
    }
}

/// An answer, short enough to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Settled(u16, u64),
    Failed(u16, u64),
    Emptied(u16),
    /// The records that were found and those that were not.
    Loaded(Vec<u64>, Vec<u64>),
}

use Answer::{Emptied, Failed, Settled};

fn answer(worker: WorkerId, event: StoreEvent) -> Answer {
    match event {
        StoreEvent::Settled(ticket) => Settled(worker.0, ticket.0),
        StoreEvent::Failed(ticket) => Failed(worker.0, ticket.0),
        StoreEvent::Emptied => Emptied(worker.0),
        StoreEvent::Loaded(loaded) => {
            let (found, lost): (Vec<_>, Vec<_>) =
                loaded.messages.into_iter().partition(|(_, message)| message.is_some());
            let records = |messages: Vec<(u64, _)>| messages.into_iter().map(|(record, _)| record).collect();
            Answer::Loaded(records(found), records(lost))
        }
    }
}

struct Rig {
    shared: Arc<Shared>,
    writer: Writer<TestDisk>,
    disk: TestDisk,
    mailboxes: Arc<Mailboxes>,
    handle: Handle,
    recovered: Recovered,
    now_us: u64,
}

impl Rig {
    fn open(disk: TestDisk) -> Self {
        Self::try_open(disk).unwrap()
    }

    fn try_open(disk: TestDisk) -> Result<Self, Fault> {
        let pace = Pace { window_us: 5_000, interval_us: 1_000_000, retained_us: 5_000_000 };
        let seed = Seed::new(1);
        let shared = Arc::new(Shared::new(Window::new(pace, &seed), 2, Instant::now()));
        let mailboxes = Arc::new(Mailboxes::default());
        shared.set_post(mailboxes.clone());
        let options = Options { cache_bytes: 1 << 20 };
        let (writer, recovered) = Writer::open(Arc::clone(&shared), disk.clone(), options, &seed)?;
        let handle = Handle::new(Arc::clone(&shared), WorkerId(0));
        // Far enough ahead of what the handles read.
        Ok(Self { shared, writer, disk, mailboxes, handle, recovered, now_us: 1_000_000_000 })
    }

    /// With sessions 1 to 3, which have left; whatever was written is committed.
    fn new() -> Self {
        let mut rig = Self::open(TestDisk::default());
        for session in 1..=3 {
            rig.submit(Ticket::NONE, kept(session));
            rig.submit(Ticket::NONE, StoreOp::Presence { session: SessionNumber(session), online: false });
        }
        rig.ask(0, subscribed(1));
        rig.run();
        assert_eq!(rig.answers(), [Settled(0, 0)]);
        rig
    }

    fn submit(&mut self, ticket: Ticket, op: StoreOp) {
        self.handle.submit(ticket, op).unwrap();
    }

    fn ask(&mut self, ticket: u64, op: StoreOp) {
        self.submit(Ticket(ticket), op);
    }

    fn refused(&mut self, op: StoreOp) -> &'static str {
        self.handle.submit(Ticket(99), op).unwrap_err().reason
    }

    /// Takes turns until the writer sleeps; until when.
    fn run(&mut self) -> u64 {
        for _ in 0..100 {
            match self.writer.turn(self.now_us) {
                Turn::Again => {}
                Turn::Sleep(until_us) => return until_us,
                Turn::Done => return 0,
            }
        }
        panic!("the writer does not come to rest");
    }

    /// Lets the interval pass, and the longest pause.
    fn run_later(&mut self) -> u64 {
        self.now_us += 6_000_000;
        self.run()
    }

    fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (worker, events) in mem::take(&mut *self.mailboxes.0.lock().unwrap()) {
            answers.extend(events.into_iter().map(|event| answer(worker, event)));
        }
        while let Some(event) = self.handle.poll() {
            answers.push(answer(WorkerId(0), event));
        }
        answers
    }

    fn health(&self) -> Arc<Health> {
        Arc::clone(&self.shared.health)
    }

    /// Ends the process as a power cut would, and starts another on the same disk.
    fn restarted(self) -> Self {
        let Self { writer, disk, .. } = self;
        drop(writer);
        disk.heals();
        Self::open(disk)
    }

    /// Who is owed which messages, as recovered.
    fn owed(&self) -> BTreeMap<u64, Vec<u64>> {
        let queue = |stubs: &[noctule_core::queue::Stub]| stubs.iter().map(|stub| stub.record).collect();
        self.recovered
            .sessions
            .iter()
            .map(|session| (session.number.0, queue(&session.queue)))
            .filter(|(_, queue): &(u64, Vec<u64>)| !queue.is_empty())
            .collect()
    }
}

fn kept(session: u64) -> StoreOp {
    let client_id = format!("client {session}").into();
    StoreOp::SessionKept { session: SessionNumber(session), client_id, user: None, expiry_s: u32::MAX }
}

fn subscribed(session: u64) -> StoreOp {
    StoreOp::Subscribed {
        session: SessionNumber(session),
        filter: "t".into(),
        qos: Qos::AtLeastOnce,
        flags: (false, false),
        subscription_id: 0,
        selector: None,
    }
}

fn message(record: u64, payload: &[u8]) -> Arc<Message> {
    Message::restore(&Restored {
        topic: TopicName::from_validated("t"),
        fields: &[],
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_ms: u64::MAX,
        record,
    })
}

fn publish(record: u64, to: &[u64]) -> StoreOp {
    publish_payload(record, to, b"payload")
}

fn publish_payload(record: u64, to: &[u64], payload: &[u8]) -> StoreOp {
    let recipient = |&session: &u64| Recipient {
        session: SessionNumber(session),
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: None,
    };
    StoreOp::Publish {
        message: message(record, payload),
        recipients: to.iter().map(recipient).collect(),
        retained: None,
        inbound: None,
    }
}

fn acknowledged(session: u64, record: u64) -> StoreOp {
    StoreOp::Acknowledged { session: SessionNumber(session), record }
}

fn request(session: u64, records: &[u64]) -> LoadRequest {
    let session = SessionId { worker: WorkerId(0), slot: 0, incarnation: session };
    LoadRequest { session, records: records.into() }
}

#[test]
fn settled_is_what_a_restart_finds() {
    let mut rig = Rig::new();
    rig.ask(1, publish(1, &[1, 2]));
    rig.ask(2, publish(2, &[1]));
    assert_eq!(rig.answers(), [], "not before it is written");
    rig.run();
    assert_eq!(rig.answers(), [Settled(0, 1), Settled(0, 2)]);
    let rig = rig.restarted();
    assert_eq!(rig.owed(), BTreeMap::from([(1, vec![1, 2]), (2, vec![1])]));
}

#[test]
fn each_worker_gets_one_post_per_commit_in_its_order() {
    let mut rig = Rig::new();
    let mut other = Handle::new(Arc::clone(&rig.shared), WorkerId(1));
    for record in 0..6 {
        rig.ask(10 + record, publish(10 + record, &[1]));
        other.submit(Ticket(20 + record), publish(20 + record, &[1])).unwrap();
    }
    rig.run();
    let posts = rig.mailboxes.0.lock().unwrap();
    let sizes: Vec<_> = posts.iter().map(|(worker, events)| (worker.0, events.len())).collect();
    assert_eq!(sizes, [(0, 6), (1, 6)]);
    drop(posts);
    let expected: Vec<_> = (10..16).map(|t| Settled(0, t)).chain((20..26).map(|t| Settled(1, t))).collect();
    assert_eq!(rig.answers(), expected);
}

#[test]
fn what_is_acknowledged_in_time_is_answered_on_both_workers_and_never_written() {
    let mut rig = Rig::new();
    rig.submit(Ticket::NONE, StoreOp::Presence { session: SessionNumber(1), online: true });
    rig.run_later();
    let before = rig.health().totals();
    let mut other = Handle::new(Arc::clone(&rig.shared), WorkerId(1));
    rig.ask(1, publish(1, &[1]));
    other.submit(Ticket(2), publish(2, &[1])).unwrap();
    rig.submit(Ticket::NONE, acknowledged(1, 2));
    rig.submit(Ticket::NONE, acknowledged(1, 1));
    assert!(rig.mailboxes.0.lock().unwrap().is_empty(), "the other worker is told once per poll");
    assert!(matches!(rig.handle.poll(), Some(StoreEvent::Settled(Ticket(1)))), "our own without a mailbox");
    assert!(rig.handle.poll().is_none());
    assert_eq!(rig.answers(), [Settled(1, 2)]);
    rig.run_later();
    let after = rig.health().totals();
    assert_eq!(after.messages_elided - before.messages_elided, 2);
    assert_eq!((after.commits, after.bytes_written), (before.commits, before.bytes_written));
}

#[test]
fn loads_are_answered_from_the_window_or_the_log_or_both() {
    let mut rig = Rig::new();
    rig.ask(1, publish(1, &[1, 2]));
    rig.run();
    rig.ask(2, publish(2, &[1]));
    rig.answers();
    rig.handle.load(request(1, &[2]));
    assert_eq!(rig.answers(), [Answer::Loaded(vec![2], vec![])], "at once");
    rig.handle.load(request(1, &[1, 2, 3]));
    rig.handle.load(request(2, &[1, 2]));
    assert_eq!(rig.answers(), []);
    rig.run();
    let answers = rig.answers();
    assert!(answers.contains(&Answer::Loaded(vec![1, 2], vec![3])), "{answers:?}");
    assert!(answers.contains(&Answer::Loaded(vec![1], vec![2])), "{answers:?}");
}

#[test]
fn the_end_writes_what_is_left() {
    let mut rig = Rig::new();
    rig.submit(Ticket::NONE, StoreOp::Presence { session: SessionNumber(1), online: true });
    rig.ask(1, publish(1, &[1]));
    rig.submit(Ticket::NONE, publish(2, &[1]));
    let retained = |topic: &str, version| {
        let restored = Restored {
            topic: TopicName::from_validated(topic),
            fields: &[],
            payload: b"x",
            qos: Qos::AtMostOnce,
            retain: true,
            expires_ms: u64::MAX,
            record: 0,
        };
        let message = Message::restore(&restored);
        StoreOp::Publish { message, recipients: Box::default(), retained: Some(version), inbound: None }
    };
    rig.submit(Ticket::NONE, retained("r", 5));
    rig.shared.lock().close();
    assert_eq!(rig.run(), 0, "it is done");
    assert_eq!(rig.answers(), [Settled(0, 1)]);
    assert_eq!(rig.refused(publish(3, &[1])), "the broker is ending");
    let Rig { writer, disk, shared, .. } = rig;
    writer.close().unwrap();
    assert_eq!(shared.health.trouble(), Some(Trouble::Stopped));
    let rig = Rig::open(disk);
    assert_eq!(rig.owed(), BTreeMap::from([(1, vec![1, 2])]));
    assert_eq!(rig.recovered.retained.len(), 1);
}

#[test]
fn a_shortage_refuses_messages_and_nothing_else() {
    let mut rig = Rig::new();
    rig.ask(1, publish(1, &[1]));
    rig.run();
    rig.disk.lock().shortage = Some(Shortage::Reserve);
    rig.submit(Ticket::NONE, acknowledged(1, 1));
    let until_us = rig.run_later();
    assert_eq!(until_us, rig.now_us + LOOK_US, "it looks again");
    assert_eq!(rig.refused(publish(2, &[1])), Shortage::Reserve.reason());
    rig.ask(2, StoreOp::InboundReleased { session: SessionNumber(1), packet_id: 1 });
    rig.run();
    assert_eq!(rig.answers(), [Settled(0, 1), Settled(0, 2)]);
    rig.disk.lock().shortage = None;
    rig.now_us = until_us;
    rig.run();
    rig.ask(3, publish(3, &[1]));
    rig.run();
    assert_eq!(rig.answers(), [Settled(0, 3)]);
    assert_eq!(rig.restarted().owed(), BTreeMap::from([(1, vec![3])]));
}

#[test]
fn a_monitor_sees_what_was_done() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let mut rig = Rig::new();
        rig.submit(Ticket::NONE, StoreOp::Presence { session: SessionNumber(1), online: true });
        rig.ask(1, publish(1, &[1]));
        rig.submit(Ticket::NONE, acknowledged(1, 1));
        rig.ask(2, publish(2, &[2]));
        rig.run();
        rig.disk.fails(0, Mishap::Error(EIO));
        rig.ask(3, publish(3, &[2]));
        rig.run();
    });
    let seen: BTreeMap<String, String> = snapshots
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| (key.key().name().to_owned(), format!("{value:?}")))
        .collect();
    let expected = [
        ("noctule_store_commits_total", "Counter(2)"),
        ("noctule_store_messages_stored_total", "Counter(1)"),
        ("noctule_store_messages_elided_total", "Counter(1)"),
        ("noctule_store_refused_total", "Counter(1)"),
        ("noctule_store_healthy", "Gauge(0.0)"),
    ];
    for (name, value) in expected {
        assert_eq!(seen.get(name).map(String::as_str), Some(value), "{name}: {seen:?}");
    }
    assert!(seen.contains_key("noctule_store_commit_seconds"), "{seen:?}");
    assert!(seen["noctule_store_bytes_written_total"].len() > "Counter(9999)".len(), "{seen:?}");
}
