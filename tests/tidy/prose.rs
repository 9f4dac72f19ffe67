//! How files look: size, first lines, names, and words that do not belong in a repository.

/// Most lines of a source file; past it a room is missing.
const MAX_LINES: usize = 600;

/// Module names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] =
    ["utils", "util", "types", "common", "helper", "helpers", "manager", "misc", "shared_types"];

/// Hosts that may be linked to: specifications, public documentation, and examples.
const HOSTS: [&str; 25] = [
    "127.0.0.1",
    "apache.org",
    "contributor-covenant.org",
    "crates.io",
    "debian.org",
    "docs.oasis-open.org",
    "docs.rs",
    "embarkstudios.github.io",
    "example",
    "example.com",
    "github.com",
    "gnu.org",
    "haproxy.org",
    "keepachangelog.com",
    "localhost",
    "mozilla.org",
    "mqtt.org",
    "opensource.org",
    "rust-lang.org",
    "rustsec.org",
    "rustup.rs",
    "semver.org",
    "spdx.org",
    "stomp.github.io",
    "w3.org",
];

/// A module comment at the very top.
pub(crate) fn module_comment(text: &str) -> Vec<String> {
    if text.starts_with("//! ") {
        Vec::new()
    } else {
        vec!["begin with a //! that says what lives here, and what does not".to_owned()]
    }
}

/// Not too long.
pub(crate) fn size(text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines <= MAX_LINES {
        Vec::new()
    } else {
        vec![format!(
            "{lines} lines, {MAX_LINES} at most; find the missing room, or move the tests beside it"
        )]
    }
}

/// Named for what is inside.
pub(crate) fn module_name(path: &str) -> Vec<String> {
    let parts = path.trim_end_matches(".rs").split('/');
    let empty = parts.filter(|part| EMPTY_NAMES.contains(part));
    empty.map(|part| format!("{part} says nothing; name it after what is inside")).collect()
}

/// Nothing postponed.
pub(crate) fn left_over(text: &str) -> Vec<String> {
    // In two halves, or this file would complain about itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut complaints = Vec::new();
    for (number, line) in numbered(text) {
        for mark in marks {
            if words(line).any(|word| word == mark) {
                complaints.push(format!("line {number}: {mark}; do it or drop it"));
            }
        }
    }
    complaints
}

/// No path of somebody's machine, no host of somebody's registry.
pub(crate) fn places(text: &str) -> Vec<String> {
    let roots = ["home", "root", "tmp", "work", "Users"].map(|root| format!("/{root}/"));
    let mut complaints = Vec::new();
    for (number, line) in numbered(text) {
        for root in &roots {
            let starts = line.match_indices(root.as_str());
            if starts
                .clone()
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.+#}*".contains(c)))
            {
                complaints.push(format!("line {number}: {root} is a path of one machine"));
            }
        }
        for host in hosts(line) {
            if !HOSTS.iter().any(|known| host == *known || host.ends_with(&format!(".{known}"))) {
                complaints
                    .push(format!("line {number}: {host} is not among the hosts in tests/tidy/prose.rs"));
            }
        }
    }
    complaints
}

/// The hosts of the web addresses in `line`; what is put together at run time has none.
fn hosts(line: &str) -> Vec<String> {
    let mut hosts = Vec::new();
    for scheme in ["http://", "https://"] {
        for (at, _) in line.match_indices(scheme) {
            let rest = &line[at + scheme.len()..];
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '-')).unwrap_or(rest.len());
            let host = rest[..end].trim_end_matches('.');
            if !host.is_empty() && host != "..." && host.contains('.') {
                hosts.push(host.to_owned());
            }
        }
    }
    hosts
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

#[test]
fn a_file_without_its_comment_is_seen() {
    assert_eq!(module_comment("//! Here.\n"), [""; 0]);
    for bad in ["", "use x;", "// Here.\n", "\n//! Here.\n", "//!"] {
        assert_eq!(module_comment(bad).len(), 1, "{bad:?}");
    }
}

#[test]
fn the_601st_line_is_seen() {
    assert_eq!(size(&"x\n".repeat(600)), [""; 0]);
    assert_eq!(size(&"x\n".repeat(601)).len(), 1);
}

#[test]
fn empty_names_are_seen_as_file_and_as_folder() {
    for bad in ["src/utils.rs", "src/common/mod.rs", "protocols/core/src/types.rs", "tests/helper/x.rs"] {
        assert_eq!(module_name(bad).len(), 1, "{bad}");
    }
    assert_eq!(module_name("src/manager_of_nothing.rs"), [""; 0]);
}

#[test]
fn postponed_work_is_seen() {
    let mark = concat!("TO", "DO");
    assert_eq!(left_over(&format!("a\n// {mark}: later\n")), [format!("line 2: {mark}; do it or drop it")]);
    assert_eq!(left_over(concat!("X", "XX")).len(), 1);
    assert_eq!(left_over(&format!("{mark}S, todo!() and X{mark}")), [""; 0]);
}

#[test]
fn machines_and_registries_are_seen() {
    for root in ["home", "tmp", "work", "root"] {
        assert_eq!(places(&format!("cd /{root}/x")).len(), 1, "{root}");
        assert_eq!(places(&format!("topic a/{root}/x")), [""; 0], "{root}");
    }
    let scheme = concat!("https:", "//");
    assert_eq!(places(&format!("see {scheme}mirror.corp.internal/simple")).len(), 1);
    assert_eq!(places(&format!("see {scheme}evilgithub.com/x")).len(), 1);
    assert_eq!(places(&format!("see {scheme}docs.rs/toml, {scheme}api.github.com.")), [""; 0]);
}
