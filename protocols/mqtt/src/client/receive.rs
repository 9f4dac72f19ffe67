//! What the server sends: judged, answered, turned into events.

use noctule_core::id::Qos;

use super::alias::Outbound;
use super::error::{ClientError, Verdict};
use super::event::{Event, Welcome};
use super::message::Message;
use super::window::Slot;
use super::{Client, Phase, Terms};
use crate::ack::Ack;
use crate::alias::{AliasError, Inbound};
use crate::connack::ConnAck;
use crate::farewell::{Auth, Disconnect};
use crate::framing::Split;
use crate::packet::{Packet, decode};
use crate::publish::Publish;
use crate::reason::Reason;
use crate::subscribe::SubAck;
use crate::version::{Direction, PacketType, Version};

fn violation(detail: impl Into<String>) -> ClientError {
    ClientError::Violation { reason: Reason::PROTOCOL_ERROR, detail: detail.into() }
}

fn own(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

impl Client {
    /// Takes bytes of the server and returns how many of them were whole packets: keep the rest, and hand it in
    /// again with what follows.
    ///
    /// # Errors
    /// As for [`Client::handle_packet`].
    pub fn handle_bytes(&mut self, now_ms: u64, bytes: &[u8]) -> Result<usize, ClientError> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            match self.handle_packet(now_ms, rest)? {
                0 => break,
                len => used += len,
            }
        }
        Ok(used)
    }

    /// Takes the first packet of `bytes` and returns its length, 0 if it is not whole. For an application that wants
    /// nothing acknowledged before it has done with what came earlier.
    ///
    /// # Errors
    /// When the connection is over: the server ended it, or broke the rules. Events that came before are still there,
    /// and in 5.0 the output holds a last word to a server that erred.
    pub fn handle_packet(&mut self, now_ms: u64, bytes: &[u8]) -> Result<usize, ClientError> {
        if !bytes.is_empty() {
            self.heard_ms = now_ms;
            self.pinged_ms = None;
        }
        let taken = match self.framer.split(bytes) {
            Ok(Split::Incomplete { .. }) => return Ok(0),
            Ok(Split::Frame(frame)) => decode(self.options.version, Direction::ToClient, &frame)
                .map_err(ClientError::from)
                .and_then(|packet| self.packet(now_ms, &packet))
                .map(|()| frame.len),
            Err(error) => Err(error.into()),
        };
        taken.map_err(|error| self.give_up(now_ms, error))
    }

    /// Ends the connection, with a last word where there is one to be said (section 4.13).
    fn give_up(&mut self, now_ms: u64, error: ClientError) -> ClientError {
        let was = std::mem::replace(&mut self.phase, Phase::Idle);
        if let (Some(reason), Phase::Connected, Version::V5) = (error.answer(), was, self.options.version) {
            let farewell = Disconnect::new(reason);
            // Where the reason has no place in DISCONNECT the close alone must say it.
            let _ = self.output.packet(now_ms, |out| farewell.encode(Version::V5, Direction::ToServer, out));
        }
        error
    }

    fn packet(&mut self, now_ms: u64, packet: &Packet<'_>) -> Result<(), ClientError> {
        match (self.phase, packet) {
            (_, Packet::Disconnect(farewell)) => Err(ClientError::Disconnected(Box::new(Verdict {
                reason: farewell.reason,
                reason_string: own(farewell.reason_string),
                server_reference: own(farewell.server_reference),
            }))),
            (Phase::Idle | Phase::Leaving, _) => Ok(()),
            (Phase::Connecting { .. }, Packet::ConnAck(ack)) => self.connected(now_ms, ack),
            (_, Packet::Auth(auth)) => self.auth(auth),
            (Phase::Connecting { .. }, _) => Err(violation("a packet before CONNACK [MQTT-3.2.0-1]")),
            (Phase::Connected, packet) => self.running(now_ms, packet),
        }
    }

    fn running(&mut self, now_ms: u64, packet: &Packet<'_>) -> Result<(), ClientError> {
        match packet {
            Packet::Publish(publish) => self.message(now_ms, publish),
            Packet::PubAck(ack) => self.pub_ack(now_ms, ack),
            Packet::PubRec(ack) => self.pub_rec(now_ms, ack),
            Packet::PubRel(ack) => {
                let known = self.received.remove(&ack.packet_id);
                let reason = if known { Reason::SUCCESS } else { Reason::PACKET_IDENTIFIER_NOT_FOUND };
                self.write_ack(now_ms, PacketType::PubComp, ack.packet_id, reason);
                Ok(())
            }
            Packet::PubComp(ack) => self.pub_comp(now_ms, ack),
            Packet::SubAck(ack) => self.sub_ack(ack),
            Packet::UnsubAck(ack) => self.unsub_ack(ack),
            Packet::PingResp => Ok(()),
            Packet::ConnAck(_) => Err(violation("a second CONNACK [MQTT-3.2.0-2]")),
            Packet::Disconnect(_)
            | Packet::Auth(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq => Err(violation("a packet that only a client sends")),
        }
    }

    fn connected(&mut self, now_ms: u64, ack: &ConnAck<'_>) -> Result<(), ClientError> {
        if ack.reason != Reason::SUCCESS {
            return Err(ClientError::Refused(Box::new(Verdict {
                reason: ack.reason,
                reason_string: own(ack.reason_string),
                server_reference: own(ack.server_reference),
            })));
        }
        let options = &self.options;
        if ack.session_present && options.clean_start {
            return Err(violation("a session is present, yet a clean start was asked for [MQTT-3.2.2-2]"));
        }
        // 3.1 cannot say it; its server keeps the session of a client that does not ask for a clean one.
        let present = ack.session_present || options.version == Version::V31 && !options.clean_start;
        let welcome = Welcome::new(ack, present, options);
        self.terms = Terms {
            keep_alive_ms: u64::from(welcome.keep_alive_s) * 1_000,
            window: usize::from(welcome.receive_maximum.min(options.max_inflight).get()),
            maximum_qos: welcome.maximum_qos,
            retain_available: welcome.retain_available,
            subscription_ids_available: welcome.subscription_ids_available,
        };
        self.output.limit = welcome.maximum_packet_size;
        self.aliases_in = Inbound::default();
        self.aliases_out = Outbound::new(welcome.topic_alias_maximum.min(options.aliases_out));
        self.phase = Phase::Connected;
        self.events.push_back(Event::Connected(Box::new(welcome)));
        if present {
            self.send_again(now_ms);
        } else {
            self.received.clear();
            for (packet_id, message) in self.window.take_back() {
                self.events.push_back(Event::Returned { packet_id, message });
            }
        }
        Ok(())
    }

    /// Sends unfinished exchanges of the connection before again, as far as the window has room [MQTT-4.4.0-1].
    fn send_again(&mut self, now_ms: u64) {
        while let Some(id) = self.window.next_resend(self.terms.window) {
            match self.window.get(id) {
                Slot::Sent { message, .. } => {
                    let message = message.clone();
                    // What the server took before and does not take now must not hold up what follows.
                    if self.write_publish(now_ms, &message, Some(id), true).is_err() {
                        self.window.finish(id);
                        self.events.push_back(Event::Returned { packet_id: id, message: Some(message) });
                    }
                }
                Slot::Released { .. } => self.write_ack(now_ms, PacketType::PubRel, id, Reason::SUCCESS),
                Slot::Free | Slot::Subscribe(_) | Slot::Unsubscribe(_) => {}
            }
        }
    }

    fn message(&mut self, now_ms: u64, publish: &Publish<'_>) -> Result<(), ClientError> {
        let maximum = self.options.topic_alias_maximum;
        let topic = match publish.topic_alias {
            Some(alias) => self.aliases_in.resolve(alias, publish.topic, maximum).map_err(alias_violation)?,
            None => publish.topic,
        };
        let Some(id) = publish.packet_id else {
            self.events.push_back(Event::Message(Message::new(topic, publish)));
            return Ok(());
        };
        if publish.qos == Qos::AtLeastOnce {
            self.events.push_back(Event::Message(Message::new(topic, publish)));
            self.write_ack(now_ms, PacketType::PubAck, id, Reason::SUCCESS);
            return Ok(());
        }
        if !self.received.contains(&id) {
            let most = self.options.receive_maximum;
            if self.options.version.is_v5() && self.received.len() >= usize::from(most.get()) {
                return Err(ClientError::Violation {
                    reason: Reason::RECEIVE_MAXIMUM_EXCEEDED,
                    detail: format!("more than {most} messages at QoS 2 under way [MQTT-3.3.4-9]"),
                });
            }
            self.received.insert(id);
            self.events.push_back(Event::Message(Message::new(topic, publish)));
        }
        self.write_ack(now_ms, PacketType::PubRec, id, Reason::SUCCESS);
        Ok(())
    }

    fn pub_ack(&mut self, now_ms: u64, ack: &Ack<'_>) -> Result<(), ClientError> {
        match self.window.get(ack.packet_id) {
            Slot::Sent { message, .. } if message.qos == Qos::AtLeastOnce => {
                self.published(now_ms, ack, ack.reason);
                Ok(())
            }
            // A server may acknowledge late what it has acknowledged before.
            Slot::Free => Ok(()),
            _ => Err(violation(format!("PUBACK for packet {}, which is no QoS 1 message", ack.packet_id))),
        }
    }

    fn pub_rec(&mut self, now_ms: u64, ack: &Ack<'_>) -> Result<(), ClientError> {
        let id = ack.packet_id;
        match self.window.get(id) {
            Slot::Sent { message, .. } if message.qos == Qos::ExactlyOnce => {
                if ack.reason.is_failure() {
                    self.published(now_ms, ack, ack.reason);
                } else {
                    self.window.release(id, ack.reason);
                    self.write_ack(now_ms, PacketType::PubRel, id, Reason::SUCCESS);
                }
                Ok(())
            }
            Slot::Released { .. } => {
                self.write_ack(now_ms, PacketType::PubRel, id, Reason::SUCCESS);
                Ok(())
            }
            Slot::Free => {
                self.write_ack(now_ms, PacketType::PubRel, id, Reason::PACKET_IDENTIFIER_NOT_FOUND);
                Ok(())
            }
            _ => Err(violation(format!("PUBREC for packet {id}, which is no QoS 2 message"))),
        }
    }

    fn pub_comp(&mut self, now_ms: u64, ack: &Ack<'_>) -> Result<(), ClientError> {
        match self.window.get(ack.packet_id) {
            // "Packet identifier not found" means that the server has been through with it already.
            Slot::Released { reason, .. } => {
                let reason = *reason;
                self.published(now_ms, ack, reason);
                Ok(())
            }
            Slot::Free => Ok(()),
            _ => Err(violation(format!("PUBCOMP for packet {}, which was not released", ack.packet_id))),
        }
    }

    /// An exchange has ended; its place in the window may go to one that is to be sent again.
    fn published(&mut self, now_ms: u64, ack: &Ack<'_>, reason: Reason) {
        let packet_id = ack.packet_id;
        self.window.finish(packet_id);
        self.events.push_back(Event::Published { packet_id, reason, reason_string: own(ack.reason_string) });
        self.send_again(now_ms);
    }

    fn sub_ack(&mut self, ack: &SubAck<'_>) -> Result<(), ClientError> {
        let packet_id = ack.packet_id;
        let Slot::Subscribe(filters) = *self.window.get(packet_id) else {
            return Err(violation(format!("SUBACK for packet {packet_id}, which is no SUBSCRIBE")));
        };
        if ack.reasons.len() != filters {
            let detail =
                format!("SUBACK has {} reasons for {filters} filters [MQTT-3.8.4-6]", ack.reasons.len());
            return Err(violation(detail));
        }
        self.window.finish(packet_id);
        let granted = ack.reasons.iter().map(|reason| Qos::from_level(reason.code()).ok_or(reason)).collect();
        self.events.push_back(Event::Subscribed {
            packet_id,
            granted,
            reason_string: own(ack.reason_string),
        });
        Ok(())
    }

    fn unsub_ack(&mut self, ack: &SubAck<'_>) -> Result<(), ClientError> {
        let packet_id = ack.packet_id;
        let Slot::Unsubscribe(filters) = *self.window.get(packet_id) else {
            return Err(violation(format!("UNSUBACK for packet {packet_id}, which is no UNSUBSCRIBE")));
        };
        let reasons = match self.options.version {
            Version::V5 if ack.reasons.len() != filters => {
                let found = ack.reasons.len();
                return Err(violation(format!("UNSUBACK has {found} reasons for {filters} filters")));
            }
            Version::V5 => ack.reasons.iter().collect(),
            Version::V31 | Version::V311 => vec![Reason::SUCCESS; filters],
        };
        self.window.finish(packet_id);
        self.events.push_back(Event::Unsubscribed {
            packet_id,
            reasons,
            reason_string: own(ack.reason_string),
        });
        Ok(())
    }

    fn auth(&mut self, auth: &Auth<'_>) -> Result<(), ClientError> {
        let method = self.options.authentication.as_ref().map(|authentication| &*authentication.method);
        let fits = match auth.reason {
            Reason::CONTINUE_AUTHENTICATION => self.phase != Phase::Connected || self.reauthenticating,
            _ => self.reauthenticating,
        };
        if method.is_none() || auth.method.is_some() && auth.method != method || !fits {
            return Err(violation("an AUTH that was not asked for (section 4.12)"));
        }
        if auth.reason == Reason::SUCCESS {
            self.reauthenticating = false;
        }
        let data = auth.data.unwrap_or_default().to_vec();
        self.events.push_back(Event::Auth { reason: auth.reason, data });
        Ok(())
    }
}

fn alias_violation(error: AliasError) -> ClientError {
    let reason = match error {
        AliasError::AboveMaximum { .. } => Reason::TOPIC_ALIAS_INVALID,
        AliasError::NeverSet { .. } => Reason::PROTOCOL_ERROR,
    };
    ClientError::Violation { reason, detail: error.to_string() }
}
