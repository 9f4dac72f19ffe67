//! `noctule pub`: publishes what the source gives, within the broker's window, and waits for the acknowledgements.

use std::time::Instant;

use bytes::Bytes;
use noctule_core::id::Qos;
use noctule_mqtt::client::{Client, Event, Outgoing, Properties, RequestError};

use super::failure::{Failure, Impossible};
use super::input::Source;
use super::link::{Link, Machine, Next};
use super::stop::{Stop, Stops};
use super::{note, request, words};
use crate::cli::{Exit, Payload, PayloadFormat, PubArgs};

/// Refusals that are told one by one; those after them are counted.
const MOST_NOTES: u64 = 10;

/// What has become of the messages so far.
#[derive(Debug, Default)]
struct Tally {
    published: u64,
    refused: u64,
}

impl Tally {
    fn refuse(&mut self, why: std::fmt::Arguments<'_>) {
        self.refused += 1;
        if self.refused <= MOST_NOTES {
            note(why);
        }
    }
}

/// Carries out the command.
pub(super) async fn run(arguments: &PubArgs) -> Result<Exit, Failure> {
    let payload = arguments.payload();
    let place = request::place(&arguments.connect)?;
    let mut options = request::options(&arguments.connect)?;
    if payload == Payload::Lines {
        // One topic, many messages.
        options.aliases_out = 1;
    }
    let template = template(arguments)?;
    let mut source = Source::open(&payload, 1)?;
    let mut stops = Stops::watch(None)?;
    let mut client = Client::new(options);
    let mut tally = Tally::default();
    let opened = stops.or(Link::open(&mut client, &place, Instant::now())).await;
    let mut link = match opened {
        Ok(link) => link?,
        Err(_) => return Err(Failure::Stopped { waiting: 0, published: 0 }),
    };
    let stopped = match stops.or(publish_all(&mut link, &mut source, &template, &mut tally)).await {
        Ok(done) => done.map(|()| false)?,
        Err(Stop::Signal | Stop::Deadline) => true,
    };
    // Lines may be cut short by a signal, as under `tail -f`; what has been published must be through.
    let waiting = link.client().unacknowledged();
    let unfinished = stopped && (waiting > 0 || tally.published == 0);
    // A first signal changes nothing about an end that is being made anyway; a second one does not wait for it.
    let closed = if stopped { stops.or(Client::close(link)).await } else { Ok(Client::close(link).await) };
    match closed {
        Ok(closed) => closed?,
        Err(_) => return Err(Failure::Stopped { waiting, published: tally.published }),
    }
    if unfinished {
        return Err(Failure::Stopped { waiting, published: tally.published });
    }
    match tally.refused {
        0 => Ok(Exit::Done),
        1 if tally.published <= 1 => Ok(Exit::Failed),
        refused => Err(Failure::NotTaken { refused, published: tally.published }),
    }
}

/// The message without its payload.
fn template(arguments: &PubArgs) -> Result<Outgoing, Failure> {
    let properties = Properties {
        payload_is_text: arguments.payload_format.map(|format| format == PayloadFormat::Utf8),
        content_type: arguments.content_type.clone(),
        response_topic: arguments.response_topic.clone(),
        correlation_data: arguments.correlation_data.clone().map(String::into_bytes),
        user_properties: request::user_properties(&arguments.user_properties),
    };
    let mut message = Outgoing::new(arguments.topic.as_str(), Bytes::new())
        .at(arguments.qos)
        .with_properties(&properties)
        .map_err(|error| Failure::Impossible(Impossible::Mqtt(error)))?;
    message.retain = arguments.retain;
    message.expiry_s = arguments.expiry.map(|expiry| expiry.as_secs().try_into().unwrap_or(u32::MAX));
    Ok(message)
}

/// Returns when the source has ended and everything is acknowledged.
async fn publish_all(
    link: &mut Link<'_, Client>,
    source: &mut Source,
    template: &Outgoing,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let mut ended = false;
    loop {
        while let Some(event) = link.next_event()? {
            if let Event::Published { reason, reason_string, .. } = event
                && reason.is_failure()
            {
                let words = reason_string.map(|text| format!(": {}", words::plain(&text)));
                tally.refuse(format_args!(
                    "the broker refuses the message: {reason}{}",
                    words.unwrap_or_default()
                ));
            }
        }
        if ended && link.client().unacknowledged() == 0 {
            return Ok(());
        }
        let source = if ended { None } else { Some(&mut *source) };
        match link.turn_with(source, |link| has_room(link, template.qos)).await? {
            Next::Turned => {}
            Next::End => ended = true,
            Next::Payload(payload) => publish_one(link, template, payload, tally)?,
        }
    }
}

fn has_room(link: &mut Link<'_, Client>, qos: Qos) -> bool {
    let free = if qos == Qos::AtMostOnce { link.client().is_connected() } else { link.client().has_room() };
    free && link.takes_output()
}

fn publish_one(
    link: &mut Link<'_, Client>,
    template: &Outgoing,
    payload: Bytes,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let now_ms = link.now_ms();
    let mut message = template.clone();
    message.payload = payload;
    tally.published += 1;
    match link.client().publish(now_ms, &message) {
        Ok(_) => Ok(()),
        // The next line may be shorter.
        Err(error @ RequestError::TooLarge { .. }) => {
            tally.refuse(format_args!("the message is not sent: {error}"));
            Ok(())
        }
        Err(error) => Err(Failure::Request { what: "the message cannot be sent", error }),
    }
}
