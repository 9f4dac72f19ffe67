//! Why something is allowed or denied, in words: for `noctule acl explain` and for people who write rules.

use std::fmt;

use super::identity::Identity;
use super::overlap::Reach;
use super::pattern::{Pattern, Unusable, Values};
use super::{Actions, Answer, Rule, Rules, Subject, Verdict};
use crate::id::Qos;
use crate::policy::Action;

/// The one condition of a rule that did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// `anonymous`.
    Anonymous,
    /// `users`.
    User,
    /// `groups`.
    Group,
    /// `clients`.
    Client,
    /// `addresses`.
    Address,
    /// `actions`.
    Action,
    /// `topics`.
    Topic,
    /// `topics` has a `%` for a value of the client that can't stand in a topic.
    Unusable,
    /// It is about some of the filter's topics, but rules before it have decided about them.
    Decided,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "anonymous is about other clients",
            Self::User => "the user is not among users",
            Self::Group => "the user is in none of groups",
            Self::Client => "the client id is not among clients",
            Self::Address => "the address is not among addresses",
            Self::Action => "the action is not among actions",
            Self::Topic => "the topic is not among topics",
            Self::Unusable => {
                "topics has %u, %c or %i, and what that stands for has a character that can't be in a level, or is nothing"
            }
            Self::Decided => "rules before it decide about all its topics that the filter matches",
        })
    }
}

/// A rule that was passed over, though all but one of its conditions held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its place.
    pub rule: usize,
    /// Its [`Rule::origin`].
    pub origin: u32,
    /// What did not hold.
    pub miss: Miss,
}

/// How a question is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What is decided.
    pub verdict: Verdict,
    /// The place of the rule that decides; `None` if none does.
    pub rule: Option<usize>,
    /// In words.
    pub why: String,
    /// The rules before it that nearly decided.
    pub passed: Vec<Passed>,
}

impl Rules {
    /// How a question is decided, by going through the rules one by one.
    #[must_use]
    pub fn explain(&self, who: Identity<'_>, action: Action<'_>) -> Explanation {
        let one = |action, topic, qos| self.decide(who, action, Subject::Topic(topic), qos);
        match action {
            Action::Publish { topic, qos, retain } => {
                let publish = one(Actions::PUBLISH, topic, Some(qos));
                if publish.verdict == Verdict::Deny || !retain {
                    return publish;
                }
                let mut retained = one(Actions::RETAIN, topic, None);
                if retained.verdict == Verdict::Deny {
                    retained.why = format!("to publish it is allowed, to retain it is not: {}", retained.why);
                }
                retained
            }
            Action::Receive(topic) => one(Actions::SUBSCRIBE, topic, None),
            Action::Manage(filter) => self.decide(who, Actions::MANAGE, Subject::AnyOf(filter), None),
            Action::Subscribe(filter) => self.decide(who, Actions::SUBSCRIBE, Subject::AnyOf(filter), None),
        }
    }

    fn decide(
        &self,
        who: Identity<'_>,
        action: Actions,
        subject: Subject<'_>,
        qos: Option<Qos>,
    ) -> Explanation {
        let unusable = Unusable::of(who);
        let values = Values::of(who, u8::MAX, unusable);
        let mut passed = Vec::new();
        let mut denials: Vec<Reach<'_>> = Vec::new();
        for (place, rule) in self.rules.iter().enumerate() {
            let (_, patterns) = self.patterns_of(place);
            let misses = [
                rule.unmet(who),
                (!rule.actions.contains(action)).then_some(Miss::Action),
                missed_topic(rule, patterns, subject, &values, unusable, &denials),
            ];
            let mut missed = misses.into_iter().flatten();
            match (missed.next(), missed.next()) {
                (Some(miss), None) => passed.push(Passed { rule: place, origin: rule.origin, miss }),
                (Some(_), Some(_)) => {}
                (None, _) => {
                    let wanted = match subject {
                        Subject::Topic(_) => None,
                        Subject::AnyOf(filter) => Some(Reach::of(filter)),
                    };
                    let reaches = || patterns.iter().map(|pattern| pattern.reach(&values));
                    let takes_all = wanted.is_none_or(|wanted| reaches().any(|reach| reach.covers(&wanted)));
                    if rule.verdict == Verdict::Deny && !takes_all {
                        denials.extend(reaches());
                        continue;
                    }
                    return decided(rule, place, qos, passed);
                }
            }
        }
        let some_denied = if denials.is_empty() { "" } else { ", and those that deny leave something over" };
        let why = format!("no rule decides{some_denied}: the default is to {}", self.default);
        Explanation { verdict: self.default, rule: None, why, passed }
    }
}

fn decided(rule: &Rule, place: usize, qos: Option<Qos>, passed: Vec<Passed>) -> Explanation {
    let mut verdict = rule.verdict;
    let mut why = format!("rule {} is the first about this client, action and topic: {verdict}", place + 1);
    if let (Some(qos), Answer::UpTo(most)) = (qos, rule.answer())
        && qos > most
    {
        verdict = Verdict::Deny;
        why = format!("rule {} allows it up to QoS {}, not at QoS {}", place + 1, most.level(), qos.level());
    }
    Explanation { verdict, rule: Some(place), why, passed }
}

/// Why a rule's topics are not what is asked for, if so.
fn missed_topic(
    rule: &Rule,
    patterns: &[Pattern],
    subject: Subject<'_>,
    values: &Values<'_>,
    unusable: Unusable,
    denials: &[Reach<'_>],
) -> Option<Miss> {
    let (mut is_void, mut is_decided) = (false, false);
    for pattern in patterns {
        if rule.verdict == Verdict::Allow && pattern.is_void(unusable) {
            is_void = true;
            continue;
        }
        match subject {
            Subject::Topic(topic) if pattern.matches(topic, values) => return None,
            Subject::Topic(_) => {}
            Subject::AnyOf(filter) => match pattern.reach(values).intersection(&Reach::of(filter)) {
                Some(common) if denials.iter().any(|denied| denied.covers(&common)) => is_decided = true,
                Some(_) => return None,
                None => {}
            },
        }
    }
    Some(match (is_decided, is_void) {
        (true, _) => Miss::Decided,
        (false, true) => Miss::Unusable,
        (false, false) => Miss::Topic,
    })
}
