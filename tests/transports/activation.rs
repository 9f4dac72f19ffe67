//! The binary itself: sockets that systemd has opened, and SIGHUP.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{DataDir, Mqtt, Pki, Stomp, TLS_VERSIONS, V5, V311, plain, tls_over, unix, within};

/// The broker as a process, with what it has said so far.
struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
    reading: Option<thread::JoinHandle<()>>,
    dir: DataDir,
}

/// Passes on standard input and output as the sockets 3 and 4, as systemd does: the process itself is named in LISTEN_PID.
const ACTIVATE: &str = "export LISTEN_PID=${PID:-$$}; exec \"$0\" \"$@\" 3<&0 4<&1 </dev/null >/dev/null";

impl Process {
    /// With that configuration; `sockets` are those that systemd has opened, `names` what it calls them.
    fn start(toml: &str, sockets: Vec<OwnedFd>, environment: &[(&str, &str)]) -> Self {
        let dir = DataDir::in_memory();
        fs::create_dir_all(dir.path()).unwrap();
        let config = dir.path().join("noctule.toml");
        fs::write(&config, toml).unwrap();
        let mut sockets = sockets.into_iter().map(Stdio::from);
        let mut child = Command::new("sh")
            .args(["-c", ACTIVATE, env!("CARGO_BIN_EXE_noctule"), "run", "--config"])
            .arg(&config)
            .arg("--data")
            .arg(dir.path().join("data"))
            .envs(environment.iter().copied())
            .stdin(sockets.next().unwrap_or_else(Stdio::null))
            .stdout(sockets.next().unwrap_or_else(Stdio::null))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (mut err, heard) = (child.stderr.take().unwrap(), Arc::clone(&said));
        let reading = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = err.read(&mut chunk) {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..len]));
            }
        });
        Self { child, said, reading: Some(reading), dir }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    #[track_caller]
    fn says(&self, words: &str) {
        within(&format!("{words:?} in {}", self.said()), || self.said().contains(words).then_some(()));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn configure(&self, toml: &str) {
        fs::write(self.dir.path().join("noctule.toml"), toml).unwrap();
        self.signal(Signal::HUP);
    }

    /// Its exit code and all it has said.
    #[track_caller]
    fn end(mut self) -> (Option<i32>, String) {
        let code = within("its end", || self.child.try_wait().unwrap()).code();
        self.reading.take().unwrap().join().unwrap();
        (code, self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SYSTEMD: &str = "[[listener]]\naddress = \"systemd:mqtt\"\nanonymous = true\n\
    [[listener]]\nprotocol = \"stomp\"\naddress = \"systemd:stomp\"\nanonymous = true\n";

#[test]
fn sockets_that_systemd_has_opened_are_served_by_their_names() {
    let dir = DataDir::in_memory();
    fs::create_dir_all(dir.path()).unwrap();
    let path = dir.path().join("stomp");
    let mqtt = TcpListener::bind("127.0.0.1:0").unwrap();
    let stomp = UnixListener::bind(&path).unwrap();
    let address = mqtt.local_addr().unwrap();
    // Who connects before the broker is there waits.
    let early = plain(address);
    // Not in the order of the file.
    let names = [("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "stomp:mqtt")];
    let process = Process::start(SYSTEMD, vec![stomp.into(), mqtt.into()], &names);
    Mqtt::connect(early, V311, "early").bye();
    let mut mqtt = Mqtt::connect(plain(address), V5, "activated");
    Stomp::connect(unix(&path)).bye();
    process.says("systemd:mqtt");
    // The sockets are systemd's: a reload keeps them,
    process.configure(&format!("[limits]\nmax_inflight = 9\n{SYSTEMD}"));
    process.says("configuration reloaded");
    mqtt.ping();
    Stomp::connect(unix(&path)).bye();
    Mqtt::connect(plain(address), V5, "reloaded").bye();
    // and the end leaves their paths.
    process.signal(Signal::TERM);
    mqtt.is_refused(0x8B);
    let (code, said) = process.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(path.exists());
}

#[test]
fn tls_is_spoken_on_a_socket_of_systemd_s() {
    let pki = Pki::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let toml = format!(
        "{}[[listener]]\naddress = \"systemd:mqtt\"\nanonymous = true\ntls = \"plant\"\n",
        pki.plant("")
    );
    let process =
        Process::start(&toml, vec![socket.into()], &[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "mqtt")]);
    for tls in TLS_VERSIONS {
        Mqtt::connect(tls_over(Box::new(plain(address)), &pki.connector(tls, None)), V5, "activated").bye();
    }
    process.signal(Signal::TERM);
    assert_eq!(process.end().0, Some(0));
}

#[test]
fn a_socket_that_is_not_there_refuses_the_start() {
    let socket = || -> Vec<OwnedFd> { vec![TcpListener::bind("127.0.0.1:0").unwrap().into()] };
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "other")], "(only other)"),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "stomp")], "(only stomp)"),
        (&[("LISTEN_FDS", "1")], "(only unknown)"),
        (&[], "(none at all)"),
        // Meant for another process.
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "mqtt"), ("PID", "1")], "(none at all)"),
    ];
    for (environment, given) in cases {
        let process = Process::start(SYSTEMD, socket(), environment);
        let (code, said) = process.end();
        assert_eq!(code, Some(1), "{said}");
        let words = format!(
            "noctule: can't listen on systemd:mqtt: systemd has opened no socket of that name for this process {given}; \
             write a .socket unit with FileDescriptorName=mqtt and start the broker by it"
        );
        assert!(said.contains(&words), "{said}");
    }
}

/// A configuration with that listener.
fn at(path: &Path, more: &str) -> String {
    format!("{more}[[listener]]\naddress = \"unix:{}\"\n", path.display())
}

#[test]
fn sighup_has_the_configuration_read_again() {
    let dir = DataDir::in_memory();
    fs::create_dir_all(dir.path()).unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let process = Process::start(&at(&old, ""), Vec::new(), &[]);
    within("it listens", || std::os::unix::net::UnixStream::connect(&old).ok());
    let mut stays = Mqtt::connect(unix(&old), V5, "stays");
    // A mistake, in the file and in what it names.
    process.configure(&at(&old, "[limits]\nmax_inflight = 0\n"));
    process.says("limits.max_inflight");
    process.configure(&at(&dir.path().join("no/directory"), ""));
    process.says("make its directory first");
    assert_eq!(
        process.said().matches("the configuration is not reloaded, the old one stays in force").count(),
        2
    );
    stays.ping();
    // Another listener beside the old one, and then in its place.
    process.configure(&format!("{}{}", at(&old, ""), at(&new, "")));
    process.says("changes=1");
    within("the new one listens", || std::os::unix::net::UnixStream::connect(&new).ok());
    stays.ping();
    let mut moved = Mqtt::connect(unix(&new), V5, "moved");
    process.configure(&at(&new, ""));
    stays.is_refused(0x98);
    within("the old one is taken away", || (!old.exists()).then_some(()));
    moved.ping();
    process.signal(Signal::TERM);
    moved.is_refused(0x8B);
    let (code, said) = process.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!new.exists());
}
