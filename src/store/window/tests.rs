//! The window, step by step under a clock that only the tests move.

mod random;
mod transactions;

use std::num::NonZeroU32;
use std::sync::Arc;

use noctule_core::id::SessionId;
use noctule_core::message::{Message, Restored};
use noctule_core::store::Recipient;
use noctule_core::topic::TopicName;

use super::*;

const PACE: Pace = Pace { window_us: 5_000, interval_us: 1_000_000, retained_us: 5_000_000 };
const HERE: WorkerId = WorkerId(0);
const THERE: WorkerId = WorkerId(1);

fn message(record: u64, topic: &str, qos: Qos, payload: &[u8]) -> Arc<Message> {
    let topic = TopicName::from_validated(topic);
    let restored = Restored { topic, fields: &[], payload, qos, retain: false, expires_ms: u64::MAX, record };
    Message::restore(&restored)
}

fn recipient(session: u64) -> Recipient {
    Recipient {
        session: SessionNumber(session),
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: NonZeroU32::new(7).map(|id| Arc::from([id])),
    }
}

fn publish(record: u64, to: &[u64]) -> StoreOp {
    StoreOp::Publish {
        message: message(record, "t", Qos::AtLeastOnce, b"body"),
        recipients: to.iter().copied().map(recipient).collect(),
        retained: None,
        inbound: None,
    }
}

fn retained(topic: &str, qos: Qos, version: u64) -> StoreOp {
    StoreOp::Publish {
        message: message(0, topic, qos, &version.to_be_bytes()),
        recipients: Box::default(),
        retained: Some(version),
        inbound: None,
    }
}

fn acknowledged(session: u64, record: u64) -> StoreOp {
    StoreOp::Acknowledged { session: SessionNumber(session), record }
}

fn presence(session: u64, online: bool) -> StoreOp {
    StoreOp::Presence { session: SessionNumber(session), online }
}

/// A window with its writer, taking turns by hand.
struct Bench {
    window: Window,
    batch: Batch,
    answers: Answers,
    wakes: usize,
    now_us: u64,
}

impl Bench {
    /// Sessions 1 to 4 are online.
    fn new() -> Self {
        Self::with(PACE)
    }

    fn with(pace: Pace) -> Self {
        let seed = Seed::new(1);
        let mut bench = Self {
            window: Window::new(pace, &seed),
            batch: Batch::new(&seed),
            answers: Vec::new(),
            wakes: 0,
            now_us: 1_000_000,
        };
        for session in 1..=4 {
            bench.idle(presence(session, true));
        }
        bench.now_us += PACE.interval_us;
        assert_eq!(bench.commit().len(), 4);
        bench.window.taken = false;
        assert_eq!(bench.sleep(), u64::MAX);
        bench.wakes = 0;
        bench
    }

    fn submit(&mut self, worker: WorkerId, ticket: u64, op: StoreOp) -> Result<(), StoreRefused> {
        let wakes = self.window.submit(self.now_us, worker, Ticket(ticket), op, &mut self.answers)?;
        self.wakes += usize::from(wakes);
        Ok(())
    }

    fn ask(&mut self, ticket: u64, op: StoreOp) {
        self.submit(HERE, ticket, op).unwrap();
    }

    fn idle(&mut self, op: StoreOp) {
        self.submit(HERE, u64::MAX, op).unwrap();
    }

    /// What a commit at this moment writes.
    fn commit(&mut self) -> Vec<(Ticket, StoreOp)> {
        let mut ops = Vec::new();
        if self.window.take(self.now_us, &mut self.batch) {
            self.batch.drain(|_, _, ticket, op| ops.push((ticket, op)));
            assert!(!ops.is_empty(), "an empty batch is no batch");
        }
        ops
    }

    fn sleep(&mut self) -> u64 {
        self.window.sleep(self.now_us)
    }

    fn answered(&mut self) -> Vec<(u16, u64)> {
        self.answers.drain(..).map(|(worker, ticket)| (worker.0, ticket.0)).collect()
    }
}

fn tickets(ops: &[(Ticket, StoreOp)]) -> Vec<u64> {
    ops.iter().map(|(ticket, _)| ticket.0).collect()
}

fn recipients(op: &StoreOp) -> Vec<u64> {
    let StoreOp::Publish { recipients, .. } = op else { panic!("{op:?}") };
    recipients.iter().map(|recipient| recipient.session.0).collect()
}

#[test]
fn what_everybody_acknowledges_in_time_is_never_written() {
    let mut bench = Bench::new();
    bench.ask(10, publish(1, &[1]));
    assert_eq!(bench.commit().len(), 0, "nobody is in a hurry");
    bench.now_us += 4_999;
    assert_eq!(bench.commit().len(), 0, "not yet");
    bench.idle(acknowledged(1, 1));
    assert_eq!(bench.answered(), [(0, 10)], "its publisher is answered with the acknowledgement");
    bench.now_us += 60_000_000;
    assert_eq!(bench.commit().len(), 0, "and neither it nor its acknowledgement is written");
    assert_eq!(bench.window.elided(), 1);
}

#[test]
fn every_recipient_has_to_acknowledge() {
    let mut bench = Bench::new();
    bench.ask(10, publish(1, &[1, 2, 3]));
    bench.idle(acknowledged(2, 1));
    bench.idle(acknowledged(2, 1));
    bench.idle(acknowledged(4, 1));
    assert!(bench.answered().is_empty());
    bench.idle(acknowledged(1, 1));
    bench.now_us += 5_000;
    let ops = bench.commit();
    assert_eq!(tickets(&ops), [10], "the acknowledgements are in it");
    assert_eq!(recipients(&ops[0].1), [3]);
    bench.idle(acknowledged(3, 1));
    assert!(bench.answered().is_empty(), "too late: it has to be written");
    bench.now_us += PACE.interval_us;
    assert_eq!(tickets(&bench.commit()), [u64::MAX]);
    assert_eq!(bench.window.elided(), 0);
}

#[test]
fn an_acknowledgement_that_somebody_waits_for_is_answered_with_its_message() {
    let mut bench = Bench::new();
    bench.ask(10, publish(1, &[1, 2]));
    bench.ask(11, acknowledged(1, 1));
    assert_eq!(bench.answered(), [(0, 11)]);
    bench.ask(12, acknowledged(2, 1));
    assert_eq!(bench.answered(), [(0, 10), (0, 12)]);
    bench.ask(13, acknowledged(2, 1));
    assert_eq!(tickets(&bench.commit()), [13], "of a message that is not here it has to be written");
}

#[test]
fn another_workers_publisher_is_answered_as_well() {
    let mut bench = Bench::new();
    bench.submit(THERE, 10, publish(1, &[1])).unwrap();
    bench.idle(acknowledged(1, 1));
    assert_eq!(bench.answered(), [(1, 10)]);
}

#[test]
fn what_must_be_kept_is_not_cancelled() {
    let mut bench = Bench::new();
    let StoreOp::Publish { message, recipients: to, .. } = publish(1, &[1]) else { unreachable!() };
    let inbound = Some((SessionNumber(9), 3));
    bench.ask(
        10,
        StoreOp::Publish { message: message.clone(), recipients: to.clone(), retained: None, inbound },
    );
    bench.idle(acknowledged(1, 1));
    assert!(bench.answered().is_empty(), "its packet id must survive");
    let ops = bench.commit();
    assert_eq!(tickets(&ops), [10]);
    assert!(recipients(&ops[0].1).is_empty());
    bench.ask(11, StoreOp::Publish { message, recipients: to, retained: Some(1), inbound: None });
    bench.idle(acknowledged(1, 1));
    assert_eq!(tickets(&bench.commit()), [11], "it is its topic's retained message");
}

#[test]
fn a_message_for_somebody_absent_is_written_at_once_and_takes_all_before_it_along() {
    let mut bench = Bench::new();
    bench.idle(presence(9, false));
    bench.ask(10, publish(1, &[1]));
    assert_eq!(bench.commit().len(), 0);
    bench.ask(11, publish(2, &[1, 9]));
    bench.ask(12, publish(3, &[2]));
    assert_eq!(tickets(&bench.commit()), [u64::MAX, 10, 11, 12]);
    bench.idle(presence(1, false));
    bench.ask(13, publish(4, &[1]));
    assert_eq!(tickets(&bench.commit()), [u64::MAX, 13], "who has left is absent");
    bench.idle(StoreOp::SessionEnded { session: SessionNumber(2), records: Box::default() });
    bench.ask(14, publish(5, &[2]));
    assert_eq!(tickets(&bench.commit()), [u64::MAX, 14], "and so is who has ended");
}

#[test]
fn without_a_window_nothing_lingers() {
    let mut bench = Bench::with(Pace { window_us: 0, ..PACE });
    bench.ask(10, publish(1, &[1]));
    assert_eq!(tickets(&bench.commit()), [10]);
}

#[test]
fn a_message_that_nobody_needs_is_answered_at_once() {
    let mut bench = Bench::new();
    bench.ask(10, publish(1, &[]));
    assert_eq!(bench.answered(), [(0, 10)]);
    assert_eq!(bench.sleep(), u64::MAX);
}

#[test]
fn when_one_has_lingered_long_enough_all_are_written() {
    let mut bench = Bench::new();
    bench.ask(10, publish(1, &[1]));
    bench.idle(acknowledged(1, 77));
    bench.now_us += 4_999;
    bench.ask(11, publish(2, &[1]));
    assert_eq!(bench.sleep(), bench.now_us + 1);
    bench.now_us += 1;
    assert_eq!(
        tickets(&bench.commit()),
        [10, u64::MAX, 11],
        "the commit costs more than what it takes along"
    );
    bench.ask(12, publish(3, &[1]));
    assert_eq!(bench.sleep(), bench.now_us + 5_000, "the next has its own time");
}

#[test]
fn what_nobody_waits_for_is_written_after_the_interval() {
    let mut bench = Bench::new();
    bench.idle(acknowledged(1, 77));
    bench.now_us += PACE.interval_us - 1;
    bench.idle(acknowledged(1, 78));
    assert_eq!(bench.commit().len(), 0);
    assert_eq!(bench.sleep(), bench.now_us + 1);
    bench.now_us += 1;
    assert_eq!(bench.commit().len(), 2);
}

#[test]
fn a_message_that_nobody_waits_for_may_be_acknowledged_until_the_interval_is_over() {
    let mut bench = Bench::new();
    bench.idle(publish(1, &[1]));
    bench.idle(publish(2, &[9]));
    bench.now_us += PACE.interval_us - 1;
    bench.idle(acknowledged(9, 2));
    bench.now_us += 1;
    assert_eq!(bench.commit().len(), 1);
    assert!(bench.answered().is_empty(), "nobody asked");
}

#[test]
fn of_a_topics_retained_messages_the_newest_is_written_once_per_interval() {
    let mut bench = Bench::new();
    for version in [3, 1, 5, 4] {
        bench.idle(retained("a", Qos::AtMostOnce, version));
        bench.now_us += 1_000_000;
        bench.ask(version, acknowledged(1, 77));
        assert_eq!(tickets(&bench.commit()), [version], "it does not go with other commits");
    }
    bench.idle(retained("b", Qos::AtMostOnce, 6));
    bench.now_us += 1_000_000;
    let ops = bench.commit();
    assert!(matches!(&ops[..], [(_, StoreOp::Publish { retained: Some(5), .. })]), "{ops:?}");
    assert_eq!(bench.commit().len(), 0);
    bench.now_us += 4_000_000;
    let ops = bench.commit();
    assert!(matches!(&ops[..], [(_, StoreOp::Publish { retained: Some(6), .. })]), "{ops:?}");
}

#[test]
fn a_retained_message_that_somebody_waits_for_takes_the_parked_ones_place() {
    let mut bench = Bench::new();
    bench.idle(retained("a", Qos::AtMostOnce, 1));
    bench.idle(retained("b", Qos::AtMostOnce, 9));
    bench.idle(retained("c", Qos::AtMostOnce, 2));
    bench.ask(10, retained("a", Qos::AtLeastOnce, 2));
    bench.ask(11, retained("b", Qos::AtLeastOnce, 8));
    let message = message(0, "c", Qos::AtMostOnce, b"");
    bench.idle(StoreOp::RetainedExpired { message, version: 2 });
    assert_eq!(tickets(&bench.commit()), [10, 11, u64::MAX]);
    bench.now_us += PACE.retained_us;
    let ops = bench.commit();
    assert!(matches!(&ops[..], [(_, StoreOp::Publish { retained: Some(9), .. })]), "{ops:?}");
}

#[test]
fn parked_messages_wait_for_room_and_for_the_end() {
    let mut bench = Bench::new();
    bench.idle(retained("a", Qos::AtMostOnce, 1));
    bench.window.set_roomy(false);
    bench.now_us += 10 * PACE.retained_us;
    assert_eq!(bench.commit().len(), 0);
    assert_eq!(bench.sleep(), u64::MAX, "it is no reason to get up");
    bench.idle(acknowledged(1, 77));
    bench.window.close();
    assert_eq!(tickets(&bench.commit()), [u64::MAX], "first what makes room");
    assert!(matches!(&bench.commit()[..], [(_, StoreOp::Publish { .. })]), "then the rest");
    assert_eq!(bench.commit().len(), 0);
}

#[test]
fn topics_beyond_the_limit_are_written_early_and_then_refused() {
    let mut bench = Bench::new();
    for topic in 0..=Parked::MAX_TOPICS {
        bench.idle(retained(&topic.to_string(), Qos::AtMostOnce, 1));
    }
    assert_eq!(bench.sleep(), 0);
    assert_eq!(bench.commit().len(), 1, "down to the limit");
    bench.window.set_roomy(false);
    for topic in 0..2 * Parked::MAX_TOPICS {
        bench.idle(retained(&topic.to_string(), Qos::AtMostOnce, 2));
    }
    assert_eq!(bench.window.parked.len(), 2 * Parked::MAX_TOPICS);
    bench.submit(HERE, u64::MAX, retained("one more", Qos::AtMostOnce, 1)).unwrap_err();
    bench.idle(retained("0", Qos::AtMostOnce, 3));
}

#[test]
fn many_operations_are_reason_enough_for_a_commit() {
    let mut bench = Bench::new();
    for record in 0..EAGER_OPS as u64 {
        assert_eq!(bench.commit().len(), 0);
        bench.idle(acknowledged(1, record));
    }
    assert_eq!(bench.commit().len(), EAGER_OPS);
}

#[test]
fn a_full_window_refuses_messages_first() {
    let mut bench = Bench::new();
    for record in 0..FULL_OPS as u64 {
        bench.ask(record, publish(record, &[9]));
    }
    let refused = bench.submit(HERE, 0, publish(u64::MAX, &[9])).unwrap_err();
    assert!(refused.to_string().contains("does not keep up"), "{refused}");
    bench.idle(acknowledged(1, u64::MAX));
    bench.ask(1, presence(1, false));
    assert_eq!(bench.commit().len(), FULL_OPS + 2);
    bench.ask(2, publish(u64::MAX, &[9]));
}

#[test]
fn large_messages_fill_it_sooner() {
    let mut bench = Bench::new();
    let message = message(1, "t", Qos::AtLeastOnce, &vec![0; FULL_BYTES / 8]);
    let large =
        StoreOp::Publish { message, recipients: Box::new([recipient(9)]), retained: None, inbound: None };
    for ticket in 0..8 {
        bench.ask(ticket, large.clone());
    }
    bench.submit(HERE, 8, large).unwrap_err();
}

#[test]
fn a_closed_window_takes_nothing_and_gives_everything() {
    let mut bench = Bench::new();
    bench.ask(10, publish(1, &[1]));
    bench.idle(acknowledged(1, 77));
    bench.window.close();
    bench.submit(HERE, 11, publish(2, &[1])).unwrap_err();
    assert_eq!(tickets(&bench.commit()), [10, u64::MAX]);
}

#[test]
fn messages_of_the_window_are_loaded_from_it() {
    let mut bench = Bench::new();
    let asks = |records: &[u64]| LoadRequest {
        session: SessionId { worker: HERE, slot: 0, incarnation: 1 },
        records: records.into(),
    };
    bench.ask(10, publish(1, &[1, 2]));
    bench.ask(11, publish(2, &[1, 3]));
    let loaded = bench.window.load(asks(&[2, 1])).unwrap();
    let found: Vec<_> =
        loaded.messages.iter().map(|(record, found)| (*record, found.clone().unwrap())).collect();
    assert_eq!(
        found.iter().map(|(record, found)| (*record, found.message.record())).collect::<Vec<_>>(),
        [(2, 2), (1, 1)]
    );
    assert_eq!(found[0].1.subscription_ids.as_deref().map(<[_]>::len), Some(1));
    bench.idle(acknowledged(1, 1));
    bench.sleep();
    assert!(bench.window.load(asks(&[2, 1])).unwrap_err(), "the writer is asked, and woken");
    assert!(!bench.window.load(asks(&[3])).unwrap_err(), "once");
    assert_eq!(bench.window.take_loads(), [asks(&[2, 1]), asks(&[3])]);
}

#[test]
fn the_writer_is_not_woken_for_each_message() {
    let mut bench = Bench::new();
    let mut looks = 0;
    let mut until_us = bench.sleep();
    // 5,000 messages a second, each acknowledged before the next.
    for record in 0..5_000 {
        bench.ask(record, publish(record, &[1]));
        bench.now_us += 100;
        bench.idle(acknowledged(1, record));
        bench.now_us += 100;
        if bench.now_us >= until_us || bench.window.is_woken() {
            looks += 1;
            assert_eq!(bench.commit().len(), 0);
            until_us = bench.sleep();
        }
    }
    assert_eq!(bench.wakes, 1, "only the first wakes it");
    assert!((190..=210).contains(&looks), "{looks} looks: one per window");
    for _ in 0..2 {
        assert_eq!(bench.commit().len(), 0);
        until_us = bench.sleep();
        bench.now_us += PACE.window_us;
    }
    assert_eq!(until_us, u64::MAX, "then it sleeps");
}

#[test]
fn a_commit_is_not_followed_by_a_wake_for_the_first_acknowledgement() {
    let mut bench = Bench::new();
    for record in 0..100 {
        bench.ask(record, publish(record, &[9]));
        assert_eq!(bench.wakes, record as usize + 1, "somebody waits");
        assert_eq!(bench.commit().len(), 1 + usize::from(record > 0));
        bench.ask(1000, publish(1000 + record, &[9]));
        assert_eq!(bench.wakes, record as usize + 1, "it is up");
        assert_eq!(bench.commit().len(), 1);
        bench.sleep();
        bench.idle(acknowledged(9, record));
        bench.now_us += 1_000;
        bench.sleep();
        bench.idle(acknowledged(9, record));
        bench.window.list.pop();
    }
    assert_eq!(bench.wakes, 100);
}

#[test]
fn what_was_superseded_leaves_a_long_list() {
    let mut bench = Bench::new();
    let (kept, other) = (SessionNumber(5), SessionNumber(6));
    bench.ask(1, publish(1, &[5]));
    for flap in 0..TIDY_OPS as u64 / 4 {
        bench.idle(StoreOp::SessionKept { session: kept, client_id: "c".into(), user: None, expiry_s: 60 });
        bench.idle(presence(5, false));
        bench.idle(StoreOp::OutboundSent { session: kept, owner: other, record: flap, packet_id: 1 });
        bench.idle(StoreOp::OutboundReceived { session: kept, owner: other, record: flap, packet_id: 1 });
    }
    bench.idle(StoreOp::OutboundCompleted { session: kept, packet_id: 1 });
    assert!(bench.window.list.len() <= TIDY_OPS / 4 + 8, "{}", bench.window.list.len());
    let ops = bench.commit();
    let of = |wanted: fn(&StoreOp) -> bool| ops.iter().filter(|(_, op)| wanted(op)).count();
    assert_eq!(of(|op| matches!(op, StoreOp::Publish { .. })), 1);
    assert_eq!(of(|op| matches!(op, StoreOp::SessionKept { .. })), 1);
    assert_eq!(of(|op| matches!(op, StoreOp::Presence { online: false, .. })), 1);
    let acknowledged = of(|op| matches!(op, StoreOp::Acknowledged { session: SessionNumber(6), .. }));
    let received = of(|op| matches!(op, StoreOp::OutboundReceived { .. }));
    assert_eq!(acknowledged + received, TIDY_OPS / 4, "the owner has acknowledged every one of them");
    assert!(matches!(ops.last(), Some((_, StoreOp::OutboundCompleted { .. }))));
}

#[test]
fn somebody_who_waits_is_not_superseded() {
    let mut later = Later::default();
    let entry = |ticket, op| Entry::new(0, 0, HERE, ticket, op);
    assert!(later.without_superseded(entry(Ticket::NONE, presence(1, true))).is_some());
    assert!(later.without_superseded(entry(Ticket(1), presence(1, false))).is_some());
    assert!(later.without_superseded(entry(Ticket::NONE, presence(1, false))).is_none());
    let end = StoreOp::SessionEnded { session: SessionNumber(2), records: Box::default() };
    assert!(later.without_superseded(entry(Ticket::NONE, end)).is_some());
    assert!(later.without_superseded(entry(Ticket::NONE, presence(2, true))).is_none());
    assert!(later.without_superseded(entry(Ticket::NONE, acknowledged(2, 1))).is_some());
}

#[test]
fn it_is_behind_from_half_of_what_it_holds_to_a_quarter() {
    let mut bench = Bench::new();
    for record in 0..FULL_OPS as u64 / 2 {
        assert!(!bench.window.is_behind());
        bench.ask(record, publish(record, &[9]));
    }
    assert!(bench.window.is_behind());
    bench.commit();
    assert!(!bench.window.is_behind());
}

#[test]
fn what_has_happened_is_taken_even_at_the_last_resort() {
    let mut bench = Bench::new();
    for record in 0..(LAST_RESORT * FULL_OPS) as u64 {
        bench.idle(acknowledged(9, record));
    }
    bench.submit(HERE, 1, presence(1, false)).unwrap_err();
    bench.submit(HERE, u64::MAX, publish(1, &[1])).unwrap_err();
    bench.idle(presence(1, false));
}
