//! What STOMP clients send to a full queue: it waits outside, and its connection is not read meanwhile.
//!
//! MQTT is told no, message by message; a STOMP client could only be disconnected. So its message is not accepted yet. It
//! waits here, with its place among the connection's answers and in the queue's line, until the queue's home lets it in,
//! and is taken in then as if it had just come; if that takes too long it is refused. A connection has at most one message
//! here: nothing is read behind it, so nothing overtakes it. At QoS 0 nobody waits: what a group has no room for is
//! dropped there, as MQTT's is.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::origin::{Origin, Source};
use super::{Engine, Timer};
use crate::effects::{DropReason, Effect, Effects, PeerMsg};
use crate::group::Terms;
use crate::hash::{Map, Seed};
use crate::id::{ConnId, Now};
use crate::matches::MatchSet;
use crate::message::Message;
use crate::policy::Overflow;
use crate::refusal::{Kind, Refusal};
use crate::shared::{Pressure, Room};
use crate::trie::GroupKey;

/// Places that the tables of those who wait may keep, used or not.
const ROOM_KEPT: usize = 64;

/// A message that waits for room.
#[derive(Debug)]
struct Held {
    message: Arc<Message>,
    origin: Origin,
    /// The first full group that was found; when it has room, the next may be.
    key: Arc<GroupKey>,
    /// Its number in that group's line.
    number: u64,
    /// When it is refused, monotonic ms. It stays what it is when the message has to wait again.
    until_ms: u64,
}

/// Who waits for what.
#[derive(Debug)]
pub(super) struct Throttled {
    by_conn: Map<ConnId, Held>,
    /// Those who wait for a group, by their numbers in its line.
    by_group: Map<Arc<GroupKey>, BTreeSet<(u64, ConnId)>>,
    /// Groups that may have let somebody in; emptied by [`Engine::take_in_next_throttled`].
    roomy: VecDeque<Arc<GroupKey>>,
    /// The group that has let in the message that is being taken in.
    host: Option<Arc<GroupKey>>,
}

impl Throttled {
    pub(super) fn new(seed: &Seed) -> Self {
        Self {
            by_conn: Map::with_hasher(seed.derive(1)),
            by_group: Map::with_hasher(seed.derive(2)),
            roomy: VecDeque::new(),
            host: None,
        }
    }

    /// Whether there is room for some that wait.
    pub(super) fn has_room(&self) -> bool {
        !self.roomy.is_empty()
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.by_conn.len()
    }

    /// Whether nobody waits, and nothing is left of those who have waited.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_conn.is_empty() && self.by_group.is_empty() && self.roomy.is_empty() && self.host.is_none()
    }

    fn add(&mut self, conn: ConnId, held: Held) {
        self.by_group.entry(Arc::clone(&held.key)).or_default().insert((held.number, conn));
        self.by_conn.insert(conn, held);
    }

    fn take(&mut self, conn: ConnId) -> Option<Held> {
        let held = self.by_conn.remove(&conn)?;
        if let Some(conns) = self.by_group.get_mut(&held.key) {
            conns.remove(&(held.number, conn));
            if conns.is_empty() {
                self.by_group.remove(&held.key);
            }
        }
        Some(held)
    }

    /// Who is next of those here who wait for a group, and his number.
    fn first(&self, key: &GroupKey) -> Option<(u64, ConnId)> {
        self.by_group.get(key)?.first().copied()
    }

    /// Gives back the memory of a crowd.
    pub(super) fn shrink(&mut self) {
        if self.by_conn.is_empty() {
            self.by_conn.shrink_to(ROOM_KEPT);
            self.by_group.shrink_to(ROOM_KEPT);
        }
    }
}

/// What keeps a message out: a full group.
#[derive(Debug)]
pub(super) struct Hurdle {
    key: Arc<GroupKey>,
    /// Whether the message's own connection consumes from it.
    is_own: bool,
}

impl Engine {
    /// The first group, if any, that is too full for a message of `conn` at QoS 1 or 2, or that others wait for. Who
    /// consumes from a group is let in until twice as much waits there as may, and waits for nobody.
    pub(super) fn hurdle_for(&self, conn: ConnId, set: &MatchSet) -> Option<Hurdle> {
        if !self.shared.lines.any_shut(set.groups()) {
            return None;
        }
        let others = set.groups().iter().filter(|group| self.throttled.host.as_ref() != Some(&group.key));
        others.map(|group| &group.key).find_map(|key| {
            let (pressure, is_shut) = self.shared.lines.state(key);
            let is_own = is_shut && self.consumes_from(conn, key);
            let is_let_in = !is_shut || is_own && pressure != Pressure::Double;
            (!is_let_in).then(|| Hurdle { key: Arc::clone(key), is_own })
        })
    }

    /// Whether one of a connection's consumers is a member of a group.
    fn consumes_from(&self, conn: ConnId, key: &GroupKey) -> bool {
        let state = self.conns.get(conn.slot as usize).filter(|state| state.generation == conn.generation);
        let consumers = state.and_then(|state| state.talk.as_ref()).map_or(&[][..], |talk| &talk.consumers);
        consumers.iter().any(|(_, slot)| {
            let subscription =
                self.sessions.get(*slot as usize).and_then(|session| session.subscriptions.get(0));
            subscription.is_some_and(|known| {
                known.filter.as_str() == &*key.filter && known.group.as_deref() == Some(&*key.group)
            })
        })
    }

    /// Does with a message of STOMP what a full group makes of it: it waits, or is refused if waiting is of no
    /// use: for a group that its own connection consumes from, it would only keep that from being heard.
    pub(super) fn meet_hurdle(
        &mut self,
        now: Now,
        conn: ConnId,
        source: Source<'_>,
        origin: Origin,
        hurdle: &Hurdle,
        fx: &mut Effects,
    ) {
        if self.session_slot(conn).is_none() {
            // It was parked before, and has outlived its connection.
            return;
        }
        if hurdle.is_own {
            return self.refuse_at(now, conn, origin, hurdle, "", fx);
        }
        if self.throttled.by_conn.contains_key(&conn) {
            // It was read all the same; whatever is done with this one, it must not overtake the other.
            let plight = ", and another message of yours waits already";
            return self.refuse_at(now, conn, origin, hurdle, plight, fx);
        }
        self.wait_for_room(now, conn, source, origin, &hurdle.key, fx);
    }

    /// Lets a message wait for a full group, and reads nothing more from its connection.
    fn wait_for_room(
        &mut self,
        now: Now,
        conn: ConnId,
        source: Source<'_>,
        mut origin: Origin,
        key: &Arc<GroupKey>,
        fx: &mut Effects,
    ) {
        let timeout_ms = self.policy.limits.refuse_timeout_ms;
        let until_ms = origin.until_ms.unwrap_or(now.mono_ms.saturating_add(timeout_ms));
        origin.until_ms = Some(until_ms);
        origin.place = Some(origin.place.unwrap_or_else(|| self.reserve_answer(conn)));
        let message = self.materialise(now, source, origin.publisher, 0);
        let (number, is_stuck) = self.shared.lines.enter(key, self.id, message.cost());
        self.throttled.add(conn, Held { message, origin, key: Arc::clone(key), number, until_ms });
        self.pause_reads(conn, fx);
        self.arm_throttle(conn, until_ms);
        if is_stuck {
            self.let_in_next(key, fx);
        }
    }

    /// Takes out the message that a connection has waiting, if it has one.
    fn take_throttled(&mut self, conn: ConnId, fx: &mut Effects) -> Option<Held> {
        let held = self.throttled.take(conn)?;
        if self.shared.lines.leave(&held.key, held.number) {
            self.let_in_next(&held.key, fx);
        }
        Some(held)
    }

    /// Drops what a connection that is no more has waiting. It was not accepted, so nobody has lost anything.
    pub(super) fn forget_throttled(&mut self, conn: ConnId, fx: &mut Effects) {
        if let Some(held) = self.take_throttled(conn, fx) {
            self.pool.give_back(held.message);
        }
    }

    /// Sets a connection's timer, unless one is set that goes off before: that one looks again.
    fn arm_throttle(&mut self, conn: ConnId, until_ms: u64) {
        let Some(talk) = self.talk(conn) else { return };
        if talk.throttle_at_ms.is_some_and(|at_ms| at_ms <= until_ms) {
            return;
        }
        talk.throttle_at_ms = Some(until_ms);
        self.arm(until_ms, Timer::Throttle { conn, at_ms: until_ms });
    }

    /// A connection's timer has gone off: a message has waited as long as it may, or there is another now.
    pub(super) fn throttle_due(&mut self, now: Now, conn: ConnId, at_ms: u64, fx: &mut Effects) {
        let Some(talk) = self.talk(conn).filter(|talk| talk.throttle_at_ms == Some(at_ms)) else { return };
        talk.throttle_at_ms = None;
        let Some(held) = self.throttled.by_conn.get(&conn) else { return };
        let (key, number, until_ms) = (Arc::clone(&held.key), held.number, held.until_ms);
        let is_due = until_ms <= now.mono_ms;
        if is_due && !self.shared.lines.is_let_in(&key, number) {
            return self.give_up(now, conn, fx);
        }
        self.arm_throttle(conn, until_ms);
        if is_due {
            // It is its turn, and the word of it is on its way.
            self.throttled.roomy.push_back(key);
        }
    }

    /// Refuses the message that a connection has waiting.
    fn give_up(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        let Some(Held { message, origin, key, .. }) = self.take_throttled(conn, fx) else { return };
        self.pool.give_back(message);
        let timeout_ms = self.policy.limits.refuse_timeout_ms;
        let plight = format!(", no room for {timeout_ms} ms (refuse_timeout)");
        self.refuse_at(now, conn, origin, &Hurdle { key, is_own: false }, &plight, fx);
    }

    fn refuse_at(
        &mut self,
        now: Now,
        conn: ConnId,
        origin: Origin,
        hurdle: &Hurdle,
        plight: &str,
        fx: &mut Effects,
    ) {
        self.count_drop(now, DropReason::QueueFull, &hurdle.key.filter, fx);
        let refusal = Refusal::new(Kind::QuotaExceeded, self.hurdle_detail(hurdle, plight));
        self.refuse_request(now, conn, origin.answer.receipt(), refusal, fx);
    }

    /// Lets the publishers know how a group's backlog stands to its limits.
    pub(super) fn note_congestion(&mut self, slot: u32, fx: &mut Effects) {
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        let (group, terms, was) = (&home.group, &home.terms, home.pressure);
        let twice = Terms {
            max_messages: terms.max_messages.saturating_mul(2),
            max_bytes: terms.max_bytes.saturating_mul(2),
            ..*terms
        };
        let pressure = if !group.is_congested(terms, was != Pressure::None) {
            Pressure::None
        } else if group.is_congested(&twice, false) {
            // Nobody waits for the end of this, so a little room is enough.
            Pressure::Double
        } else {
            Pressure::Full
        };
        if std::mem::replace(&mut home.pressure, pressure) == pressure {
            return;
        }
        let key = Arc::clone(&home.key);
        self.shared.lines.set_pressure(&key, pressure);
        if pressure == Pressure::None {
            self.let_in_next(&key, fx);
        }
    }

    /// Other limits hold from now on, for what waits in groups as well: each is looked at again before this turn ends
    /// ([`Self::drain_groups`]), or publishers would be kept out of one by limits that are no more.
    pub(super) fn limits_changed(&mut self) {
        self.groups_to_drain.extend(self.groups.iter().map(|(slot, _)| slot as u32));
    }

    /// A group has room again, or is no more, or those whom it has let in have not filled it: its home lets in as many of
    /// those who wait anywhere as it has room for.
    pub(super) fn let_in_next(&mut self, key: &Arc<GroupKey>, fx: &mut Effects) {
        let home = self.shared.home_of_group(&key.group, &key.filter);
        if home != self.id {
            // Behind whatever has been sent there before.
            return fx.push(Effect::Peer(home, PeerMsg::Uncongested(Arc::clone(key))));
        }
        let room = self.room_of(key);
        for worker in self.shared.lines.let_in(key, room) {
            if worker == self.id {
                self.throttled.roomy.push_back(Arc::clone(key));
            } else {
                fx.push(Effect::Peer(worker, PeerMsg::Uncongested(Arc::clone(key))));
            }
        }
    }

    /// What a group at home here has room for.
    fn room_of(&mut self, key: &Arc<GroupKey>) -> Room {
        let slot = self.group_slots.get(key).copied();
        if let Some(slot) = slot {
            self.renew_terms(slot);
        }
        let home = slot.and_then(|slot| self.groups.get(slot as usize));
        let (messages, bytes) =
            home.map_or((0, 0), |home| (home.group.backlog(), home.group.backlog_bytes()));
        let terms = home.map_or_else(|| self.terms_of_kept(key), |home| home.terms);
        let bound = |most| if terms.overflow == Overflow::Refuse { most } else { usize::MAX };
        let (max_messages, max_bytes) = (bound(terms.max_messages), bound(terms.max_bytes));
        Room { messages, max_messages, bytes, max_bytes }
    }

    /// Another worker says that a group may have let in somebody here or, to its home, that it may let in more.
    pub(super) fn uncongested(&mut self, key: &Arc<GroupKey>, fx: &mut Effects) {
        if self.shared.home_of_group(&key.group, &key.filter) == self.id {
            return self.let_in_next(key, fx);
        }
        self.throttled.roomy.push_back(Arc::clone(key));
    }

    /// Takes in who has waited longest of those whom a group has let in; false if there is nobody. One by one, since
    /// each leads to more.
    pub(super) fn take_in_next_throttled(&mut self, now: Now, fx: &mut Effects) -> bool {
        while let Some(key) = self.throttled.roomy.front() {
            let first = self.throttled.first(key);
            let next = first.filter(|(number, _)| self.shared.lines.is_let_in(key, *number));
            let Some((conn, held)) = next.and_then(|(_, conn)| Some((conn, self.throttled.take(conn)?)))
            else {
                self.throttled.roomy.pop_front();
                continue;
            };
            let Held { message, origin, key, number, .. } = held;
            let is_stuck = self.shared.lines.leave(&key, number);
            self.throttled.host = Some(Arc::clone(&key));
            self.take_in(now, Source::Owned(message), origin, fx);
            self.throttled.host = None;
            if is_stuck {
                self.let_in_next(&key, fx);
            }
            self.resume_reads(now, conn, fx);
            return true;
        }
        false
    }

    /// What a publisher is told that a full group refuses; `plight`: what else there is to say of that. Short, with the
    /// mending: clients show the beginning.
    pub(super) fn hurdle_detail(&self, Hurdle { key, is_own }: &Hurdle, plight: &str) -> String {
        let (messages, bytes, mend) = self.capacity_of(key);
        let (how, first) = if *is_own {
            (" twice over", "acknowledge what you have of it")
        } else {
            ("", "consume what waits")
        };
        let name = &key.filter;
        format!("{name:?} is full{how} ({messages} messages or {bytes} bytes){plight}; {first}, {mend}")
    }
}
