//! Every way to say who one is with a password, and every way not to.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use noctule_mqtt::Connect;
use noctule_stomp::Command;
use ring::pbkdf2;

use crate::kit::{
    BAD_CREDENTIALS, BY_PASSWORD, DOORS, FREE, Files, NOT_AUTHORIZED, QOS_1, RIGHT, Served, V5, V311,
    VERSIONS, by, token, user,
};

#[test]
fn a_right_password_leads_in_and_a_wrong_one_does_not() {
    let served = Served::start();
    for version in VERSIONS {
        assert_eq!(served.knock(&by(version, "a", "ann", RIGHT)), 0);
        for (user, password) in [
            ("ann", "wrong"),
            ("ann", ""),
            ("ann", "correct horse "),
            ("Ann", RIGHT),
            ("ann ", RIGHT),
            ("nobody", RIGHT),
            ("", RIGHT),
            ("", ""),
        ] {
            let code = served.knock(&by(version, "a", user, password));
            assert_eq!(code, BAD_CREDENTIALS, "{user:?} with {password:?}");
        }
    }
}

#[test]
fn half_of_the_credentials_and_none_lead_nowhere() {
    let served = Served::start();
    for version in VERSIONS {
        assert_eq!(served.knock(&Connect::new(version, "none")), NOT_AUTHORIZED);
        let mut user_only = Connect::new(version, "user only");
        for user in ["ann", ""] {
            user_only.user_name = Some(user);
            assert_eq!(served.knock(&user_only), BAD_CREDENTIALS, "{user:?} without a password");
        }
    }
    let mut password_only = Connect::new(V5, "password only");
    password_only.password = Some(RIGHT.as_bytes());
    assert_eq!(served.knock(&password_only), 0x86);
}

#[test]
fn a_line_of_mosquitto_is_as_good() {
    let (salt, rounds) = ([7; 12], NonZeroU32::new(1_000).unwrap());
    let mut output = [0; 64];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, &salt, b"from before", &mut output);
    let files = Files::new();
    let line = format!("old:$7$1000${}${}\n", STANDARD.encode(salt), STANDARD.encode(output));
    files.write("users", &(user("ann", &[]) + &line));
    let served = Served::among(files, &[BY_PASSWORD, FREE, DOORS].concat());
    assert_eq!(served.knock(&by(V5, "a", "old", "from before")), 0);
    assert_eq!(served.knock(&by(V5, "a", "old", RIGHT)), 0x86);
    assert_eq!(served.knock(&by(V5, "a", "ann", RIGHT)), 0);
    assert_eq!(served.knock(&by(V5, "a", "ann", "from before")), 0x86);
}

#[test]
fn stomp_asks_the_same_users() {
    let served = Served::start();
    let knock = |headers| served.stomp_knock(headers).command;
    assert_eq!(knock(&[("login", "ann"), ("passcode", RIGHT)]), Command::Connected);
    let refused: [&[(&str, &str)]; 6] = [
        &[],
        &[("login", "ann")],
        &[("passcode", RIGHT)],
        &[("login", "ann"), ("passcode", "wrong")],
        &[("login", ""), ("passcode", "")],
        &[("login", "nobody"), ("passcode", RIGHT)],
    ];
    for headers in refused {
        assert_eq!(knock(headers), Command::Error, "{headers:?}");
    }
}

/// Clients disagree on whether CONNECT is escaped; a passcode may be meant either way (STOMP 1.2, "Value Encoding").
#[test]
fn a_passcode_is_read_both_ways() {
    let files = Files::new();
    let password = |name: &str, password: &str| {
        let hash = noctule::auth::password::Hash::of(password.as_bytes()).unwrap();
        format!("{name}:{hash}\n")
    };
    files.write("users", &(password("raw", r"a\cb") + &password("escaped", "a:b")));
    let served = Served::among(files, &[BY_PASSWORD, FREE, DOORS].concat());
    for user in ["raw", "escaped"] {
        let mut client = served.stomp_raw();
        let frame = format!("CONNECT\naccept-version:1.2\nhost:/\nlogin:{user}\npasscode:a\\cb\n\n\0");
        client.raw(frame.as_bytes());
        assert_eq!(client.next().command, Command::Connected, "{user}");
    }
    let mut client = served.stomp_raw();
    client.raw(b"CONNECT\naccept-version:1.2\nhost:/\nlogin:raw\npasscode:a:b\n\n\0");
    assert_eq!(client.next().command, Command::Error, "nobody reads that as an escape");
}

/// The first reading of a login that is right by the second is no guess.
#[test]
fn whoever_is_right_by_the_second_reading_never_has_to_wait() {
    let files = Files::new();
    let hash = noctule::auth::password::Hash::of(b"a:b").unwrap();
    files.write("users", &(user("ann", &[]) + &format!("escaped:{hash}\n")));
    let strict = "max_failures = 1\n";
    let served = Served::among(files, &[BY_PASSWORD, strict, FREE, DOORS].concat());
    // An address has ten times as many failures.
    for number in 0..12 {
        let mut client = served.stomp_raw();
        client.raw(b"CONNECT\naccept-version:1.2\nhost:/\nlogin:escaped\npasscode:a\\cb\n\n\0");
        let answer = client.next();
        assert_eq!(answer.command, Command::Connected, "login {number}: {answer:?}");
        // 1.0, which has a space behind the colon with some.
        let mut client = served.stomp_raw();
        client.raw(format!("CONNECT\nlogin: ann\npasscode: {RIGHT}\n\n\0").as_bytes());
        let answer = client.next();
        assert_eq!(answer.command, Command::Connected, "login {number} of 1.0: {answer:?}");
    }
    assert_eq!(served.knock(&by(V5, "neighbour", "ann", RIGHT)), 0);
}

/// Two readings are one guess, and it counts.
#[test]
fn who_guesses_with_two_readings_has_to_wait_as_well() {
    let strict = "max_failures = 2\nbackoff = \"60s\"\n";
    let served = Served::with(&[BY_PASSWORD, strict, FREE, DOORS].concat());
    let guess = |passcode: &str| {
        let mut client = served.stomp_raw();
        let frame = format!("CONNECT\naccept-version:1.2\nhost:/\nlogin:ann\npasscode:{passcode}\n\n\0");
        client.raw(frame.as_bytes());
        client.next().command
    };
    for number in 0..3 {
        assert_eq!(guess(&format!("{number}\\cx")), Command::Error);
    }
    assert_eq!(guess(RIGHT), Command::Error, "ann has to wait here");
}

#[test]
fn anonymous_clients_have_rules_of_their_own_beside_users() {
    let doors = DOORS.replace("anonymous = false", "anonymous = true");
    let acl = r#"
[[acl]]
allow = ["publish"]
topics = ["guests/#"]
anonymous = true

[[acl]]
allow = ["publish"]
topics = ["users/#"]
users = ["*"]
"#;
    let served = Served::with(&[BY_PASSWORD, acl, &doors].concat());
    let mut guest = served.welcome(&Connect::new(V5, "guest")).0;
    assert_eq!(guest.say(QOS_1, "guests/a", ""), 0x10, "nobody subscribes");
    assert_eq!(guest.say(QOS_1, "users/a", ""), 0x87);
    let mut ann = served.client(V5, "ann", "ann");
    assert_eq!(ann.say(QOS_1, "users/a", ""), 0x10);
    assert_eq!(ann.say(QOS_1, "guests/a", ""), 0x87);
    // Who says who he is and can't prove it is not let in as nobody.
    for version in VERSIONS {
        assert_eq!(served.knock(&by(version, "liar", "ann", "wrong")), BAD_CREDENTIALS);
    }
    assert_eq!(served.stomp_knock(&[]).command, Command::Connected);
    assert_eq!(served.stomp_knock(&[("login", "ann"), ("passcode", "wrong")]).command, Command::Error);
}

#[test]
fn a_listener_has_its_own_way_in() {
    let own = |auth: &str| {
        format!("{DOORS}\n[[listener]]\naddress = \"127.0.0.1:0\"\nanonymous = true\nauth = {auth}\n")
    };
    let served = Served::with(&[BY_PASSWORD, FREE, &own("[]")].concat());
    // No way at all: credentials are not looked at, and whoever comes is nobody.
    assert_eq!(served.knock_at(2, &by(V5, "a", "ann", "wrong")), 0);
    assert_eq!(served.knock(&by(V5, "a", "ann", "wrong")), 0x86);

    let without = format!("[auth]\npassword_file = \"{{dir}}/users\"\n{FREE}");
    let doors = format!(
        "{}\n[[listener]]\naddress = \"127.0.0.1:0\"\nanonymous = false\nauth = [\"password\"]\n",
        DOORS.replace("anonymous = false", "anonymous = true")
    );
    let served = Served::with(&(without + &doors));
    assert_eq!(served.knock(&by(V5, "a", "ann", "wrong")), 0);
    assert_eq!(served.knock_at(2, &by(V5, "a", "ann", "wrong")), 0x86);
    assert_eq!(served.knock_at(2, &Connect::new(V5, "a")), 0x87);
    assert_eq!(served.knock_at(2, &by(V5, "a", "ann", RIGHT)), 0);
}

#[test]
fn methods_are_asked_in_their_order() {
    // A token that is ann's password as well: whoever is asked first decides.
    let forged = token::signed_by(
        b"somebody else's key, which is long",
        "HS256",
        &serde_json::json!({"sub": "ann", "exp": token::in_s(60)}),
    );
    let hash = noctule::auth::password::Hash::of(forged.as_bytes()).unwrap();
    for (chain, code) in [(r#"["password", "jwt"]"#, 0), (r#"["jwt", "password"]"#, 0x86)] {
        let files = Files::new();
        files.write("users", &format!("ann:{hash}\n"));
        files.write("keys", &token::keys());
        let auth = format!(
            "[auth]\nchain = {chain}\npassword_file = \"{{dir}}/users\"\n[auth_jwt]\nkeys = \"{{dir}}/keys\"\n"
        );
        let served = Served::among(files, &[&auth, FREE, DOORS].concat());
        assert_eq!(served.knock(&by(V5, "a", "ann", &forged)), code, "{chain}");
        // What the first has nothing to say of is the second's.
        let right = token::signed(&serde_json::json!({"sub": "zoe", "exp": token::in_s(60)}));
        assert_eq!(served.knock(&by(V5, "a", "zoe", &right)), 0, "{chain}");
    }
}

#[test]
fn mqtt_3_and_stomp_are_told_no_more_than_they_need() {
    let served = Served::start();
    assert_eq!(served.knock(&by(V311, "a", "nobody", RIGHT)), served.knock(&by(V311, "a", "ann", "wrong")));
    let stranger = served.stomp_knock(&[("login", "nobody"), ("passcode", RIGHT)]);
    let guesser = served.stomp_knock(&[("login", "bob"), ("passcode", "wrong")]);
    assert_eq!(stranger, guesser, "nobody learns which users there are");
}
