//! Another configuration, taken over between two turns.

use noctule_core::effects::Input;
use noctule_core::refusal::{Kind, Refusal};
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
        self.engine.handle(io.now(), Input::Policy(self.settings.policy.clone()), &mut self.fx);
        for listener in listeners.unlisten {
            io.unlisten(listener);
        }
        for (listener, socket) in listeners.listen {
            if let Err(error) = io.listen(listener, socket) {
                warn!(listener, "worker {} can't watch a listening socket: {error}", io.worker().0);
            }
        }
        let open: Vec<_> = io.open().collect();
        for conn in open {
            let listener = self.peer(conn).map(|peer| peer.listener);
            if listener.is_some_and(|listener| self.settings.listener(listener).is_none()) {
                let refusal = Refusal::new(
                    Kind::AdministrativeAction,
                    "its listener was taken out of the configuration",
                );
                self.refuse(io, conn, &refusal);
            }
        }
    }
}
