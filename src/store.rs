//! Stable storage: what was acknowledged is on the disk, and comes back after a restart.

mod log;
