//! `noctule init`, and what comes of it, as a user does it: a configuration that `noctule check` finds nothing in, a
//! broker that serves it, clients with TLS and the printed password, ours and Mosquitto's, and those who have neither.
//! And what `noctule check` says of what is right and not meant.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::data_dir::DataDir;
use crate::process::ports::free_port;
use crate::process::{Running, file, noctule, script};

/// What `noctule init` has made, on ports of its own.
struct Made {
    home: DataDir,
    password: String,
    /// MQTT with TLS, STOMP with TLS, MQTT without, STOMP without.
    ports: [u16; 4],
}

impl Made {
    fn new() -> Self {
        let home = DataDir::in_memory();
        let printed = noctule(&["init", "--dir", home.path().to_str().unwrap()]).end().succeeds();
        // The name was not given, so it may be wrong; how to mend that is said with the directory that is meant.
        let mend = format!("  noctule certs --dir {}/certs --force --name NAME\n", home.path().display());
        assert!(printed.contains(&mend), "{printed}");
        let password = printed.lines().find_map(|line| line.strip_prefix("  ")).unwrap().to_owned();
        let mut text = fs::read_to_string(home.path().join("noctule.toml")).unwrap();
        let ports = ["0.0.0.0:8883", "0.0.0.0:61614", "127.0.0.1:1883", "127.0.0.1:61613"].map(|address| {
            let port = free_port();
            assert!(text.contains(address), "{address}\n{text}");
            text = text.replace(address, &format!("127.0.0.1:{port}"));
            port
        });
        fs::write(home.path().join("noctule.toml"), text).unwrap();
        Self { home, password, ports }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    fn serve(&self) -> Running {
        let broker = noctule(&["run", "-c", &self.path("noctule.toml")]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.ports[3])).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        broker
    }

    fn url(&self, scheme: &str, port: usize) -> String {
        format!("{scheme}://admin:{}@localhost:{}", self.password, self.ports[port])
    }
}

#[test]
fn what_init_makes_is_whole_private_and_made_once() {
    let made = Made::new();
    let config = made.path("noctule.toml");
    let checked = noctule(&["check", "--strict", "-c", &config]).end();
    assert_eq!(checked.err, "");
    let summary = checked.succeeds();
    assert!(
        summary
            .contains(&format!("mqtt over TLS on 127.0.0.1:{} for users with a password\n", made.ports[0])),
        "{summary}"
    );
    assert!(summary.contains("tls \"gateway\": its certificates are valid for 82"), "{summary}");
    let mode = |name: &str| fs::metadata(made.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("users"), mode("certs/server.key"), mode("certs/ca.key")], [0o600; 3]);
    assert!(!fs::read_to_string(&config).unwrap().contains(&made.password));
    assert!(!fs::read_to_string(made.path("users")).unwrap().contains(&made.password));

    let before = fs::read(made.path("users")).unwrap();
    let again = noctule(&["init", "--dir", made.home.path().to_str().unwrap()]).end();
    assert_eq!((again.code, again.out.as_str()), (1, ""));
    assert!(again.err.contains("noctule.toml is there already; move it away"), "{}", again.err);
    assert_eq!(fs::read(made.path("users")).unwrap(), before);
}

#[test]
fn who_has_the_password_and_the_ca_comes_in_and_others_are_told_why_not() {
    let made = Made::new();
    let broker = made.serve();
    let (ca, mqtts, stomps) = (made.path("certs/ca.pem"), made.url("mqtts", 0), made.url("stomp+ssl", 1));

    let mut sub =
        noctule(&["sub", "--url", &mqtts, "--cafile", &ca, "-t", "a/#", "-v", "-q", "1", "-C", "3"]);
    sub.says("subscribed to ");
    let publish = |arguments: &[&str]| noctule(&[&["pub", "-t", "a/1", "-q", "1"], arguments].concat()).end();
    publish(&["--url", &mqtts, "--cafile", &ca, "-m", "one"]).succeeds();
    publish(&["--url", &made.url("mqtt", 2), "-m", "two"]).succeeds();
    noctule(&["stomp", "send", "/topic/a/2", "-m", "three", "--url", &stomps, "--cafile", &ca])
        .end()
        .succeeds();
    assert_eq!(sub.end().succeeds(), "a/1 one\na/1 two\na/2 three\n");

    // More than TLS or the socket takes at once, both ways.
    let large = file("secure-large", "x".repeat(900_000).as_bytes());
    let mut sub = noctule(&["sub", "--url", &mqtts, "--cafile", &ca, "-t", "a/1", "-C", "2"]);
    sub.says("subscribed to ");
    for _ in 0..2 {
        publish(&["--url", &mqtts, "--cafile", &ca, "-f", large.path()]).succeeds();
    }
    assert_eq!(sub.end().succeeds().len(), 2 * 900_001);

    let said = |arguments: &[&str], part: &str| {
        let ended = publish(&[arguments, &["-m", "x"]].concat());
        assert_eq!(ended.code, 1, "{arguments:?}");
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    };
    let plain = made.ports[2].to_string();
    said(&["-p", &plain], "0x87 not authorized: no credentials were given");
    said(&["-p", &plain], "say who you are with --user and --password-file");
    said(&["-p", &plain, "-u", "admin", "-P", "guess"], "are user name and password right?");
    said(
        &["--url", &mqtts],
        "the system does not know the CA that issued its certificate; name that with --cafile",
    );
    let other = DataDir::in_memory();
    noctule(&["certs", "--dir", other.path().to_str().unwrap()]).end().succeeds();
    let stranger = other.path().join("ca.pem");
    said(&["--url", &mqtts, "--cafile", stranger.to_str().unwrap()], "is that the broker's CA?");
    let tls_on_plain = format!("mqtts://localhost:{plain}");
    said(&["--url", &tls_on_plain, "--cafile", &ca], "does it speak TLS on this port?");
    said(&["-p", &made.ports[0].to_string()], "if it wants TLS, --tls");

    broker.signal("TERM");
    broker.end().succeeds();
}

#[test]
fn a_load_goes_through_tls_with_the_password() {
    let made = Made::new();
    let broker = made.serve();
    let (ca, mqtts, stomp_port) =
        (made.path("certs/ca.pem"), made.url("mqtts", 0), made.ports[1].to_string());
    let load = ["bench", "cross", "-c", "2", "--rate", "200", "--seconds", "400ms", "--warm-up", "100ms"];
    let place = ["--url", &mqtts, "--stomp-port", &stomp_port, "--cafile", &ca, "--json"];
    let line = noctule(&[&load[..], &place].concat()).end().succeeds();
    let run: serde_json::Value = serde_json::from_str(&line).unwrap();
    let phase = &run["phases"][0];
    assert_eq!((&phase["sent"], &phase["delivered"]), (&80.into(), &80.into()), "{run}");

    let stranger = noctule(&["bench", "one-to-one", "-p", &made.ports[2].to_string()]).end();
    assert_eq!(stranger.code, 1);
    assert!(stranger.err.contains("say who you are with --user and --password-file"), "{}", stranger.err);
    broker.signal("TERM");
    broker.end().succeeds();
}

#[test]
fn a_certificate_for_another_name_is_refused_unless_that_is_said() {
    let made = Made::new();
    noctule(&["certs", "--dir", &made.path("certs"), "--force", "--client", "press"]).end().succeeds();
    let config = made.path("noctule.toml");
    let text = fs::read_to_string(&config).unwrap();
    let ca = made.path("certs/ca.pem");
    // The client's certificate is for none of the broker's names, and is no server's.
    let asks = format!("name = \"gateway\"\nclient_ca = {ca:?}\nclient_certificates = \"required\"\n");
    fs::write(
        &config,
        text.replace("name = \"gateway\"\n", &asks)
            .replace("[\"password\"]", "[\"certificate\", \"password\"]"),
    )
    .unwrap();
    let broker = made.serve();
    let publish = |arguments: &[&str]| {
        let port = made.ports[0].to_string();
        let both = ["pub", "-t", "a", "-m", "x", "-q", "1", "-u", "admin", "-P", &made.password, "-p", &port];
        noctule(&[&both, arguments].concat()).end()
    };
    let (cert, key) = (made.path("certs/client-press.pem"), made.path("certs/client-press.key"));
    let bare = publish(&["--cafile", &ca]);
    assert_eq!(bare.code, 1);
    assert!(
        bare.err.contains("it wants a certificate of the client; give one with --cert and --key"),
        "{}",
        bare.err
    );
    // It is press then, whom no rule allows anything.
    let known = publish(&["--cafile", &ca, "--cert", &cert, "--key", &key]);
    assert_eq!(known.code, 1);
    assert!(known.err.contains("not authorized"), "{}", known.err);
    let mixed = publish(&["--cafile", &ca, "--cert", &cert, "--key", &made.path("certs/server.key")]);
    assert_eq!(mixed.code, 2);
    assert!(mixed.err.contains("it is not the key of the certificate in"), "{}", mixed.err);

    // 127.0.0.1 as an IPv6 address stands in no certificate.
    let mapped = ["-H", "::ffff:127.0.0.1", "--cafile", &ca, "--cert", &cert, "--key", &key];
    let refused = publish(&mapped);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("its certificate is for localhost, "), "{}", refused.err);
    assert!(refused.err.contains("not for ::ffff:127.0.0.1; connect by such a name"), "{}", refused.err);
    let waved = publish(&[&mapped[..], &["--insecure"]].concat());
    assert!(waved.err.contains("not authorized"), "{}", waved.err);
    broker.signal("TERM");
    broker.end().succeeds();
}

#[test]
fn mosquitto_s_clients_come_in_with_what_is_printed() {
    let installed = |name: &str| Command::new(name).arg("--help").output().is_ok();
    if !installed("mosquitto_pub") {
        return;
    }
    let made = Made::new();
    let broker = made.serve();
    let (ca, port, wrong) = (made.path("certs/ca.pem"), made.ports[0].to_string(), "guess".to_owned());
    for version in ["mqttv311", "mqttv5"] {
        for (password, comes_in) in [(&made.password, true), (&wrong, false)] {
            let ended = Command::new("mosquitto_pub")
                .args(["-h", "localhost", "-p", &port, "--cafile", &ca, "-V", version])
                .args(["-u", "admin", "-P", password, "-t", "a", "-m", "x", "-q", "1"])
                .output()
                .unwrap();
            let err = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.success(), comes_in, "{version} {comes_in}: {err}");
            let err = err.to_lowercase();
            assert!(comes_in || err.contains("not authori") || err.contains("bad user name"), "{err}");
        }
    }
    broker.signal("TERM");
    broker.end().succeeds();
}

/// What `noctule check` says of `text`, its exit code without and with --strict.
fn checked(name: &str, text: &str) -> (String, i32, i32) {
    let config = file(name, text.as_bytes());
    let loose = noctule(&["check", config.path()]).end();
    let strict = noctule(&["check", "--strict", config.path()]).end();
    assert_eq!(loose.err, strict.err);
    (loose.err.replace(config.path(), "FILE"), loose.code, strict.code)
}

#[test]
fn check_warns_of_what_is_right_and_not_meant() {
    let users = file("check-users", b"");
    fs::set_permissions(users.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listens = taken.local_addr().unwrap();
    let text = format!(
        "[auth]\nchain = [\"password\"]\npassword_file = {:?}\n\
         [[acl]]\nusers = [\"*\"]\nallow = [\"publish\"]\ntopics = [\"a/#\"]\n\
         [[acl]]\nusers = [\"bob\"]\ndeny = [\"publish\"]\ntopics = [\"a/b\"]\n\
         [[listener]]\naddress = \"0.0.0.0:29171\"\n[[listener]]\naddress = \"{listens}\"\n",
        users.path()
    );
    let (said, loose, strict) = checked("check-warn", &text);
    assert_eq!((loose, strict), (0, 1), "{said}");
    for part in [
        "warning: auth.password_file: there is nobody in it",
        "warning: listener on 0.0.0.0:29171: tls: passwords can be read on the way",
        "warning: FILE:8: acl: this rule never decides, because FILE:4 has decided before",
        &format!("warning: {listens} is in use by "),
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let (said, loose, _) = checked(
        "check-open",
        "[[acl]]\ndeny = [\"publish\"]\ntopics = [\"a\"]\n[[listener]]\naddress = \"127.0.0.1:29172\"\n",
    );
    assert_eq!(loose, 0);
    assert!(said.contains("warning: acl: nobody is asked who he is"), "{said}");
}

#[test]
fn check_finds_what_would_keep_the_broker_from_starting() {
    let made = Made::new();
    let config = made.path("noctule.toml");
    let text = fs::read_to_string(&config).unwrap();
    let swapped = text.replace("server.key", "ca.key");
    for (text, part) in [
        (text.replace("server.pem", "gone.pem"), "tls \"gateway\": "),
        (swapped, "the key is not that of the first certificate"),
        (text.replace("/users\"", "/nobody\""), "authentication: "),
    ] {
        fs::write(&config, text).unwrap();
        let ended = noctule(&["check", &config]).end();
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{part}");
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
    // What stands above the file for the broker does so here.
    fs::write(&config, text).unwrap();
    let ended = script("NOCTULE__LOG__LEVEL=loud exec \"$0\" \"$@\"", &["check", &config]).end();
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(ended.err.contains("NOCTULE__LOG__LEVEL: log.level: \"loud\" is not"), "{}", ended.err);
    // Nothing was made on the way.
    assert!(!fs::exists(made.path("data")).unwrap());
}
