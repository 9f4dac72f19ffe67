//! Why a connection is closed, in the numbers of RFC 6455, section 7.4.

use std::fmt;

/// A status code that may stand in a Close frame (section 7.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// What was to be done is done.
    pub const NORMAL: Self = Self(1000);
    /// The server stops, or the page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The frames break the RFC.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of data that isn't taken here.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Data that doesn't fit its kind: text that isn't UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A rule that has no code of its own was broken.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message beyond the limit.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The server cannot go on.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server has too much to do; come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The code of this number, if it may be sent: those of the RFC and of its registry, and what is left to libraries
    /// and applications (3000 to 4999). 1004 is reserved; 1005, 1006 and 1015 never stand in a frame (section 7.4.1).
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        match number {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

/// What the other side's Close frame said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its status code, if it gave one.
    pub code: Option<CloseCode>,
    /// Its words, at most 123 bytes, often none; not escaped.
    pub reason: Box<str>,
}
