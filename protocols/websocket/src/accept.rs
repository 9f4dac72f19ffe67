//! `Sec-WebSocket-Key` and the `Sec-WebSocket-Accept` that proves that it was read (RFC 6455, section 4.2.2).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What is hashed behind the key (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bits that mean nothing in the last digit are let pass: the RFC's own example in section 4.1 has them.
const KEYS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The value of a `Sec-WebSocket-Accept` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptKey([u8; 28]);

impl AcceptKey {
    /// The answer to `key`, which is hashed as it was written, not as it was meant.
    pub(crate) fn of(key: &str) -> Self {
        let mut hash = sha1_smol::Sha1::from(key.as_bytes());
        hash.update(GUID);
        let mut text = [0; 28];
        // 20 bytes make exactly 28 digits.
        let _ = KEYS.encode_slice(hash.digest().bytes(), &mut text);
        Self(text)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The value of the `Sec-WebSocket-Accept` header that answers a `Sec-WebSocket-Key`, for a server whose HTTP is another's;
/// `None` if that is no key (section 4.2.1).
#[must_use]
pub fn accept_key(key: &str) -> Option<String> {
    is_key(key).then(|| String::from_utf8_lossy(AcceptKey::of(key).as_bytes()).into_owned())
}

/// Whether `key` is what section 4.2.1 asks for: 16 bytes in base64.
pub(crate) fn is_key(key: &str) -> bool {
    // 24 digits may hold as many as 18 bytes.
    let mut bytes = [0; 18];
    key.len() == 24 && KEYS.decode_slice(key, &mut bytes) == Ok(16)
}

/// The key that stands for `nonce`.
pub(crate) fn key(nonce: [u8; 16]) -> String {
    KEYS.encode(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_section_1_3() {
        assert_eq!(AcceptKey::of("dGhlIHNhbXBsZSBub25jZQ==").as_bytes(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ"), None);
    }

    #[test]
    fn keys_are_sixteen_bytes() {
        for good in ["dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC==", "++++////++++////++++//=="] {
            assert!(is_key(good), "{good}");
        }
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZWU=",
            "dGhlIHNhbXBsZSBub25jZWVl",
            "dGhlIHNhbXBsZSBub24=",
            "dGhlIHNhbXBsZSBub25j-_==",
            " GhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_key(bad), "{bad}");
        }
        assert!(is_key(&key([0xFB; 16])));
    }
}
