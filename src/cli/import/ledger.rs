//! What becomes of each line that is imported. Whoever reads a line says it here; a line of which nobody has spoken is
//! shown as lost, so that nothing can be dropped in silence.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::keys;
use super::lines::{Line, Place, Wrong};

/// What becomes of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Taken over with the same meaning; as what.
    Same(String),
    /// Taken over, and it means something else here; what.
    Other(String),
    /// It has no counterpart, and somebody has to do something about it; what.
    Lost(String),
    /// It has no counterpart and needs none; why.
    Moot(String),
}

/// The groups in which lines are shown.
const HEADINGS: [&str; 4] = [
    "Taken over:",
    "Taken over, with another meaning here:",
    "No counterpart; look at these:",
    "No counterpart, and none needed:",
];

impl Fate {
    /// Its group, and what is said.
    fn told(&self) -> (&'static str, &str) {
        let [same, other, lost, moot] = HEADINGS;
        match self {
            Self::Same(text) => (same, text),
            Self::Other(text) => (other, text),
            Self::Lost(text) => (lost, text),
            Self::Moot(text) => (moot, text),
        }
    }
}

/// The lines, and what has become of each.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Vec<(Line, Option<Fate>)>,
    pub(super) wrong: Vec<Wrong>,
}

impl Ledger {
    pub(super) fn new(lines: Vec<Line>, wrong: Vec<Wrong>) -> Self {
        Self { entries: lines.into_iter().map(|line| (line, None)).collect(), wrong }
    }

    /// The places of all lines.
    pub(super) fn all(&self) -> std::ops::Range<usize> {
        0..self.entries.len()
    }

    /// A line that stands in another file.
    pub(super) fn add(&mut self, place: Place, text: &str, fate: Fate) {
        let line = Line { place, key: text.to_owned(), value: String::new() };
        self.entries.push((line, Some(fate)));
    }

    pub(super) fn key(&self, at: usize) -> &str {
        self.entries.get(at).map_or("", |(line, _)| &line.key)
    }

    pub(super) fn value(&self, at: usize) -> String {
        self.entries.get(at).map(|(line, _)| line.value.clone()).unwrap_or_default()
    }

    pub(super) fn place(&self, at: usize) -> Place {
        let nowhere = || Place { file: Rc::from(""), line: 0 };
        self.entries.get(at).map_or_else(nowhere, |(line, _)| line.place.clone())
    }

    /// A line with its place, as a comment says where something comes from.
    pub(super) fn source(&self, at: usize) -> String {
        self.entries.get(at).map(|(line, _)| format!("{}: {}", line.place, line.text())).unwrap_or_default()
    }

    pub(super) fn set(&mut self, at: usize, fate: Fate) {
        if let Some((_, kept)) = self.entries.get_mut(at) {
            *kept = Some(fate);
        }
    }

    pub(super) fn wrong(&mut self, at: usize, message: impl Into<String>) {
        let place = self.place(at);
        self.wrong.push(Wrong { place, message: message.into() });
    }

    /// Those among `of` with this key.
    pub(super) fn every(&self, of: &[usize], key: &str) -> Vec<usize> {
        of.iter().copied().filter(|at| self.key(*at) == key).collect()
    }

    /// The last among `of` with this key, which is the one that counts.
    pub(super) fn last(&mut self, of: &[usize], key: &str) -> Option<usize> {
        let mut all = self.every(of, key);
        let last = all.pop()?;
        let place = self.place(last);
        for at in all {
            self.set(at, Fate::Moot(format!("{place} says it again, and that counts")));
        }
        Some(last)
    }

    /// A text, which has to be there.
    pub(super) fn text(&mut self, at: usize) -> Option<String> {
        let value = self.value(at);
        if value.is_empty() {
            let message = format!("{} has no value; write one behind it, or take the line out", self.key(at));
            self.wrong(at, message);
            return None;
        }
        Some(value)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, at: usize) -> Option<bool> {
        let value = self.text(at)?;
        match first_word(&value) {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            other => {
                let message = format!("{} {other:?} is neither true nor false", self.key(at));
                self.wrong(at, message);
                None
            }
        }
    }

    /// A whole number.
    pub(super) fn number(&mut self, at: usize, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.text(at)?;
        let number = first_word(&value).parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = range.into_inner();
            let message = format!("{} {value:?} is not a whole number from {low} to {high}", self.key(at));
            self.wrong(at, message);
        }
        number
    }

    /// Whether anything is lost about which somebody has to do something.
    pub(super) fn has_losses(&self) -> bool {
        self.entries.iter().any(|(_, fate)| matches!(fate, None | Some(Fate::Lost(_))))
    }

    /// Shows every line in its group.
    pub(super) fn report(&self, out: &mut impl Write) -> io::Result<()> {
        let unsaid = Fate::Lost("not taken over".to_owned());
        let mut is_first = true;
        for heading in HEADINGS {
            let of_group = |(line, fate): &'_ (Line, Option<Fate>)| {
                let (group, text) = fate.as_ref().unwrap_or(&unsaid).told();
                (group == heading).then(|| format!("  {}: {}\n      {text}", line.place, keys::shown(line)))
            };
            let lines: Vec<String> = self.entries.iter().filter_map(of_group).collect();
            if lines.is_empty() {
                continue;
            }
            writeln!(out, "{}{heading}", if is_first { "" } else { "\n" })?;
            is_first = false;
            for line in lines {
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }
}

/// Mosquitto reads flags and numbers up to the next blank.
fn first_word(value: &str) -> &str {
    value.split([' ', '\t']).next().unwrap_or_default()
}
