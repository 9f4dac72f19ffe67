//! Who may come in and what they may do: passwords, names from certificates, and the acl_file.
//!
//! Mosquitto can have all of it for each listener; here users and rules are everybody's, and a listener says which ways to
//! prove who one is it takes.

use std::path::PathBuf;

use super::acl_file::AclFile;
use super::draft::{self, Draft, Table};
use super::ledger::{Fate, Ledger};
use super::parts::{Block, Parts};

/// Where the users will be.
const USERS: &str = "users";

/// Who may come in at one listener.
pub(super) struct Entry {
    /// Why it is written as a comment, if it is.
    pub(super) off: Option<String>,
    /// What `anonymous` is, as TOML.
    pub(super) anonymous: &'static str,
    /// Where that comes from.
    pub(super) from: String,
    chain: Vec<&'static str>,
    acl: Option<usize>,
    passwords: Option<usize>,
    has_plugin: bool,
}

/// Who may come in where.
pub(super) struct Access {
    /// For each listener of the parts.
    pub(super) entries: Vec<Entry>,
    chain: Vec<&'static str>,
    /// Where it is named, and what it says.
    acl: Option<(usize, AclFile)>,
}

impl Entry {
    /// The listener's `auth`, as TOML, where it is not what `auth.chain` says.
    pub(super) fn own_chain(&self, access: &Access) -> Option<String> {
        (self.chain != access.chain).then(|| draft::list(&self.chain))
    }
}

/// Adds `[auth]` and `[[acl]]`, and says what has become of their lines.
pub(super) fn convert(parts: &Parts, draft: &mut Draft, ledger: &mut Ledger) -> Access {
    let mut entries: Vec<Entry> = parts.blocks.iter().map(|block| entry(parts, block, ledger)).collect();
    let acl = one_acl(&mut entries, ledger);
    passwords(&entries, draft, ledger);
    let chain = entries.iter().find(|entry| entry.chain == ["password"]).map(|entry| entry.chain.clone());
    let acl = acl.and_then(|at| Some((at, rules(at, draft, ledger)?)));
    let access = Access { entries, chain: chain.unwrap_or_default(), acl };
    if !access.chain.is_empty() {
        draft.auth.put("", "chain", draft::list(&access.chain));
        draft.auth.put("", "password_file", draft::quoted(USERS));
    }
    access
}

fn entry(parts: &Parts, block: &Block, ledger: &mut Ledger) -> Entry {
    let lines = if parts.is_per_listener { &block.lines } else { &parts.access };
    let open = ledger.last(lines, "allow_anonymous");
    let admits = open.map_or(parts.is_local_only, |at| ledger.flag(at).unwrap_or_default());
    let from = match open {
        Some(at) => ledger.source(at),
        None if parts.is_local_only => String::new(),
        None => "not said, which is false since Mosquitto 2.0 (before, it was true)".to_owned(),
    };
    if let Some(at) = open {
        ledger.set(at, Fate::Same("listener.anonymous".to_owned()));
    }
    let passwords = ledger.last(lines, "password_file");
    let acl = ledger.last(lines, "acl_file");
    let plugins = plugins(lines, ledger);
    plain(lines, ledger);
    let is_named = is_on("require_certificate", block, ledger)
        && (is_on("use_identity_as_username", block, ledger)
            || is_on("use_subject_as_username", block, ledger))
        && !ledger.every(&block.lines, "certfile").is_empty();
    let chain = match (is_named, passwords.is_some() || plugins, admits) {
        (true, ..) => vec!["certificate"],
        // Without passwords and without anonymous clients nobody comes in, in Mosquitto neither.
        (false, true, _) | (false, false, false) => vec!["password"],
        (false, false, true) => Vec::new(),
    };
    let anonymous = match (admits && !is_named, parts.is_local_only) {
        (true, true) => "\"loopback\"",
        (true, false) => "true",
        (false, _) => "false",
    };
    Entry { off: None, anonymous, from, chain, acl, passwords, has_plugin: plugins }
}

/// Whether a flag of a listener is set; what becomes of it is said elsewhere.
fn is_on(key: &str, block: &Block, ledger: &Ledger) -> bool {
    ledger.every(&block.lines, key).last().is_some_and(|at| matches!(&*ledger.value(*at), "true" | "1"))
}

fn plugins(lines: &[usize], ledger: &mut Ledger) -> bool {
    let mut has_plugin = false;
    for &at in lines {
        match ledger.key(at) {
            "plugin" | "auth_plugin" => {
                has_plugin = true;
                let why = "plugins are not loaded; name users with noctule passwd, tokens with [auth_jwt] or a service with \
                           [auth_http], and write [[acl]]: until then nobody comes in by it";
                ledger.set(at, Fate::Lost(why.to_owned()));
            }
            key if key.contains("_opt_") => ledger.set(at, Fate::Lost("it is the plugin's".to_owned())),
            _ => {}
        }
    }
    has_plugin
}

/// Lines that change nothing.
fn plain(lines: &[usize], ledger: &mut Ledger) {
    if let Some(at) = ledger.last(lines, "psk_file") {
        let why = "TLS with pre-shared keys is not spoken; give those clients certificates or passwords";
        ledger.set(at, Fate::Lost(why.to_owned()));
    }
    if let Some(at) = ledger.last(lines, "allow_zero_length_clientid") {
        let fate = match ledger.flag(at) {
            Some(true) => Fate::Same("a client without an identifier is given one".to_owned()),
            _ => Fate::Lost("a client without an identifier is given one, always".to_owned()),
        };
        ledger.set(at, fate);
    }
    if let Some(at) = ledger.last(lines, "auto_id_prefix") {
        ledger
            .set(at, Fate::Moot("identifiers that the broker makes up have a form of their own".to_owned()));
    }
}

/// The acl_file that becomes the rules. A listener with another one is off: its clients would get the rights of others.
fn one_acl(entries: &mut [Entry], ledger: &mut Ledger) -> Option<usize> {
    let chosen = entries.iter().find_map(|entry| entry.acl)?;
    let file = ledger.value(chosen);
    let is_everybodys = entries.iter().all(|entry| entry.acl.is_some());
    ledger.set(
        chosen,
        if is_everybodys {
            Fate::Same("[[acl]]".to_owned())
        } else {
            Fate::Other("[[acl]], which here holds for the listeners without acl_file as well".to_owned())
        },
    );
    for entry in entries.iter_mut() {
        let Some(own) = entry.acl.filter(|own| *own != chosen) else { continue };
        if ledger.value(own) == file {
            ledger.set(own, Fate::Same("[[acl]]".to_owned()));
            continue;
        }
        let why = format!(
            "{} would have to hold for this listener alone, and [[acl]] holds for all; add its rules, and take the # away",
            ledger.value(own)
        );
        ledger.set(own, Fate::Lost(format!("the listener is written as a comment: {why}")));
        entry.off = Some(why);
    }
    Some(chosen)
}

fn passwords(entries: &[Entry], draft: &mut Draft, ledger: &mut Ledger) {
    let mut files: Vec<String> = Vec::new();
    for entry in entries {
        let Some(at) = entry.passwords else {
            continue;
        };
        let Some(file) = ledger.text(at) else { continue };
        if !files.contains(&file) {
            files.push(file.clone());
        }
        let command = format!("noctule passwd {USERS} --import {}", shell(&file));
        ledger.set(at, Fate::Same(format!("auth.password_file, once you have run: {command}")));
    }
    if files.len() > 1 {
        for entry in entries {
            let Some(at) = entry.passwords else { continue };
            let command = format!("noctule passwd {USERS} --import {}", shell(&ledger.value(at)));
            let why =
                format!("users of one listener are known at all that ask for passwords; run: {command}");
            ledger.set(at, Fate::Other(why));
        }
    }
    for file in &files {
        draft.auth.about(format!("The users of {file}: noctule passwd {USERS} --import {}", shell(file)));
    }
    if files.is_empty() && entries.iter().any(|entry| entry.chain == ["password"]) {
        draft.auth.about(format!("Nobody comes in before there are users: noctule passwd {USERS} NAME"));
    }
}

/// The rules of the acl_file.
fn rules(at: usize, draft: &mut Draft, ledger: &mut Ledger) -> Option<AclFile> {
    let path = ledger.text(at)?;
    let file = AclFile::read(&PathBuf::from(&path), ledger);
    draft.acl.extend(file.tables());
    if let Some(first) = draft.acl.first_mut() {
        first.about_first(format!("From {path}, denials first, as Mosquitto asks them"));
    }
    if file.has_variables() {
        let what =
            "%u and %c stand for one level: a name or client identifier with / in it gets nothing by them";
        ledger.add(ledger.place(at), &format!("patterns of {path}"), Fate::Other(what.to_owned()));
    }
    let what = "to subscribe without any right is refused, where Mosquitto grants it and delivers nothing";
    ledger.add(ledger.place(at), &format!("rights of {path}"), Fate::Other(what.to_owned()));
    Some(file)
}

impl Access {
    /// Adds the rule about what no other rule decides, where that is not as Mosquitto has it. `is_authenticated`: whether
    /// anybody is asked who he is, once it is known which listeners there are.
    pub(super) fn finish(&self, is_authenticated: bool, draft: &mut Draft, ledger: &mut Ledger) {
        let mut rest = Table::new("[[acl]]");
        match &self.acl {
            None if is_authenticated && !self.entries.iter().any(|entry| entry.has_plugin) => {
                rest.about("Without acl_file Mosquitto allows everything.");
                rest.put("", "allow", draft::list(&["publish", "retain", "subscribe"]));
                rest.put("", "topics", draft::list(&["#", "$SYS/#"]));
            }
            Some((at, file)) if !is_authenticated => {
                if file.has_users() {
                    let what = "names that nobody checks are none here: everybody is anonymous until there is [auth]";
                    ledger.add(
                        ledger.place(*at),
                        &format!("users of {}", file.name()),
                        Fate::Other(what.to_owned()),
                    );
                }
                rest.about("What no rule above allows is denied. Nobody has a name, so that %u can't be filled in; in a denial it");
                rest.about("then takes in every topic, those that begin with $ among them.");
                rest.put("", "deny", draft::list(&["publish", "retain", "subscribe"]));
                rest.put("", "topics", draft::list(&["#", "%u/#"]));
            }
            None | Some(_) => return,
        }
        draft.acl.push(rest);
    }
}

/// A path as a shell takes it.
fn shell(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}
