//! `mqtt://user:password@host:port` and `stomp://…`, the one-word ways to name a broker.

use std::fmt;
use std::str::FromStr;

use crate::config::Protocol;

/// Where a client connects to, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port; the protocol's own if the URL has none.
    pub port: u16,
    /// User name, if the URL has one.
    pub user: Option<String>,
    /// Password, if the URL has one.
    pub password: Option<String>,
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("BrokerUrl")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("password", &password)
            .finish()
    }
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, Protocol::Mqtt)
    }
}

impl BrokerUrl {
    /// Reads a URL whose scheme is `protocol`'s name.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str, protocol: Protocol) -> Result<Self, String> {
        let scheme = protocol.as_str();
        let form = format!("write {scheme}://host:port");
        let secure = match protocol {
            Protocol::Mqtt | Protocol::Auto => "mqtts://",
            Protocol::Stomp => "stomp+ssl://",
        };
        if text.starts_with(secure) {
            return Err(format!("TLS is not supported yet; {form}"));
        }
        let rest = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).ok_or(form)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            let place = match protocol {
                Protocol::Mqtt | Protocol::Auto => "topics go to --topic",
                Protocol::Stomp => "the destination is an argument of its own",
            };
            return Err(format!("nothing may follow the port; {place}"));
        }
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        let (user, password) = match credentials.map(|both| both.split_once(':').unwrap_or((both, ""))) {
            None => (None, None),
            Some((user, "")) => (Some(decoded(user)?), None),
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
        };
        let (host, port) = host_and_port(place, protocol)?;
        Ok(Self { host, port, user, password })
    }
}

fn host_and_port(place: &str, protocol: Protocol) -> Result<(String, u16), String> {
    let (host, port) = if let Some(bracketed) = place.strip_prefix('[') {
        let (host, after) =
            bracketed.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
        (host, after.strip_prefix(':'))
    } else {
        match place.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("write an IPv6 address in brackets".to_owned());
            }
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    if host.is_empty() {
        return Err(format!("the host is missing; write {}://host:port", protocol.as_str()));
    }
    let port = match port {
        None => protocol.port(),
        Some(port) => {
            port.parse().ok().filter(|port| *port != 0).ok_or("the port is a number from 1 to 65535")?
        }
    };
    Ok((host.to_owned(), port))
}

/// Undoes percent-encoding (RFC 3986 section 2.1), which passwords with `@` or `:` need.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "after % come two hexadecimal digits; a % itself is %25".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let (digits, after) = escaped.split_at_checked(2).ok_or_else(wrong)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| "the percent-encoded text is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> BrokerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn parts_are_found() {
        let bare = BrokerUrl { host: "gateway".to_owned(), port: 1_883, user: None, password: None };
        assert_eq!(url("mqtt://gateway"), bare);
        assert_eq!(url("mqtt://gateway/"), bare);
        assert_eq!(url("mqtt://gateway:1884").port, 1_884);
        assert_eq!(url("mqtt://[::1]:1884").host, "::1");
        let full = url("mqtt://anna:p%40ss%3a@10.0.0.1:1883");
        assert_eq!((full.user.as_deref(), full.password.as_deref()), (Some("anna"), Some("p@ss:")));
        assert_eq!(url("mqtt://anna@gateway").password, None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("gateway:1883", "write mqtt://host:port"),
            ("http://gateway", "write mqtt://host:port"),
            ("mqtts://gateway", "TLS is not supported yet; write mqtt://host:port"),
            ("mqtt://", "the host is missing; write mqtt://host:port"),
            ("mqtt://:1883", "the host is missing; write mqtt://host:port"),
            ("mqtt://a:0", "the port is a number from 1 to 65535"),
            ("mqtt://a:70000", "the port is a number from 1 to 65535"),
            ("mqtt://::1:1883", "write an IPv6 address in brackets"),
            ("mqtt://[::1", "the bracket of the IPv6 address is not closed"),
            ("mqtt://a/topic", "nothing may follow the port; topics go to --topic"),
            ("mqtt://a%4@b", "after % come two hexadecimal digits; a % itself is %25"),
            ("mqtt://a%é1@b", "after % come two hexadecimal digits; a % itself is %25"),
            ("mqtt://a%+1@b", "after % come two hexadecimal digits; a % itself is %25"),
            ("mqtt://%ff@b", "the percent-encoded text is not UTF-8"),
        ] {
            assert_eq!(text.parse::<BrokerUrl>().unwrap_err(), said, "{text}");
        }
    }

    #[test]
    fn stomp_has_a_scheme_and_a_port_of_its_own() {
        let stomp = |text| BrokerUrl::parse(text, Protocol::Stomp);
        let full = stomp("stomp://anna:x@gateway").unwrap();
        assert_eq!((full.host.as_str(), full.port, full.user.as_deref()), ("gateway", 61_613, Some("anna")));
        assert_eq!(stomp("stomp://[::1]:5").unwrap().port, 5);
        for (text, said) in [
            ("mqtt://a", "write stomp://host:port"),
            ("stomp:a", "write stomp://host:port"),
            ("stomp+ssl://a", "TLS is not supported yet; write stomp://host:port"),
            ("stomp://", "the host is missing; write stomp://host:port"),
            ("stomp://a/queue/b", "nothing may follow the port; the destination is an argument of its own"),
        ] {
            assert_eq!(stomp(text).unwrap_err(), said, "{text}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        assert!(!format!("{:?}", url("mqtt://anna:secret@b")).contains("secret"));
    }
}
