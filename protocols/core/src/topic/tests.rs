//! One test per statement about topic names and filters (section 4.7, section 4.8.2).

use proptest::prelude::*;

use super::*;

const LIMITS: TopicLimits = TopicLimits { max_bytes: u16::MAX, max_levels: 200 };

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, &LIMITS).unwrap()
}

fn matches(wanted: &str, topic: &str) -> bool {
    filter(wanted).matches(&TopicName::parse(topic, &LIMITS).unwrap())
}

fn refusal(text: &str) -> String {
    TopicFilter::parse(text, &LIMITS).unwrap_err().to_string()
}

#[test]
fn mqtt_4_7_1_1_wildcards_are_for_filters_not_for_names() {
    for text in ["a/+/b", "#", "a#", "é+"] {
        let error = TopicName::parse(text, &LIMITS).unwrap_err();
        let place = text.find(['+', '#']).unwrap();
        assert!(matches!(error, TopicError::WildcardInName { at, .. } if at == place), "{error}");
    }
    assert_eq!(filter("a/b").kind(), FilterKind::Exact);
    assert_eq!(filter("a/+").kind(), FilterKind::Wildcard);
}

#[test]
fn mqtt_4_7_1_2_the_multi_level_wildcard_stands_alone_and_last() {
    for text in ["sport/tennis#", "#x", "é#", "##", "a/#b"] {
        assert!(matches!(TopicFilter::parse(text, &LIMITS), Err(TopicError::NotAlone { .. })), "{text}");
    }
    for text in ["sport/tennis/#/ranking", "#/", "#/#"] {
        assert!(matches!(TopicFilter::parse(text, &LIMITS), Err(TopicError::NotLast { .. })), "{text}");
    }
    assert_eq!(
        refusal("sport/#/ranking"),
        "filter \"sport/#/ranking\" goes on after the '#' at byte 6; '#' must be the last level"
    );
}

#[test]
fn mqtt_4_7_1_2_it_matches_the_parent_and_every_level_below() {
    let wanted = "sport/tennis/player1/#";
    for topic in ["sport/tennis/player1", "sport/tennis/player1/", "sport/tennis/player1/score/wimbledon"] {
        assert!(matches(wanted, topic), "{topic}");
    }
    for topic in ["sport/tennis", "sport/tennis/player10", "sport/tennis/player1x/a"] {
        assert!(!matches(wanted, topic), "{topic}");
    }
    assert!(matches("#", "a/b/c") && matches("#", "/") && matches("sport/#", "sport"));
}

#[test]
fn mqtt_4_7_1_3_the_single_level_wildcard_has_a_level_of_its_own() {
    for text in ["sport+", "+a", "a/b+/c", "+#", "++"] {
        assert!(matches!(TopicFilter::parse(text, &LIMITS), Err(TopicError::NotAlone { .. })), "{text}");
    }
    assert!(matches("sport/tennis/+", "sport/tennis/player1"));
    assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
    assert!(!matches("sport/+", "sport") && matches("sport/+", "sport/"));
    assert!(matches("+/+", "/finance") && matches("/+", "/finance") && !matches("+", "/finance"));
    assert!(matches("+/tennis/#", "sport/tennis"));
}

#[test]
fn mqtt_4_7_2_1_a_leading_wildcard_does_not_reach_dollar_topics() {
    for wanted in ["#", "+/monitor/Clients", "+", "+/#"] {
        assert!(!matches(wanted, "$SYS/monitor/Clients") && !matches(wanted, "$"), "{wanted}");
    }
    assert!(matches("$SYS/#", "$SYS/monitor/Clients") && matches("$SYS/#", "$SYS"));
    assert!(matches("$SYS/monitor/+", "$SYS/monitor/Clients"));
    assert!(matches("a/+", "a/$b"), "the rule is about the first level");
}

#[test]
fn mqtt_4_7_3_1_a_topic_has_at_least_one_character() {
    assert_eq!(TopicName::parse("", &LIMITS), Err(TopicError::Empty));
    assert_eq!(TopicFilter::parse("", &LIMITS), Err(TopicError::Empty));
    assert!(TopicName::parse("/", &LIMITS).is_ok() && TopicName::parse(" ", &LIMITS).is_ok());
}

#[test]
fn mqtt_4_7_3_2_no_null_character() {
    assert!(matches!(TopicName::parse("é/\0", &LIMITS), Err(TopicError::Nul { at: 3, .. })));
    assert!(matches!(TopicFilter::parse("é/\0/#", &LIMITS), Err(TopicError::Nul { at: 3, .. })));
    assert!(matches!(Subscribed::parse("$share/g/\0", &LIMITS), Err(TopicError::Nul { at: 0, .. })));
}

#[test]
fn mqtt_4_7_3_3_at_most_65535_bytes_and_the_limits_at_their_edge() {
    let longest = "x".repeat(65_535);
    assert!(TopicName::parse(&longest, &LIMITS).is_ok() && TopicFilter::parse(&longest, &LIMITS).is_ok());
    let longer = "x".repeat(65_536);
    assert!(matches!(TopicName::parse(&longer, &LIMITS), Err(TopicError::TooLong { bytes: 65_536, .. })));
    assert!(matches!(TopicFilter::parse(&longer, &LIMITS), Err(TopicError::TooLong { .. })));

    let limits = TopicLimits { max_bytes: 10, max_levels: 3 };
    assert!(TopicName::parse("aaaaaa/b/c", &limits).is_ok());
    assert!(matches!(TopicName::parse("aaaaaaa/b/c", &limits), Err(TopicError::TooLong { limit: 10, .. })));
    assert!(TopicFilter::parse("a/b/#", &limits).is_ok());
    assert!(matches!(TopicFilter::parse("a/b/c/#", &limits), Err(TopicError::TooDeep { levels: 4, .. })));
    assert!(matches!(TopicName::parse("a/b/c/d", &limits), Err(TopicError::TooDeep { limit: 3, .. })));
}

#[test]
fn levels_are_counted_at_the_limit_and_far_beyond() {
    let limits = TopicLimits { max_bytes: u16::MAX, max_levels: 300 };
    assert!(TopicName::parse(&"/".repeat(299), &limits).is_ok());
    let error = TopicName::parse(&"/".repeat(300), &limits).unwrap_err();
    assert!(matches!(error, TopicError::TooDeep { levels: 301, .. }));
    let slashes = "/".repeat(65_535);
    let error = TopicName::parse(&slashes, &limits).unwrap_err();
    assert!(matches!(error, TopicError::TooDeep { levels: 65_536, .. }));
    assert!(error.to_string().len() < 120, "{error}");
}

#[test]
fn mqtt_4_7_3_4_nothing_is_normalised() {
    assert!(!matches("ACCOUNTS", "Accounts"));
    assert!(!matches("/finance", "finance") && !matches("a//b", "a/b") && !matches("a/", "a"));
    assert!(!matches("caf\u{e9}", "cafe\u{301}"), "composed and decomposed are different topics");
    assert!(matches("Accounts payable", "Accounts payable"));
    assert!(matches("a/+/b", "a//b"), "an empty level is a level");
}

#[test]
fn mqtt_4_8_2_1_a_group_has_a_name() {
    for text in ["$share", "$share/", "$share//a"] {
        assert!(matches!(Subscribed::parse(text, &LIMITS), Err(TopicError::Group { .. })), "{text}");
    }
}

#[test]
fn mqtt_4_8_2_2_the_name_has_no_wildcard_and_a_filter_follows() {
    for text in ["$share/+/a", "$share/g#/a", "$share/#"] {
        assert!(matches!(Subscribed::parse(text, &LIMITS), Err(TopicError::Group { .. })), "{text}");
    }
    for text in ["$share/g", "$share/g/"] {
        assert!(matches!(Subscribed::parse(text, &LIMITS), Err(TopicError::NoFilter { .. })), "{text}");
    }
    let shared = |group: &str, text: &str| Subscribed::Shared { group: group.into(), filter: filter(text) };
    assert_eq!(Subscribed::parse("$share/g/a/+/#", &LIMITS), Ok(shared("g", "a/+/#")));
    assert_eq!(Subscribed::parse("$share/g//a", &LIMITS), Ok(shared("g", "/a")));
    assert_eq!(Subscribed::parse("$shared/g/a", &LIMITS), Ok(Subscribed::Plain(filter("$shared/g/a"))));
}

#[test]
fn errors_show_the_beginning_without_splitting_a_character_or_forging_a_line() {
    let error = TopicFilter::parse(&format!("é\n{}#", "ü".repeat(100)), &LIMITS).unwrap_err().to_string();
    assert!(error.starts_with("filter \"é\\nüü") && error.contains('…') && !error.contains('\n'), "{error}");
}

#[test]
fn first_level_and_dollar() {
    let name = TopicName::from_validated("$SYS/a");
    assert!(name.is_dollar() && name.first_level() == "$SYS");
    assert_eq!(TopicName::from_validated("/a").first_level(), "");
    assert_eq!(TopicName::from_validated("a//b").levels().collect::<Vec<_>>(), ["a", "", "b"]);
    assert!(!TopicName::from_validated("a/$b").is_dollar());
}

#[test]
fn a_refused_character_is_found_wherever_it_stands() {
    for len in 1..50 {
        assert!(TopicName::parse(&"é".repeat(len), &LIMITS).is_ok());
        for (at, refused) in (0..len).flat_map(|at| ["+", "#", "\0"].map(|refused| (at, refused))) {
            let text = "x".repeat(at) + refused + &"x".repeat(len - at - 1);
            let error = TopicName::parse(&text, &LIMITS).unwrap_err();
            assert!(error.to_string().contains(&format!("at byte {at};")), "{error}");
        }
    }
}

proptest! {
    /// Parsing a name agrees with the plain statement of the rules.
    #[test]
    fn names_are_judged_as_the_rules_say(text in "[a/+#é\u{0}]{0,12}") {
        let right = !text.is_empty() && !text.contains(['+', '#', '\0']);
        prop_assert_eq!(TopicName::parse(&text, &LIMITS).is_ok(), right);
    }

    /// A filter without wildcards matches exactly itself.
    #[test]
    fn a_name_is_a_filter_for_itself_alone(a in "[ab/$]{1,6}", b in "[ab/$]{1,6}") {
        prop_assert_eq!(matches(&a, &b), a == b);
    }
}
