//! The whole broker over the wire: what the specifications demand, every limit, bad input, several workers, the end.
//!
//! One binary with rooms, because linking is what takes long. Each test starts a broker of its own on the loopback;
//! `NOCTULE_TEST_WORKERS` says with how many workers. What one packet looks like is tested beside the codec, what
//! real clients make of us in `tests/interop`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has failed"
)]

mod kit;

mod auth;
mod badinput;
mod connect;
mod conversation;
mod exactly_once;
mod extremes;
mod farewell;
mod limits;
mod memory;
mod publish_v3;
mod publish_v5;
mod queues;
mod rates;
mod shared;
mod shutdown;
mod slow;
mod subscribe;
mod wills;
mod workers;
