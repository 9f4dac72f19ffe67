//! What no single key can know: keys that contradict each other, and listeners that would be open by accident.

use noctule_core::topic::{TopicFilter, TopicLimits};

use super::listener::collide;
use super::place::Path;
use super::{Anonymous, Config};

/// Most `[[durability]]`: each is compared with the topics of messages until one matches.
const MAX_DURABILITY_RULES: usize = 64;

/// A contradiction, and the keys it lies between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The keys at fault; the first that the file mentions is where the error points.
    pub(super) keys: Vec<Path>,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(path) = self.keys.first() {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Every contradiction in `config`.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    queue_holds_a_packet(config, &mut faults);
    listeners_do_not_collide(config, &mut faults);
    listeners_are_open_on_purpose(config, &mut faults);
    durability_is_for_topics(config, &mut faults);
    faults
}

fn queue_holds_a_packet(config: &Config, faults: &mut Vec<Fault>) {
    let (queue, packet) = (config.limits.max_queued_bytes, config.limits.max_packet_size);
    if queue < packet {
        faults.push(Fault {
            keys: vec![Path::key("limits", "max_queued_bytes"), Path::key("limits", "max_packet_size")],
            message: format!(
                "a packet of max_packet_size = \"{packet}\" would be accepted and then fit no queue of \
                 max_queued_bytes = \"{queue}\"; make max_queued_bytes at least as large"
            ),
        });
    }
}

fn listeners_do_not_collide(config: &Config, faults: &mut Vec<Fault>) {
    if config.listener.is_empty() {
        faults.push(Fault {
            keys: vec![Path::section("listener")],
            message: "nobody could connect; add a [[listener]], or leave the key out for 127.0.0.1:1883"
                .to_owned(),
        });
    }
    for (at, listener) in config.listener.iter().enumerate() {
        let earlier = config.listener.iter().take(at).find(|other| collide(other.address, listener.address));
        if let Some(earlier) = earlier {
            faults.push(Fault {
                keys: vec![Path::item("listener", at, "address")],
                message: format!(
                    "{} is taken by the listener on {} above; give each its own address or port",
                    listener.address, earlier.address
                ),
            });
        }
    }
}

/// Nothing but anonymous access exists without authentication, so a listener is for this machine, or for everybody
/// who can reach it, and the latter has to be said.
fn listeners_are_open_on_purpose(config: &Config, faults: &mut Vec<Fault>) {
    for (at, listener) in config.listener.iter().enumerate() {
        let address = listener.address;
        let local = address.ip().to_canonical().is_loopback();
        match listener.anonymous {
            Anonymous::Loopback if !local => faults.push(Fault {
                keys: vec![Path::item("listener", at, "address")],
                message: format!(
                    "{address} can be reached from other machines, and no authentication is configured that would \
                     let them in; if everybody who can reach it may publish and subscribe, add anonymous = true to \
                     this [[listener]], else listen on 127.0.0.1"
                ),
            }),
            Anonymous::Nobody => faults.push(Fault {
                keys: vec![Path::item("listener", at, "anonymous")],
                message: "false lets nobody connect, because no authentication is configured; write \"loopback\" for \
                          programs on this machine or true for everybody"
                    .to_owned(),
            }),
            Anonymous::Loopback | Anonymous::Everybody => {}
        }
    }
}

fn durability_is_for_topics(config: &Config, faults: &mut Vec<Fault>) {
    let limits =
        TopicLimits { max_bytes: config.limits.max_topic_bytes, max_levels: config.limits.max_topic_levels };
    for (at, rule) in config.durability.iter().enumerate() {
        let filter = rule.filter.as_str();
        let message = if at == MAX_DURABILITY_RULES {
            format!(
                "one [[durability]] too many, at most {MAX_DURABILITY_RULES}; put topics together with + and #"
            )
        } else if filter.is_empty() {
            "it is missing; write which topics are meant, such as \"alarms/#\"".to_owned()
        } else if filter.starts_with("$share/") {
            format!(
                "\"{filter}\" is a subscription; no topic begins with $share, so write what comes after the group"
            )
        } else if let Err(error) = TopicFilter::parse(filter, &limits) {
            error.to_string()
        } else {
            continue;
        };
        faults.push(Fault { keys: vec![Path::item("durability", at, "filter")], message });
        if at == MAX_DURABILITY_RULES {
            return;
        }
    }
}
