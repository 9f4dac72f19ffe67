//! What the log knows of itself in memory: a commit changes it first and the disk afterwards, so that after a failed
//! commit it is worth nothing.

use std::collections::BTreeMap;

use super::index::{Chunks, Index, Place, Settled};
use super::recent::Recent;
use super::rows::Marks;
use super::timeline::Timeline;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) timeline: Timeline,
    pub(super) index: Index,
    pub(super) chunks: Chunks,
    /// Kept sessions and groups, and the first chunk that may hold something for each.
    pub(super) known: BTreeMap<u64, u64>,
    /// The last number that was given before the process began: whoever has such a one and isn't known has ended.
    pub(super) last_before: u64,
    /// Those that have ended lately: a publisher on another worker may not have heard of it.
    pub(super) gone: Recent<u64, ()>,
    /// Topics whose retained message was cleared lately, and the version that did it: an older one may come late.
    pub(super) cleared: Recent<Box<str>, u64>,
    /// Session and record of messages that were given back, and how often each was delivered: few at any time.
    pub(super) deliveries: BTreeMap<(u64, u64), u32>,
    pub(super) marks: Marks,
    /// Of the last exchange that began.
    pub(super) sequence: u64,
}

impl State {
    /// How often a message was delivered for a session or group that has not acknowledged it; `None` for others.
    pub(super) fn left(&self, record: u64, session: u64) -> Option<u32> {
        let deliveries = || self.deliveries.get(&(session, record)).copied().unwrap_or(0);
        self.index.waits(record, session).then(deliveries)
    }

    /// Enters a message as [`Index::insert`] does: one that was never delivered.
    pub(super) fn enter(&mut self, record: u64, sessions: &mut Vec<u64>, place: Place) -> Option<Place> {
        let before = self.index.insert(record, sessions, place);
        if before.is_some() && !self.deliveries.is_empty() {
            for &session in &*sessions {
                self.deliveries.remove(&(session, record));
            }
        }
        before
    }

    /// Forgets a message that is damaged.
    pub(super) fn forget(&mut self, record: u64) {
        if let Some(place) = self.index.remove(record) {
            self.chunks.leave(place);
        }
        self.deliveries.retain(|(_, of), _| *of != record);
    }

    /// Takes a recipient off a message, wherever that is.
    pub(super) fn settle(&mut self, record: u64, session: u64) -> Settled {
        let settled = self.index.settle(record, session);
        if !self.deliveries.is_empty() {
            self.deliveries.remove(&(session, record));
        }
        if let Settled::Done(place) = settled {
            self.leave(place);
        }
        settled
    }

    /// A message is where nobody needs it any more.
    pub(super) fn leave(&mut self, place: Place) {
        if place.chunk != Place::UNWRITTEN {
            self.chunks.leave(place);
        }
    }

    /// Notes a kept session or group; returns the first chunk that may hold something for it.
    ///
    /// If one with that number has ended, what is there already was for that one.
    pub(super) fn keep(&mut self, number: u64) -> u64 {
        let ended = self.gone.remove(&number).is_some() || number <= self.last_before;
        *self.known.entry(number).or_insert(if ended { self.chunks.next } else { 0 })
    }

    /// Forgets a session or group.
    pub(super) fn end(&mut self, number: u64) {
        self.known.remove(&number);
        self.gone.insert(number, ());
        let whose: Vec<_> =
            self.deliveries.range((number, 0)..=(number, u64::MAX)).map(|(key, _)| *key).collect();
        for key in whose {
            self.deliveries.remove(&key);
        }
    }
}
