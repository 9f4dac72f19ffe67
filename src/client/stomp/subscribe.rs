//! `noctule stomp subscribe`: subscribes, prints what comes, and acknowledges what is printed. Coming back after a lost
//! connection is in `listen`.

use noctule_stomp::client::{AckMode, Client, Event, Message, ReceiptId, RequestError, Subscription};

use super::{header, headers, options, place};
use crate::cli::{Ack, Exit, StompFormat, StompSubscribeArgs};
use crate::client::failure::{Failure, Place};
use crate::client::link::Link;
use crate::client::listen::{End, Listen, Standing, keep_listening};
use crate::client::note;
use crate::client::print::{Form, Printer};

/// The subscription's name, unless it is to last.
const SUBSCRIPTION: &str = "0";

/// Counts below this ask for no more messages ahead than are wanted; brokers send about as many by themselves.
const USUAL_PREFETCH: u64 = 256;

/// Carries out the command.
pub(in crate::client) async fn run(arguments: &StompSubscribeArgs) -> Result<Exit, Failure> {
    let place = place(&arguments.connect)?;
    let mut client = Client::new(options(&arguments.connect)?);
    let mut listening = Listening::new(arguments, &place);
    keep_listening(&mut client, &place, arguments.timeout, &mut listening).await
}

/// What is to be listened to, over as many connections as it takes.
struct Listening<'a> {
    arguments: &'a StompSubscribeArgs,
    place: &'a Place,
    headers: Vec<(String, String)>,
    mode: AckMode,
    printer: Printer,
    printed: u64,
    /// Printed on this connection, and not acknowledged yet; of `client` only the last.
    owed: Vec<Message>,
    /// What the subscription's receipt will be.
    awaited: Option<ReceiptId>,
    standing: Standing,
}

impl Listen<Client> for Listening<'_> {
    fn standing(&mut self) -> &mut Standing {
        &mut self.standing
    }

    async fn listen(&mut self, link: &mut Link<'_, Client>) -> Result<End, Failure> {
        self.owed.clear();
        loop {
            while let Some(event) = link.next_event()? {
                match event {
                    Event::Connected(_) => self.connected(link)?,
                    Event::Receipt(receipt) if self.awaited == Some(receipt) => self.subscribed(),
                    Event::Message(message) if message.is_end_of_browse() => return self.end(link),
                    Event::Message(message) => {
                        if !self.printer.print(&message)? {
                            return Ok(End::NobodyReads);
                        }
                        self.printed += 1;
                        self.owe(message);
                        if self.arguments.count.is_some_and(|count| self.printed >= count) {
                            return self.end(link);
                        }
                    }
                    _ => {}
                }
            }
            // What is printed is out before its acknowledgement is.
            if !self.printer.flush()? {
                return Ok(End::NobodyReads);
            }
            self.settle(link)?;
            link.turn().await?;
        }
    }
}

impl<'a> Listening<'a> {
    fn new(arguments: &'a StompSubscribeArgs, place: &'a Place) -> Self {
        let form = match arguments.format() {
            StompFormat::Body => Form::Payload,
            StompFormat::Destination => Form::Address,
            StompFormat::Headers => Form::Headers,
            StompFormat::Json => Form::Json,
        };
        let mode = match arguments.ack() {
            Ack::Auto => AckMode::Auto,
            Ack::Client => AckMode::Client,
            Ack::ClientIndividual => AckMode::ClientIndividual,
        };
        Self {
            arguments,
            place,
            headers: all_headers(arguments),
            mode,
            printer: Printer::new(form),
            printed: 0,
            owed: Vec::new(),
            awaited: None,
            standing: Standing::default(),
        }
    }

    fn connected(&mut self, link: &mut Link<'_, Client>) -> Result<(), Failure> {
        if self.standing.ever {
            note(format_args!("connected to {} again", self.place));
        }
        let subscription = Subscription {
            id: self.arguments.durable.as_deref().unwrap_or(SUBSCRIPTION),
            destination: &self.arguments.destination,
            ack: self.mode,
            headers: &self.headers,
        };
        let now_ms = link.now_ms();
        let receipt = link
            .client()
            .subscribe(now_ms, &subscription)
            .map_err(|error| Failure::StompRequest { what: "the subscription cannot be sent", error })?;
        self.awaited = Some(receipt);
        Ok(())
    }

    fn subscribed(&mut self) {
        if !self.standing.ever {
            note(format_args!("subscribed to {} at {}", self.arguments.destination, self.place));
        }
        self.standing.subscribed();
    }

    fn owe(&mut self, message: Message) {
        match self.mode {
            AckMode::Auto => return,
            AckMode::Client => self.owed.clear(),
            AckMode::ClientIndividual => {}
        }
        // The body is printed and may be large.
        self.owed.push(Message { body: bytes::Bytes::new(), ..message });
    }

    fn settle(&mut self, link: &mut Link<'_, Client>) -> Result<(), Failure> {
        let cannot =
            |error: RequestError| Failure::StompRequest { what: "the message cannot be acknowledged", error };
        let now_ms = link.now_ms();
        for message in self.owed.drain(..) {
            link.client().ack(now_ms, &message, None).map_err(cannot)?;
        }
        Ok(())
    }

    fn end(&mut self, link: &mut Link<'_, Client>) -> Result<End, Failure> {
        if !self.printer.flush()? {
            return Ok(End::NobodyReads);
        }
        self.settle(link)?;
        Ok(End::Counted)
    }
}

/// The headers given, and those that flags stand for.
fn all_headers(arguments: &StompSubscribeArgs) -> Vec<(String, String)> {
    let mut all = headers(&arguments.headers);
    let is_given = |name: &str| arguments.headers.iter().any(|header| header.name == name);
    // A message that has come and isn't wanted any more counts as delivered when it goes back, so that in the end it
    // would be a dead letter.
    let wanted = arguments.count.filter(|count| *count < USUAL_PREFETCH).map(|count| count as u16);
    for name in ["prefetch-count", "activemq.prefetchSize"] {
        if let Some(prefetch) = arguments.prefetch.or(wanted).filter(|_| !is_given(name)) {
            all.push(header(name, &prefetch.to_string()));
        }
    }
    if let Some(selector) = &arguments.selector {
        all.push(header("selector", selector));
    }
    if arguments.browse {
        all.push(header("browser", "true"));
    }
    if let Some(name) = &arguments.durable {
        // ActiveMQ's way to say it and RabbitMQ's; either ignores the other's.
        all.push(header("activemq.subscriptionName", name));
        all.push(header("durable", "true"));
        all.push(header("auto-delete", "false"));
    }
    all
}
