//! One whole frame, borrowed from the read buffer.

use crate::command::Command;
use crate::headers::Headers;

/// A frame that is whole and well-formed; whether it makes sense is not known here.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The first line.
    pub command: Command,
    /// What stands before the empty line.
    pub headers: Headers<'a>,
    /// What stands between the empty line and the NUL; empty for all but SEND, MESSAGE and ERROR.
    pub body: &'a [u8],
    /// Bytes of the whole frame, its NUL included: how far to advance the buffer.
    pub len: usize,
}
