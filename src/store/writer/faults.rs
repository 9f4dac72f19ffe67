//! What the writer does when the log fails: whom it tells, what it keeps, and when it tries again.

use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use noctule_core::id::WorkerId;
use noctule_core::store::{Recovered, StoreEvent, StoreOp, Ticket};
use redb::StorageBackend;

use super::super::health::{Trouble, can_wait};
use super::super::log::{Clocks, Log, LogError, OpenError};
use super::super::medium::{Medium, MediumError};
use super::Writer;

/// The first pause before the file is opened anew, and the longest, µs.
const FIRST_PAUSE_US: u64 = 250_000;
const LONGEST_PAUSE_US: u64 = 5_000_000;

/// Why the log can't be used.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The file makes no sense: another file would do.
    Damaged(String),
    /// Something that time or somebody has to mend.
    Trouble(Trouble, String),
    /// Not our file: not to be touched.
    Foreign(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(message) | Self::Trouble(_, message) | Self::Foreign(message) => {
                f.write_str(message)
            }
        }
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        let message = error.to_string();
        match error {
            LogError::StorageFull(_) => Self::Trouble(Trouble::DiskFull, message),
            LogError::ReadOnly(_) => Self::Trouble(Trouble::ReadOnly, message),
            LogError::Io(_) => Self::Trouble(Trouble::Failing, message),
            LogError::Corrupt(_) => Self::Damaged(message),
        }
    }
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Log(error) => error.into(),
            OpenError::NotOurs | OpenError::ForeignFormat { .. } => Self::Foreign(error.to_string()),
        }
    }
}

impl From<MediumError> for Fault {
    fn from(error: MediumError) -> Self {
        Self::Trouble(error.trouble, error.message)
    }
}

/// Calls into the log; a panic of redb's, which damaged pages cause, is damage.
pub(super) fn caught<T, E: Into<Fault>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, Fault> {
    // Whatever the call left half done belongs to the log, which is not used after a fault.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(Into::into),
        Err(panic) => {
            let said = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Fault::Damaged(format!("the store is damaged: {}", said.unwrap_or("reading it panicked"))))
        }
    }
}

/// A damaged file that is in the way.
fn stuck(why: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::Trouble(Trouble::Damaged, format!("{why}; and {} can't be set aside: {error}", path.display()))
}

/// When the file is opened anew.
#[derive(Debug, Default)]
pub(super) struct Retry {
    at_us: u64,
    pause_us: u64,
    /// Faults since the last commit that looked like damage.
    damages: u32,
    /// Whether the file was set aside since then.
    is_fresh: bool,
}

impl Retry {
    /// Until when nothing is tried.
    pub(super) fn waits_until(&self, now_us: u64) -> Option<u64> {
        (now_us < self.at_us).then_some(self.at_us)
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self, now_us: u64, fault: &Fault) {
        self.pause_us = (2 * self.pause_us).clamp(FIRST_PAUSE_US, LONGEST_PAUSE_US);
        let first = self.pause_us == FIRST_PAUSE_US;
        self.at_us = match fault {
            Fault::Damaged(_) => {
                self.damages += 1;
                if self.damages > 2 { now_us + self.pause_us } else { now_us }
            }
            // Where it can be put back, that is done at once.
            Fault::Trouble(Trouble::Gone, _) if first => now_us,
            Fault::Trouble(..) | Fault::Foreign(_) => now_us + self.pause_us,
        };
    }
}

impl<M: Medium> Writer<M> {
    /// The log has failed: closes it, answers who can be refused, and keeps the rest for when it is open again.
    pub(super) fn fail(&mut self, now_us: u64, fault: &Fault) {
        if let Some(log) = self.log.take() {
            // What is half done may well panic once more.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(log)));
        }
        let trouble = match fault {
            Fault::Trouble(trouble, _) => *trouble,
            Fault::Damaged(_) | Fault::Foreign(_) => Trouble::Damaged,
        };
        if self.shared.health.trouble() != Some(trouble) {
            tracing::error!(
                file = %self.medium.path().display(),
                "{fault}; messages that need storing are refused until it works again"
            );
        }
        self.shared.health.set_trouble(Some(trouble));
        self.refuse_what_can_be();
        self.retry.failed(now_us, fault);
        self.reporter.report(&self.shared.health);
    }

    /// Fails what somebody asks for. The commit may have reached the disk all the same, so a message that its publisher
    /// is told has failed is taken back from its recipients.
    fn refuse_what_can_be(&mut self) {
        let (ops, whose) = (mem::take(&mut self.ops), mem::take(&mut self.whose));
        let mut failed: Vec<(WorkerId, Ticket)> = Vec::new();
        for ((at_ms, op), (worker, ticket)) in ops.into_iter().zip(whose) {
            // What a transaction acknowledges can't be taken back: it is refused once it is certain that it was not made.
            if ticket == Ticket::NONE || can_wait(ticket, &op) || matches!(op, StoreOp::Transaction(_)) {
                self.ops.push((at_ms, op));
                self.whose.push((worker, ticket));
                continue;
            }
            failed.push((worker, ticket));
            if let StoreOp::Publish { message, recipients, inbound, .. } = op {
                let record = message.record();
                let back = recipients
                    .iter()
                    .map(|recipient| StoreOp::Acknowledged { session: recipient.session, record })
                    .chain(
                        inbound.map(|(session, packet_id)| StoreOp::InboundReleased { session, packet_id }),
                    );
                for op in back {
                    self.ops.push((at_ms, op));
                    self.whose.push((worker, Ticket::NONE));
                }
            }
        }
        self.post_failed(&failed);
    }

    /// The file is open again, and says whether the last commit was made. If not, the transactions in it are refused; if it
    /// was, they are written once more with all that goes before and after, and settled then.
    fn decide_doubts(&mut self) {
        let next = self.log.as_ref().map(Log::next_chunk);
        let Some(chunk) = self.in_doubt.take() else { return };
        self.was_made |= next.is_some_and(|next| next > chunk);
        if self.was_made {
            return;
        }
        let (ops, whose) = (mem::take(&mut self.ops), mem::take(&mut self.whose));
        let mut failed = Vec::new();
        for ((at_ms, op), (worker, ticket)) in ops.into_iter().zip(whose) {
            if ticket == Ticket::NONE || can_wait(ticket, &op) {
                self.ops.push((at_ms, op));
                self.whose.push((worker, ticket));
            } else {
                failed.push((worker, ticket));
            }
        }
        self.post_failed(&failed);
    }

    fn post_failed(&self, failed: &[(WorkerId, Ticket)]) {
        let mut failed: Vec<_> = failed.iter().filter(|(_, ticket)| *ticket != Ticket::NONE).collect();
        self.shared.health.counters.refused.fetch_add(failed.len() as u64, Relaxed);
        // Stable: the tickets of one worker stay in order.
        failed.sort_by_key(|(worker, _)| *worker);
        for tickets in failed.chunk_by(|one, other| one.0 == other.0) {
            if let Some((worker, _)) = tickets.first() {
                let events = tickets.iter().map(|(_, ticket)| StoreEvent::Failed(*ticket)).collect();
                self.shared.post(*worker, events);
            }
        }
    }

    /// Opens the file anew after a failure. The engines know what it holds, so what it recovers is not needed.
    pub(super) fn reopen(&mut self, now_us: u64) -> Result<(), Fault> {
        self.shared.health.counters.reopenings.fetch_add(1, Relaxed);
        // Once is a page that could not be read, or what a failed write left; a second time it is the file, and a third
        // time, with a fresh file, it is what is to be written.
        match (self.retry.damages, self.retry.is_fresh) {
            (0 | 1, _) | (2, true) => {}
            (_, false) => self.set_aside("the store failed again after it had been opened anew")?,
            (_, true) => self.drop_ops(),
        }
        self.open_log(now_us)?;
        self.decide_doubts();
        self.look(now_us);
        if self.log.is_some() && self.ops.is_empty() {
            self.is_well();
        }
        Ok(())
    }

    /// Opens the file, or a fresh one if it is damaged, and says what it held.
    pub(super) fn open_log(&mut self, now_us: u64) -> Result<Recovered, Fault> {
        match self.open_file(now_us) {
            Err(Fault::Damaged(message)) => {
                if self.retry.is_fresh {
                    // Half made when the disk failed: there is nothing in it to be kept.
                    self.medium.discard().map_err(|error| stuck(&message, &self.medium.path(), &error))?;
                } else {
                    self.set_aside(&message)?;
                }
                self.open_file(now_us)
            }
            result => result,
        }
    }

    fn open_file(&mut self, now_us: u64) -> Result<Recovered, Fault> {
        let backend = self.medium.open()?;
        let is_empty = backend.len().is_ok_and(|len| len == 0);
        // Not at the start: then the engines know of nothing.
        self.emptied |= is_empty && self.was_open;
        let open = if self.was_open { Log::reopen } else { Log::open };
        let opened = caught(|| open(backend, &self.options, &Clocks::read(now_us / 1000)))?;
        self.was_open = true;
        if !opened.lost.is_nothing() {
            let lost = opened.lost.records + opened.lost.rows + opened.lost.chunks;
            self.shared.health.counters.records_lost.fetch_add(lost, Relaxed);
            tracing::error!(
                file = %self.medium.path().display(),
                records = opened.lost.records,
                rows = opened.lost.rows,
                chunks = opened.lost.chunks,
                "parts of the store were damaged and are lost; the rest is intact"
            );
        }
        self.log = Some(opened.log);
        self.note_usage();
        Ok(opened.recovered)
    }

    fn set_aside(&mut self, why: &str) -> Result<(), Fault> {
        let path = self.medium.path();
        let to = self.medium.set_aside().map_err(|error| stuck(why, &path, &error))?;
        self.retry.is_fresh = true;
        self.shared.health.counters.set_aside.fetch_add(1, Relaxed);
        tracing::error!(
            file = %path.display(),
            kept_as = %to.display(),
            live_bytes = self.shared.health.totals().live_bytes,
            "{why}; the file was set aside, what it held is lost, and a fresh one takes its place"
        );
        Ok(())
    }

    /// What a sound and fresh file panics at is not worth another.
    fn drop_ops(&mut self) {
        let lost = self.ops.len();
        if lost > 0 {
            self.shared.health.counters.records_lost.fetch_add(lost as u64, Relaxed);
            tracing::error!(
                lost,
                "operations that can't be written were left out; please report what was said above"
            );
        }
        self.ops.clear();
        self.emptied = self.was_open;
        let whose = mem::take(&mut self.whose);
        self.post_failed(&whose);
    }

    /// Takes messages again. What is missing is asked for only now, since it would have been refused before.
    pub(super) fn is_well(&mut self) {
        if self.shared.health.trouble().is_some() {
            self.shared.health.set_trouble(None);
            tracing::info!("the store works again");
        }
        if mem::take(&mut self.emptied) {
            self.shared.post_emptied();
        }
    }

    /// Ends: closes the log, and tells those who still wait that it was in vain.
    ///
    /// # Errors
    /// What kept the rest from being written.
    pub(super) fn close(mut self) -> io::Result<()> {
        let trouble = self.shared.health.trouble();
        self.shared.health.set_trouble(Some(Trouble::Stopped));
        let mut window = self.shared.lock();
        while window.take(u64::MAX, &mut self.batch) {
            let (ops, whose) = (&mut self.ops, &mut self.whose);
            self.batch.drain(|at_us, worker, ticket, op| {
                ops.push((at_us / 1000, op));
                whose.push((worker, ticket));
            });
        }
        let loads = window.take_loads();
        drop(window);
        for request in self.failed_loads.drain(..).chain(loads).collect::<Vec<_>>() {
            let none = request.records.iter().map(|&record| (record, None)).collect();
            self.post_loaded(&request, none);
        }
        let left = self.ops.len();
        let whose = mem::take(&mut self.whose);
        self.post_failed(&whose);
        if let Some(log) = self.log.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(log)));
        }
        match trouble {
            Some(trouble) if left > 0 => {
                let message =
                    format!("{left} operations were not written to the store: {}", trouble.reason());
                Err(io::Error::other(message))
            }
            _ => Ok(()),
        }
    }
}
