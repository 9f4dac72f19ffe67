//! LIKE: what its patterns match, and that they do so in linear time.

use super::*;

fn matches(pattern: &Pattern, text: &str) -> bool {
    pattern.matches(text, &mut usize::MAX.clone()).unwrap()
}

#[track_caller]
fn check(pattern: &str, escape: Option<char>, like: &[&str], unlike: &[&str]) {
    let compiled = Pattern::new(pattern, escape).unwrap();
    for text in like {
        assert!(matches(&compiled, text), "{text:?} LIKE {pattern:?}");
    }
    for text in unlike {
        assert!(!matches(&compiled, text), "{text:?} NOT LIKE {pattern:?}");
    }
}

#[test]
fn an_underscore_is_one_character_and_a_percent_sign_any_run() {
    // The examples of section 3.8.1.1.
    check("12%3", None, &["123", "12993"], &["1234", "12"]);
    check("l_se", None, &["lose"], &["loose", "lse"]);
    check(r"\_%", Some('\\'), &["_foo", "_"], &["bar", ""]);
    check("", None, &[""], &["a"]);
    check("%", None, &["", "a", "ab"], &[]);
    check("%%", None, &["", "a"], &[]);
    check("_%_", None, &["ab", "abc"], &["a", ""]);
}

#[test]
fn only_the_last_percent_sign_tries_again() {
    check("%ab%ab", None, &["abab", "xabyabzab", "ababab"], &["abx", "ab", "ababa"]);
    check("a%b_d%", None, &["abcd", "abbcbxd", "axbydz"], &["abd", "acd"]);
    check("%aab", None, &["aaab", "aab"], &["aabb", "ab"]);
}

#[test]
fn characters_count_and_not_bytes() {
    check("_", None, &["é", "日", "𝄞", "a"], &["ab", "éé"]);
    check("%日_", None, &["x日本"], &["日"]);
}

#[test]
fn an_escape_takes_its_sign_literally() {
    check("100!%", Some('!'), &["100%"], &["1000", "100!"]);
    check("a!!b!_", Some('!'), &["a!b_"], &["a!bc", "ab_"]);
    check("é%é_", Some('é'), &["%_"], &[]);
    for pattern in ["a!", "!a", "a!b%"] {
        assert!(Pattern::new(pattern, Some('!')).is_none(), "{pattern}");
    }
}

#[test]
fn the_worst_pattern_takes_no_more_steps_than_text_times_pattern() {
    let pattern = Pattern::new(&"a%".repeat(128).replace("a%a", "a%_a"), None).unwrap();
    // With backtracking over every '%' this would outlast the machine.
    assert!(!matches(&pattern, &format!("{}b", "a".repeat(100))));
    let pattern = Pattern::new(&format!("{}b", "%a".repeat(127)), None).unwrap();
    assert!(!matches(&pattern, &"a".repeat(20_000)));
    let (text, most) = ("a".repeat(1_000), 128 * 2 * 1_000);
    let mut steps = most;
    assert_eq!(pattern.matches(&text, &mut steps), Some(false));
    let taken = most - steps;
    let mut steps = taken;
    assert_eq!((pattern.matches(&text, &mut steps), steps), (Some(false), 0));
    let mut steps = taken - 1;
    assert_eq!(pattern.matches(&text, &mut steps), None, "one too few");
}
