//! JSON Web Tokens (RFC 7519) as passwords: signed by an issuer that we trust, telling who the bearer is and how long.
//!
//! The token is the password of MQTT's CONNECT or the passcode of STOMP. The user is a claim of the token (`sub` unless
//! configured); the user name beside it may be left out or empty, otherwise it must be the same: a name that is not the
//! user's would be the one in everybody's log.
//!
//! ring, which TLS brings anyway, checks the signatures. The `jsonwebtoken` crate on top of it, with its own
//! implementations of RSA and ECDSA, would make the binary 900 KB larger.

mod keys;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::keys::{Algorithm, Keys};
use super::error::LoadError;
use super::name;
use super::question::Grant;
use super::rule::{Rule, Rules};

/// Longest token, bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Most groups that a token may name.
const MAX_GROUPS: usize = 64;
/// Longest leeway, s: more makes the times in a token meaningless.
const MAX_LEEWAY_S: u64 = 600;

/// What holds for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// The JSON Web Key Set.
    pub keys: PathBuf,
    /// What `iss` must be; `None`: anything, or nothing.
    pub issuer: Option<String>,
    /// Who we are in `aud`: one of these must be in it. Empty: the token must have no `aud` (RFC 7519, section 4.1.3).
    pub audience: Vec<String>,
    /// The claim with the user.
    pub user_claim: String,
    /// The claim with the groups: a list of strings, or one string.
    pub groups_claim: String,
    /// The claim with rules, as `[[acl]]` has them without conditions.
    pub acl_claim: String,
    /// How far the issuer's clock may be off, s.
    pub leeway_s: u64,
    /// Whether a token that never ends is refused.
    pub require_expiry: bool,
}

impl JwtSettings {
    /// The defaults, with the keys in this file.
    #[must_use]
    pub fn new(keys: PathBuf) -> Self {
        Self {
            keys,
            issuer: None,
            audience: Vec::new(),
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            acl_claim: "acl".to_owned(),
            leeway_s: 10,
            require_expiry: true,
        }
    }
}

/// Why a token is refused, for the log; a token is never quoted, its claims are once the signature is found right.
pub type Refused = Cow<'static, str>;

/// Checks tokens.
#[derive(Debug)]
pub struct Jwt {
    settings: JwtSettings,
    keys: Keys,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515, section 4.1.11): we understand none.
    crit: Option<serde::de::IgnoredAny>,
}

impl Jwt {
    /// Reads the keys.
    ///
    /// # Errors
    /// When the file is unreadable, open to others or wrong, or a setting is.
    pub fn load(settings: JwtSettings) -> Result<Self, LoadError> {
        let wrong = |name, problem: &str| Err(LoadError::Setting { name, problem: problem.to_owned() });
        if settings.leeway_s > MAX_LEEWAY_S {
            return wrong("auth_jwt.leeway", "longer than ten minutes; set the clocks instead");
        }
        for (name, claim) in [
            ("auth_jwt.user_claim", &settings.user_claim),
            ("auth_jwt.groups_claim", &settings.groups_claim),
            ("auth_jwt.acl_claim", &settings.acl_claim),
        ] {
            if claim.is_empty() {
                return wrong(name, "empty; a claim has a name");
            }
        }
        if settings.issuer.as_ref().is_some_and(String::is_empty) {
            return wrong("auth_jwt.issuer", "empty; leave it out to take any issuer");
        }
        let keys = Keys::load(&settings.keys)?;
        Ok(Self { settings, keys })
    }

    /// What should be mended, although the keys are in force.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.keys.warnings
    }

    /// Whether a password is meant as a token at all: three parts in base64url, the first a JSON object.
    #[must_use]
    pub fn looks_like_one(password: &[u8]) -> bool {
        // {" in base64url, whatever follows.
        password.starts_with(b"ey") && password.iter().filter(|byte| **byte == b'.').count() == 2
    }

    /// Checks a token that came with this user name (`None` or empty: none) at `wall_ms`.
    ///
    /// # Errors
    /// Why it does not hold, for the log.
    pub fn check(&self, user: Option<&str>, token: &[u8], wall_ms: u64) -> Result<Grant, Refused> {
        let claims = self.claims(token)?;
        let expires = self.times(&claims, wall_ms)?;
        self.issuer(&claims)?;
        self.audience(&claims)?;
        let claim = &self.settings.user_claim;
        let Some(subject) = claims.get(claim).and_then(Value::as_str) else {
            return Err(
                format!("the token has no text in its claim {claim:?}, which is to be the user").into()
            );
        };
        name::check(subject).map_err(|error| format!("the token is for user {subject:?}: {error}"))?;
        if let Some(given) = user.filter(|user| !user.is_empty() && *user != subject) {
            return Err(format!(
                "the token is for {subject:?} and came from {given:?}; leave the user name out"
            )
            .into());
        }
        let rules = match claims.get(&self.settings.acl_claim) {
            None | Some(Value::Null) => None,
            Some(rules) => {
                let Rules(rules) = Rules::deserialize(rules)
                    .map_err(|error| format!("the rules in the token of {subject:?}: {error}"))?;
                Some(Arc::<[Rule]>::from(rules))
            }
        };
        Ok(Grant { user: subject.into(), groups: self.groups(&claims)?, rules, expires, proof: None })
    }

    /// The claims of a token whose signature is right.
    fn claims(&self, token: &[u8]) -> Result<Map<String, Value>, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(format!("a token of {} bytes, {MAX_TOKEN_BYTES} at most", token.len()).into());
        }
        let token = std::str::from_utf8(token).map_err(|_| "a token that is not text")?;
        let (signed, signature) = token.rsplit_once('.').ok_or("a token without a signature")?;
        let (header, claims) = signed.split_once('.').ok_or("a token without claims")?;
        let decoded = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| "a token that is not base64url");
        let header: Header = serde_json::from_slice(&decoded(header)?)
            .map_err(|_| "a token whose header is not understood")?;
        if header.crit.is_some() {
            return Err("a token with extensions that must be understood".into());
        }
        let algorithm = Algorithm::of(&header.alg).ok_or("a token signed in a way that is not taken")?;
        let key = self.keys.find(algorithm, header.kid.as_deref())?;
        if !key.verifies(signed.as_bytes(), &decoded(signature)?) {
            return Err("a token with a wrong signature".into());
        }
        // Only now: what a stranger wrote is not even parsed.
        serde_json::from_slice(&decoded(claims)?)
            .map_err(|_| "a token whose claims are not a JSON object".into())
    }

    /// Judges `exp`, `nbf` and `iat`; the end of it all in ms since the Unix epoch.
    fn times(&self, claims: &Map<String, Value>, wall_ms: u64) -> Result<Option<u64>, Refused> {
        let leeway_ms = self.settings.leeway_s.saturating_mul(1_000);
        let latest = wall_ms.saturating_add(leeway_ms);
        for (claim, what) in [("nbf", "holds only from later on"), ("iat", "was issued in the future")] {
            if numeric_date(claims, claim)?.is_some_and(|from| from > latest) {
                return Err(format!("the token {what}; are both clocks right?").into());
            }
        }
        match numeric_date(claims, "exp")? {
            Some(expires) => {
                let end = expires.saturating_add(leeway_ms);
                if end <= wall_ms { Err("the token has expired".into()) } else { Ok(Some(end)) }
            }
            None if self.settings.require_expiry => {
                Err("the token never expires; let the issuer set \"exp\"".into())
            }
            None => Ok(None),
        }
    }

    fn issuer(&self, claims: &Map<String, Value>) -> Result<(), Refused> {
        let Some(wanted) = &self.settings.issuer else { return Ok(()) };
        match claims.get("iss") {
            Some(Value::String(issuer)) if issuer == wanted => Ok(()),
            issuer => Err(format!("the token is of the issuer {}, not {wanted:?}", shown(issuer)).into()),
        }
    }

    fn audience(&self, claims: &Map<String, Value>) -> Result<(), Refused> {
        let audience = claims.get("aud");
        let wanted = &self.settings.audience;
        let is_ours = |name: &Value| name.as_str().is_some_and(|name| wanted.iter().any(|ours| ours == name));
        let for_us = match audience {
            None => wanted.is_empty(),
            Some(Value::Array(names)) => names.iter().any(is_ours),
            Some(name) => is_ours(name),
        };
        if for_us {
            return Ok(());
        }
        Err(format!("the token is for {}, not for auth_jwt.audience {wanted:?}", shown(audience)).into())
    }

    fn groups(&self, claims: &Map<String, Value>) -> Result<Vec<Arc<str>>, Refused> {
        let claim = &self.settings.groups_claim;
        let wrong = || Refused::from(format!("the token's claim {claim:?} is not a list of group names"));
        let names = match claims.get(claim) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(names)) => names.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        if names.len() > MAX_GROUPS {
            return Err(format!("the token names {} groups, {MAX_GROUPS} at most", names.len()).into());
        }
        let group = |value: &Value| -> Result<Arc<str>, Refused> {
            let group = value.as_str().ok_or_else(wrong)?;
            name::check(group).map_err(|error| format!("the token's group {group:?}: {error}"))?;
            Ok(group.into())
        };
        names.iter().map(group).collect()
    }
}

/// A claim for the log; it comes from an issuer that we trust, and may be long all the same.
fn shown(claim: Option<&Value>) -> String {
    claim.map_or_else(|| "nobody".to_owned(), |claim| claim.to_string().chars().take(100).collect())
}

/// A NumericDate (RFC 7519, section 2) in ms: seconds since the Unix epoch, maybe with a fraction.
fn numeric_date(claims: &Map<String, Value>, claim: &str) -> Result<Option<u64>, Refused> {
    let wrong = || Refused::from(format!("the token's claim {claim:?} is not a time"));
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            if let Some(seconds) = number.as_u64() {
                return Ok(Some(seconds.saturating_mul(1_000)));
            }
            let ms = number.as_f64().filter(|seconds| *seconds >= 0.0).ok_or_else(wrong)? * 1_000.0;
            // A conversion of floats saturates, and a fraction of a millisecond is nobody's.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative; saturates"
            )]
            Ok(Some(ms as u64))
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests;
