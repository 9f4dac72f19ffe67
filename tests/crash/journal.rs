//! What has happened, in order, as the clients saw it: kept for the judge, and written to a file for people.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::cast::{PUBLISHERS, SUBSCRIBERS};

/// One thing that happened. `from` is a place among the publishers, `by` one among the subscribers.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A message is about to be sent for the first time.
    Sent { from: usize, seq: u32 },
    /// PUBACK or PUBCOMP came.
    Acked { from: usize, seq: u32 },
    /// The broker said that it does not take a message.
    Refused { from: usize, seq: u32, reason: u8 },
    /// A message came.
    Got { by: usize, from: usize, seq: u32 },
    /// Somebody is about to subscribe to the retained topics.
    Asks,
    /// A retained message came.
    Kept { from: usize, seq: u32 },
    /// All retained messages have come, and nobody publishes any more.
    Asked,
    /// What must not happen at all: a lost session, a broken rule, a damaged message.
    Wrong(String),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { from, seq } => write!(f, "sent {} {seq}", PUBLISHERS[*from].name),
            Self::Acked { from, seq } => write!(f, "acknowledged {} {seq}", PUBLISHERS[*from].name),
            Self::Refused { from, seq, reason } => {
                write!(f, "refused {} {seq}: {reason:#04x}", PUBLISHERS[*from].name)
            }
            Self::Got { by, from, seq } => {
                write!(f, "{} got {} {seq}", SUBSCRIBERS[*by].name, PUBLISHERS[*from].name)
            }
            Self::Asks => f.write_str("asks for retained messages"),
            Self::Kept { from, seq } => write!(f, "retained {} {seq}", PUBLISHERS[*from].name),
            Self::Asked => f.write_str("has all retained messages"),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

/// An entry, and how often the broker had been killed by then.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) cycle: u32,
    pub(crate) entry: Entry,
}

/// Everything that has happened.
#[derive(Debug)]
pub(crate) struct Journal {
    cycle: AtomicU32,
    started: Instant,
    /// When the last entry was made, ms.
    last_ms: AtomicU64,
    kept: Mutex<(Vec<Record>, BufWriter<File>)>,
}

impl Journal {
    pub(crate) fn create(path: &Path) -> Self {
        Self {
            cycle: AtomicU32::new(0),
            started: Instant::now(),
            last_ms: AtomicU64::new(0),
            kept: Mutex::new((Vec::new(), BufWriter::new(File::create(path).unwrap()))),
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn note(&self, entry: Entry) {
        let (cycle, now_ms) = (self.cycle.load(Ordering::Relaxed), self.now_ms());
        self.last_ms.store(now_ms, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap();
        writeln!(kept.1, "{now_ms} cycle {cycle}: {entry}").unwrap();
        kept.0.push(Record { cycle, entry });
    }

    /// The broker has come back after so many kills.
    pub(crate) fn begin(&self, cycle: u32) {
        self.cycle.store(cycle, Ordering::Relaxed);
        writeln!(self.kept.lock().unwrap().1, "{} cycle {cycle} begins", self.now_ms()).unwrap();
    }

    /// How long nothing has happened, ms.
    pub(crate) fn quiet_ms(&self) -> u64 {
        self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed))
    }

    /// Everything so far; the file is up to date then.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut kept = self.kept.lock().unwrap();
        kept.1.flush().unwrap();
        kept.0.clone()
    }
}
