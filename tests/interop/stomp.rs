//! The clients of STOMP, by their scripts, and paho-mqtt and rumqttc together with stomp.py.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::scripts::{node, perl, python, run};
use crate::{Served, WAIT};

fn stomp_py(version: &str) {
    let Some(mut command) = python("stomp_py.py", &["stomp"]) else { return };
    let served = Served::start();
    let all = ["connecting", "modes", "transactions", "headers", "bodies", "durable", "errors"];
    // What 1.0 has not.
    let later = if version == "1.0" { &[][..] } else { &["nack", "heart_beats"] };
    run(command.args([&served.stomp_port(), version]), &[&all, later].concat());
}

#[test]
fn stomp_py_in_1_0() {
    stomp_py("1.0");
}

#[test]
fn stomp_py_in_1_1() {
    stomp_py("1.1");
}

#[test]
fn stomp_py_in_1_2() {
    stomp_py("1.2");
}

fn stompjs(version: &str) {
    let Some(mut command) = node("stompjs.js", "@stomp/stompjs", "@stomp/stompjs") else { return };
    let served = Served::start();
    stompjs_parts(&mut command, &served.stomp_port(), version);
}

pub(crate) fn stompjs_parts(command: &mut Command, port: &str, version: &str) {
    let all = ["connecting", "modes", "transactions", "headers", "bodies", "errors", "reconnecting"];
    let later = if version == "1.0" { &[][..] } else { &["nack", "heart_beats"] };
    run(command.args([port, version]), &[&all, later].concat());
}

#[test]
fn stompjs_in_1_0() {
    stompjs("1.0");
}

#[test]
fn stompjs_in_1_1() {
    stompjs("1.1");
}

#[test]
fn stompjs_in_1_2() {
    stompjs("1.2");
}

#[test]
fn net_stomp() {
    let Some(mut command) = perl("net_stomp.pl", "Net::Stomp", "libnet-stomp-perl") else { return };
    let served = Served::start();
    let parts = ["connecting", "sending", "transactions", "acknowledging", "reconnecting"];
    run(command.arg(served.stomp_port()), &parts);
}

fn stomp_py_and_paho(version: &str) {
    let Some(mut command) = python("stomp_and_mqtt.py", &["stomp", "paho.mqtt"]) else { return };
    let served = Served::start();
    let parts = ["to_stomp", "to_mqtt", "requests", "retained", "shared"];
    run(command.args([&served.port(), &served.stomp_port(), version]), &parts);
}

#[test]
fn stomp_py_in_1_0_and_paho() {
    stomp_py_and_paho("1.0");
}

#[test]
fn stomp_py_in_1_1_and_paho() {
    stomp_py_and_paho("1.1");
}

#[test]
fn stomp_py_in_1_2_and_paho() {
    stomp_py_and_paho("1.2");
}

/// A consumer by stomp.py, killed at the end.
pub(crate) struct Consumer {
    child: Child,
    lines: Receiver<String>,
}

impl Consumer {
    /// Begins to consume, and to acknowledge (`"ack"`) or not (`"hold"`); returns when it has. `None` without stomp.py.
    pub(crate) fn start(served: &Served, destination: &str, what: &str) -> Option<Self> {
        let mut command = python("stomp_consumer.py", &["stomp"])?;
        let mut child = command
            .args([&served.stomp_port(), destination, what])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
        });
        let consumer = Self { child, lines };
        assert_eq!(consumer.lines.recv_timeout(WAIT).as_deref(), Ok("ready"));
        Some(consumer)
    }

    /// The number in the next message, if one comes in time.
    #[track_caller]
    pub(crate) fn next(&self, within: Duration) -> Option<u32> {
        let line = self.lines.recv_timeout(within).ok()?;
        Some(line.parse().unwrap_or_else(|_| panic!("{line}")))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
