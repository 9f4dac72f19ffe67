//! The clients that need an interpreter: a script each, which does everything and says `ok` and its name to each part.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::{Served, WAIT, missing};

const ALL: [&str; 4] = ["qos", "retained", "will", "offline"];
const V5: [&str; 3] = ["properties", "alias", "shared"];

/// Runs a script, which has to do all of `parts`.
pub(crate) fn run(command: &mut Command, parts: &[&str]) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
        if begun.elapsed() > 4 * WAIT {
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
    assert_eq!(done, parts, "{complaints}");
}

fn script(name: &str) -> String {
    format!("{}/tests/interop/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A command that runs `name`, unless there is no Python that has these modules.
pub(crate) fn python(name: &str, modules: &[&str]) -> Option<Command> {
    let python = std::env::var("NOCTULE_PYTHON").unwrap_or_else(|_| "python3".into());
    for module in modules {
        if !succeeds(Command::new(&python).args(["-c", &format!("import {module}")])) {
            missing(&format!("NOCTULE_PYTHON names no Python that can import {module}"));
            return None;
        }
    }
    let mut command = Command::new(python);
    command.args([&script(name), "127.0.0.1"]);
    Some(command)
}

/// A command that runs `name`, unless there is no node or no such module for it.
pub(crate) fn node(name: &str, module: &str, called: &str) -> Option<Command> {
    let modules = std::env::var("NOCTULE_NODE_MODULES").unwrap_or_default();
    if !Path::new(&modules).join(module).join("package.json").is_file() {
        missing(&format!("NOCTULE_NODE_MODULES names no directory that holds {called}"));
        return None;
    }
    if !succeeds(Command::new("node").arg("--version")) {
        missing("there is no node");
        return None;
    }
    let mut command = Command::new("node");
    command.args([&script(name), "127.0.0.1"]);
    Some(command)
}

/// A command that runs `name`, unless there is no Perl that has this module.
pub(crate) fn perl(name: &str, module: &str, package: &str) -> Option<Command> {
    if !succeeds(Command::new("perl").args([&format!("-M{module}"), "-e", "1"])) {
        missing(&format!("there is no Perl that has {module} (the package {package})"));
        return None;
    }
    let mut command = Command::new("perl");
    command.args([&script(name), "127.0.0.1"]);
    Some(command)
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn every_part(command: Option<Command>, version: &str) {
    let Some(mut command) = command else { return };
    every_part_of(&mut command, &Served::start(), version);
}

/// Runs a script of an MQTT client, which has to do everything that there is in that version.
pub(crate) fn every_part_of(command: &mut Command, served: &Served, version: &str) {
    let parts = if version == "5" { [&ALL[..], &V5].concat() } else { ALL.to_vec() };
    run(command.args([&served.port(), version]), &parts);
}

fn paho(version: &str) {
    every_part(python("paho_client.py", &["paho.mqtt"]), version);
}

fn mqttjs(version: &str) {
    every_part(node("mqttjs.js", "mqtt", "MQTT.js"), version);
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
