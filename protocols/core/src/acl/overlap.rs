//! What two filters have in common, and whether one says all that the other says.

use std::borrow::Cow;

use crate::topic::TopicFilter;

/// One level of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// This text.
    Text(Cow<'a, str>),
    /// `+`.
    One,
    /// `#`, the parent level among it.
    Rest,
}

impl Token<'_> {
    fn is_dollar(&self) -> bool {
        matches!(self, Self::Text(text) if text.starts_with('$'))
    }

    fn is_wild(&self) -> bool {
        !matches!(self, Self::Text(_))
    }
}

/// The topics of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reach<'a> {
    pub(super) levels: Vec<Token<'a>>,
    /// Whether a wildcard in the first level stands for what begins with `$` as well: so in no filter of a client
    /// [MQTT-4.7.2-1], but in a rule without topics.
    pub(super) dollars_too: bool,
}

impl<'a> Reach<'a> {
    /// All topics that there are.
    pub(super) fn everything() -> Self {
        Self { levels: vec![Token::Rest], dollars_too: true }
    }

    pub(super) fn of(filter: &'a TopicFilter) -> Self {
        let token = |level| match level {
            "+" => Token::One,
            "#" => Token::Rest,
            text => Token::Text(Cow::Borrowed(text)),
        };
        Self { levels: filter.levels().map(token).collect(), dollars_too: false }
    }

    fn starts_wild(&self) -> bool {
        self.levels.first().is_some_and(Token::is_wild)
    }

    /// Whether the first levels have nothing in common because only one is meant for `$`.
    fn is_kept_apart_from(&self, other: &Self) -> bool {
        self.starts_wild() && !self.dollars_too && other.levels.first().is_some_and(Token::is_dollar)
    }

    /// The topics of both; `None` if there is none.
    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        if self.is_kept_apart_from(other) || other.is_kept_apart_from(self) {
            return None;
        }
        let dollars_too = self.dollars_too && other.dollars_too;
        let mut levels = Vec::new();
        let (mut own, mut others) = (self.levels.iter(), other.levels.iter());
        loop {
            // Where one ends in `#`, the rest is as the other says, down to nothing at all: the parent level.
            if own.as_slice().first() == Some(&Token::Rest) {
                levels.extend(others.cloned());
                break;
            }
            if others.as_slice().first() == Some(&Token::Rest) {
                levels.extend(own.cloned());
                break;
            }
            match (own.next(), others.next()) {
                (None, None) => break,
                (Some(Token::One), Some(level)) | (Some(level), Some(Token::One)) => {
                    levels.push(level.clone());
                }
                (Some(level), Some(same)) if level == same => levels.push(level.clone()),
                _ => return None,
            }
        }
        Some(Self { levels, dollars_too })
    }

    /// Whether all topics of `other` are among its own, as far as can be seen level by level: not seen is that `+/#` says
    /// as much as `#`.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.starts_wild() && !self.dollars_too {
            let reaches_dollars = other.starts_wild() && other.dollars_too;
            if reaches_dollars || other.levels.first().is_some_and(Token::is_dollar) {
                return false;
            }
        }
        let mut others = other.levels.iter();
        for level in &self.levels {
            match (level, others.next()) {
                (Token::Rest, _) => return true,
                (Token::One, Some(Token::One | Token::Text(_))) => {}
                (level, Some(same)) if level == same => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{TopicLimits, TopicName};

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text, &TopicLimits::WIDEST).unwrap()
    }

    /// Every filter, and every topic, of up to three levels over a small alphabet.
    fn texts(alphabet: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = alphabet.iter().map(|&level| level.to_owned()).collect();
        let mut longest = all.clone();
        for _ in 0..2 {
            longest = longest
                .iter()
                .filter(|text| !text.ends_with('#'))
                .flat_map(|text| alphabet.iter().map(move |level| format!("{text}/{level}")))
                .collect();
            all.extend(longest.iter().cloned());
        }
        all
    }

    fn text_of(reach: &Reach<'_>) -> String {
        let level = |token: &Token<'_>| match token {
            Token::Text(text) => text.clone().into_owned(),
            Token::One => "+".to_owned(),
            Token::Rest => "#".to_owned(),
        };
        reach.levels.iter().map(level).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn an_intersection_matches_what_both_match_and_nothing_else() {
        let topics = texts(&["a", "b", "$s"]);
        let filters = texts(&["a", "$s", "+", "#"]);
        for one in &filters {
            for other in &filters {
                let (f, g) = (filter(one), filter(other));
                let both = Reach::of(&f).intersection(&Reach::of(&g));
                let both = both.map(|both| filter(&text_of(&both)));
                for topic in &topics {
                    let topic = TopicName::from_validated(topic);
                    let expected = f.matches(&topic) && g.matches(&topic);
                    let found = both.as_ref().is_some_and(|both| both.matches(&topic));
                    assert_eq!(found, expected, "{one} and {other}: {topic:?}");
                }
            }
        }
    }

    #[test]
    fn what_covers_another_matches_all_of_it() {
        let topics = texts(&["a", "b", "$s"]);
        let filters = texts(&["a", "$s", "+", "#"]);
        let mut covered = 0;
        for one in &filters {
            for other in &filters {
                let (f, g) = (filter(one), filter(other));
                if !Reach::of(&f).covers(&Reach::of(&g)) {
                    continue;
                }
                covered += 1;
                for topic in &topics {
                    let topic = TopicName::from_validated(topic);
                    assert!(!g.matches(&topic) || f.matches(&topic), "{one} covers {other}: {topic:?}");
                }
            }
        }
        assert!(covered > 2 * filters.len(), "{covered} pairs of {} filters", filters.len());
    }

    #[test]
    fn everything_reaches_what_begins_with_a_dollar_and_a_wildcard_does_not() {
        let (all, hash, sys) = (Reach::everything(), filter("#"), filter("$SYS/#"));
        let (hash, sys) = (Reach::of(&hash), Reach::of(&sys));
        assert!(all.covers(&sys) && all.covers(&hash) && !hash.covers(&sys) && !hash.covers(&all));
        assert_eq!(all.intersection(&sys), Some(sys.clone()));
        assert_eq!(hash.intersection(&sys), None);
    }
}
