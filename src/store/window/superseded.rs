//! Which operations say nothing any more because of later ones: for when the disk is away for long.
//!
//! Within one commit the log writes a row once anyway; this is only about memory. Acknowledgements stay, because the
//! end of a session does not name the messages that had been acknowledged before.

use std::collections::HashSet;

use noctule_core::store::{SessionNumber, StoreOp, Ticket};

use super::list::Entry;

/// What a later operation has already said.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Said {
    Attributes(SessionNumber),
    Presence(SessionNumber),
    End(SessionNumber),
    Subscription(SessionNumber, Box<str>),
    Will(SessionNumber),
    Exchange(SessionNumber, u16),
    Deliveries(SessionNumber, u64),
}

/// What was said later than the operation looked at: to be shown the operations from the newest to the oldest.
#[derive(Debug, Default)]
pub(super) struct Later {
    said: HashSet<Said>,
}

impl Later {
    /// The operation, or what it still says; `None` if that is nothing. What somebody waits for stays as it is.
    pub(super) fn without_superseded(&mut self, mut entry: Entry) -> Option<Entry> {
        let superseded = self.hear(&entry.op);
        if !superseded || entry.ticket != Ticket::NONE {
            return Some(entry);
        }
        // It was an acknowledgement as well.
        let StoreOp::OutboundReceived { owner, record, .. } = entry.op else { return None };
        entry.op = StoreOp::Acknowledged { session: owner, record };
        Some(entry)
    }

    /// Notes what the operation says; whether it had been said.
    fn hear(&mut self, op: &StoreOp) -> bool {
        match op {
            StoreOp::SessionKept { session, .. } => {
                self.say(Said::Presence(*session));
                self.say(Said::Attributes(*session)) || self.has_ended(*session)
            }
            StoreOp::Presence { session, .. } => {
                self.say(Said::Presence(*session)) || self.has_ended(*session)
            }
            StoreOp::Subscribed { session, filter, .. } | StoreOp::Unsubscribed { session, filter } => {
                self.say(Said::Subscription(*session, filter.clone())) || self.has_ended(*session)
            }
            StoreOp::WillKept { session, .. } | StoreOp::WillGone { session } => {
                self.say(Said::Will(*session))
            }
            StoreOp::OutboundSent { session, packet_id, .. }
            | StoreOp::OutboundReceived { session, packet_id, .. }
            | StoreOp::OutboundCompleted { session, packet_id } => {
                self.say(Said::Exchange(*session, *packet_id)) || self.has_ended(*session)
            }
            StoreOp::GroupKept { session, .. } => {
                self.say(Said::Attributes(*session)) || self.has_ended(*session)
            }
            StoreOp::Released { session, record, .. } => {
                self.say(Said::Deliveries(*session, *record)) || self.has_ended(*session)
            }
            StoreOp::InboundReleased { session, .. } => self.has_ended(*session),
            StoreOp::SessionEnded { session, .. } | StoreOp::GroupEnded { session, .. } => {
                self.say(Said::End(*session));
                false
            }
            StoreOp::Publish { .. } | StoreOp::RetainedExpired { .. } | StoreOp::Acknowledged { .. } => false,
            // It may yet be refused as a whole, and then says nothing.
            StoreOp::Transaction(_) => false,
        }
    }

    /// Whether it had been said.
    fn say(&mut self, what: Said) -> bool {
        !self.said.insert(what)
    }

    fn has_ended(&self, session: SessionNumber) -> bool {
        self.said.contains(&Said::End(session))
    }
}
