//! What can be wrong with the files and settings that authentication is built from.

use std::io;
use std::path::PathBuf;

/// Why nothing was loaded. Whatever was in force before stays so; at the start the broker does not start.
///
/// No message quotes a hash, a key or a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be opened or read.
    #[error("{}: {what} can't be read: {source}{}", .path.display(), if .source.kind() == io::ErrorKind::NotFound { format!("; {mend}") } else { String::new() })]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// How to make one.
        mend: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a pipe or a device.
    #[error("{}: not a file", .0.display())]
    NotAFile(PathBuf),
    /// Larger than anything sensible.
    #[error("{}: {bytes} bytes, {most} at most", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// Its permissions leave a door open.
    #[error("{}: {problem} (mode {mode:03o}); chmod {mend} it", .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Who may do what.
        problem: &'static str,
        /// The permission bits.
        mode: u32,
        /// What to change.
        mend: &'static str,
    },
    /// A line of the password file.
    #[error("{}:{line}: {problem}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and the mend.
        problem: String,
    },
    /// Something in a file that has no lines.
    #[error("{}: {problem}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and where, and the mend.
        problem: String,
    },
    /// A setting.
    #[error("{name}: {problem}")]
    Setting {
        /// Its name in the configuration.
        name: &'static str,
        /// What is wrong, and the mend.
        problem: String,
    },
    /// The system gives no random bytes, no thread or the like.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
