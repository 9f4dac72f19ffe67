//! Section 3.8.1.1 and the tables of 3.8.1.2: literals, operators, precedence, three-valued logic.

use super::Truth::{False, True, Unknown};
use super::*;

const HEADERS: &[(&str, &str)] =
    &[("one", "1"), ("two", "2"), ("text", "plant-7"), ("yes", "TRUE"), ("no", "false"), ("empty", "")];

/// Three ways to write each truth value; the absent name makes a comparison unknown.
const WRITTEN: [(&str, Truth); 3] = [("one = 1", True), ("one = 2", False), ("absent = 1", Unknown)];

#[test]
fn and_or_and_not_follow_their_tables() {
    let and = [[True, False, Unknown], [False, False, False], [Unknown, False, Unknown]];
    let or = [[True, True, True], [True, False, Unknown], [True, Unknown, Unknown]];
    for (row, (left, _)) in WRITTEN.into_iter().enumerate() {
        for (column, (right, _)) in WRITTEN.into_iter().enumerate() {
            check(
                HEADERS,
                "",
                &[
                    (&format!("{left} AND {right}"), and[row][column]),
                    (&format!("{left} OR {right}"), or[row][column]),
                ],
            );
        }
    }
    for ((written, plain), negated) in WRITTEN.into_iter().zip([False, True, Unknown]) {
        check(HEADERS, "", &[(written, plain), (&format!("NOT {written}"), negated)]);
        check(HEADERS, "", &[(&format!("NOT NOT {written}"), plain)]);
    }
}

#[test]
fn only_true_selects() {
    let selects = |text: &str| Selector::parse(text).unwrap().matches_parts("t", &Fields::default(), b"");
    assert_eq!(["TRUE", "FALSE", "absent = 1", "absent"].map(selects), [true, false, false, false]);
}

#[test]
fn no_text_is_no_selector() {
    // Section 3.8.1: an empty string means that there is no message selector.
    check(HEADERS, "", &[("TRUE", True)]);
    for text in ["", "  \t\n"] {
        assert!(Selector::parse(text).unwrap().matches_parts("t", &Fields::default(), b""));
    }
}

#[test]
fn keywords_have_no_case_and_names_do() {
    check(
        HEADERS,
        "",
        &[
            ("one = 1 aNd nOt two = 1 oR false", True),
            ("tRue", True),
            ("one bEtween 0 and 1", True),
            ("absent iS nUll", True),
            ("text iN ('plant-7')", True),
            ("text nOt lIke 'plant!%' eScape '!'", True),
            ("ONE = 1", Unknown),
        ],
    );
}

#[test]
fn comparisons_compare() {
    for (operator, less, equal, greater) in [
        ("=", False, True, False),
        ("<>", True, False, True),
        ("!=", True, False, True),
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
    ] {
        for (right, wanted) in
            [("2", less), ("1", equal), ("0", greater), ("1.5", less), ("1.0", equal), ("absent", Unknown)]
        {
            check(HEADERS, "", &[(&format!("one {operator} {right}"), wanted)]);
            check(HEADERS, "", &[(&format!("1 {operator} {right}"), wanted)]);
        }
        // From the other side.
        for (left, wanted) in [("0", less), ("1", equal), ("2", greater)] {
            check(HEADERS, "", &[(&format!("{left} {operator} one"), wanted)]);
        }
    }
}

#[test]
fn texts_and_truth_values_are_equal_or_not_and_have_no_order() {
    check(
        HEADERS,
        "",
        &[
            ("text = 'plant-7'", True),
            ("text <> 'plant-7'", False),
            ("text = 'Plant-7'", False),
            ("text <> 'Plant-7'", True),
            ("empty = ''", True),
            ("text > 'a'", Unknown),
            ("'a' < 'b'", Unknown),
            ("'a' <= 'a'", Unknown),
            ("TRUE = TRUE", True),
            ("TRUE <> FALSE", True),
            ("TRUE > FALSE", Unknown),
        ],
    );
}

#[test]
fn a_quote_in_a_text_is_doubled() {
    check(
        &[("a", "it's"), ("b", "'"), ("c", "日本 \"x\"")],
        "",
        &[("a = 'it''s'", True), ("b = ''''", True)],
    );
    check(&[("c", "日本 \"x\"")], "", &[("c = '日本 \"x\"'", True)]);
}

#[test]
fn numbers_are_exact_or_approximate() {
    check(
        &[],
        "",
        &[
            ("57 = +57", True),
            ("-957 = 0 - 957", True),
            ("7. = 7", True),
            (".5 = 0.5", True),
            ("7E3 = 7000", True),
            ("-57.9E2 = -5790.0", True),
            ("1e-1 = .1", True),
            ("1E+2 = 100", True),
            ("0 = -0.0", True),
            ("9223372036854775807 > 9223372036854775806", True),
            ("-9223372036854775808 < -9223372036854775807", True),
            ("- 9223372036854775808 < 0", True),
        ],
    );
}

#[test]
fn operators_bind_as_strongly_as_they_should() {
    check(
        HEADERS,
        "",
        &[
            // OR, AND, NOT, comparison, sum, product, sign.
            ("TRUE OR TRUE AND FALSE", True),
            ("(TRUE OR TRUE) AND FALSE", False),
            ("FALSE AND TRUE OR TRUE", True),
            ("NOT FALSE AND FALSE", False),
            ("NOT (FALSE AND FALSE)", True),
            ("NOT FALSE OR TRUE", True),
            ("NOT one = 2", True),
            ("NOT one IN (2) AND TRUE", True),
            ("1 + 2 * 3 = 7", True),
            ("(1 + 2) * 3 = 9", True),
            ("10 - 2 - 3 = 5", True),
            ("10 - (2 - 3) = 11", True),
            ("16 / 4 / 2 = 2", True),
            ("2 * 3 / 4 = 1", True),
            ("2 + 3 > 4 AND 1 < 2", True),
            ("-one + 3 = two", True),
            ("-(one + 3) = -4", True),
            ("- - one = 1", True),
            ("+one = 1", True),
            ("2 * -one = -2", True),
            ("one BETWEEN 0 AND 1 AND two = 2", True),
            ("one BETWEEN 0 + 0 AND 1 * 1 OR FALSE", True),
            ("FALSE AND one BETWEEN 0 AND 1", False),
            ("NOT one BETWEEN 0 AND 1", False),
            ("one BETWEEN (two - 1) AND (two)", True),
        ],
    );
}

#[test]
fn arithmetic_is_java_s_as_far_as_it_can_be_told() {
    check(
        HEADERS,
        "",
        &[
            ("7 / 2 = 3", True),
            ("-7 / 2 = -3", True),
            ("7 / 2.0 = 3.5", True),
            ("two * 1.5 = 3", True),
            ("one / 0 = 1", Unknown),
            ("one / 0.0 > 1", Unknown),
            ("0.0 / 0 = 0", Unknown),
            ("9223372036854775807 + one > 0", Unknown),
            ("-9223372036854775808 - one < 0", Unknown),
            ("-9223372036854775808 * -1 > 0", Unknown),
            ("-9223372036854775808 / -1 > 0", Unknown),
            ("-(-9223372036854775808) > 0", Unknown),
            ("9223372036854775807 + 1.0 > 0", True),
            ("1E308 * 10 > 0", Unknown),
            ("absent + 1 = 1", Unknown),
            ("-absent = 1", Unknown),
            ("text + 1 = 1", Unknown),
        ],
    );
}

#[test]
fn between_includes_both_bounds() {
    check(
        HEADERS,
        "",
        &[
            ("two BETWEEN 2 AND 3", True),
            ("two BETWEEN 1 AND 2", True),
            ("two BETWEEN 3 AND 1", False),
            ("two NOT BETWEEN 3 AND 4", True),
            ("two NOT BETWEEN 1 AND 2", False),
            ("absent BETWEEN 1 AND 2", Unknown),
            ("absent NOT BETWEEN 1 AND 2", Unknown),
            // One side is enough to tell.
            ("two BETWEEN absent AND 1", False),
            ("two BETWEEN absent AND 3", Unknown),
            ("2 BETWEEN one AND two", True),
        ],
    );
}

#[test]
fn in_is_a_row_of_equalities() {
    check(
        HEADERS,
        "",
        &[
            ("text IN ('plant-6', 'plant-7')", True),
            ("text NOT IN ('plant-6', 'plant-7')", False),
            ("text IN ('plant-6')", False),
            ("text NOT IN ('plant-6')", True),
            ("absent IN ('a')", Unknown),
            ("absent NOT IN ('a')", Unknown),
            ("one IN (-1, +1.0, 7)", True),
            ("one IN (-1)", False),
            ("one NOT IN (2, '3')", True),
            // Were the header a number, it might be 5.
            ("text IN (5, 'x')", Unknown),
            ("text IN (5, 'plant-7')", True),
        ],
    );
    check(&[("a", "-9223372036854775808")], "", &[("a IN (-9223372036854775808)", True)]);
}

#[test]
fn like_compares_texts_with_a_pattern() {
    check(
        HEADERS,
        "",
        &[("text LIKE 'plant-_'", True), ("text LIKE 'plant'", False), ("text NOT LIKE '%7'", False)],
    );
    check(
        &[("a", "50%"), ("b", "it's")],
        "",
        &[
            ("a LIKE '50!%' ESCAPE '!'", True),
            ("a NOT LIKE '5_!%' ESCAPE '!'", False),
            ("b LIKE '%''s'", True),
            ("absent LIKE '%'", Unknown),
            ("absent NOT LIKE '%'", Unknown),
        ],
    );
}

#[test]
fn is_null_is_never_unknown_for_a_name() {
    check(
        HEADERS,
        "",
        &[
            ("absent IS NULL", True),
            ("absent IS NOT NULL", False),
            ("empty IS NULL", False),
            ("empty IS NOT NULL", True),
            ("NOT absent IS NULL", False),
        ],
    );
}

#[test]
fn a_name_may_be_a_condition() {
    check(
        HEADERS,
        "",
        &[("yes", True), ("no", False), ("one", Unknown), ("absent", Unknown), ("NOT no AND yes", True)],
    );
}

#[test]
fn conditions_in_parentheses_can_be_compared() {
    check(
        HEADERS,
        "",
        &[
            ("(one = 1) = TRUE", True),
            ("(one = 1) <> (two = 1)", True),
            ("(one = 1) = yes", True),
            ("no = (two = 1)", True),
            ("(absent = 1) = TRUE", Unknown),
            ("(one = 1) = 1", False),
            ("one + 0 = (two = 2)", False),
        ],
    );
}

#[test]
fn what_cannot_change_the_outcome_is_skipped() {
    // Long programs jump; they must land where the shorter ones would.
    check(
        HEADERS,
        "",
        &[
            ("FALSE AND (TRUE OR one = 1 AND two = 2) OR TRUE", True),
            ("TRUE OR (FALSE AND one = 1 OR two = 3) AND FALSE", True),
            ("(TRUE OR FALSE) AND (FALSE AND TRUE) OR NOT (TRUE OR FALSE)", False),
            ("absent = 1 AND FALSE OR absent = 1 OR TRUE", True),
        ],
    );
}

#[test]
fn the_largest_selectors_work() {
    let inside = Selector::MAX_NESTING;
    check(HEADERS, "", &[(&format!("{}one = 1{}", "(".repeat(inside - 1), ")".repeat(inside - 1)), True)]);
    let nested = format!("{}0{}", "1 + 2 * (".repeat(inside - 1), ")".repeat(inside - 1));
    check(HEADERS, "", &[(&format!("{nested} > 0"), True)]);
    let computed = format!("{}-one{}", "-one + -two * (".repeat(inside - 1), ")".repeat(inside - 1));
    check(HEADERS, "", &[(&format!("{computed} <> 0"), True)]);
    let conditions = format!("{}no{}", "no OR yes AND (".repeat(inside - 1), ")".repeat(inside - 1));
    check(HEADERS, "", &[(&conditions, False)]);
    let names: Vec<String> = (0..Selector::MAX_TERMS / 2).map(|place| format!("n{place}")).collect();
    let fields = encoded(names.iter().map(|name| (name.as_str(), &name[1..])));
    let every: Vec<String> = names.iter().map(|name| format!("{name} = {}", &name[1..])).collect();
    assert_eq!(outcome(&every.join(" AND "), &fields, b""), True);
    let long = "NOT ".repeat(1022) + "yes";
    assert!(long.len() <= Selector::MAX_BYTES);
    let fields = encoded(HEADERS.iter().copied());
    let selector = Selector::parse(&long).unwrap();
    assert!(selector.matches_parts("t", &Fields::from_validated([&fields, &[], &[]]), b""));
    let signs = "- ".repeat(2000) + "one = 1";
    assert_eq!(outcome(&signs, &fields, b""), True);
}
