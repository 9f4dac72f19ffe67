//! The server's half of the exchange (RFC 5802, section 5), as a method of MQTT's enhanced authentication.
//!
//! It costs the server three digests, so it runs where the connection lives. Strangers go through all of it and fail at the
//! end, as a wrong password does.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use noctule_mqtt::server::{AuthMethod, AuthStep, Exchange};
use subtle::ConstantTimeEq;

use super::{DIGEST, MECHANISM, Verifier, hmac_sha256, sha256};
use crate::auth::name;

/// Random bytes of the server's part of the nonce.
const NONCE: usize = 18;
/// Longest nonce taken from a client, bytes.
const MAX_CLIENT_NONCE: usize = 256;
/// Longest message taken from a client, bytes: a name, a nonce and little else.
const MAX_MESSAGE: usize = 4_096;

/// Whose verifiers there are.
pub(crate) trait Accounts: fmt::Debug + Send + Sync {
    /// The verifier of `user`, or one that nobody's password fulfils and that looks no different.
    fn verifier(&self, user: &str) -> (Verifier, Decided);
}

/// Whether a verifier is somebody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    /// A user's: the proof decides.
    Open,
    /// Nobody's: whatever the proof, it fails.
    Against,
}

/// SCRAM-SHA-256 for [`AuthMethods`](noctule_mqtt::server::AuthMethods).
#[derive(Clone, Debug)]
pub struct Scram {
    accounts: Arc<dyn Accounts>,
}

impl Scram {
    pub(crate) fn new(accounts: Arc<dyn Accounts>) -> Self {
        Self { accounts }
    }
}

impl AuthMethod for Scram {
    fn name(&self) -> &'static str {
        MECHANISM
    }

    fn begin(&self) -> Box<dyn Exchange> {
        let mut random = [0; NONCE];
        // Without random bytes the first step fails.
        let nonce = getrandom::fill(&mut random).ok().map(|()| STANDARD.encode(random));
        Box::new(Server { accounts: Arc::clone(&self.accounts), nonce, state: State::Begun })
    }
}

/// The exchange; every message moves it on, and none moves it back.
pub(super) struct Server {
    pub(super) accounts: Arc<dyn Accounts>,
    /// Our part of the nonce.
    pub(super) nonce: Option<String>,
    pub(super) state: State,
}

pub(super) enum State {
    /// The client's first message is awaited.
    Begun,
    /// Its proof is awaited.
    Challenged(Box<Challenge>),
    /// Whatever comes, nothing follows.
    Ended,
}

/// What was said until the proof.
pub(super) struct Challenge {
    user: Box<str>,
    verifier: Verifier,
    decided: Decided,
    /// What `c=` has to repeat.
    gs2_header: Box<str>,
    /// Both parts.
    nonce: Box<str>,
    /// client-first-message-bare "," server-first-message.
    said: String,
}

/// It names nothing: the state holds what an attacker would want.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scram::Server(…)")
    }
}

impl Exchange for Server {
    fn step(&mut self, data: &[u8]) -> AuthStep {
        let Some(message) = std::str::from_utf8(data).ok().filter(|_| data.len() <= MAX_MESSAGE) else {
            self.state = State::Ended;
            return AuthStep::Failure("a SCRAM message that is too long or not UTF-8");
        };
        let step = match std::mem::replace(&mut self.state, State::Ended) {
            State::Begun => self.challenge(message),
            State::Challenged(challenge) => challenge.decide(message),
            State::Ended => Err("a SCRAM message after the end"),
        };
        step.unwrap_or_else(AuthStep::Failure)
    }
}

impl Server {
    /// client-first-message: `n,,n=user,r=nonce`.
    fn challenge(&mut self, message: &str) -> Result<AuthStep, &'static str> {
        let (flag, rest) = message.split_once(',').ok_or("a SCRAM message without a header")?;
        match flag {
            // "y": the client could bind and thinks that we can't, which is so.
            "n" | "y" => {}
            flag if flag.starts_with("p=") => return Err("SCRAM with channel binding, which is not offered"),
            _ => return Err("a SCRAM message with an unknown channel binding flag"),
        }
        let (authorised_as, bare) = rest.split_once(',').ok_or("a SCRAM message without a header")?;
        let header = message.get(..message.len().saturating_sub(bare.len())).unwrap_or_default();
        let mut attributes = bare.split(',');
        let name = match attributes.next() {
            Some(first) if first.starts_with("m=") => {
                return Err("a SCRAM message with an extension that must be understood");
            }
            first => {
                first.and_then(|first| first.strip_prefix("n=")).ok_or("a SCRAM message without a name")?
            }
        };
        let user = unescaped(name).ok_or("a SCRAM name with an = that stands for nothing")?;
        name::check(&user).map_err(|_| "a SCRAM name that no user can have")?;
        if let Some(other) = authorised_as.strip_prefix("a=") {
            if unescaped(other).as_deref() != Some(&*user) {
                return Err("SCRAM to act for somebody else, which nobody may");
            }
        } else if !authorised_as.is_empty() {
            return Err("a SCRAM message with an unknown header");
        }
        let nonce = attributes.next().and_then(|second| second.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| printable(nonce)).ok_or("a SCRAM message without a nonce")?;
        // Optional extensions follow; those that we don't know are passed over (section 5.1).
        let Some(ours) = &self.nonce else { return Err("the system gives no random bytes") };
        let nonce = format!("{nonce}{ours}");
        let (verifier, decided) = self.accounts.verifier(&user);
        let answer = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let said = format!("{bare},{answer}");
        let (gs2_header, nonce, user) = (header.into(), nonce.into(), user.into());
        let challenge = Challenge { user, verifier, decided, gs2_header, nonce, said };
        self.state = State::Challenged(Box::new(challenge));
        Ok(AuthStep::Continue(answer.into_bytes()))
    }
}

impl Challenge {
    /// client-final-message: `c=header,r=nonce,p=proof`.
    fn decide(self, message: &str) -> Result<AuthStep, &'static str> {
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or("a SCRAM message without a proof")?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|first| first.strip_prefix("c="));
        let binding = binding.and_then(|binding| STANDARD.decode(binding).ok());
        if binding.as_deref() != Some(self.gs2_header.as_bytes()) {
            return Err("SCRAM with another header than before");
        }
        let nonce = attributes.next().and_then(|second| second.strip_prefix("r="));
        if nonce != Some(&*self.nonce) {
            return Err("SCRAM with another nonce than before");
        }
        let proof = STANDARD.decode(proof).ok().and_then(|proof| <[u8; DIGEST]>::try_from(proof).ok());
        let proof = proof.ok_or("a SCRAM proof that is none")?;
        let said = format!("{},{without_proof}", self.said);
        let signature = hmac_sha256(&self.verifier.stored_key, said.as_bytes());
        let mut client_key = zeroize::Zeroizing::new(proof);
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let right: bool = sha256(&*client_key).ct_eq(&self.verifier.stored_key).into();
        // Computed before it is known whether it is wanted.
        let server_signature = hmac_sha256(&self.verifier.server_key, said.as_bytes());
        if !right || self.decided == Decided::Against {
            return Err("the SCRAM proof is wrong");
        }
        let data = format!("v={}", STANDARD.encode(server_signature));
        Ok(AuthStep::Success { user: Some(self.user), data: Some(data.into_bytes()) })
    }
}

/// The user that a client-first-message names; `None` if it names none that there could be. The exchange finds out what
/// else is wrong with it.
#[must_use]
pub fn claimed(message: &[u8]) -> Option<String> {
    let message = std::str::from_utf8(message).ok().filter(|message| message.len() <= MAX_MESSAGE)?;
    let name = message.split(',').nth(2)?.strip_prefix("n=")?;
    unescaped(name).filter(|user| name::check(user).is_ok())
}

/// Undoes `=2C` and `=3D` (section 5.1); `None` for an `=` with anything else.
pub(super) fn unescaped(name: &str) -> Option<String> {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('=') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix("2C") {
            plain.push(',');
            rest = after;
        } else {
            rest = after.strip_prefix("3D")?;
            plain.push('=');
        }
    }
    plain.push_str(rest);
    Some(plain)
}

fn printable(nonce: &str) -> bool {
    (1..=MAX_CLIENT_NONCE).contains(&nonce.len())
        && nonce.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b',')
}
