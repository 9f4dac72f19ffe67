//! Cleaning: the oldest chunk goes, and what is alive in it is written again at the end of the log.
//!
//! Oldest first and never from the middle, because a chunk holds acknowledgements as well as messages, and those must
//! stay as long as what they acknowledge. A message is always in an older chunk than its acknowledgements (in the same
//! commit they cancel out). So when a chunk is the oldest, whatever its acknowledgements are for is gone, or was written
//! again later *without* the recipients that had acknowledged it: they say nothing any more. The copy and the removal are
//! one transaction with the commit in whose course they happen, so that no restart finds both or neither.

use redb::{ReadableTable, Table};

use super::arena::Arena;
use super::chunk::Chunk;
use super::error::LogError;
use super::index::Place;
use super::record::Record;
use super::state::State;

/// Bytes that may be stored besides twice those alive. Below it cleaning saves nothing worth a write.
const SLACK: u64 = 1 << 20;

/// Bytes that a commit may copy however little it writes itself.
const LEAST_COPIED: usize = 64 << 10;

/// Dead chunks that one commit removes at most.
const MOST_REMOVED: usize = 256;

/// Whether there is more than is worth keeping, with so many bytes of messages about to be added.
pub(super) fn is_due(state: &State, coming: usize) -> bool {
    state.chunks.stored_bytes() > 2 * state.chunks.live_bytes() + coming as u64 + SLACK
}

/// Removes the oldest chunks, and adds what is alive in them to `arena`. The work is bounded by what the commit writes
/// anyway, twice, because a pass over the log frees at least as much as it copies. Returns how many messages turned out
/// to be damaged.
pub(super) fn clean(
    state: &mut State,
    arena: &mut Arena,
    table: &mut Table<'_, u64, &'static [u8]>,
) -> Result<u64, LogError> {
    let written = arena.len();
    let budget = LEAST_COPIED.max(2 * written);
    let mut damaged = 0;
    for _ in 0..MOST_REMOVED {
        let Some(oldest) = state.chunks.oldest() else { break };
        if oldest.live > 0 {
            if !is_due(state, arena.len()) || arena.len() - written >= budget {
                break;
            }
            damaged += copy(state, arena, table, oldest.number)?;
        }
        table.remove(oldest.number)?;
        state.chunks.drop_oldest();
    }
    Ok(damaged)
}

/// Adds the messages of a chunk that are alive to `arena`.
fn copy(
    state: &mut State,
    arena: &mut Arena,
    table: &Table<'_, u64, &'static [u8]>,
    number: u64,
) -> Result<u64, LogError> {
    let value = table.get(number)?;
    let pieces = value.as_ref().and_then(|value| Chunk::open(number, value.value()));
    for piece in pieces.into_iter().flat_map(Chunk::pieces) {
        let Some(Record::Message(message)) = piece.record else { continue };
        let Some(place) = state.index.place(message.record) else { continue };
        if place.chunk != number || place.offset as usize != piece.offset {
            continue;
        }
        let left = |session| state.left(message.record, session);
        arena.message(message.record, |out| message.copy(out, left));
        // Not in the old chunk any more, and not yet in a new one.
        state.index.moved(message.record, Place { chunk: Place::UNWRITTEN, ..place });
        state.chunks.leave(place);
    }
    if state.chunks.oldest().is_none_or(|chunk| chunk.live == 0) {
        return Ok(0);
    }
    // What could be read at the start can't be any more.
    let lost = state.index.in_chunk(number);
    lost.iter().for_each(|&record| state.forget(record));
    Ok(lost.len() as u64)
}
