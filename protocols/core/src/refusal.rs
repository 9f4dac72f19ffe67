//! Every way in which the broker ends a connection, in one table.
//!
//! A refusal says who is at fault, what MQTT 5 and MQTT 3 are told, which counter rises and how loudly it is logged.
//! Codecs turn it into their own words; nothing closes a connection without one.

use std::borrow::Cow;
use std::fmt;

/// Who is to blame, which decides the log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke the protocol or a limit.
    Peer,
    /// The broker (or its machine) could not serve.
    Broker,
    /// Nobody: an ordinary event.
    Nobody,
}

/// Why a connection ends; [`Kind::row`] has everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table below says what each is, in the specification's words")]
pub enum Kind {
    MalformedPacket,
    ProtocolError,
    FirstPacketNotConnect,
    UnsupportedVersion,
    ClientIdNotValid,
    BadCredentials,
    NotAuthorized,
    ServerUnavailable,
    ServerBusy,
    TooManyConnections,
    ServerShuttingDown,
    BadAuthenticationMethod,
    ConnectTimeout,
    KeepAliveTimeout,
    SessionTakenOver,
    TopicFilterInvalid,
    TopicNameInvalid,
    ReceiveMaximumExceeded,
    TopicAliasInvalid,
    PacketTooLarge,
    MessageRateTooHigh,
    QuotaExceeded,
    SlowConsumer,
    AdministrativeAction,
    PayloadFormatInvalid,
    RetainNotSupported,
    QosNotSupported,
    SharedSubscriptionsNotSupported,
    SubscriptionIdsNotSupported,
    WildcardsNotSupported,
    Transport,
    Internal,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Who is to blame.
    pub fault: Fault,
    /// MQTT 5 reason code for CONNACK or DISCONNECT (section 2.4); `None`: close without a packet.
    pub v5: Option<u8>,
    /// MQTT 3 CONNACK return code (section 3.2.2.3); `None`: close without a packet. MQTT 3 has no server DISCONNECT.
    pub v3_connack: Option<u8>,
    /// Counter label and log field.
    pub label: &'static str,
}

const fn row(fault: Fault, v5: u8, v3: u8, label: &'static str) -> Row {
    Row {
        fault,
        v5: if v5 == 0 { None } else { Some(v5) },
        v3_connack: if v3 == 0 { None } else { Some(v3) },
        label,
    }
}

impl Kind {
    /// Every kind, for the declaration of counters and for tests.
    pub const ALL: [Self; 32] = [
        Self::MalformedPacket,
        Self::ProtocolError,
        Self::FirstPacketNotConnect,
        Self::UnsupportedVersion,
        Self::ClientIdNotValid,
        Self::BadCredentials,
        Self::NotAuthorized,
        Self::ServerUnavailable,
        Self::ServerBusy,
        Self::TooManyConnections,
        Self::ServerShuttingDown,
        Self::BadAuthenticationMethod,
        Self::ConnectTimeout,
        Self::KeepAliveTimeout,
        Self::SessionTakenOver,
        Self::TopicFilterInvalid,
        Self::TopicNameInvalid,
        Self::ReceiveMaximumExceeded,
        Self::TopicAliasInvalid,
        Self::PacketTooLarge,
        Self::MessageRateTooHigh,
        Self::QuotaExceeded,
        Self::SlowConsumer,
        Self::AdministrativeAction,
        Self::PayloadFormatInvalid,
        Self::RetainNotSupported,
        Self::QosNotSupported,
        Self::SharedSubscriptionsNotSupported,
        Self::SubscriptionIdsNotSupported,
        Self::WildcardsNotSupported,
        Self::Transport,
        Self::Internal,
    ];

    /// What the kind means to each protocol, to the counters and to the log.
    #[must_use]
    pub fn row(self) -> Row {
        use Fault::{Broker, Nobody, Peer};
        match self {
            Self::MalformedPacket => row(Peer, 0x81, 0, "malformed_packet"),
            Self::ProtocolError => row(Peer, 0x82, 0, "protocol_error"),
            // Before CONNECT the peer's version is unknown: nothing can be said to it.
            Self::FirstPacketNotConnect => row(Peer, 0, 0, "first_packet_not_connect"),
            Self::UnsupportedVersion => row(Peer, 0x84, 0x01, "unsupported_version"),
            Self::ClientIdNotValid => row(Peer, 0x85, 0x02, "client_id_not_valid"),
            Self::BadCredentials => row(Peer, 0x86, 0x04, "bad_credentials"),
            Self::NotAuthorized => row(Peer, 0x87, 0x05, "not_authorized"),
            Self::ServerUnavailable => row(Broker, 0x88, 0x03, "server_unavailable"),
            Self::ServerBusy => row(Broker, 0x89, 0x03, "server_busy"),
            Self::TooManyConnections => row(Broker, 0x97, 0x03, "too_many_connections"),
            Self::ServerShuttingDown => row(Nobody, 0x8B, 0x03, "server_shutting_down"),
            Self::BadAuthenticationMethod => row(Peer, 0x8C, 0x05, "bad_authentication_method"),
            Self::ConnectTimeout => row(Peer, 0, 0, "connect_timeout"),
            Self::KeepAliveTimeout => row(Peer, 0x8D, 0, "keep_alive_timeout"),
            Self::SessionTakenOver => row(Nobody, 0x8E, 0, "session_taken_over"),
            Self::TopicFilterInvalid => row(Peer, 0x8F, 0, "topic_filter_invalid"),
            Self::TopicNameInvalid => row(Peer, 0x90, 0x05, "topic_name_invalid"),
            Self::ReceiveMaximumExceeded => row(Peer, 0x93, 0, "receive_maximum_exceeded"),
            Self::TopicAliasInvalid => row(Peer, 0x94, 0, "topic_alias_invalid"),
            Self::PacketTooLarge => row(Peer, 0x95, 0, "packet_too_large"),
            Self::MessageRateTooHigh => row(Peer, 0x96, 0, "message_rate_too_high"),
            Self::QuotaExceeded => row(Broker, 0x97, 0x03, "quota_exceeded"),
            Self::SlowConsumer => row(Peer, 0x97, 0, "slow_consumer"),
            Self::AdministrativeAction => row(Nobody, 0x98, 0, "administrative_action"),
            Self::PayloadFormatInvalid => row(Peer, 0x99, 0, "payload_format_invalid"),
            Self::RetainNotSupported => row(Peer, 0x9A, 0x05, "retain_not_supported"),
            Self::QosNotSupported => row(Peer, 0x9B, 0x05, "qos_not_supported"),
            Self::SharedSubscriptionsNotSupported => row(Peer, 0x9E, 0, "shared_subscriptions_not_supported"),
            Self::SubscriptionIdsNotSupported => row(Peer, 0xA1, 0, "subscription_ids_not_supported"),
            Self::WildcardsNotSupported => row(Peer, 0xA2, 0, "wildcards_not_supported"),
            // TLS, WebSocket and proxies say it in words of their own, and no protocol has begun.
            Self::Transport => row(Peer, 0, 0, "transport"),
            Self::Internal => row(Broker, 0x83, 0x03, "internal"),
        }
    }
}

/// A kind together with the words for the peer's Reason String and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which line of the table.
    pub kind: Kind,
    /// What was wrong and how to mend it, lower-case, with the offending value.
    pub detail: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with its explanation.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What the peer is told: everything, but where that would help who guesses. The log has the detail.
    #[must_use]
    pub fn told(&self) -> &str {
        match self.kind {
            Kind::BadCredentials => "the user name or the password is wrong",
            _ => &self.detail,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.row().label, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_is_not_told_which_part_was_wrong() {
        let told = |kind, detail| Refusal::new(kind, detail).told().to_owned();
        let wrong =
            ["a wrong password", "a user that nobody knows"].map(|why| told(Kind::BadCredentials, why));
        assert_eq!(wrong[0], wrong[1]);
        assert_eq!(told(Kind::NotAuthorized, "no credentials"), "no credentials");
    }

    #[test]
    fn labels_are_unique_and_codes_are_errors() {
        for (position, kind) in Kind::ALL.iter().enumerate() {
            let row = kind.row();
            assert!(row.v5.is_none_or(|code| code >= 0x80), "{kind:?}");
            assert!(row.v3_connack.is_none_or(|code| (1..=5).contains(&code)), "{kind:?}");
            let later = Kind::ALL.get(position + 1..).unwrap();
            assert!(later.iter().all(|other| other.row().label != row.label), "{kind:?}");
        }
    }
}
