//! Who is refused by a full queue at once, because waiting would be of no use: who consumes from it.

use super::*;

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
