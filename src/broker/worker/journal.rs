//! What the worker writes to the log, at a rate that a flood of clients does not set.

use std::net::SocketAddr;

use noctule_core::effects::{Event, Input, Reply};
use tracing::{debug, info, warn};

use super::Worker;
use crate::logging::Verdict;

/// What a client asks for, other than by its messages.
#[inline]
pub(super) fn note_request(peer: SocketAddr, input: &Input<'_>) {
    match input {
        Input::Subscribe { filters, .. } => debug!(%peer, ?filters, "subscribe"),
        Input::Unsubscribe { filters, .. } => debug!(%peer, ?filters, "unsubscribe"),
        _ => {}
    }
}

/// That a message was refused to its publisher.
#[inline]
pub(super) fn note_answer(peer: SocketAddr, reply: &Reply) {
    if let Reply::Ack { kind, packet_id, reason } = reply
        && *reason as u8 >= 0x80
    {
        debug!(%peer, ?kind, packet_id, ?reason, "refused");
    }
}

impl Worker {
    /// Whether a line of this kind may be written now, and how many were left out before it.
    pub(super) fn line(&mut self, kind: &'static str, now_ms: u64) -> Option<u64> {
        match self.log.admit(kind, now_ms) {
            Verdict::Write => Some(0),
            Verdict::WriteAfter(more) => Some(more),
            Verdict::Skip => None,
        }
    }

    pub(super) fn log_event(&mut self, now_ms: u64, event: Event) {
        match event {
            Event::Connected { conn, client_id, session_present } => {
                if let Some(more) = self.line("connected", now_ms) {
                    let address = self.peer(conn).map(|peer| peer.address);
                    let version = self.peer(conn).and_then(|peer| peer.server.version());
                    info!(client = %client_id, peer = ?address, ?version, session_present, more, "client connected");
                }
            }
            Event::Disconnected { client_id, graceful, .. } => {
                if let Some(more) = self.line("disconnected", now_ms) {
                    info!(client = %client_id, graceful, more, "client disconnected");
                }
            }
            Event::TakenOver { client_id, .. } => {
                if let Some(more) = self.line("taken_over", now_ms) {
                    warn!(client = %client_id, more, "session taken over by a newer connection");
                }
            }
            Event::SessionEnded { client_id, lost } => {
                if let Some(more) = self.line("session_ended", now_ms) {
                    warn!(client = %client_id, lost, more, "session ended with messages still waiting");
                }
            }
            Event::Dropped { whose, reason } => {
                if let Some(more) = self.line("dropped", now_ms) {
                    warn!(whose = %whose, reason = reason.label(), more, "message dropped");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
