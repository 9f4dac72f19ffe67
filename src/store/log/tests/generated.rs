//! A long life of random operations, in the order in which engines would submit them, held against the model at every
//! restart.

use std::env;
use std::num::NonZeroU32;

use noctule_core::id::Qos;
use noctule_core::store::{Recipient, SessionNumber, StoreOp};

use super::super::{Clocks, Log};
use super::disk::{Dice, Disk};
use super::kit::{
    self, acknowledged, assert_same, body, completed, ended, group, group_with, kept, open, options,
    presence, received, released, seen, sent, subscribed, together, will_kept,
};
use super::model::Model;

/// The operations of one broker's life.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) dice: Dice,
    pub(super) model: Model,
    /// The clock that goes on over all restarts, ms, and when the present process began.
    pub(super) now: u64,
    pub(super) start: u64,
    next_session: u64,
    next_record: u64,
    /// Numbers of messages that workers have taken.
    records: [u64; 6],
    next_version: u64,
}

impl Life {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            model: Model::default(),
            now: 0,
            start: 0,
            next_session: 1,
            next_record: 6,
            records: [1, 2, 3, 4, 5, 6],
            next_version: 1,
        }
    }

    /// The wall clock stands still: a machine that is not restarted has no need of it.
    pub(super) fn clock(&self) -> Clocks {
        Clocks { mono_ms: self.now - self.start, wall_ms: 1_000_000, uptime_ms: self.now, boot_id: 7 }
    }

    /// The process ends; the next one begins a while later.
    pub(super) fn restart(&mut self) {
        self.now += self.dice.below(3_000) as u64;
        self.start = self.now;
        self.now += self.dice.below(100) as u64;
        // Versions go on above all that were.
        self.next_version += 4;
        self.model.restart(self.now);
    }

    /// The operations of one commit, which the model has applied.
    pub(super) fn commit(&mut self) -> Vec<(u64, StoreOp)> {
        let mut ops = Vec::new();
        self.model.begin();
        for _ in 0..1 + self.dice.below(40) {
            self.now += self.dice.below(20) as u64;
            let transaction = self.dice.one_in(6);
            let mut parts = Vec::new();
            for _ in 0..if transaction { 2 + self.dice.below(5) } else { 1 } {
                for op in self.ops() {
                    self.model.apply(&op, self.now, self.start);
                    parts.push(op);
                }
            }
            if transaction {
                parts = vec![together(parts)];
            }
            let mono_ms = self.now - self.start;
            ops.extend(parts.into_iter().map(|op| (mono_ms, op)));
        }
        ops
    }

    fn session(&mut self) -> Option<u64> {
        let sessions = self.model.sessions();
        self.dice.pick(&sessions).copied()
    }

    /// A session or group that something may wait for; at times one that has just ended, or never was.
    fn waiter(&mut self) -> u64 {
        let mut all = self.model.sessions();
        all.extend(self.model.groups());
        if self.dice.one_in(20) {
            all.extend(self.model.gone());
            all.push(1_000_000);
        }
        self.dice.pick(&all).copied().unwrap_or(1_000_001)
    }

    fn deadline(&mut self) -> u64 {
        let mono_ms = self.now - self.start;
        if self.dice.one_in(4) { mono_ms + self.dice.below(8_000) as u64 } else { u64::MAX }
    }

    fn ops(&mut self) -> Vec<StoreOp> {
        match self.dice.below(26) {
            0..=6 => vec![self.publish()],
            7..=11 => self.acknowledge().into_iter().collect(),
            12 => vec![self.retain()],
            13 => self.clear_or_expire().into_iter().collect(),
            14 => {
                let old = self.model.sessions();
                let number = match self.dice.below(4) {
                    0 => self.dice.pick(&old).copied().unwrap_or(1),
                    // A session that ceases to be kept and then is again has its number still.
                    1 => self.dice.pick(&self.model.gone()).copied().unwrap_or(1),
                    _ => {
                        self.next_session += 1;
                        self.next_session
                    }
                };
                if old.len() > 12 || self.model.groups().contains(&number) {
                    return Vec::new();
                }
                vec![kept(number, [0, 1, 5, 60, u32::MAX][self.dice.below(5)])]
            }
            15 => {
                let online = self.dice.one_in(2);
                vec![presence(self.waiter(), online)]
            }
            16 if self.dice.one_in(3) => self.end(),
            16 | 17 => {
                let filter = ["a", "b/#", "$share/g/c", "é"][self.dice.below(4)];
                let qos = Qos::from_level(self.dice.below(3) as u8).unwrap();
                self.session().map(|session| subscribed(session, filter, qos)).into_iter().collect()
            }
            18 => {
                let Some(session) = self.session() else { return Vec::new() };
                let filters = self.model.filters_of(session);
                let filter = self.dice.pick(&filters).cloned().unwrap_or_default().into();
                vec![StoreOp::Unsubscribed { session: SessionNumber(session), filter }]
            }
            19 => self.will(),
            20..=22 => self.exchange(),
            23 | 24 => self.release().into_iter().collect(),
            _ => {
                if self.dice.one_in(3) {
                    return self.say_again();
                }
                if self.model.groups().len() > 3 {
                    return self.end_group();
                }
                self.next_session += 1;
                vec![group(self.next_session)]
            }
        }
    }

    fn publish(&mut self) -> StoreOp {
        // Workers take numbers and submit on their own: nearly in order.
        let taken = self.dice.below(self.records.len());
        self.next_record += 1;
        let record = std::mem::replace(&mut self.records[taken], self.next_record);
        let qos = if self.dice.one_in(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        let length = match self.dice.below(200) {
            0 => 70_000,
            1 => 9_000,
            _ => 1 + self.dice.below(200),
        };
        let topic = ["a", "b/c", "a/very/long/topic/with/many/levels", "é"][self.dice.below(4)];
        let payload = vec![record as u8; length];
        let message = body(topic, &payload, qos, self.deadline(), record);
        let mut recipients: Vec<Recipient> = Vec::new();
        for _ in 0..self.dice.below(5) {
            let session = self.waiter();
            if recipients.iter().all(|known| known.session.0 != session) {
                let qos = if self.dice.one_in(2) { Qos::AtLeastOnce } else { qos };
                let ids = (0..self.dice.below(3)).filter_map(|id| NonZeroU32::new(300 * id as u32));
                let ids: Vec<_> = ids.collect();
                recipients.push(Recipient {
                    session: SessionNumber(session),
                    qos,
                    retain: self.dice.one_in(2),
                    subscription_ids: (!ids.is_empty()).then(|| ids.into()),
                });
            }
        }
        let inbound = self.session().filter(|_| qos == Qos::ExactlyOnce);
        let inbound = inbound.map(|session| (SessionNumber(session), 1 + self.dice.below(5) as u16));
        StoreOp::Publish { message, recipients: recipients.into(), retained: None, inbound }
    }

    fn retain(&mut self) -> StoreOp {
        self.next_version += 2;
        let version = self.next_version - self.dice.below(4) as u64;
        let topic = ["r/1", "r/2", "r/3", "é"][self.dice.below(4)];
        let payload = format!("{version}");
        let message = body(topic, payload.as_bytes(), Qos::AtLeastOnce, self.deadline(), 0);
        StoreOp::Publish { message, recipients: Box::default(), retained: Some(version), inbound: None }
    }

    fn clear_or_expire(&mut self) -> Option<StoreOp> {
        let (topic, version) = self.dice.pick(&self.model.retained_topics())?.clone();
        if self.dice.one_in(2) {
            let message = body(&topic, b"x", Qos::AtLeastOnce, 0, 0);
            return Some(StoreOp::RetainedExpired { message, version });
        }
        let version = version + self.dice.below(3) as u64;
        self.next_version = self.next_version.max(version);
        Some(kit::retain(&topic, b"", version))
    }

    fn acknowledge(&mut self) -> Option<StoreOp> {
        let number = self.waiter();
        let waiting = self.model.waiting(number);
        if self.dice.one_in(10) {
            return Some(acknowledged(number, self.next_record));
        }
        Some(acknowledged(number, *self.dice.pick(&waiting)?))
    }

    fn release(&mut self) -> Option<StoreOp> {
        let groups = self.model.groups();
        let number = self.dice.pick(&groups).copied().filter(|_| !self.dice.one_in(8));
        let number = number.unwrap_or_else(|| self.waiter());
        let waiting = self.model.waiting(number);
        let deliveries = [0, 1, 2, 200, u32::MAX][self.dice.below(5)];
        if self.dice.one_in(10) {
            return Some(released(number, self.next_record, deliveries));
        }
        Some(released(number, *self.dice.pick(&waiting)?, deliveries))
    }

    fn say_again(&mut self) -> Vec<StoreOp> {
        let Some(&number) = self.dice.pick(&self.model.groups()) else { return Vec::new() };
        vec![group_with(number, options(self.dice.below(60) as u64))]
    }

    fn end(&mut self) -> Vec<StoreOp> {
        let Some(session) = self.session() else { return Vec::new() };
        vec![ended(session, &self.model.waiting(session))]
    }

    fn end_group(&mut self) -> Vec<StoreOp> {
        let Some(&group) = self.dice.pick(&self.model.groups()) else { return Vec::new() };
        let records = self.model.waiting(group).into();
        vec![StoreOp::GroupEnded { session: SessionNumber(group), records }]
    }

    fn will(&mut self) -> Vec<StoreOp> {
        let session = if self.dice.one_in(4) { Some(2_000_000) } else { self.session() };
        let Some(session) = session else { return Vec::new() };
        if self.dice.one_in(2) {
            return vec![StoreOp::WillGone { session: SessionNumber(session) }];
        }
        vec![will_kept(session, self.dice.below(20) as u32)]
    }

    fn exchange(&mut self) -> Vec<StoreOp> {
        let Some(session) = self.session() else { return Vec::new() };
        let out = self.model.out_of(session);
        match (self.dice.below(5), self.dice.pick(&out).copied()) {
            (0, Some((packet_id, owner, record))) => vec![received(session, owner, record, packet_id)],
            (1, Some((packet_id, _, _))) => vec![completed(session, packet_id)],
            (2, _) => {
                let ids = self.model.inbound_of(session);
                let Some(&packet_id) = self.dice.pick(&ids) else { return Vec::new() };
                vec![StoreOp::InboundReleased { session: SessionNumber(session), packet_id }]
            }
            _ => {
                let packet_id = 100 + self.dice.below(50) as u16;
                if out.iter().any(|(taken, _, _)| *taken == packet_id) {
                    return Vec::new();
                }
                let groups = self.model.groups();
                let owner =
                    self.dice.pick(&groups).copied().filter(|_| self.dice.one_in(2)).unwrap_or(session);
                let waiting = self.model.waiting(owner);
                let under_way: Vec<_> =
                    self.model.sessions().iter().flat_map(|one| self.model.out_of(*one)).collect();
                match self.dice.pick(&waiting).copied() {
                    Some(record)
                        if under_way.iter().all(|(_, whose, known)| (*whose, *known) != (owner, record)) =>
                    {
                        vec![sent(session, owner, record, packet_id)]
                    }
                    // Not a message of the store's.
                    _ => vec![received(session, session, 0, packet_id)],
                }
            }
        }
    }

    /// Opens the log and holds what it finds against the model.
    pub(super) fn open(&self, disk: &Disk) -> Log {
        let (log, recovered) = open(disk, &self.clock());
        assert!(recovered.last_session >= self.model.sessions().last().copied().unwrap_or(0));
        let found = seen(&log, recovered);
        assert_same(&found, &self.model.seen(self.start), "after a restart");
        log
    }
}

/// How many, unless `variable` asks for another number.
pub(super) fn count(variable: &str, usual: u64) -> u64 {
    env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn random_lives_agree_with_the_model() {
    for seed in 0..count("NOCTULE_LIVES", 12) {
        println!("seed {seed}");
        let mut life = Life::new(seed);
        let disk = Disk::default();
        let mut log = life.open(&disk);
        for _ in 0..60 {
            let ops = life.commit();
            log.commit(&ops, &life.clock()).unwrap();
            if life.dice.one_in(5) {
                drop(log);
                life.restart();
                log = life.open(&disk);
            }
        }
    }
}
