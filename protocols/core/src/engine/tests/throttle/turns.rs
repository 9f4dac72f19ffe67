//! Whose turn it is when a full queue has room again, and how many are let in, on whichever workers they wait.

use super::*;

/// The workers that are the queue's home and that are not.
fn places(broker: &Broker) -> (usize, usize) {
    let shared = broker.engines[0].shared();
    let home = shared.home_of_group("", Q).index();
    (home, (home + 1) % usize::from(shared.workers()))
}

/// A sender whose message waits.
fn waiter(broker: &mut Broker, worker: usize, number: u32) {
    broker.talk(worker, number);
    broker.now.mono_ms += 10;
    assert_eq!(broker.send(number, Q, &number.to_string()), []);
}

/// A queue with as much in it as may be.
fn full(workers: u16, max_messages: usize) -> Broker {
    let mut broker = broker(workers, of_size(max_messages));
    let (home, _) = places(&broker);
    broker.talk(home, 1);
    for _ in 0..max_messages {
        assert_eq!(broker.send(1, Q, "old"), given());
    }
    broker
}

/// A consumer that takes so many.
fn slow(broker: &mut Broker, worker: usize, number: u32, window: u16) {
    broker.talk(worker, number);
    let window = NonZeroU16::new(window).unwrap();
    broker.ask(number, Request::Consume(Consume { window, ..consume(1, Q) }));
}

/// What a consumer does that is to be done by `worker` alone: the others hear of it later.
fn alone(broker: &mut Broker, worker: usize, number: u32, request: Request<'_>) -> Effects {
    let mut fx = Effects::default();
    broker.engines[worker].handle(broker.now, Input::Request(conn(number), request, None), &mut fx);
    fx
}

/// Those who have been let in since the last time.
fn let_in(broker: &mut Broker, of: &[u32]) -> Vec<u32> {
    let mut is_in = |&number: &u32| {
        let seen = broker.take(number);
        assert!(seen.is_empty() || seen == given(), "{number}: {seen:?}");
        !seen.is_empty()
    };
    of.iter().copied().filter(|number| is_in(number)).collect()
}

#[test]
fn whoever_has_waited_longest_is_next_wherever_he_waits() {
    for workers in 1..=4_u16 {
        let mut broker = full(workers, 2);
        let (home, away) = places(&broker);
        let order = [7, 3, 5, 4];
        for (number, worker) in order.into_iter().zip([away, home, away, home]) {
            waiter(&mut broker, worker, number);
        }
        slow(&mut broker, home, 2, 1);
        for (turn, number) in order.into_iter().enumerate() {
            assert_eq!(let_in(&mut broker, &order), [number], "{workers} workers");
            let last = broker.settle(2, &[turn as u16 + 1], Accept);
            assert_eq!(consumed(&last).len(), 1);
        }
        assert!(!waits_for_room(&broker) && broker.paused.is_empty());
    }
}

#[test]
fn whoever_comes_does_not_get_ahead_of_those_who_wait() {
    let mut broker = full(2, 2);
    let (home, away) = places(&broker);
    waiter(&mut broker, away, 2);
    broker.connect_at(home, 3, client("p"));
    broker.talk(home, 4);
    broker.talk(home, 5);
    broker.talk(home, 6);
    // There is room, and the other worker does not know it yet.
    let window = NonZeroU16::MIN;
    let fx = alone(&mut broker, home, 4, Request::Consume(Consume { window, ..consume(1, Q) }));
    assert_eq!(broker.send(5, Q, "5"), []);
    let mqtt = broker.on(3, Input::Publish(conn(3), publish(Q, "no", AtLeastOnce)));
    assert_eq!(mqtt, [acked(AckKind::PubAck, 1, Reason::QuotaExceeded)]);
    let sends = [message(Q, "no", AtLeastOnce)];
    assert_eq!(broker.ask(6, Request::Commit(Commit { sends: &sends, settles: &[] })), refused());
    assert_eq!(broker.send(4, Q, "4"), given(), "it makes the room");
    broker.carry_out(home, fx);
    assert_eq!(let_in(&mut broker, &[2, 5]), [2]);
    broker.settle(4, &[1], Accept);
    broker.settle(4, &[2], Accept);
    assert_eq!(let_in(&mut broker, &[2, 5]), [5]);
    assert!(!waits_for_room(&broker));
}

#[test]
fn no_more_are_let_in_than_fit() {
    for workers in 2..=4_u16 {
        let mut broker = full(workers, 8);
        let (home, away) = places(&broker);
        let all = [3, 4, 5, 6, 7, 8];
        for number in all {
            waiter(&mut broker, away, number);
        }
        slow(&mut broker, home, 2, 2);
        assert_eq!((let_in(&mut broker, &all), queued(&broker)), (vec![3, 4], 8), "{workers} workers");
        broker.settle(2, &[1, 2], Accept);
        assert_eq!((let_in(&mut broker, &all), queued(&broker)), (vec![5, 6], 8), "{workers} workers");
        slow(&mut broker, home, 9, 100);
        assert_eq!((let_in(&mut broker, &all), waits_for_room(&broker)), (vec![7, 8], false));
    }
}

#[test]
fn no_more_bytes_are_let_in_than_fit() {
    let large = "x".repeat(10_000);
    let queues = QueueDefaults { max_bytes: 40_000, ..QueueDefaults::default() };
    let mut broker = broker(2, with(queues));
    let (home, away) = places(&broker);
    broker.talk(home, 1);
    while broker.send(1, Q, &large) == given() {}
    let before = queued(&broker);
    let all = [3, 4, 5];
    for number in all {
        broker.talk(away, number);
        assert_eq!(broker.send(number, Q, &large), []);
    }
    slow(&mut broker, home, 2, 2);
    // Another one of the first sender's had waited for longer.
    assert_eq!((let_in(&mut broker, &[1, 3, 4, 5]), queued(&broker)), (vec![1, 3], before));
}

#[test]
fn a_turn_that_is_not_taken_is_the_next_ones() {
    for (first, second) in [(true, false), (false, true), (true, true)] {
        let mut broker = full(2, 2);
        let (home, away) = places(&broker);
        let at = |is_away| if is_away { away } else { home };
        waiter(&mut broker, at(first), 2);
        waiter(&mut broker, at(second), 3);
        broker.talk(home, 4);
        // The first has gone when he hears that it is his turn.
        let window = NonZeroU16::MIN;
        if first {
            let fx = alone(&mut broker, home, 4, Request::Consume(Consume { window, ..consume(1, Q) }));
            broker.close(2);
            broker.carry_out(home, fx);
        } else {
            broker.close(2);
            broker.ask(4, Request::Consume(Consume { window, ..consume(1, Q) }));
        }
        assert_eq!((let_in(&mut broker, &[3]), queued(&broker)), (vec![3], 2));
        assert!(!waits_for_room(&broker));
    }
}

#[test]
fn who_can_not_be_taken_in_holds_nobody_up() {
    // For another group, which is full as well.
    let limits = Limits { overflow: Overflow::Refuse, max_queued_messages: 1, ..limits() };
    let mut broker = broker(2, limits);
    let keep = QueueOptions { durable: Some(true), ..QueueOptions::default() };
    for (number, filter) in [(2, "$share/a/t/+"), (3, "$share/b/t/1")] {
        broker.consumer_with(number, filter, &keep);
        broker.close(number);
    }
    for (worker, number) in [(0, 1), (0, 5), (1, 6)] {
        broker.talk(worker, number);
    }
    assert_eq!(broker.send(1, "t/1", "fills both"), given());
    for (number, topic) in [(5, "t/1"), (6, "t/2")] {
        assert_eq!(broker.send(number, topic, "x"), []);
    }
    let seen = broker.consumer(0, 7, "$share/a/t/+");
    assert_eq!(names(&seen).len(), 1);
    // Either has waited for the one first.
    let first = let_in(&mut broker, &[5, 6]);
    assert!(first == [6], "{first:?}");
    broker.consumer(0, 8, "$share/b/t/1");
    assert_eq!(let_in(&mut broker, &[5, 6]), [], "there is one in the other again");
    broker.settle(7, &[1], Accept);
    assert_eq!(let_in(&mut broker, &[5, 6]), [5]);
    assert!(!waits_for_room(&broker));
}

#[test]
fn of_those_who_wait_for_a_queue_that_ends_as_many_go_on_as_the_next_one_takes() {
    let mut broker = broker(2, small());
    let (home, away) = places(&broker);
    let options = QueueOptions { auto_delete: Some(true), ..QueueOptions::default() };
    broker.talk(home, 1);
    let window = NonZeroU16::MIN;
    broker.ask(1, Request::Consume(Consume { options: &options, window, ..consume(1, Q) }));
    for body in ["lent", "1", "2"] {
        broker.send(1, Q, body);
    }
    let all = [3, 4, 5];
    for number in all {
        waiter(&mut broker, away, number);
    }
    broker.close(1);
    assert_eq!((let_in(&mut broker, &all), queued(&broker)), (vec![3, 4], 2), "it is another queue");
    broker.consumer(away, 6, Q);
    assert_eq!((let_in(&mut broker, &all), waits_for_room(&broker)), (vec![5], false));
}

#[test]
fn senders_take_turns_however_their_workers_stand_to_the_queue() {
    let mut broker = full(2, 2);
    let (home, away) = places(&broker);
    let all = [3, 4, 5, 6];
    for (number, worker) in all.into_iter().zip([home, home, home, away]) {
        waiter(&mut broker, worker, number);
    }
    slow(&mut broker, home, 2, 1);
    let mut count = [0; 4];
    for turn in 1..=400_u16 {
        let happy = let_in(&mut broker, &all);
        for number in happy {
            count[number as usize - 3] += 1;
            // It has the next one ready.
            assert_eq!(broker.send(number, Q, "more"), []);
        }
        broker.settle(2, &[turn], Accept);
    }
    assert_eq!(count, [100; 4]);
}
