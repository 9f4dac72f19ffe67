//! TLS for listeners: settings in, sessions out, certificates exchanged while it runs.
//!
//! An [`Acceptor`] reads and checks the files of one `[[tls]]` and opens a [`Session`] per connection, which turns the
//! wire's bytes into the protocol's and back without a socket, a task or a buffer of its own. A [`Watch`] has the files
//! read again when they change. What a client may do once it is known is decided elsewhere; here is only said who it is.
//!
//! TLS 1.2 and 1.3 by rustls with ring. There is no renegotiation, no compression and no early data.

mod acceptor;
mod clients;
mod end;
mod error;
mod first;
mod identity;
mod names;
mod own;
mod pem;
mod session;
mod settings;
// Its callers stand on tokio's sockets, which are not there under loom.
#[cfg(not(loom))]
pub(crate) mod telemetry;
#[cfg(test)]
mod tests;
mod watch;

use std::time::{SystemTime, UNIX_EPOCH};

pub use acceptor::{Acceptor, Changed};
pub use end::TlsEnd;
pub use error::{TlsError, Warning};
pub use identity::{Identity, IdentityFrom, MAX_NAME_BYTES, Nameless};
pub use session::{MAX_HANDSHAKE_BYTES, MAX_RECORD_BYTES, Opened, Session};
pub use settings::{CertificateFiles, ClientCertificates, MinVersion, Settings, Tickets};
pub use watch::Watch;

/// Seconds since 1970, as certificates count them.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
