//! One connection's MQTT at the broker's end: which packet is allowed when, what it means to the engine, and how the
//! engine's answers look on this wire.
//!
//! The shell cuts frames with [`Server::split`], hands each to [`Server::packet`] and carries out the [`Step`] that
//! comes back. Sessions, quality of service and routing are the engine's; nothing here knows another connection.

mod alias;
mod auth;
mod reply;

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::BytesMut;
use noctule_core::delivery::AckKind;
use noctule_core::effects::{self, FilterRequest, Input, WillRequest};
use noctule_core::id::ConnId;
use noctule_core::message;
use noctule_core::policy::Limits;
use noctule_core::refusal::{Kind, Refusal};
use noctule_core::selector::Selector;
use noctule_core::topic::{TopicName, reply_topic};

use crate::connect::{Connect, decode_connect};
use crate::error::{ConnectError, DecodeError};
use crate::framing::{Frame, Framer, Split};
use crate::packet::{Packet, decode};
use crate::property::UserProperties;
use crate::publish::{Publish, decode_publish};
use crate::reason::Reason;
use crate::subscribe;
use crate::version::{Direction, PacketType, Version};

use crate::alias::{AliasError, Inbound};
use alias::Outbound;
pub use auth::{AuthMethod, AuthMethods, AuthStep, Exchange};

/// The limits that are MQTT's own; the rest is in the core's [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Largest packet accepted once the client is connected, bytes of the whole packet.
    pub max_packet_size: u32,
    /// Largest CONNECT accepted, bytes of the whole packet: what an unknown peer can make us hold.
    pub max_connect_size: u32,
    /// Topic aliases that a client may set; each may cost a topic's length.
    pub topic_alias_max: u16,
    /// User properties in one packet.
    pub max_user_properties: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_packet_size: 1 << 20,
            max_connect_size: 64 << 10,
            topic_alias_max: 32,
            max_user_properties: 64,
        }
    }
}

/// What a packet needs from around it.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// MQTT's own limits.
    pub server: &'a ServerLimits,
    /// The core's limits.
    pub core: &'a Limits,
    /// Ways of enhanced authentication.
    pub methods: &'a AuthMethods,
}

/// What follows from a packet.
#[derive(Debug)]
pub enum Step<'a> {
    /// It has been handed to the engine, or meant nothing to it.
    Done,
    /// A client asks to be connected: choose the worker, authenticate (with [`Server::exchange`] if it names a method),
    /// then call [`Server::begin`].
    Connect(Box<Connect<'a>>),
    /// Enhanced authentication before CONNACK has ended well: the CONNECT that [`Server::take_pending`] gives is to go
    /// on, with [`Server::begin`].
    Authenticated {
        /// Who the client turned out to be.
        user: Option<Box<str>>,
    },
    /// The client has said good-bye: close when what waits is written.
    Farewell,
}

/// Where the connection stands.
#[derive(Debug)]
enum Phase {
    /// CONNECT is awaited.
    Fresh,
    /// AUTH packets go to and fro before CONNACK.
    Authenticating(Box<auth::Pending>),
    /// CONNECT has been read; the engine's verdict is awaited.
    Deciding,
    /// CONNACK with success has been sent.
    Connected,
}

/// What most connections do not need.
#[derive(Debug, Default)]
struct Cold {
    inbound: Inbound,
    outbound: Option<Outbound>,
    /// Maximum Packet Size of the client [MQTT-3.1.2-24].
    max_packet: Option<NonZeroU32>,
    /// Method of enhanced authentication of this connection, for re-authentication [MQTT-4.12.1-1].
    method: Option<Box<str>>,
    reauthentication: Option<Box<dyn Exchange>>,
    /// Who enhanced authentication found the client to be; another one it can't become.
    user: Option<Box<str>>,
    /// Data for the CONNACK that ends enhanced authentication.
    final_data: Option<Box<[u8]>>,
    assigned_client_id: Option<Box<str>>,
    response_information: Option<Box<str>>,
}

impl Cold {
    /// Whether a packet of so many bytes is above what the client takes.
    fn is_above_maximum(&self, bytes: usize) -> bool {
        self.max_packet.is_some_and(|maximum| bytes > maximum.get() as usize)
    }
}

/// The broker's end of one MQTT connection.
#[derive(Debug)]
pub struct Server {
    framer: Framer,
    phase: Phase,
    version: Version,
    /// Whether reason strings may go along with acknowledgements (MQTT 5, section 3.1.2.11.7).
    problem_information: bool,
    cold: Option<Box<Cold>>,
}

impl Server {
    /// A connection whose CONNECT is awaited.
    #[must_use]
    pub fn new(limits: &ServerLimits) -> Self {
        Self {
            framer: Framer::awaiting_connect(limits.max_connect_size),
            phase: Phase::Fresh,
            version: Version::V311,
            problem_information: true,
            cold: None,
        }
    }

    /// The version, once CONNECT has told it.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        (!matches!(self.phase, Phase::Fresh)).then_some(self.version)
    }

    /// Whether CONNACK with success has been sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// Whether AUTH packets go to and fro before CONNACK.
    #[must_use]
    pub fn is_authenticating(&self) -> bool {
        matches!(self.phase, Phase::Authenticating(_))
    }

    /// Has the CONNECT that was just taken be taken once more, because it can't be decided about yet; to be called in the
    /// place of [`Server::begin`].
    pub fn read_again(&mut self) {
        self.phase = Phase::Fresh;
    }

    /// Cuts the next packet out of `bytes`.
    ///
    /// # Errors
    /// The refusal with which the connection ends.
    #[inline]
    pub fn split<'a>(&self, bytes: &'a [u8]) -> Result<Split<'a>, Refusal> {
        self.framer.split(bytes).map_err(|error| refusal(&error))
    }

    /// Takes one packet. What it means to the engine is handed to `engine`, at most once.
    ///
    /// # Errors
    /// The refusal with which the connection ends; [`Server::refuse`] puts it into the client's words.
    #[inline]
    pub fn packet<'a>(
        &mut self,
        conn: ConnId,
        frame: &Frame<'a>,
        around: Surroundings<'_>,
        out: &mut BytesMut,
        engine: impl FnOnce(Input<'_>),
    ) -> Result<Step<'a>, Refusal> {
        if matches!(self.phase, Phase::Connected) && frame.packet_type() == Some(PacketType::Publish) {
            let publish =
                decode_publish(self.version, Direction::ToServer, frame).map_err(|error| refusal(&error))?;
            return self.publish(conn, &publish, around, engine);
        }
        self.cold_packet(conn, frame, around, out, engine)
    }

    fn cold_packet<'a>(
        &mut self,
        conn: ConnId,
        frame: &Frame<'a>,
        around: Surroundings<'_>,
        out: &mut BytesMut,
        engine: impl FnOnce(Input<'_>),
    ) -> Result<Step<'a>, Refusal> {
        match self.phase {
            Phase::Fresh => self.connect(frame, around),
            Phase::Authenticating(_) => self.authenticating(frame, around, out),
            Phase::Deciding => {
                Err(Refusal::new(Kind::ProtocolError, "a packet before CONNACK that may not come before it"))
            }
            Phase::Connected => {
                let packet =
                    decode(self.version, Direction::ToServer, frame).map_err(|error| refusal(&error))?;
                self.connected(conn, packet, around, out, engine)
            }
        }
    }

    fn connect<'a>(&mut self, frame: &Frame<'a>, around: Surroundings<'_>) -> Result<Step<'a>, Refusal> {
        let connect = match decode_connect(frame) {
            Ok(connect) => connect,
            Err(error) => return Err(self.connect_refusal(&error)),
        };
        self.version = connect.version;
        self.phase = Phase::Deciding;
        if let Some(max_packet) = connect.maximum_packet_size {
            // From now on: it bounds AUTH and the refusals as well.
            self.cold().max_packet = Some(max_packet);
        }
        check_user_properties(connect.user_properties, around.server)?;
        if let Some(will) = &connect.will {
            check_fields(will.fields(), around.server)?;
            topic(will.topic, around.core)?;
        }
        Ok(Step::Connect(Box::new(connect)))
    }

    /// The rest of the way for a CONNECT: what the engine is asked. `client_id` is the client's or an assigned one,
    /// `user` what authentication found. Of its listener's durability the caller knows.
    pub fn begin<'a>(
        &mut self,
        connect: &'a Connect<'a>,
        client_id: &'a str,
        user: Option<&'a str>,
        limits: &ServerLimits,
    ) -> effects::Connect<'a> {
        self.version = connect.version;
        self.phase = Phase::Deciding;
        self.problem_information = connect.request_problem_information;
        self.framer = Framer::new(connect.version, Direction::ToServer, limits.max_packet_size);
        if connect.topic_alias_maximum > 0 {
            self.cold().outbound = Some(Outbound::new(connect.topic_alias_maximum));
        }
        if connect.client_id.is_empty() {
            self.cold().assigned_client_id = Some(client_id.into());
        }
        if let Some(method) = connect.auth_method {
            self.cold().method = Some(method.into());
            self.cold().user = user.map(Into::into);
        }
        if connect.request_response_information {
            self.cold().response_information = Some(reply_topic(client_id));
        }
        let v5 = connect.version.is_v5();
        let expiry_s = match connect.session_expiry_s {
            Some(seconds) => seconds,
            None if v5 || connect.clean_start => 0,
            None => u32::MAX,
        };
        effects::Connect {
            client_id,
            user,
            access: effects::Access::default(),
            clean_start: connect.clean_start,
            expiry_s,
            receive_maximum: connect.receive_maximum,
            keep_alive_s: connect.keep_alive_s,
            is_v5: v5,
            will: connect.will.as_ref().map(|will| WillRequest {
                publish: message::Publish {
                    topic: TopicName::from_validated(will.topic),
                    fields: will.fields(),
                    payload: will.payload,
                    qos: will.qos,
                    retain: will.retain,
                    dup: false,
                    packet_id: None,
                    expiry_s: will.expiry_s,
                },
                delay_s: will.delay_s,
            }),
            durability: None,
            beats: None,
        }
    }

    fn cold(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }

    fn connect_refusal(&mut self, error: &ConnectError) -> Refusal {
        match error.version {
            Some(version) => {
                self.version = version;
                self.phase = Phase::Deciding;
                refusal(&error.cause)
            }
            None => Refusal::new(Kind::FirstPacketNotConnect, error.cause.to_string()),
        }
    }

    #[inline]
    fn publish(
        &mut self,
        conn: ConnId,
        publish: &Publish<'_>,
        around: Surroundings<'_>,
        engine: impl FnOnce(Input<'_>),
    ) -> Result<Step<'static>, Refusal> {
        if !publish.fields().is_empty() {
            check_fields(publish.fields(), around.server)?;
        }
        let name = match publish.topic_alias {
            None => publish.topic,
            Some(alias) => {
                let maximum = around.server.topic_alias_max;
                self.cold().inbound.resolve(alias, publish.topic, maximum).map_err(alias_refusal)?
            }
        };
        engine(Input::Publish(
            conn,
            message::Publish {
                topic: topic(name, around.core)?,
                fields: publish.fields(),
                payload: publish.payload,
                qos: publish.qos,
                retain: publish.retain,
                dup: publish.dup,
                packet_id: publish.packet_id,
                expiry_s: publish.expiry_s,
            },
        ));
        Ok(Step::Done)
    }

    fn connected<'a>(
        &mut self,
        conn: ConnId,
        packet: Packet<'a>,
        around: Surroundings<'_>,
        out: &mut BytesMut,
        engine: impl FnOnce(Input<'_>),
    ) -> Result<Step<'a>, Refusal> {
        let (kind, ack) = match packet {
            Packet::Publish(publish) => return self.publish(conn, &publish, around, engine),
            Packet::PubAck(ack) => (AckKind::PubAck, ack),
            Packet::PubRec(ack) => (AckKind::PubRec, ack),
            Packet::PubRel(ack) => (AckKind::PubRel, ack),
            Packet::PubComp(ack) => (AckKind::PubComp, ack),
            Packet::PingReq => {
                engine(Input::Ping(conn));
                return Ok(Step::Done);
            }
            Packet::Subscribe(request) => {
                check_user_properties(request.user_properties, around.server)?;
                let filters: Vec<_> = request.subscriptions.iter().map(filter_request).collect();
                let (packet_id, id) = (request.packet_id, request.subscription_id);
                let selector = selector(request.user_properties);
                engine(Input::Subscribe { conn, packet_id, id, selector, filters: &filters });
                return Ok(Step::Done);
            }
            Packet::Unsubscribe(request) => {
                check_user_properties(request.user_properties, around.server)?;
                let filters: Vec<_> = request.filters.iter().collect();
                engine(Input::Unsubscribe { conn, packet_id: request.packet_id, filters: &filters });
                return Ok(Step::Done);
            }
            Packet::Disconnect(farewell) => {
                check_user_properties(farewell.user_properties, around.server)?;
                // Any reason but a normal one leaves the will in force (MQTT 5, section 3.1.2.5).
                let with_will = farewell.reason != Reason::SUCCESS;
                engine(Input::Disconnect { conn, with_will, expiry_s: farewell.session_expiry_s });
                return Ok(Step::Farewell);
            }
            Packet::Auth(auth) => return self.reauthenticate(&auth, around, out),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(Refusal::new(Kind::ProtocolError, "a packet that only a server sends"));
            }
        };
        check_user_properties(ack.user_properties, around.server)?;
        engine(Input::Ack { conn, kind, packet_id: ack.packet_id, failed: ack.reason.is_failure() });
        Ok(Step::Done)
    }
}

/// What the user property `selector` of a SUBSCRIBE says; of several the first counts.
fn selector(properties: UserProperties<'_>) -> Option<Result<Arc<Selector>, Box<str>>> {
    let (_, text) = properties.iter().find(|(name, _)| *name == "selector")?;
    Some(Selector::parse(text).map(Arc::new).map_err(|error| error.to_string().into()))
}

fn filter_request<'a>(subscription: subscribe::Subscription<'a>) -> FilterRequest<'a> {
    FilterRequest {
        filter: subscription.filter,
        qos: subscription.qos,
        no_local: subscription.no_local,
        retain_as_published: subscription.retain_as_published,
        retain_handling: match subscription.retain_handling {
            subscribe::RetainHandling::Always => effects::RetainHandling::Always,
            subscribe::RetainHandling::IfNew => effects::RetainHandling::IfNew,
            subscribe::RetainHandling::Never => effects::RetainHandling::Never,
        },
    }
}

#[inline]
fn topic<'a>(name: &'a str, limits: &Limits) -> Result<TopicName<'a>, Refusal> {
    TopicName::parse(name, &limits.topic)
        .map_err(|error| Refusal::new(Kind::TopicNameInvalid, error.to_string()))
}

#[inline]
fn check_user_properties(properties: UserProperties<'_>, limits: &ServerLimits) -> Result<(), Refusal> {
    if properties.is_empty() { Ok(()) } else { count_user_properties(properties.iter().count(), limits) }
}

fn check_fields(fields: message::Fields<'_>, limits: &ServerLimits) -> Result<(), Refusal> {
    let count = fields.iter().filter(|field| matches!(field, message::Field::UserProperty(..))).count();
    count_user_properties(count, limits)
}

fn count_user_properties(count: usize, limits: &ServerLimits) -> Result<(), Refusal> {
    if count <= limits.max_user_properties {
        return Ok(());
    }
    let most = limits.max_user_properties;
    Err(Refusal::new(
        Kind::QuotaExceeded,
        format!("{count} user properties in one packet, max_user_properties is {most}"),
    ))
}

fn alias_refusal(error: AliasError) -> Refusal {
    let kind = match error {
        AliasError::AboveMaximum { .. } => Kind::TopicAliasInvalid,
        AliasError::NeverSet { .. } => Kind::ProtocolError,
    };
    Refusal::new(kind, error.to_string())
}

/// The line of the table for what the codec found wrong.
fn refusal(error: &DecodeError) -> Refusal {
    let kind = match error.reason_code() {
        _ if matches!(error, DecodeError::ConnectExpected(_)) => Kind::FirstPacketNotConnect,
        Reason::PACKET_TOO_LARGE => Kind::PacketTooLarge,
        Reason::UNSUPPORTED_PROTOCOL_VERSION => Kind::UnsupportedVersion,
        Reason::CLIENT_IDENTIFIER_NOT_VALID => Kind::ClientIdNotValid,
        Reason::TOPIC_ALIAS_INVALID => Kind::TopicAliasInvalid,
        Reason::TOPIC_NAME_INVALID => Kind::TopicNameInvalid,
        Reason::TOPIC_FILTER_INVALID => Kind::TopicFilterInvalid,
        Reason::PROTOCOL_ERROR => Kind::ProtocolError,
        _ => Kind::MalformedPacket,
    };
    Refusal::new(kind, format!("{error} [{}]", error.clause()))
}

#[cfg(test)]
mod tests;
