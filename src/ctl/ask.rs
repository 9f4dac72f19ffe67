//! One request and its answer, by HTTP/1.1 over the broker's Unix socket.

use std::fs::{self, OpenOptions};
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::CtlError;

/// Largest answer that is taken, bytes: a part of a list has some hundred kilobytes.
const MAX_ANSWER: usize = 64 << 20;

/// How long the broker may take to begin an answer; by itself it gives up after half of that.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same for a backup, which it gives half an hour.
const BACKUP_PATIENCE: Duration = Duration::from_secs(3_600);

/// A broker that may be asked.
pub(super) struct Broker {
    socket: PathBuf,
}

/// What it says.
pub(super) struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Broker {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) async fn get(&self, place: &str) -> Result<Answer, CtlError> {
        self.ask("GET", place, None).await
    }

    /// Writes what is there into a file that must not be there yet; how many bytes that were. A file that is not whole is
    /// taken away again.
    pub(super) async fn download(&self, place: &str, file: &Path) -> Result<u64, CtlError> {
        let (answer, connection) = self.send("GET", place, None).await?;
        let status = answer.status();
        if !status.is_success() {
            return Err(refusal(answer).await);
        }
        let kept = |error| CtlError::File { path: file.to_owned(), error };
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(kept)?;
        let mut body = answer.into_body();
        let mut bytes = 0;
        let written = loop {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            match frame.map(|frame| frame.map(hyper::body::Frame::into_data)) {
                None => break out.sync_all().map_err(kept),
                Some(Err(error)) => break Err(CtlError::Nonsense(error.to_string())),
                Some(Ok(Err(_))) => {}
                Some(Ok(Ok(part))) => {
                    bytes += part.len() as u64;
                    if let Err(error) = out.write_all(&part) {
                        break Err(kept(error));
                    }
                }
            }
        };
        connection.abort();
        if written.is_err() {
            // What it says already is worse than that it can't be taken away.
            let _ = fs::remove_file(file);
        }
        written.map(|()| bytes)
    }

    /// Hands over each line as it comes, until `take` says that it was the last, or there are no more. `begun`: from now on
    /// nothing is missed.
    pub(super) async fn lines(
        &self,
        place: &str,
        begun: impl FnOnce(),
        mut take: impl FnMut(&str) -> io::Result<bool>,
    ) -> Result<(), CtlError> {
        let (answer, connection) = self.send("GET", place, None).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        begun();
        let mut body = answer.into_body();
        let mut said = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.map_err(|error| CtlError::Nonsense(error.to_string()))?;
            said.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(end) = said.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = said.drain(..=end).collect();
                // An empty one only says that the broker is there.
                if line == b"\n" {
                    continue;
                }
                let goes_on = take(String::from_utf8_lossy(&line).trim_end())?;
                if !goes_on {
                    connection.abort();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        place: &str,
        body: Option<&Value>,
    ) -> Result<Answer, CtlError> {
        let (answer, connection) = self.send(method, place, body).await?;
        let status = answer.status();
        let body = to_bytes(Body::new(answer.into_body()), MAX_ANSWER).await;
        let body = body.map_err(|error| CtlError::Nonsense(error.to_string()))?;
        connection.abort();
        Ok(Answer { status, body })
    }

    /// Each request has a connection of its own: nobody asks so often that it would matter.
    async fn send(
        &self,
        method: &str,
        place: &str,
        body: Option<&Value>,
    ) -> Result<(Response<Incoming>, JoinHandle<hyper::Result<()>>), CtlError> {
        let nobody = |error| CtlError::Nobody { socket: self.socket.clone(), error };
        let nonsense = |error: hyper::Error| CtlError::Nonsense(error.to_string());
        let stream = UnixStream::connect(&self.socket).await.map_err(nobody)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(nonsense)?;
        // It ends with the answer; what was wrong with it the answer says.
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(place).header(header::HOST, "localhost");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.body(body).map_err(|error| CtlError::Nonsense(error.to_string()))?;
        // A backup is made before it is answered.
        let patience = if place == "/api/v1/backup" { BACKUP_PATIENCE } else { PATIENCE };
        let Ok(answer) = timeout(patience, sender.send_request(request)).await else {
            let error = io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}"));
            return Err(nobody(error));
        };
        let answer = answer.map_err(nonsense)?;
        Ok((answer, connection))
    }
}

/// Why it says no.
async fn refusal(answer: Response<Incoming>) -> CtlError {
    let status = answer.status();
    match to_bytes(Body::new(answer.into_body()), MAX_ANSWER).await {
        Ok(body) => {
            Answer { status, body }.done().err().unwrap_or_else(|| CtlError::Refused(status.to_string()))
        }
        Err(error) => CtlError::Nonsense(error.to_string()),
    }
}

impl Answer {
    /// Nothing is to be said, but that it was done.
    pub(super) fn done(self) -> Result<(), CtlError> {
        self.good().map(drop)
    }

    /// As text.
    pub(super) fn text(self) -> Result<String, CtlError> {
        String::from_utf8(self.good()?.to_vec()).map_err(|error| CtlError::Nonsense(error.to_string()))
    }

    /// As JSON.
    pub(super) fn json(self) -> Result<Value, CtlError> {
        serde_json::from_slice(&self.good()?).map_err(|error| CtlError::Nonsense(error.to_string()))
    }

    fn good(self) -> Result<Bytes, CtlError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let problem: Option<Value> = serde_json::from_slice(&self.body).ok();
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")).and_then(Value::as_str);
        Err(CtlError::Refused(detail.map_or_else(|| self.status.to_string(), str::to_owned)))
    }
}

/// A path of the API, whatever letters its parts have.
pub(super) fn path(parts: &[&str]) -> String {
    let mut path = "/api/v1".to_owned();
    for part in parts {
        path.push('/');
        encode(part, &mut path);
    }
    path
}

/// With those of the parameters that have a value.
pub(super) fn with_query<'a>(
    place: &str,
    query: impl Iterator<Item = &'a (&'a str, Option<&'a str>)>,
) -> String {
    let mut whole = place.to_owned();
    let mut sign = '?';
    for (name, value) in query.filter_map(|(name, value)| Some((name, (*value)?))) {
        whole.push(sign);
        whole.push_str(name);
        whole.push('=');
        encode(value, &mut whole);
        sign = '&';
    }
    whole
}

/// Percent-encoded (RFC 3986, section 2.1), but for what is never reserved.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_letters_are_one_part_of_a_path() {
        assert_eq!(path(&["clients", "a/b ü?#"]), "/api/v1/clients/a%2Fb%20%C3%BC%3F%23");
        let query = [("a", Some("b&c=d")), ("none", None), ("e", Some("1"))];
        assert_eq!(with_query("/x", query.iter()), "/x?a=b%26c%3Dd&e=1");
    }
}
