//! Tokens made with ring and with openssl's keys, and every way in which one does not hold.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;
use crate::auth::rule::Permission;
use crate::auth::scratch::Scratch;

const NOW_S: u64 = 1_800_000_000;
const NOW: u64 = NOW_S * 1_000;
const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// RFC 7515, appendix A.2: an RSA key, and a token signed with it.
const RFC_RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RFC_RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
/// Appendix A.3: the same on P-256.
const RFC_EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const RFC_EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const RFC_EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const RFC_TIME: u64 = 1_300_819_000_000;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn try_load(room: &Scratch, keys: &Value, change: impl FnOnce(&mut JwtSettings)) -> Result<Jwt, LoadError> {
    let mut settings = JwtSettings::new(room.file("keys.json", keys.to_string()));
    change(&mut settings);
    Jwt::load(settings)
}

fn load(keys: &Value, change: impl FnOnce(&mut JwtSettings)) -> Jwt {
    try_load(&Scratch::new(), keys, change).unwrap()
}

fn secret_key() -> Value {
    json!({"kty": "oct", "kid": "s", "k": base64(SECRET)})
}

fn hmac_jwt() -> Jwt {
    load(&json!({"keys": [secret_key()]}), |_| {})
}

fn sign(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = base64(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn hs256(header: &Value, claims: &Value) -> String {
    hs256_with(SECRET, header, claims)
}

fn hs256_with(secret: &[u8], header: &Value, claims: &Value) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    sign(header, claims, |message| ring::hmac::sign(&key, message).as_ref().to_vec())
}

fn token(claims: &Value) -> String {
    hs256(&json!({"alg": "HS256", "typ": "JWT"}), claims)
}

#[track_caller]
fn refused(jwt: &Jwt, token: &str, part: &str) {
    let why = jwt.check(None, token.as_bytes(), NOW).expect_err(token);
    assert!(why.contains(part), "{why:?} is not {part:?}");
    assert!(!why.contains("eyJ"), "{why}");
}

#[test]
fn a_token_says_who_how_long_and_what() {
    let claims = json!({"sub": "alice", "exp": NOW_S + 60, "groups": ["ops", "night"],
        "acl": [{"verdict": "allow", "actions": ["publish"], "topics": ["s/%u/#"], "max_qos": 1}]});
    let grant = hmac_jwt().check(None, token(&claims).as_bytes(), NOW).unwrap();
    assert_eq!((&*grant.user, grant.expires), ("alice", Some(NOW + 70_000)));
    assert_eq!(grant.groups, ["ops".into(), "night".into()]);
    let rules = grant.rules.unwrap();
    assert_eq!(
        (rules.len(), rules[0].verdict, rules[0].topics[0].as_str()),
        (1, Permission::Allow, "s/%u/#")
    );
    let bare = hmac_jwt().check(None, token(&json!({"sub": "a", "exp": NOW_S + 1})).as_bytes(), NOW).unwrap();
    assert_eq!((bare.groups, bare.rules), (vec![], None));
    let one = json!({"sub": "a", "exp": NOW_S, "groups": "ops", "acl": []});
    let one = hmac_jwt().check(None, token(&one).as_bytes(), NOW).unwrap();
    assert_eq!((one.groups, one.rules.map(|rules| rules.len())), (vec!["ops".into()], Some(0)));
}

#[test]
fn the_examples_of_rfc_7515_are_verified() {
    let rsa = json!({"kty": "RSA", "n": RFC_RSA_N, "e": "AQAB"});
    let ec = json!({"kty": "EC", "crv": "P-256", "x": RFC_EC_X, "y": RFC_EC_Y});
    let joe = |settings: &mut JwtSettings| {
        settings.user_claim = "iss".to_owned();
        settings.issuer = Some("joe".to_owned());
    };
    let both = load(&json!({"keys": [rsa, ec]}), joe);
    for token in [RFC_RSA_TOKEN, RFC_EC_TOKEN] {
        assert_eq!(&*both.check(None, token.as_bytes(), RFC_TIME).unwrap().user, "joe");
        // One bit of the signature, one of the claims.
        for place in [token.len() - 20, 30] {
            let mut damaged = token.as_bytes().to_vec();
            damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(both.check(None, &damaged, RFC_TIME).unwrap_err(), "a token with a wrong signature");
        }
    }
}

#[test]
fn keys_of_every_kind_verify_and_are_chosen_by_name() {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref(), &random).unwrap();
    let ed = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
    let point = ec.public_key().as_ref();
    let keys = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "kid": "e", "x": base64(&point[1..33]), "y": base64(&point[33..])},
        {"kty": "OKP", "crv": "Ed25519", "kid": "d", "alg": "EdDSA", "x": base64(ed.public_key())},
        secret_key(),
        {"kty": "oct", "kid": "s2", "k": base64([7; 40])},
    ]});
    let jwt = load(&keys, |_| {});
    let claims = json!({"sub": "alice", "exp": NOW_S + 60});
    let by_ec = |header: &Value| sign(header, &claims, |m| ec.sign(&random, m).unwrap().as_ref().to_vec());
    let by_ed = |header: &Value| sign(header, &claims, |m| ed.sign(m).as_ref().to_vec());
    for good in [
        by_ec(&json!({"alg": "ES256", "kid": "e"})),
        by_ec(&json!({"alg": "ES256"})),
        by_ed(&json!({"alg": "EdDSA", "kid": "d"})),
        hs256(&json!({"alg": "HS256", "kid": "s"}), &claims),
        hs256_with(&[7; 40], &json!({"alg": "HS256", "kid": "s2"}), &claims),
    ] {
        assert_eq!(&*jwt.check(None, good.as_bytes(), NOW).unwrap().user, "alice");
    }
    refused(&jwt, &hs256(&json!({"alg": "HS256", "kid": "s2"}), &claims), "wrong signature");
    refused(&jwt, &hs256(&json!({"alg": "HS256"}), &claims), "names no key, and the key set has several");
    refused(&jwt, &by_ec(&json!({"alg": "ES256", "kid": "d"})), "not in the key set for its algorithm");
    refused(&jwt, &by_ec(&json!({"alg": "EdDSA", "kid": "e"})), "not in the key set for its algorithm");
    refused(&jwt, &by_ec(&json!({"alg": "RS256"})), "no key of the token's algorithm");
}

#[test]
fn a_token_cannot_choose_how_it_is_verified() {
    let rsa = load(&json!({"keys": [{"kty": "RSA", "kid": "r", "n": RFC_RSA_N, "e": "AQAB"}]}), |_| {});
    let claims = json!({"sub": "admin", "exp": NOW_S + 60});
    // The public key as the secret of an HMAC, in each form that somebody could think of.
    let modulus = URL_SAFE_NO_PAD.decode(RFC_RSA_N).unwrap();
    for secret in [modulus.as_slice(), RFC_RSA_N.as_bytes(), b""] {
        refused(
            &rsa,
            &hs256_with(secret, &json!({"alg": "HS256", "kid": "r"}), &claims),
            "not in the key set",
        );
        refused(
            &rsa,
            &hs256_with(secret, &json!({"alg": "HS256"}), &claims),
            "no key of the token's algorithm",
        );
        refused(&rsa, &hs256_with(secret, &json!({"alg": "RS256"}), &claims), "wrong signature");
    }
    for jwt in [&rsa, &hmac_jwt()] {
        for alg in ["none", "None", "NONE", "nOnE", "", "HS512", "hs256"] {
            for signature in [vec![], vec![0; 32]] {
                let token = sign(&json!({"alg": alg}), &claims, |_| signature.clone());
                refused(jwt, &token, "signed in a way that is not taken");
            }
        }
    }
    // A key of its own, as the header may carry one.
    let own =
        json!({"alg": "HS256", "jwk": {"kty": "oct", "k": base64([1; 32])}, "jku": "https://example.com"});
    refused(&hmac_jwt(), &hs256_with(&[1; 32], &own, &claims), "wrong signature");
    refused(&hmac_jwt(), &hs256(&json!({"alg": "HS256", "crit": ["exp"]}), &claims), "must be understood");
}

#[test]
fn times_hold_to_the_second_with_leeway() {
    let jwt = hmac_jwt();
    let at = |claims: Value| jwt.check(None, token(&claims).as_bytes(), NOW).map(|grant| grant.expires);
    assert_eq!(at(json!({"sub": "a", "exp": NOW_S - 9})), Ok(Some(NOW + 1_000)));
    assert_eq!(at(json!({"sub": "a", "exp": NOW_S - 10})).unwrap_err(), "the token has expired");
    assert_eq!(at(json!({"sub": "a", "exp": NOW_S as f64 + 0.5})), Ok(Some(NOW + 10_500)));
    assert_eq!(at(json!({"sub": "a", "exp": u64::MAX})), Ok(Some(u64::MAX)));
    for claim in ["nbf", "iat"] {
        assert!(at(json!({"sub": "a", "exp": NOW_S + 9, claim: NOW_S + 10})).is_ok());
        assert!(at(json!({"sub": "a", "exp": NOW_S + 9, claim: NOW_S + 11})).unwrap_err().contains("clocks"));
        assert!(
            at(json!({"sub": "a", "exp": NOW_S + 9, claim: "soon"})).unwrap_err().contains("is not a time")
        );
    }
    for wrong in [json!("1800000000"), json!(-1), json!(null), json!([1])] {
        assert!(
            at(json!({"sub": "a", "exp": wrong})).unwrap_err().contains("\"exp\" is not a time"),
            "{wrong}"
        );
    }
    assert!(at(json!({"sub": "a"})).unwrap_err().contains("never expires"));
    let lax = load(&json!({"keys": [secret_key()]}), |settings| settings.require_expiry = false);
    assert_eq!(lax.check(None, token(&json!({"sub": "a"})).as_bytes(), NOW).unwrap().expires, None);
}

#[test]
fn issuer_and_audience_are_held_to() {
    let strict = load(&json!({"keys": [secret_key()]}), |settings| {
        settings.issuer = Some("plant".to_owned());
        settings.audience = vec!["noctule".to_owned(), "mqtt".to_owned()];
    });
    let with = |iss: Value, aud: Value| token(&json!({"sub": "a", "exp": NOW_S + 9, "iss": iss, "aud": aud}));
    for aud in [json!("mqtt"), json!(["x", "noctule"])] {
        assert!(strict.check(None, with(json!("plant"), aud).as_bytes(), NOW).is_ok());
    }
    for iss in [json!("Plant"), json!(["plant"]), json!(null)] {
        refused(&strict, &with(iss, json!("mqtt")), "not \"plant\"");
    }
    for aud in [json!("other"), json!([]), json!([["mqtt"]]), json!(null), json!(7)] {
        refused(&strict, &with(json!("plant"), aud), "not for auth_jwt.audience");
    }
    refused(&strict, &token(&json!({"sub": "a", "exp": NOW_S + 9, "iss": "plant"})), "for nobody");
    refused(&hmac_jwt(), &with(json!("plant"), json!("somebody else")), "not for auth_jwt.audience []");
}

#[test]
fn the_user_is_the_tokens_and_no_other() {
    let jwt = hmac_jwt();
    let good = token(&json!({"sub": "alice", "exp": NOW_S + 9}));
    for given in [None, Some(""), Some("alice")] {
        assert!(jwt.check(given, good.as_bytes(), NOW).is_ok(), "{given:?}");
    }
    assert!(jwt.check(Some("bob"), good.as_bytes(), NOW).unwrap_err().contains("came from \"bob\""));
    for (subject, part) in [
        (json!(""), "the name is empty"),
        (json!("+"), "holds '+'"),
        (json!("a/b"), "holds '/'"),
        (json!("a#"), "holds '#'"),
        (json!("a\0"), "control character"),
        (json!(7), "no text in its claim \"sub\""),
        (json!(null), "no text in its claim \"sub\""),
    ] {
        refused(&jwt, &token(&json!({"sub": subject, "exp": NOW_S + 9})), part);
    }
    refused(&jwt, &token(&json!({"exp": NOW_S + 9})), "no text in its claim \"sub\"");
}

#[test]
fn claims_that_are_not_understood_refuse_the_token() {
    let jwt = hmac_jwt();
    let many: Vec<String> = (0..65).map(|n| format!("g{n}")).collect();
    for (claim, value, part) in [
        ("groups", json!(7), "not a list of group names"),
        ("groups", json!(["a", 7]), "not a list of group names"),
        ("groups", json!({"a": 1}), "not a list of group names"),
        ("groups", json!(["a/b"]), "holds '/'"),
        ("groups", json!(many), "65 groups"),
        ("acl", json!("all"), "a list of at most 128 rules"),
        ("acl", json!([{"verdict": "allow", "topics": []}]), "without topics"),
        ("acl", json!([{"verdict": "allow", "topics": ["a"], "if": 1}]), "`if`"),
    ] {
        refused(&jwt, &token(&json!({"sub": "a", "exp": NOW_S + 9, claim: value})), part);
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let jwt = hmac_jwt();
    let good = token(&json!({"sub": "a", "exp": NOW_S + 9}));
    assert!(Jwt::looks_like_one(good.as_bytes()));
    for password in ["", "wonderland", "a.b.c", "ey.b", "ey.b.c.d", "eyJ"] {
        assert!(!Jwt::looks_like_one(password.as_bytes()), "{password}");
    }
    let two = &good[..good.rfind('.').unwrap()];
    for (text, part) in [
        ("", "without a signature"),
        ("ab", "without a signature"),
        ("a.b", "without claims"),
        (two, "without claims"),
        (&format!("{two}."), "wrong signature"),
        (&format!("{good}="), "not base64url"),
        (&format!(".{good}"), "header is not understood"),
        (&format!("{}..", base64("{}")), "header is not understood"),
        (&format!("{}..", base64("[]")), "header is not understood"),
        (&format!("{}..", base64(r#"{"alg":"HS256","alg":"none"}"#)), "header is not understood"),
        (&"e".repeat(MAX_TOKEN_BYTES + 1), "a token of 16385 bytes"),
    ] {
        let why = jwt.check(None, text.as_bytes(), NOW).unwrap_err();
        assert!(why.contains(part), "{text}: {why}");
    }
    assert_eq!(jwt.check(None, b"ey\xff.a.b", NOW).unwrap_err(), "a token that is not text");
    let not_an_object = sign(&json!({"alg": "HS256"}), &json!([1]), |message| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
        ring::hmac::sign(&key, message).as_ref().to_vec()
    });
    assert_eq!(
        jwt.check(None, not_an_object.as_bytes(), NOW).unwrap_err(),
        "a token whose claims are not a JSON object"
    );
}

#[test]
fn a_key_set_that_is_wrong_is_refused_by_file_and_key() {
    let key = |mut key: Value, change: &[(&str, Value)]| {
        for (name, value) in change {
            key[name] = value.clone();
        }
        json!({"keys": [key]})
    };
    let rsa = json!({"kty": "RSA", "kid": "r", "n": RFC_RSA_N, "e": "AQAB"});
    let ec = json!({"kty": "EC", "kid": "e", "crv": "P-256", "x": RFC_EC_X, "y": RFC_EC_Y});
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": base64([1; 31])});
    let many = vec![secret_key(); 65];
    for (keys, part) in [
        (json!([]), "not a JSON Web Key Set"),
        (json!({"keys": []}), "no key that tokens could be checked with"),
        (json!({"keys": [{"k": "AAAA"}]}), "key 1: not a JSON Web Key"),
        (json!({"keys": many}), "65 keys, 64 at most"),
        (json!({"keys": [secret_key(), secret_key()]}), "key \"s\": two keys of this name"),
        (
            key(secret_key(), &[("k", json!(base64([1; 31])))]),
            "key \"s\": a secret of 31 bytes; HS256 wants 32",
        ),
        (key(secret_key(), &[("k", json!("a+b/"))]), "key \"s\": \"k\" is not base64url"),
        (key(secret_key(), &[("k", json!(null))]), "key \"s\": \"k\" is missing"),
        (key(rsa.clone(), &[("d", json!("AQAB"))]), "key \"r\": it is the private key"),
        (key(rsa.clone(), &[("n", json!(base64([0xff; 128])))]), "key \"r\": an RSA key of 1024 bits"),
        (key(rsa.clone(), &[("e", json!("AQ"))]), "key \"r\": \"n\" and \"e\" are no RSA key"),
        (key(rsa.clone(), &[("e", json!(null))]), "key \"r\": \"e\" is missing"),
        (key(ec.clone(), &[("y", json!(RFC_EC_X))]), "key \"e\": \"x\" and \"y\" are no point of P-256"),
        (key(ec, &[("x", json!("AAAA"))]), "key \"e\": \"x\" and \"y\" are no point of P-256"),
        (json!({"keys": [ed]}), "key 1: \"x\" has 31 bytes"),
        (key(rsa.clone(), &[("use", json!("enc"))]), "no key that tokens could be checked with"),
        (key(rsa.clone(), &[("alg", json!("RS512"))]), "no key that tokens could be checked with"),
        (key(rsa, &[("alg", json!("HS256"))]), "no key that tokens could be checked with"),
    ] {
        let room = Scratch::new();
        let error = try_load(&room, &keys, |_| {}).unwrap_err().to_string();
        assert!(error.contains("keys.json: ") && error.contains(part), "{keys}: {error}");
        assert!(!error.contains(&base64(SECRET)), "{error}");
    }
}

#[test]
fn keys_for_others_are_passed_over_with_a_warning() {
    let rsa =
        json!({"kty": "RSA", "kid": "enc", "use": "enc", "alg": "RSA-OAEP", "n": RFC_RSA_N, "e": "AQAB"});
    let p384 = json!({"kty": "EC", "kid": "big", "crv": "P-384", "x": "AA", "y": "AA"});
    let jwt = load(&json!({"keys": [rsa, p384, secret_key()]}), |_| {});
    assert_eq!(jwt.warnings().len(), 2);
    assert!(
        jwt.warnings()[0].contains("key \"enc\" is passed over: it is for \"enc\""),
        "{:?}",
        jwt.warnings()
    );
    assert!(jwt.warnings()[1].contains("\"P-384\""), "{:?}", jwt.warnings());
    assert!(!format!("{jwt:?}").contains(&base64(SECRET)));
}

#[test]
fn a_secret_that_everybody_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let room = Scratch::new();
    let ec = json!({"kty": "EC", "crv": "P-256", "x": RFC_EC_X, "y": RFC_EC_Y});
    for (keys, refused) in [(json!({"keys": [secret_key()]}), true), (json!({"keys": [ec]}), false)] {
        let path = room.file("keys.json", keys.to_string());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let loaded = Jwt::load(JwtSettings::new(path));
        assert_eq!(matches!(loaded, Err(LoadError::Permissions { .. })), refused, "{loaded:?}");
    }
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let room = Scratch::new();
    let keys = json!({"keys": [secret_key()]});
    let said = |change: fn(&mut JwtSettings)| try_load(&room, &keys, change).unwrap_err().to_string();
    assert!(said(|settings| settings.leeway_s = 601).starts_with("auth_jwt.leeway: "));
    assert!(said(|settings| settings.user_claim = String::new()).starts_with("auth_jwt.user_claim: "));
    assert!(said(|settings| settings.issuer = Some(String::new())).starts_with("auth_jwt.issuer: "));
    assert!(
        said(|settings| settings.keys = "/nowhere/keys".into()).contains("put the issuer's JSON Web Key Set")
    );
}
