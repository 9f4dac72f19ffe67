//! The language rule by rule; the parts (LIKE, JSON paths) have their own tests.

mod coercion;
mod language;
mod names;
mod random;
mod refused;

use std::sync::Arc;

use super::value::Truth;
use super::*;
use crate::id::SessionId;
use crate::message::{Publish, field};
use crate::topic::TopicName;

/// Fields with these user properties, encoded.
fn encoded<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        bytes.push(field::USER_PROPERTY);
        for text in [name, value] {
            bytes.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// What a selector comes to, told from outside: it or its negation matches, or neither.
#[track_caller]
fn outcome(text: &str, fields: &[u8], payload: &[u8]) -> Truth {
    let fields = Fields::from_validated([fields, &[], &[]]);
    let matches = |text: &str| match Selector::parse(text) {
        Ok(selector) => selector.matches_parts("plant/7", &fields, payload),
        Err(error) => panic!("{text}: {error}"),
    };
    match (matches(text), matches(&format!("NOT ({text})"))) {
        (true, false) => Truth::True,
        (false, true) => Truth::False,
        (false, false) => Truth::Unknown,
        (true, true) => panic!("{text} is both TRUE and FALSE"),
    }
}

/// Checks outcomes over one message.
#[track_caller]
fn check(headers: &[(&str, &str)], payload: &str, wanted: &[(&str, Truth)]) {
    let fields = encoded(headers.iter().copied());
    for (text, wanted) in wanted {
        assert_eq!(outcome(text, &fields, payload.as_bytes()), *wanted, "{text}");
    }
}

#[test]
fn it_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Arc::new(Selector::parse("a = 1").unwrap()));
}

#[test]
fn it_is_known_by_its_text() {
    let selector = Selector::parse("a  = 1").unwrap();
    assert_eq!(selector.as_str(), "a  = 1");
    assert_eq!(selector, Selector::parse("a  = 1").unwrap());
    assert_ne!(selector, Selector::parse("a = 1").unwrap());
}

#[test]
fn header_bindings_ask_for_every_or_any_header() {
    let pairs = [("a", "it's"), ("odd \"key\"", "2")];
    let all = Selector::all_equal(pairs.into_iter(), false).unwrap();
    let any = Selector::all_equal(pairs.into_iter(), true).unwrap();
    assert_eq!(all.as_str(), r#""a" = 'it''s' AND "odd ""key""" = '2'"#);
    let matched = |headers: &[(&str, &str)]| {
        let bytes = encoded(headers.iter().copied());
        let fields = Fields::from_validated([&bytes, &[], &[]]);
        (all.matches_parts("t", &fields, b""), any.matches_parts("t", &fields, b""))
    };
    assert_eq!(matched(&pairs), (true, true));
    assert_eq!(matched(&pairs[..1]), (false, true));
    assert_eq!(
        matched(&[("a", "it's"), ("odd \"key\"", "2.0")]),
        (false, true),
        "they are texts, not numbers"
    );
    assert_eq!(matched(&[("a", "its")]), (false, false));
    let none = |any| Selector::all_equal(std::iter::empty(), any).unwrap();
    assert!(none(false).matches_parts("t", &Fields::default(), b""));
    assert!(!none(true).matches_parts("t", &Fields::default(), b""));
    assert!(Selector::all_equal([("", "x")].into_iter(), false).is_err());
    assert!(Selector::all_equal([("a", "b"); 129].into_iter(), true).is_err());
}

#[test]
fn the_delivery_mode_is_the_messages_quality_of_service() {
    let selector = Selector::parse("JMSDeliveryMode = 'PERSISTENT'").unwrap();
    for (qos, persistent) in [(Qos::AtMostOnce, false), (Qos::AtLeastOnce, true), (Qos::ExactlyOnce, true)] {
        let publish = Publish {
            topic: TopicName::from_validated("plant/7"),
            fields: Fields::default(),
            payload: b"5",
            qos,
            retain: false,
            dup: false,
            packet_id: None,
            expiry_s: None,
        };
        let message = Message::new(&publish, SessionId::NOBODY, 0);
        assert_eq!(selector.matches(&message), persistent);
        assert!(Selector::parse("topic = 'plant/7' AND JSON('$') = 5").unwrap().matches(&message));
    }
    assert!(!selector.matches_parts("t", &Fields::default(), b""));
    let other = Selector::parse("JMSDeliveryMode = 'NON_PERSISTENT'").unwrap();
    assert!(other.matches_parts("t", &Fields::default(), b""));
}

/// The defence against selectors that are bombs: what one evaluation may look at is bounded.
#[test]
fn an_evaluation_looks_at_so_much_of_a_message_and_no_more() {
    let most = Selector::MAX_STEPS;
    let all_of = |term: &str, count: usize| vec![term; count].join(" AND ");
    // A document, read to its end once for each term.
    let document = format!("{{\"a\":\"{}\"}}", "a".repeat(most / 4));
    let absent = "JSON('$.z') IS NULL";
    assert_eq!(outcome(&all_of(absent, 3), b"", document.as_bytes()), Truth::True);
    assert_eq!(outcome(&all_of(absent, 4), b"", document.as_bytes()), Truth::Unknown);
    // A header likewise.
    let header = "h".repeat(64_000);
    let fields = encoded([("h", header.as_str())]);
    assert_eq!(outcome(&all_of("h<>'x'", most / 64_000), &fields, b""), Truth::True);
    assert_eq!(outcome(&all_of("h<>'x'", most / 64_000 + 1), &fields, b""), Truth::Unknown);
    // A pattern takes its length for each character of the text.
    let pattern = format!("h NOT LIKE '%{}x'", "h".repeat(250));
    assert_eq!(outcome(&pattern, &encoded([("h", &header[..1_000])]), b""), Truth::True);
    assert_eq!(outcome(&pattern, &fields, b""), Truth::Unknown);
}
