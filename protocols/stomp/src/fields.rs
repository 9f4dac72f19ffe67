//! Headers and the core's fields: what a SEND says of its message, and how a MESSAGE says it again.
//!
//! Fields are kept in MQTT 5's property encoding ([`noctule_core::message::Fields`]), so that its subscribers get them
//! as they are. What a header means to the connection alone (which subscription, which transaction) is not known here.

mod base64url;

use std::borrow::Cow;

use noctule_core::id::{Now, Qos};
use noctule_core::message::{Field, Fields, field};
use noctule_core::refusal::{Kind, Refusal};
use thiserror::Error;

use crate::address::{AddressError, Grammar, Purpose};
use crate::dialect::Dialect;
use crate::encode::FrameWriter;
use crate::error::Excerpt;
use crate::headers::Headers;
use crate::version::Version;

/// A header that cannot be acted on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It is missing.
    #[error("{command} has no {name} header; {mend}")]
    Missing {
        /// The frame's command.
        command: &'static str,
        /// The header.
        name: &'static str,
        /// What it is for.
        mend: &'static str,
    },
    /// Its value is none of those it may have.
    #[error("header {name} has the value {value}; write {allowed}")]
    Value {
        /// The header.
        name: &'static str,
        /// The value.
        value: Excerpt,
        /// Those it may have.
        allowed: &'static str,
    },
    /// Name or value does not fit into a message.
    #[error("header {name} has {bytes} bytes; a message takes 65535 at most: put the data in the body")]
    TooLong {
        /// The header.
        name: Excerpt,
        /// Bytes of its name or value.
        bytes: usize,
    },
    /// It names an address that is none.
    #[error("header {name}: {error}")]
    Address {
        /// The header.
        name: &'static str,
        /// What is wrong with the address.
        error: AddressError,
    },
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        match &error {
            HeaderError::Address { error: cause, .. } => {
                Self { detail: error.to_string().into(), ..cause.refusal(Purpose::Send) }
            }
            HeaderError::Missing { .. } | HeaderError::Value { .. } => {
                Self::new(Kind::ProtocolError, error.to_string())
            }
            HeaderError::TooLong { .. } => Self::new(Kind::PacketTooLarge, error.to_string()),
        }
    }
}

/// A value that a header may not have.
pub(crate) fn bad_value(name: &'static str, value: &str, allowed: &'static str) -> HeaderError {
    HeaderError::Value { name, value: Excerpt::of(value.as_bytes()), allowed }
}

/// `true` or `false`, in any case: clients write their language's words.
pub(crate) fn boolean(name: &'static str, value: &str) -> Result<bool, HeaderError> {
    if value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(bad_value(name, value, "true or false"))
    }
}

/// A number that is not negative.
pub(crate) fn number(name: &'static str, value: &str) -> Result<u64, HeaderError> {
    digits(value).ok_or_else(|| bad_value(name, value, "a number from 0 to 18446744073709551615"))
}

/// Longest name that a client may give to itself or to a subscription, bytes: it is kept as long as what it names.
pub(crate) const MAX_NAME_BYTES: usize = 256;

/// A name of the client's making that is kept.
pub(crate) fn short(name: &'static str, value: &str) -> Result<(), HeaderError> {
    if value.len() > MAX_NAME_BYTES { Err(bad_value(name, value, "256 bytes at most")) } else { Ok(()) }
}

/// A name of the client's making that others may see, such as those who read the log.
pub(crate) fn shown(name: &'static str, value: &str) -> Result<(), HeaderError> {
    short(name, value)?;
    if value.contains(char::is_control) {
        return Err(bad_value(name, value, "no control characters"));
    }
    Ok(())
}

/// Decimal digits and nothing else; what the standard library calls a number may have a sign.
pub(crate) fn digits(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// What 1.0 means by a value: its examples write a space behind the colon. Later versions keep every space.
pub(crate) fn trimmed(version: Version, value: Cow<'_, str>) -> Cow<'_, str> {
    if version != Version::V10 {
        return value;
    }
    match value {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii()),
        Cow::Owned(text) => Cow::Owned(text.trim_ascii().to_owned()),
    }
}

/// A message as the headers of its SEND describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sending<'a> {
    /// Where to, as the client writes it.
    pub destination: Option<Cow<'a, str>>,
    /// The receipt asked for.
    pub receipt: Option<Cow<'a, str>>,
    /// The transaction it belongs to.
    pub transaction: Option<Cow<'a, str>>,
    /// Where answers are expected, as the client writes it.
    pub reply_to: Option<Cow<'a, str>>,
    /// The guarantee asked for, if anything was said of it.
    pub qos: Option<Qos>,
    /// What becomes of the topic's retained message.
    pub retain: Retain,
    /// What is left of its life, ms; 0: nothing.
    pub expires_in_ms: Option<u64>,
}

/// What a message does to its topic's retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Retain {
    /// Nothing.
    #[default]
    No,
    /// It replaces it.
    Set,
    /// It removes it: it is sent on as a retained message without a body, whatever its own.
    Remove,
}

impl<'a> Sending<'a> {
    /// Reads the headers of a SEND; what goes with the message is written to `fields`, which is emptied first.
    ///
    /// Of a header that is repeated the first counts; user properties are kept as often as they come.
    ///
    /// # Errors
    /// A header whose value makes no sense, or does not fit.
    pub fn read(
        headers: Headers<'a>,
        body: &[u8],
        version: Version,
        grammar: &Grammar<'_>,
        now: Now,
        fields: &mut Vec<u8>,
    ) -> Result<Self, HeaderError> {
        fields.clear();
        let mut sending = Self::default();
        let mut met = Met::default();
        for (name, value) in headers.iter() {
            match &*name {
                "destination" => first(&mut sending.destination, || trimmed(version, value)),
                "receipt" => first(&mut sending.receipt, || value),
                "transaction" => first(&mut sending.transaction, || trimmed(version, value)),
                "content-type" if met.first(Met::CONTENT_TYPE) => {
                    if is_text(&value) && std::str::from_utf8(body).is_ok() {
                        fields.extend_from_slice(&[field::PAYLOAD_FORMAT, 1]);
                    }
                    put(fields, field::CONTENT_TYPE, &name, value.as_bytes())?;
                }
                "reply-to" if met.first(Met::REPLY_TO) => {
                    let written = trimmed(version, value);
                    let topic = grammar
                        .to_core(&written, Purpose::ReplyTo)
                        .map_err(|error| HeaderError::Address { name: "reply-to", error })?;
                    put(fields, field::RESPONSE_TOPIC, &name, topic.as_bytes())?;
                    drop(topic);
                    sending.reply_to = Some(written);
                }
                "correlation-id" if met.first(Met::CORRELATION) => correlation(headers, &value, fields)?,
                "expires" if met.first(Met::EXPIRES) => {
                    let value = trimmed(version, value);
                    let until_ms = number("expires", &value)?;
                    // Never, as JMS has it: clients of every broker write it so.
                    sending.expires_in_ms = (until_ms != 0).then(|| until_ms.saturating_sub(now.wall_ms));
                }
                "expiration" => {
                    let left = number("expiration", &trimmed(version, value))?;
                    // Of the two the deadline is the more exact, wherever it stands.
                    if !met.has(Met::EXPIRES) && sending.expires_in_ms.is_none() {
                        sending.expires_in_ms = Some(left);
                    }
                }
                "persistent" => {
                    let persistent = boolean("persistent", &trimmed(version, value))?;
                    if met.first(Met::PERSISTENT) && !met.has(Met::QOS) {
                        sending.qos = Some(if persistent { Qos::AtLeastOnce } else { Qos::AtMostOnce });
                    }
                }
                "qos" => {
                    let qos = quality(&trimmed(version, value))?;
                    if met.first(Met::QOS) {
                        sending.qos = Some(qos);
                    }
                }
                "retain" => {
                    let retain = retain("retain", &trimmed(version, value))?;
                    if met.first(Met::RETAIN) {
                        sending.retain = retain;
                    }
                }
                "ActiveMQ.Retain" => {
                    let retain = retain("ActiveMQ.Retain", &trimmed(version, value))?;
                    if met.first(Met::RETAIN) {
                        sending.retain = retain;
                    }
                }
                "AMQ_SCHEDULED_DELAY" => {
                    put_pair(fields, &name, &value)?;
                    if met.first(Met::DELAY) {
                        let delay_ms = number("AMQ_SCHEDULED_DELAY", &trimmed(version, value))?;
                        put_pair(fields, DELIVER_AT, &now.wall_ms.saturating_add(delay_ms).to_string())?;
                    }
                }
                "timestamp" => put_pair(fields, &name, &timestamp_to_core(grammar.dialect, value))?,
                name if is_ours(name) => {}
                name => put_pair(fields, name, &value)?,
            }
        }
        Ok(sending)
    }
}

/// When a message that waits is to be delivered, epoch ms: a delay would begin anew after a restart.
const DELIVER_AT: &str = "x-deliver-at";

/// Where a dead letter was sent to, as a topic of the core's.
const ORIGINAL_DESTINATION: &str = "original-destination";

/// What a dead letter died of first.
const FIRST_DEATH: &str = "x-first-death-reason";

/// Which headers have been met, as bits: of repeated ones the first counts.
#[derive(Clone, Copy, Default)]
struct Met(u8);

impl Met {
    const CONTENT_TYPE: u8 = 1;
    const REPLY_TO: u8 = 2;
    const CORRELATION: u8 = 4;
    const EXPIRES: u8 = 8;
    const PERSISTENT: u8 = 16;
    const QOS: u8 = 32;
    const RETAIN: u8 = 64;
    const DELAY: u8 = 128;

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    fn first(&mut self, mark: u8) -> bool {
        let first = !self.has(mark);
        self.0 |= mark;
        first
    }
}

fn first<'a>(place: &mut Option<Cow<'a, str>>, value: impl FnOnce() -> Cow<'a, str>) {
    if place.is_none() {
        *place = Some(value());
    }
}

/// Names that a MESSAGE has from us, or that mean something to one connection only: a publisher's are neither kept nor
/// sent on, lest a header of ours be forged.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "ack"
            | "browser"
            | "content-length"
            | "content-type"
            | "correlation-encoding"
            | "correlation-id"
            | "destination"
            | "expiration"
            | "expires"
            | "id"
            | "message-id"
            | "persistent"
            | ORIGINAL_DESTINATION
            | FIRST_DEATH
            | DELIVER_AT
            | "receipt"
            | "redelivered"
            | "reply-to"
            | "retained"
            | "selector"
            | "subscription"
            | "transaction"
            | "x-death-hops"
            | "x-delivery-count"
            | "x-msg-id"
    )
}

fn quality(value: &str) -> Result<Qos, HeaderError> {
    match value {
        "0" => Ok(Qos::AtMostOnce),
        "1" => Ok(Qos::AtLeastOnce),
        "2" => Ok(Qos::ExactlyOnce),
        _ => Err(bad_value("qos", value, "0, 1 or 2")),
    }
}

fn retain(name: &'static str, value: &str) -> Result<Retain, HeaderError> {
    if value.eq_ignore_ascii_case("true") || value == "set" {
        Ok(Retain::Set)
    } else if value.eq_ignore_ascii_case("false") {
        Ok(Retain::No)
    } else if value == "remove" {
        Ok(Retain::Remove)
    } else {
        Err(bad_value(name, value, "true, set, remove or false"))
    }
}

/// Whether a content type promises UTF-8: `text/…`, JSON, or whatever says so itself.
fn is_text(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    kind.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"))
        || kind.eq_ignore_ascii_case("application/json")
        || parts.filter_map(|part| part.split_once('=')).any(|(name, value)| {
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("charset")
                && (value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8"))
        })
}

/// Whether a message is text, by all that it says of itself and by its body, and can be read without its length.
pub(crate) fn is_text_message(fields: Fields<'_>, body: &[u8]) -> bool {
    let says_otherwise = fields
        .iter()
        .any(|field| matches!(field, Field::ContentType(content_type) if !is_text(content_type)));
    !says_otherwise && !body.contains(&0) && std::str::from_utf8(body).is_ok()
}

fn correlation(headers: Headers<'_>, value: &str, fields: &mut Vec<u8>) -> Result<(), HeaderError> {
    const NAME: &str = "correlation-id";
    match headers.get("correlation-encoding").as_deref() {
        None => put(fields, field::CORRELATION_DATA, NAME, value.as_bytes()),
        Some("base64") => {
            let bytes = base64url::decode(value).ok_or_else(|| {
                bad_value(NAME, value, "Base64 (RFC 4648, section 5), or leave correlation-encoding out")
            })?;
            put(fields, field::CORRELATION_DATA, NAME, &bytes)
        }
        Some(other) => Err(bad_value("correlation-encoding", other, "base64, or leave it out")),
    }
}

fn timestamp_to_core(dialect: Dialect, value: Cow<'_, str>) -> Cow<'_, str> {
    match dialect.timestamp_unit_ms() {
        1 => value,
        unit => match digits(&value).and_then(|number| number.checked_mul(unit)) {
            Some(ms) => Cow::Owned(ms.to_string()),
            None => value,
        },
    }
}

fn timestamp_from_core(dialect: Dialect, value: &str) -> Cow<'_, str> {
    match dialect.timestamp_unit_ms() {
        1 => Cow::Borrowed(value),
        unit => match digits(value) {
            Some(ms) => Cow::Owned((ms / unit).to_string()),
            None => Cow::Borrowed(value),
        },
    }
}

fn put(fields: &mut Vec<u8>, id: u8, name: &str, value: &[u8]) -> Result<(), HeaderError> {
    fields.push(id);
    put_counted(fields, name, value)
}

fn put_pair(fields: &mut Vec<u8>, name: &str, value: &str) -> Result<(), HeaderError> {
    fields.push(field::USER_PROPERTY);
    put_counted(fields, name, name.as_bytes())?;
    put_counted(fields, name, value.as_bytes())
}

fn put_counted(fields: &mut Vec<u8>, name: &str, bytes: &[u8]) -> Result<(), HeaderError> {
    let Ok(len) = u16::try_from(bytes.len()) else {
        return Err(HeaderError::TooLong { name: Excerpt::of(name.as_bytes()), bytes: bytes.len() });
    };
    fields.extend_from_slice(&len.to_be_bytes());
    fields.extend_from_slice(bytes);
    Ok(())
}

/// Writes what goes with a message as headers of its MESSAGE, behind those that are the broker's own, which win:
/// "only the first header entry SHOULD be used" (1.2, "Repeated Header Entries"), and names of theirs are left out.
///
/// What `version` cannot express of a name or a value is altered as [`FrameWriter::header`] says; correlation data that
/// it cannot express goes as Base64, with `correlation-encoding:base64`. A user property without a name, which MQTT 5
/// allows, is left out: no header can be without one ([`FrameWriter::header`]). What a dead letter says of its death is
/// taken for the broker's: who takes messages in keeps what publishers say of it out.
pub fn write_fields(
    fields: Fields<'_>,
    version: Version,
    grammar: &Grammar<'_>,
    text: &mut String,
    frame: &mut FrameWriter<'_>,
) {
    for field in fields.iter() {
        match field {
            // A content type says it, or nobody needs it.
            Field::PayloadFormat(_) => {}
            Field::ContentType(content_type) => {
                frame.header("content-type", content_type);
            }
            Field::ResponseTopic(topic) => {
                text.clear();
                grammar.write_reply_to(topic, text);
                frame.header("reply-to", text);
            }
            Field::CorrelationData(data) => match std::str::from_utf8(data) {
                Ok(data) if !data.contains('\0') && (version > Version::V10 || !data.contains('\n')) => {
                    frame.header("correlation-id", data);
                }
                _ => {
                    text.clear();
                    base64url::encode(data, text);
                    frame.header("correlation-id", text).header("correlation-encoding", "base64");
                }
            },
            Field::UserProperty("timestamp", value) => {
                frame.header("timestamp", &timestamp_from_core(grammar.dialect, value));
            }
            // No publisher's: these come from the broker alone.
            Field::UserProperty(ORIGINAL_DESTINATION, topic) => {
                text.clear();
                grammar.write_reply_to(topic, text);
                frame.header(ORIGINAL_DESTINATION, text);
            }
            Field::UserProperty(FIRST_DEATH, reason) => {
                frame.header(FIRST_DEATH, reason);
            }
            Field::UserProperty(name, _) if is_ours(name) => {}
            Field::UserProperty(name, value) => {
                frame.header(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn text_is_what_promises_utf_8() {
        for text in [
            "text/plain",
            "TEXT/html; charset=x",
            "application/json",
            "application/json;v=1",
            "application/xml; charset=\"UTF-8\"",
            "a/b;x=y;Charset=utf8",
        ] {
            assert!(is_text(text), "{text}");
        }
        for other in
            ["", "application/octet-stream", "text", "é/text/", "a/b;charset=latin1", "application/jsonx"]
        {
            assert!(!is_text(other), "{other}");
        }
    }
}
