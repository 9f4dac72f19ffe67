//! Durable subscriptions: what they hold and for how long, what they want, who takes them over, how they are forgotten.

use super::super::recovery::recovered;
use super::stored::kept;
use super::*;
use crate::refusal::Refusal;

/// A durable subscription that the tests make, with a selector and options.
fn durable_with(
    broker: &mut Broker,
    worker: usize,
    number: u32,
    selector: Option<&str>,
    options: &QueueOptions,
) -> Vec<Seen> {
    broker.talk(worker, number);
    let selector = selector.map(|text| Arc::new(Selector::parse(text).unwrap()));
    let durable = Some(DURABLE);
    broker.ask(number, Request::Consume(Consume { durable, selector, options, ..consume(1, "t/+") }))
}

fn said() -> QueueOptions {
    QueueOptions::default()
}

/// The broker's words to a connection that it ends over `request`.
fn refused(broker: &mut Broker, number: u32, request: Request<'_>) -> Option<Refusal> {
    let mut fx = Effects::default();
    let input = Input::Request(conn(number), request, NonZeroU32::new(7).map(Receipt));
    broker.engines[broker.at[number as usize]].handle(broker.now, input, &mut fx);
    let close = |effect: &Effect| match effect {
        Effect::Close(_, refusal) => Some(refusal.clone()),
        _ => None,
    };
    let refusal = fx.list.iter().find_map(close);
    broker.carry_out(broker.at[number as usize], fx);
    refusal
}

#[test]
fn a_subscriber_who_stays_away_stops_nobody() {
    let reject = QueueOptions { overflow: Some(Overflow::Refuse), ..said() };
    for (workers, options) in (1..=4_u16).zip([&said(), &reject].into_iter().cycle()) {
        let few = Limits { max_queued_messages: 2, ..small() };
        let mut broker = broker(workers, few.clone());
        durable_with(&mut broker, 0, 1, None, options);
        broker.close(1);
        broker.connect_at(usize::from(workers) - 1, 2, client("p"));
        for body in ["1", "2", "3"] {
            let answer = broker.on(2, Input::Publish(conn(2), publish("t/1", body, AtLeastOnce)));
            assert_eq!(answer, [acked(AckKind::PubAck, 1, Reason::Success)]);
        }
        assert_eq!(broker.dropped(DropReason::QueueFull), 1);
        assert_eq!(names(&durable(&mut broker, 0, 3)), ["2", "3"]);
    }
}

#[test]
fn a_subscriber_who_never_comes_back_is_forgotten_like_a_session() {
    let after = |limit_s: u32, options: &QueueOptions, ms: u64| {
        let mut broker = broker(2, Limits { max_session_expiry_s: limit_s, ..limits() });
        durable_with(&mut broker, 0, 1, None, options);
        broker.pass(100_000);
        broker.close(1);
        broker.talk(1, 2);
        broker.send(2, "t/1", "x");
        broker.pass(ms);
        let ended = broker.dropped(DropReason::QueueEnded) == 1;
        assert_eq!(broker.engines[0].stats().queues == 0, ended);
        ended
    };
    assert!(!after(10, &said(), 9_500) && after(10, &said(), 10_500));
    assert!(!after(u32::MAX, &said(), 100_000_000), "sessions may live for ever");
    let expires = |ms| QueueOptions { idle_expiry_ms: Some(ms), ..said() };
    assert!(after(10, &expires(5_000), 5_500), "unless it says otherwise");
    assert!(!after(10, &expires(20_000), 19_500) && after(10, &expires(20_000), 20_500));
    // A restart begins to count anew.
    let groups = vec![kept(3, DURABLE, "t/+", said(), &[("x", 0)])];
    let limits = Limits { max_session_expiry_s: 10, ..limits() };
    let mut broker = Broker::restart(1, limits, Recovered { groups, ..recovered(Vec::new()) });
    broker.pass(9_500);
    assert_eq!(broker.engines[0].stats().queues, 1);
    broker.pass(1_000);
    assert_eq!((broker.engines[0].stats().queues, broker.told()), (0, vec!["group ended 3 [31]".into()]));
}

#[test]
fn what_its_selector_does_not_want_is_not_kept_for_it() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        let last = usize::from(workers) - 1;
        broker.talk(0, 9);
        let send = |broker: &mut Broker, body, kind| {
            broker.told();
            broker.send_with(9, "t/1", body, &[("kind", kind)]);
            // A worker that did not know of the queue says so first.
            let told: Vec<_> = broker.told().into_iter().filter(|op| !op.starts_with("group ")).collect();
            (told.len(), broker.sum(|stats| stats.queued + stats.loans))
        };
        durable_with(&mut broker, last, 1, Some("kind = 'a'"), &said());
        // Somebody is there, then nobody: stored, and forgotten at once.
        assert_eq!(send(&mut broker, "b", "b"), (2, 0));
        broker.close(1);
        assert_eq!(send(&mut broker, "b", "b"), (2, 0));
        assert_eq!(send(&mut broker, "a", "a"), (1, 1));
        // It wants something else now.
        let seen = durable_with(&mut broker, 0, 2, Some("kind = 'b'"), &said());
        assert_eq!((names(&seen), broker.sum(|stats| stats.queued)), (vec![], 0));
        assert!(broker.told().iter().any(|op| op.ends_with("done 3")), "the store has it no more");
        broker.close(2);
        assert_eq!(send(&mut broker, "a", "a"), (2, 0));
        assert_eq!(send(&mut broker, "b", "b"), (1, 1));
        assert_eq!(names(&durable_with(&mut broker, last, 3, Some("kind = 'b'"), &said())), ["b"]);
        broker.close(3);
        // And then everything.
        assert_eq!(names(&durable_with(&mut broker, last, 4, None, &said())), ["b"]);
        assert_eq!(send(&mut broker, "c", "c"), (1, 2));
        let dropped: u64 = DropReason::ALL.into_iter().map(|reason| broker.dropped(reason)).sum();
        assert_eq!(dropped, 0, "nobody misses it");
    }
}

#[test]
fn what_comes_back_and_is_not_wanted_any_more_is_gone() {
    let mut broker = broker(2, limits());
    durable_with(&mut broker, 0, 1, Some("kind = 'a'"), &said());
    broker.talk(1, 9);
    broker.send_with(9, "t/1", "a", &[("kind", "a")]);
    assert_eq!(names(&broker.take(1)), ["a"]);
    assert_eq!(names(&durable_with(&mut broker, 1, 2, Some("kind = 'b'"), &said())), [""; 0]);
    assert_eq!(broker.sum(|stats| stats.queued + stats.loans), 0);
}

#[test]
fn a_selector_is_there_again_after_a_restart() {
    for workers in 1..=4_u16 {
        let options = QueueOptions { selector: Some("topic = 't/1'".into()), ..said() };
        // The second was stored when the selector was another one; its topic is "t".
        let groups = vec![kept(3, DURABLE, "t/+", options, &[("no", 0)])];
        let mut broker = Broker::restart(workers, limits(), Recovered { groups, ..recovered(Vec::new()) });
        assert_eq!(broker.told(), ["3 done 31"]);
        broker.talk(0, 1);
        broker.send(1, "t/2", "no");
        broker.send(1, "t/1", "yes");
        assert_eq!(broker.sum(|stats| stats.queued), 1);
        broker.told();
        let again = durable_with(&mut broker, 0, 2, Some("topic = 't/1'"), &said());
        assert_eq!(names(&again), ["yes"]);
        assert!(broker.ops.iter().all(|(_, op)| match op {
            StoreOp::GroupKept { options, .. } => options.selector.as_deref() == Some("topic = 't/1'"),
            _ => true,
        }));
    }
}

#[test]
fn the_newer_of_two_consumers_takes_it_over() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        let last = usize::from(workers) - 1;
        durable(&mut broker, last, 1);
        broker.connect_at(0, 2, client("p"));
        broker.on(2, Input::Publish(conn(2), publish("t/1", "x", AtLeastOnce)));
        assert_eq!(consumed(&broker.take(1)), [("x", 1, 0)]);
        let seen = durable(&mut broker, 0, 3);
        assert_eq!(closed(&broker.take(1)), Some(Kind::SessionTakenOver));
        assert_eq!((closed(&seen), broker.sum(|stats| stats.takeovers)), (None, 1));
        let mut got = seen;
        got.extend(broker.take(3));
        let [("x", first, 1)] = consumed(&got)[..] else { panic!("what the older one held: {got:?}") };
        broker.close(1);
        broker.on(2, Input::Publish(conn(2), publish("t/1", "y", AtLeastOnce)));
        let seen = broker.take(3);
        let [("y", second, 0)] = consumed(&seen)[..] else { panic!("{seen:?}") };
        broker.settle(3, &[first, second], Accept);
        assert_eq!(broker.sum(|stats| stats.queued + stats.loans + stats.in_flight), 0);
        // On one connection nobody takes anything over.
        let again = Consume { durable: Some(DURABLE), ..consume(2, "t/+") };
        assert_eq!(closed(&broker.ask(3, Request::Consume(again))), Some(Kind::ProtocolError));
        // A queue that somebody has for himself stays his.
        broker.talk(0, 4);
        broker.ask(4, Request::Consume(Consume { exclusive: true, ..consume(1, Q) }));
        assert_eq!(closed(&broker.consumer(last, 5, Q)), Some(Kind::NotAuthorized));
        assert_eq!(closed(&broker.take(4)), None);
    }
}

#[test]
fn who_is_replaced_is_told_by_whom_and_of_what() {
    let mut broker = broker(1, limits());
    durable(&mut broker, 0, 1);
    broker.talk(0, 2);
    let newer = Request::Consume(Consume { durable: Some(DURABLE), ..consume(1, "t/+") });
    let refusal = refused(&mut broker, 2, newer).unwrap();
    assert_eq!(refusal.kind, Kind::SessionTakenOver);
    for part in ["newer connection of the same user", "\"stomp/-/c/s\"", "\"t/+\""] {
        assert!(refusal.detail.contains(part), "{part}: {refusal}");
    }
}

#[test]
fn a_name_alone_forgets_all_that_it_is_subscribed_to() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, limits());
        for (number, (name, filter)) in
            (1..).zip([(DURABLE, "t/+"), (DURABLE, "u/+"), (DURABLE, "v"), ("stomp/-/c/other", "t/+")])
        {
            broker.talk(0, number);
            broker.ask(number, Request::Consume(Consume { durable: Some(name), ..consume(1, filter) }));
            broker.close(number);
        }
        broker.consumer(0, 5, Q);
        broker.talk(usize::from(workers) - 1, 6);
        broker.told();
        let all = Request::Forget { filter: "", durable: DURABLE };
        let given = NonZeroU32::new(1).map(|number| Seen::Reply(Reply::Receipt(Receipt(number)))).unwrap();
        assert_eq!(broker.ask(6, all.clone()), std::slice::from_ref(&given));
        assert_eq!(broker.engines[0].stats().queues, 2, "the other name's and the queue");
        let ended: BTreeSet<_> =
            broker.told().into_iter().filter(|op| op.starts_with("group ended")).collect();
        assert_eq!(ended.len(), 3, "{ended:?}");
        // There is none, or none of that name: no error.
        assert_eq!(broker.ask(6, all), std::slice::from_ref(&given));
        assert_eq!(broker.ask(6, Request::Forget { filter: "", durable: "" }), [given]);
        assert_eq!(broker.engines[0].stats().queues, 2);
    }
}

#[test]
fn what_somebody_consumes_from_is_not_forgotten() {
    for workers in 1..=4_u16 {
        for filter in ["t/+", ""] {
            let mut broker = broker(workers, limits());
            durable(&mut broker, 0, 1);
            broker.talk(usize::from(workers) - 1, 2);
            broker.told();
            let seen = broker.ask(2, Request::Forget { filter, durable: DURABLE });
            assert_eq!(closed(&seen), Some(Kind::NotAuthorized), "instead of a receipt that lies");
            assert!(!broker.told().iter().any(|op| op.starts_with("group ended")));
            broker.talk(0, 3);
            broker.send(3, "t/1", "x");
            assert_eq!(names(&broker.take(1)), ["x"]);
        }
    }
    let mut broker = broker(1, limits());
    durable(&mut broker, 0, 1);
    broker.talk(0, 2);
    let refusal = refused(&mut broker, 2, Request::Forget { filter: "t/+", durable: DURABLE }).unwrap();
    assert!(refusal.detail.contains("somebody consumes") && refusal.detail.contains("\"t/+\""), "{refusal}");
}
