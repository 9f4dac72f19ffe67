//! `noctule check`: reads a configuration and what it names, changes nothing, and says what it would do, everything that is
//! wrong with it, and what is right and probably not meant.
//!
//! The configuration itself is `crate::config`'s to judge; what is beyond it is in the rooms below.

mod advice;
#[cfg(not(loom))]
mod files;
mod ports;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use super::run::environment;
use crate::banner;
use crate::config::{ADMIN_SOCKET, Config, ConfigError, Dialect};

const AFTER_HELP: &str = "\
Certificates, keys, users and whatever else the file names are read as the broker would read them; who listens on its
addresses is looked up. Nothing is bound or written. Mistakes are shown as file:line:column: key: what is wrong; what works
and should be looked at all the same begins with warning:.

Exit codes: 0 the file is right, 1 it is wrong (with --strict: or there are warnings), 2 it cannot be read.";

/// Arguments of `noctule check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CheckArgs {
    /// Configuration file
    #[arg(value_name = "FILE", group = "named", required_unless_present = "config")]
    file: Option<PathBuf>,

    /// The same, written as for `run`
    #[arg(short, long, value_name = "FILE", group = "named")]
    config: Option<PathBuf>,

    /// Take warnings for mistakes: exit code 1
    #[arg(long)]
    strict: bool,
}

impl CheckArgs {
    /// The file to check, named in either way.
    #[must_use]
    pub fn file(&self) -> &Path {
        // One of the two is always given; an empty path could not be read.
        self.file.as_ref().or(self.config.as_ref()).map_or(Path::new(""), PathBuf::as_path)
    }

    /// Checks the file, with what the environment says above it as for `run`: the summary goes to `out`, warnings and mistakes to `err`.
    ///
    /// # Errors
    /// Only if writing fails.
    pub fn run(&self, out: &mut impl Write, err: &mut impl Write) -> io::Result<Exit> {
        match Config::load(self.file()).and_then(|config| config.with_environment(environment())) {
            Ok(config) => {
                let findings = self.look(&config);
                for mistake in &findings.wrong {
                    writeln!(err, "{mistake}")?;
                }
                for warning in &findings.warnings {
                    writeln!(err, "warning: {warning}")?;
                }
                let is_wrong = !findings.wrong.is_empty() || self.strict && !findings.warnings.is_empty();
                if is_wrong {
                    return Ok(Exit::Failed);
                }
                writeln!(out, "{}: ok", self.file().display())?;
                summarise(&config, out)?;
                for note in &findings.notes {
                    writeln!(out, "  {note}")?;
                }
                Ok(Exit::Done)
            }
            Err(error) => {
                writeln!(err, "{error}")?;
                let unreadable = matches!(error, ConfigError::Unreadable { .. });
                Ok(if unreadable { Exit::Usage } else { Exit::Failed })
            }
        }
    }

    /// Looks at everything that the configuration alone does not say.
    fn look(&self, config: &Config) -> Findings {
        let mut findings = Findings::default();
        let file = self.file();
        // It was read a moment ago; without it rules are called by their number.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        #[cfg(not(loom))]
        files::look(config, file, &mut findings);
        advice::look(config, &file.display().to_string(), &text, &mut findings);
        ports::look(config, &mut findings);
        findings
    }
}

/// What was found beyond the configuration itself.
#[derive(Debug, Default)]
struct Findings {
    /// The broker would not start.
    wrong: Vec<String>,
    /// It would, and somebody should look.
    warnings: Vec<String>,
    /// Good to know.
    notes: Vec<String>,
}

impl Findings {
    fn wrong(&mut self, text: impl Into<String>) {
        self.wrong.push(text.into());
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

fn summarise(config: &Config, out: &mut impl Write) -> io::Result<()> {
    for listener in &config.listener {
        let (who, way) = (banner::who(listener, config), banner::way(listener));
        let dialect = match listener.dialect {
            Dialect::Native => "",
            Dialect::Rabbitmq => " as RabbitMQ speaks it",
            Dialect::Activemq => " as ActiveMQ speaks it",
        };
        writeln!(out, "  {}{dialect}{way} on {} for {who}", listener.protocol.as_str(), listener.address)?;
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
    let operators: Vec<_> = config.admin.listen.iter().map(ToString::to_string).collect();
    let socket = config.admin.socket.then(|| server.data_dir.join(ADMIN_SOCKET).display().to_string());
    let places: Vec<_> = socket.into_iter().chain(operators).collect();
    let places = if places.is_empty() { "nowhere".to_owned() } else { places.join(" and ") };
    writeln!(out, "  looked after at {places}")?;
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
