//! What the world knows: every message and its fate, what the stores have settled, which packet ids are in use. It
//! objects at once when a packet leaves that must not leave yet.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use noctule_core::delivery::AckKind;
use noctule_core::effects::{Reason, Reply};
use noctule_core::id::{ConnId, Qos};
use noctule_core::store::{StoreOp, Ticket};

use crate::client::{Client, Down, Fate};
use crate::disk::Disk;
use crate::outbox::number;
use crate::store::{Answer, Store};
use crate::world::Conn;

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) publisher: usize,
    pub(crate) topic: String,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) will: bool,
    pub(crate) fate: Fate,
    /// Whether its publisher sent it more than once.
    pub(crate) again: bool,
    /// Whether the broker or its store has refused a copy of it.
    pub(crate) refused: bool,
    /// Whether its publisher's session ended before it knew the fate: if that CONNACK gets lost, it can't know that what
    /// it sends again is new to the broker.
    pub(crate) orphan: bool,
    /// For wills: it may be cancelled.
    pub(crate) delayed: bool,
    /// For wills: its connection has ended, and whether with a good-bye. `None` also after a crash before the store had
    /// heard of its beginning or its end: then it may be published or not.
    pub(crate) ended: Option<bool>,
    /// For wills: published, and kept again by a crash before the store had heard of it.
    pub(crate) twice: bool,
    /// Whether it has an expiry of its own.
    pub(crate) expires: bool,
}

/// What a submission to a store was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Publish {
        msg: u32,
        held: bool,
    },
    Sent {
        session: u64,
        pid: u16,
    },
    Received {
        session: u64,
        pid: u16,
    },
    Released {
        session: u64,
        pid: u16,
    },
    /// A transaction of STOMP.
    Commit(usize),
    Other,
}

/// The connection of an exchange that went on before a crash.
const NO_CONN: ConnId = ConnId { slot: u32::MAX, generation: 0 };

/// A packet id that the broker uses towards a client.
#[derive(Clone, Debug)]
struct Use {
    msg: u32,
    conn: ConnId,
    released: bool,
    /// The exchange has to be stored step by step.
    stored: bool,
    /// It is a queue's message: nobody's once the connection is lost.
    queue: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    messages: Vec<Message>,
    submitted: BTreeSet<u32>,
    pub(crate) stored: BTreeSet<u32>,
    /// What the stores know of outbound exchanges; true once PUBREC is known.
    outbound: BTreeMap<(u64, u16), bool>,
    numbers: BTreeMap<String, u64>,
    in_use: BTreeMap<String, BTreeMap<u16, Use>>,
    pub(crate) deliveries: u64,
    pub(crate) redeliveries: u64,
    /// The transaction that an engine is about to submit.
    pub(crate) committing: Option<usize>,
}

impl Ledger {
    pub(crate) fn new_message(
        &mut self,
        publisher: usize,
        topic: String,
        qos: Qos,
        retain: bool,
        will: bool,
    ) -> u32 {
        self.messages.push(Message {
            publisher,
            topic,
            qos,
            retain,
            will,
            fate: Fate::Unknown,
            again: false,
            refused: false,
            orphan: false,
            delayed: false,
            ended: None,
            twice: false,
            expires: false,
        });
        self.messages.len() as u32 - 1
    }

    pub(crate) fn message(&self, msg: u32) -> &Message {
        &self.messages[msg as usize]
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (u32, &Message)> {
        (0..).zip(&self.messages)
    }

    pub(crate) fn fate(&mut self, msg: u32, fate: Fate) {
        let known = &mut self.messages[msg as usize].fate;
        if *known != Fate::Accepted {
            *known = fate;
        }
    }

    pub(crate) fn expires(&mut self, msg: u32, expires: bool) {
        self.messages[msg as usize].expires = expires;
    }

    /// Whether nothing of it waits for the store, or has failed to be stored.
    pub(crate) fn is_safe(&self, msg: u32) -> bool {
        !self.submitted.contains(&msg) || self.stored.contains(&msg)
    }

    pub(crate) fn will_delayed(&mut self, msg: u32, delayed: bool) {
        self.messages[msg as usize].delayed = delayed;
    }

    pub(crate) fn connection_ended(&mut self, will: u32, goodbye: bool) {
        self.messages[will as usize].ended = Some(goodbye);
    }

    /// A copy of a message reaches the broker: what was submitted for an earlier copy says nothing about it.
    pub(crate) fn taken_in(&mut self, msg: u32, dup: bool) {
        self.messages[msg as usize].again |= dup;
        if self.message(msg).qos == Qos::AtLeastOnce {
            self.submitted.remove(&msg);
        }
    }

    pub(crate) fn submitted(&mut self, op: &StoreOp, ticket: Ticket) -> Record {
        match op {
            StoreOp::Publish { message, inbound, .. } => {
                let msg = number(message.payload());
                if message.topic().as_str() != self.message(msg).topic {
                    // A dead letter.
                    return Record::Other;
                }
                if ticket == Ticket::NONE {
                    // Nobody waits for it, so nobody is told of a failure either.
                    self.stored.insert(msg);
                } else {
                    self.submitted.insert(msg);
                }
                Record::Publish { msg, held: inbound.is_some() }
            }
            StoreOp::OutboundSent { session, packet_id, .. } => {
                Record::Sent { session: session.0, pid: *packet_id }
            }
            StoreOp::OutboundReceived { session, packet_id, .. } => {
                Record::Received { session: session.0, pid: *packet_id }
            }
            StoreOp::InboundReleased { session, packet_id } => {
                Record::Released { session: session.0, pid: *packet_id }
            }
            StoreOp::OutboundCompleted { session, packet_id } => {
                self.outbound.remove(&(session.0, *packet_id));
                let client = self.numbers.iter().find(|(_, number)| **number == session.0);
                let ids = client.and_then(|(client, _)| self.in_use.get_mut(client));
                if let Some(ids) = ids
                    && ids.get(packet_id).is_some_and(|known| known.conn == NO_CONN)
                {
                    // It was never sent to anybody, and too large for its client.
                    ids.remove(packet_id);
                }
                Record::Other
            }
            StoreOp::Transaction(_) if ticket != Ticket::NONE => {
                // The store is asked for one right after its client has asked.
                Record::Commit(self.committing.take().unwrap())
            }
            StoreOp::SessionKept { session, client_id, .. } => {
                self.numbers.insert(client_id.to_string(), session.0);
                Record::Other
            }
            StoreOp::SessionEnded { session, .. } => {
                self.outbound.retain(|(whose, _), _| *whose != session.0);
                Record::Other
            }
            _ => Record::Other,
        }
    }

    /// The store has answered, whether or not anybody was left to hear it.
    pub(crate) fn answered(&mut self, answer: &Answer) {
        match answer.record {
            // A publisher of MQTT 3 is not told that a copy of its message was refused.
            Record::Publish { msg, .. } if answer.failed => self.messages[msg as usize].refused = true,
            _ if answer.failed => {}
            Record::Publish { msg, .. } => {
                self.stored.insert(msg);
            }
            Record::Sent { session, pid } => {
                self.outbound.insert((session, pid), false);
            }
            Record::Received { session, pid } => {
                self.outbound.insert((session, pid), true);
            }
            Record::Released { .. } | Record::Commit(_) | Record::Other => {}
        }
    }

    /// The store has answered for a transaction.
    pub(crate) fn committed(&mut self, sends: &[u32], failed: bool) {
        if !failed {
            self.stored.extend(sends);
        }
    }

    /// The process was killed, and its store has been read again.
    pub(crate) fn crashed(&mut self, clients: &[Client], disk: &Disk) {
        self.submitted.retain(|msg| self.stored.contains(msg));
        self.outbound = disk.outbound.iter().map(|(&key, out)| (key, out.received)).collect();
        self.numbers = disk.sessions().map(|(number, client_id)| (client_id.to_owned(), number)).collect();
        let before = std::mem::take(&mut self.in_use);
        for client in clients {
            let Some(&session) = self.numbers.get(&client.id) else { continue };
            let known = before.get(&client.id);
            let own = disk.outbound.range((session, 0)..=(session, u16::MAX));
            let uses = own.map(|(&(_, pid), out)| {
                let msg = out.msg.or_else(|| known?.get(&pid).map(|known| known.msg)).unwrap_or(u32::MAX);
                (pid, Use { msg, conn: NO_CONN, released: out.received, stored: true, queue: false })
            });
            self.in_use.insert(client.id.clone(), uses.collect());
        }
        for (msg, message) in (0..).zip(&mut self.messages).filter(|(_, message)| message.will) {
            let (kept, published) = (disk.has_will(msg), disk.published.contains(&msg));
            match message.ended {
                Some(true) if kept => message.ended = None,
                // Only one that the store has never heard of may be lost.
                Some(false) if !disk.wills_kept.contains(&msg) && !published => message.ended = None,
                Some(false) => message.twice |= kept && published,
                _ => {}
            }
        }
    }

    fn session(&self, client: &Client) -> Option<u64> {
        if client.expiry_s == 0 { None } else { self.numbers.get(&client.id).copied() }
    }

    pub(crate) fn reply(&mut self, conn: &Conn, client: &Client, reply: &Reply, store: &Store) {
        match reply {
            Reply::Connected { session_present: false, .. } => {
                self.in_use.remove(&client.id);
                let own = self.messages.iter_mut().filter(|message| message.publisher == conn.client);
                own.filter(|message| message.fate == Fate::Unknown).for_each(|message| message.orphan = true);
            }
            Reply::Ack { kind: AckKind::PubAck | AckKind::PubRec, packet_id, reason }
                if (*reason as u8) < 0x80 =>
            {
                let msg = conn.publishes[&packet_id.get()];
                assert!(
                    self.is_safe(msg),
                    "message {msg} is acknowledged before it is stored [MQTT-4.3.2-4, 4.3.3-8]"
                );
            }
            Reply::Ack { kind: AckKind::PubAck | AckKind::PubRec, packet_id, .. } => {
                self.messages[conn.publishes[&packet_id.get()] as usize].refused = true;
            }
            Reply::Ack { kind: AckKind::PubComp, packet_id, .. } => {
                let Some(session) = self.session(client) else { return };
                let record = Record::Released { session, pid: packet_id.get() };
                assert!(
                    store.unanswered().all(|other| other != record),
                    "PUBCOMP {packet_id} to {} before the release is stored",
                    client.id
                );
            }
            Reply::Ack { kind: AckKind::PubRel, packet_id, reason: Reason::Success } => {
                self.released(client, *packet_id);
                let place = conn.recs.iter().position(|rec| rec == packet_id);
                assert!(
                    place.is_none_or(|place| place == 0),
                    "PUBREL {packet_id} out of order [MQTT-4.6.0-4]"
                );
            }
            _ => {}
        }
    }

    /// PUBREL leaves.
    fn released(&self, client: &Client, pid: NonZeroU16) {
        let known = self.in_use.get(&client.id).and_then(|ids| ids.get(&pid.get()));
        let known = known.unwrap_or_else(|| panic!("PUBREL {pid} to {} without an exchange", client.id));
        assert!(known.released, "PUBREL {pid} to {} before PUBREC", client.id);
        if known.stored
            && let Some(session) = self.session(client)
        {
            assert_eq!(
                self.outbound.get(&(session, pid.get())),
                Some(&true),
                "PUBREL {pid} to {} before PUBREC is stored",
                client.id
            );
        }
    }

    /// A packet leaves for a connection.
    pub(crate) fn written(
        &mut self,
        client: &Client,
        conn: ConnId,
        packet: &Down,
        window: u16,
        store: &Store,
    ) {
        let (pid, msg, qos, dup, queue) = match packet {
            Down::Publish { pid, msg, qos, dup, queue, .. } => (*pid, *msg, *qos, *dup, queue.is_some()),
            Down::Release(pid) => return self.released(client, *pid),
            _ => return,
        };
        self.deliveries += 1;
        self.redeliveries += u64::from(dup);
        // Of what was sent again to a new session the first copy goes its way all the same.
        let another = msg != u32::MAX && self.message(msg).orphan && self.stored.contains(&msg);
        assert!(
            another || store.unanswered().all(|record| record != Record::Publish { msg, held: true }),
            "QoS 2 message {msg} goes on before it is stored"
        );
        let Some(pid) = pid else { return };
        let stored = qos == Qos::ExactlyOnce && client.expiry_s > 0;
        let session = self.session(client);
        let ids = self.in_use.entry(client.id.clone()).or_default();
        if ids.get(&pid.get()).is_some_and(|known| known.queue && known.conn != conn) {
            ids.remove(&pid.get());
        }
        match ids.get_mut(&pid.get()) {
            None => {
                assert!(!dup, "DUP on the first PUBLISH {pid} to {}", client.id);
                ids.insert(pid.get(), Use { msg, conn, released: false, stored, queue });
            }
            Some(known) => {
                assert_eq!(known.msg, msg, "packet id {pid} to {} is in use", client.id);
                assert!(dup, "PUBLISH {pid} to {} again without DUP [MQTT-3.3.1-1]", client.id);
                assert!(!known.released, "PUBLISH {pid} to {} after PUBREC [MQTT-4.3.3-6]", client.id);
                assert_ne!(known.conn, conn, "PUBLISH {pid} again on the same connection [MQTT-4.4.0-1]");
                known.conn = conn;
            }
        }
        let under_way = ids.values().filter(|known| known.conn == conn).count();
        assert!(under_way <= usize::from(window), "{under_way} messages under way to {}", client.id);
        if stored && let Some(session) = session {
            assert!(
                self.outbound.contains_key(&(session, pid.get())),
                "PUBLISH {pid} to {} before its packet id is stored",
                client.id
            );
        }
    }

    /// An acknowledgement reaches the broker. Says whether it is a PUBREC that PUBREL must follow.
    pub(crate) fn acknowledged(
        &mut self,
        client: &Client,
        kind: AckKind,
        pid: NonZeroU16,
        failed: bool,
    ) -> bool {
        let Some(ids) = self.in_use.get_mut(&client.id) else { return false };
        match kind {
            AckKind::PubRec if !failed => match ids.get_mut(&pid.get()) {
                Some(known) => !std::mem::replace(&mut known.released, true),
                None => false,
            },
            AckKind::PubRel => false,
            _ => {
                ids.remove(&pid.get());
                false
            }
        }
    }
}
