//! A connection's subscriptions, and what of their deliveries is not acknowledged yet.
//!
//! The client knows a subscription by its `id` and a delivery by its `message-id`, the engine knows them by a number of
//! the connection's and a packet identifier, which is used again; the tables between the two are here.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU16;

use noctule_core::consumer::ConsumerId;

use crate::address::Token;
use crate::fields::digits;

/// How the deliveries of a subscription are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckMode {
    /// Not at all.
    Auto,
    /// Each with all before it.
    Client,
    /// Each by itself.
    ClientIndividual,
}

/// One subscription.
#[derive(Debug)]
pub(super) struct Consumer {
    /// The engine's name for it.
    pub(super) id: ConsumerId,
    /// The client's name for it: `id`, or in 1.0 the destination where there is none.
    pub(super) name: Box<str>,
    /// Whether the client gave it that name.
    pub(super) is_named: bool,
    /// How its deliveries are acknowledged.
    pub(super) mode: AckMode,
    /// The durable subscription that it consumes from.
    pub(super) durable: Option<Box<str>>,
    /// Where it stands.
    pub(super) state: State,
    /// Its destination, where that will be asked for: of one that browses, and in 1.0 of one with an `id`.
    pub(super) destination: Option<Box<str>>,
    /// Its deliveries.
    pub(super) deliveries: Deliveries,
}

impl Consumer {
    fn called(&self, by: By) -> Option<&str> {
        match by {
            By::Name => Some(&self.name),
            By::Durable => self.durable.as_deref(),
            By::Destination => self.destination.as_deref(),
        }
    }
}

/// What a client may call a subscription by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// [`Consumer::name`]; no two have the same.
    Name,
    /// [`Consumer::durable`]; no two have the same.
    Durable,
    /// [`Consumer::destination`].
    Destination,
}

impl By {
    const ALL: [Self; 3] = [Self::Name, Self::Durable, Self::Destination];
}

/// Who is called so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody.
    Nobody,
    /// This one alone.
    One(ConsumerId),
    /// More than one.
    Several,
}

impl Found {
    /// The one, if there is no other.
    pub(super) fn one(self) -> Option<ConsumerId> {
        match self {
            Self::One(id) => Some(id),
            Self::Nobody | Self::Several => None,
        }
    }

    fn of(mut ids: impl Iterator<Item = ConsumerId>) -> Self {
        match (ids.next(), ids.next()) {
            (None, _) => Self::Nobody,
            (Some(id), None) => Self::One(id),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It gets messages.
    Live,
    /// It has shown all that there was to browse; only the client has not unsubscribed.
    Shown,
    /// The client has unsubscribed; what was delivered before can still be acknowledged.
    Cancelled,
}

/// So many subscriptions are looked at one by one; a connection with more of them has an index.
const FEW: usize = 16;

/// All that those are called which are not cancelled. In order, not hashed: a client that has chosen names of one length
/// that differ in their last letters gains nothing by it, and a secret to hash them with would have to come from outside.
type Index = BTreeSet<(By, Box<str>, ConsumerId)>;

/// The subscriptions of a connection, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    list: Vec<Consumer>,
    last: u32,
    /// Boxed, for nearly nobody has it.
    index: Option<Box<Index>>,
}

/// A `message-id`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageId {
    /// Whose delivery.
    pub(super) consumer: ConsumerId,
    /// Which of its deliveries, counted from 1.
    pub(super) sequence: u64,
}

impl MessageId {
    /// Appends the text, whose letters are `[A-Za-z0-9@_-]`. With the token no other connection has the same.
    pub(super) fn write(self, token: &Token, out: &mut String) {
        use std::fmt::Write;
        // Writing into a string never fails.
        let _ = write!(out, "{}-{}@{}", self.consumer.0, self.sequence, token.as_str());
    }

    /// Takes a text apart that this connection may have written.
    pub(super) fn read(text: &str, token: &Token) -> Option<Self> {
        let (consumer, sequence) = text.strip_suffix(token.as_str())?.strip_suffix('@')?.split_once('-')?;
        // One text for one delivery: "01" is none of ours.
        let number = |text: &str| digits(text).filter(|_| !text.starts_with('0'));
        let consumer = ConsumerId(u32::try_from(number(consumer)?).ok()?);
        Some(Self { consumer, sequence: number(sequence)? })
    }
}

impl Consumers {
    /// How many there are, cancelled ones with open deliveries among them.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// For how many there is room.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.list.capacity()
    }

    /// The engine's name for the next one; `None` if there are no more names.
    pub(super) fn next_id(&self) -> Option<ConsumerId> {
        self.last.checked_add(1).map(ConsumerId)
    }

    /// Takes a new one in, by the name that [`Consumers::next_id`] gave.
    pub(super) fn push(&mut self, consumer: Consumer) {
        if self.list.len() < 4 {
            // Nearly every connection has one or two, and there are many connections.
            self.list.reserve_exact(1);
        }
        self.last = consumer.id.0;
        if let Some(index) = &mut self.index {
            index.extend(entries(&consumer));
        }
        self.list.push(consumer);
        if self.index.is_none() && self.list.len() > FEW {
            let live = self.list.iter().filter(|consumer| consumer.state != State::Cancelled);
            self.index = Some(Box::new(live.flat_map(entries).collect()));
        }
    }

    /// Those that the client calls so, of those that are not cancelled.
    pub(super) fn find(&self, by: By, text: &str) -> Found {
        if let Some(index) = &self.index {
            let from = (by, text.into(), ConsumerId(0));
            let found = index.range(from..).take_while(|(kind, name, _)| *kind == by && **name == *text);
            return Found::of(found.map(|(.., id)| *id));
        }
        let live = self.list.iter().filter(|consumer| consumer.state != State::Cancelled);
        Found::of(live.filter(|consumer| consumer.called(by) == Some(text)).map(|consumer| consumer.id))
    }

    /// The client has unsubscribed from one; what is open of it stays.
    pub(super) fn cancel(&mut self, id: ConsumerId) {
        let Some(consumer) = self.place(id).and_then(|place| self.list.get_mut(place)) else { return };
        consumer.state = State::Cancelled;
        if let Some(index) = &mut self.index {
            for entry in entries(consumer) {
                index.remove(&entry);
            }
        }
        self.forget_if_over(id);
    }

    /// The one that the engine calls so.
    pub(super) fn get(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        let place = self.place(id)?;
        self.list.get_mut(place)
    }

    /// Whether there ever was one of that name.
    pub(super) fn was_there(&self, id: ConsumerId) -> bool {
        (1..=self.last).contains(&id.0)
    }

    /// Lets go of one that is cancelled and has nothing open.
    pub(super) fn forget_if_over(&mut self, id: ConsumerId) {
        if let Some(place) = self.place(id)
            && let Some(consumer) = self.list.get(place)
            && consumer.state == State::Cancelled
            && consumer.deliveries.is_empty()
        {
            self.list.remove(place);
            // Not at FEW, lest one that comes and goes have it made anew each time.
            if self.list.len() <= FEW / 2 {
                self.index = None;
            }
        }
    }

    fn place(&self, id: ConsumerId) -> Option<usize> {
        self.list.binary_search_by_key(&id, |consumer| consumer.id).ok()
    }
}

/// What the index has of a subscription.
fn entries(consumer: &Consumer) -> impl Iterator<Item = (By, Box<str>, ConsumerId)> {
    By::ALL.into_iter().filter_map(|by| Some((by, consumer.called(by)?.into(), consumer.id)))
}

/// The deliveries of one subscription that can still be acknowledged, in order.
///
/// As many as the window allows, which the engine keeps; those that are settled out of order stay as gaps until they
/// outnumber the others, so that settling costs the same however many there are.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    entries: VecDeque<Entry>,
    /// How many of the entries are gaps.
    gaps: usize,
    /// How many deliveries there were: the sequence number of the last.
    issued: u64,
}

/// A sequence number (47 bits: four years of a million a second), whether a transaction has it, and a packet identifier
/// (16 bits), which is 0 once it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const ENLISTED: u64 = 1 << 16;

    fn new(sequence: u64, packet_id: NonZeroU16) -> Self {
        Self(sequence << 17 | u64::from(packet_id.get()))
    }

    fn sequence(self) -> u64 {
        self.0 >> 17
    }

    fn packet_id(self) -> Option<NonZeroU16> {
        NonZeroU16::new(self.0 as u16)
    }

    fn is_enlisted(self) -> bool {
        self.0 & Self::ENLISTED != 0
    }

    /// The packet identifier, unless it is settled or a transaction has it.
    fn open(self) -> Option<NonZeroU16> {
        if self.is_enlisted() { None } else { self.packet_id() }
    }

    fn settle(&mut self) {
        self.0 &= !(Self::ENLISTED | u64::from(u16::MAX));
    }
}

/// What one acknowledgement takes out of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The one delivery.
    One,
    /// It and all before it.
    Through,
}

impl Deliveries {
    /// The next delivery's sequence number; it can be acknowledged if it has a packet identifier.
    pub(super) fn issue(&mut self, packet_id: Option<NonZeroU16>) -> u64 {
        self.issued += 1;
        if let Some(packet_id) = packet_id {
            self.entries.push_back(Entry::new(self.issued, packet_id));
        }
        self.issued
    }

    /// Whether there has been such a delivery.
    pub(super) fn was_issued(&self, sequence: u64) -> bool {
        (1..=self.issued).contains(&sequence)
    }

    /// Whether nothing can be acknowledged any more, not even if a transaction is aborted.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == self.gaps
    }

    /// Settles a delivery, if it is open: `taken` gets the packet identifiers, oldest first.
    pub(super) fn settle(&mut self, sequence: u64, reach: Reach, taken: &mut Vec<NonZeroU16>) {
        let Some(last) = self.open(sequence) else { return };
        for place in range(last, reach) {
            if let Some(entry) = self.entries.get_mut(place)
                && let Some(packet_id) = entry.open()
            {
                taken.push(packet_id);
                entry.settle();
                self.gaps += 1;
            }
        }
        self.tidy();
    }

    /// Keeps a delivery for a transaction, if it is open: `taken` gets sequence numbers and packet identifiers.
    pub(super) fn enlist(&mut self, sequence: u64, reach: Reach, taken: &mut Vec<(u64, NonZeroU16)>) {
        let Some(last) = self.open(sequence) else { return };
        for place in range(last, reach) {
            if let Some(entry) = self.entries.get_mut(place)
                && let Some(packet_id) = entry.open()
            {
                taken.push((entry.sequence(), packet_id));
                entry.0 |= Entry::ENLISTED;
            }
        }
    }

    /// Ends a transaction's hold of a delivery: it is settled, or open again.
    pub(super) fn release(&mut self, sequence: u64, is_settled: bool) {
        let Some(entry) = self.find(sequence).and_then(|place| self.entries.get_mut(place)) else { return };
        if is_settled {
            entry.settle();
            self.gaps += 1;
            self.tidy();
        } else {
            entry.0 &= !Entry::ENLISTED;
        }
    }

    fn open(&self, sequence: u64) -> Option<usize> {
        let place = self.find(sequence)?;
        self.entries.get(place)?.open().map(|_| place)
    }

    fn find(&self, sequence: u64) -> Option<usize> {
        // Mostly there are no gaps, and the oldest is asked for.
        if self.entries.front()?.sequence() == sequence {
            return Some(0);
        }
        self.entries.binary_search_by_key(&sequence, |entry| entry.sequence()).ok()
    }

    /// Drops gaps: those at the front at once, the others when they are more than what is between them.
    fn tidy(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.packet_id().is_none()) {
            self.entries.pop_front();
            self.gaps = self.gaps.saturating_sub(1);
        }
        if self.gaps > self.entries.len() / 2 {
            self.entries.retain(|entry| entry.packet_id().is_some());
            self.gaps = 0;
        }
        if self.entries.is_empty() && self.entries.capacity() > 16 {
            self.entries = VecDeque::new();
        }
    }
}

fn range(last: usize, reach: Reach) -> std::ops::RangeInclusive<usize> {
    match reach {
        Reach::One => last..=last,
        Reach::Through => 0..=last,
    }
}

#[cfg(test)]
mod tests;
