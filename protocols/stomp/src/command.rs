//! The fifteen commands: their names, who may send them, which may have a body.

use std::fmt;

use crate::version::Direction;

/// The first line of a frame. Names are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the specification's own words")]
pub enum Command {
    Connect,
    /// CONNECT by another name, from 1.1, whose headers are escaped.
    Stomp,
    Send,
    Subscribe,
    Unsubscribe,
    Ack,
    /// From 1.1.
    Nack,
    Begin,
    Commit,
    Abort,
    Disconnect,
    Connected,
    Message,
    Receipt,
    Error,
}

impl Command {
    /// Bytes of the longest name, `UNSUBSCRIBE`.
    pub(crate) const LONGEST: usize = 11;

    /// Every command, the clients' first.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Stomp,
        Self::Send,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Ack,
        Self::Nack,
        Self::Begin,
        Self::Commit,
        Self::Abort,
        Self::Disconnect,
        Self::Connected,
        Self::Message,
        Self::Receipt,
        Self::Error,
    ];

    /// The name, in capitals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Disconnect => "DISCONNECT",
            Self::Connected => "CONNECTED",
            Self::Message => "MESSAGE",
            Self::Receipt => "RECEIPT",
            Self::Error => "ERROR",
        }
    }

    /// The command with exactly this name.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"SEND" => Self::Send,
            b"ACK" => Self::Ack,
            b"MESSAGE" => Self::Message,
            b"RECEIPT" => Self::Receipt,
            b"NACK" => Self::Nack,
            b"BEGIN" => Self::Begin,
            b"COMMIT" => Self::Commit,
            b"ABORT" => Self::Abort,
            b"SUBSCRIBE" => Self::Subscribe,
            b"UNSUBSCRIBE" => Self::Unsubscribe,
            b"CONNECT" => Self::Connect,
            b"STOMP" => Self::Stomp,
            b"DISCONNECT" => Self::Disconnect,
            b"CONNECTED" => Self::Connected,
            b"ERROR" => Self::Error,
            _ => return None,
        })
    }

    /// The way it goes: each command has one sender only.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Connected | Self::Message | Self::Receipt | Self::Error => Direction::ToClient,
            _ => Direction::ToServer,
        }
    }

    /// Whether it may have a body (1.2, "Body"): "Only the SEND, MESSAGE, and ERROR frames".
    #[must_use]
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Send | Self::Message | Self::Error)
    }

    /// Whether it opens a connection: `CONNECT` or `STOMP`.
    #[must_use]
    pub const fn is_connect(self) -> bool {
        matches!(self, Self::Connect | Self::Stomp)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for command in Command::ALL {
            assert_eq!(Command::parse(command.as_str().as_bytes()), Some(command));
            assert!(command.as_str().len() <= Command::LONGEST, "{command}");
        }
    }

    /// 1.2, "STOMP Frames": "Commands and headers names are case-sensitive."
    #[test]
    fn names_are_case_sensitive() {
        for name in ["send", "Send", "SEND ", " SEND", "SEN", "SENDS", ""] {
            assert_eq!(Command::parse(name.as_bytes()), None, "{name:?}");
        }
    }
}
