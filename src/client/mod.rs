//! `noctule pub` and `noctule sub`: the two commands that talk to a broker, ours or another.
//!
//! The MQTT is `noctule_mqtt::client`'s; here are the socket, standard input and output, signals, and the words.

mod failure;
mod input;
mod link;
mod print;
mod publish;
mod request;
mod stop;
mod subscribe;
mod words;

use std::future::Future;
use std::io::Write;

use crate::cli::{Exit, PubArgs, SubArgs};
use failure::Failure;

/// Runs `noctule pub`.
///
/// # Errors
/// When the broker can't be reached, refuses or is lost before it has acknowledged everything.
pub fn publish(arguments: &PubArgs) -> anyhow::Result<Exit> {
    run(publish::run(arguments))
}

/// Runs `noctule sub`.
///
/// # Errors
/// When the broker can't be reached or refuses.
pub fn subscribe(arguments: &SubArgs) -> anyhow::Result<Exit> {
    run(subscribe::run(arguments))
}

fn run(command: impl Future<Output = Result<Exit, Failure>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let done = runtime.block_on(command);
    // A look-up of a name may still be waiting for an answer that nobody wants any more.
    runtime.shutdown_background();
    match done {
        Ok(exit) => Ok(exit),
        Err(failure) if failure.is_usage() => {
            note(format_args!("{failure}"));
            Ok(Exit::Usage)
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Says something to the user, on standard error.
fn note(text: std::fmt::Arguments<'_>) {
    // Nothing is left to be done when standard error is gone.
    let _ = writeln!(std::io::stderr(), "noctule: {text}");
}
