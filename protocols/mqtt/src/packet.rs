//! All packets together: [`decode`] for any of them, and the header that every encoder writes first.

use bytes::{BufMut, BytesMut};

use crate::ack::Ack;
use crate::carrier::Carrier;
use crate::connack::ConnAck;
use crate::error::{DecodeError, EncodeError};
use crate::farewell::{Auth, Disconnect};
use crate::framing::{Frame, MAX_REMAINING, varint_len};
use crate::property::write_varint;
use crate::publish::{Publish, decode_publish};
use crate::subscribe::{SubAck, Subscribe, Unsubscribe};
use crate::version::{Direction, PacketType, Version};

/// A decoded packet, borrowed from the read buffer; CONNECT has [`decode_connect`](crate::decode_connect).
#[derive(Clone, Debug, PartialEq)]
pub enum Packet<'a> {
    /// CONNACK, boxed because it is large and comes once per connection.
    ConnAck(Box<ConnAck<'a>>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK.
    PubAck(Ack<'a>),
    /// PUBREC.
    PubRec(Ack<'a>),
    /// PUBREL.
    PubRel(Ack<'a>),
    /// PUBCOMP.
    PubComp(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// SUBACK.
    SubAck(SubAck<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK.
    UnsubAck(SubAck<'a>),
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH.
    Auth(Auth<'a>),
}

/// Decodes one packet that a [`Framer`](crate::Framer) for the same version and direction has cut out; the framer has
/// checked the first byte.
///
/// # Errors
/// When the packet breaks a rule that can be judged without the connection's state; a CONNECT always does, because a
/// connection whose version is known has had its one [MQTT-3.1.0-2].
#[inline]
pub fn decode<'a>(
    version: Version,
    direction: Direction,
    frame: &Frame<'a>,
) -> Result<Packet<'a>, DecodeError> {
    let kind = frame.packet_type().ok_or(DecodeError::ReservedType(0))?;
    let body = frame.body;
    Ok(match (kind, direction) {
        (PacketType::Publish, _) => Packet::Publish(decode_publish(version, direction, frame)?),
        (PacketType::PubAck, _) => Packet::PubAck(Ack::decode(version, kind, body)?),
        (PacketType::PubRec, _) => Packet::PubRec(Ack::decode(version, kind, body)?),
        (PacketType::PubRel, _) => Packet::PubRel(Ack::decode(version, kind, body)?),
        (PacketType::PubComp, _) => Packet::PubComp(Ack::decode(version, kind, body)?),
        (PacketType::Subscribe, Direction::ToServer) => Packet::Subscribe(Subscribe::decode(version, body)?),
        (PacketType::Unsubscribe, Direction::ToServer) => {
            Packet::Unsubscribe(Unsubscribe::decode(version, body)?)
        }
        (PacketType::PingReq, Direction::ToServer) => empty(kind, body, Packet::PingReq)?,
        (PacketType::ConnAck, Direction::ToClient) => {
            Packet::ConnAck(Box::new(ConnAck::decode(version, body)?))
        }
        (PacketType::SubAck, Direction::ToClient) => {
            Packet::SubAck(SubAck::decode(version, Carrier::SubAck, body)?)
        }
        (PacketType::UnsubAck, Direction::ToClient) => {
            Packet::UnsubAck(SubAck::decode(version, Carrier::UnsubAck, body)?)
        }
        (PacketType::PingResp, Direction::ToClient) => empty(kind, body, Packet::PingResp)?,
        (PacketType::Disconnect, _) if direction == Direction::ToServer || version.is_v5() => {
            Packet::Disconnect(Disconnect::decode(version, direction, body)?)
        }
        (PacketType::Auth, _) if version.is_v5() => Packet::Auth(Auth::decode(direction, body)?),
        (PacketType::Auth, _) => return Err(DecodeError::ReservedType(15)),
        (PacketType::Connect, Direction::ToServer) => return Err(DecodeError::SecondConnect),
        (_, _) => return Err(DecodeError::WrongDirection(kind.name())),
    })
}

fn empty<'a>(kind: PacketType, body: &[u8], packet: Packet<'a>) -> Result<Packet<'a>, DecodeError> {
    if body.is_empty() {
        Ok(packet)
    } else {
        Err(DecodeError::Trailing { packet: kind.name(), bytes: body.len() as u32 })
    }
}

impl Packet<'_> {
    /// Writes the packet as the side that sends in `direction`.
    ///
    /// # Errors
    /// As the packet's own encoder; also when it isn't sent in this direction. Nothing is written then.
    pub fn encode(
        &self,
        version: Version,
        direction: Direction,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let only = |wanted| {
            if direction == wanted {
                Ok(())
            } else {
                Err(EncodeError::NotAllowed("sending it in this direction"))
            }
        };
        match self {
            Self::Publish(publish) => publish.encode(version, out),
            Self::PubAck(ack) => ack.encode(version, PacketType::PubAck, out),
            Self::PubRec(ack) => ack.encode(version, PacketType::PubRec, out),
            Self::PubRel(ack) => ack.encode(version, PacketType::PubRel, out),
            Self::PubComp(ack) => ack.encode(version, PacketType::PubComp, out),
            Self::Disconnect(disconnect) => disconnect.encode(version, direction, out),
            Self::Auth(auth) => auth.encode(version, direction, out),
            Self::Subscribe(subscribe) => {
                only(Direction::ToServer).and_then(|()| subscribe.encode(version, out))
            }
            Self::Unsubscribe(request) => {
                only(Direction::ToServer).and_then(|()| request.encode(version, out))
            }
            Self::PingReq => only(Direction::ToServer).map(|()| encode_pingreq(out)),
            Self::ConnAck(ack) => only(Direction::ToClient).and_then(|()| ack.encode(version, out)),
            Self::SubAck(ack) => only(Direction::ToClient).and_then(|()| ack.encode_suback(version, out)),
            Self::UnsubAck(ack) => only(Direction::ToClient).and_then(|()| ack.encode_unsuback(version, out)),
            Self::PingResp => only(Direction::ToClient).map(|()| encode_pingresp(out)),
        }
    }
}

/// Writes a PINGREQ.
pub fn encode_pingreq(out: &mut BytesMut) {
    out.put_slice(&[PacketType::PingReq.first_byte(), 0]);
}

/// Writes a PINGRESP.
pub fn encode_pingresp(out: &mut BytesMut) {
    out.put_slice(&[PacketType::PingResp.first_byte(), 0]);
}

/// The remaining length of a packet that is about to be written.
#[derive(Debug, Default)]
pub(crate) struct PacketLen(usize);

impl PacketLen {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes);
    }

    /// Adds a property block and its length, and gives the block's length back.
    pub(crate) fn add_block(&mut self, bytes: usize) -> usize {
        self.add(varint_len(u32::try_from(bytes).unwrap_or(u32::MAX)));
        self.add(bytes);
        bytes
    }
}

/// Makes room for a packet and writes its fixed header.
///
/// # Errors
/// When the length does not fit; nothing is written then, which is why every encoder calls this before anything else.
pub(crate) fn put_header(kind: PacketType, len: &PacketLen, out: &mut BytesMut) -> Result<(), EncodeError> {
    let remaining = match u32::try_from(len.0) {
        Ok(remaining) if remaining <= MAX_REMAINING => remaining,
        _ => return Err(EncodeError::PacketTooLong(len.0)),
    };
    out.reserve(5 + len.0);
    out.put_u8(kind.first_byte());
    write_varint(remaining, out);
    Ok(())
}
