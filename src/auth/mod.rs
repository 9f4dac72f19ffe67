//! Who somebody is: passwords, SCRAM, tokens and other programs that are asked.
//!
//! An [`Authenticator`] is asked a [`Question`] and comes to a [`Verdict`], at once or on threads of its own. It knows
//! neither connections nor protocols, nor what somebody may do: that is the policy's business (`noctule_core::policy`).
//!
//! Whatever goes wrong, nobody comes in by it: a file that is not understood is not put into force, a callback that does
//! not answer denies, and who has no credentials is nobody.

mod authenticator;
mod backoff;
mod chain;
mod decoy;
mod error;
mod file;
pub mod http;
pub mod jwt;
pub mod name;
pub mod password;
mod question;
pub mod rule;
pub mod scram;
#[cfg(test)]
mod scratch;
mod secret;

pub use authenticator::{Asked, Authenticator, Loaded, Settings};
pub use backoff::{Backoff, BackoffSettings};
pub use decoy::DecoyKey;
pub use error::LoadError;
pub use question::{Accepted, Answers, Denial, Grant, Method, Question, Ticket, Verdict};
pub use secret::Secret;
