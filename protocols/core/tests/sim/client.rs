//! A model client: an MQTT client's session, as sections 4.1 to 4.9 describe it, and what it must never see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

use noctule_core::delivery::AckKind;
use noctule_core::effects::{Reason, Reply};
use noctule_core::id::{ConnId, Qos};

/// A packet on its way to the broker.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Publish { pid: Option<NonZeroU16>, msg: u32, dup: bool },
    Ack { kind: AckKind, pid: NonZeroU16, failed: bool },
    Subscribe { pid: NonZeroU16 },
    Ping,
    Disconnect { with_will: bool },
}

/// A packet on its way to the client.
#[derive(Clone, Debug)]
pub(crate) enum Down {
    Reply(Reply),
    Publish {
        pid: Option<NonZeroU16>,
        msg: u32,
        qos: Qos,
        dup: bool,
        retain: bool,
        ids: Vec<u32>,
        /// The queue that it came from, and how often it says that it was delivered before.
        queue: Option<(String, u32)>,
    },
    Release(NonZeroU16),
    Closed,
}

#[derive(Clone, Debug)]
pub(crate) struct Sub {
    pub(crate) filter: String,
    pub(crate) group: Option<&'static str>,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
}

impl Sub {
    pub(crate) fn written(&self) -> String {
        match self.group {
            Some(group) => format!("$share/{group}/{}", self.filter),
            None => self.filter.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) pid: NonZeroU16,
    pub(crate) msg: u32,
    pub(crate) qos: Qos,
    /// PUBREC came: PUBREL is on its way.
    pub(crate) received: bool,
    /// PUBREL was sent on an earlier connection; its PUBCOMP may be what got lost.
    again: bool,
}

/// How a publication ended, as far as its publisher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Unknown,
    Accepted,
    Refused,
}

#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) msg: u32,
    pub(crate) retain: bool,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) v5: bool,
    /// Keeps its session to the end; what it is owed is checked to the last message.
    pub(crate) keeper: bool,
    pub(crate) expiry_s: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) keep_alive_s: u16,
    pub(crate) subs: Vec<Sub>,
    pub(crate) subscribed: bool,
    pub(crate) conn: Option<(usize, ConnId)>,
    pub(crate) connected: bool,
    pub(crate) will: Option<u32>,
    next_pid: u16,
    pub(crate) out: VecDeque<Outgoing>,
    /// Publications of this connection in the order of their sending, by packet id, for the order of answers.
    sent_at: BTreeMap<u16, u64>,
    ordinal: u64,
    last_answer: [u64; 2],
    /// QoS 2 taken and not released.
    pub(crate) held: BTreeSet<u16>,
    /// Received on this connection and not yet finally acknowledged.
    owing: BTreeSet<u16>,
    pub(crate) acks: VecDeque<Up>,
    pub(crate) taken: Vec<Taken>,
    /// Messages that it has refused; if that PUBACK gets lost they come again, behind later ones.
    pub(crate) turned_down: BTreeSet<u32>,
}

impl Client {
    pub(crate) fn new(id: String, v5: bool, keeper: bool) -> Self {
        Self {
            id,
            v5,
            keeper,
            expiry_s: if keeper { u32::MAX } else { 0 },
            receive_maximum: u16::MAX,
            keep_alive_s: 0,
            subs: Vec::new(),
            subscribed: false,
            conn: None,
            connected: false,
            will: None,
            next_pid: 0,
            out: VecDeque::new(),
            sent_at: BTreeMap::new(),
            ordinal: 0,
            last_answer: [0; 2],
            held: BTreeSet::new(),
            owing: BTreeSet::new(),
            acks: VecDeque::new(),
            taken: Vec::new(),
            turned_down: BTreeSet::new(),
        }
    }

    /// The connection is gone; what was under way on it is lost.
    pub(crate) fn lost(&mut self) {
        self.conn = None;
        self.connected = false;
        self.acks.clear();
        self.owing.clear();
        self.sent_at.clear();
        self.last_answer = [0; 2];
        if self.expiry_s == 0 {
            self.forget();
        }
    }

    pub(crate) fn forget(&mut self) {
        self.out.clear();
        self.held.clear();
        self.subscribed = false;
    }

    /// A packet id that is free: few, so that they come round quickly.
    pub(crate) fn pid(&mut self) -> NonZeroU16 {
        loop {
            self.next_pid = self.next_pid % 17 + 1;
            if self.out.iter().all(|out| out.pid.get() != self.next_pid) {
                return NonZeroU16::new(self.next_pid).unwrap();
            }
        }
    }

    pub(crate) fn publish(&mut self, msg: u32, qos: Qos) -> Up {
        if qos == Qos::AtMostOnce {
            return Up::Publish { pid: None, msg, dup: false };
        }
        let pid = self.pid();
        self.out.push_back(Outgoing { pid, msg, qos, received: false, again: false });
        self.note_sent(pid);
        Up::Publish { pid: Some(pid), msg, dup: false }
    }

    fn note_sent(&mut self, pid: NonZeroU16) {
        self.ordinal += 1;
        self.sent_at.insert(pid.get(), self.ordinal);
    }

    /// What follows CONNACK: everything unfinished again, in its order [MQTT-4.4.0-1].
    fn resumed(&mut self, session_present: bool) -> Vec<Up> {
        self.connected = true;
        if !session_present {
            self.forget();
        }
        let mut again = Vec::new();
        for out in &mut self.out {
            out.again = out.received;
        }
        for out in self.out.clone() {
            again.push(if out.received {
                Up::Ack { kind: AckKind::PubRel, pid: out.pid, failed: false }
            } else {
                self.note_sent(out.pid);
                Up::Publish { pid: Some(out.pid), msg: out.msg, dup: true }
            });
        }
        if !self.subscribed && !self.subs.is_empty() {
            again.push(Up::Subscribe { pid: NonZeroU16::new(1000).unwrap() });
        }
        again
    }

    /// Takes a packet. Returns what it sends at once; acknowledgements wait in `acks`.
    pub(crate) fn take(
        &mut self,
        packet: Down,
        refuses: bool,
        fates: &mut impl FnMut(u32, Fate),
    ) -> Result<Vec<Up>, String> {
        match packet {
            Down::Reply(Reply::Connected { session_present, .. }) => {
                if self.keeper && self.subscribed && !session_present {
                    return Err("its session is gone".to_owned());
                }
                Ok(self.resumed(session_present))
            }
            Down::Reply(Reply::Subscribed { codes, .. }) => {
                self.subscribed = codes.iter().all(Result::is_ok);
                Ok(Vec::new())
            }
            Down::Reply(Reply::Ack { kind, packet_id, reason }) => {
                self.acknowledged(kind, packet_id, reason, fates)
            }
            Down::Reply(_) => Ok(Vec::new()),
            Down::Publish { pid, msg, qos, retain, ids, dup, queue } => {
                if dup && pid.is_none() {
                    return Err("DUP at QoS 0 [MQTT-3.3.1-2]".to_owned());
                }
                // What a group had lent before its subscription could not be kept may come again without.
                let unsubscribed = dup && !self.subscribed && self.v5;
                if self.v5 == ids.is_empty() && !unsubscribed {
                    return Err(format!("subscription identifiers {ids:?}"));
                }
                self.receive(pid, msg, qos, retain, refuses, queue.is_some())?;
                Ok(Vec::new())
            }
            Down::Release(pid) => {
                self.release(pid);
                Ok(Vec::new())
            }
            Down::Closed => unreachable!("the world ends connections"),
        }
    }

    fn acknowledged(
        &mut self,
        kind: AckKind,
        pid: NonZeroU16,
        reason: Reason,
        fates: &mut impl FnMut(u32, Fate),
    ) -> Result<Vec<Up>, String> {
        if kind == AckKind::PubRel {
            if reason == Reason::Success {
                self.release(pid);
                return Ok(Vec::new());
            }
            return Err(format!("PUBREL {pid} says {reason:?}"));
        }
        let place = self.out.iter().position(|out| out.pid == pid);
        let Some(place) = place else { return Err(format!("{kind:?} {pid} answers nothing")) };
        let fits = match kind {
            AckKind::PubAck => self.out[place].qos == Qos::AtLeastOnce,
            AckKind::PubRec => self.out[place].qos == Qos::ExactlyOnce,
            _ => self.out[place].received,
        };
        if !fits {
            return Err(format!("{kind:?} does not fit {:?}", self.out[place]));
        }
        if let AckKind::PubAck | AckKind::PubRec = kind {
            // [MQTT-4.6.0-2], [MQTT-4.6.0-3]
            let sent_at = self.sent_at[&pid.get()];
            let last = &mut self.last_answer[usize::from(kind == AckKind::PubRec)];
            if sent_at < *last {
                return Err(format!("{kind:?} {pid} is out of order"));
            }
            *last = sent_at;
            let accepted = (reason as u8) < 0x80;
            fates(self.out[place].msg, if accepted { Fate::Accepted } else { Fate::Refused });
            if kind == AckKind::PubRec && accepted {
                self.out[place].received = true;
                return Ok(vec![Up::Ack { kind: AckKind::PubRel, pid, failed: false }]);
            }
        } else if reason != Reason::Success && !self.out[place].again {
            return Err(format!("PUBCOMP {pid} says {reason:?}"));
        }
        self.out.remove(place);
        Ok(Vec::new())
    }

    fn receive(
        &mut self,
        pid: Option<NonZeroU16>,
        msg: u32,
        qos: Qos,
        retain: bool,
        refuses: bool,
        of_queue: bool,
    ) -> Result<(), String> {
        let mut fresh = true;
        if let Some(pid) = pid {
            self.owing.insert(pid.get());
            if self.owing.len() > usize::from(self.receive_maximum) {
                return Err(format!("{} unacknowledged, Receive Maximum exceeded", self.owing.len()));
            }
            let kind = if qos == Qos::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
            let failed = refuses && !self.held.contains(&pid.get());
            if qos == Qos::ExactlyOnce && !failed {
                fresh = self.held.insert(pid.get());
            }
            fresh &= !failed;
            if failed {
                self.turned_down.insert(msg);
            }
            self.acks.push_back(Up::Ack { kind, pid, failed });
        }
        // What queues deliver is in the book.
        if fresh && !of_queue {
            self.taken.push(Taken { msg, retain });
        }
        Ok(())
    }

    fn release(&mut self, pid: NonZeroU16) {
        self.held.remove(&pid.get());
        self.acks.push_back(Up::Ack { kind: AckKind::PubComp, pid, failed: false });
    }

    /// The oldest acknowledgement leaves.
    pub(crate) fn send_ack(&mut self) -> Option<Up> {
        let ack = self.acks.pop_front()?;
        if let Up::Ack { kind, pid, failed } = &ack
            && (*kind != AckKind::PubRec || *failed)
        {
            self.owing.remove(&pid.get());
        }
        Some(ack)
    }
}
