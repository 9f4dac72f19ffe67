//! Certificates for development: a CA of one's own, and what it issues to the broker and to clients.
//!
//! [`make`] decides what is missing and issues it; how files come into being is next door, in `directory`. Real
//! certificates come from elsewhere: nobody should be tempted to run a plant with a CA whose key lies beside its config.

mod directory;
mod issue;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;

use directory::Directory;
use issue::Authority;

/// The CA's certificate: what clients trust.
pub const CA: &str = "ca.pem";
/// The CA's key.
pub const CA_KEY: &str = "ca.key";
/// The broker's certificate.
pub const SERVER: &str = "server.pem";
/// The broker's key.
pub const SERVER_KEY: &str = "server.key";

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where to. Created, for nobody else to look into, if only its last part is missing.
    pub directory: PathBuf,
    /// What clients call the broker by, besides `localhost`, its addresses and this machine's name.
    pub names: Vec<ServerName>,
    /// User names of clients.
    pub clients: Vec<ClientName>,
    /// How long certificates are valid, in days.
    pub days: u32,
    /// Whether certificates of the broker and of clients that exist are replaced. The CA never is.
    pub force: bool,
}

/// What clients may call a broker by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// A DNS name, in lower case; the first label may be `*`.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

impl std::str::FromStr for ServerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let plain = text.strip_prefix("*.").unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 253 && plain.split('.').all(label) {
            Ok(Self::Dns(text.to_ascii_lowercase()))
        } else {
            Err("write a host name such as gateway.local, or an address".to_owned())
        }
    }
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A client's user name: the common name of its certificate, and part of the names of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

impl ClientName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file of its certificate.
    #[must_use]
    pub fn certificate(&self) -> String {
        format!("client-{}.pem", self.0)
    }

    /// The file of its key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("client-{}.key", self.0)
    }
}

impl std::str::FromStr for ClientName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The broker would take such a certificate for nobody's; and / would lead out of the directory.
        if text.contains(['+', '#', '/']) || text.chars().any(char::is_control) {
            Err("a user name has no +, #, / or control character".to_owned())
        } else if !(1..=64).contains(&text.chars().count()) {
            // RFC 5280, ub-common-name.
            Err("a user name in a certificate has 1 to 64 characters".to_owned())
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// What has been done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The CA is new; otherwise the one that was there has been used.
    pub authority: bool,
    /// The broker's certificate is new; otherwise there was one and it was left alone.
    pub server: bool,
    /// What the broker's certificate is for, if it is new.
    pub names: Vec<ServerName>,
    /// The day on which what was made expires, as `2029-02-24`.
    pub until: String,
}

/// Why certificates can't be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertsError {
    /// It would have been written over.
    #[error("{} is there already; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// One of two files that belong together is missing.
    #[error("{} is there without {}; {mend}", .there.display(), .missing.display())]
    Half {
        /// The one.
        there: PathBuf,
        /// The other.
        missing: PathBuf,
        /// What to do about it.
        mend: &'static str,
    },
    /// What is there can't be used as a CA.
    #[error("{}: {reason}; move ca.pem and ca.key away, and a new CA is made", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Something else has the name of a directory or a file.
    #[error("{} is {found}; name another --dir", .path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The system said no.
    #[error("can't {what} {}: {source}", .path.display())]
    System {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A certificate can't be made of what is wanted.
    #[error("can't issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
}

/// Makes what is wanted and missing: the CA and the broker's certificate if there are none, and the clients'.
///
/// Whether anything would have to be written over is known before the first file is written.
///
/// # Errors
/// See [`CertsError`].
pub fn make(request: &Request) -> Result<Made, CertsError> {
    let directory = Directory::open(&request.directory)?;
    let at = |name: &str| request.directory.join(name);
    let has_authority =
        pair(&directory, (CA, CA_KEY), "put the other back, or move it away, and a new CA is made")?;
    let has_server = if request.force {
        false
    } else {
        pair(&directory, (SERVER, SERVER_KEY), "--force makes both anew")?
    };
    if has_server && !request.names.is_empty() {
        return Err(CertsError::Exists(at(SERVER)));
    }
    if !request.force {
        for client in &request.clients {
            for name in [client.certificate(), client.key()] {
                if directory.has(&name)? {
                    return Err(CertsError::Exists(at(&name)));
                }
            }
        }
    }

    let authority = if has_authority {
        Authority::existing(&at(CA), &directory.read(CA)?, &at(CA_KEY), &directory.read(CA_KEY)?)?
    } else {
        let authority = Authority::new(&host(), request.days)?;
        directory.write(CA_KEY, &authority.key_pem(), Access::Owner, false)?;
        directory.write(CA, authority.certificate_pem(), Access::Everybody, false)?;
        authority
    };
    let mut made = Made { authority: !has_authority, server: !has_server, ..Made::default() };
    let until = authority.until_s(request.days);
    made.until = issue::day(until);
    if !has_server {
        made.names = server_names(&request.names);
        let issued = authority.server(&made.names, until)?;
        issued.write(&directory, SERVER, SERVER_KEY, request.force)?;
    }
    for client in &request.clients {
        let issued = authority.client(client.as_str(), until)?;
        issued.write(&directory, &client.certificate(), &client.key(), request.force)?;
    }
    Ok(made)
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Owner,
    Everybody,
}

/// Whether a certificate and its key are there: both or neither.
fn pair(directory: &Directory, names: (&str, &str), mend: &'static str) -> Result<bool, CertsError> {
    let (certificate, key) = (directory.has(names.0)?, directory.has(names.1)?);
    if certificate == key {
        return Ok(certificate);
    }
    let (there, missing) = if certificate { names } else { (names.1, names.0) };
    let at = |name: &str| directory.path().join(name);
    Err(CertsError::Half { there: at(there), missing: at(missing), mend })
}

/// What a client on this machine or beside it calls the broker by, and `wanted`; each once.
fn server_names(wanted: &[ServerName]) -> Vec<ServerName> {
    let own = ["localhost", "127.0.0.1", "::1", &host()];
    let own = own.iter().filter_map(|name| name.parse().ok());
    let mut names: Vec<ServerName> = Vec::new();
    for name in own.chain(wanted.iter().cloned()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// This machine's name.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_ascii_lowercase() }
}

/// Seconds since 1970.
fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn system(what: &'static str, path: &Path) -> impl Fn(rustix::io::Errno) -> CertsError {
    move |error| CertsError::System { what, path: path.to_owned(), source: error.into() }
}
