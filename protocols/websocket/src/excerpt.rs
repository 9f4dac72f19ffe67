//! The beginning of something offending, fit for a log line and for the plain text of an answer.

use std::fmt;

/// The beginning of something offending, short, and escaped so that it can forge neither a log line nor a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// Most characters shown.
    pub const MAX_CHARS: usize = 40;

    /// What stands at the front of `bytes`; what isn't UTF-8 shows as U+FFFD.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::at_most(bytes, Self::MAX_CHARS)
    }

    /// The same of something whose end matters: the words of the other side's answer.
    pub(crate) fn long(bytes: &[u8]) -> Self {
        Self::at_most(bytes.trim_ascii(), 5 * Self::MAX_CHARS)
    }

    fn at_most(bytes: &[u8], max_chars: usize) -> Self {
        // A character has four bytes at most, so no more than these can be shown.
        let front = bytes.get(..4 * max_chars).unwrap_or(bytes);
        let text = String::from_utf8_lossy(front);
        let mut shown: String = text.chars().take(max_chars).collect();
        if shown.len() < text.len() || front.len() < bytes.len() {
            shown.push('…');
        }
        Self(shown.into())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
