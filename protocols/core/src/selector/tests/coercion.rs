//! What a value becomes beside another: headers are strings on the wire, JSON values have types of their own.

use super::Truth::{False, True, Unknown};
use super::*;

#[test]
fn a_header_beside_a_number_is_read_as_one() {
    let headers = [
        ("int", "5"),
        ("real", "5.0"),
        ("exponent", "+5e0"),
        ("huge", "9223372036854775808"),
        ("zeros", "005"),
    ];
    for name in ["int", "real", "exponent", "zeros"] {
        check(
            &headers,
            "",
            &[(&format!("{name} = 5 AND 5 = {name} AND {name} < 5.5 AND {name} + 1 = 6"), True)],
        );
    }
    check(&headers, "", &[("huge > 9223372036854775807", False), ("huge >= 9223372036854775807", True)]);
    let odd = [
        "", " 5", "5 ", "five", "0x5", "inf", "NaN", "infinity", "1e999", "5,0", "1_0", "--5", "+", ".", "5L",
    ];
    for odd in odd {
        check(
            &[("a", odd)],
            "",
            &[("a = 5", Unknown), ("a <> 5", Unknown), ("5 > a", Unknown), ("a + 1 > 0", Unknown)],
        );
    }
}

#[test]
fn a_header_beside_a_truth_value_is_the_word() {
    check(
        &[("yes", "TrUe"), ("no", "FALSE"), ("other", "1")],
        "",
        &[
            ("yes = TRUE AND TRUE = yes AND no = FALSE AND no <> TRUE", True),
            ("yes = FALSE", False),
            ("yes > FALSE", Unknown),
            ("other = TRUE", Unknown),
            ("other <> TRUE", Unknown),
            ("absent = TRUE", Unknown),
        ],
    );
}

#[test]
fn a_header_beside_a_text_is_a_text() {
    check(
        &[("a", "5.0")],
        "",
        &[("a = '5.0'", True), ("a = '5'", False), ("a <> '5'", True), ("a > '4'", Unknown)],
    );
}

#[test]
fn two_headers_are_numbers_if_both_can_be() {
    check(
        &[("a", "10"), ("b", "9.0"), ("c", "1e1"), ("d", "x"), ("e", "x"), ("f", "y")],
        "",
        &[
            ("a > b", True),
            ("a = c", True),
            ("a < c", False),
            ("d = e", True),
            ("d <> f", True),
            ("d < f", Unknown),
            ("a = d", False),
            ("a <> d", True),
            ("a < d", Unknown),
            ("a = absent", Unknown),
        ],
    );
}

#[test]
fn what_is_unlike_is_not_equal_nor_anything_else() {
    // Section 3.8.1.1: comparing values of unlike types is false.
    check(
        &[],
        "{\"n\":5,\"t\":true,\"s\":\"x\"}",
        &[
            ("1 = 'a'", False),
            ("1 <> 'a'", False),
            ("'1' = 1", False),
            ("TRUE = 1", False),
            ("'true' = TRUE", False),
            ("JSON('$.n') = '5'", False),
            ("JSON('$.n') = TRUE", False),
            ("JSON('$.t') = 1", False),
            ("JSON('$.t') = 'true'", False),
            ("JSON('$.s') = TRUE", False),
            ("JSON('$.t') <> JSON('$.n')", False),
            ("JSON('$.n') LIKE '5'", False),
            ("JSON('$.t') LIKE 'true'", False),
        ],
    );
}

#[test]
fn json_values_keep_their_types() {
    check(
        &[("level", "21.5"), ("word", "on"), ("flag", "true")],
        r#"{"n":21.5,"i":3,"s":"on","d":"21.5","t":true,"f":false,"z":null,"o":{},"a":[1],"e":"o\u006e","q":"\u0033"}"#,
        &[
            ("JSON('$.n') > 21 AND JSON('$.i') = 3.0", True),
            ("JSON('$.n') = level AND level = JSON('$.n')", True),
            ("JSON('$.n') = word", Unknown),
            ("JSON('$.s') = 'on' AND JSON('$.s') = word", True),
            ("JSON('$.s') <> 'off' AND JSON('$.s') LIKE 'o_' AND JSON('$.s') IN ('on')", True),
            ("JSON('$.s') = 5", Unknown),
            ("JSON('$.s') > 'a'", Unknown),
            ("JSON('$.d') = 21.5 AND JSON('$.d') * 2 = 43 AND -JSON('$.d') < 0", True),
            ("JSON('$.d') = JSON('$.n')", True),
            ("JSON('$.t') AND NOT JSON('$.f')", True),
            ("JSON('$.t') = TRUE AND JSON('$.t') = flag", True),
            ("JSON('$.t') <> JSON('$.f')", True),
            ("JSON('$.s')", Unknown),
            ("JSON('$.i')", Unknown),
            ("JSON('$.t') + 1 = 2", Unknown),
            ("JSON('$.z') IS NULL AND JSON('$.absent') IS NULL", True),
            ("JSON('$.z') = 1", Unknown),
            ("JSON('$.o') IS NOT NULL AND JSON('$.a') IS NOT NULL", True),
            ("JSON('$.o') = 1", Unknown),
            ("JSON('$.a') <> 'x'", Unknown),
            ("JSON('$.o') = JSON('$.o')", Unknown),
            ("JSON('$.a') LIKE '%'", Unknown),
            ("JSON('$.a') IN (1)", Unknown),
            ("JSON('$.o')", Unknown),
            ("JSON('$.a[0]') BETWEEN 1 AND 1", True),
            // An escaped string is the string.
            ("JSON('$.e') = 'on' AND JSON('$.e') = word AND JSON('$.e') = JSON('$.s')", True),
            ("JSON('$.e') <> 'o\\u006e' AND JSON('$.e') LIKE 'on'", True),
            ("JSON('$.q') = 3 AND 3 = JSON('$.q') AND JSON('$.q') + 1 = 4", True),
            ("JSON('$.e') = 3", Unknown),
            ("JSON('$.e') IS NULL", False),
            ("json('$.i') = 3", True),
        ],
    );
}

#[test]
fn a_payload_that_is_no_json_is_unknown_even_to_is_null() {
    for payload in ["", "no json", "{\"a\"", "{\"b\":\"\\x\\"] {
        check(
            &[("a", "1")],
            payload,
            &[
                ("JSON('$.a') IS NULL", Unknown),
                ("JSON('$.a') IS NOT NULL", Unknown),
                ("JSON('$.a') = 1", Unknown),
                ("JSON('$.a') LIKE '%'", Unknown),
                ("JSON('$.a')", Unknown),
                ("JSON('$.a') = 1 OR a = 1", True),
            ],
        );
    }
    check(&[], &"[".repeat(100_000), &[("JSON('$[1]') = 1", Unknown), ("JSON('$[1]') IS NULL", Unknown)]);
}

#[test]
fn a_path_may_have_quotes_in_it() {
    let payload = r#"{"odd key":{"it's":[5]}}"#;
    check(
        &[],
        payload,
        &[("JSON('$[\"odd key\"][\"it''s\"][0]') = 5", True), ("JSON('$[''odd key''].it''s[0]') = 5", True)],
    );
}
