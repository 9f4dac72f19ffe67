//! The PROXY protocol, versions 1 and 2: what a proxy says in front of everything else, of the client it connects for.
//!
//! <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>. Whether somebody may say it is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What version 2 begins with, which no other protocol does.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Longest header of version 1, its line's end included (section 2.1).
const V1_MAX: usize = 107;

/// Longest header of version 2 that is read: addresses, and what load balancers append to them. It could say 65,535.
const V2_MAX: usize = 16 + 2_048;

/// What of a header has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Not all of it.
    Incomplete,
    /// All: its length, and for whom the proxy connects. `None`: for itself, as for a health check, or for somebody it can't
    /// name.
    Whole(usize, Option<SocketAddr>),
}

/// Reads a header off the front of `bytes`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn header(bytes: &[u8]) -> Result<Header, String> {
    let seen = bytes.len().min(V2_SIGNATURE.len());
    if !bytes.is_empty() && bytes.get(..seen) == V2_SIGNATURE.get(..seen) {
        return version_2(bytes);
    }
    let word = b"PROXY ";
    let seen = bytes.len().min(word.len());
    if bytes.get(..seen) == word.get(..seen) {
        return version_1(bytes);
    }
    Err("there is no PROXY header, and this address is in proxy_from; have the proxy send it (send-proxy-v2), or take the \
         address out"
        .to_owned())
}

/// Section 2.1: a line of text.
fn version_1(bytes: &[u8]) -> Result<Header, String> {
    let head = bytes.get(..bytes.len().min(V1_MAX)).unwrap_or_default();
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_MAX {
            Ok(Header::Incomplete)
        } else {
            Err(format!("the PROXY header has no end within {V1_MAX} bytes"))
        };
    };
    let line = head.get(..end).unwrap_or_default();
    let wrong = || format!("not a PROXY header: {:?}", String::from_utf8_lossy(line));
    let line = std::str::from_utf8(line).map_err(|_| wrong())?;
    let len = end + 2;
    let mut words = line.split(' ');
    let (_, family) = (words.next(), words.next());
    if family == Some("UNKNOWN") {
        // Whatever follows is to be ignored.
        return Ok(Header::Whole(len, None));
    }
    let (Some(source), Some(target), Some(port), Some(target_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(wrong());
    };
    let addresses: Option<[IpAddr; 2]> = match family {
        Some("TCP4") => both::<Ipv4Addr>(source, target).map(|pair| pair.map(IpAddr::V4)),
        Some("TCP6") => both::<Ipv6Addr>(source, target).map(|pair| pair.map(IpAddr::V6)),
        _ => None,
    };
    // "No leading zeroes": a sign or a zero in front is nobody's port.
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    match (addresses, number(port), number(target_port)) {
        (Some([source, _]), Some(port), Some(_)) => {
            Ok(Header::Whole(len, Some(SocketAddr::new(source.to_canonical(), port))))
        }
        _ => Err(wrong()),
    }
}

fn both<T: std::str::FromStr>(source: &str, target: &str) -> Option<[T; 2]> {
    Some([source.parse().ok()?, target.parse().ok()?])
}

/// Section 2.2: signature, version and command, family, length, addresses.
fn version_2(bytes: &[u8]) -> Result<Header, String> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<16>() else { return Ok(Header::Incomplete) };
    let [.., version_and_command, family, high, low] = *fixed;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 {
        return Err(format!(
            "PROXY protocol of version {} is not known; send version 1 or 2",
            version_and_command >> 4
        ));
    }
    if fixed.len() + len > V2_MAX {
        return Err(format!(
            "the PROXY header says that {len} bytes follow, at most {} are read",
            V2_MAX - fixed.len()
        ));
    }
    let Some(body) = rest.get(..len) else { return Ok(Header::Incomplete) };
    let whole = |source| Ok(Header::Whole(fixed.len() + len, source));
    match (version_and_command & 0x0F, family) {
        // LOCAL: the proxy itself, which asks whether we are well.
        (0, _) => whole(None),
        (1, 0x11) => match body.first_chunk::<12>() {
            Some(&[a, b, c, d, _, _, _, _, high, low, _, _]) => {
                let port = u16::from_be_bytes([high, low]);
                whole(Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port)))
            }
            None => Err(format!("the PROXY header has {len} bytes of addresses, TCP over IPv4 needs 12")),
        },
        (1, 0x21) => match (body.first_chunk::<16>(), body.get(32..34)) {
            (Some(address), Some(&[high, low])) if len >= 36 => {
                let (address, port) = (Ipv6Addr::from(*address), u16::from_be_bytes([high, low]));
                whole(Some(SocketAddr::new(IpAddr::V6(address).to_canonical(), port)))
            }
            _ => Err(format!("the PROXY header has {len} bytes of addresses, TCP over IPv6 needs 36")),
        },
        // UNSPEC, datagrams and Unix sockets: "the receiver should ignore the address information".
        (1, _) => whole(None),
        (command, _) => {
            Err(format!("the PROXY header has command {command}, and only LOCAL (0) and PROXY (1) are known"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn from(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    /// However the bytes come: nothing is decided before the header is whole, and what follows it is left alone.
    #[track_caller]
    fn is_read(head: &[u8], source: Option<SocketAddr>) {
        for end in 0..head.len() {
            assert_eq!(header(&head[..end]), Ok(Header::Incomplete), "after {end} bytes");
        }
        let followed = [head, b"PROXY CONNECT\r\n"].concat();
        assert_eq!(header(&followed), Ok(Header::Whole(head.len(), source)));
    }

    #[test]
    fn version_1_names_the_client() {
        is_read(b"PROXY TCP4 10.1.2.3 10.0.0.1 51234 1883\r\n", from("10.1.2.3:51234"));
        is_read(b"PROXY TCP6 fd00::7 fd00::1 51234 1883\r\n", from("[fd00::7]:51234"));
        is_read(b"PROXY TCP6 ::ffff:10.1.2.3 fd00::1 51234 1883\r\n", from("10.1.2.3:51234"));
        is_read(b"PROXY UNKNOWN\r\n", None);
        is_read(b"PROXY UNKNOWN ffff:f...f:ffff what ever 65535 65535\r\n", None);
    }

    #[test]
    fn version_2_names_the_client() {
        is_read(&v2(0x21, 0x11, &[10, 1, 2, 3, 10, 0, 0, 1, 0xC8, 0x22, 7, 0x5B]), from("10.1.2.3:51234"));
        let mut body = [0; 36];
        (body[0], body[15], body[32], body[33]) = (0xFD, 7, 0xC8, 0x22);
        is_read(&v2(0x21, 0x21, &body), from("[fd00::7]:51234"));
        let with_more = [&body[..], &[0x20, 0, 3, 1, 2, 3]].concat();
        is_read(&v2(0x21, 0x21, &with_more), from("[fd00::7]:51234"));
        is_read(&v2(0x20, 0x00, &[]), None);
        is_read(&v2(0x21, 0x00, &[1, 2, 3]), None);
        is_read(&v2(0x21, 0x31, &[0; 216]), None);
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_shows() {
        for bad in [
            &b"\x10"[..],
            b"PROXX",
            b"GET ",
            b"\r\n\r\nX",
            b"PROXY TCP4 10.1.2.3 10.0.0.1 051234 1883\r\n",
            b"PROXY TCP4 10.1.2.3 10.0.0.1 +5 1883\r\n",
            b"PROXY TCP4 10.1.2.3 10.0.0.1 65536 1883\r\n",
            b"PROXY TCP4 fd00::1 10.0.0.1 1 1883\r\n",
            b"PROXY TCP4 10.1.2.3 10.0.0.1 1\r\n",
            b"PROXY TCP4  10.1.2.3 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 10.1.2.3 10.0.0.1 1 2 3\r\n",
            b"PROXY UDP4 10.1.2.3 10.0.0.1 1 2\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4 \xFF\r\n",
            &[b'P', b'R', b'O', b'X', b'Y', b' '].into_iter().chain([b'a'; 101]).collect::<Vec<_>>(),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x11, &[0; 2_049]),
        ] {
            let error = header(bad).expect_err(&String::from_utf8_lossy(bad));
            assert!(!error.is_empty());
        }
    }
}
