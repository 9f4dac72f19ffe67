//! The way from a listening socket to a protocol: opening sockets, and what lies between a connection and its protocol.
//!
//! The reactor moves the bytes; what they mean once they are a protocol's is for `protocols/`.

mod bind;
mod layers;
mod proxy;
mod sniff;
mod wiring;

pub use bind::BindError;
pub(crate) use bind::{Bound, Inherited, bind};
pub(crate) use layers::{Facts, Layers};
pub(crate) use wiring::Wiring;

use crate::config::Protocol;

/// A protocol of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// MQTT.
    Mqtt,
    /// STOMP.
    Stomp,
}

impl Spoken {
    /// Its name in questions to others.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Stomp => "stomp",
        }
    }

    /// What a listener speaks, if it is one protocol only.
    pub(crate) fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Mqtt => Some(Self::Mqtt),
            Protocol::Stomp => Some(Self::Stomp),
            Protocol::Auto => None,
        }
    }
}
