//! What real clients make of the broker: paho-mqtt, MQTT.js, rumqttc and Mosquitto's command line in MQTT 3.1.1 and 5.0,
//! stomp.py, @stomp/stompjs and Net::Stomp in STOMP 1.0, 1.1 and 1.2, and some of the one with some of the other; pages in
//! a browser; OpenSSL, for what is agreed on before any of that.
//!
//! Every client of MQTT does the same: connect, every QoS both ways, retained messages, a will, a session with messages
//! kept for it, and in 5.0 properties, topic aliases and shared subscriptions. Those of STOMP connect, acknowledge in
//! every way, commit and abort, and send what is hard to write in a header or a body, as far as each of them can. A
//! client that is not installed is skipped aloud; where CI is set it is a failure. `.ci/run packages clients` installs
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has failed"
)]

mod arm;
mod browser;
mod dashboard;
#[path = "../kit/data_dir.rs"]
mod data_dir;
mod encrypted;
mod mosquitto;
mod openssl;
#[path = "../kit/ports.rs"]
mod ports;
mod rumqttc_parts;
mod rumqttc_v4;
mod rumqttc_v5;
mod scripts;
mod stomp;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use data_dir::DataDir;
use noctule::broker::Broker;
use noctule::config::{Config, Listener, Period, Protocol};

/// How long anything may take; generous, because interpreters start slowly on busy cores.
const WAIT: Duration = Duration::from_secs(20);

/// A running broker; it stops when the test ends.
struct Served {
    broker: Option<Broker>,
    /// Where it speaks MQTT.
    address: SocketAddr,
    /// Where it speaks STOMP.
    stomp: SocketAddr,
    /// Dropped when the broker has stopped.
    data: DataDir,
}

impl Served {
    fn start() -> Self {
        Self::with(|_, _| {})
    }

    /// With changes; the second argument is where its data lies. The first two listeners are for MQTT and for STOMP.
    fn with(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let mut config = Config::default();
        let data = DataDir::in_memory();
        config.server.data_dir = data.path().to_owned();
        config.server.workers =
            std::env::var("NOCTULE_TEST_WORKERS").map_or(1, |count| count.parse().expect("it is a number"));
        config.listener = [Protocol::Mqtt, Protocol::Stomp].map(Listener::on_loopback).into();
        for listener in &mut config.listener {
            listener.address.set_port(0);
        }
        // A client that is silent for twice that is lost: not longer, because one is waited for, and not shorter, because
        // others may not be run for a moment.
        config.stomp.heart_beat = Period::from_secs(3);
        change(&mut config, data.path());
        let broker = Broker::start(&config).expect("a broker on the loopback");
        let [address, stomp] = *broker.tcp_addresses() else { panic!("{:?}", broker.addresses()) };
        Self { broker: Some(broker), address, stomp, data }
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }

    fn data(&self) -> &Path {
        self.data.path()
    }

    fn stomp_port(&self) -> String {
        self.stomp.port().to_string()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Those that were made for it lie beside its data.
        let _ = std::fs::remove_dir_all(format!("{}-certs", self.data().display()));
        if let Some(broker) = self.broker.take() {
            let ended = broker.stop();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// Says that a client is missing: a failure where the CI has installed them all, else a skip that can be seen.
fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    // Not eprintln!, which the test harness keeps to itself when a test passes.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {what}; `.ci/run packages clients` installs it and prints what to export"
    );
}
