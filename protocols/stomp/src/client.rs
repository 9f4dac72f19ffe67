//! One connection's STOMP at the client's end: what to write, what has come, when to give the server up.
//!
//! Like everything here it does no IO and reads no clock. The shell hands in bytes and the time, writes what collects
//! in [`Client::output`], polls events, and calls [`Client::handle_timeout`] when [`Client::next_wake_ms`] has come.
//! Which subscriptions there are, and what to do again on the next connection, is the application's to know.
//!
//! ```
//! use noctule_stomp::client::{Client, Event, Options, Outgoing};
//!
//! let mut client = Client::new(Options::default());
//! client.connect(0)?;
//! // … write client.output() to a socket, read the server's answer from it:
//! let used = client.handle_frame(5, b"CONNECTED\nversion:1.2\n\n\0")?;
//! assert_eq!(used, 24);
//! assert!(matches!(client.poll_event(), Some(Event::Connected(_))));
//! let message = Outgoing { destination: "/queue/a", headers: &[], body: b"hello", transaction: None };
//! let receipt = client.send(6, &message, true)?;
//! client.handle_frame(7, b"RECEIPT\nreceipt-id:1\n\n\0")?;
//! assert_eq!(client.poll_event(), receipt.map(Event::Receipt));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod event;
mod options;
mod request;

use std::collections::{BTreeSet, VecDeque};

use bytes::BytesMut;

use crate::command::Command;
use crate::frame::Frame;
use crate::framing::{Framer, Split};
use crate::version::{Direction, Reading, Version};

pub use error::{ClientError, RequestError, Verdict};
pub use event::{Event, Message, ReceiptId, Welcome};
pub use options::Options;
pub use request::{AckMode, Outgoing, Subscription};

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none, or it is over.
    Idle,
    /// CONNECT has been written.
    Connecting {
        /// When CONNECTED is overdue, ms.
        overdue_ms: u64,
    },
    /// CONNECTED has come.
    Connected,
    /// DISCONNECT has been written: nothing more is sent, and messages are left to the server.
    Leaving,
}

/// Heart-beats in force (1.2, "Heart-beating"), ms; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Beats {
    /// The server wants to hear us so often.
    send_ms: u64,
    /// The server lets itself be heard so often.
    expect_ms: u64,
}

/// The client's end of a connection.
#[derive(Debug)]
pub struct Client {
    options: Options,
    phase: Phase,
    framer: Framer,
    /// Agreed on; `None` until CONNECTED has told.
    version: Option<Version>,
    output: BytesMut,
    events: VecDeque<Event>,
    /// Receipts asked for that have not come.
    awaited: BTreeSet<ReceiptId>,
    last_receipt: u64,
    beats: Beats,
    /// When the output was last added to, ms.
    written_ms: u64,
    /// When the server was last heard, ms.
    heard_ms: u64,
    /// Bytes at the front of the next input that have been counted as heard.
    heard_bytes: usize,
}

impl Client {
    /// A client without a connection.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            phase: Phase::Idle,
            framer: Framer::new(),
            version: None,
            output: BytesMut::new(),
            events: VecDeque::new(),
            awaited: BTreeSet::new(),
            last_receipt: 0,
            beats: Beats::default(),
            written_ms: 0,
            heard_ms: 0,
            heard_bytes: 0,
        }
    }

    /// Begins a connection with CONNECT. Whatever the one before was waiting for is forgotten.
    ///
    /// # Errors
    /// When the options cannot be put on the wire.
    pub fn connect(&mut self, now_ms: u64) -> Result<(), RequestError> {
        *self = Self { last_receipt: self.last_receipt, ..Self::new(std::mem::take(&mut self.options)) };
        self.options.encode(&mut self.output)?;
        self.written_ms = now_ms;
        self.heard_ms = now_ms;
        let overdue_ms = now_ms.saturating_add(self.options.answer_timeout_ms);
        self.phase = Phase::Connecting { overdue_ms };
        Ok(())
    }

    /// Whether CONNECTED has come, and no end since.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// The version that was agreed on, from CONNECTED on.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Bytes for the server: write them and take away what was written.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// The next event, in the order in which things happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Receipts asked for that have not come.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.awaited.len()
    }

    /// Takes the first frame of `bytes`, or the heart-beats before it, and returns its length; 0 if it is not whole:
    /// keep the bytes, and hand them in again with what follows.
    ///
    /// # Errors
    /// When the connection is over: the server ended it with ERROR, or broke the rules.
    pub fn handle_frame(&mut self, now_ms: u64, bytes: &[u8]) -> Result<usize, ClientError> {
        // A part of a frame is a sign of life too; the same part handed in again is none.
        if bytes.len() > self.heard_bytes {
            self.heard_ms = now_ms;
        }
        let reading = Reading { version: self.version, direction: Direction::ToClient };
        let taken = match self.framer.split(bytes, reading, &self.options.limits) {
            Ok(Split::Incomplete) => Ok(0),
            Ok(Split::Beats(len)) => Ok(len),
            Ok(Split::Frame(frame)) => self.frame(&frame).map(|()| frame.len),
            Err(error) => Err(ClientError::Malformed(error.fault)),
        };
        match taken {
            Ok(used) => {
                self.heard_bytes = bytes.len().saturating_sub(used);
                Ok(used)
            }
            Err(error) => {
                self.phase = Phase::Idle;
                Err(error)
            }
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), ClientError> {
        let is_connecting = matches!(self.phase, Phase::Connecting { .. });
        match frame.command {
            _ if self.phase == Phase::Idle => {}
            Command::Error if is_connecting => {
                return Err(ClientError::Refused(Box::new(Verdict::of(frame))));
            }
            Command::Error => return Err(ClientError::Ended(Box::new(Verdict::of(frame)))),
            Command::Connected if is_connecting => self.connected(frame)?,
            command if is_connecting => {
                return Err(ClientError::Violation(format!("{command} came before CONNECTED")));
            }
            Command::Message if self.phase == Phase::Connected => {
                self.events.push_back(Event::Message(Message::of(frame)));
            }
            Command::Message => {}
            Command::Receipt => self.receipt(frame)?,
            command => return Err(ClientError::Violation(format!("{command} came after CONNECTED"))),
        }
        Ok(())
    }

    fn connected(&mut self, frame: &Frame<'_>) -> Result<(), ClientError> {
        let headers = frame.headers;
        // A server that knows 1.0 alone does not say so (1.0, "CONNECT").
        let version = match headers.get("version") {
            None => Version::V10,
            Some(text) => Version::highest_common(&text).ok_or_else(|| {
                ClientError::Violation(format!("CONNECTED has version {text:?}, which is none"))
            })?,
        };
        if !self.options.versions.contains(&version) {
            return Err(ClientError::Violation(format!(
                "CONNECTED chooses {version}, which was not offered"
            )));
        }
        let (can_ms, wants_ms) = match headers.get("heart-beat") {
            None => (0, 0),
            Some(text) => heart_beat(&text).ok_or_else(|| {
                ClientError::Violation(format!("CONNECTED has heart-beat {text:?}, which is not two numbers"))
            })?,
        };
        let (we_can_ms, we_want_ms) = self.options.heart_beat_ms;
        self.beats = Beats { send_ms: agreed(we_can_ms, wants_ms), expect_ms: agreed(we_want_ms, can_ms) };
        self.version = Some(version);
        self.phase = Phase::Connected;
        let own = |name: &str| headers.get(name).map(std::borrow::Cow::into_owned);
        let welcome = Welcome { version, server: own("server"), session: own("session") };
        self.events.push_back(Event::Connected(welcome));
        Ok(())
    }

    fn receipt(&mut self, frame: &Frame<'_>) -> Result<(), ClientError> {
        let text = frame.headers.get("receipt-id").unwrap_or_default();
        let id = text.parse().ok().map(ReceiptId).filter(|id| self.awaited.remove(id));
        let Some(id) = id else {
            return Err(ClientError::Violation(format!(
                "a RECEIPT came for {text:?}, which nobody asked for"
            )));
        };
        self.events.push_back(Event::Receipt(id));
        Ok(())
    }

    /// When [`Client::handle_timeout`] is next needed, ms.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Idle => None,
            Phase::Connecting { overdue_ms } => Some(overdue_ms),
            Phase::Connected | Phase::Leaving => {
                [self.beat_due_ms(), self.silent_ms()].into_iter().flatten().min()
            }
        }
    }

    /// When the server wants a sign of life: early, because it also has to get there.
    fn beat_due_ms(&self) -> Option<u64> {
        let interval_ms = self.beats.send_ms;
        // After DISCONNECT nothing may be sent (1.2, "DISCONNECT").
        let is_due = interval_ms > 0 && self.phase == Phase::Connected;
        is_due.then(|| self.written_ms.saturating_add(interval_ms.saturating_mul(2).div_ceil(3)))
    }

    /// When the server has been silent for too long: it may be late by as much again.
    fn silent_ms(&self) -> Option<u64> {
        let interval_ms = self.beats.expect_ms;
        (interval_ms > 0).then(|| self.heard_ms.saturating_add(interval_ms.saturating_mul(2)))
    }

    /// Does what is due: writes a heart-beat, or gives the server up.
    ///
    /// # Errors
    /// When the server has not been heard in time; the connection is over.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<(), ClientError> {
        let is_due = |due_ms: Option<u64>| due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        if !is_due(self.next_wake_ms()) {
            return Ok(());
        }
        if matches!(self.phase, Phase::Connecting { .. }) {
            self.phase = Phase::Idle;
            return Err(ClientError::NoAnswer(self.options.answer_timeout_ms));
        }
        if is_due(self.silent_ms()) {
            self.phase = Phase::Idle;
            return Err(ClientError::Silent(self.beats.expect_ms.saturating_mul(2)));
        }
        if is_due(self.beat_due_ms()) {
            // What waits to be written is a sign of life by itself.
            if self.output.is_empty() {
                self.output.extend_from_slice(b"\n");
            }
            self.written_ms = now_ms;
        }
        Ok(())
    }
}

/// What one side can do and the other wants, ms: nothing if either says so, else the longer.
fn agreed(one_ms: u32, other_ms: u32) -> u64 {
    if one_ms == 0 || other_ms == 0 { 0 } else { u64::from(one_ms.max(other_ms)) }
}

/// `<can>,<wants>`, ms.
fn heart_beat(text: &str) -> Option<(u32, u32)> {
    let (can, wants) = text.split_once(',')?;
    Some((can.trim().parse().ok()?, wants.trim().parse().ok()?))
}

#[cfg(test)]
mod tests;
