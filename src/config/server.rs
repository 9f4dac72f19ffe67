//! `[server]`, `[delivery]` and `[log]`: the few keys that are not limits.

use std::path::PathBuf;

use super::quantity::{Period, Size};
use super::section::{section, words};

const GIB: u64 = 1 << 30;

section! {
    /// The process as a whole.
    pub struct Server {
        /// Worker threads, each with its own event loop and its share of the clients: 1, which serves a gateway;
        /// more than the machine has cores only costs.
        workers: u16 [1..=64] = 1, Restart;

        /// The directory of the store, where everything lies that survives a restart; relative to the working
        /// directory. It is created if need be, for the broker's own user alone (0700), and serves one broker at a time.
        data_dir: PathBuf = PathBuf::from("data"), Restart;

        /// Memory for messages, sessions, connections and everything else together: 256 MiB; up to a quarter more may be
        /// needed for it in the end. Near it (seven eighths) clients that lag get no new messages at QoS 0, counted; at it
        /// those who publish are not read until three quarters suffice, and new clients are refused soon after. If it
        /// stays so for 5 s, full queues are what it costs: see `delivery.overflow`. 0 for no bound.
        memory: Size [0..=1_024 * GIB] = Size::from_mib(256), Now;
    }
}

section! {
    /// Who gets a message, and what happens when there is no room for it.
    pub struct Delivery {
        /// What a full queue does, a client's or a shared subscription's: `"drop-oldest"`, because the newest reading is
        /// usually the one that matters. Nothing is ever dropped uncounted.
        overflow: Overflow = Overflow::DropOldest, Now;

        /// With `overflow = "refuse"`, how long an MQTT 3 publisher waits for its acknowledgement, because it can't be
        /// told no, before it is disconnected: 5 s. It keeps the message and sends it again when it comes back.
        refuse_timeout: Period [100..=60_000] = Period::from_secs(5), Now;

        /// Which member of a shared subscription gets the next message: `"round-robin"`.
        share_strategy: ShareStrategy = ShareStrategy::RoundRobin, Now;
    }
}

section! {
    /// What is said on standard error.
    pub struct Log {
        /// `"human"` for a terminal, `"journal"` for systemd's journal, `"json"` for machines; `"auto"`, which looks where
        /// standard error goes.
        format: LogFormat = LogFormat::Auto, Restart;

        /// The least important line that is still written: `"info"`.
        level: Level = Level::Info, Now;
    }
}

words! {
    /// What a client's full queue does with one more message.
    pub enum Overflow {
        /// Makes room by dropping what has waited longest.
        DropOldest = "drop-oldest",
        /// Drops the message that just came.
        DropNewest = "drop-newest",
        /// Refuses it to its publisher (Quota exceeded, 0x97); on MQTT 3 the acknowledgement is withheld.
        Refuse = "refuse",
        /// Disconnects the client whose queue is full; its session stays.
        Disconnect = "disconnect",
    }
}

words! {
    /// Which member of a shared subscription gets the next message.
    pub enum ShareStrategy {
        /// One after the other.
        RoundRobin = "round-robin",
        /// The one with the fewest messages it has not yet acknowledged.
        LeastInflight = "least-inflight",
        /// Always the same one for the same topic, as long as it is there.
        Sticky = "sticky",
    }
}

words! {
    /// The shape of a log line.
    pub enum LogFormat {
        /// As for people on a terminal, as for the journal where that is connected, else for machines.
        Auto = "auto",
        /// Time, level, words; coloured on a terminal.
        Human = "human",
        /// Level and words as systemd's journal reads them, which knows the time itself (sd-daemon(3)).
        Journal = "journal",
        /// One JSON object per line.
        Json = "json",
    }
}

words! {
    /// The least important log line that is still written.
    pub enum Level {
        /// What somebody must mend.
        Error = "error",
        /// What somebody should look at.
        Warn = "warn",
        /// What the broker does.
        Info = "info",
        /// What clients subscribe to, what they are refused and how connections fail.
        Debug = "debug",
        /// As `debug`; the broker has no line below it.
        Trace = "trace",
    }
}
