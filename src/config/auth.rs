//! `[auth]`, `[auth_jwt]` and `[auth_http]`: how clients prove who they are.
//!
//! What they may do then is in [`Acl`](super::Acl).

use super::quantity::Period;
use super::section::{section, text, words};
use super::tls::File;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

section! {
    /// Ways to prove who one is, and what failing costs.
    pub struct Auth {
        /// What is asked, in this order, until one knows the client: nothing, so that there are anonymous clients only. A
        /// listener's own `auth` stands above it. With any, clients may do only what `[[acl]]` allows.
        chain: Vec<AuthMethod> = Vec::new(), Now;

        /// Users with their hashed passwords, one in a line, as `noctule passwd` writes them: none.
        password_file: Option<File> = None, Now;

        /// Threads that hash passwords, each with 19 MiB while it does: 1, which is some ten new clients in a second.
        hash_threads: u16 [1..=16] = 1, Restart;

        /// Failures of one user from one address before its attempts have to wait: 5. An address has ten times as many,
        /// because many devices may share it.
        max_failures: u16 [1..=1_000] = 5, Now;

        /// How long the first of those waits is: 1 s. Each further failure doubles it.
        backoff: Period [100..=MINUTE] = Period::from_secs(1), Now;

        /// How long they become: 5 min.
        max_backoff: Period [SECOND..=24 * HOUR] = Period::from_secs(300), Now;
    }
}

section! {
    /// JSON Web Tokens (RFC 7519), given as the password: HS256, RS256 and ES256.
    pub struct AuthJwt {
        /// Keys that tokens are signed with, a JSON Web Key Set (RFC 7517): none. What a key says of its algorithm (`alg`)
        /// binds the tokens.
        keys: Option<File> = None, Now;

        /// Who must have issued a token (`iss`): anybody with a key.
        issuer: Option<Claim> = None, Now;

        /// For whom a token must be (`aud`): for nobody in particular, so one that names somebody is refused (RFC 7519,
        /// section 4.1.3).
        audience: Option<Claim> = None, Now;

        /// The claim with the user's name: `"sub"`.
        user_claim: Claim = Claim::from("sub"), Now;

        /// The claim with the user's groups, a list: `"groups"`.
        groups_claim: Claim = Claim::from("groups"), Now;

        /// The claim with rules of its own, a list of objects with `verdict` (`"allow"` or `"deny"`), `actions`, `topics` and
        /// `max_qos`: `"acl"`.
        acl_claim: Claim = Claim::from("acl"), Now;

        /// How far the clocks of issuer and broker may differ: 10 s.
        leeway: Period [0..=10 * MINUTE] = Period::from_secs(10), Now;
    }
}

section! {
    /// A service that is asked by HTTP.
    pub struct AuthHttp {
        /// Where to POST the question: nowhere.
        url: Option<Url> = None, Now;

        /// How long an answer may take: 2 s. Without one the client is told to come again (Server unavailable).
        timeout: Period [100..=MINUTE] = Period::from_secs(2), Now;

        /// How long a yes holds: 60 s, because devices that reconnect all at once would ask all at once. `"0s"` asks each
        /// time.
        cache: Period [0..=24 * HOUR] = Period::from_secs(60), Now;

        /// How long a no holds: 5 s.
        denial_cache: Period [0..=HOUR] = Period::from_secs(5), Now;

        /// Questions under way at once: 4, each with a thread of its own while it is.
        max_requests: u16 [1..=64] = 4, Restart;

        /// Who may have signed the service's certificate, PEM: the authorities that the system trusts.
        ca: Option<File> = None, Now;
    }
}

words! {
    /// A way to prove who one is.
    pub enum AuthMethod {
        /// A TLS certificate; where the name stands in it is `tls.identity`.
        Certificate = "certificate",
        /// The system user at the other end of a Unix socket.
        Peer = "peer",
        /// A password, or SCRAM-SHA-256 through MQTT 5's AUTH, by `auth.password_file`.
        Password = "password",
        /// A token, by `[auth_jwt]`.
        Jwt = "jwt",
        /// Whatever the service of `[auth_http]` says.
        Http = "http",
    }
}

text! {
    /// The name of a claim, or what one has to say.
    pub struct Claim = "a text such as \"sub\"";
}

text! {
    /// Where a service is.
    pub struct Url = "an address such as \"http://127.0.0.1:8080/auth\" or \"https://auth.example/mqtt\"";
}
