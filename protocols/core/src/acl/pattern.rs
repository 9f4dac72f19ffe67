//! The topics of a rule: filters in which `%u`, `%c` and `%i` stand for the client's user, id and address.
//!
//! A pattern is never written out for a client: it is compared with the client's values in place, so that ten thousand
//! clients of one rule cost nothing. A value that would mean more than one level's text (it has a wildcard, a `/`, a
//! control character, begins with `$`, is empty or not there) is put nowhere: see [`Unusable`].

use core::net::IpAddr;
use std::borrow::Cow;
use std::fmt::{self, Write};

use super::identity::Identity;
use super::overlap::{Reach, Token};
use crate::topic::{TopicError, TopicFilter, TopicLimits, split_level};

/// What a `%` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    User,
    Client,
    Address,
}

impl Variable {
    const ALL: [Self; 3] = [Self::User, Self::Client, Self::Address];

    fn of(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|variable| variable.letter() == letter)
    }

    fn letter(self) -> char {
        match self {
            Self::User => 'u',
            Self::Client => 'c',
            Self::Address => 'i',
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Which of a client's values can't stand in a topic. An allowing rule that needs one does not match; a denying one must
/// not vanish over it: it denies everything behind the level in which the value would stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unusable(pub(super) u8);

impl Unusable {
    pub(super) fn of(who: Identity<'_>) -> Self {
        let fits = |value: Option<&str>| {
            value.is_some_and(|text| {
                let refused = |letter: char| matches!(letter, '+' | '#' | '/') || letter.is_control();
                // Of a level's beginning `$` says what kind of topic it is.
                !text.is_empty() && !text.starts_with('$') && !text.contains(refused)
            })
        };
        let bit = |variable: Variable, usable: bool| if usable { 0 } else { variable.bit() };
        Self(
            bit(Variable::User, fits(who.user))
                | bit(Variable::Client, fits(Some(who.client_id)))
                | bit(Variable::Address, who.address.is_some()),
        )
    }

    /// Each way in which values can be unusable.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..1 << Variable::ALL.len()).map(Self)
    }

    fn has(self, uses: u8) -> bool {
        self.0 & uses != 0
    }
}

/// An address in its shortest form, without a place of its own in memory.
#[derive(Clone, Copy, Debug)]
struct AddressText {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl AddressText {
    /// As long as an IPv6 address gets.
    const MAX: usize = 46;

    fn of(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; Self::MAX], len: 0 };
        // An address is never longer than that.
        let _ = write!(text, "{}", address.to_canonical());
        text
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// A client's values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    user: &'a str,
    client: &'a str,
    address: Option<AddressText>,
    unusable: Unusable,
}

impl<'a> Values<'a> {
    /// Those that patterns which use `uses` may ask for.
    pub(super) fn of(who: Identity<'a>, uses: u8, unusable: Unusable) -> Self {
        let address = who.address.filter(|_| uses & Variable::Address.bit() != 0);
        Self {
            user: who.user.unwrap_or_default(),
            client: who.client_id,
            address: address.map(AddressText::of),
            unusable,
        }
    }

    fn get(&self, variable: Variable) -> &str {
        match variable {
            Variable::User => self.user,
            Variable::Client => self.client,
            Variable::Address => self.address.as_ref().map_or("", AddressText::as_str),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Value(Variable),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// As it is written.
    Text(Box<str>),
    /// Made of parts, of which the variables in the bits come from the client.
    Made(Box<[Part]>, u8),
    /// `+`.
    One,
    /// `#`.
    Rest,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PatternError {
    /// As a filter.
    Topic(TopicError),
    /// A `%` that stands for nothing.
    Sequence(Box<str>),
    /// It begins with `$share/`.
    Share,
}

/// The topics of a rule, or one of them.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// The levels in front that are text, as one.
    prefix: Box<str>,
    /// The levels behind those.
    levels: Box<[Level]>,
    first: First,
    /// The bits of its variables.
    uses: u8,
    /// Whether every topic matches, those that begin with `$` among them.
    is_everything: bool,
}

/// A glance at a first level: equal levels look alike, and few others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First(u64);

impl First {
    /// Of a pattern: may be any.
    const ANY: Self = Self(u64::MAX);

    /// Of a topic's first level: its length and first bytes.
    pub(super) fn of(topic: &str) -> Self {
        let (level, _) = split_level(topic);
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(level.bytes().take(7)) {
            *to = from;
        }
        bytes[7] = level.len().min(250) as u8;
        Self(u64::from_le_bytes(bytes))
    }

    /// Whether a topic that looks so may match a pattern that looks like this.
    pub(super) fn admits(self, topic: Self) -> bool {
        self == topic || self == Self::ANY
    }
}

impl Pattern {
    /// Of a rule that names no topics.
    pub(super) fn everything() -> Self {
        let (prefix, levels) = (Box::default(), Box::default());
        Self { prefix, levels, first: First::ANY, uses: 0, is_everything: true }
    }

    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        // Whatever the variables stand for is one letter of the filter that is checked.
        let filter = plain_form(text)?;
        let filter = TopicFilter::parse(&filter, &TopicLimits::WIDEST).map_err(PatternError::Topic)?;
        if filter.first_level() == "$share" {
            return Err(PatternError::Share);
        }
        let (mut prefix, mut levels, mut uses) = (Vec::new(), Vec::new(), 0);
        for level in text.split('/').map(level) {
            match level {
                Level::Text(text) if levels.is_empty() => prefix.push(text),
                level => {
                    if let Level::Made(_, bits) = &level {
                        uses |= bits;
                    }
                    levels.push(level);
                }
            }
        }
        let first = prefix.first().map_or(First::ANY, |level| First::of(level));
        let (prefix, levels) = (prefix.join("/").into(), levels.into());
        Ok(Self { prefix, levels, first, uses, is_everything: false })
    }

    pub(super) fn first(&self) -> First {
        self.first
    }

    /// The bits of its variables.
    pub(super) fn uses(&self) -> u8 {
        self.uses
    }

    pub(super) fn is_everything(&self) -> bool {
        self.is_everything
    }

    /// Whether it means nothing for a client with these values; what it means for one that is denied, see [`Unusable`].
    pub(super) fn is_void(&self, unusable: Unusable) -> bool {
        unusable.has(self.uses)
    }

    /// Whether a topic is among those it stands for, level by level as [`TopicFilter::matches`] does it.
    pub(super) fn matches(&self, topic: &str, values: &Values<'_>) -> bool {
        if self.is_everything {
            return true;
        }
        let mut rest = if self.first == First::ANY {
            if topic.starts_with('$') && matches!(self.levels.first(), Some(Level::One | Level::Rest)) {
                return false;
            }
            Some(topic)
        } else {
            // Of many rules about one first level nearly all end here.
            match topic.strip_prefix(&*self.prefix) {
                Some("") => None,
                Some(behind) if behind.starts_with('/') => behind.get(1..),
                _ => return false,
            }
        };
        for wanted in &self.levels {
            match wanted {
                Level::Rest => return true,
                Level::Made(_, uses) if values.unusable.has(*uses) => return true,
                _ => {}
            }
            let Some(text) = rest else { return false };
            let (level, behind) = match text.bytes().position(|byte| byte == b'/') {
                Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
                None => (text, None),
            };
            let fits = match wanted {
                Level::Text(text) => **text == *level,
                Level::Made(parts, _) => is_made_of(level, parts, values),
                Level::One | Level::Rest => true,
            };
            if !fits {
                return false;
            }
            rest = behind;
        }
        rest.is_none()
    }

    /// The topics it stands for, for a client with these values.
    pub(super) fn reach<'a>(&'a self, values: &Values<'_>) -> Reach<'a> {
        self.reach_with(values.unusable, |parts| {
            parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text,
                    Part::Value(variable) => values.get(*variable),
                })
                .collect()
        })
    }

    /// The topics it stands for, whoever the client is.
    pub(super) fn reach_of_any(&self, unusable: Unusable) -> Reach<'_> {
        self.reach_with(unusable, |parts| {
            // NUL is in no level of anybody's: equal to what was made in the same way, and to nothing else.
            parts.iter().fold(String::from('\0'), |mut made, part| {
                match part {
                    Part::Text(text) => made.push_str(text),
                    Part::Value(variable) => made.extend(['\0', variable.letter()]),
                }
                made
            })
        })
    }

    fn reach_with(&self, unusable: Unusable, make: impl Fn(&[Part]) -> String) -> Reach<'_> {
        if self.is_everything {
            return Reach::everything();
        }
        let mut levels = Vec::new();
        if self.first != First::ANY {
            levels.extend(self.prefix.split('/').map(|text| Token::Text(Cow::Borrowed(text))));
        }
        for level in &self.levels {
            levels.push(match level {
                Level::Text(text) => Token::Text(Cow::Borrowed(&**text)),
                Level::One => Token::One,
                Level::Rest => Token::Rest,
                Level::Made(_, uses) if unusable.has(*uses) => {
                    // Nobody knows what the first level would have been, nor whether it began with `$`.
                    let is_first = levels.is_empty();
                    levels.push(Token::Rest);
                    return Reach { levels, dollars_too: is_first };
                }
                Level::Made(parts, _) => Token::Text(Cow::Owned(make(parts))),
            });
        }
        Reach { levels, dollars_too: false }
    }
}

/// The filter with a letter in the place of each sequence.
fn plain_form(text: &str) -> Result<String, PatternError> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some(next) if next == '%' || Variable::of(next).is_some() => plain.push('x'),
            next => return Err(PatternError::Sequence(['%'].into_iter().chain(next).collect())),
        }
    }
    Ok(plain)
}

/// One level of a text that [`plain_form`] has accepted.
fn level(text: &str) -> Level {
    match text {
        "+" => return Level::One,
        "#" => return Level::Rest,
        _ => {}
    }
    let (mut parts, mut plain, mut uses) = (Vec::new(), String::new(), 0);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let variable = if letter == '%' { letters.next().and_then(Variable::of) } else { None };
        match variable {
            Some(variable) => {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain).into()));
                }
                parts.push(Part::Value(variable));
                uses |= variable.bit();
            }
            None => plain.push(letter),
        }
    }
    if uses == 0 {
        return Level::Text(plain.into());
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain.into()));
    }
    Level::Made(parts.into(), uses)
}

fn is_made_of(level: &str, parts: &[Part], values: &Values<'_>) -> bool {
    let mut rest = level;
    for part in parts {
        let text = match part {
            Part::Text(text) => text,
            Part::Value(variable) => values.get(*variable),
        };
        match rest.strip_prefix(text) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty()
}
