//! Noctule's shell: everything that touches sockets, threads, clocks and disks.
//!
//! What must be right about a broker lives in the `protocols/` crates and knows nothing of these; see `noctule_core`.
//! Tokio has no sockets under `cfg(loom)`, so whatever uses them is left out there.

#[cfg(not(loom))]
pub mod admin;
pub mod auth;
pub mod banner;
#[cfg(not(loom))]
pub mod broker;
pub mod certs;
pub mod cli;
#[cfg(not(loom))]
pub mod client;
pub mod config;
#[cfg(not(loom))]
pub mod ctl;
#[cfg(test)]
#[path = "../tests/kit/data_dir.rs"]
mod data_dir;
pub mod descriptors;
pub mod logging;
#[cfg(not(loom))]
pub mod net;
#[cfg(test)]
#[path = "../tests/kit/ports.rs"]
mod ports;
pub mod reactor;
#[cfg(not(loom))]
pub mod service;
pub mod store;
#[cfg(not(loom))]
mod timer;
pub mod tls;
