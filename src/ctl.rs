//! `noctule ctl`: asks a running broker through its Unix socket and shows what it says.

mod ask;
mod follow;
mod table;
mod top;

use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use thiserror::Error;

use crate::cli::{CtlArgs, CtlCommand, Exit, RunError};
use ask::{Answer, Broker, path};
use table::Table;

/// How many items are asked for at once.
const PART: usize = 500;

/// Why the broker could not be asked, or said no.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CtlError {
    /// Where it is can't be found out.
    #[error("{0}")]
    Place(RunError),
    /// Nobody answers.
    #[error("no broker answers at {}: {error}; is it running, and is --data, --config or --socket right?", socket.display())]
    Nobody {
        /// The socket.
        socket: std::path::PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It has broken off, or talks of something else.
    #[error("the broker's answer makes no sense: {0}")]
    Nonsense(String),
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// A file can't be written.
    #[error("can't write {}: {error}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Nothing can be printed.
    #[error("can't print: {0}")]
    Print(#[from] io::Error),
}

/// Runs `noctule ctl`, and prints what the broker says to `out`.
///
/// # Errors
/// [`CtlError`].
pub fn run(arguments: &CtlArgs, out: &mut impl Write) -> Result<Exit, CtlError> {
    let socket = arguments.place().map_err(CtlError::Place)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let broker = Broker::new(socket);
        match carry_out(&broker, arguments, out).await {
            // Whoever reads has had enough.
            Err(CtlError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
            done => done,
        }
    })
}

async fn carry_out(broker: &Broker, arguments: &CtlArgs, out: &mut impl Write) -> Result<Exit, CtlError> {
    match &arguments.command {
        CtlCommand::Status => return status(broker, arguments.json, out).await,
        CtlCommand::Clients { client_id, user, connected, away } => {
            let state = if *connected { Some("true") } else { (*away).then_some("false") };
            let query =
                [("client_id", client_id.as_deref()), ("user", user.as_deref()), ("connected", state)];
            let items = all(broker, "/api/v1/clients", &query).await?;
            show(&items, arguments.json, CLIENTS, out)?;
        }
        CtlCommand::Client { client_id } => {
            let place = path(&["clients", client_id]);
            let client = broker.get(&place).await?.json()?;
            let subscriptions = all(broker, &format!("{place}/subscriptions"), &[]).await?;
            if arguments.json {
                let both = serde_json::json!({ "client": client, "subscriptions": subscriptions });
                writeln!(out, "{both:#}")?;
            } else {
                table::facts(&client, out)?;
                if !subscriptions.is_empty() {
                    writeln!(out)?;
                    show(&subscriptions, false, SUBSCRIPTIONS, out)?;
                }
            }
        }
        CtlCommand::Disconnect { client_id } => {
            broker.ask("DELETE", &path(&["clients", client_id]), None).await?.done()?;
        }
        CtlCommand::Queues => {
            let items = all(broker, "/api/v1/groups", &[]).await?;
            show(&items, arguments.json, GROUPS, out)?;
        }
        CtlCommand::Peek { queue, limit } => {
            let limit = limit.to_string();
            let place = ask::with_query(
                &format!("{}/messages", path(&["queues", queue])),
                [("limit", Some(limit.as_str()))].iter(),
            );
            let list = broker.get(&place).await?.json()?;
            let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            show(&items, arguments.json, MESSAGES, out)?;
        }
        CtlCommand::Purge { queue } => {
            let answer = broker.ask("DELETE", &path(&["queues", queue]), None).await?.json()?;
            told(&answer, "dropped", arguments.json, out)?;
        }
        CtlCommand::Move { queue, to } => {
            let place = format!("{}/move", path(&["queues", queue]));
            let answer = broker.ask("POST", &place, Some(&serde_json::json!({ "to": to }))).await?.json()?;
            told(&answer, "moved", arguments.json, out)?;
        }
        CtlCommand::Retained { filter } => {
            let items = all(broker, "/api/v1/retained", &[("filter", Some(filter))]).await?;
            show(&items, arguments.json, MESSAGES, out)?;
        }
        CtlCommand::Get { topic } => {
            let levels: Vec<_> = std::iter::once("retained").chain(topic.split('/')).collect();
            let message = broker.get(&path(&levels)).await?.json()?;
            if arguments.json {
                writeln!(out, "{message:#}")?;
            } else {
                out.write_all(&payload(&message)?)?;
            }
        }
        CtlCommand::Forget { filter } => {
            let place = ask::with_query("/api/v1/retained", [("filter", Some(filter.as_str()))].iter());
            let answer = broker.ask("DELETE", &place, None).await?.json()?;
            told(&answer, "forgotten", arguments.json, out)?;
        }
        CtlCommand::Backup { file } => {
            let size = broker.download("/api/v1/backup", file).await?;
            writeln!(out, "{}: {size} bytes", file.display())?;
        }
        CtlCommand::Trace { filter, client_id, follow } => {
            let query = [("filter", Some(filter.as_str())), ("client_id", client_id.as_deref())];
            let place = ask::with_query("/api/v1/trace", query.iter());
            follow::run(broker, &place, follow, arguments.json, follow::message, out).await?;
        }
        CtlCommand::TraceClient { client_id, follow } => {
            let place = format!("{}/trace", path(&["clients", client_id]));
            follow::run(broker, &place, follow, arguments.json, follow::packet, out).await?;
        }
        CtlCommand::Top { times } => top::run(broker, *times, out).await?,
        CtlCommand::Reload => {
            let answer = broker.ask("POST", "/api/v1/reload", None).await?.json()?;
            if arguments.json {
                writeln!(out, "{answer:#}")?;
            } else {
                let changes = answer.get("changes").and_then(Value::as_array).cloned().unwrap_or_default();
                for change in changes.iter().filter_map(Value::as_str) {
                    writeln!(out, "{change}")?;
                }
                let count = changes.len();
                writeln!(out, "{count} change{} in force", if count == 1 { "" } else { "s" })?;
            }
        }
        CtlCommand::LogLevel { level } => {
            let body = serde_json::json!({ "level": level.as_str() });
            broker.ask("PUT", "/api/v1/log-level", Some(&body)).await?.done()?;
        }
        CtlCommand::Metrics => write!(out, "{}", broker.get("/metrics").await?.text()?)?,
    }
    Ok(Exit::Done)
}

/// What keeps the broker from serving as it should; without anything, in one line that all is well.
async fn status(broker: &Broker, json: bool, out: &mut impl Write) -> Result<Exit, CtlError> {
    let about = broker.get("/api/v1/broker").await?.json()?;
    let problems = about.get("problems").and_then(Value::as_array).cloned().unwrap_or_default();
    if json {
        writeln!(out, "{about:#}")?;
    } else {
        table::facts(&about, out)?;
        for problem in problems.iter().filter_map(Value::as_str) {
            writeln!(out, "PROBLEM  {problem}")?;
        }
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Failed })
}

/// All parts of a list.
async fn all(broker: &Broker, place: &str, query: &[(&str, Option<&str>)]) -> Result<Vec<Value>, CtlError> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let part = PART.to_string();
        let own = [("limit", Some(part.as_str())), ("cursor", cursor.as_deref())];
        let answer: Answer = broker.get(&ask::with_query(place, query.iter().chain(&own))).await?;
        let mut list = answer.json()?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(part)) => items.extend(part),
            _ => return Err(CtlError::Nonsense(format!("{place} has no items"))),
        }
        cursor = list.get("next").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            return Ok(items);
        }
    }
}

/// How many messages it was about.
fn told(answer: &Value, done: &str, json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        return writeln!(out, "{answer:#}");
    }
    let number = |key: &str| answer.get(key).and_then(Value::as_u64);
    let count = number("messages").unwrap_or_default();
    let left =
        number("left").filter(|&left| left > 0).map(|left| format!(", {left} left")).unwrap_or_default();
    writeln!(out, "{count} message{} {done}{left}", if count == 1 { "" } else { "s" })
}

/// The payload that a message is told with.
fn payload(message: &Value) -> Result<Vec<u8>, CtlError> {
    let text = |key: &str| message.get(key).and_then(Value::as_str);
    match (text("text"), text("base64")) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(encoded)) => BASE64_STANDARD
            .decode(encoded)
            .map_err(|error| CtlError::Nonsense(format!("the payload is no base64: {error}"))),
        (None, None) => Err(CtlError::Nonsense("a message without a payload".to_owned())),
    }
}

const MESSAGES: &[(&str, &str)] = &[
    ("TOPIC", "topic"),
    ("QOS", "qos"),
    ("SIZE", "size"),
    ("EXPIRES IN S", "expires_in_s"),
    ("PAYLOAD", "text"),
];

const CLIENTS: &[(&str, &str)] = &[
    ("CLIENT", "client_id"),
    ("USER", "user"),
    ("PROTOCOL", "protocol"),
    ("ADDRESS", "address"),
    ("SUBSCRIPTIONS", "subscriptions"),
    ("QUEUED", "queued_messages"),
    ("IN FLIGHT", "in_flight"),
];

const SUBSCRIPTIONS: &[(&str, &str)] =
    &[("FILTER", "filter"), ("SHARE", "share"), ("QOS", "qos"), ("SELECTS", "selects")];

const GROUPS: &[(&str, &str)] = &[
    ("KIND", "kind"),
    ("NAME", "name"),
    ("FILTER", "filter"),
    ("MESSAGES", "messages"),
    ("BYTES", "bytes"),
    ("LENT", "lent"),
    ("CONSUMERS", "consumers"),
];

fn show(items: &[Value], json: bool, columns: &[(&str, &str)], out: &mut impl Write) -> Result<(), CtlError> {
    if json {
        writeln!(out, "{:#}", serde_json::json!({ "items": items }))?;
    } else {
        Table::of(items, columns).write(out)?;
    }
    Ok(())
}
