//! What the brokers of this process have written to their log. Tests look for the lines of their own connections.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::broker::within;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LISTENING: Once = Once::new();

#[derive(Clone, Copy)]
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Every line comes in one piece.
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        *self
    }
}

/// Keeps every line from now on.
pub(super) fn listen() {
    LISTENING.call_once(|| {
        let lines = tracing_subscriber::fmt().with_writer(Lines).with_ansi(false).without_time().finish();
        tracing::subscriber::set_global_default(lines).expect("no other subscriber");
    });
}

/// Every line so far with all of these words in it.
pub(crate) fn said(words: &[&str]) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).cloned().collect()
}

/// Waits until the log says `words` of the peer at that address.
#[track_caller]
pub(crate) fn told(peer: SocketAddr, words: &str) -> String {
    let who = format!("peer={peer} ");
    within(&format!("{words:?} of {who}among {:#?}", said(&[&who])), || said(&[&who, words]).pop())
}
