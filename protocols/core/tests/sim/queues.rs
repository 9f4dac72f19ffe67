//! A run with STOMP: its clients, its storm, and how it comes to rest. What waits then is taken by one who finds it alone;
//! what was promised is all there; and every queue is ended.

use std::collections::BTreeSet;

use noctule_core::consumer::Beats;
use noctule_core::effects::DropReason;
use noctule_core::engine::Engine;
use noctule_core::id::Qos;
use noctule_core::policy::{Limits, QueueDefaults};
use noctule_core::topic::TopicName;

use crate::client::{Client, Sub};
use crate::rng::Rng;
use crate::talk::{Ask, Seat};
use crate::taps::Kind;
use crate::verdict;
use crate::world::{Plan, World};

fn plan(seed: u64, workers: u16) -> Plan {
    let mut rng = Rng::new(seed ^ 0x0DD5);
    let queues = QueueDefaults { max_deliveries: 0, ack_deadline_ms: 0, ..QueueDefaults::default() };
    let limits = Limits {
        max_inflight: 2 + rng.below(4) as u16,
        receive_maximum: 2 + rng.below(6) as u16,
        refuse_timeout_ms: 3_000,
        queues,
        ..Limits::default()
    };
    Plan {
        seed,
        workers,
        limits,
        peer_window: rng.pick(&[1, 2, 3, 5, 8, 33]),
        store_fails: rng.chance(25),
        crashes: rng.chance(50),
        expiry: rng.chance(20),
        keepers: 2,
        drifters: rng.below(3),
        talkers: 4 + rng.below(3),
        steps: 1_200,
    }
}

fn clients(plan: &Plan) -> Vec<Client> {
    let mut rng = Rng::new(plan.seed ^ 0xC11E);
    let sub = |filter: &str, qos| Sub { filter: filter.to_owned(), group: None, qos, no_local: false };
    (0..plan.keepers + plan.drifters)
        .map(|at| {
            let mut client = Client::new(format!("client-{at}"), rng.chance(60), at < plan.keepers);
            if client.v5 {
                client.receive_maximum = 1 + rng.below(6) as u16;
            }
            client.subs = if at % 2 == 0 {
                let qos = rng.pick(&[Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::AtMostOnce]);
                vec![sub("$queue/mqtt", qos)]
            } else {
                vec![
                    sub("t/#", rng.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce])),
                    sub("a/#", Qos::ExactlyOnce),
                ]
            };
            client
        })
        .collect()
}

pub(crate) fn run(seed: u64, workers: u16) -> World {
    let plan = plan(seed, workers);
    let clients = clients(&plan);
    let mut world = World::new(plan, clients);
    let fails = std::mem::take(&mut world.plan.store_fails);
    found(&mut world);

    world.plan.store_fails = fails;
    for _ in 0..world.plan.steps {
        match world.rng.below(10) {
            0..5 => world.decide_talk(),
            5 => crate::decide(&mut world),
            _ => {}
        }
        for _ in 0..6 {
            world.step();
        }
        lines(&world);
        if world.plan.crashes && world.rng.below(300) == 0 {
            world.crash();
        }
        if world.rng.chance(8) {
            let ms = world.rng.pick(&[1, 10, 200, 900]);
            world.pass(ms);
        }
    }

    // The storm is over. Who is still there hears all that he is owed.
    world.plan.store_fails = false;
    let drifters: Vec<_> = (0..world.clients.len()).filter(|&at| !world.clients[at].keeper).collect();
    for &client in &drifters {
        world.cut(client);
        world.open(client, true);
    }
    // A full queue keeps its senders for ever, or has them try again for ever.
    let drainer = world.drainer();
    world.open_talk(drainer, Beats::default());
    let full = world.book.tap_of("", "$queue/full").unwrap();
    world.sit(drainer, Seat::new(Some(full), "$queue/full"), true);
    rest(&mut world);
    let mut taken = BTreeSet::new();
    for talk in world.workers.iter().flat_map(|worker| &worker.talks) {
        assert_eq!((talk.unanswered(), talk.paused), (0, false), "it waits: {talk:?}");
        let durable = |seat: &Seat| seat.tap.filter(|&tap| world.book.taps[tap].kind == Kind::Durable);
        for tap in talk.seats.values().filter(|seat| !seat.is_over()).filter_map(durable) {
            assert!(taken.insert(tap), "two consume from {:?}", world.book.taps[tap]);
        }
    }
    for &client in &drifters {
        world.cut(client);
    }
    (0..world.talkers.len()).for_each(|talker| world.cut_talk(talker));
    rest(&mut world);
    world.book.check_deliveries(&world.store.disk);
    if world.plan.crashes && world.rng.chance(50) {
        world.crash();
        rest(&mut world);
    }
    drain(&mut world);
    audit(&mut world);
    end(&mut world);
    verdict::check(&world);
    gone(&world);
    if world.plan.crashes {
        world.crash();
        verdict::check(&world);
    }
    world
}

/// Who waits for a full queue is there, and is let in when there is room.
fn lines(world: &World) {
    for worker in &world.workers {
        let waits = worker.talks.iter().filter(|talk| talk.server_open && talk.paused).count();
        let throttled = worker.engine.stats().throttled;
        assert!(throttled <= waits as u64, "{throttled} messages wait, {waits} connections");
    }
    assert!(world.has_mail() || !world.shared.is_anybody_late(), "there is room, and nobody is let in");
}

/// Everybody who stays is there, and every queue and durable subscription with its options.
fn found(world: &mut World) {
    world.open_talk(0, Beats::default());
    for tap in 0..world.book.taps.len() {
        if world.book.taps[tap].kind == Kind::Share || world.book.taps[tap].filter.contains("/DLQ.") {
            continue;
        }
        let mut seat = Seat::new(Some(tap), &world.book.taps[tap].filter);
        seat.wants = world.book.taps[tap].wants;
        let consumer = world.sit(0, seat, true);
        world.ask(0, Ask::Cancel { consumer, forgets: false }, false);
    }
    world.ask(0, Ask::Leave, true);
    rest(world);
    assert!(world.book.seen.receipts > 0 && world.talkers[0].conn.is_none(), "{:?}", world.talkers);
    assert!(world.clients.iter().all(|client| !client.keeper || client.subscribed), "SUBACK is missing");
}

/// Goes on without new decisions until nothing is on its way.
fn rest(world: &mut World) {
    crate::rest(world, 400_000);
}

/// One STOMP client consumes all that waits.
fn drain(world: &mut World) {
    let drainer = world.drainer();
    world.open_talk(drainer, Beats::default());
    // A connection looks at one queue at a time.
    let looked_at = world.rng.below(20);
    for tap in 0..world.book.taps.len() {
        let of = &world.book.taps[tap];
        if of.mqtt || of.kind == Kind::Share {
            continue;
        }
        let mut seat = Seat::new(Some(tap), &of.filter);
        (seat.alone, seat.wants) = (true, of.wants);
        if of.kind == Kind::Queue && tap == looked_at {
            let mut shown = seat.clone();
            shown.browses = true;
            world.sit(drainer, shown, true);
        }
        world.sit(drainer, seat, true);
    }
    for _ in 0..2_000 {
        rest(world);
        let waiting: u64 = world.engines().map(waiting).sum();
        if waiting == 0 {
            world.book.check_look();
            return;
        }
        world.pass(50);
    }
    panic!("something waits for ever: {:#?}", world.unquiet());
}

fn waiting(engine: &Engine) -> u64 {
    let stats = engine.stats();
    stats.queued + stats.in_flight + stats.loans
}

/// Nothing is lost, save for a reason that is counted.
fn audit(world: &mut World) {
    let sure = world.crashes == 0 && world.store.failures == 0;
    let missing = world.book.audit(sure);
    if !sure {
        return;
    }
    // What was lent when its queue ended is counted as nobody's.
    let nobodys = DropReason::NoGroupMember as usize;
    let count = |reason: usize| world.engines().map(|engine| engine.stats().dropped[reason]).sum::<u64>();
    let mut sets: Vec<_> = missing.keys().cloned().collect();
    sets.push(missing.keys().flatten().copied().collect());
    for mut reasons in sets {
        let those = missing.iter().filter(|(of, _)| of.is_subset(&reasons));
        let those: u64 = those.map(|(_, count)| count).sum();
        if reasons.contains(&(DropReason::QueueEnded as usize)) {
            reasons.insert(nobodys);
        }
        let dropped: u64 = reasons.iter().map(|&reason| count(reason)).sum();
        let names: Vec<_> = reasons.iter().map(|&reason| DropReason::ALL[reason]).collect();
        assert!(those <= dropped, "{those} are missing, {dropped} are counted: {names:?}");
    }
    let letters: u64 = world.engines().map(|engine| engine.stats().dead_letters).sum();
    let seen = world
        .book
        .copies
        .keys()
        .filter(|(tap, _)| world.book.taps.iter().any(|from| from.letters == Some(*tap)));
    let seen = seen.count() as u64;
    assert!(seen <= letters, "{seen} dead letters were seen, {letters} are counted");
}

/// Every queue that nobody else consumes from ends, and so does the connection.
fn end(world: &mut World) {
    let drainer = world.drainer();
    let (worker, id) = world.talkers[drainer].conn.unwrap();
    let consumers: Vec<_> = world
        .talk(worker, id)
        .unwrap()
        .seats
        .iter()
        .filter(|(_, seat)| !seat.is_over())
        .map(|(&at, _)| at)
        .collect();
    for consumer in consumers {
        world.ask(drainer, Ask::Cancel { consumer, forgets: false }, true);
    }
    for tap in 0..world.book.taps.len() {
        let of = &world.book.taps[tap];
        if of.kind != Kind::Share && !of.mqtt {
            world.ask(drainer, Ask::Forget(tap), true);
        }
    }
    rest(world);
    let talk = world.talk(worker, id).unwrap();
    assert_eq!((talk.unanswered(), talk.paused), (0, false), "it waits: {talk:?}");
    world.ask(drainer, Ask::Leave, true);
    rest(world);
    assert!(world.talkers[drainer].conn.is_none(), "Farewell is missing");
}

/// Of what has ended nothing is left.
fn gone(world: &World) {
    let stays: BTreeSet<_> = world
        .clients
        .iter()
        .filter(|client| client.keeper)
        .flat_map(|client| &client.subs)
        .filter(|sub| sub.filter.starts_with("$queue/"))
        .map(|sub| sub.filter.as_str())
        .collect();
    let queues: u64 = world.engines().map(|engine| engine.stats().queues).sum();
    assert_eq!(queues as usize, stays.len(), "queues");
    assert_eq!(world.shared.full_groups(), 0, "full, or waited for");
    for tap in world.book.taps.iter().filter(|tap| tap.kind == Kind::Queue) {
        let found = world.shared.tree.matches(&TopicName::from_validated(&tap.filter));
        let there = stays.contains(tap.filter.as_str());
        assert_eq!(!found.groups().is_empty(), there, "{} in the tree", tap.filter);
    }
    let found = world.shared.tree.matches(&TopicName::from_validated("t/0"));
    let keepers = world.clients.iter().filter(|client| client.keeper);
    let plain = keepers.filter(|client| client.subs.iter().any(|sub| sub.filter == "t/#")).count();
    assert_eq!((found.groups().len(), found.targets().len()), (0, plain), "who gets t/0: {found:?}");
    assert_eq!(world.workers.iter().map(|worker| worker.talks.len()).sum::<usize>(), 0);
}
