//! Wills: checked at CONNECT, told to the store, published when they are due, each once.
//!
//! The store keeps a will until the message that came of it is there in its place, wherever a crash falls.

use std::sync::Arc;

use super::Engine;
use super::origin::{Origin, Source};
use crate::acl::Identity;
use crate::effects::{Connect, DropReason, Effect, Effects, WillRequest};
use crate::id::{Now, SessionId};
use crate::message::{Message, Publish};
use crate::policy::Action;
use crate::refusal::{Kind, Refusal};
use crate::session::{Standing, Will};
use crate::store::{KeptWill, SessionNumber, StoreOp, Ticket};

impl Engine {
    pub(super) fn check_will(
        &self,
        connect: &Connect<'_>,
        standing: &Standing,
        will: &WillRequest<'_>,
    ) -> Result<(), Refusal> {
        let limits = &self.policy.limits;
        let topic = will.publish.topic.as_str();
        if will.publish.qos > limits.max_qos {
            let (asked, most) = (will.publish.qos.level(), limits.max_qos.level());
            let detail = format!("will QoS {asked} is above max_qos {most}");
            return Err(Refusal::new(Kind::QosNotSupported, detail));
        }
        if will.publish.retain && !limits.retain_available {
            return Err(Refusal::new(Kind::RetainNotSupported, "will retain: retain_available is false"));
        }
        let Publish { qos, retain, .. } = will.publish;
        if !self.ask_for(connect, standing, Action::Publish { topic, qos, retain }).is_allowed() {
            let detail = format!("no right to publish the will to {topic:?}");
            return Err(Refusal::new(Kind::NotAuthorized, detail));
        }
        Ok(())
    }

    /// Tells the store of the will that a session has, which replaces an older one. While that is still to be published
    /// it has to wait, or a crash in between would lose it: see [`Self::will_published`].
    pub(super) fn keep_will(&self, slot: u32, fx: &mut Effects) {
        let Some(session) = self.sessions.get(slot as usize).filter(|session| session.wills_due == 0) else {
            return;
        };
        let Some(will) = &session.will else { return };
        let will = Box::new(KeptWill {
            client_id: session.client_id.clone(),
            user: session.user.clone(),
            message: Arc::clone(&will.message),
            delay_s: will.delay_s,
            expiry_s: will.expiry_s,
        });
        fx.push(Effect::Store(Ticket::NONE, StoreOp::WillKept { session: session.number, will }));
    }

    /// A will is on its way, or dropped for a reason that was counted: the store keeps the next one of its session, if
    /// that has brought one meanwhile.
    pub(super) fn will_published(&mut self, publisher: SessionId, fx: &mut Effects) {
        let slot = self.slot_of(publisher);
        if let Some(session) = slot.and_then(|slot| self.session(slot)) {
            session.wills_due = session.wills_due.saturating_sub(1);
        }
        will_gone(SessionNumber(publisher.incarnation), fx);
        if let Some(slot) = slot {
            self.keep_will(slot, fx);
        }
    }

    /// A session's will, if it has one, is due: it is published when what led to it is done.
    pub(super) fn will_due(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        let publisher = self.session_id(slot);
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let Some(will) = session.will.take() else { return };
        let client_id = session.client_id.clone();
        let is_allowed = self.ask(slot, publication(&will.message)).is_allowed();
        self.release_will(now, &client_id, is_allowed, publisher, &will.message, will.expiry_s, fx);
    }

    /// As [`Self::will_due`], for whoever the will was of, and may publish it or not.
    #[allow(clippy::too_many_arguments, reason = "a will, taken apart once")]
    fn release_will(
        &mut self,
        now: Now,
        client_id: &str,
        is_allowed: bool,
        publisher: SessionId,
        message: &Message,
        expiry_s: Option<u32>,
        fx: &mut Effects,
    ) {
        if !is_allowed {
            will_gone(SessionNumber(publisher.incarnation), fx);
            return self.count_drop(now, DropReason::NotAuthorized, client_id, fx);
        }
        self.stats.wills += 1;
        let publish = Publish {
            topic: message.topic(),
            fields: message.fields(),
            payload: message.payload(),
            qos: message.qos(),
            retain: message.retain(),
            dup: false,
            packet_id: None,
            expiry_s,
        };
        let message = self.pool.take(&publish, publisher, now.mono_ms);
        self.wills.push_back(message);
        if let Some(session) = self.slot_of(publisher).and_then(|slot| self.session(slot)) {
            session.wills_due = session.wills_due.saturating_add(1);
        }
    }

    /// The will of a client whose session is not kept, or has ended: there is nothing for it to wait for.
    pub(super) fn restore_will(
        &mut self,
        now: Now,
        number: SessionNumber,
        will: &KeptWill,
        fx: &mut Effects,
    ) {
        let who = Identity::kept(will.user.as_deref(), &will.client_id);
        let is_allowed = self.ask_for_kept(who, publication(&will.message)).is_allowed();
        let publisher = SessionId { worker: self.id, slot: u32::MAX, incarnation: number.0 };
        self.release_will(now, &will.client_id, is_allowed, publisher, &will.message, will.expiry_s, fx);
    }

    /// Publishes the wills of all connected clients (MQTT 5, section 3.1.2.5): the broker's end is not their good-bye. One
    /// that is to be delayed, and is not forgotten meanwhile, may still be cancelled by its client's return after the next
    /// start [MQTT-3.1.3-9].
    pub(super) fn shutdown(&mut self, now: Now, keeps_wills: bool, fx: &mut Effects) {
        let slots: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.conn.is_some())
            .filter(|(_, session)| {
                let waits = |will: &Will| keeps_wills && will.delay_s.min(session.expiry_s) > 0;
                session.will.as_ref().is_some_and(|will| !waits(will))
            })
            .map(|(slot, _)| slot as u32)
            .collect();
        for slot in slots {
            self.will_due(now, slot, fx);
        }
    }

    /// A message of the broker's own making: a will.
    pub(super) fn publish_own(
        &mut self,
        now: Now,
        message: Arc<Message>,
        publisher: SessionId,
        fx: &mut Effects,
    ) {
        let durability = self.policy.durability.of(&message.topic(), None);
        let origin = Origin { publisher, durability, ..Origin::UNHELD };
        self.take_in(now, Source::Owned(message), origin, fx);
    }

    /// A message has been taken in; if it was a will, the store is told behind it.
    pub(super) fn will_taken_in(&mut self, origin: Origin, fx: &mut Effects) {
        // What the broker says itself is nobody's.
        if origin.conn.is_none() && origin.publisher != SessionId::NOBODY {
            self.will_published(origin.publisher, fx);
        }
    }
}

/// What is asked about a will that is due.
fn publication(message: &Message) -> Action<'_> {
    Action::Publish { topic: message.topic().as_str(), qos: message.qos(), retain: message.retain() }
}

/// The store need not keep a will any more.
pub(super) fn will_gone(session: SessionNumber, fx: &mut Effects) {
    fx.push(Effect::Store(Ticket::NONE, StoreOp::WillGone { session }));
}

pub(super) fn own_will(request: &WillRequest<'_>) -> Will {
    let publish = Publish { expiry_s: None, ..request.publish };
    Will {
        message: Message::new(&publish, SessionId::NOBODY, 0),
        delay_s: request.delay_s,
        expiry_s: request.publish.expiry_s,
    }
}
