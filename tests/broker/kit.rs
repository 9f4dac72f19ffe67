//! A broker of its own for every test, and a blocking client that shows every packet.
//!
//! The client does nothing by itself: it acknowledges when it is told to and keeps what comes in the meantime.

mod client;
mod counters;
#[path = "../kit/data_dir.rs"]
mod data_dir;
mod got;
mod process;

use std::net::SocketAddr;
use std::num::NonZeroU16;

use noctule::broker::{AuthMethods, Broker};
use noctule::config::{Config, Period};
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Version};

pub(crate) use client::{Client, Out, WAIT, within};
pub(crate) use counters::{counted, more_than};
use data_dir::DataDir;
pub(crate) use got::{Delivered, Got, Welcome};
pub(crate) use process::Process;

pub(crate) const V31: Version = Version::V31;
pub(crate) const V311: Version = Version::V311;
pub(crate) const V5: Version = Version::V5;
/// Every version, for rules that all three share.
pub(crate) const VERSIONS: [Version; 3] = [V31, V311, V5];
/// Every quality of service.
pub(crate) const LEVELS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// When a connection without CONNECT is ended: later than any test waits for an end that has another reason.
const LATE: Period = Period::from_secs(300);

/// How many workers the brokers of this run have.
pub(crate) fn workers() -> u16 {
    std::env::var("NOCTULE_TEST_WORKERS")
        .map_or(1, |count| count.parse().expect("NOCTULE_TEST_WORKERS is a number"))
}

/// A running broker; it stops when the test ends.
pub(crate) struct Served {
    broker: Option<Broker>,
    pub(crate) address: SocketAddr,
    /// Dropped when the broker has stopped.
    _data: DataDir,
}

impl Served {
    /// With the default configuration.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// With a configuration changed by the test.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_methods(AuthMethods::default(), change)
    }

    /// The same, and all addresses it listens on, MQTT's first.
    pub(crate) fn with_addresses(addresses: &mut Vec<SocketAddr>, change: impl FnOnce(&mut Config)) -> Self {
        let served = Self::with(change);
        addresses.extend(served.broker.iter().flat_map(Broker::tcp_addresses));
        served
    }

    /// With ways of enhanced authentication.
    pub(crate) fn with_methods(methods: AuthMethods, change: impl FnOnce(&mut Config)) -> Self {
        counters::install();
        let mut config = Config::default();
        let data = DataDir::in_memory();
        config.server.data_dir = data.path().to_owned();
        config.server.workers = workers();
        config.limits.connect_timeout = LATE;
        for listener in &mut config.listener {
            listener.address.set_port(0);
        }
        change(&mut config);
        let broker = Broker::start_with(&config, methods).expect("a broker on the loopback");
        let address = broker.tcp_addresses()[0];
        Self { broker: Some(broker), address, _data: data }
    }

    /// A socket on which nothing was sent yet; packets are read as `version`'s.
    pub(crate) fn raw(&self, version: Version) -> Client {
        Client::new(self.address, version)
    }

    /// Sends `connect` and returns the broker's answer, whatever it is.
    pub(crate) fn ask(&self, connect: &Connect<'_>) -> (Client, Got) {
        let mut client = self.raw(connect.version);
        client.connect(connect);
        let answer = client.next();
        (client, answer)
    }

    /// A connected client, and what CONNACK said.
    pub(crate) fn welcome(&self, connect: &Connect<'_>) -> (Client, Welcome) {
        let (client, answer) = self.ask(connect);
        match answer {
            Got::ConnAck(welcome) if welcome.reason == 0 => (client, *welcome),
            other => panic!("{:?} was not let in: {other:?}", connect.client_id),
        }
    }

    /// A connected client with a clean session.
    pub(crate) fn client(&self, version: Version, client_id: &str) -> Client {
        self.welcome(&Connect::new(version, client_id)).0
    }

    /// A connected client whose session stays; also whether it was there before.
    pub(crate) fn resume(&self, version: Version, client_id: &str) -> (Client, bool) {
        let (client, welcome) = self.welcome(&lasting(version, client_id));
        (client, welcome.session_present)
    }

    /// Ends the broker.
    pub(crate) fn stop(mut self) {
        self.broker.take().unwrap().stop().unwrap();
    }
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

/// A CONNECT that takes up the old session and asks for it to be kept.
pub(crate) fn lasting(version: Version, client_id: &str) -> Connect<'_> {
    let mut connect = Connect::new(version, client_id);
    connect.clean_start = false;
    connect.session_expiry_s = Some(600).filter(|_| version.is_v5());
    connect
}

/// A packet identifier.
pub(crate) fn pid(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}
