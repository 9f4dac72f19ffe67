//! Kills the broker at random moments under load, starts it again on the same directory, and judges in the end whether
//! it kept every promise: nothing acknowledged is lost, QoS 2 never comes twice, order holds, retained values stay.
//!
//! The broker is the real binary, killed with SIGKILL. The clients live in another process of their own (this binary,
//! started again), which writes down what it sent, what was acknowledged and what came, and is never killed. SIGKILL
//! leaves the system's cache alone: what a power cut does is tested on images of the store, not here.
//!
//! `NOCTULE_KILL_CYCLES=200 cargo test --test crash nothing` kills so often (6 by default); a run prints its seed, and
//! `NOCTULE_KILL_SEED` repeats its moments, as far as two processes can be repeated.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has failed"
)]
#![allow(clippy::print_stdout, reason = "the seed has to be known when a run is to be repeated")]

mod broker;
mod cast;
mod checker;
mod journal;
mod judge;
mod kills;
mod link;
mod payload;
mod publisher;
mod reader;
mod rng;
mod stomp;
mod subscriber;
mod world;

use kills::{Plan, run};

/// Kills in one run, unless `NOCTULE_KILL_CYCLES` says otherwise.
const CYCLES: u32 = 6;

/// What a broker acknowledges before it stores it.
const EARLY: &str = "durability = \"interval\"\ninterval = \"10s\"\n";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn seed() -> u64 {
    number("NOCTULE_KILL_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 % 1_000_000_007
    })
}

#[test]
fn nothing_acknowledged_is_lost() {
    let cycles = number("NOCTULE_KILL_CYCLES").map_or(CYCLES, |count| u32::try_from(count).unwrap());
    let verdict = run(&Plan { name: "always", cycles, seed: seed(), store: "", asks: false });
    assert!(verdict.failures.is_empty(), "{verdict}");
}

/// An interval acknowledges before it stores, which the checker has to notice. Whatever somebody else waits for takes all
/// that came before it to the disk as well, so a few kills may happen to lose nothing; many can't.
#[test]
fn an_early_acknowledgement_is_found_out() {
    let first = seed();
    let found = (0..8).any(|attempt| {
        let seed = first.wrapping_add(attempt);
        let verdict = run(&Plan { name: "interval", cycles: 3, seed, store: EARLY, asks: false });
        verdict.failures.iter().any(|line| line.starts_with("missing: "))
    });
    assert!(found, "24 kills from seed {first} on lost nothing that was acknowledged early");
}

/// What the interval has not written yet is written at an orderly end.
#[test]
fn an_orderly_end_loses_nothing() {
    let plan = Plan { name: "orderly", cycles: 4, seed: seed(), store: EARLY, asks: true };
    let verdict = run(&plan);
    assert!(verdict.failures.is_empty(), "{verdict}");
}

/// And it does not cry wolf.
#[test]
fn without_a_kill_every_promise_is_kept() {
    let verdict = run(&Plan { name: "alive", cycles: 0, seed: seed(), store: "", asks: false });
    assert!(verdict.failures.is_empty(), "{verdict}");
}

/// Not a test: the process that holds the clients. Without its directory there is nothing to do.
#[test]
#[ignore = "started by the other tests"]
fn checker_process() {
    if let Some(directory) = std::env::var_os(kills::CHECKER_DIRECTORY) {
        checker::run(directory.as_ref(), number(kills::CHECKER_SEED).unwrap());
    }
}
