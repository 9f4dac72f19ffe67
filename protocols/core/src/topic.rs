//! Topic names and filters, parsed once into types that cannot be wrong.
//!
//! What a topic *is* lives here, with the plain matcher that the tree is tested against. Finding the filters that match
//! a name among many is the tree's job ([`crate::trie`]); who may use a topic is decided elsewhere.

use std::fmt;

use thiserror::Error;

/// Why a topic name or filter is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopicError {
    /// [MQTT-4.7.3-1]
    #[error("topic is empty; it must be at least one character long")]
    Empty,
    /// [MQTT-4.7.3-2]
    #[error("topic {topic} has the character U+0000 at byte {at}; remove it")]
    Nul {
        /// The topic's beginning.
        topic: Excerpt,
        /// Place in bytes, from 0.
        at: usize,
    },
    /// More bytes than the limit, which is never above the 65,535 of [MQTT-4.7.3-3].
    #[error("topic {topic} is {bytes} bytes long; at most {limit} are allowed")]
    TooLong {
        /// The topic's beginning.
        topic: Excerpt,
        /// Its length in bytes.
        bytes: usize,
        /// Most bytes allowed.
        limit: u16,
    },
    /// More levels than the limit.
    #[error("topic {topic} has {levels} levels; at most {limit} are allowed")]
    TooDeep {
        /// The topic's beginning.
        topic: Excerpt,
        /// Its count of levels.
        levels: usize,
        /// Most levels allowed.
        limit: u16,
    },
    /// A wildcard where only a name is allowed [MQTT-4.7.1-1], [MQTT-3.3.2-2].
    #[error(
        "topic name {topic} has the wildcard '{wildcard}' at byte {at}; wildcards belong in filters only"
    )]
    WildcardInName {
        /// The topic's beginning.
        topic: Excerpt,
        /// `+` or `#`.
        wildcard: char,
        /// Place in bytes, from 0.
        at: usize,
    },
    /// `#` before the end [MQTT-4.7.1-2].
    #[error("filter {topic} goes on after the '#' at byte {at}; '#' must be the last level")]
    NotLast {
        /// The filter's beginning.
        topic: Excerpt,
        /// Place in bytes, from 0.
        at: usize,
    },
    /// A wildcard that shares its level with other characters [MQTT-4.7.1-2], [MQTT-4.7.1-3].
    #[error(
        "filter {topic} has '{wildcard}' at byte {at} beside other characters; give it a level of its own"
    )]
    NotAlone {
        /// The filter's beginning.
        topic: Excerpt,
        /// `+` or `#`.
        wildcard: char,
        /// Place in bytes, from 0.
        at: usize,
    },
    /// `$share` without a usable group name [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    #[error(
        "shared filter {topic} has no usable group; write $share/group/filter, the group without '+' and '#'"
    )]
    Group {
        /// The filter's beginning.
        topic: Excerpt,
    },
    /// `$share` of a queue, whose consumers share it anyway.
    #[error("{topic} shares a queue; its consumers do so anyway: subscribe to $queue/name")]
    SharedQueue {
        /// The filter's beginning.
        topic: Excerpt,
    },
    /// `$queue` without a usable name.
    #[error("{topic} names no queue; write $queue/name, the name without '+' and '#'")]
    Queue {
        /// The filter's beginning.
        topic: Excerpt,
    },
    /// `$share/group` without a filter behind it [MQTT-4.8.2-2].
    #[error("shared filter {topic} ends after its group; write $share/group/filter")]
    NoFilter {
        /// The filter's beginning.
        topic: Excerpt,
    },
}

/// The beginning of an offending topic, quoted and short enough for a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// Most characters shown.
    pub const MAX_CHARS: usize = 40;

    fn of(text: &str) -> Self {
        let mut shown: String = text.chars().take(Self::MAX_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self(shown.into())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug formatting escapes control characters, so that a topic cannot forge a log line.
        write!(f, "{:?}", self.0)
    }
}

/// Limits that a topic must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    /// Most bytes.
    pub max_bytes: u16,
    /// Most levels.
    pub max_levels: u16,
}

impl Default for TopicLimits {
    /// All the bytes that MQTT allows, and far more levels than a person would type.
    fn default() -> Self {
        Self { max_bytes: u16::MAX, max_levels: 128 }
    }
}

impl TopicLimits {
    /// What MQTT itself allows; for texts that have kept narrower limits before.
    pub const WIDEST: Self = Self { max_bytes: u16::MAX, max_levels: u16::MAX };

    fn check_bytes(&self, text: &str) -> Result<(), TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > usize::from(self.max_bytes) {
            return Err(TopicError::TooLong {
                topic: Excerpt::of(text),
                bytes: text.len(),
                limit: self.max_bytes,
            });
        }
        Ok(())
    }

    fn check_levels(&self, text: &str, levels: usize) -> Result<(), TopicError> {
        if levels > usize::from(self.max_levels) {
            return Err(TopicError::TooDeep { topic: Excerpt::of(text), levels, limit: self.max_levels });
        }
        Ok(())
    }
}

/// The level before the first `/`, and what follows the `/` if there is one.
pub(crate) fn split_level(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (text, None),
    }
}

/// Whether there is a character that no topic name may have.
///
/// Every publish passes here: blocks of 16 bytes without branches become vector instructions. The last block overlaps
/// the one before it, so that no bytes remain to be looked at singly unless the text is shorter than a block.
fn has_refused(text: &[u8]) -> bool {
    fn any(bytes: &[u8]) -> bool {
        bytes.iter().fold(0, |found, &byte| {
            found | u8::from(byte == 0) | u8::from(byte == b'+') | u8::from(byte == b'#')
        }) != 0
    }
    match text.last_chunk::<16>() {
        Some(last) => text.as_chunks::<16>().0.iter().any(|block| any(block)) || any(last),
        None => any(text),
    }
}

/// The topic that is a client's own to have answers sent to (Response Information; MQTT 5, section 4.10). It is subscribed
/// and published to, so what has a meaning in filters or parts levels is written as `%2B`, and `%` too, lest two clients
/// get the same.
#[must_use]
pub fn reply_topic(client_id: &str) -> Box<str> {
    let mut topic = String::from("$reply/");
    for letter in client_id.chars() {
        match letter {
            '+' => topic.push_str("%2B"),
            '#' => topic.push_str("%23"),
            '/' => topic.push_str("%2F"),
            '%' => topic.push_str("%25"),
            _ => topic.push(letter),
        }
    }
    topic.into()
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
        limits.check_bytes(text)?;
        if has_refused(text.as_bytes()) {
            return Err(Self::refusal(text));
        }
        // A topic has at most one level more than bytes; the usual short one needn't be counted.
        if text.len() >= usize::from(limits.max_levels) {
            limits.check_levels(text, text.split('/').count())?;
        }
        Ok(Self(text))
    }

    #[cold]
    fn refusal(text: &str) -> TopicError {
        let topic = Excerpt::of(text);
        match text.char_indices().find(|(_, char)| matches!(char, '\0' | '+' | '#')) {
            Some((at, wildcard @ ('+' | '#'))) => TopicError::WildcardInName { topic, wildcard, at },
            Some((at, _)) => TopicError::Nul { topic, at },
            None => TopicError::Empty,
        }
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

    /// The levels, in order; an empty one is a level too (section 4.7.1.1).
    pub fn levels(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.split('/')
    }

    /// The text before the first `/`; may be empty.
    #[must_use]
    pub fn first_level(&self) -> &'a str {
        split_level(self.0).0
    }

    /// Whether it is a point-to-point queue.
    #[must_use]
    pub fn is_queue(&self) -> bool {
        self.0.starts_with("$queue/")
    }

    /// Whether a wildcard in the first level must not match it [MQTT-4.7.2-1].
    #[must_use]
    pub fn is_dollar(&self) -> bool {
        self.0.starts_with('$')
    }
}

/// Whether a filter names one topic or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterKind {
    /// No wildcard: it matches the one topic that is written like it [MQTT-4.7.3-4].
    Exact,
    /// At least one `+` or `#`.
    Wildcard,
}

/// A validated topic filter, owned. A `$share/` prefix means nothing here; see [`Subscribed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicFilter {
    text: Box<str>,
    kind: FilterKind,
}

impl TopicFilter {
    /// Checks `text` against the specification and the limits.
    ///
    /// # Errors
    /// Says what is wrong with it and where.
    pub fn parse(text: &str, limits: &TopicLimits) -> Result<Self, TopicError> {
        limits.check_bytes(text)?;
        if let Some(at) = text.find('\0') {
            return Err(TopicError::Nul { topic: Excerpt::of(text), at });
        }
        let mut kind = FilterKind::Exact;
        let mut levels = 0;
        let mut start = 0;
        for level in text.split('/') {
            levels += 1;
            let end = start + level.len();
            if let Some(place) = level.find(['+', '#']) {
                kind = FilterKind::Wildcard;
                let (topic, at) = (Excerpt::of(text), start + place);
                match level {
                    "+" => {}
                    "#" if end == text.len() => {}
                    "#" => return Err(TopicError::NotLast { topic, at }),
                    _ => {
                        let wildcard = level.chars().find(|char| matches!(char, '+' | '#')).unwrap_or('#');
                        return Err(TopicError::NotAlone { topic, wildcard, at });
                    }
                }
            }
            start = end + 1;
        }
        limits.check_levels(text, levels)?;
        Ok(Self { text: text.into(), kind })
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has wildcards.
    #[must_use]
    pub fn kind(&self) -> FilterKind {
        self.kind
    }

    /// The levels, in order, wildcards among them.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.text.split('/')
    }

    /// The text before the first `/`; may be empty, `+` or `#`.
    #[must_use]
    pub fn first_level(&self) -> &str {
        split_level(&self.text).0
    }

    /// Whether the first level is a wildcard, so that it may match topics of any first level that isn't `$`.
    #[must_use]
    pub fn starts_wild(&self) -> bool {
        matches!(self.first_level(), "+" | "#")
    }

    /// Whether `topic` is one of those it stands for; level by level, no allocation.
    ///
    /// `#` stands for the parent level too [MQTT-4.7.1-2], `+` for exactly one level [MQTT-4.7.1-3], and neither
    /// stands for a first level that begins with `$` [MQTT-4.7.2-1]. Nothing is normalised [MQTT-4.7.3-4].
    #[must_use]
    pub fn matches(&self, topic: &TopicName<'_>) -> bool {
        if self.kind == FilterKind::Exact {
            return *self.text == *topic.as_str();
        }
        if topic.is_dollar() && self.starts_wild() {
            return false;
        }
        let mut levels = topic.levels();
        for wanted in self.levels() {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the text of a SUBSCRIBE means: a subscription of one's own, or a share in a group's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subscribed {
    /// A subscription of one session.
    Plain(TopicFilter),
    /// `$share/group/filter` (MQTT 5, section 4.8.2): each message goes to one member of the group.
    Shared {
        /// The share name.
        group: Box<str>,
        /// What the group is subscribed to.
        filter: TopicFilter,
    },
    /// `$queue/name`: each message in the queue goes to one of its consumers.
    Queue(TopicFilter),
}

impl Subscribed {
    /// Tells them apart. The byte limit counts the whole text, the level limit only the filter behind the group.
    ///
    /// # Errors
    /// Says what is wrong with it and where; places in the filter of a group count from that filter's beginning.
    pub fn parse(text: &str, limits: &TopicLimits) -> Result<Self, TopicError> {
        limits.check_bytes(text)?;
        let (prefix, rest) = split_level(text);
        if prefix == "$queue" {
            let queue = TopicFilter::parse(text, limits)?;
            let is_name = queue.kind() == FilterKind::Exact && rest.is_some_and(|name| !name.is_empty());
            return if is_name {
                Ok(Self::Queue(queue))
            } else {
                Err(TopicError::Queue { topic: Excerpt::of(text) })
            };
        }
        if prefix != "$share" {
            return TopicFilter::parse(text, limits).map(Self::Plain);
        }
        let (group, filter) = split_level(rest.unwrap_or_default());
        if group.is_empty() || group.contains(['+', '#', '\0']) {
            return Err(TopicError::Group { topic: Excerpt::of(text) });
        }
        match filter {
            None | Some("") => Err(TopicError::NoFilter { topic: Excerpt::of(text) }),
            Some(filter) if split_level(filter).0 == "$queue" => {
                Err(TopicError::SharedQueue { topic: Excerpt::of(text) })
            }
            Some(filter) => {
                Ok(Self::Shared { group: group.into(), filter: TopicFilter::parse(filter, limits)? })
            }
        }
    }

    /// The group, if it is a share in one, and the filter. A queue is the group without a name.
    #[must_use]
    pub fn into_parts(self) -> (Option<Box<str>>, TopicFilter) {
        match self {
            Self::Plain(filter) => (None, filter),
            Self::Queue(filter) => (Some(Box::default()), filter),
            Self::Shared { group, filter } => (Some(group), filter),
        }
    }

    /// The filter, without the group.
    #[must_use]
    pub fn filter(&self) -> &TopicFilter {
        match self {
            Self::Plain(filter) | Self::Queue(filter) | Self::Shared { filter, .. } => filter,
        }
    }
}

#[cfg(test)]
mod tests;
