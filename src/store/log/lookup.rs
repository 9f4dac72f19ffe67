//! Reads messages out of their chunks, one after the other.

use noctule_core::id::Qos;
use noctule_core::store::LoadedMessage;
use redb::{AccessGuard, ReadOnlyTable};

use super::chunk::Chunk;
use super::error::LogError;
use super::index::Place;
use super::record::Record;
use super::timeline::Timeline;

/// Keeps the last chunk at hand: neighbours in a queue are mostly neighbours in a chunk.
pub(super) struct Lookup {
    table: ReadOnlyTable<u64, &'static [u8]>,
    open: Option<(u64, AccessGuard<'static, &'static [u8]>)>,
}

/// A message, and how one recipient is to get it.
pub(super) struct Looked {
    pub(super) loaded: LoadedMessage,
    pub(super) qos: Qos,
    pub(super) retain: bool,
}

impl Lookup {
    pub(super) fn new(table: ReadOnlyTable<u64, &'static [u8]>) -> Self {
        Self { table, open: None }
    }

    /// The message with the number `record`, as it is for `session`; `None` if it isn't there, whole and for it.
    pub(super) fn message(
        &mut self,
        place: Place,
        record: u64,
        session: u64,
        timeline: Timeline,
    ) -> Result<Option<Looked>, LogError> {
        if self.open.as_ref().is_none_or(|&(chunk, _)| chunk != place.chunk) {
            self.open = self.table.get(place.chunk)?.map(|value| (place.chunk, value));
        }
        let chunk = self.open.as_ref().and_then(|(chunk, value)| Chunk::open(*chunk, value.value()));
        let found = || {
            let Record::Message(stored) = chunk?.at(place.offset as usize)? else { return None };
            let recipient = stored.recipients().find(|recipient| recipient.session == session)?;
            (stored.record == record).then(|| Looked {
                loaded: LoadedMessage {
                    message: stored.restore(timeline.mono_ms(stored.expires_at)),
                    subscription_ids: recipient.ids(),
                },
                qos: recipient.qos,
                retain: recipient.retain,
            })
        };
        Ok(found())
    }
}
