//! What the writer asks of the place where the store file lies, and the disk as such a place.
//!
//! Tests put a failing one under the writer.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use redb::StorageBackend;
use rustix::fs::Advice;

use super::backend::{FileBackend, Limits, Room};
use super::directory::{Directory, DirectoryError};
use super::health::{Shortage, Trouble};

/// Where the store file lies.
pub(super) trait Medium: Send + 'static {
    /// The file as redb takes it.
    type Backend: StorageBackend;

    /// Opens the file, after a failure anew; the last one is closed by then.
    ///
    /// # Errors
    /// What keeps it from being opened, to be logged.
    fn open(&mut self) -> Result<Self::Backend, MediumError>;

    /// Renames the file so that the next [`Medium::open`] makes a fresh one, and says to what.
    ///
    /// # Errors
    /// The system's.
    fn set_aside(&mut self) -> io::Result<PathBuf>;

    /// Deletes the file so that the next [`Medium::open`] makes a fresh one.
    ///
    /// # Errors
    /// The system's.
    fn discard(&mut self) -> io::Result<()>;

    /// Whether what is written can be found again: the file is where it was opened.
    fn is_in_place(&self) -> bool;

    /// Why there is no room for new messages, looking anew; `live_bytes` are those of messages that somebody waits for.
    ///
    /// # Errors
    /// The system's.
    fn shortage(&self, live_bytes: u64) -> io::Result<Option<Shortage>>;

    /// Bytes written since the start, over all files.
    fn bytes_written(&self) -> u64;

    /// Disk space that the file used at the last look, bytes.
    fn file_bytes(&self) -> u64;

    /// Whether a look at the room is due at once.
    fn needs_look(&self) -> bool;

    /// For messages.
    fn path(&self) -> PathBuf;
}

/// What keeps a file from being opened.
#[derive(Debug)]
pub(super) struct MediumError {
    pub(super) trouble: Trouble,
    /// What happened and how to mend it.
    pub(super) message: String,
}

impl From<DirectoryError> for MediumError {
    fn from(error: DirectoryError) -> Self {
        let trouble = match error {
            DirectoryError::System { ref source, .. } => trouble_of(source.kind()),
            _ => Trouble::Gone,
        };
        Self { trouble, message: error.to_string() }
    }
}

/// What an error of the system says about the disk.
pub(super) fn trouble_of(kind: io::ErrorKind) -> Trouble {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Trouble::DiskFull
        }
        io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Trouble::Gone,
        _ => Trouble::Failing,
    }
}

/// The store file in its directory.
pub(super) struct Disk {
    directory: Directory,
    limits: Limits,
    /// The file that is open, or was until now.
    room: Option<Arc<Room>>,
    /// Bytes written to earlier files.
    written_before: u64,
    /// Whether it is said already why the next file is a fresh one.
    explained: bool,
}

impl Disk {
    /// # Errors
    /// See [`DirectoryError`].
    pub(super) fn new(path: &Path, limits: Limits) -> Result<Self, DirectoryError> {
        Ok(Self {
            directory: Directory::open(path)?,
            limits,
            room: None,
            written_before: 0,
            explained: false,
        })
    }

    /// # Errors
    /// See [`DirectoryError`].
    pub(super) fn open_file(&mut self) -> Result<FileBackend, DirectoryError> {
        if !self.directory.is_in_place() {
            self.directory = Directory::open(self.directory.path())?;
        }
        // It is made after the first store file.
        let was_here = self.room.is_none() && !self.explained && self.directory.has_reserve();
        let last = self.room.as_deref().map(Room::file);
        let opened = match last {
            None => self.directory.store_file()?,
            Some(last) if self.directory.has_store(last) => self.directory.store_file()?,
            Some(last) if last.metadata().is_ok_and(|about| about.nlink() == 0) => {
                let copied = self.directory.give_name_back(last)?;
                tracing::warn!(file = %self.path().display(), "the store file had been deleted; it was written anew");
                copied
            }
            Some(_) => return Err(DirectoryError::Exchanged(self.path())),
        };
        if was_here && opened.metadata().is_ok_and(|about| about.len() == 0) {
            tracing::error!(
                file = %self.path().display(),
                "there was a store here, and its file is missing or empty: what it held is lost, and a fresh one takes its place"
            );
        }
        self.explained = true;
        forget_cached(&opened);
        let reserve = self.directory.reserve_file()?;
        let room = Room::new(opened, reserve, self.limits).map_err(|source| DirectoryError::System {
            what: "look at",
            path: self.path(),
            source,
        })?;
        self.written_before = self.bytes_written();
        self.room = Some(Arc::clone(&room));
        Ok(FileBackend(room))
    }
}

/// After a failed write the system's cache may hold what the disk does not.
fn forget_cached(file: &File) {
    // Without it the file is read as the cache has it, as by everybody else.
    let _ = rustix::fs::fadvise(file.as_fd(), 0, None, Advice::DontNeed);
}

impl Medium for Disk {
    type Backend = FileBackend;

    fn open(&mut self) -> Result<FileBackend, MediumError> {
        Ok(self.open_file()?)
    }

    fn set_aside(&mut self) -> io::Result<PathBuf> {
        let to = self.directory.set_aside(SystemTime::now())?;
        self.written_before = self.bytes_written();
        self.room = None;
        Ok(to)
    }

    fn discard(&mut self) -> io::Result<()> {
        self.directory.discard()?;
        self.written_before = self.bytes_written();
        self.room = None;
        Ok(())
    }

    fn is_in_place(&self) -> bool {
        let file = self.room.as_deref().map(Room::file);
        self.directory.is_in_place() && file.is_none_or(|file| self.directory.has_store(file))
    }

    fn shortage(&self, live_bytes: u64) -> io::Result<Option<Shortage>> {
        self.room.as_deref().map_or(Ok(None), |room| room.shortage(live_bytes))
    }

    fn bytes_written(&self) -> u64 {
        self.written_before + self.room.as_deref().map_or(0, Room::bytes_written)
    }

    fn file_bytes(&self) -> u64 {
        self.room.as_deref().map_or(0, Room::used)
    }

    fn needs_look(&self) -> bool {
        self.room.as_deref().is_some_and(Room::needs_look)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(super::directory::STORE)
    }
}
