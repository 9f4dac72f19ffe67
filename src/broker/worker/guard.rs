//! Bugs in a protocol machine, kept to the connection that met them.
//!
//! Bugs in the engine are not: they may have left its tables half-changed, and nothing but a new start is safe.

use std::panic::{AssertUnwindSafe, catch_unwind};

use noctule_core::refusal::{Kind, Refusal};

/// Runs what a protocol machine does for one connection.
///
/// # Errors
/// The refusal of that connection, when the machine panics; nothing but that connection is touched then.
pub(super) fn guarded<T>(machine: impl FnOnce() -> T) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(machine)).map_err(|_| bug())
}

/// What a connection is refused with that has met a bug.
pub(super) fn bug() -> Refusal {
    Refusal::new(Kind::Internal, "a packet met a bug in the broker; please report it")
}
