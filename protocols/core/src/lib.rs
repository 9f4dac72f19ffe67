//! Noctule's broker without a wire.
//!
//! Everything that must be right lives here and nothing that talks to the outside world does: no clock, socket,
//! thread, entropy or runtime. Time is an argument ([`Now`](id::Now)), hash seeds are handed in, output is polled.
//! The protocol crates turn bytes into this crate's inputs and its outputs into bytes; the shell moves the bytes.

pub mod acl;
pub mod consumer;
pub mod delivery;
pub mod effects;
pub mod engine;
pub mod group;
pub mod hash;
pub mod id;
pub mod matches;
pub mod message;
pub mod policy;
pub mod queue;
pub mod refusal;
pub mod retained;
pub mod selector;
pub mod session;
pub mod shared;
pub mod store;
pub mod timer;
pub mod topic;
pub mod trie;
