//! A memory for what happened lately, for operations that come late.
//!
//! Workers submit on their own, so that something about a topic or a session can come shortly after its end. What lies
//! longer back is forgotten.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::mem;

/// So many are remembered at least.
const REMEMBERED: usize = 4_096;

/// The last few thousand keys that were told, and what was told of them.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    now: BTreeMap<K, V>,
    before: BTreeMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), before: BTreeMap::new() }
    }
}

impl<K: Ord, V> Recent<K, V> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.before.remove(&key);
        self.now.insert(key, value);
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.now.get(key).or_else(|| self.before.get(key))
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.now.remove(key).or_else(|| self.before.remove(key))
    }

    /// Forgets the older half, if there is enough of the newer; between two commits, so that whatever one commit tells
    /// is there for the next.
    pub(super) fn age(&mut self) {
        if self.now.len() >= REMEMBERED {
            self.before = mem::take(&mut self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_thousand_are_remembered_and_no_more() {
        let mut recent = Recent::default();
        for key in 0..20_000_usize {
            recent.insert(key, key);
            recent.age();
            assert_eq!(
                recent.get(&key.saturating_sub(REMEMBERED - 1)),
                Some(&key.saturating_sub(REMEMBERED - 1))
            );
            assert!(recent.now.len() + recent.before.len() <= 2 * REMEMBERED);
        }
        assert_eq!(recent.get(&0), None);
        recent.insert(16_000, 1);
        assert_eq!(recent.get(&16_000), Some(&1));
        assert_eq!(recent.remove(&16_000), Some(1));
        assert_eq!(recent.get(&16_000), None);
    }
}
