//! What systemd is told of the broker, where it runs under it: that it serves, reloads and stops, and that it lives
//! (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use crate::broker::inspect::Inspector;

/// How long after a worker has not answered it is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Tells the service manager, if there is one; it is no reason to stop if that can't be told.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd can't be told how the broker is: {error}");
    }
}

/// Clients are served.
pub fn is_ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`is_ready`] ends it.
pub fn is_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The broker ends.
pub fn is_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the broker lives as often as the service manager wants to hear it, as long as every worker answers: one that is
/// stuck is restarted.
#[derive(Debug)]
pub struct Watchdog {
    period: Duration,
    next: Instant,
}

impl Watchdog {
    /// `None` if nobody wants to hear it.
    #[must_use]
    pub fn asked_for() -> Option<Self> {
        // Half of it, as sd_watchdog_enabled(3) advises.
        let period = sd_notify::watchdog_enabled()? / 2;
        Some(Self { period, next: Instant::now() + period })
    }

    /// When it is to be said next.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Says it, if it is so.
    pub async fn tell(&mut self, inspector: &Inspector) {
        self.next = Instant::now() + self.period;
        match inspector.answers().await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(error) => {
                // It may only have been busy: there is time for another look before systemd gives up.
                self.next = Instant::now() + RETRY;
                tracing::error!("systemd is not told that the broker lives: {error}");
            }
        }
    }
}
