//! QoS 1 and 2 in both directions, the store in between, and flow control.

use super::*;
use AckKind::{PubAck, PubComp, PubRec, PubRel};
use Qos::{AtLeastOnce, ExactlyOnce};

/// Connection 1 keeps its session and is subscribed to `t`; connection 2 publishes.
fn kit(limits: Limits) -> Kit {
    let mut kit = Kit::with(limits);
    kit.connect(1, keeper("in"));
    kit.subscribe(1, &[filter("t", ExactlyOnce)]);
    kit.connect(2, keeper("out"));
    kit
}

fn sent(number: u16, qos: Qos) -> Publish<'static> {
    Publish { packet_id: Some(id(number)), ..publish("t", "x", qos) }
}

fn message(pid: u16, qos: Qos, dup: bool) -> Seen {
    let body = "x".to_owned();
    Seen::Message { body, qos, dup, retain: false, pid: Some(pid), ids: Vec::new(), expiry: None }
}

#[test]
fn a_puback_waits_for_the_store() {
    // [MQTT-4.3.2-4]
    let mut kit = kit(Limits::default());
    kit.manual = true;
    assert_eq!(kit.publish(2, sent(7, AtLeastOnce)), []);
    assert_eq!(kit.take(1), [message(1, AtLeastOnce, false)], "who is online has it already");
    let tickets = kit.tickets();
    kit.settle(tickets[0]);
    assert_eq!(kit.take(2), [acked(PubAck, 7, Reason::Success)]);
}

#[test]
fn answers_leave_in_the_order_of_their_packets() {
    // [MQTT-4.6.0-2]
    let mut kit = kit(Limits::default());
    kit.manual = true;
    kit.publish(2, sent(1, AtLeastOnce));
    kit.publish(2, sent(2, AtLeastOnce));
    kit.publish(2, Publish { packet_id: Some(id(3)), ..publish("nobody", "", AtLeastOnce) });
    let tickets = kit.tickets();
    kit.settle(tickets[1]);
    assert_eq!(kit.take(2), []);
    kit.settle(tickets[0]);
    let last = acked(PubAck, 3, Reason::NoMatchingSubscribers);
    assert_eq!(kit.take(2), [acked(PubAck, 1, Reason::Success), acked(PubAck, 2, Reason::Success), last]);
}

#[test]
fn qos_2_of_a_kept_session_is_stored_before_anybody_sees_it() {
    let mut kit = kit(Limits::default());
    kit.manual = true;
    kit.publish(2, sent(7, ExactlyOnce));
    assert_eq!((kit.take(1), kit.take(2)), (vec![], vec![]));
    let tickets = kit.tickets();
    kit.settle(tickets[0]);
    assert_eq!(kit.take(2), [acked(PubRec, 7, Reason::Success)]);
    assert_eq!(kit.take(1), [], "its outbound packet id is not stored yet");
    let tickets = kit.tickets();
    kit.settle(tickets[0]);
    assert_eq!(kit.take(1), [message(1, ExactlyOnce, false)]);
    assert_eq!(kit.ack(1, PubRec, 1), [], "PUBREC is stored before PUBREL");
    let tickets = kit.tickets();
    kit.settle(tickets[0]);
    assert_eq!(kit.take(1), [acked(PubRel, 1, Reason::Success)]);
    kit.ack(1, PubComp, 1);
    assert_eq!(kit.ack(2, PubRel, 7), [], "the release is stored before PUBCOMP");
    let tickets = kit.tickets();
    kit.settle(tickets[0]);
    assert_eq!(kit.take(2), [acked(PubComp, 7, Reason::Success)]);
    assert_eq!(kit.engine.stats().in_flight, 0);
}

#[test]
fn held_messages_go_on_in_their_order() {
    // [MQTT-4.6.0-6]
    let mut kit = kit(Limits::default());
    kit.connect(3, client("watch"));
    kit.subscribe(3, &[filter("#", Qos::AtMostOnce)]);
    kit.manual = true;
    kit.publish(2, Publish { payload: b"1", ..sent(1, ExactlyOnce) });
    kit.publish(2, Publish { payload: b"2", ..sent(2, ExactlyOnce) });
    let tickets = kit.tickets();
    kit.settle(tickets[1]);
    assert_eq!(kit.bodies(3), [""; 0]);
    kit.settle(tickets[0]);
    assert_eq!(kit.bodies(3), ["1", "2"]);
}

#[test]
fn a_repeated_qos_2_message_is_answered_and_not_routed() {
    // [MQTT-4.3.3-10]
    let mut kit = kit(Limits::default());
    kit.publish(2, sent(7, ExactlyOnce));
    assert_eq!(kit.take(1).len(), 1);
    kit.close(2);
    kit.connect(3, keeper("out"));
    assert_eq!(
        kit.publish(3, Publish { dup: true, ..sent(7, ExactlyOnce) }),
        [acked(PubRec, 7, Reason::Success)]
    );
    assert_eq!(kit.take(1), []);
    assert_eq!(kit.ack(3, PubRel, 7), [acked(PubComp, 7, Reason::Success)]);
    assert_eq!(kit.ack(3, PubRel, 7), [acked(PubComp, 7, Reason::PacketIdNotFound)]);
    kit.publish(3, sent(7, ExactlyOnce));
    assert_eq!(kit.take(1).len(), 1, "the id is free for another message");
}

#[test]
fn a_copy_of_a_held_message_over_a_new_connection_gets_the_one_answer() {
    let mut kit = kit(Limits::default());
    kit.manual = true;
    kit.publish(2, sent(7, ExactlyOnce));
    kit.close(2);
    kit.connect(3, keeper("out"));
    assert_eq!(kit.publish(3, Publish { dup: true, ..sent(7, ExactlyOnce) }), []);
    let tickets = kit.tickets();
    assert_eq!(tickets.len(), 1);
    kit.settle(tickets[0]);
    assert_eq!(kit.take(3), [acked(PubRec, 7, Reason::Success)]);
}

#[test]
fn only_a_new_connection_gets_a_message_again_and_with_dup() {
    // [MQTT-4.4.0-1], [MQTT-3.3.1-1]
    let mut kit = kit(Limits::default());
    kit.publish(2, sent(1, AtLeastOnce));
    kit.publish(2, sent(2, ExactlyOnce));
    assert_eq!(kit.take(1), [message(1, AtLeastOnce, false), message(2, ExactlyOnce, false)]);
    kit.pass(600_000);
    assert_eq!(kit.take(1), []);
    kit.close(1);
    let again = [connected(true), message(1, AtLeastOnce, true), message(2, ExactlyOnce, true)];
    assert_eq!(kit.connect(3, keeper("in")), again);
    assert_eq!(kit.ack(3, PubRec, 2), [acked(PubRel, 2, Reason::Success)]);
    kit.close(3);
    assert_eq!(
        kit.connect(4, keeper("in")),
        [connected(true), message(1, AtLeastOnce, true), Seen::Release(2)]
    );
}

#[test]
fn a_client_never_has_more_than_its_receive_maximum() {
    // [MQTT-3.3.4-9]
    let mut kit = Kit::new();
    kit.connect(1, Connect { receive_maximum: id(2), ..client("in") });
    kit.subscribe(1, &[filter("t", ExactlyOnce)]);
    kit.connect(2, client("out"));
    for number in 1..=4 {
        kit.publish(2, sent(number, if number == 2 { ExactlyOnce } else { AtLeastOnce }));
    }
    assert_eq!(kit.take(1), [message(1, AtLeastOnce, false), message(2, ExactlyOnce, false)]);
    assert_eq!(kit.ack(1, PubRec, 2), [acked(PubRel, 2, Reason::Success)], "PUBREC frees nothing");
    assert_eq!(kit.ack(1, PubAck, 1), [message(3, AtLeastOnce, false)]);
    assert_eq!(kit.ack(1, PubComp, 2), [message(4, AtLeastOnce, false)]);
}

#[test]
fn a_publisher_past_our_receive_maximum_is_disconnected() {
    // [MQTT-3.3.4-7]
    let mut kit = kit(Limits { receive_maximum: 2, ..Limits::default() });
    kit.manual = true;
    kit.publish(2, sent(1, AtLeastOnce));
    kit.publish(2, sent(2, ExactlyOnce));
    assert_eq!(kit.take(2), [], "at the edge");
    assert_eq!(kit.publish(2, sent(3, AtLeastOnce)), [Seen::Closed(Kind::ReceiveMaximumExceeded)]);
}

#[test]
fn a_new_connection_begins_with_the_whole_receive_maximum() {
    // MQTT 5, section 4.9
    let mut kit = kit(Limits { receive_maximum: 1, ..Limits::default() });
    kit.publish(2, sent(1, ExactlyOnce));
    kit.close(2);
    kit.connect(3, keeper("out"));
    assert_eq!(kit.publish(3, sent(2, ExactlyOnce)), [acked(PubRec, 2, Reason::Success)]);
}

#[test]
fn what_the_store_refuses_is_refused_and_its_id_is_free() {
    for qos in [AtLeastOnce, ExactlyOnce] {
        let kind = if qos == AtLeastOnce { PubAck } else { PubRec };
        let mut kit = kit(Limits::default());
        kit.manual = true;
        kit.publish(2, sent(7, qos));
        let tickets = kit.tickets();
        kit.fail(tickets[0]);
        assert_eq!(kit.take(2), [acked(kind, 7, Reason::QuotaExceeded)]);
        assert_eq!(kit.dropped(DropReason::StoreFailed), 1);
        kit.manual = false;
        assert_eq!(kit.publish(2, sent(7, qos)), [acked(kind, 7, Reason::Success)]);
        assert!(!kit.bodies(1).is_empty(), "it is not taken for a copy");
    }
}

#[test]
fn a_publisher_of_mqtt_3_is_disconnected_when_the_store_refuses() {
    let mut kit = kit(Limits::default());
    kit.connect(3, Connect { is_v5: false, ..keeper("old") });
    kit.manual = true;
    kit.publish(3, sent(7, AtLeastOnce));
    let tickets = kit.tickets();
    kit.fail(tickets[0]);
    assert_eq!(kit.take(3), [Seen::Closed(Kind::QuotaExceeded)]);
}

#[test]
fn an_outbound_exchange_that_the_store_refused_goes_on_at_the_next_connection() {
    let mut kit = kit(Limits::default());
    kit.connect(3, client("other"));
    kit.manual = true;
    kit.publish(3, sent(1, ExactlyOnce));
    let tickets = kit.tickets();
    // The outbound packet id; the message itself is settled.
    kit.settle(tickets[0]);
    kit.fail(tickets[1]);
    assert_eq!(kit.take(1), [Seen::Closed(Kind::ServerUnavailable)]);
    kit.manual = false;
    assert_eq!(kit.connect(4, keeper("in")), [connected(true), message(1, ExactlyOnce, false)]);
    kit.manual = true;
    kit.ack(4, PubRec, 1);
    let tickets = kit.tickets();
    kit.fail(tickets[0]);
    assert_eq!(kit.take(4), [Seen::Closed(Kind::ServerUnavailable)]);
    kit.manual = false;
    assert_eq!(kit.connect(5, keeper("in")), [connected(true), acked(PubRel, 1, Reason::Success)]);
}

#[test]
fn a_failed_release_keeps_the_packet_id() {
    let mut kit = kit(Limits::default());
    kit.publish(2, sent(7, ExactlyOnce));
    kit.manual = true;
    kit.ack(2, PubRel, 7);
    let tickets = kit.tickets();
    kit.fail(tickets[0]);
    assert_eq!(kit.take(2), [Seen::Closed(Kind::ServerUnavailable)]);
    kit.manual = false;
    kit.connect(3, keeper("out"));
    assert_eq!(kit.ack(3, PubRel, 7), [acked(PubComp, 7, Reason::Success)]);
}

#[test]
fn what_a_client_refuses_is_over_and_counted() {
    // MQTT 5, section 4.3.3
    let mut kit = kit(Limits::default());
    kit.publish(2, sent(1, ExactlyOnce));
    kit.give(Input::Ack { conn: conn(1), kind: PubRec, packet_id: id(1), failed: true });
    assert_eq!(kit.dropped(DropReason::RefusedByClient), 1);
    assert_eq!(kit.engine.stats().in_flight, 0);
}

#[test]
fn an_answer_that_does_not_fit_ends_the_connection_and_a_stray_one_does_not() {
    let mut kit = kit(Limits::default());
    kit.publish(2, sent(1, AtLeastOnce));
    kit.take(1);
    assert_eq!(kit.ack(1, PubAck, 99), []);
    assert_eq!(kit.ack(1, PubRec, 99), [acked(PubRel, 99, Reason::PacketIdNotFound)]);
    assert_eq!(kit.engine.stats().stray_acks, 2);
    assert_eq!(kit.ack(1, PubComp, 1), [Seen::Closed(Kind::ProtocolError)]);
}
