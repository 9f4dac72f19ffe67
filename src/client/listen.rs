//! Listening over as many connections as it takes: the way back after a lost one, and when to give up.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::failure::{Failure, Place};
use super::link::{Link, Machine};
use super::note;
use super::stop::{Stop, Stops};
use crate::cli::Exit;
use crate::config::Period;

/// Time before the first attempt to come back; doubled with each that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How listening ends well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As many messages as were asked for have been printed, or all that there are.
    Counted,
    /// The reader of standard output is gone.
    NobodyReads,
}

/// Whether what was asked for is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// On this connection.
    pub(super) now: bool,
    /// On this or any before.
    pub(super) ever: bool,
}

impl Standing {
    /// From here on it is in force.
    pub(super) fn subscribed(&mut self) {
        *self = Self { now: true, ever: true };
    }
}

/// Who listens.
pub(super) trait Listen<M: Machine> {
    /// Whether the subscriptions are in force.
    fn standing(&mut self) -> &mut Standing;

    /// Subscribes, and prints what comes.
    async fn listen(&mut self, link: &mut Link<'_, M>) -> Result<End, Failure>;
}

/// Listens until that ends well, is stopped, or has no prospect of going on.
pub(super) async fn keep_listening<M: Machine>(
    client: &mut M,
    place: &Place,
    deadline: Option<Period>,
    listening: &mut impl Listen<M>,
) -> Result<Exit, Failure> {
    let mut stops = Stops::watch(deadline.map(Period::as_duration))?;
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        listening.standing().now = false;
        let ended = match stops.or(Link::open(client, place, started)).await {
            Ok(Ok(mut link)) => match stops.or(listening.listen(&mut link)).await {
                Ok(Ok(End::Counted)) => {
                    // The messages are printed; a broker that goes away now takes nothing from them.
                    let _ = stops.or(M::close(link)).await;
                    return Ok(Exit::Done);
                }
                Ok(Ok(End::NobodyReads)) => return Ok(Exit::Done),
                Ok(Err(failure)) => Ok(failure),
                Err(stop) => {
                    // A second signal does not wait for the good-bye.
                    let _ = stops.or(M::close(link)).await;
                    Err(stop)
                }
            },
            Ok(Err(failure)) => Ok(failure),
            Err(stop) => Err(stop),
        };
        let failure = match ended {
            Ok(failure) => failure,
            Err(Stop::Signal) => return Ok(Exit::Done),
            Err(Stop::Deadline) => return Ok(Exit::Timeout),
        };
        let standing = *listening.standing();
        if !standing.ever || !failure.may_pass() {
            return Err(failure);
        }
        if standing.now {
            pause = FIRST_PAUSE;
            note(format_args!("{failure}; coming back as soon as the broker does"));
        }
        match stops.or(sleep(pause)).await {
            Ok(()) => {}
            Err(Stop::Signal) => return Ok(Exit::Done),
            Err(Stop::Deadline) => return Ok(Exit::Timeout),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
