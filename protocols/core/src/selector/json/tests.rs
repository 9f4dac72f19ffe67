//! JSON paths: what is found in a payload, what is not, and what is no JSON.

use super::*;

#[track_caller]
fn find<'a>(path: &str, payload: &'a str) -> Value<'a> {
    find_bytes(path, payload.as_bytes())
}

fn find_bytes<'a>(path: &str, payload: &'a [u8]) -> Value<'a> {
    Path::new(path).unwrap().find(payload, &mut usize::MAX.clone())
}

#[test]
fn a_path_leads_through_objects_and_arrays() {
    let payload = r#" { "a" : { "b" : [ { "c" : 1 } , [ ] , [ 2 , [ 3.5 ] ] ] , "x" : { } } , "d" : "t" } "#;
    for (path, wanted) in [
        ("$.a.b[0].c", Value::Int(1)),
        ("$.a.b[2][0]", Value::Int(2)),
        ("$.a.b[2][1][0]", Value::Real(3.5)),
        ("$.d", Value::Json("t")),
        ("$['d']", Value::Json("t")),
        ("$[\"a\"]['b'][0][\"c\"]", Value::Int(1)),
        ("$", Value::Opaque),
        ("$.a", Value::Opaque),
        ("$.a.b", Value::Opaque),
        ("$.a.b[1][0]", Value::Null),
        ("$.a.b[3]", Value::Null),
        ("$.a.x.y", Value::Null),
        ("$.a[0]", Value::Null),
        ("$.a.b.c", Value::Null),
        ("$.d.e", Value::Null),
        ("$.d[0]", Value::Null),
        ("$[0]", Value::Null),
        ("$.A", Value::Null),
    ] {
        assert_eq!(find(path, payload), wanted, "{path}");
    }
}

#[test]
fn every_scalar_has_its_type() {
    for (payload, wanted) in [
        ("true", Value::Truth(true)),
        ("false", Value::Truth(false)),
        ("null", Value::Null),
        ("0", Value::Int(0)),
        ("-0", Value::Int(0)),
        ("9223372036854775807", Value::Int(i64::MAX)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("9223372036854775808", Value::Real(9_223_372_036_854_775_808.0)),
        ("-1.5e2", Value::Real(-150.0)),
        ("1E+2", Value::Real(100.0)),
        ("1e400", Value::Unknown),
        ("\"\"", Value::Json("")),
        ("\t\r\n 21.5 ", Value::Real(21.5)),
    ] {
        assert_eq!(find("$", payload), wanted, "{payload}");
    }
}

#[test]
fn what_is_no_json_up_to_the_value_is_unknown() {
    for payload in [
        "",
        " ",
        "tru",
        "truE",
        "nulls",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "'a'",
        "\"a",
        "\"a\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "\u{feff}1",
        "]",
        "}",
    ] {
        assert_eq!(find("$", payload), Value::Unknown, "{payload:?}");
    }
    for payload in [
        "{",
        "{\"b\"",
        "{\"b\":",
        "{\"b\":1",
        "{\"b\":1,",
        "{\"b\":1,}",
        "{\"b\" 1}",
        "{b:1}",
        "{,}",
        "{\"b\":1 \"a\":2}",
        "{\"b\":[}",
        "{\"b\":[1}, \"a\":2}",
        "{\"b\":{]}, \"a\":2}",
        "{\"b\":[1 2], \"a\":2}",
        "{\"b\":[,], \"a\":2}",
        "{\"b\":{\"c\"}, \"a\":2}",
        "{\"b\":{\"c\":1,}, \"a\":2}",
        "{\"b\":tru, \"a\":2}",
        "{\"a\":}",
        "{\"a\":,}",
        "{\"b\":[1,], \"a\":2}",
        "not json",
        "{\"b\":\"x\ny\",\"a\":2}",
    ] {
        assert_eq!(find("$.a", payload), Value::Unknown, "{payload:?}");
    }
    for payload in ["[", "[1", "[1,", "[1 2]", "[,1]", "[1;2]", "[1,]"] {
        assert_eq!(find("$[1]", payload), Value::Unknown, "{payload:?}");
    }
}

#[test]
fn what_lies_behind_the_value_is_not_looked_at() {
    assert_eq!(find("$.a", "{\"a\":1,garbage"), Value::Int(1));
    assert_eq!(find("$.a.b", "{\"a\":{\"b\":\"x\"]]]"), Value::Json("x"));
    assert_eq!(find("$[0]", "[7,"), Value::Int(7));
    assert_eq!(find("$.a", "{\"a\":[garbage"), Value::Opaque);
}

#[test]
fn the_first_of_a_repeated_key_counts() {
    assert_eq!(find("$.a", r#"{"a":1,"a":2}"#), Value::Int(1));
    assert_eq!(find("$.a.b", r#"{"a":{"c":1},"a":{"b":2}}"#), Value::Null);
    // However it is written.
    assert_eq!(find("$.a", r#"{"\u0061":1,"a":2}"#), Value::Int(1));
}

#[test]
fn an_escaped_string_stays_as_it_is_until_it_is_needed() {
    let payload = r#"{"a":"\"\\\/\b\f\n\r\t\u00e9\u65e5\uD834\udd1E€"}"#;
    let Value::Escaped(raw) = find("$.a", payload) else { panic!("it has escapes") };
    assert_eq!(unescape(raw).unwrap(), "\"\\/\u{8}\u{c}\n\r\t\u{e9}日𝄞€");
}

#[test]
fn half_a_surrogate_pair_is_no_text() {
    for half in [r"\ud834", r"\ud834x", r"\ud834\n", r"\ud834A", r"\ud834\ud834", r"\udd1e", r"\udd1e\ud834"]
    {
        assert_eq!(find("$.a", &format!("{{\"a\":\"{half}\"}}")), Value::Unknown, "{half}");
        // Where it is only skipped it does no harm.
        assert_eq!(find("$.b", &format!("{{\"a\":\"{half}\",\"b\":1}}")), Value::Int(1), "{half}");
    }
}

#[test]
fn bytes_that_are_no_text_are_unknown() {
    assert_eq!(find_bytes("$", b"\"\xff\""), Value::Unknown);
    assert_eq!(find_bytes("$.a", b"{\"\xff\":\"\xff\",\"a\":1}"), Value::Int(1));
}

#[test]
fn keys_may_be_odd() {
    let payload = r#"{"odd key":1,"a.b":2,"":3,"it's":4,"q\"q":5,"[0]":6,"日":7,"\ud834\udd1e":8,"\\":9}"#;
    for (path, wanted) in [
        ("$[\"odd key\"]", 1),
        ("$.odd key", 1),
        ("$['a.b']", 2),
        ("$[\"\"]", 3),
        ("$[\"it's\"]", 4),
        ("$['it\\'s']", 4),
        ("$[\"q\\\"q\"]", 5),
        ("$['[0]']", 6),
        ("$.日", 7),
        ("$.𝄞", 8),
        ("$['\\\\']", 9),
    ] {
        assert_eq!(find(path, payload), Value::Int(wanted), "{path}");
    }
}

#[test]
fn a_wrong_path_is_told_with_its_place() {
    for (path, what, at) in [
        ("", "no '$'", 1),
        ("a", "no '$'", 1),
        ("$a", "neither '.' nor '['", 2),
        ("$.", "no name behind the '.'", 2),
        ("$.a..b", "no name behind the '.'", 4),
        ("$.日[", "neither a key in quotes nor an index", 4),
        ("$[-1]", "neither a key in quotes nor an index", 2),
        ("$[*]", "neither a key in quotes nor an index", 2),
        ("$[4294967296]", "neither a key in quotes nor an index", 2),
        ("$.*", "a wildcard, which is not supported,", 2),
        ("$['a]", "a key whose quote is never closed", 2),
        ("$['a'", "no ']'", 6),
        ("$[0", "no ']'", 4),
        ("$[0]a", "neither '.' nor '['", 5),
    ] {
        assert_eq!(Path::new(path), Err((what, at)), "{path:?}");
    }
    assert!(Path::new(&format!("${}", ".a".repeat(MAX_DEPTH))).is_ok());
    assert_eq!(Path::new(&format!("${}", ".a".repeat(MAX_DEPTH + 1))), Err(("more than 128 steps", 258)));
}

#[test]
fn nesting_has_a_bound_and_takes_no_stack() {
    let nested = |depth: usize| format!("{{\"a\":{}{},\"b\":1}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(find("$.b", &nested(MAX_DEPTH - 1)), Value::Int(1));
    assert_eq!(find("$.b", &nested(MAX_DEPTH)), Value::Unknown);
    let objects = |depth: usize| format!("[{}1{},2]", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert_eq!(find("$[1]", &objects(MAX_DEPTH - 1)), Value::Int(2));
    assert_eq!(find("$[1]", &objects(MAX_DEPTH)), Value::Unknown);
    let brackets = "[".repeat(100_000);
    assert_eq!(find("$[1]", &brackets), Value::Unknown);
    assert_eq!(find("$.a", &brackets), Value::Null);
    assert_eq!(find("$", &brackets), Value::Opaque);
    assert_eq!(find("$[1]", &"{\"a\":".repeat(20_000)), Value::Null);
    assert_eq!(find("$.b", &"{\"a\":".repeat(20_000)), Value::Unknown);
    // Every bracket must be closed by its like at any depth.
    let mixed = format!("[{}{}]", "[{\"a\":".repeat(60), "]}".repeat(60));
    assert_eq!(find("$[1]", &mixed), Value::Unknown);
    let mixed = format!("[{}1{},2]", "[{\"a\":".repeat(60), "}]".repeat(60));
    assert_eq!(find("$[1]", &mixed), Value::Int(2));
}

#[test]
fn what_is_read_is_taken_off_and_nothing_beyond_is() {
    let taken = |path: &str, payload: &[u8], most: usize| {
        let mut steps = most;
        Path::new(path).unwrap().find(payload, &mut steps);
        most - steps
    };
    let payload = br#"{"a":1,"b":"long","c":3}"#;
    assert_eq!(taken("$.a", payload, 1_000), 6, "up to the value, and it");
    assert_eq!(taken("$.z", payload, 1_000), payload.len());
    assert_eq!(taken("$.z", payload, 10), 10, "and no further than there are steps");
    // What never ends counts as a whole, and what is no JSON as far as it was read.
    assert_eq!(taken("$.a", br#"{"a":"unclosed"#, 1_000), 14);
    assert_eq!(taken("$.a", b"binary, and more", 1_000), 6);
}
