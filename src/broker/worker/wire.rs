//! Where a pull writes to.

use noctule_core::effects::{Delivery, Outlet, Sent};
use noctule_mqtt::server::Server;

use crate::reactor::OutBuf;

/// The writing end of a connection: its protocol machine over its out buffer.
pub(super) struct Wire<'a> {
    pub(super) server: &'a mut Server,
    pub(super) out: &'a mut OutBuf,
}

impl Outlet for Wire<'_> {
    fn has_room(&self) -> bool {
        self.out.has_room()
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        let sent = self.server.deliver(delivery, self.out.put());
        if let Sent::Written(_) = sent {
            self.out.put_payload(delivery.message);
        }
        sent
    }

    fn release(&mut self, packet_id: std::num::NonZeroU16) {
        self.server.release(packet_id, self.out.put());
    }
}
