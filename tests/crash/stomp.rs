//! STOMP under kill -9: what has a receipt is there after the restart, a transaction is there as a whole or not at all.
//!
//! Smaller than the rest of this room: the clients live in the test, because a receipt that was read is known whatever
//! happens to the broker. `NOCTULE_KILL_CYCLES` and `NOCTULE_KILL_SEED` mean the same.

#[path = "../stomp/kit/client.rs"]
#[allow(dead_code, reason = "the tests over the wire use the rest")]
mod client;
#[path = "stomp/durable.rs"]
mod durable;
#[path = "stomp/receipts.rs"]
mod receipts;
#[path = "stomp/transactions.rs"]
mod transactions;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use noctule_stomp::Command;

use crate::broker::{Broker, Place};
use crate::rng::Rng;
use crate::world::wait;
use client::{Frame, Stomp, V12};

/// Rounds of each test, unless `NOCTULE_KILL_CYCLES` says otherwise.
const ROUNDS: u32 = 4;

/// The body of the last message, after which nothing is missing any more.
const LAST: &str = "the last";

/// What a client does, given the broker's address and a count of receipts to add to, until its connection ends.
type Load<'a> = &'a (dyn Fn(SocketAddr, &AtomicU32) + Sync);

/// A broker that is killed and started again, and where it keeps its things.
struct Arena {
    directory: PathBuf,
    place: Place,
    broker: Option<Broker>,
    address: SocketAddr,
    rng: Rng,
    seed: u64,
}

impl Arena {
    /// Starts a broker; `store` is what stands in its `[store]`.
    fn new(name: &str, seed: u64, store: &str) -> Self {
        // On a disk, unlike the system's directory for temporary files.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let directory = target.join(format!("crash-stomp-{name}-{}-{seed}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        println!("{name}: NOCTULE_KILL_SEED={seed}");
        let place = Place::new(&directory, store);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut arena = Self { directory, place, broker: None, address, rng: Rng::new(seed), seed };
        arena.start();
        arena
    }

    fn start(&mut self) {
        let broker = self.place.start();
        self.address = SocketAddr::from((Ipv4Addr::LOCALHOST, broker.stomp_port()));
        self.broker = Some(broker);
    }

    /// SIGKILL, at once.
    #[track_caller]
    fn kill(&mut self) {
        assert!(self.broker.take().unwrap().kill(), "{self}: the broker ended by itself");
    }

    /// SIGKILL some time after the first receipt, while `load` goes on; it ends when its connections do.
    #[track_caller]
    fn kill_under(&mut self, load: &[Load<'_>]) {
        let receipts = AtomicU32::new(0);
        let address = self.address;
        std::thread::scope(|scope| {
            for load in load {
                let receipts = &receipts;
                scope.spawn(move || load(address, receipts));
            }
            let begun = wait(Duration::from_secs(20), || receipts.load(Ordering::Acquire) > 0);
            std::thread::sleep(self.rng.millis(0, 120));
            self.kill();
            assert!(begun, "{self}: no receipt came");
        });
    }

    /// A connected client, of a broker that may be killed.
    #[track_caller]
    fn client(&self) -> Stomp {
        connected(self.address, &[])
    }

    /// Everything that waits in a queue, in order.
    #[track_caller]
    fn drain(&self, destination: &str) -> Vec<Frame> {
        let mut client = self.client();
        client.say(destination, LAST);
        client.subscribe_with("drain", destination, "client-individual", &[("prefetch-count", "0")]);
        until_last(&mut client)
    }
}

impl std::fmt::Display for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}, store and log in {}", self.seed, self.directory.display())
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // It stays if there is something to look at.
        if !std::thread::panicking() {
            drop(self.broker.take());
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

#[track_caller]
fn connected(address: SocketAddr, headers: &[(&str, &str)]) -> Stomp {
    let mut client = Stomp::open(address);
    client.mortal = true;
    client.connect(V12, headers);
    client
}

/// Messages up to the last one.
#[track_caller]
fn until_last(client: &mut Stomp) -> Vec<Frame> {
    let mut got = Vec::new();
    loop {
        let message = client.message();
        if message.body == LAST.as_bytes() {
            return got;
        }
        // So that there is room for more than a window.
        let id = message.header("ack").to_owned();
        client.send(Command::Ack, &[("id", &id)], b"");
        got.push(message);
    }
}

/// The seeds of one test's rounds.
fn seeds() -> impl Iterator<Item = u64> {
    let rounds = crate::number("NOCTULE_KILL_CYCLES").map_or(u64::from(ROUNDS), |cycles| cycles.max(1));
    let first = crate::seed();
    (0..rounds).map(move |round| first.wrapping_add(round))
}
