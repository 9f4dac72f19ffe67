//! What must hold when a run has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use noctule_core::id::Qos;
use noctule_core::policy::Overflow;
use noctule_core::retained::{Cursor, Progress};
use noctule_core::topic::{TopicFilter, TopicLimits, TopicName};

use crate::client::{Client, Fate, Sub};
use crate::crash::{asked, row};
use crate::ledger::Message;
use crate::outbox::number;
use crate::world::World;

fn matches(sub: &Sub, topic: &str) -> bool {
    let limits = TopicLimits { max_bytes: 100, max_levels: 10 };
    TopicFilter::parse(&sub.filter, &limits).unwrap().matches(&TopicName::from_validated(topic))
}

/// QoS that the client is to get it at by its own subscriptions, if it is to get it.
fn due(client: &Client, own: bool, message: &Message) -> Option<Qos> {
    // What comes of a queue is in the book.
    let plain = client.subs.iter().filter(|sub| !sub.filter.starts_with("$queue/"));
    let plain = plain.filter(|sub| sub.group.is_none() && !(own && sub.no_local));
    let granted = plain.filter(|sub| matches(sub, &message.topic)).map(|sub| sub.qos).max()?;
    Some(granted.min(message.qos))
}

/// Whether somebody is owed it for certain.
fn owed(world: &World, message: &Message) -> bool {
    if message.will {
        message.ended == Some(false) && !message.delayed
    } else {
        let kept = world.crashes == 0 || !acknowledged_early(message);
        message.qos > Qos::AtMostOnce && message.fate == Fate::Accepted && kept
    }
}

/// Whether it is acknowledged before it is stored, or is never stored: see `world::start`.
fn acknowledged_early(message: &Message) -> bool {
    message.topic.ends_with("/i") || never_stored(message)
}

fn never_stored(message: &Message) -> bool {
    message.topic.ends_with("/n")
}

/// Whether a client that keeps its session may get it twice at QoS 2 all the same.
fn may_repeat(world: &World, message: &Message) -> bool {
    // A stored message that an older one's failure takes back leaves the disk in several steps: a crash between them, and
    // its publisher's copy is another message.
    let half_taken_back = world.store.failures > 0 && message.again;
    message.orphan || message.twice || world.crashes > 0 && (never_stored(message) || half_taken_back)
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
            let once = due == Some(Qos::ExactlyOnce) && !may_repeat(world, message);
            if client.keeper && groups.is_empty() && once {
                assert_eq!(times, 1, "{} got {msg} {message:?} more than once", client.id);
            }
        }
        if !client.keeper {
            continue;
        }
        for (msg, message) in world.ledger.messages() {
            let due = due(client, message.publisher == at && !message.will, message);
            if owed(world, message) && due > Some(Qos::AtMostOnce) {
                if count.contains_key(&msg) {
                    let stored = world.ledger.stored.contains(&msg) || never_stored(message);
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
    let dropped = dropped + world.dropped_before + world.store.disk.expired;
    assert!(missing <= dropped, "{missing} messages are missing, {dropped} were counted as dropped");
    retained(world);
    disk(world);
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
    bounded || message.expires || world.plan.expiry && msg.is_multiple_of(3)
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
        // An older one's packet id that the store could not take is given anew after a crash, behind younger ones.
        let overtaken = world.store.failures > 0 && world.crashes > 0 && message.qos == Qos::ExactlyOnce;
        if overtaken || message.will || client.turned_down.contains(&taken.msg) || message.again && may_miss {
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
            let times = |client: &Client| client.taken.iter().filter(|taken| taken.msg == msg).count();
            // What a crash takes with a session that is not kept comes to another member.
            let keepers = members.iter().filter(|(client, _)| client.keeper || world.crashes == 0);
            let kept_times: usize = keepers.map(|(client, _)| times(client)).sum();
            if message.qos == Qos::ExactlyOnce && !may_repeat(world, message) {
                assert!(kept_times <= 1, "group {group} got {msg} {message:?} {kept_times} times");
            }
            if owed(world, message) && members.iter().all(|(client, _)| times(client) == 0) {
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

/// The last retained message of each topic is the publisher's last accepted one, or one still later; on the disk likewise.
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
        if message.qos > Qos::AtMostOnce && message.fate == Fate::Accepted {
            newest.insert(&message.topic, msg);
        }
    }
    for (topic, newest) in newest {
        let found = kept.get(topic).copied();
        let Some(found) = found else {
            assert!(world.plan.expiry, "nothing retained for {topic}");
            continue;
        };
        // What came again came later, whatever its number.
        let found_message = world.ledger.message(found);
        assert!(
            found >= newest || found_message.again,
            "retained {found} {found_message:?} for {topic} is older than {newest}"
        );
    }
    let stored = world.store.disk.retained();
    for (topic, msg) in kept {
        if !world.ledger.message(msg).refused && !world.plan.expiry {
            assert_eq!(stored.get(&topic), Some(&msg), "on the disk for {topic}");
        }
    }
}

/// The disk keeps those who stay, and nothing for anybody else.
fn disk(world: &World) {
    let disk = &world.store.disk;
    assert_eq!(disk.remains(), [""; 0], "somebody is still waited for");
    let keepers = world.clients.iter().filter(|client| client.keeper);
    let names: BTreeSet<_> = keepers.clone().map(|client| client.id.as_str()).collect();
    assert_eq!(disk.sessions().map(|(_, name)| name).collect::<BTreeSet<_>>(), names);
    let mut groups = BTreeSet::new();
    for client in keepers {
        let session = disk.session_of(&client.id).unwrap();
        let rows: BTreeSet<_> = disk.subscriptions_of(session).map(row).collect();
        assert_eq!(rows, asked(client), "subscriptions of {}", client.id);
        let shared = client.subs.iter().filter(|sub| sub.qos > Qos::AtMostOnce);
        groups.extend(shared.filter_map(|sub| Some((sub.group?, sub.filter.as_str()))));
        let queues = client.subs.iter().filter(|sub| sub.filter.starts_with("$queue/"));
        groups.extend(queues.map(|sub| ("", sub.filter.as_str())));
    }
    let kept: Vec<_> = disk.groups().map(|(_, group, filter)| (group, filter)).collect();
    assert_eq!(kept, Vec::from_iter(groups), "groups");
}

/// Nothing waits, nothing is lent, and every credit has come back or is on the books.
fn idle(world: &World) {
    let (mut out, mut owed) = (0, 0);
    for engine in world.engines() {
        let stats = engine.stats();
        let still =
            (stats.parked, stats.throttled, stats.awaited, stats.loans, stats.queued, stats.in_flight);
        assert_eq!(still, (0, 0, 0, 0, 0, 0), "an engine is not idle: {stats:?}");
        out += stats.mail_out;
        owed += stats.mail_in;
    }
    assert_eq!(out, owed, "credits are lost or invented");
    let paused = world.workers.iter().flat_map(|worker| &worker.conns).find(|conn| conn.paused);
    assert!(paused.is_none(), "it is not read any more: {paused:?}");
    let sessions: u64 = world.engines().map(|engine| engine.stats().sessions).sum();
    let keepers = world.clients.iter().filter(|client| client.keeper).count();
    assert_eq!(sessions as usize, keepers, "sessions");
}
