//! The topic tree against the naive matcher, alone and under concurrent change.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::matches::{CacheLimits, MatchCache, NoLocal};
use crate::topic::TopicLimits;

const LIMITS: TopicLimits = TopicLimits { max_bytes: u16::MAX, max_levels: 128 };

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, &LIMITS).unwrap()
}

fn name(text: &str) -> TopicName<'_> {
    TopicName::parse(text, &LIMITS).unwrap()
}

fn session(number: u32) -> SessionId {
    SessionId { worker: WorkerId((number % 3) as u16), slot: number, incarnation: 1 }
}

fn subscriber(number: u32) -> Subscriber {
    Subscriber {
        session: session(number),
        qos: Qos::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        durable: false,
        subscription_id: None,
    }
}

fn group(name: &str, filter: &str) -> GroupRef {
    GroupRef {
        key: Arc::new(GroupKey { group: name.into(), filter: filter.into() }),
        home: WorkerId(0),
        number: None,
    }
}

fn tree() -> Tree {
    Tree::new(Seed::new(7))
}

fn slots(tree: &Tree, topic: &str) -> Vec<u32> {
    let mut slots: Vec<_> =
        tree.matches(&name(topic)).targets().iter().map(|target| target.session.slot).collect();
    slots.sort_unstable();
    slots
}

/// The tree as a list, matched one by one.
#[derive(Debug, Default)]
struct Model {
    subscriptions: BTreeMap<(String, SessionId), Subscriber>,
    groups: BTreeMap<(String, String), ()>,
}

impl Model {
    fn check(&self, topic: &TopicName<'_>, set: &MatchSet) {
        let mut wanted: BTreeMap<SessionId, Vec<Subscriber>> = BTreeMap::new();
        for ((text, session), subscriber) in &self.subscriptions {
            if filter(text).matches(topic) {
                wanted.entry(*session).or_default().push(*subscriber);
            }
        }
        let sessions: Vec<_> = set.targets().iter().map(|target| target.session).collect();
        assert_eq!(sessions, wanted.keys().copied().collect::<Vec<_>>(), "{topic:?}");
        for target in set.targets() {
            let all = &wanted[&target.session];
            let others: Vec<_> = all.iter().copied().filter(|one| !one.no_local).collect();
            Self::check_target(set, target, all);
            let no_local = match (others.len() == all.len(), others.is_empty()) {
                (true, _) => NoLocal::No,
                (false, true) => NoLocal::All,
                (false, false) => NoLocal::Mixed,
            };
            assert_eq!(target.no_local, no_local);
            assert_eq!(set.for_publisher(target, SessionId::NOBODY), Some(*target));
            match set.for_publisher(target, target.session) {
                None => assert!(others.is_empty()),
                Some(own) => Self::check_target(set, &own, &others),
            }
        }
        for worker in (0..4).map(WorkerId) {
            let those: Vec<_> =
                set.targets().iter().copied().filter(|target| target.session.worker == worker).collect();
            assert_eq!(set.for_worker(worker), those);
        }
        let joined = set.workers().flat_map(|(worker, targets)| {
            assert!(targets.iter().all(|target| target.session.worker == worker));
            targets.iter().copied()
        });
        assert_eq!(joined.collect::<Vec<_>>(), set.targets());
        let mut groups: Vec<_> = set
            .groups()
            .iter()
            .map(|group| (group.key.filter.to_string(), group.key.group.to_string()))
            .collect();
        groups.sort();
        let wanted: Vec<_> =
            self.groups.keys().filter(|(text, _)| filter(text).matches(topic)).cloned().collect();
        assert_eq!(groups, wanted);
    }

    fn check_target(set: &MatchSet, target: &crate::matches::Target, from: &[Subscriber]) {
        assert_eq!(Some(target.qos), from.iter().map(|one| one.qos).max());
        assert_eq!(target.retain_as_published, from.iter().any(|one| one.retain_as_published));
        assert_eq!(target.durable, from.iter().any(|one| one.durable && one.qos > Qos::AtMostOnce));
        let mut ids: Vec<_> = from.iter().filter_map(|one| one.subscription_id).collect();
        ids.sort_unstable();
        assert_eq!(set.ids(target).map_or(&[][..], |ids| &**ids), ids);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(String, Subscriber),
    Unsubscribe(String, u32),
    Join(String, String),
    Leave(String, String),
    Publish(String),
}

fn a_level() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("a"), 3 => Just("b"), 1 => Just(""), 1 => Just("$x"), 1 => Just("é"),
        1 => Just("a level with a name too long to be kept in its node"),
    ]
}

fn a_topic() -> impl Strategy<Value = String> {
    prop::collection::vec(a_level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("not empty", |text| !text.is_empty())
}

fn a_filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => a_level(), 2 => Just("+")];
    (prop::collection::vec(level, 0..4), any::<bool>())
        .prop_map(|(mut levels, multi)| {
            if multi {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("not empty", |text| !text.is_empty())
}

fn a_subscriber() -> impl Strategy<Value = Subscriber> {
    (0..5_u32, 0..3_u8, any::<[bool; 3]>(), 0..4_u32).prop_map(|(number, qos, flags, id)| Subscriber {
        session: session(number),
        qos: Qos::from_level(qos).unwrap(),
        no_local: flags[0],
        retain_as_published: flags[1],
        durable: flags[2],
        subscription_id: NonZeroU32::new(id),
    })
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (a_filter(), a_subscriber()).prop_map(|(text, one)| Step::Subscribe(text, one)),
        2 => (a_filter(), 0..5_u32).prop_map(|(text, number)| Step::Unsubscribe(text, number)),
        1 => (a_filter(), "[gh]").prop_map(|(text, group)| Step::Join(text, group)),
        1 => (a_filter(), "[gh]").prop_map(|(text, group)| Step::Leave(text, group)),
        4 => a_topic().prop_map(Step::Publish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is subscribed and unsubscribed, tree and caches give what the plain matcher gives.
    #[test]
    fn tree_and_cache_agree_with_the_plain_matcher(steps in prop::collection::vec(a_step(), 1..120)) {
        let tree = tree();
        let mut model = Model::default();
        let mut cache = MatchCache::new(CacheLimits::default());
        let mut tiny = MatchCache::new(CacheLimits { max_entries: 1, max_bytes: 1500 });
        for step in steps {
            match step {
                Step::Subscribe(text, one) => {
                    let replaced = model.subscriptions.insert((text.clone(), one.session), one);
                    prop_assert_eq!(tree.subscribe(&filter(&text), one), replaced);
                }
                Step::Unsubscribe(text, number) => {
                    let removed = model.subscriptions.remove(&(text.clone(), session(number)));
                    prop_assert_eq!(tree.unsubscribe(&filter(&text), session(number)), removed);
                }
                Step::Join(text, name) => {
                    let new = model.groups.insert((text.clone(), name.clone()), ()).is_none();
                    prop_assert_eq!(tree.join_group(&filter(&text), group(&name, &text)), new);
                }
                Step::Leave(text, name) => {
                    let known = model.groups.remove(&(text.clone(), name.clone())).is_some();
                    prop_assert_eq!(tree.leave_group(&filter(&text), &name), known);
                }
                Step::Publish(text) => {
                    let topic = name(&text);
                    model.check(&topic, &tree.matches(&topic));
                    model.check(&topic, cache.lookup(&tree, topic));
                    model.check(&topic, tiny.lookup(&tree, topic));
                    prop_assert!(tiny.bytes() <= 1500);
                }
            }
            prop_assert_eq!(tree.len(), model.subscriptions.len() + model.groups.len());
        }
        for ((text, session), one) in std::mem::take(&mut model.subscriptions) {
            prop_assert_eq!(tree.unsubscribe(&filter(&text), session), Some(one));
        }
        for (text, name) in std::mem::take(&mut model.groups).into_keys() {
            prop_assert!(tree.leave_group(&filter(&text), &name));
        }
        assert_nothing_is_left(&tree);
    }
}

fn assert_nothing_is_left(tree: &Tree) {
    assert!(tree.is_empty());
    for shard in &tree.shards {
        let shard = shard.read().unwrap();
        assert!(shard.exact.is_empty() && shard.levels.is_empty());
    }
}

#[test]
fn overlapping_subscriptions_are_one_delivery_with_the_highest_qos_and_all_identifiers() {
    let tree = tree();
    let id = NonZeroU32::new;
    let one = Subscriber { qos: Qos::AtMostOnce, subscription_id: id(9), ..subscriber(1) };
    let two = Subscriber { qos: Qos::ExactlyOnce, retain_as_published: true, durable: true, ..subscriber(1) };
    let three = Subscriber { qos: Qos::AtLeastOnce, subscription_id: id(4), ..subscriber(1) };
    tree.subscribe(&filter("a/b"), one);
    tree.subscribe(&filter("a/+"), two);
    tree.subscribe(&filter("#"), three);
    let set = tree.matches(&name("a/b"));
    let [target] = set.targets() else { panic!("{set:?}") };
    assert_eq!((target.qos, target.retain_as_published, target.durable), (Qos::ExactlyOnce, true, true));
    assert_eq!(**set.ids(target).unwrap(), [id(4).unwrap(), id(9).unwrap()]);
    assert_eq!(set.durable_targets(SessionId::NOBODY).count(), 1);
}

#[test]
fn mqtt_3_8_3_3_no_local_does_not_count_for_the_publisher_itself() {
    let tree = tree();
    let durable = Subscriber { qos: Qos::AtLeastOnce, durable: true, no_local: true, ..subscriber(1) };
    tree.subscribe(&filter("a"), durable);
    let set = tree.matches(&name("a"));
    assert_eq!(set.for_publisher(&set.targets()[0], session(1)), None);
    assert_eq!(set.durable_targets(session(1)).count(), 0);
    assert_eq!(set.durable_targets(session(2)).count(), 1);

    tree.subscribe(&filter("+"), subscriber(1));
    let set = tree.matches(&name("a"));
    let own = set.for_publisher(&set.targets()[0], session(1)).unwrap();
    assert_eq!((own.qos, own.durable), (Qos::AtMostOnce, false));
    assert_eq!(set.for_publisher(&set.targets()[0], session(2)).unwrap().qos, Qos::AtLeastOnce);
}

#[test]
fn mqtt_4_7_2_1_wildcards_in_the_first_level_leave_dollar_topics_alone() {
    let tree = tree();
    for (number, text) in ["#", "+/a", "+/#", "$SYS/#", "$SYS/+"].into_iter().enumerate() {
        tree.subscribe(&filter(text), subscriber(number as u32));
    }
    assert_eq!(slots(&tree, "$SYS/a"), [3, 4]);
    assert_eq!(slots(&tree, "x/a"), [0, 1, 2]);
    assert_eq!(slots(&tree, "$SYS"), [3]);
}

#[test]
fn identical_subscriptions_change_no_generation_and_others_only_their_shards() {
    let tree = tree();
    let (a, other) = (tree.shard_of(&name("a")), tree.shard_of(&name("b")));
    assert_ne!(a, other, "choose other names for this test");
    let before = tree.generations(other);
    assert_eq!(tree.subscribe(&filter("a/b"), subscriber(1)), None);
    let one = tree.generations(a);
    assert_eq!(tree.subscribe(&filter("a/b"), subscriber(1)), Some(subscriber(1)));
    assert_eq!(tree.unsubscribe(&filter("a/b"), session(2)), None);
    assert_eq!(tree.unsubscribe(&filter("a/#"), session(1)), None);
    assert!(!tree.leave_group(&filter("a/b"), "g"));
    assert_eq!(tree.generations(a), one);
    let changed = Subscriber { qos: Qos::AtLeastOnce, ..subscriber(1) };
    tree.subscribe(&filter("a/b"), changed);
    let two = tree.generations(a);
    assert_ne!(two, one);
    assert!(tree.join_group(&filter("a/b"), group("g", "a/b")));
    assert_ne!(tree.generations(a), two);
    let three = tree.generations(a);
    assert!(!tree.join_group(&filter("a/b"), group("g", "a/b")));
    assert_eq!(tree.generations(a), three);
    assert_eq!(tree.generations(other), before);
    tree.subscribe(&filter("+/b"), changed);
    assert_ne!(tree.generations(other), before, "a leading wildcard concerns every topic");
}

#[test]
fn a_cached_topic_is_the_same_set_until_its_shard_changes() {
    let tree = tree();
    let mut cache = MatchCache::new(CacheLimits::default());
    tree.subscribe(&filter("a/b"), subscriber(1));
    let first = cache.lookup(&tree, name("a/b")).clone();
    assert_ne!(tree.shard_of(&name("a")), tree.shard_of(&name("b")));
    tree.subscribe(&filter("b/b"), subscriber(2));
    assert!(Arc::ptr_eq(&first, cache.lookup(&tree, name("a/b"))));
    tree.subscribe(&filter("a/c"), subscriber(2));
    assert!(!Arc::ptr_eq(&first, cache.lookup(&tree, name("a/b"))));
    tree.unsubscribe(&filter("a/b"), session(1));
    assert!(cache.lookup(&tree, name("a/b")).is_empty());
}

#[test]
fn thousands_on_one_filter_come_and_go() {
    let tree = tree();
    let (exact, wild) = (filter("a/b"), filter("a/+"));
    for number in 0..5000 {
        assert_eq!(tree.subscribe(&exact, subscriber(number)), None);
        assert_eq!(tree.subscribe(&wild, subscriber(number)), None);
    }
    assert_eq!(slots(&tree, "a/b"), (0..5000).collect::<Vec<_>>());
    for number in (0..5000).rev() {
        assert_eq!(tree.unsubscribe(&exact, session(number)), Some(subscriber(number)));
        assert_eq!(tree.unsubscribe(&wild, session(number)), Some(subscriber(number)));
    }
    assert_nothing_is_left(&tree);
}

#[test]
fn a_wave_of_filters_leaves_no_memory_and_no_wrong_match_behind() {
    let tree = tree();
    let texts: Vec<_> = (0..4000).map(|number| format!("site/{number}/+/x/{number}/#")).collect();
    for (number, text) in texts.iter().enumerate() {
        tree.subscribe(&filter(text), subscriber(number as u32));
        tree.subscribe(&filter(&format!("site/{number}")), subscriber(number as u32));
    }
    for (number, text) in texts.iter().enumerate() {
        if number % 100 != 0 {
            tree.unsubscribe(&filter(text), session(number as u32)).unwrap();
            tree.unsubscribe(&filter(&format!("site/{number}")), session(number as u32)).unwrap();
        }
    }
    let shard = tree.read(tree.shard_of(&name("site")));
    assert!(shard.levels.places() < 1000, "{}", shard.levels.places());
    assert!(shard.exact.capacity() < 1000, "{}", shard.exact.capacity());
    drop(shard);
    for number in (0..4000_u32).step_by(50) {
        let wanted = if number.is_multiple_of(100) { vec![number] } else { vec![] };
        assert_eq!(slots(&tree, &format!("site/{number}/any/x/{number}/deep/er")), wanted);
        assert_eq!(slots(&tree, &format!("site/{number}")), wanted);
    }
}

/// THREATS: a topic of 65,535 slashes, overlapping wildcards by the thousand.
#[test]
fn the_walk_visits_only_what_matches_so_far() {
    let tree = tree();
    // 2^12 filters of twelve levels: at every level both the name and the wildcard.
    for mask in 0..1_u32 << 12 {
        let levels: Vec<_> = (0..12).map(|level| if mask >> level & 1 == 1 { "+" } else { "" }).collect();
        tree.subscribe(&filter(&levels.join("/")), subscriber(mask));
    }
    assert_eq!(slots(&tree, &"/".repeat(11)).len(), 1 << 12);
    // Deeper than any filter: over as soon as the filters end, however long the topic is.
    let slashes = "/".repeat(65_535);
    assert_eq!(TopicName::parse(&slashes, &LIMITS).ok(), None);
    let unlimited = TopicName::from_validated(&slashes);
    for _ in 0..200 {
        assert!(tree.matches(&unlimited).is_empty());
    }
    tree.subscribe(&filter(&format!("{}#", "+/".repeat(127))), subscriber(0));
    assert_eq!(tree.matches(&unlimited).targets().len(), 1);
}

/// Tests may use threads; the crate may not.
#[test]
#[allow(clippy::disallowed_methods, reason = "the race under test needs threads")]
fn a_look_up_after_subscribe_returned_always_sees_it() {
    let tree = tree();
    /// Ends the churning thread also when an assertion fails, so that the test fails rather than hangs.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        // Keeps the generations and the locks of the same shards moving.
        scope.spawn(|| {
            let mut number = 10_000;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                tree.subscribe(&filter("a/+"), subscriber(number));
                tree.unsubscribe(&filter("a/+"), session(number));
            }
        });
        // Publishers that fill their caches all the time, and are asked about each subscription once it has returned.
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let (ask, asked) = std::sync::mpsc::sync_channel::<u32>(0);
                let (answer, answered) = std::sync::mpsc::sync_channel::<bool>(0);
                let tree = &tree;
                scope.spawn(move || {
                    let mut cache = MatchCache::new(CacheLimits::default());
                    loop {
                        let set = cache.lookup(tree, name("a/b"));
                        match asked.try_recv() {
                            Ok(_) => {}
                            Err(std::sync::mpsc::TryRecvError::Empty) => {
                                assert!(set.targets().len() < 5000);
                                continue;
                            }
                            Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                        }
                        let now = cache.lookup(tree, name("a/b")).clone();
                        let seen = now.targets().iter().any(|target| target.session == session(1));
                        answer.send(seen).unwrap();
                    }
                });
                (ask, answered)
            })
            .collect();
        for round in 0..150 {
            let text = ["a/b", "a/#", "+/b"][round % 3];
            tree.subscribe(&filter(text), subscriber(1));
            for (ask, answered) in &publishers {
                ask.send(1).unwrap();
                assert!(answered.recv().unwrap(), "missed a subscription to {text}");
            }
            tree.unsubscribe(&filter(text), session(1));
            for (ask, answered) in &publishers {
                ask.send(1).unwrap();
                assert!(!answered.recv().unwrap(), "still delivers to {text}");
            }
        }
    });
}
