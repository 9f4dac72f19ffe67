//! Random operations over a disk that fails and heals at random: every ticket is answered exactly once, what was settled
//! is there in the end, what failed is not, and what was acknowledged does not come back.

use std::collections::BTreeSet;

use super::*;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Default)]
struct Ledger {
    /// Recipients of each message that have not acknowledged.
    owed: BTreeMap<u64, BTreeSet<u64>>,
    waiting: BTreeSet<u64>,
    settled: usize,
    failed: usize,
}

impl Ledger {
    fn hear(&mut self, seed: u64, answer: &Answer) {
        let (Settled(_, ticket) | Failed(_, ticket)) = answer else { return };
        assert!(self.waiting.remove(ticket), "seed {seed}: ticket {ticket} was answered twice");
        if let Failed(..) = answer {
            self.failed += 1;
            self.owed.remove(ticket);
        } else {
            self.settled += 1;
        }
    }
}

fn run(seed: u64) -> (usize, usize) {
    let mut dice = Dice(seed);
    let mut rig = Rig::new();
    let mut ledger = Ledger::default();
    for step in 1..=600_u64 {
        match dice.below(12) {
            0..=4 => {
                let to: Vec<u64> = (1..=3).filter(|_| dice.below(2) == 0).collect();
                if !to.is_empty() && rig.handle.submit(Ticket(step), publish(step, &to)).is_ok() {
                    ledger.waiting.insert(step);
                    ledger.owed.insert(step, to.into_iter().collect());
                }
            }
            5..=7 => {
                let records: Vec<u64> = ledger.owed.keys().copied().collect();
                if let Some(&record) = records.get(dice.below(20) as usize) {
                    let session = 1 + dice.below(3);
                    ledger.owed.get_mut(&record).unwrap().remove(&session);
                    rig.submit(Ticket::NONE, acknowledged(session, record));
                }
            }
            8 => {
                let session = SessionNumber(1 + dice.below(3));
                rig.submit(Ticket::NONE, StoreOp::Presence { session, online: dice.below(2) == 0 });
            }
            9 => {
                let mishap = match dice.below(8) {
                    0 => Mishap::PanicOnce,
                    1..=3 => Mishap::Error(ENOSPC),
                    _ => Mishap::Error(EIO),
                };
                rig.disk.fails(dice.below(30), mishap);
                rig.now_us += dice.below(10_000);
                rig.run();
                rig.disk.heals();
                // Twice in a row without a commit in between would be a damaged file.
                rig.submit(Ticket::NONE, acknowledged(1, u64::MAX));
                rig.run_later();
            }
            _ => {
                rig.now_us += dice.below(400_000);
                rig.run();
            }
        }
        for answer in rig.answers() {
            ledger.hear(seed, &answer);
        }
    }
    for _ in 0..3 {
        rig.run_later();
    }
    for answer in rig.answers() {
        ledger.hear(seed, &answer);
    }
    assert!(ledger.waiting.is_empty(), "seed {seed}: {:?} were never answered", ledger.waiting);
    assert!(rig.disk.lock().aside.is_empty(), "seed {seed}: nothing was damaged");
    let mut found: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for (session, records) in rig.restarted().owed() {
        assert!(records.is_sorted(), "seed {seed}");
        for record in records {
            found.entry(record).or_default().insert(session);
        }
    }
    ledger.owed.retain(|_, left| !left.is_empty());
    assert_eq!(found, ledger.owed, "seed {seed}");
    (ledger.settled, ledger.failed)
}

#[test]
fn every_promise_is_kept_on_a_disk_that_comes_and_goes() {
    let (mut settled, mut failed) = (0, 0);
    for seed in 1..=30 {
        let (some, others) = run(seed);
        (settled, failed) = (settled + some, failed + others);
    }
    assert!(settled > 2_000 && failed > 300, "{settled} settled and {failed} failed are no test");
}
