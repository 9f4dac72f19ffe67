//! Random operations at random moments, against a model of what is owed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What is on the disk, as far as the window's promises go.
#[derive(Default)]
struct Model {
    /// Recipients of every message that was submitted and not acknowledged.
    owed: BTreeMap<u64, BTreeSet<u64>>,
    disk: BTreeMap<u64, BTreeSet<u64>>,
    waiting: BTreeSet<u64>,
    submitted: u64,
}

/// Random operations at random moments: every ticket is answered exactly once; a message is answered only if it is on the
/// disk or owed to nobody; what is on the disk in the end is what is owed; operations keep their order.
fn random_run(seed: u64) {
    let mut bench = Bench::new();
    let mut model = Model::default();
    let mut state = seed;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut last_written = 0;
    let settle = |model: &mut Model, ticket: u64| {
        assert!(model.waiting.remove(&ticket), "seed {seed}: ticket {ticket} answered twice");
        let owed = model.owed.get(&ticket).cloned().unwrap_or_default();
        let on_disk = model.disk.get(&ticket).cloned().unwrap_or_default();
        assert!(
            owed.is_subset(&on_disk),
            "seed {seed}: {ticket} is owed to {owed:?}, the disk has {on_disk:?}"
        );
    };
    for step in 1..=3_000_u64 {
        bench.now_us += below(700);
        match below(10) {
            0..=3 => {
                let to: Vec<u64> = (1..=5).filter(|_| below(3) == 0).collect();
                let worker = WorkerId(below(3) as u16);
                let waits = below(4) > 0;
                model.owed.insert(step, to.iter().copied().collect());
                if waits {
                    model.waiting.insert(step);
                }
                model.submitted += 1;
                bench.submit(worker, if waits { step } else { u64::MAX }, publish(step, &to)).unwrap();
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
            _ => {
                for (ticket, op) in bench.commit() {
                    match &op {
                        StoreOp::Publish { message, .. } => {
                            assert!(message.record() > last_written, "seed {seed}: out of order");
                            last_written = message.record();
                            model.disk.insert(message.record(), recipients(&op).into_iter().collect());
                        }
                        StoreOp::Acknowledged { session, record } => {
                            if let Some(left) = model.disk.get_mut(record) {
                                left.remove(&session.0);
                            }
                        }
                        _ => {}
                    }
                    if ticket != Ticket::NONE {
                        settle(&mut model, ticket.0);
                    }
                }
                bench.sleep();
            }
        }
        for (_, ticket) in bench.answered() {
            settle(&mut model, ticket);
        }
    }
    bench.window.close();
    for (ticket, op) in bench.commit() {
        match &op {
            StoreOp::Publish { message, .. } => {
                model.disk.insert(message.record(), recipients(&op).into_iter().collect());
            }
            StoreOp::Acknowledged { session, record } => {
                model.disk.entry(*record).or_default().remove(&session.0);
            }
            _ => {}
        }
        if ticket != Ticket::NONE {
            settle(&mut model, ticket.0);
        }
    }
    assert!(model.waiting.is_empty(), "seed {seed}: {:?} were never answered", model.waiting);
    model.owed.retain(|_, left| !left.is_empty());
    model.disk.retain(|_, left| !left.is_empty());
    assert_eq!(model.owed, model.disk, "seed {seed}");
    assert!(bench.window.elided() > 50 && model.submitted > 1_000, "seed {seed}: the run did not try much");
}

#[test]
fn random_runs_keep_every_promise() {
    for seed in 1..=40 {
        random_run(seed);
    }
}
