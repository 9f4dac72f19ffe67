//! Writes frames: LF only, every escape that the version knows, and a `content-length` where there may be a body, unless
//! that is asked to be left out.
//!
//! Whatever text it is given, what comes out is one frame with those headers: nothing in a name or a value can end a
//! line or the frame. That is why the text may have to suffer, see [`FrameWriter::header`].

use bytes::{BufMut, BytesMut};

use crate::command::Command;
use crate::escape::{Escapes, telling, word_at};
use crate::version::Version;

/// One frame on its way into a buffer.
///
/// ```
/// use bytes::BytesMut;
/// use noctule_stomp::{Command, FrameWriter, Version};
///
/// let mut out = BytesMut::new();
/// let mut frame = FrameWriter::new(&mut out, Version::V12, Command::Send);
/// frame.header("destination", "/queue/a").header("note", "10:30").number("priority", 4u8);
/// frame.finish(b"hi");
/// assert_eq!(&out[..], b"SEND\ndestination:/queue/a\nnote:10\\c30\npriority:4\ncontent-length:2\n\nhi\0");
/// ```
#[derive(Debug)]
#[must_use = "a frame is whole only after finish or head_only"]
pub struct FrameWriter<'a> {
    out: &'a mut BytesMut,
    command: Command,
    escapes: Escapes,
    /// Whether the reader may take a CR before LF for a part of the line's end.
    crlf_is_eol: bool,
    has_length: bool,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame behind whatever `out` holds.
    #[inline]
    pub fn new(out: &'a mut BytesMut, version: Version, command: Command) -> Self {
        let connecting = command.is_connect() || command == Command::Connected;
        put(out, &[command.as_str().as_bytes(), b"\n"]);
        Self {
            out,
            command,
            escapes: Escapes::of(Some(version), command),
            crlf_is_eol: connecting || version == Version::V12,
            has_length: command.has_body(),
        }
    }

    /// A header. `content-length` is not for here: the end of the frame writes it.
    ///
    /// What the version cannot express is altered: U+0000 becomes a space everywhere; a newline, in 1.0 and in CONNECT
    /// and CONNECTED, which have no escapes, becomes a space, and so does a colon in a name there; and in CONNECT and
    /// CONNECTED a carriage return. A header without a name cannot be written and is left out.
    #[inline]
    pub fn header(&mut self, name: &str, value: &str) -> &mut Self {
        if name.is_empty() {
            return self;
        }
        if is_plain(name.as_bytes()) && is_plain(value.as_bytes()) {
            put(self.out, &[name.as_bytes(), b":", value.as_bytes(), b"\n"]);
        } else {
            self.escaped(name, true);
            self.out.put_u8(b':');
            self.escaped(value, false);
            self.out.put_u8(b'\n');
        }
        self
    }

    /// A header whose value is a number, in decimal digits.
    #[inline]
    pub fn number(&mut self, name: &str, value: impl Integer) -> &mut Self {
        let mut digits = [0; MAX_DIGITS];
        self.header(name, decimal(value, &mut digits))
    }

    /// Leaves `content-length` out: the body ends at its first NUL, so that it must not have one of its own.
    #[inline]
    pub fn without_length(&mut self) -> &mut Self {
        self.has_length = false;
        self
    }

    /// Ends the head, with the `content-length` of `body` if the command may have one, and writes body and NUL. The
    /// body of a command that may not is left out.
    #[inline]
    pub fn finish(self, body: &[u8]) {
        let body = if self.command.has_body() { body } else { &[] };
        let out = self.end_head(body.len());
        put(out, &[body, b"\0"]);
    }

    /// Ends the head as [`FrameWriter::finish`] does for a body of so many bytes. Body and NUL are to follow at once;
    /// for a command that may not have a body, the NUL alone.
    #[inline]
    pub fn head_only(self, body_len: usize) {
        self.end_head(body_len);
    }

    #[inline]
    fn end_head(self, body_len: usize) -> &'a mut BytesMut {
        if self.has_length {
            let mut digits = [0; MAX_DIGITS];
            let digits = decimal(body_len, &mut digits);
            put(self.out, &[b"content-length:", digits.as_bytes(), b"\n\n"]);
        } else {
            self.out.put_u8(b'\n');
        }
        self.out
    }

    /// Copies `text` with every telling byte as the version writes it.
    fn escaped(&mut self, text: &str, is_name: bool) {
        let bytes = text.as_bytes();
        self.out.reserve(bytes.len());
        let mut copied = 0;
        for (place, byte) in bytes.iter().enumerate() {
            let Some(written) = self.escapes.written(*byte, is_name, self.crlf_is_eol) else { continue };
            self.out.put_slice(bytes.get(copied..place).unwrap_or_default());
            self.out.put_slice(written);
            copied = place + 1;
        }
        self.out.put_slice(bytes.get(copied..).unwrap_or_default());
    }
}

/// Appends the parts with one look at the buffer's room.
#[inline]
fn put(out: &mut BytesMut, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.put_slice(part);
    }
}

/// Whether no version writes any of these bytes otherwise than they are.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        if telling(word_at(bytes, at)) != 0 {
            return false;
        }
        at += 8;
    }
    true
}

/// Digits of the longest number, with its sign.
const MAX_DIGITS: usize = 20;

/// An integer that [`FrameWriter::number`] can write.
pub trait Integer: sealed::Magnitude {}

mod sealed {
    /// Sign and magnitude.
    pub trait Magnitude: Copy {
        fn is_below_zero(self) -> bool;
        fn magnitude(self) -> u64;
    }
}

macro_rules! integers {
    ($($signed:ty, $unsigned:ty;)*) => {$(
        impl Integer for $unsigned {}
        impl Integer for $signed {}
        impl sealed::Magnitude for $unsigned {
            fn is_below_zero(self) -> bool {
                false
            }
            fn magnitude(self) -> u64 {
                self as u64
            }
        }
        impl sealed::Magnitude for $signed {
            fn is_below_zero(self) -> bool {
                self < 0
            }
            fn magnitude(self) -> u64 {
                self.unsigned_abs() as u64
            }
        }
    )*};
}

integers! { i8, u8; i16, u16; i32, u32; i64, u64; isize, usize; }

/// The decimal digits of `value`, at the end of `digits`.
#[inline]
fn decimal(value: impl Integer, digits: &mut [u8; MAX_DIGITS]) -> &str {
    let mut rest = value.magnitude();
    let mut start = MAX_DIGITS;
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        // Below 10, so the cast is exact.
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        start = place;
        if rest == 0 {
            break;
        }
    }
    if value.is_below_zero() {
        // A negative number has 19 digits at most, so there is room for the sign.
        start = start.saturating_sub(1);
        if let Some(sign) = digits.get_mut(start) {
            *sign = b'-';
        }
    }
    std::str::from_utf8(digits.get(start..).unwrap_or_default()).unwrap_or_default()
}
