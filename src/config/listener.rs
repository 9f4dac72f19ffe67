//! `[[listener]]`: what is spoken where, and who may come in without credentials.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::address::{Address, Network};
use super::auth::{Auth, AuthMethod};
use super::quantity::Size;
use super::section::{Setting, section, text, words};
use super::store::Durability;
use super::tls::TlsName;

const MIB: u64 = 1 << 20;

section! {
    /// One address that clients connect to. Without any, there is one for each protocol on the loopback.
    pub struct Listener {
        /// What is spoken there: `"mqtt"`, versions 3.1, 3.1.1 and 5.0 alike, `"stomp"`, 1.0, 1.1 and 1.2 alike, or
        /// `"auto"`: whatever the first bytes say, TLS and WebSocket included where the listener has them.
        protocol: Protocol = Protocol::Mqtt, Now;

        /// Where to listen: an address and port (port 0 takes any free one), `unix:` and a path, or `systemd:` and the name
        /// of a socket that systemd has opened. The loopback by default, so that a fresh installation serves this machine
        /// and nobody else, and there the protocol's own port (see [`Protocol::port`]), which reading the file puts in.
        address: Address = Address::Net(Protocol::Mqtt.loopback()), Now, written loopbacks;

        /// The `[[tls]]` that is spoken here, by its name: none, everything can be read on the way.
        tls: Option<TlsName> = None, Now;

        /// The path under which WebSocket is spoken here, and nothing else (with `"auto"`: as well): none.
        websocket: Option<WebPath> = None, Now;

        /// Web pages that may connect by WebSocket, as browsers say it: those of the host that is connected to. `"*"` is
        /// all of them. Programs other than browsers say nothing, and may.
        origins: Vec<Origin> = Vec::new(), Now;

        /// Proxies that say for whom they connect (PROXY protocol, versions 1 and 2): none. They must say it, and nobody else
        /// may.
        proxy_from: Vec<Network> = Vec::new(), Now;

        /// Whose habits the clients of STOMP have: `"native"`. The others are for clients that were written for RabbitMQ or
        /// ActiveMQ: how they write topics, and what they mean by a NACK and a `timestamp`.
        dialect: Dialect = Dialect::Native, Connections;

        /// Who may connect without credentials: `"loopback"`, programs on this machine. An address that others can
        /// reach wants `true`, said in so many words, or authentication.
        anonymous: Anonymous = Anonymous::Loopback, Now;

        /// How clients prove who they are, instead of `auth.chain`: unset. `[]` is no way at all.
        auth: Option<Vec<AuthMethod>> = None, Now;

        /// What holds for messages that come in here, instead of `store.durability`: unset. A `[[durability]]` that
        /// matches the topic stands above it.
        durability: Option<Durability> = None, Connections;

        /// Most connections through this listener, within `limits.max_connections`: unset.
        max_connections: Option<u32> [1..=1_000_000] = None, Now;

        /// Most new connections in a second, instead of `limits.connect_rate`: unset.
        connect_rate: Option<u32> [0..=1_000_000] = None, Now;

        /// Most messages that one client may send in a second, instead of `limits.message_rate`: unset.
        message_rate: Option<u32> [0..=10_000_000] = None, Now;

        /// Most bytes that one client may send in a second, instead of `limits.byte_rate`: unset.
        byte_rate: Option<Size> [0..=1_024 * MIB] = None, Now;
    }
}

words! {
    /// What a listener speaks.
    pub enum Protocol {
        /// MQTT.
        Mqtt = "mqtt",
        /// STOMP.
        Stomp = "stomp",
        /// Whatever the first bytes of a connection say.
        Auto = "auto",
    }
}

text! {
    /// The path of a WebSocket.
    pub struct WebPath = "a path such as \"/mqtt\" or \"/\"";
}

text! {
    /// Where a web page comes from.
    pub struct Origin = "an origin such as \"https://hmi.plant.example\", or \"*\" for all";
}

impl Protocol {
    /// The port that clients try first: the one registered for MQTT without TLS, and the one that every STOMP broker
    /// has.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Mqtt | Self::Auto => 1_883,
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
        Self { protocol, address: protocol.loopback().into(), ..Self::default() }
    }

    /// How clients prove here who they are: as the listener says, or else as `[auth]` does.
    #[must_use]
    pub fn chain<'c>(&'c self, auth: &'c Auth) -> &'c [AuthMethod] {
        self.auth.as_deref().unwrap_or(&auth.chain)
    }
}

/// The default addresses, as an error shows them.
fn loopbacks() -> String {
    let [mqtt, stomp] = [Protocol::Mqtt, Protocol::Stomp].map(Protocol::loopback);
    format!("\"{mqtt}\", for \"stomp\" \"{stomp}\"")
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

    /// Whether a client from `peer` may connect without credentials; a program at the other end of a Unix socket has no
    /// address.
    #[must_use]
    pub fn admits(self, peer: Option<IpAddr>) -> bool {
        match self {
            Self::Nobody => false,
            // A dual-stack socket shows an IPv4 peer as ::ffff:a.b.c.d, which is_loopback alone does not see through.
            Self::Loopback => peer.is_none_or(|peer| peer.to_canonical().is_loopback()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_seen_through_a_dual_stack_socket() {
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(Anonymous::Loopback.admits(local.parse().ok()), "{local}");
            assert!(!Anonymous::Nobody.admits(local.parse().ok()), "{local}");
        }
        for other in ["192.168.1.2", "::ffff:192.168.1.2", "fe80::1", "0.0.0.0"] {
            assert!(!Anonymous::Loopback.admits(other.parse().ok()), "{other}");
            assert!(Anonymous::Everybody.admits(other.parse().ok()), "{other}");
        }
    }
}
