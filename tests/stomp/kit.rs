//! A broker of its own for every test, with a listener for each protocol and dialect, and clients for them.

pub(crate) mod client;
#[path = "../kit/data_dir.rs"]
mod data_dir;

use std::net::SocketAddr;

use noctule::broker::Broker;
use noctule::config::{Config, Dialect, Listener, Period, Protocol};
use noctule_mqtt::{Connect, Version as MqttVersion};

use crate::mqtt;
use data_dir::DataDir;

pub(crate) use client::{Frame, Headers, Stomp, V10, V11, V12};

/// MQTT's versions.
pub(crate) const MQTT5: MqttVersion = MqttVersion::V5;
pub(crate) const MQTT311: MqttVersion = MqttVersion::V311;

/// When a connection without CONNECT is ended: later than any test waits for an end that has another reason.
const LATE: Period = Period::from_secs(300);

/// How many workers the brokers of this run have.
fn workers() -> u16 {
    std::env::var("NOCTULE_TEST_WORKERS")
        .map_or(1, |count| count.parse().expect("NOCTULE_TEST_WORKERS is a number"))
}

/// A running broker; it stops when the test ends.
pub(crate) struct Served {
    broker: Option<Broker>,
    addresses: Vec<SocketAddr>,
    /// Dropped when the broker has stopped.
    _data: DataDir,
}

/// Places of the listeners.
const MQTT: usize = 0;
const NATIVE: usize = 1;
const RABBITMQ: usize = 2;
const ACTIVEMQ: usize = 3;

impl Served {
    /// With the default configuration.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// With a configuration changed by the test.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        let data = DataDir::in_memory();
        config.server.data_dir = data.path().to_owned();
        config.server.workers = workers();
        config.limits.connect_timeout = LATE;
        let stomp = |dialect| Listener { dialect, ..Listener::on_loopback(Protocol::Stomp) };
        config.listener = vec![
            Listener::on_loopback(Protocol::Mqtt),
            stomp(Dialect::Native),
            stomp(Dialect::Rabbitmq),
            stomp(Dialect::Activemq),
        ];
        for listener in &mut config.listener {
            listener.address.set_port(0);
        }
        change(&mut config);
        let broker = Broker::start(&config).expect("a broker on the loopback");
        let addresses = broker.tcp_addresses();
        Self { broker: Some(broker), addresses, _data: data }
    }

    /// A STOMP socket on which nothing was sent yet.
    pub(crate) fn raw(&self) -> Stomp {
        self.unconnected(Dialect::Native)
    }

    /// A connected STOMP 1.2 client.
    pub(crate) fn stomp(&self) -> Stomp {
        self.stomp_with(V12, &[])
    }

    /// A connected STOMP client, with more headers in its CONNECT.
    pub(crate) fn stomp_with(&self, version: noctule_stomp::Version, headers: &[(&str, &str)]) -> Stomp {
        let mut client = self.raw();
        client.connect(version, headers);
        client
    }

    /// A connected STOMP 1.2 client of a listener with that dialect.
    pub(crate) fn dialect(&self, dialect: Dialect) -> Stomp {
        let mut client = self.unconnected(dialect);
        client.connect(V12, &[]);
        client
    }

    /// A socket to a listener with that dialect, on which nothing was sent yet.
    pub(crate) fn unconnected(&self, dialect: Dialect) -> Stomp {
        let place = match dialect {
            Dialect::Native => NATIVE,
            Dialect::Rabbitmq => RABBITMQ,
            Dialect::Activemq => ACTIVEMQ,
        };
        Stomp::open(self.addresses[place])
    }

    /// A connected MQTT client with a clean session.
    pub(crate) fn mqtt(&self, version: MqttVersion, client_id: &str) -> mqtt::Client {
        self.mqtt_with(&Connect::new(version, client_id))
    }

    /// A connected MQTT client whose CONNECT the test has made.
    pub(crate) fn mqtt_with(&self, connect: &Connect<'_>) -> mqtt::Client {
        let mut client = mqtt::open(self.addresses[MQTT], connect.version);
        client.connect(connect);
        match client.next() {
            mqtt::Got::ConnAck(welcome) if welcome.reason == 0 => client,
            other => panic!("{:?} was not let in: {other:?}", connect.client_id),
        }
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

/// A user property as MQTT 5 encodes it.
pub(crate) fn property(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0x26];
    for text in [name, value] {
        bytes.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Any other property that is bytes with a length.
pub(crate) fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend(value);
    bytes
}
