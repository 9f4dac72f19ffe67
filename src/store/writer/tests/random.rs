//! Random operations and transactions over a disk that fails and heals at random: every ticket is answered exactly once,
//! what was settled is there in the end, what failed is not, and what was acknowledged does not come back.

use std::collections::BTreeSet;

use super::*;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A message or a transaction that somebody waits for.
#[derive(Default)]
struct Asked {
    /// Its messages.
    records: Vec<u64>,
    /// Session and record of what it acknowledges.
    acknowledges: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Ledger {
    /// Recipients of each message that have not acknowledged.
    owed: BTreeMap<u64, BTreeSet<u64>>,
    /// Tickets, and what goes when they fail, or when they are settled.
    waiting: BTreeMap<u64, Asked>,
    settled: usize,
    failed: usize,
    /// With an acknowledgement: failed, and settled.
    transactions: [usize; 2],
}

impl Ledger {
    fn hear(&mut self, seed: u64, answer: &Answer) {
        let (Settled(_, ticket) | Failed(_, ticket)) = answer else { return };
        let asked = self.waiting.remove(ticket);
        let asked = asked.unwrap_or_else(|| panic!("seed {seed}: ticket {ticket} was answered twice"));
        self.transactions[usize::from(matches!(answer, Settled(..)))] +=
            usize::from(!asked.acknowledges.is_empty());
        if let Failed(..) = answer {
            self.failed += 1;
            asked.records.iter().for_each(|record| drop(self.owed.remove(record)));
        } else {
            self.settled += 1;
            for (session, record) in asked.acknowledges {
                self.owed.entry(record).or_default().remove(&session);
            }
        }
    }
}

fn run(seed: u64) -> Ledger {
    let mut dice = Dice(seed);
    let mut rig = Rig::new();
    let mut ledger = Ledger::default();
    for step in 1..=600_u64 {
        match dice.below(14) {
            0..=4 => {
                let to: Vec<u64> = (1..=3).filter(|_| dice.below(2) == 0).collect();
                if !to.is_empty() && rig.handle.submit(Ticket(step), publish(4 * step, &to)).is_ok() {
                    ledger.waiting.insert(step, Asked { records: vec![4 * step], ..Asked::default() });
                    ledger.owed.insert(4 * step, to.into_iter().collect());
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
            12 | 13 => {
                let known: Vec<u64> = ledger.owed.keys().copied().collect();
                let mut asked = Asked::default();
                let mut parts = Vec::new();
                for record in 4 * step..4 * step + dice.below(4) {
                    parts.push(publish(record, &[1 + record % 3]));
                    asked.records.push(record);
                }
                for _ in 0..dice.below(3) {
                    if let Some(&record) = known.get(dice.below(20) as usize) {
                        let session = 1 + dice.below(3);
                        parts.push(acknowledged(session, record));
                        asked.acknowledges.push((session, record));
                    }
                }
                if rig.handle.submit(Ticket(step), StoreOp::Transaction(parts.into())).is_ok() {
                    asked.records.iter().for_each(|&record| {
                        ledger.owed.insert(record, BTreeSet::from([1 + record % 3]));
                    });
                    ledger.waiting.insert(step, asked);
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
                if dice.below(3) == 0 {
                    // Then the commit may have been made, though it fails.
                    rig.disk.lock().on_sync = Some((dice.below(6), Mishap::Error(EIO)));
                } else {
                    rig.disk.fails(dice.below(30), mishap);
                }
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
    let waiting: Vec<_> = ledger.waiting.keys().collect();
    assert!(waiting.is_empty(), "seed {seed}: {waiting:?} were never answered");
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
    ledger
}

#[test]
fn every_promise_is_kept_on_a_disk_that_comes_and_goes() {
    let (mut settled, mut failed, mut transactions) = (0, 0, [0, 0]);
    for seed in 1..=30 {
        let ledger = run(seed);
        (settled, failed) = (settled + ledger.settled, failed + ledger.failed);
        transactions = [0, 1].map(|at| transactions[at] + ledger.transactions[at]);
    }
    assert!(settled > 2_000 && failed > 300, "{settled} settled and {failed} failed are no test");
    assert!(transactions[0] > 30 && transactions[1] > 300, "{transactions:?}");
}
