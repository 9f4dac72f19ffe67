//! What a publish, a subscription and a retained message cost: `cargo bench -p noctule-core --bench tree`.
//!
//! Prints nanoseconds per operation, the best of several rounds, and resident bytes per subscription as the kernel
//! counts them. Linux only, as it reads `/proc/self/statm`.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock; the crate itself doesn't")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use noctule_core::hash::Seed;
use noctule_core::id::{Qos, SessionId, WorkerId};
use noctule_core::matches::{CacheLimits, MatchBuilder, MatchCache};
use noctule_core::message::{Fields, Message, Publish};
use noctule_core::retained::{Cursor, Progress, Retained, RetainedLimits};
use noctule_core::timer::Wheel;
use noctule_core::topic::{TopicFilter, TopicLimits, TopicName};
use noctule_core::trie::{Subscriber, Tree};

const PAGE_BYTES: usize = 4096;
const ROUNDS: usize = 7;

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE_BYTES
}

/// Nanoseconds per operation: the best of the rounds, since whatever else the machine does only adds.
fn best(operations: usize, mut round: impl FnMut()) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_nanos() as f64 / operations as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn line(what: &str, ns: f64) {
    println!("{what:<64} {ns:>9.1} ns");
}

fn subscriber(slot: u32) -> Subscriber {
    Subscriber {
        session: SessionId { worker: WorkerId((slot % 2) as u16), slot, incarnation: 0 },
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        durable: false,
        subscription_id: None,
    }
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, &TopicLimits::default()).unwrap()
}

fn message(topic: &str) -> Arc<Message> {
    let publish = Publish {
        topic: TopicName::from_validated(topic),
        fields: Fields::default(),
        payload: b"21.5",
        qos: Qos::AtMostOnce,
        retain: true,
        dup: false,
        packet_id: None,
        expiry_s: None,
    };
    Message::new(&publish, SessionId::NOBODY, 0)
}

fn topics() {
    let text = "site/building-7/floor-3/room-12/temperature";
    let limits = TopicLimits::default();
    let ns = best(1_000_000, || {
        for _ in 0..1_000_000 {
            black_box(TopicName::parse(black_box(text), &limits)).ok();
        }
    });
    line(&format!("parse a topic name of {} bytes", text.len()), ns);
}

/// A kind of filter, each with one subscriber.
#[derive(Clone, Copy)]
enum Kind {
    Exact,
    Plus,
    Hash,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Exact, Self::Plus, Self::Hash];

    fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact filters",
            Self::Plus => "filters with '+'",
            Self::Hash => "filters with '#'",
        }
    }

    fn filter(self, number: u32) -> TopicFilter {
        filter(&match self {
            Self::Exact => format!("site/{number}/sensor/temperature"),
            Self::Plus => format!("site/{number}/+/temperature"),
            Self::Hash => format!("site/{number}/#"),
        })
    }
}

/// Resident bytes that the tree adds per subscription, the filter's text not counted. Measured in a process of its
/// own, since memory that was freed before would be used again and not show.
fn bytes_per_subscription(kind: Kind, count: u32) -> f64 {
    let filters: Vec<_> = (0..count).map(|number| kind.filter(number)).collect();
    let text_bytes: usize = filters.iter().map(|filter| filter.as_str().len()).sum();
    let tree = Tree::new(Seed::new(3));
    let before = resident_bytes();
    for (slot, filter) in (0..).zip(&filters) {
        tree.subscribe(filter, subscriber(slot));
    }
    (resident_bytes() as f64 - before as f64 - text_bytes as f64) / f64::from(black_box(&tree).len() as u32)
}

fn in_a_fresh_process(arguments: &[String]) -> String {
    let output = Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn subscriptions(kind: Kind, count: u32) {
    let filters: Vec<_> = (0..count).map(|number| kind.filter(number)).collect();
    let topic = |number| format!("site/{number}/sensor/temperature");
    let tree = Tree::new(Seed::new(3));
    let start = Instant::now();
    for (slot, filter) in (0..).zip(&filters) {
        tree.subscribe(filter, subscriber(slot));
    }
    let subscribe_ns = start.elapsed().as_nanos() as f64 / f64::from(count);
    let step = (count / 1000).max(1) as usize;
    let asked: Vec<_> = (0..count).step_by(step).map(topic).collect();
    let mut builder = MatchBuilder::default();
    let uncached = best(asked.len() * 20, || {
        for topic in asked.iter().cycle().take(asked.len() * 20) {
            tree.match_into(&TopicName::from_validated(topic), &mut builder);
            assert_eq!(black_box(builder.build()).targets().len(), 1);
        }
    });
    let mut cache = MatchCache::new(CacheLimits::default());
    let cached = best(asked.len() * 20, || {
        for topic in asked.iter().cycle().take(asked.len() * 20) {
            black_box(cache.lookup(&tree, TopicName::from_validated(topic)));
        }
    });
    let hot = TopicName::from_validated(&asked[0]);
    let hottest = best(1_000_000, || {
        for _ in 0..1_000_000 {
            black_box(cache.lookup(&tree, black_box(hot)));
        }
    });
    let start = Instant::now();
    for (slot, filter) in (0..).zip(&filters) {
        tree.unsubscribe(filter, subscriber(slot).session).unwrap();
    }
    let unsubscribe_ns = start.elapsed().as_nanos() as f64 / f64::from(count);
    println!("{}, {count} subscriptions", kind.name());
    line("  cached match, always the same topic", hottest);
    line("  cached match, 1000 topics in turn", cached);
    line("  uncached match, 1000 topics in turn", uncached);
    line("  subscribe", subscribe_ns);
    line("  unsubscribe", unsubscribe_ns);
    let place = Kind::ALL.iter().position(|other| other.name() == kind.name()).unwrap();
    let bytes = in_a_fresh_process(&["bytes".into(), place.to_string(), count.to_string()]);
    println!("{:<64} {bytes:>9} B", "  resident per subscription, beyond its filter's text");
}

fn fan_out(count: u32) {
    let tree = Tree::new(Seed::new(3));
    let wild = filter("site/+/temperature");
    for slot in 0..count {
        tree.subscribe(&wild, subscriber(slot));
    }
    let topic = TopicName::from_validated("site/7/temperature");
    let ns = best(100, || {
        for _ in 0..100 {
            black_box(tree.matches(&topic));
        }
    });
    line(&format!("uncached match of one filter with {count} subscribers, each"), ns / f64::from(count));
}

fn retained() {
    const SITES: usize = 1000;
    const COUNT: usize = SITES * 100;
    let limits = RetainedLimits { max_messages: COUNT, max_bytes: usize::MAX };
    let messages: Vec<_> =
        (0..COUNT).map(|number| message(&format!("site/{}/sensor/{}", number / 100, number % 100))).collect();
    let store = Retained::new(limits);
    let set = best(COUNT, || {
        for message in &messages {
            store.set(message.clone(), 0).unwrap();
        }
    });
    println!("retained, {COUNT} topics");
    line("  set", set);
    let bytes = in_a_fresh_process(&["retained-bytes".into(), COUNT.to_string()]);
    println!("{:<64} {bytes:>9} B", "  resident per entry, beyond the message");
    for (text, budget) in
        [("#", 256), ("site/500/#", 256), ("site/+/sensor/50", 256), ("site/500/sensor/+", 16)]
    {
        let wanted = filter(text);
        let mut found = 0_usize;
        let replay = |found: &mut usize| {
            let mut cursor = Cursor::default();
            while store.replay(&wanted, &mut cursor, u64::MAX, 0, budget, |message| {
                black_box(message);
                *found += 1;
                ControlFlow::Continue(())
            }) == Progress::More
            {}
        };
        replay(&mut found);
        let each = found;
        let ns = best(each, || replay(&mut found));
        line(&format!("  replay of {text}, {each} found, {budget} per step, each"), ns);
    }
}

fn timer() {
    const COUNT: u64 = 100_000;
    let ns = best(COUNT as usize, || {
        let mut wheel = Wheel::new(0);
        for number in 0..COUNT {
            wheel.insert(60_000 + number % 30_000, (number as u32, 0_u32));
        }
        let mut fired = 0;
        while let Some(wake) = wheel.next_wake_ms() {
            wheel.advance(wake, &mut |_| fired += 1);
        }
        assert_eq!(fired, COUNT);
    });
    line("timer: enter and fire one of 100000 deadlines", ns);
}

fn retained_bytes(count: usize) -> f64 {
    let messages: Vec<_> = (0..count).map(|number| message(&format!("site/{number}/t"))).collect();
    let store = Retained::new(RetainedLimits { max_messages: count, max_bytes: usize::MAX });
    let before = resident_bytes();
    for message in &messages {
        store.set(message.clone(), 0).unwrap();
    }
    (resident_bytes() as f64 - before as f64) / black_box(&store).len() as f64
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let number = |place: usize| arguments.get(place).and_then(|text| text.parse::<usize>().ok());
    match (arguments.first().map(String::as_str), number(1), number(2)) {
        (Some("bytes"), Some(kind), Some(count)) => {
            println!("{:.1}", bytes_per_subscription(Kind::ALL[kind], count as u32));
            return;
        }
        (Some("retained-bytes"), Some(count), None) => {
            println!("{:.1}", retained_bytes(count));
            return;
        }
        _ => {}
    }
    topics();
    for kind in Kind::ALL {
        for count in [1000, 100_000, 1_000_000] {
            subscriptions(kind, count);
        }
    }
    fan_out(10);
    fan_out(1000);
    fan_out(100_000);
    retained();
    timer();
}
