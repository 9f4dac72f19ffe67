//! Who may do what: every question of the engine is asked here, and what follows when the answer has changed.
//!
//! The questions themselves are [`Policy::allows`]'s; here are the rights of each session, found when they are first
//! needed after a change, and the verdicts that are remembered. Of a delivery it is asked twice: when it comes to the
//! session, so that neither its queue nor the store keeps what it may not have, and when it leaves, if the rights have
//! changed in between or were not known. Nothing leaves without having been asked of under the policy in force.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::connect::returned;
use super::queues::GroupKind;
use super::{Engine, Timer};
use crate::acl::{Answer, Identity, Rights, Shapes, Subject, Verdicts};
use crate::delivery::{AckKind, Acked};
use crate::effects::{Connect, DropReason, Effect, Effects};
use crate::group::Lease;
use crate::hash::Seed;
use crate::id::{ConnId, Now, Qos, SessionId};
use crate::policy::{Action, Policy};
use crate::queue::{Entry, Item};
use crate::refusal::{Kind, Refusal};
use crate::session::{Grant, Standing};
use crate::store::{StoreOp, Ticket};
use crate::topic::TopicFilter;
use crate::trie::GroupKey;

/// Rights of so many topics are asked faster than a verdict is found.
const ASKED_AT_ONCE: usize = 6;

/// Places for sessions that are looked at in one go when the policy has changed.
const REVISE_PORTION: usize = 256;

/// Between two looks at the wall clock while a connection waits for its end, ms: a clock that is set brings it closer.
const CLOCK_INTERVAL_MS: u64 = 60_000;

/// What the engine knows of rights.
#[derive(Debug)]
pub(super) struct Judge {
    /// Whether there are, or ever were, rules: without any nothing is asked but the broker's own topics.
    pub(super) asks: bool,
    /// Counts the policies; see [`Standing::as_of`].
    as_of: u32,
    shapes: Shapes,
    verdicts: Verdicts,
    /// The next place to be looked at after a change of policy.
    revising: Option<usize>,
    /// Consumers whose right to consume was taken away; emptied like the wills.
    revoked: Vec<(SessionId, Box<str>)>,
}

impl Judge {
    pub(super) fn new(seed: &Seed, policy: &Policy) -> Self {
        Self {
            asks: policy.rules.is_some(),
            as_of: 1,
            shapes: Shapes::new(&seed.derive(1)),
            verdicts: Verdicts::new(seed.derive(2)),
            revising: None,
            revoked: Vec::new(),
        }
    }
}

impl Engine {
    /// What a client may do that has just been authenticated.
    pub(super) fn standing_of(&mut self, connect: &Connect<'_>) -> Standing {
        let access = &connect.access;
        let is_plain = access.groups.is_empty() && access.rules.is_none();
        let grant = (!is_plain)
            .then(|| Arc::new(Grant { groups: access.groups.into(), rules: access.rules.clone() }));
        let address = access.address;
        let mut standing = Standing { grant, address, is_known: true, ..Standing::default() };
        self.judge.asks |= access.rules.is_some();
        if self.judge.asks {
            let rights =
                self.find_rights(standing.identity(connect.user, connect.client_id), standing.token());
            (standing.rights, standing.as_of) = (rights, self.judge.as_of);
        }
        standing
    }

    fn find_rights(
        &mut self,
        who: Identity<'_>,
        token: Option<&Arc<crate::acl::Rules>>,
    ) -> Option<Arc<Rights>> {
        self.judge.shapes.rights_of(self.policy.rules.as_ref(), token, who)
    }

    /// Whether a client that has no session yet may do something.
    pub(super) fn ask_for(&self, connect: &Connect<'_>, standing: &Standing, action: Action<'_>) -> Answer {
        let who = standing.identity(connect.user, connect.client_id);
        self.policy.allows(standing.rights.as_deref(), who, action)
    }

    /// Whether somebody may do something of whom the store has kept the name alone.
    pub(super) fn ask_for_kept(&mut self, who: Identity<'_>, action: Action<'_>) -> Answer {
        let rights = if self.judge.asks { self.find_rights(who, None) } else { None };
        self.policy.allows(rights.as_deref(), who, action)
    }

    /// Whether the session in `slot` may do something.
    pub(super) fn ask(&mut self, slot: u32, action: Action<'_>) -> Answer {
        if !self.judge.asks {
            return self.policy.without_rules(action);
        }
        self.renew_rights(slot);
        let Some(session) = self.sessions.get(slot as usize) else { return Answer::Denied };
        let who = session.identity();
        let Some(rights) = session.standing.rights.as_deref() else {
            return self.policy.allows(None, who, action);
        };
        // Where the answer depends on the client's own values it is this session's alone.
        let owner = if rights.is_personal() { session.number.0 } else { 0 };
        let (verdicts, key) = (&mut self.judge.verdicts, (rights.number(), owner));
        self.policy.allows_by(who, action, |asked, subject| match subject {
            Subject::Topic(topic) if rights.len() > ASKED_AT_ONCE => {
                verdicts.ask(key, asked, topic, || rights.ask(who, asked, subject))
            }
            _ => rights.ask(who, asked, subject),
        })
    }

    /// Finds a session's rights anew if the policy has changed since. What waits for it is then to be asked of again.
    pub(super) fn renew_rights(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        if session.standing.as_of == self.judge.as_of {
            return;
        }
        let mut standing = std::mem::take(&mut session.standing);
        let who = standing.identity(session.user.as_deref(), &session.client_id);
        let rights = self.judge.shapes.rights_of(self.policy.rules.as_ref(), standing.token(), who);
        (standing.rights, standing.as_of) = (rights, self.judge.as_of);
        if let Some(session) = self.session(slot) {
            session.standing = standing;
        }
        self.ask_again(slot);
    }

    /// What waits for a session is to be asked of again before it leaves.
    pub(super) fn ask_again(&mut self, slot: u32) {
        let Some(session) = self.session(slot) else { return };
        if session.standing.rights.is_none() {
            return;
        }
        if let Some(traffic) = &mut session.traffic {
            traffic.queue.ask_again();
            traffic.window.ask_again();
        }
    }

    /// Whether a session is to be given a message that has come for it. Of one that the store has kept it is not asked
    /// before its client is there; of another one that is away, as what it was.
    pub(super) fn may_have(&mut self, slot: u32, entry: &Entry) -> bool {
        !self.judge.asks
            || !self.sessions.get(slot as usize).is_some_and(|session| session.standing.is_known)
            || self.ask(slot, Action::Receive(entry.message.topic().as_str())).is_allowed()
    }

    /// Asks of the front of a session's queue, if that is still to be done, and lowers its QoS to what is allowed. False
    /// if it may not be sent.
    pub(super) fn may_send_front(&mut self, slot: u32) -> bool {
        self.renew_rights(slot);
        let Some(session) = self.sessions.get(slot as usize) else { return true };
        let Some(rights) = &session.standing.rights else { return true };
        let Some(queue) = session.traffic.as_ref().map(|traffic| &traffic.queue) else { return true };
        if !queue.is_front_unasked() && !rights.has_ceilings() {
            return true;
        }
        let Some(Item::Held(entry)) = queue.front() else { return true };
        let message = Arc::clone(&entry.message);
        let Answer::UpTo(most) = self.ask(slot, Action::Receive(message.topic().as_str())) else {
            return false;
        };
        if let Some(session) = self.session(slot)
            // A consumer of STOMP acknowledges what it acknowledges, whatever the QoS.
            && session.consumer.is_none()
            && let Some(Item::Held(entry)) =
                session.traffic.as_mut().and_then(|traffic| traffic.queue.front_mut())
        {
            entry.qos = entry.qos.min(most);
        }
        true
    }

    /// Whether what has a packet id may be sent under it (again).
    pub(super) fn may_send(&mut self, slot: u32, packet_id: NonZeroU16) -> bool {
        self.renew_rights(slot);
        let Some(flight) = self.window(slot).and_then(|window| window.find(packet_id)) else { return true };
        let Some(entry) = flight.entry.as_ref().filter(|_| !flight.asked) else { return true };
        let message = Arc::clone(&entry.message);
        if !self.ask(slot, Action::Receive(message.topic().as_str())).is_allowed() {
            return false;
        }
        if let Some(flight) = self.window(slot).and_then(|window| window.find(packet_id)) {
            flight.asked = true;
        }
        true
    }

    /// A session has no right (any more) to a message that has come for it, or that has waited.
    pub(super) fn withhold(&mut self, now: Now, slot: u32, entry: Entry, waited: bool, fx: &mut Effects) {
        if let Some(lease) = entry.lease() {
            return self.decline(now, slot, entry, lease, false, fx);
        }
        if waited {
            return self.drop_entry(now, slot, entry, DropReason::NotAuthorized, fx);
        }
        // A filter may match more than its subscriber has a right to: nobody meant it to have this.
        self.stats.withheld += 1;
        self.finish_entry(now, slot, entry, fx);
    }

    /// A session has no right (any more) to a message under a packet id.
    pub(super) fn withhold_exchange(&mut self, now: Now, slot: u32, packet_id: NonZeroU16, fx: &mut Effects) {
        let Some(window) = self.window(slot) else { return };
        let Some(flight) = window.find(packet_id) else { return };
        let (sent, qos) = (flight.sent_before, flight.entry.as_ref().map(|entry| entry.qos));
        if sent && qos == Some(Qos::ExactlyOnce) {
            // Its client may have it, and would take the next message under the packet id for a copy: PUBREL ends that.
            if let Acked::Received(Some(entry)) = window.acknowledge(AckKind::PubRec, packet_id, false) {
                let client_id =
                    self.session(slot).map(|session| session.client_id.clone()).unwrap_or_default();
                self.count_drop(now, DropReason::NotAuthorized, &client_id, fx);
                self.received(now, slot, packet_id, entry, fx);
            }
            return;
        }
        let Some((entry, kept)) = window.abandon(packet_id) else { return };
        if kept {
            self.exchange_over(slot, packet_id, fx);
        }
        match entry.lease() {
            Some(lease) => self.decline(now, slot, entry, lease, sent, fx),
            None => self.drop_entry(now, slot, entry, DropReason::NotAuthorized, fx),
        }
    }

    /// Gives back what a group has lent to a member that has no right to it. The group must not choose the same one again:
    /// of a queue it is no member any more, and a share is told what its member may have before the message is back.
    fn decline(&mut self, now: Now, slot: u32, entry: Entry, lease: Lease, sent: bool, fx: &mut Effects) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        if session.consumes_durably() {
            // There is nobody else who could get it.
            return self.drop_entry(now, slot, entry, DropReason::NotAuthorized, fx);
        }
        let topic = entry.message.topic();
        for index in (0..session.subscriptions.len()).rev() {
            let known = self.sessions.get(slot as usize).and_then(|session| session.subscriptions.get(index));
            match known.and_then(|known| Some((known.group.as_deref()?, &known.filter))) {
                Some(("", filter)) if filter.as_str() == topic.as_str() => self.bar(now, slot, index, fx),
                Some((group, filter)) if !group.is_empty() && filter.matches(&topic) => {
                    self.enter_subscription(slot, index, fx);
                }
                _ => {}
            }
        }
        self.lease_ended(now, lease, returned(sent), fx);
        self.pool.give_back(entry.message);
    }

    /// Takes away a subscription to which its session has no right any more. MQTT can't be told; a connection of STOMP is
    /// ended, or it would wait for ever.
    fn bar(&mut self, now: Now, slot: u32, index: usize, fx: &mut Effects) {
        let name = self.session_id(slot);
        let Some(session) = self.session(slot) else { return };
        let (number, is_durable, consumes) =
            (session.number, session.is_durable(), session.consumer.is_some());
        let Some(known) = session.subscriptions.get(index) else { return };
        let (group, filter) = (known.group.clone(), known.filter.clone());
        let Some(subscription) = self.take_known(slot, group.as_deref(), filter.as_str()) else { return };
        self.leave_subscription(now, name, &subscription, fx);
        if consumes {
            self.judge.revoked.push((name, filter.as_str().into()));
        } else if is_durable {
            let op =
                StoreOp::Unsubscribed { session: number, filter: super::subscribe::written(&subscription) };
            fx.push(Effect::Store(Ticket::NONE, op));
        }
    }

    /// Looks at a session's subscriptions after its rights may have changed: those without any right end, and groups learn
    /// what their member may have.
    pub(super) fn revise(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        self.renew_rights(slot);
        let count = self.sessions.get(slot as usize).map_or(0, |session| session.subscriptions.len());
        for index in (0..count).rev() {
            let Some(session) = self.sessions.get(slot as usize) else { return };
            let Some(known) = session.subscriptions.get(index) else { continue };
            let (is_share, filter) = (known.is_share(), known.filter.clone());
            if !self.ask(slot, Action::Subscribe(&filter)).is_allowed() {
                self.bar(now, slot, index, fx);
            } else if is_share {
                self.enter_subscription(slot, index, fx);
            }
        }
        self.sweep_replays(slot);
    }

    /// A connection's user is in other groups; what follows is found when the policy changes, which it does next.
    pub(super) fn groups_changed(&mut self, conn: ConnId, groups: &[Arc<str>]) {
        let consumers = self.conn(conn).and_then(|state| state.talk.as_ref());
        let consumers: Vec<_> =
            consumers.iter().flat_map(|talk| &talk.consumers).map(|(_, slot)| *slot).collect();
        let mut shared = None;
        for slot in self.session_slot(conn).into_iter().chain(consumers) {
            let Some(session) = self.session(slot) else { continue };
            let grant = &mut session.standing.grant;
            let (known, rules) = match grant.as_deref() {
                Some(grant) => (&grant.groups[..], grant.rules.clone()),
                None => (&[][..], None),
            };
            if known != groups {
                let changed = || Arc::new(Grant { groups: groups.into(), rules });
                *grant = Some(Arc::clone(shared.get_or_insert_with(changed)));
                session.standing.as_of = 0;
            }
        }
    }

    /// Other limits and rights hold from now on.
    pub(super) fn policy_changed(&mut self, now: Now, policy: Arc<Policy>) {
        self.policy = policy;
        self.limits_changed();
        if !self.judge.asks && self.policy.rules.is_none() {
            return;
        }
        self.judge.asks = true;
        self.judge.as_of = self.judge.as_of.checked_add(1).unwrap_or(1);
        self.judge.shapes.clear();
        self.judge.revising = Some(0);
        self.arm(now.mono_ms, Timer::Revise);
    }

    /// Whether sessions are still to be revised.
    pub(super) fn is_revising(&self) -> bool {
        self.judge.revising.is_some()
    }

    /// Revises the next sessions whose clients are there (the others when they are back): some at every input, and of
    /// those there is one for as long as it takes.
    pub(super) fn revise_some(&mut self, now: Now, fx: &mut Effects) {
        let Some(first) = self.judge.revising.take() else { return };
        let end = self.sessions.capacity().min(first + REVISE_PORTION);
        for slot in first..end {
            let is_there = |session: &crate::session::Session| session.conn.is_some();
            if self.sessions.get(slot).is_some_and(is_there) {
                self.revise(now, slot as u32, fx);
            }
        }
        if end < self.sessions.capacity() {
            self.judge.revising = Some(end);
        }
    }

    /// Whether there are consumers that may not consume any more.
    pub(super) fn has_revoked(&self) -> bool {
        !self.judge.revoked.is_empty()
    }

    /// Ends the connections of consumers that may not consume any more; false if there is none.
    pub(super) fn end_next_revoked(&mut self, now: Now, fx: &mut Effects) -> bool {
        let Some((session, filter)) = self.judge.revoked.pop() else { return false };
        let slot = self.slot_of(session);
        if let Some(conn) = slot.and_then(|slot| self.session(slot)?.conn) {
            let detail = format!("the right to subscribe to {filter:?} was taken away");
            self.refuse(now, conn, Kind::NotAuthorized, detail, fx);
        }
        true
    }

    /// Whether a connection's time is over, wall-clock; `None` if it has no end.
    pub(super) fn check_expiry(now: Now, connect: &Connect<'_>) -> Result<(), Refusal> {
        match connect.access.expires_ms {
            Some(at_ms) if at_ms <= now.wall_ms => {
                Err(Refusal::new(Kind::NotAuthorized, "the token has expired; connect with a new one"))
            }
            _ => Ok(()),
        }
    }

    /// Sets the timer for the end of a connection's authentication.
    pub(super) fn arm_expiry(&mut self, now: Now, conn: ConnId, wall_ms: u64) {
        let left_ms = wall_ms.saturating_sub(now.wall_ms).min(CLOCK_INTERVAL_MS);
        self.arm(now.mono_ms + left_ms, Timer::Expiry { conn, wall_ms });
    }

    pub(super) fn expiry_due(&mut self, now: Now, conn: ConnId, wall_ms: u64, fx: &mut Effects) {
        if self.session_slot(conn).is_none() {
            return;
        }
        if now.wall_ms < wall_ms {
            return self.arm_expiry(now, conn, wall_ms);
        }
        let detail = "the token has expired; connect with a new one".into();
        self.refuse(now, conn, Kind::NotAuthorized, detail, fx);
    }

    /// Whether a session may say what is to hold for a queue or a share, or end it.
    pub(super) fn may_manage(&mut self, slot: u32, group: &str, filter: &TopicFilter) -> bool {
        let key = GroupKey { group: group.into(), filter: filter.as_str().into() };
        // A durable subscription is its subscriber's own.
        GroupKind::of(&key) == GroupKind::Durable || self.ask(slot, Action::Manage(filter)).is_allowed()
    }
}
