//! Destinations and the core's topics: one grammar, read both ways.
//!
//! The core knows everything by a topic: `$queue/N` is a queue, `$reply/O` a private place for answers, `$amq/direct/K`
//! a key of an exchange, all else a plain topic. What may be done with an address is the policy's to say, but for one
//! thing: another connection's place for answers can be sent to and never read.

use std::borrow::Cow;

use noctule_core::refusal::{Kind, Refusal};
use noctule_core::topic::{Subscribed, TopicError, TopicLimits, TopicName};
use thiserror::Error;

use crate::dialect::Dialect;
use crate::error::Excerpt;

/// Where destinations of a connection begin to differ from another's: its opaque name, which is also its `session`.
///
/// 22 letters of `[A-Za-z0-9_-]`, so that it may stand in a topic and in a `message-id`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; Self::LEN]);

impl Token {
    /// Letters of the text.
    pub const LEN: usize = 22;

    /// From 128 bits that nobody can guess, drawn by the caller.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bits = u128::from_be_bytes(random);
        Self(std::array::from_fn(|_| {
            let letter = LETTERS.get((bits & 63) as usize).copied().unwrap_or(b'A');
            bits >>= 6;
            letter
        }))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Token {
    /// Not the text: who knows it can send to the connection's temporary queues.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// What an address is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// SEND to it.
    Send,
    /// SUBSCRIBE to it.
    Subscribe,
    /// Others SEND answers to it.
    ReplyTo,
}

/// A destination that is none, or not for this purpose.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No such kind of destination.
    #[error(
        "destination {0} is unknown; write /topic/NAME, /queue/NAME, /exchange/amq.topic/KEY, /temp-queue/NAME or \
         /reply-queue/NAME"
    )]
    Unknown(Excerpt),
    /// A prefix that nothing follows.
    #[error("destination {0} has no name; write it behind the prefix, as in /queue/orders")]
    NoName(Excerpt),
    /// An exchange that there isn't.
    #[error(
        "destination {0} names no exchange that is here; use amq.topic, amq.direct, amq.fanout or amq.headers"
    )]
    Exchange(Excerpt),
    /// `amq.topic` or `amq.direct` without a key.
    #[error(
        "destination {0} has no routing key; write it behind the exchange, as in /exchange/amq.topic/orders"
    )]
    NoKey(Excerpt),
    /// A wildcard in the name of a queue, of a place for answers, or of a key.
    #[error(
        "destination {destination} has the wildcard '{wildcard}'; only /topic/ destinations of SUBSCRIBE may"
    )]
    Wildcard {
        /// The destination.
        destination: Excerpt,
        /// The letter.
        wildcard: char,
    },
    /// A wildcard in a topic that is sent to.
    #[error(
        "destination {destination} of SEND has the wildcard '{wildcard}'; name one topic: only SUBSCRIBE may name many"
    )]
    SendToMany {
        /// The destination.
        destination: Excerpt,
        /// The letter, as the client writes it.
        wildcard: char,
    },
    /// What the core says of the topic.
    #[error("destination {destination} is not valid: {error}")]
    Topic {
        /// The destination.
        destination: Excerpt,
        /// What is wrong with it, in MQTT's writing.
        error: TopicError,
    },
    /// Somebody else's.
    #[error(
        "destination {0} is private to the connection that made it; it can be sent to, and read only there: \
         subscribe to a /temp-queue/NAME of your own"
    )]
    Private(Excerpt),
    /// Nothing serves it.
    #[error("destination {0} is a stream, and streams are not served yet; use /topic/NAME or /queue/NAME")]
    Stream(Excerpt),
    /// `x-queue-name` that is no name for a group.
    #[error(
        "x-queue-name {0} is no name for a group; leave out '/', '+', '#' and U+0000, and do not leave it empty"
    )]
    Group(Excerpt),
    /// `x-queue-name` where there is nothing to share.
    #[error("x-queue-name goes with /topic/ destinations, not with {0}; leave it out")]
    NothingToShare(Excerpt),
}

impl AddressError {
    /// As the refusal with which the connection ends.
    #[must_use]
    pub fn refusal(&self, purpose: Purpose) -> Refusal {
        let kind = match (self, purpose) {
            (Self::Private(_), _) => Kind::NotAuthorized,
            (_, Purpose::Subscribe) => Kind::TopicFilterInvalid,
            (_, Purpose::Send | Purpose::ReplyTo) => Kind::TopicNameInvalid,
        };
        Refusal::new(kind, self.to_string())
    }
}

/// How the destinations of one connection are read and written.
#[derive(Clone, Copy, Debug)]
pub struct Grammar<'t> {
    /// How topics are written.
    pub dialect: Dialect,
    /// Whose temporary queues are its own.
    pub token: &'t Token,
    /// Limits that the core's topics keep.
    pub limits: &'t TopicLimits,
}

impl Grammar<'_> {
    /// The core's topic (for [`Purpose::Subscribe`]: filter) behind a destination.
    ///
    /// # Errors
    /// What is wrong with the destination and how to mend it.
    pub fn to_core<'a>(&self, destination: &'a str, purpose: Purpose) -> Result<Cow<'a, str>, AddressError> {
        let topic = self.read(destination)?;
        self.check(&topic, destination, purpose)?;
        Ok(topic)
    }

    /// As [`Grammar::to_core`] for SUBSCRIBE, to compete for the messages with everybody in `group` (`x-queue-name`).
    ///
    /// # Errors
    /// What is wrong with destination or group and how to mend it.
    pub fn to_share(&self, destination: &str, group: &str) -> Result<String, AddressError> {
        let filter = self.to_core(destination, Purpose::Subscribe)?;
        if filter.starts_with('$') {
            return Err(AddressError::NothingToShare(excerpt(destination)));
        }
        if group.is_empty() || group.contains(['/', '+', '#', '\0']) {
            return Err(AddressError::Group(excerpt(group)));
        }
        let shared = format!("$share/{group}/{filter}");
        match Subscribed::parse(&shared, self.limits) {
            Ok(_) => Ok(shared),
            Err(error) => Err(AddressError::Topic { destination: excerpt(destination), error }),
        }
    }

    fn read<'a>(&self, destination: &'a str) -> Result<Cow<'a, str>, AddressError> {
        let Some(rest) = destination.strip_prefix('/') else { return self.queue(destination, destination) };
        let (kind, name) = match rest.split_once('/') {
            Some((kind, name)) => (kind, Some(name)),
            None => (rest, None),
        };
        let name = || match name {
            None | Some("") => Err(AddressError::NoName(excerpt(destination))),
            Some(name) => Ok(name),
        };
        match kind {
            "topic" => Ok(self.dialect.swap(name()?)),
            "queue" => self.queue(name()?, destination),
            "exchange" => self.exchange(name()?, destination),
            "amq" => match name()?.strip_prefix("queue/") {
                Some(name) => self.queue(name, destination),
                None => Err(AddressError::Unknown(excerpt(destination))),
            },
            "temp-queue" | "temp-topic" => plain("$reply/", Some(self.token), name()?, destination),
            "reply-queue" | "remote-temp-queue" => plain("$reply/", None, name()?, destination),
            "stream" => Err(AddressError::Stream(excerpt(destination))),
            _ => Err(AddressError::Unknown(excerpt(destination))),
        }
    }

    fn queue(&self, name: &str, destination: &str) -> Result<Cow<'static, str>, AddressError> {
        without(self.dialect.queue_wildcards(), name, destination)?;
        plain("$queue/", None, name, destination)
    }

    fn exchange<'a>(&self, rest: &'a str, destination: &str) -> Result<Cow<'a, str>, AddressError> {
        let (exchange, key) = match rest.split_once('/') {
            Some((exchange, key)) => (exchange, Some(key).filter(|key| !key.is_empty())),
            None => (rest, None),
        };
        let keyed = || key.ok_or_else(|| AddressError::NoKey(excerpt(destination)));
        match exchange {
            "amq.topic" => Ok(self.dialect.swap(keyed()?)),
            "amq.direct" => plain("$amq/direct/", None, keyed()?, destination),
            // A key means nothing to these two, in RabbitMQ neither.
            "amq.fanout" => Ok(Cow::Borrowed("$amq/fanout")),
            "amq.headers" => Ok(Cow::Borrowed("$amq/headers")),
            _ => Err(AddressError::Exchange(excerpt(destination))),
        }
    }

    /// What holds of the topic, by whatever destination it was named: `/topic/$reply/…` is as private as any.
    fn check(&self, topic: &str, destination: &str, purpose: Purpose) -> Result<(), AddressError> {
        let invalid = |error| match error {
            TopicError::WildcardInName { wildcard, .. } => {
                let written = self.dialect.swap(wildcard.encode_utf8(&mut [0; 4])).chars().next();
                let wildcard = written.unwrap_or(wildcard);
                AddressError::SendToMany { destination: excerpt(destination), wildcard }
            }
            error => AddressError::Topic { destination: excerpt(destination), error },
        };
        match split_first(topic) {
            ("$stream", _) => return Err(AddressError::Stream(excerpt(destination))),
            ("$queue" | "$reply", None | Some("")) => return Err(AddressError::NoName(excerpt(destination))),
            _ => {}
        }
        if purpose != Purpose::Subscribe {
            return TopicName::parse(topic, self.limits).map(|_| ()).map_err(invalid);
        }
        let subscribed = Subscribed::parse(topic, self.limits).map_err(invalid)?;
        let filter = subscribed.filter().as_str();
        let (kind, name) = split_first(filter);
        match kind {
            "$reply" if !name.is_some_and(|opaque| self.is_own(opaque)) => {
                Err(AddressError::Private(excerpt(destination)))
            }
            "$reply" | "$queue" => without(&['+', '#'], filter, destination),
            _ => Ok(()),
        }
    }

    /// Whether what stands behind `$reply/` is this connection's own.
    fn is_own(&self, opaque: &str) -> bool {
        self.own(opaque).is_some()
    }

    fn own<'a>(&self, opaque: &'a str) -> Option<&'a str> {
        opaque.strip_prefix(self.token.as_str())?.strip_prefix('/').filter(|name| !name.is_empty())
    }

    /// Appends the destination of a MESSAGE that came by `topic`.
    pub fn write_destination(&self, topic: &str, out: &mut String) {
        match topic.strip_prefix("$reply/").and_then(|opaque| self.own(opaque)) {
            Some(name) => {
                out.push_str("/temp-queue/");
                out.push_str(name);
            }
            None => self.write_reply_to(topic, out),
        }
    }

    /// Appends the `reply-to` of a MESSAGE whose answers are expected at `topic`; everybody is told the same.
    pub fn write_reply_to(&self, topic: &str, out: &mut String) {
        /// What the core's own topics begin with, and their destinations; names behind them stand for themselves.
        const SPECIAL: [(&str, &str); 4] = [
            ("$queue/", "/queue/"),
            ("$reply/", "/reply-queue/"),
            ("$amq/direct/", "/exchange/amq.direct/"),
            ("$stream/", "/stream/"),
        ];
        if topic.starts_with('$') {
            match topic {
                "$amq/fanout" => return out.push_str("/exchange/amq.fanout"),
                "$amq/headers" => return out.push_str("/exchange/amq.headers"),
                _ => {}
            }
            for (prefix, written) in SPECIAL {
                if let Some(name) = topic.strip_prefix(prefix).filter(|name| !name.is_empty()) {
                    out.push_str(written);
                    return out.push_str(name);
                }
            }
        }
        out.push_str("/topic/");
        self.dialect.swap_into(topic, out);
    }
}

/// The first level, and what follows it.
fn split_first(topic: &str) -> (&str, Option<&str>) {
    match topic.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (topic, None),
    }
}

/// A name that stands for itself, behind its prefix.
fn plain(
    prefix: &str,
    token: Option<&Token>,
    name: &str,
    destination: &str,
) -> Result<Cow<'static, str>, AddressError> {
    if name.is_empty() {
        return Err(AddressError::NoName(excerpt(destination)));
    }
    without(&['+', '#'], name, destination)?;
    let token = token.map_or("", Token::as_str);
    let separator = if token.is_empty() { "" } else { "/" };
    let mut topic = String::with_capacity(prefix.len() + token.len() + separator.len() + name.len());
    for part in [prefix, token, separator, name] {
        topic.push_str(part);
    }
    Ok(Cow::Owned(topic))
}

fn without(wildcards: &[char], name: &str, destination: &str) -> Result<(), AddressError> {
    match name.chars().find(|letter| wildcards.contains(letter)) {
        None => Ok(()),
        Some(wildcard) => Err(AddressError::Wildcard { destination: excerpt(destination), wildcard }),
    }
}

fn excerpt(text: &str) -> Excerpt {
    Excerpt::of(text.as_bytes())
}
