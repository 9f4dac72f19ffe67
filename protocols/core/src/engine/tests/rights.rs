//! Every entrance and every exit is asked: the topics here are `open/…`, which everybody may use, `shut/…`, which nobody
//! may, and `ops/…`, for a group.

mod groups;
mod restored;
mod storm;

use super::consumers::{consume, message, talker};
use super::*;
use crate::acl::{Actions, Network, Rule, Rules, Verdict};
use crate::consumer::{Commit, Consume, Request};
use crate::group::QueueOptions;
use AckKind::{PubAck, PubComp, PubRec, PubRel};
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

fn rule(verdict: Verdict, topics: &[&str]) -> Rule {
    Rule { topics: Some(topics.iter().map(|&topic| topic.into()).collect()), ..Rule::new(verdict) }
}

fn allow(topics: &[&str]) -> Rule {
    rule(Verdict::Allow, topics)
}

fn for_ops(rule: Rule) -> Rule {
    Rule { groups: Some(vec!["ops".into()]), ..rule }
}

fn the_rules() -> Vec<Rule> {
    vec![for_ops(allow(&["ops/#"])), allow(&["open/#", "$queue/open"])]
}

fn policy(epoch: u64, rules: Vec<Rule>) -> Arc<Policy> {
    Arc::new(Policy { epoch, rules: Some(Arc::new(Rules::compile(rules).unwrap())), ..Policy::default() })
}

fn kit() -> Kit {
    let mut kit = Kit::new();
    kit.change(the_rules());
    kit
}

impl Kit {
    /// Other rules are in force from now on.
    fn change(&mut self, rules: Vec<Rule>) {
        let epoch = self.engine.policy().epoch + 1;
        self.give(Input::Policy(policy(epoch, rules)));
    }

    fn publish_all(&mut self, number: u32, topics: &[&str], qos: Qos) {
        for topic in topics {
            self.publish(number, publish(topic, topic, qos));
            if qos == ExactlyOnce {
                self.ack(number, PubRel, 1);
            }
        }
    }

    /// A publisher whom the rules let do everything.
    fn publisher(&mut self) {
        self.connect(9, Connect { user: Some("root"), ..client("p") });
    }
}

fn ops() -> [Arc<str>; 1] {
    ["ops".into()]
}

/// As the rules, with a user who may do everything.
fn with_root(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.insert(0, Rule { users: Some(vec!["root".into()]), ..Rule::new(Verdict::Allow) });
    rules
}

fn subscribed(codes: &[Result<Qos, Reason>]) -> Seen {
    Seen::Reply(Reply::Subscribed { packet_id: id(9), codes: codes.into(), why: None })
}

fn retained<'a>(topic: &'a str, body: &'a str) -> Publish<'a> {
    Publish { retain: true, ..publish(topic, body, AtMostOnce) }
}

#[test]
fn a_publication_without_the_right_reaches_nobody_and_mqtt_5_is_told() {
    let mut kit = kit();
    kit.change(with_root(vec![
        Rule { actions: Actions::PUBLISH, max_qos: Some(AtLeastOnce), ..allow(&["low"]) },
        allow(&["open"]),
    ]));
    kit.connect(1, Connect { user: Some("root"), ..client("all") });
    kit.subscribe(1, &[filter("#", ExactlyOnce)]);
    kit.connect(2, client("new"));
    kit.connect(3, Connect { is_v5: false, ..client("old") });
    assert_eq!(kit.publish(2, publish("open", "x", AtLeastOnce)), [acked(PubAck, 1, Reason::Success)]);
    assert_eq!(kit.bodies(1), ["x"]);
    let told = Reason::NotAuthorized;
    assert_eq!(kit.publish(2, publish("shut", "1", AtMostOnce)), []);
    assert_eq!(kit.publish(2, publish("shut", "2", AtLeastOnce)), [acked(PubAck, 1, told)]);
    assert_eq!(kit.publish(2, publish("shut", "3", ExactlyOnce)), [acked(PubRec, 1, told)]);
    // [MQTT-3.3.5-2]: the old one can't be told.
    assert_eq!(kit.publish(3, publish("shut", "4", AtLeastOnce)), [acked(PubAck, 1, Reason::Success)]);
    assert_eq!(kit.publish(3, publish("shut", "5", ExactlyOnce)), [acked(PubRec, 1, Reason::Success)]);
    assert_eq!(kit.ack(3, PubRel, 1), [acked(PubComp, 1, Reason::Success)]);
    assert_eq!(kit.dropped(DropReason::NotAuthorized), 5);
    // Above the ceiling, and retained without the right to that.
    assert_eq!(kit.publish(2, publish("low", "6", ExactlyOnce)), [acked(PubRec, 1, told)]);
    kit.publish(2, retained("low", "7"));
    assert_eq!((kit.bodies(1), kit.dropped(DropReason::NotAuthorized)), (vec![], 7));
    kit.publish(2, publish("low", "8", AtMostOnce));
    assert_eq!(kit.bodies(1), ["8"]);
}

#[test]
fn a_forbidden_will_refuses_the_connection_and_a_revoked_one_is_dropped() {
    let mut kit = kit();
    kit.connect(1, client("mourner"));
    kit.subscribe(1, &[filter("#", AtMostOnce)]);
    let will = |topic| Some(WillRequest { publish: publish(topic, "gone", AtMostOnce), delay_s: 0 });
    assert_eq!(
        kit.connect(2, Connect { will: will("shut"), ..client("a") }),
        [Seen::Closed(Kind::NotAuthorized)]
    );
    assert_eq!(kit.engine.stats().sessions, 1, "a refused CONNECT leaves nothing behind");
    assert_eq!(
        kit.connect(2, Connect { will: will("ops/a"), ..client("a") }),
        [Seen::Closed(Kind::NotAuthorized)],
        "it is not one of ops"
    );
    for number in [3, 4] {
        let name = format!("c{number}");
        assert_eq!(
            kit.connect(number, Connect { will: will("open/w"), ..client(&name) }),
            [connected(false)]
        );
    }
    kit.close(3);
    assert_eq!(kit.bodies(1), ["gone"]);
    kit.change(vec![Rule { actions: Actions::SUBSCRIBE, ..allow(&["#"]) }]);
    kit.close(4);
    assert_eq!((kit.bodies(1), kit.dropped(DropReason::NotAuthorized)), (vec![], 1));
}

#[test]
fn a_subscription_is_granted_what_there_is_a_right_to() {
    let mut kit = kit();
    kit.change(vec![allow(&["open/#"]), Rule { max_qos: Some(AtMostOnce), ..allow(&["low/#"]) }]);
    kit.connect(1, client("c"));
    let asked =
        ["open/x", "shut/x", "#", "low/x", "$share/g/shut/x", "$share/g/open/x", "$SYS/#", "$queue/q"];
    let filters = asked.map(|text| filter(text, AtLeastOnce));
    let (yes, no) = (Ok(AtLeastOnce), Err(Reason::NotAuthorized));
    let codes = [yes, no, yes, Ok(AtMostOnce), no, yes, no, no];
    assert_eq!(kit.subscribe(1, &filters), [subscribed(&codes)]);
}

#[test]
fn a_wide_subscription_is_delivered_what_there_is_a_right_to() {
    let mut kit = kit();
    kit.change(with_root(the_rules()));
    kit.publisher();
    for topic in ["open/r", "shut/r", "ops/r"] {
        kit.publish(9, retained(topic, topic));
    }
    kit.connect(1, client("c"));
    let groups = ops();
    let access = Access { groups: &groups, ..Access::default() };
    kit.connect(2, Connect { access, ..keeper("d") });
    for number in [1, 2] {
        kit.subscribe_as(number, None, &[filter("#", AtLeastOnce)]);
    }
    kit.publish_all(9, &["open/l", "shut/l", "ops/l"], AtLeastOnce);
    assert_eq!(kit.bodies(1), ["open/l"]);
    assert_eq!(kit.bodies(2), ["open/l", "ops/l"]);
    assert_eq!((kit.engine.stats().withheld, kit.dropped(DropReason::NotAuthorized)), (2 + 2 + 1 + 1, 0));
}

#[test]
fn retained_messages_are_replayed_as_far_as_there_is_a_right() {
    let mut kit = kit();
    kit.change(with_root(the_rules()));
    kit.publisher();
    for topic in ["open/r", "shut/r", "ops/r"] {
        kit.publish(9, retained(topic, topic));
    }
    kit.connect(1, client("c"));
    let seen = kit.subscribe(1, &[filter("#", AtMostOnce)]);
    assert_eq!(bodies(seen), ["open/r"]);
    kit.consumer(2, "#");
    assert_eq!(kit.take(2).len() + kit.seen.len(), 0, "taken with the answer");
    assert_eq!(kit.engine.stats().withheld, 4);
}

#[test]
fn what_waited_for_an_absent_client_is_asked_of_at_its_return() {
    let mut kit = kit();
    kit.change(with_root(vec![allow(&["open/#", "late/#"])]));
    kit.publisher();
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("#", ExactlyOnce)]);
    kit.close(1);
    kit.publish_all(9, &["open/1", "late/1", "shut/1", "open/2"], AtLeastOnce);
    assert_eq!(kit.engine.stats().withheld, 1, "its last rights are known");
    kit.change(with_root(vec![allow(&["open/#"])]));
    let seen = kit.connect(2, keeper("c"));
    assert_eq!(bodies(seen), ["open/1", "open/2"]);
    assert_eq!(kit.dropped(DropReason::NotAuthorized), 1);
    assert_eq!(kit.engine.stats().queued, 0);
}

#[test]
fn what_waits_while_the_client_is_there_is_asked_of_when_it_leaves() {
    let mut kit = kit();
    kit.change(with_root(vec![allow(&["open/#", "late/#"])]));
    kit.publisher();
    kit.connect(1, Connect { receive_maximum: id(1), ..client("c") });
    kit.subscribe(1, &[filter("#", AtLeastOnce)]);
    kit.publish_all(9, &["open/1", "late/2", "open/3", "late/4", "open/5"], AtLeastOnce);
    assert_eq!(kit.bodies(1), ["open/1"]);
    kit.change(with_root(vec![allow(&["open/#"])]));
    assert_eq!(bodies(kit.ack(1, PubAck, 1)), ["open/3"]);
    assert_eq!(bodies(kit.ack(1, PubAck, 2)), ["open/5"]);
    assert_eq!(kit.dropped(DropReason::NotAuthorized), 2);
}

/// A message under a packet id is not sent again, and the packet id is not left in the air.
#[test]
fn what_was_sent_is_not_sent_again_without_the_right() {
    let mut kit = kit();
    kit.change(with_root(vec![allow(&["#"])]));
    kit.publisher();
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("#", ExactlyOnce)]);
    kit.publish_all(9, &["late/1", "open/1"], AtLeastOnce);
    kit.publish_all(9, &["late/2", "open/2"], ExactlyOnce);
    assert_eq!(kit.bodies(1).len(), 4);
    kit.close(1);
    kit.change(with_root(vec![allow(&["open/#"])]));
    let seen = kit.connect(2, keeper("c"));
    assert_eq!(bodies(seen.clone()), ["open/1", "open/2"]);
    // Of QoS 1 nothing is left to be said; the client may hold the packet id of QoS 2.
    let release = acked(PubRel, 3, Reason::Success);
    assert_eq!(seen.iter().filter(|seen| **seen == release).count(), 1, "{seen:?}");
    assert_eq!(kit.dropped(DropReason::NotAuthorized), 2);
    assert_eq!(kit.ack(2, PubComp, 3), []);
    assert_eq!(kit.ack(2, PubAck, 1), [], "late, and counted");
    kit.ack(2, PubAck, 2);
    kit.ack(2, PubRec, 4);
    kit.ack(2, PubComp, 4);
    assert_eq!(kit.engine.stats().in_flight, 0);
}

#[test]
fn a_subscription_without_any_right_left_ends() {
    let mut kit = kit();
    kit.change(with_root(vec![allow(&["open/#", "late/#"])]));
    kit.publisher();
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("late/x", AtLeastOnce), filter("#", AtMostOnce)]);
    kit.connect(2, keeper("away"));
    kit.subscribe(2, &[filter("late/x", AtLeastOnce)]);
    kit.close(2);
    kit.manual = true;
    kit.change(with_root(vec![allow(&["open/#"])]));
    let gone = |kit: &Kit| {
        let is_gone = |(_, op): &&(Ticket, StoreOp)| matches!(op, StoreOp::Unsubscribed { .. });
        kit.submitted.iter().filter(is_gone).count()
    };
    assert_eq!(gone(&kit), 1, "the store forgets it as well");
    kit.manual = false;
    // The session that is away is still subscribed until it is back.
    let reason = |kit: &mut Kit| kit.publish(9, publish("late/x", "x", AtLeastOnce));
    assert_eq!(reason(&mut kit), [acked(PubAck, 1, Reason::Success)]);
    kit.manual = true;
    assert_eq!(bodies(kit.connect(3, keeper("away"))), [""; 0]);
    assert_eq!(gone(&kit), 2);
    kit.manual = false;
    assert_eq!((kit.bodies(1), kit.engine.stats().withheld), (vec![], 2));
    kit.publish_all(9, &["open/y"], AtMostOnce);
    assert_eq!(kit.bodies(1), ["open/y"]);
}

#[test]
fn a_change_reaches_however_many_there_are_in_portions() {
    let mut kit = kit();
    kit.change(vec![allow(&["t/#"])]);
    for number in 1..=1_200 {
        let name = format!("c{number}");
        kit.connect(number, client(&name));
        kit.subscribe(number, &[filter("t/x", AtMostOnce)]);
    }
    kit.change(vec![allow(&["other"])]);
    let left = |kit: &Kit| {
        kit.engine.sessions.iter().filter(|(_, session)| !session.subscriptions.is_empty()).count()
    };
    assert_eq!(left(&kit), 1_200 - 256);
    for rest in [1_200 - 512, 1_200 - 768, 1_200 - 1_024, 0] {
        assert!(kit.engine.next_wake_ms().unwrap() <= kit.now.mono_ms + 128, "it does not wait for input");
        kit.pass(128);
        assert_eq!(left(&kit), rest);
    }
}

#[test]
fn deliveries_are_lowered_to_the_qos_that_is_allowed() {
    let mut kit = kit();
    kit.change(with_root(vec![Rule { max_qos: Some(AtMostOnce), ..allow(&["low/#"]) }, allow(&["open/#"])]));
    kit.publisher();
    kit.connect(1, keeper("c"));
    kit.subscribe(1, &[filter("#", ExactlyOnce)]);
    let qos = |seen: Vec<Seen>| {
        let qos = |seen| match seen {
            Seen::Message { qos, .. } => Some(qos),
            _ => None,
        };
        seen.into_iter().filter_map(qos).collect::<Vec<_>>()
    };
    kit.publish_all(9, &["low/x", "open/x"], ExactlyOnce);
    assert_eq!(qos(kit.take(1)), [AtMostOnce, ExactlyOnce]);
    kit.close(1);
    kit.publish_all(9, &["low/x"], ExactlyOnce);
    assert_eq!(kit.engine.stats().queued, 1, "it is kept while the client is away");
    assert!(qos(kit.connect(2, keeper("c"))).contains(&AtMostOnce));
}

#[test]
fn rules_that_come_hold_for_those_who_are_there_and_rules_that_go_hold_no_more() {
    let mut kit = Kit::new();
    kit.connect(1, client("c"));
    kit.connect(2, client("q"));
    kit.publisher();
    kit.subscribe(1, &[filter("#", AtMostOnce)]);
    kit.publish_all(9, &["shut/1"], AtMostOnce);
    kit.change(with_root(the_rules()));
    kit.publish_all(9, &["shut/2", "open/2"], AtMostOnce);
    kit.publish_all(2, &["shut/x"], AtMostOnce);
    kit.give(Input::Policy(Arc::new(Policy { epoch: 77, ..Policy::default() })));
    kit.publish_all(9, &["shut/3"], AtMostOnce);
    kit.publish_all(2, &["shut/y"], AtMostOnce);
    assert_eq!(kit.bodies(1), ["shut/1", "open/2", "shut/3", "shut/y"]);
}

#[test]
fn an_address_decides_and_a_new_connection_has_its_own() {
    let mut kit = kit();
    let inside = Some(vec![Network::parse("10.0.0.0/8").unwrap()]);
    kit.change(with_root(vec![Rule { addresses: inside, ..allow(&["t"]) }]));
    kit.publisher();
    let from = |address: &str| Access { address: Some(address.parse().unwrap()), ..Access::default() };
    kit.connect(1, Connect { access: from("10.1.1.1"), ..keeper("c") });
    assert_eq!(kit.subscribe(1, &[filter("t", AtLeastOnce)]), [subscribed(&[Ok(AtLeastOnce)])]);
    kit.close(1);
    kit.publish_all(9, &["t"], AtLeastOnce);
    let seen = kit.connect(2, Connect { access: from("192.168.0.1"), ..keeper("c") });
    assert_eq!((bodies(seen), kit.dropped(DropReason::NotAuthorized)), (vec![], 1));
    assert_eq!(kit.subscribe(2, &[filter("t", AtLeastOnce)]), [subscribed(&[Err(Reason::NotAuthorized)])]);
}

#[test]
fn a_token_brings_rules_and_an_end() {
    let mut kit = Kit::new();
    let rules = Some(Arc::new(Rules::compile(vec![allow(&["t"])]).unwrap()));
    kit.now.wall_ms = 1_000_000;
    let until =
        |expires_ms| Access { rules: rules.clone(), expires_ms: Some(expires_ms), ..Access::default() };
    assert_eq!(
        kit.connect(1, Connect { access: until(1_000_000), ..client("late") }),
        [Seen::Closed(Kind::NotAuthorized)]
    );
    kit.connect(2, Connect { access: until(1_090_000), ..client("c") });
    assert_eq!(kit.publish(2, publish("u", "x", AtLeastOnce)), [acked(PubAck, 1, Reason::NotAuthorized)]);
    let found = [acked(PubAck, 1, Reason::NoMatchingSubscribers)];
    assert_eq!(kit.publish(2, publish("t", "x", AtLeastOnce)), found);
    let pass = |kit: &mut Kit, mono_ms: u64, wall_ms| {
        kit.now.wall_ms += wall_ms;
        kit.pass(mono_ms);
        kit.take(2)
    };
    assert_eq!(pass(&mut kit, 89_000, 89_000), []);
    assert_eq!(pass(&mut kit, 1_256, 1_256), [Seen::Closed(Kind::NotAuthorized)]);
    // A clock that is set forward is noticed within a minute, one that is set back puts it off.
    kit.connect(2, Connect { access: until(9_000_000), ..client("c") });
    assert_eq!(pass(&mut kit, 100, 10_000_000), []);
    assert_eq!(pass(&mut kit, 60_128, 0), [Seen::Closed(Kind::NotAuthorized)]);
    kit.now.wall_ms = 1_000_000;
    kit.connect(2, Connect { access: until(1_010_000), ..client("c") });
    kit.now.wall_ms = 0;
    assert_eq!(pass(&mut kit, 20_000, 20_000), []);
    assert_eq!(pass(&mut kit, 990_256, 990_256), [Seen::Closed(Kind::NotAuthorized)]);
}

/// Guessing a client id opens nobody's session, whatever else the thief may do.
#[test]
fn another_users_session_is_not_to_be_had() {
    let mut kit = kit();
    kit.change(with_root(the_rules()));
    kit.publisher();
    kit.connect(1, Connect { user: Some("anna"), ..keeper("c") });
    kit.subscribe(1, &[filter("open/#", AtLeastOnce)]);
    kit.close(1);
    kit.publish_all(9, &["open/mail"], AtLeastOnce);
    for user in [None, Some("root"), Some("")] {
        for clean_start in [false, true] {
            let thief = Connect { user, clean_start, ..keeper("c") };
            assert_eq!(kit.connect(2, thief), [Seen::Closed(Kind::NotAuthorized)], "{user:?}");
        }
    }
    assert_eq!(bodies(kit.connect(3, Connect { user: Some("anna"), ..keeper("c") })), ["open/mail"]);
}

#[test]
fn many_rules_are_asked_once_for_each_topic() {
    let mut kit = kit();
    let texts: Vec<_> = (0..50).map(|number| format!("t/{number}/#")).collect();
    let topics: Vec<_> = texts.iter().map(String::as_str).collect();
    kit.change(vec![allow(&topics)]);
    kit.connect(1, client("c"));
    kit.connect(2, client("p"));
    kit.subscribe(1, &[filter("#", AtMostOnce)]);
    for _ in 0..10 {
        kit.publish_all(2, &["t/49/x", "shut"], AtMostOnce);
    }
    assert_eq!(kit.bodies(1).len(), 10);
    // A verdict does not outlive its rules.
    kit.change(vec![allow(&["shut"]), allow(&topics[..40])]);
    kit.publish_all(2, &["t/49/x", "shut", "t/1/x"], AtMostOnce);
    assert_eq!(kit.bodies(1), ["shut", "t/1/x"]);
}
