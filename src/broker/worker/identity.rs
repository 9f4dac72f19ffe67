//! Who a client is: what the connection itself proves, and what the authenticator is asked while the connection waits.

use std::sync::Arc;

use noctule_core::acl::{self, Rules};
use noctule_core::id::ConnId;
use noctule_core::refusal::{Kind, Refusal};

use super::{Io, Peer, Worker};
use crate::auth::{self, Asked, Denial, Grant, Question, Secret, Ticket, Verdict, rule};
use crate::broker::settings::ListenerSettings;
use crate::config::Anonymous;
use crate::net::Spoken;

/// What a CONNECT says of who it is from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'c> {
    pub(super) spoken: Spoken,
    pub(super) user: Option<&'c str>,
    pub(super) password: Option<&'c [u8]>,
    pub(super) client_id: &'c str,
}

impl Claim<'_> {
    fn has_credentials(self) -> bool {
        self.user.is_some() || self.password.is_some()
    }
}

/// What comes of a claim.
#[derive(Debug)]
pub(super) enum Identified {
    /// It comes in: as somebody, or anonymously.
    As(Option<Grant>),
    /// It does not.
    Refused(Refusal),
    /// The authenticator was asked. The connection is not read until it has answered; its CONNECT is to be read again then.
    Later,
}

/// How far a connection has come in being identified; most of its life there is none.
#[derive(Debug)]
pub(super) struct Proof {
    verdict: Option<Verdict>,
    /// How often the authenticator was asked.
    asked: u8,
    /// The user that SCRAM is to prove, as long as it has not: a failure is counted for him.
    to_prove: Option<Box<str>>,
}

impl Proof {
    /// Of SCRAM, which is to prove this user.
    pub(super) fn by_scram(user: Box<str>) -> Self {
        Self { verdict: None, asked: 0, to_prove: Some(user) }
    }

    /// The user that is to be proved yet.
    pub(super) fn to_prove(&self) -> Option<&str> {
        self.to_prove.as_deref()
    }
}

impl Peer {
    /// Whether it may be here without credentials.
    pub(super) fn is_admitted_unasked(&self, listener: &ListenerSettings) -> bool {
        // The address is the proxy's then, and says nothing about where the client is.
        let is_hidden = self.facts.as_ref().is_some_and(|facts| facts.is_for_nobody);
        match listener.anonymous {
            Anonymous::Loopback if is_hidden => false,
            anonymous => anonymous.admits(self.origin.ip()),
        }
    }

    /// Whether it has what TLS requires of the listener's clients. On a port where TLS need not be spoken, who speaks
    /// none has shown nothing.
    pub(super) fn has_required_certificate(&self, listener: &ListenerSettings) -> bool {
        !listener.wiring.requires_certificates()
            || self.facts.as_ref().is_some_and(|facts| facts.has_certificate())
    }
}

impl Worker {
    /// Refuses whoever has not shown the certificate that its listener requires. Asked before anything that its CONNECT
    /// says is looked at.
    pub(super) fn check_certificate(&mut self, conn: ConnId) -> Result<(), Refusal> {
        let settings = Arc::clone(&self.settings);
        let Some(peer) = self.peer(conn) else { return Err(gone()) };
        match settings.listener(peer.listener) {
            Some(listener) if peer.has_required_certificate(listener) => Ok(()),
            Some(_) => Err(Refusal::new(
                Kind::NotAuthorized,
                "this listener requires a client certificate, and the client speaks without TLS; connect with TLS and a \
                 certificate",
            )),
            None => Err(gone()),
        }
    }

    /// Who `claim` is from. `otherwise` is what it may have meant as well, to be tried if the first reading is nobody's.
    pub(super) fn identify(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        claim: Claim<'_>,
        otherwise: Option<Claim<'_>>,
    ) -> Identified {
        let settings = Arc::clone(&self.settings);
        let worker = self.engine.id();
        let Some(peer) = self.peer(conn) else { return Identified::Refused(gone()) };
        let Some(listener) = settings.listener(peer.listener) else { return Identified::Refused(gone()) };
        let (claim, asked) = match peer.proof.take().map(|proof| (proof.verdict, proof.asked)) {
            Some((Some(Verdict::Accepted(grant)), _)) => {
                // Another configuration may have come before the verdict did.
                let review = |proof| peer.review_proof(&settings, listener, &grant.user, proof);
                return match grant.proof.map(review).transpose() {
                    Ok(_) => Identified::As(Some(grant)),
                    Err(refusal) => Identified::Refused(refusal),
                };
            }
            Some((Some(Verdict::Denied(denial)), asked)) => match otherwise {
                Some(otherwise) if asked == 1 && denial.kind == Kind::BadCredentials => (otherwise, asked),
                _ => return Identified::Refused(refused(&denial)),
            },
            Some((None, asked)) => (claim, asked),
            None => (claim, 0),
        };
        let facts = peer.facts.as_deref();
        let certificate = facts.and_then(|facts| facts.identity.clone());
        let system_user = listener.asks(auth::Method::Peer).then(|| peer.origin.system_user()).flatten();
        let proves_itself =
            (certificate.is_some() && listener.asks(auth::Method::Certificate)) || system_user.is_some();
        let is_asked = !listener.methods.is_empty() && (claim.has_credentials() || proves_itself);
        if !is_asked {
            if peer.is_admitted_unasked(listener) {
                return Identified::As(None);
            }
            return Identified::Refused(unknown(
                claim,
                &peer.origin.place(),
                facts.and_then(|facts| facts.nameless.as_deref()),
            ));
        }
        let question = Question {
            ticket: Ticket { worker, conn },
            now: io.now(),
            methods: Arc::clone(&listener.methods),
            protocol: claim.spoken.name(),
            user: claim.user.map(Into::into),
            password: claim.password.map(Secret::copy_of),
            client_id: claim.client_id.into(),
            address: peer.origin.ip(),
            certificate,
            read_otherwise: otherwise
                .filter(|_| asked == 0)
                .map(|claim| claim.user.unwrap_or_default().into()),
            peer: system_user,
        };
        peer.proof = Some(Box::new(Proof { verdict: None, asked: asked + 1, to_prove: None }));
        let Some(authenticator) = &settings.authenticator else {
            return Identified::Refused(Refusal::new(Kind::ServerUnavailable, "there is no authenticator"));
        };
        match authenticator.ask(question) {
            Asked::Pending => {
                io.pause_reads(conn);
                Identified::Later
            }
            Asked::Decided(Verdict::Accepted(grant)) => Identified::As(Some(grant)),
            Asked::Decided(Verdict::Denied(denial)) => Identified::Refused(refused(&denial)),
        }
    }

    /// The authenticator has answered: the CONNECT is read again, and comes here again.
    pub(super) fn verdict(&mut self, io: &mut Io, conn: ConnId, verdict: Verdict) {
        if let Some(peer) = self.peer(conn)
            && let Some(proof) = &mut peer.proof
        {
            proof.verdict = Some(verdict);
            io.resume_reads(conn);
        }
    }
}

/// The rules that a token brought, as the policy asks them: what they don't decide the configured ones do. One that can't be
/// used may have been one that denies, so nothing is allowed then.
pub(super) fn own_rules(grant: &Grant) -> Option<Arc<Rules>> {
    let rules = grant.rules.as_ref().filter(|rules| !rules.is_empty())?;
    let compiled = Rules::compile(rules.iter().map(compiled).collect());
    Some(Arc::new(compiled.unwrap_or_else(|_| deny_all())))
}

fn compiled(rule: &rule::Rule) -> acl::Rule {
    let actions = rule.actions.iter().map(|doing| match doing {
        rule::Doing::Publish => acl::Actions::PUBLISH,
        rule::Doing::Subscribe => acl::Actions::SUBSCRIBE,
        rule::Doing::Retain => acl::Actions::RETAIN,
    });
    acl::Rule {
        // None named: all of them.
        actions: actions.reduce(|all, action| all | action).unwrap_or(acl::Actions::ALL),
        topics: Some(rule.topics.iter().map(|topic| topic.as_str().into()).collect()),
        max_qos: rule.max_qos,
        ..acl::Rule::new(match rule.verdict {
            rule::Permission::Allow => acl::Verdict::Allow,
            rule::Permission::Deny => acl::Verdict::Deny,
        })
    }
}

fn deny_all() -> Rules {
    Rules::compile(vec![acl::Rule::new(acl::Verdict::Deny)]).unwrap_or_default()
}

pub(super) fn gone() -> Refusal {
    Refusal::new(Kind::AdministrativeAction, "its listener was taken out of the configuration")
}

pub(super) fn refused(denial: &Denial) -> Refusal {
    Refusal::new(denial.kind, denial.why.to_string())
}

fn unknown(claim: Claim<'_>, place: &str, nameless: Option<&str>) -> Refusal {
    let (kind, what) = match (nameless, claim.has_credentials()) {
        (Some(why), _) => (Kind::NotAuthorized, why),
        (None, true) => (Kind::BadCredentials, "no user is known here"),
        (None, false) => (Kind::NotAuthorized, "no credentials were given"),
    };
    let detail = format!("{what}, and this listener does not admit anonymous clients from {place}");
    Refusal::new(kind, detail)
}
