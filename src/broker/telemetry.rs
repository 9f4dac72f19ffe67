//! The broker's counters, declared once; every name that a monitor may rely on is in this file.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use noctule_core::effects::DropReason;
use noctule_core::engine::Stats;
use noctule_core::refusal::Refusal;

/// Messages taken from clients, by `qos`.
const MESSAGES_IN: &str = "noctule_messages_in_total";
/// Messages written to clients, by `qos`.
const MESSAGES_OUT: &str = "noctule_messages_out_total";
/// Payload bytes taken from clients.
const BYTES_IN: &str = "noctule_payload_bytes_in_total";
/// Payload bytes written to clients.
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

/// Memory given out by the allocator, bytes.
const MEMORY: &str = "noctule_memory_bytes";
/// How near the memory is to its budget: 0 far, 1 QoS 0 is dropped for who lags, 2 publishers wait, 3 queues give way.
const OVERLOAD: &str = "noctule_overload";

const QOS: [&str; 3] = ["0", "1", "2"];

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
    describe_counter!(MESSAGES_IN, Unit::Count, "Messages taken from clients, by QoS");
    describe_counter!(MESSAGES_OUT, Unit::Count, "Messages written to clients, by QoS");
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
    describe_gauge!(CONNECTED, Unit::Count, "Clients connected, by worker");
}

pub(super) fn accepted() {
    counter!(ACCEPTED).increment(1);
}

pub(super) fn turned_away(limit: &'static str) {
    counter!(TURNED_AWAY, "limit" => limit).increment(1);
}

pub(super) fn memory(used: u64, level: u8) {
    gauge!(MEMORY).set(used as f64);
    gauge!(OVERLOAD).set(f64::from(level));
}

pub(super) fn refused(refusal: &Refusal) {
    counter!(REFUSED, "reason" => refusal.kind.row().label).increment(1);
}

/// Passes on what an engine has counted since the last time.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    last: Stats,
}

impl Reporter {
    pub(super) fn report(&mut self, worker: u16, stats: &Stats) {
        let last = std::mem::replace(&mut self.last, *stats);
        for ((qos, now), before) in QOS.into_iter().zip(stats.messages_in).zip(last.messages_in) {
            counter!(MESSAGES_IN, "qos" => qos).increment(now - before);
        }
        for ((qos, now), before) in QOS.into_iter().zip(stats.messages_out).zip(last.messages_out) {
            counter!(MESSAGES_OUT, "qos" => qos).increment(now - before);
        }
        for reason in DropReason::ALL {
            let dropped = stats.dropped(reason) - last.dropped(reason);
            counter!(DROPPED, "reason" => reason.label()).increment(dropped);
        }
        counter!(BYTES_IN).increment(stats.payload_bytes_in - last.payload_bytes_in);
        counter!(BYTES_OUT).increment(stats.payload_bytes_out - last.payload_bytes_out);
        counter!(STRAY_ACKS).increment(stats.stray_acks - last.stray_acks);
        counter!(TAKEOVERS).increment(stats.takeovers - last.takeovers);
        counter!(WILLS).increment(stats.wills - last.wills);
        let worker = worker.to_string();
        gauge!(SESSIONS, "worker" => worker.clone()).set(stats.sessions as f64);
        gauge!(CONNECTED, "worker" => worker).set(stats.connected as f64);
    }
}
