//! The operations of the window in the order in which they were submitted, with a way to a message by its number.
//!
//! A list linked through the slots of a slab: what is cancelled in the middle leaves at once and its slot is the next
//! to be used, so that messages acknowledged inside the window keep using the same few cache lines. What an operation
//! means for the time of the next commit is decided in the module above.

use noctule_core::hash::{Map, Seed};
use noctule_core::id::WorkerId;
use noctule_core::store::{LoadedMessage, Recipient, SessionNumber, StoreOp, Ticket};
use slab::Slab;
use std::slice;
use std::sync::Arc;

/// No slot.
const NONE: usize = usize::MAX;

/// Slots and index entries that an emptied list keeps; a burst does not stay behind as memory.
const KEPT_SLOTS: usize = 4096;

/// One operation and who waits for it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Names the entry: slots are used again.
    pub(super) seq: u64,
    /// When it was submitted, µs.
    pub(super) at_us: u64,
    pub(super) worker: WorkerId,
    pub(super) ticket: Ticket,
    /// Whether it waits for the acknowledgements of its recipients.
    pub(super) lingers: bool,
    /// Memory it stands for, bytes.
    pub(super) bytes: usize,
    pub(super) op: StoreOp,
    /// Parts of `op` that have to be written: of a transaction as many as it has, less the cancelled ones; of any other
    /// operation one. Recipients that have acknowledged have the number 0 in it, which is nobody's.
    left: usize,
    before: usize,
    behind: usize,
}

impl Entry {
    pub(super) fn new(seq: u64, at_us: u64, worker: WorkerId, ticket: Ticket, op: StoreOp) -> Self {
        let left = parts(&op).len();
        let bytes = size_of::<Self>() + heap_bytes(&op);
        Self { seq, at_us, worker, ticket, lingers: false, bytes, op, left, before: NONE, behind: NONE }
    }

    /// The operation as it is to be written: without the recipients that have acknowledged.
    fn into_op(self) -> StoreOp {
        match self.op {
            StoreOp::Transaction(parts) => {
                let parts = parts.into_iter().map(to_be_written).filter(|part| !is_nothing(part));
                StoreOp::Transaction(parts.collect())
            }
            op => to_be_written(op),
        }
    }

    /// A message that it is, or that is among its parts.
    fn part(&mut self, at: usize) -> Option<&mut StoreOp> {
        match &mut self.op {
            StoreOp::Transaction(parts) => parts.get_mut(at),
            op => Some(op),
        }
    }
}

/// The parts of a transaction; any other operation is its own.
pub(super) fn parts(op: &StoreOp) -> &[StoreOp] {
    match op {
        StoreOp::Transaction(parts) => parts,
        op => slice::from_ref(op),
    }
}

/// Whether it is a message that nobody needs.
pub(super) fn is_nothing(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Publish { recipients, retained: None, inbound: None, .. } if recipients.is_empty())
}

fn to_be_written(op: StoreOp) -> StoreOp {
    let acknowledged = |recipient: &Recipient| recipient.session == SessionNumber(0);
    match op {
        StoreOp::Publish { message, recipients, retained, inbound }
            if recipients.iter().any(acknowledged) =>
        {
            let mut recipients = recipients.into_vec();
            recipients.retain(|recipient| !acknowledged(recipient));
            StoreOp::Publish { message, recipients: recipients.into(), retained, inbound }
        }
        op => op,
    }
}

/// What became of an acknowledgement.
pub(super) enum Acknowledged {
    /// The message is not in the list: the acknowledgement has to be written.
    Elsewhere,
    /// The message will be written without that recipient, if it was one.
    Noted,
    /// Nobody is left who needs the message: it will not be written. Nor anything of its entry, which is off the list,
    /// unless that has other parts.
    Cancelled(Option<Entry>),
}

/// The list.
#[derive(Debug)]
pub(super) struct List {
    slots: Slab<Entry>,
    first: usize,
    last: usize,
    /// Messages with recipients, by record number: the slot, and which part of the entry it is.
    records: Map<u64, (usize, usize)>,
    bytes: usize,
}

impl List {
    pub(super) fn new(seed: Seed) -> Self {
        Self { slots: Slab::new(), first: NONE, last: NONE, records: Map::with_hasher(seed), bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Memory that the operations stand for, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entry in a slot, if it is still the one with that name.
    pub(super) fn get(&self, slot: usize, seq: u64) -> Option<&Entry> {
        self.slots.get(slot).filter(|entry| entry.seq == seq)
    }

    /// Puts an operation at the end and says where it lies.
    pub(super) fn push(&mut self, mut entry: Entry) -> usize {
        entry.before = self.last;
        entry.behind = NONE;
        self.bytes += entry.bytes;
        let vacant = self.slots.vacant_entry();
        let slot = vacant.key();
        for (at, part) in parts(&entry.op).iter().enumerate() {
            if let Some(record) = awaited(part) {
                self.records.insert(record, (slot, at));
            }
        }
        vacant.insert(entry);
        match self.slots.get_mut(self.last) {
            Some(last) => last.behind = slot,
            None => self.first = slot,
        }
        self.last = slot;
        slot
    }

    /// Takes the oldest off the list.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.remove(self.first)?;
        for record in parts(&entry.op).iter().filter_map(awaited) {
            self.records.remove(&record);
        }
        Some(entry)
    }

    fn remove(&mut self, slot: usize) -> Option<Entry> {
        let entry = self.slots.try_remove(slot)?;
        match self.slots.get_mut(entry.before) {
            Some(before) => before.behind = entry.behind,
            None => self.first = entry.behind,
        }
        match self.slots.get_mut(entry.behind) {
            Some(behind) => behind.before = entry.before,
            None => self.last = entry.before,
        }
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// Takes a recipient off a message, and the message off the list when it was the last and nobody else needs it. What
    /// else is in a transaction stays: it is written with one message less, and together as before.
    pub(super) fn acknowledge(&mut self, session: SessionNumber, record: u64) -> Acknowledged {
        let Some(&(slot, part)) = self.records.get(&record) else { return Acknowledged::Elsewhere };
        let Some(entry) = self.slots.get_mut(slot) else { return Acknowledged::Elsewhere };
        let Some(StoreOp::Publish { recipients, retained, inbound, .. }) = entry.part(part) else {
            return Acknowledged::Elsewhere;
        };
        for recipient in recipients.iter_mut().filter(|recipient| recipient.session == session) {
            recipient.session = SessionNumber(0);
        }
        if recipients.iter().any(|recipient| recipient.session != SessionNumber(0)) {
            return Acknowledged::Noted;
        }
        let needed = retained.is_some() || inbound.is_some();
        self.records.remove(&record);
        if needed {
            return Acknowledged::Noted;
        }
        entry.left -= 1;
        let is_over = entry.left == 0;
        Acknowledged::Cancelled(if is_over { self.remove(slot) } else { None })
    }

    /// A message of the list as `session` is to get it.
    pub(super) fn message(&self, session: SessionNumber, record: u64) -> Option<LoadedMessage> {
        let &(slot, part) = self.records.get(&record)?;
        let StoreOp::Publish { message, recipients, .. } = parts(&self.slots.get(slot)?.op).get(part)? else {
            return None;
        };
        let recipient = recipients.iter().find(|recipient| recipient.session == session)?;
        Some(LoadedMessage {
            message: Arc::clone(message),
            subscription_ids: recipient.subscription_ids.clone(),
        })
    }

    /// Hands over every operation in order, as it is to be written, and is empty.
    pub(super) fn drain(&mut self, mut take: impl FnMut(u64, WorkerId, Ticket, StoreOp)) {
        let mut slot = self.first;
        while let Some(entry) = self.slots.try_remove(slot) {
            slot = entry.behind;
            take(entry.at_us, entry.worker, entry.ticket, entry.into_op());
        }
        (self.first, self.last, self.bytes) = (NONE, NONE, 0);
        self.slots.clear();
        self.records.clear();
        if self.slots.capacity() > KEPT_SLOTS {
            self.slots = Slab::with_capacity(KEPT_SLOTS);
            self.records.shrink_to(KEPT_SLOTS);
        }
    }
}

/// The number of a message that somebody has still to acknowledge.
fn awaited(op: &StoreOp) -> Option<u64> {
    let StoreOp::Publish { message, recipients, .. } = op else { return None };
    recipients.iter().any(|recipient| recipient.session != SessionNumber(0)).then(|| message.record())
}

/// Memory outside the entry itself, bytes.
pub(super) fn heap_bytes(op: &StoreOp) -> usize {
    match op {
        StoreOp::Publish { message, recipients, .. } => message.cost() + size_of_val::<[_]>(recipients),
        StoreOp::RetainedExpired { message, .. } => message.cost(),
        StoreOp::SessionKept { client_id, user, .. } => {
            client_id.len() + user.as_ref().map_or(0, |user| user.len())
        }
        StoreOp::SessionEnded { records, .. } | StoreOp::GroupEnded { records, .. } => {
            size_of_val::<[_]>(records)
        }
        StoreOp::Subscribed { filter, selector, .. } => {
            filter.len() + selector.as_ref().map_or(0, |selector| selector.len())
        }
        StoreOp::Unsubscribed { filter, .. } => filter.len(),
        StoreOp::WillKept { will, .. } => size_of_val(&**will) + will.message.cost() + will.client_id.len(),
        StoreOp::GroupKept { group, filter, options, .. } => {
            let texts = [&options.dead_letter, &options.selector].into_iter().flatten();
            let texts: usize = texts.map(|text| text.len()).sum();
            size_of_val(&**options) + group.len() + filter.len() + texts
        }
        StoreOp::Transaction(parts) => {
            size_of_val::<[_]>(parts) + parts.iter().map(heap_bytes).sum::<usize>()
        }
        StoreOp::Acknowledged { .. }
        | StoreOp::Released { .. }
        | StoreOp::InboundReleased { .. }
        | StoreOp::OutboundSent { .. }
        | StoreOp::OutboundReceived { .. }
        | StoreOp::OutboundCompleted { .. }
        | StoreOp::Presence { .. }
        | StoreOp::WillGone { .. } => 0,
    }
}
