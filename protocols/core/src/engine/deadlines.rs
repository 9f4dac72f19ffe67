//! What falls due: the deadlines of connections and sessions, and the sweep that takes away what has expired or become
//! too large.

use slab::Slab;

use super::share::HomeGroup;
use super::{ConnState, Engine, NO_SESSION, Timer};
use crate::effects::{Effect, Effects};
use crate::id::{ConnId, Now};
use crate::refusal::Kind;
use crate::session::Session;
use crate::store::{StoreOp, Ticket};

/// Between two sweeps for what has expired, ms.
pub(super) const SWEEP_INTERVAL_MS: u64 = 10_000;

/// Deadlines of one connection: its CONNECT, its keep alive, our heart-beat, its refused message, the queue it waits for,
/// the end of its token.
const PER_CONN: usize = 6;

/// Deadlines of one session: its expiry and its will.
const PER_SESSION: usize = 2;

/// Deadlines of one group: the first of all that falls due there.
const PER_GROUP: usize = 1;

/// Void deadlines that are not worth a look.
const VOID_IGNORED: usize = 64;

/// Places that every table may keep, used or not.
const ROOM_KEPT: usize = 256;

impl Engine {
    /// Sets a timer. Whoever comes and goes leaves deadlines behind, some of them a day away, some a week: when more
    /// are set than can mean anything twice over, those that mean nothing go. So there are never more than a fixed
    /// number for each connection, session and group, and each pays for its own removal.
    pub(super) fn arm(&mut self, deadline_ms: u64, timer: Timer) {
        let (conns, sessions, groups) = (self.conns.len(), self.sessions.len(), self.groups.len());
        let most = PER_CONN * conns + PER_SESSION * sessions + PER_GROUP * groups + VOID_IGNORED;
        if self.wheel.len() >= 2 * most {
            let (conns, sessions, groups) = (&self.conns, &self.sessions, &self.groups);
            self.wheel.retain(|timer| applies(timer, conns, sessions, groups));
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
            Timer::Beat(conn) => self.beat_due(now, conn, fx),
            Timer::RefuseTimeout(conn) => {
                if self.session_slot(conn).is_some() {
                    let detail =
                        "a message could not be taken (a subscriber's queue or the disk is full) and MQTT 3 can't be told; publish again later".into();
                    self.refuse(now, conn, Kind::QuotaExceeded, detail, fx);
                }
            }
            Timer::Throttle { conn, at_ms } => self.throttle_due(now, conn, at_ms, fx),
            Timer::Expiry { conn, wall_ms } => self.expiry_due(now, conn, wall_ms, fx),
            Timer::Revise if self.is_revising() => self.arm(now.mono_ms + 1, Timer::Revise),
            Timer::Revise => {}
            Timer::Group { slot, .. } if is_armed(timer, &self.groups) => self.group_due(now, slot, fx),
            Timer::Group { .. } => {}
            Timer::SessionExpiry { slot, number, absence } => {
                let due = self
                    .session(slot)
                    .is_some_and(|session| session.number == number && session.absence == absence);
                if due {
                    self.end_session(now, slot, fx);
                }
            }
            Timer::WillDelay { slot, number, absence } => {
                let due = self
                    .session(slot)
                    .is_some_and(|session| session.number == number && session.absence == absence);
                if due {
                    self.will_due(now, slot, fx);
                }
            }
            Timer::Sweep => {
                let removed = self.shared.retained.sweep(now.mono_ms, 1_000);
                self.stats.expired_retained += removed.len() as u64;
                for (version, message) in removed {
                    fx.push(Effect::Store(Ticket::NONE, StoreOp::RetainedExpired { message, version }));
                }
                self.shrink();
                self.tell_of_drops(fx);
                self.arm(now.mono_ms + SWEEP_INTERVAL_MS, Timer::Sweep);
            }
        }
    }

    /// Gives back the memory of a crowd that has gone, table by table, when three quarters of its room stand empty.
    /// Places are names, so whoever stays keeps them: the lists end with the last one that is taken.
    fn shrink(&mut self) {
        while self.conns.pop_if(|state| !state.open).is_some() {}
        if is_sparse(self.conns.len(), self.conns.capacity()) {
            self.conns.shrink_to(room_for(self.conns.len()));
        }
        if is_sparse(self.sessions.len(), self.sessions.capacity()) {
            self.sessions.shrink_to_fit();
        }
        if is_sparse(self.by_client.len(), self.by_client.capacity()) {
            let (seed, sessions) = (&self.seed, &self.sessions);
            self.by_client.shrink_to(room_for(self.by_client.len()), |&slot| {
                sessions.get(slot as usize).map_or(0, |session| seed.hash(&*session.client_id))
            });
        }
        if is_sparse(self.groups.len(), self.groups.capacity()) {
            self.groups.shrink_to_fit();
            self.group_slots.shrink_to(room_for(self.group_slots.len()));
        }
        if is_sparse(self.holds.len(), self.holds.capacity()) {
            self.holds.shrink_to(room_for(self.holds.len()));
        }
        self.throttled.shrink();
    }

    fn keep_alive_due(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        let Some(state) = self.conn(conn) else { return };
        if state.session == NO_SESSION || state.silence_max_ms == 0 {
            return;
        }
        // While we do not read, silence is ours, not the client's.
        let idles = state.talk.as_ref().is_some_and(|talk| talk.beats.expected_ms == 0);
        // One that agreed on no heart-beat and waits for messages is right to be silent.
        let waits = idles && state.talk.as_ref().is_some_and(|talk| !talk.consumers.is_empty());
        let since = if state.parked > 0 || waits { now.mono_ms } else { state.heard_ms };
        let deadline = since + u64::from(state.silence_max_ms);
        if now.mono_ms < deadline {
            self.arm(deadline, Timer::KeepAlive(conn));
            return;
        }
        let seconds = f64::from(state.silence_max_ms) / 1_000.0;
        let detail = match &state.talk {
            None => format!("nothing heard for {seconds} s, one and a half times the keep alive"),
            Some(_) if idles => {
                format!(
                    "nothing heard for {seconds} s; ask for a heart-beat, subscribe, or disconnect when done"
                )
            }
            Some(_) => format!("nothing heard for {seconds} s, twice the heart-beat that was agreed on"),
        };
        self.refuse(now, conn, Kind::KeepAliveTimeout, detail, fx);
    }
}

/// Whether a table is so empty and so large that its memory is worth giving back.
fn is_sparse(len: usize, capacity: usize) -> bool {
    capacity > ROOM_KEPT && len < capacity / 4
}

/// Room that a table keeps when it shrinks, so that it need not grow again at once.
fn room_for(len: usize) -> usize {
    ROOM_KEPT.max(2 * len)
}

/// Whether it is a group's timer, and the one that the group waits for.
fn is_armed(timer: Timer, groups: &Slab<HomeGroup>) -> bool {
    let Timer::Group { slot, incarnation, at_ms } = timer else { return false };
    let home = groups.get(slot as usize);
    home.is_some_and(|home| home.incarnation == incarnation && home.armed_ms == at_ms)
}

/// Whether a timer's firing could still mean something.
fn applies(timer: Timer, conns: &[ConnState], sessions: &Slab<Session>, groups: &Slab<HomeGroup>) -> bool {
    let conn = |conn: ConnId| {
        conns.get(conn.slot as usize).filter(|state| state.open && state.generation == conn.generation)
    };
    let absent = |slot: u32, number, absence| {
        let session = sessions.get(slot as usize);
        session.filter(|session| session.number == number && session.absence == absence)
    };
    match timer {
        Timer::Connect(of) => conn(of).is_some_and(|state| state.session == NO_SESSION),
        Timer::Group { .. } => is_armed(timer, groups),
        Timer::KeepAlive(of)
        | Timer::Beat(of)
        | Timer::RefuseTimeout(of)
        | Timer::Expiry { conn: of, .. } => conn(of).is_some_and(|state| state.session != NO_SESSION),
        Timer::Throttle { conn: of, at_ms } => conn(of)
            .and_then(|state| state.talk.as_ref())
            .is_some_and(|talk| talk.throttle_at_ms == Some(at_ms)),
        Timer::SessionExpiry { slot, number, absence } => absent(slot, number, absence).is_some(),
        Timer::WillDelay { slot, number, absence } => {
            absent(slot, number, absence).is_some_and(|session| session.will.is_some())
        }
        Timer::Revise | Timer::Sweep => true,
    }
}
