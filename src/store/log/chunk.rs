//! Chunks: the values of the log's table, each a header and records, in the sizes that waste the least of redb's pages.
//!
//! redb writes a value into a page of a power of two, 4,096 bytes at least; a value one byte too long for its page
//! writes twice as much.

use std::ops::Range;

use super::encoding::Reader;
use super::record::{self, Found, Record};
use super::timeline::Stamp;

/// The version of the chunks' layout.
const LAYOUT: u8 = 1;

/// Bytes before the first record: layout, broker time, uptime, boot id, checksum.
pub(super) const HEADER: usize = 1 + 8 + 8 + 8 + 4;

/// Most bytes of a chunk that fills one page of 4, 8, 16, 32 or 64 KiB, with a little room for redb's own.
const CLASSES: [usize; 5] = [4_060, 8_100, 16_200, 32_500, 65_000];

/// The beginning of a chunk.
pub(super) fn header(chunk: u64, stamp: Stamp) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let mut at = 0;
    let numbers = [stamp.at, stamp.uptime_ms, stamp.boot_id].map(u64::to_le_bytes);
    for part in [&[LAYOUT][..], &numbers[0], &numbers[1], &numbers[2]] {
        if let Some(place) = bytes.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
        at += part.len();
    }
    record::seal(chunk, &mut bytes);
    bytes
}

/// A chunk whose header makes sense.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    number: u64,
    bytes: &'a [u8],
    /// When it was written.
    pub(super) stamp: Stamp,
}

/// One record of a chunk and its place there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) offset: usize,
    pub(super) len: usize,
    /// `None` if it is damaged.
    pub(super) record: Option<Record<'a>>,
}

impl<'a> Chunk<'a> {
    pub(super) fn open(number: u64, bytes: &'a [u8]) -> Option<Self> {
        let mut header: [u8; HEADER] = *bytes.first_chunk()?;
        let found = header;
        record::seal(number, &mut header);
        if header != found || header.first() != Some(&LAYOUT) {
            return None;
        }
        let mut reader = Reader::new(bytes.get(1..)?);
        let mut number_le = || reader.array().map(u64::from_le_bytes);
        let stamp = Stamp { at: number_le()?, uptime_ms: number_le()?, boot_id: number_le()? };
        Some(Self { number, bytes, stamp })
    }

    /// A chunk that was opened before.
    pub(super) fn checked(number: u64, stamp: Stamp, bytes: &'a [u8]) -> Self {
        Self { number, bytes, stamp }
    }

    /// All records, in order. Behind a damaged length nothing can be found any more.
    pub(super) fn pieces(self) -> impl Iterator<Item = Piece<'a>> {
        let mut offset = HEADER;
        std::iter::from_fn(move || {
            let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
            let (record, len) = match record::read(self.number, rest) {
                Found::Record(record, len) => (Some(record), len),
                Found::Damaged(len) => (None, len),
                Found::Nothing => (None, rest.len()),
            };
            let piece = Piece { offset, len, record };
            offset += len;
            Some(piece)
        })
    }

    /// The record at `offset`.
    pub(super) fn at(self, offset: usize) -> Option<Record<'a>> {
        match record::read(self.number, self.bytes.get(offset..)?) {
            Found::Record(record, _) => Some(record),
            Found::Damaged(_) | Found::Nothing => None,
        }
    }
}

/// Divides records of these lengths, in their order, into chunks that write as few pages as they can: full ones of
/// the largest size, and then the largest size that what is left fills. A record that fits no size is alone.
pub(super) fn divide(lengths: &[usize]) -> Vec<Range<usize>> {
    let [smallest, .., largest] = CLASSES.map(|class| class - HEADER);
    let mut left: usize = lengths.iter().sum();
    let mut chunks = Vec::new();
    let mut start = 0;
    while let Some(&first) = lengths.get(start) {
        // What a record longer than the size aimed at needs has to be written anyway.
        let aim = left.max(smallest).max(first);
        let class = CLASSES.iter().rev().map(|class| class - HEADER).find(|&class| class <= aim);
        let class = class.unwrap_or(smallest);
        let room = CLASSES.iter().map(|class| class - HEADER).find(|&fits| fits >= first).unwrap_or(largest);
        let room = room.max(class);
        let (mut end, mut bytes) = (start + 1, first);
        while let Some(&next) = lengths.get(end) {
            if bytes + next > room {
                break;
            }
            bytes += next;
            end += 1;
        }
        left -= bytes;
        chunks.push(start..end);
        start = end;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { at: 1, uptime_ms: 2, boot_id: 3 };

    /// Bytes that redb writes for a value: a page has 4,096 · 2ⁿ bytes, of which it takes 16 itself.
    fn page(value: usize) -> usize {
        (value + 16).next_power_of_two().max(4_096)
    }

    fn written(lengths: &[usize]) -> (usize, usize) {
        let chunks = divide(lengths);
        let mut next = 0;
        for chunk in &chunks {
            assert_eq!(chunk.start, next, "every record once, in order");
            assert!(chunk.end > chunk.start);
            next = chunk.end;
        }
        assert_eq!(next, lengths.len());
        (
            chunks.len(),
            chunks.into_iter().map(|chunk| page(HEADER + lengths[chunk].iter().sum::<usize>())).sum(),
        )
    }

    #[test]
    fn a_commits_records_fill_their_pages() {
        assert_eq!(written(&[]), (0, 0));
        assert_eq!(written(&[150]), (1, 4 << 10));
        // 20 KiB are a page of 16 and one of 4, not one of 32.
        assert_eq!(written(&[150; 130]), (2, 20 << 10));
        assert_eq!(written(&[150; 1_000]).1, (2 * 64 + 16 + 4 + 4) << 10);
        for count in 1..3_000 {
            let (_, pages) = written(&vec![150; count]);
            let least = (count * 150).div_ceil(4_080) * 4_096;
            assert!(pages <= least + least / 16 + 4_096, "{count} records: {pages} of {least}");
        }
    }

    #[test]
    fn the_edges_of_every_size_are_kept() {
        for class in CLASSES {
            assert_eq!(written(&[class - HEADER]), (1, page(class)));
            assert!(page(class) < 17 * class / 16 + 64);
        }
        assert_eq!(written(&[2_000, 2_060]), (2, 8 << 10), "two pages of 4 are no worse than one of 8");
    }

    #[test]
    fn a_record_that_fits_nowhere_is_alone() {
        assert_eq!(divide(&[100, 70_000, 100, 100]), [0..1, 1..2, 2..4]);
        assert_eq!(divide(&[200_000, 1]), [0..1, 1..2]);
    }

    #[test]
    fn a_header_is_known_by_its_number_and_every_bit() {
        let bytes = header(5, STAMP);
        assert_eq!(Chunk::open(5, &bytes).unwrap().stamp, STAMP);
        assert!(Chunk::open(6, &bytes).is_none());
        assert!(Chunk::open(5, &bytes[..HEADER - 1]).is_none());
        for bit in 0..HEADER * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Chunk::open(5, &damaged).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_damaged_record_costs_itself_alone_and_a_damaged_length_what_follows() {
        let mut bytes = header(5, STAMP).to_vec();
        let mut ends = Vec::new();
        for record in 0..3 {
            let start = bytes.len();
            record::put_acknowledged(&mut bytes, &mut [(record, 1)], |_| {});
            record::seal(5, &mut bytes[start..]);
            ends.push(bytes.len());
        }
        let sound = |bytes: &[u8]| -> Vec<bool> {
            Chunk::open(5, bytes).unwrap().pieces().map(|piece| piece.record.is_some()).collect()
        };
        assert_eq!(sound(&bytes), [true; 3]);
        let mut body = bytes.clone();
        body[ends[1] - 1] ^= 1;
        assert_eq!(sound(&body), [true, false, true]);
        let mut length = bytes.clone();
        length[ends[0] + 2] ^= 1;
        assert_eq!(sound(&length), [true, false]);
        assert_eq!(sound(&bytes[..ends[2] - 1]), [true, true, false]);
        assert!(Chunk::open(5, &bytes).unwrap().at(ends[0]).is_some());
        assert!(Chunk::open(5, &bytes).unwrap().at(ends[0] + 1).is_none());
        assert!(Chunk::open(5, &bytes).unwrap().at(usize::MAX).is_none());
    }
}
