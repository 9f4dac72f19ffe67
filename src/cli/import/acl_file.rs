//! Mosquitto's acl_file, and the ordered rules that mean the same.
//!
//! Mosquitto asks the lines of the client's own user (without a name: those above the first `user`) and then the patterns,
//! in each of the two every `deny` first, wherever it stands. A `deny` is about everything; the others are asked until one
//! allows what is wanted. So the rules here are: each user's denials, each user's permissions, the patterns' denials, the
//! patterns' permissions.

use std::path::Path;

use noctule_core::acl::{Rule, RuleFault, Rules, Verdict};

use super::draft::{self, Table};
use super::ledger::{Fate, Ledger};
use super::lines::{self, Place, Wrong};

/// What a line allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Deny,
    ReadWrite,
    Read,
    Write,
}

impl Access {
    /// In the order of the rules; which permission is asked first makes no difference.
    const ALL: [Self; 4] = [Self::Deny, Self::ReadWrite, Self::Read, Self::Write];

    fn named(word: &str) -> Option<Self> {
        match word {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            "readwrite" => Some(Self::ReadWrite),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }

    /// The key and its rights. To write retained messages is a right of its own here.
    fn rights(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Deny => ("deny", &["publish", "retain", "subscribe"]),
            Self::ReadWrite => ("allow", &["publish", "retain", "subscribe"]),
            Self::Read => ("allow", &["subscribe"]),
            Self::Write => ("allow", &["publish", "retain"]),
        }
    }
}

/// Whom lines are about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Anonymous,
    User(String),
    Everybody,
}

/// A line, its topic as a rule has it.
#[derive(Clone, Debug)]
struct Permission {
    access: Access,
    topic: String,
    line: usize,
}

/// The lines about somebody.
#[derive(Clone, Debug)]
struct Section {
    subject: Subject,
    permissions: Vec<Permission>,
}

/// An acl_file.
#[derive(Clone, Debug, Default)]
pub(super) struct AclFile {
    name: String,
    sections: Vec<Section>,
}

impl AclFile {
    /// Reads a file; what is wrong with it, and which lines mean nothing here, goes to the ledger.
    pub(super) fn read(path: &Path, ledger: &mut Ledger) -> Self {
        let mut file = Self { name: path.display().to_string(), sections: Vec::new() };
        let mut subject = Subject::Anonymous;
        for (place, text) in lines::of_file(path, &mut ledger.wrong) {
            let words = text.trim_start_matches(' ');
            let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
            let result = match word {
                "user" => user(rest.trim()).map(|user| subject = user),
                "topic" => file.permission(subject.clone(), rest, &place, &text, ledger),
                "pattern" => file.permission(Subject::Everybody, rest, &place, &text, ledger),
                _ => Err(format!(
                    "{word:?} is none of topic, user and pattern; mend it, or make it a comment with #"
                )),
            };
            if let Err(message) = result {
                ledger.wrong.push(Wrong { place, message });
            }
        }
        file
    }

    fn permission(
        &mut self,
        subject: Subject,
        rest: &str,
        place: &Place,
        text: &str,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        let rest = rest.trim_start_matches(' ');
        // One word alone is the topic, even if it is "read".
        let (access, topic) = match rest.split_once(' ') {
            Some((word, topic)) => {
                let access = Access::named(word)
                    .ok_or_else(|| format!("{word:?} is none of read, write, readwrite and deny; mend it"))?;
                (access, topic.trim())
            }
            None => (Access::ReadWrite, rest),
        };
        if topic.is_empty() {
            return Err("it has no topic; write one, or take the line out".to_owned());
        }
        if subject == Subject::User("*".to_owned()) {
            let why = "the user * would be everybody with a name here; give the user another name and write the rule";
            ledger.add(place.clone(), text, Fate::Lost(why.to_owned()));
            return Ok(());
        }
        if access == Access::Write && topic.starts_with("$SYS/") {
            let why = "nobody publishes below $SYS here; Mosquitto lets its bridges";
            ledger.add(place.clone(), text, Fate::Moot(why.to_owned()));
            return Ok(());
        }
        let topic = as_rule(topic, subject == Subject::Everybody);
        let alone = Rule { topics: Some(vec![topic.as_str().into()]), ..Rule::new(Verdict::Deny) };
        match Rules::compile(vec![alone]).map_err(|error| error.fault) {
            Ok(_) => {}
            Err(RuleFault::Share { .. }) => {
                let why =
                    "it never decides, in Mosquitto neither: a shared subscription is judged by its topics";
                ledger.add(place.clone(), text, Fate::Moot(why.to_owned()));
                return Ok(());
            }
            Err(fault) => return Err(fault.to_string()),
        }
        let permission = Permission { access, topic, line: place.line };
        match self.sections.iter_mut().find(|section| section.subject == subject) {
            Some(section) => section.permissions.push(permission),
            None => self.sections.push(Section { subject, permissions: vec![permission] }),
        }
        Ok(())
    }

    /// Its path.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a topic is made of the client's name or identifier.
    pub(super) fn has_variables(&self) -> bool {
        let patterns = self.sections.iter().filter(|section| section.subject == Subject::Everybody);
        patterns
            .flat_map(|section| &section.permissions)
            .any(|one| has_user(&one.topic) || has_client(&one.topic))
    }

    /// Whether there are lines about users.
    pub(super) fn has_users(&self) -> bool {
        self.sections.iter().any(|section| matches!(section.subject, Subject::User(_)))
    }

    /// The rules, in order.
    pub(super) fn tables(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        for (users, section) in self.alike() {
            for access in Access::ALL {
                // A denial of what is made of a name is, in Mosquitto, about those who have one.
                let (named, others): (Vec<_>, Vec<_>) = section
                    .permissions
                    .iter()
                    .filter(|one| one.access == access)
                    .partition(|one| access == Access::Deny && users.is_empty() && has_user(&one.topic));
                let anybody = section.subject == Subject::Everybody;
                tables.extend(self.table(&users, &others, anybody, access));
                let all = ["*".to_owned()];
                tables.extend(self.table(&all, &named, false, access));
            }
        }
        tables
    }

    fn table(&self, users: &[String], lines: &[&Permission], anybody: bool, access: Access) -> Option<Table> {
        if lines.is_empty() {
            return None;
        }
        let mut table = Table::new("[[acl]]");
        let numbers: Vec<usize> = lines.iter().map(|one| one.line).collect();
        table.about(format!("{}:{}", self.name, ranges(&numbers)));
        let (key, rights) = access.rights();
        table.put("", key, draft::list(rights));
        if !users.is_empty() {
            table.put("", "users", draft::list(users));
        } else if !anybody {
            table.put("", "anonymous", "true");
        }
        let mut topics: Vec<&str> = Vec::new();
        for line in lines {
            if !topics.contains(&line.topic.as_str()) {
                topics.push(&line.topic);
            }
        }
        table.put("", "topics", draft::list(&topics));
        Some(table)
    }

    /// The sections, users with the same lines together, the patterns last.
    fn alike(&self) -> Vec<(Vec<String>, &Section)> {
        let mut groups: Vec<(Vec<String>, &Section)> = Vec::new();
        for section in &self.sections {
            match &section.subject {
                Subject::User(user) => {
                    let same = groups
                        .iter_mut()
                        .find(|(users, known)| !users.is_empty() && known.says_as_much(section));
                    match same {
                        Some((users, _)) => users.push(user.clone()),
                        None => groups.push((vec![user.clone()], section)),
                    }
                }
                Subject::Anonymous | Subject::Everybody => groups.push((Vec::new(), section)),
            }
        }
        groups.sort_by_key(|(_, section)| section.subject == Subject::Everybody);
        groups
    }
}

impl Section {
    fn says_as_much(&self, other: &Self) -> bool {
        let said = |section: &Self| -> Vec<(Access, String)> {
            section.permissions.iter().map(|one| (one.access, one.topic.clone())).collect()
        };
        said(self) == said(other)
    }
}

fn user(name: &str) -> Result<Subject, String> {
    if name.is_empty() {
        return Err("user has no name behind it; write one, or take the line out".to_owned());
    }
    Ok(Subject::User(name.to_owned()))
}

/// A topic as a rule has it, in which `%` says that something else stands for it. In Mosquitto only patterns know `%u` and
/// `%c`, and every other `%` is one.
fn as_rule(topic: &str, is_pattern: bool) -> String {
    let mut rule = String::with_capacity(topic.len());
    let mut letters = topic.chars().peekable();
    while let Some(letter) = letters.next() {
        rule.push(letter);
        if letter == '%' {
            match letters.next_if(|next| is_pattern && matches!(next, 'u' | 'c')) {
                Some(variable) => rule.push(variable),
                None => rule.push('%'),
            }
        }
    }
    rule
}

fn has_user(rule: &str) -> bool {
    has(rule, 'u')
}

fn has_client(rule: &str) -> bool {
    has(rule, 'c')
}

fn has(rule: &str, variable: char) -> bool {
    let mut letters = rule.chars();
    while let Some(letter) = letters.next() {
        if letter == '%' && letters.next() == Some(variable) {
            return true;
        }
    }
    false
}

/// Line numbers as `3, 5-9`.
fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let shown: Vec<String> = runs
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    shown.join(", ")
}
