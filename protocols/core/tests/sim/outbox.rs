//! A connection's out buffer, and the number that every message carries as its payload.

use std::num::NonZeroU16;

use noctule_core::effects::{Delivery, Outlet, Sent};
use noctule_core::id::Qos;

use crate::client::Down;

/// The writing end of a connection, with room for a few packets at a time.
pub(crate) struct Outbox {
    pub(crate) room: usize,
    pub(crate) packets: Vec<Down>,
    /// Takes no message whose number is a multiple of this, as too large.
    pub(crate) too_large: u32,
}

pub(crate) fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

impl Outlet for Outbox {
    fn has_room(&self) -> bool {
        self.packets.len() < self.room
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        assert!(self.has_room(), "written over the budget");
        assert_eq!(delivery.packet_id.is_some(), delivery.qos > Qos::AtMostOnce);
        let msg = number(delivery.message.payload());
        if self.too_large != 0 && msg.is_multiple_of(self.too_large) {
            return Sent::TooLarge;
        }
        let topic = delivery.message.topic();
        let down = Down::Publish {
            pid: delivery.packet_id,
            msg,
            qos: delivery.qos,
            dup: delivery.dup,
            retain: delivery.retain,
            ids: delivery.subscription_ids.iter().map(|id| id.get()).collect(),
            queue: topic.is_queue().then(|| (topic.as_str().to_owned(), delivery.deliveries)),
        };
        self.packets.push(down);
        Sent::Written(10)
    }

    fn end_of_browse(&mut self, _: noctule_core::consumer::ConsumerId) {}

    fn release(&mut self, packet_id: NonZeroU16) {
        self.packets.push(Down::Release(packet_id));
    }
}
