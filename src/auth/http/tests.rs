//! A backend of our own that says everything there is to say, over TCP and over TLS.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use noctule_core::id::{ConnId, Now, WorkerId};
use serde_json::{Value, json};

use super::super::question::{Method, Ticket};
use super::super::rule::Permission;
use super::super::scratch::Scratch;
use super::super::secret::Secret;
use super::*;
use crate::ports::free_port;

const NOW: Now = Now { mono_ms: 1_000_000, wall_ms: 1_800_000_000_000 };

fn question() -> Question {
    Question {
        ticket: Ticket { worker: WorkerId(0), conn: ConnId { slot: 1, generation: 2 } },
        now: NOW,
        methods: [Method::Http].into(),
        protocol: "mqtt",
        user: Some("alice".into()),
        password: Some(Secret::copy_of(b"wonderland")),
        client_id: "press-7".into(),
        address: Some("::ffff:10.0.0.7".parse().unwrap()),
        certificate: None,
        peer: None,
        read_otherwise: None,
    }
}

/// Reads one request; its head and its body.
fn request(stream: &mut impl BufRead) -> Option<(String, Value)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    Some((head, serde_json::from_slice(&body).unwrap()))
}

/// A backend that gives one answer per request, and then is gone; what it was asked comes out of the channel, together with
/// which connection it came on.
fn backend(answers: Vec<String>) -> (String, Receiver<(usize, String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/auth?x=1", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter().peekable();
        for number in 0.. {
            if answers.peek().is_none() {
                return;
            }
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            while answers.peek().is_some()
                && let Some((head, body)) = request(&mut stream)
            {
                let _ = sender.send((number, head, body));
                let answer = answers.next().unwrap();
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                if answer.contains("close") {
                    break;
                }
            }
        }
    });
    (url, receiver)
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn load(url: &str, change: impl FnOnce(&mut HttpSettings)) -> Callback {
    let mut settings = HttpSettings::new(url.to_owned());
    change(&mut settings);
    Callback::load(&settings).unwrap()
}

/// The verdict after this answer.
fn after(answer: String) -> Verdict {
    let (url, _) = backend(vec![answer]);
    load(&url, |_| {}).decide(&question())
}

fn kind(verdict: &Verdict) -> Option<Kind> {
    match verdict {
        Verdict::Accepted(_) => None,
        Verdict::Denied(denial) => Some(denial.kind),
    }
}

#[test]
fn the_question_says_what_is_known() {
    let (url, asked) = backend(vec![answer(403, ""), answer(403, "")]);
    let url = url.replace("http://", "http://noctule:key@");
    let callback = load(&url, |_| {});
    let _ = callback.decide(&question());
    let (_, head, body) = asked.recv().unwrap();
    assert!(head.starts_with("POST /auth?x=1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{head}");
    assert!(head.contains("Authorization: Basic bm9jdHVsZTprZXk=\r\n"), "{head}");
    assert_eq!(
        body,
        json!({"protocol": "mqtt", "user": "alice", "password": "wonderland", "client_id": "press-7",
            "address": "10.0.0.7"})
    );
    let binary = Question {
        user: None,
        password: Some(Secret::copy_of(b"\xff\0")),
        address: None,
        certificate: Some("press".into()),
        peer: Some("pi".into()),
        ..question()
    };
    let _ = callback.decide(&binary);
    assert_eq!(
        asked.recv().unwrap().2,
        json!({"protocol": "mqtt", "password_base64": "/wA=", "client_id": "press-7", "certificate": "press",
            "peer": "pi"})
    );
    assert!(!format!("{callback:?}").contains("key") && !format!("{callback:?}").contains("bm9j"));
}

#[test]
fn a_yes_says_who_and_what() {
    let body = json!({"allow": true, "user": "al", "groups": ["ops"], "expires": 1_800_000_060_u64,
        "acl": [{"verdict": "deny", "topics": ["#"]}]});
    let Verdict::Accepted(grant) = after(answer(200, &body.to_string())) else { panic!() };
    assert_eq!((&*grant.user, grant.expires), ("al", Some(1_800_000_060_000)));
    assert_eq!(grant.groups, ["ops".into()]);
    assert_eq!(grant.rules.unwrap()[0].verdict, Permission::Deny);
    for bare in [answer(200, r#"{"allow":true}"#), answer(204, "")] {
        assert_eq!(after(bare), Verdict::Accepted(Grant::of("alice".into(), vec![])));
    }
}

#[test]
fn a_no_is_one_and_whatever_is_neither_opens_nothing() {
    assert_eq!(kind(&after(answer(200, r#"{"allow":false,"user":"alice"}"#))), Some(Kind::BadCredentials));
    assert_eq!(kind(&after(answer(401, r#"{"allow":true}"#))), Some(Kind::BadCredentials));
    assert_eq!(kind(&after(answer(403, ""))), Some(Kind::NotAuthorized));
    let many: Vec<String> = (0..65).map(|n| format!("g{n}")).collect();
    for wrong in [
        answer(200, ""),
        answer(200, "true"),
        answer(200, "{}"),
        answer(200, r#"{"allow":"true"}"#),
        answer(200, r#"{"allow":1}"#),
        answer(200, r#"{"allow":true,"allow":false}"#),
        answer(200, r#"{"allow":true}x"#),
        answer(200, r#"{"allow":true,"acls":[]}"#),
        answer(200, r#"{"allow":true,"user":""}"#),
        answer(200, r#"{"allow":true,"user":"a/b"}"#),
        answer(200, r##"{"allow":true,"user":"#"}"##),
        answer(200, r#"{"allow":true,"groups":["+"]}"#),
        answer(200, &json!({"allow": true, "groups": many}).to_string()),
        answer(200, r#"{"allow":true,"acl":[{"verdict":"allow"}]}"#),
        answer(200, r#"{"allow":true,"expires":1700000000}"#),
        answer(200, r#"{"allow":true,"expires":"tomorrow"}"#),
        answer(201, r#"{"allow":true}"#),
        answer(301, ""),
        answer(404, ""),
        answer(500, r#"{"allow":true}"#),
        answer(503, ""),
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n{\"allow\":true}".to_owned(),
        "close".to_owned(),
    ] {
        assert_eq!(kind(&after(wrong.clone())), Some(Kind::ServerUnavailable), "{wrong}");
    }
}

#[test]
fn somebody_without_a_name_needs_one_from_the_backend() {
    let nameless = || Question { user: None, ..question() };
    for (said, user) in [(answer(204, ""), None), (answer(200, r#"{"allow":true,"user":"al"}"#), Some("al"))]
    {
        let (url, _) = backend(vec![said]);
        match load(&url, |_| {}).decide(&nameless()) {
            Verdict::Accepted(grant) => assert_eq!(Some(&*grant.user), user),
            Verdict::Denied(denial) => assert!(user.is_none() && denial.kind == Kind::ServerUnavailable),
        }
    }
}

#[test]
fn a_backend_that_is_not_there_or_slow_denies_in_time() {
    let gone = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let verdict = load(&format!("http://{gone}"), |_| {}).decide(&question());
    assert_eq!(kind(&verdict), Some(Kind::ServerUnavailable));
    let Verdict::Denied(denial) = verdict else { panic!() };
    assert!(
        denial.why.starts_with(&gone.to_string()) && !denial.why.contains("wonderland"),
        "{}",
        denial.why
    );

    // It takes the connection and sends a byte now and then, for ever.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let before = std::time::Instant::now();
    let verdict = load(&url, |settings| settings.timeout_ms = 200).decide(&question());
    let Verdict::Denied(denial) = verdict else { panic!() };
    assert_eq!(denial.kind, Kind::ServerUnavailable);
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

/// A service may count what it is asked (one-time passwords): only what it can't have answered is asked twice.
#[test]
fn a_broken_answer_on_a_kept_connection_is_an_answer() {
    let torn = "HTTP/1.1 200 X\r\nContent-Length: 99\r\nX: close\r\n\r\n{".to_owned();
    for broken in [torn, "close? this is no HTTP\r\n\r\n".to_owned()] {
        let (url, asked) = backend(vec![answer(204, ""), broken.clone(), answer(204, "")]);
        let callback = load(&url, |settings| settings.ttl_ms = 0);
        assert_eq!(kind(&callback.decide(&question())), None);
        assert_eq!(kind(&callback.decide(&question())), Some(Kind::ServerUnavailable), "{broken:?}");
        assert_eq!(asked.try_iter().count(), 2, "{broken:?}");
        // The next one begins anew.
        assert_eq!(kind(&callback.decide(&question())), None);
    }
}

#[test]
fn connections_are_kept_and_replaced_when_they_have_gone() {
    let close = "HTTP/1.1 204 X\r\nConnection: close\r\n\r\n".to_owned();
    let (url, asked) =
        backend(vec![answer(204, ""), answer(204, ""), close, answer(204, ""), answer(204, "")]);
    let callback = load(&url, |settings| settings.ttl_ms = 0);
    let mut connections = Vec::new();
    for _ in 0..4 {
        assert_eq!(kind(&callback.decide(&question())), None);
        connections.push(asked.recv().unwrap().0);
    }
    assert_eq!(connections, [0, 0, 0, 1]);

    // One that closes without a word after each answer: what was kept is found dead, and another is made.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let _ = request(&mut stream);
            stream.get_mut().write_all(answer(204, "").as_bytes()).unwrap();
        }
    });
    let callback = load(&url, |settings| settings.ttl_ms = 0);
    for round in 0..3 {
        assert_eq!(kind(&callback.decide(&question())), None, "{round}");
    }
}

#[test]
fn answers_are_remembered_for_their_time_and_their_question_alone() {
    let yes = answer(200, r#"{"allow":true,"expires":1800000030}"#);
    let (url, asked) = backend(vec![yes.clone(), answer(401, ""), answer(500, ""), answer(204, ""), yes]);
    let callback = load(&url, |_| {});
    let decide = |question: Question| kind(&callback.decide(&question));
    let at = |ms| Now { mono_ms: NOW.mono_ms + ms, wall_ms: NOW.wall_ms + ms };
    let count = || asked.try_iter().count();
    assert_eq!(decide(question()), None);
    assert_eq!(decide(Question { now: at(29_999), ..question() }), None);
    assert_eq!(count(), 1, "the second was remembered");
    assert_eq!(decide(Question { now: at(30_000), ..question() }), Some(Kind::BadCredentials), "has expired");
    assert_eq!(count(), 0);

    let bob = || Question { user: Some("bob".into()), ..question() };
    assert_eq!(decide(bob()), Some(Kind::BadCredentials));
    assert_eq!(decide(Question { now: at(4_999), ..bob() }), Some(Kind::BadCredentials));
    assert_eq!(count(), 1, "a no too");
    assert_eq!(decide(Question { now: at(5_000), ..bob() }), Some(Kind::ServerUnavailable));
    assert_eq!(
        decide(Question { now: at(5_000), ..bob() }),
        None,
        "that nobody could tell is not remembered"
    );
    assert_eq!(count(), 2);
    // Anything else about the question makes it another.
    assert_eq!(decide(Question { client_id: "press-8".into(), ..question() }), None);
    assert_eq!(count(), 1);
}

#[test]
fn every_part_of_a_question_makes_it_another() {
    let tag = Remembered::new(&HttpSettings::new(String::new())).unwrap();
    let of = |question: Question| tag.tag(&body(&question).unwrap());
    let others = [
        question(),
        Question { user: Some("bob".into()), ..question() },
        Question { password: Some(Secret::copy_of(b"wonderlan")), ..question() },
        Question { password: None, ..question() },
        Question { client_id: "".into(), ..question() },
        Question { address: None, ..question() },
        Question { protocol: "stomp", ..question() },
        Question { certificate: Some("c".into()), ..question() },
        Question { peer: Some("c".into()), ..question() },
    ];
    let tags: std::collections::HashSet<_> = others.into_iter().map(of).collect();
    assert_eq!(tags.len(), 9);
    assert_eq!(of(question()), of(Question { now: Now::default(), ..question() }));
}

#[test]
fn the_oldest_answers_make_room() {
    let mut settings = HttpSettings::new(String::new());
    settings.remembered = 3;
    let remembered = Remembered::new(&settings).unwrap();
    let verdict = Verdict::Accepted(Grant::of("a".into(), vec![]));
    for number in 0..100 {
        remembered.learn([number; 32], &verdict, 0);
        remembered.learn([number; 32], &verdict, 1);
    }
    let table = remembered.table.lock().unwrap();
    assert_eq!((table.answers.len(), table.order.len()), (3, 3));
    drop(table);
    assert_eq!(remembered.find(&[99; 32], 5), Some(verdict));
    assert_eq!(remembered.find(&[96; 32], 5), None);
}

#[test]
fn the_body_holds_what_was_reserved_for_it() {
    let password = Secret::from(vec![1; 5_000]);
    let question = Question { password: Some(password), client_id: "\0".repeat(900).into(), ..question() };
    let capacity = 512 + 6 * (5_000 + 900 + 5);
    let body = body(&question).unwrap();
    assert!(body.len() > 30_000 && body.capacity() == capacity, "{} {}", body.len(), body.capacity());
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let said = |url: &str, change: fn(&mut HttpSettings)| {
        let mut settings = HttpSettings::new(url.to_owned());
        change(&mut settings);
        Callback::load(&settings).unwrap_err().to_string()
    };
    let nothing: fn(&mut HttpSettings) = |_| {};
    for (url, part) in [
        ("", "write http://host:port/path"),
        ("ftp://a", "write http://host:port/path"),
        ("http://", "no host"),
        ("http://:80", "no host"),
        ("http://a:0/", "a number from 1 to 65535"),
        ("http://a:x/", "a number from 1 to 65535"),
        ("http://[::1", "bracket"),
        ("http://[::1]80/", "a number from 1 to 65535"),
        ("http://a/b c", "without blanks"),
        ("http://a/\r\nX: y", "without blanks"),
        ("http://a/#x", "without blanks and #"),
        ("http://u@a/", "user:password@"),
        ("http://u:p%40@a/", "percent-encoded"),
    ] {
        let said = said(url, nothing);
        assert!(said.starts_with("auth_http.url: ") && said.contains(part), "{url}: {said}");
    }
    assert!(said("http://a", |settings| settings.timeout_ms = 99).starts_with("auth_http.timeout: 99 ms"));
    assert!(said("http://a", |settings| settings.ttl_ms = 86_400_001).starts_with("auth_http.cache: "));
    assert!(
        said("http://a", |settings| settings.negative_ttl_ms = u64::MAX)
            .starts_with("auth_http.denial_cache")
    );
    assert!(
        said("http://a", |settings| settings.remembered = 1_000_001).starts_with("auth_http.remembered: ")
    );
    assert!(
        said("https://a", |settings| settings.ca = Some("/nowhere/ca".into()))
            .contains("leave auth_http.ca out")
    );
    let room = Scratch::new();
    for (pem, part) in [
        ("", "no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "not PEM"),
    ] {
        let mut settings = HttpSettings::new("https://a".to_owned());
        settings.ca = Some(room.file("ca.pem", pem));
        let said = Callback::load(&settings).unwrap_err().to_string();
        assert!(said.contains("ca.pem: ") && said.contains(part), "{said}");
    }
}

#[test]
fn passwords_in_the_clear_are_warned_of() {
    for (place, warned) in [
        ("example.com/", true),
        ("10.0.0.1:8080", true),
        ("127.0.0.1:8080", false),
        ("[::1]:8080", false),
        ("localhost", false),
    ] {
        let url = format!("http://{place}");
        assert_eq!(!load(&url, |_| {}).warnings().is_empty(), warned, "{url}");
    }
}

/// A CA, and a server on this machine that answers 204 once per connection with a certificate of that CA for `name`.
fn secure_backend(name: &str) -> (u16, String) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let certificate =
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(rustls::StreamOwned::new(session, stream.unwrap()));
            if request(&mut stream).is_some() {
                stream.get_mut().write_all(answer(204, "").as_bytes()).unwrap();
            }
        }
    });
    (port, ca_pem)
}

#[test]
fn over_tls_the_backend_must_be_who_the_url_says() {
    let (port, ca) = secure_backend("localhost");
    let (_, other_ca) = secure_backend("localhost");
    let room = Scratch::new();
    let (ours, other) = (room.file("ca.pem", &ca), room.file("other.pem", other_ca));
    let decide = |host: &str, ca: Option<PathBuf>| {
        load(&format!("https://{host}:{port}/"), |settings| settings.ca = ca).decide(&question())
    };
    assert_eq!(kind(&decide("localhost", Some(ours.clone()))), None);
    for (host, ca, part) in [
        ("localhost", Some(other), "invalid peer certificate"),
        ("127.0.0.1", Some(ours), "not valid for name"),
    ] {
        let Verdict::Denied(denial) = decide(host, ca) else { panic!("{host}") };
        assert_eq!(denial.kind, Kind::ServerUnavailable);
        assert!(denial.why.contains(part), "{}", denial.why);
    }
}
