//! Watching one client: every packet that it sends and is sent, and what becomes of its connection, for who wants to find out
//! what is wrong with it. Nothing of payloads, passwords and properties.

use serde::Serialize;

use super::inspect::{Inspector, Question};
use super::tap::{Ear, number};

/// Who has sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sender {
    /// The client.
    Client,
    /// The broker, to the client.
    Broker,
    /// Nobody: something has happened to it.
    #[serde(skip)]
    Nobody,
}

/// A packet of MQTT or a frame of STOMP, or what has happened to a connection or a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who has sent it.
    #[serde(rename = "from", skip_serializing_if = "is_nobody")]
    pub sender: Sender,
    /// The specification's name for it ("PUBLISH"), or a word in small letters for what is none ("closed").
    pub what: &'static str,
    /// Topic of a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<Box<str>>,
    /// Quality of service of a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos: Option<u8>,
    /// Packet identifier, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet_id: Option<u16>,
    /// Bytes of a message's payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// RETAIN flag.
    #[serde(skip_serializing_if = "is_not")]
    pub retain: bool,
    /// DUP flag.
    #[serde(skip_serializing_if = "is_not")]
    pub dup: bool,
    /// What else there is to say, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

fn is_nobody(sender: &Sender) -> bool {
    *sender == Sender::Nobody
}

fn is_not(flag: &bool) -> bool {
    !flag
}

/// Hears of one client from every worker, until it is dropped: the client may come to any of them, and need not be there yet.
#[derive(Debug)]
pub struct Watcher {
    inspector: Inspector,
    id: u64,
    /// Where its packets are heard.
    pub ear: Ear<Packet>,
}

impl Watcher {
    pub(super) fn new(inspector: Inspector, client_id: &str) -> Self {
        let (id, ear) = (number(), Ear::new());
        inspector.tell_all(|| Question::Watch(id, client_id.into(), ear.end()));
        Self { inspector, id, ear }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.inspector.tell_all(|| Question::Unwatch(self.id));
    }
}
