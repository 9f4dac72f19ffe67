//! `noctule check`: reads a configuration, touches nothing, and says what it would do or everything wrong with it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use crate::config::{Anonymous, Config, ConfigError, Dialect};

const AFTER_HELP: &str = "\
Nothing is opened, bound or written. Mistakes are shown as file:line:column: key: what is wrong.

Exit codes: 0 the file is right, 1 it is wrong, 2 it cannot be read.";

/// Arguments of `noctule check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[group(required = true, multiple = false)]
pub struct CheckArgs {
    /// Configuration file
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// The same, written as for `run`
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl CheckArgs {
    /// The file to check, named in either way.
    #[must_use]
    pub fn file(&self) -> &Path {
        // One of the two is always given; an empty path could not be read.
        self.file.as_ref().or(self.config.as_ref()).map_or(Path::new(""), PathBuf::as_path)
    }

    /// Checks the file: the summary goes to `out`, mistakes to `err`.
    ///
    /// # Errors
    /// Only if writing fails.
    pub fn run(&self, out: &mut impl Write, err: &mut impl Write) -> io::Result<Exit> {
        match Config::load(self.file()) {
            Ok(config) => {
                writeln!(out, "{}: ok", self.file().display())?;
                summarise(&config, out)?;
                Ok(Exit::Done)
            }
            Err(error) => {
                writeln!(err, "{error}")?;
                let unreadable = matches!(error, ConfigError::Unreadable { .. });
                Ok(if unreadable { Exit::Usage } else { Exit::Failed })
            }
        }
    }
}

fn summarise(config: &Config, out: &mut impl Write) -> io::Result<()> {
    for listener in &config.listener {
        let who = match listener.anonymous {
            Anonymous::Nobody => "nobody without credentials",
            Anonymous::Loopback => "programs on this machine, without credentials",
            Anonymous::Everybody => "everybody who can reach it, without credentials",
        };
        let dialect = match listener.dialect {
            Dialect::Native => "",
            Dialect::Rabbitmq => " as RabbitMQ speaks it",
            Dialect::Activemq => " as ActiveMQ speaks it",
        };
        writeln!(out, "  {}{dialect} on {} for {who}", listener.protocol.as_str(), listener.address)?;
    }
    let (server, limits) = (&config.server, &config.limits);
    let threads = if server.workers == 1 { "worker" } else { "workers" };
    writeln!(
        out,
        "  {} {threads}; the store in {}, durability {}, up to {}",
        server.workers,
        server.data_dir.display(),
        config.store.durability.as_str(),
        config.store.max_size
    )?;
    writeln!(
        out,
        "  up to {} connections ({} per address), packets of {}, sessions of {}",
        limits.max_connections,
        limits.max_connections_per_address,
        limits.max_packet_size,
        limits.max_session_expiry
    )?;
    writeln!(
        out,
        "  {} messages and {} may wait per client, then {}",
        limits.max_queued_messages,
        limits.max_queued_bytes,
        config.delivery.overflow.as_str()
    )?;
    let queues = &config.queues;
    writeln!(
        out,
        "  up to {} queues of {} messages and {} each, dead letters after {} deliveries",
        queues.max_queues, queues.max_messages, queues.max_bytes, queues.max_deliveries
    )
}
