//! `mqtt://user:password@host:port`, `mqtts://`, `stomp://…` and `stomp+ssl://…`, the one-word ways to name a broker.

use std::fmt;
use std::str::FromStr;

/// What a broker is spoken to in, and how its URLs begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `mqtt://` and `mqtts://`
    Mqtt,
    /// `stomp://` and `stomp+ssl://`
    Stomp,
}

impl Scheme {
    const fn plain(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt://",
            Self::Stomp => "stomp://",
        }
    }

    /// How its URLs begin where TLS is spoken.
    #[must_use]
    pub const fn secure(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtts://",
            Self::Stomp => "stomp+ssl://",
        }
    }

    /// The port where it is expected; with TLS that of `noctule init`.
    #[must_use]
    pub const fn port(self, tls: bool) -> u16 {
        match (self, tls) {
            (Self::Mqtt, false) => 1_883,
            (Self::Mqtt, true) => 8_883,
            (Self::Stomp, false) => 61_613,
            (Self::Stomp, true) => 61_614,
        }
    }
}

/// Where a client connects to, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port; the protocol's own if the URL has none.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Scheme,
    /// Whether it is spoken through TLS.
    pub tls: bool,
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
            .field("protocol", &self.protocol)
            .field("tls", &self.tls)
            .field("user", &self.user)
            .field("password", &password)
            .finish()
    }
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, Scheme::Mqtt)
    }
}

impl BrokerUrl {
    /// Reads a URL of `protocol`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str, protocol: Scheme) -> Result<Self, String> {
        let (plain, secure) = (protocol.plain(), protocol.secure());
        let (tls, rest) = match (text.strip_prefix(secure), text.strip_prefix(plain)) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(format!("write {plain}host:port, or {secure}host:port for TLS")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            let place = match protocol {
                Scheme::Mqtt => "topics go to --topic",
                Scheme::Stomp => "the destination is an argument of its own",
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
        let (host, port) = host_and_port(place, protocol, tls)?;
        Ok(Self { host, port, protocol, tls, user, password })
    }
}

pub(super) fn host_and_port(place: &str, protocol: Scheme, tls: bool) -> Result<(String, u16), String> {
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
        let scheme = if tls { protocol.secure() } else { protocol.plain() };
        return Err(format!("the host is missing; write {scheme}host:port"));
    }
    let port = match port {
        None => protocol.port(tls),
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
        let bare = BrokerUrl {
            host: "gateway".to_owned(),
            port: 1_883,
            protocol: Scheme::Mqtt,
            tls: false,
            user: None,
            password: None,
        };
        assert_eq!(url("mqtt://gateway"), bare);
        assert_eq!(url("mqtt://gateway/"), bare);
        assert_eq!(url("mqtt://gateway:1884").port, 1_884);
        assert_eq!(url("mqtt://[::1]:1884").host, "::1");
        let full = url("mqtt://anna:p%40ss%3a@10.0.0.1:1883");
        assert_eq!((full.user.as_deref(), full.password.as_deref()), (Some("anna"), Some("p@ss:")));
        assert_eq!(url("mqtt://anna@gateway").password, None);
        assert_eq!(url("mqtts://gateway"), BrokerUrl { port: 8_883, tls: true, ..bare });
        assert_eq!(url("mqtts://gateway:1").port, 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("gateway:1883", "write mqtt://host:port, or mqtts://host:port for TLS"),
            ("http://gateway", "write mqtt://host:port, or mqtts://host:port for TLS"),
            ("mqtts://", "the host is missing; write mqtts://host:port"),
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
        let stomp = |text| BrokerUrl::parse(text, Scheme::Stomp);
        let full = stomp("stomp://anna:x@gateway").unwrap();
        assert_eq!((full.host.as_str(), full.port, full.user.as_deref()), ("gateway", 61_613, Some("anna")));
        assert_eq!(stomp("stomp://[::1]:5").unwrap().port, 5);
        let secure = stomp("stomp+ssl://gateway").unwrap();
        assert_eq!((secure.port, secure.tls), (61_614, true));
        for (text, said) in [
            ("mqtt://a", "write stomp://host:port, or stomp+ssl://host:port for TLS"),
            ("stomp:a", "write stomp://host:port, or stomp+ssl://host:port for TLS"),
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
