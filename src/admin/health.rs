//! Whether the broker lives, and whether it serves as it should.

use axum::Json;
use axum::extract;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::api::State;

/// What is told of the broker's health.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    /// What is wrong; nothing if all is well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

/// `GET /healthz`: 200 as long as every worker answers. Whoever restarts what is not healthy would lose QoS 0 for a full disk
/// if that counted here.
pub(super) async fn alive(extract::State(state): extract::State<State>) -> Response {
    match state.inspector.answers().await {
        Ok(()) => tell(StatusCode::OK, "alive", Vec::new()),
        Err(error) => tell(StatusCode::SERVICE_UNAVAILABLE, "stuck", vec![error.to_string()]),
    }
}

/// `GET /readyz`: 200 while new clients are let in and their messages are taken and kept as configured.
pub(super) async fn ready(extract::State(state): extract::State<State>) -> Response {
    let problems = state.inspector.problems().await;
    if problems.is_empty() {
        tell(StatusCode::OK, "ready", problems)
    } else {
        tell(StatusCode::SERVICE_UNAVAILABLE, "not ready", problems)
    }
}

fn tell(status: StatusCode, word: &'static str, problems: Vec<String>) -> Response {
    (status, Json(Health { status: word, problems })).into_response()
}
