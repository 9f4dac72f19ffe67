//! One worker's deadlines, in a hierarchical timing wheel.
//!
//! Entering a deadline and firing it cost the same for one and for a hundred thousand. A single key can't be taken out:
//! keys carry generations, and the owner of a key that fires looks whether it still means it; when most have become void
//! it sweeps them out ([`Wheel::retain`]). The tick is coarse, so that thousands of idle keepalives share few wakes. No
//! clock here: the time is an argument.

/// Deadlines with keys to hand back when they have passed.
///
/// A key is never handed back early, and at the first [`advance`](Self::advance) that is a whole tick late at the
/// latest. Deadlines nearer than 64 ticks lie in the first level, by tick; those nearer than 64² in the second, by 64
/// ticks, and move down when their time comes near; and so on.
#[derive(Debug)]
pub struct Wheel<K> {
    tick_ms: u64,
    /// The tick up to which everything has been handed back.
    now: u64,
    /// `LEVELS` times `SLOTS` slots.
    slots: Box<[Vec<Entry<K>>]>,
    /// Per level, a bit for every slot that isn't empty.
    occupied: [u64; LEVELS],
    /// What had passed already when it was entered.
    due: Vec<K>,
    /// What lies beyond the last level; looked at again when the last level has gone round.
    far: Vec<Entry<K>>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    /// The first tick that begins at or after the deadline.
    tick: u64,
    key: K,
}

const LEVELS: usize = 4;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Ticks that all levels together span, as a power of two: 25 days of 128 ms.
const SPAN_BITS: u32 = SLOT_BITS * LEVELS as u32;

impl<K: Copy> Wheel<K> {
    /// Milliseconds per tick unless stated otherwise.
    pub const DEFAULT_TICK_MS: u64 = 128;

    /// An empty wheel that starts at `now_ms`, in ticks of [`Self::DEFAULT_TICK_MS`].
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self::with_tick(now_ms, Self::DEFAULT_TICK_MS)
    }

    /// An empty wheel that starts at `now_ms`, in ticks of `tick_ms` milliseconds, at least 1.
    #[must_use]
    pub fn with_tick(now_ms: u64, tick_ms: u64) -> Self {
        let tick_ms = tick_ms.max(1);
        Self {
            tick_ms,
            now: now_ms / tick_ms,
            slots: (0..LEVELS * SLOTS).map(|_| Vec::new()).collect(),
            occupied: [0; LEVELS],
            due: Vec::new(),
            far: Vec::new(),
            len: 0,
        }
    }

    /// Hands `key` back once `deadline_ms` has passed; at the next [`advance`](Self::advance) if it has already.
    pub fn insert(&mut self, deadline_ms: u64, key: K) {
        self.len += 1;
        self.place(Entry { tick: deadline_ms.div_ceil(self.tick_ms), key });
    }

    /// Hands back every key whose deadline has passed by `now_ms`, earlier ticks first.
    pub fn advance(&mut self, now_ms: u64, fire: &mut impl FnMut(K)) {
        let target = (now_ms / self.tick_ms).max(self.now);
        self.fire_due(fire);
        while let Some(next) = self.next_tick().filter(|&next| next <= target) {
            self.now = next;
            if next.is_multiple_of(1 << SPAN_BITS) {
                for entry in std::mem::take(&mut self.far) {
                    self.place(entry);
                }
            }
            // In any order: what moves down is due at this very tick or lies ahead of it.
            for level in 0..LEVELS {
                self.empty_slot(level);
            }
            self.fire_due(fire);
        }
        self.now = target;
    }

    /// Forgets every key for which `keep` says no, and gives back the memory that they took. Looks at all of them, so
    /// it is for when there are many.
    pub fn retain(&mut self, mut keep: impl FnMut(K) -> bool) {
        self.due.retain(|&key| keep(key));
        self.far.retain(|entry| keep(entry.key));
        let mut left = self.due.len() + self.far.len();
        for (index, entries) in self.slots.iter_mut().enumerate().filter(|(_, entries)| !entries.is_empty()) {
            entries.retain(|entry| keep(entry.key));
            entries.shrink_to(entries.len() * 2);
            left += entries.len();
            if entries.is_empty()
                && let Some(occupied) = self.occupied.get_mut(index / SLOTS)
            {
                *occupied &= !(1 << (index % SLOTS));
            }
        }
        self.due.shrink_to(SLOTS);
        self.far.shrink_to(self.far.len() * 2);
        self.len = left;
    }

    /// When to call [`advance`](Self::advance) next, in milliseconds; `None` if there is nothing to wait for.
    ///
    /// Never after the earliest tick that hands back a key; before it when keys have to move down a level.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        if !self.due.is_empty() {
            return Some(self.now.saturating_mul(self.tick_ms));
        }
        self.next_tick().map(|tick| tick.saturating_mul(self.tick_ms))
    }

    /// How many keys have not been handed back.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an entry where it belongs as seen from `now`: the level is that of the highest digit, to base 64, in which
    /// the two ticks differ. So a level's entries all lie ahead of `now` and within one turn, and an inner level's
    /// entries all come before an outer's.
    fn place(&mut self, entry: Entry<K>) {
        if entry.tick <= self.now {
            self.due.push(entry.key);
            return;
        }
        let level = ((entry.tick ^ self.now).ilog2() / SLOT_BITS) as usize;
        let slot = digit(entry.tick, level);
        match (self.occupied.get_mut(level), self.slots.get_mut(level * SLOTS + slot)) {
            (Some(occupied), Some(entries)) => {
                *occupied |= 1 << slot;
                entries.push(entry);
            }
            _ => self.far.push(entry),
        }
    }

    /// The next tick at which a slot begins that isn't empty.
    fn next_tick(&self) -> Option<u64> {
        for (level, &occupied) in self.occupied.iter().enumerate() {
            if occupied != 0 {
                let shift = SLOT_BITS * level as u32;
                let turn = self.now >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
                return Some(turn | u64::from(occupied.trailing_zeros()) << shift);
            }
        }
        (!self.far.is_empty()).then(|| ((self.now >> SPAN_BITS) + 1) << SPAN_BITS)
    }

    /// Places the entries of the slot that begins now, if one of `level` does.
    fn empty_slot(&mut self, level: usize) {
        let slot = digit(self.now, level);
        let begins = self.now.trailing_zeros() >= SLOT_BITS * level as u32;
        if let Some(occupied) = self.occupied.get_mut(level)
            && begins
            && *occupied & 1 << slot != 0
        {
            *occupied &= !(1 << slot);
            let entries = self.slots.get_mut(level * SLOTS + slot).map(std::mem::take).unwrap_or_default();
            for entry in entries {
                self.place(entry);
            }
        }
    }

    fn fire_due(&mut self, fire: &mut impl FnMut(K)) {
        self.len -= self.due.len();
        for key in self.due.drain(..) {
            fire(key);
        }
        self.due.shrink_to(SLOTS);
    }
}

/// The digit of `tick` to base 64 that counts at `level`.
fn digit(tick: u64, level: usize) -> usize {
    (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS
}

#[cfg(test)]
mod tests;
