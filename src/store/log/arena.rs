//! The records of a commit on their way into chunks: written one behind the other, then divided, sealed and placed.

use redb::Table;

use super::chunk::{self, HEADER};
use super::error::LogError;
use super::index::Place;
use super::record;
use super::state::State;
use super::timeline::Stamp;

/// A record and where it ends in the arena.
#[derive(Clone, Copy, Debug)]
struct Item {
    end: usize,
    /// The number of the message; `None` for what nobody looks for.
    message: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

impl Arena {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the message with this number, as `put` writes it.
    pub(super) fn message(&mut self, record: u64, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.bytes);
        self.items.push(Item { end: self.bytes.len(), message: Some(record) });
    }

    /// Adds acknowledgements, which it sorts.
    pub(super) fn acknowledged(&mut self, pairs: &mut [(u64, u64)]) {
        let items = &mut self.items;
        record::put_acknowledged(&mut self.bytes, pairs, |end| items.push(Item { end, message: None }));
    }

    /// Adds how often messages were delivered: record, recipient and number, sorted.
    pub(super) fn delivered(&mut self, numbers: &[(u64, u64, u32)]) {
        let items = &mut self.items;
        record::put_delivered(&mut self.bytes, numbers, |end| items.push(Item { end, message: None }));
    }

    /// Writes a chunk without records, for what it says by being there.
    pub(super) fn write_sign(
        state: &mut State,
        stamp: Stamp,
        table: &mut Table<'_, u64, &'static [u8]>,
    ) -> Result<(), LogError> {
        let number = state.chunks.next;
        table.insert(number, &chunk::header(number, stamp)[..])?;
        state.chunks.push(number, HEADER);
        Ok(())
    }

    /// Writes everything into new chunks, and into the index where it stands.
    pub(super) fn write(
        &mut self,
        state: &mut State,
        stamp: Stamp,
        table: &mut Table<'_, u64, &'static [u8]>,
    ) -> Result<(), LogError> {
        let starts = || std::iter::once(0).chain(self.items.iter().map(|item| item.end));
        let lengths: Vec<usize> =
            self.items.iter().zip(starts()).map(|(item, start)| item.end - start).collect();
        let mut start = 0;
        for range in chunk::divide(&lengths) {
            let number = state.chunks.next;
            let end = start + lengths.get(range.clone()).unwrap_or_default().iter().sum::<usize>();
            let mut value = table.insert_reserve(number, HEADER + end - start)?;
            let value = value.as_mut();
            state.chunks.push(number, value.len());
            if let Some((header, records)) = value.split_first_chunk_mut::<HEADER>() {
                *header = chunk::header(number, stamp);
                records.copy_from_slice(self.bytes.get(start..end).unwrap_or_default());
                let mut rest = records;
                let mut offset = HEADER;
                for at in range {
                    let (Some(&len), Some(item)) = (lengths.get(at), self.items.get(at)) else { break };
                    let Some((record, behind)) = rest.split_at_mut_checked(len) else { break };
                    record::seal(number, record);
                    if let Some(message) = item.message {
                        // A record is at most 2³² bytes (see there), and one of another's chunk begins below 65,536.
                        let place = Place { chunk: number, offset: offset as u32, len: len as u32 };
                        if let Some(before) = state.index.moved(message, place) {
                            state.leave(before);
                        }
                        state.chunks.settle_in(place);
                    }
                    offset += len;
                    rest = behind;
                }
            }
            start = end;
        }
        Ok(())
    }
}
