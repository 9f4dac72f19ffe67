//! What a restart finds in the store becomes sessions, groups and retained messages again.
//!
//! All engines of a broker are filled together, before any of them serves: a session's groups may be at home with another
//! worker, and the number of workers may have changed since the store was written.

use std::sync::Arc;

use super::share::around;
use super::{Engine, Timer};
use crate::effects::{Effect, Effects};
use crate::group::Around;
use crate::hash::Map;
use crate::id::{Now, Qos, WorkerId};
use crate::message::Message;
use crate::queue::{Entry, Extra};
use crate::selector::Selector;
use crate::session::{Session, Standing, Subscription, SubscriptionOptions, Subscriptions, Traffic, Will};
use crate::store::{
    Exchange, Recovered, RecoveredGroup, RecoveredSession, RecoveredSubscription, SessionNumber, Ticket,
};
use crate::topic::{Subscribed, TopicLimits};
use crate::trie::GroupKey;

/// Fills the engines of one broker, in the order of their workers, with what its store has kept. Returns what each is to
/// have done before any of them serves, the first one's first: what the store is told of here is all among that, in the
/// order in which it has to hear of it.
pub fn recover(engines: &mut [Engine], recovered: Recovered, now: Now) -> Vec<Effects> {
    let mut effects: Vec<_> = engines.iter().map(|_| Effects::default()).collect();
    let Some(shared) = engines.first().map(|engine| Arc::clone(&engine.shared)) else { return effects };
    engines.iter_mut().for_each(|engine| engine.recovering = true);
    shared.resume_after(recovered.last_session, recovered.last_record);
    shared.retained.resume_after(recovered.last_version);
    for (version, message) in recovered.retained {
        shared.retained.restore(version, message);
    }
    // The groups' numbers and backlogs are there before their members join.
    let mut groups = Map::with_hasher(shared.seed().derive(0));
    for group in recovered.groups {
        groups.insert(group.number, (group.group.clone(), group.filter.clone()));
        let home = shared.home_of_group(&group.group, &group.filter);
        if let Some(engine) = engines.get_mut(home.index()) {
            engine.restore_group(now, group);
        }
    }
    let mut due_wills = Vec::new();
    for session in recovered.sessions {
        let home = shared.home_of_client(&session.client_id);
        if let (Some(engine), Some(fx)) = (engines.get_mut(home.index()), effects.get_mut(home.index())) {
            let due = engine.restore_session(now, session, &groups, fx);
            due_wills.extend(due.map(|slot| (home, slot)));
        }
    }
    let mut ops = Vec::new();
    exchange_mail(engines, &mut effects, &mut ops, now);
    for (engine, fx) in engines.iter_mut().zip(&mut effects) {
        engine.groups_recovered(now, fx);
    }
    for (home, slot) in due_wills {
        if let (Some(engine), Some(fx)) = (engines.get_mut(home.index()), effects.get_mut(home.index())) {
            engine.will_due(now, slot, fx);
        }
    }
    for will in recovered.wills {
        let home = shared.home_of_client(&will.will.client_id);
        if let (Some(engine), Some(fx)) = (engines.get_mut(home.index()), effects.get_mut(home.index())) {
            engine.restore_will(now, will.number, &will.will, fx);
        }
    }
    for (engine, fx) in engines.iter_mut().zip(&mut effects) {
        engine.work_off(now, fx);
    }
    exchange_mail(engines, &mut effects, &mut ops, now);
    if let Some(first) = effects.first_mut() {
        ops.append(&mut first.list);
        first.list = ops;
    }
    effects
}

/// The groups that the store knows: their share names and filters.
type Groups = Map<SessionNumber, (Box<str>, Box<str>)>;

/// A session's subscription as a member of `group`, if it still is one.
fn member_of<'a>(
    group: Option<&(Box<str>, Box<str>)>,
    subscriptions: &'a [RecoveredSubscription],
) -> Option<&'a RecoveredSubscription> {
    let (group, filter) = group?;
    let written = format!("$share/{group}/{filter}");
    subscriptions.iter().find(|subscription| *subscription.filter == *written)
}

/// What a group had lent to `member` before the restart: as [`Engine::lend`] made it, but without a lease. The store
/// keeps it for the group, which counts it no more: it stays with this session to its end [MQTT-4.8.2-4].
fn lent(
    message: Arc<Message>,
    group: SessionNumber,
    qos: Qos,
    member: Option<&RecoveredSubscription>,
) -> Entry {
    let subscription_ids = member.and_then(|member| member.id).map(|id| Arc::from([id]));
    let retain = message.retain() && member.is_some_and(|member| member.retain_as_published);
    let extra =
        Some(Box::new(Extra { subscription_ids, lease: None, group: Some(group), ..Extra::default() }));
    Entry { message, extra, qos, retain, stored: false }
}

/// Hands over what the engines have to say to each other, until they have nothing more to say. What nobody waits for at
/// the store goes to `ops`: there a message must not come behind another worker's acknowledgement of it.
fn exchange_mail(engines: &mut [Engine], effects: &mut [Effects], ops: &mut Vec<Effect>, now: Now) {
    loop {
        let mut mail = Vec::new();
        for (from, fx) in effects.iter_mut().enumerate() {
            // There are as many as workers, which a u16 counts.
            let from = WorkerId(from as u16);
            for effect in std::mem::take(&mut fx.list) {
                match effect {
                    Effect::Peer(to, message) => mail.push((from, to, message)),
                    Effect::Store(Ticket::NONE, _) => ops.push(effect),
                    other => fx.list.push(other),
                }
            }
        }
        if mail.is_empty() {
            return;
        }
        for (from, to, message) in mail {
            if let (Some(engine), Some(fx)) = (engines.get_mut(to.index()), effects.get_mut(to.index())) {
                engine.handle(now, crate::effects::Input::Peer(from, message), fx);
            }
        }
    }
}

impl Engine {
    /// Gives its slot if its will is due already.
    fn restore_session(
        &mut self,
        now: Now,
        recovered: RecoveredSession,
        groups: &Groups,
        fx: &mut Effects,
    ) -> Option<u32> {
        let RecoveredSession { number, client_id, user, expiry_s, expires_ms, will, .. } = recovered;
        let mut traffic = Box::new(Traffic::default());
        for stub in recovered.queue {
            traffic.queue.push_stub(stub);
        }
        let mut outbound = recovered.outbound;
        // The store may have heard of a younger one first, because it had failed to take the older one.
        outbound.sort_by_key(|(_, exchange)| match exchange {
            Exchange::Received => 0,
            Exchange::Sent { loaded, .. } => loaded.message.record(),
        });
        for (packet_id, exchange) in outbound {
            let (entry, owner) = match exchange {
                Exchange::Sent { loaded, owner, qos, retain } if owner == number => {
                    let extra = loaded
                        .subscription_ids
                        .map(|ids| Box::new(Extra { subscription_ids: Some(ids), ..Extra::default() }));
                    (Some(Entry { message: loaded.message, extra, qos, retain, stored: true }), owner)
                }
                Exchange::Sent { loaded, owner, qos, .. } => {
                    let member = member_of(groups.get(&owner), &recovered.subscriptions);
                    (Some(lent(loaded.message, owner, qos, member)), owner)
                }
                Exchange::Received => (None, number),
            };
            traffic.window.resume(packet_id, entry, owner);
        }
        for packet_id in recovered.inbound {
            traffic.received.insert(packet_id);
        }
        let due_ms = will.as_ref().map(|(_, due_ms)| *due_ms);
        let session = Session {
            number,
            client_id,
            user,
            standing: Standing::default(),
            conn: None,
            expiry_s,
            window_max: 1,
            subscriptions: Subscriptions::default(),
            will: will.map(|(will, _)| {
                Box::new(Will { message: will.message, delay_s: will.delay_s, expiry_s: will.expiry_s })
            }),
            traffic: (!traffic.is_quiet()).then_some(traffic),
            absence: 0,
            wills_due: 0,
            kept: true,
            congested: false,
            selects: false,
            consumer: None,
        };
        let slot = self.enter_session(session);
        self.shared.count_kept(true);
        for subscription in recovered.subscriptions {
            self.restore_subscription(slot, &subscription, fx);
        }
        self.congest(slot);
        if expires_ms != u64::MAX {
            self.arm(expires_ms, Timer::SessionExpiry { slot, number, absence: 0 });
        }
        // One that is due at once must not wait for the timer: its client's return would cancel it.
        let is_due = due_ms.is_some_and(|due_ms| due_ms <= now.mono_ms);
        if let Some(due_ms) = due_ms.filter(|_| !is_due) {
            self.arm(due_ms, Timer::WillDelay { slot, number, absence: 0 });
        }
        is_due.then_some(slot)
    }

    fn restore_subscription(&mut self, slot: u32, recovered: &RecoveredSubscription, fx: &mut Effects) {
        // It was within the limits when it was made; narrower ones do not take it away.
        let Ok(subscribed) = Subscribed::parse(&recovered.filter, &TopicLimits::WIDEST) else { return };
        let (group, filter) = subscribed.into_parts();
        // It was right when it was stored.
        let selector =
            recovered.selector.as_deref().and_then(|text| Selector::parse(text).ok()).map(Arc::new);
        let options = SubscriptionOptions {
            qos: recovered.qos,
            no_local: recovered.no_local,
            retain_as_published: recovered.retain_as_published,
            id: recovered.id,
        };
        let seed = &self.seed;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        session.selects |= selector.is_some();
        let index =
            session.subscriptions.push(seed, Subscription { filter, group, options, replay: 0, selector });
        self.enter_subscription(slot, index, fx);
    }

    fn restore_group(&mut self, now: Now, recovered: RecoveredGroup) {
        let key = Arc::new(GroupKey { group: recovered.group, filter: recovered.filter });
        let Some(slot) = self.new_group(&key) else { return };
        self.resume_group(now, slot, recovered.number, recovered.options);
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        for (message, deliveries) in recovered.queue {
            home.group.restore(message, deliveries, &around!(self, now, &home.terms));
        }
    }
}
