//! `noctule import` as it is run: files, exit codes, and Mosquitto itself as the judge of its rules.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::noctule;
use crate::process::ports::free_port;

/// Debian 12's /etc/mosquitto/mosquitto.conf, with a directory of our own.
const DEBIAN: &str = "\
# Place your local configuration in /etc/mosquitto/conf.d/
#
# A full description of the configuration file is at
# /usr/share/doc/mosquitto/examples/mosquitto.conf.example

pid_file /run/mosquitto/mosquitto.pid

persistence true
persistence_location /var/lib/mosquitto/

log_dest file /var/log/mosquitto/mosquitto.log

include_dir {}/conf.d
";

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("noctule-{}-import-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("conf.d")).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, in which `{}` is the directory.
    fn put(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text.replace("{}", self.0.to_str().unwrap())).unwrap();
        self.path(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_configuration_of_debian_is_taken_over() {
    let place = Place::new("debian");
    let (conf, toml) = (place.put("m.conf", DEBIAN), place.path("n.toml"));
    let ended = noctule(&["import", &conf, "--output", &toml]).end();
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{}", ended.err);
    for line in [6, 8, 9, 11, 13] {
        assert!(ended.err.contains(&format!("{conf}:{line}: ")), "line {line}: {}", ended.err);
    }
    assert_eq!(fs::metadata(&toml).unwrap().permissions().mode() & 0o777, 0o600);
    let checked = noctule(&["check", &toml]).end().succeeds();
    assert!(checked.contains("mqtt on 127.0.0.1:1883 for programs on this machine"), "{checked}");
    assert!(checked.contains("the store in /var/lib/noctule, durability always"), "{checked}");

    // With a listener in conf.d, as everybody adds one.
    place.put("conf.d/lan.conf", "listener 1883\npassword_file /etc/mosquitto/passwd\n");
    let ended = noctule(&["import", &conf]).end();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("noctule passwd users --import /etc/mosquitto/passwd\n"), "{}", ended.err);
    assert!(
        ended.out.contains("address = \"0.0.0.0:1883\"") && ended.out.contains("anonymous = false"),
        "{}",
        ended.out
    );
}

#[test]
fn a_file_that_is_there_stays_as_it_is() {
    let place = Place::new("there");
    let (conf, toml) = (place.put("m.conf", "listener 1884\n"), place.put("n.toml", "precious\n"));
    let refused = noctule(&["import", &conf, "-o", &toml]).end();
    assert_eq!(refused.code, 2);
    assert_eq!(
        refused.err,
        format!(
            "noctule: --output {toml}: it is there already; name another file, or write over it with --force\n"
        )
    );
    assert_eq!(fs::read_to_string(&toml).unwrap(), "precious\n");
    noctule(&["import", &conf, "-o", &toml, "--force"]).end().succeeds();
    assert!(fs::read_to_string(&toml).unwrap().contains("0.0.0.0:1884"));
    assert_eq!(fs::metadata(&toml).unwrap().permissions().mode() & 0o777, 0o600, "whatever it was");
    let own = noctule(&["import", &conf, "-o", &conf, "--force"]).end();
    assert_eq!((own.code, own.err.contains("that is what is being read")), (2, true), "{}", own.err);
    assert_eq!(fs::read_to_string(&conf).unwrap(), "listener 1884\n");
    let nowhere = noctule(&["import", &conf, "-o", &place.path("no/such/n.toml")]).end();
    assert_eq!((nowhere.code, nowhere.err.contains("cannot be written: ")), (2, true), "{}", nowhere.err);
}

#[test]
fn losses_and_mistakes_have_their_exit_codes() {
    let place = Place::new("codes");
    let toml = place.path("n.toml");
    let lossy = place.put("lossy.conf", "listener 1884 127.0.0.1\nqueue_qos0_messages true\n");
    let ended = noctule(&["import", &lossy, "-o", &toml]).end();
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("No counterpart; look at these:\n"), "{}", ended.err);
    // It is right but for the users, who are still to be taken over.
    let checked = noctule(&["check", &toml]).end();
    let missing = "authentication: users: the password file can't be read";
    assert!(checked.err.starts_with(missing) && checked.err.lines().count() == 1, "{}", checked.err);
    let wrong = place.put("wrong.conf", "listener 1884\nmax_keepalive 0\nlistenr 1\n");
    let ended = noctule(&["import", &wrong, "-o", &place.path("none.toml")]).end();
    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    assert!(
        ended
            .err
            .contains(&format!("{wrong}:2: max_keepalive \"0\" is not a whole number from 1 to 65535\n")),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains(&format!("{wrong}:3: Mosquitto has no key \"listenr\"; did you mean listener?\n")),
        "{}",
        ended.err
    );
    assert!(!Path::new(&place.path("none.toml")).exists());
    let help = noctule(&["import", "-h"]).end().succeeds();
    assert!(help.contains("Exit codes: 0 written; 1 written, but something is lost"), "{help}");
    let none = noctule(&["import", &place.path("none.conf")]).end();
    assert_eq!((none.code, none.err.contains("none.conf: cannot be read: ")), (2, true), "{}", none.err);
}

/// A broker of another make, stopped with the test.
struct Mosquitto {
    child: Child,
    port: String,
}

impl Mosquitto {
    /// Starts it; `None`, said aloud, where there is none.
    fn start(place: &Place, acl: &str) -> Option<Self> {
        let port = free_port().to_string();
        place.put("acl", acl);
        let conf = place.put(
            "mosquitto.conf",
            &format!("listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {{}}/acl\n"),
        );
        let start = |program: &str| {
            Command::new(program)
                .args(["-c", &conf])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        let Ok(child) = start("mosquitto").or_else(|_| start("/usr/sbin/mosquitto")) else {
            assert!(std::env::var_os("CI").is_none(), "there is no mosquitto");
            // Not eprintln!, which the test harness keeps to itself when a test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED: there is no mosquitto");
            return None;
        };
        let broker = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(format!("127.0.0.1:{}", broker.port)).is_err() {
            assert!(Instant::now() < deadline, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(broker)
    }

    fn may_publish(&self, user: &str, client: &str, topic: &str, payload: &str) -> bool {
        let mut arguments =
            vec!["pub", "-p", &self.port, "-i", client, "-t", topic, "-m", payload, "-q", "1"];
        if !user.is_empty() {
            arguments.extend(["-u", user]);
        }
        noctule(&arguments).end().code == 0
    }

    fn may_receive(&self, user: &str, client: &str, topic: &str) -> bool {
        // Every client may read this: what comes here without the other message says that it does not come.
        let allowed = format!("from/{client}");
        let mut arguments =
            vec!["sub", "-p", &self.port, "-i", client, "-t", topic, "-t", &allowed, "-q", "1"];
        if !user.is_empty() {
            arguments.extend(["-u", user]);
        }
        let mut reader = noctule(&arguments);
        reader.says("subscribed to ");
        assert!(self.may_publish("root", "root", topic, "x"));
        assert!(self.may_publish("root", "root", &allowed, "the last"));
        let first = reader.line();
        assert!(first == "x" || first == "the last", "{first}");
        first == "x"
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ACL: &str = "\
topic read open/#
topic deny open/secret
user anna
topic write desk/anna
topic both/%u
topic deny both/no
topic readwrite both/#
user root
topic readwrite #
pattern write to/%u/%c
pattern read from/%c
pattern deny both/%u/x
pattern read 100%/%u
";

#[test]
fn mosquitto_itself_agrees_with_the_rules() {
    let place = Place::new("judge");
    let Some(judge) = Mosquitto::start(&place, ACL) else { return };
    let conf = place.put("m.conf", "listener 1884\nallow_anonymous true\npassword_file p\nacl_file {}/acl\n");
    let toml = place.path("n.toml");
    assert_eq!(noctule(&["import", &conf, "-o", &toml]).end().code, 0);
    let cases = [
        ("publish", "", "c1", "open/a", false),
        ("publish", "anna", "c1", "desk/anna", true),
        ("publish", "anna", "c1", "desk/bert", false),
        ("publish", "anna", "c1", "both/%u", true),
        ("publish", "anna", "c1", "both/no", false),
        ("publish", "anna", "c1", "both/anna/x", true),
        ("publish", "bert", "c1", "both/bert/x", false),
        ("publish", "bert", "c1", "to/bert/c1", true),
        ("publish", "bert", "c1", "to/bert/c2", false),
        ("publish", "", "c1", "to/bert/c1", false),
        ("receive", "", "c1", "open/a", true),
        ("receive", "", "c1", "open/secret", false),
        ("receive", "anna", "c1", "open/a", false),
        ("receive", "anna", "c1", "desk/anna", false),
        ("receive", "bert", "c9", "from/c9", true),
        ("receive", "bert", "c9", "from/c8", false),
        ("receive", "bert", "c9", "100%/bert", true),
    ];
    for (deed, user, client, topic, expected) in cases {
        let judged = match deed {
            "publish" => judge.may_publish(user, client, topic, "x"),
            _ => judge.may_receive(user, client, topic),
        };
        assert_eq!(judged, expected, "mosquitto: {user:?} {client} {deed} {topic}");
        let mut arguments = vec!["acl", "explain", "-c", &toml, "--client", client, deed, topic];
        if !user.is_empty() {
            arguments.extend(["--user", user]);
        }
        let explained = noctule(&arguments).end();
        assert_eq!(
            explained.code == 0,
            expected,
            "{user:?} {client} {deed} {topic}: {}{}",
            explained.out,
            explained.err
        );
    }
}
