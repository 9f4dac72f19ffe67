//! What can be wrong with a frame, how it is called in a Close frame, and how to mend it.

use noctule_core::refusal::{Kind, Refusal};
use thiserror::Error;

use crate::close::CloseCode;

/// Why the other side's frames are not read on; the connection is then beyond repair.
///
/// Its words fit a Close frame, which has room for 123 bytes (RFC 6455, section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// RSV1, RSV2 or RSV3 is set (section 5.2).
    #[error(
        "frame begins with 0x{0:02x}: reserved bits are set; no extension was agreed on, switch compression off"
    )]
    ReservedBits(u8),
    /// An opcode of 3 to 7 or 11 to 15 (section 5.2).
    #[error("opcode {0} is reserved; send text (1), binary (2) or continuation (0) frames")]
    ReservedOpcode(u8),
    /// A control frame without FIN (section 5.5).
    #[error("control frame of opcode {0} is fragmented; send it in one frame")]
    FragmentedControl(u8),
    /// A control frame of more than 125 bytes (section 5.5).
    #[error("control frame of opcode {0} has more than 125 bytes; shorten it")]
    LongControl(u8),
    /// A frame of a client without masking (section 5.1).
    #[error("frame is not masked; a client masks every frame")]
    NotMasked,
    /// A masked frame of a server (section 5.1).
    #[error("frame is masked; a server masks none")]
    Masked,
    /// A length with more bytes than it needs (section 5.2).
    #[error("length {0} is not written in the fewest bytes; use 7 bits up to 125, 16 up to 65535, then 64")]
    NonMinimalLength(u64),
    /// A 64-bit length whose top bit is set (section 5.2).
    #[error("length 0x{0:016x} has its top bit set; it must be less than 2^63")]
    LengthOverflow(u64),
    /// A continuation without a message to continue (section 5.4).
    #[error("continuation frame without a message to continue; begin with a text or binary frame")]
    NothingToContinue,
    /// A new message inside a fragmented one (section 5.4).
    #[error("new message before the last one ended; continue it (opcode 0) or end it with FIN")]
    MessageInMessage,
    /// Text that isn't UTF-8 (section 8.1).
    #[error("text message is not UTF-8; send bytes in binary messages")]
    TextNotUtf8,
    /// Text where only bytes are taken [MQTT-6.0.0-1].
    #[error("text message where only binary ones are taken; MQTT travels in binary messages")]
    TextNotTaken,
    /// A message over [`FrameLimits::max_message`](crate::FrameLimits::max_message).
    #[error("message has more than {0} bytes; send smaller messages")]
    MessageTooBig(u64),
    /// Too many frames with hardly anything in them; see
    /// [`FrameLimits::max_tiny_frames`](crate::FrameLimits::max_tiny_frames).
    #[error("more than {0} tiny fragments or empty frames; send larger fragments, or the message whole")]
    TooManyTinyFrames(u16),
    /// A Close frame of one byte (section 5.5.1).
    #[error("close frame has one byte; send a two-byte code, or nothing")]
    CloseOfOneByte,
    /// A Close frame with a code that may not be sent (section 7.4).
    #[error("close code {0} is not one to send; use 1000, or one from 3000 to 4999")]
    BadCloseCode(u16),
    /// A Close frame whose words aren't UTF-8 (section 5.5.1).
    #[error("reason in the close frame is not UTF-8")]
    CloseNotUtf8,
}

impl Violation {
    /// What to say in the Close frame (section 7.4.1).
    #[must_use]
    pub fn code(self) -> CloseCode {
        match self {
            Self::ReservedBits(_)
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl(_)
            | Self::LongControl(_)
            | Self::NotMasked
            | Self::Masked
            | Self::NonMinimalLength(_)
            | Self::LengthOverflow(_)
            | Self::NothingToContinue
            | Self::MessageInMessage
            | Self::CloseOfOneByte
            | Self::BadCloseCode(_) => CloseCode::PROTOCOL_ERROR,
            Self::TextNotUtf8 | Self::CloseNotUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::TextNotTaken => CloseCode::UNSUPPORTED_DATA,
            Self::MessageTooBig(_) => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyTinyFrames(_) => CloseCode::POLICY_VIOLATION,
        }
    }

    /// Which line of the table of refusals it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::NothingToContinue | Self::MessageInMessage | Self::TextNotTaken => Kind::ProtocolError,
            Self::MessageTooBig(_) => Kind::PacketTooLarge,
            Self::TooManyTinyFrames(_) => Kind::MessageRateTooHigh,
            _ => Kind::MalformedPacket,
        }
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self::new(violation.kind(), violation.to_string())
    }
}
