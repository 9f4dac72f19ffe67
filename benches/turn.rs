//! Instructions of a turn of the loop: one message in, one out, over sockets of the loopback, counted by valgrind.
//!
//! At a low rate, which is most of a gateway's life, every message is a turn by itself, and the turn costs more than the
//! message does. `cargo bench --bench turn`; it fails if a count is above the one recorded here by more than the tolerance, and
//! asks to have it recorded anew where it is as far below. The kernel's part is not counted; the clients' is, which is a read
//! and a write for each packet.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the numbers are its output")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure ends the benchmark, as it should"
)]

#[path = "../tests/kit/data_dir.rs"]
mod data_dir;
#[path = "../tests/kit/pair.rs"]
mod pair;
#[path = "../tests/kit/valgrind.rs"]
mod valgrind;

use std::process::ExitCode;

use data_dir::DataDir;
use noctule::broker::Broker;
use noctule::config::Config;
use noctule_core::id::Qos;
use pair::Pair;
use valgrind::counted;

const PAIRS: usize = 10;

/// Goes with a subscriber's acknowledgement, and its answer says that the broker has taken that, in a turn of its own. Without
/// it the broker would take it by itself or with the next message, as threads are scheduled, in two turns or in one.
const PINGREQ: [u8; 2] = [0xC0, 0];

/// Of the recorded count, by which a count may be above it: compilers differ, and so does what wakes a thread.
const TOLERANCE_PERCENT: u64 = 12;

/// What is measured, and instructions per message as counted last (rustc 1.95, x86-64).
const SCENARIOS: [(&str, Qos, u64); 2] =
    [("QoS 0", Qos::AtMostOnce, 5_202), ("QoS 1", Qos::AtLeastOnce, 11_039)];

/// So many messages of each pair, one after the other.
fn run(qos: Qos, rounds: usize) {
    let data = DataDir::in_memory();
    let toml = "[store]\ndurability = \"never\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let mut config = Config::parse(toml, "turn.toml").unwrap();
    config.server.data_dir = data.path().to_owned();
    let broker = Broker::start(&config).unwrap();
    let address = broker.tcp_addresses()[0];
    let mut pairs: Vec<_> = (0..PAIRS).map(|number| Pair::new(address, number, qos)).collect();
    let mut buffer = [0; 256];
    for _ in 0..rounds {
        for pair in &mut pairs {
            pair.send();
            pair.receive(qos, &mut buffer, &PINGREQ);
        }
    }
    drop(pairs);
    broker.stop().unwrap();
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().collect();
    if let [_, run_it, scenario, rounds] = &*args
        && run_it == "run"
    {
        let (_, qos, _) = SCENARIOS[scenario.parse::<usize>().unwrap()];
        run(qos, rounds.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let mut verdict = ExitCode::SUCCESS;
    println!("instructions per message, one in each turn, {PAIRS} pairs, 64 bytes, clients included");
    for (place, (name, _, recorded)) in SCENARIOS.into_iter().enumerate() {
        let (few, many) = (50, 450);
        let messages = ((many - few) * PAIRS) as u64;
        let count = counted(place, many).saturating_sub(counted(place, few)) / messages;
        let most = recorded * (100 + TOLERANCE_PERCENT) / 100;
        let least = recorded * (100 - TOLERANCE_PERCENT) / 100;
        let word = match count {
            count if count > most => ", which is too many",
            count if count < least => "; record that, so that it stays so",
            _ => "",
        };
        println!("{name}: {count}, recorded {recorded}{word}");
        if count > most {
            eprintln!("{name}: {count} instructions are more than {most}: find what it is, or record why");
            verdict = ExitCode::FAILURE;
        }
    }
    verdict
}
