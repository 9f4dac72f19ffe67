//! Stable storage: what was acknowledged is on the disk, and comes back after a restart.
//!
//! The workers' [`Handle`]s submit to the window, one writer thread commits what it gives to the log in a file of the
//! directory and answers through [`Post`]. Operations that undo each other inside the window never reach the disk. A
//! disk that fails stops new messages, not the broker: [`Health`] says why, and the writer brings the store back by
//! itself.
//!
//! Not here: what is to be stored and what an answer means, which is the engine's business (`noctule_core::store`).

mod backend;
mod backup;
mod directory;
mod handle;
mod health;
mod log;
mod medium;
mod telemetry;
mod window;
mod writer;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use noctule_core::hash::Seed;
use noctule_core::id::WorkerId;
use noctule_core::message::MessagePool;
use noctule_core::store::{Recovered, StoreEvent};
use thiserror::Error;

use backend::Limits;
use handle::Shared;
use log::Options;
use medium::Disk;
use window::{Pace, Window};
use writer::Writer;

pub use backup::{Backups, Done, RestoreError, Restored, restore};
pub use directory::DirectoryError;
pub use handle::Handle;
pub use health::{Health, Shortage, Totals, Trouble};

/// What the configuration says about the store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the store file lies. Created if only the last part of the path is missing.
    pub directory: PathBuf,
    /// How long a message waits for the acknowledgements of its recipients who are online; zero to write at once.
    pub commit_window: Duration,
    /// How much later, at most, what nobody waits for is written.
    pub interval: Duration,
    /// Time between two writes of a topic's retained message at QoS 0; zero for as with everything nobody waits for.
    pub retained_interval: Duration,
    /// Memory for pages of the file, bytes.
    pub cache: usize,
    /// Disk space held ahead of the file, bytes.
    pub reserve: u64,
    /// Free space on the disk below which new messages are refused, bytes.
    pub min_free: u64,
    /// Length of the file beyond which new messages are refused, bytes.
    pub max_bytes: u64,
}

/// Why a store can't be opened. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory is not for us.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The disk fails, or the file is somebody else's.
    #[error("{}: {message}", .path.display())]
    Unusable {
        /// The store file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// The system has no entropy.
    #[error("can't draw a random number: {0}")]
    Entropy(#[from] getrandom::Error),
}

/// The way to the workers' mailboxes.
pub trait Post: Send + Sync + 'static {
    /// Hands events to a worker, in the order given, after all that were posted to it before.
    fn post(&self, worker: WorkerId, events: Vec<StoreEvent>);
}

/// The store on a disk. Owns the thread that writes.
#[derive(Debug)]
pub struct DiskStore {
    shared: Arc<Shared>,
    state: State,
}

enum State {
    /// Open, and nobody writes yet.
    Opened(Box<Writer<Disk>>),
    Serving(JoinHandle<io::Result<()>>),
    Closed,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Opened(_) => "Opened",
            Self::Serving(_) => "Serving",
            Self::Closed => "Closed",
        })
    }
}

impl DiskStore {
    /// Opens the store and reads what survived; blocks until that is done. Every time in what is recovered, submitted
    /// and loaded is in milliseconds since `started`. The workers have the numbers below `workers`.
    ///
    /// A damaged file is set aside and reported, and a fresh one takes its place; while the broker serves, every worker
    /// gets [`StoreEvent::Emptied`] then.
    ///
    /// # Errors
    /// [`StoreError`] for what nobody but the user can mend.
    pub fn open(
        settings: &Settings,
        workers: u16,
        started: Instant,
    ) -> Result<(Self, Recovered), StoreError> {
        telemetry::describe();
        let seed = Seed::new(getrandom::u64()?);
        let pace = Pace {
            window_us: micros(settings.commit_window),
            interval_us: micros(settings.interval),
            retained_us: micros(settings.retained_interval),
        };
        let limits =
            Limits { reserve: settings.reserve, min_free: settings.min_free, max_size: settings.max_bytes };
        let shared = Arc::new(Shared::new(Window::new(pace, &seed), workers, started));
        let disk = Disk::new(&settings.directory, limits)?;
        let path = settings.directory.join(directory::STORE);
        let options = Options { cache_bytes: settings.cache };
        let opened = Writer::open(Arc::clone(&shared), disk, options, &seed);
        let (writer, recovered) =
            opened.map_err(|fault| StoreError::Unusable { path, message: fault.to_string() })?;
        Ok((Self { shared, state: State::Opened(Box::new(writer)) }, recovered))
    }

    /// Starts the thread that writes; answers go through `post`, what is loaded comes in messages of `spare`. What was
    /// submitted before is written now.
    ///
    /// # Errors
    /// The system's, if it has no thread left.
    pub fn serve(&mut self, post: Arc<dyn Post>, spare: MessagePool) -> io::Result<()> {
        self.shared.set_post(post);
        let State::Opened(mut writer) = std::mem::replace(&mut self.state, State::Closed) else {
            return Ok(());
        };
        writer.set_spare(spare);
        let shared = Arc::clone(&self.shared);
        let body = move || {
            // A fault of ours and not of the file's: nothing is written any more, and everybody is to know.
            catch_unwind(AssertUnwindSafe(|| writer.run())).unwrap_or_else(|_| {
                shared.health.set_trouble(Some(Trouble::Stopped));
                tracing::error!("the store's thread has ended by itself; please report what it said above");
                Err(io::Error::other("the store's thread has ended by itself"))
            })
        };
        self.state = State::Serving(thread::Builder::new().name("noctule-store".to_owned()).spawn(body)?);
        Ok(())
    }

    /// A worker's end of the store; one for each.
    #[must_use]
    pub fn handle(&self, worker: WorkerId) -> Handle {
        Handle::new(Arc::clone(&self.shared), worker)
    }

    /// What has copies made of it.
    #[must_use]
    pub fn backups(&self) -> Backups {
        Backups::new(Arc::clone(&self.shared))
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.shared.health)
    }

    /// Writes everything that is left and ends the thread. What is submitted from now on is refused.
    ///
    /// # Errors
    /// What kept the rest from being written.
    pub fn close(mut self) -> io::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shared.lock().close();
        self.shared.wake_writer();
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Opened(writer) => writer.run(),
            State::Serving(thread) => {
                thread.join().unwrap_or_else(|_| Err(io::Error::other("the store's thread has panicked")))
            }
            State::Closed => Ok(()),
        }
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!("{error}");
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
