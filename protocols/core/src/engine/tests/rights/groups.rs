//! Shares, queues, durable subscriptions, and what else STOMP asks for.

use super::*;
use crate::consumer::Verdict as Settlement;
use crate::engine::tests::recovery::{Broker, limits};
use crate::store::Recovered;

fn change(broker: &mut Broker, epoch: u64, rules: &[Rule]) {
    for worker in 0..broker.engines.len() {
        broker.give(worker, Input::Policy(policy(epoch, rules.to_vec())));
    }
}

fn user(user: &str, rule: Rule) -> Rule {
    Rule { users: Some(vec![user.into()]), ..rule }
}

fn subscribe(broker: &mut Broker, number: u32, text: &str) -> Vec<Seen> {
    let filters = [filter(text, AtLeastOnce)];
    let (conn, packet_id, id, selector) = (conn(number), id(9), None, None);
    broker.on(number, Input::Subscribe { conn, packet_id, id, selector, filters: &filters })
}

fn send(broker: &mut Broker, number: u32, topics: &[&str], qos: Qos) {
    for topic in topics {
        broker.on(number, Input::Publish(conn(number), publish(topic, topic, qos)));
    }
}

/// On one worker and on two, wherever the group's home is.
#[test]
fn a_share_passes_over_a_member_without_the_right() {
    for (workers, group) in [(1, "g"), (2, "g"), (2, "h"), (2, "i"), (2, "j")] {
        let mut broker = Broker::restart(workers, limits(), Recovered::default());
        change(&mut broker, 2, &with_root(vec![user("anna", allow(&["#"])), allow(&["open/#"])]));
        let text = format!("$share/{group}/#");
        broker.connect_at(0, 1, Connect { user: Some("anna"), ..client("a") });
        broker.connect_at(usize::from(workers) - 1, 2, client("b"));
        broker.connect_at(0, 9, Connect { user: Some("root"), ..client("p") });
        for number in [1, 2] {
            assert_eq!(subscribe(&mut broker, number, &text), [subscribed(&[Ok(AtLeastOnce)])]);
        }
        for qos in [AtMostOnce, AtLeastOnce] {
            send(&mut broker, 9, &["shut/1", "shut/2", "shut/3", "open/1", "open/2"], qos);
        }
        let (anna, other) = (bodies(broker.take(1)), bodies(broker.take(2)));
        assert!(anna.iter().filter(|topic| topic.starts_with("shut")).count() == 6, "{anna:?}");
        assert!(other.iter().all(|topic| topic.starts_with("open")) && !other.is_empty(), "{other:?}");
        assert_eq!(anna.len() + other.len(), 10);
        // Now it is the other way round, at once.
        let no_more = user("anna", rule(Verdict::Deny, &["shut/#"]));
        change(&mut broker, 3, &with_root(vec![no_more, allow(&["#"])]));
        send(&mut broker, 9, &["shut/1", "shut/2"], AtLeastOnce);
        assert_eq!(bodies(broker.take(2)).len(), 2, "{workers} workers, group {group}");
        assert_eq!(bodies(broker.take(1)), [""; 0]);
        // Nobody is left who may have it.
        change(&mut broker, 4, &with_root(vec![allow(&["open/#"])]));
        send(&mut broker, 9, &["shut/1"], AtLeastOnce);
        let dropped = |broker: &Broker| {
            let of = |engine: &Engine| engine.stats().dropped(DropReason::NoGroupMember);
            broker.engines.iter().map(of).sum::<u64>()
        };
        assert_eq!(dropped(&broker), 1);
        assert_eq!(broker.engines.iter().map(|engine| engine.stats().queued).sum::<u64>(), 0);
    }
}

/// The member's worker has heard of a change that the group's home has not: what it declines goes to another, and does
/// not come back again and again.
#[test]
fn what_a_member_must_decline_goes_to_another() {
    for late in [0, 1] {
        let mut broker = Broker::restart(2, limits(), Recovered::default());
        let shared = Arc::clone(broker.engines[0].shared());
        let group = (0..).map(|number| format!("g{number}"));
        let group =
            group.into_iter().find(|group| shared.home_of_group(group, "t/#") == WorkerId(0)).unwrap();
        let text = format!("$share/{group}/t/#");
        let before = with_root(vec![allow(&["t/#"])]);
        change(&mut broker, 2, &before);
        broker.connect_at(1, 1, Connect { user: Some("anna"), ..client("a") });
        broker.connect_at(0, 2, client("b"));
        broker.connect_at(0, 9, Connect { user: Some("root"), ..client("p") });
        for number in [1, 2] {
            subscribe(&mut broker, number, &text);
        }
        let after = with_root(vec![
            user("anna", allow(&["t/open"])),
            user("anna", rule(Verdict::Deny, &["#"])),
            allow(&["t/#"]),
        ]);
        let early = 1 - late;
        broker.give(early, Input::Policy(policy(3, after.clone())));
        send(&mut broker, 9, &["t/1", "t/2", "t/3", "t/4"], AtLeastOnce);
        let (anna, other) = (bodies(broker.take(1)).len(), bodies(broker.take(2)).len());
        assert_eq!(anna + other, 4);
        // Her worker is the last exit: what it has heard of holds.
        assert!(late == 1 || anna == 0, "{anna}");
        broker.give(late, Input::Policy(policy(3, after)));
        send(&mut broker, 9, &["t/5", "t/6"], AtLeastOnce);
        assert_eq!((bodies(broker.take(1)).len(), bodies(broker.take(2)).len()), (0, 2));
    }
}

#[test]
fn what_waits_in_a_share_goes_when_nobody_may_have_it_any_more() {
    let mut kit = kit();
    kit.change(with_root(vec![allow(&["#"])]));
    kit.publisher();
    let narrow = |name| Connect { receive_maximum: id(1), ..client(name) };
    kit.connect(1, narrow("a"));
    kit.subscribe(1, &[filter("$share/g/#", AtLeastOnce)]);
    let topics: Vec<_> = (0..300).map(|number| format!("late/{number}")).collect();
    kit.publish_all(9, &topics.iter().map(String::as_str).collect::<Vec<_>>(), AtLeastOnce);
    kit.publish_all(9, &["open/1"], AtLeastOnce);
    assert_eq!(kit.bodies(1), ["late/0"]);
    kit.change(with_root(vec![allow(&["open/#"])]));
    assert_eq!(bodies(kit.ack(1, PubAck, 1)), ["open/1"]);
    assert_eq!(kit.engine.stats().queued, 0);
    assert_eq!(kit.dropped(DropReason::NotAuthorized), 299);
}

#[test]
fn a_consumer_that_may_consume_no_more_is_told_and_another_gets_what_waits() {
    let mut kit = kit();
    let q = "$queue/q";
    kit.change(with_root(vec![allow(&[q])]));
    kit.publisher();
    kit.connect(1, Connect { user: Some("anna"), ..talker("t") });
    kit.ask(1, Request::Consume(Consume { window: id(1), ..consume(1, q) }), 0);
    kit.publish_all(9, &[q, q], AtLeastOnce);
    assert_eq!(kit.take(1).len(), 1);
    kit.change(with_root(vec![user("anna", rule(Verdict::Deny, &[q])), allow(&[q])]));
    assert_eq!(kit.take(1), [Seen::Closed(Kind::NotAuthorized)]);
    assert_eq!(kit.engine.stats().queued, 2);
    kit.connect(2, talker("u"));
    kit.ask(2, Request::Consume(consume(1, q)), 0);
    let seen = kit.ask(1, Request::Consume(consume(1, q)), 0);
    assert_eq!(seen, [], "the connection is gone");
    assert_eq!(kit.engine.stats().loans, 2);
}

/// What comes between a change and the look at the session's subscriptions is declined, once.
#[test]
fn a_consumer_declines_what_comes_before_it_is_looked_at() {
    let mut kit = kit();
    let q = "$queue/q";
    kit.change(with_root(vec![allow(&[q, "x"])]));
    for number in 1..=600 {
        let name = format!("c{number}");
        kit.connect(number, client(&name));
        kit.subscribe(number, &[filter("x", AtMostOnce)]);
    }
    kit.connect(601, talker("t"));
    kit.ask(601, Request::Consume(consume(1, q)), 0);
    kit.connect(602, keeper("m"));
    kit.subscribe(602, &[filter(q, AtLeastOnce)]);
    kit.connect(603, Connect { user: Some("root"), ..client("p") });
    kit.change(with_root(vec![allow(&["x"])]));
    kit.publish_all(603, &[q, q], AtLeastOnce);
    assert_eq!(kit.take(601), [Seen::Closed(Kind::NotAuthorized)]);
    assert_eq!((kit.bodies(602), kit.engine.stats().queued), (vec![], 2));
    kit.pass(1);
    kit.connect(604, Connect { user: Some("root"), ..talker("r") });
    assert_eq!(kit.ask(604, Request::Consume(consume(1, q)), 0).len(), 3);
}

#[test]
fn stomp_is_refused_what_it_has_no_right_to() {
    let refused = [Seen::Closed(Kind::NotAuthorized)];
    let attempt = |request: Request<'_>| {
        let mut kit = kit();
        kit.change(vec![
            allow(&["open/#", "$queue/open"]),
            Rule { actions: Actions::PUBLISH | Actions::SUBSCRIBE, ..allow(&["$queue/plain"]) },
        ]);
        kit.connect(1, talker("t"));
        let seen = kit.ask(1, request, 0);
        (seen, kit.engine.stats())
    };
    let open = message("open/x", "x", AtMostOnce);
    let shut = message("shut/x", "x", AtMostOnce);
    assert_eq!(attempt(Request::Send(open)).0, []);
    assert_eq!(attempt(Request::Send(shut)).0, refused);
    let commit = Request::Commit(Commit { sends: &[open, shut], settles: &[] });
    let (seen, stats) = attempt(commit);
    assert_eq!((seen.as_slice(), stats.messages_in), (&refused[..], [0; 3]), "all or nothing");
    assert_eq!(attempt(Request::Consume(consume(1, "shut/x"))).0, refused);
    assert_eq!(attempt(Request::Consume(consume(1, "$queue/shut"))).0, refused);
    assert_eq!(
        attempt(Request::Consume(Consume { durable: Some("stomp/u/d"), ..consume(1, "shut/x") })).0,
        refused
    );
    assert_eq!(attempt(Request::Consume(Consume { browses: true, ..consume(1, "$queue/shut") })).0, refused);
    // What is to hold for a queue, and its end, are for those who manage it.
    let options = QueueOptions { max_messages: Some(1), ..QueueOptions::default() };
    let with = |filter| Request::Consume(Consume { options: &options, ..consume(1, filter) });
    assert_eq!(attempt(with("$queue/open")).0.len(), 1);
    assert_eq!(attempt(with("$queue/plain")).0, refused);
    assert_eq!(attempt(Request::Consume(consume(1, "$queue/plain"))).0.len(), 1);
    let forget = |filter| Request::Forget { filter, durable: "" };
    assert_eq!(attempt(forget("$queue/open")).0, []);
    assert_eq!(attempt(forget("$queue/plain")).0, refused);
    // Dead letters go out in the broker's name.
    let letters = QueueOptions { dead_letter: Some("shut/x".into()), ..QueueOptions::default() };
    let letters = Request::Consume(Consume { options: &letters, ..consume(1, "$queue/open") });
    assert_eq!(attempt(letters).0, refused);
}

#[test]
fn what_waited_in_a_durable_subscription_is_asked_of_when_it_is_consumed() {
    let mut kit = kit();
    kit.change(with_root(vec![allow(&["open/#", "late/#"])]));
    kit.publisher();
    let durable = || Consume { durable: Some("stomp/u/d"), ..consume(1, "#") };
    kit.connect(1, talker("t"));
    kit.ask(1, Request::Consume(durable()), 0);
    kit.close(1);
    kit.publish_all(9, &["open/1", "late/1", "shut/1", "open/2"], AtLeastOnce);
    kit.change(with_root(vec![allow(&["open/#"])]));
    kit.connect(2, talker("t"));
    let seen = kit.ask(2, Request::Consume(durable()), 0);
    let consumed: Vec<_> = seen
        .into_iter()
        .filter_map(|seen| match seen {
            Seen::Consumed(_, body, ..) => Some(body),
            _ => None,
        })
        .collect();
    assert_eq!(consumed, ["open/1", "open/2"]);
    assert_eq!((kit.dropped(DropReason::NotAuthorized), kit.engine.stats().queued), (2, 0));
    kit.settled_by(2, 1, &[1, 2], Settlement::Accept, 0);
    assert_eq!(kit.engine.stats().loans, 0);
}

#[test]
fn what_is_browsed_is_asked_of_when_it_leaves() {
    let mut kit = kit();
    let q = "$queue/q";
    kit.change(with_root(vec![allow(&[q])]));
    kit.publisher();
    kit.publish_all(9, &[q, q], AtLeastOnce);
    kit.connect(1, talker("t"));
    let seen =
        kit.ask(1, Request::Consume(Consume { browses: true, acknowledges: false, ..consume(1, q) }), 0);
    assert_eq!(seen.len(), 4, "{seen:?}");
}
