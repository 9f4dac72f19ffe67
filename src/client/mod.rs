//! `noctule pub` and `noctule sub`.

use crate::cli::{Exit, PubArgs, SubArgs};

/// Runs `noctule pub`.
///
/// # Errors
/// When the broker can't be reached or refuses.
pub fn publish(_arguments: &PubArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("being written")
}

/// Runs `noctule sub`.
///
/// # Errors
/// When the broker can't be reached or refuses.
pub fn subscribe(_arguments: &SubArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("being written")
}
