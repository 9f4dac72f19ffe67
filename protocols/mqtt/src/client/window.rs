//! Packet identifiers and what they are in use for: messages on their way to the server, and requests it has not
//! answered. The exchanges outlive the connection (section 4.1), the requests do not.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use super::message::Outgoing;
use crate::reason::Reason;

/// What a packet identifier is in use for.
#[derive(Debug)]
pub(super) enum Slot {
    /// Nothing.
    Free,
    /// PUBLISH has been sent; PUBACK or PUBREC is awaited.
    Sent {
        /// Place in the order of publishing, in which it is sent again [MQTT-4.6.0-1].
        order: u64,
        message: Outgoing,
    },
    /// PUBREL has been sent; PUBCOMP is awaited.
    Released { order: u64, reason: Reason },
    /// SUBSCRIBE with so many filters.
    Subscribe(usize),
    /// UNSUBSCRIBE with so many filters.
    Unsubscribe(usize),
}

/// All packet identifiers of a client.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// By packet identifier less one; as long as the most that were ever in use at once.
    slots: Vec<Slot>,
    /// Identifiers whose slot is free, longest unused first.
    free: VecDeque<NonZeroU16>,
    /// Exchanges under way on this connection.
    active: usize,
    /// Exchanges of the connection before that are still to be sent again, in order.
    resend: VecDeque<NonZeroU16>,
    next_order: u64,
}

impl Window {
    /// Exchanges whose end is awaited, those still to be sent again among them.
    pub(super) fn unacknowledged(&self) -> usize {
        self.active + self.resend.len()
    }

    /// Whether another message may go out under a limit of `limit`.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        // What is to be sent again never waits beside a free place, so nothing overtakes it [MQTT-4.6.0-1].
        self.active < limit
    }

    /// An identifier that is free; it stays so until something is [`put`](Self::put) there.
    pub(super) fn next_id(&mut self) -> Option<NonZeroU16> {
        if self.free.is_empty() {
            let id = u16::try_from(self.slots.len() + 1).ok().and_then(NonZeroU16::new)?;
            self.slots.push(Slot::Free);
            self.free.push_back(id);
        }
        self.free.front().copied()
    }

    /// A message has gone out under the identifier that [`next_id`](Self::next_id) gave.
    pub(super) fn sent(&mut self, id: NonZeroU16, message: Outgoing) {
        let order = self.next_order;
        self.next_order += 1;
        self.active += 1;
        self.put(id, Slot::Sent { order, message });
    }

    /// Uses the identifier that [`next_id`](Self::next_id) gave.
    pub(super) fn put(&mut self, id: NonZeroU16, slot: Slot) {
        if self.free.front() == Some(&id) {
            self.free.pop_front();
        }
        if let Some(place) = self.place(id) {
            *place = slot;
        }
    }

    fn place(&mut self, id: NonZeroU16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id.get()) - 1)
    }

    /// What `id` is in use for.
    pub(super) fn get(&self, id: NonZeroU16) -> &Slot {
        self.slots.get(usize::from(id.get()) - 1).unwrap_or(&Slot::Free)
    }

    /// The server has taken a message over (PUBREC): only PUBREL and PUBCOMP are left.
    pub(super) fn release(&mut self, id: NonZeroU16, reason: Reason) {
        if let Some(place) = self.place(id)
            && let Slot::Sent { order, .. } = *place
        {
            *place = Slot::Released { order, reason };
        }
    }

    /// Frees an identifier.
    pub(super) fn finish(&mut self, id: NonZeroU16) {
        let Some(place) = self.place(id) else { return };
        match std::mem::replace(place, Slot::Free) {
            Slot::Free => return,
            Slot::Subscribe(_) | Slot::Unsubscribe(_) => {}
            Slot::Sent { .. } | Slot::Released { .. } => {
                match self.resend.iter().position(|waiting| *waiting == id) {
                    Some(place) => drop(self.resend.remove(place)),
                    None => self.active = self.active.saturating_sub(1),
                }
            }
        }
        self.free.push_back(id);
    }

    /// The connection is gone: requests are forgotten, exchanges are to be sent again on the next one.
    pub(super) fn connection_lost(&mut self) {
        let mut exchanges = Vec::new();
        for (id, slot) in (1..=u16::MAX).filter_map(NonZeroU16::new).zip(&mut self.slots) {
            match slot {
                Slot::Free => {}
                Slot::Sent { order, .. } | Slot::Released { order, .. } => exchanges.push((*order, id)),
                Slot::Subscribe(_) | Slot::Unsubscribe(_) => {
                    *slot = Slot::Free;
                    self.free.push_back(id);
                }
            }
        }
        exchanges.sort_unstable();
        self.active = 0;
        self.resend = exchanges.into_iter().map(|(_, id)| id).collect();
    }

    /// The next exchange to be sent again under a limit of `limit`; from now on it is under way.
    pub(super) fn next_resend(&mut self, limit: usize) -> Option<NonZeroU16> {
        let id = if self.active < limit { self.resend.pop_front() } else { None };
        self.active += usize::from(id.is_some());
        id
    }

    /// The server has lost the session: takes back every exchange that was to be sent again, in order.
    pub(super) fn take_back(&mut self) -> Vec<(NonZeroU16, Option<Outgoing>)> {
        let ids = std::mem::take(&mut self.resend);
        let mut taken = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(place) = self.place(id) else { continue };
            let message = match std::mem::replace(place, Slot::Free) {
                Slot::Sent { message, .. } => Some(message),
                _ => None,
            };
            self.free.push_back(id);
            taken.push((id, message));
        }
        taken
    }
}
