//! Cuts the stream into frames and validates their heads: `COMMAND EOL *(name:value EOL) EOL body NUL *(EOL)`.
//!
//! Everything that can be refused is refused as early as the bytes allow, nothing is allocated, and every byte is
//! looked at once however small the pieces are that it comes in: the [`Framer`] keeps how far it has come. What the
//! headers mean is not known here, but for `content-length`.
//!
//! Where the specifications leave a choice, or contradict the field:
//!
//! - A line ends in LF; in 1.2, and before the version is known, also in CR LF. In 1.0 and 1.1 a CR is data. Between
//!   frames CR LF is noise in every version.
//! - Nothing is trimmed, not even in 1.0. Only a number may have spaces around it there, as that text's examples do.
//! - A colon in a value is accepted though it should have been escaped. A CR inside a line of 1.2 is not.
//! - A NUL in a head is refused: it is where a forgotten empty line shows.

use memchr::{memchr, memchr_iter, memchr3};

use crate::command::Command;
use crate::error::{Excerpt, FrameError, FrameFault, Place};
use crate::escape::{Escapes, telling, word_at};
use crate::frame::Frame;
use crate::headers::Headers;
use crate::version::{Reading, Version};

/// Limits that every frame must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Most headers of a frame; never more than 65,535.
    pub max_headers: usize,
    /// Most bytes of one header: its name, the colon and its value as they are on the wire.
    pub max_header_line: usize,
    /// Most bytes of a body; never 4 GiB or more.
    pub max_body: usize,
    /// Most bytes of a whole frame as long as the version is not known.
    pub max_connect: usize,
}

impl Default for FrameLimits {
    /// 64 headers of 8 KiB, bodies of 1 MiB, and 64 KiB for the first frame.
    fn default() -> Self {
        Self { max_headers: 64, max_header_line: 8 << 10, max_body: 1 << 20, max_connect: 64 << 10 }
    }
}

/// What the front of a buffer holds.
#[derive(Clone, Copy, Debug)]
pub enum Split<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// So many bytes of EOLs between frames: heart-beats, to be skipped.
    Beats(usize),
    /// Not yet a whole frame, or nothing.
    Incomplete,
}

/// How far the front of a buffer has been read; new for every frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framer {
    /// No byte before this one, counted from the frame's first, is looked for again.
    at: usize,
    /// Where the line that is being read begins; the body, once the head is complete.
    start: usize,
    /// What `content-length` said first; 4 GiB and more are all the same.
    length: Option<u32>,
    /// The name's length on the line that is being read, plus 1; 0 before its colon.
    named: u32,
    headers: u16,
    command: Option<Command>,
    marks: Marks,
}

/// What was met, as bits: a struct of flags would double the framer.
#[derive(Clone, Copy, Debug, Default)]
struct Marks(u8);

impl Marks {
    /// The line that is being read has a backslash.
    const BACKSLASH: u8 = 1;
    /// The line that is being read has a CR.
    const CR: u8 = 2;
    /// Some header has an escape.
    const ESCAPED: u8 = 4;
    /// Some line ends in CR LF.
    const CRLF: u8 = 8;
    /// The head is complete and in order.
    const HEAD: u8 = 16;

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    fn set(&mut self, mark: u8) {
        self.0 |= mark;
    }
}

/// What the lines of one frame are judged by.
#[derive(Clone, Copy)]
struct Rules<'l> {
    command: Command,
    reading: Reading,
    escapes: Escapes,
    limits: &'l FrameLimits,
}

impl Framer {
    /// At the beginning of a frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The frame or the heart-beats at the front of `bytes`, which must begin where the last ones ended and, after
    /// [`Split::Incomplete`], with the same bytes as before.
    ///
    /// # Errors
    /// When this can't become a frame that is allowed here; the connection is then beyond repair, as its frames can
    /// no longer be told apart.
    #[inline]
    pub fn split<'a>(
        &mut self,
        bytes: &'a [u8],
        dialect: Reading,
        limits: &FrameLimits,
    ) -> Result<Split<'a>, FrameError> {
        let mut split = self.advance(bytes, dialect, limits);
        if dialect.version.is_none() {
            split = within_connect(split, bytes.len(), limits.max_connect);
        }
        match split {
            Ok(split) => Ok(split),
            Err(fault) => {
                let command = self.command;
                *self = Self::new();
                Err(FrameError { fault, receipt: receipt(bytes, command, dialect, limits) })
            }
        }
    }

    fn advance<'a>(
        &mut self,
        bytes: &'a [u8],
        reading: Reading,
        limits: &FrameLimits,
    ) -> Result<Split<'a>, FrameFault> {
        let command = match self.command {
            Some(command) => command,
            None => {
                let beats = beats(bytes);
                if beats > 0 {
                    return Ok(Split::Beats(beats));
                }
                match self.read_command(bytes, reading)? {
                    Some(command) => command,
                    None => return Ok(Split::Incomplete),
                }
            }
        };
        let rules = Rules { command, reading, escapes: Escapes::of(reading.version, command), limits };
        let mut lines = None;
        if !self.marks.has(Marks::HEAD) {
            // Worked on in a copy, which the compiler can keep in registers.
            let mut line = *self;
            let complete = line.read_head(bytes, &rules);
            *self = line;
            if !complete? {
                return Ok(Split::Incomplete);
            }
            lines = Some(self.complete_head(bytes, &rules)?);
        }
        let Some(end) = self.read_body(bytes, &rules)? else { return Ok(Split::Incomplete) };
        let lines = match lines {
            Some(lines) => lines,
            // It was validated when it was complete; a reference into a buffer cannot be kept from then.
            None => self.lines(bytes, command)?,
        };
        let escapes = if self.marks.has(Marks::ESCAPED) { rules.escapes } else { Escapes::None };
        let headers = Headers::from_validated(lines, self.headers, escapes, self.marks.has(Marks::CRLF));
        let body = bytes.get(self.start..end).unwrap_or_default();
        *self = Self::new();
        Ok(Split::Frame(Frame { command, headers, body, len: end + 1 }))
    }

    /// The command, once its line is there.
    #[inline]
    fn read_command(&mut self, bytes: &[u8], reading: Reading) -> Result<Option<Command>, FrameFault> {
        // With CR and LF. So short that to look again at all of it is cheaper than to keep a place.
        let front = bytes.get(..Command::LONGEST + 2).unwrap_or(bytes);
        if reading.version.is_none()
            && let Some((what, mend)) = other_protocol(front)
        {
            return Err(FrameFault::OtherProtocol { what, mend });
        }
        let Some(end) = front.iter().position(|byte| *byte == b'\n') else {
            return if front.len() < Command::LONGEST + 2 && !front.contains(&0) {
                Ok(None)
            } else {
                Err(FrameFault::LineTooLong)
            };
        };
        let line = front.get(..end).unwrap_or_default();
        let name = match line.strip_suffix(b"\r") {
            Some(name) if reading.allows_crlf() => {
                self.marks.set(Marks::CRLF);
                name
            }
            _ => line,
        };
        let Some(command) = Command::parse(name) else {
            return Err(FrameFault::UnknownCommand(Excerpt::of(line)));
        };
        if command.direction() != reading.direction {
            return Err(FrameFault::WrongDirection { command });
        }
        self.command = Some(command);
        self.start = end + 1;
        self.at = end + 1;
        Ok(Some(command))
    }

    /// Reads on until the empty line: true once it is there.
    #[inline]
    fn read_head(&mut self, bytes: &[u8], rules: &Rules<'_>) -> Result<bool, FrameFault> {
        while self.at < bytes.len() {
            let word = self.at;
            let mut mask = telling(word_at(bytes, word));
            while mask != 0 {
                let place = word + mask.trailing_zeros() as usize / 8;
                mask &= mask - 1;
                match bytes.get(place) {
                    Some(b'\n') if self.end_line(bytes, place, rules)? => return Ok(true),
                    Some(b':') if self.named == 0 => {
                        // A line longer than that is refused at its end.
                        self.named = u32::try_from(place - self.start + 1).unwrap_or(u32::MAX);
                    }
                    Some(b'\\') => self.marks.set(Marks::BACKSLASH),
                    Some(b'\r') => self.marks.set(Marks::CR),
                    Some(0) => return Err(FrameFault::NulInHead(self.place(bytes, place, rules))),
                    _ => {}
                }
            }
            self.at = bytes.len().min(word + 8);
        }
        // One byte more: it may be the CR of the line's end.
        if bytes.len().saturating_sub(self.start) > rules.limits.max_header_line.saturating_add(1) {
            return Err(self.too_long(bytes, bytes.len(), rules));
        }
        Ok(false)
    }

    /// Judges the line that ends before the LF at `place`: true if it is the empty one.
    #[inline]
    fn end_line(&mut self, bytes: &[u8], place: usize, rules: &Rules<'_>) -> Result<bool, FrameFault> {
        let mut end = place;
        if self.marks.has(Marks::CR) {
            end = self.carriage_returns(bytes, place, rules)?;
        }
        if end == self.start {
            self.start = place + 1;
            return Ok(true);
        }
        if self.named <= 1 {
            let place = self.place(bytes, end, rules);
            return Err(match self.named {
                0 => FrameFault::HeaderWithoutColon(place),
                _ => FrameFault::HeaderWithoutName(place),
            });
        }
        if end - self.start > rules.limits.max_header_line {
            return Err(self.too_long(bytes, end, rules));
        }
        if usize::from(self.headers) >= rules.limits.max_headers || self.headers == u16::MAX {
            let limit = rules.limits.max_headers;
            return Err(FrameFault::TooManyHeaders { command: rules.command, limit });
        }
        if self.marks.has(Marks::BACKSLASH) && rules.escapes != Escapes::None {
            self.check_escapes(bytes, end, rules)?;
        }
        // 14 bytes and the 1 that is added.
        if self.named == 15 && self.length.is_none() {
            self.read_length(bytes, end, rules)?;
        }
        self.headers += 1;
        self.start = place + 1;
        self.named = 0;
        self.marks.0 &= !(Marks::BACKSLASH | Marks::CR);
        Ok(false)
    }

    /// Where the line ends that has a CR somewhere and its LF at `place`.
    #[cold]
    fn carriage_returns(
        &mut self,
        bytes: &[u8],
        place: usize,
        rules: &Rules<'_>,
    ) -> Result<usize, FrameFault> {
        if !rules.reading.allows_crlf() {
            return Ok(place);
        }
        let line = bytes.get(self.start..place).unwrap_or_default();
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if text.len() < line.len() {
            self.marks.set(Marks::CRLF);
        }
        if rules.reading.version == Some(Version::V12) && memchr(b'\r', text).is_some() {
            return Err(FrameFault::BareCarriageReturn(self.place(bytes, place, rules)));
        }
        Ok(self.start + text.len())
    }

    #[cold]
    fn check_escapes(&mut self, bytes: &[u8], end: usize, rules: &Rules<'_>) -> Result<(), FrameFault> {
        self.marks.set(Marks::ESCAPED);
        let line = bytes.get(self.start..end).unwrap_or_default();
        let Some(bad) = rules.escapes.first_bad(line) else { return Ok(()) };
        let escape = line.get(bad..line.len().min(bad + 2)).unwrap_or_default();
        let known = if rules.escapes == Escapes::V12 { "\\n, \\r, \\c" } else { "\\n, \\c" };
        let place = self.place(bytes, end, rules);
        Err(FrameFault::BadEscape { place, escape: Excerpt::of(escape), known })
    }

    /// Takes the line that is being read for `content-length`, if that is its name.
    fn read_length(&mut self, bytes: &[u8], end: usize, rules: &Rules<'_>) -> Result<(), FrameFault> {
        let line = bytes.get(self.start..end).unwrap_or_default();
        let Some(mut digits) = line.strip_prefix(b"content-length:") else { return Ok(()) };
        if rules.reading.version == Some(Version::V10) {
            digits = digits.trim_ascii();
        }
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            let value = Excerpt::of(digits);
            return Err(FrameFault::BadContentLength { command: rules.command, value });
        }
        let number = digits.iter().fold(0u32, |number, digit| {
            number.saturating_mul(10).saturating_add(u32::from(digit.wrapping_sub(b'0')))
        });
        self.length = Some(number);
        Ok(())
    }

    /// Judges the head as a whole, once the empty line was there; gives its lines.
    #[inline]
    fn complete_head<'a>(&mut self, bytes: &'a [u8], rules: &Rules<'_>) -> Result<&'a str, FrameFault> {
        let Rules { command, limits, .. } = *rules;
        let lines = self.lines(bytes, command)?;
        match self.length {
            Some(1..) if !command.has_body() => return Err(FrameFault::BodyNotAllowed { command }),
            Some(size) if size == u32::MAX || size as usize > limits.max_body => {
                return Err(FrameFault::BodyTooLarge { command, size: size.into(), limit: limits.max_body });
            }
            _ => {}
        }
        self.marks.set(Marks::HEAD);
        self.at = self.start;
        Ok(lines)
    }

    /// The lines between command and empty line.
    #[inline]
    fn lines<'a>(&self, bytes: &'a [u8], command: Command) -> Result<&'a str, FrameFault> {
        let name = command.as_str().len();
        let first = name + if bytes.get(name) == Some(&b'\r') { 2 } else { 1 };
        // Without the empty line, which may have a CR.
        let last = match self.start.checked_sub(2).and_then(|at| bytes.get(at)) {
            Some(b'\r') if self.marks.has(Marks::CRLF) => self.start - 2,
            _ => self.start - 1,
        };
        let head = bytes.get(first..last).unwrap_or_default();
        std::str::from_utf8(head).map_err(|error| not_utf8(head, error.valid_up_to(), command))
    }

    /// The place of the NUL behind the body, once it is there.
    #[inline]
    fn read_body(&mut self, bytes: &[u8], rules: &Rules<'_>) -> Result<Option<usize>, FrameFault> {
        let Rules { command, limits, .. } = *rules;
        if !command.has_body() {
            return match bytes.get(self.start) {
                None => Ok(None),
                Some(0) => Ok(Some(self.start)),
                Some(_) => Err(FrameFault::BodyNotAllowed { command }),
            };
        }
        if let Some(length) = self.length {
            let end = self.start.saturating_add(length as usize);
            return match bytes.get(end) {
                None => Ok(None),
                Some(0) => Ok(Some(end)),
                Some(found) => Err(FrameFault::NoNul { command, length: length as usize, found: *found }),
            };
        }
        let unseen = bytes.get(self.at..).unwrap_or_default();
        let end = memchr(0, unseen).map(|nul| self.at + nul);
        self.at = end.unwrap_or(bytes.len());
        let size = self.at.saturating_sub(self.start);
        if size > limits.max_body.min(u32::MAX as usize - 1) {
            return Err(FrameFault::BodyTooLarge { command, size: size as u64, limit: limits.max_body });
        }
        Ok(end)
    }

    /// The line that is being read, which ends (so far) at `end`, in words.
    #[cold]
    fn place(&self, bytes: &[u8], end: usize, rules: &Rules<'_>) -> Place {
        let line = bytes.get(self.start..end).unwrap_or_default();
        let end = memchr(b':', line).or_else(|| memchr3(b' ', b'=', b'\t', line));
        let name = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
        Place { command: rules.command, number: usize::from(self.headers) + 1, name: Excerpt::of(name) }
    }

    #[cold]
    fn too_long(&self, bytes: &[u8], end: usize, rules: &Rules<'_>) -> FrameFault {
        let place = self.place(bytes, end, rules);
        FrameFault::HeaderTooLong { place, limit: rules.limits.max_header_line }
    }
}

/// Bytes of the EOLs at the front.
#[inline]
fn beats(bytes: &[u8]) -> usize {
    let mut len = 0;
    loop {
        match bytes.get(len..).unwrap_or_default() {
            [b'\n', ..] => len += 1,
            [b'\r', b'\n', ..] => len += 2,
            _ => return len,
        }
    }
}

/// Holds the first frame to its limit, also while it is incomplete.
fn within_connect(
    split: Result<Split<'_>, FrameFault>,
    seen: usize,
    limit: usize,
) -> Result<Split<'_>, FrameFault> {
    match split {
        Ok(Split::Frame(frame)) if frame.len > limit => Err(FrameFault::ConnectTooLarge { limit }),
        Ok(Split::Incomplete) if seen >= limit => Err(FrameFault::ConnectTooLarge { limit }),
        other => other,
    }
}

/// Which protocol that is not ours a connection begins with, and what to do about it.
fn other_protocol(front: &[u8]) -> Option<(&'static str, &'static str)> {
    const HTTP: [&[u8]; 5] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"OPTIONS "];
    match front {
        // A handshake record (RFC 8446 section 5.1).
        [0x16, ..] => Some(("TLS", "connect to a port with TLS, or have the client use none")),
        // CONNECT (MQTT 5.0 section 3.1.1).
        [0x10, ..] => Some(("MQTT", "connect to a port for MQTT")),
        [b'P', b'R', b'O', b'X', b'Y', b' ', ..] => {
            Some(("a PROXY header", "put the proxy's address into proxy_from of the listener"))
        }
        _ if HTTP.iter().any(|method| front.starts_with(method)) => {
            Some(("HTTP", "connect to a listener with websocket"))
        }
        _ => None,
    }
}

#[cold]
fn not_utf8(head: &[u8], bad: usize, command: Command) -> FrameFault {
    let before = head.get(..bad).unwrap_or_default();
    let start = memchr::memrchr(b'\n', before).map_or(0, |lf| lf + 1);
    let line = head.get(start..).unwrap_or_default();
    let name = line.split(|byte| matches!(byte, b':' | b'\n')).next().unwrap_or_default();
    let number = memchr_iter(b'\n', before).count() + 1;
    FrameFault::NotUtf8(Place { command, number, name: Excerpt::of(name) })
}

/// The `receipt` header of a frame that is refused, if its line is whole.
#[cold]
fn receipt(
    bytes: &[u8],
    command: Option<Command>,
    reading: Reading,
    limits: &FrameLimits,
) -> Option<Box<str>> {
    if command.is_some_and(Command::is_connect) {
        return None;
    }
    // For a command that isn't one, the escapes of any that is, but CONNECT, will do.
    let escapes = Escapes::of(reading.version, command.unwrap_or(Command::Send));
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').skip(1);
    let within = |line: &&[u8]| !matches!(line, [b'\n'] | [b'\r', b'\n'] | [0, ..]) && line.ends_with(b"\n");
    let line = lines.by_ref().take_while(within).find(|line| line.starts_with(b"receipt:"))?;
    let mut value = line.strip_prefix(b"receipt:")?.strip_suffix(b"\n")?;
    if reading.allows_crlf() {
        value = value.strip_suffix(b"\r").unwrap_or(value);
    }
    if value.len() > limits.max_header_line || memchr(0, value).is_some() {
        return None;
    }
    Some(escapes.unescape(std::str::from_utf8(value).ok()?).into())
}
