//! Every key that Mosquitto has known from 1.0 to 2.0, whose it is, and what becomes of those without a counterpart.

use super::ledger::Fate;
use super::lines::Line;

/// Keys of the whole broker that are taken over, or whose values decide about it.
const BROKER: &[&str] = &[
    "autosave_interval",
    "autosave_on_changes",
    "allow_duplicate_messages",
    "check_retain_source",
    "include_dir",
    "log_type",
    "log_dest",
    "max_inflight_messages",
    "max_keepalive",
    "max_packet_size",
    "max_queued_bytes",
    "max_queued_messages",
    "memory_limit",
    "message_size_limit",
    "per_listener_settings",
    "persistence",
    "persistence_file",
    "persistence_location",
    "persistent_client_expiration",
    "queue_qos0_messages",
    "retain_available",
    "set_tcp_nodelay",
    "sys_interval",
    "upgrade_outgoing_qos",
    "global_max_connections",
    "global_max_clients",
];

/// Keys of the listener above them, or of the default listener.
const LISTENER: &[&str] = &[
    "bind_address",
    "bind_interface",
    "cafile",
    "capath",
    "certfile",
    "crlfile",
    "http_dir",
    "keyfile",
    "listener",
    "max_connections",
    "max_qos",
    "max_topic_alias",
    "mount_point",
    "port",
    "protocol",
    "psk_hint",
    "require_certificate",
    "socket_domain",
    "tls_version",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
    "websockets_origin",
];

/// Keys of the listener above them with `per_listener_settings true`, else of the whole broker.
const SECURITY: &[&str] = &[
    "acl_file",
    "allow_anonymous",
    "allow_zero_length_clientid",
    "auth_plugin",
    "auto_id_prefix",
    "password_file",
    "plugin",
    "psk_file",
];

/// Keys that no value makes mean anything here.
const WITHOUT: &[(&str, bool, &str)] = &[
    // (key, whether somebody has to do something, what)
    ("auth_plugin_deny_special_chars", false, "names with + or # are never put into a topic here"),
    ("ciphers", false, "only ciphers without known weakness are spoken"),
    ("ciphers_tls1.3", false, "only ciphers without known weakness are spoken"),
    (
        "clientid_prefixes",
        true,
        "not checked at CONNECT; allow in [[acl]] what clients = [\"PREFIX*\"] may do, and nothing else",
    ),
    ("connection_messages", false, "log.level \"debug\" has every connection"),
    ("dhparamfile", false, "keys are agreed on by elliptic curves alone"),
    ("log_facility", false, "the log goes to standard error, which the journal keeps"),
    ("log_timestamp", false, "each line has its time"),
    ("log_timestamp_format", false, "the time is as RFC 3339 has it"),
    ("max_inflight_bytes", false, "limits.out_buffer bounds what waits for a client's socket"),
    ("pid_file", false, "systemd needs none"),
    ("retained_persistence", false, "retained messages are as durable as the others"),
    ("retry_interval", false, "messages are sent again when the client comes back, never before"),
    ("store_clean_interval", false, "the store cleans itself up"),
    ("tls_engine", true, "keys are read from files; name one in certificates"),
    ("tls_engine_kpass_sha1", true, "keys are read from files; name one in certificates"),
    ("tls_keyform", true, "keys are read from PEM files; name one in certificates"),
    ("user", false, "the broker runs as whoever starts it; with systemd that is User="),
    ("websockets_headers_size", false, "how long a request may be is bounded by the broker itself"),
    ("websockets_log_level", false, "log.level \"debug\" has failed handshakes"),
];

/// Keys of bridges; before any `connection` they are a mistake.
const BRIDGE: &[&str] = &[
    "address",
    "addresses",
    "cleansession",
    "clientid",
    "connection",
    "idle_timeout",
    "keepalive_interval",
    "local_cleansession",
    "local_clientid",
    "local_password",
    "local_username",
    "notification_topic",
    "notifications",
    "notifications_local_only",
    "password",
    "remote_clientid",
    "remote_password",
    "remote_username",
    "restart_timeout",
    "round_robin",
    "start_type",
    "threshold",
    "topic",
    "try_private",
    "username",
];

/// Values that are nobody's to read.
const SECRETS: &[&str] =
    &["password", "remote_password", "local_password", "bridge_psk", "tls_engine_kpass_sha1"];

/// Whose a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Broker,
    Listener,
    Security,
    /// A plugin's: `plugin_opt_NAME`.
    Plugin,
    Bridge,
    /// Nobody's here.
    Without,
}

pub(super) fn owner(key: &str) -> Option<Owner> {
    let is_option = |prefix| key.strip_prefix(prefix).is_some_and(|name: &str| !name.is_empty());
    if BROKER.contains(&key) {
        Some(Owner::Broker)
    } else if LISTENER.contains(&key) {
        Some(Owner::Listener)
    } else if SECURITY.contains(&key) {
        Some(Owner::Security)
    } else if without(key).is_some() {
        Some(Owner::Without)
    } else if BRIDGE.contains(&key) || key.starts_with("bridge_") {
        Some(Owner::Bridge)
    } else if is_option("plugin_opt_") || is_option("auth_opt_") {
        Some(Owner::Plugin)
    } else {
        None
    }
}

/// What becomes of a key that means nothing here.
pub(super) fn without(key: &str) -> Option<Fate> {
    let (_, is_missed, why) = WITHOUT.iter().find(|(known, ..)| *known == key)?;
    Some(if *is_missed { Fate::Lost((*why).to_owned()) } else { Fate::Moot((*why).to_owned()) })
}

/// Every key with a name of its own.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let without = WITHOUT.iter().map(|(known, ..)| *known);
    [BROKER, LISTENER, SECURITY, BRIDGE].into_iter().flatten().copied().chain(without)
}

/// What is said about a key that there is not.
pub(super) fn unknown(key: &str) -> String {
    let allowed = (key.chars().count() / 3).max(1);
    let nearest = all()
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min();
    match nearest {
        _ if key.starts_with('#') => {
            "a comment begins at the very start of its line; take out the blanks before the #".to_owned()
        }
        Some((_, near)) => format!("Mosquitto has no key {key:?}; did you mean {near}?"),
        None => {
            format!("Mosquitto has no key {key:?}, up to version 2.0; take the line out to go on without it")
        }
    }
}

/// A line as it may be shown.
pub(super) fn shown(line: &Line) -> String {
    let is_secret = SECRETS.contains(&line.key.as_str())
        || (line.key.contains("_opt_") && (line.key.contains("pass") || line.key.contains("secret")));
    if is_secret { format!("{} …", line.key) } else { line.text() }
}
