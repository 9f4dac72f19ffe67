//! The store's directory: whose it is, that nobody else uses it, and the files in it by handle rather than by path.
//!
//! A directory is ours when it holds our lock or store file, or nothing. What a path leads to may be changed by others
//! while the broker runs, so the directory is opened once, looked at through its handle, and compared with what the
//! path leads to now and then. What is in the store file is not known here.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use thiserror::Error;

use crate::config::ADMIN_SOCKET;

/// The store file.
pub(super) const STORE: &str = "noctule.redb";
/// Disk space held for what makes room.
const RESERVE: &str = "noctule.reserve";
/// Locked while a broker runs; holds its process id.
const LOCK: &str = "noctule.lock";
/// The store file while it is being copied.
const COPY: &str = "noctule.redb.new";
/// What a damaged store is called, after the store's own name and before the time.
const DAMAGED: &str = "damaged";
/// What the store is called whose place a backup has taken.
const BEFORE_RESTORE: &str = "before-restore";
/// There in the root of every ext file system.
const LOST_AND_FOUND: &str = "lost+found";

const PRIVATE_FILE: Mode = Mode::from_raw_mode(0o600);
const PRIVATE_DIRECTORY: Mode = Mode::from_raw_mode(0o700);
const OTHERS_MAY_WRITE: u32 = 0o022;

/// Why a directory can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Something else lies at the path.
    #[error("{} is not a directory; name another one as server.data_dir", .0.display())]
    NotADirectory(PathBuf),
    /// Somebody could have it lead elsewhere.
    #[error("{} is a symbolic link; name what it leads to as server.data_dir", .0.display())]
    SymbolicLink(PathBuf),
    /// Only the last part of a path is created.
    #[error("there is no directory {} to create {} in; create it first", .parent.display(), .path.display())]
    NoParent {
        /// What is wanted.
        path: PathBuf,
        /// What is missing.
        parent: PathBuf,
    },
    /// Another user could read and change what is in it.
    #[error("{} belongs to user {owner}, and noctule runs as user {user}; chown it, or run as its owner", .path.display())]
    Owner {
        /// The directory or file.
        path: PathBuf,
        /// User id of its owner.
        owner: u32,
        /// User id of this process.
        user: u32,
    },
    /// It holds other things.
    #[error("{} holds {found:?} and nothing of noctule; name an empty directory as server.data_dir", .path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// A file of ours is a link, a device or the like.
    #[error("{} is not a plain file with one name; move it away", .0.display())]
    NotAFile(PathBuf),
    /// Somebody put another store where ours was.
    #[error("{} is not the store file that noctule had opened; put that one back", .0.display())]
    Exchanged(PathBuf),
    /// A second broker would destroy the first one's store.
    #[error("another noctule (process {holder}) uses {}; stop it, or name another server.data_dir", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process id, if it could be read.
        holder: String,
    },
    /// The system said no.
    #[error("can't {what} {}: {source}", .path.display())]
    System {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// The store's directory, locked.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: OwnedFd,
    /// Locked as long as it is open.
    lock: File,
}

impl Directory {
    /// Opens and locks the directory; creates it, readable for nobody else, if only it is missing from its parent.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub(super) fn open(path: &Path) -> Result<Self, DirectoryError> {
        // A slash at the end would have a link followed.
        let path: PathBuf = path.components().collect();
        create(&path)?;
        let handle = open_directory(&path)?;
        let about = rustix::fs::fstat(&handle).map_err(system("look at", &path))?;
        check_owner(&path, &about)?;
        if let Some(found) = foreign_content(&path, &handle)? {
            return Err(DirectoryError::NotOurs { path, found });
        }
        let lock = lock(&path, &handle)?;
        // Only now that it is known to be ours: somebody else's is left as it is.
        if about.st_mode & OTHERS_MAY_WRITE != 0 {
            tracing::warn!(directory = %path.display(), "others could write to the store's directory: taken from them");
            rustix::fs::fchmod(&handle, PRIVATE_DIRECTORY).map_err(system("chmod", &path))?;
        }
        Ok(Self { path, handle, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads here, and the lock still keeps others out.
    pub(super) fn is_in_place(&self) -> bool {
        let here = rustix::fs::fstat(&self.handle);
        let there = rustix::fs::lstat(&self.path);
        here.is_ok_and(|here| there.is_ok_and(|there| is_same(&here, &there))) && self.holds(LOCK, &self.lock)
    }

    /// Whether the store file is the one given.
    pub(super) fn has_store(&self, file: &File) -> bool {
        self.holds(STORE, file)
    }

    fn holds(&self, name: &str, file: &File) -> bool {
        let there = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW);
        let here = rustix::fs::fstat(file);
        here.is_ok_and(|here| there.is_ok_and(|there| is_same(&here, &there)))
    }

    /// Opens the store file; makes it, readable for nobody else, if there is none.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub(super) fn store_file(&self) -> Result<File, DirectoryError> {
        let path = self.path.join(STORE);
        self.forget_second_name()?;
        match open_file(&self.handle, &path, STORE, OFlags::empty()) {
            Err(DirectoryError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let file = open_file(&self.handle, &path, STORE, OFlags::CREATE | OFlags::EXCL)?;
                self.sync();
                Ok(file)
            }
            opened => {
                if opened.is_ok() {
                    // What a restore that was cut off has left has no use any more, and takes as much room as a store.
                    let _ = self.discard_copy();
                }
                opened
            }
        }
    }

    /// Whether a store has been here before: the file that holds disk space is made after the store's own.
    pub(super) fn has_reserve(&self) -> bool {
        self.path.join(RESERVE).exists()
    }

    /// Opens or makes the file that holds disk space.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub(super) fn reserve_file(&self) -> Result<File, DirectoryError> {
        open_file(&self.handle, &self.path.join(RESERVE), RESERVE, OFlags::CREATE)
    }

    /// Gives a store file that was deleted while it was open its name back, which takes a copy.
    ///
    /// # Errors
    /// [`DirectoryError::Exchanged`] if there is another one by now, else the system's.
    pub(super) fn give_name_back(&self, nameless: &File) -> Result<File, DirectoryError> {
        let path = self.path.join(STORE);
        match self.copy(nameless) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(DirectoryError::Exchanged(path))
            }
            Err(source) => {
                Err(DirectoryError::System { what: "copy the deleted store file to", path, source })
            }
        }
    }

    fn copy(&self, from: &File) -> io::Result<File> {
        let to = self.copy_beside(from)?;
        self.take_up_copy()?;
        Ok(to)
    }

    /// Renames the store file so that a fresh one can take its place, and says to what.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn set_aside(&self, now: SystemTime) -> io::Result<PathBuf> {
        let name = self.unused_name(DAMAGED, now);
        self.rename_synced(STORE, &name)?;
        Ok(self.path.join(name))
    }

    /// Copies a file beside the store, on stable storage, where [`Directory::exchange_for_copy`] finds it.
    ///
    /// # Errors
    /// The system's; then there is no copy.
    pub(super) fn copy_beside(&self, mut from: &File) -> io::Result<File> {
        from.rewind()?;
        // One that an earlier copy left, or somebody put there, with a name or a reader elsewhere perhaps.
        self.discard_copy()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut to = File::from(rustix::fs::openat(&self.handle, COPY, flags, PRIVATE_FILE)?);
        if let Err(error) = io::copy(&mut from, &mut to).and_then(|_| to.sync_all()) {
            // A part of a store is of no use, and the disk may be full because of it.
            let _ = self.discard_copy();
            return Err(error);
        }
        Ok(to)
    }

    /// Deletes the copy beside the store, if there is one.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn discard_copy(&self) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.handle, COPY, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the copy beside the store become the store. One that was there keeps another name, which is said; at every
    /// moment one of the two is the store, but on a file system without hard links.
    ///
    /// # Errors
    /// The system's; then the store that was there is the store.
    pub(super) fn exchange_for_copy(&self, now: SystemTime) -> io::Result<Option<PathBuf>> {
        let name = self.unused_name(BEFORE_RESTORE, now);
        match self.keep_as(&name) {
            Ok(()) => {
                if let Err(error) = self.rename_synced(COPY, STORE) {
                    let _ = rustix::fs::unlinkat(&self.handle, &name, AtFlags::empty());
                    return Err(error);
                }
            }
            Err(Errno::NOENT) => {
                self.take_up_copy()?;
                return Ok(None);
            }
            // vfat and exFAT, some that others' programs serve.
            Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS) => self.exchange_by_renaming(&name)?,
            Err(error) => return Err(error.into()),
        }
        Ok(Some(self.path.join(name)))
    }

    /// Gives the store file a second name.
    fn keep_as(&self, name: &str) -> Result<(), Errno> {
        rustix::fs::linkat(&self.handle, STORE, &self.handle, name, AtFlags::empty())?;
        self.sync();
        Ok(())
    }

    /// Without a second name there is no store between the two steps. Who loses power there finds it by its new name; the
    /// manual says so.
    fn exchange_by_renaming(&self, name: &str) -> io::Result<()> {
        self.rename_synced(STORE, name)?;
        if let Err(error) = self.rename_synced(COPY, STORE) {
            return Err(match self.rename_synced(name, STORE) {
                Ok(()) => error,
                Err(second) => io::Error::new(
                    error.kind(),
                    format!(
                        "{error}; the store that was there is now {name}, rename it to {STORE}: {second}"
                    ),
                ),
            });
        }
        Ok(())
    }

    /// Takes back the second name that a restore, cut off before the exchange, has left the store.
    fn forget_second_name(&self) -> Result<(), DirectoryError> {
        let store = match rustix::fs::statat(&self.handle, STORE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(store) if store.st_nlink > 1 => store,
            _ => return Ok(()),
        };
        let ours = format!("{STORE}.{BEFORE_RESTORE}-");
        let entries = rustix::fs::Dir::read_from(&self.handle).map_err(system("read", &self.path))?;
        for entry in entries {
            let entry = entry.map_err(system("read", &self.path))?;
            let name = entry.file_name();
            let about = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW);
            let is_ours = name.to_string_lossy().starts_with(&ours);
            if is_ours && about.is_ok_and(|about| is_same(&about, &store)) {
                rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())
                    .map_err(system("take a second name of the store from", &self.path))?;
                self.sync();
            }
        }
        Ok(())
    }

    /// Has the copy beside the store become the store, if there is none.
    fn take_up_copy(&self) -> io::Result<()> {
        match rustix::fs::renameat_with(&self.handle, COPY, &self.handle, STORE, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.sync();
                Ok(())
            }
            // NFS, older ZFS. Whoever may write here besides us is quicker than a look in bad luck only.
            Err(Errno::INVAL | Errno::NOSYS) if !self.has_name(STORE) => self.rename_synced(COPY, STORE),
            Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::EXIST.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// A name for the store file that no other file has.
    fn unused_name(&self, why: &str, now: SystemTime) -> String {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut name = format!("{STORE}.{why}-{second}");
        let mut number = 1;
        while self.has_name(&name) {
            number += 1;
            name = format!("{STORE}.{why}-{second}-{number}");
        }
        name
    }

    fn has_name(&self, name: &str) -> bool {
        rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn rename_synced(&self, from: &str, to: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.handle, from, &self.handle, to)?;
        self.sync();
        Ok(())
    }

    /// Deletes the store file, in which there must be nothing.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn discard(&self) -> io::Result<()> {
        rustix::fs::unlinkat(&self.handle, STORE, AtFlags::empty())?;
        Ok(())
    }

    /// Names survive a power cut once the directory is on the disk; where that can't be had, there is nothing to do.
    fn sync(&self) {
        let _ = rustix::fs::fsync(&self.handle);
    }
}

fn system(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> DirectoryError + use<> {
    let path = path.to_owned();
    move |errno| DirectoryError::System { what, path, source: errno.into() }
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn create(path: &Path) -> Result<(), DirectoryError> {
    match rustix::fs::mkdir(path, PRIVATE_DIRECTORY) {
        Ok(()) => {
            // As for the names within.
            if let Ok(parent) = open_directory(parent(path)) {
                let _ = rustix::fs::fsync(&parent);
            }
            Ok(())
        }
        Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            Err(DirectoryError::NoParent { path: path.to_owned(), parent: parent(path).to_owned() })
        }
        // On a read-only file system it may be there all the same.
        Err(_) if path.exists() => Ok(()),
        Err(error) => Err(system("create", path)(error)),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn open_directory(path: &Path) -> Result<OwnedFd, DirectoryError> {
    let about = rustix::fs::lstat(path).map_err(system("look at", path))?;
    match FileType::from_raw_mode(about.st_mode) {
        FileType::Symlink => return Err(DirectoryError::SymbolicLink(path.to_owned())),
        FileType::Directory => {}
        _ => return Err(DirectoryError::NotADirectory(path.to_owned())),
    }
    // It may have become a link since.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(system("open", path))
}

fn check_owner(path: &Path, about: &Stat) -> Result<(), DirectoryError> {
    let user = rustix::process::geteuid().as_raw();
    if about.st_uid == user {
        return Ok(());
    }
    Err(DirectoryError::Owner { path: path.to_owned(), owner: about.st_uid, user })
}

/// Something in the directory, if there is nothing of ours.
fn foreign_content(path: &Path, handle: &OwnedFd) -> Result<Option<String>, DirectoryError> {
    let mut found = None;
    let entries = rustix::fs::Dir::read_from(handle).map_err(system("read", path))?;
    for entry in entries {
        let entry = entry.map_err(system("read", path))?;
        match entry.file_name().to_string_lossy().as_ref() {
            STORE | LOCK => return Ok(None),
            // Operators come in there, perhaps before anything is stored.
            "." | ".." | LOST_AND_FOUND | ADMIN_SOCKET => {}
            name => found = Some(name.to_owned()),
        }
    }
    Ok(found)
}

/// Opens a file of ours for reading and writing: a plain file of our own, with no name elsewhere, that nobody else may
/// read.
fn open_file(handle: &OwnedFd, path: &Path, name: &str, flags: OFlags) -> Result<File, DirectoryError> {
    // Not blocking, because it could be somebody's pipe.
    let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(handle, name, flags, PRIVATE_FILE) {
        Ok(file) => file,
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {
            return Err(DirectoryError::NotAFile(path.to_owned()));
        }
        Err(error) => return Err(system("open", path)(error)),
    };
    let about = rustix::fs::fstat(file.as_fd()).map_err(system("look at", path))?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile || about.st_nlink != 1 {
        return Err(DirectoryError::NotAFile(path.to_owned()));
    }
    check_owner(path, &about)?;
    if about.st_mode & 0o077 != 0 {
        rustix::fs::fchmod(&file, PRIVATE_FILE).map_err(system("chmod", path))?;
    }
    Ok(File::from(file))
}

fn lock(directory: &Path, handle: &OwnedFd) -> Result<File, DirectoryError> {
    let path = directory.join(LOCK);
    let mut file = open_file(handle, &path, LOCK, OFlags::CREATE)?;
    match file.try_lock() {
        Ok(()) => {
            // For the message of a second instance alone, so it may fail: the disk may be full.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(32).read_to_string(&mut holder);
            let holder =
                Some(holder.trim()).filter(|holder| !holder.is_empty()).unwrap_or("unknown").to_owned();
            Err(DirectoryError::InUse { path: directory.to_owned(), holder })
        }
        Err(TryLockError::Error(source)) => Err(DirectoryError::System { what: "lock", path, source }),
    }
}

#[cfg(test)]
pub(super) mod tests;
