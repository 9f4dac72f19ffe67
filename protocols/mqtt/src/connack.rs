//! CONNACK (section 3.2), both ways.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};
use mqttbytes::v4;
use noctule_core::id::Qos;

use crate::carrier::Carrier;
use crate::cursor::Cursor;
use crate::error::{DecodeError, EncodeError};
use crate::packet::{PacketLen, put_header};
use crate::property::{Properties, UserProperties};
use crate::reason::Reason;
use crate::version::{PacketType, Version};

/// The answer to CONNECT, borrowed. What only 5.0 can say has its default in 3.x and is left out when encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConnAck<'a> {
    /// Session Present; never true with a refusal, nor in 3.1, which doesn't know it.
    pub session_present: bool,
    /// Connect Reason Code; in 3.x the reason that says what the return code does.
    pub reason: Reason,
    /// Session Expiry Interval in seconds, if not the one the client asked for.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum; 65,535 unless said.
    pub receive_maximum: NonZeroU16,
    /// Maximum QoS.
    pub maximum_qos: Qos,
    /// Retain Available.
    pub retain_available: bool,
    /// Maximum Packet Size in bytes of the whole packet; no limit unless said.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Assigned Client Identifier, when the client sent an empty one.
    pub assigned_client_id: Option<&'a str>,
    /// Topic Alias Maximum; 0, no aliases, unless said.
    pub topic_alias_maximum: u16,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
    /// Wildcard Subscription Available.
    pub wildcard_subscription_available: bool,
    /// Subscription Identifiers Available.
    pub subscription_ids_available: bool,
    /// Shared Subscription Available.
    pub shared_subscription_available: bool,
    /// Server Keep Alive in seconds, which the client must use instead of its own [MQTT-3.2.2-21].
    pub server_keep_alive_s: Option<u16>,
    /// Response Information.
    pub response_information: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
    /// Authentication Method.
    pub auth_method: Option<&'a str>,
    /// Authentication Data; never without a method.
    pub auth_data: Option<&'a [u8]>,
}

impl<'a> ConnAck<'a> {
    /// An answer with defaults for everything but its reason.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self {
            session_present: false,
            reason,
            session_expiry_s: None,
            receive_maximum: NonZeroU16::MAX,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            user_properties: UserProperties::default(),
            wildcard_subscription_available: true,
            subscription_ids_available: true,
            shared_subscription_available: true,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            auth_method: None,
            auth_data: None,
        }
    }

    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        let flags = cursor.u8("connect acknowledge flags")?;
        if flags > 1 || flags == 1 && version == Version::V31 {
            return Err(DecodeError::ConnAckFlags(flags));
        }
        let code = cursor.u8("reason code")?;
        let reason = match version {
            Version::V5 => Reason::checked(code, Carrier::ConnAck),
            Version::V31 | Version::V311 => Reason::from_connack_v3(code),
        };
        let mut ack =
            Self::new(reason.ok_or(DecodeError::ReasonCode { code, carrier: Carrier::ConnAck.name() })?);
        ack.session_present = flags == 1;
        if ack.session_present && code != 0 {
            return Err(DecodeError::SessionPresentOnRefusal(code));
        }
        if version.is_v5() {
            ack.set_properties(&Properties::decode(&mut cursor, Carrier::ConnAck)?);
        }
        cursor.end("CONNACK")?;
        Ok(ack)
    }

    fn set_properties(&mut self, properties: &Properties<'a>) {
        self.session_expiry_s = properties.session_expiry_s;
        self.receive_maximum = properties.receive_maximum.unwrap_or(NonZeroU16::MAX);
        self.maximum_qos = properties.maximum_qos.unwrap_or(Qos::ExactlyOnce);
        self.retain_available = properties.retain_available.unwrap_or(true);
        self.maximum_packet_size = properties.maximum_packet_size;
        self.assigned_client_id = properties.assigned_client_id;
        self.topic_alias_maximum = properties.topic_alias_maximum.unwrap_or(0);
        self.reason_string = properties.reason_string;
        self.user_properties = properties.user_properties;
        self.wildcard_subscription_available = properties.wildcard_available.unwrap_or(true);
        self.subscription_ids_available = properties.subscription_id_available.unwrap_or(true);
        self.shared_subscription_available = properties.shared_available.unwrap_or(true);
        self.server_keep_alive_s = properties.server_keep_alive_s;
        self.response_information = properties.response_information;
        self.server_reference = properties.server_reference;
        self.auth_method = properties.auth_method;
        self.auth_data = properties.auth_data;
    }

    fn properties(&self) -> Properties<'a> {
        let unless_available = |available: bool| (!available).then_some(false);
        Properties {
            session_expiry_s: self.session_expiry_s,
            receive_maximum: Some(self.receive_maximum).filter(|maximum| *maximum != NonZeroU16::MAX),
            // 2 is the default and has no encoding (section 3.2.2.3.4).
            maximum_qos: Some(self.maximum_qos).filter(|qos| *qos != Qos::ExactlyOnce),
            retain_available: unless_available(self.retain_available),
            maximum_packet_size: self.maximum_packet_size,
            assigned_client_id: self.assigned_client_id,
            topic_alias_maximum: Some(self.topic_alias_maximum).filter(|maximum| *maximum != 0),
            reason_string: self.reason_string,
            user_properties: self.user_properties,
            wildcard_available: unless_available(self.wildcard_subscription_available),
            subscription_id_available: unless_available(self.subscription_ids_available),
            shared_available: unless_available(self.shared_subscription_available),
            server_keep_alive_s: self.server_keep_alive_s,
            response_information: self.response_information,
            server_reference: self.server_reference,
            auth_method: self.auth_method,
            auth_data: self.auth_data,
            ..Properties::default()
        }
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// When something does not fit, a refusal says that a session is present, or 3.x has no return code for the
    /// reason: then the connection is closed without a CONNACK [3.1.1: MQTT-3.2.2-6]. Nothing is written then.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.session_present && (self.reason != Reason::SUCCESS || version == Version::V31) {
            return Err(EncodeError::NotAllowed("session present"));
        }
        if !version.is_v5() {
            let code = v3_code(self.reason).ok_or(EncodeError::Reason(self.reason))?;
            return write_v4(&v4::ConnAck::new(code, self.session_present), out);
        }
        if !self.reason.fits(Carrier::ConnAck) {
            return Err(EncodeError::Reason(self.reason));
        }
        let properties = self.properties();
        let mut len = PacketLen::default();
        len.add(2);
        let block = len.add_block(properties.block_len(Carrier::ConnAck)?);
        put_header(PacketType::ConnAck, &len, out)?;
        out.put_u8(u8::from(self.session_present));
        out.put_u8(self.reason.code());
        properties.write(block, out);
        Ok(())
    }
}

fn write_v4(ack: &v4::ConnAck, out: &mut BytesMut) -> Result<(), EncodeError> {
    ack.write(out).map(drop).map_err(|_| EncodeError::PacketTooLong(2))
}

fn v3_code(reason: Reason) -> Option<v4::ConnectReturnCode> {
    Some(match reason.connack_v3()? {
        0 => v4::ConnectReturnCode::Success,
        1 => v4::ConnectReturnCode::RefusedProtocolVersion,
        2 => v4::ConnectReturnCode::BadClientId,
        3 => v4::ConnectReturnCode::ServiceUnavailable,
        4 => v4::ConnectReturnCode::BadUserNamePassword,
        _ => v4::ConnectReturnCode::NotAuthorized,
    })
}
