//! What must hold when a run has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use noctule_core::id::Qos;
use noctule_core::policy::Overflow;
use noctule_core::retained::{Cursor, Progress};
use noctule_core::topic::{TopicFilter, TopicLimits, TopicName};

use crate::client::{Client, Fate, Sub};
use crate::ledger::Message;
use crate::outbox::number;
use crate::world::World;

fn matches(sub: &Sub, topic: &str) -> bool {
    let limits = TopicLimits { max_bytes: 100, max_levels: 10 };
    TopicFilter::parse(&sub.filter, &limits).unwrap().matches(&TopicName::from_validated(topic))
}

/// QoS that the client is to get it at by its own subscriptions, if it is to get it.
fn due(client: &Client, own: bool, message: &Message) -> Option<Qos> {
    let plain = client.subs.iter().filter(|sub| sub.group.is_none() && !(own && sub.no_local));
    let granted = plain.filter(|sub| matches(sub, &message.topic)).map(|sub| sub.qos).max()?;
    Some(granted.min(message.qos))
}

/// Whether somebody is owed it for certain.
fn owed(message: &Message) -> bool {
    if message.will {
        message.ended == Some(false) && !message.delayed
    } else {
        message.qos > Qos::AtMostOnce && message.fate == Fate::Accepted
    }
}

pub(crate) fn check(world: &World) {
    idle(world);
    let mut missing = 0;
    for (at, client) in world.clients.iter().enumerate() {
        order(world, client);
        let groups: BTreeSet<_> = client.subs.iter().filter_map(|sub| sub.group).collect();
        let mut count: BTreeMap<u32, usize> = BTreeMap::new();
        for taken in &client.taken {
            assert!(!taken.retain, "no replay was asked for");
            *count.entry(taken.msg).or_default() += 1;
        }
        for (&msg, &times) in &count {
            let message = world.ledger.message(msg);
            let shared = client.subs.iter().any(|sub| sub.group.is_some() && matches(sub, &message.topic));
            if message.will {
                assert_ne!(message.ended, Some(true), "will {msg} in spite of a good-bye");
            }
            // No Local knows sessions: what a former session of the client sent is not its own.
            let due = due(client, message.publisher == at && !message.will && client.keeper, message);
            assert!(due.is_some() || shared, "{} did not ask for {msg} {message:?}", client.id);
            if client.keeper && groups.is_empty() && !message.orphan && due == Some(Qos::ExactlyOnce) {
                assert_eq!(times, 1, "{} got {msg} {message:?} more than once", client.id);
            }
        }
        if !client.keeper {
            continue;
        }
        for (msg, message) in world.ledger.messages() {
            let due = due(client, message.publisher == at && !message.will, message);
            if owed(message) && due > Some(Qos::AtMostOnce) {
                if count.contains_key(&msg) {
                    let stored = world.ledger.stored.contains(&msg);
                    assert!(stored, "{msg} {message:?} reached {}, but was never stored", client.id);
                } else {
                    lost(world, msg, message, &client.id);
                    missing += 1;
                }
            }
        }
    }
    missing += groups(world);
    let dropped: u64 = world.engines().flat_map(|engine| engine.stats().dropped).sum();
    assert!(missing <= dropped, "{missing} messages are missing, {dropped} were counted as dropped");
    retained(world);
}

/// Something that was owed did not come: only for a stated reason.
fn lost(world: &World, msg: u32, message: &Message, whose: &str) {
    assert!(may_lose(world, msg, message), "{whose} never got {msg} {message:?}");
}

/// Whether the message may be dropped for one of the stated reasons.
fn may_lose(world: &World, msg: u32, message: &Message) -> bool {
    let limits = &world.plan.limits;
    // With Refuse what was accepted stays; nobody can be told that a will was not.
    let bounded = limits.max_queued_messages < 1_000 && (limits.overflow != Overflow::Refuse || message.will);
    bounded || world.plan.expiry && msg.is_multiple_of(3)
}

/// Per publisher, topic and QoS, in the order of publication [MQTT-4.6.0-6].
fn order(world: &World, client: &Client) {
    if client.subs.iter().any(|sub| sub.group.is_some()) {
        return;
    }
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<(usize, &str, Qos), u32> = BTreeMap::new();
    for taken in client.taken.iter().filter(|taken| seen.insert(taken.msg)) {
        let message = world.ledger.message(taken.msg);
        // Who missed the first copy gets the second behind later messages: where messages are dropped, before the
        // subscription, and when it was refused with an answer that got lost.
        let may_miss = !client.keeper
            || message.refused
            || message.orphan
            || due(client, false, message) == Some(Qos::AtMostOnce)
            || may_lose(world, taken.msg, message);
        if message.will || client.turned_down.contains(&taken.msg) || message.again && may_miss {
            continue;
        }
        let newest = last.entry((message.publisher, &message.topic, message.qos)).or_default();
        assert!(*newest <= taken.msg, "{} got {} after {newest} {message:?}", client.id, taken.msg);
        *newest = taken.msg;
    }
}

/// Every group as a whole: what it is owed reaches a member, at QoS 2 one member once. Returns how many did not.
fn groups(world: &World) -> u64 {
    let mut missing = 0;
    let mut members: BTreeMap<(&str, &str), Vec<(&Client, &Sub)>> = BTreeMap::new();
    for client in &world.clients {
        for sub in &client.subs {
            if let Some(group) = sub.group {
                members.entry((group, &sub.filter)).or_default().push((client, sub));
            }
        }
    }
    for ((group, _), members) in members {
        let shared_only = members.iter().all(|(client, _)| client.subs.len() == 1);
        if !shared_only || !members.iter().any(|(client, _)| client.keeper) {
            continue;
        }
        let drifts = members.iter().any(|(client, _)| !client.keeper);
        for (msg, message) in world.ledger.messages() {
            if message.will || !matches(members[0].1, &message.topic) {
                continue;
            }
            let takings = members.iter().flat_map(|(client, _)| &client.taken);
            let times = takings.filter(|taken| taken.msg == msg).count();
            if message.qos == Qos::ExactlyOnce && !message.orphan {
                assert!(times <= 1, "group {group} got {msg} {message:?} {times} times");
            }
            if owed(message) && times == 0 {
                missing += 1;
                // QoS 2 that was sent dies with its session, and what a client refuses is over [MQTT-4.8.2-5/6].
                if !drifts && world.plan.limits.max_queued_messages >= 1_000 {
                    lost(world, msg, message, group);
                }
            }
        }
    }
    missing
}

/// The last retained message of each topic is the publisher's last accepted one, or one still later.
fn retained(world: &World) {
    let mut kept: BTreeMap<String, u32> = BTreeMap::new();
    let limits = TopicLimits { max_bytes: 100, max_levels: 10 };
    let filter = TopicFilter::parse("r/#", &limits).unwrap();
    let mut cursor = Cursor::default();
    let keep = |message: &std::sync::Arc<noctule_core::message::Message>| {
        kept.insert(message.topic().as_str().to_owned(), number(message.payload()));
        ControlFlow::Continue(())
    };
    let progress = world.retained().replay(&filter, &mut cursor, u64::MAX, 0, 10_000, keep);
    assert_eq!(progress, Progress::Done);
    let mut newest: BTreeMap<&str, u32> = BTreeMap::new();
    for (msg, message) in world.ledger.messages().filter(|(_, message)| message.retain) {
        // QoS levels overtake each other; an order is promised only within one.
        if message.qos == Qos::ExactlyOnce && message.fate == Fate::Accepted {
            newest.insert(&message.topic, msg);
        }
    }
    for (topic, newest) in newest {
        let found = kept.get(topic).copied();
        let Some(found) = found else {
            assert!(world.plan.expiry, "nothing retained for {topic}");
            continue;
        };
        let found_message = world.ledger.message(found);
        assert!(
            found >= newest || found_message.qos != Qos::ExactlyOnce,
            "retained {found} for {topic} is older than {newest}"
        );
    }
}

/// Nothing waits, nothing is lent, and every credit has come back or is on the books.
fn idle(world: &World) {
    let (mut out, mut owed) = (0, 0);
    for engine in world.engines() {
        let stats = engine.stats();
        let still = (stats.parked, stats.awaited, stats.loans, stats.queued, stats.in_flight);
        assert_eq!(still, (0, 0, 0, 0, 0), "an engine is not idle: {stats:?}");
        out += stats.mail_out;
        owed += stats.mail_in;
    }
    assert_eq!(out, owed, "credits are lost or invented");
}
