//! Spare messages, so that the steady state allocates nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Message, Publish, Restored};
use crate::id::SessionId;

/// Spare messages of one thread.
///
/// Bounded in count and in the size of each, and with a depot in bytes: a burst or one large payload does not stay behind as
/// memory.
#[derive(Debug, Default)]
pub struct MessagePool {
    small: Spares,
    large: Spares,
    depot: Option<Arc<Depot>>,
}

/// What threads have too many of and others too few: a message ends on the worker of its last receiver, so that of two who
/// send each other messages one would always allocate and the other always free, which holds up both where the allocator
/// gives memory back to where it came from. So would the store's thread, that reads what a worker forgets.
#[derive(Debug, Default)]
pub struct Depot {
    small: Mutex<Spares>,
    large: Mutex<Spares>,
}

/// Spares of one size. Two sizes are kept apart, so that what is small does not sit in the memory of something large: a queue
/// is charged with what its messages hold.
#[derive(Debug, Default)]
struct Spares {
    messages: Vec<Arc<Message>>,
    /// What they hold.
    bytes: usize,
}

impl Depot {
    /// Most bytes kept of each size.
    const MAX_BYTES: usize = 2 << 20;

    fn of(&self, size: Size) -> MutexGuard<'_, Spares> {
        size.pick(&self.small, &self.large).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spares {
    fn push(&mut self, message: Arc<Message>) {
        self.bytes += message.cost();
        self.messages.push(message);
    }

    fn pop(&mut self) -> Option<Arc<Message>> {
        let message = self.messages.pop()?;
        self.bytes -= message.cost();
        Some(message)
    }

    /// Moves a portion to another, as long as that has not more than so many bytes.
    fn move_to(&mut self, other: &mut Self, most_bytes: usize) {
        for _ in 0..MessagePool::PORTION {
            if other.bytes >= most_bytes {
                return;
            }
            let Some(message) = self.pop() else { return };
            other.push(message);
        }
    }
}

/// What a buffer of a size goes with.
#[derive(Clone, Copy, Debug)]
enum Size {
    Small,
    Large,
}

impl Size {
    /// Largest buffer of what is small, in bytes.
    const MAX_SMALL: usize = 512;
    /// Largest buffer that a spare may keep at all, in bytes.
    const MAX_LARGE: usize = 4096;

    /// None for what is too large to be kept.
    fn of(bytes: usize) -> Option<Self> {
        match bytes {
            _ if bytes <= Self::MAX_SMALL => Some(Self::Small),
            _ if bytes <= Self::MAX_LARGE => Some(Self::Large),
            _ => None,
        }
    }

    fn pick<T>(self, small: T, large: T) -> T {
        match self {
            Self::Small => small,
            Self::Large => large,
        }
    }
}

impl MessagePool {
    /// Most spares kept of each size where there is no depot; beyond it a burst is given back to the allocator.
    const MAX_ALONE: usize = 512;
    /// Bytes of a buffer that any message may have, however small it is.
    const SLACK: usize = Size::MAX_SMALL;
    /// Spares kept for oneself where there is one.
    const MAX_OWN: usize = 64;
    /// How many go there or come from there at once: few enough that nobody has to wait long until there are some, enough
    /// that the lock is seldom asked for.
    const PORTION: usize = 32;

    /// A pool of one of several threads.
    #[must_use]
    pub fn with(depot: Arc<Depot>) -> Self {
        Self { depot: Some(depot), ..Self::default() }
    }

    /// Copies a message out of the read buffer, into a spare one if there is any.
    pub fn take(&mut self, publish: &Publish<'_>, publisher: SessionId, mono_ms: u64) -> Arc<Message> {
        let mut message = self.take_spare(publish.message_bytes());
        // Nobody else has it.
        if let Some(message) = Arc::get_mut(&mut message) {
            message.fill(publish, publisher, mono_ms);
        }
        message
    }

    /// A message out of a store, in a spare one if there is any.
    pub fn restore(&mut self, restored: &Restored<'_>) -> Arc<Message> {
        let mut message = self.take_spare(restored.publish().message_bytes());
        if let Some(message) = Arc::get_mut(&mut message) {
            message.fill_restored(restored);
        }
        message
    }

    /// A spare message for so many bytes, or a new one.
    fn take_spare(&mut self, bytes: usize) -> Arc<Message> {
        let spare = Size::of(bytes).and_then(|size| {
            let spares = size.pick(&mut self.small, &mut self.large);
            if spares.messages.is_empty()
                && let Some(depot) = &self.depot
            {
                depot.of(size).move_to(spares, usize::MAX);
            }
            // One that is much too large is charged for all of it wherever this message waits: let it go.
            spares.pop().filter(|spare| spare.buf.capacity() <= Self::SLACK.max(2 * bytes))
        });
        spare.unwrap_or_else(|| Arc::new(Message::empty()))
    }

    /// Takes a message back if nobody else holds it.
    pub fn give_back(&mut self, mut message: Arc<Message>) {
        let Some(size) = Arc::get_mut(&mut message).and_then(|inner| Size::of(inner.buf.capacity())) else {
            return;
        };
        let spares = size.pick(&mut self.small, &mut self.large);
        let most = if self.depot.is_some() { Self::MAX_OWN } else { Self::MAX_ALONE };
        if spares.messages.len() >= most {
            match &self.depot {
                Some(depot) => spares.move_to(&mut depot.of(size), Depot::MAX_BYTES),
                None => return,
            }
            // What there is no room for; beyond the lock, as it takes its time.
            while spares.messages.len() >= most {
                spares.pop();
            }
        }
        spares.push(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Qos;
    use crate::message::Fields;
    use crate::topic::TopicName;

    fn publish(payload: &[u8]) -> Publish<'_> {
        Publish {
            topic: TopicName::from_validated("t"),
            fields: Fields::default(),
            payload,
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
    fn what_one_thread_has_too_much_of_another_takes() {
        let depot = Arc::new(Depot::default());
        let (mut takes, mut gives) = (MessagePool::with(Arc::clone(&depot)), MessagePool::with(depot));
        let all: Vec<_> = (0..2_000).map(|_| takes.take(&publish(b"x"), SessionId::NOBODY, 0)).collect();
        let made: std::collections::BTreeSet<_> = all.iter().map(address).collect();
        all.into_iter().for_each(|message| gives.give_back(message));
        assert!(gives.small.messages.len() <= MessagePool::MAX_OWN);
        let restored = Restored {
            topic: TopicName::from_validated("t"),
            fields: &[],
            payload: b"y",
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_ms: 7,
            record: 9,
        };
        let known = |number| {
            let message = if number % 2 == 0 {
                takes.take(&publish(b"x"), SessionId::NOBODY, 0)
            } else {
                takes.restore(&restored)
            };
            made.contains(&address(&message))
        };
        assert_eq!((0..1_900).map(known).filter(|known| !known).count(), 0);
    }

    #[test]
    fn a_burst_does_not_stay_for_ever() {
        for payload in [vec![b'x'], vec![b'x'; 3_000]] {
            let depot = Arc::new(Depot::default());
            for (mut pool, most) in
                [(MessagePool::default(), 512), (MessagePool::with(Arc::clone(&depot)), 64)]
            {
                let taken = |_| pool.take(&publish(&payload), SessionId::NOBODY, 0);
                let all: Vec<_> = (0..30_000).map(taken).collect();
                all.into_iter().for_each(|message| pool.give_back(message));
                assert!(pool.small.messages.len() + pool.large.messages.len() <= most);
            }
            for spares in [&depot.small, &depot.large] {
                let spares = spares.lock().unwrap();
                let held: usize = spares.messages.iter().map(|message| message.cost()).sum();
                assert_eq!(spares.bytes, held);
                assert!(held < Depot::MAX_BYTES + 32 * 4096);
            }
            let full =
                [&depot.small, &depot.large].map(|spares| spares.lock().unwrap().bytes >= Depot::MAX_BYTES);
            assert_eq!(full, [payload.len() == 1, payload.len() > 1]);
        }
    }

    #[test]
    fn what_is_small_does_not_get_the_memory_of_something_large() {
        let mut pool = MessagePool::default();
        let large = pool.take(&publish(&[7; 1_000]), SessionId::NOBODY, 0);
        let place = address(&large);
        pool.give_back(large);
        assert_ne!(address(&pool.take(&publish(b"x"), SessionId::NOBODY, 0)), place);
        assert_eq!(address(&pool.take(&publish(&[7; 900]), SessionId::NOBODY, 0)), place);
    }

    #[test]
    fn what_is_very_large_is_not_kept() {
        let mut pool = MessagePool::default();
        let large = pool.take(&publish(&[7; 5_000]), SessionId::NOBODY, 0);
        pool.give_back(large);
        assert!(pool.large.messages.is_empty() && pool.small.messages.is_empty());
    }
}
