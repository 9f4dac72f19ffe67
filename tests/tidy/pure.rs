//! What the sans-IO crates under `protocols/` may not touch, and why.

use std::collections::{BTreeMap, BTreeSet};

use super::source;

const TIME: &str = "time is an argument (noctule_core::id::Now), so that a test can set it";
const IO: &str = "the shell does the IO, so that the machine can be run without any";
const THREADS: &str = "the shell owns the threads";
const ENTROPY: &str = "randomness is handed in, so that a run can be repeated";

/// Paths that may not be named, and why.
const PATHS: [(&str, &str); 14] = [
    ("std::net", "the shell owns the sockets; the address types alone are in core::net"),
    ("std::fs", IO),
    ("std::io", IO),
    ("std::os", IO),
    ("std::process", IO),
    ("std::env", "settings are arguments"),
    ("std::thread", THREADS),
    ("std::time::Instant", TIME),
    ("std::time::SystemTime", TIME),
    ("std::collections::HashMap", "its hasher draws entropy; noctule_core::hash::Map takes a seed"),
    ("std::collections::HashSet", "its hasher draws entropy; noctule_core::hash::Set takes a seed"),
    ("std::collections::hash_map", "its hasher draws entropy; noctule_core::hash::Map takes a seed"),
    ("std::hash::RandomState", ENTROPY),
    ("tokio", "the shell owns the runtime"),
];

/// Names that give it away however they were imported.
const CALLS: [(&str, &str); 5] = [
    ("Instant::now", TIME),
    ("SystemTime::now", TIME),
    ("thread::spawn", THREADS),
    ("thread::sleep", TIME),
    ("RandomState::new", ENTROPY),
];

/// Crates that may not be depended on, directly or through others, and why.
const CRATES: [(&str, &str); 15] = [
    ("tokio", "the shell owns the runtime"),
    ("async-std", "the shell owns the runtime"),
    ("smol", "the shell owns the runtime"),
    ("futures", "output is polled, nothing waits"),
    ("mio", IO),
    ("socket2", IO),
    ("libc", IO),
    ("rustix", IO),
    ("redb", "the store is behind noctule_core's trait"),
    ("rand", ENTROPY),
    ("getrandom", ENTROPY),
    ("fastrand", ENTROPY),
    ("chrono", TIME),
    ("time", TIME),
    ("tracing", "log lines are effects that the shell writes"),
];

/// Complaints about a source file of a pure crate.
pub(crate) fn sources(text: &str) -> Vec<String> {
    let code = source::without_tests(&source::code(text));
    let imports = source::imports(&code);
    let mut complaints = Vec::new();
    for (path, why) in PATHS {
        let imported = imports.iter().any(|import| within(import, path));
        if imported || names(&code, path) {
            complaints.push(format!("{path} is not for protocols/: {why}"));
        }
    }
    for (call, why) in CALLS {
        if names(&code, call) {
            complaints.push(format!("{call} is not for protocols/: {why}"));
        }
    }
    for import in &imports {
        if import == "std::*" || import == "std" || import == "std::collections::*" {
            complaints.push(format!("use {import} hides what is used; name it"));
        }
    }
    complaints
}

/// Whether the imported path is `path` or lies below it.
fn within(import: &str, path: &str) -> bool {
    import.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether `code` has `path` as whole words: `tokio` only as the first part of a path.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let after = &code[at + path.len()..];
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        before && whole && (path.contains("::") || after.starts_with("::"))
    })
}

/// Complaints about the manifest of a pure crate, whose dependencies' dependencies are in `lock`.
pub(crate) fn manifest(manifest: &str, lock: &str) -> Vec<String> {
    let graph = graph(lock);
    let manifest: toml::Table = manifest.parse().unwrap();
    let mut complaints = Vec::new();
    for direct in dependencies(&manifest) {
        for reached in closure(&direct, &graph) {
            if let Some((name, why)) = CRATES.iter().find(|(name, _)| *name == reached) {
                let through = if *name == direct { String::new() } else { format!(", through {direct}") };
                complaints.push(format!("depends on {name}{through}; not for protocols/: {why}"));
            }
        }
    }
    complaints
}

/// The crates under `[dependencies]` and `[target.….dependencies]`; those of tests and build scripts may do as they
/// like, save that build scripts may not exist.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let tables = std::iter::once(manifest).chain(
        manifest
            .get("target")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flatten()
            .filter_map(|(_, t)| t.as_table()),
    );
    let mut names = Vec::new();
    for (name, value) in tables.filter_map(|table| table.get("dependencies")?.as_table()).flatten() {
        let renamed = value.get("package").and_then(toml::Value::as_str);
        names.push(renamed.unwrap_or(name).to_owned());
    }
    names
}

/// Who depends on whom. Our own crates are left out: their dependencies for tests are in the lock file too.
fn graph(lock: &str) -> BTreeMap<String, Vec<String>> {
    let lock: toml::Table = lock.parse().unwrap();
    let mut graph = BTreeMap::new();
    for package in lock.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
        let name = package.get("name").and_then(toml::Value::as_str).unwrap();
        if name.starts_with("noctule") {
            continue;
        }
        let on = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
        let on = on.filter_map(|name| name.as_str()?.split(' ').next()).map(str::to_owned);
        graph.entry(name.to_owned()).or_insert_with(Vec::new).extend(on);
    }
    graph
}

fn closure(start: &str, graph: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![start.to_owned()]);
    while let Some(name) = open.pop() {
        if reached.insert(name.clone()) {
            open.extend(graph.get(&name).into_iter().flatten().cloned());
        }
    }
    reached
}

#[test]
fn forbidden_paths_are_seen_however_they_are_written() {
    for bad in [
        "use std::net::TcpStream;",
        "use std::{fmt, net::{self}};",
        "fn f() { std::fs::read(x); }",
        "use std::time::{Duration, Instant};",
        "use std::time; fn f() { time::Instant::now(); }",
        "use std::time::SystemTime as Wall;",
        "use std::collections::{BTreeMap, HashMap};",
        "let m: std::collections::HashSet<u8>;",
        "use std::env;",
        "use std::thread;",
        "use tokio::sync::mpsc;",
        "async fn f() { tokio::spawn(x) }",
        "use std::*;",
        "use std as s;",
    ] {
        assert!(!sources(bad).is_empty(), "{bad}");
    }
}

#[test]
fn pure_code_is_left_alone() {
    for good in [
        "//! Nothing from tokio::net here.\nuse std::time::Duration;",
        "use core::net::SocketAddr;",
        "use std::collections::{BTreeMap, VecDeque};",
        "let text = \"std::fs::read\";",
        "use crate::hash::Map; fn f(at: my_std::fs::X) {}",
        "#[cfg(test)]\nmod tests { use std::collections::HashMap; fn now() { std::time::Instant::now(); } }",
    ] {
        assert_eq!(sources(good), [""; 0], "{good}");
    }
}

#[test]
fn forbidden_crates_are_seen_through_others() {
    let lock = "[[package]]\nname = \"innocent\"\ndependencies = [\"middle 1.0\"]\n\
                [[package]]\nname = \"middle\"\ndependencies = [\"getrandom\"]\n\
                [[package]]\nname = \"getrandom\"\n";
    let says = |text: &str| manifest(text, lock);
    assert_eq!(
        says("[dependencies]\ninnocent = \"1\"\n"),
        [format!("depends on getrandom, through innocent; not for protocols/: {ENTROPY}")]
    );
    assert_eq!(says("[dependencies]\ntokio.workspace = true\n").len(), 1);
    assert_eq!(says("[dependencies]\nrt = { package = \"tokio\" }\n").len(), 1);
    assert_eq!(says("[target.'cfg(unix)'.dependencies]\nmio = \"1\"\n").len(), 1);
    assert_eq!(says("[dependencies]\nbytes = \"1\"\n[dev-dependencies]\ninnocent = \"1\"\n"), [""; 0]);
}
