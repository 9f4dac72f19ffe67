//! `noctule stomp send`: sends what the source gives, and waits until the broker says that it has everything.

use std::time::Instant;

use bytes::Bytes;
use noctule_stomp::client::{Client, Event, Outgoing, RequestError};

use super::{farewell, header, headers, options, place};
use crate::cli::{Exit, StompSendArgs};
use crate::client::failure::Failure;
use crate::client::input::Source;
use crate::client::link::{Link, Next};
use crate::client::stop::Stops;

/// Messages whose receipts may be under way.
const WINDOW: usize = 256;

/// The name of the only transaction of a connection.
const TRANSACTION: &str = "all";

/// Carries out the command.
pub(in crate::client) async fn run(arguments: &StompSendArgs) -> Result<Exit, Failure> {
    let place = place(&arguments.connect)?;
    let mut client = Client::new(options(&arguments.connect)?);
    let mut source = Source::open(&arguments.payload(), arguments.repeat)?;
    let mut stops = Stops::watch(None)?;
    let mut sending = Sending::new(arguments);
    let opened = stops.or(Link::open(&mut client, &place, Instant::now())).await;
    let mut link = match opened {
        Ok(link) => link?,
        Err(_) => return Err(Failure::Stopped { waiting: 0, published: 0 }),
    };
    let stopped = match stops.or(sending.send_all(&mut link, &mut source)).await {
        Ok(done) => done.map(|()| false)?,
        Err(_) => true,
    };
    // Lines may be cut short by a signal, as under `tail -f`; what has been sent must be through.
    let (waiting, published) = (link.client().unanswered(), sending.sent);
    // A first signal changes nothing about an end that is being made anyway; a second one does not wait for it.
    let closed = if stopped { stops.or(farewell(link)).await } else { Ok(farewell(link).await) };
    let told = match closed {
        Ok(told) => told?,
        Err(_) => return Err(Failure::Stopped { waiting, published }),
    };
    match told {
        _ if stopped && sending.is_uncommitted() => Err(Failure::Uncommitted { sent: published }),
        _ if stopped && (waiting > 0 || published == 0) => Err(Failure::Stopped { waiting, published }),
        // Every message has its receipt already, or its transaction has.
        None => Ok(Exit::Done),
        Some(_) if !arguments.no_receipt || arguments.transaction => Ok(Exit::Done),
        Some(error) => Err(Failure::NoFarewell { place, error }),
    }
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    /// None is asked for.
    None,
    Open,
    Committed,
}

/// What is being sent, and how much of it has been.
struct Sending<'a> {
    arguments: &'a StompSendArgs,
    headers: Vec<(String, String)>,
    transaction: Transaction,
    sent: u64,
}

impl<'a> Sending<'a> {
    fn new(arguments: &'a StompSendArgs) -> Self {
        let mut headers = headers(&arguments.headers);
        if let Some(content_type) = &arguments.content_type {
            headers.push(header("content-type", content_type));
        }
        if arguments.persistent {
            headers.push(header("persistent", "true"));
        }
        let transaction = if arguments.transaction { Transaction::Open } else { Transaction::None };
        Self { arguments, headers, transaction, sent: 0 }
    }

    fn is_uncommitted(&self) -> bool {
        self.transaction == Transaction::Open
    }

    /// Returns when the source has ended and everything that was asked for has its receipt.
    async fn send_all(&mut self, link: &mut Link<'_, Client>, source: &mut Source) -> Result<(), Failure> {
        let mut ended = false;
        loop {
            while let Some(event) = link.next_event()? {
                if matches!(event, Event::Connected(_)) && self.is_uncommitted() {
                    let now_ms = link.now_ms();
                    link.client().begin(now_ms, TRANSACTION).map_err(unsendable)?;
                }
            }
            if ended && link.client().unanswered() == 0 {
                return Ok(());
            }
            let wanted = if ended { None } else { Some(&mut *source) };
            match link.turn_with(wanted, has_room).await? {
                Next::Turned => {}
                Next::Payload(body) => self.send_one(link, &body)?,
                Next::End => {
                    ended = true;
                    if self.is_uncommitted() {
                        let now_ms = link.now_ms();
                        link.client().commit(now_ms, TRANSACTION).map_err(unsendable)?;
                        self.transaction = Transaction::Committed;
                    }
                }
            }
        }
    }

    fn send_one(&mut self, link: &mut Link<'_, Client>, body: &Bytes) -> Result<(), Failure> {
        let message = Outgoing {
            destination: &self.arguments.destination,
            headers: &self.headers,
            body,
            transaction: self.arguments.transaction.then_some(TRANSACTION),
        };
        // COMMIT's receipt stands for all of a transaction.
        let receipt = !self.arguments.no_receipt && !self.arguments.transaction;
        let now_ms = link.now_ms();
        link.client().send(now_ms, &message, receipt).map_err(unsendable)?;
        self.sent += 1;
        Ok(())
    }
}

fn unsendable(error: RequestError) -> Failure {
    Failure::StompRequest { what: "the message cannot be sent", error }
}

fn has_room(link: &mut Link<'_, Client>) -> bool {
    link.client().is_connected() && link.client().unanswered() < WINDOW && link.takes_output()
}
