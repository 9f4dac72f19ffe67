//! UTF-8 that comes in pieces (RFC 6455, section 8.1): which bytes may follow the last ones. Keeps no bytes.

/// Between two pieces of a text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8 {
    /// Continuation bytes that the last character still lacks.
    lacking: u8,
    /// The least and the most that the next of them may be: what rules out overlong forms, surrogates and all above
    /// U+10FFFF (RFC 3629, section 4).
    low: u8,
    high: u8,
}

impl Utf8 {
    /// Whether the text may go on with `piece`.
    #[inline]
    pub(crate) fn goes_on(&mut self, piece: &[u8]) -> bool {
        let mut rest = piece;
        while self.lacking > 0 {
            let Some((byte, behind)) = rest.split_first() else { return true };
            if !self.push(*byte) {
                return false;
            }
            rest = behind;
        }
        match std::str::from_utf8(rest) {
            Ok(_) => true,
            // Not wrong so far: the last character, of which at least one byte is there, goes on in the next piece.
            Err(error) if error.error_len().is_none() => {
                rest.get(error.valid_up_to()..).unwrap_or_default().iter().all(|byte| self.push(*byte))
            }
            Err(_) => false,
        }
    }

    /// Whether the text may end here.
    pub(crate) fn may_end(self) -> bool {
        self.lacking == 0
    }

    /// Takes one byte of a character that is longer than one.
    fn push(&mut self, byte: u8) -> bool {
        if self.lacking > 0 {
            let fits = (self.low..=self.high).contains(&byte);
            *self = Self { lacking: self.lacking - 1, low: 0x80, high: 0xBF };
            return fits;
        }
        let (lacking, low, high) = match byte {
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return false,
        };
        *self = Self { lacking, low, high };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Utf8;

    /// Whether `text` is one, coming in pieces of `size` bytes.
    fn is_text(text: &[u8], size: usize) -> bool {
        let mut utf8 = Utf8::default();
        text.chunks(size).all(|piece| utf8.goes_on(piece)) && utf8.may_end()
    }

    /// Every first two bytes, with what may or may not follow: the verdict is the standard library's, in any pieces.
    #[test]
    fn pieces_change_no_verdict() {
        for first in 0..=u16::MAX {
            let [a, b] = first.to_be_bytes();
            for tail in [&b""[..], b"\x80", b"\xBF", b"\x80\x80", b"\x80\xBF\x80", b"x", b"\x80x"] {
                let text = [&b"k\xC3\xA9"[..], &[a, b], tail].concat();
                let wanted = std::str::from_utf8(&text).is_ok();
                for size in 1..=text.len() {
                    assert_eq!(is_text(&text, size), wanted, "{} by {size}", text.escape_ascii());
                }
            }
        }
    }

    /// What can't become a character is refused at its first wrong byte, not when the text ends.
    #[test]
    fn a_wrong_byte_is_refused_when_it_comes() {
        for wrong in
            [&b"\x80"[..], b"\xC0", b"\xE0\x9F", b"\xED\xA0", b"\xF0\x8F", b"\xF4\x90", b"\xF5", b"\xE2\x82x"]
        {
            let mut utf8 = Utf8::default();
            let (last, before) = wrong.split_last().unwrap();
            assert!(utf8.goes_on(before), "{}", wrong.escape_ascii());
            assert!(!utf8.goes_on(&[*last]), "{}", wrong.escape_ascii());
            assert!(!Utf8::default().goes_on(wrong), "{}", wrong.escape_ascii());
        }
    }
}
