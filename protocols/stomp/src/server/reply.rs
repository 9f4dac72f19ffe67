//! The engine's answers and deliveries in this connection's version of STOMP.

use bytes::{BufMut, BytesMut};
use noctule_core::consumer::ConsumerId;
use noctule_core::effects::{Delivery, Reply, Sent};
use noctule_core::id::{Now, Qos};
use noctule_core::refusal::{Kind, Refusal};
use noctule_core::topic::TopicLimits;

use super::consumers::{Consumer, MessageId, State};
use super::{Phase, Scratch, Server, Surroundings};
use crate::address::Grammar;
use crate::command::Command;
use crate::encode::FrameWriter;
use crate::fields::{is_text_message, write_fields};
use crate::version::Version;

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Then {
    /// The connection goes on.
    GoOn,
    /// It is over: close when everything is written.
    Close,
}

/// What an ERROR of the first frame offers, highest first (1.2, "Protocol Negotiation").
const VERSIONS: &str = "1.2,1.1,1.0";

impl Server {
    /// Writes an answer of the engine.
    ///
    /// # Errors
    /// The refusal with which the connection ends: the broker is wrong.
    pub fn reply(
        &mut self,
        reply: &Reply,
        around: Surroundings<'_>,
        out: &mut BytesMut,
    ) -> Result<Then, Refusal> {
        let (receipt, then) = match reply {
            Reply::Connected { .. } => {
                self.phase = Phase::Connected;
                self.connected_frame(around, out);
                return Ok(Then::GoOn);
            }
            Reply::Beat => {
                out.put_u8(b'\n');
                return Ok(Then::GoOn);
            }
            Reply::Receipt(receipt) => (Some(*receipt), Then::GoOn),
            Reply::Consuming(_, receipt) => (*receipt, Then::GoOn),
            Reply::Farewell(receipt) => (*receipt, Then::Close),
            Reply::Refused(receipt) => {
                let conversation = self.conversation.as_mut();
                self.offending = conversation.and_then(|conversation| conversation.receipts.take(*receipt));
                return Ok(Then::GoOn);
            }
            // MQTT's.
            Reply::Ack { .. } | Reply::Subscribed { .. } | Reply::Unsubscribed { .. } | Reply::Pong => {
                return Ok(Then::GoOn);
            }
        };
        let Some(receipt) = receipt else { return Ok(then) };
        let text = self.conversation.as_mut().and_then(|conversation| conversation.receipts.take(receipt));
        let Some(text) = text else {
            return Err(Refusal::new(Kind::Internal, format!("nobody has asked for receipt {}", receipt.0)));
        };
        let mut frame = FrameWriter::new(out, self.written_version(), Command::Receipt);
        frame.header("receipt-id", &text);
        frame.finish(b"");
        Ok(then)
    }

    fn connected_frame(&self, around: Surroundings<'_>, out: &mut BytesMut) {
        let version = self.written_version();
        let (sends_ms, wants_ms) = around.stomp.heart_beat_ms;
        let mut frame = FrameWriter::new(out, version, Command::Connected);
        frame
            .header("version", version.as_str())
            .header("heart-beat", &format!("{sends_ms},{wants_ms}"))
            .header("server", self.dialect.server())
            .header("session", self.session());
        if let Some(user) = self.conversation.as_ref().and_then(|conversation| conversation.user.as_deref()) {
            frame.header("user-name", user);
        }
        frame.finish(b"");
    }

    /// The version to write in; before one is agreed on, the one whose frames every other can read.
    fn written_version(&self) -> Version {
        self.version.unwrap_or(Version::V10)
    }

    /// Writes the last words to a peer that is refused: ERROR, with the receipt of the frame that was at fault.
    pub fn refuse(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        let mut frame = FrameWriter::new(out, self.written_version(), Command::Error);
        if let Some(receipt) = self.offending.take() {
            frame.header("receipt-id", &receipt);
        }
        if refusal.kind == Kind::UnsupportedVersion {
            frame.header("version", VERSIONS);
        }
        frame.header("message", &headline(refusal.kind)).header("content-type", "text/plain");
        frame.finish(refusal.told().as_bytes());
    }

    /// Writes a MESSAGE up to its body, which is to follow at once if it was [`Sent::Written`], and then NUL.
    #[inline]
    pub fn deliver(
        &mut self,
        delivery: &Delivery<'_>,
        now: Now,
        scratch: &mut Scratch,
        out: &mut BytesMut,
    ) -> Sent {
        let (version, token, start) = (self.written_version(), self.token, out.len());
        let Some(consumer) =
            self.conversation.as_mut().and_then(|conversation| conversation.consumers.get(delivery.consumer))
        else {
            // Nobody is there whom it could be for.
            return Sent::TooLarge;
        };
        let grammar = Grammar { dialect: self.dialect, token: &token, limits: &TopicLimits::WIDEST };
        let (message, text) = (delivery.message, &mut scratch.text);
        let sequence = consumer.deliveries.issue(delivery.packet_id);
        let mut frame = FrameWriter::new(out, version, Command::Message);
        subscription(consumer, version, &mut frame);
        text.clear();
        MessageId { consumer: consumer.id, sequence }.write(&token, text);
        frame.header("message-id", text);
        if version == Version::V12 && delivery.packet_id.is_some() {
            frame.header("ack", text);
        }
        text.clear();
        grammar.write_destination(message.topic().as_str(), text);
        frame.header("destination", text);
        if delivery.dup || delivery.deliveries > 0 {
            frame.header("redelivered", "true");
        }
        if delivery.deliveries > 0 {
            frame.number("x-delivery-count", delivery.deliveries);
        }
        if delivery.retain {
            frame.header("retained", "true");
        }
        if message.qos() > Qos::AtMostOnce {
            frame.header("persistent", "true");
        }
        if message.expires_ms() != u64::MAX {
            frame.number("expires", wall_deadline_ms(message.expires_ms(), now));
        }
        if message.record() != 0 {
            frame.number("x-msg-id", message.record());
        }
        write_fields(message.fields(), version, &grammar, text, &mut frame);
        if self.dialect.text_has_no_length() && is_text_message(message.fields(), message.payload()) {
            frame.without_length();
        }
        let body_len = message.payload().len();
        frame.head_only(body_len);
        Sent::Written(out.len() - start + body_len + 1)
    }

    /// Tells a subscription that browses that it has seen everything: a MESSAGE with `browser:end` and without a body.
    pub fn end_of_browse(&mut self, consumer: ConsumerId, out: &mut BytesMut) {
        let (version, token) = (self.written_version(), self.token);
        let Some(consumer) =
            self.conversation.as_mut().and_then(|conversation| conversation.consumers.get(consumer))
        else {
            return;
        };
        consumer.state = State::Shown;
        let sequence = consumer.deliveries.issue(None);
        let mut text = String::new();
        MessageId { consumer: consumer.id, sequence }.write(&token, &mut text);
        let mut frame = FrameWriter::new(out, version, Command::Message);
        subscription(consumer, version, &mut frame);
        frame
            .header("message-id", &text)
            .header("destination", consumer.destination.as_deref().unwrap_or_default())
            .header("browser", "end");
        if self.dialect.text_has_no_length() {
            frame.without_length();
        }
        frame.finish(b"");
    }
}

/// `subscription`, which in 1.0 only those get that have given an `id` (1.0, "MESSAGE").
fn subscription(consumer: &Consumer, version: Version, frame: &mut FrameWriter<'_>) {
    if consumer.is_named || version > Version::V10 {
        frame.header("subscription", &consumer.name);
    }
}

/// A deadline of the monotonic clock as epoch ms.
fn wall_deadline_ms(expires_ms: u64, now: Now) -> u64 {
    now.wall_ms.saturating_add(expires_ms.saturating_sub(now.mono_ms))
}

/// The `message` of an ERROR: one line, the same for all of a kind.
fn headline(kind: Kind) -> String {
    match kind {
        Kind::MalformedPacket => "malformed frame".into(),
        Kind::PacketTooLarge => "frame too large".into(),
        Kind::FirstPacketNotConnect => "first frame is not CONNECT".into(),
        Kind::TopicFilterInvalid | Kind::TopicNameInvalid => "destination not valid".into(),
        Kind::KeepAliveTimeout => "heart-beat timeout".into(),
        other => other.row().label.replace('_', " "),
    }
}
