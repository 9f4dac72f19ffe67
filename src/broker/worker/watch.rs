//! What is told to who watches a client. Nothing of this is touched by the packets of a client that nobody watches, but
//! for a look at a flag.

use std::num::NonZeroU16;

use noctule_core::consumer::{Request, Verdict};
use noctule_core::delivery::AckKind;
use noctule_core::effects::{Delivery, Event, Input, Reply, Sent};
use noctule_core::id::{ConnId, Now};
use noctule_core::message::Publish;
use noctule_core::refusal::Refusal;
use noctule_mqtt as mqtt;
use noctule_stomp::server as stomp;

use super::Worker;
use super::journal::without_secret;
use crate::broker::tap::Tap;
use crate::broker::watch::{Packet, Sender};
use crate::reactor::Closed;

/// Somebody who watches a client.
#[derive(Debug)]
struct Watch {
    id: u64,
    client_id: Box<str>,
    to: Tap<Packet>,
    /// Its connections: one, but for a moment when another takes over.
    conns: Vec<ConnId>,
}

/// Everybody who watches a client that may come to this worker.
#[derive(Debug, Default)]
pub(super) struct Watches(Vec<Watch>);

impl Watches {
    /// Whether nobody watches anybody.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A client has said on this connection who it is; whether it is watched.
    fn came(&mut self, conn: ConnId, client_id: &str) -> bool {
        let mut is_watched = false;
        for watch in self.0.iter_mut().filter(|watch| *watch.client_id == *client_id) {
            if !watch.conns.contains(&conn) {
                watch.conns.push(conn);
            }
            is_watched = true;
        }
        is_watched
    }

    fn went(&mut self, conn: ConnId) {
        for watch in &mut self.0 {
            watch.conns.retain(|known| *known != conn);
        }
    }

    /// Tells what has passed on a connection.
    #[cold]
    pub(super) fn tell(&self, conn: ConnId, packet: &Packet) {
        for watch in self.0.iter().filter(|watch| watch.conns.contains(&conn)) {
            watch.to.pass(packet.clone());
        }
    }

    /// Tells what has happened to a client, on whatever connection.
    fn tell_named(&self, client_id: &str, packet: &Packet) {
        for watch in self.0.iter().filter(|watch| *watch.client_id == *client_id) {
            watch.to.pass(packet.clone());
        }
    }

    /// Tells what a client has sent on a connection.
    #[cold]
    pub(super) fn tell_input(&self, now: Now, conn: ConnId, input: &Input<'_>) {
        if let Some(packet) = sent(now, input) {
            self.tell(conn, &packet);
        }
    }

    /// Tells that a message is acknowledged that has gone straight to its receiver.
    #[cold]
    pub(super) fn tell_puback(&self, now: Now, conn: ConnId, packet_id: NonZeroU16) {
        self.tell(conn, &Packet { packet_id: Some(packet_id.into()), ..told(now, "PUBACK") });
    }

    /// Tells that a client may forget a message.
    #[cold]
    pub(super) fn tell_release(&self, now: Now, conn: ConnId, packet_id: NonZeroU16) {
        self.tell(conn, &Packet { packet_id: Some(packet_id.into()), ..told(now, "PUBREL") });
    }

    /// Tells what a client is delivered, or is too large for it.
    #[cold]
    pub(super) fn tell_delivery(
        &self,
        now: Now,
        conn: ConnId,
        is_stomp: bool,
        delivery: &Delivery<'_>,
        sent: Sent,
    ) {
        let (what, sender) = match sent {
            Sent::TooLarge => ("too large", Sender::Nobody),
            Sent::Written(_) if is_stomp => ("MESSAGE", Sender::Broker),
            Sent::Written(_) => ("PUBLISH", Sender::Broker),
        };
        let message = delivery.message;
        self.tell(
            conn,
            &Packet {
                sender,
                topic: Some(without_secret(message.topic().as_str()).into()),
                qos: Some(delivery.qos as u8),
                // Frames have none.
                packet_id: delivery.packet_id.filter(|_| !is_stomp).map(Into::into),
                size: Some(message.payload().len()),
                retain: delivery.retain,
                dup: delivery.dup,
                ..told(now, what)
            },
        );
    }
}

/// Most bytes of what is told in words of one packet: a client sets how long its filters are, and what waits for who watches
/// is bounded in packets.
const MOST_WORDS: usize = 1_024;

/// The words that there is room for, with a comma between two.
fn list(words: impl ExactSizeIterator<Item = String>) -> String {
    let (mut told, all) = (String::new(), words.len());
    for (number, word) in words.enumerate() {
        if told.len() + word.len() > MOST_WORDS {
            return format!("{told}{}{} more", if number > 0 { ", and " } else { "" }, all - number);
        }
        if number > 0 {
            told.push_str(", ");
        }
        told.push_str(&word);
    }
    told
}

/// A text as far as there is room for it.
fn cut(text: String) -> String {
    if text.len() <= MOST_WORDS {
        return text;
    }
    let end = (0..=MOST_WORDS).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// A packet of the broker's, of which no more is known than its name.
pub(super) fn told(now: Now, what: &'static str) -> Packet {
    Packet {
        at_ms: now.wall_ms,
        sender: Sender::Broker,
        what,
        topic: None,
        qos: None,
        packet_id: None,
        size: None,
        retain: false,
        dup: false,
        detail: String::new(),
    }
}

/// Something that nobody has sent.
fn happened(now: Now, what: &'static str, detail: String) -> Packet {
    Packet { sender: Sender::Nobody, detail: cut(detail), ..told(now, what) }
}

fn message(now: Now, what: &'static str, publish: &Publish<'_>) -> Packet {
    Packet {
        sender: Sender::Client,
        topic: Some(without_secret(publish.topic.as_str()).into()),
        qos: Some(publish.qos as u8),
        packet_id: publish.packet_id.map(Into::into),
        size: Some(publish.payload.len()),
        retain: publish.retain,
        dup: publish.dup,
        ..told(now, what)
    }
}

/// What a client has sent; `None` for what is none of its packets.
fn sent(now: Now, input: &Input<'_>) -> Option<Packet> {
    let plain = |what| Packet { sender: Sender::Client, ..told(now, what) };
    let numbered =
        |what, id: NonZeroU16, detail| Packet { packet_id: Some(id.into()), detail, ..plain(what) };
    Some(match input {
        Input::Publish(_, publish) => message(now, "PUBLISH", publish),
        Input::Ack { kind, packet_id, failed, .. } => {
            let detail = if *failed { "refuses it".to_owned() } else { String::new() };
            numbered(name_of(*kind), *packet_id, detail)
        }
        Input::Subscribe { packet_id, filters, .. } => {
            let filters = filters.iter();
            let told = list(filters.map(|one| format!("{} at QoS {}", one.filter, one.qos as u8)));
            numbered("SUBSCRIBE", *packet_id, told)
        }
        Input::Unsubscribe { packet_id, filters, .. } => {
            numbered("UNSUBSCRIBE", *packet_id, list(filters.iter().map(|&filter| filter.to_owned())))
        }
        Input::Ping(_) => plain("PINGREQ"),
        Input::Disconnect { with_will, .. } => {
            let detail = if *with_will { "with its will" } else { "" };
            Packet { detail: detail.to_owned(), ..plain("DISCONNECT") }
        }
        Input::Request(_, request, _) => match request {
            Request::Send(send) => message(now, "SEND", &send.publish),
            Request::Consume(consume) => {
                let filter = without_secret(consume.filter);
                let detail = cut(format!("{filter} as {}", consume.id.0));
                Packet { detail, ..plain("SUBSCRIBE") }
            }
            Request::Cancel { consumer, .. } => {
                Packet { detail: format!("{}", consumer.0), ..plain("UNSUBSCRIBE") }
            }
            Request::Forget { durable, .. } => {
                Packet { detail: cut(format!("{durable} for good")), ..plain("UNSUBSCRIBE") }
            }
            Request::Settle(settle) => {
                let what = if settle.verdict == Verdict::Accept { "ACK" } else { "NACK" };
                let detail = format!("{} of {}", settle.packet_ids.len(), settle.consumer.0);
                Packet { detail, ..plain(what) }
            }
            Request::Commit(commit) => {
                let detail =
                    format!("{} messages, {} acknowledgements", commit.sends.len(), commit.settles.len());
                Packet { detail, ..plain("COMMIT") }
            }
            Request::Nothing => Packet { detail: "or in a transaction".to_owned(), ..plain("BEGIN") },
            Request::Leave => plain("DISCONNECT"),
        },
        _ => return None,
    })
}

fn name_of(kind: AckKind) -> &'static str {
    match kind {
        AckKind::PubAck => "PUBACK",
        AckKind::PubRec => "PUBREC",
        AckKind::PubRel => "PUBREL",
        AckKind::PubComp => "PUBCOMP",
    }
}

/// What the engine has a client answered; `is_stomp`: in frames.
pub(super) fn answered(now: Now, is_stomp: bool, reply: &Reply) -> Packet {
    let numbered =
        |what, id: NonZeroU16, detail| Packet { packet_id: Some(id.into()), detail, ..told(now, what) };
    match reply {
        Reply::Connected { session_present, .. } => {
            let detail = if *session_present { "its session was there" } else { "a new session" };
            let what = if is_stomp { "CONNECTED" } else { "CONNACK" };
            Packet { detail: detail.to_owned(), ..told(now, what) }
        }
        Reply::Ack { kind, packet_id, reason } => {
            let is_plain = *reason as u8 == 0;
            let detail = if is_plain { String::new() } else { format!("{reason:?}") };
            numbered(name_of(*kind), *packet_id, detail)
        }
        Reply::Subscribed { packet_id, codes, why } => {
            let codes = codes.iter().map(|code| match code {
                Ok(qos) => format!("QoS {}", *qos as u8),
                Err(reason) => format!("{reason:?}"),
            });
            let codes = list(codes);
            let detail = why.as_ref().map_or_else(|| codes.clone(), |why| format!("{codes}: {why}"));
            numbered("SUBACK", *packet_id, cut(detail))
        }
        Reply::Unsubscribed { packet_id, codes } => {
            let codes = codes.iter().map(|code| format!("{code:?}"));
            numbered("UNSUBACK", *packet_id, list(codes))
        }
        Reply::Pong => told(now, "PINGRESP"),
        Reply::Receipt(_) | Reply::Farewell(Some(_)) | Reply::Consuming(_, Some(_)) => told(now, "RECEIPT"),
        // No frame says so.
        Reply::Consuming(id, None) => happened(now, "subscribed", format!("as {}", id.0)),
        Reply::Farewell(None) => happened(now, "left", String::new()),
        Reply::Refused(_) => happened(now, "refused", "the frame that asked for a receipt".to_owned()),
        Reply::Beat => told(now, "heart-beat"),
    }
}

/// What a CONNECT of MQTT asks for, in words.
pub(super) fn mqtt_connect(connect: &mqtt::Connect<'_>) -> String {
    let user = connect.user_name.map(|user| format!(", user {user:?}")).unwrap_or_default();
    let start = if connect.clean_start { "a clean start" } else { "its session" };
    let will = connect
        .will
        .as_ref()
        .map(|will| format!(", will {}", without_secret(will.topic)))
        .unwrap_or_default();
    let version = connect.version.name();
    format!("MQTT {version}{user}, {start}, keep alive {} s{will}", connect.keep_alive_s)
}

/// What a CONNECT of STOMP asks for, in words.
pub(super) fn stomp_connect(connect: &stomp::Connect<'_>) -> String {
    let user = connect.credentials.login.as_deref();
    let user = user.map(|user| format!(", user {user:?}")).unwrap_or_default();
    let (sends, wants) = connect.heart_beat_ms;
    format!("STOMP {}{user}, heart-beat {sends},{wants}", connect.version.as_str())
}

impl Worker {
    /// Passes on to somebody from now on what a client sends and is sent.
    pub(super) fn watch(&mut self, id: u64, client_id: Box<str>, to: Tap<Packet>) {
        let conns: Vec<_> = self.engine.conns_named(&client_id).collect();
        for &conn in &conns {
            if let Some(peer) = self.peer(conn) {
                peer.is_watched = true;
            }
        }
        self.engine.watch_drops(&client_id);
        self.watches.0.push(Watch { id, client_id, to, conns });
    }

    /// Passes on no more of it.
    pub(super) fn unwatch(&mut self, id: u64) {
        let Some(place) = self.watches.0.iter().position(|watch| watch.id == id) else { return };
        let gone = self.watches.0.swap_remove(place);
        if !self.watches.0.iter().any(|watch| watch.client_id == gone.client_id) {
            self.engine.unwatch_drops(&gone.client_id);
        }
        if self.watches.is_empty() {
            for peer in self.peers.iter_mut().flatten() {
                peer.is_watched = false;
            }
        }
    }

    /// A client has said who it is, and asks for something in these words. Told once on each connection: the CONNECT is
    /// read again when it is known who it is.
    pub(super) fn note_coming(
        &mut self,
        now: Now,
        conn: ConnId,
        client_id: &str,
        asks: impl FnOnce() -> String,
    ) {
        if self.watches.is_empty() || !self.watches.came(conn, client_id) {
            return;
        }
        let Some(peer) = self.peer(conn) else { return };
        if !std::mem::replace(&mut peer.is_watched, true) {
            let detail = cut(format!("{}, from {}", asks(), peer.origin));
            self.watches.tell(conn, &Packet { sender: Sender::Client, detail, ..told(now, "CONNECT") });
        }
    }

    /// A connection is ended by the broker.
    pub(super) fn note_refusal(&mut self, now: Now, conn: ConnId, refusal: &Refusal) {
        if self.is_watched(conn) {
            let detail = format!("{}: {}", refusal.kind.row().label, refusal.detail);
            self.watches.tell(conn, &happened(now, "refused", detail));
        }
    }

    /// A connection is gone.
    pub(super) fn note_end(&mut self, now: Now, conn: ConnId, why: &Closed) {
        if self.is_watched(conn) {
            let detail = match why {
                Closed::PeerClosed => "by the client".to_owned(),
                Closed::Error(error) => error.to_string(),
                Closed::Ours => "by the broker".to_owned(),
            };
            self.watches.tell(conn, &happened(now, "closed", detail));
            self.watches.went(conn);
        }
    }

    /// What was dropped of what clients were to get.
    pub(super) fn pass_drops(&mut self, now: Now) {
        let Self { engine, watches, .. } = self;
        engine.fetch_drops(|whose, reason, count| {
            let packet = happened(now, "dropped", format!("{count} messages: {}", reason.label()));
            watches.tell_named(whose, &packet);
        });
    }

    /// Something has happened to a client's session.
    pub(super) fn note_event(&self, now: Now, event: &Event) {
        let (client_id, packet) = match event {
            Event::TakenOver { client_id, .. } => (
                client_id,
                happened(now, "taken over", "by a newer connection of the same client id".to_owned()),
            ),
            Event::SessionEnded { client_id, lost } => {
                (client_id, happened(now, "session ended", format!("{lost} messages lost")))
            }
            // Those of one client are told by themselves: the event's are everybody's.
            Event::Connected { .. } | Event::Disconnected { .. } | Event::Dropped { .. } => return,
        };
        self.watches.tell_named(client_id, &packet);
    }

    fn is_watched(&self, conn: ConnId) -> bool {
        let peer = self.peers.get(conn.slot as usize).and_then(Option::as_ref);
        peer.is_some_and(|peer| peer.generation == conn.generation && peer.is_watched)
    }
}
