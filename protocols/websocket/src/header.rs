//! The first 2 to 14 bytes of a frame (RFC 6455, section 5.2), refused as early as they allow.
//!
//! What a frame means among others (continuations, closing) is not known here.

use crate::mask::Mask;
use crate::violation::Violation;

/// Which side we are, which decides who masks (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We listen: what comes in is masked, what goes out isn't.
    Server,
    /// We connect: what goes out is masked, what comes in isn't.
    Client {
        /// For the one frame that the call may write: fresh and unpredictable each time (section 5.3).
        mask: Mask,
    },
}

/// What a message is said to hold; it means nothing to the stream that its bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8, and checked to be.
    Text,
    /// Bytes.
    Binary,
}

/// The opcodes that the RFC gives a meaning (section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn parse(number: u8) -> Result<Self, Violation> {
        match number {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(Violation::ReservedOpcode(number)),
        }
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

/// A header that is in order by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Whether its message ends with it.
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    /// Zeros in a frame that isn't masked.
    pub(crate) mask: Mask,
    /// Bytes of the payload; less than 2^63.
    pub(crate) payload: u64,
    /// Bytes of the header itself.
    pub(crate) size: usize,
}

impl Header {
    /// Most payload of a control frame (section 5.5).
    pub(crate) const MAX_CONTROL: usize = 125;

    /// The header at the front of `bytes`; `None` while it isn't whole.
    ///
    /// # Errors
    /// Whatever is wrong with it, even while it isn't whole.
    #[inline]
    pub(crate) fn parse(bytes: &[u8], role: Role) -> Result<Option<Self>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBits(first));
        }
        let opcode = Opcode::parse(first & 0x0F)?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::FragmentedControl(opcode as u8));
        }
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        let masked = second & 0x80 != 0;
        match role {
            Role::Server if !masked => return Err(Violation::NotMasked),
            Role::Client { .. } if masked => return Err(Violation::Masked),
            Role::Server | Role::Client { .. } => {}
        }
        let short = second & 0x7F;
        if opcode.is_control() && usize::from(short) > Self::MAX_CONTROL {
            return Err(Violation::LongControl(opcode as u8));
        }
        let (payload, rest) = match short {
            126 => {
                let Some((long, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let payload = u64::from(u16::from_be_bytes(*long));
                if payload <= 125 {
                    return Err(Violation::NonMinimalLength(payload));
                }
                (payload, rest)
            }
            127 => {
                let Some((long, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let payload = u64::from_be_bytes(*long);
                if payload <= u64::from(u16::MAX) {
                    return Err(Violation::NonMinimalLength(payload));
                }
                if payload >> 63 != 0 {
                    return Err(Violation::LengthOverflow(payload));
                }
                (payload, rest)
            }
            short => (u64::from(short), rest),
        };
        let (mask, rest) = if masked {
            let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (Mask(*mask), rest)
        } else {
            (Mask::default(), rest)
        };
        Ok(Some(Self { fin, opcode, mask, payload, size: bytes.len() - rest.len() }))
    }
}
