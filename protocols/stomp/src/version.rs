//! The three versions, how one of them is agreed on, and which way a frame goes.

use std::fmt;

/// A version of STOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.0: no escapes, no heart-beats, no NACK.
    V10,
    /// 1.1: escapes `\n \c \\`.
    V11,
    /// 1.2: escapes also `\r`, and lines may end in CR LF.
    V12,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 3] = [Self::V10, Self::V11, Self::V12];

    /// `1.0`, `1.1` or `1.2`, as the `version` and `accept-version` headers write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
            Self::V12 => "1.2",
        }
    }

    /// The highest version that both sides speak, out of an `accept-version` header: a list with commas, in any order
    /// (1.2, "Protocol Negotiation"). Spaces around an item and items that mean nothing to us are passed over.
    ///
    /// `None` when there is none; the answer is then ERROR. That a *missing* header means 1.0 is the caller's to know.
    #[must_use]
    pub fn highest_common(accept: &str) -> Option<Self> {
        let offered = |version: &Self| accept.split(',').any(|item| item.trim() == version.as_str());
        Self::ALL.into_iter().rev().find(offered)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What a server reads: SEND, SUBSCRIBE...
    ToServer,
    /// What a client reads: MESSAGE, RECEIPT...
    ToClient,
}

/// The rules by which one side of a connection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What was agreed on; `None` until CONNECT or CONNECTED has told.
    pub version: Option<Version>,
    /// Which way the frames go.
    pub direction: Direction,
}

impl Reading {
    /// Whether a line may end in CR LF: in 1.2, and as long as nobody knows which version it is.
    pub(crate) fn allows_crlf(self) -> bool {
        matches!(self.version, None | Some(Version::V12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_negotiation_takes_the_highest_that_both_speak() {
        for (accept, common) in [
            ("1.0", Some(Version::V10)),
            ("1.0,1.1", Some(Version::V11)),
            ("1.0,1.1,1.2", Some(Version::V12)),
            ("1.2,1.0", Some(Version::V12)),
            ("1.1,2.0", Some(Version::V11)),
            ("1.1, 1.0 ", Some(Version::V11)),
            ("2.0", None),
            ("1.20", None),
            ("1", None),
            ("", None),
            (",,", None),
        ] {
            assert_eq!(Version::highest_common(accept), common, "{accept:?}");
        }
    }
}
