//! The line on a terminal that says that something is going on.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Between two changes of the line.
const EVERY: Duration = Duration::from_millis(500);

/// A line that is written over, on standard error if that is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    began: Instant,
    told: Instant,
    count: u64,
    has_line: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { is_shown: stderr().is_terminal(), began: now, told: now, count: 0, has_line: false }
    }

    /// A run begins.
    pub(super) fn begin(&mut self) {
        (self.began, self.told, self.count) = (Instant::now(), Instant::now(), 0);
    }

    /// So many have come since it began.
    pub(super) fn tell(&mut self, broker: &str, count: u64) {
        let since = self.told.elapsed();
        if !self.is_shown || since < EVERY {
            return;
        }
        let rate = count.saturating_sub(self.count) as f64 / since.as_secs_f64();
        let elapsed = self.began.elapsed().as_secs();
        // Nothing is left to be done when standard error is gone.
        let _ = write!(stderr(), "\r{broker}: {rate:.0}/s, {elapsed} s \u{1b}[K");
        (self.told, self.count, self.has_line) = (Instant::now(), count, true);
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.has_line) {
            let _ = write!(stderr(), "\r\u{1b}[K");
        }
    }
}
