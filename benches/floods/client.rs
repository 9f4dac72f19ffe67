//! Clients: the one that behaves, whose round trips are measured, and the bytes that floods are made of.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use noctule_core::id::Qos;
use noctule_mqtt::{
    Ack, Connect, Direction, Framer, MAX_PACKET, Packet, PacketType, Publish, Reason, Split, Subscribe,
    Subscription, Subscriptions, UserProperties, Version, decode,
};

use crate::broker::{Broker, Door, Failure};

pub(crate) const VERSION: Version = Version::V5;

/// Between two messages of the one who behaves.
const PACE: Duration = Duration::from_millis(3);

/// How long round trips took, sorted.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// What so many of a hundred do not exceed, in milliseconds.
    pub(crate) fn ms(&self, percent: usize) -> f64 {
        let at = self.0.len() * percent / 100;
        self.0.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
    }
}

/// Publishes at QoS 1 to its own subscription and acknowledges what comes.
pub(crate) struct WellBehaved {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl WellBehaved {
    /// Connected and subscribed.
    pub(crate) fn new(broker: &Broker) -> Result<Self, Failure> {
        let mut stream = connected(broker, "well-behaved")?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(None)?;
        stream.write_all(&subscribe(&["well/behaved"], Qos::AtLeastOnce, None)?)?;
        let mut client = Self { stream, unread: Vec::new() };
        client.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(()))?;
        Ok(client)
    }

    /// How long messages take to come back, one after the other for that long.
    pub(crate) fn round_trips(&mut self, most: Duration) -> Result<Times, Failure> {
        let frame = publish("well/behaved", &[b'x'; 64], Qos::AtLeastOnce, false)?;
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < most {
            let sent = Instant::now();
            self.stream.write_all(&frame)?;
            let id = self.until(|packet| match packet {
                Packet::Publish(publish) => publish.packet_id,
                _ => None,
            })?;
            times.push(sent.elapsed());
            let mut out = BytesMut::new();
            Ack::new(id, Reason::SUCCESS).encode(VERSION, PacketType::PubAck, &mut out)?;
            self.stream.write_all(&out)?;
            std::thread::sleep(PACE);
        }
        times.sort_unstable();
        Ok(Times(times))
    }

    /// Reads until a packet is what was looked for; the others, its own PUBACKs, do not matter.
    fn until<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> Result<T, Failure> {
        let framer = Framer::new(VERSION, Direction::ToClient, MAX_PACKET);
        loop {
            while let Split::Frame(frame) = framer.split(&self.unread)? {
                let found = wanted(&decode(VERSION, Direction::ToClient, &frame)?);
                let len = frame.len;
                self.unread.drain(..len);
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            let mut chunk = [0; 4_096];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err("the broker has closed".into());
            }
            self.unread.extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }
}

/// A CONNECT, with a session that stays or without.
pub(crate) fn connect(client_id: &str, stays: bool) -> Result<BytesMut, Failure> {
    let mut request = Connect::new(VERSION, client_id);
    if stays {
        (request.clean_start, request.session_expiry_s) = (false, Some(600));
    }
    let mut out = BytesMut::new();
    request.encode(&mut out)?;
    Ok(out)
}

/// A connection that was let in.
pub(crate) fn connected(broker: &Broker, client_id: &str) -> Result<TcpStream, Failure> {
    let mut stream = broker.open(Door::Plain)?;
    stream.write_all(&connect(client_id, false)?)?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let [kind, len] = head;
    let mut rest = vec![0; usize::from(len)];
    stream.read_exact(&mut rest)?;
    // CONNACK, and its reason.
    if kind != 0x20 || rest.get(1) != Some(&0) {
        return Err(format!("{client_id} was refused: {rest:02x?}").into());
    }
    Ok(stream)
}

/// A SUBSCRIBE to all of these.
pub(crate) fn subscribe(filters: &[&str], qos: Qos, selector: Option<&str>) -> Result<BytesMut, Failure> {
    let wanted: Vec<_> = filters.iter().map(|filter| Subscription::new(filter, qos)).collect();
    let properties: Vec<_> = selector.map(|text| ("selector", text)).into_iter().collect();
    let mut out = BytesMut::new();
    Subscribe {
        packet_id: NonZeroU16::MIN,
        subscription_id: None,
        user_properties: UserProperties::Given(&properties),
        subscriptions: Subscriptions::Given(&wanted),
    }
    .encode(VERSION, &mut out)?;
    Ok(out)
}

/// A PUBLISH.
pub(crate) fn publish(topic: &str, payload: &[u8], qos: Qos, retain: bool) -> Result<BytesMut, Failure> {
    let mut packet = Publish::new(topic, payload);
    (packet.qos, packet.retain) = (qos, retain);
    packet.packet_id = (qos > Qos::AtMostOnce).then_some(NonZeroU16::MIN);
    let mut out = BytesMut::new();
    packet.encode(VERSION, &mut out)?;
    Ok(out)
}
