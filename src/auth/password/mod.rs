//! The password file: who its users are, what proves them, which groups they are in.
//!
//! ```text
//! # Lines that begin with # and empty lines are kept by noctule passwd.
//! alice:$argon2id$v=19$m=19456,t=2,p=1$…:ops,night-shift:SCRAM-SHA-256$15000:…
//! press-7:$7$101$…
//! panel:!:hmi
//! ```
//! A file is taken whole or not at all: one line that is not understood and the one before stays in force
//! (CVE-2018-12551: a malformed line let everybody in).

mod edit;
mod entry;
mod hash;
mod remembered;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::path::Path;
use std::sync::Arc;

pub use edit::{EditError, PasswordFileEditor};
pub use entry::{Entry, MAX_GROUPS, groups};
pub use hash::{Hash, LANES, MEMORY_KIB, PASSES, Strength, Work};
use remembered::Remembered;

use super::decoy::DecoyKey;
use super::error::LoadError;
use super::file::{self, Purpose};
use super::question::{Accepted, Grant, Method};
use super::scram::{DEFAULT_ITERATIONS, Verifier};

/// Largest password file, bytes: a hundred thousand users with all that can be said of them.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

const PURPOSE: Purpose = Purpose {
    what: "the password file",
    mend: "make it with noctule passwd FILE USER",
    most: MAX_FILE_BYTES,
};

/// What a password file says of a proof.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof {
    /// User and password belong together.
    Right(Grant),
    /// The user has another password.
    Wrong,
    /// The file knows nobody of that name. Nothing was hashed yet: see [`Users::spend`].
    Stranger,
}

#[derive(Debug)]
struct User {
    hash: Hash,
    groups: Box<[Arc<str>]>,
    scram: Option<Verifier>,
    /// Of both, to tell whether they are others.
    stamp: u64,
}

impl User {
    fn new(hash: Hash, groups: Box<[Arc<str>]>, scram: Option<Verifier>) -> Self {
        let mut stamp = DefaultHasher::new();
        hash.to_string().hash(&mut stamp);
        scram.as_ref().map(ToString::to_string).hash(&mut stamp);
        Self { hash, groups, scram, stamp: stamp.finish() }
    }

    fn grant(&self, name: &Arc<str>) -> Grant {
        let proof = Some(Accepted { method: Method::Password, stamp: self.stamp });
        Grant { proof, ..Grant::of(Arc::clone(name), self.groups.to_vec()) }
    }
}

/// The users of a password file, as it was when it was loaded.
#[derive(Debug)]
pub struct Users {
    users: HashMap<Arc<str>, User>,
    /// Those with something to hash, in the file's order; a stranger's password is hashed as if it were one of theirs.
    hashed: Vec<Arc<str>>,
    /// For a file without any.
    dummy: Hash,
    iterations: u32,
    decoy: DecoyKey,
    remembered: Remembered,
    warnings: Vec<String>,
}

impl Users {
    /// Reads a password file.
    ///
    /// Others who may read it are warned of and not refused: it holds hashes, mosquitto leaves its file so, and a gateway
    /// that lets nobody in after an update is worse. Whoever may write to it can let himself in: refused for everybody,
    /// warned of for the group.
    ///
    /// # Errors
    /// When it cannot be read, everybody may write to it, or any line is wrong; the first wrong line is named.
    pub fn load(path: &Path, decoy: &DecoyKey) -> Result<Self, LoadError> {
        let contents = file::read(path, PURPOSE)?;
        let mut users = Self::parse(path, &contents.bytes, decoy)?;
        let mode = contents.mode;
        if mode & 0o004 != 0 {
            users.warnings.insert(
                0,
                format!("{}: everybody may read the hashes (mode {mode:03o}); chmod o-r it", path.display()),
            );
        }
        if mode & 0o020 != 0 {
            users.warnings.insert(
                0,
                format!("{}: its group may add users (mode {mode:03o}); chmod g-w it", path.display()),
            );
        }
        Ok(users)
    }

    /// Reads the text of a password file; `path` is for messages.
    ///
    /// # Errors
    /// When a line is wrong, or the system gives no random bytes.
    pub fn parse(path: &Path, text: &[u8], decoy: &DecoyKey) -> Result<Self, LoadError> {
        let remembered = Remembered::new()
            .map_err(|source| LoadError::System { what: "no random bytes from the system", source })?;
        let mut loaded = Self {
            users: HashMap::new(),
            hashed: Vec::new(),
            dummy: dummy(),
            iterations: DEFAULT_ITERATIONS,
            decoy: decoy.clone(),
            remembered,
            warnings: Vec::new(),
        };
        let mut group_names: HashMap<String, Arc<str>> = HashMap::new();
        let (mut lines, mut iterations) = (HashMap::new(), HashMap::<u32, usize>::new());
        let mut weak = Vec::new();
        for (line, entry) in entries(path, text)? {
            let user: Arc<str> = entry.user.into();
            if let Some(first) = lines.insert(Arc::clone(&user), line) {
                let problem = format!("user {user:?} is in line {first} already; remove one of the two");
                return Err(LoadError::Line { path: path.to_owned(), line, problem });
            }
            if entry.hash.strength() == Strength::Weak {
                weak.push(Arc::clone(&user));
            }
            if entry.hash != Hash::Nothing {
                loaded.hashed.push(Arc::clone(&user));
            }
            if let Some(scram) = &entry.scram {
                *iterations.entry(scram.iterations()).or_default() += 1;
            }
            let name = |group: String| {
                Arc::clone(group_names.entry(group).or_insert_with_key(|g| g.as_str().into()))
            };
            let groups = entry.groups.into_iter().map(name).collect();
            loaded.users.insert(user, User::new(entry.hash, groups, entry.scram));
        }
        // What most users have is what a stranger is told, so that he is one of many.
        if let Some((most, _)) = iterations.into_iter().max_by_key(|(number, users)| (*users, *number)) {
            loaded.iterations = most;
        }
        if let Some(first) = weak.first() {
            let others = match weak.len() {
                1 => String::new(),
                number => format!(" and {} others", number - 1),
            };
            loaded.warnings.push(format!(
                "{}: the hash of {first:?}{others} is weak, as mosquitto_passwd makes them: who gets the file can \
                 guess the password; noctule passwd sets it anew",
                path.display()
            ));
        }
        Ok(loaded)
    }

    /// What should be mended, although the file is in force; each names it.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none; then nobody comes in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// What is granted to `user` if this very password was right since the file was loaded; costs a digest.
    #[must_use]
    pub fn remembered(&self, user: &str, password: &[u8]) -> Option<Grant> {
        if self.remembered.knows(user, password) { self.grant(user) } else { None }
    }

    /// Compares a password with the user's; takes as long as hashing does.
    #[must_use]
    pub fn check(&self, user: &str, password: &[u8], work: &mut Work) -> Proof {
        let Some((name, entry)) = self.users.get_key_value(user) else { return Proof::Stranger };
        if entry.hash == Hash::Nothing {
            self.spend(user, password, work);
            return Proof::Wrong;
        }
        // An empty password is none [MQTT-3.1.3], whatever somebody may have hashed; it takes as long all the same.
        if !entry.hash.verify(password, work) || password.is_empty() {
            return Proof::Wrong;
        }
        self.remembered.learn(name, password);
        Proof::Right(entry.grant(name))
    }

    /// Does for a name that the file does not have the work that it would do for one that it has, so that the time does
    /// not tell which there are. Whose hash it is done with follows from the name, as it would for a user: a name takes
    /// the same time each time, and strangers' times are spread as the users' are.
    pub fn spend(&self, user: &str, password: &[u8], work: &mut Work) {
        let hash = match self.hashed.len() as u64 {
            0 => &self.dummy,
            number => {
                let place = self.decoy.number("password", user) % number;
                let name = usize::try_from(place).ok().and_then(|place| self.hashed.get(place));
                name.and_then(|name| self.users.get(name)).map_or(&self.dummy, |user| &user.hash)
            }
        };
        // Right by chance, it is still nobody's.
        let _ = std::hint::black_box(hash.verify(password, work));
    }

    /// What the file grants to a user who has proved himself in another way; `None` if it does not know him.
    #[must_use]
    pub fn grant(&self, user: &str) -> Option<Grant> {
        let (name, entry) = self.users.get_key_value(user)?;
        Some(entry.grant(name))
    }

    /// What SCRAM needs of `user`.
    #[must_use]
    pub fn verifier(&self, user: &str) -> Option<&Verifier> {
        self.users.get(user).and_then(|user| user.scram.as_ref())
    }

    /// What SCRAM tells somebody who is not a user: salt and iterations as a user could have them.
    #[must_use]
    pub(super) fn decoy_verifier(&self, user: &str) -> Verifier {
        Verifier::decoy(&self.decoy, self.iterations, user)
    }
}

/// Something to compare with when there is nobody at all: no password gives 32 zeros.
fn dummy() -> Hash {
    Hash::Argon2id {
        memory: MEMORY_KIB,
        passes: PASSES,
        lanes: LANES,
        salt: Box::new([0; 16]),
        output: Box::new([0; 32]),
    }
}

/// The entries of a file with their line numbers, counted from 1.
fn entries(path: &Path, text: &[u8]) -> Result<Vec<(usize, Entry)>, LoadError> {
    let wrong = |line, problem| LoadError::Line { path: path.to_owned(), line, problem };
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = text.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        wrong(line, "not UTF-8; save the file as UTF-8".to_owned())
    })?;
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match Entry::parse(line) {
            Ok(Some(entry)) => entries.push((number + 1, entry)),
            Ok(None) => {}
            Err(problem) => return Err(wrong(number + 1, problem)),
        }
    }
    Ok(entries)
}

/// The entries of another broker's or our own file, for taking them over.
///
/// # Errors
/// As [`Users::load`].
pub fn read_entries(path: &Path) -> Result<Vec<Entry>, LoadError> {
    let contents = file::read(path, PURPOSE)?;
    Ok(entries(path, &contents.bytes)?.into_iter().map(|(_, entry)| entry).collect())
}

#[cfg(test)]
mod tests;
