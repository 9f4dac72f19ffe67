//! The noctule binary: reads the command line and does what it says.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use noctule::broker::Broker;
use noctule::cli::{Cli, Command, Exit, RunArgs};
use noctule::config::Config;
use noctule::{banner, descriptors, logging};

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
        Command::Pub(arguments) => noctule::client::publish(&arguments),
        Command::Sub(arguments) => noctule::client::subscribe(&arguments),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            // Nothing is left to be done when standard error is gone.
            let _ = writeln!(io::stderr(), "noctule: {error:#}");
            Exit::Failed.into()
        }
    }
}

fn run(arguments: &RunArgs) -> anyhow::Result<Exit> {
    let config = arguments.configuration()?;
    logging::start(&config.log)?;
    check_descriptors(&config);
    let broker = Broker::start(&config)?;
    // The block is for a person; a log that machines read gets none.
    if config.log.format == noctule::config::LogFormat::Human {
        banner::write(&mut io::stderr(), &config, broker.addresses(), arguments.config.as_deref())?;
    }
    if !wait_for_the_end(&broker)? {
        // The panic or the error has been printed by whoever met it; what its worker held is lost.
        broker.stop()?;
        anyhow::bail!("a worker ended by itself, so the broker ends too; please report what it said above");
    }
    tracing::info!("stopping: wills are published, clients are told, what waits is written");
    broker.stop()?;
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

/// Waits for SIGTERM or SIGINT (true) or for the failure of a worker (false).
fn wait_for_the_end(broker: &Broker) -> io::Result<bool> {
    use std::task::Poll;
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut failed = std::pin::pin!(broker.worker_ended());
        Ok(std::future::poll_fn(|cx| {
            if terminate.poll_recv(cx).is_ready() || interrupt.poll_recv(cx).is_ready() {
                return Poll::Ready(true);
            }
            failed.as_mut().poll(cx).map(|()| false)
        })
        .await)
    })
}
