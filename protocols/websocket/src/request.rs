//! The client's half of the handshake, read strictly (RFC 6455, section 4.2.1), and the 101 that accepts it.
//!
//! Whether this path and this origin are welcome is not known here; forwarding headers (`X-Forwarded-For` and the like)
//! are ignored, since anyone may send them.

use bytes::BytesMut;

use crate::accept::{self, AcceptKey};
use crate::excerpt::Excerpt;
use crate::head::{HeadFault, elements, once, text};
use crate::rejection::Rejection;

/// A request for a WebSocket that is in order by itself.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    target: &'a str,
    host: &'a str,
    origin: Option<&'a str>,
    /// The values of the `Sec-WebSocket-Protocol` headers, in order.
    protocols: Vec<&'a str>,
    accept: AcceptKey,
    len: usize,
}

/// What the headers say that matter here.
#[derive(Default)]
struct Found<'a> {
    host: Option<&'a str>,
    origin: Option<&'a str>,
    version: Option<&'a str>,
    key: Option<&'a str>,
    protocols: Vec<&'a str>,
    connection_upgrade: bool,
    upgrade_websocket: bool,
}

impl<'a> Found<'a> {
    fn header(&mut self, header: &httparse::Header<'a>) -> Result<(), Rejection> {
        let (name, value) = (header.name, header.value);
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("host") {
            once(&mut self.host, "Host", value)?;
        } else if is("origin") {
            once(&mut self.origin, "Origin", value)?;
        } else if is("sec-websocket-version") {
            once(&mut self.version, "Sec-WebSocket-Version", value)?;
        } else if is("sec-websocket-key") {
            once(&mut self.key, "Sec-WebSocket-Key", value)?;
        } else if is("sec-websocket-protocol") {
            self.protocols.push(text("Sec-WebSocket-Protocol", value)?);
        } else if is("connection") {
            self.connection_upgrade |= has_token(text("Connection", value)?, "upgrade");
        } else if is("upgrade") {
            self.upgrade_websocket |= has_token(text("Upgrade", value)?, "websocket");
        } else if is("transfer-encoding") {
            return Err(Rejection::Body { name: "Transfer-Encoding", value: Excerpt::of(value) });
        } else if is("content-length") && value.trim_ascii() != b"0" {
            return Err(Rejection::Body { name: "Content-Length", value: Excerpt::of(value) });
        }
        Ok(())
    }
}

impl<'a> Request<'a> {
    /// Reads a whole head of so many header lines.
    pub(crate) fn parse(head: &'a [u8], headers: usize) -> Result<Self, Rejection> {
        let mut headers = vec![httparse::EMPTY_HEADER; headers];
        let mut request = httparse::Request::new(&mut headers);
        if let Err(error) = request.parse(head) {
            return Err(HeadFault::Malformed(error).into());
        }
        if request.version != Some(1) {
            return Err(Rejection::OldHttp);
        }
        let method = request.method.unwrap_or_default();
        if method != "GET" {
            return Err(Rejection::Method(Excerpt::of(method.as_bytes())));
        }
        let target = request.path.unwrap_or_default();
        if !target.starts_with('/') {
            return Err(Rejection::Target(Excerpt::of(target.as_bytes())));
        }
        let mut found = Found::default();
        for header in request.headers.iter() {
            found.header(header)?;
        }
        let Some(host) = found.host.filter(|host| !host.is_empty()) else { return Err(Rejection::NoHost) };
        if !found.connection_upgrade || !found.upgrade_websocket {
            return Err(Rejection::NotUpgrade);
        }
        match found.version {
            Some("13") => {}
            other => return Err(Rejection::Version(Excerpt::of(other.unwrap_or_default().as_bytes()))),
        }
        let key = found.key.unwrap_or_default();
        if !accept::is_key(key) {
            return Err(Rejection::Key(Excerpt::of(key.as_bytes())));
        }
        Ok(Self {
            target,
            host,
            origin: found.origin,
            protocols: found.protocols,
            accept: AcceptKey::of(key),
            len: head.len(),
        })
    }

    /// The path, without the query, as it stands in the request: nothing is unescaped.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// What follows the path's question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The `Host` header: what the client thinks it connects to, with the port unless that is the scheme's own.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// Where the web page came from that connects; others than browsers needn't say, and may lie (section 10.2).
    #[must_use]
    pub fn origin(&self) -> Option<&'a str> {
        self.origin
    }

    /// The subprotocols that are offered, the one liked best first.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> {
        self.protocols.iter().copied().flat_map(elements)
    }

    /// Bytes of the head; frames follow it.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a head is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends the answer that accepts it (section 4.2.2), with `protocol` as the one that will be spoken; it must be one
    /// of those offered.
    pub fn accept(&self, protocol: Option<&str>, out: &mut BytesMut) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(self.accept.as_bytes());
        if let Some(protocol) = protocol {
            out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.extend_from_slice(protocol.as_bytes());
        }
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Whether a list of tokens, of which case says nothing, has this one.
pub(crate) fn has_token(list: &str, wanted: &str) -> bool {
    elements(list).any(|token| token.eq_ignore_ascii_case(wanted))
}
