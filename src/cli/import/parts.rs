//! Whose each line is: the broker's, a listener's or a bridge's. Mosquitto has a line belong to the `listener` above it in the
//! same file; what stands above the first is about the default listener, which is opened if any of it says so.

use super::keys::{self, Owner};
use super::ledger::{Fate, Ledger};

/// A listener of Mosquitto's.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// Its `listener` line; `None` for the default listener.
    pub(super) start: Option<usize>,
    /// Its lines, with `per_listener_settings true` those about access among them.
    pub(super) lines: Vec<usize>,
}

/// The lines by whose they are.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) broker: Vec<usize>,
    /// Lines about access that are for all listeners; empty with `per_listener_settings true`.
    pub(super) access: Vec<usize>,
    /// The listeners that are opened, in the order of the file; the default one is the first.
    pub(super) blocks: Vec<Block>,
    /// Whether Mosquitto serves its own machine alone, because no listener is named.
    pub(super) is_local_only: bool,
    /// Whether each listener has its own lines about access.
    pub(super) is_per_listener: bool,
}

/// Keys that open the default listener, and the values with which they don't.
const OPENING: &[(&str, &[&str])] = &[
    ("port", &[]),
    ("bind_address", &[]),
    ("bind_interface", &[]),
    ("cafile", &[]),
    ("capath", &[]),
    ("certfile", &[]),
    ("crlfile", &[]),
    ("keyfile", &[]),
    ("max_connections", &["-1"]),
    ("max_qos", &["2"]),
    ("protocol", &["mqtt"]),
    ("psk_hint", &[]),
    ("require_certificate", &["false", "0"]),
    ("socket_domain", &[]),
    ("use_identity_as_username", &["false", "0"]),
    ("use_subject_as_username", &["false", "0"]),
    // With per_listener_settings alone, or else they are not among its lines.
    ("password_file", &[]),
    ("psk_file", &[]),
    ("plugin", &[]),
    ("auth_plugin", &[]),
    ("allow_zero_length_clientid", &["true", "1"]),
];

impl Parts {
    /// Tells the lines apart. Of those of bridges and of those that mean nothing here it says so.
    pub(super) fn of(ledger: &mut Ledger) -> Self {
        let mut parts = Self::default();
        let per_listener = ledger.all().rfind(|at| ledger.key(*at) == "per_listener_settings");
        parts.is_per_listener = per_listener.and_then(|at| ledger.flag(at)).unwrap_or_default();
        let mut default = Block::default();
        // Each file begins with the default listener anew.
        let mut file = ledger.place(0).file;
        let main = file.clone();
        let mut resumed = (None, false);
        let (mut current, mut in_bridge) = (None, false);
        for at in ledger.all() {
            let own = ledger.place(at).file;
            if own != file {
                if file == main {
                    resumed = (current, in_bridge);
                }
                (current, in_bridge) = if own == main { resumed } else { (None, false) };
                file = own;
            }
            let key = ledger.key(at).to_owned();
            let Some(owner) = keys::owner(&key) else {
                ledger.wrong(at, keys::unknown(&key));
                continue;
            };
            match owner {
                Owner::Broker if key == "include_dir" => included(at, file == main, ledger),
                Owner::Broker => parts.broker.push(at),
                Owner::Listener if key == "listener" => {
                    current = Some(parts.blocks.len());
                    parts.blocks.push(Block { start: Some(at), lines: Vec::new() });
                }
                Owner::Security | Owner::Plugin if !parts.is_per_listener => parts.access.push(at),
                // These two are the default listener's wherever they stand.
                Owner::Listener if matches!(&*key, "port" | "bind_address") => default.lines.push(at),
                Owner::Listener | Owner::Security | Owner::Plugin => {
                    let block = current.and_then(|current: usize| parts.blocks.get_mut(current));
                    block.unwrap_or(&mut default).lines.push(at);
                }
                Owner::Without => {
                    if let Some(fate) = keys::without(&key) {
                        ledger.set(at, fate);
                    }
                }
                Owner::Bridge => {
                    in_bridge |= key == "connection";
                    bridge(at, in_bridge, ledger);
                }
            }
        }
        let is_opened = default.lines.iter().any(|at| opens(ledger.key(*at), &ledger.value(*at)));
        parts.is_local_only = parts.blocks.is_empty() && !is_opened;
        if is_opened || parts.is_local_only {
            parts.blocks.insert(0, default);
        } else {
            for at in default.lines {
                let why = "it is about Mosquitto's default listener, which is not opened";
                ledger.set(at, Fate::Moot(why.to_owned()));
            }
        }
        parts
    }
}

fn included(at: usize, is_main: bool, ledger: &mut Ledger) {
    let fate = if is_main {
        Fate::Same("the lines of its files stand in its place".to_owned())
    } else {
        Fate::Moot("Mosquitto follows it in the main file alone".to_owned())
    };
    ledger.set(at, fate);
}

fn opens(key: &str, value: &str) -> bool {
    OPENING.iter().any(|(known, without)| *known == key && !without.contains(&value))
}

fn bridge(at: usize, in_bridge: bool, ledger: &mut Ledger) {
    let key = ledger.key(at).to_owned();
    if !in_bridge {
        ledger
            .wrong(at, format!("{key} is about a bridge, and no connection stands above it; mend the order"));
    } else if key == "connection" {
        let why = "bridges are not there yet; keep Mosquitto for this one, or have a client carry the topics";
        ledger.set(at, Fate::Lost(why.to_owned()));
    } else {
        ledger.set(at, Fate::Lost("it is the bridge's".to_owned()));
    }
}
