//! The store's figures for a monitor; every name that it may rely on is in this file.
//!
//! Bytes per message, the flash bill, is `noctule_store_bytes_written_total` over the sum of
//! `noctule_store_messages_stored_total` and `noctule_store_messages_elided_total`.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::health::{Health, Totals};

/// Bytes written to the store file.
const BYTES_WRITTEN: &str = "noctule_store_bytes_written_total";
/// Commits.
const COMMITS: &str = "noctule_store_commits_total";
/// Seconds that a commit took.
const COMMIT_SECONDS: &str = "noctule_store_commit_seconds";
/// Messages that were written.
const MESSAGES_STORED: &str = "noctule_store_messages_stored_total";
/// Messages that everybody had acknowledged before they were written.
const MESSAGES_ELIDED: &str = "noctule_store_messages_elided_total";
/// Messages and rows that were found damaged.
const RECORDS_LOST: &str = "noctule_store_records_lost_total";
/// Operations that were refused or failed.
const REFUSED: &str = "noctule_store_refused_total";
/// Times the file was opened anew after a failure.
const REOPENINGS: &str = "noctule_store_reopenings_total";
/// Damaged files that were set aside.
const SET_ASIDE: &str = "noctule_store_files_set_aside_total";
/// 1 while new messages are taken.
const HEALTHY: &str = "noctule_store_healthy";
/// Bytes of messages that somebody waits for.
const LIVE_BYTES: &str = "noctule_store_live_bytes";
/// Bytes of messages in the file.
const STORED_BYTES: &str = "noctule_store_stored_bytes";
/// Disk space that the file uses.
const FILE_BYTES: &str = "noctule_store_file_bytes";

/// Tells a recorder what the names mean; without a recorder nothing happens.
pub(super) fn describe() {
    describe_counter!(BYTES_WRITTEN, Unit::Bytes, "Bytes written to the store file");
    describe_counter!(COMMITS, Unit::Count, "Commits of the store");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Duration of a commit");
    describe_counter!(MESSAGES_STORED, Unit::Count, "Messages written to the store");
    describe_counter!(MESSAGES_ELIDED, Unit::Count, "Messages that everybody had before they were written");
    describe_counter!(RECORDS_LOST, Unit::Count, "Messages and rows of the store that were found damaged");
    describe_counter!(REFUSED, Unit::Count, "Operations that the store refused or failed at");
    describe_counter!(REOPENINGS, Unit::Count, "Times the store file was opened anew after a failure");
    describe_counter!(SET_ASIDE, Unit::Count, "Damaged store files that were set aside");
    describe_gauge!(HEALTHY, Unit::Count, "1 while the store takes new messages, else 0");
    describe_gauge!(LIVE_BYTES, Unit::Bytes, "Stored messages that somebody waits for");
    describe_gauge!(STORED_BYTES, Unit::Bytes, "Stored messages, with those to be cleaned away");
    describe_gauge!(FILE_BYTES, Unit::Bytes, "Disk space that the store file uses");
}

/// Passes on what the store has counted since the last time.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    last: Totals,
}

/// A commit took so long.
pub(super) fn committed(took: Duration) {
    histogram!(COMMIT_SECONDS).record(took.as_secs_f64());
}

impl Reporter {
    /// Passes on what has changed.
    pub(super) fn report(&mut self, health: &Health) {
        let now = health.totals();
        let last = std::mem::replace(&mut self.last, now);
        let counted = [
            (BYTES_WRITTEN, now.bytes_written, last.bytes_written),
            (COMMITS, now.commits, last.commits),
            (MESSAGES_STORED, now.messages_stored, last.messages_stored),
            (MESSAGES_ELIDED, now.messages_elided, last.messages_elided),
            (RECORDS_LOST, now.records_lost, last.records_lost),
            (REFUSED, now.refused, last.refused),
            (REOPENINGS, now.reopenings, last.reopenings),
            (SET_ASIDE, now.set_aside, last.set_aside),
        ];
        for (name, now, before) in counted {
            if now > before {
                counter!(name).increment(now - before);
            }
        }
        gauge!(HEALTHY).set(if health.takes_messages().is_ok() { 1.0 } else { 0.0 });
        gauge!(LIVE_BYTES).set(now.live_bytes as f64);
        gauge!(STORED_BYTES).set(now.stored_bytes as f64);
        gauge!(FILE_BYTES).set(now.file_bytes as f64);
    }
}
