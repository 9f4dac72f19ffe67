//! The broker's counters, declared once; every name that a monitor may rely on is in this file, or in `tls/telemetry.rs`,
//! `store/telemetry.rs` and `admin/metrics.rs`.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use noctule_core::effects::DropReason;
use noctule_core::engine::{Stats, Volume};
use noctule_core::refusal::Refusal;
use noctule_core::shared::Shared;
use rustix::time::{ClockId, clock_gettime};

/// Messages taken from clients, by `protocol` and `qos`.
const MESSAGES_IN: &str = "noctule_messages_in_total";
/// Messages written to clients, by `protocol` and `qos`.
const MESSAGES_OUT: &str = "noctule_messages_out_total";
/// Payload bytes taken from clients, by `protocol`.
const BYTES_IN: &str = "noctule_payload_bytes_in_total";
/// Payload bytes written to clients, by `protocol`.
const BYTES_OUT: &str = "noctule_payload_bytes_out_total";
/// Messages not delivered, by `reason`.
const DROPPED: &str = "noctule_messages_dropped_total";
/// Connections refused or ended by the broker, by `reason`.
const REFUSED: &str = "noctule_refusals_total";
/// Connections accepted.
const ACCEPTED: &str = "noctule_connections_accepted_total";
/// Connections turned away at the door, by `limit`.
const TURNED_AWAY: &str = "noctule_connections_turned_away_total";
/// Acknowledgements of exchanges that do not exist.
const STRAY_ACKS: &str = "noctule_stray_acks_total";
/// Sessions taken over by a newer connection.
const TAKEOVERS: &str = "noctule_takeovers_total";
/// Wills published.
const WILLS: &str = "noctule_wills_total";
/// Sessions, by `worker`.
const SESSIONS: &str = "noctule_sessions";
/// Clients connected, by `worker`.
const CONNECTED: &str = "noctule_clients_connected";

/// Messages that wait for clients and in groups, by `worker`.
const QUEUED: &str = "noctule_queued_messages";
/// QoS 1 and 2 messages that clients have not acknowledged, by `worker`.
const IN_FLIGHT: &str = "noctule_in_flight_messages";
/// Messages that consumers of queues and shares have not answered for, by `worker`.
const LENT: &str = "noctule_lent_messages";
/// Messages that wait for room in a full queue or at another worker, by `worker`.
const HELD_BACK: &str = "noctule_held_back_messages";
/// Messages that matched a subscription whose client has no right to them.
const WITHHELD: &str = "noctule_messages_withheld_total";
/// Messages that left a queue unconsumed and were published anew.
const DEAD_LETTERS: &str = "noctule_dead_letters_total";
/// Retained messages that have expired.
const EXPIRED_RETAINED: &str = "noctule_retained_expired_total";
/// CPU time of a worker's thread, microseconds, by `worker`.
const WORKER_CPU: &str = "noctule_worker_cpu_microseconds_total";
/// Subscriptions of the whole broker.
const SUBSCRIPTIONS: &str = "noctule_subscriptions";
/// Queues, durable subscriptions and shares that stay without members.
const QUEUES: &str = "noctule_queues";
/// Retained messages.
const RETAINED: &str = "noctule_retained_messages";
/// Bytes that retained messages are charged with.
const RETAINED_BYTES: &str = "noctule_retained_bytes";

/// Memory given out by the allocator, bytes.
const MEMORY: &str = "noctule_memory_bytes";
/// What `server.memory` allows, bytes; 0 for no bound.
const MEMORY_BUDGET: &str = "noctule_memory_budget_bytes";
/// How near the memory is to its budget: 0 far, 1 QoS 0 is dropped for who lags, 2 publishers wait, 3 queues give way.
const OVERLOAD: &str = "noctule_overload";

const QOS: [&str; 3] = ["0", "1", "2"];
const MQTT: &str = "mqtt";
const STOMP: &str = "stomp";

/// Whether somebody records; `metrics` can't be asked.
static RECORDED: AtomicBool = AtomicBool::new(false);

/// Has the brokers of this process pass on once a second what their engines count, from now on.
///
/// To be called by whoever installs a recorder of [`metrics`], which is the process's as well. Before that nothing is
/// gathered, because gathering looks at every session.
pub fn record_metrics() {
    RECORDED.store(true, Relaxed);
}

/// Whether what the engines count is to be passed on.
pub(super) fn is_recorded() -> bool {
    RECORDED.load(Relaxed)
}

/// Tells a recorder what the names mean; without a recorder nothing happens.
pub(super) fn describe() {
    describe_counter!(MESSAGES_IN, Unit::Count, "Messages taken from clients, by protocol and QoS");
    describe_counter!(MESSAGES_OUT, Unit::Count, "Messages written to clients, by protocol and QoS");
    describe_counter!(BYTES_IN, Unit::Bytes, "Payload bytes taken from clients");
    describe_counter!(BYTES_OUT, Unit::Bytes, "Payload bytes written to clients");
    describe_counter!(DROPPED, Unit::Count, "Messages not delivered, by reason");
    describe_counter!(REFUSED, Unit::Count, "Connections refused or ended by the broker, by reason");
    describe_counter!(ACCEPTED, Unit::Count, "Connections accepted");
    describe_counter!(TURNED_AWAY, Unit::Count, "Connections turned away at the door, by limit");
    describe_counter!(STRAY_ACKS, Unit::Count, "Acknowledgements of exchanges that do not exist");
    describe_counter!(TAKEOVERS, Unit::Count, "Sessions taken over by a newer connection");
    describe_counter!(WILLS, Unit::Count, "Wills published");
    describe_gauge!(SESSIONS, Unit::Count, "Sessions, connected or not, by worker");
    describe_gauge!(MEMORY, Unit::Bytes, "Memory given out by the allocator");
    describe_gauge!(
        OVERLOAD,
        Unit::Count,
        "How near the memory is to its budget: 0 far, 1 QoS 0 is dropped for who lags, 2 publishers wait, 3 queues give way"
    );
    describe_gauge!(MEMORY_BUDGET, Unit::Bytes, "What server.memory allows; 0 for no bound");
    describe_gauge!(CONNECTED, Unit::Count, "Clients connected, by worker");
    describe_gauge!(QUEUED, Unit::Count, "Messages that wait for clients and in queues, by worker");
    describe_gauge!(
        IN_FLIGHT,
        Unit::Count,
        "QoS 1 and 2 messages that clients have not acknowledged, by worker"
    );
    describe_gauge!(LENT, Unit::Count, "Messages that consumers have not answered for, by worker");
    describe_gauge!(HELD_BACK, Unit::Count, "Messages that wait for room before they are taken, by worker");
    describe_counter!(WITHHELD, Unit::Count, "Messages that matched a subscription without a right to them");
    describe_counter!(
        DEAD_LETTERS,
        Unit::Count,
        "Messages that left a queue unconsumed and were published anew"
    );
    describe_counter!(EXPIRED_RETAINED, Unit::Count, "Retained messages that have expired");
    describe_counter!(WORKER_CPU, Unit::Microseconds, "CPU time of a worker's thread, by worker");
    describe_gauge!(SUBSCRIPTIONS, Unit::Count, "Subscriptions");
    describe_gauge!(
        QUEUES,
        Unit::Count,
        "Queues, durable subscriptions and shares that stay without members"
    );
    describe_gauge!(RETAINED, Unit::Count, "Retained messages");
    describe_gauge!(RETAINED_BYTES, Unit::Bytes, "Memory that retained messages are charged with");
}

pub(super) fn accepted() {
    counter!(ACCEPTED).increment(1);
}

pub(super) fn turned_away(limit: &'static str) {
    counter!(TURNED_AWAY, "limit" => limit).increment(1);
}

pub(super) fn memory(used: u64, budget: u64, level: u8) {
    gauge!(MEMORY).set(used as f64);
    gauge!(MEMORY_BUDGET).set(budget as f64);
    gauge!(OVERLOAD).set(f64::from(level));
}

/// What all workers have in common.
pub(super) fn shared(shared: &Shared) {
    gauge!(SUBSCRIPTIONS).set(shared.tree.len() as f64);
    gauge!(RETAINED).set(shared.retained.len() as f64);
    gauge!(RETAINED_BYTES).set(shared.retained.bytes() as f64);
}

pub(super) fn refused(refusal: &Refusal) {
    counter!(REFUSED, "reason" => refusal.kind.row().label).increment(1);
}

/// Passes on what an engine has counted since the last time.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    last: Stats,
    last_cpu_us: u64,
}

/// What of that was MQTT's.
fn mqtt(messages: [u64; 3], payload_bytes: u64, stomp: &Volume) -> Volume {
    let mut mqtt = Volume { messages, payload_bytes: payload_bytes.saturating_sub(stomp.payload_bytes) };
    for (count, stomp) in mqtt.messages.iter_mut().zip(stomp.messages) {
        *count = count.saturating_sub(stomp);
    }
    mqtt
}

/// Passes on what has come or gone of a protocol.
fn passed(names: (&'static str, &'static str), protocol: &'static str, now: &Volume, before: &Volume) {
    for ((qos, now), before) in QOS.into_iter().zip(now.messages).zip(before.messages) {
        counter!(names.0, "protocol" => protocol, "qos" => qos).increment(now.saturating_sub(before));
    }
    let bytes = now.payload_bytes.saturating_sub(before.payload_bytes);
    counter!(names.1, "protocol" => protocol).increment(bytes);
}

impl Reporter {
    pub(super) fn report(&mut self, worker: u16, stats: &Stats) {
        let last = std::mem::replace(&mut self.last, *stats);
        let taken = |stats: &Stats| mqtt(stats.messages_in, stats.payload_bytes_in, &stats.stomp_in);
        let written = |stats: &Stats| mqtt(stats.messages_out, stats.payload_bytes_out, &stats.stomp_out);
        passed((MESSAGES_IN, BYTES_IN), MQTT, &taken(stats), &taken(&last));
        passed((MESSAGES_IN, BYTES_IN), STOMP, &stats.stomp_in, &last.stomp_in);
        passed((MESSAGES_OUT, BYTES_OUT), MQTT, &written(stats), &written(&last));
        passed((MESSAGES_OUT, BYTES_OUT), STOMP, &stats.stomp_out, &last.stomp_out);
        for reason in DropReason::ALL {
            let dropped = stats.dropped(reason) - last.dropped(reason);
            counter!(DROPPED, "reason" => reason.label()).increment(dropped);
        }
        let counted = [
            (STRAY_ACKS, stats.stray_acks, last.stray_acks),
            (TAKEOVERS, stats.takeovers, last.takeovers),
            (WILLS, stats.wills, last.wills),
            (WITHHELD, stats.withheld, last.withheld),
            (DEAD_LETTERS, stats.dead_letters, last.dead_letters),
            (EXPIRED_RETAINED, stats.expired_retained, last.expired_retained),
        ];
        for (name, now, before) in counted {
            counter!(name).increment(now - before);
        }
        let label = worker.to_string();
        let moment = [
            (SESSIONS, stats.sessions),
            (CONNECTED, stats.connected),
            (QUEUED, stats.queued),
            (IN_FLIGHT, stats.in_flight),
            (LENT, stats.loans),
            (HELD_BACK, stats.parked + stats.throttled),
        ];
        for (name, value) in moment {
            gauge!(name, "worker" => label.clone()).set(value as f64);
        }
        if worker == 0 {
            // It alone tells of them, for all.
            gauge!(QUEUES).set(stats.queues as f64);
        }
        let cpu_us = thread_cpu_us();
        counter!(WORKER_CPU, "worker" => label).increment(cpu_us.saturating_sub(self.last_cpu_us));
        self.last_cpu_us = cpu_us;
    }
}

/// CPU time of this thread, µs.
fn thread_cpu_us() -> u64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is ever below zero.
    (spent.tv_sec as u64).saturating_mul(1_000_000).saturating_add(spent.tv_nsec as u64 / 1_000)
}
