//! A broker that is a process of its own, for what is the whole process's, such as its memory.
//!
//! It is the real binary, keeps nothing on a disk, and is killed when the test ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noctule_mqtt::{Connect, Version};

use super::data_dir::DataDir;
use super::{Client, Got, workers};

/// A running broker with one listener for MQTT.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    /// RSS at its start, bytes.
    pub(crate) least: u64,
    /// The most since, bytes.
    peak: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    /// Removed when the broker has been killed.
    _directory: DataDir,
}

impl Process {
    /// With these keys in `[server]`, and these sections behind all others.
    pub(crate) fn start(server: &str, more: &str) -> Self {
        let directory = DataDir::in_memory();
        std::fs::create_dir_all(directory.path()).unwrap();
        let file = directory.path().join("noctule.toml");
        let (workers, data) = (workers(), directory.path().join("data"));
        let text = format!(
            "[server]\nworkers = {workers}\ndata_dir = {data:?}\n{server}\n[store]\ndurability = \"never\"\n\
             [log]\nformat = \"json\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{more}"
        );
        std::fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_noctule"))
            .args(["run", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut seen = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended instead:\n{seen}"));
            seen += &line;
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if value["message"] == "listening" {
                break value["address"].as_str().unwrap().parse().unwrap();
            }
        };
        let (log, peak, ended) = (Arc::new(Mutex::new(seen)), Arc::new(AtomicU64::new(0)), Arc::default());
        let heard = Arc::clone(&log);
        std::thread::spawn(move || lines.for_each(|line| heard.lock().unwrap().push_str(&(line + "\n"))));
        let (seen, over, pid) = (Arc::clone(&peak), Arc::clone(&ended), child.id());
        std::thread::spawn(move || {
            while !AtomicBool::load(&over, Relaxed) {
                seen.fetch_max(rss(pid), Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let least = rss(pid);
        Self { child, address, log, least, peak, ended, _directory: directory }
    }

    /// A connected client whose CONNECT the test has made.
    #[track_caller]
    pub(crate) fn client(&self, connect: &Connect<'_>) -> Client {
        let (client, answer) = self.ask(connect);
        assert!(matches!(&answer, Got::ConnAck(welcome) if welcome.reason == 0), "{answer:?}");
        client
    }

    /// Sends `connect` and returns the broker's answer, whatever it is.
    pub(crate) fn ask(&self, connect: &Connect<'_>) -> (Client, Got) {
        let mut client = Client::new(self.address, connect.version);
        client.connect(connect);
        let answer = client.next();
        (client, answer)
    }

    /// A connected client with a clean session.
    pub(crate) fn fresh(&self, version: Version, client_id: &str) -> Client {
        self.client(&Connect::new(version, client_id))
    }

    /// Whether these words stand in its log.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.log.lock().unwrap().contains(words)
    }

    /// Its RSS now, bytes.
    pub(crate) fn resident(&self) -> u64 {
        rss(self.child.id())
    }

    /// The highest RSS that was seen since its start, bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rss(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}
