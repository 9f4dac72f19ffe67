//! What a SUBSCRIBE says of the queue behind it, in the words of RabbitMQ, which we kept.

use noctule_core::group::QueueOptions;
use noctule_core::policy::Overflow;
use noctule_core::refusal::{Kind, Refusal};
use noctule_core::topic::TopicName;

use super::Turn;
use crate::fields::{HeaderError, bad_value, boolean, number};

/// Highest priority that is told apart; a client may ask for more and gets this.
const MAX_PRIORITY: u64 = 9;

impl Turn<'_, '_> {
    /// A word for yes or no.
    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, HeaderError> {
        self.header(name).map(|value| boolean(name, &value)).transpose()
    }

    fn amount(&self, name: &'static str) -> Result<Option<u64>, HeaderError> {
        self.header(name).map(|value| number(name, &value)).transpose()
    }

    pub(super) fn queue_options(&self) -> Result<QueueOptions, Refusal> {
        let overflow = match self.header("x-overflow").as_deref() {
            None => None,
            Some("drop-head") => Some(Overflow::DropOldest),
            Some("reject-publish") => Some(Overflow::Refuse),
            Some(other) => return Err(bad_value("x-overflow", other, "drop-head or reject-publish").into()),
        };
        let max_priority = match self.amount("x-max-priority")? {
            // RabbitMQ takes as many.
            Some(priority @ 256..) => {
                let value = priority.to_string();
                return Err(bad_value("x-max-priority", &value, "a number from 0 to 255").into());
            }
            priority => priority.map(|priority| priority.min(MAX_PRIORITY) as u8),
        };
        let max_deliveries = self.amount("x-delivery-limit")?;
        Ok(QueueOptions {
            message_ttl_ms: self.amount("x-message-ttl")?,
            idle_expiry_ms: self.amount("x-expires")?,
            max_messages: self.amount("x-max-length")?,
            max_bytes: self.amount("x-max-length-bytes")?,
            overflow,
            max_priority,
            dead_letter: self.dead_letter()?,
            max_deliveries: max_deliveries.map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
            ack_deadline_ms: self.amount("x-consumer-timeout")?,
            auto_delete: self.flag("auto-delete")?,
            durable: self.flag("durable")?,
            selector: None,
        })
    }

    /// The topic of an exchange and a key. The default exchange, whose name is empty, sends to the queue of the key's
    /// name; without exchange and key dead letters are dropped.
    fn dead_letter(&self) -> Result<Option<Box<str>>, Refusal> {
        const EXCHANGE: &str = "x-dead-letter-exchange";
        const KEY: &str = "x-dead-letter-routing-key";
        let (exchange, key) = (self.header(EXCHANGE), self.header(KEY));
        if exchange.is_none() && key.is_none() {
            return Ok(None);
        }
        let (exchange, key) = (exchange.unwrap_or_default(), key.unwrap_or_default());
        let topic = match &*exchange {
            "" if key.is_empty() => return Ok(Some(Box::default())),
            "" => format!("$queue/{key}"),
            "amq.fanout" => "$amq/fanout".into(),
            "amq.headers" => "$amq/headers".into(),
            "amq.topic" | "amq.direct" if key.is_empty() => {
                return Err(HeaderError::Missing {
                    command: self.frame.command.as_str(),
                    name: KEY,
                    mend: "the exchange of dead letters needs one: the messages' own are not kept",
                }
                .into());
            }
            "amq.topic" => self.grammar.dialect.swap(&key).into_owned(),
            "amq.direct" => format!("$amq/direct/{key}"),
            other => {
                let allowed = "amq.topic, amq.direct, amq.fanout or amq.headers, or nothing for a queue";
                return Err(bad_value(EXCHANGE, other, allowed).into());
            }
        };
        TopicName::parse(&topic, self.grammar.limits).map_err(|error| {
            Refusal::new(Kind::TopicNameInvalid, format!("headers {EXCHANGE} and {KEY}: {error}"))
        })?;
        Ok(Some(topic.into()))
    }
}
