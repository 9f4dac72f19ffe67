//! The writer: the one thread that touches the log. Commits what the window gives it, answers who waits, and brings the
//! store back after a failure.
//!
//! Everything it does is a turn at a given time, so that tests can take the turns; the thread only sleeps in between.
//! redb panics on pages that make no sense, so every call into the log is caught and a panic counts as damage. After
//! a failure the file is opened anew, and what nobody can be refused any more is written first.

mod faults;
#[cfg(test)]
mod tests;

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use noctule_core::hash::Seed;
use noctule_core::id::WorkerId;
use noctule_core::message::MessagePool;
use noctule_core::store::{LoadRequest, Loaded, Recovered, StoreEvent, StoreOp, Ticket};

use super::backup::{self, Wanted};
use super::handle::{Shared, post_settled};
use super::health::Trouble;
use super::log::{Clocks, Log, Lookup, Options};
use super::medium::Medium;
use super::telemetry::{self, Reporter};
use super::window::Batch;
use faults::{Fault, Retry, caught};

/// Between two looks at the room on the disk and at the directory, µs, and at least so often while there is no room.
const LOOK_US: u64 = 1_000_000;

/// Operations for which room is kept between commits.
const KEPT_OPS: usize = 4096;

/// What the thread is to do after a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Take another.
    Again,
    /// Sleep until that moment (µs), or until woken.
    Sleep(u64),
    /// Everything is written, or can't be.
    Done,
}

/// See the module.
pub(super) struct Writer<M: Medium> {
    shared: Arc<Shared>,
    medium: M,
    options: Options,
    /// None from a failure until it is open again.
    log: Option<Log>,
    /// Whether it was open before: then the engines know what is in it, and go on counting.
    was_open: bool,
    /// Whether something that the engines take for kept is not, and they are to be told as soon as the store takes it.
    emptied: bool,
    batch: Batch,
    /// What is being committed, with the monotonic ms of its submission; after a failure what is to be committed next.
    ops: Vec<(u64, StoreOp)>,
    /// Who waits for each of `ops`.
    whose: Vec<(WorkerId, Ticket)>,
    /// The chunk that a failed commit with transactions would have made: whether it did decides about them.
    in_doubt: Option<u64>,
    /// Whether `ops` is known to have been made once, so that nothing of it can fail any more.
    was_made: bool,
    /// Loads that the log failed at: they are tried once more.
    failed_loads: Vec<LoadRequest>,
    /// For what is loaded.
    spare: MessagePool,
    retry: Retry,
    looked_us: u64,
    reporter: Reporter,
}

impl<M: Medium> Writer<M> {
    /// Opens the store. A damaged one is set aside, and the broker serves with a fresh one.
    ///
    /// # Errors
    /// [`Fault`] for what a fresh file would not mend.
    pub(super) fn open(
        shared: Arc<Shared>,
        medium: M,
        options: Options,
        seed: &Seed,
    ) -> Result<(Self, Recovered), Fault> {
        let mut writer = Self {
            shared,
            medium,
            options,
            log: None,
            was_open: false,
            emptied: false,
            batch: Batch::new(seed),
            ops: Vec::new(),
            whose: Vec::new(),
            in_doubt: None,
            was_made: false,
            failed_loads: Vec::new(),
            spare: MessagePool::default(),
            retry: Retry::default(),
            looked_us: 0,
            reporter: Reporter::default(),
        };
        let now_us = writer.shared.now_us();
        let recovered = writer.open_log(now_us)?;
        writer.look(now_us);
        Ok((writer, recovered))
    }

    /// Loads into messages of this pool from now on.
    pub(super) fn set_spare(&mut self, spare: MessagePool) {
        self.spare = spare;
    }

    /// Takes turns until the store is closed.
    ///
    /// # Errors
    /// What kept the rest from being written.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            match self.turn(self.shared.now_us()) {
                Turn::Again => {}
                Turn::Sleep(until_us) => {
                    let window = self.shared.lock();
                    if !window.is_woken() {
                        drop(self.shared.wait(window, until_us));
                    }
                }
                Turn::Done => return self.close(),
            }
        }
    }

    /// Does what is due at `now_us`.
    pub(super) fn turn(&mut self, now_us: u64) -> Turn {
        for wanted in self.shared.take_backups() {
            self.back_up(wanted);
        }
        if self.log.is_none() {
            let closing = self.shared.lock().is_closing();
            if let Some(at_us) = self.retry.waits_until(now_us).filter(|_| !closing) {
                self.shared.lock().doze();
                return Turn::Sleep(at_us);
            }
            if let Err(fault) = self.reopen(now_us) {
                self.fail(now_us, &fault);
                return if closing { Turn::Done } else { Turn::Again };
            }
        }
        if !self.ops.is_empty() {
            self.commit(now_us);
            // A disk that fails at the end gets no second chance.
            let given_up = self.log.is_none() && self.shared.lock().is_closing();
            return if given_up { Turn::Done } else { Turn::Again };
        }
        if now_us >= self.looked_us + LOOK_US && !self.look(now_us) {
            return Turn::Again;
        }
        if self.answer_loads(now_us) {
            return Turn::Again;
        }
        self.take(now_us)
    }

    fn take(&mut self, now_us: u64) -> Turn {
        let mut window = self.shared.lock();
        if !window.take(now_us, &mut self.batch) {
            if window.is_closing() {
                return Turn::Done;
            }
            let mut until_us = window.sleep(now_us);
            drop(window);
            self.reporter.report(&self.shared.health);
            if self.shared.health.shortage().is_some() {
                until_us = until_us.min(self.looked_us + LOOK_US);
            }
            return Turn::Sleep(until_us);
        }
        let behind = window.is_behind();
        drop(window);
        self.shared.health.set_behind(behind);
        let (ops, whose) = (&mut self.ops, &mut self.whose);
        self.batch.drain(|at_us, worker, ticket, op| {
            ops.push((at_us / 1000, op));
            whose.push((worker, ticket));
        });
        Turn::Again
    }

    /// Commits `ops` and answers who waits.
    fn commit(&mut self, now_us: u64) {
        let Some(log) = &mut self.log else { return };
        let started = Instant::now();
        let (ops, chunk) = (&self.ops, log.next_chunk());
        let committed = match caught(|| log.commit(ops, &Clocks::read(now_us / 1000))) {
            Ok(committed) => committed,
            Err(fault) => {
                self.in_doubt = Some(chunk);
                return self.fail(now_us, &fault);
            }
        };
        telemetry::committed(started.elapsed());
        let rows: u64 = self.ops.iter().map(|(_, op)| rows(op)).sum();
        let counters = &self.shared.health.counters;
        counters.commits.fetch_add(1, Relaxed);
        counters.messages_stored.fetch_add(committed.messages + rows, Relaxed);
        counters.messages_elided.fetch_add(committed.elided, Relaxed);
        counters.records_lost.fetch_add(committed.damaged, Relaxed);
        self.retry.succeeded();
        self.was_made = false;
        self.is_well();
        post_settled(&self.shared, self.whose.drain(..));
        self.ops.clear();
        self.ops.shrink_to(KEPT_OPS);
        self.whose.shrink_to(KEPT_OPS);
        self.note_usage();
        if self.medium.needs_look() && self.shared.health.shortage().is_none() {
            self.look(now_us);
        }
        self.reporter.report(&self.shared.health);
    }

    fn note_usage(&self) {
        let counters = &self.shared.health.counters;
        counters.bytes_written.store(self.medium.bytes_written(), Relaxed);
        counters.file_bytes.store(self.medium.file_bytes(), Relaxed);
        if let Some(log) = &self.log {
            let usage = log.usage();
            counters.live_bytes.store(usage.live_bytes, Relaxed);
            counters.stored_bytes.store(usage.stored_bytes, Relaxed);
        }
    }

    /// Looks whether the file is where it should be, and whether there is room. False if it is not in place, so that
    /// it has to be opened anew before anything is written.
    fn look(&mut self, now_us: u64) -> bool {
        self.looked_us = now_us;
        if !self.medium.is_in_place() {
            let message = format!("{} was moved or deleted while in use", self.medium.path().display());
            self.fail(now_us, &Fault::Trouble(Trouble::Gone, message));
            return false;
        }
        let live = self.log.as_ref().map_or(0, |log| log.usage().live_bytes);
        // A file system that can't be asked will refuse the writes in its own words.
        let shortage = self.medium.shortage(live).unwrap_or(None);
        if shortage == self.shared.health.shortage() {
            return true;
        }
        match shortage {
            Some(shortage) => tracing::error!(
                reason = shortage.reason(),
                file = %self.medium.path().display(),
                "messages that need storing are refused until there is room; acknowledgements go on"
            ),
            None => tracing::info!("there is room for messages again"),
        }
        self.shared.health.set_shortage(shortage);
        self.shared.lock().set_roomy(shortage.is_none());
        true
    }

    /// Has a thread of its own copy the store as it is now.
    fn back_up(&self, wanted: Wanted) {
        let Some(log) = &self.log else {
            return (wanted.done)(Err("the store can't be read now; its health says why".to_owned()));
        };
        match caught(|| log.snapshot()) {
            Ok(snapshot) => backup::copy(snapshot, wanted),
            Err(fault) => (wanted.done)(Err(fault.to_string())),
        }
    }

    /// Answers the loads that wait; false if there are none.
    fn answer_loads(&mut self, now_us: u64) -> bool {
        let second_try = !self.failed_loads.is_empty();
        let requests =
            if second_try { mem::take(&mut self.failed_loads) } else { self.shared.lock().take_loads() };
        let any = !requests.is_empty();
        let mut lookup = None;
        let mut requests = requests.into_iter();
        while let Some(request) = requests.next() {
            let loaded = self.load(&request, &mut lookup);
            let messages = match loaded {
                Ok(messages) => messages,
                Err(fault) => {
                    if second_try {
                        let none = request.records.iter().map(|&record| (record, None)).collect();
                        self.shared
                            .health
                            .counters
                            .records_lost
                            .fetch_add(request.records.len() as u64, Relaxed);
                        self.post_loaded(&request, none);
                    } else {
                        self.failed_loads.push(request);
                    }
                    self.failed_loads.extend(requests);
                    self.fail(now_us, &fault);
                    return true;
                }
            };
            self.post_loaded(&request, messages);
        }
        any
    }

    fn post_loaded(
        &self,
        request: &LoadRequest,
        messages: Vec<(u64, Option<noctule_core::store::LoadedMessage>)>,
    ) {
        let loaded = Loaded { session: request.session, messages };
        self.shared.post(request.session.worker, vec![StoreEvent::Loaded(Box::new(loaded))]);
    }

    /// The messages of a request, in its order: from the window what is not written yet, from the log the rest.
    fn load(
        &mut self,
        request: &LoadRequest,
        lookup: &mut Option<Lookup>,
    ) -> Result<Vec<(u64, Option<noctule_core::store::LoadedMessage>)>, Fault> {
        let number = request.number();
        let mut messages: Vec<_> = {
            let window = self.shared.lock();
            request.records.iter().map(|&record| (record, window.message(number, record))).collect()
        };
        let missing: Vec<u64> =
            messages.iter().filter(|(_, message)| message.is_none()).map(|(record, _)| *record).collect();
        let Some(log) = self.log.as_ref().filter(|_| !missing.is_empty()) else { return Ok(messages) };
        let found = caught(|| log.load(number, &missing, lookup, &mut self.spare))?;
        let places = messages.iter_mut().filter(|(_, message)| message.is_none());
        for (place, (_, message)) in places.zip(found) {
            place.1 = message;
        }
        Ok(messages)
    }
}

/// Messages that the log does not count: retained, or known to have come, but nobody's to be sent.
fn rows(op: &StoreOp) -> u64 {
    match op {
        StoreOp::Publish { recipients, .. } => u64::from(recipients.is_empty()),
        StoreOp::Transaction(parts) => parts.iter().map(rows).sum(),
        _ => 0,
    }
}
