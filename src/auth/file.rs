//! Opening the files that decide who comes in: what may be such a file, and who else may touch it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::error::LoadError;

/// What a file is for, which decides how its permissions are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Purpose {
    /// What it holds, for messages.
    pub(super) what: &'static str,
    /// How to make one.
    pub(super) mend: &'static str,
    /// Most bytes.
    pub(super) most: u64,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Contents {
    /// The whole file.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// The permission bits.
    pub(super) mode: u32,
}

/// Reads a regular file, through symbolic links if need be (configuration is often linked into place).
///
/// The permissions that count are those of the file that was opened, so nothing can be swapped in between. A file that
/// everybody may write to is refused: whoever can write it can let himself in. One that others may read is the caller's
/// to judge, since that depends on what it holds.
pub(super) fn read(path: &Path, purpose: Purpose) -> Result<Contents, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        path: path.to_owned(),
        what: purpose.what,
        mend: purpose.mend,
        source,
    };
    // A pipe would otherwise hold up the start until somebody writes to it.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(LoadError::NotAFile(path.to_owned()));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o002 != 0 {
        let (problem, mend) = ("everybody may write to it, and so let himself in", "o-w");
        return Err(LoadError::Permissions { path: path.to_owned(), problem, mode, mend });
    }
    let too_large = |bytes| LoadError::TooLarge { path: path.to_owned(), bytes, most: purpose.most };
    if metadata.len() > purpose.most {
        return Err(too_large(metadata.len()));
    }
    let bytes = whole(file, metadata.len(), purpose.most).map_err(unreadable)?;
    // It grew meanwhile.
    if bytes.len() as u64 > purpose.most {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(Contents { bytes, mode })
}

fn whole(file: File, expected: u64, most: u64) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // One byte more than it should have, so that reading to the end does not move what was read.
    let capacity = usize::try_from(expected).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::scratch::Scratch;
    use super::*;

    const PURPOSE: Purpose = Purpose { what: "the thing", mend: "make one", most: 10 };

    #[test]
    fn only_a_file_that_strangers_cannot_write_to_is_read() {
        let room = Scratch::new();
        let path = room.path("f");
        let said = |path: &Path| read(path, PURPOSE).unwrap_err().to_string();
        assert!(
            said(&path)
                .ends_with("the thing can't be read: No such file or directory (os error 2); make one")
        );
        fs::write(&path, "0123456789").unwrap();
        for (mode, refused) in [(0o600, false), (0o644, false), (0o664, false), (0o602, true), (0o666, true)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match read(&path, PURPOSE) {
                Ok(contents) => assert!(!refused && contents.mode == mode, "{mode:o}"),
                Err(error) => {
                    assert!(refused && error.to_string().contains("chmod o-w"), "{mode:o}: {error}");
                }
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let link = room.path("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(&**read(&link, PURPOSE).unwrap().bytes, b"0123456789", "through a link");
        fs::write(&path, "0123456789a").unwrap();
        assert!(said(&path).ends_with("11 bytes, 10 at most"));
        assert!(said(&room.path("")).ends_with("not a file"));
    }

    #[test]
    fn a_pipe_does_not_hold_up_the_start() {
        let room = Scratch::new();
        let path = room.path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(matches!(read(&path, PURPOSE), Err(LoadError::NotAFile(_))));
    }
}
