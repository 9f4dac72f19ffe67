//! What may lie between a socket's bytes and those of a protocol: encryption, WebSocket, a proxy's header.
//!
//! Which layers there are is not known here. A connection without any has none of this.

use std::fmt;

use bytes::BytesMut;
use noctule_core::refusal::Refusal;

use super::out::OutBuf;

/// Turns what comes from the socket into what a protocol reads, and what it writes into what goes there.
///
/// Between two calls it holds no more than its state: what it can't use yet stays with the connection.
pub trait Layer: fmt::Debug + Send {
    /// Takes whole records or frames off the front of `wire`, which may be changed on the way; appends what they carry to
    /// `plain`, and what the layer itself has to say to the peer to `sealed`.
    fn open(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, sealed: &mut BytesMut) -> Opened;

    /// Appends `plain` to `sealed` as the peer wants to read it. Called with all that a flush has to write.
    ///
    /// # Errors
    /// Why the connection can't go on.
    fn seal(&mut self, plain: &[u8], sealed: &mut BytesMut) -> Result<(), Refusal>;

    /// Appends the layer's good-bye, unless it has said it. The last call.
    fn close(&mut self, sealed: &mut BytesMut);

    /// Whether the next [`open`](Self::open) may take long, as a handshake does, should there be anything to open; few such
    /// are done in one turn.
    fn is_costly(&self) -> bool;
}

/// What came of opening.
#[derive(Debug)]
pub struct Opened {
    /// How many bytes of the wire are done with.
    pub consumed: usize,
    /// What follows.
    pub next: Next,
    /// The handler is to hear of the layer at once, because it has [found out something](super::Handler::found).
    pub news: bool,
}

/// What follows from what was opened.
#[derive(Debug)]
pub enum Next {
    /// More of the same.
    GoOn,
    /// The layer has done its part: what is not consumed, and all that comes, is the protocol's.
    Bare,
    /// The peer has said good-bye; nothing more comes.
    Ended,
    /// It can't go on. What the layer has to say of it is sealed, and goes out before the connection ends.
    Broken(Refusal),
}

/// A layer and what is on its way through it. Boxed, so that it costs connections without any one pointer.
#[derive(Debug)]
pub(super) struct Layered<L> {
    pub(super) layer: L,
    /// What the handler has not consumed; without a buffer between frames.
    pub(super) plain: Vec<u8>,
    /// What the kernel has not taken.
    pub(super) sealed: Option<Box<OutBuf>>,
    /// Bytes of answers, the layer's own among them, that are sealed and that the kernel may not have taken: all of them,
    /// until all that is sealed is less.
    pub(super) answer_bytes: usize,
    /// The peer has said good-bye in the layer. Heeded when everything before it has been read.
    pub(super) ended: bool,
    /// The layer has said its good-bye.
    pub(super) closed: bool,
    /// Why nothing more can be sealed.
    pub(super) broken: Option<Refusal>,
}

impl<L> Layered<L> {
    pub(super) fn new(layer: L) -> Self {
        let (plain, sealed, answer_bytes) = (Vec::new(), None, 0);
        Self { layer, plain, sealed, answer_bytes, ended: false, closed: false, broken: None }
    }

    pub(super) fn sealed_len(&self) -> usize {
        self.sealed.as_ref().map_or(0, |sealed| sealed.len())
    }
}

/// For a handler whose connections have no layers.
#[derive(Debug)]
pub enum NoLayer {}

impl Layer for NoLayer {
    fn open(&mut self, _: &mut [u8], _: &mut Vec<u8>, _: &mut BytesMut) -> Opened {
        match *self {}
    }

    fn seal(&mut self, _: &[u8], _: &mut BytesMut) -> Result<(), Refusal> {
        match *self {}
    }

    fn close(&mut self, _: &mut BytesMut) {
        match *self {}
    }

    fn is_costly(&self) -> bool {
        match *self {}
    }
}
