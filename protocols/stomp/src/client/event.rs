//! What a client machine reports to its application.

use bytes::Bytes;

use crate::frame::Frame;
use crate::version::Version;

/// A receipt that was asked for; the wire has the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptId(pub u64);

/// Something that has happened on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// CONNECTED.
    Connected(Welcome),
    /// A message. It is the server's until [`Client::ack`](super::Client::ack), unless it came through `ack:auto`.
    Message(Message),
    /// The server has processed the frame that asked for this.
    Receipt(ReceiptId),
}

/// What CONNECTED says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that is spoken from here on.
    pub version: Version,
    /// Which broker it is, if it says so.
    pub server: Option<String>,
    /// The server's name for the connection, if it has one.
    pub session: Option<String>,
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// All headers in their order, unescaped, repeated ones included.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Message {
    pub(super) fn of(frame: &Frame<'_>) -> Self {
        let headers = frame.headers.iter().map(|(name, value)| (name.into_owned(), value.into_owned()));
        Self { headers: headers.collect(), body: Bytes::copy_from_slice(frame.body) }
    }

    /// The value of the first header of this name (1.2, "Repeated Header Entries").
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Where it was sent to; empty if the server does not say.
    #[must_use]
    pub fn destination(&self) -> &str {
        self.header("destination").unwrap_or_default()
    }

    /// Whether it only says that a browser (`browser:true`) has seen everything.
    #[must_use]
    pub fn is_end_of_browse(&self) -> bool {
        self.header("browser") == Some("end")
    }
}
