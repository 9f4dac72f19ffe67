//! What no single key can know: keys that contradict each other, and listeners that would be open by accident.

mod admin;
mod listeners;
mod security;

use noctule_core::topic::{TopicFilter, TopicLimits, TopicName};

use super::place::Path;
use super::{Config, Overflow, Period};

/// Most `[[durability]]`: each is compared with the topics of messages until one matches.
const MAX_DURABILITY_RULES: usize = 64;

/// Shortest silence that means anything on a network.
const LEAST_SILENCE: Period = Period::from_secs(1);

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
    queues_hold_a_message(config, &mut faults);
    queues_have_nobody_to_disconnect(config, &mut faults);
    dead_letters_have_a_name(config, &mut faults);
    transactions_hold_a_message(config, &mut faults);
    prefetch_is_allowed(config, &mut faults);
    silences_are_long_enough(config, &mut faults);
    listeners::faults(config, &mut faults);
    admin::faults(config, &mut faults);
    security::faults(config, &mut faults);
    durability_is_for_topics(config, &mut faults);
    faults
}

/// What may be sent must have room where it may have to wait.
fn queues_hold_a_message(config: &Config, faults: &mut Vec<Fault>) {
    let (limits, queues) = (&config.limits, &config.queues);
    let rooms = [
        ("limits", "max_queued_bytes", "max_queued_bytes", limits.max_queued_bytes),
        ("queues", "max_bytes", "queues.max_bytes", queues.max_bytes),
    ];
    let messages = [
        ("limits", "max_packet_size", limits.max_packet_size, "packet"),
        ("stomp", "max_body", config.stomp.max_body, "body"),
    ];
    for (room_section, room_key, room_name, room) in rooms {
        for (section, key, size, what) in messages {
            if room < size {
                faults.push(Fault {
                    keys: vec![Path::key(room_section, room_key), Path::key(section, key)],
                    message: format!(
                        "a {what} of {key} = \"{size}\" would be accepted and then fit no queue of \
                         {room_name} = \"{room}\"; make {room_name} at least as large"
                    ),
                });
            }
        }
    }
}

fn queues_have_nobody_to_disconnect(config: &Config, faults: &mut Vec<Fault>) {
    if config.queues.overflow == Overflow::Disconnect {
        faults.push(Fault {
            keys: vec![Path::key("queues", "overflow")],
            message: "\"disconnect\" is for the queue of one client, and this one is everybody's; write \"refuse\", \
                      \"drop-oldest\" or \"drop-newest\""
                .to_owned(),
        });
    }
}

/// A queue and its dead letters must not be one, and the latter's name has to be one.
fn dead_letters_have_a_name(config: &Config, faults: &mut Vec<Fault>) {
    let prefix = config.queues.dead_letter_prefix.as_str();
    let name = format!("$queue/{prefix}a");
    let limits =
        TopicLimits { max_bytes: config.limits.max_topic_bytes, max_levels: config.limits.max_topic_levels };
    let message = if prefix.is_empty() {
        "without it a queue's dead letters would go back into that queue; write one such as \"DLQ.\""
            .to_owned()
    } else if let Err(error) = TopicName::parse(&name, &limits) {
        format!("no queue can have a name that begins so: {error}")
    } else {
        return;
    };
    faults.push(Fault { keys: vec![Path::key("queues", "dead_letter_prefix")], message });
}

/// What may be sent may be sent in a transaction, where its head and our book-keeping count as well.
fn transactions_hold_a_message(config: &Config, faults: &mut Vec<Fault>) {
    let (room, body) = (config.stomp.max_transaction_bytes, config.stomp.max_body);
    if config.stomp.max_transactions > 0 && room <= body {
        faults.push(Fault {
            keys: vec![Path::key("stomp", "max_transaction_bytes"), Path::key("stomp", "max_body")],
            message: format!(
                "a body of max_body = \"{body}\" could be sent, but in no transaction of max_transaction_bytes = \"{room}\", \
                 where its headers count as well; make max_transaction_bytes larger, or allow none with \
                 max_transactions = 0"
            ),
        });
    }
}

fn prefetch_is_allowed(config: &Config, faults: &mut Vec<Fault>) {
    let (prefetch, most) = (config.stomp.prefetch, config.stomp.max_prefetch);
    if prefetch > most {
        faults.push(Fault {
            keys: vec![Path::key("stomp", "prefetch"), Path::key("stomp", "max_prefetch")],
            message: format!(
                "a subscription that does not say would have prefetch = {prefetch}, and none may have more than \
                 max_prefetch = {most}; make max_prefetch at least as large"
            ),
        });
    }
}

fn silences_are_long_enough(config: &Config, faults: &mut Vec<Fault>) {
    for (section, key, silence) in [
        ("stomp", "heart_beat", config.stomp.heart_beat),
        ("stomp", "idle_timeout", config.stomp.idle_timeout),
        ("queues", "ack_deadline", config.queues.ack_deadline),
    ] {
        if silence != Period::default() && silence < LEAST_SILENCE {
            faults.push(Fault {
                keys: vec![Path::key(section, key)],
                message: format!(
                    "\"{silence}\" is shorter than networks pause by themselves; write \"{LEAST_SILENCE}\" or more, or \
                     \"0s\" for none"
                ),
            });
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
