//! Just enough of Rust's grammar: code without comments, literals and test modules, and the paths it imports.

/// `text` with comments, string and character literals replaced by blanks; line breaks stay.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end > at {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment_end(bytes, at);
    }
    if rest[0] == b'"' {
        return string_end(bytes, at + 1);
    }
    if rest[0] == b'r' && (!in_word || at > 0 && bytes[at - 1] == b'b') {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let mut close = vec![b'"'];
            close.extend(std::iter::repeat_n(b'#', hashes));
            let body = at + hashes + 2;
            let found = bytes[body..].windows(close.len()).position(|window| window == close);
            return found.map_or(bytes.len(), |offset| body + offset + close.len());
        }
    }
    if rest[0] == b'\'' {
        return char_end(bytes, at);
    }
    at
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a character literal; a lifetime is none.
fn char_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at + 1..];
    let skipped = if rest.first() == Some(&b'\\') { 2 } else { 1 };
    // The longest: '\u{10ffff}'.
    let close = rest.iter().skip(skipped).take(10).position(|byte| *byte == b'\'');
    match close {
        // 'a' is a character, 'a, 'b' are lifetimes: without an escape only one character may stand between.
        Some(offset) => {
            let inner = &rest[..skipped + offset];
            let one = std::str::from_utf8(inner).is_ok_and(|inner| inner.chars().count() == 1);
            if skipped == 2 || one { at + 1 + skipped + offset + 1 } else { at }
        }
        None => at,
    }
}

/// `code` without what stands behind `#[cfg(test)]` in braces.
pub(crate) fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        out.push_str(before);
        let item = after.find(['{', ';']).unwrap_or(after.len());
        rest = if after[item..].starts_with('{') {
            &after[item + braces(&after[item..])..]
        } else {
            &after[item..]
        };
    }
    out.push_str(rest);
    out
}

/// The length of the balanced braces at the start of `code`.
fn braces(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Every path that a `use` in `code` names, written out: `use std::{fs, net::{self, TcpStream}};` are three.
pub(crate) fn imports(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let in_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if !in_word && let Some((tree, _)) = code[at + 4..].split_once(';') {
            let tight: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
            flatten("", &tight, &mut paths);
        }
    }
    paths
}

fn flatten(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let plain = tree.split(" as ").next().unwrap_or(tree).replace(' ', "");
        let path = format!("{prefix}{plain}");
        paths.push(path.strip_suffix("::self").map_or(path.clone(), str::to_owned));
        return;
    };
    let prefix = format!("{prefix}{}", head.replace(' ', ""));
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                flatten(&prefix, &group[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !group[start..].trim().is_empty() {
        flatten(&prefix, &group[start..], paths);
    }
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "a // b\nc /* d /* e */ f */ g \"h \\\" i\" j r#\"k \" l\"# m 'n' o '\\'' p b\"q\" <'r> s";
    let kept: String = code(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(kept, "a c g j m o p b <'r> s");
    assert_eq!(code("let x = \"a\nb\";").matches('\n').count(), 1);
    assert!(code("fn f<'a>(x: &'a str, y: &'a str) { evil() }").contains("evil"));
}

#[test]
fn tests_are_left_out() {
    let text = "a { } #[cfg(test)] mod tests { x { y } } b #[cfg(test)] mod tests; c";
    let kept: String = without_tests(text).split_whitespace().collect();
    assert_eq!(kept, "a{}b;c");
}

#[test]
fn imports_are_written_out() {
    let paths =
        imports("pub use a::b; use std::{fs, net::{self, TcpStream}, time::Instant as Now};\nuse c::*;");
    assert_eq!(paths, ["a::b", "std::fs", "std::net", "std::net::TcpStream", "std::time::Instant", "c::*"]);
}
