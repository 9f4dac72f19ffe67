//! What waits in a group, in the order in which it is to leave.
//!
//! A message keeps its [`Rank`] for life: priority first, then arrival. So what comes back goes where it was. Taking a
//! message out of the middle leaves its place empty, which costs nothing, and what comes back fills it again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::Message;
use crate::selector::Selector;

/// Empty places that are not worth a clean-up.
const VOID_IGNORED: usize = 32;

/// Places for which an empty group keeps room.
const ROOM_KEPT: usize = 64;

/// A message's place in its group: lower leaves earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64);

impl Rank {
    /// Below every other.
    pub(super) const FIRST: Self = Self(0);

    const ARRIVAL_BITS: u32 = 60;

    /// Of `priority` 0 to 9 and the `arrival`-th message; more than 2⁶⁰ never arrive.
    pub(super) fn new(priority: u8, arrival: u64) -> Self {
        let level = u64::from(9_u8.saturating_sub(priority));
        Self(level << Self::ARRIVAL_BITS | arrival)
    }

    fn level(self) -> u8 {
        (self.0 >> Self::ARRIVAL_BITS) as u8
    }

    /// The lowest above this one.
    pub(super) fn after(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A message of a group, and what the group knows of it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) message: Arc<Message>,
    /// Monotonic ms at which it leaves: by its own expiry or the queue's, whichever comes first.
    pub(super) expires_ms: u64,
    /// Its `JMSXGroupID`, hashed; 0 for none.
    pub(super) sticky: u64,
    /// How often it was delivered and came back.
    pub(super) deliveries: u32,
    /// Which of the group's selectors have been asked, a bit for each, and which of them want it.
    judged: u32,
    wanted: u32,
    /// Whether it is the last of its `JMSXGroupID`.
    pub(super) closes: bool,
}

impl Item {
    pub(super) fn new(message: Arc<Message>, expires_ms: u64, deliveries: u32) -> Self {
        Self { message, expires_ms, sticky: 0, deliveries, judged: 0, wanted: 0, closes: false }
    }

    /// Whether the selector wants it. One with a bit of its own is asked once, one without (0) each time; `asked`
    /// counts.
    pub(super) fn is_wanted(&mut self, selector: &Selector, bit: u32, asked: &mut u64) -> bool {
        if self.judged & bit == 0 {
            *asked += 1;
            let wanted = selector.matches(&self.message);
            self.judged |= bit;
            self.wanted = if wanted { self.wanted | bit } else { self.wanted & !bit };
            return wanted;
        }
        self.wanted & bit != 0
    }

    /// The bit stands for another selector from now on.
    pub(super) fn forget(&mut self, bit: u32) {
        self.judged &= !bit;
    }
}

#[derive(Debug)]
struct Place {
    rank: Rank,
    item: Option<Item>,
}

/// The messages of one priority.
#[derive(Debug)]
struct Level {
    level: u8,
    /// Sorted by rank; the first is never empty.
    places: VecDeque<Place>,
    /// How many are not empty.
    held: usize,
}

impl Level {
    /// Where `rank` stands, or belongs.
    fn find(&self, rank: Rank) -> Result<usize, usize> {
        match (self.places.front(), self.places.back()) {
            (Some(first), _) if first.rank == rank => Ok(0),
            (_, Some(last)) if last.rank < rank => Err(self.places.len()),
            _ => self.places.binary_search_by_key(&rank, |place| place.rank),
        }
    }

    fn put(&mut self, rank: Rank, item: Item) {
        self.held += 1;
        // Nearly always it is the last.
        if self.places.back().is_none_or(|last| last.rank < rank) {
            return self.places.push_back(Place { rank, item: Some(item) });
        }
        match self.find(rank) {
            Ok(at) => {
                if let Some(place) = self.places.get_mut(at) {
                    place.item = Some(item);
                }
            }
            Err(at) => self.places.insert(at, Place { rank, item: Some(item) }),
        }
    }

    fn take(&mut self, rank: Rank) -> Option<Item> {
        // Nearly always it is the first.
        if self.places.front().is_some_and(|place| place.rank == rank) {
            let item = self.places.pop_front()?.item?;
            self.held -= 1;
            self.tidy();
            return Some(item);
        }
        let at = self.find(rank).ok()?;
        let item = self.places.get_mut(at)?.item.take()?;
        self.held -= 1;
        self.tidy();
        Some(item)
    }

    fn tidy(&mut self) {
        while self.places.front().is_some_and(|place| place.item.is_none()) {
            self.places.pop_front();
        }
        if self.places.len() > 2 * self.held + VOID_IGNORED {
            self.places.retain(|place| place.item.is_some());
        }
    }

    fn from(&self, rank: Rank) -> Option<Rank> {
        let start = self.find(rank).unwrap_or_else(|at| at);
        self.places.range(start..).find(|place| place.item.is_some()).map(|place| place.rank)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Those that are not empty, highest priority first: nearly always one.
    levels: Vec<Level>,
    len: usize,
    bytes: usize,
    /// No later than the first expiry among them.
    next_expiry_ms: Option<u64>,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes they are charged with.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// No later than the first expiry among them; `u64::MAX` if none expires.
    pub(super) fn next_expiry_ms(&self) -> u64 {
        self.next_expiry_ms.unwrap_or(u64::MAX)
    }

    fn note_expiry(&mut self, expires_ms: u64) {
        if expires_ms < self.next_expiry_ms() {
            self.next_expiry_ms = Some(expires_ms);
        }
    }

    pub(super) fn put(&mut self, rank: Rank, item: Item) {
        self.len += 1;
        self.bytes += item.message.cost();
        self.note_expiry(item.expires_ms);
        let number = rank.level();
        if let [level] = &mut *self.levels
            && level.level == number
        {
            return level.put(rank, item);
        }
        let at = self.levels.partition_point(|level| level.level < number);
        if self.levels.get(at).is_none_or(|level| level.level != number) {
            self.levels.insert(at, Level { level: number, places: VecDeque::new(), held: 0 });
        }
        if let Some(level) = self.levels.get_mut(at) {
            level.put(rank, item);
        }
    }

    fn place_of(&self, rank: Rank) -> Option<usize> {
        self.levels.iter().position(|level| level.level == rank.level())
    }

    pub(super) fn take(&mut self, rank: Rank) -> Option<Item> {
        let at = self.place_of(rank)?;
        let is_only = self.levels.len() == 1;
        let level = self.levels.get_mut(at)?;
        let item = level.take(rank)?;
        // The memory of a burst is not kept; a queue that runs empty at every message keeps a little.
        if level.held == 0 && (!is_only || level.places.capacity() > ROOM_KEPT) {
            self.levels.remove(at);
        }
        self.len -= 1;
        self.bytes -= item.message.cost();
        Some(item)
    }

    pub(super) fn get_mut(&mut self, rank: Rank) -> Option<&mut Item> {
        let at = self.place_of(rank)?;
        let level = self.levels.get_mut(at)?;
        let place = level.find(rank).ok()?;
        level.places.get_mut(place)?.item.as_mut()
    }

    /// The first that waits.
    pub(super) fn first_item(&self) -> Option<(Rank, &Item)> {
        let place = self.levels.iter().find_map(|level| level.places.front())?;
        Some((place.rank, place.item.as_ref()?))
    }

    /// The first that waits, from `rank` on.
    pub(super) fn from(&self, rank: Rank) -> Option<Rank> {
        self.levels.iter().filter(|level| level.level >= rank.level()).find_map(|level| level.from(rank))
    }

    /// The one that gives way to a newer one: the oldest of the lowest priority.
    pub(super) fn last_in_line(&self) -> Option<Rank> {
        self.levels.iter().rev().find_map(|level| level.places.front()).map(|place| place.rank)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.levels.iter().flat_map(|level| &level.places).filter_map(|place| place.item.as_ref())
    }

    /// Gives every message to `change`, in order; what they expire at and cost is asked again.
    pub(super) fn change(&mut self, mut change: impl FnMut(&mut Item)) {
        let mut bytes = 0;
        let items = self.levels.iter_mut().flat_map(|level| &mut level.places);
        for item in items.filter_map(|place| place.item.as_mut()) {
            change(item);
            bytes += item.message.cost();
        }
        self.bytes = bytes;
    }

    /// Takes out, in order, those that `goes` says yes of. Looks at all of them.
    pub(super) fn take_where(&mut self, mut goes: impl FnMut(&mut Item) -> bool) -> Vec<Item> {
        let mut gone = Vec::new();
        let (mut next_expiry_ms, mut bytes) = (None, 0);
        for level in &mut self.levels {
            for place in &mut level.places {
                if let Some(item) = place.item.take_if(|item| goes(item)) {
                    level.held -= 1;
                    gone.push(item);
                } else if let Some(item) = &place.item {
                    bytes += item.message.cost();
                    if item.expires_ms < next_expiry_ms.unwrap_or(u64::MAX) {
                        next_expiry_ms = Some(item.expires_ms);
                    }
                }
            }
            level.tidy();
        }
        self.levels.retain(|level| level.held > 0);
        self.len -= gone.len();
        (self.bytes, self.next_expiry_ms) = (bytes, next_expiry_ms);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::message::{Fields, Publish};
    use crate::topic::TopicName;

    fn item() -> Item {
        let publish = Publish {
            topic: TopicName::from_validated("t"),
            fields: Fields::default(),
            payload: b"",
            qos: crate::id::Qos::AtLeastOnce,
            retain: false,
            dup: false,
            packet_id: None,
            expiry_s: None,
        };
        Item::new(Message::new(&publish, SessionId::NOBODY, 0), u64::MAX, 0)
    }

    #[test]
    fn what_is_taken_out_of_the_middle_leaves_few_places_behind() {
        let mut backlog = Backlog::default();
        (0..10_000).for_each(|arrival| backlog.put(Rank::new(4, arrival), item()));
        for arrival in 1..10_000 {
            backlog.take(Rank::new(4, arrival)).unwrap();
            let (held, places) = (backlog.len(), backlog.levels[0].places.len());
            assert!(places <= 2 * held + VOID_IGNORED, "{places} places for {held}");
        }
    }

    #[test]
    fn an_empty_backlog_keeps_little_memory() {
        let mut backlog = Backlog::default();
        for priority in 0..10 {
            (0..1_000).for_each(|arrival| backlog.put(Rank::new(priority, arrival), item()));
        }
        while let Some((rank, _)) = backlog.first_item() {
            backlog.take(rank).unwrap();
        }
        let places: usize = backlog.levels.iter().map(|level| level.places.capacity()).sum();
        assert!(backlog.levels.len() <= 1 && places <= ROOM_KEPT, "{places}");
        // One message after the other, as usual: nothing is allocated anew.
        backlog.put(Rank::new(4, 1), item());
        let before = backlog.levels[0].places.capacity();
        backlog.take(Rank::new(4, 1)).unwrap();
        assert_eq!(backlog.levels[0].places.capacity(), before);
    }
}
