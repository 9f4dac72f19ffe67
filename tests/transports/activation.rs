//! The binary itself: sockets that systemd has opened, and SIGHUP.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use noctule_mqtt::Connect;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::kit::{DataDir, Got, Mqtt, Pki, Stomp, TLS_VERSIONS, V5, V311, plain, tls_over, unix, within};

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
            .args(["--log-format", "human"])
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

    /// Lets it open so many files more; returns what it might before.
    fn may_open(&self, more: u64) -> Rlimit {
        let pid = self.child.id();
        let open: Vec<u64> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        let free = |number: &u64| !open.contains(number);
        let first_beyond = (0..).filter(free).nth(more as usize);
        let before = rustix::process::getrlimit(Resource::Nofile);
        let limit = Rlimit { current: first_beyond, maximum: before.maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap()
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
fn sighup_does_not_end_a_broker_that_is_still_starting() {
    let dir = DataDir::in_memory();
    fs::create_dir_all(dir.path()).unwrap();
    for round in 0..10 {
        let path = dir.path().join(round.to_string());
        let process = Process::start(&at(&path, ""), Vec::new(), &[]);
        // Its sockets come first.
        let begun = std::time::Instant::now();
        while !path.exists() {
            assert!(begun.elapsed().as_secs() < 8, "{}", process.said());
            thread::yield_now();
        }
        process.signal(Signal::HUP);
        process.says("configuration reloaded");
        process.signal(Signal::TERM);
        assert_eq!(process.end().0, Some(0), "round {round}");
    }
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

/// What CONNACK says to a user of the password file.
#[track_caller]
fn knock(path: &Path, user: &str) -> u8 {
    let mut mqtt = Mqtt::new(unix(path), V5);
    let mut connect = Connect::new(V5, user);
    (connect.user_name, connect.password) = (Some(user), Some(b"secret".as_slice()));
    let mut bytes = bytes::BytesMut::new();
    connect.encode(&mut bytes).unwrap();
    crate::kit::offer(&mut mqtt.wire, &bytes);
    match mqtt.next() {
        Got::ConnAck(welcome) => welcome.reason,
        other => panic!("{user}: {other:?}"),
    }
}

#[test]
fn users_do_not_change_with_a_configuration_that_descriptors_do_not_suffice_for() {
    let dir = DataDir::in_memory();
    fs::create_dir_all(dir.path()).unwrap();
    let (old, new, users) = (dir.path().join("old"), dir.path().join("new"), dir.path().join("users"));
    let passwd = |arguments: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_noctule"))
            .arg("passwd")
            .arg(&users)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
        assert!(child.wait().unwrap().success());
    };
    passwd(&["ann", "--password-stdin"]);
    // A new listener wants a descriptor for itself and one for each worker.
    let toml = format!(
        "[server]\nworkers = 2\n[auth]\nchain = [\"password\"]\npassword_file = {users:?}\n{}anonymous = false\n",
        at(&old, "")
    );
    let process = Process::start(&toml, Vec::new(), &[]);
    within("it listens", || std::os::unix::net::UnixStream::connect(&old).ok());
    assert_eq!((knock(&old, "ann"), knock(&old, "bob")), (0, 0x86));
    passwd(&["bob", "--password-stdin"]);
    passwd(&["ann", "--delete"]);
    within("the clients have left", || {
        let sockets = fs::read_to_string("/proc/net/unix").unwrap();
        let connected = |line: &&str| line.ends_with(old.to_str().unwrap()) && !line.contains(" 00010000 ");
        (sockets.lines().filter(connected).count() == 0).then_some(())
    });
    let before = process.may_open(2);
    let more = format!("{toml}{}anonymous = false\n", at(&new, ""));
    process.configure(&more);
    process.says("can't share a listening socket between workers");
    process.says("the old one stays in force");
    prlimit(Some(Pid::from_child(&process.child)), Resource::Nofile, before).unwrap();
    assert!(!new.exists());
    assert_eq!((knock(&old, "ann"), knock(&old, "bob")), (0, 0x86), "the users that were there");
    process.configure(&more);
    process.says("configuration reloaded");
    assert_eq!((knock(&new, "ann"), knock(&new, "bob")), (0x86, 0));
    process.signal(Signal::TERM);
    assert_eq!(process.end().0, Some(0));
}

#[test]
fn a_socket_of_systemd_s_is_there_for_the_next_try() {
    let dir = DataDir::in_memory();
    fs::create_dir_all(dir.path()).unwrap();
    let path = dir.path().join("stomp");
    let mqtt = TcpListener::bind("127.0.0.1:0").unwrap();
    let stomp = UnixListener::bind(&path).unwrap();
    let address = mqtt.local_addr().unwrap();
    let (first, _) = SYSTEMD.split_at(SYSTEMD.find("[[listener]]\nprotocol").unwrap());
    let names = [("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "mqtt:stomp")];
    let process = Process::start(first, vec![mqtt.into(), stomp.into()], &names);
    let mut stays = Mqtt::connect(plain(address), V5, "stays");
    // Something else is wrong with the first.
    process.configure(&at(&dir.path().join("no/directory"), SYSTEMD));
    process.says("make its directory first");
    for (round, (toml, is_served)) in
        [(SYSTEMD, true), (first, false), (SYSTEMD, true)].into_iter().enumerate()
    {
        process.configure(toml);
        within("another configuration", || {
            (process.said().matches("configuration reloaded").count() > round).then_some(())
        });
        if is_served {
            Stomp::connect(unix(&path)).bye();
        }
        stays.ping();
    }
    process.signal(Signal::TERM);
    assert_eq!(process.end().0, Some(0));
}
