//! One connection: packets in, packets out, no more state than a measurement needs. MQTT 3.1.1, which all peers speak.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use bytes::{Buf, BytesMut};
use noctule_core::id::Qos;
use noctule_mqtt::{
    Ack, Connect, Direction, Framer, MAX_PACKET, Packet, PacketType, Publish, Reason, Split, Subscribe,
    Subscription, Subscriptions, Version, decode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const VERSION: Version = Version::V311;

/// The body of every message: 100 bytes.
pub(crate) const BODY: [u8; 100] = [b'x'; 100];

/// What matters of a packet that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// CONNACK with success, and whether the session was there.
    Welcome(bool),
    /// SUBACK.
    Subscribed,
    /// PUBACK.
    Acked(NonZeroU16),
    /// PUBLISH at QoS 1.
    Message(NonZeroU16),
}

/// A connection whose session stays.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    framer: Framer,
    unread: BytesMut,
    out: BytesMut,
}

impl Client {
    /// Connects; also whether the session was there.
    pub(crate) async fn connect(address: SocketAddr, client_id: &str) -> io::Result<(Self, bool)> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let framer = Framer::new(VERSION, Direction::ToClient, MAX_PACKET);
        let mut client =
            Self { stream, framer, unread: BytesMut::with_capacity(64 * 1024), out: BytesMut::new() };
        let connect = Connect { clean_start: false, keep_alive_s: 0, ..Connect::new(VERSION, client_id) };
        connect.encode(&mut client.out).unwrap();
        client.flush().await?;
        loop {
            match client.next() {
                Some(Got::Welcome(present)) => return Ok((client, present)),
                Some(other) => panic!("{other:?} before CONNACK"),
                None => client.read().await?,
            }
        }
    }

    /// Subscribes at QoS 1 and waits for the answer.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let wanted = [Subscription::new(filter, Qos::AtLeastOnce)];
        let packet_id = NonZeroU16::MIN;
        let subscriptions = Subscriptions::Given(&wanted);
        Subscribe { packet_id, subscription_id: None, user_properties: Default::default(), subscriptions }
            .encode(VERSION, &mut self.out)
            .unwrap();
        self.flush().await?;
        while self.next() != Some(Got::Subscribed) {
            self.read().await?;
        }
        Ok(())
    }

    /// Puts a message into the output.
    pub(crate) fn publish(&mut self, topic: &str, packet_id: NonZeroU16) {
        let mut publish = Publish::new(topic, &BODY);
        publish.qos = Qos::AtLeastOnce;
        publish.packet_id = Some(packet_id);
        publish.encode(VERSION, &mut self.out).unwrap();
    }

    /// Puts PUBACK into the output.
    pub(crate) fn ack(&mut self, packet_id: NonZeroU16) {
        Ack::new(packet_id, Reason::SUCCESS).encode(VERSION, PacketType::PubAck, &mut self.out).unwrap();
    }

    /// Writes the output.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all_buf(&mut self.out).await
    }

    /// Waits for more to read.
    pub(crate) async fn read(&mut self) -> io::Result<()> {
        self.unread.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The next packet of those read.
    pub(crate) fn next(&mut self) -> Option<Got> {
        let (got, len) = match self.framer.split(&self.unread).unwrap() {
            Split::Incomplete { .. } => return None,
            Split::Frame(frame) => {
                let got = match decode(VERSION, Direction::ToClient, &frame).unwrap() {
                    Packet::ConnAck(ack) if ack.reason == Reason::SUCCESS => {
                        Got::Welcome(ack.session_present)
                    }
                    Packet::SubAck(_) => Got::Subscribed,
                    Packet::PubAck(ack) => Got::Acked(ack.packet_id),
                    Packet::Publish(publish) => Got::Message(publish.packet_id.expect("QoS 1")),
                    other => panic!("unexpected {other:?}"),
                };
                (got, frame.len)
            }
        };
        self.unread.advance(len);
        Some(got)
    }
}
