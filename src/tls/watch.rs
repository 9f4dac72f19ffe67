//! Sees that files of an acceptor have changed, and has it read them again.
//!
//! By asking the file system every few seconds, not by inotify: that watches names in one directory or the file that had
//! a name, and certificates are renewed by renaming, by turning symbolic links two directories up, and on network and
//! overlay file systems that tell nothing. A handful of `stat` calls sees all of these, and needs no dependency. The
//! caller says when; nothing here sleeps.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::acceptor::{Acceptor, Changed};
use super::error::TlsError;

/// A file system may give two writes within this time the same time stamp.
const COARSE_S: u64 = 2;

/// Watches the files of one acceptor.
#[derive(Debug)]
pub struct Watch {
    acceptor: Arc<Acceptor>,
    seen: Vec<(PathBuf, Option<Mark>)>,
    /// The files were written so shortly before they were looked at that a later write could look the same.
    recent: bool,
    failure: Failure,
}

/// What of a file changes when what is in it does, or when another takes its name. Symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            bytes: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Failure {
    None,
    /// The files did not go together when last looked at; somebody may be in the middle of writing them.
    Once,
    /// They still don't, and the caller was told this.
    Told(String),
}

impl Watch {
    /// Begins to watch the files of `acceptor` as they are now.
    #[must_use]
    pub fn new(acceptor: Arc<Acceptor>) -> Self {
        let paths = acceptor.files().map(|path| (path.to_owned(), None)).collect();
        // As it is not known when the acceptor has read them, they are read once more.
        let mut watch = Self { acceptor, seen: paths, recent: true, failure: Failure::None };
        watch.look();
        watch
    }

    /// Reads the files again if they may have changed: to be called every few seconds, and not from a worker, because
    /// a disk may take its time. Says what came of it, or nothing if there is nothing to say.
    ///
    /// Files that don't go together are usually half-written: they are tried again at the next call, and only if it is
    /// no better then, the error is told; once, not each time.
    ///
    /// # Errors
    /// As [`Acceptor::reload`]: what was there before is used on.
    pub fn poll(&mut self) -> Option<Result<(), TlsError>> {
        let changed = self.look();
        if !changed && !self.recent && self.failure == Failure::None {
            return None;
        }
        self.recent = self.is_recent();
        match self.acceptor.reload() {
            Ok(done) => {
                let had_failed = matches!(self.failure, Failure::Told(_));
                self.failure = Failure::None;
                // After a complaint, it is said that all is well even if it is so because the old files came back.
                (done == Changed::Files || had_failed).then_some(Ok(()))
            }
            Err(error) => {
                let text = error.to_string();
                match &self.failure {
                    Failure::None => {
                        self.failure = Failure::Once;
                        None
                    }
                    Failure::Told(told) if *told == text => None,
                    Failure::Once | Failure::Told(_) => {
                        self.failure = Failure::Told(text);
                        Some(Err(error))
                    }
                }
            }
        }
    }

    /// Looks at every file; whether any differs from the last time.
    fn look(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.seen {
            let now = path.metadata().ok().map(|about| Mark::of(&about));
            changed |= now != *seen;
            *seen = now;
        }
        changed
    }

    fn is_recent(&self) -> bool {
        let now_s = super::now_s();
        let marks = self.seen.iter().filter_map(|(_, mark)| mark.as_ref());
        // A time in the future says nothing about what is recent, and would have everything read for ever.
        let seconds = marks.map(|mark| u64::try_from(mark.modified.0.max(mark.changed.0)).unwrap_or(0));
        seconds.filter(|seconds| *seconds <= now_s).any(|seconds| now_s - seconds <= COARSE_S)
    }
}
