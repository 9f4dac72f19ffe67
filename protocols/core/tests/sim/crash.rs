//! The process is killed and starts again from what its store had committed: perhaps with other workers, and always with
//! other hashes and another clock.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use noctule_core::engine::recover;
use noctule_core::id::Qos;
use noctule_core::store::RecoveredSubscription;
use noctule_core::topic::{Subscribed, TopicLimits, TopicName};

use crate::client::{Client, Down, Sub};
use crate::ledger::Record;
use crate::world::{Conn, Worker, World, start};

/// Topics that tell one set of subscriptions from another.
const PROBES: [&str; 8] = ["a/0", "a/1", "a/n", "s/0", "s/i", "w/x", "r/1", "b"];

/// Subscription Identifier of every client that can have one.
pub(crate) const SUBSCRIPTION_ID: NonZeroU32 = NonZeroU32::new(7).unwrap();

impl World {
    pub(crate) fn crash(&mut self) {
        self.crashes += 1;
        let count = self.rng.below(self.store.submitted() + 1);
        self.commit(count);
        for worker in std::mem::take(&mut self.workers) {
            self.dropped_before += worker.engine.stats().dropped.iter().sum::<u64>();
            worker.conns.into_iter().for_each(|conn| self.kill(conn));
            for talk in worker.talks {
                self.talkers[talk.talker].conn.take_if(|(_, id)| *id == talk.id);
            }
        }
        self.links.clear();
        for answer in self.store.crash() {
            self.ledger.answered(&answer);
            if let Record::Commit(number) = answer.record {
                self.ledger.committed(&self.book.commits[number].sends, answer.failed);
            }
        }
        let down_ms = self.rng.pick(&[1, 300, 2_500, 9_000]);
        let before_ms = self.now.mono_ms + self.store.offset_ms;
        self.now.wall_ms += down_ms;
        self.now.mono_ms = 1 + self.rng.below(3_000) as u64;
        let recovered = self.store.restart(before_ms + down_ms, self.now.mono_ms);
        self.ledger.crashed(&self.clients, &self.store.disk);
        if !self.talkers.is_empty() {
            self.book.crashed(&self.store.disk, &self.store.committed);
        }

        let (workers, seed) = (1 + self.rng.below(4) as u16, self.rng.below(1_000_000) as u64);
        let (shared, workers) = start(&self.plan, seed, workers, self.now);
        let mut engines: Vec<_> = workers.into_iter().map(|worker| worker.engine).collect();
        let effects = recover(&mut engines, recovered, self.now);
        self.shared = shared;
        self.workers = engines
            .into_iter()
            .map(|engine| Worker { engine, conns: Vec::new(), talks: Vec::new() })
            .collect();
        self.check_subscriptions();
        for (worker, fx) in effects.into_iter().enumerate() {
            assert!(fx.dirty.is_empty());
            self.apply(worker, fx);
        }
    }

    /// The broker's end of a connection is gone; the client may still read what was sent to it before.
    fn kill(&mut self, mut conn: Conn) {
        if let Some(will) = conn.will {
            self.ledger.connection_ended(will, conn.said_goodbye);
        }
        if !conn.client_open {
            return;
        }
        let client = &mut self.clients[conn.client];
        let heard = self.rng.below(conn.down.len() + 1);
        for packet in conn.down.drain(..heard) {
            if let Down::Closed = packet {
                break;
            }
            let ledger = &mut self.ledger;
            let mut fates = |msg, fate| ledger.fate(msg, fate);
            let taken = client.take(packet.clone(), false, &mut fates);
            taken.unwrap_or_else(|wrong| panic!("{}: {wrong} at {packet:?}", client.id));
        }
        client.lost();
    }

    /// Who was subscribed still is, on the disk and in the tree.
    fn check_subscriptions(&self) {
        let disk = &self.store.disk;
        for client in self.clients.iter().filter(|client| client.keeper && client.subscribed) {
            let session = disk.session_of(&client.id);
            let session = session.unwrap_or_else(|| panic!("the session of {} is gone", client.id));
            let rows: BTreeSet<_> = disk.subscriptions_of(session).map(row).collect();
            assert_eq!(rows, asked(client), "subscriptions of {}", client.id);
        }
        for topic in PROBES {
            self.check_topic(&TopicName::from_validated(topic));
        }
        let sessions: u64 = self.workers.iter().map(|worker| worker.engine.stats().sessions).sum();
        assert_eq!(sessions as usize, disk.sessions().count());
    }

    fn check_topic(&self, topic: &TopicName<'_>) {
        let disk = &self.store.disk;
        let (mut plain, mut shared) = (BTreeMap::new(), BTreeSet::new());
        for (session, _) in disk.sessions() {
            for subscription in disk.subscriptions_of(session) {
                let parsed = Subscribed::parse(&subscription.filter, &TopicLimits::WIDEST).unwrap();
                if !parsed.filter().matches(topic) {
                    continue;
                }
                match parsed {
                    Subscribed::Plain(_) => {
                        let (qos, ids): &mut (Qos, Vec<u32>) = plain.entry(session).or_default();
                        *qos = (*qos).max(subscription.qos);
                        ids.extend(subscription.id.map(NonZeroU32::get));
                    }
                    Subscribed::Queue(_) => {}
                    Subscribed::Shared { group, filter } => {
                        shared.insert((group.to_string(), filter.as_str().to_owned()));
                    }
                }
            }
        }
        let found = self.shared.tree.matches(topic);
        let targets: BTreeMap<_, _> = found
            .targets()
            .iter()
            .map(|target| {
                assert_eq!(target.durable, target.qos > Qos::AtMostOnce, "{target:?}");
                let ids = found.ids(target).into_iter().flat_map(|ids| ids.iter()).map(|id| id.get());
                (target.session.incarnation, (target.qos, ids.collect()))
            })
            .collect();
        assert_eq!(targets, plain, "who gets {}", topic.as_str());
        let groups: BTreeSet<_> = found
            .groups()
            .iter()
            .map(|group| {
                let mut known = disk
                    .groups()
                    .filter(|(_, name, filter)| **name == *group.key.group && **filter == *group.key.filter);
                if let Some((number, ..)) = known.next() {
                    assert_eq!(group.number.map(|number| number.0), Some(number), "{:?}", group.key);
                }
                (group.key.group.to_string(), group.key.filter.to_string())
            })
            .collect();
        assert_eq!(groups, shared, "which groups get {}", topic.as_str());
    }
}

/// A subscription as the disk has it.
pub(crate) fn row(subscription: &RecoveredSubscription) -> (String, Qos, bool, Option<NonZeroU32>) {
    assert!(!subscription.retain_as_published);
    (subscription.filter.to_string(), subscription.qos, subscription.no_local, subscription.id)
}

/// The client's subscriptions as the disk ought to have them.
pub(crate) fn asked(client: &Client) -> BTreeSet<(String, Qos, bool, Option<NonZeroU32>)> {
    let id = client.v5.then_some(SUBSCRIPTION_ID);
    let row = |sub: &Sub| (sub.written(), sub.qos, sub.no_local, id);
    client.subs.iter().map(row).collect()
}
