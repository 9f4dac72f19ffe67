//! Messages on standard output: payloads for people and pipes, or one JSON object per line.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use noctule_mqtt::client::Message;
use serde::Serialize;

use super::failure::Failure;

/// How messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The payload's bytes, after the topic if `topic`; for a terminal what is no plain text is escaped.
    Payload { topic: bool, terminal: bool },
    /// One object per line.
    Json,
}

/// Standard output, buffered.
pub(super) struct Printer {
    form: Form,
    out: BufWriter<io::Stdout>,
}

impl Printer {
    pub(super) fn new(topic: bool, json: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let form = if json { Form::Json } else { Form::Payload { topic, terminal } };
        Self { form, out: BufWriter::new(stdout) }
    }

    /// Prints a message; false if nobody reads any more.
    pub(super) fn print(&mut self, message: &Message) -> Result<bool, Failure> {
        read_on(write(self.form, message, SystemTime::now(), &mut self.out))
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

fn write(form: Form, message: &Message, time: SystemTime, out: &mut impl Write) -> io::Result<()> {
    match form {
        Form::Json => {
            serde_json::to_writer(&mut *out, &Json::new(message, time))?;
        }
        Form::Payload { topic, terminal } => {
            let shown = |bytes| if terminal { for_terminal(bytes) } else { Cow::Borrowed(bytes) };
            if topic {
                out.write_all(&shown(message.topic.as_bytes()))?;
                out.write_all(b" ")?;
            }
            out.write_all(&shown(&message.payload))?;
        }
    }
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
    user_properties: Vec<UserProperty<'a>>,
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

#[derive(Serialize)]
struct UserProperty<'a> {
    name: &'a str,
    value: &'a str,
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
                .map(|(name, value)| UserProperty { name, value })
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
