//! Full groups, and who waits for room in them, on whichever worker: one line for each.
//!
//! A line is the whole broker's, because what makes room is one worker's and those who wait may be anybody's: whoever has
//! waited longest is let in first, no more than fit, and whoever comes has to wait while anybody else does. What waits is
//! the workers' own business ([`crate::engine`]); here are only its places.
//!
//! Nobody is forgotten: while a group has room and somebody waits, either somebody has been let in and has not left the
//! line yet, or whoever has seen the like last was told so and has the group's home let the next ones in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hash::{Map, Seed};
use crate::id::WorkerId;
use crate::trie::{GroupKey, GroupRef};

/// How the backlog of a group that refuses what it has no room for stands to its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// It has room.
    #[default]
    None,
    /// It is full: its publishers have to wait, or are refused.
    Full,
    /// Twice as much waits as may: nobody at all may add to it.
    Double,
}

/// What a group has, and what it may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Messages in it, and most of them.
    pub(crate) messages: usize,
    pub(crate) max_messages: usize,
    /// Bytes in it, and most of them.
    pub(crate) bytes: usize,
    pub(crate) max_bytes: usize,
}

impl Room {
    /// As [`crate::group::Group::is_congested`] says it of one who comes.
    fn is_left(&self) -> bool {
        self.messages < self.max_messages.max(1) && (self.messages == 0 || self.bytes <= self.max_bytes)
    }

    fn add(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[derive(Debug, Default)]
struct Line {
    pressure: Pressure,
    /// Who waits, by number: at which worker, and with how many bytes.
    waiting: BTreeMap<u64, (WorkerId, usize)>,
    /// The last number that was given.
    last: u64,
    /// The last one that was let in: so are all before it.
    let_in: u64,
    /// Whether those fill the group.
    fills: bool,
}

impl Line {
    /// Whether whoever comes has to wait.
    fn is_shut(&self) -> bool {
        let last = self.waiting.last_key_value();
        self.pressure != Pressure::None || last.is_some_and(|(&last, _)| self.fills || last > self.let_in)
    }

    /// Whether there is room, and somebody waits without anybody being on his way in.
    fn is_stuck(&self) -> bool {
        self.pressure == Pressure::None
            && self.waiting.first_key_value().is_some_and(|(&first, _)| first > self.let_in)
    }
}

/// The lines of all groups that are full or waited for.
#[derive(Debug)]
pub(crate) struct Lines {
    count: AtomicUsize,
    lines: Mutex<Map<Arc<GroupKey>, Line>>,
}

impl Lines {
    pub(super) fn new(seed: Seed) -> Self {
        Self { count: AtomicUsize::new(0), lines: Mutex::new(Map::with_hasher(seed)) }
    }

    fn lock(&self) -> MutexGuard<'_, Map<Arc<GroupKey>, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Groups that are full or waited for; costs one load.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether somebody waits who has been let in, or for a group that has room.
    pub(crate) fn any_late(&self) -> bool {
        let is_late = |line: &Line| {
            let first = line.waiting.first_key_value();
            first.is_some_and(|(&first, _)| line.pressure == Pressure::None || first <= line.let_in)
        };
        self.lock().values().any(is_late)
    }

    /// Changes a group's line, which is there as long as it says anything.
    fn change<T>(&self, key: &Arc<GroupKey>, change: impl FnOnce(&mut Line) -> T) -> T {
        let mut lines = self.lock();
        let line = lines.entry(Arc::clone(key)).or_default();
        let changed = change(line);
        if line.pressure == Pressure::None && line.waiting.is_empty() {
            lines.remove(key);
        }
        self.count.store(lines.len(), Ordering::Release);
        changed
    }

    fn look<T: Default>(&self, key: &GroupKey, look: impl FnOnce(&Line) -> T) -> T {
        if self.is_empty() { T::default() } else { self.lock().get(key).map(look).unwrap_or_default() }
    }

    /// Notes how a group's backlog stands to its limits.
    pub(crate) fn set_pressure(&self, key: &Arc<GroupKey>, pressure: Pressure) {
        self.change(key, |line| line.pressure = pressure);
    }

    /// How a group's backlog stands to its limits, and whether whoever comes has to wait.
    pub(crate) fn state(&self, key: &GroupKey) -> (Pressure, bool) {
        self.look(key, |line| (line.pressure, line.is_shut()))
    }

    /// Whether any of these groups is full.
    pub(crate) fn any_full(&self, groups: &[GroupRef]) -> bool {
        self.any(groups, |line| line.pressure != Pressure::None)
    }

    /// Whether whoever comes has to wait for any of these groups.
    pub(crate) fn any_shut(&self, groups: &[GroupRef]) -> bool {
        self.any(groups, Line::is_shut)
    }

    fn any(&self, groups: &[GroupRef], is: impl Fn(&Line) -> bool) -> bool {
        if groups.is_empty() || self.is_empty() {
            return false;
        }
        let lines = self.lock();
        groups.iter().any(|group| lines.get(&group.key).is_some_and(&is))
    }

    /// Somebody waits at the end of the line; his number. And whether the group's home is to let the next ones in.
    pub(crate) fn enter(&self, key: &Arc<GroupKey>, worker: WorkerId, bytes: usize) -> (u64, bool) {
        self.change(key, |line| {
            line.last += 1;
            line.waiting.insert(line.last, (worker, bytes));
            (line.last, line.is_stuck())
        })
    }

    /// Somebody waits no longer. Whether the group's home is to let the next ones in.
    pub(crate) fn leave(&self, key: &Arc<GroupKey>, number: u64) -> bool {
        self.change(key, |line| {
            line.waiting.remove(&number);
            line.is_stuck()
        })
    }

    /// Whether it is his turn.
    pub(crate) fn is_let_in(&self, key: &GroupKey, number: u64) -> bool {
        self.look(key, |line| number <= line.let_in)
    }

    /// Lets in as many as a group has room for, with those who are on their way. The workers at which they are.
    pub(crate) fn let_in(&self, key: &Arc<GroupKey>, mut room: Room) -> Vec<WorkerId> {
        if self.is_empty() {
            return Vec::new();
        }
        self.change(key, |line| {
            let mut called = Vec::new();
            if line.pressure != Pressure::None {
                return called;
            }
            for (&number, &(worker, bytes)) in &line.waiting {
                if number > line.let_in {
                    if !room.is_left() {
                        break;
                    }
                    line.let_in = number;
                    if !called.contains(&worker) {
                        called.push(worker);
                    }
                }
                room.add(bytes);
            }
            line.fills = !room.is_left();
            called
        })
    }
}
