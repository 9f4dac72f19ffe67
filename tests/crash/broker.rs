//! The broker as a process of its own: started, ended one way or the other, started again on the same directory.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::world::wait;

/// How long a start may take, with all that there is to be recovered.
const START: Duration = Duration::from_secs(30);

/// Where a broker keeps its things, and how it is configured.
#[derive(Debug)]
pub(crate) struct Place {
    config: PathBuf,
    log: PathBuf,
}

impl Place {
    /// Writes the configuration; `store` is what stands in its `[store]`.
    pub(crate) fn new(directory: &Path, store: &str) -> Self {
        let place = Self { config: directory.join("noctule.toml"), log: directory.join("broker.log") };
        let workers = std::env::var("NOCTULE_TEST_WORKERS").unwrap_or_else(|_| "1".to_owned());
        let data = directory.join("data");
        // Away subscribers must lose nothing to a limit.
        let text = format!(
            "[server]\nworkers = {workers}\ndata_dir = {data:?}\n[store]\n{store}\
             [limits]\nmax_queued_messages = 10000000\nmax_queued_bytes = \"4GiB\"\n\
             [log]\nformat = \"json\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [[listener]]\nprotocol = \"stomp\"\naddress = \"127.0.0.1:0\"\n"
        );
        std::fs::write(&place.config, text).unwrap();
        place
    }

    /// Starts a broker; it may not serve yet.
    pub(crate) fn start(&self) -> Broker {
        let mut child = Command::new(env!("CARGO_BIN_EXE_noctule"))
            .args(["run", "-c"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let words = BufReader::new(child.stderr.take().unwrap());
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let (sender, listening) = channel();
        std::thread::spawn(move || {
            for line in words.split(b'\n').map_while(Result::ok) {
                log.write_all(&[&line[..], b"\n"].concat()).unwrap();
                if let Some(port) = port(&line) {
                    // A broker killed at its start has nobody waiting.
                    let _ = sender.send(port);
                }
            }
        });
        Broker { child, listening, log: self.log.clone() }
    }
}

/// The port in the line that says where the broker listens.
fn port(line: &[u8]) -> Option<u16> {
    let line: serde_json::Value = serde_json::from_slice(line).ok()?;
    let address = line["address"].as_str().filter(|_| line["message"] == "listening")?;
    address.rsplit_once(':')?.1.parse().ok()
}

/// A broker process.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    listening: Receiver<u16>,
    log: PathBuf,
}

impl Broker {
    /// Waits until it serves; where.
    pub(crate) fn port(&self) -> u16 {
        match self.listening.recv_timeout(START) {
            Ok(port) => port,
            Err(RecvTimeoutError::Timeout) => panic!("no start within {START:?}; see {}", self.log.display()),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended instead; see {}", self.log.display()),
        }
    }

    /// Waits until it serves; where STOMP is spoken. MQTT's port is told no more.
    pub(crate) fn stomp_port(&self) -> u16 {
        // In the order of the configuration.
        self.port();
        self.port()
    }

    /// SIGTERM, and waits for the end. Whether it was a good one.
    pub(crate) fn stop(mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let ended = wait(START, || self.child.try_wait().unwrap().is_some());
        ended && self.child.wait().unwrap().success()
    }

    /// SIGKILL. Whether it was alive until then.
    pub(crate) fn kill(mut self) -> bool {
        let alive = self.child.try_wait().unwrap().is_none();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        alive
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A test that fails leaves nobody behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
