//! What rules cost: `cargo bench -p noctule-core --bench rights`.
//!
//! Nanoseconds of a processor per message that one client publishes at QoS 0 and another is delivered, through the
//! engine, the best of several rounds: without rules, and with as many as stand before the one that decides. Both ways are asked. Then
//! resident bytes per connected client as the kernel counts them. Linux only, as it reads `/proc/self/statm`.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]
#![allow(
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark asks the kernel; the crate itself doesn't"
)]

use std::num::NonZeroU16;
use std::process::Command;
use std::sync::Arc;

use noctule_core::acl::{Rule, Rules, Verdict};
use noctule_core::consumer::ConsumerId;
use noctule_core::effects::{
    Access, Connect, Delivery, Effects, FilterRequest, Input, Outlet, RetainHandling, Sent,
};
use noctule_core::engine::Engine;
use noctule_core::hash::Seed;
use noctule_core::id::{ConnId, Now, Qos, WorkerId};
use noctule_core::message::{Fields, Publish};
use noctule_core::policy::Policy;
use noctule_core::retained::RetainedLimits;
use noctule_core::shared::Shared;
use noctule_core::topic::TopicName;

const PAGE_BYTES: usize = 4096;
const ROUNDS: usize = 9;
const MESSAGES: usize = 200_000;
const CLIENTS: u32 = 10_000;

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE_BYTES
}

/// What this thread has had of a processor, so that whatever else the machine does counts less.
fn cpu_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[derive(Default)]
struct Sink(usize);

impl Outlet for Sink {
    fn has_room(&self) -> bool {
        true
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        self.0 += 1;
        Sent::Written(delivery.message.payload().len())
    }

    fn release(&mut self, _packet_id: NonZeroU16) {}

    fn end_of_browse(&mut self, _consumer: ConsumerId) {}
}

fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: 1 }
}

fn connect<'a>(client_id: &'a str, user: &'a str) -> Connect<'a> {
    Connect {
        client_id,
        user: Some(user),
        access: Access { address: Some("10.1.2.3".parse().unwrap()), ..Access::default() },
        clean_start: true,
        expiry_s: 0,
        receive_maximum: NonZeroU16::MAX,
        keep_alive_s: 60,
        is_v5: true,
        will: None,
        durability: None,
        beats: None,
    }
}

/// As many rules about other topics, each below the same first level or a level of its own, then the one that decides.
fn rules(before: usize, personal: bool, same_site: bool) -> Option<Arc<Rules>> {
    let allow = |topic: String| Rule { topics: Some(vec![topic.into()]), ..Rule::new(Verdict::Allow) };
    let other = |number| if same_site { format!("site/{number}/#") } else { format!("site-{number}/#") };
    let mut all: Vec<_> = (0..before).map(|number| allow(other(number))).collect();
    all.push(allow(if personal { "site/+/+/%u/#" } else { "site/+/floor/#" }.into()));
    Some(Arc::new(Rules::compile(all).unwrap()))
}

fn engine(rules: Option<Arc<Rules>>) -> (Engine, Now) {
    let shared = Arc::new(Shared::new(&Seed::new(1), 1, RetainedLimits::default()));
    let now = Now::default();
    let policy = Policy { epoch: 1, rules, ..Policy::default() };
    (Engine::new(WorkerId(0), shared, Arc::new(policy), now), now)
}

fn enter(engine: &mut Engine, now: Now, number: u32, fx: &mut Effects) {
    // The two that talk to each other are one user's.
    let (client_id, user) = (format!("client-{number}"), format!("user-{}", number / 2));
    engine.handle(now, Input::Opened(conn(number)), fx);
    engine.handle(now, Input::Connect(conn(number), connect(&client_id, &user)), fx);
    fx.list.clear();
}

fn publish(topic: &str) -> Publish<'_> {
    Publish {
        topic: TopicName::from_validated(topic),
        fields: Fields::default(),
        payload: b"21.5",
        qos: Qos::AtMostOnce,
        retain: false,
        dup: false,
        packet_id: None,
        expiry_s: None,
    }
}

/// Nanoseconds per message published and delivered, over `topics` topics in turn.
fn nanoseconds(rules: Option<Arc<Rules>>, topics: usize) -> f64 {
    let (mut engine, now) = engine(rules);
    let mut fx = Effects::default();
    (0..2).for_each(|number| enter(&mut engine, now, number, &mut fx));
    let wanted = FilterRequest {
        filter: "site/#",
        qos: Qos::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Never,
    };
    let filters = [wanted];
    let subscribe = Input::Subscribe {
        conn: conn(1),
        packet_id: NonZeroU16::MIN,
        id: None,
        selector: None,
        filters: &filters,
    };
    engine.handle(now, subscribe, &mut fx);
    let topics: Vec<_> =
        (0..topics).map(|number| format!("site/x{number}/floor/user-0/temperature")).collect();
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let mut sink = Sink::default();
        let start = cpu_nanoseconds();
        for number in 0..MESSAGES {
            engine.handle(now, Input::Publish(conn(0), publish(&topics[number % topics.len()])), &mut fx);
            for to in fx.dirty.drain(..) {
                let mut more = Effects::default();
                engine.pull(now, to, &mut sink, &mut more);
            }
            fx.list.clear();
        }
        best = best.min((cpu_nanoseconds() - start) as f64 / MESSAGES as f64);
        assert!(sink.0 > 0, "nothing was delivered");
    }
    best
}

/// Resident bytes per connected client; in a process of its own.
fn bytes_per_client(rules: Option<Arc<Rules>>) -> f64 {
    let (mut engine, now) = engine(rules);
    let mut fx = Effects::default();
    enter(&mut engine, now, 0, &mut fx);
    let before = resident_bytes();
    (1..=CLIENTS).for_each(|number| enter(&mut engine, now, number, &mut fx));
    (resident_bytes() - before) as f64 / f64::from(CLIENTS)
}

/// What can be measured, by name.
fn case(name: &str) -> Option<Arc<Rules>> {
    match name {
        "no rules" => None,
        "1 rule" => rules(0, false, true),
        "10 rules" => rules(9, false, true),
        "100 rules" => rules(99, false, true),
        "100 rules, each with a first level of its own" => rules(99, false, false),
        "a rule with %u" => rules(0, true, true),
        "100 rules, the last with %u" => rules(99, true, true),
        other => panic!("{other}"),
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let (Some("bytes"), Some(name)) = (arguments.next().as_deref(), arguments.next()) {
        println!("{:.0}", bytes_per_client(case(&name)));
        return;
    }
    println!("ns per message published and delivered: 1 topic, 500 topics, 20,000 topics; bytes per client");
    for name in [
        "no rules",
        "1 rule",
        "10 rules",
        "100 rules",
        "100 rules, each with a first level of its own",
        "a rule with %u",
        "100 rules, the last with %u",
    ] {
        let of = |topics| nanoseconds(case(name), topics);
        let own = std::env::current_exe().unwrap();
        let output = Command::new(own).args(["bytes", name]).output().unwrap();
        let bytes = String::from_utf8(output.stdout).unwrap();
        println!("{name:<48} {:>8.1} {:>8.1} {:>8.1} {:>8}", of(1), of(500), of(20_000), bytes.trim());
    }
}
