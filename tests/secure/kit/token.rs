//! JSON Web Tokens as an issuer signs them with HS256, or forges them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

pub(crate) const KEY: &[u8] = b"a key of the issuer that is long enough";

/// The file with the key.
pub(crate) fn keys() -> String {
    json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": "plant", "k": URL_SAFE_NO_PAD.encode(KEY)}]})
        .to_string()
}

/// A token with these claims.
pub(crate) fn signed(claims: &Value) -> String {
    signed_by(KEY, "HS256", claims)
}

/// The same by another key, and with another word for the algorithm.
pub(crate) fn signed_by(key: &[u8], alg: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": alg, "kid": "plant"})), part(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Seconds since the Unix epoch, so many from now.
pub(crate) fn in_s(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}
