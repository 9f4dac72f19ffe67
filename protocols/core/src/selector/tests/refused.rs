//! What is no selector, and what is said about it.

use super::*;

#[track_caller]
fn refused(text: &str) -> String {
    Selector::parse(text).expect_err(text).to_string()
}

#[test]
fn an_error_says_what_where_and_how_to_mend_it() {
    for (text, told) in [
        (
            "level = = 3",
            "9: '=' stands where a value belongs; write a name, a number, a text in single quotes, TRUE, FALSE or JSON('$.path')",
        ),
        ("level == 3", "7: '==' is no operator, write '='"),
        ("a => 3", "3: '=>' is no operator, write '>='"),
        ("a =< 3", "3: '=<' is no operator, write '<='"),
        ("a = 1 && b = 2", "7: '&&' is no operator, write 'AND'"),
        ("a = 1 || b = 2", "7: '||' is no operator, write 'OR'"),
        ("!a", "1: '!' is no operator, write 'NOT'"),
        (
            "größe # 3",
            "7: '#' has no meaning here; put a name that contains it in double quotes, text in single quotes",
        ),
        (
            "a.b = 3",
            "2: '.' has no meaning here; put a name that contains it in double quotes, text in single quotes",
        ),
        ("a = '日\u{7}", "5: '日\\u{7} has no end; close it with ' and double each ' inside"),
        ("\"a = 3", "1: \"a = 3 has no end; close it with \" and double each \" inside"),
        ("\"\" = 3", "1: a name in double quotes is empty; write the header's name between them"),
        ("a = 0x1F", "5: '0x1F' is no number; write it in decimal"),
        ("a = 017", "5: '017' is no number; write it without leading zeros"),
        (
            "a = 5L",
            "5: '5L' is no number; put a name that begins with a digit in double quotes, and a space after a number",
        ),
        (
            "a = 1.2.3",
            "5: '1.2.3' is no number; put a name that begins with a digit in double quotes, and a space after a number",
        ),
        (
            "a = 1e",
            "5: '1e' is no number; put a name that begins with a digit in double quotes, and a space after a number",
        ),
        (
            "a = 9223372036854775808",
            "5: '9223372036854775808' is out of range; whole numbers lie between -9223372036854775808 and 9223372036854775807, write a decimal point to have it rounded",
        ),
        (
            "5 - 9223372036854775808 = a",
            "5: '9223372036854775808' is out of range; whole numbers lie between -9223372036854775808 and 9223372036854775807, write a decimal point to have it rounded",
        ),
        (
            "a = -9223372036854775809",
            "6: '9223372036854775809' is out of range; whole numbers lie between -9223372036854775808 and 9223372036854775807, write a decimal point to have it rounded",
        ),
        (
            "a = 99999999999999999999",
            "5: '99999999999999999999' is out of range; whole numbers lie between -9223372036854775808 and 9223372036854775807, write a decimal point to have it rounded",
        ),
        ("a = 1E309", "5: '1E309' is out of range; the largest number is about 1.8E308"),
        (
            "a =",
            "4: the end stands where a value belongs; write a name, a number, a text in single quotes, TRUE, FALSE or JSON('$.path')",
        ),
        (
            "()",
            "2: ')' stands where a value belongs; write a name, a number, a text in single quotes, TRUE, FALSE or JSON('$.path')",
        ),
        (
            "a b",
            "3: 'b' stands where an operator belongs; join two conditions with AND or OR, and double a quote inside a text",
        ),
        ("a = 'it's'", "10: ' has no end; close it with ' and double each ' inside"),
        (
            "a NOT b",
            "3: 'NOT' stands where an operator belongs; write NOT before the whole condition, or NOT IN, NOT LIKE, NOT BETWEEN",
        ),
        ("a = NOT b", "5: 'NOT' stands where a value belongs; put the NOT and its condition in parentheses"),
        (
            "a = NULL",
            "5: 'NULL' cannot be compared or computed with; write IS NULL or IS NOT NULL after a name",
        ),
        ("a = 1 AND (b = 2", "11: this '(' is never closed; write ')' where it ends"),
        ("a = 1)", "6: this ')' closes nothing; remove it or write '(' where it begins"),
        ("1 < a < 3", "7: '<' follows a comparison, and comparisons do not chain; join two of them with AND"),
        (
            "a IS NULL IS NULL",
            "11: 'IS' follows a comparison, and comparisons do not chain; join two of them with AND",
        ),
        (
            "a + 'b' = 3",
            "5: 'b' is a text where a number belongs; write the number without quotes, or compare texts with = or <>",
        ),
        (
            "a BETWEEN 'a' AND 'b'",
            "11: 'a' is a text where a number belongs; write the number without quotes, or compare texts with = or <>",
        ),
        (
            "-TRUE = a",
            "2: 'TRUE' is a truth value where a number belongs; compute with numbers, names and JSON() only",
        ),
        (
            "(a = 1) + 1 = 2",
            "1: '(a = 1)' is a condition where a number belongs; compute with numbers, names and JSON() only",
        ),
        ("a = 1 AND 5", "11: '5' is a number where a condition belongs; compare it with something"),
        ("NOT 'a'", "5: 'a' is a text where a condition belongs; compare it with something"),
        ("a + 1", "1: 'a + 1' is a number where a condition belongs; compare it with something"),
        ("-5", "1: '-5' is a number where a condition belongs; compare it with something"),
        ("a BETWEEN 1 OR b", "3: 'BETWEEN' stands where a range belongs; write BETWEEN lower AND upper"),
        ("a NOT BETWEEN 1", "3: 'NOT BETWEEN' stands where a range belongs; write BETWEEN lower AND upper"),
        ("(a BETWEEN 1) AND 2", "4: 'BETWEEN' stands where a range belongs; write BETWEEN lower AND upper"),
        ("a IS 5", "6: '5' stands where NULL belongs; write IS NULL or IS NOT NULL"),
        ("5 IS NULL", "1: IS NULL tests a name or JSON(), not '5'; write one before it"),
        ("a + 1 IN (1)", "1: IN tests a name or JSON(), not 'a + 1'; write one before it"),
        ("-a IN (3)", "1: IN tests a name or JSON(), not '-a'; write one before it"),
        ("'a' LIKE 'b'", "1: LIKE tests a name or JSON(), not 'a'; write one before it"),
        ("a IN 1", "6: '1' stands where '(' belongs; write the list in parentheses: IN ('a', 'b')"),
        ("a IN ()", "7: ')' stands where a text or a number belongs; list literals only: IN ('a', 'b', 3)"),
        ("a IN (b)", "7: 'b' stands where a text or a number belongs; list literals only: IN ('a', 'b', 3)"),
        (
            "a IN (-'b')",
            "8: 'b' stands where a text or a number belongs; list literals only: IN ('a', 'b', 3)",
        ),
        ("a IN (1 2)", "9: '2' stands where ',' or ')' belongs; end the list with ')'"),
        ("a LIKE b", "8: 'b' stands where a pattern belongs; write the pattern in single quotes: LIKE 'a%'"),
        (
            "a LIKE 'b' ESCAPE 1",
            "19: '1' stands where the escape character belongs; write it in single quotes",
        ),
        (
            "a LIKE 'b' ESCAPE 'xy'",
            "19: the escape 'xy' is not one character; write ESCAPE and one character in single quotes",
        ),
        (
            "a LIKE 'b' ESCAPE ''",
            "19: the escape '' is not one character; write ESCAPE and one character in single quotes",
        ),
        (
            "a LIKE 'x!y' ESCAPE '!'",
            "8: in the pattern 'x!y' the escape '!' stands before none of '%', '_' and itself; double it to mean it",
        ),
        (
            "JSON(a) = 1",
            "6: 'a' stands where a path belongs; write JSON('$.path') with the path in single quotes",
        ),
        ("JSON('$.a' = 1", "12: '=' stands where ')' belongs; write JSON('$.path')"),
        (
            "JSON('a.b') = 1",
            "6: the path 'a.b' has no '$' at its character 1; write it like $.a.b[0][\"odd key\"]",
        ),
        (
            "a = 1 AND JSON('$.a..b') = 1",
            "16: the path '$.a..b' has no name behind the '.' at its character 4; write it like $.a.b[0][\"odd key\"]",
        ),
    ] {
        assert_eq!(refused(text), format!("selector: at column {told}"), "{text}");
    }
}

#[test]
fn a_long_token_is_cut_and_a_newline_in_it_escaped() {
    let told = refused(&format!("a = 'x\n{}", "y".repeat(100)));
    assert_eq!(
        told,
        format!(
            "selector: at column 5: 'x\\n{}… has no end; close it with ' and double each ' inside",
            "y".repeat(37)
        )
    );
}

#[test]
fn a_text_has_at_most_4096_bytes() {
    let padded = |bytes: usize| format!("{}a = 1", " ".repeat(bytes - 5));
    assert!(Selector::parse(&padded(4096)).is_ok());
    let told = "selector: at column 1: the text is 4097 bytes long, at most 4096 are allowed; shorten it";
    assert_eq!(refused(&padded(4097)), told);
}

#[test]
fn parentheses_nest_at_most_32_deep() {
    let nested = |depth: usize| format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Selector::parse(&nested(32)).is_ok());
    let told = "selector: at column 33: parentheses are nested deeper than 32; flatten them";
    assert_eq!(refused(&nested(33)), told);
    assert_eq!(refused(&"(".repeat(4096)), told);
    // Closed ones do not count.
    assert!(Selector::parse(&vec!["(a = 1)"; 100].join(" OR ")).is_ok());
}

#[test]
fn there_are_at_most_256_terms() {
    assert!(Selector::parse(&format!("a IN ({}1)", "1,".repeat(254))).is_ok());
    let told =
        "selector: at column 517: '2' is one term too many, at most 256 are allowed; shorten the selector";
    assert_eq!(refused(&format!("a IN ({}1,2)", "1,".repeat(254))), told);
    assert!(Selector::parse(&vec!["a"; 256].join(" OR ")).is_ok());
    assert!(refused(&vec!["a"; 257].join(" OR ")).contains("'a' is one term too many"));
}

#[test]
fn a_pattern_has_at_most_256_bytes() {
    assert!(Selector::parse(&format!("a LIKE '{}'", "x".repeat(256))).is_ok());
    let told = refused(&format!("a LIKE '{}'", "x".repeat(257)));
    assert!(told.starts_with("selector: at column 8: the pattern 'xxx"), "{told}");
    assert!(told.ends_with("… is 257 bytes long, at most 256 are allowed; shorten it"), "{told}");
}
