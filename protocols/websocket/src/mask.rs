//! The XOR that a client's payload travels under (RFC 6455, section 5.3). Where the keys come from is the caller's.

/// The masking key of a frame, turned so that its first byte is the next one to use.
///
/// A client takes a fresh one, unpredictable, for every frame (section 5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask(pub [u8; 4]);

impl Mask {
    /// Bytes that are worked on at once: enough for the widest vectors that a compiler may use here.
    const BLOCK: usize = 32;

    /// Masks or unmasks `bytes`, which is the same, and turns to the byte that follows them.
    #[inline]
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let key = u64::from(u32::from_ne_bytes(self.0));
        let key = key | key << 32;
        let turn = bytes.len() % 4;
        let (blocks, rest) = bytes.as_chunks_mut::<{ Self::BLOCK }>();
        for block in blocks {
            for word in block.as_chunks_mut::<8>().0 {
                *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
            }
        }
        let (words, rest) = rest.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(key.to_ne_bytes()) {
            *byte ^= mask;
        }
        self.0.rotate_left(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;

    /// Section 5.3, as it stands there: octet i is XORed with octet i modulo 4 of the key.
    fn plainly(bytes: &mut [u8], key: [u8; 4]) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte ^= key[i % 4];
        }
    }

    #[test]
    fn it_is_the_plain_rule_at_every_length_and_cut() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..150 {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let mut wanted = bytes.clone();
            plainly(&mut wanted, key);
            for cut in 0..=len {
                let mut got = bytes.clone();
                let (front, back) = got.split_at_mut(cut);
                let mut mask = Mask(key);
                mask.apply(front);
                mask.apply(back);
                assert_eq!(got, wanted, "{len} cut at {cut}");
                let mut turned = key;
                turned.rotate_left(len % 4);
                assert_eq!(mask, Mask(turned));
            }
        }
    }
}
