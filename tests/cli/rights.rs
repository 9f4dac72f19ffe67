//! Who may look after a broker, and until when: users of the machine, and operators whose right ends while they listen.

use std::fs::{Permissions, set_permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD as STANDARD, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD};
use ring::{hmac, pbkdf2};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderName;
use tungstenite::{Message, WebSocket};

use super::admin::Served;
use super::process::data_dir::DataDir;
use super::process::{Running, noctule};

/// A user whom every system has, and who owns nothing.
const NOBODY: u32 = 65_534;

#[test]
fn another_user_of_the_machine_is_told_why_not() {
    let served = Served::start();
    // As in a data directory that somebody has made for more than one.
    let socket = served.data.path().join("admin.sock");
    set_permissions(served.data.path(), Permissions::from_mode(0o755)).unwrap();
    set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    served.ctl(&["status"]).succeeds();
    let mut command = Command::new(env!("CARGO_BIN_EXE_noctule"));
    command
        .args(["ctl", "--socket", socket.to_str().unwrap(), "status"])
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY);
    // Only root can be somebody else, and only where he can reach the program.
    let can =
        Command::new(env!("CARGO_BIN_EXE_noctule")).arg("--version").current_dir("/").uid(NOBODY).output();
    if can.is_err() {
        return;
    }
    let refused = Running::start(&mut command).end();
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains("uid 65534 asks") && refused.err.contains("sudo"), "{}", refused.err);
}

/// A broker with two operators, ann and bob, whose files can be changed.
struct Gate {
    folder: DataDir,
    served: Served,
}

/// What is asked of operators who have to log in.
const ASKING: &str = "[auth]\nchain = [\"password\"]\npassword_file = \"{dir}/users\"\n";

fn configure(folder: &DataDir, auth: &str, admin: &str) {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nanonymous = \"loopback\"\n";
    write_config(folder, &format!("{auth}[admin]\nlisten = [\"127.0.0.1:0\"]\n{admin}{listener}"));
}

fn write_config(folder: &DataDir, text: &str) {
    let text = text.replace("{dir}", folder.path().to_str().unwrap());
    std::fs::write(folder.path().join("noctule.toml"), text).unwrap();
}

fn set_password(folder: &DataDir, user: &str, password: &str) {
    let users = folder.path().join("users");
    let mut running = noctule(&["passwd", users.to_str().unwrap(), user, "--password-stdin"]);
    running.write(format!("{password}\n").as_bytes());
    running.end().succeeds();
}

/// Writes a file that others must not read.
fn write_privately(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn basic(user: &str, password: &str) -> String {
    format!("authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

impl Gate {
    fn start() -> Self {
        Self::with(ASKING, "users = [\"ann\", \"bob\"]\n")
    }

    fn with(auth: &str, admin: &str) -> Self {
        let folder = DataDir::in_memory();
        std::fs::create_dir(folder.path()).unwrap();
        set_password(&folder, "ann", "wonderland");
        set_password(&folder, "bob", "builder");
        Self::among(folder, auth, admin)
    }

    fn among(folder: DataDir, auth: &str, admin: &str) -> Self {
        Self::written(folder, |folder| configure(folder, auth, admin))
    }

    fn written(folder: DataDir, configure: impl FnOnce(&DataDir)) -> Self {
        configure(&folder);
        let config = folder.path().join("noctule.toml").to_str().unwrap().to_owned();
        Self { served: Served::start_with(DataDir::in_memory(), &["-c", &config]), folder }
    }

    fn reload(&self) {
        self.served.ctl(&["reload"]).succeeds();
    }

    /// The status of a request with these header lines.
    fn ask(&self, method: &str, place: &str, head: &str, body: &str) -> u16 {
        let head = format!("{}content-type: application/json\r\n{head}", self.served.host());
        self.served.ask(method, place, &head, body).0
    }

    fn login_request(&self, user: &str, password: &str) -> String {
        let (host, body) = (self.served.host(), json!({ "user": user, "password": password }).to_string());
        let head = format!("{host}content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        format!("POST /api/v1/session HTTP/1.1\r\nconnection: close\r\n{head}\r\n{body}")
    }

    /// The answer to a login, its head included.
    fn login(&self, user: &str, password: &str) -> String {
        self.served.say_all(self.login_request(user, password).as_bytes())
    }

    /// The header line with the cookie that a login has brought.
    fn cookie(&self, user: &str, password: &str) -> String {
        let answer = self.login(user, password);
        let line = answer.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = line.unwrap_or_else(|| panic!("{answer}")).split(';').next().unwrap();
        format!("cookie: theme=dark; {cookie}\r\n")
    }

    fn stream(&self, place: &str, head: &str) -> Stream {
        let mut stream = Stream { socket: TcpStream::connect(self.served.admin).unwrap(), seen: Vec::new() };
        stream.socket.set_read_timeout(Some(SOON)).unwrap();
        let request = format!("GET {place} HTTP/1.1\r\n{}{head}\r\n", self.served.host());
        stream.socket.write_all(request.as_bytes()).unwrap();
        // The first line, which is empty, says that it has begun.
        stream.hears("\r\n\r\n1\r\n\n\r\n");
        stream
    }

    fn page(&self, head: &str) -> WebSocket<TcpStream> {
        let socket = TcpStream::connect(self.served.admin).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut request = format!("ws://{}/api/v1/live", self.served.admin).into_client_request().unwrap();
        for line in head.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let mut page = tungstenite::client(request, socket).unwrap().0;
        page.send(Message::text("{\"subscribe\":\"x/#\"}")).unwrap();
        assert_eq!(page.read().unwrap(), Message::text("{\"subscribed\":\"x/#\"}"));
        page
    }
}

/// Well before anybody would look again by himself.
const SOON: Duration = Duration::from_secs(20);

/// An answer that goes on.
struct Stream {
    socket: TcpStream,
    seen: Vec<u8>,
}

impl Stream {
    #[track_caller]
    fn hears(&mut self, words: &str) {
        while !String::from_utf8_lossy(&self.seen).contains(words) {
            let mut bytes = [0; 4096];
            let read = self.socket.read(&mut bytes).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&self.seen));
            self.seen.extend_from_slice(&bytes[..read]);
        }
    }

    #[track_caller]
    fn ends(mut self) {
        self.hears("0\r\n\r\n");
    }
}

#[track_caller]
fn page_ends(mut page: WebSocket<TcpStream>) {
    match page.read() {
        Ok(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), 1008, "{frame}"),
        other => panic!("{other:?}"),
    }
}

/// Ann's streams end with her right, however she has come in, and bob's go on.
fn only_anns_end(change: impl FnOnce(&Gate)) {
    let gate = Gate::start();
    let by_name = [("ann", "wonderland"), ("bob", "builder")].map(|(user, password)| basic(user, password));
    let by_cookie =
        [("ann", "wonderland"), ("bob", "builder")].map(|(user, password)| gate.cookie(user, password));
    let ways = [&by_name, &by_cookie];
    let streams = ways.map(|[ann, _]| gate.stream("/api/v1/trace?filter=x/%23", ann));
    let packets = gate.stream("/api/v1/clients/boiler/trace", &by_name[0]);
    let pages = ways.map(|[ann, _]| gate.page(ann));
    let kept = ways.map(|[_, bob]| gate.stream("/api/v1/trace?filter=x/%23", bob));
    change(&gate);
    gate.reload();
    streams.into_iter().for_each(Stream::ends);
    packets.ends();
    pages.into_iter().for_each(page_ends);
    assert_eq!(ways.map(|[ann, _]| gate.ask("GET", "/api/v1/broker", ann, "")), [401, 401]);
    for [_, bob] in ways {
        assert_eq!(gate.ask("POST", "/api/v1/publish", bob, "{\"topic\":\"x/y\",\"text\":\"goes on\"}"), 204);
    }
    for mut stream in kept {
        stream.hears("goes on");
    }
}

#[test]
fn a_unix_path_of_admin_listen_is_as_the_loopback() {
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    set_password(&folder, "ann", "wonderland");
    let gate = Gate::written(folder, |folder| {
        let listen =
            "[admin]\nlisten = [\"127.0.0.1:0\", \"unix:{dir}/operators.sock\"]\nusers = [\"ann\"]\n";
        write_config(folder, &format!("{listen}[[listener]]\naddress = \"127.0.0.1:0\"\n"));
    });
    let socket = gate.folder.path().join("operators.sock");
    let ctl = |command: &str| noctule(&["ctl", "--socket", socket.to_str().unwrap(), command]).end();
    ctl("clients").succeeds();
    let config = gate.folder.path().join("noctule.toml");
    let open = std::fs::read_to_string(&config).unwrap();
    write_config(&gate.folder, &format!("{ASKING}{open}"));
    gate.reload();
    let refused = ctl("clients");
    assert!(refused.code == 1 && refused.err.contains("log in"), "{}", refused.err);
    ctl("metrics").succeeds();
    gate.served.ctl(&["clients"]).succeeds();
}

#[test]
fn who_is_taken_out_of_the_password_file_hears_no_more() {
    only_anns_end(|gate| {
        let users = gate.folder.path().join("users");
        noctule(&["passwd", users.to_str().unwrap(), "ann", "--delete"]).end().succeeds();
    });
}

#[test]
fn a_password_that_was_changed_ends_what_began_with_the_old_one() {
    only_anns_end(|gate| set_password(&gate.folder, "ann", "looking-glass"));
}

#[test]
fn who_is_no_operator_any_more_hears_no_more() {
    only_anns_end(|gate| configure(&gate.folder, ASKING, "users = [\"bob\"]\n"));
}

#[test]
fn a_way_to_log_in_that_is_closed_ends_what_began_by_it() {
    let both = "[auth]\nchain = [\"password\", \"jwt\"]\npassword_file = \"{dir}/users\"\n\
                [auth_jwt]\nkeys = \"{dir}/keys\"\nleeway = \"0s\"\n";
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    set_password(&folder, "bob", "builder");
    write_privately(&folder.path().join("keys"), &keys());
    let gate = Gate::among(folder, both, "users = [\"ann\", \"bob\"]\n");
    let cookie = gate.cookie("ann", &token("ann", 3_600));
    let stream = gate.stream("/api/v1/trace", &cookie);
    configure(&gate.folder, ASKING, "users = [\"ann\", \"bob\"]\n");
    gate.reload();
    stream.ends();
    assert_eq!(gate.ask("GET", "/api/v1/broker", &cookie, ""), 401);
}

#[test]
fn a_token_ends_with_its_time_what_it_has_begun() {
    let by_token = "[auth]\nchain = [\"jwt\"]\n[auth_jwt]\nkeys = \"{dir}/keys\"\nleeway = \"0s\"\n";
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    write_privately(&folder.path().join("keys"), &keys());
    let gate = Gate::among(folder, by_token, "users = [\"ann\"]\n");
    // Whole seconds are counted: it holds for five at least, and all of this has to begin by then.
    let short = token("ann", 6);
    let way = basic("ann", &short);
    let streams = [&way, &gate.cookie("ann", &short)].map(|way| gate.stream("/api/v1/trace", way));
    let page = gate.page(&way);
    let mut longer = gate.stream("/api/v1/trace?filter=x", &basic("ann", &token("ann", 60)));
    streams.into_iter().for_each(Stream::ends);
    page_ends(page);
    let long = basic("ann", &token("ann", 60));
    assert_eq!(gate.ask("POST", "/api/v1/publish", &long, "{\"topic\":\"x\",\"text\":\"goes on\"}"), 204);
    longer.hears("goes on");
}

#[test]
fn what_began_while_nobody_was_asked_ends_when_everybody_is() {
    let gate = Gate::with("", "users = [\"ann\"]\n");
    let (stream, page) = (gate.stream("/api/v1/trace", ""), gate.page(""));
    // A login that nobody has asked for is none either.
    let foreign = gate.stream("/api/v1/trace", "cookie: noctule=0123\r\n");
    configure(&gate.folder, ASKING, "users = [\"ann\"]\n");
    gate.reload();
    stream.ends();
    foreign.ends();
    page_ends(page);
    assert_eq!(gate.ask("GET", "/api/v1/broker", "", ""), 401);
    assert_eq!(gate.ask("GET", "/api/v1/broker", &basic("ann", "wonderland"), ""), 200);
}

#[test]
fn a_logout_ends_what_the_login_began_and_nothing_else() {
    let gate = Gate::start();
    let [first, second] = [(); 2].map(|()| gate.cookie("ann", "wonderland"));
    let stream = gate.stream("/api/v1/trace", &first);
    let (mut page, heard) = (gate.page(&first), gate.page(&first));
    let mut other = gate.stream("/api/v1/trace?filter=x", &second);
    // Basic holds whatever a cookie beside it says.
    let mut by_name = gate
        .stream("/api/v1/trace?filter=x", &format!("{}cookie: theme=dark\r\n", basic("ann", "wonderland")));
    assert_eq!(gate.ask("DELETE", "/api/v1/session", &first, ""), 204);
    // It may be closed before that is read.
    let _ = page.send(Message::text(
        json!({ "publish": { "topic": "late", "text": "x", "retain": true } }).to_string(),
    ));
    stream.ends();
    page_ends(page);
    page_ends(heard);
    assert_eq!(gate.ask("GET", "/api/v1/retained/late", &second, ""), 404);
    assert_eq!(gate.ask("POST", "/api/v1/publish", &second, "{\"topic\":\"x\",\"text\":\"goes on\"}"), 204);
    other.hears("goes on");
    by_name.hears("goes on");
}

#[test]
fn a_reload_during_a_login_leaves_none_by_the_old_password() {
    // Nobody tells when the password is looked at, and how long a reload takes is not ours to say: one that came too
    // early or too late proves nothing, and there is more time for everything then.
    let overtaken = (0..4).any(|attempt| is_overtaken_by_a_reload(1 << attempt));
    assert!(overtaken, "the password was checked before anything could come between, each time");
}

/// Whether the passwords were exchanged while the old one was looked at, which takes so many times as long as needed where
/// nothing else goes on. If they were, the login has come to nothing.
fn is_overtaken_by_a_reload(times: u32) -> bool {
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    // As mosquitto writes them, with rounds enough to take their time.
    let line = |password: &str, rounds: u32| {
        let (salt, mut output) = ([7; 12], [0; 64]);
        let rounds = NonZeroU32::new(rounds).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, &salt, password.as_bytes(), &mut output);
        format!("ann:$7${rounds}${}${}\n", STANDARD.encode(salt), STANDARD.encode(output))
    };
    let users = folder.path().join("users");
    let write = |line: String| write_privately(&users, &line);
    let (slow, quick) = (line("wonderland", 500_000 * times), line("looking-glass", 1_000));
    write(slow);
    let gate = Gate::among(folder, ASKING, "users = [\"ann\"]\n");
    let mut login = TcpStream::connect(gate.served.admin).unwrap();
    login.write_all(gate.login_request("ann", "wonderland").as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(100) * times);
    write(quick);
    gate.reload();
    login.set_nonblocking(true).unwrap();
    if login.peek(&mut [0]).is_ok() {
        return false;
    }
    login.set_nonblocking(false).unwrap();
    let mut answer = String::new();
    login.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(gate.login("ann", "looking-glass").starts_with("HTTP/1.1 204"));
    true
}

const KEY: &[u8] = b"a key that is long enough for HS256";

fn keys() -> String {
    json!({ "keys": [{ "kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(KEY) }] }).to_string()
}

/// A token that holds for so many seconds.
fn token(user: &str, seconds: u64) -> String {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let parts = [json!({ "alg": "HS256" }), json!({ "sub": user, "exp": now_s + seconds })];
    let [head, claims] = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{head}.{claims}");
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The value of a metric with exactly these labels.
#[track_caller]
fn counted(served: &Served, name: &str) -> f64 {
    let text = served.ctl(&["metrics"]).succeeds();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn logins_are_counted_and_what_the_log_leaves_out_is_summed_up() {
    let mut gate = Gate::start();
    let logins = |gate: &Gate, result: &str| {
        counted(&gate.served, &format!("noctule_operator_logins_total{{result=\"{result}\"}}"))
    };
    // What has not happened yet is there, so that the first time is seen.
    assert_eq!(["accepted", "denied", "busy"].map(|result| logins(&gate, result)), [0.0; 3]);
    gate.cookie("ann", "wonderland");
    assert_eq!(gate.ask("GET", "/api/v1/broker", &basic("bob", "builder"), ""), 200);
    assert_eq!(logins(&gate, "accepted"), 2.0);
    let answers: Vec<_> =
        (0..40).map(|guess| gate.login("eve", &format!("guess {guess}"))[9..12].to_owned()).collect();
    let of = |status: &str| answers.iter().filter(|found| *found == status).count() as f64;
    assert!(of("401") > 0.0 && of("429") > 10.0, "{answers:?}");
    assert_eq!((logins(&gate, "denied"), logins(&gate, "busy")), (of("401"), of("429")));
    let line: Value = serde_json::from_str(&gate.served.hears("lines left out of the log")).unwrap();
    assert!(line["left_out"].as_u64() > Some(0) && line["kind"] == "no_operator", "{line}");
}

#[test]
fn handshakes_and_the_days_of_certificates_are_counted() {
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    let dir = folder.path().to_str().unwrap().to_owned();
    noctule(&["certs", "--dir", &dir, "--days", "30"]).end().succeeds();
    let users = "users = [\"ann\"]\ntls = \"plant\"\n";
    set_password(&folder, "ann", "wonderland");
    let tls = "[[tls]]\nname = \"plant\"\ncertificates = [{ chain = \"{dir}/server.pem\", key = \"{dir}/server.key\" }]\n";
    let gate = Gate::written(folder, |folder| {
        let text = format!(
            "{ASKING}[admin]\nlisten = [\"127.0.0.1:0\"]\n{users}{tls}[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"plant\"\n"
        );
        write_config(folder, &text);
    });
    let served = &gate.served;
    let handshakes = |listener: &str, result: &str| {
        counted(
            served,
            &format!("noctule_tls_handshakes_total{{listener=\"{listener}\",result=\"{result}\"}}"),
        )
    };
    let all = || {
        [("mqtt", "done"), ("mqtt", "failed"), ("admin", "done"), ("admin", "failed")]
            .map(|(listener, result)| handshakes(listener, result))
    };
    assert_eq!(all(), [0.0; 4]);
    let expires = |served: &Served| counted(served, "noctule_tls_certificate_expires_seconds{tls=\"plant\"}");
    let month_s = 30.0 * 86_400.0;
    assert!((month_s - 3_600.0..=month_s).contains(&expires(served)), "{}", expires(served));
    let ca = gate.folder.path().join("ca.pem").to_str().unwrap().to_owned();
    for address in [served.mqtt, served.admin] {
        // It gets no further than the password, or than HTTP.
        let port = address.port().to_string();
        noctule(&["pub", "-p", &port, "--tls", "--cafile", &ca, "-t", "a", "-m", "x"]).end();
        // No TLS, half of it, and nothing at all, which is no handshake.
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b""] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    let begun = Instant::now();
    while all() != [1.0, 2.0, 1.0, 2.0] {
        assert!(begun.elapsed() < SOON, "{:?}", all());
        std::thread::sleep(Duration::from_millis(20));
    }
    let dir = gate.folder.path().to_str().unwrap();
    noctule(&["certs", "--dir", dir, "--days", "60", "--force"]).end().succeeds();
    gate.reload();
    assert!(expires(served) > month_s, "{}", expires(served));
}
