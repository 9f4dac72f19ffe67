//! `noctule sub`: subscribes, prints what comes, and comes back when the broker does.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::client::{Client, Event, Message, Welcome};
use noctule_mqtt::{RetainHandling, Subscription};
use tokio::time::sleep;

use super::failure::{Failure, Place, grant_in_words};
use super::link::Link;
use super::print::Printer;
use super::stop::{Stop, Stops};
use super::{note, request, words};
use crate::cli::{self, Exit, SubArgs};

/// Time before the first attempt to come back; doubled with each that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Topic aliases that the broker may use.
const ALIASES: u16 = 16;

/// Carries out the command.
pub(super) async fn run(arguments: &SubArgs) -> Result<Exit, Failure> {
    let place = request::place(&arguments.connect);
    let mut options = request::options(&arguments.connect)?;
    options.clean_start = !arguments.keep_session;
    options.topic_alias_maximum = ALIASES;
    if arguments.keep_session && options.session_expiry_s.is_none() {
        // As in 3.x: until the broker forgets it.
        options.session_expiry_s = Some(u32::MAX);
    }
    let mut client = Client::new(options);
    let mut stops = Stops::watch(arguments.timeout.map(crate::config::Period::as_duration))?;
    let mut listening = Listening::new(arguments, &place);
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        listening.subscribed = false;
        let ended = match stops.or(Link::open(&mut client, &place, started)).await {
            Ok(Ok(mut link)) => match stops.or(listening.listen(&mut link)).await {
                Ok(Ok(End::Counted)) => {
                    // The messages are printed; a broker that goes away now takes nothing from them.
                    let _ = stops.or(link.close()).await;
                    return Ok(Exit::Done);
                }
                Ok(Ok(End::NobodyReads)) => return Ok(Exit::Done),
                Ok(Err(failure)) => Ok(failure),
                Err(stop) => {
                    // A second signal does not wait for the good-bye.
                    let _ = stops.or(link.close()).await;
                    Err(stop)
                }
            },
            Ok(Err(failure)) => Ok(failure),
            Err(stop) => Err(stop),
        };
        let failure = match ended {
            Ok(failure) => failure,
            Err(stop) => return Ok(exit_of(stop)),
        };
        if !listening.was_subscribed || !failure.may_pass() {
            return Err(failure);
        }
        if listening.subscribed {
            pause = FIRST_PAUSE;
            note(format_args!("{failure}; coming back as soon as the broker does"));
        }
        if let Err(stop) = stops.or(sleep(pause)).await {
            return Ok(exit_of(stop));
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn exit_of(stop: Stop) -> Exit {
    match stop {
        Stop::Signal => Exit::Done,
        Stop::Deadline => Exit::Timeout,
    }
}

/// How listening ends well.
enum End {
    /// As many messages as were asked for have been printed.
    Counted,
    /// The reader of standard output is gone.
    NobodyReads,
}

/// What is to be listened to, over as many connections as it takes.
struct Listening<'a> {
    arguments: &'a SubArgs,
    place: &'a Place,
    printer: Printer,
    printed: u64,
    /// Whether the subscriptions are in force on this connection.
    subscribed: bool,
    /// Whether they were on any.
    was_subscribed: bool,
}

impl<'a> Listening<'a> {
    fn new(arguments: &'a SubArgs, place: &'a Place) -> Self {
        let printer = Printer::new(arguments.verbose, arguments.json);
        Self { arguments, place, printer, printed: 0, subscribed: false, was_subscribed: false }
    }

    async fn listen(&mut self, link: &mut Link<'_>) -> Result<End, Failure> {
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

    /// Whether a message was retained before the subscription and is not wanted.
    fn is_old(&self, message: &Message) -> bool {
        // With Retain As Published the flag says nothing about that; then the broker was told not to send them.
        self.arguments.no_retained && message.retain && !self.arguments.retain_as_published
    }

    fn connected(&mut self, link: &mut Link<'_>, welcome: &Welcome) -> Result<(), Failure> {
        if self.was_subscribed {
            note(format_args!("connected to {} again", self.place));
            if welcome.session_present {
                self.subscribed = true;
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
        if !self.was_subscribed {
            let taken = topics.iter().zip(granted).filter(|(_, granted)| granted.is_ok());
            let list: Vec<_> = taken.map(|(filter, _)| filter.as_str()).collect();
            note(format_args!("subscribed to {} at {}", list.join(", "), self.place));
        }
        self.subscribed = true;
        self.was_subscribed = true;
        Ok(())
    }
}
