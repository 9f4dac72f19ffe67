//! Where a worker's engine keeps things: in memory alone, or on a disk.

use std::sync::Arc;

use noctule_core::id::WorkerId;
use noctule_core::store::{LoadRequest, MemoryStore, Store, StoreEvent, StoreOp, StoreRefused, Ticket};

use super::worker::Mail;
use crate::reactor::Mailboxes;
use crate::store::{Handle, Health, Post};

/// One worker's way to the store.
#[derive(Debug)]
pub(super) enum Backing {
    /// Nothing is to survive a restart.
    Memory(MemoryStore),
    /// The disk, and how it is.
    Disk(Handle, Arc<Health>),
}

impl Backing {
    /// Whether anything survives the process.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Self::Disk(..))
    }

    /// Whether it takes no message that would have to be stored.
    pub(super) fn refuses(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Disk(_, health) => health.takes_messages().is_err(),
        }
    }

    /// Whether it takes no message that would be acknowledged before it is stored.
    pub(super) fn is_behind(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Disk(_, health) => health.is_behind(),
        }
    }
}

impl Store for Backing {
    fn submit(&mut self, ticket: Ticket, op: StoreOp) -> Result<(), StoreRefused> {
        match self {
            Self::Memory(memory) => memory.submit(ticket, op),
            Self::Disk(handle, _) => handle.submit(ticket, op),
        }
    }

    fn load(&mut self, request: LoadRequest) {
        match self {
            Self::Memory(memory) => memory.load(request),
            Self::Disk(handle, _) => handle.load(request),
        }
    }

    fn poll(&mut self) -> Option<StoreEvent> {
        match self {
            Self::Memory(memory) => memory.poll(),
            Self::Disk(handle, _) => handle.poll(),
        }
    }
}

/// The workers' mailboxes, as the store's thread sees them.
#[derive(Debug)]
pub(super) struct StoreMail(pub(super) Mailboxes<Mail>);

impl Post for StoreMail {
    fn post(&self, worker: WorkerId, events: Vec<StoreEvent>) {
        self.0.post(worker, Mail::Store(events));
    }
}
