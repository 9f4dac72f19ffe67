//! Groups at their home: who their members are, who of them gets a message, how loans end.
//!
//! The home chooses, the member's worker delivers and reports. What only queues and durable subscriptions have, from
//! their making to their end, is in `queues`; what becomes of their dead letters in `letters`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::publish::acknowledged;
use super::resubmit::submit;
use crate::effects::{DropReason, Effect, Effects, JoinError, PeerMsg};
use crate::group::{
    Around, Choice, Death, Gone, Group, Lease, Member, Next, Outcome, QueueOptions, Settled, Terms,
};
use crate::id::{Now, Qos, SessionId};
use crate::message::Message;
use crate::queue::{Entry, Extra};
use crate::session::Session;
use crate::shared::Pressure;
use crate::store::{Recipient, SessionNumber, StoreOp, Ticket};
use crate::topic::{TopicFilter, TopicLimits};
use crate::trie::{GroupKey, GroupRef};

use super::queues::{GroupKind, terms_of};

/// A group whose home this worker is.
#[derive(Debug)]
pub(super) struct HomeGroup {
    pub(super) key: Arc<GroupKey>,
    pub(super) filter: TopicFilter,
    pub(super) kind: GroupKind,
    pub(super) group: Group,
    /// Tells it from an earlier group in the same slot.
    pub(super) incarnation: u32,
    /// What was said of it.
    pub(super) options: Arc<QueueOptions>,
    /// What follows from that and from the policy of `epoch`.
    pub(super) terms: Terms,
    pub(super) epoch: u64,
    /// What its publishers know of its backlog.
    pub(super) pressure: Pressure,
    /// Its number in the store, while it is kept.
    pub(super) number: Option<SessionNumber>,
    /// Whether the store knows that a member's client is there.
    pub(super) online: bool,
    /// Since when it has had no member, monotonic ms.
    pub(super) idle_since_ms: u64,
    /// When its timer is set for, monotonic ms; `u64::MAX` for none.
    pub(super) armed_ms: u64,
}

impl HomeGroup {
    /// Messages that wait for a member.
    pub(super) fn backlog(&self) -> usize {
        self.group.backlog()
    }

    /// Messages lent to members.
    pub(super) fn loans(&self) -> usize {
        self.group.loans()
    }

    /// Tells the store of the group and its messages again; `submit` gives a message a new number.
    pub(super) fn submit_again(
        &mut self,
        fx: &mut Effects,
        mut submit: impl FnMut(SessionNumber, &Message) -> (Arc<Message>, StoreOp),
    ) {
        let Some(session) = self.number else { return };
        fx.push(Effect::Store(Ticket::NONE, self.kept_op(session)));
        fx.push(Effect::Store(Ticket::NONE, StoreOp::Presence { session, online: self.online }));
        self.group.change(|message, deliveries| {
            let (message, op) = submit(session, message);
            fx.push(Effect::Store(Ticket::NONE, op));
            if deliveries > 0 {
                let released = StoreOp::Released { session, record: message.record(), deliveries };
                fx.push(Effect::Store(Ticket::NONE, released));
            }
            message
        });
    }

    /// What tells the store of the group.
    pub(super) fn kept_op(&self, session: SessionNumber) -> StoreOp {
        let (group, filter) = (self.key.group.clone(), self.key.filter.clone());
        StoreOp::GroupKept { session, group, filter, options: Box::new((*self.options).clone()) }
    }

    /// Whether it is to be kept in the store.
    fn is_kept(&self) -> bool {
        self.kind != GroupKind::Share || self.group.is_durable() || self.terms.keeps
    }
}

/// A group that has ended while messages were lent.
#[derive(Debug)]
pub(super) struct Ended {
    key: Arc<GroupKey>,
    /// The numbers of the loans that are not answered yet.
    lent: BTreeSet<u64>,
}

/// Why nobody gets what comes for a group that is no more.
fn end_reason(key: &GroupKey) -> DropReason {
    match GroupKind::of(key) {
        GroupKind::Share => DropReason::NoGroupMember,
        GroupKind::Queue | GroupKind::Durable => DropReason::QueueEnded,
    }
}

/// The parts of an engine that a group's step looks at, beside the group itself.
macro_rules! around {
    ($engine:expr, $now:expr, $terms:expr) => {
        Around { now: $now, terms: $terms, seed: &$engine.seed, own: $engine.id, credit: &$engine.credit }
    };
}
pub(super) use around;

impl Engine {
    /// The terms of a group, as the policy in force and its options make them.
    pub(super) fn renew_terms(&mut self, slot: u32) {
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        if home.epoch != self.policy.epoch {
            home.epoch = self.policy.epoch;
            home.terms = terms_of(&self.policy.limits, home.kind, &home.key, &home.options);
        }
    }

    /// A member joins (or changes its options); the first one makes the group known to the tree.
    pub(super) fn join_here(
        &mut self,
        key: &Arc<GroupKey>,
        mut member: Member,
        options: Option<&QueueOptions>,
        fx: &mut Effects,
    ) -> Result<(), JoinError> {
        let kind = GroupKind::of(key);
        let known = self.group_slots.get(key).copied();
        let begins_to_stay = kind == GroupKind::Share
            && options.is_some_and(|options| options.durable == Some(true))
            && !known.and_then(|slot| self.groups.get(slot as usize)).is_some_and(|home| home.terms.keeps);
        if begins_to_stay {
            self.shared.kept_groups.keep_share(self.policy.limits.queues.max_queues)?;
        }
        let slot = match known {
            Some(slot) => slot,
            None if kind == GroupKind::Share => {
                let Some(slot) = self.new_group(key) else { return Ok(()) };
                slot
            }
            None => self.open_queue(key, fx)?,
        };
        let mut selector = None;
        if kind == GroupKind::Durable {
            self.replace_consumer(slot, member.session, fx);
            // The subscription's, whoever consumes from it, and while nobody does.
            selector = member.selector.take();
        }
        let Some(home) = self.groups.get_mut(slot as usize) else { return Ok(()) };
        if let Err(error) = home.group.join(member) {
            if begins_to_stay {
                self.shared.kept_groups.release_share();
            }
            return Err(error);
        }
        if let Some(options) = options {
            self.apply_options(slot, options, selector.as_deref(), fx);
        }
        self.keep_group(slot, fx);
        self.enter_group(slot);
        if kind == GroupKind::Share {
            self.drop_unwanted(slot, fx);
        }
        self.groups_to_drain.push(slot);
        Ok(())
    }

    /// A group without a member, which the caller finds one for.
    pub(super) fn new_group(&mut self, key: &Arc<GroupKey>) -> Option<u32> {
        // It was checked when a member's session took it; here it is only taken apart again.
        let filter = TopicFilter::parse(&key.filter, &TopicLimits::WIDEST).ok()?;
        let kind = GroupKind::of(key);
        let options = Arc::<QueueOptions>::default();
        self.next_group = self.next_group.wrapping_add(1);
        let group = HomeGroup {
            key: Arc::clone(key),
            filter,
            kind,
            group: Group::new(self.next_group),
            incarnation: self.next_group,
            terms: terms_of(&self.policy.limits, kind, key, &options),
            epoch: self.policy.epoch,
            options,
            pressure: Pressure::None,
            number: None,
            online: false,
            idle_since_ms: u64::MAX,
            armed_ms: u64::MAX,
        };
        let slot = self.groups.insert(group) as u32;
        self.group_slots.insert(Arc::clone(key), slot);
        Some(slot)
    }

    /// Ends a group with all that waits there.
    pub(super) fn end_group(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        let Some(home) = self.groups.try_remove(slot as usize) else { return };
        self.group_slots.remove(&home.key);
        let reason = end_reason(&home.key);
        if home.kind == GroupKind::Share {
            self.shared.tree.leave_group(&home.filter, &home.key.group);
            if home.terms.keeps {
                self.shared.kept_groups.release_share();
            }
        } else {
            self.shared.kept_groups.end(&self.shared.tree, &home.key, &home.filter);
        }
        let lent = home.group.lent();
        if let Some(&first) = lent.first() {
            self.ended.insert(Group::mark_of(first), Ended { key: Arc::clone(&home.key), lent });
        }
        if let Some(session) = home.number {
            self.said.remove(&session);
            let records = home.group.records();
            fx.push(Effect::Store(Ticket::NONE, StoreOp::GroupEnded { session, records }));
        }
        if home.pressure != Pressure::None {
            self.shared.lines.set_pressure(&home.key, Pressure::None);
            self.let_in_next(&home.key, fx);
        }
        for _ in 0..home.group.backlog() {
            self.count_drop(now, reason, &home.key.filter, fx);
        }
    }

    /// After a restart, when every member is back: ends what nothing keeps.
    pub(super) fn groups_recovered(&mut self, now: Now, fx: &mut Effects) {
        self.recovering = false;
        let slots: Vec<_> = self.groups.iter().map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            let Some(home) = self.groups.get_mut(slot as usize) else { continue };
            if !home.group.members().is_empty() {
                self.keep_group(slot, fx);
            } else if home.stays_empty() {
                home.idle_since_ms = now.mono_ms;
                self.enter_group(slot);
            } else {
                self.end_group(now, slot, fx);
            }
            // What was stored when the selector was another one.
            self.drop_unwanted(slot, fx);
            self.note_congestion(slot, fx);
            self.arm_group(now, slot);
        }
    }

    fn enter_group(&self, slot: u32) {
        let Some(home) = self.groups.get(slot as usize).filter(|home| home.kind == GroupKind::Share) else {
            // A queue is entered when it is made.
            return;
        };
        let group = GroupRef { key: Arc::clone(&home.key), home: self.id, number: home.number };
        self.shared.tree.join_group(&home.filter, group);
    }

    /// Tells the store and the tree when a group begins or ceases to be kept, or its members come or go.
    pub(super) fn keep_group(&mut self, slot: u32, fx: &mut Effects) {
        if self.recovering {
            return;
        }
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        match (home.number, home.is_kept()) {
            (None, true) => {
                let session = self.shared.next_session();
                home.number = Some(session);
                home.online = false;
                fx.push(Effect::Store(Ticket::NONE, home.kept_op(session)));
                self.enter_group(slot);
            }
            (Some(session), false) => {
                home.number = None;
                let records = home.group.records();
                fx.push(Effect::Store(Ticket::NONE, StoreOp::GroupEnded { session, records }));
                self.enter_group(slot);
            }
            (None, false) | (Some(_), true) => {}
        }
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        let online = home.group.is_online();
        if let Some(session) = home.number
            && std::mem::replace(&mut home.online, online) != online
        {
            fx.push(Effect::Store(Ticket::NONE, StoreOp::Presence { session, online }));
        }
    }

    /// The group is done with a message that the store keeps for it.
    pub(super) fn group_settled(&self, slot: u32, record: u64, fx: &mut Effects) {
        if let Some(session) = self.groups.get(slot as usize).and_then(|home| home.number)
            && record != 0
        {
            acknowledged(session, record, fx);
        }
    }

    /// A share keeps nothing that none of its members wants, a durable subscription nothing that its selector does not
    /// want: they have changed.
    pub(super) fn drop_unwanted(&mut self, slot: u32, fx: &mut Effects) {
        // After a restart not before all members are back.
        if self.recovering {
            return;
        }
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        if home.kind == GroupKind::Queue {
            return;
        }
        for gone in home.group.take_unwanted() {
            self.group_settled(slot, gone.message.record(), fx);
        }
    }

    /// A share keeps nothing that none of its members has a right to any more, unless it stays without members.
    fn drop_forbidden(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        if home.kind != GroupKind::Share || home.terms.keeps {
            return;
        }
        let (gone, key) = (home.group.take_forbidden(), Arc::clone(&home.key));
        for gone in gone {
            self.count_drop(now, DropReason::NotAuthorized, &key.filter, fx);
            self.group_settled(slot, gone.message.record(), fx);
        }
    }

    /// A member leaves; with the last one the group ends, unless it is kept.
    pub(super) fn leave_here(&mut self, now: Now, key: &Arc<GroupKey>, session: SessionId, fx: &mut Effects) {
        let Some(&slot) = self.group_slots.get(key) else { return };
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        let before = home.group.members().len();
        let is_empty = home.group.leave(session);
        if before == 0 {
            // Whoever it did not let in.
            return;
        }
        if is_empty && !home.stays_empty() {
            return self.end_group(now, slot, fx);
        }
        if is_empty {
            home.idle_since_ms = now.mono_ms;
        }
        self.drop_unwanted(slot, fx);
        self.groups_to_drain.push(slot);
        self.keep_group(slot, fx);
    }

    pub(super) fn presence_here(
        &mut self,
        key: &Arc<GroupKey>,
        session: SessionId,
        online: bool,
        durable: bool,
        fx: &mut Effects,
    ) {
        let Some(&slot) = self.group_slots.get(key) else { return };
        if let Some(home) = self.groups.get_mut(slot as usize) {
            home.group.set_presence(session, online, durable);
            self.groups_to_drain.push(slot);
            self.keep_group(slot, fx);
        }
    }

    /// A message for a group whose home this is; `number`: under which the store keeps it for the group.
    pub(super) fn group_message(
        &mut self,
        now: Now,
        key: &Arc<GroupKey>,
        message: &Arc<Message>,
        number: Option<SessionNumber>,
        fx: &mut Effects,
    ) {
        let known = self.group_slots.get(key).copied().or_else(|| self.opened_queue(now, key));
        let numbered = known.and_then(|slot| self.groups.get(slot as usize)?.number);
        let ended = number.filter(|&number| message.record() != 0 && numbered != Some(number));
        let renewed;
        let message = match (ended, numbered) {
            (None, _) => message,
            (Some(old), None) => {
                // The group it was stored for has ended meanwhile, and could not say so of a message that it did not have.
                acknowledged(old, message.record(), fx);
                message
            }
            (Some(old), Some(session)) => {
                // There is another of the same key by now, for which the store has nothing yet.
                let (qos, retain) = (message.qos(), message.retain());
                let recipient = Recipient { session, qos, retain, subscription_ids: None };
                let (copy, publish) = submit(&self.shared, recipient, message);
                let gone = StoreOp::Acknowledged { session: old, record: message.record() };
                let both = StoreOp::Transaction([publish, gone].into());
                fx.push(Effect::Store(Ticket::NONE, both));
                renewed = copy;
                &renewed
            }
        };
        let Some(slot) = known else {
            return self.count_drop(now, end_reason(key), &key.filter, fx);
        };
        self.renew_terms(slot);
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        match home.group.offer(message, &around!(self, now, &home.terms)) {
            Choice::Send(place, loan) => self.lend(now, slot, place, loan, Arc::clone(message), 0, fx),
            Choice::Kept => {}
            Choice::Displaced(messages) => {
                for gone in messages {
                    self.bury(now, slot, gone, Death::Overflow, fx);
                }
            }
            Choice::Full => {
                let gone = Gone { message: Arc::clone(message), deliveries: 0 };
                self.bury(now, slot, gone, Death::Overflow, fx);
            }
            Choice::Dropped => {
                self.count_drop(now, DropReason::NoGroupMember, &key.filter, fx);
                self.group_settled(slot, message.record(), fx);
            }
            Choice::Unwanted => self.group_settled(slot, message.record(), fx),
            Choice::Duplicate => {
                self.count_drop(now, DropReason::Duplicate, &key.filter, fx);
                self.group_settled(slot, message.record(), fx);
            }
        }
        self.note_congestion(slot, fx);
        self.arm_group(now, slot);
    }

    /// Sends a message to the member that was chosen.
    #[allow(clippy::too_many_arguments, reason = "what the group chose, taken apart once")]
    fn lend(
        &mut self,
        now: Now,
        slot: u32,
        place: usize,
        loan: Option<u64>,
        message: Arc<Message>,
        deliveries: u32,
        fx: &mut Effects,
    ) {
        let home = self.id;
        if loan.is_none() {
            // Lent at QoS 0: nobody will say what became of it.
            self.group_settled(slot, message.record(), fx);
        }
        let Some(group) = self.groups.get(slot as usize) else { return };
        let Some(member) = group.group.members().get(place) else { return };
        let group = group.number.filter(|_| message.record() != 0);
        let lease = loan.map(|number| Lease { home, group: slot, number });
        let qos = message.qos().min(member.qos);
        let retain = message.retain() && member.retain_as_published;
        let (session, subscription_ids) = (member.session, member.subscription_ids.clone());
        if session.worker == home {
            let extra = Extra { subscription_ids, lease, group, deliveries, is_owed: false };
            self.lend_here(now, session, message, qos, retain, extra, fx);
        } else {
            let peer =
                PeerMsg::Lend { session, message, qos, retain, subscription_ids, lease, group, deliveries };
            self.send_peer(session.worker, peer, fx);
        }
    }

    /// A message chosen for a member whose home this is; one that has vanished or is away gives it back.
    #[allow(clippy::too_many_arguments, reason = "what PeerMsg::Lend holds, taken apart once")]
    pub(super) fn lend_here(
        &mut self,
        now: Now,
        session: SessionId,
        message: Arc<Message>,
        qos: Qos,
        retain: bool,
        mut extra: Extra,
        fx: &mut Effects,
    ) {
        let lease = extra.lease;
        let slot = self.slot_of(session);
        let found = slot.and_then(|slot| self.sessions.get(slot as usize));
        let online = found.is_some_and(Session::is_served);
        extra.is_owed =
            lease.is_some() && (message.topic().is_queue() || found.is_some_and(Session::consumes_durably));
        match (slot, lease) {
            (Some(slot), _) if online => {
                extra.group = extra.group.filter(|_| lease.is_some());
                let extra = (extra.subscription_ids.is_some() || lease.is_some()).then(|| Box::new(extra));
                self.enqueue(now, slot, Entry { message, extra, qos, retain, stored: false }, fx);
            }
            (_, Some(lease)) => self.lease_ended(now, lease, Outcome::Returned, fx),
            (_, None) => self.count_drop(now, DropReason::NoGroupMember, message.topic().as_str(), fx),
        }
    }

    /// Reports a loan's end to the group's home.
    pub(super) fn lease_ended(&mut self, now: Now, lease: Lease, outcome: Outcome, fx: &mut Effects) {
        if lease.home != self.id {
            return self.send_peer(lease.home, PeerMsg::LeaseEnded(lease, outcome), fx);
        }
        self.renew_terms(lease.group);
        let settled = match self.groups.get_mut(lease.group as usize) {
            Some(home) => home.group.settle(lease.number, outcome, &home.terms),
            None => Settled::Unknown,
        };
        match settled {
            Settled::Unknown => return self.loan_of_ended(now, lease, outcome, fx),
            Settled::Late if matches!(outcome, Outcome::Finished | Outcome::Rejected) => {
                self.stats.stray_acks += 1;
            }
            settled => self.loan_settled(now, lease.group, settled, fx),
        }
        if self.groups.get(lease.group as usize).is_some_and(|home| home.backlog() > 0) {
            self.groups_to_drain.push(lease.group);
        }
    }

    /// A loan ends whose group has ended before; what comes back comes to nobody.
    fn loan_of_ended(&mut self, now: Now, lease: Lease, outcome: Outcome, fx: &mut Effects) {
        let mark = Group::mark_of(lease.number);
        let Some(ended) = self.ended.get_mut(&mark) else { return };
        if !ended.lent.remove(&lease.number) {
            // It had been taken back in time.
            return;
        }
        let (key, is_over) = (Arc::clone(&ended.key), ended.lent.is_empty());
        if is_over {
            self.ended.remove(&mark);
        }
        if matches!(outcome, Outcome::Returned | Outcome::Released) {
            self.count_drop(now, end_reason(&key), &key.filter, fx);
        }
    }

    /// Does what follows from a loan's end.
    pub(super) fn loan_settled(&mut self, now: Now, slot: u32, settled: Settled, fx: &mut Effects) {
        match settled {
            Settled::Unknown | Settled::Late | Settled::Back(_, None) => {}
            Settled::Done(record) => self.group_settled(slot, record, fx),
            Settled::Back(record, Some(deliveries)) => {
                if let Some(session) = self.groups.get(slot as usize).and_then(|home| home.number)
                    && record != 0
                {
                    let op = StoreOp::Released { session, record, deliveries };
                    fx.push(Effect::Store(Ticket::NONE, op));
                }
            }
            Settled::Dead(gone, death) => self.bury(now, slot, gone, death, fx),
        }
    }

    /// Hands out what waited in groups to which something has happened.
    pub(super) fn drain_groups(&mut self, now: Now, fx: &mut Effects) {
        self.tell_store_of_groups(fx);
        while let Some(slot) = self.groups_to_drain.pop() {
            self.renew_terms(slot);
            self.drop_forbidden(now, slot, fx);
            while let Some(home) = self.groups.get_mut(slot as usize)
                && let Some(next) = home.group.next(&around!(self, now, &home.terms))
            {
                match next {
                    Next::Send { message, place, loan, deliveries } => {
                        self.lend(now, slot, place, loan, message, deliveries, fx);
                    }
                    Next::Expired(gone) => self.bury(now, slot, gone, Death::Expired, fx),
                }
            }
            self.note_congestion(slot, fx);
            self.arm_group(now, slot);
        }
    }
}
