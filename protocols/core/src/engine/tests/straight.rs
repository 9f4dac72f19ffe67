//! Which messages may be written at once to whom. That it comes to the same as the long way is seen at every message that
//! any test of the engine publishes; see [`Kit::give`].

use super::*;
use crate::acl::{Rule, Rules, Verdict};
use crate::selector::Selector;
use crate::shared::Headroom;
use Qos::{AtLeastOnce, AtMostOnce};

/// What the publisher of a message that goes straight is sent, and its receiver.
pub(super) fn seen(from: ConnId, publish: &Publish<'_>, way: Straight) -> Vec<(u32, Seen)> {
    let answer = publish.packet_id.map(|id| (from.slot, acked(AckKind::PubAck, id.get(), Reason::Success)));
    let message = Seen::Message {
        body: String::from_utf8(publish.payload.to_vec()).unwrap(),
        qos: if way.packet_id.is_some() { AtLeastOnce } else { AtMostOnce },
        dup: false,
        retain: false,
        pid: way.packet_id.map(NonZeroU16::get),
        ids: Vec::new(),
        expiry: publish.expiry_s,
    };
    answer.into_iter().chain([(way.to.slot, message)]).collect()
}

impl Kit {
    /// Sends a message of the publisher straight; the packet id under which it goes.
    fn send_straight(&mut self, publish: &Publish<'_>) -> Option<u16> {
        let way = self.engine.straight(self.now, conn(1), publish).unwrap();
        let mut fx = Effects::default();
        if let Some(packet_id) = self.engine.went_straight(self.now, conn(1), publish, way, &mut fx) {
            self.seen.push((1, acked(AckKind::PubAck, packet_id.get(), Reason::Success)));
        }
        self.carry_out(fx);
        way.packet_id.map(NonZeroU16::get)
    }
}

/// A publisher, 1, and a subscriber to `t`, 2.
fn pair() -> Kit {
    let mut kit = Kit::new();
    kit.connect(1, client("publisher"));
    kit.connect(2, client("subscriber"));
    kit.subscribe(2, &[filter("t", AtLeastOnce)]);
    kit
}

fn plain() -> Publish<'static> {
    publish("t", "body", AtMostOnce)
}

/// The connection, if any, that this message of the publisher may be written to.
fn way(kit: &mut Kit, publish: &Publish<'_>) -> Option<u32> {
    kit.engine.straight(kit.now, conn(1), publish).map(|way| way.to.slot)
}

#[test]
fn a_message_to_one_client_that_is_there_goes_straight_and_is_counted() {
    let mut kit = pair();
    assert_eq!(way(&mut kit, &plain()), Some(2));
    assert_eq!(way(&mut kit, &Publish { expiry_s: Some(5), ..plain() }), Some(2));
    let before = kit.engine.stats();
    assert_eq!(before.messages_in[0], 0, "before it is written nothing is counted");
    assert_eq!(kit.send_straight(&plain()), None);
    let after = kit.engine.stats();
    assert_eq!((after.messages_in[0], after.messages_out[0]), (1, 1));
    assert_eq!((after.payload_bytes_in, after.payload_bytes_out), (4, 4));
    // It is the same client over another connection.
    kit.connect(3, client("subscriber"));
    kit.subscribe(3, &[filter("t", AtLeastOnce)]);
    assert_eq!(way(&mut kit, &plain()), Some(3));
}

#[test]
fn at_qos_1_it_is_kept_until_it_is_acknowledged() {
    let mut kit = Kit::new();
    kit.connect(1, client("publisher"));
    kit.connect(2, keeper("subscriber"));
    kit.subscribe(2, &[filter("t", AtMostOnce)]);
    let confirmed = publish("t", "body", AtLeastOnce);
    assert_eq!(kit.send_straight(&confirmed), None, "granted QoS 0");
    assert_eq!(kit.take(1), [acked(AckKind::PubAck, 1, Reason::Success)]);
    let mut kit = pair();
    assert_eq!(kit.send_straight(&confirmed), Some(1));
    assert_eq!(kit.take(1), [acked(AckKind::PubAck, 1, Reason::Success)]);
    assert_eq!(kit.send_straight(&confirmed), Some(2));
    assert_eq!(kit.engine.stats().in_flight, 2);
    assert_eq!(kit.engine.stats().messages_out, [0, 2, 0]);
    kit.ack(2, AckKind::PubAck, 1);
    kit.ack(2, AckKind::PubAck, 2);
    assert_eq!(kit.engine.stats().in_flight, 0);
    assert_eq!(kit.engine.stats().stray_acks, 0);
    // What the store has to know of goes there first.
    kit.close(2);
    kit.connect(2, keeper("keeps"));
    kit.subscribe(2, &[filter("t", AtLeastOnce)]);
    assert_eq!(way(&mut kit, &confirmed), None);
    assert_eq!(way(&mut kit, &plain()), Some(2));
}

#[test]
fn a_window_that_is_full_or_has_gone_round_takes_the_long_way() {
    let mut kit = Kit::new();
    kit.connect(1, client("publisher"));
    kit.connect(2, Connect { receive_maximum: NonZeroU16::new(2).unwrap(), ..client("subscriber") });
    kit.subscribe(2, &[filter("t", AtLeastOnce)]);
    let confirmed = publish("t", "body", AtLeastOnce);
    assert_eq!((kit.send_straight(&confirmed), kit.send_straight(&confirmed)), (Some(1), Some(2)));
    assert_eq!(way(&mut kit, &confirmed), None);
    kit.ack(2, AckKind::PubAck, 2);
    // 1 stays under way while the others go round to it.
    for id in 3..=65_535 {
        assert_eq!(kit.send_straight(&confirmed), Some(id));
        kit.ack(2, AckKind::PubAck, id);
        kit.take(1);
    }
    assert_eq!(way(&mut kit, &confirmed), None);
    kit.publish(1, confirmed);
    assert_eq!(kit.bodies(2), ["body"]);
    assert_eq!(kit.engine.stats().in_flight, 2);
}

#[test]
fn what_is_kept_or_answered_or_has_expired_takes_the_long_way() {
    let mut kit = pair();
    for publish in [
        publish("t", "", Qos::ExactlyOnce),
        Publish { retain: true, ..plain() },
        Publish { expiry_s: Some(0), ..plain() },
        publish("$queue/t", "", AtMostOnce),
        publish("nobody", "", AtMostOnce),
    ] {
        assert_eq!(way(&mut kit, &publish), None, "{publish:?}");
    }
}

#[test]
fn more_than_one_receiver_takes_the_long_way() {
    let mut kit = pair();
    kit.connect(3, client("another"));
    kit.subscribe(3, &[filter("+", AtMostOnce)]);
    assert_eq!(way(&mut kit, &plain()), None);
    let mut kit = pair();
    kit.connect(3, client("member"));
    kit.subscribe(3, &[filter("$share/group/t", AtMostOnce)]);
    assert_eq!(way(&mut kit, &plain()), None);
}

#[test]
fn who_is_to_be_told_more_or_to_be_asked_takes_the_long_way() {
    let mut kit = Kit::new();
    kit.connect(1, client("publisher"));
    kit.connect(2, client("subscriber"));
    kit.subscribe_as(2, Some(7), &[filter("t", AtMostOnce)]);
    assert_eq!(way(&mut kit, &plain()), None, "a subscription identifier");
    let mut kit = Kit::new();
    kit.connect(1, client("publisher"));
    kit.connect(2, client("subscriber"));
    let selector = Some(Ok(Arc::new(Selector::parse("a = 1").unwrap())));
    let filters = [filter("t", AtMostOnce)];
    kit.give(Input::Subscribe { conn: conn(2), packet_id: id(9), id: None, selector, filters: &filters });
    assert_eq!(way(&mut kit, &plain()), None, "a selector");
    let mut kit = Kit::new();
    kit.connect(1, client("publisher"));
    kit.consumer(2, "t");
    assert_eq!(way(&mut kit, &plain()), None, "a consumer");
    let mut kit = Kit::new();
    kit.connect(1, client("publisher"));
    kit.subscribe(1, &[filter("t", AtMostOnce)]);
    assert_eq!(way(&mut kit, &plain()), None, "itself");
}

#[test]
fn nothing_overtakes_what_waits() {
    let mut kit = Kit::new();
    kit.connect(1, client("publisher"));
    kit.connect(2, Connect { receive_maximum: NonZeroU16::MIN, ..client("subscriber") });
    kit.subscribe(2, &[filter("t", AtLeastOnce)]);
    for body in ["first", "second"] {
        kit.publish(1, publish("t", body, AtLeastOnce));
    }
    assert_eq!(kit.bodies(2), ["first"]);
    assert_eq!(way(&mut kit, &plain()), None);
}

#[test]
fn to_who_is_away_or_while_memory_is_short_it_takes_the_long_way() {
    let mut kit = Kit::new();
    kit.connect(1, client("publisher"));
    kit.connect(2, keeper("subscriber"));
    kit.subscribe(2, &[filter("t", AtLeastOnce)]);
    kit.engine.shared().set_memory(Headroom::Short, true);
    assert_eq!(way(&mut kit, &plain()), None);
    kit.engine.shared().set_memory(Headroom::Ample, true);
    assert_eq!(way(&mut kit, &plain()), Some(2));
    kit.close(2);
    assert_eq!(way(&mut kit, &plain()), None);
    kit.close(1);
    assert_eq!(way(&mut kit, &plain()), None, "the publisher is gone");
}

#[test]
fn both_sides_rights_are_asked() {
    let mut kit = pair();
    let mut allow = |who: &[&str]| {
        let users = Some(who.iter().map(|&user| user.into()).collect());
        let rules = vec![Rule { clients: users, ..Rule::new(Verdict::Allow) }];
        let epoch = kit.engine.policy().epoch + 1;
        let rules = Some(Arc::new(Rules::compile(rules).unwrap()));
        kit.give(Input::Policy(Arc::new(Policy { epoch, rules, ..Policy::default() })));
        way(&mut kit, &plain())
    };
    assert_eq!(allow(&["publisher", "subscriber"]), Some(2));
    assert_eq!(allow(&["publisher"]), None);
    assert_eq!(allow(&["subscriber"]), None);
}
