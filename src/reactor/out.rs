//! What waits to be written to one connection: small frames copied into one buffer, large payloads by reference.
//!
//! The pool that the buffers come from and go back to lives here too. Nothing here writes to a socket.

use std::{collections::VecDeque, io::IoSlice, sync::Arc};

use bytes::{Buf, BytesMut};
use noctule_core::message::Message;

/// From this size on a payload is written from the message itself; below it, copying is as good and simpler on the
/// kernel.
pub const BY_REFERENCE_BYTES: usize = 16 * 1024;

/// Largest buffer kept in the pool; a larger one goes back to the allocator.
const MAX_POOLED_BYTES: usize = 64 * 1024;

/// Most pieces handed to the kernel in one vectored write.
pub(super) const MAX_SLICES: usize = 32;

/// A payload by reference and where it belongs among the copied bytes.
#[derive(Debug)]
struct Shared {
    /// Copied bytes that go out after the previous payload and before this one.
    before: usize,
    message: Arc<Message>,
    /// How much of the payload has been written.
    sent: usize,
}

/// Bytes on their way to one peer.
#[derive(Debug)]
pub struct OutBuf {
    copied: BytesMut,
    shared: VecDeque<Shared>,
    /// Unsent bytes in `shared`.
    shared_bytes: usize,
    /// Copied bytes behind the last payload in `shared` start here.
    tail_start: usize,
    /// Unsent bytes up to the end of what was pulled last; what is behind them are answers.
    pulled_bytes: usize,
    budget_bytes: usize,
}

impl OutBuf {
    fn new(budget_bytes: usize) -> Self {
        Self {
            copied: BytesMut::new(),
            shared: VecDeque::new(),
            shared_bytes: 0,
            tail_start: 0,
            pulled_bytes: 0,
            budget_bytes,
        }
    }

    /// Where frames are appended. Appending is all that may be done to it: earlier bytes may be half-written.
    pub fn put(&mut self) -> &mut BytesMut {
        &mut self.copied
    }

    /// Appends the payload of `message`: copied when it is small, by reference from [`BY_REFERENCE_BYTES`] on.
    pub fn put_payload(&mut self, message: &Arc<Message>) {
        let payload = message.payload();
        if payload.len() < BY_REFERENCE_BYTES {
            self.copied.extend_from_slice(payload);
            return;
        }
        self.shared_bytes += payload.len();
        let before = self.copied.len() - self.tail_start;
        self.tail_start = self.copied.len();
        self.shared.push_back(Shared { before, message: Arc::clone(message), sent: 0 });
    }

    /// Bytes not yet taken by the kernel.
    #[must_use]
    pub fn len(&self) -> usize {
        self.copied.len() + self.shared_bytes
    }

    /// Bytes of answers behind what was pulled last. Answers in front of it are less than one budget, because nothing
    /// is pulled without room.
    pub(super) fn answer_bytes(&self) -> usize {
        self.len() - self.pulled_bytes
    }

    /// Everything so far counts as pulled.
    pub fn mark_pulled(&mut self) {
        self.pulled_bytes = self.len();
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the connection is within its budget: one more message may be put.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.len() < self.budget_bytes
    }

    /// The copied bytes if they are all there is; they go out by a plain write.
    pub(super) fn contiguous(&self) -> Option<&[u8]> {
        self.shared.is_empty().then_some(&*self.copied)
    }

    /// Appends everything to `flat`.
    pub(super) fn flatten(&self, flat: &mut Vec<u8>) {
        let mut rest: &[u8] = &self.copied;
        for shared in &self.shared {
            let (before, after) = rest.split_at_checked(shared.before).unwrap_or((rest, &[]));
            rest = after;
            flat.extend_from_slice(before);
            flat.extend_from_slice(shared.message.payload().get(shared.sent..).unwrap_or_default());
        }
        flat.extend_from_slice(rest);
    }

    /// Fills `slices` from the front; returns how many are used.
    pub(super) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut rest: &[u8] = &self.copied;
        let mut used = 0;
        let mut push = |slice: &'a [u8]| {
            if let Some(place) = slices.get_mut(used).filter(|_| !slice.is_empty()) {
                *place = IoSlice::new(slice);
                used += 1;
            }
        };
        for shared in &self.shared {
            let (before, after) = rest.split_at_checked(shared.before).unwrap_or((rest, &[]));
            rest = after;
            push(before);
            push(shared.message.payload().get(shared.sent..).unwrap_or_default());
        }
        push(rest);
        used
    }

    /// Forgets the first `written` bytes.
    pub(super) fn advance(&mut self, mut written: usize) {
        self.pulled_bytes = self.pulled_bytes.saturating_sub(written);
        let mut copied = 0;
        while let Some(front) = self.shared.front_mut() {
            let step = written.min(front.before);
            front.before -= step;
            copied += step;
            written -= step;
            let step = written.min(front.message.payload().len() - front.sent);
            front.sent += step;
            self.shared_bytes -= step;
            written -= step;
            if front.sent < front.message.payload().len() {
                break;
            }
            self.shared.pop_front();
        }
        if self.shared.is_empty() {
            copied += written;
        }
        self.tail_start = self.tail_start.saturating_sub(copied);
        if copied >= self.copied.len() {
            self.copied.clear();
        } else {
            self.copied.advance(copied);
        }
    }

    /// Appends everything of `other`.
    pub(super) fn append(&mut self, other: &Self) {
        let mut rest: &[u8] = &other.copied;
        for shared in &other.shared {
            let (before, after) = rest.split_at_checked(shared.before).unwrap_or((rest, &[]));
            rest = after;
            self.copied.extend_from_slice(before);
            self.put_payload(&shared.message);
        }
        self.copied.extend_from_slice(rest);
    }

    fn clear(&mut self) {
        self.copied.clear();
        self.shared.clear();
        self.shared_bytes = 0;
        self.tail_start = 0;
        self.pulled_bytes = 0;
    }
}

/// Empty buffers of one worker, so that a burst finds them grown already.
///
/// Bounded in bytes: a pool smaller than the worker's bursts makes every burst pay the allocator (four times the cost
/// at 4 to 16 KiB payloads), one without a bound keeps the largest burst for ever.
#[derive(Debug)]
pub(super) struct Pool {
    // Boxed because a connection holds one or none: every inline byte would be paid by every idle connection.
    #[expect(clippy::vec_box)]
    spare: Vec<Box<OutBuf>>,
    bytes: usize,
    max_bytes: usize,
    budget_bytes: usize,
}

impl Pool {
    pub(super) fn new(max_bytes: usize, budget_bytes: usize) -> Self {
        Self { spare: Vec::new(), bytes: 0, max_bytes, budget_bytes }
    }

    pub(super) fn take(&mut self) -> Box<OutBuf> {
        match self.spare.pop() {
            Some(out) => {
                self.bytes -= Self::cost(&out);
                out
            }
            None => Box::new(OutBuf::new(self.budget_bytes)),
        }
    }

    pub(super) fn give_back(&mut self, mut out: Box<OutBuf>) {
        out.clear();
        let cost = Self::cost(&out);
        if out.copied.capacity() <= MAX_POOLED_BYTES && self.bytes + cost <= self.max_bytes {
            self.bytes += cost;
            self.spare.push(out);
        }
    }

    fn cost(out: &OutBuf) -> usize {
        out.copied.capacity() + size_of::<OutBuf>()
    }
}

#[cfg(test)]
mod tests;
