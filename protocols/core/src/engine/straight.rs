//! The short way of a message that nobody is to keep: at QoS 0, to the one client of this worker that it is for.
//!
//! Most messages of a gateway are like that. On the long way each is copied into a message of its own, which waits in a
//! queue until its client is pulled; written at once it is copied once, from the publisher's bytes to the subscriber's,
//! behind whatever went there before. Whatever is not as simple as that takes the long way, and nothing is decided here
//! that would be decided otherwise there.

use super::Engine;
use crate::id::{ConnId, Now, Qos};
use crate::message::Publish;
use crate::policy::Action;
use crate::session::Traffic;
use crate::shared::Headroom;

impl Engine {
    /// The connection to which a client's PUBLISH may be written as it is, now; then [`Engine::went_straight`] is to be
    /// told. `None`: it goes by [`Input::Publish`](crate::effects::Input::Publish), which is right at any time, also
    /// when it can't be written after all. Nothing has been counted yet.
    #[inline]
    pub fn straight(&mut self, now: Now, conn: ConnId, publish: &Publish<'_>) -> Option<ConnId> {
        let is_plain = publish.qos == Qos::AtMostOnce && !publish.retain && publish.expiry_s != Some(0);
        if !is_plain || publish.topic.is_queue() || !self.parked.is_empty() || !self.hear(now, conn) {
            return None;
        }
        let from = self.session_slot(conn)?;
        let publisher = self.session_id(from);
        let set = self.cache.lookup(&self.shared.tree, publish.topic);
        let &[target] = set.targets() else { return None };
        if !set.groups().is_empty() || target.session == publisher || set.ids(&target).is_some() {
            return None;
        }
        let to = self.slot_of(target.session)?;
        let session = self.sessions.get(to as usize)?;
        let receiver = session.conn?;
        // What waits goes first.
        let waits = |traffic: &Traffic| !traffic.queue.is_empty() || !traffic.due.is_empty();
        if session.selects || session.consumer.is_some() || session.traffic.as_deref().is_some_and(waits) {
            return None;
        }
        // A change of rights is worked through by the inputs that come meanwhile.
        if self.shared.headroom() > Headroom::Ample || self.is_revising() {
            return None;
        }
        let topic = publish.topic.as_str();
        let action = Action::Publish { topic, qos: publish.qos, retain: false };
        let is_allowed =
            self.ask(from, action).is_allowed() && (!self.judge.asks || self.may_receive(to, topic));
        is_allowed.then_some(receiver)
    }

    /// A message of so many bytes of payload was written where [`Engine::straight`] said.
    #[inline]
    pub fn went_straight(&mut self, payload_bytes: usize) {
        self.stats.messages_in[0] += 1;
        self.stats.messages_out[0] += 1;
        self.stats.payload_bytes_in += payload_bytes as u64;
        self.stats.payload_bytes_out += payload_bytes as u64;
    }

    /// Whether what has just come may be sent to a session whose rights are known.
    fn may_receive(&mut self, slot: u32, topic: &str) -> bool {
        self.sessions.get(slot as usize).is_some_and(|session| session.standing.is_known)
            && self.ask(slot, Action::Receive(topic)).is_allowed()
    }
}
