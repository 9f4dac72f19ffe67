//! The noctule binary: reads the command line and does what it says.

use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use noctule::admin::{Admin, Command as Order, Doorkeeper, Exporter};
use noctule::broker::Broker;
use noctule::cli::{Cli, Command, Exit, RunArgs, RunError};
use noctule::config::{Config, ConfigError, LogFormat};
use noctule::logging::LevelHandle;
use noctule::service::{self, Watchdog};
use noctule::{banner, descriptors, logging};
use noctule_core::effects::DropReason;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Between two looks at files that may have changed.
const TENDING: Duration = Duration::from_secs(5);

/// The same where there are none, for what else piles up: an idle broker hardly wakes up.
const TENDING_IDLE: Duration = Duration::from_secs(60);

/// Orders of operators that wait for the one before.
const ORDERS: usize = 8;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let done = match cli.into_command() {
        Command::Run(arguments) => run(&arguments),
        Command::Check(arguments) => {
            arguments.run(&mut io::stdout(), &mut io::stderr()).map_err(anyhow::Error::from)
        }
        Command::Init(arguments) => arguments.run(&mut io::stdout()),
        Command::Certs(arguments) => arguments.run(&mut io::stdout()),
        Command::Passwd(arguments) => arguments
            .run(&mut io::stdin().lock(), &mut io::stdout(), &mut io::stderr())
            .map_err(anyhow::Error::from),
        Command::Import(arguments) => {
            arguments.run(&mut io::stdout(), &mut io::stderr()).map_err(anyhow::Error::from)
        }
        Command::Acl(arguments) => {
            arguments.run(&mut io::stdout(), &mut io::stderr()).map_err(anyhow::Error::from)
        }
        Command::Restore(arguments) => arguments.run(&mut io::stdout()),
        Command::Ctl(arguments) => {
            noctule::ctl::run(&arguments, &mut io::stdout().lock()).map_err(anyhow::Error::from)
        }
        Command::Pub(arguments) => noctule::client::publish(&arguments),
        Command::Sub(arguments) => noctule::client::subscribe(&arguments),
        Command::Stomp(arguments) => noctule::client::stomp(&arguments),
        Command::Bench(arguments) => noctule::client::bench(&arguments),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            // Nothing is left to be done when standard error is gone.
            let _ = writeln!(io::stderr(), "noctule: {error}");
            Exit::Failed.into()
        }
    }
}

fn run(arguments: &RunArgs) -> anyhow::Result<Exit> {
    let config = match arguments.configuration() {
        Ok(config) => config,
        Err(error) => {
            // As they are, so that an editor finds its way to file:line:column.
            writeln!(io::stderr(), "{error}")?;
            return Ok(match error {
                RunError::File(ConfigError::Unreadable { .. })
                | RunError::Open { .. }
                | RunError::OpenAdmin { .. }
                | RunError::Collision { .. } => Exit::Usage,
                _ => Exit::Failed,
            });
        }
    };
    let level = logging::start(&config.log)?;
    check_descriptors(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    // Before the start, which it would end: whoever has changed something does not know how far the broker is.
    let hangup = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    // Before the start, so that everything is counted from the beginning.
    let exporter = Exporter::install()?;
    let broker = Broker::start(&config)?;
    // Before anybody is told that it serves: whoever hears that and ends it at once ends it in order.
    let ends = runtime.block_on(async {
        io::Result::Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])
    })?;
    let admin = Admin::open(&config, &broker)?;
    let places = admin.addresses();
    let (to_orders, orders) = mpsc::channel(ORDERS);
    let doorkeeper = {
        let _runtime = runtime.enter();
        admin.serve(broker.inspector(), exporter.clone(), to_orders)?
    };
    // The block is for a person; a log that machines read, or that goes to the journal, gets none.
    if logging::shape(config.log.format) == LogFormat::Human {
        banner::write(&mut io::stderr(), &config, &broker.addresses(), &places, arguments.config.as_deref())?;
    } else {
        for (listener, address) in config.listener.iter().zip(broker.addresses()) {
            let (protocol, anonymous) = (listener.protocol.as_str(), listener.anonymous.as_str());
            let version = env!("CARGO_PKG_VERSION");
            tracing::info!(version, protocol, %address, anonymous, workers = config.server.workers, "listening");
        }
        for address in &places {
            tracing::info!(%address, "looked after at");
        }
    }
    let watchdog = Watchdog::asked_for();
    service::is_ready();
    let mut service = Service {
        broker,
        ends,
        hangup,
        orders,
        exporter,
        doorkeeper,
        level,
        watchdog,
        next_tending: Instant::now(),
    };
    let goes_well = service.run(&runtime, arguments);
    service::is_stopping();
    let broker = service.broker;
    if !goes_well {
        // The panic or the error has been printed by whoever met it; what its worker held is lost.
        broker.stop()?;
        anyhow::bail!("a worker ended by itself, so the broker ends too; please report what it said above");
    }
    tracing::info!("stopping: wills are published, clients are told, what waits is written");
    let health = broker.store_health();
    let stats = broker.stop()?;
    if let Some(store) = health.map(|health| health.totals()) {
        let (stored, spared) = (store.messages_stored, store.messages_elided);
        let (commits, bytes) = (store.commits, store.bytes_written);
        tracing::info!(
            stored,
            spared,
            commits,
            bytes,
            "messages written since the start, and delivered without"
        );
    }
    for reason in DropReason::ALL {
        let count: u64 = stats.iter().map(|stats| stats.dropped(reason)).sum();
        if count > 0 {
            tracing::info!(count, reason = reason.label(), "messages dropped since the start");
        }
    }
    tracing::info!("stopped");
    Ok(Exit::Done)
}

/// Has as many descriptors as the system allows, and says so when they are too few for what is configured.
fn check_descriptors(config: &Config) {
    let needed = descriptors::needed(config);
    match descriptors::raise() {
        Ok(allowed) if allowed >= needed => {}
        Ok(allowed) => tracing::warn!(
            allowed,
            needed,
            "limits.max_connections does not fit the limit on open files; raise that (LimitNOFILE= of systemd, \
             ulimit -n) or lower max_connections"
        ),
        Err(error) => tracing::warn!("the limit on open files can't be read: {error}"),
    }
}

/// The running broker and what is asked of it besides serving.
struct Service {
    broker: Broker,
    /// SIGTERM and SIGINT.
    ends: [Signal; 2],
    hangup: Signal,
    orders: mpsc::Receiver<Order>,
    exporter: Exporter,
    doorkeeper: Doorkeeper,
    level: LevelHandle,
    watchdog: Option<Watchdog>,
    /// When files are looked at, and what piles up is put in order.
    next_tending: Instant,
}

/// What ends a wait.
enum Woken {
    End,
    Reload,
    Order(Order),
    Tending,
    Watch,
    Failure,
}

impl Service {
    /// Serves until SIGTERM or SIGINT (true) or the failure of a worker (false). SIGHUP has the configuration read again;
    /// without a file it means that the terminal was closed, which is as good a reason to end in order as any.
    fn run(&mut self, runtime: &Runtime, arguments: &RunArgs) -> bool {
        runtime.block_on(async {
            loop {
                match self.wait().await {
                    Woken::Reload if arguments.config.is_some() => {
                        // It is in the log.
                        let _ = self.reload(arguments);
                    }
                    Woken::Order(Order::Reload(answer)) => {
                        // Whoever asked may have gone.
                        let _ = answer.send(self.reload(arguments));
                    }
                    Woken::Order(Order::LogLevel(level)) => {
                        self.level.set(level);
                        tracing::info!(to = level.as_str(), "an operator has set the level of the log");
                    }
                    Woken::Tending => {
                        let tending = if self.broker.wants_tending() { TENDING } else { TENDING_IDLE };
                        self.next_tending = Instant::now() + tending;
                        self.exporter.tidy_up();
                        self.broker.tend();
                    }
                    Woken::Watch => {
                        let inspector = self.broker.inspector();
                        if let Some(watchdog) = &mut self.watchdog {
                            watchdog.tell(&inspector).await;
                        }
                    }
                    Woken::Reload | Woken::End => return true,
                    Woken::Failure => return false,
                }
            }
        })
    }

    async fn wait(&mut self) -> Woken {
        let Self { broker, ends, hangup, orders, watchdog, next_tending, .. } = self;
        let mut failed = std::pin::pin!(broker.worker_ended());
        let mut rested = std::pin::pin!(tokio::time::sleep_until(*next_tending));
        let watch = watchdog.as_ref().map(Watchdog::next);
        let mut watched = std::pin::pin!(async {
            match watch {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        });
        poll_fn(|cx| {
            if ends.iter_mut().any(|end| end.poll_recv(cx).is_ready()) {
                return Poll::Ready(Woken::End);
            }
            if hangup.poll_recv(cx).is_ready() {
                return Poll::Ready(Woken::Reload);
            }
            if let Poll::Ready(Some(order)) = orders.poll_recv(cx) {
                return Poll::Ready(Woken::Order(order));
            }
            if rested.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Tending);
            }
            if watched.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Watch);
            }
            failed.as_mut().poll(cx).map(|()| Woken::Failure)
        })
        .await
    }

    /// Reads the configuration again and serves by it, or says what is wrong and goes on as before. What has changed, or
    /// what is wrong.
    fn reload(&mut self, arguments: &RunArgs) -> Result<Vec<String>, String> {
        service::is_reloading();
        let loaded = arguments.configuration().map_err(|error| error.to_string());
        let done = loaded.and_then(|config| {
            let changes = self.broker.reload(&config).map_err(|error| error.to_string())?;
            self.doorkeeper.reload(&config);
            self.level.set(config.log.level);
            Ok(changes.iter().map(ToString::to_string).collect::<Vec<_>>())
        });
        service::is_ready();
        match &done {
            Ok(changes) => {
                for change in changes {
                    tracing::info!("{change}");
                }
                tracing::info!(changes = changes.len(), "configuration reloaded");
            }
            Err(error) => {
                tracing::error!("the configuration is not reloaded, the old one stays in force: {error}");
            }
        }
        done
    }
}
