//! Merging of overlapping subscriptions, No Local, and the cache's validity and bounds.

use super::*;
use crate::hash::Seed;
use crate::topic::{TopicFilter, TopicLimits, TopicName};
use crate::trie::{GroupKey, Tree};

fn tree_with(filter: &str, subscribers: u32) -> Tree {
    let tree = Tree::new(Seed::new(1));
    let filter = TopicFilter::parse(filter, &TopicLimits::default()).unwrap();
    for slot in 0..subscribers {
        let subscriber = Subscriber {
            session: SessionId { worker: WorkerId(0), slot, incarnation: 0 },
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            durable: false,
            subscription_id: None,
        };
        tree.subscribe(&filter, subscriber);
    }
    tree
}

fn topics(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("a/{number}")).collect()
}

#[test]
fn the_cache_grows_from_nothing_to_its_limit_and_no_further() {
    let tree = tree_with("a/+", 1);
    let mut cache = MatchCache::new(CacheLimits { max_entries: 256, max_bytes: 1 << 20 });
    assert_eq!((cache.capacity(), cache.bytes()), (0, 0));
    let topics = topics(5000);
    cache.lookup(&tree, TopicName::from_validated(&topics[0]));
    assert_eq!(cache.capacity(), 16);
    for topic in &topics {
        assert_eq!(cache.lookup(&tree, TopicName::from_validated(topic)).targets().len(), 1);
    }
    assert_eq!(cache.capacity(), 256);
    assert!(cache.bytes() > 256 * 24);
}

#[test]
fn topics_in_use_stay_while_others_pass_by() {
    let tree = tree_with("a/+", 1);
    let mut cache = MatchCache::new(CacheLimits { max_entries: 64, max_bytes: 1 << 20 });
    let favourite = TopicName::from_validated("a/favourite");
    let set = cache.lookup(&tree, favourite).clone();
    for topic in &topics(2000) {
        cache.lookup(&tree, TopicName::from_validated(topic));
        assert!(Arc::ptr_eq(&set, cache.lookup(&tree, favourite)), "evicted at {topic}");
    }
}

#[test]
fn large_sets_are_bounded_in_bytes() {
    let tree = tree_with("a/+", 100);
    let mut cache = MatchCache::new(CacheLimits { max_entries: 1024, max_bytes: 20_000 });
    for topic in &topics(500) {
        let topic = TopicName::from_validated(topic);
        assert_eq!(cache.lookup(&tree, topic).targets().len(), 100);
        assert!(cache.bytes() > 0 && cache.bytes() <= 20_000, "{}", cache.bytes());
    }
    // One that is too large to keep is still right.
    let tree = tree_with("a/+", 1000);
    let mut cache = MatchCache::new(CacheLimits { max_entries: 1024, max_bytes: 20_000 });
    let set = cache.lookup(&tree, TopicName::from_validated("a/b")).clone();
    assert_eq!((set.targets().len(), cache.bytes()), (1000, 0));
    assert!(cache.lookup(&tree, TopicName::from_validated("b")).is_empty());
}

#[test]
fn topics_that_nobody_wants_share_one_set() {
    let tree = tree_with("a/+", 1);
    let mut cache = MatchCache::new(CacheLimits::default());
    let first = cache.lookup(&tree, TopicName::from_validated("b")).clone();
    assert!(Arc::ptr_eq(&first, cache.lookup(&tree, TopicName::from_validated("c"))));
    assert!(first.is_empty());
}

#[test]
fn every_worker_is_counted_once_with_all_its_mails() {
    let tree = tree_with("a/+", 3);
    let filter = TopicFilter::parse("a/+", &TopicLimits::default()).unwrap();
    let topic = TopicName::from_validated("a/b");
    assert_eq!(tree.matches(&topic).mails().collect::<Vec<_>>(), [(WorkerId(0), 1)]);
    for (group, home) in [("f", 2), ("g", 0), ("h", 2)] {
        let key = GroupKey { group: group.into(), filter: "a/+".into() };
        tree.join_group(&filter, GroupRef { key: key.into(), home: WorkerId(home), number: None });
    }
    assert_eq!(tree.matches(&topic).mails().collect::<Vec<_>>(), [(WorkerId(0), 2), (WorkerId(2), 2)]);
}

#[test]
fn deliveries_share_the_identifiers_of_their_set() {
    let tree = Tree::new(Seed::new(1));
    let filter = TopicFilter::parse("a", &TopicLimits::default()).unwrap();
    for (slot, id) in [(0, Some(7)), (1, Some(7)), (2, None), (3, Some(8))] {
        let subscriber = Subscriber {
            session: SessionId { worker: WorkerId(0), slot, incarnation: 0 },
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            durable: false,
            subscription_id: id.and_then(NonZeroU32::new),
        };
        tree.subscribe(&filter, subscriber);
    }
    let set = tree.matches(&TopicName::from_validated("a"));
    let ids: Vec<_> = set.targets().iter().map(|target| set.ids(target)).collect();
    assert_eq!(
        ids.iter().map(|ids| ids.map(|ids| ids[0].get())).collect::<Vec<_>>(),
        [Some(7), Some(7), None, Some(8)]
    );
    assert!(Arc::ptr_eq(ids[0].unwrap(), ids[1].unwrap()));
    assert!(Arc::ptr_eq(ids[0].unwrap(), set.ids(&set.targets()[0]).unwrap()));
}

#[test]
fn sizes_stay_lean() {
    assert_eq!((size_of::<Target>(), size_of::<Subscriber>()), (24, 24));
}

#[test]
fn a_set_is_split_into_who_was_there_before_and_who_is_new() {
    let tree = Tree::new(Seed::new(1));
    let filter = |text: &str| TopicFilter::parse(text, &TopicLimits::default()).unwrap();
    let topic = TopicName::from_validated("t");
    let enter = |slot: u16, text: &str, durable, id| {
        let subscriber = Subscriber {
            session: SessionId { worker: WorkerId(slot % 2), slot: slot.into(), incarnation: slot.into() },
            qos: Qos::AtLeastOnce,
            no_local: slot == 1 && text == "t",
            retain_as_published: false,
            durable,
            subscription_id: NonZeroU32::new(id),
        };
        tree.subscribe(&filter(text), subscriber);
    };
    let join = |group: &str, number| {
        let key = Arc::new(GroupKey { group: group.into(), filter: "t".into() });
        tree.join_group(&filter("t"), GroupRef { key, home: WorkerId(1), number });
    };
    enter(1, "t", true, 5);
    enter(2, "t", false, 0);
    join("old", Some(SessionNumber(7)));
    join("kept since", None);
    let earlier = tree.matches(&topic);
    enter(1, "+", true, 6);
    enter(2, "t", true, 0);
    enter(3, "t", true, 4);
    join("new", None);
    join("kept since", Some(SessionNumber(8)));
    let (same, fresh) = tree.matches(&topic).split(&earlier);
    let slots = |set: &MatchSet| set.targets().iter().map(|target| target.session.slot).collect::<Vec<_>>();
    assert_eq!(
        (slots(&same), slots(&fresh)),
        (vec![1], vec![2, 3]),
        "one who is kept since is another recipient"
    );
    let ids = |set: &MatchSet| set.ids(&set.targets()[set.targets().len() - 1]).map(|ids| ids.to_vec());
    assert_eq!((ids(&same).unwrap().len(), ids(&fresh).unwrap()[0].get()), (2, 4));
    let own = same.for_publisher(&same.targets()[0], same.targets()[0].session).unwrap();
    assert_eq!(same.ids(&own).unwrap().len(), 1, "what No Local leaves");
    let groups = |set: &MatchSet| {
        let mut names: Vec<_> = set.groups().iter().map(|group| group.key.group.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(
        (groups(&same), groups(&fresh)),
        (vec!["old".to_owned()], vec!["kept since".into(), "new".into()])
    );
    assert_eq!(same.durable_groups().count() + fresh.durable_groups().count(), 2);
    assert_eq!(fresh.mails().collect::<Vec<_>>(), [(WorkerId(0), 1), (WorkerId(1), 3)]);
}
