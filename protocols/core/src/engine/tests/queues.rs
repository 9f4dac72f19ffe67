//! Queues and durable subscriptions, from the message that makes one to its end, on one worker and on several.

mod ceilings;
mod durable;
mod letters;
mod stored;

use std::collections::BTreeSet;

use super::consumers::{consume, message, talker};
use super::recovery::{Broker, limits};
use super::*;
use crate::consumer::{Consume, Receipt, Request, Settle, Verdict};
use crate::group::QueueOptions;
use crate::message::{Field, field};
use crate::policy::{Overflow, QueueDefaults};
use crate::selector::Selector;
use crate::store::Recovered;
use Qos::{AtLeastOnce, AtMostOnce};
use Verdict::{Accept, Reject, Requeue};

pub(super) const Q: &str = "$queue/q";

pub(super) fn broker(workers: u16, limits: Limits) -> Broker {
    Broker::restart(workers, limits, Recovered::default())
}

/// Limits with a queue's.
pub(super) fn with(queues: QueueDefaults) -> Limits {
    Limits { queues, ..limits() }
}

/// User properties as the wire has them.
fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in pairs {
        fields.push(field::USER_PROPERTY);
        for text in [name, value] {
            fields.extend_from_slice(&(text.len() as u16).to_be_bytes());
            fields.extend_from_slice(text.as_bytes());
        }
    }
    fields
}

fn property(message: &Message, name: &str) -> Vec<String> {
    let of = |field| match field {
        Field::UserProperty(known, value) if known == name => Some(value.to_owned()),
        _ => None,
    };
    message.fields().iter().filter_map(of).collect()
}

impl Broker {
    pub(super) fn talk(&mut self, worker: usize, number: u32) {
        let name = format!("t{number}");
        self.connect_at(worker, number, talker(&name));
    }

    pub(super) fn ask(&mut self, number: u32, request: Request<'_>) -> Vec<Seen> {
        let receipt = NonZeroU32::new(1).map(Receipt);
        self.on(number, Input::Request(conn(number), request, receipt))
    }

    /// A message of STOMP; the answer.
    pub(super) fn send(&mut self, number: u32, topic: &str, body: &str) -> Vec<Seen> {
        self.send_with(number, topic, body, &[])
    }

    fn send_with(&mut self, number: u32, topic: &str, body: &str, pairs: &[(&str, &str)]) -> Vec<Seen> {
        let encoded = properties(pairs);
        let mut send = message(topic, body, AtLeastOnce);
        send.publish.fields = Fields::from_validated([&encoded, &[], &[]]);
        self.ask(number, Request::Send(send))
    }

    pub(super) fn settle(&mut self, number: u32, pids: &[u16], verdict: Verdict) -> Vec<Seen> {
        let pids: Vec<_> = pids.iter().map(|&pid| id(pid)).collect();
        let settle = Settle { consumer: ConsumerId(1), packet_ids: &pids, verdict };
        self.on(number, Input::Request(conn(number), Request::Settle(settle), None))
    }

    pub(super) fn consumer(&mut self, worker: usize, number: u32, filter: &str) -> Vec<Seen> {
        self.talk(worker, number);
        self.ask(number, Request::Consume(consume(1, filter)))
    }

    pub(super) fn consumer_with(&mut self, number: u32, filter: &str, options: &QueueOptions) -> Vec<Seen> {
        self.talk(0, number);
        self.ask(number, Request::Consume(Consume { options, ..consume(1, filter) }))
    }

    pub(super) fn subscribe(&mut self, number: u32, text: &str) -> Vec<Seen> {
        let filters = [filter(text, Qos::ExactlyOnce)];
        let (conn, packet_id, id, selector) = (conn(number), id(9), None, None);
        self.on(number, Input::Subscribe { conn, packet_id, id, selector, filters: &filters })
    }

    /// What the store was told since the last time, but for what it knew of queues.
    fn told_anew(&mut self) -> Vec<String> {
        let mut known = BTreeSet::new();
        let told = self.told().into_iter();
        told.filter(|op| !op.starts_with("group ") || known.insert(op.clone())).collect()
    }

    pub(super) fn close(&mut self, number: u32) {
        self.on(number, Input::Closed(conn(number)));
    }

    /// A queue's number, or that of the durable subscription that the tests make.
    pub(super) fn number_of(&self, filter: &str) -> u64 {
        let group = if filter == "t/+" { DURABLE } else { "" };
        let key = GroupKey { group: group.into(), filter: filter.into() };
        self.engines[0].shared().kept_groups.get(&key).unwrap().number.0
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.engines.iter().map(|engine| engine.stats().dropped(reason)).sum()
    }

    pub(super) fn sum(&self, of: impl Fn(&Stats) -> u64) -> u64 {
        self.engines.iter().map(|engine| of(&engine.stats())).sum()
    }

    /// The messages that the store was told of since the last time.
    fn published(&mut self) -> Vec<Arc<Message>> {
        let mut found = Vec::new();
        for (_, op) in std::mem::take(&mut self.ops) {
            let ops = match op {
                StoreOp::Transaction(ops) => ops.into_vec(),
                op => vec![op],
            };
            for op in ops {
                if let StoreOp::Publish { message, .. } = op {
                    found.push(message);
                }
            }
        }
        found
    }
}

/// What STOMP consumers were sent: bodies, packet ids, deliveries before.
pub(super) fn consumed(seen: &[Seen]) -> Vec<(&str, u16, u32)> {
    let of = |seen| match seen {
        &Seen::Consumed(_, ref body, Some(pid), deliveries) => Some((&**body, pid, deliveries)),
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}

pub(super) fn names(seen: &[Seen]) -> Vec<&str> {
    consumed(seen).into_iter().map(|(body, ..)| body).collect()
}

pub(super) fn closed(seen: &[Seen]) -> Option<Kind> {
    seen.iter().find_map(|seen| if let Seen::Closed(kind) = seen { Some(*kind) } else { None })
}

pub(super) const DURABLE: &str = "stomp/-/c/s";

pub(super) fn durable(broker: &mut Broker, worker: usize, number: u32) -> Vec<Seen> {
    broker.talk(worker, number);
    broker.ask(number, Request::Consume(Consume { durable: Some(DURABLE), ..consume(1, "t/+") }))
}

/// A queue that takes two messages.
pub(super) fn small() -> Limits {
    with(QueueDefaults { max_messages: 2, ..QueueDefaults::default() })
}

#[test]
fn what_is_sent_to_a_queue_waits_for_a_consumer_anywhere() {
    for workers in 1..=4_u16 {
        for (from, to) in [(0, 0), (0, usize::from(workers) - 1), (usize::from(workers) - 1, 0)] {
            let mut broker = broker(workers, limits());
            broker.connect_at(from, 1, client("p"));
            let answer = broker.on(1, Input::Publish(conn(1), publish(Q, "1", AtLeastOnce)));
            assert_eq!(answer, [acked(AckKind::PubAck, 1, Reason::Success)]);
            let told = broker.told_anew();
            let number = broker.number_of(Q);
            assert_eq!(told, [format!("group {number} /$queue/q"), format!("publish 1 {number}@1")]);
            broker.talk(from, 2);
            broker.send(2, Q, "2");
            assert_eq!(broker.sum(|stats| stats.queued), 2);
            assert_eq!(names(&broker.consumer(to, 3, Q)), ["1", "2"]);
            broker.told();
            broker.settle(3, &[1, 2], Accept);
            assert_eq!(broker.told(), [format!("{number} done 1"), format!("{number} done 2")]);
            assert_eq!(broker.sum(|stats| stats.queued + stats.loans + stats.in_flight), 0);
            assert_eq!(broker.engines[0].stats().queues, 1);
        }
    }
}

#[test]
fn consumers_of_a_queue_share_it() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        let last = usize::from(workers) - 1;
        broker.consumer(0, 1, Q);
        broker.consumer(last, 2, Q);
        broker.connect_at(last, 3, client("m"));
        let granted = Reply::Subscribed { packet_id: id(9), codes: [Ok(AtLeastOnce)].into(), why: None };
        assert_eq!(broker.subscribe(3, Q), [Seen::Reply(granted)]);
        broker.talk(0, 4);
        for number in 0..9 {
            broker.send(4, Q, &number.to_string());
        }
        let (one, two, three) = (broker.take(1), broker.take(2), broker.take(3));
        let mut all = [names(&one), names(&two)].concat();
        let of_mqtt = bodies(three);
        all.extend(of_mqtt.iter().map(String::as_str));
        all.sort_unstable();
        assert_eq!(all.concat(), "012345678");
        assert!(names(&one).len() == 3 && names(&two).len() == 3, "in turn");
        // Whoever goes gives back what it had, and that is counted.
        broker.close(3);
        let back = [broker.take(1), broker.take(2)].concat();
        let mut again = consumed(&back);
        again.sort_unstable();
        assert_eq!(again.iter().map(|(body, ..)| *body).collect::<Vec<_>>(), of_mqtt);
        assert!(again.iter().all(|(_, _, deliveries)| *deliveries == 1));
    }
}

#[test]
fn a_durable_subscription_keeps_what_comes_while_nobody_is_there() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        let last = usize::from(workers) - 1;
        durable(&mut broker, last, 1);
        broker.connect_at(0, 2, client("p"));
        broker.on(2, Input::Publish(conn(2), publish("t/1", "there", AtLeastOnce)));
        assert_eq!(names(&broker.take(1)), ["there"]);
        broker.settle(1, &[1], Accept);
        broker.close(1);
        broker.told();
        broker.on(2, Input::Publish(conn(2), publish("t/2", "away", AtLeastOnce)));
        // Not stored, but kept as long as the process lives.
        broker.on(2, Input::Publish(conn(2), publish("t/2", "careless", AtMostOnce)));
        let number = broker.number_of("t/+");
        assert_eq!(broker.told(), [format!("publish away {number}@1")]);
        assert_eq!(broker.engines[0].stats().queues, 1);
        let seen = durable(&mut broker, 0, 4);
        let [("away", pid, 0), ("careless", _, 0)] = consumed(&seen)[..] else { panic!("{seen:?}") };
        broker.settle(4, &[pid], Reject);
        assert_eq!(broker.dropped(DropReason::DeadLetterLost), 1);
        let forget = Request::Forget { filter: "t/+", durable: DURABLE };
        broker.talk(last, 5);
        broker.close(4);
        broker.told();
        broker.ask(5, forget.clone());
        assert!(broker.told().iter().any(|op| op.starts_with(&format!("group ended {number}"))));
        assert_eq!((broker.engines[0].stats().queues, broker.engines[0].shared().tree.len()), (0, 0));
        broker.ask(5, forget);
        assert_eq!(broker.dropped(DropReason::QueueEnded), 1);
    }
}

#[test]
fn a_queue_that_nobody_consumes_from_ends_if_that_was_said() {
    let mut broker = broker(2, limits());
    let options = QueueOptions { idle_expiry_ms: Some(5_000), ..QueueOptions::default() };
    broker.consumer_with(1, Q, &options);
    broker.pass(20_000);
    assert_eq!(broker.engines[0].stats().queues, 1, "it has a consumer");
    broker.close(1);
    broker.talk(0, 2);
    broker.send(2, Q, "x");
    broker.pass(4_800);
    broker.consumer(1, 3, Q);
    broker.pass(20_000);
    broker.close(3);
    assert_eq!(broker.engines[0].stats().queues, 1);
    broker.pass(5_200);
    assert_eq!((broker.engines[0].stats().queues, broker.dropped(DropReason::QueueEnded)), (0, 1));
}

#[test]
fn there_are_no_more_queues_than_there_may_be() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, with(QueueDefaults { max_queues: 2, ..QueueDefaults::default() }));
        let last = usize::from(workers) - 1;
        broker.connect_at(last, 1, client("p"));
        let publish = |broker: &mut Broker, topic| {
            broker.on(1, Input::Publish(conn(1), publish(topic, "x", AtLeastOnce)))
        };
        for topic in ["$queue/1", "$queue/2", "$queue/1"] {
            assert_eq!(publish(&mut broker, topic), [acked(AckKind::PubAck, 1, Reason::Success)]);
        }
        assert_eq!(publish(&mut broker, "$queue/3"), [acked(AckKind::PubAck, 1, Reason::QuotaExceeded)]);
        assert_eq!(closed(&broker.consumer(0, 2, "$queue/4")), Some(Kind::QuotaExceeded));
        assert_eq!(closed(&durable(&mut broker, last, 3)), Some(Kind::QuotaExceeded));
        // A dead letter that has nowhere to go.
        broker.consumer(0, 4, "$queue/1");
        broker.settle(4, &[1], Reject);
        assert_eq!(broker.dropped(DropReason::DeadLetterLost), 1);
        assert_eq!(broker.engines[0].stats().queues, 2);
    }
}

#[test]
fn nobody_publishes_to_a_queue_without_a_name() {
    let mut broker = broker(1, limits());
    broker.connect_at(0, 1, client("p"));
    for topic in ["$queue", "$queue/"] {
        let seen = broker.on(1, Input::Publish(conn(1), publish(topic, "x", AtLeastOnce)));
        assert_eq!(seen, [acked(AckKind::PubAck, 1, Reason::NotAuthorized)]);
    }
    assert_eq!(broker.engines[0].stats().queues, 0);
}

#[test]
fn a_duplicate_is_acknowledged_and_gone() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        broker.talk(usize::from(workers) - 1, 1);
        let twice = [("x-dedup-id", "17")];
        broker.send_with(1, Q, "x", &twice);
        broker.told();
        assert_eq!(broker.send_with(1, Q, "x", &twice).len(), 1, "its sender is told of success");
        let number = broker.number_of(Q);
        assert_eq!(broker.told(), [format!("publish x {number}@1"), format!("{number} done 2")]);
        assert_eq!((broker.dropped(DropReason::Duplicate), broker.sum(|stats| stats.queued)), (1, 1));
    }
}

#[test]
fn whoever_browses_sees_what_waits_and_takes_nothing() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        broker.talk(0, 1);
        broker.send_with(1, Q, "low", &[("priority", "0")]);
        broker.send_with(1, Q, "later", &[("AMQ_SCHEDULED_DELAY", "60000")]);
        broker.send_with(1, Q, "high", &[("priority", "9")]);
        broker.talk(usize::from(workers) - 1, 2);
        let selector = Some(Arc::new(Selector::parse("priority < 10").unwrap()));
        let browse = Consume { browses: true, selector, ..consume(1, Q) };
        broker.told();
        let seen = broker.ask(2, Request::Consume(browse));
        let shown: Vec<_> = seen
            .iter()
            .filter_map(|seen| if let Seen::Consumed(_, body, None, _) = seen { Some(&**body) } else { None })
            .collect();
        assert_eq!((shown, seen.last()), (vec!["high", "low"], Some(&Seen::EndOfBrowse(1))));
        assert_eq!((broker.told(), broker.sum(|stats| stats.queued)), (vec![], 3));
    }
}

#[test]
fn selectors_of_consumers_choose_and_the_rest_waits() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        let last = usize::from(workers) - 1;
        for (worker, number, selector) in [(0, 1, "kind = 'a'"), (last, 2, "kind = 'b'")] {
            broker.talk(worker, number);
            let selector = Some(Arc::new(Selector::parse(selector).unwrap()));
            broker.ask(number, Request::Consume(Consume { selector, ..consume(1, Q) }));
        }
        broker.talk(0, 3);
        for (body, kind) in [("c", "c"), ("b", "b"), ("a", "a")] {
            broker.send_with(3, Q, body, &[("kind", kind)]);
        }
        assert_eq!((names(&broker.take(1)), names(&broker.take(2))), (vec!["a"], vec!["b"]));
        assert_eq!(broker.sum(|stats| stats.queued), 1);
        broker.consumer(last, 4, Q);
        let before = broker.take(4);
        let seen = broker.ask(3, Request::Nothing);
        assert_eq!((before.len(), seen.len(), broker.sum(|stats| stats.queued)), (0, 1, 0));
    }
}

#[test]
fn a_share_may_be_kept_without_members() {
    let mut broker = broker(2, limits());
    let options = QueueOptions { durable: Some(true), ..QueueOptions::default() };
    broker.consumer_with(1, "$share/g/t", &options);
    broker.close(1);
    broker.talk(1, 2);
    broker.told();
    broker.send(2, "t", "x");
    assert_eq!(broker.sum(|stats| stats.queued), 1);
    assert!(broker.told().iter().any(|op| op.starts_with("publish x")));
    assert_eq!(names(&broker.consumer(1, 3, "$share/g/t")), ["x"]);
}

#[test]
fn timers_of_groups_do_not_pile_up() {
    let mut broker = broker(1, limits());
    broker.talk(0, 1);
    // Each is due before all the others.
    for number in 0..2_000 {
        let delay = (3_600_000 - number * 1_000).to_string();
        broker.send_with(1, Q, "x", &[("AMQ_SCHEDULED_DELAY", &delay)]);
    }
    let timers = broker.engines[0].wheel.len();
    assert!(timers < 400, "{timers} timers for one queue");
    broker.consumer(0, 2, Q);
    broker.pass(1_601_200);
    assert_eq!(names(&broker.take(2)), ["x"], "and the one that counts is among them");
}
