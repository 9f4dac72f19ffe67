//! Reading the file: serde decides what is right, this module says where it went wrong and how to mend it.
//!
//! serde stops at the first mistake. Here the mistaken entry is taken out and the rest is read again, so that one run
//! shows everything.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use super::place::{self, Found, Path, Step};
use super::section::Key;
use super::{Acl, Config, DurabilityRule, Listener, Problem, Tls, rules};

/// Most mistakes shown for one file; more would not be read.
const MAX_PROBLEMS: usize = 50;

/// Longest piece of the file quoted in an error, characters.
const MAX_QUOTE: usize = 48;

/// How much of a configuration is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checks {
    /// Each key by itself: a part of a whole may contradict what is still to come.
    Keys,
    /// What keys say together as well.
    All,
}

pub(super) fn parse(text: &str, file: &str, checks: Checks) -> Result<Config, Vec<Problem>> {
    let (root, syntax) = DeTable::parse_recoverable(text);
    let source = Source { file, text, root: root.get_ref() };
    if !syntax.is_empty() {
        let problem = |error: &toml::de::Error| {
            source.problem(&error.span().unwrap_or(0..0), format!("not valid TOML: {}", error.message()))
        };
        return Err(in_order(syntax.iter().take(MAX_PROBLEMS).map(problem).collect()));
    }

    let mut problems = Vec::new();
    let config = source.read(&mut problems);
    source.ranges(&config, &mut problems);
    if problems.is_empty() && checks == Checks::All {
        problems.extend(rules::faults(&config).iter().map(|fault| source.fault(fault)));
    }
    if problems.is_empty() { Ok(config) } else { Err(in_order(problems)) }
}

fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems
}

/// The file that is being read.
struct Source<'t> {
    file: &'t str,
    text: &'t str,
    root: &'t DeTable<'t>,
}

impl Source<'_> {
    /// Reads the sections, leaving out what is wrong and adding it to `problems`.
    fn read(&self, problems: &mut Vec<Problem>) -> Config {
        let mut left = self.root.clone();
        while problems.len() < MAX_PROBLEMS {
            let whole = Spanned::new(0..self.text.len(), left.clone());
            let error = match Config::deserialize(toml::Deserializer::from(whole)) {
                Ok(config) => return self.with_addresses(config),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..0);
            let Some(found) = place::find(&left, &span) else {
                problems.push(self.problem(&span, error.message().to_owned()));
                break;
            };
            problems.push(self.problem(&span, self.explain(&found, &span, error.message())));
            if !place::remove(&mut left, found.path()) {
                break;
            }
        }
        Config::default()
    }

    /// Gives each listener of the file that names no address the one of its protocol, which serde can't know.
    fn with_addresses(&self, mut config: Config) -> Config {
        for (at, listener) in config.listener.iter_mut().enumerate() {
            let is_listed = |path| place::span_of(self.root, &path).is_some();
            if !is_listed(Path::item("listener", at, "address")) {
                listener.address = listener.protocol.loopback().into();
            }
        }
        config
    }

    /// Words a mistake that serde found.
    fn explain(&self, found: &Found, span: &Range<usize>, message: &str) -> String {
        let path = found.path();
        let names: Vec<&str> = path.names().collect();
        match (found, names.as_slice()) {
            (Found::Key(_), [section]) => unknown_section(section),
            (Found::Key(_), [section, name]) => unknown_key(section, name),
            (Found::Value(_), [list]) if is_list(list) => not_a_list(list),
            (Found::Value(_), [section]) if known(section).is_some() => {
                format!(
                    "{path}: {} is not a section; write [{section}] on a line of its own",
                    self.quote(span)
                )
            }
            (Found::Value(_), [section, name]) => match known_key(section, name) {
                Some(key) => self.wrong_value(path, span, key),
                None => format!("{path}: {message}"),
            },
            _ => format!("{path}: {message}"),
        }
    }

    fn wrong_value(&self, path: &Path, span: &Range<usize>, key: &Key) -> String {
        let (expected, default) = ((key.expected)(), (key.default)());
        format!("{path}: {} is not {expected} (default {default})", self.quote(span))
    }

    /// Finds values that have the right type and are outside their range.
    fn ranges(&self, config: &Config, problems: &mut Vec<Problem>) {
        let single = [
            ("server", config.server.out_of_range()),
            ("store", config.store.out_of_range()),
            ("limits", config.limits.out_of_range()),
            ("delivery", config.delivery.out_of_range()),
            ("queues", config.queues.out_of_range()),
            ("stomp", config.stomp.out_of_range()),
            ("auth", config.auth.out_of_range()),
            ("auth_jwt", config.auth_jwt.out_of_range()),
            ("auth_http", config.auth_http.out_of_range()),
            ("admin", config.admin.out_of_range()),
            ("log", config.log.out_of_range()),
        ];
        let single = single.into_iter().flat_map(|(section, names)| {
            names.into_iter().map(move |name| (section, name, Path::key(section, name)))
        });
        let rules = config.durability.iter().map(DurabilityRule::out_of_range).enumerate();
        let listeners = config.listener.iter().map(Listener::out_of_range).enumerate();
        let acl = config.acl.iter().map(Acl::out_of_range).enumerate();
        let items = rules
            .map(|item| ("durability", item))
            .chain(listeners.map(|item| ("listener", item)))
            .chain(acl.map(|item| ("acl", item)))
            .chain(config.tls.iter().map(Tls::out_of_range).enumerate().map(|item| ("tls", item)));
        let several = items.flat_map(|(section, (at, names))| {
            names.into_iter().map(move |name| (section, name, Path::item(section, at, name)))
        });
        for (section, name, path) in single.chain(several) {
            if let (Some(span), Some(key)) = (place::span_of(self.root, &path), known_key(section, name)) {
                problems.push(self.problem(&span, self.wrong_value(&path, &span, key)));
            }
        }
    }

    fn fault(&self, fault: &rules::Fault) -> Problem {
        let spans = fault.keys.iter().map(|path| (path, place::span_of(self.root, path)));
        let named = spans.into_iter().find_map(|(path, span)| Some((path, span?)));
        match named {
            Some((path, span)) => self.problem(&span, format!("{path}: {}", fault.message)),
            // A default is at fault: point at the section that lacks the key.
            None => {
                let around = fault.keys.iter().find_map(|path| place::span_of(self.root, &path.parent()));
                self.problem(&around.unwrap_or(0..0), fault.to_string())
            }
        }
    }

    fn problem(&self, span: &Range<usize>, message: String) -> Problem {
        let (line, column) = place::line_and_column(self.text, span.start);
        Problem { file: self.file.to_owned(), line, column, message }
    }

    /// The value as it stands in the file, shortened to a piece of one line.
    fn quote(&self, span: &Range<usize>) -> String {
        let whole = self.text.get(span.clone()).unwrap_or_default().trim();
        let line = whole.lines().next().unwrap_or_default();
        let short: String = line.chars().take(MAX_QUOTE).collect();
        if short.len() < whole.len() { format!("{short}…") } else { short }
    }
}

fn known(section: &str) -> Option<&'static [Key]> {
    Config::SECTIONS.iter().find(|(name, _)| *name == section).map(|(_, keys)| *keys)
}

fn known_key(section: &str, name: &str) -> Option<&'static Key> {
    known(section)?.iter().find(|key| key.name == name)
}

/// What is said about a key that there is not.
pub(super) fn unknown(section: &str, key: &str) -> Option<String> {
    if known(section).is_none() {
        return Some(unknown_section(section));
    }
    known_key(section, key).is_none().then(|| unknown_key(section, key))
}

/// The lines, counted from 1, at which the tables of a list begin.
pub(super) fn lines_of(text: &str, section: &str) -> Vec<usize> {
    let (root, _) = DeTable::parse_recoverable(text);
    let line = |at| {
        let span =
            place::span_of(root.get_ref(), &Path(vec![Step::Key(section.to_owned()), Step::Item(at)]))?;
        Some(place::line_and_column(text, span.start).0)
    };
    (0..).map_while(line).collect()
}

/// Whether there may be several of a section.
pub(super) fn is_list(section: &str) -> bool {
    matches!(section, "listener" | "durability" | "acl" | "tls")
}

/// A section as it is written in the file.
fn heading(section: &str) -> String {
    if is_list(section) { format!("[[{section}]]") } else { format!("[{section}]") }
}

fn not_a_list(section: &str) -> String {
    let again = format!("{section}: write {}, in two brackets, once for each", heading(section));
    // `durability = "interval"` above all sections most likely means everybody's.
    match Config::SECTIONS.iter().find(|(single, _)| known_key(single, section).is_some()) {
        Some((single, _)) => {
            format!("{again}; the key {section} for all of them belongs under {}", heading(single))
        }
        None => again,
    }
}

fn unknown_section(name: &str) -> String {
    let sections = || Config::SECTIONS.iter().map(|(section, _)| *section);
    if let Some(section) = sections().find(|section| known_key(section, name).is_some()) {
        return format!("{name}: unknown section; the key {name} belongs under {}", heading(section));
    }
    match nearest(name, sections()) {
        Some(section) => format!("{name}: unknown section; did you mean {}?", heading(section)),
        None => {
            let all: Vec<String> = sections().map(heading).collect();
            format!("{name}: unknown section; there are {}", all.join(", "))
        }
    }
}

fn unknown_key(section: &str, name: &str) -> String {
    let Some(keys) = known(section) else { return unknown_section(section) };
    if let Some(near) = nearest(name, keys.iter().map(|key| key.name)) {
        return format!("{section}.{name}: unknown key; did you mean {near}?");
    }
    let elsewhere = Config::SECTIONS.iter().find(|(other, _)| known_key(other, name).is_some());
    if let Some((other, _)) = elsewhere {
        return format!("{section}.{name}: unknown key; it belongs under {}", heading(other));
    }
    let all: Vec<&str> = keys.iter().map(|key| key.name).collect();
    format!("{section}.{name}: unknown key; {} knows {}", heading(section), all.join(", "))
}

/// The candidate that `word` was probably meant to be: at most one letter in three is wrong.
fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}
