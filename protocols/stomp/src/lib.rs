//! STOMP 1.0, 1.1 and 1.2 without IO: bytes to broker inputs and back.
//!
//! # The codec
//!
//! A [`Framer`] cuts frames out of a buffer, borrowed and checked; a [`FrameWriter`] writes them.
//!
//! ```
//! use noctule_stomp::{Command, Direction, FrameLimits, Framer, Reading, Split, Version};
//!
//! let reading = Reading { version: Some(Version::V12), direction: Direction::ToServer };
//! let bytes = b"SEND\ndestination:/queue/a\n\nhello\0\n and more";
//! let mut framer = Framer::new();
//! let Split::Frame(frame) = framer.split(bytes, reading, &FrameLimits::default())? else { panic!("it is one") };
//! assert_eq!((frame.command, frame.body, frame.len), (Command::Send, &b"hello"[..], 33));
//! assert_eq!(frame.headers.get("destination").as_deref(), Some("/queue/a"));
//! # Ok::<(), noctule_stomp::FrameError>(())
//! ```
//!
//! Where the specifications leave a choice, `framing.rs` says which was taken.

mod address;
pub mod client;
mod command;
mod dialect;
mod encode;
mod error;
mod escape;
mod fields;
mod frame;
mod framing;
mod headers;
pub mod server;
mod version;

pub use address::{AddressError, Grammar, Purpose, Token};
pub use command::Command;
pub use dialect::Dialect;
pub use encode::{FrameWriter, Integer};
pub use error::{Excerpt, FrameError, FrameFault, Place};
pub use fields::{HeaderError, Retain, Sending, write_fields};
pub use frame::Frame;
pub use framing::{FrameLimits, Framer, Split};
pub use headers::Headers;
pub use version::{Direction, Reading, Version};
