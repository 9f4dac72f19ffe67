//! Payloads: one that is there at the start, or lines of standard input as they come.

use std::io::{self, BufRead, Read};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::failure::Failure;
use crate::cli::Payload;

/// Lines read ahead of what the broker takes.
const LINES_AHEAD: usize = 1_024;

/// Longest line, bytes: more than a packet can hold, so that a longer one is refused rather than cut.
const MAX_LINE: u64 = 1 << 28;

/// Where payloads come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The same one so many times.
    One(Bytes, u64),
    Lines(mpsc::Receiver<io::Result<Bytes>>),
}

impl Source {
    /// Reads what can be read at once, and starts reading lines if that is what is asked for. What is no lines comes so
    /// many `times`.
    pub(super) fn open(payload: &Payload<'_>, times: u64) -> Result<Self, Failure> {
        let one = match payload {
            Payload::Text(text) => text.as_bytes().to_vec(),
            Payload::File(file) => std::fs::read(file).map_err(|error| Failure::Unreadable {
                flag: "--file",
                file: file.to_path_buf(),
                error,
            })?,
            Payload::Input => {
                let mut all = Vec::new();
                io::stdin().lock().read_to_end(&mut all).map_err(Failure::Input)?;
                all
            }
            Payload::Lines => {
                let (sender, lines) = mpsc::channel(LINES_AHEAD);
                // Standard input can't be waited for together with a socket (it may be a file), so a thread reads it.
                // It ends with the process.
                std::thread::Builder::new()
                    .name("stdin".to_owned())
                    .spawn(move || read_lines(&sender))
                    .map_err(Failure::Input)?;
                return Ok(Self::Lines(lines));
            }
        };
        Ok(Self::One(one.into(), times))
    }

    /// The next payload; `None` at the end.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self {
            Self::One(_, 0) => Poll::Ready(None),
            Self::One(payload, left) => {
                *left -= 1;
                Poll::Ready(Some(Ok(payload.clone())))
            }
            Self::Lines(lines) => lines.poll_recv(cx),
        }
    }
}

fn read_lines(sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut input = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        let item = match read {
            Ok(0) => return,
            Ok(_) => {
                line.pop_if(|last| *last == b'\n');
                if line.is_empty() {
                    continue;
                }
                Ok(line.into())
            }
            Err(error) => Err(error),
        };
        let over = item.is_err();
        if sender.blocking_send(item).is_err() || over {
            return;
        }
    }
}
