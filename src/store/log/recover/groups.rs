//! Groups and queues of a restart: unlike those of sessions, their messages are in memory from the start.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use noctule_core::message::{Message, MessagePool};
use noctule_core::store::{RecoveredGroup, SessionNumber};
use redb::TableError;

use super::super::error::LogError;
use super::super::index::Place;
use super::super::lookup::Lookup;
use super::super::rows::{CHUNKS, GroupRow, Table, split_key};
use super::Recovery;

impl Recovery<'_> {
    /// Reads who they are and what was said of them.
    pub(super) fn groups(&mut self) -> Result<(), LogError> {
        self.rows(Table::Groups, |this, key, value| {
            let row = Table::Groups.parse(key, value, GroupRow::parse)?;
            let (number, _) = split_key(key)?;
            this.seen.session = this.seen.session.max(number);
            this.state.known.insert(number, row.born);
            let group = RecoveredGroup {
                number: SessionNumber(number),
                group: row.group.into(),
                filter: row.filter.into(),
                options: row.options.into_owned(),
                queue: Vec::new(),
            };
            this.groups.insert(number, group);
            Some(())
        })
    }

    /// Fetches the groups' messages. In the order in which they lie on the disk: with many groups, neighbours in a queue
    /// are far apart there.
    pub(super) fn grouped(&mut self) -> Result<(), LogError> {
        let Self { state, groups, .. } = self;
        let place = |(group, record): (u64, u64)| {
            let place = state.index.place(record).filter(|_| state.index.waits(record, group))?;
            Some((place.chunk, place.offset, group, record))
        };
        let mut places: Vec<_> = mem::take(&mut self.grouped).into_iter().filter_map(place).collect();
        places.sort_unstable();
        // Read twice, if its number was used twice.
        places.dedup();
        let mut lengths: BTreeMap<u64, usize> = BTreeMap::new();
        places.iter().for_each(|&(_, _, group, _)| *lengths.entry(group).or_default() += 1);
        for (group, length) in lengths {
            groups.get_mut(&group).into_iter().for_each(|group| group.queue.reserve_exact(length));
        }
        let mut lookup = match self.transaction.open_table(CHUNKS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            chunks => Lookup::new(chunks?),
        };
        let mut last: Option<Arc<Message>> = None;
        for (chunk, offset, group, record) in places {
            // What is for several groups is in memory once.
            if last.as_ref().is_none_or(|last| last.record() != record) {
                let place = Place { chunk, offset, len: 0 };
                last = lookup
                    .message(place, record, group, state.timeline, &mut MessagePool::default())?
                    .map(|found| found.loaded.message);
            }
            if let (Some(message), Some(known)) = (&last, groups.get_mut(&group)) {
                known.queue.push((Arc::clone(message), state.left(record, group).unwrap_or(0)));
            }
        }
        for group in groups.values_mut() {
            group.queue.sort_by_key(|(message, _)| message.record());
        }
        Ok(())
    }
}
