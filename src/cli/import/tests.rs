//! Configurations of Mosquitto: what they become, and what is said about those that are wrong.

mod model;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::config::{Anonymous, AuthMethod, ClientCertificates, Durability, Level, Overflow, TlsVersion};

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("noctule-import-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file; `{}` in it is the directory.
    fn put(&self, name: &str, text: &str) -> &Self {
        let text = text.replace("{}", self.0.to_str().unwrap());
        std::fs::write(self.0.join(name), text).unwrap();
        self
    }

    fn import(&self) -> Result<Imported, Vec<String>> {
        import(&self.0.join("m.conf"))
            .map_err(|wrong| wrong.iter().map(|one| self.plain(&one.to_string())).collect())
    }

    fn plain(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn imported(text: &str) -> (Config, String, String) {
    let place = Place::new();
    let imported = place.put("m.conf", text).import().unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
    let config = Config::parse(&imported.text, "f").unwrap();
    let mut report = Vec::new();
    imported.ledger.report(&mut report).unwrap();
    let report = String::from_utf8(report).unwrap();
    (config, place.plain(&imported.text), place.plain(&report))
}

fn config(text: &str) -> Config {
    imported(text).0
}

#[track_caller]
fn wrong(text: &str, said: &[&str]) {
    let complaints = Place::new().put("m.conf", text).import().map(|imported| imported.text).unwrap_err();
    assert_eq!(complaints, said, "{text:?}");
}

fn listeners(config: &Config) -> Vec<(String, Anonymous)> {
    config.listener.iter().map(|one| (one.address.to_string(), one.anonymous)).collect()
}

const PASSWORD: &[AuthMethod] = &[AuthMethod::Password];

#[test]
fn without_a_listener_only_this_machine_is_served() {
    let local = |anonymous| [("127.0.0.1:1883".to_owned(), anonymous), ("[::1]:1883".to_owned(), anonymous)];
    for text in ["", "persistence true\n", "allow_anonymous true\n", "http_dir d\n", "max_connections -1\n"] {
        let config = config(text);
        assert_eq!(listeners(&config), local(Anonymous::Loopback), "{text}");
        assert!(!config.is_authenticated(), "{text}");
    }
    let closed = config("allow_anonymous false\n");
    assert_eq!(listeners(&closed), local(Anonymous::Nobody));
    assert_eq!(closed.auth.chain, PASSWORD);
}

#[test]
fn with_a_listener_nobody_is_anonymous_unless_it_is_said() {
    let everywhere =
        |anonymous| [("0.0.0.0:1884".to_owned(), anonymous), ("[::]:1884".to_owned(), anonymous)];
    for text in ["listener 1884\n", "port 1884\n"] {
        let closed = config(text);
        assert_eq!(listeners(&closed), everywhere(Anonymous::Nobody), "{text}");
        assert_eq!((&*closed.auth.chain, closed.acl.len()), (PASSWORD, 1));
        let open = config(&format!("{text}allow_anonymous true\n"));
        assert_eq!(listeners(&open), everywhere(Anonymous::Everybody), "{text}");
        assert_eq!((&*open.auth.chain, open.acl.len()), (&[][..], 0));
    }
    // Any of these opens the default listener, as in Mosquitto itself.
    for key in ["max_connections 5", "max_qos 1", "socket_domain ipv4", "cafile f", "bind_address 10.0.0.1"] {
        let opened = config(key);
        assert!(opened.listener.iter().all(|one| one.anonymous == Anonymous::Nobody), "{key}");
        assert!(opened.listener[0].address.to_string().ends_with(":1883"), "{key}");
        assert!(!opened.listener.iter().any(|one| one.address.is_local()), "{key}");
    }
}

#[test]
fn a_listener_has_the_lines_below_it() {
    let config = config(
        "listener 1884 10.0.0.1\nmax_connections 7\nlistener 0 /run/m.sock # local\nlistener 9001\nprotocol websockets\n\
         socket_domain ipv6\nlistener 1885 localhost\nsocket_domain ipv4\nallow_anonymous true\nmax_connections 20000\n",
    );
    let addresses: Vec<_> = config.listener.iter().map(|one| one.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.1:1884", "unix:/run/m.sock", "[::]:9001", "127.0.0.1:1885"]);
    let limits: Vec<_> = config.listener.iter().map(|one| one.max_connections).collect();
    assert_eq!(limits, [Some(7), None, None, Some(20_000)]);
    assert_eq!(config.limits.max_connections, 20_007);
    assert_eq!(config.listener[2].websocket.as_ref().unwrap().as_str(), "/mqtt");
    assert_eq!(config.listener[2].origins[0].as_str(), "*");
    assert!(config.listener[0].websocket.is_none());
}

#[test]
fn certificates_become_a_tls_of_their_own() {
    let config = config(
        "listener 8883 10.0.0.1\ncertfile c.pem\nkeyfile k.pem\ncafile ca.pem\nlistener 8883 10.0.0.2\ncertfile c2.pem\n\
         keyfile k2.pem\ncafile ca.pem\ncrlfile crl.pem\nrequire_certificate true\nuse_identity_as_username true\n\
         tls_version tlsv1.3\npassword_file p\n",
    );
    let [plain, asks] = &config.tls[..] else { panic!("{:?}", config.tls) };
    assert_eq!(plain.client_certificates, ClientCertificates::None);
    assert_eq!((&plain.client_ca, plain.min_version), (&None, TlsVersion::V12));
    assert_eq!(asks.client_certificates, ClientCertificates::Required);
    assert_eq!((asks.client_ca.as_ref().unwrap().as_str(), asks.min_version), ("ca.pem", TlsVersion::V13));
    assert_eq!(asks.crl.as_ref().unwrap().as_str(), "crl.pem");
    assert_eq!(
        (asks.certificates[0].chain.to_str(), asks.certificates[0].key.to_str()),
        (Some("c2.pem"), Some("k2.pem"))
    );
    assert_eq!(config.listener[0].chain(&config.auth), PASSWORD);
    assert_eq!(config.listener[1].chain(&config.auth), [AuthMethod::Certificate]);
    assert_eq!(config.listener[1].tls.as_ref(), Some(&asks.name));
}

#[test]
fn numbers_keep_their_meaning() {
    let config = config(
        "persistence false\nmax_inflight_messages 0\nmax_queued_messages 77\nmax_packet_size 2048\nmax_keepalive 60\n\
         persistent_client_expiration 2m\nretain_available false\nlog_type error\nlog_type warning\nmax_topic_alias 3\n\
         memory_limit 1048576\n",
    );
    assert_eq!(config.store.durability, Durability::Never);
    assert_eq!((config.limits.max_inflight, config.limits.receive_maximum), (65_535, 65_535));
    assert_eq!((config.limits.max_queued_messages, config.delivery.overflow), (77, Overflow::DropNewest));
    assert_eq!(config.limits.max_packet_size.as_bytes(), 2_048);
    assert_eq!(config.limits.max_keep_alive.as_secs(), 60);
    assert_eq!(config.limits.max_session_expiry.as_secs(), 60 * 86_400);
    assert_eq!((config.limits.max_retained_messages, config.limits.topic_alias_max), (0, 3));
    assert_eq!((config.log.level, config.server.memory.as_bytes()), (Level::Warn, 1 << 20));
}

#[test]
fn what_does_not_fit_is_made_to_and_said() {
    let (config, _, report) =
        imported("message_size_limit 20000000\nmax_queued_bytes 1000\nmax_packet_size 30000000\n");
    assert_eq!(config.limits.max_packet_size.as_bytes(), 20_002_048);
    assert_eq!(config.limits.max_queued_bytes.as_bytes(), 20_002_048);
    assert!(
        report.contains(
            "m.conf:2: max_queued_bytes 1000\n      limits.max_queued_bytes \"20002048B\", because"
        ),
        "{report}"
    );
    let (largest, ..) = imported("max_packet_size 999999999\n");
    assert_eq!(largest.limits.max_packet_size.as_bytes(), 256 << 20);
}

#[test]
fn a_listener_that_would_let_in_more_is_off() {
    for (text, why) in [
        ("listener 1884\nmount_point a/\n", "topics get no prefix here"),
        ("listener 1884\npsk_hint h\npsk_file p\n", "TLS with pre-shared keys is not spoken"),
        ("listener 1884\nbind_interface eth7\n", "write the address of eth7"),
        (
            "listener 1884 gateway.example.com\n",
            "addresses are not looked up; write the one of gateway.example.com",
        ),
        (
            "per_listener_settings true\nlistener 1885 10.0.0.1\nacl_file {}/a\nlistener 1884\nacl_file {}/b\n",
            "would have to hold for this listener alone",
        ),
    ] {
        let place = Place::new();
        let text = format!("{text}allow_anonymous true\n");
        let imported =
            place.put("m.conf", &text).put("a", "topic a\n").put("b", "topic b\n").import().unwrap();
        let config = Config::parse(&imported.text, "f").unwrap();
        assert!(
            config.listener.iter().all(|one| !one.address.to_string().ends_with(":1884")),
            "{}",
            imported.text
        );
        assert!(imported.text.contains("#address = \"0.0.0.0:1884\""), "{}", imported.text);
        assert!(
            imported.text.contains(&format!("# Off: {}", why.split(' ').next().unwrap()))
                || why.starts_with("would")
        );
        assert!(imported.ledger.has_losses());
        let mut report = Vec::new();
        imported.ledger.report(&mut report).unwrap();
        let report = String::from_utf8(report).unwrap();
        assert!(
            report.contains("the listener is written as a comment: ") && report.contains(why),
            "{report}"
        );
    }
}

#[test]
fn a_listener_that_is_off_authenticates_nobody() {
    // Without the last rule everything would be allowed, because nobody is asked for a password.
    let place = Place::new();
    let text = "per_listener_settings true\nlistener 1884 10.0.0.1\nallow_anonymous true\nacl_file {}/a\nlistener 1885\n\
                mount_point m/\npassword_file p\nacl_file {}/a\n";
    let imported = place.put("m.conf", text).put("a", "topic read a\n").import().unwrap();
    let config = Config::parse(&imported.text, "f").unwrap();
    assert!(!config.is_authenticated());
    assert!(!model::allows(&config, None, "c", "b", model::Deed::Read));
    assert!(model::allows(&config, None, "c", "a", model::Deed::Read));
}

#[test]
fn each_listener_may_have_its_own_passwords() {
    let (config, text, report) = imported(
        "per_listener_settings true\nlistener 1884 10.0.0.1\nallow_anonymous true\nlistener 1885 10.0.0.1\npassword_file p1\n\
         listener 1886 10.0.0.1\npassword_file /etc/it's p2\n",
    );
    let chains: Vec<_> = config.listener.iter().map(|one| one.chain(&config.auth)).collect();
    assert_eq!(chains, [&[][..], PASSWORD, PASSWORD]);
    assert_eq!(config.listener[0].anonymous, Anonymous::Everybody);
    assert!(text.contains("noctule passwd users --import p1\n"), "{text}");
    assert!(report.contains("run: noctule passwd users --import '/etc/it'\\''s p2'"), "{report}");
    // Everybody who gets in may do everything, as without acl_file.
    assert!(model::allows(&config, None, "c", "a/b", model::Deed::Write));
}

#[test]
fn included_files_begin_with_the_default_listener() {
    let place = Place::new();
    std::fs::create_dir(place.0.join("d")).unwrap();
    place.put("m.conf", "listener 1884 10.0.0.1\ninclude_dir {}/d\nmax_connections 3\n");
    place
        .put("d/a.conf", "max_connections 5\ninclude_dir nowhere\n")
        .put("d/B.conf", "listener 1885 10.0.0.1\n");
    place.put("d/c.txt", "no key\n");
    let config = Config::parse(&place.import().unwrap().text, "f").unwrap();
    let all: Vec<_> =
        config.listener.iter().map(|one| (one.address.to_string(), one.max_connections)).collect();
    let expected = [
        ("0.0.0.0:1883", Some(5)),
        ("[::]:1883", Some(5)),
        ("10.0.0.1:1884", Some(3)),
        ("10.0.0.1:1885", None),
    ];
    assert_eq!(all, expected.map(|(address, most)| (address.to_owned(), most)));
}

#[test]
fn every_line_is_in_a_list() {
    // Every key there is, with a value that is right.
    let special = [
        ("listener", "1884"),
        ("port", "1885"),
        ("bind_address", "10.0.0.1"),
        ("protocol", "mqtt"),
        ("tls_version", "tlsv1.2"),
        ("socket_domain", "ipv4"),
        ("log_type", "all"),
        ("log_dest", "stderr"),
        ("persistent_client_expiration", "1y"),
        ("acl_file", "{}/acl"),
        ("include_dir", "{}/d"),
        ("per_listener_settings", "false"),
        ("max_qos", "1"),
    ];
    let place = Place::new();
    std::fs::create_dir(place.0.join("d")).unwrap();
    place.put("acl", "topic a\n");
    let mut text = String::from(
        "listener 1884\nconnection c\nplugin_opt_secret 5ecret\nbridge_psk 5ecret\npassword 5ecret\n",
    );
    for key in keys::all() {
        let flags = [
            "require_certificate",
            "persistence",
            "allow_",
            "use_",
            "queue_qos0",
            "retain_",
            "set_tcp",
            "upgrade",
            "check_",
            "autosave_on",
        ];
        let value = match special.iter().find(|(known, _)| *known == key) {
            Some((_, value)) => value,
            None if key == "persistence_file" || key == "persistence_location" => "f",
            None if flags.iter().any(|flag| key.starts_with(flag)) => "true",
            None => "50",
        };
        if key != "listener" {
            text.push_str(&format!("{key} {value}\n"));
        }
    }
    let imported = place.put("m.conf", &text).import().unwrap();
    let mut report = Vec::new();
    imported.ledger.report(&mut report).unwrap();
    let report = place.plain(&String::from_utf8(report).unwrap());
    for (number, line) in (1..).zip(text.lines()) {
        assert!(report.contains(&format!("  m.conf:{number}: ")), "{line}: {report}");
    }
    assert!(!report.contains("not taken over"), "{report}");
    assert!(!report.contains("5ecret") && !imported.text.contains("5ecret"), "{report}");
}

#[test]
fn a_key_said_twice_counts_the_last_time() {
    let (config, _, report) = imported("max_keepalive 60\nmax_keepalive 70\n");
    assert_eq!(config.limits.max_keep_alive.as_secs(), 70);
    assert!(
        report.contains("m.conf:1: max_keepalive 60\n      m.conf:2 says it again, and that counts"),
        "{report}"
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    wrong("listenr 1883\n", &["m.conf:1: Mosquitto has no key \"listenr\"; did you mean listener?"]);
    wrong(
        "\nqqqqqqqq 1\n",
        &[
            "m.conf:2: Mosquitto has no key \"qqqqqqqq\", up to version 2.0; take the line out to go on without it",
        ],
    );
    wrong(
        "  # x\n",
        &["m.conf:1: a comment begins at the very start of its line; take out the blanks before the #"],
    );
    wrong(
        "max_inflight_messages 70000\n",
        &["m.conf:1: max_inflight_messages \"70000\" is not a whole number from 0 to 65535"],
    );
    wrong("persistence yes\n", &["m.conf:1: persistence \"yes\" is neither true nor false"]);
    wrong(
        "persistence\n",
        &["m.conf:1: persistence has no value; write one behind it, or take the line out"],
    );
    wrong(
        "listener x\n",
        &["m.conf:1: listener \"x\" begins with no port from 0 to 65535; write listener 1883"],
    );
    wrong(
        "listener 0\n",
        &["m.conf:1: listener 0 wants the path of a Unix socket behind it, as in listener 0 /run/mqtt.sock"],
    );
    wrong(
        "listener 1\ncertfile c\n",
        &["m.conf:2: certfile wants the other of certfile and keyfile beside it"],
    );
    wrong(
        "listener 5 10.0.0.1\nlistener 5 10.0.0.1\n",
        &["m.conf:2: 10.0.0.1:5 is taken by a listener above; give each its own port"],
    );
    wrong(
        "topic a\n",
        &["m.conf:1: topic is about a bridge, and no connection stands above it; mend the order"],
    );
    wrong(
        "log_type loud\nlog_dest moon\n",
        &[
            "m.conf:2: log_dest \"moon\" is none of stdout, stderr, syslog, topic, file, dlt and none",
            "m.conf:1: log_type \"loud\" is none of debug, error, warning, notice, information, subscribe, unsubscribe, \
         websockets, none and all",
        ],
    );
    wrong(
        "persistent_client_expiration 5\n",
        &[
            "m.conf:1: persistent_client_expiration \"5\" is not a number with h, d, w, m or y behind it, as in 14d",
        ],
    );
    wrong(
        "listener 1\nlistener 2\nallow_anonymous maybe\n",
        &["m.conf:3: allow_anonymous \"maybe\" is neither true nor false"],
    );
    wrong("a\0b\n", &["m.conf:1: this is not text (UTF-8); is it the right file?"]);
}

#[test]
fn files_that_are_not_there_are_said_with_their_place() {
    let said = |place: &Place| place.import().map(|imported| imported.text).unwrap_err().join("\n");
    let place = Place::new();
    assert!(said(&place).starts_with("m.conf: cannot be read: "), "{}", said(&place));
    place.put("m.conf", "\ninclude_dir {}/none\n");
    assert!(said(&place).starts_with("m.conf:2: include_dir none: cannot be read: "), "{}", said(&place));
    place.put("m.conf", "include_dir {}\n");
    let complaint = said(&place);
    assert!(
        complaint.ends_with("holds this very file, which would include itself without end; move one of them"),
        "{complaint}"
    );
    place.put("m.conf", "acl_file {}/none\n");
    assert!(said(&place).starts_with("none: cannot be read: "), "{}", said(&place));
    std::fs::write(place.0.join("none"), b"topic a\n\xff\n").unwrap();
    assert_eq!(said(&place), "none:2: this is not text (UTF-8); is it the right file?");
    let large = std::fs::File::create(place.0.join("m.conf")).unwrap();
    large.set_len(5 << 20).unwrap();
    assert!(
        said(&place).contains("it has 5242880 bytes, 4194304 at most; is the path right?"),
        "{}",
        said(&place)
    );
}

#[test]
fn what_is_wrong_in_an_acl_file_is_said_with_its_place() {
    for (text, said) in [
        (
            "topc a\n",
            "acl:1: \"topc\" is none of topic, user and pattern; mend it, or make it a comment with #",
        ),
        ("topic\n", "acl:1: it has no topic; write one, or take the line out"),
        ("topic red a\n", "acl:1: \"red\" is none of read, write, readwrite and deny; mend it"),
        ("\nuser\n", "acl:2: user has no name behind it; write one, or take the line out"),
    ] {
        let complaints = Place::new().put("m.conf", "acl_file {}/acl\n").put("acl", text).import();
        assert_eq!(complaints.map(|imported| imported.text).unwrap_err(), [said]);
    }
    let complaints = Place::new().put("m.conf", "acl_file {}/acl\n").put("acl", "topic a/#/b\n").import();
    let complaint = complaints.map(|imported| imported.text).unwrap_err().join("\n");
    assert!(complaint.starts_with("acl:1: topic \"a/#/b\": "), "{complaint}");
}

#[test]
fn nothing_in_a_file_gets_out_of_its_comment_or_text() {
    let name = "x\" ]\rdeny = []\u{1b}";
    let (config, text, _) =
        imported(&format!("password_file {name}\nlistener 1\npersistence_location /a/{name}/b\n"));
    assert!(config.server.data_dir.to_str().unwrap().contains("x\" ]\rdeny"));
    assert!(!text.contains('\r') && !text.contains('\u{1b}'), "{text:?}");
}
