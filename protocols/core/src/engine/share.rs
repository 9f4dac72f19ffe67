//! Shared subscriptions across workers: the home chooses, the member's worker delivers and reports.

use std::sync::Arc;

use super::Engine;
use super::publish::acknowledged;
use crate::effects::{DropReason, Effect, Effects, JoinError, PeerMsg};
use crate::group::{Choice, Group, GroupLimits, Lease, Member, Outcome, QueueOptions};
use crate::id::{Now, Qos, SessionId, WorkerId};
use crate::message::Message;
use crate::queue::{Entry, Extra};
use crate::session::Session;
use crate::store::{SessionNumber, StoreOp, Ticket};
use crate::topic::{TopicFilter, TopicLimits};
use crate::trie::{GroupKey, GroupRef};

/// A group whose home this worker is.
#[derive(Debug)]
pub(super) struct HomeGroup {
    key: Arc<GroupKey>,
    filter: TopicFilter,
    group: Group,
    /// Whether publishers are refused for it.
    congested: bool,
    /// Its number in the store, while it has a member whose session is kept.
    number: Option<SessionNumber>,
    /// Whether the store knows that a member's client is there.
    online: bool,
}

impl HomeGroup {
    /// Messages that wait for a member.
    pub(super) fn backlog(&self) -> usize {
        self.group.backlog()
    }

    /// What it was before a restart: its number in the store, and what waits.
    pub(super) fn resume(&mut self, number: SessionNumber, queue: Vec<(Arc<Message>, u32)>) {
        self.number = Some(number);
        queue.into_iter().for_each(|(message, _)| self.group.restore(message));
    }

    /// Tells the store of the group and its messages again; `submit` gives a message a new number.
    pub(super) fn submit_again(
        &mut self,
        fx: &mut Effects,
        mut submit: impl FnMut(SessionNumber, &Message) -> (Arc<Message>, StoreOp),
    ) {
        let Some(session) = self.number else { return };
        let (group, filter) = (self.key.group.clone(), self.key.filter.clone());
        fx.push(Effect::Store(
            Ticket::NONE,
            StoreOp::GroupKept { session, group, filter, options: Box::default() },
        ));
        fx.push(Effect::Store(Ticket::NONE, StoreOp::Presence { session, online: self.online }));
        self.group.change(|message| {
            let (message, op) = submit(session, message);
            fx.push(Effect::Store(Ticket::NONE, op));
            message
        });
    }

    /// Messages lent to members.
    pub(super) fn loans(&self) -> usize {
        self.group.loans()
    }
}

impl Engine {
    fn group_limits(&self) -> GroupLimits {
        let limits = &self.policy.limits;
        GroupLimits {
            max_messages: limits.max_queued_messages,
            max_bytes: limits.max_queued_bytes,
            // No more than its queue has room for, or the group itself would make a slow consumer of it.
            max_outstanding: u32::from(limits.max_inflight)
                .min(u32::try_from(limits.max_queued_messages).unwrap_or(u32::MAX))
                .max(1),
            overflow: limits.overflow,
        }
    }

    /// Lets the publishers know whether a group's backlog has room.
    fn note_congestion(&mut self, slot: u32) {
        let limits = self.group_limits();
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        let congested = home.group.is_congested(limits);
        if std::mem::replace(&mut home.congested, congested) != congested {
            self.shared.set_group_congested(&home.key, congested);
        }
    }

    /// A member joins (or changes its options); the first one makes the group known to the tree.
    pub(super) fn join_here(
        &mut self,
        key: &Arc<GroupKey>,
        member: Member,
        _options: Option<&QueueOptions>,
        fx: &mut Effects,
    ) -> Result<(), JoinError> {
        let known = self.group_slots.get(key).copied();
        let Some(slot) = known.or_else(|| self.new_group(key)) else { return Ok(()) };
        let Some(home) = self.groups.get_mut(slot as usize) else { return Ok(()) };
        home.group.join(member);
        self.keep_group(slot, fx);
        self.enter_group(slot);
        self.groups_to_drain.push(slot);
        Ok(())
    }

    /// What waits in a queue, without what is lent.
    pub(super) fn browse_here(&self, _key: &Arc<GroupKey>) -> Vec<Arc<Message>> {
        Vec::new()
    }

    /// Ends a durable subscription or a queue with all that waits there.
    pub(super) fn forget_here(&mut self, _now: Now, _key: &Arc<GroupKey>, _fx: &mut Effects) {}

    /// A queue that publishers here had to wait for has room again.
    pub(super) fn uncongested(&mut self, _now: Now, _key: &Arc<GroupKey>, _fx: &mut Effects) {}

    /// A group without a member, which the caller finds one for.
    pub(super) fn new_group(&mut self, key: &Arc<GroupKey>) -> Option<u32> {
        // It was checked when a member's session took it; here it is only taken apart again.
        let filter = TopicFilter::parse(&key.filter, &TopicLimits::WIDEST).ok()?;
        self.next_group = self.next_group.wrapping_add(1);
        let group = HomeGroup {
            key: Arc::clone(key),
            filter,
            group: Group::new(self.next_group),
            congested: false,
            number: None,
            online: false,
        };
        let slot = self.groups.insert(group) as u32;
        self.group_slots.insert(Arc::clone(key), slot);
        Some(slot)
    }

    /// Forgets a group that only the store knows, and the tree does not.
    fn forget_group(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        let Some(home) = self.groups.try_remove(slot as usize) else { return };
        self.group_slots.remove(&home.key);
        if let Some(session) = home.number {
            let records = home.group.records();
            fx.push(Effect::Store(Ticket::NONE, StoreOp::GroupEnded { session, records }));
        }
        for _ in 0..home.group.backlog() {
            self.count_drop(now, DropReason::NoGroupMember, &home.key.filter, fx);
        }
    }

    /// After a restart, when every member is back: ends what no member keeps.
    pub(super) fn groups_recovered(&mut self, now: Now, fx: &mut Effects) {
        self.recovering = false;
        let slots: Vec<_> = self.groups.iter().map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            if self.groups.get(slot as usize).is_some_and(|home| home.group.members().is_empty()) {
                self.forget_group(now, slot, fx);
            } else {
                self.keep_group(slot, fx);
            }
        }
    }

    fn enter_group(&self, slot: u32) {
        let Some(home) = self.groups.get(slot as usize) else { return };
        let group = GroupRef { key: Arc::clone(&home.key), home: self.id, number: home.number };
        self.shared.tree.join_group(&home.filter, group);
    }

    /// Tells the store and the tree when a group begins or ceases to be kept, or its members come or go.
    fn keep_group(&mut self, slot: u32, fx: &mut Effects) {
        if self.recovering {
            return;
        }
        let shared = &self.shared;
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        match (home.number, home.group.is_durable()) {
            (None, true) => {
                let session = shared.next_session();
                home.number = Some(session);
                home.online = false;
                let (group, filter) = (home.key.group.clone(), home.key.filter.clone());
                fx.push(Effect::Store(
                    Ticket::NONE,
                    StoreOp::GroupKept { session, group, filter, options: Box::default() },
                ));
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
    fn group_settled(&self, slot: u32, record: u64, fx: &mut Effects) {
        if let Some(session) = self.groups.get(slot as usize).and_then(|home| home.number)
            && record != 0
        {
            acknowledged(session, record, fx);
        }
    }

    /// A member leaves; with the last one the group ends.
    pub(super) fn leave_here(&mut self, now: Now, key: &Arc<GroupKey>, session: SessionId, fx: &mut Effects) {
        let Some(&slot) = self.group_slots.get(key) else { return };
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        if !home.group.leave(session) {
            self.groups_to_drain.push(slot);
            return self.keep_group(slot, fx);
        }
        self.keep_group(slot, fx);
        let Some(home) = self.groups.get(slot as usize) else { return };
        let waiting = home.group.backlog();
        if home.congested {
            self.shared.set_group_congested(key, false);
        }
        self.shared.tree.leave_group(&home.filter, &key.group);
        self.groups.try_remove(slot as usize);
        self.group_slots.remove(key);
        for _ in 0..waiting {
            self.count_drop(now, DropReason::NoGroupMember, &key.filter, fx);
        }
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
        let limits = self.group_limits();
        let strategy = self.policy.limits.share_strategy;
        let known = self.group_slots.get(key).copied();
        let numbered = known.and_then(|slot| self.groups.get(slot as usize)?.number);
        if let Some(number) = number.filter(|&number| message.record() != 0 && numbered != Some(number)) {
            // The group it was stored for has ended meanwhile, and could not say so of a message that it did not have.
            acknowledged(number, message.record(), fx);
        }
        let Some(slot) = known else {
            return self.count_drop(now, DropReason::NoGroupMember, &key.filter, fx);
        };
        let (own, credit) = (self.id, &self.credit);
        let reachable = |worker| can_reach(own, credit, worker);
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        match home.group.offer(message, strategy, limits, &self.seed, reachable) {
            Choice::Send(place, loan) => self.lend(now, slot, place, loan, Arc::clone(message), fx),
            Choice::Kept => {}
            Choice::Displaced(messages) => {
                for displaced in messages {
                    self.count_drop(now, DropReason::QueueFull, &key.filter, fx);
                    self.group_settled(slot, displaced.record(), fx);
                }
            }
            Choice::Full => {
                self.count_drop(now, DropReason::QueueFull, &key.filter, fx);
                self.group_settled(slot, message.record(), fx);
            }
            Choice::Dropped => {
                self.count_drop(now, DropReason::NoGroupMember, &key.filter, fx);
                self.group_settled(slot, message.record(), fx);
            }
        }
        self.note_congestion(slot);
    }

    /// Sends a message to the member that was chosen.
    fn lend(
        &mut self,
        now: Now,
        slot: u32,
        place: usize,
        loan: Option<u64>,
        message: Arc<Message>,
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
            let extra = Extra { subscription_ids, lease, group, deliveries: 0 };
            self.lend_here(now, session, message, qos, retain, extra, fx);
        } else {
            let deliveries = 0;
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
        let online = slot.and_then(|slot| self.sessions.get(slot as usize)).is_some_and(Session::is_served);
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
        let record = self.groups.get_mut(lease.group as usize).and_then(|home| {
            let record = home.group.settle(lease.number, outcome);
            if home.group.backlog() > 0 {
                self.groups_to_drain.push(lease.group);
            }
            record
        });
        if let Some(record) = record.filter(|_| outcome == Outcome::Finished) {
            self.group_settled(lease.group, record, fx);
        }
        if record.is_none() && matches!(outcome, Outcome::Returned | Outcome::Released) {
            // The last member has left meanwhile, and the group with it.
            self.count_drop(now, DropReason::NoGroupMember, "$share", fx);
        }
    }

    /// Hands out what waited in groups to which something has happened.
    pub(super) fn drain_groups(&mut self, now: Now, fx: &mut Effects) {
        while let Some(slot) = self.groups_to_drain.pop() {
            let limits = self.group_limits();
            let strategy = self.policy.limits.share_strategy;
            loop {
                let (own, credit) = (self.id, &self.credit);
                let reachable = |worker| can_reach(own, credit, worker);
                let Some(home) = self.groups.get_mut(slot as usize) else { break };
                if let Some(expired) = home.group.pop_expired(now.mono_ms) {
                    self.count_drop(now, DropReason::Expired, expired.topic().as_str(), fx);
                    self.group_settled(slot, expired.record(), fx);
                    continue;
                }
                let next = home.group.next_from_backlog(strategy, limits, &self.seed, reachable);
                let Some((message, place, loan)) = next else { break };
                self.lend(now, slot, place, loan, message, fx);
            }
            self.note_congestion(slot);
        }
    }
}

/// Whether a worker can be sent data now.
fn can_reach(own: WorkerId, credit: &[i64], worker: WorkerId) -> bool {
    worker == own || credit.get(worker.index()).is_some_and(|&credit| credit > 0)
}
