//! `noctule sub`: what to subscribe to, and how to print what comes.

use clap::{Args, ValueEnum};
use noctule_core::id::Qos;

use super::client::{self, ConnectArgs, UserProperty};
use super::topic;
use crate::config::Period;

/// Largest Subscription Identifier (MQTT 5, section 3.8.2.1.2): a variable byte integer.
const MAX_SUBSCRIPTION_ID: i64 = 268_435_455;

const AFTER_HELP: &str = "\
Examples:
  noctule sub -t 'sensors/#' -v                     topics before payloads
  noctule sub -t sensors/attic -t sensors/cellar --json
  noctule sub -t sensors/attic -C 1 -W 5s           one message, or exit code 3 after five seconds
  noctule sub -t jobs -q 1 -i worker-1 --keep-session --session-expiry 1h
  noctule sub -t '$share/workers/jobs' -q 1         each message to one of the group

A TIME is a number with ms, s, m, h or d; without one of these it counts seconds. Once subscribed, it comes back by
itself after a lost connection; what was published meanwhile is there with --keep-session and QoS 1 or 2.

Exit codes: 0 --count messages came, or stopped by a signal; 1 refused, or lost before it was subscribed; 2 wrong
command line; 3 --timeout passed.";

/// Arguments of `noctule sub`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SubArgs {
    /// Topic filter; may be given several times
    #[arg(short = 't', long = "topic", value_name = "FILTER", required = true, value_parser = topic::filter)]
    pub topics: Vec<String>,

    /// Highest QoS wanted: 0, 1 or 2
    #[arg(short, long, default_value = "0", value_parser = client::qos)]
    pub qos: Qos,

    /// End after so many messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// End after this time
    #[arg(short = 'W', long, value_name = "TIME", value_parser = client::period)]
    pub timeout: Option<Period>,

    /// Print the topic before each payload
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,

    /// Print each message as a JSON object on a line of its own, with all of its properties
    #[arg(long, conflicts_with = "verbose", help_heading = "Output")]
    pub json: bool,

    /// Leave out messages that were retained before the subscription
    #[arg(long, help_heading = "Output")]
    pub no_retained: bool,

    /// Resume the session under this client id, and leave it at the end
    #[arg(long, visible_alias = "no-clean", requires = "client_id")]
    pub keep_session: bool,

    /// Do not send back what this client itself publishes
    #[arg(long, help_heading = "MQTT 5 options")]
    pub no_local: bool,

    /// Keep the retain flag as it was published
    #[arg(long, help_heading = "MQTT 5 options")]
    pub retain_as_published: bool,

    /// When retained messages are sent
    #[arg(long, value_name = "WHEN", help_heading = "MQTT 5 options")]
    pub retain_handling: Option<RetainHandling>,

    /// Number that comes back with each message
    #[arg(long, value_name = "N", help_heading = "MQTT 5 options",
          value_parser = clap::value_parser!(u32).range(1..=MAX_SUBSCRIPTION_ID))]
    pub subscription_id: Option<u32>,

    /// A user property of the subscription; may be given several times
    #[arg(long = "user-property", value_name = "NAME=VALUE", help_heading = "MQTT 5 options")]
    pub user_properties: Vec<UserProperty>,

    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// When a subscription is sent retained messages (MQTT 5, section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RetainHandling {
    /// Retain Handling 0: at every SUBSCRIBE.
    #[value(alias = "0")]
    Always,
    /// Retain Handling 1: only if the subscription is new.
    #[value(alias = "1")]
    New,
    /// Retain Handling 2: never.
    #[value(alias = "2")]
    Never,
}

impl SubArgs {
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        let only_in_v5 = client::named(&[
            ("--no-local", self.no_local),
            ("--retain-as-published", self.retain_as_published),
            ("--retain-handling", self.retain_handling.is_some()),
            ("--subscription-id", self.subscription_id.is_some()),
            ("--user-property", !self.user_properties.is_empty()),
        ]);
        client::check_connection("sub", &self.connect, &only_in_v5)?;
        let shared = self.topics.iter().find(|filter| filter.starts_with("$share/"));
        match shared {
            // [MQTT-3.8.3-4]
            Some(filter) if self.no_local => Err(super::usage(
                &["sub"],
                format!("--no-local is not possible on the shared subscription {filter}"),
            )),
            _ => Ok(()),
        }
    }
}
