//! CONNECT (section 3.1), both ways. The one packet that is decoded without knowing the version, because it tells it.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};
use noctule_core::id::Qos;
use noctule_core::message::Fields;

use crate::carrier::Carrier;
use crate::cursor::Cursor;
use crate::error::{ConnectError, DecodeError, EncodeError};
use crate::framing::Frame;
use crate::packet::{PacketLen, put_header};
use crate::property::{
    Properties, UserProperties, Value, binary_len, check, id, text_len, write_binary, write_property,
    write_varint,
};
use crate::publish::{Passed, split_block};
use crate::text;
use crate::version::{PacketType, Version};

/// A connection request, borrowed from the read buffer. What only 5.0 can say has its default in 3.x.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    /// What is to be spoken.
    pub version: Version,
    /// Clean Start; Clean Session in 3.x, where it also means that the session ends with the connection.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off [MQTT-3.1.2-22].
    pub keep_alive_s: u16,
    /// Client Identifier; empty where the server is to choose.
    pub client_id: &'a str,
    /// Will Message.
    pub will: Option<Will<'a>>,
    /// User Name; absent and empty are two things.
    pub user_name: Option<&'a str>,
    /// Password, binary.
    pub password: Option<&'a [u8]>,
    /// Session Expiry Interval in seconds; absent means 0, `u32::MAX` never (section 3.1.2.11.2).
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum; 65,535 unless said.
    pub receive_maximum: NonZeroU16,
    /// Maximum Packet Size in bytes of the whole packet; no limit unless said.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Topic Alias Maximum; 0, no aliases, unless said.
    pub topic_alias_maximum: u16,
    /// Whether Response Information is wanted in CONNACK.
    pub request_response_information: bool,
    /// Whether reason strings and user properties are wanted everywhere [MQTT-3.1.2-29]; true unless said.
    pub request_problem_information: bool,
    /// User Properties of the connection.
    pub user_properties: UserProperties<'a>,
    /// Authentication Method.
    pub auth_method: Option<&'a str>,
    /// Authentication Data; never without a method.
    pub auth_data: Option<&'a [u8]>,
}

/// What is to be published when the client vanishes (section 3.1.2.5).
#[derive(Clone, Debug, PartialEq)]
pub struct Will<'a> {
    /// Will Topic, not empty and free of wildcards.
    pub topic: &'a str,
    /// Will Payload, binary.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: Qos,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds; 0 unless said.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    passed: Passed<'a>,
}

impl<'a> Will<'a> {
    /// A will at QoS 0 that nothing goes with.
    #[must_use]
    pub fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        let passed = Passed::default();
        Self { topic, payload, qos: Qos::AtMostOnce, retain: false, delay_s: 0, expiry_s: None, passed }
    }

    /// The same will with fields to pass on.
    #[must_use]
    pub fn with_fields(mut self, fields: Fields<'a>) -> Self {
        self.passed = Passed::from_fields(fields);
        self
    }

    /// What is passed on with the message: the will properties without delay and expiry.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        self.passed.fields()
    }
}

impl<'a> Connect<'a> {
    /// A request with a clean start, a keep alive of 60 seconds and defaults for the rest.
    #[must_use]
    pub fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive_s: 60,
            client_id,
            will: None,
            user_name: None,
            password: None,
            session_expiry_s: None,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: UserProperties::default(),
            auth_method: None,
            auth_data: None,
        }
    }

    fn properties(&self) -> Properties<'a> {
        Properties {
            session_expiry_s: self.session_expiry_s,
            receive_maximum: Some(self.receive_maximum).filter(|maximum| *maximum != NonZeroU16::MAX),
            maximum_packet_size: self.maximum_packet_size,
            topic_alias_maximum: Some(self.topic_alias_maximum).filter(|maximum| *maximum != 0),
            request_response: self.request_response_information.then_some(true),
            request_problem: (!self.request_problem_information).then_some(false),
            user_properties: self.user_properties,
            auth_method: self.auth_method,
            auth_data: self.auth_data,
            ..Properties::default()
        }
    }

    fn set_properties(&mut self, properties: &Properties<'a>) {
        self.session_expiry_s = properties.session_expiry_s;
        self.receive_maximum = properties.receive_maximum.unwrap_or(NonZeroU16::MAX);
        self.maximum_packet_size = properties.maximum_packet_size;
        self.topic_alias_maximum = properties.topic_alias_maximum.unwrap_or(0);
        self.request_response_information = properties.request_response.unwrap_or(false);
        self.request_problem_information = properties.request_problem.unwrap_or(true);
        self.user_properties = properties.user_properties;
        self.auth_method = properties.auth_method;
        self.auth_data = properties.auth_data;
    }

    /// Writes the packet. In 3.x what only 5.0 can say is left out.
    ///
    /// # Errors
    /// When something does not fit, or the server would have to refuse it; nothing is written then.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let v5 = self.version.is_v5();
        if !v5 && self.password.is_some() && self.user_name.is_none() {
            return Err(EncodeError::NeedsV5("a password without a user name"));
        }
        let empty_allowed = v5 || self.version == Version::V311 && self.clean_start;
        if self.client_id.is_empty() && !empty_allowed {
            return Err(EncodeError::NotAllowed("empty client identifier"));
        }
        let properties = self.properties();
        let mut len = PacketLen::default();
        len.add(2 + self.version.protocol_name().len() + 4);
        let block = if v5 { len.add_block(properties.block_len(Carrier::Connect)?) } else { 0 };
        len.add(text_len(self.client_id, "client identifier")?);
        let mut will_block = 0;
        if let Some(will) = &self.will {
            if will.topic.is_empty() || text::topic(will.topic.as_bytes(), "will topic").is_err() {
                return Err(EncodeError::NotAllowed("will topic"));
            }
            will_block = if v5 { len.add_block(will.block_len()?) } else { 0 };
            len.add(
                binary_len(will.topic.as_bytes(), "will topic")? + binary_len(will.payload, "will payload")?,
            );
        }
        if let Some(user_name) = self.user_name {
            len.add(text_len(user_name, "user name")?);
        }
        if let Some(password) = self.password {
            len.add(binary_len(password, "password")?);
        }
        put_header(PacketType::Connect, &len, out)?;
        write_binary(self.version.protocol_name().as_bytes(), out);
        out.put_u8(self.version.level());
        out.put_u8(self.flags());
        out.put_u16(self.keep_alive_s);
        if v5 {
            properties.write(block, out);
        }
        write_binary(self.client_id.as_bytes(), out);
        if let Some(will) = &self.will {
            if v5 {
                will.write_block(will_block, out);
            }
            write_binary(will.topic.as_bytes(), out);
            write_binary(will.payload, out);
        }
        if let Some(user_name) = self.user_name {
            write_binary(user_name.as_bytes(), out);
        }
        if let Some(password) = self.password {
            write_binary(password, out);
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let will =
            self.will.as_ref().map_or(0, |will| 0x04 | will.qos.level() << 3 | u8::from(will.retain) << 5);
        u8::from(self.clean_start) << 1
            | will
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.user_name.is_some()) << 7
    }
}

impl Will<'_> {
    fn one_hop(&self) -> impl Iterator<Item = (u8, Value<'static>)> {
        let delay =
            Some(self.delay_s).filter(|seconds| *seconds != 0).map(|seconds| (id::WILL_DELAY, seconds));
        let expiry = self.expiry_s.map(|seconds| (id::MESSAGE_EXPIRY, seconds));
        delay.into_iter().chain(expiry).map(|(id, seconds)| (id, Value::Number(seconds)))
    }

    fn block_len(&self) -> Result<usize, EncodeError> {
        let mut len = self.fields().len();
        for (id, value) in self.one_hop() {
            len += check(id, value, Carrier::Will)?;
        }
        Ok(len)
    }

    fn write_block(&self, len: usize, out: &mut BytesMut) {
        write_varint(len as u32, out);
        for (id, value) in self.one_hop() {
            write_property(id, value, out);
        }
        for part in self.fields().parts() {
            out.put_slice(part);
        }
    }
}

/// Decodes a CONNECT, whose version is not yet known.
///
/// # Errors
/// With the version, so far as CONNECT has told it, for the CONNACK that answers.
pub fn decode_connect<'a>(frame: &Frame<'a>) -> Result<Connect<'a>, ConnectError> {
    let silent = |cause| ConnectError { version: None, cause };
    if frame.first != PacketType::Connect.first_byte() {
        return Err(silent(match frame.packet_type() {
            Some(PacketType::Connect) => DecodeError::Flags(frame.first),
            _ => DecodeError::ConnectExpected(frame.first),
        }));
    }
    let mut cursor = Cursor::new(frame.body);
    let name = cursor.binary("protocol name").map_err(silent)?;
    let level = match name {
        b"MQTT" | b"MQIsdp" => cursor.u8("protocol level").map_err(silent)?,
        _ => return Err(silent(DecodeError::ProtocolName)),
    };
    let version = match (name, level) {
        (b"MQIsdp", 3) => Version::V31,
        (b"MQTT", 4) => Version::V311,
        (b"MQTT", 5) => Version::V5,
        // A client of a later version expects the CONNACK of 5.0, any other one the CONNACK of 3.1.1.
        (_, level) => {
            let version = Some(if level > 5 && level < 0x80 { Version::V5 } else { Version::V311 });
            return Err(ConnectError { version, cause: DecodeError::ProtocolLevel(level) });
        }
    };
    body(version, frame, cursor).map_err(|cause| ConnectError { version: Some(version), cause })
}

fn body<'a>(version: Version, frame: &Frame<'a>, mut cursor: Cursor<'a>) -> Result<Connect<'a>, DecodeError> {
    let v5 = version.is_v5();
    if v5 && !frame.is_minimal() {
        return Err(DecodeError::IntegerNotMinimal);
    }
    let flags = Flags(cursor.u8("connect flags")?);
    flags.check(version)?;
    let mut connect = Connect::new(version, "");
    connect.clean_start = flags.has(0x02);
    connect.keep_alive_s = cursor.u16("keep alive")?;
    if v5 {
        connect.set_properties(&Properties::decode(&mut cursor, Carrier::Connect)?);
    }
    connect.client_id = cursor.text("client identifier")?;
    // 3.1 wants 1 to 23 characters; as every broker does, more are accepted, but none is not.
    if connect.client_id.is_empty() && !v5 && (version == Version::V31 || !connect.clean_start) {
        return Err(DecodeError::ClientIdEmpty);
    }
    if flags.has(0x04) {
        connect.will = Some(will(version, flags, &mut cursor)?);
    }
    // 3.1 allows the string to be missing though its flag is set ("remaining length takes precedence").
    let present =
        |flag, cursor: &Cursor<'_>| flags.has(flag) && !(version == Version::V31 && cursor.is_empty());
    if present(0x80, &cursor) {
        connect.user_name = Some(cursor.text("user name")?);
    }
    if present(0x40, &cursor) {
        connect.password = Some(cursor.binary("password")?);
    }
    cursor.end("CONNECT")?;
    Ok(connect)
}

fn will<'a>(version: Version, flags: Flags, cursor: &mut Cursor<'a>) -> Result<Will<'a>, DecodeError> {
    let mut hop = Default::default();
    let mut passed = Passed::default();
    if version.is_v5() {
        let len = cursor.varint("will property length")?;
        (hop, passed) = split_block(cursor.take(len as usize, "will properties")?, Carrier::Will)?;
    }
    let topic = cursor.binary("will topic")?;
    if topic.is_empty() {
        return Err(DecodeError::TopicEmpty("will topic"));
    }
    Ok(Will {
        topic: text::topic(topic, "will topic")?,
        payload: cursor.binary("will payload")?,
        qos: flags.will_qos()?,
        retain: flags.has(0x20),
        delay_s: hop.delay_s.unwrap_or(0),
        expiry_s: hop.expiry_s,
        passed,
    })
}

/// Connect Flags (section 3.1.2.3).
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    fn will_qos(self) -> Result<Qos, DecodeError> {
        Qos::from_level(self.0 >> 3 & 0b11).ok_or(DecodeError::WillQos(self.0))
    }

    fn check(self, version: Version) -> Result<(), DecodeError> {
        if self.has(0x01) {
            return Err(DecodeError::ConnectReserved(self.0));
        }
        if self.has(0x04) {
            self.will_qos()?;
        } else if version != Version::V31 {
            // In 3.1 the will's bits are merely unused without a will.
            if self.has(0x18) {
                return Err(DecodeError::WillQosWithoutWill(self.0));
            }
            if self.has(0x20) {
                return Err(DecodeError::WillRetainWithoutWill(self.0));
            }
        }
        if self.has(0x40) && !self.has(0x80) && !version.is_v5() {
            return Err(DecodeError::PasswordWithoutUserName);
        }
        Ok(())
    }
}
