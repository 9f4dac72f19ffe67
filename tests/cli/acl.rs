//! `noctule acl explain`: the verdict, the line that decides, and what nearly did.

use crate::process::{Ended, TestFile, file, noctule};

const RULES: &str = r##"[auth]
chain = ["password"]
password_file = "users"

# The first decides.
[[acl]]
# nobody's business
deny = ["subscribe"]
users = ["bob"]
topics = ["plant/secret/#"]

[[acl]]
allow = ["publish", "subscribe"]
users = [
  "alice",
  "bob",
]
topics = ["plant/%u/#", "plant/+/x"]
max_qos = 1
[[acl]]
allow = ["publish", "manage"]
groups = ["ops"]
addresses = ["10.0.0.0/8"]
topics = ["$queue/jobs"]
[log]
level = "info"
"##;

/// Its file is called `FILE` in what it says.
fn explain(rules: &TestFile, arguments: &[&str]) -> (i32, String) {
    let ended = noctule(&[&["acl", "explain", "-c", rules.path()], arguments].concat()).end();
    let Ended { code, out, err, .. } = ended;
    assert!(out.is_empty() != err.is_empty(), "an answer or a mistake: {out}{err}");
    (code, format!("{out}{err}").replace(rules.path(), "FILE"))
}

#[test]
fn the_rule_that_decides_is_shown_with_its_line() {
    let rules = file("acl-decides.toml", RULES.as_bytes());
    let (code, said) = explain(&rules, &["-u", "alice", "-q", "1", "publish", "plant/alice/t"]);
    assert_eq!(code, 0);
    assert_eq!(
        said,
        "allowed: \"alice\" may publish at QoS 1 to plant/alice/t\n\
         FILE:12: allow = [\"publish\", \"subscribe\"]; users = [ \"alice\", \"bob\", ]; topics = [\"plant/%u/#\", \
         \"plant/+/x\"]; max_qos = 1\n  rule 2 is the first about this client, action and topic: allow\n"
    );
    let (code, said) = explain(&rules, &["-u", "alice", "-q", "2", "publish", "plant/alice/t"]);
    assert_eq!((code, said.contains("  rule 2 allows it up to QoS 1, not at QoS 2\n")), (1, true), "{said}");
    let (code, said) = explain(&rules, &["-u", "bob", "receive", "plant/secret/x"]);
    assert_eq!(code, 1);
    assert!(
        said.starts_with("denied: \"bob\" may not be delivered messages of plant/secret/x\nFILE:6: deny = "),
        "{said}"
    );
}

#[test]
fn what_nearly_decided_is_shown_with_the_reason() {
    let rules = file("acl-nearly.toml", RULES.as_bytes());
    let (code, said) = explain(&rules, &["-u", "alice", "--retain", "publish", "plant/alice/t"]);
    assert_eq!(code, 1);
    assert!(
        said.starts_with("denied: \"alice\" may not publish at QoS 0, retained, to plant/alice/t\n"),
        "{said}"
    );
    assert!(said.contains("no rule decides: the default is to deny\n"), "{said}");
    assert!(
        said.contains("passed over, for one reason each:\n  FILE:12: the action is not among actions\n"),
        "{said}"
    );
    let job = ["-u", "eve", "--client", "c", "publish", "/queue/jobs"];
    let (code, said) = explain(&rules, &[&["-g", "ops", "--address", "192.0.2.1"], &job[..]].concat());
    assert_eq!(code, 1);
    assert!(
        said.starts_with("denied: \"eve\" of ops, client \"c\", from 192.0.2.1 may not publish"),
        "{said}"
    );
    assert!(said.contains("/queue/jobs, that is $queue/jobs\n"), "{said}");
    assert!(said.contains("FILE:20: the address is not among addresses\n"), "{said}");
    let (code, _) = explain(&rules, &[&["-g", "ops", "--address", "10.1.1.1"], &job[..]].concat());
    assert_eq!(code, 0);
    let many = format!(
        "{}{}",
        RULES,
        "[[acl]]\nallow = [\"publish\"]\nusers = [\"x\"]\ntopics = [\"a\"]\n".repeat(9)
    );
    let many = file("acl-many.toml", many.as_bytes());
    let (_, said) = explain(&many, &["publish", "a"]);
    assert_eq!(said.matches("the user is not among users").count(), 5, "{said}");
    assert!(said.ends_with("  … and 4 more\n"), "{said}");
}

#[test]
fn a_filter_is_shared_out() {
    let rules = file("acl-filter.toml", RULES.as_bytes());
    let (code, said) = explain(&rules, &["-u", "bob", "subscribe", "$share/g/plant/#"]);
    assert_eq!(code, 0);
    assert!(
        said.starts_with(
            "allowed: \"bob\" may subscribe to $share/g/plant/#, that is plant/#, at most at QoS 1\n"
        ),
        "{said}"
    );
    assert!(
        said.contains(
            "of plant/#, in this order:\n  deny   plant/secret/#  (FILE:6)\n  allow  plant/%u/#, at most at QoS 1  (FILE:12)\n  \
             allow  plant/+/x, at most at QoS 1  (FILE:12)\n  deny   the rest  (no rule: the default)\n"
        ),
        "{said}"
    );
    let (code, said) = explain(&rules, &["-u", "bob", "subscribe", "/topic/plant/secret/#"]);
    assert_eq!(code, 1);
    assert!(said.contains("subscribe to /topic/plant/secret/#, that is plant/secret/#\nFILE:6: "), "{said}");
    assert!(!said.contains("allow  "), "{said}");
    assert_eq!(
        explain(&rules, &["-u", "eve", "-g", "ops", "--address", "10.0.0.1", "manage", "/queue/jobs"]).0,
        0
    );
}

#[test]
fn without_rules_everything_is_allowed_but_the_brokers_own() {
    let rules = file("acl-none.toml", b"");
    let (code, said) = explain(&rules, &["publish", "a"]);
    assert_eq!(code, 0);
    assert_eq!(
        said,
        "allowed: an anonymous client may publish at QoS 0 to a\n  there are no rules, and nobody is authenticated\n"
    );
    let (code, said) = explain(&rules, &["publish", "$SYS/a"]);
    assert_eq!((code, said.contains("the broker's own")), (1, true), "{said}");
}

#[test]
fn what_can_not_be_asked_is_said() {
    let rules = file("acl-wrong.toml", RULES.as_bytes());
    for (arguments, said) in [
        (&["publish", "a/#"][..], "has the wildcard '#'"),
        (&["subscribe", "a/#/b"], "a/#/b"),
        (&["publish", "/temp-queue/a"], "is the connection's own; no rule is asked about it"),
        (&["subscribe", "/queue/a*+"], "/queue/a*+"),
        (&["subscribe", "--retain", "a"], "--retain goes with publish"),
        (&["publish", "a", "--group", "g"], "--user"),
        (&["publish", "a", "--address", "here"], "--address"),
        (&["eat", "a"], "publish"),
    ] {
        let (code, text) = explain(&rules, arguments);
        assert_eq!((code, text.contains(said)), (2, true), "{arguments:?}: {text}");
    }
    let bad = file("acl-bad.toml", b"[[acl]]\nallow = [\"publish\"]\n");
    let (code, said) = explain(&bad, &["publish", "a"]);
    assert_eq!((code, said.starts_with("FILE:1:1: acl.topics: it is missing")), (2, true), "{said}");
    let none = noctule(&["acl", "explain", "-c", "no/such/file", "publish", "a"]).end();
    assert_eq!(
        (none.code, none.err.starts_with("no/such/file: cannot be read: ")),
        (2, true),
        "{}",
        none.err
    );
}

#[test]
fn help_is_h_and_says_what_the_exit_codes_mean() {
    let help = noctule(&["acl", "explain", "-h"]).end().succeeds();
    assert!(help.contains("Examples:") && help.contains("Exit codes: 0 allowed, 1 denied"), "{help}");
}
