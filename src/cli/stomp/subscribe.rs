//! `noctule stomp subscribe`: what to subscribe to, and how to print what comes.

use clap::{Args, ValueEnum};

use super::{Header, StompConnectArgs, check_headers, destination};
use crate::cli::client;
use crate::config::Period;

const AFTER_HELP: &str = "\
Examples:
  noctule stomp subscribe '/topic/sensors/#' -v                       destinations before bodies
  noctule stomp subscribe /queue/jobs -n 1 -W 5s                      one message, or exit code 3 after five seconds
  noctule stomp subscribe /queue/jobs --selector 'priority > 4' --format json
  noctule stomp subscribe /queue/jobs --browse                        what waits, without taking it
  noctule stomp subscribe /topic/alarms --durable watch -i panel-1    what comes meanwhile waits

Options may stand before or after the destination. A TIME is a number with ms, s, m, h or d; without one of these it
counts seconds. A message is acknowledged after it has been printed; one that has come and is not printed goes back, but
with --ack auto it is lost. Once subscribed, it comes back by itself after a lost connection.

Exit codes: 0 --count messages came, all were browsed, or stopped by a signal; 1 refused, or lost before it was
subscribed; 2 wrong command line; 3 --timeout passed.";

/// Arguments of `noctule stomp subscribe`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct StompSubscribeArgs {
    /// What to subscribe to, such as /queue/NAME or /topic/FILTER
    #[arg(value_parser = destination)]
    pub destination: String,

    /// How messages are acknowledged [default: client; with --browse: auto]
    #[arg(long, value_name = "MODE")]
    pub ack: Option<Ack>,

    /// Most messages that the broker sends ahead of their acknowledgement
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub prefetch: Option<u16>,

    /// Which messages are wanted, such as "site = 'attic' AND level > 3"
    #[arg(long, value_name = "CONDITION")]
    pub selector: Option<String>,

    /// Have messages wait under this name while nobody is subscribed
    #[arg(long, value_name = "NAME", requires = "client_id")]
    pub durable: Option<String>,

    /// Show what waits in a queue without taking it, and end
    #[arg(long, conflicts_with = "durable")]
    pub browse: bool,

    /// A header of the subscription; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE")]
    pub headers: Vec<Header>,

    /// End after so many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// End after this time
    #[arg(short = 'W', long, value_name = "TIME", value_parser = client::period)]
    pub timeout: Option<Period>,

    /// How messages are printed
    #[arg(long, value_name = "FORMAT", default_value = "body", help_heading = "Output")]
    pub format: StompFormat,

    /// The same as --format destination
    #[arg(short, long, conflicts_with = "format", help_heading = "Output")]
    verbose: bool,

    /// The same as --format json
    #[arg(long, conflicts_with_all = ["format", "verbose"], help_heading = "Output")]
    json: bool,

    /// How to connect.
    #[command(flatten)]
    pub connect: StompConnectArgs,
}

/// How messages are acknowledged (STOMP 1.2, "SUBSCRIBE ack Header").
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    /// Not at all: they are done with once they are sent
    Auto,
    /// With all that came before
    Client,
    /// Each by itself; not in STOMP 1.0
    ClientIndividual,
}

/// How messages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StompFormat {
    /// The body alone
    Body,
    /// The destination, a blank, the body
    Destination,
    /// Each header on a line, an empty line, the body
    Headers,
    /// An object on a line of its own, with all headers
    Json,
}

impl StompSubscribeArgs {
    /// How messages are acknowledged.
    #[must_use]
    pub fn ack(&self) -> Ack {
        // What is browsed is nobody's to acknowledge.
        self.ack.unwrap_or(if self.browse { Ack::Auto } else { Ack::Client })
    }

    /// How messages are printed.
    #[must_use]
    pub fn format(&self) -> StompFormat {
        match (self.verbose, self.json) {
            (true, _) => StompFormat::Destination,
            (_, true) => StompFormat::Json,
            (false, false) => self.format,
        }
    }

    pub(super) fn check(&self) -> Result<(), clap::Error> {
        self.connect.tls.check(&["stomp", "subscribe"], self.connect.url.as_ref())?;
        let mut taken = vec![
            ("destination", "it is the argument DESTINATION"),
            ("id", "it is made up, or the name of --durable"),
            ("ack", "use --ack"),
            ("receipt", "one is always asked for"),
        ];
        if self.prefetch.is_some() {
            taken.push(("prefetch-count", "it is said with --prefetch already"));
            taken.push(("activemq.prefetchSize", "it is said with --prefetch already"));
        }
        if self.selector.is_some() {
            taken.push(("selector", "it is said with --selector already"));
        }
        if self.browse {
            taken.push(("browser", "it is said with --browse already"));
        }
        check_headers("subscribe", &self.headers, &taken)
    }
}
