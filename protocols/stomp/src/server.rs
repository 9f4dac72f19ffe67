//! One connection's STOMP at the broker's end: which frame is allowed when, what it means to the engine, and how the
//! engine's answers look on this wire.
//!
//! The shell cuts frames with [`Server::split`], hands each to [`Server::frame`] and carries out the [`Step`] that comes
//! back. Queues, guarantees and routing are the engine's; nothing here knows another connection.
//!
//! Where the specifications leave a choice, or contradict the clients in the field:
//!
//! - In 1.0 a value that means something to us may have spaces around it, as that text's examples have.
//! - ACK and NACK may name a delivery by any of `id`, `message-id` and `ack`, in every version; all have one value.
//! - `heart-beat` is honoured in 1.0 too: who sends it knows what it means.
//! - Words such as `true` may be written in any case.

mod acknowledge;
mod connect;
mod consumers;
mod options;
mod receipts;
mod reply;
mod send;
mod subscribe;
mod transactions;

use std::borrow::Cow;
use std::num::NonZeroU16;

use noctule_core::consumer::{Receipt, Request};
use noctule_core::effects::Input;
use noctule_core::id::{ConnId, Now};
use noctule_core::policy::Limits;
use noctule_core::refusal::{Kind, Refusal};

use crate::address::{Grammar, Token};
use crate::command::Command;
use crate::dialect::Dialect;
use crate::fields::{HeaderError, trimmed};
use crate::frame::Frame;
use crate::framing::{FrameLimits, Framer, Split};
use crate::version::{Direction, Reading, Version};

pub use connect::{Connect, Credentials};
use consumers::Consumers;
use receipts::Receipts;
pub use reply::Then;
use transactions::Transactions;

/// The limits that are STOMP's own; the rest is in the core's [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Every frame.
    pub frames: FrameLimits,
    /// Transactions that a connection may have open.
    pub max_transactions: usize,
    /// SEND, ACK and NACK in all open transactions of a connection.
    pub max_transaction_actions: usize,
    /// Bytes that all open transactions of a connection hold: bodies, headers, and what each action costs besides.
    pub max_transaction_bytes: usize,
    /// Bytes of the receipts that a connection waits for: their text, and what each costs besides.
    pub max_receipt_bytes: usize,
    /// Most deliveries that a subscription may have unacknowledged, whatever it asks for. 0 counts as 1.
    pub max_prefetch: u16,
    /// The same for a subscription that does not say.
    pub default_prefetch: u16,
    /// `heart-beat` of CONNECTED, ms: how often we can send one, and how often we want to receive one; 0 for not at all.
    pub heart_beat_ms: (u32, u32),
    /// A 1.0 client without heart-beats and without a subscription is disconnected after so long a silence, ms; 0: never.
    pub idle_timeout_ms: u32,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            frames: FrameLimits::default(),
            max_transactions: 16,
            max_transaction_actions: 1000,
            max_transaction_bytes: 4 << 20,
            max_receipt_bytes: 1 << 20,
            max_prefetch: 1000,
            default_prefetch: 256,
            heart_beat_ms: (1_000, 10_000),
            idle_timeout_ms: 60_000,
        }
    }
}

/// What a frame needs from around it.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// STOMP's own limits.
    pub stomp: &'a ServerLimits,
    /// The core's limits.
    pub core: &'a Limits,
    /// The time.
    pub now: Now,
}

/// Buffers that a worker lends to one connection after the other, so that an idle one owns none.
#[derive(Debug, Default)]
pub struct Scratch {
    fields: Vec<u8>,
    text: String,
    packet_ids: Vec<NonZeroU16>,
}

/// What follows from a frame.
#[derive(Debug)]
pub enum Step<'a> {
    /// It has been handed to the engine, or meant nothing to it.
    Done,
    /// A client asks to be connected: authenticate, then call [`Server::begin`].
    Connect(Box<Connect<'a>>),
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// CONNECT is awaited.
    Fresh,
    /// CONNECT has been read; the engine's verdict is awaited.
    Deciding,
    /// CONNECTED has been sent.
    Connected,
    /// DISCONNECT has been read, and nothing after it is.
    Leaving,
}

/// What only a connection has that is connected.
#[derive(Debug, Default)]
struct Conversation {
    consumers: Consumers,
    receipts: Receipts,
    transactions: Transactions,
    user: Option<Box<str>>,
    /// `client-id` of CONNECT, for durable subscriptions.
    client_id: Option<Box<str>>,
    stray_acks: u64,
}

/// The broker's end of one STOMP connection.
#[derive(Debug)]
pub struct Server {
    framer: Framer,
    token: Token,
    dialect: Dialect,
    phase: Phase,
    /// Agreed on; `None` until CONNECT has told.
    version: Option<Version>,
    conversation: Option<Box<Conversation>>,
    /// Receipt of the frame that the connection ends over.
    offending: Option<Box<str>>,
}

impl Server {
    /// A connection whose CONNECT is awaited. `token` tells it from every other; see [`Token::new`].
    #[must_use]
    pub fn new(dialect: Dialect, token: Token) -> Self {
        Self {
            framer: Framer::new(),
            token,
            dialect,
            phase: Phase::Fresh,
            version: None,
            conversation: None,
            offending: None,
        }
    }

    /// The version, once CONNECT has told it.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The `session` of CONNECTED: a name for the connection that no other has. Not for the log: who knows it can send to
    /// the connection's temporary queues.
    #[must_use]
    pub fn session(&self) -> &str {
        self.token.as_str()
    }

    /// Whether CONNECTED has been sent, and no DISCONNECT has come.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether DISCONNECT has come: what else comes is skipped.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.phase == Phase::Leaving
    }

    /// Whether something that was read is still to be answered: with a receipt, or DISCONNECT with the connection's end.
    #[must_use]
    pub fn owes_answers(&self) -> bool {
        let receipts = self.conversation.as_ref().map(|conversation| &conversation.receipts);
        self.is_leaving() || receipts.is_some_and(|receipts| !receipts.is_empty())
    }

    /// How many ACK and NACK were ignored because their delivery was settled before. Those that the engine finds are
    /// counted there.
    #[must_use]
    pub fn stray_acks(&self) -> u64 {
        self.conversation.as_ref().map_or(0, |conversation| conversation.stray_acks)
    }

    /// Cuts the next frame out of `bytes`, which begin where the last one ended. After DISCONNECT everything is skipped.
    ///
    /// # Errors
    /// The refusal with which the connection ends.
    #[inline]
    pub fn split<'a>(&mut self, bytes: &'a [u8], around: Surroundings<'_>) -> Result<Split<'a>, Refusal> {
        if self.phase == Phase::Leaving {
            return Ok(if bytes.is_empty() { Split::Incomplete } else { Split::Beats(bytes.len()) });
        }
        let reading = Reading { version: self.version, direction: Direction::ToServer };
        self.framer.split(bytes, reading, &around.stomp.frames).map_err(|error| {
            self.offending.clone_from(&error.receipt);
            Refusal::from(&error)
        })
    }

    /// Takes one frame. What it means to the engine is handed to `engine`, in order.
    ///
    /// # Errors
    /// The refusal with which the connection ends; [`Server::refuse`] puts it into the client's words.
    #[inline]
    pub fn frame<'a>(
        &mut self,
        conn: ConnId,
        frame: &Frame<'a>,
        around: Surroundings<'_>,
        scratch: &mut Scratch,
        engine: impl FnMut(Input<'_>),
    ) -> Result<Step<'a>, Refusal> {
        let step = if self.phase == Phase::Connected {
            self.connected(conn, frame, around, scratch, engine).map(|()| Step::Done)
        } else {
            self.unconnected(frame)
        };
        if step.is_err() && !frame.command.is_connect() {
            self.offending = frame.headers.get("receipt").map(Into::into);
        }
        step
    }

    fn unconnected<'a>(&mut self, frame: &Frame<'a>) -> Result<Step<'a>, Refusal> {
        let command = frame.command;
        match self.phase {
            Phase::Fresh if command.is_connect() => {
                self.connect(frame).map(|connect| Step::Connect(Box::new(connect)))
            }
            Phase::Fresh => Err(Refusal::new(
                Kind::FirstPacketNotConnect,
                format!("first frame is {command}; begin with CONNECT or STOMP, and wait for CONNECTED"),
            )),
            Phase::Deciding => {
                let detail = format!("{command} came before CONNECT was answered; wait for CONNECTED");
                Err(Refusal::new(Kind::ProtocolError, detail))
            }
            Phase::Connected | Phase::Leaving => Ok(Step::Done),
        }
    }

    #[inline]
    fn connected(
        &mut self,
        conn: ConnId,
        frame: &Frame<'_>,
        around: Surroundings<'_>,
        scratch: &mut Scratch,
        mut engine: impl FnMut(Input<'_>),
    ) -> Result<(), Refusal> {
        let Some(version) = self.version else { return Err(Refusal::new(Kind::Internal, "no version")) };
        let (dialect, token) = (self.dialect, self.token);
        let Some(conversation) = &mut self.conversation else {
            return Err(Refusal::new(Kind::Internal, "connected, but without a conversation"));
        };
        let grammar = Grammar { dialect, token: &token, limits: &around.core.topic };
        let mut turn = Turn { conversation, conn, frame, version, grammar, around };
        match frame.command {
            Command::Send => turn.send(scratch, &mut engine),
            Command::Ack => turn.acknowledge(scratch, &mut engine),
            Command::Nack if version == Version::V10 => Err(Refusal::new(
                Kind::ProtocolError,
                "command \"NACK\" is unknown in STOMP 1.0; ask for 1.1 or 1.2 with accept-version, or leave the \
                 message unacknowledged and UNSUBSCRIBE",
            )),
            Command::Nack => turn.acknowledge(scratch, &mut engine),
            Command::Subscribe => turn.subscribe(&mut engine),
            Command::Unsubscribe => turn.unsubscribe(&mut engine),
            Command::Begin => turn.begin(&mut engine),
            Command::Commit => turn.commit(&mut engine),
            Command::Abort => turn.abort(&mut engine),
            Command::Disconnect => {
                let receipt = turn.receipt()?;
                conversation.transactions = Transactions::default();
                self.phase = Phase::Leaving;
                engine(Input::Request(conn, Request::Leave, receipt));
                Ok(())
            }
            Command::Connect | Command::Stomp => Err(Refusal::new(
                Kind::ProtocolError,
                format!("a second {} on one connection; open another connection for it", frame.command),
            )),
            Command::Connected | Command::Message | Command::Receipt | Command::Error => {
                Err(Refusal::new(Kind::ProtocolError, format!("{} is for a server to send", frame.command)))
            }
        }
    }
}

/// One frame of a connected client, and all that is needed to carry it out; its commands are in the rooms below.
struct Turn<'t, 'a> {
    conversation: &'t mut Conversation,
    conn: ConnId,
    frame: &'t Frame<'a>,
    version: Version,
    grammar: Grammar<'t>,
    around: Surroundings<'t>,
}

impl<'a> Turn<'_, 'a> {
    /// A header that means something to us.
    fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        self.frame.headers.get(name).map(|value| trimmed(self.version, value))
    }

    /// A header without which the frame means nothing; an empty one is none.
    fn required(&self, name: &'static str, mend: &'static str) -> Result<Cow<'a, str>, HeaderError> {
        let value = self.header(name).filter(|value| !value.is_empty());
        value.ok_or(HeaderError::Missing { command: self.frame.command.as_str(), name, mend })
    }

    /// The receipt that the frame asks for; only for a frame that is certain to be carried out.
    fn receipt(&mut self) -> Result<Option<Receipt>, Refusal> {
        let limit = self.around.stomp.max_receipt_bytes;
        match self.frame.headers.get("receipt") {
            None => Ok(None),
            Some(text) => self.conversation.receipts.ask(&text, limit).map(Some),
        }
    }

    /// Says of a frame that leaves nothing to be done that it has come.
    fn nothing(&mut self, engine: &mut impl FnMut(Input<'_>)) -> Result<(), Refusal> {
        match self.receipt()? {
            None => engine(Input::Heard(self.conn)),
            receipt => engine(Input::Request(self.conn, Request::Nothing, receipt)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
