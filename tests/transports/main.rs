//! What lies between a socket and a protocol, over the wire: TLS, WebSocket, Unix sockets, proxies, systemd's sockets,
//! telling protocols apart, and what a reload does to all of them.
//!
//! Each test starts a broker of its own with listeners on free ports and certificates made on the spot;
//! `NOCTULE_TEST_WORKERS` says with how many workers. The clients are rustls, tungstenite and plain sockets: none of
//! ours. What one record, frame or header looks like is tested beside its module.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has failed"
)]

mod kit;
/// The counters of `tests/broker`, and its packets.
#[path = "../broker/kit"]
#[allow(dead_code, reason = "the tests of MQTT use the rest")]
mod broker {
    mod client;
    mod counters;
    mod got;

    pub(crate) use client::{WAIT, within};
    pub(crate) use counters::{counted, more_than};
    pub(crate) use got::{Delivered, Got, Welcome};

    /// A packet of the broker, to be kept.
    pub(crate) fn got(packet: &noctule_mqtt::Packet<'_>) -> Got {
        Got::new(packet)
    }

    /// A packet identifier.
    fn pid(number: u16) -> std::num::NonZeroU16 {
        std::num::NonZeroU16::new(number).unwrap()
    }
}

mod activation;
mod certificates;
mod endings;
mod fairness;
mod floods;
mod frames;
mod proxy;
mod records;
mod reload;
mod sniffing;
mod tls;
mod unix;
mod upgrade;
mod websocket;
