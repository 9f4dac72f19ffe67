//! A broker of its own for every test, configured as an operator would, and wires to it.

#[path = "../kit/data_dir.rs"]
mod data_dir;
mod journal;
mod mqtt;
mod pki;
mod stomp;
mod wire;

use std::net::SocketAddr;

use noctule::broker::Broker;
use noctule::config::{Change, Config, Period};

pub(crate) use crate::broker::{Got, WAIT, counted, more_than, within};
pub(crate) use data_dir::DataDir;
pub(crate) use journal::{said, told};
pub(crate) use mqtt::{LEVELS, Mqtt, V5, V311, VERSIONS, connect_bytes};
pub(crate) use pki::{Named, Pki, TLS_13, TLS_VERSIONS};
pub(crate) use stomp::Stomp;
pub(crate) use wire::{Dripping, TlsWire, WebWire, Wire, offer, plain, rest, tls_over, unix, web_over};

/// What is counted when a layer ends a connection.
pub(crate) const TRANSPORT: &str = "noctule_refusals_total{transport}";

/// How many workers the brokers of this run have.
pub(crate) fn workers() -> u16 {
    std::env::var("NOCTULE_TEST_WORKERS")
        .map_or(1, |count| count.parse().expect("NOCTULE_TEST_WORKERS is a number"))
}

/// A running broker; it stops when the test ends.
pub(crate) struct Served {
    broker: Option<Broker>,
    data: DataDir,
}

impl Served {
    /// With that configuration file, a data directory and workers.
    #[track_caller]
    pub(crate) fn start(toml: &str) -> Self {
        journal::listen();
        counted("");
        let data = DataDir::in_memory();
        let broker = Broker::start(&configuration(toml, &data)).expect("a broker on the loopback");
        Self { broker: Some(broker), data }
    }

    /// With MQTT and STOMP behind TLS, in this order, and a third listener: for MQTT, and `more` keys.
    #[track_caller]
    pub(crate) fn behind_tls(pki: &Pki, more: &str) -> Self {
        Self::start(&format!(
            "{}
            [store]
            durability = \"never\"
            [[listener]]
            address = \"127.0.0.1:0\"
            tls = \"plant\"
            [[listener]]
            protocol = \"stomp\"
            address = \"127.0.0.1:0\"
            tls = \"plant\"
            [[listener]]
            address = \"127.0.0.1:0\"
            {more}",
            pki.plant("")
        ))
    }

    /// Why a broker with that configuration does not start.
    #[track_caller]
    pub(crate) fn refused(toml: &str) -> String {
        journal::listen();
        match Broker::start(&configuration(toml, &DataDir::in_memory())) {
            Ok(broker) => {
                broker.stop().unwrap();
                panic!("it has started with {toml}")
            }
            Err(error) => error.to_string(),
        }
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    /// Where a listener listens, counted from 0 in the order of the file, TCP only.
    #[track_caller]
    pub(crate) fn address(&self, place: usize) -> SocketAddr {
        self.broker().tcp_addresses()[place]
    }

    /// How many listeners there are.
    pub(crate) fn listeners(&self) -> usize {
        self.broker().addresses().len()
    }

    /// A plain connection to a listener.
    #[track_caller]
    pub(crate) fn plain(&self, place: usize) -> Box<dyn Wire> {
        Box::new(plain(self.address(place)))
    }

    /// A TLS connection to a listener.
    #[track_caller]
    pub(crate) fn tls(&self, place: usize, client: &std::sync::Arc<rustls::ClientConfig>) -> TlsWire {
        tls_over(self.plain(place), client)
    }

    /// A WebSocket connection to a listener.
    #[track_caller]
    pub(crate) fn web(&self, place: usize, path: &str, subprotocol: &str) -> WebWire {
        web_over(self.plain(place), path, &[("Sec-WebSocket-Protocol", subprotocol)]).unwrap()
    }

    /// Has the broker serve by another configuration file.
    pub(crate) fn reload(&mut self, toml: &str) -> Result<Vec<Change>, String> {
        let config = configuration(toml, &self.data);
        self.broker.as_mut().unwrap().reload(&config).map_err(|error| error.to_string())
    }

    /// Ends the broker.
    pub(crate) fn stop(mut self) {
        self.broker.take().unwrap().stop().unwrap();
    }
}

fn configuration(toml: &str, data: &DataDir) -> Config {
    let mut config = Config::parse(toml, "test.toml").unwrap_or_else(|error| panic!("{error}"));
    config.server.data_dir = data.path().to_owned();
    config.server.workers = workers();
    if !toml.contains("connect_timeout") {
        // Later than any test waits for an end that has another reason.
        config.limits.connect_timeout = Period::from_secs(300);
    }
    config
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            let ended = broker.stop();
            // A worker that panicked must not go unnoticed; a second panic would hide the first.
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}
