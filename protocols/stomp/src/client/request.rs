//! What a client asks for, frame by frame, and whether it can be written at all.
//!
//! The writer alters what a version cannot express; here that is refused instead, so that nothing is sent that the
//! application did not say.

use super::error::RequestError;
use super::event::{Message, ReceiptId};
use super::{Client, Phase};
use crate::command::Command;
use crate::encode::FrameWriter;
use crate::version::Version;

/// How deliveries of a subscription are acknowledged (1.2, "SUBSCRIBE ack Header").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckMode {
    /// They are done with once they are sent.
    #[default]
    Auto,
    /// An ACK holds for everything before it too.
    Client,
    /// Each by itself; from 1.1.
    ClientIndividual,
}

impl AckMode {
    /// As the header writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Client => "client",
            Self::ClientIndividual => "client-individual",
        }
    }
}

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where to.
    pub destination: &'a str,
    /// Headers besides those that this machine writes: `destination`, `content-length`, `receipt`, `transaction`.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: &'a [u8],
    /// The transaction that it is a part of.
    pub transaction: Option<&'a str>,
}

/// A subscription to be made.
#[derive(Clone, Copy, Debug)]
pub struct Subscription<'a> {
    /// Its name, unique on the connection.
    pub id: &'a str,
    /// What it is to.
    pub destination: &'a str,
    /// How its messages are acknowledged.
    pub ack: AckMode,
    /// Headers besides `id`, `destination`, `ack` and `receipt`.
    pub headers: &'a [(String, String)],
}

/// Where a header would stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    Connect,
    Frame(Version),
}

impl Writing {
    /// Refuses what would be altered on its way, see [`FrameWriter::header`].
    pub(super) fn check(self, name: &str, value: &str) -> Result<(), RequestError> {
        if name.is_empty() {
            return Err(RequestError::NamelessHeader);
        }
        let (forbidden, place): (&[char], _) = match self {
            Self::Connect => (&['\0', '\n', '\r'], "CONNECT"),
            Self::Frame(Version::V10) => (&['\0', '\n'], "STOMP 1.0"),
            Self::Frame(Version::V11 | Version::V12) => (&['\0'], "STOMP"),
        };
        let bad_in = |text: &str| text.chars().find(|c| forbidden.contains(c));
        let colon = match self {
            Self::Frame(Version::V11 | Version::V12) => None,
            Self::Connect | Self::Frame(Version::V10) => name.chars().find(|c| *c == ':'),
        };
        match bad_in(name).or(colon).or_else(|| bad_in(value)) {
            Some(character) => Err(RequestError::NotExpressible { name: name.to_owned(), character, place }),
            None => Ok(()),
        }
    }
}

impl Client {
    /// Sends a message. With `receipt` the server says when it has taken it, which for a message that is to last means:
    /// when it is on stable storage.
    ///
    /// # Errors
    /// When there is no connection, or a header cannot be put on the wire.
    pub fn send(
        &mut self,
        now_ms: u64,
        message: &Outgoing<'_>,
        receipt: bool,
    ) -> Result<Option<ReceiptId>, RequestError> {
        let own = [("destination", Some(message.destination)), ("transaction", message.transaction)];
        let receipt = receipt.then(|| self.next_receipt());
        self.request(now_ms, Command::Send, &own, message.headers, message.body, receipt)
    }

    /// Subscribes. The receipt comes before the first message.
    ///
    /// # Errors
    /// When there is no connection, a header cannot be put on the wire, or the version has no such mode.
    pub fn subscribe(
        &mut self,
        now_ms: u64,
        subscription: &Subscription<'_>,
    ) -> Result<ReceiptId, RequestError> {
        if subscription.ack == AckMode::ClientIndividual {
            self.must_have_v11("ack:client-individual")?;
        }
        let own = [
            ("id", Some(subscription.id)),
            ("destination", Some(subscription.destination)),
            ("ack", Some(subscription.ack.as_str())),
        ];
        let receipt = self.next_receipt();
        self.request(now_ms, Command::Subscribe, &own, subscription.headers, b"", Some(receipt))?;
        Ok(receipt)
    }

    /// Ends a subscription by its `id`; `headers` are such as `durable:true`, which makes the server forget it.
    ///
    /// # Errors
    /// When there is no connection, or a header cannot be put on the wire.
    pub fn unsubscribe(
        &mut self,
        now_ms: u64,
        id: &str,
        headers: &[(String, String)],
    ) -> Result<ReceiptId, RequestError> {
        let receipt = self.next_receipt();
        self.request(now_ms, Command::Unsubscribe, &[("id", Some(id))], headers, b"", Some(receipt))?;
        Ok(receipt)
    }

    /// Acknowledges a message; if its subscription is `ack:client`, all before it too.
    ///
    /// # Errors
    /// When there is no connection, or the message lacks the header that it is acknowledged by.
    pub fn ack(
        &mut self,
        now_ms: u64,
        message: &Message,
        transaction: Option<&str>,
    ) -> Result<(), RequestError> {
        self.settle(now_ms, Command::Ack, message, transaction)
    }

    /// Gives a message back; what the server does with it then, is its own choice.
    ///
    /// # Errors
    /// As [`Client::ack`], and in 1.0, which has no NACK.
    pub fn nack(
        &mut self,
        now_ms: u64,
        message: &Message,
        transaction: Option<&str>,
    ) -> Result<(), RequestError> {
        self.must_have_v11("NACK")?;
        self.settle(now_ms, Command::Nack, message, transaction)
    }

    fn settle(
        &mut self,
        now_ms: u64,
        command: Command,
        message: &Message,
        transaction: Option<&str>,
    ) -> Result<(), RequestError> {
        let version = self.must_be_connected()?;
        let required = |name| message.header(name).ok_or(RequestError::Unacknowledgeable(name));
        let transaction = ("transaction", transaction);
        match version {
            Version::V12 => {
                let own = [("id", Some(required("ack")?)), transaction];
                self.request(now_ms, command, &own, &[], b"", None)
            }
            Version::V10 | Version::V11 => {
                // 1.0 knows no `subscription` here, but servers that keep deliveries by it look for one.
                let subscription = match version {
                    Version::V10 => message.header("subscription"),
                    _ => Some(required("subscription")?),
                };
                let own = [
                    ("message-id", Some(required("message-id")?)),
                    ("subscription", subscription),
                    transaction,
                ];
                self.request(now_ms, command, &own, &[], b"", None)
            }
        }
        .map(drop)
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// When there is no connection, or the name cannot be put on the wire.
    pub fn begin(&mut self, now_ms: u64, transaction: &str) -> Result<(), RequestError> {
        self.request(now_ms, Command::Begin, &[("transaction", Some(transaction))], &[], b"", None).map(drop)
    }

    /// Carries a transaction out; the receipt says that all of it has happened.
    ///
    /// # Errors
    /// As [`Client::begin`].
    pub fn commit(&mut self, now_ms: u64, transaction: &str) -> Result<ReceiptId, RequestError> {
        let receipt = self.next_receipt();
        let own = [("transaction", Some(transaction))];
        self.request(now_ms, Command::Commit, &own, &[], b"", Some(receipt))?;
        Ok(receipt)
    }

    /// Takes a transaction back.
    ///
    /// # Errors
    /// As [`Client::begin`].
    pub fn abort(&mut self, now_ms: u64, transaction: &str) -> Result<(), RequestError> {
        self.request(now_ms, Command::Abort, &[("transaction", Some(transaction))], &[], b"", None).map(drop)
    }

    /// Says good-bye. Its receipt says that the server has processed everything before (1.2, "DISCONNECT"): read until
    /// it has come, then close.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn disconnect(&mut self, now_ms: u64) -> Result<ReceiptId, RequestError> {
        let receipt = self.next_receipt();
        self.request(now_ms, Command::Disconnect, &[], &[], b"", Some(receipt))?;
        self.phase = Phase::Leaving;
        Ok(receipt)
    }

    /// Writes one frame, or nothing if it cannot be.
    fn request(
        &mut self,
        now_ms: u64,
        command: Command,
        own: &[(&str, Option<&str>)],
        headers: &[(String, String)],
        body: &[u8],
        receipt: Option<ReceiptId>,
    ) -> Result<Option<ReceiptId>, RequestError> {
        let version = self.must_be_connected()?;
        let own = || own.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let given = || headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own().chain(given()) {
            Writing::Frame(version).check(name, value)?;
        }
        let mut frame = FrameWriter::new(&mut self.output, version, command);
        for (name, value) in own().chain(given()) {
            frame.header(name, value);
        }
        if let Some(ReceiptId(id)) = receipt {
            frame.number("receipt", id);
        }
        frame.finish(body);
        self.awaited.extend(receipt);
        self.written_ms = now_ms;
        Ok(receipt)
    }

    /// A number is used once in the client's life, so that an answer never meets another connection's question.
    fn next_receipt(&mut self) -> ReceiptId {
        self.last_receipt = self.last_receipt.wrapping_add(1);
        ReceiptId(self.last_receipt)
    }

    fn must_be_connected(&self) -> Result<Version, RequestError> {
        match (self.phase, self.version) {
            (Phase::Connected, Some(version)) => Ok(version),
            _ => Err(RequestError::NotConnected),
        }
    }

    fn must_have_v11(&self, what: &'static str) -> Result<(), RequestError> {
        match self.must_be_connected()? {
            version @ Version::V10 => Err(RequestError::NotInVersion { what, version }),
            Version::V11 | Version::V12 => Ok(()),
        }
    }
}
