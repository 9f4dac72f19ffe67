//! The store file under redb: counts what is written, and knows when there is no room.
//!
//! Making room needs room too: redb writes new pages before it frees old ones, and where in the file it writes them is
//! its own affair. Therefore a second file holds disk space in reserve (`store.reserve`). A write that finds the disk
//! full takes from it; from then on new messages are refused and everything that makes room goes on, until the reserve
//! is whole again. Where the files lie is the directory's business.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use redb::StorageBackend;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use super::health::{Shortage, Trouble};
use super::medium::trouble_of;

/// Bytes in a block of [`MetadataExt::blocks`].
const BLOCK: u64 = 512;

/// In how many parts the reserve is used up: each large enough that others who wait for space don't get all of it.
const PARTS: u64 = 4;

/// Bytes written between two looks at the room that there is.
const LOOK_BYTES: u64 = 4 << 20;

/// A smaller file has no room inside that would be worth speaking of.
const ROOMY: u64 = 2 << 20;

/// The limits of the store file, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Held for what makes room.
    pub(super) reserve: u64,
    /// To be left to others on the file system.
    pub(super) min_free: u64,
    /// Largest file, not counting the reserve.
    pub(super) max_size: u64,
}

/// The store file, its reserve and the room that they have. Written to by one thread.
#[derive(Debug)]
pub(super) struct Room {
    file: File,
    reserve: Reserve,
    limits: Limits,
    /// Disk space of the file when it was last looked at, and bytes written since.
    used: AtomicU64,
    since: AtomicU64,
    /// Bytes written since the file was opened.
    bytes_written: AtomicU64,
}

impl Room {
    /// # Errors
    /// When the file can't be looked at.
    pub(super) fn new(file: File, reserve: File, limits: Limits) -> io::Result<Arc<Self>> {
        let reserve = Reserve { file: reserve, held: AtomicU64::new(0), cannot_hold: AtomicBool::new(false) };
        reserve.fill(limits.reserve);
        let room = Self {
            file,
            reserve,
            limits,
            used: AtomicU64::new(0),
            since: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        };
        room.look()?;
        Ok(Arc::new(room))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes written since the file was opened.
    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Relaxed)
    }

    /// Disk space that the file uses, bytes; more by what was written since the last look at most.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Whether so much has happened since the last look that another is due.
    pub(super) fn needs_look(&self) -> bool {
        self.since.load(Relaxed) >= LOOK_BYTES || self.is_broken_into()
    }

    /// Whether something was taken from the reserve.
    fn is_broken_into(&self) -> bool {
        !self.reserve.is_whole(self.limits.reserve)
    }

    fn look(&self) -> io::Result<u64> {
        let used = self.file.metadata()?.blocks().saturating_mul(BLOCK);
        self.used.store(used, Relaxed);
        self.since.store(0, Relaxed);
        Ok(used)
    }

    /// Why there is no room for new messages, looking anew. `live` are the bytes of messages that somebody waits for: a
    /// file of which they are less than half has room inside, once the next commits have cleaned it.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub(super) fn shortage(&self, live: u64) -> io::Result<Option<Shortage>> {
        let used = self.look()?;
        let has_room_inside = live < used / 2 && used > ROOMY;
        if used >= self.limits.max_size && !has_room_inside {
            return Ok(Some(Shortage::MaxSize));
        }
        self.reserve.fill(self.limits.reserve);
        if self.is_broken_into() {
            return Ok(Some(Shortage::Reserve));
        }
        let about = fstatvfs(&self.file)?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        Ok((free < self.limits.min_free && !has_room_inside).then_some(Shortage::MinFree))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let len = data.len() as u64;
        let cap = self.limits.max_size.saturating_add(self.limits.reserve);
        if self.used() + self.since.fetch_add(len, Relaxed) + len > cap && self.look()? + len > cap {
            let message = format!("the store file has reached store.max_size and its reserve, {cap} bytes");
            return Err(io::Error::new(io::ErrorKind::StorageFull, message));
        }
        self.with_reserve(|| self.file.write_all_at(data, offset))?;
        self.bytes_written.fetch_add(len, Relaxed);
        Ok(())
    }

    /// Tries again with a part of the reserve, as long as there is one, when the disk is full.
    fn with_reserve(&self, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match write() {
                Err(error) if trouble_of(error.kind()) == Trouble::DiskFull => {
                    if !self.reserve.release(self.limits.reserve / PARTS) {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }
}

/// Disk space that nobody else gets, in a file of its own.
#[derive(Debug)]
struct Reserve {
    file: File,
    held: AtomicU64,
    /// The file system can't hold space.
    cannot_hold: AtomicBool,
}

impl Reserve {
    fn is_whole(&self, wanted: u64) -> bool {
        self.held.load(Relaxed) >= wanted || self.cannot_hold.load(Relaxed)
    }

    /// Makes it whole, if there is room for that.
    fn fill(&self, wanted: u64) {
        if self.is_whole(wanted) {
            return;
        }
        match fallocate(&self.file, FallocateFlags::empty(), 0, wanted) {
            Ok(()) => self.held.store(wanted, Relaxed),
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
                // What it got all the same is not a reserve that may be relied upon.
                let _ = self.file.set_len(self.held.load(Relaxed));
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.cannot_hold.store(true, Relaxed);
                tracing::debug!("no disk space is held in reserve: the file system can't");
            }
            // It is tried again with the next look.
            Err(_) => {}
        }
    }

    /// Gives so many bytes to whoever writes next; false if nothing is left.
    fn release(&self, bytes: u64) -> bool {
        let held = self.held.load(Relaxed);
        let left = held.saturating_sub(bytes.max(1));
        // With a journal, blocks are free once that is on the disk.
        if held == 0 || self.file.set_len(left).and_then(|()| self.file.sync_all()).is_err() {
            return false;
        }
        self.held.store(left, Relaxed);
        true
    }
}

/// A store file as redb takes it.
#[derive(Debug)]
pub(super) struct FileBackend(pub(super) Arc<Room>);

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.with_reserve(|| self.0.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

#[cfg(test)]
mod tests;
