//! What a restart finds in the store becomes sessions, groups and retained messages again.
//!
//! All engines of a broker are filled together, before any of them serves: a session's groups may be at home with another
//! worker, and the number of workers may have changed since the store was written.

use std::sync::Arc;

use super::{Engine, Timer};
use crate::effects::{Effect, Effects};
use crate::id::{Now, SessionId, WorkerId};
use crate::policy::Identity;
use crate::queue::{Entry, Extra};
use crate::session::{Session, Subscription, SubscriptionOptions, Subscriptions, Traffic, Will};
use crate::store::{
    Exchange, KeptWill, Recovered, RecoveredGroup, RecoveredSession, RecoveredSubscription, SessionNumber,
};
use crate::topic::{Subscribed, TopicLimits};
use crate::trie::GroupKey;

/// Fills the engines of one broker, in the order of their workers, with what its store has kept. Returns what each is to
/// have done before it serves.
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
    for group in recovered.groups {
        let home = shared.home_of_group(&group.group, &group.filter);
        if let Some(engine) = engines.get_mut(home.index()) {
            engine.restore_group(group);
        }
    }
    for session in recovered.sessions {
        let home = shared.home_of_client(&session.client_id);
        if let (Some(engine), Some(fx)) = (engines.get_mut(home.index()), effects.get_mut(home.index())) {
            engine.restore_session(session, fx);
        }
    }
    exchange_mail(engines, &mut effects, now);
    for (engine, fx) in engines.iter_mut().zip(&mut effects) {
        engine.groups_recovered(fx);
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
    exchange_mail(engines, &mut effects, now);
    effects
}

/// Hands over what the engines have to say to each other, until they have nothing more to say.
fn exchange_mail(engines: &mut [Engine], effects: &mut [Effects], now: Now) {
    loop {
        let mut mail = Vec::new();
        for (from, fx) in effects.iter_mut().enumerate() {
            // There are as many as workers, which a u16 counts.
            let from = WorkerId(from as u16);
            for effect in std::mem::take(&mut fx.list) {
                match effect {
                    Effect::Peer(to, message) => mail.push((from, to, message)),
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
    fn restore_session(&mut self, recovered: RecoveredSession, fx: &mut Effects) {
        let RecoveredSession { number, client_id, user, expiry_s, expires_ms, will, .. } = recovered;
        let mut traffic = Box::new(Traffic::default());
        for stub in recovered.queue {
            traffic.queue.push_stub(stub);
        }
        for (packet_id, exchange) in recovered.outbound {
            let (entry, owner) = match exchange {
                Exchange::Sent { loaded, owner, qos, retain } => {
                    let stored = owner == number;
                    let group = (!stored).then_some(owner);
                    let extra = (loaded.subscription_ids.is_some() || group.is_some()).then(|| {
                        Box::new(Extra { subscription_ids: loaded.subscription_ids, lease: None, group })
                    });
                    (Some(Entry { message: loaded.message, extra, qos, retain, stored }), owner)
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
            conn: None,
            expiry_s,
            window_max: 1,
            subscriptions: Subscriptions::default(),
            will: will.map(|(will, _)| {
                Box::new(Will { message: will.message, delay_s: will.delay_s, expiry_s: will.expiry_s })
            }),
            traffic: (!traffic.is_quiet()).then_some(traffic),
            absence: 0,
            kept: true,
            congested: false,
        };
        let slot = self.enter_session(session);
        self.shared.count_kept(true);
        for subscription in recovered.subscriptions {
            self.restore_subscription(slot, &subscription, fx);
        }
        self.uncongest(slot);
        if let Some(due_ms) = due_ms {
            self.arm(due_ms, Timer::WillDelay { slot, number, absence: 0 });
        }
        if expires_ms != u64::MAX {
            self.arm(expires_ms, Timer::SessionExpiry { slot, number, absence: 0 });
        }
    }

    fn restore_subscription(&mut self, slot: u32, recovered: &RecoveredSubscription, fx: &mut Effects) {
        // It was within the limits when it was made; narrower ones do not take it away.
        let (filter, group) = match Subscribed::parse(&recovered.filter, &TopicLimits::WIDEST) {
            Ok(Subscribed::Plain(filter)) => (filter, None),
            Ok(Subscribed::Shared { group, filter }) => (filter, Some(group)),
            Err(_) => return,
        };
        let options = SubscriptionOptions {
            qos: recovered.qos,
            no_local: recovered.no_local,
            retain_as_published: recovered.retain_as_published,
            id: recovered.id,
        };
        let seed = &self.seed;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let index = session.subscriptions.push(seed, Subscription { filter, group, options, replay: 0 });
        self.enter_subscription(slot, index, fx);
    }

    fn restore_group(&mut self, recovered: RecoveredGroup) {
        let key = Arc::new(GroupKey { group: recovered.group, filter: recovered.filter });
        let Some(slot) = self.new_group(&key) else { return };
        let Some(home) = self.groups.get_mut(slot as usize) else { return };
        home.resume(recovered.number, recovered.queue);
    }

    /// The will of a client that was connected and whose session is not kept: there is nothing for it to wait for.
    fn restore_will(&mut self, now: Now, number: SessionNumber, will: &KeptWill, fx: &mut Effects) {
        let who = Identity { user: will.user.as_deref(), client_id: &will.client_id };
        let publisher = SessionId { worker: self.id, slot: u32::MAX, incarnation: number.0 };
        self.release_will(now, who, publisher, &will.message, will.expiry_s, fx);
    }
}
