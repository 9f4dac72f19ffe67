//! Full queues: who is told, who waits and in which order, what is given up, and that nothing piles up.

mod refused;
mod turns;

use super::consumers::{consume, message, talker};
use super::queues::{DURABLE, Q, broker, closed, consumed, names, small, with};
use super::recovery::{Broker, limits};
use super::*;
use crate::consumer::{Commit, Consume, Receipt, Request, Send, Settle, Verdict};
use crate::group::QueueOptions;
use crate::policy::{Overflow, QueueDefaults};
use Qos::{AtLeastOnce, AtMostOnce};
use Verdict::Accept;

fn of_size(max_messages: usize) -> Limits {
    with(QueueDefaults { max_messages, ..QueueDefaults::default() })
}

/// The answer to a message that was taken, and nothing else.
fn given() -> [Seen; 1] {
    [Seen::Reply(Reply::Receipt(Receipt(NonZeroU32::MIN)))]
}

/// What whoever is refused sees.
fn refused() -> [Seen; 2] {
    let receipt = Receipt(NonZeroU32::MIN);
    [Seen::Reply(Reply::Refused(receipt)), Seen::Closed(Kind::QuotaExceeded)]
}

fn queued(broker: &Broker) -> u64 {
    broker.sum(|stats| stats.queued)
}

fn waits_for_room(broker: &Broker) -> bool {
    let waits = |engine: &Engine| !engine.throttled.is_empty() || engine.stats().throttled > 0;
    broker.engines.iter().any(waits)
}

/// A policy with other limits reaches every worker.
fn reload(broker: &mut Broker, epoch: u64, limits: &Limits) {
    for worker in 0..broker.engines.len() {
        let policy = Policy { epoch, limits: limits.clone(), ..Policy::default() };
        broker.give(worker, Input::Policy(Arc::new(policy)));
    }
}

impl Broker {
    /// Gives an input whose end is a refusal; its words.
    fn words_of_refusal(&mut self, worker: usize, input: Input<'_>) -> String {
        let mut fx = Effects::default();
        self.engines[worker].handle(self.now, input, &mut fx);
        let close = |effect: &Effect| match effect {
            Effect::Close(_, refusal) => Some(refusal.detail.to_string()),
            _ => None,
        };
        let words = fx.list.iter().find_map(close).unwrap();
        self.carry_out(worker, fx);
        words
    }
}

#[test]
fn a_full_queue_refuses_mqtt_and_makes_stomp_wait() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, small());
        let last = usize::from(workers) - 1;
        broker.connect_at(last, 1, client("p"));
        broker.talk(last, 2);
        broker.talk(0, 3);
        let publish =
            |broker: &mut Broker, body| broker.on(1, Input::Publish(conn(1), publish(Q, body, AtLeastOnce)));
        assert_eq!(publish(&mut broker, "1"), [acked(AckKind::PubAck, 1, Reason::Success)]);
        assert_eq!(broker.send(2, Q, "2"), given());
        assert_eq!(publish(&mut broker, "no"), [acked(AckKind::PubAck, 1, Reason::QuotaExceeded)]);
        broker.on(1, Input::Publish(conn(1), super::publish(Q, "0", AtMostOnce)));
        assert_eq!(broker.dropped(DropReason::QueueFull), 2);
        assert!(broker.paused.is_empty(), "who has filled it may still acknowledge");
        broker.told();
        assert_eq!(broker.send(3, Q, "3"), [], "it is not taken");
        assert_eq!((queued(&broker), &broker.paused[..]), (2, &[3][..]));
        assert!(!broker.told().iter().any(|op| op.starts_with("publish")));
        let seen = broker.consumer(0, 4, Q);
        assert_eq!((names(&seen), broker.take(3)), (vec!["1", "2", "3"], given().into()));
        assert!(broker.paused.is_empty() && !waits_for_room(&broker));
        assert_eq!(publish(&mut broker, "5"), [acked(AckKind::PubAck, 1, Reason::Success)]);
        assert_eq!(names(&broker.take(4)), ["5"]);
        broker.pass(10_000);
        assert_eq!(closed(&broker.take(3)), None);
        assert_eq!(broker.dropped(DropReason::QueueFull), 2);
    }
}

#[test]
fn no_frame_is_read_behind_one_that_waits() {
    let mut broker = broker(1, small());
    broker.talk(0, 1);
    for body in ["1", "2"] {
        broker.send(1, Q, body);
    }
    let mut fx = Effects::default();
    let send = Request::Send(message(Q, "3", AtLeastOnce));
    broker.engines[0].handle(broker.now, Input::Request(conn(1), send, None), &mut fx);
    assert!(fx.urgent, "{:?}", fx.list);
    assert!(matches!(fx.list[..], [Effect::Pause(_)]), "{:?}", fx.list);
}

#[test]
fn who_waits_too_long_for_a_full_queue_is_refused() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, small());
        broker.talk(usize::from(workers) - 1, 1);
        for body in ["1", "2", "3"] {
            broker.send(1, Q, body);
        }
        assert_eq!(broker.paused, [1]);
        broker.pass(4_900);
        assert_eq!(broker.take(1), []);
        broker.pass(300);
        assert_eq!(broker.take(1), refused());
        assert_eq!((queued(&broker), broker.dropped(DropReason::QueueFull)), (2, 1));
        assert!(!waits_for_room(&broker));
    }
}

#[test]
fn who_is_read_although_something_waits_is_refused() {
    let mut broker = broker(1, small());
    broker.talk(0, 1);
    broker.talk(0, 2);
    for (number, body) in [(1, "1"), (1, "2"), (1, "3"), (2, "4")] {
        broker.send(number, Q, body);
    }
    assert_eq!(broker.send(1, Q, "5"), refused());
    let seen = broker.consumer(0, 3, Q);
    assert_eq!((names(&seen), broker.take(2)), (vec!["1", "2", "4"], given().into()));
    assert!(!waits_for_room(&broker));
}

#[test]
fn who_has_room_in_the_last_moment_is_let_in() {
    let mut broker = broker(2, small());
    let home = broker.engines[0].shared().home_of_group("", Q).index();
    let (away, last) = (1 - home, 5_200);
    broker.talk(home, 1);
    broker.talk(away, 2);
    for body in ["1", "2", "3"] {
        broker.send(2, Q, body);
    }
    // Room has been made, and the word of it is on its way.
    let mut fx = Effects::default();
    let request = Input::Request(conn(1), Request::Consume(consume(1, Q)), None);
    broker.engines[home].handle(broker.now, request, &mut fx);
    broker.now.mono_ms += last;
    broker.give(away, Input::Tick);
    assert_eq!(broker.take(2), given());
    broker.carry_out(home, fx);
    assert_eq!(names(&broker.take(1)), ["1", "2", "3"]);
    broker.pass(last);
    assert!(!waits_for_room(&broker) && broker.paused.is_empty());
}

#[test]
fn the_refusal_names_the_queue_its_limit_and_the_way_out() {
    let mut broker = broker(1, small());
    let options = QueueOptions { max_bytes: Some(7_000), ..QueueOptions::default() };
    broker.consumer_with(9, Q, &options);
    broker.close(9);
    broker.talk(0, 1);
    for body in ["1", "2", "3"] {
        broker.send(1, Q, body);
    }
    broker.now.mono_ms += 5_200;
    let words = broker.words_of_refusal(0, Input::Tick);
    let way_out = ["queues.max_messages", "x-max-length-bytes", "drop-head"];
    for part in [&[Q, "2 messages", "7000 bytes", "5000 ms", "refuse_timeout"][..], &way_out].concat() {
        assert!(words.contains(part), "{part} in {words:?}");
    }
}

/// As our own client does, which shows 200 characters.
#[test]
fn the_refusal_says_it_all_where_little_is_shown() {
    const NAME: &str = "$queue/orders.of.the.shop";
    let queues = QueueDefaults { max_messages: 10_000, ..QueueDefaults::default() };
    let mut broker = broker(1, Limits { refuse_timeout_ms: 60_000, ..with(queues) });
    let (max_messages, max_bytes) = (Some(1_000), Some(1_000_000));
    broker.consumer_with(9, NAME, &QueueOptions { max_messages, max_bytes, ..QueueOptions::default() });
    broker.close(9);
    broker.talk(0, 1);
    while broker.send(1, NAME, "x") == given() {}
    broker.talk(0, 2);
    let sends = [message(NAME, "x", AtLeastOnce)];
    let whole = Request::Commit(Commit { sends: &sends, settles: &[] });
    let commit = broker.words_of_refusal(0, Input::Request(conn(2), whole, None));
    broker.close(2);
    broker.now.mono_ms += 60_200;
    for words in [commit, broker.words_of_refusal(0, Input::Tick)] {
        assert!(words.contains("x-max-length or x-max-length-bytes"), "{words}");
        assert!(words.ends_with("x-overflow:drop-head") && words.chars().count() <= 200, "{words}");
    }
}

#[test]
fn whoever_comes_again_adds_nothing() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, small());
        let last = usize::from(workers) - 1;
        for _ in 0..50 {
            for worker in [0, last] {
                broker.talk(worker, 1);
                broker.send(1, Q, "x");
                broker.close(1);
                assert!(!waits_for_room(&broker), "it goes with its connection");
            }
        }
        assert_eq!(queued(&broker), 2);
        let drops: u64 = DropReason::ALL.into_iter().map(|reason| broker.dropped(reason)).sum();
        assert_eq!(drops, 0, "it was never accepted");
    }
}

#[test]
fn receipts_wait_behind_the_one_that_waits_for_room() {
    let mut kit = Kit::with(small());
    let ask = |kit: &mut Kit, topic, body, number| kit.send(1, message(topic, body, AtLeastOnce), number);
    kit.connect(9, keeper("kept"));
    kit.subscribe(9, &[filter("kept", AtLeastOnce)]);
    kit.close(9);
    kit.connect(1, talker("p"));
    kit.connect(2, talker("c"));
    for number in 1..=2 {
        ask(&mut kit, Q, "x", number);
    }
    kit.manual = true;
    kit.submitted.clear();
    assert_eq!(ask(&mut kit, "kept", "slow", 3), []);
    assert_eq!(ask(&mut kit, Q, "waits", 4), []);
    kit.give(Input::Request(conn(1), Request::Nothing, NonZeroU32::new(5).map(Receipt)));
    let slow = kit.tickets();
    kit.give(Input::Request(conn(2), Request::Consume(consume(1, Q)), None));
    assert_eq!(kit.take(1), []);
    for ticket in kit.tickets() {
        kit.settle(ticket);
    }
    assert_eq!(kit.take(1), [], "the older one is not stored yet");
    kit.settle(slow[0]);
    let receipts: Vec<_> = kit.take(1);
    let of = |number| Seen::Reply(Reply::Receipt(Receipt(NonZeroU32::new(number).unwrap())));
    assert_eq!(receipts, [of(3), of(4), of(5)]);
    assert!(kit.paused.is_empty());
}

#[test]
fn what_has_room_may_have_to_wait_for_a_mailbox_and_keeps_its_place() {
    let mut broker = broker(2, small());
    let home = broker.engines[0].shared().home_of_group("", Q).index();
    let away = 1 - home;
    broker.talk(away, 1);
    for body in ["1", "2", "3"] {
        broker.send(1, Q, body);
    }
    let credit = std::mem::take(&mut broker.engines[away].credit[home]);
    let seen = broker.consumer(home, 2, Q);
    assert_eq!((names(&seen), broker.take(1)), (vec!["1", "2"], vec![]));
    assert_eq!((broker.sum(|stats| stats.parked), &broker.paused[..]), (1, &[1][..]));
    broker.give(away, Input::Peer(WorkerId(home as u16), PeerMsg::Credit(credit as u32)));
    assert_eq!((broker.take(1), names(&broker.take(2))), (given().into(), vec!["3"]));
    assert_eq!(broker.send(1, Q, "4"), given(), "nothing is left that it would have to wait for");
    assert!(broker.paused.is_empty());
}

#[test]
fn whoever_has_waited_longest_is_next_and_the_others_wait_on() {
    let mut broker = broker(1, of_size(8));
    broker.talk(0, 1);
    for number in 1..=8 {
        broker.send(1, Q, &number.to_string());
    }
    // Not in the order of their names.
    for number in [7, 3, 5, 4] {
        broker.talk(0, number);
        broker.now.mono_ms += 10;
        assert_eq!(broker.send(number, Q, "more"), []);
    }
    broker.talk(0, 2);
    let window = NonZeroU16::new(2).unwrap();
    broker.ask(2, Request::Consume(Consume { window, ..consume(1, Q) }));
    assert_eq!((broker.take(7), broker.take(3)), (given().into(), given().into()));
    assert_eq!((broker.take(5), broker.take(4), &broker.paused[..]), (vec![], vec![], &[5, 4][..]));
    assert_eq!(queued(&broker), 8);
    broker.settle(2, &[1, 2], Accept);
    assert_eq!((broker.take(5), broker.take(4)), (given().into(), given().into()));
    assert_eq!((queued(&broker), waits_for_room(&broker)), (8, false));
}

#[test]
fn a_message_waits_for_every_group_that_it_is_for() {
    for workers in 1..=4_u16 {
        let limits = Limits { overflow: Overflow::Refuse, max_queued_messages: 1, ..limits() };
        let mut broker = broker(workers, limits);
        let last = usize::from(workers) - 1;
        let groups = [("$share/a/t", 2), ("$share/b/t", 3), ("$share/c/t", 4)];
        let keep = QueueOptions { durable: Some(true), ..QueueOptions::default() };
        for (filter, number) in groups {
            broker.consumer_with(number, filter, &keep);
            broker.close(number);
        }
        broker.talk(last, 1);
        assert_eq!(broker.send(1, "t", "1"), given());
        assert_eq!(broker.send(1, "t", "2"), []);
        for (filter, number) in groups {
            assert_eq!(broker.take(1), [], "before there is room in {filter}");
            assert_eq!(names(&broker.consumer(last, number, filter)), ["1"]);
        }
        assert_eq!(broker.take(1), given());
        for (_, number) in groups {
            assert_eq!(names(&broker.settle(number, &[1], Accept)), ["2"]);
        }
        assert!(!waits_for_room(&broker) && broker.paused.is_empty());
    }
}

#[test]
fn all_its_waiting_together_takes_no_longer_than_it_may() {
    // One of the two is waited for first.
    for first in ["$share/a/t", "$share/b/t"] {
        let limits = Limits { overflow: Overflow::Refuse, max_queued_messages: 1, ..limits() };
        let mut broker = broker(2, limits);
        let keep = QueueOptions { durable: Some(true), ..QueueOptions::default() };
        for (number, filter) in [(2, "$share/a/t"), (3, "$share/b/t")] {
            broker.consumer_with(number, filter, &keep);
            broker.close(number);
        }
        broker.talk(1, 1);
        for body in ["1", "2"] {
            broker.send(1, "t", body);
        }
        broker.pass(3_000);
        broker.consumer(0, 4, first);
        assert_eq!(broker.take(1), [], "there is the other one still");
        broker.pass(2_200);
        assert_eq!(broker.take(1), refused());
    }
}

#[test]
fn qos_0_waits_for_nobody() {
    let limits = Limits { overflow: Overflow::Refuse, max_queued_messages: 1, ..limits() };
    let mut broker = broker(1, limits);
    let keep = QueueOptions { durable: Some(true), ..QueueOptions::default() };
    broker.consumer_with(2, "$share/a/t", &keep);
    broker.close(2);
    broker.talk(0, 1);
    broker.send(1, "t", "1");
    assert_eq!(broker.ask(1, Request::Send(message("t", "0", AtMostOnce))), given());
    assert_eq!((queued(&broker), broker.dropped(DropReason::NoGroupMember)), (1, 1));
}

#[test]
fn a_queue_that_ends_lets_go_of_those_who_wait_for_it() {
    let mut broker = broker(2, small());
    let options = QueueOptions { auto_delete: Some(true), ..QueueOptions::default() };
    let window = NonZeroU16::new(1).unwrap();
    broker.talk(0, 1);
    broker.ask(1, Request::Consume(Consume { options: &options, window, ..consume(1, Q) }));
    broker.talk(1, 2);
    for body in ["lent", "1", "2", "3"] {
        broker.send(2, Q, body);
    }
    assert_eq!(broker.paused, [2]);
    broker.close(1);
    assert_eq!((broker.take(2), broker.paused.len()), (given().into(), 0));
    assert_eq!((broker.engines[0].stats().queues, queued(&broker)), (1, 1), "it is another queue");
    let seen = broker.consumer(1, 3, Q);
    assert_eq!(names(&seen), ["3"]);
}

#[test]
fn what_has_expired_while_it_waited_is_not_sent() {
    let mut broker = broker(1, small());
    broker.talk(0, 1);
    for body in ["1", "2"] {
        broker.send(1, Q, body);
    }
    let brief = Send { expires_in_ms: Some(1_000), ..message(Q, "3", AtLeastOnce) };
    broker.ask(1, Request::Send(brief));
    broker.pass(2_000);
    let seen = broker.consumer(0, 2, Q);
    assert_eq!((names(&seen), broker.take(1)), (vec!["1", "2"], given().into()));
    broker.pass(2_000);
    assert_eq!((queued(&broker), broker.dropped(DropReason::Expired)), (0, 1));
}

#[test]
fn timers_of_those_who_wait_do_not_pile_up() {
    for workers in 1..=2_u16 {
        let mut broker = broker(workers, small());
        let last = usize::from(workers) - 1;
        broker.talk(last, 1);
        broker.talk(0, 2);
        let window = NonZeroU16::new(1).unwrap();
        broker.ask(2, Request::Consume(Consume { window, ..consume(1, Q) }));
        for body in ["lent", "1", "2"] {
            broker.send(1, Q, body);
        }
        let timers = |broker: &Broker| broker.engines.iter().map(|engine| engine.wheel.len()).sum::<usize>();
        let before = timers(&broker);
        let (mut most, mut lent) = (0, broker.take(2));
        for cycle in 0..1_000 {
            // Through several timeouts.
            broker.pass(20);
            assert_eq!(broker.send(1, Q, "more"), [], "{cycle}");
            let [(_, pid, _)] = consumed(&lent)[..] else { panic!("{lent:?}") };
            lent = broker.settle(2, &[pid], Accept);
            assert_eq!(broker.take(1), given(), "{cycle}");
            most = most.max(timers(&broker));
        }
        assert!(most <= before + 2, "{most} timers after {before}");
        // The one that counts is among them all the same.
        broker.send(1, Q, "last");
        broker.pass(4_800);
        assert_eq!(broker.take(1), []);
        broker.pass(400);
        assert_eq!(broker.take(1), refused());
        broker.pass(6_000);
        assert!(timers(&broker) <= before, "and nothing is left of it");
    }
}

#[test]
fn a_shorter_timeout_holds_for_whoever_waits_next() {
    let mut broker = broker(1, small());
    broker.talk(0, 1);
    for body in ["1", "2", "3"] {
        broker.send(1, Q, body);
    }
    reload(&mut broker, 2, &Limits { refuse_timeout_ms: 1_000, ..small() });
    let seen = broker.consumer(0, 2, Q);
    assert_eq!((names(&seen), broker.take(1)), (vec!["1", "2", "3"], given().into()));
    broker.close(2);
    broker.send(1, Q, "4");
    broker.pass(900);
    assert_eq!(broker.take(1), []);
    broker.pass(300);
    assert_eq!(broker.take(1), refused());
}

#[test]
fn a_timer_that_is_not_waited_for_does_nothing() {
    let mut broker = broker(1, small());
    broker.talk(0, 1);
    broker.talk(0, 2);
    let window = NonZeroU16::new(1).unwrap();
    broker.ask(2, Request::Consume(Consume { window, ..consume(1, Q) }));
    let mut lent = broker.send(1, Q, "lent");
    lent.extend(broker.take(2));
    for body in ["1", "2"] {
        broker.send(1, Q, body);
    }
    // One timer for each of the first two, and what the third waits for lies behind both.
    for (epoch, timeout_ms) in [(2, 5_000), (3, 1_000), (4, 5_000)] {
        reload(&mut broker, epoch, &Limits { refuse_timeout_ms: timeout_ms, ..small() });
        assert_eq!(broker.send(1, Q, "more"), []);
        if epoch < 4 {
            let [(_, pid, _)] = consumed(&lent)[..] else { panic!("{lent:?}") };
            lent = broker.settle(2, &[pid], Accept);
            assert_eq!(broker.take(1), given());
            broker.pass(600);
        }
    }
    let timers = broker.engines[0].wheel.len();
    broker.pass(4_000);
    assert_eq!(broker.engines[0].wheel.len(), timers - 1, "the first is gone, the other looks again");
    assert_eq!(broker.take(1), []);
    broker.pass(1_200);
    assert_eq!(broker.take(1), refused());
}

#[test]
fn a_larger_limit_lets_in_who_waits() {
    for workers in 1..=4_u16 {
        let larger = [
            of_size(4),
            with(QueueDefaults {
                overflow: Overflow::DropNewest,
                max_messages: 3,
                ..QueueDefaults::default()
            }),
        ];
        for limits in larger {
            let mut broker = broker(workers, small());
            let last = usize::from(workers) - 1;
            broker.talk(last, 1);
            for body in ["1", "2", "3"] {
                broker.send(1, Q, body);
            }
            assert_eq!((broker.take(1).len(), &broker.paused[..]), (0, &[1][..]));
            reload(&mut broker, 2, &limits);
            assert_eq!((broker.take(1), broker.paused.len()), (given().into(), 0));
            broker.connect_at(0, 2, client("p"));
            let answer = broker.on(2, Input::Publish(conn(2), publish(Q, "4", AtLeastOnce)));
            assert_eq!(answer, [acked(AckKind::PubAck, 1, Reason::Success)]);
        }
    }
}

#[test]
fn a_smaller_limit_holds_before_the_next_message() {
    let mut broker = broker(2, of_size(10));
    broker.talk(1, 1);
    for body in ["1", "2"] {
        broker.send(1, Q, body);
    }
    reload(&mut broker, 2, &small());
    assert_eq!(broker.send(1, Q, "3"), []);
    assert_eq!(queued(&broker), 2);
}

#[test]
fn a_shorter_deadline_holds_for_what_is_lent_already() {
    let deadline = |ack_deadline_ms| with(QueueDefaults { ack_deadline_ms, ..QueueDefaults::default() });
    let mut broker = broker(2, deadline(1_000_000));
    broker.consumer(0, 1, Q);
    broker.talk(0, 3);
    broker.send(3, Q, "x");
    assert_eq!(names(&broker.take(1)), ["x"]);
    broker.consumer(1, 2, Q);
    reload(&mut broker, 2, &deadline(2_000));
    broker.pass(2_200);
    assert_eq!(names(&broker.take(2)), ["x"]);
}
