//! Where a listener listens, and which networks a rule is about.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use noctule_core::acl;
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::section::Setting;

/// Longest path of a Unix socket: what `sockaddr_un` of Linux holds, without its NUL.
const MAX_SOCKET_PATH: usize = 107;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address and port; port 0 takes any free one.
    Net(SocketAddr),
    /// A Unix socket: `unix:/run/noctule/mqtt.sock`.
    Unix(PathBuf),
    /// A socket that systemd has opened: `systemd:` and its `FileDescriptorName=`.
    Systemd(String),
}

impl Address {
    /// The TCP address, if it is one.
    #[must_use]
    pub const fn net(&self) -> Option<SocketAddr> {
        match self {
            Self::Net(address) => Some(*address),
            Self::Unix(_) | Self::Systemd(_) => None,
        }
    }

    /// Another port, for a TCP address.
    pub const fn set_port(&mut self, port: u16) {
        if let Self::Net(address) = self {
            address.set_port(port);
        }
    }

    /// Whether only programs on this machine can reach it. What systemd has opened is not known here, so it is not.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Net(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
            Self::Systemd(_) => false,
        }
    }

    /// Whether two listeners cannot both be bound: the same path or name, or the same port on the same address, or on
    /// "any" and one of them.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Net(a), Self::Net(b)) => {
                let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && same_address
            }
            (a, b) => a == b,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Net(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

const ADDRESS_FORMS: &str = "an address and port such as \"127.0.0.1:1883\", \"0.0.0.0:1883\" or \"[::1]:61613\", a \
                             Unix socket such as \"unix:/run/noctule/mqtt.sock\", or \"systemd:NAME\" for one that systemd \
                             has opened";

impl FromStr for Address {
    type Err = &'static str;

    /// # Errors
    /// What an address looks like.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = path.starts_with('/') && path.len() <= MAX_SOCKET_PATH && !path.contains('\0');
            return if fits { Ok(Self::Unix(path.into())) } else { Err(ADDRESS_FORMS) };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            // What sd_is_fd_name_valid says of a name.
            let is_name = !name.is_empty()
                && name.len() <= 255
                && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
            return if is_name { Ok(Self::Systemd(name.to_owned())) } else { Err(ADDRESS_FORMS) };
        }
        text.parse().map(Self::Net).map_err(|_| ADDRESS_FORMS)
    }
}

impl Setting for Address {
    fn expected(_: Option<RangeInclusive<u64>>) -> String {
        ADDRESS_FORMS.to_owned()
    }

    fn written(&self) -> String {
        format!("{:?}", self.to_string())
    }
}

/// A network as `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(acl::Network);

impl Network {
    /// As the core's rules have it.
    #[must_use]
    pub const fn get(self) -> acl::Network {
        self.0
    }

    /// Whether `address` is in it; an IPv4 address is one however it is written.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(address)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Network {
    type Err = acl::NetworkError;

    /// # Errors
    /// What is wrong with it and how it is written.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        acl::Network::parse(text).map(Self)
    }
}

impl Setting for Network {
    fn expected(_: Option<RangeInclusive<u64>>) -> String {
        "an address or a network such as \"10.0.0.7\", \"10.0.0.0/8\" or \"fd00::/8\", with no bits set behind the prefix"
            .to_owned()
    }

    fn written(&self) -> String {
        format!("\"{self}\"")
    }
}

/// Reads and writes a type by its text.
macro_rules! as_text {
    ($($Type:ty),+) => {$(
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $Type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

as_text!(Address, Network);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_of_three_kinds() {
        assert_eq!(address("[::1]:61613"), Address::Net("[::1]:61613".parse().unwrap()));
        assert_eq!(address("unix:/run/n/m.sock"), Address::Unix("/run/n/m.sock".into()));
        assert_eq!(address("systemd:mqtt"), Address::Systemd("mqtt".to_owned()));
        let long = format!("unix:/{}", "a".repeat(MAX_SOCKET_PATH));
        for bad in [
            "",
            "localhost:1883",
            "127.0.0.1",
            "unix:",
            "unix:m.sock",
            &long,
            "systemd:",
            "systemd:a b",
            "systemd:a:b",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        for text in ["0.0.0.0:1883", "unix:/a", "systemd:a"] {
            assert_eq!(address(text).to_string(), text);
        }
    }

    #[test]
    fn addresses_collide_only_when_they_cannot_both_be_bound() {
        let collides = |a: &str, b: &str| address(a).collides_with(&address(b));
        assert!(collides("127.0.0.1:1883", "127.0.0.1:1883"));
        assert!(collides("0.0.0.0:1883", "127.0.0.1:1883"));
        assert!(collides("[::1]:1883", "[::]:1883"));
        assert!(!collides("127.0.0.1:1883", "127.0.0.1:1884"));
        assert!(!collides("127.0.0.1:1883", "127.0.0.2:1883"));
        assert!(!collides("127.0.0.1:1883", "[::1]:1883"));
        assert!(!collides("127.0.0.1:0", "127.0.0.1:0"));
        assert!(collides("unix:/a", "unix:/a"));
        assert!(!collides("unix:/a", "unix:/b"));
        assert!(collides("systemd:a", "systemd:a"));
        assert!(!collides("systemd:a", "unix:/a"));
    }

    #[test]
    fn only_the_loopback_and_unix_sockets_are_local() {
        for (text, is_local) in [
            ("127.9.0.1:1", true),
            ("[::1]:1", true),
            ("unix:/a", true),
            ("0.0.0.0:1", false),
            ("systemd:a", false),
        ] {
            assert_eq!(address(text).is_local(), is_local, "{text}");
        }
    }
}
