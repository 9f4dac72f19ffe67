//! The keys that tokens are checked with: a JSON Web Key Set (RFC 7517) in a file.
//!
//! Each key has one algorithm, fixed when it is loaded; a token chooses the key, never the algorithm. So a public RSA key
//! cannot be turned into an HMAC secret, and `none` is no algorithm at all (RFC 8725, sections 2.1 and 3.1).

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use ring::{agreement, hmac};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::auth::error::LoadError;
use crate::auth::file::{self, Purpose};

/// Largest key set, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most keys.
const MAX_KEYS: usize = 64;
/// Fewest bytes of an HMAC secret: as many as the digest (RFC 7518, section 3.2).
const MIN_SECRET: usize = 32;
/// Bytes of an RSA modulus: 2048 bits at least (RFC 7518, section 3.3), 8192 at most.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1_024;

const PURPOSE: Purpose = Purpose {
    what: "the keys of tokens",
    mend: "put the issuer's JSON Web Key Set there",
    most: MAX_FILE_BYTES,
};

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The name in headers and keys (RFC 7518, section 3.1; RFC 8037).
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// One key.
pub(super) struct Key {
    id: Option<Box<str>>,
    material: Material,
}

enum Material {
    Secret(hmac::Key),
    Rsa { modulus: Box<[u8]>, exponent: Box<[u8]> },
    P256(UnparsedPublicKey<Box<[u8]>>),
    Ed25519(UnparsedPublicKey<Box<[u8]>>),
}

impl Key {
    pub(super) fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Secret(_) => Algorithm::Hs256,
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether `signature` is this key's under `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified =
            match &self.material {
                Material::Secret(key) => hmac::verify(key, message, signature),
                Material::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature),
                Material::P256(key) | Material::Ed25519(key) => key.verify(message, signature),
            };
        verified.is_ok()
    }
}

/// The name alone.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// The keys of a file.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<Key>,
    pub(super) warnings: Vec<String>,
}

/// As it stands in the file; members that are not named mean nothing to us (RFC 7517, section 4).
#[derive(Deserialize)]
struct RawSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<Box<str>>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    k: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl Keys {
    /// Reads a key set. Keys for other purposes and of kinds that we don't know are passed over with a warning, since
    /// issuers publish all their keys in one set; a key that is for us and wrong refuses the file.
    ///
    /// A file with HMAC secrets that others may read is refused, unlike one of password hashes: who reads it signs tokens
    /// for whom he likes.
    pub(super) fn load(path: &Path) -> Result<Self, LoadError> {
        let contents = file::read(path, PURPOSE)?;
        let keys = Self::parse(path, &contents.bytes)?;
        let mode = contents.mode;
        let secret = keys.keys.iter().any(|key| key.algorithm() == Algorithm::Hs256);
        if secret && mode & 0o004 != 0 {
            let (problem, mend) = ("everybody may read its secret, and so sign tokens", "o-r");
            return Err(LoadError::Permissions { path: path.to_owned(), problem, mode, mend });
        }
        Ok(keys)
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, LoadError> {
        let wrong = |problem: String| LoadError::Content { path: path.to_owned(), problem };
        let set: RawSet = serde_json::from_slice(text).map_err(|error| {
            wrong(format!(
                "not a JSON Web Key Set ({{\"keys\": [...]}}): line {} column {}",
                error.line(),
                error.column()
            ))
        })?;
        if set.keys.len() > MAX_KEYS {
            return Err(wrong(format!("{} keys, {MAX_KEYS} at most", set.keys.len())));
        }
        let mut keys = Self { keys: Vec::new(), warnings: Vec::new() };
        for (place, value) in set.keys.into_iter().enumerate() {
            let named = value.get("kid").and_then(serde_json::Value::as_str);
            let name = named.map_or_else(|| format!("key {}", place + 1), |kid| format!("key {kid:?}"));
            // The library's own words would show what it stumbled over, which may be the secret.
            let raw: RawKey = serde_json::from_value(value).map_err(|_| {
                wrong(format!("{name}: not a JSON Web Key; it has at least \"kty\", in quotes"))
            })?;
            match raw.key() {
                Ok(key) => {
                    let twin = |other: &&Key| other.id == key.id && other.algorithm() == key.algorithm();
                    if key.id.is_some() && keys.keys.iter().any(|other| twin(&other)) {
                        return Err(wrong(format!("{name}: two keys of this name; give each its own kid")));
                    }
                    keys.keys.push(key);
                }
                Err(NoKey::NotOurs(why)) => {
                    keys.warnings.push(format!("{}: {name} is passed over: {why}", path.display()));
                }
                Err(NoKey::Wrong(problem)) => return Err(wrong(format!("{name}: {problem}"))),
            }
        }
        if keys.keys.is_empty() {
            let problem = "no key that tokens could be checked with; HS256, RS256, ES256 and EdDSA are known";
            return Err(wrong(problem.to_owned()));
        }
        Ok(keys)
    }

    /// The key for a token with this header; `Err` says why there is none.
    ///
    /// A token that names no key is checked with the only one of its algorithm, if it is the only one.
    pub(super) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Result<&Key, &'static str> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm() == algorithm);
        match id {
            Some(id) => fitting
                .find(|key| key.id.as_deref() == Some(id))
                .ok_or("the token names a key that is not in the key set for its algorithm"),
            None => match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key),
                (None, _) => Err("the key set has no key of the token's algorithm"),
                (Some(_), Some(_)) => Err("the token names no key, and the key set has several"),
            },
        }
    }
}

/// Why an entry gives no key.
enum NoKey {
    /// For something else, or newer than we are.
    NotOurs(String),
    /// Meant for us, and wrong.
    Wrong(String),
}

impl RawKey {
    fn key(self) -> Result<Key, NoKey> {
        let not_ours = |why: String| Err(NoKey::NotOurs(why));
        if let Some(other) = self.used_for.as_deref().filter(|used_for| *used_for != "sig") {
            return not_ours(format!("it is for {other:?}"));
        }
        if let Some(operations) = &self.key_ops
            && !operations.iter().any(|operation| operation == "verify")
        {
            return not_ours("it is not for \"verify\"".to_owned());
        }
        let algorithm = match (self.kty.as_str(), self.crv.as_deref()) {
            ("oct", _) => Algorithm::Hs256,
            ("RSA", _) => Algorithm::Rs256,
            ("EC", Some("P-256")) => Algorithm::Es256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            (kind, curve) => {
                return not_ours(format!("kty {kind:?}, crv {:?} is not known", curve.unwrap_or("")));
            }
        };
        if let Some(named) = &self.alg
            && Algorithm::of(named) != Some(algorithm)
        {
            return not_ours(format!("algorithm {named:?} is not known for kty {:?}", self.kty));
        }
        if self.d.is_some() {
            let problem = "it is the private key; it belongs to the issuer alone, put the public one here";
            return Err(NoKey::Wrong(problem.to_owned()));
        }
        let material = match algorithm {
            Algorithm::Hs256 => {
                let Some(text) = self.k.map(Zeroizing::new) else {
                    return Err(NoKey::Wrong("\"k\" is missing".to_owned()));
                };
                let secret = Zeroizing::new(decoded("k", &text)?);
                if secret.len() < MIN_SECRET {
                    let problem = format!("a secret of {} bytes; HS256 wants {MIN_SECRET}", secret.len());
                    return Err(NoKey::Wrong(problem));
                }
                Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, &secret))
            }
            Algorithm::Rs256 => {
                let (modulus, exponent) = (member("n", self.n.as_deref())?, member("e", self.e.as_deref())?);
                rsa(modulus, exponent)?
            }
            Algorithm::Es256 => {
                let (x, y) = (member("x", self.x.as_deref())?, member("y", self.y.as_deref())?);
                let point = [&[4], &x[..], &y[..]].concat();
                if x.len() != 32 || y.len() != 32 || !is_on_curve(&agreement::ECDH_P256, &point) {
                    return Err(NoKey::Wrong("\"x\" and \"y\" are no point of P-256".to_owned()));
                }
                let point = point.into_boxed_slice();
                Material::P256(UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point))
            }
            Algorithm::EdDsa => {
                let x = member("x", self.x.as_deref())?;
                if x.len() != 32 {
                    return Err(NoKey::Wrong(format!("\"x\" has {} bytes; Ed25519 has 32", x.len())));
                }
                Material::Ed25519(UnparsedPublicKey::new(&signature::ED25519, x.into_boxed_slice()))
            }
        };
        Ok(Key { id: self.kid, material })
    }
}

/// RSA in ring's form: no leading zeros, which some issuers write.
fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Result<Material, NoKey> {
    let stripped =
        |bytes: Vec<u8>| -> Box<[u8]> { bytes.into_iter().skip_while(|byte| *byte == 0).collect() };
    let (modulus, exponent) = (stripped(modulus), stripped(exponent));
    if !MODULUS.contains(&modulus.len()) {
        let problem =
            format!("an RSA key of {} bits; 2048 to 8192 are taken", modulus.len().saturating_mul(8));
        return Err(NoKey::Wrong(problem));
    }
    // Both are odd in any key; ring takes exponents from 3 to 2^33 - 1.
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|byte| byte & 1 == 1);
    if !odd(&modulus) || !odd(&exponent) || *exponent == [1] || exponent.len() > 4 {
        return Err(NoKey::Wrong("\"n\" and \"e\" are no RSA key".to_owned()));
    }
    Ok(Material::Rsa { modulus, exponent })
}

/// Whether a point is one, so that a damaged key is found when it is loaded and not at the first token. Only an agreement
/// with it makes ring look.
fn is_on_curve(curve: &'static agreement::Algorithm, point: &[u8]) -> bool {
    let random = ring::rand::SystemRandom::new();
    let Ok(ours) = agreement::EphemeralPrivateKey::generate(curve, &random) else { return false };
    agreement::agree_ephemeral(ours, &agreement::UnparsedPublicKey::new(curve, point), |_| ()).is_ok()
}

fn member(name: &str, text: Option<&str>) -> Result<Vec<u8>, NoKey> {
    match text {
        Some(text) => decoded(name, text),
        None => Err(NoKey::Wrong(format!("\"{name}\" is missing"))),
    }
}

fn decoded(name: &str, text: &str) -> Result<Vec<u8>, NoKey> {
    let wrong = |_| NoKey::Wrong(format!("\"{name}\" is not base64url without padding"));
    URL_SAFE_NO_PAD.decode(text).map_err(wrong)
}
