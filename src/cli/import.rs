//! `noctule import`: a noctule.toml out of a mosquitto.conf, and a list of what has become of each of its lines.
//!
//! The lines are read (`lines`), told apart by whose they are (`parts`) and taken over part by part (`broker`, `access`,
//! `listeners`) into a file (`draft`) and a list (`ledger`). `keys` has those that mean nothing here. What is written has
//! passed the same checks as any configuration.

mod access;
mod acl_file;
mod broker;
mod draft;
mod keys;
mod ledger;
mod lines;
mod listeners;
mod parts;

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use crate::config::{Config, ConfigError};
use draft::Draft;
use ledger::Ledger;
use lines::Wrong;
use parts::Parts;

const AFTER_HELP: &str = "\
Examples:
  noctule import /etc/mosquitto/mosquitto.conf --output noctule.toml
  noctule import mosquitto.conf > noctule.toml

include_dir and acl_file are read too; passwords are taken over by noctule passwd, as the list says. Keys of Mosquitto 1.0
to 2.0 are known, and read as 2.0 reads them. A listener that would let in more than before is written as a comment.

The list goes to standard error: what is taken over, what means something else here, and what has no counterpart.

Exit codes: 0 written; 1 written, but something is lost that somebody has to look at; 2 nothing is written, because the
command line or a file is wrong.";

/// Arguments of `noctule import`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ImportArgs {
    /// Configuration of Mosquitto
    #[arg(value_name = "MOSQUITTO_CONF")]
    file: PathBuf,

    /// Write here, for the owner's eyes alone (0600) [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write over a file that is there
    #[arg(long, requires = "output")]
    force: bool,
}

impl ImportArgs {
    /// Writes the configuration to `out`, or to the file that is named, and the list to `err`.
    ///
    /// # Errors
    /// Only if writing to one of the two fails.
    pub fn run(&self, out: &mut impl Write, err: &mut impl Write) -> io::Result<Exit> {
        let Imported { text, ledger } = match import(&self.file) {
            Ok(imported) => imported,
            Err(wrong) => {
                for wrong in wrong {
                    writeln!(err, "{wrong}")?;
                }
                return Ok(Exit::Usage);
            }
        };
        match &self.output {
            None => out.write_all(text.as_bytes())?,
            Some(file) => {
                if let Err(error) = self.write(file, &text) {
                    writeln!(err, "noctule: {error}")?;
                    return Ok(Exit::Usage);
                }
            }
        }
        ledger.report(err)?;
        writeln!(
            err,
            "\nWhat {} does not say is as Noctule has it by default, not as Mosquitto has.",
            self.file.display()
        )?;
        if let Some(file) = &self.output {
            writeln!(
                err,
                "Written to {}; noctule check {} says what it does.",
                file.display(),
                file.display()
            )?;
        }
        Ok(if ledger.has_losses() { Exit::Failed } else { Exit::Done })
    }

    fn write(&self, file: &Path, text: &str) -> Result<(), String> {
        let shown = file.display();
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if self.force {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        if is_same(file, &self.file) {
            return Err(format!("--output {shown}: that is what is being read; name another file"));
        }
        let done = options.open(file).and_then(|mut file| {
            if self.force && file.metadata()?.is_file() {
                // It may have been there, for others to read.
                file.set_permissions(Permissions::from_mode(0o600))?;
            }
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        done.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!(
                    "--output {shown}: it is there already; name another file, or write over it with --force"
                )
            }
            _ => format!("--output {shown}: cannot be written: {error}"),
        })
    }
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// What an import comes to.
#[derive(Debug)]
struct Imported {
    text: String,
    ledger: Ledger,
}

/// Reads a configuration of Mosquitto.
fn import(path: &Path) -> Result<Imported, Vec<Wrong>> {
    let mut wrong = Vec::new();
    let lines = lines::of_configuration(path, &mut wrong);
    let mut ledger = Ledger::new(lines, wrong);
    let parts = Parts::of(&mut ledger);
    let mut draft = Draft::new();
    draft.about.push(format!("Made by noctule import out of {}.", path.display().to_string().escape_debug()));
    broker::convert(&parts, &mut draft, &mut ledger);
    let access = access::convert(&parts, &mut draft, &mut ledger);
    listeners::convert(&parts, &access, &mut draft, &mut ledger);
    if let Ok(config) = Config::parse(&draft.text(), "") {
        access.finish(config.is_authenticated(), &mut draft, &mut ledger);
    }
    let text = draft.text();
    if ledger.wrong.is_empty() {
        check(&text, path, &mut ledger);
    }
    if ledger.wrong.is_empty() {
        return Ok(Imported { text, ledger });
    }
    let mut wrong = ledger.wrong;
    // What is for all listeners is looked at once for each.
    let mut seen = Vec::new();
    wrong.retain(|one| {
        let is_new = !seen.contains(one);
        if is_new {
            seen.push(one.clone());
        }
        is_new
    });
    Err(wrong)
}

/// What is about to be written has to be right.
fn check(text: &str, path: &Path, ledger: &mut Ledger) {
    let Err(error) = Config::parse(text, "what it comes to") else { return };
    let place = lines::Place { file: path.display().to_string().into(), line: 0 };
    let ConfigError::Wrong { problems } = error else { return };
    for problem in problems {
        let line = text.lines().nth(problem.line.saturating_sub(1)).unwrap_or_default();
        ledger.wrong.push(Wrong {
            place: place.clone(),
            message: format!("cannot be taken over: {} ({line})", problem.message),
        });
    }
}

#[cfg(test)]
mod tests;
