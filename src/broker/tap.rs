//! Listening in on what is published, without being a client: for a page or a person who wants to see it.
//!
//! The workers hand copies over and never wait; who does not keep up misses something and is told how much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use noctule_core::message::Message;
use noctule_core::topic::TopicFilter;
use tokio::sync::mpsc;

use super::inspect::{Inspector, Question};

/// Messages that wait to be fetched.
const ROOM: usize = 1_024;

/// Numbers of taps: what one hears is told from what another does.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What is heard.
#[derive(Clone, Debug)]
pub struct Overheard {
    /// The message; of a long payload the beginning.
    pub message: Arc<Message>,
    /// Bytes of the payload.
    pub size: usize,
    /// Whose it is; `None` for the broker's own, and for a will.
    pub client_id: Option<Box<str>>,
}

/// A worker's end of a tap, through which it passes on what somebody wants to hear.
#[derive(Debug)]
pub(super) struct Tap<T = Overheard> {
    to: mpsc::Sender<T>,
    missed: Arc<AtomicU64>,
}

impl<T> Tap<T> {
    pub(super) fn pass(&self, heard: T) {
        // Closed: its listener has gone, and the worker is about to hear of it.
        if self.to.try_send(heard).is_err() {
            self.missed(1);
        }
    }

    pub(super) fn missed(&self, count: u64) {
        self.missed.fetch_add(count, Ordering::Relaxed);
    }
}

/// The other end, where what every worker has passed on is heard.
#[derive(Debug)]
pub struct Ear<T> {
    end: Tap<T>,
    heard: mpsc::Receiver<T>,
}

impl<T> Ear<T> {
    pub(super) fn new() -> Self {
        let (to, heard) = mpsc::channel(ROOM);
        Self { end: Tap { to, missed: Arc::default() }, heard }
    }

    /// An end for a worker.
    pub(super) fn end(&self) -> Tap<T> {
        Tap { to: self.end.to.clone(), missed: Arc::clone(&self.end.missed) }
    }

    /// What comes next, for who is polled. It has no end of its own.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.heard.poll_recv(cx)
    }

    /// What comes next; waits for it.
    pub async fn next(&mut self) -> Option<T> {
        self.heard.recv().await
    }

    /// What comes next, if it is there already.
    pub fn next_now(&mut self) -> Option<T> {
        self.heard.try_recv().ok()
    }

    /// How many were left out since the last time.
    #[must_use]
    pub fn take_missed(&self) -> u64 {
        self.end.missed.swap(0, Ordering::Relaxed)
    }
}

/// A number for a tap that no other has.
pub(super) fn number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Hears what is published, from every worker, for the filters that were added; no more when it is dropped.
#[derive(Debug)]
pub struct Listener {
    inspector: Inspector,
    /// Where they are heard.
    pub ear: Ear<Overheard>,
    taps: Vec<(TopicFilter, u64)>,
}

impl Listener {
    pub(super) fn new(inspector: Inspector) -> Self {
        Self { inspector, ear: Ear::new(), taps: Vec::new() }
    }

    /// How many filters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.taps.len()
    }

    /// Whether nothing is listened to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// Listens to what `filter` matches as well.
    pub fn add(&mut self, filter: TopicFilter) {
        if self.taps.iter().any(|(known, _)| known.as_str() == filter.as_str()) {
            return;
        }
        let id = number();
        self.inspector.tell_all(|| Question::Tap(id, filter.clone(), self.ear.end()));
        self.taps.push((filter, id));
    }

    /// Does not listen to that filter any more; whether it did.
    pub fn remove(&mut self, filter: &str) -> bool {
        let Some(place) = self.taps.iter().position(|(known, _)| known.as_str() == filter) else {
            return false;
        };
        let (_, id) = self.taps.swap_remove(place);
        self.untap(id);
        true
    }

    fn untap(&self, id: u64) {
        self.inspector.tell_all(|| Question::Untap(id));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for (_, id) in &self.taps {
            self.untap(*id);
        }
    }
}
