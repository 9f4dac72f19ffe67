//! The topic tree: which sessions and groups are subscribed to what, shared by all workers.
//!
//! A filter lives in the shard of its first level, or in one shard of its own kind when that level is a wildcard. Each
//! shard has a lock and a generation; a worker that remembers both generations of a topic knows without a lock whether
//! its remembered matches still hold ([`MatchCache`](crate::matches::MatchCache)). Filters without wildcards are one
//! flat table, so that a million of them cost a publish one look-up; the others are a trie of levels.
//!
//! What does not live here: who may subscribe, which member of a group gets a message (the group's home knows its
//! members), and what a session does with a match.

mod leaf;
mod levels;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::hash::{Seed, Table};
use crate::id::{Qos, SessionId, WorkerId};
use crate::matches::{MatchBuilder, MatchSet};
use crate::store::SessionNumber;
use crate::topic::{FilterKind, TopicFilter, TopicName};

use leaf::{Joined, Leaf};
use levels::Levels;

/// One session's subscription to one filter, with what SUBSCRIBE granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Who.
    pub session: SessionId,
    /// The highest quality of service it gets.
    pub qos: Qos,
    /// Whether it doesn't want what it published itself [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Whether RETAIN reaches it as it was published [MQTT-3.3.1-12].
    pub retain_as_published: bool,
    /// Whether the session outlives its connection, so that QoS ≥ 1 must be stored for it.
    pub durable: bool,
    /// What it calls the subscription, 1 to 268,435,455 (MQTT 5, section 3.8.2.1.2).
    pub subscription_id: Option<NonZeroU32>,
}

/// What makes two shares the same group (MQTT 5, section 4.8.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// The share name.
    pub group: Box<str>,
    /// What it is subscribed to.
    pub filter: Box<str>,
}

/// A group and the worker that keeps its members, order and leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRef {
    /// Which group.
    pub key: Arc<GroupKey>,
    /// Its home.
    pub home: WorkerId,
    /// Its number in the store, if it has a member whose session is kept.
    pub number: Option<SessionNumber>,
}

/// The generations of the two shards that decide a topic's matches; equal generations mean equal matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generations {
    named: u64,
    wild: u64,
}

/// The place of a topic's first level among the shards; never changes for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardId(u8);

impl ShardId {
    /// The shard of the filters whose first level is `+` or `#`.
    const WILD: Self = Self(Tree::NAMED_SHARDS);

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The topic tree.
///
/// No lock is held when a method returns, and none while code of another module runs.
#[derive(Debug)]
pub struct Tree {
    seed: Seed,
    /// Apart from the locks: they are read at every publish and would share a cache line with the lock's counter.
    generations: Box<[AtomicU64]>,
    shards: Box<[RwLock<Shard>]>,
    /// Subscriptions and groups.
    entries: AtomicUsize,
}

impl Tree {
    /// Shards for filters whose first level is a name.
    pub const NAMED_SHARDS: u8 = 64;

    /// An empty tree whose tables are keyed by `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let count = ShardId::WILD.index() + 1;
        Self {
            generations: (0..count).map(|_| AtomicU64::new(0)).collect(),
            shards: (0..count).map(|_| RwLock::new(Shard::new(seed.clone()))).collect(),
            entries: AtomicUsize::new(0),
            seed,
        }
    }

    /// Enters a subscription and returns the one of the same session and filter that it replaces.
    ///
    /// When this returns, every look-up on any worker sees it. An identical subscription changes nothing, not even
    /// the generation, so that a client that subscribes again at every reconnect voids nobody's cache.
    pub fn subscribe(&self, filter: &TopicFilter, subscriber: Subscriber) -> Option<Subscriber> {
        let id = self.shard_of_filter(filter);
        let replaced = self.write(id).leaf_mut(filter).insert(subscriber);
        if replaced.is_none() {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        if replaced != Some(subscriber) {
            self.bump(id);
        }
        replaced
    }

    /// Takes a subscription out and returns it.
    pub fn unsubscribe(&self, filter: &TopicFilter, session: SessionId) -> Option<Subscriber> {
        let id = self.shard_of_filter(filter);
        let removed = self.write(id).change(filter, |leaf| leaf.remove(session))?;
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bump(id);
        Some(removed)
    }

    /// Notes that a group exists at `filter`; true if it wasn't known there.
    pub fn join_group(&self, filter: &TopicFilter, group: GroupRef) -> bool {
        let id = self.shard_of_filter(filter);
        let joined = self.write(id).leaf_mut(filter).join(group);
        if joined == Joined::New {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        if joined != Joined::Known {
            self.bump(id);
        }
        joined == Joined::New
    }

    /// Forgets the group named `group` at `filter`, when its last member has left; true if it was known.
    pub fn leave_group(&self, filter: &TopicFilter, group: &str) -> bool {
        let id = self.shard_of_filter(filter);
        let known = self.write(id).change(filter, |leaf| leaf.leave(group).then_some(())).is_some();
        if known {
            self.entries.fetch_sub(1, Ordering::Relaxed);
            self.bump(id);
        }
        known
    }

    /// Adds every subscription and group that `topic` matches.
    pub fn match_into(&self, topic: &TopicName<'_>, out: &mut MatchBuilder) {
        self.read(self.shard_of(topic)).collect(&self.seed, topic, out);
        // [MQTT-4.7.2-1]: every filter of the wild shard begins with a wildcard.
        if !topic.is_dollar() {
            self.read(ShardId::WILD).collect(&self.seed, topic, out);
        }
    }

    /// The matches of `topic`, found anew; the publish path asks a [`MatchCache`](crate::matches::MatchCache).
    #[must_use]
    pub fn matches(&self, topic: &TopicName<'_>) -> Arc<MatchSet> {
        let mut builder = MatchBuilder::default();
        self.match_into(topic, &mut builder);
        builder.build()
    }

    /// How many subscriptions and groups there are, for `$SYS` and the metrics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether nobody is subscribed to anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The hasher of the tree; a cache keyed by it hashes a topic once.
    pub(crate) fn seed(&self) -> &Seed {
        &self.seed
    }

    /// The shard of a topic's first level.
    #[must_use]
    pub fn shard_of(&self, topic: &TopicName<'_>) -> ShardId {
        self.named_shard(topic.first_level())
    }

    /// The generations that decide the matches of the topics of `shard`.
    ///
    /// Read them BEFORE the tree: a change in between then leaves newer matches under an older generation, which are
    /// looked up once more, and never older matches under a newer one.
    #[must_use]
    pub fn generations(&self, shard: ShardId) -> Generations {
        Generations { named: self.generation(shard), wild: self.generation(ShardId::WILD) }
    }

    fn generation(&self, shard: ShardId) -> u64 {
        self.generations.get(shard.index()).map_or(0, |generation| generation.load(Ordering::Acquire))
    }

    /// Called after the change was made under the lock, so that whoever sees the new generation sees the change.
    fn bump(&self, shard: ShardId) {
        if let Some(generation) = self.generations.get(shard.index()) {
            generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn shard_of_filter(&self, filter: &TopicFilter) -> ShardId {
        if filter.starts_wild() { ShardId::WILD } else { self.named_shard(filter.first_level()) }
    }

    fn named_shard(&self, first_level: &str) -> ShardId {
        // Bits that the hash tables inside the shards don't use: a topic of one level has the same hash there.
        let bits = self.seed.hash(first_level) >> 40;
        ShardId((bits % u64::from(Self::NAMED_SHARDS)) as u8)
    }

    fn read(&self, id: ShardId) -> RwLockReadGuard<'_, Shard> {
        self.lock(id).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: ShardId) -> RwLockWriteGuard<'_, Shard> {
        self.lock(id).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self, id: ShardId) -> &RwLock<Shard> {
        // `ShardId`s are made above only, from 0 to WILD.
        &self.shards[id.index()]
    }
}

/// The filters of one shard.
#[derive(Debug)]
struct Shard {
    /// Filters without wildcards, by their whole text.
    exact: Table<Exact>,
    /// Filters with wildcards, level by level.
    levels: Levels,
    seed: Seed,
}

#[derive(Debug)]
struct Exact {
    filter: Box<str>,
    leaf: Leaf,
}

impl Shard {
    /// A table is given back to the allocator down to this many filters.
    const SMALL: usize = 64;

    fn new(seed: Seed) -> Self {
        Self { exact: Table::new(), levels: Levels::new(seed.clone()), seed }
    }

    /// The leaf of `filter`, made if there is none; the caller puts something into it.
    fn leaf_mut(&mut self, filter: &TopicFilter) -> &mut Leaf {
        match filter.kind() {
            FilterKind::Wildcard => self.levels.leaf_mut(filter),
            FilterKind::Exact => {
                let Self { exact, seed, .. } = self;
                let text = filter.as_str();
                &mut exact
                    .entry(seed.hash(text), |entry| *entry.filter == *text, |entry| seed.hash(&*entry.filter))
                    .or_insert_with(|| Exact { filter: text.into(), leaf: Leaf::Empty })
                    .into_mut()
                    .leaf
            }
        }
    }

    /// Applies `change` to the leaf of `filter` if there is one, and removes the leaf if that emptied it.
    fn change<T>(&mut self, filter: &TopicFilter, change: impl FnOnce(&mut Leaf) -> Option<T>) -> Option<T> {
        match filter.kind() {
            FilterKind::Wildcard => self.levels.change(filter, change),
            FilterKind::Exact => {
                let Self { exact, seed, .. } = self;
                let text = filter.as_str();
                let mut entry = exact.find_entry(seed.hash(text), |entry| *entry.filter == *text).ok()?;
                let result = change(&mut entry.get_mut().leaf);
                if entry.get().leaf.is_empty() {
                    entry.remove();
                    if exact.capacity() > Self::SMALL && exact.len() < exact.capacity() / 4 {
                        exact.shrink_to(exact.len() * 2, |entry| seed.hash(&*entry.filter));
                    }
                }
                result
            }
        }
    }

    fn collect(&self, seed: &Seed, topic: &TopicName<'_>, out: &mut MatchBuilder) {
        if !self.exact.is_empty() {
            let text = topic.as_str();
            if let Some(entry) = self.exact.find(seed.hash(text), |entry| *entry.filter == *text) {
                entry.leaf.collect(out);
            }
        }
        self.levels.collect(topic, out);
    }
}

#[cfg(test)]
mod tests;
