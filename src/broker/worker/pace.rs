//! Publishers that are read more slowly: for their rates, and while no memory is left.
//!
//! A pause is the engine's, which counts everybody's reasons and suspends the keep alive; here stands whom we have
//! paused, and until when. What has been read behind the last message waits with it, acknowledgements and pings too.

use std::collections::BTreeSet;

use noctule_core::effects::Input;
use noctule_core::id::ConnId;

use super::{Io, Worker};
use crate::broker::memory::Level;
use crate::broker::rate::{Bucket, Rate};

/// What may come at once: what comes in this time.
const DEPTH_MS: u64 = 1_000;

/// No pause is shorter: a client just above its rate would else be stopped and started at every message.
const SHORTEST_PAUSE_MS: u64 = 10;

/// Until memory is free again.
pub(super) const UNTIL_MEMORY: u64 = u64::MAX;

/// How often it is looked whether there is memory again, ms.
const LOOK_MS: u64 = 100;

/// Most bytes read at once from anybody while clients are paced: what is read and may not pass is kept.
const READ_BYTES: usize = 4 << 10;

/// What one client may send in a second.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker) struct Rates {
    messages: Option<Rate>,
    bytes: Option<Rate>,
}

impl Rates {
    /// 0 for no bound.
    pub(in crate::broker) fn new(messages: u32, bytes: u64) -> Self {
        Self { messages: Rate::new(messages.into()), bytes: Rate::new(bytes) }
    }

    /// Whether there is any bound.
    pub(in crate::broker) fn is_bounded(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }
}

/// How one client stands to its rates.
#[derive(Debug, Default)]
pub(super) struct Pace {
    messages: Bucket,
    bytes: Bucket,
    /// Until when it is paused, monotonic ms or [`UNTIL_MEMORY`].
    held_until: Option<u64>,
}

impl Pace {
    /// Counts a message of `bytes` on the wire. When the next may come, monotonic ms; `None` if it may at once.
    fn charge(&mut self, rates: &Rates, bytes: usize, now_ms: u64) -> Option<u64> {
        let buckets = [(&mut self.messages, rates.messages, 1), (&mut self.bytes, rates.bytes, bytes as u64)];
        let until = buckets.into_iter().filter_map(|(bucket, rate, count)| {
            bucket.take(rate?, count, now_ms);
            bucket.empty_until(rate?, DEPTH_MS, now_ms)
        });
        until.max().map(|until_ms| until_ms.max(now_ms + SHORTEST_PAUSE_MS))
    }
}

/// Whether the messages of a run of packets may pass.
pub(super) struct Gate<'a> {
    pub(super) pace: &'a mut Option<Box<Pace>>,
    /// Its rates, if there is any bound. Not a copy: this is looked at for every read.
    pub(super) rates: Option<&'a Rates>,
    /// Whether there is no memory for another message.
    pub(super) is_shut: bool,
    pub(super) now_ms: u64,
}

impl Gate<'_> {
    /// Whether it looks at messages at all.
    pub(super) fn is_watched(&self) -> bool {
        self.is_shut || self.rates.is_some()
    }

    /// A message of `bytes` has passed: until when the next has to wait, if it has.
    pub(super) fn charge(&mut self, bytes: usize) -> Option<u64> {
        let rates = self.rates?;
        self.pace.get_or_insert_default().charge(rates, bytes, self.now_ms)
    }
}

/// Whom we have paused, by the end of the pause.
#[derive(Debug, Default)]
pub(super) struct Held {
    conns: BTreeSet<(u64, ConnId)>,
}

impl Held {
    /// Whose pause is over, one by one. `memory`: whether there is memory again.
    fn pop(&mut self, now_ms: u64, memory: bool) -> Option<ConnId> {
        let is_over = |until: u64| until <= now_ms || memory && until == UNTIL_MEMORY;
        // Those who wait for memory stand last.
        let &next = [self.conns.first(), self.conns.last()]
            .into_iter()
            .flatten()
            .find(|(until, _)| is_over(*until))?;
        self.conns.remove(&next);
        Some(next.1)
    }

    /// When the first pause for a rate ends, monotonic ms.
    fn next_ms(&self) -> Option<u64> {
        self.conns.first().map(|(until, _)| *until).filter(|until| *until != UNTIL_MEMORY)
    }
}

impl Worker {
    /// Reads nothing more from `conn` until then.
    pub(super) fn hold(&mut self, io: &mut Io, conn: ConnId, until: u64) {
        let Some(peer) = self.peer(conn) else { return };
        let pace = peer.pace.get_or_insert_default();
        if pace.held_until.replace(until).is_none() {
            self.held.conns.insert((until, conn));
            self.engine.handle(io.now(), Input::Hold(conn), &mut self.fx);
        }
    }

    /// A connection is gone, paused or not.
    pub(super) fn forget_held(&mut self, conn: ConnId, held_until: Option<u64>) {
        if let Some(until) = held_until {
            self.held.conns.remove(&(until, conn));
        }
    }

    /// Looks how much memory is left, and reads again from those whose pause is over. When this is to be done again.
    pub(super) fn release_held(&mut self, io: &mut Io) -> Option<u64> {
        let now = io.now();
        let level = self.look_at_memory(io);
        while let Some(conn) = self.held.pop(now.mono_ms, level != Level::Full) {
            if let Some(pace) = self.peer(conn).and_then(|peer| peer.pace.as_mut()) {
                pace.held_until = None;
            }
            self.engine.handle(now, Input::Release(conn), &mut self.fx);
        }
        self.apply(io);
        let look_ms = (level != Level::Ample).then(|| now.mono_ms + LOOK_MS);
        self.held.next_ms().into_iter().chain(look_ms).min()
    }

    /// Looks how much memory is left and acts on it.
    pub(super) fn look_at_memory(&mut self, io: &mut Io) -> Level {
        let level = self.memory.look(io.now().mono_ms);
        if self.level != level {
            self.level = level;
            self.choose_read_size(io);
        }
        level
    }

    /// What is read and may not pass is kept, for every client that is paced: so no more than needed.
    pub(super) fn choose_read_size(&mut self, io: &mut Io) {
        let is_paced = self.level != Level::Ample || self.settings.is_paced();
        io.read_at_most(if is_paced { READ_BYTES } else { usize::MAX });
    }
}

impl Pace {
    /// Until when it is paused, if it is.
    pub(super) fn held_until(&self) -> Option<u64> {
        self.held_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_rates_decides() {
        let rates = Rates::new(2, 1_000);
        let mut pace = Pace::default();
        assert_eq!(pace.charge(&rates, 10, 0), None);
        assert_eq!(pace.charge(&rates, 10, 0), Some(500), "two messages");
        assert_eq!(pace.charge(&rates, 2_000, 5_000), Some(6_001), "two seconds' bytes");
        assert!(Rates::new(0, 0).messages.is_none() && !Rates::new(0, 0).is_bounded());
    }

    #[test]
    fn a_pause_is_worth_its_while() {
        let rates = Rates::new(10_000, 0);
        let mut pace = Pace::default();
        let until = (0..10_000).find_map(|_| pace.charge(&rates, 10, 0));
        assert_eq!(until, Some(SHORTEST_PAUSE_MS));
    }

    #[test]
    fn pauses_end_in_their_order_and_those_for_memory_when_there_is_some() {
        let conn = |slot| ConnId { slot, generation: 1 };
        let mut held = Held::default();
        held.conns.extend([(30, conn(1)), (UNTIL_MEMORY, conn(2)), (20, conn(3))]);
        assert_eq!((held.next_ms(), held.pop(19, false)), (Some(20), None));
        assert_eq!((held.pop(25, false), held.pop(25, false)), (Some(conn(3)), None));
        assert_eq!((held.pop(25, true), held.pop(25, true)), (Some(conn(2)), None));
        assert_eq!((held.pop(30, false), held.next_ms()), (Some(conn(1)), None));
    }
}
