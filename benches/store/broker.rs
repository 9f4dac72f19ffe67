//! The brokers: how each is started so that it keeps messages, and what the system says about its process.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take.
const START: Duration = Duration::from_secs(120);

/// A broker to be measured.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// This one, as `cargo bench` builds it.
    Noctule,
    /// Mosquitto, by the path of its program.
    Mosquitto(PathBuf),
    /// One that runs already.
    Running { name: String, port: u16, pid: u32 },
}

/// Mosquitto, where it is installed.
pub(crate) fn mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join("mosquitto")).find(|program| program.is_file())
}

impl Kind {
    /// `NAME:PORT:PID`.
    pub(crate) fn running(text: &str) -> Self {
        let parts: Vec<&str> = text.split(':').collect();
        let [name, port, pid] = parts[..] else { panic!("--peer {text}: write NAME:PORT:PID") };
        Self::Running { name: name.to_owned(), port: port.parse().unwrap(), pid: pid.parse().unwrap() }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Noctule => "noctule",
            Self::Mosquitto(_) => "mosquitto",
            Self::Running { name, .. } => name,
        }
    }

    pub(crate) fn is_ours_to_stop(&self) -> bool {
        !matches!(self, Self::Running { .. })
    }
}

/// A broker that serves.
#[derive(Debug)]
pub(crate) struct Broker {
    kind: Kind,
    child: Option<Child>,
    pub(crate) address: SocketAddr,
    directory: PathBuf,
}

impl Broker {
    /// Starts it on an empty directory below `parent`, and waits until it takes connections.
    pub(crate) async fn start(kind: &Kind, parent: &Path) -> Self {
        let directory = parent.join(format!("bench-{}-{}", kind.name(), std::process::id()));
        let port = match kind {
            Kind::Running { port, .. } => *port,
            // Most likely nobody takes it in the meantime.
            _ => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut broker = Self { kind: kind.clone(), child: None, address, directory };
        if kind.is_ours_to_stop() {
            let _ = std::fs::remove_dir_all(&broker.directory);
            std::fs::create_dir_all(&broker.directory).unwrap();
            broker.configure();
            broker.start_again();
        }
        broker
    }

    fn configure(&self) {
        let (address, data) = (self.address, self.directory.join("data"));
        let port = address.port();
        let text = match &self.kind {
            Kind::Noctule => format!(
                "[server]\ndata_dir = {data:?}\n[log]\nformat = \"json\"\n[[listener]]\naddress = \"{address}\"\n"
            ),
            // As many messages under way as ours allows, and no limit on those that wait.
            _ => format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
                 max_inflight_messages 256\nmax_queued_messages 0\nuser root\nlog_dest stderr\n",
                self.directory.display()
            ),
        };
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.directory.join("config")
    }

    /// Starts it on the directory as it is; how long until it takes connections.
    pub(crate) fn start_again(&mut self) -> Duration {
        let program = match &self.kind {
            Kind::Noctule => Path::new(env!("CARGO_BIN_EXE_noctule")),
            Kind::Mosquitto(program) => program,
            Kind::Running { name, .. } => panic!("{name} is not ours to start"),
        };
        let mut command = Command::new(program);
        if matches!(self.kind, Kind::Noctule) {
            command.arg("run");
        }
        let log = File::options().create(true).append(true).open(self.directory.join("log")).unwrap();
        let began = Instant::now();
        let child = command.arg("-c").arg(self.config()).stdin(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        while TcpStream::connect(self.address).is_err() {
            assert!(began.elapsed() < START, "{} does not start; see {:?}", self.name(), self.directory);
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    }

    pub(crate) fn name(&self) -> &str {
        self.kind.name()
    }

    /// Whether what it acknowledges survives a kill.
    pub(crate) fn keeps_at_once(&self) -> bool {
        matches!(self.kind, Kind::Noctule)
    }

    fn pid(&self) -> u32 {
        match (&self.kind, &self.child) {
            (Kind::Running { pid, .. }, _) => *pid,
            (_, Some(child)) => child.id(),
            _ => panic!("{} has ended", self.name()),
        }
    }

    /// Bytes that the process has made the page cache owe to the disk.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.figure("io", "write_bytes:")
    }

    /// Memory in use, bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.figure("status", "VmRSS:") * 1024
    }

    fn figure(&self, file: &str, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// User and system time so far, s.
    pub(crate) fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        ticks as f64 / 100.0
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the end; how many messages it then says it has written, and spared itself to write.
    pub(crate) fn stop(&mut self) -> Option<(u64, u64)> {
        let mut child = self.child.take()?;
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        child.wait().unwrap();
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap();
        let mut said =
            log.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        said.find_map(|line| Some((line["stored"].as_u64()?, line["spared"].as_u64()?)))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.kind.is_ours_to_stop() && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
