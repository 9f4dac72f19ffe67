//! `mosquitto_pub` and `mosquitto_sub`, as people use them in scripts.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::{Served, WAIT, missing};

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

fn installed() -> bool {
    let found = ["mosquitto_pub", "mosquitto_sub"].iter().all(|name| {
        Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    });
    if !found {
        missing("there is no mosquitto_pub and mosquitto_sub (the package mosquitto-clients)");
    }
    found
}

fn publish(served: &Served, version: &str, arguments: &[&str]) {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &served.port(), "-V", version]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A running `mosquitto_sub`, killed at the end of the test.
struct Subscriber {
    child: Child,
    lines: Receiver<String>,
    early: VecDeque<String>,
}

impl Subscriber {
    /// Begins to subscribe; returns when it has.
    fn start(served: &Served, version: &str, arguments: &[&str]) -> Self {
        // Into a pipe it would write in blocks.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub"])
            // -d tells of every packet, so that SUBACK can be awaited.
            .args(["-h", "127.0.0.1", "-p", &served.port(), "-V", version, "-d"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
        });
        let mut subscriber = Self { child, lines, early: VecDeque::new() };
        loop {
            let line = subscriber.line();
            if line.starts_with("Subscribed") {
                return subscriber;
            }
            // What was kept for the session comes before it has subscribed again.
            subscriber.early.extend(line.strip_prefix("got: ").map(str::to_owned));
        }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(WAIT).expect("mosquitto_sub says nothing")
    }

    /// The next message, not the next line about a packet.
    #[track_caller]
    fn take(&mut self) -> String {
        if let Some(message) = self.early.pop_front() {
            return message;
        }
        loop {
            let line = self.line();
            if let Some(message) = line.strip_prefix("got: ") {
                return message.to_owned();
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_version_and_qos_and_retained_messages() {
    if !installed() {
        return;
    }
    let served = Served::start();
    for version in VERSIONS {
        let mut subscriber =
            Subscriber::start(&served, version, &["-t", "all/#", "-q", "2", "-F", "got: %q %r %t %p"]);
        for qos in ["0", "1", "2"] {
            publish(&served, version, &["-t", "all/x", "-m", qos, "-q", qos]);
            assert_eq!(subscriber.take(), format!("{qos} 0 all/x {qos}"));
        }
        publish(&served, version, &["-t", "all/kept", "-m", version, "-q", "1", "-r"]);
        assert_eq!(subscriber.take(), format!("1 0 all/kept {version}"));
        let mut late =
            Subscriber::start(&served, version, &["-t", "all/+", "-q", "1", "-F", "got: %q %r %t %p"]);
        assert_eq!(late.take(), format!("1 1 all/kept {version}"));
        publish(&served, version, &["-t", "all/kept", "-n", "-r"]);
        assert_eq!(late.take(), "0 0 all/kept ");
    }
}

#[test]
fn many_lines_through_one_publisher() {
    if !installed() {
        return;
    }
    let served = Served::start();
    for version in VERSIONS {
        let mut subscriber =
            Subscriber::start(&served, version, &["-t", "lines", "-q", "2", "-F", "got: %p"]);
        let mut child = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &served.port(), "-V", version, "-t", "lines", "-q", "2", "-l"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for number in 0..200 {
            writeln!(stdin, "{number}").unwrap();
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
        for number in 0..200 {
            assert_eq!(subscriber.take(), number.to_string());
        }
    }
}

#[test]
fn a_will_when_the_subscriber_is_killed() {
    if !installed() {
        return;
    }
    let served = Served::start();
    for version in VERSIONS {
        let mut witness = Subscriber::start(&served, version, &["-t", "will", "-q", "1", "-F", "got: %p"]);
        let will = ["-t", "x", "--will-topic", "will", "--will-payload", "gone", "--will-qos", "1"];
        drop(Subscriber::start(&served, version, &will));
        assert_eq!(witness.take(), "gone");
    }
}

#[test]
fn a_session_keeps_messages_for_an_absent_subscriber() {
    if !installed() {
        return;
    }
    let served = Served::start();
    for version in VERSIONS {
        let id = format!("lasting-{version}");
        let mut arguments = vec!["-t", "offline", "-q", "1", "-i", &id, "-c", "-F", "got: %p"];
        if version == "mqttv5" {
            arguments.extend(["-x", "600"]);
        }
        drop(Subscriber::start(&served, version, &arguments));
        for number in ["1", "2", "3"] {
            publish(&served, version, &["-t", "offline", "-m", number, "-q", "1"]);
        }
        let mut back = Subscriber::start(&served, version, &arguments);
        assert_eq!([back.take(), back.take(), back.take()], ["1", "2", "3"]);
    }
}

#[test]
fn properties_and_shared_subscriptions_of_5_0() {
    if !installed() {
        return;
    }
    let served = Served::start();
    let format = ["-q", "1", "-F", "got: %p %C %R %D %P"];
    let mut members = [0, 1]
        .map(|_| Subscriber::start(&served, "mqttv5", &[&["-t", "$share/group/five"][..], &format].concat()));
    let mut arguments = vec!["-t", "five", "-m", "x", "-q", "1"];
    for property in
        [["content-type", "text/plain"], ["response-topic", "answers"], ["correlation-data", "corr"]]
    {
        arguments.extend(["-D", "publish"]);
        arguments.extend(property);
    }
    arguments.extend(["-D", "publish", "user-property", "k", "v"]);
    for _ in 0..2 {
        publish(&served, "mqttv5", &arguments);
    }
    for member in &mut members {
        assert_eq!(member.take(), "x text/plain answers corr k:v");
    }
}
