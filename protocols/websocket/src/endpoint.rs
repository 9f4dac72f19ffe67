//! Who may connect here, and to speak what: path, origin, subprotocol. How a request is read is not known here.

use core::net::{IpAddr, Ipv6Addr};

use crate::excerpt::Excerpt;
use crate::rejection::Rejection;
use crate::request::Request;

/// What one listener serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The path, compared letter for letter; a query is no part of it.
    pub path: Box<str>,
    /// Origins (`https://hmi.example.com`, scheme and port among them) whose web pages may connect; `*` stands for all.
    pub origins: Vec<Box<str>>,
    /// Whether pages are also welcome that say they come from the very host and port that they connect to, when that is
    /// a name; for addresses and `localhost` they always are.
    ///
    /// A page can make its own name point here (DNS rebinding), so this must be off where a stranger's page gains
    /// something by connecting: without TLS and without credentials. Paho's Python client says what such a page says.
    pub trust_host: bool,
    /// The subprotocols that are spoken. Who offers none of them is accepted without one: plain MQTT and STOMP clients
    /// often do, and a browser that wanted another one closes the connection by itself (RFC 6455, section 4.1).
    pub protocols: Vec<Box<str>>,
}

impl Endpoint {
    /// Whether the request is welcome; if so, the subprotocol to answer with: of those spoken the one that the client
    /// likes best.
    ///
    /// # Errors
    /// 404 or 403: [`write`](Rejection::write) the answer and close the connection.
    pub fn admit(&self, request: &Request<'_>) -> Result<Option<&str>, Rejection> {
        let path = request.path();
        if path != &*self.path {
            return Err(Rejection::Path { path: Excerpt::of(path.as_bytes()), served: self.path.clone() });
        }
        if let Some(origin) = request.origin()
            && !self.welcomes(origin, request.host())
        {
            return Err(Rejection::Origin(Excerpt::of(origin.as_bytes())));
        }
        // The names are case-sensitive: the registry of section 11.5 says nothing else.
        let spoken = |offered: &str| self.protocols.iter().find(|protocol| ***protocol == *offered);
        Ok(request.protocols().find_map(spoken).map(|protocol| &**protocol))
    }

    fn welcomes(&self, origin: &str, host: &str) -> bool {
        let listed = |known: &str| known == "*" || known.eq_ignore_ascii_case(origin);
        self.origins.iter().any(|known| listed(known)) || {
            let at_home = origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host));
            at_home && (self.trust_host || is_own(host))
        }
    }
}

/// Whether `host` (with or without a port) can't be a name that somebody made point here.
fn is_own(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.split(':').next().unwrap_or_default();
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}
