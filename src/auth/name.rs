//! Which names users and groups may have. Every name passes here, whoever brings it: a file, a token, a callback.
//!
//! User names are put into topic patterns (`sensors/%u/#`), so none may carry what has a meaning there (CVE-2017-7650).

/// Longest name of a user or group, bytes.
pub const MAX_NAME_BYTES: usize = 512;

/// Why a name is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nobody has an empty name.
    #[error("the name is empty")]
    Empty,
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("the name has {0} bytes, {MAX_NAME_BYTES} at most")]
    TooLong(usize),
    /// A character with a meaning in topics.
    #[error("the name holds {0:?}, which has a meaning in topics; use letters, digits, - . _ @")]
    Topic(char),
    /// A control character, NUL among them, or one that turns the direction of writing.
    #[error("the name holds the control character {0:?}")]
    Control(char),
    /// A blank at either end, which nobody sees.
    #[error("the name begins or ends with a blank")]
    Blank,
}

/// Whether `name` may be a user's or a group's.
///
/// # Errors
/// When it is empty, longer than [`MAX_NAME_BYTES`], begins or ends with a blank, or holds `+`, `#`, `/` or a control
/// character.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong(name.len()));
    }
    for c in name.chars() {
        match c {
            '+' | '#' | '/' => return Err(NameError::Topic(c)),
            // U+2028 and the rest break lines or turn them round in a log.
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                return Err(NameError::Control(c));
            }
            c if c.is_control() => return Err(NameError::Control(c)),
            _ => {}
        }
    }
    if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        return Err(NameError::Blank);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_in_topics_are_none() {
        for name in ["alice", "press-7.north@plant", "grün", "a b", "$SYS", "%u", &"x".repeat(512)] {
            assert_eq!(check(name), Ok(()), "{name:?}");
        }
        for (name, error) in [
            ("", NameError::Empty),
            ("+", NameError::Topic('+')),
            ("a/#", NameError::Topic('/')),
            ("a#", NameError::Topic('#')),
            ("a\0", NameError::Control('\0')),
            ("a\n", NameError::Control('\n')),
            ("a\u{85}", NameError::Control('\u{85}')),
            ("a\u{202e}b", NameError::Control('\u{202e}')),
            (" a", NameError::Blank),
            ("a\u{a0}", NameError::Blank),
            (&"x".repeat(513), NameError::TooLong(513)),
        ] {
            assert_eq!(check(name), Err(error), "{name:?}");
        }
    }
}
