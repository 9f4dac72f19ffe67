//! `noctule stomp`: what its two commands share, which is how to connect and what a header looks like.

mod send;
mod subscribe;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use noctule_stomp::Version;

use super::address::{BrokerUrl, Scheme};
use super::client;
use super::tls::TlsArgs;
use crate::config::Period;

pub use send::StompSendArgs;
pub use subscribe::{Ack, StompFormat, StompSubscribeArgs};

const AFTER_HELP: &str = "\
Examples:
  noctule stomp send /queue/jobs -m 17
  noctule stomp subscribe /queue/jobs
  noctule stomp subscribe '/topic/sensors/#' --url stomp://anna@gateway -v";

/// Arguments of `noctule stomp`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct StompArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: StompCommand,
}

/// The commands of `noctule stomp`.
#[derive(Clone, Debug, Subcommand)]
pub enum StompCommand {
    /// Send messages to a destination
    Send(Box<StompSendArgs>),
    /// Subscribe to a destination and print what comes
    #[command(visible_alias = "sub")]
    Subscribe(Box<StompSubscribeArgs>),
}

impl StompArgs {
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        match &self.command {
            StompCommand::Send(send) => send.check(),
            StompCommand::Subscribe(subscribe) => subscribe.check(),
        }
    }
}

/// How to connect to a STOMP broker.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct StompConnectArgs {
    /// Broker as a URL: `stomp://[LOGIN[:PASSCODE]@]HOST[:PORT]`, or `stomp+ssl://` for TLS
    #[arg(long, conflicts_with_all = ["host", "port"], value_parser = url)]
    pub url: Option<BrokerUrl>,

    /// Broker's name or IP address
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// Broker's port [default: 61613, with TLS 61614]
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Virtual host to ask for
    #[arg(long, value_name = "NAME", default_value = "/")]
    pub vhost: String,

    /// Client id, for durable subscriptions
    #[arg(short = 'i', long, value_name = "ID")]
    pub client_id: Option<String>,

    /// User name
    #[arg(short = 'u', long)]
    pub login: Option<String>,

    /// Password; other users of this machine can see it in the process list
    #[arg(short = 'P', long)]
    pub passcode: Option<String>,

    /// File whose first line is the password
    #[arg(long, value_name = "FILE", conflicts_with = "passcode")]
    pub passcode_file: Option<PathBuf>,

    /// How often either side lets itself be heard; 0s switches it off
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = millis_in_32_bits)]
    pub heart_beat: Period,

    /// Offer this version only
    #[arg(short = 'V', long, value_name = "VERSION")]
    pub protocol: Option<StompVersion>,

    /// Encryption.
    #[command(flatten)]
    pub tls: TlsArgs,
}

impl StompConnectArgs {
    /// Host and port, from the URL or the flags.
    #[must_use]
    pub fn place(&self) -> (&str, u16) {
        match &self.url {
            Some(url) => (&url.host, url.port),
            None => (&self.host, self.port.unwrap_or(Scheme::Stomp.port(self.is_encrypted()))),
        }
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.url.as_ref().map_or(self.tls.is_asked(), |url| url.tls)
    }

    /// The user name; the flag wins over the URL.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref().or_else(|| self.url.as_ref()?.user.as_deref())
    }

    /// The version that alone is offered, if any.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.protocol.map(|version| match version {
            StompVersion::V10 => Version::V10,
            StompVersion::V11 => Version::V11,
            StompVersion::V12 => Version::V12,
        })
    }
}

/// A version of STOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StompVersion {
    /// 1.0.
    #[value(name = "1.0", alias = "1")]
    V10,
    /// 1.1.
    #[value(name = "1.1")]
    V11,
    /// 1.2.
    #[value(name = "1.2")]
    V12,
}

/// One `name:value`; only the first `:` separates, and nothing is trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What stands before the first `:`.
    pub name: String,
    /// What follows it.
    pub value: String,
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err("write name:value".to_owned()),
        }
    }
}

fn url(text: &str) -> Result<BrokerUrl, String> {
    BrokerUrl::parse(text, Scheme::Stomp)
}

/// A destination. What it may look like is the broker's to say, and differs from one to the next.
fn destination(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("write a destination such as /queue/NAME or /topic/NAME".to_owned());
    }
    Ok(text.to_owned())
}

/// A heart-beat, milliseconds in 32 bits.
fn millis_in_32_bits(text: &str) -> Result<Period, String> {
    let period = client::period(text)?;
    match u32::try_from(period.as_millis()) {
        Ok(_) => Ok(period),
        Err(_) => Err(format!("it can be {}ms at most", u32::MAX)),
    }
}

/// Refuses headers that are said in another way; `taken` has their names and that way.
fn check_headers(command: &str, headers: &[Header], taken: &[(&str, &str)]) -> Result<(), clap::Error> {
    for Header { name, .. } in headers {
        if let Some((name, how)) = taken.iter().find(|(taken, _)| taken == name) {
            return Err(super::usage(&["stomp", command], format!("the header {name} is not for -H; {how}")));
        }
    }
    Ok(())
}
