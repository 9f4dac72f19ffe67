//! The key that makes strangers look like users: the same name gets the same made-up salt each time it is asked for.
//!
//! Would it change, whoever asks twice would know the strangers. So it should outlive a restart: [`DecoyKey::kept`].

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use ring::hmac;
use zeroize::Zeroizing;

use super::error::LoadError;
use super::file::{self, Purpose};

const BYTES: usize = 32;
const PURPOSE: Purpose =
    Purpose { what: "the decoy key", mend: "it is made at the next start", most: BYTES as u64 };

/// The key.
#[derive(Clone)]
pub struct DecoyKey(Arc<hmac::Key>);

impl DecoyKey {
    /// One for this process.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, LoadError> {
        draw().map(|key| Self::new(&*key))
    }

    /// The one in the file `path`, which is made (mode 0600) if it is not there.
    ///
    /// # Errors
    /// When the file cannot be read or made, or does not hold such a key.
    pub fn kept(path: &Path) -> Result<Self, LoadError> {
        match file::read(path, PURPOSE) {
            Ok(contents) if contents.bytes.len() == BYTES => return Ok(Self::new(&contents.bytes)),
            Ok(contents) => {
                let problem = format!("{} bytes, a decoy key has {BYTES}; remove it", contents.bytes.len());
                return Err(LoadError::Content { path: path.to_owned(), problem });
            }
            Err(LoadError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let key = draw()?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(&*key)?;
            file.sync_all()
        };
        write().map_err(|error| LoadError::Content {
            path: path.to_owned(),
            problem: format!("the decoy key can't be written: {error}"),
        })?;
        Ok(Self::new(&*key))
    }

    fn new(key: &[u8]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// 32 bytes that follow from `label` and `name`, and that nobody without the key can tell from random ones.
    pub(super) fn bytes(&self, label: &str, name: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(label.as_bytes());
        context.update(b"\0");
        context.update(name.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }

    /// The same as a number.
    pub(super) fn number(&self, label: &str, name: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes(label, name);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

fn draw() -> Result<Zeroizing<[u8; BYTES]>, LoadError> {
    let mut key = Zeroizing::new([0; BYTES]);
    getrandom::fill(&mut *key).map_err(|error| LoadError::System {
        what: "no random bytes from the system",
        source: error.into(),
    })?;
    Ok(key)
}

impl fmt::Debug for DecoyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecoyKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::scratch::Scratch;
    use super::*;

    #[test]
    fn a_kept_key_outlives_the_process() {
        let room = Scratch::new();
        let path = room.path("decoy");
        let first = DecoyKey::kept(&path).unwrap();
        assert_eq!(first.bytes("salt", "eve"), DecoyKey::kept(&path).unwrap().bytes("salt", "eve"));
        assert_ne!(first.bytes("salt", "eve"), first.bytes("salt", "mallory"));
        assert_ne!(first.bytes("salt", "eve"), first.bytes("stored", "eve"));
        assert_ne!(first.bytes("salt", "eve"), DecoyKey::random().unwrap().bytes("salt", "eve"));
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn half_a_key_is_none() {
        let room = Scratch::new();
        let path = room.file("decoy", [0; 31]);
        let said = DecoyKey::kept(&path).unwrap_err().to_string();
        assert!(said.ends_with("31 bytes, a decoy key has 32; remove it"), "{said}");
    }
}
