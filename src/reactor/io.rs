//! What a handler may do: write, close, pause, move connections and post mail.
//!
//! Nothing here calls the handler or the kernel's read and write; the loop in `turn` does that in its own time.

use std::{collections::VecDeque, io, sync::Arc, task::Waker};

use super::{
    Config, Handler, Mailboxes,
    accept::{Accepting, Socket},
    conn::{Close, Closed, Conn, Detached, State},
    layer::Layered,
    mailbox::Lanes,
    out::{OutBuf, Pool},
    stream::Stream,
    wake::Ready,
};
use noctule_core::id::{ConnId, Now, WorkerId};
use slab::Slab;

/// The handler's side of a worker's loop.
///
/// Ids of connections that are gone, or are being closed, are accepted everywhere and do nothing.
pub struct Io<H: Handler> {
    pub(super) me: WorkerId,
    pub(super) now: Now,
    pub(super) config: Config,
    pub(super) conns: Slab<Conn<H::Layer>>,
    generation: u32,
    pub(super) ready: Arc<Ready>,
    /// Slots to be read in the next turn although no waker named them.
    pub(super) requeued: Vec<u32>,
    /// Slots to be flushed at the end of this turn.
    pub(super) dirty: Vec<u32>,
    /// Whether one of them is full while more comes for it.
    pub(super) wants_flush: bool,
    /// Connections to be removed, and why.
    pub(super) dead: Vec<(u32, Closed)>,
    /// When to give up on connections that are being closed, oldest first.
    pub(super) lingering: VecDeque<(u64, ConnId)>,
    /// When to give up on connections that wait for what they are owed, oldest first.
    pub(super) owed: VecDeque<(u64, ConnId)>,
    /// No connection closed from now on is given up on before, in monotonic milliseconds.
    linger_until_ms: u64,
    pub(super) pool: Pool,
    pub(super) mailboxes: Mailboxes<H::Mail>,
    /// What this turn posts, per worker.
    pub(super) outboxes: Vec<Lanes<H::Mail>>,
    pub(super) accepting: Accepting,
    pub(super) stopped: bool,
    /// Most bytes asked of a socket at once.
    pub(super) read_bytes: usize,
}

impl<H: Handler> Io<H> {
    pub(super) fn new(me: WorkerId, config: Config, mailboxes: Mailboxes<H::Mail>, main: Waker) -> Self {
        mailboxes.register(me, main.clone());
        Self {
            me,
            now: Now::default(),
            config,
            conns: Slab::new(),
            generation: 0,
            ready: Ready::new(main),
            requeued: Vec::new(),
            dirty: Vec::new(),
            wants_flush: false,
            dead: Vec::new(),
            lingering: VecDeque::new(),
            owed: VecDeque::new(),
            linger_until_ms: 0,
            pool: Pool::new(config.pool_bytes, config.budget_bytes),
            outboxes: (0..mailboxes.workers()).map(|_| Lanes::default()).collect(),
            mailboxes,
            accepting: Accepting::default(),
            stopped: false,
            read_bytes: usize::MAX,
        }
    }

    /// The time, read once per turn.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// The worker this is.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.me
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.outboxes.len()
    }

    /// How many connections there are, including those that are being closed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether there is no connection, not even one that is being closed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Where to write to `conn`, to be flushed at the end of this turn; `None` once it's closed.
    ///
    /// For answers to what the peer sent, which bound themselves; the handler is not asked for more. What others send goes to
    /// the session's queue, is announced by [`mark_dirty`](Self::mark_dirty) and written when it is
    /// [pulled](super::Handler::pull).
    pub fn out(&mut self, conn: ConnId) -> Option<&mut OutBuf> {
        self.touch(conn, false);
        let open = find(&mut self.conns, conn)?;
        Some(open.out.get_or_insert_with(|| self.pool.take()))
    }

    /// Where a message for `conn` may be put at once, to be flushed at the end of this turn; [`OutBuf::mark_pulled`] is to
    /// follow. `None` if it has to wait in its queue, because `conn` is not open, its socket takes nothing for now, or as
    /// much waits for it as one [pull](super::Handler::pull) may bring.
    #[inline]
    pub fn out_at_once(&mut self, conn: ConnId) -> Option<&mut OutBuf> {
        let open = find(&mut self.conns, conn)?;
        if open.state != State::Open || open.blocked {
            return None;
        }
        if open.out_len() >= self.config.budget_bytes {
            // Flushed before the next connection is read, it has room again.
            self.wants_flush = true;
            return None;
        }
        if !open.dirty {
            open.dirty = true;
            self.dirty.push(conn.slot);
        }
        Some(open.out.get_or_insert_with(|| self.pool.take()))
    }

    /// Bytes that wait to be written to `conn`.
    #[must_use]
    pub fn waiting_bytes(&self, conn: ConnId) -> usize {
        self.conns
            .get(conn.slot as usize)
            .filter(|open| open.generation == conn.generation)
            .map_or(0, Conn::out_len)
    }

    /// Has `conn` pulled from and flushed at the end of this turn, or when its socket can be written to again.
    #[inline]
    pub fn mark_dirty(&mut self, conn: ConnId) {
        self.touch(conn, true);
    }

    /// Has `conn` flushed at the end of this turn, or when its socket can be written to again, and pulled from before if
    /// that is wanted.
    #[inline]
    fn touch(&mut self, conn: ConnId, wants_pull: bool) {
        let Some(open) = find(&mut self.conns, conn) else { return };
        open.wants_pull |= wants_pull;
        if !open.dirty && !open.blocked {
            open.dirty = true;
            self.dirty.push(conn.slot);
        }
    }

    /// Closes `conn`: the handler hears nothing more of it but [`closed`](super::Handler::closed).
    pub fn close(&mut self, conn: ConnId, how: Close) {
        let Some(open) = find(&mut self.conns, conn) else { return };
        match how {
            Close::Now => self.kill(conn.slot, Closed::Ours),
            Close::AfterFlush => {
                open.unread = Vec::new();
                open.refeed = false;
                self.mark_dirty(conn);
                if let Some(open) = find(&mut self.conns, conn) {
                    open.state = State::Flushing;
                }
                let give_up_ms = self.now.mono_ms.saturating_add(self.config.linger_ms);
                self.lingering.push_back((give_up_ms.max(self.linger_until_ms), conn));
            }
        }
    }

    /// Gives connections that are closed from now on until `mono_ms` at least to read what is left for them, where
    /// [`linger_ms`](super::Config::linger_ms) would be over before.
    pub fn linger_until(&mut self, mono_ms: u64) {
        self.linger_until_ms = mono_ms;
    }

    /// Puts a connection on the list of the dead.
    pub(super) fn kill(&mut self, slot: u32, why: Closed) {
        if let Some(conn) = self.conns.get_mut(slot as usize)
            && conn.state != State::Dead
        {
            conn.state = State::Dead;
            self.dead.push((slot, why));
        }
    }

    /// Whether `conn` is served and its reads are not paused.
    #[must_use]
    pub fn is_readable(&self, conn: ConnId) -> bool {
        self.conns.get(conn.slot as usize).is_some_and(|open| {
            open.generation == conn.generation && open.state == State::Open && !open.paused
        })
    }

    /// Stops reading from `conn`. What the handler leaves unconsumed is kept, the rest stays with the kernel, which
    /// in the end stops the peer. An end of stream is not noticed before reads resume.
    pub fn pause_reads(&mut self, conn: ConnId) {
        if let Some(open) = find(&mut self.conns, conn) {
            open.paused = true;
        }
    }

    /// Reads from `conn` again, beginning with what is kept.
    pub fn resume_reads(&mut self, conn: ConnId) {
        if let Some(open) = find(&mut self.conns, conn)
            && open.paused
            && !open.ended
        {
            open.paused = false;
            open.refeed = true;
            self.requeue(conn.slot);
        }
    }

    /// Ends the turn of `conn`: what the handler leaves unconsumed is handed over again when everybody else has had
    /// theirs. From within [`read`](super::Handler::read).
    pub fn end_turn(&mut self, conn: ConnId) {
        if let Some(open) = find(&mut self.conns, conn) {
            (open.had_turn, open.refeed) = (true, true);
        }
    }

    /// Reads no more than that at once from now on, at least one byte: what the handler leaves unconsumed when it pauses
    /// a connection is kept, and should be little where many are paused.
    pub fn read_at_most(&mut self, bytes: usize) {
        self.read_bytes = bytes.max(1);
    }

    /// Keeps a connection whose peer has ended its side for what is owed to it.
    pub(super) fn wait_for_answers(&mut self, conn: ConnId) {
        let Some(open) = find(&mut self.conns, conn) else { return };
        (open.paused, open.ended) = (true, true);
        self.owed.push_back((self.now.mono_ms.saturating_add(self.config.owed_ms), conn));
        // What it is owed may be on its way already.
        self.mark_dirty(conn);
    }

    /// Has a slot looked at in the next turn.
    pub(super) fn requeue(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot as usize)
            && !conn.requeued
        {
            conn.requeued = true;
            self.requeued.push(slot);
        }
    }

    /// Takes `conn` out of this worker, to be [posted](Self::post) to another that [adopts](Self::adopt) it.
    ///
    /// `unread` is what of the bytes at hand the other is to read: from within [`read`](super::Handler::read) some
    /// tail of its `bytes`; otherwise empty, and what is kept goes along. What waits to be written goes along too.
    /// Not from within [`pull`](super::Handler::pull), whose `out` would stay behind.
    /// `None` when it is closed, also when the kernel refuses to let go of it: it is gone then and
    /// [`closed`](super::Handler::closed) is not called.
    pub fn detach(&mut self, conn: ConnId, unread: &[u8]) -> Option<Detached<H::Layer>> {
        find(&mut self.conns, conn)?;
        let mut gone = self.conns.try_remove(conn.slot as usize)?;
        match &mut gone.layered {
            Some(layered) => layered.plain.extend_from_slice(unread),
            None => gone.unread.extend_from_slice(unread),
        }
        let stream = gone.stream.unwatch().ok()?;
        Some(Detached { stream, unread: gone.unread, out: gone.out, layered: gone.layered })
    }

    /// Takes over a connection from another worker. What is unread is read in this turn or the next.
    ///
    /// # Errors
    /// When the kernel can't watch the socket; the connection is closed then.
    pub fn adopt(&mut self, detached: Detached<H::Layer>) -> io::Result<ConnId> {
        let id = self.insert(Stream::watch(detached.stream)?);
        if let Some(conn) = find(&mut self.conns, id) {
            conn.refeed = true;
            conn.unread = detached.unread;
            conn.out = detached.out;
            conn.layered = detached.layered;
        }
        self.mark_dirty(id);
        Ok(id)
    }

    /// Enters a socket into the table and has it read once: what has arrived before is announced by nobody.
    pub(super) fn insert(&mut self, stream: Stream) -> ConnId {
        let entry = self.conns.vacant_entry();
        // A process has far fewer than 2^32 descriptors.
        let slot = entry.key() as u32;
        // Counted over all slots: the slab forgets its tenants, and all that matters is that no id comes twice.
        self.generation = self.generation.wrapping_add(1);
        entry.insert(Conn::new(stream, self.ready.waker(slot), self.generation));
        self.requeue(slot);
        ConnId { slot, generation: self.generation }
    }

    /// Posts to a worker's bulk lane; it leaves with everything else of this turn. Mail to oneself comes next turn.
    pub fn post(&mut self, to: WorkerId, mail: H::Mail) {
        if let Some(outbox) = self.outboxes.get_mut(to.index()) {
            outbox.bulk.push((self.me, mail));
        }
    }

    /// Posts to a worker's control lane, which overtakes its bulk lane.
    pub fn post_control(&mut self, to: WorkerId, mail: H::Mail) {
        if let Some(outbox) = self.outboxes.get_mut(to.index()) {
            outbox.control.push((self.me, mail));
        }
    }

    /// Puts `conn` behind a layer, before anything is read of it.
    pub(super) fn wrap(&mut self, conn: ConnId, layer: H::Layer) {
        if let Some(open) = find(&mut self.conns, conn) {
            open.layered = Some(Box::new(Layered::new(layer)));
        }
    }

    /// What lies between the socket of `conn` and the handler.
    #[must_use]
    pub fn layer(&self, conn: ConnId) -> Option<&H::Layer> {
        let open = self.conns.get(conn.slot as usize).filter(|open| open.generation == conn.generation)?;
        open.layered.as_ref().map(|layered| &layered.layer)
    }

    /// Accepts from that socket as well; `listener` is what the handler will hear of it by, and no other is or was called.
    ///
    /// # Errors
    /// When the kernel won't watch it.
    pub fn listen(&mut self, listener: usize, socket: Socket) -> io::Result<()> {
        self.accepting.add(listener, socket)?;
        self.requeued.push(listener_slot(listener));
        Ok(())
    }

    /// Accepts no more from that socket.
    pub fn unlisten(&mut self, listener: usize) {
        self.accepting.remove(listener);
    }

    /// Accepts no more: this worker lets go of its listeners.
    pub fn stop_accepting(&mut self) {
        self.accepting = Accepting::default();
    }

    /// The connections that are served, to say goodbye to.
    pub fn open(&self) -> impl Iterator<Item = ConnId> {
        self.conns
            .iter()
            .filter(|(_, conn)| conn.state == State::Open)
            .map(|(slot, conn)| conn.id(slot as u32))
    }

    /// Ends the loop after this turn's flush; connections still there are dropped.
    pub fn stop(&mut self) {
        self.stopped = true;
    }
}

/// Slots from here on, counted downwards, are listeners.
const FIRST_LISTENER: u32 = u32::MAX;

/// The slot of a listener; there are far fewer than slots.
pub(super) fn listener_slot(listener: usize) -> u32 {
    FIRST_LISTENER - listener as u32
}

/// The listener of a slot that is no connection's.
pub(super) fn listener_of(slot: u32) -> usize {
    (FIRST_LISTENER - slot) as usize
}

/// The served connection of that id.
#[inline]
pub(super) fn find<L>(conns: &mut Slab<Conn<L>>, id: ConnId) -> Option<&mut Conn<L>> {
    conns
        .get_mut(id.slot as usize)
        .filter(|conn| conn.generation == id.generation && conn.state == State::Open)
}
