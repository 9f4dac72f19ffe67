//! `GET /api/v1/trace`: what is published, as it comes, and `GET /api/v1/clients/{client_id}/trace`: every packet of a client,
//! a JSON object on each line, until whoever asks has had enough.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{self, Path};
use axum::http::{Extensions, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, interval_at};

use super::api::{Asked, State, asked};
use super::guard::Right;
use super::live::{MAX_PAGES, seen};
use super::messages::filter;
use super::problem::Problem;
use crate::broker::inspect::Inspector;
use crate::broker::tap::{Ear, Listener};
use crate::broker::watch::Watcher;

/// How often it is looked whether somebody is there; and still may, should a clock have been set.
const LOOK: Duration = Duration::from_secs(30);

/// Bytes that are put together before they are sent.
const BATCH: usize = 32 * 1024;

/// What is to be traced.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceQuery {
    filter: Option<String>,
    client_id: Option<String>,
}

/// `GET /api/v1/trace`: the messages.
pub(super) async fn trace(
    extract::State(state): extract::State<State>,
    request: Extensions,
    query: Asked<TraceQuery>,
) -> Result<Response, Problem> {
    let TraceQuery { filter: text, client_id } = asked(query)?;
    let filter = filter(text.as_deref().unwrap_or("#"))?;
    traced(state, &request, |inspector| {
        let mut listener = inspector.listener();
        listener.add(filter);
        Source::Published { listener, client_id, inspector }
    })
}

/// Of a client nothing can be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Everything {}

/// `GET /api/v1/clients/{client_id}/trace`: the packets of a client, which need not be there yet.
pub(super) async fn trace_client(
    extract::State(state): extract::State<State>,
    request: Extensions,
    Path(client_id): Path<String>,
    query: Asked<Everything>,
) -> Result<Response, Problem> {
    let Everything {} = asked(query)?;
    traced(state, &request, |inspector| Source::Packets(inspector.watch(&client_id)))
}

fn traced(
    state: State,
    request: &Extensions,
    source: impl FnOnce(Inspector) -> Source,
) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&state.pages).try_acquire_owned() else {
        let detail = format!("{MAX_PAGES} listen already; end one");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let right = Right::of(state.guard, request)?;
    let traced = Traced {
        source: source(state.inspector),
        ended: Box::pin(right.clone().ended()),
        right,
        looks: interval_at(Instant::now(), LOOK),
        _place: place,
    };
    let mut response = Body::new(traced).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    Ok(response)
}

/// Where lines come from.
enum Source {
    Published { listener: Listener, client_id: Option<String>, inspector: Inspector },
    Packets(Watcher),
}

impl Source {
    /// Waits for what is there next, and appends it as lines, with what has come along; perhaps none, where it is not meant.
    /// `None` when there will be no more.
    fn poll_lines(&mut self, cx: &mut Context<'_>, lines: &mut Vec<u8>) -> Poll<Option<io::Result<()>>> {
        match self {
            Self::Published { listener, client_id, inspector } => {
                let (inspector, client_id) = (&*inspector, client_id.as_deref());
                fill(&mut listener.ear, cx, lines, |heard| {
                    let is_meant = client_id.is_none_or(|client| heard.client_id.as_deref() == Some(client));
                    is_meant.then(|| seen(heard, inspector.now_ms()))
                })
            }
            Self::Packets(watcher) => fill(&mut watcher.ear, cx, lines, Some),
        }
    }

    fn take_missed(&self) -> u64 {
        match self {
            Self::Published { listener, .. } => listener.ear.take_missed(),
            Self::Packets(watcher) => watcher.ear.take_missed(),
        }
    }
}

/// Waits for what is heard next, and appends it and what has come along, each as the line that `said` makes of it, if any.
fn fill<T, L: Serialize>(
    ear: &mut Ear<T>,
    cx: &mut Context<'_>,
    lines: &mut Vec<u8>,
    said: impl Fn(T) -> Option<L>,
) -> Poll<Option<io::Result<()>>> {
    let mut next = ready!(ear.poll_next(cx));
    if next.is_none() {
        return Poll::Ready(None);
    }
    while let Some(heard) = next {
        if let Some(line) = said(heard) {
            if let Err(error) = serde_json::to_writer(&mut *lines, &line) {
                return Poll::Ready(Some(Err(error.into())));
            }
            lines.push(b'\n');
        }
        next = if lines.len() < BATCH { ear.next_now() } else { None };
    }
    Poll::Ready(Some(Ok(())))
}

/// Lines on their way.
struct Traced {
    source: Source,
    right: Right,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    looks: Interval,
    _place: OwnedSemaphorePermit,
}

impl hyper::body::Body for Traced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let mut lines = Vec::new();
        if this.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if this.looks.poll_tick(cx).is_ready() {
            // It may tick more than once after a long sleep; the rest comes with the next poll.
            cx.waker().wake_by_ref();
            if !this.right.holds() {
                return Poll::Ready(None);
            }
            // Whoever has gone without a word is found out by it, and who has just come hears that it has begun.
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"\n")))));
        }
        while lines.is_empty() {
            match ready!(this.source.poll_lines(cx, &mut lines)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(())) => {}
            }
            let missed = this.source.take_missed();
            if missed > 0 {
                lines.extend_from_slice(format!("{{\"missed\":{missed}}}\n").as_bytes());
            }
        }
        Poll::Ready(Some(Ok(Frame::data(lines.into()))))
    }
}
