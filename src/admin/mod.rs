//! Where the broker is looked after: metrics, health and the API, by HTTP over a Unix socket or TCP.
//!
//! It lives on the main thread, which has nothing else to do, and asks the workers by mail; see [`crate::broker::inspect`].
//! Who may ask is decided in `guard` for every request, before anything is read of its body.

mod api;
mod backup;
mod guard;
mod health;
mod live;
mod messages;
mod metrics;
mod page;
mod patient;
mod problem;
mod server;
mod session;
mod strangers;
mod sys;
mod trace;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use self::guard::Door;
use crate::broker::Broker;
use crate::broker::inspect::Inspector;
use crate::config::{Address, Config, Level};
use crate::net::{self, BindError, Bound, Inherited};
use crate::tls::Acceptor;

pub use metrics::{Exporter, ExporterError};

/// What the operator wants done by whoever owns the broker.
#[derive(Debug)]
pub enum Command {
    /// The configuration is to be read again; answered by what has changed, or by what is wrong.
    Reload(oneshot::Sender<Result<Vec<String>, String>>),
    /// The least important line that is logged from now on.
    LogLevel(Level),
}

/// Why the broker can't be looked after.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// An address can't be had.
    #[error("admin: {0}")]
    Listen(#[from] BindError),
    /// The directory of the Unix socket can't be made.
    #[error("admin: can't make the directory {} for the Unix socket: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The runtime can't watch a socket.
    #[error("admin: can't watch the listening socket {address}: {error}")]
    Watch {
        /// Where it listens.
        address: Address,
        /// What the system says.
        error: io::Error,
    },
}

/// Sockets that are open and not served yet.
#[derive(Debug)]
pub struct Admin {
    bound: Vec<(Arc<Bound>, Door)>,
    guard: Arc<guard::Guard>,
    certificates: Option<Arc<Acceptor>>,
    sys_interval: Duration,
    data_dir: PathBuf,
    min_free: u64,
}

/// Who may look after the broker, to be changed while it runs.
#[derive(Debug)]
pub struct Doorkeeper(Arc<guard::Guard>);

impl Doorkeeper {
    /// Goes by another configuration from now on: who is an operator, and whether one has to log in.
    pub fn reload(&self, config: &Config) {
        self.0.reload(config);
    }
}

/// The Unix socket in the data directory.
fn socket(config: &Config, inherited: &Inherited) -> Result<Arc<Bound>, AdminError> {
    let path = config.admin_socket();
    // Where nothing is stored, nobody has made it.
    if let Some(directory) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| AdminError::Directory { path: directory.to_owned(), error })?;
    }
    Ok(net::bind(&Address::Unix(path), inherited)?)
}

impl Admin {
    /// Opens the sockets that `config` names; operators are known by what `broker` knows of its clients. Where nobody has
    /// said where they are to be, a place that can't be had keeps no client from being served: it is said, and left out.
    ///
    /// # Errors
    /// [`AdminError::Listen`] when an address of `admin.listen` can't be had; none stays open then.
    pub fn open(config: &Config, broker: &Broker) -> Result<Self, AdminError> {
        metrics::describe();
        // What systemd hands over is for the clients' listeners, which have taken it.
        let inherited = Inherited::default();
        let mut bound = Vec::new();
        if config.admin.socket {
            match socket(config, &inherited) {
                Ok(socket) => bound.push((socket, Door::Own)),
                Err(error) => tracing::warn!("noctule ctl can't reach this broker: {error}"),
            }
        }
        let is_default = config.admin.listen == Config::default().admin.listen;
        for address in &config.admin.listen {
            match net::bind(address, &inherited) {
                Ok(socket) => bound.push((socket, Door::Listed)),
                Err(error) if is_default => {
                    tracing::warn!("there is no dashboard here (admin.listen): {error}");
                }
                Err(error) => return Err(error.into()),
            }
        }
        let guard = Arc::new(guard::Guard::new(config, broker.logins()));
        let certificates = config.admin.tls.as_ref().and_then(|name| broker.certificates(name));
        let sys_interval = Duration::from_millis(config.admin.sys_interval.as_millis());
        Ok(Self {
            bound,
            guard,
            certificates,
            sys_interval,
            data_dir: config.server.data_dir.clone(),
            min_free: config.store.min_free.as_bytes(),
        })
    }

    /// The addresses that are listened on, with the ports that the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.bound.iter().map(|(bound, _)| bound.address.clone()).collect()
    }

    /// Serves from now on, as tasks of the runtime that this is called within; `commands` reach who has the broker.
    ///
    /// # Errors
    /// [`AdminError::Watch`] when the runtime can't watch a socket.
    pub fn serve(
        self,
        inspector: Inspector,
        exporter: Exporter,
        commands: mpsc::Sender<Command>,
    ) -> Result<Doorkeeper, AdminError> {
        let doorkeeper = Doorkeeper(Arc::clone(&self.guard));
        if self.sys_interval > Duration::ZERO {
            tokio::spawn(sys::run(inspector.clone(), self.sys_interval));
        }
        let state =
            api::State::new(inspector, exporter, commands, self.guard, (self.data_dir, self.min_free));
        server::serve(self.bound, self.certificates.as_ref(), &api::router(state))?;
        Ok(doorkeeper)
    }
}
