//! What the worker writes to the log, at a rate that a flood of clients does not set.

use std::net::SocketAddr;

use noctule_core::consumer::Request;
use noctule_core::effects::{DropReason, Event, Input, Reply};
use tracing::field::display;
use tracing::{debug, info, warn};

use super::Worker;
use crate::logging::Verdict;

/// What a client asks for, other than by its messages.
#[inline]
pub(super) fn note_request(peer: SocketAddr, input: &Input<'_>) {
    match input {
        Input::Subscribe { filters, .. } => debug!(%peer, ?filters, "subscribe"),
        Input::Request(_, Request::Consume(consume), _) => {
            let (filter, durable) = (consume.filter, consume.durable);
            debug!(%peer, filter, durable, acknowledges = consume.acknowledges, "subscribe");
        }
        Input::Request(_, Request::Cancel { consumer, .. }, _) => {
            debug!(%peer, consumer = consumer.0, "unsubscribe");
        }
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
    /// Whether a line of this kind may be written now; inside, how many like it were left out before, if any.
    pub(super) fn line(&mut self, kind: &'static str, now_ms: u64) -> Option<Option<u64>> {
        match self.log.admit(kind, now_ms) {
            Verdict::Write => Some(None),
            Verdict::WriteAfter(left_out) => Some(Some(left_out)),
            Verdict::Skip => None,
        }
    }

    pub(super) fn log_event(&mut self, now_ms: u64, event: Event) {
        match event {
            Event::Connected { conn, client_id, session_present } => {
                if let Some(left_out) = self.line("connected", now_ms) {
                    let peer = self.peer(conn);
                    let (peer, speaks) = (
                        peer.as_ref().map(|peer| display(peer.address)),
                        peer.as_ref().map(|peer| display(&peer.machine)),
                    );
                    info!(client = %client_id, peer, speaks, session_present, left_out, "client connected");
                }
            }
            Event::Disconnected { client_id, graceful, .. } => {
                if let Some(left_out) = self.line("disconnected", now_ms) {
                    info!(client = %client_id, graceful, left_out, "client disconnected");
                }
            }
            Event::TakenOver { client_id, .. } => {
                if let Some(left_out) = self.line("taken_over", now_ms) {
                    warn!(client = %client_id, left_out, "session taken over by a newer connection");
                }
            }
            Event::SessionEnded { client_id, lost } => {
                if let Some(left_out) = self.line("session_ended", now_ms) {
                    warn!(client = %client_id, lost, left_out, "session ended with messages still waiting");
                }
            }
            // A sleeping client gets no QoS 0: that is how it should be, and said only to who asks.
            Event::Dropped { whose, reason: DropReason::Offline, count } => {
                debug!(count, whose = %whose, reason = DropReason::Offline.label(), "messages dropped");
            }
            Event::Dropped { whose, reason, count } => {
                if let Some(left_out) = self.line("dropped", now_ms) {
                    warn!(count, whose = %whose, reason = reason.label(), left_out, "messages dropped");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
