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
        if self == Self::None {
            return Cow::Borrowed(raw);
        }
        match memchr(b'\\', raw.as_bytes()) {
            Some(first) => Cow::Owned(self.unescape_from(raw, first)),
            None => Cow::Borrowed(raw),
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

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = ONES * 0x80;

/// Zero in the high bit of every byte of `word` that is zero. Exact for each byte, as no carry leaves its byte.
#[inline]
const fn not_zero(word: u64) -> u64 {
    ((word & !HIGHS) + !HIGHS) | word
}

/// The high bit of every byte of `word` that may mean something in a head: `:`, `\` and anything below 0x10, which
/// is NUL, LF, CR and some that mean nothing.
#[inline]
pub(crate) const fn telling(word: u64) -> u64 {
    let control = not_zero(word & (ONES * 0xF0));
    let colon = not_zero(word ^ (ONES * b':' as u64));
    let backslash = not_zero(word ^ (ONES * b'\\' as u64));
    !(control & colon & backslash) & HIGHS
}

/// The place of the first `BYTE` at or after `from`. For names and values, which are too short to be worth the start
/// of a vector search.
#[inline]
pub(crate) fn find<const BYTE: u8>(bytes: &[u8], from: usize) -> Option<usize> {
    const { assert!(BYTE != u8::MAX, "short words are filled up with it") };
    let mut at = from;
    while at < bytes.len() {
        let mask = !not_zero(word_at(bytes, at) ^ (ONES * BYTE as u64)) & HIGHS;
        if mask != 0 {
            return Some(at + mask.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    None
}

/// The eight bytes from `at` as a word whose lowest byte is the first; fewer are filled up with 0xFF, which tells
/// nothing.
#[inline]
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    match (rest.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(word), _) => u64::from_le_bytes(*word),
        (None, _) if rest.is_empty() => u64::MAX,
        // The last eight bytes, of which those before `at` are pushed out.
        (None, Some(last)) => !(!u64::from_le_bytes(*last) >> (64 - 8 * rest.len())),
        (None, None) => short_word(rest),
    }
}

/// Up to seven bytes, in three steps at most.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let (mut word, mut rest, mut shift) = (0, bytes, 0);
    if let Some((four, after)) = rest.split_first_chunk::<4>() {
        word = u64::from(!u32::from_le_bytes(*four));
        (rest, shift) = (after, 32);
    }
    if let Some((two, after)) = rest.split_first_chunk::<2>() {
        word |= u64::from(!u16::from_le_bytes(*two)) << shift;
        (rest, shift) = (after, shift + 16);
    }
    if let Some(one) = rest.first() {
        word |= u64::from(!*one) << shift;
    }
    !word
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
    fn a_word_is_the_same_wherever_its_bytes_lie() {
        let bytes: Vec<u8> = (1..=20).collect();
        for len in 0..=bytes.len() {
            let bytes = &bytes[..len];
            for at in 0..=len + 1 {
                let mut wanted = [0xFF; 8];
                for (place, byte) in wanted.iter_mut().zip(bytes.iter().skip(at)) {
                    *place = *byte;
                }
                assert_eq!(word_at(bytes, at).to_le_bytes(), wanted, "{at} of {len}");
            }
        }
        assert_eq!(telling(u64::MAX), 0);
    }

    #[test]
    fn a_byte_is_found_at_every_place_of_every_length() {
        for len in 0..30 {
            for from in 0..=len {
                for at in 0..len {
                    let mut bytes = vec![b'a'; len];
                    bytes[at] = b':';
                    let wanted = (at >= from).then_some(at);
                    assert_eq!(find::<b':'>(&bytes, from), wanted, "{at} of {len} from {from}");
                }
            }
        }
    }
}
