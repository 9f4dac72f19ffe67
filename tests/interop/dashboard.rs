//! The dashboard in headless Chromium, through Playwright: every flow, without a mouse where that matters, in both colour
//! schemes, wide and narrow. `dashboard.js` beside this does it; `NOCTULE_SCREENSHOTS` names a directory for pictures.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::data_dir::DataDir;
use crate::missing;
use crate::ports::free_port;

/// All of it, on a machine that has other things to do.
const WAIT: Duration = Duration::from_secs(240);

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn noctule(arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_noctule"));
    Process(
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    )
}

#[test]
fn the_dashboard_shows_and_does_what_it_says() {
    let modules = std::env::var("NOCTULE_NODE_MODULES").unwrap_or_default();
    if !Path::new(&modules).join("playwright-core").is_dir() {
        return missing("NOCTULE_NODE_MODULES names no directory that holds playwright-core");
    }
    if !Path::new("/usr/bin/chromium").is_file() {
        return missing("there is no chromium (the package chromium)");
    }
    let (data, folder) = (DataDir::in_memory(), DataDir::in_memory());
    std::fs::create_dir(folder.path()).unwrap();
    let pictures =
        std::env::var("NOCTULE_SCREENSHOTS").unwrap_or_else(|_| folder.path().to_str().unwrap().to_owned());
    let [mqtt, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let port = mqtt.rsplit(':').next().unwrap();
    let _broker =
        noctule(&["run", "--mqtt", &mqtt, "--admin", &admin, "--data", data.path().to_str().unwrap()]);
    let begun = Instant::now();
    while [&mqtt, &admin].iter().any(|address| TcpStream::connect(address).is_err()) {
        assert!(begun.elapsed() < WAIT, "the broker does not serve");
        std::thread::sleep(Duration::from_millis(50));
    }
    // They come back by themselves as often as the page disconnects them.
    let clients = ["boiler-7", "attic"];
    let _clients = clients.map(|name| noctule(&["sub", "-p", port, "-i", name, "-t", "sensors/#"]));
    let mut script = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/dashboard.js"))
        .env("DASHBOARD_URL", format!("http://{admin}/"))
        .env("MQTT_PORT", port)
        .env("CLIENTS", clients.join(","))
        .env("SCREENSHOTS", pictures)
        .env("NOCTULE_BIN", env!("CARGO_BIN_EXE_noctule"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map(Process)
        .unwrap();
    let (sender, lines) = channel();
    let out = script.0.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut done = 0;
    while let Ok(line) = lines.recv_timeout(WAIT) {
        assert!(!line.starts_with("failed "), "{line}");
        done += usize::from(line.starts_with("ok "));
    }
    assert!(script.0.wait().unwrap().success() && done >= 8, "{done} flows were done");
}
