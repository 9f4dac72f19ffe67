//! The house rules that a machine can check: what `protocols/` may not touch, and how every file looks.
//!
//! Each rule is a function from text to complaints, so that it can be shown a bad sample. The rules of
//! `protocols/clippy.toml` say the same to the compiler; this test also sees manifests, imports and prose.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the repository has failed")]

#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/pure.rs"]
mod pure;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/threats.rs"]
mod threats;

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that are not ours, or not in the repository.
const SKIPPED: [&str; 6] = [".git", "target", "node_modules", "data", "__pycache__", ".venv"];

/// Every text file of the repository: its path with forward slashes, and its text.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                found.push((relative(root, &entry.path()), text));
            }
        }
    }
    found.sort();
    assert!(found.iter().any(|(path, _)| path == "tests/tidy.rs"), "the walk misses files");
    found
}

fn relative(root: &Path, path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root).unwrap().to_owned();
    path.to_string_lossy().replace('\\', "/")
}

/// Fails with every complaint that `rule` has about any file it is meant for.
#[track_caller]
fn check(meant_for: impl Fn(&str) -> bool, rule: impl Fn(&str, &str) -> Vec<String>) {
    let mut complaints = Vec::new();
    for (path, text) in files().iter().filter(|(path, _)| meant_for(path)) {
        complaints.extend(rule(path, text).into_iter().map(|complaint| format!("{path}: {complaint}")));
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// What tests, pages and measurements are written in besides.
fn is_script(path: &str) -> bool {
    [".js", ".py"].iter().any(|end| path.ends_with(end))
}

/// Code that is compiled into tests only, by where it lies.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path.split('/').any(|part| part == "tests" || part == "benches" || part == "fuzz")
}

fn is_pure(path: &str) -> bool {
    path.starts_with("protocols/") && is_rust(path) && !is_test(path)
}

#[test]
fn protocol_sources_touch_nothing_outside() {
    check(is_pure, |_, text| pure::sources(text));
}

#[test]
fn protocol_manifests_depend_on_nothing_that_does() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    check(
        |path| path.starts_with("protocols/") && path.ends_with("/Cargo.toml"),
        |_, manifest| pure::manifest(manifest, &lock),
    );
}

#[test]
fn every_attack_has_the_tests_that_are_named_for_it() {
    let files = files();
    let read = |path: &str| files.iter().find(|(other, _)| other == path).map(|(_, text)| text.as_str());
    check(|path| path == "docs/threats.md", |_, text| threats::check(text, read));
    assert!(read("docs/threats.md").is_some(), "docs/threats.md is missing");
}

#[test]
fn every_module_says_what_lives_there() {
    check(
        |path| {
            is_rust(path)
                && ["protocols/", "src/", "tests/", "benches/"].iter().any(|dir| path.starts_with(dir))
        },
        |_, text| prose::module_comment(text),
    );
}

#[test]
fn files_stay_small() {
    check(|path| (is_rust(path) && !is_test(path)) || is_script(path), |_, text| prose::size(text));
}

#[test]
fn names_say_something() {
    check(is_rust, |path, _| prose::module_name(path));
}

#[test]
fn nothing_is_left_to_do() {
    check(|_| true, |_, text| prose::left_over(text));
}

#[test]
fn nothing_names_one_machine() {
    check(
        |path| Path::new(path).extension().is_none_or(|extension| extension != "lock"),
        |_, text| prose::places(text),
    );
}
