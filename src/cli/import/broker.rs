//! The lines about the whole broker: store, limits and log.

use std::path::Path;

use super::draft::{self, Draft};
use super::ledger::{Fate, Ledger};
use super::parts::Parts;

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;

/// Largest packet that MQTT knows.
const MAX_PACKET: i64 = 256 * MIB;

/// Room for topic and properties beside a payload.
const ENVELOPE: i64 = 2 * KIB;

/// What fits every queue by default.
const QUEUE_BYTES: i64 = 8 * MIB;

/// Most that a key of bytes takes.
const MAX_BYTES: i64 = 1 << 40;

/// Adds what the lines say, and says what has become of them.
pub(super) fn convert(parts: &Parts, draft: &mut Draft, ledger: &mut Ledger) {
    let lines = &parts.broker;
    if let Some(at) = ledger.last(lines, "per_listener_settings") {
        let fate = match ledger.flag(at) {
            Some(true) => Fate::Other(
                "users and rules are for all listeners; each says who comes in with anonymous and auth"
                    .to_owned(),
            ),
            _ => Fate::Same("users and rules are for all listeners".to_owned()),
        };
        ledger.set(at, fate);
    }
    store(lines, draft, ledger);
    sizes(lines, draft, ledger);
    counts(lines, draft, ledger);
    times(lines, draft, ledger);
    flags(lines, draft, ledger);
    log(lines, draft, ledger);
}

fn store(lines: &[usize], draft: &mut Draft, ledger: &mut Ledger) {
    let persistence = ledger.last(lines, "persistence");
    let is_kept = persistence.and_then(|at| Some((at, ledger.flag(at)?)));
    if let Some((at, is_kept)) = is_kept {
        let (mode, what) = if is_kept {
            ("\"always\"", "store.durability: what is acknowledged is on the disk, not only every half hour")
        } else {
            ("\"never\"", "store.durability \"never\"")
        };
        draft.store.put(ledger.source(at), "durability", mode);
        ledger.set(at, if is_kept { Fate::Other(what.to_owned()) } else { Fate::Same(what.to_owned()) });
    }
    let is_off = is_kept.is_some_and(|(_, is_kept)| !is_kept);
    if let Some(at) = ledger.last(lines, "persistence_location")
        && let Some(place) = ledger.text(at)
    {
        let beside = Path::new(&place).parent().map(|parent| parent.join("noctule"));
        let directory = beside.map_or_else(|| "noctule".to_owned(), |path| path.display().to_string());
        if is_off {
            ledger.set(at, Fate::Moot("with persistence false nothing is stored".to_owned()));
        } else {
            draft.server.put(ledger.source(at), "data_dir", draft::quoted(&directory));
            let what =
                format!("server.data_dir {directory:?}, a directory of its own: mosquitto.db is not read");
            ledger.set(at, Fate::Other(what));
        }
    }
    for (key, why) in [
        ("persistence_file", "the store's file has a name of its own"),
        (
            "autosave_interval",
            "nothing waits for a time to be saved; store.durability \"interval\" does, to spare flash",
        ),
        (
            "autosave_on_changes",
            "nothing waits for changes to be saved; store.durability \"interval\" does, to spare flash",
        ),
    ] {
        if let Some(at) = ledger.last(lines, key) {
            let _ = ledger.text(at);
            ledger.set(at, Fate::Moot(why.to_owned()));
        }
    }
}

fn sizes(lines: &[usize], draft: &mut Draft, ledger: &mut Ledger) {
    let packet =
        ledger.last(lines, "max_packet_size").and_then(|at| Some((at, ledger.number(at, 20..=MAX_BYTES)?)));
    let payload = ledger.last(lines, "message_size_limit").and_then(|at| {
        let bytes = ledger.number(at, 0..=MAX_BYTES)?;
        let bytes = if bytes == 0 { MAX_PACKET } else { bytes };
        ledger.set(at, Fate::Other("limits.max_packet_size counts topic and properties as well; a client that sends more is disconnected".to_owned()));
        Some((at, bytes.saturating_add(ENVELOPE)))
    });
    if let Some((at, bytes)) = packet {
        let fate = if (KIB..=MAX_PACKET).contains(&bytes) {
            Fate::Same("limits.max_packet_size".to_owned())
        } else {
            Fate::Other("limits.max_packet_size, which is from 1KiB to 256MiB".to_owned())
        };
        ledger.set(at, fate);
    }
    let least = [packet, payload].into_iter().flatten().min_by_key(|(_, bytes)| *bytes);
    // A body of STOMP may have 1 MiB by default, and every queue has to hold one.
    let mut largest = MIB;
    if let Some((at, bytes)) = least {
        let bytes = bytes.clamp(KIB, MAX_PACKET);
        largest = largest.max(bytes);
        draft.limits.put(ledger.source(at), "max_packet_size", size(bytes));
        if bytes > QUEUE_BYTES {
            draft.limits.put("room for the largest packet", "max_queued_bytes", size(bytes));
            draft.queues.put("room for the largest packet", "max_bytes", size(bytes));
        }
    }
    if let Some(at) = ledger.last(lines, "max_queued_bytes")
        && let Some(bytes) = ledger.number(at, 0..=MAX_BYTES)
    {
        let fate = if bytes == 0 {
            Fate::Other(
                "a client's queue has a bound always; limits.max_queued_bytes stays as it is".to_owned(),
            )
        } else {
            let most = bytes.clamp(largest, 16 << 30);
            draft.limits.put(ledger.source(at), "max_queued_bytes", size(most));
            newest(draft);
            if most == bytes {
                Fate::Same("limits.max_queued_bytes, and delivery.overflow \"drop-newest\"".to_owned())
            } else {
                Fate::Other(format!(
                    "limits.max_queued_bytes {}, because the largest message has to fit",
                    size(most)
                ))
            }
        };
        ledger.set(at, fate);
    }
    if let Some(at) = ledger.last(lines, "memory_limit")
        && let Some(bytes) = ledger.number(at, 0..=MAX_BYTES)
    {
        draft.server.put(ledger.source(at), "memory", size(bytes));
        let what = "server.memory: near it QoS 0 is dropped, at it those who publish have to wait; nobody is disconnected";
        ledger.set(at, Fate::Other(what.to_owned()));
    }
}

/// Mosquitto drops what no longer fits.
fn newest(draft: &mut Draft) {
    draft.delivery.put("as Mosquitto does when a client's queue is full", "overflow", "\"drop-newest\"");
}

fn counts(lines: &[usize], draft: &mut Draft, ledger: &mut Ledger) {
    if let Some(at) = ledger.last(lines, "max_inflight_messages")
        && let Some(count) = ledger.number(at, 0..=65_535)
    {
        let most = if count == 0 { 65_535 } else { count }.to_string();
        draft.limits.put(ledger.source(at), "max_inflight", most.clone());
        draft.limits.put("the same in the other direction", "receive_maximum", most);
        ledger.set(at, Fate::Same("limits.max_inflight and limits.receive_maximum".to_owned()));
    }
    if let Some(at) = ledger.last(lines, "max_queued_messages")
        && let Some(count) = ledger.number(at, 0..=i64::from(i32::MAX))
    {
        const MOST: i64 = 10_000_000;
        let most = if count == 0 { MOST } else { count.min(MOST) };
        draft.limits.put(ledger.source(at), "max_queued_messages", most.to_string());
        newest(draft);
        let fate = if count == most {
            Fate::Same("limits.max_queued_messages, and delivery.overflow \"drop-newest\"".to_owned())
        } else {
            Fate::Other(format!(
                "limits.max_queued_messages has a bound always: {MOST}; limits.max_queued_bytes bounds it before"
            ))
        };
        ledger.set(at, fate);
    }
    for key in ["global_max_connections", "global_max_clients"] {
        if let Some(at) = ledger.last(lines, key)
            && let Some(count) = ledger.number(at, -1..=1_000_000)
        {
            let fate = if count <= 0 {
                Fate::Other("there is a bound always: limits.max_connections stays as it is".to_owned())
            } else {
                draft.limits.put(ledger.source(at), "max_connections", count.to_string());
                Fate::Same("limits.max_connections".to_owned())
            };
            ledger.set(at, fate);
        }
    }
}

fn times(lines: &[usize], draft: &mut Draft, ledger: &mut Ledger) {
    if let Some(at) = ledger.last(lines, "max_keepalive")
        && let Some(seconds) = ledger.number(at, 1..=65_535)
    {
        draft.limits.put(ledger.source(at), "max_keep_alive", format!("\"{seconds}s\""));
        ledger.set(at, Fate::Same("limits.max_keep_alive".to_owned()));
    }
    if let Some(at) = ledger.last(lines, "persistent_client_expiration")
        && let Some(text) = ledger.text(at)
    {
        match hours(&text) {
            Some(hours) => {
                const MOST: u64 = 49_710 * 24;
                draft.limits.put(ledger.source(at), "max_session_expiry", period(hours.min(MOST)));
                ledger.set(
                    at,
                    Fate::Same("limits.max_session_expiry, for clients of MQTT 5 as well".to_owned()),
                );
            }
            None => {
                let message = format!(
                    "persistent_client_expiration {text:?} is not a number with h, d, w, m or y behind it, as in 14d"
                );
                ledger.wrong(at, message);
            }
        }
    }
    if let Some(at) = ledger.last(lines, "sys_interval") {
        let _ = ledger.number(at, 0..=i64::from(i32::MAX));
        ledger.set(
            at,
            Fate::Moot("how often $SYS is told can't be chosen; deny it in [[acl]] to hide it".to_owned()),
        );
    }
}

/// Hours, a month being 30 days and a year 365, as Mosquitto counts.
fn hours(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let factor = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 7 * 24,
        'm' => 30 * 24,
        'y' => 365 * 24,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn period(hours: u64) -> String {
    if hours.is_multiple_of(24) && hours > 0 {
        format!("\"{}d\"", hours / 24)
    } else {
        format!("\"{hours}h\"")
    }
}

fn size(bytes: i64) -> String {
    let bytes = u64::try_from(bytes).unwrap_or_default();
    format!("\"{}\"", crate::config::Size::from_bytes(bytes))
}

/// Flags of which one value is as it is here anyway.
fn flags(lines: &[usize], draft: &mut Draft, ledger: &mut Ledger) {
    let (same, moot, lost) = (
        |text: &str| Fate::Same(text.to_owned()),
        |text: &str| Fate::Moot(text.to_owned()),
        |text: &str| Fate::Lost(text.to_owned()),
    );
    let all: [(&str, [Fate; 2]); 6] = [
        // (key, [if true, if false])
        (
            "allow_duplicate_messages",
            [
                moot("how often overlapping subscriptions deliver can't be chosen"),
                moot("how often overlapping subscriptions deliver can't be chosen"),
            ],
        ),
        (
            "check_retain_source",
            [
                moot(
                    "whoever is delivered a retained message has to have the right to it; who published it is not asked again",
                ),
                same("who published a retained message is not asked again"),
            ],
        ),
        (
            "queue_qos0_messages",
            [
                lost("QoS 0 is never kept for a client that is away; publish at QoS 1"),
                same("QoS 0 is not kept for a client that is away"),
            ],
        ),
        (
            "retain_available",
            [same("retained messages are served"), same("limits.max_retained_messages = 0")],
        ),
        (
            "set_tcp_nodelay",
            [same("it always is"), moot("it always is set; what is written in one turn goes out together")],
        ),
        (
            "upgrade_outgoing_qos",
            [
                lost("no message is delivered at a higher QoS than it was published at"),
                same("QoS is not raised"),
            ],
        ),
    ];
    for (key, [if_true, if_false]) in all {
        if let Some(at) = ledger.last(lines, key)
            && let Some(flag) = ledger.flag(at)
        {
            if key == "retain_available" && !flag {
                draft.limits.put(ledger.source(at), "max_retained_messages", "0");
            }
            ledger.set(at, if flag { if_true } else { if_false });
        }
    }
}

fn log(lines: &[usize], draft: &mut Draft, ledger: &mut Ledger) {
    for at in ledger.every(lines, "log_dest") {
        let place = ledger.text(at).unwrap_or_default();
        let fate = match place.split(' ').next().unwrap_or_default() {
            "stderr" => Fate::Same("the log goes to standard error".to_owned()),
            "topic" => Fate::Lost(
                "the log is not published; it goes to standard error, which the journal keeps".to_owned(),
            ),
            "stdout" | "syslog" | "file" | "dlt" | "none" => {
                Fate::Moot("the log goes to standard error, which the journal keeps".to_owned())
            }
            _ => {
                ledger.wrong(
                    at,
                    format!(
                        "log_dest {place:?} is none of stdout, stderr, syslog, topic, file, dlt and none"
                    ),
                );
                continue;
            }
        };
        ledger.set(at, fate);
    }
    // From the least talkative.
    const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];
    let mut most: Option<(usize, usize)> = None;
    for at in ledger.every(lines, "log_type") {
        let name = ledger.text(at).unwrap_or_default();
        let level = match &*name {
            "none" | "error" => 0,
            "warning" => 1,
            "notice" | "information" => 2,
            "all" | "debug" | "subscribe" | "unsubscribe" | "websockets" => 3,
            _ => {
                let known = "debug, error, warning, notice, information, subscribe, unsubscribe, websockets, none and all";
                ledger.wrong(at, format!("log_type {name:?} is none of {known}"));
                continue;
            }
        };
        ledger.set(at, Fate::Same("log.level, the most talkative of all log_type".to_owned()));
        if most.is_none_or(|(known, _)| level > known) {
            most = Some((level, at));
        }
    }
    if let Some((level, at)) = most {
        let word = LEVELS.get(level).copied().unwrap_or("info");
        draft.log.put(ledger.source(at), "level", draft::quoted(word));
    }
}
