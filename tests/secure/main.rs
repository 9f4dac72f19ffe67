//! Who comes in and what he may do then, over the wire: MQTT 3.1.1 and 5, STOMP, TLS and Unix sockets, against a broker
//! in the process.
//!
//! Each test starts a broker of its own; `NOCTULE_TEST_WORKERS` says with how many workers. The rooms, and the classes of
//! attacks (as the threat model numbers them) that each answers:
//!
//! | room | what is tried | class |
//! | --- | --- | --- |
//! | `passwords` | every way to say who one is, and none; the order of methods; STOMP's two readings | 12, 13 |
//! | `neighbours` | guessing, storms of logins, connections that leave while they are judged | 14 |
//! | `scram` | SCRAM-SHA-256 through AUTH, re-authentication | 13 |
//! | `tokens` | tokens that are forged, too old, or end | 12, 13 |
//! | `callback` | a service that says yes, no, nonsense, nothing | 12 |
//! | `proved` | users by certificate and by Unix socket | 13 |
//! | `publish` | what may not be published, retained, or sent at that QoS | 10 |
//! | `subscribe` | what may not be subscribed to, and what does not come by a wider filter | 9, 11 |
//! | `patterns` | names and client ids that mean something in topics, `$`-topics | 8, 9 |
//! | `wills` | wills as a way round the rules | 9, 10 |
//! | `theft` | somebody else's client id | 10, 20 |
//! | `leaving` | who is in when his user, his password or his way in is taken away | 11, 12 |
//! | `reload` | rights that are taken away, files that broke, reloads under load | 11, 12 |
//!
//! How rules relate is tested beside them in the core, each method beside its code in `src/auth`, the layers below the
//! protocols in a binary of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has failed"
)]

mod kit;
/// The MQTT clients of `tests/broker`.
#[path = "../broker/kit"]
#[allow(dead_code, reason = "the tests of MQTT use the rest")]
mod mqtt {
    mod client;
    mod counters;
    mod got;

    pub(crate) use client::{Client, Out, within};
    pub(crate) use counters::counted;
    pub(crate) use got::Got;

    /// A packet identifier.
    fn pid(number: u16) -> std::num::NonZeroU16 {
        std::num::NonZeroU16::new(number).unwrap()
    }

    /// A socket on which nothing was sent yet.
    pub(crate) fn open(address: std::net::SocketAddr, version: noctule_mqtt::Version) -> Client {
        Client::new(address, version)
    }
}
/// The STOMP client of `tests/stomp`.
#[path = "../stomp/kit/client.rs"]
#[allow(dead_code, reason = "the tests of STOMP use the rest")]
mod stomp;

mod callback;
mod leaving;
mod neighbours;
mod passwords;
mod patterns;
mod proved;
mod publish;
mod reload;
mod scram;
mod subscribe;
mod theft;
mod tokens;
mod wills;
