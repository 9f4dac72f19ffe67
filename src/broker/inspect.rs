//! What an operator may ask of a running broker, and do to it: questions that are posted to the workers, and their answers.
//!
//! Who may ask is not decided here. A worker answers between two turns of its loop, a part of what is long at a time, so
//! that nobody who is served waits for it.

mod shape;

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use noctule_core::engine::Stats;
use noctule_core::id::{Qos, WorkerId};
use noctule_core::message::Message;
use noctule_core::retained::{self, Progress};
use noctule_core::shared::Shared;
use noctule_core::topic::{TopicFilter, TopicName};
use noctule_core::trie::GroupKey;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

pub use shape::{Client, ClientFilter, Cursor, Group, Nature, Page, Subscription};

use super::admission::Admission;
use super::memory::{self, Memory};
use super::tap::{Listener, Tap};
use super::watch::{Packet, Watcher};
use super::worker::Mail;
use crate::reactor::Mailboxes;
use crate::store::{Backups, DiskStore, Health};

/// How long a worker has to answer. It does between two turns of its loop, which take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most places of a worker's tables that are looked at for one question.
pub(super) const PLACES_PER_QUESTION: usize = 2_048;

/// Messages that are moved between two turns of a worker's loop.
const AT_ONCE: usize = 256;

/// Topics that are looked at under one lock of the retained messages.
const LOOKS: usize = 256;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("worker {worker} has not answered within {} s: it is stuck or has ended", PATIENCE.as_secs())]
pub struct NoAnswer {
    /// Who was asked.
    pub worker: u16,
}

/// A message in the broker's own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The topic, which has been checked.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: Qos,
    /// Whether it is retained; with an empty payload, what was is so no more.
    pub retain: bool,
}

/// What a worker is asked, with the way back.
#[derive(Debug)]
pub(super) enum Question {
    /// Whether it lives.
    Alive(oneshot::Sender<()>),
    /// For what it has counted.
    Stats(oneshot::Sender<Stats>),
    /// To pass on to the metrics what it has counted.
    Report(oneshot::Sender<()>),
    /// For clients: from a place of its table on, at most so many.
    Clients(u32, usize, ClientFilter, oneshot::Sender<Page<Client>>),
    /// For one client.
    Client(Box<str>, oneshot::Sender<Option<Client>>),
    /// For a client's subscriptions: so many from a place on.
    Subscriptions(Box<str>, usize, usize, oneshot::Sender<Option<Vec<Subscription>>>),
    /// To disconnect a client; whether it was connected.
    Disconnect(Box<str>, oneshot::Sender<bool>),
    /// For queues and shares: from a place of its table on, at most so many.
    Groups(u32, usize, oneshot::Sender<Page<Group>>),
    /// For one of them.
    Group(Arc<GroupKey>, oneshot::Sender<Option<Group>>),
    /// To publish in the broker's name; how many deliveries were dropped at once.
    Announce(Vec<Announcement>, oneshot::Sender<u64>),
    /// To drop what waits first in a group, so many at most.
    Purge(Arc<GroupKey>, usize, oneshot::Sender<Option<Left>>),
    /// To have what waits first in a group go on in a queue, by its topic, so many messages and bytes at most.
    Move(Arc<GroupKey>, Box<str>, (usize, usize), oneshot::Sender<Option<Left>>),
    /// To pass on from now on what is published for topics that a filter matches.
    Tap(u64, TopicFilter, Tap),
    /// To pass on no more for that one.
    Untap(u64),
    /// To pass on from now on what a client sends and is sent, by its name.
    Watch(u64, Box<str>, Tap<Packet>),
    /// To pass on no more of it.
    Unwatch(u64),
    /// For what waits in a group: so many from a place on.
    Waiting(Arc<GroupKey>, usize, usize, oneshot::Sender<Option<Vec<Arc<Message>>>>),
}

/// What has become of the messages that waited in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// So many are gone from it.
    pub gone: usize,
    /// So many wait there now.
    pub left: usize,
}

/// What the broker has counted, and what there is.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// By each worker.
    pub workers: Vec<Stats>,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Memory that those are charged with, bytes.
    pub retained_bytes: u64,
    /// Memory given out by the allocator, bytes.
    pub memory_bytes: u64,
}

impl Totals {
    /// Of all workers together.
    #[must_use]
    pub fn sum(&self, of: impl Fn(&Stats) -> u64) -> u64 {
        self.workers.iter().map(of).sum()
    }
}

/// Asks the workers of a running broker; cheap to clone.
#[derive(Clone, Debug)]
pub struct Inspector {
    mailboxes: Mailboxes<Mail>,
    shared: Arc<Shared>,
    memory: Arc<Memory>,
    admission: Arc<Admission>,
    sys_wanted: Arc<Notify>,
    store: Option<Arc<Health>>,
    backups: Option<Backups>,
    started: Instant,
}

impl Inspector {
    pub(super) fn new(
        mailboxes: Mailboxes<Mail>,
        shared: Arc<Shared>,
        memory: Arc<Memory>,
        admission: Arc<Admission>,
        sys_wanted: Arc<Notify>,
        (store, started): (Option<&DiskStore>, Instant),
    ) -> Self {
        let (store, backups) = (store.map(DiskStore::health), store.map(DiskStore::backups));
        Self { mailboxes, shared, memory, admission, sys_wanted, store, backups, started }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> u16 {
        self.shared.workers()
    }

    /// How the store is; `None` if nothing is stored.
    #[must_use]
    pub fn store(&self) -> Option<&Arc<Health>> {
        self.store.as_ref()
    }

    /// Why the broker would not take a new client's messages as it should: every reason, none if all is well.
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if let Some(store) = &self.store
            && let Err(refused) = store.takes_messages()
        {
            complaints.push(refused.to_string());
        }
        if !self.memory.takes_clients() {
            let used = memory::used();
            complaints
                .push(format!("the memory budget is used up ({used} bytes): no new clients are let in"));
        }
        if let Some((limit, value)) = self.admission.is_full() {
            complaints.push(format!("{limit} is reached ({value}): no new clients are let in"));
        }
        if self.admission.lacks_descriptors(Instant::now()) {
            complaints.push(
                "there are no descriptors for new clients: raise the limit on open files (LimitNOFILE)"
                    .to_owned(),
            );
        }
        complaints
    }

    /// What keeps the broker from serving as it should: every reason, none if all is well.
    pub async fn problems(&self) -> Vec<String> {
        let mut problems = self.complaints();
        problems.extend(self.answers().await.err().map(|error| error.to_string()));
        problems
    }

    /// Comes back when every worker has answered.
    ///
    /// # Errors
    /// When one does not.
    pub async fn answers(&self) -> Result<(), NoAnswer> {
        for worker in 0..self.workers() {
            self.ask(worker, Question::Alive).await?;
        }
        Ok(())
    }

    /// What all workers together have counted, and what there is of what they share.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn totals(&self) -> Result<Totals, NoAnswer> {
        let mut workers = Vec::new();
        for worker in 0..self.workers() {
            workers.push(self.ask(worker, Question::Stats).await?);
        }
        let shared = &self.shared;
        Ok(Totals {
            workers,
            subscriptions: shared.tree.len() as u64,
            retained: shared.retained.len() as u64,
            retained_bytes: shared.retained.bytes() as u64,
            memory_bytes: memory::used(),
        })
    }

    /// Has every worker pass on to the metrics what it has counted.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn report(&self) -> Result<(), NoAnswer> {
        for worker in 0..self.workers() {
            self.ask(worker, Question::Report).await?;
        }
        Ok(())
    }

    /// Clients from `from` on, at most `most` of them.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn clients(
        &self,
        from: Cursor,
        most: usize,
        filter: &ClientFilter,
    ) -> Result<Page<Client>, NoAnswer> {
        self.pages(from, most, |place, most, answer| Question::Clients(place, most, filter.clone(), answer))
            .await
    }

    /// The client of that identifier; `None` if it has no session.
    ///
    /// # Errors
    /// When its worker does not answer.
    pub async fn client(&self, client_id: &str) -> Result<Option<Client>, NoAnswer> {
        self.ask_each(client_id, |answer| Question::Client(client_id.into(), answer), Option::is_some).await
    }

    /// Subscriptions of a client, so many from place `from` on; `None` if it has no session.
    ///
    /// # Errors
    /// When its worker does not answer.
    pub async fn subscriptions(
        &self,
        client_id: &str,
        from: usize,
        most: usize,
    ) -> Result<Option<Vec<Subscription>>, NoAnswer> {
        let question = |answer| Question::Subscriptions(client_id.into(), from, most, answer);
        self.ask_each(client_id, question, Option::is_some).await
    }

    /// Disconnects a client, and of STOMP all that call themselves so; its session stays as long as it would. Whether it was
    /// connected.
    ///
    /// # Errors
    /// When its worker does not answer.
    pub async fn disconnect(&self, client_id: &str) -> Result<bool, NoAnswer> {
        let mut was_connected = false;
        for worker in 0..self.workers() {
            was_connected |=
                self.ask(worker, |answer| Question::Disconnect(client_id.into(), answer)).await?;
        }
        Ok(was_connected)
    }

    /// Queues, durable subscriptions and shares from `from` on, at most `most` of them.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn groups(&self, from: Cursor, most: usize) -> Result<Page<Group>, NoAnswer> {
        self.pages(from, most, Question::Groups).await
    }

    /// Retained messages that a filter matches, from where a part before has ended; at most `most`, and where it goes on.
    /// Those of the broker itself (`$SYS`) are matched by filters that begin so.
    #[must_use]
    pub fn retained(
        &self,
        filter: &TopicFilter,
        cursor: &mut retained::Cursor,
        now_ms: u64,
        most: usize,
    ) -> Vec<Arc<Message>> {
        let mut found = Vec::new();
        while found.len() < most {
            let step = self.shared.retained.replay(filter, cursor, u64::MAX, now_ms, LOOKS, |message| {
                found.push(Arc::clone(message));
                if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if step == Progress::Done {
                break;
            }
        }
        found
    }

    /// The retained message of a topic.
    #[must_use]
    pub fn retained_at(&self, topic: &TopicName<'_>, now_ms: u64) -> Option<Arc<Message>> {
        self.shared.retained.get(topic, now_ms)
    }

    /// Publishes messages in the broker's own name, in order, as if a client without limits had; how many deliveries were
    /// dropped at once, as there was no room.
    ///
    /// # Errors
    /// When the worker does not answer.
    pub async fn announce(&self, messages: Vec<Announcement>) -> Result<u64, NoAnswer> {
        self.ask(0, |answer| Question::Announce(messages, answer)).await
    }

    /// Drops what waits in a group now; how many messages that were, and how many wait there after it. `None` if there is no
    /// such group.
    ///
    /// # Errors
    /// When its worker does not answer.
    pub async fn purge(&self, key: &Arc<GroupKey>) -> Result<Option<Left>, NoAnswer> {
        let Some(Group { messages: all, worker: home, .. }) = self.group(key).await? else { return Ok(None) };
        let mut done = Left { gone: 0, left: all };
        // Whoever publishes meanwhile does not hold it up for ever.
        while done.gone < all {
            let most = AT_ONCE.min(all - done.gone);
            match self.ask(home, |answer| Question::Purge(Arc::clone(key), most, answer)).await? {
                None | Some(Left { gone: 0, .. }) => break,
                Some(part) => done = Left { gone: done.gone + part.gone, left: part.left },
            }
        }
        Ok(Some(done))
    }

    /// One group, as it is now; `None` if there is no such group.
    async fn group(&self, key: &Arc<GroupKey>) -> Result<Option<Group>, NoAnswer> {
        let home = self.shared.home_of_group(&key.group, &key.filter);
        self.ask(home.0, |answer| Question::Group(Arc::clone(key), answer)).await
    }

    /// Copies the store into an empty file: everything that was acknowledged before. How large the copy is, bytes; `None` if
    /// nothing is stored. `meanwhile` is dropped when the copy is made, also if nobody waits for it any more.
    ///
    /// # Errors
    /// What kept it from being copied.
    pub async fn back_up(&self, file: File, meanwhile: impl Send + 'static) -> Option<Result<u64, String>> {
        let (answer, answered) = oneshot::channel();
        // Whoever has stopped waiting hears nothing.
        self.backups.as_ref()?.begin(
            file,
            Box::new(move |done| {
                let _ = answer.send(done);
                drop(meanwhile);
            }),
        );
        Some(answered.await.unwrap_or_else(|_| Err("the store's thread has ended".to_owned())))
    }

    /// Has what waits in a group now go on in a queue, `$queue/NAME`, as long as that has room; how many messages did, and how
    /// many wait in the group after it. `None` if there is no such group. The room is asked for and not kept: where others
    /// publish into a queue that is all but full, it may be short by some, and then it does what it does whenever too much
    /// is sent there, counted as that.
    ///
    /// # Errors
    /// When its worker does not answer.
    pub async fn move_waiting(&self, from: &Arc<GroupKey>, to: &str) -> Result<Option<Left>, NoAnswer> {
        let target = Arc::new(GroupKey { group: Box::default(), filter: to.into() });
        let Some(Group { messages: all, worker: source, .. }) = self.group(from).await? else {
            return Ok(None);
        };
        let mut done = Left { gone: 0, left: all };
        // What comes back meanwhile, because consumers there refuse it again, stays.
        while done.gone < all {
            // The first message makes a queue that is not there yet.
            let (messages, bytes) = self.group(&target).await?.map_or((1, usize::MAX), |queue| queue.room());
            // Half of what is left, so that others who send there meanwhile find some as well.
            let most = messages.div_ceil(2).min(AT_ONCE).min(all - done.gone);
            let question = |answer| Question::Move(Arc::clone(from), to.into(), (most, bytes), answer);
            match self.ask(source, question).await? {
                None | Some(Left { gone: 0, .. }) => break,
                Some(part) => done = Left { gone: done.gone + part.gone, left: part.left },
            }
            // Once the source answers again it has sent what was moved, and then it lies in front of the next question.
            self.ask(source, Question::Alive).await?;
        }
        Ok(Some(done))
    }

    /// Somebody who hears what is published, once filters are added.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener::new(self.clone())
    }

    /// Somebody who hears every packet of a client from now on.
    #[must_use]
    pub fn watch(&self, client_id: &str) -> Watcher {
        Watcher::new(self.clone(), client_id)
    }

    /// Comes back when a client has asked for something below `$SYS`.
    pub async fn sys_is_wanted(&self) {
        self.sys_wanted.notified().await;
    }

    /// Whether somebody has subscribed to one of these topics.
    #[must_use]
    pub fn is_subscribed(&self, topics: &[String]) -> bool {
        let mut topics = topics.iter().map(|topic| TopicName::from_validated(topic));
        topics.any(|topic| !self.shared.tree.matches(&topic).is_empty())
    }

    /// How long the slowest worker took to answer a question, between two turns of its loop.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn pulse(&self) -> Result<Duration, NoAnswer> {
        let mut slowest = Duration::ZERO;
        for worker in 0..self.workers() {
            let asked = Instant::now();
            self.ask(worker, Question::Alive).await?;
            slowest = slowest.max(asked.elapsed());
        }
        Ok(slowest)
    }

    /// Has every worker do something that it does not answer.
    pub(super) fn tell_all(&self, question: impl Fn() -> Question) {
        for worker in 0..self.workers() {
            self.mailboxes.post_behind(WorkerId(worker), Mail::Question(question()));
        }
    }

    /// Milliseconds of the monotonic clock that messages expire by.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        // It fits for some hundred million years.
        self.started.elapsed().as_millis() as u64
    }

    /// What waits in a group, in the order in which it is to leave, so many from place `from` on; `None` if there is no such
    /// group.
    ///
    /// # Errors
    /// When its worker does not answer.
    pub async fn waiting(
        &self,
        key: &Arc<GroupKey>,
        from: usize,
        most: usize,
    ) -> Result<Option<Vec<Arc<Message>>>, NoAnswer> {
        let home = self.shared.home_of_group(&key.group, &key.filter);
        self.ask(home.0, |answer| Question::Waiting(Arc::clone(key), from, most, answer)).await
    }

    /// Asks one worker after the other for parts until there are `most`.
    async fn pages<T>(
        &self,
        from: Cursor,
        most: usize,
        question: impl Fn(u32, usize, oneshot::Sender<Page<T>>) -> Question,
    ) -> Result<Page<T>, NoAnswer> {
        let mut page = Page { items: Vec::new(), next: Some(from) };
        while let Some(at) = page.next
            && page.items.len() < most
        {
            if at.worker >= self.workers() {
                page.next = None;
                break;
            }
            let wanted = most - page.items.len();
            let part = self.ask(at.worker, |answer| question(at.place, wanted, answer)).await?;
            page.items.extend(part.items);
            let following = Cursor { worker: at.worker.saturating_add(1), place: 0 };
            page.next = part.next.or((following.worker < self.workers()).then_some(following));
        }
        Ok(page)
    }

    /// Asks the worker whose that client is by its name, and then the others: STOMP's stay where they were accepted.
    async fn ask_each<T>(
        &self,
        client_id: &str,
        question: impl Fn(oneshot::Sender<T>) -> Question,
        is_found: impl Fn(&T) -> bool,
    ) -> Result<T, NoAnswer> {
        let home = self.shared.home_of_client(client_id).0;
        let mut answer = self.ask(home, &question).await?;
        for worker in (0..self.workers()).filter(|&worker| worker != home) {
            if is_found(&answer) {
                break;
            }
            answer = self.ask(worker, &question).await?;
        }
        Ok(answer)
    }

    async fn ask<T>(
        &self,
        worker: u16,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        // What an operator sees counts in every message that was on its way to the worker before.
        self.mailboxes.post_behind(WorkerId(worker), Mail::Question(question(answer)));
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NoAnswer { worker }),
        }
    }
}
