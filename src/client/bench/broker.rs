//! The brokers that are measured: where they are, and how a connection to one is begun.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use noctule_core::id::Qos;
use noctule_mqtt::client::{self as mqtt, Event, Outgoing, Welcome};
use noctule_stomp::client as stomp;

use super::super::failure::{Failure, Place, Speaks};
use super::super::link::{Link, Machine};
use super::super::request;
use super::super::tls::Stream;
use super::lane::{self, Lane};
use crate::cli::{BenchArgs, Scheme};

/// Keep alive of every connection, seconds: longer than a run, because nobody here sends pings.
const KEEP_ALIVE_S: u16 = 18_000;

/// How long a kept session may outlive its connection, seconds, should it not be taken away at the end.
const SESSION_EXPIRY_S: u32 = 3_600;

/// A broker and how to come in.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) name: String,
    pub(super) mqtt: Place,
    pub(super) stomp: Place,
    options: mqtt::Options,
    vhost: String,
}

/// What becomes of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// It ends with the connection.
    Passing,
    /// It begins anew, and stays.
    Kept,
    /// It is the one that was kept.
    Resumed,
}

impl Broker {
    /// Those that the command line names.
    pub(super) fn all(arguments: &BenchArgs) -> Result<Vec<Self>, Failure> {
        let connect = &arguments.connect;
        let mqtt = request::place(connect)?;
        let mut options = request::options(connect)?;
        options.keep_alive_s = KEEP_ALIVE_S;
        options.max_inflight = options.receive_maximum;
        let publishes_stomp = arguments.scenario.is_some_and(crate::cli::Scenario::publishes_stomp);
        let standard = Scheme::Stomp.port(connect.is_encrypted());
        let named = connect.port.filter(|_| publishes_stomp);
        let one = |name: Option<&str>, host: &str, port: u16, stomp_port: u16| {
            let place = |port, speaks| Place { host: host.to_owned(), port, speaks, ..mqtt.clone() };
            let (mqtt, stomp) = (place(port, mqtt.speaks), place(stomp_port, Speaks::Stomp(None)));
            let shown = if publishes_stomp { &stomp } else { &mqtt };
            let name = name.map_or_else(|| shown.to_string(), str::to_owned);
            Self { name, mqtt, stomp, options: options.clone(), vhost: arguments.vhost.clone() }
        };
        if arguments.against.is_empty() {
            let stomp_port = arguments.stomp_port.or(named).unwrap_or(standard);
            return Ok(vec![one(None, &mqtt.host, mqtt.port, stomp_port)]);
        }
        let each = arguments.against.iter().map(|broker| {
            let other = if publishes_stomp { broker.port } else { standard };
            one(Some(&broker.name), &broker.host, broker.port, broker.stomp_port.unwrap_or(other))
        });
        Ok(each.collect())
    }

    fn mqtt_options(&self, id: &str, session: Session) -> mqtt::Options {
        let mut options = self.options.clone();
        options.client_id = id.to_owned();
        // Before 5.0 a session that began clean is not kept; the id is new to the broker anyway.
        let begins = session == Session::Kept && options.version.is_v5();
        options.clean_start = session == Session::Passing || begins;
        options.session_expiry_s = (session != Session::Passing).then_some(SESSION_EXPIRY_S);
        options
    }

    /// Opens a connection for MQTT. What has come after CONNACK is returned with it.
    pub(super) async fn open_mqtt(
        &self,
        id: &str,
        qos: Qos,
        session: Session,
    ) -> Result<(Stream, BytesMut, Lane), Failure> {
        let mut client = mqtt::Client::new(self.mqtt_options(id, session));
        let mut link = Link::open(&mut client, &self.mqtt, Instant::now()).await?;
        let welcome = welcome(&mut link).await?;
        if qos > welcome.maximum_qos {
            let (asked, most) = (qos, welcome.maximum_qos);
            let error = mqtt::RequestError::QosNotSupported { asked, most };
            return Err(Failure::Request { what: "the scenario cannot be run", error });
        }
        let (stream, unread) = link.into_stream();
        let lane = lane::Mqtt::new(self.options.version, qos, &welcome);
        Ok((stream, unread, Lane::Mqtt(lane)))
    }

    /// Opens a connection for STOMP. `confirms` is for queues: see [`lane::Stomp`].
    pub(super) async fn open_stomp(&self, confirms: bool) -> Result<(Stream, BytesMut, Lane), Failure> {
        let passcode = self.options.password.clone().map(String::from_utf8).transpose();
        let mut client = stomp::Client::new(stomp::Options {
            host: self.vhost.clone(),
            login: self.options.user_name.clone(),
            passcode: passcode
                .map_err(|_| Failure::Bench("the password is not UTF-8, which STOMP needs".to_owned()))?,
            heart_beat_ms: (0, 0),
            ..stomp::Options::default()
        });
        let mut link = Link::open(&mut client, &self.stomp, Instant::now()).await?;
        let version = loop {
            match link.next_event()? {
                Some(stomp::Event::Connected(welcome)) => break welcome.version,
                Some(_) => {}
                None => link.turn().await?,
            }
        };
        if confirms && version == noctule_stomp::Version::V10 {
            let error = stomp::RequestError::NotInVersion { what: "ack:client-individual", version };
            return Err(Failure::StompRequest { what: "the scenario cannot be run", error });
        }
        let (stream, unread) = link.into_stream();
        Ok((stream, unread, Lane::Stomp(lane::Stomp::new(version, confirms))))
    }

    /// Has the broker forget a session.
    pub(super) async fn forget(&self, id: &str) -> Result<(), Failure> {
        let mut client = mqtt::Client::new(self.mqtt_options(id, Session::Passing));
        let mut link = Link::open(&mut client, &self.mqtt, Instant::now()).await?;
        welcome(&mut link).await?;
        Machine::close(link).await
    }

    /// Connects, subscribes to `topic`, disconnects.
    pub(super) async fn visit(&self, id: &str, topic: &str, qos: Qos) -> Result<(), Failure> {
        let mut client = mqtt::Client::new(self.mqtt_options(id, Session::Passing));
        let mut link = Link::open(&mut client, &self.mqtt, Instant::now()).await?;
        welcome(&mut link).await?;
        let now_ms = link.now_ms();
        let wanted = [noctule_mqtt::Subscription::new(topic, qos)];
        link.client().subscribe(now_ms, &wanted, None, &[]).map_err(|error| unsaid("subscribe", error))?;
        loop {
            match link.next_event()? {
                Some(Event::Subscribed { granted, .. }) if granted.iter().any(Result::is_ok) => break,
                Some(Event::Subscribed { .. }) => return Err(Failure::NothingGranted),
                Some(_) => {}
                None => link.turn().await?,
            }
        }
        Machine::close(link).await
    }

    /// Takes retained messages away again, as far as that goes within `within`.
    pub(super) async fn clear(&self, id: &str, topics: &[String], within: Duration) -> Result<(), Failure> {
        let mut client = mqtt::Client::new(self.mqtt_options(id, Session::Passing));
        let clearing = async {
            let mut link = Link::open(&mut client, &self.mqtt, Instant::now()).await?;
            welcome(&mut link).await?;
            for topic in topics {
                let mut nothing = Outgoing::new(topic.as_str(), "").at(Qos::AtLeastOnce);
                nothing.retain = true;
                while !link.client().has_room() || !link.takes_output() {
                    while link.next_event()?.is_some() {}
                    if !link.client().has_room() || !link.takes_output() {
                        link.turn().await?;
                    }
                }
                let now_ms = link.now_ms();
                link.client().publish(now_ms, &nothing).map_err(|error| unsaid("publish", error))?;
            }
            while link.client().unacknowledged() > 0 {
                link.turn().await?;
                while link.next_event()?.is_some() {}
            }
            Machine::close(link).await
        };
        match tokio::time::timeout(within, clearing).await {
            Ok(cleared) => cleared,
            Err(_) => Err(Failure::Bench(format!(
                "the {} retained messages of this run could not be taken back in time; they begin with {}",
                topics.len(),
                topics.first().map(String::as_str).unwrap_or_default()
            ))),
        }
    }
}

fn unsaid(what: &'static str, error: mqtt::RequestError) -> Failure {
    Failure::Request { what, error }
}

async fn welcome(link: &mut Link<'_, mqtt::Client>) -> Result<Box<Welcome>, Failure> {
    loop {
        match link.next_event()? {
            Some(Event::Connected(welcome)) => return Ok(welcome),
            Some(_) => {}
            None => link.turn().await?,
        }
    }
}
