//! TLS for a monitor; every name that it may rely on is in this file.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

/// Handshakes that have ended, by `listener` and `result`.
const HANDSHAKES: &str = "noctule_tls_handshakes_total";
/// Seconds until the first certificate of a `[[tls]]` expires, by `tls`.
const EXPIRES: &str = "noctule_tls_certificate_expires_seconds";

const DONE: &str = "done";
const FAILED: &str = "failed";

/// Tells a recorder what the names mean; without a recorder nothing happens.
pub(crate) fn describe() {
    describe_counter!(
        HANDSHAKES,
        Unit::Count,
        "TLS handshakes, by listener (mqtt, stomp, auto, admin) and result: done, or failed, which is broken off as well"
    );
    describe_gauge!(
        EXPIRES,
        Unit::Seconds,
        "Time until the first certificate of a [[tls]] expires; below 0 since then, no number if it is there no more"
    );
}

/// Tells how long the certificates of a `[[tls]]` are valid still.
pub(crate) fn expires(tls: &str, expires_s: u64) {
    gauge!(EXPIRES, "tls" => tls.to_owned()).set(expires_s as f64 - super::now_s() as f64);
}

/// Tells that nobody is shown them any more.
pub(crate) fn is_gone(tls: &str) {
    gauge!(EXPIRES, "tls" => tls.to_owned()).set(f64::NAN);
}

/// Who is spoken to behind a handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listener {
    /// Clients of one protocol.
    Mqtt,
    /// Likewise.
    Stomp,
    /// Clients of both.
    Auto,
    /// Operators.
    Admin,
}

impl Listener {
    const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Stomp => "stomp",
            Self::Auto => "auto",
            Self::Admin => "admin",
        }
    }

    /// Tells that TLS is spoken here: a monitor that sees 0 first sees the first failure as one.
    pub(crate) fn is_served(self) {
        for result in [DONE, FAILED] {
            counter!(HANDSHAKES, "listener" => self.name(), "result" => result).increment(0);
        }
    }
}

/// A handshake that goes on. Dropped it has failed, however that came about.
#[derive(Debug)]
pub(crate) struct Handshake(Listener);

impl Handshake {
    /// One whose first bytes have come.
    pub(crate) const fn begin(listener: Listener) -> Self {
        Self(listener)
    }

    /// It has ended well.
    pub(crate) fn done(self) {
        self.count(DONE);
        std::mem::forget(self);
    }

    fn count(&self, result: &'static str) {
        counter!(HANDSHAKES, "listener" => self.0.name(), "result" => result).increment(1);
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.count(FAILED);
    }
}
