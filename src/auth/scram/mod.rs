//! SCRAM-SHA-256 (RFC 5802, RFC 7677): what the server keeps of a password, and its half of the exchange.
//!
//! The verifier is written as PostgreSQL writes it. It lets its holder check a proof, not make one; but it is PBKDF2 with
//! few iterations, so who steals the file guesses faster with it than with the argon2id hash beside it. That is the
//! price of a password that never crosses the wire; `noctule passwd --no-scram` does without.
//!
//! Names and passwords should be prepared by SASLprep (RFC 4013), whose tables would add 150 KB to the binary. A string of
//! printable ASCII is its own preparation, so verifiers are only made of such passwords, and names are compared as they are.

mod exchange;

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use super::decoy::DecoyKey;
pub(crate) use exchange::{Accounts, Decided};
pub use exchange::{Scram, claimed};

/// The name of the mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Iterations of a new verifier. RFC 7677 asks for 4096 at least and recommends a tenth of a second on the client's
/// machine, which it puts at 15,000; a microcontroller may take a second or two, and may keep the result.
pub const DEFAULT_ITERATIONS: u32 = 15_000;

/// Fewest iterations taken from a file (RFC 7677, section 4).
const MIN_ITERATIONS: u32 = 4_096;
/// Most: every client has to compute them.
const MAX_ITERATIONS: u32 = 10_000_000;
/// Bytes of a new salt.
const SALT: usize = 16;
/// Bytes of SHA-256.
const DIGEST: usize = 32;

/// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: NonZeroU32,
    salt: Box<[u8]>,
    stored_key: [u8; DIGEST],
    server_key: [u8; DIGEST],
}

impl Verifier {
    /// A new one, with a salt from the system.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn of(password: &str) -> std::io::Result<Self> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt)?;
        Ok(Self::with(password, &salt, NonZeroU32::new(DEFAULT_ITERATIONS).unwrap_or(NonZeroU32::MIN)))
    }

    /// The one that follows from these (RFC 5802, section 3).
    pub(crate) fn with(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = zeroize::Zeroizing::new([0; DIGEST]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut *salted);
        let client_key = zeroize::Zeroizing::new(hmac_sha256(&*salted, b"Client Key"));
        Self {
            iterations,
            salt: salt.into(),
            stored_key: sha256(&*client_key),
            server_key: hmac_sha256(&*salted, b"Server Key"),
        }
    }

    /// One that no password fulfils, and that looks like a user's with these iterations. Of one name always the same, as
    /// long as the key is.
    pub(super) fn decoy(key: &DecoyKey, iterations: u32, user: &str) -> Self {
        let salt = key.bytes("salt", user);
        Self {
            iterations: NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN),
            salt: salt.get(..SALT).unwrap_or(&salt).into(),
            stored_key: key.bytes("stored", user),
            server_key: key.bytes("server", user),
        }
    }

    /// Whether one can be made of this password: printable ASCII, which SASLprep leaves as it is.
    #[must_use]
    pub fn can_be_of(password: &str) -> bool {
        !password.is_empty() && password.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    }

    /// Reads one as it stands in a file.
    ///
    /// # Errors
    /// What is wrong and how to mend it, without the keys.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || {
            format!("a SCRAM verifier is {MECHANISM}$iterations:salt$StoredKey:ServerKey; was it cut off?")
        };
        let rest = text.strip_prefix(MECHANISM).and_then(|rest| rest.strip_prefix('$')).ok_or_else(form)?;
        let (parameters, keys) = rest.split_once('$').ok_or_else(form)?;
        let (iterations, salt) = parameters.split_once(':').ok_or_else(form)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or_else(form)?;
        let iterations = Some(iterations)
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .filter(|number| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(number))
            .and_then(NonZeroU32::new)
            .ok_or_else(|| {
                format!("SCRAM iterations {iterations:?}; RFC 7677 wants {MIN_ITERATIONS}, {MAX_ITERATIONS} at most")
            })?;
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| form());
        let salt = decoded(salt)?;
        if !(8..=64).contains(&salt.len()) {
            return Err(format!("a SCRAM salt of {} bytes; 8 to 64 are taken", salt.len()));
        }
        let key = |text: &str| <[u8; DIGEST]>::try_from(decoded(text)?).map_err(|_| form());
        let (stored_key, server_key) = (key(stored_key)?, key(server_key)?);
        Ok(Self { iterations, salt: salt.into_boxed_slice(), stored_key, server_key })
    }

    /// How often the client has to hash.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations.get()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{MECHANISM}${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

/// Without the keys: with ServerKey somebody could pass for the server.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

fn sha256(data: &[u8]) -> [u8; DIGEST] {
    let mut bytes = [0; DIGEST];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    bytes
}

/// HMAC-SHA-256 in one go.
fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

#[cfg(test)]
mod tests;
