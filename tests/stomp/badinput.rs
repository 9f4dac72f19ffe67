//! Every mistake that a client can make: it is told what was wrong and how to mend it, and nobody else notices.

use std::io;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use noctule::config::{Period, Size};
use noctule_stomp::Command;
use tracing::level_filters::LevelFilter;

use crate::kit::{Served, Stomp, V11, V12};
use crate::mqtt::WAIT;

/// A client that is there all the time: what others do wrong is nothing to it.
struct Witness {
    client: Stomp,
    seen: u32,
}

impl Witness {
    fn new(served: &Served) -> Self {
        let mut client = served.stomp();
        client.subscribe("w", "/topic/witness", "client");
        Self { client, seen: 0 }
    }

    /// Sends itself a message and gets it.
    #[track_caller]
    fn is_well(&mut self) {
        self.seen += 1;
        let text = self.seen.to_string();
        self.client.say("/topic/witness", &text);
        assert_eq!(self.client.take().text(), text);
    }
}

/// The ERROR that `bytes` lead to: it echoes the receipt `r` if asked, says all of `words`, and is the last frame.
#[track_caller]
fn refused(client: &mut Stomp, bytes: &[u8], receipt: Option<&str>, words: &[&str]) {
    client.raw_or_closed(bytes);
    let error = client.refused();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    assert_eq!(error.get("receipt-id"), receipt, "{shown}: {error:?}");
    assert!(!error.header("message").is_empty(), "{shown}: {error:?}");
    assert_eq!(error.header("content-type"), "text/plain");
    for word in words {
        assert!(error.text().contains(word), "{shown}: {word:?} is not in {:?}", error.text());
    }
}

#[test]
fn a_mistake_ends_in_an_error_that_says_how_to_mend_it_and_nobody_else_notices() {
    let served = Served::start();
    let mut witness = Witness::new(&served);
    let many: String = (0..100).map(|number| format!("h{number}:v\n")).collect();
    let long = "x".repeat(9_000);
    let many = format!("SEND\nreceipt:r\ndestination:/topic/a\n{many}\nx\0");
    let long = format!("SEND\nreceipt:r\ndestination:/topic/a\nlong:{long}\n\nx\0");
    for (frame, words) in [
        (
            "SEND\nreceipt:r\ndestination:/topic/a\ncontent-length:2\n\nabc\0",
            &["not followed by NUL", "2 bytes", "count the bytes"][..],
        ),
        ("SEND\nreceipt:r\ndestination:/topic/a\ncontent-length:-1\n\n\0", &["\"-1\"", "decimal digits"]),
        ("PUBLISH\nreceipt:r\n\n\0", &["\"PUBLISH\" is unknown", "in capitals"]),
        ("SEND\nreceipt:r\ndestination:/topic/\\x\n\n\0", &["\"\\\\x\"", "write \\n"]),
        ("BEGIN\nreceipt:r\ntransaction:t\n\nbody\0", &["BEGIN has a body", "only SEND"]),
        ("ACK\nreceipt:r\nid:1-1@nobody\n\n\0", &["\"1-1@nobody\"", "names no message", "send back"]),
        ("NACK\nreceipt:r\nid:7\n\n\0", &["\"7\"", "names no message"]),
        ("COMMIT\nreceipt:r\ntransaction:t\n\n\0", &["\"t\" is not open", "BEGIN"]),
        ("UNSUBSCRIBE\nreceipt:r\nid:s\n\n\0", &["\"s\" is not there"]),
        (
            "SUBSCRIBE\nreceipt:r\nid:s\ndestination:/topic/a\nselector:temp >\n\n\0",
            &["header selector", "column"],
        ),
        ("SEND\nreceipt:r\n\nx\0", &["no destination", "say where to"]),
        ("CONNECT\nreceipt:r\n\n\0", &["second CONNECT"]),
        (&many, &["more than 64 headers", "send fewer"]),
        (&long, &["longer than 8192 bytes", "shorten it"]),
    ] {
        let mut client = served.stomp();
        // A CONNECT has no receipt to ask for.
        let receipt = Some("r").filter(|_| !frame.starts_with("CONNECT"));
        refused(&mut client, frame.as_bytes(), receipt, words);
        witness.is_well();
    }
}

#[test]
fn what_is_used_twice_is_refused_by_its_name() {
    let served = Served::start();
    let mut witness = Witness::new(&served);
    let mut client = served.stomp();
    client.transaction(Command::Begin, "twice");
    refused(
        &mut client,
        b"BEGIN\nreceipt:r\ntransaction:twice\n\n\0",
        Some("r"),
        &["\"twice\" is open already", "commit or abort it first"],
    );
    let mut client = served.stomp();
    client.subscribe("twice", "/topic/a", "auto");
    refused(
        &mut client,
        b"SUBSCRIBE\nreceipt:r\nid:twice\ndestination:/topic/b\n\n\0",
        Some("r"),
        &["\"twice\" is there already", "use another id"],
    );
    // What has ended may be used again.
    let mut client = served.stomp();
    for _ in 0..2 {
        client.transaction(Command::Begin, "again");
        client.transaction(Command::Abort, "again");
        client.subscribe("again", "/topic/a", "auto");
        client.unsubscribe("again");
    }
    witness.is_well();
}

#[test]
fn a_thousand_open_transactions_are_too_many() {
    let served = Served::start();
    let mut witness = Witness::new(&served);
    let mut client = served.stomp();
    let begins: String =
        (0..1_000).map(|number| format!("BEGIN\nreceipt:{number}\ntransaction:t{number}\n\n\0")).collect();
    client.raw_or_closed(begins.as_bytes());
    for number in 0..16 {
        client.receipt(&number.to_string());
    }
    let error = client.refused();
    assert_eq!(error.header("receipt-id"), "16");
    assert!(error.text().contains("max_transactions") && error.text().contains("16"), "{error:?}");
    witness.is_well();
}

#[test]
fn a_frame_without_its_nul_is_refused_at_the_limit_of_its_body() {
    let served = Served::with(|config| {
        config.stomp.max_body = Size::from_kib(4);
    });
    let mut witness = Witness::new(&served);
    let mut client = served.stomp();
    let open = [&b"SEND\nreceipt:r\ndestination:/topic/a\n\n"[..], &[b'x'; 5_000]].concat();
    refused(&mut client, &open, Some("r"), &["body of SEND", "limit of 4096"]);
    // The next frame where the NUL should be is a part of the body; a head that goes on without an end is refused too.
    let mut client = served.stomp();
    let open = [&b"SEND\ndestination:/topic/a\n"[..], &b"x:y\n".repeat(100)].concat();
    refused(&mut client, &open, None, &["more than 64 headers"]);
    witness.is_well();
}

#[test]
fn heart_beat_silence_and_a_connect_that_never_comes_end_the_connection() {
    let served = Served::with(|config| {
        config.stomp.heart_beat = Period::from_secs(1);
        config.limits.connect_timeout = Period::from_secs(1);
    });
    let mut witness = Witness::new(&served);
    let mut nobody = served.raw();
    let mut silent = served.stomp_with(V11, &[("heart-beat", "1000,0")]);
    let error = silent.refused();
    assert_eq!((error.header("message"), error.get("receipt-id")), ("heart-beat timeout", None));
    assert!(error.text().contains("heart-beat"), "what was missed: {error:?}");
    nobody.stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    let end = nobody.read();
    let said = match &end {
        Some(Some(frame)) => frame.command == Command::Error,
        other => matches!(other, Some(None)),
    };
    assert!(said, "{end:?}");
    witness.is_well();
}

#[test]
fn no_common_version_is_an_error_with_those_that_are_spoken() {
    let served = Served::start();
    let mut client = served.raw();
    client.raw(b"CONNECT\naccept-version:2.0,3.1\nhost:h\n\n\0");
    let error = client.refused();
    assert_eq!(error.header("version"), "1.2,1.1,1.0");
    assert!(error.text().contains("offer 1.0, 1.1 or 1.2"), "{error:?}");
}

/// A frame cut at every byte is the same frame.
#[test]
fn a_frame_may_come_byte_by_byte() {
    let served = Served::start();
    let mut client = served.stomp_with(V12, &[]);
    client.subscribe("s", "/topic/bytes", "auto");
    for byte in b"\n\r\nSEND\r\ndestination:/topic/bytes\r\ncontent-length:3\r\n\r\na\0b\0\n" {
        client.raw(&[*byte]);
    }
    assert_eq!(client.message().body, b"a\0b");
}

/// Every line that brokers of this process write to their logs.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Logging;

impl io::Write for Logging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_everything() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Logging)
            .init();
    });
}

/// The lines with `word`, once there are `count` of them.
#[track_caller]
fn logged(word: &str, count: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(word)).map(str::to_owned).collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(start.elapsed() < WAIT, "{count} lines with {word:?} in {log}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Who knows it could send to what the connection keeps for its answers.
#[test]
fn the_name_of_a_session_is_in_no_line_of_the_log() {
    log_everything();
    let served = Served::start();
    let (mut clients, mut names) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut client = served.raw();
        let welcome = client.connect(V12, &[]);
        names.push(welcome.header("session").to_owned());
        client.subscribe("answers", "/temp-queue/answers", "auto");
        clients.push(client);
    }
    // A mistake about a message: what is shown of it stops before the name.
    let mistake = format!("ACK\nid:1-77@{}\n\n\0", names[0]);
    refused(&mut clients[0], mistake.as_bytes(), None, &["\"1-77@…\"", "names no message"]);
    // One that nobody waits for any more, and that is dropped.
    let stale = format!("/reply-queue/{}/stale", names[1]);
    clients[1].say_with(&stale, &[("expires", "1")], "late");
    logged("whose=\"$reply/…/stale\"", 1);
    logged("$reply/…/answers", 2);
    let who: Vec<_> = clients
        .iter()
        .map(|client| {
            let peer = format!("peer={} ", client.stream.local_addr().unwrap());
            let lines = logged(&peer, 1).into_iter().filter(|line| line.contains("client connected"));
            let names = lines.flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
            names.filter(|word| word.starts_with("client=\"stomp-")).collect::<Vec<_>>()
        })
        .collect();
    assert!(who[0].len() == 1 && who[1].len() == 1 && who[0] != who[1], "one of its own for each: {who:?}");
    for name in names {
        let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
        assert!(!log.contains(&name), "{name} is in {log}");
    }
}

/// Whatever a client calls itself and its topics, and whatever is said of its mistakes.
#[test]
fn no_client_writes_lines_of_its_own_to_the_log() {
    log_everything();
    let served = Served::start();
    let forged = "\nforged line\u{2028}forged line\u{202E}forged line";
    served.mqtt(crate::kit::MQTT5, forged).bye();
    let mut client = served.stomp();
    let selector = format!("a LIKE '{forged}' ESCAPE '\n'");
    client.send(
        Command::Subscribe,
        &[("id", "s"), ("destination", "/topic/a"), ("selector", &selector)],
        b"",
    );
    client.refused();
    logged("stands before none of", 1);
    let mut client = served.stomp();
    client.say_with(&format!("/queue/{forged}"), &[("expires", "1")], "late");
    logged("messages dropped", 1);
    for line in logged("forged line", 3) {
        assert!(line.contains("\\nforged line"), "{line:?}");
        assert!(!line.contains(['\u{2028}', '\u{202E}']), "{line:?}");
    }
}
