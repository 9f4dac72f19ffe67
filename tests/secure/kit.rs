//! A broker of its own for every test, with users, and doors for MQTT and STOMP that ask who comes.

#[path = "../kit/data_dir.rs"]
mod data_dir;
#[path = "../kit/ports.rs"]
pub(crate) mod ports;
pub(crate) mod scram;
pub(crate) mod service;
pub(crate) mod token;
pub(crate) mod wire;

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use noctule::auth::password::{Entry, Hash};
use noctule::auth::scram::Verifier;
use noctule::broker::{Broker, StartError};
use noctule::config::{Address, Config, Period};
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Version, Will};
use noctule_stomp::Command;

use crate::mqtt::{self, Client, Got};
use crate::stomp::{Frame, Headers, Stomp, V12};
use data_dir::DataDir;

pub(crate) const V311: Version = Version::V311;
pub(crate) const V5: Version = Version::V5;
pub(crate) const VERSIONS: [Version; 2] = [V311, V5];
pub(crate) const QOS_0: Qos = Qos::AtMostOnce;
pub(crate) const QOS_1: Qos = Qos::AtLeastOnce;
pub(crate) const QOS_2: Qos = Qos::ExactlyOnce;

/// Everybody's password, unless the test says otherwise.
pub(crate) const RIGHT: &str = "correct horse";

/// Where the clients come in: MQTT first, then STOMP; nobody anonymously.
pub(crate) const DOORS: &str = r#"
[[listener]]
protocol = "mqtt"
address = "127.0.0.1:0"
anonymous = false

[[listener]]
protocol = "stomp"
address = "127.0.0.1:0"
anonymous = false
"#;

/// Passwords by the file, and nothing else.
pub(crate) const BY_PASSWORD: &str = r#"
[auth]
chain = ["password"]
password_file = "{dir}/users"
"#;

/// Whoever comes in may do everything.
pub(crate) const FREE: &str = r##"
[[acl]]
allow = ["publish", "subscribe", "retain", "manage"]
topics = ["#"]
"##;

/// How many workers the brokers of this run have.
fn workers() -> u16 {
    std::env::var("NOCTULE_TEST_WORKERS")
        .map_or(1, |count| count.parse().expect("NOCTULE_TEST_WORKERS is a number"))
}

/// The hash of [`RIGHT`], computed once: each takes a while.
fn hash() -> &'static Hash {
    static HASH: OnceLock<Hash> = OnceLock::new();
    HASH.get_or_init(|| Hash::of(RIGHT.as_bytes()).unwrap())
}

/// A line of the password file: everybody's password, `groups`, and SCRAM.
pub(crate) fn user(name: &str, groups: &[&str]) -> String {
    static SCRAM: OnceLock<Verifier> = OnceLock::new();
    let scram = SCRAM.get_or_init(|| Verifier::of(RIGHT).unwrap()).clone();
    let groups = groups.iter().map(|&group| group.to_owned()).collect();
    format!("{}\n", Entry { user: name.to_owned(), hash: hash().clone(), groups, scram: Some(scram) })
}

/// A folder for the files that a configuration names as `{dir}/…`.
pub(crate) struct Files(DataDir);

impl Files {
    /// With the users ann (of the group ops), bob and eve.
    pub(crate) fn new() -> Self {
        let dir = DataDir::in_memory();
        fs::create_dir_all(dir.path()).unwrap();
        let files = Self(dir);
        files.write("users", &(user("ann", &["ops"]) + &user("bob", &[]) + &user("eve", &[])));
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    /// Reads a configuration as the broker's command does.
    pub(crate) fn read(&self, text: &str) -> Result<Config, String> {
        let text = text.replace("{dir}", self.0.path().to_str().unwrap());
        Config::parse(&text, "noctule.toml").map_err(|error| error.to_string())
    }
}

/// A running broker; it stops when the test ends.
pub(crate) struct Served {
    broker: Option<Broker>,
    pub(crate) files: Files,
    data: DataDir,
}

impl Served {
    /// Users of the file come in, and may do everything.
    pub(crate) fn start() -> Self {
        Self::with(&[BY_PASSWORD, FREE, DOORS].concat())
    }

    /// Users of the file come in, and may do what these rules say.
    pub(crate) fn ruled(acl: &str) -> Self {
        Self::with(&[BY_PASSWORD, acl, DOORS].concat())
    }

    /// With that configuration.
    pub(crate) fn with(text: &str) -> Self {
        Self::among(Files::new(), text)
    }

    /// With files that were written before.
    pub(crate) fn among(files: Files, text: &str) -> Self {
        Self::tried(files, text).unwrap_or_else(|error| panic!("no broker: {error}"))
    }

    /// With a configuration that may be refused.
    pub(crate) fn tried(files: Files, text: &str) -> Result<Self, StartError> {
        // Counters count from the first broker on.
        mqtt::counted("");
        let data = DataDir::in_memory();
        let config = own(files.read(text).unwrap_or_else(|error| panic!("{error}")), &data);
        let broker = Broker::start(&config)?;
        Ok(Self { broker: Some(broker), files, data })
    }

    /// Another configuration, in force when this returns; or why it is not.
    pub(crate) fn reload(&mut self, text: &str) -> Result<(), String> {
        let config = own(self.files.read(text)?, &self.data);
        let broker = self.broker.as_mut().unwrap();
        broker.reload(&config).map_err(|error| error.to_string())?;
        // It goes to every worker by mail, and a question is answered after all mail that came before it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(broker.inspector().answers()).map_err(|error| error.to_string())
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.broker.as_ref().unwrap().tcp_addresses()
    }

    /// The address of the listener at that place among those of TCP.
    pub(crate) fn address(&self, place: usize) -> SocketAddr {
        self.addresses()[place]
    }

    /// The Unix socket that is listened on.
    pub(crate) fn socket(&self) -> PathBuf {
        let addresses = self.broker.as_ref().unwrap().addresses();
        addresses
            .iter()
            .find_map(|address| match address {
                Address::Unix(path) => Some(path.clone()),
                _ => None,
            })
            .unwrap()
    }

    /// An MQTT socket on which nothing was sent yet.
    pub(crate) fn raw(&self, version: Version) -> Client {
        mqtt::open(self.address(0), version)
    }

    /// Sends `connect` and returns what comes first.
    #[track_caller]
    pub(crate) fn ask(&self, connect: &Connect<'_>) -> (Client, Got) {
        self.ask_at(0, connect)
    }

    /// The same through the listener at that place.
    #[track_caller]
    pub(crate) fn ask_at(&self, place: usize, connect: &Connect<'_>) -> (Client, Got) {
        let mut client = mqtt::open(self.address(place), connect.version);
        client.connect(connect);
        let answer = client.next();
        (client, answer)
    }

    /// The reason that CONNACK gives; whoever is refused must see the connection closed.
    #[track_caller]
    pub(crate) fn knock(&self, connect: &Connect<'_>) -> u8 {
        self.knock_at(0, connect)
    }

    /// The same through the listener at that place.
    #[track_caller]
    pub(crate) fn knock_at(&self, place: usize, connect: &Connect<'_>) -> u8 {
        let (mut client, answer) = self.ask_at(place, connect);
        let Got::ConnAck(welcome) = answer else { panic!("instead of CONNACK came {answer:?}") };
        if welcome.reason == 0 {
            client.ping();
        } else {
            client.is_closed();
        }
        welcome.reason
    }

    /// A connected client, and whether its session was there before.
    #[track_caller]
    pub(crate) fn welcome(&self, connect: &Connect<'_>) -> (Client, bool) {
        match self.ask(connect) {
            (client, Got::ConnAck(welcome)) if welcome.reason == 0 => (client, welcome.session_present),
            (_, other) => panic!("{:?} was not let in: {other:?}", connect.client_id),
        }
    }

    /// A user's client with a clean session.
    #[track_caller]
    pub(crate) fn client(&self, version: Version, client_id: &str, user: &str) -> Client {
        self.welcome(&by(version, client_id, user, RIGHT)).0
    }

    /// A user's client whose session stays; also whether it was there before.
    #[track_caller]
    pub(crate) fn resume(&self, version: Version, client_id: &str, user: &str) -> (Client, bool) {
        self.welcome(&lasting(by(version, client_id, user, RIGHT)))
    }

    /// A user's STOMP client.
    #[track_caller]
    pub(crate) fn stomp(&self, user: &str) -> Stomp {
        self.stomp_with(user, &[])
    }

    /// The same with more headers in CONNECT.
    #[track_caller]
    pub(crate) fn stomp_with(&self, user: &str, headers: Headers<'_>) -> Stomp {
        let mut client = self.stomp_raw();
        client.connect(V12, &[&[("login", user), ("passcode", RIGHT)], headers].concat());
        client
    }

    /// A STOMP socket on which nothing was sent yet.
    pub(crate) fn stomp_raw(&self) -> Stomp {
        Stomp::open(self.address(1))
    }

    /// CONNECT of STOMP with these headers; the first frame that comes.
    #[track_caller]
    pub(crate) fn stomp_knock(&self, headers: Headers<'_>) -> Frame {
        let mut client = self.stomp_raw();
        client.send(Command::Connect, &[&[("accept-version", "1.2"), ("host", "/")], headers].concat(), b"");
        let frame = client.next();
        if frame.command != Command::Connected {
            assert_eq!(frame.command, Command::Error);
            client.is_closed();
        }
        frame
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

/// With the test's own directory and number of workers.
fn own(mut config: Config, data: &DataDir) -> Config {
    config.server.data_dir = data.path().to_owned();
    config.server.workers = workers();
    if config.limits.connect_timeout == Config::default().limits.connect_timeout {
        // Later than any test waits for an end that has another reason.
        config.limits.connect_timeout = Period::from_secs(300);
    }
    config
}

/// A CONNECT with a user name and a password.
pub(crate) fn by<'a>(version: Version, client_id: &'a str, user: &'a str, password: &'a str) -> Connect<'a> {
    let mut connect = Connect::new(version, client_id);
    connect.user_name = Some(user);
    connect.password = Some(password.as_bytes());
    connect
}

/// The same for a session that stays.
pub(crate) fn lasting(mut connect: Connect<'_>) -> Connect<'_> {
    connect.clean_start = false;
    connect.session_expiry_s = Some(600).filter(|_| connect.version.is_v5());
    connect
}

/// The same with a will.
pub(crate) fn with_will<'a>(mut connect: Connect<'a>, will: Will<'a>) -> Connect<'a> {
    connect.will = Some(will);
    connect
}

/// How a wrong password is answered; MQTT 3's return codes are read as those of MQTT 5.
pub(crate) const BAD_CREDENTIALS: u8 = 0x86;

/// How somebody is answered who may not.
pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
