//! Another program that is asked over HTTP who may come in.
//!
//! A question is a POST of JSON: `{"protocol", "user", "password", "client_id", "address", "certificate", "peer"}`, of
//! which those are left out that are not known; a password that is not UTF-8 is `password_base64`. The answers:
//!
//! | status | meaning |
//! | --- | --- |
//! | 200 with `{"allow": true, "user", "groups", "acl", "expires"}` | comes in; `user` if none was given or it is another, `acl` as `[[acl]]` without conditions, `expires` in seconds since the Unix epoch |
//! | 204 | comes in as who he says |
//! | 200 with `{"allow": false}`, 401, 403 | does not |
//! | anything else, nothing in time, or what is not understood | nobody can tell: does not, and is told to come again |
//!
//! Its word is final: no method behind it is tried.

mod client;
mod reply;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use noctule_core::refusal::Kind;
use ring::hmac;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::client::{Client, Connection, Url};
use self::reply::Reply;
use super::error::LoadError;
use super::name;
use super::question::{Denial, Grant, Question, Verdict};
use super::rule::{Rule, Rules};

/// Most groups that an answer may name.
const MAX_GROUPS: usize = 64;
/// How long an answer may take, ms.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// How long an answer may be remembered, ms: a right that is taken away should not hold for longer than a day.
const MAX_TTL_MS: u64 = 86_400_000;
/// Most answers that may be remembered.
const MAX_REMEMBERED: usize = 1_000_000;

/// Whom to ask, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where to: `http://` or `https://`, maybe with `user:password@`.
    pub url: String,
    /// CA certificates in PEM that are trusted; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// How long an answer may take, ms.
    pub timeout_ms: u64,
    /// How long a yes is remembered, ms; 0: not at all.
    pub ttl_ms: u64,
    /// How long a no is remembered, ms; 0: not at all.
    pub negative_ttl_ms: u64,
    /// Most answers that are remembered.
    pub remembered: usize,
}

impl HttpSettings {
    /// The defaults, asking there.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self { url, ca: None, timeout_ms: 2_000, ttl_ms: 60_000, negative_ttl_ms: 5_000, remembered: 10_000 }
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("ca", &self.ca)
            .field("timeout_ms", &self.timeout_ms)
            .finish_non_exhaustive()
    }
}

/// The program that is asked.
#[derive(Debug)]
pub struct Callback {
    client: Client,
    place: String,
    /// Connections that wait for the next question; never more than have been in use at once.
    idle: Mutex<Vec<Connection>>,
    answers: Remembered,
    warnings: Vec<String>,
}

/// What is asked.
#[derive(Serialize)]
struct Asked<'a> {
    protocol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_base64: Option<&'a str>,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<std::net::IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
}

/// What is answered. A member that we don't know may be one that takes a right away, so there is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    allow: bool,
    user: Option<String>,
    groups: Option<Vec<String>>,
    acl: Option<Rules>,
    expires: Option<u64>,
}

impl Callback {
    /// Makes ready to ask; nothing is sent yet.
    ///
    /// # Errors
    /// When a setting is wrong, or the CA certificates cannot be read.
    pub fn load(settings: &HttpSettings) -> Result<Self, LoadError> {
        let wrong = |name, problem| LoadError::Setting { name, problem };
        let url = Url::parse(&settings.url).map_err(|problem| wrong("auth_http.url", problem))?;
        if !TIMEOUT_MS.contains(&settings.timeout_ms) {
            return Err(wrong(
                "auth_http.timeout",
                format!("{} ms; 100 ms to 60 s are sensible", settings.timeout_ms),
            ));
        }
        for (name, ttl) in
            [("auth_http.cache", settings.ttl_ms), ("auth_http.denial_cache", settings.negative_ttl_ms)]
        {
            if ttl > MAX_TTL_MS {
                return Err(wrong(name, format!("{ttl} ms; a day at most")));
            }
        }
        if settings.remembered > MAX_REMEMBERED {
            return Err(wrong(
                "auth_http.remembered",
                format!("{}; {MAX_REMEMBERED} at most", settings.remembered),
            ));
        }
        let mut warnings = Vec::new();
        if url.is_exposed() {
            warnings.push(format!(
                "auth_http.url: passwords go to {} in the clear; use https, or a program on this machine",
                url.place()
            ));
        }
        let place = url.place();
        let client = Client::new(url, settings.ca.as_deref(), Duration::from_millis(settings.timeout_ms))?;
        let answers = Remembered::new(settings)?;
        Ok(Self { client, place, idle: Mutex::default(), answers, warnings })
    }

    /// What should be mended, although it works.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Asks, or remembers what was answered; blocks for as long as the timeout.
    #[must_use]
    pub fn decide(&self, question: &Question) -> Verdict {
        let Some(body) = body(question) else {
            return Verdict::Denied(Denial::unavailable("the question can't be written as JSON"));
        };
        let tag = self.answers.tag(&body);
        let now = question.now.mono_ms;
        if let Some(verdict) = self.answers.find(&tag, now) {
            return match &verdict {
                Verdict::Accepted(Grant { expires: Some(end), .. }) if *end <= question.now.wall_ms => {
                    Verdict::Denied(Denial::credentials("what the callback granted has expired"))
                }
                _ => verdict,
            };
        }
        let mut connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reply = self.client.post(&mut connection, &body);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(connection);
        let verdict = reply
            .map_err(|error| error.to_string())
            .and_then(|reply| understood(&reply, question))
            .unwrap_or_else(|problem| {
                Verdict::Denied(Denial::unavailable(format!("{}: {problem}", self.place)))
            });
        self.answers.learn(tag, &verdict, now);
        verdict
    }
}

fn body(question: &Question) -> Option<Zeroizing<Vec<u8>>> {
    let password = question.password.as_ref().map(super::secret::Secret::expose);
    let text = password.and_then(|password| std::str::from_utf8(password).ok());
    let binary =
        password.filter(|_| text.is_none()).map(|password| Zeroizing::new(STANDARD.encode(password)));
    let asked = Asked {
        protocol: question.protocol,
        user: question.user.as_deref(),
        password: text,
        password_base64: binary.as_ref().map(|binary| binary.as_str()),
        client_id: &question.client_id,
        address: question.address.map(|address| address.to_canonical()),
        certificate: question.certificate.as_deref(),
        peer: question.peer.as_deref(),
    };
    // Enough for every byte to be escaped (\u0000), so that growing leaves no copies of the password behind.
    let names = [asked.user, asked.certificate, asked.peer, Some(asked.client_id)];
    let bytes =
        names.iter().flatten().map(|name| name.len()).sum::<usize>() + password.map_or(0, <[u8]>::len);
    let mut body = Zeroizing::new(Vec::with_capacity(512 + 6 * bytes));
    serde_json::to_writer(&mut *body, &asked).ok()?;
    Some(body)
}

/// What an answer means; `Err` says why it means nothing.
fn understood(reply: &Reply, question: &Question) -> Result<Verdict, String> {
    let answered = match reply.status {
        200 => serde_json::from_slice(&reply.body)
            .map_err(|error| format!("its answer is not understood: {error}"))?,
        204 => Answered { allow: true, user: None, groups: None, acl: None, expires: None },
        401 => return Ok(Verdict::Denied(Denial::credentials("the callback says 401"))),
        403 => {
            let why = "the callback says 403".into();
            return Ok(Verdict::Denied(Denial { kind: Kind::NotAuthorized, why }));
        }
        status => return Err(format!("it answers {status}; 200, 204, 401 and 403 are understood")),
    };
    if !answered.allow {
        return Ok(Verdict::Denied(Denial::credentials("the callback says no")));
    }
    let user = answered.user.as_deref().or(question.user.as_deref()).unwrap_or_default();
    name::check(user).map_err(|error| format!("it allows user {user:?}: {error}"))?;
    let groups = answered.groups.unwrap_or_default();
    if groups.len() > MAX_GROUPS {
        return Err(format!("it names {} groups, {MAX_GROUPS} at most", groups.len()));
    }
    for group in &groups {
        name::check(group).map_err(|error| format!("it names group {group:?}: {error}"))?;
    }
    let expires = answered.expires.map(|seconds| seconds.saturating_mul(1_000));
    if expires.is_some_and(|end| end <= question.now.wall_ms) {
        return Err("it allows until a time that has passed; are both clocks right?".to_owned());
    }
    Ok(Verdict::Accepted(Grant {
        proof: None,
        user: user.into(),
        groups: groups.into_iter().map(Arc::from).collect(),
        rules: answered.acl.map(|Rules(rules)| Arc::<[Rule]>::from(rules)),
        expires,
    }))
}

/// Answers of late, by a keyed digest of the whole question, so that no password is kept and nobody can make two
/// questions one. Another client id or address is another question: the answer may depend on it.
struct Remembered {
    key: hmac::Key,
    ttl_ms: u64,
    negative_ttl_ms: u64,
    most: usize,
    table: Mutex<Table>,
}

type Tag = [u8; 32];

#[derive(Default)]
struct Table {
    answers: HashMap<Tag, (u64, Verdict)>,
    /// In the order in which they came; each tag of `answers` once.
    order: VecDeque<Tag>,
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered(…)")
    }
}

impl Remembered {
    fn new(settings: &HttpSettings) -> Result<Self, LoadError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|error| LoadError::System {
            what: "no random bytes from the system",
            source: error.into(),
        })?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &*key),
            ttl_ms: settings.ttl_ms,
            negative_ttl_ms: settings.negative_ttl_ms,
            most: settings.remembered,
            table: Mutex::default(),
        })
    }

    fn tag(&self, body: &[u8]) -> Tag {
        let mut tag = [0; 32];
        tag.copy_from_slice(hmac::sign(&self.key, body).as_ref());
        tag
    }

    fn find(&self, tag: &Tag, now_ms: u64) -> Option<Verdict> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.answers.get(tag).filter(|(until, _)| now_ms < *until).map(|(_, verdict)| verdict.clone())
    }

    fn learn(&self, tag: Tag, verdict: &Verdict, now_ms: u64) {
        let ttl_ms = match verdict {
            Verdict::Accepted(_) => self.ttl_ms,
            // That nobody could tell is nothing to remember.
            Verdict::Denied(denial) if denial.kind == Kind::ServerUnavailable => 0,
            Verdict::Denied(_) => self.negative_ttl_ms,
        };
        if ttl_ms == 0 || self.most == 0 {
            return;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = (now_ms.saturating_add(ttl_ms), verdict.clone());
        if table.answers.insert(tag, entry).is_none() {
            table.order.push_back(tag);
        }
        while table.order.len() > self.most {
            if let Some(oldest) = table.order.pop_front() {
                table.answers.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
