//! The configuration: what `noctule.toml` may say, with every default.
//!
//! No file is needed; an empty one means the defaults. Each key is declared once, in the file of its section, with
//! its range and when a change takes effect. Reading and wording of errors is in `load`, what no single key can know in
//! `rules`. Turning limits into the protocol crates' own types is not done here.

mod acl;
mod address;
mod admin;
mod auth;
mod change;
mod environment;
mod limits;
mod listener;
mod load;
mod place;
mod quantity;
mod queues;
mod rules;
mod section;
mod server;
mod stomp;
mod store;
mod tls;

use std::fmt;
use std::path::{Path, PathBuf};

use noctule_core::acl::{RuleError, Rules, Verdict};
use serde::{Deserialize, Serialize};

pub use acl::{Acl, ClientPattern, GroupName, Right, UserName};
pub use address::{Address, Network};
pub(crate) use admin::ADMIN_SOCKET;
pub use admin::{Admin, HostName};
pub use auth::{Auth, AuthHttp, AuthJwt, AuthMethod, Claim, Url};
pub use change::Change;
pub use limits::Limits;
pub use listener::{Anonymous, Dialect, Listener, Origin, Protocol, WebPath};
pub use quantity::{Period, QuantityError, Size};
pub use queues::{Prefix, Queues};
pub use rules::Fault;
pub use section::{Key, Reload};
pub use server::{Delivery, Level, Log, LogFormat, Overflow, Server, ShareStrategy};
pub use stomp::Stomp;
pub use store::{Durability, DurabilityRule, Filter, Store};
pub use tls::{
    ApplicationProtocol, Certificate, CertificateName, ClientCertificates, File, Tls, TlsName, TlsVersion,
};

/// Largest configuration file read, bytes; a file beyond it is a mistake in the path.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[store]`
    pub store: Store,
    /// `[[durability]]`, as often as topics differ; none by default.
    pub durability: Vec<DurabilityRule>,
    /// `[limits]`
    pub limits: Limits,
    /// `[delivery]`
    pub delivery: Delivery,
    /// `[queues]`
    pub queues: Queues,
    /// `[stomp]`
    pub stomp: Stomp,
    /// `[auth]`
    pub auth: Auth,
    /// `[auth_jwt]`
    pub auth_jwt: AuthJwt,
    /// `[auth_http]`
    pub auth_http: AuthHttp,
    /// `[[acl]]`, in the order in which they are asked; none by default.
    pub acl: Vec<Acl>,
    /// `[[tls]]`, as often as listeners differ; none by default.
    pub tls: Vec<Tls>,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[[listener]]`, as often as there are addresses to listen on; without any, one for each protocol.
    pub listener: Vec<Listener>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            store: Store::default(),
            durability: Vec::new(),
            limits: Limits::default(),
            delivery: Delivery::default(),
            queues: Queues::default(),
            stomp: Stomp::default(),
            auth: Auth::default(),
            auth_jwt: AuthJwt::default(),
            auth_http: AuthHttp::default(),
            acl: Vec::new(),
            tls: Vec::new(),
            admin: Admin::default(),
            log: Log::default(),
            listener: vec![Listener::on_loopback(Protocol::Mqtt), Listener::on_loopback(Protocol::Stomp)],
        }
    }
}

impl Config {
    /// Every section with its keys.
    pub const SECTIONS: &[(&str, &[Key])] = &[
        ("server", Server::KEYS),
        ("store", Store::KEYS),
        ("durability", DurabilityRule::KEYS),
        ("limits", Limits::KEYS),
        ("delivery", Delivery::KEYS),
        ("queues", Queues::KEYS),
        ("stomp", Stomp::KEYS),
        ("auth", Auth::KEYS),
        ("auth_jwt", AuthJwt::KEYS),
        ("auth_http", AuthHttp::KEYS),
        ("acl", Acl::KEYS),
        ("tls", Tls::KEYS),
        ("admin", Admin::KEYS),
        ("log", Log::KEYS),
        ("listener", Listener::KEYS),
    ];

    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] if the file cannot be read; [`ConfigError::Wrong`] with everything that is wrong
    /// in it, each with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { file: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > MAX_FILE_BYTES {
            let hint =
                format!("it has {size} bytes, a configuration at most {MAX_FILE_BYTES}; is the path right?");
            return Err(unreadable(std::io::Error::other(hint)));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads and checks `text`; `file` is the name that errors give.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`] with everything that is wrong.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        load::parse(text, file, load::Checks::All).map_err(|problems| ConfigError::Wrong { problems })
    }

    /// The same with what the environment says above it, in variables named `NOCTULE__SECTION__KEY`.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`] with everything that is wrong in them, each with the variable in the place of the file.
    pub fn with_environment(
        self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        environment::apply(self, variables).map_err(|problems| ConfigError::Wrong { problems })
    }

    /// `new` as far as it can take effect without a restart: what can't is as it was.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        change::reloaded(self, new)
    }

    /// What is different in `new`, and when it takes effect.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        change::changes(self, new)
    }

    /// Whether anybody is asked who he is.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.listener.iter().any(|listener| !listener.chain(&self.auth).is_empty())
    }

    /// The rules of `[[acl]]` as the core asks them; their origin is their place in the file. `None`: everything is allowed.
    ///
    /// # Errors
    /// The first rule that can't be used, which reading the configuration has found before.
    pub fn rules(&self) -> Result<Option<Rules>, RuleError> {
        let default = if self.is_authenticated() { Verdict::Deny } else { Verdict::Allow };
        acl::compile(&self.acl, default)
    }

    /// The line, counted from 1, at which each `[[acl]]` of a file begins.
    #[must_use]
    pub fn acl_lines(text: &str) -> Vec<usize> {
        load::lines_of(text, "acl")
    }

    /// Where the Unix socket of `[admin]` is.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        let socket = self.server.data_dir.join(ADMIN_SOCKET);
        std::path::absolute(&socket).unwrap_or(socket)
    }

    /// Whether anything is to be stored on a disk: not if every durability is `never`.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        let listeners = self.listener.iter().filter_map(|listener| listener.durability);
        let rules = self.durability.iter().map(|rule| rule.mode);
        listeners.chain(rules).chain([self.store.durability]).any(|mode| mode != Durability::Never)
    }

    /// Checks what no single key can know, for a configuration that was changed after it was read (by flags of the
    /// command line). [`load`](Self::load) and [`parse`](Self::parse) have done it already.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        rules::faults(self)
    }
}

/// One mistake: `file:line:column: key: what is wrong and how to mend it`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as it was given.
    pub file: String,
    /// Line, counted from 1; 0 where there are no lines.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, beginning with the key's path if there is one.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// Why there is no configuration.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was read and is wrong.
    Wrong {
        /// Everything that is wrong, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => {
                write!(f, "{}: cannot be read: {source}", file.display())
            }
            Self::Wrong { problems } => {
                for (at, problem) in problems.iter().enumerate() {
                    let line_break = if at == 0 { "" } else { "\n" };
                    write!(f, "{line_break}{problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Wrong { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
