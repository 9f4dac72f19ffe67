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
    newest: u64,
}

/// Ordered by topic; the topic is not kept twice.
#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    version: u64,
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
        while let Err(full) = inner.admit(&message, self.limits) {
            if !inner.expire_one(now_ms) {
                return Err(full);
            }
        }
        Ok(inner.set(message))
    }

    /// Removes the topic's message [MQTT-3.3.1-6]; none if there is none.
    pub fn remove(&self, topic: &TopicName<'_>) -> Option<Stored> {
        let mut inner = self.write();
        let replaced = inner.take(topic.as_str().as_bytes())?;
        Some(Stored { version: inner.next_version(), replaced: Some(replaced) })
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

    /// Removes at most `budget` messages that have expired by `now_ms`, and says how many.
    pub fn sweep(&self, now_ms: u64, budget: usize) -> usize {
        // Looking first keeps the publishers' lock free when there is nothing to do.
        if self.next_expiry_ms().is_none_or(|deadline| deadline > now_ms) {
            return 0;
        }
        let mut inner = self.write();
        (0..budget).take_while(|_| inner.expire_one(now_ms)).count()
    }

    /// When the next message expires, in monotonic milliseconds.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.read().deadlines.first_key_value().map(|(&(deadline, _), _)| deadline)
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

    fn set(&mut self, message: Arc<Message>) -> Stored {
        let version = self.next_version();
        self.bytes += message.cost();
        if message.expires_ms() != u64::MAX {
            self.deadlines.insert((message.expires_ms(), version), message.clone());
        }
        let replaced = self.entries.replace(Entry { message, version }).map(|old| self.forget(old));
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
    fn expire_one(&mut self, now_ms: u64) -> bool {
        match self.deadlines.first_key_value() {
            Some((_, message)) if message.is_expired(now_ms) => {
                let message = message.clone();
                self.take(topic_of(&message)).is_some()
            }
            _ => false,
        }
    }

    fn next_version(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }
}

#[cfg(test)]
mod tests;
