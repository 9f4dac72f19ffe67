//! One connection's place in the worker's table. What happens to it is in `turn` and `io`.

use std::task::Waker;

use super::layer::Layered;
use super::out::OutBuf;
use super::stream::{Stream, Unwatched};
use noctule_core::id::ConnId;

/// Why a connection is gone.
#[derive(Debug)]
pub enum Closed {
    /// The peer sent its end of stream. What was already answered has been written as far as the socket took it; what
    /// was owed to it beyond that did not come in time.
    PeerClosed,
    /// Reading or writing failed.
    Error(std::io::Error),
    /// The handler closed it.
    Ours,
}

/// How the handler closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// At once; what has not been written is dropped.
    Now,
    /// When what is buffered has been written and the peer has closed its side, or
    /// [`linger_ms`](super::Config::linger_ms) later. What the peer still sends is thrown away: closing a socket with
    /// unread bytes would reset it and could take the last words with it.
    AfterFlush,
}

/// A connection on its way to another worker.
#[derive(Debug)]
pub struct Detached<L> {
    pub(super) stream: Unwatched,
    pub(super) unread: Vec<u8>,
    pub(super) out: Option<Box<OutBuf>>,
    pub(super) layered: Option<Box<Layered<L>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Served.
    Open,
    /// Closed by the handler, with bytes to be written.
    Flushing,
    /// All written, our side shut; waiting for the peer's end of stream.
    Lingering,
    /// On the list of the dead, to be removed before the turn ends.
    Dead,
}

/// A connection. Every inline byte is paid by every idle connection.
#[derive(Debug)]
pub(super) struct Conn<L> {
    pub(super) stream: Stream,
    pub(super) waker: Waker,
    /// Bytes that the handler, or the layer below it, has not consumed; empty and without a buffer between frames.
    pub(super) unread: Vec<u8>,
    /// Bytes the kernel, or the layer, has not taken; none when there are none.
    pub(super) out: Option<Box<OutBuf>>,
    /// What lies between the socket and the handler, if anything does.
    pub(super) layered: Option<Box<Layered<L>>>,
    pub(super) generation: u32,
    pub(super) state: State,
    /// The handler has paused its reads.
    pub(super) paused: bool,
    /// The peer has ended its side and waits for what it is owed; `paused` for good.
    pub(super) ended: bool,
    /// Reads have stopped because too many answers wait to be written.
    pub(super) choked: bool,
    /// The handler has had enough of it for this turn.
    pub(super) had_turn: bool,
    /// `unread` is to be handed over again before anything is read.
    pub(super) refeed: bool,
    /// The socket took no more; its waker will say when it does.
    pub(super) blocked: bool,
    /// On the list of connections to be flushed.
    pub(super) dirty: bool,
    /// Whether the handler is to be asked for messages before the next flush.
    pub(super) wants_pull: bool,
    /// On the list of connections to be read in the next turn whatever the kernel says.
    pub(super) requeued: bool,
}

impl<L> Conn<L> {
    pub(super) fn new(stream: Stream, waker: Waker, generation: u32) -> Self {
        Self {
            stream,
            waker,
            unread: Vec::new(),
            out: None,
            layered: None,
            generation,
            state: State::Open,
            paused: false,
            ended: false,
            choked: false,
            had_turn: false,
            refeed: false,
            blocked: false,
            dirty: false,
            wants_pull: false,
            requeued: false,
        }
    }

    pub(super) fn id(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.generation }
    }

    pub(super) fn out_len(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.len()) + self.sealed_len()
    }

    /// As [`OutBuf::answer_bytes`], with those of the layer.
    pub(super) fn answer_bytes(&self) -> usize {
        let sealed = self.layered.as_ref().map_or(0, |layered| layered.answer_bytes);
        self.out.as_ref().map_or(0, |out| out.answer_bytes()) + sealed
    }

    /// Whether the peer has said good-bye in the layer, where there is one.
    pub(super) fn has_ended(&self) -> bool {
        self.layered.as_ref().is_some_and(|layered| layered.ended)
    }

    /// Bytes that the layer has sealed and the kernel has not taken.
    pub(super) fn sealed_len(&self) -> usize {
        self.layered.as_ref().map_or(0, |layered| layered.sealed_len())
    }
}
