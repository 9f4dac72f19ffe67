//! What comes line after line, until somebody has had enough: on the terminal in words, or into a file as it is.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use serde_json::Value;

use super::CtlError;
use super::ask::Broker;
use super::table;
use crate::cli::Follow;

/// Writes one line of the API's in words.
type Words = fn(&Value, &mut dyn Write) -> io::Result<()>;

/// Follows what the API says at a place.
///
/// # Errors
/// [`CtlError`].
pub(super) async fn run(
    broker: &Broker,
    place: &str,
    follow: &Follow,
    json: bool,
    words: Words,
    out: &mut impl Write,
) -> Result<(), CtlError> {
    let mut left = if follow.times == 0 { u64::MAX } else { follow.times };
    let mut file = follow.output.as_ref().map(|path| Kept::new(path, follow.max_size)).transpose()?;
    // What follows may be long in coming.
    let begun = || {
        // Who sees it no more can't be told so either.
        let _ = writeln!(io::stderr(), "following; Ctrl-C ends");
    };
    let done = broker
        .lines(place, begun, |line| {
            if let Some(file) = &mut file {
                if !file.take(line) {
                    return Ok(false);
                }
            } else if json {
                writeln!(out, "{line}")?;
                out.flush()?;
            } else {
                let said: Value = serde_json::from_str(line).unwrap_or_default();
                if let Some(missed) = said.get("missed") {
                    writeln!(out, "({missed} were left out: too much came at once)")?;
                    return Ok(true);
                }
                words(&said, out)?;
                out.flush()?;
            }
            left -= 1;
            Ok(left > 0)
        })
        .await;
    match file {
        Some(file) => file.end(out).and(done),
        None => done,
    }
}

/// A message that was published.
pub(super) fn message(message: &Value, mut out: &mut dyn Write) -> io::Result<()> {
    let body = if message.get("text").is_some() { "text" } else { "base64" };
    table::line(message, &["client_id", "topic", "qos", body], &mut out)
}

/// A packet of a client.
pub(super) fn packet(packet: &Value, mut out: &mut dyn Write) -> io::Result<()> {
    let number = |key: &str| packet.get(key).and_then(Value::as_u64);
    let flag = |key: &str| packet.get(key).and_then(Value::as_bool).unwrap_or_default();
    let at_ms = number("at_ms").unwrap_or_default();
    let (seconds, ms) = (at_ms / 1_000, at_ms % 1_000);
    let clock = format!("{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let mut about = Vec::new();
    about.extend(number("qos").map(|qos| format!("QoS {qos}")));
    about.extend(number("packet_id").map(|id| format!("id {id}")));
    about.extend(number("size").map(|size| format!("{size} bytes")));
    about.extend(flag("retain").then(|| "retain".to_owned()));
    about.extend(flag("dup").then(|| "dup".to_owned()));
    about.extend(packet.get("detail").and_then(Value::as_str).map(str::to_owned));
    let mut told = packet.clone();
    if let Some(fields) = told.as_object_mut() {
        fields.insert("clock".to_owned(), clock.into());
        fields.insert("about".to_owned(), about.join(", ").into());
        // What nobody has sent has happened to the client.
        fields.entry("from").or_insert_with(|| "-".into());
    }
    let columns = ["clock", "from", "what", "topic", "about"];
    let there: Vec<_> =
        columns.into_iter().filter(|key| told.get(*key).is_some_and(|value| value != "")).collect();
    table::line(&told, &there, &mut out)
}

/// A file that is written to, and does not grow beyond a bound.
struct Kept<'a> {
    path: &'a std::path::Path,
    file: File,
    bytes: u64,
    lines: u64,
    max_size: u64,
    /// Why it takes no more.
    ended: Option<io::Result<()>>,
}

impl<'a> Kept<'a> {
    fn new(path: &'a std::path::Path, max_size: u64) -> Result<Self, CtlError> {
        // What clients publish is nobody else's business.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| CtlError::File { path: path.to_owned(), error })?;
        Ok(Self { path, file, bytes: 0, lines: 0, max_size, ended: None })
    }

    /// Takes a line in; whether there is room for more.
    fn take(&mut self, line: &str) -> bool {
        let size = line.len() as u64 + 1;
        if self.bytes + size > self.max_size {
            self.ended = Some(Ok(()));
            return false;
        }
        // Line by line: who looks into it meanwhile, or ends this by Ctrl-C, has all that has come.
        match self.file.write_all(format!("{line}\n").as_bytes()) {
            Ok(()) => {
                (self.bytes, self.lines) = (self.bytes + size, self.lines + 1);
                true
            }
            Err(error) => {
                self.ended = Some(Err(error));
                false
            }
        }
    }

    fn end(self, out: &mut impl Write) -> Result<(), CtlError> {
        let Self { path, bytes, lines, max_size, ended, .. } = self;
        let full = match ended {
            Some(Err(error)) => return Err(CtlError::File { path: path.to_owned(), error }),
            Some(Ok(())) => format!("; the next would have made it larger than {max_size} bytes"),
            None => String::new(),
        };
        writeln!(out, "{}: {lines} lines, {bytes} bytes{full}", path.display())?;
        Ok(())
    }
}
