//! Queues and durable subscriptions at their home: how they begin, what holds for them, what falls due, how they end.
//!
//! One is made at its first use, by whichever worker that happens on: [`crate::shared::KeptGroups`] gives it its number
//! and enters it into the tree, and its home takes it in when the first message or member comes there.

use std::sync::Arc;

use super::share::around;
use super::{Engine, Timer};
use crate::effects::{Effect, Effects, JoinError};
use crate::group::{Around, Death, QueueOptions, Terms};
use crate::id::Now;
use crate::message::Message;
use crate::policy::{Limits, Overflow, ShareStrategy};
use crate::shared::Kept;
use crate::store::{SessionNumber, StoreOp, Ticket};
use crate::topic::{TopicFilter, TopicLimits};
use crate::trie::GroupKey;

use super::share::HomeGroup;

/// What a queue's topic begins with.
pub(super) const QUEUE_PREFIX: &str = "$queue/";

/// What a group is, as its key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupKind {
    /// `$share/group/filter`: it lives as long as its members.
    Share,
    /// `$queue/name`, with no share name.
    Queue,
    /// A durable subscription of STOMP, whose share name is a path; no MQTT client can write one.
    Durable,
}

impl GroupKind {
    pub(super) fn of(key: &GroupKey) -> Self {
        match &*key.group {
            "" => Self::Queue,
            name if name.contains('/') => Self::Durable,
            _ => Self::Share,
        }
    }
}

/// A queue's name, if the key is a queue's.
pub(super) fn queue_name(key: &GroupKey) -> Option<&str> {
    key.group.is_empty().then(|| key.filter.strip_prefix(QUEUE_PREFIX)).flatten()
}

/// What holds for a group, by its options or else by the broker's limits.
pub(super) fn terms_of(limits: &Limits, kind: GroupKind, key: &GroupKey, options: &QueueOptions) -> Terms {
    let is_queue = kind != GroupKind::Share;
    let queues = &limits.queues;
    let keeps_letters = queue_name(key).is_some_and(|name| name.starts_with(&*queues.dead_letter_prefix));
    let most = |asked: Option<u64>, other: usize| {
        asked.map_or(other, |asked| usize::try_from(asked).unwrap_or(usize::MAX))
    };
    let (max_messages, max_bytes, overflow) = match kind {
        GroupKind::Share => (limits.max_queued_messages, limits.max_queued_bytes, limits.overflow),
        // Nobody is behind a dead letter who could be told to wait.
        _ if keeps_letters => (queues.max_messages, queues.max_bytes, Overflow::DropOldest),
        _ => (queues.max_messages, queues.max_bytes, queues.overflow),
    };
    let max_queued = u32::try_from(limits.max_queued_messages).unwrap_or(u32::MAX).max(1);
    let max_deliveries = match options.max_deliveries.unwrap_or(queues.max_deliveries) {
        _ if keeps_letters => u32::MAX,
        0 => u32::MAX,
        most => most,
    };
    let ack_deadline_ms = options.ack_deadline_ms.unwrap_or(queues.ack_deadline_ms);
    Terms {
        is_queue,
        keeps: is_queue || options.durable == Some(true),
        strategy: match limits.share_strategy {
            // All messages of a queue have one topic: they would all go to one consumer.
            ShareStrategy::Sticky if is_queue => ShareStrategy::RoundRobin,
            strategy => strategy,
        },
        max_messages: most(options.max_messages, max_messages),
        max_bytes: most(options.max_bytes, max_bytes),
        overflow: options.overflow.unwrap_or(overflow),
        // No more than its queue has room for, or the group itself would make a slow consumer of it.
        max_outstanding: u32::from(limits.max_inflight).min(max_queued).max(1),
        max_window: max_queued,
        max_lent_bytes: limits.max_queued_bytes / 2,
        max_priority: options.max_priority.unwrap_or(9).min(9),
        message_ttl_ms: options.message_ttl_ms,
        max_deliveries,
        ack_deadline_ms: (is_queue && ack_deadline_ms > 0).then_some(ack_deadline_ms),
    }
}

/// Fields that something was said of replace what was known.
fn merge(known: &QueueOptions, said: &QueueOptions) -> QueueOptions {
    QueueOptions {
        message_ttl_ms: said.message_ttl_ms.or(known.message_ttl_ms),
        idle_expiry_ms: said.idle_expiry_ms.or(known.idle_expiry_ms),
        max_messages: said.max_messages.or(known.max_messages),
        max_bytes: said.max_bytes.or(known.max_bytes),
        overflow: said.overflow.or(known.overflow),
        max_priority: said.max_priority.or(known.max_priority),
        dead_letter: said.dead_letter.clone().or_else(|| known.dead_letter.clone()),
        max_deliveries: said.max_deliveries.or(known.max_deliveries),
        ack_deadline_ms: said.ack_deadline_ms.or(known.ack_deadline_ms),
        auto_delete: said.auto_delete.or(known.auto_delete),
        durable: said.durable.or(known.durable),
    }
}

pub(super) fn kept_op(key: &GroupKey, kept: &Kept) -> StoreOp {
    StoreOp::GroupKept {
        session: kept.number,
        group: key.group.clone(),
        filter: key.filter.clone(),
        options: Box::new((*kept.options).clone()),
    }
}

impl HomeGroup {
    /// Whether it goes on without a member.
    pub(super) fn stays_empty(&self) -> bool {
        match self.kind {
            GroupKind::Share => self.terms.keeps,
            GroupKind::Queue => self.options.auto_delete != Some(true),
            GroupKind::Durable => true,
        }
    }

    /// When it ends because it has had no member for so long, monotonic ms.
    fn idle_end_ms(&self) -> u64 {
        match self.options.idle_expiry_ms {
            Some(ms) if self.kind != GroupKind::Share && self.group.members().is_empty() => {
                self.idle_since_ms.saturating_add(ms)
            }
            _ => u64::MAX,
        }
    }
}

impl Engine {
    /// Makes a queue if it is not there.
    pub(super) fn ensure_queue(&mut self, key: &Arc<GroupKey>, fx: &mut Effects) -> Result<(), JoinError> {
        self.ensure_kept(key, fx).map(drop)
    }

    /// Makes a queue or durable subscription if it is not there, and tells the store first.
    fn ensure_kept(&mut self, key: &Arc<GroupKey>, fx: &mut Effects) -> Result<Kept, JoinError> {
        // It was checked when it was subscribed or published to.
        let filter = TopicFilter::parse(&key.filter, &TopicLimits::WIDEST).map_err(|_| JoinError::TooMany)?;
        let shared = &self.shared;
        let home = shared.home_of_group(&key.group, &key.filter);
        let most = self.policy.limits.queues.max_queues;
        let number = || shared.next_session();
        let (kept, is_new) = shared.kept_groups.ensure(&shared.tree, (key, &filter, home), most, number)?;
        if is_new {
            fx.push(Effect::Store(Ticket::NONE, kept_op(key, &kept)));
            self.note_said(&kept);
        }
        Ok(kept)
    }

    fn note_said(&mut self, kept: &Kept) {
        if self.shared.workers() > 1 {
            self.said.insert(kept.number, kept.version);
        }
    }

    /// Tells the store of the queues that other workers have made, changed or ended: before everything else that it has
    /// to be told, because messages for them may be among that.
    pub(super) fn tell_store_of_groups(&mut self, fx: &mut Effects) {
        let news = self.shared.kept_groups.news(self.id, &mut self.groups_known);
        let mut ops = Vec::new();
        for news in news {
            match news.kept {
                Some(kept) if self.said.get(&kept.number) != Some(&kept.version) => {
                    ops.push(Effect::Store(Ticket::NONE, kept_op(&news.key, &kept)));
                    self.note_said(&kept);
                }
                Some(_) => {}
                // What this worker has said last must not make the store keep it.
                None if self.said.remove(&news.number).is_some() => {
                    let op = StoreOp::GroupEnded { session: news.number, records: Box::default() };
                    ops.push(Effect::Store(Ticket::NONE, op));
                }
                None => {}
            }
        }
        if !ops.is_empty() {
            fx.list.splice(0..0, ops);
        }
    }

    /// Tells a store that has lost everything of the queues again; those at home here are told of with their messages.
    pub(super) fn submit_kept_again(&self, fx: &mut Effects) {
        if self.shared.workers() == 1 {
            return;
        }
        for (key, kept) in self.shared.kept_groups.all() {
            if !self.group_slots.contains_key(&key) {
                fx.push(Effect::Store(Ticket::NONE, kept_op(&key, &kept)));
            }
        }
    }

    /// Makes a queue at its home, for a member.
    pub(super) fn open_queue(&mut self, key: &Arc<GroupKey>, fx: &mut Effects) -> Result<u32, JoinError> {
        let kept = self.ensure_kept(key, fx)?;
        let slot = self.new_group(key).ok_or(JoinError::TooMany)?;
        self.resume_queue(slot, &kept);
        Ok(slot)
    }

    /// A queue that was made elsewhere and whose first message has come; `None` if there is none.
    pub(super) fn opened_queue(&mut self, now: Now, key: &Arc<GroupKey>) -> Option<u32> {
        if GroupKind::of(key) == GroupKind::Share {
            return None;
        }
        let kept = self.shared.kept_groups.get(key)?;
        let slot = self.new_group(key)?;
        self.resume_queue(slot, &kept);
        if let Some(home) = self.groups.get_mut(slot as usize) {
            home.idle_since_ms = now.mono_ms;
        }
        Some(slot)
    }

    fn resume_queue(&mut self, slot: u32, kept: &Kept) {
        let limits = &self.policy.limits;
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        home.number = Some(kept.number);
        home.options = Arc::clone(&kept.options);
        home.terms = terms_of(limits, home.kind, &home.key, &home.options);
    }

    /// What a group was before a restart.
    pub(super) fn resume_group(&mut self, now: Now, slot: u32, number: SessionNumber, options: QueueOptions) {
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        home.number = Some(number);
        home.terms = terms_of(&self.policy.limits, home.kind, &home.key, &options);
        home.options = Arc::new(options);
        home.idle_since_ms = now.mono_ms;
        if home.kind != GroupKind::Share {
            let (group, options) = ((&home.key, &home.filter, self.id), Arc::clone(&home.options));
            self.shared.kept_groups.restore(&self.shared.tree, group, number, options);
        }
    }

    /// A member has said what is to hold for its group.
    pub(super) fn apply_options(&mut self, slot: u32, said: &QueueOptions, fx: &mut Effects) {
        let limits = &self.policy.limits;
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        let merged = merge(&home.options, said);
        if merged == *home.options {
            return;
        }
        home.terms = terms_of(limits, home.kind, &home.key, &merged);
        if home.kind == GroupKind::Share {
            home.options = Arc::new(merged);
            if let Some(number) = home.number {
                fx.push(Effect::Store(Ticket::NONE, home.kept_op(number)));
            }
            return;
        }
        let key = Arc::clone(&home.key);
        let Some(kept) = self.shared.kept_groups.set_options(&key, merged) else { return };
        home.options = Arc::clone(&kept.options);
        fx.push(Effect::Store(Ticket::NONE, kept_op(&key, &kept)));
        self.note_said(&kept);
    }

    /// What waits in a queue, without what is lent and what is not due yet.
    pub(super) fn browse_here(&self, key: &Arc<GroupKey>) -> Vec<Arc<Message>> {
        let home = self.group_slots.get(key).and_then(|&slot| self.groups.get(slot as usize));
        home.map(|home| home.group.waiting()).unwrap_or_default()
    }

    /// Ends a durable subscription or a queue with all that waits there, unless somebody consumes from it.
    pub(super) fn forget_here(&mut self, now: Now, key: &Arc<GroupKey>, fx: &mut Effects) {
        if GroupKind::of(key) == GroupKind::Share {
            return;
        }
        let known = self.group_slots.get(key).copied();
        let Some(slot) = known.or_else(|| self.opened_queue(now, key)) else { return };
        if self.groups.get(slot as usize).is_some_and(|home| home.group.members().is_empty()) {
            self.end_group(now, slot, fx);
        }
    }

    /// Sets a group's timer if something falls due before it goes off.
    pub(super) fn arm_group(&mut self, now: Now, slot: u32) {
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        let due_ms = home.group.next_due_ms(&around!(self, now, &home.terms)).min(home.idle_end_ms());
        if due_ms >= home.armed_ms {
            return;
        }
        home.armed_ms = due_ms;
        let timer = Timer::Group { slot, incarnation: home.incarnation, at_ms: due_ms };
        self.arm(due_ms, timer);
    }

    /// A group's timer has gone off.
    pub(super) fn group_due(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        self.renew_terms(slot);
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        home.armed_ms = u64::MAX;
        if home.idle_end_ms() <= now.mono_ms {
            return self.end_group(now, slot, fx);
        }
        home.group.admit_due(now);
        for gone in home.group.take_expired(now.mono_ms) {
            self.bury(now, slot, gone, Death::Expired, fx);
        }
        while let Some(home) = self.groups.get_mut(slot as usize)
            && let Some(settled) = home.group.take_overdue(now.mono_ms, &home.terms)
        {
            self.loan_settled(now, slot, settled, fx);
        }
        // What has come back is handed out, and the timer set anew.
        self.groups_to_drain.push(slot);
    }
}
