//! SUBSCRIBE and UNSUBSCRIBE: the session's list, the topic tree, the groups, and the retained messages to replay.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::Engine;
use super::answers::{Undo, Waiting};
use crate::acl::Answer;
use crate::effects::{Effect, Effects, FilterRequest, JoinError, PeerMsg, Reason, Reply, RetainHandling};
use crate::group::Member;
use crate::id::{ConnId, Now, Qos, SessionId};
use crate::policy::Action;
use crate::selector::Selector;
use crate::session::{Session, Subscription, SubscriptionOptions};
use crate::store::{SessionNumber, StoreOp, Ticket};
use crate::topic::{FilterKind, Subscribed, TopicFilter, TopicName, reply_topic};
use crate::trie::{GroupKey, Subscriber};

impl Engine {
    #[allow(clippy::too_many_arguments, reason = "the fields of Input::Subscribe, taken apart once")]
    pub(super) fn subscribe(
        &mut self,
        now: Now,
        conn: ConnId,
        packet_id: NonZeroU16,
        id: Option<NonZeroU32>,
        selector: Option<Result<Arc<Selector>, Box<str>>>,
        filters: &[FilterRequest<'_>],
        fx: &mut Effects,
    ) {
        let Some(slot) = self.session_slot(conn) else { return };
        let selector = match selector.transpose() {
            Ok(selector) => selector,
            Err(why) => {
                let codes = vec![Err(Reason::ImplementationSpecificError); filters.len()];
                let reply = Reply::Subscribed { packet_id, codes: codes.into(), why: Some(why) };
                return self.answer(conn, reply, fx);
            }
        };
        let mut codes = Vec::with_capacity(filters.len());
        let mut waits = Vec::new();
        let mut replays = false;
        for request in filters {
            match self.admit_subscription(now, slot, request, id, selector.clone(), fx) {
                Ok(admitted) => {
                    codes.push(Ok(admitted.qos));
                    waits.push(admitted);
                    replays |=
                        self.begin_replay(slot, admitted.index, admitted.is_new, request.retain_handling);
                }
                Err(reason) => codes.push(Err(reason)),
            }
        }
        // A filter that was named many times is stored and joined once: what was said last holds.
        waits.sort_by_key(|admitted| admitted.index);
        waits.dedup_by_key(|admitted| admitted.index);
        let durable = self.sessions.get(slot as usize).is_some_and(Session::is_durable);
        let reply = Reply::Subscribed { packet_id, codes: codes.into_boxed_slice(), why: None };
        let joins: Vec<_> =
            waits.iter().filter_map(|admitted| self.remote_join(slot, admitted.index)).collect();
        let left = joins.len() as u32 + if durable { waits.len() as u32 } else { 0 };
        if left == 0 {
            self.answer(conn, reply, fx);
        } else {
            let place = self.reserve_answer(conn);
            let undo = Some(Box::new(self.undo_of(slot, &waits)));
            // Joins are control and need no credit: one packet's, and no more, may be on their way.
            let paused = !joins.is_empty() && self.pause_reads(conn, fx);
            let ticket = self.ticket(Waiting::Answer { place, reply, left, failed: false, paused, undo });
            for (home, key, member) in joins {
                fx.push(Effect::Peer(home, PeerMsg::Join { key, member, options: None, ticket }));
            }
            if durable {
                for admitted in &waits {
                    fx.list
                        .extend(self.subscribed_op(slot, admitted.index).map(|op| Effect::Store(ticket, op)));
                }
            }
        }
        if replays {
            self.wake(slot, fx);
        }
    }

    /// What is undone if the store can't keep these subscriptions: those that are new.
    fn undo_of(&self, slot: u32, admitted: &[Admitted]) -> Undo {
        let session = self.sessions.get(slot as usize);
        let subscription = |admitted: &Admitted| session?.subscriptions.get(admitted.index).map(written);
        let filters = admitted.iter().filter(|admitted| admitted.is_new).filter_map(subscription).collect();
        Undo { session: self.session_id(slot), filters }
    }

    /// Takes back subscriptions that could not be stored.
    pub(super) fn undo_subscriptions(&mut self, now: Now, undo: &Undo, fx: &mut Effects) {
        let Some(slot) = self.slot_of(undo.session) else { return };
        for text in &undo.filters {
            // The commit that failed may have reached the disk all the same.
            let (session, filter) = (SessionNumber(undo.session.incarnation), text.clone());
            fx.push(Effect::Store(Ticket::NONE, StoreOp::Unsubscribed { session, filter }));
            if let Some(subscription) = self.take_subscription(slot, text) {
                self.leave_subscription(now, undo.session, &subscription, fx);
            }
        }
        self.sweep_replays(slot);
    }

    /// Enters one filter into the session's list, the tree and, at home, the group.
    fn admit_subscription(
        &mut self,
        now: Now,
        slot: u32,
        request: &FilterRequest<'_>,
        id: Option<NonZeroU32>,
        selector: Option<Arc<Selector>>,
        fx: &mut Effects,
    ) -> Result<Admitted, Reason> {
        let limits = &self.policy.limits;
        let subscribed = Subscribed::parse(request.filter, &limits.topic);
        let (group, filter) = subscribed.map_err(|_| Reason::TopicFilterInvalid)?.into_parts();
        // Of a queue nothing is anybody's until it is acknowledged, which two steps would only draw out.
        let is_queue = group.as_deref() == Some("");
        let ceiling = if is_queue { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        let (max_subscriptions, max_qos) = (limits.max_subscriptions as usize, limits.max_qos);
        let Answer::UpTo(allowed) = self.ask(slot, Action::Subscribe(&filter)) else {
            return Err(Reason::NotAuthorized);
        };
        let seed = &self.seed;
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return Err(Reason::UnspecifiedError);
        };
        if is_anothers_reply(&filter, &session.client_id) {
            return Err(Reason::NotAuthorized);
        }
        let options = SubscriptionOptions {
            qos: request.qos.min(max_qos).min(ceiling).min(allowed),
            no_local: request.no_local,
            retain_as_published: request.retain_as_published,
            id,
        };
        let present = session.subscriptions.find(seed, group.as_deref(), filter.as_str());
        let (index, is_new) = match present {
            Some(index) => {
                // The same filter again replaces the old options and interrupts nothing [MQTT-3.8.4-3].
                if let Some(known) = session.subscriptions.get_mut(index) {
                    session.selects |= selector.is_some();
                    known.options = options;
                    known.selector = selector;
                }
                (index, false)
            }
            None if session.subscriptions.len() >= max_subscriptions => return Err(Reason::QuotaExceeded),
            None => {
                session.selects |= selector.is_some();
                let subscription = Subscription { filter, group, options, replay: 0, selector };
                (session.subscriptions.push(seed, subscription), true)
            }
        };
        if let Some((key, member)) = self.home_join(slot, index) {
            if let Err(error) = self.join_here(&key, member, None, fx) {
                if let Some(subscription) = self.take_subscription(slot, request.filter) {
                    let name = self.session_id(slot);
                    self.leave_subscription(now, name, &subscription, fx);
                }
                return Err(refused_join(error));
            }
        } else {
            self.enter_in_tree(slot, index);
        }
        Ok(Admitted { index, is_new, qos: options.qos })
    }

    /// Enters a subscription of the list anew, because what it means has changed.
    pub(super) fn enter_subscription(&mut self, slot: u32, index: usize, fx: &mut Effects) {
        if let Some((key, member)) = self.home_join(slot, index) {
            let _ = self.join_here(&key, member, None, fx);
        } else if let Some((home, key, member)) = self.remote_join(slot, index) {
            fx.push(Effect::Peer(home, PeerMsg::Join { key, member, options: None, ticket: Ticket::NONE }));
        } else {
            self.enter_in_tree(slot, index);
        }
    }

    pub(super) fn enter_in_tree(&mut self, slot: u32, index: usize) {
        let name = self.session_id(slot);
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let Some(subscription) = session.subscriptions.get(index) else { return };
        if subscription.group.is_some() {
            return;
        }
        let options = &subscription.options;
        self.shared.tree.subscribe(
            &subscription.filter,
            Subscriber {
                session: name,
                qos: options.qos,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                durable: session.is_durable(),
                subscription_id: options.id,
            },
        );
    }

    pub(super) fn home_join(&self, slot: u32, index: usize) -> Option<(Arc<GroupKey>, Member)> {
        let (home, key, member) = self.join_of(slot, index)?;
        (home == self.id).then_some((key, member))
    }

    pub(super) fn remote_join(
        &self,
        slot: u32,
        index: usize,
    ) -> Option<(crate::id::WorkerId, Arc<GroupKey>, Member)> {
        self.join_of(slot, index).filter(|(home, ..)| *home != self.id)
    }

    fn join_of(&self, slot: u32, index: usize) -> Option<(crate::id::WorkerId, Arc<GroupKey>, Member)> {
        let session = self.sessions.get(slot as usize)?;
        let subscription = session.subscriptions.get(index)?;
        let group = subscription.group.clone()?;
        let key = Arc::new(GroupKey { group, filter: subscription.filter.as_str().into() });
        let home = self.shared.home_of_group(&key.group, &key.filter);
        let member = Member {
            session: self.session_id(slot),
            qos: subscription.options.qos,
            online: session.conn.is_some(),
            durable: session.is_durable(),
            retain_as_published: subscription.options.retain_as_published,
            subscription_ids: subscription.options.id.map(|id| Arc::from([id])),
            outstanding: 0,
            window: session.consumer.as_ref().map_or(0, |consumer| consumer.window),
            selector: subscription.selector.clone(),
            exclusive: session.consumer.as_ref().is_some_and(|consumer| consumer.exclusive),
            // What a share may choose it for. Others have one topic, or one member.
            bearer: subscription.is_share().then(|| session.bearer()).flatten(),
        };
        Some((home, key, member))
    }

    /// What the store keeps of a subscription.
    pub(super) fn subscribed_op(&self, slot: u32, index: usize) -> Option<StoreOp> {
        let session = self.sessions.get(slot as usize)?;
        let subscription = session.subscriptions.get(index)?;
        let options = &subscription.options;
        Some(StoreOp::Subscribed {
            session: session.number,
            filter: written(subscription),
            qos: options.qos,
            flags: (options.no_local, options.retain_as_published),
            subscription_id: options.id.map_or(0, NonZeroU32::get),
            selector: subscription.selector.as_ref().map(|selector| selector.as_str().into()),
        })
    }

    /// Lets the retained messages that match be delivered, if the request asks for them; never for a shared
    /// subscription (MQTT 5, section 4.8.2).
    pub(super) fn begin_replay(
        &mut self,
        slot: u32,
        index: usize,
        is_new: bool,
        handling: RetainHandling,
    ) -> bool {
        let wanted = match handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        // The filter is in the tree already: whatever is stored from now on is delivered live.
        let up_to_version = self.shared.retained.version();
        let spare = &mut self.spare_traffic;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return false };
        let Some(subscription) = session.subscriptions.get_mut(index) else { return false };
        if !wanted || up_to_version == 0 || subscription.group.is_some() {
            return false;
        }
        let traffic = session.traffic.get_or_insert_with(|| spare.pop().unwrap_or_default());
        traffic.replays.begin(subscription, up_to_version);
        true
    }

    pub(super) fn unsubscribe(
        &mut self,
        now: Now,
        conn: ConnId,
        packet_id: NonZeroU16,
        filters: &[&str],
        fx: &mut Effects,
    ) {
        let Some(slot) = self.session_slot(conn) else { return };
        let name = self.session_id(slot);
        let mut codes = Vec::with_capacity(filters.len());
        let mut ops = Vec::new();
        for text in filters {
            let Some(subscription) = self.take_subscription(slot, text) else {
                codes.push(Reason::NoSubscriptionExisted);
                continue;
            };
            self.leave_subscription(now, name, &subscription, fx);
            codes.push(Reason::Success);
            let Some(session) = self.sessions.get_mut(slot as usize) else { return };
            if session.is_durable() {
                ops.push(StoreOp::Unsubscribed { session: session.number, filter: written(&subscription) });
            }
        }
        self.sweep_replays(slot);
        let reply = Reply::Unsubscribed { packet_id, codes: codes.into_boxed_slice() };
        self.answer_when_stored(conn, None, reply, ops, fx);
    }

    pub(super) fn take_subscription(&mut self, slot: u32, text: &str) -> Option<Subscription> {
        let (group, filter) = match text.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
            Some((group, filter)) => (Some(group), filter),
            None => (TopicName::from_validated(text).is_queue().then_some(""), text),
        };
        self.take_known(slot, group, filter)
    }

    /// Takes the subscription of `group`, or in its own right, out of a session's list.
    pub(super) fn take_known(
        &mut self,
        slot: u32,
        group: Option<&str>,
        filter: &str,
    ) -> Option<Subscription> {
        let session = self.sessions.get_mut(slot as usize)?;
        let subscription = session.subscriptions.take(&self.seed, group, filter)?;
        if subscription.selector.is_some() {
            session.selects = session.subscriptions.iter().any(|other| other.selector.is_some());
        }
        if let Some(traffic) = session.traffic.as_mut().filter(|_| group.is_none()) {
            traffic.replays.end(&subscription);
        }
        Some(subscription)
    }

    /// Once after subscriptions were taken out, however many.
    pub(super) fn sweep_replays(&mut self, slot: u32) {
        if let Some(traffic) = self.session(slot).and_then(|session| session.traffic.as_mut()) {
            traffic.replays.sweep();
        }
    }

    /// Takes a subscription that has left its session's list out of the tree or its group.
    pub(super) fn leave_subscription(
        &mut self,
        now: Now,
        session: SessionId,
        subscription: &Subscription,
        fx: &mut Effects,
    ) {
        let Some(group) = &subscription.group else {
            self.shared.tree.unsubscribe(&subscription.filter, session);
            return;
        };
        let key = Arc::new(GroupKey { group: group.clone(), filter: subscription.filter.as_str().into() });
        let home = self.shared.home_of_group(&key.group, &key.filter);
        if home == self.id {
            self.leave_here(now, &key, session, fx);
        } else {
            self.send_peer(home, PeerMsg::Leave(key, session), fx);
        }
    }
}

/// A filter that was admitted: its place in the session's list, and whether it was not there before.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    index: usize,
    is_new: bool,
    qos: Qos,
}

/// The filter as the client wrote it.
pub(super) fn written(subscription: &Subscription) -> Box<str> {
    match subscription.group.as_deref() {
        Some(group) if !group.is_empty() => format!("$share/{group}/{}", subscription.filter.as_str()).into(),
        _ => subscription.filter.as_str().into(),
    }
}

/// Whether a filter would listen in on answers that are meant for others: below `$reply` only what is the client's own
/// can be subscribed to, and no wildcard.
fn is_anothers_reply(filter: &TopicFilter, client_id: &str) -> bool {
    if filter.first_level() != "$reply" {
        return false;
    }
    let own = reply_topic(client_id);
    let below = filter.as_str().strip_prefix(&*own);
    filter.kind() != FilterKind::Exact || !below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What an MQTT client is told that a queue does not take as a consumer.
fn refused_join(error: JoinError) -> Reason {
    match error {
        JoinError::Exclusive => Reason::NotAuthorized,
        JoinError::TooMany => Reason::QuotaExceeded,
    }
}
