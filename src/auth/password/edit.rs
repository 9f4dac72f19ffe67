//! Changing a password file: one line at a time, all or nothing, the rest as it stands.
//!
//! The new file is written beside the old one, synced and renamed over it, so that a reader, or a power cut, finds the one or
//! the other. Owner and mode stay; a link is followed, and what it points to is replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::{PURPOSE, Users};
use crate::auth::decoy::DecoyKey;
use crate::auth::error::LoadError;
use crate::auth::file;

/// Why a password file was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It cannot be read, or is wrong already.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The new file cannot be written.
    #[error("{}: can't be written: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A password file that is being changed. Two at a time wait for each other.
#[derive(Debug)]
pub struct PasswordFileEditor {
    /// Where it really lies.
    path: PathBuf,
    /// Its folder, locked until the editor is dropped.
    folder: File,
    /// The lines without their breaks.
    lines: Vec<Line>,
    /// Owner, group and mode of what is there.
    before: Option<(u32, u32, u32)>,
}

#[derive(Debug)]
struct Line {
    text: String,
    user: Option<String>,
}

impl PasswordFileEditor {
    /// Reads the file, or begins an empty one if there is none.
    ///
    /// # Errors
    /// When it cannot be read or is wrong already: what one did not understand one should not rewrite.
    pub fn open(path: &Path) -> Result<Self, EditError> {
        let failed = |path: &Path, source| EditError::Write { path: path.to_owned(), source };
        let path = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link to nothing is not followed: nobody would expect the file to come to be over there.
                if path.is_symlink() {
                    return Err(failed(path, io::Error::other("a link to a file that is not there")));
                }
                path.to_owned()
            }
            Err(error) => return Err(failed(path, error)),
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = File::open(folder).map_err(|error| failed(&path, error))?;
        // The folder's lock and not the file's: the file is another one afterwards.
        rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| failed(&path, error.into()))?;
        let (lines, before) = match fs::metadata(&path) {
            Ok(metadata) => {
                let contents = file::read(&path, PURPOSE)?;
                // Whole and strictly, as the broker would.
                Users::parse(&path, &contents.bytes, &DecoyKey::random()?)?;
                let text = String::from_utf8_lossy(&contents.bytes);
                let line = |text: &str| Line {
                    text: text.to_owned(),
                    user: Entry::parse(text).ok().flatten().map(|entry| entry.user),
                };
                let before = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
                (text.lines().map(line).collect(), Some(before))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
            Err(error) => return Err(failed(&path, error)),
        };
        Ok(Self { path, folder, lines, before })
    }

    /// The entry of `user`, if there is one.
    #[must_use]
    pub fn find(&self, user: &str) -> Option<Entry> {
        let line = self.lines.iter().find(|line| line.user.as_deref() == Some(user))?;
        Entry::parse(&line.text).ok().flatten()
    }

    /// Puts the entry where the user's is, or at the end.
    pub fn put(&mut self, entry: &Entry) {
        let new = Line { text: entry.to_string(), user: Some(entry.user.clone()) };
        match self.lines.iter_mut().find(|line| line.user.as_deref() == Some(&entry.user)) {
            Some(line) => *line = new,
            None => self.lines.push(new),
        }
    }

    /// Takes the user's line out; whether there was one.
    pub fn remove(&mut self, user: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| line.user.as_deref() != Some(user));
        self.lines.len() < before
    }

    /// Writes the file. It is on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written; then the old one is as it was.
    pub fn save(self) -> Result<(), EditError> {
        self.replace().map_err(|source| EditError::Write { path: self.path.clone(), source })
    }

    fn replace(&self) -> io::Result<()> {
        let mut name = self.path.file_name().ok_or_else(|| io::Error::other("not a file name"))?.to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let beside = self.path.with_file_name(name);
        let written = self.write(&beside).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            // What is left of it helps nobody; the error that counts is the first.
            let _ = fs::remove_file(&beside);
        }
        written?;
        // The rename itself is to outlast a power cut.
        self.folder.sync_all()
    }

    fn write(&self, beside: &Path) -> io::Result<()> {
        // Of an editor with our process number that was killed; the folder is locked, so it is nobody's.
        let _ = fs::remove_file(beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
        if let Some((owner, group, mode)) = self.before {
            let metadata = file.metadata()?;
            if (metadata.uid(), metadata.gid()) != (owner, group) {
                fchown(&file, Some(owner), Some(group))?;
            }
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&line.text);
            text.push('\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}
