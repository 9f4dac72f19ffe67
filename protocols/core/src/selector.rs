//! Message selectors: the conditional expressions of SQL-92 that Jakarta Messaging 3.1 took over (section 3.8.1.1),
//! over a message's names and, with `JSON('$.path')`, its payload.
//!
//! A selector is compiled once, into a flat program, and shared. Nothing in it is recursive, neither while it is
//! compiled nor when it is evaluated or dropped, and everything in it has a limit. Who may select, and what happens to
//! a message that is not selected, is decided elsewhere.
//!
//! # Names
//!
//! A name is a user property of the message, the first of that name, or one of these:
//!
//! | name | meaning |
//! | --- | --- |
//! | `topic`, `destination` | the topic |
//! | `"content-type"` | Content Type |
//! | `"reply-to"`, `JMSReplyTo` | Response Topic |
//! | `"correlation-id"`, `JMSCorrelationID` | Correlation Data |
//! | `JMSType`, `JMSTimestamp` | the user property `type`, `timestamp` |
//! | `JMSPriority` | the user property `priority`, 4 without one |
//! | `JMSDeliveryMode` | `PERSISTENT` for a QoS above 0, else `NON_PERSISTENT` |
//!
//! What is no identifier of Java stands in double quotes.
//!
//! # Types
//!
//! Headers are strings on the wire and become what they are compared with: a number (UNKNOWN if they are none), a truth
//! value (the words true and false in any case, else UNKNOWN), a text; two headers compare as numbers if both are, else
//! as texts. JSON values have types of their own, of which only a string becomes a number. Apart from that, comparing
//! what has different types is FALSE, and texts have no order: `<` between them is UNKNOWN.

mod builder;
mod error;
mod json;
mod lexer;
mod like;
mod operator;
mod parser;
mod program;
mod value;

use std::fmt::Write;

pub use error::{Excerpt, Fault, SelectorError};

use crate::id::Qos;
use crate::message::{Fields, Message};
use parser::Parser;
use program::{Parts, Program};

/// A compiled selector, to be shared by an `Arc`. Two are equal when they are written alike.
#[derive(Debug)]
pub struct Selector {
    text: Box<str>,
    program: Program,
}

impl Selector {
    /// Longest text, in bytes.
    pub const MAX_BYTES: usize = 4096;
    /// Most parentheses open at a time.
    pub const MAX_NESTING: usize = 32;
    /// Most names, literals and calls of JSON().
    pub const MAX_TERMS: usize = 256;
    /// Longest pattern of a LIKE, in bytes.
    pub const MAX_PATTERN_BYTES: usize = 256;
    /// Most bytes of a message, and characters beside a pattern, that one evaluation looks at, however often; a message
    /// that needs more is not selected. Else a document of the largest size beside the worst selector would keep a worker
    /// for seconds.
    pub const MAX_STEPS: usize = 4 * 1024 * 1024;

    /// Compiles a selector. An empty or blank one selects every message, as section 3.8.1 asks.
    ///
    /// # Errors
    /// Says what is wrong, where, and how to mend it.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > Self::MAX_BYTES {
            let fault = Fault::TooLong { bytes: text.len(), limit: Self::MAX_BYTES };
            return Err(SelectorError { column: 1, fault });
        }
        let program = Parser::parse(if text.trim().is_empty() { "TRUE" } else { text })?;
        Ok(Self { text: text.into(), program })
    }

    /// The selector that asks every pair's header, or any one's, to equal its value, as header bindings do. Of no pairs
    /// all are equal, and none is.
    ///
    /// # Errors
    /// An empty name, or more pairs than a selector can hold.
    pub fn all_equal<'p>(
        pairs: impl Iterator<Item = (&'p str, &'p str)>,
        any: bool,
    ) -> Result<Self, SelectorError> {
        let mut text = String::new();
        for (name, value) in pairs {
            if !text.is_empty() {
                text.push_str(if any { " OR " } else { " AND " });
            }
            let (name, value) = (name.replace('"', "\"\""), value.replace('\'', "''"));
            // Writing into a string never fails.
            let _ = write!(text, "\"{name}\" = '{value}'");
        }
        if text.is_empty() {
            text.push_str(if any { "FALSE" } else { "TRUE" });
        }
        Self::parse(&text)
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the message is selected: TRUE does, FALSE and UNKNOWN don't (section 3.8.1.2).
    #[must_use]
    pub fn matches(&self, message: &Message) -> bool {
        let parts = Parts {
            topic: message.topic().as_str(),
            payload: message.payload(),
            persistent: message.qos() != Qos::AtMostOnce,
        };
        self.program.run(parts, &message.fields())
    }

    /// The same for a message that isn't in memory of its own yet; its delivery mode is `NON_PERSISTENT`.
    #[must_use]
    pub fn matches_parts(&self, topic: &str, fields: &Fields<'_>, payload: &[u8]) -> bool {
        self.program.run(Parts { topic, payload, persistent: false }, fields)
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Selector {}

#[cfg(test)]
mod tests;
