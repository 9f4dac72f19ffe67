//! How a connection speaks once it has been let in: messages out of prepared heads, deliveries read where they lie.
//!
//! The client machines keep every message and event for their owner, which is most of what such a connection would
//! cost. Their codecs do without; what has to be kept here is which packet identifiers are in use.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU16;

use bytes::BytesMut;
use noctule_core::id::Qos;
use noctule_mqtt::client::{self as mqtt_client, Verdict, Welcome};
use noctule_mqtt::{
    Ack, Direction, Disconnect, Framer, MAX_PACKET, Packet, PacketType, Publish, Reason, Split, Subscribe,
    Subscription, Subscriptions, UserProperties, Version, decode, decode_publish,
};
use noctule_stomp::client as stomp_client;
use noctule_stomp::{Command, FrameLimits, FrameWriter, Reading};

use super::super::failure::{Ending, Failure, Impossible};

/// Messages at QoS 1 and 2 that a publisher may have unacknowledged, unless the broker wants fewer.
const MOST_INFLIGHT: u16 = 1_000;

/// Filters of one SUBSCRIBE.
const FILTERS_AT_ONCE: usize = 100;

/// Digits of a receipt's number: all have as many, so that they can be written over.
const RECEIPT_DIGITS: usize = 12;

/// What has come.
pub(super) enum Incoming<'a> {
    /// A message's body.
    Message(&'a [u8]),
    /// The broker has taken one of ours over.
    Taken,
    /// It has not.
    Refused,
    /// So many subscriptions are in force.
    Subscribed(usize),
    /// One is not, and why.
    Denied(String),
    /// Nothing of interest.
    Other,
}

/// A PUBLISH or SEND but for its body.
#[derive(Debug)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// Where packet identifier or receipt stand, if there is one.
    id_at: Option<usize>,
}

/// What is spoken on a connection.
#[derive(Debug)]
pub(super) enum Lane {
    Mqtt(Mqtt),
    Stomp(Stomp),
}

impl Lane {
    /// The head of messages to `topic` with `size` bytes of body.
    pub(super) fn head(&self, topic: &str, retain: bool, size: usize) -> Result<Head, Failure> {
        let mut out = BytesMut::new();
        let body = vec![0; size];
        match self {
            Self::Mqtt(lane) => {
                let has_id = lane.qos > Qos::AtMostOnce;
                let mut publish = Publish::new(topic, &body);
                (publish.qos, publish.retain) = (lane.qos, retain);
                publish.packet_id = has_id.then_some(NonZeroU16::MIN);
                publish
                    .encode(lane.version, &mut out)
                    .map_err(|error| Failure::Impossible(Impossible::Mqtt(error)))?;
                out.truncate(out.len() - size);
                // Behind it only 5.0 has something: the length of no properties.
                let behind = 2 + usize::from(lane.version.is_v5());
                Ok(Head { id_at: has_id.then(|| out.len() - behind), bytes: out.to_vec() })
            }
            Self::Stomp(lane) => {
                let digits = "0".repeat(RECEIPT_DIGITS);
                let mut frame = FrameWriter::new(&mut out, lane.version, Command::Send);
                frame.header("destination", topic);
                if lane.confirms {
                    frame.header("persistent", "true").header("receipt", &digits);
                }
                frame.head_only(size);
                let id_at = out.windows(RECEIPT_DIGITS).rposition(|window| window == digits.as_bytes());
                Ok(Head { id_at: id_at.filter(|_| lane.confirms), bytes: out.to_vec() })
            }
        }
    }

    /// Asks for these topics.
    pub(super) fn subscribe(&mut self, topics: &[String], out: &mut BytesMut) -> Result<(), Failure> {
        match self {
            Self::Mqtt(lane) => lane.subscribe(topics, out),
            Self::Stomp(lane) => {
                lane.subscribe(topics, out);
                Ok(())
            }
        }
    }

    /// Whether another message may be sent.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Mqtt(lane) => lane.qos == Qos::AtMostOnce || lane.inflight < lane.limit,
            Self::Stomp(lane) => !lane.confirms || lane.inflight < MOST_INFLIGHT,
        }
    }

    /// Writes a message; there is [room](Self::has_room).
    pub(super) fn publish(&mut self, head: &Head, stamp: &[u8], filler: &[u8], out: &mut BytesMut) {
        let start = out.len();
        out.reserve(head.bytes.len() + stamp.len() + filler.len() + 1);
        out.extend_from_slice(&head.bytes);
        let id = head.id_at.and_then(|at| out.get_mut(start + at..));
        match self {
            Self::Mqtt(lane) => {
                if let Some([high, low, ..]) = id {
                    [*high, *low] = lane.next_id().to_be_bytes();
                }
            }
            Self::Stomp(lane) => {
                if let Some(digits) = id.and_then(|bytes| bytes.get_mut(..RECEIPT_DIGITS)) {
                    lane.sent += 1;
                    lane.inflight += 1;
                    let mut left = lane.sent;
                    for digit in digits.iter_mut().rev() {
                        *digit = b'0' + (left % 10) as u8;
                        left /= 10;
                    }
                }
            }
        }
        out.extend_from_slice(stamp);
        out.extend_from_slice(filler);
        if matches!(self, Self::Stomp(_)) {
            out.extend_from_slice(b"\0");
        }
    }

    /// Takes the first packet of `bytes`: its length and what it is, `None` if it is not whole. Answers go to `out`.
    pub(super) fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut BytesMut,
    ) -> Result<Option<(usize, Incoming<'a>)>, Ending> {
        match self {
            Self::Mqtt(lane) => lane.take(bytes, out).map_err(Ending::Mqtt),
            Self::Stomp(lane) => lane.take(bytes, out).map_err(Ending::Stomp),
        }
    }

    /// Says good-bye.
    pub(super) fn farewell(&self, out: &mut BytesMut) {
        match self {
            Self::Mqtt(lane) => {
                // Success without properties can be said in every version.
                let farewell = Disconnect::new(Reason::SUCCESS);
                let _ = farewell.encode(lane.version, Direction::ToServer, out);
            }
            Self::Stomp(lane) => FrameWriter::new(out, lane.version, Command::Disconnect).finish(b""),
        }
    }
}

/// MQTT.
#[derive(Debug)]
pub(super) struct Mqtt {
    version: Version,
    framer: Framer,
    qos: Qos,
    limit: u16,
    inflight: u16,
    /// Identifiers that have been used and are free again.
    free: VecDeque<u16>,
    /// For each identifier that was ever used, whether it is in use: a second acknowledgement must not free it twice.
    busy: Vec<bool>,
    /// Messages at QoS 2 that have come and are not released.
    received: BTreeSet<NonZeroU16>,
}

impl Mqtt {
    pub(super) fn new(version: Version, qos: Qos, welcome: &Welcome) -> Self {
        Self {
            version,
            framer: Framer::new(version, Direction::ToClient, MAX_PACKET),
            qos,
            limit: welcome.receive_maximum.get().min(MOST_INFLIGHT),
            inflight: 0,
            free: VecDeque::new(),
            busy: Vec::new(),
            received: BTreeSet::new(),
        }
    }

    fn next_id(&mut self) -> u16 {
        self.inflight += 1;
        let id = self.free.pop_front().unwrap_or_else(|| {
            self.busy.push(false);
            // There are never more of them than MOST_INFLIGHT.
            self.busy.len() as u16
        });
        self.mark(id, true);
        id
    }

    /// What it was marked as before.
    fn mark(&mut self, id: u16, is_busy: bool) -> bool {
        let place = usize::from(id).checked_sub(1).and_then(|at| self.busy.get_mut(at));
        place.is_some_and(|busy| std::mem::replace(busy, is_busy))
    }

    /// An exchange has ended: what to count it as.
    fn finish(&mut self, ack: &Ack<'_>) -> Incoming<'static> {
        let id = ack.packet_id.get();
        if !self.mark(id, false) {
            return Incoming::Other;
        }
        self.inflight = self.inflight.saturating_sub(1);
        self.free.push_back(id);
        if ack.reason.is_failure() { Incoming::Refused } else { Incoming::Taken }
    }

    fn subscribe(&self, topics: &[String], out: &mut BytesMut) -> Result<(), Failure> {
        for (part, id) in topics.chunks(FILTERS_AT_ONCE).zip(1..) {
            let wanted: Vec<_> = part.iter().map(|topic| Subscription::new(topic, self.qos)).collect();
            let request = Subscribe {
                packet_id: NonZeroU16::new(id).unwrap_or(NonZeroU16::MIN),
                subscription_id: None,
                user_properties: UserProperties::Given(&[]),
                subscriptions: Subscriptions::Given(&wanted),
            };
            let impossible = |error| Failure::Impossible(Impossible::Mqtt(error));
            request.encode(self.version, out).map_err(impossible)?;
        }
        Ok(())
    }

    fn answer(&self, kind: PacketType, id: NonZeroU16, out: &mut BytesMut) {
        // An acknowledgement of success always has an encoding.
        let _ = Ack::new(id, Reason::SUCCESS).encode(self.version, kind, out);
    }

    fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut BytesMut,
    ) -> Result<Option<(usize, Incoming<'a>)>, mqtt_client::ClientError> {
        let frame = match self.framer.split(bytes)? {
            Split::Incomplete { .. } => return Ok(None),
            Split::Frame(frame) => frame,
        };
        if frame.packet_type() == Some(PacketType::Publish) {
            let publish = decode_publish(self.version, Direction::ToClient, &frame)?;
            let incoming = match (publish.qos, publish.packet_id) {
                (Qos::AtLeastOnce, Some(id)) => {
                    self.answer(PacketType::PubAck, id, out);
                    Incoming::Message(publish.payload)
                }
                (Qos::ExactlyOnce, Some(id)) => {
                    self.answer(PacketType::PubRec, id, out);
                    let is_new = self.received.insert(id);
                    if is_new { Incoming::Message(publish.payload) } else { Incoming::Other }
                }
                _ => Incoming::Message(publish.payload),
            };
            return Ok(Some((frame.len, incoming)));
        }
        let incoming = match decode(self.version, Direction::ToClient, &frame)? {
            Packet::PubAck(ack) | Packet::PubComp(ack) => self.finish(&ack),
            Packet::PubRec(ack) if ack.reason.is_failure() => self.finish(&ack),
            Packet::PubRec(ack) => {
                self.answer(PacketType::PubRel, ack.packet_id, out);
                Incoming::Other
            }
            Packet::PubRel(ack) => {
                self.received.remove(&ack.packet_id);
                self.answer(PacketType::PubComp, ack.packet_id, out);
                Incoming::Other
            }
            Packet::SubAck(ack) => {
                match ack.reasons.iter().find(|reason| Qos::from_level(reason.code()).is_none()) {
                    Some(reason) => Incoming::Denied(reason.to_string()),
                    None => Incoming::Subscribed(ack.reasons.len()),
                }
            }
            Packet::Disconnect(farewell) => {
                return Err(mqtt_client::ClientError::Disconnected(Box::new(Verdict {
                    reason: farewell.reason,
                    reason_string: farewell.reason_string.map(str::to_owned),
                    server_reference: farewell.server_reference.map(str::to_owned),
                })));
            }
            _ => Incoming::Other,
        };
        Ok(Some((frame.len, incoming)))
    }
}

/// STOMP.
#[derive(Debug)]
pub(super) struct Stomp {
    version: noctule_stomp::Version,
    framer: noctule_stomp::Framer,
    limits: FrameLimits,
    /// Whether messages are persistent and have receipts, and deliveries are acknowledged one by one.
    confirms: bool,
    sent: u64,
    inflight: u16,
    subscriptions: usize,
}

impl Stomp {
    pub(super) fn new(version: noctule_stomp::Version, confirms: bool) -> Self {
        Self {
            version,
            framer: noctule_stomp::Framer::new(),
            limits: stomp_client::Options::default().limits,
            confirms,
            sent: 0,
            inflight: 0,
            subscriptions: 0,
        }
    }

    fn subscribe(&mut self, topics: &[String], out: &mut BytesMut) {
        for (topic, id) in topics.iter().zip(1u32..) {
            let mut frame = FrameWriter::new(out, self.version, Command::Subscribe);
            frame.number("id", id).header("destination", topic);
            frame.header("ack", if self.confirms { "client-individual" } else { "auto" });
            frame.number("receipt", id);
            frame.finish(b"");
            self.subscriptions += 1;
        }
    }

    fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut BytesMut,
    ) -> Result<Option<(usize, Incoming<'a>)>, stomp_client::ClientError> {
        let reading = Reading { version: Some(self.version), direction: noctule_stomp::Direction::ToClient };
        let frame = match self.framer.split(bytes, reading, &self.limits) {
            Ok(noctule_stomp::Split::Incomplete) => return Ok(None),
            Ok(noctule_stomp::Split::Beats(len)) => return Ok(Some((len, Incoming::Other))),
            Ok(noctule_stomp::Split::Frame(frame)) => frame,
            Err(error) => return Err(stomp_client::ClientError::Malformed(error.fault)),
        };
        let incoming = match frame.command {
            Command::Message => {
                if self.confirms {
                    let mut ack = FrameWriter::new(out, self.version, Command::Ack);
                    match self.version {
                        noctule_stomp::Version::V12 => {
                            ack.header("id", &frame.headers.get("ack").unwrap_or_default());
                        }
                        _ => {
                            for name in ["message-id", "subscription"] {
                                ack.header(name, &frame.headers.get(name).unwrap_or_default());
                            }
                        }
                    }
                    ack.finish(b"");
                }
                Incoming::Message(frame.body)
            }
            Command::Receipt if self.subscriptions > 0 => {
                self.subscriptions -= 1;
                Incoming::Subscribed(1)
            }
            Command::Receipt => {
                self.inflight = self.inflight.saturating_sub(1);
                Incoming::Taken
            }
            Command::Error => {
                return Err(stomp_client::ClientError::Ended(Box::new(stomp_client::Verdict {
                    message: frame.headers.get("message").map(Cow::into_owned),
                    detail: String::from_utf8_lossy(frame.body).trim().to_owned(),
                    versions: None,
                    receipt: None,
                })));
            }
            _ => Incoming::Other,
        };
        Ok(Some((frame.len, incoming)))
    }
}
