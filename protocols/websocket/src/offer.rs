//! The client's side of the handshake (RFC 6455, section 4.1): the request, and the checks of the answer.

use std::fmt::Write as _;

use bytes::BytesMut;
use thiserror::Error;

use crate::accept::{self, AcceptKey};
use crate::excerpt::Excerpt;
use crate::head::{HeadFault, HeadLimits, HeadReader, once, text};
use crate::request::has_token;

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Name or address of the server, with the port unless it is 80 (443 with TLS).
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Subprotocols, the one liked best first.
    pub protocols: &'a [&'a str],
    /// Fresh random bytes (section 4.1, 7).
    pub nonce: [u8; 16],
}

/// Something in an offer that would break out of its line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OfferError {
    /// A host that is none.
    #[error("host {0} has a character that no host has; write a name or an address, and a port")]
    Host(Excerpt),
    /// A path that is none.
    #[error("path {0} is none; begin it with / and percent-encode what isn't visible ASCII")]
    Path(Excerpt),
    /// A subprotocol that is none.
    #[error("subprotocol {0} is no token; letters, digits, - and . are safe")]
    Protocol(Excerpt),
}

/// The server's agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The subprotocol that it chose.
    pub protocol: Option<&'a str>,
    /// Bytes of the head; frames follow it.
    pub len: usize,
}

/// Why an answer opens no WebSocket; close the connection (section 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnswerFault {
    /// A head that is none, or not one that can be trusted.
    #[error(transparent)]
    Head(#[from] HeadFault),
    /// Another answer than 101.
    #[error("the server answered {status}: {words}")]
    Refused {
        /// The HTTP status code.
        status: u16,
        /// The beginning of its body, as far as it is there; else the words behind the code.
        words: Excerpt,
    },
    /// A 101 to something else.
    #[error(
        "the server switched to something else; it sent no \"Upgrade: websocket\" with \"Connection: Upgrade\""
    )]
    NotUpgrade,
    /// An accept key that doesn't belong to the nonce.
    #[error("Sec-WebSocket-Accept is {0}, which does not answer the key; is a cache in between?")]
    Accept(Excerpt),
    /// An extension that wasn't offered.
    #[error("the server uses extension {0}, which was not offered")]
    Extension(Excerpt),
    /// A subprotocol that wasn't offered.
    #[error("the server chose subprotocol {0}, which was not offered")]
    Protocol(Excerpt),
}

impl Offer<'_> {
    /// Appends the request.
    ///
    /// # Errors
    /// When a value has a character that would make another request of it; nothing is appended then.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), OfferError> {
        if self.host.is_empty() || !self.host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            return Err(OfferError::Host(Excerpt::of(self.host.as_bytes())));
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OfferError::Path(Excerpt::of(self.path.as_bytes())));
        }
        if let Some(bad) = self.protocols.iter().find(|protocol| !is_token(protocol)) {
            return Err(OfferError::Protocol(Excerpt::of(bad.as_bytes())));
        }
        // Writing to a BytesMut does not fail.
        let _ = write!(
            out,
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n",
            self.path,
            self.host,
            accept::key(self.nonce)
        );
        if !self.protocols.is_empty() {
            let _ = write!(out, "Sec-WebSocket-Protocol: {}\r\n", self.protocols.join(", "));
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// The answer at the front of `wire`, which after `None` must begin with the same bytes as before; `None` while its
    /// head isn't whole.
    ///
    /// # Errors
    /// When it is none that this offer can go on with.
    pub fn answer<'w>(
        &self,
        reader: &mut HeadReader,
        wire: &'w [u8],
        limits: &HeadLimits,
    ) -> Result<Option<Answer<'w>>, AnswerFault> {
        let Some(head) = reader.end(wire, limits)? else { return Ok(None) };
        let mut headers = vec![httparse::EMPTY_HEADER; head.headers];
        let mut response = httparse::Response::new(&mut headers);
        if let Err(error) = response.parse(wire.get(..head.len).unwrap_or_default()) {
            return Err(HeadFault::Malformed(error).into());
        }
        let status = response.code.unwrap_or_default();
        if (status, response.version) != (101, Some(1)) {
            let body = wire.get(head.len..).unwrap_or_default();
            let words = if body.is_empty() { response.reason.unwrap_or_default().as_bytes() } else { body };
            return Err(AnswerFault::Refused { status, words: Excerpt::long(words) });
        }
        let (mut accept, mut protocol) = (None, None);
        let (mut connection, mut upgrade) = (false, false);
        for header in response.headers.iter() {
            let (name, value) = (header.name, header.value);
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("sec-websocket-accept") {
                once(&mut accept, "Sec-WebSocket-Accept", value)?;
            } else if is("sec-websocket-protocol") {
                once(&mut protocol, "Sec-WebSocket-Protocol", value)?;
            } else if is("sec-websocket-extensions") {
                return Err(AnswerFault::Extension(Excerpt::of(value)));
            } else if is("connection") {
                connection |= has_token(text("Connection", value)?, "upgrade");
            } else if is("upgrade") {
                upgrade |= text("Upgrade", value)?.eq_ignore_ascii_case("websocket");
            }
        }
        if !connection || !upgrade {
            return Err(AnswerFault::NotUpgrade);
        }
        let accept = accept.unwrap_or_default();
        if accept.as_bytes() != AcceptKey::of(&accept::key(self.nonce)).as_bytes() {
            return Err(AnswerFault::Accept(Excerpt::of(accept.as_bytes())));
        }
        if let Some(chosen) = protocol
            && !self.protocols.contains(&chosen)
        {
            return Err(AnswerFault::Protocol(Excerpt::of(chosen.as_bytes())));
        }
        Ok(Some(Answer { protocol, len: head.len }))
    }
}

/// Whether it is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}
