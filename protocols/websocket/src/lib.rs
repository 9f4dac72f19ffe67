//! WebSocket (RFC 6455) without IO: the HTTP/1.1 upgrade and the frames, for a server and for a client.
//!
//! A connection begins with the handshake: a [`HeadReader`] waits for the whole head, [`Request`] is what it asks for,
//! an [`Endpoint`] says whether it may, and a [`Rejection`] writes the answer to those who may not.
//!
//! ```
//! use bytes::BytesMut;
//! use noctule_websocket::{Endpoint, HeadLimits, HeadReader};
//!
//! let wire = b"GET /mqtt HTTP/1.1\r\nHost: plant:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
//!     Sec-WebSocket-Protocol: mqtt\r\n\r\n";
//! let endpoint = Endpoint {
//!     path: "/mqtt".into(),
//!     origins: Vec::new(),
//!     trust_host: false,
//!     protocols: vec!["mqtt".into()],
//! };
//! let request = HeadReader::new().request(wire, &HeadLimits::default())?.expect("it is whole");
//! let protocol = endpoint.admit(&request)?;
//! let mut out = BytesMut::new();
//! request.accept(protocol, &mut out);
//! assert!(out.starts_with(b"HTTP/1.1 101 "));
//! assert_eq!((protocol, request.len()), (Some("mqtt"), wire.len()));
//! # Ok::<(), noctule_websocket::Rejection>(())
//! ```
//!
//! Then a [`Decoder`] turns frames into a stream of bytes, and [`encode`] turns bytes into frames. Messages have no
//! meaning to the protocols that Noctule carries: both MQTT and STOMP are streams, whose packets may begin and end
//! anywhere in them (MQTT 5, section 6; [MQTT-6.0.0-2]). So nothing is ever collected until a message is whole.
//!
//! Extensions are never negotiated: `permessage-deflate` would keep tens of kilobytes per connection, and lets a small
//! frame become a large one.

mod accept;
mod close;
mod decode;
mod encode;
mod endpoint;
mod excerpt;
mod head;
mod header;
mod mask;
mod offer;
mod rejection;
mod request;
mod utf8;
mod violation;

pub use accept::accept_key;
pub use close::{CloseCode, Closed};
pub use decode::{Decoder, FrameLimits, Progress};
pub use encode::{encode, write_close, write_ping};
pub use endpoint::Endpoint;
pub use excerpt::Excerpt;
pub use head::{HeadFault, HeadLimits, HeadReader};
pub use header::{Kind, Role};
pub use mask::Mask;
pub use offer::{Answer, AnswerFault, Offer, OfferError};
pub use rejection::Rejection;
pub use request::Request;
pub use violation::Violation;
