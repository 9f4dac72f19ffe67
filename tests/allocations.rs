//! What a message costs the allocator, once everything has grown to its size: nothing.
//!
//! The allocator of the whole process is asked, this test's own clients included: they use nothing but sockets and what they
//! have set up before.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

#[path = "kit/data_dir.rs"]
mod data_dir;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::BytesMut;
use data_dir::DataDir;
use noctule::broker::{Broker, HEAP};
use noctule::config::Config;
use noctule_core::id::Qos;
use noctule_mqtt::{Ack, Publish, Version};

const PAIRS: usize = 100;

/// Rounds of one message for each pair before anything is counted.
const WARM_UP_ROUNDS: usize = 100;

/// Rounds that are counted at once.
const ROUNDS: usize = 100;

/// How often is counted: other threads may do something of their own in between, once in a second.
const ATTEMPTS: usize = 5;

/// A publisher and its subscriber, on a topic of their own.
struct Pair {
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
    fn new(address: SocketAddr, number: usize, qos: Qos) -> Self {
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

    fn send(&mut self) {
        self.publisher.write_all(&self.publish).unwrap();
    }

    fn receive(&mut self, qos: Qos, buffer: &mut [u8]) {
        let got = &mut buffer[..self.publish.len()];
        self.subscriber.read_exact(got).unwrap();
        if qos == Qos::AtMostOnce {
            assert_eq!(got, self.publish);
            return;
        }
        // The packet id is the broker's.
        let place = got.len() - 64 - 2;
        let id = NonZeroU16::new(u16::from_be_bytes([got[place], got[place + 1]])).unwrap();
        self.subscriber.write_all(&Ack::puback(id)).unwrap();
        let mut acknowledged = [0; 4];
        self.publisher.read_exact(&mut acknowledged).unwrap();
        assert_eq!(acknowledged, Ack::puback(NonZeroU16::MIN));
    }
}

/// How many bytes are allocated while so many rounds go through.
fn allocated(pairs: &mut [Pair], qos: Qos, rounds: usize) -> usize {
    let mut buffer = [0; 256];
    let before = HEAP.total_allocated();
    for _ in 0..rounds {
        pairs.iter_mut().for_each(Pair::send);
        pairs.iter_mut().for_each(|pair| pair.receive(qos, &mut buffer));
    }
    HEAP.total_allocated() - before
}

#[test]
fn a_message_allocates_nothing() {
    for (workers, qos) in
        [(1, Qos::AtMostOnce), (2, Qos::AtMostOnce), (1, Qos::AtLeastOnce), (2, Qos::AtLeastOnce)]
    {
        let data = DataDir::in_memory();
        let toml = format!("[server]\nworkers = {workers}\n[[listener]]\naddress = \"127.0.0.1:0\"\n");
        let mut config = Config::parse(&toml, "test.toml").unwrap();
        config.server.data_dir = data.path().to_owned();
        let broker = Broker::start(&config).unwrap();
        let address = broker.tcp_addresses()[0];
        let mut pairs: Vec<_> = (0..PAIRS).map(|number| Pair::new(address, number, qos)).collect();
        allocated(&mut pairs, qos, WARM_UP_ROUNDS);
        let least = (0..ATTEMPTS).map(|_| allocated(&mut pairs, qos, ROUNDS)).min().unwrap();
        assert_eq!(least, 0, "bytes for {} messages, {workers} workers, {qos:?}", PAIRS * ROUNDS);
        drop(pairs);
        broker.stop().unwrap();
    }
}
