//! `noctule stomp`: STOMP's client machine on a link, and what the command line asks of it.

pub(super) mod send;
pub(super) mod subscribe;

use std::io;

use bytes::BytesMut;
use noctule_stomp::Version;
use noctule_stomp::client::{Client, Event, Options};
use tokio::time::timeout;

use super::failure::{Ending, Failure, Impossible, Place, Speaks};
use super::link::{CLOSE_TIMEOUT, Link, Machine};
use super::request::first_line;
use super::tls::Encryption;
use crate::cli::{Header, StompConnectArgs};

impl Machine for Client {
    type Event = Event;

    fn connect(&mut self, now_ms: u64) -> Result<(), Failure> {
        Self::connect(self, now_ms).map_err(|error| Failure::Impossible(Impossible::Stomp(error)))
    }

    fn output(&mut self) -> &mut BytesMut {
        self.output()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.poll_event()
    }

    fn take(&mut self, now_ms: u64, bytes: &[u8]) -> Result<usize, Ending> {
        self.handle_frame(now_ms, bytes).map_err(Ending::Stomp)
    }

    fn is_connected(&self) -> bool {
        self.is_connected()
    }

    fn next_wake_ms(&self) -> Option<u64> {
        self.next_wake_ms()
    }

    fn handle_timeout(&mut self, now_ms: u64) -> Result<(), Ending> {
        self.handle_timeout(now_ms).map_err(Ending::Stomp)
    }

    async fn close(link: Link<'_, Self>) -> Result<(), Failure> {
        farewell(link).await.map(drop)
    }
}

/// Says good-bye and waits until the broker says that it has everything; if it never does, that is what comes back.
/// Some brokers just close.
async fn farewell(mut link: Link<'_, Client>) -> Result<Option<io::Error>, Failure> {
    let now_ms = link.now_ms();
    let Ok(receipt) = link.client().disconnect(now_ms) else { return Ok(None) };
    let answered = async {
        loop {
            while let Some(event) = link.next_event()? {
                if event == Event::Receipt(receipt) {
                    return Ok(());
                }
            }
            link.turn().await?;
        }
    };
    match timeout(CLOSE_TIMEOUT, answered).await {
        Ok(Ok(())) => Ok(None),
        Ok(Err(Failure::Lost { error, .. })) => {
            Ok(Some(error.unwrap_or_else(|| io::Error::other("it closed the connection"))))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => {
            let words = format!("no answer within {} s", CLOSE_TIMEOUT.as_secs());
            Ok(Some(io::Error::new(io::ErrorKind::TimedOut, words)))
        }
    }
}

/// Where to connect to.
fn place(arguments: &StompConnectArgs) -> Result<Place, Failure> {
    let (host, port) = arguments.place();
    Ok(Place {
        host: host.to_owned(),
        port,
        speaks: Speaks::Stomp(arguments.version()),
        has_user: arguments.login().is_some(),
        encryption: arguments.is_encrypted().then(|| Encryption::new(&arguments.tls)).transpose()?,
    })
}

/// What both commands ask for.
fn options(arguments: &StompConnectArgs) -> Result<Options, Failure> {
    let passcode = match (&arguments.passcode, &arguments.passcode_file) {
        (Some(passcode), _) => Some(passcode.clone()),
        (None, Some(file)) => {
            let line = first_line("--passcode-file", file)?;
            let not_text = |error| Failure::Unreadable {
                flag: "--passcode-file",
                file: file.clone(),
                error: io::Error::new(io::ErrorKind::InvalidData, error),
            };
            Some(String::from_utf8(line).map_err(not_text)?)
        }
        (None, None) => arguments.url.as_ref().and_then(|url| url.password.clone()),
    };
    let heart_beat_ms = u32::try_from(arguments.heart_beat.as_millis()).unwrap_or(u32::MAX);
    Ok(Options {
        versions: arguments.version().map_or_else(|| Version::ALL.to_vec(), |version| vec![version]),
        host: arguments.vhost.clone(),
        login: arguments.login().map(str::to_owned),
        passcode,
        client_id: arguments.client_id.clone(),
        heart_beat_ms: (heart_beat_ms, heart_beat_ms),
        ..Options::default()
    })
}

/// Headers as the machine takes them.
fn headers(given: &[Header]) -> Vec<(String, String)> {
    given.iter().map(|header| (header.name.clone(), header.value.clone())).collect()
}

/// A header that a flag stands for.
fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
