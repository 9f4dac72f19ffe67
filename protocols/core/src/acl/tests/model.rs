//! Random rules, clients and topics: what rights say against an evaluator that writes out every topic.

use std::sync::Arc;

use super::super::*;
use crate::hash::Seed;
use crate::policy::{Action, Policy};
use crate::topic::{TopicFilter, TopicLimits, TopicName};

/// A generator that needs nobody's entropy.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn some(&mut self, from: &[&str]) -> Option<Vec<Box<str>>> {
        (self.below(4) == 0).then(|| (0..1 + self.below(2)).map(|_| self.pick(from).into()).collect())
    }
}

const USERS: [&str; 7] = ["a", "b", "ab", "+", "a/b", "$SYS", ""];
const CLIENTS: [&str; 5] = ["a", "b", "a1", "#", "$x"];
const GROUPS: [&str; 3] = ["g", "h", "i"];
const ADDRESSES: [&str; 3] = ["10.0.0.1", "10.9.9.9", "::1"];
const NETWORKS: [&str; 3] = ["10.0.0.0/16", "10.0.0.0/8", "::/0"];

fn pattern(dice: &mut Dice) -> Box<str> {
    let levels = ["a", "b", "x", "+", "%u", "%c", "x%u", "%i", "%%"];
    let mut text = String::new();
    let depth = 1 + dice.below(3);
    for level in 0..depth {
        if level > 0 {
            text.push('/');
        }
        if level + 1 == depth && dice.below(3) == 0 {
            text.push('#');
        } else if level == 0 && dice.below(5) == 0 {
            text.push_str("$SYS");
        } else {
            text.push_str(dice.pick(&levels));
        }
    }
    text.into()
}

fn rule(dice: &mut Dice) -> Rule {
    let verdict = if dice.below(2) == 0 { Verdict::Allow } else { Verdict::Deny };
    let users = dice.some(&USERS[..3]);
    let mut actions = Actions::NONE;
    for (_, action) in Actions::NAMED {
        if dice.below(2) == 0 {
            actions = actions | action;
        }
    }
    let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
    Rule {
        anonymous: (users.is_none() && dice.below(6) == 0).then(|| dice.below(2) == 0),
        users,
        groups: None,
        clients: dice.some(&["a", "a*", "b*", "*"]),
        addresses: dice
            .some(&NETWORKS)
            .map(|all| all.iter().map(|text| Network::parse(text).unwrap()).collect()),
        actions: if actions == Actions::NONE { Actions::ALL } else { actions },
        topics: (dice.below(12) > 0).then(|| (0..1 + dice.below(3)).map(|_| pattern(dice)).collect()),
        max_qos: (verdict == Verdict::Allow && dice.below(4) == 0).then(|| qos[dice.below(3)]),
        ..Rule::new(verdict)
    }
}

fn is_usable(value: &str) -> bool {
    !value.is_empty()
        && !value.starts_with('$')
        && !value.chars().any(|letter| "+#/".contains(letter) || letter.is_control())
}

/// Whether a rule's topic stands for `topic`, by writing it out.
fn stands_for(rule: &Rule, pattern: &str, who: Identity<'_>, topic: &str) -> bool {
    let address = who.address.map(|address| address.to_canonical().to_string());
    let mut written = Vec::new();
    for level in pattern.split('/') {
        let mut text = level.replace("%%", "\u{1}");
        for (name, value) in [("%u", who.user), ("%c", Some(who.client_id)), ("%i", address.as_deref())] {
            if !text.contains(name) {
                continue;
            }
            match value.filter(|value| is_usable(value)) {
                Some(value) => text = text.replace(name, value),
                None if rule.verdict == Verdict::Allow => return false,
                // Everything from here on, the broker's own topics among it.
                None if written.is_empty() => return true,
                None => {
                    written.push("#".to_owned());
                    return matches(&written.join("/"), topic);
                }
            }
        }
        written.push(text.replace('\u{1}', "%"));
    }
    matches(&written.join("/"), topic)
}

fn matches(filter: &str, topic: &str) -> bool {
    let filter = TopicFilter::parse(filter, &TopicLimits::WIDEST).unwrap();
    filter.matches(&TopicName::from_validated(topic))
}

/// The rule that decides, and what it says.
pub(crate) fn decide(
    rules: &[Rule],
    who: Identity<'_>,
    action: Actions,
    topic: &str,
) -> (Option<usize>, Answer) {
    let is_client = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => who.client_id.starts_with(beginning),
        None => pattern == who.client_id,
    };
    for (place, rule) in rules.iter().enumerate() {
        let holds = rule.actions.contains(action)
            && rule.anonymous.is_none_or(|anonymous| anonymous == who.user.is_none())
            && rule.users.as_ref().is_none_or(|users| users.iter().any(|user| who.user == Some(user)))
            && rule.clients.as_ref().is_none_or(|clients| clients.iter().any(|client| is_client(client)))
            && rule.groups.as_ref().is_none_or(|groups| {
                groups.iter().any(|group| who.groups.iter().any(|own| **own == **group))
            })
            && rule.addresses.as_ref().is_none_or(|networks| {
                networks.iter().any(|network| who.address.is_some_and(|address| network.contains(address)))
            });
        let topics = rule.topics.as_ref();
        if holds
            && topics.is_none_or(|topics| topics.iter().any(|pattern| stands_for(rule, pattern, who, topic)))
        {
            let answer = match rule.verdict {
                Verdict::Allow => Answer::UpTo(rule.max_qos.unwrap_or(Qos::ExactlyOnce)),
                Verdict::Deny => Answer::Denied,
            };
            return (Some(place), answer);
        }
    }
    (None, Answer::Denied)
}

/// Every text of up to three of these levels.
fn texts(levels: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut last = vec![String::new()];
    for depth in 0..3 {
        last = last
            .iter()
            .filter(|text| !text.ends_with('#'))
            .flat_map(|text| {
                levels.iter().map(
                    move |level| if depth == 0 { (*level).to_owned() } else { format!("{text}/{level}") },
                )
            })
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

#[test]
fn rights_say_what_the_rules_say() {
    let mut dice = Dice(7);
    let topics = texts(&["a", "b", "xa", "10.0.0.1", "%", "$SYS"]);
    let filters: Vec<_> = texts(&["a", "+", "#", "$SYS"]);
    let filters: Vec<_> =
        filters.iter().map(|text| TopicFilter::parse(text, &TopicLimits::WIDEST).unwrap()).collect();
    let groups: Vec<Arc<str>> = GROUPS.iter().map(|&group| group.into()).collect();
    let (mut refused, mut too_wide, mut shadowed) = (0, 0, 0);
    for _ in 0..60 {
        let mut written: Vec<_> = (0..1 + dice.below(7)).map(|_| rule(&mut dice)).collect();
        for rule in &mut written {
            if rule.anonymous != Some(true) {
                rule.groups = dice.some(&GROUPS);
            }
        }
        let rules = Arc::new(Rules::compile(written.clone()).unwrap());
        let never: Vec<_> = rules.never_match().into_iter().map(|found| found.rule).collect();
        shadowed += never.len();
        let policy = Policy { rules: Some(Arc::clone(&rules)), ..Policy::default() };
        let mut shapes = Shapes::new(&Seed::new(3));
        for _ in 0..6 {
            let user = dice.pick(&USERS);
            let from = dice.below(3);
            let who = Identity {
                user: (dice.below(5) > 0).then_some(user),
                groups: &groups[from..from + dice.below(2)],
                client_id: dice.pick(&CLIENTS),
                address: (dice.below(5) > 0).then(|| dice.pick(&ADDRESSES).parse().unwrap()),
                is_partial: false,
            };
            let rights = shapes.rights_of(Some(&rules), None, who);
            let mut readable = Vec::new();
            for topic in &topics {
                for (_, action) in Actions::NAMED {
                    let (by, expected) = decide(&written, who, action, topic);
                    let found = match &rights {
                        Some(rights) => rights.ask(who, action, Subject::Topic(topic)),
                        None => Answer::FREE,
                    };
                    assert_eq!(found, expected, "{who:?} {action:?} {topic}: {written:#?}");
                    assert!(
                        by.is_none_or(|by| !never.contains(&by)),
                        "{by:?} decides: {who:?} {topic} {written:#?}"
                    );
                    if action == Actions::SUBSCRIBE {
                        if expected.is_allowed() {
                            readable.push(topic);
                        }
                        let why = rules.explain(who, Action::Receive(topic));
                        assert_eq!(
                            (why.rule, Answer::from(why.verdict).is_allowed()),
                            (by, expected.is_allowed())
                        );
                    }
                }
            }
            for filter in &filters {
                let reads = |topic: &&&String| filter.matches(&TopicName::from_validated(topic));
                let any = readable.iter().any(|topic| reads(&topic));
                let granted = policy.allows(rights.as_deref(), who, Action::Subscribe(filter)).is_allowed();
                assert!(granted || !any, "{who:?} {filter}: {written:#?}");
                refused += usize::from(!granted);
                too_wide += usize::from(granted && !any);
                let why = rules.explain(who, Action::Subscribe(filter));
                assert_eq!(why.verdict == Verdict::Allow, granted, "{who:?} {filter} {why:?}: {written:#?}");
            }
        }
    }
    // Some grants are for topics that the alphabet here does not have; most refusals are found.
    assert!(refused > 5 * too_wide, "{refused} refused, {too_wide} granted for nothing");
    assert!(shadowed > 5, "{shadowed}");
}
