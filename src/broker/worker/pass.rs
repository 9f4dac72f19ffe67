//! What let a client in, and whether it would let it in now: asked when the configuration has changed.

use std::sync::Arc;

use noctule_core::refusal::{Kind, Refusal};

use super::Peer;
use super::identity::{gone, refused};
use crate::auth::{Accepted, Grant};
use crate::broker::settings::{ListenerSettings, Settings};

/// What let a client in.
#[derive(Debug, Default)]
pub(super) enum Pass {
    /// It is not in yet: its CONNECT is judged by what is in force when it comes.
    #[default]
    None,
    /// It has no name.
    Unasked,
    /// Its user has proved himself.
    Proved(Box<(Arc<str>, Accepted)>),
    /// Its user was found out by a method of whoever embeds the broker, who ends what he wants ended.
    Elsewhere,
}

impl Pass {
    pub(super) fn of(grant: Option<&Grant>) -> Self {
        match grant {
            None => Self::Unasked,
            Some(Grant { user, proof: Some(proof), .. }) => {
                Self::Proved(Box::new((Arc::clone(user), *proof)))
            }
            Some(Grant { proof: None, .. }) => Self::Elsewhere,
        }
    }
}

/// The user's groups by the password file, if that says who is in which.
type Groups = Option<Vec<Arc<str>>>;

impl Peer {
    /// Whether it may stay by what is in force now.
    pub(super) fn review(&self, settings: &Settings) -> Result<Groups, Refusal> {
        let listener = settings.listener(self.listener).ok_or_else(gone)?;
        match &self.pass {
            Pass::None => Ok(None),
            _ if !self.has_required_certificate(listener) => {
                let detail = "its listener requires a client certificate now, and the client has shown none";
                Err(Refusal::new(Kind::NotAuthorized, detail))
            }
            Pass::Unasked if !self.is_admitted_unasked(listener) => {
                let detail = "its listener does not admit anonymous clients from there any more";
                Err(Refusal::new(Kind::NotAuthorized, detail))
            }
            Pass::Unasked | Pass::Elsewhere => Ok(None),
            Pass::Proved(proved) => self.review_proof(settings, listener, &proved.0, proved.1),
        }
    }

    /// Whether that proof, which was good, would be now.
    pub(super) fn review_proof(
        &self,
        settings: &Settings,
        listener: &ListenerSettings,
        user: &str,
        proof: Accepted,
    ) -> Result<Groups, Refusal> {
        match &settings.authenticator {
            Some(authenticator) if listener.asks(proof.method) => {
                authenticator.review(user, proof).map_err(|denial| refused(&denial))
            }
            // Where nobody is asked, he comes in as everybody does.
            _ if listener.methods.is_empty() && self.is_admitted_unasked(listener) => Ok(None),
            _ => {
                let way = proof.method.name();
                let detail =
                    format!("its listener does not take \"{way}\" any more, by which user {user:?} came in");
                Err(Refusal::new(Kind::NotAuthorized, detail))
            }
        }
    }
}
