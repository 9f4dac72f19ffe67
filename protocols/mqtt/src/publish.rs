//! PUBLISH (section 3.3), the packet that everything else exists for: decoded without a copy, encoded from a core
//! [`Message`] head first, so that a large payload can follow by reference.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};
use noctule_core::id::Qos;
use noctule_core::message::{self, Fields, Message};

use crate::carrier::Carrier;
use crate::cursor::Cursor;
use crate::error::{DecodeError, EncodeError};
use crate::framing::{Frame, MAX_REMAINING, varint_len};
use crate::property::{Value, Walk, binary_len, check, id, write_property, write_varint};
use crate::text;
use crate::version::{Direction, Version};

/// A decoded PUBLISH, borrowed from the read buffer.
#[derive(Clone, Debug, Default)]
pub struct Publish<'a> {
    /// Whether the sender says it may have sent it before [MQTT-3.3.1-1].
    pub dup: bool,
    /// Quality of service of this hop.
    pub qos: Qos,
    /// The RETAIN flag.
    pub retain: bool,
    /// Free of wildcards and U+0000; empty exactly when the alias stands for it, which only 5.0 allows.
    pub topic: &'a str,
    /// Topic Alias; whether it is within the announced maximum is the machine's to test.
    pub topic_alias: Option<NonZeroU16>,
    /// Present exactly when `qos` is above 0 [MQTT-2.2.1-2].
    pub packet_id: Option<NonZeroU16>,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// The body, untouched.
    pub payload: &'a [u8],
    passed: Passed<'a>,
    /// The property block if there are subscription identifiers in it.
    ids: &'a [u8],
}

/// What is passed on with a message: slices of its property block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passed<'a> {
    parts: [&'a [u8]; 3],
    /// A server may strew subscription identifiers through the block; beyond three runs the rest is copied together.
    gathered: Option<Box<[u8]>>,
}

impl<'a> Passed<'a> {
    pub(crate) fn from_fields(fields: Fields<'a>) -> Self {
        Self { parts: fields.parts(), gathered: None }
    }

    pub(crate) fn fields(&self) -> Fields<'_> {
        match &self.gathered {
            Some(all) => Fields::from_validated([all, &[], &[]]),
            None => Fields::from_validated(self.parts),
        }
    }
}

impl PartialEq for Passed<'_> {
    fn eq(&self, other: &Self) -> bool {
        let flat = |passed: &Self| passed.fields().parts().concat();
        flat(self) == flat(other)
    }
}

/// Collects the runs of a block that are passed on.
struct Runs<'a> {
    block: &'a [u8],
    /// Where the present run began.
    start: usize,
    passed: Passed<'a>,
    used: usize,
}

impl<'a> Runs<'a> {
    fn new(block: &'a [u8]) -> Self {
        Self { block, start: 0, passed: Passed::default(), used: 0 }
    }

    /// Leaves out `from..to`; the run before it ends.
    fn leave_out(&mut self, from: usize, to: usize) {
        let run = self.block.get(self.start..from).unwrap_or_default();
        self.start = to;
        if run.is_empty() {
            return;
        }
        match self.passed.parts.get_mut(self.used) {
            Some(part) => *part = run,
            None => {
                let mut all = match self.passed.gathered.take() {
                    Some(all) => all.into_vec(),
                    None => self.passed.parts.concat(),
                };
                all.extend_from_slice(run);
                self.passed.gathered = Some(all.into_boxed_slice());
            }
        }
        self.used += 1;
    }

    fn finish(mut self) -> Passed<'a> {
        self.leave_out(self.block.len(), self.block.len());
        self.passed
    }
}

/// What a block of PUBLISH or of the will says that is not passed on.
#[derive(Default)]
pub(crate) struct OneHop {
    pub(crate) expiry_s: Option<u32>,
    pub(crate) delay_s: Option<u32>,
    alias: Option<NonZeroU16>,
    has_ids: bool,
}

/// Checks the block of a PUBLISH or a will and parts what is passed on from what is not.
pub(crate) fn split_block<'a>(
    block: &'a [u8],
    carrier: Carrier,
) -> Result<(OneHop, Passed<'a>), DecodeError> {
    let mut hop = OneHop::default();
    let mut runs = Runs::new(block);
    let mut walk = Walk::new(block, carrier);
    loop {
        let from = block.len() - walk.left();
        let Some((id, value)) = walk.next()? else { break };
        match (id, value) {
            (id::MESSAGE_EXPIRY, Value::Number(seconds)) => hop.expiry_s = Some(seconds),
            (id::WILL_DELAY, Value::Number(seconds)) => hop.delay_s = Some(seconds),
            (id::TOPIC_ALIAS, Value::Number(alias)) => hop.alias = NonZeroU16::new(alias as u16),
            (id::SUBSCRIPTION_ID, _) => hop.has_ids = true,
            _ => continue,
        }
        runs.leave_out(from, block.len() - walk.left());
    }
    Ok((hop, runs.finish()))
}

impl<'a> Publish<'a> {
    /// A message at QoS 0 that nothing goes with.
    #[must_use]
    pub fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self { topic, payload, ..Self::default() }
    }

    /// What is passed on with the message: the properties without topic alias, expiry and subscription identifiers.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        self.passed.fields()
    }

    /// The same message with other fields; for a client that makes one.
    #[must_use]
    pub fn with_fields(mut self, fields: Fields<'a>) -> Self {
        self.passed = Passed::from_fields(fields);
        self
    }

    /// Subscription Identifiers, in order; only a server's PUBLISH has them [MQTT-3.3.4-6].
    pub fn subscription_ids(&self) -> impl Iterator<Item = NonZeroU32> + use<'a> {
        let mut walk = Walk::new(self.ids, Carrier::PublishToClient);
        std::iter::from_fn(move || {
            loop {
                match walk.next() {
                    Ok(Some((id::SUBSCRIPTION_ID, Value::Number(number)))) => return NonZeroU32::new(number),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return None,
                }
            }
        })
    }

    /// Writes the whole packet, as a client sends it: subscription identifiers are left out [MQTT-3.3.4-6].
    ///
    /// # Errors
    /// When something does not fit or its receiver would have to refuse it; nothing is written then.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let topic = self.topic.as_bytes();
        let alias = self.topic_alias.filter(|_| version.is_v5());
        if text::topic(topic, "topic").is_err() || topic.is_empty() && alias.is_none() {
            return Err(EncodeError::NotAllowed("topic name"));
        }
        let topic_len = binary_len(topic, "topic")?;
        let hop = HopProperties { alias, expiry_s: self.expiry_s, ids: &[], deliveries: 0 };
        let fields = self.fields();
        let sizes =
            Sizes::new(version, self.qos, self.packet_id, topic_len, &hop, fields.len(), self.payload.len())?;
        out.reserve(sizes.total());
        out.put_u8(first_byte(self.qos, self.dup, self.retain));
        write_varint(sizes.remaining, out);
        out.put_u16(topic.len() as u16);
        out.put_slice(topic);
        sizes.write_middle(version, self.packet_id, &hop, out);
        if version.is_v5() {
            for part in fields.parts() {
                out.put_slice(part);
            }
        }
        out.put_slice(self.payload);
        Ok(())
    }
}

impl PartialEq for Publish<'_> {
    fn eq(&self, other: &Self) -> bool {
        (
            self.dup,
            self.qos,
            self.retain,
            self.topic,
            self.topic_alias,
            self.packet_id,
            self.expiry_s,
            self.payload,
        ) == (
            other.dup,
            other.qos,
            other.retain,
            other.topic,
            other.topic_alias,
            other.packet_id,
            other.expiry_s,
            other.payload,
        ) && self.passed == other.passed
            && self.subscription_ids().eq(other.subscription_ids())
    }
}

/// Decodes a PUBLISH; the frame's type must be that.
///
/// # Errors
/// When the packet breaks a rule that can be judged without the connection's state.
#[inline]
pub fn decode_publish<'a>(
    version: Version,
    direction: Direction,
    frame: &Frame<'a>,
) -> Result<Publish<'a>, DecodeError> {
    let first = frame.first;
    let Some(qos) = Qos::from_level(first >> 1 & 0b11) else { return Err(DecodeError::PublishQos) };
    let dup = first & 0b1000 != 0;
    if dup && qos == Qos::AtMostOnce {
        return Err(DecodeError::PublishDup);
    }
    let mut cursor = Cursor::new(frame.body);
    let topic = text::topic(cursor.binary("topic")?, "topic")?;
    let packet_id = match qos {
        Qos::AtMostOnce => None,
        Qos::AtLeastOnce | Qos::ExactlyOnce => Some(cursor.packet_id()?),
    };
    let mut publish = Publish { dup, qos, retain: first & 1 != 0, topic, packet_id, ..Publish::default() };
    if version.is_v5() {
        match cursor.rest().split_first() {
            // Most messages have no properties.
            Some((0, payload)) => cursor = Cursor::new(payload),
            _ => {
                let len = cursor.varint("property length")?;
                let block = cursor.take(len as usize, "properties")?;
                properties(&mut publish, direction, block)?;
            }
        }
    }
    if topic.is_empty() && publish.topic_alias.is_none() {
        return Err(DecodeError::TopicEmpty("topic"));
    }
    publish.payload = cursor.rest();
    Ok(publish)
}

fn properties<'a>(
    publish: &mut Publish<'a>,
    direction: Direction,
    block: &'a [u8],
) -> Result<(), DecodeError> {
    let (hop, passed) = split_block(block, Carrier::publish(direction))?;
    publish.expiry_s = hop.expiry_s;
    publish.topic_alias = hop.alias;
    publish.passed = passed;
    if hop.has_ids {
        publish.ids = block;
    }
    Ok(())
}

/// What one recipient's PUBLISH has of its own; everything else is the message's.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishHead<'a> {
    /// Quality of service of this hop.
    pub qos: Qos,
    /// Whether it is sent again [MQTT-3.3.1-1].
    pub dup: bool,
    /// RETAIN as this recipient is to see it [MQTT-3.3.1-8 to 13].
    pub retain: bool,
    /// Exactly when `qos` is above 0.
    pub packet_id: Option<NonZeroU16>,
    /// Message Expiry Interval that remains, in seconds [MQTT-3.3.2-6].
    pub expiry_s: Option<u32>,
    /// Of every subscription that matched, 1 to 268,435,455 each [MQTT-3.3.4-3, MQTT-3.3.4-4].
    pub subscription_ids: &'a [NonZeroU32],
    /// Topic Alias and whether the topic goes along, as it must the first time (section 3.3.2.3.4).
    pub topic_alias: Option<TopicAlias>,
    /// How often the message was delivered before and came back to its queue: in 5.0 the user property
    /// [`DELIVERY_COUNT`], unless it is 0.
    pub deliveries: u32,
}

/// User property of a message that comes again out of a queue: how often it was delivered before.
pub const DELIVERY_COUNT: &str = "x-delivery-count";

/// A topic alias on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicAlias {
    /// The number.
    pub alias: NonZeroU16,
    /// Whether this packet makes the alias known; otherwise the topic is left empty.
    pub send_topic: bool,
}

/// Bytes of the whole PUBLISH that [`encode_publish_head`] and the payload make, to be held against the client's
/// Maximum Packet Size [MQTT-3.1.2-24].
///
/// # Errors
/// As for writing it.
pub fn publish_len(
    version: Version,
    message: &Message,
    head: &PublishHead<'_>,
) -> Result<usize, EncodeError> {
    Ok(plan(version, message, head)?.total())
}

/// Writes a PUBLISH up to its payload; [`Message::payload`] is to follow at once. In 3.x the head's 5.0 parts are left
/// out.
///
/// # Errors
/// When the packet would be too long, a subscription identifier is out of range, or the packet identifier does not go
/// with the QoS; nothing is written then.
#[inline]
pub fn encode_publish_head(
    version: Version,
    message: &Message,
    head: &PublishHead<'_>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let sizes = plan(version, message, head)?;
    let payload = message.payload().len();
    // A small payload is going to be copied behind its head, so room is made for both at once.
    out.reserve(if payload <= COPY_BELOW { sizes.total() } else { sizes.total() - payload });
    out.put_u8(first_byte(head.qos, head.dup, head.retain));
    write_varint(sizes.remaining, out);
    out.put_slice(wire_topic(version, message, head));
    sizes.write_middle(version, head.packet_id, &HopProperties::of(head), out);
    if version.is_v5() {
        out.put_slice(message.wire_fields());
    }
    Ok(())
}

/// Writes a message that has come as a PUBLISH at QoS 1 under `packet_id`, or at QoS 0, with nothing else of this hop's own,
/// payload included.
///
/// # Errors
/// When the packet would be too long; nothing is written then.
#[inline]
pub(crate) fn encode_passed_on(
    version: Version,
    publish: &message::Publish<'_>,
    packet_id: Option<NonZeroU16>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let topic = publish.topic.as_str().as_bytes();
    let hop = HopProperties { alias: None, expiry_s: publish.expiry_s, ids: &[], deliveries: 0 };
    let (fields, payload) = (publish.fields, publish.payload);
    let sizes = Sizes::new(version, qos, packet_id, 2 + topic.len(), &hop, fields.len(), payload.len())?;
    out.reserve(sizes.total());
    let (start, used) = packet_start(first_byte(qos, false, false), sizes.remaining, topic.len());
    out.put_slice(start.get(..used).unwrap_or_default());
    out.put_slice(topic);
    sizes.write_middle(version, packet_id, &hop, out);
    if version.is_v5() {
        for part in fields.parts() {
            out.put_slice(part);
        }
    }
    out.put_slice(payload);
    Ok(())
}

/// Payloads up to this are expected to be copied, larger ones to be written by reference, in bytes.
const COPY_BELOW: usize = 16 * 1024;

#[inline]
fn plan(version: Version, message: &Message, head: &PublishHead<'_>) -> Result<Sizes, EncodeError> {
    let topic = wire_topic(version, message, head);
    let fields = message.wire_fields().len();
    let hop = HopProperties::of(head);
    Sizes::new(version, head.qos, head.packet_id, topic.len(), &hop, fields, message.payload().len())
}

/// Length and topic; only the length, 0, where an alias stands for it.
#[inline]
fn wire_topic<'m>(version: Version, message: &'m Message, head: &PublishHead<'_>) -> &'m [u8] {
    match head.topic_alias {
        Some(TopicAlias { send_topic: false, .. }) if version.is_v5() => &[0, 0],
        _ => message.wire_topic(),
    }
}

/// A number in decimal, without an allocation.
struct Digits {
    text: [u8; 10],
    start: usize,
}

impl Digits {
    fn of(mut number: u32) -> Self {
        let (mut text, mut start) = ([b'0'; 10], 10);
        for place in text.iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            start -= 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        Self { text, start }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.text.get(self.start..).unwrap_or_default()).unwrap_or_default()
    }
}

/// The properties that belong to one hop.
struct HopProperties<'a> {
    alias: Option<NonZeroU16>,
    expiry_s: Option<u32>,
    ids: &'a [NonZeroU32],
    deliveries: u32,
}

impl<'a> HopProperties<'a> {
    #[inline]
    fn of(head: &PublishHead<'a>) -> Self {
        let alias = head.topic_alias.map(|alias| alias.alias);
        Self { alias, expiry_s: head.expiry_s, ids: head.subscription_ids, deliveries: head.deliveries }
    }

    #[inline]
    fn len(&self) -> Result<usize, EncodeError> {
        let mut len = if self.alias.is_some() { 3 } else { 0 } + if self.expiry_s.is_some() { 5 } else { 0 };
        if self.deliveries > 0 {
            len += 1 + 2 + DELIVERY_COUNT.len() + 2 + Digits::of(self.deliveries).as_str().len();
        }
        for id in self.ids {
            len += check(id::SUBSCRIPTION_ID, Value::Number(id.get()), Carrier::PublishToClient)?;
        }
        Ok(len)
    }

    #[inline]
    fn write(&self, out: &mut BytesMut) {
        if let Some(alias) = self.alias {
            out.put_u8(id::TOPIC_ALIAS);
            out.put_u16(alias.get());
        }
        if let Some(seconds) = self.expiry_s {
            out.put_u8(id::MESSAGE_EXPIRY);
            out.put_u32(seconds);
        }
        if self.deliveries > 0 {
            out.put_u8(id::USER_PROPERTY);
            for text in [DELIVERY_COUNT, Digits::of(self.deliveries).as_str()] {
                out.put_u16(text.len() as u16);
                out.put_slice(text.as_bytes());
            }
        }
        for id in self.ids {
            write_property(id::SUBSCRIPTION_ID, Value::Number(id.get()), out);
        }
    }
}

/// The lengths of a PUBLISH, worked out before a byte is written.
struct Sizes {
    remaining: u32,
    block: u32,
}

impl Sizes {
    #[inline]
    fn new(
        version: Version,
        qos: Qos,
        packet_id: Option<NonZeroU16>,
        topic_len: usize,
        hop: &HopProperties<'_>,
        fields_len: usize,
        payload_len: usize,
    ) -> Result<Self, EncodeError> {
        if packet_id.is_some() != (qos != Qos::AtMostOnce) {
            return Err(EncodeError::PacketId);
        }
        let mut remaining = topic_len + if packet_id.is_some() { 2 } else { 0 } + payload_len;
        let mut block = 0;
        if version.is_v5() {
            block = hop.len()? + fields_len;
            remaining += block + varint_len(u32::try_from(block).unwrap_or(u32::MAX));
        }
        match u32::try_from(remaining) {
            // The block is a part of what remains, so it fits as well.
            Ok(fits) if fits <= MAX_REMAINING => Ok(Self { remaining: fits, block: block as u32 }),
            _ => Err(EncodeError::PacketTooLong(remaining)),
        }
    }

    #[inline]
    fn total(&self) -> usize {
        1 + varint_len(self.remaining) + self.remaining as usize
    }

    /// Packet identifier and, in 5.0, property length and the properties of this hop.
    #[inline]
    fn write_middle(
        &self,
        version: Version,
        packet_id: Option<NonZeroU16>,
        hop: &HopProperties<'_>,
        out: &mut BytesMut,
    ) {
        if let Some(packet_id) = packet_id {
            out.put_u16(packet_id.get());
        }
        if version.is_v5() {
            write_varint(self.block, out);
            hop.write(out);
        }
    }
}

/// The fixed header and the length of the topic, and how many of these bytes they are: each piece that is written by itself
/// costs what a message costs to copy.
#[inline]
fn packet_start(first_byte: u8, remaining: u32, topic_len: usize) -> ([u8; 7], usize) {
    let mut bytes = [0; 7];
    let mut rest = bytes.as_mut_slice();
    rest.put_u8(first_byte);
    // At most four bytes: who has planned the packet has refused a longer one.
    write_varint(remaining, &mut rest);
    // A TopicName is at most 65,535 bytes.
    rest.put_u16(topic_len as u16);
    let left = rest.len();
    (bytes, bytes.len() - left)
}

#[inline]
fn first_byte(qos: Qos, dup: bool, retain: bool) -> u8 {
    0x30 | u8::from(dup) << 3 | qos.level() << 1 | u8::from(retain)
}
