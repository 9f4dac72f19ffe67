//! What a topic's subscriptions amount to: who gets one delivery each, on which worker, and which groups get a share.
//!
//! A [`MatchSet`] is immutable and shared; it holds matches, never verdicts: whether a recipient may have the message
//! is asked at the delivery. The cache of them, one per worker, is [`cache::MatchCache`], re-exported here.

mod cache;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::id::{Qos, SessionId, WorkerId};
use crate::store::SessionNumber;
use crate::trie::{GroupRef, Subscriber};

pub use cache::{CacheLimits, MatchCache};

/// What becomes of a delivery to the session that published the message [MQTT-3.8.3-3].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLocal {
    /// No subscription of it asks for No Local: it is served like everybody else.
    No,
    /// Every matching subscription asks for it: nothing is sent.
    All,
    /// Some do: the others alone decide; [`MatchSet::for_publisher`] says what they decide.
    Mixed,
}

/// No subscription that matches has an identifier; see [`Target`].
const NO_IDS: u32 = u32::MAX;

/// One session that gets the message, once, however many of its subscriptions match (MQTT 5, section 3.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Who.
    pub session: SessionId,
    /// Place in the set's `ids`, or [`NO_IDS`].
    ids: u32,
    /// The highest that any of its matching subscriptions was granted [MQTT-3.3.5-1].
    pub qos: Qos,
    /// Whether RETAIN reaches it as it was published; so if any of its matching subscriptions asks for it.
    pub retain_as_published: bool,
    /// Whether the session outlives its connection and was granted QoS ≥ 1 by a matching subscription.
    pub durable: bool,
    /// What to do when the session is itself the publisher.
    pub no_local: NoLocal,
}

/// Everybody who gets the messages of one topic, sorted by worker and session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MatchSet {
    targets: Box<[Target]>,
    /// What the targets with [`NoLocal::Mixed`] get of what they published themselves; sorted by session.
    own: Box<[Target]>,
    /// The subscription identifiers that targets point to; every delivery shares them.
    ids: Box<[Arc<[NonZeroU32]>]>,
    groups: Box<[GroupRef]>,
    /// Where there are groups: see [`MatchSet::mails`].
    mails: Box<[(WorkerId, u32)]>,
    /// Whether any target is durable.
    durable: bool,
    /// Whether any group is.
    durable_groups: bool,
}

impl MatchSet {
    /// Whether nobody gets anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }

    /// Every target, sorted by worker.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The targets at home on `worker`.
    #[must_use]
    pub fn for_worker(&self, worker: WorkerId) -> &[Target] {
        let start = self.targets.partition_point(|target| target.session.worker < worker);
        let rest = self.targets.get(start..).unwrap_or_default();
        rest.get(..run_of(rest, worker)).unwrap_or_default()
    }

    /// The workers that have targets, in order, each with its targets.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, &[Target])> {
        runs(&self.targets)
    }

    /// The groups of which one member each gets the message; every group once per filter that matches.
    #[must_use]
    pub fn groups(&self) -> &[GroupRef] {
        &self.groups
    }

    /// The workers that a message concerns, in order, each with the mails it gets: one for all its targets, and one for
    /// each group whose home it is.
    pub fn mails(&self) -> impl Iterator<Item = (WorkerId, u32)> {
        let targets = if self.groups.is_empty() { &*self.targets } else { &[] };
        runs(targets).map(|(worker, _)| (worker, 1)).chain(self.mails.iter().copied())
    }

    /// The subscription identifiers to send along, one per matching subscription that has one [MQTT-3.3.4-3]; `None`
    /// if none has.
    #[must_use]
    pub fn ids(&self, target: &Target) -> Option<&Arc<[NonZeroU32]>> {
        self.ids.get(target.ids as usize)
    }

    /// What `target` gets of a message by `publisher`: itself, what remains of it without No Local, or nothing.
    #[must_use]
    pub fn for_publisher(&self, target: &Target, publisher: SessionId) -> Option<Target> {
        if target.no_local == NoLocal::No || target.session != publisher {
            return Some(*target);
        }
        let place = self.own.binary_search_by_key(&publisher, |own| own.session).ok()?;
        self.own.get(place).copied()
    }

    /// The targets for which a message of QoS ≥ 1 by `publisher` must be on stable storage before it is acknowledged.
    pub fn durable_targets(&self, publisher: SessionId) -> impl Iterator<Item = Target> {
        let targets = if self.durable { &*self.targets } else { &[] };
        targets
            .iter()
            .filter_map(move |target| self.for_publisher(target, publisher))
            .filter(|target| target.durable)
    }

    /// Whether there is any such target or group.
    #[must_use]
    pub fn has_durable(&self, publisher: SessionId) -> bool {
        self.durable_groups || self.durable_targets(publisher).next().is_some()
    }

    /// The groups for which such a message must be there as well, by their numbers.
    pub fn durable_groups(&self) -> impl Iterator<Item = SessionNumber> {
        let groups = if self.durable_groups { &*self.groups } else { &[] };
        groups.iter().filter_map(|group| group.number)
    }

    /// Those who were in `earlier` already and are recipients of the same kind, and the others.
    #[must_use]
    pub fn split(&self, earlier: &Self) -> (Self, Self) {
        let key = |target: &Target| (target.session, target.durable);
        let known: BTreeSet<_> = earlier.targets.iter().map(key).collect();
        let name = |group: &GroupRef| (group.key.group.clone(), group.key.filter.clone(), group.number);
        let groups: BTreeSet<_> = earlier.groups.iter().map(name).collect();
        let part = |same: bool| {
            let targets = self.targets.iter().filter(|target| known.contains(&key(target)) == same);
            let (targets, own): (Box<[_]>, _) = (targets.copied().collect(), self.own.clone());
            let groups = self.groups.iter().filter(|group| groups.contains(&name(group)) == same);
            let groups: Box<[_]> = groups.cloned().collect();
            Self {
                durable: targets.iter().any(|target| target.durable),
                durable_groups: groups.iter().any(|group| group.number.is_some()),
                mails: count_mails(&groups, &targets),
                ids: self.ids.clone(),
                targets,
                own,
                groups,
            }
        };
        (part(true), part(false))
    }

    /// Memory in bytes, without the groups' keys, which the tree holds as well.
    #[must_use]
    pub fn cost(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.targets)
            + size_of_val(&*self.own)
            + self.ids.iter().map(|ids| size_of_val(ids) + 16 + size_of_val(&**ids)).sum::<usize>()
            + size_of_val(&*self.groups)
            + size_of_val(&*self.mails)
    }
}

/// The targets, sorted by worker, of each worker.
fn runs(mut rest: &[Target]) -> impl Iterator<Item = (WorkerId, &[Target])> {
    std::iter::from_fn(move || {
        let worker = rest.first()?.session.worker;
        let (run, after) = rest.split_at_checked(run_of(rest, worker))?;
        rest = after;
        Some((worker, run))
    })
}

/// Counts the mails of a message to these groups and targets; see [`MatchSet::mails`].
fn count_mails(groups: &[GroupRef], targets: &[Target]) -> Box<[(WorkerId, u32)]> {
    if groups.is_empty() {
        return Box::default();
    }
    let mut mails = BTreeMap::new();
    let homes = groups.iter().map(|group| group.home);
    for worker in runs(targets).map(|(worker, _)| worker).chain(homes) {
        *mails.entry(worker).or_insert(0_u32) += 1;
    }
    mails.into_iter().collect()
}

/// How many of the first targets, sorted by worker, are at home on `worker`.
fn run_of(targets: &[Target], worker: WorkerId) -> usize {
    // Most messages go to one worker: look at the last before searching.
    match targets.last() {
        Some(last) if last.session.worker == worker => targets.len(),
        _ => targets.partition_point(|target| target.session.worker <= worker),
    }
}

/// Collects the matches of one topic; kept and used again, so that a look-up allocates only what it returns.
#[derive(Debug, Default)]
pub struct MatchBuilder {
    hits: Vec<Subscriber>,
    groups: Vec<GroupRef>,
    stack: Vec<(u32, Option<u32>)>,
    /// The set of the many topics that nobody wants.
    nobody: Arc<MatchSet>,
}

impl MatchBuilder {
    /// Scratch space kept from one look-up to the next, in entries; a larger fan-out gives it back.
    const KEPT: usize = 1024;

    pub(crate) fn add_subscriber(&mut self, subscriber: Subscriber) {
        self.hits.push(subscriber);
    }

    pub(crate) fn add_group(&mut self, group: GroupRef) {
        self.groups.push(group);
    }

    /// The empty stack of the walk through the trie: a node, and where the topic's remaining levels begin, if any remain.
    pub(crate) fn take_stack(&mut self) -> Vec<(u32, Option<u32>)> {
        std::mem::take(&mut self.stack)
    }

    pub(crate) fn give_stack(&mut self, stack: Vec<(u32, Option<u32>)>) {
        self.stack = stack;
    }

    /// Merges what was collected since the last call.
    #[must_use]
    pub fn build(&mut self) -> Arc<MatchSet> {
        if self.hits.is_empty() && self.groups.is_empty() {
            return self.nobody.clone();
        }
        // Identifiers are sent in ascending order, so that equal matches are equal sets.
        self.hits.sort_unstable_by_key(|hit| (hit.session, hit.subscription_id));
        let sessions = self.hits.chunk_by(|a, b| a.session == b.session).count();
        let mut targets = Vec::with_capacity(sessions);
        let mut own = Vec::new();
        let mut ids = Vec::new();
        for subscriptions in self.hits.chunk_by(|a, b| a.session == b.session) {
            let Some(mut target) = merge(subscriptions.iter(), &mut ids) else { continue };
            if subscriptions.iter().any(|subscription| subscription.no_local) {
                let others = merge(subscriptions.iter().filter(|other| !other.no_local), &mut ids);
                target.no_local = if others.is_some() { NoLocal::Mixed } else { NoLocal::All };
                own.extend(others);
            }
            targets.push(target);
        }
        let set = MatchSet {
            durable: targets.iter().any(|target| target.durable),
            durable_groups: self.groups.iter().any(|group| group.number.is_some()),
            mails: count_mails(&self.groups, &targets),
            targets: targets.into(),
            own: own.into(),
            ids: ids.into(),
            groups: self.groups.drain(..).collect(),
        };
        self.hits.clear();
        self.hits.shrink_to(Self::KEPT);
        self.groups.shrink_to(Self::KEPT);
        self.stack.shrink_to(Self::KEPT);
        Arc::new(set)
    }
}

/// One delivery out of a session's matching subscriptions; none if there are none.
fn merge<'a>(
    mut subscriptions: impl Iterator<Item = &'a Subscriber>,
    ids: &mut Vec<Arc<[NonZeroU32]>>,
) -> Option<Target> {
    let first = subscriptions.next()?;
    let mut own = Vec::from_iter(first.subscription_id);
    let mut target = Target {
        session: first.session,
        ids: NO_IDS,
        qos: first.qos,
        retain_as_published: first.retain_as_published,
        durable: first.durable && first.qos > Qos::AtMostOnce,
        no_local: NoLocal::No,
    };
    for more in subscriptions {
        target.qos = target.qos.max(more.qos);
        target.retain_as_published |= more.retain_as_published;
        target.durable |= more.durable && more.qos > Qos::AtMostOnce;
        own.extend(more.subscription_id);
    }
    if !own.is_empty() {
        // Most clients number theirs alike: one list serves all that follow each other with the same.
        if ids.last().is_none_or(|last| **last != *own) {
            ids.push(own.into());
        }
        // Far below four billion: there are no more lists than subscriptions.
        target.ids = ids.len() as u32 - 1;
    }
    Some(target)
}

#[cfg(test)]
mod tests;
