//! The broker's counters, summed over all tests of this run: a test asserts that one has risen, never by how much.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use super::client::within;

static SNAPSHOTTER: OnceLock<Snapshotter> = OnceLock::new();
static TOTALS: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);

/// Records from now on; the first call counts.
pub(super) fn install() {
    SNAPSHOTTER.get_or_init(|| {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        recorder.install().expect("no other recorder");
        noctule::broker::record_metrics();
        snapshotter
    });
}

/// What has been counted as `name{label}`, such as `noctule_refusals_total{malformed_packet}`.
pub(crate) fn counted(key: &str) -> u64 {
    install();
    let mut totals = TOTALS.lock().unwrap_or_else(PoisonError::into_inner);
    let totals = totals.get_or_insert_default();
    // A snapshot takes the counters away, therefore they are summed up here.
    for (composite, _, _, value) in SNAPSHOTTER.get().unwrap().snapshot().into_vec() {
        if let DebugValue::Counter(count) = value {
            let labels: Vec<_> = composite.key().labels().map(|label| label.value().to_owned()).collect();
            *totals.entry(format!("{}{{{}}}", composite.key().name(), labels.join(","))).or_default() +=
                count;
        }
    }
    totals.get(key).copied().unwrap_or(0)
}

/// Waits until the counter stands above `before`.
#[track_caller]
pub(crate) fn more_than(key: &str, before: u64) {
    within(key, || (counted(key) > before).then_some(()));
}
