//! The retained messages: the last one of each topic, shared by all workers.
//!
//! They are ordered by topic, so that a wildcard look-up skips what can't match and can stop anywhere and go on later:
//! a `#` over a million topics is read in steps, each with the lock held for a bounded time and released before the
//! messages are handed over. Expiry is here too; writing to the disk and asking for rights are not.

mod replay;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use thiserror::Error;

use crate::message::Message;
use crate::topic::TopicName;

pub use replay::{Cursor, Progress};

/// Limits of all retained messages together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Most messages.
    pub max_messages: usize,
    /// Most bytes, as [`Message::cost`] counts them.
    pub max_bytes: usize,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self { max_messages: 100_000, max_bytes: 64 << 20 }
    }
}

/// Why a message was not retained; what was retained for its topic before still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RetainedFull {
    /// No room for another topic.
    #[error(
        "{limit} messages are retained already; remove some (retain an empty payload) or raise the limit"
    )]
    Messages {
        /// [`RetainedLimits::max_messages`].
        limit: usize,
    },
    /// No room for its bytes.
    #[error(
        "retaining {needed} more bytes would exceed the limit of {limit}; remove some messages or raise it"
    )]
    Bytes {
        /// Bytes by which it is larger than the message that it would replace.
        needed: usize,
        /// [`RetainedLimits::max_bytes`].
        limit: usize,
    },
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its number: later changes, of any topic by any worker, have higher ones.
    pub version: u64,
    /// What was retained for the topic before; it may have expired.
    pub replaced: Option<Arc<Message>>,
}

/// The retained messages.
#[derive(Debug)]
pub struct Retained {
    limits: RetainedLimits,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeSet<Entry>,
    /// Those that expire, by (deadline, version).
    deadlines: BTreeMap<(u64, u64), Arc<Message>>,
    bytes: usize,
    /// What had expired and made room before a sweep came to it; the next one tells of it.
    displaced: Vec<(u64, Arc<Message>)>,
    newest: u64,
}

/// Ordered by topic; the topic is not kept twice.
#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    /// When it came to be seen.
    version: u64,
    /// When it was taken in, which may be long before: of two for one topic the later one stays.
    rank: u64,
}

/// The topic's bytes: they order as its text does, and looking at them checks nothing.
fn topic_of(message: &Message) -> &[u8] {
    message.wire_topic().get(2..).unwrap_or_default()
}

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        topic_of(&self.message)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        topic_of(&self.message) == topic_of(&other.message)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        topic_of(&self.message).cmp(topic_of(&other.message))
    }
}

impl Retained {
    /// Nothing retained yet.
    #[must_use]
    pub fn new(limits: RetainedLimits) -> Self {
        Self { limits, inner: RwLock::default() }
    }

    /// Retains `message` in place of its topic's last one. An empty payload means [`remove`](Self::remove), which is
    /// the caller's to tell apart [MQTT-3.3.1-6].
    ///
    /// # Errors
    /// When a limit would be exceeded even without the messages that have expired by `now_ms`.
    pub fn set(&self, message: Arc<Message>, now_ms: u64) -> Result<Stored, RetainedFull> {
        let message = message.right_sized();
        let mut inner = self.write();
        inner.make_room(&message, self.limits, now_ms)?;
        let version = inner.next_version();
        Ok(inner.put(message, version, version))
    }

    /// A number for a change that will be made later, with [`set_at`](Self::set_at): in the order of changes it stands
    /// here, but nobody sees anything of it yet. The number behind it is for [`take_back`](Self::take_back).
    #[must_use]
    pub fn reserve(&self) -> u64 {
        let mut inner = self.write();
        let rank = inner.next_version();
        inner.next_version();
        rank
    }

    /// Makes the change that `rank` was reserved for: retains `message`, or with an empty payload removes its topic's.
    /// Nothing changes if a later one has been made for the topic meanwhile.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_at(&self, message: Arc<Message>, rank: u64, now_ms: u64) -> Result<(), RetainedFull> {
        let message = message.right_sized();
        let mut inner = self.write();
        if inner.entries.get(topic_of(&message)).is_some_and(|entry| entry.rank > rank) {
            return Ok(());
        }
        if message.payload().is_empty() {
            inner.take(topic_of(&message));
            return Ok(());
        }
        inner.make_room(&message, self.limits, now_ms)?;
        let version = inner.next_version();
        inner.put(message, version, rank);
        Ok(())
    }

    /// Removes the topic's message [MQTT-3.3.1-6]; none if there is none.
    pub fn remove(&self, topic: &TopicName<'_>) -> Option<Stored> {
        let mut inner = self.write();
        let replaced = inner.take(topic.as_str().as_bytes())?;
        Some(Stored { version: inner.next_version(), replaced: Some(replaced) })
    }

    /// The change that `rank` was reserved for is not made, although a store has it: the topic's message takes the number
    /// behind it, as if it had been taken in then. None if there is none that is older, or it has expired by `now_ms`.
    pub fn take_back(&self, topic: &TopicName<'_>, rank: u64, now_ms: u64) -> Option<(u64, Arc<Message>)> {
        let mut inner = self.write();
        let entry = inner.entries.get(topic.as_str().as_bytes())?;
        if entry.rank > rank || entry.message.is_expired(now_ms) {
            return None;
        }
        let (message, version, rank) = (entry.message.clone(), entry.version, rank + 1);
        inner.entries.replace(Entry { message: message.clone(), version, rank });
        Some((rank, message))
    }

    /// The topic's message, unless it has expired by `now_ms`.
    #[must_use]
    pub fn get(&self, topic: &TopicName<'_>, now_ms: u64) -> Option<Arc<Message>> {
        let inner = self.read();
        let entry = inner.entries.get(topic.as_str().as_bytes())?;
        (!entry.message.is_expired(now_ms)).then(|| entry.message.clone())
    }

    /// The version of the last change. Read after a filter was entered in the tree, it divides what a replay hands
    /// over (up to it) from what the subscription gets live (after it).
    #[must_use]
    pub fn version(&self) -> u64 {
        self.read().newest
    }

    /// Goes on counting after `version`, the highest that a store has kept; called at the start.
    pub fn resume_after(&self, version: u64) {
        let mut inner = self.write();
        inner.newest = inner.newest.max(version);
    }

    /// Retains a message under the version that it had before a restart, whatever the limits.
    pub fn restore(&self, version: u64, message: Arc<Message>) {
        let mut inner = self.write();
        inner.newest = inner.newest.max(version);
        inner.put(message, version, version);
    }

    /// Removes at most `budget` messages that have expired by `now_ms`; returns them, and those that made room since the
    /// last time, with the versions that a store has
    /// of them.
    pub fn sweep(&self, now_ms: u64, budget: usize) -> Vec<(u64, Arc<Message>)> {
        // Looking first keeps the publishers' lock free when there is nothing to do.
        if self.next_expiry_ms().is_none_or(|deadline| deadline > now_ms) && self.read().displaced.is_empty()
        {
            return Vec::new();
        }
        let mut inner = self.write();
        let mut removed = std::mem::take(&mut inner.displaced);
        removed.extend(std::iter::from_fn(|| inner.expire_one(now_ms)).take(budget));
        removed
    }

    /// When the next message expires, in monotonic milliseconds.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.read().deadlines.first_key_value().map(|(&(deadline, _), _)| deadline)
    }

    /// All of them, with the versions that a store has of them.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, Arc<Message>)> {
        self.read().entries.iter().map(|entry| (entry.rank, Arc::clone(&entry.message))).collect()
    }

    /// How many messages are retained, expired ones that are not swept yet among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().entries.len()
    }

    /// Whether nothing is retained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their bytes, as [`Message::cost`] counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.read().bytes
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn admit(&self, message: &Message, limits: RetainedLimits) -> Result<(), RetainedFull> {
        let old = self.entries.get(topic_of(message)).map(|entry| entry.message.cost());
        if old.is_none() && self.entries.len() >= limits.max_messages {
            return Err(RetainedFull::Messages { limit: limits.max_messages });
        }
        let needed = message.cost().saturating_sub(old.unwrap_or(0));
        if needed > 0 && self.bytes + needed > limits.max_bytes {
            return Err(RetainedFull::Bytes { needed, limit: limits.max_bytes });
        }
        Ok(())
    }

    /// Removes what has expired until the message has room.
    fn make_room(
        &mut self,
        message: &Message,
        limits: RetainedLimits,
        now_ms: u64,
    ) -> Result<(), RetainedFull> {
        while let Err(full) = self.admit(message, limits) {
            let Some(expired) = self.expire_one(now_ms) else { return Err(full) };
            self.displaced.push(expired);
        }
        Ok(())
    }

    fn put(&mut self, message: Arc<Message>, version: u64, rank: u64) -> Stored {
        self.bytes += message.cost();
        if message.expires_ms() != u64::MAX {
            self.deadlines.insert((message.expires_ms(), version), message.clone());
        }
        let replaced = self.entries.replace(Entry { message, version, rank }).map(|old| self.forget(old));
        Stored { version, replaced }
    }

    fn take(&mut self, topic: &[u8]) -> Option<Arc<Message>> {
        let old = self.entries.take(topic)?;
        Some(self.forget(old))
    }

    /// Settles the accounts of an entry that was taken out.
    fn forget(&mut self, old: Entry) -> Arc<Message> {
        self.bytes -= old.message.cost();
        if old.message.expires_ms() != u64::MAX {
            self.deadlines.remove(&(old.message.expires_ms(), old.version));
        }
        old.message
    }

    /// Removes the message that expires first if it has by `now_ms`.
    fn expire_one(&mut self, now_ms: u64) -> Option<(u64, Arc<Message>)> {
        let (_, message) = self.deadlines.first_key_value()?;
        if !message.is_expired(now_ms) {
            return None;
        }
        let message = message.clone();
        let rank = self.entries.get(topic_of(&message))?.rank;
        self.take(topic_of(&message)).map(|message| (rank, message))
    }

    fn next_version(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }
}

#[cfg(test)]
mod tests;
