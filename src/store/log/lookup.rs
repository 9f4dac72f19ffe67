//! Reads messages out of their chunks, one after the other.

use noctule_core::id::Qos;
use noctule_core::message::MessagePool;
use noctule_core::store::LoadedMessage;
use redb::{AccessGuard, ReadOnlyTable};

use super::chunk::Chunk;
use super::error::LogError;
use super::index::Place;
use super::record::Record;
use super::timeline::{Stamp, Timeline};

/// Chunks kept at hand. What a session waits for lies between what others wait for, who mostly read at the same pace.
const AT_HAND: u64 = 32;

/// Keeps the last chunks at hand, for as long as it lives: what it reads is as it was when it was made.
pub(crate) struct Lookup {
    table: ReadOnlyTable<u64, &'static [u8]>,
    /// A chunk's place is the rest of its number.
    open: [Option<Open>; AT_HAND as usize],
}

/// A chunk whose header has been checked.
struct Open {
    number: u64,
    stamp: Stamp,
    value: AccessGuard<'static, &'static [u8]>,
}

/// A message, and how one recipient is to get it.
pub(super) struct Looked {
    pub(super) loaded: LoadedMessage,
    pub(super) qos: Qos,
    pub(super) retain: bool,
}

impl Lookup {
    pub(super) fn new(table: ReadOnlyTable<u64, &'static [u8]>) -> Self {
        Self { table, open: std::array::from_fn(|_| None) }
    }

    /// The message with the number `record`, as it is for `session`; `None` if it isn't there, whole and for it.
    pub(super) fn message(
        &mut self,
        place: Place,
        record: u64,
        session: u64,
        timeline: Timeline,
        spare: &mut MessagePool,
    ) -> Result<Option<Looked>, LogError> {
        let Some(open) = self.open.get_mut((place.chunk % AT_HAND) as usize) else { return Ok(None) };
        if open.as_ref().is_none_or(|open| open.number != place.chunk) {
            *open = self.table.get(place.chunk)?.and_then(|value| {
                let stamp = Chunk::open(place.chunk, value.value())?.stamp;
                Some(Open { number: place.chunk, stamp, value })
            });
        }
        let chunk = open.as_ref().map(|open| Chunk::checked(open.number, open.stamp, open.value.value()));
        let mut found = || {
            let Record::Message(stored) = chunk?.at(place.offset as usize)? else { return None };
            let recipient = stored.recipients().find(|recipient| recipient.session == session)?;
            (stored.record == record).then(|| Looked {
                loaded: LoadedMessage {
                    message: stored.restore(timeline.mono_ms(stored.expires_at), spare),
                    subscription_ids: recipient.ids(),
                },
                qos: recipient.qos,
                retain: recipient.retain,
            })
        };
        Ok(found())
    }
}
