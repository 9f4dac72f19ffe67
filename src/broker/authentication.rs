//! The authenticator of a running broker: its settings, where its verdicts go, and SCRAM by its users.

use std::fmt;
use std::sync::{Arc, OnceLock};

use noctule_mqtt::server::{AuthMethod, AuthStep, Exchange};

use super::login::{OPERATORS, Waiting};
use super::worker::Mail;
use crate::auth::http::HttpSettings;
use crate::auth::jwt::JwtSettings;
use crate::auth::scram::MECHANISM;
use crate::auth::{
    Answers, Authenticator, BackoffSettings, DecoyKey, LoadError, Loaded, Settings, Ticket, Verdict,
};
use crate::config::{Claim, Config, File};
use crate::reactor::Mailboxes;

/// What the decoy's key is called in the data directory.
const DECOY_FILE: &str = "decoy.key";

/// Most questions that wait.
const QUEUE: usize = 1_024;

/// Most answers of the service that are remembered.
const REMEMBERED: usize = 10_000;

/// How much more often an address may fail than one user there: many devices may share it.
const PER_ADDRESS: u32 = 10;

/// The authenticator, from the moment that one is needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Authentication(Arc<OnceLock<Arc<Authenticator>>>, Arc<Waiting>);

/// What another configuration says of authentication, read and not yet in force.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Nobody is asked who he is.
    Nothing,
    /// It is needed for the first time; with what should be mended all the same.
    Started(Authenticator, Vec<String>),
    /// For the one that there is.
    Loaded(Arc<Authenticator>, Box<Loaded>),
}

impl Authentication {
    /// Reads what `config` names. Nothing is changed by it: what it gives may be thrown away.
    ///
    /// # Errors
    /// When a file or a setting is wrong.
    pub(super) fn prepare(
        &self,
        config: &Config,
        mailboxes: &Mailboxes<Mail>,
    ) -> Result<Prepared, LoadError> {
        let known = self.0.get();
        if known.is_none() && !config.is_authenticated() {
            return Ok(Prepared::Nothing);
        }
        let settings = settings(config, decoy(config)?);
        Ok(match known {
            Some(known) => Prepared::Loaded(Arc::clone(known), Box::new(Loaded::read(&settings)?)),
            None => {
                let answers = Arc::new(ByMail(mailboxes.clone(), Arc::clone(&self.1)));
                let (started, warnings) = Authenticator::start(&settings, answers)?;
                Prepared::Started(started, warnings)
            }
        })
    }

    /// Asks by what was prepared from now on, if anybody is asked; once there is an authenticator, it stays. What should be
    /// mended goes to the log.
    pub(super) fn change(&self, prepared: Prepared) -> Option<Arc<Authenticator>> {
        let (authenticator, warnings) = match prepared {
            Prepared::Nothing => return None,
            Prepared::Started(started, warnings) => {
                (Arc::clone(self.0.get_or_init(|| Arc::new(started))), warnings)
            }
            Prepared::Loaded(known, mut loaded) => {
                let warnings = std::mem::take(&mut loaded.warnings);
                known.reload(*loaded);
                (known, warnings)
            }
        };
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Some(authenticator)
    }

    /// The authenticator, if anybody is asked who he is.
    pub(super) fn get(&self) -> Option<&Arc<Authenticator>> {
        self.0.get()
    }

    /// Operators who wait for a verdict.
    pub(super) fn operators(&self) -> &Arc<Waiting> {
        &self.1
    }

    /// SCRAM by its users, of whom there may be none yet.
    pub(super) fn scram(&self) -> Box<dyn AuthMethod> {
        Box::new(Scram(self.clone()))
    }
}

/// The key of what strangers are shown, the same after a restart if anything is kept.
fn decoy(config: &Config) -> Result<DecoyKey, LoadError> {
    if config.is_stored() {
        DecoyKey::kept(&config.server.data_dir.join(DECOY_FILE))
    } else {
        DecoyKey::random()
    }
}

/// What the configuration says of authentication.
pub(crate) fn settings(config: &Config, decoy: DecoyKey) -> Settings {
    let (auth, jwt, http) = (&config.auth, &config.auth_jwt, &config.auth_http);
    let text = |claim: &Claim| claim.as_str().to_owned();
    let max_failures = u32::from(auth.max_failures);
    let (first_ms, longest_ms) = (auth.backoff.as_millis(), auth.max_backoff.as_millis());
    let backoff = BackoffSettings::default();
    Settings {
        password_file: auth.password_file.as_ref().map(File::path),
        jwt: jwt.keys.as_ref().map(|keys| JwtSettings {
            issuer: jwt.issuer.as_ref().map(text),
            audience: jwt.audience.iter().map(text).collect(),
            user_claim: text(&jwt.user_claim),
            groups_claim: text(&jwt.groups_claim),
            acl_claim: text(&jwt.acl_claim),
            leeway_s: jwt.leeway.as_secs(),
            ..JwtSettings::new(keys.path())
        }),
        http: http.url.as_ref().map(|url| HttpSettings {
            ca: http.ca.as_ref().map(File::path),
            timeout_ms: http.timeout.as_millis(),
            ttl_ms: http.cache.as_millis(),
            negative_ttl_ms: http.denial_cache.as_millis(),
            remembered: REMEMBERED,
            ..HttpSettings::new(url.as_str().to_owned())
        }),
        backoff: BackoffSettings {
            free: max_failures,
            free_per_address: max_failures.saturating_mul(PER_ADDRESS),
            first_ms,
            longest_ms,
            longest_per_address_ms: backoff.longest_per_address_ms.min(longest_ms),
            ..backoff
        },
        decoy,
        threads: usize::from(auth.hash_threads),
        http_threads: usize::from(http.max_requests),
        queue: QUEUE,
        patience_ms: config.limits.connect_timeout.as_millis(),
    }
}

/// Verdicts go to the worker that waits for them.
struct ByMail(Mailboxes<Mail>, Arc<Waiting>);

impl fmt::Debug for ByMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByMail")
    }
}

impl Answers for ByMail {
    fn answer(&self, ticket: Ticket, verdict: Verdict) {
        if ticket.worker == OPERATORS {
            return self.1.answer(ticket.conn, verdict);
        }
        self.0.post(ticket.worker, Mail::Verdict(ticket.conn, verdict));
    }
}

#[derive(Debug)]
struct Scram(Authentication);

impl AuthMethod for Scram {
    fn name(&self) -> &'static str {
        MECHANISM
    }

    fn begin(&self) -> Box<dyn Exchange> {
        match self.0.0.get() {
            Some(authenticator) => authenticator.scram().begin(),
            None => Box::new(NoUsers),
        }
    }
}

/// The exchange of a broker that asks nobody who he is.
#[derive(Debug)]
struct NoUsers;

impl Exchange for NoUsers {
    fn step(&mut self, _: &[u8]) -> AuthStep {
        AuthStep::Failure("there are no users here")
    }
}
