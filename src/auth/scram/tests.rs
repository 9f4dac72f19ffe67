//! The exchange against RFC 7677's example and against a client of our own that does everything wrong in turn.

use std::sync::Arc;

use noctule_mqtt::server::{AuthMethod, AuthStep, Exchange};

use super::exchange::{Server, State, unescaped};
use super::*;

const USER: &str = "user";
const PASSWORD: &str = "pencil";

/// One user; everybody else is a stranger.
#[derive(Debug)]
struct One {
    user: String,
    verifier: Verifier,
}

impl Accounts for One {
    fn verifier(&self, user: &str) -> (Verifier, Decided) {
        if user == self.user {
            return (self.verifier.clone(), Decided::Open);
        }
        // The worst case: the stranger's verifier is fulfilled by the very password he has.
        (self.verifier.clone(), Decided::Against)
    }
}

fn accounts(user: &str) -> Arc<One> {
    let iterations = NonZeroU32::new(4_096).unwrap();
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    Arc::new(One { user: user.to_owned(), verifier: Verifier::with(PASSWORD, &salt, iterations) })
}

fn server(user: &str) -> Box<dyn Exchange> {
    Scram::new(accounts(user)).begin()
}

fn next(exchange: &mut dyn Exchange, message: &str) -> String {
    match exchange.step(message.as_bytes()) {
        AuthStep::Continue(data) => String::from_utf8(data).unwrap(),
        other => panic!("{message}: {other:?}"),
    }
}

fn fails(exchange: &mut dyn Exchange, message: &str) -> &'static str {
    match exchange.step(message.as_bytes()) {
        AuthStep::Failure(why) => why,
        other => panic!("{message}: {other:?}"),
    }
}

/// The client's half, written from the RFC and not from the server.
fn proof(password: &str, first_bare: &str, server_first: &str, without_proof: &str) -> (String, String) {
    let part = |name: &str| {
        let part = server_first.split(',').find_map(|part| part.strip_prefix(name));
        part.unwrap_or_else(|| panic!("{name} in {server_first}")).to_owned()
    };
    let salt = STANDARD.decode(part("s=")).unwrap();
    let iterations: u32 = part("i=").parse().unwrap();
    // Hi(), as section 2.2 has it.
    let mut u = hmac_sha256(password.as_bytes(), &[&salt[..], &[0, 0, 0, 1]].concat());
    let mut salted = u;
    for _ in 1..iterations {
        u = hmac_sha256(password.as_bytes(), &u);
        salted.iter_mut().zip(u).for_each(|(byte, other)| *byte ^= other);
    }
    let client_key = hmac_sha256(&salted, b"Client Key");
    let said = format!("{first_bare},{server_first},{without_proof}");
    let signature = hmac_sha256(&sha256(&client_key), said.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, mask)| key ^ mask).collect();
    let answer = hmac_sha256(&hmac_sha256(&salted, b"Server Key"), said.as_bytes());
    (STANDARD.encode(proof), format!("v={}", STANDARD.encode(answer)))
}

/// The whole exchange of a client with this header, name and password.
fn talk(
    exchange: &mut dyn Exchange,
    header: &str,
    name: &str,
    password: &str,
) -> Result<Box<str>, &'static str> {
    let bare = format!("n={name},r=rOprNGfwEbeRWgbNEkqO");
    let first = next(exchange, &format!("{header}{bare}"));
    let nonce = first.split(',').next().unwrap();
    let without = format!("c={},{nonce}", STANDARD.encode(header));
    let (proof, answer) = proof(password, &bare, &first, &without);
    match exchange.step(format!("{without},p={proof}").as_bytes()) {
        AuthStep::Success { user, data } => {
            assert_eq!(String::from_utf8(data.unwrap()).unwrap(), answer, "the server's own proof");
            Ok(user.unwrap())
        }
        AuthStep::Failure(why) => Err(why),
        AuthStep::Continue(_) => panic!(),
    }
}

#[test]
fn the_example_of_rfc_7677() {
    let nonce = Some("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned());
    let mut exchange = Server { accounts: accounts(USER), nonce, state: State::Begun };
    assert_eq!(
        next(&mut exchange, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let success = AuthStep::Success {
        user: Some("user".into()),
        data: Some(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec()),
    };
    assert_eq!(exchange.step(last.as_bytes()), success);
    fails(&mut exchange, last);
}

#[test]
fn every_header_without_binding_works_and_nonces_are_fresh() {
    for header in ["n,,", "y,,", "n,a=user,"] {
        assert_eq!(talk(&mut *server(USER), header, USER, PASSWORD).as_deref(), Ok(USER), "{header}");
    }
    let first = "n,,n=user,r=abc";
    assert_ne!(next(&mut *server(USER), first), next(&mut *server(USER), first));
}

#[test]
fn a_wrong_password_and_a_stranger_fail_alike_and_late() {
    let wrong = talk(&mut *server(USER), "n,,", USER, "pencil2").unwrap_err();
    let stranger = talk(&mut *server(USER), "n,,", "eve", PASSWORD).unwrap_err();
    assert_eq!(wrong, stranger);
    assert_eq!(wrong, "the SCRAM proof is wrong");
}

#[test]
fn names_with_commas_and_equal_signs_are_escaped() {
    assert_eq!(talk(&mut *server("a,b=c"), "n,,", "a=2Cb=3Dc", PASSWORD).as_deref(), Ok("a,b=c"));
    assert_eq!(talk(&mut *server("a=2C"), "n,,", "a=3D2C", PASSWORD).as_deref(), Ok("a=2C"), "only once");
    assert_eq!(unescaped("a=2C=3D"), Some("a,=".to_owned()));
    for wrong in ["a=", "a=2", "a=2c", "a=41", "=", "a=€"] {
        assert_eq!(unescaped(wrong), None, "{wrong}");
    }
}

#[test]
fn a_first_message_that_is_wrong_ends_the_exchange() {
    let long_nonce = format!("n,,n=user,r={}", "x".repeat(257));
    let long = format!("n,,n={},r=x", "x".repeat(5_000));
    for (message, part) in [
        ("", "without a header"),
        ("n", "without a header"),
        ("n,n=user,r=abc", "without a name"),
        ("p=tls-unique,,n=user,r=abc", "channel binding, which is not offered"),
        ("p=tls-server-end-point,,n=user,r=abc", "channel binding, which is not offered"),
        ("x,,n=user,r=abc", "unknown channel binding flag"),
        (",,n=user,r=abc", "unknown channel binding flag"),
        ("n,a=admin,n=user,r=abc", "act for somebody else"),
        ("n,b=x,n=user,r=abc", "unknown header"),
        ("n,,m=x,n=user,r=abc", "must be understood"),
        ("n,,r=abc,n=user", "without a name"),
        ("n,,n=,r=abc", "no user can have"),
        ("n,,n=a+b,r=abc", "no user can have"),
        ("n,,n=a\0,r=abc", "no user can have"),
        ("n,,n=a/b,r=abc", "no user can have"),
        ("n,,n=a=b,r=abc", "stands for nothing"),
        ("n,,n=user", "without a nonce"),
        ("n,,n=user,r=", "without a nonce"),
        ("n,,n=user,r=a b", "without a nonce"),
        ("n,,n=user,r=ä", "without a nonce"),
        (&long_nonce, "without a nonce"),
        (&long, "too long"),
    ] {
        let mut exchange = server(USER);
        let why = fails(&mut *exchange, message);
        assert!(why.contains(part), "{message}: {why}");
        assert_eq!(fails(&mut *exchange, "n,,n=user,r=abc"), "a SCRAM message after the end", "{message}");
    }
    assert!(matches!(server(USER).step(b"n,,n=\xff,r=a"), AuthStep::Failure(_)));
}

#[test]
fn a_last_message_that_is_wrong_ends_the_exchange() {
    let bare = "n=user,r=abc";
    for (change, part) in [
        (("c=biws", "c=eSws"), "another header"),
        (("c=biws", "c=cD10bHMtdW5pcXVlLCw="), "another header"),
        (("c=biws", "x=biws"), "another header"),
        (("c=biws", "c=!"), "another header"),
        (("r=abc", "r=abd"), "another nonce"),
        (("r=abc", "x=abc"), "another nonce"),
        ((",p=", ",q="), "without a proof"),
        ((",p=", ",p=AAAA"), "that is none"),
        ((",p=", ",x=1,p="), "proof is wrong"),
    ] {
        let mut exchange = server(USER);
        let first = next(&mut *exchange, &format!("n,,{bare}"));
        let without = format!("c=biws,{}", first.split(',').next().unwrap());
        let (proof, _) = proof(PASSWORD, bare, &first, &without);
        let last = format!("{without},p={proof}").replacen(change.0, change.1, 1);
        let why = fails(&mut *exchange, &last);
        assert!(why.contains(part), "{last}: {why}");
    }
    // The server's part of the nonce cut off: somebody else's first half.
    let mut exchange = server(USER);
    next(&mut *exchange, &format!("n,,{bare}"));
    let why = fails(&mut *exchange, "c=biws,r=abc,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert!(why.contains("another nonce"));
}

#[test]
fn a_proof_serves_once() {
    let bare = "n=user,r=abc";
    let mut exchange = server(USER);
    let first = next(&mut *exchange, &format!("n,,{bare}"));
    let without = format!("c=biws,{}", first.split(',').next().unwrap());
    let (proof, _) = proof(PASSWORD, bare, &first, &without);
    let last = format!("{without},p={proof}");
    assert!(matches!(exchange.step(last.as_bytes()), AuthStep::Success { .. }));
    let mut another = server(USER);
    next(&mut *another, &format!("n,,{bare}"));
    assert_eq!(fails(&mut *another, &last), "SCRAM with another nonce than before");
}

#[test]
fn a_verifier_is_written_as_postgresql_writes_it() {
    // The keys of RFC 7677's example, in PostgreSQL's form.
    let text = accounts(USER).verifier.to_string();
    assert_eq!(
        text,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
         wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    );
    assert_eq!(Verifier::parse(&text).unwrap().to_string(), text);
    assert!(!format!("{:?}", accounts(USER)).contains("WG5d"));
    for (wrong, part) in [
        (text.replace("256$", "1$"), "a SCRAM verifier is"),
        (text.replace("4096", "4095"), "RFC 7677 wants 4096"),
        (text.replace("4096", "+4096"), "RFC 7677 wants 4096"),
        (text.replace("4096", "99999999"), "10000000 at most"),
        (text.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "AAAA"), "salt of 3 bytes"),
        (text.replace("2dU=", ""), "was it cut off?"),
        (text.replace(":wf", "wf"), "was it cut off?"),
        (text.replace("$WG", ":WG"), "was it cut off?"),
        (format!("{text}="), "was it cut off?"),
    ] {
        let problem = Verifier::parse(&wrong).unwrap_err();
        assert!(problem.contains(part), "{wrong}: {problem}");
    }
}

#[test]
fn a_verifier_is_made_of_what_needs_no_preparation() {
    assert!(Verifier::can_be_of("correct horse ~!"));
    for other in ["", "grün", "a\u{a0}b", "tab\t", "\u{7f}"] {
        assert!(!Verifier::can_be_of(other), "{other:?}");
    }
    assert_eq!(Verifier::of(PASSWORD).unwrap().iterations(), 15_000);
}

#[test]
fn the_name_that_is_claimed_is_the_one_that_is_proved() {
    for (first, name) in [
        ("n,,n=user,r=abc", Some("user")),
        ("y,a=other,n=user,r=abc,x=more", Some("user")),
        ("n,,n=a=2Cb=3Dc,r=abc", Some("a,b=c")),
        ("n,,n=user", Some("user")),
        ("n,,m=ext,n=user,r=abc", None),
        ("n,,n=,r=abc", None),
        ("n,,n=a/b,r=abc", None),
        ("n,,n=a=b,r=abc", None),
        ("n,n=user", None),
        ("", None),
    ] {
        assert_eq!(claimed(first.as_bytes()).as_deref(), name, "{first}");
    }
    assert_eq!(claimed(b"n,,n=\xff,r=abc"), None);
}
