//! Random operations at random moments, against a model of what is owed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What is on the disk, as far as the window's promises go.
#[derive(Default)]
struct Model {
    /// Recipients of every message that was submitted and not acknowledged; by a transaction only once that is written.
    owed: BTreeMap<u64, BTreeSet<u64>>,
    disk: BTreeMap<u64, BTreeSet<u64>>,
    /// Tickets, and the messages that are stored when they are answered.
    waiting: BTreeMap<u64, Vec<u64>>,
    submitted: u64,
    transactions: u64,
    last_written: u64,
}

impl Model {
    fn settle(&mut self, seed: u64, ticket: u64) {
        let records = self.waiting.remove(&ticket);
        let records = records.unwrap_or_else(|| panic!("seed {seed}: ticket {ticket} answered twice"));
        for record in records {
            let owed = self.owed.get(&record).cloned().unwrap_or_default();
            let on_disk = self.disk.get(&record).cloned().unwrap_or_default();
            assert!(
                owed.is_subset(&on_disk),
                "seed {seed}: {ticket} is owed to {owed:?}, the disk has {on_disk:?}"
            );
        }
    }

    fn write(&mut self, seed: u64, op: &StoreOp) {
        match op {
            StoreOp::Publish { message, .. } => {
                assert!(message.record() > self.last_written, "seed {seed}: out of order");
                self.last_written = message.record();
                self.disk.insert(message.record(), recipients(op).into_iter().collect());
            }
            StoreOp::Acknowledged { session, record } => {
                self.disk.entry(*record).or_default().remove(&session.0);
            }
            StoreOp::Transaction(parts) => {
                assert!(!parts.is_empty(), "seed {seed}: nothing is left of it");
                for part in parts {
                    self.write(seed, part);
                    if let StoreOp::Acknowledged { session, record } = part {
                        self.owed.entry(*record).or_default().remove(&session.0);
                    }
                }
                self.transactions += 1;
            }
            _ => {}
        }
    }
}

/// Random operations at random moments, alone and in transactions: every ticket is answered exactly once; a message is
/// answered only if it is on the disk or owed to nobody; what is on the disk in the end is what is owed; operations keep
/// their order.
fn random_run(seed: u64) {
    let mut bench = Bench::new();
    let mut model = Model::default();
    let mut state = seed;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for step in 1..=3_000_u64 {
        bench.now_us += below(700);
        match below(11) {
            0..=3 => {
                let to: Vec<u64> = (1..=5).filter(|_| below(3) == 0).collect();
                let worker = WorkerId(below(3) as u16);
                let waits = below(4) > 0;
                model.owed.insert(4 * step, to.iter().copied().collect());
                if waits {
                    model.waiting.insert(step, vec![4 * step]);
                }
                model.submitted += 1;
                bench.submit(worker, if waits { step } else { u64::MAX }, publish(4 * step, &to)).unwrap();
            }
            4..=7 => {
                let owed: Vec<u64> = model.owed.keys().rev().take(8).copied().collect();
                if let Some(record) = owed.get(below(8) as usize).copied() {
                    let left = model.owed.get_mut(&record).unwrap();
                    let session = if below(8) == 0 { None } else { left.first().copied() };
                    let session = session.unwrap_or_else(|| 1 + below(5));
                    left.remove(&session);
                    bench.idle(acknowledged(session, record));
                }
            }
            8 => bench.idle(presence(1 + below(5), below(2) == 0)),
            9 => {
                let mut parts = Vec::new();
                let mut records = Vec::new();
                for at in 0..below(4) {
                    let to: Vec<u64> = (1..=3).filter(|_| below(3) == 0).collect();
                    model.owed.insert(4 * step + at, to.iter().copied().collect());
                    parts.push(publish(4 * step + at, &to));
                    records.push(4 * step + at);
                }
                let owed: Vec<u64> = model.owed.keys().rev().skip(records.len()).take(8).copied().collect();
                for _ in 0..below(3) {
                    if let Some(record) = owed.get(below(8) as usize) {
                        parts.push(acknowledged(1 + below(5), *record));
                    }
                }
                let waits = below(4) > 0;
                if waits {
                    model.waiting.insert(step, records);
                }
                let ticket = if waits { step } else { u64::MAX };
                bench.submit(WorkerId(below(3) as u16), ticket, StoreOp::Transaction(parts.into())).unwrap();
            }
            _ => {
                for (ticket, op) in bench.commit() {
                    model.write(seed, &op);
                    if ticket != Ticket::NONE {
                        model.settle(seed, ticket.0);
                    }
                }
                bench.sleep();
            }
        }
        for (_, ticket) in bench.answered() {
            model.settle(seed, ticket);
        }
    }
    bench.window.close();
    for (ticket, op) in bench.commit() {
        model.write(seed, &op);
        if ticket != Ticket::NONE {
            model.settle(seed, ticket.0);
        }
    }
    assert!(model.waiting.is_empty(), "seed {seed}: {:?} were never answered", model.waiting);
    model.owed.retain(|_, left| !left.is_empty());
    model.disk.retain(|_, left| !left.is_empty());
    assert_eq!(model.owed, model.disk, "seed {seed}");
    assert!(
        bench.window.elided() > 50 && model.submitted > 900 && model.transactions > 100,
        "seed {seed}: the run did not try much"
    );
}

#[test]
fn random_runs_keep_every_promise() {
    for seed in 1..=40 {
        random_run(seed);
    }
}
