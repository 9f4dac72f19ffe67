//! `noctule pub`: what to publish and how.

use std::path::PathBuf;

use clap::Args;
use noctule_core::id::Qos;

use super::client::{self, ConnectArgs, UserProperty};
use super::topic;
use crate::config::Period;

const AFTER_HELP: &str = "\
Examples:
  noctule pub -t sensors/attic -m 21.5
  noctule pub -t sensors/attic -m 21.5 -q 1 -r          acknowledged, and kept for later subscribers
  noctule pub -t sensors/attic -n -r                    delete what was kept
  noctule pub -t camera/door -f door.jpg --content-type image/jpeg
  tail -f /var/log/app.log | noctule pub -t logs/app -l  one message per line

A TIME is a number with ms, s, m, h or d; without one of these it counts seconds. A connection that is lost is not
made again.

Exit codes: 0 sent, and acknowledged where the QoS asks for it; 1 refused or lost; 2 wrong command line.";

/// Arguments of `noctule pub`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PubArgs {
    /// Topic to publish to
    #[arg(short, long, value_parser = topic::name)]
    pub topic: String,

    /// What to publish.
    #[command(flatten)]
    pub payload: PayloadArgs,

    /// 0 at most once, 1 at least once, 2 exactly once
    #[arg(short, long, default_value = "0", value_parser = client::qos)]
    pub qos: Qos,

    /// Keep the message for later subscribers
    #[arg(short, long)]
    pub retain: bool,

    /// MIME type of the payload
    #[arg(long, value_name = "TYPE", help_heading = "MQTT 5 properties")]
    pub content_type: Option<String>,

    /// Say that the payload is text
    #[arg(long, value_name = "FORMAT", help_heading = "MQTT 5 properties")]
    pub payload_format: Option<PayloadFormat>,

    /// Where an answer is expected
    #[arg(long, value_name = "TOPIC", value_parser = topic::name, help_heading = "MQTT 5 properties")]
    pub response_topic: Option<String>,

    /// What the asker knows its answer by
    #[arg(long, value_name = "TEXT", help_heading = "MQTT 5 properties")]
    pub correlation_data: Option<String>,

    /// How long the message is worth delivering
    #[arg(long, value_name = "TIME", value_parser = client::seconds_in_32_bits, help_heading = "MQTT 5 properties")]
    pub expiry: Option<Period>,

    /// A user property; may be given several times
    #[arg(long = "user-property", value_name = "NAME=VALUE", help_heading = "MQTT 5 properties")]
    pub user_properties: Vec<UserProperty>,

    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// The four ways to name a payload; exactly one is given.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PayloadArgs {
    /// Publish this text
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,

    /// Publish the contents of a file; - is standard input
    #[arg(short, long)]
    file: Option<PathBuf>,

    /// Publish each line of standard input as a message of its own; empty lines are left out
    #[arg(short, long)]
    lines: bool,

    /// Publish an empty message
    #[arg(short, long)]
    null: bool,
}

/// What to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// This text; empty for `--null`.
    Text(&'a str),
    /// The contents of this file.
    File(&'a std::path::Path),
    /// All of standard input, as one message.
    Input,
    /// Each line of standard input.
    Lines,
}

/// What a payload is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PayloadFormat {
    /// Payload Format Indicator 0.
    Bytes,
    /// Payload Format Indicator 1.
    Utf8,
}

impl PayloadArgs {
    /// What to publish.
    pub(super) fn payload(&self) -> Payload<'_> {
        match self {
            Self { lines: true, .. } => Payload::Lines,
            Self { message: Some(text), .. } => Payload::Text(text),
            Self { file: Some(file), .. } if file.as_os_str() == "-" => Payload::Input,
            Self { file: Some(file), .. } => Payload::File(file),
            Self { .. } => Payload::Text(""),
        }
    }
}

impl PubArgs {
    /// What to publish.
    #[must_use]
    pub fn payload(&self) -> Payload<'_> {
        self.payload.payload()
    }

    pub(super) fn check(&self) -> Result<(), clap::Error> {
        let only_in_v5 = client::named(&[
            ("--content-type", self.content_type.is_some()),
            ("--payload-format", self.payload_format.is_some()),
            ("--response-topic", self.response_topic.is_some()),
            ("--correlation-data", self.correlation_data.is_some()),
            ("--expiry", self.expiry.is_some()),
            ("--user-property", !self.user_properties.is_empty()),
        ]);
        client::check_connection("pub", &self.connect, &only_in_v5)
    }
}
