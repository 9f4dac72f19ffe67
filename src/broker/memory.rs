//! How much memory the process uses, and what that means.
//!
//! The measure is what the allocator has given out: exact, complete (messages, sessions, tables, TLS, the store's index
//! and whatever nobody has thought of) and falling as soon as something is freed. The alternatives are worse. The kernel's
//! figure, RSS, does not fall: after 220 MB of queued messages had been freed it still said 205 MB, because one message
//! in a thousand that lives on keeps its page. What messages and sessions are worth, added up by ourselves, misses all
//! that is not added up, and what is missed is what ends a board. The price is two atomic additions for each piece of
//! memory taken and given back, of which a message in the steady state needs few.
//!
//! RSS is higher by what the allocator and the system need: the program itself, some 3 MB, and gaps between what is given
//! out, at most a quarter in what was measured.

use std::alloc::System;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use cap::Cap;
use noctule_core::shared::Headroom;
use tracing::{info, warn};

/// What the whole process allocates from. It counts, and bounds nothing: who is refused memory by its allocator can only die.
#[global_allocator]
pub static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// How long publishers wait at the budget before queues give way to them. Clients ask whether we are still there, and
/// get no answer behind a message that waits.
const PATIENCE_MS: u64 = 5_000;

/// What the process has been given by its allocator, bytes.
pub(super) fn used() -> u64 {
    usize::MAX.wrapping_sub(HEAP.remaining()) as u64
}

/// How near the budget is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Level {
    /// Far. So it is again as soon as less than three quarters of the budget are used, and not before.
    Ample,
    /// Seven eighths are used: at QoS 0, who lags gets nothing more.
    Short,
    /// All of it is: publishers are not read.
    Full,
    /// All of it has been for so long that waiting does not help: queues give way to what comes.
    Spent,
}

impl Level {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Ample,
            1 => Self::Short,
            2 => Self::Full,
            _ => Self::Spent,
        }
    }

    /// What follows it when so much of `budget` is used and it has been `for_ms` since [`Level::Full`] began.
    fn next(self, used: u64, budget: u64, for_ms: u64) -> Self {
        if used < budget / 4 * 3 {
            return Self::Ample;
        }
        match self {
            Self::Ample | Self::Short if used >= budget => Self::Full,
            Self::Ample if used >= budget / 8 * 7 => Self::Short,
            Self::Full if for_ms >= PATIENCE_MS => Self::Spent,
            level => level,
        }
    }

    /// What the engines make of it.
    pub(super) fn headroom(self) -> Headroom {
        match self {
            Self::Ample => Headroom::Ample,
            Self::Short | Self::Full => Headroom::Short,
            Self::Spent => Headroom::Spent,
        }
    }
}

/// The memory of all workers.
#[derive(Debug)]
pub(super) struct Memory {
    /// Bytes; 0 for no bound.
    budget: AtomicU64,
    level: AtomicU8,
    /// When [`Level::Full`] began, monotonic ms.
    full_since_ms: AtomicU64,
}

impl Memory {
    /// A budget in bytes; 0 for no bound.
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget: AtomicU64::new(budget),
            level: AtomicU8::new(Level::Ample as u8),
            full_since_ms: AtomicU64::new(0),
        }
    }

    /// Another budget, from the next look on.
    pub(super) fn set_budget(&self, budget: u64) {
        self.budget.store(budget, Relaxed);
    }

    /// What is allowed, bytes; 0 for no bound.
    pub(super) fn budget(&self) -> u64 {
        self.budget.load(Relaxed)
    }

    /// How it stood at the last look.
    pub(super) fn level(&self) -> Level {
        Level::of(self.level.load(Relaxed))
    }

    /// Looks how it stands. Whoever finds that something has changed says so in the log.
    pub(super) fn look(&self, now_ms: u64) -> Level {
        let (was, budget) = (self.level(), self.budget.load(Relaxed));
        let used = used();
        let for_ms = now_ms.saturating_sub(self.full_since_ms.load(Relaxed));
        let level = if budget == 0 { Level::Ample } else { was.next(used, budget, for_ms) };
        if level == was {
            return level;
        }
        if level == Level::Full {
            self.full_since_ms.store(now_ms, Relaxed);
        }
        if self.level.compare_exchange(was as u8, level as u8, Relaxed, Relaxed).is_ok() {
            match level {
                Level::Ample => info!(used, budget, "memory is free again"),
                Level::Short => {
                    warn!(used, budget, "memory is short: clients that lag get no more messages at QoS 0");
                }
                Level::Full => warn!(used, budget, "memory is used up: publishers wait"),
                Level::Spent => {
                    warn!(
                        used,
                        budget, "memory stays used up: queues of clients that lag or are away give way"
                    );
                }
            }
        }
        level
    }

    /// Whether there is room for new clients. They get a little more than the budget: who comes may come to take what
    /// fills it.
    pub(super) fn takes_clients(&self) -> bool {
        let budget = self.budget.load(Relaxed);
        self.level() < Level::Full || used() < budget.saturating_add(budget / 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_allocated_is_counted_and_what_is_freed_is_not() {
        let is_counted = || {
            let before = used();
            let much = std::hint::black_box(vec![1_u8; 64 << 20]);
            let with_it = used();
            drop(much);
            with_it >= before + 48 * MIB && used() < before + 16 * MIB
        };
        // Other tests allocate as well: where one has hashed a password in between, another attempt shows it.
        let is_seen = (0..20).any(|_| {
            let is_seen = is_counted();
            if !is_seen {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            is_seen
        });
        assert!(is_seen);
    }

    #[test]
    fn each_level_begins_at_its_edge_and_ends_at_three_quarters() {
        use Level::{Ample, Full, Short, Spent};
        let next = |level: Level, used| level.next(used, 800, 0);
        assert_eq!((next(Ample, 699), next(Ample, 700)), (Ample, Short));
        assert_eq!((next(Ample, 800), next(Short, 799), next(Short, 800)), (Full, Short, Full));
        for level in [Short, Full, Spent] {
            assert_eq!((next(level, 600), next(level, 599)), (level, Ample));
        }
        assert_eq!(Full.next(600, 800, PATIENCE_MS - 1), Full);
        assert_eq!(Full.next(600, 800, PATIENCE_MS), Spent);
        assert_eq!(Spent.next(900, 800, 0), Spent);
    }

    #[test]
    fn without_a_budget_there_is_always_enough() {
        let memory = Memory::new(1);
        assert_eq!(memory.look(0), Level::Full);
        assert!(!memory.takes_clients());
        memory.set_budget(0);
        assert_eq!(memory.look(1), Level::Ample);
        assert!(memory.takes_clients());
    }
}
