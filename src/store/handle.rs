//! What the workers and the writer share, and a worker's end of it.
//!
//! A submission takes the window's lock once; the writer is woken only when it would sleep too long. Answers for the
//! same worker stay on its side, those for others go out together when the worker polls.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use noctule_core::id::WorkerId;
use noctule_core::store::{LoadRequest, Store, StoreEvent, StoreOp, StoreRefused, Ticket};

use super::Post;
use super::backup::Wanted;
use super::health::Health;
use super::window::{Answers, Window};

/// The window with what is needed to reach the writer and the workers.
pub(super) struct Shared {
    window: Mutex<Window>,
    /// The writer waits here.
    work: Condvar,
    pub(super) health: Arc<Health>,
    /// The way to the workers, once there is one.
    post: OnceLock<Arc<dyn Post>>,
    workers: u16,
    started: Instant,
    /// Copies that are to be made.
    backups: Mutex<Vec<Wanted>>,
}

impl Shared {
    pub(super) fn new(window: Window, workers: u16, started: Instant) -> Self {
        Self {
            window: Mutex::new(window),
            work: Condvar::new(),
            health: Arc::default(),
            post: OnceLock::new(),
            workers,
            started,
            backups: Mutex::default(),
        }
    }

    /// Has the writer make a copy.
    pub(super) fn want_backup(&self, wanted: Wanted) {
        self.backups.lock().unwrap_or_else(PoisonError::into_inner).push(wanted);
        self.lock().wake();
        self.wake_writer();
    }

    /// The copies that are wanted.
    pub(super) fn take_backups(&self) -> Vec<Wanted> {
        mem::take(&mut *self.backups.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// No operation on the window leaves it half done, so a poisoned lock is as good as any.
    pub(super) fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the process started, on the monotonic clock.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Sleeps until the moment given (µs; `u64::MAX` for until woken) or a wake, whichever comes first.
    pub(super) fn wait<'a>(&self, window: MutexGuard<'a, Window>, until_us: u64) -> MutexGuard<'a, Window> {
        if until_us == u64::MAX {
            return self.work.wait(window).unwrap_or_else(PoisonError::into_inner);
        }
        let timeout = Duration::from_micros(until_us.saturating_sub(self.now_us()));
        self.work.wait_timeout(window, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn wake_writer(&self) {
        self.work.notify_one();
    }

    /// Names the way to the workers; the first one stays.
    pub(super) fn set_post(&self, post: Arc<dyn Post>) {
        let _ = self.post.set(post);
    }

    /// Hands events to a worker's mailbox; without a way to it nobody is there to be told.
    pub(super) fn post(&self, worker: WorkerId, events: Vec<StoreEvent>) {
        if let Some(post) = self.post.get()
            && !events.is_empty()
        {
            post.post(worker, events);
        }
    }

    /// Tells every worker that the store begins anew.
    pub(super) fn post_emptied(&self) {
        for worker in 0..self.workers {
            self.post(WorkerId(worker), vec![StoreEvent::Emptied]);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("health", &self.health).finish_non_exhaustive()
    }
}

/// The store as one worker sees it.
///
/// To be polled until it has nothing more after every turn in which something was submitted: answers that other workers
/// wait for leave with it.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    worker: WorkerId,
    events: VecDeque<StoreEvent>,
    /// Settled by this worker's acknowledgements, not yet sorted.
    answers: Answers,
    /// Settled for other workers.
    elsewhere: Answers,
}

/// Answers for other workers that wait for the next poll at most.
const MAX_ELSEWHERE: usize = 256;

impl Handle {
    pub(super) fn new(shared: Arc<Shared>, worker: WorkerId) -> Self {
        Self { shared, worker, events: VecDeque::new(), answers: Vec::new(), elsewhere: Vec::new() }
    }

    /// Why new messages that need storing are refused, if they are.
    ///
    /// # Errors
    /// [`StoreRefused`] with the reason.
    pub fn takes_messages(&self) -> Result<(), StoreRefused> {
        self.shared.health.takes_messages()
    }

    fn sort_answers(&mut self) {
        for (worker, ticket) in self.answers.drain(..) {
            if worker == self.worker {
                self.events.push_back(StoreEvent::Settled(ticket));
            } else {
                self.elsewhere.push((worker, ticket));
            }
        }
        if self.elsewhere.len() >= MAX_ELSEWHERE {
            self.post_elsewhere();
        }
    }

    fn post_elsewhere(&mut self) {
        if !self.elsewhere.is_empty() {
            let answers = mem::take(&mut self.elsewhere);
            post_settled(&self.shared, answers.iter().copied());
            self.elsewhere = answers;
            self.elsewhere.clear();
        }
    }
}

/// Tells the workers that their tickets are settled: one post for each, in the order given.
pub(super) fn post_settled(shared: &Shared, answers: impl Iterator<Item = (WorkerId, Ticket)>) {
    let mut boxes: Vec<(WorkerId, Vec<StoreEvent>)> = Vec::new();
    let mut last = 0;
    for (worker, ticket) in answers.filter(|(_, ticket)| *ticket != Ticket::NONE) {
        // There are a few workers, and what one submits comes in runs.
        if boxes.get(last).is_none_or(|(owner, _)| *owner != worker) {
            last = boxes.iter().position(|(owner, _)| *owner == worker).unwrap_or_else(|| {
                boxes.push((worker, Vec::new()));
                boxes.len() - 1
            });
        }
        if let Some((_, events)) = boxes.get_mut(last) {
            events.push(StoreEvent::Settled(ticket));
        }
    }
    for (worker, events) in boxes {
        shared.post(worker, events);
    }
}

impl Store for Handle {
    fn submit(&mut self, ticket: Ticket, op: StoreOp) -> Result<(), StoreRefused> {
        let health = &self.shared.health;
        let submitted = health.admits(ticket, &op).and_then(|()| {
            let now_us = self.shared.now_us();
            let mut window = self.shared.lock();
            let before = window.elided();
            let wakes = window.submit(now_us, self.worker, ticket, op, &mut self.answers);
            let elided = window.elided() - before;
            let behind = window.is_behind();
            drop(window);
            health.set_behind(behind);
            if elided > 0 {
                health.counters.messages_elided.fetch_add(elided, Relaxed);
            }
            wakes
        });
        match submitted {
            Ok(true) => self.shared.wake_writer(),
            Ok(false) => {}
            Err(refused) => {
                health.counters.refused.fetch_add(1, Relaxed);
                return Err(refused);
            }
        }
        if !self.answers.is_empty() {
            self.sort_answers();
        }
        Ok(())
    }

    fn load(&mut self, request: LoadRequest) {
        let loaded = self.shared.lock().load(request);
        match loaded {
            Ok(loaded) => self.events.push_back(StoreEvent::Loaded(Box::new(loaded))),
            Err(true) => self.shared.wake_writer(),
            Err(false) => {}
        }
    }

    fn poll(&mut self) -> Option<StoreEvent> {
        let event = self.events.pop_front();
        if event.is_none() {
            self.post_elsewhere();
        }
        event
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.post_elsewhere();
    }
}
