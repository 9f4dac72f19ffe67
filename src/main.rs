//! The noctule binary: reads the command line and does what it says.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use noctule::broker::Broker;
use noctule::cli::{Cli, Command, Exit, RunArgs, RunError};
use noctule::config::{Config, ConfigError};
use noctule::logging::LevelHandle;
use noctule::{banner, descriptors, logging};
use noctule_core::effects::DropReason;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Between two looks at files that may have changed.
const TENDING: Duration = Duration::from_secs(5);

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
                | RunError::Collision { .. } => Exit::Usage,
                _ => Exit::Failed,
            });
        }
    };
    let level = logging::start(&config.log)?;
    check_descriptors(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    // Before the start, which it would end: whoever has changed something does not know how far the broker is.
    let mut hangup = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    let mut broker = Broker::start(&config)?;
    // The block is for a person; a log that machines read gets none.
    if config.log.format == noctule::config::LogFormat::Human {
        banner::write(&mut io::stderr(), &config, &broker.addresses(), arguments.config.as_deref())?;
    } else {
        for (listener, address) in config.listener.iter().zip(broker.addresses()) {
            let (protocol, anonymous) = (listener.protocol.as_str(), listener.anonymous.as_str());
            let version = env!("CARGO_PKG_VERSION");
            tracing::info!(version, protocol, %address, anonymous, workers = config.server.workers, "listening");
        }
    }
    if !serve(&runtime, &mut hangup, &mut broker, arguments, &level)? {
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

/// Serves until SIGTERM or SIGINT (true) or the failure of a worker (false). SIGHUP has the configuration read again; without
/// a file it means that the terminal was closed, which is as good a reason to end in order as any.
fn serve(
    runtime: &Runtime,
    hangup: &mut Signal,
    broker: &mut Broker,
    arguments: &RunArgs,
    level: &LevelHandle,
) -> io::Result<bool> {
    use std::task::Poll;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            let what = {
                let mut failed = std::pin::pin!(broker.worker_ended());
                let mut rested = std::pin::pin!(tokio::time::sleep(TENDING));
                let wants_tending = broker.wants_tending();
                std::future::poll_fn(|cx| {
                    if [&mut terminate, &mut interrupt]
                        .into_iter()
                        .any(|signal| signal.poll_recv(cx).is_ready())
                    {
                        return Poll::Ready(Woken::End);
                    }
                    if hangup.poll_recv(cx).is_ready() {
                        return Poll::Ready(Woken::Reload);
                    }
                    // Without anything to look after, an idle broker does not even wake up.
                    if wants_tending && rested.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Woken::Tending);
                    }
                    failed.as_mut().poll(cx).map(|()| Woken::Failure)
                })
                .await
            };
            match what {
                Woken::Reload if arguments.config.is_some() => reload(broker, arguments, level),
                Woken::Tending => broker.tend(),
                Woken::Reload | Woken::End => return Ok(true),
                Woken::Failure => return Ok(false),
            }
        }
    })
}

/// What ends a wait.
enum Woken {
    End,
    Reload,
    Tending,
    Failure,
}

/// Reads the configuration again and serves by it, or says what is wrong and goes on as before.
fn reload(broker: &mut Broker, arguments: &RunArgs, level: &LevelHandle) {
    let config = match arguments.configuration() {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("the configuration is not reloaded, the old one stays in force: {error}");
            return;
        }
    };
    match broker.reload(&config) {
        Ok(changes) => {
            level.set(config.log.level);
            for change in &changes {
                tracing::info!("{change}");
            }
            tracing::info!(changes = changes.len(), "configuration reloaded");
        }
        Err(error) => {
            tracing::error!("the configuration is not reloaded, the old one stays in force: {error}");
        }
    }
}
