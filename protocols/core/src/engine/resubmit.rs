//! After the store has lost what it held: what this engine still knows is submitted again, so that what is acknowledged
//! from now on survives the next restart.
//!
//! Messages get new numbers, each holder's its own: the store may still hear of the old ones. What was in the store
//! alone is gone, and counted.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Engine;
use crate::effects::{DropReason, Effect, Effects};
use crate::id::{Now, Qos, WorkerId};
use crate::message::{Message, Restored};
use crate::queue::{Entry, Item};
use crate::session::Session;
use crate::shared::Shared;
use crate::store::{Recipient, SessionNumber, StoreOp, Ticket};
use crate::topic::TopicName;

impl Engine {
    /// Submits everything that the store is to know of this engine's, and of what all share if this is the first worker.
    pub(super) fn submit_again(&mut self, now: Now, fx: &mut Effects) {
        let slots: Vec<_> = self.sessions.iter().map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            self.submit_session(slot, fx);
            self.submit_traffic(now, slot, fx);
        }
        self.submit_groups(fx);
        if self.id == WorkerId(0) {
            for (version, message) in self.shared.retained.all() {
                let recipients = Box::default();
                later(StoreOp::Publish { message, recipients, retained: Some(version), inbound: None }, fx);
            }
        }
    }

    fn submit_session(&self, slot: u32, fx: &mut Effects) {
        self.keep_will(slot, fx);
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let number = session.number;
        if !session.kept {
            return;
        }
        let kept = StoreOp::SessionKept {
            session: number,
            client_id: session.client_id.clone(),
            user: session.user.clone(),
            expiry_s: session.expiry_s,
        };
        later(kept, fx);
        if session.conn.is_none() {
            later(StoreOp::Presence { session: number, online: false }, fx);
        }
        for index in 0..session.subscriptions.len() {
            if let Some(op) = self.subscribed_op(slot, index) {
                later(op, fx);
            }
        }
    }

    /// What waits for a session and what is under way.
    fn submit_traffic(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        let shared = Arc::clone(&self.shared);
        let Some(session) = self.sessions.get_mut(slot as usize).filter(|session| session.kept) else {
            return;
        };
        let Session { number, traffic: Some(traffic), .. } = session else { return };
        let number = *number;
        for flight in traffic.window.iter_mut() {
            let (packet_id, owner, kept) = (flight.packet_id.get(), flight.owner, flight.is_kept());
            match &mut flight.entry {
                Some(entry) if entry.stored => {
                    submit_entry(&shared, number, entry, fx);
                    flight.record = entry.message.record();
                    if kept {
                        let record = flight.record;
                        later(
                            StoreOp::OutboundSent { session: number, owner: number, record, packet_id },
                            fx,
                        );
                    }
                }
                // The message is a group's, which submits it, or nobody's; the packet id must not be another message's.
                Some(entry) if entry.qos == Qos::ExactlyOnce => {
                    (flight.owner, flight.record) = (number, 0);
                    let op =
                        StoreOp::OutboundReceived { session: number, owner: number, record: 0, packet_id };
                    later(op, fx);
                }
                Some(_) => flight.owner = SessionNumber::default(),
                None if kept => {
                    later(StoreOp::OutboundReceived { session: number, owner, record: 0, packet_id }, fx);
                }
                None => {}
            }
        }
        for packet_id in traffic.received.iter() {
            let inbound = Some((number, packet_id.get()));
            let (message, recipients) = (nothing(), Box::default());
            later(StoreOp::Publish { message, recipients, retained: None, inbound }, fx);
        }
        traffic.queue.change(|entry| {
            if entry.stored {
                submit_entry(&shared, number, entry, fx);
            }
        });
        for stub in traffic.queue.take_stubs() {
            self.drop_item(now, slot, Item::Stub(stub), DropReason::StoreLost, fx);
        }
    }

    fn submit_groups(&mut self, fx: &mut Effects) {
        self.submit_kept_again(fx);
        let shared = Arc::clone(&self.shared);
        for (_, home) in &mut self.groups {
            home.submit_again(fx, |session, message| {
                let (qos, retain) = (message.qos(), message.retain());
                submit(&shared, Recipient { session, qos, retain, subscription_ids: None }, message)
            });
        }
    }
}

/// A message under a new number, and what makes the store keep it for `recipient`.
pub(super) fn submit(shared: &Shared, recipient: Recipient, message: &Message) -> (Arc<Message>, StoreOp) {
    let message = message.with_record(shared.next_record());
    let recipients = Box::new([recipient]);
    (Arc::clone(&message), StoreOp::Publish { message, recipients, retained: None, inbound: None })
}

fn submit_entry(shared: &Shared, session: SessionNumber, entry: &mut Entry, fx: &mut Effects) {
    let subscription_ids: Option<Arc<[NonZeroU32]>> =
        entry.extra.as_ref().and_then(|extra| extra.subscription_ids.clone());
    let recipient = Recipient { session, qos: entry.qos, retain: entry.retain, subscription_ids };
    let (message, op) = submit(shared, recipient, &entry.message);
    entry.message = message;
    later(op, fx);
}

/// For an operation that is about a packet id alone.
fn nothing() -> Arc<Message> {
    Message::restore(&Restored {
        topic: TopicName::from_validated(""),
        fields: &[],
        payload: &[],
        qos: Qos::ExactlyOnce,
        retain: false,
        expires_ms: u64::MAX,
        record: 0,
    })
}

fn later(op: StoreOp, fx: &mut Effects) {
    fx.push(Effect::Store(Ticket::NONE, op));
}
