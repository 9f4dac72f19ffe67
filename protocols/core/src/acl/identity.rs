//! Who asks: what is known of a client once it is authenticated.

use core::net::IpAddr;
use std::sync::Arc;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The authenticated user, if any.
    pub user: Option<&'a str>,
    /// The groups that the user is in.
    pub groups: &'a [Arc<str>],
    /// The client id.
    pub client_id: &'a str,
    /// The network address; `None` for a client without one, which is on this machine: its socket is a Unix one.
    pub address: Option<IpAddr>,
    /// Whether groups and address are not known: the store keeps the user and the client id of a session only. What
    /// depends on them is decided against the client, until it is there again.
    pub is_partial: bool,
}

impl<'a> Identity<'a> {
    /// A client of which nothing but its id is known: nobody was authenticated, and it is on this machine.
    #[must_use]
    pub fn anonymous(client_id: &'a str) -> Self {
        Self { user: None, groups: &[], client_id, address: None, is_partial: false }
    }

    /// The client of a session as the store has kept it.
    #[must_use]
    pub fn kept(user: Option<&'a str>, client_id: &'a str) -> Self {
        Self { user, groups: &[], client_id, address: None, is_partial: true }
    }
}

/// An [`Identity`] that belongs to nobody else.
#[derive(Clone, Debug)]
pub struct Who {
    user: Option<Box<str>>,
    groups: Box<[Arc<str>]>,
    client_id: Box<str>,
    address: Option<IpAddr>,
    is_partial: bool,
}

impl Who {
    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            user: self.user.as_deref(),
            groups: &self.groups,
            client_id: &self.client_id,
            address: self.address,
            is_partial: self.is_partial,
        }
    }
}

impl From<Identity<'_>> for Who {
    fn from(who: Identity<'_>) -> Self {
        Self {
            user: who.user.map(Into::into),
            groups: who.groups.into(),
            client_id: who.client_id.into(),
            address: who.address,
            is_partial: who.is_partial,
        }
    }
}
