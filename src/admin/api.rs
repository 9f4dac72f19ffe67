//! The API under `/api/v1`: what a person or a program may see and do.

use axum::Json;
use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{self, DefaultBodyLimit, Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::backup::backup;
use super::guard::{self, Guard};
use super::live::{self, live};
use super::messages::{forget, move_on, publish, purge, retained, retained_at, waiting};
use super::problem::Problem;
use super::session;
use super::trace::{trace, trace_client};
use super::{Command, Exporter, health, metrics, page};
use crate::broker::inspect::{Client, ClientFilter, Cursor, Group, Inspector, Page, Subscription};
use crate::config::Level;

/// Largest body of a request, bytes.
const MAX_BODY: usize = 64 * 1024;

/// Most items of a part of a list, and how many there are in one that does not say.
const MAX_LIMIT: usize = 1_000;
const DEFAULT_LIMIT: usize = 100;

/// What the handlers have.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) inspector: Inspector,
    pub(super) exporter: Exporter,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) guard: Arc<Guard>,
    /// Places for pages that listen.
    pub(super) pages: Arc<Semaphore>,
    pub(super) data_dir: Arc<std::path::Path>,
    /// Free disk space that a backup has to leave, bytes.
    pub(super) min_free: u64,
    /// One backup at a time.
    pub(super) backing_up: Arc<Semaphore>,
}

impl State {
    pub(super) fn new(
        inspector: Inspector,
        exporter: Exporter,
        commands: mpsc::Sender<Command>,
        guard: Arc<Guard>,
        (data_dir, min_free): (std::path::PathBuf, u64),
    ) -> Self {
        let (pages, backing_up) = (Semaphore::new(live::MAX_PAGES), Semaphore::new(1));
        let (pages, backing_up) = (Arc::new(pages), Arc::new(backing_up));
        Self { inspector, exporter, commands, guard, pages, data_dir: data_dir.into(), min_free, backing_up }
    }
}

/// How something is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// What is asked for how, and who answers.
type Route = (Verb, &'static str, fn(MethodFilter) -> MethodRouter<State>);

/// Everything that is served but the dashboard's files, as `openapi.json` describes it.
const ROUTES: &[Route] = &[
    (Verb::Get, "/metrics", |verb| on(verb, metrics::scrape)),
    (Verb::Get, "/healthz", |verb| on(verb, health::alive)),
    (Verb::Get, "/readyz", |verb| on(verb, health::ready)),
    (Verb::Get, "/api/v1/broker", |verb| on(verb, broker)),
    (Verb::Get, "/api/v1/clients", |verb| on(verb, clients)),
    (Verb::Get, "/api/v1/clients/{client_id}", |verb| on(verb, client)),
    (Verb::Delete, "/api/v1/clients/{client_id}", |verb| on(verb, disconnect)),
    (Verb::Get, "/api/v1/clients/{client_id}/subscriptions", |verb| on(verb, subscriptions)),
    (Verb::Get, "/api/v1/clients/{client_id}/trace", |verb| on(verb, trace_client)),
    (Verb::Get, "/api/v1/groups", |verb| on(verb, groups)),
    (Verb::Delete, "/api/v1/queues/{name}", |verb| on(verb, purge)),
    (Verb::Get, "/api/v1/queues/{name}/messages", |verb| on(verb, waiting)),
    (Verb::Post, "/api/v1/queues/{name}/move", |verb| on(verb, move_on)),
    (Verb::Get, "/api/v1/retained", |verb| on(verb, retained)),
    (Verb::Delete, "/api/v1/retained", |verb| on(verb, forget)),
    (Verb::Get, "/api/v1/retained/{*topic}", |verb| on(verb, retained_at)),
    (Verb::Post, "/api/v1/publish", |verb| on(verb, publish)),
    (Verb::Get, "/api/v1/session", |verb| on(verb, session::whoami)),
    (Verb::Post, "/api/v1/session", |verb| on(verb, session::begin)),
    (Verb::Delete, "/api/v1/session", |verb| on(verb, session::end)),
    (Verb::Get, "/api/v1/live", |verb| on(verb, live)),
    (Verb::Get, "/api/v1/trace", |verb| on(verb, trace)),
    (Verb::Get, "/api/v1/backup", |verb| on(verb, backup)),
    (Verb::Post, "/api/v1/reload", |verb| on(verb, reload)),
    (Verb::Put, "/api/v1/log-level", |verb| on(verb, log_level)),
    (Verb::Get, "/api/v1/openapi.json", |verb| on(verb, description)),
];

/// Everything that is served.
pub(super) fn router(state: State) -> Router {
    let guard = Arc::clone(&state.guard);
    let routes = ROUTES
        .iter()
        .fold(Router::new(), |routes, (verb, path, answers)| routes.route(path, answers(verb.filter())));
    routes
        .fallback(elsewhere)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(guard, guard::decide))
        .with_state(state)
}

/// What it is, for programs.
const DESCRIPTION: &str = include_str!("openapi.json");

/// What all of this is, for programs (OpenAPI 3.1).
async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION)
}

/// The dashboard's files, or nothing.
async fn elsewhere(
    method: axum::http::Method,
    uri: axum::http::Uri,
    headers: axum::http::HeaderMap,
) -> Result<Response, Problem> {
    if let Some(file) = page::file(&uri, &headers) {
        return if method == axum::http::Method::GET { Ok(file) } else { Err(not_so(method, uri).await) };
    }
    Err(Problem::not_found(format!(
        "there is nothing at {}; the API is described at /api/v1/openapi.json",
        uri.path()
    )))
}

async fn not_so(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} can't be asked with {method}", uri.path()))
}

/// The broker as a whole.
#[derive(Debug, Serialize)]
struct Broker {
    version: &'static str,
    workers: u16,
    /// What keeps it from serving as it should; nothing if all is well.
    problems: Vec<String>,
}

async fn broker(extract::State(state): extract::State<State>) -> Json<Broker> {
    Json(Broker {
        version: env!("CARGO_PKG_VERSION"),
        workers: state.inspector.workers(),
        problems: state.inspector.problems().await,
    })
}

/// A part of a list as it is told.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    /// To be given as `cursor` for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

impl<T> List<T> {
    /// What was found from a place on, where at most so many were asked for: there may be more if there were as many.
    pub(super) fn part(items: Vec<T>, from: Cursor, most: usize) -> Self {
        // No list of one owner has more places than a u32 counts.
        let following = Cursor { place: from.place.saturating_add(items.len() as u32), ..from };
        let next = (items.len() == most).then(|| following.to_string());
        Self { items, next }
    }
}

impl<T> From<Page<T>> for List<T> {
    fn from(page: Page<T>) -> Self {
        Self { items: page.items, next: page.next.map(|cursor| cursor.to_string()) }
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    client_id: Option<String>,
    user: Option<String>,
    connected: Option<bool>,
}

pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        limit => Err(Problem::bad_request(format!("limit={limit}: ask for 1 to {MAX_LIMIT} at a time"))),
    }
}

pub(super) fn cursor(asked: Option<&str>) -> Result<Cursor, Problem> {
    asked.map_or(Ok(Cursor::default()), |text| text.parse().map_err(|()| wrong_cursor()))
}

pub(super) fn wrong_cursor() -> Problem {
    Problem::bad_request("cursor: give back what \"next\" of the part before says, or leave it out")
}

pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

pub(super) fn asked<T>(query: Asked<T>) -> Result<T, Problem> {
    query.map(|Query(query)| query).map_err(|error| Problem::bad_request(error.body_text()))
}

/// What a body says, if it is the JSON that is wanted.
pub(super) fn given<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(given)| given).map_err(|error| Problem::new(error.status(), error.body_text()))
}

async fn clients(
    extract::State(state): extract::State<State>,
    query: Asked<ClientQuery>,
) -> Result<Json<List<Client>>, Problem> {
    let query = asked(query)?;
    let (most, from) = (limit(query.limit)?, cursor(query.cursor.as_deref())?);
    let filter = ClientFilter { client_id: query.client_id, user: query.user, connected: query.connected };
    Ok(Json(state.inspector.clients(from, most, &filter).await?.into()))
}

fn no_client(client_id: &str) -> Problem {
    Problem::not_found(format!("no client {client_id:?} has a session here"))
}

async fn client(
    extract::State(state): extract::State<State>,
    Path(client_id): Path<String>,
) -> Result<Json<Client>, Problem> {
    state.inspector.client(&client_id).await?.map(Json).ok_or_else(|| no_client(&client_id))
}

async fn disconnect(
    extract::State(state): extract::State<State>,
    Path(client_id): Path<String>,
) -> Result<Response, Problem> {
    if state.inspector.disconnect(&client_id).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    match state.inspector.client(&client_id).await? {
        Some(_) => Err(Problem::new(StatusCode::CONFLICT, format!("client {client_id:?} is not connected"))),
        None => Err(no_client(&client_id)),
    }
}

async fn subscriptions(
    extract::State(state): extract::State<State>,
    Path(client_id): Path<String>,
    query: Asked<Part>,
) -> Result<Json<List<Subscription>>, Problem> {
    let query = asked(query)?;
    let (most, from) = (limit(query.limit)?, cursor(query.cursor.as_deref())?);
    let found = state.inspector.subscriptions(&client_id, from.place as usize, most).await?;
    Ok(Json(List::part(found.ok_or_else(|| no_client(&client_id))?, from, most)))
}

async fn groups(
    extract::State(state): extract::State<State>,
    query: Asked<Part>,
) -> Result<Json<List<Group>>, Problem> {
    let query = asked(query)?;
    let (most, from) = (limit(query.limit)?, cursor(query.cursor.as_deref())?);
    Ok(Json(state.inspector.groups(from, most).await?.into()))
}

#[derive(Debug, Serialize)]
struct Reloaded {
    changes: Vec<String>,
}

async fn reload(extract::State(state): extract::State<State>) -> Result<Json<Reloaded>, Problem> {
    let (answer, answered) = oneshot::channel();
    if state.commands.send(Command::Reload(answer)).await.is_err() {
        return Err(ending());
    }
    match answered.await {
        Ok(Ok(changes)) => Ok(Json(Reloaded { changes })),
        Ok(Err(error)) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error)),
        Err(_) => Err(ending()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    level: Level,
}

async fn log_level(
    extract::State(state): extract::State<State>,
    body: Result<Json<LogLevel>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let LogLevel { level } = given(body)?;
    state.commands.send(Command::LogLevel(level)).await.map_err(|_| ending())?;
    Ok(StatusCode::NO_CONTENT)
}

fn ending() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the broker is stopping")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_served_is_described_and_nothing_else() {
        let served: BTreeSet<_> =
            ROUTES.iter().map(|(verb, path, _)| (path.replace("{*", "{"), *verb)).collect();
        assert_eq!(served.len(), ROUTES.len());
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let verb = match method.as_str() {
                    "get" => Verb::Get,
                    "post" => Verb::Post,
                    "put" => Verb::Put,
                    "delete" => Verb::Delete,
                    other => panic!("{path}: nothing is served by {other}"),
                };
                described.insert((path.clone(), verb));
            }
        }
        assert_eq!(served, described);
    }
}
