//! Reason codes: their names, and in one table which packet may carry which (section 2.4 and each packet's own table).
//!
//! MQTT 3 has its own few return codes; here too they are spoken of by the reason code of 5.0 that says the same, and
//! [`Reason::connack_v3`] and [`Reason::from_connack_v3`] translate.

use std::fmt;

use crate::carrier::Carrier;

/// A reason code of MQTT 5.0 (section 2.4); below 0x80 it is a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(u8);

/// One row: code, name, where it may stand.
struct Row(Reason, &'static str, u32);

const fn at(carriers: &[Carrier]) -> u32 {
    let mut bits = 0;
    let mut i = 0;
    while i < carriers.len() {
        bits |= carriers[i].bit();
        i += 1;
    }
    bits
}

const CONNACK: u32 = at(&[Carrier::ConnAck]);
const PUB: u32 = at(&[Carrier::PubAck, Carrier::PubRec]);
const REL: u32 = at(&[Carrier::PubRel, Carrier::PubComp]);
const SUBACK: u32 = at(&[Carrier::SubAck]);
const UNSUBACK: u32 = at(&[Carrier::UnsubAck]);
const CLIENT_BYE: u32 = at(&[Carrier::DisconnectToServer]);
const SERVER_BYE: u32 = at(&[Carrier::DisconnectToClient]);
const BYE: u32 = CLIENT_BYE | SERVER_BYE;
const CLIENT_AUTH: u32 = at(&[Carrier::AuthToServer]);
const AUTH: u32 = CLIENT_AUTH | at(&[Carrier::AuthToClient]);

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $carriers:expr;)*) => {
        impl Reason {
            $($(#[$doc])* pub const $name: Self = Self($code);)*
        }
        const TABLE: &[Row] = &[$(Row(Reason::$name, $text, $carriers),)*];
    };
}

// A name may stand for one number only, therefore 0x00 has one name: "granted QoS 0" and "normal disconnection" are
// its readings in SUBACK and DISCONNECT. AUTH with 0x00 is only ever a server's to send; it is decoded from a client
// too (AUTH of length 0), because whether it fits is a question of the exchange's state.
reasons! {
    /// Success; Granted QoS 0 in SUBACK; Normal disconnection in DISCONNECT.
    SUCCESS = 0x00, "success", CONNACK | PUB | REL | SUBACK | UNSUBACK | BYE | AUTH;
    /// Granted QoS 1.
    GRANTED_QOS_1 = 0x01, "granted QoS 1", SUBACK;
    /// Granted QoS 2.
    GRANTED_QOS_2 = 0x02, "granted QoS 2", SUBACK;
    /// Disconnect with Will Message.
    DISCONNECT_WITH_WILL = 0x04, "disconnect with will message", CLIENT_BYE;
    /// No matching subscribers.
    NO_MATCHING_SUBSCRIBERS = 0x10, "no matching subscribers", PUB;
    /// No subscription existed.
    NO_SUBSCRIPTION_EXISTED = 0x11, "no subscription existed", UNSUBACK;
    /// Continue authentication.
    CONTINUE_AUTHENTICATION = 0x18, "continue authentication", AUTH;
    /// Re-authenticate.
    REAUTHENTICATE = 0x19, "re-authenticate", CLIENT_AUTH;
    /// Unspecified error.
    UNSPECIFIED_ERROR = 0x80, "unspecified error", CONNACK | PUB | SUBACK | UNSUBACK | BYE;
    /// Malformed Packet.
    MALFORMED_PACKET = 0x81, "malformed packet", CONNACK | BYE;
    /// Protocol Error.
    PROTOCOL_ERROR = 0x82, "protocol error", CONNACK | BYE;
    /// Implementation specific error.
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "implementation specific error", CONNACK | PUB | SUBACK | UNSUBACK | BYE;
    /// Unsupported Protocol Version.
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "unsupported protocol version", CONNACK;
    /// Client Identifier not valid.
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "client identifier not valid", CONNACK;
    /// Bad User Name or Password.
    BAD_USER_NAME_OR_PASSWORD = 0x86, "bad user name or password", CONNACK;
    /// Not authorized.
    NOT_AUTHORIZED = 0x87, "not authorized", CONNACK | PUB | SUBACK | UNSUBACK | SERVER_BYE;
    /// Server unavailable.
    SERVER_UNAVAILABLE = 0x88, "server unavailable", CONNACK;
    /// Server busy.
    SERVER_BUSY = 0x89, "server busy", CONNACK | SERVER_BYE;
    /// Banned.
    BANNED = 0x8A, "banned", CONNACK;
    /// Server shutting down.
    SERVER_SHUTTING_DOWN = 0x8B, "server shutting down", SERVER_BYE;
    /// Bad authentication method.
    BAD_AUTHENTICATION_METHOD = 0x8C, "bad authentication method", CONNACK | SERVER_BYE;
    /// Keep Alive timeout.
    KEEP_ALIVE_TIMEOUT = 0x8D, "keep alive timeout", SERVER_BYE;
    /// Session taken over.
    SESSION_TAKEN_OVER = 0x8E, "session taken over", SERVER_BYE;
    /// Topic Filter invalid.
    TOPIC_FILTER_INVALID = 0x8F, "topic filter invalid", SUBACK | UNSUBACK | SERVER_BYE;
    /// Topic Name invalid.
    TOPIC_NAME_INVALID = 0x90, "topic name invalid", CONNACK | PUB | BYE;
    /// Packet Identifier in use.
    PACKET_IDENTIFIER_IN_USE = 0x91, "packet identifier in use", PUB | SUBACK | UNSUBACK;
    /// Packet Identifier not found.
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "packet identifier not found", REL;
    /// Receive Maximum exceeded.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "receive maximum exceeded", BYE;
    /// Topic Alias invalid.
    TOPIC_ALIAS_INVALID = 0x94, "topic alias invalid", BYE;
    /// Packet too large.
    PACKET_TOO_LARGE = 0x95, "packet too large", CONNACK | BYE;
    /// Message rate too high.
    MESSAGE_RATE_TOO_HIGH = 0x96, "message rate too high", BYE;
    /// Quota exceeded.
    QUOTA_EXCEEDED = 0x97, "quota exceeded", CONNACK | PUB | SUBACK | BYE;
    /// Administrative action.
    ADMINISTRATIVE_ACTION = 0x98, "administrative action", BYE;
    /// Payload format invalid.
    PAYLOAD_FORMAT_INVALID = 0x99, "payload format invalid", CONNACK | PUB | BYE;
    /// Retain not supported.
    RETAIN_NOT_SUPPORTED = 0x9A, "retain not supported", CONNACK | SERVER_BYE;
    /// QoS not supported.
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported", CONNACK | SERVER_BYE;
    /// Use another server.
    USE_ANOTHER_SERVER = 0x9C, "use another server", CONNACK | SERVER_BYE;
    /// Server moved.
    SERVER_MOVED = 0x9D, "server moved", CONNACK | SERVER_BYE;
    /// Shared Subscriptions not supported.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "shared subscriptions not supported", SUBACK | SERVER_BYE;
    /// Connection rate exceeded.
    CONNECTION_RATE_EXCEEDED = 0x9F, "connection rate exceeded", CONNACK | SERVER_BYE;
    /// Maximum connect time.
    MAXIMUM_CONNECT_TIME = 0xA0, "maximum connect time", SERVER_BYE;
    /// Subscription Identifiers not supported.
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, "subscription identifiers not supported", SUBACK | SERVER_BYE;
    /// Wildcard Subscriptions not supported.
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "wildcard subscriptions not supported", SUBACK | SERVER_BYE;
}

/// The table by code: where each may stand, 0 for codes that do not exist.
static CARRIERS: [u32; 256] = {
    let mut by_code = [0; 256];
    let mut i = 0;
    while i < TABLE.len() {
        by_code[TABLE[i].0.0 as usize] = TABLE[i].2;
        i += 1;
    }
    by_code
};

impl Reason {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Whether it reports a failure [section 2.4: 0x80 and above].
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.0 >= 0x80
    }

    /// The code if it may stand in `carrier`.
    #[inline]
    pub(crate) fn checked(code: u8, carrier: Carrier) -> Option<Self> {
        CARRIERS.get(usize::from(code)).is_some_and(|bits| bits & carrier.bit() != 0).then_some(Self(code))
    }

    /// Whether it may stand in `carrier`.
    pub(crate) fn fits(self, carrier: Carrier) -> bool {
        Self::checked(self.0, carrier).is_some()
    }

    /// The specification's name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.0 == self).map_or("unknown", |row| row.1)
    }

    /// The CONNACK return code of MQTT 3 that says this (3.1.1, table 3.1).
    ///
    /// `None` where none is applicable: then the connection is closed without a CONNACK [3.1.1: MQTT-3.2.2-6].
    #[must_use]
    pub const fn connack_v3(self) -> Option<u8> {
        Some(match self {
            Self::SUCCESS => 0,
            Self::UNSUPPORTED_PROTOCOL_VERSION => 1,
            Self::CLIENT_IDENTIFIER_NOT_VALID => 2,
            Self::SERVER_UNAVAILABLE
            | Self::SERVER_BUSY
            | Self::QUOTA_EXCEEDED
            | Self::CONNECTION_RATE_EXCEEDED => 3,
            Self::BAD_USER_NAME_OR_PASSWORD => 4,
            Self::NOT_AUTHORIZED | Self::BANNED => 5,
            _ => return None,
        })
    }

    /// What a CONNACK return code of MQTT 3 says; 6 to 255 are reserved.
    #[must_use]
    pub const fn from_connack_v3(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::SUCCESS,
            1 => Self::UNSUPPORTED_PROTOCOL_VERSION,
            2 => Self::CLIENT_IDENTIFIER_NOT_VALID,
            3 => Self::SERVER_UNAVAILABLE,
            4 => Self::BAD_USER_NAME_OR_PASSWORD,
            5 => Self::NOT_AUTHORIZED,
            _ => return None,
        })
    }

    /// The SUBACK return code of MQTT 3 that says this: the granted QoS or 0x80 (3.1.1, section 3.9.3).
    #[must_use]
    pub const fn suback_v3(self) -> u8 {
        if self.is_failure() { 0x80 } else { self.0 }
    }

    /// What a SUBACK return code of MQTT 3 says; others are reserved [3.1.1: MQTT-3.9.3-2].
    #[must_use]
    pub const fn from_suback_v3(code: u8) -> Option<Self> {
        if matches!(code, 0 | 1 | 2 | 0x80) { Some(Self(code)) } else { None }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02X} {}", self.0, self.name())
    }
}

/// A list of reason codes, one per filter of the request, as decoded or as given to be encoded.
#[derive(Clone, Copy, Debug)]
pub enum ReasonList<'a> {
    /// Validated bytes of a packet; with MQTT 3's return codes translated (they are the same numbers).
    Wire(WireReasons<'a>),
    /// Codes to be sent.
    Given(&'a [Reason]),
}

/// Reason codes that a decoder has validated.
#[derive(Clone, Copy, Debug)]
pub struct WireReasons<'a>(pub(crate) &'a [u8]);

impl<'a> ReasonList<'a> {
    /// The codes in the order of the filters [MQTT-3.9.3-1, MQTT-3.11.3-1].
    pub fn iter(self) -> impl ExactSizeIterator<Item = Reason> + use<'a> {
        let (wire, given): (&[u8], &[Reason]) = match self {
            Self::Wire(WireReasons(wire)) => (wire, &[]),
            Self::Given(given) => (&[], given),
        };
        // One of the two is empty; a plain chain would not know its length.
        let len = wire.len() + given.len();
        let mut both = wire.iter().copied().map(Reason).chain(given.iter().copied());
        (0..len).map(move |_| both.next().unwrap_or(Reason::UNSPECIFIED_ERROR))
    }

    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Wire(WireReasons(wire)) => wire.len(),
            Self::Given(given) => given.len(),
        }
    }

    /// Whether there is none; a decoder never returns that.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for ReasonList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}
