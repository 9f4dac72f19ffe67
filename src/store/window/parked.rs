//! Retained messages published at QoS 0: the newest of each topic, written once per interval.
//!
//! They stand outside the order of the other operations. Nobody was promised that they are on the disk, and a version
//! says which of two is newer, so a commit that leaves them out is still a state that may be.

use std::collections::VecDeque;
use std::sync::Arc;

use noctule_core::hash::{Map, Seed};
use noctule_core::id::WorkerId;
use noctule_core::message::Message;
use noctule_core::store::StoreOp;

/// The newest retained message of a topic.
#[derive(Debug)]
struct Newest {
    /// When the first of those that it stands for came, µs.
    since_us: u64,
    version: u64,
    message: Arc<Message>,
}

/// The retained messages that wait for their interval.
#[derive(Debug)]
pub(super) struct Parked {
    topics: Map<Arc<str>, Newest>,
    /// Topics in the order in which they become due; what was replaced or forgotten meanwhile is passed over.
    due: VecDeque<(u64, Arc<str>)>,
}

/// Who submits them once they are due; nobody waits for an answer.
pub(super) const BY: WorkerId = WorkerId(u16::MAX);

impl Parked {
    /// Topics that may wait; with more, the oldest are due at once.
    pub(super) const MAX_TOPICS: usize = 65_536;

    pub(super) fn new(seed: Seed) -> Self {
        Self { topics: Map::with_hasher(seed), due: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is room for the topic.
    pub(super) fn has_room(&self, message: &Message) -> bool {
        self.topics.len() < 2 * Self::MAX_TOPICS || self.topics.contains_key(message.topic().as_str())
    }

    /// Remembers a message unless a newer one is known; it is due when the first of its topic was. Whether another
    /// gave way.
    pub(super) fn put(&mut self, now_us: u64, version: u64, message: Arc<Message>) -> bool {
        if let Some(newest) = self.topics.get_mut(message.topic().as_str()) {
            if version > newest.version {
                (newest.version, newest.message) = (version, message);
            }
            return true;
        }
        let topic: Arc<str> = message.topic().as_str().into();
        self.due.push_back((now_us, Arc::clone(&topic)));
        self.topics.insert(topic, Newest { since_us: now_us, version, message });
        false
    }

    /// Forgets a topic's message if it is not newer than `version`.
    pub(super) fn forget(&mut self, topic: &str, version: u64) {
        if self.topics.get(topic).is_some_and(|newest| newest.version <= version) {
            self.topics.remove(topic);
        }
    }

    /// Since when the oldest has been waiting, µs.
    pub(super) fn since_us(&mut self) -> Option<u64> {
        while let Some((since_us, topic)) = self.due.front() {
            if self.topics.get(topic).is_some_and(|newest| newest.since_us == *since_us) {
                return Some(*since_us);
            }
            self.due.pop_front();
        }
        None
    }

    /// Hands over those that have been waiting since `until_us` or longer, and those that are too many.
    pub(super) fn take(&mut self, until_us: u64, mut take: impl FnMut(u64, StoreOp)) {
        while let Some(since_us) = self.since_us()
            && (since_us <= until_us || self.topics.len() > Self::MAX_TOPICS)
        {
            let Some((_, topic)) = self.due.pop_front() else { return };
            if let Some(Newest { version, message, .. }) = self.topics.remove(&topic) {
                let op = StoreOp::Publish {
                    message,
                    recipients: Box::default(),
                    retained: Some(version),
                    inbound: None,
                };
                take(since_us, op);
            }
        }
        if self.topics.is_empty() {
            self.topics.shrink_to(1024);
            self.due.shrink_to(1024);
        }
    }
}
