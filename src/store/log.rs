//! The chunk log and the tables, on redb: everything synchronous behind the writer thread.
//!
//! Queued messages and their acknowledgements are records of a log ([`record`]), packed into chunks ([`chunk`]); whatever
//! is known by a name is a row of a table ([`rows`]). Both change in one transaction a commit. `docs/store.md` has the
//! layout byte by byte. Windows, threads, files and directories are not here, and neither is the decision what to do
//! about an error.

mod arena;
mod batch;
mod chunk;
mod clean;
mod encoding;
mod error;
mod index;
mod lookup;
mod options;
mod recent;
mod record;
mod recover;
mod rows;
mod snapshot;
mod state;
mod tables;
#[cfg(test)]
mod tests;
mod timeline;

use noctule_core::message::MessagePool;
use noctule_core::store::{LoadedMessage, Recovered, SessionNumber, StoreOp};
use redb::{Database, Durability, ReadableDatabase, TableError, WriteTransaction};

use arena::Arena;
use batch::Batch;
use index::Place;
pub(crate) use lookup::Lookup;
use record::put_message;
use recover::{Before, Deferred};
use rows::CHUNKS;
use state::State;

pub(crate) use error::{LogError, OpenError};
pub(crate) use snapshot::Snapshot;
pub(crate) use timeline::Clocks;

/// The version of the whole layout; a file with a later one is refused.
const FORMAT: u32 = 2;

/// The earliest layout that is still read: all of it is part of the present one.
const OLDEST_FORMAT: u32 = 1;

/// What is set from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Memory for redb's pages, bytes.
    pub(crate) cache_bytes: usize,
}

/// A log that was opened, and what was in it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) recovered: Recovered,
    pub(crate) lost: Lost,
}

/// What failed its checksum or made no sense, and was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Records in chunks: a message, or up to 512 acknowledgements; what follows a damaged length counts as one.
    pub(crate) records: u64,
    /// Rows of tables.
    pub(crate) rows: u64,
    /// Chunks without a sound header.
    pub(crate) chunks: u64,
}

impl Lost {
    /// Whether nothing was.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Messages written.
    pub(crate) messages: u64,
    /// Messages that were nobody's any more at the end of the commit, and were not written.
    pub(crate) elided: u64,
    /// Messages that cleaning found damaged; they are gone.
    pub(crate) damaged: u64,
}

/// How much there is, in the log; the tables don't count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of all chunks.
    pub(crate) stored_bytes: u64,
    /// Bytes of messages in them that somebody waits for.
    pub(crate) live_bytes: u64,
    /// Chunks.
    pub(crate) chunks: u64,
    /// Messages that somebody waits for.
    pub(crate) records: u64,
}

/// The store's file. See the module.
#[derive(Debug)]
pub(crate) struct Log {
    db: Database,
    state: State,
    /// What recovery found to be done, for the first commit.
    deferred: Deferred,
    /// After a failed commit memory and disk may differ.
    failed: bool,
}

impl Log {
    /// Opens the log in `backend`, or makes a new one if that is empty, and recovers what is in it.
    ///
    /// redb panics on some kinds of damage; the caller catches that.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed but what redb itself repairs.
    pub(crate) fn open(
        backend: impl redb::StorageBackend,
        options: &Options,
        clock: &Clocks,
    ) -> Result<Opened, OpenError> {
        Self::open_after(Before::AnotherProcess, backend, options, clock)
    }

    /// Opens the log after it has failed in this process. The clients that were connected still are, and what the engines
    /// know goes on counting: nothing has expired, nobody has left.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub(crate) fn reopen(
        backend: impl redb::StorageBackend,
        options: &Options,
        clock: &Clocks,
    ) -> Result<Opened, OpenError> {
        Self::open_after(Before::Ourselves, backend, options, clock)
    }

    fn open_after(
        before: Before,
        backend: impl redb::StorageBackend,
        options: &Options,
        clock: &Clocks,
    ) -> Result<Opened, OpenError> {
        let db = Database::builder().set_cache_size(options.cache_bytes).create_with_backend(backend)?;
        if recover::is_empty(&db)? {
            let transaction = begin(&db)?;
            tables::write_format(FORMAT, &transaction)?;
            transaction.commit().map_err(LogError::from)?;
        }
        let recover::Outcome { state, deferred, recovered, lost } = recover::recover(&db, clock, before)?;
        Ok(Opened { log: Self { db, state, deferred, failed: false }, recovered, lost })
    }

    /// Writes the operations, each with the monotonic milliseconds of its submission, in their order, as one
    /// transaction, which is on stable storage when this returns.
    ///
    /// # Errors
    /// [`LogError`]: the transaction was made wholly or not at all, and it isn't known which. The log is of no further
    /// use then; it has to be opened anew.
    pub(crate) fn commit(&mut self, ops: &[(u64, StoreOp)], clock: &Clocks) -> Result<Committed, LogError> {
        self.check()?;
        self.failed = true;
        let deferred = std::mem::take(&mut self.deferred);
        let committed = self.write(&deferred, ops, clock)?;
        self.failed = false;
        self.state.gone.age();
        self.state.cleared.age();
        Ok(committed)
    }

    fn check(&self) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Io(std::io::Error::other(
                "an earlier commit has failed; open the store anew",
            )));
        }
        Ok(())
    }

    fn write(
        &mut self,
        deferred: &Deferred,
        ops: &[(u64, StoreOp)],
        clock: &Clocks,
    ) -> Result<Committed, LogError> {
        let state = &mut self.state;
        let mut batch = Batch::new(deferred);
        for (mono_ms, op) in ops {
            batch.add(state, *mono_ms, op);
        }
        let mut arena = Arena::default();
        let mut committed = Committed { elided: batch.elided, ..Committed::default() };
        for (at, fresh) in batch.fresh.iter().enumerate() {
            let record = fresh.message.record();
            let unwritten = Place { chunk: Place::UNWRITTEN, offset: at as u32, len: 0 };
            if state.index.place(record) == Some(unwritten) {
                let expires_at = state.timeline.at(fresh.message.expires_ms());
                let left = |session| state.left(record, session);
                arena.message(record, |out| {
                    put_message(out, fresh.message, expires_at, fresh.recipients, left);
                });
                committed.messages += 1;
            }
        }
        arena.acknowledged(&mut batch.acknowledged);
        let number = |&(record, session): &(u64, u64)| {
            Some((record, session, *state.deliveries.get(&(session, record))?))
        };
        arena.delivered(&batch.given_back.iter().filter_map(number).collect::<Vec<_>>());
        let raised = state.marks.raise(batch.used);
        let cleaning = clean::is_due(state, arena.len());
        if arena.is_empty() && !cleaning && !raised && !batch.has_rows() && deferred.is_nothing() {
            return Ok(committed);
        }
        let stamp = state.timeline.stamp(clock);
        let transaction = begin(&self.db)?;
        let mut has_chunk = batch.has_transaction;
        if has_chunk || !arena.is_empty() || cleaning || !deferred.chunks.is_empty() {
            let mut table = transaction.open_table(CHUNKS)?;
            for &number in &deferred.chunks {
                table.remove(number)?;
            }
            if cleaning {
                committed.damaged = clean::clean(state, &mut arena, &mut table)?;
            }
            arena.write(state, stamp, &mut table)?;
            if arena.is_empty() && has_chunk {
                Arena::write_sign(state, stamp, &mut table)?;
            }
            has_chunk |= !arena.is_empty();
        }
        if !has_chunk {
            tables::write_clock(stamp, &transaction)?;
        }
        if raised {
            tables::write_marks(state, &transaction)?;
        }
        if deferred.format {
            tables::write_format(FORMAT, &transaction)?;
        }
        tables::remove_damaged(&deferred.damaged, &transaction)?;
        tables::write(&batch, state, &transaction)?;
        transaction.commit()?;
        Ok(committed)
    }

    /// Reads messages that `session` waits for, into spare ones if there are any; `None` for those that it doesn't, and for
    /// damaged ones. `lookup` is made if it is not there; it is of no use after the next commit.
    ///
    /// # Errors
    /// [`LogError`] when the file can't be read.
    pub(crate) fn load(
        &self,
        session: SessionNumber,
        records: &[u64],
        lookup: &mut Option<Lookup>,
        spare: &mut MessagePool,
    ) -> Result<Vec<(u64, Option<LoadedMessage>)>, LogError> {
        self.check()?;
        let lookup = match lookup {
            Some(lookup) => lookup,
            None => match self.db.begin_read()?.open_table(CHUNKS) {
                Err(TableError::TableDoesNotExist(_)) => {
                    return Ok(records.iter().map(|&record| (record, None)).collect());
                }
                table => lookup.insert(Lookup::new(table?)),
            },
        };
        let mut loaded = Vec::with_capacity(records.len());
        for &record in records {
            let found = match self.state.index.place(record) {
                Some(place) if self.state.index.waits(record, session.0) => {
                    lookup.message(place, record, session.0, self.state.timeline, spare)?
                }
                _ => None,
            };
            loaded.push((record, found.map(|found| found.loaded)));
        }
        Ok(loaded)
    }

    /// The store as it is now, to be copied.
    ///
    /// # Errors
    /// [`LogError`] when an earlier commit has failed or the file can't be read.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, LogError> {
        self.check()?;
        Ok(Snapshot::new(self.db.begin_read()?))
    }

    /// The number of the next chunk. A commit with a transaction makes one if it writes at all: after a failure the
    /// number tells whether the commit was made.
    pub(crate) fn next_chunk(&self) -> u64 {
        self.state.chunks.next
    }

    /// How much there is; from memory.
    pub(crate) fn usage(&self) -> Usage {
        let State { chunks, index, .. } = &self.state;
        Usage {
            stored_bytes: chunks.stored_bytes(),
            live_bytes: chunks.live_bytes(),
            chunks: chunks.len() as u64,
            records: index.len() as u64,
        }
    }
}

fn begin(db: &Database) -> Result<WriteTransaction, LogError> {
    let mut transaction = db.begin_write()?;
    // redb's default; said because everything rests on it.
    transaction
        .set_durability(Durability::Immediate)
        .map_err(|error| LogError::Io(std::io::Error::other(error)))?;
    transaction.set_two_phase_commit(false);
    Ok(transaction)
}
