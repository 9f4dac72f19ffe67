//! What goes wrong in the commands that talk to a broker, in words that say what to do about it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use noctule_core::id::Qos;
use noctule_mqtt::client::{ClientError, RequestError};
use noctule_mqtt::{EncodeError, Reason, Version};
use noctule_stomp::client as stomp;
use thiserror::Error;

use super::tls::{self, Encryption};
use super::words;
use crate::cli::Scheme;

/// A broker's address as it is shown, with what is known about who asked.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) speaks: Speaks,
    pub(super) has_user: bool,
    /// With what the connection is encrypted, if it is.
    pub(super) encryption: Option<Arc<Encryption>>,
}

/// What the broker is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Mqtt(Version),
    /// A version if only that one is offered.
    Stomp(Option<noctule_stomp::Version>),
}

impl Place {
    /// Whether the broker would be on this machine.
    fn is_here(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a connection is over, by one side's word.
#[derive(Debug, Error)]
pub(super) enum Ending {
    #[error(transparent)]
    Mqtt(ClientError),
    #[error(transparent)]
    Stomp(stomp::ClientError),
}

/// What a protocol cannot say.
#[derive(Debug, Error)]
pub(super) enum Impossible {
    #[error(transparent)]
    Mqtt(EncodeError),
    #[error(transparent)]
    Stomp(stomp::RequestError),
}

/// Why a command fails.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// A file that the command line names.
    #[error("{flag} {}: cannot be read: {error}", .file.display())]
    Unreadable { flag: &'static str, file: PathBuf, error: io::Error },
    /// The command line asks for what the protocol cannot say.
    #[error("the command line asks for something impossible: {0}")]
    Impossible(Impossible),
    #[error("can't find the host {:?}: {error}; is the name right?", .place.host)]
    NoSuchHost { place: Place, error: io::Error },
    #[error("{}", unreachable(.place, .error))]
    Unreachable { place: Place, error: io::Error },
    #[error("no connection to {place} within {} s; is the address right, and does a firewall let it through?", .after.as_secs())]
    ConnectTimeout { place: Place, after: Duration },
    /// There is no trusted connection.
    #[error("{}", tls::in_words(.place, .error))]
    Tls { place: Place, error: io::Error },
    /// TLS can't be had at all.
    #[error("no TLS: {0}")]
    NoTls(String),
    /// It answers in TLS where it was spoken to in plain words.
    #[error("{place} speaks TLS on this port; write {} and, unless the system trusts its CA, --cafile", secure(.place))]
    SpeaksTls { place: Place },
    /// The broker said no, or one side broke the rules.
    #[error("{}", ended(.place, .error))]
    Ended { place: Place, error: Ending },
    /// It closed the connection instead of an answer to CONNECT.
    #[error("{place} closed the connection without an answer{}", another_version(.place))]
    NoAnswer { place: Place },
    /// The connection went away without a word.
    #[error("connection to {place} lost: {}", .error.as_ref().map_or("the broker closed it".to_owned(), io::Error::to_string))]
    Lost { place: Place, error: Option<io::Error> },
    /// A request that could not be sent.
    #[error("{what}: {error}")]
    Request { what: &'static str, error: RequestError },
    /// The same in STOMP.
    #[error("{what}: {error}")]
    StompRequest { what: &'static str, error: stomp::RequestError },
    /// Some were sent without a receipt, and the broker never said that it has everything.
    #[error("{place} did not say that it has everything: {}; some of it may be lost", .error)]
    NoFarewell { place: Place, error: io::Error },
    /// Not one filter was granted.
    #[error("the broker grants none of the subscriptions")]
    NothingGranted,
    #[error("{refused} of {published} messages were not taken")]
    NotTaken { refused: u64, published: u64 },
    #[error("stopped with {published} messages published, {waiting} of them not acknowledged")]
    Stopped { waiting: usize, published: u64 },
    #[error("stopped before the transaction of {sent} messages was committed, so none of them is sent")]
    Uncommitted { sent: u64 },
    #[error("standard input cannot be read: {0}")]
    Input(io::Error),
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
    /// A run of `bench` that cannot be carried out.
    #[error("{0}")]
    Bench(String),
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
}

impl Failure {
    /// Whether the command line is at fault.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::Impossible(_))
    }

    /// Whether another attempt may succeed without anybody's doing anything.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoSuchHost { .. }
            | Self::Unreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::NoAnswer { .. }
            | Self::Lost { .. } => true,
            Self::Tls { error, .. } => tls::may_pass(error),
            Self::Ended { error: Ending::Stomp(error), .. } => stomp_may_pass(error),
            Self::Ended { error: Ending::Mqtt(error), .. } => match error.verdict() {
                Some(verdict) => matches!(
                    verdict.reason,
                    // A DISCONNECT with 0x00 ends it without a complaint.
                    Reason::SUCCESS
                        | Reason::UNSPECIFIED_ERROR
                        | Reason::SERVER_UNAVAILABLE
                        | Reason::SERVER_BUSY
                        | Reason::SERVER_SHUTTING_DOWN
                        | Reason::KEEP_ALIVE_TIMEOUT
                        | Reason::MESSAGE_RATE_TOO_HIGH
                        | Reason::QUOTA_EXCEEDED
                        | Reason::CONNECTION_RATE_EXCEEDED
                        | Reason::MAXIMUM_CONNECT_TIME
                ),
                None => matches!(error, ClientError::NoAnswer(_) | ClientError::NoPong(_)),
            },
            _ => false,
        }
    }
}

fn unreachable(place: &Place, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::ConnectionRefused if place.is_here() => {
            return format!(
                "connection refused at {place}: is the broker running? start one with `noctule run`"
            );
        }
        io::ErrorKind::ConnectionRefused => {
            return format!("connection refused at {place}: is the broker running there, and on that port?");
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "; is this machine on the right network?"
        }
        _ => "",
    };
    format!("can't connect to {place}: {error}{what}")
}

/// Words of an ERROR that comes of the server's state, whoever wrote the server.
const PASSING: [&str; 4] = ["shutting down", "shutdown", "busy", "unavailable"];

/// ERROR has no codes, so only its words tell. What stays would come again at once: it does not pass.
fn stomp_may_pass(error: &stomp::ClientError) -> bool {
    match error {
        stomp::ClientError::NoAnswer(_) | stomp::ClientError::Silent(_) => true,
        _ => error.verdict().and_then(|verdict| verdict.message.as_deref()).is_some_and(|message| {
            let message = message.to_lowercase();
            PASSING.iter().any(|words| message.contains(words))
        }),
    }
}

fn secure(place: &Place) -> String {
    let scheme = match place.speaks {
        Speaks::Mqtt(_) => Scheme::Mqtt,
        Speaks::Stomp(_) => Scheme::Stomp,
    };
    format!("--url {}{place}", scheme.secure())
}

fn another_version(place: &Place) -> &'static str {
    match place.speaks {
        Speaks::Mqtt(Version::V5) => {
            "; if it does not know MQTT 5, try --protocol 3.1.1; if it wants TLS, --tls; or it takes no more connections, or not from this address"
        }
        Speaks::Mqtt(Version::V31 | Version::V311) => {
            "; does it speak MQTT on this port? if it wants TLS, --tls; or it takes no more connections, or not from this address"
        }
        Speaks::Stomp(_) => {
            "; does it speak STOMP on this port? if it wants TLS, --tls; or it takes no more connections, or not from this address"
        }
    }
}

fn ended(place: &Place, ending: &Ending) -> String {
    match ending {
        Ending::Mqtt(error) => mqtt_ended(place, error),
        Ending::Stomp(error) => stomp_ended(place, error),
    }
}

fn stomp_ended(place: &Place, error: &stomp::ClientError) -> String {
    let verdict = match error {
        stomp::ClientError::Refused(verdict) => verdict,
        stomp::ClientError::Ended(verdict) => {
            return format!("{place} ended the connection: {}", words::stomp_verdict(verdict));
        }
        stomp::ClientError::Malformed(fault) => {
            // How to mend it is meant for whoever wrote the server.
            let words = fault.to_string();
            let wrong = words.split("; ").next().unwrap_or_default();
            return format!("{place} sent what is no STOMP: {wrong}; does it speak STOMP on this port?");
        }
        _ => return format!("{place}: {error}"),
    };
    let offered = match place.speaks {
        Speaks::Stomp(Some(version)) => Some(version.as_str()),
        Speaks::Stomp(None) | Speaks::Mqtt(_) => None,
    };
    let hint = match (offered, verdict.versions.as_deref()) {
        (Some(offered), Some(spoken)) if !spoken.split(',').any(|version| version.trim() == offered) => {
            "; leave out --protocol, or try another one"
        }
        _ if place.has_user => "; are --login, --passcode-file and --vhost right?",
        _ => "; if it wants to know who you are, say it with --login and --passcode-file",
    };
    format!("{place} refuses the connection: {}{hint}", words::stomp_verdict(verdict))
}

fn mqtt_ended(place: &Place, error: &ClientError) -> String {
    let ClientError::Refused(verdict) = error else {
        return match error.verdict() {
            Some(verdict) => format!("{place} ended the connection: {}", words::verdict(verdict)),
            None => format!("{place}: {error}"),
        };
    };
    let hint = match verdict.reason {
        Reason::BAD_USER_NAME_OR_PASSWORD | Reason::NOT_AUTHORIZED if !place.has_user => {
            "; say who you are with --user and --password-file"
        }
        Reason::BAD_USER_NAME_OR_PASSWORD => "; are user name and password right?",
        Reason::NOT_AUTHORIZED => {
            "; are user name and password right, and may this user do that (noctule acl explain)?"
        }
        Reason::CLIENT_IDENTIFIER_NOT_VALID => "; choose another --client-id",
        Reason::UNSUPPORTED_PROTOCOL_VERSION => "; try another --protocol, such as 3.1.1",
        _ => "",
    };
    format!("{place} refuses the connection: {}{hint}", words::verdict(verdict))
}

/// What SUBACK says about one filter, if it is not what was asked.
pub(super) fn grant_in_words(filter: &str, asked: Qos, granted: Result<Qos, Reason>) -> Option<String> {
    match granted {
        Ok(granted) if granted >= asked => None,
        Ok(granted) => {
            let (granted, asked) = (granted.level(), asked.level());
            Some(format!("the broker grants QoS {granted} on {filter}, not {asked}"))
        }
        // MQTT 3 has one number for every refusal.
        Err(Reason::UNSPECIFIED_ERROR) => Some(format!("the broker refuses the subscription to {filter}")),
        Err(reason) => Some(format!("the broker refuses the subscription to {filter}: {reason}")),
    }
}
