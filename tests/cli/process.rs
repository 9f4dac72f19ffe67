//! A broker in this process, and `noctule` processes whose ends are bounded in time.

#[path = "../kit/data_dir.rs"]
pub(crate) mod data_dir;
#[path = "../kit/ports.rs"]
pub(crate) mod ports;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use data_dir::DataDir;
use noctule::broker::Broker;
use noctule::config::{Anonymous, Config, Listener, Protocol};

/// How long anything may take; generous, because two busy cores serve all tests at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that stops with the test.
pub(crate) struct TestBroker {
    broker: Option<Broker>,
    address: SocketAddr,
    /// Dropped when the broker has stopped.
    _data: DataDir,
}

impl TestBroker {
    pub(crate) fn start() -> Self {
        Self::start_with(Anonymous::Loopback)
    }

    pub(crate) fn start_with(anonymous: Anonymous) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), anonymous)
    }

    pub(crate) fn start_at(port: &str) -> Self {
        Self::listen(format!("127.0.0.1:{port}").parse().unwrap(), Anonymous::Loopback)
    }

    fn listen(address: SocketAddr, anonymous: Anonymous) -> Self {
        let listener = vec![Listener {
            protocol: Protocol::Mqtt,
            address: address.into(),
            anonymous,
            ..Listener::default()
        }];
        let mut config = Config { listener, ..Config::default() };
        let data = DataDir::in_memory();
        config.server.data_dir = data.path().to_owned();
        if let Ok(workers) = std::env::var("NOCTULE_TEST_WORKERS") {
            config.server.workers = workers.parse().unwrap();
        }
        let begun = Instant::now();
        let broker = loop {
            match Broker::start(&config) {
                Ok(broker) => break broker,
                // Another test's client has gone out from the port that was free a moment ago.
                Err(error) if format!("{error:?}").contains("AddrInUse") && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("{error}"),
            }
        };
        let address = broker.tcp_addresses()[0];
        Self { broker: Some(broker), address, _data: data }
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// `noctule pub`, to its end.
    pub(crate) fn publish(&self, arguments: &[&str]) -> Ended {
        self.start_publish(arguments).end()
    }

    /// `noctule pub` with this on standard input, to its end.
    pub(crate) fn publish_from(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut running = self.start_publish(arguments);
        running.write(input);
        running.end()
    }

    pub(crate) fn start_publish(&self, arguments: &[&str]) -> Running {
        noctule(&[&["pub", "-p", &self.port()], arguments].concat())
    }

    /// `noctule sub`, to its end.
    pub(crate) fn sub_to_end(&self, arguments: &[&str]) -> Ended {
        noctule(&[&["sub", "-p", &self.port()], arguments].concat()).end()
    }

    /// `noctule sub`, as soon as its subscription is in force.
    pub(crate) fn sub(&self, arguments: &[&str]) -> Running {
        let mut running = noctule(&[&["sub", "-p", &self.port()], arguments].concat());
        running.says("subscribed to ");
        running
    }

    pub(crate) fn stop(mut self) {
        self.broker.take().unwrap().stop().unwrap();
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            // A test that fails is reported by its own panic.
            let _ = broker.stop();
        }
    }
}

/// Starts `noctule` with these arguments.
pub(crate) fn noctule(arguments: &[&str]) -> Running {
    Running::start(Command::new(env!("CARGO_BIN_EXE_noctule")).args(arguments))
}

/// Starts `noctule` inside a script of the shell, which calls it `"$0" "$@"`.
pub(crate) fn script(script: &str, arguments: &[&str]) -> Running {
    Running::start(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_noctule")]).args(arguments))
}
/// The words of a line.
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// What a process has written so far, line by line.
struct Lines {
    lines: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            loop {
                let mut line = Vec::new();
                if !matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) || sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines, seen: Vec::new() }
    }

    fn next(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.seen.extend_from_slice(&line);
                Some(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned())
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing came for {PATIENCE:?}"),
        }
    }

    fn rest(&mut self) -> Vec<u8> {
        while self.next().is_some() {}
        std::mem::take(&mut self.seen)
    }
}

/// A process that runs.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    out: Lines,
    err: Lines,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        Self { input: child.stdin.take(), child, out, err }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// The next line on standard output.
    pub(crate) fn line(&mut self) -> String {
        self.out.next().expect("standard output has ended")
    }

    /// Waits for a line with this on standard error.
    #[track_caller]
    pub(crate) fn says(&mut self, words: &str) {
        self.hears(words);
    }

    /// The next line with this on standard error.
    #[track_caller]
    pub(crate) fn hears(&mut self, words: &str) -> String {
        loop {
            let line = self.err.next().unwrap_or_else(|| panic!("it never says {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, name: &str) {
        let (flag, process) = (format!("-{name}"), self.id().to_string());
        assert!(Command::new("kill").args([flag, process]).status().unwrap().success());
    }

    /// Closes input and waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        self.input = None;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("it does not end; it said {:?}", String::from_utf8_lossy(&self.err.rest()));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let raw = self.out.rest();
        Ended {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&raw).into_owned(),
            raw,
            err: String::from_utf8_lossy(&self.err.rest()).into_owned(),
        }
    }
}

impl Drop for Running {
    /// A client that nobody has ended would come back to its broker's port for ever.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is left of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code; -1 after a signal.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) raw: Vec<u8>,
    pub(crate) err: String,
}

impl Ended {
    /// What it wrote, if it ended well.
    #[track_caller]
    pub(crate) fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }
}

/// A file that goes with the test.
pub(crate) struct TestFile(PathBuf);

impl TestFile {
    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn file(name: &str, content: &[u8]) -> TestFile {
    let path = std::env::temp_dir().join(format!("noctule-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    TestFile(path)
}
