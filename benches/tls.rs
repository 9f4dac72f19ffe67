//! What TLS costs: memory of an idle session, time of a handshake, time of a message sealed and opened.
//!
//! `cargo bench --bench tls` runs all of it in one process, in memory, one thread; no figure holds a socket. Copying the same
//! bytes stands beside the messages. A key for RSA is made with `openssl`; without it RSA is left out.

#![allow(clippy::print_stdout, reason = "the figures are its output")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot shake hands has nothing to measure")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use noctule::tls::{Acceptor, CertificateFiles, ClientCertificates, Session, Settings};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

const SESSIONS: usize = 5_000;
const MESSAGE_BYTES: usize = 1_024;
const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("TLS 1.2", &rustls::version::TLS12), ("TLS 1.3", &rustls::version::TLS13)];

fn main() {
    let directory = std::env::temp_dir().join(format!("noctule-bench-tls-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let world = World::new(&directory);
    memory(&world);
    handshakes(&world);
    messages(&world);
    std::fs::remove_dir_all(&directory).unwrap();
}

struct World {
    authority: (String, KeyPair),
    ecdsa: CertificateFiles,
    rsa: Option<CertificateFiles>,
    client_ca: PathBuf,
}

impl World {
    fn new(directory: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let authority = (certificate.pem(), key);
        let client_ca = directory.join("ca.pem");
        std::fs::write(&client_ca, &authority.0).unwrap();
        let mut world = Self {
            authority,
            ecdsa: CertificateFiles { chain: PathBuf::new(), key: PathBuf::new() },
            rsa: None,
            client_ca,
        };
        world.ecdsa = world.server(directory, "ecdsa", &KeyPair::generate().unwrap());
        let rsa = std::process::Command::new("openssl")
            .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
            .output();
        if let Ok(made) = rsa {
            let pem = String::from_utf8(made.stdout).unwrap();
            world.rsa = KeyPair::from_pem(&pem).ok().map(|key| world.server(directory, "rsa", &key));
        }
        world
    }

    fn issue(&self, key: &KeyPair, purpose: ExtendedKeyUsagePurpose) -> String {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let issuer = Issuer::from_ca_cert_pem(&self.authority.0, &self.authority.1).unwrap();
        params.signed_by(key, &issuer).unwrap().pem()
    }

    fn server(&self, directory: &Path, name: &str, key: &KeyPair) -> CertificateFiles {
        let files = CertificateFiles {
            chain: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key")),
        };
        std::fs::write(&files.chain, self.issue(key, ExtendedKeyUsagePurpose::ServerAuth)).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn acceptor(&self, own: &CertificateFiles, mutual: bool) -> Acceptor {
        let mut settings = Settings { certificates: vec![own.clone()], ..Settings::default() };
        if mutual {
            settings.client_ca = Some(self.client_ca.clone());
            settings.client_certificates = ClientCertificates::Required;
        }
        Acceptor::load(&settings).unwrap()
    }

    fn client(
        &self,
        provider: CryptoProvider,
        version: &'static SupportedProtocolVersion,
        mutual: bool,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.0.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(if mutual {
            let key = KeyPair::generate().unwrap();
            let chain = self.issue(&key, ExtendedKeyUsagePurpose::ClientAuth);
            let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
                .unwrap()
        } else {
            builder.with_no_client_auth()
        })
    }
}

/// Shakes hands; returns the session, the client, and the time that the session took.
fn shake(acceptor: &Acceptor, client: &Arc<ClientConfig>) -> (Box<Session>, ClientConnection, Duration) {
    let mut client =
        ClientConnection::new(Arc::clone(client), ServerName::try_from("localhost").unwrap()).unwrap();
    let started = Instant::now();
    let mut session = Box::new(acceptor.session().unwrap());
    let mut spent = started.elapsed();
    let (mut wire, mut plain, mut out) = (Vec::new(), Vec::new(), BytesMut::new());
    loop {
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        if wire.is_empty() {
            return (session, client, spent);
        }
        let started = Instant::now();
        let opened = session.open(&mut wire, &mut plain, &mut out).unwrap();
        spent += started.elapsed();
        wire.drain(..opened.consumed);
        let said = out.split();
        let mut rest = &said[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
}

fn memory(world: &World) {
    println!("memory per idle session ({SESSIONS}), its own {} bytes included", size_of::<Session>());
    // None is given back before all are measured, or the next ones would lie where the last ones were.
    let mut kept = Vec::new();
    for (name, version) in VERSIONS {
        for mutual in [false, true] {
            let acceptor = world.acceptor(&world.ecdsa, mutual);
            let client = world.client(ring::default_provider(), version, mutual);
            // What the first ones leave behind for the later ones is not theirs.
            let warm: Vec<_> = (0..50).map(|_| shake(&acceptor, &client).0).collect();
            let before = rss_bytes();
            let sessions: Vec<_> = (0..SESSIONS).map(|_| shake(&acceptor, &client).0).collect();
            let after = rss_bytes();
            let with = if mutual { "client certificate" } else { "no client certificate" };
            println!("  {name}, {with:<22} {:>6} bytes", after.saturating_sub(before) / SESSIONS);
            kept.push((warm, sessions));
        }
    }
}

fn rss_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

fn handshakes(world: &World) {
    println!("server's time per handshake, median of 300");
    let kinds = [("ECDSA P-256", Some(&world.ecdsa)), ("RSA-2048", world.rsa.as_ref())];
    for (kind, files) in kinds.into_iter().filter_map(|(kind, files)| Some((kind, files?))) {
        for (name, version) in VERSIONS {
            for mutual in [false, true] {
                let acceptor = world.acceptor(files, mutual);
                let client = world.client(ring::default_provider(), version, mutual);
                let fresh = || {
                    let mut client = ClientConfig::clone(&client);
                    client.resumption = rustls::client::Resumption::disabled();
                    Arc::new(client)
                };
                let full = median(|| shake(&acceptor, &fresh()).2);
                shake(&acceptor, &client);
                let resumed = median(|| {
                    let (session, _, spent) = shake(&acceptor, &client);
                    assert!(session.is_resumed());
                    spent
                });
                let with = if mutual { "client certificate" } else { "no client certificate" };
                println!("  {kind:<11} {name}, {with:<22} full {full:>6.0?} µs, resumed {resumed:>5.0?} µs");
            }
        }
    }
}

fn median(mut measure: impl FnMut() -> Duration) -> f64 {
    let mut spent: Vec<Duration> = (0..300).map(|_| measure()).collect();
    spent.sort_unstable();
    spent.get(150).unwrap().as_secs_f64() * 1e6
}

fn messages(world: &World) {
    println!("time per message of {MESSAGE_BYTES} bytes, ours only");
    let (message, mut copy) = ([7_u8; MESSAGE_BYTES], vec![0_u8; MESSAGE_BYTES]);
    let copied = each(1_000_000, || black_box(&mut copy).copy_from_slice(black_box(&message)));
    println!("  copied                            {copied:>5.0} ns");
    for cipher in ["AES_128_GCM", "CHACHA20"] {
        for (name, version) in VERSIONS {
            let mut provider = ring::default_provider();
            provider.cipher_suites.retain(|suite| suite.suite().as_str().unwrap().contains(cipher));
            let (mut session, mut client, _) =
                shake(&world.acceptor(&world.ecdsa, false), &world.client(provider, version, false));
            let mut out = BytesMut::with_capacity(64 * 1_024);
            let sealed = each(100_000, || {
                out.clear();
                session.seal(black_box(&message), &mut out).unwrap();
            });
            // Twenty messages per read, as a worker gets them under load; what the client does is not counted.
            let (mut plain, mut opened) = (Vec::with_capacity(64 * 1_024), Duration::ZERO);
            for _ in 0..2_000 {
                let mut wire = Vec::new();
                for _ in 0..20 {
                    std::io::Write::write_all(&mut client.writer(), &message).unwrap();
                    client.write_tls(&mut wire).unwrap();
                }
                plain.clear();
                let started = Instant::now();
                let opening = session.open(&mut wire, &mut plain, &mut out).unwrap();
                opened += started.elapsed();
                assert!(opening.consumed == wire.len() && plain.len() == 20 * MESSAGE_BYTES);
            }
            let opened = opened.as_secs_f64() * 1e9 / 40_000.0;
            println!("  {cipher:<11} {name}: sealed {sealed:>5.0} ns, opened {opened:>5.0} ns");
        }
    }
}

/// Nanoseconds per call.
fn each(calls: u32, mut call: impl FnMut()) -> f64 {
    let started = Instant::now();
    for _ in 0..calls {
        call();
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}
