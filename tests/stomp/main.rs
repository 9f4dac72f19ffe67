//! STOMP over the wire, and the two worlds meeting: STOMP and MQTT clients on one broker.
//!
//! Each test starts a broker of its own on the loopback, with a listener for each protocol and dialect;
//! `NOCTULE_TEST_WORKERS` says with how many workers. What one frame means is tested beside the codec, what kill -9
//! leaves in `tests/crash`.

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

    pub(crate) use client::{Client, Out, WAIT, within};
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

mod badinput;
mod conversation;
mod dialects;
mod durable;
mod fields;
mod full;
mod guarantees;
mod limits;
mod prefetch;
mod queues;
mod receipts;
mod selectors;
mod shared;
