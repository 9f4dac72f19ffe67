//! What a client machine reports to its application.

use std::num::{NonZeroU16, NonZeroU32};

use noctule_core::id::Qos;

use super::message::{Message, Outgoing};
use super::options::Options;
use crate::connack::ConnAck;
use crate::reason::Reason;

/// Something that has happened on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// CONNACK with success.
    Connected(Box<Welcome>),
    /// A message; acknowledged already.
    Message(Message),
    /// The server has acknowledged a message in full, or refused it: then the reason is a failure.
    Published {
        /// What [`Client::publish`](super::Client::publish) returned.
        packet_id: NonZeroU16,
        /// What the server says became of it; 3.x only knows success.
        reason: Reason,
        /// The server's own words.
        reason_string: Option<String>,
    },
    /// The server has no session (any more), so it never acknowledges this; publishing it again may be a duplicate.
    Returned {
        /// What [`Client::publish`](super::Client::publish) returned.
        packet_id: NonZeroU16,
        /// The message; `None` at QoS 2 once the server had taken it over with PUBREC.
        message: Option<Outgoing>,
    },
    /// The answer to a SUBSCRIBE.
    Subscribed {
        /// What [`Client::subscribe`](super::Client::subscribe) returned.
        packet_id: NonZeroU16,
        /// For each filter in its order: the QoS granted, or why not.
        granted: Vec<Result<Qos, Reason>>,
        /// The server's own words.
        reason_string: Option<String>,
    },
    /// The answer to an UNSUBSCRIBE.
    Unsubscribed {
        /// What [`Client::unsubscribe`](super::Client::unsubscribe) returned.
        packet_id: NonZeroU16,
        /// For each filter in its order; 3.x always says success.
        reasons: Vec<Reason>,
        /// The server's own words.
        reason_string: Option<String>,
    },
    /// The server goes on with enhanced authentication: answer with
    /// [`Client::authenticate`](super::Client::authenticate), unless it says that it has succeeded.
    Auth {
        /// Continue, or (only after a re-authentication) Success.
        reason: Reason,
        /// Authentication Data.
        data: Vec<u8>,
    },
}

/// What the server grants (section 3.2.2.3); where it did not say, what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Whether the server still had the session.
    pub session_present: bool,
    /// The client identifier in force.
    pub client_id: String,
    /// Keep Alive in force, seconds; 0 for none.
    pub keep_alive_s: u16,
    /// Session Expiry Interval in force, seconds.
    pub session_expiry_s: u32,
    /// Receive Maximum of the server.
    pub receive_maximum: NonZeroU16,
    /// Highest QoS the server takes.
    pub maximum_qos: Qos,
    /// Whether the server keeps retained messages.
    pub retain_available: bool,
    /// Largest packet that the server takes, bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Topic aliases that the server takes.
    pub topic_alias_maximum: u16,
    /// Whether filters may have wildcards.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_ids_available: bool,
    /// Whether subscriptions may be shared.
    pub shared_subscription_available: bool,
    /// Response Information.
    pub response_information: Option<String>,
    /// The server's own words.
    pub reason_string: Option<String>,
    /// Last data of enhanced authentication, such as the server's proof.
    pub auth_data: Option<Vec<u8>>,
    /// User Properties.
    pub user_properties: Vec<(String, String)>,
}

impl Welcome {
    pub(super) fn new(ack: &ConnAck<'_>, session_present: bool, options: &Options) -> Self {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let default_expiry_s = match (options.version.is_v5(), options.clean_start) {
            (true, _) => options.session_expiry_s.unwrap_or(0),
            (false, true) => 0,
            (false, false) => u32::MAX,
        };
        Self {
            session_present,
            client_id: ack.assigned_client_id.unwrap_or(&options.client_id).to_owned(),
            keep_alive_s: ack.server_keep_alive_s.unwrap_or(options.keep_alive_s),
            session_expiry_s: ack.session_expiry_s.unwrap_or(default_expiry_s),
            receive_maximum: ack.receive_maximum,
            maximum_qos: ack.maximum_qos,
            retain_available: ack.retain_available,
            maximum_packet_size: ack.maximum_packet_size,
            topic_alias_maximum: ack.topic_alias_maximum,
            wildcard_subscription_available: ack.wildcard_subscription_available,
            subscription_ids_available: ack.subscription_ids_available,
            shared_subscription_available: ack.shared_subscription_available,
            response_information: own(ack.response_information),
            reason_string: own(ack.reason_string),
            auth_data: ack.auth_data.map(<[u8]>::to_vec),
            user_properties: ack
                .user_properties
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}
