//! What differs between two configurations, key by key, and when it takes effect.

use std::collections::BTreeSet;
use std::fmt;

use toml::Value;

use super::{Config, Reload};

/// One key whose value differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `limits.max_inflight`, `listener[127.0.0.1:1883].tls`.
    pub path: String,
    /// The value so far, as written in the file; `None`: there was none.
    pub old: Option<String>,
    /// The value from now on; `None`: there is none.
    pub new: Option<String>,
    /// When it takes effect.
    pub reload: Reload,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let when = match self.reload {
            Reload::Now => "",
            Reload::Connections => ", for new connections",
            Reload::Restart => ", after a restart",
        };
        write!(f, "{}: {} -> {}{when}", self.path, shown(&self.old), shown(&self.new))
    }
}

/// What differs between `old` and `new`, in the order of the sections.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let (Ok(Value::Table(old)), Ok(Value::Table(new))) = (Value::try_from(old), Value::try_from(new)) else {
        return changes;
    };
    for (section, keys) in Config::SECTIONS {
        let reload =
            |key: &str| keys.iter().find(|known| known.name == key).map_or(Reload::Restart, |key| key.reload);
        match (old.get(*section), new.get(*section)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => {
                tables(section, old, new, &reload, &mut changes);
            }
            (old, new) => {
                let items =
                    |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
                lists(section, &items(old), &items(new), &reload, &mut changes);
            }
        }
    }
    changes
}

/// `new` with the values of `old` for what needs a restart.
pub(super) fn reloaded(old: &Config, new: &Config) -> Config {
    let (Ok(Value::Table(old)), Ok(Value::Table(mut taken))) = (Value::try_from(old), Value::try_from(new))
    else {
        return new.clone();
    };
    for (section, keys) in Config::SECTIONS {
        // Of those that there may be several of, all can change.
        let (Some(Value::Table(old)), Some(Value::Table(taken))) =
            (old.get(*section), taken.get_mut(*section))
        else {
            continue;
        };
        for key in keys.iter().filter(|key| key.reload == Reload::Restart) {
            match old.get(key.name) {
                Some(value) => taken.insert(key.name.to_owned(), value.clone()),
                None => taken.remove(key.name),
            };
        }
    }
    Value::Table(taken).try_into().unwrap_or_else(|_| new.clone())
}

fn tables(
    path: &str,
    old: &toml::Table,
    new: &toml::Table,
    reload: &dyn Fn(&str) -> Reload,
    changes: &mut Vec<Change>,
) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (old, new) = (old.get(key), new.get(key));
        if old != new {
            let shown = |value: Option<&Value>| value.map(ToString::to_string);
            let (path, reload) = (format!("{path}.{key}"), reload(key));
            changes.push(Change { path, old: shown(old), new: shown(new), reload });
        }
    }
}

/// Listeners are known by their address and TLS by its name; rules have only their place.
fn lists(
    section: &str,
    old: &[Value],
    new: &[Value],
    reload: &dyn Fn(&str) -> Reload,
    changes: &mut Vec<Change>,
) {
    let name = |at: usize, item: &Value| {
        let key = ["address", "name"].iter().find_map(|key| item.get(key)?.as_str());
        key.map_or_else(|| at.to_string(), ToOwned::to_owned)
    };
    let named = |items: &[Value]| -> Vec<(String, toml::Table)> {
        let tables = items
            .iter()
            .enumerate()
            .map(|(at, item)| (name(at, item), item.as_table().cloned().unwrap_or_default()));
        tables.collect()
    };
    let (old, new) = (named(old), named(new));
    let find = |items: &[(String, toml::Table)], name: &str| {
        items.iter().find(|(other, _)| other == name).map(|(_, table)| table.clone())
    };
    for (name, table) in &old {
        let path = format!("{section}[{name}]");
        match find(&new, name) {
            Some(now) => tables(&path, table, &now, reload, changes),
            None => {
                changes.push(Change { path, old: Some("there".to_owned()), new: None, reload: Reload::Now });
            }
        }
    }
    for (name, _) in new.iter().filter(|(name, _)| find(&old, name).is_none()) {
        let path = format!("{section}[{name}]");
        changes.push(Change { path, old: None, new: Some("there".to_owned()), reload: Reload::Now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(old: &str, new: &str) -> Vec<String> {
        let parse = |text| Config::parse(text, "f").unwrap();
        changes(&parse(old), &parse(new)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_key_that_differs_is_named_and_when_it_counts() {
        assert_eq!(said("", ""), [""; 0]);
        assert_eq!(
            said("", "[server]\nworkers = 2\n[limits]\nmax_inflight = 5\nmax_sessions = 7\n"),
            [
                "server.workers: 1 -> 2, after a restart",
                "limits.max_inflight: 256 -> 5, for new connections",
                "limits.max_sessions: 20000 -> 7"
            ]
        );
        assert_eq!(said("[auth_jwt]\nissuer = \"a\"\n", ""), ["auth_jwt.issuer: \"a\" -> none"]);
    }

    #[test]
    fn what_needs_a_restart_stays() {
        let parse = |text| Config::parse(text, "f").unwrap();
        let old = parse("[server]\nworkers = 2\n[limits]\nmax_inflight = 5\n");
        let new = parse(
            "[server]\ndata_dir = \"other\"\n[log]\nlevel = \"warn\"\n[[listener]]\nanonymous = true\n",
        );
        let taken = reloaded(&old, &new);
        assert_eq!(taken.server, old.server);
        assert_eq!(taken, Config { server: old.server, ..new });
    }

    #[test]
    fn listeners_are_known_by_their_address() {
        assert_eq!(
            said("", "[[listener]]\naddress = \"127.0.0.1:1\"\n[[listener]]\nanonymous = true\n"),
            [
                "listener[127.0.0.1:1883].anonymous: \"loopback\" -> true",
                "listener[127.0.0.1:61613]: there -> none",
                "listener[127.0.0.1:1]: none -> there",
            ]
        );
    }
}
