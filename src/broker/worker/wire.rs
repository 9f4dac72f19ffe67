//! Where a pull writes to.

use noctule_core::effects::{Delivery, Outlet, Sent};
use noctule_core::refusal::Refusal;
use noctule_mqtt::server::Server;

use super::guard::guarded;
use crate::reactor::OutBuf;

/// The writing end of a connection: its protocol machine over its out buffer.
pub(super) struct Wire<'a> {
    pub(super) server: &'a mut Server,
    pub(super) out: &'a mut OutBuf,
    /// Set when the machine has met a bug: the connection is to end, and takes no more.
    pub(super) broken: Option<Refusal>,
}

impl Outlet for Wire<'_> {
    fn has_room(&self) -> bool {
        self.broken.is_none() && self.out.has_room()
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        let (server, out) = (&mut *self.server, self.out.put());
        let start = out.len();
        match guarded(|| server.deliver(delivery, out)) {
            Ok(sent) => {
                if let Sent::Written(_) = sent {
                    self.out.put_payload(delivery.message);
                }
                sent
            }
            Err(refusal) => {
                out.truncate(start);
                self.broken = Some(refusal);
                // Not lost: above QoS 0 it is in flight, and comes again when the client does.
                Sent::Written(0)
            }
        }
    }

    fn end_of_browse(&mut self, _: noctule_core::consumer::ConsumerId) {}

    fn release(&mut self, packet_id: std::num::NonZeroU16) {
        let (server, out) = (&*self.server, self.out.put());
        let start = out.len();
        if let Err(refusal) = guarded(|| server.release(packet_id, out)) {
            out.truncate(start);
            self.broken = Some(refusal);
        }
    }
}
