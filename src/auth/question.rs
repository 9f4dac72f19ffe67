//! What is asked of the authenticator, and what it answers.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use noctule_core::id::{ConnId, Now, WorkerId};
use noctule_core::refusal::Kind;

use super::rule::Rule;
use super::secret::Secret;

/// Whose question it is; comes back with the verdict. A connection that has gone meanwhile is not found under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The worker that waits.
    pub worker: WorkerId,
    /// Its connection.
    pub conn: ConnId,
}

/// A way to prove who one is, in the words of `auth.chain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The name in a TLS client certificate.
    Certificate,
    /// The user of the process at the other end of a Unix socket.
    Peer,
    /// The password file.
    Password,
    /// A signed token as password.
    Jwt,
    /// Another program is asked over HTTP.
    Http,
}

impl Method {
    /// Its word in `auth.chain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Peer => "peer",
            Self::Password => "password",
            Self::Jwt => "jwt",
            Self::Http => "http",
        }
    }
}

/// Who says to be whom, with which proof.
#[derive(Debug)]
pub struct Question {
    /// Comes back with the verdict.
    pub ticket: Ticket,
    /// When it was asked.
    pub now: Now,
    /// The methods that hold for the listener, in their order.
    pub methods: Arc<[Method]>,
    /// `mqtt` or `stomp`.
    pub protocol: &'static str,
    /// User name of CONNECT, login of STOMP.
    pub user: Option<Box<str>>,
    /// Password of CONNECT, passcode of STOMP.
    pub password: Option<Secret>,
    /// Client id; empty for none.
    pub client_id: Box<str>,
    /// Where from; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The name that a verified client certificate proves.
    pub certificate: Option<Arc<str>>,
    /// The user (empty for none) by another reading of the same packet, which is asked about if this one fails: the two
    /// are one attempt, which counts for that user, and as a failure only if the other reading fails as well.
    pub read_otherwise: Option<Box<str>>,
    /// The user at the other end of a Unix socket.
    pub peer: Option<Arc<str>>,
}

impl Question {
    /// Whose attempt it is; empty for nobody's.
    pub(super) fn counts_for(&self) -> &str {
        self.read_otherwise.as_deref().or(self.user.as_deref()).unwrap_or_default()
    }
}

/// Who somebody is, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The user: not empty, no `+`, `#`, `/` or control character.
    pub user: Arc<str>,
    /// The user's groups; names of the same kind.
    pub groups: Vec<Arc<str>>,
    /// Rules that a token or a callback brought; they come before the configured ones. `Some` and empty: none of its own.
    pub rules: Option<Arc<[Rule]>>,
    /// When the connection ends, ms since the Unix epoch.
    pub expires: Option<u64>,
    /// By what he proved it, to be asked about again after a reload; `None` where nothing can be asked.
    pub proof: Option<Accepted>,
}

/// What was accepted as a proof of who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The way.
    pub method: Method,
    /// Tells whether the password file has the same password for him as then. 0 for the other ways.
    pub stamp: u64,
}

impl Accepted {
    /// By a way whose proof is not compared later.
    pub(super) const fn by(method: Method) -> Self {
        Self { method, stamp: 0 }
    }
}

impl Grant {
    /// Somebody with nothing but a name and groups.
    #[must_use]
    pub fn of(user: Arc<str>, groups: Vec<Arc<str>>) -> Self {
        Self { user, groups, rules: None, expires: None, proof: None }
    }
}

/// Why somebody does not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What the client is told.
    pub kind: Kind,
    /// For the log alone: a stranger is not told why. Holds no secret.
    pub why: Cow<'static, str>,
}

impl Denial {
    /// Name or proof is wrong, or both are missing.
    pub(super) fn credentials(why: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::BadCredentials, why: why.into() }
    }

    /// Nobody can tell now. It is a denial all the same.
    pub(super) fn unavailable(why: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::ServerUnavailable, why: why.into() }
    }

    /// Too many ask at once, or too often.
    pub(super) fn busy(why: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::ServerBusy, why: why.into() }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Comes in, as this user.
    Accepted(Grant),
    /// Does not.
    Denied(Denial),
}

/// Where verdicts go.
pub trait Answers: Send + Sync + fmt::Debug {
    /// Takes the verdict about a question, on a thread of the authenticator: it must not wait.
    fn answer(&self, ticket: Ticket, verdict: Verdict);
}
