//! The loop itself: what a turn does, in which order, and when the worker sleeps.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    task::{Context, Poll, ready},
    time::{SystemTime, UNIX_EPOCH},
};

use noctule_core::id::{ConnId, Now, WorkerId};
use tokio::io::ReadBuf;

use super::{
    Accept, Config, Ended, Handler, Mailboxes, Pull,
    accept::{Attempt, Socket},
    alarm::Alarm,
    conn::{Close, Closed, Conn, State},
    io::{Io, find, listener_of, listener_slot},
    layer::Layer,
    layered::seal,
    mailbox::Lanes,
    out::{MAX_SLICES, OutBuf, Pool},
};

/// How often one connection is read, or written after a pull, before it is everybody else's turn.
pub const READS_PER_TURN: usize = 4;

/// Room for one read, shared by all connections of the worker.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Up to here unread bytes are copied in front of the next read; beyond, the next read is copied behind them, so that
/// a large frame that comes in pieces is not copied once for each.
pub(super) const SMALL_UNREAD_BYTES: usize = 16 * 1024;

/// Most bytes of the buffer for opened bytes that are kept between two connections.
pub(super) const MAX_KEPT_PLAIN_BYTES: usize = 256 * 1024;

/// So many touched connections are flushed before more is read: what waits for them is still in the processor's
/// cache then, and the first of them need not wait for the last. Batches are no smaller, but where hundreds of
/// connections write to one.
const FLUSH_AT: usize = 32;

/// How many [costly](super::Layer::is_costly) openings are done in one turn: a thousand clients that come back at once, each with
/// a handshake to be done, must not stop everybody else's messages meanwhile.
pub const COSTLY_PER_TURN: usize = 4;

/// Runs a worker on the current thread until its handler [stops](Io::stop) it; returns the handler.
///
/// `mailboxes` is the same for all workers, `listeners` are this worker's (see [`listen`](super::listen)).
///
/// # Errors
/// When the runtime can't be had or the kernel won't watch a listener or give it a timer.
pub fn run<H: Handler>(
    me: WorkerId,
    config: Config,
    mailboxes: Mailboxes<H::Mail>,
    listeners: Vec<Socket>,
    handler: H,
) -> io::Result<H> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Unconstrained: the cooperative budget is for tasks that share a thread, and would stop this one early.
    runtime.block_on(tokio::task::unconstrained(async move {
        let main = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let mut worker = Worker {
            io: Io::new(me, config, mailboxes, main),
            handler,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            plain: Vec::new(),
            costly: 0,
            ready: Vec::new(),
            inbox: Lanes::default(),
            deadline_ms: None,
            buried: false,
        };
        for (listener, socket) in listeners.into_iter().enumerate() {
            worker.io.listen(listener, socket)?;
        }
        let mut alarm = Alarm::new(config.started)?;
        poll_fn(|cx| worker.poll(cx, &mut alarm)).await?;
        Ok(worker.handler)
    }))
}

pub(super) struct Worker<H: Handler> {
    pub(super) io: Io<H>,
    pub(super) handler: H,
    pub(super) scratch: Box<[u8]>,
    /// What layers have opened, and what they are to seal; empty between connections, kept for its capacity.
    pub(super) plain: Vec<u8>,
    /// Costly openings in this turn.
    pub(super) costly: usize,
    /// The list being worked off; empty between turns, kept for its capacity, like `inbox`.
    ready: Vec<u32>,
    inbox: Lanes<H::Mail>,
    deadline_ms: Option<u64>,
    /// Whether the handler has heard of a connection's end since it last named its deadline.
    buried: bool,
}

impl<H: Handler> Worker<H> {
    fn poll(&mut self, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<io::Result<()>> {
        self.turn();
        if self.io.stopped {
            return Poll::Ready(Ok(()));
        }
        let pending_work = !self.io.requeued.is_empty() || !self.io.dirty.is_empty();
        if pending_work || !self.io.mailboxes.sleep(self.io.me) {
            // Not a loop: waking ourselves lets the runtime ask the kernel for other sockets first.
            cx.waker().wake_by_ref();
        } else {
            let oldest = [self.io.lingering.front(), self.io.owed.front()];
            let [lingering, owed] = oldest.map(|oldest| oldest.map(|(deadline, _)| *deadline));
            let deadlines = [self.deadline_ms, lingering, owed, self.io.accepting.resume_ms()];
            let deadline = deadlines.into_iter().flatten().min();
            if let Err(error) = alarm.set(cx, self.io.now.mono_ms, deadline) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Pending
    }

    fn turn(&mut self) {
        self.read_clocks();
        self.give_up_lingering();
        self.resume_accepting();
        self.costly = 0;
        self.take_mail();
        self.read_ready();
        self.buried = false;
        self.deadline_ms = self.handler.turn(&mut self.io);
        // Before the flush, so that other workers begin while this one talks to the kernel.
        self.post();
        self.flush_dirty();
        if self.buried {
            // A connection's end sets deadlines (a will's delay), or is the last thing that was waited for.
            self.deadline_ms = self.handler.turn(&mut self.io);
        }
        // Flushing and burying may have posted too. Mail that stays behind here is lost to a receiver that sleeps.
        self.post();
    }

    fn flush_dirty(&mut self) {
        self.bury();
        let mut dirty = mem::take(&mut self.io.dirty);
        for slot in dirty.drain(..) {
            self.flush(slot);
        }
        if self.io.dirty.is_empty() {
            self.io.dirty = dirty;
        }
        self.bury();
    }

    fn read_clocks(&mut self) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Both fit for some hundred million years.
        self.io.now = Now {
            mono_ms: self.io.config.started.elapsed().as_millis() as u64,
            wall_ms: wall.as_millis() as u64,
        };
    }

    fn give_up_lingering(&mut self) {
        while let Some(&(deadline, id)) = self.io.lingering.front()
            && deadline <= self.io.now.mono_ms
        {
            self.io.lingering.pop_front();
            if self.io.conns.get(id.slot as usize).is_some_and(|conn| conn.generation == id.generation) {
                self.io.kill(id.slot, Closed::Ours);
            }
        }
        while let Some(&(deadline, id)) = self.io.owed.front()
            && deadline <= self.io.now.mono_ms
        {
            self.io.owed.pop_front();
            if find(&mut self.io.conns, id).is_some() {
                self.io.kill(id.slot, Closed::PeerClosed);
            }
        }
    }

    /// Has those listeners asked in this turn that have rested.
    fn resume_accepting(&mut self) {
        let now_ms = self.io.now.mono_ms;
        if self.io.accepting.resume_ms().is_some_and(|at| at <= now_ms) {
            let rested = self.io.accepting.rested(now_ms);
            self.io.requeued.extend(rested.into_iter().map(listener_slot));
        }
    }

    fn accept(&mut self, slot: u32, listener: usize) {
        let waker = self.io.ready.waker(slot);
        for _ in 0..self.io.config.accepts_per_turn {
            if !self.io.accepting.is_open(listener) {
                return;
            }
            if let Err(until_ms) = self.handler.may_accept(&mut self.io, listener) {
                return self.io.accepting.rest(listener, until_ms);
            }
            match self.io.accepting.attempt(listener, &waker) {
                Attempt::Accepted(stream, origin) => {
                    let id = self.io.insert(stream);
                    match self.handler.accepted(&mut self.io, id, origin, listener) {
                        Accept::Keep => {}
                        Accept::Behind(layer) => self.io.wrap(id, layer),
                        Accept::Refuse => {
                            self.io.conns.try_remove(id.slot as usize);
                        }
                    }
                }
                Attempt::Again => {}
                Attempt::Exhausted(error) => {
                    let until_ms = self.io.now.mono_ms.saturating_add(self.io.config.accept_pause_ms);
                    let all: Vec<_> = self.io.accepting.places().collect();
                    for listener in all {
                        self.io.accepting.rest(listener, until_ms);
                    }
                    self.handler.accept_failed(&mut self.io, listener, &error);
                    return;
                }
                Attempt::Nobody => return,
            }
        }
        self.io.requeued.push(slot);
    }

    fn take_mail(&mut self) {
        self.io.mailboxes.collect(self.io.me, &mut self.inbox);
        for lane in [&mut self.inbox.control, &mut self.inbox.bulk] {
            for (from, mail) in lane.drain(..) {
                self.handler.mail(&mut self.io, from, mail);
            }
        }
    }

    fn post(&mut self) {
        for (to, outbox) in self.io.outboxes.iter_mut().enumerate() {
            if !outbox.is_empty() {
                // There are no more mailboxes than worker ids.
                self.io.mailboxes.post_batch(WorkerId(to as u16), outbox);
            }
        }
    }

    fn read_ready(&mut self) {
        let mut ready = mem::take(&mut self.ready);
        self.io.ready.swap(&mut ready);
        // Connections accepted meanwhile requeue themselves and are read in this turn too, a second round at most.
        for slot in ready.drain(..) {
            self.look_at(slot);
            if self.io.dirty.len() >= FLUSH_AT || mem::take(&mut self.io.wants_flush) {
                self.flush_dirty();
            }
        }
        let mut requeued = mem::take(&mut self.io.requeued);
        for slot in requeued.drain(..) {
            if let Some(conn) = self.io.conns.get_mut(slot as usize) {
                conn.requeued = false;
            }
            self.look_at(slot);
        }
        if self.io.requeued.is_empty() {
            self.io.requeued = requeued;
        }
        self.ready = ready;
    }

    fn look_at(&mut self, slot: u32) {
        let Some(conn) = self.io.conns.get_mut(slot as usize) else {
            return self.accept(slot, listener_of(slot));
        };
        if conn.blocked && conn.stream.poll_write_ready(&mut Context::from_waker(&conn.waker)).is_ready() {
            conn.blocked = false;
            conn.wants_pull = true;
            if !conn.dirty {
                conn.dirty = true;
                self.io.dirty.push(slot);
            }
        }
        match conn.state {
            State::Open => self.read(slot),
            State::Lingering => self.discard(slot),
            State::Flushing | State::Dead => {}
        }
    }

    /// Reads one connection until there is nothing to read, it is paused, closed or moved, or it has had its turn.
    fn read(&mut self, slot: u32) {
        for _ in 0..READS_PER_TURN {
            let Some(conn) = self.io.conns.get_mut(slot as usize) else { return };
            if conn.state != State::Open || conn.paused {
                return;
            }
            if mem::take(&mut conn.had_turn) {
                break;
            }
            if conn.answer_bytes() >= self.io.config.budget_bytes.saturating_mul(2) {
                conn.choked = true;
                return;
            }
            let id = conn.id(slot);
            if conn.layered.is_some() {
                match self.read_layered(slot, id) {
                    Poll::Ready(()) => continue,
                    Poll::Pending => return,
                }
            }
            let mut unread = mem::take(&mut conn.unread);
            if mem::take(&mut conn.refeed) && !unread.is_empty() {
                let consumed = self.handler.read(&mut self.io, id, &unread);
                unread.drain(..consumed.min(unread.len()));
                self.keep(id, unread);
                continue;
            }
            let in_front = if unread.len() <= SMALL_UNREAD_BYTES { unread.len() } else { 0 };
            let (front, room) = self.scratch.split_at_mut(in_front);
            let most = room.len().min(self.io.read_bytes);
            let mut buf = ReadBuf::new(room.get_mut(..most).unwrap_or_default());
            let mut cx = Context::from_waker(&conn.waker);
            let got = match conn.stream.poll_read(&mut cx, &mut buf) {
                Poll::Ready(Ok(())) => buf.filled().len(),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {
                    conn.unread = unread;
                    continue;
                }
                Poll::Ready(Err(error)) => {
                    self.io.kill(slot, Closed::Error(error));
                    return;
                }
                Poll::Pending => {
                    conn.unread = unread;
                    return;
                }
            };
            if got == 0 {
                return self.end(id);
            }
            if in_front == unread.len() {
                front.copy_from_slice(&unread);
                let bytes = self.scratch.get(..in_front + got).unwrap_or_default();
                let consumed = self.handler.read(&mut self.io, id, bytes);
                unread.clear();
                if let Some(rest) = bytes.get(consumed..).filter(|rest| !rest.is_empty()) {
                    unread.extend_from_slice(rest);
                    self.keep(id, unread);
                }
            } else {
                unread.extend_from_slice(buf.filled());
                let consumed = self.handler.read(&mut self.io, id, &unread);
                unread.drain(..consumed.min(unread.len()));
                self.keep(id, unread);
            }
        }
        self.io.requeue(slot);
    }

    /// The peer has closed its side, or all of it; it may still wait for answers.
    pub(super) fn end(&mut self, id: ConnId) {
        if self.handler.ended(&mut self.io, id) == Ended::Wait {
            return self.io.wait_for_answers(id);
        }
        let Some(conn) = find(&mut self.io.conns, id) else { return };
        if conn.has_ended() {
            // Its good-bye was in the layer, and the socket is whole: what waits for it has its time.
            return self.io.close(id, Close::AfterFlush);
        }
        if conn.out_len() > 0 || conn.layered.is_some() {
            last_words(conn, &mut self.io.pool, &mut self.plain);
        }
        self.io.kill(id.slot, Closed::PeerClosed);
    }

    /// Leaves what was not consumed with the connection, if it is still served here.
    fn keep(&mut self, id: ConnId, mut unread: Vec<u8>) {
        if !unread.is_empty()
            && let Some(conn) = find(&mut self.io.conns, id)
        {
            if unread.len() <= SMALL_UNREAD_BYTES && unread.capacity() > SMALL_UNREAD_BYTES {
                unread.shrink_to_fit();
            }
            conn.unread = unread;
        }
    }

    /// Waits for the peer's end of stream, throwing away what comes before it.
    fn discard(&mut self, slot: u32) {
        for _ in 0..READS_PER_TURN {
            let Some(conn) = self.io.conns.get_mut(slot as usize) else { return };
            let mut buf = ReadBuf::new(&mut self.scratch);
            let mut cx = Context::from_waker(&conn.waker);
            match conn.stream.poll_read(&mut cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                // Its end of stream or a reset: what we had to say has arrived or never will.
                Poll::Ready(_) => return self.io.kill(slot, Closed::Ours),
            }
        }
        self.io.requeue(slot);
    }

    /// Pulls from the handler and writes, until nothing is left, the socket takes no more, or it has had its turn.
    fn flush(&mut self, slot: u32) {
        let Some(conn) = self.io.conns.get_mut(slot as usize) else { return };
        conn.dirty = false;
        for _ in 0..READS_PER_TURN {
            let Some(conn) = self.io.conns.get_mut(slot as usize) else { return };
            if conn.blocked || conn.state == State::Dead {
                return;
            }
            let id = conn.id(slot);
            let mut out = conn.out.take().unwrap_or_else(|| self.io.pool.take());
            let mut pulled = Pull::Done;
            if conn.state == State::Open && mem::take(&mut conn.wants_pull) {
                pulled = Pull::More;
                // What was sealed before and is still here has had its budget.
                if out.has_room() && conn.sealed_len() < self.io.config.budget_bytes {
                    let before = out.len();
                    pulled = self.handler.pull(&mut self.io, id, &mut out);
                    if out.len() > before {
                        out.mark_pulled();
                    }
                }
            }
            // The handler may have closed or moved it, or written behind what it pulled.
            let conn = self.io.conns.get_mut(slot as usize);
            let still =
                |conn: &&mut Conn<H::Layer>| conn.generation == id.generation && conn.state != State::Dead;
            let Some(conn) = conn.filter(still) else {
                self.io.pool.give_back(out);
                return;
            };
            conn.wants_pull |= pulled == Pull::More;
            if let Some(behind) = conn.out.take() {
                out.append(&behind);
                self.io.pool.give_back(behind);
            }
            if conn.layered.is_some() {
                let last = conn.state == State::Flushing;
                out = seal(conn, last, out, &mut self.io.pool, &mut self.plain);
                if let Some(why) = conn.layered.as_mut().and_then(|layered| layered.broken.take()) {
                    self.io.pool.give_back(out);
                    self.handler.broken(&mut self.io, id, why);
                    return self.io.kill(slot, Closed::Ours);
                }
            }
            let written = write(conn, &mut out);
            // Not only once all is written: a peer that lags for long would be read no more and look dead.
            let unchoked = conn.choked && out.answer_bytes() < self.io.config.budget_bytes;
            match written {
                Poll::Ready(Ok(())) => {
                    if let Some(layered) = &mut conn.layered {
                        layered.answer_bytes = 0;
                    }
                    self.io.pool.give_back(out);
                }
                Poll::Ready(Err(error)) => {
                    self.io.pool.give_back(out);
                    self.io.kill(slot, Closed::Error(error));
                    return;
                }
                Poll::Pending => {
                    match &mut conn.layered {
                        Some(layered) => {
                            layered.answer_bytes = layered.answer_bytes.min(out.len());
                            layered.sealed = Some(out);
                        }
                        None => conn.out = Some(out),
                    }
                    conn.blocked = true;
                    if unchoked {
                        conn.choked = false;
                        self.io.requeue(slot);
                    }
                    return self.handler.blocked(&mut self.io, id);
                }
            }
            if conn.state == State::Flushing {
                // Nothing comes any more from who has said so.
                if conn.has_ended() {
                    self.io.kill(slot, Closed::PeerClosed);
                } else {
                    self.shut(slot);
                }
                return;
            }
            if unchoked {
                conn.choked = false;
                self.io.requeue(slot);
            }
            if pulled == Pull::Done {
                return;
            }
        }
        if let Some(conn) = self.io.conns.get_mut(slot as usize)
            && !mem::replace(&mut conn.dirty, true)
        {
            self.io.dirty.push(slot);
        }
    }

    /// Ends our side of a connection that has been written to the end.
    fn shut(&mut self, slot: u32) {
        let Some(conn) = self.io.conns.get_mut(slot as usize) else { return };
        let mut cx = Context::from_waker(&conn.waker);
        match conn.stream.poll_shutdown(&mut cx) {
            Poll::Ready(Err(_)) => self.io.kill(slot, Closed::Ours),
            Poll::Ready(Ok(())) | Poll::Pending => {
                conn.state = State::Lingering;
                self.io.requeue(slot);
            }
        }
    }

    /// Removes the dead and tells the handler, who may kill others by it.
    fn bury(&mut self) {
        while let Some((slot, why)) = self.io.dead.pop() {
            if let Some(mut conn) = self.io.conns.try_remove(slot as usize) {
                // Closed at once, it has nothing more to say, but its layer has.
                if matches!(why, Closed::Ours) && conn.layered.as_ref().is_some_and(|layered| !layered.closed)
                {
                    conn.out = None;
                    last_words(&mut conn, &mut self.io.pool, &mut self.plain);
                }
                if let Some(out) = conn.out.take() {
                    self.io.pool.give_back(out);
                }
                let id = conn.id(slot);
                drop(conn);
                self.buried = true;
                self.handler.closed(&mut self.io, id, why);
            }
        }
    }
}

/// Writes what waits for a connection, and the good-bye of its layer, as far as the socket takes it.
fn last_words<L: Layer>(conn: &mut Conn<L>, pool: &mut Pool, flat: &mut Vec<u8>) {
    let mut out = conn.out.take().unwrap_or_else(|| pool.take());
    if conn.layered.is_some() {
        out = seal(conn, true, out, pool, flat);
    }
    let _ = write(conn, &mut out);
    pool.give_back(out);
}

/// Writes as much of `out` as the socket takes. Pending: it took no more, and the connection's waker is registered.
fn write<L>(conn: &mut Conn<L>, out: &mut OutBuf) -> Poll<io::Result<()>> {
    while !out.is_empty() {
        let mut cx = Context::from_waker(&conn.waker);
        let stream = &mut conn.stream;
        let written = if let Some(bytes) = out.contiguous() {
            ready!(stream.poll_write(&mut cx, bytes))
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let used = out.gather(&mut slices);
            ready!(stream.poll_write_vectored(&mut cx, slices.get(..used).unwrap_or_default()))
        };
        match written {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => out.advance(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}
