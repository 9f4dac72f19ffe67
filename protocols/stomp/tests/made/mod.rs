//! Frames as a test likes them: owned, unescaped, and read off a stream however it comes.

use noctule_stomp::{Command, Direction, Frame, FrameError, FrameLimits, Framer, Reading, Split, Version};

pub(crate) const LIMITS: FrameLimits =
    FrameLimits { max_headers: 64, max_header_line: 8192, max_body: 1 << 20, max_connect: 1 << 16 };

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) command: Command,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Owned {
    pub(crate) fn of(frame: &Frame<'_>) -> Self {
        let headers: Vec<_> =
            frame.headers.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        assert_eq!((headers.len(), headers.is_empty()), (frame.headers.len(), frame.headers.is_empty()));
        Self { command: frame.command, headers, body: frame.body.to_vec() }
    }
}

pub(crate) fn to_server(version: impl Into<Option<Version>>) -> Reading {
    Reading { version: version.into(), direction: Direction::ToServer }
}

pub(crate) fn to_client(version: impl Into<Option<Version>>) -> Reading {
    Reading { version: version.into(), direction: Direction::ToClient }
}

/// What is in `wire`, which comes in pieces that end at `ends` and then whole, and how many bytes were left over.
pub(crate) fn read(
    reading: Reading,
    limits: &FrameLimits,
    wire: &[u8],
    ends: impl IntoIterator<Item = usize>,
) -> Result<(Vec<Owned>, usize), FrameError> {
    let (mut framer, mut frames, mut at) = (Framer::new(), Vec::new(), 0);
    for end in ends.into_iter().chain([wire.len()]) {
        loop {
            let came = &wire[at.min(end)..end];
            let len = match framer.split(came, reading, limits)? {
                Split::Frame(frame) => {
                    frames.push(Owned::of(&frame));
                    frame.len
                }
                Split::Beats(len) => len,
                Split::Incomplete => break,
            };
            assert!(len > 0 && len <= came.len(), "{len} of {}", came.len());
            at += len;
        }
    }
    Ok((frames, wire.len() - at))
}
