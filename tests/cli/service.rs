//! What systemd hears of the broker (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use super::process::data_dir::DataDir;
use super::process::{Running, noctule, script};

#[test]
fn systemd_hears_that_it_serves_lives_reloads_and_stops() {
    let (data, folder) = (DataDir::in_memory(), DataDir::in_memory());
    std::fs::create_dir(folder.path()).unwrap();
    let file = |name: &str| folder.path().join(name);
    let socket = UnixDatagram::bind(file("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    std::fs::write(file("noctule.toml"), "[admin]\nlisten = []\n[[listener]]\naddress = \"127.0.0.1:0\"\n")
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_noctule"));
    command.args([
        "run",
        "-c",
        file("noctule.toml").to_str().unwrap(),
        "--data",
        data.path().to_str().unwrap(),
    ]);
    command.env("NOTIFY_SOCKET", file("notify")).env("WATCHDOG_USEC", "400000");
    let broker = Running::start(&mut command);
    let hears = |word: &str| {
        let mut bytes = [0; 512];
        loop {
            let length = socket.recv(&mut bytes).unwrap();
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if said.lines().any(|line| line == word) {
                return said;
            }
            assert!(said.contains("WATCHDOG=1"), "{said:?} instead of {word}");
        }
    };
    hears("READY=1");
    for _ in 0..3 {
        hears("WATCHDOG=1");
    }
    broker.signal("HUP");
    assert!(hears("RELOADING=1").contains("MONOTONIC_USEC="));
    hears("READY=1");
    broker.signal("TERM");
    hears("STOPPING=1");
    assert_eq!(broker.end().code, 0);
}

#[test]
fn the_log_is_for_the_journal_where_that_is_connected_and_else_for_machines() {
    let data = [DataDir::in_memory(), DataDir::in_memory()];
    let arguments = |data: &DataDir| {
        let data = data.path().to_str().unwrap();
        ["run", "--mqtt", "127.0.0.1:0", "--data", data].map(str::to_owned)
    };
    let as_journal = "export JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2); exec \"$0\" \"$@\"";
    let strs = arguments(&data[0]);
    let mut broker = script(as_journal, &strs.each_ref().map(String::as_str));
    // Its priority in front, and no time, which the journal knows itself.
    let line = broker.hears("listening");
    assert!(line.starts_with("<6>listening ") && line.contains("protocol=\"mqtt\""), "{line}");
    let strs = arguments(&data[1]);
    let mut broker = noctule(&strs.each_ref().map(String::as_str));
    let line: serde_json::Value = serde_json::from_str(&broker.hears("listening")).unwrap();
    assert_eq!((&line["level"], &line["protocol"]), (&"INFO".into(), &"mqtt".into()));
}
