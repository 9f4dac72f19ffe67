//! What a client asks for when it connects, and what it keeps to on its own account.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Bytes, BytesMut};
use noctule_core::id::Qos;
use noctule_core::message::Fields;

use super::message::Properties;
use crate::connect::{self, Connect};
use crate::error::EncodeError;
use crate::property::UserProperties;
use crate::version::Version;

/// What the server is to publish when the client vanishes (section 3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where to; free of wildcards.
    pub topic: String,
    /// The body, 65,535 bytes at most.
    pub payload: Bytes,
    /// Quality of service.
    pub qos: Qos,
    /// Whether it replaces the topic's retained message.
    pub retain: bool,
    /// Will Delay Interval in seconds; left out before 5.0.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds; left out before 5.0.
    pub expiry_s: Option<u32>,
    /// What goes with it; left out before 5.0.
    pub properties: Properties,
}

/// A method of enhanced authentication and its first data (MQTT 5, section 4.12).
#[derive(Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Authentication Method, such as `SCRAM-SHA-256`.
    pub method: String,
    /// Authentication Data of CONNECT.
    pub data: Option<Vec<u8>>,
}

/// Everything that can be asked for in CONNECT, and the client's own limits.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// What is to be spoken.
    pub version: Version,
    /// Client Identifier; empty where the server is to choose, which 3.1 does not know.
    pub client_id: String,
    /// Clean Start; Clean Session in 3.x.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive_s: u16,
    /// User Name.
    pub user_name: Option<String>,
    /// Password; before 5.0 never without a user name.
    pub password: Option<Vec<u8>>,
    /// Will.
    pub will: Option<Will>,
    /// Session Expiry Interval in seconds; `None` is 0. Left out before 5.0.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum: messages at QoS 2 that the server may have under way to us. Left out before 5.0.
    pub receive_maximum: NonZeroU16,
    /// Largest packet that is taken, bytes; announced in 5.0, kept to in all versions. `None` is MQTT's own limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Topic Alias Maximum: aliases that the server may set. Left out before 5.0.
    pub topic_alias_maximum: u16,
    /// Whether Response Information is wanted. Left out before 5.0.
    pub request_response_information: bool,
    /// Whether reason strings and user properties are wanted in answers. Left out before 5.0.
    pub request_problem_information: bool,
    /// User Properties of CONNECT. Left out before 5.0.
    pub user_properties: Vec<(String, String)>,
    /// Enhanced authentication. Left out before 5.0.
    pub authentication: Option<Authentication>,
    /// Messages at QoS 1 and 2 that may be unacknowledged; the server's Receive Maximum may lower it.
    pub max_inflight: NonZeroU16,
    /// Topic aliases set towards the server, as far as it takes them; 0 for none.
    pub aliases_out: u16,
    /// How long CONNACK and the answer to a ping may take, ms.
    pub answer_timeout_ms: u64,
}

impl Options {
    /// A clean start, a keep alive of 60 seconds, a window of 1,000 messages, and defaults for the rest.
    #[must_use]
    pub fn new(version: Version, client_id: impl Into<String>) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean_start: true,
            keep_alive_s: 60,
            user_name: None,
            password: None,
            will: None,
            session_expiry_s: None,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: Vec::new(),
            authentication: None,
            max_inflight: NonZeroU16::MIN.saturating_add(999),
            aliases_out: 0,
            answer_timeout_ms: 10_000,
        }
    }

    /// Writes CONNECT.
    ///
    /// # Errors
    /// When something does not fit, or the server would have to refuse it; nothing is written then.
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let user_properties: Vec<_> =
            self.user_properties.iter().map(|(name, value)| (&**name, &**value)).collect();
        let fields = self.will.as_ref().map(|will| will.properties.encode()).transpose()?.unwrap_or_default();
        let will = self.will.as_ref().map(|will| {
            let mut wire = connect::Will::new(&will.topic, &will.payload)
                .with_fields(Fields::from_validated([&fields, &[], &[]]));
            wire.qos = will.qos;
            wire.retain = will.retain;
            wire.delay_s = will.delay_s;
            wire.expiry_s = will.expiry_s;
            wire
        });
        Connect {
            clean_start: self.clean_start,
            keep_alive_s: self.keep_alive_s,
            will,
            user_name: self.user_name.as_deref(),
            password: self.password.as_deref(),
            session_expiry_s: self.session_expiry_s,
            receive_maximum: self.receive_maximum,
            maximum_packet_size: self.maximum_packet_size,
            topic_alias_maximum: self.topic_alias_maximum,
            request_response_information: self.request_response_information,
            request_problem_information: self.request_problem_information,
            user_properties: UserProperties::Given(&user_properties),
            auth_method: self.authentication.as_ref().map(|auth| &*auth.method),
            auth_data: self.authentication.as_ref().and_then(|auth| auth.data.as_deref()),
            ..Connect::new(self.version, &self.client_id)
        }
        .encode(out)
    }
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication").field("method", &self.method).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Options {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}
