//! The groups that are kept without a member, by their keys: queues and durable subscriptions. Whoever is first, a
//! publisher or a consumer on any worker, makes one and gives it its number.
//!
//! The store must hear of a group before it hears of a message for it, and what two workers tell it comes in any order.
//! So every worker tells it of every group, before anything else that it has to say: see [`KeptGroups::news`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::effects::JoinError;
use crate::group::QueueOptions;
use crate::hash::{Map, Seed};
use crate::id::WorkerId;
use crate::store::SessionNumber;
use crate::topic::TopicFilter;
use crate::trie::{GroupKey, GroupRef, Tree};

/// A group that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Its number in the store.
    pub(crate) number: SessionNumber,
    /// What was said of it.
    pub(crate) options: Arc<QueueOptions>,
    /// Rises with every change of the options.
    pub(crate) version: u64,
}

/// Something that a worker has to tell the store.
#[derive(Clone, Debug)]
pub(crate) struct News {
    /// The group.
    pub(crate) key: Arc<GroupKey>,
    /// The number that it has, or had.
    pub(crate) number: SessionNumber,
    /// What holds for it; `None` if it has ended.
    pub(crate) kept: Option<Kept>,
}

#[derive(Debug)]
struct Table {
    groups: Map<Arc<GroupKey>, Kept>,
    /// Shares that stay without a member: as many more, of which only their homes know.
    shares: usize,
    /// What has changed and not every worker knows, oldest first.
    log: VecDeque<(Arc<GroupKey>, SessionNumber)>,
    /// Changes before the first in the log.
    forgotten: u64,
    /// How many changes each worker knows of.
    known: Box<[u64]>,
}

impl Table {
    /// Into the tree as well, under the one lock: a group's end on one worker and its new beginning on another do not
    /// mix.
    fn enter(
        &mut self,
        tree: &Tree,
        (key, filter, home): (&Arc<GroupKey>, &TopicFilter, WorkerId),
        kept: Kept,
    ) {
        tree.join_group(filter, GroupRef { key: Arc::clone(key), home, number: Some(kept.number) });
        self.groups.insert(Arc::clone(key), kept);
    }

    fn note(&mut self, key: &Arc<GroupKey>, number: SessionNumber) -> u64 {
        // One worker alone has nobody to tell.
        if self.known.len() > 1 {
            self.log.push_back((Arc::clone(key), number));
        }
        self.forgotten + self.log.len() as u64
    }
}

/// See the module. Its lock is taken before the tree's, never the other way round.
#[derive(Debug)]
pub(crate) struct KeptGroups {
    table: Mutex<Table>,
    /// Changes so far.
    changes: AtomicU64,
}

impl KeptGroups {
    pub(crate) fn new(seed: Seed, workers: u16) -> Self {
        let table = Table {
            groups: Map::with_hasher(seed),
            shares: 0,
            log: VecDeque::new(),
            forgotten: 0,
            known: vec![0; usize::from(workers)].into(),
        };
        Self { table: Mutex::new(table), changes: AtomicU64::new(0) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are, shares that stay without a member among them.
    pub(crate) fn len(&self) -> usize {
        let table = self.table();
        table.groups.len() + table.shares
    }

    /// What is known of a group.
    pub(crate) fn get(&self, key: &GroupKey) -> Option<Kept> {
        self.table().groups.get(key).cloned()
    }

    /// Enters a group into the table and the tree, unless it is there; `fresh` if it was not. At most `most` are.
    pub(crate) fn ensure(
        &self,
        tree: &Tree,
        (key, filter, home): (&Arc<GroupKey>, &TopicFilter, WorkerId),
        most: usize,
        number: impl FnOnce() -> SessionNumber,
    ) -> Result<(Kept, bool), JoinError> {
        let mut table = self.table();
        if let Some(kept) = table.groups.get(key) {
            return Ok((kept.clone(), false));
        }
        if table.groups.len() + table.shares >= most {
            return Err(JoinError::TooMany);
        }
        let kept = Kept { number: number(), options: Arc::default(), version: 0 };
        // Whoever finds it in the tree has to find the news of it as well.
        let changes = table.note(key, kept.number);
        self.changes.store(changes, Ordering::Release);
        table.enter(tree, (key, filter, home), kept.clone());
        Ok((kept, true))
    }

    /// Counts a share that is to stay without a member; at most `most` groups are kept, those in the table included.
    pub(crate) fn keep_share(&self, most: usize) -> Result<(), JoinError> {
        let mut table = self.table();
        if table.groups.len() + table.shares >= most {
            return Err(JoinError::TooMany);
        }
        table.shares += 1;
        Ok(())
    }

    /// One of those is not to stay any more, or has ended.
    pub(crate) fn release_share(&self) {
        let mut table = self.table();
        table.shares = table.shares.saturating_sub(1);
    }

    /// Enters a group that the store has given back.
    pub(crate) fn restore(
        &self,
        tree: &Tree,
        group: (&Arc<GroupKey>, &TopicFilter, WorkerId),
        number: SessionNumber,
        options: Arc<QueueOptions>,
    ) {
        let kept = Kept { number, options, version: 0 };
        self.table().enter(tree, group, kept);
    }

    /// Notes what holds for a group from now on; its new version.
    pub(crate) fn set_options(&self, key: &Arc<GroupKey>, options: QueueOptions) -> Option<Kept> {
        let mut table = self.table();
        let kept = table.groups.get_mut(key)?;
        kept.options = Arc::new(options);
        kept.version += 1;
        let kept = kept.clone();
        let changes = table.note(key, kept.number);
        self.changes.store(changes, Ordering::Release);
        Some(kept)
    }

    /// Takes a group out of the table and the tree.
    pub(crate) fn end(&self, tree: &Tree, key: &Arc<GroupKey>, filter: &TopicFilter) -> Option<Kept> {
        let mut table = self.table();
        let kept = table.groups.remove(key)?;
        tree.leave_group(filter, &key.group);
        let changes = table.note(key, kept.number);
        self.changes.store(changes, Ordering::Release);
        Some(kept)
    }

    /// Whether anything has changed since `known` changes were known.
    pub(crate) fn has_news(&self, known: u64) -> bool {
        self.changes.load(Ordering::Acquire) != known
    }

    /// What has changed since `known` changes were known to `worker`, and takes note that it knows now. Costs one load
    /// when nothing has.
    pub(crate) fn news(&self, worker: WorkerId, known: &mut u64) -> Vec<News> {
        if !self.has_news(*known) {
            return Vec::new();
        }
        let mut table = self.table();
        let unknown = usize::try_from(known.saturating_sub(table.forgotten)).unwrap_or(usize::MAX);
        let news = table.log.iter().skip(unknown).map(|(key, number)| News {
            key: Arc::clone(key),
            number: *number,
            kept: table.groups.get(key).filter(|kept| kept.number == *number).cloned(),
        });
        let news = news.collect();
        *known = table.forgotten + table.log.len() as u64;
        if let Some(place) = table.known.get_mut(worker.index()) {
            *place = *known;
        }
        let by_all = table.known.iter().copied().min().unwrap_or(*known);
        while table.forgotten < by_all && table.log.pop_front().is_some() {
            table.forgotten += 1;
        }
        news
    }

    /// The durable subscriptions of that name, whatever they are subscribed to. Looks at all groups.
    pub(crate) fn named(&self, group: &str) -> Vec<Arc<GroupKey>> {
        self.table().groups.keys().filter(|key| *key.group == *group).map(Arc::clone).collect()
    }

    /// Every group that is kept.
    pub(crate) fn all(&self) -> Vec<(Arc<GroupKey>, Kept)> {
        self.table().groups.iter().map(|(key, kept)| (Arc::clone(key), kept.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::topic::{TopicLimits, TopicName};

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text, &TopicLimits::WIDEST).unwrap()
    }

    fn key(group: &str, filter: &str) -> Arc<GroupKey> {
        Arc::new(GroupKey { group: group.into(), filter: filter.into() })
    }

    #[test]
    fn whoever_finds_a_group_in_the_tree_finds_the_news_of_it() {
        // As many tries as make it likely to look in between.
        const ROUNDS: usize = 20_000;
        let (groups, tree) = (KeptGroups::new(Seed::new(1), 2), Tree::new(Seed::new(2)));
        let (begun, found) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut known = 0;
                for round in 1..=ROUNDS {
                    let topic = format!("$queue/{round}");
                    let number = || SessionNumber(round as u64);
                    begun.store(round, Ordering::Release);
                    let group = (&key("", &topic), &filter(&topic), WorkerId(0));
                    groups.ensure(&tree, group, usize::MAX, number).unwrap();
                    groups.news(WorkerId(0), &mut known);
                    while found.load(Ordering::Acquire) < round {
                        std::hint::spin_loop();
                    }
                }
            });
            let (mut known, mut missed) = (0, 0);
            for round in 1..=ROUNDS {
                let topic = format!("$queue/{round}");
                while begun.load(Ordering::Acquire) < round
                    || tree.matches(&TopicName::from_validated(&topic)).groups().is_empty()
                {
                    std::hint::spin_loop();
                }
                missed += usize::from(groups.news(WorkerId(1), &mut known).is_empty());
                found.store(round, Ordering::Release);
            }
            assert_eq!(missed, 0, "of {ROUNDS}");
        });
    }

    #[test]
    fn shares_that_stay_count_among_the_rest() {
        let (groups, tree) = (KeptGroups::new(Seed::new(1), 1), Tree::new(Seed::new(2)));
        let ensure = |text| {
            groups
                .ensure(&tree, (&key("", text), &filter(text), WorkerId(0)), 2, || SessionNumber(1))
                .map(drop)
        };
        assert_eq!((groups.keep_share(2), ensure("$queue/1")), (Ok(()), Ok(())));
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (groups.keep_share(2), ensure("$queue/2")),
            (Err(JoinError::TooMany), Err(JoinError::TooMany))
        );
        groups.release_share();
        assert_eq!((ensure("$queue/2"), groups.keep_share(2)), (Ok(()), Err(JoinError::TooMany)));
    }

    #[test]
    fn a_durable_subscription_is_found_by_its_name_alone() {
        let (groups, tree) = (KeptGroups::new(Seed::new(1), 1), Tree::new(Seed::new(2)));
        for (number, (group, text)) in
            [("a/b", "t"), ("a/b", "u"), ("a/c", "t"), ("", "$queue/q")].iter().enumerate()
        {
            let group = (&key(group, text), &filter(text), WorkerId(0));
            groups.ensure(&tree, group, 9, || SessionNumber(number as u64)).unwrap();
        }
        let mut found: Vec<_> = groups.named("a/b").iter().map(|key| key.filter.to_string()).collect();
        found.sort();
        assert_eq!(found, ["t", "u"]);
    }
}
