//! Packets made from a source of bytes and text, so that a shrunk source is a shrunk packet; shared by the tests.
#![allow(dead_code, reason = "each test crate uses its part")]

pub(crate) mod damage;

use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use noctule_core::id::{Qos, SessionId};
use noctule_core::message::{self, Fields, Message};
use noctule_core::topic::TopicName;
use noctule_mqtt::{
    Ack, Auth, ConnAck, Connect, Direction, Disconnect, Filters, Frame, Framer, MAX_PACKET, Packet, Publish,
    PublishHead, Reason, ReasonList, RetainHandling, Split, SubAck, Subscribe, Subscription, Subscriptions,
    TopicAlias, Unsubscribe, UserProperties, Version, Will, encode_publish_head, publish_len,
};

pub(crate) const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
pub(crate) const DIRECTIONS: [Direction; 2] = [Direction::ToServer, Direction::ToClient];
/// Packet kinds that `Source::packet` knows how to make.
pub(crate) const KINDS: u8 = 11;

/// Where packets come from; when it runs dry it yields zeros and empty strings.
pub(crate) struct Source<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) text: &'a str,
}

/// Test packets borrow lists that live nowhere else; a test process can afford to keep them.
fn keep<'a, T>(items: Vec<T>) -> &'a [T] {
    Box::leak(items.into_boxed_slice())
}

impl<'a> Source<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *byte
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn id(&mut self) -> NonZeroU16 {
        NonZeroU16::new(self.u16()).unwrap_or(NonZeroU16::MIN)
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| make(self))
    }

    pub(crate) fn binary(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte() % 40).min(self.bytes.len());
        let (taken, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        taken
    }

    pub(crate) fn text(&mut self) -> &'a str {
        let wanted = usize::from(self.byte() % 20);
        let len = self.text.char_indices().nth(wanted).map_or(self.text.len(), |(at, _)| at);
        let (taken, rest) = self.text.split_at(len);
        self.text = rest;
        if taken.contains('\0') { "" } else { taken }
    }

    pub(crate) fn topic(&mut self) -> &'a str {
        let text = self.text();
        if text.is_empty() || text.contains(['+', '#']) { "a/b" } else { text }
    }

    fn filter(&mut self) -> &'a str {
        let text = self.topic();
        match self.byte() % 6 {
            0 => "#",
            1 => "+/a/+",
            2 => "$share/g/a/#",
            3 => "a//+/#",
            _ => text,
        }
    }

    fn qos(&mut self) -> Qos {
        Qos::from_level(self.byte() % 3).unwrap()
    }

    fn users(&mut self) -> UserProperties<'a> {
        let count = self.byte() % 4;
        UserProperties::Given(keep((0..count).map(|_| (self.text(), self.text())).collect()))
    }

    /// The fields that are passed on, in MQTT 5's encoding, written here by hand.
    fn fields(&mut self) -> Fields<'a> {
        let mut wire = Vec::new();
        fn put(wire: &mut Vec<u8>, bytes: &[u8]) {
            wire.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
            wire.extend_from_slice(bytes);
        }
        for _ in 0..self.byte() % 3 {
            wire.push(0x26);
            put(&mut wire, self.text().as_bytes());
            put(&mut wire, self.text().as_bytes());
        }
        if self.flag() {
            wire.extend_from_slice(&[0x01, self.byte() & 1]);
        }
        if self.flag() {
            wire.push(0x03);
            put(&mut wire, self.text().as_bytes());
        }
        if self.flag() {
            wire.push(0x08);
            put(&mut wire, self.topic().as_bytes());
        }
        if self.flag() {
            wire.push(0x09);
            put(&mut wire, self.binary());
        }
        Fields::from_validated([keep(wire), &[], &[]])
    }

    pub(crate) fn connect(&mut self, version: Version) -> Connect<'a> {
        let v5 = version.is_v5();
        let mut connect = Connect::new(version, "c");
        connect.clean_start = self.flag();
        connect.keep_alive_s = self.u16();
        connect.client_id = self.text();
        if connect.client_id.is_empty() && !(v5 || version == Version::V311 && connect.clean_start) {
            connect.client_id = "c";
        }
        connect.will = self.maybe(|source| {
            let mut will = Will::new(source.topic(), source.binary());
            will.qos = source.qos();
            will.retain = source.flag();
            if v5 {
                will.delay_s = source.u32();
                will.expiry_s = source.maybe(Self::u32);
                will = will.with_fields(source.fields());
            }
            will
        });
        connect.user_name = self.maybe(Self::text);
        connect.password = self.maybe(Self::binary).filter(|_| v5 || connect.user_name.is_some());
        if v5 {
            connect.session_expiry_s = self.maybe(Self::u32);
            connect.receive_maximum = self.id();
            connect.maximum_packet_size = NonZeroU32::new(self.u32());
            connect.topic_alias_maximum = self.u16();
            connect.request_response_information = self.flag();
            connect.request_problem_information = self.flag();
            connect.user_properties = self.users();
            connect.auth_method = self.maybe(Self::text);
            connect.auth_data = self.maybe(Self::binary).filter(|_| connect.auth_method.is_some());
        }
        connect
    }

    fn connack(&mut self, version: Version) -> ConnAck<'a> {
        let mut ack = ConnAck::new(self.pick(&[
            Reason::SUCCESS,
            Reason::UNSUPPORTED_PROTOCOL_VERSION,
            Reason::CLIENT_IDENTIFIER_NOT_VALID,
            Reason::SERVER_UNAVAILABLE,
            Reason::BAD_USER_NAME_OR_PASSWORD,
            Reason::NOT_AUTHORIZED,
        ]));
        ack.session_present = self.flag() && ack.reason == Reason::SUCCESS && version != Version::V31;
        if version.is_v5() {
            ack.session_expiry_s = self.maybe(Self::u32);
            ack.receive_maximum = self.id();
            ack.maximum_qos = self.qos();
            ack.retain_available = self.flag();
            ack.maximum_packet_size = NonZeroU32::new(self.u32());
            ack.assigned_client_id = self.maybe(Self::text);
            ack.topic_alias_maximum = self.u16();
            ack.reason_string = self.maybe(Self::text);
            ack.user_properties = self.users();
            ack.wildcard_subscription_available = self.flag();
            ack.subscription_ids_available = self.flag();
            ack.shared_subscription_available = self.flag();
            ack.server_keep_alive_s = self.maybe(Self::u16);
            ack.response_information = self.maybe(Self::text);
            ack.server_reference = self.maybe(Self::text);
            ack.auth_method = self.maybe(Self::text);
            ack.auth_data = self.maybe(Self::binary).filter(|_| ack.auth_method.is_some());
        }
        ack
    }

    fn pick(&mut self, from: &[Reason]) -> Reason {
        from[usize::from(self.byte()) % from.len()]
    }

    fn ack(&mut self, version: Version, reasons: &[Reason]) -> Ack<'a> {
        let mut ack = Ack::new(self.id(), Reason::SUCCESS);
        if version.is_v5() {
            ack.reason = self.pick(reasons);
            ack.reason_string = self.maybe(Self::text);
            ack.user_properties = self.users();
        }
        ack
    }

    pub(crate) fn publish(&mut self, version: Version) -> Publish<'a> {
        let mut publish = Publish::new(self.topic(), self.binary());
        publish.qos = self.qos();
        publish.packet_id = (publish.qos != Qos::AtMostOnce).then(|| self.id());
        publish.dup = self.flag() && publish.qos != Qos::AtMostOnce;
        publish.retain = self.flag();
        if version.is_v5() {
            publish.topic_alias = self.maybe(Self::id);
            if publish.topic_alias.is_some() && self.flag() {
                publish.topic = "";
            }
            publish.expiry_s = self.maybe(Self::u32);
            publish = publish.with_fields(self.fields());
        }
        publish
    }

    fn suback(&mut self, version: Version, reasons: &[Reason], bare: bool) -> SubAck<'a> {
        let mut ack = SubAck::new(self.id(), &[]);
        if version.is_v5() {
            ack.reason_string = self.maybe(Self::text);
            ack.user_properties = self.users();
        }
        if !bare {
            let count = 1 + self.byte() % 5;
            ack.reasons = ReasonList::Given(keep((0..count).map(|_| self.pick(reasons)).collect()));
        }
        ack
    }

    fn subscription(&mut self, version: Version) -> Subscription<'a> {
        let mut subscription = Subscription::new(self.filter(), self.qos());
        if version.is_v5() {
            subscription.no_local = self.flag() && !subscription.filter.starts_with("$share/");
            subscription.retain_as_published = self.flag();
            subscription.retain_handling = match self.byte() % 3 {
                0 => RetainHandling::Always,
                1 => RetainHandling::IfNew,
                _ => RetainHandling::Never,
            };
        }
        subscription
    }

    fn disconnect(&mut self, version: Version, direction: Direction) -> Disconnect<'a> {
        let mut disconnect = Disconnect::new(Reason::SUCCESS);
        if version.is_v5() {
            disconnect.reason = self.pick(&[Reason::SUCCESS, Reason::PROTOCOL_ERROR, Reason::QUOTA_EXCEEDED]);
            disconnect.reason_string = self.maybe(Self::text);
            disconnect.user_properties = self.users();
            match direction {
                Direction::ToServer => disconnect.session_expiry_s = self.maybe(Self::u32),
                Direction::ToClient => disconnect.server_reference = self.maybe(Self::text),
            }
        }
        disconnect
    }

    /// A packet of one of [`KINDS`] kinds that `version` can carry in `direction`, or `None` if there is no such.
    pub(crate) fn packet(&mut self, kind: u8, version: Version, direction: Direction) -> Option<Packet<'a>> {
        use Direction::{ToClient, ToServer};
        let v5 = version.is_v5();
        let published = [Reason::SUCCESS, Reason::NO_MATCHING_SUBSCRIBERS, Reason::QUOTA_EXCEEDED];
        let released = [Reason::SUCCESS, Reason::PACKET_IDENTIFIER_NOT_FOUND];
        Some(match (kind, direction) {
            (0, _) => Packet::Publish(self.publish(version)),
            (1, _) => Packet::PubAck(self.ack(version, &published)),
            (2, _) => Packet::PubRec(self.ack(version, &published)),
            (3, _) => Packet::PubRel(self.ack(version, &released)),
            (4, _) => Packet::PubComp(self.ack(version, &released)),
            (5, ToServer) => Packet::Subscribe(Subscribe {
                packet_id: self.id(),
                subscription_id: NonZeroU32::new(self.u32() >> 4).filter(|_| v5),
                user_properties: if v5 { self.users() } else { UserProperties::default() },
                subscriptions: {
                    let count = 1 + self.byte() % 4;
                    Subscriptions::Given(keep((0..count).map(|_| self.subscription(version)).collect()))
                },
            }),
            (5, ToClient) => {
                let mut reasons = vec![
                    Reason::SUCCESS,
                    Reason::GRANTED_QOS_1,
                    Reason::GRANTED_QOS_2,
                    Reason::UNSPECIFIED_ERROR,
                ];
                if v5 {
                    reasons.push(Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
                }
                Packet::SubAck(self.suback(version, &reasons, false))
            }
            (6, ToServer) => Packet::Unsubscribe(Unsubscribe {
                packet_id: self.id(),
                user_properties: if v5 { self.users() } else { UserProperties::default() },
                filters: {
                    let count = 1 + self.byte() % 4;
                    Filters::Given(keep((0..count).map(|_| self.filter()).collect()))
                },
            }),
            (6, ToClient) => {
                let reasons = [Reason::SUCCESS, Reason::NO_SUBSCRIPTION_EXISTED, Reason::NOT_AUTHORIZED];
                Packet::UnsubAck(self.suback(version, &reasons, !v5))
            }
            (7, ToServer) => Packet::PingReq,
            (7, ToClient) => Packet::PingResp,
            (8, ToClient) => Packet::ConnAck(Box::new(self.connack(version))),
            (9, _) if v5 || direction == ToServer => Packet::Disconnect(self.disconnect(version, direction)),
            (10, _) if v5 => {
                let reason = self.pick(&[Reason::CONTINUE_AUTHENTICATION, Reason::SUCCESS]);
                let mut auth = Auth::new(reason, self.text(), self.maybe(Self::binary));
                auth.reason_string = self.maybe(Self::text);
                auth.user_properties = self.users();
                Packet::Auth(auth)
            }
            _ => return None,
        })
    }
}

/// The one packet that `wire` is.
pub(crate) fn whole(framer: Framer, wire: &[u8]) -> Frame<'_> {
    match framer.split(wire) {
        Ok(Split::Frame(frame)) if frame.len == wire.len() => frame,
        other => panic!("not one whole packet: {other:?} of {wire:02X?}"),
    }
}

pub(crate) fn framer(version: Version, direction: Direction) -> Framer {
    Framer::new(version, direction, MAX_PACKET)
}

/// Writes a decoded packet again, a server's PUBLISH by way of a core message as the server does.
pub(crate) fn encode_again(packet: &Packet<'_>, version: Version, direction: Direction) -> BytesMut {
    let mut out = BytesMut::new();
    match packet {
        Packet::Publish(publish) if direction == Direction::ToClient => {
            let ids: Vec<NonZeroU32> = publish.subscription_ids().collect();
            let topic = if publish.topic.is_empty() { "stands for the alias" } else { publish.topic };
            let message = Message::new(
                &message::Publish {
                    topic: TopicName::from_validated(topic),
                    fields: publish.fields(),
                    payload: publish.payload,
                    qos: publish.qos,
                    retain: publish.retain,
                    dup: publish.dup,
                    packet_id: publish.packet_id,
                    expiry_s: publish.expiry_s,
                },
                SessionId::NOBODY,
                0,
            );
            let send_topic = !publish.topic.is_empty();
            let head = PublishHead {
                qos: publish.qos,
                dup: publish.dup,
                retain: publish.retain,
                packet_id: publish.packet_id,
                expiry_s: publish.expiry_s,
                subscription_ids: &ids,
                topic_alias: publish.topic_alias.map(|alias| TopicAlias { alias, send_topic }),
                deliveries: 0,
            };
            encode_publish_head(version, &message, &head, &mut out).unwrap();
            out.extend_from_slice(message.payload());
            assert_eq!(publish_len(version, &message, &head), Ok(out.len()));
        }
        packet => packet.encode(version, direction, &mut out).unwrap(),
    }
    out
}
