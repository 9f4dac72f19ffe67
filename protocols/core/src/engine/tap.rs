//! Who listens in: an operator who wants to see what is published without being a client of the broker.
//!
//! What is heard is a copy, of long payloads their beginning alone: a tap changes nothing about the messages themselves, and
//! what waits for somebody who listens slowly is bounded. While there is one, nothing goes the short
//! way, which makes no messages.

use std::sync::Arc;

use super::Engine;
use super::origin::{Origin, Source};
use crate::effects::DropReason;
use crate::message::{Message, Restored};
use crate::topic::TopicFilter;

/// Most messages that wait to be fetched; what more there is, is counted.
pub(super) const MAX_HEARD: usize = 1_024;

/// Most bytes of a payload that are heard.
pub const HEARD_BYTES: usize = 1_032;

/// Something for whoever listens in.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A message that was published.
    Message {
        /// The message, without its properties, and of its payload at most [`HEARD_BYTES`].
        message: Arc<Message>,
        /// Bytes of the payload.
        size: usize,
        /// Whose it is; `None` for the broker's own, and for a will.
        client_id: Option<Box<str>>,
    },
    /// So many were left out, as too much came at once.
    Missed(u64),
}

/// Those who listen, and what they have heard.
#[derive(Debug, Default)]
pub(super) struct Taps {
    taps: Vec<Tap>,
    /// For whom, and what.
    heard: Vec<(u64, Heard)>,
    /// Clients of which every drop is told, and what is not told yet.
    drops: Vec<Drops>,
}

/// What was dropped of what a client was to get.
#[derive(Debug)]
struct Drops {
    client_id: Box<str>,
    untold: Vec<(DropReason, u64)>,
}

#[derive(Debug)]
struct Tap {
    id: u64,
    filter: TopicFilter,
    missed: u64,
}

impl Taps {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// A message has not reached whom it was for.
    #[inline]
    pub(super) fn note_drop(&mut self, reason: DropReason, whose: &str) {
        for drops in self.drops.iter_mut().filter(|drops| *drops.client_id == *whose) {
            match drops.untold.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => drops.untold.push((reason, 1)),
            }
        }
    }
}

impl Engine {
    /// From now on messages for topics that `filter` matches are heard under that number as well.
    pub fn tap(&mut self, id: u64, filter: TopicFilter) {
        self.taps.taps.push(Tap { id, filter, missed: 0 });
    }

    /// Nobody listens under that number any more.
    pub fn untap(&mut self, id: u64) {
        self.taps.taps.retain(|tap| tap.id != id);
        self.taps.heard.retain(|(heard_by, _)| *heard_by != id);
    }

    /// Whether somebody listens.
    #[must_use]
    pub fn is_tapped(&self) -> bool {
        !self.taps.is_empty()
    }

    /// Hands over what was heard since the last time: under which number, and what.
    pub fn fetch_heard(&mut self, mut take: impl FnMut(u64, Heard)) {
        for (id, heard) in self.taps.heard.drain(..) {
            take(id, heard);
        }
        for tap in self.taps.taps.iter_mut().filter(|tap| tap.missed > 0) {
            take(tap.id, Heard::Missed(std::mem::take(&mut tap.missed)));
        }
    }

    /// From now on every drop is told of a client.
    pub fn watch_drops(&mut self, client_id: &str) {
        if !self.taps.drops.iter().any(|drops| *drops.client_id == *client_id) {
            self.taps.drops.push(Drops { client_id: client_id.into(), untold: Vec::new() });
        }
    }

    /// Nobody wants to hear of a client's drops any more.
    pub fn unwatch_drops(&mut self, client_id: &str) {
        self.taps.drops.retain(|drops| *drops.client_id != *client_id);
    }

    /// Hands over what was dropped since the last time of clients that are watched: whose, why, and how many.
    pub fn fetch_drops(&mut self, mut take: impl FnMut(&str, DropReason, u64)) {
        for drops in &mut self.taps.drops {
            for (reason, count) in drops.untold.drain(..) {
                take(&drops.client_id, reason, count);
            }
        }
    }

    /// Lets those hear a message who listen to its topic.
    pub(super) fn let_hear(&mut self, source: &Source<'_>, origin: Origin) {
        // Those that have waited for a queue with room come a second time.
        if origin.until_ms.is_some() {
            return;
        }
        let topic = source.topic();
        let mut copy = None;
        for place in 0..self.taps.taps.len() {
            let Some(tap) = self.taps.taps.get_mut(place).filter(|tap| tap.filter.matches(&topic)) else {
                continue;
            };
            if self.taps.heard.len() >= MAX_HEARD {
                tap.missed += 1;
                continue;
            }
            let id = tap.id;
            let (size, message) = copy.get_or_insert_with(|| beginning_of(source));
            let size = *size;
            let slot = origin.conn.and_then(|_| self.slot_of(origin.publisher));
            let client = slot.and_then(|slot| self.sessions.get(slot as usize));
            let client_id = client.map(|session| session.client_id.as_ref().into());
            let message = Arc::clone(message);
            self.taps.heard.push((id, Heard::Message { message, size, client_id }));
        }
    }
}

/// How large a message's payload is, and the message with the beginning of it.
fn beginning_of(source: &Source<'_>) -> (usize, Arc<Message>) {
    let (payload, qos, retain, expires_ms) = match source {
        Source::Borrowed(publish) => (publish.payload, publish.qos, publish.retain, u64::MAX),
        Source::Sent(send) => (send.publish.payload, send.publish.qos, send.publish.retain, u64::MAX),
        Source::Owned(message) => (message.payload(), message.qos(), message.retain(), message.expires_ms()),
    };
    let heard = Message::restore(&Restored {
        topic: source.topic(),
        fields: &[],
        payload: payload.get(..HEARD_BYTES).unwrap_or(payload),
        qos,
        retain,
        expires_ms,
        record: 0,
    });
    (payload.len(), heard)
}
