//! Messages on standard output: payloads for people and pipes, or one JSON object per line.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use noctule_mqtt::client::Message;
use noctule_stomp::client::Message as StompMessage;
use serde::Serialize;

use super::failure::Failure;

/// How messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The payload's bytes.
    Payload,
    /// The topic or destination, a blank, the payload.
    Address,
    /// Each header on a line of its own, an empty line, the payload.
    Headers,
    /// One object per line, with everything that came along.
    Json,
}

/// What can be printed.
pub(super) trait Shown {
    /// The topic or destination.
    fn address(&self) -> &str;

    /// The payload.
    fn payload(&self) -> &[u8];

    /// What [`Form::Headers`] shows.
    fn headers(&self) -> impl Iterator<Item = (&str, &str)>;

    /// As one JSON object, received at `time`.
    fn json(&self, time: SystemTime) -> impl Serialize;
}

impl Shown for Message {
    fn address(&self) -> &str {
        &self.topic
    }

    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::once(("topic", &*self.topic))
    }

    fn json(&self, time: SystemTime) -> impl Serialize {
        Json::new(self, time)
    }
}

impl Shown for StompMessage {
    fn address(&self) -> &str {
        self.destination()
    }

    fn payload(&self) -> &[u8] {
        &self.body
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn json(&self, time: SystemTime) -> impl Serialize {
        StompJson {
            time: rfc3339(time),
            destination: self.destination(),
            body: match std::str::from_utf8(&self.body) {
                Ok(text) => Body::Text(text),
                Err(_) => Body::Binary(BASE64.encode(&self.body)),
            },
            headers: Shown::headers(self).map(|(name, value)| Named { name, value }).collect(),
        }
    }
}

/// Standard output, buffered.
pub(super) struct Printer {
    form: Form,
    /// What is no plain text is escaped, unless a program asks for it.
    terminal: bool,
    out: BufWriter<io::Stdout>,
}

impl Printer {
    pub(super) fn new(form: Form) -> Self {
        let stdout = io::stdout();
        Self { form, terminal: stdout.is_terminal(), out: BufWriter::new(stdout) }
    }

    /// Prints a message; false if nobody reads any more.
    pub(super) fn print(&mut self, message: &impl Shown) -> Result<bool, Failure> {
        read_on(write(self.form, self.terminal, message, SystemTime::now(), &mut self.out))
    }

    /// Lets everything printed out; false if nobody reads any more.
    pub(super) fn flush(&mut self) -> Result<bool, Failure> {
        read_on(self.out.flush())
    }
}

fn read_on(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Output(error)),
    }
}

fn write(
    form: Form,
    terminal: bool,
    message: &impl Shown,
    time: SystemTime,
    out: &mut impl Write,
) -> io::Result<()> {
    let shown = |bytes| if terminal { for_terminal(bytes) } else { Cow::Borrowed(bytes) };
    match form {
        Form::Json => {
            serde_json::to_writer(&mut *out, &message.json(time))?;
            return out.write_all(b"\n");
        }
        Form::Payload => {}
        Form::Address => {
            out.write_all(&shown(message.address().as_bytes()))?;
            out.write_all(b" ")?;
        }
        Form::Headers => {
            for (name, value) in message.headers() {
                // One line each, whatever is in them.
                writeln!(out, "{}: {}", name.escape_debug(), value.escape_debug())?;
            }
            out.write_all(b"\n")?;
        }
    }
    out.write_all(&shown(message.payload()))?;
    out.write_all(b"\n")
}

/// `bytes` with everything escaped that is no text or could command the terminal.
fn for_terminal(bytes: &[u8]) -> Cow<'_, [u8]> {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(harmless)) {
        return Cow::Borrowed(bytes);
    }
    let mut shown = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if harmless(c) {
                shown.push(c);
            } else {
                shown.extend(c.escape_default());
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    Cow::Owned(shown.into_bytes())
}

/// A message as one JSON object. What is binary has a key of its own, in base64.
#[derive(Serialize)]
struct Json<'a> {
    time: String,
    topic: &'a str,
    #[serde(flatten)]
    payload: Payload<'a>,
    qos: u8,
    retain: bool,
    dup: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(flatten)]
    correlation: Option<Correlation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_s: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscription_ids: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<Named<'a>>,
}

#[derive(Serialize)]
enum Payload<'a> {
    #[serde(rename = "payload")]
    Text(&'a str),
    #[serde(rename = "payload_base64")]
    Binary(String),
}

#[derive(Serialize)]
enum Correlation<'a> {
    #[serde(rename = "correlation_data")]
    Text(&'a str),
    #[serde(rename = "correlation_data_base64")]
    Binary(String),
}

/// A user property, or a header of STOMP. A list of these keeps order and repetitions, as an object would not.
#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    value: &'a str,
}

/// A message of STOMP. All headers are listed, the destination once more, because it is nearly always wanted.
#[derive(Serialize)]
struct StompJson<'a> {
    time: String,
    destination: &'a str,
    #[serde(flatten)]
    body: Body<'a>,
    headers: Vec<Named<'a>>,
}

#[derive(Serialize)]
enum Body<'a> {
    #[serde(rename = "body")]
    Text(&'a str),
    #[serde(rename = "body_base64")]
    Binary(String),
}

impl<'a> Json<'a> {
    fn new(message: &'a Message, time: SystemTime) -> Self {
        let properties = message.properties.as_deref();
        let correlation = properties.and_then(|properties| properties.correlation_data.as_deref());
        Self {
            time: rfc3339(time),
            topic: &message.topic,
            payload: match std::str::from_utf8(&message.payload) {
                Ok(text) => Payload::Text(text),
                Err(_) => Payload::Binary(BASE64.encode(&message.payload)),
            },
            qos: message.qos.level(),
            retain: message.retain,
            dup: message.dup,
            payload_format: properties
                .and_then(|properties| properties.payload_is_text)
                .map(|is_text| if is_text { "utf8" } else { "bytes" }),
            content_type: properties.and_then(|properties| properties.content_type.as_deref()),
            response_topic: properties.and_then(|properties| properties.response_topic.as_deref()),
            correlation: correlation.map(|data| match std::str::from_utf8(data) {
                Ok(text) => Correlation::Text(text),
                Err(_) => Correlation::Binary(BASE64.encode(data)),
            }),
            expiry_s: message.expiry_s,
            subscription_ids: message.subscription_ids.iter().map(|id| id.get()).collect(),
            user_properties: properties
                .map(|properties| properties.user_properties.as_slice())
                .unwrap_or_default()
                .iter()
                .map(|(name, value)| Named { name, value })
                .collect(),
        }
    }
}

/// Coordinated universal time with milliseconds, such as `2026-11-20T23:53:26.123Z`.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // The Gregorian calendar repeats every 400 years, which are 146,097 days; counted from the first of March the
    // leap day is the last of its year.
    let since_march = days + 719_468;
    let (era, day) = (since_march / 146_097, since_march % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day_of_month:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests;
