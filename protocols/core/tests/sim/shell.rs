//! The connections of a [`World`]: what clients decide and what the broker's shell reads and writes.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;

use noctule_core::consumer::Verdict;
use noctule_core::delivery::AckKind;
use noctule_core::effects::{
    Access, Connect, Effect, Effects, FilterRequest, Input, Reason, Reply, RetainHandling, WillRequest,
};
use noctule_core::engine::Pulled;
use noctule_core::id::{ConnId, Qos};
use noctule_core::message::{Fields, Publish};
use noctule_core::topic::TopicName;

use crate::book::{Asked, Handed, MQTT};
use crate::client::{Down, Fate, Up};
use crate::crash::SUBSCRIPTION_ID;
use crate::outbox::{Outbox, number};
use crate::talker::queue;
use crate::world::{Conn, Worker, World};

impl World {
    /// A slot that is free, for the next generation of connections.
    pub(crate) fn new_conn_id(&mut self, worker: usize) -> ConnId {
        self.generation += 1;
        let Worker { conns, talks, .. } = &self.workers[worker];
        let taken = |slot| {
            conns.iter().any(|conn| conn.id.slot == slot) || talks.iter().any(|talk| talk.id.slot == slot)
        };
        let slot = (0..).find(|&slot| !taken(slot)).unwrap();
        ConnId { slot, generation: self.generation }
    }

    pub(crate) fn open(&mut self, client: usize, clean_start: bool) {
        let who = &self.clients[client];
        assert!(who.conn.is_none());
        let worker = self.shared.home_of_client(&who.id).index();
        let id = self.new_conn_id(worker);
        let who = &self.clients[client];
        let will = (!who.keeper && self.rng.chance(60))
            .then(|| self.ledger.new_message(client, format!("w/{}", who.id), Qos::ExactlyOnce, false, true));
        self.workers[worker].conns.push(Conn {
            id,
            client,
            up: VecDeque::new(),
            down: VecDeque::new(),
            client_open: true,
            server_open: true,
            paused: false,
            marked: false,
            will,
            said_goodbye: false,
            publishes: BTreeMap::new(),
            recs: VecDeque::new(),
        });
        let who = &mut self.clients[client];
        if clean_start {
            // Now, not when CONNACK comes: it may get lost [MQTT-3.1.2-4].
            who.forget();
        }
        who.conn = Some((worker, id));
        who.will = will;
        let (name, v5, expiry_s) = (who.id.clone(), who.v5, who.expiry_s);
        let (receive_maximum, keep_alive_s) = (who.receive_maximum, who.keep_alive_s);
        self.run(worker, Input::Opened(id));
        let topic = format!("w/{name}");
        let payload = will.unwrap_or_default().to_be_bytes();
        let will = will.map(|_| WillRequest {
            publish: Publish {
                topic: TopicName::from_validated(&topic),
                fields: Fields::default(),
                payload: &payload,
                qos: Qos::ExactlyOnce,
                retain: false,
                dup: false,
                packet_id: None,
                expiry_s: None,
            },
            delay_s: if v5 && self.rng.chance(30) { 3 } else { 0 },
        });
        if let Some(will) = &will {
            self.ledger.will_delayed(number(&payload), will.delay_s > 0);
        }
        let connect = Connect {
            client_id: &name,
            user: None,
            access: Access::default(),
            clean_start,
            expiry_s,
            receive_maximum: NonZeroU16::new(receive_maximum).unwrap(),
            keep_alive_s,
            is_v5: v5,
            will,
            durability: None,
            beats: None,
        };
        self.run(worker, Input::Connect(id, connect));
    }

    /// The client sends; what the connection has lost before is lost.
    pub(crate) fn send(&mut self, client: usize, packets: impl IntoIterator<Item = Up>) {
        let Some((worker, id)) = self.clients[client].conn else { return };
        if let Some(conn) = self.conn(worker, id) {
            conn.up.extend(packets);
        }
    }

    pub(crate) fn publish(&mut self, client: usize) {
        let quota = usize::from(self.plan.limits.receive_maximum).min(8);
        let who = &self.clients[client];
        if !who.connected || who.out.len() >= quota || (!who.subscribed && !who.subs.is_empty()) {
            return;
        }
        let qos = self.rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
        let (topic, retain) = match self.rng.below(10) {
            0..6 if !self.talkers.is_empty() => {
                let is_topic = self.rng.chance(25);
                (if is_topic { "t/0".to_owned() } else { queue(&mut self.rng) }, false)
            }
            0..4 => (format!("a/{}", self.rng.below(3)), false),
            4..8 => (format!("s/{}", self.rng.below(2)), false),
            8 => (self.rng.pick(&["a/i", "a/n", "s/i", "s/n"]).to_owned(), false),
            _ => (format!("r/{client}"), true),
        };
        let msg = self.ledger.new_message(client, topic, qos, retain, false);
        let packet = self.clients[client].publish(msg, qos);
        self.send(client, [packet]);
    }

    /// Both ends lose the connection; what was on the wires is lost. The broker may notice only later.
    pub(crate) fn cut(&mut self, client: usize) {
        let Some((worker, id)) = self.clients[client].conn else { return };
        self.clients[client].lost();
        let heard = self.rng.below(4);
        if let Some(conn) = self.conn(worker, id) {
            conn.client_open = false;
            conn.down.clear();
            // Some of what the client sent may have arrived.
            conn.up.truncate(heard);
        }
    }

    pub(crate) fn client_step(&mut self, worker: usize, at: usize) -> bool {
        let conn = &mut self.workers[worker].conns[at];
        if !conn.client_open {
            return false;
        }
        let client = conn.client;
        let Some(packet) = conn.down.pop_front() else { return false };
        if let Down::Closed = packet {
            conn.client_open = false;
            conn.up.clear();
            self.clients[client].lost();
            return true;
        }
        let refuses = !self.clients[client].keeper && self.clients[client].v5 && self.rng.chance(5);
        let ledger = &mut self.ledger;
        let mut fates = |msg, fate: Fate| ledger.fate(msg, fate);
        let answers = self.clients[client].take(packet.clone(), refuses, &mut fates);
        let answers =
            answers.unwrap_or_else(|wrong| panic!("{}: {wrong} at {packet:?}", self.clients[client].id));
        self.send(client, answers);
        true
    }

    /// The shell reads one packet of a connection, or notices its end.
    pub(crate) fn read(&mut self, worker: usize, at: usize) -> bool {
        let conn = &mut self.workers[worker].conns[at];
        let (id, client) = (conn.id, conn.client);
        if !conn.server_open {
            if conn.client_open && !conn.down.is_empty() {
                return false;
            }
            return self.close(worker, at);
        }
        if conn.paused && conn.client_open && !self.rng.chance(5) {
            return false;
        }
        let conn = &mut self.workers[worker].conns[at];
        let Some(packet) = conn.up.pop_front() else {
            return !conn.client_open && self.close(worker, at);
        };
        match packet {
            Up::Publish { pid, msg, dup } => {
                if let Some(pid) = pid {
                    conn.publishes.insert(pid.get(), msg);
                }
                self.ledger.taken_in(msg, dup);
                let sent = self.ledger.message(msg);
                let (topic, qos, retain) = (sent.topic.clone(), sent.qos, sent.retain);
                self.hand_in_of_mqtt(client, msg, qos, &topic);
                let expiry_s = (self.plan.expiry && msg.is_multiple_of(3)).then_some(2);
                let payload = msg.to_be_bytes();
                let publish = Publish {
                    topic: TopicName::from_validated(&topic),
                    fields: Fields::default(),
                    payload: &payload,
                    qos,
                    retain,
                    dup,
                    packet_id: pid,
                    expiry_s,
                };
                if !self.goes_straight(worker, id, &publish) {
                    self.run(worker, Input::Publish(id, publish));
                }
            }
            Up::Ack { kind, pid, failed } => {
                if kind == AckKind::PubAck
                    && let Some(place) = self.book.give_up((id.generation, 0, pid.get()))
                {
                    self.book.settle(place, if failed { Verdict::Reject } else { Verdict::Accept });
                }
                if self.ledger.acknowledged(&self.clients[client], kind, pid, failed) {
                    self.workers[worker].conns[at].recs.push_back(pid);
                }
                self.run(worker, Input::Ack { conn: id, kind, packet_id: pid, failed });
            }
            Up::Subscribe { pid } => {
                let who = &self.clients[client];
                let written: Vec<_> = who.subs.iter().map(crate::client::Sub::written).collect();
                let filters: Vec<_> = who
                    .subs
                    .iter()
                    .zip(&written)
                    .map(|(sub, filter)| FilterRequest {
                        filter,
                        qos: sub.qos,
                        no_local: sub.no_local,
                        retain_as_published: false,
                        retain_handling: RetainHandling::Never,
                    })
                    .collect();
                let sub_id = who.v5.then_some(SUBSCRIPTION_ID);
                self.run(
                    worker,
                    Input::Subscribe {
                        conn: id,
                        packet_id: pid,
                        id: sub_id,
                        selector: None,
                        filters: &filters,
                    },
                );
            }
            Up::Ping => self.run(worker, Input::Ping(id)),
            Up::Disconnect { with_will } => {
                conn.said_goodbye = !with_will;
                self.book.conn_ended(id.generation);
                conn.server_open = false;
                conn.down.push_back(Down::Closed);
                self.run(worker, Input::Disconnect { conn: id, with_will, expiry_s: None });
            }
        }
        true
    }

    fn hand_in_of_mqtt(&mut self, client: usize, msg: u32, qos: Qos, topic: &str) {
        let asked = Asked {
            sender: (MQTT + client as u32, qos.level()),
            topic: topic.to_owned(),
            stores: qos > Qos::AtMostOnce,
            priority: 4,
            expires: self.plan.expiry && msg.is_multiple_of(3),
            stillborn: false,
            delayed: false,
            dedup: None,
            commit: None,
        };
        self.book.handed_in(msg, asked);
    }

    /// Messages whose number is a multiple of this are too large for the client; 0 for none.
    fn too_large(&self, client: usize) -> u32 {
        if self.clients[client].keeper || !self.talkers.is_empty() { 0 } else { 11 }
    }

    /// Writes a message straight to the one whom it is for, if the engine lets it and the socket takes it. Often enough it does
    /// not, so that each way goes on from what the other has left.
    fn goes_straight(&mut self, worker: usize, from: ConnId, publish: &Publish<'_>) -> bool {
        let Some(way) = self.workers[worker].engine.straight(self.now, from, publish) else { return false };
        if self.rng.chance(40) {
            return false;
        }
        let client = self.conn(worker, way.to).unwrap().client;
        let (msg, too_large) = (number(publish.payload), self.too_large(client));
        if too_large != 0 && msg.is_multiple_of(too_large) {
            return false;
        }
        let qos = if way.packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let (dup, retain, ids, queue) = (false, false, Vec::new(), None);
        let packet = Down::Publish { pid: way.packet_id, msg, qos, dup, retain, ids, queue };
        let who = &self.clients[client];
        let window = who.receive_maximum.min(self.plan.limits.max_inflight);
        self.ledger.written(who, way.to, &packet, window, &self.store);
        self.book.visible(msg);
        let conn = self.conn(worker, way.to).unwrap();
        if conn.client_open && conn.server_open {
            conn.down.push_back(packet);
        }
        let mut fx = Effects::default();
        let acknowledged = self.workers[worker].engine.went_straight(self.now, from, publish, way, &mut fx);
        if let Some(packet_id) = acknowledged {
            let reply = Reply::Ack { kind: AckKind::PubAck, packet_id, reason: Reason::Success };
            fx.list.push(Effect::Reply(from, reply));
        }
        self.straights += 1;
        self.apply(worker, fx);
        true
    }

    pub(crate) fn close(&mut self, worker: usize, at: usize) -> bool {
        let conn = self.workers[worker].conns.remove(at);
        self.book.conn_ended(conn.id.generation);
        if let Some(will) = conn.will {
            self.ledger.connection_ended(will, conn.said_goodbye);
        }
        if conn.client_open {
            self.clients[conn.client].lost();
        }
        self.run(worker, Input::Closed(conn.id));
        true
    }

    pub(crate) fn pull(&mut self, worker: usize, at: usize) -> bool {
        let conn = &mut self.workers[worker].conns[at];
        if !std::mem::take(&mut conn.marked) {
            return false;
        }
        let (id, client) = (conn.id, conn.client);
        let too_large = self.too_large(client);
        let mut outbox = Outbox { room: 1 + self.rng.below(6), packets: Vec::new(), too_large };
        let mut fx = Effects::default();
        let pulled = self.workers[worker].engine.pull(self.now, id, &mut outbox, &mut fx);
        if pulled == Pulled::More {
            self.conn(worker, id).unwrap().marked = true;
        }
        for packet in outbox.packets {
            let who = &self.clients[client];
            let window = who.receive_maximum.min(self.plan.limits.max_inflight);
            self.ledger.written(who, id, &packet, window, &self.store);
            if let Down::Publish { pid, msg, queue, .. } = &packet {
                self.book.visible(*msg);
                let tap =
                    queue.as_ref().and_then(|(filter, count)| Some((self.book.tap_of("", filter)?, *count)));
                if let Some((tap, deliveries)) = tap {
                    let handed = Handed { msg: *msg, deliveries, death: None };
                    self.book.written(tap, (id.generation, 0), pid.map(NonZeroU16::get), &handed);
                }
            }
            let conn = self.conn(worker, id).unwrap();
            if conn.client_open && conn.server_open {
                conn.down.push_back(packet);
            }
        }
        self.apply(worker, fx);
        true
    }
}
