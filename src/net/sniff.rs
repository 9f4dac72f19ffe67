//! Telling protocols apart by their first bytes.

use super::Spoken;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// A TLS record.
    Tls,
    /// An HTTP request.
    Http,
    /// A protocol of ours.
    With(Spoken),
    /// It can't be said yet.
    Unclear,
    /// Nothing that is known.
    Unknown,
}

/// The type of a CONNECT packet with its flags (MQTT, section 3.1.1).
const MQTT_CONNECT: u8 = 0x10;

/// The type of a handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

pub(super) fn begins(bytes: &[u8]) -> Begins {
    // Before its first frame a STOMP client may send ends of lines.
    let text = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let rest = bytes.get(text..).unwrap_or_default();
    match bytes.first() {
        None => return Begins::Unclear,
        Some(&MQTT_CONNECT) => return Begins::With(Spoken::Mqtt),
        Some(&TLS_HANDSHAKE) => return Begins::Tls,
        Some(_) => {}
    }
    let mut unclear = rest.is_empty();
    for (word, what) in [
        (&b"CONNECT\n"[..], Begins::With(Spoken::Stomp)),
        (b"CONNECT\r\n", Begins::With(Spoken::Stomp)),
        (b"STOMP\n", Begins::With(Spoken::Stomp)),
        (b"STOMP\r\n", Begins::With(Spoken::Stomp)),
        (b"GET ", Begins::Http),
        (b"HEAD ", Begins::Http),
        (b"POST ", Begins::Http),
        (b"PUT ", Begins::Http),
        (b"OPTIONS ", Begins::Http),
        (b"CONNECT ", Begins::Http),
    ] {
        let seen = rest.len().min(word.len());
        if rest.get(..seen) == word.get(..seen) {
            if seen == word.len() {
                return what;
            }
            unclear = true;
        }
    }
    if unclear { Begins::Unclear } else { Begins::Unknown }
}

/// What a first byte begins, where no layer can be below any more and there is no waiting for a second.
pub(super) fn begins_with(first: u8) -> Option<Spoken> {
    match first {
        MQTT_CONNECT => Some(Spoken::Mqtt),
        b'C' | b'S' | b'\r' | b'\n' => Some(Spoken::Stomp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_byte_says_the_same_of_our_protocols() {
        for bytes in [&b"\x10"[..], b"CONNECT\n", b"CONNECT\r\n", b"STOMP\n", b"\nSTOMP\n", b"\r\nCONNECT\n"]
        {
            let Begins::With(spoken) = begins(bytes) else { panic!("{bytes:?}") };
            assert_eq!(begins_with(bytes[0]), Some(spoken));
        }
        for byte in [0x00, 0x16, 0x20, b'G', b'P', b'H', b'O', b' ', 0xC0, 0xFF] {
            assert_eq!(begins_with(byte), None, "{byte:#x}");
        }
    }

    #[test]
    fn first_bytes_tell() {
        for (bytes, expected) in [
            (&b""[..], Begins::Unclear),
            (b"\x10", Begins::With(Spoken::Mqtt)),
            (b"\x16\x03\x01", Begins::Tls),
            (b"C", Begins::Unclear),
            (b"CONNECT", Begins::Unclear),
            (b"CONNECT\r", Begins::Unclear),
            (b"CONNECT\n", Begins::With(Spoken::Stomp)),
            (b"CONNECT\r\n", Begins::With(Spoken::Stomp)),
            (b"CONNECT host:443 HTTP/1.1", Begins::Http),
            (b"\n", Begins::Unclear),
            (b"\r\n\nSTOMP\naccept", Begins::With(Spoken::Stomp)),
            (b"GET", Begins::Unclear),
            (b"GET / HTTP/1.1", Begins::Http),
            (b"SEND\n", Begins::Unknown),
            (b"\x20", Begins::Unknown),
            (b"\x00", Begins::Unknown),
            (b"CONNECTX", Begins::Unknown),
            (b"\xC0\x00", Begins::Unknown),
        ] {
            assert_eq!(begins(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
