//! The workers' mailboxes: batches in, batches out, one short lock each, and a wake only for a worker that sleeps.
//!
//! Two lanes, each first in first out per sender: `control` is handed over before `bulk`. Nothing here is bounded;
//! a worker that posts to `bulk` holds a credit for it, counted elsewhere.
//! Sleeping is decided under the same lock as posting, so no order of the two loses a wake; checked by loom:
//! `RUSTFLAGS="--cfg loom" cargo test --lib mailbox --release`.

#[cfg(loom)]
use loom::sync::{Arc, Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Arc, Mutex, MutexGuard};
use std::{mem, sync::PoisonError, task::Waker};

use noctule_core::id::WorkerId;

/// The sender of mail that no worker posted: the store's thread, signals, tests.
pub const OUTSIDE: WorkerId = WorkerId(u16::MAX);

/// Mail of one direction, with its senders.
#[derive(Debug)]
pub(super) struct Lanes<M> {
    /// Handed over first: what must get through when `bulk` is full.
    pub(super) control: Vec<(WorkerId, M)>,
    /// Messages.
    pub(super) bulk: Vec<(WorkerId, M)>,
}

impl<M> Default for Lanes<M> {
    fn default() -> Self {
        Self { control: Vec::new(), bulk: Vec::new() }
    }
}

impl<M> Lanes<M> {
    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.bulk.is_empty()
    }

    /// Moves everything of `from` behind what is here; whole vectors change places where that is all there is to do.
    fn append(&mut self, from: &mut Self) {
        for (to, from) in [(&mut self.control, &mut from.control), (&mut self.bulk, &mut from.bulk)] {
            if to.is_empty() {
                mem::swap(to, from);
            } else {
                to.append(from);
            }
        }
    }
}

#[derive(Debug)]
struct Inner<M> {
    lanes: Lanes<M>,
    /// True from [`Mailbox::sleep`] to the next post or [`Mailbox::collect`].
    sleeping: bool,
    /// The worker's task; none before it runs.
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Mailbox<M> {
    inner: Mutex<Inner<M>>,
}

impl<M> Mailbox<M> {
    fn new() -> Self {
        let inner = Inner { lanes: Lanes::default(), sleeping: false, waker: None };
        Self { inner: Mutex::new(inner) }
    }

    /// A panic elsewhere never leaves half a batch here, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Inner<M>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, batch: &mut Lanes<M>) {
        let waker = {
            let mut inner = self.lock();
            inner.lanes.append(batch);
            if mem::take(&mut inner.sleeping) { inner.waker.clone() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn collect(&self, into: &mut Lanes<M>) {
        let mut inner = self.lock();
        inner.sleeping = false;
        into.append(&mut inner.lanes);
    }

    fn sleep(&self) -> bool {
        let mut inner = self.lock();
        inner.sleeping = inner.lanes.is_empty();
        inner.sleeping
    }
}

/// The mailboxes of all workers; cheap to clone.
#[derive(Debug)]
pub struct Mailboxes<M>(Arc<Vec<Mailbox<M>>>);

impl<M> Clone for Mailboxes<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Send> Mailboxes<M> {
    /// One empty mailbox per worker.
    #[must_use]
    pub fn new(workers: u16) -> Self {
        Self(Arc::new((0..workers).map(|_| Mailbox::new()).collect()))
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// Posts one piece of control mail from outside of the workers and wakes its receiver. Mail for a worker that does
    /// not exist is dropped.
    pub fn post(&self, to: WorkerId, mail: M) {
        self.post_batch(to, &mut Lanes { control: vec![(OUTSIDE, mail)], bulk: Vec::new() });
    }

    /// Posts one piece of mail from outside of the workers behind all messages that were posted before.
    pub fn post_behind(&self, to: WorkerId, mail: M) {
        self.post_batch(to, &mut Lanes { control: Vec::new(), bulk: vec![(OUTSIDE, mail)] });
    }

    /// Posts everything in `batch`, in order, under one lock.
    pub(super) fn post_batch(&self, to: WorkerId, batch: &mut Lanes<M>) {
        if let Some(mailbox) = self.0.get(to.index()) {
            mailbox.post(batch);
        }
    }

    /// Names the task to be woken for mail to `me`; before the first [`sleep`](Self::sleep).
    pub(super) fn register(&self, me: WorkerId, waker: Waker) {
        if let Some(mailbox) = self.0.get(me.index()) {
            mailbox.lock().waker = Some(waker);
        }
    }

    /// Takes everything that waits for `me`; from here to the next [`sleep`](Self::sleep) nobody wakes it.
    pub(super) fn collect(&self, me: WorkerId, into: &mut Lanes<M>) {
        if let Some(mailbox) = self.0.get(me.index()) {
            mailbox.collect(into);
        }
    }

    /// Asks to be woken by the next mail; false when some has come already and there's no sleeping now.
    pub(super) fn sleep(&self, me: WorkerId) -> bool {
        self.0.get(me.index()).is_none_or(Mailbox::sleep)
    }
}

#[cfg(test)]
mod tests;
