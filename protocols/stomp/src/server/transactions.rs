//! Transactions: what is sent and acknowledged in them waits here, in copies, until COMMIT hands all of it to the engine
//! at once, or ABORT or the connection's end forgets it.

use std::borrow::Cow;
use std::num::NonZeroU16;

use noctule_core::consumer::{Commit, ConsumerId, Request, Send, Settle, Verdict};
use noctule_core::effects::Input;
use noctule_core::id::Qos;
use noctule_core::message::{Fields, Publish};
use noctule_core::refusal::{Kind, Refusal};
use noctule_core::topic::TopicName;

use super::{ServerLimits, Turn};
use crate::error::Excerpt;

/// The open transactions of a connection.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: Vec<Transaction>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Transaction {
    name: Box<str>,
    actions: Vec<Action>,
    bytes: usize,
}

/// Something to be done at COMMIT.
#[derive(Debug)]
pub(super) enum Action {
    /// SEND.
    Send(Box<Enlisted>),
    /// ACK or NACK.
    Settle(Settling),
}

/// A message to be sent.
#[derive(Debug)]
pub(super) struct Enlisted {
    pub(super) topic: Box<str>,
    pub(super) fields: Box<[u8]>,
    pub(super) payload: Box<[u8]>,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// When it expires, by the monotonic clock, ms.
    pub(super) expires_ms: Option<u64>,
}

/// Deliveries to be settled.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) consumer: ConsumerId,
    pub(super) sequences: Vec<u64>,
    pub(super) packet_ids: Vec<NonZeroU16>,
    pub(super) verdict: Verdict,
}

impl Action {
    /// What it costs, bytes.
    fn cost(&self) -> usize {
        let held = match self {
            Self::Send(send) => {
                size_of::<Enlisted>() + send.topic.len() + send.fields.len() + send.payload.len()
            }
            Self::Settle(settling) => settling.sequences.len() * size_of::<(u64, NonZeroU16)>(),
        };
        size_of::<Self>() + held
    }
}

impl Transactions {
    /// The open transaction of that name.
    pub(super) fn get(&mut self, name: &str) -> Result<&mut Transaction, Refusal> {
        self.open.iter_mut().find(|transaction| *transaction.name == *name).ok_or_else(|| unknown(name))
    }

    /// Takes an action in, if the limits allow it.
    pub(super) fn enlist(
        &mut self,
        name: &str,
        action: Action,
        limits: &ServerLimits,
    ) -> Result<(), Refusal> {
        let (mut actions, mut bytes) = (1, action.cost());
        for transaction in &self.open {
            actions += transaction.actions.len();
            bytes += transaction.bytes;
        }
        let over = if actions > limits.max_transaction_actions {
            Some((limits.max_transaction_actions, "frames", "max_transaction_actions"))
        } else if bytes > limits.max_transaction_bytes {
            Some((limits.max_transaction_bytes, "bytes", "max_transaction_bytes"))
        } else {
            None
        };
        if let Some((limit, unit, key)) = over {
            let name = Excerpt::of(name.as_bytes());
            let detail = format!(
                "transaction {name}: no more than {limit} {unit} in open transactions ({key}); commit more often"
            );
            return Err(Refusal::new(Kind::QuotaExceeded, detail));
        }
        let transaction = self.get(name)?;
        transaction.bytes += action.cost();
        transaction.actions.push(action);
        Ok(())
    }

    fn begin(&mut self, name: &str, limits: &ServerLimits) -> Result<(), Refusal> {
        let shown = Excerpt::of(name.as_bytes());
        if self.get(name).is_ok() {
            let detail =
                format!("transaction {shown} is open already; commit or abort it first, or name another");
            return Err(Refusal::new(Kind::ProtocolError, detail));
        }
        let limit = limits.max_transactions;
        if self.open.len() >= limit {
            let detail = match limit {
                0 => format!(
                    "transaction {shown} cannot be opened, since there are none here (max_transactions = 0); send \
                     without BEGIN, and without the header transaction"
                ),
                limit => format!(
                    "transaction {shown} would be one more than the {limit} that may be open (max_transactions); \
                     commit or abort one first"
                ),
            };
            return Err(Refusal::new(Kind::QuotaExceeded, detail));
        }
        self.open.push(Transaction { name: name.into(), actions: Vec::new(), bytes: 0 });
        Ok(())
    }

    fn end(&mut self, name: &str) -> Result<Vec<Action>, Refusal> {
        let place = self.open.iter().position(|transaction| *transaction.name == *name);
        let ended = place.map(|place| self.open.remove(place).actions).ok_or_else(|| unknown(name))?;
        if self.open.is_empty() {
            self.open = Vec::new();
        }
        Ok(ended)
    }
}

fn unknown(name: &str) -> Refusal {
    let name = Excerpt::of(name.as_bytes());
    Refusal::new(
        Kind::ProtocolError,
        format!("transaction {name} is not open; send BEGIN with this name first"),
    )
}

impl<'a> Turn<'_, 'a> {
    pub(super) fn begin(&mut self, engine: &mut impl FnMut(Input<'_>)) -> Result<(), Refusal> {
        let name = self.transaction()?;
        self.conversation.transactions.begin(&name, self.around.stomp)?;
        self.nothing(engine)
    }

    pub(super) fn abort(&mut self, engine: &mut impl FnMut(Input<'_>)) -> Result<(), Refusal> {
        let name = self.transaction()?;
        for action in self.conversation.transactions.end(&name)? {
            if let Action::Settle(settling) = action {
                self.release(settling.consumer, &settling.sequences, false);
            }
        }
        self.nothing(engine)
    }

    pub(super) fn commit(&mut self, engine: &mut impl FnMut(Input<'_>)) -> Result<(), Refusal> {
        let name = self.transaction()?;
        let actions = self.conversation.transactions.end(&name)?;
        if actions.is_empty() {
            return self.nothing(engine);
        }
        let receipt = self.receipt()?;
        let (mut sends, mut settles) = (Vec::new(), Vec::new());
        for action in &actions {
            match action {
                Action::Send(send) => sends.push(send.to_send(self.around.now.mono_ms)),
                Action::Settle(settling) => {
                    self.release(settling.consumer, &settling.sequences, true);
                    settles.push(Settle {
                        consumer: settling.consumer,
                        packet_ids: &settling.packet_ids,
                        verdict: settling.verdict,
                    });
                }
            }
        }
        let commit = Commit { sends: &sends, settles: &settles };
        engine(Input::Request(self.conn, Request::Commit(commit), receipt));
        Ok(())
    }

    fn transaction(&self) -> Result<Cow<'a, str>, Refusal> {
        Ok(self
            .required("transaction", "name the transaction: any text that is not open on this connection")?)
    }
}

impl Enlisted {
    fn to_send(&self, mono_ms: u64) -> Send<'_> {
        Send {
            publish: Publish {
                topic: TopicName::from_validated(&self.topic),
                fields: Fields::from_validated([&self.fields, &[], &[]]),
                payload: &self.payload,
                qos: self.qos,
                retain: self.retain,
                dup: false,
                packet_id: None,
                expiry_s: None,
            },
            expires_in_ms: self.expires_ms.map(|expires_ms| expires_ms.saturating_sub(mono_ms)),
        }
    }
}
