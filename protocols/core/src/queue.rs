//! One session's outbound queue, bounded in messages and in bytes.
//!
//! The queue decides nothing about delivery: it keeps order, counts, and says what has to give way.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::group::Lease;
use crate::id::Qos;
use crate::message::Message;
use crate::policy::{Limits, Overflow};

/// What only some deliveries carry; boxed so that the ordinary entry stays small.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Identifiers of all the subscriptions that matched (MQTT 5, section 3.3.2.3.8).
    pub subscription_ids: Option<Arc<[NonZeroU32]>>,
    /// The shared subscription's claim on the outcome.
    pub lease: Option<Lease>,
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
}

impl Entry {
    /// Memory it is charged with, bytes. A message shared by many queues is charged to each: a bound that errs on the
    /// safe side.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.message.cost() + size_of::<Self>() + self.extra.as_ref().map_or(0, |extra| extra.cost())
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

/// What became of a message offered to a full queue.
#[derive(Debug)]
pub enum Offered {
    /// It waits; nothing had to give way.
    Queued,
    /// It waits; these older ones had to go (in order).
    Displaced(Vec<Entry>),
    /// It does not fit and is given back.
    Rejected(Entry),
    /// It does not fit and the policy wants the consumer disconnected.
    Disconnect(Entry),
}

/// First in, first out, with a bound on both measures.
#[derive(Debug, Default)]
pub struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Queue {
    /// Messages waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes waiting, book-keeping included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one more message of `cost` bytes would break a limit. A single message larger than the byte limit fits
    /// an empty queue, otherwise it could never be delivered at all; so does any message when the limit is 0.
    #[must_use]
    pub fn is_full_for(&self, cost: usize, limits: &Limits) -> bool {
        self.entries.len() >= limits.max_queued_messages.max(1)
            || (!self.entries.is_empty() && self.bytes + cost > limits.max_queued_bytes)
    }

    /// Adds without asking the limits: for what was accepted before, such as an acknowledged message under
    /// [`Overflow::Refuse`].
    pub fn push(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        self.entries.push_back(entry);
    }

    /// Puts back at the front what could not be sent after all.
    pub fn push_front(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        self.entries.push_front(entry);
    }

    /// Adds within the limits, or says what gives way under `overflow`.
    ///
    /// QoS 0 never displaces anything: over the limit it is what is dropped first.
    pub fn offer(&mut self, entry: Entry, limits: &Limits) -> Offered {
        if !self.is_full_for(entry.cost(), limits) {
            self.push(entry);
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
                self.push(entry);
                Offered::Queued
            }
            Overflow::DropOldest => {
                let mut displaced = Vec::new();
                while self.is_full_for(entry.cost(), limits) {
                    let Some(oldest) = self.pop() else { return Offered::Rejected(entry) };
                    displaced.push(oldest);
                }
                self.push(entry);
                Offered::Displaced(displaced)
            }
        }
    }

    /// The next to be sent.
    #[must_use]
    pub fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Takes the next to be sent.
    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.cost();
        Some(entry)
    }

    /// Takes out every entry for which `out` says yes, keeping the order of the rest.
    pub fn take_where(&mut self, mut out: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let mut taken = Vec::new();
        for _ in 0..self.entries.len() {
            if let Some(entry) = self.pop() {
                if out(&entry) {
                    taken.push(entry);
                } else {
                    self.push(entry);
                }
            }
        }
        taken
    }

    /// The waiting entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Gives the memory of a past burst back once the queue has drained.
    pub fn shrink(&mut self) {
        /// Entries for which an empty queue may keep room.
        const KEEP: usize = 64;
        if self.entries.is_empty() && self.entries.capacity() > KEEP {
            self.entries.shrink_to(KEEP);
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
        Entry { message: Message::new(&publish, SessionId::NOBODY, 0), extra: None, qos, retain: false }
    }

    fn numbers(queue: &Queue) -> Vec<u8> {
        queue.iter().map(|entry| *entry.message.payload().first().unwrap()).collect()
    }

    fn limits(overflow: Overflow, messages: usize) -> Limits {
        Limits { overflow, max_queued_messages: messages, ..Limits::default() }
    }

    #[test]
    fn an_ordinary_entry_is_24_bytes() {
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn drop_oldest_keeps_the_newest_at_the_edge() {
        let limits = limits(Overflow::DropOldest, 2);
        let mut queue = Queue::default();
        for number in 0..2 {
            assert!(matches!(queue.offer(entry(number, Qos::AtLeastOnce, 1), &limits), Offered::Queued));
        }
        let Offered::Displaced(out) = queue.offer(entry(2, Qos::AtLeastOnce, 1), &limits) else { panic!() };
        assert_eq!(out.len(), 1);
        assert_eq!(numbers(&queue), [1, 2]);
    }

    #[test]
    fn qos_0_displaces_nothing() {
        let limits = limits(Overflow::DropOldest, 1);
        let mut queue = Queue::default();
        queue.push(entry(0, Qos::AtLeastOnce, 1));
        assert!(matches!(queue.offer(entry(1, Qos::AtMostOnce, 1), &limits), Offered::Rejected(_)));
        assert_eq!(numbers(&queue), [0]);
    }

    #[test]
    fn drop_newest_rejects_and_disconnect_says_so() {
        let mut queue = Queue::default();
        queue.push(entry(0, Qos::AtLeastOnce, 1));
        let newest = limits(Overflow::DropNewest, 1);
        assert!(matches!(queue.offer(entry(1, Qos::AtLeastOnce, 1), &newest), Offered::Rejected(_)));
        let hard = limits(Overflow::Disconnect, 1);
        assert!(matches!(queue.offer(entry(1, Qos::AtLeastOnce, 1), &hard), Offered::Disconnect(_)));
        assert_eq!(numbers(&queue), [0]);
    }

    #[test]
    fn what_a_delivery_carries_besides_the_message_is_charged() {
        let bare = entry(0, Qos::AtMostOnce, 1);
        let ids: Arc<[NonZeroU32]> = (1..=1_000).filter_map(NonZeroU32::new).collect();
        let extra = Some(Box::new(Extra { subscription_ids: Some(ids), lease: None }));
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
        assert!(matches!(queue.offer(entry(0, Qos::AtLeastOnce, 5_000), &limits), Offered::Queued));
        assert!(matches!(queue.offer(entry(1, Qos::AtLeastOnce, 1), &limits), Offered::Rejected(_)));
        queue.pop();
        assert_eq!(queue.bytes(), 0);
    }
}
