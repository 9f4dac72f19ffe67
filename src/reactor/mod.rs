//! A worker's loop: one thread, one `current_thread` runtime, one task that owns every connection of the worker.
//!
//! It moves bytes and mail between the kernel, the other workers and a [`Handler`]; it knows no protocol, no TLS and
//! no session. One turn of the loop accepts, takes the mail, reads what is readable, lets the handler's timers run,
//! posts to the other workers and flushes each touched connection once. What bounds what:
//!
//! - A connection that has nothing half-read and nothing half-written owns no buffer.
//! - A peer that does not read is held to the budget ([`Config::budget_bytes`]) plus one message of what the handler
//!   is asked to [`pull`](Handler::pull); when answers written outside of it fill a second budget, its reads stop.
//! - A peer that is always readable or writable gets [`READS_PER_TURN`] reads and as many writes before it's
//!   everybody else's turn, and the kernel is asked for other sockets in between.
//!
//! Listeners: all workers accept from the same listening socket (see [`listen`]). `SO_REUSEPORT` was the
//! alternative; it lets a second broker take half of the connections instead of refusing to start, and loses the
//! connections that wait at a worker which stops. Sessions move to their home after CONNECT anyway, so who accepts
//! does not matter.

pub mod mailbox;

#[cfg(not(loom))]
mod accept;
#[cfg(not(loom))]
mod alarm;
#[cfg(not(loom))]
mod conn;
#[cfg(not(loom))]
mod io;
#[cfg(not(loom))]
mod layer;
#[cfg(not(loom))]
mod layered;
#[cfg(not(loom))]
mod out;
#[cfg(not(loom))]
mod stream;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
#[cfg(not(loom))]
mod turn;
#[cfg(not(loom))]
mod wake;

#[cfg(not(loom))]
pub use self::{
    accept::{Socket, listen},
    conn::{Close, Closed, Detached},
    io::Io,
    layer::{Layer, Next, NoLayer, Opened},
    out::{BY_REFERENCE_BYTES, OutBuf},
    stream::{Credentials, Origin},
    turn::{COSTLY_PER_TURN, READS_PER_TURN, run},
};
pub use mailbox::Mailboxes;

#[cfg(not(loom))]
use {
    noctule_core::{
        id::{ConnId, WorkerId},
        refusal::Refusal,
    },
    std::time::Instant,
};

/// What a worker does with its connections. One value per worker, called from that worker's thread only.
///
/// A connection begins with [`accepted`](Self::accepted) or [`Io::adopt`] and ends with exactly one
/// [`closed`](Self::closed), or with [`Io::detach`] and none.
#[cfg(not(loom))]
pub trait Handler: Sized {
    /// What the handlers of other workers post to this one.
    type Mail: Send;

    /// What may lie between a connection's socket and this handler.
    type Layer: Layer;

    /// A peer has connected to that listener.
    fn accepted(
        &mut self,
        io: &mut Io<Self>,
        conn: ConnId,
        origin: Origin,
        listener: usize,
    ) -> Accept<Self::Layer>;

    /// Whether that listener may accept one more connection now, or when it is to be asked again, in monotonic
    /// milliseconds. Those that come until then wait in the kernel.
    fn may_accept(&mut self, io: &mut Io<Self>, listener: usize) -> Result<(), u64> {
        let _ = (io, listener);
        Ok(())
    }

    /// The [layer](Io::layer) of `conn` has found out something that can't wait for the first byte of the protocol.
    fn found(&mut self, io: &mut Io<Self>, conn: ConnId) {
        let _ = (io, conn);
    }

    /// The layer of `conn` has [done its part](Next::Bare) and is handed over, with what it has found out.
    fn unwrapped(&mut self, io: &mut Io<Self>, conn: ConnId, layer: Self::Layer) {
        let _ = (io, conn, layer);
    }

    /// The layer of `conn` [can't go on](Next::Broken). The handler closes it.
    fn broken(&mut self, io: &mut Io<Self>, conn: ConnId, why: Refusal) {
        let _ = why;
        io.close(conn, Close::AfterFlush);
    }

    /// `bytes` is everything unread of `conn`. Returns how many were consumed; the rest is kept and handed over again
    /// in front of what arrives next. The handler bounds it: it closes a connection whose frame it will not wait for.
    fn read(&mut self, io: &mut Io<Self>, conn: ConnId, bytes: &[u8]) -> usize;

    /// What a worker, or somebody [outside](mailbox::OUTSIDE) of them, has posted. In order per sender and lane.
    fn mail(&mut self, io: &mut Io<Self>, from: WorkerId, mail: Self::Mail);

    /// `conn` was [marked](Io::mark_dirty), had more the last time, or its socket takes more again: move what waits for it into
    /// `out` while [`OutBuf::has_room`]. At most once per flush; `out` goes to the kernel after it. Not called for a connection
    /// that is being closed.
    fn pull(&mut self, io: &mut Io<Self>, conn: ConnId, out: &mut OutBuf) -> Pull;

    /// The socket of `conn` took less than there was: it is not pulled before it takes more.
    fn blocked(&mut self, io: &mut Io<Self>, conn: ConnId) {
        let _ = (io, conn);
    }

    /// The peer of `conn` has ended its side and may still read; every whole frame that it sent was handed over before.
    /// Whether something is owed to it.
    fn ended(&mut self, _io: &mut Io<Self>, _conn: ConnId) -> Ended {
        Ended::Close
    }

    /// `conn` is gone, its id is void.
    fn closed(&mut self, io: &mut Io<Self>, conn: ConnId, why: Closed);

    /// Once per turn, after mail and reads and before flushing, and again behind the flush if a connection's end was
    /// told since. Does what is due at [`Io::now`] and returns when to be called at the latest, in monotonic
    /// milliseconds.
    fn turn(&mut self, io: &mut Io<Self>) -> Option<u64>;

    /// No connection could be accepted for want of descriptors or memory; accepting rests for
    /// [`Config::accept_pause_ms`]. To be logged and counted.
    fn accept_failed(&mut self, io: &mut Io<Self>, listener: usize, error: &std::io::Error);
}

/// Whether a connection is wanted.
#[cfg(not(loom))]
#[derive(Debug)]
pub enum Accept<L> {
    /// Serve it.
    Keep,
    /// Serve what comes through a layer.
    Behind(L),
    /// Close it without a word; [`Handler::closed`] is not called.
    Refuse,
}

/// What becomes of a connection whose peer has ended its side.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Write once what the socket takes, and close it.
    Close,
    /// Read no more, but pull and write until the handler closes it or [`Config::owed_ms`] have passed.
    Wait,
}

/// Whether anything is left to pull.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Nothing waits for this connection.
    Done,
    /// Something does; ask again when there is room.
    More,
}

/// Limits of one worker's loop.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many bytes may wait for one connection before pulling stops.
    pub budget_bytes: usize,
    /// How long a connection that is being closed may take to read what is left for it, in milliseconds.
    pub linger_ms: u64,
    /// How long a connection whose peer has ended its side may wait for what is owed to it, in milliseconds.
    pub owed_ms: u64,
    /// How many connections are accepted in one turn.
    pub accepts_per_turn: usize,
    /// How long accepting rests when descriptors or memory have run out, in milliseconds.
    pub accept_pause_ms: u64,
    /// Most bytes of empty out buffers kept for the next burst.
    pub pool_bytes: usize,
    /// When the process started: zero of the monotonic clock, the same for all workers.
    pub started: Instant,
}

#[cfg(not(loom))]
impl Default for Config {
    fn default() -> Self {
        Self {
            budget_bytes: 64 * 1024,
            linger_ms: 2_000,
            owed_ms: 5_000,
            accepts_per_turn: 64,
            accept_pause_ms: 100,
            pool_bytes: 8 * 1024 * 1024,
            started: Instant::now(),
        }
    }
}
