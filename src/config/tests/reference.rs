//! `config/noctule.toml` says what the code does.

use super::*;

const FILE: &str = include_str!("../../../config/noctule.toml");

#[test]
fn the_reference_file_is_the_defaults() {
    match Config::parse(FILE, "config/noctule.toml") {
        Ok(config) => assert_eq!(config, Config::default()),
        Err(error) => panic!("{error}"),
    }
}

/// The line without its '#' if it shows what could be written.
fn shown(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()))
}

#[test]
fn what_the_reference_file_shows_could_be_written() {
    let text: String = FILE.lines().map(|line| format!("{}\n", shown(line).unwrap_or(line))).collect();
    let config = Config::parse(&text, "config/noctule.toml").unwrap();
    assert_eq!(config.durability.len(), 1);
    assert_eq!(config.listener[0].durability, Some(Durability::Always));
}

/// The comment block above a key and the key's line, per section: `(section, name, comment)`.
fn written_keys() -> Vec<(String, String, String)> {
    let (mut keys, mut section, mut comment) = (Vec::new(), String::new(), String::new());
    for line in FILE.lines() {
        let line = shown(line).unwrap_or(line);
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            comment.clear();
        } else if let Some((name, _)) = line.split_once(" = ") {
            keys.push((section.clone(), name.to_owned(), std::mem::take(&mut comment)));
        } else {
            comment.clear();
        }
    }
    keys
}

#[test]
fn the_reference_file_has_every_key_in_order_and_no_other() {
    let declared: Vec<(String, String)> = Config::SECTIONS
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(|key| ((*section).to_owned(), key.name.to_owned())))
        .collect();
    let written: Vec<(String, String)> =
        written_keys().into_iter().map(|(section, name, _)| (section, name)).collect();
    assert_eq!(written, declared);
}

#[test]
fn every_key_that_is_serialised_is_declared() {
    let mut config = Config { durability: vec![DurabilityRule::default()], ..Config::default() };
    config.listener[0].durability = Some(Durability::Always);
    let value = toml::Value::try_from(config).unwrap();
    for (section, value) in value.as_table().unwrap() {
        let table = value.as_table().or_else(|| value.as_array()?.first()?.as_table()).unwrap();
        let (_, keys) = Config::SECTIONS.iter().find(|(name, _)| name == section).unwrap();
        let mut declared: Vec<&str> = keys.iter().map(|key| key.name).collect();
        declared.sort_unstable();
        assert_eq!(table.keys().collect::<Vec<_>>(), declared, "[{section}]");
    }
}

#[test]
fn the_reference_file_says_why_and_promises_no_reload() {
    for (section, name, comment) in written_keys() {
        assert!(comment.len() > 20, "{section}.{name}: say why");
        assert!(!comment.contains("reload"), "{section}.{name}: nothing is reloaded");
    }
    assert!(FILE.contains("a changed value wants a restart"));
}
