//! What goes wrong at the client's end: with the connection ([`ClientError`]) and with one request ([`RequestError`]).

use std::fmt;

use thiserror::Error;

use super::event::ReceiptId;
use crate::error::FrameFault;
use crate::frame::Frame;
use crate::version::Version;

/// What an ERROR says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The `message` header: the short form.
    pub message: Option<String>,
    /// The body, if it is text: the long form.
    pub detail: String,
    /// `version`: what the server speaks, where that is what it complains about.
    pub versions: Option<String>,
    /// The request that it is about, if that asked for a receipt.
    pub receipt: Option<ReceiptId>,
}

impl Verdict {
    pub(super) fn of(frame: &Frame<'_>) -> Self {
        let own = |name: &str| frame.headers.get(name).map(std::borrow::Cow::into_owned);
        Self {
            message: own("message"),
            detail: std::str::from_utf8(frame.body).unwrap_or_default().trim().to_owned(),
            versions: own("version"),
            receipt: own("receipt-id").and_then(|id| id.parse().ok()).map(ReceiptId),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug formatting escapes control characters, so that a server cannot write to a terminal.
        let message = self.message.as_deref().unwrap_or("it gives no reason");
        write!(f, "{}", message.escape_debug())?;
        if !self.detail.is_empty() && self.detail != message {
            write!(f, ": {}", self.detail.escape_debug())?;
        }
        Ok(())
    }
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// ERROR instead of CONNECTED.
    #[error("the server refuses the connection: {0}")]
    Refused(Box<Verdict>),
    /// ERROR later on, which ends the connection too.
    #[error("the server ended the connection: {0}")]
    Ended(Box<Verdict>),
    /// The server sent what is no frame.
    #[error("the server sent what is no STOMP: {0}")]
    Malformed(FrameFault),
    /// The server sent a frame that has no place there.
    #[error("the server broke the protocol: {0}")]
    Violation(String),
    /// No CONNECTED came in time, ms.
    #[error(
        "the server took the connection but sent no answer within {0} ms; does it speak STOMP on this port?"
    )]
    NoAnswer(u64),
    /// Nothing, not even a heart-beat, came for twice the time agreed on, ms.
    #[error("the server has been silent for {0} ms, in spite of the heart-beats agreed on")]
    Silent(u64),
}

impl ClientError {
    /// What the server said, if it was the server who ended it.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Refused(verdict) | Self::Ended(verdict) => Some(verdict),
            Self::Malformed(_) | Self::Violation(_) | Self::NoAnswer(_) | Self::Silent(_) => None,
        }
    }
}

/// Why a request was not sent; the connection is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection, or CONNECTED has not come.
    #[error("not connected; wait for the server's CONNECTED")]
    NotConnected,
    /// A header without a name.
    #[error("a header has no name; write NAME:VALUE")]
    NamelessHeader,
    /// A character that has no writing where the header would stand.
    #[error("header {name:?} contains {character:?}, which {place} cannot say; leave it out")]
    NotExpressible {
        /// The header's name.
        name: String,
        /// The character.
        character: char,
        /// Where it cannot be said.
        place: &'static str,
    },
    /// A command or mode that came with a later version.
    #[error("{what} is not in STOMP {version}, which was agreed on; it needs 1.1")]
    NotInVersion {
        /// The command or mode.
        what: &'static str,
        /// The version agreed on.
        version: Version,
    },
    /// The header that an acknowledgement of this version goes by is missing.
    #[error(
        "the message has no {0} header, so it cannot be acknowledged; it came from ack:auto, or the server erred"
    )]
    Unacknowledgeable(&'static str),
}
