//! What a connection asks for, and how that looks in CONNECT.

use std::fmt;

use bytes::BytesMut;

use super::error::RequestError;
use super::request::Writing;
use crate::command::Command;
use crate::encode::FrameWriter;
use crate::framing::FrameLimits;
use crate::version::Version;

/// What a connection asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// Versions that are offered, any order; all by default.
    pub versions: Vec<Version>,
    /// `host`: the virtual host. Required from 1.1; `/` by default, which is RabbitMQ's, and nobody else minds.
    pub host: String,
    /// `login`.
    pub login: Option<String>,
    /// `passcode`.
    pub passcode: Option<String>,
    /// `client-id`, the half of a durable subscription's name that belongs to the connection.
    pub client_id: Option<String>,
    /// `heart-beat`: how often we can send one and want to receive one, ms; 0 for not at all.
    pub heart_beat_ms: (u32, u32),
    /// How long the server may take to answer CONNECT, ms.
    pub answer_timeout_ms: u64,
    /// The largest frames that are taken from the server.
    pub limits: FrameLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            versions: Version::ALL.to_vec(),
            host: "/".to_owned(),
            login: None,
            passcode: None,
            client_id: None,
            heart_beat_ms: (10_000, 10_000),
            answer_timeout_ms: 10_000,
            // A server is trusted further than a server trusts its clients.
            limits: FrameLimits {
                max_headers: 1_024,
                max_header_line: 64 << 10,
                max_body: 256 << 20,
                max_connect: 256 << 10,
            },
        }
    }
}

impl fmt::Debug for Options {
    /// Not the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("versions", &self.versions)
            .field("host", &self.host)
            .field("login", &self.login)
            .field("passcode", &self.passcode.as_ref().map(|_| "(hidden)"))
            .field("client_id", &self.client_id)
            .field("heart_beat_ms", &self.heart_beat_ms)
            .field("answer_timeout_ms", &self.answer_timeout_ms)
            .field("limits", &self.limits)
            .finish()
    }
}

impl Options {
    /// Writes CONNECT, which every version of a server understands.
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), RequestError> {
        let versions: Vec<&str> = Version::ALL
            .iter()
            .filter(|version| self.versions.contains(version))
            .map(|v| v.as_str())
            .collect();
        let heart_beat = format!("{},{}", self.heart_beat_ms.0, self.heart_beat_ms.1);
        let given = [("login", &self.login), ("passcode", &self.passcode), ("client-id", &self.client_id)];
        let mut headers = vec![("accept-version", versions.join(",")), ("host", self.host.clone())];
        headers.push(("heart-beat", heart_beat));
        headers.extend(given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        for (name, value) in &headers {
            Writing::Connect.check(name, value)?;
        }
        let mut frame = FrameWriter::new(out, Version::V12, Command::Connect);
        for (name, value) in &headers {
            frame.header(name, value);
        }
        frame.finish(b"");
        Ok(())
    }
}
