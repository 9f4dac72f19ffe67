//! A data directory of its own for every broker that a test starts; it goes with the test.
//!
//! Every test binary that starts brokers includes this file. What brokers keep there is not looked at here.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// How many directories this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A directory for the store of one broker, or of one broker after the other.
#[derive(Debug)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// A name in `parent` that nobody else has; the broker makes the directory.
    pub(crate) fn within(parent: &Path) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("noctule-data-{}-{number}", std::process::id()));
        // A process of an earlier run may have had our number and been killed.
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    /// In memory where there is such a place: for tests of what brokers do, which a disk's pace only holds up.
    pub(crate) fn in_memory() -> Self {
        let memory = PathBuf::from("/dev/shm");
        Self::within(&if memory.is_dir() { memory } else { std::env::temp_dir() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
