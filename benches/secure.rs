//! What TLS costs the broker: CPU per message beside plain TCP, memory of an idle connection, and how much a thousand
//! handshakes hold up somebody who is connected already.
//!
//! `cargo bench --bench secure -- --run [--pairs 10] [--messages 20000] [--bytes 1024] [--rounds 3] [--clients 2000]
//! [--scaling]` starts a broker of its own, on the loopback, with certificates of its own in a directory for temporary files.

#![allow(clippy::print_stdout, reason = "the figures are its output")]

use std::error::Error;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Publish, Subscribe, Subscription, Subscriptions, Version};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Failure = Box<dyn Error + Send + Sync>;

/// Messages under way of one pair: enough to keep the broker busy, too few to be dropped.
const WINDOW: usize = 32;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` without arguments builds and runs everything.
    if !arguments.iter().any(|argument| argument == "--run") {
        println!("secure: needs --run; see the head of benches/secure.rs");
        return Ok(());
    }
    let number = |name: &str, default: usize| {
        let given = arguments.iter().position(|argument| argument == name);
        given.and_then(|place| arguments.get(place + 1)).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (pairs, messages, bytes) =
        (number("--pairs", 10), number("--messages", 20_000), number("--bytes", 1_024));
    let rounds = number("--rounds", 3);
    if arguments.iter().any(|argument| argument == "--scaling") {
        return scaling(pairs, messages, bytes, rounds);
    }
    let broker = Broker::start(1)?;
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let plain = broker.cpu_us_per_message(pairs, messages, bytes, false)?;
        let tls = broker.cpu_us_per_message(pairs, messages, bytes, true)?;
        println!(
            "round {round}: plain {plain:.2} us, TLS {tls:.2} us per message of {bytes} bytes, ratio {:.2}",
            tls / plain
        );
        ratios.push(tls / plain);
    }
    println!("median ratio          {:.2}", median(ratios));
    broker.idle(number("--clients", 2_000))?;
    broker.storm(1_000)
}

/// What a message costs with TLS at one worker and at two, and how much of it the busier of the two does.
fn scaling(pairs: usize, messages: usize, bytes: usize, rounds: usize) -> Result<(), Failure> {
    let (one, two) = (Broker::start(1)?, Broker::start(2)?);
    let (mut ratios, mut shares) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let alone = one.cpu_us_per_message(pairs, messages, bytes, true)?;
        let before = two.worker_ticks()?;
        let both = two.cpu_us_per_message(pairs, messages, bytes, true)?;
        let worked: Vec<u64> = two.worker_ticks()?.iter().zip(before).map(|(now, then)| now - then).collect();
        let busier = worked.iter().copied().max().unwrap_or_default() as f64;
        let share = busier / worked.iter().sum::<u64>().max(1) as f64;
        println!(
            "round {round}: one worker {alone:.2} us, two {both:.2} us per message, ratio {:.2}; the busier does {:.0} %",
            both / alone,
            share * 100.0
        );
        ratios.push(both / alone);
        shares.push(share);
    }
    println!("median ratio {:.2}, share {:.0} %", median(ratios), median(shares) * 100.0);
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// A broker of its own; it ends with the benchmark.
struct Broker {
    child: Child,
    directory: PathBuf,
    tls: Arc<ClientConfig>,
    ports: [u16; 2],
}

impl Broker {
    fn start(workers: u16) -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("noctule-secure-{}-{workers}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        write_private(&directory.join("server.pem"), &certificate.pem())?;
        write_private(&directory.join("server.key"), &key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate.der().to_vec()))?;
        let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
        let ports = [free_port()?, free_port()?];
        let mut config =
            String::from("[store]\ndurability = \"never\"\n[limits]\nmax_connections_per_address = 10000\n");
        write!(config, "[server]\nworkers = {workers}\n")?;
        let path = |name: &str| directory.join(name).display().to_string();
        let (chain, key) = (path("server.pem"), path("server.key"));
        write!(config, "[[tls]]\nname = \"t\"\ncertificates = [{{ chain = {chain:?}, key = {key:?} }}]\n")?;
        let [plain, encrypted] = ports;
        write!(config, "[[listener]]\naddress = \"127.0.0.1:{plain}\"\n")?;
        write!(config, "[[listener]]\naddress = \"127.0.0.1:{encrypted}\"\ntls = \"t\"\n")?;
        std::fs::write(directory.join("noctule.toml"), config)?;
        let child = Command::new(env!("CARGO_BIN_EXE_noctule"))
            .args(["run", "--config", &path("noctule.toml"), "--data", &path("data")])
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Self { child, directory, tls, ports };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", encrypted)).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err("the broker does not start".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    fn client(&self, id: &str, encrypted: bool) -> Result<Client, Failure> {
        let [plain, tls] = self.ports;
        let stream = TcpStream::connect(("127.0.0.1", if encrypted { tls } else { plain }))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut client = if encrypted {
            let name = ServerName::try_from("localhost")?.to_owned();
            let connection = ClientConnection::new(Arc::clone(&self.tls), name)?;
            Client::Tls(Box::new(StreamOwned::new(connection, stream)))
        } else {
            Client::Plain(stream)
        };
        let mut out = BytesMut::new();
        Connect { keep_alive_s: 600, ..Connect::new(Version::V311, id) }.encode(&mut out)?;
        client.stream().write_all(&out)?;
        client.stream().read_exact(&mut [0; 4])?;
        Ok(client)
    }

    /// CPU time of the broker per message, with so many pairs of a publisher and a subscriber.
    fn cpu_us_per_message(
        &self,
        pairs: usize,
        messages: usize,
        bytes: usize,
        tls: bool,
    ) -> Result<f64, Failure> {
        let payload = vec![b'x'; bytes];
        let mut both = Vec::new();
        for pair in 0..pairs {
            let (topic, kind) = (format!("bench/{pair}"), if tls { "tls" } else { "plain" });
            let mut subscriber = self.client(&format!("s-{kind}-{pair}"), tls)?;
            subscriber.subscribe(&topic)?;
            let publisher = self.client(&format!("p-{kind}-{pair}"), tls)?;
            let mut frame = BytesMut::new();
            Publish::new(&topic, &payload).encode(Version::V311, &mut frame)?;
            both.push((publisher, subscriber, frame));
        }
        let pid = self.child.id();
        let before = cpu_ticks(pid)?;
        std::thread::scope(|scope| -> Result<(), Failure> {
            let work = both.into_iter().map(|(mut publisher, mut subscriber, frame)| {
                scope.spawn(move || -> Result<(), Failure> {
                    let batch = frame.repeat(WINDOW);
                    let mut got = vec![0; batch.len()];
                    for _ in 0..messages / WINDOW {
                        publisher.stream().write_all(&batch)?;
                        subscriber.stream().read_exact(&mut got)?;
                    }
                    Ok(())
                })
            });
            for thread in work.collect::<Vec<_>>() {
                thread.join().map_err(|_| "a pair panicked")??;
            }
            Ok(())
        })?;
        // A tick is 10 ms.
        Ok((cpu_ticks(pid)? - before) as f64 * 10_000.0 / (pairs * (messages / WINDOW) * WINDOW) as f64)
    }

    /// User and system time of each worker's thread, in hundredths of a second.
    fn worker_ticks(&self) -> Result<Vec<u64>, Failure> {
        let mut ticks = Vec::new();
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
            let name = stat.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
            let of_worker = name.and_then(|(name, _)| name.strip_prefix("noctule-"));
            if of_worker.is_some_and(|number| number.parse::<u16>().is_ok()) {
                ticks.push(ticks_of(&stat)?);
            }
        }
        Ok(ticks)
    }

    fn idle(&self, clients: usize) -> Result<(), Failure> {
        let pid = self.child.id();
        for (what, tls) in [("plain", false), ("TLS", true)] {
            let before = rss_bytes(pid)?;
            let mut open = Vec::new();
            for client in 0..clients {
                let mut connected = self.client(&format!("idle-{what}-{client}"), tls)?;
                connected.subscribe(&format!("idle/{what}/{client}"))?;
                open.push(connected);
            }
            std::thread::sleep(Duration::from_secs(3));
            println!(
                "RSS per idle {what:<9} {} bytes",
                rss_bytes(pid)?.saturating_sub(before) / clients as u64
            );
        }
        Ok(())
    }

    /// Handshakes that resume a session, as many as there can be, beside 1,000 messages a second.
    fn storm(&self, handshakes: usize) -> Result<(), Failure> {
        let mut alone = self.stream_p99(Duration::from_secs(3), || false)?;
        println!("1,000 msg/s alone     p99 {:.2} ms", alone.as_secs_f64() * 1e3);
        // The first connection brings the tickets.
        drop(self.client("first", true)?);
        let done = std::sync::atomic::AtomicBool::new(false);
        let (took, resumed) = std::thread::scope(|scope| -> Result<_, Failure> {
            let storm = scope.spawn(|| -> Result<_, Failure> {
                let (begun, mut resumed) = (Instant::now(), 0);
                for client in 0..handshakes {
                    let connected = self.client(&format!("storm-{client}"), true)?;
                    resumed += usize::from(connected.is_resumed());
                }
                done.store(true, std::sync::atomic::Ordering::Relaxed);
                Ok((begun.elapsed(), resumed))
            });
            let is_over = || done.load(std::sync::atomic::Ordering::Relaxed) || storm.is_finished();
            alone = self.stream_p99(Duration::from_secs(60), is_over)?;
            storm.join().map_err(|_| "the storm panicked")?
        })?;
        println!("{handshakes} handshakes       {resumed} resumed, {:.2} s", took.as_secs_f64());
        println!("1,000 msg/s meanwhile p99 {:.2} ms", alone.as_secs_f64() * 1e3);
        Ok(())
    }

    /// 99 of 100 messages of a steady stream are there in that time.
    fn stream_p99(&self, most: Duration, is_over: impl Fn() -> bool) -> Result<Duration, Failure> {
        let (mut publisher, mut subscriber) =
            (self.client("steady-p", false)?, self.client("steady-s", false)?);
        subscriber.subscribe("steady")?;
        let mut frame = BytesMut::new();
        Publish::new("steady", &[b'x'; 64]).encode(Version::V311, &mut frame)?;
        let (begun, mut times, mut got) = (Instant::now(), Vec::new(), vec![0; frame.len()]);
        while begun.elapsed() < most && !is_over() {
            let due = begun + Duration::from_millis(times.len() as u64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent = Instant::now();
            publisher.stream().write_all(&frame)?;
            subscriber.stream().read_exact(&mut got)?;
            times.push(sent.elapsed());
        }
        times.sort_unstable();
        Ok(times.get(times.len() * 99 / 100).copied().unwrap_or_default())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

enum Client {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Client {
    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream,
        }
    }

    fn is_resumed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }

    fn subscribe(&mut self, topic: &str) -> Result<(), Failure> {
        let packet_id = std::num::NonZeroU16::MIN;
        let wanted = [Subscription::new(topic, Qos::AtMostOnce)];
        let subscriptions = Subscriptions::Given(&wanted);
        let mut out = BytesMut::new();
        Subscribe { packet_id, subscription_id: None, user_properties: Default::default(), subscriptions }
            .encode(Version::V311, &mut out)?;
        self.stream().write_all(&out)?;
        self.stream().read_exact(&mut [0; 5])?;
        Ok(())
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn rss_bytes(pid: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()? * 1024)
}

/// User and system time of the process, in hundredths of a second.
fn cpu_ticks(pid: u32) -> Result<u64, Failure> {
    ticks_of(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?)
}

/// The same of a process or a thread by its line of `stat` (proc(5)).
fn ticks_of(stat: &str) -> Result<u64, Failure> {
    let fields: Vec<_> = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace().collect();
    let field =
        |place: usize| fields.get(place).ok_or("too few fields")?.parse::<u64>().map_err(|_| "no number");
    Ok(field(11)? + field(12)?)
}
