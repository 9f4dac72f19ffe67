//! The programs for ARM that `packaging/dist` builds, run by qemu: they serve, keep what they acknowledged over a restart, and
//! speak both protocols. `NOCTULE_DIST` names the directory that holds them; without it, and without qemu, that is skipped
//! aloud, in the CI as well: building them takes longer than all the rest.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::data_dir::DataDir;
use crate::ports::free_port;

/// How long anything may take: qemu is some twenty times as slow.
const WAIT: Duration = Duration::from_secs(60);

/// What a program is for, what runs it, and where the libraries are that it wants.
const TARGETS: [(&str, &str, Option<&str>); 3] = [
    ("aarch64-unknown-linux-gnu", "qemu-aarch64-static", Some("/usr/aarch64-linux-gnu")),
    ("aarch64-unknown-linux-musl", "qemu-aarch64-static", None),
    ("armv7-unknown-linux-gnueabihf", "qemu-arm-static", Some("/usr/arm-linux-gnueabihf")),
];

/// A program of another machine.
struct Foreign {
    program: PathBuf,
    qemu: &'static str,
    libraries: Option<&'static str>,
}

impl Foreign {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.qemu);
        if let Some(libraries) = self.libraries {
            command.args(["-L", libraries]);
        }
        command.arg(&self.program).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
        command
    }

    /// Runs it to its end; what it has printed.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    fn serves(&self, ports: [u16; 2], data: &Path) -> Broker {
        let [mqtt, stomp] = ports.map(|port| format!("127.0.0.1:{port}"));
        let data = data.to_str().unwrap();
        let arguments = ["run", "--mqtt", &mqtt, "--stomp", &stomp, "--data", data];
        let child = self.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
        let broker = Broker(child);
        let begun = Instant::now();
        while ports.iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            assert!(begun.elapsed() < WAIT, "{} does not serve", self.program.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        broker
    }
}

/// Ends with the test.
struct Broker(Child);

impl Broker {
    fn stop(mut self) {
        let process = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn skipped(what: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {what}; `packaging/dist --smoke` builds and runs the programs for ARM"
    );
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[test]
fn programs_for_arm_serve_and_keep_what_they_acknowledge() {
    let Some(dist) = std::env::var_os("NOCTULE_DIST").map(PathBuf::from) else {
        return skipped("NOCTULE_DIST names no directory");
    };
    for (target, qemu, libraries) in TARGETS {
        let program = dist.join(format!("noctule-{target}"));
        if !program.is_file() {
            skipped(&format!("there is no {}", program.display()));
            continue;
        }
        if !is_there(qemu) {
            skipped(&format!("there is no {qemu} (the package qemu-user-static)"));
            continue;
        }
        let foreign = Foreign { program, qemu, libraries };
        let (ports, data) = ([free_port(), free_port()], DataDir::in_memory());
        let [mqtt, stomp] = ports.map(|port| port.to_string());
        let broker = foreign.serves(ports, data.path());
        foreign.says(&["pub", "-p", &mqtt, "-t", "sensors/attic", "-m", "21.5", "-q", "1", "-r"]);
        let address = format!("127.0.0.1:{stomp}");
        foreign.says(&["stomp", "send", "--url", &format!("stomp://{address}"), "/queue/jobs", "-m", "job"]);
        broker.stop();
        let broker = foreign.serves(ports, data.path());
        assert_eq!(
            foreign.says(&["sub", "-p", &mqtt, "-t", "sensors/#", "-C", "1"]).trim(),
            "21.5",
            "{target}"
        );
        let taken = foreign.says(&[
            "stomp",
            "subscribe",
            "--url",
            &format!("stomp://{address}"),
            "/queue/jobs",
            "-n",
            "1",
        ]);
        assert_eq!(taken.trim(), "job", "{target}");
        assert!(
            foreign.says(&["ctl", "--data", data.path().to_str().unwrap(), "status"]).contains("workers")
        );
        broker.stop();
    }
}
