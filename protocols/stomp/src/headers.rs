//! The headers of one frame, borrowed from the read buffer and read each time they are asked for.
//!
//! What is here has been validated by the framer: UTF-8, a name and a colon in every line, escapes of the version.
//! What a header means is not known here.

use std::borrow::Cow;
use std::fmt;

use crate::escape::{Escapes, find};

/// The headers of a frame, in their order, repeated ones included.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a> {
    /// Whole lines, each with its LF, the empty one left out.
    lines: &'a str,
    count: u16,
    /// The frame's escapes, or none at all if no line has a backslash.
    escapes: Escapes,
    /// Whether a CR before LF belongs to the line's end, as some line has one.
    crlf: bool,
}

impl<'a> Headers<'a> {
    pub(crate) fn from_validated(lines: &'a str, count: u16, escapes: Escapes, crlf: bool) -> Self {
        Self { lines, count, escapes, crlf }
    }

    /// All of them, unescaped: names and values are borrowed where they have no escape. Nothing is trimmed.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let escapes = self.escapes;
        self.raw().map(move |(name, value)| (escapes.unescape(name), escapes.unescape(value)))
    }

    /// The value of the first header of this name (1.2, "Repeated Header Entries"), unescaped.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        let (_, value) = self.raw().find(|(raw, _)| *raw == name || self.escapes.unescape(raw) == name)?;
        Some(self.escapes.unescape(value))
    }

    /// The value of the first header that is written with this name, as it stands on the wire: for credentials of
    /// clients that don't escape what they should.
    #[must_use]
    pub fn get_raw(&self, name: &str) -> Option<&'a str> {
        self.raw().find(|(raw, _)| *raw == name).map(|(_, value)| value)
    }

    /// How many there are, repeated ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn raw(&self) -> Lines<'a> {
        Lines { rest: self.lines, crlf: self.crlf }
    }
}

impl fmt::Debug for Headers<'_> {
    /// Everything but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value)| (name, if name == "passcode" { "(hidden)" } else { value });
        f.debug_map().entries(self.raw().map(shown)).finish()
    }
}

/// Names and values as they stand.
struct Lines<'a> {
    rest: &'a str,
    crlf: bool,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // Every line has a colon, so the first one is this line's.
        let colon = find::<b':'>(self.rest.as_bytes(), 0)?;
        let end = find::<b'\n'>(self.rest.as_bytes(), colon + 1)?;
        let name = self.rest.get(..colon)?;
        let mut value = self.rest.get(colon + 1..end)?;
        self.rest = self.rest.get(end + 1..)?;
        if self.crlf {
            value = value.strip_suffix('\r').unwrap_or(value);
        }
        Some((name, value))
    }
}
