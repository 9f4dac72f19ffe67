//! An MQTT client over any wire: it does nothing by itself and keeps what comes in the meantime.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use noctule_core::id::Qos;
use noctule_mqtt::{
    Ack, Connect, Direction, Disconnect, Framer, MAX_PACKET, Packet, PacketType, Publish, Reason, Split,
    Subscribe, Subscription, Subscriptions, Version, decode,
};

use super::Wire;
use crate::broker::{Delivered, Got, Welcome, got};

const V31: Version = Version::V31;
pub(crate) const V311: Version = Version::V311;
pub(crate) const V5: Version = Version::V5;
/// Every version.
pub(crate) const VERSIONS: [Version; 3] = [V31, V311, V5];
/// Every quality of service.
pub(crate) const LEVELS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// A connection to the broker under test.
pub(crate) struct Mqtt<W = Box<dyn Wire>> {
    pub(crate) wire: W,
    version: Version,
    unread: Vec<u8>,
    kept: VecDeque<Got>,
    last_id: u16,
}

/// A CONNECT with a clean session.
pub(crate) fn connect_bytes(version: Version, client_id: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    Connect::new(version, client_id).encode(&mut out).unwrap();
    out.to_vec()
}

fn pid(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

impl<W: Wire> Mqtt<W> {
    /// On which nothing was sent yet.
    pub(crate) fn new(wire: W, version: Version) -> Self {
        Self { wire, version, unread: Vec::new(), kept: VecDeque::new(), last_id: 0 }
    }

    /// Connected, with a clean session.
    #[track_caller]
    pub(crate) fn connect(wire: W, version: Version, client_id: &str) -> Self {
        let mut client = Self::new(wire, version);
        let welcome = client.ask(&Connect::new(version, client_id));
        assert_eq!(welcome.reason, 0, "{client_id}");
        client
    }

    /// Sends CONNECT and returns what CONNACK says.
    #[track_caller]
    pub(crate) fn ask(&mut self, connect: &Connect<'_>) -> Welcome {
        let mut out = BytesMut::new();
        connect.encode(&mut out).unwrap();
        self.raw(&out);
        match self.next() {
            Got::ConnAck(welcome) => *welcome,
            other => panic!("instead of CONNACK came {other:?}"),
        }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).unwrap();
        self.wire.flush().unwrap();
    }

    /// A packet's bytes.
    #[track_caller]
    pub(crate) fn encoded(&self, packet: &Packet<'_>) -> Vec<u8> {
        let mut out = BytesMut::new();
        packet.encode(self.version, Direction::ToServer, &mut out).unwrap();
        out.to_vec()
    }

    #[track_caller]
    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        let bytes = self.encoded(packet);
        self.raw(&bytes);
    }

    fn fresh_id(&mut self) -> u16 {
        self.last_id = self.last_id % 60_000 + 1;
        self.last_id
    }

    /// A PUBLISH's bytes, and its packet id.
    #[track_caller]
    pub(crate) fn publish_bytes(&mut self, qos: Qos, topic: &str, payload: &[u8]) -> (Vec<u8>, u16) {
        let mut publish = Publish::new(topic, payload);
        publish.qos = qos;
        publish.packet_id = (qos > Qos::AtMostOnce).then(|| pid(self.fresh_id()));
        let id = publish.packet_id.map_or(0, NonZeroU16::get);
        (self.encoded(&Packet::Publish(publish)), id)
    }

    /// Sends a PUBLISH and waits for nothing; its packet id.
    #[track_caller]
    pub(crate) fn put(&mut self, qos: Qos, topic: &str, payload: &[u8]) -> u16 {
        let (bytes, id) = self.publish_bytes(qos, topic, payload);
        self.raw(&bytes);
        id
    }

    /// Publishes and sees the exchange through.
    #[track_caller]
    pub(crate) fn publish(&mut self, qos: Qos, topic: &str, payload: &[u8]) {
        let id = self.put(qos, topic, payload);
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => {
                let reason = self.until(|got| match got {
                    Got::PubAck(acked, reason) if *acked == id => Some(*reason),
                    _ => None,
                });
                assert!(reason < 0x80, "{reason:#x}");
            }
            Qos::ExactlyOnce => {
                self.until(|got| matches!(got, Got::PubRec(acked, 0) if *acked == id).then_some(()));
                self.ack(PacketType::PubRel, id);
                self.until(|got| matches!(got, Got::PubComp(acked, 0) if *acked == id).then_some(()));
            }
        }
    }

    #[track_caller]
    pub(crate) fn ack(&mut self, kind: PacketType, id: u16) {
        let mut out = BytesMut::new();
        Ack::new(pid(id), Reason::SUCCESS).encode(self.version, kind, &mut out).unwrap();
        self.raw(&out);
    }

    /// A SUBSCRIBE's bytes, and its packet id.
    #[track_caller]
    pub(crate) fn subscribe_bytes(&mut self, qos: Qos, filter: &str) -> (Vec<u8>, u16) {
        let packet_id = self.fresh_id();
        let subscriptions = [Subscription::new(filter, qos)];
        let packet = Packet::Subscribe(Subscribe {
            packet_id: pid(packet_id),
            subscription_id: None::<NonZeroU32>,
            user_properties: Default::default(),
            subscriptions: Subscriptions::Given(&subscriptions),
        });
        (self.encoded(&packet), packet_id)
    }

    /// Subscribes; the granted QoS or the refusal.
    #[track_caller]
    pub(crate) fn try_subscribe(&mut self, qos: Qos, filter: &str) -> u8 {
        let (bytes, id) = self.subscribe_bytes(qos, filter);
        self.raw(&bytes);
        self.until(|got| match got {
            Got::SubAck(acked, codes) if *acked == id => Some(codes[0]),
            _ => None,
        })
    }

    /// Subscribes, and is granted what it asks for.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, qos: Qos, filter: &str) {
        assert_eq!(self.try_subscribe(qos, filter), qos.level(), "{filter}");
    }

    /// Waits until the broker has dealt with everything sent so far.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        self.send(&Packet::PingReq);
        self.until(|got| (*got == Got::Pong).then_some(()));
    }

    /// Says good-bye and reads to the end.
    #[track_caller]
    pub(crate) fn bye(mut self) {
        self.send(&Packet::Disconnect(Disconnect::new(Reason::SUCCESS)));
        self.is_closed();
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Got {
        match self.kept.pop_front() {
            Some(got) => got,
            None => self.read().expect("nothing came"),
        }
    }

    /// Reads until `wanted` finds what it looks for, keeping everything else.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, wanted: impl Fn(&Got) -> Option<T>) -> T {
        loop {
            let got = self.read().expect("nothing came");
            if let Some(found) = wanted(&got) {
                return found;
            }
            assert_ne!(got, Got::Closed, "closed; before it came {:?}", self.kept);
            self.kept.push_back(got);
        }
    }

    /// The next packet, which must be a PUBLISH; the exchange is seen through.
    #[track_caller]
    pub(crate) fn take(&mut self) -> Delivered {
        let delivered = match self.next() {
            Got::Publish(delivered) => *delivered,
            other => panic!("instead of a PUBLISH came {other:?}"),
        };
        match delivered.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => self.ack(PacketType::PubAck, delivered.packet_id),
            Qos::ExactlyOnce => {
                let id = delivered.packet_id;
                self.ack(PacketType::PubRec, id);
                self.until(|got| (*got == Got::PubRel(id, 0)).then_some(()));
                self.ack(PacketType::PubComp, id);
            }
        }
        delivered
    }

    /// The broker says good-bye with this reason where the version has one, and closes in order.
    #[track_caller]
    pub(crate) fn is_refused(&mut self, reason: u8) {
        if self.version.is_v5() {
            assert_eq!(self.skip_publishes(), Got::Bye(reason), "instead of DISCONNECT {reason:#x}");
        }
        self.is_closed();
    }

    /// The broker closes in order, without another word.
    #[track_caller]
    pub(crate) fn is_closed(&mut self) {
        assert_eq!(self.skip_publishes(), Got::Closed);
    }

    fn skip_publishes(&mut self) -> Got {
        loop {
            let got = self.next();
            if !matches!(got, Got::Publish(_)) {
                return got;
            }
        }
    }

    /// The next packet from the wire; `None` if nothing comes in time. An end without the good-bye of every layer is
    /// a failure.
    #[track_caller]
    pub(crate) fn read(&mut self) -> Option<Got> {
        let framer = Framer::new(self.version, Direction::ToClient, MAX_PACKET);
        let mut chunk = [0; 64 * 1024];
        loop {
            if let Split::Frame(frame) = framer.split(&self.unread).unwrap() {
                let packet = got(&decode(self.version, Direction::ToClient, &frame).unwrap());
                let len = frame.len;
                self.unread.drain(..len);
                return Some(packet);
            }
            match self.wire.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.unread.is_empty(), "half a packet before the end: {:02x?}", self.unread);
                    return Some(Got::Closed);
                }
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("instead of an end in order: {error}"),
            }
        }
    }
}
