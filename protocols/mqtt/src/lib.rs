//! MQTT 3.1, 3.1.1 and 5.0 without IO: bytes to broker inputs and back, for both ends of a connection.
//!
//! # The codec
//!
//! A [`Framer`] cuts packets out of a buffer, [`decode_connect`] and [`decode`] read them, borrowed and checked, and
//! every packet type writes itself with its `encode` method. A server decodes what goes [`Direction::ToServer`], a
//! client what goes [`Direction::ToClient`].
//!
//! ```
//! use noctule_mqtt::{Direction, Framer, Packet, Split, Version, decode};
//!
//! let framer = Framer::new(Version::V311, Direction::ToServer, 65_536);
//! let Split::Frame(frame) = framer.split(b"\x30\x06\x00\x03a/bhi and more")? else { panic!("it is all there") };
//! let Packet::Publish(publish) = decode(Version::V311, Direction::ToServer, &frame)? else { panic!("it is one") };
//! assert_eq!((publish.topic, publish.payload, frame.len), ("a/b", &b"h"[..], 8));
//! # Ok::<(), noctule_mqtt::DecodeError>(())
//! ```
//!
//! Decoding is as strict as the specification; what can only be judged with the connection's state (an alias beyond
//! the maximum, a packet identifier in use, a reason that doesn't fit the exchange) is the machines' to judge. Where
//! the specifications leave a choice:
//!
//! - Control characters and non-characters in text are accepted (`text.rs`).
//! - A length that is not in its shortest form is refused in 5.0 and accepted before (`framing.rs`).
//! - `$share` has its 5.0 form checked in 5.0 only (`subscribe.rs`).
//! - MQTT 3.1: a client identifier may be longer than 23 characters; user name and password may be missing though
//!   flagged; PUBREL, SUBSCRIBE and UNSUBSCRIBE may have DUP; the will's flags mean nothing without a will.
//! - A payload that the format indicator calls UTF-8 is not tested to be (section 3.3.2.3.2 leaves it open).
//!
//! # What is ours and what mqttbytes'
//!
//! `mqttbytes` writes CONNACK, SUBACK and UNSUBACK of MQTT 3, which it does right, and lends their return codes. All
//! else is ours: it does not know 3.1, AUTH or half of the rules, refuses valid packets and loses its place in the
//! stream after some invalid ones, copies topics, and truncates what does not fit. Four-byte acknowledgements are
//! ours because a constant is quicker than its general path. It never reads network bytes here; in the tests it is
//! one of the two codecs that ours is compared with.

mod ack;
mod alias;
mod carrier;
pub mod client;
mod connack;
mod connect;
mod cursor;
mod error;
mod farewell;
mod framing;
mod packet;
mod property;
mod publish;
mod reason;
pub mod server;
mod subscribe;
mod text;
mod version;

pub use ack::Ack;
pub use connack::ConnAck;
pub use connect::{Connect, Will, decode_connect};
pub use error::{ConnectError, DecodeError, EncodeError, FilterFault};
pub use farewell::{Auth, Disconnect};
pub use framing::{Frame, Framer, MAX_PACKET, MAX_REMAINING, Split};
pub use packet::{Packet, decode, encode_pingreq, encode_pingresp};
pub use property::{UserProperties, WireProperties};
pub use publish::{
    DELIVERY_COUNT, Publish, PublishHead, TopicAlias, decode_publish, encode_publish_head, publish_len,
};
pub use reason::{Reason, ReasonList, WireReasons};
pub use subscribe::{
    Filters, RetainHandling, SubAck, Subscribe, Subscription, Subscriptions, Unsubscribe, WireFilters,
};
pub use version::{Direction, PacketType, Version};
