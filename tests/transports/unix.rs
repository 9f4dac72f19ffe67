//! Unix sockets: who is at the other end, and the path that they live at.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use noctule_core::id::Qos;

use crate::kit::{
    DataDir, Got, Mqtt, Pki, Served, Stomp, TLS_VERSIONS, V5, V311, Wire, offer, rest, said, unix, within,
};

/// A directory of the test's own.
fn directory() -> DataDir {
    let dir = DataDir::in_memory();
    fs::create_dir_all(dir.path()).unwrap();
    dir
}

fn listener(path: &Path, more: &str) -> String {
    format!("[[listener]]\naddress = \"unix:{}\"\n{more}\n", path.display())
}

#[test]
fn every_protocol_is_spoken_through_a_unix_socket() {
    let (pki, dir) = (Pki::new(), directory());
    let [mqtt, stomp, both] = ["mqtt", "stomp", "both"].map(|name| dir.path().join(name));
    let served = Served::start(&format!(
        "{}{}{}{}",
        pki.plant(""),
        listener(&mqtt, ""),
        listener(&stomp, "protocol = \"stomp\""),
        listener(&both, "protocol = \"auto\"\ntls = \"plant\"\nwebsocket = \"/\"")
    ));
    assert_eq!(served.listeners(), 3);
    let mut subscriber = Mqtt::connect(unix(&mqtt), V5, "subscriber");
    subscriber.subscribe(Qos::AtLeastOnce, "from/#");
    Stomp::connect(unix(&stomp)).say("/topic/from/stomp", b"stomp");
    assert_eq!(subscriber.take().text(), "stomp");
    let boxed = || Box::new(unix(&both)) as Box<dyn Wire>;
    let secure = || crate::kit::tls_over(boxed(), &pki.connector(TLS_VERSIONS[1], None));
    let web = |wire| crate::kit::web_over(wire, "/", &[]).unwrap();
    let wires: [Box<dyn Wire>; 4] =
        [boxed(), Box::new(secure()), Box::new(web(boxed())), Box::new(web(Box::new(secure())))];
    for (number, wire) in wires.into_iter().enumerate() {
        let mut mqtt = Mqtt::connect(wire, V311, &format!("both-{number}"));
        mqtt.publish(Qos::AtLeastOnce, "from/both", number.to_string().as_bytes());
        assert_eq!(subscriber.take().text(), number.to_string());
        mqtt.bye();
    }
}

/// The kernel says who it is; and who may open the socket was let in by its directory.
#[test]
fn the_log_names_the_peer_and_anonymous_loopback_admits_it() {
    let dir = directory();
    let path = dir.path().join("mqtt");
    let served = Served::start(&listener(&path, "anonymous = \"loopback\""));
    Mqtt::connect(unix(&path), V5, "here").bye();
    let mut wire = unix(&path);
    offer(&mut wire, b"never a packet");
    rest(&mut wire);
    let own = format!("peer=unix:uid={},pid={} ", rustix::process::getuid().as_raw(), std::process::id());
    within(&own, || said(&[&own, "connection refused"]).pop());
    drop(served);
}

#[test]
fn the_socket_is_for_owner_and_group_and_goes_with_the_broker() {
    let dir = directory();
    let path = dir.path().join("mqtt");
    let served = Served::start(&listener(&path, ""));
    let about = fs::symlink_metadata(&path).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o660);
    let mut client = Mqtt::connect(unix(&path), V5, "last");
    let stopping = std::thread::spawn(move || served.stop());
    assert_eq!(client.next(), Got::Bye(0x8B));
    client.is_closed();
    stopping.join().unwrap();
    assert!(!path.exists(), "it is taken away at the end");
}

#[test]
fn a_socket_that_nobody_listens_to_is_replaced() {
    let dir = directory();
    let path = dir.path().join("mqtt");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists() && UnixStream::connect(&path).is_err(), "what a killed broker leaves");
    let _served = Served::start(&listener(&path, ""));
    Mqtt::connect(unix(&path), V5, "new").bye();
}

#[test]
fn what_somebody_else_has_there_is_left_alone() {
    let dir = directory();
    let path = dir.path().join("taken");
    // A live one.
    let other = UnixListener::bind(&path).unwrap();
    let said = Served::refused(&listener(&path, ""));
    assert!(said.contains("another program (perhaps another broker) listens there"), "{said}");
    assert!(UnixStream::connect(&path).is_ok());
    drop(other);
    // What is no socket, also behind a link.
    for link in [false, true] {
        let (file, path) = (dir.path().join(format!("file-{link}")), dir.path().join(format!("path-{link}")));
        fs::write(&file, "precious").unwrap();
        if link {
            std::os::unix::fs::symlink(&file, &path).unwrap();
        } else {
            fs::rename(&file, &path).unwrap();
        }
        let said = Served::refused(&listener(&path, ""));
        assert!(said.contains("there is something that is no socket"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
    // Another broker of the same path.
    let _served = Served::start(&listener(&dir.path().join("ours"), ""));
    let said = Served::refused(&listener(&dir.path().join("ours"), ""));
    assert!(said.contains("another program (perhaps another broker)"), "{said}");
    Mqtt::connect(unix(&dir.path().join("ours")), V5, "still here").bye();
    // No directory.
    let said = Served::refused(&listener(&dir.path().join("no/such"), ""));
    assert!(said.contains("make its directory first"), "{said}");
}

/// Whoever listens there and does not accept has no room for one more to wait: asking must not wait for that.
#[test]
fn a_program_that_is_stuck_does_not_hold_up_the_start() {
    let dir = directory();
    let path = dir.path().join("stuck");
    let new =
        || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM.nonblocking(), None).unwrap();
    let address = socket2::SockAddr::unix(&path).unwrap();
    let stuck = new();
    stuck.bind(&address).unwrap();
    stuck.listen(0).unwrap();
    let waiting: Vec<_> =
        std::iter::repeat_with(new).take_while(|socket| socket.connect(&address).is_ok()).collect();
    assert!(!waiting.is_empty());
    let (told, heard) = std::sync::mpsc::channel();
    let text = listener(&path, "");
    std::thread::spawn(move || told.send(Served::refused(&text)));
    let said = heard.recv_timeout(crate::kit::WAIT).expect("the start was held up");
    assert!(said.contains("another program (perhaps another broker) listens there"), "{said}");
}

#[test]
fn what_somebody_else_has_put_there_since_stays_at_the_end() {
    let dir = directory();
    let path = dir.path().join("mqtt");
    let served = Served::start(&listener(&path, ""));
    fs::remove_file(&path).unwrap();
    let _heir = UnixListener::bind(&path).unwrap();
    served.stop();
    assert!(UnixStream::connect(&path).is_ok());
}
