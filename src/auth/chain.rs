//! The methods in their order: each accepts, denies for good, or says that it is not about this one.
//!
//! | method | says nothing | denies | accepts |
//! | --- | --- | --- | --- |
//! | certificate | no client certificate | - | the name in it |
//! | peer | not a Unix socket | - | the user of the process |
//! | password | no user, no password, or a user that the file does not have | another password | |
//! | jwt | the password is no token | the token does not hold | |
//! | http | neither user nor password nor certificate | whatever is not a yes | |
//!
//! Who has said nothing that any method takes is denied; so is everybody when there are no methods.

use std::sync::Arc;

use noctule_core::refusal::Kind;

use super::http::Callback;
use super::jwt::Jwt;
use super::name;
use super::password::{Proof, Users, Work};
use super::question::{Accepted, Denial, Grant, Method, Question, Verdict};

/// What is in force; a reload makes another.
#[derive(Debug, Default)]
pub(super) struct Methods {
    pub(super) users: Option<Users>,
    pub(super) jwt: Option<Jwt>,
    pub(super) http: Option<Callback>,
}

/// How far a question has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To the end.
    Decided(Verdict),
    /// A token is to be verified: a tenth of a millisecond.
    Token,
    /// A password is to be hashed, as a user's or as a stranger's: tens of milliseconds.
    Hash,
    /// Somebody is to be asked: however long that takes.
    Ask,
}

impl Methods {
    /// Goes through the methods until one needs work, or none is left. Costs a digest at most.
    ///
    /// Every question comes to the same point each time it is asked, so that nothing of the way need be remembered.
    pub(super) fn next(&self, question: &Question) -> Next {
        let user = question.user.as_deref().filter(|user| !user.is_empty());
        let password = question.password.as_ref().map(super::secret::Secret::expose);
        let mut hashes = false;
        for method in &*question.methods {
            match method {
                Method::Certificate => {
                    if let Some(name) = &question.certificate {
                        return Next::Decided(self.named(name, *method, "the certificate's"));
                    }
                }
                Method::Peer => {
                    if let Some(name) = &question.peer {
                        return Next::Decided(self.named(name, *method, "the peer's"));
                    }
                }
                Method::Password => {
                    let (Some(users), Some(user), Some(password)) = (&self.users, user, password) else {
                        continue;
                    };
                    if let Some(grant) = users.remembered(user, password) {
                        return Next::Decided(Verdict::Accepted(grant));
                    }
                    if users.grant(user).is_some() {
                        return Next::Hash;
                    }
                    hashes = true;
                }
                Method::Jwt => {
                    if self.jwt.is_some() && password.is_some_and(Jwt::looks_like_one) {
                        return Next::Token;
                    }
                }
                Method::Http => {
                    let anything = user.is_some() || password.is_some() || question.certificate.is_some();
                    if self.http.is_some() && anything {
                        return Next::Ask;
                    }
                }
            }
        }
        if hashes {
            return Next::Hash;
        }
        let why = match (user, password) {
            (None, None) => "no credentials",
            (None, Some(_)) => "a password without a user name",
            (Some(_), None) => "a user name without a password",
            (Some(_), Some(_)) => "credentials that no configured method takes",
        };
        Next::Decided(Verdict::Denied(Denial::credentials(why)))
    }

    /// Somebody whose name was proved before the question came.
    fn named(&self, name: &Arc<str>, method: Method, whose: &str) -> Verdict {
        if let Err(error) = name::check(name) {
            return Verdict::Denied(Denial::credentials(format!("{whose} name {name:?}: {error}")));
        }
        let grant = self.grant(name).unwrap_or_else(|| Grant::of(Arc::clone(name), Vec::new()));
        Verdict::Accepted(Grant { proof: Some(Accepted::by(method)), ..grant })
    }

    /// What is to be thought of a user now who was let in before: his groups, if they are the password file's; see
    /// [`Authenticator::review`](super::Authenticator::review).
    pub(super) fn review(&self, user: &str, proof: Accepted) -> Result<Option<Vec<Arc<str>>>, Denial> {
        let denied = |why| Err(Denial { kind: Kind::NotAuthorized, why });
        let known = self.grant(user);
        match proof.method {
            Method::Jwt | Method::Http => Ok(None),
            Method::Certificate | Method::Peer => {
                Ok(Some(known.map(|grant| grant.groups).unwrap_or_default()))
            }
            Method::Password => match known {
                None => denied(format!("user {user:?} was taken out of the password file").into()),
                Some(grant) if grant.proof != Some(proof) => {
                    denied(format!("the password of user {user:?} was changed").into())
                }
                Some(grant) => Ok(Some(grant.groups)),
            },
        }
    }

    /// What the password file says of a user who proved himself in another way.
    pub(super) fn grant(&self, user: &str) -> Option<Grant> {
        self.users.as_ref().and_then(|users| users.grant(user))
    }

    /// Does the work that [`next`](Self::next) named, on a thread that may take its time.
    pub(super) fn work(&self, next: &Next, question: &Question, work: &mut Work) -> Verdict {
        match (next, &self.users, &self.jwt, &self.http) {
            (Next::Decided(verdict), ..) => verdict.clone(),
            (Next::Hash, Some(users), ..) => hash(users, question, work),
            (Next::Token, _, Some(jwt), _) => proved(Method::Jwt, token(jwt, question)),
            (Next::Ask, .., Some(callback)) => proved(Method::Http, callback.decide(question)),
            // A reload has taken the method away between the two.
            _ => Verdict::Denied(Denial::credentials("credentials that no configured method takes")),
        }
    }
}

fn proved(method: Method, mut verdict: Verdict) -> Verdict {
    if let Verdict::Accepted(grant) = &mut verdict {
        grant.proof = Some(Accepted::by(method));
    }
    verdict
}

fn hash(users: &Users, question: &Question, work: &mut Work) -> Verdict {
    let (Some(user), Some(password)) = (&question.user, &question.password) else {
        return Verdict::Denied(Denial::credentials("no credentials"));
    };
    match users.check(user, password.expose(), work) {
        Proof::Right(grant) => Verdict::Accepted(grant),
        Proof::Wrong => {
            Verdict::Denied(Denial::credentials(format!("a wrong password of the user {user:?}")))
        }
        Proof::Stranger => {
            users.spend(user, password.expose(), work);
            Verdict::Denied(Denial::credentials("a user that nobody knows"))
        }
    }
}

fn token(jwt: &Jwt, question: &Question) -> Verdict {
    let token = question.password.as_ref().map_or(&[][..], super::secret::Secret::expose);
    match jwt.check(question.user.as_deref(), token, question.now.wall_ms) {
        Ok(grant) => Verdict::Accepted(grant),
        Err(why) => Verdict::Denied(Denial::credentials(why)),
    }
}

/// Whether there is another reading of the packet, about which whoever asked asks next.
pub(super) fn is_tried_again(question: &Question, verdict: &Verdict) -> bool {
    let is_misread = matches!(verdict, Verdict::Denied(Denial { kind: Kind::BadCredentials, .. }));
    is_misread && question.read_otherwise.is_some()
}

/// Whether a verdict tells that somebody guessed wrong, which is what makes him wait.
pub(super) fn is_wrong_guess(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Denied(Denial { kind: Kind::BadCredentials | Kind::NotAuthorized, .. }))
}
