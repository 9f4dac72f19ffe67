//! The commit window: what was submitted and is not yet being written, and when it has to be.
//!
//! Shared by the workers and the writer behind one lock that is held for a few map operations at most; time is an
//! argument, threads and files are elsewhere. A commit takes everything that was submitted until then, so what is on the
//! disk is always a state that was. A transaction is one entry, so that no commit and no failure divides it. Three kinds
//! of operations set the time:
//! - *urgent*: somebody waits, and nothing is gained by waiting with him: as soon as the writer is free;
//! - *lingering*: a message all of whose recipients are connected: if they acknowledge it within the commit window it is
//!   never written, and its publisher is answered then; not in a transaction, whose messages are sent once it is settled;
//! - *idle*: nobody waits: with the next commit, or after an interval.

mod list;
mod parked;
mod superseded;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::mem;

use noctule_core::hash::{Seed, Set};
use noctule_core::id::{Qos, WorkerId};
use noctule_core::store::{LoadRequest, Loaded, LoadedMessage, SessionNumber, StoreOp, StoreRefused, Ticket};

use list::{Acknowledged, Entry, List, is_nothing, parts};
use parked::Parked;
use superseded::Later;

/// Operations, and bytes of memory, with which a commit begins although nobody waits: the writer's batches stay of a
/// size at which a larger one saves nothing.
const EAGER_OPS: usize = 16_384;
const EAGER_BYTES: usize = 4 << 20;

/// Operations, and bytes of memory, with which new messages are refused: the disk does not keep up, and nobody waits
/// for what is submitted, else the waiting would have slowed the clients.
pub(super) const FULL_OPS: usize = 65_536;
pub(super) const FULL_BYTES: usize = 32 << 20;

/// How many times [`FULL_OPS`] and [`FULL_BYTES`] whatever somebody waits for is refused. The rest is bounded by the
/// sessions, exchanges and messages that there are, once what was superseded has left.
const LAST_RESORT: usize = 4;

/// Operations with which those that later ones supersede leave, at first.
const TIDY_OPS: usize = 32_768;

/// Entries of the lingering queue that are kept for nobody, beyond as many as there are operations.
const SLACK: usize = 1024;

/// The configured times, µs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long a message lingers.
    pub(super) window_us: u64,
    /// When idle operations are written at the latest.
    pub(super) interval_us: u64,
    /// Time between two writes of a topic's retained message at QoS 0.
    pub(super) retained_us: u64,
}

/// Tickets that are settled, and whose they are.
pub(super) type Answers = Vec<(WorkerId, Ticket)>;

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    pace: Pace,
    list: List,
    parked: Parked,
    /// Sessions and groups that can be delivered to.
    online: Set<SessionNumber>,
    /// When each lingering message came, its name and its slot; what has left the list is passed over.
    lingering: VecDeque<(u64, u64, usize)>,
    /// Whether a message has lingered, and whether a batch was taken, since the writer last went to sleep.
    lingered: bool,
    taken: bool,
    /// Since when the oldest idle operation waits, or earlier.
    idle_since_us: Option<u64>,
    urgent: bool,
    next_seq: u64,
    loads: Vec<LoadRequest>,
    /// Until when the writer sleeps by itself; 0 when it need not be woken.
    sleeps_until_us: u64,
    /// Whether somebody has cut the writer's sleep short.
    woken: bool,
    closing: bool,
    /// Whether parked messages may be written: not on a full disk.
    roomy: bool,
    elided: u64,
    /// See [`Window::is_behind`].
    behind: bool,
    tidy_at: usize,
}

impl Window {
    pub(super) fn new(pace: Pace, seed: &Seed) -> Self {
        Self {
            pace,
            list: List::new(seed.derive(1)),
            parked: Parked::new(seed.derive(2)),
            online: Set::with_hasher(seed.derive(3)),
            lingering: VecDeque::new(),
            lingered: false,
            taken: false,
            idle_since_us: None,
            urgent: false,
            next_seq: 0,
            loads: Vec::new(),
            sleeps_until_us: 0,
            woken: false,
            closing: false,
            roomy: true,
            elided: 0,
            behind: false,
            tidy_at: TIDY_OPS,
        }
    }

    /// Takes an operation in; `answers` gets the tickets that are settled by it. Whether the writer has to be woken.
    ///
    /// # Errors
    /// [`StoreRefused`] when the window is full or closed; the operation has no effect then.
    pub(super) fn submit(
        &mut self,
        now_us: u64,
        worker: WorkerId,
        ticket: Ticket,
        op: StoreOp,
        answers: &mut Answers,
    ) -> Result<bool, StoreRefused> {
        self.admit(ticket, &op)?;
        let mut lingers = false;
        match &op {
            StoreOp::Acknowledged { session, record } => match self.list.acknowledge(*session, *record) {
                Acknowledged::Elsewhere => {}
                Acknowledged::Noted => return Ok(answer(answers, worker, ticket)),
                Acknowledged::Cancelled(entry) => {
                    self.elided += 1;
                    self.trim_lingering();
                    if let Some(entry) = entry {
                        answer(answers, entry.worker, entry.ticket);
                    }
                    return Ok(answer(answers, worker, ticket));
                }
            },
            publish if is_nothing(publish) => return Ok(answer(answers, worker, ticket)),
            StoreOp::Publish { message, recipients, retained, inbound } => {
                let alone = recipients.is_empty() && inbound.is_none() && ticket == Ticket::NONE;
                if let Some(version) = retained.filter(|_| alone && self.parks(message.qos())) {
                    return self.park(now_us, version, op);
                }
                lingers = self.pace.window_us > 0
                    && inbound.is_none()
                    && !recipients.is_empty()
                    && (retained.is_none() || message.qos() == Qos::AtMostOnce)
                    && recipients.iter().all(|recipient| self.online.contains(&recipient.session));
            }
            StoreOp::Transaction(parts) if parts.iter().all(is_nothing) => {
                return Ok(answer(answers, worker, ticket));
            }
            _ => {}
        }
        let op = match op {
            StoreOp::Transaction(parts) => {
                StoreOp::Transaction(parts.into_iter().filter(|part| !is_nothing(part)).collect())
            }
            op => op,
        };
        parts(&op).iter().for_each(|part| self.hear(part));
        let due_us = self.push(now_us, worker, ticket, op, lingers);
        Ok(self.wakes_for(due_us))
    }

    /// Notes what an operation says about those that come later, and about what is parked.
    fn hear(&mut self, op: &StoreOp) {
        match op {
            StoreOp::Publish { message, retained: Some(version), .. }
            | StoreOp::RetainedExpired { message, version } => {
                self.parked.forget(message.topic().as_str(), *version);
            }
            StoreOp::SessionKept { session, .. } | StoreOp::Presence { session, online: true } => {
                self.online.insert(*session);
            }
            StoreOp::Presence { session, online: false }
            | StoreOp::SessionEnded { session, .. }
            | StoreOp::GroupEnded { session, .. } => {
                self.online.remove(session);
            }
            _ => {}
        }
    }

    /// Puts an operation on the list and says when it is due.
    fn push(&mut self, now_us: u64, worker: WorkerId, ticket: Ticket, op: StoreOp, lingers: bool) -> u64 {
        let mut entry = Entry::new(self.next_seq, now_us, worker, ticket, op);
        self.next_seq += 1;
        let waited_for = ticket != Ticket::NONE;
        entry.lingers = lingers && waited_for;
        let (lingers, seq) = (entry.lingers, entry.seq);
        let slot = self.list.push(entry);
        if lingers {
            self.lingering.push_back((now_us, seq, slot));
            self.lingered = true;
        } else if waited_for {
            self.urgent = true;
        } else {
            self.idle_since_us.get_or_insert(now_us);
        }
        if self.urgent || self.is_eager() {
            0
        } else if lingers {
            now_us + self.pace.window_us
        } else {
            self.idle_since_us.unwrap_or(now_us).saturating_add(self.pace.interval_us)
        }
    }

    fn is_eager(&self) -> bool {
        self.list.len() >= EAGER_OPS || self.list.bytes() >= EAGER_BYTES
    }

    /// Whether the writer would sleep beyond `due_us`; it is told only once.
    fn wakes_for(&mut self, due_us: u64) -> bool {
        let wakes = due_us < self.sleeps_until_us;
        if wakes {
            (self.sleeps_until_us, self.woken) = (0, true);
        }
        wakes
    }

    /// Whether so much waits that nothing more should come from those who do not wait for it to be written: from half of
    /// what the window holds, until a quarter of it is left.
    pub(super) fn is_behind(&mut self) -> bool {
        let (ops, bytes) = (self.list.len(), self.list.bytes());
        let part = if self.behind { 4 } else { 2 };
        self.behind = ops >= FULL_OPS / part || bytes >= FULL_BYTES / part;
        self.behind
    }

    fn admit(&mut self, ticket: Ticket, op: &StoreOp) -> Result<(), StoreRefused> {
        if self.closing {
            return Err(StoreRefused { reason: "the broker is ending" });
        }
        if self.list.len() >= self.tidy_at {
            self.tidy();
        }
        let full = |times: usize| {
            self.list.len() >= times * FULL_OPS || self.list.bytes() >= times.saturating_mul(FULL_BYTES)
        };
        // What nobody waits for, and is no message, has happened already: refused, it would be missing on the disk alone.
        let is_message = parts(op).iter().any(|part| matches!(part, StoreOp::Publish { .. }));
        if (full(1) && is_message) || (full(LAST_RESORT) && ticket != Ticket::NONE) {
            return Err(StoreRefused { reason: "the disk does not keep up" });
        }
        Ok(())
    }

    /// Has what later operations supersede leave. The rest is one state only as a whole, so it is committed as one.
    fn tidy(&mut self) {
        let mut later = Later::default();
        let mut all = Vec::with_capacity(self.list.len());
        while let Some(entry) = self.list.pop() {
            all.push(entry);
        }
        self.lingering.clear();
        let mut kept: Vec<_> =
            all.into_iter().rev().filter_map(|entry| later.without_superseded(entry)).collect();
        while let Some(entry) = kept.pop() {
            let (seq, at_us, lingers) = (entry.seq, entry.at_us, entry.lingers);
            let slot = self.list.push(entry);
            if lingers {
                self.lingering.push_back((at_us, seq, slot));
            }
        }
        self.urgent = true;
        self.tidy_at = TIDY_OPS.max(2 * self.list.len());
    }

    fn parks(&self, qos: Qos) -> bool {
        qos == Qos::AtMostOnce && self.pace.retained_us > 0
    }

    fn park(&mut self, now_us: u64, version: u64, op: StoreOp) -> Result<bool, StoreRefused> {
        let StoreOp::Publish { message, .. } = op else { return Ok(false) };
        if !self.parked.has_room(&message) {
            return Err(StoreRefused { reason: "too many retained messages wait to be written" });
        }
        if self.parked.put(now_us, version, message) {
            return Ok(false);
        }
        let due_us = self.parked_due_us();
        Ok(self.wakes_for(due_us))
    }

    /// When the first parked message is to be written.
    fn parked_due_us(&mut self) -> u64 {
        if !self.roomy {
            return u64::MAX;
        }
        let too_many = self.parked.len() > Parked::MAX_TOPICS;
        match self.parked.since_us() {
            Some(_) if too_many => 0,
            Some(since_us) => since_us.saturating_add(self.pace.retained_us),
            None => u64::MAX,
        }
    }

    /// Lets go of lingering entries whose messages have left the list.
    fn trim_lingering(&mut self) {
        while let Some(&(_, seq, slot)) = self.lingering.front()
            && self.list.get(slot, seq).is_none()
        {
            self.lingering.pop_front();
        }
        if self.lingering.len() > 2 * self.list.len() + SLACK {
            self.lingering.retain(|&(_, seq, slot)| self.list.get(slot, seq).is_some());
        }
    }

    /// When the oldest lingering message came, µs.
    fn lingering_since_us(&mut self) -> Option<u64> {
        self.trim_lingering();
        self.lingering.front().map(|(at_us, ..)| *at_us)
    }

    /// When there is something to be written; `u64::MAX` for nothing.
    fn due_us(&mut self) -> u64 {
        let waiting = !self.list.is_empty();
        if waiting && (self.urgent || self.is_eager()) || self.closing {
            return 0;
        }
        let linger = self.lingering_since_us().map(|at_us| at_us + self.pace.window_us);
        let idle =
            self.idle_since_us.filter(|_| waiting).map(|at_us| at_us.saturating_add(self.pace.interval_us));
        [linger, idle].into_iter().flatten().fold(self.parked_due_us(), u64::min)
    }

    /// Moves what is to be committed now into `batch`, which is empty; false if there is nothing.
    pub(super) fn take(&mut self, now_us: u64, batch: &mut Batch) -> bool {
        debug_assert!(batch.0.is_empty(), "the last batch was not written");
        // Who takes is up, and looks again before it sleeps.
        self.sleeps_until_us = 0;
        if self.due_us() > now_us {
            return false;
        }
        // All of it, though the young ones may still be acknowledged in time: leaving them halves what is written of
        // them, but takes up to twice the commits, and a commit alone costs as much as 80 messages. By exchange: the
        // lock is held no longer for ten thousand operations than for one.
        mem::swap(&mut self.list, &mut batch.0);
        (self.urgent, self.idle_since_us) = (false, None);
        self.lingering.clear();
        // At the end they come last, and alone: what waits for room must not keep what makes room from the disk.
        let until_us = if self.closing && batch.0.is_empty() {
            Some(u64::MAX)
        } else if self.roomy {
            Some(now_us.saturating_sub(self.pace.retained_us))
        } else {
            None
        };
        if let Some(until_us) = until_us {
            let seq = &mut self.next_seq;
            self.parked.take(until_us, |at_us, op| {
                batch.0.push(Entry::new(*seq, at_us, parked::BY, Ticket::NONE, op));
                *seq += 1;
            });
        }
        self.tidy_at = TIDY_OPS;
        self.taken = !batch.0.is_empty();
        self.taken
    }

    /// The writer goes to sleep: until when, µs; `u64::MAX` until it is woken.
    pub(super) fn sleep(&mut self, now_us: u64) -> u64 {
        let mut until_us = self.due_us();
        // Under load there will be more in a moment: better one look per window than a wake for the next message, and
        // one per interval than a wake for the first acknowledgement after a commit.
        if mem::take(&mut self.lingered) {
            until_us = until_us.min(now_us + self.pace.window_us);
        }
        if mem::take(&mut self.taken) {
            until_us = until_us.min(now_us.saturating_add(self.pace.interval_us));
        }
        (self.sleeps_until_us, self.woken) = (until_us, false);
        until_us
    }

    /// The writer goes to sleep and is to be woken by the end of the broker only.
    pub(super) fn doze(&mut self) {
        (self.sleeps_until_us, self.woken) = (0, self.closing);
    }

    /// Cuts the writer's sleep short.
    pub(super) fn wake(&mut self) {
        (self.sleeps_until_us, self.woken) = (0, true);
    }

    /// Whether somebody has woken the writer since it went to sleep.
    pub(super) fn is_woken(&self) -> bool {
        self.woken
    }

    /// Answers from memory if everything asked for is here, else leaves the request to the writer.
    ///
    /// # Errors
    /// Whether the writer has to be woken, if it is to answer.
    pub(super) fn load(&mut self, request: LoadRequest) -> Result<Loaded, bool> {
        let number = request.number();
        let found = |&record: &u64| Some((record, Some(self.list.message(number, record)?)));
        if let Some(messages) = request.records.iter().map(found).collect() {
            return Ok(Loaded { session: request.session, messages });
        }
        self.loads.push(request);
        Err(self.wakes_for(0))
    }

    /// The requests that the writer is to answer.
    pub(super) fn take_loads(&mut self) -> Vec<LoadRequest> {
        mem::take(&mut self.loads)
    }

    /// A message that is still here.
    pub(super) fn message(&self, session: SessionNumber, record: u64) -> Option<LoadedMessage> {
        self.list.message(session, record)
    }

    /// Whether there is room for what nobody waits for.
    pub(super) fn set_roomy(&mut self, roomy: bool) {
        self.roomy = roomy;
    }

    /// From now on everything is due and nothing is taken.
    pub(super) fn close(&mut self) {
        (self.closing, self.woken) = (true, true);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Messages that everybody had before they were written.
    pub(super) fn elided(&self) -> u64 {
        self.elided
    }
}

/// Notes that a ticket is settled; the writer has nothing to do with it.
fn answer(answers: &mut Answers, worker: WorkerId, ticket: Ticket) -> bool {
    if ticket != Ticket::NONE {
        answers.push((worker, ticket));
    }
    false
}

/// Operations on their way to the disk.
#[derive(Debug)]
pub(super) struct Batch(List);

impl Batch {
    pub(super) fn new(seed: &Seed) -> Self {
        Self(List::new(seed.derive(4)))
    }

    /// Hands over every operation in order: when it was submitted (µs), by whom, and its ticket.
    pub(super) fn drain(&mut self, take: impl FnMut(u64, WorkerId, Ticket, StoreOp)) {
        self.0.drain(take);
    }
}
