//! What the worker writes to the log, at a rate that a flood of clients does not set.
//!
//! What clients have chosen (names, and what is said of their mistakes) is one value or a part of one line, whatever it
//! contains: as `&str` a field is quoted and escaped, as `Display` it is not.

use std::borrow::Cow;
use std::fmt::{self, Write};

use noctule_core::consumer::Request;
use noctule_core::effects::{DropReason, Event, Input, Reply};
use tracing::field::display;
use tracing::{debug, info, warn};

use super::Worker;
use crate::logging::Verdict;
use crate::reactor::Origin;

/// What a client asks for, other than by its messages; whether that is something of what the broker says of itself.
#[inline]
pub(super) fn note_request(peer: Origin, input: &Input<'_>) -> bool {
    match input {
        Input::Subscribe { filters, .. } => {
            debug!(%peer, ?filters, "subscribe");
            filters.iter().any(|one| one.filter.starts_with("$SYS"))
        }
        Input::Request(_, Request::Consume(consume), _) => {
            let (filter, durable) = (without_secret(consume.filter), consume.durable);
            debug!(%peer, filter = &*filter, durable, acknowledges = consume.acknowledges, "subscribe");
            consume.filter.starts_with("$SYS")
        }
        Input::Request(_, Request::Cancel { consumer, .. }, _) => {
            debug!(%peer, consumer = consumer.0, "unsubscribe");
            false
        }
        Input::Unsubscribe { filters, .. } => {
            debug!(%peer, ?filters, "unsubscribe");
            false
        }
        _ => false,
    }
}

/// That a message was refused to its publisher.
#[inline]
pub(super) fn note_answer(peer: Origin, reply: &Reply) {
    if let Reply::Ack { kind, packet_id, reason } = reply
        && *reason as u8 >= 0x80
    {
        debug!(%peer, ?kind, packet_id, ?reason, "refused");
    }
}

/// A topic as others may read it. Who knows where a STOMP client expects its answers can send some; those of MQTT clients
/// have one level behind `$reply/`, their client id, which is no secret.
pub(crate) fn without_secret(topic: &str) -> Cow<'_, str> {
    match topic.strip_prefix("$reply/").and_then(|own| own.split_once('/')) {
        Some((_, name)) => Cow::Owned(format!("$reply/…/{name}")),
        None => Cow::Borrowed(topic),
    }
}

/// A text for a line of the log that it can neither end nor rearrange.
pub(super) struct OneLine<'a>(pub(super) &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            // Line and paragraph separators, and what turns the direction of writing around.
            let is_layout = matches!(letter, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
            if letter.is_control() || is_layout {
                write!(f, "{}", letter.escape_debug())?;
            } else {
                f.write_char(letter)?;
            }
        }
        Ok(())
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
                        peer.as_ref().map(|peer| display(peer.origin)),
                        peer.as_ref().map(|peer| display(&peer.machine)),
                    );
                    info!(client = &*client_id, peer, speaks, session_present, left_out, "client connected");
                }
            }
            Event::Disconnected { client_id, graceful, .. } => {
                if let Some(left_out) = self.line("disconnected", now_ms) {
                    info!(client = &*client_id, graceful, left_out, "client disconnected");
                }
            }
            Event::TakenOver { client_id, .. } => {
                if let Some(left_out) = self.line("taken_over", now_ms) {
                    warn!(client = &*client_id, left_out, "session taken over by a newer connection");
                }
            }
            Event::SessionEnded { client_id, lost } => {
                if let Some(left_out) = self.line("session_ended", now_ms) {
                    warn!(client = &*client_id, lost, left_out, "session ended with messages still waiting");
                }
            }
            // A sleeping client gets no QoS 0: that is how it should be, and said only to who asks.
            Event::Dropped { whose, reason: DropReason::Offline, count } => {
                debug!(
                    count,
                    whose = &*without_secret(&whose),
                    reason = DropReason::Offline.label(),
                    "messages dropped"
                );
            }
            Event::Dropped { whose, reason, count } => {
                if let Some(left_out) = self.line("dropped", now_ms) {
                    warn!(
                        count,
                        whose = &*without_secret(&whose),
                        reason = reason.label(),
                        left_out,
                        "messages dropped"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
