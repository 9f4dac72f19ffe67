//! Ports for processes that can't be asked which one the system has given them.
//!
//! A port that the system gives to port 0 and takes back is everybody's the moment it is closed: the next one who asks
//! may be given the same, and an outgoing connection may have it. These come from below the range that the system
//! gives out by itself (`net.ipv4.ip_local_port_range`, from 32768 on), and no process gets one of them twice.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that finds no port has failed")]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The lowest port that is given out; well-known services are below it.
const LOWEST: u32 = 10_000;

/// How many there are, up to where the system's own begin.
const COUNT: u32 = 22_000;

/// How far apart processes begin whose numbers follow each other: tests of several run at a time.
const STRIDE: u32 = 61;

/// How many ports this process has tried.
static TRIED: AtomicU32 = AtomicU32::new(0);

/// A port of the loopback that nobody listens on and that this process has not been given before.
///
/// # Panics
///
/// Where all of them are taken.
pub(crate) fn free_port() -> u16 {
    let first = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let offset = first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(LOWEST + offset).expect("the highest is below 32768");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("every port from {LOWEST} to {} is taken", LOWEST + COUNT - 1)
}
