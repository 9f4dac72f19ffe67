//! `noctule pub`, `noctule sub`, `noctule stomp` and `noctule bench`: the commands that talk to a broker, ours or another.
//!
//! The protocols are `noctule_mqtt::client`'s and `noctule_stomp::client`'s; here are the socket, standard input and
//! output, signals, and the words.

mod bench;
mod failure;
mod input;
mod link;
mod listen;
mod mqtt;
mod print;
mod publish;
mod request;
mod stomp;
mod stop;
mod subscribe;
mod tls;
mod words;

use std::future::Future;
use std::io::Write;

use crate::cli::{BenchArgs, Exit, PubArgs, StompArgs, StompCommand, SubArgs};
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

/// Runs `noctule stomp`.
///
/// # Errors
/// As [`publish`] and [`subscribe`].
pub fn stomp(arguments: &StompArgs) -> anyhow::Result<Exit> {
    match &arguments.command {
        StompCommand::Send(arguments) => run(stomp::send::run(arguments)),
        StompCommand::Subscribe(arguments) => run(stomp::subscribe::run(arguments)),
    }
}

/// Runs `noctule bench`.
///
/// # Errors
/// When a broker can't be reached or refuses, or the results can't be written.
pub fn bench(arguments: &BenchArgs) -> anyhow::Result<Exit> {
    run(bench::run(arguments))
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
