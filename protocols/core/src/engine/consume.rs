//! STOMP: a connection's consumers, each a session of its own, from SUBSCRIBE to the last delivery that is settled.

use std::sync::Arc;

use super::answers::{Place, Waiting};
use super::queues::{GroupKind, kept_op};
use super::{Engine, Pulled};
use crate::consumer::{Consume, ConsumerId, Receipt};
use crate::effects::{Effect, Effects, JoinError, Outlet, PeerMsg, Reply, RetainHandling};
use crate::group::{Outcome, QueueOptions};
use crate::id::{ConnId, Now, Qos, SessionId};
use crate::message::Message;
use crate::policy::Action;
use crate::queue::{Entry, Item};
use crate::refusal::{Kind, Refusal};
use crate::session::{Browsing, Consumer, Subscription, SubscriptionOptions};
use crate::store::{StoreEvent, Ticket};
use crate::topic::{Subscribed, TopicFilter};
use crate::trie::GroupKey;

impl Engine {
    pub(super) fn consume(
        &mut self,
        now: Now,
        conn: ConnId,
        consume: &Consume<'_>,
        receipt: Option<Receipt>,
        fx: &mut Effects,
    ) -> Result<(), Refusal> {
        let Some(main) = self.session_slot(conn) else { return Ok(()) };
        let (group, filter) = self.check_consume(conn, main, consume)?;
        let key = group.clone().map(|group| Arc::new(GroupKey { group, filter: filter.as_str().into() }));
        if let Some(key) = key.as_ref().filter(|key| key.group.is_empty()) {
            self.ensure_queue(key, fx).map_err(|error| refused_join(error, consume.filter))?;
        }
        // One that browses is no member: the queue does not notice it.
        let group = group.filter(|_| !consume.browses);
        let slot = self.enter_consumer(conn, main, consume, group, filter);
        let session = self.session_id(slot);
        if consume.browses
            && let Some(key) = key
        {
            let place = self.reserve_answer(conn);
            let home = self.shared.home_of_group(&key.group, &key.filter);
            let paused = home != self.id && self.pause_reads(conn, fx);
            let ticket = self.ticket(Waiting::Joining { place, session, receipt, paused });
            if home == self.id {
                let messages = self.browse_here(&key);
                self.browsed(now, session, ticket, messages, fx);
            } else {
                fx.push(Effect::Peer(home, PeerMsg::Browse { key, session, ticket }));
            }
            return Ok(());
        }
        let options = (key.is_some()).then(|| Box::new(consume.options.clone()));
        if let Some((key, member)) = self.home_join(slot, 0) {
            match self.join_here(&key, member, options.as_deref(), fx) {
                Ok(()) => self.begin_consuming(conn, None, consume.id, receipt, &key, fx),
                Err(error) => return Err(refused_join(error, consume.filter)),
            }
        } else if let Some((home, key, member)) = self.remote_join(slot, 0) {
            let place = self.reserve_answer(conn);
            // Joins are control and need no credit: one frame's, and no more, may be on its way.
            let paused = self.pause_reads(conn, fx);
            let ticket = self.ticket(Waiting::Joining { place, session, receipt, paused });
            fx.push(Effect::Peer(home, PeerMsg::Join { key, member, options, ticket }));
        } else {
            self.enter_in_tree(slot, 0);
            self.begin_replay(slot, 0, true, RetainHandling::Always);
            self.answer(conn, Reply::Consuming(consume.id, receipt), fx);
        }
        Ok(())
    }

    /// Whether a connection may have this consumer; the group that it would be a member of, and the filter.
    fn check_consume(
        &mut self,
        conn: ConnId,
        main: u32,
        consume: &Consume<'_>,
    ) -> Result<(Option<Box<str>>, TopicFilter), Refusal> {
        let limits = &self.policy.limits;
        let subscribed = Subscribed::parse(consume.filter, &limits.topic)
            .map_err(|error| Refusal::new(Kind::TopicFilterInvalid, error.to_string()))?;
        let (group, filter) = subscribed.into_parts();
        let group = match consume.durable {
            Some(name) if group.is_none() => Some(name.into()),
            _ => group,
        };
        if consume.browses && group.as_deref() != Some("") {
            let detail =
                format!("{:?} can't be browsed, only a queue can; subscribe without browser", consume.filter);
            return Err(Refusal::new(Kind::TopicFilterInvalid, detail));
        }
        if consume.no_local && group.is_some() {
            let detail = format!(
                "no-local does not go with {:?}: a queue, a group or a durable subscription has its messages from \
                 everybody; leave it out, or subscribe to the topic itself",
                consume.filter
            );
            return Err(Refusal::new(Kind::ProtocolError, detail));
        }
        let talk = self.conns.get(conn.slot as usize).and_then(|state| state.talk.as_ref());
        let (most, number) = (limits.max_subscriptions as usize, consume.id.0);
        if talk.is_some_and(|talk| talk.consumers.len() >= most) {
            let detail = format!(
                "{most} subscriptions on one connection already (max_subscriptions); unsubscribe first"
            );
            return Err(Refusal::new(Kind::QuotaExceeded, detail));
        }
        let browses = |(_, slot): &(ConsumerId, u32)| {
            let session = self.sessions.get(*slot as usize).and_then(|session| session.consumer.as_ref());
            session.is_some_and(|consumer| consumer.browsing != Browsing::No)
        };
        // What is shown is held in memory until it is read.
        if consume.browses && talk.is_some_and(|talk| talk.consumers.iter().any(browses)) {
            let detail = "this connection browses a queue already; read to browser:end first, or unsubscribe";
            return Err(Refusal::new(Kind::QuotaExceeded, detail));
        }
        // It would take over its own subscription.
        let is_same = |(_, slot): &(ConsumerId, u32)| {
            let session = self.sessions.get(*slot as usize);
            session.and_then(|session| session.subscriptions.get(0)).is_some_and(|known| {
                known.filter == filter && known.group == group && consume.durable.is_some()
            })
        };
        if talk.is_some_and(|talk| talk.consumers.iter().any(is_same)) {
            let detail = format!(
                "this connection consumes from its durable subscription to {:?} already; unsubscribe first",
                consume.filter
            );
            return Err(Refusal::new(Kind::ProtocolError, detail));
        }
        if talk.is_some_and(|talk| talk.place(consume.id).is_ok()) {
            return Err(Refusal::new(Kind::ProtocolError, format!("consumer {number} is there already")));
        }
        if !self.ask(main, Action::Subscribe(&filter)).is_allowed() {
            let detail = format!("no right to subscribe to {:?}", filter.as_str());
            return Err(Refusal::new(Kind::NotAuthorized, detail));
        }
        // Dead letters go out in the broker's name: whoever names where must be allowed to send there himself.
        let letters = consume.options.dead_letter.as_deref().filter(|topic| !topic.is_empty());
        if let Some(topic) = letters {
            let action = Action::Publish { topic, qos: Qos::AtLeastOnce, retain: false };
            if !self.ask(main, action).is_allowed() {
                let detail = format!("no right to send dead letters to {topic:?}");
                return Err(Refusal::new(Kind::NotAuthorized, detail));
            }
        }
        let says_something = *consume.options != QueueOptions::default();
        if let Some(group) = group.as_deref().filter(|_| says_something)
            && !self.may_manage(main, group, &filter)
        {
            let detail = format!(
                "no right to manage {:?}, so nothing can be said of what is to hold for it; leave the x- headers out",
                filter.as_str()
            );
            return Err(Refusal::new(Kind::NotAuthorized, detail));
        }
        Ok((group, filter))
    }

    /// The session of a consumer, with its one subscription, which the caller makes known.
    fn enter_consumer(
        &mut self,
        conn: ConnId,
        main: u32,
        consume: &Consume<'_>,
        group: Option<Box<str>>,
        filter: TopicFilter,
    ) -> u32 {
        let publisher = self.session_id(main);
        let of = self.sessions.get(main as usize);
        let (client_id, user) = of.map_or(("", None), |of| (&*of.client_id, of.user.as_deref()));
        let mut session = self.fresh_session(client_id, user);
        session.standing = of.map(|of| of.standing.clone()).unwrap_or_default();
        session.conn = Some(conn);
        session.window_max = consume.window.get();
        session.selects = consume.selector.is_some() || consume.no_local;
        let qos = if consume.acknowledges { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let options = SubscriptionOptions { qos, no_local: false, retain_as_published: false, id: None };
        let selector = consume.selector.clone();
        session.subscriptions.push(&self.seed, Subscription { filter, group, options, replay: 0, selector });
        session.consumer = Some(Box::new(Consumer {
            id: consume.id,
            acknowledges: consume.acknowledges,
            window: consume.window.get().into(),
            exclusive: consume.exclusive,
            not_from: consume.no_local.then_some(publisher),
            open: false,
            ready: false,
            cancelled: false,
            browsing: if consume.browses { Browsing::Asked } else { Browsing::No },
        }));
        let slot = self.sessions.insert(session) as u32;
        if let Some(talk) = self.talk(conn)
            && let Err(place) = talk.place(consume.id)
        {
            talk.consumers.insert(place, (consume.id, slot));
        }
        slot
    }

    /// A group's home has let a member in, or not.
    pub(super) fn joined(
        &mut self,
        now: Now,
        ticket: Ticket,
        joined: Result<(), JoinError>,
        fx: &mut Effects,
    ) {
        if let Some(Waiting::Joining { .. }) = self.waiting.get(ticket.0 as usize) {
            if let Some(Waiting::Joining { place, session, receipt, paused }) = self.take_waiting(ticket) {
                self.consumer_joined(now, place, session, receipt, joined, fx);
                if paused {
                    self.resume_reads(now, place.conn, fx);
                }
            }
            return;
        }
        if let Some(Waiting::Forgetting(_)) = self.waiting.get(ticket.0 as usize) {
            if let Some(Waiting::Forgetting(forgetting)) = self.take_waiting(ticket) {
                self.forgotten(now, *forgetting, joined, fx);
            }
            return;
        }
        let event = match joined {
            Ok(()) => StoreEvent::Settled(ticket),
            Err(_) => StoreEvent::Failed(ticket),
        };
        self.settled(now, event, fx);
    }

    pub(super) fn consumer_joined(
        &mut self,
        now: Now,
        place: Place,
        session: SessionId,
        receipt: Option<Receipt>,
        joined: Result<(), JoinError>,
        fx: &mut Effects,
    ) {
        let Some(slot) = self.slot_of(session) else {
            // Cancelled before its home had answered: there is nothing to let in or to refuse, but its SUBSCRIBE has
            // been dealt with, and the receipts behind it wait for its own.
            return match receipt {
                Some(receipt) => self.fill(place, Reply::Receipt(receipt), fx),
                None => self.vacate(place, fx),
            };
        };
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let (Some(conn), Some(consumer)) = (session.conn, &session.consumer) else { return };
        match joined {
            Ok(()) => {
                let id = consumer.id;
                match session.subscriptions.get(0).and_then(group_key) {
                    Some(key) => self.begin_consuming(conn, Some(place), id, receipt, &key, fx),
                    None => self.fill(place, Reply::Consuming(id, receipt), fx),
                }
            }
            Err(error) => {
                let filter = session.subscriptions.get(0).map_or("", |known| known.filter.as_str());
                let refusal = refused_join(error, filter);
                self.refuse_request(now, conn, receipt, refusal, fx);
            }
        }
    }

    /// A consumer is a member of its group. The receipt of a durable subscription says that it lasts: it waits for the
    /// store.
    fn begin_consuming(
        &mut self,
        conn: ConnId,
        place: Option<Place>,
        consumer: ConsumerId,
        receipt: Option<Receipt>,
        key: &GroupKey,
        fx: &mut Effects,
    ) {
        let lasts = receipt.is_some() && GroupKind::of(key) == GroupKind::Durable;
        let kept = if lasts { self.shared.kept_groups.get(key) } else { None };
        let ops = kept.iter().map(|kept| kept_op(key, kept)).collect();
        self.answer_when_stored(conn, place, Reply::Consuming(consumer, receipt), ops, fx);
    }

    /// What a queue's home has shown.
    pub(super) fn browsed(
        &mut self,
        now: Now,
        session: SessionId,
        ticket: Ticket,
        messages: Vec<Arc<Message>>,
        fx: &mut Effects,
    ) {
        if let Some(slot) = self.slot_of(session) {
            let spare = &mut self.spare_traffic;
            if let Some(session) = self.sessions.get_mut(slot as usize)
                && let Some(consumer) = &mut session.consumer
            {
                consumer.browsing = Browsing::Shown;
                let selector = session.subscriptions.get(0).and_then(|known| known.selector.clone());
                let traffic = session.traffic.get_or_insert_with(|| spare.pop().unwrap_or_default());
                let wanted = |message: &Arc<Message>| {
                    selector.as_ref().is_none_or(|selector| selector.matches(message))
                };
                for message in messages.into_iter().filter(wanted) {
                    let qos = Qos::AtMostOnce;
                    traffic.queue.push(Entry { message, extra: None, qos, retain: false, stored: false });
                }
            }
        }
        self.joined(now, ticket, Ok(()), fx);
    }

    /// The receipt of a consumer's SUBSCRIBE has left: messages may follow.
    pub(super) fn open_consumer(&mut self, conn: ConnId, consumer: ConsumerId, fx: &mut Effects) {
        let Some(slot) = self.consumer_slot(conn, consumer) else { return };
        if let Some(consumer) = self.session(slot).and_then(|session| session.consumer.as_mut()) {
            consumer.open = true;
        }
        self.wake(slot, fx);
    }

    /// The session of one of a connection's consumers.
    pub(super) fn consumer_slot(&mut self, conn: ConnId, consumer: ConsumerId) -> Option<u32> {
        let talk = self.talk(conn)?;
        let place = talk.place(consumer).ok()?;
        talk.consumers.get(place).map(|(_, slot)| *slot)
    }

    /// Writes what is due to a connection's consumers, in turn.
    pub(super) fn pull_consumers(
        &mut self,
        now: Now,
        conn: ConnId,
        outlet: &mut impl Outlet,
        fx: &mut Effects,
    ) -> Pulled {
        // Those that become ready meanwhile have to wait for the next turn.
        let count = self.talk(conn).map_or(0, |talk| talk.ready.len());
        for _ in 0..count {
            let Some(slot) = self.talk(conn).and_then(|talk| talk.ready.pop_front()) else { break };
            let Some(consumer) = self.session(slot).and_then(|session| session.consumer.as_mut()) else {
                continue;
            };
            consumer.ready = false;
            let (id, browsing) = (consumer.id, consumer.browsing);
            if self.pull_session(now, slot, outlet, fx) == Pulled::More {
                if let Some(consumer) = self.session(slot).and_then(|session| session.consumer.as_mut()) {
                    consumer.ready = true;
                }
                if let Some(talk) = self.talk(conn) {
                    talk.ready.push_back(slot);
                }
                return Pulled::More;
            }
            let is_empty = self.session(slot).is_some_and(|session| {
                session.traffic.as_ref().is_none_or(|traffic| traffic.queue.is_empty())
            });
            if browsing == Browsing::Shown && is_empty {
                outlet.end_of_browse(id);
                self.end_consumer(now, conn, slot, fx);
            }
        }
        if self.talk(conn).is_some_and(|talk| !talk.ready.is_empty()) {
            self.mark_dirty(conn, fx);
        }
        Pulled::Done
    }

    pub(super) fn cancel(
        &mut self,
        now: Now,
        conn: ConnId,
        consumer: ConsumerId,
        forgets: bool,
        receipt: Option<Receipt>,
        fx: &mut Effects,
    ) {
        let Some(slot) = self.consumer_slot(conn, consumer) else {
            let refusal = Refusal::new(Kind::ProtocolError, format!("no consumer {} is there", consumer.0));
            return self.refuse_request(now, conn, receipt, refusal, fx);
        };
        let name = self.session_id(slot);
        let subscriptions = self.session(slot).map(|session| std::mem::take(&mut session.subscriptions));
        let mut key = None;
        for subscription in subscriptions.into_iter().flatten() {
            self.leave_subscription(now, name, &subscription, fx);
            let filter = subscription.filter.as_str().into();
            key = subscription.group.map(|group| Arc::new(GroupKey { group, filter }));
        }
        self.withdraw(now, slot, fx);
        if let Some(session) = self.session(slot) {
            // What is on its way from other workers is not for it any more.
            session.selects = true;
            if let Some(consumer) = &mut session.consumer {
                consumer.cancelled = true;
            }
        }
        self.end_if_idle(now, conn, slot, fx);
        match key.filter(|_| forgets) {
            Some(key) => self.forget_groups(now, conn, vec![key], receipt, fx),
            None => self.give_receipt(conn, receipt, fx),
        }
    }

    /// Takes back what a consumer was to be sent and was not. Of a plain topic that is nobody else's, and nobody misses
    /// it: who unsubscribes wants no more.
    fn withdraw(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        let Some(traffic) = self.session(slot).and_then(|session| session.traffic.as_mut()) else { return };
        traffic.due.clear();
        traffic.replays.clear();
        let unsent: Vec<_> = traffic
            .window
            .iter()
            .filter(|flight| !flight.sent_before)
            .map(|flight| flight.packet_id)
            .collect();
        let mut entries: Vec<_> =
            unsent.into_iter().filter_map(|id| traffic.window.abandon(id)).map(|(entry, _)| entry).collect();
        while let Some(item) = traffic.queue.pop_item() {
            if let Item::Held(entry) = item {
                entries.push(entry);
            }
        }
        for entry in entries {
            if let Some(lease) = entry.lease() {
                self.lease_ended(now, lease, Outcome::Returned, fx);
            }
            self.pool.give_back(entry.message);
        }
        self.uncongest(slot);
        self.park_traffic(slot);
    }

    /// A cancelled consumer ends when nothing of it can be settled any more.
    pub(super) fn end_if_idle(&mut self, now: Now, conn: ConnId, slot: u32, fx: &mut Effects) {
        let is_over = self.session(slot).is_some_and(|session| {
            session.consumer.as_ref().is_some_and(|consumer| consumer.cancelled)
                && session.traffic.as_ref().is_none_or(|traffic| traffic.window.is_empty())
        });
        if is_over {
            self.end_consumer(now, conn, slot, fx);
        }
    }

    fn end_consumer(&mut self, now: Now, conn: ConnId, slot: u32, fx: &mut Effects) {
        if let Some(talk) = self.talk(conn) {
            talk.consumers.retain(|(_, of)| *of != slot);
            talk.ready.retain(|of| *of != slot);
        }
        self.end_session(now, slot, fx);
    }

    /// The connection ends: so do its consumers, and what they hold goes back to where others may have it.
    pub(super) fn end_consumers(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        let Some(talk) = self.talk(conn) else { return };
        talk.ready.clear();
        for (_, slot) in std::mem::take(&mut talk.consumers) {
            // Not delivered to any more while the others end.
            if let Some(session) = self.session(slot) {
                session.conn = None;
            }
            self.end_session(now, slot, fx);
        }
    }
}

/// The group of which a subscription makes a member.
fn group_key(subscription: &Subscription) -> Option<GroupKey> {
    let group = subscription.group.clone()?;
    Some(GroupKey { group, filter: subscription.filter.as_str().into() })
}

/// What a client is told whom a group does not let in.
fn refused_join(error: JoinError, filter: &str) -> Refusal {
    match error {
        JoinError::Exclusive => Refusal::new(
            Kind::NotAuthorized,
            format!(
                "{filter:?} is somebody's alone, or you want it for yourself alone and are not the only one; \
                 unsubscribe the other consumer first"
            ),
        ),
        JoinError::TooMany => Refusal::new(
            Kind::QuotaExceeded,
            format!("there are as many queues as there may be (max_queues); {filter:?} can't be made"),
        ),
    }
}
