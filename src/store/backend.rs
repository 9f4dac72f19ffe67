//! The store file under redb: counts what is written, keeps disk space ahead, and knows when there is no room.
//!
//! Deleting needs room too: redb writes new pages before it frees old ones. Therefore blocks beyond the last one written
//! are held in reserve (`store.reserve`). Once the reserve is all there is, new messages are refused and everything
//! that makes room goes on. Where the file lies is the directory's business.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use redb::StorageBackend;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use super::health::Shortage;

/// Bytes in a block of [`MetadataExt::blocks`].
const BLOCK: u64 = 512;

/// The limits of the store file, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Kept ahead of what is written.
    pub(super) reserve: u64,
    /// To be left to others on the file system.
    pub(super) min_free: u64,
    /// Largest file, not counting the reserve.
    pub(super) max_size: u64,
}

/// A file and the room that it has. Written to by one thread; the counters may be read by any.
#[derive(Debug)]
pub(super) struct Room {
    file: File,
    limits: Limits,
    /// End of the last byte that was written.
    written_to: AtomicU64,
    /// Up to here blocks are held, as far as the file system can.
    held_to: AtomicU64,
    /// Bytes written since the file was opened.
    bytes_written: AtomicU64,
    /// The reserve could not be made whole.
    reserve_broken: AtomicBool,
    /// The file system can't hold blocks.
    cannot_hold: AtomicBool,
}

impl Room {
    /// # Errors
    /// When the file can't be looked at.
    pub(super) fn new(file: File, limits: Limits) -> io::Result<Arc<Self>> {
        let about = file.metadata()?;
        // What is allocated is what was written and the reserve of the last time.
        let blocks = about.blocks().saturating_mul(BLOCK);
        let written_to = blocks.saturating_sub(limits.reserve).min(about.len());
        let room = Self {
            file,
            limits,
            written_to: AtomicU64::new(written_to),
            held_to: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            reserve_broken: AtomicBool::new(false),
            cannot_hold: AtomicBool::new(false),
        };
        room.hold(written_to);
        Ok(Arc::new(room))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes written since the file was opened.
    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Relaxed)
    }

    /// End of the last byte that was written.
    pub(super) fn written_to(&self) -> u64 {
        self.written_to.load(Relaxed)
    }

    /// Why there is no room for new messages, looking anew. `stored` are the bytes that the log uses: the file of a
    /// store that was emptied has room inside.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub(super) fn shortage(&self, stored: u64) -> io::Result<Option<Shortage>> {
        let written_to = self.written_to();
        if written_to >= self.limits.max_size && stored >= self.limits.max_size / 2 {
            return Ok(Some(Shortage::MaxSize));
        }
        if self.reserve_broken.load(Relaxed) {
            self.hold(written_to);
            if self.reserve_broken.load(Relaxed) {
                return Ok(Some(Shortage::Reserve));
            }
        }
        let about = fstatvfs(&self.file)?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        Ok((free < self.limits.min_free).then_some(Shortage::MinFree))
    }

    /// Holds blocks up to `end` and the reserve behind it; without the reserve if there is no room for both.
    fn hold(&self, end: u64) {
        let held_to = self.held_to.load(Relaxed);
        if self.cannot_hold.load(Relaxed) {
            return;
        }
        match self.hold_range(held_to, end.saturating_add(self.limits.reserve)) {
            Ok(()) => self.reserve_broken.store(false, Relaxed),
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
                self.reserve_broken.store(true, Relaxed);
                if held_to < end {
                    // If this fails too, so will the write, and that is reported.
                    let _ = self.hold_range(held_to, end);
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => {
                // The write itself will tell whether there is room.
                self.cannot_hold.store(true, Relaxed);
                tracing::debug!(%error, "no disk space is held ahead: the file system can't");
            }
        }
    }

    fn hold_range(&self, from: u64, to: u64) -> Result<(), Errno> {
        if from < to {
            fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, to - from)?;
            self.held_to.store(to, Relaxed);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        if end > self.limits.max_size.saturating_add(self.limits.reserve) {
            let message =
                format!("the store file may not grow beyond store.max_size and its reserve ({end} bytes)");
            return Err(io::Error::new(io::ErrorKind::StorageFull, message));
        }
        let half = self.limits.reserve / 2;
        if self.held_to.load(Relaxed) < end.saturating_add(half) {
            self.hold(end);
        }
        self.file.write_all_at(data, offset)?;
        self.bytes_written.fetch_add(data.len() as u64, Relaxed);
        self.written_to.fetch_max(end, Relaxed);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let cuts = len < self.file.metadata()?.len();
        self.file.set_len(len)?;
        if cuts {
            // What was held behind the end has been given up.
            self.held_to.fetch_min(len, Relaxed);
            self.written_to.fetch_min(len, Relaxed);
            self.hold(self.written_to());
        }
        Ok(())
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
        self.0.set_len(len)
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
