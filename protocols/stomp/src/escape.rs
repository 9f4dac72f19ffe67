//! Which bytes mean something inside a head, and how the versions write them as data.
//!
//! | version | escapes (section "Value Encoding") |
//! | --- | --- |
//! | 1.0 | none: a backslash is a backslash |
//! | 1.1 | `\n` LF, `\c` colon, `\\` backslash |
//! | 1.2 | also `\r` CR |
//!
//! Any other sequence is fatal. CONNECT and CONNECTED are never escaped, for the sake of 1.0; a STOMP frame is, by the
//! rules of 1.2, of which those of 1.1 are a part.

use std::borrow::Cow;

use memchr::memchr;

use crate::command::Command;
use crate::version::Version;

/// The escapes of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// Everything is what it looks like.
    #[default]
    None,
    /// `\n \c \\`
    V11,
    /// `\n \c \\ \r`
    V12,
}

impl Escapes {
    /// The rules for a frame. Before the version is known only STOMP is escaped; nothing else but CONNECT, CONNECTED
    /// and an ERROR that refuses may come then, and that last one is better read raw than not at all.
    #[inline]
    pub(crate) fn of(version: Option<Version>, command: Command) -> Self {
        match (command, version) {
            (Command::Connect | Command::Connected, _) => Self::None,
            (Command::Stomp, _) | (_, Some(Version::V12)) => Self::V12,
            (_, Some(Version::V11)) => Self::V11,
            (_, Some(Version::V10) | None) => Self::None,
        }
    }

    /// What `\` and this letter stand for.
    fn meaning(self, letter: u8) -> Option<char> {
        match (self, letter) {
            (Self::None, _) => None,
            (_, b'n') => Some('\n'),
            (_, b'c') => Some(':'),
            (_, b'\\') => Some('\\'),
            (Self::V12, b'r') => Some('\r'),
            _ => None,
        }
    }

    /// The place of the first backslash in `line` that begins no escape of these.
    pub(crate) fn first_bad(self, line: &[u8]) -> Option<usize> {
        if self == Self::None {
            return None;
        }
        let mut at = 0;
        while let Some(rest) = line.get(at..)
            && let Some(next) = memchr(b'\\', rest)
        {
            let backslash = at + next;
            match line.get(backslash + 1) {
                Some(letter) if self.meaning(*letter).is_some() => at = backslash + 2,
                _ => return Some(backslash),
            }
        }
        None
    }

    /// The text that `raw` stands for; borrowed when that is `raw` itself. What is no escape stays as it is.
    #[inline]
    pub(crate) fn unescape(self, raw: &str) -> Cow<'_, str> {
        match memchr(b'\\', raw.as_bytes()) {
            Some(first) if self != Self::None => Cow::Owned(self.unescape_from(raw, first)),
            _ => Cow::Borrowed(raw),
        }
    }

    #[cold]
    fn unescape_from(self, raw: &str, first: usize) -> String {
        let (clean, mut rest) = raw.split_at_checked(first).unwrap_or((raw, ""));
        let mut text = String::with_capacity(raw.len());
        text.push_str(clean);
        while let Some(backslash) = memchr(b'\\', rest.as_bytes()) {
            let (before, escape) = rest.split_at_checked(backslash).unwrap_or((rest, ""));
            text.push_str(before);
            match escape.as_bytes().get(1).and_then(|letter| self.meaning(*letter)) {
                Some(meant) => {
                    text.push(meant);
                    rest = escape.get(2..).unwrap_or_default();
                }
                None => {
                    text.push('\\');
                    rest = escape.get(1..).unwrap_or_default();
                }
            }
        }
        text.push_str(rest);
        text
    }

    /// How the writer puts a telling byte: `None` when as it is.
    ///
    /// Where there is no escape for it, a space takes the place of what would end the line (LF), the frame (NUL), or,
    /// in a name, the name (colon); and of CR where a reader might take it for a part of the line's end.
    #[inline]
    pub(crate) fn written(self, byte: u8, is_name: bool, crlf_is_eol: bool) -> Option<&'static [u8]> {
        match (byte, self) {
            (0, _) | (b'\n', Self::None) => Some(b" "),
            (b':', Self::None) if is_name => Some(b" "),
            (b'\r', Self::None | Self::V11) if crlf_is_eol => Some(b" "),
            (_, Self::None) => None,
            (b'\n', _) => Some(b"\\n"),
            (b':', _) => Some(b"\\c"),
            (b'\\', _) => Some(b"\\\\"),
            (b'\r', Self::V12) => Some(b"\\r"),
            _ => None,
        }
    }
}

/// The high bit of every byte of `word` that may mean something in a head: `:`, `\` and anything below 0x10, which
/// is NUL, LF, CR and some that mean nothing. Exact for each byte, so that all of them can be taken from one word.
#[inline]
pub(crate) fn telling(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const LOWS: u64 = ONES * 0x7F;
    // The carry out of the lower seven bits, and the eighth itself, tell whether a byte is other than zero.
    let not_zero = |x: u64| ((x & LOWS) + LOWS) | x;
    let control = not_zero(word & (ONES * 0xF0));
    let colon = not_zero(word ^ (ONES * b':' as u64));
    let backslash = not_zero(word ^ (ONES * b'\\' as u64));
    !(control & colon & backslash) & (ONES * 0x80)
}

/// Eight bytes as a word whose lowest byte is the first; fewer are filled up with bytes that tell nothing.
#[inline]
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).unwrap_or_default() {
        [a, b, c, d, e, f, g, h, ..] => u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
        short => short.iter().rev().fold(u64::MAX, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telling_bytes_are_found_at_every_place_beside_any_other() {
        for byte in 0..=255u8 {
            for other in [b'a', 0, b':', b'\\', 0x0F, 0x10, 0x80, 0xFF, b':' | 0x80] {
                for at in 0..8 {
                    let mut bytes = [other; 8];
                    bytes[at] = byte;
                    let mask = telling(word_at(&bytes, 0));
                    for (place, byte) in bytes.iter().enumerate() {
                        let tells = matches!(byte, b':' | b'\\' | 0..0x10);
                        let wanted = if tells { 0x80 } else { 0 };
                        assert_eq!(mask >> (8 * place) & 0xFF, wanted, "{bytes:?} at {place}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_short_word_is_filled_with_what_tells_nothing() {
        for len in 0..8 {
            let bytes = [b':'; 7];
            let mask = telling(word_at(&bytes[..len.min(7)], 0));
            assert_eq!(mask.count_ones() as usize, len.min(7));
        }
        assert_eq!(telling(word_at(b"ab:", 7)), 0, "past the end");
    }
}
