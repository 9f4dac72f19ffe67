//! What a name means: user properties, the other fields, and the names of JMS.

use super::Truth::{False, True, Unknown};
use super::*;

/// A property with one string or binary value.
fn with(tag: u8, value: &[u8], mut fields: Vec<u8>) -> Vec<u8> {
    fields.push(tag);
    fields.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
    fields.extend_from_slice(value);
    fields
}

#[test]
fn the_first_property_of_a_name_counts() {
    // With a name that is not there the search goes on to the end.
    let headers = [("a", "1"), ("b", "2"), ("a", "3")];
    check(&headers, "", &[("a = 1 AND b = 2", True), ("a = 1 AND absent IS NULL", True), ("a = 3", False)]);
}

#[test]
fn identifiers_are_java_s() {
    check(
        &[("_a", "1"), ("$b", "2"), ("größe", "3"), ("a1", "4"), ("日", "5")],
        "",
        &[("_a = 1 AND $b = 2 AND größe = 3 AND a1 = 4 AND 日 = 5", True)],
    );
}

#[test]
fn other_names_stand_in_double_quotes() {
    check(
        &[
            ("x-a", "1"),
            ("a b", "2"),
            ("q\"q", "3"),
            ("NULL", "4"),
            ("7up", "5"),
            ("JSON", "6"),
            ("a.b", "7"),
        ],
        "",
        &[
            ("\"x-a\" = 1 AND \"a b\" = 2 AND \"q\"\"q\" = 3 AND \"NULL\" = 4 AND \"7up\" = 5", True),
            ("JSON = 6 AND \"JSON\" = 6 AND \"a.b\" = 7", True),
            // Without quotes it is a difference.
            ("x-a = 1", Unknown),
        ],
    );
}

#[test]
fn topic_and_destination_are_the_topic() {
    check(
        &[("topic", "other"), ("destination", "other")],
        "",
        &[("topic = 'plant/7' AND destination = 'plant/7'", True), ("\"topic\" LIKE 'plant/%'", True)],
    );
}

#[test]
fn the_fields_that_are_no_user_properties_have_names() {
    let user = encoded([("content-type", "no"), ("reply-to", "no"), ("correlation-id", "no"), ("a", "1")]);
    let fields = with(field::CONTENT_TYPE, b"text/plain", user.clone());
    let fields = with(field::RESPONSE_TOPIC, b"answers/1", fields);
    let fields = with(field::CORRELATION_DATA, b"42", fields);
    let text = "\"content-type\" = 'text/plain' AND \"reply-to\" = 'answers/1' AND JMSReplyTo = 'answers/1' \
                AND \"correlation-id\" = 42 AND JMSCorrelationID = '42' AND a = 1";
    assert_eq!(outcome(text, &fields, b""), True);
    for name in ["\"content-type\"", "\"reply-to\"", "JMSReplyTo", "\"correlation-id\"", "JMSCorrelationID"] {
        assert_eq!(outcome(&format!("{name} IS NULL"), &user, b""), True, "{name}");
        assert_eq!(outcome(&format!("{name} IS NULL"), &fields, b""), False, "{name}");
    }
    let fields = with(field::CORRELATION_DATA, b"\xff", Vec::new());
    assert_eq!(outcome("JMSCorrelationID IS NOT NULL", &fields, b""), True);
    assert_eq!(outcome("JMSCorrelationID = 'x'", &fields, b""), Unknown);
}

#[test]
fn a_payload_format_before_the_properties_is_no_hindrance() {
    let mut fields = vec![field::PAYLOAD_FORMAT, 1];
    fields.extend(encoded([("a", "1")]));
    assert_eq!(outcome("a = 1", &fields, b""), True);
}

#[test]
fn jms_names_mean_the_properties_that_carry_them() {
    let headers = [("type", "car"), ("priority", "7"), ("timestamp", "1700000000000"), ("JMSXGroupID", "g")];
    let text = "JMSType = 'car' AND JMSPriority = 7 AND JMSTimestamp > 1600000000000 AND JMSXGroupID = 'g'";
    check(
        &headers,
        "",
        &[(text, True), ("type = 'car' AND priority = 7 AND timestamp = JMSTimestamp", True)],
    );
    check(&[], "", &[("JMSPriority = 4", True), ("priority = 4", Unknown), ("priority IS NULL", True)]);
    check(
        &[],
        "",
        &[("JMSType IS NULL", True), ("JMSTimestamp IS NULL", True), ("JMSXGroupID IS NULL", True)],
    );
    check(&[], "", &[("JMSDeliveryMode = 'NON_PERSISTENT'", True), ("JMSDeliveryMode LIKE 'NON%'", True)]);
}

#[test]
fn many_names_are_found_as_few_are() {
    let names: Vec<String> = (0..40).map(|place| format!("{}{place}", "x".repeat(place % 3 + 1))).collect();
    for count in [7, 8, 9, 40] {
        let fields = encoded(names.iter().take(count).map(|name| (name.as_str(), name.as_str())));
        for name in names.iter().take(count) {
            let all: Vec<String> =
                names.iter().take(count).map(|name| format!("{name} = '{name}'")).collect();
            let text = format!("{name} = '{name}' AND {} AND absent IS NULL", all.join(" AND "));
            assert_eq!(outcome(&text, &fields, b""), True, "{count} names");
        }
    }
}
