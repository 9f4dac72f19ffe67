//! What must hold of the [`Book`] after a crash and at rest: all that was promised is there, and nothing that is over.

use std::collections::{BTreeMap, BTreeSet};

use noctule_core::consumer::Verdict;
use noctule_core::effects::DropReason;

use crate::book::{Book, Commit, End, Entry, Sent, State};
use crate::disk::Disk;
use crate::taps::Kind;

impl Book {
    /// Where a message may be consumed that was sent to `tap`.
    pub(crate) fn ways(&self, tap: usize) -> Vec<usize> {
        let mut ways = vec![tap];
        while let Some(next) = self.taps[*ways.last().unwrap()].letters {
            ways.push(next);
        }
        ways
    }

    /// Why a message may be missing from `tap` and all that follows it; each of the reasons is counted.
    fn excuses(&self, tap: usize, msg: u32) -> BTreeSet<usize> {
        let sent = &self.messages[&msg];
        let dies = |tap: usize| {
            let of = &self.taps[tap];
            let copy = self.copies.get(&(tap, msg));
            let limit = |copy: &Entry| copy.rejected || of.limit().is_some_and(|most| copy.written >= most);
            of.letters.is_none() && copy.is_some_and(limit)
        };
        let twin = |(&other, known): (&u32, &Sent)| other != msg && known.asked.dedup == sent.asked.dedup;
        let is_twin = sent.asked.dedup.is_some() && self.messages.iter().any(twin);
        let mut excuses = BTreeSet::new();
        excuses.extend(sent.asked.expires.then_some(DropReason::Expired as usize));
        excuses.extend(is_twin.then_some(DropReason::Duplicate as usize));
        for tap in self.ways(tap) {
            let of = &self.taps[tap];
            excuses.extend(of.excuse().map(|reason| reason as usize));
            excuses.extend(dies(tap).then_some(DropReason::DeadLetterLost as usize));
            let has_ended = of.kind == Kind::Durable && sent.at <= of.ended_at;
            excuses.extend(has_ended.then_some(DropReason::QueueEnded as usize));
        }
        excuses
    }

    /// The process was killed, and its store has been read again: what was promised is there, and nothing that is over.
    pub(crate) fn crashed(&mut self, disk: &Disk, committed: &BTreeSet<usize>) {
        self.crashes += 1;
        let at = self.tick();
        for number in 0..self.commits.len() {
            let on_disk = committed.contains(&number);
            if self.commits[number].state == State::Pending {
                self.commit_ended(number, if on_disk { State::Done } else { State::Failed });
                for (place, verdict) in self.commits[number].settles.clone() {
                    self.copies.get_mut(&place).unwrap().sure |= on_disk && verdict == Verdict::Accept;
                }
            }
            self.check_whole(number, disk);
        }
        self.lent.clear();
        let kept: Vec<_> = self.taps.iter().map(|tap| disk.kept_for(&tap.group, &tap.filter)).collect();
        let taps = &mut self.taps;
        for tap in taps.iter_mut() {
            tap.disturbed_at = at;
            tap.ending = 0;
            let is_kept = disk.groups().any(|(_, name, filter)| name == tap.group && filter == tap.filter);
            assert!(is_kept || !tap.promised, "a durable subscription is gone after its receipt: {tap:?}");
            tap.alive &= is_kept;
        }
        self.copies.retain(|(tap, _), _| taps[*tap].kind != Kind::Share);
        let feeds = |from: usize, tap: usize| taps[from].letters == Some(tap);
        for (&(tap, msg), copy) in &mut self.copies {
            let strict = !self.messages[&msg].plural && !taps[tap].is_timed();
            (copy.holder, copy.commit, copy.crashed) = (None, None, true);
            if let Some(&deliveries) = kept[tap].get(&msg) {
                assert!(!copy.sure || !strict, "{msg} is on the disk after the receipt of its ACK: {copy:?}");
                (copy.end, copy.found, copy.since, copy.void) = (None, deliveries, 0, false);
                assert!(
                    deliveries <= copy.written || !strict,
                    "{msg}: {deliveries} deliveries, but {copy:?}"
                );
            } else if (0..kept.len()).any(|from| feeds(from, tap) && kept[from].contains_key(&msg)) {
                // A dead letter that the store has not heard of has not been written.
                (copy.end, copy.void) = (None, true);
            }
        }
        for (&msg, sent) in self.messages.iter().filter(|(_, sent)| sent.promised) {
            for &tap in &sent.owed {
                let ways = self.ways(tap);
                let there = |tap: &usize| {
                    let copy = self.copies.get(&(*tap, msg));
                    kept[*tap].contains_key(&msg) || copy.is_some_and(|copy| copy.end == Some(End::Consumed))
                };
                let found = ways.iter().any(there) || !self.excuses(tap, msg).is_empty();
                let copies: Vec<_> = ways.iter().map(|&tap| self.copies.get(&(tap, msg))).collect();
                assert!(found, "{msg} {sent:?} is lost from {:?}: {copies:?}", self.taps[tap]);
            }
        }
    }

    /// Everything is at rest and nobody holds anything: so often as it was delivered, as the store knows.
    pub(crate) fn check_deliveries(&self, disk: &Disk) {
        let kept: Vec<_> = self.taps.iter().map(|tap| disk.kept_for(&tap.group, &tap.filter)).collect();
        for (&(tap, msg), copy) in &self.copies {
            let strict = !self.messages[&msg].plural && !self.taps[tap].is_timed();
            let due = if copy.void { 0 } else { copy.found + copy.since };
            let known = kept[tap].get(&msg).copied().unwrap_or(due);
            assert!(known == due || !strict, "the store knows of {known} deliveries of {msg}: {copy:?}");
        }
    }

    /// All of a transaction that is to be kept is on the disk, or nothing.
    fn check_whole(&self, number: usize, disk: &Disk) {
        let Commit { sends, state, .. } = &self.commits[number];
        for msg in sends {
            let Some(sent) = self.messages.get(msg) else { continue };
            let is_kept = disk.published.contains(msg);
            let expected = *state == State::Done && !sent.owed.is_empty();
            assert!(is_kept || !expected, "message {msg} of transaction {number} {state:?} is not stored");
            assert!(
                !is_kept || *state == State::Done,
                "message {msg} of transaction {number} {state:?} is stored"
            );
        }
    }

    /// What has to be there has been consumed, or is excused: how many for which reasons. `sure`: nothing was lost by a
    /// crash or refused by the store, so that all that was taken has to be there.
    pub(crate) fn audit(&mut self, sure: bool) -> BTreeMap<BTreeSet<usize>, u64> {
        let mut missing = BTreeMap::new();
        for (&msg, sent) in self.messages.iter().filter(|(_, sent)| sent.promised || sure && sent.taken) {
            for &tap in &sent.owed {
                let ways = self.ways(tap);
                let consumed = |tap: &usize| {
                    self.copies.get(&(*tap, msg)).is_some_and(|copy| copy.end == Some(End::Consumed))
                };
                if ways.iter().any(consumed) {
                    continue;
                }
                let copies: Vec<_> = ways.iter().map(|&tap| self.copies.get(&(tap, msg))).collect();
                let excuses = self.excuses(tap, msg);
                assert!(!excuses.is_empty(), "{msg} {sent:?} never left {:?}: {copies:?}", self.taps[tap]);
                let of = &self.taps[tap];
                if of.kind == Kind::Durable && sent.told_at > of.ended_at {
                    // It may have waited for room while there was a durable subscription, and been nobody's then.
                    continue;
                }
                *missing.entry(excuses).or_insert(0) += 1;
            }
        }
        self.seen.excused += missing.values().sum::<u64>();
        missing
    }
}
