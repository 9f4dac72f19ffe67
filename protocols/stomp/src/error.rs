//! What can be wrong with a frame that came in: which place, which value, and how to mend it.
//!
//! Every fault ends the connection, since after it the frames can no longer be told apart (1.2, "ERROR": the server
//! "MUST then close the connection just after sending the ERROR frame"). Values of headers are not shown, but for
//! `content-length`: a password might be among them, and what is shown ends up in a log.

use std::fmt;

use noctule_core::refusal::{Kind, Refusal};
use thiserror::Error;

use crate::command::Command;
use crate::version::Direction;

/// The beginning of something offending, short enough for a log line, and escaped so that it cannot forge one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// Most characters shown.
    pub const MAX_CHARS: usize = 40;

    /// What stands at the front of `bytes`; what isn't UTF-8 shows as U+FFFD.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        // A character has four bytes at most, so no more than these can be shown.
        let front = bytes.get(..4 * Self::MAX_CHARS).unwrap_or(bytes);
        let text = String::from_utf8_lossy(front);
        let mut shown: String = text.chars().take(Self::MAX_CHARS).collect();
        if shown.len() < text.len() || front.len() < bytes.len() {
            shown.push('…');
        }
        Self(shown.into())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Where in a head something was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("header {number} of {command}, {name}")]
pub struct Place {
    /// The frame's command.
    pub command: Command,
    /// Which header, counted from 1.
    pub number: usize,
    /// Its name, or the first word where there is no colon: what follows may be a value.
    pub name: Excerpt,
}

/// Why a frame is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// A first line that is no command.
    #[error("command {0} is unknown; send one of the commands of STOMP 1.2, in capitals, alone on its line")]
    UnknownCommand(Excerpt),
    /// A first line that goes on after the longest command.
    /// It is not shown: after a wrong `content-length` it is a piece of a body.
    #[error(
        "a line is longer than any command; begin a frame with its command alone on the line, and check the \
         content-length and the NUL of the frame before"
    )]
    LineTooLong,
    /// A connection that begins as another protocol does. What comes with it is not shown: an MQTT CONNECT has a password.
    #[error("this is {what}, and STOMP is spoken here; {mend}")]
    OtherProtocol {
        /// What it is.
        what: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// A command that only the other side may send.
    #[error("{command} is sent by a {} only; it must not come from the other side", sender(*.command))]
    WrongDirection {
        /// The command.
        command: Command,
    },
    /// A line of the head without a colon.
    #[error("{0}, has no colon; write name:value, and an empty line (LF) before the body")]
    HeaderWithoutColon(Place),
    /// A header without a name.
    #[error("{0}, has no name; write name:value")]
    HeaderWithoutName(Place),
    /// A backslash that begins no escape of the version.
    #[error("{place}, has the escape {escape}, which is none; write {known}, and \\\\ for a backslash")]
    BadEscape {
        /// The header.
        place: Place,
        /// The backslash and what follows it.
        escape: Excerpt,
        /// The escapes that there are.
        known: &'static str,
    },
    /// In 1.2, a CR inside a header.
    #[error("{0}, has a carriage return inside; write it as \\r")]
    BareCarriageReturn(Place),
    /// A NUL before the empty line.
    #[error("{0}, has a NUL inside; end the headers with an empty line, and the frame with the NUL")]
    NulInHead(Place),
    /// A head that isn't UTF-8.
    #[error("{0}, is not UTF-8; encode it, or send the bytes in the body")]
    NotUtf8(Place),
    /// More headers than the limit.
    #[error("{command} has more than {limit} headers; send fewer, or put the data in the body")]
    TooManyHeaders {
        /// The frame's command.
        command: Command,
        /// Most headers allowed.
        limit: usize,
    },
    /// A header longer than the limit.
    #[error("{place}, is longer than {limit} bytes; shorten it, or put the data in the body")]
    HeaderTooLong {
        /// The header.
        place: Place,
        /// Most bytes of name, colon and value.
        limit: usize,
    },
    /// A `content-length` that is no number.
    #[error("content-length {value} of {command} is not a number of bytes; write decimal digits only")]
    BadContentLength {
        /// The frame's command.
        command: Command,
        /// What stood there.
        value: Excerpt,
    },
    /// A body over the limit, by its `content-length` or by what has come.
    #[error(
        "body of {command}, {size} bytes or more, is larger than the limit of {limit}; send less at once"
    )]
    BodyTooLarge {
        /// The frame's command.
        command: Command,
        /// Bytes announced, or seen so far.
        size: u64,
        /// Most bytes allowed.
        limit: usize,
    },
    /// A body where there may be none.
    #[error("{command} has a body; only SEND, MESSAGE and ERROR may: put the NUL right after the empty line")]
    BodyNotAllowed {
        /// The frame's command.
        command: Command,
    },
    /// Something else than NUL where `content-length` says that the body ends.
    #[error(
        "body of {command} is not followed by NUL but by 0x{found:02X} after the {length} bytes of its \
         content-length; count the bytes of the encoded body, not its characters, and end the frame with a NUL"
    )]
    NoNul {
        /// The frame's command.
        command: Command,
        /// Bytes announced.
        length: usize,
        /// What stood where NUL should.
        found: u8,
    },
    /// A first frame over its limit.
    #[error(
        "first frame is larger than the limit of {limit} bytes; send fewer headers, and end it with a NUL"
    )]
    ConnectTooLarge {
        /// Most bytes of the whole frame.
        limit: usize,
    },
}

impl FrameFault {
    /// Which line of the table of refusals it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::UnknownCommand(_)
            | Self::LineTooLong
            | Self::OtherProtocol { .. }
            | Self::HeaderWithoutColon(_)
            | Self::HeaderWithoutName(_)
            | Self::BadEscape { .. }
            | Self::BareCarriageReturn(_)
            | Self::NulInHead(_)
            | Self::NotUtf8(_)
            | Self::BadContentLength { .. }
            | Self::NoNul { .. } => Kind::MalformedPacket,
            Self::WrongDirection { .. } | Self::BodyNotAllowed { .. } => Kind::ProtocolError,
            Self::TooManyHeaders { .. }
            | Self::HeaderTooLong { .. }
            | Self::BodyTooLarge { .. }
            | Self::ConnectTooLarge { .. } => Kind::PacketTooLarge,
        }
    }
}

fn sender(command: Command) -> &'static str {
    match command.direction() {
        Direction::ToServer => "client",
        Direction::ToClient => "server",
    }
}

/// A fault, and what the ERROR frame about it has to echo.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{fault}")]
pub struct FrameError {
    /// What was wrong.
    pub fault: FrameFault,
    /// The frame's `receipt` header, as far as it can still be found (1.2, "ERROR": the server "SHOULD set a
    /// receipt-id header"). Never one of CONNECT, which cannot ask for a receipt.
    pub receipt: Option<Box<str>>,
}

impl From<&FrameError> for Refusal {
    fn from(error: &FrameError) -> Self {
        Self::new(error.fault.kind(), error.fault.to_string())
    }
}
