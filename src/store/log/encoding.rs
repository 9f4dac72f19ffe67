//! Bytes on disk: numbers of variable length, texts with their length before them, and the seal over a table's row.
//!
//! Reading never trusts a length: whatever doesn't fit is `None`.

/// Most bytes of a number.
pub(super) const MAX_VARINT: usize = 10;

/// Seven bits a byte, the lowest first; the highest bit says that another byte follows.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes with their number before them.
pub(super) fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A text that may be missing: 0, or 1 and the text.
pub(super) fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_blob(out, text.as_bytes());
    }
}

/// Small numbers of either sign become small numbers: 0, -1, 1, -2, ...
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Takes a value apart, from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*array)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for at in 0..MAX_VARINT {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if at == MAX_VARINT - 1 && bits > 1 {
                return None;
            }
            value |= bits << (7 * at);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    pub(super) fn blob(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        self.bytes(len)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.blob()?).ok()
    }

    pub(super) fn option(&mut self) -> Option<Option<&'a str>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.text().map(Some),
            _ => None,
        }
    }
}

/// The checksum of a row: over its table, its key and its value, so that none of them can pass for another's.
fn checksum(table: &str, key: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(table.as_bytes());
    crc.update(key);
    crc.update(body);
    crc.finalize()
}

/// Puts the checksum behind a row's value.
pub(super) fn seal(table: &str, key: &[u8], mut body: Vec<u8>) -> Vec<u8> {
    let crc = checksum(table, key, &body);
    body.extend_from_slice(&crc.to_le_bytes());
    body
}

/// The value without its checksum, if that is right.
pub(super) fn unseal<'a>(table: &str, key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (body, crc) = value.split_last_chunk::<4>()?;
    (checksum(table, key, body) == u32::from_le_bytes(*crc)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_take_as_little_as_they_need() {
        for (value, len) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), len);
            let mut reader = Reader::new(&out);
            assert_eq!((reader.varint(), reader.rest().len()), (Some(value), 0));
        }
        for value in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!((zigzag(-1), zigzag(1)), (1, 2));
    }

    #[test]
    fn what_does_not_fit_is_nothing() {
        assert_eq!(Reader::new(&[0x80]).varint(), None);
        assert_eq!(Reader::new(&[0xff; 11]).varint(), None);
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(Reader::new(&too_large).varint(), None);
        assert_eq!(Reader::new(&[3, 1, 2]).blob(), None);
        assert_eq!(Reader::new(&[2, 0xc3, 0x28]).text(), None);
        assert_eq!(Reader::new(&[2]).option(), None);
    }

    #[test]
    fn a_row_is_known_by_its_table_its_key_and_every_bit_of_its_value() {
        let row = seal("wills", b"key", b"value".to_vec());
        assert_eq!(unseal("wills", b"key", &row), Some(&b"value"[..]));
        assert_eq!(unseal("groups", b"key", &row), None);
        assert_eq!(unseal("wills", b"kez", &row), None);
        for bit in 0..row.len() * 8 {
            let mut damaged = row.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal("wills", b"key", &damaged), None);
        }
    }
}
