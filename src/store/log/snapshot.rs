//! A copy of the whole store as it was at one moment, made while it goes on.

use std::fs::File;

use redb::{
    Database, Key, ReadTransaction, ReadableTable, TableDefinition, TableError, Value, WriteTransaction,
};

use super::begin;
use super::error::{LogError, OpenError};
use super::rows::{CHUNKS, Table};

/// Memory for the copy's pages while it is made.
const CACHE_BYTES: usize = 1 << 20;

/// The store at one moment. As long as it is there, the file keeps what has been removed since.
pub(crate) struct Snapshot(ReadTransaction);

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self(transaction)
    }

    /// Writes the copy into an empty file, which is on stable storage when this returns.
    ///
    /// # Errors
    /// [`OpenError`] when the store can't be read or the file can't be written.
    pub(crate) fn copy(&self, file: File) -> Result<(), OpenError> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create_file(file)?;
        let transaction = begin(&db)?;
        self.table(CHUNKS, &transaction)?;
        for table in Table::ALL {
            self.table(table.rows(), &transaction)?;
        }
        transaction.commit().map_err(LogError::from)?;
        Ok(())
    }

    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
        into: &WriteTransaction,
    ) -> Result<(), LogError> {
        let from = match self.0.open_table(table) {
            // What was never written to is not there.
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            from => from?,
        };
        let mut into = into.open_table(table)?;
        for row in from.iter()? {
            let (key, value) = row?;
            into.insert(key.value(), value.value())?;
        }
        Ok(())
    }
}
