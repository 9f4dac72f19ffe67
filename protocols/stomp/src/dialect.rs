//! The habits of other brokers' clients: how they write topics, and what they mean by a word that we mean otherwise.
//!
//! A dialect belongs to a listener. Migrating means to choose it on the old port; the clients stay as they are. How a
//! destination is made of a topic is not known here.

use std::borrow::Cow;

use noctule_core::consumer::Verdict;

/// How the clients of a listener write and what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// Topics as MQTT writes them.
    #[default]
    Native,
    /// As for RabbitMQ: `a.*.#`, NACK requeues, `timestamp` counts seconds.
    Rabbitmq,
    /// As for ActiveMQ: `a.*.>`, NACK makes a dead letter, text has no `content-length`.
    Activemq,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 3] = [Self::Native, Self::Rabbitmq, Self::Activemq];

    /// `native`, `rabbitmq` or `activemq`, as the configuration writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Rabbitmq => "rabbitmq",
            Self::Activemq => "activemq",
        }
    }

    /// The `server` header of CONNECTED.
    ///
    /// Clients look at its beginning to find out what the broker can do, so that it has to be the name of the broker
    /// that they expect (stomp-php knows `RabbitMQ/` and `ActiveMQ/`); a comment behind it, which the specification
    /// allows (1.2, "CONNECTED": `name ["/" version] *(comment)`), says who it really is. The versions are those whose
    /// STOMP is spoken here.
    #[must_use]
    pub const fn server(self) -> &'static str {
        match self {
            Self::Native => concat!("noctule/", env!("CARGO_PKG_VERSION")),
            Self::Rabbitmq => concat!("RabbitMQ/3.13.0 noctule/", env!("CARGO_PKG_VERSION")),
            Self::Activemq => concat!("ActiveMQ/5.18.0 noctule/", env!("CARGO_PKG_VERSION")),
        }
    }

    /// A topic of the core in the dialect's writing, and the other way round: a swap of letters undoes itself, so that
    /// no name is mangled on its way there and back.
    ///
    /// `.` and `/` change places, so do `*` and `+`, and for ActiveMQ `>` and `#`.
    #[must_use]
    pub fn swap(self, topic: &str) -> Cow<'_, str> {
        if self == Self::Native || !topic.contains(|letter| self.counterpart(letter) != letter) {
            return Cow::Borrowed(topic);
        }
        Cow::Owned(topic.chars().map(|letter| self.counterpart(letter)).collect())
    }

    /// Appends what [`Dialect::swap`] gives.
    pub(crate) fn swap_into(self, topic: &str, out: &mut String) {
        if self == Self::Native {
            out.push_str(topic);
        } else {
            out.extend(topic.chars().map(|letter| self.counterpart(letter)));
        }
    }

    fn counterpart(self, letter: char) -> char {
        match (self, letter) {
            (Self::Native, _) => letter,
            (_, '.') => '/',
            (_, '/') => '.',
            (_, '*') => '+',
            (_, '+') => '*',
            (Self::Activemq, '>') => '#',
            (Self::Activemq, '#') => '>',
            _ => letter,
        }
    }

    /// What NACK means where it has no `requeue` header.
    #[must_use]
    pub const fn nack(self) -> Verdict {
        match self {
            Self::Native | Self::Rabbitmq => Verdict::Requeue,
            Self::Activemq => Verdict::Reject,
        }
    }

    /// Milliseconds in one unit of the `timestamp` header; the core's are milliseconds.
    #[must_use]
    pub const fn timestamp_unit_ms(self) -> u64 {
        match self {
            Self::Rabbitmq => 1000,
            Self::Native | Self::Activemq => 1,
        }
    }

    /// Whether a MESSAGE with `content-length` is bytes to the clients, and one without it is text.
    pub(crate) const fn text_has_no_length(self) -> bool {
        matches!(self, Self::Activemq)
    }

    /// Letters that stand for many queues to a client of the dialect, and so may not be in a queue's name.
    pub(crate) const fn queue_wildcards(self) -> &'static [char] {
        match self {
            Self::Native | Self::Rabbitmq => &['+', '#'],
            Self::Activemq => &['+', '#', '*', '>'],
        }
    }
}
