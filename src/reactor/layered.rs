//! Reading and writing of connections that have a layer.

use std::{
    io, mem,
    task::{Context, Poll},
};

use noctule_core::id::ConnId;
use tokio::io::ReadBuf;

use super::{
    Handler,
    conn::{Closed, Conn, State},
    io::find,
    layer::{Layer, Next, Opened},
    out::{OutBuf, Pool},
    turn::{COSTLY_PER_TURN, MAX_KEPT_PLAIN_BYTES, SMALL_UNREAD_BYTES, Worker},
};

impl<H: Handler> Worker<H> {
    /// Reads once from a connection that has a layer. Pending: it has had its turn, or nothing more is to be read now.
    pub(super) fn read_layered(&mut self, slot: u32, id: ConnId) -> Poll<()> {
        let Some(conn) = self.io.conns.get_mut(slot as usize) else { return Poll::Pending };
        let Some(layered) = conn.layered.as_mut() else { return Poll::Ready(()) };
        if mem::take(&mut conn.refeed) && !layered.plain.is_empty() {
            // What was left behind by a pause or by another worker. What is not opened was not whole, and waits for more.
            let plain = mem::take(&mut layered.plain);
            self.feed(id, plain);
            return Poll::Ready(());
        }
        if layered.ended {
            self.end(id);
            return Poll::Pending;
        }
        let is_costly = layered.layer.is_costly();
        if is_costly && self.costly >= COSTLY_PER_TURN {
            self.io.requeue(slot);
            return Poll::Pending;
        }
        let mut wire = mem::take(&mut conn.unread);
        let in_front = if wire.len() <= SMALL_UNREAD_BYTES { wire.len() } else { 0 };
        let (front, room) = self.scratch.split_at_mut(in_front);
        let most = room.len().min(self.io.read_bytes);
        let mut buf = ReadBuf::new(room.get_mut(..most).unwrap_or_default());
        let got = match conn.stream.poll_read(&mut Context::from_waker(&conn.waker), &mut buf) {
            Poll::Ready(Ok(())) => buf.filled().len(),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {
                conn.unread = wire;
                return Poll::Ready(());
            }
            Poll::Ready(Err(error)) => {
                self.io.kill(slot, Closed::Error(error));
                return Poll::Pending;
            }
            Poll::Pending => {
                conn.unread = wire;
                return Poll::Pending;
            }
        };
        if got == 0 {
            self.end(id);
            return Poll::Pending;
        }
        self.costly += usize::from(is_costly);
        if in_front == wire.len() {
            front.copy_from_slice(&wire);
            wire.clear();
            let mut scratch = mem::take(&mut self.scratch);
            self.open_slice(slot, id, scratch.get_mut(..in_front + got).unwrap_or_default(), wire);
            self.scratch = scratch;
        } else {
            wire.extend_from_slice(buf.filled());
            self.open(slot, id, wire);
        }
        Poll::Ready(())
    }

    fn open(&mut self, slot: u32, id: ConnId, mut wire: Vec<u8>) {
        self.open_slice(slot, id, &mut wire, Vec::new());
    }

    /// Opens `wire`; what is left of it is kept in `rest`.
    fn open_slice(&mut self, slot: u32, id: ConnId, wire: &mut [u8], mut rest: Vec<u8>) {
        let Some(conn) = find(&mut self.io.conns, id) else { return };
        let Some(layered) = conn.layered.as_mut() else { return };
        // What is large and comes in pieces is not copied once for each.
        let mut plain = mem::take(&mut layered.plain);
        if plain.len() <= SMALL_UNREAD_BYTES {
            let small = mem::replace(&mut plain, mem::take(&mut self.plain));
            plain.extend_from_slice(&small);
        }
        let sealed = layered.sealed.get_or_insert_with(|| self.io.pool.take());
        let before = sealed.len();
        let Opened { consumed, next, news } = layered.layer.open(wire, &mut plain, sealed.put());
        layered.answer_bytes += sealed.len() - before;
        let (mut is_bare, mut is_broken) = (false, false);
        match next {
            Next::GoOn => {}
            // Now, because these two go along if the connection moves. The next look at it sees the end, if its reads are
            // not paused.
            Next::Ended => layered.ended = true,
            Next::Broken(why) => {
                layered.broken = Some(why);
                is_broken = true;
            }
            Next::Bare => is_bare = true,
        }
        rest.extend_from_slice(wire.get(consumed..).unwrap_or_default());
        conn.unread = rest;
        if news {
            self.handler.found(&mut self.io, id);
        }
        let Some(conn) = find(&mut self.io.conns, id) else { return };
        let Some(layered) = conn.layered.as_mut() else { return };
        let says = layered.sealed_len() > 0;
        if !says && let Some(sealed) = layered.sealed.take() {
            self.io.pool.give_back(sealed);
        }
        if says {
            self.io.mark_dirty(id);
        }
        if !plain.is_empty() {
            plain = self.feed(id, plain);
        }
        if (self.plain.capacity()..=MAX_KEPT_PLAIN_BYTES).contains(&plain.capacity()) {
            self.plain = plain;
        }
        if is_bare {
            self.unwrap(slot, id);
        }
        if is_broken {
            self.end_broken(slot, id);
        }
    }

    /// Tells the handler that the layer can't go on, unless it has closed the connection anyway.
    fn end_broken(&mut self, slot: u32, id: ConnId) {
        let Some(conn) = self.io.conns.get_mut(slot as usize).filter(|conn| conn.generation == id.generation)
        else {
            return;
        };
        let is_open = conn.state == State::Open;
        let why = conn.layered.as_mut().and_then(|layered| layered.broken.take());
        if let Some(why) = why.filter(|_| is_open) {
            self.handler.broken(&mut self.io, id, why);
        }
    }

    /// Hands what was opened to the handler, keeps what it leaves, and gives back a buffer that is empty: another one, if much
    /// is left.
    fn feed(&mut self, id: ConnId, mut plain: Vec<u8>) -> Vec<u8> {
        let consumed = self.handler.read(&mut self.io, id, &plain);
        if let Some(left) = plain.get(consumed..).filter(|left| !left.is_empty())
            && let Some(conn) = find(&mut self.io.conns, id)
        {
            let left = if left.len() <= SMALL_UNREAD_BYTES {
                left.to_vec()
            } else {
                plain.drain(..consumed);
                mem::take(&mut plain)
            };
            match &mut conn.layered {
                Some(layered) => layered.plain = left,
                None => conn.unread = left,
            }
        }
        plain.clear();
        plain
    }

    /// Takes the layer away; what it has not consumed is read without it.
    fn unwrap(&mut self, slot: u32, id: ConnId) {
        let Some(conn) = find(&mut self.io.conns, id) else { return };
        let Some(layered) = conn.layered.take() else { return };
        conn.out = layered.sealed;
        conn.refeed = !conn.unread.is_empty();
        self.handler.unwrapped(&mut self.io, id, layered.layer);
        self.io.requeue(slot);
    }
}

/// Seals what is in `out` behind what is sealed already, and the good-bye if it is the `last`; returns what goes to the
/// socket.
pub(super) fn seal<L: Layer>(
    conn: &mut Conn<L>,
    last: bool,
    out: Box<OutBuf>,
    pool: &mut Pool,
    flat: &mut Vec<u8>,
) -> Box<OutBuf> {
    let Some(layered) = conn.layered.as_mut() else { return out };
    let mut sealed = layered.sealed.take().unwrap_or_else(|| pool.take());
    layered.answer_bytes += out.answer_bytes();
    if !out.is_empty() {
        let result = match out.contiguous() {
            Some(bytes) => layered.layer.seal(bytes, sealed.put()),
            None => {
                out.flatten(flat);
                let result = layered.layer.seal(flat, sealed.put());
                flat.clear();
                if flat.capacity() > MAX_KEPT_PLAIN_BYTES {
                    *flat = Vec::new();
                }
                result
            }
        };
        layered.broken = layered.broken.take().or(result.err());
    }
    pool.give_back(out);
    if last && !mem::replace(&mut layered.closed, true) {
        layered.layer.close(sealed.put());
    }
    sealed
}

#[cfg(test)]
mod tests;
