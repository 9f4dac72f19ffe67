//! STOMP's transactions: what is sent and settled becomes true as a whole, once it is on stable storage.
//!
//! Nothing of a transaction is seen before: its messages go out and its settlements reach the queues when the store has
//! said that all of it is kept. Until then the connection is not read, so that nothing it sends later comes earlier.

use std::sync::Arc;

use super::Engine;
use super::answers::{Place, Waiting};
use super::origin::{Origin, Source};
use super::publish::recipients;
use crate::consumer::{Commit, Receipt, Send, Verdict};
use crate::effects::{DropReason, Effect, Effects, Reply};
use crate::id::{ConnId, Now, Qos, SessionId};
use crate::matches::MatchSet;
use crate::message::Message;
use crate::policy::Durability;
use crate::queue::Entry;
use crate::refusal::{Kind, Refusal};
use crate::store::StoreOp;
use crate::topic::TopicName;
use crate::trie::GroupKey;

/// A message of a transaction.
#[derive(Debug)]
struct Sending {
    message: Arc<Message>,
    set: Arc<MatchSet>,
    origin: Origin,
}

/// A settlement of a transaction: its delivery is in no window any more.
#[derive(Debug)]
struct Settling {
    consumer: SessionId,
    entry: Entry,
    verdict: Verdict,
}

/// A transaction on its way to the store.
#[derive(Debug)]
pub(super) struct Committing {
    place: Place,
    receipt: Option<Receipt>,
    sends: Vec<Sending>,
    settles: Vec<Settling>,
}

impl Engine {
    pub(super) fn commit(
        &mut self,
        now: Now,
        conn: ConnId,
        commit: &Commit<'_>,
        receipt: Option<Receipt>,
        fx: &mut Effects,
    ) {
        // Committed is at least once, whatever each message would have been by itself.
        let mut asked = commit.sends.to_vec();
        for send in &mut asked {
            send.publish.qos = send.publish.qos.max(Qos::AtLeastOnce);
        }
        let sends = match self.check_commit(conn, &asked, fx) {
            Ok(origins) => self.make_sends(now, &asked, origins, fx),
            Err(refusal) => return self.refuse_request(now, conn, receipt, refusal, fx),
        };
        let mut ops: Vec<_> = sends.iter().filter_map(stored).collect();
        let mut settles = Vec::new();
        for settle in commit.settles {
            let Some(slot) = self.consumer_slot(conn, settle.consumer) else {
                self.stats.stray_acks += settle.packet_ids.len() as u64;
                continue;
            };
            let consumer = self.session_id(slot);
            for &packet_id in settle.packet_ids {
                let Some(entry) = self.take_delivered(slot, packet_id, settle.verdict) else { continue };
                if settle.verdict == Verdict::Accept {
                    ops.extend(self.settled_op(slot, &entry));
                }
                settles.push(Settling { consumer, entry, verdict: settle.verdict });
            }
            self.window_opened(slot, fx);
            self.end_if_idle(now, conn, slot, fx);
        }
        let place = self.reserve_answer(conn);
        let committing = Committing { place, receipt, sends, settles };
        if ops.is_empty() {
            return self.carry_out(now, committing, fx);
        }
        self.pause_reads(conn, fx);
        let ticket = self.ticket(Waiting::Commit(Box::new(committing)));
        fx.push(Effect::Store(ticket, StoreOp::Transaction(ops.into_boxed_slice())));
    }

    /// Whether all of it may be done. Nothing has been done yet, save that queues are there.
    fn check_commit(
        &mut self,
        conn: ConnId,
        sends: &[Send<'_>],
        fx: &mut Effects,
    ) -> Result<Vec<Origin>, Refusal> {
        let mut origins = Vec::with_capacity(sends.len());
        for send in sends {
            let origin = self.check_send(conn, send)?;
            let topic = send.publish.topic;
            if origin.durability != Durability::Never && self.shared.refuses(origin.durability) {
                let detail =
                    "the store takes nothing for now (the disk is full or failing); begin again later";
                return Err(Refusal::new(Kind::QuotaExceeded, detail));
            }
            if topic.is_queue() {
                let key = Arc::new(GroupKey { group: Box::default(), filter: topic.as_str().into() });
                self.ensure_queue(&key, fx).map_err(|_| {
                    let detail = format!(
                        "there are as many queues as there may be (max_queues); {topic:?} can't be made"
                    );
                    Refusal::new(Kind::QuotaExceeded, detail)
                })?;
            }
            // What has expired is sent to nobody.
            if send.expires_in_ms != Some(0) {
                self.check_room(conn, topic)?;
            }
            origins.push(origin);
        }
        Ok(origins)
    }

    /// Whether everybody whom a message would go to has room. A transaction can't wait for it: it is all or nothing.
    fn check_room(&mut self, conn: ConnId, topic: TopicName<'_>) -> Result<(), Refusal> {
        let set = Arc::clone(self.cache.lookup(&self.shared.tree, topic));
        if let Some(hurdle) = self.hurdle_for(conn, &set) {
            let detail = self.hurdle_detail(&hurdle, "; nothing of the transaction has happened");
            return Err(Refusal::new(Kind::QuotaExceeded, detail));
        }
        if self.subscriber_refuses(&set) {
            let detail = format!(
                "the queue of a subscriber to {topic:?} is full (max_queued_messages, max_queued_bytes), so nothing of \
                 the transaction has happened; consume what waits, or begin again later",
                topic = topic.as_str()
            );
            return Err(Refusal::new(Kind::QuotaExceeded, detail));
        }
        Ok(())
    }

    fn make_sends(
        &mut self,
        now: Now,
        asked: &[Send<'_>],
        origins: Vec<Origin>,
        fx: &mut Effects,
    ) -> Vec<Sending> {
        let mut sends = Vec::with_capacity(origins.len());
        for (send, origin) in asked.iter().zip(origins) {
            self.count_send(send);
            if send.expires_in_ms == Some(0) {
                self.count_drop(now, DropReason::Expired, send.publish.topic.as_str(), fx);
                continue;
            }
            let set = Arc::clone(self.cache.lookup(&self.shared.tree, send.publish.topic));
            let retain = send.publish.retain && !send.publish.topic.is_queue();
            let stores = origin.durability != Durability::Never;
            let record = if stores && (retain || set.has_durable(origin.publisher)) {
                self.shared.next_record()
            } else {
                0
            };
            let message = self.materialise(now, Source::Sent(send), origin.publisher, record);
            let version = if retain { self.shared.retained.reserve() } else { 0 };
            let spare_record = if retain { self.shared.next_record() } else { 0 };
            sends.push(Sending { message, set, origin: Origin { version, spare_record, ..origin } });
        }
        sends
    }

    /// The store has the transaction, or could not take it: then none of it has happened.
    pub(super) fn committed(&mut self, now: Now, committing: Committing, failed: bool, fx: &mut Effects) {
        let conn = committing.place.conn;
        if !failed {
            self.carry_out(now, committing, fx);
            return self.resume_reads(now, conn, fx);
        }
        for settling in committing.settles {
            self.conclude_for(now, settling.consumer, settling.entry, Verdict::Requeue, fx);
        }
        self.count_drop(now, DropReason::StoreFailed, "store", fx);
        self.resume_reads(now, conn, fx);
        self.store_failed_request(now, conn, committing.receipt, fx);
    }

    fn carry_out(&mut self, now: Now, committing: Committing, fx: &mut Effects) {
        let Committing { place, receipt, sends, settles } = committing;
        for settling in settles {
            self.conclude_for(now, settling.consumer, settling.entry, settling.verdict, fx);
        }
        for Sending { message, set, origin } in sends {
            if !self.taps.is_empty() {
                self.let_hear(&Source::Owned(Arc::clone(&message)), origin);
            }
            if self.must_park(&set) {
                self.park(message, origin, Some(set), fx);
            } else {
                self.send_held(now, message, &set, origin, fx);
            }
        }
        match receipt {
            Some(receipt) => self.fill(place, Reply::Receipt(receipt), fx),
            None => self.vacate(place, fx),
        }
    }
}

/// What the store is to keep of a message, if anything.
fn stored(sending: &Sending) -> Option<StoreOp> {
    let Sending { message, set, origin } = sending;
    if origin.durability == Durability::Never {
        return None;
    }
    let recipients = recipients(message, set);
    let retained = (origin.version != 0).then_some(origin.version);
    (retained.is_some() || !recipients.is_empty()).then(|| StoreOp::Publish {
        message: Arc::clone(message),
        recipients,
        retained,
        inbound: None,
    })
}
