//! The commands that talk to a broker, as a user runs them: real processes against a broker in this one. `noctule stomp`
//! has a room of its own.
//!
//! `NOCTULE_TEST_WORKERS` chooses the broker's number of workers. What the protocol machines do by themselves is
//! tested beside them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot start a process has failed"
)]

#[path = "cli/acl.rs"]
mod acl;
#[path = "cli/admin.rs"]
mod admin;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/certs.rs"]
mod certs;
#[path = "cli/compare.rs"]
mod compare;
#[path = "cli/import.rs"]
mod import;
#[path = "cli/operator.rs"]
mod operator;
#[path = "cli/passwd.rs"]
mod passwd;
#[path = "cli/process.rs"]
mod process;
#[path = "cli/rights.rs"]
mod rights;
#[path = "cli/security.rs"]
mod security;
#[path = "cli/service.rs"]
mod service;
#[path = "cli/stomp.rs"]
mod stomp;
#[path = "cli/trace.rs"]
mod trace;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use noctule::config::Anonymous;
use process::ports::free_port;
use process::{PATIENCE, TestBroker, noctule, script, words};

const VERSIONS: [&str; 3] = ["3.1", "3.1.1", "5"];

#[test]
fn every_version_and_qos_arrives() {
    let broker = TestBroker::start();
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let sub = broker.sub(&["-V", version, "-q", qos, "-t", "a/+", "-v", "-C", "2"]);
            for topic in ["a/1", "a/2"] {
                broker.publish(&["-V", version, "-q", qos, "-t", topic, "-m", "grün"]).succeeds();
            }
            assert_eq!(sub.end().succeeds(), "a/1 grün\na/2 grün\n", "{version} QoS {qos}");
        }
    }
}

#[test]
fn retained_messages_are_kept_shown_left_out_and_deleted() {
    let broker = TestBroker::start();
    broker.publish(&["-t", "r", "-m", "kept", "-r", "-q", "1"]).succeeds();
    assert_eq!(broker.sub(&["-t", "r", "-C", "1"]).end().succeeds(), "kept\n");
    for version in VERSIONS {
        let sub = broker.sub(&["-t", "r", "-C", "1", "--no-retained", "-V", version]);
        broker.publish(&["-t", "r", "-m", "live"]).succeeds();
        assert_eq!(sub.end().succeeds(), "live\n", "{version}");
    }
    broker.publish(&["-t", "r", "-n", "-r", "-q", "1"]).succeeds();
    // What was still kept would come before what is published now.
    let sub = broker.sub(&["-t", "r", "-C", "1"]);
    broker.publish(&["-t", "r", "-m", "after it"]).succeeds();
    assert_eq!(sub.end().succeeds(), "after it\n");
}

#[test]
fn a_subscriber_that_is_killed_leaves_its_will_and_one_that_is_interrupted_does_not() {
    let broker = TestBroker::start();
    for (signal, left) in [("KILL", "gone\n"), ("INT", "nothing\n"), ("TERM", "nothing\n")] {
        let watcher = broker.sub(&["-t", "will", "-C", "1"]);
        let mortal =
            broker.sub(&["-t", "x", "--will-topic", "will", "--will-message", "gone", "--will-qos", "1"]);
        mortal.signal(signal);
        let ended = mortal.end();
        assert_eq!(ended.code, if signal == "KILL" { -1 } else { 0 }, "{signal}: {}", ended.err);
        if signal != "KILL" {
            // The broker has closed the connection by now: a will would come before this.
            broker.publish(&["-t", "will", "-m", "nothing"]).succeeds();
        }
        assert_eq!(watcher.end().succeeds(), left, "{signal}");
    }
}

#[test]
fn json_shows_every_property() {
    let broker = TestBroker::start();
    let sub = broker.sub(&["-t", "j", "-q", "1", "--json", "-C", "2", "--subscription-id", "7"]);
    let file = process::file("json-payload", b"\xff\0");
    broker
        .publish(&[
            "-t",
            "j",
            "-f",
            file.path(),
            "-q",
            "1",
            "--content-type",
            "x/y",
            "--payload-format",
            "bytes",
            "--response-topic",
            "back",
            "--correlation-data",
            "42",
            "--expiry",
            "60s",
            "--user-property",
            "k=1",
            "--user-property",
            "k=2=3",
        ])
        .succeeds();
    broker.publish(&["-t", "j", "-m", "{\"a\":1}", "-V", "3.1.1"]).succeeds();
    let shown = sub.end().succeeds();
    let lines: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut first = lines[0].clone();
    let time = first.as_object_mut().unwrap().remove("time").unwrap();
    assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    assert_eq!(
        first,
        serde_json::json!({
            "topic": "j", "payload_base64": "/wA=", "qos": 1, "retain": false, "dup": false,
            "content_type": "x/y", "payload_format": "bytes", "response_topic": "back",
            "correlation_data": "42", "expiry_s": 60, "subscription_ids": [7],
            "user_properties": [{"name": "k", "value": "1"}, {"name": "k", "value": "2=3"}],
        })
    );
    assert_eq!((&lines[1]["payload"], &lines[1]["qos"]), (&"{\"a\":1}".into(), &0.into()));
    assert_eq!(lines.len(), 2);
}

#[test]
fn binary_payloads_pass_a_pipe_unchanged() {
    let broker = TestBroker::start();
    let sub = broker.sub(&["-t", "b", "-C", "2"]);
    broker.publish_from(&["-t", "b", "-f", "-", "-q", "2"], b"\xff\0\x1b[1m\r\n").succeeds();
    broker.publish(&["-t", "b", "-n"]).succeeds();
    assert_eq!(sub.end().raw, b"\xff\0\x1b[1m\r\n\n\n");
}

#[test]
fn ten_thousand_lines_arrive_in_order() {
    let broker = TestBroker::start();
    let lines: String = (1..=10_000).map(|number| format!("{number}\n")).collect();
    for version in ["3.1.1", "5"] {
        for qos in ["1", "2"] {
            let sub = broker.sub(&["-t", "l", "-q", qos, "-C", "10000", "-V", version]);
            broker.publish_from(&["-t", "l", "-q", qos, "-l", "-V", version], lines.as_bytes()).succeeds();
            assert!(sub.end().succeeds() == lines, "{version} QoS {qos}: lines are missing or out of order");
        }
    }
}

#[test]
fn more_than_the_output_holds_is_published_without_a_ping() {
    let broker = TestBroker::start();
    // They are all read before the broker has answered, so that the output fills up; and 0s means that no timer
    // comes to the rescue.
    let lines = format!("{}\n", "x".repeat(2_000)).repeat(1_000);
    for version in VERSIONS {
        let sub = broker.sub(&["-t", "l", "-C", "1000"]);
        broker.publish_from(&["-t", "l", "-l", "-k", "0s", "-V", version], lines.as_bytes()).succeeds();
        assert!(sub.end().succeeds() == lines, "{version}: lines are missing");
    }
}

#[test]
fn lines_are_published_as_they_come() {
    let broker = TestBroker::start();
    let mut sub = broker.sub(&["-t", "l", "-q", "1"]);
    let mut publisher = broker.start_publish(&["-t", "l", "-q", "1", "-l"]);
    for line in ["one", "two"] {
        publisher.write(format!("{line}\n\n").as_bytes());
        assert_eq!(sub.line(), line);
    }
    publisher.write(b"no end of line");
    publisher.close_input();
    publisher.end().succeeds();
    assert_eq!(sub.line(), "no end of line");
    sub.signal("INT");
    sub.end().succeeds();
}

#[test]
fn a_stopped_publisher_says_what_is_missing() {
    // Takes connections and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let publisher = noctule(&["pub", "-t", "a", "-m", "x", "-q", "1", "-p", &port]);
    let _socket = listener.accept().unwrap();
    publisher.signal("INT");
    let ended = publisher.end();
    assert_eq!(ended.code, 1);
    assert_eq!(ended.err, "noctule: stopped with 0 messages published, 0 of them not acknowledged\n");

    let broker = TestBroker::start();
    let mut sub = broker.sub(&["-t", "a", "-C", "1"]);
    let mut publisher = broker.start_publish(&["-t", "a", "-l", "-q", "1"]);
    publisher.write(b"x\n");
    assert_eq!(sub.line(), "x");
    // Its acknowledgement is on the way; then nothing is missing. Nobody is told when it is there.
    std::thread::sleep(Duration::from_secs(3));
    publisher.signal("TERM");
    publisher.end().succeeds();
}

#[test]
fn silence_is_bridged_by_pings() {
    let broker = TestBroker::start();
    let sub = broker.sub(&["-t", "a", "-k", "4s", "-C", "1"]);
    // Without pings the broker gives up after one and a half times the keep alive. A ping may be late by half of it,
    // which is longer than a busy machine holds a process up.
    std::thread::sleep(Duration::from_secs(7));
    broker.publish(&["-t", "a", "-m", "still here"]).succeeds();
    let ended = sub.end();
    assert_eq!((ended.out.as_str(), ended.err.lines().count()), ("still here\n", 1), "{}", ended.err);
}

#[test]
fn count_and_timeout_have_their_exit_codes() {
    let broker = TestBroker::start();
    let started = Instant::now();
    // The time begins with the process: another one has to publish in it.
    let mut sub = broker.sub(&["-t", "c", "-C", "2", "-W", "5s"]);
    broker.publish(&["-t", "c", "-m", "one"]).succeeds();
    assert_eq!(sub.line(), "one");
    let ended = sub.end();
    assert_eq!((ended.code, ended.out.as_str()), (3, "one\n"));
    assert!(started.elapsed() >= Duration::from_secs(5));
    // Where nothing comes it ends in the same way, however far it has got.
    let ended = broker.sub_to_end(&["-t", "c", "-W", "200ms"]);
    assert_eq!((ended.code, ended.out.as_str()), (3, ""));
    // A third message that came with the second stays with the broker.
    let session = ["-t", "c", "-q", "1", "-i", "kept", "--keep-session"];
    let sub = broker.sub(&session);
    sub.signal("TERM");
    sub.end().succeeds();
    broker.publish_from(&["-t", "c", "-q", "1", "-l"], b"1\n2\n3\n4\n").succeeds();
    for (count, expected) in [("1", "1\n"), ("2", "2\n3\n"), ("1", "4\n")] {
        let sub = broker.sub_to_end(&[&session[..], &["-C", count]].concat());
        assert_eq!(sub.succeeds(), expected);
    }
}

#[test]
fn a_session_is_kept_in_every_version() {
    let broker = TestBroker::start();
    for version in VERSIONS {
        let session = ["-t", "k", "-q", "2", "-i", version, "--keep-session", "-V", version];
        let sub = broker.sub(&session);
        sub.signal("TERM");
        sub.end().succeeds();
        broker.publish(&["-t", "k", "-q", "2", "-m", "waited"]).succeeds();
        let sub = broker.sub_to_end(&[&session[..], &["-C", "1"]].concat());
        assert_eq!(sub.succeeds(), "waited\n", "{version}");
        // Without the flag the session is left behind for good.
        broker.publish(&["-t", "k", "-q", "2", "-m", "lost"]).succeeds();
        let sub = broker.sub(&["-t", "k", "-q", "2", "-i", version, "-V", version, "-C", "1"]);
        broker.publish(&["-t", "k", "-q", "2", "-m", "fresh"]).succeeds();
        assert_eq!(sub.end().succeeds(), "fresh\n", "{version}");
    }
}

#[test]
fn nobody_there_is_said_with_what_to_do() {
    let port = free_port().to_string();
    for command in [&["pub", "-t", "a", "-m", "x"][..], &["sub", "-t", "a"]] {
        let ended = noctule(&[command, &["-p", &port]].concat()).end();
        assert_eq!((ended.code, ended.out.as_str()), (1, ""));
        assert_eq!(
            ended.err,
            format!(
                "noctule: connection refused at 127.0.0.1:{port}: is the broker running? start one with `noctule run`\n"
            )
        );
    }
    // Too long for a name of DNS, so that no server is asked, which may take its time or never answer.
    let host = format!("{}.invalid", "x".repeat(64));
    let ended = noctule(&["pub", "-t", "a", "-m", "x", "-H", &host]).end();
    assert_eq!(ended.code, 1);
    assert!(ended.err.starts_with(&format!("noctule: can't find the host \"{host}\": ")), "{}", ended.err);
}

#[test]
fn a_refused_connection_is_said_with_what_to_do() {
    let broker = TestBroker::start_with(Anonymous::Nobody);
    let port = broker.port();
    let v5 = broker.publish(&["-t", "a", "-m", "x"]);
    assert_eq!(v5.code, 1);
    assert_eq!(
        v5.err,
        format!(
            "noctule: 127.0.0.1:{port} refuses the connection: 0x87 not authorized: no credentials were given, and this \
             listener does not admit anonymous clients from 127.0.0.1; say who you are with --user and --password-file\n"
        )
    );
    let v3 = noctule(&["sub", "-t", "a", "-p", &port, "-V", "3.1.1"]).end();
    assert_eq!(v3.code, 1);
    assert_eq!(
        v3.err,
        format!(
            "noctule: 127.0.0.1:{port} refuses the connection: 0x87 not authorized; say who you are with --user and \
             --password-file\n"
        )
    );
    let url = format!("mqtt://anna:secret@127.0.0.1:{port}");
    let known = noctule(&["pub", "-t", "a", "-m", "x", "--url", &url]).end();
    assert!(known.err.contains("0x86 bad user name or password"), "{}", known.err);
    assert!(known.err.contains("are user name and password right?"), "{}", known.err);
    assert!(!known.err.contains("secret"));
}

#[test]
fn a_refused_subscription_is_said_and_the_others_go_on() {
    let broker = TestBroker::start();
    // A group name that only the broker looks at.
    let deep = vec!["x"; 200].join("/");
    for (version, reason) in [("5", ": 0x8F topic filter invalid"), ("3.1.1", "")] {
        let sub = broker.sub(&["-t", &deep, "-t", "good", "-C", "1", "-V", version]);
        broker.publish(&["-t", "good", "-m", "x"]).succeeds();
        let ended = sub.end();
        let said = format!("noctule: the broker refuses the subscription to {deep}{reason}\n");
        assert!(ended.err.starts_with(&said), "{}", ended.err);
        assert_eq!(ended.succeeds(), "x\n");
    }
    let ended = noctule(&["sub", "-t", &deep, "-p", &broker.port()]).end();
    assert_eq!(ended.code, 1);
    assert!(ended.err.ends_with("noctule: the broker grants none of the subscriptions\n"), "{}", ended.err);
}

#[test]
fn a_message_beyond_the_limit_is_refused_before_it_is_sent() {
    let broker = TestBroker::start();
    let large = process::file("large-payload", &vec![b'x'; 2 << 20]);
    let ended = broker.publish(&["-t", "a", "-f", large.path(), "-q", "1"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("the server takes 1048576 at most"), "{}", ended.err);
    // MQTT 3 is not told the limit: the broker closes, and that is no success either.
    for qos in ["0", "1"] {
        let ended = broker.publish(&["-t", "a", "-f", large.path(), "-q", qos, "-V", "3.1.1"]);
        assert_eq!(ended.code, 1, "QoS {qos}: {}", ended.err);
        assert!(ended.err.contains("lost"), "{}", ended.err);
    }
}

#[test]
fn unreadable_files_are_the_command_lines_fault() {
    for flag in ["--password-file", "--file"] {
        let rest: &[&str] = if flag == "--file" { &[] } else { &["-m", "x"] };
        let ended = noctule(&[&["pub", "-t", "a", flag, "no/such/file"], rest].concat()).end();
        assert_eq!(ended.code, 2);
        assert!(
            ended.err.starts_with(&format!("noctule: {flag} no/such/file: cannot be read: ")),
            "{}",
            ended.err
        );
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let broker = TestBroker::start();
    let port = broker.port();
    let pipe = "{ \"$0\" \"$@\"; echo \"exit $?\" >&2; } | head -n 1";
    let mut sub = script(pipe, &["sub", "-p", &port, "-t", "h"]);
    sub.says("subscribed to ");
    broker.publish(&["-t", "h", "-m", "first"]).succeeds();
    assert_eq!(sub.line(), "first");
    while !sub.has_ended() {
        broker.publish(&["-t", "h", "-m", "more"]).succeeds();
    }
    let ended = sub.end();
    assert_eq!((ended.out.as_str(), ended.err.lines().count()), ("first\n", 2), "{}", ended.err);
    assert!(ended.err.ends_with("exit 0\n"), "{}", ended.err);
}

#[test]
fn it_comes_back_when_the_broker_does() {
    let broker = TestBroker::start();
    let port = broker.port();
    let mut sub = broker.sub(&["-t", "back", "-C", "1"]);
    broker.stop();
    sub.says("coming back as soon as the broker does");
    let broker = TestBroker::start_at(&port);
    sub.says("again");
    // The subscription is in force a moment after the connection.
    let started = Instant::now();
    while !sub.has_ended() && started.elapsed() < PATIENCE {
        broker.publish(&["-t", "back", "-m", "again"]).succeeds();
    }
    assert_eq!(sub.end().succeeds(), "again\n");
}

#[test]
fn a_client_whose_session_is_taken_over_does_not_fight_for_it() {
    let broker = TestBroker::start();
    let first = broker.sub(&["-t", "a", "-i", "twin"]);
    let second = broker.sub(&["-t", "a", "-i", "twin"]);
    let ended = first.end();
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("0x8E session taken over"), "{}", ended.err);
    second.signal("INT");
    second.end().succeeds();
}

#[test]
fn the_password_file_s_first_line_is_sent() {
    // A listener of our own sees what is really sent.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let file = process::file("password", b"s3cret\r\nsecond line\n");
    let args = words(
        "pub -V 3.1.1 -t a -m x -u anna -i me -k 9s --will-topic w --will-message bye --will-qos 2 --will-retain",
    );
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let client = noctule(&[&args[..], &["--password-file", file.path(), "-p", &port]].concat());
    let (mut socket, _) = listener.accept().unwrap();
    let mut packet = vec![0; 2 + 10 + 4 + 3 + 5 + 6 + 8];
    std::io::Read::read_exact(&mut socket, &mut packet).unwrap();
    let mut expected =
        b"\x10\x24\0\x04MQTT\x04\xf6\0\x09\0\x02me\0\x01w\0\x03bye\0\x04anna\0\x06s3cret".to_vec();
    expected[1] = (expected.len() - 2) as u8;
    assert_eq!(packet, expected);
    drop(socket);
    let ended = client.end();
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("closed the connection without an answer"), "{}", ended.err);
    assert!(ended.err.contains("takes no more connections, or not from this address"), "{}", ended.err);
}
