//! Rules by example, and random rules against an evaluator that writes everything out.

pub(crate) mod model;

use std::sync::Arc;

use super::*;
use crate::hash::Seed;
use crate::policy::{Action, Policy};
use crate::topic::{TopicFilter, TopicLimits};

fn rule(verdict: Verdict, topics: &[&str]) -> Rule {
    let topics = topics.iter().map(|&topic| topic.into()).collect();
    Rule { topics: Some(topics), ..Rule::new(verdict) }
}

fn allow(topics: &[&str]) -> Rule {
    rule(Verdict::Allow, topics)
}

fn deny(topics: &[&str]) -> Rule {
    rule(Verdict::Deny, topics)
}

fn texts(values: &[&str]) -> Option<Vec<Box<str>>> {
    Some(values.iter().map(|&value| value.into()).collect())
}

fn user<'a>(user: &'a str, client_id: &'a str) -> Identity<'a> {
    Identity { user: Some(user), ..Identity::anonymous(client_id) }
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, &TopicLimits::WIDEST).unwrap()
}

fn publish(topic: &str) -> Action<'_> {
    Action::Publish { topic, qos: Qos::AtMostOnce, retain: false }
}

struct Kit {
    policy: Policy,
    shapes: Shapes,
}

impl Kit {
    fn new(rules: Vec<Rule>) -> Self {
        let rules = Some(Arc::new(Rules::compile(rules).unwrap()));
        Self { policy: Policy { rules, ..Policy::default() }, shapes: Shapes::new(&Seed::new(1)) }
    }

    fn ask(&mut self, who: Identity<'_>, action: Action<'_>) -> Answer {
        let rights = self.shapes.rights_of(self.policy.rules.as_ref(), None, who);
        self.policy.allows(rights.as_deref(), who, action)
    }

    fn may(&mut self, who: Identity<'_>, action: Action<'_>) -> bool {
        self.ask(who, action).is_allowed()
    }
}

#[test]
fn the_first_rule_that_is_about_it_decides_and_what_none_is_about_is_denied() {
    let mut kit = Kit::new(vec![
        Rule { users: texts(&["anna"]), ..allow(&["secret/#"]) },
        deny(&["secret/#"]),
        Rule { groups: texts(&["ops", "admins"]), ..allow(&["#"]) },
        Rule { actions: Actions::SUBSCRIBE, ..allow(&["public/#"]) },
    ]);
    let groups: [Arc<str>; 1] = ["ops".into()];
    let (anna, otto) = (user("anna", "a"), Identity { groups: &groups, ..user("otto", "o") });
    let nobody = Identity::anonymous("n");
    assert!(kit.may(anna, publish("secret/x")) && kit.may(anna, Action::Receive("secret/x")));
    assert!(!kit.may(otto, publish("secret/x")), "the denial comes before the group's rule");
    assert!(kit.may(otto, publish("plain")) && !kit.may(anna, publish("plain")));
    assert!(kit.may(nobody, Action::Receive("public/x")) && !kit.may(nobody, publish("public/x")));
    assert!(!kit.may(nobody, Action::Receive("elsewhere")));
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let mut kit = Kit::new(vec![Rule {
        users: texts(&["anna", "otto"]),
        groups: texts(&["ops"]),
        clients: texts(&["press-*", "exact"]),
        addresses: Some(vec![Network::parse("10.0.0.0/8").unwrap()]),
        ..allow(&["t"])
    }]);
    let ops: [Arc<str>; 2] = ["x".into(), "ops".into()];
    let address = Some("10.1.2.3".parse().unwrap());
    let right = Identity { groups: &ops, address, ..user("anna", "press-7") };
    assert!(kit.may(right, publish("t")));
    for wrong in [
        Identity { user: Some("eve"), ..right },
        Identity { user: None, ..right },
        Identity { groups: &ops[..1], ..right },
        Identity { client_id: "pres", ..right },
        Identity { client_id: "exact2", ..right },
        Identity { address: Some("11.1.2.3".parse().unwrap()), ..right },
        Identity { address: None, ..right },
        Identity { is_partial: true, ..right },
    ] {
        assert!(!kit.may(wrong, publish("t")), "{wrong:?}");
    }
    assert!(kit.may(Identity { client_id: "exact", ..right }, publish("t")));
    let mut kit = Kit::new(vec![
        Rule { anonymous: Some(true), ..allow(&["a"]) },
        Rule { anonymous: Some(false), ..allow(&["b"]) },
    ]);
    assert!(
        kit.may(Identity::anonymous("c"), publish("a")) && !kit.may(Identity::anonymous("c"), publish("b"))
    );
    assert!(!kit.may(right, publish("a")) && kit.may(right, publish("b")));
}

/// Of a client that the store has kept, groups and address are not known.
#[test]
fn what_is_not_known_holds_against_the_client() {
    let mut kit = Kit::new(vec![
        Rule { groups: texts(&["banned"]), ..deny(&["d/#"]) },
        Rule { addresses: Some(vec![Network::parse("10.0.0.0/8").unwrap()]), ..deny(&["e/#"]) },
        Rule { users: texts(&["anna"]), ..allow(&["#"]) },
    ]);
    assert!(kit.may(user("anna", "c"), publish("d/x")) && kit.may(user("anna", "c"), publish("e/x")));
    let kept = Identity::kept(Some("anna"), "c");
    assert!(!kit.may(kept, publish("d/x")) && !kit.may(kept, publish("e/x")) && kit.may(kept, publish("f")));
}

#[test]
fn values_stand_in_a_topic_as_a_whole_level_or_a_part_of_one() {
    let mut kit = Kit::new(vec![allow(&["s/%u/#", "c-%c-x/+", "%i", "100%%/%u%c"])]);
    let anna = Identity { address: Some("::ffff:10.0.0.7".parse().unwrap()), ..user("anna", "k1") };
    for topic in ["s/anna", "s/anna/a/b", "c-k1-x/y", "10.0.0.7", "100%/annak1"] {
        assert!(kit.may(anna, publish(topic)), "{topic}");
    }
    for topic in
        ["s/anne/a", "s/ann", "s/annab", "s", "c-k1-/y", "c-k1-x", "10.0.0.70", "100%%/annak1", "100%/anna"]
    {
        assert!(!kit.may(anna, publish(topic)), "{topic}");
    }
    let v6 = Identity { address: Some("2001:db8::1".parse().unwrap()), ..anna };
    assert!(kit.may(v6, publish("2001:db8::1")));
}

/// A user named `+` is not everybody, and a denial does not vanish over one.
#[test]
fn a_value_that_would_change_the_topic_is_put_nowhere() {
    let mut kit = Kit::new(vec![deny(&["out/%u/box", "%c"]), allow(&["home/%u/#", "x-%c", "out/#", "y"])]);
    for value in ["+", "#", "a/b", "/", "", "\0", "a\u{7}", "$SYS", "a+", "\u{85}"] {
        let (nasty_user, nasty_client) = (user(value, "k"), user("anna", value));
        for topic in ["home/x/y", "home/+", "home/a/b/c", "home", &format!("home/{value}/z")] {
            assert!(!kit.may(nasty_user, publish(topic)), "{value:?}: {topic:?}");
        }
        // All that the denial could have meant.
        for topic in ["out/x/box", "out/a/b/box", "out/anything", "out"] {
            assert!(!kit.may(nasty_user, publish(topic)), "{value:?}: {topic:?}");
        }
        // In the first level that is every topic there is.
        for topic in ["y", "x-k", "$queue/q"] {
            assert!(!kit.may(nasty_client, publish(topic)), "{value:?}: {topic:?}");
        }
        assert!(kit.may(nasty_user, publish("y")), "{value:?}: its client id is in order");
    }
    let plain = user("anna", "k");
    assert!(kit.may(plain, publish("home/anna/x")) && kit.may(plain, publish("out/otto/box")));
    assert!(!kit.may(plain, publish("out/anna/box")) && !kit.may(plain, publish("k")));
    // Who has no name is denied as one whose name can't be used.
    assert!(
        !kit.may(Identity::anonymous("k"), publish("out/x"))
            && !kit.may(Identity::anonymous("k"), publish("home/x"))
    );
}

#[test]
fn a_wildcard_in_front_does_not_reach_what_begins_with_a_dollar() {
    let mut kit = Kit::new(vec![allow(&["#", "+/x", "$queue/jobs"])]);
    let who = Identity::anonymous("c");
    assert!(kit.may(who, Action::Receive("a/x")) && kit.may(who, Action::Receive("$queue/jobs")));
    assert!(!kit.may(who, Action::Receive("$SYS/x")) && !kit.may(who, Action::Receive("$queue/others")));
    assert!(!kit.may(who, Action::Subscribe(&filter("$SYS/#"))));
    // A rule without topics is about all there are, save that nobody publishes to the broker's own.
    let mut kit = Kit::new(vec![Rule::new(Verdict::Allow)]);
    assert!(kit.may(who, Action::Receive("$SYS/x")) && kit.may(who, publish("$queue/q")));
    assert!(!kit.may(who, publish("$SYS/x")));
    assert!(
        kit.shapes.rights_of(kit.policy.rules.as_ref(), None, who).is_none(),
        "nothing needs to be asked"
    );
}

#[test]
fn a_subscription_takes_the_right_to_one_topic_that_it_may_match() {
    let mut kit = Kit::new(vec![deny(&["a/secret/#", "b/+"]), allow(&["a/#", "b/+", "c/d"])]);
    let who = Identity::anonymous("c");
    for granted in ["#", "a/#", "a/+", "+/d", "c/+", "c/d", "a/other/+", "a"] {
        assert!(kit.may(who, Action::Subscribe(&filter(granted))), "{granted}");
    }
    for refused in [
        "a/secret",
        "+/secret",
        "a/secret/+",
        "a/secret/x/#",
        "+/secret/x",
        "b/+",
        "b/x",
        "c/e",
        "c",
        "$SYS/#",
    ] {
        assert!(!kit.may(who, Action::Subscribe(&filter(refused))), "{refused}");
    }
}

#[test]
fn qos_and_retain_have_limits_of_their_own() {
    let mut kit = Kit::new(vec![
        Rule {
            max_qos: Some(Qos::AtLeastOnce),
            actions: Actions::PUBLISH | Actions::SUBSCRIBE,
            ..allow(&["a/#"])
        },
        Rule { max_qos: Some(Qos::AtMostOnce), ..allow(&["b"]) },
    ]);
    let who = Identity::anonymous("c");
    let publish = |topic, qos, retain| Action::Publish { topic, qos, retain };
    assert!(kit.may(who, publish("a/x", Qos::AtLeastOnce, false)));
    assert!(!kit.may(who, publish("a/x", Qos::ExactlyOnce, false)), "above max_qos");
    assert!(!kit.may(who, publish("a/x", Qos::AtMostOnce, true)), "no right to retain");
    assert!(kit.may(who, publish("b", Qos::AtMostOnce, true)));
    assert_eq!(kit.ask(who, Action::Subscribe(&filter("a/x"))), Answer::UpTo(Qos::AtLeastOnce));
    assert_eq!(kit.ask(who, Action::Subscribe(&filter("b"))), Answer::UpTo(Qos::AtMostOnce));
    assert_eq!(
        kit.ask(who, Action::Subscribe(&filter("#"))),
        Answer::UpTo(Qos::AtLeastOnce),
        "the most of any"
    );
    assert!(!kit.may(who, Action::Manage(&filter("a/#"))) && kit.may(who, Action::Manage(&filter("b"))));
}

#[test]
fn a_tokens_rules_come_first_and_alone_allow_nothing_else() {
    let token = Arc::new(Rules::compile(vec![allow(&["t/#"]), deny(&["a/b"])]).unwrap());
    let rules = Arc::new(Rules::compile(vec![deny(&["t/x"]), allow(&["a/#"])]).unwrap());
    let (policy, mut shapes) = (Policy::default(), Shapes::new(&Seed::new(1)));
    let who = user("anna", "c");
    let both = shapes.rights_of(Some(&rules), Some(&token), who);
    let may = |topic| policy.allows(both.as_deref(), who, publish(topic)).is_allowed();
    assert!(may("t/x") && may("a/c") && !may("a/b") && !may("z"));
    let alone = shapes.rights_of(None, Some(&token), who);
    let may = |topic| policy.allows(alone.as_deref(), who, publish(topic)).is_allowed();
    assert!(may("t/x") && !may("a/c") && !may("z"));
}

#[test]
fn a_client_may_listen_where_the_broker_told_it_to() {
    let mut kit = Kit::new(vec![allow(&["x"])]);
    let who = Identity::anonymous("me/2");
    for (topic, own) in
        [("$reply/me%2F2", true), ("$reply/me%2F2/x", true), ("$reply/me", false), ("$reply/me%2F23", false)]
    {
        assert_eq!(kit.may(who, Action::Receive(topic)), own, "{topic}");
        assert_eq!(kit.may(who, Action::Subscribe(&filter(topic))), own, "{topic}");
    }
    assert!(!kit.may(who, publish("$reply/other")), "to answer takes a right");
}

#[test]
fn a_rule_that_means_nothing_is_an_error_that_says_which() {
    let good = || allow(&["a"]);
    let bad: Vec<(Rule, &str)> = vec![
        (Rule { users: Some(vec![]), ..good() }, "users is empty"),
        (Rule { groups: texts(&[""]), ..good() }, "groups has an empty value"),
        (Rule { topics: Some(vec![]), ..good() }, "topics is empty"),
        (Rule { addresses: Some(vec![]), ..good() }, "addresses is empty"),
        (Rule { actions: Actions::NONE, ..good() }, "actions is empty"),
        (Rule { clients: texts(&["a*b"]), ..good() }, "has a '*' before its end"),
        (Rule { clients: texts(&["a**"]), ..good() }, "has a '*' before its end"),
        (Rule { anonymous: Some(true), users: texts(&["a"]), ..good() }, "about nobody"),
        (Rule { anonymous: Some(true), groups: texts(&["a"]), ..good() }, "about nobody"),
        (Rule { max_qos: Some(Qos::AtMostOnce), ..deny(&["a"]) }, "max_qos is for rules that allow"),
        (allow(&["a", "b/#/c"]), "'#' must be the last level"),
        (allow(&["a/%u+"]), "give it a level of its own"),
        (allow(&["a/%x"]), "has \"%x\""),
        (allow(&["a/%"]), "has \"%\""),
        (allow(&["a/%%%"]), "has \"%\""),
        (allow(&["$share/g/t"]), "judged by the filter behind its group"),
    ];
    for (rule, expected) in bad {
        let error = Rules::compile(vec![good(), Rule { origin: 77, ..rule }]).unwrap_err();
        assert_eq!((error.rule, error.origin), (1, 77), "{expected}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(Rules::compile(vec![Rule { clients: texts(&["*", "a*"]), ..good() }]).is_ok());
}

#[test]
fn clients_for_whom_the_same_rules_are_left_share_their_rights() {
    let own = Rule { users: texts(&["anna"]), ..allow(&["anna/#"]) };
    let mut kit = Kit::new(vec![own, allow(&["s/%u/#"])]);
    let mut rights =
        |name: &str| kit.shapes.rights_of(kit.policy.rules.as_ref(), None, user(name, "c")).unwrap();
    let (otto, eve, anna, nasty) = (rights("otto"), rights("eve"), rights("anna"), rights("a/b"));
    assert!(Arc::ptr_eq(&otto, &eve) && !Arc::ptr_eq(&otto, &anna) && !Arc::ptr_eq(&otto, &nasty));
    assert!(otto.is_personal() && nasty.is_empty());
    let all: Vec<_> = (0..10_000).map(|number| rights(&format!("user-{number}"))).collect();
    assert!(all.iter().all(|rights| Arc::ptr_eq(rights, &otto)));
    drop((all, otto, eve, anna, nasty));
    assert_eq!(kit.shapes.len(), 3);
}

#[test]
fn rights_that_nobody_has_any_more_are_forgotten() {
    let rules =
        (0..2_000).map(|number| Rule { users: texts(&[&format!("u{number}")]), ..allow(&["a"]) }).collect();
    let mut kit = Kit::new(rules);
    let held = kit.shapes.rights_of(kit.policy.rules.as_ref(), None, user("u0", "c"));
    for number in 0..2_000 {
        kit.may(user(&format!("u{number}"), "c"), publish("a"));
        assert!(kit.shapes.len() <= 130, "{}", kit.shapes.len());
    }
    let again = kit.shapes.rights_of(kit.policy.rules.as_ref(), None, user("u0", "c"));
    assert!(Arc::ptr_eq(&held.unwrap(), &again.unwrap()), "what somebody has is kept");
}

#[test]
fn a_verdict_is_remembered_for_its_rights_action_and_topic_alone() {
    let mut verdicts = Verdicts::new(Seed::new(1));
    let (yes, no) = (Answer::FREE, Answer::Denied);
    assert_eq!(verdicts.ask((1, 0), Actions::PUBLISH, "t", || yes), yes);
    assert_eq!(verdicts.ask((1, 0), Actions::PUBLISH, "t", || no), yes, "known");
    assert_eq!(verdicts.hits(), 1);
    assert_eq!(verdicts.ask((2, 0), Actions::PUBLISH, "t", || no), no);
    assert_eq!(verdicts.ask((1, 7), Actions::PUBLISH, "t", || no), no, "somebody's own");
    assert_eq!(verdicts.ask((1, 0), Actions::SUBSCRIBE, "t", || no), no);
    assert_eq!(verdicts.ask((1, 0), Actions::PUBLISH, "u", || no), no);
    let long = "x".repeat(300);
    assert_eq!(verdicts.ask((1, 0), Actions::PUBLISH, &long, || yes), yes);
    assert_eq!(verdicts.ask((1, 0), Actions::PUBLISH, &long, || no), no, "asked each time");
}

#[test]
fn an_explanation_names_the_rule_and_those_that_nearly_decided() {
    let rules = Rules::compile(vec![
        Rule { users: texts(&["anna"]), origin: 10, ..allow(&["a/#"]) },
        Rule { actions: Actions::SUBSCRIBE, origin: 20, ..allow(&["a/#"]) },
        Rule { origin: 30, ..allow(&["b"]) },
        Rule { users: texts(&["eve"]), actions: Actions::SUBSCRIBE, origin: 40, ..allow(&["a/#"]) },
        Rule { origin: 50, ..deny(&["a/x"]) },
    ])
    .unwrap();
    let why = rules.explain(user("otto", "c"), publish("a/x"));
    assert_eq!((why.verdict, why.rule), (Verdict::Deny, Some(4)));
    let passed: Vec<_> = why.passed.iter().map(|passed| (passed.origin, passed.miss)).collect();
    assert_eq!(passed, [(10, Miss::User), (20, Miss::Action), (30, Miss::Topic)]);
    let why = rules.explain(user("otto", "c"), publish("z"));
    assert_eq!((why.verdict, why.rule), (Verdict::Deny, None));
    assert_eq!(why.why, "no rule decides: the default is to deny");
    let rules = Rules::compile(vec![Rule {
        actions: Actions::PUBLISH,
        max_qos: Some(Qos::AtMostOnce),
        ..allow(&["a"])
    }])
    .unwrap();
    let of =
        |qos, retain| rules.explain(Identity::anonymous("c"), Action::Publish { topic: "a", qos, retain });
    assert_eq!(of(Qos::AtMostOnce, false).verdict, Verdict::Allow);
    assert_eq!(of(Qos::AtLeastOnce, false).why, "rule 1 allows it up to QoS 0, not at QoS 1");
    let why = of(Qos::AtMostOnce, true).why;
    assert!(why.starts_with("to publish it is allowed, to retain it is not"), "{why}");
}

#[test]
fn a_rule_behind_a_wider_one_never_decides() {
    let ops = || Rule { groups: texts(&["ops"]), ..allow(&["#"]) };
    let cases: Vec<(Vec<Rule>, &[usize])> = vec![
        // The slip that this is for: the exception comes too late.
        (vec![ops(), Rule { groups: texts(&["ops"]), ..deny(&["secret/#"]) }], &[1]),
        (vec![ops(), deny(&["secret/#"])], &[]),
        (vec![ops(), Rule { groups: texts(&["ops"]), ..deny(&["$SYS/#"]) }], &[]),
        (
            vec![
                Rule { groups: texts(&["ops"]), ..Rule::new(Verdict::Allow) },
                Rule { groups: texts(&["ops"]), ..deny(&["$SYS/#"]) },
            ],
            &[1],
        ),
        (vec![allow(&["a/#", "b/#"]), deny(&["a/+", "b"])], &[1]),
        (vec![allow(&["a/#"]), deny(&["a/+", "b"])], &[]),
        (
            vec![
                Rule { actions: Actions::PUBLISH, ..allow(&["a"]) },
                Rule { actions: Actions::SUBSCRIBE, ..allow(&["a"]) },
                allow(&["a"]),
            ],
            &[],
        ),
        (
            vec![
                Rule { actions: Actions::PUBLISH, ..allow(&["a"]) },
                Rule { actions: Actions::SUBSCRIBE, ..allow(&["a"]) },
                Rule { actions: Actions::PUBLISH | Actions::SUBSCRIBE, ..deny(&["a"]) },
            ],
            &[2],
        ),
        (
            vec![
                Rule { clients: texts(&["p*"]), ..allow(&["a"]) },
                Rule { clients: texts(&["press-*", "p"]), ..deny(&["a"]) },
            ],
            &[1],
        ),
        (
            vec![
                Rule { clients: texts(&["press-*"]), ..allow(&["a"]) },
                Rule { clients: texts(&["p*"]), ..deny(&["a"]) },
            ],
            &[],
        ),
        (
            vec![
                Rule { anonymous: Some(false), ..allow(&["a"]) },
                Rule { users: texts(&["u"]), ..deny(&["a"]) },
            ],
            &[1],
        ),
        // A client without a usable name: the permission is nothing, the denial is all.
        (vec![allow(&["a/%u"]), deny(&["a/%u"])], &[]),
        (vec![allow(&["a/+"]), deny(&["a/%u"])], &[]),
        (vec![allow(&["a/#"]), deny(&["a/%u"])], &[1]),
        (vec![allow(&["a/+"]), allow(&["a/%u"])], &[1]),
        (vec![deny(&["a/%u"]), allow(&["a/%u"])], &[1]),
        (vec![deny(&["a/%u/+"]), deny(&["a/%u/%c"])], &[]),
    ];
    for (rules, expected) in cases {
        let shown = format!("{rules:?}");
        let found: Vec<_> =
            Rules::compile(rules).unwrap().never_match().into_iter().map(|found| found.rule).collect();
        assert_eq!(found, expected, "{shown}");
    }
}
