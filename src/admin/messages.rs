//! Messages that are kept: what waits in queues, what is retained; and messages of the operator's own.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use noctule_core::id::Qos;
use noctule_core::message::Message;
use noctule_core::retained::Cursor;
use noctule_core::topic::{TopicFilter, TopicLimits, TopicName};
use noctule_core::trie::GroupKey;
use serde::{Deserialize, Serialize};

use super::api::{Asked, List, Part, State, asked, cursor, given, limit, wrong_cursor};
use super::problem::Problem;
use crate::broker::inspect::{Announcement, Inspector, Left, NoAnswer};
use crate::broker::without_secret;

/// Most bytes of a payload that are shown in a list.
pub(super) const SHOWN: usize = 1_024;

/// A message that is kept.
#[derive(Debug, Serialize)]
pub(super) struct Kept {
    topic: String,
    qos: u8,
    /// Whether it was published to be retained.
    retain: bool,
    /// Bytes of the payload.
    pub(super) size: usize,
    /// The payload, or its beginning, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The same where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Whether there is more of it than is shown.
    truncated: bool,
    /// Whose it is, where that is known: of what is heard as it is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<Box<str>>,
    /// In how many seconds it expires; absent for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_s: Option<u32>,
}

impl Kept {
    pub(super) fn of(message: &Message, now_ms: u64, most: usize) -> Self {
        let payload = message.payload();
        let shown = payload.get(..payload.len().min(most)).unwrap_or_default();
        // A character that the end has cut is left out.
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text),
            Err(error) if shown.len() < payload.len() && error.error_len().is_none() => {
                shown.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
            }
            Err(_) => None,
        };
        Self {
            topic: without_secret(message.topic().as_str()).into_owned(),
            qos: message.qos().level(),
            retain: message.retain(),
            size: payload.len(),
            base64: text.is_none().then(|| BASE64_STANDARD.encode(shown)),
            text: text.map(str::to_owned),
            truncated: shown.len() < payload.len(),
            client_id: None,
            expires_in_s: message.remaining_s(now_ms),
        }
    }
}

fn queue(name: &str) -> Arc<GroupKey> {
    Arc::new(GroupKey { group: "".into(), filter: format!("$queue/{name}").into() })
}

fn no_queue(name: &str) -> Problem {
    Problem::not_found(format!("there is no queue {name:?} that anything waits in or anybody consumes from"))
}

/// `GET /api/v1/queues/{name}/messages`: what waits there, in the order in which it is to leave.
pub(super) async fn waiting(
    extract::State(state): extract::State<State>,
    Path(name): Path<String>,
    query: Asked<Part>,
) -> Result<Json<List<Kept>>, Problem> {
    let query = asked(query)?;
    let (most, from) = (limit(query.limit)?, cursor(query.cursor.as_deref())?);
    let found = state.inspector.waiting(&queue(&name), from.place as usize, most).await?;
    let now_ms = state.inspector.now_ms();
    let found = found.ok_or_else(|| no_queue(&name))?;
    let items = found.iter().map(|message| Kept::of(message, now_ms, SHOWN)).collect();
    Ok(Json(List::part(items, from, most)))
}

/// How many messages it was about.
#[derive(Debug, Serialize)]
pub(super) struct Count {
    messages: usize,
}

/// What has become of what waited.
#[derive(Debug, Serialize)]
pub(super) struct Purged {
    /// How many messages it was about.
    messages: usize,
    /// How many wait there now.
    left: usize,
}

impl Purged {
    /// What a task has done that goes on, and says so in the log, also when whoever asked does not wait for it any more.
    async fn of(
        name: &str,
        work: impl Future<Output = Result<Option<Left>, NoAnswer>> + Send + 'static,
    ) -> Result<Json<Self>, Problem> {
        let done = tokio::spawn(work).await.map_err(|error| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("it has broken off: {error}"))
        })??;
        let Left { gone, left } = done.ok_or_else(|| no_queue(name))?;
        Ok(Json(Self { messages: gone, left }))
    }
}

/// `DELETE /api/v1/queues/{name}`: drops what waits there.
pub(super) async fn purge(
    extract::State(state): extract::State<State>,
    Path(name): Path<String>,
) -> Result<Json<Purged>, Problem> {
    let queue_name = name.clone();
    Purged::of(&name, async move {
        let done = state.inspector.purge(&queue(&queue_name)).await?;
        if let Some(Left { gone, left }) = done {
            tracing::info!(queue = queue_name, messages = gone, left, "an operator has emptied a queue");
        }
        Ok(done)
    })
    .await
}

/// Where messages are to go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    /// The name of a queue.
    to: String,
}

/// `POST /api/v1/queues/{name}/move`: has what waits there go on in another queue, as if it had been sent there; dead
/// letters go back in this way.
pub(super) async fn move_on(
    extract::State(state): extract::State<State>,
    Path(name): Path<String>,
    body: Result<Json<Move>, JsonRejection>,
) -> Result<Json<Purged>, Problem> {
    let Move { to } = given(body)?;
    let wrong = |what: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("to: {what}"));
    if to == name {
        return Err(wrong("the messages are there already".to_owned()));
    }
    let topic = format!("$queue/{to}");
    let parsed = TopicName::parse(&topic, &TopicLimits::WIDEST).map_err(|error| wrong(error.to_string()))?;
    if !parsed.is_queue() {
        return Err(wrong(format!("{to:?} is no name of a queue")));
    }
    let from = name.clone();
    Purged::of(&name, async move {
        let done = state.inspector.move_waiting(&queue(&from), &topic).await?;
        if let Some(Left { gone, left }) = done {
            tracing::info!(
                from,
                to,
                messages = gone,
                left,
                "an operator has moved messages to another queue"
            );
        }
        Ok(done)
    })
    .await
}

/// Which retained messages are meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetainedQuery {
    filter: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) fn filter(text: &str) -> Result<TopicFilter, Problem> {
    // Who knows where a STOMP client expects its answers can send some.
    if text.split('/').next() == Some("$reply") {
        return Err(Problem::bad_request("filter: reply addresses are their clients' secrets".to_owned()));
    }
    TopicFilter::parse(text, &TopicLimits::WIDEST)
        .map_err(|error| Problem::bad_request(format!("filter: {error}")))
}

/// `GET /api/v1/retained`: what is retained for topics that a filter matches, `#` unless said otherwise.
pub(super) async fn retained(
    extract::State(state): extract::State<State>,
    query: Asked<RetainedQuery>,
) -> Result<Json<List<Kept>>, Problem> {
    let query = asked(query)?;
    let (most, filter) = (limit(query.limit)?, filter(query.filter.as_deref().unwrap_or("#"))?);
    let mut cursor = match &query.cursor {
        Some(text) => Cursor::from_text(text).ok_or_else(wrong_cursor)?,
        None => Cursor::default(),
    };
    let now_ms = state.inspector.now_ms();
    let found = state.inspector.retained(&filter, &mut cursor, now_ms, most);
    let items = found.iter().map(|message| Kept::of(message, now_ms, SHOWN)).collect();
    Ok(Json(List { items, next: cursor.to_text() }))
}

/// `GET /api/v1/retained/{topic}`: all of it.
pub(super) async fn retained_at(
    extract::State(state): extract::State<State>,
    Path(topic): Path<String>,
) -> Result<Json<Kept>, Problem> {
    let name = TopicName::parse(&topic, &TopicLimits::WIDEST)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    let now_ms = state.inspector.now_ms();
    let found = state.inspector.retained_at(&name, now_ms);
    let nothing = || Problem::not_found(format!("nothing is retained for {topic:?}"));
    found.map(|message| Json(Kept::of(&message, now_ms, usize::MAX))).ok_or_else(nothing)
}

/// `DELETE /api/v1/retained?filter=`: what is retained for topics that the filter matches is so no more.
pub(super) async fn forget(
    extract::State(state): extract::State<State>,
    query: Asked<RetainedQuery>,
) -> Result<Json<Count>, Problem> {
    const AT_ONCE: usize = 256;
    let text = asked(query)?.filter;
    let wanted = || Problem::bad_request("filter: say which; \"#\" is everything");
    let (filter, mut cursor) = (filter(&text.ok_or_else(wanted)?)?, Cursor::default());
    if filter.as_str().starts_with('$') {
        return Err(Problem::bad_request("filter: what begins with $ is the broker's own, and comes back"));
    }
    let mut messages = 0;
    while !cursor.is_at_end() {
        let found = state.inspector.retained(&filter, &mut cursor, state.inspector.now_ms(), AT_ONCE);
        messages += found.len();
        let gone = found.iter().map(|message| Announcement {
            topic: message.topic().as_str().to_owned(),
            payload: Vec::new(),
            // What was retained at QoS 1 or 2 was stored at once, and its end is to be.
            qos: message.qos().min(Qos::AtLeastOnce),
            retain: true,
        });
        state.inspector.announce(gone.collect()).await?;
    }
    tracing::info!(filter = filter.as_str(), messages, "an operator has taken back retained messages");
    Ok(Json(Count { messages }))
}

/// A message of the operator's own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Own {
    topic: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    base64: Option<String>,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
}

/// `POST /api/v1/publish`.
pub(super) async fn publish(
    extract::State(state): extract::State<State>,
    body: Result<Json<Own>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    put(&state.inspector, given(body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Publishes it. A queue that has no room says no; who else does not get it is counted, as with anybody's messages.
pub(super) async fn put(inspector: &Inspector, own: Own) -> Result<(), Problem> {
    let message = own.announcement()?;
    let queue = message.topic.strip_prefix("$queue/").map(str::to_owned);
    let dropped = inspector.announce(vec![message]).await?;
    match queue {
        Some(queue) if dropped > 0 => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("the queue {queue:?} has dropped a message: it is full"),
        )),
        _ => Ok(()),
    }
}

impl Own {
    /// What is to be published, if that makes sense.
    pub(super) fn announcement(self) -> Result<Announcement, Problem> {
        let wrong = |what: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what);
        let parsed = TopicName::parse(&self.topic, &TopicLimits::WIDEST);
        let topic = parsed.map_err(|error| wrong(format!("topic: {error}")))?;
        if topic.is_dollar() && !topic.is_queue() {
            return Err(wrong(format!("topic: {:?} is the broker's own", self.topic)));
        }
        let payload = match (self.text, self.base64) {
            (Some(_), Some(_)) => return Err(wrong("text and base64: give one of them".to_owned())),
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => {
                BASE64_STANDARD.decode(base64).map_err(|error| wrong(format!("base64: {error}")))?
            }
            (None, None) => Vec::new(),
        };
        let qos =
            Qos::from_level(self.qos).ok_or_else(|| wrong(format!("qos: {} is not 0, 1 or 2", self.qos)))?;
        Ok(Announcement { topic: self.topic, payload, qos, retain: self.retain })
    }
}
