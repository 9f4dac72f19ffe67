//! `noctule ctl`: which broker is meant, and what is wanted of it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::RunError;
use super::run::configured;
use crate::config::Level;

const AFTER_HELP: &str = "\
The broker is found by its Unix socket: admin.sock in its data directory, which --config or --data name. By default that is
./data, as for noctule run, or /var/lib/noctule, where packages put it.

Examples:
  noctule ctl status                            whether all is well, and what is not
  noctule ctl clients --connected               who is there
  noctule ctl client boiler-7                   one client, with its subscriptions
  noctule ctl disconnect boiler-7
  noctule ctl queues                            queues and shared subscriptions, and what waits there
  noctule ctl peek orders                       what waits first in a queue
  noctule ctl move DLQ.orders orders            dead letters back into their queue
  noctule ctl retained 'sensors/#'
  noctule ctl trace 'sensors/#' -i boiler-7     what that client publishes there, as it comes
  noctule ctl trace-client boiler-7             every packet of a client, and why its connections end
  noctule ctl trace-client boiler-7 -o FILE     the same into a file, which takes 16 MiB at most
  noctule ctl backup noctule-$(date +%F).redb   the whole store, while it is used
  noctule ctl top                               messages a second, what waits, memory, disk
  noctule ctl reload                            read the configuration again
  noctule ctl log-level debug                   until the next reload
  noctule ctl clients --json | jq .items        the same as the API says it

Exit codes: 0 done; 1 the broker does not answer, or says no; 2 wrong command line.";

/// Arguments of `noctule ctl`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CtlArgs {
    /// The broker's configuration file, which names its data directory
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// The broker's data directory
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "config")]
    pub data: Option<PathBuf>,

    /// Its socket, wherever that is
    #[arg(long, value_name = "PATH", global = true, conflicts_with_all = ["config", "data"])]
    pub socket: Option<PathBuf>,

    /// Print what the API answers, as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// What is wanted.
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// What may be wanted of a running broker.
#[derive(Clone, Debug, Subcommand)]
pub enum CtlCommand {
    /// Whether all is well, and what is not
    Status,
    /// The clients that have a session, connected or away
    Clients {
        /// Those only whose client identifier contains this
        #[arg(value_name = "PART")]
        client_id: Option<String>,
        /// Those only of this user
        #[arg(short, long)]
        user: Option<String>,
        /// Those only that are connected
        #[arg(long, conflicts_with = "away")]
        connected: bool,
        /// Those only that are away
        #[arg(long)]
        away: bool,
    },
    /// One client, with its subscriptions
    Client {
        /// Its client identifier
        client_id: String,
    },
    /// Disconnect a client; its session stays
    Disconnect {
        /// Its client identifier
        client_id: String,
    },
    /// Queues, durable and shared subscriptions, and what waits there
    Queues,
    /// What waits in a queue, the first messages of it
    Peek {
        /// The queue's name
        queue: String,
        /// How many messages at most
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
        limit: u16,
    },
    /// Drop what waits in a queue
    Purge {
        /// The queue's name
        queue: String,
    },
    /// Have what waits in a queue go on in another one; dead letters go back so
    Move {
        /// The queue that it waits in
        #[arg(value_name = "FROM")]
        queue: String,
        /// The queue that it is to go to
        to: String,
    },
    /// Retained messages
    Retained {
        /// Those only whose topics this filter matches
        #[arg(default_value = "#")]
        filter: String,
    },
    /// The payload of the message that is retained for a topic, as it is
    Get {
        /// The topic
        topic: String,
    },
    /// Take back the retained messages whose topics a filter matches
    Forget {
        /// The topic filter; # is everything
        filter: String,
    },
    /// What is published, as it comes, until Ctrl-C
    Trace {
        /// Those messages only whose topics this filter matches
        #[arg(default_value = "#")]
        filter: String,
        /// Those only of this client
        #[arg(short = 'i', long = "client", value_name = "CLIENT")]
        client_id: Option<String>,
        /// How much of it, and where to
        #[command(flatten)]
        follow: Follow,
    },
    /// Every packet that a client sends and is sent, and why its connections end, as it comes, until Ctrl-C
    TraceClient {
        /// The client identifier; the client need not be there yet
        client_id: String,
        /// How much of it, and where to
        #[command(flatten)]
        follow: Follow,
    },
    /// What passes and what waits, anew each second, until Ctrl-C
    Top {
        /// How often to look, then end; 0 for no end
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 0)]
        times: u32,
    },
    /// Copy the store into a file, while the broker goes on; noctule restore puts it back
    Backup {
        /// The file, which must not be there yet
        file: PathBuf,
    },
    /// Read the configuration again
    Reload,
    /// Set the least important line that is logged, until the next reload
    LogLevel {
        /// The level
        level: Level,
    },
    /// What is counted, as Prometheus reads it
    Metrics,
}

/// How long something is followed, and where to.
#[derive(Clone, Debug, Args)]
pub struct Follow {
    /// How many lines, then end; 0 for no end
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 0)]
    pub times: u64,
    /// A file for it, JSON on each line, which must not be there yet
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End before the file is larger than so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, requires = "output")]
    pub max_size: u64,
}

impl CtlArgs {
    /// Where the broker's socket is.
    ///
    /// # Errors
    /// When the configuration file can't be read or is wrong.
    pub fn place(&self) -> Result<PathBuf, RunError> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let mut config = configured(self.config.as_deref())?;
        if let Some(data) = &self.data {
            config.server.data_dir.clone_from(data);
        }
        let socket = config.admin_socket();
        let packaged = PathBuf::from("/var/lib/noctule/admin.sock");
        let is_default = self.config.is_none() && self.data.is_none();
        Ok(if is_default && !socket.exists() && packaged.exists() { packaged } else { socket })
    }
}
