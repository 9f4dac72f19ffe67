//! SEND: a message for the engine, or for a transaction.

use noctule_core::consumer::{Request, Send};
use noctule_core::effects::Input;
use noctule_core::message::{Fields, Publish};
use noctule_core::refusal::Refusal;
use noctule_core::topic::TopicName;

use super::transactions::{Action, Enlisted};
use super::{Scratch, Turn};
use crate::address::Purpose;
use crate::fields::{HeaderError, Retain, Sending};

impl Turn<'_, '_> {
    #[inline]
    pub(super) fn send(
        &mut self,
        scratch: &mut Scratch,
        engine: &mut impl FnMut(Input<'_>),
    ) -> Result<(), Refusal> {
        let (frame, now) = (self.frame, self.around.now);
        let fields = &mut scratch.fields;
        let sending = Sending::read(frame.headers, frame.body, self.version, &self.grammar, now, fields)?;
        let destination = sending.destination.as_deref().ok_or(HeaderError::Missing {
            command: frame.command.as_str(),
            name: "destination",
            mend: "say where to, such as /topic/NAME or /queue/NAME",
        })?;
        let topic =
            self.grammar.to_core(destination, Purpose::Send).map_err(|error| error.refusal(Purpose::Send))?;
        if let Some(reply_to) = &sending.reply_to {
            self.consume_answers(reply_to, engine)?;
        }
        let payload = if sending.retain == Retain::Remove { &[] } else { frame.body };
        let send = Send {
            publish: Publish {
                topic: TopicName::from_validated(&topic),
                fields: Fields::from_validated([fields, &[], &[]]),
                payload,
                // The engine raises it where a queue or a transaction asks for more.
                qos: sending.qos.unwrap_or_default(),
                retain: sending.retain != Retain::No,
                dup: false,
                packet_id: None,
                expiry_s: None,
            },
            expires_in_ms: sending.expires_in_ms,
        };
        if let Some(transaction) = &sending.transaction {
            let enlisted = Enlisted {
                topic: send.publish.topic.as_str().into(),
                fields: fields.as_slice().into(),
                payload: payload.into(),
                qos: send.publish.qos,
                retain: send.publish.retain,
                expires_ms: send.expires_in_ms.map(|left_ms| now.mono_ms.saturating_add(left_ms)),
            };
            // The name first: an unknown one is the mistake, whatever the limits say.
            self.conversation.transactions.get(transaction)?;
            let action = Action::Send(Box::new(enlisted));
            self.conversation.transactions.enlist(transaction, action, self.around.stomp)?;
            return self.nothing(engine);
        }
        let receipt = match &sending.receipt {
            None => None,
            Some(text) => Some(self.conversation.receipts.ask(text, self.around.stomp.max_receipt_bytes)?),
        };
        engine(Input::Request(self.conn, Request::Send(send), receipt));
        Ok(())
    }
}
