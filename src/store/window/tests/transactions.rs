//! Transactions in the window: what later acknowledgements may cancel of them, and what they may not cancel themselves.

use super::*;

fn together(parts: &[StoreOp]) -> StoreOp {
    StoreOp::Transaction(parts.into())
}

/// A message's number and its recipients.
type Written = (u64, Vec<u64>);

/// The messages of a transaction, and session and record of its acknowledgements.
fn written(op: &StoreOp) -> (Vec<Written>, Vec<(u64, u64)>) {
    let StoreOp::Transaction(parts) = op else { panic!("{op:?}") };
    let messages = parts.iter().filter_map(|part| match part {
        StoreOp::Publish { message, .. } => Some((message.record(), recipients(part))),
        _ => None,
    });
    let acks = parts.iter().filter_map(|part| match part {
        StoreOp::Acknowledged { session, record } => Some((session.0, *record)),
        _ => None,
    });
    (messages.collect(), acks.collect())
}

#[test]
fn a_transaction_does_not_linger_and_takes_all_before_it_along() {
    let mut bench = Bench::new();
    bench.ask(10, publish(1, &[1]));
    bench.ask(11, together(&[publish(2, &[1]), publish(3, &[2])]));
    bench.ask(12, publish(4, &[1]));
    assert_eq!(tickets(&bench.commit()), [10, 11, 12], "all are connected, and yet it is written at once");
    bench.idle(together(&[publish(5, &[1])]));
    assert_eq!(bench.commit().len(), 0, "nobody waits");
    bench.now_us += PACE.interval_us;
    assert_eq!(tickets(&bench.commit()), [u64::MAX]);
}

#[test]
fn its_messages_may_be_cancelled_and_the_rest_is_written_together() {
    let mut bench = Bench::new();
    bench.ask(10, together(&[publish(1, &[1]), publish(2, &[2, 3]), publish(3, &[3]), acknowledged(4, 99)]));
    bench.idle(acknowledged(1, 1));
    bench.idle(acknowledged(2, 2));
    bench.idle(acknowledged(2, 2));
    bench.idle(acknowledged(1, 3));
    assert_eq!((bench.window.elided(), bench.answered().len()), (1, 0), "somebody is left for the others");
    let ops = bench.commit();
    assert_eq!(tickets(&ops), [10]);
    assert_eq!(written(&ops[0].1), (vec![(2, vec![3]), (3, vec![3])], vec![(4, 99)]));
}

#[test]
fn a_transaction_of_which_everything_is_cancelled_is_settled_with_the_last() {
    let mut bench = Bench::new();
    bench.submit(THERE, 10, together(&[publish(1, &[1]), publish(2, &[1, 2]), publish(3, &[])])).unwrap();
    bench.idle(acknowledged(1, 2));
    bench.idle(acknowledged(1, 1));
    assert!(bench.answered().is_empty());
    bench.ask(11, acknowledged(2, 2));
    assert_eq!(bench.answered(), [(1, 10), (0, 11)]);
    assert_eq!(bench.window.elided(), 2);
    bench.now_us += PACE.interval_us;
    assert_eq!(bench.commit().len(), 0);
    assert!(bench.window.list.is_empty() && bench.window.list.bytes() == 0);
}

#[test]
fn what_it_acknowledges_is_cancelled_only_with_it() {
    let mut bench = Bench::new();
    bench.ask(10, publish(1, &[1]));
    bench.ask(11, together(&[acknowledged(1, 1), publish(2, &[2])]));
    assert!(bench.answered().is_empty(), "a crash now must not lose the first without the second");
    let ops = bench.commit();
    assert_eq!(tickets(&ops), [10, 11]);
    assert_eq!(recipients(&ops[0].1), [1], "the log sees to it");
    assert_eq!(written(&ops[1].1), (vec![(2, vec![2])], vec![(1, 1)]));
    assert_eq!(bench.window.elided(), 0);
}

#[test]
fn what_must_be_kept_of_it_is() {
    let mut bench = Bench::new();
    let StoreOp::Publish { message, recipients: to, .. } = publish(1, &[1]) else { unreachable!() };
    let kept = StoreOp::Publish { message, recipients: to, retained: Some(1), inbound: None };
    bench.ask(10, together(&[kept, publish(2, &[1])]));
    bench.idle(acknowledged(1, 1));
    bench.idle(acknowledged(1, 2));
    assert!(bench.answered().is_empty());
    let ops = bench.commit();
    assert_eq!(written(&ops[0].1), (vec![(1, vec![])], vec![]));
}

#[test]
fn one_that_says_nothing_is_settled_at_once() {
    let mut bench = Bench::new();
    bench.ask(10, together(&[]));
    bench.ask(11, together(&[publish(1, &[]), publish(2, &[])]));
    assert_eq!(bench.answered(), [(0, 10), (0, 11)]);
    bench.ask(12, together(&[publish(3, &[]), publish(4, &[9])]));
    assert_eq!(written(&bench.commit()[0].1).0, [(4, vec![9])]);
}

#[test]
fn it_says_what_its_parts_say() {
    let mut bench = Bench::new();
    bench.idle(retained("t", Qos::AtMostOnce, 1));
    bench.ask(10, together(&[presence(1, false), retained("t", Qos::AtMostOnce, 2), publish(1, &[2])]));
    let loaded = bench.window.message(SessionNumber(2), 1).unwrap();
    assert_eq!(loaded.message.record(), 1);
    assert!(bench.window.message(SessionNumber(1), 1).is_none());
    assert_eq!(bench.commit().len(), 1, "a part is not parked");
    bench.ask(11, publish(2, &[1]));
    assert_eq!(tickets(&bench.commit()), [11], "who has left is absent");
    bench.now_us += PACE.retained_us;
    assert_eq!(bench.commit().len(), 0, "the older retained message has given way");
}

#[test]
fn a_full_window_refuses_one_with_a_message() {
    let mut bench = Bench::new();
    for record in 0..FULL_OPS as u64 {
        bench.idle(acknowledged(9, record));
    }
    assert!(bench.submit(HERE, 10, together(&[acknowledged(9, 1), publish(1, &[1])])).is_err());
    assert!(bench.window.message(SessionNumber(1), 1).is_none(), "nothing of it is here");
    bench.ask(11, together(&[acknowledged(9, 1), acknowledged(9, 2)]));
}

#[test]
fn one_larger_than_a_batch_is_one_entry_still() {
    let mut bench = Bench::new();
    let parts: Vec<_> = (1..=2 * EAGER_OPS as u64).map(|record| publish(record, &[9])).collect();
    bench.ask(10, together(&parts));
    assert!(bench.window.is_behind() || bench.window.list.bytes() > EAGER_BYTES, "it is as large as it is");
    let ops = bench.commit();
    assert_eq!(tickets(&ops), [10]);
    assert_eq!(written(&ops[0].1).0.len(), parts.len());
}

#[test]
fn neither_superseded_nor_superseding() {
    let mut later = Later::default();
    let entry = |ticket, op| Entry::new(1, 0, HERE, ticket, op);
    let released = |deliveries| StoreOp::Released { session: SessionNumber(2), record: 1, deliveries };
    assert!(later.without_superseded(entry(Ticket::NONE, released(2))).is_some());
    assert!(
        later.without_superseded(entry(Ticket::NONE, together(&[released(1), presence(1, true)]))).is_some()
    );
    assert!(
        later.without_superseded(entry(Ticket::NONE, presence(1, false))).is_some(),
        "it may be refused yet"
    );
    assert!(later.without_superseded(entry(Ticket::NONE, released(1))).is_none());
    let over = StoreOp::GroupEnded { session: SessionNumber(3), records: Box::default() };
    assert!(later.without_superseded(entry(Ticket::NONE, over)).is_some());
    let of_it = StoreOp::Released { session: SessionNumber(3), record: 1, deliveries: 1 };
    assert!(later.without_superseded(entry(Ticket::NONE, of_it)).is_none());
}

#[test]
fn a_long_list_keeps_its_transactions_and_their_messages_can_be_found() {
    let mut bench = Bench::new();
    bench.idle(together(&[publish(1, &[1]), publish(2, &[2])]));
    for at in 0..TIDY_OPS {
        bench.idle(presence(1, at.is_multiple_of(2)));
    }
    assert!(bench.window.list.len() < 10, "it was tidied");
    bench.idle(acknowledged(2, 2));
    assert_eq!(bench.window.elided(), 1);
    let ops = bench.commit();
    assert_eq!(written(&ops[0].1).0, [(1, vec![1])]);
}
