//! The whole store on real files: threads, restarts, and what people do to its directory meanwhile.

mod full_disk;
mod measure;

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use noctule_core::id::{Qos, SessionId};
use noctule_core::message::{Message, MessagePool, Restored};
use noctule_core::store::{LoadRequest, Recipient, SessionNumber, Store, StoreOp, Ticket};
use noctule_core::topic::TopicName;

use super::directory::tests::Scratch;
use super::*;

const MIB: u64 = 1 << 20;
/// Longer than any disk takes.
const LONG: Duration = Duration::from_secs(30);

pub(super) fn settings(directory: &Path) -> Settings {
    Settings {
        directory: directory.to_owned(),
        commit_window: Duration::from_millis(5),
        interval: Duration::from_millis(50),
        retained_interval: Duration::from_millis(100),
        cache: 1 << 20,
        reserve: MIB,
        min_free: 0,
        max_bytes: 1 << 30,
    }
}

/// A worker without an engine.
pub(super) struct Worker {
    pub(super) handle: Handle,
    mail: Receiver<StoreEvent>,
}

struct Senders(Vec<Sender<StoreEvent>>);

impl Post for Senders {
    fn post(&self, worker: WorkerId, events: Vec<StoreEvent>) {
        for event in events {
            // A worker that has gone needs no answers.
            let _ = self.0[worker.index()].send(event);
        }
    }
}

impl Worker {
    pub(super) fn ask(&mut self, ticket: u64, op: StoreOp) {
        self.handle.submit(Ticket(ticket), op).unwrap();
    }

    pub(super) fn tell(&mut self, op: StoreOp) {
        self.handle.submit(Ticket::NONE, op).unwrap();
    }

    pub(super) fn event(&mut self) -> StoreEvent {
        self.handle.poll().unwrap_or_else(|| self.mail.recv_timeout(LONG).unwrap())
    }

    /// The next answer: a ticket and whether it was settled.
    pub(super) fn answer(&mut self) -> (u64, bool) {
        match self.event() {
            StoreEvent::Settled(ticket) => (ticket.0, true),
            StoreEvent::Failed(ticket) => (ticket.0, false),
            event @ (StoreEvent::Loaded(_) | StoreEvent::Emptied) => panic!("{event:?}"),
        }
    }
}

/// A store with `count` workers; sessions 1 to 4 exist, and 4 of them are absent.
pub(super) fn serve(settings: &Settings, count: u16) -> (DiskStore, Recovered, Vec<Worker>) {
    let (mut store, recovered) = DiskStore::open(settings, count, Instant::now()).unwrap();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| channel()).unzip();
    store.serve(Arc::new(Senders(senders)), MessagePool::default()).unwrap();
    let worker = |(number, mail)| Worker { handle: store.handle(WorkerId(number)), mail };
    let mut workers: Vec<_> = (0..count).zip(receivers).map(worker).collect();
    for session in 1..=4 {
        workers[0].tell(StoreOp::SessionKept {
            session: SessionNumber(session),
            client_id: format!("client {session}").into(),
            user: None,
            expiry_s: u32::MAX,
        });
        workers[0].tell(StoreOp::Presence { session: SessionNumber(session), online: false });
    }
    (store, recovered, workers)
}

pub(super) fn publish(record: u64, to: u64, payload: &[u8]) -> StoreOp {
    let message = Message::restore(&Restored {
        topic: TopicName::from_validated("site/7/device/19/temperature"),
        fields: &[],
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_ms: u64::MAX,
        record,
    });
    let recipient = Recipient {
        session: SessionNumber(to),
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: None,
    };
    StoreOp::Publish { message, recipients: Box::new([recipient]), retained: None, inbound: None }
}

pub(super) fn acknowledged(session: u64, record: u64) -> StoreOp {
    StoreOp::Acknowledged { session: SessionNumber(session), record }
}

/// What waits for each session.
pub(super) fn queues(recovered: &Recovered) -> Vec<(u64, Vec<u64>)> {
    let mut queues: Vec<(u64, Vec<u64>)> = recovered
        .sessions
        .iter()
        .map(|session| (session.number.0, session.queue.iter().map(|stub| stub.record).collect()))
        .filter(|(_, queue): &(u64, Vec<u64>)| !queue.is_empty())
        .collect();
    queues.sort();
    queues
}

/// Waits until `is_so`, which takes a few turns of the writer.
#[track_caller]
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "{what} did not come true");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn workers_get_their_answers_and_a_restart_what_was_answered() {
    let scratch = Scratch::new("restart");
    let (store, recovered, workers) = serve(&settings(&scratch.data()), 2);
    assert_eq!(queues(&recovered), []);
    let run = |mut worker: Worker, first: u64| {
        for record in first..first + 500 {
            worker.ask(record, publish(record, 1 + record % 2, b"payload"));
            if record % 5 == 0 {
                let number = SessionNumber(1 + record % 2);
                worker.handle.load(LoadRequest {
                    session: SessionId {
                        worker: WorkerId((first / 1000) as u16),
                        slot: 0,
                        incarnation: number.0,
                    },
                    records: Box::new([record]),
                });
            }
        }
        let (mut settled, mut loaded) = (0, 0);
        while settled < 500 || loaded < 100 {
            match worker.event() {
                StoreEvent::Settled(ticket) => {
                    assert_eq!(ticket.0, first + settled, "in order");
                    settled += 1;
                }
                StoreEvent::Loaded(answer) => {
                    assert!(answer.messages[0].1.is_some(), "{answer:?}");
                    loaded += 1;
                }
                event @ (StoreEvent::Failed(_) | StoreEvent::Emptied) => panic!("{event:?}"),
            }
        }
    };
    thread::scope(|scope| {
        for (worker, first) in workers.into_iter().zip([0, 1000]) {
            scope.spawn(move || run(worker, first));
        }
    });
    let health = store.health();
    store.close().unwrap();
    // Answers leave before a commit is counted, and how many commits there are is chance.
    let totals = health.totals();
    assert_eq!(totals.messages_stored, 1000);
    assert!(totals.bytes_written > 1000 * b"payload".len() as u64 && totals.commits > 0, "{totals:?}");
    let (_store, recovered, _) = serve(&settings(&scratch.data()), 1);
    let found: usize = queues(&recovered).iter().map(|(_, queue)| queue.len()).sum();
    assert_eq!(found, 1000);
}

#[test]
fn what_nobody_waits_for_is_written_by_itself() {
    let scratch = Scratch::new("by-itself");
    let (store, _, mut workers) = serve(&settings(&scratch.data()), 1);
    workers[0].tell(publish(1, 1, b"x"));
    let health = store.health();
    wait_until("the interval's commit", || health.totals().messages_stored == 1);
}

#[test]
fn a_store_that_is_closed_takes_nothing_and_can_be_opened_again() {
    let scratch = Scratch::new("closed");
    let (store, _, mut workers) = serve(&settings(&scratch.data()), 1);
    let second = DiskStore::open(&settings(&scratch.data()), 1, Instant::now()).unwrap_err().to_string();
    assert!(second.starts_with("another noctule (process "), "{second}");
    workers[0].tell(publish(1, 1, b"x"));
    store.close().unwrap();
    let refused = workers[0].handle.submit(Ticket(1), publish(2, 1, b"x")).unwrap_err();
    assert_eq!(refused.reason, "the store has stopped");
    // Without a thread as well.
    let (store, recovered) = DiskStore::open(&settings(&scratch.data()), 1, Instant::now()).unwrap();
    assert_eq!(queues(&recovered), [(1, vec![1])]);
    store.handle(WorkerId(0)).submit(Ticket::NONE, acknowledged(1, 1)).unwrap();
    store.close().unwrap();
    let (_, recovered) = DiskStore::open(&settings(&scratch.data()), 1, Instant::now()).unwrap();
    assert_eq!(queues(&recovered), []);
}

#[test]
fn a_directory_that_is_deleted_underneath_is_written_anew() {
    let scratch = Scratch::new("underneath");
    let (store, _, mut workers) = serve(&settings(&scratch.data()), 1);
    workers[0].ask(1, publish(1, 1, b"before"));
    assert_eq!(workers[0].answer(), (1, true));
    fs::remove_dir_all(scratch.data()).unwrap();
    // The writer looks once a second.
    thread::sleep(Duration::from_millis(1_100));
    workers[0].ask(2, publish(2, 1, b"after"));
    assert_eq!(workers[0].answer(), (2, true));
    assert_eq!(store.health().totals().reopenings, 1);
    store.close().unwrap();
    let (_, recovered) = DiskStore::open(&settings(&scratch.data()), 1, Instant::now()).unwrap();
    assert_eq!(queues(&recovered), [(1, vec![1, 2])], "nothing is lost");
}

#[test]
fn an_exchanged_file_is_left_alone_until_ours_is_back() {
    let scratch = Scratch::new("exchanged");
    let (store, _, mut workers) = serve(&settings(&scratch.data()), 1);
    workers[0].ask(1, publish(1, 1, b"before"));
    assert_eq!(workers[0].answer(), (1, true));
    let (ours, away) = (scratch.data().join(directory::STORE), scratch.path().join("away"));
    fs::rename(&ours, &away).unwrap();
    fs::write(&ours, "somebody else's").unwrap();
    let health = store.health();
    workers[0].tell(acknowledged(1, 77));
    thread::sleep(Duration::from_millis(1_100));
    workers[0].tell(acknowledged(1, 78));
    wait_until("the alarm", || health.trouble() == Some(Trouble::Gone));
    let refused = workers[0].handle.submit(Ticket(2), publish(2, 1, b"x")).unwrap_err();
    assert_eq!(refused.reason, "the store's directory is gone");
    assert_eq!(fs::read_to_string(&ours).unwrap(), "somebody else's");
    fs::rename(&away, &ours).unwrap();
    wait_until("the recovery", || health.trouble().is_none());
    workers[0].ask(3, publish(3, 1, b"after"));
    assert_eq!(workers[0].answer(), (3, true));
    store.close().unwrap();
    let (_, recovered) = DiskStore::open(&settings(&scratch.data()), 1, Instant::now()).unwrap();
    assert_eq!(queues(&recovered), [(1, vec![1, 3])]);
}

#[test]
fn a_directory_that_is_not_ours_is_named() {
    let scratch = Scratch::new("not-ours");
    fs::write(scratch.path().join("letter.txt"), "").unwrap();
    let said = DiskStore::open(&settings(scratch.path()), 1, Instant::now()).unwrap_err().to_string();
    assert!(said.contains("letter.txt") && said.contains("server.data_dir"), "{said}");
}
