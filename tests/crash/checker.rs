//! The process that holds the clients: told on standard input when the broker comes and goes, it writes the journal
//! and, in the end, the verdict. It is never killed.

use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use crate::cast::{PUBLISHERS, SUBSCRIBERS};
use crate::rng::Rng;
use crate::world::{Phase, World, wait};
use crate::{judge, publisher, reader, subscriber};

/// How long publishers may take to bring to an end what is under way.
const FINISH: Duration = Duration::from_secs(60);

/// When nothing has come for so long, nothing will.
const QUIET: Duration = Duration::from_secs(5);

/// Most that is waited for the last delivery.
const ARRIVE: Duration = Duration::from_secs(120);

/// Runs the clients. The verdict goes to `verdict` in `directory`: a summary, then a line for each failure.
pub(crate) fn run(directory: &Path, seed: u64) {
    let world = World::new(directory);
    std::thread::scope(|scope| {
        let world = &world;
        let rng = |number: usize| Rng::new(seed ^ ((number as u64 + 1) << 40));
        for by in 0..SUBSCRIBERS.len() {
            scope.spawn(move || subscriber::run(world, by, rng(by)));
        }
        for from in 0..PUBLISHERS.len() {
            scope.spawn(move || publisher::run(world, from, rng(SUBSCRIBERS.len() + from)));
        }
        let reading = scope.spawn(move || reader::run(world));
        if follow(world) {
            drain(world);
            world.set_phase(Phase::Last);
            wait(FINISH, || reading.is_finished());
        }
        world.set_phase(Phase::Over);
    });
    let records = world.journal.records();
    let mut verdict = vec![judge::summary(&records)];
    verdict.extend(judge::judge(&records));
    std::fs::write(directory.join("verdict"), verdict.join("\n")).unwrap();
}

/// Does as it is told until no more kills come; whether the run came to its end.
fn follow(world: &World) -> bool {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["up", cycle, port] => {
                world.journal.begin(cycle.parse().unwrap());
                world.set_port(port.parse().unwrap());
            }
            ["down"] => world.set_port(0),
            ["drain"] => return true,
            _ => panic!("told {line:?}"),
        }
    }
    false
}

/// Waits until everything has come, or nothing more does.
fn drain(world: &World) {
    world.set_phase(Phase::Drain);
    if !wait(FINISH, || world.all_finished()) {
        world.wrong(format!("publishers still wait for acknowledgements after {FINISH:?}"));
    }
    wait(ARRIVE, || {
        std::thread::sleep(Duration::from_millis(300));
        let quiet = Duration::from_millis(world.journal.quiet_ms());
        quiet > QUIET
            || quiet > Duration::from_millis(300) && !judge::is_missing_something(&world.journal.records())
    });
}
