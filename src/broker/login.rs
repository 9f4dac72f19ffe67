//! Operators prove who they are by what they are as clients: a password or a token, asked of the same authenticator, with
//! the same waits after wrong guesses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use noctule_core::id::{ConnId, WorkerId};
use noctule_core::refusal::Kind;
use tokio::sync::oneshot;

use super::authentication::Authentication;
use super::now;
use crate::auth::{Asked, Denial, Grant, Method, Question, Secret, Ticket, Verdict};

/// The worker under whose number operators ask; there are never so many.
pub(super) const OPERATORS: WorkerId = WorkerId(u16::MAX);

/// Those who wait for a verdict, and the ways in which they may prove who they are.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    asked: Mutex<Asking>,
    methods: RwLock<Arc<[Method]>>,
}

#[derive(Debug, Default)]
struct Asking {
    next: u32,
    waiting: HashMap<u32, oneshot::Sender<Verdict>>,
}

impl Waiting {
    pub(super) fn set_methods(&self, methods: Arc<[Method]>) {
        *self.methods.write().unwrap_or_else(PoisonError::into_inner) = methods;
    }

    /// Gives a verdict to whoever waits for it, if he still does.
    pub(super) fn answer(&self, conn: ConnId, verdict: Verdict) {
        let waiting = self.asked.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&conn.slot);
        if let Some(waiting) = waiting {
            let _ = waiting.send(verdict);
        }
    }
}

/// Finds out who an operator is; cheap to clone.
#[derive(Clone, Debug)]
pub struct Logins {
    authentication: Authentication,
    waiting: Arc<Waiting>,
    started: Instant,
}

impl Logins {
    pub(super) fn new(authentication: Authentication, waiting: Arc<Waiting>, started: Instant) -> Self {
        Self { authentication, waiting, started }
    }

    /// Of a broker that asks nobody.
    #[cfg(test)]
    pub(crate) fn of_nobody() -> Self {
        Self { authentication: Authentication::default(), waiting: Arc::default(), started: Instant::now() }
    }

    /// Whether what was granted holds after a reload: one may still log in that way, and the user is still known, with the
    /// password that he had.
    #[must_use]
    pub fn stands(&self, grant: &Grant) -> bool {
        match (self.authentication.get(), grant.proof) {
            (Some(authenticator), Some(proof)) => {
                let methods = self.waiting.methods.read().unwrap_or_else(PoisonError::into_inner);
                methods.contains(&proof.method) && authenticator.review(&grant.user, proof).is_ok()
            }
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Whom that password, or token, belongs to.
    ///
    /// # Errors
    /// Why it is not believed, or can't be found out now. A stranger is not to be told.
    pub async fn prove(&self, user: &str, password: &str, address: Option<IpAddr>) -> Result<Grant, Denial> {
        let Some(authenticator) = self.authentication.get() else {
            return Err(Denial { kind: Kind::BadCredentials, why: "nobody is asked who he is".into() });
        };
        let methods = Arc::clone(&self.waiting.methods.read().unwrap_or_else(PoisonError::into_inner));
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut asked = self.waiting.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.next = asked.next.wrapping_add(1);
            let number = asked.next;
            asked.waiting.insert(number, answer);
            number
        };
        let question = Question {
            ticket: Ticket { worker: OPERATORS, conn: ConnId { slot: number, generation: 0 } },
            now: now(self.started),
            methods,
            protocol: "http",
            user: Some(user.into()),
            password: Some(Secret::copy_of(password.as_bytes())),
            client_id: "".into(),
            address,
            certificate: None,
            read_otherwise: None,
            peer: None,
        };
        let verdict = match authenticator.ask(question) {
            Asked::Decided(verdict) => {
                self.waiting.asked.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&number);
                verdict
            }
            Asked::Pending => answered.await.unwrap_or_else(|_| {
                let why = "the broker stops".into();
                Verdict::Denied(Denial { kind: Kind::ServerShuttingDown, why })
            }),
        };
        match verdict {
            Verdict::Accepted(grant) => Ok(grant),
            Verdict::Denied(denial) => Err(denial),
        }
    }
}
