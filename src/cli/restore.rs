//! `noctule restore`: a backup takes the place of the store.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::run::configured;
use super::{Exit, RunError};
use crate::store;

const AFTER_HELP: &str = "\
The broker must not be running. The store that is there is kept under another name in the data directory; delete it when the
broker has started with the backup. On a file system without hard links (vfat) a power cut during the exchange can leave the
store under that name alone; rename it back then.

Examples:
  noctule ctl backup noctule-friday.redb        while the broker runs
  noctule restore noctule-friday.redb --data /var/lib/noctule

Exit codes: 0 done; 1 it can't be done, and everything is as it was; 2 wrong command line.";

/// Arguments of `noctule restore`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RestoreArgs {
    /// What noctule ctl backup has written
    pub backup: PathBuf,

    /// The broker's configuration file, which names its data directory
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The broker's data directory
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub data: Option<PathBuf>,
}

impl RestoreArgs {
    /// Runs `noctule restore`.
    ///
    /// # Errors
    /// When the configuration can't be read, or the backup can't take the store's place.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let directory = self.directory().map_err(|error| anyhow::anyhow!("{error}"))?;
        let restored = store::restore(&self.backup, &directory)?;
        let store::Restored { sessions, messages, retained, set_aside } = restored;
        writeln!(
            out,
            "{} is in place: {sessions} sessions, {messages} messages that wait, {retained} retained",
            self.backup.display()
        )?;
        if let Some(before) = set_aside {
            writeln!(out, "what was there before is kept as {}", before.display())?;
        }
        Ok(Exit::Done)
    }

    fn directory(&self) -> Result<PathBuf, RunError> {
        let config = configured(self.config.as_deref())?;
        Ok(self.data.clone().unwrap_or(config.server.data_dir))
    }
}
