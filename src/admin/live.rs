//! `GET /api/v1/live`: a WebSocket over which a page hears what is published, publishes, and asks how quick the broker is.
//!
//! Each message either way is one JSON object; see `docs/admin.md`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use noctule_core::engine::HEARD_BYTES;
use noctule_websocket::{CloseCode, Decoder, FrameLimits, Kind, Role, accept_key, encode, write_ping};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::api::State;
use super::guard::Right;
use super::messages::{Kept, Own, SHOWN, filter, put};
use super::problem::Problem;
use crate::broker::tap::{Listener, Overheard};

/// Most pages at a time: each hears everything that it asks for.
pub(super) const MAX_PAGES: usize = 8;

// What is shown is heard as a whole.
const _: () = assert!(SHOWN < HEARD_BYTES);

/// Most filters of a page.
const MAX_FILTERS: usize = 16;

/// Most bytes of what a page says in one go.
const MAX_ASK: usize = 64 * 1024;

/// Bytes that are put together before they are written.
const BATCH: usize = 32 * 1024;

/// How often a page that is silent is asked whether it is there.
const PING: Duration = Duration::from_secs(30);

/// After how long it counts as gone.
const SILENCE: Duration = Duration::from_secs(90);

/// How long it may take what is sent to it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a page says: one of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    subscribe: Option<String>,
    unsubscribe: Option<String>,
    publish: Option<Own>,
    probe: Option<u64>,
}

/// What it is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Tell<'a> {
    Subscribed(&'a str),
    Unsubscribed(&'a str),
    Published(bool),
    Message(Kept),
    /// So many were left out.
    Missed(u64),
    Problem(String),
    #[serde(untagged)]
    Probed {
        probe: u64,
        us: u64,
    },
}

/// Upgrades to a WebSocket (RFC 6455, section 4.2.2).
pub(super) async fn live(
    extract::State(state): extract::State<State>,
    request: extract::Request,
) -> Result<Response, Problem> {
    let wrong = |what: &str| Problem::bad_request(format!("{what}: this is a WebSocket (RFC 6455)"));
    let headers = request.headers();
    let names = |name, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        values.flat_map(|line| line.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    if !names(header::UPGRADE, "websocket") || !names(header::CONNECTION, "upgrade") {
        return Err(wrong("no Upgrade: websocket"));
    }
    if !names(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(wrong("no Sec-WebSocket-Version: 13"));
    }
    let key = only_key(headers).and_then(accept_key).ok_or_else(|| wrong("no Sec-WebSocket-Key"))?;
    let Ok(place) = Arc::clone(&state.pages).try_acquire_owned() else {
        let detail = format!("{MAX_PAGES} pages are open already; close one");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let right = Right::of(Arc::clone(&state.guard), request.extensions())?;
    let (parts, body) = request.into_parts();
    let upgrade = hyper::upgrade::on(Request::from_parts(parts, body));
    tokio::spawn(async move {
        match timeout(PATIENCE, upgrade).await {
            Ok(Ok(upgraded)) => serve(TokioIo::new(upgraded), &state, &right).await,
            Ok(Err(error)) => tracing::debug!("a page's WebSocket did not come about: {error}"),
            Err(_) => tracing::debug!("a page's WebSocket did not come about in time"),
        }
        drop(place);
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let told = response.headers_mut();
    told.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    told.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(key) = HeaderValue::from_str(&key) {
        told.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    Ok(response)
}

fn only_key(headers: &HeaderMap) -> Option<&str> {
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = keys.next()?.to_str().ok()?;
    keys.next().is_none().then_some(key)
}

/// One page, until it goes.
async fn serve(mut io: TokioIo<Upgraded>, state: &State, right: &Right) {
    let limits = FrameLimits { max_message: MAX_ASK as u64, ..FrameLimits::default() };
    let mut decoder = Decoder::new();
    let (mut wire, mut said, mut out) = (BytesMut::new(), Vec::new(), BytesMut::new());
    let mut listener = state.inspector.listener();
    let mut heard_at = Instant::now();
    let mut pings = tokio::time::interval_at(heard_at + PING, PING);
    let mut ended = pin!(right.clone().ended());
    loop {
        let mut goodbye = None;
        tokio::select! {
            () = &mut ended => goodbye = Some(Right::GONE),
            read = io.read_buf(&mut wire) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
                heard_at = Instant::now();
                let progress = decoder.decode(Role::Server, &limits, &mut wire, &mut said, &mut out);
                let ends = match progress {
                    Ok(progress) => {
                        let _ = wire.split_to(progress.consumed);
                        progress.closed.is_some()
                    }
                    Err(violation) => {
                        decoder.close(Role::Server, violation.code(), &violation.to_string(), &mut out);
                        true
                    }
                };
                goodbye = answer(&mut said, &mut listener, (state, right), &mut out).await.err();
                if ends {
                    let _ = timeout(PATIENCE, io.write_all(&out)).await;
                    return;
                }
            }
            Some(message) = listener.ear.next() => {
                if right.holds() {
                    hand_on(message, &mut listener, state, &mut out);
                } else {
                    goodbye = Some(Right::GONE);
                }
            }
            _ = pings.tick() => {
                if heard_at.elapsed() > SILENCE {
                    return;
                }
                // Should a clock have been set, nobody else would have looked.
                goodbye = (!right.holds()).then_some(Right::GONE);
                tell_missed(&listener, &mut out);
                write_ping(Role::Server, b"", &mut out);
            }
        }
        if let Some(why) = goodbye {
            decoder.close(Role::Server, CloseCode::POLICY_VIOLATION, why, &mut out);
            let _ = timeout(PATIENCE, io.write_all(&out)).await;
            return;
        }
        if !out.is_empty() {
            let written = timeout(PATIENCE, io.write_all(&out)).await;
            if !matches!(written, Ok(Ok(()))) {
                return;
            }
            out.clear();
        }
    }
}

/// Tells a message, and those that have come along.
fn hand_on(message: Overheard, listener: &mut Listener, state: &State, out: &mut BytesMut) {
    tell(&Tell::Message(seen(message, state.inspector.now_ms())), out);
    // What has come with it leaves with it.
    while out.len() < BATCH
        && let Some(message) = listener.ear.next_now()
    {
        tell(&Tell::Message(seen(message, state.inspector.now_ms())), out);
    }
    tell_missed(listener, out);
}

/// A message as it is told to who listens.
pub(super) fn seen(heard: Overheard, now_ms: u64) -> Kept {
    let mut seen = Kept::of(&heard.message, now_ms, SHOWN);
    seen.client_id = heard.client_id;
    seen.size = heard.size;
    seen
}

/// Tells what the page has missed since the last time, if anything.
fn tell_missed(listener: &Listener, out: &mut BytesMut) {
    match listener.ear.take_missed() {
        0 => {}
        missed => tell(&Tell::Missed(missed), out),
    }
}

fn tell(told: &Tell<'_>, out: &mut BytesMut) {
    // What is told has no keys that are no text, which alone could fail.
    let text = serde_json::to_vec(told).unwrap_or_default();
    encode(Role::Server, Kind::Text, &text, out);
}

/// Answers what the page has said as a whole, and leaves the rest.
///
/// # Errors
/// Why the page is to go: it makes no sense, or may ask no more.
async fn answer(
    said: &mut Vec<u8>,
    listener: &mut Listener,
    (state, right): (&State, &Right),
    out: &mut BytesMut,
) -> Result<(), &'static str> {
    let mut asks = Vec::new();
    let (mut done, mut makes_sense) = (0, true);
    let mut parsed = serde_json::Deserializer::from_slice(said).into_iter::<Ask>();
    loop {
        match parsed.next() {
            Some(Ok(ask)) => asks.push(ask),
            Some(Err(error)) => {
                makes_sense = error.is_eof();
                break;
            }
            None => break,
        }
        done = parsed.byte_offset();
    }
    said.drain(..done);
    for ask in asks {
        if !right.holds() {
            return Err(Right::GONE);
        }
        if let Err(problem) = carry_out(ask, listener, state, out).await {
            tell(&Tell::Problem(problem.detail().to_owned()), out);
        }
    }
    if makes_sense && said.len() <= MAX_ASK { Ok(()) } else { Err("no JSON as in docs/admin.md") }
}

async fn carry_out(
    ask: Ask,
    listener: &mut Listener,
    state: &State,
    out: &mut BytesMut,
) -> Result<(), Problem> {
    if let Some(text) = ask.subscribe {
        let filter = filter(&text)?;
        if listener.len() >= MAX_FILTERS {
            return Err(Problem::bad_request(format!("at most {MAX_FILTERS} filters; unsubscribe from one")));
        }
        listener.add(filter);
        tell(&Tell::Subscribed(&text), out);
    }
    if let Some(text) = ask.unsubscribe {
        listener.remove(&text);
        tell(&Tell::Unsubscribed(&text), out);
    }
    if let Some(own) = ask.publish {
        put(&state.inspector, own).await?;
        tell(&Tell::Published(true), out);
    }
    if let Some(probe) = ask.probe {
        // It fits for some hundred thousand years.
        let us = state.inspector.pulse().await?.as_micros() as u64;
        tell(&Tell::Probed { probe, us }, out);
    }
    Ok(())
}
