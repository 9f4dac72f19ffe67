//! Users who are proved before the first packet: by certificate, by Unix socket.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use noctule::certs::{self, Request};
use noctule_mqtt::Connect;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::kit::wire::Wire;
use crate::kit::{Files, RIGHT, Served, V5, by};

const ACL: &str = r#"
[[acl]]
allow = ["publish"]
topics = ["users/%u/#"]

[[acl]]
allow = ["publish"]
topics = ["ops/#"]
groups = ["ops"]
"#;

const DOOR: &str = r#"
[auth]
password_file = "{dir}/users"

[[tls]]
name = "plant"
certificates = [{ chain = "{dir}/certs/server.pem", key = "{dir}/certs/server.key" }]
client_ca = "{dir}/certs/ca.pem"
client_certificates = "optional"

[[listener]]
address = "127.0.0.1:0"
tls = "plant"
anonymous = false
auth = ["certificate", "password"]
"#;

/// Certificates of ann, who is a user of the file, and of press-7, who is not.
fn served() -> Served {
    let files = Files::new();
    let clients = ["ann", "press-7"].map(|name| name.parse().unwrap()).to_vec();
    let directory = files.path("certs");
    certs::make(&Request { directory, names: Vec::new(), clients, days: 2, force: false }).unwrap();
    Served::among(files, &[DOOR, ACL].concat())
}

fn tls(served: &Served, client: Option<&str>) -> Wire<StreamOwned<ClientConnection, TcpStream>> {
    let at = |name: &str| served.files.path(&format!("certs/{name}"));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(at("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(name) => {
            let chain = CertificateDer::pem_file_iter(at(&format!("client-{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(at(&format!("client-{name}.key"))).unwrap();
            config.with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(served.address(0)).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(8))).unwrap();
    Wire::new(StreamOwned::new(connection, stream))
}

#[test]
fn the_name_in_a_certificate_is_the_user() {
    let served = served();
    let mut press = tls(&served, Some("press-7"));
    assert_eq!(press.connect(&Connect::new(V5, "a")), 0);
    assert_eq!(press.publish("users/press-7/x"), 0x10);
    assert_eq!(press.publish("users/ann/x"), 0x87);
    assert_eq!(press.publish("ops/x"), 0x87);
    // A user of the file has the groups of the file.
    let mut ann = tls(&served, Some("ann"));
    assert_eq!(ann.connect(&Connect::new(V5, "b")), 0);
    assert_eq!(ann.publish("ops/x"), 0x10);
    // What he says beside it changes nothing.
    let mut press = tls(&served, Some("press-7"));
    assert_eq!(press.connect(&by(V5, "a", "ann", RIGHT)), 0);
    assert_eq!(press.publish("users/ann/x"), 0x87);
}

#[test]
fn without_a_certificate_the_next_method_is_asked() {
    let served = served();
    assert_eq!(tls(&served, None).connect(&Connect::new(V5, "a")), 0x87);
    assert_eq!(tls(&served, None).connect(&by(V5, "a", "ann", "wrong")), 0x86);
    let mut ann = tls(&served, None);
    assert_eq!(ann.connect(&by(V5, "a", "ann", RIGHT)), 0);
    assert_eq!(ann.publish("users/ann/x"), 0x10);
}

/// The user that this test runs as.
fn me() -> String {
    let own = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap());
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&own.to_string()));
    line.map_or_else(|| own.to_string(), |line| line.split(':').next().unwrap().to_owned())
}

#[test]
fn the_process_at_the_other_end_of_a_socket_is_its_user() {
    let door = "[[listener]]\naddress = \"unix:{dir}/mqtt.sock\"\nanonymous = false\nauth = [\"peer\"]\n";
    let served = Served::with(&[door, ACL].concat());
    let enter = || {
        let stream = UnixStream::connect(served.socket()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(8))).unwrap();
        Wire::new(stream)
    };
    let mut own = enter();
    assert_eq!(own.connect(&Connect::new(V5, "a")), 0);
    assert_eq!(own.publish(&format!("users/{}/x", me())), 0x10);
    assert_eq!(own.publish("users/ann/x"), 0x87);
    // Somebody else's name does not make him somebody else.
    let mut own = enter();
    assert_eq!(own.connect(&by(V5, "b", "ann", RIGHT)), 0);
    assert_eq!(own.publish("users/ann/x"), 0x87);
}
