//! Spare messages, so that the steady state allocates nothing.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Message, Publish};
use crate::id::SessionId;

/// Spare messages of one worker.
///
/// Bounded in count and in the size of each spare: a burst or one large payload does not stay behind as memory.
#[derive(Debug, Default)]
pub struct MessagePool {
    spare: Vec<Arc<Message>>,
    depot: Option<Arc<Depot>>,
}

/// What workers have too many of and others too few: a message ends on the worker of its last receiver, so that of two
/// who send each other messages one would always allocate and the other always free.
#[derive(Debug, Default)]
pub struct Depot {
    spare: Mutex<Vec<Arc<Message>>>,
}

impl Depot {
    /// Most messages kept.
    const MAX_SPARES: usize = 4 * MessagePool::MAX_SPARES;

    fn give(&self, from: &mut Vec<Arc<Message>>, count: usize) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::MAX_SPARES.saturating_sub(spare.len());
        let kept = from.len().saturating_sub(count);
        spare.extend(from.drain(kept..).take(room));
    }

    fn take(&self, to: &mut Vec<Arc<Message>>, count: usize) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare.len().saturating_sub(count);
        to.extend(spare.drain(kept..));
    }
}

impl MessagePool {
    /// Most spares kept; beyond it a burst is given back to the allocator.
    pub const MAX_SPARES: usize = 1024;
    /// Largest buffer a spare may keep, in bytes.
    pub const MAX_SPARE_BYTES: usize = 512;

    /// Spares kept for oneself where there is a depot.
    const MAX_OWN: usize = 64;
    /// How many go there or come from there at once: few enough that nobody has to wait long until there are some, enough
    /// that the lock is seldom asked for.
    const PORTION: usize = 32;

    /// A pool of one of several workers.
    #[must_use]
    pub fn with(depot: Arc<Depot>) -> Self {
        Self { depot: Some(depot), ..Self::default() }
    }

    /// Copies a message out of the read buffer, into a spare one if there is any.
    pub fn take(&mut self, publish: &Publish<'_>, publisher: SessionId, mono_ms: u64) -> Arc<Message> {
        if self.spare.is_empty()
            && let Some(depot) = &self.depot
        {
            depot.take(&mut self.spare, Self::PORTION);
        }
        if let Some(mut spare) = self.spare.pop()
            && let Some(message) = Arc::get_mut(&mut spare)
        {
            message.fill(publish, publisher, mono_ms);
            return spare;
        }
        Message::new(publish, publisher, mono_ms)
    }

    /// Takes a message back if nobody else holds it.
    pub fn give_back(&mut self, mut message: Arc<Message>) {
        if self.spare.len() >= Self::MAX_SPARES {
            return;
        }
        let inner = Arc::get_mut(&mut message);
        if inner.is_none_or(|inner| inner.buf.capacity() > Self::MAX_SPARE_BYTES) {
            return;
        }
        self.spare.push(message);
        if let Some(depot) = &self.depot
            && self.spare.len() > Self::MAX_OWN
        {
            depot.give(&mut self.spare, Self::PORTION);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Qos;
    use crate::message::Fields;
    use crate::topic::TopicName;

    fn publish() -> Publish<'static> {
        Publish {
            topic: TopicName::from_validated("t"),
            fields: Fields::default(),
            payload: b"x",
            qos: Qos::AtMostOnce,
            retain: false,
            dup: false,
            packet_id: None,
            expiry_s: None,
        }
    }

    fn address(message: &Arc<Message>) -> usize {
        Arc::as_ptr(message) as usize
    }

    #[test]
    fn what_one_worker_has_too_much_of_another_takes() {
        let depot = Arc::new(Depot::default());
        let (mut takes, mut gives) = (MessagePool::with(Arc::clone(&depot)), MessagePool::with(depot));
        let all: Vec<_> = (0..2_000).map(|_| takes.take(&publish(), SessionId::NOBODY, 0)).collect();
        let made: std::collections::BTreeSet<_> = all.iter().map(address).collect();
        all.into_iter().for_each(|message| gives.give_back(message));
        assert!(gives.spare.len() <= MessagePool::MAX_OWN);
        let known = |_| made.contains(&address(&takes.take(&publish(), SessionId::NOBODY, 0)));
        assert_eq!((0..1_900).map(known).filter(|known| !known).count(), 0);
    }

    #[test]
    fn a_burst_does_not_stay_for_ever() {
        let depot = Arc::new(Depot::default());
        for mut pool in [MessagePool::default(), MessagePool::with(Arc::clone(&depot))] {
            let all: Vec<_> = (0..9_000).map(|_| pool.take(&publish(), SessionId::NOBODY, 0)).collect();
            all.into_iter().for_each(|message| pool.give_back(message));
            assert!(pool.spare.len() <= MessagePool::MAX_SPARES);
        }
        assert_eq!(depot.spare.lock().unwrap().len(), Depot::MAX_SPARES);
    }
}
