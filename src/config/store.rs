//! `[store]` and `[[durability]]`: what is written to the disk, when, and how much of the disk it may take.
//!
//! The directory is [`Server::data_dir`](super::Server). For a message the topic's durability beats its listener's, and
//! that the one of `[store]`; who applies that is not here.

use super::quantity::{Period, Size};
use super::section::{section, text, words};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

section! {
    /// How messages, sessions and what else must survive a restart get onto the disk.
    pub struct Store {
        /// When a QoS 1 or 2 message for somebody who may be away is acknowledged: `"always"`, once it is on the disk.
        /// `[[durability]]` and a listener's own `durability` stand above it.
        durability: Durability = Durability::Always, Now;

        /// How long a message waits for the acknowledgements of its recipients who are online: 5 ms. What all of them
        /// acknowledge in that time is never written, which spares the flash; so much later is its publisher answered
        /// if one of them doesn't. `"0s"` writes at once.
        commit_window: Period [0..=SECOND] = Period::from_millis(5), Restart;

        /// How much later, at most, what nobody waits for is written: 1 s. With `durability = "interval"` that is
        /// every message, and the most that a power cut can take.
        interval: Period [10..=HOUR] = Period::from_secs(1), Restart;

        /// Time between two writes of the same topic's retained message at QoS 0: 5 s, because sensors repeat
        /// themselves and flash wears out. A power cut may bring back a value so much older. `"0s"` writes each.
        retained_interval: Period [0..=HOUR] = Period::from_secs(5), Restart;

        /// Memory for pages of the store file: 1 MiB. More helps only when a restart, or clients that come back, read a
        /// lot.
        cache: Size [MIB..=64 * MIB] = Size::from_mib(1), Restart;

        /// Disk space held ahead: 4 MiB, so that acknowledgements, which make room, still work on a full disk.
        reserve: Size [MIB..=GIB] = Size::from_mib(4), Restart;

        /// Free space on the disk below which QoS 1 and 2 messages that need storing are refused (0x97; in MQTT 3 the
        /// acknowledgement is withheld): 16 MiB, because other programs need some too. QoS 0 goes on.
        min_free: Size [0..=1_024 * GIB] = Size::from_mib(16), Restart;

        /// Largest store file: 1 GiB; beyond it messages are refused as below `min_free`.
        max_size: Size [16 * MIB..=1_024 * GIB] = Size::from_mib(1_024), Restart;
    }
}

section! {
    /// A durability of its own for some topics; of several that match, the first in the file decides.
    pub struct DurabilityRule {
        /// Which topics, as in a subscription. It has to be given.
        filter: Filter = Filter::default(), Now;

        /// What holds for them: `"always"`.
        mode: Durability = Durability::Always, Now;
    }
}

words! {
    /// When a message that must survive is acknowledged.
    pub enum Durability {
        /// When it is on the disk: a power cut takes nothing that was acknowledged.
        Always = "always",
        /// At once; it is written within `interval`, and a power cut takes what wasn't.
        Interval = "interval",
        /// At once; it is not written, and a restart takes it.
        Never = "never",
    }
}

text! {
    /// A topic filter as it stands in the file; whether it is a right one depends on the limits.
    pub struct Filter = "a topic filter such as \"alarms/#\" or \"+/state\"";
}
