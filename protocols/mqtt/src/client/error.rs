//! What goes wrong at the client's end: with the connection ([`ClientError`]) and with one request ([`RequestError`]).

use noctule_core::id::Qos;
use thiserror::Error;

use crate::error::{DecodeError, EncodeError};
use crate::reason::Reason;

/// What a server says when it refuses or ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The reason code; in 3.x the one that says what the return code does.
    pub reason: Reason,
    /// Reason String, if the server gave one.
    pub reason_string: Option<String>,
    /// Server Reference, if the server gave one.
    pub server_reference: Option<String>,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(text) = self.reason_string.as_deref().filter(|text| !text.is_empty()) {
            // Debug formatting escapes control characters, so that a server cannot write to a terminal.
            write!(f, ": {}", text.escape_debug())?;
        }
        if let Some(place) = &self.server_reference {
            write!(f, " (it refers to {})", place.escape_debug())?;
        }
        Ok(())
    }
}

/// Why a connection is over. Write what [`Client::output`](super::Client::output) still holds, then close.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// CONNACK with a refusal (section 3.2.2.2).
    #[error("the server refuses the connection: {0}")]
    Refused(Box<Verdict>),
    /// A DISCONNECT of the server, which only 5.0 has (section 3.14).
    #[error("the server ended the connection: {0}")]
    Disconnected(Box<Verdict>),
    /// The server sent what is no MQTT, or breaks a rule that one packet shows.
    #[error("the server sent a wrong packet: {0}")]
    Malformed(#[from] DecodeError),
    /// The server broke a rule that only the connection's state shows.
    #[error("the server broke the protocol: {detail}")]
    Violation {
        /// What it was told, where the version can.
        reason: Reason,
        /// What it did, and the clause.
        detail: String,
    },
    /// No CONNACK came in time.
    #[error(
        "the server took the connection but sent no answer within {0} ms; does it speak MQTT on this port?"
    )]
    NoAnswer(u64),
    /// Nothing came in time after PINGREQ (section 3.1.2.10).
    #[error("the server has not answered a ping within {0} ms")]
    NoPong(u64),
}

impl ClientError {
    /// What the server said, if it was the server who ended it.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Refused(verdict) | Self::Disconnected(verdict) => Some(verdict),
            Self::Malformed(_) | Self::Violation { .. } | Self::NoAnswer(_) | Self::NoPong(_) => None,
        }
    }

    /// What the server is to be told before the close.
    pub(super) fn answer(&self) -> Option<Reason> {
        match self {
            Self::Malformed(error) => Some(error.reason_code()),
            Self::Violation { reason, .. } => Some(*reason),
            Self::Refused(_) | Self::Disconnected(_) | Self::NoAnswer(_) | Self::NoPong(_) => None,
        }
    }
}

/// Why a request was not sent; the connection is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection, or CONNACK has not come.
    #[error("not connected; wait for the server's CONNACK")]
    NotConnected,
    /// As many messages are unacknowledged as server and options allow (section 4.9).
    #[error("{0} messages wait for their acknowledgement; send more when some have it")]
    WindowFull(usize),
    /// Every packet identifier is in use.
    #[error("all 65535 packet identifiers are in use")]
    NoPacketId,
    /// Above the server's Maximum Packet Size [MQTT-3.2.2-15].
    #[error("the packet has {size} bytes; the server takes {limit} at most")]
    TooLarge {
        /// The whole packet, bytes.
        size: usize,
        /// Maximum Packet Size, bytes.
        limit: u32,
    },
    /// Above the server's Maximum QoS [MQTT-3.2.2-11].
    #[error("the server takes QoS {} at most, not {}", .most.level(), .asked.level())]
    QosNotSupported {
        /// What was asked.
        asked: Qos,
        /// What the server takes.
        most: Qos,
    },
    /// The server keeps no retained messages [MQTT-3.2.2-14].
    #[error("the server keeps no retained messages")]
    RetainNotSupported,
    /// The server knows no Subscription Identifiers (section 3.2.2.3.12).
    #[error("the server knows no subscription identifiers")]
    SubscriptionIdsNotSupported,
    /// It cannot be put on the wire.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}
