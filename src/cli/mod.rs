//! The command line: what every command takes, with its help. Each flag is defined once.
//!
//! `check`, `acl` and `import` are carried out here, because they need nothing but files; the other commands are carried
//! out by the shell.

mod acl;
mod address;
mod bench;
mod certs;
mod check;
mod client;
mod ctl;
mod import;
mod init;
mod passwd;
mod publish;
mod restore;
mod run;
mod stomp;
mod subscribe;
mod tls;
mod topic;

use clap::{Parser, Subcommand};

pub use acl::{AclArgs, AclCommand, ExplainArgs};
pub use address::{BrokerUrl, Scheme};
pub use bench::{Against, BenchArgs, MAX_CONNECTIONS, MIN_SIZE, Rate, Scenario};
pub use certs::CertsArgs;
pub use check::CheckArgs;
pub use client::{ConnectArgs, MqttVersion, UserProperty, WillArgs};
pub use ctl::{CtlArgs, CtlCommand, Follow};
pub use import::ImportArgs;
pub use init::InitArgs;
pub use passwd::{PasswdArgs, PasswdError};
pub use publish::{Payload, PayloadArgs, PayloadFormat, PubArgs};
pub use restore::RestoreArgs;
pub use run::{RunArgs, RunError};
pub use stomp::{
    Ack, Header, StompArgs, StompCommand, StompConnectArgs, StompFormat, StompSendArgs, StompSubscribeArgs,
};
pub use subscribe::{RetainHandling, SubArgs};
pub use tls::TlsArgs;

/// What the process tells its caller when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// It could not be done: the broker refused or was lost, or the configuration is wrong.
    Failed = 1,
    /// The command line was wrong, or a file it names cannot be read.
    Usage = 2,
    /// `--timeout` of `sub` or `stomp subscribe` passed before `--count` messages had come.
    Timeout = 3,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const AFTER_HELP: &str = "\
Examples:
  noctule                                   serve MQTT and STOMP, programs on this machine only
  noctule run -c /etc/noctule.toml          serve as the file says
  noctule check /etc/noctule.toml           say what the file would do, or everything wrong with it
  noctule init --host gateway.local         set up TLS, a user and a configuration
  noctule certs                             make certificates for development
  noctule passwd users alice                set alice's password in the file users
  noctule import /etc/mosquitto/mosquitto.conf -o noctule.toml   begin with Mosquitto's configuration
  noctule acl explain -c noctule.toml -u alice publish a/b       say which rule lets her, or doesn't
  noctule sub -t 'sensors/#' -v             show what comes in, with topics
  noctule pub -t sensors/attic -m 21.5      publish one message
  noctule stomp send /queue/jobs -m 17      send one message over STOMP
  noctule stomp subscribe /queue/jobs -n 1  take one
  noctule ctl clients                       say who is connected to the broker on this machine
  noctule bench one-to-one                  measure the broker on this machine

Exit codes: 0 done, 1 failed, 2 wrong command line or unreadable file, 3 timed out (sub, stomp subscribe); what they mean for
acl explain and import is in their help.";

/// MQTT and STOMP edge broker for IoT gateways
///
/// Without a command, `run`.
#[derive(Clone, Debug, Parser)]
#[command(name = "noctule", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `None` is `run`.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The arguments of `run` when no command is named.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve clients until stopped
    #[command(after_help = run::AFTER_HELP)]
    Run(RunArgs),
    /// Check a configuration without touching anything
    Check(CheckArgs),
    /// Set up a broker that others can use safely: configuration, certificates, a user
    Init(InitArgs),
    /// Make certificates for development: a CA, the broker's, clients'
    Certs(CertsArgs),
    /// Set, delete or take over users of a password file
    Passwd(PasswdArgs),
    /// Make a configuration out of Mosquitto's
    Import(ImportArgs),
    /// Say who may do what, and why
    Acl(AclArgs),
    /// Look after a running broker: clients, queues, reload
    Ctl(Box<CtlArgs>),
    /// Put a backup into the place of the store
    Restore(RestoreArgs),
    /// Publish messages to a broker
    Pub(Box<PubArgs>),
    /// Subscribe to topics and print what comes
    Sub(Box<SubArgs>),
    /// Send and receive over STOMP, with this broker or another
    Stomp(StompArgs),
    /// Measure a broker, this one or another
    Bench(Box<BenchArgs>),
}

impl Cli {
    /// Reads the command line, `arguments[0]` being the program's name.
    ///
    /// # Errors
    /// clap's own error, which also stands for `--help` and `--version`: print it and exit with its code. Also when
    /// options are given that the chosen protocol version cannot express.
    pub fn read<I>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator,
        I::Item: Into<std::ffi::OsString> + Clone,
    {
        let cli = Self::try_parse_from(arguments)?;
        match &cli.command {
            Some(Command::Pub(publish)) => publish.check()?,
            Some(Command::Sub(subscribe)) => subscribe.check()?,
            Some(Command::Stomp(stomp)) => stomp.check()?,
            Some(Command::Bench(bench)) => bench.check()?,
            Some(
                Command::Ctl(_)
                | Command::Acl(_)
                | Command::Certs(_)
                | Command::Check(_)
                | Command::Import(_)
                | Command::Init(_)
                | Command::Passwd(_)
                | Command::Restore(_)
                | Command::Run(_),
            )
            | None => {}
        }
        Ok(cli)
    }

    /// The command, with a bare `noctule` resolved to `run`.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

/// A usage error worded like clap's own, for what only several flags together make wrong.
fn usage(command: &[&str], message: String) -> clap::Error {
    use clap::CommandFactory;
    let mut part = Cli::command();
    part.build();
    for name in command {
        match part.find_subcommand(name).cloned() {
            Some(next) => part = next,
            None => break,
        }
    }
    part.error(clap::error::ErrorKind::ArgumentConflict, message)
}

#[cfg(test)]
mod tests;
