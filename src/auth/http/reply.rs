//! Reading an answer of HTTP/1.1 (RFC 9112): its status and a body of bounded size.

use std::io::{self, Read};

/// Most bytes before the body.
const MAX_HEAD: usize = 8 * 1024;
/// Most fields.
const MAX_FIELDS: usize = 64;
/// Most bytes of a body.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// Interim answers (1xx) that are read over.
const MAX_INTERIM: u32 = 4;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether the connection can carry another request.
    pub(super) keep: bool,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

struct Head {
    status: u16,
    length: Length,
    keep: bool,
}

/// Reads one answer from `stream`, which carries nothing else meanwhile.
pub(super) fn read(stream: &mut impl Read) -> io::Result<Reply> {
    let mut input = Input { stream, bytes: Vec::new() };
    for _ in 0..=MAX_INTERIM {
        let head = input.head()?;
        if head.status < 200 {
            continue;
        }
        let body = match head.length {
            _ if matches!(head.status, 204 | 304) => Vec::new(),
            Length::Known(length) => input.take(length)?,
            Length::Chunked => input.chunks()?,
            Length::UntilClosed => input.rest()?,
        };
        // What nobody asked for is not to be the next question's answer.
        let keep = head.keep && head.length != Length::UntilClosed && input.bytes.is_empty();
        return Ok(Reply { status: head.status, body, keep });
    }
    Err(wrong("it sends interim answers without end"))
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What was read and not yet taken.
struct Input<'a, R> {
    stream: &'a mut R,
    bytes: Vec<u8>,
}

impl<R: Read> Input<'_, R> {
    /// Reads on; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4_096];
        let number = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Without close_notify there is an end all the same; what is incomplete is seen to be.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break 0,
                number => break number?,
            }
        };
        self.bytes.extend_from_slice(buffer.get(..number).unwrap_or_default());
        Ok(number > 0)
    }

    fn needs_more(&mut self) -> io::Result<()> {
        if self.more()? { Ok(()) } else { Err(wrong("it closed before the end of its answer")) }
    }

    fn head(&mut self) -> io::Result<Head> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut response = httparse::Response::new(&mut fields);
            match response.parse(&self.bytes) {
                Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => {
                    let head = understood(&response)?;
                    self.bytes.drain(..length);
                    return Ok(head);
                }
                Ok(httparse::Status::Partial) if self.bytes.len() < MAX_HEAD => self.needs_more()?,
                Ok(_) => return Err(wrong("the head of its answer is longer than 8 KiB")),
                Err(_) => return Err(wrong("it does not answer in HTTP/1.1")),
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.bytes.len() < length {
            self.needs_more()?;
        }
        let rest = self.bytes.split_off(length);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? {
            if self.bytes.len() > MAX_BODY {
                return Err(wrong("its answer is longer than 64 KiB"));
            }
        }
        Ok(std::mem::take(&mut self.bytes))
    }

    /// RFC 9112, section 7.1.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let size =
                std::str::from_utf8(size).ok().filter(|size| size.bytes().all(|b| b.is_ascii_hexdigit()));
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.ok_or_else(|| wrong("a chunk of its answer has no size"))?;
            if size == 0 {
                // Trailers, which nobody reads.
                for _ in 0..MAX_FIELDS {
                    if self.line()?.is_empty() {
                        return Ok(body);
                    }
                }
                return Err(wrong("its answer has trailers without end"));
            }
            if size > MAX_BODY.saturating_sub(body.len()) {
                return Err(wrong("its answer is longer than 64 KiB"));
            }
            body.append(&mut self.take(size)?);
            if !self.line()?.is_empty() {
                return Err(wrong("a chunk of its answer is longer than it says"));
            }
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end)?;
                self.take(2)?;
                return Ok(line);
            }
            if self.bytes.len() > MAX_HEAD {
                return Err(wrong("a line of its answer is longer than 8 KiB"));
            }
            self.needs_more()?;
        }
    }
}

/// RFC 9112, section 6.3.
fn understood(response: &httparse::Response<'_, '_>) -> io::Result<Head> {
    let status =
        response.code.filter(|status| *status >= 100).ok_or_else(|| wrong("its answer has no status"))?;
    let (mut chunked, mut length, mut keep) = (false, None, response.version == Some(1));
    for field in response.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") || chunked {
                return Err(wrong("its answer is encoded in a way that nobody asked for"));
            }
            chunked = true;
        } else if field.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
            let number: Option<usize> = digits.and_then(|digits| digits.parse().ok());
            let number = number.ok_or_else(|| wrong("the length of its answer is not a number"))?;
            if length.is_some_and(|before| before != number) {
                return Err(wrong("its answer has two lengths"));
            }
            length = Some(number);
        } else if field.name.eq_ignore_ascii_case("connection") {
            let closes = value
                .split(|byte| *byte == b',')
                .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"));
            keep &= !closes;
        }
    }
    let length = match (chunked, length) {
        (true, Some(_)) => return Err(wrong("its answer has both a length and chunks")),
        (true, None) => Length::Chunked,
        (false, Some(length)) if length > MAX_BODY => return Err(wrong("its answer is longer than 64 KiB")),
        (false, Some(length)) => Length::Known(length),
        (false, None) => Length::UntilClosed,
    };
    Ok(Head { status, length, keep })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `step` bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let number = self.1.min(self.0.len()).min(bytes.len());
            let (now, later) = self.0.split_at(number);
            bytes[..number].copy_from_slice(now);
            self.0 = later;
            Ok(number)
        }
    }

    fn reply(text: &str) -> Result<(u16, String, bool), String> {
        let whole = read(&mut Slow(text.as_bytes(), 5_000));
        let pieces = read(&mut Slow(text.as_bytes(), 1));
        let plain = |reply: io::Result<Reply>| {
            let reply = reply.map_err(|error| error.to_string())?;
            Ok((reply.status, String::from_utf8(reply.body).unwrap(), reply.keep))
        };
        let (whole, pieces) = (plain(whole), plain(pieces));
        if let (Ok(whole), Ok(pieces)) = (&whole, &pieces) {
            assert_eq!((whole.0, &whole.1), (pieces.0, &pieces.1), "byte by byte");
        } else {
            assert_eq!(whole.is_err(), pieces.is_err(), "{whole:?} {pieces:?}");
        }
        whole
    }

    #[test]
    fn answers_of_every_length_are_read() {
        let ok = |status, body: &str, keep| Ok((status, body.to_owned(), keep));
        assert_eq!(reply("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"), ok(200, "ab", true));
        assert_eq!(reply("HTTP/1.1 204 No Content\r\n\r\n").map(|reply| reply.0), Ok(204));
        assert_eq!(
            reply("HTTP/1.1 403 No\r\ncontent-length:0\r\nConnection: Keep-Alive, Close\r\n\r\n"),
            ok(403, "", false)
        );
        assert_eq!(reply("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na"), ok(200, "a", false));
        assert_eq!(reply("HTTP/1.1 200 OK\r\n\r\nabc"), ok(200, "abc", false));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: x\r\n\r\n";
        assert_eq!(reply(chunked), ok(200, "abc0123456789", true));
        assert_eq!(
            reply("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"),
            ok(200, "a", true)
        );
        assert_eq!(
            reply("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab"),
            ok(200, "a", false),
            "more than was asked"
        );
        let full = "x".repeat(MAX_BODY);
        assert_eq!(
            reply(&format!("HTTP/1.1 200 OK\r\nContent-Length: {MAX_BODY}\r\n\r\n{full}")),
            ok(200, &full, true)
        );
    }

    #[test]
    fn answers_that_are_wrong_are_no_answers() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(9_000));
        let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(6);
        let much = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX_BODY + 1));
        let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (text, part) in [
            ("", "closed before the end"),
            ("HTTP/1.1 200", "closed before the end"),
            ("SSH-2.0-x\r\n", "does not answer in HTTP"),
            ("HTTP/2 200 OK\r\n\r\n", "does not answer in HTTP"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "closed before the end"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not a number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", "not a number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "not a number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", "longer than 64 KiB"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "two lengths"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "nobody asked for"),
            (&format!("{chunk}zz\r\n"), "no size"),
            (&format!("{chunk}+1\r\na\r\n"), "no size"),
            (&format!("{chunk}1\r\nabc\r\n0\r\n\r\n"), "longer than it says"),
            (&format!("{chunk}10001\r\n"), "longer than 64 KiB"),
            (&format!("{chunk}ffffffffffffffff\r\n"), "longer than 64 KiB"),
            (&format!("{chunk}0\r\n{}", "a: b\r\n".repeat(70)), "trailers without end"),
            (&format!("{chunk}{}", "1".repeat(9_000)), "line of its answer"),
            (&format!("{chunk}1\r\na"), "closed before the end"),
            (&long, "longer than 8 KiB"),
            (&endless, "without end"),
            (&much, "longer than 64 KiB"),
        ] {
            let error = reply(text).unwrap_err();
            assert!(error.contains(part), "{:?}: {error}", text.get(..60).unwrap_or(text));
        }
    }
}
