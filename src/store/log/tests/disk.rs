//! A disk in memory: counts what is written, knows what was synced, and loses power.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// What a torn write is torn into, bytes.
const SECTOR: usize = 512;

/// A small generator for repeatable tests.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        (mixed % bound.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them, if there is any.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// A change that may be lost.
#[derive(Clone, Debug)]
enum Change {
    Written(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct Platter {
    now: Vec<u8>,
    /// As of the last sync, and what came since.
    synced: Vec<u8>,
    since: Vec<Change>,
    written: u64,
    syncs: u64,
    /// Accesses that still succeed.
    power: Option<usize>,
}

impl Platter {
    fn access(&mut self) -> io::Result<()> {
        match &mut self.power {
            Some(0) => Err(io::Error::other("there is no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn apply(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if image.len() < at + bytes.len() {
        image.resize(at + bytes.len(), 0);
    }
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    /// A disk that holds an image.
    pub(super) fn of(image: Vec<u8>) -> Self {
        let platter = Platter { now: image.clone(), synced: image, ..Platter::default() };
        Self(Arc::new(Mutex::new(platter)))
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn image(&self) -> Vec<u8> {
        self.lock().now.clone()
    }

    /// Bytes of all writes.
    pub(super) fn written(&self) -> u64 {
        self.lock().written
    }

    pub(super) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The power goes after so many more accesses.
    pub(super) fn cut_after(&self, accesses: usize) {
        self.lock().power = Some(accesses);
    }

    /// What is found when the power comes back: of what was not synced, anything.
    pub(super) fn after_the_cut(&self, dice: &mut Dice) -> Self {
        let platter = self.lock();
        let mut image = platter.synced.clone();
        // From nothing at all to nearly everything gets through.
        let lost_in = [1, 2, 6, 1_000][dice.below(4)];
        let torn_in = [2, 6, 1_000][dice.below(3)];
        for change in &platter.since {
            match change {
                _ if dice.one_in(lost_in) => {}
                Change::Length(length) => image.resize(*length, 0),
                Change::Written(at, bytes) if dice.one_in(torn_in) => {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if !dice.one_in(2) {
                            apply(&mut image, at + number * SECTOR, sector);
                        }
                    }
                }
                Change::Written(at, bytes) => apply(&mut image, *at, bytes),
            }
        }
        Self::of(image)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.lock();
        let end = (offset as usize).checked_add(out.len());
        let found = end.and_then(|end| platter.now.get(offset as usize..end));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        /// More than any test writes: only damage asks for it.
        const LARGEST: u64 = 1 << 30;
        let mut platter = self.lock();
        platter.access()?;
        if len > LARGEST {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.now.resize(len as usize, 0);
        platter.since.push(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.lock();
        platter.access()?;
        platter.syncs += 1;
        for change in std::mem::take(&mut platter.since) {
            match change {
                Change::Length(length) => platter.synced.resize(length, 0),
                Change::Written(at, bytes) => apply(&mut platter.synced, at, &bytes),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.lock();
        platter.access()?;
        platter.written += data.len() as u64;
        apply(&mut platter.now, offset as usize, data);
        platter.since.push(Change::Written(offset as usize, data.to_vec()));
        Ok(())
    }
}
