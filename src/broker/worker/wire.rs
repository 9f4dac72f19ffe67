//! Where a pull writes to.

use noctule_core::effects::{Delivery, Outlet, Sent};
use std::num::NonZeroU16;

use bytes::BytesMut;
use noctule_core::consumer::ConsumerId;
use noctule_core::id::{ConnId, Now};
use noctule_core::refusal::Refusal;
use noctule_stomp::server::Scratch;

use super::guard::guarded;
use super::machine::Machine;
use super::watch::Watches;
use crate::reactor::OutBuf;

/// The writing end of a connection: its protocol machine over its out buffer.
pub(super) struct Wire<'a> {
    pub(super) machine: &'a mut Machine,
    pub(super) now: Now,
    pub(super) scratch: &'a mut Scratch,
    pub(super) out: &'a mut OutBuf,
    /// Set when the machine has met a bug: the connection is to end, and takes no more.
    pub(super) broken: Option<Refusal>,
    /// Where the packets of a connection are told that somebody watches.
    pub(super) watched: Option<(&'a Watches, ConnId)>,
}

impl Outlet for Wire<'_> {
    fn has_room(&self) -> bool {
        self.broken.is_none() && self.out.has_room()
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        let (machine, now) = (&mut *self.machine, self.now);
        let (scratch, out) = (&mut *self.scratch, &mut *self.out);
        let start = out.put().len();
        match guarded(|| machine.deliver(delivery, now, scratch, out)) {
            Ok(sent) => {
                if let Some((watches, conn)) = self.watched {
                    let is_stomp = matches!(self.machine, Machine::Stomp(_));
                    watches.tell_delivery(now, conn, is_stomp, delivery, sent);
                }
                sent
            }
            Err(refusal) => {
                out.put().truncate(start);
                self.broken = Some(refusal);
                // Not lost: above QoS 0 it is in flight, and comes again when the client does.
                Sent::Written(0)
            }
        }
    }

    fn release(&mut self, packet_id: NonZeroU16) {
        if let Some((watches, conn)) = self.watched {
            watches.tell_release(self.now, conn, packet_id);
        }
        self.write(|machine, out| machine.release(packet_id, out));
    }

    fn end_of_browse(&mut self, consumer: ConsumerId) {
        self.write(|machine, out| machine.end_of_browse(consumer, out));
    }
}

impl Wire<'_> {
    fn write(&mut self, what: impl FnOnce(&mut Machine, &mut BytesMut)) {
        let (machine, out) = (&mut *self.machine, self.out.put());
        let start = out.len();
        if let Err(refusal) = guarded(|| what(machine, out)) {
            out.truncate(start);
            self.broken = Some(refusal);
        }
    }
}
