//! The names by which the parts of the broker know each other: workers, connections, sessions, and the time.

use std::fmt;

/// A worker (one thread, one engine), counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// The worker's place in a per-worker table.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A network connection on one worker: a slot and the count of its reuses, so that a stale id finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Place in the worker's table of connections.
    pub slot: u32,
    /// How often that place was used before.
    pub generation: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// A session: its home worker, its slot there and the incarnation that tells it from an earlier tenant of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// The home worker; a session never moves.
    pub worker: WorkerId,
    /// Place in the home worker's table of sessions.
    pub slot: u32,
    /// Which tenant of that place; a message for another incarnation is for nobody.
    pub incarnation: u64,
}

impl SessionId {
    /// The publisher of messages that no session sent (the broker's own).
    pub const NOBODY: Self = Self { worker: WorkerId(u16::MAX), slot: u32::MAX, incarnation: 0 };
}

/// The two clocks, read by the shell once per turn of its loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of the monotonic clock since the process started; every interval uses it.
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch; only what must survive a restart uses it (boards without RTC jump).
    pub wall_ms: u64,
}

/// MQTT's quality of service, and what the other protocols map to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Qos {
    /// At most once.
    #[default]
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl Qos {
    /// The level 0, 1 or 2; anything else has no meaning in any version.
    #[must_use]
    pub fn from_level(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// 0, 1 or 2.
    #[must_use]
    pub fn level(self) -> u8 {
        self as u8
    }
}
