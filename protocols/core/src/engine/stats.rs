//! What an engine counts; the shell turns it into metrics.

use crate::effects::DropReason;
use crate::id::Qos;

/// Messages, and what they carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Messages, by QoS.
    pub messages: [u64; 3],
    /// Payload bytes.
    pub payload_bytes: u64,
}

impl Volume {
    /// Counts one more.
    pub(super) fn count(&mut self, qos: Qos, payload_bytes: usize) {
        if let Some(counter) = self.messages.get_mut(usize::from(qos.level())) {
            *counter += 1;
        }
        self.payload_bytes += payload_bytes as u64;
    }
}

/// Counters since the start and gauges of the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages accepted from clients, by QoS.
    pub messages_in: [u64; 3],
    /// Payload bytes accepted from clients.
    pub payload_bytes_in: u64,
    /// Messages written to clients, by QoS; retransmissions count again.
    pub messages_out: [u64; 3],
    /// Payload bytes written to clients.
    pub payload_bytes_out: u64,
    /// What of that STOMP clients have sent.
    pub stomp_in: Volume,
    /// What of that was written to STOMP clients.
    pub stomp_out: Volume,
    /// Messages not delivered, by [`DropReason`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Messages that matched a subscription whose subscriber has no right to them. Nobody has lost anything; what had
    /// waited for one who has lost the right is dropped, and counted there.
    pub withheld: u64,
    /// Acknowledgements of exchanges that do not exist.
    pub stray_acks: u64,
    /// Sessions taken over by a newer connection.
    pub takeovers: u64,
    /// Wills published.
    pub wills: u64,
    /// Retained messages removed because they had expired.
    pub expired_retained: u64,
    /// Messages that left a queue unconsumed and were published anew.
    pub dead_letters: u64,
    /// Queues, durable subscriptions and shares that stay without members, of the whole broker, told by the first worker.
    pub queues: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Sessions with a connection.
    pub connected: u64,
    /// Messages waiting in sessions' queues and groups.
    pub queued: u64,
    /// Outbound exchanges of QoS 1 and 2 that are not over.
    pub in_flight: u64,
    /// Shared messages whose outcome a member still owes.
    pub loans: u64,
    /// Publications that wait for room at another worker.
    pub parked: u64,
    /// Messages of STOMP that wait for room in a full group, and are not accepted yet.
    pub throttled: u64,
    /// Answers and packets that wait for the store or for another worker.
    pub awaited: u64,
    /// Mail to other workers for which no credit has come back.
    pub mail_out: i64,
    /// Mail of other workers for which no credit was given back.
    pub mail_in: i64,
}

impl Stats {
    /// Messages dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or_default()
    }
}
