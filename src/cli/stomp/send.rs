//! `noctule stomp send`: what to send and how.

use clap::Args;

use super::{Header, StompConnectArgs, check_headers, destination};
use crate::cli::{Payload, PayloadArgs};

const AFTER_HELP: &str = "\
Examples:
  noctule stomp send /queue/jobs -m 17
  noctule stomp send /topic/sensors/attic -m 21.5 -H retain:true
  noctule stomp send /queue/photos -f door.jpg --content-type image/jpeg --persistent
  noctule stomp send /queue/jobs -l --transaction < jobs.txt         all lines, or none of them
  noctule stomp send /queue/orders -m 17 --url stomp://guest:guest@rabbit --vhost /shop

Options may stand before or after the destination. A TIME is a number with ms, s, m, h or d; without one of these it
counts seconds. A connection that is lost is not made again.

Exit codes: 0 sent, and the broker has said that it has everything; 1 refused or lost; 2 wrong command line.";

/// Arguments of `noctule stomp send`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct StompSendArgs {
    /// Where to, such as /queue/NAME or /topic/NAME
    #[arg(value_parser = destination)]
    pub destination: String,

    /// What to send.
    #[command(flatten)]
    pub payload: PayloadArgs,

    /// Send it so many times
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "lines",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub repeat: u64,

    /// A header; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE")]
    pub headers: Vec<Header>,

    /// Have it outlive a crash of the broker
    #[arg(long)]
    pub persistent: bool,

    /// MIME type of the body
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,

    /// Ask the broker for a receipt for each message; this is the default
    #[arg(long, overrides_with = "no_receipt")]
    receipt: bool,

    /// Ask for one at the end only: faster, but a refusal does not say which message is meant
    #[arg(long, overrides_with = "receipt")]
    pub no_receipt: bool,

    /// Send everything as one transaction: all of it or nothing; at most as many messages as the
    /// broker's max_transaction_actions, 1000 by default
    #[arg(long)]
    pub transaction: bool,

    /// How to connect.
    #[command(flatten)]
    pub connect: StompConnectArgs,
}

impl StompSendArgs {
    /// What to send.
    #[must_use]
    pub fn payload(&self) -> Payload<'_> {
        self.payload.payload()
    }

    pub(super) fn check(&self) -> Result<(), clap::Error> {
        self.connect.tls.check(&["stomp", "send"], self.connect.url.as_ref())?;
        let mut taken = vec![
            ("destination", "it is the argument DESTINATION"),
            ("content-length", "it is counted"),
            ("receipt", "use --receipt or --no-receipt"),
            ("transaction", "use --transaction"),
        ];
        if self.content_type.is_some() {
            taken.push(("content-type", "it is said with --content-type already"));
        }
        if self.persistent {
            taken.push(("persistent", "it is said with --persistent already"));
        }
        check_headers("send", &self.headers, &taken)
    }
}
