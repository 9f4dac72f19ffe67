//! Following what is published, and every packet of one client, as it comes or into a file.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::admin::Served;
use super::process::data_dir::DataDir;
use super::process::{Running, noctule};

#[test]
fn what_a_client_publishes_is_traced_as_it_comes() {
    let served = Served::start();
    let data = served.data.path().to_str().unwrap().to_owned();
    let mut traced = noctule(&["ctl", "--data", &data, "trace", "a/#", "-i", "boiler", "-n", "2"]);
    // It says nothing until something comes: what does is repeated until it has been heard.
    while !traced.has_ended() {
        served.publish(&["-t", "a/b", "-m", "of another", "-i", "attic"]);
        served.publish(&["-t", "a/b", "-m", "21.5", "-i", "boiler"]);
        served.publish(&["-t", "b", "-m", "elsewhere", "-i", "boiler"]);
    }
    let told = traced.end().succeeds();
    assert_eq!(told, "boiler  a/b  0  21.5\n".repeat(2));
}

/// `noctule ctl trace-client`, from when nothing is missed any more.
fn follow(served: &Served, arguments: &[&str]) -> Running {
    let data = served.data.path().to_str().unwrap();
    let mut following = noctule(&[&["ctl", "--data", data, "trace-client"], arguments].concat());
    following.says("following");
    following
}

/// Waits until it is told that the client has gone. When it comes back it may be another worker's, who does not wait for
/// that.
fn until_closed(following: &mut Running) {
    while !following.line().contains("\"closed\"") {}
}

/// Who has sent what, and of messages and subscriptions what it is about.
fn steps(told: &str) -> Vec<String> {
    let steps = told.lines().map(|line| {
        let packet: Value = serde_json::from_str(line).unwrap();
        assert!(packet["at_ms"].as_u64() > Some(1_700_000_000_000), "{packet}");
        let word = |key: &str| packet[key].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", word("from"), word("what"), word("topic"))
    });
    steps.collect()
}

#[test]
fn every_packet_of_a_client_is_told_and_of_no_other() {
    let served = Served::start();
    // It need not be there yet.
    let mut following = follow(&served, &["boiler", "--json", "-n", "16"]);
    served.publish(&["-i", "attic", "-t", "a/b", "-m", "of another", "-q", "1"]);
    served.publish(&["-i", "boiler", "-t", "a/b", "-m", "21.5", "-q", "1", "-r"]);
    until_closed(&mut following);
    served.publish(&["-i", "boiler", "-t", "a/b", "-m", "21.75", "-q", "2"]);
    until_closed(&mut following);
    // What it is sent: the retained message, over an identifier of its own.
    let port = served.mqtt.port().to_string();
    let got = noctule(&["sub", "-p", &port, "-i", "boiler", "-t", "a/+", "-q", "1", "-C", "1"]);
    assert_eq!(got.end().succeeds(), "21.5\n");
    let told = following.end().succeeds();
    let expected = [
        "client CONNECT -",
        "broker CONNACK -",
        "client PUBLISH a/b",
        "broker PUBACK -",
        "client DISCONNECT -",
        "- closed -",
        "client CONNECT -",
        "broker CONNACK -",
        "client PUBLISH a/b",
        "broker PUBREC -",
        "client PUBREL -",
        "broker PUBCOMP -",
        "client DISCONNECT -",
        "- closed -",
        "client CONNECT -",
        "broker CONNACK -",
    ];
    assert_eq!(steps(&told), expected, "{told}");
    let line = |number: usize| serde_json::from_str::<Value>(told.lines().nth(number).unwrap()).unwrap();
    let connect = line(0)["detail"].as_str().unwrap().to_owned();
    assert!(connect.starts_with("MQTT ") && connect.contains("from 127.0.0.1:"), "{connect}");
    let publish = line(2);
    assert_eq!((&publish["qos"], &publish["size"], &publish["retain"]), (&1.into(), &4.into(), &true.into()));
    assert_eq!(publish["packet_id"], line(3)["packet_id"]);
}

#[test]
fn what_a_client_is_sent_is_told_with_its_acknowledgements() {
    let served = Served::start();
    let mut client = served.subscriber("boiler", "a/#");
    // It is there already: nothing of its CONNECT is told, and messages that go straight to it are.
    let following = follow(&served, &["boiler", "-n", "3"]);
    served.publish(&["-i", "attic", "-t", "a/b", "-m", "21.5"]);
    served.publish(&["-i", "attic", "-t", "b", "-m", "not for it"]);
    served.publish(&["-i", "attic", "-t", "a/c", "-m", "x"]);
    assert_eq!([client.line(), client.line()], ["21.5", "x"]);
    assert_eq!(served.ctl(&["disconnect", "boiler"]).succeeds(), "");
    let told = following.end().succeeds();
    let lines: Vec<_> = told.lines().map(|line| line.split_once("Z  ").unwrap().1).collect();
    assert_eq!(lines[..2], ["broker  PUBLISH  a/b  QoS 0, 4 bytes", "broker  PUBLISH  a/c  QoS 0, 1 bytes"]);
    assert!(lines[2].starts_with("-  refused  ") && lines[2].contains("an operator"), "{told}");
}

#[test]
fn why_a_client_does_not_come_in_is_told() {
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    let users = folder.path().join("users");
    let mut made = noctule(&["passwd", users.to_str().unwrap(), "ann", "--password-stdin"]);
    made.write(b"right\n");
    made.end().succeeds();
    let path = folder.path().join("noctule.toml").to_str().unwrap().to_owned();
    let config = format!(
        "[auth]\nchain = [\"password\"]\npassword_file = {users:?}\n[admin]\nlisten = [\"127.0.0.1:0\"]\n\
        [[listener]]\naddress = \"127.0.0.1:0\"\nanonymous = false\n"
    );
    std::fs::write(&path, &config).unwrap();
    let served = Served::start_with(DataDir::in_memory(), &["-c", &path]);
    let following = follow(&served, &["boiler", "--json", "-n", "2"]);
    let port = served.mqtt.port().to_string();
    let refused =
        noctule(&["pub", "-p", &port, "-i", "boiler", "-u", "ann", "-P", "wr0ng", "-t", "a", "-m", "x"]);
    assert_ne!(refused.end().code, 0);
    let told = following.end().succeeds();
    assert_eq!(steps(&told), ["client CONNECT -", "- refused -"], "{told}");
    assert!(told.contains("user \\\"ann\\\"") && !told.contains("wr0ng"), "{told}");
}

#[test]
fn a_file_takes_no_more_than_it_may_and_is_nobody_elses() {
    let served = Served::start();
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    let file = folder.path().join("boiler.jsonl");
    let name = file.to_str().unwrap();
    let following = follow(&served, &["boiler", "-o", name, "--max-size", "500"]);
    for _ in 0..3 {
        served.publish(&["-i", "boiler", "-t", "a/b", "-m", "21.5", "-q", "1"]);
    }
    let said = following.end().succeeds();
    assert!(said.contains("larger than 500 bytes"), "{said}");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!((300..=500).contains(&kept.len()) && kept.ends_with('\n'), "{} bytes", kept.len());
    assert_eq!(
        steps(&kept)[..4],
        ["client CONNECT -", "broker CONNACK -", "client PUBLISH a/b", "broker PUBACK -"]
    );
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Nothing is written over.
    let again = served.ctl(&["trace-client", "boiler", "-o", name]);
    assert_eq!((again.code, again.err.contains(name)), (1, true), "{}", again.err);
}

#[test]
fn frames_of_stomp_are_told_by_their_names() {
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    let path = folder.path().join("noctule.toml").to_str().unwrap().to_owned();
    let config =
        "[admin]\nlisten = [\"127.0.0.1:0\"]\n[[listener]]\nprotocol = \"auto\"\naddress = \"127.0.0.1:0\"\n";
    std::fs::write(&path, config).unwrap();
    let served = Served::start_with(DataDir::in_memory(), &["-c", &path]);
    let mut following = follow(&served, &["till", "--json", "-n", "12"]);
    let port = served.mqtt.port().to_string();
    let stomp = |what: &str, rest: &[&str]| {
        noctule(&[&["stomp", what, "-p", &port, "--client-id", "till"], rest].concat()).end().succeeds()
    };
    stomp("send", &["/queue/jobs", "-m", "one", "--persistent"]);
    until_closed(&mut following);
    assert_eq!(stomp("subscribe", &["/queue/jobs", "-n", "1"]), "one\n");
    let told = following.end().succeeds();
    let expected = [
        "client CONNECT -",
        "broker CONNECTED -",
        "client SEND $queue/jobs",
        "broker RECEIPT -",
        "client DISCONNECT -",
        "broker RECEIPT -",
        "- closed -",
        "client CONNECT -",
        "broker CONNECTED -",
        "client SUBSCRIBE -",
        "broker RECEIPT -",
        "broker MESSAGE $queue/jobs",
    ];
    assert_eq!(steps(&told), expected, "{told}");
}
