//! What can be wrong with a log, sorted by what its owner can do about it.

use std::io;

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};
use thiserror::Error;

/// The log can't be read or written. It has to be opened anew, whatever the reason was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum LogError {
    /// No room is left on the disk, or none for us.
    #[error("no space is left for the store: {0}")]
    StorageFull(#[source] io::Error),
    /// The file may not be written.
    #[error("the store cannot be written: {0}")]
    ReadOnly(#[source] io::Error),
    /// The device failed in another way.
    #[error("the store failed: {0}")]
    Io(#[source] io::Error),
    /// The file is not what was once written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::StorageFull(error)
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly(error),
            // The file ends before something that it says it has.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Self::Corrupt(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl From<StorageError> for LogError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => error.into(),
            StorageError::Corrupted(what) => Self::Corrupt(what),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<TransactionError> for LogError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<CommitError> for LogError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<TableError> for LogError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            // The names and types of our tables are part of the format, which was checked.
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// A log can't be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// See [`LogError`].
    #[error(transparent)]
    Log(#[from] LogError),
    /// A sound database, but somebody else's.
    #[error("the file is a database of another program; name another directory")]
    NotOurs,
    /// Written by another version. Nothing was changed.
    #[error(
        "the store has format {found}, and this version of noctule knows {known}; run the version that wrote it"
    )]
    ForeignFormat {
        /// The file's.
        found: u32,
        /// Ours.
        known: u32,
    },
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        Self::Log(match error {
            DatabaseError::Storage(error) => error.into(),
            // We never wrote another version and never end a repair: a byte of the header is not what it was.
            other @ (DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted) => {
                LogError::Corrupt(other.to_string())
            }
            other => LogError::Io(io::Error::other(other)),
        })
    }
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> Self {
        Self::Log(error.into())
    }
}

impl From<TransactionError> for OpenError {
    fn from(error: TransactionError) -> Self {
        Self::Log(error.into())
    }
}
