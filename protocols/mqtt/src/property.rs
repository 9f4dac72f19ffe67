//! The properties of MQTT 5.0 (section 2.2.2): one table says type, range, place and repetition of each; one walk
//! checks a block against it; one struct holds what a block said, for every packet but PUBLISH.
//!
//! PUBLISH and the will pass most of theirs on unread: `publish.rs` uses the walk and keeps slices.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};
use noctule_core::id::Qos;

use crate::carrier::Carrier;
use crate::cursor::Cursor;
use crate::error::{DecodeError, EncodeError};
use crate::framing::varint_len;
use crate::text;

/// How a property's value is encoded (section 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Byte,
    TwoByte,
    FourByte,
    VarInt,
    Text,
    Binary,
    Pair,
}

/// Which values of its kind a property may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Any,
    Bool,
    NotZero,
    TopicName,
}

/// One row of the table.
#[derive(Debug)]
struct Rule {
    id: u8,
    name: &'static str,
    kind: Kind,
    range: Range,
    carriers: u32,
    repeats: u32,
    clause: &'static str,
}

/// Identifiers (table 2-4).
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTH_METHOD: u8 = 0x15;
    pub(crate) const AUTH_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_ID_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_AVAILABLE: u8 = 0x2A;
}

const CONNECT: u32 = Carrier::Connect.bit();
const WILL: u32 = Carrier::Will.bit();
const CONNACK: u32 = Carrier::ConnAck.bit();
const PUBLISH: u32 = Carrier::PublishToServer.bit() | Carrier::PublishToClient.bit();
const TO_CLIENT: u32 = Carrier::PublishToClient.bit();
const ACKS: u32 =
    Carrier::PubAck.bit() | Carrier::PubRec.bit() | Carrier::PubRel.bit() | Carrier::PubComp.bit();
const SUBSCRIBE: u32 = Carrier::Subscribe.bit();
const UNSUBSCRIBE: u32 = Carrier::Unsubscribe.bit();
const SUBACKS: u32 = Carrier::SubAck.bit() | Carrier::UnsubAck.bit();
const CLIENT_BYE: u32 = Carrier::DisconnectToServer.bit();
const SERVER_BYE: u32 = Carrier::DisconnectToClient.bit();
const AUTH: u32 = Carrier::AuthToServer.bit() | Carrier::AuthToClient.bit();
const EVERYWHERE: u32 = CONNECT
    | WILL
    | CONNACK
    | PUBLISH
    | ACKS
    | SUBSCRIBE
    | UNSUBSCRIBE
    | SUBACKS
    | CLIENT_BYE
    | SERVER_BYE
    | AUTH;
const NEVER: u32 = 0;

const fn rule(
    id: u8,
    name: &'static str,
    kind: Kind,
    range: Range,
    carriers: u32,
    repeats: u32,
    clause: &'static str,
) -> Rule {
    Rule { id, name, kind, range, carriers, repeats, clause }
}

/// Table 2-4, with the ranges, senders and repetitions that the packets' own sections add. Ascending by identifier.
#[rustfmt::skip]
static RULES: [Rule; 27] = [
    rule(id::PAYLOAD_FORMAT,       "payload format indicator",      Kind::Byte,     Range::Bool,      PUBLISH | WILL, NEVER, "section 3.3.2.3.2"),
    rule(id::MESSAGE_EXPIRY,       "message expiry interval",       Kind::FourByte, Range::Any,       PUBLISH | WILL, NEVER, "section 3.3.2.3.3"),
    rule(id::CONTENT_TYPE,         "content type",                  Kind::Text,     Range::Any,       PUBLISH | WILL, NEVER, "section 3.3.2.3.9"),
    rule(id::RESPONSE_TOPIC,       "response topic",                Kind::Text,     Range::TopicName, PUBLISH | WILL, NEVER, "MQTT-3.3.2-14"),
    rule(id::CORRELATION_DATA,     "correlation data",              Kind::Binary,   Range::Any,       PUBLISH | WILL, NEVER, "section 3.3.2.3.6"),
    rule(id::SUBSCRIPTION_ID,      "subscription identifier",       Kind::VarInt,   Range::NotZero,   TO_CLIENT | SUBSCRIBE, TO_CLIENT, "section 3.8.2.1.2"),
    rule(id::SESSION_EXPIRY,       "session expiry interval",       Kind::FourByte, Range::Any,       CONNECT | CONNACK | CLIENT_BYE, NEVER, "MQTT-3.14.2-2"),
    rule(id::ASSIGNED_CLIENT_ID,   "assigned client identifier",    Kind::Text,     Range::Any,       CONNACK, NEVER, "section 3.2.2.3.7"),
    rule(id::SERVER_KEEP_ALIVE,    "server keep alive",             Kind::TwoByte,  Range::Any,       CONNACK, NEVER, "section 3.2.2.3.14"),
    rule(id::AUTH_METHOD,          "authentication method",         Kind::Text,     Range::Any,       CONNECT | CONNACK | AUTH, NEVER, "section 3.1.2.11.9"),
    rule(id::AUTH_DATA,            "authentication data",           Kind::Binary,   Range::Any,       CONNECT | CONNACK | AUTH, NEVER, "section 3.1.2.11.10"),
    rule(id::REQUEST_PROBLEM,      "request problem information",   Kind::Byte,     Range::Bool,      CONNECT, NEVER, "section 3.1.2.11.7"),
    rule(id::WILL_DELAY,           "will delay interval",           Kind::FourByte, Range::Any,       WILL, NEVER, "section 3.1.3.2.2"),
    rule(id::REQUEST_RESPONSE,     "request response information",  Kind::Byte,     Range::Bool,      CONNECT, NEVER, "section 3.1.2.11.6"),
    rule(id::RESPONSE_INFORMATION, "response information",          Kind::Text,     Range::Any,       CONNACK, NEVER, "section 3.2.2.3.15"),
    rule(id::SERVER_REFERENCE,     "server reference",              Kind::Text,     Range::Any,       CONNACK | SERVER_BYE, NEVER, "section 3.14.2.2.5"),
    rule(id::REASON_STRING,        "reason string",                 Kind::Text,     Range::Any,       CONNACK | ACKS | SUBACKS | CLIENT_BYE | SERVER_BYE | AUTH, NEVER, "section 3.4.2.2.2"),
    rule(id::RECEIVE_MAXIMUM,      "receive maximum",               Kind::TwoByte,  Range::NotZero,   CONNECT | CONNACK, NEVER, "section 3.1.2.11.3"),
    rule(id::TOPIC_ALIAS_MAXIMUM,  "topic alias maximum",           Kind::TwoByte,  Range::Any,       CONNECT | CONNACK, NEVER, "section 3.1.2.11.5"),
    rule(id::TOPIC_ALIAS,          "topic alias",                   Kind::TwoByte,  Range::NotZero,   PUBLISH, NEVER, "MQTT-3.3.2-8"),
    rule(id::MAXIMUM_QOS,          "maximum QoS",                   Kind::Byte,     Range::Bool,      CONNACK, NEVER, "section 3.2.2.3.4"),
    rule(id::RETAIN_AVAILABLE,     "retain available",              Kind::Byte,     Range::Bool,      CONNACK, NEVER, "section 3.2.2.3.5"),
    rule(id::USER_PROPERTY,        "user property",                 Kind::Pair,     Range::Any,       EVERYWHERE, EVERYWHERE, "section 3.3.2.3.7"),
    rule(id::MAXIMUM_PACKET_SIZE,  "maximum packet size",           Kind::FourByte, Range::NotZero,   CONNECT | CONNACK, NEVER, "section 3.1.2.11.4"),
    rule(id::WILDCARD_AVAILABLE,   "wildcard subscription available", Kind::Byte,   Range::Bool,      CONNACK, NEVER, "section 3.2.2.3.11"),
    rule(id::SUBSCRIPTION_ID_AVAILABLE, "subscription identifiers available", Kind::Byte, Range::Bool, CONNACK, NEVER, "section 3.2.2.3.12"),
    rule(id::SHARED_AVAILABLE,     "shared subscription available", Kind::Byte,     Range::Bool,      CONNACK, NEVER, "section 3.2.2.3.13"),
];

/// Row of each identifier, 255 for those that do not exist. Identifiers stay under 64, so a bit each tells repeats.
static ROW: [u8; 64] = {
    let mut rows = [u8::MAX; 64];
    let mut row = 0;
    while row < RULES.len() {
        rows[RULES[row].id as usize] = row as u8;
        row += 1;
    }
    rows
};

fn find(id: u32) -> Option<&'static Rule> {
    let row = ROW.get(usize::try_from(id).ok()?)?;
    RULES.get(usize::from(*row))
}

/// The clause that gives a property its range.
pub(crate) fn clause(id: u8) -> &'static str {
    find(u32::from(id)).map_or("section 2.2.2.2", |rule| rule.clause)
}

/// A checked value; numbers of one to four bytes are all in `Number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

/// Goes through a property block and checks each against the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    cursor: Cursor<'a>,
    carrier: Carrier,
    seen: u64,
}

impl<'a> Walk<'a> {
    /// A walk through `block`, which is what follows the property length.
    pub(crate) fn new(block: &'a [u8], carrier: Carrier) -> Self {
        Self { cursor: Cursor::new(block), carrier, seen: 0 }
    }

    /// Bytes not yet walked.
    pub(crate) fn left(&self) -> usize {
        self.cursor.rest().len()
    }

    /// The next property, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u8, Value<'a>)>, DecodeError> {
        if self.cursor.is_empty() {
            return Ok(None);
        }
        // An identifier is a variable byte integer, though none of today's needs a second byte (section 2.2.2.2).
        let id = self.cursor.varint("property identifier")?;
        let rule = find(id).ok_or(DecodeError::PropertyUnknown(id))?;
        if rule.carriers & self.carrier.bit() == 0 {
            return Err(match (rule.id, self.carrier) {
                (id::SUBSCRIPTION_ID, Carrier::PublishToServer) => DecodeError::SubscriptionIdFromClient,
                _ => DecodeError::PropertyMisplaced { id: rule.id, carrier: self.carrier.name() },
            });
        }
        let bit = 1 << (rule.id & 63);
        if self.seen & bit != 0 && rule.repeats & self.carrier.bit() == 0 {
            return Err(DecodeError::PropertyRepeated(rule.id));
        }
        self.seen |= bit;
        Ok(Some((rule.id, self.value(rule)?)))
    }

    fn value(&mut self, rule: &Rule) -> Result<Value<'a>, DecodeError> {
        let number = match rule.kind {
            Kind::Byte => u32::from(self.cursor.u8(rule.name)?),
            Kind::TwoByte => u32::from(self.cursor.u16(rule.name)?),
            Kind::FourByte => self.cursor.u32(rule.name)?,
            Kind::VarInt => self.cursor.varint(rule.name)?,
            Kind::Binary => return Ok(Value::Binary(self.cursor.binary(rule.name)?)),
            Kind::Pair => {
                let name = self.cursor.text(rule.name)?;
                return Ok(Value::Pair(name, self.cursor.text(rule.name)?));
            }
            Kind::Text => {
                let bytes = self.cursor.binary(rule.name)?;
                if rule.range == Range::TopicName {
                    if bytes.is_empty() {
                        return Err(DecodeError::TopicEmpty(rule.name));
                    }
                    return Ok(Value::Text(text::topic(bytes, rule.name)?));
                }
                return Ok(Value::Text(text::text(bytes, rule.name)?));
            }
        };
        let fits = match rule.range {
            Range::Bool => number <= 1,
            Range::NotZero => number != 0,
            Range::Any | Range::TopicName => true,
        };
        if fits {
            Ok(Value::Number(number))
        } else {
            Err(DecodeError::PropertyValue { id: rule.id, value: number })
        }
    }
}

/// User properties: names and values in order, duplicates kept [MQTT-3.1.3-10, MQTT-3.3.2-18].
#[derive(Clone, Copy, Debug)]
pub enum UserProperties<'a> {
    /// Inside a property block that a decoder has validated.
    Wire(WireProperties<'a>),
    /// To be sent.
    Given(&'a [(&'a str, &'a str)]),
}

/// A property block that a decoder has validated.
#[derive(Clone, Copy, Debug)]
pub struct WireProperties<'a> {
    block: &'a [u8],
    carrier: Carrier,
}

impl Default for UserProperties<'_> {
    fn default() -> Self {
        Self::Given(&[])
    }
}

impl<'a> UserProperties<'a> {
    /// Name and value of each.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let (mut walk, given): (_, &[_]) = match self {
            Self::Wire(wire) => (Walk::new(wire.block, wire.carrier), &[]),
            Self::Given(given) => (Walk::new(&[], Carrier::Connect), given),
        };
        let wire = std::iter::from_fn(move || {
            loop {
                match walk.next() {
                    Ok(Some((_, Value::Pair(name, value)))) => return Some((name, value)),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return None,
                }
            }
        });
        wire.chain(given.iter().copied())
    }

    /// Whether there is none.
    #[must_use]
    #[inline]
    pub fn is_empty(self) -> bool {
        match self {
            // No property at all, which is what most acknowledgements have.
            Self::Wire(wire) if wire.block.is_empty() => true,
            Self::Wire(_) => self.iter().next().is_none(),
            Self::Given(given) => given.is_empty(),
        }
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Everything that a block of any packet but PUBLISH can say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Properties<'a> {
    pub(crate) subscription_id: Option<NonZeroU32>,
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) assigned_client_id: Option<&'a str>,
    pub(crate) server_keep_alive_s: Option<u16>,
    pub(crate) auth_method: Option<&'a str>,
    pub(crate) auth_data: Option<&'a [u8]>,
    pub(crate) request_problem: Option<bool>,
    pub(crate) request_response: Option<bool>,
    pub(crate) response_information: Option<&'a str>,
    pub(crate) server_reference: Option<&'a str>,
    pub(crate) reason_string: Option<&'a str>,
    pub(crate) receive_maximum: Option<NonZeroU16>,
    pub(crate) topic_alias_maximum: Option<u16>,
    pub(crate) maximum_qos: Option<Qos>,
    pub(crate) retain_available: Option<bool>,
    pub(crate) maximum_packet_size: Option<NonZeroU32>,
    pub(crate) wildcard_available: Option<bool>,
    pub(crate) subscription_id_available: Option<bool>,
    pub(crate) shared_available: Option<bool>,
    pub(crate) user_properties: UserProperties<'a>,
}

impl<'a> Properties<'a> {
    /// Reads property length and block.
    pub(crate) fn decode(cursor: &mut Cursor<'a>, carrier: Carrier) -> Result<Self, DecodeError> {
        let len = cursor.varint("property length")?;
        let block = cursor.take(len as usize, "properties")?;
        let mut properties = Self::default();
        let mut walk = Walk::new(block, carrier);
        while let Some((id, value)) = walk.next()? {
            properties.set(id, value, WireProperties { block, carrier });
        }
        if properties.auth_data.is_some() && properties.auth_method.is_none() {
            return Err(DecodeError::AuthDataWithoutMethod);
        }
        Ok(properties)
    }

    fn set(&mut self, id: u8, value: Value<'a>, wire: WireProperties<'a>) {
        match value {
            Value::Number(number) => self.set_number(id, number),
            Value::Text(text) => match id {
                id::ASSIGNED_CLIENT_ID => self.assigned_client_id = Some(text),
                id::AUTH_METHOD => self.auth_method = Some(text),
                id::RESPONSE_INFORMATION => self.response_information = Some(text),
                id::SERVER_REFERENCE => self.server_reference = Some(text),
                id::REASON_STRING => self.reason_string = Some(text),
                _ => {}
            },
            Value::Binary(bytes) => self.auth_data = Some(bytes),
            Value::Pair(..) => self.user_properties = UserProperties::Wire(wire),
        }
    }

    fn set_number(&mut self, id: u8, number: u32) {
        // The walk has tested the width of each, so nothing is cut off.
        let short = number as u16;
        match id {
            id::SUBSCRIPTION_ID => self.subscription_id = NonZeroU32::new(number),
            id::SESSION_EXPIRY => self.session_expiry_s = Some(number),
            id::SERVER_KEEP_ALIVE => self.server_keep_alive_s = Some(short),
            id::REQUEST_PROBLEM => self.request_problem = Some(number == 1),
            id::REQUEST_RESPONSE => self.request_response = Some(number == 1),
            id::RECEIVE_MAXIMUM => self.receive_maximum = NonZeroU16::new(short),
            id::TOPIC_ALIAS_MAXIMUM => self.topic_alias_maximum = Some(short),
            id::MAXIMUM_QOS => self.maximum_qos = Qos::from_level(number as u8),
            id::RETAIN_AVAILABLE => self.retain_available = Some(number == 1),
            id::MAXIMUM_PACKET_SIZE => self.maximum_packet_size = NonZeroU32::new(number),
            id::WILDCARD_AVAILABLE => self.wildcard_available = Some(number == 1),
            id::SUBSCRIPTION_ID_AVAILABLE => self.subscription_id_available = Some(number == 1),
            id::SHARED_AVAILABLE => self.shared_available = Some(number == 1),
            _ => {}
        }
    }

    /// Calls `each` with every property that is set, in ascending order of the identifier, user properties last.
    fn for_each(&self, mut each: impl FnMut(u8, Value<'a>)) {
        let numbers = [
            (id::SUBSCRIPTION_ID, self.subscription_id.map(NonZeroU32::get)),
            (id::SESSION_EXPIRY, self.session_expiry_s),
            (id::SERVER_KEEP_ALIVE, self.server_keep_alive_s.map(u32::from)),
            (id::REQUEST_PROBLEM, self.request_problem.map(u32::from)),
            (id::REQUEST_RESPONSE, self.request_response.map(u32::from)),
            (id::RECEIVE_MAXIMUM, self.receive_maximum.map(|value| u32::from(value.get()))),
            (id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum.map(u32::from)),
            (id::MAXIMUM_QOS, self.maximum_qos.map(|qos| u32::from(qos.level()))),
            (id::RETAIN_AVAILABLE, self.retain_available.map(u32::from)),
            (id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size.map(NonZeroU32::get)),
            (id::WILDCARD_AVAILABLE, self.wildcard_available.map(u32::from)),
            (id::SUBSCRIPTION_ID_AVAILABLE, self.subscription_id_available.map(u32::from)),
            (id::SHARED_AVAILABLE, self.shared_available.map(u32::from)),
        ];
        let texts = [
            (id::ASSIGNED_CLIENT_ID, self.assigned_client_id),
            (id::AUTH_METHOD, self.auth_method),
            (id::RESPONSE_INFORMATION, self.response_information),
            (id::SERVER_REFERENCE, self.server_reference),
            (id::REASON_STRING, self.reason_string),
        ];
        for (id, number) in numbers {
            if let Some(number) = number {
                each(id, Value::Number(number));
            }
        }
        for (id, text) in texts {
            if let Some(text) = text {
                each(id, Value::Text(text));
            }
        }
        if let Some(bytes) = self.auth_data {
            each(id::AUTH_DATA, Value::Binary(bytes));
        }
        for (name, value) in self.user_properties.iter() {
            each(id::USER_PROPERTY, Value::Pair(name, value));
        }
    }

    /// Bytes of the block without its length; refuses what the table would refuse on the other side.
    pub(crate) fn block_len(&self, carrier: Carrier) -> Result<usize, EncodeError> {
        let mut len = 0usize;
        let mut refused = Ok(());
        self.for_each(|id, value| match check(id, value, carrier) {
            Ok(bytes) => len += bytes,
            Err(error) => refused = Err(error),
        });
        if self.auth_data.is_some() && self.auth_method.is_none() {
            return Err(EncodeError::NotAllowed("authentication data without a method"));
        }
        refused.map(|()| len)
    }

    /// Writes property length and block; `block_len` is what [`block_len`](Self::block_len) said.
    pub(crate) fn write(&self, block_len: usize, out: &mut BytesMut) {
        write_varint(block_len as u32, out);
        self.for_each(|id, value| write_property(id, value, out));
    }
}

/// Encoded size of one property, identifier included.
pub(crate) fn check(id: u8, value: Value<'_>, carrier: Carrier) -> Result<usize, EncodeError> {
    let Some(rule) = find(u32::from(id)) else { return Err(EncodeError::NotAllowed("property")) };
    if rule.carriers & carrier.bit() == 0 {
        return Err(EncodeError::NotAllowed(rule.name));
    }
    Ok(1 + match (value, rule.kind) {
        (Value::Number(_), Kind::Byte) => 1,
        (Value::Number(_), Kind::TwoByte) => 2,
        (Value::Number(number), Kind::VarInt) => {
            if number == 0 || number > crate::framing::MAX_REMAINING {
                return Err(EncodeError::SubscriptionId(number));
            }
            varint_len(number)
        }
        (Value::Number(_), _) => 4,
        (Value::Text(text), _) => text_len(text, rule.name)?,
        (Value::Binary(bytes), _) => binary_len(bytes, rule.name)?,
        (Value::Pair(name, value), _) => text_len(name, rule.name)? + text_len(value, rule.name)?,
    })
}

/// Writes one property that [`check`] has passed.
pub(crate) fn write_property(id: u8, value: Value<'_>, out: &mut BytesMut) {
    out.put_u8(id);
    match value {
        Value::Number(number) => match find(u32::from(id)).map(|rule| rule.kind) {
            Some(Kind::Byte) => out.put_u8(number as u8),
            Some(Kind::TwoByte) => out.put_u16(number as u16),
            Some(Kind::VarInt) => write_varint(number, out),
            _ => out.put_u32(number),
        },
        Value::Text(text) => write_binary(text.as_bytes(), out),
        Value::Binary(bytes) => write_binary(bytes, out),
        Value::Pair(name, value) => {
            write_binary(name.as_bytes(), out);
            write_binary(value.as_bytes(), out);
        }
    }
}

/// Encoded size of a text, refused if its receiver would have to refuse it.
pub(crate) fn text_len(text: &str, field: &'static str) -> Result<usize, EncodeError> {
    if text.as_bytes().contains(&0) {
        return Err(EncodeError::NotAllowed("U+0000"));
    }
    binary_len(text.as_bytes(), field)
}

/// Encoded size of binary data.
pub(crate) fn binary_len(bytes: &[u8], field: &'static str) -> Result<usize, EncodeError> {
    if bytes.len() > usize::from(u16::MAX) {
        return Err(EncodeError::FieldTooLong { field, bytes: bytes.len() });
    }
    Ok(2 + bytes.len())
}

/// Writes binary data or text whose length has been checked.
pub(crate) fn write_binary(bytes: &[u8], out: &mut BytesMut) {
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

/// Writes a variable byte integer in its shortest form [MQTT-1.5.5-1].
pub(crate) fn write_varint(value: u32, out: &mut impl BufMut) {
    let mut rest = value;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}
