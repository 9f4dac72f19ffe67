//! `openssl s_client`: which versions of TLS and which ciphers it can agree on with the broker, which certificate it is
//! shown, and whether it can come back to a session.
//!
//! It has ciphers that no library in Rust has, so it alone can ask for them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use noctule::config::{
    Anonymous, AuthMethod, Certificate, ClientCertificates, Listener, Protocol, Tls, TlsVersion,
};

use crate::encrypted::{encrypted, free, made};
use crate::{Served, missing};

/// CONNECT in MQTT 3.1.1 by a client named `o`, and DISCONNECT, after which the broker closes.
const CONVERSATION: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01o\xe0\0";
/// CONNACK: welcome, no session.
const WELCOME: &[u8] = &[0x20, 2, 0, 0];
/// The ciphers of TLS 1.2 that keep a secret when the key is lost later, and authenticate what they encrypt.
const GOOD_IN_1_2: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
];
const IN_1_3: [&str; 5] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
];
/// Whatever this OpenSSL can do at all.
const ANYTHING: &str = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";

fn installed() -> bool {
    let found = Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
    if !found {
        missing("there is no openssl (the package openssl)");
    }
    found
}

/// A broker with a certificate for `localhost` on an elliptic curve and another for `old.example` with RSA.
fn served(change: impl FnOnce(&mut Tls, &mut Listener)) -> Served {
    Served::with(|config, data| {
        let mut tls = made(data);
        let [chain, key] = ["rsa.pem", "rsa.key"].map(|name| format!("{}-certs/{name}", data.display()));
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=old"]);
        command.args([
            "-addext",
            "subjectAltName=DNS:old.example",
            "-addext",
            "basicConstraints=CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &chain,
        ]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        tls.certificates.push(Certificate { chain: chain.into(), key: key.into() });
        let mut listener = encrypted();
        change(&mut tls, &mut listener);
        config.tls.push(tls);
        let stomp = Listener { protocol: Protocol::Stomp, address: free(), ..Listener::default() };
        config.listener = vec![listener, stomp];
    })
}

fn file(served: &Served, name: &str) -> String {
    format!("{}-certs/{name}", served.data().display())
}

/// What came of a connection.
struct Came {
    /// Whether the broker has spoken MQTT through it.
    welcomed: bool,
    /// What OpenSSL said about it.
    said: String,
}

impl Came {
    #[track_caller]
    fn is_welcome(&self, words: &str) {
        assert!(self.welcomed && self.said.contains(words), "{words}: {}", self.said);
    }

    /// Refused by the broker, and not given up by the client before.
    #[track_caller]
    fn is_refused(&self, alert: &str) {
        assert!(!self.welcomed && self.said.contains(alert), "{alert}: {}", self.said);
    }
}

fn connect(served: &Served, arguments: &[&str]) -> Came {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &served.address.to_string(), "-ign_eof"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may be gone already.
    let _ = child.stdin.take().unwrap().write_all(CONVERSATION);
    let output = child.wait_with_output().unwrap();
    let welcomed = output.stdout.windows(WELCOME.len()).any(|bytes| bytes == WELCOME);
    let said = [output.stdout, output.stderr].concat();
    Came { welcomed, said: String::from_utf8_lossy(&said).into_owned() }
}

#[test]
fn only_tls_1_2_and_1_3() {
    if !installed() {
        return;
    }
    let both = served(|_, _| {});
    let newest = served(|tls, _| tls.min_version = TlsVersion::V13);
    for (served, floor) in [(&both, 2), (&newest, 3)] {
        for minor in 0..=3 {
            let version = match minor {
                0 => "-tls1".to_owned(),
                minor => format!("-tls1_{minor}"),
            };
            let came = connect(served, &[&version, "-cipher", ANYTHING]);
            if minor < floor {
                // Without what 1.2 has brought, it is said of one or the other thing that is missing.
                came.is_refused("SSL alert number");
            } else {
                came.is_welcome(&format!("New, TLSv1.{minor}"));
            }
        }
    }
}

#[test]
fn no_weak_cipher() {
    if !installed() {
        return;
    }
    let served = served(|_, _| {});
    let listed = Command::new("openssl").args(["ciphers", "-s", "-tls1_2", ANYTHING]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let offered: Vec<_> = listed.trim_end().split(':').filter(|name| !name.starts_with("TLS_")).collect();
    // RSA for the key exchange, CBC, nothing encrypted, nobody authenticated: all of it could be had.
    for weak in ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-NULL-SHA", "AECDH-AES256-SHA"] {
        assert!(offered.contains(&weak), "this OpenSSL can't ask for {weak}");
    }
    let mut taken = BTreeSet::new();
    for cipher in offered {
        let came = connect(&served, &["-tls1_2", "-cipher", &format!("{cipher}:@SECLEVEL=0")]);
        if came.welcomed {
            taken.insert(cipher);
        } else {
            came.is_refused("alert handshake failure");
        }
    }
    assert_eq!(taken, BTreeSet::from(GOOD_IN_1_2));
    for (place, cipher) in IN_1_3.into_iter().enumerate() {
        let came = connect(&served, &["-tls1_3", "-ciphersuites", cipher]);
        if place < 3 {
            came.is_welcome(cipher);
        } else {
            came.is_refused("alert handshake failure");
        }
    }
}

#[test]
fn the_certificate_of_the_name_that_is_asked_for() {
    if !installed() {
        return;
    }
    let served = served(|_, _| {});
    for (asked, ca) in [("localhost", "ca.pem"), ("old.example", "rsa.pem")] {
        let (ca, another) =
            (file(&served, ca), file(&served, if ca == "ca.pem" { "rsa.pem" } else { "ca.pem" }));
        for version in ["-tls1_2", "-tls1_3"] {
            let asking = [version, "-servername", asked, "-verify_hostname", asked, "-verify_return_error"];
            connect(&served, &[&asking[..], &["-CAfile", &ca]].concat()).is_welcome("Verification: OK");
            // Else the one above would prove nothing.
            let came = connect(&served, &[&asking[..], &["-CAfile", &another]].concat());
            came.is_refused("certificate verify failed");
        }
    }
    let ca = file(&served, "ca.pem");
    for asking in [&["-noservername"][..], &["-servername", "else.where"]] {
        connect(&served, &[asking, &["-CAfile", &ca]].concat()).is_welcome("Verification: OK");
    }
}

#[test]
fn an_application_protocol_that_both_know() {
    if !installed() {
        return;
    }
    let (silent, choosy) =
        (served(|_, _| {}), served(|tls, _| tls.alpn = vec!["mqtt".into(), "http/1.1".into()]));
    for version in ["-tls1_2", "-tls1_3"] {
        for offered in ["mqtt", "http/1.1,mqtt", "x"] {
            connect(&silent, &[version, "-alpn", offered]).is_welcome("No ALPN negotiated");
        }
        connect(&choosy, &[version]).is_welcome("No ALPN negotiated");
        for offered in ["mqtt", "http/1.1,mqtt", "x,mqtt"] {
            connect(&choosy, &[version, "-alpn", offered]).is_welcome("ALPN protocol: mqtt");
        }
        connect(&choosy, &[version, "-alpn", "x"]).is_refused("alert no application protocol");
    }
}

#[test]
fn a_certificate_where_one_is_required() {
    if !installed() {
        return;
    }
    let served = served(|tls, listener| {
        tls.client_certificates = ClientCertificates::Required;
        listener.auth = Some(vec![AuthMethod::Certificate]);
        listener.anonymous = Anonymous::Nobody;
    });
    let [known, key, stranger, other] =
        ["client.pem", "client.key", "rsa.pem", "rsa.key"].map(|name| file(&served, name));
    for version in ["-tls1_2", "-tls1_3"] {
        connect(&served, &[version, "-cert", &known, "-key", &key]).is_welcome("New, TLS");
        connect(&served, &[version]).is_refused("alert certificate required");
        connect(&served, &[version, "-cert", &stranger, "-key", &other]).is_refused("alert unknown ca");
    }
}

#[test]
fn a_session_is_resumed() {
    if !installed() {
        return;
    }
    let served = served(|_, _| {});
    let ticket = file(&served, "ticket.pem");
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        connect(&served, &[version, "-sess_out", &ticket]).is_welcome(&format!("New, {name}"));
        connect(&served, &[version, "-sess_in", &ticket]).is_welcome(&format!("Reused, {name}"));
    }
}
