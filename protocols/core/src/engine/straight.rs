//! The short way of a message that nothing need be written down for: at QoS 0 or 1, to the one client of this worker that
//! it is for, which is there and has room.
//!
//! Most messages of a gateway are like that. On the long way each waits in a queue until its client is pulled; on this one
//! it is written from the publisher's bytes behind whatever went to the subscriber before, and only what may have to be
//! sent again is copied into a message of its own. Whatever is not as simple as that takes the long way, and nothing is
//! decided here that would be decided otherwise there.

use std::num::NonZeroU16;

use super::Engine;
use super::publish::ack;
use crate::acl::Answer;
use crate::effects::{Effects, Reason};
use crate::id::{ConnId, Now, Qos, SessionId};
use crate::message::Publish;
use crate::policy::Action;
use crate::queue::Entry;
use crate::session::Traffic;
use crate::shared::Headroom;

/// What a message that goes straight has of its own on its last hop; everything else is as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Straight {
    /// Where it is to be written.
    pub to: ConnId,
    /// Present for QoS 1; without it, it is QoS 0.
    pub packet_id: Option<NonZeroU16>,
    /// The receiver's session.
    slot: u32,
}

impl Engine {
    /// Where a client's PUBLISH may be written as it is, now; then [`Engine::went_straight`] is to be told at once.
    /// `None`: it goes by [`Input::Publish`](crate::effects::Input::Publish), which is right at any time, also when it
    /// can't be written after all. Nothing has been counted yet.
    #[inline]
    pub fn straight(&mut self, now: Now, conn: ConnId, publish: &Publish<'_>) -> Option<Straight> {
        let is_plain = publish.qos <= Qos::AtLeastOnce && !publish.retain && publish.expiry_s != Some(0);
        if !is_plain
            || publish.topic.is_queue()
            || !self.parked.is_empty()
            || !self.taps.is_empty()
            || !self.hear(now, conn)
        {
            return None;
        }
        let from = self.session_slot(conn)?;
        if publish.qos > Qos::AtMostOnce && !self.answers_at_once(conn) {
            return None;
        }
        let publisher = self.session_id(from);
        let set = self.cache.lookup(&self.shared.tree, publish.topic);
        let &[target] = set.targets() else { return None };
        if !set.groups().is_empty() || target.session == publisher || set.ids(&target).is_some() {
            return None;
        }
        let qos = publish.qos.min(target.qos);
        if publish.qos > Qos::AtMostOnce && target.durable {
            return None;
        }
        let slot = self.slot_of(target.session)?;
        // A change of rights is worked through by the inputs that come meanwhile.
        if self.shared.headroom() > Headroom::Ample || self.is_revising() {
            return None;
        }
        let topic = publish.topic.as_str();
        let action = Action::Publish { topic, qos: publish.qos, retain: false };
        if publish.qos > self.policy.limits.max_qos
            || !self.ask(from, action).is_allowed()
            || self.judge.asks && !self.may_receive(slot, topic, qos)
        {
            return None;
        }
        let spare = &mut self.spare_traffic;
        let session = self.sessions.get_mut(slot as usize)?;
        let to = session.conn?;
        if session.selects || session.consumer.is_some() || session.congested {
            return None;
        }
        // What waits goes first.
        let waits = |traffic: &Traffic| !traffic.queue.is_empty() || !traffic.due.is_empty();
        if session.traffic.as_deref().is_some_and(waits) {
            return None;
        }
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            _ => {
                let most = usize::from(session.window_max);
                let traffic = session.traffic.get_or_insert_with(|| spare.pop().unwrap_or_default());
                Some(traffic.window.free_id(most)?)
            }
        };
        Some(Straight { to, packet_id, slot })
    }

    /// A message was written as [`Engine::straight`] said. What is returned is to be acknowledged with success, now; `None`
    /// if nothing is, or if other answers go first.
    #[inline]
    pub fn went_straight(
        &mut self,
        now: Now,
        conn: ConnId,
        publish: &Publish<'_>,
        way: Straight,
        fx: &mut Effects,
    ) -> Option<NonZeroU16> {
        let bytes = publish.payload.len() as u64;
        self.stats.payload_bytes_in += bytes;
        self.stats.payload_bytes_out += bytes;
        let levels = (usize::from(publish.qos.level()), usize::from(way.packet_id.is_some()));
        if let (Some(came), Some(went)) =
            (self.stats.messages_in.get_mut(levels.0), self.stats.messages_out.get_mut(levels.1))
        {
            *came += 1;
            *went += 1;
        }
        if let Some(packet_id) = way.packet_id {
            let publisher = self.session_slot(conn).map_or(SessionId::NOBODY, |slot| self.session_id(slot));
            let message = self.pool.take(publish, publisher, now.mono_ms);
            let (qos, retain, stored) = (Qos::AtLeastOnce, false, false);
            let entry = Entry { message, extra: None, qos, retain, stored };
            if let Some(window) = self.window(way.slot) {
                window.begin_sent(packet_id, entry);
            }
        }
        let packet_id = publish.packet_id?;
        if fx.list.is_empty() {
            return Some(packet_id);
        }
        fx.reply(conn, ack(publish.qos, packet_id, Reason::Success));
        None
    }

    /// Whether a QoS 1 message of that connection would be acknowledged as soon as it is taken: nothing is owed before.
    fn answers_at_once(&self, conn: ConnId) -> bool {
        let state = self.conns.get(conn.slot as usize);
        state.is_some_and(|state| state.answers.is_none() && !state.withholding && state.unacknowledged == 0)
    }

    /// Whether what has just come may be sent at that QoS to a session whose rights are known.
    fn may_receive(&mut self, slot: u32, topic: &str, qos: Qos) -> bool {
        self.sessions.get(slot as usize).is_some_and(|session| session.standing.is_known)
            && matches!(self.ask(slot, Action::Receive(topic)), Answer::UpTo(most) if qos <= most)
    }
}
