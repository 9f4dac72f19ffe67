//! The window and the received ids, case by case and against a naive model.

use proptest::prelude::*;

use super::*;
use crate::id::{Qos, SessionId};
use crate::message::{Fields, Message, Publish};
use crate::topic::TopicName;

fn entry(qos: Qos) -> Entry {
    let publish = Publish {
        topic: TopicName::from_validated("t"),
        fields: Fields::default(),
        payload: b"x",
        qos,
        retain: false,
        dup: false,
        packet_id: None,
        expiry_s: None,
    };
    Entry {
        message: Message::new(&publish, SessionId::NOBODY, 0),
        extra: None,
        qos,
        retain: false,
        stored: false,
    }
}

fn begin(window: &mut Window, qos: Qos) -> NonZeroU16 {
    let id = window.begin(Stage::Publishing, entry(qos), None).unwrap();
    window.written(id);
    id
}

/// The store has the exchange and its message.
fn store(window: &mut Window, id: NonZeroU16) {
    let flight = window.find(id).unwrap();
    (flight.owner, flight.record) = (SessionNumber(1), 1);
}

fn ack(window: &mut Window, kind: AckKind, id: NonZeroU16) -> Acked {
    window.acknowledge(kind, id, false)
}

fn id(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

#[test]
fn qos_1_is_over_with_its_puback_in_any_order() {
    let mut window = Window::default();
    let ids: Vec<_> = (0..4).map(|_| begin(&mut window, Qos::AtLeastOnce)).collect();
    for place in [2, 0, 3, 1] {
        assert!(matches!(ack(&mut window, AckKind::PubAck, ids[place]), Acked::Completed(Some(_), _)));
        assert!(matches!(ack(&mut window, AckKind::PubAck, ids[place]), Acked::Unknown));
    }
    assert!(window.is_empty() && window.flights.is_empty());
    assert_eq!(window.on_wire(), 0);
}

#[test]
fn qos_2_takes_its_two_steps_and_nothing_else() {
    let mut window = Window::default();
    let first = begin(&mut window, Qos::ExactlyOnce);
    assert!(matches!(ack(&mut window, AckKind::PubAck, first), Acked::OutOfTurn));
    assert!(matches!(ack(&mut window, AckKind::PubComp, first), Acked::OutOfTurn));
    assert!(matches!(ack(&mut window, AckKind::PubRec, first), Acked::Received(Some(_))));
    assert_eq!(window.on_wire(), 1, "it counts until PUBCOMP (section 4.9)");
    assert!(matches!(ack(&mut window, AckKind::PubRec, first), Acked::ReleaseAgain));
    assert!(matches!(ack(&mut window, AckKind::PubComp, first), Acked::Completed(None, _)));
    assert!(matches!(ack(&mut window, AckKind::PubComp, first), Acked::Unknown));

    let second = begin(&mut window, Qos::AtLeastOnce);
    assert!(matches!(ack(&mut window, AckKind::PubRec, second), Acked::OutOfTurn));
}

#[test]
fn a_release_that_is_being_stored_takes_a_repeated_pubrec_and_no_pubcomp() {
    let mut window = Window::default();
    let first = begin(&mut window, Qos::ExactlyOnce);
    store(&mut window, first);
    assert!(matches!(window.acknowledge(AckKind::PubRec, first, false), Acked::Received(Some(_))));
    assert!(matches!(window.acknowledge(AckKind::PubRec, first, false), Acked::Received(None)));
    assert!(matches!(ack(&mut window, AckKind::PubComp, first), Acked::OutOfTurn));
}

#[test]
fn a_failed_pubrec_ends_the_exchange() {
    let mut window = Window::default();
    let first = begin(&mut window, Qos::ExactlyOnce);
    assert!(matches!(window.acknowledge(AckKind::PubRec, first, true), Acked::Completed(Some(_), _)));
    assert_eq!((window.len(), window.on_wire()), (0, 0));
}

#[test]
fn what_was_never_sent_can_not_be_acknowledged() {
    let mut window = Window::default();
    let first = window.begin(Stage::Publishing, entry(Qos::AtLeastOnce), None).unwrap();
    assert!(matches!(ack(&mut window, AckKind::PubAck, first), Acked::OutOfTurn));
}

#[test]
fn ids_go_round_the_ring_past_0_and_past_those_in_use() {
    let mut window = Window { last_id: 65_533, ..Window::default() };
    let ids: Vec<_> = (0..4).map(|_| begin(&mut window, Qos::AtLeastOnce).get()).collect();
    assert_eq!(ids, [65_534, 65_535, 1, 2]);
    assert!(matches!(ack(&mut window, AckKind::PubAck, id(1)), Acked::Completed(_, _)));
    assert!(matches!(ack(&mut window, AckKind::PubAck, id(65_535)), Acked::Completed(_, _)));
    assert_eq!(window.iter().map(|flight| flight.packet_id.get()).collect::<Vec<_>>(), [65_534, 2]);
}

#[test]
fn one_exchange_that_never_ends_costs_its_own_place_only() {
    let mut window = Window::default();
    let stuck = begin(&mut window, Qos::ExactlyOnce);
    let mut most = 0;
    for _ in 0..100_000 {
        let other = begin(&mut window, Qos::AtLeastOnce);
        assert_ne!(other, stuck);
        assert!(matches!(ack(&mut window, AckKind::PubAck, other), Acked::Completed(_, _)));
        most = most.max(window.flights.len());
    }
    assert!(most <= 4 * 2 + 64 + 1, "{most} places for one exchange");
    assert!(matches!(ack(&mut window, AckKind::PubRec, stuck), Acked::Received(Some(_))));
    assert!(matches!(ack(&mut window, AckKind::PubComp, stuck), Acked::Completed(None, _)));
    assert!(window.is_empty());
}

#[test]
fn every_id_can_be_in_use_and_no_more() {
    let mut window = Window::default();
    for _ in 0..65_535 {
        begin(&mut window, Qos::AtLeastOnce);
    }
    assert!(window.begin(Stage::Publishing, entry(Qos::AtLeastOnce), None).is_err());
    assert!(matches!(ack(&mut window, AckKind::PubAck, id(777)), Acked::Completed(_, _)));
    assert_eq!(begin(&mut window, Qos::AtLeastOnce), id(777));
}

#[test]
fn a_new_connection_owes_the_unfinished_in_the_old_order() {
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    let mut window = Window::default();
    let ids: Vec<_> = (0..5).map(|_| begin(&mut window, Qos::ExactlyOnce)).collect();
    ack(&mut window, AckKind::PubRec, ids[3]);
    store(&mut window, ids[1]);
    window.acknowledge(AckKind::PubRec, ids[1], false);
    ack(&mut window, AckKind::PubRec, ids[0]);
    ack(&mut window, AckKind::PubComp, ids[0]);
    assert_eq!(window.reconnect(), [ids[2], ids[3], ids[4]], "what is being stored is not due yet");
    assert_eq!(window.on_wire(), 0);
    assert!(window.find(ids[2]).unwrap().sent_before);
    window.written(ids[2]);
    window.written(ids[2]);
    assert_eq!(window.on_wire(), 1);
}

#[test]
fn packet_ids_are_released_in_their_order_however_the_store_settles_them() {
    let mut window = Window::default();
    let ids: Vec<_> = (0..3)
        .map(|_| window.begin(Stage::Storing, entry(Qos::ExactlyOnce), Some(SessionNumber(1))).unwrap())
        .collect();
    assert_eq!(window.stored(ids[1]), []);
    assert_eq!(window.stored(ids[0]), [ids[0], ids[1]]);
    assert_eq!(window.stored(ids[2]), [ids[2]]);
}

#[test]
fn an_abandoned_exchange_is_over_once() {
    let mut window = Window::default();
    let first = begin(&mut window, Qos::AtLeastOnce);
    begin(&mut window, Qos::AtLeastOnce);
    assert!(window.abandon(first).is_some());
    assert!(window.abandon(first).is_none());
    assert_eq!(window.len(), 1);
}

#[test]
fn a_received_id_is_taken_once_until_it_is_released() {
    // [MQTT-4.3.3-10]
    let mut received = Received::default();
    assert!(received.insert(id(9)) && received.insert(id(3)));
    assert!(!received.insert(id(9)));
    assert!(received.contains(id(3)));
    assert!(received.remove(id(9)) && !received.remove(id(9)));
    assert!(received.insert(id(9)));
    assert_eq!(received.len(), 2);
    received.clear();
    assert!(received.is_empty());
}

/// The window as a plain list.
#[derive(Debug, Default)]
struct Model(Vec<(u16, Qos, bool, bool)>);

proptest! {
    #[test]
    fn the_window_does_what_a_plain_list_does(
        start in prop_oneof![Just(0_u16), Just(65_500)],
        steps in prop::collection::vec((0_u8..6, any::<prop::sample::Index>(), any::<bool>()), 1..400),
    ) {
        let mut window = Window { last_id: start, ..Window::default() };
        let mut model = Model::default();
        for (step, at, flag) in steps {
            let chosen = (!model.0.is_empty()).then(|| at.index(model.0.len()));
            match (step, chosen) {
                (0 | 1, _) => {
                    let qos = if flag { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
                    let new = begin(&mut window, qos).get();
                    prop_assert!(model.0.iter().all(|known| known.0 != new));
                    model.0.push((new, qos, false, true));
                }
                (2, Some(at)) => {
                    let (number, qos, ..) = model.0[at];
                    match ack(&mut window, AckKind::PubAck, id(number)) {
                        Acked::Completed(Some(_), _) => {
                            prop_assert_eq!(qos, Qos::AtLeastOnce);
                            model.0.remove(at);
                        }
                        other => prop_assert!(matches!(other, Acked::OutOfTurn) && qos == Qos::ExactlyOnce),
                    }
                }
                (3, Some(at)) => {
                    let (number, qos, released, _) = model.0[at];
                    match ack(&mut window, AckKind::PubRec, id(number)) {
                        Acked::Received(Some(_)) => {
                            prop_assert!(qos == Qos::ExactlyOnce && !released);
                            model.0[at].2 = true;
                        }
                        Acked::ReleaseAgain => prop_assert!(released),
                        other => prop_assert!(matches!(other, Acked::OutOfTurn) && qos == Qos::AtLeastOnce),
                    }
                }
                (4, Some(at)) => {
                    let (number, _, released, _) = model.0[at];
                    match ack(&mut window, AckKind::PubComp, id(number)) {
                        Acked::Completed(None, _) => {
                            prop_assert!(released);
                            model.0.remove(at);
                        }
                        other => prop_assert!(matches!(other, Acked::OutOfTurn) && !released),
                    }
                }
                (5, _) if flag => {
                    let due: Vec<_> = window.reconnect().into_iter().map(NonZeroU16::get).collect();
                    prop_assert_eq!(due, model.0.iter().map(|known| known.0).collect::<Vec<_>>());
                    model.0.iter_mut().for_each(|known| known.3 = false);
                }
                _ => {}
            }
            prop_assert_eq!(window.len(), model.0.len());
            prop_assert_eq!(window.on_wire(), model.0.iter().filter(|known| known.3).count());
            let ids: Vec<_> = window.iter().map(|flight| flight.packet_id.get()).collect();
            prop_assert_eq!(ids, model.0.iter().map(|known| known.0).collect::<Vec<_>>());
        }
    }
}
