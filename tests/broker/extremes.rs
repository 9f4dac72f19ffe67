//! The arithmetic of a configuration (CVE-2024-42645): every key that is a number, a size or a time, at what is absurd and
//! at both ends of what it may be.
//!
//! Which keys these are is asked of the configuration itself, by `config/noctule.toml` and by what it says of a value of
//! the wrong kind; a key that comes later is in here by itself.

use noctule::config::Config;
use noctule_core::id::Qos;

use crate::kit::{Served, V5};

const REFERENCE: &str = include_str!("../../config/noctule.toml");

/// A key with a range.
struct Ranged {
    /// With its brackets.
    heading: &'static str,
    name: &'static str,
    least: String,
    most: String,
}

impl Ranged {
    fn path(&self) -> String {
        format!("{}.{}: ", self.heading.trim_matches(['[', ']']), self.name)
    }

    /// A file that says nothing but this.
    fn with(&self, value: &str) -> String {
        format!("{}\n{} = {value}\n", self.heading, self.name)
    }
}

/// What is wrong with the file; nothing if it can be used.
fn complaints(text: &str) -> String {
    Config::parse(text, "f").err().map(|error| error.to_string()).unwrap_or_default()
}

/// Every key of the reference file that has a range.
fn ranged() -> Vec<Ranged> {
    let (mut heading, mut found) = ("", Vec::<Ranged>::new());
    for line in REFERENCE.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if line.starts_with('[') {
            heading = line;
        } else if let Some((name, _)) = line.split_once(" = ")
            && !name.contains(' ')
            && !found.iter().any(|key| (key.heading, key.name) == (heading, name))
        {
            // "… is not a whole number from 1 to 64 (default 1)", "… is not a size from 1KiB to 1GiB such as …"
            let said = complaints(&format!("{heading}\n{name} = []\n"));
            let of_it = said.lines().find(|line| line.contains(&format!(".{name}: [] is not a ")));
            let range = of_it.and_then(|line| line.split_once(" from ")?.1.split_once(" to "));
            if let Some((least, rest)) = range {
                let most = rest.split(' ').next().unwrap();
                let written = |word: &str| {
                    if word.parse::<u64>().is_ok() { word.to_owned() } else { format!("\"{word}\"") }
                };
                found.push(Ranged { heading, name, least: written(least), most: written(most) });
            }
        }
    }
    found
}

/// What no key may be, in every way that TOML or a quantity can say it.
const ABSURD: [&str; 22] = [
    "-1",
    "-0.0",
    "1.5",
    "1e308",
    "inf",
    "-inf",
    "nan",
    "-9223372036854775808",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "0x7fffffffffffffff",
    "true",
    "\"\"",
    "\"-1\"",
    "\"-1s\"",
    "\"-1KiB\"",
    "\"18446744073709551615ms\"",
    "\"18446744073709551615GiB\"",
    "\"340282366920938463463374607431768211456d\"",
    "\"5GiB5s\"",
    "[9223372036854775807]",
];

#[test]
fn no_key_takes_what_is_absurd() {
    let keys = ranged();
    assert!(keys.len() > 45, "only {} keys have a range", keys.len());
    for key in &keys {
        for value in ABSURD {
            let said = complaints(&key.with(value));
            // What is no TOML at all has no key to be named by.
            let is_named = said.contains(&key.path()) || value == "18446744073709551616";
            assert!(is_named && !said.is_empty(), "{} = {value}: {said:?}", key.path());
        }
        for zero in ["0", "\"0s\"", "\"0KiB\""] {
            let may_be_zero = key.least.trim_matches('"').starts_with('0');
            let said = complaints(&key.with(zero));
            assert!(may_be_zero || said.contains(&key.path()), "{} = {zero}: {said:?}", key.path());
        }
    }
}

#[test]
fn the_ends_of_every_range_can_be_served_with() {
    let mut served = 0;
    for key in ranged() {
        // That much is taken from the disk at once.
        if key.name == "reserve" {
            continue;
        }
        for value in [&key.least, &key.most] {
            let text = key.with(value);
            let said = complaints(&text);
            if !said.is_empty() {
                // Only another key, or the rest of its own block, can be what is against it.
                assert!(!said.contains(&format!("{}{value} is not", key.path())), "{said}");
                continue;
            }
            let config = Config::parse(&text, "f").unwrap();
            let broker = Served::with(|own| {
                let data_dir = std::mem::take(&mut own.server.data_dir);
                let workers = own.server.workers;
                *own = config;
                own.server.data_dir = data_dir;
                if key.name != "workers" {
                    own.server.workers = workers;
                }
                for listener in &mut own.listener {
                    listener.address.set_port(0);
                }
            });
            // One client only, which is as many as there may be with the smallest number of them.
            let mut client = broker.client(V5, "c");
            client.subscribe(Qos::AtLeastOnce, "t");
            for number in 0..3 {
                let text = number.to_string();
                let answer = client.say(Qos::AtLeastOnce, "t", &text);
                assert!(answer < 0x80, "{} = {value}: {answer:#x}", key.path());
                assert_eq!(client.take().text(), text, "{} = {value}", key.path());
            }
            client.ping();
            drop(client);
            broker.stop();
            served += 1;
        }
    }
    assert!(served > 70, "only {served} values were tried");
}
