//! What rules come to for one client: those of them that are about it, one entry for each of their topics.

use std::sync::Arc;

use super::identity::{Identity, Who};
use super::overlap::Reach;
use super::pattern::{First, Pattern, Unusable, Values};
use super::{Actions, Answer, Rules, Verdict};
use crate::hash::{Map, Seed};
use crate::topic::{FilterKind, TopicFilter};

/// So many patterns are looked at whatever they begin with.
const FEW: usize = 3;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// One topic.
    Topic(&'a str),
    /// Any of the topics that a filter may match.
    AnyOf(&'a TopicFilter),
}

/// One topic of one rule.
#[derive(Clone, Copy, Debug)]
struct Entry {
    first: First,
    /// Place of the pattern among those of its rules.
    pattern: u32,
    /// Whether the rules are the token's.
    of_token: bool,
    actions: u8,
    answer: Answer,
}

/// The rules that are about a client, and about all the clients for which the same ones are left.
#[derive(Debug)]
pub struct Rights {
    number: u64,
    token: Option<Arc<Rules>>,
    rules: Option<Arc<Rules>>,
    entries: Box<[Entry]>,
    /// The values that can't stand in a topic: the same ones for each of these clients.
    unusable: Unusable,
    /// The values that topics are made of.
    uses: u8,
    /// Whether any of them allows to subscribe at a lower QoS alone.
    has_ceilings: bool,
    default: Answer,
}

impl Rights {
    /// Tells them from all others that the same [`Shapes`] have given out.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Topics of rules that have to be looked at for one question, at most.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no rule is about these clients.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the answer depends on the client's own values, so that each has its own.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        self.uses != 0
    }

    /// Whether there are topics that may be delivered at a lower QoS alone.
    #[must_use]
    pub fn has_ceilings(&self) -> bool {
        self.has_ceilings
    }

    fn pattern(&self, entry: &Entry) -> Option<&Pattern> {
        let rules = if entry.of_token { &self.token } else { &self.rules };
        rules.as_ref()?.patterns.get(entry.pattern as usize)
    }

    /// Whether `who`, one of these clients, may do this. `action`: one alone.
    ///
    /// Of the topics of a filter: the most that is allowed for one of them. A permission counts there unless one earlier
    /// rule decides about all of what it and the filter have in common; several that do so together are not seen. That is
    /// on the safe side for what it is asked for: each delivery is asked again.
    #[must_use]
    pub fn ask(&self, who: Identity<'_>, action: Actions, subject: Subject<'_>) -> Answer {
        let values = Values::of(who, self.uses, self.unusable);
        match subject {
            Subject::Topic(topic) => self.ask_one(&values, action, topic),
            Subject::AnyOf(filter) if filter.kind() == FilterKind::Exact => {
                self.ask_one(&values, action, filter.as_str())
            }
            Subject::AnyOf(filter) => self.ask_any(&values, action, filter),
        }
    }

    fn ask_one(&self, values: &Values<'_>, action: Actions, topic: &str) -> Answer {
        let asked = action.bits();
        // A glance at the topic that spares looks at patterns; for a few of them it is not worth it.
        let glance = (self.entries.len() > FEW).then(|| First::of(topic));
        let decides = |entry: &&Entry| {
            entry.actions & asked != 0
                && glance.is_none_or(|first| entry.first.admits(first))
                && self.pattern(entry).is_some_and(|pattern| pattern.matches(topic, values))
        };
        self.entries.iter().find(decides).map_or(self.default, |entry| entry.answer)
    }

    fn ask_any(&self, values: &Values<'_>, action: Actions, filter: &TopicFilter) -> Answer {
        let asked = action.bits();
        let wanted = Reach::of(filter);
        let mut best = Answer::Denied;
        let mut earlier: Vec<Reach<'_>> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.actions & asked != 0) {
            let Some(reach) = self.pattern(entry).map(|pattern| pattern.reach(values)) else { continue };
            let Some(common) = reach.intersection(&wanted) else { continue };
            if earlier.iter().any(|earlier| earlier.covers(&common)) {
                continue;
            }
            best = best.max(entry.answer);
            if reach.covers(&wanted) {
                return best;
            }
            earlier.push(reach);
        }
        best.max(self.default)
    }

    /// Whether they allow everything, so that nothing needs to be asked.
    fn is_free(&self) -> bool {
        match self.entries.first() {
            None => self.default == Answer::FREE,
            Some(first) => {
                first.answer == Answer::FREE
                    && first.actions == Actions::ALL.bits()
                    && self.pattern(first).is_some_and(Pattern::is_everything)
            }
        }
    }

    /// Takes in the rules that are about a client; `about`: their places.
    fn add(&mut self, rules: &Arc<Rules>, of_token: bool, about: &[u32], entries: &mut Vec<Entry>) {
        for &place in about {
            let Some(rule) = rules.rules.get(place as usize) else { continue };
            let (first_place, patterns) = rules.patterns_of(place as usize);
            for (pattern, place) in patterns.iter().zip(first_place..) {
                let is_void = pattern.is_void(self.unusable);
                if is_void && rule.verdict == Verdict::Allow {
                    continue;
                }
                self.uses |= pattern.uses();
                let lowers = !matches!(rule.answer(), Answer::Denied | Answer::FREE);
                self.has_ceilings |= lowers && rule.actions.contains(Actions::SUBSCRIBE);
                entries.push(Entry {
                    first: pattern.first(),
                    pattern: place,
                    of_token,
                    actions: rule.actions.bits(),
                    answer: rule.answer(),
                });
            }
        }
        let kept = if of_token { &mut self.token } else { &mut self.rules };
        *kept = Some(Arc::clone(rules));
    }
}

/// The places of the rules that are about a client.
fn about(rules: &Rules, who: Identity<'_>, out: &mut Vec<u32>) {
    let about = rules.rules.iter().zip(0..).filter(|(rule, _)| rule.unmet(who).is_none());
    out.extend(about.map(|(_, place)| place));
}

/// Gives clients their rights: the same to all for whom the same rules are left.
#[derive(Debug)]
pub struct Shapes {
    /// By the places of the rules, and what can't stand in a topic behind them.
    known: Map<Box<[u32]>, Arc<Rights>>,
    /// As many are looked through for those that nobody has any more.
    most: usize,
    next: u64,
    scratch: Vec<u32>,
}

impl Shapes {
    /// As many are kept whether anybody has them or not.
    const KEPT: usize = 64;

    /// None yet.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self { known: Map::with_hasher(seed.clone()), most: Self::KEPT, next: 1, scratch: Vec::new() }
    }

    /// How many different ones there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Other rules are in force.
    pub fn clear(&mut self) {
        self.known.clear();
        self.known.shrink_to_fit();
        self.most = Self::KEPT;
    }

    /// What a client may do by `rules`, which are the same until [`Self::clear`]; what its token says comes before them.
    /// `None`: everything.
    pub fn rights_of(
        &mut self,
        rules: Option<&Arc<Rules>>,
        token: Option<&Arc<Rules>>,
        who: Identity<'_>,
    ) -> Option<Arc<Rights>> {
        let unusable = Unusable::of(who);
        let mut places = std::mem::take(&mut self.scratch);
        places.clear();
        if let Some(rules) = rules {
            about(rules, who, &mut places);
        }
        let rights = match (rules, token) {
            (None, None) => None,
            (Some(rules), None) => Some(self.shared(rules, unusable, &mut places)),
            (rules, Some(token)) => {
                let mut own = Vec::new();
                about(token, who, &mut own);
                Some(Arc::new(self.make(rules.map(|rules| (rules, &*places)), Some((token, &own)), unusable)))
            }
        };
        self.scratch = places;
        rights.filter(|rights| !rights.is_free())
    }

    fn shared(&mut self, rules: &Arc<Rules>, unusable: Unusable, places: &mut Vec<u32>) -> Arc<Rights> {
        places.push(unusable.0.into());
        if let Some(known) = self.known.get(&**places) {
            return Arc::clone(known);
        }
        let about = places.split_last().map_or(&[][..], |(_, about)| about);
        let rights = Arc::new(self.make(Some((rules, about)), None, unusable));
        if self.known.len() >= self.most {
            self.known.retain(|_, rights| Arc::strong_count(rights) > 1);
            self.most = Self::KEPT.max(2 * self.known.len());
            self.known.shrink_to(self.most);
        }
        self.known.insert(places.as_slice().into(), Arc::clone(&rights));
        rights
    }

    fn make(
        &mut self,
        rules: Option<(&Arc<Rules>, &[u32])>,
        token: Option<(&Arc<Rules>, &[u32])>,
        unusable: Unusable,
    ) -> Rights {
        // Who has a token was authenticated: without rules beside it nothing else is allowed.
        let default = rules.map_or(Verdict::Deny, |(rules, _)| rules.default);
        let number = self.next;
        self.next += 1;
        let mut rights = Rights {
            number,
            token: None,
            rules: None,
            entries: Box::default(),
            unusable,
            uses: 0,
            has_ceilings: false,
            default: default.into(),
        };
        let mut entries = Vec::new();
        for (of, of_token) in [(token, true), (rules, false)] {
            if let Some((rules, about)) = of {
                rights.add(rules, of_token, about, &mut entries);
            }
        }
        rights.entries = entries.into();
        rights
    }
}

/// A client and its rights, for whoever decides about it elsewhere.
#[derive(Clone, Debug)]
pub struct Bearer {
    who: Arc<Who>,
    rights: Arc<Rights>,
}

impl Bearer {
    /// Of a client with these rights.
    #[must_use]
    pub fn new(who: Identity<'_>, rights: Arc<Rights>) -> Self {
        Self { who: Arc::new(who.into()), rights }
    }

    /// Whether it may be delivered a message of a topic; of one about which not everything is known that is decided when
    /// it is there.
    #[must_use]
    pub fn may_receive(&self, topic: &str) -> bool {
        let who = self.who.identity();
        who.is_partial || self.rights.ask(who, Actions::SUBSCRIBE, Subject::Topic(topic)).is_allowed()
    }
}
