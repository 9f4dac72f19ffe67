//! Keyed hashing with a seed that is handed in, so that a run can be repeated and a peer can't choose collisions.
//!
//! The shell draws one random seed at start-up; tests and the simulation hand in a fixed one.

use std::hash::{BuildHasher, Hash};

/// The keyed hasher of every table in the broker.
#[derive(Clone, Debug)]
pub struct Seed(foldhash::quality::FixedState, u64);

impl Seed {
    /// A hasher keyed by `seed`; the shell draws it from the system's entropy once per start.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(foldhash::quality::FixedState::with_seed(seed), seed)
    }

    /// The 64-bit keyed hash of `value`.
    pub fn hash<T: Hash + ?Sized>(&self, value: &T) -> u64 {
        self.0.hash_one(value)
    }

    /// Another independent seed derived from this one, for a part that wants its own.
    #[must_use]
    pub fn derive(&self, label: u64) -> Self {
        Self::new(self.hash(&(self.1, label)))
    }
}

impl BuildHasher for Seed {
    type Hasher = <foldhash::quality::FixedState as BuildHasher>::Hasher;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// A hash map keyed by a handed-in [`Seed`].
pub type Map<K, V> = hashbrown::HashMap<K, V, Seed>;

/// A hash set keyed by a handed-in [`Seed`].
pub type Set<K> = hashbrown::HashSet<K, Seed>;

/// A table that stores only positions and looks keys up where they live; see [`hashbrown::HashTable`].
pub type Table<T> = hashbrown::HashTable<T>;
