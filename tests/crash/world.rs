//! What all clients of the checker share: where the broker is, how far the run has come, and the journal.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::cast::{PUBLISHERS, SUBSCRIBERS};
use crate::journal::{Entry, Journal};

/// How far the run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Messages are published, brokers killed.
    Load,
    /// No more kills; what is under way is brought to its end, and everybody is there.
    Drain,
    /// The retained messages are read for the last time.
    Last,
    /// Everybody goes home.
    Over,
}

/// Shared by all clients.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) journal: Journal,
    directory: PathBuf,
    /// Where the broker listens; 0 while it is dead.
    port: AtomicU16,
    phase: AtomicU8,
    /// Subscribers whose subscription is granted, and publishers whose first message is acknowledged.
    standing: AtomicUsize,
    /// Publishers with nothing under way and nothing more to say.
    finished: AtomicUsize,
}

impl World {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            journal: Journal::create(&directory.join("journal.log")),
            directory: directory.to_owned(),
            port: AtomicU16::new(0),
            phase: AtomicU8::new(Phase::Load as u8),
            standing: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
        }
    }

    pub(crate) fn port(&self) -> Option<u16> {
        Some(self.port.load(Ordering::Acquire)).filter(|port| *port != 0)
    }

    pub(crate) fn set_port(&self, port: u16) {
        self.port.store(port, Ordering::Release);
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Whether the run has come to `phase`.
    pub(crate) fn is_at(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_at(Phase::Over)
    }

    pub(crate) fn wrong(&self, what: String) {
        self.journal.note(Entry::Wrong(what));
    }

    /// Somebody more stands; the last one lets the killing begin.
    pub(crate) fn stand(&self) {
        if self.standing.fetch_add(1, Ordering::AcqRel) + 1 == SUBSCRIBERS.len() + PUBLISHERS.len() {
            std::fs::write(self.directory.join("ready"), "").unwrap();
        }
    }

    /// Whether every subscription is granted, so that what is published from now on is for everybody.
    pub(crate) fn has_audience(&self) -> bool {
        self.standing.load(Ordering::Acquire) >= SUBSCRIBERS.len()
    }

    pub(crate) fn finish(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn all_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire) == PUBLISHERS.len()
    }
}

/// Waits for `done`, at most so long; whether it came.
pub(crate) fn wait(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
