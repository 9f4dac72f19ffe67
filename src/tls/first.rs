//! The first bytes of a connection to a TLS port: TLS, or something else that deserves to be named.
//!
//! Only looked at, never taken: an operator who reads "plain MQTT on a TLS port" is helped, one who reads "invalid
//! content type" is not.

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// A record of a handshake.
    Tls,
    /// It can't be told yet.
    Open,
    /// Something else, and what.
    Other(&'static str),
}

/// A handshake record of TLS, of whatever version.
const HANDSHAKE: u8 = 22;
/// The first byte of an MQTT CONNECT.
const MQTT_CONNECT: u8 = 0x10;

/// How others begin.
const OTHERS: [(&[u8], &str); 10] = [
    (b"CONNECT\n", "plain STOMP"),
    (b"CONNECT\r\n", "plain STOMP"),
    (b"STOMP\n", "plain STOMP"),
    (b"STOMP\r\n", "plain STOMP"),
    (b"GET ", "plain HTTP"),
    (b"POST ", "plain HTTP"),
    (b"HEAD ", "plain HTTP"),
    (b"PRI * HTTP/2", "plain HTTP"),
    (b"PROXY ", "a PROXY header from an address not in proxy_from"),
    (b"\r\n\r\n\0\r\nQUIT\n", "a PROXY header from an address not in proxy_from"),
];

/// Says what `wire`, from the very beginning of a connection, is.
pub(super) fn look(wire: &[u8]) -> First {
    match wire.first() {
        None => return First::Open,
        Some(&HANDSHAKE) => return First::Tls,
        Some(&MQTT_CONNECT) => return First::Other("plain MQTT"),
        Some(_) => {}
    }
    // Two bytes of length with the high bit, then ClientHello: what clients of the nineties begin with.
    if let [length, _, 1, ..] = wire
        && length & 0x80 != 0
    {
        return First::Other("SSL 2.0");
    }
    for (begin, what) in OTHERS {
        if wire.starts_with(begin) {
            return First::Other(what);
        }
    }
    let may_become = wire.len() < 3 && wire.first().is_some_and(|byte| byte & 0x80 != 0)
        || OTHERS.iter().any(|(begin, _)| begin.starts_with(wire));
    if may_become { First::Open } else { First::Other("something that is not TLS") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_tls_is_named() {
        for (wire, what) in [
            (&b"\x10\x0c\0\x04MQTT"[..], "plain MQTT"),
            (b"CONNECT\naccept-version:1.2\n", "plain STOMP"),
            (b"STOMP\r\n", "plain STOMP"),
            (b"GET /mqtt HTTP/1.1\r\n", "plain HTTP"),
            (b"\x80\x2e\x01\x03\0", "SSL 2.0"),
            (b"\0\0\0\0", "something that is not TLS"),
            (b"CONTACT", "something that is not TLS"),
        ] {
            assert_eq!(look(wire), First::Other(what), "{wire:?}");
        }
        assert_eq!(look(b"\x16\x03"), First::Tls);
    }

    #[test]
    fn it_is_the_same_when_it_comes_byte_by_byte() {
        for (begin, what) in OTHERS {
            for length in 0..begin.len() {
                assert_eq!(look(&begin[..length]), First::Open, "{what} {length}");
            }
            assert_eq!(look(begin), First::Other(what));
        }
        assert_eq!(look(b"\x80"), First::Open);
        assert_eq!(look(b"\x80\x2e"), First::Open);
    }
}
