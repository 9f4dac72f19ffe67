//! Networks: which addresses a rule is about.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

use thiserror::Error;

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// What stands before the `/` is no address.
    #[error(
        "{text:?} is no address; write an IPv4 or IPv6 address such as 10.0.0.5, or a network such as 10.0.0.0/8"
    )]
    Address {
        /// The text.
        text: Box<str>,
    },
    /// What stands behind the `/` is no length of a prefix.
    #[error("{text:?} has no prefix length from 0 to {most} behind its '/'")]
    Prefix {
        /// The text.
        text: Box<str>,
        /// Bits of an address of that kind.
        most: u8,
    },
    /// Bits beyond the prefix: either the address or the length is a slip.
    #[error("{text:?} has address bits beyond its prefix; the network is written {network}")]
    HostBits {
        /// The text.
        text: Box<str>,
        /// The network that its address is in.
        network: Network,
    },
}

/// The addresses that begin with the same bits. IPv4 addresses written as IPv6 (`::ffff:10.0.0.5`) are IPv4 here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// The address with all but its first `bits` bits cleared.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl Network {
    /// An address, or a network as `address/bits`.
    ///
    /// # Errors
    /// Says what is wrong with the text and how it is written.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(NetworkError::Address { text: text.into() });
        };
        let written: u8 = if address.is_ipv4() { 32 } else { 128 };
        let canonical = address.to_canonical();
        let most: u8 = if canonical.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => {
                // Digits alone: a number's parser takes a '+' as well.
                let number =
                    bits.parse::<u8>().ok().filter(|_| bits.bytes().all(|byte| byte.is_ascii_digit()));
                let inside = number.filter(|&bits| bits <= written);
                // Of an IPv4 address written as IPv6 the first 96 bits say just that.
                let within = inside.and_then(|bits| bits.checked_sub(written - most));
                within.ok_or_else(|| NetworkError::Prefix { text: text.into(), most: written })?
            }
        };
        let network = Self { base: masked(canonical, bits), bits };
        if network.base != canonical {
            return Err(NetworkError::HostBits { text: text.into(), network });
        }
        Ok(network)
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && masked(address, self.bits) == self.base
    }

    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.base)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_in_its_networks_and_in_no_other() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.5", "10.0.0.5", true),
            ("10.0.0.5", "10.0.0.4", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            // The same machine, however its socket names it.
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ];
        for (network, of, is_in) in cases {
            assert_eq!(Network::parse(network).unwrap().contains(address(of)), is_in, "{of} in {network}");
        }
    }

    #[test]
    fn a_slip_is_no_network() {
        for text in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "host",
            "10.0.0.0/8/8",
            "::ffff:10.0.0.0/8",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
        let slip = Network::parse("10.0.0.5/8").unwrap_err();
        assert!(slip.to_string().ends_with("the network is written 10.0.0.0/8"), "{slip}");
    }

    #[test]
    fn a_network_covers_the_narrower_ones_in_it() {
        let network = |text| Network::parse(text).unwrap();
        assert!(network("10.0.0.0/8").covers(&network("10.1.0.0/16")));
        assert!(network("10.0.0.0/8").covers(&network("10.0.0.0/8")));
        assert!(!network("10.1.0.0/16").covers(&network("10.0.0.0/8")));
        assert!(!network("0.0.0.0/0").covers(&network("::/0")));
    }
}
