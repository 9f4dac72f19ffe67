//! The broker that is flooded: a process of its own with its defaults, what it needs of memory and of the processor.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Where it listens.
#[derive(Clone, Copy)]
pub(crate) enum Door {
    Plain,
    Tls,
    WebSocket,
}

/// A running broker; it ends with the measurement.
pub(crate) struct Broker {
    child: Child,
    directory: PathBuf,
    ports: [u16; 3],
    /// For clients that trust it; they resume no session.
    pub(crate) tls: Arc<ClientConfig>,
}

impl Broker {
    /// With its defaults, a certificate and a directory of its own.
    pub(crate) fn start() -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("noctule-floods-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory)?;
        let path = |name: &str| directory.join(name).display().to_string();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        std::fs::write(path("server.pem"), certificate.pem())?;
        let mut secret = std::fs::OpenOptions::new();
        secret
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path("server.key"))?
            .write_all(key.serialize_pem().as_bytes())?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate.der().to_vec()))?;
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.resumption = rustls::client::Resumption::disabled();

        let ports = [free_port()?, free_port()?, free_port()?];
        let [plain, encrypted, web] = ports;
        let (chain, key) = (path("server.pem"), path("server.key"));
        let mut config = String::new();
        writeln!(config, "[[tls]]\nname = \"t\"\ncertificates = [{{ chain = {chain:?}, key = {key:?} }}]")?;
        writeln!(config, "[[listener]]\naddress = \"127.0.0.1:{plain}\"")?;
        writeln!(config, "[[listener]]\naddress = \"127.0.0.1:{encrypted}\"\ntls = \"t\"")?;
        writeln!(config, "[[listener]]\naddress = \"127.0.0.1:{web}\"\nwebsocket = \"/mqtt\"")?;
        std::fs::write(path("noctule.toml"), config)?;
        let child = Command::new(env!("CARGO_BIN_EXE_noctule"))
            .args(["run", "--config", &path("noctule.toml"), "--data", &path("data")])
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Self { child, directory, ports, tls: Arc::new(tls) };
        let begun = Instant::now();
        while broker.open(Door::WebSocket).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err("the broker does not start".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    /// A connection on which nothing was sent yet; reads and writes give up after a while.
    pub(crate) fn open(&self, door: Door) -> std::io::Result<TcpStream> {
        let [plain, tls, web] = self.ports;
        let port = match door {
            Door::Plain => plain,
            Door::Tls => tls,
            Door::WebSocket => web,
        };
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.set_write_timeout(Some(Duration::from_millis(200)))?;
        Ok(stream)
    }

    /// Memory that it has, in KiB.
    pub(crate) fn rss_kib(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("the broker has ended")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
    }

    /// User and system time that it has taken, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> Result<u64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<_> = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace().collect();
        let field =
            |at: usize| -> Result<u64, Failure> { Ok(fields.get(at).ok_or("too few fields")?.parse()?) };
        // A tick is 10 ms.
        Ok((field(11)? + field(12)?) * 10)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
