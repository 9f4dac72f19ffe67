//! `config/noctule.toml` says what the code does, and `config/gateway-small.toml` is a right example beside it.

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
    assert_eq!((config.durability.len(), config.acl.len(), config.tls.len()), (1, 2, 1));
    assert_eq!(config.listener[0].durability, Some(Durability::Always));
}

#[test]
fn the_small_gateways_file_is_right_and_goes_to_the_journal() {
    let text = include_str!("../../../config/gateway-small.toml");
    let config = Config::parse(text, "config/gateway-small.toml").unwrap_or_else(|error| panic!("{error}"));
    // Lines with priorities in the journal.
    assert_eq!(config.log.format, LogFormat::Auto);
    // What it is for: little memory, few writes, and nothing that was acknowledged lost but what is said to be telemetry.
    let defaults = Config::default();
    assert!(config.server.memory < defaults.server.memory);
    assert!(config.store.max_size < defaults.store.max_size);
    assert!(config.store.retained_interval > defaults.store.retained_interval);
    assert_eq!(config.store.durability, Durability::Always);
    assert_eq!(config.durability.len(), 1);
}

/// A heading of the file and, of each key below it, the name and the comment above.
struct Block {
    section: String,
    keys: Vec<(String, String)>,
}

fn blocks() -> Vec<Block> {
    let (mut blocks, mut comment) = (Vec::<Block>::new(), String::new());
    for line in FILE.lines() {
        let line = shown(line).unwrap_or(line);
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if line.starts_with('[') {
            let section = line.trim_matches(['[', ']']).to_owned();
            blocks.push(Block { section, keys: Vec::new() });
            comment.clear();
        } else if let (Some((name, _)), Some(block)) = (line.split_once(" = "), blocks.last_mut()) {
            block.keys.push((name.to_owned(), std::mem::take(&mut comment)));
        } else {
            comment.clear();
        }
    }
    blocks
}

#[test]
fn the_reference_file_has_every_key_in_order_and_no_other() {
    let blocks = blocks();
    let mut sections: Vec<&str> = blocks.iter().map(|block| block.section.as_str()).collect();
    sections.dedup();
    assert_eq!(sections, Config::SECTIONS.iter().map(|(section, _)| *section).collect::<Vec<_>>());
    for (section, keys) in Config::SECTIONS {
        let of_it = || blocks.iter().filter(|block| block.section == *section);
        // There are two listeners by default, and two rules are shown; each says only what differs.
        for block in of_it() {
            let written: Vec<&str> = block.keys.iter().map(|(name, _)| name.as_str()).collect();
            let in_order = keys.iter().map(|key| key.name).filter(|name| written.contains(name));
            assert_eq!(in_order.collect::<Vec<_>>(), written, "[{section}]");
        }
        for key in *keys {
            let is_written = of_it().any(|block| block.keys.iter().any(|(name, _)| name == key.name));
            assert!(is_written, "{section}.{}", key.name);
        }
        assert!(
            matches!(*section, "listener" | "acl") || of_it().count() == 1,
            "[{section}] is there more than once"
        );
    }
}

#[test]
fn every_key_that_is_serialised_is_declared() {
    let shown: String = FILE.lines().map(|line| format!("{}\n", shown(line).unwrap_or(line))).collect();
    let config = Config::parse(&shown, "config/noctule.toml").unwrap();
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
fn the_reference_file_says_why_and_what_wants_a_restart() {
    for Block { section, keys } in blocks() {
        let (_, known) = Config::SECTIONS.iter().find(|(name, _)| *name == section).unwrap();
        for (name, comment) in keys {
            assert!(comment.len() > 20, "{section}.{name}: say why");
            let reload = known.iter().find(|key| key.name == name).unwrap().reload;
            assert_eq!(comment.contains("wants a restart"), reload == Reload::Restart, "{section}.{name}");
        }
    }
}

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

const HEAD: &str = "# Configuration, key by key

Made from the code by `NOCTULE_WRITE_DOCS=1 cargo test -p noctule --lib the_reference_in_docs`; a test keeps it so.
[config/noctule.toml](../config/noctule.toml) has the same keys as a file to begin with, each with a line of why, and
`noctule check` says what a file does. What is read again by SIGHUP takes effect at once, for clients that connect from then on, or
after a restart. Every key may come from the environment: `NOCTULE__SECTION__KEY=value`.
";

/// Text as it can stand in a cell: on one line, without the brackets of links into the code.
fn cell(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

#[test]
fn the_reference_in_docs_is_what_the_code_says() {
    let mut text = HEAD.to_owned();
    for (section, keys) in Config::SECTIONS {
        let is_list = matches!(*section, "durability" | "acl" | "tls" | "listener");
        let (open, close) = if is_list { ("[[", "]]") } else { ("[", "]") };
        text.push_str(&format!("\n## {open}{section}{close}\n\n| key | default | takes effect | a right value is | what it is for |\n"));
        text.push_str("| --- | --- | --- | --- | --- |\n");
        for key in *keys {
            let effect = match key.reload {
                Reload::Now => "at once",
                Reload::Connections => "for new connections",
                Reload::Restart => "after a restart",
            };
            let (default, expected, about) =
                (cell(&(key.default)()), cell(&(key.expected)()), cell(key.about));
            text.push_str(&format!("| `{}` | `{default}` | {effect} | {expected} | {about} |\n", key.name));
        }
    }
    if std::env::var_os("NOCTULE_WRITE_DOCS").is_some() {
        std::fs::write(REFERENCE, &text).unwrap();
    }
    let written = std::fs::read_to_string(REFERENCE).unwrap();
    assert!(
        written == text,
        "docs/configuration.md is not what the code says; its head says how it is made anew"
    );
}
