//! What can be wrong with a packet that came in, and with one that is to go out.
//!
//! A [`DecodeError`] always means that the peer erred: it names the clause that was broken and the reason code to
//! answer with. It holds no heap memory, so that refusing a flood of nonsense costs nothing.

use thiserror::Error;

use crate::reason::Reason;
use crate::version::Version;

/// Why a topic filter is not one (section 4.7 and 4.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FilterFault {
    /// [MQTT-4.7.3-1]
    #[error("it is empty; it must be at least one character long")]
    Empty,
    /// [MQTT-4.7.1-1]
    #[error("`#` must stand alone on the last level")]
    MultiLevel,
    /// [MQTT-4.7.1-2]
    #[error("`+` must fill its whole level")]
    SingleLevel,
    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    #[error("a share name must be at least one character without `+` and `#`, then `/` and a topic filter")]
    Share,
}

/// A packet that its sender should not have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Packet type 0, or 15 before 5.0.
    #[error("packet type {0} is reserved")]
    ReservedType(u8),
    /// Wrong flags in the first byte.
    #[error("first byte 0x{0:02X} has flags that are not this packet's{hint}", hint = tls_hint(*.0))]
    Flags(u8),
    /// PUBLISH with both QoS bits set.
    #[error("PUBLISH has QoS 3; use 0, 1 or 2")]
    PublishQos,
    /// PUBLISH with DUP at QoS 0.
    #[error("PUBLISH has DUP set at QoS 0; a QoS 0 message is never sent again")]
    PublishDup,
    /// A server's packet from a client or a client's from a server.
    #[error("{0} must not be sent in this direction")]
    WrongDirection(&'static str),
    /// The first packet is something else.
    #[error("first byte 0x{0:02X} is not CONNECT's 0x10; CONNECT must be the first packet{hint}", hint = hint(*.0))]
    ConnectExpected(u8),
    /// CONNECT twice.
    #[error("CONNECT was sent a second time; open a new connection instead")]
    SecondConnect,
    /// A fifth byte of length.
    #[error("variable byte integer is longer than four bytes")]
    IntegerTooLong,
    /// More bytes of length than needed.
    #[error("variable byte integer is not in its shortest form")]
    IntegerNotMinimal,
    /// Over the limit that was announced.
    #[error("packet of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes of the whole packet.
        size: u32,
        /// Bytes allowed.
        limit: u32,
    },
    /// The packet ends inside this.
    #[error("packet ends inside its {0}")]
    Truncated(&'static str),
    /// Bytes after the packet's end.
    #[error("{packet} has {bytes} bytes too many")]
    Trailing {
        /// The packet's name.
        packet: &'static str,
        /// Bytes left over.
        bytes: u32,
    },
    /// Text that isn't UTF-8 (surrogates included).
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// Text with U+0000.
    #[error("{0} contains U+0000")]
    Nul(&'static str),
    /// Packet identifier 0.
    #[error("packet identifier is 0; use 1 to 65535")]
    PacketIdZero,
    /// Wildcards in a topic name.
    #[error("{0} contains a wildcard; `+` and `#` belong in filters")]
    TopicWildcard(&'static str),
    /// An empty topic name, without an alias to stand for it.
    #[error("{0} is empty; it must be at least one character long")]
    TopicEmpty(&'static str),
    /// A filter that isn't one.
    #[error("topic filter is invalid: {0}")]
    Filter(FilterFault),
    /// No Local on a shared subscription.
    #[error("no local is set on a shared subscription")]
    NoLocalShared,
    /// Subscription options with reserved bits.
    #[error("subscription options 0x{0:02X} have reserved bits set")]
    OptionsReserved(u8),
    /// Subscription options that ask for QoS 3.
    #[error("subscription options 0x{0:02X} ask for QoS 3")]
    OptionsQos(u8),
    /// Subscription options with retain handling 3.
    #[error("subscription options 0x{0:02X} have retain handling 3; use 0, 1 or 2")]
    OptionsRetain(u8),
    /// SUBSCRIBE without a filter.
    #[error("SUBSCRIBE has no topic filter")]
    SubscribeEmpty,
    /// UNSUBSCRIBE without a filter.
    #[error("UNSUBSCRIBE has no topic filter")]
    UnsubscribeEmpty,
    /// SUBACK or UNSUBACK without a code.
    #[error("{0} has no reason code")]
    NoReasons(&'static str),
    /// Not `MQTT` or `MQIsdp`.
    #[error("protocol name is neither `MQTT` nor `MQIsdp`")]
    ProtocolName,
    /// A level we do not speak.
    #[error("protocol level {0} is not spoken here; use 3 (MQIsdp), 4 or 5")]
    ProtocolLevel(u8),
    /// CONNECT with its reserved flag.
    #[error("connect flags 0x{0:02X} have the reserved bit set")]
    ConnectReserved(u8),
    /// Will QoS 3.
    #[error("connect flags 0x{0:02X} ask for will QoS 3")]
    WillQos(u8),
    /// Will QoS without a will.
    #[error("connect flags 0x{0:02X} have a will QoS without a will")]
    WillQosWithoutWill(u8),
    /// Will retain without a will.
    #[error("connect flags 0x{0:02X} have will retain without a will")]
    WillRetainWithoutWill(u8),
    /// Before 5.0 a password needs a user name.
    #[error("password without a user name")]
    PasswordWithoutUserName,
    /// Before 5.0 an empty client id needs a clean session; in 3.1 it is never allowed.
    #[error("client identifier is empty; set clean session (3.1.1) or choose one")]
    ClientIdEmpty,
    /// A property identifier that does not exist.
    #[error("property 0x{0:02X} is unknown")]
    PropertyUnknown(u32),
    /// A property that belongs elsewhere.
    #[error("property 0x{id:02X} does not belong in {carrier}")]
    PropertyMisplaced {
        /// The property's identifier.
        id: u8,
        /// Where it stood.
        carrier: &'static str,
    },
    /// A property that must not repeat.
    #[error("property 0x{0:02X} is given twice")]
    PropertyRepeated(u8),
    /// A property with a value outside its range.
    #[error("property 0x{id:02X} has the value {value}, which it must not have")]
    PropertyValue {
        /// The property's identifier.
        id: u8,
        /// The value.
        value: u32,
    },
    /// Subscription Identifier in a client's PUBLISH.
    #[error("a client's PUBLISH carries a subscription identifier")]
    SubscriptionIdFromClient,
    /// Authentication data without a method.
    #[error("authentication data without an authentication method")]
    AuthDataWithoutMethod,
    /// AUTH without a method.
    #[error("AUTH without an authentication method")]
    AuthWithoutMethod,
    /// A code this packet does not know, or not from this sender.
    #[error("0x{code:02X} is not a reason code of {carrier}")]
    ReasonCode {
        /// The code.
        code: u8,
        /// Where it stood.
        carrier: &'static str,
    },
    /// CONNACK with reserved flags.
    #[error("connect acknowledge flags 0x{0:02X} have reserved bits set")]
    ConnAckFlags(u8),
    /// CONNACK that refuses and yet speaks of a session.
    #[error("CONNACK refuses with 0x{0:02X} and yet says that a session is present")]
    SessionPresentOnRefusal(u8),
}

/// What a connection that begins with this byte is, if it is TLS.
fn tls_hint(first: u8) -> &'static str {
    // A handshake record (RFC 8446 section 5.1).
    if first == 0x16 { "; if it is TLS, connect to a port with TLS, or have the client use none" } else { "" }
}

/// What a connection that begins with this byte may be instead.
fn hint(first: u8) -> &'static str {
    match first {
        b'C' | b'S' => "; if it is STOMP, connect to a port for STOMP",
        b'G' | b'H' | b'O' => "; if it is HTTP or WebSocket, connect to a listener with websocket",
        // The text of version 1, and what version 2 begins with.
        b'P' | b'\r' => "; if it is a PROXY header, put the proxy's address into proxy_from of the listener",
        _ => tls_hint(first),
    }
}

impl DecodeError {
    /// The reason code of DISCONNECT or CONNACK that answers it (section 4.13).
    #[must_use]
    pub fn reason_code(&self) -> Reason {
        match self {
            Self::TooLarge { .. } => Reason::PACKET_TOO_LARGE,
            Self::ProtocolName | Self::ProtocolLevel(_) => Reason::UNSUPPORTED_PROTOCOL_VERSION,
            Self::ClientIdEmpty => Reason::CLIENT_IDENTIFIER_NOT_VALID,
            // Section 3.3.2.3.4 leaves alias 0 to the code made for aliases.
            Self::PropertyValue { id: 0x23, .. } => Reason::TOPIC_ALIAS_INVALID,
            // A payload format other than 0 and 1 is named no protocol error: it is a value that isn't one.
            Self::PropertyValue { id: 0x01, .. } => Reason::MALFORMED_PACKET,
            Self::WrongDirection(_)
            | Self::ConnectExpected(_)
            | Self::SecondConnect
            | Self::PacketIdZero
            | Self::TopicEmpty(_)
            | Self::NoLocalShared
            | Self::OptionsQos(_)
            | Self::OptionsRetain(_)
            | Self::SubscribeEmpty
            | Self::UnsubscribeEmpty
            | Self::NoReasons(_)
            | Self::PropertyRepeated(_)
            | Self::PropertyValue { .. }
            | Self::SubscriptionIdFromClient
            | Self::AuthDataWithoutMethod
            | Self::AuthWithoutMethod
            | Self::ReasonCode { .. }
            | Self::SessionPresentOnRefusal(_) => Reason::PROTOCOL_ERROR,
            _ => Reason::MALFORMED_PACKET,
        }
    }

    /// The clause that was broken: a conformance statement, or a section where the text has no numbered one.
    ///
    /// Numbers are those of 5.0; where 3.1.1 numbers the same statement otherwise, both are given.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        match self {
            Self::ReservedType(_) | Self::WrongDirection(_) => "section 2.1.2",
            Self::Flags(_) => "MQTT-2.1.3-1; 3.1.1: MQTT-2.2.2-2",
            Self::PublishQos => "MQTT-3.3.1-4",
            Self::PublishDup => "MQTT-3.3.1-2",
            Self::ConnectExpected(_) => "MQTT-3.1.0-1",
            Self::SecondConnect => "MQTT-3.1.0-2",
            Self::IntegerTooLong => "section 1.5.5; 3.1.1: section 2.2.3",
            Self::IntegerNotMinimal => "MQTT-1.5.5-1",
            Self::TooLarge { .. } => "MQTT-3.1.2-24",
            Self::Truncated(_) | Self::Trailing { .. } => "section 4.13.1",
            Self::NotUtf8(_) => "MQTT-1.5.4-1; 3.1.1: MQTT-1.5.3-1",
            Self::Nul(_) => "MQTT-1.5.4-2; 3.1.1: MQTT-1.5.3-2",
            Self::PacketIdZero => "MQTT-2.2.1-3; 3.1.1: MQTT-2.3.1-1",
            Self::TopicWildcard("response topic") => "MQTT-3.3.2-14",
            Self::TopicWildcard(_) => "MQTT-3.3.2-2",
            Self::TopicEmpty(_) | Self::Filter(FilterFault::Empty) => "MQTT-4.7.3-1",
            Self::Filter(FilterFault::MultiLevel) => "MQTT-4.7.1-1; 3.1.1: MQTT-4.7.1-2",
            Self::Filter(FilterFault::SingleLevel) => "MQTT-4.7.1-2; 3.1.1: MQTT-4.7.1-3",
            Self::Filter(FilterFault::Share) => "MQTT-4.8.2-1, MQTT-4.8.2-2",
            Self::NoLocalShared => "MQTT-3.8.3-4",
            Self::OptionsReserved(_) => "MQTT-3.8.3-5; 3.1.1: MQTT-3-8.3-4",
            Self::OptionsQos(_) | Self::OptionsRetain(_) => "section 3.8.3.1; 3.1.1: MQTT-3-8.3-4",
            Self::SubscribeEmpty => "MQTT-3.8.3-2; 3.1.1: MQTT-3.8.3-3",
            Self::UnsubscribeEmpty => "MQTT-3.10.3-2",
            Self::NoReasons(_) => "MQTT-3.9.3-1, MQTT-3.11.3-1",
            Self::ProtocolName => "MQTT-3.1.2-1",
            Self::ProtocolLevel(_) => "MQTT-3.1.2-2",
            Self::ConnectReserved(_) => "MQTT-3.1.2-3",
            Self::WillQos(_) => "MQTT-3.1.2-12; 3.1.1: MQTT-3.1.2-14",
            Self::WillQosWithoutWill(_) => "MQTT-3.1.2-11; 3.1.1: MQTT-3.1.2-13",
            Self::WillRetainWithoutWill(_) => "MQTT-3.1.2-13; 3.1.1: MQTT-3.1.2-15",
            Self::PasswordWithoutUserName => "3.1.1: MQTT-3.1.2-22",
            Self::ClientIdEmpty => "3.1.1: MQTT-3.1.3-7, MQTT-3.1.3-8",
            Self::PropertyUnknown(_) | Self::PropertyMisplaced { .. } | Self::PropertyRepeated(_) => {
                "section 2.2.2.2"
            }
            Self::PropertyValue { id, .. } => crate::property::clause(*id),
            Self::SubscriptionIdFromClient => "MQTT-3.3.4-6",
            Self::AuthDataWithoutMethod => "section 3.1.2.11.10",
            Self::AuthWithoutMethod => "section 3.15.2.2.2",
            Self::ReasonCode { .. } => "section 2.4",
            Self::ConnAckFlags(_) => "MQTT-3.2.2-1",
            Self::SessionPresentOnRefusal(_) => "MQTT-3.2.2-6; 3.1.1: MQTT-3.2.2-4",
        }
    }
}

/// A CONNECT that cannot be accepted, with what is known about how to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{cause}")]
pub struct ConnectError {
    /// The version whose CONNACK the client understands; `None` if it did not get as far as to say.
    pub version: Option<Version>,
    /// What is wrong.
    pub cause: DecodeError,
}

impl ConnectError {
    /// The CONNACK to answer with; `None` means that the connection is closed without one.
    ///
    /// 5.0 has a reason for everything (section 4.13.2). Before, only an unsupported level (0x01) and a bad client
    /// identifier (0x02) have one [3.1.1: MQTT-3.1.2-2, MQTT-3.1.3-8].
    #[must_use]
    pub fn answer(&self) -> Option<(Version, Reason)> {
        let version = self.version?;
        let reason = self.cause.reason_code();
        (version.is_v5() || reason.connack_v3().is_some()).then_some((version, reason))
    }
}

/// A packet that cannot be put on the wire; nothing has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A length that two bytes cannot hold.
    #[error("{field} has {bytes} bytes; 65535 are the most")]
    FieldTooLong {
        /// Which one.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// More than four bytes of variable byte integer can say (section 1.5.5).
    #[error("packet has {0} bytes after its header; 268435455 are the most")]
    PacketTooLong(usize),
    /// A subscription identifier outside 1 to 268,435,455 (section 3.8.2.1.2).
    #[error("subscription identifier {0} is not between 1 and 268435455")]
    SubscriptionId(u32),
    /// QoS above 0 without a packet identifier, or the reverse [MQTT-2.2.1-2].
    #[error("a PUBLISH has a packet identifier exactly when its QoS is above 0")]
    PacketId,
    /// Text or a topic that the other side would have to refuse.
    #[error("{0} is not allowed in this packet; its receiver would close the connection")]
    NotAllowed(&'static str),
    /// A reason that has no code in this packet or version.
    #[error("reason {0} cannot be said in this packet and version")]
    Reason(Reason),
    /// Something that only a later version can say.
    #[error("{0} needs MQTT 5.0")]
    NeedsV5(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_come_to_the_wrong_port_is_told_what_to_do() {
        for (error, words) in [
            (DecodeError::Flags(0x16), "if it is TLS"),
            (DecodeError::ConnectExpected(b'C'), "if it is STOMP"),
            (DecodeError::ConnectExpected(b'S'), "if it is STOMP"),
            (DecodeError::ConnectExpected(b'G'), "if it is HTTP"),
            (DecodeError::ConnectExpected(b'P'), "proxy_from"),
            (DecodeError::ConnectExpected(b'\r'), "proxy_from"),
        ] {
            assert!(error.to_string().contains(words), "{error}");
        }
        // Bytes that packets of ours may have are not guessed about.
        for error in [DecodeError::Flags(b'C'), DecodeError::Flags(0x31), DecodeError::ConnectExpected(0x30)]
        {
            assert!(!error.to_string().contains(" if it is "), "{error}");
        }
    }
}
