//! `GET /metrics`: what was counted, in the text format of Prometheus (0.0.4); and what operators themselves are counted by.

use axum::extract;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use metrics::{Unit, counter, describe_counter};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;

use super::api::State;
use super::problem::Problem;
use crate::broker::record_metrics;

/// Seconds that a commit takes: from a fast SSD to a tired SD card.
const COMMIT_BUCKETS: [f64; 11] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Passwords and tokens that operators have shown, by `result`.
const LOGINS: &str = "noctule_operator_logins_total";

/// Tells a recorder what is counted here; without a recorder nothing happens. What has not happened yet is 0, so that a monitor
/// sees the first time.
pub(super) fn describe() {
    describe_counter!(
        LOGINS,
        Unit::Count,
        "Passwords and tokens shown over HTTP, once for each login and each request by Basic, by result: accepted, denied, busy"
    );
    for proof in [Proof::Accepted, Proof::Denied, Proof::Busy] {
        counter!(LOGINS, "result" => proof.label()).increment(0);
    }
}

/// What came of a password or a token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof {
    /// An operator's.
    Accepted,
    /// Nobody's, or no operator's.
    Denied,
    /// Not looked at: after wrong ones the next has to wait.
    Busy,
}

impl Proof {
    const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Denied => "denied",
            Self::Busy => "busy",
        }
    }

    pub(super) fn count(self) {
        counter!(LOGINS, "result" => self.label()).increment(1);
    }
}

/// What the process has recorded for a monitor.
#[derive(Clone)]
pub struct Exporter(PrometheusHandle);

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

/// Why nothing is recorded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExporterError {
    /// What is to be recorded makes no sense.
    #[error("metrics can't be recorded: {0}")]
    Build(#[from] BuildError),
    /// Somebody else records the metrics of this process.
    #[error("metrics can't be recorded: the process has a recorder already")]
    Taken,
}

impl Exporter {
    /// Records what the whole process counts from now on.
    ///
    /// # Errors
    /// [`ExporterError`] when somebody else records it.
    pub fn install() -> Result<Self, ExporterError> {
        let commits = Matcher::Full("noctule_store_commit_seconds".to_owned());
        let recorder =
            PrometheusBuilder::new().set_buckets_for_metric(commits, &COMMIT_BUCKETS)?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| ExporterError::Taken)?;
        record_metrics();
        Ok(Self(handle))
    }

    /// Sorts what has been observed since the last time into its buckets; unasked for long, it would pile up.
    pub fn tidy_up(&self) {
        self.0.run_upkeep();
    }

    /// Everything, as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.render()
    }
}

/// Has the workers pass on what they have counted, and tells it.
pub(super) async fn scrape(extract::State(state): extract::State<State>) -> Result<Response, Problem> {
    state.inspector.report().await?;
    let format = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, format)], state.exporter.text()).into_response())
}
