//! Queues and durable subscriptions at their home: how they begin, what holds for them, what falls due, how they end.
//!
//! One is made at its first use, by whichever worker that happens on: [`crate::shared::KeptGroups`] gives it its number
//! and enters it into the tree, and its home takes it in when the first message or member comes there.

use std::sync::Arc;

use super::share::around;
use super::{Engine, Timer};
use crate::effects::{Effect, Effects, JoinError, PeerMsg};
use crate::group::{Around, Death, QueueOptions, Terms};
use crate::id::{Now, SessionId};
use crate::message::Message;
use crate::policy::{Limits, Overflow, ShareStrategy};
use crate::refusal::Kind;
use crate::selector::Selector;
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

/// What holds for a group, by its options or else by the broker's limits. Whoever may subscribe says the options: they
/// never allow more than the limits do.
pub(super) fn terms_of(limits: &Limits, kind: GroupKind, key: &GroupKey, options: &QueueOptions) -> Terms {
    let is_queue = kind != GroupKind::Share;
    let queues = &limits.queues;
    let keeps_letters = queue_name(key).is_some_and(|name| name.starts_with(&*queues.dead_letter_prefix));
    let (max_messages, max_bytes, overflow) = match kind {
        // What waits for a subscriber waits as in a session, and one who stays away is no reason to stop the publishers
        // of a topic, unless the configuration says that it is.
        GroupKind::Share | GroupKind::Durable => {
            let asked = options.overflow.filter(|&asked| asked != Overflow::Refuse);
            (limits.max_queued_messages, limits.max_queued_bytes, asked.unwrap_or(limits.overflow))
        }
        GroupKind::Queue => {
            // Nobody is behind a dead letter who could be told to wait.
            let default = if keeps_letters { Overflow::DropOldest } else { queues.overflow };
            (queues.max_messages, queues.max_bytes, options.overflow.unwrap_or(default))
        }
    };
    let at_most = |asked: Option<u64>, most: usize| {
        asked.map_or(most, |asked| usize::try_from(asked).unwrap_or(usize::MAX).min(most))
    };
    // 0 stands for no end, in the configuration and in what is asked for.
    let endless = |number: u64| if number == 0 { u64::MAX } else { number };
    let no_more = |asked: Option<u64>, most: u64| asked.map_or(endless(most), endless).min(endless(most));
    let max_deliveries = no_more(options.max_deliveries.map(u64::from), queues.max_deliveries.into());
    let ack_deadline_ms = no_more(options.ack_deadline_ms, queues.ack_deadline_ms);
    let max_queued = u32::try_from(limits.max_queued_messages).unwrap_or(u32::MAX).max(1);
    // A durable subscription is somebody's who may never come back.
    let absence_ms = match limits.max_session_expiry_s {
        seconds if kind == GroupKind::Durable && seconds != u32::MAX => Some(u64::from(seconds) * 1_000),
        _ => None,
    };
    Terms {
        is_queue,
        keeps: is_queue || options.durable == Some(true),
        strategy: match limits.share_strategy {
            // All messages of a queue have one topic: they would all go to one consumer.
            ShareStrategy::Sticky if is_queue => ShareStrategy::RoundRobin,
            strategy => strategy,
        },
        max_messages: at_most(options.max_messages, max_messages),
        max_bytes: at_most(options.max_bytes, max_bytes),
        overflow,
        // No more than its queue has room for, or the group itself would make a slow consumer of it.
        max_outstanding: u32::from(limits.max_inflight).min(max_queued).max(1),
        max_window: max_queued,
        max_lent_bytes: limits.max_queued_bytes / 2,
        max_priority: options.max_priority.unwrap_or(9).min(9),
        message_ttl_ms: options.message_ttl_ms,
        max_deliveries: if keeps_letters {
            u32::MAX
        } else {
            u32::try_from(max_deliveries).unwrap_or(u32::MAX)
        },
        ack_deadline_ms: (is_queue && ack_deadline_ms < u64::MAX).then_some(ack_deadline_ms),
        idle_expiry_ms: options.idle_expiry_ms.or(absence_ms),
    }
}

/// Fields that something was said of replace what was known; `selector` is that of the durable subscriber who says it.
fn merge(known: &QueueOptions, said: &QueueOptions, selector: Option<&Selector>) -> QueueOptions {
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
        selector: selector.map(|selector| selector.as_str().into()),
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
        match self.terms.idle_expiry_ms {
            Some(ms) if self.group.members().is_empty() => self.idle_since_ms.saturating_add(ms),
            _ => u64::MAX,
        }
    }

    /// Lets the group keep what the selector among its options wants.
    fn apply_selector(&mut self) {
        // It was right when it was said. Of one that is not any more everything is kept until its subscriber is back.
        let selector = self.options.selector.as_deref().and_then(|text| Selector::parse(text).ok());
        self.group.set_filter(selector.map(Arc::new));
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

    /// Tells the store of the queues that other workers have made, changed or ended: of those that are new to this worker
    /// before everything that this turn has to tell it, because messages for them may be among that.
    pub(super) fn tell_store_of_groups(&mut self, fx: &mut Effects) {
        let news = self.shared.kept_groups.news(self.id, &mut self.groups_known);
        let mut ops = Vec::new();
        for news in news {
            let said = self.said.get(&news.number).copied();
            match news.kept {
                Some(kept) if said != Some(kept.version) => {
                    let op = Effect::Store(Ticket::NONE, kept_op(&news.key, &kept));
                    self.note_said(&kept);
                    // What this worker has said of it before, in this turn perhaps, must not come after.
                    if said.is_some() { fx.push(op) } else { ops.push(op) }
                }
                Some(_) => {}
                // What this worker has said last must not make the store keep it.
                None if self.said.remove(&news.number).is_some() => {
                    let op = StoreOp::GroupEnded { session: news.number, records: Box::default() };
                    fx.push(Effect::Store(Ticket::NONE, op));
                }
                None => {}
            }
        }
        if !ops.is_empty() {
            // Not before what earlier turns have to say.
            let start = self.turn_start.min(fx.list.len());
            fx.list.splice(start..start, ops);
        }
    }

    /// Tells a store that has lost everything of the queues again; those at home here are told of with their messages.
    pub(super) fn submit_kept_again(&self, fx: &mut Effects) {
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
        home.apply_selector();
    }

    /// What a group was before a restart.
    pub(super) fn resume_group(&mut self, now: Now, slot: u32, number: SessionNumber, options: QueueOptions) {
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        home.number = Some(number);
        home.terms = terms_of(&self.policy.limits, home.kind, &home.key, &options);
        home.options = Arc::new(options);
        home.apply_selector();
        home.idle_since_ms = now.mono_ms;
        if home.kind == GroupKind::Share {
            // It was within the limit when it began; a narrower one does not take it away.
            if home.terms.keeps {
                let _ = self.shared.kept_groups.keep_share(usize::MAX);
            }
        } else {
            let (group, options) = ((&home.key, &home.filter, self.id), Arc::clone(&home.options));
            self.shared.kept_groups.restore(&self.shared.tree, group, number, options);
        }
    }

    /// A member has said what is to hold for its group; `selector`: what a durable subscriber wants of it.
    pub(super) fn apply_options(
        &mut self,
        slot: u32,
        said: &QueueOptions,
        selector: Option<&Selector>,
        fx: &mut Effects,
    ) {
        let limits = &self.policy.limits;
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        let merged = merge(&home.options, said, selector);
        if merged == *home.options {
            return;
        }
        let before = (home.terms.keeps, home.options.selector.clone());
        home.terms = terms_of(limits, home.kind, &home.key, &merged);
        if home.kind == GroupKind::Share {
            if before.0 && !home.terms.keeps {
                self.shared.kept_groups.release_share();
            }
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
        if home.options.selector != before.1 {
            home.apply_selector();
            self.drop_unwanted(slot, fx);
        }
        self.note_said(&kept);
    }

    /// What holds for a group, as far as that is known everywhere.
    pub(super) fn terms_of_kept(&self, key: &GroupKey) -> Terms {
        let kept = self.shared.kept_groups.get(key);
        let options = kept.map(|kept| kept.options).unwrap_or_default();
        terms_of(&self.policy.limits, GroupKind::of(key), key, &options)
    }

    /// Messages and bytes that may wait in a group, and what makes room for more: of a queue's limits those that hold, its
    /// own or the broker's.
    pub(super) fn capacity_of(&self, key: &GroupKey) -> (usize, usize, String) {
        let terms = self.terms_of_kept(key);
        let most = &self.policy.limits.queues;
        let mend = match GroupKind::of(key) {
            GroupKind::Queue => {
                let own = |is, own, brokers| if is { own } else { brokers };
                let messages =
                    own(terms.max_messages < most.max_messages, "x-max-length", "queues.max_messages");
                let bytes = own(terms.max_bytes < most.max_bytes, "x-max-length-bytes", "queues.max_bytes");
                format!("raise {messages} or {bytes}, or set x-overflow:drop-head")
            }
            GroupKind::Share | GroupKind::Durable => {
                "raise max_queued_messages or max_queued_bytes, or set overflow to drop-oldest".to_owned()
            }
        };
        (terms.max_messages, terms.max_bytes, mend)
    }

    /// What waits in a queue, without what is lent and what is not due yet.
    pub(super) fn browse_here(&self, key: &Arc<GroupKey>) -> Vec<Arc<Message>> {
        let home = self.group_slots.get(key).and_then(|&slot| self.groups.get(slot as usize));
        home.map(|home| home.group.waiting()).unwrap_or_default()
    }

    /// Ends a durable subscription, a queue or a share that stays, with all that waits there. One that is not there has
    /// ended already.
    ///
    /// # Errors
    /// [`JoinError::Exclusive`] if somebody consumes from it.
    pub(super) fn forget_here(
        &mut self,
        now: Now,
        key: &Arc<GroupKey>,
        fx: &mut Effects,
    ) -> Result<(), JoinError> {
        let known = self.group_slots.get(key).copied();
        let Some(slot) = known.or_else(|| self.opened_queue(now, key)) else { return Ok(()) };
        if self.groups.get(slot as usize).is_some_and(|home| !home.group.members().is_empty()) {
            return Err(JoinError::Exclusive);
        }
        self.end_group(now, slot, fx);
        Ok(())
    }

    /// A durable subscription's newer consumer takes it over: nobody is to wait until a connection that was cut is
    /// given up. Its name holds the user's, so both are the same user's.
    pub(super) fn replace_consumer(&mut self, slot: u32, newer: SessionId, fx: &mut Effects) {
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        let older = home.group.members().iter().map(|member| member.session);
        let older: Vec<_> = older.filter(|&session| session != newer).collect();
        for session in older {
            home.group.leave(session);
            // What it had been lent comes back as its session ends.
            if session.worker == self.id {
                self.evicted.push(session);
            } else {
                fx.push(Effect::Peer(session.worker, PeerMsg::Evict(session)));
            }
        }
    }

    /// Ends the connection of a consumer whose durable subscription another has taken over.
    pub(super) fn evict(&mut self, now: Now, session: SessionId, fx: &mut Effects) {
        let found = self.slot_of(session).and_then(|slot| self.sessions.get(slot as usize));
        let Some((consumer, conn)) = found.and_then(|session| Some((session, session.conn?))) else { return };
        let Some(subscription) = consumer.subscriptions.get(0) else { return };
        let name = subscription.group.as_deref().unwrap_or_default();
        let detail = format!(
            "a newer connection of the same user has taken over the durable subscription {name:?} to {:?}; let one at a \
             time consume from it, or give each a name of its own",
            subscription.filter.as_str()
        );
        self.stats.takeovers += 1;
        self.refuse(now, conn, Kind::SessionTakenOver, detail, fx);
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
