//! Passwords that were right, remembered so that the next time costs a digest instead of a hash.
//!
//! After a power cut ten thousand devices come back at once; at 50 ms each that were eight minutes. What is kept is
//! HMAC-SHA-256 over user and password under a key that is drawn when the file is loaded and dies with it. Why that is
//! safe enough:
//! - Only what was right is kept, one per user of the file, so nobody can fill the table or be confirmed by it: a wrong
//!   password takes the whole hash each time, a right one is no news to who sent it.
//! - It lies in this process alone. Who can read that memory also reads the passwords as they come in; what he gains is
//!   that the users who were here since the file was loaded can be guessed at the price of a digest.
//! - A new file begins with an empty table and a new key, so that a changed or deleted user is let in no longer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ring::hmac;
use subtle::ConstantTimeEq;

const TAG: usize = 32;

/// The table of one password file.
pub(super) struct Remembered {
    key: hmac::Key,
    tags: Mutex<HashMap<Arc<str>, [u8; TAG]>>,
}

impl Remembered {
    /// An empty table with a key of its own; `None` if the system gives no random bytes.
    pub(super) fn new() -> std::io::Result<Self> {
        let mut key = zeroize::Zeroizing::new([0; TAG]);
        getrandom::fill(&mut *key)?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &*key), tags: Mutex::default() })
    }

    /// Whether `password` is known to be right for `user`.
    pub(super) fn knows(&self, user: &str, password: &[u8]) -> bool {
        let tag = self.tag(user, password);
        let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.get(user).is_some_and(|known| known.ct_eq(&tag).into())
    }

    /// Remembers that it is. `user` is one of the file's, which bounds the table.
    pub(super) fn learn(&self, user: &Arc<str>, password: &[u8]) {
        let tag = self.tag(user, password);
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(user), tag);
    }

    fn tag(&self, user: &str, password: &[u8]) -> [u8; TAG] {
        let mut context = hmac::Context::with_key(&self.key);
        // The length keeps ("ab", "c") apart from ("a", "bc").
        context.update(&(user.len() as u64).to_le_bytes());
        context.update(user.as_bytes());
        context.update(password);
        let mut tag = [0; TAG];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered(…)")
    }
}
