//! STOMP: what consumers settle, and what becomes of it.

use std::num::NonZeroU16;

use super::Engine;
use super::connect::returned;
use super::publish::acknowledged;
use crate::consumer::{Receipt, Settle, Verdict};
use crate::delivery::{AckKind, Acked};
use crate::effects::{DropReason, Effects, Reply};
use crate::group::Outcome;
use crate::id::{ConnId, Now, SessionId};
use crate::queue::Entry;
use crate::store::{SessionNumber, StoreOp};

impl Engine {
    pub(super) fn settle(
        &mut self,
        now: Now,
        conn: ConnId,
        settle: &Settle<'_>,
        receipt: Option<Receipt>,
        fx: &mut Effects,
    ) {
        let slot = self.consumer_slot(conn, settle.consumer);
        let mut entries = Vec::new();
        if let Some(slot) = slot {
            let ids = settle.packet_ids.iter();
            entries.extend(ids.filter_map(|&id| self.take_delivered(slot, id, settle.verdict)));
        }
        if let Some(receipt) = receipt {
            // "Consumed" is a promise as well: the receipt says that the message will not come again. Its operation is the
            // first that the store hears of it, so that it may still cancel the message.
            let accepts = settle.verdict == Verdict::Accept;
            let ops = slot.filter(|_| accepts).map_or_else(Vec::new, |slot| {
                entries.iter().filter_map(|entry| self.settled_op(slot, entry)).collect()
            });
            self.answer_when_stored(conn, None, Reply::Receipt(receipt), ops, fx);
        }
        if let Some(slot) = slot {
            for entry in entries {
                self.conclude(now, slot, entry, settle.verdict, fx);
            }
            self.window_opened(slot, fx);
            self.end_if_idle(now, conn, slot, fx);
        } else {
            self.stats.stray_acks += settle.packet_ids.len() as u64;
        }
    }

    /// Takes a delivery that its consumer settles out of the window; counted if there is none (any more).
    pub(super) fn take_delivered(
        &mut self,
        slot: u32,
        packet_id: NonZeroU16,
        verdict: Verdict,
    ) -> Option<Entry> {
        let failed = verdict != Verdict::Accept;
        let window = self.window(slot);
        match window.map(|window| window.acknowledge(AckKind::PubAck, packet_id, failed)) {
            Some(Acked::Completed(entry, _)) => entry,
            _ => {
                self.stats.stray_acks += 1;
                None
            }
        }
    }

    /// What tells the store that a delivery is consumed, if it keeps the message.
    pub(super) fn settled_op(&self, slot: u32, entry: &Entry) -> Option<StoreOp> {
        let own = self.sessions.get(slot as usize)?.number;
        let session = entry.owner(own)?;
        Some(StoreOp::Acknowledged { session, record: entry.message.record() })
    }

    /// Does with a delivery as its consumer says.
    pub(super) fn conclude(&mut self, now: Now, slot: u32, entry: Entry, verdict: Verdict, fx: &mut Effects) {
        match (verdict, entry.lease()) {
            (Verdict::Accept, _) => self.finish_entry(now, slot, entry, fx),
            (Verdict::Requeue, Some(lease)) => {
                self.lease_ended(now, lease, Outcome::Released, fx);
                self.pool.give_back(entry.message);
            }
            (Verdict::Reject, Some(lease)) => {
                self.lease_ended(now, lease, Outcome::Rejected, fx);
                self.pool.give_back(entry.message);
            }
            (_, None) => self.drop_entry(now, slot, entry, DropReason::RefusedByClient, fx),
        }
    }

    /// As [`Self::conclude`] for a consumer that may have ended meanwhile.
    pub(super) fn conclude_for(
        &mut self,
        now: Now,
        session: SessionId,
        entry: Entry,
        verdict: Verdict,
        fx: &mut Effects,
    ) {
        if let Some(slot) = self.slot_of(session) {
            return self.conclude(now, slot, entry, verdict, fx);
        }
        if let Some(lease) = entry.lease() {
            let outcome = match verdict {
                Verdict::Accept => Outcome::Finished,
                Verdict::Requeue => returned(true),
                Verdict::Reject => Outcome::Rejected,
            };
            self.lease_ended(now, lease, outcome, fx);
        } else if let Some(owner) = entry.owner(SessionNumber(session.incarnation)) {
            acknowledged(owner, entry.message.record(), fx);
        }
        self.pool.give_back(entry.message);
    }
}
