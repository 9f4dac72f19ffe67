//! What the shell says of its memory, and of connections that it holds for reasons of its own.

use super::*;
use Qos::{AtLeastOnce, AtMostOnce};

use crate::policy::{DurabilityRules, Overflow};
use crate::shared::Headroom;

/// An engine of which nothing is stored, with that policy for full queues.
fn unstored(overflow: Overflow) -> Kit {
    let mut kit = Kit::new();
    let limits = Limits { overflow, ..Limits::default() };
    let durability = DurabilityRules { default: Durability::Never, ..DurabilityRules::default() };
    kit.give(Input::Policy(Arc::new(Policy { epoch: 2, limits, durability, ..Policy::default() })));
    kit
}

fn memory(kit: &Kit, headroom: Headroom) {
    kit.engine.shared().set_memory(headroom, true);
}

/// A publisher, 1, and a subscriber, 2, that may be sent one message at a time.
fn pair(kit: &mut Kit) {
    kit.connect(1, client("publisher"));
    kit.connect(2, Connect { receive_maximum: NonZeroU16::MIN, ..client("subscriber") });
    kit.subscribe(2, &[filter("t", AtLeastOnce)]);
}

#[test]
fn a_connection_is_read_again_when_nobody_has_a_reason_against_it() {
    let mut kit = Kit::new();
    kit.connect(1, client("client"));
    kit.give(Input::Hold(conn(1)));
    kit.give(Input::Hold(conn(1)));
    assert_eq!(kit.paused, [1]);
    kit.give(Input::Release(conn(1)));
    assert_eq!(kit.paused, [1]);
    kit.give(Input::Release(conn(1)));
    assert!(kit.paused.is_empty());
    // Reasons end with their connection.
    kit.give(Input::Hold(conn(1)));
    kit.close(1);
    kit.paused.clear();
    kit.connect(1, client("another"));
    kit.give(Input::Hold(conn(1)));
    kit.give(Input::Release(conn(1)));
    assert!(kit.paused.is_empty());
}

#[test]
fn who_is_held_is_not_ended_for_his_silence() {
    let mut kit = Kit::new();
    kit.connect(1, Connect { keep_alive_s: 2, ..client("held") });
    kit.connect(2, Connect { keep_alive_s: 2, ..client("silent") });
    kit.give(Input::Hold(conn(1)));
    kit.pass(3_100);
    assert_eq!(kit.take(2), [Seen::Closed(Kind::KeepAliveTimeout)]);
    assert_eq!(kit.take(1), []);
    kit.give(Input::Release(conn(1)));
    kit.pass(2_900);
    assert_eq!(kit.take(1), [], "it counts from the release");
    kit.pass(3_100);
    assert_eq!(kit.take(1), [Seen::Closed(Kind::KeepAliveTimeout)]);
}

#[test]
fn with_little_memory_qos_0_is_for_those_who_do_not_lag() {
    let mut kit = unstored(Overflow::DropOldest);
    pair(&mut kit);
    memory(&kit, Headroom::Short);
    kit.publish(1, publish("t", "plain", AtMostOnce));
    kit.publish(1, publish("t", "under way", AtLeastOnce));
    kit.publish(1, publish("t", "waits", AtLeastOnce));
    kit.publish(1, publish("t", "too much", AtMostOnce));
    assert_eq!(kit.bodies(2), ["plain", "under way"]);
    assert_eq!(kit.dropped(DropReason::MemoryShort), 1);
    kit.ack(2, AckKind::PubAck, 1);
    kit.ack(2, AckKind::PubAck, 2);
    kit.publish(1, publish("t", "caught up", AtMostOnce));
    assert_eq!(kit.bodies(2).last().map(String::as_str), Some("caught up"));
}

#[test]
fn with_little_memory_a_socket_that_takes_no_more_gets_no_qos_0() {
    let mut kit = unstored(Overflow::DropOldest);
    pair(&mut kit);
    memory(&kit, Headroom::Short);
    kit.give(Input::Blocked(conn(2)));
    kit.publish(1, publish("t", "too much", AtMostOnce));
    assert_eq!((kit.bodies(2).len(), kit.dropped(DropReason::MemoryShort)), (0, 1));
    kit.pull(conn(2), usize::MAX);
    kit.publish(1, publish("t", "it goes on", AtMostOnce));
    assert_eq!(kit.bodies(2), ["it goes on"]);
}

#[test]
fn with_enough_memory_nothing_is_dropped_for_who_lags() {
    let mut kit = unstored(Overflow::DropOldest);
    pair(&mut kit);
    for body in ["under way", "waits", "waits"] {
        kit.publish(1, publish("t", body, AtLeastOnce));
    }
    kit.publish(1, publish("t", "as well", AtMostOnce));
    assert_eq!(kit.dropped(DropReason::MemoryShort), 0);
}

#[test]
fn without_memory_the_queue_of_who_is_away_takes_no_more_than_it_gives_up() {
    let mut kit = unstored(Overflow::DropOldest);
    kit.connect(1, client("publisher"));
    kit.connect(2, keeper("away"));
    kit.subscribe(2, &[filter("t", AtLeastOnce)]);
    kit.close(2);
    for number in 0..40 {
        kit.publish(1, publish("t", &format!("{number:02}"), AtLeastOnce));
    }
    memory(&kit, Headroom::Spent);
    for number in 40..50 {
        kit.publish(1, publish("t", &format!("{number:02}"), AtLeastOnce));
    }
    assert_eq!(kit.dropped(DropReason::MemoryShort), 10);
    memory(&kit, Headroom::Ample);
    kit.connect(3, keeper("away"));
    for id in 1..=u16::from(u8::MAX) {
        kit.ack(3, AckKind::PubAck, id);
    }
    assert_eq!(kit.engine.stats().queued, 0);
    assert_eq!(kit.dropped(DropReason::MemoryShort), 10);
}

#[test]
fn without_memory_who_keeps_up_gets_everything() {
    let mut kit = unstored(Overflow::DropOldest);
    kit.connect(1, client("publisher"));
    kit.connect(2, client("subscriber"));
    kit.subscribe(2, &[filter("t", AtLeastOnce)]);
    memory(&kit, Headroom::Spent);
    for _ in 0..40 {
        kit.publish(1, publish("t", "plain", AtMostOnce));
        kit.publish(1, publish("t", "acknowledged", AtLeastOnce));
    }
    assert_eq!(kit.bodies(2).len(), 80);
    assert_eq!(kit.dropped(DropReason::MemoryShort), 0);
}

#[test]
fn without_memory_publishers_are_told_no_where_full_queues_refuse_and_for_queues() {
    for (overflow, topic) in [(Overflow::Refuse, "t"), (Overflow::DropOldest, "$queue/q")] {
        let mut kit = unstored(overflow);
        pair(&mut kit);
        kit.publish(1, publish(topic, "makes the queue", AtLeastOnce));
        memory(&kit, Headroom::Spent);
        let refused = kit.publish(1, publish(topic, "x", AtLeastOnce));
        assert_eq!(refused, [acked(AckKind::PubAck, 1, Reason::QuotaExceeded)], "{topic}");
        assert_eq!(kit.dropped(DropReason::MemoryShort), 1);
        memory(&kit, Headroom::Short);
        let taken = kit.publish(1, publish(topic, "x", AtLeastOnce));
        assert_eq!(taken, [acked(AckKind::PubAck, 1, Reason::Success)], "{topic}");
    }
}

#[test]
fn a_closed_broker_lets_those_in_who_have_a_session() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("known"));
    kit.close(1);
    kit.engine.shared().set_memory(Headroom::Short, false);
    assert_eq!(kit.connect(2, client("new")), [Seen::Closed(Kind::ServerBusy)]);
    assert_eq!(kit.connect(3, keeper("known")), [connected(true)]);
    kit.engine.shared().set_memory(Headroom::Short, true);
    assert_eq!(kit.connect(4, client("new")), [connected(false)]);
}
