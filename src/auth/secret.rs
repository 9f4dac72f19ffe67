//! Bytes that are wiped from memory when they are dropped, and never shown.

use std::fmt;

use zeroize::Zeroizing;

/// A password, a token or a key: wiped when dropped, left out of `Debug`.
///
/// It is not `Clone`, so that each copy is made where one can see it.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a copy; the caller's own bytes (a read buffer, say) stay the caller's to wipe.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        // Exactly as large as needed: a vector that grew would leave its earlier self behind.
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes; they do not leave through a log.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_shown() {
        let shown = format!("{:?}", Some(Secret::copy_of(b"wonderland")));
        assert_eq!(shown, "Some(Secret(…))");
    }
}
