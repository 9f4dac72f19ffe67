//! Queues and durable subscriptions, from the message that makes one to its end, on one worker and on several.

use super::consumers::{consume, message, talker};
use super::recovery::{Broker, limits, recovered};
use super::*;
use crate::consumer::{Consume, Receipt, Request, Settle, Verdict};
use crate::group::QueueOptions;
use crate::message::{Field, field};
use crate::policy::{Overflow, QueueDefaults};
use crate::selector::Selector;
use crate::store::{Recovered, RecoveredGroup};
use Qos::{AtLeastOnce, AtMostOnce};
use Verdict::{Accept, Reject, Requeue};

const Q: &str = "$queue/q";

fn broker(workers: u16, limits: Limits) -> Broker {
    Broker::restart(workers, limits, Recovered::default())
}

/// Limits with a queue's.
fn with(queues: QueueDefaults) -> Limits {
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
    fn talk(&mut self, worker: usize, number: u32) {
        let name = format!("t{number}");
        self.connect_at(worker, number, talker(&name));
    }

    fn ask(&mut self, number: u32, request: Request<'_>) -> Vec<Seen> {
        let receipt = NonZeroU32::new(1).map(Receipt);
        self.on(number, Input::Request(conn(number), request, receipt))
    }

    /// A message of STOMP; the answer.
    fn send(&mut self, number: u32, topic: &str, body: &str) -> Vec<Seen> {
        self.send_with(number, topic, body, &[])
    }

    fn send_with(&mut self, number: u32, topic: &str, body: &str, pairs: &[(&str, &str)]) -> Vec<Seen> {
        let encoded = properties(pairs);
        let mut send = message(topic, body, AtLeastOnce);
        send.publish.fields = Fields::from_validated([&encoded, &[], &[]]);
        self.ask(number, Request::Send(send))
    }

    fn settle(&mut self, number: u32, pids: &[u16], verdict: Verdict) -> Vec<Seen> {
        let pids: Vec<_> = pids.iter().map(|&pid| id(pid)).collect();
        let settle = Settle { consumer: ConsumerId(1), packet_ids: &pids, verdict };
        self.on(number, Input::Request(conn(number), Request::Settle(settle), None))
    }

    fn consumer(&mut self, worker: usize, number: u32, filter: &str) -> Vec<Seen> {
        self.talk(worker, number);
        self.ask(number, Request::Consume(consume(1, filter)))
    }

    fn consumer_with(&mut self, number: u32, filter: &str, options: &QueueOptions) -> Vec<Seen> {
        self.talk(0, number);
        self.ask(number, Request::Consume(Consume { options, ..consume(1, filter) }))
    }

    fn close(&mut self, number: u32) {
        self.on(number, Input::Closed(conn(number)));
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.engines.iter().map(|engine| engine.stats().dropped(reason)).sum()
    }

    fn sum(&self, of: impl Fn(&Stats) -> u64) -> u64 {
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
fn consumed(seen: &[Seen]) -> Vec<(&str, u16, u32)> {
    let of = |seen| match seen {
        &Seen::Consumed(_, ref body, Some(pid), deliveries) => Some((&**body, pid, deliveries)),
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}

fn names(seen: &[Seen]) -> Vec<&str> {
    consumed(seen).into_iter().map(|(body, ..)| body).collect()
}

fn closed(seen: &[Seen]) -> Option<Kind> {
    seen.iter().find_map(|seen| if let Seen::Closed(kind) = seen { Some(*kind) } else { None })
}

#[test]
fn what_is_sent_to_a_queue_waits_for_a_consumer_anywhere() {
    for workers in 1..=4_u16 {
        for (from, to) in [(0, 0), (0, usize::from(workers) - 1), (usize::from(workers) - 1, 0)] {
            let mut broker = broker(workers, limits());
            broker.connect_at(from, 1, client("p"));
            let answer = broker.on(1, Input::Publish(conn(1), publish(Q, "1", AtLeastOnce)));
            assert_eq!(answer, [acked(AckKind::PubAck, 1, Reason::Success)]);
            let told = broker.told();
            assert_eq!((&*told[0], &*told[1]), ("group 1 /$queue/q", "publish 1 1@1"), "{told:?}");
            broker.talk(from, 2);
            broker.send(2, Q, "2");
            assert_eq!(broker.sum(|stats| stats.queued), 2);
            assert_eq!(names(&broker.consumer(to, 3, Q)), ["1", "2"]);
            broker.told();
            broker.settle(3, &[1, 2], Accept);
            assert_eq!(broker.told(), ["1 done 1", "1 done 2"]);
            assert_eq!(broker.sum(|stats| stats.queued + stats.loans + stats.in_flight), 0);
            assert_eq!(broker.engines[0].stats().queues, 1);
        }
    }
}

#[test]
fn each_worker_tells_the_store_of_a_queue_before_it_tells_it_of_a_message_there() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        for worker in 0..usize::from(workers) {
            broker.connect_at(worker, worker as u32, client(&format!("p{worker}")));
        }
        for worker in (0..usize::from(workers)).rev() {
            for topic in [Q, "$queue/r", Q] {
                let publish = publish(topic, "x", AtLeastOnce);
                broker.on(worker as u32, Input::Publish(conn(worker as u32), publish));
            }
        }
        for worker in 0..usize::from(workers) {
            let said = |op: &StoreOp, number: u64| match op {
                StoreOp::GroupKept { session, .. } => (session.0 == number).then_some(true),
                StoreOp::Publish { recipients, .. } => (recipients[0].session.0 == number).then_some(false),
                _ => None,
            };
            for number in [1, 2] {
                let of = broker.ops.iter().filter(|(by, _)| *by == worker);
                let order: Vec<_> = of.filter_map(|(_, op)| said(op, number)).collect();
                let kept = order.iter().filter(|kept| **kept).count();
                assert!(order[0] && order.len() > 1 && kept == 1, "worker {worker} of {workers}: {order:?}");
            }
        }
    }
}

#[test]
fn what_one_worker_says_last_of_a_queue_is_what_holds() {
    let mut broker = broker(2, limits());
    broker.connect_at(0, 1, client("p0"));
    broker.connect_at(1, 2, client("p1"));
    broker.on(1, Input::Publish(conn(1), publish(Q, "x", AtLeastOnce)));
    broker.on(2, Input::Publish(conn(2), publish(Q, "x", AtLeastOnce)));
    let options = QueueOptions { max_messages: Some(7), auto_delete: Some(true), ..QueueOptions::default() };
    broker.consumer_with(3, Q, &options);
    broker.on(1, Input::Ping(conn(1)));
    broker.on(2, Input::Ping(conn(2)));
    for worker in 0..2 {
        let last = broker.ops.iter().rev().find_map(|(by, op)| match op {
            StoreOp::GroupKept { options, .. } if *by == worker => Some(options.clone()),
            _ => None,
        });
        assert_eq!(last.as_deref(), Some(&options), "worker {worker}");
    }
    // Its last consumer goes, and so does the queue: nobody's last word keeps it.
    broker.told();
    broker.close(3);
    broker.on(1, Input::Ping(conn(1)));
    broker.on(2, Input::Ping(conn(2)));
    let ended = |(by, op): &(usize, StoreOp)| matches!(op, StoreOp::GroupEnded { .. }).then_some(*by);
    let mut ended: Vec<_> = broker.ops.iter().filter_map(ended).collect();
    ended.sort_unstable();
    assert_eq!(ended, [0, 1]);
    assert_eq!(broker.engines[0].stats().queues, 0);
    assert_eq!(broker.dropped(DropReason::QueueEnded), 2);
    assert!(broker.engines[0].shared().tree.is_empty());
    // And a new one of the same name is another.
    broker.told();
    broker.on(1, Input::Publish(conn(1), publish(Q, "x", AtLeastOnce)));
    assert!(!broker.told().contains(&"group 1 /$queue/q".to_owned()));
    assert_eq!(broker.sum(|stats| stats.queued), 1);
}

#[test]
fn consumers_of_a_queue_share_it() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        let last = usize::from(workers) - 1;
        broker.consumer(0, 1, Q);
        broker.consumer(last, 2, Q);
        broker.connect_at(last, 3, client("m"));
        let filters = [filter(Q, Qos::ExactlyOnce)];
        let (packet_id, selector) = (id(9), None);
        let subscribe = Input::Subscribe { conn: conn(3), packet_id, id: None, selector, filters: &filters };
        let codes = [Ok(AtLeastOnce)].into();
        assert_eq!(broker.on(3, subscribe), [Seen::Reply(Reply::Subscribed { packet_id, codes, why: None })]);
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
fn a_message_that_is_given_back_is_counted_and_dies_in_the_end() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, with(QueueDefaults { max_deliveries: 3, ..QueueDefaults::default() }));
        let last = usize::from(workers) - 1;
        broker.consumer(last, 1, Q);
        broker.consumer(0, 2, "$queue/DLQ.q");
        broker.talk(0, 3);
        broker.send_with(3, Q, "x", &[("a", "b"), ("x-delivery-count", "7")]);
        broker.told();
        let mut pid = 1;
        for deliveries in 0..3 {
            let seen = broker.take(1);
            assert_eq!(consumed(&seen), [("x", pid, deliveries)]);
            let after = broker.settle(1, &[pid], Requeue);
            broker.seen.extend(after.into_iter().map(|seen| (1, seen)));
            let told = broker.told.clone();
            if deliveries < 2 {
                assert_eq!(told, [format!("released 1 1 x{}", deliveries + 1)]);
                broker.told();
            } else {
                assert_eq!(told, ["at once [publish x 4@1, 1 done 1]"], "neither lost nor doubled");
            }
            pid += 1;
        }
        let letters = broker.published();
        broker.told();
        assert_eq!(letters.len(), 1);
        let letter = &letters[0];
        assert_eq!(property(letter, "a"), ["b"]);
        assert_eq!(property(letter, "original-destination"), [Q]);
        assert_eq!(property(letter, "x-first-death-reason"), ["delivery_limit"]);
        assert_eq!(property(letter, "x-delivery-count"), ["3"]);
        let seen = broker.take(2);
        assert_eq!(consumed(&seen), [("x", 1, 0)]);
        assert_eq!(broker.sum(|stats| stats.dead_letters), 1);
        // There it may come back as often as it likes, and is gone when it is rejected.
        for pid in 1..6 {
            let seen = broker.settle(2, &[pid], Requeue);
            assert_eq!(consumed(&seen), [("x", pid + 1, u32::from(pid))]);
        }
        broker.told();
        broker.settle(2, &[6], Reject);
        assert_eq!(broker.told(), ["4 done 2"]);
        assert_eq!(broker.dropped(DropReason::DeadLetterLost), 1);
        assert_eq!(broker.sum(|stats| stats.queued + stats.loans), 0);
    }
}

#[test]
fn what_was_never_sent_is_not_counted() {
    let mut broker = broker(1, limits());
    broker.talk(0, 1);
    broker.send(1, Q, "x");
    // Its receipt waits behind another answer, so nothing is sent yet.
    broker.consumer(0, 2, Q);
    let window = NonZeroU16::new(1).unwrap();
    broker.talk(0, 3);
    broker.ask(3, Request::Consume(Consume { window, ..consume(1, Q) }));
    broker.told();
    broker.close(2);
    assert!(broker.told().contains(&"released 1 1 x1".to_owned()));
    assert_eq!(consumed(&broker.take(3)), [("x", 1, 1)]);
}

#[test]
fn dead_letters_go_where_the_queue_says() {
    let option = |topic: &str| QueueOptions { dead_letter: Some(topic.into()), ..QueueOptions::default() };
    let reject = |options: &QueueOptions| {
        let mut broker = broker(2, limits());
        broker.connect_at(1, 9, client("watch"));
        let filters = [filter("dead/#", AtLeastOnce)];
        let watch = Input::Subscribe { conn: conn(9), packet_id: id(9), id: None, selector: None, filters: &filters };
        broker.on(9, watch);
        broker.consumer_with(1, Q, options);
        broker.talk(0, 2);
        broker.send(2, Q, "x");
        broker.take(1);
        broker.settle(1, &[1], Reject);
        broker
    };
    let mut to_topic = reject(&option("dead/letters"));
    assert_eq!(bodies(to_topic.take(9)), ["x"]);
    assert_eq!(to_topic.sum(|stats| stats.queued + stats.loans), 0);
    for nowhere in ["", "$SYS/dead", "dead/#", "$queue/"] {
        let broker = reject(&option(nowhere));
        let gone = broker.dropped(DropReason::DeadLetterLost);
        assert_eq!((gone, broker.sum(|stats| stats.queued)), (1, 0), "{nowhere:?}");
    }
    let to_queue = reject(&option("$queue/morgue"));
    assert_eq!((to_queue.sum(|stats| stats.queued), to_queue.engines[0].stats().queues), (1, 2));
}

#[test]
fn queues_that_send_each_other_their_dead_letters_come_to_an_end() {
    let mut broker = broker(2, limits());
    for (number, queue, other) in [(1, "$queue/a", "$queue/b"), (2, "$queue/b", "$queue/a")] {
        let options = QueueOptions {
            dead_letter: Some(other.into()),
            message_ttl_ms: Some(0),
            max_messages: Some(1),
            overflow: Some(Overflow::DropOldest),
            ..QueueOptions::default()
        };
        broker.consumer_with(number, queue, &options);
        broker.close(number);
    }
    broker.talk(1, 3);
    for number in 0..3 {
        broker.send(3, "$queue/a", &number.to_string());
    }
    for _ in 0..40 {
        broker.pass(1_000);
    }
    assert_eq!(broker.sum(|stats| stats.queued), 0);
    let gone = broker.dropped(DropReason::Expired) + broker.dropped(DropReason::QueueFull);
    assert_eq!(gone, 3);
    assert!(broker.sum(|stats| stats.dead_letters) <= 3 * 8);
}

#[test]
fn a_rejected_retry_may_go_round_for_ever() {
    // The usual way to try again later: reject into a queue whose messages expire back into the first.
    let mut broker = broker(1, limits());
    let there = QueueOptions { dead_letter: Some("$queue/later".into()), ..QueueOptions::default() };
    let back = QueueOptions {
        dead_letter: Some(Q.into()),
        message_ttl_ms: Some(2_000),
        ..QueueOptions::default()
    };
    broker.consumer_with(2, "$queue/later", &back);
    broker.close(2);
    broker.consumer_with(1, Q, &there);
    broker.talk(0, 3);
    broker.send_with(3, Q, "x", &[("x-dedup-id", "1"), ("AMQ_SCHEDULED_DELAY", "1000")]);
    broker.pass(1_200);
    for pid in 1..30 {
        assert_eq!(names(&broker.take(1)), ["x"], "round {pid}");
        broker.settle(1, &[pid], Reject);
        broker.pass(3_200);
    }
}

const DURABLE: &str = "stomp/-/c/s";

fn durable(broker: &mut Broker, worker: usize, number: u32) -> Vec<Seen> {
    broker.talk(worker, number);
    broker.ask(number, Request::Consume(Consume { durable: Some(DURABLE), ..consume(1, "t/+") }))
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
        assert_eq!(closed(&durable(&mut broker, 0, 3)), Some(Kind::NotAuthorized), "it is one client's alone");
        broker.close(1);
        broker.told();
        broker.on(2, Input::Publish(conn(2), publish("t/2", "away", AtLeastOnce)));
        // Not stored, but kept as long as the process lives.
        broker.on(2, Input::Publish(conn(2), publish("t/2", "careless", AtMostOnce)));
        assert!(broker.told().contains(&"publish away 2@1".to_owned()));
        assert_eq!(broker.engines[0].stats().queues, 1);
        assert_eq!(names(&durable(&mut broker, 0, 4)), ["away", "careless"]);
        broker.settle(4, &[1], Reject);
        assert_eq!(broker.dropped(DropReason::DeadLetterLost), 1);
        let forget = Request::Forget { filter: "t/+", durable: DURABLE };
        broker.talk(last, 5);
        broker.ask(5, forget.clone());
        assert_eq!(broker.engines[0].stats().queues, 1, "somebody consumes from it");
        broker.close(4);
        broker.told();
        broker.ask(5, forget.clone());
        assert!(broker.told().iter().any(|op| op.starts_with("group ended 2")));
        assert_eq!((broker.engines[0].stats().queues, broker.engines[0].shared().tree.len()), (0, 0));
        broker.ask(5, forget);
        assert_eq!(broker.dropped(DropReason::QueueEnded), 1);
    }
}

/// A queue that takes two messages.
fn small() -> Limits {
    with(QueueDefaults { max_messages: 2, ..QueueDefaults::default() })
}

#[test]
fn a_full_queue_refuses_mqtt_and_makes_stomp_wait() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, small());
        let last = usize::from(workers) - 1;
        broker.connect_at(last, 1, client("p"));
        broker.talk(last, 2);
        broker.talk(0, 3);
        let mut publish = |broker: &mut Broker, body| {
            broker.on(1, Input::Publish(conn(1), publish(Q, body, AtLeastOnce)))
        };
        assert_eq!(publish(&mut broker, "1"), [acked(AckKind::PubAck, 1, Reason::Success)]);
        broker.send(2, Q, "2");
        let given = broker.send(3, Q, "3");
        assert_eq!(given.len(), 1, "it is taken all the same");
        assert_eq!(publish(&mut broker, "no"), [acked(AckKind::PubAck, 1, Reason::QuotaExceeded)]);
        broker.on(1, Input::Publish(conn(1), super::publish(Q, "0", AtMostOnce)));
        assert_eq!(broker.dropped(DropReason::QueueFull), 2);
        assert!(broker.paused.contains(&3), "{:?}", broker.paused);
        broker.consumer(0, 4, Q);
        assert!(broker.paused.is_empty());
        assert_eq!(publish(&mut broker, "5"), [acked(AckKind::PubAck, 1, Reason::Success)]);
        broker.pass(10_000);
        assert_eq!(closed(&broker.take(3)), None);
        assert_eq!(names(&broker.take(4)).len(), 1);
    }
}

#[test]
fn who_waits_too_long_for_a_full_queue_is_disconnected() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, small());
        broker.talk(usize::from(workers) - 1, 1);
        for body in ["1", "2", "3"] {
            broker.send(1, Q, body);
        }
        broker.send(1, "$queue/other", "x");
        assert_eq!(broker.paused, [1]);
        broker.pass(4_900);
        assert_eq!(closed(&broker.take(1)), None);
        broker.pass(300);
        assert_eq!(closed(&broker.take(1)), Some(Kind::QuotaExceeded));
        // Nothing is left of it, and whoever comes next waits for himself.
        let throttled = |broker: &Broker| broker.engines.iter().any(|engine| !engine.throttled.is_empty());
        assert!(!throttled(&broker));
        broker.close(1);
        broker.talk(0, 2);
        broker.send(2, Q, "4");
        assert!(throttled(&broker));
        broker.close(2);
        broker.pass(SWEEP_MS);
        assert!(!throttled(&broker));
    }
}

/// More than the interval between two sweeps.
const SWEEP_MS: u64 = 11_000;

#[test]
fn a_queue_that_ends_lets_go_of_those_who_wait_for_it() {
    let mut broker = broker(2, small());
    let options = QueueOptions { auto_delete: Some(true), ..QueueOptions::default() };
    let window = NonZeroU16::new(1).unwrap();
    broker.talk(0, 1);
    broker.ask(1, Request::Consume(Consume { options: &options, window, ..consume(1, Q) }));
    broker.talk(1, 2);
    for body in ["1", "2", "3"] {
        broker.send(2, Q, body);
    }
    assert_eq!(broker.paused, [2]);
    broker.close(1);
    assert!(broker.paused.is_empty());
    assert_eq!(broker.engines[0].stats().queues, 0);
    broker.send(2, Q, "4");
    assert!(broker.paused.is_empty(), "it is another queue");
}

#[test]
fn what_is_not_acknowledged_in_time_goes_to_another() {
    for workers in 1..=4_u16 {
        let options = QueueOptions { ack_deadline_ms: Some(5_000), ..QueueOptions::default() };
        let mut broker = broker(workers, limits());
        broker.consumer_with(1, Q, &options);
        broker.talk(0, 2);
        broker.send(2, Q, "x");
        assert_eq!(names(&broker.take(1)), ["x"]);
        broker.consumer(usize::from(workers) - 1, 3, Q);
        broker.told();
        broker.pass(4_800);
        assert_eq!(names(&broker.take(3)), [""; 0]);
        broker.pass(400);
        assert_eq!(consumed(&broker.take(3)), [("x", 1, 1)]);
        assert_eq!(broker.told(), ["released 1 1 x1"]);
        broker.settle(1, &[1], Accept);
        assert_eq!((broker.told(), broker.sum(|stats| stats.stray_acks)), (vec![], 1), "too late");
        broker.settle(3, &[1], Accept);
        assert_eq!(broker.told(), ["1 done 1"]);
        assert_eq!(broker.sum(|stats| stats.loans), 0);
    }
}

#[test]
fn delays_and_expiries_need_nobody_to_look() {
    let mut broker = broker(2, limits());
    let options = QueueOptions {
        message_ttl_ms: Some(3_000),
        dead_letter: Some("$queue/late".into()),
        ..QueueOptions::default()
    };
    broker.consumer_with(1, "$queue/watched", &options);
    broker.close(1);
    broker.talk(0, 2);
    broker.send(2, "$queue/watched", "dies");
    broker.send_with(2, Q, "later", &[("AMQ_SCHEDULED_DELAY", "2000")]);
    broker.on(2, Input::Request(
        conn(2),
        Request::Send(crate::consumer::Send { expires_in_ms: Some(1_000), ..message(Q, "short", AtLeastOnce) }),
        None,
    ));
    assert_eq!(broker.sum(|stats| stats.queued), 3);
    broker.told();
    broker.pass(1_500);
    assert_eq!((broker.dropped(DropReason::Expired), broker.told()), (1, vec!["2 done 3".to_owned()]));
    broker.consumer(1, 3, Q);
    broker.take(3);
    broker.pass(800);
    assert_eq!(names(&broker.take(3)), ["later"]);
    broker.told();
    broker.pass(1_000);
    let told = broker.told();
    let number = broker.engines[0].stats().queues;
    assert!(told.iter().any(|op| op.starts_with("at once [publish dies")), "{told:?}");
    assert_eq!(number, 3);
    assert_eq!(names(&broker.consumer(1, 4, "$queue/late")), ["dies"], "and does not expire again");
    assert_eq!(broker.dropped(DropReason::Expired), 1);
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
        assert_eq!(broker.told(), ["publish x 1@1", "1 done 2"]);
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
    let options = QueueOptions { idle_expiry_ms: Some(86_400_000), ..QueueOptions::default() };
    for number in 0..2_000_u32 {
        let number = number % 50;
        broker.consumer_with(number, &format!("$queue/{number}"), &options);
        broker.talk(0, 60);
        let body = format!("{number}");
        broker.send_with(60, &format!("$queue/{number}"), &body, &[("AMQ_SCHEDULED_DELAY", "3600000")]);
        broker.close(60);
        broker.close(number);
    }
    let timers = broker.engines[0].wheel.len();
    assert!(timers < 1_500, "{timers} timers for 50 queues");
}

fn kept(number: u64, group: &str, filter: &str, options: QueueOptions, queue: &[(&str, u32)]) -> RecoveredGroup {
    let message = |(record, (body, deliveries)): (u64, &(&str, u32))| {
        let message = Message::restore(&crate::message::Restored {
            topic: TopicName::from_validated("t"),
            fields: &[],
            payload: body.as_bytes(),
            qos: AtLeastOnce,
            retain: false,
            expires_ms: u64::MAX,
            record: number * 10 + record,
        });
        (message, *deliveries)
    };
    RecoveredGroup {
        number: SessionNumber(number),
        group: group.into(),
        filter: filter.into(),
        options,
        queue: (1..).zip(queue).map(message).collect(),
    }
}

#[test]
fn queues_and_durable_subscriptions_are_there_again_after_a_restart() {
    for workers in 1..=4_u16 {
        let said = QueueOptions { max_deliveries: Some(2), ..QueueOptions::default() };
        let auto = QueueOptions { auto_delete: Some(true), ..QueueOptions::default() };
        let durable_share = QueueOptions { durable: Some(true), ..QueueOptions::default() };
        let groups = vec![
            kept(1, "", Q, said, &[("1", 1), ("2", 0)]),
            kept(2, "", "$queue/auto", auto, &[("gone", 0)]),
            kept(3, DURABLE, "t/+", QueueOptions::default(), &[("kept", 0)]),
            kept(4, "g", "s", durable_share, &[("shared", 0)]),
            kept(5, "g", "t", QueueOptions::default(), &[("nobody's", 0)]),
        ];
        let mut broker = Broker::restart(workers, limits(), Recovered { groups, ..recovered(Vec::new()) });
        let mut told = broker.told();
        told.sort();
        assert_eq!(told, ["group ended 2 [21]", "group ended 5 [51]"]);
        assert_eq!(broker.engines[0].stats().queues, 2);
        let last = usize::from(workers) - 1;
        let seen = broker.consumer(last, 1, Q);
        assert_eq!(consumed(&seen), [("1", 1, 1), ("2", 2, 0)]);
        broker.told();
        broker.settle(1, &[1], Requeue);
        let told = broker.told();
        assert!(told.contains(&"at once [publish 1 51@1, 1 done 11]".to_owned()), "its options hold: {told:?}");
        assert_eq!(names(&durable(&mut broker, 0, 2)), ["kept"]);
        assert_eq!(names(&broker.consumer(0, 3, "$share/g/s")), ["shared"]);
        broker.talk(last, 4);
        broker.told();
        broker.send(4, Q, "new");
        assert_eq!(broker.told(), ["publish new 1@1"], "under its old number, of which the store knows");
    }
}

#[test]
fn a_store_that_has_lost_everything_is_told_of_queues_again() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        let options = QueueOptions { max_messages: Some(9), ..QueueOptions::default() };
        broker.consumer_with(1, Q, &options);
        broker.talk(0, 2);
        broker.send(2, Q, "x");
        broker.settle(1, &[1], Requeue);
        broker.send_with(2, Q, "later", &[("AMQ_SCHEDULED_DELAY", "60000")]);
        broker.told();
        for worker in 0..usize::from(workers) {
            broker.give(worker, Input::Store(StoreEvent::Emptied));
            let of = broker.ops.iter().filter(|(by, _)| *by == worker);
            let first = of.clone().next().map(|(_, op)| op);
            let Some(StoreOp::GroupKept { options: again, .. }) = first else { panic!("{first:?}") };
            assert_eq!(**again, options, "every worker, before anything else");
        }
        let told = broker.told();
        let has = |op: &str| told.iter().filter(|told| *told == op).count();
        let (number, record) = (1, 3);
        assert_eq!(has(&format!("publish x {number}@1")), 1, "{told:?}");
        assert_eq!(has(&format!("publish later {number}@1")), 1, "{told:?}");
        assert_eq!(has(&format!("released {number} {record} x1")), 1, "{told:?}");
    }
}
