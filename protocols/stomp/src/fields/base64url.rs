//! Base64 with the alphabet for addresses and without padding (RFC 4648, section 5), for correlation data that is no
//! text. A dozen lines are not worth a dependency.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Appends `bytes` as text.
pub(super) fn encode(bytes: &[u8], out: &mut String) {
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| u32::from(chunk.get(place).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=chunk.len() {
            let digit = (group >> (18 - 6 * place)) & 63;
            out.push(LETTERS.get(digit as usize).copied().map_or('A', char::from));
        }
    }
}

/// The bytes behind `text`; the letters of plain Base64 and padding at the end are taken too. `None` if it is none, or
/// if its last letter has bits that belong to no byte.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut group = 0;
        for letter in chunk {
            group = group << 6 | u32::from(digit(*letter)?);
        }
        match chunk.len() {
            4 => bytes.extend_from_slice(group.to_be_bytes().get(1..)?),
            3 if group & 3 == 0 => bytes.extend_from_slice((group >> 2).to_be_bytes().get(2..)?),
            2 if group & 15 == 0 => bytes.extend_from_slice((group >> 4).to_be_bytes().get(3..)?),
            _ => return None,
        }
    }
    Some(bytes)
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'-' | b'+' => Some(62),
        b'_' | b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn the_vectors_of_rfc_4648_section_10_both_ways() {
        for (text, bytes) in
            [("", ""), ("Zg", "f"), ("Zm8", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob"), ("Zm9vYmE", "fooba")]
        {
            let mut written = String::new();
            encode(bytes.as_bytes(), &mut written);
            assert_eq!(written, text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode("Zg==").as_deref(), Some(&b"f"[..]), "padding is taken");
        assert_eq!(decode("-_8").as_deref(), decode("+/8=").as_deref());
        assert_eq!(decode("-_8").as_deref(), Some(&[0xFB, 0xFF][..]));
    }

    #[test]
    fn what_is_no_base64_has_no_bytes() {
        for bad in ["Z", "Zm9vY", "Zh", "Zm9", "Z g", "Zg=a", "é", "Zm9v\n"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn every_byte_survives() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..=bytes.len() {
            let mut text = String::new();
            encode(&bytes[..len], &mut text);
            assert_eq!(decode(&text).as_deref(), Some(&bytes[..len]));
        }
    }
}
