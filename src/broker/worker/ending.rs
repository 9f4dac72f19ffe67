//! How a connection is ended by the broker.

use bytes::BytesMut;
use noctule_core::effects::Input;
use noctule_core::id::ConnId;
use noctule_core::refusal::{Fault, Refusal};
use tracing::{info, warn};

use super::guard::guarded;
use super::{Io, Worker, journal};
use crate::broker::telemetry;
use crate::reactor::Close;

impl Worker {
    /// Writes what the peer is told of its refusal; false if its version has no words for it, or its machine met a bug.
    pub(super) fn last_words(&mut self, io: &mut Io, conn: ConnId, refusal: &Refusal) -> bool {
        let Some(peer) = self.peer(conn) else { return false };
        let mut words = BytesMut::new();
        if guarded(|| peer.machine.refuse(refusal, &mut words)).is_err() || words.is_empty() {
            return false;
        }
        if let Some(out) = io.out(conn) {
            out.put().extend_from_slice(&words);
        }
        true
    }

    /// Ends a connection: last words, a log line, a counter.
    pub(super) fn refuse(&mut self, io: &mut Io, conn: ConnId, refusal: &Refusal) {
        telemetry::refused(refusal);
        let now_ms = io.now().mono_ms;
        let Some(origin) = self.peer(conn).map(|peer| peer.origin) else { return };
        self.note_refusal(io.now(), conn, refusal);
        let silent = !self.last_words(io, conn, refusal);
        let row = refusal.kind.row();
        if let Some(left_out) = self.line(row.label, now_ms) {
            let detail = journal::OneLine(&refusal.detail);
            match row.fault {
                Fault::Nobody => {
                    info!(peer = %origin, reason = row.label, left_out, "connection ended: {detail}");
                }
                Fault::Peer | Fault::Broker => {
                    warn!(peer = %origin, reason = row.label, left_out, "connection refused: {detail}");
                }
            }
        }
        // The engine learns of the end first, so that nothing more is queued; its own refusals tell it nothing new.
        self.engine.handle(io.now(), Input::Closed(conn), &mut self.fx);
        io.close(conn, if silent && io.waiting_bytes(conn) == 0 { Close::Now } else { Close::AfterFlush });
    }
}
