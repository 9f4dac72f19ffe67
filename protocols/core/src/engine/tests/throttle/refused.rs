//! Who is refused by a full queue at once, because waiting would be of no use: transactions, and who consumes from it.

use super::*;

fn commit(broker: &mut Broker, number: u32, sends: &[Send<'_>], settles: &[Settle<'_>]) -> Vec<Seen> {
    broker.ask(number, Request::Commit(Commit { sends, settles }))
}

#[test]
fn of_a_transaction_for_a_full_queue_nothing_happens() {
    for workers in 1..=4_u16 {
        let mut broker = broker(workers, small());
        let last = usize::from(workers) - 1;
        broker.consumer(0, 9, "t");
        broker.consumer(0, 8, "$queue/work");
        broker.talk(last, 1);
        for (topic, body) in [(Q, "1"), ("$queue/work", "task"), (Q, "2")] {
            assert_eq!(broker.send(1, topic, body), given());
        }
        assert_eq!(names(&broker.take(8)), ["task"]);
        broker.told();
        let sends = [message("t", "seen", AtLeastOnce), message(Q, "3", AtLeastOnce)];
        let settles = [Settle { consumer: ConsumerId(1), packet_ids: &[id(1)], verdict: Accept }];
        assert_eq!(commit(&mut broker, 8, &sends, &settles), refused());
        assert_eq!((broker.take(9), queued(&broker)), (vec![], 3), "what was to be settled is back");
        let told = broker.told();
        assert!(!told.iter().any(|op| op.contains("publish") || op.contains("done")), "{told:?}");
        broker.talk(last, 7);
        let whole = Request::Commit(Commit { sends: &sends, settles: &[] });
        let words = broker.words_of_refusal(last, Input::Request(conn(7), whole, None));
        assert!(
            words.contains(Q) && words.contains("transaction") && words.contains("2 messages"),
            "{words:?}"
        );
        // With room all of it happens.
        let seen = broker.consumer(0, 6, Q);
        assert_eq!(names(&seen), ["1", "2"]);
        broker.talk(last, 5);
        assert_eq!(commit(&mut broker, 5, &sends, &[]), given());
        assert_eq!((names(&broker.take(9)), names(&broker.take(6))), (vec!["seen"], vec!["3"]));
    }
}

#[test]
fn a_transaction_for_a_full_subscriber_is_refused_where_a_message_is() {
    let limits = Limits { overflow: Overflow::Refuse, max_queued_messages: 1, ..limits() };
    let mut broker = broker(2, limits);
    broker.connect(2, keeper("kept"));
    let filters = [filter("t", AtLeastOnce)];
    let (packet_id, id, selector) = (id(9), None, None);
    broker.on(2, Input::Subscribe { conn: conn(2), packet_id, id, selector, filters: &filters });
    broker.close(2);
    broker.talk(0, 1);
    let sends = [message("other", "1", AtLeastOnce), message("t", "2", AtMostOnce)];
    assert_eq!(commit(&mut broker, 1, &sends, &[]), given());
    let dead = Send { expires_in_ms: Some(0), ..sends[1] };
    assert_eq!(commit(&mut broker, 1, &[dead], &[]), given(), "it is for nobody any more");
    assert_eq!(commit(&mut broker, 1, &sends, &[]), refused());
    assert_eq!(queued(&broker), 1);
}

#[test]
fn who_consumes_from_a_full_queue_may_send_to_it_up_to_twice_its_limit() {
    for workers in 1..=4_u16 {
        for (filter, topic) in [(Q, Q), ("t/+", "t/1")] {
            let limits = Limits { overflow: Overflow::Refuse, max_queued_messages: 2, ..small() };
            let mut broker = broker(workers, limits);
            let last = usize::from(workers) - 1;
            let join = |broker: &mut Broker, number| {
                broker.talk(last, number);
                let durable = (filter != Q).then_some(DURABLE);
                let window = NonZeroU16::MIN;
                broker.ask(number, Request::Consume(Consume { durable, window, ..consume(1, filter) }))
            };
            join(&mut broker, 1);
            // One is lent, four wait.
            for body in ["0", "1", "2", "3", "4"] {
                let answer = broker.send(1, topic, body);
                assert_eq!(answer.first(), given().first(), "{body} to {topic}");
            }
            assert_eq!(queued(&broker), 4);
            broker.talk(0, 2);
            assert_eq!(broker.send(2, topic, "other"), [], "it makes no room");
            broker.close(2);
            // It is heard when it makes room, and may send again.
            assert_eq!(names(&broker.settle(1, &[1], Accept)), ["1"]);
            assert_eq!(broker.send(1, topic, "5").first(), given().first());
            assert_eq!(broker.send(1, topic, "6"), refused());
            // Whoever comes again finds what is there.
            assert_eq!(queued(&broker), 5, "with what it had");
            for number in 3..10 {
                assert_eq!(names(&join(&mut broker, number)), ["1"]);
                assert_eq!(broker.send(number, topic, "more"), refused());
                assert_eq!(queued(&broker), 5);
            }
        }
    }
}

#[test]
fn the_same_holds_for_its_transactions() {
    let mut broker = broker(2, small());
    broker.talk(1, 1);
    broker.ask(1, Request::Consume(Consume { window: NonZeroU16::MIN, ..consume(1, Q) }));
    let mut lent = broker.send(1, Q, "0");
    for body in ["1", "2"] {
        broker.send(1, Q, body);
    }
    let sends = [message(Q, "again", AtLeastOnce)];
    for _ in 0..4 {
        let [(_, pid, _)] = consumed(&lent)[..] else { panic!("{lent:?}") };
        let settles = [Settle { consumer: ConsumerId(1), packet_ids: &[id(pid)], verdict: Accept }];
        lent = commit(&mut broker, 1, &sends, &settles);
        assert!(lent.contains(&given()[0]), "{lent:?}");
    }
    assert_eq!(queued(&broker), 2);
    for _ in 0..2 {
        assert_eq!(commit(&mut broker, 1, &sends, &[]), given());
    }
    assert_eq!(commit(&mut broker, 1, &sends, &[]), refused());
}

#[test]
fn who_has_cancelled_or_only_browses_waits_like_everybody_else() {
    let mut broker = broker(1, small());
    broker.talk(0, 1);
    for body in ["1", "2"] {
        broker.send(1, Q, body);
    }
    broker.ask(1, Request::Consume(Consume { browses: true, ..consume(1, Q) }));
    assert_eq!(broker.send(1, Q, "3"), []);
    broker.talk(0, 2);
    broker.ask(2, Request::Consume(Consume { window: NonZeroU16::MIN, ..consume(1, Q) }));
    broker.take(1);
    broker.send(2, Q, "4");
    broker.ask(2, Request::Cancel { consumer: ConsumerId(1), forgets: false });
    assert_eq!(broker.send(2, Q, "5"), []);
    assert!(broker.paused.contains(&2));
}
