//! What of the log is alive, in memory: where each message stands and who has not acknowledged it, and what each chunk
//! holds.
//!
//! Record numbers rise, so the index is a sorted list that grows at one end and thins out at the other: 32 bytes a
//! message with one recipient, and a search of a list is quick enough. What was settled stays as a gap until half of the
//! list is gaps.

use std::cmp::Ordering;
use std::collections::VecDeque;

use slab::Slab;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the chunk, or [`Place::UNWRITTEN`].
    pub(super) chunk: u64,
    /// In the chunk, bytes.
    pub(super) offset: u32,
    /// Of the record, bytes; 0 until it is written.
    pub(super) len: u32,
}

impl Place {
    /// No chunk: the message belongs to the commit that is being put together.
    pub(super) const UNWRITTEN: u64 = u64::MAX;
}

/// Who has not acknowledged a message.
#[derive(Clone, Copy, Debug)]
enum Left {
    Nobody,
    One(u64),
    /// A place in [`Index::many`].
    Many(usize),
}

/// [`Left`] in 8 bytes: 0; or the session and a 1; or the place and a 0, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed(u64);

impl Packed {
    const NOBODY: Self = Self(0);

    fn one(session: u64) -> Option<Self> {
        (session >> 63 == 0).then_some(Self(session << 1 | 1))
    }

    fn many(place: usize) -> Self {
        Self((place as u64 + 1) << 1)
    }

    fn left(self) -> Left {
        match self.0 {
            0 => Left::Nobody,
            one if one & 1 == 1 => Left::One(one >> 1),
            many => Left::Many((many >> 1) as usize - 1),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    record: u64,
    left: Packed,
    place: Place,
}

/// What an acknowledgement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Nothing: it was not a recipient.
    NoRecipient,
    /// Others are left.
    Fewer(Place),
    /// The message is nobody's any more, and no longer in the index.
    Done(Place),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Sorted by record.
    entries: VecDeque<Entry>,
    /// How many of them are nobody's.
    gaps: usize,
    /// Recipients, sorted, of messages that have several.
    many: Slab<Vec<u64>>,
}

/// Gaps that are no reason to tidy up.
const FEW_GAPS: usize = 1_024;

impl Index {
    /// Messages.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.gaps
    }

    fn find(&self, record: u64) -> Option<usize> {
        let at = self.search(record).ok()?;
        self.entries.get(at).is_some_and(|entry| entry.left != Packed::NOBODY).then_some(at)
    }

    /// Where the record stands, or would stand. Numbers that rise by one at least bound the place from both ends, and
    /// mostly to a single one: nearly every number is a message's.
    fn search(&self, record: u64) -> Result<usize, usize> {
        let (Some(first), Some(last)) = (self.entries.front(), self.entries.back()) else { return Err(0) };
        let len = self.entries.len();
        if record < first.record {
            return Err(0);
        }
        if record > last.record {
            return Err(len);
        }
        // No entry lies farther from either end than its number does.
        let mut low = len.saturating_sub(distance(record, last.record) + 1);
        let mut high = len.min(distance(first.record, record) + 1);
        while low < high {
            let middle = low.midpoint(high);
            match self.entries.get(middle).map(|entry| entry.record.cmp(&record)) {
                Some(Ordering::Less) => low = middle + 1,
                Some(Ordering::Equal) => return Ok(middle),
                Some(Ordering::Greater) | None => high = middle,
            }
        }
        Err(low)
    }

    /// Enters a message for `sessions`, in any order; of several messages with one number the last counts. Returns where
    /// the one before it stood.
    pub(super) fn insert(&mut self, record: u64, sessions: &mut Vec<u64>, place: Place) -> Option<Place> {
        let at = match self.entries.back() {
            Some(last) if last.record >= record => self.search(record),
            _ => Err(self.entries.len()),
        };
        let mut before = None;
        let at = match at {
            Ok(at) => {
                before = self.vacate(at);
                at
            }
            Err(at) => {
                self.entries.insert(at, Entry { record, left: Packed::NOBODY, place });
                self.gaps += 1;
                at
            }
        };
        sessions.sort_unstable();
        sessions.dedup();
        let left = self.pack(sessions);
        if left != Packed::NOBODY
            && let Some(entry) = self.entries.get_mut(at)
        {
            *entry = Entry { record, left, place };
            self.gaps -= 1;
        }
        before
    }

    fn keep(&mut self, sessions: &[u64]) -> Packed {
        Packed::many(self.many.insert(sessions.to_vec()))
    }

    /// Enters a message without looking for its place or for another with its number; [`Index::order`] has to follow
    /// before anything else is asked.
    pub(super) fn append(&mut self, record: u64, sessions: &mut Vec<u64>, place: Place) {
        sessions.sort_unstable();
        sessions.dedup();
        let left = self.pack(sessions);
        if left != Packed::NOBODY {
            self.entries.push_back(Entry { record, left, place });
        }
    }

    /// Sorts what was appended; of several messages with one number the one that stands last in the log counts.
    pub(super) fn order(&mut self) {
        let entries = self.entries.make_contiguous();
        entries.sort_unstable_by_key(|entry| (entry.record, entry.place.chunk, entry.place.offset));
        for at in 1..self.entries.len() {
            let record = |at: usize| self.entries.get(at).map(|entry| entry.record);
            if record(at) == record(at - 1) {
                self.vacate(at - 1);
            }
        }
        self.tidy();
    }

    /// Where each message stands.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.entries.iter().filter(|entry| entry.left != Packed::NOBODY).map(|entry| entry.place)
    }

    fn pack(&mut self, sessions: &[u64]) -> Packed {
        match *sessions {
            [] => Packed::NOBODY,
            [one] => Packed::one(one).unwrap_or_else(|| self.keep(sessions)),
            _ => self.keep(sessions),
        }
    }

    /// Makes a gap of an entry.
    fn vacate(&mut self, at: usize) -> Option<Place> {
        let entry = self.entries.get_mut(at)?;
        let left = entry.left.left();
        entry.left = Packed::NOBODY;
        let place = entry.place;
        match left {
            Left::Nobody => return None,
            Left::One(_) => {}
            Left::Many(key) => drop(self.many.try_remove(key)),
        }
        self.gaps += 1;
        Some(place)
    }

    /// A recipient is done with a message.
    pub(super) fn settle(&mut self, record: u64, session: u64) -> Settled {
        let Some(at) = self.find(record) else { return Settled::NoRecipient };
        let Some(entry) = self.entries.get_mut(at) else { return Settled::NoRecipient };
        match entry.left.left() {
            Left::One(one) if one == session => {}
            Left::Many(key) => {
                let Some(sessions) = self.many.get_mut(key) else { return Settled::NoRecipient };
                let Ok(found) = sessions.binary_search(&session) else { return Settled::NoRecipient };
                sessions.remove(found);
                match **sessions {
                    [] => {}
                    [one] => {
                        if let Some(packed) = Packed::one(one) {
                            entry.left = packed;
                            self.many.remove(key);
                        }
                        return Settled::Fewer(entry.place);
                    }
                    _ => return Settled::Fewer(entry.place),
                }
            }
            Left::Nobody | Left::One(_) => return Settled::NoRecipient,
        }
        self.remove_at(at).map_or(Settled::NoRecipient, Settled::Done)
    }

    /// Forgets a message; returns where it stood.
    pub(super) fn remove(&mut self, record: u64) -> Option<Place> {
        let at = self.find(record)?;
        self.remove_at(at)
    }

    fn remove_at(&mut self, at: usize) -> Option<Place> {
        let place = self.vacate(at);
        while self.entries.front().is_some_and(|entry| entry.left == Packed::NOBODY) {
            self.entries.pop_front();
            self.gaps -= 1;
        }
        if self.gaps > FEW_GAPS.max(self.entries.len() / 2) {
            self.tidy();
        }
        place
    }

    /// Gives the gaps' memory back.
    pub(super) fn tidy(&mut self) {
        self.entries.retain(|entry| entry.left != Packed::NOBODY);
        self.gaps = 0;
        if self.entries.capacity() > 4 * self.entries.len().max(FEW_GAPS) {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// Where a message stands.
    pub(super) fn place(&self, record: u64) -> Option<Place> {
        self.find(record).and_then(|at| self.entries.get(at)).map(|entry| entry.place)
    }

    /// Notes where a message stands now; returns where it stood.
    pub(super) fn moved(&mut self, record: u64, place: Place) -> Option<Place> {
        let at = self.find(record)?;
        let entry = self.entries.get_mut(at)?;
        Some(std::mem::replace(&mut entry.place, place))
    }

    /// Whether a session has still to acknowledge a message.
    pub(super) fn waits(&self, record: u64, session: u64) -> bool {
        let Some(entry) = self.find(record).and_then(|at| self.entries.get(at)) else { return false };
        match entry.left.left() {
            Left::Nobody => false,
            Left::One(one) => one == session,
            Left::Many(key) => self.many.get(key).is_some_and(|all| all.binary_search(&session).is_ok()),
        }
    }

    /// The messages that stand in one chunk. Looks at all there are.
    pub(super) fn in_chunk(&self, chunk: u64) -> Vec<u64> {
        let there = |entry: &&Entry| entry.left != Packed::NOBODY && entry.place.chunk == chunk;
        self.entries.iter().filter(there).map(|entry| entry.record).collect()
    }
}

/// How many numbers lie from one to the other, as far as it matters for a place in memory.
fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to - from).unwrap_or(usize::MAX - 1)
}

/// A chunk of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkState {
    pub(super) number: u64,
    /// Bytes of its value.
    pub(super) bytes: u64,
    /// Messages of it in the index.
    pub(super) live: u64,
}

/// The chunks on disk, oldest first.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    all: VecDeque<ChunkState>,
    stored: u64,
    live: u64,
    /// The number of the next one; numbers are never used twice.
    pub(super) next: u64,
}

impl Chunks {
    /// Bytes of all values.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.stored
    }

    /// Bytes of messages in the index.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn oldest(&self) -> Option<ChunkState> {
        self.all.front().copied()
    }

    /// Enters a chunk newer than all others.
    pub(super) fn push(&mut self, number: u64, bytes: usize) {
        self.stored += bytes as u64;
        self.next = number.saturating_add(1);
        self.all.push_back(ChunkState { number, bytes: bytes as u64, live: 0 });
    }

    /// Forgets the oldest.
    pub(super) fn drop_oldest(&mut self) {
        if let Some(chunk) = self.all.pop_front() {
            self.stored -= chunk.bytes;
        }
    }

    fn get(&mut self, number: u64) -> Option<&mut ChunkState> {
        // Without damage there is no gap between the numbers.
        let first = self.all.front()?.number;
        let guess = usize::try_from(number.checked_sub(first)?).ok()?;
        let at = match self.all.get(guess) {
            Some(chunk) if chunk.number == number => guess,
            _ => self.all.binary_search_by_key(&number, |chunk| chunk.number).ok()?,
        };
        self.all.get_mut(at)
    }

    /// A message stands in a chunk now.
    pub(super) fn settle_in(&mut self, place: Place) {
        if let Some(chunk) = self.get(place.chunk) {
            chunk.live += 1;
            self.live += u64::from(place.len);
        }
    }

    /// A message that stood in a chunk is nobody's any more, or elsewhere.
    pub(super) fn leave(&mut self, place: Place) {
        if let Some(chunk) = self.get(place.chunk) {
            chunk.live = chunk.live.saturating_sub(1);
            self.live = self.live.saturating_sub(u64::from(place.len));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn place(chunk: u64) -> Place {
        Place { chunk, offset: 0, len: 10 }
    }

    #[test]
    fn a_message_with_one_recipient_takes_32_bytes() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn the_last_recipient_ends_a_message() {
        let mut index = Index::default();
        assert_eq!(index.insert(5, &mut vec![3, 1, 2, 1], place(9)), None);
        assert_eq!(index.settle(5, 7), Settled::NoRecipient);
        assert_eq!(index.settle(4, 1), Settled::NoRecipient);
        assert_eq!(index.settle(5, 1), Settled::Fewer(place(9)));
        assert_eq!(index.settle(5, 1), Settled::NoRecipient);
        assert_eq!(index.settle(5, 3), Settled::Fewer(place(9)));
        assert!(index.waits(5, 2) && !index.waits(5, 3));
        assert!(index.many.is_empty(), "one is kept in place");
        assert_eq!(index.settle(5, 2), Settled::Done(place(9)));
        assert_eq!((index.len(), index.place(5)), (0, None));
        index.insert(6, &mut vec![], place(1));
        assert_eq!((index.len(), index.place(6)), (0, None));
    }

    #[test]
    fn numbers_of_any_size_are_told_apart() {
        let mut index = Index::default();
        let extremes = [0, 1, u64::MAX >> 1, (u64::MAX >> 1) + 1, u64::MAX];
        for (record, &session) in extremes.iter().enumerate() {
            index.insert(record as u64, &mut vec![session], place(1));
        }
        for (record, &session) in extremes.iter().enumerate() {
            for &other in &extremes {
                assert_eq!(index.waits(record as u64, other), other == session);
            }
            assert_eq!(index.settle(record as u64, session), Settled::Done(place(1)));
        }
        assert!(index.many.is_empty());
    }

    /// A small generator for repeatable tests.
    fn dice(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    #[test]
    fn it_agrees_with_a_plain_map() {
        for seed in 0..20 {
            let mut state = seed;
            let mut index = Index::default();
            let mut model: BTreeMap<u64, (BTreeSet<u64>, Place)> = BTreeMap::new();
            for step in 0..5_000_u64 {
                let record = (step / 2).saturating_sub(dice(&mut state) % 8);
                if dice(&mut state).is_multiple_of(2) {
                    let sessions: Vec<_> = (0..dice(&mut state) % 4).map(|_| dice(&mut state) % 5).collect();
                    let place = place(step);
                    let before = model.remove(&record).map(|(_, place)| place);
                    assert_eq!(index.insert(record, &mut sessions.clone(), place), before);
                    if !sessions.is_empty() {
                        model.insert(record, (sessions.into_iter().collect(), place));
                    }
                } else {
                    let old = record.saturating_sub(dice(&mut state) % 2_000);
                    let session = dice(&mut state) % 5;
                    let (waited, left) = match model.get_mut(&old) {
                        Some((left, place)) => (left.remove(&session), Some((left.len(), *place))),
                        None => (false, None),
                    };
                    let expected = match left.filter(|_| waited) {
                        Some((0, place)) => Settled::Done(place),
                        Some((_, place)) => Settled::Fewer(place),
                        None => Settled::NoRecipient,
                    };
                    if matches!(expected, Settled::Done(_)) {
                        model.remove(&old);
                    }
                    assert_eq!(index.settle(old, session), expected, "seed {seed}");
                }
                assert_eq!(index.len(), model.len());
            }
            for (&record, (left, place)) in &model {
                assert_eq!(index.place(record), Some(*place));
                assert!((0..5).all(|session| index.waits(record, session) == left.contains(&session)));
            }
            index.tidy();
            assert_eq!(index.entries.len(), model.len());
        }
    }

    #[test]
    fn what_is_appended_in_any_order_is_found_and_the_last_in_the_log_counts() {
        let mut index = Index::default();
        let stands = [(7, 1, 4), (9, 1, 2), (3, 2, 1), (7, 2, 3), (3, 1, 2), (8, 3, 0)];
        for (record, chunk, recipients) in stands {
            index.append(record, &mut (0..recipients).collect(), place(chunk));
        }
        index.order();
        let found = [3, 7, 8, 9].map(|record| index.place(record).map(|place| place.chunk));
        assert_eq!(found, [Some(2), Some(2), None, Some(1)]);
        assert_eq!((index.len(), index.many.len(), index.places().count()), (3, 2, 3));
        assert!(index.waits(7, 2) && !index.waits(7, 3));
    }

    #[test]
    fn a_long_life_leaves_no_memory_behind() {
        let mut index = Index::default();
        for record in 0..200_000 {
            index.insert(record, &mut vec![1], place(1));
            if !record.is_multiple_of(1_000) {
                index.settle(record, 1);
            }
        }
        assert_eq!(index.len(), 200);
        assert!(index.entries.len() < 4_000, "{} entries", index.entries.len());
    }

    #[test]
    fn chunks_count_what_they_hold() {
        let mut chunks = Chunks::default();
        for number in [4, 5, 90] {
            chunks.push(number, 100);
        }
        for number in [4, 90, 90, 7] {
            chunks.settle_in(place(number));
        }
        assert_eq!((chunks.stored_bytes(), chunks.live_bytes(), chunks.next), (300, 30, 91));
        chunks.leave(place(90));
        assert_eq!(chunks.oldest().unwrap().live, 1);
        chunks.leave(place(4));
        chunks.drop_oldest();
        assert_eq!((chunks.stored_bytes(), chunks.live_bytes(), chunks.len()), (200, 10, 2));
    }
}
