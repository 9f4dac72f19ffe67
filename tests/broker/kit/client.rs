//! The client: one blocking socket.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use noctule_core::id::Qos;
use noctule_core::message::Fields;
use noctule_mqtt::{
    Ack, Connect, Direction, Disconnect, Filters, Framer, MAX_PACKET, Packet, PacketType, Publish, Reason,
    Split, Subscribe, Subscription, Subscriptions, Unsubscribe, Version, decode,
};

use super::got::{Delivered, Got};
use super::pid;

/// How long anything may take; generous, because two busy cores serve all tests at once. What passes never waits so long.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// Asks `probe` until it answers; for the few things that are not told over a socket.
#[track_caller]
pub(crate) fn within<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {WAIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A PUBLISH to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Out<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// 0: the client chooses at QoS 1 and 2.
    pub(crate) packet_id: u16,
    pub(crate) alias: u16,
    pub(crate) expiry_s: Option<u32>,
    /// Encoded properties that are passed on.
    pub(crate) fields: &'a [u8],
}

impl<'a> Out<'a> {
    pub(crate) fn new(qos: Qos, topic: &'a str, payload: &'a str) -> Self {
        let payload = payload.as_bytes();
        let (retain, dup, packet_id, alias, expiry_s, fields) = (false, false, 0, 0, None, &[][..]);
        Self { topic, payload, qos, retain, dup, packet_id, alias, expiry_s, fields }
    }

    /// At QoS 1, to be retained.
    pub(crate) fn retained(topic: &'a str, payload: &'a str) -> Self {
        Self { retain: true, ..Self::new(Qos::AtLeastOnce, topic, payload) }
    }

    fn packet(&self) -> Packet<'a> {
        let mut publish = Publish::new(self.topic, self.payload).with_fields(Fields::from_validated([
            self.fields,
            &[],
            &[],
        ]));
        publish.qos = self.qos;
        publish.retain = self.retain;
        publish.dup = self.dup;
        publish.packet_id = NonZeroU16::new(self.packet_id);
        publish.topic_alias = NonZeroU16::new(self.alias);
        publish.expiry_s = self.expiry_s;
        Packet::Publish(publish)
    }
}

/// A connection to the broker under test.
pub(crate) struct Client {
    pub(crate) version: Version,
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
    /// Packets that came while another one was awaited.
    kept: VecDeque<Got>,
    last_id: u16,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.set_write_timeout(Some(WAIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { version, stream, unread: Vec::new(), kept: VecDeque::new(), last_id: 0 }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes of which the broker may refuse to read the end.
    pub(crate) fn raw_or_closed(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    #[track_caller]
    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        let bytes = self.encoded(packet);
        self.raw(&bytes);
    }

    #[track_caller]
    pub(crate) fn encoded(&self, packet: &Packet<'_>) -> Vec<u8> {
        let mut out = BytesMut::new();
        packet.encode(self.version, Direction::ToServer, &mut out).unwrap();
        out.to_vec()
    }

    #[track_caller]
    pub(crate) fn connect(&mut self, connect: &Connect<'_>) {
        let mut out = BytesMut::new();
        connect.encode(&mut out).unwrap();
        self.raw(&out);
    }

    fn fresh_id(&mut self) -> u16 {
        self.last_id = self.last_id % 60_000 + 1;
        self.last_id
    }

    /// Sends a PUBLISH and returns its packet id; waits for nothing.
    #[track_caller]
    pub(crate) fn put(&mut self, out: &Out<'_>) -> u16 {
        let mut out = out.clone();
        if out.qos > Qos::AtMostOnce && out.packet_id == 0 {
            out.packet_id = self.fresh_id();
        }
        self.send(&out.packet());
        out.packet_id
    }

    /// Publishes and sees the exchange through; returns the reason of PUBACK or PUBREC.
    #[track_caller]
    pub(crate) fn publish(&mut self, out: &Out<'_>) -> u8 {
        let id = self.put(out);
        match out.qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => self.until(|got| match got {
                Got::PubAck(acked, reason) if *acked == id => Some(*reason),
                _ => None,
            }),
            Qos::ExactlyOnce => {
                let reason = self.until(|got| match got {
                    Got::PubRec(acked, reason) if *acked == id => Some(*reason),
                    _ => None,
                });
                if reason < 0x80 {
                    self.ack(PacketType::PubRel, id);
                    self.until(|got| (*got == Got::PubComp(id, 0)).then_some(()));
                }
                reason
            }
        }
    }

    /// Publishes text.
    #[track_caller]
    pub(crate) fn say(&mut self, qos: Qos, topic: &str, payload: &str) -> u8 {
        self.publish(&Out::new(qos, topic, payload))
    }

    /// Sends an acknowledgement.
    #[track_caller]
    pub(crate) fn ack(&mut self, kind: PacketType, id: u16) {
        self.ack_as(kind, id, Reason::SUCCESS);
    }

    #[track_caller]
    pub(crate) fn ack_as(&mut self, kind: PacketType, id: u16, reason: Reason) {
        let ack = Ack::new(pid(id), reason);
        let mut out = BytesMut::new();
        ack.encode(self.version, kind, &mut out).unwrap();
        self.raw(&out);
    }

    /// Subscribes; returns the granted QoS or refusals.
    #[track_caller]
    pub(crate) fn subscribe_to(&mut self, id: Option<u32>, filters: &[Subscription<'_>]) -> Vec<u8> {
        let packet_id = self.fresh_id();
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: pid(packet_id),
            subscription_id: id.and_then(NonZeroU32::new),
            user_properties: Default::default(),
            subscriptions: Subscriptions::Given(filters),
        }));
        self.until(|got| match got {
            Got::SubAck(acked, codes) if *acked == packet_id => Some(codes.clone()),
            _ => None,
        })
    }

    /// Subscribes to one filter, which must be granted as asked.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, qos: Qos, filter: &str) {
        assert_eq!(self.subscribe_to(None, &[Subscription::new(filter, qos)]), [qos.level()], "{filter}");
    }

    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let packet_id = self.fresh_id();
        self.send(&Packet::Unsubscribe(Unsubscribe {
            packet_id: pid(packet_id),
            user_properties: Default::default(),
            filters: Filters::Given(filters),
        }));
        self.until(|got| match got {
            Got::UnsubAck(acked, codes) if *acked == packet_id => Some(codes.clone()),
            _ => None,
        })
    }

    /// Waits until the broker has dealt with everything sent so far.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        self.send(&Packet::PingReq);
        self.until(|got| (*got == Got::Pong).then_some(()));
    }

    /// Says good-bye and waits until the broker has closed.
    #[track_caller]
    pub(crate) fn bye(self) {
        self.bye_with(&Disconnect::new(Reason::SUCCESS));
    }

    #[track_caller]
    pub(crate) fn bye_with(mut self, farewell: &Disconnect<'_>) {
        self.send(&Packet::Disconnect(*farewell));
        while self.next() != Got::Closed {}
    }

    /// Vanishes without a good-bye.
    pub(crate) fn cut(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Got {
        match self.kept.pop_front() {
            Some(got) => got,
            None => self.read().expect("nothing came"),
        }
    }

    /// The next packet, or the answer to a PINGREQ sent now if nothing comes before it.
    #[track_caller]
    pub(crate) fn next_or_pong(&mut self) -> Got {
        self.send(&Packet::PingReq);
        let got = self.next();
        if got != Got::Pong {
            self.until(|got| (*got == Got::Pong).then_some(()));
        }
        got
    }

    /// Reads until `wanted` finds what it looks for, keeping everything else.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, wanted: impl Fn(&Got) -> Option<T>) -> T {
        loop {
            let got = self.read().expect("nothing came");
            if let Some(found) = wanted(&got) {
                return found;
            }
            assert_ne!(got, Got::Closed, "the broker closed the connection; before it came {:?}", self.kept);
            self.kept.push_back(got);
        }
    }

    /// The next packet, which must be a PUBLISH; it is not acknowledged.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Delivered {
        match self.next() {
            Got::Publish(delivered) => *delivered,
            other => panic!("instead of a PUBLISH came {other:?}"),
        }
    }

    /// The next packet, which must be a PUBLISH; the exchange is seen through.
    #[track_caller]
    pub(crate) fn take(&mut self) -> Delivered {
        let delivered = self.receive();
        let id = delivered.packet_id;
        match delivered.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => self.ack(PacketType::PubAck, id),
            Qos::ExactlyOnce => {
                self.ack(PacketType::PubRec, id);
                self.until(|got| (*got == Got::PubRel(id, 0)).then_some(()));
                self.ack(PacketType::PubComp, id);
            }
        }
        delivered
    }

    /// The payloads of the next messages.
    #[track_caller]
    pub(crate) fn texts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.take().text().to_owned()).collect()
    }

    /// That nothing came before a last message on `topic`, which `publisher` sends now on the way that the missing
    /// ones would have taken.
    #[track_caller]
    pub(crate) fn has_nothing_but(&mut self, publisher: &mut Client, topic: &str) {
        publisher.say(Qos::AtMostOnce, topic, "the last");
        assert_eq!(self.take().text(), "the last");
    }

    /// The broker says good-bye with this reason and closes.
    #[track_caller]
    pub(crate) fn is_sent_away(&mut self, reason: u8) {
        let got = self.skip_publishes();
        assert_eq!(got, Got::Bye(reason), "instead of DISCONNECT {reason:#x}");
        self.is_closed();
    }

    /// The broker closes without a word (no version below 5.0 has one).
    #[track_caller]
    pub(crate) fn is_closed(&mut self) {
        assert_eq!(self.skip_publishes(), Got::Closed);
    }

    /// The broker ends the connection: with this reason where the version has one, else without a word.
    #[track_caller]
    pub(crate) fn is_refused(&mut self, reason: u8) {
        if self.version.is_v5() {
            self.is_sent_away(reason);
        } else {
            self.is_closed();
        }
    }

    fn skip_publishes(&mut self) -> Got {
        loop {
            let got = self.next();
            if !matches!(got, Got::Publish(_)) {
                return got;
            }
        }
    }

    /// The next packet from the socket; `None` if nothing comes in time.
    #[track_caller]
    fn read(&mut self) -> Option<Got> {
        let framer = Framer::new(self.version, Direction::ToClient, MAX_PACKET);
        loop {
            if let Split::Frame(frame) = framer.split(&self.unread).unwrap() {
                let got = Got::new(&decode(self.version, Direction::ToClient, &frame).unwrap());
                let len = frame.len;
                self.unread.drain(..len);
                return Some(got);
            }
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.unread.is_empty(), "half a packet before the end: {:02x?}", self.unread);
                    return Some(Got::Closed);
                }
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return None,
                    ErrorKind::Interrupted => {}
                    // The broker closed while bytes of ours were unread.
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Some(Got::Closed),
                    _ => panic!("{error}"),
                },
            }
        }
    }
}
