//! Cuts the stream into packets: first byte, remaining length, body. What a body means is not known here.
//!
//! Everything that can be refused is refused as early as the bytes allow: a wrong type, direction or flag as soon as
//! the first byte is there, a length over the limit as soon as the length is. Nothing is ever allocated, and
//! [`Split::Incomplete`] only tells the caller how much is wanted.
//!
//! A variable byte integer must be minimal in 5.0 [MQTT-1.5.5-1]. 3.1 and 3.1.1 don't ask for it, and modems with a
//! fixed two-byte length are in the field: there a longer form is accepted, up to four bytes.

use crate::error::DecodeError;
use crate::version::{Direction, PacketType, Version};

/// Most bytes after the fixed header, 268,435,455 (section 1.5.5).
pub const MAX_REMAINING: u32 = 0x0FFF_FFFF;

/// Most bytes of a whole packet: first byte, four bytes of length, and [`MAX_REMAINING`].
pub const MAX_PACKET: u32 = MAX_REMAINING + 5;

/// One whole packet, borrowed from the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Packet type and flags, checked against version and direction.
    pub first: u8,
    /// What follows the fixed header.
    pub body: &'a [u8],
    /// Bytes of the whole packet, fixed header included: how far to advance the buffer.
    pub len: usize,
}

impl Frame<'_> {
    /// The packet's type; `None` only for a frame that no [`Framer`] made.
    #[must_use]
    pub fn packet_type(&self) -> Option<PacketType> {
        PacketType::from_first(self.first)
    }

    /// Whether the remaining length was in its shortest form, which matters once CONNECT has told the version.
    pub(crate) fn is_minimal(&self) -> bool {
        self.len.saturating_sub(self.body.len()) == 1 + varint_len(self.body.len() as u32)
    }
}

/// What the front of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// Not yet a whole packet.
    Incomplete {
        /// Bytes the buffer must hold before it is worth asking again: the whole packet once its length is known, and
        /// one byte more than there is before. Never above the limit; reserve it in steps, as bytes really arrive.
        need: usize,
    },
    /// A whole packet.
    Frame(Frame<'a>),
}

/// The rules by which one side of a connection cuts what it receives.
#[derive(Clone, Copy, Debug)]
pub struct Framer {
    /// For each packet type the flags it may have, one bit per value.
    flags: &'static [u16; 16],
    state: State,
    max_packet: u32,
}

/// What the cold path needs to say why a first byte was refused, and the hot path to demand minimal lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AwaitingConnect,
    Running(Version, Direction),
}

const NO_FLAGS: u16 = 1;
const FLAGS_0010: u16 = 1 << 0b0010;
/// 3.1 sends PUBREL, SUBSCRIBE and UNSUBSCRIBE at QoS 1, and again with DUP.
const FLAGS_0010_OR_DUP: u16 = FLAGS_0010 | 1 << 0b1010;
/// QoS 0 without DUP, QoS 1 and 2 with and without it, each with and without RETAIN.
const FLAGS_PUBLISH: u16 = 0b0011 | 0b1100_0000_1100 | 0b11_0000_0011_0000;

static CONNECT_ONLY: [u16; 16] = [0, NO_FLAGS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
static SERVER_V31: [u16; 16] = to_server(FLAGS_0010_OR_DUP, 0);
static SERVER_V311: [u16; 16] = to_server(FLAGS_0010, 0);
static SERVER_V5: [u16; 16] = to_server(FLAGS_0010, NO_FLAGS);
static CLIENT_V31: [u16; 16] = to_client(FLAGS_0010_OR_DUP, 0, 0);
static CLIENT_V311: [u16; 16] = to_client(FLAGS_0010, 0, 0);
static CLIENT_V5: [u16; 16] = to_client(FLAGS_0010, NO_FLAGS, NO_FLAGS);

const fn to_server(asking: u16, auth: u16) -> [u16; 16] {
    let n = NO_FLAGS;
    [0, 0, 0, FLAGS_PUBLISH, n, n, asking, n, asking, 0, asking, 0, n, 0, n, auth]
}

const fn to_client(asking: u16, disconnect: u16, auth: u16) -> [u16; 16] {
    let n = NO_FLAGS;
    [0, 0, n, FLAGS_PUBLISH, n, n, asking, n, 0, n, 0, n, 0, n, disconnect, auth]
}

impl Framer {
    /// A server that waits for CONNECT: anything else is refused at its first byte [MQTT-3.1.0-1].
    ///
    /// `max_packet` counts the bytes of the whole packet.
    #[must_use]
    pub const fn awaiting_connect(max_packet: u32) -> Self {
        Self { flags: &CONNECT_ONLY, state: State::AwaitingConnect, max_packet }
    }

    /// One side of a connection whose version is settled; a second CONNECT is refused [MQTT-3.1.0-2].
    ///
    /// `max_packet` counts the bytes of the whole packet, as Maximum Packet Size does [MQTT-3.1.2-24].
    #[must_use]
    pub const fn new(version: Version, direction: Direction, max_packet: u32) -> Self {
        let flags = match (direction, version) {
            (Direction::ToServer, Version::V31) => &SERVER_V31,
            (Direction::ToServer, Version::V311) => &SERVER_V311,
            (Direction::ToServer, Version::V5) => &SERVER_V5,
            (Direction::ToClient, Version::V31) => &CLIENT_V31,
            (Direction::ToClient, Version::V311) => &CLIENT_V311,
            (Direction::ToClient, Version::V5) => &CLIENT_V5,
        };
        Self { flags, state: State::Running(version, direction), max_packet }
    }

    /// The packet at the front of `buf`, or how much more is needed.
    ///
    /// # Errors
    /// When the first byte or the length can't be the start of a packet that is allowed here; the connection is then
    /// beyond repair, as its packets can no longer be told apart.
    #[inline]
    pub fn split<'a>(&self, buf: &'a [u8]) -> Result<Split<'a>, DecodeError> {
        let Some((&first, rest)) = buf.split_first() else {
            return Ok(Split::Incomplete { need: 2 });
        };
        let allowed = self.flags.get(usize::from(first >> 4)).copied().unwrap_or_default();
        if allowed >> (first & 0x0F) & 1 == 0 {
            return Err(self.refuse_first(first));
        }
        let (remaining, header) = match rest.first() {
            Some(&short) if short < 0x80 => (u32::from(short), 2),
            _ => match read_varint(rest)? {
                Some((value, used)) => {
                    if self.wants_minimal() && used != varint_len(value) {
                        return Err(DecodeError::IntegerNotMinimal);
                    }
                    (value, 1 + used)
                }
                None => return Ok(Split::Incomplete { need: buf.len() + 1 }),
            },
        };
        let len = header + remaining as usize;
        if len > self.max_packet as usize {
            // At most MAX_PACKET, which fits.
            return Err(DecodeError::TooLarge { size: len as u32, limit: self.max_packet });
        }
        match buf.get(header..len) {
            Some(body) => Ok(Split::Frame(Frame { first, body, len })),
            None => Ok(Split::Incomplete { need: len }),
        }
    }

    fn wants_minimal(&self) -> bool {
        matches!(self.state, State::Running(Version::V5, _))
    }

    #[cold]
    fn refuse_first(&self, first: u8) -> DecodeError {
        let State::Running(version, direction) = self.state else {
            return match first >> 4 {
                1 => DecodeError::Flags(first),
                _ => DecodeError::ConnectExpected(first),
            };
        };
        let kind = match PacketType::from_first(first) {
            None => return DecodeError::ReservedType(0),
            Some(PacketType::Auth) if !version.is_v5() => return DecodeError::ReservedType(15),
            Some(kind) => kind,
        };
        if self.flags.get(usize::from(first >> 4)).is_none_or(|allowed| *allowed == 0) {
            return match (kind, direction) {
                (PacketType::Connect, Direction::ToServer) => DecodeError::SecondConnect,
                _ => DecodeError::WrongDirection(kind.name()),
            };
        }
        match kind {
            PacketType::Publish if first & 0b0110 == 0b0110 => DecodeError::PublishQos,
            PacketType::Publish => DecodeError::PublishDup,
            _ => DecodeError::Flags(first),
        }
    }
}

/// Reads a variable byte integer: its value and how many bytes it took; `None` when `bytes` ends inside it.
///
/// Longer forms than needed are accepted; the callers know whether they may be.
///
/// # Errors
/// When a fourth byte still says that another follows.
#[inline]
pub(crate) fn read_varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0u32;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err(DecodeError::IntegerTooLong) } else { Ok(None) }
}

/// Bytes a variable byte integer takes in its shortest form.
#[inline]
pub(crate) const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
