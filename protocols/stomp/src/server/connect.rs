//! CONNECT and STOMP: which version is spoken, who asks, and what is heard from either side when it is silent.
//!
//! `host` is not looked at: there is one virtual host, and whoever asks for another gets it.

use std::borrow::Cow;

use noctule_core::consumer::Beats;
use noctule_core::effects;
use noctule_core::refusal::{Kind, Refusal};

use super::{Conversation, Phase, Server, Surroundings};
use crate::command::Command;
use crate::escape::Escapes;
use crate::fields::{bad_value, digits, shown, trimmed};
use crate::frame::Frame;
use crate::headers::Headers;
use crate::version::Version;

/// Who a client says it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// `login`.
    pub login: Option<Cow<'a, str>>,
    /// `passcode`.
    pub passcode: Option<Cow<'a, str>>,
}

impl std::fmt::Debug for Credentials<'_> {
    /// Not the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let passcode = self.passcode.as_ref().map(|_| "(hidden)");
        f.debug_struct("Credentials").field("login", &self.login).field("passcode", &passcode).finish()
    }
}

/// A client's wish to be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Who it says it is.
    pub credentials: Credentials<'a>,
    /// The same read otherwise, where that makes a difference: clients disagree on whether backslashes are escaped here.
    /// To be tried once, if the first reading is nobody's.
    pub otherwise: Option<Credentials<'a>>,
    /// `client-id`, without which there is no `activemq.subscriptionName`; 256 bytes at most, no control characters.
    pub client_id: Option<Cow<'a, str>>,
    /// The version to be spoken.
    pub version: Version,
    /// `heart-beat`: how often the client can send one and wants to receive one, ms; zeros where it said nothing.
    pub heart_beat_ms: (u32, u32),
}

impl Server {
    pub(super) fn connect<'a>(&mut self, frame: &Frame<'a>) -> Result<Connect<'a>, Refusal> {
        let headers = frame.headers;
        let version = match headers.get("accept-version") {
            None => Version::V10,
            Some(accept) => Version::highest_common(&accept).ok_or_else(|| unsupported(&accept))?,
        };
        self.version = Some(version);
        self.phase = Phase::Deciding;
        let heart_beat_ms = match headers.get("heart-beat") {
            None => (0, 0),
            Some(value) => heart_beat(&trimmed(version, value))?,
        };
        let client_id = headers.get("client-id").map(|id| trimmed(version, id)).filter(|id| !id.is_empty());
        if let Some(client_id) = &client_id {
            shown("client-id", client_id)
                .map_err(|error| Refusal::new(Kind::ClientIdNotValid, error.to_string()))?;
        }
        let (credentials, otherwise) = credentials(frame.command, version, headers);
        Ok(Connect {
            otherwise: otherwise.filter(|otherwise| *otherwise != credentials),
            credentials,
            client_id,
            version,
            heart_beat_ms,
        })
    }

    /// Has the CONNECT that was just taken be taken once more, because it can't be decided about yet; to be called in the
    /// place of [`Server::begin`].
    pub fn read_again(&mut self) {
        self.phase = Phase::Fresh;
    }

    /// The rest of the way for a CONNECT: what the engine is asked. `client_id` is a name for the connection in the log
    /// and for the policy ([`Connect::client_id`], or one that is made up; not the secret [`Server::session`]), `user` what authentication found. Of its
    /// listener's durability the caller knows.
    pub fn begin<'a>(
        &mut self,
        connect: &'a Connect<'a>,
        client_id: &'a str,
        user: Option<&'a str>,
        around: Surroundings<'_>,
    ) -> effects::Connect<'a> {
        self.version = Some(connect.version);
        self.phase = Phase::Deciding;
        self.conversation = Some(Box::new(Conversation {
            user: user.map(Into::into),
            client_id: connect.client_id.as_deref().map(Into::into),
            ..Conversation::default()
        }));
        let ((client_sends, client_wants), (we_send, we_want)) =
            (connect.heart_beat_ms, around.stomp.heart_beat_ms);
        let expected_ms = agreed(client_sends, we_want);
        let idle_ms = match connect.version {
            Version::V10 => around.stomp.idle_timeout_ms,
            Version::V11 | Version::V12 => 0,
        };
        effects::Connect {
            client_id,
            user,
            access: effects::Access::default(),
            clean_start: true,
            expiry_s: 0,
            receive_maximum: std::num::NonZeroU16::MAX,
            keep_alive_s: 0,
            is_v5: false,
            will: None,
            durability: None,
            beats: Some(Beats { expected_ms, sent_ms: agreed(we_send, client_wants), idle_ms }),
        }
    }
}

/// The interval for one direction: the larger of what one can send and the other wants; none unless both take part
/// (1.2, "Heart-beating").
fn agreed(can_send_ms: u32, wanted_ms: u32) -> u32 {
    if can_send_ms == 0 || wanted_ms == 0 { 0 } else { can_send_ms.max(wanted_ms) }
}

fn heart_beat(value: &str) -> Result<(u32, u32), Refusal> {
    // More than 49 days is as good as 49 days.
    let ms = |text: &str| digits(text.trim()).map(|ms| u32::try_from(ms).unwrap_or(u32::MAX));
    let both = value.split_once(',').and_then(|(sends, wants)| Some((ms(sends)?, ms(wants)?)));
    both.ok_or_else(|| {
        let allowed = "two numbers of milliseconds, such as 10000,10000: what you can send and what you want";
        bad_value("heart-beat", value, allowed).into()
    })
}

/// As it was meant to be read, and as it may have been meant to be read. CONNECT is not escaped, which some clients do
/// all the same; STOMP is, which some forget (1.2, "Value Encoding"). In 1.0 there may be a space behind the colon.
fn credentials(
    command: Command,
    version: Version,
    headers: Headers<'_>,
) -> (Credentials<'_>, Option<Credentials<'_>>) {
    let raw = |name| headers.get_raw(name).map(Cow::Borrowed);
    let raw = Credentials { login: raw("login"), passcode: raw("passcode") };
    if command == Command::Stomp {
        return (Credentials { login: headers.get("login"), passcode: headers.get("passcode") }, Some(raw));
    }
    let otherwise = |value: &Option<Cow<'_, str>>| {
        let text = trimmed(version, Cow::Borrowed(value.as_deref()?));
        let is_escaped = Escapes::V12.first_bad(text.as_bytes()).is_none();
        Some(Cow::Owned(if is_escaped { Escapes::V12.unescape(&text) } else { text }.into_owned()))
    };
    let otherwise = Credentials { login: otherwise(&raw.login), passcode: otherwise(&raw.passcode) };
    (raw, Some(otherwise))
}

fn unsupported(accept: &str) -> Refusal {
    let shown = crate::error::Excerpt::of(accept.as_bytes());
    let detail = format!("accept-version {shown} has no version that is spoken here; offer 1.0, 1.1 or 1.2");
    Refusal::new(Kind::UnsupportedVersion, detail)
}
