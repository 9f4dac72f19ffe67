//! One application message, laid out so that every wire class is made of slices of it.
//!
//! A message is copied once, out of the connection's read buffer, into one pooled allocation:
//! `topic length (u16, big endian) · topic · fields · payload`. The first two parts are the head of an MQTT 3
//! PUBLISH as they stand; the fields are kept in MQTT 5's property encoding (without those that belong to one hop:
//! topic alias, subscription identifiers, message expiry), so that an MQTT 5 PUBLISH needs them verbatim and other
//! protocols read them with [`Fields::iter`]. What differs per recipient (packet id, DUP, identifiers, the expiry
//! that counts down) is written by the codec at the moment of sending.

mod pool;

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::id::{Qos, SessionId};
use crate::topic::TopicName;

pub use pool::{Depot, MessagePool};

/// Property identifiers of MQTT 5 (section 2.2.2.2) in which fields are stored.
pub mod field {
    /// Payload Format Indicator, one byte: 0 bytes, 1 UTF-8.
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    /// Content Type, a UTF-8 string.
    pub const CONTENT_TYPE: u8 = 0x03;
    /// Response Topic, a UTF-8 string.
    pub const RESPONSE_TOPIC: u8 = 0x08;
    /// Correlation Data, binary.
    pub const CORRELATION_DATA: u8 = 0x09;
    /// User Property, a pair of UTF-8 strings; repeats, in order.
    pub const USER_PROPERTY: u8 = 0x26;
}

/// The fields of a message as borrowed encoded bytes, in up to three pieces.
///
/// Three, because a PUBLISH may carry the two properties that are not passed on (message expiry and topic alias) at
/// most once each: what lies before, between and after them is passed on without a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    parts: [&'a [u8]; 3],
}

/// One decoded field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// 1 when the payload is UTF-8 text.
    PayloadFormat(u8),
    /// MIME type or anything the applications agreed on.
    ContentType(&'a str),
    /// Where an answer is expected.
    ResponseTopic(&'a str),
    /// What the asker recognises its answer by.
    CorrelationData(&'a [u8]),
    /// Name and value, in the publisher's order, duplicates kept.
    UserProperty(&'a str, &'a str),
}

impl<'a> Fields<'a> {
    /// Fields from pieces that a codec has validated; each piece holds whole properties.
    #[must_use]
    pub fn from_validated(parts: [&'a [u8]; 3]) -> Self {
        Self { parts }
    }

    /// The encoded pieces, in order.
    #[must_use]
    pub fn parts(&self) -> [&'a [u8]; 3] {
        self.parts
    }

    /// Encoded length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The fields, decoded one by one; stops at the first byte that makes no sense.
    pub fn iter(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        self.parts.into_iter().flat_map(|part| FieldIter { rest: part })
    }
}

struct FieldIter<'a> {
    rest: &'a [u8],
}

impl<'a> FieldIter<'a> {
    fn binary(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        self.rest = rest;
        Some(value)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.binary()?).ok()
    }
}

impl<'a> Iterator for FieldIter<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        match *tag {
            field::PAYLOAD_FORMAT => {
                let (value, rest) = self.rest.split_first()?;
                self.rest = rest;
                Some(Field::PayloadFormat(*value))
            }
            field::CONTENT_TYPE => self.text().map(Field::ContentType),
            field::RESPONSE_TOPIC => self.text().map(Field::ResponseTopic),
            field::CORRELATION_DATA => self.binary().map(Field::CorrelationData),
            field::USER_PROPERTY => {
                let name = self.text()?;
                Some(Field::UserProperty(name, self.text()?))
            }
            _ => None,
        }
    }
}

/// A message on its way in, borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// Where to, aliases already resolved.
    pub topic: TopicName<'a>,
    /// What is passed on with it.
    pub fields: Fields<'a>,
    /// The body, untouched.
    pub payload: &'a [u8],
    /// Quality of service of this hop.
    pub qos: Qos,
    /// Whether it replaces the topic's retained message.
    pub retain: bool,
    /// Whether the sender says it may have sent it before.
    pub dup: bool,
    /// Present exactly when `qos` is above 0 [MQTT-2.2.1-2].
    pub packet_id: Option<NonZeroU16>,
    /// Message Expiry Interval in seconds, if any.
    pub expiry_s: Option<u32>,
}

impl Publish<'_> {
    /// Bytes of the [`Message`]'s buffer that hold it.
    fn message_bytes(&self) -> usize {
        2 + self.topic.as_str().len() + self.fields.len() + self.payload.len()
    }
}

/// A message as a store gives it back.
#[derive(Clone, Copy, Debug)]
pub struct Restored<'a> {
    /// Where it was published to.
    pub topic: TopicName<'a>,
    /// The fields, as [`Message::wire_fields`] gave them.
    pub fields: &'a [u8],
    /// The body.
    pub payload: &'a [u8],
    /// The quality of service it was published with.
    pub qos: Qos,
    /// The RETAIN flag it was published with.
    pub retain: bool,
    /// Monotonic milliseconds after which nobody is to receive it; `u64::MAX` for never.
    pub expires_ms: u64,
    /// The store's number for it.
    pub record: u64,
}

impl<'a> Restored<'a> {
    /// The same as it came in; what only a store knows is left out.
    fn publish(&self) -> Publish<'a> {
        Publish {
            topic: self.topic,
            fields: Fields::from_validated([self.fields, &[], &[]]),
            payload: self.payload,
            qos: self.qos,
            retain: self.retain,
            dup: false,
            packet_id: None,
            expiry_s: None,
        }
    }
}

/// One message, shared by everybody who is to receive it.
#[derive(Debug)]
pub struct Message {
    /// `topic length · topic · fields · payload`.
    buf: Vec<u8>,
    topic_len: u16,
    fields_len: u32,
    qos: Qos,
    retain: bool,
    /// Monotonic milliseconds after which nobody is to receive it; `u64::MAX` for never.
    expires_ms: u64,
    publisher: SessionId,
    /// The store's number for it; 0 when it was never handed to the store.
    record: u64,
}

impl Message {
    /// What every message costs besides its topic, fields and payload, in bytes; queues count it.
    pub const OVERHEAD: usize = size_of::<Self>() + 32;

    fn empty() -> Self {
        Self {
            buf: Vec::new(),
            topic_len: 0,
            fields_len: 0,
            qos: Qos::AtMostOnce,
            retain: false,
            expires_ms: u64::MAX,
            publisher: SessionId::NOBODY,
            record: 0,
        }
    }

    /// A message outside any pool.
    #[must_use]
    pub fn new(publish: &Publish<'_>, publisher: SessionId, mono_ms: u64) -> Arc<Self> {
        let mut message = Self::empty();
        message.fill(publish, publisher, mono_ms);
        Arc::new(message)
    }

    /// A message out of a store. Nobody is its publisher any more: whom No Local kept it from was decided before.
    #[must_use]
    pub fn restore(restored: &Restored<'_>) -> Arc<Self> {
        let mut message = Self::empty();
        message.fill_restored(restored);
        Arc::new(message)
    }

    fn fill_restored(&mut self, restored: &Restored<'_>) {
        self.fill(&restored.publish(), SessionId::NOBODY, 0);
        self.expires_ms = restored.expires_ms;
        self.record = restored.record;
    }

    fn fill(&mut self, publish: &Publish<'_>, publisher: SessionId, mono_ms: u64) {
        let topic = publish.topic.as_str().as_bytes();
        // A TopicName is at most 65,535 bytes and a packet at most 268,435,455: both casts are exact.
        self.topic_len = topic.len() as u16;
        self.fields_len = publish.fields.len() as u32;
        self.buf.clear();
        self.buf.reserve_exact(publish.message_bytes());
        self.buf.extend_from_slice(&self.topic_len.to_be_bytes());
        self.buf.extend_from_slice(topic);
        for part in publish.fields.parts() {
            self.buf.extend_from_slice(part);
        }
        self.buf.extend_from_slice(publish.payload);
        self.qos = publish.qos;
        self.retain = publish.retain;
        self.expires_ms = match publish.expiry_s {
            Some(seconds) => mono_ms.saturating_add(u64::from(seconds) * 1000),
            None => u64::MAX,
        };
        self.publisher = publisher;
        self.record = 0;
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> TopicName<'_> {
        let bytes = self.buf.get(2..2 + usize::from(self.topic_len)).unwrap_or_default();
        TopicName::from_validated(std::str::from_utf8(bytes).unwrap_or_default())
    }

    /// `topic length · topic`, as both MQTT 3 and MQTT 5 put it on the wire.
    #[must_use]
    pub fn wire_topic(&self) -> &[u8] {
        self.buf.get(..2 + usize::from(self.topic_len)).unwrap_or_default()
    }

    /// The fields in MQTT 5's property encoding.
    #[must_use]
    pub fn wire_fields(&self) -> &[u8] {
        let start = 2 + usize::from(self.topic_len);
        self.buf.get(start..start + self.fields_len as usize).unwrap_or_default()
    }

    /// The fields.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields { parts: [self.wire_fields(), &[], &[]] }
    }

    /// The body.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.buf.get(2 + usize::from(self.topic_len) + self.fields_len as usize..).unwrap_or_default()
    }

    /// The quality of service it was published with.
    #[must_use]
    pub fn qos(&self) -> Qos {
        self.qos
    }

    /// The RETAIN flag it was published with.
    #[must_use]
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// Who sent it, for the No Local option.
    #[must_use]
    pub fn publisher(&self) -> SessionId {
        self.publisher
    }

    /// The store's number for it; 0 when the store does not know it.
    #[must_use]
    pub fn record(&self) -> u64 {
        self.record
    }

    /// Gives a message that is still its maker's alone the store's number.
    pub fn set_record(&mut self, record: u64) {
        self.record = record;
    }

    /// Gives a message that is still its maker's alone another end of its life, monotonic ms.
    pub fn set_expires_ms(&mut self, expires_ms: u64) {
        self.expires_ms = expires_ms;
    }

    /// Monotonic milliseconds after which it is nobody's; `u64::MAX` for never.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// Whether it has expired [MQTT-3.3.2-5].
    #[must_use]
    pub fn is_expired(&self, mono_ms: u64) -> bool {
        mono_ms >= self.expires_ms
    }

    /// Message Expiry Interval to send on: what remains, in whole seconds rounded up [MQTT-3.3.2-6].
    #[must_use]
    pub fn remaining_s(&self, mono_ms: u64) -> Option<u32> {
        (self.expires_ms != u64::MAX).then(|| {
            u32::try_from(self.expires_ms.saturating_sub(mono_ms).div_ceil(1000)).unwrap_or(u32::MAX)
        })
    }

    /// A copy under another of the store's numbers.
    #[must_use]
    pub fn with_record(&self, record: u64) -> Arc<Self> {
        Arc::new(Self { buf: self.buf.as_slice().into(), record, ..*self })
    }

    /// Memory it is charged with, in bytes: what it holds, which may be more than it needs.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.buf.capacity() + Self::OVERHEAD
    }

    /// The message, or a copy of the right size if it holds far more than it needs because its memory was another's
    /// before: for whoever keeps it for long.
    #[must_use]
    pub fn right_sized(self: Arc<Self>) -> Arc<Self> {
        /// Bytes too many that are worth no copy.
        const SLACK: usize = 32;
        if self.buf.capacity() <= self.buf.len() + SLACK {
            return self;
        }
        Arc::new(Self { buf: self.buf.as_slice().into(), ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(payload: &[u8]) -> Publish<'_> {
        Publish {
            topic: TopicName::from_validated("t"),
            fields: Fields::default(),
            payload,
            qos: Qos::AtLeastOnce,
            retain: true,
            dup: false,
            packet_id: None,
            expiry_s: Some(5),
        }
    }

    #[test]
    fn a_message_in_a_larger_ones_memory_is_charged_for_all_of_it_and_its_copy_is_not() {
        let mut pool = MessagePool::default();
        let large = pool.take(&publish(&[7; 500]), SessionId::NOBODY, 0);
        let cost = large.cost();
        pool.give_back(large);
        let mut small = pool.take(&publish(b"x"), SessionId::NOBODY, 3);
        assert_eq!(small.cost(), cost);
        Arc::get_mut(&mut small).unwrap().set_record(9);
        let copy = Arc::clone(&small).right_sized();
        assert_eq!(copy.cost(), Message::OVERHEAD + 4);
        assert_eq!((copy.wire_topic(), copy.payload()), (small.wire_topic(), small.payload()));
        let told = |message: &Message| {
            (message.qos(), message.retain(), message.expires_ms(), message.publisher(), message.record())
        };
        assert_eq!(told(&copy), told(&small));
        assert!(Arc::ptr_eq(&copy, &Arc::clone(&copy).right_sized()), "what fits is not copied");
    }
}
