//! `noctule sub`: subscribes and prints what comes. Coming back after a lost connection is in `listen`.

use std::num::NonZeroU32;

use noctule_core::id::Qos;
use noctule_mqtt::client::{Client, Event, Message, Welcome};
use noctule_mqtt::{RetainHandling, Subscription};

use super::failure::{Failure, Place, grant_in_words};
use super::link::Link;
use super::listen::{End, Listen, Standing, keep_listening};
use super::print::{Form, Printer};
use super::{note, request, words};
use crate::cli::{self, Exit, SubArgs};

/// Topic aliases that the broker may use.
const ALIASES: u16 = 16;

/// Carries out the command.
pub(super) async fn run(arguments: &SubArgs) -> Result<Exit, Failure> {
    let place = request::place(&arguments.connect)?;
    let mut options = request::options(&arguments.connect)?;
    options.clean_start = !arguments.keep_session;
    options.topic_alias_maximum = ALIASES;
    if arguments.keep_session && options.session_expiry_s.is_none() {
        // As in 3.x: until the broker forgets it.
        options.session_expiry_s = Some(u32::MAX);
    }
    let mut client = Client::new(options);
    let mut listening = Listening::new(arguments, &place);
    keep_listening(&mut client, &place, arguments.timeout, &mut listening).await
}

/// What is to be listened to, over as many connections as it takes.
struct Listening<'a> {
    arguments: &'a SubArgs,
    place: &'a Place,
    printer: Printer,
    printed: u64,
    standing: Standing,
}

impl Listen<Client> for Listening<'_> {
    fn standing(&mut self) -> &mut Standing {
        &mut self.standing
    }

    async fn listen(&mut self, link: &mut Link<'_, Client>) -> Result<End, Failure> {
        loop {
            while let Some(event) = link.next_event()? {
                match event {
                    Event::Connected(welcome) => self.connected(link, &welcome)?,
                    Event::Subscribed { granted, reason_string, .. } => {
                        self.granted(&granted, reason_string.as_deref())?;
                    }
                    Event::Message(message) => {
                        if self.is_old(&message) {
                            continue;
                        }
                        if !self.printer.print(&message)? {
                            return Ok(End::NobodyReads);
                        }
                        self.printed += 1;
                        if self.arguments.count.is_some_and(|count| self.printed >= count) {
                            return Ok(if self.printer.flush()? { End::Counted } else { End::NobodyReads });
                        }
                    }
                    _ => {}
                }
            }
            // What is printed is out before its acknowledgement is.
            if !self.printer.flush()? {
                return Ok(End::NobodyReads);
            }
            link.turn().await?;
        }
    }
}

impl<'a> Listening<'a> {
    fn new(arguments: &'a SubArgs, place: &'a Place) -> Self {
        let form = match (arguments.verbose, arguments.json) {
            (_, true) => Form::Json,
            (true, false) => Form::Address,
            (false, false) => Form::Payload,
        };
        Self { arguments, place, printer: Printer::new(form), printed: 0, standing: Standing::default() }
    }

    /// Whether a message was retained before the subscription and is not wanted.
    fn is_old(&self, message: &Message) -> bool {
        // With Retain As Published the flag says nothing about that; then the broker was told not to send them.
        self.arguments.no_retained && message.retain && !self.arguments.retain_as_published
    }

    fn connected(&mut self, link: &mut Link<'_, Client>, welcome: &Welcome) -> Result<(), Failure> {
        if self.standing.ever {
            note(format_args!("connected to {} again", self.place));
            if welcome.session_present {
                self.standing.subscribed();
                return Ok(());
            }
        }
        let arguments = self.arguments;
        let retain_handling = match arguments.retain_handling {
            Some(cli::RetainHandling::Always) => RetainHandling::Always,
            Some(cli::RetainHandling::New) => RetainHandling::IfNew,
            Some(cli::RetainHandling::Never) => RetainHandling::Never,
            None if arguments.no_retained => RetainHandling::Never,
            None => RetainHandling::Always,
        };
        let filters: Vec<_> = arguments
            .topics
            .iter()
            .map(|filter| Subscription {
                no_local: arguments.no_local,
                retain_as_published: arguments.retain_as_published,
                retain_handling,
                ..Subscription::new(filter, arguments.qos)
            })
            .collect();
        let user_properties: Vec<_> = arguments
            .user_properties
            .iter()
            .map(|property| (property.name.as_str(), property.value.as_str()))
            .collect();
        let id = arguments.subscription_id.and_then(NonZeroU32::new);
        let now_ms = link.now_ms();
        link.client()
            .subscribe(now_ms, &filters, id, &user_properties)
            .map(drop)
            .map_err(|error| Failure::Request { what: "the subscription cannot be sent", error })
    }

    fn granted(
        &mut self,
        granted: &[Result<Qos, noctule_mqtt::Reason>],
        reason_string: Option<&str>,
    ) -> Result<(), Failure> {
        let topics = &self.arguments.topics;
        for (filter, granted) in topics.iter().zip(granted) {
            if let Some(words) = grant_in_words(filter, self.arguments.qos, *granted) {
                note(format_args!("{words}"));
            }
        }
        if let Some(text) = reason_string.filter(|text| !text.is_empty()) {
            note(format_args!("the broker says: {}", words::plain(text)));
        }
        if granted.iter().all(Result::is_err) {
            return Err(Failure::NothingGranted);
        }
        if !self.standing.ever {
            let taken = topics.iter().zip(granted).filter(|(_, granted)| granted.is_ok());
            let list: Vec<_> = taken.map(|(filter, _)| filter.as_str()).collect();
            note(format_args!("subscribed to {} at {}", list.join(", "), self.place));
        }
        self.standing.subscribed();
        Ok(())
    }
}
