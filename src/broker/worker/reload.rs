//! Another configuration, taken over between two turns.

use std::sync::Arc;

use noctule_core::effects::Input;
use noctule_core::id::ConnId;
use noctule_core::refusal::Refusal;
use tracing::warn;

use super::{Io, Reload, Worker};

impl Worker {
    pub(super) fn reload(&mut self, io: &mut Io, reload: Reload) {
        if self.is_ending() {
            return;
        }
        let Reload { settings, listeners } = reload;
        self.settings = settings;
        self.choose_read_size(io);
        let gone = self.review_all(io);
        self.engine.handle(io.now(), Input::Policy(self.settings.policy.clone()), &mut self.fx);
        for listener in listeners.unlisten {
            io.unlisten(listener);
        }
        for (listener, socket) in listeners.listen {
            if let Err(error) = io.listen(listener, socket) {
                warn!(listener, "worker {} can't watch a listening socket: {error}", io.worker().0);
            }
        }
        for (conn, refusal) in gone {
            self.refuse(io, conn, &refusal);
        }
    }

    /// Asks of every client that is in whether it would be let in now, and tells the engine the groups of those who stay.
    /// Returns the others.
    fn review_all(&mut self, io: &Io) -> Vec<(ConnId, Refusal)> {
        let open: Vec<_> = io.open().collect();
        let settings = Arc::clone(&self.settings);
        let mut gone = Vec::new();
        for conn in open {
            match self.peer(conn).map(|peer| peer.review(&settings)) {
                Some(Ok(Some(groups))) => {
                    self.engine.handle(io.now(), Input::Groups(conn, &groups), &mut self.fx);
                }
                Some(Ok(None)) | None => {}
                Some(Err(refusal)) => gone.push((conn, refusal)),
            }
        }
        gone
    }
}
