//! The running broker: listeners, workers, and an orderly end.
//!
//! `worker` is where the pure crates meet the reactor; here the threads are started and stopped.

mod admission;
mod authentication;
mod backing;
pub mod inspect;
mod listeners;
pub mod login;
mod memory;
mod rate;
mod settings;
pub mod tap;
mod telemetry;
pub mod watch;
mod worker;

pub(crate) use worker::without_secret;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use noctule_core::effects::{Effect, Effects};
use noctule_core::engine::{Engine, Stats};
use noctule_core::hash::Seed;
use noctule_core::id::{Now, WorkerId};
use noctule_core::shared::Shared;
use noctule_core::store::{MemoryStore, Store};
pub use noctule_mqtt::server::{AuthMethod, AuthMethods, AuthStep, Exchange};
use thiserror::Error;
use tokio::sync::Notify;

use crate::auth::LoadError;
use crate::config::{Address, Change, Config, TlsName};
use crate::net::BindError;
use crate::reactor::{self, Mailboxes};
use crate::store::{DiskStore, Health, StoreError};
use crate::tls::{Acceptor, TlsError};
use admission::Admission;
use authentication::Authentication;
pub(crate) use authentication::settings as auth_settings;
use backing::{Backing, StoreMail};
use inspect::Inspector;
use listeners::Listeners;
pub use memory::HEAP;
use memory::Memory;
use settings::Settings;
pub(crate) use settings::tls as tls_settings;
pub use telemetry::record_metrics;
use worker::{Mail, Reload, Worker};

/// How long clients have to take their last messages when the broker stops.
const DRAIN: Duration = Duration::from_secs(3);

/// How long the publication of all wills may take before the good-byes begin anyway.
const WILLS: Duration = Duration::from_secs(1);

/// Why the broker can't start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listener's address can't be had.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// Certificates can't be used.
    #[error("[[tls]] {name:?}: {error}")]
    Tls {
        /// What the configuration calls them.
        name: String,
        /// Why.
        error: TlsError,
    },
    /// A listening socket can't be shared between the workers.
    #[error("can't share a listening socket between workers: {0}; raise the limit on open files")]
    Descriptors(#[source] io::Error),
    /// Users, keys or a service can't be used.
    #[error("authentication: {0}")]
    Auth(#[from] LoadError),
    /// The system has no entropy to give.
    #[error("can't have random numbers from the system: {0}")]
    Entropy(#[source] io::Error),
    /// The data directory, or what is in it, can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's thread can't be started.
    #[error("can't start the store's thread: {0}")]
    StoreThread(#[source] io::Error),
    /// A thread can't be started.
    #[error("can't start worker {worker}: {error}")]
    Thread {
        /// Which.
        worker: u16,
        /// What the system says.
        error: io::Error,
    },
}

/// A broker that serves until it is stopped.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    authentication: Authentication,
    listeners: Listeners,
    settings: Arc<Settings>,
    admission: Arc<Admission>,
    /// Told when a client asks for what the broker says of itself.
    sys_wanted: Arc<Notify>,
    memory: Arc<Memory>,
    workers: Vec<JoinHandle<io::Result<Stats>>>,
    mailboxes: Mailboxes<Mail>,
    store: Option<DiskStore>,
    shared: Arc<Shared>,
    started: Instant,
    ended: Arc<Notify>,
}

/// 64 bits of the system's entropy.
///
/// # Errors
/// When the system has none to give, which no Linux of the last ten years does once it is up.
fn entropy() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::from)
}

impl Broker {
    /// Starts listeners and workers as `config` says.
    ///
    /// # Errors
    /// [`StartError`] when an address, the data directory or a thread can't be had; nothing runs then.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, AuthMethods::default())
    }

    /// As [`Broker::start`], with methods of enhanced authentication.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start_with(config: &Config, methods: AuthMethods) -> Result<Self, StartError> {
        telemetry::describe();
        crate::tls::telemetry::describe();
        let listeners = Listeners::open(config)?;
        let count = config.server.workers.max(1);
        let started = Instant::now();
        let ended = Arc::new(Notify::new());
        let mailboxes = Mailboxes::new(count);
        let opening = started.elapsed();
        let opened = if config.is_stored() {
            Some(DiskStore::open(&settings::store(config), count, started)?)
        } else {
            None
        };
        let authentication = Authentication::default();
        let mut methods = methods;
        methods.register(authentication.scram());
        let authenticator = authentication.change(authentication.prepare(config, &mailboxes)?);
        authentication.operators().set_methods(settings::operators_methods(config));
        let settings = Settings::new(config, Arc::new(methods), authenticator, listeners.settings());
        let settings = Arc::new(settings);
        let limits = &config.limits;
        let admission = Arc::new(Admission::new(limits.into()));
        let memory = Arc::new(Memory::new(config.server.memory.as_bytes()));
        let seed = Seed::new(entropy().map_err(StartError::Entropy)?);
        let shared = Arc::new(Shared::new(&seed, count, settings::retained_limits(config)));
        let start = now(started);
        let engine = |id| Engine::new(id, Arc::clone(&shared), Arc::clone(&settings.policy), start);
        let mut engines: Vec<_> = (0..count).map(WorkerId).map(engine).collect();
        let mut store = None;
        let mut effects = Vec::new();
        if let Some((mut disk, recovered)) = opened {
            let sessions = recovered.sessions.len();
            let (queues, retained) = (recovered.groups.len(), recovered.retained.len());
            let messages: usize = recovered.sessions.iter().map(|session| session.queue.len()).sum::<usize>()
                + recovered.groups.iter().map(|group| group.queue.len()).sum::<usize>();
            effects = noctule_core::engine::recover(&mut engines, recovered, now(started));
            if sessions + queues + retained > 0 {
                let ms = (started.elapsed() - opening).as_millis() as u64;
                tracing::info!(sessions, queues, messages, retained, ms, "taken up from the store");
            }
            disk.serve(Arc::new(StoreMail(mailboxes.clone())), shared.message_pool())
                .map_err(StartError::StoreThread)?;
            store = Some(disk);
        }
        effects.resize_with(engines.len(), Effects::default);
        let mut broker = Self {
            config: config.clone(),
            authentication,
            listeners,
            settings: Arc::clone(&settings),
            admission: Arc::clone(&admission),
            sys_wanted: Arc::default(),
            memory: Arc::clone(&memory),
            workers: Vec::new(),
            mailboxes,
            store,
            shared,
            started,
            ended: Arc::clone(&ended),
        };
        if let Err(error) = broker.start_workers(engines, effects) {
            // Those that run already have let clients in.
            if let Err(error) = broker.stop() {
                tracing::error!("a worker that was to end again: {error}");
            }
            return Err(error);
        }
        Ok(broker)
    }

    /// Starts a worker for each engine, with what it is to do first.
    fn start_workers(&mut self, engines: Vec<Engine>, effects: Vec<Effects>) -> Result<(), StartError> {
        for (engine, mut fx) in engines.into_iter().zip(effects) {
            let id = engine.id();
            let worker = id.0;
            let failed = |error| StartError::Thread { worker, error };
            let sockets = self.listeners.sockets().map_err(failed)?;
            let mut backing = match &self.store {
                Some(disk) => Backing::Disk(disk.handle(id), disk.health()),
                None => Backing::Memory(MemoryStore::default()),
            };
            // What a restart publishes goes to the store before any worker serves, so that no acknowledgement of it can
            // come there first; recover() has put all of it into the first worker's effects.
            for effect in std::mem::take(&mut fx.list) {
                match effect {
                    Effect::Store(ticket, op) if backing.submit(ticket, op.clone()).is_ok() => {}
                    other => fx.list.push(other),
                }
            }
            let handler = Worker::new(
                engine,
                backing,
                fx,
                Arc::clone(&self.settings),
                Arc::clone(&self.admission),
                Arc::clone(&self.memory),
                Arc::clone(&self.sys_wanted),
            );
            let reactor = reactor::Config {
                budget_bytes: self.config.limits.out_buffer.as_usize(),
                started: self.started,
                ..reactor::Config::default()
            };
            let mailboxes = self.mailboxes.clone();
            let ending = Ending(Arc::clone(&self.ended));
            let thread = std::thread::Builder::new()
                .name(format!("noctule-{worker}"))
                .spawn(move || {
                    let _ending = ending;
                    let handler = reactor::run(id, reactor, mailboxes, sockets, handler)?;
                    Ok(handler.stats())
                })
                .map_err(failed)?;
            self.workers.push(thread);
        }
        Ok(())
    }

    /// The addresses that are listened on, with the ports that the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.listeners.addresses()
    }

    /// Those of them that are TCP, in the same order.
    #[must_use]
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.addresses().iter().filter_map(Address::net).collect()
    }

    /// Serves by another configuration from now on, as far as that is possible without a restart; returns what is
    /// different. Connections go on, but those whose listener is there no more.
    ///
    /// # Errors
    /// [`StartError`] when a certificate, an address or what says who may come in can't be used; everything stays as it
    /// was then.
    pub fn reload(&mut self, config: &Config) -> Result<Vec<Change>, StartError> {
        let changes = self.config.changes(config);
        let taken = self.config.reloaded(config);
        let prepared = self.listeners.prepare(&taken, self.count())?;
        let authentication = self.authentication.prepare(&taken, &self.mailboxes)?;
        // From here on nothing can fail.
        let authenticator = self.authentication.change(authentication);
        self.authentication.operators().set_methods(settings::operators_methods(&taken));
        let settings = Arc::new(self.settings.changed(&taken, authenticator, prepared.settings()));
        let changed = self.listeners.change(prepared);
        self.admission.set_limits((&taken.limits).into());
        self.memory.set_budget(taken.server.memory.as_bytes());
        for (worker, changed) in (0..).map(WorkerId).zip(changed) {
            let mail = Reload { settings: Arc::clone(&settings), listeners: changed };
            self.mailboxes.post(worker, Mail::Reload(Box::new(mail)));
        }
        self.settings = settings;
        self.config = taken;
        Ok(changes)
    }

    /// Whether [`Broker::tend`] has anything to do.
    #[must_use]
    pub fn wants_tending(&self) -> bool {
        self.listeners.has_certificates()
    }

    /// Does what has to be done every few seconds, and may take the disk's time: certificates whose files have changed
    /// are read again.
    pub fn tend(&mut self) {
        self.listeners.watch_certificates();
    }

    /// How many workers there are.
    fn count(&self) -> u16 {
        u16::try_from(self.workers.len()).unwrap_or(u16::MAX)
    }

    /// Comes back when a worker has ended, which without [`Broker::stop`] means that it failed: the process should end
    /// too, since a part of its sessions is gone.
    pub async fn worker_ended(&self) {
        self.ended.notified().await;
    }

    /// Ends the broker: wills are published, MQTT 5 clients are told (0x8B), what waits is written for at most three
    /// seconds. Returns what the workers have counted.
    ///
    /// # Errors
    /// What ended a worker before its time.
    pub fn stop(self) -> io::Result<Vec<Stats>> {
        // There are no more of them than a u16 counts; fewer than configured if the start has failed.
        let count = self.workers.len() as u16;
        let (published, all_published) = std::sync::mpsc::channel();
        for worker in 0..count {
            self.mailboxes.post(WorkerId(worker), Mail::PublishWills(published.clone()));
        }
        drop(published);
        // Wills cross workers: nobody is told good-bye before all of them are on their way. A worker that has ended
        // drops its end of the channel and is not waited for.
        for _ in 0..count {
            if all_published.recv_timeout(WILLS).is_err() {
                break;
            }
        }
        let deadline_ms = now(self.started).mono_ms + DRAIN.as_millis() as u64;
        for worker in 0..count {
            self.mailboxes.post(WorkerId(worker), Mail::Stop { deadline_ms });
        }
        self.join()
    }

    /// Waits for the workers, which only end by [`Broker::stop`] or a failure, then for the store to have everything.
    fn join(self) -> io::Result<Vec<Stats>> {
        let stats = self
            .workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))))
            .collect();
        if let Some(store) = self.store {
            store.close()?;
        }
        stats
    }

    /// What finds out who an operator is.
    #[must_use]
    pub fn logins(&self) -> login::Logins {
        let waiting = Arc::clone(self.authentication.operators());
        login::Logins::new(self.authentication.clone(), waiting, self.started)
    }

    /// The certificates of a `[[tls]]`, by its name; they stay the same, with what their files hold, as long as it does.
    #[must_use]
    pub fn certificates(&self, name: &TlsName) -> Option<Arc<Acceptor>> {
        self.listeners.certificates(name)
    }

    /// What asks the workers.
    #[must_use]
    pub fn inspector(&self) -> Inspector {
        let (mailboxes, shared) = (self.mailboxes.clone(), Arc::clone(&self.shared));
        Inspector::new(
            mailboxes,
            shared,
            Arc::clone(&self.memory),
            Arc::clone(&self.admission),
            Arc::clone(&self.sys_wanted),
            (self.store.as_ref(), self.started),
        )
    }

    /// How the store is and what it has counted; `None` if nothing is stored.
    #[must_use]
    pub fn store_health(&self) -> Option<Arc<Health>> {
        self.store.as_ref().map(DiskStore::health)
    }
}

/// Tells that a worker's thread ends, however it does.
struct Ending(Arc<Notify>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn now(started: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono_ms: started.elapsed().as_millis() as u64, wall_ms: wall.as_millis() as u64 }
}
