//! The clients that need an interpreter: a script each, which does everything and says `ok` and its name to each part.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::{Served, WAIT, missing};

const ALL: [&str; 4] = ["qos", "retained", "will", "offline"];
const V5: [&str; 3] = ["properties", "alias", "shared"];

/// Runs a script, which has to do every part.
fn run(command: &mut Command, version: &str) {
    let served = Served::start();
    let mut child = command
        .args(["127.0.0.1", &served.port(), version])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begun.elapsed() > 2 * WAIT {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    let complaints = complaints.join().unwrap().unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{said}\n{complaints}");
    let done: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("ok ")).collect();
    let expected = if version == "5" { [&ALL[..], &V5].concat() } else { ALL.to_vec() };
    assert_eq!(done, expected, "{complaints}");
}

fn script(name: &str) -> String {
    format!("{}/tests/interop/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn paho(version: &str) {
    let python = std::env::var("NOCTULE_PYTHON").unwrap_or_else(|_| "python3".into());
    let has_paho = Command::new(&python).args(["-c", "import paho.mqtt"]).stderr(Stdio::null()).status();
    if !has_paho.is_ok_and(|status| status.success()) {
        return missing("NOCTULE_PYTHON names no Python that can import paho.mqtt");
    }
    run(Command::new(python).arg(script("paho_client.py")), version);
}

fn mqttjs(version: &str) {
    let modules = std::env::var("NOCTULE_NODE_MODULES").unwrap_or_default();
    if !Path::new(&modules).join("mqtt/package.json").is_file() {
        return missing("NOCTULE_NODE_MODULES names no directory that holds MQTT.js");
    }
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    if !node.is_ok_and(|status| status.success()) {
        return missing("there is no node");
    }
    run(Command::new("node").arg(script("mqttjs.js")), version);
}

#[test]
fn paho_in_3_1_1() {
    paho("3.1.1");
}

#[test]
fn paho_in_5_0() {
    paho("5");
}

#[test]
fn mqttjs_in_3_1_1() {
    mqttjs("3.1.1");
}

#[test]
fn mqttjs_in_5_0() {
    mqttjs("5");
}
