//! What keeping messages costs: bytes written, memory, time to take, to give back and to start, beside Mosquitto.
//!
//! `cargo bench --bench store -- all` (or `offline`, `online`, `start`, `floor`) starts and stops the brokers itself,
//! each with a directory of its own under `--dir` (by default where cargo builds), which should be on the disk that is
//! meant. `--messages N` and `--seconds N` set the size. `--peer NAME:PORT:PID` adds a broker that runs already, for
//! `offline` and `online`; it must take anonymous clients and keep the messages of absent ones without a limit.
//! Mosquitto is left out when it is not installed. Bytes are `write_bytes` of /proc/PID/io: what the process made the
//! page cache owe to the disk, without the file system's journal.

#![allow(clippy::print_stdout, reason = "the figures are its output")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "without its broker there is no figure"
)]

mod broker;
mod client;
mod floor;
mod offline;
mod online;
mod start;

use std::path::PathBuf;

use broker::{Broker, Kind};

/// What the command line says.
struct Wanted {
    scenario: String,
    directory: PathBuf,
    messages: Option<usize>,
    seconds: u64,
    peers: Vec<Kind>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    // `cargo bench` without arguments builds and runs everything: this one takes minutes and is asked for by name.
    let scenarios = ["all", "floor", "offline", "online", "start"];
    let Some(scenario) = arguments.iter().find(|argument| scenarios.contains(&argument.as_str())) else {
        println!("store: say what to measure, one of {}", scenarios.join(", "));
        return;
    };
    let mut peers = vec![Kind::Noctule];
    peers.extend(broker::mosquitto().map(Kind::Mosquitto));
    peers.extend(after("--peer").map(|text| Kind::running(&text)));
    if let Some(only) = after("--only") {
        peers.retain(|peer| peer.name() == only);
    }
    let wanted = Wanted {
        scenario: scenario.clone(),
        directory: after("--dir").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from),
        messages: after("--messages").map(|count| count.parse().unwrap()),
        seconds: after("--seconds").map_or(10, |count| count.parse().unwrap()),
        peers,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(measure(&wanted)));
}

async fn measure(wanted: &Wanted) {
    let is_wanted = |name: &str| wanted.scenario == name || wanted.scenario == "all";
    if is_wanted("floor") {
        floor::measure(&wanted.directory);
    }
    if is_wanted("offline") {
        let messages = wanted.messages.unwrap_or(100_000);
        offline::heading(messages);
        for kind in &wanted.peers {
            offline::measure(&mut Broker::start(kind, &wanted.directory).await, messages).await;
        }
    }
    if is_wanted("online") {
        online::heading(wanted.seconds);
        for kind in &wanted.peers {
            for delay_ms in [0, 3, 50] {
                let mut broker = Broker::start(kind, &wanted.directory).await;
                online::measure(&mut broker, wanted.seconds, delay_ms).await;
            }
        }
    }
    if is_wanted("start") {
        let messages = wanted.messages.unwrap_or(1_000_000);
        start::heading(messages);
        for kind in wanted.peers.iter().filter(|kind| kind.is_ours_to_stop()) {
            start::measure(&mut Broker::start(kind, &wanted.directory).await, messages).await;
        }
    }
}
