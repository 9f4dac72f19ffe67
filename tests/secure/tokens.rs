//! JSON Web Tokens as passwords: what they say, and what does not hold.

use std::time::{Duration, Instant};

use noctule_mqtt::Connect;
use noctule_stomp::Command;
use serde_json::json;

use crate::kit::token::{KEY, in_s, keys, signed, signed_by};
use crate::kit::{DOORS, Files, QOS_1, Served, V5, V311, by};
use crate::mqtt::Client;

const BY_TOKEN: &str =
    "[auth]\nchain = [\"jwt\"]\nmax_failures = 1000\n[auth_jwt]\nkeys = \"{dir}/keys\"\nleeway = \"0s\"\n";

const ACL: &str = r#"
[[acl]]
allow = ["publish"]
topics = ["users/%u/#"]

[[acl]]
allow = ["publish"]
topics = ["ops/#"]
groups = ["ops"]
"#;

fn served() -> Served {
    let files = Files::new();
    files.write("keys", &keys());
    Served::among(files, &[BY_TOKEN, ACL, DOORS].concat())
}

/// With an end, unless there is one.
fn in_time(claims: &serde_json::Value) -> serde_json::Value {
    let mut claims = claims.clone();
    claims.as_object_mut().unwrap().entry("exp").or_insert_with(|| in_s(60).into());
    claims
}

#[track_caller]
fn enter(served: &Served, claims: &serde_json::Value) -> Client {
    let token = signed(&in_time(claims));
    let mut connect = Connect::new(V5, "bearer");
    connect.password = Some(token.as_bytes());
    served.welcome(&connect).0
}

#[test]
fn a_token_says_user_groups_and_rules() {
    let served = served();
    let mut ann = enter(&served, &json!({"sub": "ann", "exp": in_s(60)}));
    assert_eq!(ann.say(QOS_1, "users/ann/x", ""), 0x10);
    assert_eq!(ann.say(QOS_1, "users/bob/x", ""), 0x87);
    assert_eq!(ann.say(QOS_1, "ops/x", ""), 0x87);
    let mut ann = enter(&served, &json!({"sub": "ann", "groups": ["ops"]}));
    assert_eq!(ann.say(QOS_1, "ops/x", ""), 0x10);
    // Rules of its own come first.
    let acl = json!([
        {"verdict": "deny", "topics": ["users/%u/secret"]},
        {"verdict": "allow", "actions": ["publish"], "topics": ["extra/%c"]},
    ]);
    let mut ann = enter(&served, &json!({"sub": "ann", "acl": acl}));
    assert_eq!(ann.say(QOS_1, "users/ann/secret", ""), 0x87);
    assert_eq!(ann.say(QOS_1, "users/ann/x", ""), 0x10);
    assert_eq!(ann.say(QOS_1, "extra/bearer", ""), 0x10);
    assert_eq!(ann.say(QOS_1, "extra/else", ""), 0x87);
}

#[test]
fn forged_and_old_tokens_are_refused() {
    let served = served();
    let good = json!({"sub": "ann", "exp": in_s(60)});
    let unsigned = |token: String| format!("{}.", token.rsplit_once('.').unwrap().0);
    let other = b"another key that is long enough as well";
    let mut tampered = signed(&good).into_bytes();
    let middle = tampered.iter().position(|byte| *byte == b'.').unwrap() + 5;
    tampered[middle] ^= 1;
    for (what, token) in [
        ("another key", signed_by(other, "HS256", &good)),
        ("alg none", unsigned(signed_by(KEY, "none", &good))),
        ("alg none, signed", signed_by(KEY, "none", &good)),
        ("another alg", signed_by(KEY, "HS512", &good)),
        ("no signature", unsigned(signed(&good))),
        ("tampered with", String::from_utf8(tampered).unwrap()),
        ("expired", signed(&json!({"sub": "ann", "exp": in_s(-5)}))),
        ("without an end", signed(&json!({"sub": "ann"}))),
        ("not yet", signed(&in_time(&json!({"sub": "ann", "nbf": in_s(60)})))),
        ("nobody's", signed(&in_time(&json!({})))),
        ("an empty name", signed(&in_time(&json!({"sub": ""})))),
        ("for somebody else", signed(&in_time(&json!({"sub": "ann", "aud": "others"})))),
        ("a name with a wildcard", signed(&in_time(&json!({"sub": "+"})))),
        (
            "rules that can't be read",
            signed(&in_time(&json!({"sub": "ann", "acl": [{"verdict": "perhaps", "topics": ["a"]}]}))),
        ),
        ("no token", "password".to_owned()),
        ("nothing", String::new()),
    ] {
        let mut connect = Connect::new(V5, "forger");
        connect.password = Some(token.as_bytes());
        assert_eq!(served.knock(&connect), 0x86, "{what}");
    }
}

#[test]
fn the_name_beside_a_token_is_the_same_or_none() {
    let served = served();
    let token = signed(&in_time(&json!({"sub": "ann"})));
    assert_eq!(served.knock(&by(V5, "a", "ann", &token)), 0);
    assert_eq!(served.knock(&by(V311, "a", "", &token)), 0);
    assert_eq!(served.knock(&by(V5, "a", "bob", &token)), 0x86);
    assert_eq!(served.stomp_knock(&[("login", "ann"), ("passcode", &token)]).command, Command::Connected);
    assert_eq!(served.stomp_knock(&[("login", "bob"), ("passcode", &token)]).command, Command::Error);
}

#[test]
fn a_connection_ends_with_its_token() {
    let served = served();
    let start = Instant::now();
    // Whole seconds are counted: it holds for four at least, and all of them have to come in by then.
    let claims = json!({"sub": "ann", "exp": in_s(5)});
    let mut v5 = enter(&served, &claims);
    let token = signed(&claims);
    let mut v3 = served.welcome(&by(V311, "three", "ann", &token)).0;
    let mut stomp = served.stomp_raw();
    stomp.connect(noctule_stomp::Version::V12, &[("login", "ann"), ("passcode", &token)]);
    // Traffic does not keep it open.
    v5.ping();
    v5.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    v5.is_sent_away(0x87);
    v3.is_closed();
    stomp.refused();
    let taken = start.elapsed();
    // Long before the keep alive would end them.
    assert!((Duration::from_millis(3_900)..Duration::from_secs(30)).contains(&taken), "{taken:?}");
    assert_ne!(served.knock(&by(V5, "a", "ann", &token)), 0);
}

/// A session outlives its token; the rights that the token brought don't.
#[test]
fn what_a_token_allowed_ends_with_it_in_its_session_too() {
    let served = served();
    let acl = json!([{"verdict": "allow", "topics": ["extra/#"]}]);
    let with = |claims: &serde_json::Value| {
        let token = signed(&in_time(claims));
        let mut connect = crate::kit::lasting(by(V5, "keeper", "ann", &token));
        connect.client_id = "keeper";
        served.welcome(&connect)
    };
    let (mut keeper, _) = with(&json!({"sub": "ann", "acl": acl}));
    keeper.subscribe(QOS_1, "extra/#");
    keeper.bye();
    let mut sender = enter(&served, &json!({"sub": "bob", "acl": acl}));
    sender.say(QOS_1, "extra/x", "while away");
    let (mut keeper, present) = with(&json!({"sub": "ann"}));
    assert!(present);
    sender.say(QOS_1, "extra/x", "later");
    keeper.ping();
    assert_eq!(keeper.next_or_pong(), crate::mqtt::Got::Pong);
}
