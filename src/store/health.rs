//! How the store is: whether it takes messages, why not, and what it has done so far. Read without a lock by anybody.
//!
//! Who finds out what is wrong, and mends it, is the writer.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use noctule_core::store::{StoreOp, StoreRefused, Ticket};

/// What keeps the store from working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Trouble {
    /// A write failed for want of space.
    DiskFull = 1,
    /// The file system is read-only.
    ReadOnly = 2,
    /// The disk reports errors.
    Failing = 3,
    /// The file made no sense and can't be set aside either.
    Damaged = 4,
    /// The directory or the file is not where it was.
    Gone = 5,
    /// The broker is ending, or the thread has ended by itself.
    Stopped = 6,
}

impl Trouble {
    const ALL: [Self; 6] =
        [Self::DiskFull, Self::ReadOnly, Self::Failing, Self::Damaged, Self::Gone, Self::Stopped];

    /// In a few words, for logs, answers and metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::DiskFull => "the disk is full",
            Self::ReadOnly => "the disk is read-only",
            Self::Failing => "the disk reports errors",
            Self::Damaged => "the store file is damaged",
            Self::Gone => "the store's directory is gone",
            Self::Stopped => "the store has stopped",
        }
    }
}

/// Why there is no room for new messages, while all else goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Shortage {
    /// The space held ahead has been broken into.
    Reserve = 1,
    /// Less than `store.min_free` is free.
    MinFree = 2,
    /// The file has reached `store.max_size`.
    MaxSize = 3,
}

impl Shortage {
    const ALL: [Self; 3] = [Self::Reserve, Self::MinFree, Self::MaxSize];

    /// In a few words, with the key that sets the limit.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Reserve => "the disk is full but for the store's reserve",
            Self::MinFree => "less than store.min_free is free on the disk",
            Self::MaxSize => "the store file has reached store.max_size",
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What the store has done since it was opened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)+
        }

        impl Counters {
            fn totals(&self) -> Totals {
                Totals { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Bytes written to the file.
    bytes_written,
    /// Commits.
    commits,
    /// Messages that were written.
    messages_stored,
    /// Messages that everybody had before they were written.
    messages_elided,
    /// Messages and rows that were found damaged or could not be read.
    records_lost,
    /// Operations that were refused or failed.
    refused,
    /// Times the file was opened anew after a failure.
    reopenings,
    /// Damaged files that were set aside.
    set_aside,
    /// Bytes of messages that somebody still waits for.
    live_bytes,
    /// Bytes of messages in the file, with those that are to be cleaned away.
    stored_bytes,
    /// Disk space that the file uses.
    file_bytes,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Health {
    trouble: AtomicU8,
    shortage: AtomicU8,
    /// Whether more waits to be written than the disk keeps up with.
    behind: AtomicBool,
    pub(super) counters: Counters,
}

impl Health {
    /// What is wrong, if anything.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        let code = self.trouble.load(Relaxed);
        Trouble::ALL.into_iter().find(|trouble| *trouble as u8 == code)
    }

    /// What there is no room for, if anything.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        let code = self.shortage.load(Relaxed);
        Shortage::ALL.into_iter().find(|shortage| *shortage as u8 == code)
    }

    /// Why new messages that need storing are refused, if they are: to be asked before a message is delivered.
    ///
    /// # Errors
    /// [`StoreRefused`] with the reason.
    pub fn takes_messages(&self) -> Result<(), StoreRefused> {
        if self.trouble.load(Relaxed) | self.shortage.load(Relaxed) == 0 {
            return Ok(());
        }
        let reason = self.trouble().map(Trouble::reason).or(self.shortage().map(Shortage::reason));
        reason.map_or(Ok(()), |reason| Err(StoreRefused { reason }))
    }

    /// What the store has done so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.counters.totals()
    }

    /// Whether an operation may be submitted as things are. On a full disk what makes room, or needs none to speak of,
    /// still may; on a failing one what can wait until it is well.
    ///
    /// # Errors
    /// [`StoreRefused`] with the reason.
    pub(super) fn admits(&self, ticket: Ticket, op: &StoreOp) -> Result<(), StoreRefused> {
        if self.trouble.load(Relaxed) | self.shortage.load(Relaxed) == 0 {
            return Ok(());
        }
        match (self.trouble(), self.shortage()) {
            (Some(trouble), _) if trouble == Trouble::Stopped || !can_wait(ticket, op) => {
                Err(StoreRefused { reason: trouble.reason() })
            }
            (None, Some(shortage)) if needs_room(ticket, op) => {
                Err(StoreRefused { reason: shortage.reason() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn set_trouble(&self, trouble: Option<Trouble>) {
        self.trouble.store(trouble.map_or(0, |trouble| trouble as u8), Relaxed);
    }

    /// Whether more waits to be written than the disk keeps up with, so that nothing should be acknowledged any more
    /// before it is written.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind.load(Relaxed)
    }

    /// Notes whether the disk keeps up; said in the log when it ceases to.
    pub(super) fn set_behind(&self, behind: bool) {
        if self.behind.load(Relaxed) != behind && self.behind.swap(behind, Relaxed) != behind && behind {
            tracing::warn!(
                "the disk does not keep up: messages that are acknowledged before they are written are refused until it has"
            );
        }
    }

    pub(super) fn set_shortage(&self, shortage: Option<Shortage>) {
        self.shortage.store(shortage.map_or(0, |shortage| shortage as u8), Relaxed);
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.takes_messages() {
            Ok(()) => f.write_str("well"),
            Err(refused) => f.write_str(refused.reason),
        }
    }
}

/// Whether an operation keeps its sense until the disk is back: what somebody asks for is refused at once instead, so
/// that he can turn elsewhere, and what only frees or moves on waits, answered when it is done.
pub(super) fn can_wait(ticket: Ticket, op: &StoreOp) -> bool {
    match op {
        StoreOp::Publish { .. } => is_parked(ticket, op),
        StoreOp::SessionKept { .. }
        | StoreOp::Subscribed { .. }
        | StoreOp::WillKept { .. }
        | StoreOp::GroupKept { .. } => ticket == Ticket::NONE,
        // Nothing of it is parked: it is kept together.
        StoreOp::Transaction(parts) => {
            parts.iter().all(|part| !matches!(part, StoreOp::Publish { .. }) && can_wait(ticket, part))
        }
        StoreOp::RetainedExpired { .. }
        | StoreOp::Acknowledged { .. }
        | StoreOp::Released { .. }
        | StoreOp::InboundReleased { .. }
        | StoreOp::OutboundSent { .. }
        | StoreOp::OutboundReceived { .. }
        | StoreOp::OutboundCompleted { .. }
        | StoreOp::Presence { .. }
        | StoreOp::SessionEnded { .. }
        | StoreOp::Unsubscribed { .. }
        | StoreOp::WillGone { .. }
        | StoreOp::GroupEnded { .. } => true,
    }
}

/// A retained message that nobody was promised anything about: the window keeps the newest of each topic.
fn is_parked(ticket: Ticket, op: &StoreOp) -> bool {
    match op {
        StoreOp::Publish { recipients, retained, inbound, .. } => {
            ticket == Ticket::NONE && recipients.is_empty() && inbound.is_none() && retained.is_some()
        }
        _ => false,
    }
}

/// Whether it is a message that stays on the disk, or has one among its parts.
fn needs_room(ticket: Ticket, op: &StoreOp) -> bool {
    match op {
        StoreOp::Publish { message, recipients, inbound, .. } => {
            let clears = message.payload().is_empty() && recipients.is_empty() && inbound.is_none();
            !clears && !is_parked(ticket, op)
        }
        // As if somebody waited for each, so that nothing passes for parked.
        StoreOp::Transaction(parts) => parts.iter().any(|part| needs_room(Ticket(0), part)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
