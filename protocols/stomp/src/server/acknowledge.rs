//! ACK and NACK: which delivery is meant, and what becomes of it.

use std::borrow::Cow;

use noctule_core::consumer::{ConsumerId, Request, Settle, Verdict};
use noctule_core::effects::Input;
use noctule_core::refusal::{Kind, Refusal};

use super::consumers::{AckMode, MessageId, Reach};
use super::transactions::{Action, Settling};
use super::{Scratch, Turn};
use crate::address::Token;
use crate::command::Command;
use crate::error::Excerpt;
use crate::fields::{HeaderError, boolean};
use crate::version::Version;

/// What an ACK or NACK names.
enum Named {
    /// A delivery that may be open, and how far the acknowledgement of its subscription reaches.
    Delivery(MessageId, Reach),
    /// One of a subscription that is not acknowledged.
    Auto,
    /// One of a subscription that is over, with everything of it.
    Over,
}

impl Turn<'_, '_> {
    pub(super) fn acknowledge(
        &mut self,
        scratch: &mut Scratch,
        engine: &mut impl FnMut(Input<'_>),
    ) -> Result<(), Refusal> {
        let verdict = self.verdict()?;
        let named = self.named()?;
        let transaction = self.header("transaction");
        if let Some(name) = &transaction {
            self.conversation.transactions.get(name)?;
        }
        let (id, reach) = match named {
            Named::Delivery(id, reach) => (id, reach),
            Named::Auto => return self.nothing(engine),
            Named::Over => {
                self.conversation.stray_acks += 1;
                return self.nothing(engine);
            }
        };
        if let Some(name) = transaction {
            return self.enlist_settling(&name, id, reach, verdict, engine);
        }
        let taken = &mut scratch.packet_ids;
        taken.clear();
        if let Some(consumer) = self.conversation.consumers.get(id.consumer) {
            consumer.deliveries.settle(id.sequence, reach, taken);
        }
        self.conversation.consumers.forget_if_over(id.consumer);
        if taken.is_empty() {
            self.conversation.stray_acks += 1;
            return self.nothing(engine);
        }
        let receipt = self.receipt()?;
        let settle = Settle { consumer: id.consumer, packet_ids: taken, verdict };
        engine(Input::Request(self.conn, Request::Settle(settle), receipt));
        Ok(())
    }

    fn enlist_settling(
        &mut self,
        transaction: &str,
        id: MessageId,
        reach: Reach,
        verdict: Verdict,
        engine: &mut impl FnMut(Input<'_>),
    ) -> Result<(), Refusal> {
        let mut taken = Vec::new();
        if let Some(consumer) = self.conversation.consumers.get(id.consumer) {
            consumer.deliveries.enlist(id.sequence, reach, &mut taken);
        }
        if taken.is_empty() {
            self.conversation.stray_acks += 1;
        } else {
            let (sequences, packet_ids) = taken.into_iter().unzip();
            let settling = Settling { consumer: id.consumer, sequences, packet_ids, verdict };
            self.conversation.transactions.enlist(
                transaction,
                Action::Settle(settling),
                self.around.stomp,
            )?;
        }
        self.nothing(engine)
    }

    /// What the frame says of the delivery: consumed, or what the dialect or the header means by not.
    fn verdict(&self) -> Result<Verdict, HeaderError> {
        if self.frame.command == Command::Ack {
            return Ok(Verdict::Accept);
        }
        match self.header("requeue") {
            None => Ok(self.grammar.dialect.nack()),
            Some(value) if boolean("requeue", &value)? => Ok(Verdict::Requeue),
            Some(_) => Ok(Verdict::Reject),
        }
    }

    /// The delivery that the frame names. Each version has a header for it, first in its list here; clients mix them up,
    /// so that any that names a delivery will do.
    fn named(&mut self) -> Result<Named, Refusal> {
        let headers = match self.version {
            Version::V10 | Version::V11 => ["message-id", "id", "ack"],
            Version::V12 => ["id", "ack", "message-id"],
        };
        let mut unknown = None;
        for name in headers {
            let Some(text) = self.header(name) else { continue };
            if let Some(id) = MessageId::read(&text, self.grammar.token)
                && let Some(named) = self.delivery(id)?
            {
                return Ok(named);
            }
            unknown.get_or_insert((name, text));
        }
        let command = self.frame.command;
        Err(match unknown {
            Some((name, text)) => Refusal::new(
                Kind::ProtocolError,
                format!(
                    "header {name} of {command}, {}, names no message of this connection; send back what its \
                     MESSAGE has as message-id",
                    Excerpt::of(without_token(&text, self.grammar.token).as_bytes())
                ),
            ),
            None => {
                let [name, ..] = headers;
                let mend = match self.version {
                    Version::V10 => "send back what the MESSAGE has as message-id",
                    Version::V11 => "send back what the MESSAGE has as message-id, and its subscription",
                    Version::V12 => "send back what the MESSAGE has as ack",
                };
                HeaderError::Missing { command: command.as_str(), name, mend }.into()
            }
        })
    }

    /// What is known of a delivery; `None` if there never was such a one.
    fn delivery(&mut self, id: MessageId) -> Result<Option<Named>, Refusal> {
        let subscription = self.header("subscription");
        let consumers = &mut self.conversation.consumers;
        let Some(consumer) = consumers.get(id.consumer) else {
            return Ok(consumers.was_there(id.consumer).then_some(Named::Over));
        };
        if !consumer.deliveries.was_issued(id.sequence) {
            return Ok(None);
        }
        if let Some(subscription) = subscription
            && *subscription != *consumer.name
        {
            return Err(Refusal::new(
                Kind::ProtocolError,
                format!(
                    "header subscription of {}, {}, is not the subscription of that message, {}; send back both as \
                     its MESSAGE has them",
                    self.frame.command,
                    Excerpt::of(subscription.as_bytes()),
                    Excerpt::of(consumer.name.as_bytes())
                ),
            ));
        }
        Ok(Some(match consumer.mode {
            AckMode::Auto => Named::Auto,
            AckMode::Client => Named::Delivery(id, Reach::Through),
            AckMode::ClientIndividual => Named::Delivery(id, Reach::One),
        }))
    }

    /// Gives a transaction's hold of deliveries back, or settles them.
    pub(super) fn release(&mut self, consumer: ConsumerId, sequences: &[u64], is_settled: bool) {
        if let Some(consumer) = self.conversation.consumers.get(consumer) {
            for sequence in sequences {
                consumer.deliveries.release(*sequence, is_settled);
            }
        }
        self.conversation.consumers.forget_if_over(consumer);
    }
}

/// What the log may show of a text that is no `message-id` of ours: not what it ends with if it is somebody's, since that
/// is a secret.
fn without_token<'t>(text: &'t str, own: &Token) -> Cow<'t, str> {
    let front = match text.find('@') {
        Some(at) if text.len() == at + 1 + Token::LEN => text.get(..=at),
        _ => text.strip_suffix(own.as_str()),
    };
    front.map_or(Cow::Borrowed(text), |front| Cow::Owned(format!("{front}…")))
}
