//! The answers to those who may not become a WebSocket here, each with the words that say how to mend it.

use std::fmt::Write as _;

use bytes::BytesMut;
use noctule_core::refusal::{Kind, Refusal};
use thiserror::Error;

use crate::excerpt::Excerpt;
use crate::head::HeadFault;

/// Why a handshake is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// A head that is none, or not one that can be trusted.
    #[error(transparent)]
    Head(#[from] HeadFault),
    /// An HTTP before 1.1.
    #[error(
        "HTTP/1.0 knows no upgrade; send HTTP/1.1 (a proxy in front needs telling: proxy_http_version 1.1 in nginx)"
    )]
    OldHttp,
    /// Another method than GET.
    #[error("method {0} opens no WebSocket; send GET")]
    Method(Excerpt),
    /// A target that is no path.
    #[error("request target {0} is not a path; begin it with /")]
    Target(Excerpt),
    /// A request with a body, or one that says how a body would end: what follows the head must be frames.
    #[error("a request with {name}: {value} has a body; a WebSocket handshake has none, send it without")]
    Body {
        /// The header that says so.
        name: &'static str,
        /// Its value.
        value: Excerpt,
    },
    /// No `Host`, or an empty one.
    #[error("there is no Host header, or an empty one; send the name and port that the client connects to")]
    NoHost,
    /// A request for something else than a WebSocket.
    #[error(
        "this is a WebSocket endpoint; send \"Connection: Upgrade\" and \"Upgrade: websocket\" \
         (a proxy in front has to pass both on)"
    )]
    NotUpgrade,
    /// Another version of the protocol, or none.
    #[error("Sec-WebSocket-Version is {0}; only 13 is spoken here")]
    Version(Excerpt),
    /// A `Sec-WebSocket-Key` that is none.
    #[error("Sec-WebSocket-Key is {0}; send 16 random bytes in base64")]
    Key(Excerpt),
    /// A path where nobody listens.
    #[error("nothing is at path {path}; connect to {served}")]
    Path {
        /// What was asked for.
        path: Excerpt,
        /// What is served.
        served: Box<str>,
    },
    /// A web page that may not connect.
    #[error("pages of origin {0} may not connect; add it to origins of the listener if they are to")]
    Origin(Excerpt),
}

impl Rejection {
    /// The HTTP status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Head(HeadFault::TooLarge { .. } | HeadFault::TooManyHeaders { .. }) => 431,
            Self::Head(_)
            | Self::OldHttp
            | Self::Target(_)
            | Self::Body { .. }
            | Self::NoHost
            | Self::Key(_) => 400,
            Self::Origin(_) => 403,
            Self::Path { .. } => 404,
            Self::Method(_) => 405,
            Self::NotUpgrade | Self::Version(_) => 426,
        }
    }

    /// Which line of the table of refusals it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Head(HeadFault::TooLarge { .. } | HeadFault::TooManyHeaders { .. }) => Kind::PacketTooLarge,
            Self::Head(_) | Self::Target(_) | Self::Key(_) => Kind::MalformedPacket,
            Self::OldHttp | Self::Version(_) => Kind::UnsupportedVersion,
            Self::Origin(_) => Kind::NotAuthorized,
            Self::Body { .. } | Self::NoHost | Self::Path { .. } | Self::Method(_) | Self::NotUpgrade => {
                Kind::ProtocolError
            }
        }
    }

    /// Appends the whole answer; close the connection once it is sent.
    pub fn write(&self, out: &mut BytesMut) {
        let (status, more) = match self.status() {
            400 => ("400 Bad Request", ""),
            403 => ("403 Forbidden", ""),
            404 => ("404 Not Found", ""),
            // RFC 9110, section 15.5.6.
            405 => ("405 Method Not Allowed", "Allow: GET\r\n"),
            // RFC 9110, section 15.5.22, and RFC 6455, section 4.4.
            426 => (
                "426 Upgrade Required",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            ),
            _ => ("431 Request Header Fields Too Large", ""),
        };
        let body = format!("{self}\n");
        // Writing to a BytesMut does not fail.
        let _ = write!(
            out,
            "HTTP/1.1 {status}\r\nConnection: close\r\n{more}Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n{body}",
            body.len()
        );
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        Self::new(rejection.kind(), rejection.to_string())
    }
}
