//! What `pub` and `sub` share: where to connect, as whom, with which will.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use noctule_core::id::Qos;

use super::address::{BrokerUrl, Scheme};
use super::tls::TlsArgs;
use super::topic;
use crate::config::Period;

/// How to connect to a broker.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectArgs {
    /// Broker as a URL: `mqtt://[USER[:PASSWORD]@]HOST[:PORT]`, or `mqtts://` for TLS
    #[arg(long, conflicts_with_all = ["host", "port"])]
    pub url: Option<BrokerUrl>,

    /// Broker's name or IP address
    #[arg(short = 'H', long, default_value = "127.0.0.1")]
    pub host: String,

    /// Broker's port [default: 1883, with TLS 8883]
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Client id; without one the broker or this program makes one up
    #[arg(short = 'i', long, value_name = "ID")]
    pub client_id: Option<String>,

    /// User name
    #[arg(short, long)]
    pub user: Option<String>,

    /// Password; other users of this machine can see it in the process list
    #[arg(short = 'P', long)]
    pub password: Option<String>,

    /// File whose first line is the password
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,

    /// Keep alive: how long the connection may be silent; 0s switches it off
    #[arg(short, long, value_name = "TIME", default_value = "60s", value_parser = seconds_in_16_bits)]
    pub keep_alive: Period,

    /// MQTT version
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "5")]
    pub protocol: MqttVersion,

    /// How long the broker keeps the session after the connection ends (MQTT 5)
    #[arg(long, value_name = "TIME", value_parser = seconds_in_32_bits)]
    pub session_expiry: Option<Period>,

    /// Encryption.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// The will.
    #[command(flatten)]
    pub will: WillArgs,
}

impl ConnectArgs {
    /// Host and port, from the URL or the flags.
    #[must_use]
    pub fn place(&self) -> (&str, u16) {
        match &self.url {
            Some(url) => (&url.host, url.port),
            None => (&self.host, self.port.unwrap_or(Scheme::Mqtt.port(self.is_encrypted()))),
        }
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.url.as_ref().map_or(self.tls.is_asked(), |url| url.tls)
    }

    /// The user name; the flag wins over the URL.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        self.user.as_deref().or_else(|| self.url.as_ref()?.user.as_deref())
    }

    /// The flags given that only MQTT 5 can express.
    pub(super) fn only_in_v5(&self) -> Vec<&'static str> {
        let given = [
            ("--session-expiry", self.session_expiry.is_some()),
            ("--will-delay", self.will.will_delay.is_some()),
        ];
        named(&given)
    }
}

/// What the broker publishes should this client vanish.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Will")]
pub struct WillArgs {
    /// Topic of the will
    #[arg(long, value_name = "TOPIC", value_parser = topic::name)]
    pub will_topic: Option<String>,

    /// Its payload; empty without this
    #[arg(long, value_name = "TEXT", requires = "will_topic")]
    pub will_message: Option<String>,

    /// Its QoS: 0, 1 or 2
    #[arg(long, value_name = "QOS", requires = "will_topic", value_parser = qos)]
    pub will_qos: Option<Qos>,

    /// Retain it
    #[arg(long, requires = "will_topic")]
    pub will_retain: bool,

    /// How long the broker waits for this client to return before publishing it (MQTT 5)
    #[arg(long, value_name = "TIME", requires = "will_topic", value_parser = seconds_in_32_bits)]
    pub will_delay: Option<Period>,
}

/// The version of MQTT to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MqttVersion {
    /// 3.1, `MQIsdp`.
    #[value(name = "3.1", alias = "mqttv31")]
    V31,
    /// 3.1.1.
    #[value(name = "3.1.1", alias = "3", alias = "311", alias = "mqttv311")]
    V311,
    /// 5.0.
    #[value(name = "5", alias = "5.0", alias = "mqttv5")]
    V5,
}

/// One `name=value`; only the first `=` separates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserProperty {
    /// What stands before the first `=`.
    pub name: String,
    /// What follows it.
    pub value: String,
}

impl FromStr for UserProperty {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write name=value")?;
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// QoS 0, 1 or 2.
pub(super) fn qos(text: &str) -> Result<Qos, String> {
    text.parse().ok().and_then(Qos::from_level).ok_or_else(|| "QoS is 0, 1 or 2".to_owned())
}

/// A duration; a bare number counts seconds, as in other MQTT clients. A configuration asks for the unit.
pub(super) fn period(text: &str) -> Result<Period, String> {
    if text.bytes().all(|digit| digit.is_ascii_digit())
        && let Ok(seconds) = text.parse()
    {
        return Ok(Period::from_secs(seconds));
    }
    text.parse().map_err(|error: crate::config::QuantityError| error.to_string())
}

/// A duration that MQTT carries as whole seconds in `most` at most.
fn whole_seconds(text: &str, most: u64) -> Result<Period, String> {
    let period = period(text)?;
    if !period.as_millis().is_multiple_of(1_000) {
        return Err("MQTT counts whole seconds".to_owned());
    }
    if period.as_secs() > most {
        return Err(format!("MQTT can say at most {most}s"));
    }
    Ok(period)
}

/// Keep Alive, a two byte integer.
pub(super) fn seconds_in_16_bits(text: &str) -> Result<Period, String> {
    whole_seconds(text, u64::from(u16::MAX))
}

/// Session Expiry Interval, Will Delay Interval, Message Expiry Interval: four byte integers.
pub(super) fn seconds_in_32_bits(text: &str) -> Result<Period, String> {
    whole_seconds(text, u64::from(u32::MAX))
}

/// The names of those that are given.
pub(super) fn named(flags: &[(&'static str, bool)]) -> Vec<&'static str> {
    flags.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect()
}

/// Refuses flags that contradict each other, and those that an older version cannot express, rather than leaving them
/// out silently.
pub(super) fn check_connection(
    command: &str,
    connect: &ConnectArgs,
    only_in_v5: &[&'static str],
) -> Result<(), clap::Error> {
    connect.tls.check(&[command], connect.url.as_ref())?;
    if connect.protocol == MqttVersion::V5 {
        return Ok(());
    }
    let mut flags = connect.only_in_v5();
    flags.extend(only_in_v5);
    if flags.is_empty() {
        return Ok(());
    }
    Err(super::usage(
        &[command],
        format!("{} can be said in MQTT 5 only; use --protocol 5", flags.join(", ")),
    ))
}
