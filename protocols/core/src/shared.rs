//! What the engines of one broker share: the topic tree, the retained messages and the counters of identities.
//!
//! Standard locks only, none held across a call out; everything else that engines know of each other they tell each
//! other ([`crate::effects::PeerMsg`]).

mod kept;
mod lines;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::hash::{Seed, Set};
use crate::id::{SessionId, WorkerId};
use crate::message::{Depot, MessagePool};
use crate::policy::Durability;
use crate::retained::{Retained, RetainedLimits};
use crate::store::SessionNumber;
use crate::trie::Tree;

pub(crate) use kept::{Kept, KeptGroups};
pub(crate) use lines::{Lines, Pressure, Room};

/// How much memory there is for more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Headroom {
    /// Enough.
    Ample,
    /// Little: at QoS 0, who lags gets nothing more, and what the store keeps as well leaves the memory early.
    Short,
    /// None, and no prospect of any: the queue of who lags or is away takes no more than it gives up.
    Spent,
}

/// One per broker.
#[derive(Debug)]
pub struct Shared {
    /// Who is subscribed to what.
    pub tree: Tree,
    /// The last retained message of each topic.
    pub retained: Retained,
    seed: Seed,
    workers: u16,
    peer_window: u32,
    next_session: AtomicU64,
    next_record: AtomicU64,
    kept_sessions: AtomicUsize,
    store_refuses: AtomicBool,
    store_behind: AtomicBool,
    headroom: AtomicU8,
    closed_to_new: AtomicBool,
    congested_count: AtomicUsize,
    congested: Mutex<Set<SessionId>>,
    /// Spare messages that some have too many of.
    messages: Arc<Depot>,
    /// The groups that are full, and who waits for them.
    pub(crate) lines: Lines,
    /// The groups that are kept without a member.
    pub(crate) kept_groups: KeptGroups,
}

impl Shared {
    /// Data messages that may be on their way from one worker to another unless stated otherwise.
    pub const PEER_WINDOW: u32 = 8_192;

    /// With another bound on the data messages on their way from one worker to another, at least 1: what a mailbox must
    /// have room for. Beyond it publishers wait (a message that goes to many groups may exceed it once).
    #[must_use]
    pub fn with_peer_window(self, messages: u32) -> Self {
        Self { peer_window: messages.max(1), ..self }
    }

    /// Data messages that may be on their way from one worker to another.
    #[must_use]
    pub fn peer_window(&self) -> u32 {
        self.peer_window
    }

    /// For a broker of `workers` engines whose hash tables are keyed by `seed`.
    #[must_use]
    pub fn new(seed: &Seed, workers: u16, retained: RetainedLimits) -> Self {
        Self {
            tree: Tree::new(seed.derive(1)),
            retained: Retained::new(retained),
            seed: seed.derive(2),
            workers: workers.max(1),
            peer_window: Self::PEER_WINDOW,
            next_session: AtomicU64::new(1),
            next_record: AtomicU64::new(1),
            kept_sessions: AtomicUsize::new(0),
            store_refuses: AtomicBool::new(false),
            store_behind: AtomicBool::new(false),
            headroom: AtomicU8::new(Headroom::Ample as u8),
            closed_to_new: AtomicBool::new(false),
            congested_count: AtomicUsize::new(0),
            congested: Mutex::new(Set::with_hasher(seed.derive(3))),
            messages: Arc::default(),
            lines: Lines::new(seed.derive(4)),
            kept_groups: KeptGroups::new(seed.derive(5), workers.max(1)),
        }
    }

    /// The seed from which an engine derives its own.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// A pool of messages, for an engine or for the thread of a store: what one gives back another takes.
    #[must_use]
    pub fn message_pool(&self) -> MessagePool {
        MessagePool::with(Arc::clone(&self.messages))
    }

    /// How many engines there are.
    #[must_use]
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// The worker on which a client id's session lives, and to which its connections move.
    #[must_use]
    pub fn home_of_client(&self, client_id: &str) -> WorkerId {
        self.home(self.seed.hash(client_id))
    }

    /// The worker that keeps a group's members.
    #[must_use]
    pub fn home_of_group(&self, group: &str, filter: &str) -> WorkerId {
        self.home(self.seed.hash(&(group, filter)))
    }

    fn home(&self, hash: u64) -> WorkerId {
        // The remainder of a division by a u16 fits one.
        WorkerId((hash % u64::from(self.workers)) as u16)
    }

    /// A number for a new session.
    pub(crate) fn next_session(&self) -> SessionNumber {
        SessionNumber(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// Sessions of all workers that outlive their connections.
    #[must_use]
    pub fn kept_sessions(&self) -> usize {
        self.kept_sessions.load(Ordering::Relaxed)
    }

    /// Counts a session that will outlive its connection from now on, or does so no longer.
    pub(crate) fn count_kept(&self, kept: bool) {
        if kept {
            self.kept_sessions.fetch_add(1, Ordering::Relaxed);
        } else {
            self.kept_sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Notes whether the store takes new messages; while it doesn't, what would have to be stored is refused before
    /// anybody gets it.
    pub fn set_store_refuses(&self, refuses: bool) {
        self.store_refuses.store(refuses, Ordering::Relaxed);
    }

    /// See [`Self::set_store_refuses`].
    #[must_use]
    pub fn store_refuses(&self) -> bool {
        self.store_refuses.load(Ordering::Relaxed)
    }

    /// Notes whether the store has more to write than it keeps up with; while it has, what would be acknowledged before
    /// it is stored is refused, since nothing else slows its publishers.
    pub fn set_store_behind(&self, behind: bool) {
        self.store_behind.store(behind, Ordering::Relaxed);
    }

    /// Notes how much memory there is, and whether clients are let in that have no session yet.
    pub fn set_memory(&self, headroom: Headroom, takes_clients: bool) {
        self.headroom.store(headroom as u8, Ordering::Relaxed);
        self.closed_to_new.store(!takes_clients, Ordering::Relaxed);
    }

    /// How much memory there is.
    #[must_use]
    pub fn headroom(&self) -> Headroom {
        match self.headroom.load(Ordering::Relaxed) {
            0 => Headroom::Ample,
            1 => Headroom::Short,
            _ => Headroom::Spent,
        }
    }

    /// Whether only those are let in whose session is there.
    pub(crate) fn is_closed_to_new(&self) -> bool {
        self.closed_to_new.load(Ordering::Relaxed)
    }

    /// Whether a message of that durability is not taken for now.
    pub(crate) fn refuses(&self, durability: Durability) -> bool {
        self.store_refuses()
            || durability == Durability::Interval && self.store_behind.load(Ordering::Relaxed)
    }

    /// Goes on counting behind what was given before a restart.
    pub(crate) fn resume_after(&self, last_session: u64, last_record: u64) {
        self.next_session.fetch_max(last_session.saturating_add(1), Ordering::Relaxed);
        self.next_record.fetch_max(last_record.saturating_add(1), Ordering::Relaxed);
    }

    /// A number for a message that is handed to the store.
    pub(crate) fn next_record(&self) -> u64 {
        self.next_record.fetch_add(1, Ordering::Relaxed)
    }

    /// Groups that are full, or that somebody waits for.
    #[must_use]
    pub fn full_groups(&self) -> usize {
        self.lines.len()
    }

    /// Whether somebody waits for a group though it has room or has let him in: only while mail between engines says so.
    /// For simulations.
    #[must_use]
    pub fn is_anybody_late(&self) -> bool {
        self.lines.any_late()
    }

    /// Notes whether a session's queue stands over its limit, so that publishers can be refused before anything is
    /// accepted for it ([`crate::policy::Overflow::Refuse`]).
    pub(crate) fn set_congested(&self, session: SessionId, congested: bool) {
        let mut set = self.congested.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if congested {
            set.insert(session);
        } else {
            set.remove(&session);
        }
        self.congested_count.store(set.len(), Ordering::Release);
    }

    /// Whether any of these sessions is congested; costs one load while none in the whole broker is.
    pub(crate) fn any_congested(&self, mut sessions: impl Iterator<Item = SessionId>) -> bool {
        if self.congested_count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let set = self.congested.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sessions.any(|session| set.contains(&session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_number_is_never_given_again() {
        let shared = Shared::new(&Seed::new(1), 1, RetainedLimits::default());
        let first = shared.next_session();
        // What 497 days of 100 sessions a second come to.
        shared.next_session.fetch_add(u32::MAX.into(), Ordering::Relaxed);
        assert!(shared.next_session() > first);
    }
}
