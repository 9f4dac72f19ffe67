//! A worker's memory of the matches of the topics it published last.
//!
//! Bounded in entries and in bytes, and small while the worker is idle. An entry holds as long as the generations that
//! it was made under; asking that takes two atomic loads and no lock.

use std::sync::Arc;

use crate::topic::TopicName;
use crate::trie::{Generations, ShardId, Tree};

use super::{MatchBuilder, MatchSet};

/// What a [`MatchCache`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Most topics; rounded up to a power of two, at least 16.
    pub max_entries: usize,
    /// Most bytes of topics and match sets, so that topics with thousands of subscribers can't fill the memory.
    pub max_bytes: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { max_entries: 2048, max_bytes: 2 << 20 }
    }
}

/// The matches of recent topics; one per worker, never shared.
#[derive(Debug)]
pub struct MatchCache {
    limits: CacheLimits,
    /// The hash of each entry's topic, in rows of [`Self::WAYS`]; apart from the entries, so that a row is half a
    /// cache line. 0 where there is no entry.
    hashes: Vec<[u64; Self::WAYS]>,
    entries: Vec<[Option<Entry>; Self::WAYS]>,
    bytes: usize,
    /// Counts the misses; tells which entry of a row was used last.
    clock: u32,
    /// Where giving back bytes goes on.
    hand: usize,
    builder: MatchBuilder,
    /// What was last looked up and is too large to keep.
    oversized: Arc<MatchSet>,
}

#[derive(Debug)]
struct Entry {
    topic: Box<str>,
    set: Arc<MatchSet>,
    generations: Generations,
    shard: ShardId,
    used: u32,
}

impl Entry {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.set.cost()
    }
}

impl MatchCache {
    const WAYS: usize = 4;
    const FIRST_ROWS: usize = 4;

    /// An empty cache; it grows to its limits as topics come.
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            hashes: Vec::new(),
            entries: Vec::new(),
            bytes: 0,
            clock: 0,
            hand: 0,
            builder: MatchBuilder::default(),
            oversized: Arc::default(),
        }
    }

    /// The matches of `topic` as of now: every subscription whose SUBACK has been sent counts. Always the same `tree`.
    pub fn lookup(&mut self, tree: &Tree, topic: TopicName<'_>) -> &Arc<MatchSet> {
        // 0 stands for no entry.
        let hash = tree.seed().hash(topic.as_str()) | 1;
        match self.find(tree, topic, hash) {
            Some((row, way)) => self.kept(row, way),
            None => self.look_up_anew(tree, topic, hash, |builder| tree.match_into(&topic, builder)),
        }
    }

    /// Bytes in use by topics and match sets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many topics it has room for now.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.hashes.len() * Self::WAYS
    }

    fn find(&mut self, tree: &Tree, topic: TopicName<'_>, hash: u64) -> Option<(usize, usize)> {
        let row = self.row_of(hash);
        let hashes = self.hashes.get(row)?;
        let entries = self.entries.get_mut(row)?;
        for (way, (&known, entry)) in hashes.iter().zip(entries).enumerate() {
            if known == hash
                && let Some(entry) = entry
                && *entry.topic == *topic.as_str()
            {
                if tree.generations(entry.shard) != entry.generations {
                    return None;
                }
                entry.used = self.clock;
                return Some((row, way));
            }
        }
        None
    }

    fn kept(&self, row: usize, way: usize) -> &Arc<MatchSet> {
        match self.entries.get(row).and_then(|row| row.get(way)) {
            Some(Some(entry)) => &entry.set,
            _ => &self.oversized,
        }
    }

    /// The walk is an argument so that a test can let something happen during it.
    #[cold]
    fn look_up_anew(
        &mut self,
        tree: &Tree,
        topic: TopicName<'_>,
        hash: u64,
        walk: impl FnOnce(&mut MatchBuilder),
    ) -> &Arc<MatchSet> {
        let shard = tree.shard_of(&topic);
        // Before the walk: see `Tree::generations`.
        let generations = tree.generations(shard);
        walk(&mut self.builder);
        let set = self.builder.build();
        self.clock = self.clock.wrapping_add(1);
        let entry = Entry { topic: topic.as_str().into(), set, generations, shard, used: self.clock };
        if entry.cost() > self.limits.max_bytes / 2 {
            self.oversized = entry.set;
            return &self.oversized;
        }
        self.make_room(entry.cost());
        let (row, way) = self.place_for(tree, &entry.topic, hash);
        self.put(row, way, hash, entry);
        self.kept(row, way)
    }

    fn row_of(&self, hash: u64) -> usize {
        // The lowest bit is always set; a count of rows is a power of two.
        (hash >> 1) as usize & self.hashes.len().wrapping_sub(1)
    }

    /// Where a new entry goes: over its older self, a free place, a stale entry, else the one unused for longest.
    fn place_for(&mut self, tree: &Tree, topic: &str, hash: u64) -> (usize, usize) {
        loop {
            let row = self.row_of(hash);
            let mut best = (u64::MAX, 0);
            for (way, entry) in self.entries.get(row).into_iter().flatten().enumerate() {
                let rank = match entry {
                    Some(entry) if *entry.topic == *topic => return (row, way),
                    None => 0,
                    Some(entry) if tree.generations(entry.shard) != entry.generations => 1,
                    // Ages count backwards from now, since the clock may wrap.
                    Some(entry) => 2 + u64::from(u32::MAX - self.clock.wrapping_sub(entry.used)),
                };
                best = best.min((rank, way));
            }
            if best.0 < 2 || self.capacity() >= self.limits.max_entries.max(Self::WAYS * Self::FIRST_ROWS) {
                return (row, best.1);
            }
            self.grow();
        }
    }

    fn put(&mut self, row: usize, way: usize, hash: u64, entry: Entry) {
        let (Some(hashes), Some(entries)) = (self.hashes.get_mut(row), self.entries.get_mut(row)) else {
            return;
        };
        if let (Some(known), Some(place)) = (hashes.get_mut(way), entries.get_mut(way)) {
            *known = hash;
            self.bytes += entry.cost();
            if let Some(old) = place.replace(entry) {
                self.bytes -= old.cost();
            }
        }
    }

    /// Doubles the rows. Every row splits in two, so whatever was kept finds a place.
    fn grow(&mut self) {
        let rows = (self.hashes.len() * 2).max(Self::FIRST_ROWS);
        let hashes = std::mem::replace(&mut self.hashes, vec![[0; Self::WAYS]; rows]);
        let entries = std::mem::take(&mut self.entries);
        self.entries.resize_with(rows, Default::default);
        self.bytes = 0;
        for (hash, entry) in hashes.into_iter().flatten().zip(entries.into_iter().flatten()) {
            let Some(entry) = entry else { continue };
            let row = self.row_of(hash);
            let free = self.entries.get(row).and_then(|row| row.iter().position(Option::is_none));
            self.put(row, free.unwrap_or(0), hash, entry);
        }
    }

    /// Drops entries in turn until `bytes` more fit.
    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > self.limits.max_bytes && self.bytes > 0 {
            self.hand = (self.hand + 1) % self.entries.len().max(1);
            let Some(entries) = self.entries.get_mut(self.hand) else { return };
            for entry in entries {
                if let Some(old) = entry.take() {
                    self.bytes -= old.cost();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Seed;
    use crate::id::{Qos, SessionId};
    use crate::topic::{TopicFilter, TopicLimits};
    use crate::trie::Subscriber;

    #[test]
    fn a_subscription_that_arrives_during_the_walk_is_seen_by_the_next_look_up() {
        let topic = TopicName::from_validated("a/b");
        for filter in ["a/b", "a/+", "#"] {
            let tree = Tree::new(Seed::new(1));
            let mut cache = MatchCache::new(CacheLimits::default());
            let hash = tree.seed().hash(topic.as_str()) | 1;
            let set = cache.look_up_anew(&tree, topic, hash, |builder| {
                tree.match_into(&topic, builder);
                let subscriber = Subscriber {
                    session: SessionId::NOBODY,
                    qos: Qos::AtMostOnce,
                    no_local: false,
                    retain_as_published: false,
                    durable: false,
                    subscription_id: None,
                };
                tree.subscribe(&TopicFilter::parse(filter, &TopicLimits::default()).unwrap(), subscriber);
            });
            assert!(set.is_empty());
            assert_eq!(cache.lookup(&tree, topic).targets().len(), 1, "{filter}");
        }
    }
}
