//! What the broker sent, owned, so that a test can compare it.

use noctule_core::id::Qos;
use noctule_core::message::Field;
use noctule_mqtt::{ConnAck, Packet, Publish, Reason};

/// A packet of the broker, or the end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Got {
    ConnAck(Box<Welcome>),
    Publish(Box<Delivered>),
    /// Packet id and reason, as the other acknowledgements.
    PubAck(u16, u8),
    PubRec(u16, u8),
    PubRel(u16, u8),
    PubComp(u16, u8),
    SubAck(u16, Vec<u8>),
    UnsubAck(u16, Vec<u8>),
    Pong,
    /// DISCONNECT with its reason.
    Bye(u8),
    /// AUTH with its reason, method and data.
    Auth(u8, String, Vec<u8>),
    /// The broker closed the connection.
    Closed,
}

/// What CONNACK said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Welcome {
    pub(crate) session_present: bool,
    pub(crate) reason: u8,
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) assigned_client_id: Option<String>,
    pub(crate) server_keep_alive_s: Option<u16>,
    pub(crate) response_information: Option<String>,
    pub(crate) retain_available: bool,
    pub(crate) auth: Option<(String, Vec<u8>)>,
}

impl Welcome {
    fn new(ack: &ConnAck<'_>) -> Self {
        Self {
            session_present: ack.session_present,
            reason: ack.reason.code(),
            session_expiry_s: ack.session_expiry_s,
            receive_maximum: ack.receive_maximum.get(),
            maximum_packet_size: ack.maximum_packet_size.map(Into::into),
            topic_alias_maximum: ack.topic_alias_maximum,
            assigned_client_id: ack.assigned_client_id.map(Into::into),
            server_keep_alive_s: ack.server_keep_alive_s,
            response_information: ack.response_information.map(Into::into),
            retain_available: ack.retain_available,
            auth: ack.auth_method.map(|method| (method.into(), ack.auth_data.unwrap_or_default().into())),
        }
    }
}

/// One PUBLISH of the broker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delivered {
    /// As it came; empty when only the alias did.
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) alias: Option<u16>,
    pub(crate) expiry_s: Option<u32>,
    /// Subscription identifiers in order.
    pub(crate) ids: Vec<u32>,
    /// Name and value of every property that is passed on, in order.
    pub(crate) fields: Vec<(String, String)>,
}

impl Delivered {
    fn new(publish: &Publish<'_>) -> Self {
        let field = |field| match field {
            Field::PayloadFormat(format) => ("payload format".into(), format.to_string()),
            Field::ContentType(text) => ("content type".into(), text.into()),
            Field::ResponseTopic(topic) => ("response topic".into(), topic.into()),
            Field::CorrelationData(data) => ("correlation data".into(), String::from_utf8_lossy(data).into()),
            Field::UserProperty(name, value) => (format!("user {name}"), value.into()),
        };
        Self {
            topic: publish.topic.into(),
            payload: publish.payload.into(),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id.map_or(0, Into::into),
            alias: publish.topic_alias.map(Into::into),
            expiry_s: publish.expiry_s,
            ids: publish.subscription_ids().map(Into::into).collect(),
            fields: publish.fields().iter().map(field).collect(),
        }
    }

    /// The payload as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }
}

impl Got {
    pub(super) fn new(packet: &Packet<'_>) -> Self {
        match packet {
            Packet::ConnAck(ack) => Self::ConnAck(Box::new(Welcome::new(ack))),
            Packet::Publish(publish) => Self::Publish(Box::new(Delivered::new(publish))),
            Packet::PubAck(ack) => Self::PubAck(ack.packet_id.get(), ack.reason.code()),
            Packet::PubRec(ack) => Self::PubRec(ack.packet_id.get(), ack.reason.code()),
            Packet::PubRel(ack) => Self::PubRel(ack.packet_id.get(), ack.reason.code()),
            Packet::PubComp(ack) => Self::PubComp(ack.packet_id.get(), ack.reason.code()),
            Packet::SubAck(ack) => {
                Self::SubAck(ack.packet_id.get(), ack.reasons.iter().map(Reason::code).collect())
            }
            Packet::UnsubAck(ack) => {
                Self::UnsubAck(ack.packet_id.get(), ack.reasons.iter().map(Reason::code).collect())
            }
            Packet::PingResp => Self::Pong,
            Packet::Disconnect(farewell) => Self::Bye(farewell.reason.code()),
            Packet::Auth(auth) => Self::Auth(
                auth.reason.code(),
                auth.method.unwrap_or_default().into(),
                auth.data.unwrap_or_default().into(),
            ),
            Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
                panic!("the broker sent a client's packet: {packet:?}")
            }
        }
    }
}
