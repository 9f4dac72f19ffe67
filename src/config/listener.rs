//! `[[listener]]`: what is spoken where, and who may come in without credentials.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::section::{Setting, section, words};
use super::store::Durability;

section! {
    /// One address that clients connect to. Without any, there is one for each protocol on the loopback.
    pub struct Listener {
        /// What is spoken there: `"mqtt"`, versions 3.1, 3.1.1 and 5.0 alike, or `"stomp"`, 1.0, 1.1 and 1.2 alike.
        protocol: Protocol = Protocol::Mqtt, Restart;

        /// Where to listen; port 0 takes any free one. The loopback by default, so that a fresh installation
        /// serves this machine and nobody else, and there the protocol's own port (see [`Protocol::port`]), which
        /// reading the file puts in.
        address: SocketAddr = Protocol::Mqtt.loopback(), Restart, written loopbacks;

        /// Whose habits the clients of a STOMP listener have: `"native"`. The others are for clients that were written
        /// for RabbitMQ or ActiveMQ: how they write topics, and what they mean by a NACK and a `timestamp`.
        dialect: Dialect = Dialect::Native, Restart;

        /// Who may connect without credentials: `"loopback"`, programs on this machine. An address that others can
        /// reach wants `true`, said in so many words.
        anonymous: Anonymous = Anonymous::Loopback, Connections;

        /// What holds for messages that come in here, instead of `store.durability`: unset. A `[[durability]]` that
        /// matches the topic stands above it.
        durability: Option<Durability> = None, Connections;
    }
}

words! {
    /// What a listener speaks.
    pub enum Protocol {
        /// MQTT over TCP.
        Mqtt = "mqtt",
        /// STOMP over TCP.
        Stomp = "stomp",
    }
}

impl Protocol {
    /// The port that clients try first: the one registered for MQTT without TLS, and the one that every STOMP broker
    /// has.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Mqtt => 1_883,
            Self::Stomp => 61_613,
        }
    }

    /// Its port on the loopback, where it listens unless something else is said.
    #[must_use]
    pub const fn loopback(self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port())
    }
}

words! {
    /// Whose habits the clients of a STOMP listener have.
    pub enum Dialect {
        /// Our own: topics as in MQTT.
        Native = "native",
        /// RabbitMQ's: topics as `a.*.#`, NACK gives back, `timestamp` in seconds.
        Rabbitmq = "rabbitmq",
        /// ActiveMQ's: topics as `a.*.>`, NACK makes a dead letter.
        Activemq = "activemq",
    }
}

impl Listener {
    /// A listener on the loopback, with every other default.
    #[must_use]
    pub fn on_loopback(protocol: Protocol) -> Self {
        Self { protocol, address: protocol.loopback(), ..Self::default() }
    }

    /// Whether the two cannot both be bound.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        collide(self.address, other.address)
    }
}

/// The default addresses, as an error shows them.
fn loopbacks() -> String {
    let [mqtt, stomp] = [Protocol::Mqtt, Protocol::Stomp].map(|protocol| protocol.loopback().written());
    format!("{mqtt}, for \"stomp\" {stomp}")
}

/// Who may connect without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// Nobody: `false`.
    Nobody,
    /// Programs on this machine: `"loopback"`.
    Loopback,
    /// Everybody who can reach the address: `true`.
    Everybody,
}

impl Anonymous {
    /// The word for it in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Loopback => "loopback",
            Self::Everybody => "everybody",
        }
    }

    /// Whether a client from `peer` may connect without credentials.
    #[must_use]
    pub fn admits(self, peer: IpAddr) -> bool {
        match self {
            Self::Nobody => false,
            // A dual-stack socket shows an IPv4 peer as ::ffff:a.b.c.d, which is_loopback alone does not see through.
            Self::Loopback => peer.to_canonical().is_loopback(),
            Self::Everybody => true,
        }
    }
}

impl Setting for Anonymous {
    fn expected(_: Option<RangeInclusive<u64>>) -> String {
        "true, false or \"loopback\"".to_owned()
    }

    fn written(&self) -> String {
        match self {
            Self::Nobody => "false".to_owned(),
            Self::Loopback => "\"loopback\"".to_owned(),
            Self::Everybody => "true".to_owned(),
        }
    }
}

impl Serialize for Anonymous {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nobody => serializer.serialize_bool(false),
            Self::Loopback => serializer.serialize_str("loopback"),
            Self::Everybody => serializer.serialize_bool(true),
        }
    }
}

impl<'de> Deserialize<'de> for Anonymous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoolOrWord;
        impl Visitor<'_> for BoolOrWord {
            type Value = Anonymous;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&<Anonymous as Setting>::expected(None))
            }

            fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Anonymous, E> {
                Ok(if yes { Anonymous::Everybody } else { Anonymous::Nobody })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Anonymous, E> {
                if word == "loopback" {
                    Ok(Anonymous::Loopback)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(word), &self))
                }
            }
        }
        deserializer.deserialize_any(BoolOrWord)
    }
}

/// Whether two listeners cannot both be bound: the same port on the same address, or on "any" and one of them.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && same_address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_seen_through_a_dual_stack_socket() {
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(Anonymous::Loopback.admits(local.parse().unwrap()), "{local}");
            assert!(!Anonymous::Nobody.admits(local.parse().unwrap()), "{local}");
        }
        for other in ["192.168.1.2", "::ffff:192.168.1.2", "fe80::1", "0.0.0.0"] {
            assert!(!Anonymous::Loopback.admits(other.parse().unwrap()), "{other}");
            assert!(Anonymous::Everybody.admits(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn addresses_collide_only_when_they_cannot_both_be_bound() {
        let collides = |a: &str, b: &str| collide(a.parse().unwrap(), b.parse().unwrap());
        assert!(collides("127.0.0.1:1883", "127.0.0.1:1883"));
        assert!(collides("0.0.0.0:1883", "127.0.0.1:1883"));
        assert!(collides("[::1]:1883", "[::]:1883"));
        assert!(!collides("127.0.0.1:1883", "127.0.0.1:1884"));
        assert!(!collides("127.0.0.1:1883", "127.0.0.2:1883"));
        assert!(!collides("127.0.0.1:1883", "[::1]:1883"));
        assert!(!collides("127.0.0.1:0", "127.0.0.1:0"));
    }
}
