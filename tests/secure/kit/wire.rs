//! MQTT over whatever carries bytes: TLS and Unix sockets.

use std::io::{Read, Write};

use bytes::BytesMut;
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Direction, Framer, MAX_PACKET, Packet, Publish, Split, Version, decode};

/// A client of MQTT 5 over `S`.
pub(crate) struct Wire<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Sends CONNECT; the reason of CONNACK.
    pub(crate) fn connect(&mut self, connect: &Connect<'_>) -> u8 {
        let mut out = BytesMut::new();
        connect.encode(&mut out).unwrap();
        self.stream.write_all(&out).unwrap();
        self.stream.flush().unwrap();
        self.next(|packet| match packet {
            Packet::ConnAck(ack) => Some(ack.reason.code()),
            _ => None,
        })
    }

    /// Publishes at QoS 1; the reason of PUBACK.
    pub(crate) fn publish(&mut self, topic: &str) -> u8 {
        let mut publish = Publish::new(topic, b"");
        publish.qos = Qos::AtLeastOnce;
        publish.packet_id = std::num::NonZeroU16::new(1);
        let mut out = BytesMut::new();
        Packet::Publish(publish).encode(Version::V5, Direction::ToServer, &mut out).unwrap();
        self.stream.write_all(&out).unwrap();
        self.stream.flush().unwrap();
        self.next(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason.code()),
            _ => None,
        })
    }

    /// The next packet, of which `wanted` must make something.
    fn next<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> T {
        let framer = Framer::new(Version::V5, Direction::ToClient, MAX_PACKET);
        loop {
            if let Split::Frame(frame) = framer.split(&self.unread).unwrap() {
                let packet = decode(Version::V5, Direction::ToClient, &frame).unwrap();
                let found = wanted(&packet).unwrap_or_else(|| panic!("came {packet:?}"));
                let len = frame.len;
                self.unread.drain(..len);
                return found;
            }
            let mut chunk = [0; 4_096];
            let read = self.stream.read(&mut chunk).unwrap();
            assert!(read > 0, "closed");
            self.unread.extend_from_slice(&chunk[..read]);
        }
    }
}
