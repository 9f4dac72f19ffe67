//! A publisher and a subscriber that allocate nothing: what is counted while they talk is the broker's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::BytesMut;
use noctule_core::id::Qos;
use noctule_mqtt::{Ack, Publish, Version};

/// A publisher and its subscriber, on a topic of their own.
pub(crate) struct Pair {
    publisher: TcpStream,
    subscriber: TcpStream,
    /// What is sent, and, byte for byte, received.
    publish: Vec<u8>,
}

fn client(address: SocketAddr, client_id: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut connect = b"\x10\0\0\x04MQTT\x04\x02\0\0".to_vec();
    connect.extend_from_slice(&[0, client_id.len() as u8]);
    connect.extend_from_slice(client_id.as_bytes());
    connect[1] = connect.len() as u8 - 2;
    socket.write_all(&connect).unwrap();
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    socket
}

impl Pair {
    pub(crate) fn new(address: SocketAddr, number: usize, qos: Qos) -> Self {
        let topic = format!("pair/{number}");
        let mut subscriber = client(address, &format!("subscriber-{number}"));
        let mut subscribe = vec![0x82, 0, 0, 1, 0, topic.len() as u8];
        subscribe.extend_from_slice(topic.as_bytes());
        subscribe.push(qos.level());
        subscribe[1] = subscribe.len() as u8 - 2;
        subscriber.write_all(&subscribe).unwrap();
        let mut answer = [0; 5];
        subscriber.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x90, 3, 0, 1, qos.level()]);
        let mut publish = Publish::new(&topic, &[7; 64]);
        publish.qos = qos;
        publish.packet_id = (qos > Qos::AtMostOnce).then_some(NonZeroU16::MIN);
        let mut bytes = BytesMut::new();
        publish.encode(Version::V311, &mut bytes).unwrap();
        Self {
            publisher: client(address, &format!("publisher-{number}")),
            subscriber,
            publish: bytes.to_vec(),
        }
    }

    pub(crate) fn send(&mut self) {
        self.publisher.write_all(&self.publish).unwrap();
    }

    /// Takes what was sent, and above QoS 0 acknowledges it and waits for the broker's acknowledgement. `more` is sent in
    /// one piece with ours, at most four bytes of packets that are answered in as many, and those are waited for.
    pub(crate) fn receive(&mut self, qos: Qos, buffer: &mut [u8], more: &[u8]) {
        let got = &mut buffer[..self.publish.len()];
        self.subscriber.read_exact(got).unwrap();
        if qos == Qos::AtMostOnce {
            assert_eq!(got, self.publish);
            return;
        }
        // The packet id is the broker's.
        let place = got.len() - 64 - 2;
        let id = NonZeroU16::new(u16::from_be_bytes([got[place], got[place + 1]])).unwrap();
        let mut ours = [0; 8];
        let ours = &mut ours[..4 + more.len()];
        ours[..4].copy_from_slice(&Ack::puback(id));
        ours[4..].copy_from_slice(more);
        self.subscriber.write_all(ours).unwrap();
        self.subscriber.read_exact(&mut ours[4..]).unwrap();
        let mut acknowledged = [0; 4];
        self.publisher.read_exact(&mut acknowledged).unwrap();
        assert_eq!(acknowledged, Ack::puback(NonZeroU16::MIN));
    }
}
