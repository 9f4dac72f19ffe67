//! Who was not let in, in the log: some of them, where many try, and how many there were besides.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::logging::{Limited, Verdict};
use crate::reactor::Origin;

/// Lines a second that strangers can cause in the log.
const LOG_LINES_PER_SECOND: u32 = 5;

/// What all of these lines count as.
const KIND: &str = "no_operator";

/// How long after a line was left out it is said that it was.
const SUMMARY: Duration = Duration::from_secs(1);

/// The lines about them.
#[derive(Clone, Debug)]
pub(super) struct Strangers(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    limited: Limited,
    started: Instant,
    /// Whether lines have been left out since the last summary; `None` where none is on its way.
    left_out: Option<bool>,
}

impl Lines {
    fn now_ms(&self) -> u64 {
        // It fits for some hundred million years.
        self.started.elapsed().as_millis() as u64
    }
}

impl Strangers {
    pub(super) fn new() -> Self {
        let limited = Limited::new(LOG_LINES_PER_SECOND);
        Self(Arc::new(Mutex::new(Lines { limited, started: Instant::now(), left_out: None })))
    }

    /// Says who it was, and why; or counts him.
    pub(super) fn note(&self, peer: &Origin, user: &str, why: &str) {
        let mut lines = self.lock();
        let now_ms = lines.now_ms();
        let left_out = match lines.limited.admit(KIND, now_ms) {
            Verdict::Write => 0,
            Verdict::WriteAfter(left_out) => left_out,
            Verdict::Skip => {
                if lines.left_out.replace(true).is_none() {
                    tokio::spawn(self.clone().sum_up());
                }
                return;
            }
        };
        let user: String = user.chars().take(64).collect();
        tracing::warn!(peer = %peer, user, left_out, "no operator: {why}");
    }

    /// Says how many were left out, until no more are.
    async fn sum_up(self) {
        loop {
            {
                let mut lines = self.lock();
                if lines.left_out != Some(true) {
                    lines.left_out = None;
                    return;
                }
                lines.left_out = Some(false);
            }
            tokio::time::sleep(SUMMARY).await;
            let mut lines = self.lock();
            let now_ms = lines.now_ms();
            for (kind, left_out) in lines.limited.summaries(now_ms) {
                tracing::warn!(kind, left_out, "lines left out of the log");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
