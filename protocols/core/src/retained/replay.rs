//! Reading the retained messages that a filter matches, in order of topic and in steps.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use crate::message::Message;
use crate::topic::{FilterKind, TopicFilter};

use super::{Inner, Retained, topic_of};

/// How far a replay has come; the default is its beginning. It belongs to one filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(Place);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    /// Goes on with the first topic at or after these bytes.
    From(Vec<u8>),
    /// Goes on with the first topic after these bytes.
    After(Vec<u8>),
    End,
}

impl Cursor {
    /// Of a replay that is over before it has begun.
    #[must_use]
    pub fn at_end() -> Self {
        Self(Place::End)
    }

    /// In letters and digits, to be read by [`from_text`](Self::from_text); `None` at the end.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        let (sign, topic): (_, &[u8]) = match &self.0 {
            Place::Start => ('s', &[]),
            Place::From(topic) => ('f', topic),
            Place::After(topic) => ('a', topic),
            Place::End => return None,
        };
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
        let digits = topic.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
        Some(std::iter::once(sign).chain(digits).collect())
    }

    /// What [`to_text`](Self::to_text) has written; `None` of anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut letters = text.chars();
        let sign = letters.next()?;
        let digits: Option<Vec<u8>> =
            letters.map(|digit| digit.to_digit(16).map(|half| half as u8)).collect();
        let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
        let topic: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        let place = match sign {
            's' if topic.is_empty() => Place::Start,
            'f' => Place::From(topic),
            'a' => Place::After(topic),
            _ => return None,
        };
        rest.is_empty().then_some(Self(place))
    }

    /// Whether there is nothing to come.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.0 == Place::End
    }
}

/// Whether a replay has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything has been handed over.
    Done,
    /// The cursor tells where to go on.
    More,
}

impl Retained {
    /// Hands over one step's worth of the messages that `filter` matches.
    ///
    /// Current values are read: a topic whose message changed after `up_to_version` is skipped, since the subscription
    /// gets that change live; so is what has expired by `now_ms`. At most `budget` topics (at least one) are looked at,
    /// matching or not, under the lock, which is free again when `take` is called. `take` keeps each message it is
    /// given; with `Break` it says that it has no room for another.
    pub fn replay(
        &self,
        filter: &TopicFilter,
        cursor: &mut Cursor,
        up_to_version: u64,
        now_ms: u64,
        budget: usize,
        mut take: impl FnMut(&Arc<Message>) -> ControlFlow<()>,
    ) -> Progress {
        let mut found = Vec::new();
        let next = self.read().step(filter, &cursor.0, budget.max(1), |message, version| {
            if version <= up_to_version && !message.is_expired(now_ms) {
                found.push(message.clone());
            }
        });
        cursor.0 = next;
        let mut found = found.iter().peekable();
        while let Some(message) = found.next() {
            if take(message).is_break() && found.peek().is_some() {
                cursor.0 = Place::After(topic_of(message).into());
                break;
            }
        }
        if cursor.is_at_end() { Progress::Done } else { Progress::More }
    }
}

impl Inner {
    /// Looks at up to `budget` entries from `place` on and says where to go on.
    fn step(
        &self,
        filter: &TopicFilter,
        place: &Place,
        budget: usize,
        mut found: impl FnMut(&Arc<Message>, u64),
    ) -> Place {
        if filter.kind() == FilterKind::Exact {
            if *place != Place::End
                && let Some(entry) = self.entries.get(filter.as_str().as_bytes())
            {
                found(&entry.message, entry.version);
            }
            return Place::End;
        }
        let start: Bound<&[u8]> = match place {
            Place::Start => Bound::Unbounded,
            Place::From(topic) => Bound::Included(topic),
            Place::After(topic) => Bound::Excluded(topic),
            Place::End => return Place::End,
        };
        let mut entries = self.entries.range::<[u8], _>((start, Bound::Unbounded));
        let mut next = entries.next();
        let mut seek = Vec::new();
        let mut remaining = budget;
        loop {
            let Some(entry) = next else { return Place::End };
            let topic = topic_of(&entry.message);
            let verdict = judge(filter, topic, &mut seek);
            match verdict {
                Verdict::Match => found(&entry.message, entry.version),
                Verdict::Next | Verdict::Seek => {}
                Verdict::End => return Place::End,
            }
            remaining -= 1;
            if remaining == 0 {
                return if verdict == Verdict::Seek { Place::From(seek) } else { Place::After(topic.into()) };
            }
            next = entries.next();
            // Mostly the very next topic lies behind the gap; only if it doesn't is a search worth its cost.
            if verdict == Verdict::Seek
                && next.is_some_and(|entry| topic_of(&entry.message) < seek.as_slice())
            {
                entries = self.entries.range::<[u8], _>((Bound::Included(&*seek), Bound::Unbounded));
                next = entries.next();
            }
        }
    }
}

/// What to do after a look at one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It matches; the next topic may too.
    Match,
    /// It doesn't match; the next topic may.
    Next,
    /// Nothing matches before the bytes that were put into `seek`, which come after the topic.
    Seek,
    /// Nothing that comes after it matches.
    End,
}

/// Whether `topic` matches `filter`, and if not, where the next one that might is found.
///
/// What begins with `prefix/` lies between `prefix/` and `prefix0`, since `0` follows `/`. But `prefix.x` lies before
/// `prefix/`, so a topic that is too short says nothing about those that follow it.
fn judge(filter: &TopicFilter, topic: &[u8], seek: &mut Vec<u8>) -> Verdict {
    seek.clear();
    if filter.starts_wild() && topic.first() == Some(&b'$') {
        // [MQTT-4.7.2-1]: behind everything that begins with `$`.
        seek.push(b'$' + 1);
        return Verdict::Seek;
    }
    let mut start = 0;
    let mut levels = topic.split(|&byte| byte == b'/');
    for wanted in filter.levels() {
        if wanted == "#" {
            return Verdict::Match;
        }
        let Some(level) = levels.next() else { return Verdict::Next };
        if wanted != "+" && wanted.as_bytes() != level {
            let prefix = topic.get(..start).unwrap_or_default();
            seek.extend_from_slice(prefix);
            seek.extend_from_slice(wanted.as_bytes());
            if seek.as_slice() > topic {
                return Verdict::Seek;
            }
            seek.push(b'/');
            if seek.as_slice() > topic {
                return Verdict::Seek;
            }
            return leave(prefix, seek);
        }
        start += level.len() + 1;
    }
    match levels.next() {
        None => Verdict::Match,
        Some(_) => leave(topic.get(..start).unwrap_or_default(), seek),
    }
}

/// Behind everything that begins with `prefix`, which ends with a `/` or is empty.
fn leave(prefix: &[u8], seek: &mut Vec<u8>) -> Verdict {
    seek.clear();
    match prefix.split_last() {
        None => Verdict::End,
        Some((_, prefix)) => {
            seek.extend_from_slice(prefix);
            seek.push(b'/' + 1);
            Verdict::Seek
        }
    }
}
