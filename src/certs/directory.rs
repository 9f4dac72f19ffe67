//! The directory of certificates: files made whole or not at all, readable for whom they should be from the first moment.
//!
//! The directory is opened once and its files by handle, so that nothing is written through a symbolic link and nothing
//! elsewhere if somebody exchanges a directory meanwhile. What is in the files is not known here.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::{Access, CertsError, system};

/// Nobody's CA is larger.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// An open directory.
pub(super) struct Directory {
    path: PathBuf,
    handle: OwnedFd,
}

impl Directory {
    /// Opens the directory; creates it for its owner alone if only it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, CertsError> {
        match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(system("create", path)(error)),
        }
        // A link to a directory is somebody's intention: it is followed, once.
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOTDIR => CertsError::NotOurs { path: path.to_owned(), found: "no directory" },
            error => system("open", path)(error),
        })?;
        Ok(Self { path: path.to_owned(), handle })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file of that name. Anything else of that name is an error: it would be read, or written over.
    pub(super) fn has(&self, name: &str) -> Result<bool, CertsError> {
        let path = self.path.join(name);
        match self.about(name, &path)? {
            None => Ok(false),
            Some(about) => match FileType::from_raw_mode(about.st_mode) {
                FileType::RegularFile => Ok(true),
                FileType::Symlink => Err(CertsError::NotOurs { path, found: "a symbolic link" }),
                _ => Err(CertsError::NotOurs { path, found: "no plain file" }),
            },
        }
    }

    /// Whose a file is that is there.
    fn about(&self, name: &str, path: &Path) -> Result<Option<Stat>, CertsError> {
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => Ok(Some(about)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(system("look at", path)(error)),
        }
    }

    /// The text of a file.
    pub(super) fn read(&self, name: &str) -> Result<zeroize::Zeroizing<String>, CertsError> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&self.handle, name, flags, Mode::empty()).map_err(system("open", &path))?;
        let mut text = zeroize::Zeroizing::new(String::new());
        File::from(file)
            .take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .map_err(|source| CertsError::System { what: "read", path, source })?;
        Ok(text)
    }

    /// Writes a file: under another name first, which only its owner can read, then it gets its own. With `replace` it
    /// takes the place of one that is there, belongs to the same owner and group, and the group may read it if it could: a
    /// service goes on reading what root makes anew.
    pub(super) fn write(
        &self,
        name: &str,
        text: &str,
        access: Access,
        replace: bool,
    ) -> Result<(), CertsError> {
        let path = self.path.join(name);
        let new = format!(".{name}.new");
        match rustix::fs::unlinkat(&self.handle, &new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(system("remove", &self.path.join(new))(error)),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, &new, flags, Mode::from_raw_mode(0o600))
            .map_err(system("create", &path))?;
        let before = if replace { self.about(name, &path)? } else { None };
        let written = fill(File::from(file), text, access, before, &path).and_then(|()| {
            let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
            rustix::fs::renameat_with(&self.handle, &new, &self.handle, name, flags).map_err(|error| {
                match error {
                    Errno::EXIST => CertsError::Exists(path.clone()),
                    error => system("create", &path)(error),
                }
            })
        });
        if written.is_err() {
            // The first error is the one to tell.
            let _ = rustix::fs::unlinkat(&self.handle, &new, AtFlags::empty());
        }
        written
    }
}

/// `before` is whose the file was that this one replaces.
fn fill(
    mut file: File,
    text: &str,
    access: Access,
    before: Option<Stat>,
    path: &Path,
) -> Result<(), CertsError> {
    let failed = |source| CertsError::System { what: "write", path: path.to_owned(), source };
    file.write_all(text.as_bytes()).map_err(failed)?;
    let mut mode = match access {
        Access::Owner => 0o600,
        Access::Everybody => 0o644,
    };
    if let Some(before) = before {
        let now = rustix::fs::fstat(&file).map_err(system("look at", path))?;
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid) {
            let (owner, group) = (Uid::from_raw(before.st_uid), Gid::from_raw(before.st_gid));
            rustix::fs::fchown(&file, Some(owner), Some(group)).map_err(system("chown", path))?;
        }
        // A key's group goes on reading it; nobody else does.
        mode |= before.st_mode & 0o040;
    }
    // Whatever the umask says.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(system("chmod", path))?;
    file.sync_all().map_err(failed)
}
