//! STOMP's consumers, messages, settlements and transactions.

use std::sync::Arc;

use super::Engine;
use crate::consumer::{Receipt, Request};
use crate::effects::{Effects, JoinError};
use crate::id::{ConnId, Now, SessionId};
use crate::message::Message;
use crate::store::Ticket;

impl Engine {
    /// What a STOMP client asks for.
    pub(super) fn request(
        &mut self,
        _now: Now,
        _conn: ConnId,
        _request: &Request<'_>,
        _receipt: Option<Receipt>,
        _fx: &mut Effects,
    ) {
    }

    /// A group's home has let a member in, or not.
    pub(super) fn joined(
        &mut self,
        now: Now,
        ticket: Ticket,
        _joined: Result<(), JoinError>,
        fx: &mut Effects,
    ) {
        self.settled(now, crate::store::StoreEvent::Settled(ticket), fx);
    }

    /// What a queue's home has shown.
    pub(super) fn browsed(
        &mut self,
        _now: Now,
        _session: SessionId,
        _ticket: Ticket,
        _messages: Vec<Arc<Message>>,
        _fx: &mut Effects,
    ) {
    }
}
