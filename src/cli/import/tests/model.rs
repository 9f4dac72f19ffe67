//! Rules of an acl_file, as Mosquitto 2.0 asks them, against the rules that they become.

use std::sync::Arc;

use noctule_core::acl::{Identity, Shapes};
use noctule_core::hash::Seed;
use noctule_core::id::Qos;
use noctule_core::policy::{Action, Policy};
use noctule_core::topic::{TopicFilter, TopicLimits, TopicName};

use super::{Config, Place};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Read,
    Write,
}

/// What our policy says.
pub(super) fn allows(config: &Config, user: Option<&str>, client: &str, topic: &str, deed: Deed) -> bool {
    let policy = Policy { rules: config.rules().unwrap().map(Arc::new), ..Policy::default() };
    let who = Identity { user, ..Identity::anonymous(client) };
    let rights = Shapes::new(&Seed::new(1)).rights_of(policy.rules.as_ref(), None, who);
    let ask = |action| policy.allows(rights.as_deref(), who, action).is_allowed();
    let publish = |retain| Action::Publish { topic, qos: Qos::ExactlyOnce, retain };
    match deed {
        Deed::Read => ask(Action::Receive(topic)),
        Deed::Write => {
            let (plain, retained) = (ask(publish(false)), ask(publish(true)));
            assert_eq!(plain, retained, "to Mosquitto it is the same right");
            plain
        }
    }
}

/// What Mosquitto says, line by line: of the user's own lines first the denials, then the others; then of the patterns.
fn mosquitto(acl: &str, user: Option<&str>, client: &str, topic: &str, deed: Deed) -> bool {
    if deed == Deed::Write && topic.starts_with("$SYS") {
        return false;
    }
    let (mut own, mut patterns, mut subject) = (Vec::new(), Vec::new(), None);
    for line in acl.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (access, filter) = match words[..] {
            ["user", name] => {
                subject = Some(name);
                continue;
            }
            [_, filter] => ("readwrite", filter),
            [_, access, filter] => (access, filter),
            _ => panic!("{line}"),
        };
        if words[0] == "pattern" {
            patterns.push((access, filter.to_owned()));
        } else if subject == user {
            own.push((access, filter.to_owned()));
        }
    }
    let mut meant = Vec::new();
    for (access, filter) in patterns {
        if filter.contains("%u") && user.is_none() {
            continue;
        }
        let mut text = String::new();
        let mut rest = filter.as_str();
        while let Some(letter) = rest.chars().next() {
            if let (Some(behind), Some(user)) = (rest.strip_prefix("%u"), user) {
                text.push_str(user);
                rest = behind;
            } else if let Some(behind) = rest.strip_prefix("%c") {
                text.push_str(client);
                rest = behind;
            } else {
                text.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
        meant.push((access, text));
    }
    let matches = |filter: &str| {
        let filter = TopicFilter::parse(filter, &TopicLimits::WIDEST).unwrap();
        filter.matches(&TopicName::from_validated(topic))
    };
    for lines in [own, meant] {
        let (denials, others): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|(access, _)| *access == "deny");
        if denials.iter().any(|(_, filter)| matches(filter)) {
            return false;
        }
        let wanted = if deed == Deed::Read { "read" } else { "write" };
        if others
            .iter()
            .any(|(access, filter)| (*access == wanted || *access == "readwrite") && matches(filter))
        {
            return true;
        }
    }
    false
}

/// A generator that needs nobody's entropy.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn filter(&mut self) -> String {
        let depth = 1 + self.below(3);
        let mut levels = Vec::new();
        for at in 0..depth {
            levels.push(match self.below(8) {
                0 if at + 1 == depth => "#",
                1 if at == 0 => self.pick(&["$SYS", "$o"]),
                2 => self.pick(&["%%u", "%x", "%", "x%u", "%c%u", "%i"]),
                _ => self.pick(&["a", "b", "u1", "%u", "%c", "+"]),
            });
        }
        levels.join("/")
    }

    fn acl(&mut self) -> String {
        let mut acl = String::new();
        for _ in 0..1 + self.below(12) {
            let line = match self.below(5) {
                0 => format!("user {}", self.pick(&["u1", "u2"])),
                kind => {
                    let word = if kind < 3 { "topic" } else { "pattern" };
                    let access = self.pick(&["", "read ", "write ", "readwrite ", "deny ", "deny "]);
                    format!("{word} {access}{}", self.filter())
                }
            };
            acl.push_str(&line);
            acl.push('\n');
        }
        acl
    }
}

const TOPICS: [&str; 22] = [
    "a", "b", "u1", "c1", "a/b", "a/u1", "u1/a", "a/c1", "u1/c1", "a/%u", "a/%x", "%u", "x%u", "xu1", "c1u1",
    "%u1", "a/a/a", "a/u1/c1", "$SYS/a", "$SYS/a/b", "$o/a", "$p",
];

fn imported(text: &str, acl: &str) -> Config {
    let place = Place::new();
    let imported =
        place.put("m.conf", text).put("acl", acl).import().unwrap_or_else(|wrong| panic!("{acl}{wrong:?}"));
    Config::parse(&imported.text, "f").unwrap()
}

const WITH_USERS: &str = "listener 1\nallow_anonymous true\npassword_file p\nacl_file {}/acl\n";
const WITHOUT_USERS: &str = "listener 1\nallow_anonymous true\nacl_file {}/acl\n";

#[test]
fn rules_say_what_mosquitto_says() {
    let mut dice = Dice(7);
    let (mut allowed, mut denied) = (0, 0);
    for _ in 0..100 {
        let acl = dice.acl();
        let config = imported(WITH_USERS, &acl);
        for user in [None, Some("u1"), Some("u2"), Some("u3")] {
            for client in ["c1", "c2"] {
                for topic in TOPICS {
                    for deed in [Deed::Read, Deed::Write] {
                        let expected = mosquitto(&acl, user, client, topic, deed);
                        let found = allows(&config, user, client, topic, deed);
                        assert_eq!(found, expected, "{user:?} {client} {deed:?} {topic}\n{acl}");
                        *if expected { &mut allowed } else { &mut denied } += 1;
                    }
                }
            }
        }
    }
    assert!(allowed > 2_000 && denied > 2_000, "{allowed} {denied}");
}

#[test]
fn without_users_what_no_line_allows_is_denied_too() {
    let mut dice = Dice(8);
    for _ in 0..100 {
        let acl = dice.acl();
        let config = imported(WITHOUT_USERS, &acl);
        assert!(!config.is_authenticated());
        for topic in TOPICS {
            for deed in [Deed::Read, Deed::Write] {
                let expected = mosquitto(&acl, None, "c1", topic, deed);
                assert_eq!(allows(&config, None, "c1", topic, deed), expected, "{deed:?} {topic}\n{acl}");
            }
        }
    }
    let config = imported(WITHOUT_USERS, "# nothing\n");
    assert!(TOPICS.iter().all(|topic| !allows(&config, None, "c", topic, Deed::Read)));
}

#[test]
fn a_name_that_is_more_than_a_level_gets_no_more_than_in_mosquitto() {
    let mut dice = Dice(9);
    for _ in 0..100 {
        let acl = dice.acl();
        let config = imported(WITH_USERS, &acl);
        for (user, client) in [("a/b", "c1"), ("u1", "a/b"), ("a/b", "b/a")] {
            for topic in ["a/b", "a/a/b", "a/b/b/a", "b/a", "u1/a/b", "a"] {
                for deed in [Deed::Read, Deed::Write] {
                    let is_found = allows(&config, Some(user), client, topic, deed);
                    let is_expected = mosquitto(&acl, Some(user), client, topic, deed);
                    assert!(!is_found || is_expected, "{user} {client} {deed:?} {topic}\n{acl}");
                }
            }
        }
    }
}

#[test]
fn denials_come_first_wherever_they_stand() {
    let acl = "topic readwrite a/#\ntopic deny a/secret\nuser u1\ntopic read b/+\npattern deny b/%u\npattern own/%u/#\n";
    for (user, topic, deed, expected) in [
        (None, "a/x", Deed::Write, true),
        (None, "a/secret", Deed::Read, false),
        (Some("u1"), "a/x", Deed::Read, false),
        // A user's own permission stands above a denying pattern.
        (Some("u1"), "b/u1", Deed::Read, true),
        (Some("u1"), "b/u1", Deed::Write, false),
        (Some("u1"), "own/u1/x", Deed::Write, true),
        (Some("u1"), "own/u2/x", Deed::Write, false),
        (Some("u2"), "own/u2", Deed::Read, true),
        (None, "own/u1/x", Deed::Read, false),
    ] {
        assert_eq!(mosquitto(acl, user, "c", topic, deed), expected, "{user:?} {topic}");
        assert_eq!(allows(&imported(WITH_USERS, acl), user, "c", topic, deed), expected, "{user:?} {topic}");
    }
}

#[test]
fn many_users_with_the_same_lines_are_one_rule() {
    let acl: String =
        (0..2_000).map(|user| format!("user u{user}\ntopic read a/#\ntopic deny a/b\n")).collect();
    let config = imported(WITH_USERS, &acl);
    assert_eq!(config.acl.len(), 2);
    assert!(allows(&config, Some("u1999"), "c", "a/c", Deed::Read));
}
