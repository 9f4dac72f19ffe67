//! Messages as an application has them: owned, cheap to clone, free of the wire.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use noctule_core::id::Qos;
use noctule_core::message::{Field, Fields};

use crate::carrier::Carrier;
use crate::error::EncodeError;
use crate::property::{Value, check, id, write_property};
use crate::publish::Publish;
use crate::text;

/// What goes with a message from end to end (MQTT 5, section 3.3.2.3); nothing of it exists before 5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Payload Format Indicator: whether the payload is said to be UTF-8.
    pub payload_is_text: Option<bool>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic, free of wildcards [MQTT-3.3.2-14].
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation_data: Option<Vec<u8>>,
    /// User Properties, in order, duplicates kept [MQTT-3.3.2-17].
    pub user_properties: Vec<(String, String)>,
}

impl Properties {
    /// The properties in the encoding of [`Fields`].
    ///
    /// # Errors
    /// When one of them does not fit or its receiver would have to refuse it.
    pub(super) fn encode(&self) -> Result<Bytes, EncodeError> {
        if let Some(topic) = &self.response_topic
            && (topic.is_empty() || text::topic(topic.as_bytes(), "response topic").is_err())
        {
            return Err(EncodeError::NotAllowed("response topic"));
        }
        let mut out = BytesMut::new();
        let mut put = |id, value: Option<Value<'_>>| {
            let Some(value) = value else { return Ok(()) };
            check(id, value, Carrier::PublishToServer).map(|_| write_property(id, value, &mut out))
        };
        put(id::PAYLOAD_FORMAT, self.payload_is_text.map(|is_text| Value::Number(u32::from(is_text))))?;
        put(id::CONTENT_TYPE, self.content_type.as_deref().map(Value::Text))?;
        put(id::RESPONSE_TOPIC, self.response_topic.as_deref().map(Value::Text))?;
        put(id::CORRELATION_DATA, self.correlation_data.as_deref().map(Value::Binary))?;
        for (name, value) in &self.user_properties {
            put(id::USER_PROPERTY, Some(Value::Pair(name, value)))?;
        }
        Ok(out.freeze())
    }

    /// `None` where there are none, as with most messages.
    fn decode(fields: Fields<'_>) -> Option<Box<Self>> {
        if fields.is_empty() {
            return None;
        }
        let mut properties = Box::<Self>::default();
        for field in fields.iter() {
            match field {
                Field::PayloadFormat(format) => properties.payload_is_text = Some(format == 1),
                Field::ContentType(text) => properties.content_type = Some(text.to_owned()),
                Field::ResponseTopic(text) => properties.response_topic = Some(text.to_owned()),
                Field::CorrelationData(data) => properties.correlation_data = Some(data.to_vec()),
                Field::UserProperty(name, value) => {
                    properties.user_properties.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        Some(properties)
    }
}

/// A message to be published; cloning it copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to; free of wildcards.
    pub topic: Arc<str>,
    /// The body.
    pub payload: Bytes,
    /// Quality of service.
    pub qos: Qos,
    /// Whether it replaces the topic's retained message.
    pub retain: bool,
    /// Message Expiry Interval in seconds; left out before 5.0.
    pub expiry_s: Option<u32>,
    /// Encoded properties; left out before 5.0.
    fields: Bytes,
}

impl Outgoing {
    /// A message at QoS 0 that nothing goes with.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            expiry_s: None,
            fields: Bytes::new(),
        }
    }

    /// The same message at another QoS.
    #[must_use]
    pub fn at(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// The same message with these properties.
    ///
    /// # Errors
    /// When one of them does not fit or its receiver would have to refuse it.
    pub fn with_properties(mut self, properties: &Properties) -> Result<Self, EncodeError> {
        self.fields = properties.encode()?;
        Ok(self)
    }

    /// The packet, without identifier, DUP and alias.
    pub(super) fn packet(&self) -> Publish<'_> {
        let mut publish = Publish::new(&self.topic, &self.payload).with_fields(Fields::from_validated([
            &self.fields,
            &[],
            &[],
        ]));
        publish.qos = self.qos;
        publish.retain = self.retain;
        publish.expiry_s = self.expiry_s;
        publish
    }
}

/// A message that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic, aliases resolved.
    pub topic: Box<str>,
    /// The body.
    pub payload: Bytes,
    /// Quality of service of the delivery.
    pub qos: Qos,
    /// RETAIN as the server sent it: before 5.0, and without Retain As Published, "was retained before".
    pub retain: bool,
    /// Whether it may have come before. At QoS 2 it has not: duplicates are kept from the application.
    pub dup: bool,
    /// Message Expiry Interval that remained when it was sent, in seconds.
    pub expiry_s: Option<u32>,
    /// Identifiers of the subscriptions that it matched.
    pub subscription_ids: Vec<NonZeroU32>,
    /// What goes with it; `None` if nothing does.
    pub properties: Option<Box<Properties>>,
}

impl Message {
    pub(super) fn new(topic: &str, publish: &Publish<'_>) -> Self {
        Self {
            topic: topic.into(),
            payload: Bytes::copy_from_slice(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            expiry_s: publish.expiry_s,
            subscription_ids: publish.subscription_ids().collect(),
            properties: Properties::decode(publish.fields()),
        }
    }
}
