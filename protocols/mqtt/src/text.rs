//! UTF-8 as MQTT wants it (section 1.5.4), and what makes a topic name or filter (section 4.7).
//!
//! Refused: what isn't UTF-8, which includes surrogates [MQTT-1.5.4-1], and U+0000 [MQTT-1.5.4-2]. Control characters
//! and non-characters may be refused or accepted by the specification; they are accepted, and U+FEFF is kept
//! [MQTT-1.5.4-3]. Limits on length and levels are the server's and are tested where the topic is put to use.

use crate::error::{DecodeError, FilterFault};

/// Text without U+0000.
#[inline]
pub(crate) fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, DecodeError> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(DecodeError::NotUtf8(field));
    };
    if bytes.contains(&0) { Err(DecodeError::Nul(field)) } else { Ok(text) }
}

/// A topic name: text without U+0000 and without wildcards; whether it may be empty is the caller's to know.
#[inline]
pub(crate) fn topic<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, DecodeError> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(DecodeError::NotUtf8(field));
    };
    if has_special(bytes) {
        return Err(if bytes.contains(&0) {
            DecodeError::Nul(field)
        } else {
            DecodeError::TopicWildcard(field)
        });
    }
    Ok(text)
}

/// Whether there is a NUL, a `+` or a `#`, eight bytes at a time: topics are short and this runs for every PUBLISH.
#[inline]
fn has_special(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    if words.iter().any(|word| word_has_special(u64::from_ne_bytes(*word))) {
        return true;
    }
    match (tail.is_empty(), bytes.last_chunk::<8>()) {
        (true, _) => false,
        // The last eight bytes overlap the words before them, which does no harm.
        (false, Some(word)) => word_has_special(u64::from_ne_bytes(*word)),
        (false, None) => tail.iter().any(|byte| matches!(byte, 0 | b'+' | b'#')),
    }
}

#[inline]
fn word_has_special(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    // A byte of `x` is zero exactly when this leaves some high bit (Mycroft's test; borrows only follow a true zero).
    let zero_byte = |x: u64| x.wrapping_sub(ONES) & !x & HIGHS;
    let plus = word ^ (ONES * b'+' as u64);
    let hash = word ^ (ONES * b'#' as u64);
    zero_byte(word) | zero_byte(plus) | zero_byte(hash) != 0
}

/// A topic filter by section 4.7; in 5.0 also the form of `$share` by section 4.8.2. Tells whether it is shared.
pub(crate) fn filter(text: &str, shares: bool) -> Result<bool, FilterFault> {
    if let Some(share) = text.strip_prefix("$share/").filter(|_| shares) {
        let (name, rest) = share.split_once('/').ok_or(FilterFault::Share)?;
        if name.is_empty() || name.contains(['+', '#']) || rest.is_empty() {
            return Err(FilterFault::Share);
        }
        return levels(rest).map(|()| true);
    }
    levels(text).map(|()| false)
}

fn levels(text: &str) -> Result<(), FilterFault> {
    if text.is_empty() {
        return Err(FilterFault::Empty);
    }
    let mut rest = text;
    loop {
        let (level, next) = match rest.split_once('/') {
            Some((level, next)) => (level, Some(next)),
            None => (rest, None),
        };
        if level.contains('#') && (level != "#" || next.is_some()) {
            return Err(FilterFault::MultiLevel);
        }
        if level.contains('+') && level != "+" {
            return Err(FilterFault::SingleLevel);
        }
        match next {
            Some(next) => rest = next,
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bytes_are_found_at_every_place_of_every_length() {
        for len in 0..40 {
            let clean = vec![b'a'; len];
            assert!(!has_special(&clean));
            for at in 0..len {
                for byte in 0..=255 {
                    let mut bytes = clean.clone();
                    bytes[at] = byte;
                    assert_eq!(
                        has_special(&bytes),
                        matches!(byte, 0 | b'+' | b'#'),
                        "{byte} at {at} of {len}"
                    );
                }
            }
        }
    }

    #[test]
    fn filters() {
        for good in [
            "a",
            "/",
            "//",
            "+",
            "#",
            "a/+/b",
            "a/#",
            "+/+/#",
            "/#",
            "é/+",
            "$SYS/#",
            "$share",
            "$sharex/a+b/c",
        ] {
            let wanted = if good == "$sharex/a+b/c" { Err(FilterFault::SingleLevel) } else { Ok(false) };
            assert_eq!(filter(good, true), wanted, "{good}");
        }
        assert_eq!(filter("", true), Err(FilterFault::Empty));
        for bad in ["a#", "#/", "a/#/b", "##", "+#", "a/b#"] {
            assert_eq!(filter(bad, true), Err(FilterFault::MultiLevel), "{bad}");
        }
        for bad in ["a+", "+a", "a/b+/c", "++"] {
            assert_eq!(filter(bad, true), Err(FilterFault::SingleLevel), "{bad}");
        }
    }

    #[test]
    fn shared_filters() {
        for good in ["$share/g/a", "$share/g//", "$share/g/#", "$share/g/+/b", "$share/$share/$share/a"] {
            assert_eq!(filter(good, true), Ok(true), "{good}");
        }
        for bad in ["$share/", "$share/g", "$share//a", "$share/g/", "$share/+/a", "$share/g#/a"] {
            assert_eq!(filter(bad, true), Err(FilterFault::Share), "{bad}");
        }
        assert_eq!(filter("$share/g/a+", true), Err(FilterFault::SingleLevel));
        // 3.1.1 knows no shares: only the general form is checked.
        assert_eq!(filter("$share/g", false), Ok(false));
    }

    #[test]
    fn text_rules() {
        assert_eq!(text(b"a\0", "x"), Err(DecodeError::Nul("x")));
        // U+D800 as CESU-8 would write it [MQTT-1.5.4-1], and an overlong NUL.
        assert_eq!(text(&[0xED, 0xA0, 0x80], "x"), Err(DecodeError::NotUtf8("x")));
        assert_eq!(text(&[0xC0, 0x80], "x"), Err(DecodeError::NotUtf8("x")));
        // U+FEFF is kept [MQTT-1.5.4-3]; controls and non-characters pass.
        assert_eq!(text("\u{FEFF}a\u{1}\u{FFFF}".as_bytes(), "x"), Ok("\u{FEFF}a\u{1}\u{FFFF}"));
        assert_eq!(topic("é+".as_bytes(), "x"), Err(DecodeError::TopicWildcard("x")));
    }
}
