//! `noctule passwd`: sets, deletes and takes over the users of a password file.
//!
//! The password is asked for on the terminal without being shown, or read from standard input; never an argument, because
//! those are in the list of processes and in the shell's history.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::Exit;
use crate::auth::LoadError;
use crate::auth::name;
use crate::auth::password::{self, EditError, Entry, Hash, PasswordFileEditor, Strength};
use crate::auth::scram::Verifier;

/// Longest password, bytes: what MQTT can carry (section 1.5.6).
const MAX_PASSWORD: usize = 65_535;

const AFTER_HELP: &str = "\
Examples:
  noctule passwd users alice                     ask for alice's password, twice
  noctule passwd users alice --groups ops,night  and say which groups she is in
  pass show alice | noctule passwd users alice --password-stdin
  noctule passwd users alice --delete            alice comes in no more
  noctule passwd users --import /etc/mosquitto/passwd

FILE has one line per user: user:hash:groups:scram. Passwords are kept as argon2id hashes and, so that clients of MQTT 5
need not send them at all, as SCRAM-SHA-256 verifiers. A new FILE is readable by its owner alone; lines that are not
concerned stay as they are.

Exit codes: 0 done, 1 failed or no such user, 2 wrong command line.";

/// Arguments of `noctule passwd`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PasswdArgs {
    /// Password file; made if it is not there
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// User whose password is set
    #[arg(value_name = "USER", value_parser = user, required_unless_present = "import")]
    user: Option<String>,

    /// Groups of the user, separated by commas; "" for none [default: as they are]
    #[arg(long, value_name = "GROUPS", value_parser = group_list)]
    groups: Option<Groups>,

    /// Delete the user
    #[arg(long, conflicts_with_all = ["groups", "password_stdin", "no_scram"])]
    delete: bool,

    /// Read the password from standard input: its first line
    #[arg(long)]
    password_stdin: bool,

    /// Keep no SCRAM-SHA-256 verifier, which is easier to guess from than the hash if FILE is stolen
    #[arg(long)]
    no_scram: bool,

    /// Take over the users of a password file of mosquitto
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "groups", "delete", "password_stdin", "no_scram"])]
    import: Option<PathBuf>,
}

/// What `--groups` says; a type of its own, because clap takes a bare list for several values.
#[derive(Clone, Debug)]
struct Groups(Vec<String>);

pub(super) fn user(text: &str) -> Result<String, String> {
    name::check(text).map_err(|error| error.to_string())?;
    if text.contains(':') {
        return Err("the name holds ':', which ends a field of the file".to_owned());
    }
    Ok(text.to_owned())
}

fn group_list(text: &str) -> Result<Groups, String> {
    if text.is_empty() { Ok(Groups(Vec::new())) } else { password::groups(text).map(Groups) }
}

/// Why a password file stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswdError {
    /// The file.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The file to be taken over.
    #[error(transparent)]
    Import(#[from] LoadError),
    /// It is to be taken over, and is there.
    #[error("user {user:?} of {} is in {} already; delete it in one of the two", .from.display(), .to.display())]
    Collision {
        /// The user.
        user: String,
        /// The file to be taken over.
        from: PathBuf,
        /// The file to hold them.
        to: PathBuf,
    },
    /// The password.
    #[error("{0}")]
    Password(&'static str),
    /// Terminal, standard input or random bytes.
    #[error("{what}: {source}")]
    System {
        /// What was done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl PasswdArgs {
    /// Changes the file; what was done goes to `out`, what should be known to `err`. `input` is standard input.
    ///
    /// # Errors
    /// When there is no password to be had or the file cannot be read or written; then it is as it was.
    pub fn run(
        &self,
        input: &mut impl BufRead,
        out: &mut impl Write,
        err: &mut impl Write,
    ) -> Result<Exit, PasswdError> {
        let told = |source| PasswdError::System { what: "can't say what was done", source };
        if let Some(from) = &self.import {
            return self.import(from, out, err);
        }
        let user = self.user.as_deref().unwrap_or_default();
        if self.delete {
            let mut editor = PasswordFileEditor::open(&self.file)?;
            if !editor.remove(user) {
                writeln!(err, "noctule: {}: no user {user:?}", self.file.display()).map_err(told)?;
                return Ok(Exit::Failed);
            }
            editor.save()?;
            writeln!(out, "{}: {user} deleted", self.file.display()).map_err(told)?;
            return Ok(Exit::Done);
        }
        // Before the file is locked: somebody may think about it.
        let password = if self.password_stdin { first_line(input)? } else { ask(user)? };
        let system = |source| PasswdError::System { what: "no random bytes from the system", source };
        let hash = Hash::of(&password).map_err(system)?;
        let text = std::str::from_utf8(&password).ok().filter(|text| Verifier::can_be_of(text));
        let scram = match text {
            Some(text) if !self.no_scram => Some(Verifier::of(text).map_err(system)?),
            _ => None,
        };
        let with_scram = scram.is_some();
        let mut editor = PasswordFileEditor::open(&self.file)?;
        let before = editor.find(user);
        let done = if before.is_some() { "changed" } else { "added" };
        let groups = match &self.groups {
            Some(groups) => groups.0.clone(),
            None => before.map(|before| before.groups).unwrap_or_default(),
        };
        editor.put(&Entry { user: user.to_owned(), hash, groups, scram });
        editor.save()?;
        writeln!(out, "{}: {user} {done}", self.file.display()).map_err(told)?;
        if !with_scram && !self.no_scram {
            writeln!(
                err,
                "noctule: {user} can't use {}: the password is not printable ASCII throughout",
                crate::auth::scram::MECHANISM
            )
            .map_err(told)?;
        }
        Ok(Exit::Done)
    }

    fn import(&self, from: &Path, out: &mut impl Write, err: &mut impl Write) -> Result<Exit, PasswdError> {
        let told = |source| PasswdError::System { what: "can't say what was done", source };
        let entries = password::read_entries(from)?;
        let mut editor = PasswordFileEditor::open(&self.file)?;
        for entry in &entries {
            if editor.find(&entry.user).is_some() {
                let (user, from, to) = (entry.user.clone(), from.to_owned(), self.file.clone());
                return Err(PasswdError::Collision { user, from, to });
            }
            editor.put(entry);
        }
        editor.save()?;
        let users = if entries.len() == 1 { "user" } else { "users" };
        writeln!(out, "{}: {} {users} of {} added", self.file.display(), entries.len(), from.display())
            .map_err(told)?;
        let weak = entries.iter().filter(|entry| entry.hash.strength() == Strength::Weak).count();
        if weak > 0 {
            writeln!(
                err,
                "noctule: {weak} of the hashes are weaker than ours; they hold as they are, noctule passwd {} USER \
                 makes a better one",
                self.file.display()
            )
            .map_err(told)?;
        }
        Ok(Exit::Done)
    }
}

/// The first line of standard input.
fn first_line(input: &mut impl BufRead) -> Result<Zeroizing<Vec<u8>>, PasswdError> {
    // Large enough from the start, so that growing leaves no copies.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 2));
    input
        .take(MAX_PASSWORD as u64 + 2)
        .read_until(b'\n', &mut line)
        .map_err(|source| PasswdError::System { what: "standard input can't be read", source })?;
    for end in [b'\n', b'\r'] {
        line.pop_if(|last| *last == end);
    }
    checked(line)
}

fn checked(password: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, PasswdError> {
    if password.is_empty() {
        return Err(PasswdError::Password("the password is empty, and an empty one lets nobody in"));
    }
    if password.len() > MAX_PASSWORD {
        return Err(PasswdError::Password("the password is longer than 65535 bytes, which MQTT can't carry"));
    }
    Ok(password)
}

/// Asks twice on the terminal.
fn ask(user: &str) -> Result<Zeroizing<Vec<u8>>, PasswdError> {
    // The terminal itself: standard input may be something else.
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| {
        PasswdError::Password("there is no terminal to ask for the password on; use --password-stdin")
    })?;
    let asked = |source| PasswdError::System { what: "the terminal can't be asked", source };
    // For both: between two there would be a moment in which what is typed is shown.
    let quiet = Quiet::new(&terminal).map_err(asked)?;
    let first = checked(unseen(&terminal, &format!("Password of {user}: "))?)?;
    let second = unseen(&terminal, "The same again: ")?;
    drop(quiet);
    if *first == *second { Ok(first) } else { Err(PasswdError::Password("the two passwords differ")) }
}

/// The terminal without echo, line by line editing and signals, until it is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        // With signals on, ^C would end us with the echo still off.
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing else can be done about a terminal that has gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

fn unseen(mut terminal: &File, prompt: &str) -> Result<Zeroizing<Vec<u8>>, PasswdError> {
    let asked = |source| PasswdError::System { what: "the terminal can't be asked", source };
    terminal.write_all(prompt.as_bytes()).map_err(asked)?;
    let typed = typed(&mut terminal);
    terminal.write_all(b"\n").map_err(asked)?;
    typed
}

/// Reads keys up to Enter.
fn typed(keys: &mut impl Read) -> Result<Zeroizing<Vec<u8>>, PasswdError> {
    let mut typed = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 1));
    let mut key = Zeroizing::new([0]);
    loop {
        let read = keys.read(&mut *key);
        let number =
            read.map_err(|source| PasswdError::System { what: "the terminal can't be read", source })?;
        match (number, key[0]) {
            (0, _) | (_, b'\n' | b'\r') => return Ok(typed),
            // ^C, ^D and ^\.
            (_, 0x03 | 0x04 | 0x1c) => return Err(PasswdError::Password("nothing was changed")),
            // Backspace: the bytes of the last character.
            (_, 0x08 | 0x7f) => while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            // ^U: all of it.
            (_, 0x15) => typed.clear(),
            (_, 0x00..0x20) => {
                return Err(PasswdError::Password("a control character; --password-stdin takes those"));
            }
            (_, byte) if typed.len() <= MAX_PASSWORD => typed.push(byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[u8]) -> Option<Vec<u8>> {
        typed(&mut &*keys).ok().map(|typed| typed.to_vec())
    }

    #[test]
    fn keys_are_edited_by_character() {
        assert_eq!(keys(b"abc\nd").unwrap(), b"abc");
        assert_eq!(keys(b"ab\x7fc\r").unwrap(), b"ac");
        assert_eq!(keys("aü€\x08\x7f".as_bytes()).unwrap(), b"a");
        assert_eq!(keys(b"\x7f\x7fa").unwrap(), b"a");
        assert_eq!(keys(b"wrong\x15right\n").unwrap(), b"right");
        for stop in [b"ab\x03\n", b"ab\x04\n", b"ab\x1c\n", b"ab\x1b\n"] {
            assert_eq!(keys(stop), None);
        }
        assert_eq!(keys(&[b'x'; 70_000]).unwrap().len(), MAX_PASSWORD + 1, "too long, and seen to be");
    }

    #[test]
    fn the_first_line_is_the_password() {
        let line = |text: &[u8]| first_line(&mut &*text).map(|line| line.to_vec()).map_err(|e| e.to_string());
        assert_eq!(line(b"a b \nc").unwrap(), b"a b ");
        assert_eq!(line(b"\xff\r\n").unwrap(), b"\xff");
        assert_eq!(line(b"a").unwrap(), b"a");
        assert!(line(b"\nabc").unwrap_err().contains("empty"));
        assert!(line(b"").unwrap_err().contains("empty"));
        assert_eq!(line(&[b'x'; MAX_PASSWORD]).unwrap().len(), MAX_PASSWORD);
        assert!(line(&[b'x'; MAX_PASSWORD + 1]).unwrap_err().contains("65535"));
    }
}
