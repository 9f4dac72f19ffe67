//! One run: starts the checker and the broker, kills the broker again and again, and asks for the verdict.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::broker::Place;
use crate::rng::Rng;
use crate::world::wait;

/// Names the checker's directory, and makes a process the checker.
pub(crate) const CHECKER_DIRECTORY: &str = "NOCTULE_CRASH_CHECKER";
/// The checker's seed.
pub(crate) const CHECKER_SEED: &str = "NOCTULE_CRASH_CHECKER_SEED";

/// How long the clients may take to be there for the first time.
const READY: Duration = Duration::from_secs(60);

/// How long the checker may take after the last kill.
const VERDICT: Duration = Duration::from_secs(300);

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Names the directory.
    pub(crate) name: &'static str,
    /// How often the broker is killed under load.
    pub(crate) cycles: u32,
    /// Where chance comes from.
    pub(crate) seed: u64,
    /// What stands in the broker's `[store]`.
    pub(crate) store: &'static str,
    /// Whether the broker is asked to end (SIGTERM) instead of being killed.
    pub(crate) asks: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) failures: Vec<String>,
    summary: String,
    seed: u64,
    directory: PathBuf,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.summary)?;
        writeln!(f, "journal, store and log are in {}", self.directory.display())?;
        f.write_str(&self.failures.join("\n"))
    }
}

/// A child that must not outlive the test.
struct Checker(Child);

impl Drop for Checker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Checker {
    fn start(directory: &Path, seed: u64) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["checker_process", "--exact", "--ignored", "--nocapture"])
            .env(CHECKER_DIRECTORY, directory)
            .env(CHECKER_SEED, seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.0.stdin.as_ref().unwrap(), "{what}").unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

/// Carries out the plan. The directory stays if there is something to look at.
pub(crate) fn run(plan: &Plan) -> Verdict {
    // On a disk, unlike the system's directory for temporary files.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = target.join(format!("crash-{}-{}", plan.name, std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    println!("{}: NOCTULE_KILL_SEED={} NOCTULE_KILL_CYCLES={}", plan.name, plan.seed, plan.cycles);

    let place = Place::new(&directory, plan.store);
    let mut rng = Rng::new(plan.seed);
    let mut failures = Vec::new();
    let mut checker = Checker::start(&directory, plan.seed);
    let mut broker = place.start();
    checker.tell(&format!("up 0 {}", broker.port()));
    let ready = directory.join("ready");
    assert!(
        wait(READY, || ready.exists() || checker.has_ended()),
        "clients are not ready; see {directory:?}"
    );
    for cycle in 1..=plan.cycles {
        std::thread::sleep(rng.millis(20, 400));
        let as_expected = if plan.asks { broker.stop() } else { broker.kill() };
        if !as_expected {
            failures.push(format!("ended: cycle {cycle}: the broker ended badly, or by itself"));
        }
        checker.tell("down");
        while !plan.asks && rng.once_in(6) {
            // Killed at its start, maybe while it puts the store in order.
            let unlucky = place.start();
            std::thread::sleep(rng.millis(0, 25));
            unlucky.kill();
        }
        broker = place.start();
        checker.tell(&format!("up {cycle} {}", broker.port()));
    }
    // Without a kill there is load nevertheless.
    std::thread::sleep(rng.millis(20, 400));
    checker.tell("drain");
    assert!(wait(VERDICT, || checker.has_ended()), "no verdict; see {directory:?}");
    if !broker.kill() {
        failures.push("ended: the broker ended by itself while nobody killed it".to_owned());
    }
    let verdict = std::fs::read_to_string(directory.join("verdict")).expect("the checker failed");
    let mut lines = verdict.lines().map(str::to_owned);
    let summary = lines.next().unwrap_or_default();
    println!("{}: {summary}", plan.name);
    failures.extend(lines);
    if failures.is_empty() {
        std::fs::remove_dir_all(&directory).unwrap();
    }
    Verdict { failures, summary, seed: plan.seed, directory }
}
