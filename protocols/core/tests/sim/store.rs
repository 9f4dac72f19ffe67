//! The store of all workers of a world: one list of what they have submitted, of which commits take prefixes; answers
//! come later and in any order; a crash loses the list and the answers.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use noctule_core::store::{
    LoadRequest, Loaded, LoadedMessage, Recovered, SessionNumber, StoreEvent, StoreOp, Ticket,
};

use crate::disk::Disk;
use crate::ledger::Record;
use crate::rng::Rng;

/// An operation that is not committed.
#[derive(Debug)]
struct Submitted {
    worker: usize,
    ticket: Ticket,
    op: StoreOp,
    record: Record,
    /// The broker's time.
    at_ms: u64,
}

/// What a worker is to be told.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) worker: usize,
    pub(crate) ticket: Ticket,
    pub(crate) record: Record,
    pub(crate) failed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    list: VecDeque<Submitted>,
    answers: Vec<Answer>,
    loads: Vec<(usize, LoadRequest)>,
    pub(crate) disk: Disk,
    /// By how much the engines' clock is behind the broker's time, ms.
    pub(crate) offset_ms: u64,
    /// Messages that were cancelled before any commit.
    pub(crate) elided: u64,
    pub(crate) loaded: u64,
    /// Operations that failed.
    pub(crate) failures: u64,
    /// Transactions of STOMP that are on the disk.
    pub(crate) committed: BTreeSet<usize>,
}

impl Store {
    pub(crate) fn submit(
        &mut self,
        worker: usize,
        (ticket, op): (Ticket, StoreOp),
        record: Record,
        mono_ms: u64,
        rng: &mut Rng,
    ) {
        // Sometimes the message is in the commit that is under way, where nothing can be taken from it any more.
        if let StoreOp::Acknowledged { session, record: done } = op
            && rng.chance(80)
            && self.elide(session, done)
        {
            return self.answer(Answer { worker, ticket, record, failed: false });
        }
        self.list.push_back(Submitted { worker, ticket, op, record, at_ms: mono_ms + self.offset_ms });
    }

    /// Takes a recipient off a message that is not committed; without any left it is never written.
    fn elide(&mut self, session: SessionNumber, done: u64) -> bool {
        for (place, submitted) in self.list.iter_mut().enumerate() {
            let StoreOp::Publish { message, recipients, retained, inbound } = &mut submitted.op else {
                continue;
            };
            if message.record() != done || recipients.is_empty() {
                continue;
            }
            let left: Vec<_> =
                recipients.iter().filter(|recipient| recipient.session != session).cloned().collect();
            *recipients = left.into();
            if recipients.is_empty() && retained.is_none() && inbound.is_none() {
                let Submitted { worker, ticket, record, .. } = self.list.remove(place).unwrap();
                self.elided += 1;
                self.answer(Answer { worker, ticket, record, failed: false });
            }
            return true;
        }
        false
    }

    fn answer(&mut self, answer: Answer) {
        if answer.ticket != Ticket::NONE {
            self.answers.push(answer);
        }
    }

    pub(crate) fn load(&mut self, worker: usize, request: LoadRequest) {
        self.loads.push((worker, request));
    }

    /// Commits the first `count` operations; what somebody waits for may fail.
    pub(crate) fn commit(&mut self, count: usize, mut fails: impl FnMut() -> bool) {
        for Submitted { worker, ticket, op, record, at_ms } in self.list.drain(..count) {
            let failed = ticket != Ticket::NONE && fails();
            if failed {
                self.failures += 1;
            } else {
                self.disk.apply(op, at_ms, self.offset_ms);
                if let Record::Commit(number) = record {
                    self.committed.insert(number);
                }
            }
            if ticket != Ticket::NONE {
                self.answers.push(Answer { worker, ticket, record, failed });
            }
        }
    }

    /// Operations that wait for a commit.
    pub(crate) fn submitted(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn take_answer(&mut self, rng: &mut Rng) -> Option<Answer> {
        let count = self.answers.len();
        (count > 0).then(|| self.answers.remove(rng.below(count)))
    }

    /// Gives back what a session has asked for, from the list or the disk.
    pub(crate) fn take_load(&mut self) -> Option<(usize, StoreEvent)> {
        let (worker, LoadRequest { session, records }) = self.loads.pop()?;
        let number = SessionNumber(session.incarnation);
        let messages: Vec<_> = records.iter().map(|&record| (record, self.find(number, record))).collect();
        self.loaded += messages.iter().filter(|(_, found)| found.is_some()).count() as u64;
        Some((worker, StoreEvent::Loaded(Box::new(Loaded { session, messages }))))
    }

    fn find(&self, session: SessionNumber, wanted: u64) -> Option<LoadedMessage> {
        for submitted in &self.list {
            if let StoreOp::Publish { message, recipients, .. } = &submitted.op
                && message.record() == wanted
                && let Some(recipient) = recipients.iter().find(|recipient| recipient.session == session)
            {
                let subscription_ids: Option<Arc<[NonZeroU32]>> = recipient.subscription_ids.clone();
                return Some(LoadedMessage { message: Arc::clone(message), subscription_ids });
            }
        }
        self.disk.load(session, wanted, self.offset_ms)
    }

    /// What was submitted and not yet answered.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = Record> {
        let waited = self.list.iter().filter(|submitted| submitted.ticket != Ticket::NONE);
        let waited = waited.map(|submitted| submitted.record);
        waited.chain(self.answers.iter().map(|answer| answer.record))
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.list.is_empty() && self.answers.is_empty() && self.loads.is_empty()
    }

    /// The process is killed: only the disk is left. Returns the answers that nobody has got.
    pub(crate) fn crash(&mut self) -> Vec<Answer> {
        self.list.clear();
        self.loads.clear();
        std::mem::take(&mut self.answers)
    }

    /// A new process begins when it is `mono_ms` on its own clock and `now_ms` of the broker's time.
    pub(crate) fn restart(&mut self, now_ms: u64, mono_ms: u64) -> Recovered {
        self.offset_ms = now_ms - mono_ms;
        self.disk.recover(now_ms, self.offset_ms)
    }
}
