//! `docs/threats.md` keeps its word: every class of attacks has a test, and every test that is named there is one.

/// Classes of attacks.
const CLASSES: usize = 22;

/// What a class says whose part of the broker does not exist.
const ABSENT: &str = "Not there yet: ";

/// Complaints about the document; `read` gives the text of a file of the repository.
pub(crate) fn check<'a>(document: &str, read: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, test) in tests(document) {
        match read(path) {
            None => complaints.push(format!("{path}::{test}: there is no such file")),
            Some(text) if !has_test(text, test) => {
                complaints.push(format!(
                    "{path}::{test}: there is no such test; name the one that guards this now"
                ));
            }
            Some(_) => {}
        }
    }
    for path in quoted(document).filter(|text| is_path(text) && read(text).is_none()) {
        complaints.push(format!("{path}: there is no such file; name the one where the defence is now"));
    }
    let classes: Vec<&str> = document.split("\n## ").skip(1).collect();
    for (at, class) in classes.iter().enumerate() {
        let title = class.lines().next().unwrap_or_default();
        if !title.starts_with(&format!("{}. ", at + 1)) {
            complaints.push(format!("{title:?} stands where number {} should", at + 1));
        }
        if tests(class).next().is_none() && !class.contains(ABSENT) {
            complaints.push(format!("{title}: no test is named, nor is it said to be {ABSENT:?}"));
        }
    }
    if classes.len() != CLASSES {
        complaints.push(format!("{} classes instead of {CLASSES}", classes.len()));
    }
    complaints
}

/// Every `file.rs::test` in backticks.
fn tests(document: &str) -> impl Iterator<Item = (&str, &str)> {
    quoted(document).filter_map(|text| text.split_once("::")).filter(|(path, _)| is_path(path))
}

/// What stands in backticks.
fn quoted(document: &str) -> impl Iterator<Item = &str> {
    document.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn is_path(text: &str) -> bool {
    text.contains('/') && std::path::Path::new(text).extension().is_some_and(|extension| extension == "rs")
}

/// Whether the file has a test of that name.
fn has_test(text: &str, test: &str) -> bool {
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| !line.starts_with("//")) {
            if is_test && rest.strip_prefix(test).is_some_and(|rest| rest.starts_with('(')) {
                return true;
            }
            is_test = false;
        }
    }
    false
}

#[test]
fn a_test_that_is_not_there_is_seen() {
    let text =
        "#[test]\nfn held() {}\n\nfn helps() {}\n\n#[test]\n#[should_panic]\npub fn longer_name() {}\n";
    let read = |path: &str| (path == "tests/a.rs").then_some(text);
    let about = |body: &str| {
        let classes: String = (2..=CLASSES).map(|number| format!("\n## {number}. x\n{ABSENT}y\n")).collect();
        check(&format!("# Head\n\n## 1. x\n{body}{classes}"), read)
    };
    assert_eq!(about("- `tests/a.rs::held` and `tests/a.rs::longer_name`"), [""; 0]);
    for bad in [
        "`tests/a.rs::helps`",
        "`tests/a.rs::hel`",
        "`tests/a.rs::longer`",
        "`tests/b.rs::held`",
        "none",
        "`tests/a.rs::held`, `src/b.rs`",
    ] {
        assert_eq!(about(bad).len(), 1, "{bad}");
    }
    assert_eq!(check("", read).len(), 1, "all classes are missing");
}
