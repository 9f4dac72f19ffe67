//! What is refused in which state.

use std::sync::Arc;

use noctule_core::id::Qos;
use noctule_core::message::{Message, Restored};
use noctule_core::store::{Recipient, SessionNumber};
use noctule_core::topic::TopicName;

use super::*;

fn publish(to: &[u64], retained: Option<u64>, payload: &[u8]) -> StoreOp {
    let restored = Restored {
        topic: TopicName::from_validated("t"),
        fields: &[],
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_ms: u64::MAX,
        record: 1,
    };
    let recipient = |&session: &u64| Recipient {
        session: SessionNumber(session),
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: None,
    };
    let message: Arc<Message> = Message::restore(&restored);
    StoreOp::Publish { message, recipients: to.iter().map(recipient).collect(), retained, inbound: None }
}

fn subscribed() -> StoreOp {
    StoreOp::Subscribed {
        session: SessionNumber(1),
        filter: "t".into(),
        qos: Qos::AtLeastOnce,
        flags: (false, false),
        subscription_id: 0,
        selector: None,
    }
}

fn group() -> StoreOp {
    StoreOp::GroupKept {
        session: SessionNumber(1),
        group: "".into(),
        filter: "$queue/q".into(),
        options: Box::default(),
    }
}

fn together(parts: &[StoreOp]) -> StoreOp {
    StoreOp::Transaction(parts.into())
}

/// Operations, whether somebody waits, and whether they are taken on a full disk and on a failing one.
fn table() -> Vec<(StoreOp, bool, bool, bool)> {
    let session = SessionNumber(1);
    let acknowledged = StoreOp::Acknowledged { session, record: 1 };
    vec![
        (publish(&[1], None, b"x"), true, false, false),
        (publish(&[1], None, b"x"), false, false, false),
        (publish(&[], Some(1), b"x"), true, false, false),
        (publish(&[], Some(1), b""), true, true, false),
        (publish(&[], Some(1), b"x"), false, true, true),
        (subscribed(), true, true, false),
        (subscribed(), false, true, true),
        (StoreOp::Acknowledged { session, record: 1 }, false, true, true),
        (StoreOp::InboundReleased { session, packet_id: 1 }, true, true, true),
        (StoreOp::SessionEnded { session, records: Box::default() }, false, true, true),
        (StoreOp::Released { session, record: 1, deliveries: 1 }, false, true, true),
        (group(), true, true, false),
        (group(), false, true, true),
        (together(&[]), true, true, true),
        (together(&[acknowledged.clone(), publish(&[1], None, b"x")]), true, false, false),
        (together(&[publish(&[1], None, b"x"), acknowledged.clone()]), false, false, false),
        (together(&[publish(&[], Some(1), b"x")]), false, false, false),
        (together(&[publish(&[], Some(1), b""), acknowledged.clone()]), true, true, false),
        (together(&[acknowledged.clone(), subscribed()]), true, true, false),
        (together(&[acknowledged.clone(), subscribed()]), false, true, true),
        (together(&[acknowledged.clone(), acknowledged]), true, true, true),
    ]
}

#[test]
fn every_state_refuses_what_it_must_and_nothing_else() {
    for (op, waits, on_full, on_failing) in table() {
        let ticket = if waits { Ticket(1) } else { Ticket::NONE };
        let health = Health::default();
        assert!(health.admits(ticket, &op).is_ok(), "{op:?}");
        health.set_shortage(Some(Shortage::Reserve));
        assert_eq!(health.admits(ticket, &op).is_ok(), on_full, "on a full disk: {op:?}");
        health.set_trouble(Some(Trouble::Failing));
        assert_eq!(health.admits(ticket, &op).is_ok(), on_failing, "on a failing disk: {op:?}");
        health.set_trouble(Some(Trouble::Stopped));
        assert!(health.admits(ticket, &op).is_err(), "at the end: {op:?}");
    }
}

#[test]
fn it_says_what_is_wrong() {
    let health = Health::default();
    assert!(health.takes_messages().is_ok());
    assert_eq!(health.to_string(), "well");
    for shortage in Shortage::ALL {
        health.set_shortage(Some(shortage));
        assert_eq!(health.shortage(), Some(shortage));
        assert_eq!(health.takes_messages().unwrap_err().reason, shortage.reason());
    }
    for trouble in Trouble::ALL {
        health.set_trouble(Some(trouble));
        assert_eq!(health.trouble(), Some(trouble));
        assert_eq!(health.to_string(), trouble.reason(), "it matters more than room");
    }
    health.set_trouble(None);
    health.set_shortage(None);
    assert!(health.takes_messages().is_ok());
}
