//! The engine's answers and deliveries in this connection's version of MQTT.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use noctule_core::delivery::AckKind;
use noctule_core::effects::{self, Delivery, Reply, Sent};
use noctule_core::id::Qos;
use noctule_core::message;
use noctule_core::refusal::{Kind, Refusal};

use super::{Phase, Server, Surroundings};
use crate::ack::Ack;
use crate::carrier::Carrier;
use crate::connack::ConnAck;
use crate::error::EncodeError;
use crate::farewell::Disconnect;
use crate::packet::encode_pingresp;
use crate::publish::{PublishHead, encode_passed_on, encode_publish_head, publish_len};
use crate::reason::Reason;
use crate::subscribe::SubAck;
use crate::version::{Direction, PacketType, Version};

impl Server {
    /// Writes an answer of the engine.
    ///
    /// # Errors
    /// The refusal with which the connection ends, and nothing is written: the answer is above what the client takes
    /// [MQTT-3.1.2-24], or it has no encoding, which means that the broker is wrong.
    pub fn reply(
        &mut self,
        reply: &Reply,
        around: Surroundings<'_>,
        out: &mut BytesMut,
    ) -> Result<(), Refusal> {
        let start = out.len();
        let written = self.encode_reply(reply, around, out);
        let bytes = out.len() - start;
        if let Err(error) = written {
            return Err(Refusal::new(Kind::Internal, format!("an answer has no encoding: {error}")));
        }
        if self.too_long(bytes) {
            out.truncate(start);
            return Err(above_maximum(bytes));
        }
        if let Reply::Connected { .. } = reply {
            self.phase = Phase::Connected;
        }
        Ok(())
    }

    fn encode_reply(
        &mut self,
        reply: &Reply,
        around: Surroundings<'_>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        match reply {
            Reply::Ack { kind, packet_id, reason } => {
                let kind = match kind {
                    AckKind::PubAck => PacketType::PubAck,
                    AckKind::PubRec => PacketType::PubRec,
                    AckKind::PubRel => PacketType::PubRel,
                    AckKind::PubComp => PacketType::PubComp,
                };
                let reason = if self.version.is_v5() { reason_of(*reason) } else { Reason::SUCCESS };
                Ack::new(*packet_id, reason).encode(self.version, kind, out)
            }
            Reply::Pong => {
                encode_pingresp(out);
                Ok(())
            }
            // STOMP's.
            Reply::Receipt(_)
            | Reply::Consuming(..)
            | Reply::Refused(_)
            | Reply::Farewell(_)
            | Reply::Beat => Ok(()),
            Reply::Connected { session_present, expiry_s, keep_alive_s } => {
                self.conn_ack(*session_present, *expiry_s, *keep_alive_s, around, out)
            }
            Reply::Subscribed { packet_id, codes, why } => {
                let reasons: Vec<_> = codes
                    .iter()
                    .map(|code| match code {
                        Ok(Qos::AtMostOnce) => Reason::SUCCESS,
                        Ok(Qos::AtLeastOnce) => Reason::GRANTED_QOS_1,
                        Ok(Qos::ExactlyOnce) => Reason::GRANTED_QOS_2,
                        Err(reason) => reason_of(*reason),
                    })
                    .collect();
                let mut ack = SubAck::new(*packet_id, &reasons);
                ack.reason_string = why.as_deref().filter(|_| self.problem_information);
                ack.encode_suback(self.version, out)
            }
            Reply::Unsubscribed { packet_id, codes } => {
                let reasons: Vec<_> = codes.iter().map(|code| reason_of(*code)).collect();
                SubAck::new(*packet_id, &reasons).encode_unsuback(self.version, out)
            }
        }
    }

    fn conn_ack(
        &mut self,
        session_present: bool,
        expiry_s: Option<u32>,
        keep_alive_s: Option<u16>,
        around: Surroundings<'_>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let mut ack = ConnAck::new(Reason::SUCCESS);
        // 3.1 has no such flag.
        ack.session_present = session_present && self.version != Version::V31;
        if !self.version.is_v5() {
            return ack.encode(self.version, out);
        }
        ack.session_expiry_s = expiry_s;
        ack.server_keep_alive_s = keep_alive_s;
        ack.receive_maximum = NonZeroU16::new(around.core.receive_maximum).unwrap_or(NonZeroU16::MIN);
        ack.maximum_qos = around.core.max_qos;
        ack.retain_available = around.core.retain_available;
        ack.maximum_packet_size = NonZeroU32::new(around.server.max_packet_size);
        ack.topic_alias_maximum = around.server.topic_alias_max;
        let mut cold = self.cold.take();
        if let Some(cold) = &cold {
            ack.assigned_client_id = cold.assigned_client_id.as_deref();
            ack.response_information = cold.response_information.as_deref();
            ack.auth_method = cold.method.as_deref();
            ack.auth_data = cold.final_data.as_deref();
        }
        let start = out.len();
        let mut written = ack.encode(self.version, out);
        if cold.as_ref().is_some_and(|cold| cold.is_above_maximum(out.len() - start)) {
            // These two the client can do without; the rest it would have to guess.
            out.truncate(start);
            ack.response_information = None;
            ack.topic_alias_maximum = 0;
            written = ack.encode(self.version, out);
        }
        if let Some(cold) = &mut cold {
            cold.assigned_client_id = None;
            cold.response_information = None;
            cold.final_data = None;
        }
        self.cold = cold;
        written
    }

    /// Writes the last words to a peer that is refused: CONNACK before it is connected, DISCONNECT after, nothing
    /// where its version has no words for it.
    pub fn refuse(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        let row = refusal.kind.row();
        let start = out.len();
        let v5 = self.version.is_v5();
        // An encoder that fails has written nothing; a refusal without words is still a close.
        match self.phase {
            Phase::Fresh => {}
            Phase::Authenticating(_) | Phase::Deciding if v5 => {
                let Some(code) = row.v5 else { return };
                let mut ack = ConnAck::new(reason_for(code, Carrier::ConnAck));
                ack.reason_string = Some(refusal.told());
                let _ = ack.encode(self.version, out);
                if self.too_long(out.len() - start) {
                    out.truncate(start);
                    ack.reason_string = None;
                    let _ = ack.encode(self.version, out);
                }
            }
            Phase::Authenticating(_) | Phase::Deciding => {
                if let Some(reason) = row.v3_connack.and_then(Reason::from_connack_v3) {
                    let _ = ConnAck::new(reason).encode(self.version, out);
                }
            }
            Phase::Connected if v5 => {
                let Some(code) = row.v5 else { return };
                let mut farewell = Disconnect::new(reason_for(code, Carrier::DisconnectToClient));
                farewell.reason_string = Some(refusal.told());
                let _ = farewell.encode(self.version, Direction::ToClient, out);
                if self.too_long(out.len() - start) {
                    out.truncate(start);
                    farewell.reason_string = None;
                    let _ = farewell.encode(self.version, Direction::ToClient, out);
                }
            }
            Phase::Connected => {}
        }
        if self.too_long(out.len() - start) {
            out.truncate(start);
        }
    }

    /// Whether a packet is above what the client takes [MQTT-3.1.2-24].
    pub(super) fn too_long(&self, bytes: usize) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.is_above_maximum(bytes))
    }

    /// Writes a PUBLISH up to its payload, which is to follow at once if it was [`Sent::Written`].
    #[inline]
    pub fn deliver(&mut self, delivery: &Delivery<'_>, out: &mut BytesMut) -> Sent {
        let head = PublishHead {
            qos: delivery.qos,
            dup: delivery.dup,
            retain: delivery.retain,
            packet_id: delivery.packet_id,
            expiry_s: delivery.remaining_s,
            subscription_ids: delivery.subscription_ids,
            topic_alias: None,
            deliveries: delivery.deliveries,
        };
        let message = delivery.message;
        let start = out.len();
        if self.cold.is_some() {
            return self.deliver_bounded(delivery, head, out);
        }
        match encode_publish_head(self.version, message, &head, out) {
            Ok(()) => Sent::Written(out.len() - start + message.payload().len()),
            Err(_) => Sent::TooLarge,
        }
    }

    /// As [`Server::deliver`], for a client with aliases or a Maximum Packet Size.
    fn deliver_bounded(
        &mut self,
        delivery: &Delivery<'_>,
        mut head: PublishHead<'_>,
        out: &mut BytesMut,
    ) -> Sent {
        let message = delivery.message;
        let topic = message.topic();
        let Some(cold) = &mut self.cold else { return Sent::TooLarge };
        head.topic_alias = cold.outbound.as_ref().and_then(|aliases| aliases.plan(topic.as_str()));
        let Ok(bytes) = publish_len(self.version, message, &head) else { return Sent::TooLarge };
        if cold.max_packet.is_some_and(|maximum| bytes > maximum.get() as usize)
            || encode_publish_head(self.version, message, &head, out).is_err()
        {
            return Sent::TooLarge;
        }
        if let (Some(aliases), Some(planned)) = (&mut cold.outbound, head.topic_alias) {
            aliases.sent(planned, topic.as_str());
        }
        Sent::Written(bytes)
    }

    /// Writes a whole PUBLISH, at QoS 1 with a packet id, else 0, out of the one that has come, to be sent on at once;
    /// false, and nothing is written, if it takes more than that: for a client with aliases or a Maximum Packet Size, or if
    /// there is no encoding.
    #[inline]
    pub fn pass_on(
        &self,
        publish: &message::Publish<'_>,
        packet_id: Option<NonZeroU16>,
        out: &mut BytesMut,
    ) -> bool {
        self.cold.is_none() && encode_passed_on(self.version, publish, packet_id, out).is_ok()
    }

    /// Writes a PUBREL.
    pub fn release(&self, packet_id: NonZeroU16, out: &mut BytesMut) {
        // A PUBREL with success always has an encoding.
        let _ = Ack::new(packet_id, Reason::SUCCESS).encode(self.version, PacketType::PubRel, out);
    }
}

/// The refusal for a packet of ours above the client's Maximum Packet Size [MQTT-3.1.2-24].
pub(super) fn above_maximum(bytes: usize) -> Refusal {
    let detail = format!("an answer of {bytes} bytes is above the client's Maximum Packet Size");
    Refusal::new(Kind::PacketTooLarge, detail)
}

/// The core's reason numbers are MQTT 5's.
fn reason_of(reason: effects::Reason) -> Reason {
    match reason {
        effects::Reason::Success => Reason::SUCCESS,
        effects::Reason::NoMatchingSubscribers => Reason::NO_MATCHING_SUBSCRIBERS,
        effects::Reason::NoSubscriptionExisted => Reason::NO_SUBSCRIPTION_EXISTED,
        effects::Reason::UnspecifiedError => Reason::UNSPECIFIED_ERROR,
        effects::Reason::ImplementationSpecificError => Reason::IMPLEMENTATION_SPECIFIC_ERROR,
        effects::Reason::NotAuthorized => Reason::NOT_AUTHORIZED,
        effects::Reason::TopicFilterInvalid => Reason::TOPIC_FILTER_INVALID,
        effects::Reason::TopicNameInvalid => Reason::TOPIC_NAME_INVALID,
        effects::Reason::PacketIdNotFound => Reason::PACKET_IDENTIFIER_NOT_FOUND,
        effects::Reason::QuotaExceeded => Reason::QUOTA_EXCEEDED,
    }
}

/// The reason with that code where the packet may carry it, else Unspecified error.
fn reason_for(code: u8, carrier: Carrier) -> Reason {
    Reason::checked(code, carrier).unwrap_or(Reason::UNSPECIFIED_ERROR)
}
