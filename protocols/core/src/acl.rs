//! Access control: ordered rules, of which the first that is about the client, the action and the topic decides.
//!
//! [`Rules`] are compiled once from what the configuration (or a token) says. For each client they are reduced to those
//! that are about it ([`Rights`]); clients for which the same ones remain share them. What none of them decides is
//! refused, unless [`Rules::with_default`] says otherwise. The engine asks through [`crate::policy::Policy`] alone.
//!
//! - The topics of a rule are filters: a wildcard in the first level does not reach what begins with `$`, a rule without
//!   topics does. In them `%u`, `%c` and `%i` stand for the user, the client id and the address, `%%` for a `%`.
//! - A value that can't be one level of a topic (`+`, `#`, `/`, control characters, a `$` in front, nothing at all) is
//!   never put into one. An allowing rule is then not about the client. A denying one still is: it denies everything from
//!   the value's level on, which is all that it could mean.
//! - To subscribe takes the right to one topic that the filter may match. Each delivery is asked for its own topic again.
//! - To publish with RETAIN takes two rights: to publish, and to retain.
//! - To say what is to hold for a queue or a share, or to end one, takes the right to manage it.
//!
//! This file holds the rules; `pattern` their topics, `overlap` how filters relate, `rights` what they come to for one
//! client, `verdicts` what was asked before, `explain` and `cover` what people are told of them.

mod cover;
mod explain;
mod identity;
mod network;
mod overlap;
mod pattern;
mod rights;
mod verdicts;

use std::fmt;
use std::ops::{BitOr, Range};

use thiserror::Error;

use crate::id::Qos;
use crate::topic::TopicError;

pub use cover::Shadowed;
pub use explain::{Explanation, Miss, Passed};
pub use identity::{Identity, Who};
pub use network::{Network, NetworkError};
use pattern::{Pattern, PatternError};
pub use rights::{Bearer, Rights, Shapes, Subject};
pub use verdicts::Verdicts;

/// What a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Verdict {
    /// It may be done.
    Allow,
    /// It may not.
    #[default]
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// The answer to a question: no, or up to which QoS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It may not be done.
    Denied,
    /// It may be done, at no higher QoS.
    UpTo(Qos),
}

impl Answer {
    /// Nothing stands against it.
    pub const FREE: Self = Self::UpTo(Qos::ExactlyOnce);

    /// Whether it may be done, at some QoS.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self != Self::Denied
    }

    /// Whether it may be done at `qos`.
    #[must_use]
    pub fn admits(self, qos: Qos) -> bool {
        matches!(self, Self::UpTo(most) if qos <= most)
    }
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::FREE,
            Verdict::Deny => Self::Denied,
        }
    }
}

/// Which actions a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// To publish, live or as a will.
    pub const PUBLISH: Self = Self(1);
    /// To subscribe, and to be delivered what is subscribed to; to consume, and to browse.
    pub const SUBSCRIBE: Self = Self(2);
    /// To have a published message retained, or a retained one cleared.
    pub const RETAIN: Self = Self(4);
    /// To say what is to hold for a queue or a share, and to end one.
    pub const MANAGE: Self = Self(8);
    /// All of them.
    pub const ALL: Self = Self(15);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Each, with the name by which the configuration knows it.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("publish", Self::PUBLISH),
        ("subscribe", Self::SUBSCRIBE),
        ("retain", Self::RETAIN),
        ("manage", Self::MANAGE),
    ];

    /// The action of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, action)| *action)
    }

    /// The names of its actions, in order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(_, action)| self.contains(*action)).map(|(name, _)| name)
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn bits(self) -> u8 {
        self.0
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// One rule. Of the conditions all that are given must hold; of the values of one condition, any. An empty list is an
/// error, lest a condition whose values were deleted hold for everybody.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it decides.
    pub verdict: Verdict,
    /// The users it is about.
    pub users: Option<Vec<Box<str>>>,
    /// The groups, to be in any of which is enough.
    pub groups: Option<Vec<Box<str>>>,
    /// The client ids; a `*` at the end stands for whatever follows.
    pub clients: Option<Vec<Box<str>>>,
    /// The networks that clients come from. A client of a Unix socket comes from none.
    pub addresses: Option<Vec<Network>>,
    /// Whether it is about clients without a user, or about those with one.
    pub anonymous: Option<bool>,
    /// The actions.
    pub actions: Actions,
    /// The topics, as patterns; `None` for every topic there is, the broker's own among them.
    pub topics: Option<Vec<Box<str>>>,
    /// The highest QoS that an allowing rule allows.
    pub max_qos: Option<Qos>,
    /// Where it comes from; the caller knows what it means.
    pub origin: u32,
}

impl Rule {
    /// A rule about everybody, everything and every topic.
    #[must_use]
    pub fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            users: None,
            groups: None,
            clients: None,
            addresses: None,
            anonymous: None,
            actions: Actions::ALL,
            topics: None,
            max_qos: None,
            origin: 0,
        }
    }
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuleFault {
    /// A condition without values.
    #[error("{key} is empty; name at least one, or leave {key} out for a rule about all of them")]
    Empty {
        /// Which.
        key: &'static str,
    },
    /// A value that nothing is equal to.
    #[error("{key} has an empty value; remove it")]
    EmptyValue {
        /// Which condition.
        key: &'static str,
    },
    /// A `*` before the end of a client id.
    #[error(
        "client {client:?} has a '*' before its end; only the last character can stand for whatever follows"
    )]
    Star {
        /// The client id.
        client: Box<str>,
    },
    /// No client can be both.
    #[error("{key} together with anonymous = true is about nobody; leave one of them out")]
    Nobody {
        /// The other condition.
        key: &'static str,
    },
    /// A topic that is no filter.
    #[error("topic {topic:?}: {error}")]
    Topic {
        /// As it was written.
        topic: Box<str>,
        /// What is wrong with it.
        error: TopicError,
    },
    /// A `%` with something else behind it.
    #[error(
        "topic {topic:?} has {sequence:?}; write %u for the user, %c for the client id, %i for the address, %% for a '%'"
    )]
    Sequence {
        /// As it was written.
        topic: Box<str>,
        /// What stands there.
        sequence: Box<str>,
    },
    /// A share is asked for by its filter.
    #[error(
        "topic {topic:?} begins with $share; a share is judged by the filter behind its group: write that"
    )]
    Share {
        /// As it was written.
        topic: Box<str>,
    },
    /// A denying rule with a QoS.
    #[error("max_qos is for rules that allow; deny the topic altogether, or allow it with a lower max_qos")]
    MaxQos,
}

/// A rule that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{fault}")]
pub struct RuleError {
    /// Which, in the order in which they were given.
    pub rule: usize,
    /// Its [`Rule::origin`].
    pub origin: u32,
    /// What is wrong and how it is mended.
    pub fault: RuleFault,
}

/// Rules in order, ready to be asked.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Box<[Rule]>,
    /// The place of each rule's topics in `patterns`.
    topics: Box<[Range<u32>]>,
    patterns: Box<[Pattern]>,
    default: Verdict,
}

impl Rules {
    /// Makes rules ready. What none of them decides is denied.
    ///
    /// # Errors
    /// The first rule that can't be used.
    pub fn compile(rules: Vec<Rule>) -> Result<Self, RuleError> {
        let mut patterns = Vec::new();
        let mut topics = Vec::with_capacity(rules.len());
        for (place, rule) in rules.iter().enumerate() {
            let first = patterns.len() as u32;
            let error = |fault| RuleError { rule: place, origin: rule.origin, fault };
            check(rule).map_err(error)?;
            match &rule.topics {
                None => patterns.push(Pattern::everything()),
                Some(texts) => {
                    for text in texts {
                        patterns.push(Pattern::parse(text).map_err(|fault| error(fault.of(text)))?);
                    }
                }
            }
            topics.push(first..patterns.len() as u32);
        }
        Ok(Self {
            rules: rules.into(),
            topics: topics.into(),
            patterns: patterns.into(),
            default: Verdict::Deny,
        })
    }

    /// With another verdict on what no rule decides.
    #[must_use]
    pub fn with_default(self, default: Verdict) -> Self {
        Self { default, ..self }
    }

    /// The verdict on what no rule decides.
    #[must_use]
    pub fn default_verdict(&self) -> Verdict {
        self.default
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The topics of the rule at `place`, and the first one's place among all patterns.
    fn patterns_of(&self, place: usize) -> (u32, &[Pattern]) {
        let range = self.topics.get(place).cloned().unwrap_or_default();
        (range.start, self.patterns.get(range.start as usize..range.end as usize).unwrap_or_default())
    }
}

impl PatternError {
    fn of(self, text: &str) -> RuleFault {
        let topic = text.into();
        match self {
            Self::Topic(error) => RuleFault::Topic { topic, error },
            Self::Sequence(sequence) => RuleFault::Sequence { topic, sequence },
            Self::Share => RuleFault::Share { topic },
        }
    }
}

/// Whether the conditions of a rule can hold.
fn check(rule: &Rule) -> Result<(), RuleFault> {
    let texts = [
        ("users", &rule.users),
        ("groups", &rule.groups),
        ("clients", &rule.clients),
        ("topics", &rule.topics),
    ];
    for (key, values) in texts {
        let Some(values) = values else { continue };
        if values.is_empty() {
            return Err(RuleFault::Empty { key });
        }
        if values.iter().any(|value| value.is_empty()) {
            return Err(RuleFault::EmptyValue { key });
        }
    }
    if rule.addresses.as_ref().is_some_and(Vec::is_empty) {
        return Err(RuleFault::Empty { key: "addresses" });
    }
    if rule.actions == Actions::NONE {
        return Err(RuleFault::Empty { key: "actions" });
    }
    for client in rule.clients.iter().flatten() {
        if client.strip_suffix('*').unwrap_or(client).contains('*') {
            return Err(RuleFault::Star { client: client.clone() });
        }
    }
    if rule.anonymous == Some(true) {
        for (key, is_given) in [("users", rule.users.is_some()), ("groups", rule.groups.is_some())] {
            if is_given {
                return Err(RuleFault::Nobody { key });
            }
        }
    }
    if rule.verdict == Verdict::Deny && rule.max_qos.is_some() {
        return Err(RuleFault::MaxQos);
    }
    Ok(())
}

impl Rule {
    /// The first condition that does not hold for a client. Of one about which not everything is known, what is not known
    /// holds for a denial and not for a permission.
    fn unmet(&self, who: Identity<'_>) -> Option<Miss> {
        let unknown_holds = self.verdict == Verdict::Deny;
        let user =
            |users: &Vec<Box<str>>| who.user.is_some_and(|user| users.iter().any(|known| **known == *user));
        let group = |groups: &Vec<Box<str>>| {
            let is_in = |group: &str| who.groups.iter().any(|own| **own == *group);
            if who.is_partial { unknown_holds } else { groups.iter().any(|group| is_in(group)) }
        };
        let client = |clients: &Vec<Box<str>>| {
            clients.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => who.client_id.starts_with(beginning),
                None => **pattern == *who.client_id,
            })
        };
        let address = |networks: &Vec<Network>| match who.address {
            _ if who.is_partial => unknown_holds,
            Some(address) => networks.iter().any(|network| network.contains(address)),
            None => false,
        };
        if self.anonymous.is_some_and(|anonymous| anonymous != who.user.is_none()) {
            return Some(Miss::Anonymous);
        }
        if !self.users.as_ref().is_none_or(user) {
            return Some(Miss::User);
        }
        if !self.groups.as_ref().is_none_or(group) {
            return Some(Miss::Group);
        }
        if !self.clients.as_ref().is_none_or(client) {
            return Some(Miss::Client);
        }
        if !self.addresses.as_ref().is_none_or(address) {
            return Some(Miss::Address);
        }
        None
    }

    /// What it says when it decides.
    fn answer(&self) -> Answer {
        match self.verdict {
            Verdict::Allow => Answer::UpTo(self.max_qos.unwrap_or(Qos::ExactlyOnce)),
            Verdict::Deny => Answer::Denied,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
