//! Instructions per message from the publisher's bytes to the subscriber's, counted by valgrind: the one measure of speed
//! that is the same on a busy machine as on a quiet one, and so can guard against what makes everything a little slower.
//!
//! `cargo bench -p noctule-mqtt --bench instructions`; it fails if a count is above the one recorded here by more than the
//! tolerance. Sockets, threads and the store are not part of it. Each scenario runs twice in a process of its own, with
//! more messages the second time: the difference is what messages cost, the clients' acknowledgements above QoS 0 included.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the numbers are its output")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure ends the benchmark, as it should"
)]

#[path = "../../../tests/kit/valgrind.rs"]
mod valgrind;

use std::num::NonZeroU16;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use noctule_core::consumer::ConsumerId;
use noctule_core::effects::{Delivery, Effect, Effects, Input, Outlet, Sent};
use noctule_core::engine::{Engine, Pulled};
use noctule_core::hash::Seed;
use noctule_core::id::{ConnId, Now, Qos, WorkerId};
use noctule_core::policy::Policy;
use noctule_core::retained::RetainedLimits;
use noctule_core::shared::Shared;
use noctule_core::store::{MemoryStore, Store};
use noctule_mqtt::server::{AuthMethods, Server, ServerLimits, Step, Surroundings};
use noctule_mqtt::{
    Ack, Connect, Direction, Framer, Packet, PacketType, Publish, Reason, Split, Subscribe, Subscription,
    Subscriptions, UserProperties, Version, decode,
};
use valgrind::counted;

/// Clients that publish, each on a topic of its own.
const PUBLISHERS: usize = 20;

/// Messages in one read.
const BATCH: usize = 16;

/// Of the recorded count, by which a count may be above it: compilers differ.
const TOLERANCE_PERCENT: u64 = 8;

/// What is measured: name, quality of service, subscribers of each topic, and instructions per message delivered as
/// counted last (rustc 1.95, x86-64). Record a lower count when there is one.
const SCENARIOS: [(&str, Qos, usize, u64); 4] = [
    ("one to one, QoS 0", Qos::AtMostOnce, 1, 1_284),
    ("one to one, QoS 1", Qos::AtLeastOnce, 1, 3_368),
    ("one to one, QoS 2", Qos::ExactlyOnce, 1, 8_004),
    ("fan-out to 100, QoS 0", Qos::AtMostOnce, 100, 979),
];

/// A broker without sockets.
struct Broker {
    engine: Engine,
    store: MemoryStore,
    fx: Effects,
    peers: Vec<Peer>,
    limits: ServerLimits,
    policy: Arc<Policy>,
    methods: AuthMethods,
}

struct Peer {
    server: Server,
    out: BytesMut,
}

impl Outlet for Peer {
    fn has_room(&self) -> bool {
        true
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        let sent = self.server.deliver(delivery, &mut self.out);
        self.out.extend_from_slice(delivery.message.payload());
        sent
    }

    fn release(&mut self, packet_id: NonZeroU16) {
        self.server.release(packet_id, &mut self.out);
    }

    /// There are none in MQTT.
    fn end_of_browse(&mut self, _: ConsumerId) {}
}

fn id(conn: usize) -> ConnId {
    ConnId { slot: conn as u32, generation: 1 }
}

impl Broker {
    fn new() -> Self {
        let retained = RetainedLimits { max_messages: 100, max_bytes: 100_000 };
        let shared = Arc::new(Shared::new(&Seed::new(7), 1, retained));
        let policy = Arc::new(Policy::default());
        Self {
            engine: Engine::new(WorkerId(0), shared, Arc::clone(&policy), Now::default()),
            store: MemoryStore::default(),
            fx: Effects::default(),
            peers: Vec::new(),
            limits: ServerLimits::default(),
            policy,
            methods: AuthMethods::default(),
        }
    }

    /// A client that is connected.
    fn client(&mut self) -> usize {
        let conn = self.peers.len();
        self.peers.push(Peer { server: Server::new(&self.limits), out: BytesMut::new() });
        self.engine.handle(Now::default(), Input::Opened(id(conn)), &mut self.fx);
        let (name, mut bytes) = (format!("client-{conn}"), BytesMut::new());
        Connect::new(Version::V311, &name).encode(&mut bytes).unwrap();
        self.read(conn, &bytes);
        self.peers[conn].out.clear();
        conn
    }

    fn subscribe(&mut self, conn: usize, topic: &str, qos: Qos) {
        let mut bytes = BytesMut::new();
        let subscribe = Subscribe {
            packet_id: NonZeroU16::MIN,
            subscription_id: None,
            user_properties: UserProperties::default(),
            subscriptions: Subscriptions::Given(&[Subscription::new(topic, qos)]),
        };
        subscribe.encode(Version::V311, &mut bytes).unwrap();
        self.read(conn, &bytes);
        self.peers[conn].out.clear();
    }

    /// What the broker's worker does with one read.
    fn read(&mut self, conn: usize, bytes: &[u8]) {
        let now = Now::default();
        let mut used = 0;
        // Its own, while others are written to.
        let mut server = std::mem::replace(&mut self.peers[conn].server, Server::new(&self.limits));
        let mut words = BytesMut::new();
        while let Ok(Split::Frame(frame)) = server.split(&bytes[used..]) {
            let Self { engine, fx, peers, limits, policy, methods, .. } = self;
            let around = Surroundings { server: limits, core: &policy.limits, methods };
            let step = server.packet(id(conn), &frame, around, &mut words, |input| {
                if let Input::Publish(_, publish) = &input
                    && let Some(way) = engine.straight(now, id(conn), publish)
                    && let Peer { server, out } = &mut peers[way.to.slot as usize]
                    && server.pass_on(publish, way.packet_id, out)
                {
                    if let Some(packet_id) = engine.went_straight(now, id(conn), publish, way, fx) {
                        peers[conn].out.extend_from_slice(&Ack::puback(packet_id));
                    }
                    return;
                }
                engine.handle(now, input, fx);
            });
            if let Step::Connect(connect) = step.unwrap() {
                let request = server.begin(&connect, connect.client_id, None, limits);
                engine.handle(now, Input::Connect(id(conn), request), fx);
            }
            used += frame.len;
        }
        self.peers[conn].server = server;
        self.settle();
    }

    /// Carries out what the engine asks for until it asks for nothing more.
    fn settle(&mut self) {
        let now = Now::default();
        while !self.fx.list.is_empty() || !self.fx.dirty.is_empty() {
            let mut list = std::mem::take(&mut self.fx.list);
            for effect in list.drain(..) {
                match effect {
                    Effect::Reply(conn, reply) => {
                        let (limits, methods) = (&self.limits, &self.methods);
                        let around = Surroundings { server: limits, core: &self.policy.limits, methods };
                        let Peer { server, out } = &mut self.peers[conn.slot as usize];
                        server.reply(&reply, around, out).unwrap();
                    }
                    Effect::Store(ticket, op) => self.store.submit(ticket, op).unwrap(),
                    _ => {}
                }
            }
            if self.fx.list.is_empty() {
                self.fx.list = list;
            }
            while let Some(event) = self.store.poll() {
                self.engine.handle(now, Input::Store(event), &mut self.fx);
            }
            for conn in std::mem::take(&mut self.fx.dirty) {
                let peer = &mut self.peers[conn.slot as usize];
                while self.engine.pull(now, conn, peer, &mut self.fx) == Pulled::More {}
            }
        }
    }

    /// Takes what a client is to read, and answers it as a client has to.
    fn answer(&mut self, conn: usize, answers: &mut BytesMut) {
        let framer = Framer::new(Version::V311, Direction::ToClient, 1 << 20);
        let mut out = std::mem::take(&mut self.peers[conn].out);
        while let Ok(Split::Frame(frame)) = framer.split(&out) {
            let (kind, packet_id) = match decode(Version::V311, Direction::ToClient, &frame).unwrap() {
                Packet::Publish(publish) if publish.qos == Qos::AtLeastOnce => {
                    (PacketType::PubAck, publish.packet_id)
                }
                Packet::Publish(publish) => (PacketType::PubRec, publish.packet_id),
                Packet::PubRec(ack) => (PacketType::PubRel, Some(ack.packet_id)),
                Packet::PubRel(ack) => (PacketType::PubComp, Some(ack.packet_id)),
                _ => (PacketType::PubAck, None),
            };
            if let Some(packet_id) = packet_id {
                Ack::new(packet_id, Reason::SUCCESS).encode(Version::V311, kind, answers).unwrap();
            }
            let len = frame.len;
            out.advance(len);
        }
        out.clear();
        self.peers[conn].out = out;
    }
}

/// So many batches of each publisher.
fn run(qos: Qos, subscribers: usize, batches: usize) {
    let mut broker = Broker::new();
    let mut topics = Vec::new();
    for number in 0..PUBLISHERS {
        let topic = format!("plant/hall-{}/press-{number}/pressure", number % 4);
        let readers: Vec<_> = (0..subscribers).map(|_| broker.client()).collect();
        for reader in &readers {
            broker.subscribe(*reader, &topic, qos);
        }
        let mut bytes = BytesMut::new();
        for packet_id in 1..=BATCH as u16 {
            let mut publish = Publish::new(&topic, &[7; 64]);
            publish.qos = qos;
            publish.packet_id = NonZeroU16::new(packet_id).filter(|_| qos > Qos::AtMostOnce);
            publish.encode(Version::V311, &mut bytes).unwrap();
        }
        topics.push((broker.client(), readers, bytes));
    }
    let mut answers = BytesMut::new();
    for _ in 0..batches {
        for (publisher, readers, bytes) in &topics {
            broker.read(*publisher, bytes);
            // Everybody answers until nobody has anything to say.
            loop {
                let mut any = false;
                for client in readers.iter().chain([publisher]) {
                    if qos == Qos::AtMostOnce {
                        broker.peers[*client].out.clear();
                        continue;
                    }
                    broker.answer(*client, &mut answers);
                    any |= !answers.is_empty();
                    broker.read(*client, &answers);
                    answers.clear();
                }
                if !any {
                    break;
                }
            }
        }
    }
    let delivered: u64 = broker.engine.stats().messages_out.iter().sum();
    assert_eq!(delivered, (PUBLISHERS * BATCH * subscribers * batches) as u64, "messages delivered");
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().collect();
    if let [_, run_it, scenario, batches] = &*args
        && run_it == "run"
    {
        let (_, qos, subscribers, _) = SCENARIOS[scenario.parse::<usize>().unwrap()];
        run(qos, subscribers, batches.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let mut verdict = ExitCode::SUCCESS;
    println!("instructions per message delivered, {BATCH} in a read, {PUBLISHERS} publishers, 64 bytes");
    for (place, (name, _, subscribers, recorded)) in SCENARIOS.into_iter().enumerate() {
        let (few, many) = (2, if subscribers > 1 { 6 } else { 42 });
        let messages = ((many - few) * PUBLISHERS * BATCH * subscribers) as u64;
        let count = (counted(place, many) - counted(place, few)) / messages;
        let most = recorded * (100 + TOLERANCE_PERCENT) / 100;
        let is_more = count > most;
        println!("{name}: {count}, recorded {recorded}{}", if is_more { ", which is too many" } else { "" });
        if is_more {
            eprintln!("{name}: {count} instructions are more than {most}: find what it is, or record why");
            verdict = ExitCode::FAILURE;
        }
    }
    verdict
}
