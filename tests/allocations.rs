//! What a message costs the allocator, once everything has grown to its size: nothing.
//!
//! The allocator of the whole process is asked, this test's own clients included: they use nothing but sockets and what they
//! have set up before.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

#[path = "kit/data_dir.rs"]
mod data_dir;
#[path = "kit/pair.rs"]
mod pair;

use data_dir::DataDir;
use noctule::broker::{Broker, HEAP};
use noctule::config::Config;
use noctule_core::id::Qos;
use pair::Pair;

const PAIRS: usize = 100;

/// Rounds of one message for each pair before anything is counted.
const WARM_UP_ROUNDS: usize = 100;

/// Rounds that are counted at once.
const ROUNDS: usize = 100;

/// As many times that for one long look, which bounds half a byte per message.
const LONG: usize = 5;

/// How often is counted: other threads may do something of their own in between, once in a second.
const ATTEMPTS: usize = 5;

/// How many bytes are allocated while so many rounds go through.
fn allocated(pairs: &mut [Pair], qos: Qos, rounds: usize) -> usize {
    let mut buffer = [0; 256];
    let before = HEAP.total_allocated();
    for _ in 0..rounds {
        pairs.iter_mut().for_each(Pair::send);
        pairs.iter_mut().for_each(|pair| pair.receive(qos, &mut buffer, &[]));
    }
    HEAP.total_allocated() - before
}

#[test]
fn a_message_allocates_nothing() {
    for (workers, qos) in
        [(1, Qos::AtMostOnce), (2, Qos::AtMostOnce), (1, Qos::AtLeastOnce), (2, Qos::AtLeastOnce)]
    {
        let data = DataDir::in_memory();
        let toml = format!("[server]\nworkers = {workers}\n[[listener]]\naddress = \"127.0.0.1:0\"\n");
        let mut config = Config::parse(&toml, "test.toml").unwrap();
        config.server.data_dir = data.path().to_owned();
        let broker = Broker::start(&config).unwrap();
        let address = broker.tcp_addresses()[0];
        let mut pairs: Vec<_> = (0..PAIRS).map(|number| Pair::new(address, number, qos)).collect();
        allocated(&mut pairs, qos, WARM_UP_ROUNDS);
        let least = (0..ATTEMPTS).map(|_| allocated(&mut pairs, qos, ROUNDS)).min().unwrap();
        assert_eq!(least, 0, "bytes for {} messages, {workers} workers, {qos:?}", PAIRS * ROUNDS);
        // What is allocated more rarely than once in so many messages, and yet because of them. A list that grows once more
        // because a worker was late is not that, nor what the workers look through every few seconds.
        let rounds = ROUNDS * LONG;
        let messages = PAIRS * rounds;
        let mut counts = Vec::new();
        let is_rare = (0..ATTEMPTS).any(|_| {
            let all = allocated(&mut pairs, qos, rounds);
            counts.push(all);
            all * 2 < messages
        });
        assert!(is_rare, "{counts:?} bytes for {messages} messages each, {workers} workers, {qos:?}");
        drop(pairs);
        broker.stop().unwrap();
    }
}
