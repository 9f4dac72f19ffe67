//! The same clients through TLS, WebSocket and both, and Mosquitto's command line with a certificate of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use noctule::config::{
    Acl, Address, Anonymous, AuthMethod, Certificate, ClientCertificates, File, Listener, Period, Protocol,
    Right, Tls,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::scripts::{self, node, python};
use crate::{Served, missing};

/// What a script goes through to the broker.
const WAYS: [&str; 3] = ["tls", "ws", "wss"];

/// A broker that speaks everything on one port, with certificates that were made for it.
fn served() -> Served {
    Served::with(|config, data| {
        config.tls.push(made(data));
        // One script of STOMP after the other waits for twice this.
        config.stomp.heart_beat = Period::from_secs(2);
        let listener = Listener { protocol: Protocol::Auto, websocket: Some("/ws".into()), ..encrypted() };
        config.listener =
            vec![listener, Listener { protocol: Protocol::Stomp, address: free(), ..Listener::default() }];
    })
}

pub(crate) fn free() -> Address {
    Address::Net(([127, 0, 0, 1], 0).into())
}

pub(crate) fn encrypted() -> Listener {
    Listener { address: free(), tls: Some("made".into()), ..Listener::default() }
}

/// Certificates made for a broker, and for the clients that want one.
pub(crate) fn made(data: &Path) -> Tls {
    let made = Made::in_directory(data);
    let [chain, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| made.path(name));
    Tls {
        name: "made".into(),
        certificates: vec![Certificate { chain: chain.into(), key: key.into() }],
        client_ca: Some(File::from(&*ca)),
        client_certificates: ClientCertificates::Optional,
        ..Tls::default()
    }
}

/// Certificates in a directory.
struct Made(String);

impl Made {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    fn in_directory(data: &Path) -> Self {
        let made = Self(format!("{}-certs", data.display()));
        std::fs::create_dir_all(&made.0).unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "interop CA");
        let certificate = ca.self_signed(&ca_key).unwrap();
        made.write("ca.pem", &certificate.pem());
        let issuer = Issuer::new(ca, ca_key);
        for (name, common_name) in [("server", "broker"), ("client", "alice")] {
            let key = KeyPair::generate().unwrap();
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, common_name);
            made.write(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
            made.write(&format!("{name}.key"), &key.serialize_pem());
        }
        made
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(self.path(name)).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }
}

fn goes(command: &mut Command, served: &Served, way: &str) {
    let ca = format!("{}-certs/ca.pem", served.data().display());
    command.env("NOCTULE_WAY", way).env("NOCTULE_CA", &ca).env("NODE_EXTRA_CA_CERTS", &ca);
}

#[test]
fn paho_through_tls_and_websocket() {
    for (way, version) in WAYS.into_iter().zip(["3.1.1", "5", "5"]) {
        let Some(mut command) = python("paho_client.py", &["paho.mqtt"]) else { return };
        let served = served();
        goes(&mut command, &served, way);
        scripts::every_part_of(&mut command, &served, version);
    }
}

#[test]
fn mqttjs_through_tls_and_websocket() {
    for (way, version) in WAYS.into_iter().zip(["5", "3.1.1", "5"]) {
        let Some(mut command) = node("mqttjs.js", "mqtt", "MQTT.js") else { return };
        let served = served();
        goes(&mut command, &served, way);
        scripts::every_part_of(&mut command, &served, version);
    }
}

#[test]
fn stompjs_through_websocket() {
    for (way, version) in [("ws", "1.0"), ("ws", "1.1"), ("ws", "1.2"), ("wss", "1.2")] {
        let Some(mut command) = node("stompjs.js", "@stomp/stompjs", "@stomp/stompjs") else { return };
        let served = served();
        goes(&mut command, &served, way);
        crate::stomp::stompjs_parts(&mut command, &served.port(), version);
    }
}

#[test]
fn mosquitto_with_a_certificate_is_known_by_its_name() {
    let is_there = Command::new("mosquitto_pub").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        return missing("there is no mosquitto_pub (the package mosquitto-clients)");
    }
    // Who shows a certificate may use what is named after him, and nobody else anything.
    let served = Served::with(|config, data| {
        config.tls.push(made(data));
        config.auth.chain = vec![AuthMethod::Certificate];
        let topics = vec!["home/%u/#".into()];
        config.acl.push(Acl { allow: vec![Right::Publish], topics, ..Acl::default() });
        let listener = Listener { anonymous: Anonymous::Nobody, ..encrypted() };
        config.listener =
            vec![listener, Listener { protocol: Protocol::Stomp, address: free(), ..Listener::default() }];
    });
    let directory = format!("{}-certs", served.data().display());
    let publish = |more: &[&str]| {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &served.port(), "-V", "mqttv5", "-q", "1", "-m", "x"]);
        command.args(["--cafile", &format!("{directory}/ca.pem")]).args(more);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (certificate, key) = (format!("{directory}/client.pem"), format!("{directory}/client.key"));
    let with = ["--cert", &*certificate, "--key", &*key];
    assert_eq!(publish(&[&["-t", "home/alice"][..], &with].concat()), (Some(0), String::new()));
    let (_, said) = publish(&[&["-t", "home/bob"][..], &with].concat());
    assert!(said.contains("Not authorized"), "{said}");
    let (code, said) = publish(&["-t", "home/alice"]);
    assert!(code != Some(0), "without a certificate: {said}");
}
