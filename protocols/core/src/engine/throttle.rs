//! Publishers that are not read because a queue they have sent to is full.
//!
//! MQTT is told, message by message; a STOMP client could only be disconnected. So what it has sent is taken, and no
//! more is read from it until the queue has room again, or, if that takes too long, never.

use std::sync::Arc;

use super::{Engine, Timer};
use crate::effects::{Effect, Effects, PeerMsg};
use crate::hash::{Map, Seed, Set};
use crate::id::{ConnId, Now, WorkerId};
use crate::refusal::Kind;
use crate::trie::GroupKey;

/// Who waits for what.
#[derive(Debug)]
pub(super) struct Throttled {
    /// The queues, each with the monotonic ms at which the wait is over.
    by_conn: Map<ConnId, Vec<(Arc<GroupKey>, u64)>>,
    by_queue: Map<Arc<GroupKey>, Set<ConnId>>,
    seed: Seed,
}

impl Throttled {
    pub(super) fn new(seed: &Seed) -> Self {
        Self {
            by_conn: Map::with_hasher(seed.derive(1)),
            by_queue: Map::with_hasher(seed.derive(2)),
            seed: seed.derive(3),
        }
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_conn.is_empty() && self.by_queue.is_empty()
    }

    /// False if it waits for that queue already.
    fn add(&mut self, conn: ConnId, key: &Arc<GroupKey>, until_ms: u64) -> bool {
        let seed = &self.seed;
        let conns = self.by_queue.entry(Arc::clone(key)).or_insert_with(|| Set::with_hasher(seed.clone()));
        let is_new = conns.insert(conn);
        if is_new {
            self.by_conn.entry(conn).or_default().push((Arc::clone(key), until_ms));
        }
        is_new
    }

    /// Those that have waited for `key`.
    fn release(&mut self, key: &Arc<GroupKey>) -> Vec<ConnId> {
        let conns: Vec<_> = self.by_queue.remove(key).into_iter().flatten().collect();
        for conn in &conns {
            if let Some(queues) = self.by_conn.get_mut(conn) {
                queues.retain(|(queue, _)| queue != key);
                if queues.is_empty() {
                    self.by_conn.remove(conn);
                }
            }
        }
        conns
    }

    fn forget(&mut self, conn: ConnId) {
        for (key, _) in self.by_conn.remove(&conn).unwrap_or_default() {
            if let Some(conns) = self.by_queue.get_mut(&key) {
                conns.remove(&conn);
                if conns.is_empty() {
                    self.by_queue.remove(&key);
                }
            }
        }
    }

    /// The queue that a connection has waited for too long, or when that will be so.
    fn overdue(&self, conn: ConnId, now_ms: u64) -> Option<Result<Arc<GroupKey>, u64>> {
        let (key, until_ms) = self.by_conn.get(&conn)?.iter().min_by_key(|(_, until_ms)| *until_ms)?;
        Some(if *until_ms <= now_ms { Ok(Arc::clone(key)) } else { Err(*until_ms) })
    }
}

impl Engine {
    /// Reads nothing more from a publisher until the queue has room.
    pub(super) fn throttle(&mut self, now: Now, conn: ConnId, key: &Arc<GroupKey>, fx: &mut Effects) {
        if self.session_slot(conn).is_none() {
            return;
        }
        let until_ms = now.mono_ms + self.policy.limits.refuse_timeout_ms;
        let is_first = !self.throttled.by_conn.contains_key(&conn);
        if !self.throttled.add(conn, key, until_ms) {
            return;
        }
        self.pause_reads(conn, fx);
        if is_first {
            self.arm(until_ms, Timer::Throttle(conn));
        }
    }

    /// A group has room again, or is no more: whoever waits for it anywhere is read again.
    pub(super) fn tell_uncongested(&mut self, now: Now, key: &Arc<GroupKey>, fx: &mut Effects) {
        for worker in (0..self.shared.workers()).map(WorkerId).filter(|&worker| worker != self.id) {
            fx.push(Effect::Peer(worker, PeerMsg::Uncongested(Arc::clone(key))));
        }
        self.uncongested(now, key, fx);
    }

    /// A queue that publishers here had to wait for has room again.
    pub(super) fn uncongested(&mut self, now: Now, key: &Arc<GroupKey>, fx: &mut Effects) {
        for conn in self.throttled.release(key) {
            self.resume_reads(now, conn, fx);
        }
    }

    /// A publisher has waited as long as it may, or is no more.
    pub(super) fn throttle_due(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        if self.session_slot(conn).is_none() {
            return self.throttled.forget(conn);
        }
        match self.throttled.overdue(conn, now.mono_ms) {
            None => {}
            Some(Err(until_ms)) => self.arm(until_ms, Timer::Throttle(conn)),
            Some(Ok(key)) => {
                self.throttled.forget(conn);
                let detail = self.full_detail(&key);
                self.refuse(now, conn, Kind::QuotaExceeded, detail, fx);
            }
        }
    }

    /// What a publisher is told that has waited for a full queue in vain.
    fn full_detail(&self, key: &GroupKey) -> String {
        let (messages, bytes, mend) = self.capacity_of(key);
        let timeout_ms = self.policy.limits.refuse_timeout_ms;
        format!(
            "{:?} is full ({messages} messages or {bytes} bytes wait) and has had no room for {timeout_ms} ms \
             (refuse_timeout); consume what waits, {mend}, then send again",
            key.filter
        )
    }

    /// Forgets connections that are no more; see [`Self::throttle_due`].
    pub(super) fn sweep_throttled(&mut self) {
        let conns: Vec<_> = self.throttled.by_conn.keys().copied().collect();
        for conn in conns {
            if self.session_slot(conn).is_none() {
                self.throttled.forget(conn);
            }
        }
    }
}
