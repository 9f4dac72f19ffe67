//! Power cuts at any access to the disk: of what was not synced, anything may be lost or torn. After each, everything of
//! the commits that had returned is there, and the commit under way wholly or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::Log;
use super::disk::Disk;
use super::generated::{Life, count};
use super::kit::{OPTIONS, assert_same, open, seen};

/// How often the commit under way had returned, had reached the disk without that, had not.
#[derive(Debug, Default)]
struct Tally {
    returned: u64,
    reached: u64,
    lost: u64,
}

impl Tally {
    fn cuts(&self) -> u64 {
        self.returned + self.reached + self.lost
    }
}

/// A broker's life with several power cuts.
fn live(seed: u64, tally: &mut Tally) {
    /// In one life.
    const CUTS: u64 = 5;
    let mut life = Life::new(seed);
    let mut disk = Disk::default();
    let mut log = Some(life.open(&disk));
    for _ in 0..CUTS {
        for _ in 0..life.dice.below(6) {
            let ops = life.commit();
            if let Some(log) = &mut log {
                log.commit(&ops, &life.clock()).unwrap();
            }
        }
        let before = life.clone();
        disk.cut_after(life.dice.below(24));
        let ops = life.commit();
        let returned = log.as_mut().is_some_and(|log| log.commit(&ops, &life.clock()).is_ok());
        // Dropping it writes nothing either: there is no power.
        disk.cut_after(0);
        drop(log.take());
        disk = disk.after_the_cut(&mut life.dice);
        if life.dice.one_in(4) {
            // And once more, while the first cut is being repaired.
            disk.cut_after(life.dice.below(30));
            drop(Log::open(disk.clone(), &OPTIONS, &life.clock()));
            disk.cut_after(0);
            disk = disk.after_the_cut(&mut life.dice);
        }
        life.restart();
        let (opened, recovered) = open(&disk, &life.clock());
        let found = seen(&opened, recovered);
        if returned {
            assert_same(&found, &life.model.seen(life.start), "what was committed");
            tally.returned += 1;
        } else if found == life.model.seen(life.start) {
            tally.reached += 1;
        } else {
            // The same restart of a life without that commit, but for its numbers, which are not used again.
            life.model = before.model;
            life.model.restart(life.now);
            tally.lost += 1;
            assert_same(&found, &life.model.seen(life.start), "all of a commit or nothing");
        }
        log = Some(opened);
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_committed() {
    let cuts = count("NOCTULE_CUTS", 100);
    let (mut tally, mut seed) = (Tally::default(), count("NOCTULE_SEED", 0));
    while tally.cuts() < cuts {
        let result = catch_unwind(AssertUnwindSafe(|| live(seed, &mut tally)));
        assert!(result.is_ok(), "seed {seed} fails");
        seed += 1;
    }
    println!("{} power cuts over the seeds 0..{seed}: {tally:?}", tally.cuts());
    assert!(tally.returned > 0 && tally.reached > 0 && tally.lost > 0, "{tally:?}");
}
