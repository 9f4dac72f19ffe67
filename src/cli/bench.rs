//! `noctule bench`: which load, how much of it, and to which brokers. What a scenario does is elsewhere.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use noctule_core::id::Qos;

use super::address::{self, Scheme};
use super::client::{self, ConnectArgs};
use crate::config::Period;

/// Most connections of a run: more do not fit the ports of one address.
pub const MAX_CONNECTIONS: u32 = 20_000;

/// Longest time of measuring and of warming up, seconds.
const MAX_SECONDS: u64 = 3_600;

/// What a payload has to hold for the reckoning: run, stream, number, time.
pub const MIN_SIZE: u32 = 24;

const AFTER_HELP: &str = "\
Examples:
  noctule bench list                                    the scenarios
  noctule bench one-to-one                              as fast as a broker on this machine goes
  noctule bench latency --rate 2000 -q 1 --seconds 30   round trips at a fixed rate
  noctule bench fan-out -H gateway -u alice --password-file pw --tls
  noctule bench one-to-one --against :1883 --against mosquitto=:1884 --rounds 5
                                                        two brokers in turns, medians side by side

No broker is started, and none needs to be Noctule. Where only STOMP is spoken, --port is STOMP's [default: 61613]. At --rate max each publisher keeps --window messages on their way:
read throughput and CPU there. At a fixed rate each message has a time when it is due and its latency counts from
then, so that whoever falls behind is charged for it: read latency there. A message that was sent in the measured
time and has not come two seconds after the last one is lost, and that is said.

--json prints a line per run, an object with: scenario, broker, round, qos, size, publishers, subscribers, topics, rate
(null for max), interrupted, disconnected, trouble, refused, and for each of its phases (\"phases\") name, seconds, sent,
expected, delivered, lost, duplicated, misordered (null where no order is promised), not_sent, stalls, per_s,
latency_us (p50, p99, p99_9, max; null where nothing came), bench_cpu_us; and of a broker on this machine broker_pid,
cpu_us (user and system per delivery, with its children), rss_bytes and rss_growth_bytes; otherwise these are null.

Exit codes: 0 measured, also when messages were lost; 1 the broker refuses or cannot be reached; 2 wrong command line.";

/// Arguments of `noctule bench`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[command(mut_arg("client_id", |arg| arg.hide(true)))]
#[command(mut_arg("keep_alive", |arg| arg.hide(true)))]
#[command(mut_arg("session_expiry", |arg| arg.hide(true)))]
#[command(mut_arg("will_topic", |arg| arg.hide(true)))]
#[command(mut_arg("will_message", |arg| arg.hide(true)))]
#[command(mut_arg("will_qos", |arg| arg.hide(true)))]
#[command(mut_arg("will_retain", |arg| arg.hide(true)))]
#[command(mut_arg("will_delay", |arg| arg.hide(true)))]
pub struct BenchArgs {
    /// What to measure; `list` tells what there is
    #[arg(value_enum, required_unless_present = "list", hide_possible_values = true)]
    pub scenario: Option<Scenario>,

    /// List the scenarios
    #[arg(long)]
    pub list: bool,

    /// Publishers and subscribers alike; connections at once in `connect`
    #[arg(short, long, value_name = "N", conflicts_with_all = ["publishers", "subscribers"], value_parser = connections)]
    pub clients: Option<u32>,

    /// Publishers [default: the scenario's]
    #[arg(long, value_name = "N", value_parser = connections)]
    pub publishers: Option<u32>,

    /// Subscribers [default: the scenario's]
    #[arg(long, value_name = "N", value_parser = connections)]
    pub subscribers: Option<u32>,

    /// Topics that each publisher takes turns with
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub topics: u32,

    /// QoS of publishers and subscribers: 0, 1 or 2 [default: 0; retained and offline 1]
    #[arg(short, long, value_parser = client::qos)]
    pub qos: Option<Qos>,

    /// Bytes of a payload
    #[arg(short, long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(i64::from(MIN_SIZE)..=16 << 20))]
    pub size: u32,

    /// Messages a second of all publishers together, or max [default: max; latency 1000]
    #[arg(short, long, value_name = "RATE")]
    pub rate: Option<Rate>,

    /// Messages that a publisher has on their way at most, at --rate max [default: 2000 shared out, 10 to 200 each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub window: Option<u32>,

    /// How many messages, in `retained` and `offline`
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub messages: u32,

    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span)]
    pub seconds: Period,

    /// How long to run before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = span)]
    pub warm_up: Period,

    /// A broker, `[NAME=]HOST:PORT[/STOMP_PORT]`; may be given several times, to compare them
    #[arg(long, value_name = "BROKER", conflicts_with_all = ["url", "host", "port", "stomp_port"])]
    pub against: Vec<Against>,

    /// How often; several brokers take turns
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,

    /// The broker's process, to tell its CPU time and memory [default: whoever of ours listens on the port]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// Port for STOMP [default: 61613, with TLS 61614]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub stomp_port: Option<u16>,

    /// Virtual host to ask for in STOMP
    #[arg(long, value_name = "NAME", default_value = "/")]
    pub vhost: String,

    /// How the topics begin
    #[arg(long, value_name = "TOPIC", default_value = "noctule-bench", value_parser = super::topic::name)]
    pub prefix: String,

    /// Print a JSON object for each run
    #[arg(long)]
    pub json: bool,

    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// each publisher has a topic and a subscriber of its own (100 to 100)
    OneToOne,
    /// many publishers, one subscriber of everything (200 to 1)
    FanIn,
    /// one publisher, many subscribers (1 to 500)
    FanOut,
    /// clients send to themselves at a fixed rate: round trips (10, 1000/s)
    Latency,
    /// connect, subscribe, disconnect, and again (50 at once)
    Connect,
    /// --messages topics are retained, and replayed to each new subscriber (1)
    Retained,
    /// --messages wait for subscribers that are away, and are fetched (100 to 100)
    Offline,
    /// STOMP: one to one by topics (100 to 100)
    StompTopic,
    /// STOMP: queues, receipts, each message acknowledged by itself (10 to 10)
    StompQueue,
    /// MQTT publishers, STOMP subscribers, one to one (100 to 100)
    Cross,
    /// these scenarios
    List,
}

impl Scenario {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Each with its name and one line about it.
    pub fn all() -> impl Iterator<Item = (String, String)> {
        Self::value_variants().iter().filter(|scenario| **scenario != Self::List).filter_map(|scenario| {
            let value = scenario.to_possible_value()?;
            Some((value.get_name().to_owned(), value.get_help().map(ToString::to_string).unwrap_or_default()))
        })
    }

    /// Whether its publishers speak STOMP.
    #[must_use]
    pub const fn publishes_stomp(self) -> bool {
        matches!(self, Self::StompTopic | Self::StompQueue)
    }

    /// Whether its subscribers speak STOMP.
    #[must_use]
    pub const fn hears_stomp(self) -> bool {
        matches!(self, Self::StompTopic | Self::StompQueue | Self::Cross)
    }
}

/// Messages a second, all publishers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As many as the windows allow.
    Max,
    /// So many.
    PerSecond(u32),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            _ => match text.parse() {
                Ok(rate @ 1..=10_000_000) => Ok(Self::PerSecond(rate)),
                _ => Err("write messages a second, 1 to 10000000, or max".to_owned()),
            },
        }
    }
}

/// One of the brokers to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Against {
    /// What it is called in the report.
    pub name: String,
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port of what the scenario's publishers speak.
    pub port: u16,
    /// Port for STOMP, where the publishers speak MQTT.
    pub stomp_port: Option<u16>,
}

impl FromStr for Against {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').unwrap_or((text, text));
        let (place, stomp_port) = match rest.split_once('/') {
            None => (rest, None),
            Some((place, port)) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (place, Some(port.ok_or("the port for STOMP is a number from 1 to 65535")?))
            }
        };
        let place = match place.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None => place.to_owned(),
        };
        if place.rsplit_once(':').is_none_or(|(host, _)| host.ends_with(':')) && !place.ends_with(']') {
            return Err("write [NAME=]HOST:PORT, or HOST:PORT/STOMP_PORT".to_owned());
        }
        let (host, port) = address::host_and_port(&place, Scheme::Mqtt, false)?;
        Ok(Self { name: name.to_owned(), host, port, stomp_port })
    }
}

fn connections(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=MAX_CONNECTIONS).contains(number))
        .ok_or_else(|| format!("write a number from 1 to {MAX_CONNECTIONS}"))
}

fn span(text: &str) -> Result<Period, String> {
    let period = client::period(text)?;
    if period.as_millis() > MAX_SECONDS * 1_000 {
        return Err(format!("it can be {MAX_SECONDS}s at most"));
    }
    Ok(period)
}

impl BenchArgs {
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        client::check_connection("bench", &self.connect, &[])?;
        let own = client::named(&[
            ("--client-id", self.connect.client_id.is_some()),
            ("--session-expiry", self.connect.session_expiry.is_some()),
            ("--will-topic", self.connect.will.will_topic.is_some()),
        ]);
        let conflict = |message: String| Err(super::usage(&["bench"], message));
        if !own.is_empty() {
            return conflict(format!(
                "{} cannot be said here: bench makes its clients up by itself; leave it out",
                own.join(", ")
            ));
        }
        if self.seconds.as_millis() == 0 {
            return conflict("--seconds is 0, so nothing would be measured; write 1 or more".to_owned());
        }
        if self.pid.is_some() && self.against.len() > 1 {
            return conflict("--pid names one process, and --against several brokers; leave it out, they are found by their ports".to_owned());
        }
        let is_stored = matches!(self.scenario, Some(Scenario::Offline | Scenario::Retained));
        if is_stored && self.qos == Some(Qos::AtMostOnce) {
            return conflict(
                "at QoS 0 a broker does not say when it has taken a message to keep; use --qos 1 or 2"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
