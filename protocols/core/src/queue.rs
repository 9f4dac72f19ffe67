//! One session's outbound queue, bounded in messages and in bytes.
//!
//! The queue decides nothing about delivery: it keeps order, counts, and says what has to give way. Of what the store
//! keeps as well, only the first messages are held in memory; the rest are [`Stub`]s until their turn comes near.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::group::Lease;
use crate::id::Qos;
use crate::message::Message;
use crate::policy::{Limits, Overflow};
use crate::store::{LoadedMessage, SessionNumber};

/// A queue asks for its next stubs when they are so near to its front.
const LOAD_AHEAD: usize = 64;

/// Most messages asked for at once.
const LOAD_MESSAGES: usize = 128;

/// Most bytes asked for at once, unless a single message is larger.
const LOAD_BYTES: u64 = 64 << 10;

/// What only some deliveries carry; boxed so that the ordinary entry stays small.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Identifiers of all the subscriptions that matched (MQTT 5, section 3.3.2.3.8).
    pub subscription_ids: Option<Arc<[NonZeroU32]>>,
    /// The shared subscription's claim on the outcome.
    pub lease: Option<Lease>,
    /// The group for which the store keeps the message, if one has lent it.
    pub group: Option<SessionNumber>,
    /// How often the group had delivered it before.
    pub deliveries: u32,
    /// Whether the group is a queue or a durable subscription, whose message may be late but not lost: it gives way to
    /// nothing. There are no more of them than the group lends at once.
    pub is_owed: bool,
}

impl Extra {
    /// Memory it is charged with, bytes; the identifiers as if nobody shared them.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.subscription_ids.as_ref().map_or(0, |ids| size_of_val(&**ids))
    }
}

/// A message on its way to one session.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The message.
    pub message: Arc<Message>,
    /// See [`Extra`].
    pub extra: Option<Box<Extra>>,
    /// QoS of this delivery: the lower of publisher's and subscription's.
    pub qos: Qos,
    /// RETAIN flag of this delivery [MQTT-3.3.1-8..13].
    pub retain: bool,
    /// Whether the store keeps it for this session until it is acknowledged.
    pub stored: bool,
}

impl Entry {
    /// For whom the store keeps it, when it is in the queue of `session`: for that, for a group, for nobody.
    #[must_use]
    pub fn owner(&self, session: SessionNumber) -> Option<SessionNumber> {
        if self.stored { Some(session) } else { self.extra.as_ref()?.group }
    }

    /// What remains of it when the store alone is to keep it.
    fn stub(&self) -> Stub {
        let cost = u32::try_from(self.cost()).unwrap_or(u32::MAX);
        Stub { record: self.message.record(), cost, qos: self.qos, retain: self.retain }
    }

    /// Memory it is charged with, bytes. A message shared by many queues is charged to each: a bound that errs on the
    /// safe side.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.message.cost() + size_of::<Self>() + self.extra.as_ref().map_or(0, |extra| extra.cost())
    }

    /// See [`Extra::is_owed`].
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.is_owed)
    }

    /// The lease, if a group sent it.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.extra.as_ref().and_then(|extra| extra.lease)
    }
}

/// A message of a queue that is in the store alone: the queue knows where it stands, not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stub {
    /// The store's number for it.
    pub record: u64,
    /// Bytes it is charged with, as [`Entry::cost`] counts them.
    pub cost: u32,
    /// QoS of this delivery, 1 or 2.
    pub qos: Qos,
    /// RETAIN flag of this delivery.
    pub retain: bool,
}

impl Stub {
    /// What a message of `bytes` (topic, fields and payload with their lengths, as in memory) is charged with.
    #[must_use]
    pub fn cost_of(bytes: usize) -> u32 {
        u32::try_from(bytes + Message::OVERHEAD + size_of::<Entry>()).unwrap_or(u32::MAX)
    }
}

/// One place of a queue.
#[derive(Clone, Debug)]
pub enum Item {
    /// A message in memory.
    Held(Entry),
    /// A message in the store.
    Stub(Stub),
}

impl Item {
    fn cost(&self) -> usize {
        match self {
            Self::Held(entry) => entry.cost(),
            Self::Stub(stub) => stub.cost as usize,
        }
    }
}

/// What became of a message offered to a full queue.
#[derive(Debug)]
pub enum Offered {
    /// It waits; nothing had to give way.
    Queued,
    /// It waits; these older ones had to go (in order).
    Displaced(Vec<Item>),
    /// It does not fit and is given back.
    Rejected(Entry),
    /// It does not fit and the policy wants the consumer disconnected.
    Disconnect(Entry),
}

/// First in, first out, with a bound on both measures.
#[derive(Debug, Default)]
pub struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// How many of them are stubs.
    stubs: usize,
    /// No fewer than those at the front of which it must be asked (again) whether the client may have them.
    unasked: usize,
}

impl Queue {
    /// Messages waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Messages of them that are in the store alone.
    #[must_use]
    pub fn stubs(&self) -> usize {
        self.stubs
    }

    /// Bytes waiting, book-keeping included; those in the store are charged as well.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one more message of `cost` bytes would break a limit. A single message larger than the byte limit fits
    /// an empty queue, otherwise it could never be delivered at all; so does any message when the limit is 0.
    #[must_use]
    pub fn is_full_for(&self, cost: usize, limits: &Limits) -> bool {
        self.items.len() >= limits.max_queued_messages.max(1)
            || (!self.items.is_empty() && self.bytes + cost > limits.max_queued_bytes)
    }

    /// Adds without asking the limits: for what was accepted before, such as an acknowledged message under
    /// [`Overflow::Refuse`].
    pub fn push(&mut self, entry: Entry) {
        self.put_back(Item::Held(entry));
    }

    /// Adds a message that is in the store alone, without asking the limits: it was accepted before a restart.
    pub fn push_stub(&mut self, stub: Stub) {
        self.put_back(Item::Stub(stub));
    }

    /// Of all that waits it is to be asked again whether the client may have it.
    pub fn ask_again(&mut self) {
        self.unasked = self.items.len();
    }

    /// Whether it is still to be asked of the next to be sent.
    #[must_use]
    pub fn is_front_unasked(&self) -> bool {
        self.unasked > 0
    }

    fn put_back(&mut self, item: Item) {
        self.bytes += item.cost();
        self.stubs += usize::from(matches!(item, Item::Stub(_)));
        self.items.push_back(item);
    }

    /// Puts back at the front what could not be sent after all.
    pub fn push_front(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        // Those behind it stand one place further back.
        self.unasked += usize::from(self.unasked > 0);
        self.items.push_front(Item::Held(entry));
    }

    /// Adds within the limits; what is stored stays in memory only among the first [`Limits::max_held_messages`] (or
    /// [`Limits::max_held_messages_online`]).
    fn admit(&mut self, entry: Entry, limits: &Limits, online: bool) {
        let most = if online { limits.max_held_messages_online } else { limits.max_held_messages };
        if entry.stored && self.items.len() - self.stubs >= most {
            self.put_back(Item::Stub(entry.stub()));
        } else {
            self.put_back(Item::Held(entry));
        }
    }

    /// Adds within the limits, or says what gives way under `overflow`. `online`: whether the client is there.
    ///
    /// QoS 0 never displaces anything: over the limit it is what is dropped first.
    pub fn offer(&mut self, entry: Entry, limits: &Limits, online: bool) -> Offered {
        if entry.is_owed() {
            self.push(entry);
            return Offered::Queued;
        }
        if !self.is_full_for(entry.cost(), limits) {
            self.admit(entry, limits, online);
            return Offered::Queued;
        }
        if entry.qos == Qos::AtMostOnce && limits.overflow != Overflow::Disconnect {
            return Offered::Rejected(entry);
        }
        match limits.overflow {
            Overflow::DropNewest => Offered::Rejected(entry),
            Overflow::Disconnect => Offered::Disconnect(entry),
            // The publisher was asked before the message was accepted (see the engine); what is accepted stays.
            Overflow::Refuse => {
                self.admit(entry, limits, online);
                Offered::Queued
            }
            Overflow::DropOldest => {
                let mut displaced = Vec::new();
                while self.is_full_for(entry.cost(), limits) {
                    let Some(oldest) = self.pop_unowed() else {
                        // What has given way already stays given up: it was older than this one.
                        displaced.push(Item::Held(entry));
                        return Offered::Displaced(displaced);
                    };
                    displaced.push(oldest);
                }
                self.admit(entry, limits, online);
                Offered::Displaced(displaced)
            }
        }
    }

    /// Takes out of a queue that holds more than a few messages in memory as much as `entry` needs, the oldest first:
    /// there is no memory left for what a client that lags does not take. Only where the oldest gives way; what the store
    /// has as well stays.
    pub fn give_way(&mut self, entry: &Entry, limits: &Limits) -> Vec<Item> {
        /// Messages that any client may have waiting.
        const FEW: usize = 16;
        let mut displaced = Vec::new();
        if limits.overflow != Overflow::DropOldest || entry.stored || entry.is_owed() {
            return displaced;
        }
        let (needed, mut freed) = (entry.cost(), 0);
        let gives_way = |item: &Item| matches!(item, Item::Held(entry) if !entry.stored && !entry.is_owed());
        while freed < needed && self.items.len() - self.stubs > FEW {
            let Some(place) = self.items.iter().position(gives_way) else { break };
            let Some(item) = self.items.remove(place) else { break };
            freed += item.cost();
            self.bytes -= item.cost();
            displaced.push(item);
        }
        displaced
    }

    /// The next to be sent.
    #[must_use]
    pub fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    /// The next to be sent; its cost stays what it is.
    pub fn front_mut(&mut self) -> Option<&mut Item> {
        self.items.front_mut()
    }

    /// Takes the next to be sent, if it is in memory.
    pub fn pop(&mut self) -> Option<Entry> {
        match self.items.pop_front()? {
            Item::Held(entry) => {
                self.bytes -= entry.cost();
                self.unasked = self.unasked.saturating_sub(1);
                Some(entry)
            }
            stub @ Item::Stub(_) => {
                self.items.push_front(stub);
                None
            }
        }
    }

    /// Takes the oldest out, wherever it is.
    pub fn pop_item(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.cost();
        self.stubs -= usize::from(matches!(item, Item::Stub(_)));
        self.unasked = self.unasked.saturating_sub(1);
        Some(item)
    }

    /// Takes the oldest out that may give way to another.
    fn pop_unowed(&mut self) -> Option<Item> {
        let is_owed = |item: &Item| matches!(item, Item::Held(entry) if entry.is_owed());
        let place = self.items.iter().position(|item| !is_owed(item))?;
        let item = self.items.remove(place)?;
        self.bytes -= item.cost();
        self.stubs -= usize::from(matches!(item, Item::Stub(_)));
        Some(item)
    }

    /// Takes out every entry in memory for which `out` says yes, keeping the order of the rest.
    pub fn take_where(&mut self, mut out: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let (mut taken, unasked) = (Vec::new(), self.unasked);
        for _ in 0..self.items.len() {
            match self.pop_item() {
                Some(Item::Held(entry)) if out(&entry) => taken.push(entry),
                Some(item) => self.put_back(item),
                None => break,
            }
        }
        self.unasked = unasked.min(self.items.len());
        taken
    }

    /// The client has gone: what is stored leaves the memory, save the first `most` messages.
    pub fn page_out(&mut self, most: usize) {
        if self.items.len() - self.stubs <= most {
            return;
        }
        for item in self.items.iter_mut().skip(most) {
            if let Item::Held(entry) = item
                && entry.stored
            {
                let stub = entry.stub();
                self.bytes = self.bytes - entry.cost() + stub.cost as usize;
                self.stubs += 1;
                *item = Item::Stub(stub);
            }
        }
    }

    /// The messages that should come back into memory now: the first run of stubs, if it is near the front.
    #[must_use]
    pub fn wanted(&self) -> Box<[u64]> {
        if self.stubs == 0 {
            return Box::default();
        }
        let stub = |item: &Item| match item {
            Item::Stub(stub) => Some(*stub),
            Item::Held(_) => None,
        };
        let Some(first) = self.items.iter().take(LOAD_AHEAD).position(|item| stub(item).is_some()) else {
            return Box::default();
        };
        let mut bytes = 0;
        let run = self.items.range(first..).map_while(stub).take(LOAD_MESSAGES);
        let bounded = run.take_while(|stub| {
            let within = bytes < LOAD_BYTES;
            bytes += u64::from(stub.cost);
            within
        });
        bounded.map(|stub| stub.record).collect()
    }

    /// Takes messages back into memory, in the places of their stubs. Returns the stubs of those that the store has lost.
    pub fn fill(&mut self, messages: Vec<(u64, Option<LoadedMessage>)>) -> Vec<Stub> {
        let mut lost = Vec::new();
        let mut messages = messages.into_iter();
        let mut place = 0;
        while place < self.items.len() {
            let Some(item) = self.items.get_mut(place) else { break };
            let Item::Stub(stub) = *item else {
                place += 1;
                continue;
            };
            // They come in the order of the queue; what was displaced since they were asked for is passed over.
            match messages.find(|(record, _)| *record == stub.record) {
                None => break,
                Some((_, Some(LoadedMessage { message, subscription_ids }))) => {
                    let extra = subscription_ids
                        .map(|ids| Box::new(Extra { subscription_ids: Some(ids), ..Extra::default() }));
                    let entry = Entry { message, extra, qos: stub.qos, retain: stub.retain, stored: true };
                    self.bytes = self.bytes - stub.cost as usize + entry.cost();
                    *item = Item::Held(entry);
                    place += 1;
                }
                Some((_, None)) => {
                    self.bytes -= stub.cost as usize;
                    self.items.remove(place);
                    lost.push(stub);
                }
            }
            self.stubs -= 1;
            if messages.len() == 0 {
                break;
            }
        }
        lost
    }

    /// Changes entries in memory, each in its place.
    pub fn change(&mut self, mut change: impl FnMut(&mut Entry)) {
        for item in &mut self.items {
            if let Item::Held(entry) = item {
                let before = entry.cost();
                change(entry);
                self.bytes = self.bytes - before + entry.cost();
            }
        }
    }

    /// Takes out everything that is in the store alone.
    pub fn take_stubs(&mut self) -> Vec<Stub> {
        let mut taken = Vec::with_capacity(self.stubs);
        self.items.retain(|item| match item {
            Item::Held(_) => true,
            Item::Stub(stub) => {
                taken.push(*stub);
                false
            }
        });
        self.bytes -= taken.iter().map(|stub| stub.cost as usize).sum::<usize>();
        self.stubs = 0;
        taken
    }

    /// What waits, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// Gives the memory of a past burst back once the queue has drained.
    pub fn shrink(&mut self) {
        /// Entries for which an empty queue may keep room.
        const KEEP: usize = 64;
        self.unasked = self.unasked.min(self.items.len());
        if self.items.is_empty() && self.items.capacity() > KEEP {
            self.items.shrink_to(KEEP);
        }
    }
}

#[cfg(test)]
mod tests;
