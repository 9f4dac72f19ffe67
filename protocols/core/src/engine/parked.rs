//! What waits for room at another worker, and the publishers that are not read meanwhile.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::Engine;
use super::origin::{Origin, Source};
use crate::effects::{DropReason, Effect, Effects};
use crate::id::{ConnId, Now, Qos, SessionId};
use crate::matches::MatchSet;
use crate::message::Message;

/// Credit is given back in portions of this part of the window.
const CREDIT_PORTIONS: u32 = 8;

/// How many data messages are credited at once.
pub(super) fn credit_portion(window: u32) -> u32 {
    (window / CREDIT_PORTIONS).max(1)
}

/// A message that waits until every worker it goes to can take it; its publisher is not read meanwhile.
#[derive(Debug)]
pub(super) struct Parked {
    message: Arc<Message>,
    origin: Origin,
    /// The connection whose reads are paused for it.
    paused: Option<ConnId>,
    /// Who gets it, if it was held and stored before.
    held: Option<Arc<MatchSet>>,
}

impl Engine {
    /// Whether a message for `set` has to wait: for room, or for others that wait.
    pub(super) fn must_park(&self, set: &MatchSet) -> bool {
        self.shared.workers() > 1 && (!self.parked.is_empty() || !self.has_room_for(set))
    }

    pub(super) fn park(
        &mut self,
        message: Arc<Message>,
        origin: Origin,
        held: Option<Arc<MatchSet>>,
        fx: &mut Effects,
    ) {
        let paused = origin.conn.filter(|&conn| self.pause_reads(conn, fx));
        self.parked.push_back(Parked { message, origin, paused, held });
    }

    /// Whether every other worker that `set` concerns has a place for each mail it would get.
    pub(super) fn has_room_for(&self, set: &MatchSet) -> bool {
        let window = self.shared.peer_window();
        // What needs more than there ever is goes when there is all that comes back: a worker that has nothing left to
        // take in may keep one less than a portion of credit to itself.
        let most = window - (credit_portion(window) - 1);
        set.mails().all(|(worker, mails)| {
            let needed = i64::from(mails.min(most));
            worker == self.id || self.credit.get(worker.index()).is_some_and(|&credit| credit >= needed)
        })
    }

    /// Sends on what was parked, oldest first, as far as there is room now.
    pub(super) fn unpark(&mut self, now: Now, fx: &mut Effects) {
        while let Some(parked) = self.parked.front() {
            let (message, origin) = (Arc::clone(&parked.message), parked.origin);
            let found = match &parked.held {
                Some(set) => Some(Arc::clone(set)),
                // Its queue may have ended meanwhile, and is made anew.
                None => self.matches_of(now, &Source::Owned(message), origin, fx),
            };
            let Some(set) = found else {
                // Its publisher has been told.
                let paused = self.parked.pop_front().and_then(|parked| parked.paused);
                if let Some(conn) = paused {
                    self.resume_reads(now, conn, fx);
                }
                continue;
            };
            if !self.has_room_for(&set) {
                return;
            }
            let Some(Parked { message, origin, paused, held }) = self.parked.pop_front() else { return };
            match held {
                Some(set) => self.send_held(now, message, &set, origin, fx),
                None => {
                    self.dispatch(now, Source::Owned(message), set, origin, fx);
                    self.will_taken_in(origin, fx);
                }
            }
            if let Some(conn) = paused {
                self.resume_reads(now, conn, fx);
            }
        }
    }

    /// Reads nothing more from a connection until [`Self::resume_reads`] was called as often; false if it is gone.
    pub(super) fn pause_reads(&mut self, conn: ConnId, fx: &mut Effects) -> bool {
        let Some(state) = self.conn(conn) else { return false };
        state.parked += 1;
        if state.parked == 1 {
            fx.push(Effect::Pause(conn));
        }
        true
    }

    pub(super) fn resume_reads(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        let Some(state) = self.conn(conn) else { return };
        state.parked = state.parked.saturating_sub(1);
        if state.parked == 0 {
            state.heard_ms = now.mono_ms;
            fx.push(Effect::Resume(conn));
        }
    }

    /// A repeated QoS 2 PUBLISH whose first copy is parked: that one's answer goes to the new connection.
    pub(super) fn rebind_parked(&mut self, conn: ConnId, session: SessionId, id: NonZeroU16) -> bool {
        let Some(index) = self.parked.iter().position(|parked| {
            parked.origin.publisher == session
                && parked.origin.packet_id == Some(id)
                && parked.message.qos() == Qos::ExactlyOnce
        }) else {
            return false;
        };
        if self.parked.get(index).and_then(|parked| parked.origin.conn) != Some(conn) {
            let fresh = self.reserve_answer(conn);
            if let Some(parked) = self.parked.get_mut(index) {
                parked.origin.conn = Some(conn);
                parked.origin.place = Some(fresh);
            }
        }
        true
    }

    /// A publisher that was not told of a refusal sends again. What it had sent behind the refused message must not get
    /// ahead of it: as far as that is parked and nobody waits for an answer, or on the same connection, it goes as well.
    pub(super) fn drop_parked(&mut self, now: Now, refused: Origin, reason: DropReason, fx: &mut Effects) {
        let mut place = 0;
        while let Some(parked) = self.parked.get(place) {
            let Origin { publisher, conn, packet_id: Some(packet_id), .. } = parked.origin else {
                place += 1;
                continue;
            };
            let goes = publisher == refused.publisher
                && parked.held.is_none()
                && (conn == refused.conn || conn.is_none_or(|conn| self.session_slot(conn).is_none()));
            let Some(parked) = goes.then(|| self.parked.remove(place)).flatten() else {
                place += 1;
                continue;
            };
            self.count_drop(now, reason, parked.message.topic().as_str(), fx);
            if parked.message.qos() == Qos::ExactlyOnce {
                self.forget_received(publisher, packet_id);
            }
            if let Some(answer) = parked.origin.place {
                self.vacate(answer, fx);
            }
            if let Some(conn) = parked.paused {
                self.resume_reads(now, conn, fx);
            }
        }
    }
}
