//! What falls due: the deadlines of connections and sessions, and the sweep.

use slab::Slab;

use super::{ConnState, Engine, NO_SESSION, Timer};
use crate::effects::Effects;
use crate::id::{ConnId, Now};
use crate::refusal::Kind;
use crate::session::Session;

/// Between two sweeps for what has expired, ms.
pub(super) const SWEEP_INTERVAL_MS: u64 = 10_000;

/// Deadlines of one connection: its CONNECT, its keep alive, its refused message.
const PER_CONN: usize = 3;

/// Deadlines of one session: its expiry and its will.
const PER_SESSION: usize = 2;

/// Void deadlines that are not worth a look.
const VOID_IGNORED: usize = 64;

impl Engine {
    /// Sets a timer. Whoever comes and goes leaves deadlines behind, some of them a day away, some a week: when more
    /// are set than can mean anything twice over, those that mean nothing go. So there are never more than a fixed
    /// number for each connection and session, and each pays for its own removal.
    pub(super) fn arm(&mut self, deadline_ms: u64, timer: Timer) {
        let most = PER_CONN * self.conns.len() + PER_SESSION * self.sessions.len() + VOID_IGNORED;
        if self.wheel.len() >= 2 * most {
            let (conns, sessions) = (&self.conns, &self.sessions);
            self.wheel.retain(|timer| applies(timer, conns, sessions));
        }
        self.wheel.insert(deadline_ms, timer);
    }

    pub(super) fn tick(&mut self, now: Now, fx: &mut Effects) {
        let mut due = Vec::new();
        self.wheel.advance(now.mono_ms, &mut |timer| due.push(timer));
        for timer in due {
            self.timer(now, timer, fx);
        }
    }

    fn timer(&mut self, now: Now, timer: Timer, fx: &mut Effects) {
        match timer {
            Timer::Connect(conn) => {
                let waiting = self.conn(conn).is_some_and(|state| state.session == NO_SESSION);
                if waiting {
                    let timeout_ms = self.policy.limits.connect_timeout_ms;
                    let detail = format!("no complete CONNECT within connect_timeout ({timeout_ms} ms)");
                    self.refuse(now, conn, Kind::ConnectTimeout, detail, fx);
                }
            }
            Timer::KeepAlive(conn) => self.keep_alive_due(now, conn, fx),
            Timer::RefuseTimeout(conn) => {
                if self.session_slot(conn).is_some() {
                    let detail =
                        "a subscriber's queue is full and MQTT 3 can't be told; publish again later".into();
                    self.refuse(now, conn, Kind::QuotaExceeded, detail, fx);
                }
            }
            Timer::SessionExpiry { slot, number, absence } => {
                let due = self
                    .session(slot)
                    .is_some_and(|session| session.number == number && session.absence == absence);
                if due {
                    self.end_session(now, slot, fx);
                }
            }
            Timer::WillDelay { slot, number, absence } => {
                let will = self
                    .session(slot)
                    .filter(|session| session.number == number && session.absence == absence)
                    .and_then(|session| session.will.take());
                if let Some(will) = will {
                    self.publish_will(now, slot, &will, fx);
                }
            }
            Timer::Sweep => {
                let removed = self.shared.retained.sweep(now.mono_ms, 1_000);
                self.stats.expired_retained += removed as u64;
                self.arm(now.mono_ms + SWEEP_INTERVAL_MS, Timer::Sweep);
            }
        }
    }

    fn keep_alive_due(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        let Some(state) = self.conn(conn) else { return };
        if state.session == NO_SESSION || state.silence_max_ms == 0 {
            return;
        }
        // While we do not read, silence is ours, not the client's.
        let since = if state.parked > 0 { now.mono_ms } else { state.heard_ms };
        let deadline = since + u64::from(state.silence_max_ms);
        if now.mono_ms < deadline {
            self.arm(deadline, Timer::KeepAlive(conn));
            return;
        }
        let seconds = f64::from(state.silence_max_ms) / 1_000.0;
        let detail = format!("nothing heard for {seconds} s, one and a half times the keep alive");
        self.refuse(now, conn, Kind::KeepAliveTimeout, detail, fx);
    }
}

/// Whether a timer's firing could still mean something.
fn applies(timer: Timer, conns: &[ConnState], sessions: &Slab<Session>) -> bool {
    let conn = |conn: ConnId| {
        conns.get(conn.slot as usize).filter(|state| state.open && state.generation == conn.generation)
    };
    let absent = |slot: u32, number, absence| {
        let session = sessions.get(slot as usize);
        session.filter(|session| session.number == number && session.absence == absence)
    };
    match timer {
        Timer::Connect(of) => conn(of).is_some_and(|state| state.session == NO_SESSION),
        Timer::KeepAlive(of) | Timer::RefuseTimeout(of) => {
            conn(of).is_some_and(|state| state.session != NO_SESSION)
        }
        Timer::SessionExpiry { slot, number, absence } => absent(slot, number, absence).is_some(),
        Timer::WillDelay { slot, number, absence } => {
            absent(slot, number, absence).is_some_and(|session| session.will.is_some())
        }
        Timer::Sweep => true,
    }
}
