//! MQTT's client machine as a link carries it.

use std::io;

use bytes::BytesMut;
use noctule_mqtt::Reason;
use noctule_mqtt::client::{Client, Event};

use super::failure::{Ending, Failure, Impossible};
use super::link::{Link, Machine};

impl Machine for Client {
    type Event = Event;

    fn connect(&mut self, now_ms: u64) -> Result<(), Failure> {
        Self::connect(self, now_ms).map_err(|error| Failure::Impossible(Impossible::Mqtt(error)))
    }

    fn output(&mut self) -> &mut BytesMut {
        self.output()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.poll_event()
    }

    fn take(&mut self, now_ms: u64, bytes: &[u8]) -> Result<usize, Ending> {
        self.handle_packet(now_ms, bytes).map_err(Ending::Mqtt)
    }

    fn is_connected(&self) -> bool {
        self.is_connected()
    }

    fn next_wake_ms(&self) -> Option<u64> {
        self.next_wake_ms()
    }

    fn handle_timeout(&mut self, now_ms: u64) -> Result<(), Ending> {
        self.handle_timeout(now_ms).map_err(Ending::Mqtt)
    }

    async fn close(mut link: Link<'_, Self>) -> Result<(), Failure> {
        let now_ms = link.now_ms();
        if link.client().disconnect(now_ms, Reason::SUCCESS, None).is_err() {
            return Ok(());
        }
        let closed = link.shut_down().await;
        // Messages are ignored now; a DISCONNECT says that something sent before was not taken.
        let (client, unread) = link.client_and_unread();
        match client.handle_bytes(now_ms, unread) {
            Err(error) if error.verdict().is_some_and(|verdict| verdict.reason.is_failure()) => {
                return Err(link.ended(Ending::Mqtt(error)));
            }
            _ => {}
        }
        match closed {
            Ok(Err(error)) => Err(link.lost(Some(error))),
            Err(_) if !link.client().output().is_empty() => {
                Err(link.lost(Some(io::Error::new(io::ErrorKind::TimedOut, "it reads no more"))))
            }
            _ => Ok(()),
        }
    }
}
