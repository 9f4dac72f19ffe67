//! Development certificates: what is made, what is kept, who can read it, and that openssl and our own TLS take it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;
use crate::data_dir::DataDir;
use crate::tls::{Acceptor, CertificateFiles, ClientCertificates, Settings};

struct World(DataDir);

impl World {
    fn new() -> Self {
        Self(DataDir::in_memory())
    }

    fn request(&self, clients: &[&str]) -> Request {
        Request {
            directory: self.0.path().to_owned(),
            names: Vec::new(),
            clients: clients.iter().map(|name| name.parse().unwrap()).collect(),
            days: 30,
            force: false,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::symlink_metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }
}

fn refused(request: &Request) -> String {
    make(request).unwrap_err().to_string()
}

#[test]
fn everything_is_made_and_only_keys_are_secret() {
    let world = World::new();
    let made = make(&world.request(&["press-7", "Größe 7"])).unwrap();
    assert!(made.authority && made.server && made.names.len() >= 3);
    assert_eq!(world.mode(""), 0o700);
    for name in [CA, SERVER, "client-press-7.pem", "client-Größe 7.pem"] {
        assert_eq!(world.mode(name), 0o644, "{name}");
        assert!(world.read(name).starts_with("-----BEGIN CERTIFICATE-----"));
    }
    for name in [CA_KEY, SERVER_KEY, "client-press-7.key", "client-Größe 7.key"] {
        assert_eq!(world.mode(name), 0o600, "{name}");
        assert!(world.read(name).starts_with("-----BEGIN PRIVATE KEY-----"));
    }
    let left: Vec<_> = std::fs::read_dir(world.path("")).unwrap().collect();
    assert_eq!(left.len(), 8, "{left:?}");
}

#[test]
fn our_own_tls_takes_them_without_a_warning() {
    let world = World::new();
    make(&world.request(&["press-7"])).unwrap();
    let acceptor = Acceptor::load(&Settings {
        certificates: vec![CertificateFiles { chain: world.path(SERVER), key: world.path(SERVER_KEY) }],
        client_ca: Some(world.path(CA)),
        client_certificates: ClientCertificates::Required,
        ..Settings::default()
    })
    .unwrap();
    assert_eq!(acceptor.warnings(), []);
    let days = (acceptor.expires_s() - now_s()).div_ceil(24 * 3600);
    assert_eq!(days, 30);
}

#[test]
fn openssl_verifies_them() {
    let world = World::new();
    let mut request = world.request(&["press-7"]);
    request.names =
        ["gateway.plant.example", "10.0.0.7", "*.plant.example"].map(|name| name.parse().unwrap()).to_vec();
    make(&request).unwrap();
    let openssl = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments
            .iter()
            .map(|word| {
                if word.ends_with(".pem") {
                    world.path(word).display().to_string()
                } else {
                    (*word).to_owned()
                }
            })
            .collect();
        Command::new("openssl").args(arguments).output()
    };
    // Not everywhere, and nothing else depends on it.
    if openssl(&["version"]).is_err() {
        eprintln!("openssl is not installed: skipped");
        return;
    }
    for arguments in [
        &[
            "verify",
            "-x509_strict",
            "-CAfile",
            CA,
            "-purpose",
            "sslserver",
            "-verify_hostname",
            "localhost",
            SERVER,
        ][..],
        &["verify", "-x509_strict", "-CAfile", CA, "-verify_hostname", "gateway.plant.example", SERVER],
        &["verify", "-x509_strict", "-CAfile", CA, "-verify_hostname", "other.plant.example", SERVER],
        &["verify", "-x509_strict", "-CAfile", CA, "-verify_ip", "127.0.0.1", SERVER],
        &["verify", "-x509_strict", "-CAfile", CA, "-verify_ip", "::1", SERVER],
        &["verify", "-x509_strict", "-CAfile", CA, "-verify_ip", "10.0.0.7", SERVER],
        &["verify", "-x509_strict", "-CAfile", CA, "-purpose", "sslclient", "client-press-7.pem"],
    ] {
        let output = openssl(arguments).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for arguments in [
        &["verify", "-CAfile", CA, "-verify_hostname", "elsewhere.example", SERVER][..],
        &["verify", "-CAfile", CA, "-purpose", "sslserver", "client-press-7.pem"],
        &["verify", "-CAfile", CA, "-purpose", "sslclient", SERVER],
    ] {
        assert!(!openssl(arguments).unwrap().status.success(), "{arguments:?}");
    }
    let subject = openssl(&["x509", "-noout", "-subject", "-in", "client-press-7.pem"]).unwrap().stdout;
    let subject = String::from_utf8(subject).unwrap().replace(' ', "");
    assert_eq!(subject.trim(), "subject=CN=press-7");
}

#[test]
fn a_ca_that_is_there_issues_to_further_clients() {
    let world = World::new();
    make(&world.request(&[])).unwrap();
    let before = [CA, CA_KEY, SERVER, SERVER_KEY].map(|name| world.read(name));
    let made = make(&world.request(&["a", "b"])).unwrap();
    assert!(!made.authority && !made.server);
    assert_eq!([CA, CA_KEY, SERVER, SERVER_KEY].map(|name| world.read(name)), before);
    assert_ne!(world.read("client-a.key"), world.read("client-b.key"));
}

#[test]
fn nothing_is_written_over_without_force_and_the_ca_never() {
    let world = World::new();
    make(&world.request(&["a"])).unwrap();
    let kept = [CA, CA_KEY, SERVER, "client-a.pem"].map(|name| world.read(name));
    assert!(
        refused(&world.request(&["b", "a"])).ends_with("client-a.pem is there already; --force replaces it")
    );
    assert!(!world.path("client-b.pem").exists(), "all is looked at before anything is written");
    let mut named = world.request(&[]);
    named.names = vec!["gateway".parse().unwrap()];
    assert!(refused(&named).contains("server.pem is there already"));
    assert_eq!([CA, CA_KEY, SERVER, "client-a.pem"].map(|name| world.read(name)), kept);

    // A service's group may read the broker's key, and goes on doing so; others never do.
    std::fs::set_permissions(world.path(SERVER_KEY), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut forced = world.request(&["a"]);
    forced.force = true;
    let made = make(&forced).unwrap();
    assert!(!made.authority && made.server);
    let now = [CA, CA_KEY, SERVER, "client-a.pem"].map(|name| world.read(name));
    assert!(now[..2] == kept[..2] && now[2] != kept[2] && now[3] != kept[3]);
    assert_eq!([world.mode(SERVER_KEY), world.mode("client-a.key")], [0o640, 0o600]);
}

#[test]
fn what_is_half_there_is_not_completed_by_guessing() {
    let world = World::new();
    make(&world.request(&[])).unwrap();
    let key = world.read(SERVER_KEY);
    std::fs::remove_file(world.path(SERVER_KEY)).unwrap();
    let error = refused(&world.request(&["a"]));
    assert!(
        error.contains("server.pem is there without") && error.ends_with("--force makes both anew"),
        "{error}"
    );
    std::fs::write(world.path(SERVER_KEY), key).unwrap();
    std::fs::remove_file(world.path(CA)).unwrap();
    let error = refused(&world.request(&["a"]));
    assert!(error.contains("ca.key is there without") && !world.path(CA).exists(), "{error}");
}

#[test]
fn a_ca_that_cannot_issue_is_refused() {
    let (world, other) = (World::new(), World::new());
    make(&world.request(&[])).unwrap();
    make(&other.request(&[])).unwrap();
    let good = world.read(CA);
    for (text, why) in [
        (other.read(CA), "ca.key is the key of another certificate"),
        (world.read(SERVER), "it is not the certificate of a CA"),
        ("hello".to_owned(), "ca.pem: "),
    ] {
        std::fs::write(world.path(CA), text).unwrap();
        let error = refused(&world.request(&["a"]));
        assert!(error.contains(why) && error.contains("move ca.pem and ca.key away"), "{error}");
    }
    std::fs::write(world.path(CA), good).unwrap();
    make(&world.request(&["a"])).unwrap();
}

#[test]
fn nothing_is_written_or_read_through_a_symbolic_link() {
    for name in [CA, CA_KEY, SERVER, SERVER_KEY, "client-a.pem", "client-a.key"] {
        let world = World::new();
        std::fs::create_dir(world.path("")).unwrap();
        let target = world.path("target");
        symlink(&target, world.path(name)).unwrap();
        let mut request = world.request(&["a"]);
        for force in [false, true] {
            request.force = force;
            let outcome = make(&request);
            assert!(!target.exists(), "{name}");
            // With --force a link may be replaced by a file, never followed.
            assert!(outcome.is_err() || force, "{name}");
        }
    }
    // A link where the file in the making goes is taken away.
    let world = World::new();
    std::fs::create_dir(world.path("")).unwrap();
    symlink(world.path("target"), world.path(".ca.key.new")).unwrap();
    make(&world.request(&[])).unwrap();
    assert!(!world.path("target").exists() && world.mode(CA_KEY) == 0o600);
}

#[test]
fn a_directory_that_is_there_keeps_its_mode_and_one_that_is_none_is_told() {
    let world = World::new();
    std::fs::create_dir(world.path("")).unwrap();
    std::fs::set_permissions(world.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    make(&world.request(&[])).unwrap();
    assert_eq!(world.mode(""), 0o755);
    let mut request = world.request(&[]);
    request.directory = world.path(CA);
    assert!(refused(&request).contains("is no directory"), "{}", refused(&request));
    request.directory = world.path("none/below");
    assert!(refused(&request).starts_with("can't create"), "{}", refused(&request));
}

#[test]
fn names_are_checked() {
    for good in ["localhost", "gateway.local", "*.plant.example", "10.0.0.7", "::1", "a_b", "A-1"] {
        assert!(good.parse::<ServerName>().is_ok(), "{good}");
    }
    for bad in ["", ".", "a..b", "-a", "a-", "*", "a.*", "*.*.a", "a b", "a/b", "ä", &"a".repeat(64), "a.b."]
    {
        assert!(bad.parse::<ServerName>().is_err(), "{bad}");
    }
    assert_eq!("A.B".parse::<ServerName>().unwrap(), ServerName::Dns("a.b".to_owned()));
    for bad in ["", "a/b", "..//", "+", "#", "a\nb", &"x".repeat(65)] {
        assert!(bad.parse::<ClientName>().is_err(), "{bad:?}");
    }
    // With the part that is always there in front, no name leads out of the directory.
    assert_eq!("..".parse::<ClientName>().unwrap().certificate(), "client-...pem");
}
