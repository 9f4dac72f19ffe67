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

    fn put_back(&mut self, item: Item) {
        self.bytes += item.cost();
        self.stubs += usize::from(matches!(item, Item::Stub(_)));
        self.items.push_back(item);
    }

    /// Puts back at the front what could not be sent after all.
    pub fn push_front(&mut self, entry: Entry) {
        self.bytes += entry.cost();
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

    /// The next to be sent.
    #[must_use]
    pub fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    /// Takes the next to be sent, if it is in memory.
    pub fn pop(&mut self) -> Option<Entry> {
        match self.items.pop_front()? {
            Item::Held(entry) => {
                self.bytes -= entry.cost();
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
        let mut taken = Vec::new();
        for _ in 0..self.items.len() {
            match self.pop_item() {
                Some(Item::Held(entry)) if out(&entry) => taken.push(entry),
                Some(item) => self.put_back(item),
                None => break,
            }
        }
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
        if self.items.is_empty() && self.items.capacity() > KEEP {
            self.items.shrink_to(KEEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::message::{Fields, Publish};
    use crate::topic::TopicName;

    fn entry(number: u8, qos: Qos, payload: usize) -> Entry {
        let mut body = vec![0; payload.max(1)];
        *body.first_mut().unwrap() = number;
        let publish = Publish {
            topic: TopicName::from_validated("t"),
            fields: Fields::default(),
            payload: &body,
            qos,
            retain: false,
            dup: false,
            packet_id: None,
            expiry_s: None,
        };
        Entry {
            message: Message::new(&publish, SessionId::NOBODY, 0),
            extra: None,
            qos,
            retain: false,
            stored: false,
        }
    }

    fn numbers(queue: &Queue) -> Vec<u8> {
        let number = |item: &Item| match item {
            Item::Held(entry) => *entry.message.payload().first().unwrap(),
            Item::Stub(stub) => 100 + stub.record as u8,
        };
        queue.iter().map(number).collect()
    }

    fn limits(overflow: Overflow, messages: usize) -> Limits {
        Limits { overflow, max_queued_messages: messages, ..Limits::default() }
    }

    #[test]
    fn a_place_is_24_bytes_with_a_message_and_without() {
        assert_eq!(size_of::<Entry>(), 24);
        assert_eq!(size_of::<Item>(), 24);
    }

    #[test]
    fn drop_oldest_keeps_the_newest_at_the_edge() {
        let limits = limits(Overflow::DropOldest, 2);
        let mut queue = Queue::default();
        for number in 0..2 {
            assert!(matches!(
                queue.offer(entry(number, Qos::AtLeastOnce, 1), &limits, false),
                Offered::Queued
            ));
        }
        let Offered::Displaced(out) = queue.offer(entry(2, Qos::AtLeastOnce, 1), &limits, false) else {
            panic!()
        };
        assert_eq!(out.len(), 1);
        assert_eq!(numbers(&queue), [1, 2]);
    }

    #[test]
    fn qos_0_displaces_nothing() {
        let limits = limits(Overflow::DropOldest, 1);
        let mut queue = Queue::default();
        queue.push(entry(0, Qos::AtLeastOnce, 1));
        assert!(matches!(queue.offer(entry(1, Qos::AtMostOnce, 1), &limits, false), Offered::Rejected(_)));
        assert_eq!(numbers(&queue), [0]);
    }

    #[test]
    fn drop_newest_rejects_and_disconnect_says_so() {
        let mut queue = Queue::default();
        queue.push(entry(0, Qos::AtLeastOnce, 1));
        let newest = limits(Overflow::DropNewest, 1);
        assert!(matches!(queue.offer(entry(1, Qos::AtLeastOnce, 1), &newest, false), Offered::Rejected(_)));
        let hard = limits(Overflow::Disconnect, 1);
        assert!(matches!(queue.offer(entry(1, Qos::AtLeastOnce, 1), &hard, false), Offered::Disconnect(_)));
        assert_eq!(numbers(&queue), [0]);
    }

    #[test]
    fn what_is_stored_waits_in_the_store_and_comes_back_in_its_place() {
        let limits = Limits { max_held_messages: 1, ..limits(Overflow::DropOldest, 5) };
        let stored = |number: u8| {
            let mut entry = Entry { stored: true, ..entry(number, Qos::AtLeastOnce, 1) };
            Arc::get_mut(&mut entry.message).unwrap().set_record(number.into());
            entry
        };
        let loaded = |number: u8| {
            let message = stored(number).message;
            (u64::from(number), Some(LoadedMessage { message, subscription_ids: None }))
        };
        let mut queue = Queue::default();
        for number in 1..=4 {
            assert!(matches!(queue.offer(stored(number), &limits, false), Offered::Queued));
        }
        assert!(
            matches!(queue.offer(entry(5, Qos::AtLeastOnce, 1), &limits, false), Offered::Queued),
            "not stored: held"
        );
        assert_eq!((numbers(&queue), queue.stubs()), (vec![1, 102, 103, 104, 5], 3));
        assert_eq!(*queue.wanted(), [2, 3, 4]);
        // The oldest two give way while the answer is on its way.
        let Offered::Displaced(out) = queue.offer(stored(6), &limits, false) else { panic!() };
        assert!(matches!(*out, [Item::Held(_)]));
        let Offered::Displaced(out) = queue.offer(stored(7), &limits, false) else { panic!() };
        assert!(matches!(*out, [Item::Stub(_)]));
        assert!(queue.pop().is_none(), "a stub can't be sent");
        let lost = queue.fill(vec![loaded(2), loaded(3), (4, None)]);
        assert_eq!(lost.iter().map(|stub| stub.record).collect::<Vec<_>>(), [4]);
        assert_eq!((numbers(&queue), queue.stubs()), (vec![3, 5, 106, 107], 2));
        assert_eq!(*queue.wanted(), [6, 7]);
        assert!(queue.fill(vec![loaded(6), loaded(7)]).is_empty());
        while queue.pop().is_some() {}
        assert_eq!((queue.len(), queue.bytes(), queue.stubs()), (0, 0, 0));
    }

    #[test]
    fn who_is_there_has_more_in_memory_and_gives_it_up_on_leaving() {
        let limits =
            Limits { max_held_messages: 1, max_held_messages_online: 3, ..limits(Overflow::DropOldest, 100) };
        let mut queue = Queue::default();
        for number in 1..=5 {
            let stored = Entry { stored: number != 2, ..entry(number, Qos::AtLeastOnce, 1) };
            queue.offer(stored, &limits, true);
        }
        assert_eq!((numbers(&queue), queue.stubs()), (vec![1, 2, 3, 100, 100], 2));
        let bytes = queue.bytes();
        queue.page_out(limits.max_held_messages);
        assert_eq!((numbers(&queue), queue.stubs()), (vec![1, 2, 100, 100, 100], 3), "2 is nowhere else");
        assert_eq!(queue.bytes(), bytes);
    }

    #[test]
    fn no_more_is_asked_for_than_is_soon_needed() {
        let stub = |record| Stub { record, cost: 1_000, qos: Qos::AtLeastOnce, retain: false };
        let mut queue = Queue::default();
        for _ in 0..LOAD_AHEAD {
            queue.push(entry(0, Qos::AtLeastOnce, 1));
        }
        (1..=1_000).for_each(|record| queue.push_stub(stub(record)));
        assert!(queue.wanted().is_empty(), "far from the front");
        queue.pop();
        assert_eq!(queue.wanted().len(), 66, "64 KiB");
        let mut queue = Queue::default();
        (1..=1_000).for_each(|record| queue.push_stub(Stub { cost: 100, ..stub(record) }));
        assert_eq!(queue.wanted().len(), LOAD_MESSAGES);
    }

    #[test]
    fn what_a_delivery_carries_besides_the_message_is_charged() {
        let bare = entry(0, Qos::AtMostOnce, 1);
        let ids: Arc<[NonZeroU32]> = (1..=1_000).filter_map(NonZeroU32::new).collect();
        let extra = Some(Box::new(Extra { subscription_ids: Some(ids), ..Extra::default() }));
        let identified = Entry { extra, ..bare.clone() };
        assert_eq!(identified.cost(), bare.cost() + 4_000 + size_of::<Extra>());
        let mut queue = Queue::default();
        queue.push(identified);
        queue.pop();
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn bytes_bound_as_well_as_messages_and_one_large_message_fits_an_empty_queue() {
        let limits = Limits { max_queued_bytes: 1_000, ..limits(Overflow::DropNewest, 100) };
        let mut queue = Queue::default();
        assert!(matches!(queue.offer(entry(0, Qos::AtLeastOnce, 5_000), &limits, false), Offered::Queued));
        assert!(matches!(queue.offer(entry(1, Qos::AtLeastOnce, 1), &limits, false), Offered::Rejected(_)));
        queue.pop();
        assert_eq!(queue.bytes(), 0);
    }
}
