//! `noctule stomp` as a user runs it: real processes, against a peer that is scripted byte for byte and against a
//! broker in this process.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use noctule::broker::Broker;
use noctule::config::{Config, Listener, Protocol};

use crate::process::{Ended, PATIENCE, Running, data_dir::DataDir, file, noctule};

/// A server of a few frames, written out in each test.
struct Peer {
    listener: TcpListener,
}

/// One connection to it.
struct Talk {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn port(&self) -> String {
        self.listener.local_addr().unwrap().port().to_string()
    }

    fn start(&self, command: &str, arguments: &[&str]) -> Running {
        noctule(&[&["stomp", command, "-p", &self.port()], arguments].concat())
    }

    /// The next connection; a client that never comes is no reason to wait for ever.
    fn accept(&self) -> Talk {
        self.listener.set_nonblocking(true).unwrap();
        let begun = Instant::now();
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("no client comes: {error}"),
            }
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Talk { stream, read: Vec::new() }
    }

    /// Takes a connection and answers its CONNECT.
    fn welcome(&self, version: &str) -> Talk {
        let mut talk = self.accept();
        assert!(talk.frame().starts_with("CONNECT\n"));
        talk.says(&format!("CONNECTED\nversion:{version}\n\n\0"));
        talk
    }
}

impl Talk {
    /// The next frame without its NUL; EOLs before it are skipped.
    fn frame(&mut self) -> String {
        loop {
            let start = self.read.iter().position(|byte| *byte != b'\n').unwrap_or(self.read.len());
            self.read.drain(..start);
            if let Some(end) = self.read.iter().position(|byte| *byte == 0) {
                let frame: Vec<u8> = self.read.drain(..=end).collect();
                return String::from_utf8(frame[..end].to_vec()).unwrap();
            }
            assert!(self.fill() > 0, "the client has gone");
        }
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer).unwrap();
        self.read.extend_from_slice(&buffer[..read]);
        read
    }

    fn says(&mut self, frames: &str) {
        self.stream.write_all(frames.as_bytes()).unwrap();
    }

    /// Answers the next frame, which is this, with its receipt.
    #[track_caller]
    fn expects(&mut self, expected: &str) {
        let frame = self.frame();
        assert_eq!(frame, expected);
        if let Some(id) = frame.lines().find_map(|line| line.strip_prefix("receipt:")) {
            self.says(&format!("RECEIPT\nreceipt-id:{id}\n\n\0"));
        }
    }

    /// That the client says nothing more and closes.
    fn is_over(&mut self) {
        while self.fill() > 0 {}
        assert!(self.read.iter().all(|byte| *byte == b'\n'), "{:?}", String::from_utf8_lossy(&self.read));
    }
}

#[test]
fn sending_speaks_like_this() {
    let peer = Peer::listen();
    let args = [
        "/queue/a",
        "-m",
        "grün",
        "-H",
        "k:1",
        "-H",
        "k:a:b",
        "--persistent",
        "--content-type",
        "text/plain",
    ];
    let client =
        peer.start("send", &[&args[..], &["-u", "anna", "-P", "a:b", "-i", "me", "--repeat", "2"]].concat());
    let mut talk = peer.accept();
    assert_eq!(
        talk.frame(),
        "CONNECT\naccept-version:1.0,1.1,1.2\nhost:/\nheart-beat:10000,10000\nlogin:anna\npasscode:a:b\nclient-id:me\n\n"
    );
    talk.says("CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0");
    for receipt in 1..=2 {
        talk.expects(&format!(
            "SEND\ndestination:/queue/a\nk:1\nk:a\\cb\ncontent-type:text/plain\npersistent:true\nreceipt:{receipt}\n\
             content-length:5\n\ngrün"
        ));
    }
    talk.expects("DISCONNECT\nreceipt:3\n\n");
    talk.is_over();
    assert_eq!(client.end().succeeds(), "");
}

#[test]
fn a_transaction_is_begun_filled_and_committed() {
    let peer = Peer::listen();
    let mut client = peer.start("send", &["/queue/a", "-l", "--transaction"]);
    client.write(b"one\n\ntwo\n");
    client.close_input();
    let mut talk = peer.welcome("1.1");
    talk.expects("BEGIN\ntransaction:all\n\n");
    for body in ["one", "two"] {
        talk.expects(&format!("SEND\ndestination:/queue/a\ntransaction:all\ncontent-length:3\n\n{body}"));
    }
    talk.expects("COMMIT\ntransaction:all\nreceipt:1\n\n");
    talk.expects("DISCONNECT\nreceipt:2\n\n");
    client.end().succeeds();
}

#[test]
fn a_transaction_that_is_stopped_sends_nothing_and_says_so() {
    let peer = Peer::listen();
    let mut client = peer.start("send", &["/queue/a", "-l", "--transaction"]);
    client.write(b"one\n");
    let mut talk = peer.welcome("1.2");
    talk.expects("BEGIN\ntransaction:all\n\n");
    talk.expects("SEND\ndestination:/queue/a\ntransaction:all\ncontent-length:3\n\none");
    client.signal("INT");
    talk.expects("DISCONNECT\nreceipt:1\n\n");
    let ended = client.end();
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (1, "noctule: stopped before the transaction of 1 messages was committed, so none of them is sent\n")
    );
}

#[test]
fn without_receipts_the_last_word_has_to_come() {
    for (answers, code) in [(true, 0), (false, 1)] {
        let peer = Peer::listen();
        let client = peer.start("send", &["/queue/a", "-m", "x", "--no-receipt"]);
        let mut talk = peer.welcome("1.2");
        assert_eq!(talk.frame(), "SEND\ndestination:/queue/a\ncontent-length:1\n\nx");
        if answers {
            talk.expects("DISCONNECT\nreceipt:1\n\n");
        } else {
            talk.frame();
        }
        drop(talk);
        let ended = client.end();
        assert_eq!(ended.code, code, "{}", ended.err);
        let said = format!(
            "noctule: 127.0.0.1:{} did not say that it has everything: it closed the connection; some of it may be lost\n",
            peer.port()
        );
        assert_eq!(ended.err, if answers { String::new() } else { said });
    }
}

#[test]
fn a_broker_that_closes_after_every_receipt_has_everything() {
    let peer = Peer::listen();
    let client = peer.start("send", &["/queue/a", "-m", "x"]);
    let mut talk = peer.welcome("1.0");
    talk.expects("SEND\ndestination:/queue/a\nreceipt:1\ncontent-length:1\n\nx");
    talk.frame();
    drop(talk);
    client.end().succeeds();
}

#[test]
fn more_is_not_sent_than_has_receipts() {
    let peer = Peer::listen();
    let client = peer.start("send", &["/queue/a", "-m", "x", "--repeat", "300"]);
    let mut talk = peer.welcome("1.2");
    for _ in 0..256 {
        talk.frame();
    }
    talk.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(talk.read.is_empty() && talk.stream.read(&mut [0]).is_err(), "the window is full");
    talk.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let receipts: String = (1..=256).map(|id| format!("RECEIPT\nreceipt-id:{id}\n\n\0")).collect();
    talk.says(&receipts);
    for id in 257..=300 {
        talk.expects(&format!("SEND\ndestination:/queue/a\nreceipt:{id}\ncontent-length:1\n\nx"));
    }
    talk.expects("DISCONNECT\nreceipt:301\n\n");
    client.end().succeeds();
}

#[test]
fn what_is_printed_is_acknowledged_and_nothing_else_is() {
    for (mode, acks) in [("auto", ""), ("client", "2"), ("client-individual", "12")] {
        let peer = Peer::listen();
        let mut client = peer.start("subscribe", &["/queue/a", "--ack", mode, "-n", "2"]);
        let mut talk = peer.welcome("1.2");
        talk.expects(&format!(
            "SUBSCRIBE\nid:0\ndestination:/queue/a\nack:{mode}\nprefetch-count:2\nactivemq.prefetchSize:2\nreceipt:1\n\n"
        ));
        client.says("subscribed to /queue/a at 127.0.0.1:");
        let message = |id: u32| format!("MESSAGE\ndestination:/queue/a\nack:{id}\n\nbody {id}\0");
        talk.says(&[message(1), message(2), message(3)].concat());
        for id in acks.chars() {
            talk.expects(&format!("ACK\nid:{id}\n\n"));
        }
        talk.expects("DISCONNECT\nreceipt:2\n\n");
        assert_eq!(client.end().succeeds(), "body 1\nbody 2\n", "{mode}");
    }
}

#[test]
fn every_version_acknowledges_in_its_way() {
    for (version, ack) in [
        ("1.0", "ACK\nmessage-id:m\nsubscription:0\n\n"),
        ("1.1", "ACK\nmessage-id:m\nsubscription:0\n\n"),
        ("1.2", "ACK\nid:a\n\n"),
    ] {
        let peer = Peer::listen();
        let mut client = peer.start("subscribe", &["/queue/a", "-V", version]);
        let mut talk = peer.accept();
        assert!(talk.frame().starts_with(&format!("CONNECT\naccept-version:{version}\n")));
        talk.says(&format!("CONNECTED\nversion:{version}\n\n\0"));
        talk.expects("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\nreceipt:1\n\n");
        talk.says("MESSAGE\nsubscription:0\nmessage-id:m\nack:a\n\nhi\0");
        assert_eq!(client.line(), "hi");
        talk.expects(ack);
        client.signal("TERM");
        talk.expects("DISCONNECT\nreceipt:2\n\n");
        client.end().succeeds();
    }
}

#[test]
fn a_subscription_says_everything_that_flags_stand_for() {
    let peer = Peer::listen();
    let args = [
        "/topic/a",
        "--durable",
        "watch",
        "-i",
        "panel",
        "--selector",
        "a > 1",
        "--prefetch",
        "9",
        "-H",
        "x:y",
    ];
    let client = peer.start("subscribe", &args);
    let mut talk = peer.welcome("1.2");
    talk.expects(
        "SUBSCRIBE\nid:watch\ndestination:/topic/a\nack:client\nx:y\nprefetch-count:9\nactivemq.prefetchSize:9\n\
         selector:a > 1\nactivemq.subscriptionName:watch\ndurable:true\nauto-delete:false\nreceipt:1\n\n",
    );
    client.signal("INT");
    talk.frame();
    drop(talk);
    client.end().succeeds();
}

#[test]
fn browsing_ends_when_all_has_been_seen() {
    let peer = Peer::listen();
    let client = peer.start("subscribe", &["/queue/a", "--browse", "-v"]);
    let mut talk = peer.welcome("1.2");
    talk.expects("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:auto\nbrowser:true\nreceipt:1\n\n");
    talk.says("MESSAGE\ndestination:/queue/a\n\none\0MESSAGE\ndestination:/queue/a\nbrowser:end\n\n\0");
    talk.expects("DISCONNECT\nreceipt:2\n\n");
    assert_eq!(client.end().succeeds(), "/queue/a one\n");
}

#[test]
fn what_the_broker_complains_about_is_said() {
    let (error, place) = ("ERROR\nmessage:no\\c such\n\nqueue \"a\"\nis full\0", "127.0.0.1");
    for (at, expected) in [
        (
            0,
            "refuses the connection: no\\c such: queue \"a\"\\nis full; if it wants to know who you are, say it with --login and --passcode-file",
        ),
        (1, "ended the connection: no: such: queue \"a\"\\nis full"),
    ] {
        for (command, rest) in [("send", &["-m", "x"][..]), ("subscribe", &[])] {
            let peer = Peer::listen();
            let client = peer.start(command, &[&["/queue/a"], rest].concat());
            let mut talk = if at == 0 { peer.accept() } else { peer.welcome("1.2") };
            talk.frame();
            talk.says(error);
            drop(talk);
            let ended = client.end();
            let said = format!("noctule: {place}:{} {expected}\n", peer.port());
            assert_eq!((ended.code, ended.err.as_str(), ended.out.as_str()), (1, said.as_str(), ""));
        }
    }
}

#[test]
fn hints_follow_what_was_said() {
    for (args, error, hint) in [
        (
            &["-u", "anna"][..],
            "ERROR\nmessage:no\n\n\0",
            "no; are --login, --passcode-file and --vhost right?",
        ),
        (
            &["-V", "1.0"],
            "ERROR\nmessage:no\nversion:1.1,1.2\n\n\0",
            "no; leave out --protocol, or try another one",
        ),
        (
            &["-V", "1.1"],
            "ERROR\nmessage:no\nversion:1.1,1.2\n\n\0",
            "no; if it wants to know who you are, say it with --login and --passcode-file",
        ),
    ] {
        let peer = Peer::listen();
        let client = peer.start("send", &[&["/queue/a", "-m", "x"], args].concat());
        let mut talk = peer.accept();
        talk.frame();
        talk.says(error);
        drop(talk);
        let ended = client.end();
        assert_eq!(ended.code, 1);
        assert!(ended.err.ends_with(&format!("refuses the connection: {hint}\n")), "{}", ended.err);
    }
}

#[test]
fn a_peer_that_speaks_something_else_is_found_out() {
    for (words, expected) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", " sent what is no STOMP: a line is longer than any command"),
        ("", " closed the connection without an answer; does it speak STOMP on this port?"),
    ] {
        let peer = Peer::listen();
        let client = peer.start("send", &["/queue/a", "-m", "x"]);
        let mut talk = peer.accept();
        talk.frame();
        talk.says(words);
        drop(talk);
        let ended = client.end();
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains(expected), "{}", ended.err);
        assert!(ended.err.contains("does it speak STOMP on this port?"), "{}", ended.err);
    }
}

#[test]
fn it_comes_back_after_a_loss_but_not_after_a_verdict() {
    let peer = Peer::listen();
    let mut client = peer.start("subscribe", &["/queue/a"]);
    let subscribe =
        |receipt: u32| format!("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\nreceipt:{receipt}\n\n");
    let mut talk = peer.welcome("1.2");
    talk.expects(&subscribe(1));
    client.says("subscribed to");
    drop(talk);
    client.says("lost: the broker closed it; coming back as soon as the broker does");
    let mut talk = peer.welcome("1.2");
    client.says("again");
    talk.expects(&subscribe(2));
    talk.says("ERROR\nmessage:server shutting down\n\n\0");
    drop(talk);
    client.says("ended the connection: server shutting down; coming back");
    let mut talk = peer.welcome("1.2");
    talk.expects(&subscribe(3));
    talk.says("MESSAGE\nack:1\n\nhi\0ERROR\nmessage:queue deleted\n\n\0");
    drop(talk);
    let ended = client.end();
    assert_eq!((ended.code, ended.out.as_str()), (1, "hi\n"));
    assert!(ended.err.ends_with("ended the connection: queue deleted\n"), "{}", ended.err);
}

#[test]
fn silence_is_bridged_and_noticed() {
    let peer = Peer::listen();
    let client = peer.start("subscribe", &["/topic/a", "--heart-beat", "2s", "-W", "60s"]);
    let mut talk = peer.accept();
    assert!(talk.frame().contains("\nheart-beat:2000,2000\n"));
    // The client cannot count from before this.
    let started = Instant::now();
    talk.says("CONNECTED\nversion:1.2\nheart-beat:2000,2000\n\n\0");
    talk.frame();
    // The server says nothing at all: it is given up after 4 s, and has heard a beat until then, or two. They are due
    // after two thirds of the time each, but whoever wakes late leaves one out.
    let mut beats = 0;
    while talk.fill() > 0 {
        beats += talk.read.drain(..).filter(|byte| *byte == b'\n').count();
    }
    assert!(beats >= 1, "{beats} beats");
    // Its clock has whole milliseconds.
    assert!(started.elapsed() >= Duration::from_millis(3_990), "{:?}", started.elapsed());
    let ended = client.end();
    assert_eq!(ended.code, 1, "it was never subscribed");
    assert!(ended.err.contains("silent for 4000 ms"), "{}", ended.err);
}

#[test]
fn a_timeout_has_its_exit_code() {
    let peer = Peer::listen();
    // The time begins with the process, which has to come this far in it.
    let client = peer.start("subscribe", &["/topic/a", "-W", "5s"]);
    let mut talk = peer.welcome("1.2");
    talk.expects("SUBSCRIBE\nid:0\ndestination:/topic/a\nack:client\nreceipt:1\n\n");
    talk.expects("DISCONNECT\nreceipt:2\n\n");
    assert_eq!(client.end().code, 3);
}

#[test]
fn what_cannot_be_said_is_said_before_anybody_is_called() {
    let ended = noctule(&["stomp", "send", "/queue/a", "-m", "x", "-P", "a\nb", "-p", "1"]).end();
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (
            2,
            "noctule: the command line asks for something impossible: header \"passcode\" contains '\\n', which CONNECT \
             cannot say; leave it out\n"
        )
    );
    let ended = noctule(&["stomp", "send", "/queue/a", "-m", "x", "--passcode-file", "no/such"]).end();
    assert_eq!(ended.code, 2);
    assert!(ended.err.starts_with("noctule: --passcode-file no/such: cannot be read: "), "{}", ended.err);
}

#[test]
fn the_passcode_file_s_first_line_is_sent() {
    let peer = Peer::listen();
    let passcode = file("passcode", "grün\\x\r\nsecond\n".as_bytes());
    let client = peer.start("send", &["a", "-m", "x", "-u", "anna", "--passcode-file", passcode.path()]);
    let mut talk = peer.accept();
    assert!(talk.frame().ends_with("\nlogin:anna\npasscode:grün\\x\n\n"));
    drop(talk);
    assert_eq!(client.end().code, 1);
}

/// A broker in this process that speaks both.
struct Both {
    broker: Option<Broker>,
    mqtt: String,
    stomp: String,
    _data: DataDir,
}

impl Both {
    fn start() -> Self {
        let data = DataDir::in_memory();
        let mut config = Config::default();
        config.server.data_dir = data.path().to_owned();
        for listener in &mut config.listener {
            listener.address.set_port(0);
        }
        if let Ok(workers) = std::env::var("NOCTULE_TEST_WORKERS") {
            config.server.workers = workers.parse().unwrap();
        }
        let broker = Broker::start(&config).unwrap();
        let port = |protocol| {
            let at = config.listener.iter().position(|one: &Listener| one.protocol == protocol).unwrap();
            broker.tcp_addresses()[at].port().to_string()
        };
        let (mqtt, stomp) = (port(Protocol::Mqtt), port(Protocol::Stomp));
        Self { broker: Some(broker), mqtt, stomp, _data: data }
    }

    fn send(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut running = noctule(&[&["stomp", "send", "-p", &self.stomp], arguments].concat());
        running.write(input);
        running.end()
    }

    /// As soon as the subscription is in force.
    fn subscribe(&self, arguments: &[&str]) -> Running {
        let mut running = noctule(&[&["stomp", "subscribe", "-p", &self.stomp], arguments].concat());
        running.says("subscribed to ");
        running
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            // A test that fails is reported by its own panic.
            let _ = broker.stop();
        }
    }
}

#[test]
fn the_broker_carries_topics_between_both_worlds_in_every_version() {
    let both = Both::start();
    for version in ["1.0", "1.1", "1.2"] {
        let listener = both.subscribe(&["/topic/a/+", "-V", version, "-v", "-n", "2"]);
        let mut sub = noctule(&["sub", "-p", &both.mqtt, "-t", "a/+", "-v", "-C", "2"]);
        sub.says("subscribed to ");
        both.send(&["/topic/a/1", "-m", "grün", "-V", version, "--persistent"], b"").succeeds();
        noctule(&["pub", "-p", &both.mqtt, "-t", "a/2", "-m", "x"]).end().succeeds();
        assert_eq!(listener.end().succeeds(), "/topic/a/1 grün\n/topic/a/2 x\n", "{version}");
        assert_eq!(sub.end().succeeds(), "a/1 grün\na/2 x\n", "{version}");
    }
}

#[test]
fn the_broker_keeps_ten_thousand_lines_in_order() {
    let both = Both::start();
    let lines: String = (1..=10_000).map(|number| format!("{number}\n")).collect();
    for (flag, ack) in [("--receipt", "client"), ("--no-receipt", "client-individual"), ("--receipt", "auto")]
    {
        let listener = both.subscribe(&["/topic/l", "--ack", ack, "-n", "10000"]);
        both.send(&["/topic/l", "-l", flag, "--persistent"], lines.as_bytes()).succeeds();
        assert!(listener.end().succeeds() == lines, "{flag} {ack}: lines are missing or out of order");
    }
}

#[test]
fn the_broker_commits_a_transaction_as_a_whole() {
    let both = Both::start();
    let listener = both.subscribe(&["/topic/t", "-n", "3"]);
    both.send(&["/topic/t", "-l", "--transaction"], b"1\n2\n3\n").succeeds();
    assert_eq!(listener.end().succeeds(), "1\n2\n3\n");
}

#[test]
fn a_queue_gives_each_message_once_and_takes_back_what_was_not_printed() {
    let both = Both::start();
    both.send(&["/queue/q", "-l", "--persistent"], b"1\n2\n3\n4\n").succeeds();
    let browsed = noctule(&["stomp", "subscribe", "-p", &both.stomp, "/queue/q", "--browse", "-v"]).end();
    assert_eq!(browsed.succeeds(), "/queue/q 1\n/queue/q 2\n/queue/q 3\n/queue/q 4\n");
    for (count, ack, expected) in
        [("1", "client", "1\n"), ("2", "client-individual", "2\n3\n"), ("1", "client", "4\n")]
    {
        let shown =
            both.subscribe(&["/queue/q", "-n", count, "--ack", ack, "--format", "headers"]).end().succeeds();
        assert!(!shown.contains("redelivered"), "nothing more was sent than was wanted: {shown}");
        let bodies = shown.split("\n\n").skip(1).filter_map(|rest| rest.lines().next());
        assert_eq!(bodies.map(|body| format!("{body}\n")).collect::<String>(), expected);
    }
    // Nothing is left: what is sent now would come after it.
    let last = both.subscribe(&["/queue/q", "-n", "1"]);
    both.send(&["/queue/q", "-m", "5"], b"").succeeds();
    assert_eq!(last.end().succeeds(), "5\n");
    let ended =
        noctule(&["stomp", "subscribe", "-p", &both.stomp, "/queue/q", "-n", "1", "-W", "200ms"]).end();
    assert_eq!((ended.code, ended.out.as_str()), (3, ""));
}

#[test]
fn a_queue_keeps_ten_thousand_messages_in_order() {
    let both = Both::start();
    let lines: String = (1..=10_000).map(|number| format!("{number}\n")).collect();
    both.send(&["/queue/l", "-l"], lines.as_bytes()).succeeds();
    let all = both.subscribe(&["/queue/l", "-n", "10000"]).end().succeeds();
    assert!(all == lines, "lines are missing or out of order");
}

#[test]
fn a_durable_subscription_has_what_came_meanwhile() {
    let both = Both::start();
    let durable = ["/topic/d", "--durable", "watch", "-i", "panel-1"];
    let first = both.subscribe(&durable);
    first.signal("TERM");
    first.end().succeeds();
    both.send(&["/topic/d", "-m", "later", "--persistent"], b"").succeeds();
    assert_eq!(both.subscribe(&[&durable[..], &["-n", "1"]].concat()).end().succeeds(), "later\n");
}

#[test]
fn a_selector_chooses() {
    let both = Both::start();
    both.send(&["/queue/s", "-m", "low", "-H", "level:1"], b"").succeeds();
    both.send(&["/queue/s", "-m", "high", "-H", "level:9"], b"").succeeds();
    let chosen = both.subscribe(&["/queue/s", "--selector", "level > 3", "-n", "1"]).end();
    assert_eq!(chosen.succeeds(), "high\n");
    assert_eq!(both.subscribe(&["/queue/s", "-n", "1"]).end().succeeds(), "low\n");
    let ended = noctule(&["stomp", "sub", "-p", &both.stomp, "/queue/s", "--selector", "level >"]).end();
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("selector"), "{}", ended.err);
}

#[test]
fn the_broker_s_refusal_is_passed_on() {
    let both = Both::start();
    let ended = both.send(&["/topic/a/#", "-m", "x"], b"");
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("ended the connection: "), "{}", ended.err);
    assert!(ended.err.contains("wildcard '#'"), "{}", ended.err);
}

#[test]
fn binary_bodies_pass_the_broker_unchanged() {
    let both = Both::start();
    let listener = both.subscribe(&["/topic/b", "-n", "1"]);
    both.send(&["/topic/b", "-f", "-"], b"\xff\0\x1b[1m\r\n").succeeds();
    assert_eq!(listener.end().raw, b"\xff\0\x1b[1m\r\n\n");
}
