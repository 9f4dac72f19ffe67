//! `noctule run`: flags that stand above the configuration file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use crate::config::{Address, Anonymous, Config, ConfigError, Level, Listener, LogFormat, Protocol};

pub(super) const AFTER_HELP: &str = "\
--mqtt and --stomp take the place of all configured listeners: with only one of them, only that protocol is served.

Examples:
  noctule run                                                   MQTT and STOMP, programs on this machine only
  noctule run -c /etc/noctule.toml
  noctule run --mqtt 0.0.0.0:1883 --anonymous                   MQTT alone, for everybody who can reach it
  noctule run --mqtt 0.0.0.0:1883 --stomp 0.0.0.0:61613 --anonymous

With a configuration file, SIGHUP has it read again: what is wrong in it changes nothing, and what has changed is logged.
Single keys may come from the environment: NOCTULE__LIMITS__MAX_INFLIGHT=64, NOCTULE__LISTENER__0__ADDRESS=0.0.0.0:1883.

Exit codes: 0 stopped by a signal; 1 the configuration is wrong, or serving failed; 2 wrong command line or unreadable
file.";

/// Arguments of `noctule run`.
#[derive(Clone, Debug, Default, Args)]
#[command(group = ArgGroup::new("listener").multiple(true))]
pub struct RunArgs {
    /// Configuration file; without one, the defaults
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Listen for MQTT here, instead of the configured listeners; without --stomp, for nothing else
    #[arg(long, value_name = "IP:PORT", group = "listener", value_parser = listen_address)]
    pub mqtt: Option<SocketAddr>,

    /// Listen for STOMP here, instead of the configured listeners; without --mqtt, for nothing else
    #[arg(long, value_name = "IP:PORT", group = "listener", value_parser = listen_address)]
    pub stomp: Option<SocketAddr>,

    /// Serve metrics, health and the API by HTTP here, instead of the configured addresses; on this machine only
    #[arg(long, value_name = "IP:PORT", value_parser = listen_address)]
    pub admin: Option<SocketAddr>,

    /// Let everybody who can reach the --mqtt and --stomp addresses connect without credentials
    #[arg(long, requires = "listener")]
    pub anonymous: bool,

    /// Directory of the store, where everything lies that survives a restart; created if need be
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Worker threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,

    /// Shape of the log lines
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Log more: what clients subscribe to, what they are refused, how connections fail
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl RunArgs {
    /// The configuration that is to run: the file (or the defaults), above it the environment (`NOCTULE__SECTION__KEY`) and
    /// above that the flags, checked.
    ///
    /// # Errors
    /// What [`Config::load`] finds, or one line for each flag that makes it wrong.
    pub fn configuration(&self) -> Result<Config, RunError> {
        let mut config = configured(self.config.as_deref())?;
        if let Some(listeners) = self.listeners()? {
            config.listener = listeners;
            // As with those of the clients: what the flags do not name, nobody listens on.
            config.admin.listen = Vec::new();
        }
        if let Some(admin) = self.admin {
            if !admin.ip().to_canonical().is_loopback() {
                return Err(RunError::OpenAdmin { address: admin });
            }
            config.admin.listen = vec![admin.into()];
        }
        if let Some(data) = &self.data {
            config.server.data_dir.clone_from(data);
        }
        if let Some(workers) = self.workers {
            config.server.workers = workers;
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
        match self.verbose {
            0 => {}
            1 => config.log.level = Level::Debug,
            _ => config.log.level = Level::Trace,
        }
        Ok(config)
    }

    /// The listeners that the flags name, if any.
    fn listeners(&self) -> Result<Option<Vec<Listener>>, RunError> {
        let given = [(Protocol::Mqtt, self.mqtt), (Protocol::Stomp, self.stomp)];
        let anonymous = if self.anonymous { Anonymous::Everybody } else { Anonymous::Loopback };
        let mut listeners = Vec::new();
        for (protocol, address) in given {
            let Some(address) = address else { continue };
            if !self.anonymous && !address.ip().to_canonical().is_loopback() {
                return Err(RunError::Open { protocol, address });
            }
            listeners.push(Listener {
                address: address.into(),
                anonymous,
                ..Listener::on_loopback(protocol)
            });
        }
        if let (Some(mqtt), Some(stomp)) = (self.mqtt, self.stomp)
            && Address::from(mqtt).collides_with(&stomp.into())
        {
            return Err(RunError::Collision { mqtt, stomp });
        }
        Ok(if listeners.is_empty() { None } else { Some(listeners) })
    }
}

/// What the file says, or the defaults, and above it the environment.
///
/// # Errors
/// [`RunError::File`].
pub(super) fn configured(file: Option<&Path>) -> Result<Config, RunError> {
    let config = file.map_or_else(|| Ok(Config::default()), Config::load).map_err(RunError::File)?;
    config.with_environment(environment()).map_err(RunError::File)
}

/// The environment, as far as it is text.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Where to listen. A name is refused: which of its addresses would be meant is nobody's to guess.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write an address and a port such as 127.0.0.1:1883, 0.0.0.0:1883 or [::1]:61613".to_owned()
    })
}

/// Why `noctule run` does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The configuration file.
    File(ConfigError),
    /// A flag names an address that others can reach, and nothing says that this is meant.
    Open {
        /// Whose flag it is.
        protocol: Protocol,
        /// What it names.
        address: SocketAddr,
    },
    /// `--admin` names an address that others can reach.
    OpenAdmin {
        /// What it names.
        address: SocketAddr,
    },
    /// `--mqtt` and `--stomp` can't both be bound.
    Collision {
        /// What `--mqtt` names.
        mqtt: SocketAddr,
        /// What `--stomp` names.
        stomp: SocketAddr,
    },
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Open { protocol, address } => write!(
                f,
                "--{} {address}: other machines can reach it, and no authentication is configured that would let \
                 them in; add --anonymous if everybody who can reach it may publish and subscribe",
                protocol.as_str()
            ),
            Self::OpenAdmin { address } => write!(
                f,
                "--admin {address}: other machines can reach it; name an address of this machine, or write admin.listen, \
                 admin.tls and admin.users into a configuration file"
            ),
            Self::Collision { mqtt, stomp } => write!(
                f,
                "--stomp {stomp}: --mqtt {mqtt} takes that address; give each its own port, such as {} and {}",
                Protocol::Mqtt.port(),
                Protocol::Stomp.port()
            ),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::Open { .. } | Self::OpenAdmin { .. } | Self::Collision { .. } => None,
        }
    }
}
