//! Copies of the store: made while the broker goes on, and put in its place while it does not run.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use redb::backends::FileBackend;
use thiserror::Error;

use super::directory::{Directory, DirectoryError};
use super::handle::Shared;
use super::log::{Clocks, Log, Options, Snapshot};

/// Is told how large the copy has become, bytes, or why there is none.
pub type Done = Box<dyn FnOnce(Result<u64, String>) + Send>;

/// A copy that is wanted: where, and who waits for it.
pub(super) struct Wanted {
    pub(super) file: File,
    pub(super) done: Done,
}

/// Has copies made of a store that is in use; cheap to clone.
#[derive(Clone, Debug)]
pub struct Backups(Arc<Shared>);

impl Backups {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Has the store copied into an empty file, by a thread of its own; what was acknowledged before is in it.
    pub fn begin(&self, file: File, done: Done) {
        self.0.want_backup(Wanted { file, done });
    }
}

/// Copies what was there when the snapshot was made, by a thread of its own.
pub(super) fn copy(snapshot: Snapshot, wanted: Wanted) {
    let Wanted { file, done } = wanted;
    let work = move || {
        let copied = catch_unwind(AssertUnwindSafe(|| {
            let of_it = file.try_clone().map_err(|error| error.to_string())?;
            snapshot.copy(of_it).map_err(|error| error.to_string())?;
            file.metadata().map(|about| about.len()).map_err(|error| error.to_string())
        }));
        done(copied.unwrap_or_else(|_| Err("the copy has panicked; please report what it said".to_owned())));
    };
    if let Err(error) = std::thread::Builder::new().name("noctule-backup".to_owned()).spawn(work) {
        tracing::error!("no thread for a backup: {error}");
    }
}

/// Why a copy can't take a store's place.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The copy can't be opened.
    #[error("can't open {}: {error}", path.display())]
    Unreadable {
        /// The copy.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The store's directory can't be used; a broker may be running.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// A file in it can't be renamed or written.
    #[error("can't put the copy into {}: {error}", path.display())]
    System {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is no store; everything is as it was.
    #[error("{} is no store that can be used: {message}; everything is as it was", path.display())]
    NoStore {
        /// The copy.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

/// What has been put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Sessions.
    pub sessions: usize,
    /// Messages that wait for sessions and in queues.
    pub messages: usize,
    /// Retained messages.
    pub retained: usize,
    /// The store that was there before, under its new name.
    pub set_aside: Option<PathBuf>,
}

/// Puts a copy into the place of the store in `directory`, which no broker may use meanwhile. The store that was there is
/// kept under another name.
///
/// # Errors
/// [`RestoreError`]; then everything is as it was.
pub fn restore(backup: &Path, directory: &Path) -> Result<Restored, RestoreError> {
    let unreadable = |error| RestoreError::Unreadable { path: backup.to_owned(), error };
    let copy = File::open(backup).map_err(unreadable)?;
    let place = Directory::open(directory)?;
    let system = |error| RestoreError::System { path: directory.to_owned(), error };
    let beside = place.copy_beside(&copy).map_err(system)?;
    let put = || {
        let (sessions, messages, retained) = look_into(beside)
            .map_err(|message| RestoreError::NoStore { path: backup.to_owned(), message })?;
        let set_aside = place.exchange_for_copy(SystemTime::now()).map_err(system)?;
        Ok(Restored { sessions, messages, retained, set_aside })
    };
    put().inspect_err(|_| {
        // The next restore would find it and delete it; what is lost by a failure here is room.
        let _ = place.discard_copy();
    })
}

/// What a store holds: sessions, messages, retained ones.
fn look_into(file: File) -> Result<(usize, usize, usize), String> {
    let options = Options { cache_bytes: 1 << 20 };
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let backend = FileBackend::new(file).map_err(|error| error.to_string())?;
        Log::open(backend, &options, &Clocks::read(0)).map_err(|error| error.to_string())
    }));
    let opened = opened.map_err(|_| "it is damaged".to_owned())??;
    let recovered = opened.recovered;
    let messages = recovered.sessions.iter().map(|session| session.queue.len()).sum::<usize>()
        + recovered.groups.iter().map(|group| group.queue.len()).sum::<usize>();
    Ok((recovered.sessions.len(), messages, recovered.retained.len()))
}
