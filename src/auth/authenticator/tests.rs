//! The whole of it: chains, threads, queues, reloads and who has to wait.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use noctule_core::id::{ConnId, Now, WorkerId};
use noctule_mqtt::server::AuthStep;

use super::*;
use crate::auth::password::Hash;
use crate::auth::question::{Method, Ticket};
use crate::auth::scratch::Scratch;
use crate::auth::secret::Secret;
use crate::ports::free_port;

/// What comes back.
#[derive(Debug)]
struct Mailbox(Mutex<Sender<(Ticket, Verdict)>>);

impl Answers for Mailbox {
    fn answer(&self, ticket: Ticket, verdict: Verdict) {
        let _ = self.0.lock().unwrap().send((ticket, verdict));
    }
}

struct Bench {
    room: Scratch,
    settings: Settings,
    auth: Option<Authenticator>,
    /// Who holds its lock has every verdict wait.
    answers: Arc<Mailbox>,
    mail: Receiver<(Ticket, Verdict)>,
}

fn hash(password: &str) -> Hash {
    Hash::with(password.as_bytes(), 64, 1).unwrap()
}

impl Bench {
    /// alice (ops) and bob in a password file.
    fn new(change: impl FnOnce(&mut Settings, &Scratch)) -> Self {
        let room = Scratch::new();
        let mut settings = Settings::new(DecoyKey::random().unwrap());
        let users = format!("alice:{}:ops\nbob:{}\n", hash("wonderland"), hash("builder"));
        settings.password_file = Some(room.file("users", users));
        change(&mut settings, &room);
        let (sender, mail) = channel();
        let answers = Arc::new(Mailbox(Mutex::new(sender)));
        let (auth, _) = Authenticator::start(&settings, Arc::<Mailbox>::clone(&answers)).unwrap();
        Self { room, settings, auth: Some(auth), answers, mail }
    }

    fn auth(&self) -> &Authenticator {
        self.auth.as_ref().unwrap()
    }

    /// Puts into force what the settings say now.
    fn reload(&self) -> Result<(), LoadError> {
        Loaded::read(&self.settings).map(|loaded| self.auth().reload(loaded))
    }

    /// The verdict, whether it comes at once or later.
    fn decide(&self, question: Question) -> Verdict {
        let ticket = question.ticket;
        match self.auth().ask(question) {
            Asked::Decided(verdict) => verdict,
            Asked::Pending => {
                let (about, verdict) = self.mail.recv_timeout(Duration::from_secs(20)).unwrap();
                assert_eq!(about, ticket);
                verdict
            }
        }
    }

    /// The user that is let in, or why nobody is.
    fn user(&self, question: Question) -> Result<String, String> {
        match self.decide(question) {
            Verdict::Accepted(grant) => Ok(grant.user.to_string()),
            Verdict::Denied(denial) => Err(denial.why.into_owned()),
        }
    }

    fn kind(&self, question: Question) -> Option<Kind> {
        match self.decide(question) {
            Verdict::Accepted(_) => None,
            Verdict::Denied(denial) => Some(denial.kind),
        }
    }

    /// What hashing a question took.
    fn work_of(&self, question: Question) -> u64 {
        let before = self.auth().work().argon2;
        let _ = self.decide(question);
        self.auth().work().argon2 - before
    }
}

fn ticket(slot: u32) -> Ticket {
    Ticket { worker: WorkerId(1), conn: ConnId { slot, generation: 0 } }
}

fn nobody() -> Question {
    Question {
        ticket: ticket(0),
        now: Now { mono_ms: 1_000_000, wall_ms: 1_800_000_000_000 },
        methods: [Method::Certificate, Method::Peer, Method::Password, Method::Jwt, Method::Http].into(),
        protocol: "mqtt",
        user: None,
        password: None,
        client_id: "c".into(),
        address: Some("10.0.0.1".parse().unwrap()),
        certificate: None,
        peer: None,
        read_otherwise: None,
    }
}

fn somebody(user: &str, password: &str) -> Question {
    Question { user: Some(user.into()), password: Some(Secret::copy_of(password.as_bytes())), ..nobody() }
}

/// A key set with one secret, and a token of it for this user.
fn with_jwt(settings: &mut Settings, room: &Scratch) {
    let keys = r#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;
    settings.jwt = Some(JwtSettings::new(room.file("keys.json", keys)));
}

fn token(user: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = format!(r#"{{"sub":"{user}","exp":1900000000}}"#);
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes())))
}

/// A backend that answers everybody with `status`, after `wait`; counts how many it serves now, and at once at most.
fn backend(status: u16, wait: impl Fn() + Send + Sync + 'static) -> (String, Arc<Mutex<(usize, usize)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let load = Arc::new(Mutex::new((0, 0)));
    let (seen, wait) = (Arc::clone(&load), Arc::new(wait));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen, wait) = (stream.unwrap(), Arc::clone(&seen), Arc::clone(&wait));
            std::thread::spawn(move || {
                let mut now = seen.lock().unwrap();
                now.0 += 1;
                now.1 = now.1.max(now.0);
                drop(now);
                wait();
                seen.lock().unwrap().0 -= 1;
                let _ =
                    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                // What was asked is read, or the answer would be torn up by a reset.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
    (url, load)
}

#[test]
fn without_credentials_nobody_comes_in() {
    let bench = Bench::new(|settings, room| {
        with_jwt(settings, room);
        settings.http = Some(HttpSettings::new(backend(204, || ()).0));
    });
    assert_eq!(bench.user(nobody()).unwrap_err(), "no credentials");
    for (user, password) in [("", ""), ("", "wonderland"), ("alice", ""), ("bob", "wonderland")] {
        let local = Question { methods: [Method::Password, Method::Jwt].into(), ..somebody(user, password) };
        assert_eq!(bench.kind(local), Some(Kind::BadCredentials), "{user:?} {password:?}");
    }
    let no_password = Question { user: Some("alice".into()), methods: [Method::Password].into(), ..nobody() };
    assert_eq!(bench.user(no_password).unwrap_err(), "a user name without a password");
    let none = Question { methods: [].into(), ..somebody("alice", "wonderland") };
    assert_eq!(bench.kind(none), Some(Kind::BadCredentials), "no methods let nobody in");
    let unconfigured = Bench::new(|settings, _| settings.password_file = None);
    assert_eq!(unconfigured.kind(somebody("alice", "wonderland")), Some(Kind::BadCredentials));
}

#[test]
fn the_first_method_that_is_about_somebody_decides() {
    let bench = Bench::new(|settings, room| {
        with_jwt(settings, room);
        settings.http = Some(HttpSettings::new(backend(204, || ()).0));
    });
    let Verdict::Accepted(grant) = bench.decide(somebody("alice", "wonderland")) else { panic!() };
    assert_eq!((&*grant.user, &*grant.groups), ("alice", &["ops".into()][..]));
    assert_eq!(grant.proof.unwrap().method, Method::Password);
    assert_eq!(
        bench.user(somebody("alice", "wrong")).unwrap_err(),
        "a wrong password of the user \"alice\"",
        "though http says yes"
    );
    assert_eq!(bench.user(somebody("zoe", &token("zoe"))), Ok("zoe".to_owned()));
    assert!(bench.user(somebody("zoe", &token("yan"))).is_err(), "a token's word is final too");
    assert_eq!(bench.user(somebody("zoe", "x")), Ok("zoe".to_owned()), "the callback says yes");
    // The name in a certificate, with the file's groups if it has them.
    let certified = |name: &str| Question { certificate: Some(name.into()), ..somebody("bob", "builder") };
    let Verdict::Accepted(grant) = bench.decide(certified("alice")) else { panic!() };
    assert_eq!(grant.groups, ["ops".into()]);
    assert_eq!(bench.user(certified("press-7")), Ok("press-7".to_owned()));
    for bad in ["", "a/b", "+", "#", "a\0"] {
        assert_eq!(bench.kind(certified(bad)), Some(Kind::BadCredentials), "{bad:?}");
    }
    let last = Question { methods: [Method::Password, Method::Certificate].into(), ..certified("press-7") };
    assert_eq!(bench.user(last), Ok("bob".to_owned()));
    assert_eq!(bench.user(Question { peer: Some("pi".into()), ..nobody() }), Ok("pi".to_owned()));
    // What is not in the listener's list is not asked.
    let only = |methods: &[Method]| Question { methods: methods.into(), ..certified("press-7") };
    assert_eq!(bench.user(only(&[Method::Peer])).unwrap_err(), "credentials that no configured method takes");
}

#[test]
fn a_password_that_was_right_is_not_hashed_again() {
    let bench = Bench::new(|_, _| {});
    assert_eq!(bench.work_of(somebody("alice", "wonderland")), 64);
    let again = bench.auth().ask(somebody("alice", "wonderland"));
    assert!(matches!(again, Asked::Decided(Verdict::Accepted(_))), "at once: {again:?}");
    assert_eq!(bench.work_of(somebody("alice", "wrong")), 64);
    assert_eq!(bench.work_of(somebody("alice", "wrong")), 64, "a wrong one is hashed each time");
    bench.reload().unwrap();
    assert_eq!(bench.work_of(somebody("alice", "wonderland")), 64, "forgotten by a reload");
}

#[test]
fn strangers_take_the_same_work_through_the_whole_chain() {
    let bench = Bench::new(with_jwt);
    let known = bench.work_of(somebody("alice", "wrong"));
    assert_eq!(known, 64);
    for name in ["eve", "mallory", "ALICE", "alice "] {
        assert_eq!(bench.work_of(somebody(name, "wrong")), known, "{name}");
    }
    assert_eq!(bench.user(somebody("eve", "wrong")).unwrap_err(), "a user that nobody knows");
    assert_eq!(bench.kind(somebody("eve", "x")), bench.kind(somebody("alice", "x")), "and are told the same");
}

#[test]
fn a_reload_takes_all_or_nothing() {
    let bench = Bench::new(with_jwt);
    assert!(bench.user(somebody("bob", "builder")).is_ok());
    let users = bench.settings.password_file.clone().unwrap();
    let before = fs::read_to_string(&users).unwrap();
    let keys: PathBuf = bench.room.path("keys.json");
    // A malformed line, half a line, an empty hash: all of it stays.
    for wrong in [format!("{before}eve\n"), before.replace(":ops\n", ":ops:SCR\n"), "bob:\n".to_owned()] {
        fs::write(&users, wrong).unwrap();
        let error = bench.reload().unwrap_err();
        assert!(error.to_string().contains("users:"), "{error}");
        assert!(bench.user(somebody("bob", "builder")).is_ok());
        assert!(bench.kind(somebody("eve", "")).is_some());
    }
    // A good password file with a bad key set.
    fs::write(&users, format!("carol:{}\n", hash("c"))).unwrap();
    let good_keys = fs::read(&keys).unwrap();
    fs::write(&keys, "{").unwrap();
    assert!(bench.reload().unwrap_err().to_string().contains("keys.json: "));
    assert!(bench.kind(somebody("carol", "c")).is_some(), "not even the half of it");
    assert!(bench.user(somebody("bob", "builder")).is_ok());
    fs::write(&keys, good_keys).unwrap();
    bench.reload().unwrap();
    assert_eq!(bench.user(somebody("carol", "c")), Ok("carol".to_owned()));
    assert_eq!(
        bench.kind(somebody("bob", "builder")),
        Some(Kind::BadCredentials),
        "though he was remembered"
    );
    // An empty file is a file without users.
    fs::write(&users, "").unwrap();
    bench.reload().unwrap();
    for (user, password) in [("carol", "c"), ("", ""), ("x", "")] {
        assert!(bench.kind(somebody(user, password)).is_some(), "{user}");
    }
    fs::remove_file(&users).unwrap();
    assert!(bench.reload().is_err(), "none at all is a mistake");
}

#[test]
fn who_guesses_wrong_waits_and_his_neighbours_do_not() {
    let bench = Bench::new(|_, _| {});
    let at = |question: Question, ms: u64| Question {
        now: Now { mono_ms: 1_000_000 + ms, ..question.now },
        ..question
    };
    for _ in 0..6 {
        assert_eq!(bench.kind(somebody("alice", "wrong")), Some(Kind::BadCredentials));
    }
    let right = || somebody("alice", "wonderland");
    assert_eq!(bench.kind(right()), Some(Kind::ServerBusy), "even if the next guess is right");
    assert_eq!(bench.work_of(right()), 0, "and without any work");
    assert_eq!(bench.kind(at(right(), 999)), Some(Kind::ServerBusy));
    assert_eq!(bench.kind(somebody("bob", "builder")), None, "another user there");
    let elsewhere = Question { address: Some("10.0.0.2".parse().unwrap()), ..right() };
    assert_eq!(bench.kind(elsewhere), None, "the same user elsewhere");
    assert_eq!(bench.kind(right()), Some(Kind::ServerBusy), "remembered or not");
    assert_eq!(bench.kind(at(right(), 1_000)), None);
}

#[test]
fn guesses_that_were_asked_all_at_once_are_not_all_tried() {
    let bench = Bench::new(|_, _| {});
    let ask = |slot| Question { ticket: ticket(slot), ..somebody("alice", &format!("guess {slot}")) };
    let pending = (0..200).filter(|slot| bench.auth().ask(ask(*slot)) == Asked::Pending).count();
    for _ in 0..pending {
        bench.mail.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    assert_eq!(bench.auth().work().argon2, 6 * 64, "five that are free and one");
}

#[test]
fn missing_credentials_and_a_backend_that_is_away_make_nobody_wait() {
    let gone = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let bench = Bench::new(|settings, _| settings.http = Some(HttpSettings::new(format!("http://{gone}/"))));
    for _ in 0..300 {
        assert_eq!(bench.kind(nobody()), Some(Kind::BadCredentials));
        assert_eq!(bench.kind(somebody("zoe", "z")), Some(Kind::ServerUnavailable));
    }
    assert_eq!(bench.kind(somebody("bob", "builder")), None);
}

#[test]
fn a_full_queue_says_busy_and_what_waits_is_answered() {
    let gate = Arc::new(Mutex::new(()));
    let passing = Arc::clone(&gate);
    let (url, load) = backend(204, move || drop(passing.lock()));
    let bench = Bench::new(|settings, _| {
        settings.http = Some(HttpSettings { timeout_ms: 60_000, ..HttpSettings::new(url) });
        settings.http_threads = 2;
        settings.queue = 3;
    });
    let shut = gate.lock().unwrap();
    let (mut pending, mut busy) = (Vec::new(), 0);
    for slot in 0..20 {
        match bench.auth().ask(Question { ticket: ticket(slot), ..somebody(&format!("user{slot}"), "x") }) {
            Asked::Pending => pending.push(ticket(slot)),
            Asked::Decided(Verdict::Denied(denial)) if denial.kind == Kind::ServerBusy => busy += 1,
            other @ Asked::Decided(_) => panic!("{other:?}"),
        }
    }
    assert!((3..=5).contains(&pending.len()), "{}", pending.len());
    assert_eq!(pending.len() + busy, 20);
    // Meanwhile passwords are hashed as ever.
    let asked = Question { ticket: ticket(99), ..somebody("bob", "builder") };
    assert_eq!(bench.auth().ask(asked), Asked::Pending);
    assert_eq!(
        bench.mail.recv_timeout(Duration::from_secs(20)).unwrap().0,
        ticket(99),
        "before the slow ones"
    );
    let asked = Instant::now();
    while load.lock().unwrap().0 < 2 {
        assert!(asked.elapsed() < Duration::from_secs(20), "there are two threads that ask");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(shut);
    let mut answered: Vec<Ticket> =
        pending.iter().map(|_| bench.mail.recv_timeout(Duration::from_secs(20)).unwrap().0).collect();
    answered.sort_by_key(|ticket| ticket.conn.slot);
    assert_eq!(answered, pending, "each once");
    assert_eq!(load.lock().unwrap().1, 2, "no more at once than there are threads");
}

#[test]
fn a_token_does_not_wait_behind_passwords() {
    let bench = Bench::new(with_jwt);
    // The first stays in hand until all have been asked.
    let held = bench.answers.0.lock().unwrap();
    for slot in 0..4 {
        let address = Some(std::net::Ipv4Addr::from(0x0a00_0000 + slot).into());
        let question = Question { ticket: ticket(slot), address, ..somebody("alice", "wrong") };
        assert_eq!(bench.auth().ask(question), Asked::Pending);
    }
    assert_eq!(
        bench.auth().ask(Question { ticket: ticket(9), ..somebody("zoe", &token("zoe")) }),
        Asked::Pending
    );
    drop(held);
    let order: Vec<u32> =
        (0..5).map(|_| bench.mail.recv_timeout(Duration::from_secs(60)).unwrap().0.conn.slot).collect();
    assert!(order[0] == 9 || order[1] == 9, "{order:?}");
}

#[test]
fn a_question_whose_client_has_given_up_is_not_worked_on() {
    let bench = Bench::new(|settings, _| settings.patience_ms = 0);
    assert_eq!(bench.kind(somebody("alice", "wonderland")), Some(Kind::ServerBusy));
    assert_eq!(bench.auth().work(), Work::default());
}

#[test]
fn dropping_it_answers_what_waits() {
    let (url, _) = backend(204, || std::thread::sleep(Duration::from_millis(200)));
    let mut bench = Bench::new(|settings, _| {
        settings.http = Some(HttpSettings::new(url));
        settings.http_threads = 1;
    });
    for slot in 0..5 {
        let question = Question { ticket: ticket(slot), ..somebody(&format!("user{slot}"), "x") };
        assert_eq!(bench.auth().ask(question), Asked::Pending);
    }
    bench.auth = None;
    let mut seen: Vec<u32> = bench.mail.try_iter().map(|(ticket, _)| ticket.conn.slot).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[test]
fn scram_has_the_files_users_and_plausible_strangers() {
    let verifier = Verifier::of("wonderland").unwrap();
    let bench = Bench::new(|settings, room| {
        settings.password_file = Some(room.file("scram", format!("alice:!:ops:{verifier}\nbob:!\n")));
    });
    let first = |user: &str| match bench.auth().scram().begin().step(format!("n,,n={user},r=abc").as_bytes())
    {
        AuthStep::Continue(data) => String::from_utf8(data).unwrap().split_once(",s=").unwrap().1.to_owned(),
        other => panic!("{other:?}"),
    };
    assert!(verifier.to_string().contains(first("alice").split(',').next().unwrap()), "alice's own salt");
    for stranger in ["bob", "eve"] {
        assert!(first(stranger).ends_with(",i=15000"));
        assert_eq!(first(stranger).len(), first("alice").len());
        assert_eq!(first(stranger), first(stranger), "the same each time");
    }
    let eve = first("eve");
    bench.reload().unwrap();
    assert_eq!(first("eve"), eve, "and after a reload");
    assert_eq!(bench.auth().grant("alice").unwrap().groups, ["ops".into()]);
    assert_eq!(bench.auth().grant("eve"), None);
    let without = Bench::new(|settings, _| settings.password_file = None);
    assert!(matches!(without.auth().scram().begin().step(b"n,,n=eve,r=a"), AuthStep::Continue(_)));
}

#[test]
fn scram_makes_wait_as_passwords_do() {
    let bench = Bench::new(|_, _| {});
    let address = nobody().address;
    for _ in 0..6 {
        assert!(bench.auth().admits(address, Some("alice"), 0).is_ok());
        bench.auth().settled(address, Some("alice"), false, 0);
    }
    assert_eq!(bench.auth().admits(address, Some("alice"), 0).unwrap_err().kind, Kind::ServerBusy);
    assert!(bench.auth().admits(address, None, 0).is_ok());
    bench.auth().settled(address, Some("alice"), true, 0);
    assert!(bench.auth().admits(address, Some("alice"), 0).is_ok());
}

#[test]
fn it_does_not_start_on_what_is_wrong() {
    let room = Scratch::new();
    let start = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::new(DecoyKey::random().unwrap());
        change(&mut settings);
        let answers = Arc::new(Mailbox(Mutex::new(channel().0)));
        Authenticator::start(&settings, answers)
            .map(|(_, warnings)| warnings)
            .map_err(|error| error.to_string())
    };
    assert_eq!(start(&|_| {}), Ok(vec![]));
    assert!(start(&|settings| settings.threads = 0).unwrap_err().starts_with("auth.hash_threads: 0"));
    assert!(start(&|settings| settings.queue = 0).unwrap_err().starts_with("auth.queue: 0"));
    let missing = room.path("none");
    assert!(
        start(&|settings| settings.password_file = Some(missing.clone()))
            .unwrap_err()
            .contains("noctule passwd")
    );
    let weak = room.file("weak", format!("alice:{}\n", hash("x")));
    let warnings = start(&|settings| settings.password_file = Some(weak.clone())).unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("\"alice\" is weak"), "{warnings:?}");
}

#[test]
fn nothing_shows_a_password() {
    let bench = Bench::new(with_jwt);
    let _ = bench.decide(somebody("alice", "wonderland"));
    let shown = format!("{:?} {:?}", bench.auth(), somebody("alice", "wonderland"));
    for secret in ["wonderland", "argon2id$", "0123456789abcdef", "MDEyMzQ1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let why = bench.user(somebody("alice", "looking glass")).unwrap_err();
    assert!(!why.contains("looking"), "{why}");
}
