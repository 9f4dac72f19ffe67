//! Where the head of an HTTP/1.1 message ends, and whether it can be read in one way only.
//!
//! What two readers could take for different messages is refused here, before anything is parsed: lines that end in
//! something else than CR LF (RFC 9112, section 2.2), folded ones (section 5.2), empty ones in front.

use thiserror::Error;

use crate::excerpt::Excerpt;
use crate::rejection::Rejection;
use crate::request::Request;

/// Limits that a head must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Most bytes, from the first line to the empty one.
    pub max_bytes: usize,
    /// Most header lines.
    pub max_headers: usize,
}

impl Default for HeadLimits {
    /// 8 KiB and 64 lines: some browsers send every cookie they have.
    fn default() -> Self {
        Self { max_bytes: 8 << 10, max_headers: 64 }
    }
}

/// Why a head is none, or not one that can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeadFault {
    /// A first byte that begins no HTTP.
    #[error(
        "the first byte is 0x{0:02x}, which begins no HTTP/1.1 (0x16 would be TLS, 0x10 plain MQTT); \
         this port wants WebSocket (ws://)"
    )]
    NotHttp(u8),
    /// A CR without LF or an LF without CR.
    #[error("line {line} has a CR or LF by itself; end lines with CR LF, and put neither into them")]
    BareLineEnd {
        /// Which line, counted from 1.
        line: usize,
    },
    /// A line that continues the one before.
    #[error("line {line} begins with a space; folded header lines are not accepted, write the header on one")]
    FoldedLine {
        /// Which line, counted from 1.
        line: usize,
    },
    /// More bytes than the limit.
    #[error("the head has more than {limit} bytes; send fewer or shorter headers (cookies?)")]
    TooLarge {
        /// Most bytes allowed.
        limit: usize,
    },
    /// More header lines than the limit.
    #[error("there are more than {limit} headers; send fewer")]
    TooManyHeaders {
        /// Most header lines allowed.
        limit: usize,
    },
    /// A first line or a header that breaks the grammar.
    #[error("{0}; the head is not HTTP/1.1")]
    Malformed(httparse::Error),
    /// A header that may stand there only once.
    #[error("header {0} is there more than once; send it once")]
    Duplicate(&'static str),
    /// A header whose value can't be read.
    #[error("header {name} is {value}; only visible ASCII is accepted")]
    NotText {
        /// The header.
        name: &'static str,
        /// What it says.
        value: Excerpt,
    },
}

/// Waits for the end of a head, looking at each byte once however small the pieces are that it comes in.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadReader {
    /// Bytes that have been looked at.
    seen: usize,
    /// Where the line begins that is being read.
    line: usize,
    /// Lines before it.
    lines: usize,
}

/// A whole head, not yet parsed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Its bytes, the empty line among them.
    pub(crate) len: usize,
    /// Its header lines, the first line not among them.
    pub(crate) headers: usize,
}

impl HeadReader {
    /// At the beginning of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The request at the front of `wire`, which after `None` must begin with the same bytes as before; `None` while its
    /// head isn't whole. Behind [`Request::len`] bytes the frames begin.
    ///
    /// # Errors
    /// When it is no request for a WebSocket: [`write`](Rejection::write) the answer and close the connection.
    pub fn request<'a>(
        &mut self,
        wire: &'a [u8],
        limits: &HeadLimits,
    ) -> Result<Option<Request<'a>>, Rejection> {
        let Some(head) = self.end(wire, limits)? else { return Ok(None) };
        Request::parse(wire.get(..head.len).unwrap_or_default(), head.headers).map(Some)
    }

    /// Where the head ends; `None` while it doesn't.
    pub(crate) fn end(&mut self, wire: &[u8], limits: &HeadLimits) -> Result<Option<Head>, HeadFault> {
        while let Some(&byte) = wire.get(self.seen) {
            if self.seen >= limits.max_bytes {
                return Err(HeadFault::TooLarge { limit: limits.max_bytes });
            }
            let before = self.seen.checked_sub(1).and_then(|at| wire.get(at));
            // Methods and "HTTP" are capital letters.
            if before.is_none() && !byte.is_ascii_uppercase() {
                return Err(HeadFault::NotHttp(byte));
            }
            if (byte == b'\n') != (before == Some(&b'\r')) {
                return Err(HeadFault::BareLineEnd { line: self.lines + 1 });
            }
            if self.seen == self.line && matches!(byte, b' ' | b'\t') {
                return Err(HeadFault::FoldedLine { line: self.lines + 1 });
            }
            self.seen += 1;
            if byte == b'\n' {
                // The first line is not empty, since it begins with a letter.
                if self.seen - self.line == 2 {
                    return Ok(Some(Head { len: self.seen, headers: self.lines.saturating_sub(1) }));
                }
                self.lines += 1;
                self.line = self.seen;
                // The first line is no header, and the line that begins now may be the empty one.
                if self.lines > limits.max_headers + 1 {
                    return Err(HeadFault::TooManyHeaders { limit: limits.max_headers });
                }
            }
        }
        Ok(None)
    }
}

/// The value of a header that may stand there once, and must be visible ASCII, spaces or tabs.
pub(crate) fn once<'a>(
    slot: &mut Option<&'a str>,
    name: &'static str,
    value: &'a [u8],
) -> Result<(), HeadFault> {
    if slot.is_some() {
        return Err(HeadFault::Duplicate(name));
    }
    *slot = Some(text(name, value)?);
    Ok(())
}

/// `value` without the white space around it, if it is ASCII.
pub(crate) fn text<'a>(name: &'static str, value: &'a [u8]) -> Result<&'a str, HeadFault> {
    match std::str::from_utf8(value) {
        Ok(text) if text.is_ascii() => Ok(text.trim_ascii()),
        _ => Err(HeadFault::NotText { name, value: Excerpt::of(value) }),
    }
}

/// The elements of a comma-separated list, empty ones left out (RFC 9110, section 5.6.1.2).
pub(crate) fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim_ascii).filter(|element| !element.is_empty())
}
