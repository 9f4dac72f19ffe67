//! Where a property or a reason code may stand: a packet, and for some packets who sends it. The two tables that use
//! it are in `property.rs` and `reason.rs`.

use crate::version::{Direction, PacketType};

/// One place that carries properties or reason codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Carrier {
    Connect,
    Will,
    ConnAck,
    PublishToServer,
    PublishToClient,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    DisconnectToServer,
    DisconnectToClient,
    AuthToServer,
    AuthToClient,
}

impl Carrier {
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Will => "the will",
            Self::ConnAck => "CONNACK",
            Self::PublishToServer => "a client's PUBLISH",
            Self::PublishToClient => "a server's PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::DisconnectToServer => "a client's DISCONNECT",
            Self::DisconnectToClient => "a server's DISCONNECT",
            Self::AuthToServer => "a client's AUTH",
            Self::AuthToClient => "a server's AUTH",
        }
    }

    /// The place of DISCONNECT, whose rules depend on the sender.
    pub(crate) const fn disconnect(direction: Direction) -> Self {
        match direction {
            Direction::ToServer => Self::DisconnectToServer,
            Direction::ToClient => Self::DisconnectToClient,
        }
    }

    /// The place of AUTH, whose rules depend on the sender.
    pub(crate) const fn auth(direction: Direction) -> Self {
        match direction {
            Direction::ToServer => Self::AuthToServer,
            Direction::ToClient => Self::AuthToClient,
        }
    }

    /// The place of PUBLISH, whose rules depend on the sender.
    pub(crate) const fn publish(direction: Direction) -> Self {
        match direction {
            Direction::ToServer => Self::PublishToServer,
            Direction::ToClient => Self::PublishToClient,
        }
    }

    /// The place of the four acknowledgements of PUBLISH.
    pub(crate) const fn ack(kind: PacketType) -> Self {
        match kind {
            PacketType::PubRec => Self::PubRec,
            PacketType::PubRel => Self::PubRel,
            PacketType::PubComp => Self::PubComp,
            _ => Self::PubAck,
        }
    }
}
