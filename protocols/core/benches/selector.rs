//! What a selector costs beside the same comparisons by hand: `cargo bench -p noctule-core --bench selector`.
//!
//! Prints the median nanoseconds per evaluation of both, and their ratio; with `-- --check` it fails if the ratio is
//! above 20.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock; the crate itself doesn't")]

use std::hint::black_box;
use std::time::Instant;

use noctule_core::id::{Qos, SessionId};
use noctule_core::message::{Field, Fields, Message, Publish, field};
use noctule_core::selector::Selector;
use noctule_core::topic::TopicName;

const SELECTOR: &str = "level > 3 AND site = 'plant-7' AND priority <= 5";
const MOST_RATIO: f64 = 20.0;
const ROUNDS: usize = 41;
const EVALUATIONS: u32 = 100_000;

fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in pairs {
        fields.push(field::USER_PROPERTY);
        for text in [name, value] {
            fields.extend_from_slice(&(text.len() as u16).to_be_bytes());
            fields.extend_from_slice(text.as_bytes());
        }
    }
    fields
}

/// One pass over the fields, then three comparisons.
fn by_hand(message: &Message) -> bool {
    let (mut level, mut site, mut priority) = (None, None, None);
    for field in message.fields().iter() {
        if let Field::UserProperty(name, value) = field {
            match name {
                "level" if level.is_none() => level = Some(value),
                "site" if site.is_none() => site = Some(value),
                "priority" if priority.is_none() => priority = Some(value),
                _ => {}
            }
        }
    }
    level.and_then(|level| level.parse::<f64>().ok()).is_some_and(|level| level > 3.0)
        && site == Some("plant-7")
        && priority.and_then(|priority| priority.parse::<f64>().ok()).is_some_and(|priority| priority <= 5.0)
}

/// Nanoseconds per evaluation.
fn round(evaluate: impl Fn() -> bool) -> f64 {
    let start = Instant::now();
    for _ in 0..EVALUATIONS {
        black_box(evaluate());
    }
    start.elapsed().as_nanos() as f64 / f64::from(EVALUATIONS)
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn main() {
    let check = std::env::args().any(|argument| argument == "--check");
    let encoded = properties(&[
        ("device", "pump-12"),
        ("level", "7"),
        ("unit", "bar"),
        ("site", "plant-7"),
        ("firmware", "2.4.1"),
        ("priority", "5"),
    ]);
    let publish = Publish {
        topic: TopicName::from_validated("plant/7/pump/12/pressure"),
        fields: Fields::from_validated([&encoded, &[], &[]]),
        payload: br#"{"seq":41873,"unit":"bar","tags":["a","b"],"pressure":4.25}"#,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        packet_id: None,
        expiry_s: None,
    };
    let message = Message::new(&publish, SessionId::NOBODY, 0);
    let selector = Selector::parse(SELECTOR).unwrap();
    assert!(selector.matches(&message) && by_hand(&message), "both must come to the same");

    // Round by round in turn, so that whatever else the machine does falls on both.
    let (mut ours, mut hand) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(round(|| black_box(&selector).matches(black_box(&message))));
        hand.push(round(|| by_hand(black_box(&message))));
    }
    let (ours, hand) = (median(ours), median(hand));
    let ratio = ours / hand;
    println!("{SELECTOR}");
    println!("{:<64} {ours:>9.1} ns", "selector");
    println!("{:<64} {hand:>9.1} ns", "by hand");
    println!("{:<64} {ratio:>9.2} times", "ratio");

    for text in [
        "JSON('$.pressure') > 4",
        "site LIKE 'plant-%'",
        "level IN (1, 2, 7)",
        "level * 2 + 1 BETWEEN 10 AND 20",
    ] {
        let selector = Selector::parse(text).unwrap();
        assert!(selector.matches(&message), "{text}");
        let ns = median(
            (0..ROUNDS).map(|_| round(|| black_box(&selector).matches(black_box(&message)))).collect(),
        );
        println!("{text:<64} {ns:>9.1} ns");
    }
    assert!(!check || ratio <= MOST_RATIO, "a selector costs {ratio:.1} times the comparisons by hand");
}
