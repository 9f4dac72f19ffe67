//! STOMP: what a connection asks for, and what it publishes. Its consumers, what they settle, and transactions are next
//! door.

use super::answers::{Place, Waiting};
use super::origin::{Answer, Origin, Source};
use super::{Engine, Talk, Timer};
use crate::consumer::{Beats, Receipt, Request, Send};
use crate::effects::{DropReason, Effect, Effects, Reply};
use crate::id::{ConnId, Now, Qos};
use crate::policy::{Action, Durability};
use crate::refusal::{Kind, Refusal};
use crate::store::{StoreOp, Ticket};

/// Our heart-beats leave after this part of the interval that was agreed on, in percent.
const BEAT_AFTER: u64 = 60;

impl Engine {
    /// What a STOMP client asks for.
    pub(super) fn request(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request<'_>,
        receipt: Option<Receipt>,
        fx: &mut Effects,
    ) {
        match request {
            Request::Send(send) => self.send(now, conn, send, receipt, fx),
            Request::Consume(consume) => {
                if let Err(refusal) = self.consume(now, conn, consume, receipt, fx) {
                    self.refuse_request(now, conn, receipt, refusal, fx);
                }
            }
            Request::Cancel { consumer, forgets } => {
                self.cancel(now, conn, *consumer, *forgets, receipt, fx);
            }
            Request::Forget { filter, durable } => self.forget(now, conn, filter, durable, receipt, fx),
            Request::Settle(settle) => self.settle(now, conn, settle, receipt, fx),
            Request::Commit(commit) => self.commit(now, conn, commit, receipt, fx),
            Request::Nothing => self.give_receipt(conn, receipt, fx),
            Request::Leave => {
                self.end_consumers(now, conn, fx);
                if let Some(talk) = self.talk(conn) {
                    talk.left = true;
                }
                self.answer(conn, Reply::Farewell(receipt), fx);
            }
        }
    }

    pub(super) fn talk(&mut self, conn: ConnId) -> Option<&mut Talk> {
        self.conn(conn)?.talk.as_deref_mut()
    }

    /// A connection of STOMP has its session.
    pub(super) fn begin_talk(&mut self, now: Now, conn: ConnId, beats: Beats) {
        let silence_max_ms = match beats.expected_ms {
            0 => beats.idle_ms,
            expected => expected.saturating_mul(2),
        };
        let Some(state) = self.conn(conn) else { return };
        state.talk = Some(Box::new(Talk { beats, ..Talk::default() }));
        state.silence_max_ms = silence_max_ms;
        if silence_max_ms > 0 {
            self.arm(now.mono_ms + u64::from(silence_max_ms), Timer::KeepAlive(conn));
        }
        if beats.sent_ms > 0 {
            self.arm(now.mono_ms + beat_after(beats), Timer::Beat(conn));
        }
    }

    /// Our sign of life. It is sent whatever else is: that costs one byte, and knowing would cost more.
    pub(super) fn beat_due(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        let Some(talk) = self.talk(conn) else { return };
        let after = beat_after(talk.beats);
        fx.reply(conn, Reply::Beat);
        self.arm(now.mono_ms + after, Timer::Beat(conn));
    }

    /// Nothing more is to be done than to say so, in turn.
    pub(super) fn give_receipt(&mut self, conn: ConnId, receipt: Option<Receipt>, fx: &mut Effects) {
        if let Some(receipt) = receipt {
            self.answer(conn, Reply::Receipt(receipt), fx);
        }
    }

    /// Ends a STOMP connection over one of its requests.
    pub(super) fn refuse_request(
        &mut self,
        now: Now,
        conn: ConnId,
        receipt: Option<Receipt>,
        refusal: Refusal,
        fx: &mut Effects,
    ) {
        if self.session_slot(conn).is_none() {
            return;
        }
        if let Some(receipt) = receipt {
            fx.reply(conn, Reply::Refused(receipt));
        }
        fx.push(Effect::Close(conn, refusal));
        self.detach(now, conn, false, fx);
    }

    /// The store could not take what a request is about.
    pub(super) fn store_failed_request(
        &mut self,
        now: Now,
        conn: ConnId,
        receipt: Option<Receipt>,
        fx: &mut Effects,
    ) {
        let detail = "it could not be stored (the disk is full or failing); send it again later";
        self.refuse_request(now, conn, receipt, Refusal::new(Kind::QuotaExceeded, detail), fx);
    }

    fn send(&mut self, now: Now, conn: ConnId, send: &Send<'_>, receipt: Option<Receipt>, fx: &mut Effects) {
        let origin = match self.check_send(conn, send) {
            Ok(origin) => Origin { answer: Answer::of(receipt), ..origin },
            Err(refusal) => return self.refuse_request(now, conn, receipt, refusal, fx),
        };
        self.count_send(send);
        if send.expires_in_ms == Some(0) {
            self.count_drop(now, DropReason::Expired, send.publish.topic.as_str(), fx);
            return self.give_receipt(conn, receipt, fx);
        }
        let mut send = *send;
        if send.publish.topic.is_queue() {
            send.publish.qos = send.publish.qos.max(Qos::AtLeastOnce);
        }
        self.take_in(now, Source::Sent(&send), origin, fx);
    }

    pub(super) fn count_send(&mut self, send: &Send<'_>) {
        if let Some(counter) = self.stats.messages_in.get_mut(usize::from(send.publish.qos.level())) {
            *counter += 1;
        }
        self.stats.payload_bytes_in += send.publish.payload.len() as u64;
        self.stats.stomp_in.count(send.publish.qos, send.publish.payload.len());
    }

    /// Whether the client of `conn` may publish this, and on whose behalf that is.
    pub(super) fn check_send(&mut self, conn: ConnId, send: &Send<'_>) -> Result<Origin, Refusal> {
        let publish = &send.publish;
        let topic = publish.topic.as_str();
        let slot = self.session_slot(conn);
        let Some(slot) = slot else {
            return Err(Refusal::new(Kind::ProtocolError, "the connection has no session"));
        };
        let limits = &self.policy.limits;
        if publish.qos > limits.max_qos {
            let detail = format!("qos:{} is above max_qos {}", publish.qos.level(), limits.max_qos.level());
            return Err(Refusal::new(Kind::QosNotSupported, detail));
        }
        if publish.retain && !limits.retain_available {
            let detail =
                format!("retain on {topic:?}, but no messages are retained (max_retained_messages = 0)");
            return Err(Refusal::new(Kind::RetainNotSupported, detail));
        }
        let (qos, retain) = (publish.qos, publish.retain && !publish.topic.is_queue());
        if !self.ask(slot, Action::Publish { topic, qos, retain }).is_allowed() {
            let detail = format!("no right to send to {topic:?}");
            return Err(Refusal::new(Kind::NotAuthorized, detail));
        }
        let stores = publish.qos > Qos::AtMostOnce || publish.retain || publish.topic.is_queue();
        let durability = if stores {
            let listener = self.conns.get(conn.slot as usize).and_then(|state| state.durability);
            self.policy.durability.of(&publish.topic, listener)
        } else {
            Durability::Never
        };
        let publisher = self.session_id(slot);
        Ok(Origin { publisher, conn: Some(conn), durability, ..Origin::UNHELD })
    }

    /// Gives a receipt, if one is wanted, once `op` is stored.
    pub(super) fn answer_request_when_stored(
        &mut self,
        conn: ConnId,
        origin: Origin,
        op: Option<StoreOp>,
        fx: &mut Effects,
    ) {
        let receipt = origin.answer.receipt();
        let waits = op.is_some() && origin.durability == Durability::Always;
        match op {
            Some(op) if waits => {
                let place = origin.place.unwrap_or_else(|| self.reserve_answer(conn));
                let ticket = self.receipt_ticket(place, receipt);
                fx.push(Effect::Store(ticket, op));
                self.bound_answers(conn, fx);
            }
            op => {
                fx.list.extend(op.map(|op| Effect::Store(Ticket::NONE, op)));
                match (origin.place, receipt) {
                    (Some(place), Some(receipt)) => self.fill(place, Reply::Receipt(receipt), fx),
                    (Some(place), None) => self.vacate(place, fx),
                    (None, receipt) => self.give_receipt(conn, receipt, fx),
                }
            }
        }
    }

    /// For what a receipt, if one is wanted, waits for; its failure ends the connection either way.
    pub(super) fn receipt_ticket(&mut self, place: Place, receipt: Option<Receipt>) -> Ticket {
        self.ticket(match receipt {
            Some(receipt) => Waiting::Answer {
                place,
                reply: Reply::Receipt(receipt),
                left: 1,
                failed: false,
                paused: false,
                undo: None,
            },
            None => Waiting::Unasked(place),
        })
    }

    /// A message could not be taken at all.
    pub(super) fn refuse_send(
        &mut self,
        now: Now,
        conn: ConnId,
        receipt: Option<Receipt>,
        reason: DropReason,
        fx: &mut Effects,
    ) {
        if reason == DropReason::StoreFailed {
            return self.store_failed_request(now, conn, receipt, fx);
        }
        if reason == DropReason::MemoryShort {
            let detail =
                "the broker's memory is used up (server.memory); consume what waits, or send again later";
            return self.refuse_request(now, conn, receipt, Refusal::new(Kind::QuotaExceeded, detail), fx);
        }
        let detail = "a recipient's queue is full, or there are as many queues as there may be (max_queued_messages, \
                      max_queued_bytes, max_queues); consume what waits, or send again later";
        self.refuse_request(now, conn, receipt, Refusal::new(Kind::QuotaExceeded, detail), fx);
    }
}

fn beat_after(beats: Beats) -> u64 {
    (u64::from(beats.sent_ms) * BEAT_AFTER / 100).max(1)
}
