//! What decides, besides its user and client id, what a session may do, and what that has come to.

use core::net::IpAddr;
use std::sync::Arc;

use crate::acl::{Identity, Rights, Rules};

/// What authentication has found out about a client, where it has found out anything.
#[derive(Debug)]
pub struct Grant {
    /// The groups that its user is in.
    pub groups: Box<[Arc<str>]>,
    /// The rules of its token.
    pub rules: Option<Arc<Rules>>,
}

/// See the module. The default: of a session that the store has kept, before its client is back.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Groups and a token's rules, if there are any; shared by the consumers of one connection.
    pub grant: Option<Arc<Grant>>,
    /// The client's network address at its last connection.
    pub address: Option<IpAddr>,
    /// Whether all this is known.
    pub is_known: bool,
    /// What it may do, as far as anything is refused to it; as of `as_of`.
    pub rights: Option<Arc<Rights>>,
    /// Which count of changed policies the rights follow from; 0: they are still to be found.
    pub as_of: u32,
}

impl Standing {
    /// Who it is.
    #[must_use]
    pub fn identity<'a>(&'a self, user: Option<&'a str>, client_id: &'a str) -> Identity<'a> {
        let groups = self.grant.as_ref().map_or(&[][..], |grant| &grant.groups);
        Identity { user, groups, client_id, address: self.address, is_partial: !self.is_known }
    }

    /// What its token allows and denies.
    #[must_use]
    pub fn token(&self) -> Option<&Arc<Rules>> {
        self.grant.as_ref()?.rules.as_ref()
    }
}
