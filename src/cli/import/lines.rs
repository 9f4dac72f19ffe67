//! The lines of a mosquitto.conf and of the files that it includes, as Mosquitto reads them.
//!
//! A line is a key and the rest of it; `#` begins a comment at the very start of a line only. What the keys mean is not
//! known here.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Largest file read, bytes; a larger one is a mistake in the path.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Most files of one `include_dir`.
const MAX_INCLUDED: usize = 1_000;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Rc<str>,
    /// Counted from 1; 0 for the file as a whole.
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) key: String,
    /// Without blanks around it; empty if there is none.
    pub(super) value: String,
}

impl Line {
    /// As it stands in the file.
    pub(super) fn text(&self) -> String {
        if self.value.is_empty() { self.key.clone() } else { format!("{} {}", self.key, self.value) }
    }
}

/// A mistake in what is read: `file:line: what is wrong and how to mend it`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(super) place: Place,
    pub(super) message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// The text of a file, line by line and numbered, without empty lines and comments.
pub(super) fn of_file(path: &Path, wrong: &mut Vec<Wrong>) -> Vec<(Place, String)> {
    let file: Rc<str> = path.display().to_string().into();
    let at = |line| Place { file: Rc::clone(&file), line };
    let bytes = match bytes_of(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            wrong.push(Wrong { place: at(0), message: format!("cannot be read: {error}") });
            return Vec::new();
        }
    };
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let text = std::str::from_utf8(line).ok().filter(|text| !text.contains('\0'));
        let Some(text) = text else {
            let message = "this is not text (UTF-8); is it the right file?".to_owned();
            wrong.push(Wrong { place: at(number), message });
            return Vec::new();
        };
        let text = text.trim_end();
        if !text.is_empty() && !text.starts_with('#') {
            lines.push((at(number), text.to_owned()));
        }
    }
    lines
}

fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if about.len() > MAX_FILE_BYTES {
        let size = about.len();
        return Err(io::Error::other(format!(
            "it has {size} bytes, {MAX_FILE_BYTES} at most; is the path right?"
        )));
    }
    std::fs::read(path)
}

/// The keys of a configuration, those of included files in the place of their `include_dir`, which is kept before them.
pub(super) fn of_configuration(path: &Path, wrong: &mut Vec<Wrong>) -> Vec<Line> {
    let mut lines = Vec::new();
    for line in keys(path, wrong) {
        let directory = (line.key == "include_dir").then(|| (line.place.clone(), PathBuf::from(&line.value)));
        lines.push(line);
        let Some((place, directory)) = directory else { continue };
        match included(path, &directory) {
            // An include_dir in an included file is not followed, by Mosquitto neither.
            Ok(files) => lines.extend(files.iter().flat_map(|file| keys(file, wrong))),
            Err(message) => wrong.push(Wrong { place, message }),
        }
    }
    lines
}

fn keys(path: &Path, wrong: &mut Vec<Wrong>) -> Vec<Line> {
    let split = |(place, text): (Place, String)| {
        let text = text.trim_start();
        let (key, value) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        Line { place, key: key.to_owned(), value: value.trim().to_owned() }
    };
    of_file(path, wrong).into_iter().map(split).collect()
}

/// The files of an `include_dir`, in the order in which Mosquitto reads them.
fn included(main: &Path, directory: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |error: io::Error| {
        format!(
            "include_dir {}: cannot be read: {error}; mend the path, or take the line out",
            directory.display()
        )
    };
    let main = main.canonicalize().map_err(cannot)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_none_or(|extension| extension != "conf") || path.is_dir() {
            continue;
        }
        if path.canonicalize().is_ok_and(|path| path == main) {
            return Err(format!(
                "include_dir {} holds this very file, which would include itself without end; move one of them",
                directory.display()
            ));
        }
        files.push(path);
        if files.len() > MAX_INCLUDED {
            return Err(format!("include_dir {} has more than {MAX_INCLUDED} files", directory.display()));
        }
    }
    // Upper case before lower case of the same letter: A, a, B, b.
    files.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name.to_lowercase(), name)
    });
    Ok(files)
}
