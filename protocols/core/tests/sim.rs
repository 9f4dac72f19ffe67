//! The seeded simulation: one to four engines, model clients and a hostile world.
//!
//! Mail between engines keeps its order per lane and pair. One store serves all workers: commits take prefixes of what
//! they have submitted; its answers (some of them failures) are permuted like everything else: connections cut at any
//! step with what is on the wires, half-open connections, takeovers, expiry, full queues. Now and then the process is
//! killed: what is not committed is gone, and other engines, perhaps more or fewer, are filled with what is on the disk.
//! Checked at every packet: acknowledgements and their order, windows and packet ids, DUP, what must be stored first;
//! after a restart: sessions, subscriptions and groups; and at rest: nothing acknowledged is lost, exactly once, order,
//! counted drops, idle engines, all credits on the books, nothing on the disk for anybody who is not waited for.
//! The runs of queues have STOMP connections beside the clients: queues of every kind, durable subscriptions, shares,
//! transactions, browsing. A book knows each message in each of them: who holds it, how often it was delivered, what was
//! promised. Checked there: who has it has it alone, and what is accepted with a receipt never comes again; what a receipt
//! has promised is on the disk after a crash, and consumed, dead, or excused by a counted reason in the end; a transaction
//! is there as a whole, and seen by nobody before; priorities, order, counts of deliveries, dead letters; receipts in
//! order; whoever waits for a full queue is there, and is let in when there is room; in the end no loan, no queue, nobody
//! who is not read.
//! `NOCTULE_SIM_SEED=n` runs one seed, `NOCTULE_SIM_SEEDS=n` the first n of each test.
//!
//! Of the messages that may go straight, some do and some take the long way, so that each goes on from what the other left.
//!
//! It was seen to fail when the engine was broken in each of these ways: acknowledge before the store; PUBCOMP before the
//! release is stored; QoS 2 of a kept session not held; a repeated PUBLISH not bound to the held or to the parked
//! first one; nothing sent again on reconnect; no DUP; outbound QoS 2 not stored first; held messages let go in the order
//! of settlement; answers out of order; a window one too large; every 40th mail lost; credits ignored; a credit
//! forgotten; a loan never settled; a message for an absent client dropped uncounted; a will lost at takeover.
//!
//! And in these, which a restart or the disk shows: the packet id of QoS 2 without a record not stored; a will forgotten
//! before its message is stored, or displaced by the next one; one that is due cancelled by its client's return; the
//! operations of a recovery by worker instead of by cause; a retained message taken back and the older one with it; an
//! inbound packet id stored for a session that has ended, or forgotten by a restart; PUBREC that the store could not take
//! forgotten at the session's end; dropped, displaced and late messages not acknowledged; a session's or a group's end
//! without its records; what a group had lent before a restart not settled, without its identifiers, or under its
//! member's number; a group's number lost; record numbers given again; No Local lost; exchanges never completed, resumed
//! without DUP or in the store's order; a queue recovered backwards; retained messages not restored.
//!
//! And in these, which the runs of queues show. Receipts: of an ACK, a SEND, a durable subscription before it is stored;
//! out of their turn. Transactions: not stored, in part, without their acknowledgements; seen or settled before; not read
//! on meanwhile; what a failed one was to settle not given back. Consumers: messages before the SUBSCRIBE's receipt, after
//! the UNSUBSCRIBE, also from other workers; what was cancelled sent on, or taken from the client; one that goes losing
//! what it was not sent, or losing what it has to the next one while it is there; exclusive ones let in by twos; selectors
//! not asked; loans of those that acknowledge nothing never ended. Queues: deliveries not counted, or lost by a restart, or
//! not told to the store; a limit of deliveries one too high; priorities upside down; what comes back at the end; a length
//! not minded; a restart backwards; duplicates taken; what was consumed, or the queue's end, not told to the store; an
//! end told that has not come; still in the tree. Dead letters: not stored; stored beside the old message; with a wrong
//! count; rejected messages given back. Drops not counted: overflow, duplicates, the queue's end, what is rejected after
//! it. Browsing without the first message; one heart-beat only. Who waits for a full queue: not read again; his message
//! taken twice, or when his connection is gone; his receipt given at once; room told to nobody, the word of it not heard by
//! another worker, nor what others say by the queue's home; a turn that is not taken not passed on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check ends the run")]

#[path = "sim/audit.rs"]
mod audit;
#[path = "sim/book.rs"]
mod book;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/crash.rs"]
mod crash;
#[path = "sim/disk.rs"]
mod disk;
#[path = "sim/ledger.rs"]
mod ledger;
#[path = "sim/mouth.rs"]
mod mouth;
#[path = "sim/outbox.rs"]
mod outbox;
#[path = "sim/queues.rs"]
mod queues;
#[path = "sim/rng.rs"]
mod rng;
#[path = "sim/shell.rs"]
mod shell;
#[path = "sim/spoken.rs"]
mod spoken;
#[path = "sim/store.rs"]
mod store;
#[path = "sim/talk.rs"]
mod talk;
#[path = "sim/talker.rs"]
mod talker;
#[path = "sim/taps.rs"]
mod taps;
#[path = "sim/verdict.rs"]
mod verdict;
#[path = "sim/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use noctule_core::id::Qos;
use noctule_core::policy::{Limits, Overflow, ShareStrategy};

use client::{Client, Sub, Up};
use rng::Rng;
use world::{Plan, World};

fn plan(seed: u64, workers: u16) -> Plan {
    let mut rng = Rng::new(seed ^ 0x5EED);
    let mut limits = Limits {
        max_inflight: 2 + rng.below(4) as u16,
        receive_maximum: 2 + rng.below(6) as u16,
        share_strategy: rng.pick(&[
            ShareStrategy::RoundRobin,
            ShareStrategy::LeastInflight,
            ShareStrategy::Sticky,
        ]),
        max_held_messages: rng.pick(&[0, 1, 3, usize::MAX]),
        max_held_messages_online: rng.pick(&[0, 1, 3, 5, usize::MAX]),
        ..Limits::default()
    };
    if rng.chance(35) {
        limits.max_queued_messages = 3 + rng.below(8);
        limits.overflow =
            rng.pick(&[Overflow::DropOldest, Overflow::DropNewest, Overflow::Refuse, Overflow::Disconnect]);
    }
    Plan {
        seed,
        workers,
        limits,
        peer_window: rng.pick(&[1, 2, 3, 5, 8, 12, 17, 33]),
        store_fails: rng.chance(25),
        crashes: rng.chance(60),
        expiry: rng.chance(20),
        drifters: rng.below(4),
        keepers: 3 + rng.below(4),
        talkers: 0,
        steps: 1_500,
    }
}

fn clients(plan: &Plan) -> Vec<Client> {
    let mut rng = Rng::new(plan.seed ^ 0xC11E);
    let mut clients = Vec::new();
    for at in 0..plan.keepers + plan.drifters {
        let keeper = at < plan.keepers;
        let mut client = Client::new(format!("client-{at}-{}", rng.below(1_000)), rng.chance(50), keeper);
        if client.v5 {
            client.receive_maximum = 1 + rng.below(6) as u16;
        }
        if !keeper {
            client.expiry_s = rng.pick(&[0, 0, 3]);
            client.keep_alive_s = rng.pick(&[0, 5]);
            if !client.v5 {
                client.expiry_s = rng.pick(&[0, u32::MAX]);
            }
        }
        let plain = |filter: &str, rng: &mut Rng| Sub {
            filter: filter.to_owned(),
            group: None,
            qos: rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce]),
            no_local: client.v5 && rng.chance(20),
        };
        if at % 3 == 1 {
            // The one group always has a member, the other comes and goes.
            let (group, filter) = if keeper || rng.chance(50) { ("g", "s/#") } else { ("h", "a/#") };
            let (group, filter) = (Some(group), filter.to_owned());
            client.subs = vec![Sub { filter, group, qos: Qos::ExactlyOnce, no_local: false }];
        } else {
            let mut subs = Vec::new();
            for _ in 0..1 + rng.below(3) {
                let filter = rng.pick(&["a/#", "a/+", "a/0", "+/1", "+/n", "#", "w/#", "r/+"]);
                if subs.iter().all(|sub: &Sub| sub.filter != filter) {
                    subs.push(plain(filter, &mut rng));
                }
            }
            client.subs = subs;
        }
        clients.push(client);
    }
    clients
}

/// A decision of some client.
fn decide(world: &mut World) {
    let client = world.rng.below(world.clients.len());
    let who = &world.clients[client];
    let (keeper, connected) = (who.keeper, who.connected);
    if who.conn.is_none() {
        if world.rng.chance(20) {
            let clean = !keeper && world.rng.chance(30) || who_is_clean(world, client);
            world.open(client, clean);
        }
        return;
    }
    match world.rng.below(100) {
        0..55 => world.publish(client),
        55..60 => world.cut(client),
        60 if connected => world.send(client, [Up::Disconnect { with_will: false }]),
        61 if connected => world.send(client, [Up::Disconnect { with_will: true }]),
        62..66 if connected => world.send(client, [Up::Ping]),
        66 => {
            // A second connection of the same client, while the broker still believes in the first.
            world.cut(client);
            let clean = who_is_clean(world, client);
            world.open(client, clean);
        }
        _ => {}
    }
}

fn who_is_clean(world: &World, client: usize) -> bool {
    let who = &world.clients[client];
    !who.v5 && who.expiry_s == 0
}

fn run(seed: u64, workers: u16) -> World {
    let plan = plan(seed, workers);
    let clients = clients(&plan);
    let steps = plan.steps;
    let (max_steps, store_fails) = (400_000, plan.store_fails);
    let mut world = World::new(plan, clients);
    // Everybody who stays is there and subscribed before the first message.
    world.plan.store_fails = false;
    for client in 0..world.clients.len() {
        if world.clients[client].keeper {
            let clean = who_is_clean(&world, client);
            world.open(client, clean);
        }
    }
    rest(&mut world, max_steps);
    assert!(world.clients.iter().all(|client| !client.keeper || client.subscribed), "SUBACK is missing");

    world.plan.store_fails = store_fails;
    for _ in 0..steps {
        if world.rng.chance(40) {
            decide(&mut world);
        }
        for _ in 0..3 {
            world.step();
        }
        if world.plan.crashes && world.rng.below(400) == 0 {
            world.crash();
        }
        if world.rng.chance(10) {
            let ms = world.rng.pick(&[1, 10, 200, 1_500]);
            world.pass(ms);
        }
    }

    // The storm is over: those who stay come back and stay, the others go.
    world.plan.store_fails = false;
    let drifters: Vec<_> = (0..world.clients.len()).filter(|&at| !world.clients[at].keeper).collect();
    for &client in &drifters {
        world.cut(client);
        world.clients[client].expiry_s = 0;
        world.open(client, true);
    }
    rest(&mut world, max_steps);
    for &client in &drifters {
        world.cut(client);
    }
    rest(&mut world, max_steps);
    verdict::check(&world);
    if world.plan.crashes {
        // What has come to rest is found at rest.
        world.crash();
        verdict::check(&world);
    }
    world
}

/// Goes on without new decisions until nothing is on its way.
fn rest(world: &mut World, max_steps: u64) {
    let end = world.steps + max_steps;
    world.refusals.clear();
    loop {
        for _ in 0..200 {
            world.step();
        }
        for client in 0..world.clients.len() {
            if world.clients[client].keeper && world.clients[client].conn.is_none() {
                let clean = who_is_clean(world, client);
                world.open(client, clean);
            }
        }
        if !world.talkers.is_empty() {
            world.accept_all(world.drainer());
        }
        if world.is_quiet() {
            return;
        }
        // Timers may be what is waited for: refusals to MQTT 3, expiry.
        world.pass(300);
        assert!(world.steps < end, "it never comes to rest: {:#?}", world.unquiet());
    }
}

fn seeds(workers: u16, most: u64, run: impl Fn(u64, u16) -> World) {
    let only = std::env::var("NOCTULE_SIM_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let count = std::env::var("NOCTULE_SIM_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(most);
    let range = only.map_or(0..count, |seed| seed..seed + 1);
    let (mut steps, mut deliveries, mut again, mut straight) = (0, 0, 0, 0);
    let mut seen = book::Seen::default();
    for seed in range {
        match catch_unwind(AssertUnwindSafe(|| run(seed, workers))) {
            Ok(done) => {
                steps += done.steps;
                deliveries += done.ledger.deliveries;
                again += done.ledger.redeliveries;
                straight += done.straights;
                seen.add(&done.book.seen);
            }
            Err(_) => panic!("{workers} workers, seed {seed}: run it alone with NOCTULE_SIM_SEED={seed}"),
        }
    }
    #[allow(clippy::print_stdout, reason = "shown with --nocapture")]
    {
        println!(
            "{workers} workers: {steps} steps, {deliveries} deliveries, {again} again, {straight} straight"
        );
        if seen.receipts > 0 {
            println!("{seen:?}");
        }
    }
}

#[test]
fn one_engine() {
    seeds(1, 200, run);
}

#[test]
fn two_engines() {
    seeds(2, 200, run);
}

#[test]
fn three_engines() {
    seeds(3, 200, run);
}

#[test]
fn four_engines() {
    seeds(4, 200, run);
}

#[test]
fn queues_of_one_engine() {
    seeds(1, 100, queues::run);
}

#[test]
fn queues_of_two_engines() {
    seeds(2, 100, queues::run);
}

#[test]
fn queues_of_three_engines() {
    seeds(3, 100, queues::run);
}

#[test]
fn queues_of_four_engines() {
    seeds(4, 100, queues::run);
}
